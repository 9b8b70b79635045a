//! One conversation that began as two flows: a packet was seen behind a translation first (the trace of the node that translates
//! began later, or its events were lost), and opened a flow with the translated tuple. Once a packet shows both tuples,
//! the flow behind the translation becomes part of the one before it.

use std::collections::BTreeMap;

use crate::model::{Direction, Flow, FlowId, TupleRole};

use super::flow::{Flows, State, add, flow_mut};
use super::{Correlator, Trace};

/// Two flows that are one.
#[derive(Clone, Copy, Debug)]
pub(super) struct Union {
    /// The one before the translation.
    pub(super) into: FlowId,
    /// The one that began behind it.
    pub(super) from: FlowId,
    /// What was taken for its way there is the way back.
    pub(super) turned: bool,
}

impl Union {
    /// A direction of the flow that ends, as one of the flow that stays.
    pub(super) fn direction(self, direction: Direction) -> Direction {
        direction
            .opposite()
            .filter(|_| self.turned)
            .unwrap_or(direction)
    }
}

impl Correlator {
    /// Makes one flow of two.
    pub(super) fn unite(&mut self, union: Union) {
        let Some(at) = self.trace.flows.iter().position(|f| f.id == union.from) else {
            return;
        };
        let gone = self.trace.flows.remove(at);
        self.trace.flows_seen = self.trace.flows_seen.saturating_sub(1);
        for id in &gone.journeys {
            if let Some(journey) = self.trace.journeys.get_mut(id) {
                journey.flow = union.into;
                journey.direction = union.direction(journey.direction);
            }
        }
        for open in self.index.open.values_mut() {
            if open.flow == union.from {
                open.flow = union.into;
                open.direction = union.direction(open.direction);
            }
        }
        self.deliveries.unite(union);
        self.flows.unite(union, gone, &mut self.trace);
    }
}

impl Flows {
    fn unite(&mut self, union: Union, gone: Flow, trace: &mut Trace) {
        let members = self.tuples.values_mut().chain(self.hosts.values_mut());
        for member in members.filter(|(flow, _)| *flow == union.from) {
            *member = (union.into, union.direction(member.1));
        }
        if let (Some(state), Some(kept)) = (
            self.states.remove(&union.from),
            self.states.get_mut(&union.into),
        ) {
            kept.absorb(state, union);
        }
        let Some(flow) = flow_mut(trace, union.into) else {
            return;
        };
        flow.first = flow.first.min(gone.first);
        flow.last = flow.last.max(gone.last);
        // while the one was quiet, the other may not have been
        flow.pause = None;
        flow.journeys.extend(gone.journeys);
        flow.journeys.sort_unstable();
        for (direction, seen) in gone.journeys_seen {
            *flow
                .journeys_seen
                .entry(union.direction(direction))
                .or_default() += seen;
        }
        for (role, tuple) in gone.tuples {
            let role = match role {
                TupleRole::Asked => TupleRole::Translated,
                role => role,
            };
            add(flow, role, tuple);
        }
    }
}

impl State {
    fn absorb(&mut self, other: Self, union: Union) {
        let Self {
            forward,
            reply,
            open,
            fates,
            acked,
            sending,
            // counted again with the next counters
            exact: _,
            drops,
            kept_healthy,
            dirty: _,
        } = other;
        let (forward, reply) = if union.turned {
            (reply, forward)
        } else {
            (forward, reply)
        };
        self.forward.absorb(forward);
        self.reply.absorb(reply);
        self.open.extend(open);
        self.drops.absorb(drops, union);
        each(&mut self.fates, fates, union, |to, from| *to += from);
        each(&mut self.acked, acked, union, |to, from| to.absorb(&from));
        each(&mut self.sending, sending, union, |to, from| {
            to.absorb(from);
        });
        each(&mut self.kept_healthy, kept_healthy, union, |to, from| {
            *to += from;
        });
        self.dirty = true;
    }
}

fn each<T: Default>(
    to: &mut BTreeMap<Direction, T>,
    from: BTreeMap<Direction, T>,
    union: Union,
    add: impl Fn(&mut T, T),
) {
    for (direction, value) in from {
        add(to.entry(union.direction(direction)).or_default(), value);
    }
}
