//! Pods and containers by name, from the files that container runtimes, CNI plugins and the kubelet keep: no socket is asked.
//!
//! A file tells a part: that of a sandbox its namespace, that of the kubelet the container's name, that of CNI addresses. All
//! parts of one container id are put together. Files are read again only when they have changed. Looked for below the root,
//! below that of PID 1 where it has other mounts (a tracer in a container), and below `--host-root`.

mod bundle;
mod cgroup;
mod cni;
mod docker;
mod kubelet;
mod storage;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::{self, Read};
use std::net::{IpAddr, Ipv4Addr};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use super::Unreadable;
use super::discovery::clean;
use super::facts::{AddressOwner, ContainerName, Owner, OwnerKind, ProcessOwner};
use super::kubectl;
use super::processes;
use crate::model::NetNs;

pub(super) use cgroup::Group;

/// Largest file that is read, and most entries of a directory.
const LARGEST: u64 = 4 << 20;
const MOST_ENTRIES: usize = 8192;

/// What is told of a container.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Container {
    /// The pod to which it belongs: `shop/cart-5f6d`.
    pod: Option<String>,
    /// Its own name; that of a pod's sandbox has none.
    name: Option<String>,
    /// The file of its network namespace, where it has one of its own.
    netns: Option<PathBuf>,
    /// Addresses that it was given.
    addresses: Vec<IpAddr>,
    /// The folder that Docker has for it.
    docker: Option<PathBuf>,
}

impl Container {
    /// What another file adds.
    fn add(&mut self, more: Self) {
        self.pod = self.pod.take().or(more.pod);
        self.name = self.name.take().or(more.name);
        self.netns = self.netns.take().or(more.netns);
        self.addresses.extend(more.addresses);
        self.docker = self.docker.take().or(more.docker);
    }

    /// By what its network is called: by the pod, which several containers share.
    fn owner(&self) -> Option<Owner> {
        let pod = self.pod.clone().map(|name| (OwnerKind::Pod, name));
        let own = self.name.clone().map(|name| (OwnerKind::Container, name));
        pod.or(own).map(|(kind, name)| Owner {
            kind,
            name,
            node: None,
        })
    }
}

/// A container's id, and what a file tells of it.
type Part = (String, Container);

/// What all files tell at one moment.
#[derive(Clone, Debug, Default)]
pub(super) struct Workloads {
    containers: BTreeMap<String, Container>,
    /// Pods by their UID, from the kubelet.
    pods: BTreeMap<String, String>,
    /// What there is at the files of namespaces that were named.
    namespaces: BTreeMap<NetNs, Owner>,
    /// Whose addresses are by /etc/hosts and by lists.
    told: Vec<AddressOwner>,
    /// What could not be read.
    unread: BTreeMap<String, String>,
}

impl Workloads {
    /// What a namespace is called by the file that a runtime has for it.
    pub(super) fn of_namespace(&self, netns: NetNs) -> Option<&Owner> {
        self.namespaces.get(&netns)
    }

    /// What the network of processes in this control group is called.
    pub(super) fn of_group(&self, group: &Group) -> Option<Owner> {
        let container = self.containers.get(group.container.as_ref()?);
        let pod = || self.pods.get(group.pod.as_ref()?).cloned();
        let by_uid = || {
            pod().map(|name| Owner {
                kind: OwnerKind::Pod,
                name,
                node: None,
            })
        };
        container.and_then(Container::owner).or_else(by_uid)
    }

    /// The container of processes in this control group.
    fn container(&self, group: &Group) -> Option<ContainerName> {
        let known = self.containers.get(group.container.as_ref()?);
        let name = known.and_then(|known| known.name.clone());
        let owner = self.of_group(group)?;
        let pod = (owner.kind == OwnerKind::Pod).then_some(owner.name);
        Some(ContainerName { name, pod })
    }

    /// Whose addresses are, as far as files tell.
    pub(super) fn owners(&self) -> BTreeSet<AddressOwner> {
        let containers = self.containers.values().filter_map(|container| {
            let owner = container.owner()?;
            Some(container.addresses.iter().map(move |address| AddressOwner {
                address: *address,
                owner: owner.clone(),
            }))
        });
        containers
            .flatten()
            .chain(self.told.iter().cloned())
            .collect()
    }

    /// Files that are there and could not be read, with the reason.
    pub(super) fn unread(&self) -> impl Iterator<Item = Unreadable> {
        self.unread.iter().map(|(what, why)| Unreadable {
            what: what.clone(),
            why: why.clone(),
        })
    }

    fn take(&mut self, root: &Path, parts: &[Part]) {
        for (id, part) in parts {
            let mut part = part.clone();
            part.netns = part.netns.map(|path| below(root, &path));
            self.containers.entry(id.clone()).or_default().add(part);
        }
    }

    /// Puts owners to namespaces by the files that lead there.
    fn settle(&mut self) {
        for container in self.containers.values() {
            let netns = container.netns.as_deref().and_then(inode);
            if let Some((netns, owner)) = netns.zip(container.owner()) {
                self.namespaces.insert(netns, owner);
            }
        }
    }
}

/// Where names are looked for beside the places that programs have for them on this machine.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NamePlaces {
    /// Where the machine's files are found too.
    pub host_root: Option<PathBuf>,
    /// Lists of Kubernetes' objects ([`super::kubectl`]).
    pub lists: Vec<PathBuf>,
}

/// A place where names of pods and containers may be found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NameSource {
    /// Whose: `CNI plugins`.
    pub of: &'static str,
    /// The first of its files or directories that is there; where none is, where it was looked for.
    pub path: PathBuf,
    /// Whether it can be read; `None`: it is not there.
    pub readable: Option<bool>,
}

/// Where names are looked for on this machine, and what is there.
#[must_use]
pub fn sources(places: NamePlaces) -> Vec<NameSource> {
    let of_programs: [(&str, &[&str]); 5] = [
        ("containerd", bundle::TASKS),
        ("CNI plugins", &[cni::RESULTS, cni::NETWORKS]),
        ("Docker", &[docker::CONTAINERS]),
        ("Podman's and CRI-O's storage", &[storage::LIST]),
        ("the kubelet", &[kubelet::PODS, kubelet::CONTAINERS]),
    ];
    let roots = Reader::new(places).roots();
    let source = |(of, paths): &(&'static str, &[&str])| {
        let all = || {
            roots
                .iter()
                .flat_map(|root| paths.iter().map(move |path| root.join(path)))
        };
        let there = all().find(|path| path.exists());
        let readable = there.as_deref().map(|path| {
            if path.is_dir() {
                fs::read_dir(path).is_ok()
            } else {
                fs::File::open(path).is_ok()
            }
        });
        Some(NameSource {
            of,
            path: there.or_else(|| all().next())?,
            readable,
        })
    };
    of_programs.iter().filter_map(source).collect()
}

/// The container or unit of a process; of none once it has ended.
pub(super) fn of_process(netns: NetNs, pid: u32) -> ProcessOwner {
    let group = Group::of(pid);
    let container = group.container.as_ref().and_then(|id| {
        let shims: Vec<_> = bundle_of(pid).into_iter().collect();
        let mut reader = Reader::default();
        let mut found = reader.read(&shims);
        if let Some((root, bundle)) = shims.first() {
            bundle::beside(&mut reader, root, (bundle, id), &mut found);
        }
        found.container(&group)
    });
    ProcessOwner {
        netns,
        pid,
        comm: processes::comm(Path::new("/proc"), pid),
        container,
        unit: group.unit.filter(|_| group.container.is_none()),
    }
}

/// A path of the machine, below a root. /run is taken for /var/run, a link to it that would lead out of the root (FHS 3.0, 5.13).
fn below(root: &Path, path: &Path) -> PathBuf {
    match path.strip_prefix("/var/run") {
        Ok(rest) => root.join("run").join(rest),
        Err(_) => root.join(path.strip_prefix("/").unwrap_or(path)),
    }
}

/// The namespace at a file, where one is mounted on it.
fn inode(path: &Path) -> Option<NetNs> {
    let file = fs::metadata(path).ok()?;
    let nsfs = fs::metadata("/proc/thread-self/ns/net").ok()?.dev();
    let number = u32::try_from(file.ino()).ok()?;
    (file.dev() == nsfs).then_some(NetNs(number))
}

/// What a file looked like when it was read.
type Stamp = (SystemTime, u64);

/// Reads the files, again and again.
#[derive(Debug, Default)]
pub(super) struct Reader {
    places: NamePlaces,
    /// What was read, by file.
    known: BTreeMap<PathBuf, (Stamp, Vec<Part>)>,
    /// Files of the round that is under way.
    seen: BTreeSet<PathBuf>,
    unread: BTreeMap<String, String>,
    /// What the lists told, in their order.
    lists: Vec<Option<(Stamp, BTreeSet<AddressOwner>)>>,
}

impl Reader {
    /// Of this machine, and of other places.
    pub(super) fn new(places: NamePlaces) -> Self {
        Self {
            places,
            ..Self::default()
        }
    }

    /// All that files tell now. `shims` are the bundles of containers whose processes are in sight, wherever their runtime keeps
    /// them.
    pub(super) fn read(&mut self, shims: &[(PathBuf, PathBuf)]) -> Workloads {
        let mut found = Workloads::default();
        for root in self.roots() {
            cni::read(self, &root, &mut found);
            bundle::read(self, &root, &mut found);
            docker::read(self, &root, &mut found);
            storage::read(self, &root, &mut found);
            kubelet::read(self, &root, &mut found);
            found.told.extend(hosts(&root));
        }
        found.told.extend(self.listed());
        for (root, directory) in shims {
            bundle::of_process(self, root, directory, &mut found);
        }
        let seen = std::mem::take(&mut self.seen);
        self.known.retain(|path, _| seen.contains(path));
        found.unread = std::mem::take(&mut self.unread);
        found.settle();
        found
    }

    /// Roots to look below.
    fn roots(&self) -> Vec<PathBuf> {
        let mut roots = vec![PathBuf::from("/")];
        let mounts = |process: &str| fs::read_link(format!("/proc/{process}/ns/mnt")).ok();
        if mounts("1").is_some_and(|first| Some(first) != mounts("thread-self")) {
            roots.push(PathBuf::from("/proc/1/root"));
        }
        roots.extend(self.places.host_root.clone());
        roots
    }

    /// What a file tells: read when it has changed.
    fn file(&mut self, path: &Path, parse: impl Fn(&[u8]) -> Option<Vec<Part>>) -> Vec<Part> {
        self.seen.insert(path.to_owned());
        let stamp = stamp(path);
        if let (Ok(stamp), Some((then, parts))) = (&stamp, self.known.get(path))
            && stamp == then
        {
            return parts.clone();
        }
        let bytes = stamp.and_then(|stamp| Ok((stamp, bytes(path)?)));
        match bytes {
            Ok((stamp, bytes)) => {
                // What is being written is read again: its time will be another.
                let parts = parse(&bytes).unwrap_or_default();
                self.known.insert(path.to_owned(), (stamp, parts.clone()));
                parts
            }
            Err(error) => {
                self.missed(path, &error);
                Vec::new()
            }
        }
    }

    /// What the lists of Kubernetes' objects tell: read again when they have changed. What is being written counts once it is
    /// whole.
    fn listed(&mut self) -> Vec<AddressOwner> {
        self.lists.resize_with(self.places.lists.len(), || None);
        for (path, known) in self.places.lists.iter().zip(&mut self.lists) {
            let read = stamp(path).and_then(|stamp| {
                let same = known.as_ref().is_some_and(|(then, _)| *then == stamp);
                (!same)
                    .then(|| Ok((stamp, kubectl::read(path)?)))
                    .transpose()
            });
            match read {
                Ok(Some(read)) => *known = Some(read),
                Ok(None) => {}
                Err(error) => {
                    let (what, why) = (path.display().to_string(), error.to_string());
                    self.unread.insert(what, why);
                }
            }
        }
        let read = self.lists.iter().flatten();
        read.flat_map(|(_, owners)| owners).cloned().collect()
    }

    /// Names in a directory; none where there is no such directory.
    fn names(&mut self, directory: &Path) -> Vec<String> {
        match fs::read_dir(directory) {
            Ok(entries) => entries
                .flatten()
                .filter_map(|entry| entry.file_name().into_string().ok())
                .take(MOST_ENTRIES)
                .collect(),
            Err(error) => {
                self.missed(directory, &error);
                Vec::new()
            }
        }
    }

    /// That a file is not there, or no longer, is the usual thing.
    fn missed(&mut self, path: &Path, error: &io::Error) {
        if !matches!(
            error.kind(),
            io::ErrorKind::NotFound | io::ErrorKind::NotADirectory
        ) && error.raw_os_error() != Some(libc::ESRCH)
        {
            self.unread
                .insert(path.display().to_string(), error.to_string());
        }
    }
}

fn stamp(path: &Path) -> io::Result<Stamp> {
    let meta = fs::metadata(path)?;
    Ok((meta.modified()?, meta.len()))
}

fn bytes(path: &Path) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    fs::File::open(path)?
        .take(LARGEST)
        .read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// Names of /etc/hosts, the first of each line; not those of the machine itself.
fn hosts(root: &Path) -> Vec<AddressOwner> {
    let text = bytes(&root.join("etc/hosts")).unwrap_or_default();
    let text = String::from_utf8_lossy(&text);
    text.lines().filter_map(host_line).collect()
}

/// Any bytes as each of the files that are read.
pub(super) fn foreign(bytes: &[u8]) {
    bundle::config("id", bytes);
    cni::result(bytes);
    cni::reservation(IpAddr::V4(Ipv4Addr::LOCALHOST), bytes);
    docker::record(bytes);
    storage::list(bytes);
    drop(kubectl::owners(bytes));
    let text = String::from_utf8_lossy(bytes);
    Group::parse(&text);
    text.lines().for_each(|line| drop(host_line(line)));
}

fn host_line(line: &str) -> Option<AddressOwner> {
    let mut words = line.split('#').next()?.split_whitespace();
    let address: IpAddr = words.next()?.parse().ok()?;
    let name = clean(words.next()?)?;
    let special = address.is_loopback() || address.is_multicast() || address.is_unspecified();
    (!special && !name.starts_with("ip6-")).then_some(AddressOwner {
        address,
        owner: Owner {
            kind: OwnerKind::HostName,
            name,
            node: None,
        },
    })
}

/// `shop/cart-5f6d`, of names that may be shown.
fn pod_name(namespace: &str, name: &str) -> Option<String> {
    Some(format!("{}/{}", clean(namespace)?, clean(name)?))
}

/// The pod and the container's name in labels or annotations (`io.kubernetes.…`, kubelet's types of pkg/kubelet/types/labels.go;
/// `io.kubernetes.cri.…`, containerd's of pkg/cri/annotations).
fn of_labels<'a>(value: impl Fn(&str) -> Option<&'a str>) -> Container {
    let either = |first: &str, second: &str| value(first).or_else(|| value(second));
    let namespace = either(
        "io.kubernetes.pod.namespace",
        "io.kubernetes.cri.sandbox-namespace",
    );
    let pod = either("io.kubernetes.pod.name", "io.kubernetes.cri.sandbox-name");
    let name = either(
        "io.kubernetes.container.name",
        "io.kubernetes.cri.container-name",
    );
    Container {
        pod: namespace.zip(pod).and_then(|(ns, pod)| pod_name(ns, pod)),
        // cri-dockerd and CRI-O call a sandbox so
        name: name.filter(|name| *name != "POD").and_then(clean),
        ..Container::default()
    }
}

/// The bundle of a process's container: shims (containerd, conmon) work in its directory, and the container's first process is
/// their child. With the root below which the paths in it lie.
pub(super) fn bundle_of(process: u32) -> Option<(PathBuf, PathBuf)> {
    let stat = fs::read_to_string(format!("/proc/{process}/stat")).ok()?;
    // state and parent follow the name, which may hold anything (proc_pid_stat(5))
    let parent: u32 = stat
        .rsplit_once(')')?
        .1
        .split_whitespace()
        .nth(1)?
        .parse()
        .ok()?;
    let shim = PathBuf::from(format!("/proc/{parent}"));
    let comm = fs::read_to_string(shim.join("comm")).ok()?;
    let is_shim = comm.starts_with("containerd-shim") || comm.starts_with("conmon");
    is_shim.then(|| (shim.join("root"), shim.join("cwd")))
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test ends where it fails")]
mod tests;
