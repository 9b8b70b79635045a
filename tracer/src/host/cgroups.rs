//! Programs of control groups that may refuse packets or connections, and the paths of groups.
//! Only the unified hierarchy has such programs.

use std::fs::{self, File};
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use super::device_state::Names;
use super::facts::{CgroupProgram, Cgroups};
use crate::sys;

/// Most groups that are looked at: busy nodes have a few thousand.
const MOST_GROUPS: usize = 4096;
/// Attach types (`enum bpf_attach_type`) of programs that can refuse, as bpftool(8) names them.
const HOOKS: &[(u32, &str)] = &[
    (0, "cgroup_inet_ingress"),
    (1, "cgroup_inet_egress"),
    (2, "cgroup_inet_sock_create"),
    (10, "cgroup_inet4_connect"),
    (11, "cgroup_inet6_connect"),
    (14, "cgroup_udp4_sendmsg"),
    (15, "cgroup_udp6_sendmsg"),
];
/// All programs of all groups.
pub(super) fn programs() -> io::Result<Cgroups> {
    let mount = mount()?;
    let names = Names::read();
    let mut list = Vec::new();
    let mut left = MOST_GROUPS;
    walk(&mount, &mut left, &mut |directory| {
        let Ok(file) = File::open(directory) else {
            return;
        };
        let Ok(fd) = u32::try_from(file.as_raw_fd()) else {
            return;
        };
        for (attach, hook) in HOOKS {
            // Older kernels lack some of these; a group may go meanwhile.
            for id in sys::bpf_attached(fd, *attach).unwrap_or_default() {
                list.push(CgroupProgram {
                    node: None,
                    cgroup: below(&mount, directory),
                    hook: (*hook).to_owned(),
                    program: names.program(id),
                });
            }
        }
    });
    Ok(Cgroups {
        mount: mount.to_string_lossy().into_owned(),
        programs: list,
    })
}

/// The group with this id, as a path below the mount; `None` when it is gone.
pub(super) fn path_of(id: u64) -> io::Result<Option<String>> {
    let mount = mount()?;
    let mut left = MOST_GROUPS;
    let mut found = None;
    // The id of a group is its directory's inode number (cgroup_id, linux/cgroup.h).
    walk(&mount, &mut left, &mut |directory| {
        if found.is_none() && fs::metadata(directory).is_ok_and(|m| m.ino() == id) {
            found = Some(below(&mount, directory));
        }
    });
    Ok(found)
}

fn mount() -> io::Result<PathBuf> {
    let mounts = fs::read_to_string("/proc/thread-self/mountinfo")?;
    mounted(&mounts).ok_or_else(|| io::Error::other("the unified cgroup hierarchy is not mounted"))
}

/// The first mount of the unified hierarchy in a table of mounts.
pub(super) fn mounted(mountinfo: &str) -> Option<PathBuf> {
    mountinfo.lines().find_map(|line| {
        let (before, after) = line.split_once(" - ")?;
        let point = before.split(' ').nth(4)?;
        (after.split(' ').next() == Some("cgroup2")).then(|| PathBuf::from(point))
    })
}

fn below(mount: &Path, directory: &Path) -> String {
    let rest = directory.strip_prefix(mount).unwrap_or(directory);
    format!("/{}", rest.display())
}

fn walk(directory: &Path, left: &mut usize, each: &mut impl FnMut(&Path)) {
    if *left == 0 {
        return;
    }
    *left -= 1;
    each(directory);
    for entry in fs::read_dir(directory).into_iter().flatten().flatten() {
        if entry.file_type().is_ok_and(|t| t.is_dir()) {
            walk(&entry.path(), left, each);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_unified_hierarchy_is_found_among_the_mounts() {
        let mounts = "32 24 0:28 / /sys/fs/cgroup rw,nosuid - tmpfs tmpfs ro,mode=755\n\
            33 32 0:29 / /sys/fs/cgroup/unified rw shared:9 - cgroup2 cgroup2 rw\n";
        let mount = mounted(mounts);
        assert_eq!(mount.as_deref(), Some(Path::new("/sys/fs/cgroup/unified")));
        assert_eq!(mounted("1 0 8:1 / / rw - ext4 /dev/sda1 rw\n"), None);
    }

    #[test]
    fn groups_are_named_from_the_mount_down() {
        let mount = Path::new("/sys/fs/cgroup");
        assert_eq!(below(mount, mount), "/");
        assert_eq!(below(mount, Path::new("/sys/fs/cgroup/a/b")), "/a/b");
    }
}
