//! What is remembered between hooks, in plain global data (no helper call to look): tagged skbs, learned flows,
//! and the packet that each CPU received last.
//!
//! No locks: an skb is handled by one CPU at a time, and an entry's address is written last. A rare torn entry
//! fails the fingerprint test.

use tracer_common::filter::RawFilter;
use tracer_common::packet::flow_hash;
use tracer_common::tuple::RawTuple;

use crate::kernel::Ptr;
use crate::maps::{Shared, stat};

/// All events of the packet are sent.
pub(crate) const SAMPLED: u32 = 1 << 0;
/// The packet is the flow's own: a rewrite of it teaches a new tuple.
pub(crate) const TEACHES: u32 = 1 << 1;

const SET_BITS: u32 = 13;
const SETS: usize = 1 << SET_BITS;
/// A tag that is overwritten while younger than this counts as evicted, in nanoseconds.
const YOUNG: u64 = 1_000_000_000;

/// One tagged skb.
#[repr(C)]
pub(crate) struct Tag {
    skb: u64,
    pub(crate) fingerprint: u64,
    pub(crate) time: u64,
    pub(crate) flags: u32,
    pad: u32,
}

const NO_TAG: Tag = Tag {
    skb: 0,
    fingerprint: 0,
    time: 0,
    flags: 0,
    pad: 0,
};

static TAGS: Shared<[[Tag; 2]; SETS]> = Shared::new([const { [NO_TAG; 2] }; SETS]);

/// The set of tags that `skb` belongs to.
#[inline(always)]
fn set(skb: Ptr) -> *mut Tag {
    // slab objects are aligned to 64 bytes or more
    let hash = (skb.0 as u32 >> 6).wrapping_mul(0x9e37_79b1) >> (32 - SET_BITS);
    // SAFETY: the hash has SET_BITS bits.
    unsafe { TAGS.as_ptr().cast::<[Tag; 2]>().add(hash as usize).cast() }
}

/// The tag of the skb at this (plain) address.
#[inline(always)]
pub(crate) fn find(skb: Ptr) -> Option<&'static mut Tag> {
    let set = set(skb);
    // SAFETY: a set has two tags, in a static; only this CPU handles the skb now.
    unsafe {
        if (&raw const (*set).skb).read_volatile() == skb.0 {
            return Some(&mut *set);
        }
        let second = set.add(1);
        if (&raw const (*second).skb).read_volatile() == skb.0 {
            Some(&mut *second)
        } else {
            None
        }
    }
}

/// Tags the skb.
#[inline(always)]
pub(crate) fn store(skb: Ptr, fingerprint: u64, flags: u32, now: u64) {
    let first = set(skb);
    // SAFETY: as in `find`.
    unsafe {
        let second = first.add(1);
        let one = (&raw const (*first).skb).read_volatile();
        let two = (&raw const (*second).skb).read_volatile();
        let first_older = (*first).time <= (*second).time;
        let take_first = one == skb.0 || (two != skb.0 && (one == 0 || (two != 0 && first_older)));
        let tag = if take_first { first } else { second };
        let old = (&raw const (*tag).skb).read_volatile();
        if old != 0 && old != skb.0 && now.wrapping_sub((*tag).time) < YOUNG {
            stat(|stats| stats.tags_evicted += 1);
        }
        (&raw mut (*tag).fingerprint).write_volatile(fingerprint);
        (&raw mut (*tag).time).write_volatile(now);
        (&raw mut (*tag).flags).write_volatile(flags);
        (&raw mut (*tag).skb).write_volatile(skb.0);
    }
}

impl Tag {
    /// Ends the tag.
    #[inline(always)]
    pub(crate) fn clear(&mut self) {
        // SAFETY: a field of a valid reference; volatile because other CPUs look at it.
        unsafe { (&raw mut self.skb).write_volatile(0) };
    }
}

const FLOW_BITS: u32 = 12;
const FLOWS: usize = 1 << FLOW_BITS;

/// Hashes of learned flows, and behind them those of fragmented datagrams: many datagrams must not push out flows.
/// A later hash takes an earlier one's place.
static LEARNED: Shared<[[u64; FLOWS]; 2]> = Shared::new([[0; FLOWS]; 2]);
/// Generation of the filter under which something was learned, plus one.
static LEARNED_FOR: Shared<u64> = Shared::new(0);

#[inline(always)]
fn slot(hash: u64, datagram: u32) -> *mut u64 {
    let table = if datagram == 0 { 0 } else { FLOWS };
    // SAFETY: the index has FLOW_BITS bits, and the second table follows the first.
    unsafe {
        LEARNED
            .as_ptr()
            .cast::<u64>()
            .add(table + (hash >> (64 - FLOW_BITS)) as usize)
    }
}

/// Whether the flow of `tuple`, or with `datagram` that fragmented datagram, was learned under this filter.
#[inline(always)]
pub(crate) fn is_learned(tuple: &RawTuple, datagram: u32, filter: &RawFilter) -> bool {
    // SAFETY: statics.
    unsafe {
        if LEARNED_FOR.as_ptr().read_volatile() != u64::from(filter.generation) + 1 {
            return false;
        }
        let hash = flow_hash(tuple, datagram, filter.generation);
        slot(hash, datagram).read_volatile() == hash
    }
}

/// Remembers the flow of `tuple`, so that its next packet matches from the start; with `datagram` the datagram whose
/// first fragment this is, so that the later ones match, which have no ports.
#[inline(always)]
pub(crate) fn learn(tuple: &RawTuple, datagram: u32, filter: &RawFilter) {
    let hash = flow_hash(tuple, datagram, filter.generation);
    // SAFETY: statics.
    unsafe {
        let slot = slot(hash, datagram);
        if slot.read_volatile() != hash {
            slot.write_volatile(hash);
            LEARNED_FOR
                .as_ptr()
                .write_volatile(u64::from(filter.generation) + 1);
            if datagram == 0 {
                stat(|stats| stats.learned += 1);
            }
        }
    }
}

/// The packet of ours that a CPU received last.
#[repr(C)]
pub(crate) struct Current {
    pub(crate) time: u64,
    pub(crate) skb: u64,
    pub(crate) fingerprint: u64,
    pub(crate) tuple: RawTuple,
    pub(crate) netns: u32,
    pub(crate) flags: u32,
}

/// CPUs that are told apart: on larger machines two share a slot, and the test of the socket decides.
const CPUS: usize = 512;

static CURRENT: Shared<[Current; CPUS]> = Shared::new(
    [const {
        Current {
            time: 0,
            skb: 0,
            fingerprint: 0,
            tuple: RawTuple {
                src: [0; 4],
                dst: [0; 4],
                sport: 0,
                dport: 0,
                family: 0,
                proto: 0,
                pad: [0; 2],
            },
            netns: 0,
            flags: 0,
        }
    }; CPUS],
);

/// This CPU's.
#[inline(always)]
pub(crate) fn current() -> &'static mut Current {
    // SAFETY: a helper without arguments; the index is below CPUS.
    unsafe {
        let cpu = aya_ebpf::helpers::bpf_get_smp_processor_id() as usize & (CPUS - 1);
        &mut *CURRENT.as_ptr().cast::<Current>().add(cpu)
    }
}
