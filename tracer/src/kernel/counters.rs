//! Reads what the programs counted, and writes the filter they match and their budget: the maps that are neither programs nor records.

use aya::maps::{Array, MapData, MapError, PerCpuArray};
use tracer_common::filter::{RawFilter, RawFilterPair};
use tracer_common::hook::HOOKS;
use tracer_common::stats::{HopCount, HopKey, KernelStats};
use zerocopy::{FromBytes, FromZeros, IntoBytes};

use crate::model::{Counters, Losses};
use crate::sys::{bpf_delete, bpf_read_batch};

// aya takes types that it knows to be plain: arrays of bytes are; zerocopy reads the contract's types out of them.
type KeyBytes = [u8; size_of::<HopKey>()];
type CountBytes = [u8; size_of::<HopCount>()];
type StatsBytes = [u8; size_of::<KernelStats>()];
type FilterBytes = [u8; size_of::<RawFilterPair>()];

/// Rows that are read by one system call.
const BATCH: usize = 1024;

/// The maps of counters.
pub(super) struct CounterMaps {
    /// Hash maps of rows.
    pub(super) hops: [MapData; 2],
    pub(super) stats: PerCpuArray<MapData, StatsBytes>,
}

impl CounterMaps {
    /// What was counted so far: rows that changed at `since` (bpf_ktime_get_ns) or later, and all losses.
    pub(super) fn read(&self, since: u64) -> Result<Counters, MapError> {
        let mut hops = Vec::new();
        for map in &self.hops {
            rows(map, |row| {
                if row.1.packets > 0 && row.1.last_ns >= since {
                    hops.push(row);
                }
            })?;
        }
        let stats = self.stats.get(&0, 0)?;
        let each = stats
            .iter()
            .filter_map(|bytes| KernelStats::read_from_bytes(bytes).ok());
        Ok(Counters {
            hops,
            loss: losses(each),
        })
    }
}

impl CounterMaps {
    /// Takes out rows that were last added to before then. A program that adds to one at that very moment may lose a packet of
    /// the count: what has been idle for minutes is rarely about to be added to.
    pub(super) fn forget(&self, before: u64) -> Result<(), MapError> {
        for map in &self.hops {
            let mut idle = Vec::new();
            rows(map, |(key, count)| {
                if count.last_ns < before {
                    idle.push(key);
                }
            })?;
            for key in idle {
                match bpf_delete(map.fd(), key.as_bytes()) {
                    Err(error) if error.raw_os_error() != Some(libc::ENOENT) => {
                        return Err(MapError::IoError(error));
                    }
                    _ => {}
                }
            }
        }
        Ok(())
    }
}

/// All rows of a hash map.
fn rows(map: &MapData, mut each: impl FnMut((HopKey, HopCount))) -> Result<(), MapError> {
    let mut keys = vec![KeyBytes::new_zeroed(); BATCH];
    let mut counts = vec![CountBytes::new_zeroed(); BATCH];
    let mut place = None;
    loop {
        let read = match bpf_read_batch(map.fd(), place, &mut keys, &mut counts) {
            // one bucket has more
            Err(error) if error.raw_os_error() == Some(libc::ENOSPC) => {
                let room = keys.len() * 2;
                keys.resize(room, KeyBytes::new_zeroed());
                counts.resize(room, CountBytes::new_zeroed());
                continue;
            }
            Err(error) => return Err(MapError::IoError(error)),
            Ok(read) => read,
        };
        let (count, next) = read;
        for (key, count) in keys.iter().zip(&counts).take(count) {
            let key = HopKey::read_from_bytes(key).ok();
            let row = key.zip(HopCount::read_from_bytes(count).ok());
            row.into_iter().for_each(&mut each);
        }
        if next.is_none() {
            return Ok(());
        }
        place = next;
    }
}

/// Losses of all CPUs; hooks that lost nothing are left out.
fn losses(stats: impl Iterator<Item = KernelStats>) -> Losses {
    let mut total = KernelStats::new_zeroed();
    // A type of nothing but u64, see its definition.
    for one in stats {
        add(&mut total.events, &one.events);
        add(&mut total.lost, &one.lost);
        add(&mut total.thinned, &one.thinned);
        total.map_full += one.map_full;
        total.tags_evicted += one.tags_evicted;
        total.unreadable += one.unreadable;
        total.strangers_refused += one.strangers_refused;
    }
    Losses {
        events: by_name(&total.events),
        lost: by_name(&total.lost),
        thinned: by_name(&total.thinned),
        missed: Vec::new(),
        map_full: total.map_full,
        tags_evicted: total.tags_evicted,
        unreadable: total.unreadable,
        strangers_refused: total.strangers_refused,
    }
}

fn add(total: &mut [u64], one: &[u64]) {
    for (total, one) in total.iter_mut().zip(one) {
        *total = total.saturating_add(*one);
    }
}

fn by_name(counts: &[u64]) -> Vec<(String, u64)> {
    HOOKS
        .iter()
        .zip(counts)
        .filter(|(_, count)| **count > 0)
        .map(|(hook, count)| (hook.name.to_owned(), *count))
        .collect()
}

/// Writes filters, two slots of which the programs read one, and the budget.
pub(super) struct FilterWriter {
    map: Array<MapData, FilterBytes>,
    pair: RawFilterPair,
}

impl FilterWriter {
    pub(super) fn new(map: Array<MapData, FilterBytes>, budget: u32) -> Self {
        let mut pair = RawFilterPair::new_zeroed();
        pair.budget = budget;
        // the first filter goes into the first slot, which lies beside the number of the slot in force
        pair.active = 1;
        Self { map, pair }
    }

    /// Events that may be sent in a second.
    pub(super) fn budget(&self) -> u32 {
        self.pair.budget
    }

    /// Changes them, from now on.
    pub(super) fn set_budget(&mut self, budget: u32) -> Result<(), MapError> {
        self.pair.budget = budget;
        self.store()
    }

    /// Puts a filter in force. The idle slot is written first; then the number of the slot, by a write in which
    /// nothing else differs from what the map holds, so no program sees half a filter.
    pub(super) fn write(&mut self, filter: &RawFilter) -> Result<(), MapError> {
        let idle = self.pair.active ^ 1;
        if let Some(slot) = self.pair.slots.get_mut(idle as usize) {
            *slot = *filter;
            slot.sum_up();
        }
        self.store()?;
        self.pair.active = idle;
        self.pair.armed = 1;
        self.store()
    }

    /// No filter is in force any more: the programs do nothing.
    pub(super) fn disarm(&mut self) -> Result<(), MapError> {
        self.pair.armed = 0;
        self.store()
    }

    fn store(&mut self) -> Result<(), MapError> {
        let mut bytes: FilterBytes = [0; size_of::<RawFilterPair>()];
        bytes.copy_from_slice(self.pair.as_bytes());
        self.map.set(0, &bytes, 0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn losses_are_named_by_hook_and_zeros_left_out() {
        let mut one = KernelStats::new_zeroed();
        let mut other = KernelStats::new_zeroed();
        if let (Some(a), Some(b)) = (one.lost.get_mut(2), other.lost.get_mut(2)) {
            (*a, *b) = (3, 4);
        }
        other.map_full = 1;
        let expected = Losses {
            lost: vec![("kfree_skb".to_owned(), 7)],
            map_full: 1,
            ..Losses::default()
        };
        assert_eq!(losses([one, other].into_iter()), expected);
    }
}
