//! Flows of which the trace saw no more than what was left of them when it began: whoever tries again after a repair traces
//! the new attempt, and what comes late for the one before does not stand for it.

use crate::model::{Detail, Direction, Fate, Journey, Transport};
use crate::sites;
use crate::uapi::tcp::{ACK, FIN, RST, SYN};

use super::recovered::first_packet;
use super::view::View;

/// An unanswered neighbour is given up after three questions, one a second (mcast_solicit, retrans_time_ms of
/// Documentation/networking/ip-sysctl.rst). What is given up sooner was asked for before the trace.
const ASKED_FOR_NS: u64 = 2_500_000_000;

/// A packet that is given up is seen for so short a time: its sender is told of it, and it is freed.
const GIVING_UP_NS: u64 = 1_000_000;

/// Whether a flow is what was left of one that began before the trace.
pub(super) fn is_left_over(view: &View<'_>) -> bool {
    has_given_up(view) || was_queued(view) || only_ends(view)
}

/// A connection of which nothing but the end was seen: no opening and no data, only FIN, repeated while nobody acknowledges it, and
/// what answers that.
fn only_ends(view: &View<'_>) -> bool {
    let mut fin = false;
    for journey in view.kept().filter(|j| j.direction != Direction::Error) {
        let transport = first_packet(journey).map(|packet| packet.transport);
        let Some(Transport::Tcp { flags, payload, .. }) = transport else {
            return false;
        };
        if flags & SYN != 0 || payload > 0 {
            return false;
        }
        fin |= flags & FIN != 0;
    }
    fin
}

/// A connection is answered whose opening was not seen, and nothing but resets come from whoever is to have opened it: as when
/// the answer comes late, and that one has given up.
pub(super) fn has_given_up(view: &View<'_>) -> bool {
    let mut asked = view
        .journeys(Direction::Forward)
        .filter_map(flags)
        .peekable();
    let mut answers = view.journeys(Direction::Reply).filter_map(flags);
    asked.peek().is_some()
        && asked.all(|flags| flags & RST != 0)
        && answers.any(|flags| flags & (SYN | ACK) == SYN | ACK)
}

fn flags(journey: &Journey) -> Option<u8> {
    match first_packet(journey)?.transport {
        Transport::Tcp { flags, .. } => Some(flags),
        _ => None,
    }
}

/// All its packets waited for a neighbour when the trace began, and were seen only when they were given up.
fn was_queued(view: &View<'_>) -> bool {
    let Some(run) = &view.host.run else {
        return false;
    };
    let waited = |journey: &Journey| {
        let Fate::Dropped { step } = journey.fate else {
            return false;
        };
        let (Some(first), Some(last)) = (journey.steps.first(), journey.steps.get(step)) else {
            return false;
        };
        let (first, last) = (&first.event, &last.event);
        last.at.since(run.started_ktime) < ASKED_FOR_NS
            && last.at.since(first.at) < GIVING_UP_NS
            && matches!(&last.detail, Detail::Drop(info) if sites::NEIGHBOR_QUEUE.is(info))
    };
    // its sender is told of each
    let sent = view
        .kept()
        .filter(|journey| journey.direction != Direction::Error);
    let mut kept = sent.peekable();
    kept.peek().is_some() && kept.all(waited)
}
