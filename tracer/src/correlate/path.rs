//! The way of a flow in one direction, summed up over its journeys: hops in order, packets, latency, rewrites, losses.
//!
//! Journeys are folded in one by one; the order is made of the edges they leave ([`order`]).

mod order;

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet};

use crate::model::{
    Detail, Device, Fate, Hop, Journey, KtimeNs, Latency, Path, Rewrite, Side, Step, Tunnel, Tuple,
};

use super::fate::Judgement;
use super::latency::Histogram;
use super::open::{BranchKind, Open, place};

/// Most hops of one path, and most tuples and rewrites kept of one hop.
const MAX_HOPS: usize = 256;
const MAX_VARIANTS: usize = 16;

/// A hop's identity.
pub(super) type Place = (Device, Side);

/// What one hook of the kernel counted at one place.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct HookCount {
    pub(super) packets: u64,
    pub(super) bytes: u64,
    pub(super) last: KtimeNs,
}

/// A hop as folded so far.
#[derive(Clone, Debug)]
pub(super) struct HopState {
    packets: u64,
    bytes: u64,
    tuples: BTreeMap<Tuple, u64>,
    tunnels: BTreeMap<Option<Tunnel>, u64>,
    lost: u64,
    /// How NAT changed those lost after this hop before the next one, which only the drop shows, and those of this
    /// host's own before the first, which conntrack tells.
    translated: BTreeSet<Rewrite>,
    pub(super) first: KtimeNs,
    last: KtimeNs,
}

/// A way from one hop to the next.
#[derive(Clone, Debug, Default)]
pub(super) struct EdgeState {
    pub(super) count: u64,
    latency: Histogram,
    rewrites: BTreeSet<Rewrite>,
}

/// A path as folded so far.
#[derive(Clone, Debug, Default)]
pub(super) struct PathState {
    pub(super) hops: BTreeMap<Place, HopState>,
    pub(super) edges: BTreeMap<(Place, Place), EdgeState>,
}

/// A branch's stay at one place: several hooks see it there.
struct Visit<'a> {
    place: Place,
    first: &'a Step,
    last: &'a Step,
}

impl PathState {
    /// Adds what one journey tells.
    pub(super) fn fold(&mut self, journey: &Journey, open: &Open, judged: &Judgement) {
        let whole = visits(journey, &chain(journey, open, judged.branch));
        self.add(&whole);
        let is_piece = |number: u16| {
            let branch = open.branches.get(usize::from(number));
            number != judged.branch && branch.is_some_and(|b| b.kind == BranchKind::Piece)
        };
        for (_, visits) in visits_of_branches(journey, is_piece) {
            self.add(&visits);
        }
        if let Fate::Dropped { step } | Fate::Vanished { step } = judged.fate {
            self.lose(journey, &whole, step);
        }
    }

    fn lose(&mut self, journey: &Journey, visits: &[Visit<'_>], step: usize) {
        let end = journey.steps.get(step);
        let at = end.map_or(KtimeNs(u64::MAX), |step| step.event.at);
        let before = visits
            .iter()
            .rev()
            .find(|visit| visit.first.event.at <= at)
            .and_then(|visit| Some((visit, self.hops.get_mut(&visit.place)?)));
        let Some((visit, hop)) = before else { return };
        hop.lost += 1;
        if let Some(end) = end
            && hop.translated.len() < MAX_VARIANTS
        {
            hop.translated.extend(translations(visit.last, end));
        }
    }

    fn add(&mut self, visits: &[Visit<'_>]) {
        let mut seen = BTreeSet::new();
        for visit in visits {
            // a loop's later rounds are neither more packets nor a new order
            if seen.insert(visit.place) {
                self.pass(visit);
            }
        }
        let mut seen = BTreeSet::new();
        for pair in visits.windows(2) {
            let [from, to] = pair else { continue };
            seen.insert(from.place);
            let known = self.hops.contains_key(&from.place) && self.hops.contains_key(&to.place);
            if known && !seen.contains(&to.place) {
                self.step(from, to);
            }
        }
    }

    fn pass(&mut self, visit: &Visit<'_>) {
        if self.hops.len() >= MAX_HOPS && !self.hops.contains_key(&visit.place) {
            return;
        }
        let event = &visit.first.event;
        let hop = self.hops.entry(visit.place).or_insert_with(|| HopState {
            packets: 0,
            bytes: 0,
            tuples: BTreeMap::new(),
            tunnels: BTreeMap::new(),
            lost: 0,
            translated: BTreeSet::new(),
            first: event.at,
            last: event.at,
        });
        hop.packets += u64::from(event.segments);
        hop.bytes += u64::from(event.len);
        hop.first = hop.first.min(event.at);
        hop.last = hop.last.max(visit.last.event.at);
        if let Some(tuple) = event.tuple {
            count(&mut hop.tuples, tuple);
            let before = event
                .original
                .filter(|_| hop.translated.len() < MAX_VARIANTS);
            hop.translated
                .extend(before.into_iter().flat_map(|b| translated(b, tuple)));
        }
        if let Some(packet) = &event.packet {
            count(&mut hop.tunnels, packet.tunnel);
        }
    }

    fn step(&mut self, from: &Visit<'_>, to: &Visit<'_>) {
        let edge = self.edges.entry((from.place, to.place)).or_default();
        edge.count += 1;
        edge.latency
            .add(to.first.event.at.since(from.first.event.at));
        for rewrite in rewrites(from.last, to.first) {
            if edge.rewrites.len() < MAX_VARIANTS {
                edge.rewrites.insert(rewrite);
            }
        }
    }

    /// Adds what another path tells.
    pub(super) fn absorb(&mut self, other: Self) {
        for (place, hop) in other.hops {
            match self.hops.entry(place) {
                Entry::Occupied(mut known) => known.get_mut().absorb(hop),
                Entry::Vacant(free) => {
                    free.insert(hop);
                }
            }
        }
        for (places, edge) in other.edges {
            let known = self.edges.entry(places).or_default();
            known.count += edge.count;
            known.latency.absorb(&edge.latency);
            known.rewrites.extend(edge.rewrites);
        }
    }

    /// The path, with the kernel's counters where there are.
    pub(super) fn path(&self, exact: impl Fn(Place) -> Option<HookCount>) -> Path {
        let order = order::order(self);
        let index: BTreeMap<Place, usize> = order.places.iter().copied().zip(0usize..).collect();
        let hops = order.places.iter().zip(0usize..).filter_map(|(place, at)| {
            let state = self.hops.get(place)?;
            let counted = exact(*place);
            let next: Vec<usize> = order
                .next(place)
                .filter_map(|to| index.get(&to).copied())
                .filter(|to| *to > at)
                .collect();
            Some(Hop {
                device: place.0,
                side: place.1,
                tuple: most(&state.tuples)?,
                tunnel: most(&state.tunnels).flatten(),
                packets: counted.map_or(0, |c| c.packets).max(state.packets),
                bytes: counted.map_or(0, |c| c.bytes).max(state.bytes),
                latency: self.latency(place, order.next(place)),
                rewrites: self.rewrites(*place, &order),
                lost_after: state.lost,
                last_seen: counted.map_or(state.last, |c| c.last.max(state.last)),
                next,
            })
        });
        Path {
            hops: hops.collect(),
        }
    }

    /// Latency to the successor that most packets take.
    fn latency(&self, place: &Place, next: impl Iterator<Item = Place>) -> Option<Latency> {
        next.filter_map(|to| self.edges.get(&(*place, to)))
            .max_by_key(|edge| edge.count)
            .and_then(|edge| edge.latency.latency())
    }

    fn rewrites(&self, place: Place, order: &order::Order) -> Vec<Rewrite> {
        let into = self
            .edges
            .iter()
            .filter(|((from, to), _)| *to == place && order.keeps(*from, *to));
        let after = self.hops.get(&place).map(|hop| hop.translated.iter());
        let all: BTreeSet<Rewrite> = into
            .flat_map(|(_, edge)| edge.rewrites.iter())
            .chain(after.into_iter().flatten())
            .cloned()
            .collect();
        all.into_iter().collect()
    }
}

impl HopState {
    fn absorb(&mut self, other: Self) {
        self.packets += other.packets;
        self.bytes += other.bytes;
        for (tuple, n) in other.tuples {
            *self.tuples.entry(tuple).or_default() += n;
        }
        for (tunnel, n) in other.tunnels {
            *self.tunnels.entry(tunnel).or_default() += n;
        }
        self.lost += other.lost;
        self.translated.extend(other.translated);
        self.first = self.first.min(other.first);
        self.last = self.last.max(other.last);
    }
}

/// Branches that lead to the one that matters, each with the time from which it is left for the next.
fn chain(journey: &Journey, open: &Open, branch: u16) -> Vec<(u16, Option<KtimeNs>)> {
    let mut chain = vec![(branch, None)];
    let mut at = branch;
    while at != 0 && chain.len() <= open.branches.len() {
        let begins = journey
            .steps
            .iter()
            .find(|step| step.branch == at)
            .map(|step| step.event.at);
        at = open
            .branches
            .get(usize::from(at))
            .map_or(0, |branch| branch.parent);
        chain.push((at, begins));
    }
    chain
}

/// Places in order of time along the given branches; consecutive events at one place are one visit.
fn visits<'a>(journey: &'a Journey, chain: &[(u16, Option<KtimeNs>)]) -> Vec<Visit<'a>> {
    let mut visits: Vec<Visit<'a>> = Vec::new();
    for step in &journey.steps {
        let ours = chain.iter().any(|(branch, until)| {
            step.branch == *branch && until.is_none_or(|until| step.event.at <= until)
        });
        if ours {
            visit(&mut visits, step);
        }
    }
    visits
}

/// The hop at which a packet was seen last, before or by the event at `step` of its journey.
#[must_use]
pub fn last_hop(journey: &Journey, step: usize) -> Option<(Device, Side)> {
    let until = journey.steps.get(..=step)?;
    until.iter().rev().find_map(|step| place(&step.event))
}

/// What changed of a packet on its way from its last hop to the event at `step` of its journey: nothing where that
/// saw it at the same hop again. Of a loss, only what NAT did.
#[must_use]
pub fn rewritten(journey: &Journey, step: usize) -> Vec<Rewrite> {
    let Some((before, to)) = journey.steps.get(..step).zip(journey.steps.get(step)) else {
        return Vec::new();
    };
    let hops = || {
        before
            .iter()
            .rev()
            .filter(|step| place(&step.event).is_some())
    };
    // copies of a flooded packet take turns
    let own = hops().find(|from| from.branch == to.branch);
    let Some(from) = own.or_else(|| hops().next()) else {
        return Vec::new();
    };
    match (place(&from.event), place(&to.event)) {
        (_, None) if matches!(to.event.detail, Detail::Drop(_)) => translations(from, to),
        (Some(from_place), Some(to_place)) if from_place != to_place => rewrites(from, to),
        _ => Vec::new(),
    }
}

/// The same of each branch by itself that `wanted` takes.
fn visits_of_branches(
    journey: &Journey,
    wanted: impl Fn(u16) -> bool,
) -> BTreeMap<u16, Vec<Visit<'_>>> {
    let mut branches: BTreeMap<u16, Vec<Visit<'_>>> = BTreeMap::new();
    for step in journey.steps.iter().filter(|step| wanted(step.branch)) {
        visit(branches.entry(step.branch).or_default(), step);
    }
    branches
}

/// Adds what a step tells of places.
fn visit<'a>(visits: &mut Vec<Visit<'a>>, step: &'a Step) {
    let Some(place) = place(&step.event) else {
        return;
    };
    match visits.last_mut() {
        Some(visit) if visit.place == place => visit.last = step,
        _ => visits.push(Visit {
            place,
            first: step,
            last: step,
        }),
    }
}

/// What changed between two sightings of a packet.
fn rewrites(from: &Step, to: &Step) -> Vec<Rewrite> {
    let mut changes = Vec::new();
    if let (Some(a), Some(b)) = (from.event.tuple, to.event.tuple)
        && a.proto == b.proto
        && !portless(from)
        && !portless(to)
    {
        changes.extend(translated(a, b));
    }
    if let (Some(a), Some(b)) = (&from.event.packet, &to.event.packet) {
        if a.tunnel != b.tunnel {
            changes.extend(a.tunnel.map(between_ends).map(Rewrite::Pop));
            changes.extend(b.tunnel.map(between_ends).map(Rewrite::Push));
        }
        if b.ttl < a.ttl {
            changes.push(Rewrite::Ttl(a.ttl - b.ttl));
        }
    }
    changes
}

/// The tunnel between its two ends. The outer source port is a hash of what is inside (RFC 7348, 5), and another for
/// each retransmission of a SYN: it is not what was changed.
fn between_ends(tunnel: Tunnel) -> Tunnel {
    let outer = Tuple {
        sport: 0,
        ..tunnel.outer
    };
    Tunnel { outer, ..tunnel }
}

/// What NAT made of a tuple.
fn translated(from: Tuple, to: Tuple) -> impl Iterator<Item = Rewrite> {
    let dnat = (from.dst, from.dport) != (to.dst, to.dport);
    let snat = (from.src, from.sport, from.icmp_id) != (to.src, to.sport, to.icmp_id);
    let dnat = dnat.then_some(Rewrite::Dnat { from, to });
    dnat.into_iter()
        .chain(snat.then_some(Rewrite::Snat { from, to }))
}

/// What NAT did between a packet's last hop and its drop in the same namespace. A drop that shows another header
/// than the hop (a tunnel's) tells nothing.
fn translations(last: &Step, end: &Step) -> Vec<Rewrite> {
    let headers = |step: &Step| {
        let packet = step.event.packet.as_ref()?;
        Some((packet.tuple?, packet.tunnel))
    };
    let netns = |step: &Step| step.event.device.map(|d| d.netns).or(step.event.netns);
    let comparable = matches!((headers(last), headers(end)), (Some(a), Some(b)) if a.1 == b.1)
        && netns(last) == netns(end);
    let mut changes = if comparable {
        rewrites(last, end)
    } else {
        Vec::new()
    };
    changes.retain(|change| matches!(change, Rewrite::Dnat { .. } | Rewrite::Snat { .. }));
    changes
}

/// A fragment without a transport header.
fn portless(step: &Step) -> bool {
    let packet = step.event.packet.as_ref();
    packet.is_some_and(|packet| packet.fragment.is_some_and(|f| f.offset > 0))
}

fn count<K: Ord>(variants: &mut BTreeMap<K, u64>, key: K) {
    if variants.len() < MAX_VARIANTS || variants.contains_key(&key) {
        *variants.entry(key).or_default() += 1;
    }
}

/// The most frequent; the smallest of several.
fn most<K: Ord + Copy>(variants: &BTreeMap<K, u64>) -> Option<K> {
    variants
        .iter()
        .max_by_key(|(key, count)| (**count, std::cmp::Reverse(**key)))
        .map(|(key, _)| *key)
}
