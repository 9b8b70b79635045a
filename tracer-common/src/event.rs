//! The record that the ring buffer carries: one fixed header, then captured packet bytes, then (drops
//! only) stack addresses.
//!
//! ```text
//! | RawEvent (256 bytes) | packet bytes: `caplen` of `cap_reserved` | stack: `stack_len` × u64 |
//! ```
//! The space for packet bytes is always `cap_reserved` long (the `--snaplen` of the run, rounded up to 8),
//! so the stack begins at `256 + cap_reserved`. Fields that a hook does not know are zero.
//!
//! What the hooks put into the shared fields ([`crate::hook::HOOKS`] declares what kind of value each of `arg0` and `arg1` is):
//!
//! | hooks | `arg0` | `arg1` | others |
//! |---|---|---|---|
//! | `net_dev_xmit` | rc (as i64) | | sent only when rc is not 0; the skb may be gone: no bytes |
//! | `neigh_*` | nud_state | new state of an update; err or rc (as i64) of the timer and of sending | `tuple.dst` the entry's address; bytes: ha (8), new lladdr (8) |
//! | `fib_table_lookup`, `fib6_…` | table | err (as i64, as given) | `tuple` the flow; `ifindex` oif, `skb_iif` iif, `mark`; `sk_netns` the running task's namespace; `sk_tuple.dst` the gateway |
//! | `kfree_skb` | | id of the socket's cgroup | |
//! | `icmp_send` | type | code | the packet that the error is about |
//! | `tcp_send_reset` | | | `reason`; `skb` may be zero |
//! | `tcp_retransmit_skb` | err (as i64) where given | | `tcp_retransmit_synack` has no skb |
//! | `sk_data_ready`, `tcp_probe` | | | `sk_*`; FLAG_BY_SOCKET where there is no skb |
//! | `sock_recv_length` | length (as i64) | | `sk_*`, `pid`, `comm` |
//! | `skb_copy_datagram_iovec` | length | | `pid`, `comm` |
//! | `udp_fail_queue_rcv_skb` | rc (as i64) | | |
//! | `inet_sk_error_report` | sk_err | | `sk_*` |
//! | `xdp_exception` | action | | `ifindex` |
//! | `ovs_do_execute_action` | its type; above it [`LAST_ACTION`] | first word of its value: a port, a table of conntrack … | |
//! | `ovs_dp_upcall` | command, zero where its place is not known | | |

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use crate::tuple::RawTuple;

/// Most stack frames that a drop carries.
pub const MAX_STACK: usize = 20;
/// Largest `--snaplen`.
pub const MAX_SNAPLEN: u16 = 1024;

/// Bit of `arg0` of `ovs_do_execute_action`: the last action of its list.
pub const LAST_ACTION: u64 = 1 << 16;

/// The tuple of this packet is one that was asked for, in the asked direction.
pub const FLAG_MATCH_FORWARD: u32 = 1 << 0;
/// The tuple matches with source and destination exchanged.
pub const FLAG_MATCH_REPLY: u32 = 1 << 1;
/// The tuple was learned from a packet that was followed through a rewrite (NAT).
pub const FLAG_MATCH_LEARNED: u32 = 1 << 2;
/// The skb was tagged at an earlier hook and its fingerprint is unchanged.
pub const FLAG_TAGGED: u32 = 1 << 3;
/// The match was found in the headers below the outermost IP header (tunnel).
pub const FLAG_MATCH_INNER: u32 = 1 << 4;
/// The match was found in the packet quoted inside an ICMP error.
pub const FLAG_MATCH_QUOTED: u32 = 1 << 5;
/// An ARP or ND message about an address of the filter, not itself asked for.
pub const FLAG_NEIGHBOR_AUX: u32 = 1 << 6;
/// skb->cloned is set: another skb may share its data.
pub const FLAG_CLONED: u32 = 1 << 7;
/// Matched by the socket's tuple or by nearness on the CPU: `skb` is not known to be this packet.
pub const FLAG_BY_SOCKET: u32 = 1 << 8;

/// Matched by what conntrack says that the packet was before translation, or sent by a socket of this host and translated
/// before it was seen: `sk_tuple` is what it was, not the socket's.
pub const FLAG_MATCH_ORIGINAL: u32 = 1 << 9;

/// dst->error was read (it may be zero). Bit of [`RawEvent::known`].
pub const KNOWN_DST: u32 = 1 << 0;
/// `dev_state`, `dev_flags`, `mtu` and `qdisc` were read from the packet's device.
pub const KNOWN_DEV: u32 = 1 << 1;
/// `ct_status` was read from a conntrack entry; without it `ct_info` tells whether there was one.
pub const KNOWN_CT: u32 = 1 << 2;
/// `sk_*` fields were read.
pub const KNOWN_SK: u32 = 1 << 3;

/// One observation. All integers are in host order unless a field says otherwise.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct RawEvent {
    /// bpf_ktime_get_ns.
    pub ktime_ns: u64,
    /// Address of the struct sk_buff; zero where there is none.
    pub skb: u64,
    /// skb->head, which clones share.
    pub head: u64,
    /// See [`crate::fingerprint`]; zero where no IP packet was found.
    pub fingerprint: u64,
    /// Address of the socket: rx_sk or the tracepoint's own where given, else skb->sk.
    pub sk: u64,
    /// kfree_skb, consume_skb: the freeing function.
    pub location: u64,
    /// The hook's own first value, as its tracepoint gives it (see `decode`): icmp type, FIB table, rc, len…
    pub arg0: u64,
    /// The hook's own second value.
    pub arg1: u64,

    /// Inode of the packet's device's network namespace; zero where the skb has no device.
    pub netns: u32,
    /// Its interface.
    pub ifindex: u32,
    /// Inode of the socket's network namespace.
    pub sk_netns: u32,
    /// skb->skb_iif.
    pub skb_iif: u32,
    /// skb->len, all of the packet from `data`.
    pub len: u32,
    /// kfree_skb's or tcp_send_reset's reason, with its subsystem in the upper 16 bits.
    pub reason: u32,
    /// skb->mark.
    pub mark: u32,
    /// FLAG_*.
    pub flags: u32,

    /// KNOWN_*.
    pub known: u32,
    /// dst->error: positive or negative errno as the kernel has it.
    pub dst_error: i32,
    /// net_device.state: bit 2 (`__LINK_STATE_NOCARRIER`) tells no carrier.
    pub dev_state: u32,
    /// net_device.flags: IFF_UP is bit 0.
    pub dev_flags: u32,
    /// net_device.mtu in bytes.
    pub mtu: u32,
    /// nf_conn.status.
    pub ct_status: u32,
    /// Low three bits of skb->_nfct, plus 8 when a conntrack entry is attached.
    pub ct_info: u32,
    /// Process that was running (bpf_get_current_pid_tgid >> 32): the true one only in system calls.
    pub pid: u32,

    /// Tuple of the innermost header that was followed.
    pub tuple: RawTuple,

    /// The socket's own tuple: `src` is the local end.
    pub sk_tuple: RawTuple,

    /// Name of the running process, zero padded.
    pub comm: [u8; 16],
    /// struct Qdisc_ops.id of the device's root qdisc, zero padded.
    pub qdisc: [u8; 12],
    /// skb->protocol as the wire has it, in host order (0x0800, 0x86dd, 0x0806 …).
    pub protocol: u16,
    /// gso_size in bytes; zero for a packet that is one frame.
    pub gso_size: u16,

    /// CPU.
    pub cpu: u16,
    /// Bytes captured.
    pub caplen: u16,
    /// Space kept for them.
    pub cap_reserved: u16,
    /// gso_segs.
    pub gso_segs: u16,
    /// See [`crate::hook`].
    pub hook: u8,
    /// skb->pkt_type: 0 host, 1 broadcast, 2 multicast, 3 otherhost, 4 outgoing, 5 the own copy of what is
    /// sent to many.
    pub pkt_type: u8,
    /// Offset of the outermost network header in the captured bytes: 14 after an Ethernet header, 0 without.
    pub l3_offset: u8,
    /// Frames that follow.
    pub stack_len: u8,
    /// sk->sk_state.
    pub sk_state: u8,
    /// sk->sk_protocol.
    pub sk_proto: u8,
    /// Zero.
    pub pad: [u8; 2],
}

/// Size of the header.
pub const RAW_EVENT_SIZE: usize = size_of::<RawEvent>();
const _: () = assert!(RAW_EVENT_SIZE == 256);
