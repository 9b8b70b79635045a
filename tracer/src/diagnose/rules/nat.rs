//! Answers that do not come back through the translator: from an address that was never contacted, or to one that
//! the translator no longer knows.

use crate::host::Host;
use crate::host::facts::Question;
use crate::model::{Direction, Flow, NetNs, Proto, Transport, Tuple};
use crate::network::filter::{Packet, Rules};

use super::super::candidate::{Candidate, Specificity};
use super::super::causes::NAT_ASYMMETRIC;
use super::super::chain_commands::{default_program, show_chain};
use super::super::idle::{self, Idle};
use super::super::loss::Loss;
use super::super::nat_commands::{kept, masquerade, translator};
use super::super::needs::Asked;
use super::super::other_address;
use super::super::remedy::{Remedy, Shell, command, ip, sysctl, text};
use super::super::routers::Parting;
use super::super::translation::{self, Change};
use super::super::translator;
use super::super::untracked;
use super::super::view::View;
use super::super::words;
use super::duplicate;
use super::{ipvs, socket, window};

/// Whether iptables sees what a bridge forwards (net/bridge/br_netfilter_hooks.c).
#[must_use]
pub fn bridge_sysctl(v6: bool) -> &'static str {
    if v6 {
        "net/bridge/bridge-nf-call-ip6tables"
    } else {
        "net/bridge/bridge-nf-call-iptables"
    }
}

/// What to read beside an answer that no socket expects.
pub fn questions(loss: &Loss<'_>) -> Vec<Question> {
    let idle = loss.netns().and_then(|netns| idle::question(loss, netns));
    let asked = translation::contacted(loss);
    let Some(change) = asked.and_then(|_| translation::dnat(&loss.view())) else {
        let away = asked.and_then(|asked| away(loss, &asked));
        let chains = away.map(|change| Question::Chains {
            netns: change.netns,
        });
        return idle.into_iter().chain(chains).collect();
    };
    let netns = change.netns;
    let idle = idle::question(loss, netns);
    let chains = Question::Chains { netns };
    let sysctl = |name: &str| Question::Sysctl {
        netns,
        name: name.to_owned(),
    };
    let mut list = vec![
        sysctl(bridge_sysctl(loss.v6())),
        sysctl(ipvs::CONNTRACK),
        Question::Ipvs {
            netns,
            tuple: change.before,
        },
    ];
    list.extend(idle);
    list.push(chains);
    list
}

/// An answer for which there is no socket, since its address was not translated back.
pub fn asymmetric(loss: &Loss<'_>) -> Option<Candidate> {
    if !socket::is_unexpected(loss) {
        return None;
    }
    let answer = loss.tuple()?;
    let view = loss.view();
    // Who asks several servers from one socket gets an answer from each.
    let mut asked = loss.trace.flows.iter().filter_map(Flow::asked);
    if asked.any(|asked| asked == answer.reversed()) {
        return None;
    }
    let (summary, advice, why) = if let Some(asked) = translation::contacted(loss) {
        strange_sender(loss, &view, &asked, &answer)?
    } else {
        forgotten_source(loss, &view, &answer)?
    };
    let told = loss.told();
    Some(
        Candidate::new(
            &NAT_ASYMMETRIC,
            loss.place_at_device_without_hook(),
            summary,
        )
        .explains(Specificity::Linked)
        .leads_to(if told.is_some() {
            crate::verdict::Outcome::Rejected
        } else {
            crate::verdict::Outcome::Dropped
        })
        .because("socket", why)
        .because(
            "icmp",
            told.map(|t| format!("{t} was sent back in the same call")),
        )
        .advise(advice),
    )
}

type Found = (String, Vec<Remedy>, Option<String>);

/// The answer comes from another address than the one that was contacted.
fn strange_sender(
    loss: &Loss<'_>,
    view: &View<'_>,
    asked: &Tuple,
    answer: &Tuple,
) -> Option<Found> {
    // Another machine may have the asker's address, and get the answer.
    let asker = duplicate::asker(loss).map(|(left, _)| loss.host.namespace(left.device.netns));
    let taken = asker.as_ref().map_or_else(String::new, |_| {
        format!(
            ", and came to {}, which has {} too",
            loss.namespace_words(),
            answer.dst
        )
    });
    let head = format!(
        "answer not translated back: {} contacted {}, the answer comes from {}{taken}",
        asker.unwrap_or_else(|| loss.namespace_words()),
        words::destination(asked),
        answer.source()
    );
    let translator = translation::dnat(view);
    let Some(change) = translator else {
        return translated_away(loss, (asked, answer), &head)
            .or_else(|| other_address(loss, asked, answer, &head));
    };
    let at = loss.host.namespace(change.netns);
    let why = format!(
        "{at} translates {} to {} and would have to translate the answer back",
        change.before.destination(),
        change.after.destination()
    );
    let devices: Vec<_> = translation::passed(loss.journey)
        .filter(|d| d.netns == change.netns)
        .collect();
    let bridged = devices
        .iter()
        .all(|d| loss.host.link(*d).is_some_and(|l| l.master.is_some()));
    let (rest, advice) = if let Some(found) = ipvs::unmasqueraded(loss.host, &change) {
        found
    } else if devices.is_empty() {
        around(loss, view, &change, answer)
    } else if bridged {
        past_iptables(loss, &change)
    } else {
        unknown_there(loss, view, &change, &at)
    };
    Some((format!("{head}{rest}"), advice, Some(why)))
}

/// Where the answer got another source on its way.
fn away(loss: &Loss<'_>, asked: &Tuple) -> Option<Change> {
    let mut changes = translation::changes(loss.journey);
    changes.find(|change| change.before.src == asked.dst && change.after.src != asked.dst)
}

/// The answer was taken for a connection of its own, and its source translated: conntrack did not see the question.
fn translated_away(
    loss: &Loss<'_>,
    (asked, answer): (&Tuple, &Tuple),
    head: &str,
) -> Option<Found> {
    let change = away(loss, asked)?;
    let (host, netns) = (loss.host, change.netns);
    let at = host.namespace(netns);
    let question = Packet {
        tuple: Some(*asked),
        ..Packet::default()
    };
    let rules = host.filters.get(&netns).map(|dated| Rules::of(&dated.fact));
    let left = rules.map_or_else(Vec::new, |rules| {
        untracked::rules(&rules, &[(&question, "PREROUTING")])
    });
    let why = match left.as_slice() {
        [] => format!("{at} does not know the question to which this is the answer"),
        left => format!(
            "conntrack on {at} did not see the question: {}",
            untracked::words(left)
        ),
    };
    let shell = Shell::of(host, Some(netns));
    let kept = change.device.and_then(|went| {
        let text = format!(
            "leave the source of what {} sends to {} as it is",
            asked.dst, answer.dst
        );
        kept(host, went, &change.before, text)
    });
    let list = command!["conntrack -L -d", asked.dst];
    let advice = [shell.look("look first: the entries of the question", list)].into_iter();
    let advice = advice
        .chain(kept)
        .chain(untracked::track(&left, &shell))
        .collect();
    let rest = format!(
        ": {at} translated the answer's source {} to {}, as that of a new connection",
        change.before.src, change.after.src
    );
    Some((format!("{head}{rest}"), advice, Some(why)))
}

/// A server with several addresses, without any translation.
fn other_address(loss: &Loss<'_>, asked: &Tuple, answer: &Tuple, head: &str) -> Option<Found> {
    let server = loss
        .steps()
        .iter()
        .find_map(|s| s.event.device.map(|d| d.netns))
        .filter(|ns| loss.host.is_local(*ns, asked.dst));
    if answer.proto != Proto::Udp {
        return None;
    }
    let summary = head.replacen(
        "answer not translated back",
        "answer from the wrong address",
        1,
    );
    Some((
        summary,
        other_address::advice(loss.host, server, asked, answer.src),
        server.map(|ns| {
            format!(
                "{} has both addresses: {} and {}",
                loss.host.namespace(ns),
                asked.dst,
                answer.src
            )
        }),
    ))
}

/// The answer took a way on which the translator is not.
fn around(
    loss: &Loss<'_>,
    view: &View<'_>,
    change: &Change,
    answer: &Tuple,
) -> (String, Vec<Remedy>) {
    let at = loss.host.namespace(change.netns);
    let server = loss
        .steps()
        .iter()
        .find_map(|s| s.event.device.map(|d| d.netns));
    (
        format!(": it went around {at}, which translates"),
        around_advice(
            loss.host,
            server,
            (change, answer),
            Parting::of(view, loss.journey).and_then(|parting| parting.change(view)),
        ),
    )
}

/// How an answer is led back through its translator.
#[must_use]
pub fn around_advice(
    host: &Host,
    server: Option<NetNs>,
    (change, answer): (&Change, &Tuple),
    route: Option<Remedy>,
) -> Vec<Remedy> {
    let v6 = answer.dst.is_ipv6();
    let look = Shell::of(host, server).look(
        "look first: which way the server answers",
        command![..ip(v6), "route get", answer.dst],
    );
    let route =
        route.unwrap_or_else(|| text("let its route for the asker lead through the translator"));
    // A route for the asker leads what they exchange without the translation, too.
    let of_destination = change.before.dst != change.after.dst;
    let source = translated_too(host, change).filter(|_| of_destination);
    [look].into_iter().chain(source).chain([route]).collect()
}

/// The source of one asker translated where the destination is.
fn translated_too(host: &Host, change: &Change) -> Option<Remedy> {
    let too = "translate the source of what this asker sends there too: answers then come back here, and the server no longer sees who asks";
    let went = change.device?;
    Some(masquerade(host, went, &change.after, too))
}

/// The answer crossed a bridge of the translator, where iptables did not see it.
fn past_iptables(loss: &Loss<'_>, change: &Change) -> (String, Vec<Remedy>) {
    let at = loss.host.namespace(change.netns);
    let name = bridge_sysctl(loss.v6());
    let dotted = sysctl(name);
    let value = loss
        .host
        .sysctls
        .get(&(change.netns, name.to_owned()))
        .and_then(|v| v.fact.clone());
    let state = value.map_or_else(
        || format!(" (see {dotted})"),
        |v| format!(" ({dotted} = {v})"),
    );
    let shell = Shell::of(loss.host, Some(change.netns));
    let look = shell.look("look first", command!["sysctl", dotted]);
    let bridged = shell
        .change(
            "let bridged packets pass iptables too (needs the module br_netfilter)",
            command!["sysctl -w", format!("{dotted}=1")],
        )
        .undone_by(command!["sysctl -w", format!("{dotted}=0")])
        .scope("all that its bridges forward meets the rules of IP then".to_owned());
    let source = translated_too(loss.host, change);
    // What is bridged now may be stopped by rules that were written for what is routed.
    let [first, second] = match forbids_by_default(loss.host, change.netns, loss.v6()) {
        true => [source, Some(bridged)],
        false => [Some(bridged), source],
    };
    (
        format!(": bridged on {at} past its address translation{state}"),
        [look].into_iter().chain(first).chain(second).collect(),
    )
}

/// Whether a chain of iptables drops what no rule lets pass between interfaces.
fn forbids_by_default(host: &Host, netns: NetNs, v6: bool) -> bool {
    let family = if v6 { "ip6" } else { "ip" };
    let chains = host.filters.get(&netns);
    let mut chains = chains.into_iter().flat_map(|dated| &dated.fact.base);
    chains.any(|chain| chain.hook == "FORWARD" && chain.family == family && chain.policy_drop)
}

/// The answer passed the translator, which did not find its connection.
fn unknown_there(
    loss: &Loss<'_>,
    view: &View<'_>,
    change: &Change,
    at: &str,
) -> (String, Vec<Remedy>) {
    in_another_zone(loss, view, change, at)
        .or_else(|| window::untranslated(loss, change))
        .unwrap_or_else(|| forgotten(loss, change, at))
}

/// Rules have conntrack look for the connection of the answer in another zone than that of the request.
fn in_another_zone(
    loss: &Loss<'_>,
    view: &View<'_>,
    change: &Change,
    at: &str,
) -> Option<(String, Vec<Remedy>)> {
    let mut translated = view.journeys(Direction::Forward);
    let request = translated.find(|j| translation::changes(j).any(|c| c == *change))?;
    let both = [request, loss.journey];
    let [own, other] = translator::zones(loss.host, change.netns, both)?;
    if own == other {
        return None;
    }
    let shell = Shell::of(loss.host, Some(change.netns));
    Some((
        format!(
            ": its connection is in zone {own} of conntrack on {at}, and rules there have it looked for in zone {other}"
        ),
        vec![
            shell.look(
                "the connections of the request's zone",
                command!["conntrack -L -w", own.to_string()],
            ),
            text(format!(
                "set zone {own} for answers too, at the interface by which they come in; or set it for the direction of the requests alone (nft: ct original zone set {own}; iptables: -j CT --zone-orig {own}): then answers are looked for in zone 0 by design"
            )),
        ],
    ))
}

/// The answer was routed by the translator, which did not know its connection.
fn forgotten(loss: &Loss<'_>, change: &Change, at: &str) -> (String, Vec<Remedy>) {
    let shell = Shell::of(loss.host, Some(change.netns));
    if let Some(idle) = Idle::before(loss, change.netns) {
        let words = format!(
            ": {at} routed it without its conntrack entry, which has expired: {}",
            idle.words()
        );
        return (words, idle.advice(loss).into());
    }
    (
        format!(": {at} routed it without its conntrack entry, which is lost"),
        vec![
            shell.look(
                "look first: the entries of the service",
                command!["conntrack -L -d", change.before.dst],
            ),
            text("new connections are translated again: let the client reconnect"),
            shell.look(
                "what removes entries: a flush, a timeout, a full table, another node taking over?",
                "conntrack -E -e DESTROY",
            ),
        ],
    )
}

/// The answer came to the address that source NAT had given, and the translator does not know it.
fn forgotten_source(loss: &Loss<'_>, view: &View<'_>, answer: &Tuple) -> Option<Found> {
    let netns = loss.netns()?;
    let change = view
        .journeys(Direction::Forward)
        .flat_map(translation::changes)
        .find(|c| {
            c.netns == netns
                && (c.after.src, c.after.sport) == (answer.dst, answer.dport)
                && c.before.src != c.after.src
        })?;
    let at = loss.host.namespace(netns);
    let (rest, advice) = unknown_there(loss, view, &change, &at);
    Some((
        format!(
            "answer not translated back: {} for {}, which stands for {}{rest}",
            answer.source(),
            answer.destination(),
            change.before.source()
        ),
        advice,
        None,
    ))
}

/// A packet of an established connection that the translator passes by, though it translated earlier ones.
pub fn forgotten_on_the_way(loss: &Loss<'_>) -> Option<Candidate> {
    let opening = loss
        .event
        .packet
        .as_ref()
        .is_none_or(|p| !matches!(p.transport, Transport::Tcp { flags, .. } if flags & 2 == 0));
    if opening || loss.journey.direction != Direction::Forward {
        return None;
    }
    let tuple = loss.tuple()?;
    let netns: NetNs = loss.netns()?;
    let view = loss.view();
    let change = translation::dnat(&view).filter(|c| c.netns == netns && c.before == tuple)?;
    let at = loss.host.namespace(netns);
    let (_, advice) = forgotten(loss, &change, &at);
    Some(
        Candidate::new(
            &NAT_ASYMMETRIC,
            loss.place_at_device_without_hook(),
            format!(
                "connection forgotten: {at} translated {} to {} before, and no longer does (its conntrack entry is lost)",
                change.before.destination(),
                change.after.destination()
            ),
        )
        .explains(Specificity::Linked)
        .sure(crate::verdict::Confidence::Likely)
        .advise(advice),
    )
}

/// What to read about a packet that its own sender gets back.
pub fn about_hairpin(loss: &Loss<'_>, asked: &mut Asked) {
    if let Some(change) = own_again(loss) {
        let netns = change.netns;
        asked.push(Question::Chains { netns });
    }
}

/// The translation of a packet that came back to the namespace which sent it.
fn own_again(loss: &Loss<'_>) -> Option<Change> {
    let first = &loss.journey.steps.first()?.event;
    let own = first.device.map(|d| d.netns) == loss.netns()
        && matches!(first.detail, crate::model::Detail::Egress);
    translation::dnat(&loss.view()).filter(|_| own)
}

/// A packet that its own sender gets back: through a service of which the sender is a backend, and without
/// masquerade. In words, and what to do.
#[must_use]
pub fn hairpin(loss: &Loss<'_>) -> Option<(String, Vec<Remedy>)> {
    let change = own_again(loss)?;
    let at = loss.host.namespace(change.netns);
    let shell = Shell::of(loss.host, Some(change.netns));
    let what = "masquerade what goes back to its own sender";
    let back = change
        .device
        .map(|went| masquerade(loss.host, went, &change.after, what));
    let look = match translator(loss.host, change.netns, loss.v6()) {
        Some(chain) => show_chain(chain),
        None => command![
            default_program(loss.v6()),
            "-t nat -nvL POSTROUTING --line-numbers"
        ],
    };
    Some((
        format!(
            ": its own packet came back, {at} translated {} to {} and did not masquerade (hairpin)",
            change.before.destination(),
            change.after.destination()
        ),
        std::iter::once(shell.look("look first: rules that masquerade", look))
            .chain(back)
            .collect(),
    ))
}
