//! Processes by what they hold: the descriptor of a TUN or TAP device, or sockets. One bounded walk through /proc.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use super::facts::Holder;
use crate::model::Process;

/// Most processes and descriptors that one walk looks at, and most holders that it tells.
const MOST_PROCESSES: usize = 8192;
const MOST_DESCRIPTORS: usize = 65_536;
const MOST_HOLDERS: usize = 8;
/// TASK_COMM_LEN of linux/sched.h without the zero byte.
const COMM: usize = 15;
/// What every descriptor of such a device refers to.
const TUN: &str = "/dev/net/tun";

/// Processes that have the TUN or TAP device of this name open: their descriptors of /dev/net/tun tell it in their
/// fdinfo (`iff:`, tun_chr_show_fdinfo of drivers/net/tun.c, 3.15).
pub(super) fn holding_tun(proc: &Path, name: &str) -> Vec<Holder> {
    let mut looked = 0;
    let mut found = Vec::new();
    for pid in numbers(proc).take(MOST_PROCESSES) {
        let directory = proc.join(pid.to_string());
        let holds = numbers(&directory.join("fd")).any(|fd| {
            looked += 1;
            looked <= MOST_DESCRIPTORS && is_tun(&directory, fd, name)
        });
        if holds {
            found.push(Holder {
                process: Process {
                    pid,
                    comm: comm(proc, pid),
                },
                state: fs::read_to_string(directory.join("stat"))
                    .ok()
                    .and_then(|stat| state_of(&stat)),
            });
        }
        if found.len() >= MOST_HOLDERS || looked > MOST_DESCRIPTORS {
            break;
        }
    }
    found
}

/// Processes that hold sockets with these inodes, by inode: their descriptors are links to `socket:[INODE]`.
pub(super) fn holding_sockets(proc: &Path, inodes: BTreeSet<u64>) -> BTreeMap<u64, Vec<Process>> {
    let mut found: BTreeMap<u64, Vec<Process>> = BTreeMap::new();
    let mut looked = 0;
    if inodes.is_empty() {
        return found;
    }
    for pid in numbers(proc).take(MOST_PROCESSES) {
        let directory = proc.join(pid.to_string());
        let held: BTreeSet<u64> = numbers(&directory.join("fd"))
            .take(MOST_DESCRIPTORS.saturating_sub(looked))
            .inspect(|_| looked += 1)
            .filter_map(|fd| socket_inode(&fs::read_link(directory.join(format!("fd/{fd}"))).ok()?))
            .filter(|inode| inodes.contains(inode))
            .collect();
        if held.is_empty() {
            continue;
        }
        let comm = comm(proc, pid);
        for inode in held {
            let holders = found.entry(inode).or_default();
            if holders.len() < MOST_HOLDERS {
                holders.push(Process {
                    pid,
                    comm: comm.clone(),
                });
            }
        }
    }
    found
}

/// Whether a signal or a debugger has stopped a process (`T` and `t` of proc_pid_stat(5)).
pub(super) fn is_stopped(proc: &Path, pid: u32) -> bool {
    matches!(state(proc, pid), Some('T' | 't'))
}

/// A process's state as /proc tells it.
pub(super) fn state(proc: &Path, pid: u32) -> Option<char> {
    state_of(&fs::read_to_string(proc.join(format!("{pid}/stat"))).ok()?)
}

/// The name of a process's program; empty where it has ended.
pub(super) fn comm(proc: &Path, pid: u32) -> String {
    let comm = fs::read_to_string(proc.join(format!("{pid}/comm"))).unwrap_or_default();
    clean(comm.trim_end())
}

/// Inodes of the sockets that a process holds.
pub(super) fn sockets_of(proc: &Path, pid: u32) -> BTreeSet<u64> {
    let directory = proc.join(format!("{pid}/fd"));
    numbers(&directory)
        .take(MOST_DESCRIPTORS)
        .filter_map(|fd| socket_inode(&fs::read_link(directory.join(fd.to_string())).ok()?))
        .collect()
}

/// Processes with this name (comm, which the kernel cuts after 15 bytes).
#[must_use]
pub fn named(name: &str) -> Vec<u32> {
    let proc = Path::new("/proc");
    let cut = name.get(..COMM).unwrap_or(name);
    let is_named = |pid: &u32| comm(proc, *pid) == cut;
    numbers(proc)
        .take(MOST_PROCESSES)
        .filter(is_named)
        .collect()
}

/// `socket:[4711]`.
fn socket_inode(target: &Path) -> Option<u64> {
    let inside = target.to_str()?.strip_prefix("socket:[")?;
    inside.strip_suffix(']')?.parse().ok()
}

/// The letter after the command's name, which may hold anything (proc_pid_stat(5)).
fn state_of(stat: &str) -> Option<char> {
    stat.rsplit_once(')')?.1.trim_start().chars().next()
}

fn is_tun(process: &Path, fd: u32, name: &str) -> bool {
    let target = fs::read_link(process.join(format!("fd/{fd}")));
    // Within a container the device may lie elsewhere; its last parts are the same.
    if !target.is_ok_and(|t| t.ends_with(TUN.trim_start_matches('/'))) {
        return false;
    }
    fs::read_to_string(process.join(format!("fdinfo/{fd}"))).is_ok_and(|info| {
        info.lines()
            .filter_map(|line| line.strip_prefix("iff:"))
            .any(|interface| interface.trim() == name)
    })
}

fn numbers(directory: &Path) -> impl Iterator<Item = u32> {
    fs::read_dir(directory)
        .into_iter()
        .flatten()
        .flatten()
        .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
}

/// A name from outside must not disturb a terminal.
fn clean(text: &str) -> String {
    text.chars()
        .map(|c| {
            if c.is_control() {
                char::REPLACEMENT_CHARACTER
            } else {
                c
            }
        })
        .collect()
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a failed setup fails the test")]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn the_holder_of_a_tun_device_is_found_by_its_descriptor() {
        let proc = std::env::temp_dir().join(format!("tracer-proc-{}", std::process::id()));
        for (pid, comm, interface) in [(12, "openvpn", "tun0"), (13, "flanneld", "flannel0")] {
            let directory = proc.join(pid.to_string());
            fs::create_dir_all(directory.join("fd")).unwrap();
            fs::create_dir_all(directory.join("fdinfo")).unwrap();
            fs::write(directory.join("comm"), format!("{comm}\n")).unwrap();
            fs::write(directory.join("stat"), format!("{pid} (a) b) T 1 1")).unwrap();
            symlink(TUN, directory.join("fd/5")).unwrap();
            symlink("/dev/null", directory.join("fd/0")).unwrap();
            fs::write(
                directory.join("fdinfo/5"),
                format!("pos:\t0\nflags:\t0104002\niff:\t{interface}\n"),
            )
            .unwrap();
        }
        let found = holding_tun(&proc, "flannel0");
        fs::remove_dir_all(&proc).unwrap();
        let told: Vec<_> = found
            .iter()
            .map(|h| (h.process.pid, h.process.comm.as_str(), h.state))
            .collect();
        assert_eq!(told, [(13, "flanneld", Some('T'))]);
    }
}
