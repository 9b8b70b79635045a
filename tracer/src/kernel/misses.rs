//! Runs of tracepoint programs that the kernel left out: a tracing program never runs inside itself on one CPU, so
//! when an interrupt's packet meets the tracepoint while the program runs for the packet that was interrupted, the
//! second is not seen. The kernel counts these (`recursion_misses`, 5.12 and newer); older ones leave them out unsaid.

use std::fs;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};

use aya::programs::ProgramFd;

/// The line of a program's fdinfo that counts them.
const FIELD: &str = "recursion_misses:";

/// The programs whose misses are counted. Their descriptors are of their own: what was missed can be read when the
/// programs are detached.
#[derive(Default)]
pub(super) struct Misses {
    programs: Vec<(&'static str, OwnedFd)>,
}

impl Misses {
    /// Counts the misses of one hook's program, from now on. Without a descriptor to spare it is not counted.
    pub(super) fn watch(&mut self, hook: &'static str, program: &ProgramFd) {
        if let Ok(own) = program.as_fd().try_clone_to_owned() {
            self.programs.push((hook, own));
        }
    }

    /// Misses so far, by hook name; hooks that missed nothing are left out.
    pub(super) fn read(&self) -> Vec<(String, u64)> {
        let counts = self.programs.iter().map(|(hook, program)| {
            let path = format!("/proc/self/fdinfo/{}", program.as_raw_fd());
            let count = fs::read_to_string(path).map_or(0, |info| misses(&info));
            ((*hook).to_owned(), count)
        });
        counts.filter(|(_, count)| *count > 0).collect()
    }
}

fn misses(fdinfo: &str) -> u64 {
    let mut lines = fdinfo.lines();
    lines
        .find_map(|line| line.strip_prefix(FIELD))
        .and_then(|count| count.trim().parse().ok())
        .unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fdinfo_tells_the_misses() {
        let info = "prog_type:\t26\nrun_cnt:\t0\nrecursion_misses:\t17\nverified_insns:\t4\n";
        assert_eq!(misses(info), 17);
    }

    #[test]
    fn a_kernel_that_does_not_count_them_tells_none() {
        assert_eq!(misses("prog_type:\t26\nprog_id:\t9\n"), 0);
    }
}
