//! Flows without a drop: delivered, unanswered, vanished, waiting for a neighbour, or never sent at all.

mod between;
mod cancelled;
mod returned;
mod stalled;
mod swallowed;
mod tun;
mod unanswered;
mod unread;
mod vanished;
mod waiting;

use crate::host::Host;
use crate::model::{Direction, Event, FateCounts};
use crate::verdict::{Affected, Confidence, Evidence, Outcome, Place, Verdict};

use super::candidate::{Candidate, evidence, place_on};
use super::nfqueue;
use super::remedy;
use super::view::{View, total};
use super::wireguard;
use super::words;

pub use swallowed::SYN_COOKIES;
pub use unanswered::error_seen;
pub use unread::question as unread_question;
pub use waiting::stuck_at;

/// Fates of both directions.
#[derive(Clone, Copy)]
pub struct Counts {
    /// The way there.
    pub forward: FateCounts,
    /// The way back.
    pub reply: FateCounts,
}

impl Counts {
    /// Those of a direction; errors about the flow count with the way there.
    #[must_use]
    pub fn of(&self, direction: Direction) -> &FateCounts {
        match direction {
            Direction::Reply => &self.reply,
            _ => &self.forward,
        }
    }
}

/// The verdict of a flow that lost nothing that the kernel would admit.
#[must_use]
pub fn verdict(view: &View<'_>, counts: &Counts) -> Verdict {
    let found = SYMPTOMS
        .iter()
        .find_map(|symptom| (symptom.propose)(view, counts));
    match found {
        Some(silence) => silence.verdict(view),
        None => delivered(view, counts),
    }
}

/// A way in which a flow fails without a drop.
struct Symptom {
    /// Its name.
    name: &'static str,
    /// Why it is looked at before those behind it.
    before: &'static str,
    propose: fn(&View<'_>, &Counts) -> Option<Silence>,
}

/// The first that shows itself is the verdict: what is known to wait or to be refused before what is only missing, and
/// the way there before the way back.
const SYMPTOMS: &[Symptom] = &[
    Symptom {
        name: "a packet that waits for a neighbour",
        before: "the kernel itself says that it waits",
        propose: waiting::waiting,
    },
    Symptom {
        name: "a packet that waits in the queue of a process",
        before: "the kernel counts it there, and TCP's segments are else taken to have arrived",
        propose: queued,
    },
    Symptom {
        name: "a packet in a WireGuard tunnel whose other end does not take it",
        before: "keys, allowed addresses and endpoints of both ends tell why",
        propose: tunnelled,
    },
    Symptom {
        name: "an answer that could not be sent",
        before: "its own route look-up failed",
        propose: swallowed::answer_not_sent,
    },
    Symptom {
        name: "a request that was taken in and not answered",
        before: "the function that took it in tells why",
        propose: swallowed::swallowed,
    },
    Symptom {
        name: "a packet lost between two nodes",
        before: "counters of both nodes tell how many",
        propose: between::lost,
    },
    Symptom {
        name: "a packet for a node that was not asked for it",
        before: "what that node did with it is not known, whatever else is missing",
        propose: between::unknown,
    },
    Symptom {
        name: "a refusal that came in from outside",
        before: "an answer was seen",
        propose: unanswered::refused_outside,
    },
    Symptom {
        name: "a handshake that its asker resets",
        before: "the asker's own answer is known, whatever else is missing",
        propose: cancelled::cancelled,
    },
    Symptom {
        name: "a process that gets its own connections back",
        before: "who reads and who opens them tells why nothing came",
        propose: returned::returned,
    },
    Symptom {
        name: "a request that nobody reads",
        before: "the processes' own state and queues tell why nothing came",
        propose: unread::unread,
    },
    Symptom {
        name: "an answer from another address",
        before: "the server's own choice of address tells why nothing came",
        propose: swallowed::answered_with_another_address,
    },
    Symptom {
        name: "a packet without an end",
        before: "what did not arrive cannot be answered",
        propose: |view, counts| vanished::vanished(view, Direction::Forward, counts),
    },
    Symptom {
        name: "an answer that is due and did not come",
        before: "there is none of which to say where it ended",
        propose: unanswered::unanswered,
    },
    Symptom {
        name: "a segment that is sent again and never acknowledged",
        before: "what was sent again and never acknowledged did not come, whatever else did",
        propose: stalled::stalled,
    },
    Symptom {
        name: "an answer without an end",
        before: "",
        propose: |view, counts| vanished::vanished(view, Direction::Reply, counts),
    },
];

/// Packets that wait for the verdict of a process (NFQUEUE), of a flow that got no answer.
fn queued(view: &View<'_>, counts: &Counts) -> Option<Silence> {
    if view.answers(counts) > 0 {
        return None;
    }
    let mut journeys = view.journeys(Direction::Forward);
    let mut candidate = journeys.find_map(|journey| nfqueue::waits(view.host, journey))?;
    candidate.summary = format!("vanished: {}", candidate.summary);
    Some(Silence::of_requests(view, candidate))
}

/// Packets that were handed to a WireGuard device, of which none arrived.
fn tunnelled(view: &View<'_>, counts: &Counts) -> Option<Silence> {
    let mut ways = vec![Direction::Forward];
    if view.answers(counts) > 0 {
        ways = vec![Direction::Reply];
    }
    let direction = ways
        .into_iter()
        .find(|way| counts.of(*way).delivered == 0)?;
    let mut journeys = view.journeys(direction).filter(|j| !view.young(j));
    let candidate = journeys.find_map(|journey| wireguard::refused(view.host, journey))?;
    let fates = counts.of(direction);
    Some(Silence {
        candidate,
        direction,
        affected: fates.left + fates.vanished + fates.consumed,
        cause_known: true,
    })
}

/// What each symptom proposes, in the order in which they are looked at.
#[must_use]
pub fn considered(
    view: &View<'_>,
    counts: &Counts,
) -> Vec<(&'static str, &'static str, Candidate)> {
    SYMPTOMS
        .iter()
        .filter_map(|s| Some((s.name, s.before, (s.propose)(view, counts)?.candidate)))
        .collect()
}

/// A proposal with what it is about.
struct Silence {
    candidate: Candidate,
    direction: Direction,
    affected: u64,
    /// Whether its cause is more than that it is missing.
    cause_known: bool,
}

impl Silence {
    /// Why none of the requests that were seen was answered.
    fn of_requests(view: &View<'_>, candidate: Candidate) -> Self {
        Self {
            candidate,
            direction: Direction::Forward,
            affected: view.seen(Direction::Forward),
            cause_known: true,
        }
    }

    fn verdict(self, view: &View<'_>) -> Verdict {
        let Candidate {
            cause,
            outcome,
            confidence,
            place,
            summary,
            evidence,
            remedies,
            ..
        } = self.candidate;
        Verdict {
            outcome,
            cause: self.cause_known.then(|| cause.code.to_owned()),
            confidence,
            summary,
            place: Some(place),
            packets: Affected {
                seen: view.seen(self.direction).max(self.affected),
                affected: self.affected,
            },
            evidence,
            advice: remedy::advice(&remedies),
        }
    }
}

/// The verdict of a better explanation for what another verdict found.
#[must_use]
pub fn from_candidate(view: &View<'_>, candidate: Candidate, found: &Verdict) -> Verdict {
    let mut verdict = Silence::of_requests(view, candidate).verdict(view);
    let known = |e: &&Evidence| matches!(e.kind.as_str(), "drop" | "stack" | "socket");
    verdict
        .evidence
        .extend(found.evidence.iter().filter(known).cloned());
    verdict
}

fn place_of(host: &Host, event: Option<&Event>, hook: &str) -> Place {
    let device = event.and_then(|e| e.device);
    let netns = device
        .map(|d| d.netns)
        .or_else(|| event.and_then(|e| e.netns));
    Place {
        interface: device.map(|d| host.interface(d)),
        hook: Some(hook.to_owned()),
        ..place_on(host, netns)
    }
}

/// So long a question is out before it is told how long.
const A_WHILE_NS: u64 = 1_000_000;

/// Nothing is wrong.
fn delivered(view: &View<'_>, counts: &Counts) -> Verdict {
    if view.is_unseen(counts) {
        return only_errors(view);
    }
    let Counts { forward, reply } = counts;
    let answered = view.seen(Direction::Reply).max(total(reply));
    let without_end = forward.vanished + reply.vanished;
    let proven = forward.delivered > 0
        && (answered == 0 || reply.delivered > 0 || !view.asker_is_here())
        && without_end == 0;
    let acknowledged_only = unread::acknowledged_only(view, counts);
    let ends = (without_end > 0).then(|| {
        evidence(
            "packet",
            format!(
                "{} without a seen end (the kernel frees some without an event)",
                words::count(without_end, "packet")
            ),
        )
    });
    let acknowledged = acknowledged_only.then(|| {
        evidence(
            "tcp",
            "the kernel of the other end acknowledges what no process has read too: a process that is stopped or hangs looks like this",
        )
    });
    Verdict {
        outcome: Outcome::Delivered,
        cause: None,
        confidence: if proven {
            Confidence::Certain
        } else {
            Confidence::Likely
        },
        summary: delivery(view, forward, answered, acknowledged_only),
        place: None,
        packets: Affected {
            seen: view.seen(Direction::Forward),
            affected: 0,
        },
        evidence: ends
            .into_iter()
            .chain(acknowledged)
            .chain(between::unasked(view))
            .collect(),
        advice: Vec::new(),
    }
}

/// No packet of the flow, but errors about one.
fn only_errors(view: &View<'_>) -> Verdict {
    Verdict {
        outcome: Outcome::NoTraffic,
        cause: None,
        confidence: Confidence::Likely,
        summary: format!(
            "no packet to {} was seen, only errors about one",
            destination(view)
        ),
        place: None,
        packets: Affected::default(),
        evidence: Vec::new(),
        advice: Vec::new(),
    }
}

/// `delivered: 3 packets to 10.0.0.2, 3 packets back`.
fn delivery(
    view: &View<'_>,
    forward: &FateCounts,
    answered: u64,
    acknowledged_only: bool,
) -> String {
    let packets = words::count(view.seen(Direction::Forward), "packet");
    let to = destination(view);
    if answered > 0 {
        let back = words::count(answered, "packet");
        let what = if acknowledged_only {
            ", which acknowledge the request and do not answer it"
        } else {
            ""
        };
        format!("delivered: {packets} to {to}, {back} back{what}")
    } else {
        let yet = match unanswered::waiting_since(view) {
            Some(out) if out >= A_WHILE_NS => {
                format!("; no answer yet after {}", words::duration(out))
            }
            Some(_) => "; no answer yet".to_owned(),
            None => String::new(),
        };
        match forward.left > 0 && forward.delivered == 0 {
            true => format!("left this host: {packets} to {to}{yet}"),
            false => format!("delivered: {packets} to {to}{yet}"),
        }
    }
}

fn destination(view: &View<'_>) -> String {
    view.tuple()
        .map_or_else(|| "its destination".to_owned(), |t| words::destination(&t))
}
