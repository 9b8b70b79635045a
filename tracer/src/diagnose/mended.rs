//! Losses that a later copy of the same data made good: no verdict, but worth a line. What was no loss at all the
//! correlator has told already.

use crate::model::{Acked, Direction, Event, Fate, Journey, Packet, Transport};

use super::loss::{Loss, apart};

const FIN_OR_SYN: u8 = 3;
const RST: u8 = 4;
const ACK: u8 = 16;
/// So long a packet is at one place.
const SAME_MOMENT_NS: u64 = 1_000_000;

/// Whether the same data came through: sent again, or acknowledged by the other end. What is kept of healthy packets
/// is a sample; acknowledgements are noted of all.
#[must_use]
pub fn is_mended(loss: &Loss<'_>) -> bool {
    let packet = loss.event.packet.as_ref();
    let Some(packet) = packet.or_else(|| first_packet(loss.journey)) else {
        return false;
    };
    let again = |same: &dyn Fn(&Transport) -> bool| {
        loss.journeys(loss.journey.direction).any(|other| {
            other.id != loss.journey.id
                && !is_same_packet(loss, other)
                && other.fate == Fate::Delivered
                && first_packet(other).is_some_and(|p| same(&p.transport))
        })
    };
    match packet.transport {
        Transport::Tcp {
            seq,
            ack,
            payload,
            flags,
            ..
        } => {
            let length = payload.max(u32::from(flags & FIN_OR_SYN != 0));
            if length == 0 {
                // a mere acknowledgement: a later one that arrived says the same and more
                return flags & (ACK | RST) == ACK && acknowledged(loss, ack);
            }
            let same = |other: &Transport| {
                // a mere acknowledgement has the number of the data after it
                matches!(other, Transport::Tcp { seq: s, flags: f, payload: p, .. }
                    if *s == seq && f & FIN_OR_SYN == flags & FIN_OR_SYN && (*p > 0) == (payload > 0))
            };
            // a copy that seems to have arrived, and to which nothing at all came back, proves nothing
            let answers = loss.host.run.as_ref().is_some_and(|r| r.one_way)
                || loss.journeys(Direction::Reply).next().is_some();
            answers && again(&same) || received(loss, seq.wrapping_add(length))
        }
        Transport::Icmp {
            seq,
            icmp_type: icmp_type @ (0 | 8 | 128 | 129),
            ..
        } => again(&|other| {
            matches!(other, Transport::Icmp { seq: s, icmp_type: t, .. }
                if (*s, *t) == (seq, icmp_type))
        }),
        _ => false,
    }
}

/// Whether another journey is the lost packet itself, whose end could not be joined to it: the same bytes, seen just
/// before. (A retransmission is as alike where there is no IP id, but takes longer.)
fn is_same_packet(loss: &Loss<'_>, other: &Journey) -> bool {
    let alike = |e: &Event| {
        e.fingerprint.is_some()
            && e.fingerprint == loss.event.fingerprint
            && apart(e.at, loss.event.at) < SAME_MOMENT_NS
    };
    other.steps.iter().any(|s| alike(&s.event))
}

/// The other end sent an acknowledgement of all up to `end`: it has the data, whatever became of its answer.
fn received(loss: &Loss<'_>, end: u32) -> bool {
    let back = match loss.journey.direction {
        Direction::Forward => Direction::Reply,
        Direction::Reply => Direction::Forward,
        Direction::Error => return false,
    };
    let acked = loss.flow.acked.get(&back).copied().unwrap_or_default();
    Acked::covers(acked.sent, end, loss.event.at)
}

/// An acknowledgement of as much arrived in the loss's own direction.
fn acknowledged(loss: &Loss<'_>, number: u32) -> bool {
    let acked = loss
        .flow
        .acked
        .get(&loss.journey.direction)
        .copied()
        .unwrap_or_default();
    Acked::covers(acked.arrived, number, loss.event.at)
}

/// The first headers that a journey shows.
#[must_use]
pub fn first_packet(journey: &Journey) -> Option<&Packet> {
    journey.steps.iter().find_map(|s| s.event.packet.as_ref())
}
