//! What of a packet rules change while it is walked, and what is left of that where two ways meet again.

use super::states::{INVALID, UNTRACKED};
use super::{Hook, Layer, Packet};
use crate::host::facts::{BaseChain, NewValue, Side, Translation};
use crate::model::Tuple;

/// Priority at which conntrack looks at packets (NF_IP_PRI_CONNTRACK): chains before it know no state.
const CONNTRACK: i32 = -200;

/// The packet's changing part. What is `None` is not known.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct State {
    pub(super) tuple: Option<Tuple>,
    /// A rule translated this end to something that is not known.
    pub(super) source_known: bool,
    /// See `source_known`.
    pub(super) destination_known: bool,
    pub(super) mark: Option<u32>,
    pub(super) connection_mark: Option<u32>,
    /// Bits of the states of which it may be one, where conntrack looked at it.
    pub(super) states: Option<u32>,
    pub(super) status: Option<u32>,
    /// A rule left it to no connection; `None`: perhaps.
    pub(super) untracked: Option<bool>,
    /// The zone in which conntrack looks for its connection.
    pub(super) zone: Option<u16>,
}

fn either<T: PartialEq>(a: Option<T>, b: Option<T>) -> Option<T> {
    if a == b { a } else { None }
}

impl State {
    pub(super) fn of(packet: &Packet) -> Self {
        Self {
            tuple: packet.tuple,
            source_known: true,
            destination_known: true,
            mark: packet.mark,
            connection_mark: packet.connection_mark,
            states: packet.states,
            status: packet.status,
            untracked: Some(false),
            zone: Some(0),
        }
    }

    /// What is known where the packet may have come either way.
    pub(super) fn or(self, other: &Self) -> Self {
        let same = self.tuple == other.tuple;
        let agrees = |f: fn(&Tuple) -> (std::net::IpAddr, u16)| {
            same || self.tuple.as_ref().map(f) == other.tuple.as_ref().map(f)
        };
        let source = agrees(|t| (t.src, t.sport));
        let destination = agrees(|t| (t.dst, t.dport));
        Self {
            source_known: self.source_known && other.source_known && source,
            destination_known: self.destination_known && other.destination_known && destination,
            tuple: self.tuple,
            mark: either(self.mark, other.mark),
            connection_mark: either(self.connection_mark, other.connection_mark),
            states: self.states.zip(other.states).map(|(a, b)| a | b),
            status: either(self.status, other.status),
            untracked: either(self.untracked, other.untracked),
            zone: either(self.zone, other.zone),
        }
    }

    /// The states of which it may be one in a chain.
    pub(super) fn states_in(&self, hook: Hook<'_>, base: &BaseChain) -> Option<u32> {
        // Where a packet comes in or is sent first, conntrack has not looked at it yet
        // (nft_ct_get_eval, conntrack_mt: without an entry it is invalid).
        let first = match hook.layer {
            Layer::Ip | Layer::Bridge => {
                matches!(hook.name, "PREROUTING" | "OUTPUT") && base.priority < CONNTRACK
            }
            Layer::Device => hook.name == "INGRESS",
            Layer::Arp => true,
        };
        match self.untracked {
            Some(true) => Some(UNTRACKED),
            None if first => Some(UNTRACKED | INVALID),
            None => self.states.map(|states| states | UNTRACKED),
            Some(false) if first => Some(INVALID),
            Some(false) => self.states,
        }
    }

    /// A mark as a rule makes it.
    pub(super) fn made(&self, value: &NewValue, own: Option<u32>) -> Option<u32> {
        use crate::host::facts::Field;
        let kept = if value.keep == 0 {
            0
        } else {
            own? & value.keep
        };
        let from = match &value.from {
            None => 0,
            Some((Field::Mark, mask)) => self.mark? & mask,
            Some((Field::ConnectionMark, mask)) => self.connection_mark? & mask,
            Some(_) => return None,
        };
        Some((kept ^ from) ^ value.xor)
    }

    /// The packet as a rule translates it.
    pub(super) fn translate(&mut self, made: &Translation) {
        let address = made.addresses.filter(|(a, b)| a == b).map(|(a, _)| a);
        let port = match made.ports {
            None => Some(None),
            Some((a, b)) if a == b => Some(Some(a)),
            Some(_) => None,
        };
        let (known, status) = match made.side {
            Side::Source => (&mut self.source_known, 1 << 4),
            Side::Destination => (&mut self.destination_known, 1 << 5),
        };
        // A source keeps its port only where that is free.
        let whole = address.is_some() && port.is_some() && made.side == Side::Destination;
        *known = whole;
        self.status = self.status.map(|s| s | status);
        if let (true, Some(tuple), Some(address)) = (whole, &mut self.tuple, address) {
            tuple.dst = address;
            if let Some(Some(port)) = port {
                tuple.dport = port;
            }
        }
    }
}
