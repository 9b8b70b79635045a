//! Verdicts where no packet was seen: senders that got an error instead, neighbours that never answered, or nothing
//! at all.

use std::net::IpAddr;

use crate::correlate::Trace;
use crate::host::Host;
use crate::host::facts::ProbeState;
use crate::model::{Direction, NetNs};
use crate::verdict::{Affected, Confidence, Evidence, Outcome, Place, Verdict};

use super::candidate::{Candidate, evidence, place_on};
use super::causes::CGROUP_DROP;
use super::local;
use super::remedy::{self, text};
use super::rules::neighbor::Unresolved;
use super::rules::{cgroup, ipsec, neighbor};
use super::view::{GRACE_NS, View};
use super::{local_ports, silent};

/// After so long a neighbour that does not answer has been asked a second time (`retrans_time_ms`).
const ASKED_AGAIN_NS: u64 = 1_050_000_000;

/// Whether packets went to a destination.
type Travelled<'a> = &'a dyn Fn(&IpAddr) -> bool;

/// Senders that got an error, for destinations to which no packet went.
pub(super) fn not_sent(trace: &Trace, host: &Host, views: &[View<'_>]) -> Option<Verdict> {
    let travelled = |dst: &IpAddr| {
        views.iter().filter(|v| !v.is_aside()).any(|v| {
            let mut tuples = v.flow.tuples.iter();
            tuples.any(|(_, t)| t.dst == *dst || t.src == *dst)
        })
    };
    local::failures(trace, host)
        .iter()
        .filter(|f| !travelled(&f.dst) || f.netns.is_some_and(|ns| others_alone(views, ns, f.dst)))
        .find_map(|f| local::verdict(trace, host, f))
        .or_else(|| local_ports::used_up(trace, host))
        .or_else(|| waiting(trace, host, (views, &travelled)))
}

/// Whether the flows to where a sender could not send are all of other namespaces than its own, by their first packets.
fn others_alone(views: &[View<'_>], netns: NetNs, dst: IpAddr) -> bool {
    let related = |view: &&View<'_>| {
        let mut tuples = view.flow.tuples.iter();
        !view.is_aside() && tuples.any(|(_, t)| t.dst == dst || t.src == dst)
    };
    let begins_elsewhere = |view: &View<'_>| {
        let forward = view.flow.asked().is_some_and(|asked| asked.dst == dst);
        let mut sent = view.journeys(Direction::Forward);
        let first = sent.find_map(|journey| {
            let event = &journey.steps.first()?.event;
            event.device.map(|device| device.netns).or(event.netns)
        });
        forward && first.is_some_and(|first| first != netns)
    };
    views.iter().filter(related).all(begins_elsewhere)
}

/// A neighbour that did not answer, for which packets wait that were asked for by their address, and of whose flow none travelled:
/// beside others that did, to other destinations or from other namespaces.
fn waiting(
    trace: &Trace,
    host: &Host,
    (views, travelled): (&[View<'_>], Travelled<'_>),
) -> Option<Verdict> {
    let waits_for = |who: &Unresolved| {
        let waited = waited(trace, *who);
        let mut senders = neighbor::senders(trace, *who);
        senders.any(|t| {
            let alone = || waited >= ASKED_AGAIN_NS && others_alone(views, who.device.netns, t.dst);
            neighbor::is_asked_for(host, t.dst)
                && waited >= GRACE_NS
                && (!travelled(&t.dst) || alone())
        })
    };
    let who = neighbor::pending(trace).find(waits_for)?;
    Some(waits(silent::stuck_at(trace, host, who)))
}

/// For how long a neighbour has been asked for, in nanoseconds.
fn waited(trace: &Trace, who: Unresolved) -> u64 {
    let mut asked = trace.beside.iter();
    let first = asked.find(|e| neighbor::unresolved_in(e) == Some(who));
    first.map_or(0, |e| trace.now.since(e.at))
}

/// Nothing matched, and a cgroup's program stands where it can refuse before there is a packet.
fn refused_by_cgroup(host: &Host) -> Option<Verdict> {
    let (names, reason, advice) = cgroup::refused_before_packets(host)?;
    Some(Verdict {
        outcome: Outcome::NotSent,
        cause: Some(CGROUP_DROP.code.to_owned()),
        confidence: Confidence::Possible,
        summary: format!(
            "nothing was sent: no packet matched; a cgroup's program may have refused the connection{names}"
        ),
        place: Some(Place {
            hook: Some("cgroup".to_owned()),
            ..place_on(host, None)
        }),
        packets: Affected::default(),
        evidence: vec![
            evidence("cgroup", reason),
            evidence(
                "cgroup",
                "a refusal there leaves no packet and no event, only EPERM in the sender: it cannot be told from a sender that did not send",
            ),
        ],
        advice: remedy::advice(&std::iter::once(text(
            "what did the sender say? \"Operation not permitted\" at connect or sendto is this; else it did not send while the trace was running",
        ))
        .chain(advice)
        .collect::<Vec<_>>()),
    })
}

/// Nothing matched, or only questions for a neighbour.
pub(super) fn no_traffic(trace: &Trace, host: &Host) -> Verdict {
    if let Some(who) = neighbor::unanswered(trace, host) {
        return waits(silent::stuck_at(trace, host, who));
    }
    if let Some(unsent) = ipsec::not_sent(trace, host).or_else(|| refused_by_cgroup(host)) {
        return unsent;
    }
    let (found, why) = local::found_a_way(trace, host).unzip();
    let expression = host
        .run
        .as_ref()
        .map(|r| r.expression.as_str())
        .filter(|e| !e.is_empty())
        .map_or_else(String::new, |e| format!(" {e}"));
    let ask = [
        text("was the traffic running while the trace was? make it repeat (ping -i 0.2 …)"),
        text(
            "is the address the one on the wire? a service address may be translated before the first interface: trace the backend's",
        ),
        text(
            "does the sender get an error at once (\"Network is unreachable\")? then there is no packet, and no source address yet: trace by the destination's address",
        ),
        text("does the sender run on this host at all? trace on its node"),
    ];
    Verdict {
        outcome: Outcome::NoTraffic,
        cause: None,
        confidence: Confidence::Certain,
        summary: format!("no traffic: no packet matched{expression}"),
        place: None,
        packets: Affected::default(),
        evidence: watched(host).into_iter().chain(found).collect(),
        advice: remedy::advice(&why.into_iter().chain(ask).collect::<Vec<_>>()),
    }
}

/// A neighbour does not answer: what is for it was not sent.
fn waits(found: Candidate) -> Verdict {
    Verdict {
        outcome: found.outcome,
        cause: Some(found.cause.code.to_owned()),
        confidence: Confidence::Likely,
        summary: found.summary,
        place: Some(found.place),
        packets: Affected::default(),
        evidence: found.evidence,
        advice: remedy::advice(&found.remedies),
    }
}

/// How much was watched.
fn watched(host: &Host) -> Vec<Evidence> {
    let (covered, total) = host.coverage;
    let failed: Vec<_> = host
        .probes
        .values()
        .filter(|p| p.state == ProbeState::Failed)
        .map(|p| p.name.as_str())
        .collect();
    let mut list = vec![format!("{covered} of {total} interfaces were watched")];
    if !failed.is_empty() {
        list.push(format!("probes that failed: {}", failed.join(", ")));
    }
    list.into_iter()
        .map(|text| evidence("counter", text))
        .collect()
}
