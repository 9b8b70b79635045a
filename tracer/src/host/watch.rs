//! Follows the machine's namespaces, interfaces and addresses: everything once at the start, then every change.
//!
//! A [`Watcher`] lives on a thread of its own, which calls [`Watcher::wait`] again and again. Each namespace has a
//! notification socket; new namespaces show themselves by a change of the mount table, by a number that some
//! namespace gives to another (RTM_NEWNSID), or in /proc, which is looked through about once a second. The mount
//! table is polled rather than the directory /run/netns watched: its change comes when the mount is done, and it
//! covers every directory.

mod routing;
mod space;

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io;
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use netlink_sys::protocols::{NETLINK_NETFILTER, NETLINK_ROUTE};
use nix::errno::Errno;
use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};

use super::Unreadable;
use super::discovery::{Basis, Depth, Name, Sighting, discover, leads_to, names};
use super::facts::{AddressOwner, Fact, InterfaceAddress, Link, Namespace, RoutingChange};
use super::firewall::in_use;
use super::links::{self, Peers};
use super::namespaces::{Namespaces, NetnsFd};
use super::netlink::Netlink;
use super::workloads::{NamePlaces, Reader, Workloads, bundle_of};
use crate::model::{Device, IfIndex, NetNs};
use space::{Difference, Relation, Space};

/// RTNLGRP_LINK, RTNLGRP_IPV4_IFADDR, RTNLGRP_IPV6_IFADDR, RTNLGRP_NSID of linux/rtnetlink.h; RTNLGRP_IPV4_ROUTE,
/// RTNLGRP_IPV4_RULE, RTNLGRP_IPV6_ROUTE, RTNLGRP_IPV6_RULE.
const GROUPS: [u32; 8] = [1, 5, 9, 28, 7, 8, 11, 19];
/// NFNLGRP_NFTABLES of linux/netfilter/nfnetlink.h.
const FILTER_GROUPS: [u32; 1] = [7];
/// Between two looks through the processes when nothing calls for one.
const SCAN_PERIOD: Duration = Duration::from_secs(1);
/// After a sign of a new namespace the looks come soon and then ever later: it may not have its name or its
/// process yet.
const SCAN_SOON: Duration = Duration::from_millis(20);
const SCAN_SLOWER: u32 = 4;
/// Every so many periods threads are looked through too.
const THREADS_EVERY: u32 = 5;
/// Tokens of the poll that are no namespace (whose token is its inode, 32 bits).
const MOUNTS_TOKEN: u64 = 1 << 32;
/// With the inode below it: packet filters of a namespace.
const FILTERS_TOKEN: u64 = 1 << 33;
/// Routes and policy rules that are told of one namespace in a second: a router takes in whole tables at once.
const ROUTING_A_SECOND: u32 = 50;

/// A change of the machine.
#[derive(Clone, Debug)]
pub enum HostChange {
    /// A namespace was found; its interfaces follow. Whoever keeps the handle gives it up on `NamespaceGone`.
    NamespaceAdded(Arc<NetnsFd>, Identity),
    /// A namespace has another name now.
    NamespaceRenamed(NetNs, Identity),
    /// Nothing but this process refers to the namespace any more, so its handle is given up. Its interfaces go
    /// with it.
    NamespaceGone(NetNs),
    /// An interface appeared.
    LinkAdded(Link),
    /// An interface changed.
    LinkChanged(Link),
    /// An interface is gone, or in another namespace.
    LinkGone(Device),
    /// All addresses of an interface.
    Addresses(Device, Vec<InterfaceAddress>),
    /// Whose addresses are, beside those of interfaces: what was not told before.
    Owners(Vec<AddressOwner>),
    /// A route or a policy rule came or went.
    Routing(RoutingChange),
    /// The packet filters of a namespace are others than they were ([`Watcher::follow_filters`]).
    Filters(NetNs),
    /// Something could not be read.
    Unread {
        /// What was tried.
        what: String,
        /// Why it failed.
        why: String,
    },
}

impl HostChange {
    /// The change as an input of the trace; `None` where it only says that something is to be read.
    #[must_use]
    pub fn fact(&self) -> Option<Fact> {
        Some(match self {
            Self::NamespaceAdded(handle, name) => namespace(handle.netns(), name),
            Self::NamespaceRenamed(netns, name) => namespace(*netns, name),
            Self::NamespaceGone(netns) => Fact::NamespaceGone(*netns),
            Self::LinkAdded(link) | Self::LinkChanged(link) => Fact::Link(link.clone()),
            Self::LinkGone(device) => Fact::LinkGone(*device),
            Self::Addresses(device, list) => Fact::Addresses(*device, list.clone()),
            Self::Owners(list) => Fact::Owners(list.clone()),
            Self::Routing(change) => Fact::Routing(Box::new(change.clone())),
            Self::Filters(_) => return None,
            Self::Unread { what, why } => Fact::Unread {
                what: what.clone(),
                why: why.clone(),
            },
        })
    }
}

fn namespace(netns: NetNs, identity: &Identity) -> Fact {
    Fact::Namespace(Namespace {
        node: None,
        netns,
        name: identity.name.clone(),
        process: identity.process,
        path: identity.path.clone(),
    })
}

/// How a namespace is called, and how it is entered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    /// Its name.
    pub name: String,
    /// On what the name rests.
    pub basis: Basis,
    /// A process inside, where nobody gave the namespace its name with a file.
    pub process: Option<u32>,
    /// The file on which it is mounted; where it is on none and no process is inside, what else leads there.
    pub path: Option<String>,
}

impl Identity {
    /// What `ip netns` calls it, where it does.
    #[must_use]
    pub fn netns_name(&self) -> Option<&str> {
        let (folder, name) = self.path.as_deref()?.rsplit_once('/')?;
        folder.ends_with("/netns").then_some(name)
    }

    /// What was found now. A process that was told before is kept for as long as it is inside, and a name until there is one that
    /// rests on as much: what has ended is still called as it was.
    fn of(netns: NetNs, sighting: &Sighting, name: Name, before: Option<&Self>) -> Self {
        let stays = |process: &u32| {
            let path = format!("/proc/{process}/ns/net");
            leads_to(Path::new(&path), netns)
        };
        let given = name.basis == Basis::Given;
        let process = before
            .and_then(|known| known.process)
            .filter(stays)
            .or(sighting.process)
            .filter(|_| !given);
        let path = (sighting.mounted || process.is_none())
            .then(|| sighting.path.to_string_lossy().into_owned());
        let better = before.filter(|known| known.basis < name.basis);
        Self {
            basis: better.map_or(name.basis, |known| known.basis),
            name: better.map_or(name.text, |known| known.name.clone()),
            process,
            path,
        }
    }
}

impl From<Difference> for HostChange {
    fn from(difference: Difference) -> Self {
        match difference {
            Difference::Added(link) => Self::LinkAdded(link),
            Difference::Changed(link) => Self::LinkChanged(link),
            Difference::Gone(device) => Self::LinkGone(device),
            Difference::Addresses(device, list) => Self::Addresses(device, list),
        }
    }
}

/// A namespace that is followed.
struct Followed {
    identity: Identity,
    /// Where it was found. What only a thread or a descriptor holds is not in every look.
    path: PathBuf,
    notifications: Netlink,
    /// Tells of packet filters, where that is asked for and the kernel has nf_tables.
    filters: Option<Netlink>,
    space: Space,
    /// Since when changes of routing are counted, and how many there were.
    routing: (Instant, u32),
}

/// Follows the machine. Holds a handle and a socket of every namespace.
pub struct Watcher {
    poll: Epoll,
    /// Open as long as the watcher lives: its poll tells of changes.
    mounts: File,
    handles: Namespaces,
    followed: BTreeMap<NetNs, Followed>,
    /// Namespaces that could not be entered: told once.
    refused: BTreeMap<NetNs, String>,
    peers: Peers,
    reader: Reader,
    /// Owners of addresses, and files that could not be read, that were told.
    owners: BTreeSet<AddressOwner>,
    unread: BTreeSet<String>,
    next_scan: Instant,
    pause: Duration,
    scans: u32,
    /// Some interface's other end is in a namespace that has not been found.
    dangling: bool,
    follows_filters: bool,
    buffer: Vec<u8>,
}

impl Watcher {
    /// Begins to follow. The first changes tell everything there is. Names are looked for in `places` too.
    ///
    /// # Errors
    /// When /proc cannot be read or no more descriptors can be had.
    pub fn new(places: NamePlaces) -> io::Result<(Self, Vec<HostChange>)> {
        let poll = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC)?;
        let mounts = File::open("/proc/thread-self/mountinfo")?;
        poll.add(&mounts, EpollEvent::new(EpollFlags::EPOLLPRI, MOUNTS_TOKEN))?;
        let mut watcher = Self {
            poll,
            mounts,
            handles: Namespaces::default(),
            followed: BTreeMap::new(),
            refused: BTreeMap::new(),
            peers: Peers::default(),
            reader: Reader::new(places),
            owners: BTreeSet::new(),
            unread: BTreeSet::new(),
            next_scan: Instant::now(),
            pause: SCAN_PERIOD,
            scans: 0,
            dangling: false,
            follows_filters: false,
            buffer: Vec::new(),
        };
        let mut out = Vec::new();
        watcher.scan(Depth::Threads, &mut out);
        watcher.settle(&mut out);
        if watcher.dangling {
            watcher.scan(Depth::Descriptors, &mut out);
            watcher.settle(&mut out);
        }
        watcher.next_scan = Instant::now() + SCAN_PERIOD;
        Ok((watcher, out))
    }

    /// From now on tells also that packet filters changed. iptables-legacy tells nobody.
    pub fn follow_filters(&mut self) {
        self.follows_filters = true;
        self.subscribe_filters();
    }

    /// A socket for the packet filters of each namespace that has none yet. The kernel would load nf_tables for it
    /// (nfnetlink_bind, net/netfilter/nfnetlink.c), so it waits until somebody else has.
    fn subscribe_filters(&mut self) {
        let lacks = |followed: &Followed| followed.filters.is_none();
        if !self.follows_filters || !self.followed.values().any(lacks) || !in_use("nf_tables") {
            return;
        }
        for (netns, followed) in self.followed.iter_mut().filter(|(_, f)| lacks(f)) {
            let Some(handle) = self.handles.get(*netns) else {
                continue;
            };
            let subscribe = || Netlink::subscribe(NETLINK_NETFILTER, &FILTER_GROUPS);
            // Without it changes are known by what is read later.
            let Ok(socket) = handle.enter(subscribe).flatten() else {
                continue;
            };
            let token = FILTERS_TOKEN | u64::from(netns.0);
            let event = EpollEvent::new(EpollFlags::EPOLLIN, token);
            if self.poll.add(&socket, event).is_ok() {
                followed.filters = Some(socket);
            }
        }
    }

    /// Handles to all namespaces that are followed.
    #[must_use]
    pub fn namespaces(&self) -> &Namespaces {
        &self.handles
    }

    /// Waits for changes, at most `limit`, and gives them; none when there were none.
    ///
    /// # Errors
    /// When waiting itself fails.
    pub fn wait(&mut self, limit: Duration) -> io::Result<Vec<HostChange>> {
        let until_scan = self.next_scan.saturating_duration_since(Instant::now());
        // Rounded up: a wait that ends just before its time would turn in circles.
        let timeout = limit.min(until_scan) + Duration::from_millis(1);
        let timeout = EpollTimeout::try_from(timeout).unwrap_or(EpollTimeout::MAX);
        let mut events = [EpollEvent::empty(); 64];
        let ready = match self.poll.wait(&mut events, timeout) {
            Ok(count) => count,
            Err(Errno::EINTR) => 0,
            Err(error) => return Err(error.into()),
        };
        let mut out = Vec::new();
        for event in events.iter().take(ready) {
            match (event.data() & !FILTERS_TOKEN, event.data()) {
                (MOUNTS_TOKEN, _) => self.scan_soon(),
                (inode, token) => {
                    let netns = NetNs(u32::try_from(inode).unwrap_or_default());
                    if token & FILTERS_TOKEN == 0 {
                        self.notified(netns, &mut out);
                    } else {
                        self.filters_changed(netns, &mut out);
                    }
                }
            }
        }
        if ready > 0 {
            self.settle(&mut out);
        }
        if self.next_scan <= Instant::now() {
            self.look_around(&mut out);
        }
        Ok(out)
    }

    /// A sign of a namespace that may not be known.
    fn scan_soon(&mut self) {
        self.next_scan = Instant::now();
        self.pause = SCAN_SOON;
    }

    fn look_around(&mut self, out: &mut Vec<HostChange>) {
        self.scans = self.scans.wrapping_add(1);
        let depth = if self.scans.is_multiple_of(THREADS_EVERY) {
            Depth::Threads
        } else {
            Depth::Processes
        };
        let missing = self.scan(depth, out);
        self.settle(out);
        // What is in sight no more may be held by a thread or a descriptor; what some interface points to may be
        // found there. The second is looked for only while things move: it may stay out of reach for ever.
        if missing || (self.dangling && self.pause < SCAN_PERIOD) {
            self.scan(Depth::Descriptors, out);
            self.settle(out);
        }
        if depth == Depth::Threads {
            self.subscribe_filters();
        }
        self.next_scan = Instant::now() + self.pause;
        self.pause = SCAN_PERIOD.min(self.pause * SCAN_SLOWER);
    }

    /// Looks for namespaces. With all of them in sight ([`Depth::Descriptors`]) those that nobody else holds are
    /// given up. Whether some that are followed were not seen.
    fn scan(&mut self, depth: Depth, out: &mut Vec<HostChange>) -> bool {
        let found = discover(depth);
        let missing: Vec<NetNs> = self
            .followed
            .iter()
            .filter(|(netns, f)| !found.contains_key(netns) && !leads_to(&f.path, **netns))
            .map(|(netns, _)| *netns)
            .collect();
        if depth == Depth::Descriptors {
            for netns in &missing {
                self.give_up(*netns);
                out.push(HostChange::NamespaceGone(*netns));
            }
        }
        self.refused.retain(|netns, _| found.contains_key(netns));
        let shims: Vec<_> = found
            .values()
            .filter_map(|s| bundle_of(s.process?))
            .collect();
        let workloads = self.reader.read(&shims);
        let mut names = names(&found, &workloads);
        for (netns, sighting) in &found {
            let Some(name) = names.remove(netns) else {
                continue;
            };
            match self.followed.get_mut(netns) {
                Some(known) => {
                    known.path.clone_from(&sighting.path);
                    let identity = Identity::of(*netns, sighting, name, Some(&known.identity));
                    if known.identity != identity {
                        known.identity.clone_from(&identity);
                        out.push(HostChange::NamespaceRenamed(*netns, identity));
                    }
                }
                None => {
                    let identity = Identity::of(*netns, sighting, name, None);
                    self.follow(*netns, sighting, identity, out);
                }
            }
        }
        self.tell(&workloads, out);
        !missing.is_empty()
    }

    /// Tells what files newly say of addresses, and which cannot be read.
    fn tell(&mut self, workloads: &Workloads, out: &mut Vec<HostChange>) {
        // What is gone may come back, and is not kept for ever: pods come and go for as long as a trace runs.
        let now = workloads.owners();
        let new: Vec<AddressOwner> = now.difference(&self.owners).cloned().collect();
        self.owners = now;
        if !new.is_empty() {
            out.push(HostChange::Owners(new));
        }
        for Unreadable { what, why } in workloads.unread() {
            if self.unread.insert(what.clone()) {
                out.push(HostChange::Unread { what, why });
            }
        }
    }

    fn follow(
        &mut self,
        netns: NetNs,
        sighting: &Sighting,
        identity: Identity,
        out: &mut Vec<HostChange>,
    ) {
        let handle = match NetnsFd::open(&sighting.path) {
            Ok(handle) if handle.netns() == netns => Arc::new(handle),
            // It went away, or the path leads elsewhere, since it was seen.
            _ => return,
        };
        match self.begin(&handle, sighting, &identity) {
            Ok(followed) => {
                out.push(HostChange::NamespaceAdded(Arc::clone(&handle), identity));
                self.handles.insert(handle);
                self.followed.insert(netns, followed);
                self.refused.remove(&netns);
                self.subscribe_filters();
            }
            Err(error) => {
                let why = error.to_string();
                if self.refused.insert(netns, why.clone()).as_ref() != Some(&why) {
                    out.push(HostChange::Unread {
                        what: format!("interfaces of namespace {}", identity.name),
                        why,
                    });
                }
            }
        }
    }

    fn begin(
        &self,
        handle: &NetnsFd,
        sighting: &Sighting,
        identity: &Identity,
    ) -> io::Result<Followed> {
        let netns = handle.netns();
        // Notifications first: what changes during the listing is told twice rather than never.
        let (notifications, listing) = handle.enter(|| {
            let notifications = Netlink::subscribe(NETLINK_ROUTE, &GROUPS)?;
            Ok::<_, io::Error>((notifications, links::list(netns)?))
        })??;
        let mut space = Space::new(netns);
        space.replace(listing);
        self.poll.add(
            &notifications,
            EpollEvent::new(EpollFlags::EPOLLIN, u64::from(netns.0)),
        )?;
        Ok(Followed {
            identity: identity.clone(),
            path: sighting.path.clone(),
            notifications,
            filters: None,
            space,
            routing: (Instant::now(), 0),
        })
    }

    fn give_up(&mut self, netns: NetNs) {
        if let Some(followed) = self.followed.remove(&netns) {
            // Closing would do it too, but not if some other process had inherited the socket.
            let _ = self.poll.delete(followed.notifications.as_fd());
            let filters = followed.filters.iter();
            let _ = filters
                .map(|socket| self.poll.delete(socket.as_fd()))
                .all(|_| true);
        }
        self.handles.remove(netns);
        self.peers.forget_namespace(netns);
    }

    fn notified(&mut self, netns: NetNs, out: &mut Vec<HostChange>) {
        let Some(followed) = self.followed.get_mut(&netns) else {
            return;
        };
        let space = &mut followed.space;
        let mut relations = Vec::new();
        let mut routing = Vec::new();
        let drained = followed.notifications.drain(&mut self.buffer, |message| {
            routing.extend(routing::change(netns, message));
            relations.extend(space.apply(message))
        });
        if followed.routing.0.elapsed() >= Duration::from_secs(1) {
            followed.routing = (Instant::now(), 0);
        }
        for change in routing {
            followed.routing.1 += 1;
            if followed.routing.1 <= ROUTING_A_SECOND {
                out.push(HostChange::Routing(change));
            }
        }
        if drained.is_err() {
            // Too many at once (ENOBUFS): the list tells what was missed.
            self.list_again(netns, out);
            self.peers.renew(netns);
        }
        for relation in relations {
            match relation {
                Relation::Named => {
                    self.peers.renew(netns);
                    self.scan_soon();
                }
                Relation::Dropped(nsid) => self.peers.forget(netns, nsid),
            }
        }
    }

    /// One telling stands for all that wait: what they are now is read.
    fn filters_changed(&mut self, netns: NetNs, out: &mut Vec<HostChange>) {
        let socket = self.followed.get_mut(&netns);
        let Some(socket) = socket.and_then(|followed| followed.filters.as_mut()) else {
            return;
        };
        // That some were lost says no less.
        let _ = socket.drain(&mut self.buffer, |_| {});
        out.push(HostChange::Filters(netns));
    }

    fn list_again(&mut self, netns: NetNs, out: &mut Vec<HostChange>) {
        let Some(handle) = self.handles.get(netns) else {
            return;
        };
        let listing = handle.enter(|| links::list(netns)).flatten();
        match (listing, self.followed.get_mut(&netns)) {
            (Ok(listing), Some(followed)) => followed.space.replace(listing),
            (Err(error), Some(followed)) => out.push(HostChange::Unread {
                what: format!("interfaces of namespace {}", followed.identity.name),
                why: error.to_string(),
            }),
            (_, None) => {}
        }
    }

    /// Finds the other ends of links and tells what has changed.
    fn settle(&mut self, out: &mut Vec<HostChange>) {
        self.resolve();
        let moved: Vec<(Device, Device)> = self
            .followed
            .values()
            .flat_map(|f| f.space.changed_veths())
            .collect();
        for (end, other) in moved {
            if let Some(followed) = self.followed.get_mut(&other.netns) {
                followed.space.set_veth_peer(other.ifindex, end);
            }
        }
        for followed in self.followed.values_mut() {
            out.extend(
                followed
                    .space
                    .differences()
                    .into_iter()
                    .map(HostChange::from),
            );
        }
    }

    fn resolve(&mut self) {
        let mut open: Vec<(NetNs, Vec<_>)> = self
            .followed
            .iter()
            .map(|(netns, followed)| (*netns, followed.space.unresolved()))
            .filter(|(_, list)| !list.is_empty())
            .collect();
        // The namespace with the most relations knows, once asked, where the others' only relation leads.
        open.sort_by_key(|(_, list)| std::cmp::Reverse(list.len()));
        self.dangling = false;
        for (netns, list) in open {
            for (ifindex, lower) in list {
                let there = match lower.nsid {
                    None => Some(netns),
                    Some(nsid) => self.peers.resolve(netns, nsid, &self.handles),
                };
                let Some(there) = there else {
                    self.dangling = true;
                    continue;
                };
                let peer = Device {
                    netns: there,
                    ifindex: IfIndex(lower.ifindex),
                };
                if let Some(followed) = self.followed.get_mut(&netns) {
                    followed.space.set_peer(ifindex, peer);
                }
            }
        }
    }
}

impl std::fmt::Debug for Watcher {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Watcher")
            .field("mounts", &self.mounts)
            .field("namespaces", &self.followed.len())
            .finish_non_exhaustive()
    }
}
