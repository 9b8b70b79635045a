//! What is remembered between hooks, in plain global data (no helper call to look): tagged skbs, learned flows,
//! and the packet that each CPU received last.
//!
//! No locks: an skb is handled by one CPU at a time, and an entry's address is written last. A rare torn entry
//! fails the tests of fingerprint and flow.
//!
//! Buffers are recycled within microseconds, and some are freed where no tracepoint is. So a tag is only a hint: what
//! it is found on must have the same fingerprint, and the same tuple or one that was rewritten for sure (`track`).

use aya_ebpf::helpers::generated::bpf_ktime_get_ns;
use tracer_common::filter::RawFilter;
use tracer_common::packet::flow_hash;
use tracer_common::prefilter::{self, Ends, Prefilter};
use tracer_common::tuple::RawTuple;

use crate::kernel::Ptr;
use crate::maps::{HOT, Shared, stat};
use crate::packet::Memory;

/// All events of the packet are sent.
pub(crate) const SAMPLED: u32 = 1 << 0;
/// The packet is the flow's own: a rewrite of it teaches a new tuple.
pub(crate) const TEACHES: u32 = 1 << 1;

/// It is one of the first packets of its flow: paid from their share.
pub(crate) const FIRST: u32 = 1 << 2;

const SET_BITS: u32 = 13;
const SETS: usize = 1 << SET_BITS;
/// A tag that is overwritten while younger than this counts as evicted, in nanoseconds.
const YOUNG: u64 = 1_000_000_000;

/// What is known of a tagged skb, as it was at the last hook.
#[repr(C)]
pub(crate) struct Tag {
    pub(crate) fingerprint: u64,
    /// [`flow_hash`] of its tuple.
    pub(crate) flow: u64,
    /// The same, at the first hook.
    pub(crate) first: u64,
    pub(crate) time: u64,
    pub(crate) flags: u32,
    pub(crate) cpu: u32,
    /// Where it came in, when that was the last hook; else zero. See [`crate::skb::Device::number`].
    pub(crate) came_in: u32,
    pad: u32,
}

const NO_TAG: Tag = Tag {
    fingerprint: 0,
    flow: 0,
    first: 0,
    time: 0,
    flags: 0,
    cpu: 0,
    came_in: 0,
    pad: 0,
};

/// What a hook leaves in a tag.
pub(crate) struct Mark {
    pub(crate) fingerprint: u64,
    pub(crate) flow: u64,
    /// The packet was not tagged before.
    pub(crate) is_new: bool,
    pub(crate) flags: u32,
    pub(crate) came_in: u32,
}

/// Addresses of tagged skbs, in sets of two; zero for none. Apart from what is known of them: nearly every look ends here.
static SKBS: Shared<[[u64; 2]; SETS]> = Shared::new([[0; 2]; SETS]);
static TAGS: Shared<[[Tag; 2]; SETS]> = Shared::new([const { [NO_TAG; 2] }; SETS]);

/// Number of the set that `skb` belongs to.
#[inline(always)]
fn set(skb: Ptr) -> usize {
    // slab objects are aligned to 64 bytes or more
    let hash = (skb.0 as u32 >> 6).wrapping_mul(0x9e37_79b1) >> (32 - SET_BITS);
    hash as usize
}

/// The two addresses of a set.
#[inline(always)]
fn skbs(set: usize) -> *mut u64 {
    // SAFETY: the number of a set has SET_BITS bits.
    unsafe { SKBS.as_ptr().cast::<[u64; 2]>().add(set).cast() }
}

/// What is known of them.
#[inline(always)]
fn tags(set: usize) -> *mut Tag {
    // SAFETY: as above.
    unsafe { TAGS.as_ptr().cast::<[Tag; 2]>().add(set).cast() }
}

/// The tag of the skb at this (plain) address.
#[inline(always)]
pub(crate) fn find(skb: Ptr) -> Option<&'static mut Tag> {
    let set = set(skb);
    let skbs = skbs(set);
    // SAFETY: a set has two tags, in a static; only this CPU handles the skb now.
    unsafe {
        if skbs.read_volatile() == skb.0 {
            Some(&mut *tags(set))
        } else if skbs.add(1).read_volatile() == skb.0 {
            Some(&mut *tags(set).add(1))
        } else {
            None
        }
    }
}

/// Whether the skb at this (plain) address has a tag.
#[inline(always)]
pub(crate) fn is_tagged(skb: Ptr) -> bool {
    let skbs = skbs(set(skb));
    // SAFETY: as in `find`.
    unsafe { skbs.read_volatile() == skb.0 || skbs.add(1).read_volatile() == skb.0 }
}

/// Ends the tag of the skb at this (plain) address, if it has one.
#[inline(always)]
pub(crate) fn clear(skb: Ptr) {
    let skbs = skbs(set(skb));
    // SAFETY: as in `find`.
    unsafe {
        if skbs.read_volatile() == skb.0 {
            skbs.write_volatile(0);
        }
        if skbs.add(1).read_volatile() == skb.0 {
            skbs.add(1).write_volatile(0);
        }
    }
}

/// Tags the skb.
#[inline(always)]
pub(crate) fn store(skb: Ptr, mark: &Mark, now: u64) {
    let set = set(skb);
    let (skbs, first) = (skbs(set), tags(set));
    // SAFETY: as in `find`.
    unsafe {
        let second = first.add(1);
        let one = skbs.read_volatile();
        let two = skbs.add(1).read_volatile();
        let first_older = (*first).time <= (*second).time;
        let take_first = one == skb.0 || (two != skb.0 && (one == 0 || (two != 0 && first_older)));
        let (place, tag) = if take_first {
            (skbs, first)
        } else {
            (skbs.add(1), second)
        };
        let before = if take_first { one } else { two };
        if before != 0 && before != skb.0 && now.wrapping_sub((*tag).time) < YOUNG {
            stat(|stats| stats.tags_evicted += 1);
        }
        (*tag).write(mark, now);
        place.write_volatile(skb.0);
    }
}

impl Tag {
    #[inline(always)]
    fn write(&mut self, mark: &Mark, now: u64) {
        // SAFETY: fields of a valid reference; volatile because other CPUs look at it.
        unsafe {
            (&raw mut self.fingerprint).write_volatile(mark.fingerprint);
            (&raw mut self.flow).write_volatile(mark.flow);
            if mark.is_new {
                (&raw mut self.first).write_volatile(mark.flow);
            }
            (&raw mut self.time).write_volatile(now);
            (&raw mut self.flags).write_volatile(mark.flags);
            (&raw mut self.cpu).write_volatile(cpu());
            (&raw mut self.came_in).write_volatile(mark.came_in);
        }
    }
}

const FLOW_BITS: u32 = 12;
const FLOWS: usize = 1 << FLOW_BITS;

/// Hashes of learned flows, and behind them those of fragmented datagrams: many datagrams must not push out flows.
/// A later hash takes an earlier one's place.
static LEARNED: Shared<[[u64; FLOWS]; 2]> = Shared::new([[0; FLOWS]; 2]);

/// See [`crate::maps::Hot`].
#[inline(always)]
fn learned_for() -> *mut u64 {
    // SAFETY: a field of a static.
    unsafe { &raw mut (*HOT.as_ptr()).learned_for }
}

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
    let hash = flow_hash::<Memory>(tuple, datagram, filter.generation);
    is_known(hash, datagram, filter)
}

/// [`is_learned`], by the hash.
#[inline(always)]
pub(crate) fn is_known(hash: u64, datagram: u32, filter: &RawFilter) -> bool {
    // SAFETY: statics.
    unsafe {
        learned_for().read_volatile() == u64::from(filter.generation) + 1
            && slot(hash, datagram).read_volatile() == hash
    }
}

/// The ends of what was learned; the kinds are in [`HOT`].
static LEARNED_ENDS: Shared<Ends> = Shared::new(Ends::NONE);

/// What was learned, in short.
#[inline(always)]
pub(crate) fn prefilter() -> Prefilter<'static> {
    // SAFETY: statics of integers, see `Shared`.
    unsafe {
        Prefilter {
            kinds: &(*HOT.as_ptr()).learned,
            ends: &*LEARNED_ENDS.as_ptr(),
        }
    }
}

/// Remembers the flow of `tuple`, so that its next packet matches from the start; with `datagram` the datagram whose
/// first fragment this is, so that the later ones match, which have no ports.
#[inline(always)]
pub(crate) fn learn(tuple: &RawTuple, datagram: u32, filter: &RawFilter) {
    let hash = flow_hash::<Memory>(tuple, datagram, filter.generation);
    // SAFETY: statics.
    unsafe {
        let slot = slot(hash, datagram);
        if slot.read_volatile() != hash {
            let kinds = &mut (*HOT.as_ptr()).learned;
            prefilter::learn(kinds, &mut *LEARNED_ENDS.as_ptr(), tuple);
            slot.write_volatile(hash);
            learned_for().write_volatile(u64::from(filter.generation) + 1);
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

/// A packet that a CPU received longer ago, in nanoseconds, is not the one that it works on now.
pub(crate) const RECENT: u64 = 5_000_000;

/// Whether two addresses are equal.
#[inline(always)]
pub(crate) fn is_same(a: &[u32; 4], b: &[u32; 4]) -> bool {
    let ([a0, a1, a2, a3], [b0, b1, b2, b3]) = (*a, *b);
    (a0 ^ b0) | (a1 ^ b1) | (a2 ^ b2) | (a3 ^ b3) == 0
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
    // SAFETY: the index is below CPUS.
    unsafe {
        let cpu = cpu() as usize & (CPUS - 1);
        &mut *CURRENT.as_ptr().cast::<Current>().add(cpu)
    }
}

#[inline(always)]
pub(crate) fn cpu() -> u32 {
    // SAFETY: a helper without arguments.
    unsafe { aya_ebpf::helpers::generated::bpf_get_smp_processor_id() }
}

/// The first fragment of a tunnel's packet that a CPU looked at last.
#[repr(C)]
struct Carrier {
    skb: u64,
    tuple: RawTuple,
    datagram: u32,
}

static CARRIERS: Shared<[Carrier; CPUS]> = Shared::new(
    [const {
        Carrier {
            skb: 0,
            tuple: RawTuple::NONE,
            datagram: 0,
        }
    }; CPUS],
);

#[inline(always)]
fn carrier() -> *mut Carrier {
    // SAFETY: the index is below CPUS.
    unsafe {
        let cpu = cpu() as usize & (CPUS - 1);
        CARRIERS.as_ptr().cast::<Carrier>().add(cpu)
    }
}

/// Notes that a packet's tunnel goes in fragments, until it is known whether the packet is followed.
#[inline(always)]
pub(crate) fn note_carrier(skb: Ptr, tuple: &RawTuple, datagram: u32) {
    let carrier = carrier();
    // SAFETY: a static; an interrupt between the two calls leaves another skb in it, and nothing is learned.
    unsafe {
        (&raw mut (*carrier).skb).write_volatile(0);
        (&raw mut (*carrier).tuple).write_volatile(*tuple);
        (&raw mut (*carrier).datagram).write_volatile(datagram);
        (&raw mut (*carrier).skb).write_volatile(skb.0);
    }
}

/// Learns, of a followed packet, the later fragments of the tunnel's packet around it.
#[inline(always)]
pub(crate) fn learn_carrier(skb: Ptr, filter: &RawFilter) {
    let carrier = carrier();
    // SAFETY: as in `note_carrier`.
    unsafe {
        if (&raw const (*carrier).skb).read_volatile() == skb.0 {
            (&raw mut (*carrier).skb).write_volatile(0);
            learn(&(*carrier).tuple, (*carrier).datagram, filter);
        }
    }
}

/// When each CPU last freed a packet of ours that it had cut into segments. See [`has_cut`].
static CUT: Shared<[u64; CPUS]> = Shared::new([0; CPUS]);

/// Whether any CPU ever did.
#[inline(always)]
fn any_cut() -> *mut u64 {
    // SAFETY: a field of a static.
    unsafe { &raw mut (*HOT.as_ptr()).any_cut }
}
/// Segments are sent right after the packet that they were cut from was freed, in nanoseconds.
const CUT_RECENTLY: u64 = 2_000_000;

#[inline(always)]
fn cut() -> *mut u64 {
    // SAFETY: the index is below CPUS.
    unsafe { CUT.as_ptr().cast::<u64>().add(cpu() as usize & (CPUS - 1)) }
}

/// A packet of ours with more than one segment was freed here.
#[inline(always)]
pub(crate) fn was_cut(now: u64) {
    // SAFETY: statics.
    unsafe {
        cut().write_volatile(now);
        any_cut().write_volatile(1);
    }
}

/// Whether what is sent here now may be segments of a packet of ours (validate_xmit_skb, net/core/dev.c): new buffers
/// that no classifier saw.
#[inline(always)]
pub(crate) fn has_cut() -> bool {
    // SAFETY: statics; a helper without arguments.
    unsafe {
        any_cut().read_volatile() != 0
            && bpf_ktime_get_ns().wrapping_sub(cut().read_volatile()) < CUT_RECENTLY
    }
}
