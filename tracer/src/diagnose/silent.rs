//! Flows without a drop: delivered, unanswered, vanished, waiting for a neighbour, or never sent at all.

mod swallowed;
mod unanswered;
mod waiting;

use crate::host::Host;
use crate::model::{Detail, Direction, Event, Fate, FateCounts, NetNs, Transport};
use crate::report::{Affected, Confidence, Evidence, Outcome, Place, Verdict};

use super::advice::{Shell, text};
use super::candidate::{Candidate, evidence};
use super::mended::first_packet;
use super::view::{View, last_seen, total};
use super::words;

pub use waiting::stuck_at;

/// Fates of both directions.
#[derive(Clone, Copy)]
pub struct Counts {
    /// The way there.
    pub forward: FateCounts,
    /// The way back.
    pub reply: FateCounts,
}

/// The verdict of a flow that lost nothing that the kernel would admit.
#[must_use]
pub fn verdict(view: &View<'_>, counts: &Counts) -> Verdict {
    let found = waiting::waiting(view, counts)
        .or_else(|| swallowed::answer_not_sent(view, counts))
        .or_else(|| swallowed::swallowed(view, counts))
        .or_else(|| unanswered::refused_outside(view, counts))
        .or_else(|| swallowed::answered_with_another_address(view, counts))
        .or_else(|| vanished(view, Direction::Forward, counts))
        .or_else(|| unanswered::unanswered(view, counts))
        .or_else(|| vanished(view, Direction::Reply, counts));
    match found {
        Some(silence) => silence.verdict(view),
        None => delivered(view, counts),
    }
}

/// A proposal with what it is about.
struct Silence {
    candidate: Candidate,
    direction: Direction,
    affected: u64,
    vanished: bool,
}

impl Silence {
    fn verdict(self, view: &View<'_>) -> Verdict {
        let Candidate {
            cause,
            outcome,
            confidence,
            place,
            summary,
            evidence,
            advice,
            ..
        } = self.candidate;
        Verdict {
            outcome,
            cause: (!self.vanished).then(|| cause.code.to_owned()),
            confidence,
            summary,
            place: Some(place),
            packets: Affected {
                seen: view.seen(self.direction).max(self.affected),
                affected: self.affected,
            },
            evidence,
            advice,
        }
    }
}

/// The verdict of a better explanation for what another verdict found.
#[must_use]
pub fn from_candidate(view: &View<'_>, candidate: Candidate, found: Verdict) -> Verdict {
    let affected = view.seen(Direction::Forward);
    let silence = Silence {
        candidate,
        direction: Direction::Forward,
        affected,
        vanished: false,
    };
    let mut verdict = silence.verdict(view);
    let known = |e: &&Evidence| matches!(e.kind.as_str(), "drop" | "stack" | "socket");
    verdict
        .evidence
        .extend(found.evidence.iter().filter(known).cloned());
    verdict
}

fn place_of(host: &Host, event: Option<&Event>, hook: &str) -> Place {
    let device = event.and_then(|e| e.device);
    let netns: Option<NetNs> = device
        .map(|d| d.netns)
        .or_else(|| event.and_then(|e| e.netns));
    Place {
        namespace: netns.map(|ns| host.namespace(ns)),
        interface: device.map(|d| host.interface(d)),
        hook: Some(hook.to_owned()),
        function: None,
    }
}

/// No drop, no delivery: say where it was seen last.
fn vanished(view: &View<'_>, direction: Direction, counts: &Counts) -> Option<Silence> {
    let fates = match direction {
        Direction::Forward => counts.forward,
        _ => counts.reply,
    };
    let arrived = fates.delivered + fates.left;
    let works = match direction {
        // TCP's handshake and coalesced segments end without any event: an answer proves that they came.
        Direction::Forward => arrived >= fates.vanished.max(1) || total(&counts.reply) > 0,
        _ => arrived > 0 || !view.asker_is_here() || conversation(view),
    };
    if works || fates.vanished == 0 {
        return None;
    }
    let last = view
        .journeys(direction)
        .filter(|j| matches!(j.fate, Fate::Vanished { .. } | Fate::InFlight))
        .find_map(last_seen);
    let place = place_of(view.host, last, "device");
    let at = last.and_then(|e| e.device).map_or_else(
        || "an unknown place".to_owned(),
        |d| words::interface(view.host, d),
    );
    let what = if direction == Direction::Reply {
        "reply vanished"
    } else {
        "vanished"
    };
    let side = match last.map(|e| &e.detail) {
        Some(Detail::Egress) => "leaving",
        Some(Detail::Ingress) => "entering",
        _ => "at",
    };
    let losses = &view.trace.losses;
    let lost: u64 = losses
        .lost
        .iter()
        .chain(&losses.thinned)
        .map(|(_, n)| n)
        .sum();
    let candidate = Candidate::new(
        &super::causes::KERNEL_OTHER,
        place,
        format!("{what}: last seen {side} {at}; the kernel reported no drop"),
    )
    .leads_to(Outcome::Vanished)
    .sure(Confidence::Possible)
    .because(
        "counter",
        (lost > 0).then(|| {
            format!("{lost} observations were lost or thinned: the end may be among them")
        }),
    )
    .advise([
        text("look at what is behind that interface: a process, a program, hardware"),
        Shell::of(view.host, last.and_then(|e| e.netns))
            .run("counters of its interfaces", "ip -s -s link"),
    ]);
    Some(Silence {
        candidate,
        direction,
        affected: fates.vanished,
        vanished: true,
    })
}

/// A TCP connection in which the asker went on after the answer.
fn conversation(view: &View<'_>) -> bool {
    view.journeys(Direction::Forward).any(|j| {
        first_packet(j).is_some_and(
            |p| matches!(p.transport, Transport::Tcp { flags, .. } if flags & 0x16 == 0x10),
        )
    })
}

/// Nothing is wrong.
fn delivered(view: &View<'_>, counts: &Counts) -> Verdict {
    let Counts { forward, reply } = counts;
    let to = view
        .tuple()
        .map_or_else(|| "its destination".to_owned(), |t| words::destination(&t));
    let answered = view.seen(Direction::Reply).max(total(reply));
    let seen = view.seen(Direction::Forward);
    let summary = if answered > 0 {
        format!(
            "delivered: {} to {to}, {} back",
            words::count(seen, "packet"),
            words::count(answered, "packet")
        )
    } else if forward.left > 0 && forward.delivered == 0 {
        format!("left this host: {} to {to}", words::count(seen, "packet"))
    } else {
        format!("delivered: {} to {to}", words::count(seen, "packet"))
    };
    let proven = forward.delivered > 0
        && (answered == 0 || reply.delivered > 0 || !view.asker_is_here())
        && forward.vanished == 0
        && reply.vanished == 0;
    let list = (forward.vanished + reply.vanished > 0)
        .then(|| {
            evidence(
                "packet",
                format!(
                    "{} without a seen end (the kernel frees some without an event)",
                    words::count(forward.vanished + reply.vanished, "packet")
                ),
            )
        })
        .into_iter()
        .collect();
    Verdict {
        outcome: Outcome::Delivered,
        cause: None,
        confidence: if proven {
            Confidence::Certain
        } else {
            Confidence::Likely
        },
        summary,
        place: None,
        packets: Affected { seen, affected: 0 },
        evidence: list,
        advice: Vec::new(),
    }
}
