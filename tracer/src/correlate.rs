//! Events in, journeys, flows and paths out: which packet is which, through clones, NAT, tunnels and re-creation.
//!
//! Pure: time and host facts are arguments. What became of a flow and why is not decided here (`diagnose`).

mod beside;
mod closing;
mod delivery;
mod drops;
mod exact;
mod fate;
mod flow;
mod identity;
mod kind;
mod latency;
mod noise;
mod open;
mod path;
mod progress;
mod sighting;
mod summary;
mod trace;
mod unite;

use std::collections::BTreeMap;

use tracer_common::event::{
    FLAG_BY_SOCKET, FLAG_MATCH_FORWARD, FLAG_MATCH_LEARNED, FLAG_MATCH_REPLY,
};
use tracer_common::stats::{HopCount, HopKey};

use crate::host::Host;
use crate::model::{
    Detail, Direction, DropSite, Event, Fate, Joined, Journey, JourneyId, KtimeNs, Losses, Step,
};

use beside::Beside;
use delivery::Deliveries;
use fate::Judgement;
use flow::Flows;
use identity::{Index, Placement};
use noise::Meaning;
use open::Open;
pub use path::{last_hop, rewritten};
pub use sighting::Sighting;
use summary::Keeping;
pub use trace::{Settings, Trace, Unfollowed};

/// Folds events into a [`Trace`].
#[derive(Clone, Debug)]
pub struct Correlator {
    trace: Trace,
    settings: Settings,
    index: Index,
    flows: Flows,
    deliveries: Deliveries,
    beside: Beside,
    keeping: Keeping,
    next: u64,
}

impl Correlator {
    /// An empty one.
    #[must_use]
    pub fn new(settings: Settings) -> Self {
        Self {
            trace: Trace::default(),
            settings,
            index: Index::default(),
            flows: Flows::default(),
            deliveries: Deliveries::default(),
            beside: Beside::default(),
            keeping: Keeping::default(),
            next: 1,
        }
    }

    /// Takes an event in. Gives the packet that it belongs to, where that is known by now.
    pub fn event(&mut self, mut event: Event, host: &Host) -> Option<JourneyId> {
        self.trace.events += 1;
        if noise::is_no_packet(&event) {
            return None;
        }
        self.trace.now = self.trace.now.max(event.at);
        if event.fingerprint.is_none() {
            event.fingerprint = identity::own_fingerprint(&event);
        }
        if beside::is_aside(&event) {
            self.put_beside(event);
            return None;
        }
        self.beside.took_in(&event);
        match self.place(&event) {
            Some(placed) => {
                self.add(placed, event);
                Some(placed.journey)
            }
            None if identity::begins(&event) => self.begin(event, host),
            None => {
                if tells_by_itself(&event) {
                    self.put_beside(event);
                }
                None
            }
        }
    }

    /// A record could not be decoded.
    pub fn decode_error(&mut self) {
        self.trace.decode_errors += 1;
    }

    /// Takes the kernel's counters in: all rows, which replace the earlier ones.
    pub fn counters(
        &mut self,
        at: KtimeNs,
        rows: impl Iterator<Item = (HopKey, HopCount)>,
        losses: Losses,
    ) {
        self.trace.now = self.trace.now.max(at);
        self.trace.losses = losses;
        let rows = rows.filter_map(|row| exact::meaning(&row));
        self.trace.unfollowed = self.flows.counted(rows);
    }

    /// Time passes: fates, paths and flows are brought up to date.
    pub fn tick(&mut self, at: KtimeNs, host: &Host) {
        self.reach(at);
        let judged = self.judge(host);
        let due: Vec<(JourneyId, Judgement)> = judged
            .iter()
            .filter(|(id, judged)| self.is_due(**id, judged))
            .map(|(id, judged)| (*id, judged.clone()))
            .collect();
        for (id, judged) in due {
            self.close(id, &judged);
        }
        self.sweep();
        summary::update(&mut self.trace, &mut self.flows, &self.index, &judged);
    }

    /// The time is this by now; nothing is judged.
    pub fn reach(&mut self, at: KtimeNs) {
        self.trace.now = self.trace.now.max(at);
    }

    /// The trace is over: nothing waits any longer.
    pub fn finish(&mut self, at: KtimeNs, host: &Host) {
        self.reach(at);
        for (id, judged) in self.judge(host) {
            self.close(id, &judged);
        }
        self.sweep();
        summary::update(
            &mut self.trace,
            &mut self.flows,
            &self.index,
            &BTreeMap::new(),
        );
    }

    /// What is known by now; flows are as of the last tick.
    #[must_use]
    pub fn trace(&self) -> &Trace {
        &self.trace
    }

    /// Where an event goes: by its buffer; of a socket's event the buffer is a guess (the one that its CPU took in
    /// last), which the oldest packet waiting for that socket goes before.
    fn place(&mut self, event: &Event) -> Option<Placement> {
        let guessed = event.flags & FLAG_BY_SOCKET != 0;
        let oldest = guessed.then(|| self.by_socket(event)).flatten();
        oldest
            .or_else(|| {
                self.index
                    .find(event, &self.flows, self.settings.recreate_ns)
            })
            .or_else(|| self.by_socket_anywhere(event))
    }

    /// The packet that a socket's event is about.
    fn by_socket(&mut self, event: &Event) -> Option<Placement> {
        let open = &self.index.open;
        let waits = |id: JourneyId| open.get(&id).is_some_and(Open::waits);
        let known = |id: JourneyId| open.contains_key(&id);
        let found = match event.detail {
            Detail::SocketReached | Detail::ResetReceived => self.deliveries.reached(event, waits),
            Detail::SocketRead { length } if length >= 0 => self.deliveries.read(event, known),
            _ => None,
        };
        found.map(by_cpu)
    }

    fn by_socket_anywhere(&mut self, event: &Event) -> Option<Placement> {
        let open = &self.index.open;
        let waits = |id: JourneyId| open.get(&id).is_some_and(Open::waits);
        let found = match event.detail {
            Detail::SocketReached | Detail::ResetReceived => {
                self.deliveries.reached_anywhere(event, waits)
            }
            Detail::SocketRead { length } if length >= 0 => {
                self.deliveries.reached_anywhere(event, waits)
            }
            _ => None,
        };
        found.map(by_cpu)
    }

    /// Begins a journey, unless its flow cannot be kept.
    fn begin(&mut self, event: Event, host: &Host) -> Option<JourneyId> {
        let known = self
            .flows
            .of_event(&event)
            .or_else(|| self.flows.answered_elsewhere(&event, host, &mut self.trace));
        if known.is_none() && is_of_others(&event, host) {
            return None;
        }
        let member = known.or_else(|| {
            self.flows
                .begin(&event, host, &mut self.trace, self.settings.flows)
        });
        let Some((flow, direction)) = member else {
            self.keeping.unkept(&event, &mut self.trace);
            return None;
        };
        self.make_room(host);
        let id = JourneyId(self.next);
        self.next += 1;
        self.trace.packets += 1;
        self.trace.journeys.insert(
            id,
            Journey {
                id,
                flow,
                direction,
                steps: Vec::new(),
                steps_dropped: 0,
                fate: Fate::InFlight,
            },
        );
        if let Some(flow) = flow::flow_mut(&mut self.trace, flow) {
            *flow.journeys_seen.entry(direction).or_default() += 1;
            flow.journeys.push(id);
        }
        if let Some(state) = self.flows.states.get_mut(&flow) {
            state.open.insert(id);
        }
        self.deliveries.born(&event, (flow, direction));
        self.index.echo(id, flow, &event);
        self.index
            .open
            .insert(id, Open::new(id, flow, direction, &event));
        let placed = Placement {
            journey: id,
            branch: 0,
            joined: Joined::First,
        };
        self.add(placed, event);
        Some(id)
    }

    /// Adds an event to a journey.
    fn add(&mut self, placed: Placement, event: Event) {
        let Some(open) = self.index.open.get_mut(&placed.journey) else {
            return;
        };
        let member = (open.flow, open.direction);
        let id = placed.journey;
        let from = open.taken_in;
        let answered = || self.deliveries.answered(event.cpu, member, from, event.at);
        match &event.detail {
            Detail::Drop(info) => {
                let meaning = noise::of_drop(&event, info, open.direction);
                if matches!(meaning, Meaning::Answers | Meaning::AnswersOrLost) {
                    open.answered |= answered();
                }
                let lost =
                    meaning == Meaning::Lost || meaning == Meaning::AnswersOrLost && !open.answered;
                if lost || meaning == Meaning::Copy {
                    self.deliveries.freed(id, placed.branch);
                }
                self.trace.drops += u64::from(lost);
                open.dropped |= lost && open.is_sole(placed.branch);
            }
            Detail::Consumed { function }
                if noise::of_end(&event, function.as_deref()) == Meaning::Answers =>
            {
                open.answered |= answered();
            }
            Detail::SocketReached | Detail::ResetReceived => {
                open.delivered = true;
                self.deliveries.settled(event.cpu, id);
                if let Some(socket) = event.socket {
                    self.deliveries.holds(socket.addr, (id, placed.branch));
                }
            }
            _ => {}
        }
        let taken_in = matches!(event.detail, Detail::Ingress);
        let grown = taken_in && open.grown(&event);
        open.note(&event, placed.branch);
        if taken_in && !open.delivered {
            self.deliveries.arrived(&event, id, placed.branch);
        }
        if grown {
            self.index.merged_into(id, &event);
        }
        if placed.joined != Joined::Cpu && event.flags & FLAG_BY_SOCKET == 0 {
            self.index.note(placed, &event);
            let union = self.flows.learn(member, &event, &mut self.trace);
            if let Some(union) = union {
                self.unite(union);
            }
        }
        if let Some(state) = self.flows.states.get_mut(&member.0) {
            state.dirty = true;
            if let Some(site) = DropSite::of(member.1, &event) {
                state.drops.tell(site);
            }
        }
        if let Some(journey) = self.trace.journeys.get_mut(&id) {
            insert(journey, placed, event, self.settings.steps);
        }
    }

    fn put_beside(&mut self, mut event: Event) {
        self.beside.locate(&mut event);
        event.part_from_record();
        let Self {
            trace,
            beside,
            settings,
            ..
        } = self;
        let mut list = std::mem::take(&mut trace.beside);
        if list.len() >= settings.beside {
            let concerns = summary::concerns(trace);
            beside.keep(event, &mut list, settings.beside, |event| {
                concerns.matters(event)
            });
        } else {
            beside.keep(event, &mut list, settings.beside, |_| true);
        }
        trace.beside = list;
    }

    fn sweep(&mut self) {
        self.index.sweep();
        let open = &self.index.open;
        self.deliveries.sweep(|id| open.contains_key(&id));
    }
}

fn by_cpu((journey, branch): (JourneyId, u16)) -> Placement {
    Placement {
        journey,
        branch,
        joined: Joined::Cpu,
    }
}

/// Whether a packet is lost by a drop, as far as the event alone tells: the kernel also frees copies, and buffers
/// whose packet has arrived, by the function that drops. `None` where only what comes later tells: of a flooded frame's
/// copies one may be taken, and a packet may be answered by the kernel itself.
#[must_use]
pub fn is_loss(event: &Event, direction: Direction) -> Option<bool> {
    match &event.detail {
        Detail::Drop(_) if noise::is_no_packet(event) => Some(false),
        Detail::Drop(info) => match noise::of_drop(event, info, direction) {
            Meaning::Lost => Some(true),
            Meaning::Copy | Meaning::Unsent | Meaning::Answers | Meaning::AnswersOrLost => None,
            Meaning::Nothing | Meaning::Arrived | Meaning::GoesOn | Meaning::Ended => Some(false),
        },
        _ => Some(false),
    }
}

/// Whether a packet of no known flow is known only by what its node follows for the sake of others: it has the address
/// to which they translate, and was not translated itself.
fn is_of_others(event: &Event, host: &Host) -> bool {
    let asked = FLAG_MATCH_FORWARD | FLAG_MATCH_REPLY;
    let follows = || {
        let node = event.netns.and_then(|netns| host.home(netns));
        node.is_some_and(|node| !node.run.also.is_empty())
    };
    event.flags & asked == 0 && event.flags & FLAG_MATCH_LEARNED != 0 && follows()
}

/// Puts a step at its place in time. In the middle of a journey that is too long, steps are left out.
fn insert(journey: &mut Journey, placed: Placement, event: Event, most: usize) {
    let at = journey
        .steps
        .iter()
        .rposition(|step| step.event.at <= event.at)
        .map_or(0, |at| at + 1);
    journey.steps.insert(
        at,
        Step {
            event,
            joined: placed.joined,
            branch: placed.branch,
        },
    );
    if journey.steps.len() > most {
        journey.steps.remove(most * 3 / 4);
        journey.steps_dropped += 1;
    }
}

/// Whether an event that belongs to no packet may explain something nevertheless.
fn tells_by_itself(event: &Event) -> bool {
    match &event.detail {
        Detail::Unknown
        | Detail::Ingress
        | Detail::Egress
        | Detail::Consumed { .. }
        | Detail::SwitchAction(_)
        | Detail::Upcall { .. } => false,
        Detail::Drop(_) => is_loss(event, Direction::Forward) == Some(true),
        Detail::Refused { .. } => event.device.is_some(),
        _ => event.tuple.is_some() || event.socket.is_some(),
    }
}

#[cfg(test)]
mod tests;
