//! What each tick leads to, in parts between which keys are looked at, and the rest after it: a trace that is large or
//! under load is judged less often, and events, which cannot wait, are taken in meanwhile.

use std::time::Duration;

use tokio::time::Instant;

/// Rest after a tick, in times of what the tick took.
const REST: u32 = 3;
/// Longest rest: what has just been lost must be asked about while it is fresh.
const LONGEST: Duration = Duration::from_millis(500);

/// A part of what follows a tick.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Part {
    /// What the diagnosis wants to know is asked.
    Ask,
    /// The person sees the trace as of now.
    Look,
    /// Whether the run's end has come.
    Judge,
}

/// The parts, in their order.
const PARTS: [Part; 3] = [Part::Ask, Part::Look, Part::Judge];

/// What is left of a tick's work.
#[derive(Debug, Default)]
pub(super) struct Work {
    left: Vec<Part>,
    spent: Duration,
    rest_until: Option<Instant>,
}

impl Work {
    /// A tick was taken in, which began then.
    pub(super) fn begin(&mut self, begun: Instant) {
        self.left = PARTS.iter().rev().copied().collect();
        self.spent = begun.elapsed();
    }

    /// The next part.
    pub(super) fn next(&self) -> Option<Part> {
        self.left.last().copied()
    }

    /// The next part was done, which began then. After the last one comes the rest.
    pub(super) fn done(&mut self, begun: Instant) {
        self.left.pop();
        self.spent += begun.elapsed();
        if self.left.is_empty() {
            self.rest_until = Some(Instant::now() + (self.spent * REST).min(LONGEST));
        }
    }

    /// Whether the next tick comes too early.
    pub(super) fn rests(&self) -> bool {
        self.rest_until.is_some_and(|until| Instant::now() < until)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tick_is_worked_off_part_by_part_and_then_there_is_rest() {
        let mut work = Work::default();
        assert_eq!(work.next(), None);
        let begun = Instant::now();
        work.begin(begun);
        for part in PARTS {
            assert_eq!(work.next(), Some(part));
            assert_eq!(work.rest_until, None);
            work.done(begun);
        }
        assert_eq!(work.next(), None);
        assert!(work.rest_until.is_some());
    }
}
