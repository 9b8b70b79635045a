//! What is known of the host: [`Host`] folds [`Fact`]s into one place; the modules below read them.

mod advertisements;
pub mod answers;
mod bridge_tables;
mod cgroups;
pub mod changes;
mod conntrack;
mod device_state;
pub mod discovery;
pub mod facts;
mod fdb;
pub(crate) mod firewall;
pub(crate) mod foreign;
mod generic;
mod ipvs;
pub mod known;
pub mod kubectl;
pub(crate) mod links;
pub mod machine;
pub mod namespaces;
pub(crate) mod netlink;
mod ovs;
pub mod owners;
mod packet_queues;
mod policy;
pub mod prefix;
pub mod processes;
mod services;
pub mod sockets;
pub(crate) mod tables;
pub mod watch;
mod wireguard;
mod workloads;
mod xfrm;

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr};

use crate::model::{Device, KtimeNs, Mac, NetNs, Proto, Tuple};
use changes::{Change, Changed, Changes, Course};
use facts::{
    AddressOwner, Advertised, Cgroups, ConntrackAnswer, ConntrackCounters, Cost, DeviceState, Fact,
    Forwarding, InterfaceAddress, IpvsAnswer, Link, MulticastPorts, Namespace, Neighbor, NodeId,
    OpenSocket, OvsAnswer, Owner, OwnerKind, PacketQueue, PolicyRule, PortUse, PortVlan, Probe,
    ProbeState, ProcessOwner, RouteAnswer, RuleTrace, Ruleset, Run, TableRoute, TracedNode,
    WireGuard, XfrmPolicy,
};

pub use firewall::{element_words, ipset_words, is_nft_name, nft_string};
pub use workloads::{NamePlaces, NameSource, sources as name_sources};

/// What could not be read of the host, and why.
struct Unreadable {
    what: String,
    why: String,
}

/// Addresses for which a namespace answers in another's stead: interface (zero: on all), and address.
type Proxies = Vec<(u32, IpAddr)>;

/// A fact with the time at which it was read.
#[derive(Clone, Debug)]
pub struct Dated<T> {
    /// When.
    pub at: KtimeNs,
    /// What.
    pub fact: T,
}

/// Everything known of the host, as of the last input.
#[derive(Clone, Debug, Default)]
pub struct Host {
    /// The run, once known.
    pub run: Option<Run>,
    /// Nodes by number; empty where the trace is of one machine.
    pub nodes: BTreeMap<NodeId, TracedNode>,
    namespaces: BTreeMap<NetNs, String>,
    /// Files that lead to namespaces.
    paths: BTreeMap<NetNs, String>,
    /// Owners of addresses that files and rules tell, what says more first.
    owners: BTreeMap<IpAddr, Vec<Owner>>,
    homes: BTreeMap<NetNs, NodeId>,
    links: BTreeMap<Device, Link>,
    gone: BTreeSet<Device>,
    gone_namespaces: BTreeSet<NetNs>,
    addresses: BTreeMap<Device, Vec<InterfaceAddress>>,
    /// What interfaces had before they lost their last address.
    former_addresses: BTreeMap<Device, Vec<InterfaceAddress>>,
    drop_reasons: BTreeMap<u32, String>,
    reset_reasons: BTreeMap<u32, String>,
    symbols: BTreeMap<u64, String>,
    /// Probes by name.
    pub probes: BTreeMap<String, Probe>,
    /// Interfaces watched and existing.
    pub coverage: (u32, u32),
    /// What tracer itself has cost, where it was told.
    pub cost: Option<Cost>,
    /// Routes asked for, oldest first.
    pub routes: Vec<Dated<RouteAnswer>>,
    /// Policy rules by namespace and family (`true`: IPv6), by priority.
    pub rules: BTreeMap<(NetNs, bool), Dated<Vec<PolicyRule>>>,
    /// IPsec policies by namespace.
    pub xfrm: BTreeMap<NetNs, Dated<Vec<XfrmPolicy>>>,
    /// Routes that hold a destination, by namespace, longest prefix first.
    pub towards: BTreeMap<(NetNs, IpAddr), Dated<Vec<TableRoute>>>,
    /// Neighbour entries read, oldest first.
    pub neighbors: Vec<Dated<Neighbor>>,
    /// What forwarding databases said, oldest first.
    pub forwarding: Vec<Dated<Forwarding>>,
    /// VLANs of ports, by bridge.
    pub port_vlans: BTreeMap<Device, Dated<Vec<PortVlan>>>,
    /// Groups, by bridge.
    pub multicast: BTreeMap<Device, Dated<MulticastPorts>>,
    /// Addresses for which a namespace answers in another's stead, by family (`true`: IPv6), with the interface.
    pub proxies: BTreeMap<(NetNs, bool), Dated<Proxies>>,
    /// Sysctls by namespace and name.
    pub sysctls: BTreeMap<(NetNs, String), Dated<Option<String>>>,
    /// Packet filters by namespace.
    pub filters: BTreeMap<NetNs, Dated<Ruleset>>,
    /// What stands on interfaces.
    pub device_states: BTreeMap<Device, Dated<DeviceState>>,
    /// Sockets by namespace, transport and local port.
    pub sockets: BTreeMap<(NetNs, Proto, u16), Dated<Vec<OpenSocket>>>,
    /// Local ports in use, by namespace, transport and remote end.
    pub local_ports: BTreeMap<(NetNs, Proto, IpAddr, u16), Dated<Vec<PortUse>>>,
    /// Containers and units of processes, by namespace and process id.
    pub process_owners: BTreeMap<(NetNs, u32), ProcessOwner>,
    /// Programs of the cgroup tree.
    pub cgroups: Option<Dated<Cgroups>>,
    /// Paths of cgroups by id.
    pub cgroup_paths: BTreeMap<u64, String>,
    /// Packet filters as they were read first, where they were read again; and how often.
    pub filters_before: BTreeMap<NetNs, (Dated<Ruleset>, u8)>,
    /// Connections read, oldest first.
    pub connections: Vec<Dated<ConntrackAnswer>>,
    /// Counters of conntrack by namespace.
    pub conntrack: BTreeMap<NetNs, Dated<ConntrackCounters>>,
    /// What IPVS has for a packet, by namespace.
    pub ipvs: BTreeMap<(NetNs, Tuple), Dated<IpvsAnswer>>,
    /// Settings and peers of WireGuard devices.
    pub wireguard: BTreeMap<Device, Dated<WireGuard>>,
    /// What Open vSwitch has for a packet, by the port to which it came.
    pub ovs: BTreeMap<(Device, Tuple), Dated<OvsAnswer>>,
    /// Queues of packets that processes have open, by namespace.
    pub packet_queues: BTreeMap<NetNs, Dated<Vec<PacketQueue>>>,
    /// Interfaces that got router advertisements, by namespace.
    pub advertisements: BTreeMap<NetNs, Dated<Vec<Advertised>>>,
    /// A process inside each namespace that no file below /run/netns leads to.
    pub processes: BTreeMap<NetNs, u32>,
    /// What could not be read: (what, why).
    pub unread: BTreeSet<(String, String)>,
    /// Steps of packets over rules of nf_tables, oldest first, bounded.
    pub rule_traces: Vec<RuleTrace>,
    /// What changed since the trace began.
    pub changes: Changes,
    /// When the run was told: what is known of its machine by then was there before.
    opened: KtimeNs,
    /// Namespaces that came since: what is in them came with them.
    came: BTreeSet<NetNs>,
}

/// What names of namespaces begin with that tell whose network it is.
const WORKLOADS: [&str; 4] = ["pod ", "container ", "unit ", "process "];

/// Whether what was typed means the namespace: its name, that without `pod` or `container` before it, or its number.
#[must_use]
pub fn is_named(typed: &str, netns: NetNs, name: &str) -> bool {
    let bare = |kind: &str| name.strip_prefix(kind) == Some(typed);
    typed == name
        || WORKLOADS.into_iter().any(bare)
        || typed.strip_prefix("netns:") == Some(netns.0.to_string().as_str())
}

/// Most steps over rules that are kept.
const RULE_TRACES: usize = 4096;

/// Of several nodes each tells what is there when it begins, in its own time.
const NODE_OPENS_NS: u64 = 1_000_000_000;

/// When a fact was read.
struct At(KtimeNs);

impl At {
    fn of<T>(&self, fact: T) -> Dated<T> {
        Dated { at: self.0, fact }
    }
}

/// What was read last stands.
fn put<K: Ord, V>(map: &mut BTreeMap<K, V>, key: K, value: V) {
    map.insert(key, value);
}

impl Host {
    /// Takes one fact in.
    pub fn apply(&mut self, at: KtimeNs, fact: Fact) {
        let at = At(at);
        match fact {
            Fact::Run(run) => self.runs(at.0, *run),
            Fact::Node(node) => put(&mut self.nodes, node.id, *node),
            Fact::Namespace(namespace) => self.namespace_came(at.0, namespace),
            Fact::NamespaceGone(netns) => self.namespace_went(at.0, netns),
            Fact::Link(link) => self.link_came(at.0, link),
            Fact::LinkGone(device) => self.link_went(at.0, device),
            Fact::Addresses(device, list) => self.addresses_are(at.0, device, list),
            Fact::Owners(list) => self.owned(list),
            Fact::DropReasons(names) => self.drop_reasons.extend(names),
            Fact::ResetReasons(names) => self.reset_reasons.extend(names),
            Fact::Symbols(names) => self.symbols.extend(names),
            Fact::Probe(probe) => put(&mut self.probes, probe.name.clone(), probe),
            Fact::Coverage { covered, total } => self.coverage = (covered, total),
            Fact::Cost(cost) => self.cost = Some(cost),
            Fact::Route(fact) => self.routes.push(at.of(fact)),
            Fact::Rules(netns, v6, list) => put(&mut self.rules, (netns, v6), at.of(list)),
            Fact::XfrmPolicies(netns, list) => put(&mut self.xfrm, netns, at.of(list)),
            Fact::RoutesTowards(netns, dst, list) => {
                put(&mut self.towards, (netns, dst), at.of(list))
            }
            Fact::Neighbor(fact) => self.neighbors.push(at.of(fact)),
            Fact::Forwarding(fact) => self.forwarding.push(at.of(fact)),
            Fact::PortVlans(it) => put(&mut self.port_vlans, it.bridge, at.of(it.vlans)),
            Fact::MulticastPorts(it) => put(&mut self.multicast, it.bridge, at.of(it)),
            Fact::ProxyNeighbors(it) => {
                put(&mut self.proxies, (it.netns, it.v6), at.of(it.entries))
            }
            Fact::Sysctl { netns, name, value } => self.sysctl_is(&at, (netns, name), value),
            Fact::Chains(netns, list) => self.filter(at.0, netns, Ruleset::of_stops(list)),
            Fact::Ruleset(netns, ruleset) => self.filter(at.0, netns, *ruleset),
            Fact::Conntrack(fact) => self.connections.push(at.of(fact)),
            Fact::ConntrackCounters(netns, it) => put(&mut self.conntrack, netns, at.of(it)),
            Fact::Ipvs(answer) => put(&mut self.ipvs, (answer.netns, answer.tuple), at.of(answer)),
            Fact::WireGuard(device, it) => put(&mut self.wireguard, device, at.of(it)),
            Fact::Ovs(answer) => {
                let key = (answer.device, answer.flow.tuple);
                put(&mut self.ovs, key, at.of(*answer));
            }
            Fact::Advertisements(netns, list) => put(&mut self.advertisements, netns, at.of(list)),
            Fact::PacketQueues(netns, list) => put(&mut self.packet_queues, netns, at.of(list)),
            Fact::DeviceState(device, it) => put(&mut self.device_states, device, at.of(it)),
            Fact::LocalPorts(it) => {
                put(
                    &mut self.local_ports,
                    (it.netns, it.proto, it.dst, it.port),
                    at.of(it.used),
                );
            }
            Fact::Sockets(it) => put(
                &mut self.sockets,
                (it.netns, it.proto, it.port),
                at.of(it.sockets),
            ),
            Fact::ProcessOwner(it) => put(&mut self.process_owners, (it.netns, it.pid), it),
            Fact::Cgroups(fact) => self.cgroups = Some(at.of(fact)),
            Fact::Cgroup(id, path) => self.cgroup_paths.extend(path.map(|path| (id, path))),
            Fact::RuleTrace(step) => self.rule_step(*step),
            Fact::Routing(change) => {
                let course = if change.gone {
                    Course::Went
                } else {
                    Course::Came
                };
                self.changed(at.0, change.netns, (course, Changed::Routing(*change)));
            }
            Fact::Unread { what, why } => self.unread.extend([(what, why)]),
        }
    }

    fn rule_step(&mut self, step: RuleTrace) {
        if self.rule_traces.len() < RULE_TRACES {
            self.rule_traces.push(step);
        }
    }

    /// The run is told again when it follows more. One that begins later than it did stands: it begins in the middle of what
    /// was recorded.
    fn runs(&mut self, at: KtimeNs, mut run: Run) {
        match &self.run {
            None => self.opened = at,
            Some(known) if known.boot_id == run.boot_id => {
                if known.started_ktime > run.started_ktime {
                    run.started_ktime = known.started_ktime;
                    run.started_unix_ns = known.started_unix_ns;
                }
            }
            Some(_) => {}
        }
        self.run = Some(run);
    }

    /// Until when what is told of a namespace was there before the trace.
    fn opened(&self, netns: NetNs) -> KtimeNs {
        match self.home(netns) {
            Some(node) => KtimeNs(node.from.0.saturating_add(NODE_OPENS_NS)),
            // Of several nodes it is not known which began when.
            None if !self.nodes.is_empty() => KtimeNs(u64::MAX),
            None => self.opened,
        }
    }

    /// Notes a change, unless it was before the trace, or came with its namespace.
    fn changed(&mut self, at: KtimeNs, netns: NetNs, (course, what): (Course, Changed)) {
        self.changed_after(at, None, netns, (course, what));
    }

    fn changed_after(
        &mut self,
        at: KtimeNs,
        after: Option<KtimeNs>,
        netns: NetNs,
        (course, what): (Course, Changed),
    ) {
        let with_all = what != Changed::Namespace && self.came.contains(&netns);
        if at > self.opened(netns) && !with_all {
            self.changes.push(Change {
                at,
                after,
                netns,
                course,
                what,
            });
        }
    }

    fn sysctl_is(&mut self, at: &At, key: (NetNs, String), value: Option<String>) {
        if let Some(before) = self.sysctls.get(&key).filter(|old| old.fact != value) {
            let what = Changed::Sysctl(key.1.clone(), before.fact.clone(), value.clone());
            let after = before.at;
            self.changed_after(at.0, Some(after), key.0, (Course::Changed, what));
        }
        self.sysctls.insert(key, at.of(value));
    }

    fn namespace_came(&mut self, at: KtimeNs, found: Namespace) {
        let netns = found.netns;
        let new = !self.namespaces.contains_key(&netns) || self.gone_namespaces.remove(&netns);
        self.homes
            .extend(found.node.map(|node| (found.netns, node)));
        match found.process {
            Some(process) => self.processes.insert(found.netns, process),
            None => self.processes.remove(&found.netns),
        };
        match found.path {
            Some(path) => self.paths.insert(found.netns, path),
            None => self.paths.remove(&found.netns),
        };
        self.namespaces.insert(netns, found.name);
        if new {
            self.changed(at, netns, (Course::Came, Changed::Namespace));
            if at > self.opened(netns) {
                self.came.insert(netns);
            }
        }
    }

    /// Of one kind the later owner stands; several services may lead to one endpoint.
    fn owned(&mut self, list: Vec<AddressOwner>) {
        for AddressOwner { address, owner } in list {
            let known = self.owners.entry(address).or_default();
            known.retain(|other| match owner.kind {
                OwnerKind::Endpoint => *other != owner,
                kind => other.kind != kind,
            });
            known.push(owner);
            known.sort();
        }
    }

    /// Names and links of what is gone stay: packets seen before still need them.
    fn namespace_went(&mut self, at: KtimeNs, netns: NetNs) {
        let inside = self.links.keys().filter(|d| d.netns == netns);
        self.gone.extend(inside);
        if self.gone_namespaces.insert(netns) {
            self.came.remove(&netns);
            self.changed(at, netns, (Course::Went, Changed::Namespace));
        }
    }

    fn link_came(&mut self, at: KtimeNs, link: Link) {
        let netns = link.device.netns;
        let was_gone = self.gone.remove(&link.device);
        let found = match self.links.get(&link.device).filter(|_| !was_gone) {
            Some(before) => changes::link(before, &link),
            None => vec![(Course::Came, Changed::Link(link.name.clone()))],
        };
        self.links.insert(link.device, link);
        for one in found {
            self.changed(at, netns, one);
        }
    }

    fn link_went(&mut self, at: KtimeNs, device: Device) {
        if self.gone.insert(device) {
            let name = self.interface(device);
            self.changed(at, device.netns, (Course::Went, Changed::Link(name)));
        }
    }

    fn addresses_are(&mut self, at: KtimeNs, device: Device, list: Vec<InterfaceAddress>) {
        let before = self.addresses.get(&device).map_or(&[][..], Vec::as_slice);
        for one in changes::addresses(device, before, &list) {
            self.changed(at, device.netns, one);
        }
        let empty = list.is_empty();
        let before = self.addresses.insert(device, list).unwrap_or_default();
        if empty && !before.is_empty() {
            self.former_addresses.insert(device, before);
        }
    }

    /// Whether a probe of an interface, or the trace of a namespace's rules, failed and that is gone: nothing can be missed
    /// there any more.
    #[must_use]
    pub fn went_away(&self, probe: &Probe) -> bool {
        let about = |device: &&Device| {
            let namespace = self.namespace(device.netns);
            match probe.name.split_once(' ') {
                Some(("tc", place)) => place == format!("{namespace}/{}", self.interface(**device)),
                Some(("rules", name)) => name == namespace,
                _ => false,
            }
        };
        probe.state == ProbeState::Failed
            && self.gone.iter().any(|device| about(&device))
            && !self
                .links
                .keys()
                .filter(about)
                .any(|device| !self.gone.contains(device))
    }

    /// Takes in the packet filters of a namespace, and keeps the first that were read.
    fn filter(&mut self, at: KtimeNs, netns: NetNs, fact: Ruleset) {
        let found = self.filters.get(&netns).map(|before| {
            let found = changes::ruleset(&before.fact, &fact);
            (before.at, found)
        });
        if let Some((after, found)) = found {
            for one in found {
                self.changed_after(at, Some(after), netns, one);
            }
        }
        if let Some(before) = self.filters.insert(netns, Dated { at, fact }) {
            let (_, again) = self
                .filters_before
                .entry(netns)
                .or_insert_with(|| (before, 0));
            *again = again.saturating_add(1);
        }
    }

    /// Name of a namespace; `netns:INODE` when it was never told.
    #[must_use]
    pub fn namespace(&self, netns: NetNs) -> String {
        self.namespace_name(netns).into_owned()
    }

    /// The same, without a copy where it is known.
    #[must_use]
    pub fn namespace_name(&self, netns: NetNs) -> Cow<'_, str> {
        let name = self.namespaces.get(&netns);
        name.map_or_else(
            || format!("netns:{}", netns.0).into(),
            |name| name.as_str().into(),
        )
    }

    /// A process inside a namespace, where `ip netns` does not know it.
    #[must_use]
    pub fn process_in(&self, netns: NetNs) -> Option<u32> {
        self.processes.get(&netns).copied()
    }

    /// A file that leads to a namespace.
    #[must_use]
    pub fn path_to(&self, netns: NetNs) -> Option<&str> {
        self.paths.get(&netns).map(String::as_str)
    }

    /// Owners of addresses that files and rules tell, what says more of an address first.
    pub fn owned_addresses(&self) -> impl Iterator<Item = (IpAddr, &Owner)> {
        let all = self.owners.iter();
        all.flat_map(|(address, owners)| owners.iter().map(|owner| (*address, owner)))
    }

    /// The pod or container whose network a namespace is, or what runs in it; `None` where the name says no such thing.
    #[must_use]
    pub fn workload(&self, netns: NetNs) -> Option<&str> {
        let name = self.namespaces.get(&netns)?;
        WORKLOADS
            .iter()
            .any(|kind| name.starts_with(kind))
            .then_some(name)
    }

    /// The node of a namespace, where there are several.
    #[must_use]
    pub fn home(&self, netns: NetNs) -> Option<&TracedNode> {
        self.nodes.get(self.homes.get(&netns)?)
    }

    /// Name of a namespace's node, where there are several.
    #[must_use]
    pub fn node(&self, netns: NetNs) -> Option<&str> {
        self.home(netns).map(|node| node.name.as_str())
    }

    /// Whether the trace looks into a namespace: `--netns` of its node's run may leave it out.
    #[must_use]
    pub fn is_watched(&self, netns: NetNs) -> bool {
        let run = self.home(netns).map(|node| &node.run).or(self.run.as_ref());
        run.is_none_or(|run| {
            let name = self.namespace(netns);
            let mut wanted = run.only_netns.iter();
            run.only_netns.is_empty() || wanted.any(|typed| is_named(typed, netns, &name))
        })
    }

    /// Name of an interface; `if:N` when it was never told.
    #[must_use]
    pub fn interface(&self, device: Device) -> String {
        self.interface_name(device).into_owned()
    }

    /// The same, without a copy where it is known.
    #[must_use]
    pub fn interface_name(&self, device: Device) -> Cow<'_, str> {
        self.links.get(&device).map_or_else(
            || format!("if:{}", device.ifindex.0).into(),
            |link| link.name.as_str().into(),
        )
    }

    /// The interface's last known state.
    #[must_use]
    pub fn link(&self, device: Device) -> Option<&Link> {
        self.links.get(&device)
    }

    /// Whether the interface was removed, or its namespace with it.
    #[must_use]
    pub fn is_gone(&self, device: Device) -> bool {
        self.gone.contains(&device)
    }

    /// All interfaces ever known.
    pub fn links(&self) -> impl Iterator<Item = &Link> {
        self.links.values()
    }

    /// All namespaces ever known, with their names.
    pub fn namespaces(&self) -> impl Iterator<Item = (NetNs, &str)> {
        self.namespaces
            .iter()
            .map(|(ns, name)| (*ns, name.as_str()))
    }

    /// Addresses of an interface; those that it had last when it has none any more. The kernel takes them away
    /// before it removes an interface, and IPv6's from one that goes down (addrconf_ifdown, net/ipv6/addrconf.c).
    #[must_use]
    pub fn last_addresses(&self, device: Device) -> &[InterfaceAddress] {
        match self.addresses(device) {
            [] => self
                .former_addresses
                .get(&device)
                .map_or(&[], Vec::as_slice),
            present => present,
        }
    }

    /// Addresses of an interface.
    #[must_use]
    pub fn addresses(&self, device: Device) -> &[InterfaceAddress] {
        self.addresses.get(&device).map_or(&[], Vec::as_slice)
    }

    /// The interface's own address in whose network another one lies.
    #[must_use]
    pub fn near(&self, device: Device, address: IpAddr) -> Option<&InterfaceAddress> {
        let mut own = self.addresses(device).iter();
        own.find(|own| prefix::holds(own.address, own.prefix, address))
    }

    /// Addresses of all interfaces of a namespace.
    pub fn addresses_in(&self, netns: NetNs) -> impl Iterator<Item = &InterfaceAddress> {
        self.addresses
            .iter()
            .filter(move |(device, _)| device.netns == netns)
            .flat_map(|(_, list)| list)
    }

    /// Interfaces of a namespace that own an address.
    pub fn owners(&self, address: IpAddr) -> impl Iterator<Item = Device> {
        self.addresses
            .iter()
            .filter(move |(_, list)| list.iter().any(|a| a.address == address))
            .map(|(device, _)| *device)
    }

    /// Whether the namespace owns the address.
    #[must_use]
    pub fn is_local(&self, netns: NetNs, address: IpAddr) -> bool {
        self.owners(address).any(|device| device.netns == netns)
    }

    /// Whether an address is a broadcast of one of the namespace's networks, or of all.
    #[must_use]
    pub fn is_broadcast(&self, netns: NetNs, address: IpAddr) -> bool {
        let all = address == IpAddr::V4(Ipv4Addr::BROADCAST);
        let mut own = self.addresses_in(netns);
        all || own.any(|a| prefix::is_last(a.address, a.prefix, address))
    }

    /// The interface that owns a MAC, by namespace if several do.
    pub fn by_mac(&self, mac: Mac) -> impl Iterator<Item = &Link> {
        self.links
            .values()
            .filter(move |link| link.mac == Some(mac))
    }

    /// What the forwarding database of a bridge or a VXLAN device last said about a MAC.
    #[must_use]
    pub fn forwarding(&self, device: Device, mac: Mac) -> Option<&Forwarding> {
        self.forwarding
            .iter()
            .rev()
            .map(|dated| &dated.fact)
            .find(|f| f.device == device && f.mac == mac)
    }

    /// The table's last known entry for a neighbour; its state is zero when there was none.
    #[must_use]
    pub fn neighbor(&self, device: Device, address: IpAddr) -> Option<&Neighbor> {
        self.neighbors
            .iter()
            .rev()
            .map(|dated| &dated.fact)
            .find(|n| n.device == device && n.address == address)
    }

    /// Name of a drop reason.
    #[must_use]
    pub fn drop_reason(&self, code: u32) -> Option<&str> {
        self.drop_reasons.get(&code).map(String::as_str)
    }

    /// Name of a reset reason.
    #[must_use]
    pub fn reset_reason(&self, code: u32) -> Option<&str> {
        self.reset_reasons.get(&code).map(String::as_str)
    }

    /// Name of the function at an address (which may be in its middle: the source names the addresses that occur).
    #[must_use]
    pub fn symbol(&self, address: u64) -> Option<&str> {
        self.symbols.get(&address).map(String::as_str)
    }
}
