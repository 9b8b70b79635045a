//! What the kernel programs count: exact numbers of packets at each hop, and what was lost or not sent.

use std::ops::AddAssign;

use indexmap::IndexMap;
use serde::{Deserialize, Serialize};
use tracer_common::stats::{HopCount, HopKey};

use super::KtimeNs;

/// What the kernel programs counted, as it is told from time to time.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// One row for each hop and tuple, with all that was counted; those that did not change may be left out.
    pub hops: Vec<(HopKey, HopCount)>,
    /// Losses by place.
    pub loss: Losses,
}

/// All rows, each as it was told last.
#[derive(Clone, Debug, Default)]
pub struct Counted {
    /// Rows lie close together: there can be tens of thousands.
    rows: IndexMap<HopKey, HopCount>,
    loss: Losses,
}

impl Counted {
    /// Takes in what was told.
    pub fn update(&mut self, counters: &Counters) {
        self.rows.extend(counters.hops.iter().copied());
        self.loss.clone_from(&counters.loss);
    }

    /// Forgets rows that have not changed since then.
    pub fn forget(&mut self, idle_since: KtimeNs) {
        self.rows.retain(|_, count| count.last_ns >= idle_since.0);
    }

    /// All rows and losses.
    #[must_use]
    pub fn counters(&self) -> Counters {
        Counters {
            hops: self
                .rows
                .iter()
                .map(|(key, count)| (*key, *count))
                .collect(),
            loss: self.loss.clone(),
        }
    }

    /// What was counted after `before`, by row.
    pub fn rows_since<'a>(
        &'a self,
        before: &'a Self,
    ) -> impl Iterator<Item = (HopKey, HopCount)> + 'a {
        self.rows.iter().filter_map(|(key, count)| {
            let Some(old) = before.rows.get(key) else {
                return Some((*key, *count));
            };
            // A row that was idle for long was taken out, and began again.
            if count.packets < old.packets {
                return Some((*key, *count));
            }
            let new = HopCount {
                packets: count.packets.saturating_sub(old.packets),
                bytes: count.bytes.saturating_sub(old.bytes),
                first_ns: count.first_ns.max(old.last_ns),
                last_ns: count.last_ns,
            };
            (new.packets > 0).then_some((*key, new))
        })
    }

    /// What was lost in all.
    #[must_use]
    pub fn losses(&self) -> &Losses {
        &self.loss
    }

    /// What was lost after `before`.
    #[must_use]
    pub fn losses_since(&self, before: &Self) -> Losses {
        self.loss.since(&before.loss)
    }
}

impl AddAssign<&Self> for Losses {
    fn add_assign(&mut self, other: &Self) {
        let add = |mine: &mut Vec<(String, u64)>, theirs: &[(String, u64)]| {
            for (name, n) in theirs {
                match mine.iter_mut().find(|(known, _)| known == name) {
                    Some((_, sum)) => *sum += n,
                    None => mine.push((name.clone(), *n)),
                }
            }
        };
        add(&mut self.events, &other.events);
        add(&mut self.lost, &other.lost);
        add(&mut self.thinned, &other.thinned);
        add(&mut self.missed, &other.missed);
        self.map_full += other.map_full;
        self.tags_evicted += other.tags_evicted;
        self.unreadable += other.unreadable;
        self.strangers_refused += other.strangers_refused;
    }
}

impl Losses {
    fn since(&self, before: &Self) -> Self {
        let list = |now: &[(String, u64)], old: &[(String, u64)]| {
            let old = |name: &str| old.iter().find(|(n, _)| n == name).map_or(0, |(_, n)| *n);
            now.iter()
                .map(|(name, n)| (name.clone(), n.saturating_sub(old(name))))
                .collect()
        };
        Self {
            events: list(&self.events, &before.events),
            lost: list(&self.lost, &before.lost),
            thinned: list(&self.thinned, &before.thinned),
            missed: list(&self.missed, &before.missed),
            map_full: self.map_full.saturating_sub(before.map_full),
            tags_evicted: self.tags_evicted.saturating_sub(before.tags_evicted),
            unreadable: self.unreadable.saturating_sub(before.unreadable),
            strangers_refused: self
                .strangers_refused
                .saturating_sub(before.strangers_refused),
        }
    }
}

/// Observations that were lost or thinned, by place. Cumulative.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Losses {
    /// Records written, by hook name.
    pub events: Vec<(String, u64)>,
    /// Ring buffer full, by hook name.
    pub lost: Vec<(String, u64)>,
    /// Budget used up, by hook name.
    pub thinned: Vec<(String, u64)>,
    /// The hook's program was at work on that CPU already, by hook name. Nothing is counted for these packets there.
    #[serde(default)]
    pub missed: Vec<(String, u64)>,
    /// Hop counters without room.
    pub map_full: u64,
    /// Tags overwritten.
    pub tags_evicted: u64,
    /// Packets behind a header that is not read.
    pub unreadable: u64,
    /// Packets of others that came in the buffer of a tagged one, and were told apart from it.
    #[serde(default)]
    pub strangers_refused: u64,
}
