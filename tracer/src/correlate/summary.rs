//! What flows show: paths, fates and packets, summed up over closed journeys for good and over open ones as of now;
//! and which journeys are kept when they close.

use std::collections::{BTreeMap, HashSet, VecDeque};

use crate::model::{
    Acked, Direction, DropSite, Event, Fate, FateCounts, Fingerprint, Flow, FlowId, Journey,
    JourneyId, KtimeNs, Path, Sending, Transport, Tuple, TupleRole,
};
use crate::uapi::tcp;

use super::beside::Concerns;
use super::fate::Judgement;
use super::flow::{Flows, State, flow_mut};
use super::identity::Index;
use super::open::Open;
use super::path::{HookCount, PathState, Place};
use super::progress;
use super::{Settings, Trace};

/// Most packets and flows remembered that are counted but not kept.
const MAX_UNKEPT: usize = 4096;

/// Counts one fate.
fn count(counts: &mut FateCounts, fate: &Fate) {
    let field = match fate {
        Fate::InFlight => &mut counts.in_flight,
        Fate::Delivered => &mut counts.delivered,
        Fate::Dropped { .. } => &mut counts.dropped,
        Fate::Left { .. } => &mut counts.left,
        Fate::Vanished { .. } => &mut counts.vanished,
        Fate::Consumed { .. } => &mut counts.consumed,
    };
    *field += 1;
}

/// Adds a closed journey to its flow's sums.
pub(super) fn fold(trace: &mut Trace, flows: &mut Flows, open: &Open, judged: &Judgement) {
    let Some(state) = flows.states.get_mut(&open.flow) else {
        return;
    };
    state.open.remove(&open.id);
    state.dirty = true;
    count(state.fates.entry(open.direction).or_default(), &judged.fate);
    if let Some(journey) = trace.journeys.get(&open.id) {
        state.drops.close(journey, judged);
        note_acknowledgement(&mut state.acked, journey, &judged.fate);
        progress::note(&mut state.sending, journey, &judged.fate);
    }
    let path = match open.direction {
        Direction::Forward => &mut state.forward,
        Direction::Reply => &mut state.reply,
        Direction::Error => return,
    };
    if let Some(journey) = trace.journeys.get(&open.id) {
        path.fold(journey, open, judged);
    }
}

/// Takes the acknowledgement number of a TCP segment in.
fn note_acknowledgement(acked: &mut BTreeMap<Direction, Acked>, journey: &Journey, fate: &Fate) {
    let mut packets = journey
        .steps
        .iter()
        .filter_map(|step| step.event.packet.as_ref());
    if let Some(Transport::Tcp { ack, flags, .. }) = packets.next().map(|packet| packet.transport)
        && flags & (tcp::ACK | tcp::RST) == tcp::ACK
    {
        let at = journey
            .steps
            .last()
            .map_or(KtimeNs(0), |step| step.event.at);
        let entry = acked.entry(journey.direction).or_default();
        entry.note(ack, at, *fate == Fate::Delivered);
    }
}

/// Brings the flows that changed up to date. `judged` holds the fates of journeys that are open.
pub(super) fn update(
    trace: &mut Trace,
    flows: &mut Flows,
    index: &Index,
    judged: &BTreeMap<JourneyId, Judgement>,
) {
    let changed: Vec<FlowId> = flows
        .states
        .iter()
        .filter(|(_, state)| state.dirty || !state.open.is_empty())
        .map(|(id, _)| *id)
        .collect();
    for id in changed {
        let Some(state) = flows.states.get_mut(&id) else {
            continue;
        };
        state.dirty = false;
        let sums = sums(trace, state, index, judged);
        if let Some(flow) = flow_mut(trace, id) {
            show(flow, state, sums);
        }
    }
}

/// Sums over closed and open journeys.
struct Sums {
    forward: PathState,
    reply: PathState,
    fates: BTreeMap<Direction, FateCounts>,
    drops: BTreeMap<DropSite, u64>,
    acked: BTreeMap<Direction, Acked>,
    sending: BTreeMap<Direction, Sending>,
}

fn sums(
    trace: &Trace,
    state: &State,
    index: &Index,
    judged: &BTreeMap<JourneyId, Judgement>,
) -> Sums {
    let mut sums = Sums {
        forward: state.forward.clone(),
        reply: state.reply.clone(),
        fates: state.fates.clone(),
        drops: BTreeMap::new(),
        acked: state.acked.clone(),
        sending: state.sending.clone(),
    };
    for id in &state.open {
        let (Some(open), Some(journey), Some(judged)) =
            (index.open.get(id), trace.journeys.get(id), judged.get(id))
        else {
            continue;
        };
        count(sums.fates.entry(open.direction).or_default(), &judged.fate);
        note_acknowledgement(&mut sums.acked, journey, &judged.fate);
        progress::note(&mut sums.sending, journey, &judged.fate);
        match open.direction {
            Direction::Forward => sums.forward.fold(journey, open, judged),
            Direction::Reply => sums.reply.fold(journey, open, judged),
            Direction::Error => {}
        }
    }
    let open = state.open.iter();
    let open = open.filter_map(|id| Some((trace.journeys.get(id)?, judged.get(id)?)));
    sums.drops = state.drops.sum(open, &mut sums.fates);
    sums
}

fn show(flow: &mut Flow, state: &State, sums: Sums) {
    let exact = |direction| {
        move |(device, side): Place| -> Option<HookCount> {
            let hooks = state.exact.get(&(direction, device, side))?;
            // several hooks see each packet at this place: the one that saw most
            hooks.values().copied().max_by_key(|count| count.packets)
        }
    };
    flow.forward = sums.forward.path(exact(Direction::Forward));
    flow.reply = sums.reply.path(exact(Direction::Reply));
    let seen = |direction, place: Place| {
        let path = match direction {
            Direction::Forward => &flow.forward,
            _ => &flow.reply,
        };
        let mut hops = path.hops.iter();
        hops.any(|hop| (hop.device, hop.side) == place)
    };
    let unseen = state.exact.keys().copied();
    let unseen = unseen.filter(|(direction, device, side)| !seen(*direction, (*device, *side)));
    flow.unseen = unseen.collect();
    flow.fates = sums.fates;
    flow.drops = sums.drops;
    flow.acked = sums.acked;
    flow.sending = sums.sending;
    flow.packets = flow
        .journeys_seen
        .iter()
        .map(|(direction, seen)| {
            let path = match direction {
                Direction::Forward => Some(&flow.forward),
                Direction::Reply => Some(&flow.reply),
                Direction::Error => None,
            };
            (*direction, path.map_or(0, entered).max(*seen))
        })
        .collect();
    // counted, and no event of it was sent: the rate limit left all of this direction out
    for ((direction, ..), hooks) in &state.exact {
        if !flow.journeys_seen.contains_key(direction) {
            let most = hooks.values().map(|count| count.packets).max();
            let packets = flow.packets.entry(*direction).or_default();
            *packets = most.unwrap_or(0).max(*packets);
        }
    }
}

/// Packets at the first hops of a path; later ones can count a packet again (loops, copies).
fn entered(path: &Path) -> u64 {
    let reached: HashSet<usize> = path
        .hops
        .iter()
        .flat_map(|hop| &hop.next)
        .copied()
        .collect();
    path.hops
        .iter()
        .enumerate()
        .filter(|(at, _)| !reached.contains(at))
        .map(|(_, hop)| hop.packets)
        .max()
        .unwrap_or(0)
}

/// What the flows are about, to judge whether an event beside them matters.
pub(super) fn concerns(trace: &Trace) -> Concerns {
    let mut concerns = Concerns::default();
    for flow in &trace.flows {
        let addressed = flow
            .tuples
            .iter()
            .filter(|(role, _)| *role != TupleRole::Outer);
        for (_, tuple) in addressed {
            concerns.addresses.extend([tuple.src, tuple.dst]);
        }
        for hop in flow.forward.hops.iter().chain(&flow.reply.hops) {
            concerns.devices.insert(hop.device);
            concerns.namespaces.insert(hop.device.netns);
        }
    }
    concerns
}

/// Which closed journeys are kept.
#[derive(Clone, Debug, Default)]
pub(super) struct Keeping {
    healthy: usize,
    lossy: usize,
    packets: Recent<Fingerprint>,
    flows: Recent<Tuple>,
}

/// A set of what was seen lately, bounded.
#[derive(Clone, Debug)]
struct Recent<T> {
    set: HashSet<T>,
    order: VecDeque<T>,
}

impl<T> Default for Recent<T> {
    fn default() -> Self {
        Self {
            set: HashSet::new(),
            order: VecDeque::new(),
        }
    }
}

impl<T: Copy + Eq + std::hash::Hash> Recent<T> {
    /// True when it is new.
    fn add(&mut self, value: T) -> bool {
        if !self.set.insert(value) {
            return false;
        }
        self.order.push_back(value);
        if self.order.len() > MAX_UNKEPT
            && let Some(oldest) = self.order.pop_front()
        {
            self.set.remove(&oldest);
        }
        true
    }
}

impl Keeping {
    /// Keeps a journey that was just closed, or lets it go.
    pub(super) fn decide(
        &mut self,
        trace: &mut Trace,
        flows: &mut Flows,
        open: &Open,
        settings: &Settings,
    ) {
        let Some(state) = flows.states.get_mut(&open.flow) else {
            trace.journeys.remove(&open.id);
            return;
        };
        let healthy = state.kept_healthy.entry(open.direction).or_default();
        let half = settings.journeys / 2;
        let lossy = matches!(
            trace.journeys.get(&open.id).map(|journey| &journey.fate),
            Some(Fate::Dropped { .. } | Fate::Vanished { .. } | Fate::Consumed { .. })
        );
        let kept = if lossy {
            self.lossy < half
        } else {
            self.healthy < half && *healthy < settings.sample
        };
        if !kept {
            trace.journeys.remove(&open.id);
            if let Some(flow) = flow_mut(trace, open.flow) {
                // Closed soon after it was opened: it stands near the end, and under load the list is long.
                if let Some(at) = flow.journeys.iter().rposition(|id| *id == open.id) {
                    flow.journeys.remove(at);
                }
            }
            return;
        }
        if lossy {
            self.lossy += 1;
        } else {
            self.healthy += 1;
            *healthy += 1;
        }
        if let Some(journey) = trace.journeys.get_mut(&open.id) {
            for step in &mut journey.steps {
                step.event.part_from_record();
            }
        }
    }

    /// A packet of a flow for which there is no room: both are counted once.
    pub(super) fn unkept(&mut self, event: &Event, trace: &mut Trace) {
        let (Some(fingerprint), Some(tuple)) = (event.fingerprint, event.tuple) else {
            return;
        };
        trace.packets += u64::from(self.packets.add(fingerprint));
        // one key for both directions
        let flow = tuple.min(tuple.reversed());
        trace.flows_seen += u64::from(self.flows.add(flow));
    }
}
