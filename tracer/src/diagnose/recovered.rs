//! Losses that a later copy of the same data made good: no verdict, but worth a line. What was no loss at all the
//! correlator has told already.

use std::collections::HashMap;

use crate::model::{Acked, Direction, Event, Fate, Journey, Packet, Transport};
use crate::sites;
use crate::uapi::tcp::{ACK, FIN, RST, SYN};
use crate::uapi::{icmp, icmpv6};

use super::loss::{Loss, apart};

/// So long a packet is at one place.
const SAME_MOMENT_NS: u64 = 1_000_000;

/// What has arrived of a flow, by what a copy of it would look like: a flood of losses does not look through all of a
/// flow for each of them.
pub struct Arrived<'a> {
    delivered: HashMap<(Direction, Data), Vec<&'a Journey>>,
    /// Anything came back.
    answered: bool,
}

/// The data that a packet carries, as far as its headers name it. Copies of one packet carry the same.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
enum Data {
    /// Sequence number, FIN and SYN, with payload. A mere acknowledgement has the number of the data after it.
    Tcp(u32, u8, bool),
    /// Sequence number and type of an echo message.
    Echo(u16, u8),
}

impl Data {
    fn of(transport: &Transport) -> Option<Self> {
        match *transport {
            Transport::Tcp {
                seq,
                flags,
                payload,
                ..
            } => Some(Self::Tcp(seq, flags & (FIN | SYN), payload > 0)),
            Transport::Icmp {
                seq,
                icmp_type:
                    icmp_type @ (icmp::ECHOREPLY
                    | icmp::ECHO
                    | icmpv6::ECHO_REQUEST
                    | icmpv6::ECHO_REPLY),
                ..
            } => Some(Self::Echo(seq, icmp_type)),
            _ => None,
        }
    }
}

impl<'a> Arrived<'a> {
    /// Of these journeys of one flow.
    pub fn of(journeys: impl Iterator<Item = &'a Journey>) -> Self {
        let mut arrived = Self {
            delivered: HashMap::new(),
            answered: false,
        };
        for journey in journeys {
            arrived.answered |= journey.direction == Direction::Reply;
            if journey.fate != Fate::Delivered {
                continue;
            }
            if let Some(data) = first_packet(journey).and_then(|p| Data::of(&p.transport)) {
                let key = (journey.direction, data);
                arrived.delivered.entry(key).or_default().push(journey);
            }
        }
        arrived
    }

    /// Whether the lost data came through: sent again, or acknowledged by the other end. What is kept of healthy packets
    /// is a sample; acknowledgements are noted of all.
    #[must_use]
    pub fn recovers(&self, loss: &Loss<'_>) -> bool {
        let packet = loss.event.packet.as_ref();
        let Some(packet) = packet.or_else(|| first_packet(loss.journey)) else {
            return false;
        };
        let Some(data) = Data::of(&packet.transport) else {
            return false;
        };
        let Transport::Tcp {
            seq,
            ack,
            payload,
            flags,
            ..
        } = packet.transport
        else {
            return self.again(loss, data);
        };
        let length = payload.max(u32::from(flags & (FIN | SYN) != 0));
        if length == 0 {
            // a mere acknowledgement: a later one that arrived says the same and more
            let said = || acknowledged(loss, ack) || ended_before(loss, ack);
            return flags & (ACK | RST) == ACK && said();
        }
        // a copy that seems to have arrived, and to which nothing at all came back, proves nothing
        let answers = self.answered || loss.host.run.as_ref().is_some_and(|r| r.one_way);
        answers && self.again(loss, data) || received(loss, seq.wrapping_add(length))
    }

    /// Whether another packet with the same data arrived.
    fn again(&self, loss: &Loss<'_>, data: Data) -> bool {
        let copies = self.delivered.get(&(loss.journey.direction, data));
        copies
            .into_iter()
            .flatten()
            .any(|other| other.id != loss.journey.id && !is_same_packet(loss, other))
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
    let Some(back) = loss.journey.direction.opposite() else {
        return false;
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

/// Whether an acknowledgement came after the last one of its connection, late or for a FIN that was sent again: the other end is
/// through with it. (One that answers a keepalive probe is wanted each time.)
fn ended_before(loss: &Loss<'_>, number: u32) -> bool {
    let direction = loss.journey.direction;
    let back = direction
        .opposite()
        .and_then(|back| loss.flow.sending.get(&back));
    let end = back.and_then(|sending| sending.fin);
    // what has no connection to go to has come to its end: the last one arrived, whether that was seen or not
    let gone = [&sites::UNFIT, &sites::NO_SOCKET];
    let gone = gone.iter().any(|site| site.is(loss.info));
    let acked = loss.flow.acked.get(&direction);
    let last = acked.and_then(|acked| if gone { acked.sent } else { acked.arrived });
    last.is_some_and(|(last, _)| end == Some(last) && Acked::reaches(last, number))
}

/// The first headers that a journey shows.
#[must_use]
pub fn first_packet(journey: &Journey) -> Option<&Packet> {
    journey.steps.iter().find_map(|s| s.event.packet.as_ref())
}
