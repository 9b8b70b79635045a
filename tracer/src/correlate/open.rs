//! What is known of a journey that may still get events, beside its steps: its buffers, branches and places passed.

use super::kind::is_own_copy;
use crate::model::{
    Detail, Device, Direction, Event, Fingerprint, FlowId, HookId, JourneyId, KtimeNs, Side,
    SkbAddr, Transport, Tuple,
};

/// Most places, tuples … remembered of one journey.
const MANY: usize = 64;

/// Why a branch exists.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum BranchKind {
    /// The packet itself, or a re-creation of it.
    Whole,
    /// A clone.
    Clone,
    /// A fragment or segment: its loss is the packet's.
    Piece,
}

/// One buffer's way, or that of several which followed each other.
#[derive(Clone, Debug)]
pub(super) struct Branch {
    /// From which it forked.
    pub(super) parent: u16,
    pub(super) kind: BranchKind,
    /// The buffer that carries it now.
    pub(super) skb: Option<SkbAddr>,
    /// When that buffer ended.
    pub(super) ended: Option<KtimeNs>,
    pub(super) last: KtimeNs,
}

/// A place passed by a branch.
#[derive(Clone, Copy, Debug)]
struct Pass {
    device: Device,
    side: Side,
    hook: HookId,
    branch: u16,
    /// Lowest TTL with which it was passed.
    ttl: u8,
}

/// A journey that may still get events.
#[derive(Clone, Debug)]
pub(super) struct Open {
    pub(super) id: JourneyId,
    pub(super) flow: FlowId,
    pub(super) direction: Direction,
    pub(super) last: KtimeNs,
    pub(super) branches: Vec<Branch>,
    pub(super) fingerprints: Vec<Fingerprint>,
    pub(super) heads: Vec<u64>,
    pub(super) tuples: Vec<Tuple>,
    /// Device and side of the first event, when it had one.
    pub(super) birth: Option<(Device, Side)>,
    passes: Vec<Pass>,
    /// An answer was built between its reception and its end.
    pub(super) answered: bool,
    /// It was dropped; what comes later cannot be it.
    pub(super) dropped: bool,
    /// A socket got it.
    pub(super) delivered: bool,
    /// It lives on in this other journey (GRO).
    pub(super) merged: Option<JourneyId>,
    /// TCP payload of its buffers: first sequence number and length.
    pub(super) segment: Option<(u32, u32)>,
    /// The first buffer was to be cut by the kernel.
    pub(super) large: bool,
    /// When a device took it in last.
    pub(super) taken_in: KtimeNs,
}

/// The place of an event, when it is one. The copy that a sender gets of what it sends to many comes from no interface.
pub(super) fn place(event: &Event) -> Option<(Device, Side)> {
    let side = match event.detail {
        Detail::Ingress if is_own_copy(event) => return None,
        Detail::Ingress => Side::Ingress,
        Detail::Egress => Side::Egress,
        _ => return None,
    };
    event.device.map(|device| (device, side))
}

/// TTL of an event's packet; zero when unknown.
pub(super) fn ttl(event: &Event) -> u8 {
    event.packet.as_ref().map_or(0, |packet| packet.ttl)
}

/// First sequence number and payload of a TCP segment with data.
pub(super) fn segment(event: &Event) -> Option<(u32, u32)> {
    match event.packet.as_ref()?.transport {
        Transport::Tcp { seq, payload, .. } if payload > 0 => Some((seq, payload)),
        _ => None,
    }
}

impl Open {
    pub(super) fn new(id: JourneyId, flow: FlowId, direction: Direction, event: &Event) -> Self {
        Self {
            id,
            flow,
            direction,
            last: event.at,
            branches: vec![Branch {
                parent: 0,
                kind: BranchKind::Whole,
                skb: event.skb,
                ended: None,
                last: event.at,
            }],
            fingerprints: Vec::new(),
            heads: Vec::new(),
            tuples: Vec::new(),
            birth: place(event),
            passes: Vec::new(),
            answered: false,
            dropped: false,
            delivered: false,
            merged: None,
            segment: segment(event),
            large: event.segments > 1,
            taken_in: event.at,
        }
    }

    /// Remembers what an event of `branch` tells.
    pub(super) fn note(&mut self, event: &Event, branch: u16) {
        self.last = self.last.max(event.at);
        if let Some(fingerprint) = event.fingerprint {
            remember(&mut self.fingerprints, fingerprint);
        }
        if event.head != 0 {
            remember(&mut self.heads, event.head);
        }
        if let Some(tuple) = event.tuple {
            remember(&mut self.tuples, tuple);
        }
        if let Some(way) = self.branches.get_mut(usize::from(branch)) {
            way.last = way.last.max(event.at);
            match event.detail {
                Detail::Consumed { .. } | Detail::Drop(_) => way.ended = Some(event.at),
                Detail::Ingress | Detail::Egress if way.ended.is_some_and(|at| at < event.at) => {
                    way.ended = None;
                }
                _ => {}
            }
        }
        if let Some((device, side)) = place(event) {
            if side == Side::Ingress {
                self.taken_in = self.taken_in.max(event.at);
            }
            self.pass(Pass {
                device,
                side,
                hook: event.hook,
                branch,
                ttl: ttl(event),
            });
        }
    }

    fn pass(&mut self, new: Pass) {
        let room = self.passes.len() < 4 * MANY;
        let known = self
            .passes
            .iter_mut()
            .find(|old| (old.device, old.hook, old.branch) == (new.device, new.hook, new.branch));
        match known {
            Some(old) => old.ttl = old.ttl.min(new.ttl),
            None if room => self.passes.push(new),
            None => {}
        }
    }

    /// Whether this branch already passed the same hook of the same device, with no higher TTL.
    pub(super) fn passed_hook(&self, event: &Event, branch: u16) -> bool {
        let ttl = ttl(event);
        event.device.is_some_and(|device| {
            place(event).is_some()
                && self.passes.iter().any(|pass| {
                    (pass.device, pass.hook, pass.branch) == (device, event.hook, branch)
                        && pass.ttl <= ttl
                })
        })
    }

    /// Whether any branch already passed the same side of the same device, with no higher TTL.
    pub(super) fn passed_side(&self, event: &Event) -> bool {
        let ttl = ttl(event);
        place(event).is_some_and(|(device, side)| {
            self.passes
                .iter()
                .any(|pass| (pass.device, pass.side) == (device, side) && pass.ttl <= ttl)
        })
    }

    /// Whether a socket can still get it.
    pub(super) fn waits(&self) -> bool {
        !self.dropped && !self.delivered
    }

    /// Whether a loss of this branch is one of the packet: no other one is on its way.
    pub(super) fn is_sole(&self, branch: u16) -> bool {
        let others = self.branches.iter().zip(0u16..);
        let clones = |b: &Branch| b.kind == BranchKind::Clone || b.ended.is_none();
        !others
            .filter(|(_, number)| *number != branch)
            .any(|(b, _)| clones(b))
    }

    /// Whether an event shows more payload than there was: other segments were merged in (GRO).
    pub(super) fn grown(&mut self, event: &Event) -> bool {
        match (self.segment, segment(event)) {
            (Some((first, length)), Some((seq, now))) if seq == first && now > length => {
                self.segment = Some((first, now));
                true
            }
            _ => false,
        }
    }

    /// The branch with the latest event.
    pub(super) fn latest(&self) -> u16 {
        let latest = self
            .branches
            .iter()
            .enumerate()
            .max_by_key(|(number, b)| (b.last, std::cmp::Reverse(*number)));
        latest.map_or(0, |(number, _)| u16::try_from(number).unwrap_or(0))
    }

    /// Adds a branch; the last one is used again when there are too many.
    pub(super) fn fork(&mut self, parent: u16, kind: BranchKind, event: &Event) -> u16 {
        if self.branches.len() < MANY {
            self.branches.push(Branch {
                parent,
                kind,
                skb: event.skb,
                ended: None,
                last: event.at,
            });
        }
        u16::try_from(self.branches.len().saturating_sub(1)).unwrap_or(0)
    }

    /// Another buffer carries the branch from now on.
    pub(super) fn recarry(&mut self, branch: u16, event: &Event) {
        if let Some(way) = self.branches.get_mut(usize::from(branch)) {
            way.skb = event.skb;
            way.ended = None;
        }
    }
}

fn remember<T: PartialEq>(list: &mut Vec<T>, value: T) {
    if list.len() < MANY && !list.contains(&value) {
        list.push(value);
    }
}
