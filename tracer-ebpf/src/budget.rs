//! How many events may be sent: a share for each window of about 67 ms, by class.
//!
//! The counts are kept without locks: two CPUs that race overshoot by a few events.

use crate::maps::{self, Shared};
use crate::tag;

/// A window is `ktime >> WINDOW_SHIFT`.
const WINDOW_SHIFT: u32 = 26;

/// What an event is paid from.
#[derive(Clone, Copy)]
pub(crate) enum Class {
    /// Packets, decided once for each.
    Packet = 0,
    /// Drops of packets that are only counted: a reserve, so that overload never hides a loss.
    Drop = 1,
    /// Sockets, route lookups, ICMP errors.
    Side = 2,
    /// Neighbours and XDP: rare on a healthy machine.
    Rare = 3,
    /// The first packets of a flow in about a second: a reserve, so that what is said of small flows rests on all of their
    /// packets, whatever bulk there is beside.
    First = 4,
}

const CLASSES: usize = 5;

#[repr(C)]
struct Window {
    number: u64,
    used: u64,
}

static WINDOWS: Shared<[Window; CLASSES]> =
    Shared::new([const { Window { number: 0, used: 0 } }; CLASSES]);

/// Packets of a flow that are its first ones.
const FIRST_PACKETS: u64 = 16;
/// For so long they are counted: `ktime >> EPOCH_SHIFT`.
const EPOCH_SHIFT: u32 = 30;
const FLOW_BITS: u32 = 12;
const FLOWS: usize = 1 << FLOW_BITS;

/// How many packets flows had in this epoch: from the high bits on, part of the flow's hash (32), the epoch (16), the number
/// (16). Two flows of one slot take it from each other, and have more first packets than others.
static FLOW_PACKETS: Shared<[u64; FLOWS]> = Shared::new([0; FLOWS]);

/// Counts a packet of a flow; whether it is one of the first.
#[inline(always)]
pub(crate) fn is_first(flow: u64, now: u64) -> bool {
    let own = flow << 32 | ((now >> EPOCH_SHIFT) & 0xffff) << 16;
    // SAFETY: the index has FLOW_BITS bits; see the module's note on races.
    unsafe {
        let slot = FLOW_PACKETS
            .as_ptr()
            .cast::<u64>()
            .add((flow >> (64 - FLOW_BITS)) as usize);
        let known = slot.read_volatile();
        let packets = if known & !0xffff == own {
            known & 0xffff
        } else {
            0
        };
        let first = packets < FIRST_PACKETS;
        if first {
            slot.write_volatile(own | (packets + 1));
        }
        first
    }
}

impl Class {
    /// What events of a sampled packet are paid from, by the flags of its tag.
    #[inline(always)]
    pub(crate) fn of_packet(flags: u32) -> Self {
        if flags & tag::FIRST != 0 {
            Self::First
        } else {
            Self::Packet
        }
    }

    /// Events in one window.
    #[inline(always)]
    fn share(self) -> u64 {
        let share = u64::from(maps::budget()) / 15;
        match self {
            Self::Packet => share,
            Self::First => share / 2,
            Self::Drop => share / 4 + 16,
            Self::Side => share / 2 + 16,
            Self::Rare => 64,
        }
    }

    /// Whether another event may be sent.
    #[inline(always)]
    pub(crate) fn allows(self, now: u64) -> bool {
        let window = self.window(now);
        // SAFETY: a static; see the module's note on races.
        unsafe { (&raw const (*window).used).read_volatile() < self.share() }
    }

    /// Counts one event that was sent.
    #[inline(always)]
    pub(crate) fn spend(self, now: u64) {
        let window = self.window(now);
        // SAFETY: as above.
        unsafe {
            let used = &raw mut (*window).used;
            used.write_volatile(used.read_volatile() + 1);
        }
    }

    #[inline(always)]
    fn window(self, now: u64) -> *mut Window {
        let number = now >> WINDOW_SHIFT;
        // SAFETY: the class is below CLASSES.
        unsafe {
            let window = WINDOWS.as_ptr().cast::<Window>().add(self as usize);
            if (&raw const (*window).number).read_volatile() != number {
                (&raw mut (*window).number).write_volatile(number);
                (&raw mut (*window).used).write_volatile(0);
            }
            window
        }
    }
}
