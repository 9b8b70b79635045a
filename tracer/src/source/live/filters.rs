//! Which packet filters are to be read again because they changed. Only those that somebody asked about: of the others nobody
//! has read what they were. Whoever changes rules often is not followed at each of them: reading takes at most a twentieth of
//! the time.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use crate::host::facts::Question;
use crate::model::NetNs;

/// After a change: others may follow at once, as parts of one.
const SETTLE: Duration = Duration::from_millis(200);
/// Between two readings of one namespace, in times of what a reading took; and at least.
const REST: u32 = 20;
const LEAST_REST: Duration = Duration::from_secs(1);

/// What is known of a namespace whose filters were read.
#[derive(Clone, Copy, Debug, Default)]
struct Known {
    /// Since the last reading they changed; not to be read before then.
    due: Option<Instant>,
    /// Whatever happens, not before then.
    rests_until: Option<Instant>,
}

/// By namespace.
#[derive(Debug, Default)]
pub(super) struct ChangedFilters {
    known: BTreeMap<NetNs, Known>,
}

impl ChangedFilters {
    /// A question was asked.
    pub(super) fn asked(&mut self, question: &Question) {
        if let Question::Chains { netns } | Question::ChainsAgain { netns, .. } = question {
            self.known.entry(*netns).or_default().due = None;
        }
    }

    /// They changed.
    pub(super) fn changed(&mut self, netns: NetNs, now: Instant) {
        if let Some(known) = self.known.get_mut(&netns) {
            let rested = known.rests_until.unwrap_or(now);
            // Later changes do not put it off.
            known.due.get_or_insert(rested.max(now + SETTLE));
        }
    }

    /// A namespace whose filters are to be read now.
    pub(super) fn due(&self, now: Instant) -> Option<NetNs> {
        let is_due = |known: &Known| known.due.is_some_and(|due| due <= now);
        let mut all = self.known.iter();
        all.find_map(|(netns, known)| is_due(known).then_some(*netns))
    }

    /// They were read, which took so long.
    pub(super) fn read(&mut self, netns: NetNs, now: Instant, took: Duration) {
        let known = self.known.entry(netns).or_default();
        known.due = None;
        known.rests_until = Some(now + LEAST_REST.max(took * REST));
    }

    /// The namespace is gone.
    pub(super) fn forget(&mut self, netns: NetNs) {
        self.known.remove(&netns);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NETNS: NetNs = NetNs(7);

    #[test]
    fn what_nobody_read_is_not_read_again() {
        let (mut filters, now) = (ChangedFilters::default(), Instant::now());
        filters.changed(NETNS, now);
        assert_eq!(filters.due(now + LEAST_REST), None);
        filters.asked(&Question::Chains { netns: NETNS });
        assert_eq!(filters.due(now + LEAST_REST), None);
        filters.changed(NETNS, now);
        assert_eq!(filters.due(now), None);
        assert_eq!(filters.due(now + SETTLE), Some(NETNS));
        filters.forget(NETNS);
        assert_eq!(filters.due(now + SETTLE), None);
    }

    #[test]
    fn many_changes_are_read_now_and_then() {
        let (mut filters, now) = (ChangedFilters::default(), Instant::now());
        filters.asked(&Question::Chains { netns: NETNS });
        let took = Duration::from_millis(300);
        filters.read(NETNS, now, took);
        for n in 0..10 {
            filters.changed(NETNS, now + Duration::from_millis(n));
        }
        assert_eq!(filters.due(now + took * (REST - 1)), None);
        assert_eq!(filters.due(now + took * REST), Some(NETNS));
    }
}
