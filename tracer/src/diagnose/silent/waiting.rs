//! Packets that wait for a neighbour: no drop yet, or none seen.

use std::net::IpAddr;

use crate::correlate::Trace;
use crate::host::Host;
use crate::model::{Detail, Direction, Event, Fate, FateCounts, Journey, Proto, Transport, Tuple};
use crate::network::tunnel::underlay_netns;
use crate::uapi::neighbour::UNRESOLVED;
use crate::uapi::{icmp, icmpv6};
use crate::verdict::Confidence;

use super::super::candidate::{Candidate, Specificity, evidence};
use super::super::recovered::first_packet;
use super::super::rules::neighbor::{self, Story, Unresolved, silence};
use super::super::rules::{link, netfilter};
use super::super::view::{View, last_seen, total};
use super::{Counts, Silence};

/// Packets that wait for a neighbour which has not answered (yet).
pub(super) fn waiting(view: &View<'_>, counts: &Counts) -> Option<Silence> {
    let arrives = |c: &FateCounts| c.delivered + c.left > 0;
    for (direction, fates) in [
        (Direction::Forward, &counts.forward),
        (Direction::Reply, &counts.reply),
    ] {
        if arrives(fates) || fates.vanished + fates.in_flight == 0 {
            continue;
        }
        let stuck = |j: &&Journey| matches!(j.fate, Fate::Vanished { .. } | Fate::InFlight);
        let mut journeys = view.journeys(direction).filter(stuck);
        let waits = journeys.find_map(|journey| {
            let who = waits_for(view.trace, view.host, last_seen(journey)?)?;
            (!was_sent(journey, who)).then_some((journey, who))
        });
        let Some((journey, who)) = waits else {
            continue;
        };
        let candidate = stuck_at(view.trace, view.host, who);
        return Some(Silence {
            candidate: neighbor::waits_outside(view.host, &journey.steps, who, candidate),
            direction,
            affected: fates.vanished + fates.in_flight,
            cause_known: true,
        });
    }
    answers_wait(view, counts).or_else(|| unseen(view, counts))
}

/// Datagrams that answer, of which nothing was seen but that a way was looked up for them: they wait for a neighbour where they
/// were made. TCP sends again, and an echo is answered in the call that took it in.
fn answers_wait(view: &View<'_>, counts: &Counts) -> Option<Silence> {
    let answered = view.journeys(Direction::Reply).next().is_some();
    let datagrams = view.tuple()?.proto == Proto::Udp;
    if !datagrams || counts.forward.delivered == 0 || total(&counts.reply) > 0 || answered {
        return None;
    }
    let tuples = &view.flow.tuples;
    // The source is chosen by the route that is looked up, where the socket is bound to none.
    let is_answer = |tuple: Tuple| {
        tuples.iter().map(|(_, own)| own.reversed()).any(|answer| {
            let unbound = Tuple {
                src: tuple.src,
                ..answer
            };
            answer == tuple || tuple.src.is_unspecified() && unbound == tuple
        })
    };
    let who = neighbor::pending(view.trace)
        .filter(|who| !neighbor::answered(view.trace, *who))
        .find(|who| {
            neighbor::senders(view.trace, *who).any(is_answer) || asker_is_asked_for(view, *who)
        })?;
    Some(Silence {
        candidate: stuck_at(view.trace, view.host, who),
        direction: Direction::Reply,
        affected: counts.forward.delivered,
        cause_known: true,
    })
}

/// Whether the asker's own address was asked for in vain where its question had arrived: the look-up for the answer is not seen where it
/// has no address that the trace asks for.
fn asker_is_asked_for(view: &View<'_>, who: Unresolved) -> bool {
    let asker = view.tuple().is_some_and(|tuple| tuple.src == who.address);
    // The buffer itself may be freed much later (skb_attempt_defer_free).
    let came = |journey: &Journey| {
        let mut events = journey.steps.iter().map(|step| &step.event);
        let there =
            events.find(|e| e.device.map(|d| d.netns).or(e.netns) == Some(who.device.netns));
        there.map(|event| event.at)
    };
    let mut arrived = view
        .journeys(Direction::Forward)
        .filter(|journey| journey.fate == Fate::Delivered)
        .filter_map(came);
    asker && arrived.any(|at| neighbor::asked_between(view.trace, who, at, view.trace.now.0))
}

/// No packet of the flow was seen, only errors about it: what they waited for is known beside it.
fn unseen(view: &View<'_>, counts: &Counts) -> Option<Silence> {
    if !view.is_unseen(counts) || asks_for_loopback(view.host) || only_redirects(view) {
        return None;
    }
    let who = neighbor::unanswered(view.trace, view.host)?;
    if is_resolved(view.host, who) {
        return None;
    }
    Some(Silence {
        candidate: stuck_at(view.trace, view.host, who),
        direction: Direction::Forward,
        affected: 0,
        cause_known: true,
    })
}

/// Whether all that was seen of the flow are ICMP redirects: who sent one passed the packet on.
fn only_redirects(view: &View<'_>) -> bool {
    let is_redirect = |journey: &Journey| {
        let sent = first_packet(journey).map(|packet| packet.transport);
        let v6 = view.tuple().is_some_and(|tuple| tuple.dst.is_ipv6());
        let redirect = if v6 { icmpv6::REDIRECT } else { icmp::REDIRECT };
        matches!(sent, Some(Transport::Icmp { icmp_type, .. }) if icmp_type == redirect)
    };
    let mut errors = view.journeys(Direction::Error).peekable();
    errors.peek().is_some() && errors.all(is_redirect)
}

/// Whether loopback addresses alone are asked for: what waits for a neighbour in some namespace is not of their flow, for each
/// namespace has them.
fn asks_for_loopback(host: &Host) -> bool {
    let asked = host.run.iter().flat_map(|run| &run.asked);
    let mut asked = asked.peekable();
    asked.peek().is_some() && asked.all(IpAddr::is_loopback)
}

/// Whether a packet went out by the interface on which the neighbour is asked for: it had the neighbour's MAC then, though the
/// answer was not seen.
fn was_sent(journey: &Journey, who: Unresolved) -> bool {
    let asks =
        first_packet(journey).is_some_and(|p| matches!(p.transport, Transport::Neighbor { .. }));
    let mut events = journey.steps.iter().map(|step| &step.event);
    !asks && events.any(|e| e.device == Some(who.device) && matches!(e.detail, Detail::Egress))
}

/// The neighbour that a packet last seen in `last` waits for: of its namespace, never resolved since.
fn waits_for(trace: &Trace, host: &Host, last: &Event) -> Option<Unresolved> {
    within(trace, host, last).or_else(|| below(trace, host, last))
}

/// The same in the namespace in which the outer packets of a tunnel travel, where that is another one: the neighbour was asked
/// for when the tunnel was given the packet.
fn below(trace: &Trace, host: &Host, last: &Event) -> Option<Unresolved> {
    let given = matches!(last.detail, Detail::Egress);
    let link = host.link(last.device?).filter(|_| given)?;
    let netns = underlay_netns(link);
    if netns == link.device.netns {
        return None;
    }
    let outer = Event {
        netns: Some(netns),
        device: None,
        tuple: None,
        ..last.clone()
    };
    let who = neighbor::waited_for(trace, &outer, None)?;
    let then = neighbor::asked_at(trace, who, &outer);
    (who.device.netns == netns && then && !neighbor::answered(trace, who)).then_some(who)
}

fn within(trace: &Trace, host: &Host, last: &Event) -> Option<Unresolved> {
    let who = neighbor::waited_for(trace, last, None)?;
    let netns = last.device.map(|d| d.netns).or(last.netns)?;
    let gateway = host.routes.iter().any(|r| {
        r.fact.netns == netns
            && r.fact
                .result
                .as_ref()
                .is_ok_and(|route| route.gateway == Some(who.address))
    });
    if is_resolved(host, who) {
        return None;
    }
    let then = neighbor::asked_at(trace, who, last);
    let itself = last.tuple.is_some_and(|t| t.dst == who.address);
    (who.device.netns == netns && (then || itself || gateway) && !neighbor::answered(trace, who))
        .then_some(who)
}

/// The table of neighbours may know of an answer that was not seen.
fn is_resolved(host: &Host, who: Unresolved) -> bool {
    let known = host.neighbor(who.device, who.address);
    known.is_some_and(|entry| entry.mac.is_some() && entry.state & UNRESOLVED == 0)
}

/// Nobody answers for this neighbour: since the link is down, or for another reason.
pub fn stuck_at(trace: &Trace, host: &Host, who: Unresolved) -> Candidate {
    if link::is_down(trace, host, who.device) {
        return link::down(host, who.device, None, &silence::ends(trace, who)).because(
            "neighbor",
            format!("packets wait for {}, who cannot be asked", who.address),
        );
    }
    if let Some(kept_back) = netfilter::of_question(trace, host, who.address) {
        return kept_back;
    }
    let found = match neighbor::story(trace, host, who, neighbor::routed(trace, who)) {
        Story::Explained(candidate) => return candidate,
        Story::Nobody(candidate) => candidate,
    };
    let (state, confidence) = match neighbor::failed(trace, who) {
        true => ("FAILED", Confidence::Certain),
        false => ("INCOMPLETE", Confidence::Likely),
    };
    let mut candidate = found.explains(Specificity::Linked).sure(confidence);
    candidate.evidence.insert(
        0,
        evidence(
            "neighbor",
            format!(
                "the entry for {} is {state}; packets wait in its queue",
                who.address
            ),
        ),
    );
    candidate
}
