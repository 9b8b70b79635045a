//! Makes the kernel's grace periods short while many programs are attached or detached.
//!
//! Each tcx attachment waits for an RCU grace period under the RTNL lock: 13 ms, serialised; with
//! /sys/kernel/rcu_expedited at 1 a tenth of a millisecond. The old value comes back in every case:
//!
//! * A child process waits for the end of the window, which a closed pipe tells: also when tracer returns early,
//!   panics or is killed. It holds nothing but the pipe and the file.
//! * Whoever changes the value holds a lock on the file. So two tracers never take each other's 1 for the
//!   administrator's, and the lock lasts until the child has written the old value.

use std::fs::{File, OpenOptions};
use std::io::{Read, Seek, Write};
use std::os::fd::OwnedFd;
use std::path::Path;
use std::time::Duration;

use nix::errno::Errno;
use nix::fcntl::{Flock, FlockArg};
use nix::sys::wait::waitpid;
use nix::unistd::{Pid, pipe};

use crate::sys;

const SWITCH: &str = "/sys/kernel/rcu_expedited";
const ON: &[u8] = b"1\n";
/// How long another tracer's window is waited for, and how often it is looked at. Without the lock attaching is
/// slow, no more.
const PATIENCE: Duration = Duration::from_secs(2);
const LOOK: Duration = Duration::from_millis(2);

/// The window in which grace periods are short. Ends when dropped.
#[derive(Debug)]
pub(super) struct Expedited {
    /// Closing it is the signal to the child.
    end: Option<OwnedFd>,
    child: Pid,
    /// Given up last, after the child has written.
    file: Flock<File>,
}

impl Expedited {
    /// Opens the window; `None` where the switch cannot be turned (read-only /sys) or is already on.
    pub(super) fn begin() -> Option<Self> {
        Self::with(Path::new(SWITCH))
    }

    fn with(switch: &Path) -> Option<Self> {
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .open(switch)
            .ok()?;
        let mut file = lock(file)?;
        let mut old = String::new();
        file.read_to_string(&mut old).ok()?;
        let old = old.trim();
        if old.is_empty() || old == "1" {
            return None;
        }
        // Everything the child needs is made before the fork.
        let value = format!("{old}\n");
        file.rewind().ok()?;
        let (wait, end) = pipe().ok()?;
        let child = sys::write_when_closed(&wait, &*file, value.as_bytes()).ok()?;
        // From here on dropping the window restores, also when the write fails.
        let mut window = Self {
            end: Some(end),
            child,
            file,
        };
        window.file.write_all(ON).ok()?;
        Some(window)
    }
}

impl Drop for Expedited {
    fn drop(&mut self) {
        drop(self.end.take());
        // It ends by itself; it must have written before anybody reads the value again.
        while waitpid(self.child, None) == Err(Errno::EINTR) {}
    }
}

fn lock(mut file: File) -> Option<Flock<File>> {
    let mut waited = Duration::ZERO;
    loop {
        match Flock::lock(file, FlockArg::LockExclusiveNonblock) {
            Ok(locked) => return Some(locked),
            Err((again, Errno::EAGAIN)) if waited < PATIENCE => file = again,
            Err(_) => return None,
        }
        std::thread::sleep(LOOK);
        waited += LOOK;
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a failed setup fails the test")]
mod tests {
    use std::fs;
    use std::path::PathBuf;

    use super::*;

    fn switch(name: &str, value: &str) -> PathBuf {
        let path =
            std::env::temp_dir().join(format!("tracer-expedite-{}-{name}", std::process::id()));
        fs::write(&path, value).unwrap();
        path
    }

    #[test]
    fn the_old_value_comes_back() {
        let path = switch("back", "0\n");
        let window = Expedited::with(&path).unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), "1\n");
        drop(window);
        assert_eq!(fs::read_to_string(&path).unwrap(), "0\n");
        fs::remove_file(path).unwrap();
    }

    #[test]
    fn what_the_administrator_switched_on_stays_on() {
        let path = switch("on", "1\n");
        assert!(Expedited::with(&path).is_none());
        assert_eq!(fs::read_to_string(&path).unwrap(), "1\n");
        fs::remove_file(path).unwrap();
    }

    #[test]
    fn a_second_window_waits_for_the_first() {
        let path = switch("two", "0\n");
        let first = Expedited::with(&path).unwrap();
        let other = {
            let path = path.clone();
            std::thread::spawn(move || Expedited::with(&path).is_some())
        };
        drop(first);
        assert!(other.join().unwrap());
        assert_eq!(fs::read_to_string(&path).unwrap(), "0\n");
        fs::remove_file(path).unwrap();
    }
}
