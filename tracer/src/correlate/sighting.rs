//! An event with what the trace knows of it at that moment: for outputs that tell events one by one.

use bytes::Bytes;

use super::{Trace, is_loss, last_hop, rewritten};
use crate::decode;
use crate::host::Host;
use crate::model::{Device, Direction, Event, Journey, JourneyId, Rewrite, Side};

/// An event that became part of the trace just now.
#[derive(Clone, Debug)]
pub struct Sighting<'a> {
    /// The event.
    pub event: Event,
    /// Its packet so far, where it belongs to one that is kept.
    pub journey: Option<&'a Journey>,
    /// Its place in the packet's steps.
    step: Option<usize>,
}

impl<'a> Sighting<'a> {
    /// What was seen by a record that was just taken in; `journey` is what the correlator said of it.
    #[must_use]
    pub fn of(
        record: &Bytes,
        journey: Option<JourneyId>,
        trace: &'a Trace,
        host: &Host,
    ) -> Option<Self> {
        // No record changes what is known of the host: it means the same as when it was taken in.
        let event = decode::decode(record, host).ok()?;
        let journey = journey.and_then(|id| trace.journeys.get(&id));
        let is_it =
            |other: &Event| (other.at, other.cpu, other.hook) == (event.at, event.cpu, event.hook);
        let step =
            journey.and_then(|journey| journey.steps.iter().rposition(|step| is_it(&step.event)));
        Some(Self {
            event,
            journey,
            step,
        })
    }
}

impl Sighting<'_> {
    /// What changed of the packet since its last hop.
    #[must_use]
    pub fn rewrites(&self) -> Vec<Rewrite> {
        match (self.journey, self.step) {
            (Some(journey), Some(step)) => rewritten(journey, step),
            _ => Vec::new(),
        }
    }

    /// The hop at which the packet is, or was last.
    #[must_use]
    pub fn hop(&self) -> Option<(Device, Side)> {
        last_hop(self.journey?, self.step?)
    }

    /// Whether the packet is lost here; `None` where only what comes later tells.
    #[must_use]
    pub fn is_loss(&self) -> Option<bool> {
        let direction = self
            .journey
            .map_or(Direction::Forward, |journey| journey.direction);
        is_loss(&self.event, direction)
    }
}
