//! Where network namespaces are found, and how they are called.
//!
//! A namespace lives by the processes inside it, by files that it is mounted on, or by descriptors that somebody
//! holds. All are looked at through /proc: the mount table tells of mounts wherever they are (below /run/netns, or
//! below a host root mounted elsewhere), and PID 1 shows the node's own mounts to a tracer in a container.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use super::namespaces::{NetnsFd, inode_of};
use super::processes;
use super::workloads::{Group, Workloads};
use crate::model::NetNs;

/// Mount tables to read, and the prefix under which their mounts can be opened from here.
const MOUNT_TABLES: [(&str, &str); 2] = [
    ("/proc/thread-self/mountinfo", ""),
    ("/proc/1/mountinfo", "/proc/1/root"),
];
/// Directory whose files give names (ip-netns(8)).
const NAMES_DIRECTORY: &str = "run/netns";
/// Longest name taken from a container.
const MAX_NAME: usize = 64;

/// How far to look.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Depth {
    /// Mounts, and each process by its main thread.
    Processes,
    /// Every thread too.
    Threads,
    /// And every descriptor of every process: what holds a namespace that nothing else shows.
    Descriptors,
}

/// A namespace as it was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sighting {
    /// A file by which it can be opened.
    pub path: PathBuf,
    /// That file is a mount.
    pub mounted: bool,
    /// Its name under /run/netns.
    pub mounted_as: Option<String>,
    /// The process with the lowest number whose main thread is inside.
    pub process: Option<u32>,
}

/// All network namespaces that can be seen.
#[must_use]
pub fn discover(depth: Depth) -> BTreeMap<NetNs, Sighting> {
    let mut found = Found::default();
    for (table, root) in MOUNT_TABLES {
        // PID 1 may be out of sight or out of reach: then its mounts are not known, which is no error.
        let text = fs::read_to_string(table).unwrap_or_default();
        for mount in text.lines().filter_map(mounted) {
            found.mount(mount, root);
        }
    }
    found.processes(depth);
    found.0
}

#[derive(Default)]
struct Found(BTreeMap<NetNs, Sighting>);

impl Found {
    fn see(&mut self, netns: NetNs, path: PathBuf) -> &mut Sighting {
        self.0.entry(netns).or_insert_with(|| Sighting {
            path,
            mounted: false,
            mounted_as: None,
            process: None,
        })
    }

    fn mount(&mut self, mount: Mounted, root: &str) {
        let path = PathBuf::from(format!("{root}{}", mount.point));
        let name = name_of_mount(&mount.point);
        // A file may lie below a later mount, or belong to a mount table that is not the one of its prefix.
        if !leads_to(&path, mount.netns) {
            return;
        }
        let seen = self.see(mount.netns, path);
        seen.mounted = true;
        if seen.mounted_as.is_none() {
            seen.mounted_as = name;
        }
    }

    fn processes(&mut self, depth: Depth) {
        let own = Tracer::this();
        for process in numbers_in(Path::new("/proc")) {
            let directory = PathBuf::from(format!("/proc/{process}"));
            if let Some((netns, path)) = namespace_at(directory.join("ns/net")) {
                let seen = self.see(netns, path);
                seen.process = Some(seen.process.map_or(process, |p| p.min(process)));
            }
            // Threads of a tracer enter namespaces to read them, and its descriptors hold them: neither says that a
            // namespace is in use. Of two tracers each would keep for ever what the other one has.
            if own.is_one(process, &directory) {
                continue;
            }
            if depth >= Depth::Threads {
                self.threads(process, &directory.join("task"));
            }
            if depth >= Depth::Descriptors {
                self.descriptors(&directory.join("fd"));
            }
        }
    }

    fn threads(&mut self, process: u32, tasks: &Path) {
        // The link count of a task directory is the number of threads plus two (proc_task_getattr, fs/proc/base.c).
        if fs::metadata(tasks).is_ok_and(|m| m.nlink() <= 3) {
            return;
        }
        for thread in numbers_in(tasks).filter(|thread| *thread != process) {
            if let Some((netns, path)) = namespace_at(tasks.join(format!("{thread}/ns/net"))) {
                self.see(netns, path);
            }
        }
    }

    fn descriptors(&mut self, directory: &Path) {
        for descriptor in numbers_in(directory) {
            let path = directory.join(descriptor.to_string());
            if let Some(netns) = held_by(&path) {
                self.see(netns, path);
            }
        }
    }
}

/// How a tracer is known among the processes.
struct Tracer {
    process: u32,
    program: Option<(u64, u64)>,
}

impl Tracer {
    /// What tracers are called, those of other versions too.
    const NAME: &str = "tracer";

    fn this() -> Self {
        Self {
            process: std::process::id(),
            program: program(Path::new("/proc/self")),
        }
    }

    /// Whether a process is one, this one included.
    fn is_one(&self, process: u32, directory: &Path) -> bool {
        process == self.process
            || processes::comm(Path::new("/proc"), process).starts_with(Self::NAME)
            || self.program.is_some() && program(directory) == self.program
    }
}

/// Device and inode of a process's program.
fn program(directory: &Path) -> Option<(u64, u64)> {
    let file = fs::metadata(directory.join("exe")).ok()?;
    Some((file.dev(), file.ino()))
}

fn namespace_at(path: PathBuf) -> Option<(NetNs, PathBuf)> {
    let target = fs::read_link(&path).ok()?;
    Some((inode_of(target.to_str()?)?, path))
}

/// The namespace behind a descriptor. Opened by way of a mount it has the mount's path for a name, and only the
/// file itself tells what it is.
fn held_by(path: &Path) -> Option<NetNs> {
    let target = fs::read_link(path).ok()?;
    if !target.is_absolute() {
        return inode_of(target.to_str()?);
    }
    let nsfs = fs::metadata("/proc/thread-self/ns/net").ok()?.dev();
    if fs::metadata(path).ok()?.dev() != nsfs {
        return None;
    }
    NetnsFd::open(path).ok().map(|handle| handle.netns())
}

/// Whether a link of /proc, or the file of a mount, still is that namespace.
pub(super) fn leads_to(path: &Path, netns: NetNs) -> bool {
    fs::metadata(path).is_ok_and(|m| m.ino() == u64::from(netns.0))
}

/// Entries of a directory that are numbers; none when it cannot be read (the process is gone, or another user's).
fn numbers_in(directory: &Path) -> impl Iterator<Item = u32> {
    fs::read_dir(directory)
        .into_iter()
        .flatten()
        .flatten()
        .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
}

/// A network namespace in a mount table.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Mounted {
    netns: NetNs,
    point: String,
}

/// A line of mountinfo (proc_pid_mountinfo(5)): the fourth field is the root inside the file system, which nsfs
/// gives as `net:[INODE]`, the fifth the mount point.
pub(super) fn mounted(line: &str) -> Option<Mounted> {
    let mut fields = line.split(' ').skip(3);
    let netns = inode_of(fields.next()?)?;
    let point = unescape(fields.next()?);
    Some(Mounted { netns, point })
}

/// Space, tab, newline and backslash stand in mountinfo as a backslash and three octal digits.
fn unescape(field: &str) -> String {
    let mut parts = field.split('\\');
    let mut text = String::from(parts.next().unwrap_or_default());
    for part in parts {
        let code = part.get(..3).and_then(|d| u8::from_str_radix(d, 8).ok());
        match (code, part.get(3..)) {
            (Some(code), Some(rest)) => {
                text.push(char::from(code));
                text.push_str(rest);
            }
            _ => text.push_str(part),
        }
    }
    text
}

/// The file's name, when it lies under /run/netns (or /var/run/netns, or either below another root).
fn name_of_mount(point: &str) -> Option<String> {
    let path = Path::new(point);
    if !path.parent()?.ends_with(NAMES_DIRECTORY) {
        return None;
    }
    clean(path.file_name()?.to_str()?)
}

/// What a name rests on, the better first: a name gives way only to one that rests on as much.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Basis {
    /// A pod's or container's, by the file of the namespace.
    Workload,
    /// Somebody called it so (ip-netns(8)), be it `host`.
    Given,
    /// `host`.
    Host,
    /// The container of a process inside.
    Container,
    /// What runs inside: a unit of systemd, or a process.
    Process,
    /// The file that a CNI plugin or a runtime made for it.
    File,
    /// Its number.
    Number,
}

/// A namespace's name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Name {
    /// As it is shown.
    pub text: String,
    /// On what it rests.
    pub basis: Basis,
}

/// Names for namespaces, each used once: the best ones are given first, and who comes second to one is told apart by number.
#[must_use]
pub(super) fn names(
    found: &BTreeMap<NetNs, Sighting>,
    workloads: &Workloads,
) -> BTreeMap<NetNs, Name> {
    let host = host_namespace();
    let own = Group::of(std::process::id()).container;
    let mut wanted: Vec<(NetNs, Name)> = found
        .iter()
        .map(|(netns, sighting)| {
            let name = match workloads.of_namespace(*netns) {
                _ if host == Some(*netns) => sighting.given().unwrap_or(Name {
                    text: String::from("host"),
                    basis: Basis::Host,
                }),
                Some(owner) => Name {
                    text: owner.to_string(),
                    basis: Basis::Workload,
                },
                None => sighting.name(*netns, workloads, own.as_deref()),
            };
            (*netns, name)
        })
        .collect();
    wanted.sort_by_key(|(netns, name)| (name.basis, *netns));
    let mut taken = BTreeSet::new();
    let unique = wanted.into_iter().map(|(netns, mut name)| {
        if !taken.insert(name.text.clone()) {
            name.text = match name.basis {
                Basis::Given | Basis::Host | Basis::File | Basis::Number => by_number(netns),
                _ => format!("{} ({})", name.text, by_number(netns)),
            };
        }
        (netns, name)
    });
    unique.collect()
}

fn by_number(netns: NetNs) -> String {
    format!("netns:{}", netns.0)
}

impl Sighting {
    /// The name of its file, where a person gave it.
    fn given(&self) -> Option<Name> {
        let name = self.mounted_as.clone().filter(|name| !is_made(name))?;
        Some(Name {
            text: name,
            basis: Basis::Given,
        })
    }

    /// By its file or by what runs inside. A process in tracer's own container says nothing: a person made the namespace in there.
    fn name(&self, netns: NetNs, workloads: &Workloads, own: Option<&str>) -> Name {
        let text = |text, basis| Name { text, basis };
        let group = self.process.map(Group::of).unwrap_or_default();
        let inside = self
            .process
            .filter(|_| group.container.is_some() && group.container.as_deref() != own);
        let container = || {
            let known = workloads.of_group(&group).map(|owner| owner.to_string());
            known.or_else(|| container_name(inside?, group.container.as_deref()?))
        };
        let runs = || {
            let unit = group.unit.clone().map(|unit| format!("unit {unit}"));
            unit.or_else(|| Some(format!("process {}", comm(self.process?)?)))
        };
        self.given()
            .or_else(|| {
                inside
                    .and_then(|_| container())
                    .map(|name| text(name, Basis::Container))
            })
            .or_else(|| runs().map(|name| text(name, Basis::Process)))
            .or_else(|| self.mounted_as.clone().map(|name| text(name, Basis::File)))
            .unwrap_or_else(|| text(by_number(netns), Basis::Number))
    }
}

/// Whether a program made up the file's name: `cni-UUID` (containerd, go-cni), `netns-UUID` (Podman), `UUID` (CRI-O).
fn is_made(name: &str) -> bool {
    let uuid = name
        .strip_prefix("cni-")
        .or_else(|| name.strip_prefix("netns-"));
    let parts: Vec<&str> = uuid.unwrap_or(name).split('-').collect();
    let lengths: Vec<usize> = parts.iter().map(|part| part.len()).collect();
    lengths == [8, 4, 4, 4, 12] && parts.concat().bytes().all(|b| b.is_ascii_hexdigit())
}

fn comm(process: u32) -> Option<String> {
    let comm = fs::read_to_string(format!("/proc/{process}/comm")).ok()?;
    clean(comm.trim_end())
}

/// The namespace of PID 1. Where that process is out of reach (a security module may guard it), kernel threads tell:
/// they are in the first namespace, in which PID 1 begins.
fn host_namespace() -> Option<NetNs> {
    let of = |process: u32| namespace_at(PathBuf::from(format!("/proc/{process}/ns/net")));
    let kernel_thread = || {
        let name = fs::read_to_string("/proc/2/comm").ok()?;
        (name.trim() == "kthreadd").then(|| of(2)).flatten()
    };
    of(1).or_else(kernel_thread).map(|(netns, _)| netns)
}

/// Name of the container in which a process runs, where no file tells it: its host name (a pod's is the pod's name), else the
/// head of the container's id.
fn container_name(process: u32, id: &str) -> Option<String> {
    let environment = fs::read(format!("/proc/{process}/environ")).unwrap_or_default();
    let name = hostname_in(&environment)
        .or_else(|| {
            // A process that is still being put into its container sees the machine's own file.
            let file = fs::read_to_string(format!("/proc/{process}/root/etc/hostname")).ok()?;
            let machine = fs::read_to_string("/proc/sys/kernel/hostname").ok()?;
            clean(file.trim()).filter(|name| name != machine.trim())
        })
        .or_else(|| Some(id.get(..12)?.to_owned()))?;
    Some(format!("container {name}"))
}

fn hostname_in(environment: &[u8]) -> Option<String> {
    environment
        .split(|b| *b == 0)
        .find_map(|entry| entry.strip_prefix(b"HOSTNAME="))
        .and_then(|value| clean(str::from_utf8(value).ok()?))
}

/// A name that may be shown: what others chose is cut and stripped of what could disturb a terminal.
pub(super) fn clean(name: &str) -> Option<String> {
    let name: String = name
        .chars()
        .take(MAX_NAME)
        .map(|c| {
            if c.is_control() || c.is_whitespace() {
                char::REPLACEMENT_CHARACTER
            } else {
                c
            }
        })
        .collect();
    (!name.is_empty()).then_some(name)
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a failed setup fails the test")]
mod tests {
    use super::*;

    #[test]
    fn mounts_are_found_wherever_the_host_root_lies() {
        let line =
            "523 30 0:4 net:[4026532286] /host/run/netns/blue\\040team rw shared:9 - nsfs nsfs rw";
        let mount = mounted(line).unwrap();
        assert_eq!(mount.netns, NetNs(4_026_532_286));
        assert_eq!(mount.point, "/host/run/netns/blue team");
        assert_eq!(
            name_of_mount("/host/run/netns/cni-1").as_deref(),
            Some("cni-1")
        );
        assert_eq!(name_of_mount("/var/run/netns/a").as_deref(), Some("a"));
        assert_eq!(name_of_mount("/run/docker/netns/0a1b"), None);
        for other in [
            "522 30 0:4 mnt:[4026532281] /run/x rw - nsfs nsfs rw",
            "30 1 8:1 / / rw,relatime - ext4 /dev/root rw",
            "",
        ] {
            assert_eq!(mounted(other), None, "{other}");
        }
    }

    #[test]
    fn a_container_is_told_by_its_host_name() {
        assert_eq!(
            hostname_in(b"PATH=/bin\0HOSTNAME=web-5d9\0").as_deref(),
            Some("web-5d9")
        );
        assert_eq!(hostname_in(b"XHOSTNAME=a\0HOSTNAME=\0"), None);
    }

    #[test]
    fn a_name_is_given_once() {
        let sighting = |name: Option<&str>| Sighting {
            path: PathBuf::new(),
            mounted: false,
            mounted_as: name.map(String::from),
            process: None,
        };
        let found = BTreeMap::from([
            (NetNs(1), sighting(Some("blue"))),
            (NetNs(2), sighting(Some("blue"))),
            (NetNs(3), sighting(None)),
        ]);
        let names = names(&found, &Workloads::default());
        let names: Vec<String> = names.into_values().map(|name| name.text).collect();
        assert_eq!(names, ["blue", "netns:2", "netns:3"]);
    }

    #[test]
    fn names_that_programs_make_up_are_no_names() {
        let uuid = "6d506f1d-4f1e-9a2b-33c4-0123456789ab";
        for made in [
            format!("cni-{uuid}"),
            format!("netns-{uuid}"),
            uuid.to_owned(),
        ] {
            assert!(is_made(&made), "{made}");
        }
        for given in ["blue", "cni-blue", "node-1-2-3-4", "cni-"] {
            assert!(!is_made(given), "{given}");
        }
    }

    #[test]
    fn the_own_namespace_is_found_without_rights() {
        let own = NetnsFd::current().unwrap().netns();
        assert!(discover(Depth::Descriptors).contains_key(&own));
    }
}
