//! An event with what the trace knows of it at that moment: for outputs that tell events one by one.

use super::{Seen, Session};
use crate::correlate;
use crate::decode;
use crate::model::{Device, Direction, Event, Journey, Rewrite, Side};
use crate::source::Input;

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

impl Session {
    /// What was seen by the input that was just taken in; `seen` is what [`Session::input`] said of it.
    #[must_use]
    pub fn sighting(&self, input: &Input, seen: Option<Seen>) -> Option<Sighting<'_>> {
        let (Input::Record(record), Some(seen)) = (input, seen) else {
            return None;
        };
        // No record changes what is known of the host: it means the same as when it was taken in.
        let event = decode::decode(record, &self.host).ok()?;
        let journey = seen.journey.and_then(|id| self.trace().journeys.get(&id));
        let is_it =
            |other: &Event| (other.at, other.cpu, other.hook) == (event.at, event.cpu, event.hook);
        let step =
            journey.and_then(|journey| journey.steps.iter().rposition(|step| is_it(&step.event)));
        Some(Sighting {
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
            (Some(journey), Some(step)) => correlate::rewritten(journey, step),
            _ => Vec::new(),
        }
    }

    /// The hop at which the packet is, or was last.
    #[must_use]
    pub fn hop(&self) -> Option<(Device, Side)> {
        correlate::last_hop(self.journey?, self.step?)
    }

    /// Whether the packet is lost here; `None` where only what comes later tells.
    #[must_use]
    pub fn is_loss(&self) -> Option<bool> {
        let direction = self
            .journey
            .map_or(Direction::Forward, |journey| journey.direction);
        correlate::is_loss(&self.event, direction)
    }
}
