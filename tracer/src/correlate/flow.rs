//! Which flow a packet belongs to and in which direction, by the tuples that each flow has been seen with.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::IpAddr;

use crate::host::Host;
use crate::host::prefix::is_many;
use crate::model::{
    Acked, Detail, Device, Direction, DropSite, Event, FateCounts, Flow, FlowId, JourneyId, Path,
    Pause, Proto, Sending, Side, Transport, Tuple, TupleRole,
};
use crate::uapi::tcp::{ACK, RST, SYN};

use super::Trace;
use super::drops::Drops;
use super::exact::What;
use super::kind::{is_echo_reply, is_echo_request};
use super::path::{HookCount, PathState};
use super::trace::Unfollowed;
use super::unite::Union;

/// Most tuples of one flow.
const MAX_TUPLES: usize = 64;
/// Ports below this are those of services; Linux takes ephemeral ones from [`EPHEMERAL`] on.
const WELL_KNOWN: u16 = 1024;
const EPHEMERAL: u16 = 32768;

/// What is summed up of a flow, beside [`Flow`].
#[derive(Clone, Debug, Default)]
pub(super) struct State {
    /// Paths of closed journeys.
    pub(super) forward: PathState,
    pub(super) reply: PathState,
    /// Journeys that may still get events.
    pub(super) open: BTreeSet<JourneyId>,
    /// Fates of closed journeys.
    pub(super) fates: BTreeMap<Direction, FateCounts>,
    /// What closed journeys acknowledged.
    pub(super) acked: BTreeMap<Direction, Acked>,
    /// What they sent.
    pub(super) sending: BTreeMap<Direction, Sending>,
    /// Kernel's counters by direction, place and hook.
    pub(super) exact: BTreeMap<(Direction, Device, Side), BTreeMap<u8, HookCount>>,
    /// Drops, by where and why.
    pub(super) drops: Drops,
    /// Closed healthy journeys that are kept.
    pub(super) kept_healthy: BTreeMap<Direction, usize>,
    /// Something changed since the last tick.
    pub(super) dirty: bool,
}

impl State {
    /// Takes in what the kernel counted.
    fn count(&mut self, direction: Direction, what: What) {
        self.dirty = true;
        match what {
            What::Passed(row) => {
                let place = (direction, row.device, row.side);
                let hooks = self.exact.entry(place).or_default();
                let sum = hooks.entry(row.hook).or_default();
                sum.packets += row.count.packets;
                sum.bytes += row.count.bytes;
                sum.last = sum.last.max(row.count.last);
            }
            What::Dropped(row) => {
                let site = DropSite {
                    direction,
                    device: row.device,
                    reason: row.reason,
                    site: row.site,
                };
                self.drops.count(site, row.packets);
            }
        }
    }
}

/// All flows by tuple.
#[derive(Clone, Debug, Default)]
pub(super) struct Flows {
    pub(super) states: BTreeMap<FlowId, State>,
    pub(super) tuples: HashMap<Tuple, (FlowId, Direction)>,
    /// For fragments, which have no ports.
    pub(super) hosts: HashMap<(IpAddr, IpAddr, Proto), (FlowId, Direction)>,
    /// By who asks over UDP (address and port) and the port that is asked: an answer may come from another address.
    askers: HashMap<Asker, FlowId>,
    next: u32,
}

/// Address and port of who asks, and the port that is asked.
type Asker = (IpAddr, u16, u16);

/// The flow and direction of a packet.
pub(super) type Membership = (FlowId, Direction);

impl Flows {
    /// The flow that has the tuple.
    pub(super) fn of(&self, tuple: &Tuple) -> Option<Membership> {
        self.tuples.get(tuple).copied()
    }

    /// The flow of an event's packet: by its tuple, or by the one it quotes.
    pub(super) fn of_event(&self, event: &Event) -> Option<Membership> {
        if let Some(quoted) = quoted(event) {
            let (flow, _) = self.of(&quoted).or_else(|| self.of_hosts(&quoted))?;
            return Some((flow, Direction::Error));
        }
        let tuple = event.tuple?;
        let original = || event.original.and_then(|original| self.of(&original));
        let (flow, direction) = self.of(&tuple).or_else(original).or_else(|| {
            let portless = tuple.sport == 0 && tuple.dport == 0 && is_fragment(event);
            portless.then(|| self.of_hosts(&tuple)).flatten()
        })?;
        // a host that pings itself: only the type tells the direction
        let direction = match direction {
            Direction::Forward if tuple.src == tuple.dst && is_echo_reply(event) => {
                Direction::Reply
            }
            other => other,
        };
        Some((flow, direction))
    }

    fn of_hosts(&self, tuple: &Tuple) -> Option<Membership> {
        self.hosts
            .get(&(tuple.src, tuple.dst, tuple.proto))
            .copied()
    }

    /// The flow that a datagram without one answers from another address than was asked: of the same host where it is sent,
    /// or to the same port of the asker where it comes in. It is one of that flow from now on.
    pub(super) fn answered_elsewhere(
        &mut self,
        event: &Event,
        host: &Host,
        trace: &mut Trace,
    ) -> Option<Membership> {
        let tuple = event.tuple.filter(|tuple| tuple.proto == Proto::Udp)?;
        let netns = event.device?.netns;
        let id = *self.askers.get(&(tuple.dst, tuple.dport, tuple.sport))?;
        let flow = flow_mut(trace, id)?;
        let asked = |own: &&(TupleRole, Tuple)| {
            let (_, own) = own;
            (own.src, own.sport, own.dport) == (tuple.dst, tuple.dport, tuple.sport)
        };
        let asked = flow.tuples.iter().find(asked).map(|(_, asked)| asked.dst)?;
        let own = |address| host.is_local(netns, address);
        let answers = match event.detail {
            Detail::Egress => own(tuple.src) && own(asked),
            Detail::Ingress => own(tuple.dst) && !own(asked),
            _ => false,
        };
        if !answers || is_many(asked) || host.is_broadcast(netns, asked) {
            return None;
        }
        add(flow, TupleRole::Reply, tuple);
        self.index(tuple, id, Direction::Reply);
        Some((id, Direction::Reply))
    }

    /// Begins a flow with the first packet seen of it. `None` when there is no room.
    pub(super) fn begin(
        &mut self,
        event: &Event,
        host: &Host,
        trace: &mut Trace,
        most: usize,
    ) -> Option<Membership> {
        let (asked, direction) = match quoted(event) {
            Some(quoted) => {
                let reversed = reversed_by_request(&quoted, host).unwrap_or(false);
                let asked = if reversed { quoted.reversed() } else { quoted };
                (asked, Direction::Error)
            }
            None => {
                let tuple = event.original.or(event.tuple)?;
                if reversed(event, &tuple, host) {
                    (tuple.reversed(), Direction::Reply)
                } else {
                    (tuple, Direction::Forward)
                }
            }
        };
        if trace.flows.len() >= most && !self.make_room(trace) {
            return None;
        }
        trace.flows_seen += 1;
        let id = FlowId(self.next);
        self.next += 1;
        trace.flows.push(Flow {
            id,
            tuples: vec![(TupleRole::Asked, asked)],
            packets: BTreeMap::new(),
            forward: Path::default(),
            reply: Path::default(),
            journeys: Vec::new(),
            journeys_seen: BTreeMap::new(),
            fates: BTreeMap::new(),
            acked: BTreeMap::new(),
            drops: BTreeMap::new(),
            unseen: Vec::new(),
            sending: BTreeMap::new(),
            first: event.at,
            last: event.at,
            pause: None,
        });
        self.states.insert(id, State::default());
        self.index(asked, id, Direction::Forward);
        Some((id, direction))
    }

    fn index(&mut self, tuple: Tuple, id: FlowId, direction: Direction) {
        let other = match direction {
            Direction::Forward => Direction::Reply,
            _ => Direction::Forward,
        };
        self.tuples.entry(tuple).or_insert((id, direction));
        self.tuples.entry(tuple.reversed()).or_insert((id, other));
        if tuple.proto == Proto::Udp && direction == Direction::Forward {
            self.askers
                .insert((tuple.src, tuple.sport, tuple.dport), id);
        }
        self.hosts
            .insert((tuple.src, tuple.dst, tuple.proto), (id, direction));
        self.hosts
            .insert((tuple.dst, tuple.src, tuple.proto), (id, other));
    }

    /// A packet of the flow was seen with this tuple. Gives the flow that was opened with that tuple before, if there is one.
    pub(super) fn learn(
        &mut self,
        membership: Membership,
        event: &Event,
        trace: &mut Trace,
    ) -> Option<Union> {
        let (id, direction) = membership;
        let flow = flow_mut(trace, id)?;
        flow.first = flow.first.min(event.at);
        let pause = Pause {
            since: flow.last,
            until: event.at,
        };
        if pause.length() > flow.pause.map_or(0, |longest| longest.length()) {
            flow.pause = Some(pause);
        }
        flow.last = flow.last.max(event.at);
        if let Some(tunnel) = event.packet.as_ref().and_then(|packet| packet.tunnel) {
            add(flow, TupleRole::Outer, tunnel.outer);
        }
        let portless = |t: &Tuple| t.sport == 0 && t.dport == 0 && is_fragment(event);
        let tuple = event.tuple.filter(|tuple| !portless(tuple))?;
        if direction == Direction::Error {
            return None;
        }
        let answer = flow.asked().map(Tuple::reversed);
        if direction == Direction::Reply && answer == Some(tuple) {
            add(flow, TupleRole::Reply, tuple);
        } else if add(flow, TupleRole::Translated, tuple) {
            let union = self.union(membership, &tuple, trace);
            self.index(tuple, id, direction);
            return union;
        }
        None
    }

    /// The flow that was opened with a tuple which another flow's packet now has. A flow that merely had the tuple once, as a
    /// translation of its own, is another conversation: translators use ports again.
    fn union(&self, membership: Membership, tuple: &Tuple, trace: &Trace) -> Option<Union> {
        let (into, direction) = membership;
        let (from, known) = self.of(tuple).filter(|(flow, _)| *flow != into)?;
        let asked = trace.flows.iter().find(|f| f.id == from)?.asked()?;
        (asked == *tuple || asked == tuple.reversed()).then_some(Union {
            into,
            from,
            turned: known != direction,
        })
    }

    /// Takes out the flow that is idle for longest, without a loss or anything open.
    fn make_room(&mut self, trace: &mut Trace) -> bool {
        let healthy = |counts: &FateCounts| counts.dropped == 0 && counts.vanished == 0;
        let idle = trace
            .flows
            .iter()
            .filter(|flow| flow.fates.values().all(healthy))
            .filter(|flow| {
                self.states
                    .get(&flow.id)
                    .is_none_or(|state| state.open.is_empty())
            })
            .min_by_key(|flow| flow.last)
            .map(|flow| flow.id);
        let Some(id) = idle else {
            return false;
        };
        self.states.remove(&id);
        self.tuples.retain(|_, (flow, _)| *flow != id);
        self.hosts.retain(|_, (flow, _)| *flow != id);
        self.askers.retain(|_, flow| *flow != id);
        trace.flows.retain(|flow| flow.id != id);
        trace.journeys.retain(|_, journey| journey.flow != id);
        true
    }

    /// Sorts the kernel's counters to the flows. What is left of them.
    pub(super) fn counted(
        &mut self,
        rows: impl Iterator<Item = (Tuple, bool, What)>,
    ) -> Unfollowed {
        for state in self.states.values_mut() {
            state.exact.clear();
            state.drops.recount();
        }
        let mut rest = Rest::default();
        for (tuple, echo_reply, what) in rows {
            // later fragments know no ports
            let portless = (tuple.sport, tuple.dport, tuple.icmp_id) == (0, 0, 0);
            let hosts = || portless.then(|| self.of_hosts(&tuple)).flatten();
            let Some((id, mut direction)) = self.of(&tuple).or_else(hosts) else {
                if let What::Passed(row) = what {
                    rest.add(tuple, portless, &row);
                }
                continue;
            };
            if echo_reply && tuple.src == tuple.dst {
                direction = Direction::Reply;
            }
            if let Some(state) = self.states.get_mut(&id) {
                state.count(direction, what);
            }
        }
        rest.sum()
    }
}

/// Rows that are no flow's.
#[derive(Default)]
struct Rest {
    /// By tuple: the most packets at one place.
    flows: HashMap<Tuple, u64>,
    /// Of flows without a row of their own, by place and hook.
    crowded: HashMap<(Device, Side, u8), u64>,
}

impl Rest {
    fn add(&mut self, tuple: Tuple, portless: bool, row: &Counted) {
        if tuple.src.is_unspecified() && tuple.dst.is_unspecified() {
            let at = (row.device, row.side, row.hook);
            *self.crowded.entry(at).or_default() += row.count.packets;
        } else if row.asked && !portless {
            let most = self.flows.entry(tuple).or_default();
            *most = row.count.packets.max(*most);
        }
    }

    fn sum(self) -> Unfollowed {
        // both directions of a flow are one
        let begins = |tuple: &Tuple| {
            let back = tuple.reversed();
            !self.flows.contains_key(&back) || (tuple.src, tuple.sport) <= (back.src, back.sport)
        };
        Unfollowed {
            flows: self.flows.keys().filter(|tuple| begins(tuple)).count() as u64,
            packets: self.flows.values().sum(),
            crowded: self.crowded.values().copied().max().unwrap_or(0),
        }
    }
}

/// A row of the kernel's counters with its meaning.
#[derive(Clone, Copy, Debug)]
pub(super) struct Counted {
    pub(super) device: Device,
    pub(super) side: Side,
    pub(super) hook: u8,
    /// The tuple itself was asked for.
    pub(super) asked: bool,
    pub(super) count: HookCount,
}

/// Drops of which no event was sent.
#[derive(Clone, Copy, Debug)]
pub(super) struct Dropped {
    pub(super) device: Option<Device>,
    /// As in [`DropSite`].
    pub(super) reason: u16,
    pub(super) site: u32,
    pub(super) packets: u64,
}

/// The flow of that number, to change it.
pub(super) fn flow_mut(trace: &mut Trace, id: FlowId) -> Option<&mut Flow> {
    let at = trace.flows.binary_search_by_key(&id, |flow| flow.id).ok()?;
    trace.flows.get_mut(at)
}

/// Adds a tuple unless it is known in any role; true when it was new.
pub(super) fn add(flow: &mut Flow, role: TupleRole, tuple: Tuple) -> bool {
    let room = flow.tuples.len() < MAX_TUPLES;
    let new = room && !flow.tuples.iter().any(|(_, known)| *known == tuple);
    if new {
        flow.tuples.push((role, tuple));
    }
    new
}

/// The tuple quoted by an ICMP error.
pub(super) fn quoted(event: &Event) -> Option<Tuple> {
    match event.packet.as_ref()?.transport {
        Transport::Icmp { quoted, .. } => quoted,
        _ => None,
    }
}

fn is_fragment(event: &Event) -> bool {
    event
        .packet
        .as_ref()
        .is_some_and(|packet| packet.fragment.is_some())
}

/// Whether the first packet of a flow goes against the direction of the flow.
fn reversed(event: &Event, tuple: &Tuple, host: &Host) -> bool {
    reversed_by_request(tuple, host)
        .or_else(|| reversed_by_transport(event))
        .unwrap_or_else(|| reversed_by_ports(tuple))
}

/// By what was asked for on the command line.
fn reversed_by_request(tuple: &Tuple, host: &Host) -> Option<bool> {
    let run = host.run.as_ref()?;
    let fits = |t: &Tuple| run.asked_src.contains(&t.src) || run.asked_dst.contains(&t.dst);
    match (fits(tuple), fits(&tuple.reversed())) {
        (true, false) => Some(false),
        (false, true) => Some(true),
        _ => None,
    }
}

/// By what only one side sends.
fn reversed_by_transport(event: &Event) -> Option<bool> {
    if is_echo_request(event) {
        return Some(false);
    }
    if is_echo_reply(event) {
        return Some(true);
    }
    match event.packet.as_ref()?.transport {
        Transport::Tcp { flags, .. } if flags & SYN != 0 => Some(flags & ACK != 0),
        Transport::Tcp { flags, .. } if flags & RST != 0 => Some(true),
        _ => None,
    }
}

/// From a service's port to an ephemeral one.
fn reversed_by_ports(tuple: &Tuple) -> bool {
    match tuple.proto {
        Proto::Tcp | Proto::Sctp => {
            (tuple.sport < WELL_KNOWN && tuple.dport >= WELL_KNOWN)
                || (tuple.sport < EPHEMERAL && tuple.dport >= EPHEMERAL)
        }
        Proto::Udp => tuple.sport < WELL_KNOWN && tuple.dport >= EPHEMERAL,
        _ => false,
    }
}
