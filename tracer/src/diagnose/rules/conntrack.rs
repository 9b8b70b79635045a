//! Conntrack itself: packets that it refuses, and rules that drop for the state that it found.

use crate::host::facts::{BaseChain, ConntrackCounters, Ruleset, Statement, Stop, Test};
use crate::model::{Direction, Proto, Transport};
use crate::uapi::nf_conntrack::{IPS_CONFIRMED, IPS_DST_NAT, IPS_SRC_NAT, STATE_INVALID};
use crate::uapi::tcp::{ACK, SYN};
use crate::uapi::{icmp, icmpv6};
use crate::verdict::Confidence;

use super::super::candidate::{Candidate, Specificity};
use super::super::causes::{CONNTRACK_FULL, CONNTRACK_INSERT, CONNTRACK_INVALID};
use super::super::hooks::Hook;
use super::super::idle::Idle;
use super::super::loss::Loss;
use super::super::nat_commands;
use super::super::remedy::{Command, Remedy, Shell, command, text};
use super::super::routers::Parting;
use super::netfilter::{self, Suspects, filtered, propose, suspected};
use super::window;

/// How many connections there are, and how many there may be.
pub const COUNT: &str = "net/netfilter/nf_conntrack_count";
/// See [`COUNT`].
pub const MOST: &str = "net/netfilter/nf_conntrack_max";

/// Freed by nf_hook_slow: a legacy table did it, or conntrack. The hook, and whether a legacy rule or policy can have
/// been it; `None` there: not known.
fn by_a_hook(loss: &Loss<'_>) -> Option<(Hook, Option<bool>)> {
    let hook = filtered(loss)??;
    // nf_tables' own chains show themselves among the callers.
    let framed = |f: &str| f.starts_with("nft_do_chain") || f.starts_with("nf_nat_");
    if loss.function() != "nf_hook_slow" || loss.frames().any(framed) {
        return None;
    }
    let legacy = suspected(loss, hook, &[Stop::Drop, Stop::Reject, Stop::Queue]);
    let may = legacy.map(|(chains, Suspects { list, complete, .. })| {
        !list.is_empty() || !complete && !chains.is_empty()
    });
    Some((hook, may))
}

fn counters(loss: &Loss<'_>) -> Option<ConntrackCounters> {
    loss.host.conntrack.get(&loss.netns()?).map(|d| d.fact)
}

fn sysctl(loss: &Loss<'_>, name: &str) -> Option<u64> {
    let value = loss.host.sysctls.get(&(loss.netns()?, name.to_owned()))?;
    value.fact.as_ref()?.parse().ok()
}

fn look(loss: &Loss<'_>) -> Vec<Remedy> {
    let shell = Shell::of(loss.host, loss.netns());
    vec![
        shell.look(
            "counters of conntrack: insert_failed, drop, early_drop, invalid",
            "conntrack -S",
        ),
        shell.look("the connections that it knows", "conntrack -L"),
    ]
}

/// Its connection could not be confirmed: freed after all chains of POSTROUTING or INPUT had their say
/// (nf_conntrack_confirm, the last of those hooks), with an entry that is not confirmed.
pub fn insert_failed(loss: &Loss<'_>) -> Option<Candidate> {
    let (hook, legacy) = by_a_hook(loss)?;
    let unconfirmed = loss.info.ct_status.is_some_and(|s| s & IPS_CONFIRMED == 0);
    if !matches!(hook.name, "POSTROUTING" | "INPUT") || !unconfirmed || legacy == Some(true) {
        return None;
    }
    if netfilter::is_untranslated(loss, Some(hook)) {
        return None;
    }
    let counters = counters(loss);
    let counted = counters.is_some_and(|c| c.insert_failed > 0 || c.drop > 0);
    let mut candidate = propose(loss, &CONNTRACK_INSERT, Some(hook), "DROP");
    candidate.summary += ": its conntrack entry could not be inserted";
    if loss
        .info
        .ct_status
        .is_some_and(|s| s & (IPS_SRC_NAT | IPS_DST_NAT) != 0)
    {
        candidate.summary += " (are the ports for source NAT used up?)";
    }
    // Where the chains could not be read, a legacy rule may have done it.
    let (specificity, confidence) = match (legacy, counted) {
        (Some(false), true) => (Specificity::Linked, Confidence::Certain),
        (Some(false), false) => (Specificity::Fact, Confidence::Likely),
        _ => (Specificity::Reason, Confidence::Possible),
    };
    Some(
        candidate
            .explains(specificity)
            .sure(confidence)
            .because(
                "conntrack",
                counters.map(|c| {
                    format!("insert_failed {}, drop {} so far", c.insert_failed, c.drop)
                }),
            )
            .advise(look(loss))
            .advise(nat_commands::any_port(loss))
            .advise([text(
                "watch insert_failed and drop rise; give source NAT more ports or addresses (a range, --random-fully)",
            )]),
    )
}

/// No room for a new connection (init_conntrack, "nf_conntrack: table full, dropping packet"): refused where conntrack
/// looks at packets first, and left without an entry.
pub fn full(loss: &Loss<'_>) -> Option<Candidate> {
    let (hook, legacy) = by_a_hook(loss)?;
    if !matches!(hook.name, "PREROUTING" | "OUTPUT")
        || loss.info.ct_attached != Some(false)
        || legacy == Some(true)
    {
        return None;
    }
    let counters = counters(loss);
    let (count, most) = (sysctl(loss, COUNT)?, sysctl(loss, MOST)?);
    let dropped = counters.is_some_and(|c| c.drop > 0 || c.early_drop > 0);
    // Entries come and go: shortly after the drop there may be a little room again.
    let crowded = most > 0 && count.saturating_mul(20) >= most.saturating_mul(19);
    if !crowded {
        return None;
    }
    let shell = Shell::of(loss.host, loss.netns());
    let mut candidate = propose(loss, &CONNTRACK_FULL, Some(hook), "DROP");
    candidate.summary += &format!(": the table of connections is full ({count} of {most} entries)");
    Some(
        candidate
            .explains(Specificity::Linked)
            .sure(if dropped && count >= most {
                Confidence::Certain
            } else {
                Confidence::Likely
            })
            .because(
                "sysctl",
                format!("nf_conntrack_count = {count}, nf_conntrack_max = {most}"),
            )
            .because(
                "conntrack",
                counters.map(|c| format!("drop {}, early_drop {} so far", c.drop, c.early_drop)),
            )
            .advise(look(loss))
            .advise([
                shell.look(
                    "who fills it",
                    command!["conntrack -L -o extended"]
                        .piped_to("sort".into())
                        .piped_to("head -50".into()),
                ),
                // The limit is one for the machine and can be set in its first namespace alone.
                Shell::of(loss.host, None)
                    .change(
                        "more room (on the host itself; each entry takes about 300 bytes)",
                        room(most.saturating_mul(2)),
                    )
                    .undone_by(room(most)),
            ]),
    )
}

fn room(entries: u64) -> Command {
    command![
        "sysctl -w",
        format!("net.netfilter.nf_conntrack_max={entries}")
    ]
}

/// A rule dropped it since no connection belongs to it: it has no entry, and a rule that asks for the state INVALID
/// fits; or a policy dropped what no rule for established connections let pass.
pub fn invalid(loss: &Loss<'_>) -> Option<Candidate> {
    let hook = filtered(loss)??;
    if !is_without_entry(loss, hook) {
        return None;
    }
    let (chains, found) = suspected(loss, hook, &[Stop::Drop])?;
    let mut rules = found.list.iter().filter_map(|s| s.rule.as_ref());
    let by_rule = rules.any(|rule| rule.tests.iter().any(asks_for_invalid));
    let read = &loss.host.filters.get(&loss.netns()?)?.fact;
    let by_policy = || {
        found.only().is_some_and(|s| s.rule.is_none())
            && chains.iter().any(|c| lets_established_pass(read, c))
            && belongs_to_something(loss)
    };
    if !by_rule && !by_policy() {
        return None;
    }
    let plain = netfilter::drop(loss)?;
    let mut candidate = propose(loss, &CONNTRACK_INVALID, Some(hook), "DROP");
    candidate.summary += ": no conntrack entry belongs to it (state INVALID)";
    if let Some((_, which)) = plain.summary.split_once(": ") {
        candidate.summary += &format!("; {which}");
    }
    candidate.evidence = plain.evidence;
    let why = Unknown::of(loss);
    candidate.summary += &why.words();
    let (explained, outside) = (why.is_explained(), why.outside.clone());
    Some(
        candidate
            .explains(if by_rule { Specificity::Linked } else { Specificity::Fact })
            .sure(match found.only() {
                Some(_) if by_rule => Confidence::Certain,
                _ => Confidence::Likely,
            })
            .because("conntrack", "the packet has no conntrack entry".to_owned())
            .because(
                "conntrack",
                is_unknown(loss)
                    .then(|| "conntrack knows no connection of its addresses and ports".to_owned()),
            )
            .because(
                "conntrack",
                counters(loss).map(|c| format!("invalid {} so far", c.invalid)),
            )
            .because("tcp", outside)
            .advise(look(loss))
            .advise(why.advice(loss))
            .advise((!explained).then(|| text(
                "did the way there pass another router, or was the table emptied or restarted? then new connections work: \
                 connect anew, or make both directions pass this node",
            )))
            // What lets half of a connection pass here leaves the other half refused elsewhere.
            .advise(plain.remedies.into_iter().filter(|r| !explained || r.is_look())),
    )
}

/// Why conntrack does not know a packet's connection.
#[derive(Default)]
struct Unknown {
    /// Its request went by another router, and what changes that.
    half: Option<(String, Option<Remedy>)>,
    /// It is known, and the segment is outside of its window.
    outside: Option<String>,
    /// It was idle for too long.
    idle: Option<Idle>,
}

impl Unknown {
    fn of(loss: &Loss<'_>) -> Self {
        let half = half_seen(loss);
        if half.is_some() {
            return Self {
                half,
                ..Self::default()
            };
        }
        let outside = window::outside(loss);
        let idle = match (&outside, loss.netns()) {
            (None, Some(netns)) => Idle::before(loss, netns),
            _ => None,
        };
        Self {
            half,
            outside,
            idle,
        }
    }

    /// Whether it is known so well that the rule is not at fault.
    const fn is_explained(&self) -> bool {
        self.half.is_some() || self.idle.is_some()
    }

    /// As the end of the summary.
    fn words(&self) -> String {
        match (&self.half, &self.idle) {
            (Some((words, _)), _) => format!("; its request did not pass here: {words}"),
            (None, Some(idle)) => format!("; it has expired: {}", idle.words()),
            (None, None) => String::new(),
        }
    }

    fn advice(self, loss: &Loss<'_>) -> Vec<Remedy> {
        let strays = self.outside.and(loss.netns());
        let liberal = strays.and_then(|netns| window::advice(loss, netns).into_iter().next());
        let led_here = self.half.and_then(|(_, change)| change);
        let longer = self.idle.into_iter().flat_map(|idle| idle.advice(loss));
        liberal.into_iter().chain(led_here).chain(longer).collect()
    }
}

/// Why conntrack here does not know an answer's connection, and the change, where the request went by another router.
fn half_seen(loss: &Loss<'_>) -> Option<(String, Option<Remedy>)> {
    if loss.journey.direction != Direction::Reply {
        return None;
    }
    let view = loss.view();
    let parting = Parting::of(&view, loss.journey)?;
    if parting.request_passed(loss.netns()?) {
        return None;
    }
    Some((parting.words(&view), parting.change(&view)))
}

/// Conntrack looked at it and gave it no entry. Before that no packet has one; what is untracked is to have none, and is
/// not invalid.
fn is_without_entry(loss: &Loss<'_>, hook: Hook) -> bool {
    let looked = matches!(
        hook.name,
        "FORWARD" | "INPUT" | "OUTPUT" | "POSTROUTING" | "PREROUTING"
    );
    looked && !loss.info.ct_untracked && loss.info.ct_attached == Some(false)
}

fn asks_for_invalid(test: &Test) -> bool {
    matches!(test, Test::State { mask, not } if (mask & STATE_INVALID != 0) != *not)
}

/// Whether a chain drops by its policy what a rule for established connections does not let pass.
fn lets_established_pass(read: &Ruleset, chain: &BaseChain) -> bool {
    let of_connections =
        |t: &Test| matches!(t, Test::State { mask, not: false } if mask & STATE_INVALID == 0);
    chain.policy_drop
        && read
            .beside(chain)
            .any(|(_, r)| r.stop() == Some(Stop::Accept) && r.tests().any(of_connections))
}

/// Whether the table was asked for the packet's addresses and ports, and had nothing.
fn is_unknown(loss: &Loss<'_>) -> bool {
    let Some((netns, tuple)) = loss.netns().zip(loss.tuple()) else {
        return false;
    };
    // It is looked up in zone 0, and rules may set another.
    let zoned = loss.host.filters.get(&netns).is_some_and(|facts| {
        let mut rules = facts.fact.chains.iter().flat_map(|c| &c.rules);
        rules.any(|rule| {
            rule.statements()
                .any(|s| matches!(s, Statement::SetZone(_)))
        })
    });
    let mut answers = loss.host.connections.iter().rev().map(|c| &c.fact);
    let answer = answers.find(|c| c.netns == netns && c.tuple == tuple && c.zone == 0);
    !zoned && answer.is_some_and(|c| c.entry.is_none())
}

/// Not the first packet of a connection: an answer, or a segment of TCP in its midst.
fn belongs_to_something(loss: &Loss<'_>) -> bool {
    let Some(packet) = &loss.event.packet else {
        return false;
    };
    match packet.transport {
        Transport::Tcp { flags, .. } => flags & SYN == 0 || flags & ACK != 0,
        Transport::Icmp { icmp_type, .. } => {
            !matches!(icmp_type, icmp::ECHO | icmpv6::ECHO_REQUEST)
        }
        _ => {
            loss.tuple().is_some_and(|t| t.proto != Proto::Arp)
                && loss.journey.direction != Direction::Forward
        }
    }
}
