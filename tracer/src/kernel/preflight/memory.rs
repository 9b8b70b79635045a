//! How much memory this process may use: its own limit of addresses, and those of its cgroup (cgroup v2 and v1).

use std::fs;
use std::path::{Path, PathBuf};

use nix::sys::resource::{RLIM_INFINITY, Resource, getrlimit};

/// What a trace takes at its peak is below 40 MiB (`make bench`), the kernel's maps are counted too.
const LEAST: u64 = 64 << 20;
/// Addresses that it takes: stacks and heaps of its threads are reserved, and not all used.
const LEAST_ADDRESSES: u64 = 256 << 20;
const MOUNT: &str = "/sys/fs/cgroup";

/// The limit that is below what is needed, else any: bytes, bytes that are needed, what sets it.
pub(super) fn limit() -> Option<(u64, u64, String)> {
    let addresses = getrlimit(Resource::RLIMIT_AS).ok();
    let addresses = addresses
        .map(|(soft, _)| soft)
        .filter(|soft| *soft != RLIM_INFINITY);
    let addresses = addresses.map(|soft| (soft, LEAST_ADDRESSES, "`ulimit -v`".to_owned()));
    let own = fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
    let groups = files(&own, Path::new(MOUNT))
        .into_iter()
        .filter_map(|file| {
            let limit = fs::read_to_string(&file).ok()?.trim().parse().ok()?;
            Some((limit, LEAST, file.display().to_string()))
        });
    let all = addresses.into_iter().chain(groups);
    all.min_by_key(|(limit, least, _)| limit.saturating_sub(*least))
}

/// Files that hold limits of memory of the cgroups of /proc/self/cgroup, and of those above them.
fn files(own: &str, mount: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for line in own.lines() {
        let mut fields = line.splitn(3, ':').skip(1);
        let (Some(controllers), Some(path)) = (fields.next(), fields.next()) else {
            continue;
        };
        let (root, file) = match controllers {
            "" => (mount.to_owned(), "memory.max"),
            names if names.split(',').any(|name| name == "memory") => {
                (mount.join("memory"), "memory.limit_in_bytes")
            }
            _ => continue,
        };
        let path = Path::new(path.trim_start_matches('/'));
        files.extend(path.ancestors().map(|group| root.join(group).join(file)));
    }
    files
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_of_all_groups_above_count() {
        let own = "4:memory:/a/b\n3:cpuset:/\n0::/kube/pod\n";
        let found = files(own, Path::new("/c"));
        let expected = [
            "/c/memory/a/b/memory.limit_in_bytes",
            "/c/memory/a/memory.limit_in_bytes",
            "/c/memory/memory.limit_in_bytes",
            "/c/kube/pod/memory.max",
            "/c/kube/memory.max",
            "/c/memory.max",
        ];
        assert_eq!(found, expected.map(PathBuf::from));
    }
}
