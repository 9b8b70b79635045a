//! Counters that the kernel programs keep: exact packets per hop, and every loss by place.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use crate::hook::HOOK_COUNT;
use crate::tuple::RawTuple;

/// Key of the hash maps `HOPS` and `HOPS_REST`: one hop of one tuple, or one place where its packets were dropped.
#[derive(
    Clone,
    Copy,
    Debug,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    Hash,
    FromBytes,
    IntoBytes,
    Immutable,
    KnownLayout,
)]
#[repr(C)]
pub struct HopKey {
    /// Tuple of the packets as they were at this hop (innermost followed header); in `HOPS_REST` only family and protocol.
    pub tuple: RawTuple,
    /// Inode of the device's namespace.
    pub netns: u32,
    /// The interface.
    pub ifindex: u32,
    /// [`crate::hook`].
    pub hook: u8,
    /// 1: the tuple itself is one that was asked for, and not only what such a packet became.
    pub asked: u8,
    /// Of `kfree_skb`, whose rows count what no event was sent of: [`short_reason`]. Else zero.
    pub reason: u16,
    /// The same: [`site`].
    pub site: u32,
}
const _: () = assert!(size_of::<HopKey>() == 56);

/// A place of the kernel's code by its low half: text and modules lie within 4 GiB.
#[inline(always)]
#[must_use]
pub const fn site(location: u64) -> u32 {
    location as u32
}

/// A drop reason with its subsystem in the upper four bits.
#[inline(always)]
#[must_use]
pub const fn short_reason(reason: u32) -> u16 {
    ((reason >> 16) as u16) << 12 | reason as u16 & 0xfff
}

/// Value of the maps.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout,
)]
#[repr(C)]
pub struct HopCount {
    /// Packets; a GSO skb counts as its segments.
    pub packets: u64,
    /// Sum of skb->len.
    pub bytes: u64,
    /// bpf_ktime_get_ns of the first packet.
    pub first_ns: u64,
    /// Of the last packet.
    pub last_ns: u64,
}

/// Value of the per-CPU array `STATS` (one entry): what happened to observations, by hook.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct KernelStats {
    /// Records written to the ring buffer.
    pub events: [u64; HOOK_COUNT],
    /// Records lost because the ring buffer was full.
    pub lost: [u64; HOOK_COUNT],
    /// Records not sent because the budget was used up (their packets are counted).
    pub thinned: [u64; HOOK_COUNT],
    /// Packets at hops that were counted together with those of other flows, because `HOPS` was full.
    pub map_full: u64,
    /// Tags overwritten by another packet before their packet ended.
    pub tags_evicted: u64,
    /// Tagged packets behind a header that is not read (`packet::is_wrapping`).
    pub unreadable: u64,
    /// Packets that a tag had been taken for and that are not the tagged one: another has its buffer now.
    pub strangers_refused: u64,
    /// Tuples learned through a rewrite.
    pub learned: u64,
}
