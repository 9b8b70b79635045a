//! Facts about the host as inputs of the pipeline: plain serialisable data, read by the other modules of `host`
//! (or by `kernel`), kept by [`super::Host`], recorded and replayed.
//!
//! And [`Question`]s: what the diagnosis wants to know beside a loss. The live source answers with facts; in a
//! replay the answers stand in the file.

mod conntrack;
mod filter;
mod ipvs;
mod layer2;
mod moved;
mod nodes;
mod ovs;
mod owners;
mod queues;
mod routes;
mod rule_trace;
mod ruleset;
mod sockets;
mod tunnel;
mod wireguard;
mod xfrm;

use std::net::IpAddr;

use serde::{Deserialize, Serialize};

use crate::model::{Device, KtimeNs, Mac, NetNs, Process, Proto, Tuple};
use crate::uapi::if_arp::ARPHRD_LOOPBACK;

pub use layer2::{
    BondLink, BondSlave, BridgeLink, BridgePort, FdbEntry, Forwarding, GroupMember, IpvlanMode,
    MulticastPorts, PortState, PortVlan, PortVlans, ProxyNeighbors,
};
pub use nodes::{ClockBasis, NodeClock, NodeId, TracedNode};
pub use owners::{AddressOwner, ContainerName, Owner, OwnerKind, ProcessOwner};
pub use queues::PacketQueue;
pub use routes::{
    Advertised, NextHop, PolicyRule, Route, RouteAnswer, Routed, RoutingChange, Selectors,
    TableRoute,
};
pub use rule_trace::{RuleTrace, TracedPacket};
pub use sockets::{Connection, LocalPorts, OpenSocket, PortSockets, PortUse};
pub use tunnel::{TunnelLink, VxlanLink};
pub use wireguard::{AllowedNet, WireGuard, WireGuardKey, WireGuardPeer};
pub use xfrm::{XfrmDirection, XfrmPolicy};

pub use conntrack::{ConntrackAnswer, ConntrackCounters, ConntrackEntry};
pub use filter::{BaseChain, FilterEngine, FilterRule, Side, Stop, Test};
pub use ipvs::{IpvsAnswer, IpvsDestination, IpvsService};
pub use ovs::{OvsAnswer, OvsBridge, OvsDatapath, OvsFlow, OvsPort, OvsStep, OvsTrace};
pub use ruleset::{
    Chain, Element, Field, Missing, NewTtl, NewValue, Part, Rule, RuleVerdict, Ruleset, Set,
    Statement, Translation, Value,
};

/// One fact. A later fact about the same thing replaces the earlier one.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Fact {
    /// The machine and this run of tracer.
    Run(Box<Run>),
    /// One of several nodes that were traced at the same time. Where none is told the trace is of one machine.
    Node(Box<TracedNode>),
    /// A namespace appeared or got its name.
    Namespace(Namespace),
    /// A namespace is gone.
    NamespaceGone(NetNs),
    /// An interface appeared or changed.
    Link(Link),
    /// An interface is gone.
    LinkGone(Device),
    /// All addresses of an interface.
    Addresses(Device, Vec<InterfaceAddress>),
    /// Whose addresses are, beside those of interfaces. What was told before of other addresses stands.
    Owners(Vec<AddressOwner>),
    /// Names of drop reasons: full number (subsystem in the upper 16 bits) and name without its prefix.
    DropReasons(Vec<(u32, String)>),
    /// Names of reset reasons (tcp_send_reset).
    ResetReasons(Vec<(u32, String)>),
    /// Names of functions at addresses that occurred (never the whole table).
    Symbols(Vec<(u64, String)>),
    /// State of a probe (one for each hook, and one for tc of each interface that failed).
    Probe(Probe),
    /// How many interfaces exist and how many of them are watched by tc.
    Coverage {
        /// Watched.
        covered: u32,
        /// Existing.
        total: u32,
    },
    /// What tracer itself has cost since it was ready.
    Cost(Cost),
    /// The route that the kernel would take for a packet.
    Route(RouteAnswer),
    /// A neighbour entry, or that there is none (`state` 0).
    Neighbor(Neighbor),
    /// What a forwarding database says about a MAC.
    Forwarding(Forwarding),
    /// VLANs of a bridge's ports.
    PortVlans(PortVlans),
    /// Groups that a bridge knows.
    MulticastPorts(MulticastPorts),
    /// Addresses for which a namespace answers in another's stead.
    ProxyNeighbors(ProxyNeighbors),
    /// A sysctl's value, by its path below /proc/sys (`net/ipv4/ip_forward`).
    Sysctl {
        /// Namespace.
        netns: NetNs,
        /// Path with slashes.
        name: String,
        /// Value without white space at its ends; `None` when it cannot be read.
        value: Option<String>,
    },
    /// Policy rules of one family in a namespace (`true`: IPv6), by priority.
    Rules(NetNs, bool, Vec<PolicyRule>),
    /// All IPsec policies of a namespace.
    XfrmPolicies(NetNs, Vec<XfrmPolicy>),
    /// Routes of all tables of a namespace whose prefix holds an address, longest prefix first.
    RoutesTowards(NetNs, IpAddr, Vec<TableRoute>),
    /// All base chains that filter in a namespace, as recordings have them that were made before rules were kept
    /// whole; an empty list says there are none.
    Chains(NetNs, Vec<BaseChain>),
    /// All packet filters of a namespace; without base chains there are none.
    Ruleset(NetNs, Box<Ruleset>),
    /// The state of an interface beyond its link: programs, queueing disciplines, counters, who has it open.
    #[serde(rename = "Standing")]
    DeviceState(Device, DeviceState),
    /// All sockets on a port.
    Sockets(PortSockets),
    /// Local ports in use towards a remote end.
    LocalPorts(LocalPorts),
    /// The container or unit of a process.
    ProcessOwner(ProcessOwner),
    /// Programs of the cgroup tree.
    Cgroups(Cgroups),
    /// The cgroup with this id, as a path from the hierarchy's root; `None` when it is gone.
    Cgroup(u64, Option<String>),
    /// The connection that conntrack knows for a packet.
    Conntrack(ConntrackAnswer),
    /// What conntrack counted in a namespace, all processors together.
    ConntrackCounters(NetNs, ConntrackCounters),
    /// What IPVS has for a packet.
    Ipvs(IpvsAnswer),
    /// What Open vSwitch has for a packet.
    Ovs(Box<OvsAnswer>),
    /// Queues of packets that processes of a namespace have open (NFQUEUE).
    PacketQueues(NetNs, Vec<PacketQueue>),
    /// Interfaces of a namespace that got router advertisements.
    Advertisements(NetNs, Vec<Advertised>),
    /// Settings and peers of a WireGuard device.
    WireGuard(Device, WireGuard),
    /// What nf_tables did with a packet whose rules are traced.
    RuleTrace(Box<RuleTrace>),
    /// A route or a policy rule came or went.
    Routing(Box<RoutingChange>),
    /// Something could not be read.
    Unread {
        /// What was tried.
        what: String,
        /// Why it failed.
        why: String,
    },
}

/// The machine and this run.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Run {
    /// tracer's version that made the trace.
    pub tool_version: String,
    /// Host name.
    pub hostname: String,
    /// Kernel release.
    pub kernel: String,
    /// Machine architecture.
    pub arch: String,
    /// /proc/sys/kernel/random/boot_id.
    pub boot_id: String,
    /// The expression as the user wrote it, shorthands joined in.
    pub expression: String,
    /// Its clauses in words, for the report.
    pub clauses: Vec<String>,
    /// The addresses and ports asked for, so that a direction can be told: compiled positive clauses as
    /// (src, dst) where a clause names exactly one host on a side.
    pub asked_src: Vec<IpAddr>,
    /// See `asked_src`.
    pub asked_dst: Vec<IpAddr>,
    /// All hosts that are named, on whichever side.
    #[serde(default)]
    pub asked: Vec<IpAddr>,
    /// Destination ports asked for, first and last; empty: any.
    #[serde(default)]
    pub asked_ports: Vec<(u16, u16)>,
    /// Every clause names an address or a net.
    #[serde(default = "yes")]
    pub names_addresses: bool,
    /// Start, nanoseconds since the Unix epoch.
    pub started_unix_ns: u64,
    /// Start on the kernel's clock.
    pub started_ktime: KtimeNs,
    /// `--one-way`.
    pub one_way: bool,
    /// `--rules`.
    #[serde(default)]
    pub rules: bool,
    /// `--netns`: names to which the trace is narrowed; empty: all.
    pub only_netns: Vec<String>,
    /// `--interface`: globs; empty: all.
    pub only_interfaces: Vec<String>,
    /// What is followed too, because packets that were asked for have these tuples elsewhere.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub also: Vec<Also>,
}

/// An expression that was added while the trace went on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Also {
    /// The expression.
    pub expression: String,
    /// Since when it is followed.
    pub from: KtimeNs,
}

/// What recordings say that do not know a field.
fn yes() -> bool {
    true
}

/// A network namespace.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Namespace {
    /// Which.
    pub netns: NetNs,
    /// Pod or container, else `host`, else the name under /run/netns that somebody gave, else what runs inside, else `netns:INODE`.
    pub name: String,
    /// A process whose main thread is inside, where the name is not that of a file below /run/netns: how `nsenter` gets in.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub process: Option<u32>,
    /// A file that leads there: the one on which it is mounted, else (without a process) a thread's or a descriptor. Recordings
    /// made before this was told have none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub path: Option<String>,
    /// On which of several nodes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub node: Option<NodeId>,
}

/// An interface.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Link {
    /// Which.
    pub device: Device,
    /// Name.
    pub name: String,
    /// Kind (`veth`, `bridge`, `vxlan`, `tun` …); empty for physical ones.
    pub kind: String,
    /// Its MAC, where it has one.
    pub mac: Option<Mac>,
    /// MTU in bytes.
    pub mtu: u32,
    /// Administratively up (IFF_UP).
    pub up: bool,
    /// Has a carrier (IFF_LOWER_UP).
    pub carrier: bool,
    /// ARPHRD_* type (1 is Ethernet, 772 loopback, 65534 none).
    pub arp_type: u16,
    /// Bridge, bond or VRF to which it belongs, in the same namespace.
    pub master: Option<u32>,
    /// Other end of a veth, lower device of a macvlan, VLAN …, or the interface that a tunnel's outer packets are bound
    /// to: number zero where they are only bound to another namespace.
    pub peer: Option<Device>,
    /// VXLAN: VNI, UDP port, remote address.
    pub vxlan: Option<VxlanLink>,
    /// Settings of another tunnel device.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tunnel: Option<Box<TunnelLink>>,
    /// Settings of a bond or team.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bond: Option<Box<BondLink>>,
    /// Its state as a slave of a bond.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub slave: Option<BondSlave>,
    /// A bridge's settings.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bridge: Option<BridgeLink>,
    /// Its settings as a port of a bridge.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub port: Option<BridgePort>,
    /// Mode of a macvlan (`private`, `vepa`, `bridge`, `passthru`, `source`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub macvlan: Option<String>,
    /// Mode of an ipvlan.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ipvlan: Option<IpvlanMode>,
    /// Asks and answers no questions for neighbours (IFF_NOARP).
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub noarp: bool,
    /// Number of a VLAN device.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub vlan: Option<u16>,
    /// The tag of a VLAN device is a service tag (802.1ad), not one of 802.1Q.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub vlan_service: bool,
    /// Has an XDP program that runs in the stack, on what the driver passed up.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub generic_xdp: bool,
}

impl Link {
    /// Whether its addresses are the machine's own and no network's: a loopback or dummy interface.
    #[must_use]
    pub fn is_linkless(&self) -> bool {
        self.arp_type == ARPHRD_LOOPBACK || self.kind == "dummy"
    }

    /// Whether it is one end of a pair: what is sent into one comes out of the other.
    #[must_use]
    pub fn is_paired(&self) -> bool {
        matches!(self.kind.as_str(), "veth" | "netkit")
    }

    /// An interface of which nothing but this is known.
    #[must_use]
    pub fn new(device: Device, name: impl Into<String>) -> Self {
        Self {
            device,
            name: name.into(),
            kind: String::new(),
            mac: None,
            mtu: 0,
            up: false,
            carrier: false,
            arp_type: 0,
            master: None,
            peer: None,
            vxlan: None,
            tunnel: None,
            bond: None,
            slave: None,
            bridge: None,
            port: None,
            macvlan: None,
            ipvlan: None,
            noarp: false,
            vlan: None,
            vlan_service: false,
            generic_xdp: false,
        }
    }
}

/// An address of an interface.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct InterfaceAddress {
    /// The address.
    pub address: IpAddr,
    /// Prefix length.
    pub prefix: u8,
    /// IFA_F_TENTATIVE.
    pub tentative: bool,
    /// IFA_F_DADFAILED.
    pub dad_failed: bool,
    /// IFA_F_DEPRECATED: the kernel takes another as source where there is one.
    #[serde(default)]
    pub deprecated: bool,
    /// IFA_F_SECONDARY.
    pub secondary: bool,
    /// RT_SCOPE_*: 0 everywhere, 253 on this link, 254 on this host only.
    #[serde(default)]
    pub scope: u8,
}

/// What tracer itself has cost since it was ready.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cost {
    /// For so long, in nanoseconds.
    pub over_ns: u64,
    /// CPU time of its own threads in it, in nanoseconds.
    pub threads_ns: u64,
    /// Its memory in RAM, in bytes.
    pub memory: u64,
    /// Events that it may send in a second now.
    pub budget: u32,
    /// For so long, in nanoseconds, the kernel counted the times of programs; zero: it never did.
    pub measured_ns: u64,
    /// What programs did in that time; those that did not run are left out.
    pub programs: Vec<ProgramCost>,
    /// More than `--max-cpu` allows is used, and there is nothing left to give up.
    pub exceeded: bool,
}

/// What a kernel program did while its time was counted.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProgramCost {
    /// Name of its hook; of the classifiers, their own.
    pub hook: String,
    /// How often it ran.
    pub calls: u64,
    /// How long together, in nanoseconds.
    pub ns: u64,
}

impl Cost {
    /// CPU time of tracer's own threads, in nanoseconds a second.
    #[must_use]
    pub fn threads_per_s(&self) -> u64 {
        per_second(self.threads_ns, self.over_ns)
    }

    /// CPU time of all programs, in nanoseconds a second; `None` where it was not counted.
    #[must_use]
    pub fn programs_per_s(&self) -> Option<u64> {
        let ns = self.programs.iter().map(|program| program.ns).sum();
        (self.measured_ns > 0).then(|| per_second(ns, self.measured_ns))
    }
}

/// How many in a second, when it was `number` in so many nanoseconds.
#[must_use]
pub fn per_second(number: u64, ns: u64) -> u64 {
    let of_a_second = u128::from(number) * 1_000_000_000 / u128::from(ns.max(1));
    u64::try_from(of_a_second).unwrap_or(u64::MAX)
}

/// State of a probe.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Probe {
    /// Hook's name, or `tc NAMESPACE/INTERFACE`.
    pub name: String,
    /// Attached or why not.
    pub state: ProbeState,
    /// How (`tp_btf`, `raw_tracepoint`, `tcx`, `clsact`), or the reason of the failure.
    pub detail: String,
}

/// Whether a probe works.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum ProbeState {
    /// In place.
    Attached,
    /// This kernel has no such hook.
    Missing,
    /// The kernel refused it.
    Failed,
}

/// A neighbour entry.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Neighbor {
    /// Interface.
    pub device: Device,
    /// Address.
    pub address: IpAddr,
    /// NUD_* state; zero when there is no entry.
    pub state: u16,
    /// Its MAC.
    pub mac: Option<Mac>,
}

/// What is attached to an interface and can take, change or hold up packets, and what it has lost.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct DeviceState {
    /// XDP and tc programs and filters of others than tracer, in the order in which each hook was read.
    pub programs: Vec<Attachment>,
    /// Queueing disciplines.
    pub qdiscs: Vec<Qdisc>,
    /// The interface's counters of what it lost.
    pub counters: LinkCounters,
    /// Packets that its queue or ring takes (`txqueuelen`).
    pub queue_length: Option<u32>,
    /// Processes that have a TUN or TAP device open; `None` for other devices.
    pub holders: Option<Vec<Holder>>,
}

/// A process that has a device open.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Holder {
    /// Which.
    pub process: Process,
    /// Its state as /proc tells it: `S` sleeps, `T` is stopped …
    pub state: Option<char>,
}

/// A program or a filter on an interface.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Attachment {
    /// `xdp`, `tc-ingress` or `tc-egress`.
    pub hook: String,
    /// `xdpdrv`, `xdpgeneric` …; `tcx`, `netkit`; or the kind of a tc filter (`bpf`, `u32` …).
    pub how: String,
    /// Priority of a tc filter, zero for others.
    pub priority: u16,
    /// EtherType of the packets that a tc filter looks at; zero where it is another thing, or was not read.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub protocol: u16,
    /// Its BPF program.
    pub program: Option<BpfProgram>,
    /// Actions of a tc filter.
    pub actions: Vec<Action>,
}

fn is_zero(number: &u16) -> bool {
    *number == 0
}

/// A BPF program.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BpfProgram {
    /// Id (`bpftool prog show id N`).
    pub id: u32,
    /// Name; empty where it has none.
    pub name: String,
}

/// An action of a tc filter.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Action {
    /// `mirred`, `gact`, `police` …
    pub kind: String,
    /// `redirect` (as if sent there), `ingress redirect` (as if it had come in there), `mirror`, `drop`; empty where that is not known.
    pub verb: String,
    /// Interface to which it leads.
    pub to: Option<u32>,
}

/// A queueing discipline and its counters since it was made.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Qdisc {
    /// `tbf`, `fq_codel`, `noqueue` …
    pub kind: String,
    /// Its handle (`1:`).
    pub handle: String,
    /// `root`, or the class to which it belongs (`1:10`).
    pub parent: String,
    /// Packets that it passed.
    pub packets: u32,
    /// Packets that it dropped.
    pub drops: u32,
    /// How often something had to wait.
    pub overlimits: u32,
    /// Packets in it.
    pub queued: u32,
    /// Bytes in it.
    pub backlog: u32,
    /// The words by which tc(8) makes it again (`rate 1000bps burst 1600b limit 3000b`); `None` where not all are known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub settings: Option<String>,
}

/// Counters of an interface that tell of losses, since it was made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct LinkCounters {
    /// Malformed.
    pub rx_errors: u64,
    /// Not transmitted.
    pub tx_errors: u64,
    /// Received and dropped.
    pub rx_dropped: u64,
    /// Dropped on the way out.
    pub tx_dropped: u64,
    /// No buffer in the device.
    pub rx_missed: u64,
    /// Carrier lost while sending.
    pub tx_carrier_errors: u64,
    /// No protocol took it.
    pub rx_nohandler: u64,
    /// For another MAC.
    pub rx_otherhost_dropped: u64,
}

/// Programs of the cgroup tree that can refuse packets or connections.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cgroups {
    /// Where the unified hierarchy is mounted.
    pub mount: String,
    /// Each with its group.
    pub programs: Vec<CgroupProgram>,
}

/// A program of a cgroup.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CgroupProgram {
    /// The group, as a path from the hierarchy's root (`/system.slice/web.service`).
    pub cgroup: String,
    /// Where it is attached, as bpftool(8) names it (`cgroup_inet_egress`).
    pub hook: String,
    /// Which.
    pub program: BpfProgram,
    /// On which of several nodes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub node: Option<NodeId>,
}

/// What the diagnosis wants to have read, now, in one namespace.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Question {
    /// RTM_GETROUTE for this packet; answered by [`Fact::Route`].
    Route {
        /// Where.
        netns: NetNs,
        /// The packet.
        tuple: Tuple,
        /// Input interface, zero for none.
        iif: u32,
        /// What else it is asked with.
        with: Selectors,
    },
    /// Answered by [`Fact::Neighbor`].
    Neighbor {
        /// Interface.
        device: Device,
        /// Address.
        address: IpAddr,
    },
    /// What a bridge or a VXLAN device knows of a MAC; answered by [`Fact::Forwarding`].
    Forwarding {
        /// The bridge or the VXLAN device.
        device: Device,
        /// The MAC.
        mac: Mac,
    },
    /// Answered by [`Fact::PortVlans`].
    PortVlans {
        /// The bridge.
        bridge: Device,
    },
    /// Answered by [`Fact::MulticastPorts`].
    MulticastPorts {
        /// The bridge.
        bridge: Device,
    },
    /// Answered by [`Fact::ProxyNeighbors`].
    ProxyNeighbors {
        /// Where.
        netns: NetNs,
        /// IPv6.
        v6: bool,
    },
    /// Answered by [`Fact::Sysctl`].
    Sysctl {
        /// Where.
        netns: NetNs,
        /// Path with slashes.
        name: String,
    },
    /// Answered by [`Fact::Rules`].
    Rules {
        /// Where.
        netns: NetNs,
        /// IPv6.
        v6: bool,
    },
    /// Answered by [`Fact::XfrmPolicies`].
    XfrmPolicies {
        /// Where.
        netns: NetNs,
    },
    /// Answered by [`Fact::RoutesTowards`].
    RoutesTowards {
        /// Where.
        netns: NetNs,
        /// Which destination.
        dst: IpAddr,
    },
    /// Answered by [`Fact::Ruleset`].
    Chains {
        /// Where.
        netns: NetNs,
    },
    /// The packet filters once more, for their counters; answered by [`Fact::Ruleset`].
    ChainsAgain {
        /// Where.
        netns: NetNs,
        /// How often they were read before.
        round: u8,
    },
    /// Answered by [`Fact::Conntrack`].
    Conntrack {
        /// Where.
        netns: NetNs,
        /// The packet.
        tuple: Tuple,
        /// The zone of conntrack in which it is looked up.
        zone: u16,
    },
    /// Answered by [`Fact::ConntrackCounters`].
    ConntrackCounters {
        /// Where.
        netns: NetNs,
    },
    /// Answered by [`Fact::Ipvs`].
    Ipvs {
        /// Where.
        netns: NetNs,
        /// The packet.
        tuple: Tuple,
    },
    /// Answered by [`Fact::WireGuard`].
    WireGuard {
        /// The device.
        device: Device,
    },
    /// Answered by [`Fact::Ovs`].
    Ovs {
        /// The interface of the port to which the packet came.
        device: Device,
        /// The packet.
        flow: OvsFlow,
    },
    /// Answered by [`Fact::PacketQueues`].
    PacketQueues {
        /// Where.
        netns: NetNs,
    },
    /// Answered by [`Fact::Advertisements`].
    Advertisements {
        /// Where.
        netns: NetNs,
    },
    /// Answered by [`Fact::Link`] and [`Fact::Addresses`].
    Link {
        /// Which.
        device: Device,
    },
    /// Answered by [`Fact::DeviceState`].
    #[serde(rename = "Standing")]
    DeviceState {
        /// Which.
        device: Device,
    },
    /// Answered by [`Fact::Sockets`].
    Sockets {
        /// Where.
        netns: NetNs,
        /// TCP or UDP.
        proto: Proto,
        /// Local port.
        port: u16,
    },
    /// Answered by [`Fact::LocalPorts`].
    LocalPorts {
        /// Where.
        netns: NetNs,
        /// TCP or UDP.
        proto: Proto,
        /// The remote end.
        dst: IpAddr,
        /// Its port.
        port: u16,
    },
    /// The container or unit of a process; answered by [`Fact::ProcessOwner`].
    ProcessOwner {
        /// The namespace in which it sends or reads.
        netns: NetNs,
        /// Its id.
        pid: u32,
    },
    /// Answered by [`Fact::Cgroups`].
    Cgroups,
    /// Answered by [`Fact::Cgroup`].
    Cgroup {
        /// Which.
        id: u64,
    },
}
