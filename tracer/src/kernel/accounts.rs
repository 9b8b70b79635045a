//! What the kernel says of programs: runs that it left out, and how often each program ran and for how long.
//!
//! A tracing program never runs inside itself on one CPU, so when an interrupt's packet meets the tracepoint while the
//! program runs for the packet that was interrupted, the second is not seen. The kernel counts these (`recursion_misses`,
//! 5.12 and newer); older ones leave them out unsaid.
//!
//! Times are counted while somebody wants them (BPF_ENABLE_STATS, 5.8 and newer, or `kernel.bpf_stats_enabled`). Reading
//! two clocks costs as much as a small program, so they are wanted for moments only.

use std::collections::BTreeMap;
use std::fs;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::time::{Duration, Instant};

use aya::programs::ProgramFd;
use aya::sys::{Stats, enable_stats};

/// Lines of a program's fdinfo.
const MISSES: &str = "recursion_misses:";
const CALLS: &str = "run_cnt:";
const NANOSECONDS: &str = "run_time_ns:";

/// The programs of which the kernel keeps accounts. Their descriptors are of their own: what was counted can be read when
/// the programs are detached.
#[derive(Default)]
pub(super) struct Accounts {
    programs: BTreeMap<&'static str, OwnedFd>,
}

/// What programs did while their times were counted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Measured {
    /// For how long that was.
    pub window: Duration,
    /// By program: how often it ran, and for how many nanoseconds. Those that did not run are left out.
    pub runs: BTreeMap<&'static str, Runs>,
}

/// Runs of one program.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Runs {
    /// How many.
    pub calls: u64,
    /// How long together, in nanoseconds.
    pub ns: u64,
}

/// Times are counted as long as this is kept.
pub struct Measurement {
    since: Instant,
    before: BTreeMap<&'static str, Runs>,
    _wanted: OwnedFd,
}

impl Accounts {
    /// Reads the accounts of a program too, from now on, under a hook's name. Without a descriptor to spare it is left out.
    pub(super) fn watch(&mut self, hook: &'static str, program: &ProgramFd) {
        if !self.programs.contains_key(hook)
            && let Ok(own) = program.as_fd().try_clone_to_owned()
        {
            self.programs.insert(hook, own);
        }
    }

    /// Misses so far, by hook name; hooks that missed nothing are left out.
    pub(super) fn misses(&self) -> Vec<(String, u64)> {
        let counts = self
            .infos()
            .map(|(hook, info)| (hook.to_owned(), number(&info, MISSES)));
        counts.filter(|(_, count)| *count > 0).collect()
    }

    /// Has the kernel count times; `None` where it does not.
    pub(super) fn measure(&self) -> Option<Measurement> {
        let wanted = enable_stats(Stats::RunTime).ok()?;
        Some(Measurement {
            since: Instant::now(),
            before: self.runs(),
            _wanted: wanted,
        })
    }

    /// What was counted since; ends it.
    pub(super) fn measured(&self, measurement: &Measurement) -> Measured {
        let runs = self.runs().into_iter().map(|(hook, now)| {
            let before = measurement.before.get(hook).copied().unwrap_or_default();
            let since = Runs {
                calls: now.calls.saturating_sub(before.calls),
                ns: now.ns.saturating_sub(before.ns),
            };
            (hook, since)
        });
        Measured {
            window: measurement.since.elapsed(),
            runs: runs.filter(|(_, runs)| runs.calls > 0).collect(),
        }
    }

    fn runs(&self) -> BTreeMap<&'static str, Runs> {
        let runs = self.infos().map(|(hook, info)| {
            let runs = Runs {
                calls: number(&info, CALLS),
                ns: number(&info, NANOSECONDS),
            };
            (hook, runs)
        });
        runs.collect()
    }

    fn infos(&self) -> impl Iterator<Item = (&'static str, String)> {
        self.programs.iter().map(|(hook, program)| {
            let path = format!("/proc/self/fdinfo/{}", program.as_raw_fd());
            (*hook, fs::read_to_string(path).unwrap_or_default())
        })
    }
}

/// The number in a line of fdinfo; zero where there is none.
fn number(fdinfo: &str, field: &str) -> u64 {
    let mut lines = fdinfo.lines();
    lines
        .find_map(|line| line.strip_prefix(field))
        .and_then(|count| count.trim().parse().ok())
        .unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fdinfo_tells_misses_and_runs() {
        let info = "prog_type:\t26\nrun_time_ns:\t900\nrun_cnt:\t4\nrecursion_misses:\t17\nverified_insns:\t4\n";
        let numbers = [MISSES, CALLS, NANOSECONDS].map(|field| number(info, field));
        assert_eq!(numbers, [17, 4, 900]);
    }

    #[test]
    fn a_kernel_that_does_not_count_them_tells_none() {
        assert_eq!(number("prog_type:\t26\nprog_id:\t9\n", MISSES), 0);
    }
}
