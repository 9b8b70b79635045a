//! Which journey an event belongs to.
//!
//! A packet is its buffer and its fingerprint together: addresses of buffers are recycled within microseconds, and
//! fingerprints of retried datagrams can be equal. Where a packet changes its buffer (clone, TUN daemon, XDP,
//! segmentation, fragments) the join is made by rule and marked as such.

use std::collections::{BTreeMap, HashMap};
use std::net::IpAddr;

use tracer_common::event::FLAG_BY_SOCKET;

use crate::model::{
    Detail, Direction, Event, Fingerprint, FlowId, Joined, JourneyId, Proto, SkbAddr, Transport,
    Tuple,
};

use super::flow::Flows;
use super::kind::{is_echo_reply, is_echo_request};
use super::noise;
use super::open::{BranchKind, Open, place, segment};

/// Most journeys remembered under one fingerprint, and most segments of one tuple.
const MANY: usize = 64;
/// Software segmentation hands the segments to the driver back to back (validate_xmit_skb_list, 6.18).
const BACK_TO_BACK_NS: u64 = 1_000_000;

/// Journeys that may still get events, and the ways to find them.
#[derive(Clone, Debug, Default)]
pub(super) struct Index {
    pub(super) open: BTreeMap<JourneyId, Open>,
    skbs: HashMap<SkbAddr, (JourneyId, u16)>,
    prints: HashMap<Fingerprint, Vec<JourneyId>>,
    pieces: HashMap<Pieces, JourneyId>,
    segments: HashMap<Tuple, Vec<JourneyId>>,
    /// Echo requests by flow and sequence number.
    echoes: HashMap<(FlowId, u16), JourneyId>,
}

/// What fragments of one datagram have in common.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Pieces {
    id: u32,
    src: IpAddr,
    dst: IpAddr,
    proto: Proto,
}

/// Where an event goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Placement {
    pub(super) journey: JourneyId,
    pub(super) branch: u16,
    pub(super) joined: Joined,
}

impl Index {
    /// Finds the journey of an event with a buffer; may add a branch to it.
    pub(super) fn find(
        &mut self,
        event: &Event,
        flows: &Flows,
        recreate_ns: u64,
    ) -> Option<Placement> {
        let skb = event.skb?;
        self.by_skb(skb, event, (flows, recreate_ns))
            .or_else(|| self.by_fingerprint(event, flows, recreate_ns))
            .or_else(|| self.by_fragment(event, recreate_ns))
            .or_else(|| self.by_segment(event, recreate_ns))
    }

    fn by_skb(
        &self,
        skb: SkbAddr,
        event: &Event,
        (flows, recreate_ns): (&Flows, u64),
    ) -> Option<Placement> {
        let (journey, branch) = self.skbs.get(&skb).copied()?;
        let open = self.open.get(&journey)?;
        let way = open.branches.get(usize::from(branch))?;
        if way.ended.is_some_and(|ended| ended < event.at) || way.skb != Some(skb) {
            return None;
        }
        let same = match event.fingerprint {
            Some(fingerprint) => open.fingerprints.contains(&fingerprint),
            // headers that can no longer be read: only shortly after they were
            None => event.at.since(way.last) < recreate_ns,
        };
        if !same
            || is_another(open, event, flows)
            || (open.passed_hook(event, branch) && new_round(open, event, recreate_ns))
        {
            return None;
        }
        Some(Placement {
            journey,
            branch,
            joined: Joined::Skb,
        })
    }

    fn by_fingerprint(
        &mut self,
        event: &Event,
        flows: &Flows,
        recreate_ns: u64,
    ) -> Option<Placement> {
        let fingerprint = event.fingerprint?;
        let candidates = self.prints.get(&fingerprint)?.clone();
        candidates.into_iter().rev().find_map(|journey| {
            let open = self.open.get_mut(&journey)?;
            if event.at.since(open.last) > recreate_ns {
                return None;
            }
            rejoin(open, event, flows)
        })
    }

    fn by_fragment(&mut self, event: &Event, recreate_ns: u64) -> Option<Placement> {
        let key = pieces(event)?;
        let journey = *self.pieces.get(&key)?;
        let open = self.open.get_mut(&journey)?;
        if event.at.since(open.last) > recreate_ns {
            return None;
        }
        let branch = open.fork(0, BranchKind::Piece, event);
        Some(Placement {
            journey,
            branch,
            joined: Joined::Pieces,
        })
    }

    /// A segment of a large buffer that was just cut.
    fn by_segment(&mut self, event: &Event, recreate_ns: u64) -> Option<Placement> {
        let (seq, _) = segment(event)?;
        let list = self.segments.get(&event.tuple?)?.clone();
        list.into_iter().rev().find_map(|journey| {
            let open = self.open.get_mut(&journey)?;
            let (first, length) = open.segment?;
            let inside = seq.wrapping_sub(first) < length && seq != first;
            let fresh = event.at.since(open.last) <= recreate_ns;
            if !inside || !open.large || !fresh || open.dropped || open.delivered {
                return None;
            }
            if open.passed_side(event) && !just_cut(open, event) {
                return None;
            }
            let branch = open.fork(0, BranchKind::Piece, event);
            Some(Placement {
                journey,
                branch,
                joined: Joined::Pieces,
            })
        })
    }

    /// Journeys of smaller segments that a merged one holds (GRO).
    pub(super) fn merged_into(&mut self, by: JourneyId, event: &Event) {
        let (Some((first, length)), Some(tuple)) = (segment(event), event.tuple) else {
            return;
        };
        let others = self.segments.get(&tuple).cloned().unwrap_or_default();
        for journey in others.into_iter().filter(|journey| *journey != by) {
            let Some(open) = self.open.get_mut(&journey) else {
                continue;
            };
            let inside = open
                .segment
                .is_some_and(|(seq, _)| seq != first && seq.wrapping_sub(first) < length);
            let recent = event.at.since(open.last) < BACK_TO_BACK_NS * 100;
            if inside && recent && !open.dropped && !open.delivered {
                open.merged = Some(by);
            }
        }
    }

    /// Remembers how the journey can be found after this event.
    pub(super) fn note(&mut self, placed: Placement, event: &Event) {
        let id = placed.journey;
        if let Some(skb) = event.skb {
            self.skbs.insert(skb, (id, placed.branch));
        }
        if let Some(fingerprint) = event.fingerprint {
            push(self.prints.entry(fingerprint).or_default(), id);
        }
        if let Some(key) = pieces(event) {
            self.pieces.insert(key, id);
        }
        if let (Some(_), Some(tuple)) = (segment(event), event.tuple) {
            push(self.segments.entry(tuple).or_default(), id);
        }
    }

    /// Forgets a journey.
    pub(super) fn close(&mut self, id: JourneyId) -> Option<Open> {
        let open = self.open.remove(&id)?;
        for skb in open.branches.iter().filter_map(|branch| branch.skb) {
            if self.skbs.get(&skb).is_some_and(|(owner, _)| *owner == id) {
                self.skbs.remove(&skb);
            }
        }
        for fingerprint in &open.fingerprints {
            pull(&mut self.prints, fingerprint, id);
        }
        for tuple in &open.tuples {
            pull(&mut self.segments, tuple, id);
        }
        Some(open)
    }

    /// A journey begins: an echo request will be known by its number, and an echo reply, where it is made, says that its request
    /// arrived. Of one that was put together of fragments no event tells.
    pub(super) fn echo(&mut self, id: JourneyId, flow: FlowId, event: &Event) {
        let Some(Transport::Icmp { seq, .. }) = event.packet.as_ref().map(|p| p.transport) else {
            return;
        };
        if is_echo_request(event) {
            self.echoes.insert((flow, seq), id);
        } else if is_echo_reply(event) && matches!(event.detail, Detail::Egress) {
            let request = self.echoes.remove(&(flow, seq));
            if let Some(open) = request.and_then(|id| self.open.get_mut(&id)) {
                open.answered = true;
            }
        }
    }

    /// Forgets what points to journeys that are closed; the rest goes with each.
    pub(super) fn sweep(&mut self) {
        let open = &self.open;
        self.echoes.retain(|_, id| open.contains_key(id));
        self.pieces.retain(|_, id| open.contains_key(id));
        self.skbs.retain(|_, (id, _)| open.contains_key(id));
    }
}

/// Whether a buffer that comes to the same hook of the same device again, with no lower TTL, is another packet: it
/// is at the place of its birth, or after a while. Else it goes in a circle below IP.
fn new_round(open: &Open, event: &Event, recreate_ns: u64) -> bool {
    open.birth.is_some() && open.birth == place(event) || event.at.since(open.last) > recreate_ns
}

/// Another buffer with a fingerprint of this journey, or one whose buffer had ended.
fn rejoin(open: &mut Open, event: &Event, flows: &Flows) -> Option<Placement> {
    if is_another(open, event, flows) {
        return None;
    }
    let shares_head = event.head != 0
        && open.heads.contains(&event.head)
        && open
            .branches
            .iter()
            .any(|branch| branch.ended.is_none_or(|ended| ended >= event.at));
    if shares_head {
        return clone(open, event);
    }
    let local_output = event.device.is_none() && event.iif == 0;
    if open.dropped
        || open.delivered
        || open.answered
        || !matches!(event.detail, Detail::Ingress | Detail::Egress) && local_output
        || open.passed_side(event) && !just_cut(open, event)
        || !related(open, event, flows)
    {
        return None;
    }
    let latest = open.latest();
    let ended = open
        .branches
        .get(usize::from(latest))
        .is_none_or(|branch| branch.ended.is_some() || branch.skb == event.skb);
    let fragment = event.packet.as_ref().is_some_and(|p| p.fragment.is_some());
    let branch = if ended && !fragment {
        open.recarry(latest, event);
        latest
    } else if fragment {
        open.fork(latest, BranchKind::Piece, event)
    } else {
        open.fork(latest, BranchKind::Whole, event)
    };
    Some(Placement {
        journey: open.id,
        branch,
        joined: Joined::Fingerprint,
    })
}

/// Another packet in the same buffer, with the same bytes.
fn is_another(open: &Open, event: &Event, flows: &Flows) -> bool {
    turned_round(open, event) || of_another_flow(open, event, flows)
}

/// A packet that is known by its tuple as one of another flow, and has neither end in common with this journey's: many answers
/// repeat what was asked, and they are asked by many. What conntrack made of this journey's packet is its own all the same.
fn of_another_flow(open: &Open, event: &Event, flows: &Flows) -> bool {
    let Some(tuple) = event.tuple.filter(|tuple| !open.tuples.contains(tuple)) else {
        return false;
    };
    let was_own = event
        .original
        .is_some_and(|before| open.tuples.contains(&before));
    let foreign = flows.of(&tuple).is_some_and(|(flow, _)| flow != open.flow);
    foreign && !was_own && !shares_an_end(open, &tuple)
}

/// The answer that repeats the request: same bytes, perhaps in the very data buffer that the reader just gave back
/// (IPv6 has no IP id that would tell them apart). It goes to the asker's port, even from another address.
fn turned_round(open: &Open, event: &Event) -> bool {
    event.tuple.is_some_and(|tuple| {
        let back = |asked: &Tuple| {
            *asked == tuple.reversed()
                || tuple.dport != 0
                    && asked.proto == tuple.proto
                    && (asked.src, asked.sport) == (tuple.dst, tuple.dport)
        };
        open.tuples.iter().any(back) && !open.tuples.contains(&tuple)
    })
}

/// A clone: unless it comes to where another buffer of the journey was, it goes another way.
fn clone(open: &mut Open, event: &Event) -> Option<Placement> {
    if open.passed_side(event) && !just_cut(open, event) {
        return None;
    }
    let parent = open
        .branches
        .iter()
        .zip(0u16..)
        .filter(|(branch, _)| branch.kind != BranchKind::Clone)
        .map(|(_, number)| number)
        .last()
        .unwrap_or(0);
    let branch = open.fork(parent, BranchKind::Clone, event);
    Some(Placement {
        journey: open.id,
        branch,
        joined: Joined::Clone,
    })
}

/// The first buffers after a cut in the device's queue: seen by the driver where their origin was seen by the queue.
fn just_cut(open: &Open, event: &Event) -> bool {
    event.hook.0 == tracer_common::hook::NET_DEV_START_XMIT
        && open.large
        && event.at.since(open.last) < BACK_TO_BACK_NS
}

/// Whether a packet with this tuple can be the journey's: its own tuples, another of its flow in its direction, or
/// one end unchanged.
fn related(open: &Open, event: &Event, flows: &Flows) -> bool {
    let Some(tuple) = event.tuple else {
        return true;
    };
    let same_flow = flows.of_event(event) == Some((open.flow, open.direction));
    same_flow
        || open.tuples.contains(&tuple)
        || (matches!(event.detail, Detail::Ingress) && shares_an_end(open, &tuple))
}

/// Whether the source or the destination is that of a tuple of the journey, as it is where one end alone is translated.
fn shares_an_end(open: &Open, tuple: &Tuple) -> bool {
    let source = |t: &Tuple| (t.src, t.sport, t.icmp_id);
    let target = |t: &Tuple| (t.dst, t.dport, t.icmp_id);
    open.tuples.iter().any(|known| {
        known.proto == tuple.proto
            && (source(known) == source(tuple) || target(known) == target(tuple))
    })
}

fn pieces(event: &Event) -> Option<Pieces> {
    let packet = event.packet.as_ref()?;
    // a datagram that may be cut later is found by its fingerprint; only fragments need this
    let (id, tuple) = match packet.fragment {
        Some(_) => (packet.ip_id, packet.tuple?),
        None => (packet.carrier_id?, packet.tunnel?.outer),
    };
    (id != 0).then_some(Pieces {
        id,
        src: tuple.src,
        dst: tuple.dst,
        proto: tuple.proto,
    })
}

fn push(list: &mut Vec<JourneyId>, id: JourneyId) {
    if list.last() == Some(&id) || list.contains(&id) {
        return;
    }
    if list.len() >= MANY {
        list.remove(0);
    }
    list.push(id);
}

fn pull<K: std::hash::Hash + Eq>(map: &mut HashMap<K, Vec<JourneyId>>, key: &K, id: JourneyId) {
    if let Some(list) = map.get_mut(key) {
        list.retain(|other| *other != id);
        if list.is_empty() {
            map.remove(key);
        }
    }
}

/// Whether an event without a known journey begins one.
pub(super) fn begins(event: &Event) -> bool {
    let sees_packet = match &event.detail {
        Detail::Ingress | Detail::Egress | Detail::BadChecksum | Detail::IcmpSend { .. } => true,
        Detail::SocketReached | Detail::ResetSent { .. } | Detail::SocketFull { .. } => {
            event.fingerprint.is_some() && event.flags & FLAG_BY_SOCKET == 0
        }
        Detail::Drop(info) => {
            // The end of a copy says nothing of the packet: where it is all that is seen, the rest was not sent.
            matches!(
                noise::of_drop(event, info, Direction::Forward),
                noise::Meaning::Lost | noise::Meaning::AnswersOrLost
            )
        }
        _ => false,
    };
    sees_packet && event.skb.is_some() && event.tuple.is_some()
}

/// A fingerprint of our own for packets that the kernel gives none (ARP): what it asks or answers.
pub(super) fn own_fingerprint(event: &Event) -> Option<Fingerprint> {
    use std::hash::{DefaultHasher, Hash, Hasher};
    let packet = event.packet.as_ref()?;
    let Transport::Neighbor {
        answer,
        target,
        mac,
    } = packet.transport
    else {
        return None;
    };
    let mut hasher = DefaultHasher::new();
    (packet.tuple, answer, target, mac).hash(&mut hasher);
    Some(Fingerprint(hasher.finish() | 1))
}
