//! IPsec policies that refuse: what a host takes in or passes on is freed with a reason; what it sends itself is
//! refused before there is a packet.

use crate::correlate::Trace;
use crate::host::Host;
use crate::host::facts::{Question, XfrmDirection, XfrmPolicy};
use crate::model::{NetNs, Process, Tuple};
use crate::verdict::{Affected, Confidence, Outcome, Place, Verdict};

use super::super::candidate::{Candidate, Specificity, evidence, place_on};
use super::super::causes::XFRM;
use super::super::local;
use super::super::loss::Loss;
use super::super::remedy::{self, Command, Remedy, Shell, command};
use super::super::words;

/// The policy that decides over a packet: of those that select it, the one with the smallest priority value.
fn decides<'h>(
    host: &'h Host,
    netns: NetNs,
    direction: XfrmDirection,
    tuple: &Tuple,
) -> Option<&'h XfrmPolicy> {
    let policies = &host.xfrm.get(&netns)?.fact;
    policies
        .iter()
        .filter(|p| p.direction == direction && p.selects(tuple))
        .min_by_key(|p| (p.priority, p.index))
}

/// The policies that are asked about what came in.
fn direction(loss: &Loss<'_>) -> XfrmDirection {
    if loss.function().ends_with("forward") {
        XfrmDirection::Forward
    } else {
        XfrmDirection::In
    }
}

/// What is taken in or passed on: the reason tells, and the policies say which.
pub fn refused(loss: &Loss<'_>) -> Option<Candidate> {
    let netns = loss.netns()?;
    let policy = loss
        .tuple()
        .and_then(|t| decides(loss.host, netns, direction(loss), &t));
    let words = match policy {
        Some(policy) if policy.blocks => {
            format!("an IPsec policy refused it{} ({policy})", loss.at_words())
        }
        Some(policy) => format!(
            "an IPsec policy refused it{}: it came unprotected, and the policy wants it protected ({policy})",
            loss.at_words()
        ),
        None => format!("an IPsec policy refused it{}", loss.at_words()),
    };
    let shell = Shell::of(loss.host, Some(netns));
    Some(
        Candidate::new(&XFRM, loss.place(None), words)
            .explains(if policy.is_some() {
                Specificity::Fact
            } else {
                Specificity::Reason
            })
            .because("policy", policy.map(ToString::to_string))
            .advise(advice(&shell, (policy, &beside(loss, policy)))),
    )
}

/// Policies that refuse the packet next, or its answer, once this one is gone.
fn beside<'h>(loss: &Loss<'h>, policy: Option<&XfrmPolicy>) -> Vec<&'h XfrmPolicy> {
    let known = loss.netns().zip(loss.tuple()).zip(policy);
    let Some(((netns, tuple), policy)) = known.filter(|(_, policy)| policy.blocks) else {
        return Vec::new();
    };
    let there = direction(loss);
    let forwarded = [XfrmDirection::Forward, XfrmDirection::Out];
    let (asked, answered) = match there {
        XfrmDirection::Forward => (&forwarded[..], &forwarded[..]),
        _ => (&[XfrmDirection::In][..], &[XfrmDirection::Out][..]),
    };
    let asked = asked.iter().map(|direction| (*direction, tuple));
    let answered = answered
        .iter()
        .map(|direction| (*direction, tuple.reversed()));
    let mut found: Vec<&XfrmPolicy> = asked
        .chain(answered)
        .filter_map(|(direction, tuple)| decides(loss.host, netns, direction, &tuple))
        .filter(|next| next.blocks && next.index != policy.index)
        .collect();
    found.sort_by_key(|policy| policy.index);
    found.dedup_by_key(|policy| policy.index);
    found
}

/// The same where the kernel does not say so: there must be a policy that selects it, and nobody was told of anything else.
pub fn refused_unnamed(loss: &Loss<'_>) -> Option<Candidate> {
    let tuple = loss.tuple().filter(|_| loss.told().is_none())?;
    decides(loss.host, loss.netns()?, direction(loss), &tuple)?;
    Some(refused(loss)?.sure(Confidence::Likely))
}

/// A policy without templates as `ip xfrm policy add` takes it.
fn again(policy: &XfrmPolicy) -> Vec<String> {
    let text = policy.to_string();
    let mut words: Vec<String> = text.split_whitespace().map(str::to_owned).collect();
    // An echo request has its type and code where others have ports.
    if matches!(policy.protocol, 1 | 58) {
        for word in &mut words {
            match word.as_str() {
                "sport" => *word = "type".to_owned(),
                "dport" => *word = "code".to_owned(),
                _ => {}
            }
        }
    }
    words
}

fn removed(policy: &XfrmPolicy) -> Command {
    command![
        "ip xfrm policy delete dir",
        policy.direction,
        "index",
        policy.index
    ]
}

fn added(policy: &XfrmPolicy) -> Command {
    command!["ip xfrm policy add", ..again(policy)]
}

fn advice(shell: &Shell, (policy, beside): (Option<&XfrmPolicy>, &[&XfrmPolicy])) -> Vec<Remedy> {
    let mut list = vec![
        shell.look("policies", "ip xfrm policy"),
        shell.look(
            "what they refused",
            command!["grep -wv", "0".to_owned(), "/proc/net/xfrm_stat"],
        ),
    ];
    if let Some(policy) = policy {
        let (text, scope) = if policy.blocks {
            (
                "if it is wrong, remove it",
                "what it keeps from being sent in clear is sent then",
            )
        } else {
            (
                "if it is left from a tunnel that is no more, remove it",
                "what it selects comes and goes in clear then; where the tunnel is wanted, start it instead (its daemon, its SA: ip xfrm state)",
            )
        };
        let change = shell
            .change(text, removed(policy))
            .scope(Some(scope.to_owned()));
        // What a policy's templates say is not known.
        list.push(match policy.blocks {
            true => beside
                .iter()
                .fold(change.undone_by(added(policy)), |change, next| {
                    change.and(removed(next)).undone_by(added(next))
                }),
            false => change,
        });
    }
    list
}

/// Lookups for what this host sends that found a route: an answer that a policy may have refused then.
fn lookups<'t>(
    trace: &'t Trace,
    host: &'t Host,
) -> impl Iterator<Item = (NetNs, Tuple, Option<&'t Process>)> {
    local::successes(trace, host).filter_map(|e| {
        let netns = e.netns.or(e.socket.map(|s| s.netns))?;
        Some((netns, e.tuple?, e.process.as_ref()))
    })
}

/// What to read where routes were found and no packet came.
#[must_use]
pub fn questions(trace: &Trace, host: &Host) -> Vec<Question> {
    let asked = |(netns, ..): (NetNs, Tuple, Option<&Process>)| Question::XfrmPolicies { netns };
    lookups(trace, host).map(asked).collect()
}

/// A sender that a policy refused: its route was found, no packet came, and a policy blocks it.
#[must_use]
pub fn not_sent(trace: &Trace, host: &Host) -> Option<Verdict> {
    let (netns, tuple, process, policy) =
        lookups(trace, host).find_map(|(netns, tuple, process)| {
            let policy = decides(host, netns, XfrmDirection::Out, &tuple)?;
            policy.blocks.then_some((netns, tuple, process, policy))
        })?;
    let shell = Shell::of(host, Some(netns));
    let name = host.namespace(netns);
    let who = process.map_or_else(|| "the sender".to_owned(), ToString::to_string);
    Some(Verdict {
        outcome: Outcome::NotSent,
        cause: Some(XFRM.code.to_owned()),
        confidence: Confidence::Likely,
        summary: format!(
            "not sent: an IPsec policy on {name} blocks {}, {who} got an error ({policy})",
            words::destination(&tuple)
        ),
        place: Some(Place {
            hook: Some("route".to_owned()),
            ..place_on(host, netns)
        }),
        packets: Affected::default(),
        evidence: vec![
            evidence("policy", policy.to_string()),
            evidence(
                "route",
                format!("a route to {} was found, and no packet was made", tuple.dst),
            ),
        ],
        advice: remedy::advice(&advice(&shell, (Some(policy), &[]))),
    })
}
