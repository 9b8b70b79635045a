//! Losses that a later copy of the same data made good: no verdict, but worth a line. What was no loss at all the
//! correlator has told already.

use crate::model::{Direction, Fate, Journey, Packet, Transport};

use super::loss::Loss;

const FIN_OR_SYN: u8 = 3;
const RST: u8 = 4;
const ACK: u8 = 16;
/// Sequence numbers so far ahead are behind (RFC 793 arithmetic, half the windows that TCP allows).
const AHEAD: u32 = 1 << 30;

/// Whether the same data came through: sent again, or acknowledged by the other end later.
#[must_use]
pub fn is_mended(loss: &Loss<'_>) -> bool {
    let packet = loss.event.packet.as_ref();
    let Some(packet) = packet.or_else(|| first_packet(loss.journey)) else {
        return false;
    };
    let again = |same: &dyn Fn(&Transport) -> bool| {
        loss.journeys(loss.journey.direction).any(|other| {
            other.id != loss.journey.id
                && other.fate == Fate::Delivered
                && first_packet(other).is_some_and(|p| same(&p.transport))
        })
    };
    match packet.transport {
        Transport::Tcp {
            seq,
            payload,
            flags,
            ..
        } => {
            let length = payload.max(u32::from(flags & FIN_OR_SYN != 0));
            let same = |other: &Transport| {
                // a mere acknowledgement has the number of the data after it
                matches!(other, Transport::Tcp { seq: s, flags: f, payload: p, .. }
                    if *s == seq && f & FIN_OR_SYN == flags & FIN_OR_SYN && (*p > 0) == (payload > 0))
            };
            // a copy that seems to have arrived, and to which nothing at all came back, proves nothing
            let answers = loss.host.run.as_ref().is_some_and(|r| r.one_way)
                || loss.journeys(Direction::Reply).next().is_some();
            length > 0 && (answers && again(&same) || acknowledged(loss, seq.wrapping_add(length)))
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

/// The other end acknowledged data up to `end` after the loss.
fn acknowledged(loss: &Loss<'_>, end: u32) -> bool {
    let back = match loss.journey.direction {
        Direction::Forward => Direction::Reply,
        Direction::Reply => Direction::Forward,
        Direction::Error => return false,
    };
    loss.journeys(back).any(|other| {
        other.fate == Fate::Delivered
            && other
                .steps
                .last()
                .is_some_and(|s| s.event.at > loss.event.at)
            && first_packet(other).is_some_and(|p| {
                matches!(p.transport, Transport::Tcp { ack, flags, .. }
                    if flags & ACK != 0 && flags & RST == 0 && ack.wrapping_sub(end) < AHEAD)
            })
    })
}

/// The first headers that a journey shows.
#[must_use]
pub fn first_packet(journey: &Journey) -> Option<&Packet> {
    journey.steps.iter().find_map(|s| s.event.packet.as_ref())
}
