//! Reads what the programs counted, and writes the filter they match: the maps that are neither programs nor records.

use aya::maps::{Array, MapData, MapError, PerCpuArray, PerCpuHashMap};
use tracer_common::filter::{RawFilter, RawFilterPair};
use tracer_common::hook::HOOKS;
use tracer_common::stats::{HopCount, HopKey, KernelStats};
use zerocopy::{FromBytes, FromZeros, IntoBytes};

use crate::model::{Counters, Losses};

// aya takes types that it knows to be plain: arrays of bytes are; zerocopy reads the contract's types out of them.
type KeyBytes = [u8; size_of::<HopKey>()];
type CountBytes = [u8; size_of::<HopCount>()];
type StatsBytes = [u8; size_of::<KernelStats>()];
type FilterBytes = [u8; size_of::<RawFilterPair>()];

/// The maps of counters.
pub(super) struct CounterMaps {
    pub(super) hops: PerCpuHashMap<MapData, KeyBytes, CountBytes>,
    pub(super) stats: PerCpuArray<MapData, StatsBytes>,
}

impl CounterMaps {
    /// Everything counted so far, summed over CPUs.
    pub(super) fn read(&self) -> Result<Counters, MapError> {
        let mut hops = Vec::new();
        for entry in self.hops.iter() {
            let (key, counts) = entry?;
            let counts = counts
                .iter()
                .filter_map(|bytes| HopCount::read_from_bytes(bytes).ok());
            if let Ok(key) = HopKey::read_from_bytes(&key) {
                hops.push((key, sum(counts)));
            }
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

/// One hop's counters on all CPUs. A CPU that saw nothing has zeros, which are no times.
fn sum(counts: impl Iterator<Item = HopCount>) -> HopCount {
    let mut total = HopCount::default();
    for count in counts.filter(|count| count.packets > 0) {
        total.first_ns = match total.packets {
            0 => count.first_ns,
            _ => total.first_ns.min(count.first_ns),
        };
        total.last_ns = total.last_ns.max(count.last_ns);
        total.packets = total.packets.saturating_add(count.packets);
        total.bytes = total.bytes.saturating_add(count.bytes);
    }
    total
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

/// Writes filters: two slots, of which the programs read one.
pub(super) struct FilterWriter {
    map: Array<MapData, FilterBytes>,
    pair: RawFilterPair,
}

impl FilterWriter {
    pub(super) fn new(map: Array<MapData, FilterBytes>) -> Self {
        Self {
            map,
            pair: RawFilterPair::new_zeroed(),
        }
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

    fn store(&mut self) -> Result<(), MapError> {
        let mut bytes: FilterBytes = [0; size_of::<RawFilterPair>()];
        bytes.copy_from_slice(self.pair.as_bytes());
        self.map.set(0, &bytes, 0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn count(packets: u64, first_ns: u64, last_ns: u64) -> HopCount {
        HopCount {
            packets,
            bytes: packets * 100,
            first_ns,
            last_ns,
        }
    }

    #[test]
    fn a_hop_is_summed_over_cpus() {
        let cpus = [
            count(0, 0, 0),
            count(2, 50, 70),
            count(1, 40, 40),
            count(0, 0, 0),
        ];
        assert_eq!(sum(cpus.into_iter()), count(3, 40, 70));
        assert_eq!(sum(std::iter::empty()), HopCount::default());
    }

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
