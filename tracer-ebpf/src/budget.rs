//! How many events may be sent: a share for each window of about 67 ms, by class.
//!
//! The counts are kept without locks: two CPUs that race overshoot by a few events.

use crate::maps::{BUDGET, Shared};

/// A window is `ktime >> WINDOW_SHIFT`.
const WINDOW_SHIFT: u32 = 26;

/// What an event is paid from.
#[derive(Clone, Copy)]
pub(crate) enum Class {
    /// Packets: the budget itself, decided once for a packet.
    Packet = 0,
    /// Drops of packets that are only counted: a reserve, so that overload never hides a loss.
    Drop = 1,
    /// Sockets, route lookups, ICMP errors.
    Side = 2,
    /// Neighbours and XDP: rare on a healthy machine.
    Rare = 3,
}

const CLASSES: usize = 4;

#[repr(C)]
struct Window {
    number: u64,
    used: u64,
}

static WINDOWS: Shared<[Window; CLASSES]> =
    Shared::new([const { Window { number: 0, used: 0 } }; CLASSES]);

impl Class {
    /// Events in one window.
    #[inline(always)]
    fn share(self) -> u64 {
        let share = u64::from(BUDGET.get()) / 15;
        match self {
            Self::Packet => share,
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
