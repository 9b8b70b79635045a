//! The machine itself: who it is, and its two clocks.

use std::fs;
use std::io;
use std::time::Duration;

use nix::sys::utsname::uname;
use nix::time::{ClockId, clock_gettime};
use nix::unistd::{SysconfVar, sysconf};

use crate::model::KtimeNs;

/// What the report's `host` block says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Machine {
    /// Host name.
    pub hostname: String,
    /// Kernel release.
    pub kernel: String,
    /// Machine architecture.
    pub arch: String,
    /// Differs from one boot to the next; empty where /proc does not tell.
    pub boot_id: String,
}

impl Machine {
    /// Reads it.
    ///
    /// # Errors
    /// What uname says.
    pub fn read() -> io::Result<Self> {
        let names = uname()?;
        let text = |value: &std::ffi::OsStr| value.to_string_lossy().into_owned();
        Ok(Self {
            hostname: text(names.nodename()),
            kernel: text(names.release()),
            arch: text(names.machine()),
            boot_id: fs::read_to_string("/proc/sys/kernel/random/boot_id")
                .map(|id| id.trim().to_owned())
                .unwrap_or_default(),
        })
    }
}

/// The kernel's clock and the wall clock, read at the same moment: a trace is dated by its first reading, so that
/// a clock set meanwhile does not stretch it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Clock {
    /// The moment on the kernel's clock.
    pub ktime: KtimeNs,
    /// The same moment, nanoseconds since the Unix epoch.
    pub unix_ns: u64,
}

impl Clock {
    /// Reads both clocks.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn read() -> io::Result<Self> {
        let before = ktime()?;
        let unix_ns = nanoseconds(ClockId::CLOCK_REALTIME)?;
        let after = ktime()?;
        Ok(Self {
            ktime: KtimeNs(before.0 + after.since(before) / 2),
            unix_ns,
        })
    }

    /// A moment of the kernel's clock as nanoseconds since the Unix epoch.
    #[must_use]
    pub fn unix_ns(&self, at: KtimeNs) -> u64 {
        if at >= self.ktime {
            self.unix_ns.saturating_add(at.since(self.ktime))
        } else {
            self.unix_ns.saturating_sub(self.ktime.since(at))
        }
    }
}

/// Now on the clock that events carry: bpf_ktime_get_ns reads CLOCK_MONOTONIC.
///
/// # Errors
/// What the kernel says.
pub fn ktime() -> io::Result<KtimeNs> {
    nanoseconds(ClockId::CLOCK_MONOTONIC).map(KtimeNs)
}

/// CPU time that all threads of this process have used.
///
/// # Errors
/// What the kernel says.
pub fn cpu_time() -> io::Result<Duration> {
    Ok(clock_gettime(ClockId::CLOCK_PROCESS_CPUTIME_ID)?.into())
}

/// Memory of this process that is in RAM, in bytes (/proc/self/statm).
///
/// # Errors
/// The file cannot be read, or is not as the kernel writes it.
pub fn resident_memory() -> io::Result<u64> {
    let statm = fs::read_to_string("/proc/self/statm")?;
    let pages = statm
        .split(' ')
        .nth(1)
        .and_then(|pages| pages.parse::<u64>().ok());
    let size = sysconf(SysconfVar::PAGE_SIZE)?.and_then(|size| u64::try_from(size).ok());
    pages
        .zip(size)
        .map(|(pages, size)| pages * size)
        .ok_or_else(|| io::Error::other("/proc/self/statm does not tell the memory in use"))
}

fn nanoseconds(clock: ClockId) -> io::Result<u64> {
    let now = Duration::from(clock_gettime(clock)?);
    u64::try_from(now.as_nanos()).map_err(io::Error::other)
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a failed setup fails the test")]
mod tests {
    use super::*;

    #[test]
    fn the_machine_is_known_without_rights() {
        let machine = Machine::read().unwrap();
        assert_eq!(machine.arch, std::env::consts::ARCH);
        assert_eq!(machine.boot_id.len(), 36, "{machine:?}");
        assert!(!machine.kernel.is_empty());
    }

    #[test]
    fn moments_before_and_after_the_reading_have_a_date() {
        let clock = Clock {
            ktime: KtimeNs(1_000),
            unix_ns: 50_000,
        };
        assert_eq!(clock.unix_ns(KtimeNs(1_250)), 50_250);
        assert_eq!(clock.unix_ns(KtimeNs(900)), 49_900);
        assert!(Clock::read().unwrap().ktime <= ktime().unwrap());
    }
}
