//! Neighbours that do not answer, for packets that died waiting for them.

use std::net::IpAddr;

use crate::correlate::Trace;
use crate::host::Host;
use crate::host::facts::Link;
use crate::model::{Detail, Device, Event, KtimeNs, NeighborEvent, Step, Transport, Tuple};
use crate::network::links::peer_of;
use crate::network::neighbour::{Answer, By, answer};
use crate::network::route::Query;
use crate::network::segment::Open;
use crate::network::tunnel::remote_of;
use crate::sites;
use crate::uapi::fib::LOOPBACK_IFINDEX;
use crate::uapi::neighbour::{self as states, NUD_FAILED, UNRESOLVED};
use crate::verdict::{Evidence, Outcome};

use super::super::candidate::{Candidate, Specificity, evidence, place_at};
use super::super::causes::NEIGHBOR_UNRESOLVED;
use super::super::groups;
use super::super::local;
use super::super::loss::{Loss, apart};
use super::super::overlay;
use super::super::overruled;
use super::super::ovs;
use super::super::remedy::{Remedy, Shell, command, ip, text};
use super::super::translation;
use super::super::view::View;
use super::super::words;
use super::l2::unredirected;
use super::{netfilter, ready, tunnel};

mod foreign;
mod intercepted;
mod next_hop;
mod port;
mod preset;
pub mod silence;
mod tunnelled;
mod unflooded;

use next_hop::Way;

/// `where.hook` of this family.
const HOOK: &str = "neighbor";
/// A packet waits in the call in which its neighbour was asked for.
const SAME_CALL_NS: u64 = 1_000_000;

/// A neighbour that was asked for and has no MAC.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Unresolved {
    /// On which interface.
    pub device: Device,
    /// Who should answer.
    pub address: IpAddr,
}

/// The neighbour of an event that tells of one without a MAC.
#[must_use]
pub fn unresolved_in(event: &Event) -> Option<Unresolved> {
    match &event.detail {
        Detail::Neighbor(NeighborEvent {
            address: Some(address),
            state,
            ..
        }) if u16::from(*state) & UNRESOLVED != 0 => Some(Unresolved {
            device: event.device?,
            address: *address,
        }),
        _ => None,
    }
}

/// The neighbour for which a packet waits that was last seen in `last`: asked for on the same interface right
/// then, or its destination itself.
#[must_use]
pub fn waited_for(trace: &Trace, last: &Event, device: Option<Device>) -> Option<Unresolved> {
    let found = |e: &&Event| {
        unresolved_in(e).is_some_and(|u| {
            let here = match device {
                Some(device) => u.device == device,
                None => Some(u.device.netns) == last.netns || last.netns.is_none(),
            };
            let then = e.cpu == last.cpu && apart(e.at, last.at) < SAME_CALL_NS;
            let itself = last.tuple.is_some_and(|t| t.dst == u.address);
            here && (then || itself || device.is_some())
        })
    };
    let events = || trace.beside.iter();
    let then = events()
        .filter(found)
        .find(|e| e.cpu == last.cpu && apart(e.at, last.at) < SAME_CALL_NS);
    let itself = events()
        .filter(found)
        .find(|e| unresolved_in(e).map(|u| u.address) == last.tuple.map(|t| t.dst));
    // one that answered since is not what it waits for
    let silent = |e: &&Event| unresolved_in(e).is_some_and(|who| !answered(trace, who));
    let only = events().rev().filter(found).find(silent);
    itself.or(then).or(only).and_then(unresolved_in)
}

/// Neighbours that were asked for and are still not known.
pub fn pending(trace: &Trace) -> impl Iterator<Item = Unresolved> {
    trace
        .beside
        .iter()
        .filter_map(unresolved_in)
        .filter(|who| !answered(trace, *who))
}

/// Whether the neighbour was asked for in this time, up to `end` in nanoseconds since boot.
#[must_use]
pub fn asked_between(trace: &Trace, who: Unresolved, start: KtimeNs, end: u64) -> bool {
    trace
        .beside
        .iter()
        .any(|e| (start.0..=end).contains(&e.at.0) && unresolved_in(e) == Some(who))
}

/// Whether the neighbour was asked for right when `last` was seen.
#[must_use]
pub fn asked_at(trace: &Trace, who: Unresolved, last: &Event) -> bool {
    trace.beside.iter().any(|e| {
        e.cpu == last.cpu && apart(e.at, last.at) < SAME_CALL_NS && unresolved_in(e) == Some(who)
    })
}

/// Whether the neighbour was given up.
#[must_use]
pub fn failed(trace: &Trace, who: Unresolved) -> bool {
    events_of(trace, who).any(|n| u16::from(n.state) & NUD_FAILED != 0)
}

/// Whether the neighbour is known by now: its last event shows a MAC and a state in which it can be used.
#[must_use]
pub fn answered(trace: &Trace, who: Unresolved) -> bool {
    events_of(trace, who)
        .next_back()
        .is_some_and(|n| u16::from(n.new_state.unwrap_or(n.state)) & UNRESOLVED == 0)
}

/// A neighbour that was asked for, never answered, and concerns the trace although no packet was seen: it is asked
/// for itself, or a sender in its namespace looked up a route for what is.
#[must_use]
pub fn unanswered(trace: &Trace, host: &Host) -> Option<Unresolved> {
    trace.beside.iter().filter_map(unresolved_in).find(|who| {
        // An expression without an address lets look-ups of every program in.
        let mut senders = senders(trace, *who);
        let concerns = is_asked_for(host, who.address)
            || senders.any(|tuple| local::is_asked_for(&tuple, trace, host));
        concerns && !answered(trace, *who)
    })
}

/// Whether the trace was narrowed to this address.
#[must_use]
pub fn is_asked_for(host: &Host, address: IpAddr) -> bool {
    host.run.as_ref().is_some_and(|r| {
        [&r.asked_src, &r.asked_dst, &r.asked]
            .iter()
            .any(|list| list.contains(&address))
    })
}

/// What was looked up (or sent again) by senders in the namespace of a neighbour's interface, to leave through it.
/// Only look-ups that the trace asked for are there at all.
pub fn senders(trace: &Trace, who: Unresolved) -> impl Iterator<Item = Tuple> {
    trace.beside.iter().filter_map(move |e| {
        let through = match &e.detail {
            Detail::Fib(fib) => {
                let out = fib.oif == 0 || fib.oif == who.device.ifindex.0;
                fib.iif <= LOOPBACK_IFINDEX && fib.error == 0 && out
            }
            Detail::Retransmit { .. } => true,
            _ => false,
        };
        let here = e.netns.or(e.socket.map(|s| s.netns)) == Some(who.device.netns);
        (through && here).then_some(e.tuple).flatten()
    })
}

/// A packet that waits for the neighbour, as routing saw it: one that a sender looked a way up for, or one that was last
/// seen in the namespace of the neighbour's interface.
#[must_use]
pub fn routed(trace: &Trace, who: Unresolved) -> Option<Query> {
    let netns = who.device.netns;
    if let Some(tuple) = senders(trace, who).next() {
        return Some(Query::output(tuple, 0));
    }
    trace.journeys.values().find_map(|journey| {
        let last = &journey.steps.last()?.event;
        let here = last.device.map(|d| d.netns).or(last.netns) == Some(netns);
        let tuple = last.tuple.filter(|_| here)?;
        let came_in = journey
            .steps
            .iter()
            .rev()
            .filter(|s| matches!(s.event.detail, Detail::Ingress))
            .find_map(|s| s.event.device.filter(|d| d.netns == netns));
        Some(match came_in {
            Some(device) => Query::input(tuple, device.ifindex, 0),
            None => Query::output(tuple, 0),
        })
    })
}

fn events_of(trace: &Trace, who: Unresolved) -> impl DoubleEndedIterator<Item = &NeighborEvent> {
    trace.beside.iter().filter_map(move |e| match &e.detail {
        Detail::Neighbor(n) if n.address == Some(who.address) && e.device == Some(who.device) => {
            Some(n)
        }
        _ => None,
    })
}

/// What asks for a neighbour.
#[must_use]
pub fn question_words(address: IpAddr) -> &'static str {
    if address.is_ipv6() {
        "neighbour solicitation"
    } else {
        "ARP request"
    }
}

/// What was seen of the question: requests on the wire, answers, and who owns the address.
fn question_evidence(
    trace: &Trace,
    host: &Host,
    who: Unresolved,
    told: &Answer<'_>,
) -> Vec<Evidence> {
    let mut list = seen_evidence(trace, host, who);
    list.extend(owner_evidence(host, who, told));
    if let Some(peer) = peer_of(host, who.device) {
        list.push(evidence(
            "link",
            format!(
                "the other end of {} is {}",
                words::interface(host, who.device),
                words::interface(host, peer.device)
            ),
        ));
    }
    if let Some(entry) = host.neighbor(who.device, who.address) {
        list.push(evidence(
            "neighbor",
            format!(
                "the table of neighbours says {} for {}",
                states::words(entry.state),
                who.address
            ),
        ));
    }
    list
}

/// Requests that came to another interface, or were dropped themselves.
fn seen_evidence(trace: &Trace, host: &Host, who: Unresolved) -> Vec<Evidence> {
    let question = question_words(who.address);
    let about = |event: &&Event| {
        matches!(event.packet.as_ref().map(|p| p.transport),
            Some(Transport::Neighbor { answer: false, target, .. }) if target == who.address)
    };
    let steps = trace.journeys.values().flat_map(|j| &j.steps);
    let seen: Vec<&Event> = steps
        .map(|s| &s.event)
        .chain(&trace.beside)
        .filter(about)
        .collect();
    let arrived = seen
        .iter()
        .filter(|e| matches!(e.detail, Detail::Ingress))
        .find_map(|e| e.device.filter(|d| *d != who.device))
        .map(|device| {
            format!(
                "the {question} for {} came to {}; no answer left there",
                who.address,
                words::interface(host, device)
            )
        });
    let dropped = seen.iter().find_map(|e| match &e.detail {
        Detail::Drop(info) => Some((e, info)),
        _ => None,
    });
    let dropped = dropped.map(|(event, info)| {
        let place = event.device.map_or_else(String::new, |d| {
            format!(" on {}", words::interface(host, d))
        });
        format!(
            "the {question} itself was dropped{place}: {} in {}",
            info.reason.as_deref().unwrap_or("no reason given"),
            info.function.as_deref().unwrap_or("an unknown function"),
        )
    });
    arrived
        .into_iter()
        .chain(dropped)
        .map(|text| evidence("neighbor", text))
        .collect()
}

/// Who has the address, where the question leads.
fn owner_evidence(host: &Host, who: Unresolved, told: &Answer<'_>) -> Vec<Evidence> {
    let address = who.address;
    let name = |link: &Link| words::interface(host, link.device);
    let owners = told
        .answerers
        .iter()
        .filter(|a| matches!(a.by, By::Owner(_)))
        .map(|a| a.link)
        .chain(told.silent.iter().filter_map(|s| host.link(s.owner?)));
    let owners: Vec<String> = owners.map(name).collect();
    let mut list = Vec::new();
    if !owners.is_empty() {
        list.push(format!("{address} belongs to {}", owners.join(", ")));
    }
    list.extend(told.elsewhere.iter().map(|e| {
        format!(
            "{address} is on {}, behind {} and not behind {}",
            name(e.owner),
            name(e.through),
            words::interface(host, who.device)
        )
    }));
    list.extend(told.between.iter().map(|b| {
        format!(
            "{address} is on {}, behind {}: the question goes no further than {}",
            name(b.owner),
            name(b.far),
            name(b.near)
        )
    }));
    if list.is_empty() && address.is_ipv6() {
        list.extend(ready::without_ipv6(host, &told.asked));
    }
    if list.is_empty() {
        match host.owners(address).next() {
            None => list.push(format!("no interface of this host has {address}")),
            Some(_) if told.missing.is_empty() => {
                list.push(format!(
                    "no interface that the question reaches has {address}"
                ));
            }
            Some(_) => {}
        }
    }
    list.extend(told.open.iter().filter_map(|open| {
        let beyond = match open {
            Open::Wire(link) => format!("through {}", name(link)),
            Open::Process(link) => format!("to the process that reads {}", name(link)),
            Open::Remote(link, end) => format!("from {} to the remote end {end}", name(link)),
            Open::Peer(link) => format!("to the other end of {}", name(link)),
            Open::Unmodelled(_) => return None,
        };
        Some(format!(
            "the question goes on {beyond}: who is there cannot be told from here"
        ))
    }));
    list.into_iter()
        .map(|text| evidence("neighbor", text))
        .collect()
}

/// `ARP miss on r: nobody answers for 10.0.2.9 on rb`.
#[must_use]
pub fn summary(host: &Host, who: Unresolved) -> String {
    let miss = if who.address.is_ipv6() {
        "ND miss"
    } else {
        "ARP miss"
    };
    format!(
        "{miss} on {}: nobody answers for neighbour {} on {}",
        host.namespace(who.device.netns),
        who.address,
        host.interface(who.device)
    )
}

/// What to look at.
fn looks(host: &Host, who: Unresolved) -> Vec<Remedy> {
    let shell = Shell::of(host, Some(who.device.netns));
    let name = host.interface(who.device);
    let ip = ip(who.address.is_ipv6());
    let mut list = vec![
        shell.look(
            "the entry (FAILED or INCOMPLETE: no answer)",
            command![..ip, "neigh show", who.address, "dev", name],
        ),
        shell.look(
            "who should answer: is the next hop right?",
            command![..ip, "route get", who.address],
        ),
    ];
    if let Some(peer) = peer_of(host, who.device) {
        list.push(Shell::of(host, Some(peer.device.netns)).look(
            "the other end of the cable: is the address there, is it up?",
            command!["ip addr show dev", peer.name],
        ));
    }
    list
}

/// Why a neighbour does not answer.
pub enum Story {
    /// Something keeps the question or the answer back, or whoever has the address does not answer such a question.
    Explained(Candidate),
    /// Nobody answers, and nothing that was read says why.
    Nobody(Candidate),
}

/// What is known of a neighbour that does not answer. `routed`: the packet for which it was asked, as routing saw it.
#[must_use]
pub fn story(trace: &Trace, host: &Host, who: Unresolved, routed: Option<Query>) -> Story {
    if let Some(first_cause) = ovs::of_question(trace, host, who.address) {
        return Story::Explained(first_cause);
    }
    if let Some(first_cause) = lost_in_tunnel(trace, host, who) {
        return Story::Explained(first_cause);
    }
    let told = answer(host, silence::ask(trace, host, who));
    let astray = || overruled::of_neighbor(host, who);
    let taken = || intercepted::explained((trace, host), who, &told);
    let explained = silence::explained(trace, host, who, &told);
    let carried = || tunnelled::refused(host, who);
    let downed = || {
        let way = Way::of(host, who, &routed?, false)?;
        let candidate = way.missed()?.gone_with_its_device(host)?;
        Some(candidate.because("neighbor", summary(host, who)))
    };
    let explained = explained.or_else(astray).or_else(taken);
    match explained.or_else(carried).or_else(downed) {
        Some(candidate) => Story::Explained(candidate),
        None => Story::Nobody(nobody((trace, host), who, routed, &told)),
    }
}

/// What became of the question where a tunnel's packet that carried it was lost.
fn lost_in_tunnel(trace: &Trace, host: &Host, who: Unresolved) -> Option<Candidate> {
    let asks = |loss: &&Loss<'_>| {
        let asked = loss.event.packet.as_ref().map(|packet| packet.transport);
        let own = matches!(asked, Some(Transport::Neighbor { answer: false, target, .. }) if target == who.address);
        own && loss.tunnel().is_some()
    };
    let flows = trace.flows.iter().map(|flow| View { trace, host, flow });
    let candidate = flows.into_iter().find_map(|view| {
        let losses = view.losses();
        let loss = losses.lost.iter().find(asks)?;
        groups::decide(loss).filter(|c| *c.cause != NEIGHBOR_UNRESOLVED)
    })?;
    let summary = format!(
        "{} for {}: {}",
        question_words(who.address),
        who.address,
        candidate.summary
    );
    let mut candidate = candidate.explains(Specificity::Linked);
    candidate.summary = summary;
    Some(candidate)
}

/// Whether a packet with this destination had another one before.
fn is_translated(trace: &Trace, tuple: Tuple) -> bool {
    let to = |t: &Tuple| (t.dst, t.dport);
    let mut changes = trace.journeys.values().flat_map(translation::changes);
    changes.any(|c| to(&c.before) != to(&c.after) && to(&c.after) == to(&tuple))
}

/// Where question or answer may get lost that nothing which was read keeps back: programs and filters at both ends.
fn unheard(host: &Host, who: Unresolved, there: &[&Link]) -> Vec<Remedy> {
    let ends = there.iter().map(|link| link.device);
    let mut list: Vec<Remedy> = std::iter::once(who.device)
        .chain(ends)
        .map(|device| {
            let name = host.interface(device);
            Shell::of(host, Some(device.netns)).look(
                format!(
                    "programs and filters at {}: XDP, tc, netdev chains",
                    words::interface(host, device)
                ),
                command!["bpftool net show dev", name],
            )
        })
        .collect();
    list.push(text(format!(
        "{} should answer, as far as its settings were read: question or answer is lost between, before its stack sees it",
        words::interface(host, there.first().map_or(who.device, |link| link.device))
    )));
    list
}

fn nobody(
    (trace, host): (&Trace, &Host),
    who: Unresolved,
    routed: Option<Query>,
    told: &Answer<'_>,
) -> Candidate {
    let way =
        routed.and_then(|query| Way::of(host, who, &query, is_translated(trace, query.tuple)));
    let found = match (overlay::neighbour_entry(host, who), &way) {
        (Some(entry), _) => vec![entry],
        (None, Some(way)) => way.remedies(told),
        (None, None) => Vec::new(),
    };
    let place = place_at(host, who.device, HOOK);
    let mut candidate = Candidate::new(&NEIGHBOR_UNRESOLVED, place, summary(host, who))
        .because("route", way.as_ref().map(Way::words))
        .advise(looks(host, who));
    candidate
        .evidence
        .extend(question_evidence(trace, host, who, told));
    let between = told.between.iter();
    let v6 = who.address.is_ipv6();
    let mut ends = between.map(|b| (b.near.device, b.far.device));
    if let Some(misled) = ends.find_map(|ends| unredirected::gap(host, ends, v6)) {
        let (kind, text) = misled.evidence;
        candidate.summary += &format!("; {}", misled.words);
        return candidate.because(kind, text).advise(misled.advice);
    }
    if let Some((words, entry)) = unflooded::told(host, who) {
        candidate.summary += &words;
        return candidate.advise([entry]);
    }
    if let Some((words, entry)) = preset::told(host, who) {
        candidate.summary += &words;
        return candidate.advise([entry]).advise(found);
    }
    if let Some((words, moved)) = port::told(host, who) {
        candidate.summary += &words;
        return candidate.advise([moved]);
    }
    if let Some(more) = way.as_ref().and_then(|way| way.summary(told)) {
        candidate.summary += &more;
    }
    let foreign = foreign::told((trace, host), who, told);
    let nothing = found.is_empty() && foreign.is_none();
    if let Some((words, change)) = foreign {
        candidate.summary += &words;
        candidate = candidate.advise([change]);
    }
    let there = intercepted::owners(who, told);
    if nothing && !there.is_empty() {
        candidate = candidate.advise(unheard(host, who, &there));
    } else if nothing {
        candidate = candidate.advise([text(format!(
            "start or repair the machine that owns {}, or correct the route or the service's endpoint that names it",
            who.address
        ))]);
    }
    candidate.advise(found)
}

/// The neighbour for which the lost packet waited; `None` for other losses.
pub(super) fn awaited(loss: &Loss<'_>) -> Option<Unresolved> {
    if !sites::NEIGHBOR_QUEUE.is(loss.info) {
        return None;
    }
    let device = loss.device();
    waited_for(loss.trace, loss.event, device).or_else(|| {
        Some(Unresolved {
            device: device?,
            address: loss.dst()?,
        })
    })
}

/// The packet died in the neighbour's queue.
pub fn unresolved(loss: &Loss<'_>) -> Option<Candidate> {
    let who = awaited(loss)?;
    if let Some(first_cause) = netfilter::of_question(loss.trace, loss.host, who.address) {
        return Some(first_cause);
    }
    let came_in = loss.came_in().filter(|d| Some(*d) != loss.device());
    let found = match story(loss.trace, loss.host, who, loss.routed(came_in)) {
        Story::Explained(candidate) => return Some(candidate.leads_to(Outcome::Dropped)),
        Story::Nobody(candidate) => candidate,
    };
    let mut candidate = found.explains(Specificity::Fact).because(
        "icmp",
        loss.told().map(|t| format!("the sender was told: {t}")),
    );
    candidate.place = loss.place_at_device(HOOK);
    if loss.reason() == "NEIGH_QUEUEFULL" {
        candidate.summary += " (its queue is full)";
    }
    if loss.reason() == "NEIGH_CREATEFAIL" {
        candidate.summary = format!(
            "neighbour table full{}: no entry for {}",
            loss.at_words(),
            who.address
        );
    }
    let netns = who.device.netns;
    let found = ovs::wrong_remote(loss.host, loss.steps(), (netns, who.address), candidate);
    Some(match (found, tunnel::outer_of(loss)) {
        (Ok(candidate), _) => candidate,
        (Err(candidate), None) => *candidate,
        (Err(candidate), Some((device, remote))) => {
            remote_end((loss.host, loss.steps()), *candidate, device, remote)
        }
    })
}

/// The same for a packet that waits: where it was handed to a tunnel that sends it to the neighbour for which it waits.
pub(in super::super) fn waits_outside(
    host: &Host,
    steps: &[Step],
    who: Unresolved,
    candidate: Candidate,
) -> Candidate {
    let out = |s: &&Step| matches!(s.event.detail, Detail::Egress);
    let tunnel = steps.iter().rev().find(out).and_then(|step| {
        let device = step.event.device?;
        host.link(device)?.vxlan.as_ref()?;
        let mac = step.event.packet.as_ref()?.ethernet?.dst;
        let end = remote_of(host, device, mac)?.address;
        (end == who.address).then_some(device)
    });
    match tunnel {
        Some(device) => remote_end((host, steps), candidate, device, who.address),
        None => candidate,
    }
}

/// The packet waited inside its tunnel: nobody is at the remote end to which the tunnel sends it.
fn remote_end(
    (host, steps): (&Host, &[Step]),
    mut candidate: Candidate,
    device: Device,
    remote: IpAddr,
) -> Candidate {
    let name = host.interface(device);
    candidate.summary += &format!(" (remote end {remote} of the tunnel {name})");
    let shell = Shell::of(host, Some(device.netns));
    let candidate = candidate.advise([shell.look(
        format!("which entry of {name} sends to {remote}: is it the right end?"),
        command!["bridge fdb show dev", name].piped_to(command!["grep -w", remote]),
    )]);
    let out =
        |s: &&Step| s.event.device == Some(device) && matches!(s.event.detail, Detail::Egress);
    let mac = steps
        .iter()
        .rev()
        .filter(out)
        .find_map(|s| Some(s.event.packet.as_ref()?.ethernet?.dst));
    let truth = mac.and_then(|mac| {
        let owner = overlay::owner(host, device, mac)?;
        let end = overlay::end_of(host, owner, device.netns).filter(|end| *end != remote)?;
        Some((mac, owner, end))
    });
    let Some((mac, owner, end)) = truth else {
        return candidate.advise([text(
            "if that end has moved, name the new one in its forwarding entry",
        )]);
    };
    candidate
        .because(
            "link",
            format!(
                "{mac} is at {end} ({})",
                words::interface(host, owner.device)
            ),
        )
        .advise([overlay::corrected(host, device, mac, (remote, end))])
}
