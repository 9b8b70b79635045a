//! Delivery that is told without a buffer: by the CPU on which it happens and the socket's tuple.
//!
//! `sk_data_ready` fires on the CPU that took the packet in, after a whole list of them (GRO) was taken in: it
//! belongs to the oldest packet of that tuple there. `sock_recv_length` fires later in the reader, on any CPU: it
//! belongs to the oldest packet that the socket holds. Answers of the kernel itself (echo, SYN-ACK) are built on
//! the same CPU between a packet's reception and its end.

use std::collections::{HashMap, VecDeque};

use crate::model::{
    Detail, Direction, Event, FlowId, JourneyId, KtimeNs, NetNs, Proto, Socket, Tuple,
};

use super::flow::Membership;
use super::kind::is_reset;
use super::unite::Union;

/// Most arrivals, births or unread packets remembered in one place.
const MANY: usize = 256;
/// Most sockets whose unread packets are remembered.
const MAX_SOCKETS: usize = 4096;

/// A packet taken in by a device, not yet delivered.
#[derive(Clone, Copy, Debug)]
struct Arrival {
    journey: JourneyId,
    branch: u16,
    netns: NetNs,
    tuple: Tuple,
    reset: bool,
}

/// The first event of a packet.
#[derive(Clone, Copy, Debug)]
struct Birth {
    at: KtimeNs,
    of: Membership,
    reset: bool,
}

/// What waits for a word about its delivery.
#[derive(Clone, Debug, Default)]
pub(super) struct Deliveries {
    arrivals: HashMap<u16, VecDeque<Arrival>>,
    births: HashMap<u16, VecDeque<Birth>>,
    unread: HashMap<u64, VecDeque<(JourneyId, u16)>>,
}

impl Deliveries {
    /// A device took the packet in.
    pub(super) fn arrived(&mut self, event: &Event, journey: JourneyId, branch: u16) {
        let (Some(device), Some(tuple)) = (event.device, event.tuple) else {
            return;
        };
        let queue = self.arrivals.entry(event.cpu).or_default();
        let new = Arrival {
            journey,
            branch,
            netns: device.netns,
            tuple,
            reset: is_reset(event),
        };
        // the way through a namespace is one arrival; the latest device counts
        if let Some(old) = queue
            .iter_mut()
            .find(|old| (old.journey, old.branch) == (journey, branch))
        {
            *old = new;
            return;
        }
        if queue.len() >= MANY {
            queue.pop_front();
        }
        queue.push_back(new);
    }

    /// The oldest packet that this CPU took in and a socket, of which the event is, now gets. `alive` tells whether
    /// a journey can still be delivered.
    pub(super) fn reached(
        &mut self,
        event: &Event,
        alive: impl Fn(JourneyId) -> bool,
    ) -> Option<(JourneyId, u16)> {
        let socket = event.socket?;
        let resets_only = matches!(event.detail, Detail::ResetReceived);
        let queue = self.arrivals.get_mut(&event.cpu)?;
        take(queue, &socket, resets_only, &alive)
    }

    /// The same of all CPUs: a segment that came while its socket was in use is worked off later, by the user's.
    pub(super) fn reached_anywhere(
        &mut self,
        event: &Event,
        alive: impl Fn(JourneyId) -> bool,
    ) -> Option<(JourneyId, u16)> {
        let socket = event.socket?;
        let resets_only = matches!(event.detail, Detail::ResetReceived);
        self.arrivals
            .values_mut()
            .find_map(|queue| take(queue, &socket, resets_only, &alive))
    }

    /// A socket holds a packet that nobody has read yet.
    pub(super) fn holds(&mut self, socket: u64, what: (JourneyId, u16)) {
        if self.unread.len() >= MAX_SOCKETS && !self.unread.contains_key(&socket) {
            return;
        }
        let queue = self.unread.entry(socket).or_default();
        if queue.len() >= MANY {
            queue.pop_front();
        }
        queue.push_back(what);
    }

    /// The packet that a reader got.
    pub(super) fn read(
        &mut self,
        event: &Event,
        alive: impl Fn(JourneyId) -> bool,
    ) -> Option<(JourneyId, u16)> {
        let queue = self.unread.get_mut(&event.socket?.addr)?;
        while let Some(oldest) = queue.pop_front() {
            if alive(oldest.0) {
                return Some(oldest);
            }
        }
        None
    }

    /// The packet is delivered: it is no longer waited for.
    pub(super) fn settled(&mut self, cpu: u16, journey: JourneyId) {
        if let Some(queue) = self.arrivals.get_mut(&cpu) {
            queue.retain(|arrival| arrival.journey != journey);
        }
    }

    /// The packet's buffer was freed: no socket gets it any more. What a socket is told of then is another packet that it gets on
    /// the same CPU.
    pub(super) fn freed(&mut self, journey: JourneyId, branch: u16) {
        for queue in self.arrivals.values_mut() {
            queue.retain(|arrival| (arrival.journey, arrival.branch) != (journey, branch));
        }
    }

    /// A packet was seen for the first time.
    pub(super) fn born(&mut self, event: &Event, of: Membership) {
        let queue = self.births.entry(event.cpu).or_default();
        if queue.len() >= MANY {
            queue.pop_front();
        }
        queue.push_back(Birth {
            at: event.at,
            of,
            reset: is_reset(event),
        });
    }

    /// Whether a packet of the other direction was built on this CPU between the two times. A reset is none: it refuses.
    pub(super) fn answered(&self, cpu: u16, of: Membership, from: KtimeNs, to: KtimeNs) -> bool {
        let (flow, direction): (FlowId, Direction) = of;
        self.births.get(&cpu).is_some_and(|queue| {
            queue.iter().any(|birth| {
                birth.of.0 == flow
                    && !birth.reset
                    && birth.of.1 != direction
                    && birth.of.1 != Direction::Error
                    && birth.at >= from
                    && birth.at <= to
            })
        })
    }

    /// Two flows became one.
    pub(super) fn unite(&mut self, union: Union) {
        let births = self.births.values_mut().flatten();
        for birth in births.filter(|birth| birth.of.0 == union.from) {
            birth.of = (union.into, union.direction(birth.of.1));
        }
    }

    /// Forgets what belongs to journeys that are closed.
    pub(super) fn sweep(&mut self, open: impl Fn(JourneyId) -> bool) {
        for queue in self.arrivals.values_mut() {
            queue.retain(|arrival| open(arrival.journey));
        }
        for queue in self.unread.values_mut() {
            queue.retain(|(journey, _)| open(*journey));
        }
        self.unread.retain(|_, queue| !queue.is_empty());
    }
}

fn take(
    queue: &mut VecDeque<Arrival>,
    socket: &Socket,
    resets_only: bool,
    alive: &impl Fn(JourneyId) -> bool,
) -> Option<(JourneyId, u16)> {
    let at = queue.iter().position(|arrival| {
        arrival.netns == socket.netns
            && alive(arrival.journey)
            && (arrival.reset || !resets_only)
            && socket
                .tuple
                .is_some_and(|local| receives(&local, &arrival.tuple))
    })?;
    queue
        .remove(at)
        .map(|arrival| (arrival.journey, arrival.branch))
}

/// Whether a socket with this tuple (`src` is the local end, unspecified ends are open) receives a packet.
fn receives(local: &Tuple, packet: &Tuple) -> bool {
    let address = |own: std::net::IpAddr, other: std::net::IpAddr| {
        own.is_unspecified() || own == other || own.to_canonical() == other
    };
    let ported = !matches!(packet.proto, Proto::Icmp | Proto::Icmp6 | Proto::Other(_));
    let port = |own: u16, other: u16| own == 0 || own == other;
    let proto = local.proto == packet.proto
        // a raw or ping socket of either family
        || (!ported && matches!(local.proto, Proto::Icmp | Proto::Icmp6 | Proto::Other(_)));
    proto
        && address(local.src, packet.dst)
        && address(local.dst, packet.src)
        && (!ported || (port(local.sport, packet.dport) && port(local.dport, packet.sport)))
}
