//! The vocabulary of the stages between decoder and renderers: newtypes for domain values, the decoded
//! [`Event`], and what the correlator makes of events ([`Journey`], [`Flow`], [`Path`], [`Hop`]).
//!
//! Only data: rules that make these values live in `decode`, `correlate` and `diagnose`.

pub mod clean;
mod counters;
mod release;
mod sending;
mod short;
pub mod words;

use std::collections::BTreeMap;
use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use short::Short;
use tracer_common::stats::short_reason;
use tracer_common::tuple::{FAMILY_V4, FAMILY_V6, PROTO_ARP, RawTuple};

pub use counters::{Counted, Counters, Losses};
pub use release::Release;
pub use sending::{Repeated, Segment, Sending};

/// Nanoseconds of the kernel's monotonic clock (bpf_ktime_get_ns).
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
pub struct KtimeNs(pub u64);

impl KtimeNs {
    /// Nanoseconds since `earlier`, zero when it is later.
    #[must_use]
    pub fn since(self, earlier: Self) -> u64 {
        self.0.saturating_sub(earlier.0)
    }
}

/// A network namespace by the inode of its file (the number in `net:[4026531840]`).
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
pub struct NetNs(pub u32);

/// An interface number inside its namespace.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
pub struct IfIndex(pub u32);

/// An interface of the machine.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
pub struct Device {
    /// Its namespace.
    pub netns: NetNs,
    /// Its number there.
    pub ifindex: IfIndex,
}

/// Address of a struct sk_buff. Recycled within microseconds: never an identity by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct SkbAddr(pub u64);

/// See [`tracer_common::fingerprint`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Fingerprint(pub u64);

/// A hook by its number in [`tracer_common::hook::HOOKS`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct HookId(pub u8);

/// An Ethernet address.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Mac(pub [u8; 6]);

impl fmt::Display for Mac {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut text = Short::<17>::new();
        for (at, byte) in self.0.into_iter().enumerate() {
            if at > 0 {
                text.push(b':');
            }
            text.hex(byte);
        }
        f.write_str(text.as_str())
    }
}

/// Transport of a tuple.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Proto {
    /// TCP.
    Tcp,
    /// UDP.
    Udp,
    /// ICMP (IPv4).
    Icmp,
    /// ICMPv6.
    Icmp6,
    /// SCTP.
    Sctp,
    /// ARP.
    Arp,
    /// Any other IP protocol number.
    Other(u8),
}

impl Proto {
    /// Number of the IP protocol; `None` for ARP, which is none.
    #[must_use]
    pub const fn number(self) -> Option<u8> {
        match self {
            Self::Icmp => Some(1),
            Self::Tcp => Some(6),
            Self::Udp => Some(17),
            Self::Icmp6 => Some(58),
            Self::Sctp => Some(132),
            Self::Other(number) => Some(number),
            Self::Arp => None,
        }
    }
}

/// Addresses, protocol and ports. For ICMP the ports are zero and `icmp_id` tells echo flows apart; ports of
/// fragments after the first are unknown and zero.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Tuple {
    /// Transport.
    pub proto: Proto,
    /// Source address.
    pub src: IpAddr,
    /// Source port.
    pub sport: u16,
    /// Destination address.
    pub dst: IpAddr,
    /// Destination port.
    pub dport: u16,
    /// Identifier of ICMP echo messages.
    pub icmp_id: u16,
}

impl Tuple {
    /// Source and destination exchanged.
    #[must_use]
    pub fn reversed(self) -> Self {
        Self {
            src: self.dst,
            sport: self.dport,
            dst: self.src,
            dport: self.sport,
            ..self
        }
    }

    /// As the kernel programs have it; the type of an ICMP message is zero.
    #[must_use]
    pub fn raw(&self) -> RawTuple {
        let (sport, dport) = match self.proto {
            Proto::Icmp | Proto::Icmp6 => (0, self.icmp_id),
            _ => (self.sport, self.dport),
        };
        RawTuple {
            src: address_words(self.src),
            dst: address_words(self.dst),
            sport,
            dport,
            family: match self.dst {
                IpAddr::V4(_) => FAMILY_V4,
                IpAddr::V6(_) => FAMILY_V6,
            },
            proto: self.proto.number().unwrap_or(PROTO_ARP),
            pad: [0; 2],
        }
    }
}

/// The frame's Ethernet header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ethernet {
    /// Source.
    pub src: Mac,
    /// Destination.
    pub dst: Mac,
}

/// A tunnel that surrounds the followed packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Tunnel {
    /// Kind of encapsulation.
    pub kind: TunnelKind,
    /// VNI or GRE key, where there is one.
    pub id: Option<u32>,
    /// Outer tuple.
    pub outer: Tuple,
}

/// Encapsulations that the decoder knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum TunnelKind {
    /// VXLAN.
    Vxlan,
    /// Geneve.
    Geneve,
    /// GRE.
    Gre,
    /// IP in IP, SIT, IPv6 in IPv4 and the like.
    IpIp,
    /// A bare IP packet in UDP (flannel's UDP backend).
    RawUdp,
}

/// What a packet's headers say, innermost IP header first in `tuple`, as far as captured.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Packet {
    /// The frame's own Ethernet header (the outermost).
    pub ethernet: Option<Ethernet>,
    /// VLAN ids, outermost first.
    pub vlans: Vec<u16>,
    /// The tunnel around `tuple`, if any.
    pub tunnel: Option<Tunnel>,
    /// Ethernet header inside the tunnel (VXLAN, Geneve).
    pub inner_ethernet: Option<Ethernet>,
    /// Tuple of the innermost packet; `None` for what is not IP or ARP.
    pub tuple: Option<Tuple>,
    /// TTL or hop limit of the innermost packet.
    pub ttl: u8,
    /// TOS or traffic class.
    pub tos: u8,
    /// IPv4 identification (or that of an IPv6 fragment header).
    pub ip_id: u32,
    /// Total length in bytes of the innermost IP packet as its header tells.
    pub ip_len: u32,
    /// What follows the innermost header of IPv6 itself: an extension header, or the transport.
    pub next_header: Option<u8>,
    /// Do not fragment.
    pub dont_fragment: bool,
    /// Set in fragments: offset in bytes and whether more follow.
    pub fragment: Option<Fragment>,
    /// Identification of `tunnel`'s own packet, where that goes in fragments and this is in the first of them.
    pub carrier_id: Option<u32>,
    /// TTL or hop limit of `tunnel`'s own packet.
    pub carrier_ttl: Option<u8>,
    /// What the transport header says.
    pub transport: Transport,
}

impl Packet {
    /// Sequence number of TCP, or of an echo message: tells packets of one flow apart.
    #[must_use]
    pub const fn sequence(&self) -> Option<u32> {
        match self.transport {
            Transport::Tcp { seq, .. } => Some(seq),
            Transport::Icmp { seq, .. } => Some(seq as u32),
            _ => None,
        }
    }
}

/// A fragment's place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fragment {
    /// Offset in bytes.
    pub offset: u32,
    /// More fragments follow.
    pub more: bool,
}

/// The transport header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Transport {
    /// TCP.
    Tcp {
        /// Sequence number.
        seq: u32,
        /// Acknowledgement number.
        ack: u32,
        /// Flags byte of the header (FIN 1, SYN 2, RST 4, PSH 8, ACK 16).
        flags: u8,
        /// Window as written.
        window: u16,
        /// Payload bytes of this skb.
        payload: u32,
        /// It carries a signature: the option of MD5 (RFC 2385) or of AO (RFC 5925).
        signed: bool,
    },
    /// UDP.
    Udp {
        /// Payload bytes.
        payload: u32,
    },
    /// ICMP or ICMPv6.
    Icmp {
        /// Type.
        icmp_type: u8,
        /// Code.
        code: u8,
        /// Sequence number of echo messages.
        seq: u16,
        /// Tuple of the packet quoted by an error.
        quoted: Option<Tuple>,
        /// Next-hop MTU of "fragmentation needed" and "packet too big".
        mtu: Option<u32>,
    },
    /// ARP, or a neighbour solicitation or advertisement of ICMPv6.
    Neighbor {
        /// Asks (request, solicitation) or answers.
        answer: bool,
        /// Address asked for or told.
        target: IpAddr,
        /// MAC told by an answer, or the asker's.
        mac: Option<Mac>,
    },
    /// Not captured, or a protocol without rules of ours.
    Other,
}

/// A process as it was when an event fired in its own system call.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Process {
    /// Process id.
    pub pid: u32,
    /// Command name, cleaned of control characters.
    pub comm: String,
}

/// `socat (pid 7)`.
impl fmt::Display for Process {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} (pid {})", self.comm, self.pid)
    }
}

/// A socket as an event saw it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Socket {
    /// Address of the struct sock.
    pub addr: u64,
    /// Its namespace.
    pub netns: NetNs,
    /// `src` is the local end; `None` when the family is not IP.
    pub tuple: Option<Tuple>,
    /// TCP state number (`TCP_LISTEN` is 10).
    pub state: u8,
}

/// One frame of a stack. The name is without `.part.N`, `.constprop.N`, `.isra.N`, `.cold`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Frame {
    /// Address.
    pub addr: u64,
    /// Name of the function, when the symbols are known.
    pub name: Option<String>,
}

/// What a drop tells beside the packet.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DropInfo {
    /// Number as the kernel gave it.
    pub reason_code: u32,
    /// [`tracer_common::stats::site`] of the place that freed it.
    pub site: u32,
    /// Its name without SKB_DROP_REASON_ (`NETFILTER_DROP`); `None` on kernels without reasons.
    pub reason: Option<String>,
    /// The freeing function, cleaned as in [`Frame`].
    pub function: Option<String>,
    /// It was freed as one of a list, as queueing disciplines and refused transmissions do (`kfree_skb_list`), where the kernel
    /// tells that: before 6.3.
    pub listed: bool,
    /// Callers, nearest first, without the freeing machinery (`kfree_skb*`, tracing frames).
    pub stack: Vec<Frame>,
    /// dst->error as a positive errno, when the packet had a route.
    pub dst_error: Option<u32>,
    /// The device had no carrier.
    pub no_carrier: Option<bool>,
    /// The device was administratively up.
    pub device_up: Option<bool>,
    /// Its MTU.
    pub mtu: Option<u32>,
    /// Id of its root qdisc.
    pub qdisc: Option<String>,
    /// nf_conn.status of the packet's conntrack entry.
    pub ct_status: Option<u32>,
    /// Whether the packet had a conntrack entry; `None` when it could not be read.
    pub ct_attached: Option<bool>,
    /// A rule left it to no connection (IP_CT_UNTRACKED).
    pub ct_untracked: bool,
    /// skb->mark.
    pub mark: u32,
    /// Id of the cgroup of the socket: the one whose programs the kernel asks.
    pub cgroup: Option<u64>,
}

impl DropInfo {
    /// The kernel said no more than that it dropped it.
    #[must_use]
    pub fn is_unnamed(&self) -> bool {
        self.reason
            .as_deref()
            .is_none_or(|reason| reason == "NOT_SPECIFIED")
    }
}

/// The hook's own part of an event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Detail {
    /// tc ingress, or reception by the device (netif_receive_skb).
    Ingress,
    /// tc egress, device queue, or handed to the driver.
    Egress,
    /// net_dev_xmit with an error: the driver refused the packet.
    Refused {
        /// Its return code.
        code: i64,
    },
    /// kfree_skb.
    Drop(Box<DropInfo>),
    /// consume_skb: a normal end.
    Consumed {
        /// The freeing function.
        function: Option<String>,
    },
    /// A neighbour entry's change.
    Neighbor(NeighborEvent),
    /// A route lookup.
    Fib(FibEvent),
    /// This host builds an ICMP error about this packet.
    IcmpSend {
        /// ICMP type.
        icmp_type: u8,
        /// Code.
        code: u8,
    },
    /// This host answers with a TCP reset.
    ResetSent {
        /// Reason by name, on kernels that tell.
        reason: Option<String>,
    },
    /// A reset reached a socket.
    ResetReceived,
    /// A segment was sent again.
    Retransmit {
        /// Result of the transmission where the kernel tells: 0, -1 (EPERM), 1 (dropped), -16 (still queued).
        error: Option<i64>,
        /// It is a SYN-ACK.
        syn_ack: bool,
    },
    /// The packet reached a socket: sk_data_ready, tcp_probe.
    SocketReached,
    /// A process read it: sock_recv_length, skb_copy_datagram_iovec.
    SocketRead {
        /// Bytes, or a negative errno.
        length: i64,
    },
    /// The socket had no room.
    SocketFull {
        /// Error, negative errno.
        code: i64,
    },
    /// An error was given to the socket.
    SocketError {
        /// Positive errno.
        errno: u32,
    },
    /// A bad checksum.
    BadChecksum,
    /// An XDP program failed.
    XdpException {
        /// XDP action number.
        action: u32,
    },
    /// Open vSwitch does with the packet what a flow says, one action of it.
    SwitchAction(SwitchAction),
    /// Open vSwitch hands the packet to its daemon.
    Upcall {
        /// No flow of the kernel matches it; else the flow wants it. `None` where the kernel does not show its types.
        missed: Option<bool>,
    },
    /// A hook that this version does not know.
    Unknown,
}

/// An action of a flow in the kernel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SwitchAction {
    /// OVS_ACTION_ATTR_*.
    pub kind: u16,
    /// First word of its value: the port's number in the datapath, the number of a further look-up …
    pub value: u32,
    /// No other one follows in the same list.
    pub last: bool,
}

/// A neighbour entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NeighborEvent {
    /// Its address.
    pub address: Option<IpAddr>,
    /// nud_state bits: INCOMPLETE 1, REACHABLE 2, STALE 4, DELAY 8, PROBE 0x10, FAILED 0x20, NOARP 0x40, PERMANENT 0x80.
    pub state: u8,
    /// State asked for by an update.
    pub new_state: Option<u8>,
    /// MAC that it has.
    pub mac: Option<Mac>,
    /// MAC that an update brings.
    pub new_mac: Option<Mac>,
}

/// A route lookup. `event.tuple` is the flow that was looked up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FibEvent {
    /// Table number (254 main, 255 local).
    pub table: u32,
    /// Positive errno, zero for success.
    pub error: u32,
    /// Input interface; 1 (`lo`) for packets of this host itself.
    pub iif: u32,
    /// Output interface asked for or found.
    pub oif: u32,
    /// Whether the lookup was made in the sending process's own system call (then `event.process` and
    /// `event.socket_netns` are true).
    pub local: bool,
}

/// One observation, decoded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    /// When.
    pub at: KtimeNs,
    /// On which CPU.
    pub cpu: u16,
    /// At which hook.
    pub hook: HookId,
    /// Which buffer.
    pub skb: Option<SkbAddr>,
    /// skb->head, which clones share.
    pub head: u64,
    /// skb->cloned.
    pub cloned: bool,
    /// Kernel's fingerprint of the followed header.
    pub fingerprint: Option<Fingerprint>,
    /// The packet's device at this moment.
    pub device: Option<Device>,
    /// Interface on which the packet came into its namespace; zero for packets of this host.
    pub iif: u32,
    /// Namespace to which the event belongs: the device's, else the socket's.
    pub netns: Option<NetNs>,
    /// The socket, where one is known.
    pub socket: Option<Socket>,
    /// The running process; true only where the event fires in a system call.
    pub process: Option<Process>,
    /// Tuple that the kernel followed.
    pub tuple: Option<Tuple>,
    /// What the packet was before its connection was translated, in its own direction: known where it was recognised
    /// by that, and of what a socket of this host sends.
    pub original: Option<Tuple>,
    /// skb->len.
    pub len: u32,
    /// Segments of a GSO packet, 1 for others.
    pub segments: u16,
    /// skb->pkt_type: 0 host, 1 broadcast, 2 multicast, 3 otherhost, 4 outgoing, 5 the own copy of what is
    /// sent to many.
    pub pkt_type: u8,
    /// How it matched: FLAG_* of [`tracer_common::event`].
    pub flags: u32,
    /// The headers, where bytes were captured.
    pub packet: Option<Packet>,
    /// The captured bytes, a slice of the record.
    pub bytes: Bytes,
    /// The hook's own part.
    pub detail: Detail,
}

impl Event {
    /// Gives its captured bytes room of their own: what is kept for long does not hold the records that came with it.
    pub fn part_from_record(&mut self) {
        self.bytes = Bytes::copy_from_slice(&self.bytes);
    }
}

/// Number of a journey, in order of its first event.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct JourneyId(pub u64);

/// Number of a flow, in order of its first packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct FlowId(pub u32);

/// Direction of a journey in its flow.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Direction {
    /// As asked, or as its first packet went.
    Forward,
    /// The answer.
    Reply,
    /// An ICMP error about the flow.
    Error,
}

impl Direction {
    /// The other way of the flow; `None` for errors.
    #[must_use]
    pub const fn opposite(self) -> Option<Self> {
        match self {
            Self::Forward => Some(Self::Reply),
            Self::Reply => Some(Self::Forward),
            Self::Error => None,
        }
    }
}

/// How an event came to its journey.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Joined {
    /// It is the first event.
    First,
    /// Same skb, same fingerprint.
    Skb,
    /// Another skb that shares the data (a clone).
    Clone,
    /// Another skb with the same fingerprint: re-created by a TUN daemon, XDP, segmentation …
    Fingerprint,
    /// Fragment, reassembly or segment: by IP id or sequence range.
    Pieces,
    /// By the CPU and the socket's tuple (delivery without skb).
    Cpu,
}

/// An event in its journey.
#[derive(Clone, Debug)]
pub struct Step {
    /// The event.
    pub event: Event,
    /// Why it is here.
    pub joined: Joined,
    /// Branch: 0 for the packet itself, others for clones that went another way.
    pub branch: u16,
}

/// What became of one packet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fate {
    /// Still on its way, or not old enough to say.
    InFlight,
    /// Reached a socket, or was answered by the kernel (echo).
    Delivered,
    /// Dropped at step `step` of the journey.
    Dropped {
        /// Index into [`Journey::steps`].
        step: usize,
    },
    /// Left through a device behind which this trace sees nothing.
    Left {
        /// Index of the last step.
        step: usize,
    },
    /// Last seen at `step`; no end was seen.
    Vanished {
        /// Index of the last step.
        step: usize,
    },
    /// Ended normally (consumed) at a place that tells nothing of delivery.
    Consumed {
        /// Index of the step.
        step: usize,
    },
}

/// All events of one packet in order, through clones, NAT, encapsulation and re-creation.
#[derive(Clone, Debug)]
pub struct Journey {
    /// Its number.
    pub id: JourneyId,
    /// Its flow.
    pub flow: FlowId,
    /// Its direction.
    pub direction: Direction,
    /// Events in order of time.
    pub steps: Vec<Step>,
    /// Events left out because the journey is too long (loops).
    pub steps_dropped: u64,
    /// What became of it.
    pub fate: Fate,
}

/// A change of the headers between two hops of a path.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Rewrite {
    /// The destination was translated.
    Dnat {
        /// Before.
        from: Tuple,
        /// After.
        to: Tuple,
    },
    /// The source was translated.
    Snat {
        /// Before.
        from: Tuple,
        /// After.
        to: Tuple,
    },
    /// Encapsulated.
    Push(Tunnel),
    /// Decapsulated.
    Pop(Tunnel),
    /// Hop limit went down by this many.
    Ttl(u8),
}

/// Latency from one hop to the next, nanoseconds.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema,
)]
pub struct Latency {
    /// Median.
    pub p50: u64,
    /// 99th percentile.
    pub p99: u64,
    /// Maximum.
    pub max: u64,
}

/// Which side of a device a hop is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Side {
    /// Entering the stack from the device.
    Ingress,
    /// Handed to the device.
    Egress,
}

/// A place that packets of a flow pass, in one direction. Events of the device tracepoint and of tc at one side of
/// one device are one hop.
#[derive(Clone, Debug)]
pub struct Hop {
    /// The interface.
    pub device: Device,
    /// Its side.
    pub side: Side,
    /// Tuple of the packets here (the most frequent one where there are several).
    pub tuple: Tuple,
    /// Tunnel around them here.
    pub tunnel: Option<Tunnel>,
    /// Packets, exact where the kernel counted them.
    pub packets: u64,
    /// Bytes.
    pub bytes: u64,
    /// To the next hop of the path.
    pub latency: Option<Latency>,
    /// What changed since the hop before; of packets lost behind this hop, also how they were translated first.
    pub rewrites: Vec<Rewrite>,
    /// Packets that did not come to any later hop and were lost (not delivered, not in flight).
    pub lost_after: u64,
    /// When the last packet passed.
    pub last_seen: KtimeNs,
    /// Hops that come after this one on some journey, by index in the path; more than one where it forks.
    pub next: Vec<usize>,
}

/// The hops of a flow in one direction, in order.
#[derive(Clone, Debug, Default)]
pub struct Path {
    /// Hops, upstream first.
    pub hops: Vec<Hop>,
}

/// What a tuple is to its flow.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum TupleRole {
    /// As asked, or as the first packet had it.
    Asked,
    /// The answer to it.
    Reply,
    /// What NAT made of one of them.
    Translated,
    /// Inside a tunnel.
    Inner,
    /// Around it.
    Outer,
}

/// The asked tuple, its answer, and all tuples that NAT and tunnels make of them.
#[derive(Clone, Debug)]
pub struct Flow {
    /// Its number.
    pub id: FlowId,
    /// Tuples with their roles, asked first.
    pub tuples: Vec<(TupleRole, Tuple)>,
    /// Packets seen in each direction (exact counters where there are).
    pub packets: BTreeMap<Direction, u64>,
    /// The way there.
    pub forward: Path,
    /// The way back.
    pub reply: Path,
    /// Journeys of this flow that are kept, oldest first.
    pub journeys: Vec<JourneyId>,
    /// Journeys of this flow, kept or not, by direction.
    pub journeys_seen: BTreeMap<Direction, u64>,
    /// Counts of fates by direction over all journeys (also those not kept).
    pub fates: BTreeMap<Direction, FateCounts>,
    /// Packets that were dropped, by where and why, over all journeys and those that were only counted.
    pub drops: BTreeMap<DropSite, u64>,
    /// Where the kernel counted packets of a direction and no event told of them.
    pub unseen: Vec<(Direction, Device, Side)>,
    /// What TCP acknowledged, by the direction of the acknowledgements, over all journeys (also those not kept).
    pub acked: BTreeMap<Direction, Acked>,
    /// What TCP sent and what of it was acknowledged, by the direction of the data, over all journeys.
    pub sending: BTreeMap<Direction, Sending>,
    /// First and last event.
    pub first: KtimeNs,
    /// Last event.
    pub last: KtimeNs,
    /// The longest time in which nothing of it was seen.
    pub pause: Option<Pause>,
}

/// A time without an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pause {
    /// The last event before it.
    pub since: KtimeNs,
    /// The first event after it.
    pub until: KtimeNs,
}

impl Pause {
    /// How long it was, in nanoseconds.
    #[must_use]
    pub fn length(&self) -> u64 {
        self.until.since(self.since)
    }
}

/// One place of the kernel that drops packets of a flow for one reason.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct DropSite {
    /// Direction of the packets.
    pub direction: Direction,
    /// The packet's device there, where it had one.
    pub device: Option<Device>,
    /// [`tracer_common::stats::short_reason`].
    pub reason: u16,
    /// [`tracer_common::stats::site`].
    pub site: u32,
}

impl DropSite {
    /// That of a drop's event; `None` for others.
    #[must_use]
    pub fn of(direction: Direction, event: &Event) -> Option<Self> {
        let Detail::Drop(info) = &event.detail else {
            return None;
        };
        Some(Self {
            direction,
            device: event.device,
            reason: short_reason(info.reason_code),
            site: info.site,
        })
    }
}

/// The highest acknowledgement numbers of one direction of a TCP connection, each with the time of the last segment
/// that had it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Acked {
    /// In a segment that was sent: its sender has all before this.
    pub sent: Option<(u32, KtimeNs)>,
    /// In a segment that arrived: its receiver knows it.
    pub arrived: Option<(u32, KtimeNs)>,
}

impl Acked {
    /// Sequence numbers so far ahead are behind (RFC 793 arithmetic, half the windows that TCP allows).
    const AHEAD: u32 = 1 << 30;

    /// Whether all before `end` was acknowledged after a time.
    #[must_use]
    pub fn covers(number: Option<(u32, KtimeNs)>, end: u32, after: KtimeNs) -> bool {
        number.is_some_and(|(number, at)| at > after && Self::reaches(number, end))
    }

    /// Whether a number acknowledges all before `end`.
    #[must_use]
    pub const fn reaches(number: u32, end: u32) -> bool {
        number.wrapping_sub(end) < Self::AHEAD
    }

    /// Takes a segment's number in.
    pub fn note(&mut self, number: u32, at: KtimeNs, arrived: bool) {
        let raise = |known: &mut Option<(u32, KtimeNs)>| {
            let older = |(other, seen): (u32, KtimeNs)| {
                number == other && at > seen
                    || number != other && number.wrapping_sub(other) < 1 << 31
            };
            if known.is_none_or(older) {
                *known = Some((number, at));
            }
        };
        raise(&mut self.sent);
        if arrived {
            raise(&mut self.arrived);
        }
    }

    /// Takes in what another one noted.
    pub fn absorb(&mut self, other: &Self) {
        if let Some((number, at)) = other.sent {
            self.note(number, at, false);
        }
        if let Some((number, at)) = other.arrived {
            self.note(number, at, true);
        }
    }
}

/// How many journeys ended how.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FateCounts {
    /// [`Fate::InFlight`].
    pub in_flight: u64,
    /// [`Fate::Delivered`].
    pub delivered: u64,
    /// [`Fate::Dropped`].
    pub dropped: u64,
    /// [`Fate::Left`].
    pub left: u64,
    /// [`Fate::Vanished`].
    pub vanished: u64,
    /// [`Fate::Consumed`].
    pub consumed: u64,
}

impl std::ops::AddAssign for FateCounts {
    fn add_assign(&mut self, more: Self) {
        let Self {
            in_flight,
            delivered,
            dropped,
            left,
            vanished,
            consumed,
        } = more;
        self.in_flight += in_flight;
        self.delivered += delivered;
        self.dropped += dropped;
        self.left += left;
        self.vanished += vanished;
        self.consumed += consumed;
    }
}

impl Flow {
    /// The tuple that was asked for.
    #[must_use]
    pub fn asked(&self) -> Option<Tuple> {
        self.tuples.first().map(|(_, t)| *t)
    }

    /// The hops of a direction; errors are seen beside the way there.
    #[must_use]
    pub const fn path(&self, direction: Direction) -> &Path {
        match direction {
            Direction::Reply => &self.reply,
            Direction::Forward | Direction::Error => &self.forward,
        }
    }
}

/// `src` or `dst` of a [`tracer_common::tuple::RawTuple`] as an address; `None` for an unknown family.
#[must_use]
pub fn raw_address(words: [u32; 4], family: u8) -> Option<IpAddr> {
    let mut bytes = [0u8; 16];
    for (chunk, word) in bytes.as_chunks_mut().0.iter_mut().zip(words) {
        *chunk = word.to_ne_bytes();
    }
    match family {
        FAMILY_V4 => {
            let [a, b, c, d, ..] = bytes;
            Some(IpAddr::V4(Ipv4Addr::new(a, b, c, d)))
        }
        FAMILY_V6 => Some(IpAddr::V6(Ipv6Addr::from(bytes))),
        _ => None,
    }
}

/// The reverse of [`raw_address`].
#[must_use]
pub fn address_words(address: IpAddr) -> [u32; 4] {
    let mut bytes = [0u8; 16];
    match address {
        IpAddr::V4(v4) => {
            for (to, from) in bytes.iter_mut().zip(v4.octets()) {
                *to = from;
            }
        }
        IpAddr::V6(v6) => bytes = v6.octets(),
    }
    let mut words = [0u32; 4];
    for (word, chunk) in words.iter_mut().zip(bytes.as_chunks().0) {
        *word = u32::from_ne_bytes(*chunk);
    }
    words
}
