//! A frame that the stack of a namespace got, since the redirect is missing that should have handed it on: the interfaces of a
//! virtual machine's pod hand each other all that comes in (`mirred`), and one of both ways is gone.

use crate::host::Host;
use crate::host::facts::{Attachment, Link};
use crate::model::{Detail, Device, Direction, Journey, NetNs};

use super::super::super::device_state;
use super::super::super::loss::Loss;
use super::super::super::needs::Asked;
use super::super::super::remedy::{Remedy, Shell, command, text};
use super::super::filter;
use super::misled::Misled;
use super::misredirected;

/// ETH_P_ARP.
const ETH_P_ARP: u16 = 0x0806;
/// ETH_P_IPV6.
const ETH_P_IPV6: u16 = 0x86dd;
/// EtherTypes of filters that look at one protocol alone: IPv4, ARP and IPv6.
const NARROW: &[u16] = &[0x0800, ETH_P_ARP, ETH_P_IPV6];
/// Kinds of filters that look at what is in a packet.
const MATCHING: &[&str] = &["u32", "flower", "basic", "fw"];

/// The interface by which packets of the other direction come in that leave by the one at which this one died.
fn opposite(loss: &Loss<'_>) -> Option<Device> {
    let here = loss.device()?;
    let back = match loss.journey.direction {
        Direction::Forward => Direction::Reply,
        _ => Direction::Forward,
    };
    loss.journeys(back)
        .find_map(|journey| before(journey, here))
}

/// Where a packet came in that left by an interface of the same namespace at once.
fn before(journey: &Journey, out: Device) -> Option<Device> {
    let seen = || {
        journey.steps.iter().filter_map(|step| {
            let device = step.event.device?;
            match step.event.detail {
                Detail::Ingress => Some((device, true)),
                Detail::Egress => Some((device, false)),
                _ => None,
            }
        })
    };
    let mut pairs = seen().zip(seen().skip(1));
    pairs.find_map(|((from, entered), (to, enters))| {
        let passes = entered && !enters && to == out;
        (passes && from.netns == out.netns && from != out).then_some(from)
    })
}

/// A filter that hands what comes in at one interface to another.
fn handing(host: &Host, from: Device, to: Device) -> Option<&Attachment> {
    let mut filters = device_state::at(host, from, "tc-ingress");
    filters.find(|a| device_state::redirects(from, a).any(|device| device == to))
}

/// What to read of both interfaces.
pub fn questions(loss: &Loss<'_>, list: &mut Asked) {
    let pair = [loss.device(), opposite(loss)];
    if let [Some(here), Some(other)] = pair {
        list.device_state(loss.host, here);
        list.device_state(loss.host, other);
    }
    misredirected::questions(loss, list);
}

/// What the story is where a redirect is missing.
pub(super) fn told(loss: &Loss<'_>) -> Option<Misled> {
    let host = loss.host;
    let (here, other) = (loss.device()?, opposite(loss)?);
    let there = handing(host, other, here)?;
    device_state::of(host, here)?;
    if handing(host, here, other).is_some() {
        return None;
    }
    let (from, to) = (host.interface(here), host.interface(other));
    let words = format!("{} back is missing", one_way(&from, &to));
    Some(Misled::by(
        host,
        (other, there),
        words,
        advice(host, here, other),
    ))
}

/// That an interface is handed what comes in at another one, and does not hand it what comes in there.
fn one_way(from: &str, to: &str) -> String {
    format!(
        "{to} hands what comes in to {from}, and nothing on {from} hands what comes in there to {to}: the redirect"
    )
}

/// What to read of a namespace whose interfaces may hand each other what comes in.
pub fn ask(host: &Host, netns: NetNs, list: &mut Asked) {
    /// Interfaces of a namespace that only hands packets on.
    const FEW: usize = 8;
    let here = host.links().filter(|l| l.device.netns == netns);
    let links: Vec<&Link> = here.take(FEW + 1).collect();
    if links.len() <= FEW {
        for link in links {
            list.device_state(host, link.device);
        }
    }
}

/// The interface of the same namespace that hands all that comes in there to this one.
fn partner(host: &Host, here: Device) -> Option<(Device, &Attachment)> {
    let mut links = host.links().map(|link| link.device);
    links.find_map(|other| {
        let beside = other.netns == here.netns && other != here;
        let filter = handing(host, other, here).filter(|_| beside)?;
        Some((other, filter))
    })
}

/// What the story is where the stack of a namespace got what came in at an interface that hands packets to another one: the redirect
/// is missing, or a filter before it took the packet away.
pub fn taken_by_the_stack(loss: &Loss<'_>) -> Option<Misled> {
    let host = loss.host;
    let first = loss.steps().iter().find_map(|step| {
        let entered = matches!(step.event.detail, Detail::Ingress);
        step.event
            .device
            .filter(|d| entered && Some(d.netns) == loss.netns())
    })?;
    device_state::of(host, first)?;
    let (other, filter) = partner(host, first)?;
    let (from, to) = (host.interface(first), host.interface(other));
    let Some(right) = handing(host, first, other) else {
        let words = format!("{} is missing", one_way(&from, &to));
        return Some(Misled::by(
            host,
            (other, filter),
            words,
            advice(host, first, other),
        ));
    };
    let mut filters = device_state::at(host, first, "tc-ingress");
    let before = filters.find(|a| {
        let elsewhere = a.actions.iter().any(|action| action.verb == "redirect");
        a.priority < right.priority && elsewhere
    });
    let Some(before) = before else {
        return unmatched(loss, (first, other));
    };
    let words = format!(
        "{from} has a filter (pref {}) before the one that hands what comes in to {to} (pref {})",
        before.priority, right.priority
    );
    let then = format!("{to} gets the packet then");
    let advice = vec![
        misredirected::look(host, first, before),
        misredirected::without(host, first, before, &then),
    ];
    Some(Misled::by(host, (first, before), words, advice))
}

/// None of the filters that hand packets on took this one: what they match is something else, as an address that the machine
/// behind has no more.
fn unmatched(loss: &Loss<'_>, (first, other): (Device, Device)) -> Option<Misled> {
    let (host, dst) = (loss.host, loss.dst()?);
    let filters: Vec<&Attachment> = all_handing(host, first, other).collect();
    let passes = |filter: &&&Attachment| MATCHING.contains(&filter.how.as_str());
    // What the host itself hands on by routing is not meant for the machine behind.
    if filters.iter().any(|filter| filter.how == "matchall") || host.is_local(first.netns, dst) {
        return None;
    }
    let filter = filters.iter().find(passes)?;
    let (from, to) = (host.interface(first), host.interface(other));
    let prefs: Vec<String> = filters.iter().map(|f| f.priority.to_string()).collect();
    let took = match prefs.len() {
        1 => format!(
            "the filter of {from} that leads to {to} (pref {}) did not take it: it matches",
            prefs.join(", ")
        ),
        _ => format!(
            "none of the filters of {from} that lead to {to} (pref {}) took it: they match",
            prefs.join(", ")
        ),
    };
    let words = format!("{took} something else than what is for {dst}");
    let last = filters.iter().map(|f| f.priority).max()?;
    let priority = free_priority(host, first, last);
    let (protocol, field) = match dst.is_ipv6() {
        true => ("ipv6", "ip6"),
        false => ("ip", "ip"),
    };
    let add = command![
        "tc filter add dev",
        from,
        "ingress protocol",
        protocol,
        "pref",
        priority,
        "u32 match",
        field,
        "dst",
        dst,
        "action mirred egress redirect dev",
        to
    ];
    let del = command!["tc filter del dev", from, "ingress pref", priority];
    let advice = vec![
        misredirected::look(host, first, filter),
        Shell::of(host, Some(first.netns))
            .change(format!("hand what is for {dst} to {to} as well"), add)
            .undone_by(del),
        text("whoever made these filters wrote down what they match: correct it there too"),
    ];
    Some(Misled::by(host, (first, filter), words, advice))
}

/// What keeps a question for a neighbour, or its answer, from being handed on between two interfaces of a namespace that hand each
/// other what comes in.
pub fn gap(host: &Host, (near, far): (Device, Device), v6: bool) -> Option<Misled> {
    let (there, back) = (handing(host, near, far), handing(host, far, near));
    device_state::of(host, near).zip(device_state::of(host, far))?;
    let (from, to) = (host.interface(near), host.interface(far));
    let told = |words: String, by: (Device, &Attachment), advice: Vec<Remedy>| {
        Some(Misled::by(host, by, words, advice))
    };
    let missing = |from: &str, to: &str| format!("{} is missing", one_way(from, to));
    let nowhere = |filter: &&Attachment| {
        device_state::redirects(near, filter).any(|target| host.link(target).is_none())
    };
    match (there, back) {
        (None, Some(back)) => {
            let gone = device_state::at(host, near, "tc-ingress").find(nowhere);
            match gone {
                Some(filter) => told(
                    format!(
                        "a tc filter of {from} (pref {}) redirects to an interface that is gone, as {to} was before it was made anew",
                        filter.priority
                    ),
                    (near, filter),
                    led_again(host, near, filter).into_iter().collect(),
                ),
                None => told(missing(&from, &to), (far, back), advice(host, near, far)),
            }
        }
        (Some(there), None) => told(missing(&to, &from), (near, there), advice(host, far, near)),
        (Some(there), Some(_)) if host.link(far).is_some_and(|link| !link.up) => told(
            format!("{from} hands what comes in to {to}, which is down"),
            (near, there),
            vec![filter::raise(host, far)],
        ),
        (Some(_), Some(_)) => {
            let (at, other) = [(near, far), (far, near)]
                .into_iter()
                .find(|(at, other)| !hands_questions(host, (*at, *other), v6))?;
            let filter = handing(host, at, other)?;
            let (from, to) = (host.interface(at), host.interface(other));
            let prefs: Vec<String> = all_handing(host, at, other)
                .map(|filter| filter.priority.to_string())
                .collect();
            told(
                format!(
                    "{from} hands only packets of other protocols than {} to {to} (filters with pref {}): neighbours cannot be asked for",
                    asking(v6).1,
                    prefs.join(", ")
                ),
                (at, filter),
                vec![neighbours_too(host, (at, other), v6)],
            )
        }
        (None, None) => None,
    }
}

/// The protocol in which neighbours are asked for: its EtherType, and what people call it. Neighbour discovery is IPv6.
const fn asking(v6: bool) -> (u16, &'static str) {
    match v6 {
        true => (ETH_P_IPV6, "IPv6"),
        false => (ETH_P_ARP, "ARP"),
    }
}

/// Filters that hand what comes in at one interface to another.
fn all_handing(host: &Host, from: Device, to: Device) -> impl Iterator<Item = &Attachment> {
    device_state::at(host, from, "tc-ingress")
        .filter(move |a| device_state::redirects(from, a).any(|device| device == to))
}

/// Whether one of these filters looks at what asks for neighbours.
fn hands_questions(host: &Host, (from, to): (Device, Device), v6: bool) -> bool {
    let (wanted, _) = asking(v6);
    all_handing(host, from, to)
        .any(|filter| !NARROW.contains(&filter.protocol) || filter.protocol == wanted)
}

/// The first priority that no filter of the interface has: those of one priority are of one protocol.
fn free_priority(host: &Host, at: Device, above: u16) -> u16 {
    let taken = |priority: &u16| {
        device_state::at(host, at, "tc-ingress").any(|filter| filter.priority == *priority)
    };
    (above + 1..u16::MAX)
        .find(|priority| !taken(priority))
        .unwrap_or(u16::MAX)
}

/// What asks for neighbours handed on as well.
fn neighbours_too(host: &Host, (at, other): (Device, Device), v6: bool) -> Remedy {
    let (from, to) = (host.interface(at), host.interface(other));
    let (protocol, name) = match v6 {
        true => ("ipv6", "IPv6"),
        false => ("arp", "ARP"),
    };
    let priority = free_priority(host, at, 0);
    let add = command![
        "tc filter add dev",
        from,
        "ingress protocol",
        protocol,
        "pref",
        priority,
        "u32 match u8 0 0 action mirred egress redirect dev",
        to
    ];
    Shell::of(host, Some(at.netns))
        .change(format!("hand {name} to {to} as well"), add)
        .undone_by(command![
            "tc filter del dev",
            from,
            "ingress protocol",
            protocol,
            "pref",
            priority
        ])
}

/// A filter whose target is gone made anew, for the interface of the namespace that hands all that comes in to the filter's own:
/// as a tap that was made again under its name.
pub fn led_again(host: &Host, here: Device, filter: &Attachment) -> Option<Remedy> {
    let (other, _) = partner(host, here).filter(|_| filter.hook == "tc-ingress")?;
    let (from, to) = (host.interface(here), host.interface(other));
    let gone = command![
        "tc filter del dev",
        from,
        "ingress pref",
        filter.priority,
        filter.how
    ];
    let anew = command![
        "tc filter add dev",
        from,
        "ingress protocol all pref",
        filter.priority,
        "u32 match u8 0 0 action mirred egress redirect dev",
        to
    ];
    Some(
        Shell::of(host, Some(here.netns))
            .change(
                format!("hand all that comes in at {from} to {to}, which hands what comes in to {from}"),
                gone,
            )
            .and(anew)
            .scope(
                "the filter is made anew for all packets: note first what it matches (tc -s filter show); what it led to cannot come back"
                    .to_owned(),
            ),
    )
}

fn advice(host: &Host, here: Device, other: Device) -> Vec<Remedy> {
    let shell = Shell::of(host, Some(here.netns));
    let (from, to) = (host.interface(here), host.interface(other));
    let known = |kind: &str| {
        let qdiscs = device_state::of(host, here)
            .into_iter()
            .flat_map(|s| &s.qdiscs);
        qdiscs.into_iter().any(|q| q.kind == kind)
    };
    let filter = |verb: &'static str| {
        command![
            "tc filter",
            verb,
            "dev",
            from,
            "ingress protocol all pref 1 u32 match u8 0 0 action mirred egress redirect dev",
            to
        ]
    };
    let text = format!("hand all that comes in at {from} to {to}, as {to} does the other way");
    let change = if known("ingress") || known("clsact") {
        let delete = command!["tc filter del dev", from, "ingress pref 1"];
        shell.change(text, filter("add")).undone_by(delete)
    } else {
        let qdisc = |verb: &'static str| command!["tc qdisc", verb, "dev", from, "ingress"];
        shell
            .change(text, qdisc("add"))
            .and(filter("add"))
            .undone_by(qdisc("del"))
    };
    vec![
        shell.look(
            "look first: the filters of both interfaces",
            command!["tc -s filter show dev", from, "ingress"],
        ),
        shell.look(
            "and of the one that hands it on",
            command!["tc -s filter show dev", to, "ingress"],
        ),
        change,
    ]
}
