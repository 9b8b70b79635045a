//! A run's own part of the cgroup tree, for faults that are programs of cgroups. Control groups have no namespace that
//! would take them away with the run, so whoever made the run removes them after its last process has ended; what a
//! killed runner left, the next one removes.

use std::fs;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::Duration;

/// The variable that tells scripts where theirs is. They make it themselves: `mkdir -p "$LAB_CGROUP/shop"`.
pub const VARIABLE: &str = "LAB_CGROUP";
/// Before the number of the process that answers for it.
const PREFIX: &str = "tracer-lab-";
/// The last processes of a run leave a moment after its first.
const PATIENCE: Duration = Duration::from_millis(20);
const TRIES: u32 = 100;

/// Where this process's run may make cgroups; `None` where the unified hierarchy is not mounted.
#[must_use]
pub fn room() -> Option<PathBuf> {
    let mounts = fs::read_to_string("/proc/self/mountinfo").ok()?;
    Some(mounted(&mounts)?.join(format!("{PREFIX}{}", std::process::id())))
}

/// Removes a run's part of the tree, also in the hierarchies of the first version, and those of runs whose maker is gone.
pub fn clear(room: &Path) {
    let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
    let Some(name) = room.file_name() else { return };
    for hierarchy in hierarchies(&mounts) {
        remove(&hierarchy.join(name));
        clear_of_others(&hierarchy);
    }
}

fn clear_of_others(hierarchy: &Path) {
    for entry in fs::read_dir(hierarchy).into_iter().flatten().flatten() {
        let name = entry.file_name();
        let maker = name.to_str().and_then(|name| name.strip_prefix(PREFIX));
        if maker.is_some_and(|pid| !Path::new("/proc").join(pid).exists()) {
            remove(&entry.path());
        }
    }
}

/// The first mount of the unified hierarchy.
fn mounted(mountinfo: &str) -> Option<PathBuf> {
    mounts(mountinfo).find_map(|(kind, point)| (kind == "cgroup2").then(|| point.into()))
}

/// Where hierarchies of either version are mounted.
fn hierarchies(mountinfo: &str) -> Vec<PathBuf> {
    let cgroups = mounts(mountinfo).filter(|(kind, _)| kind.starts_with("cgroup"));
    cgroups.map(|(_, point)| point.into()).collect()
}

/// The kind of each mounted file system, and where it is.
fn mounts(mountinfo: &str) -> impl Iterator<Item = (&str, &str)> {
    mountinfo.lines().filter_map(|line| {
        let (before, after) = line.split_once(" - ")?;
        Some((after.split(' ').next()?, before.split(' ').nth(4)?))
    })
}

/// Only empty groups can be removed, innermost first.
fn remove(group: &Path) {
    let inner = fs::read_dir(group).into_iter().flatten().flatten();
    for entry in inner.filter(|e| e.file_type().is_ok_and(|t| t.is_dir())) {
        remove(&entry.path());
    }
    for _ in 0..TRIES {
        match fs::remove_dir(group) {
            Err(error) if error.raw_os_error() == Some(libc::EBUSY) => thread::sleep(PATIENCE),
            _ => return,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_unified_hierarchy_is_found_among_the_mounts() {
        let mounts = "32 24 0:28 / /sys/fs/cgroup rw,nosuid - tmpfs tmpfs ro,mode=755\n\
            33 32 0:29 / /sys/fs/cgroup/unified rw shared:9 - cgroup2 cgroup2 rw,nsdelegate\n\
            34 32 0:30 / /sys/fs/cgroup/pids rw - cgroup cgroup rw,pids\n";
        assert_eq!(
            mounted(mounts).as_deref(),
            Some(Path::new("/sys/fs/cgroup/unified"))
        );
        assert_eq!(
            hierarchies(mounts),
            ["/sys/fs/cgroup/unified", "/sys/fs/cgroup/pids"].map(PathBuf::from)
        );
        assert_eq!(mounted("1 0 8:1 / / rw - ext4 /dev/sda1 rw\n"), None);
    }
}
