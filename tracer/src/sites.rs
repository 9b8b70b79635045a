//! Places of the kernel where packets are freed, each under one name: by the drop reason, the freeing function and its
//! callers. Both the question "is this a loss at all?" and the diagnosis look at them.
//!
//! Names, never numbers or depths of stacks: reasons differ from kernel to kernel, and functions are inlined. Kernels
//! before 5.17 give no reason, so a place that has one is also known by its functions.

use crate::model::DropInfo;

/// A place of the kernel.
#[derive(Debug)]
pub struct Site {
    /// Its name here.
    pub name: &'static str,
    /// What happens there.
    pub what: &'static str,
    /// How it shows: one of these fits.
    signs: &'static [Sign],
}

/// One way in which a place shows. Empty lists hold always.
#[derive(Debug)]
struct Sign {
    /// Drop reasons without their prefix; [`UNNAMED`] where the kernel says nothing.
    reasons: &'static [&'static str],
    /// Freeing functions; a `*` at the end stands for anything.
    functions: &'static [&'static str],
    /// Functions of which one is among the callers, or frees itself.
    callers: &'static [&'static str],
}

/// Functions that look for the tunnel device of an outer packet by its ends and key, and free it where there is none.
pub const BY_ENDS: [&str; 7] = [
    "gre_rcv",
    "tunnel4_rcv",
    "tunnel64_rcv",
    "tunnel6_rcv",
    "tunnel46_rcv",
    "geneve_rx",
    "geneve_udp_encap_recv",
];

/// `NOT_SPECIFIED`, or no reason at all.
const UNNAMED: &str = "NOT_SPECIFIED";
/// A kernel that gives no reasons (before 5.17).
const NO_REASONS: &str = "";

/// Where UDP frees what its socket does not take: for its filter, its checksum, or want of room.
const UDP_QUEUE: [&str; 2] = ["udp_queue_rcv_one_skb", "udpv6_queue_rcv_one_skb"];
/// Where input finds the protocol that takes a packet.
const DELIVERY: [&str; 4] = [
    "ip_protocol_deliver_rcu",
    "ip_local_deliver_finish",
    "ip6_protocol_deliver_rcu",
    "ip6_input_finish",
];
/// Where routing frees what came in and is refused.
pub const ROUTED_INPUT: [&str; 2] = ["ip_rcv_finish_core", "ip_rcv_finish"];
/// What runs when the time for the fragments of a packet is up.
const EXPIRE: [&str; 4] = [
    "ip_expire",
    "ip6_frag_expire",
    "ip6frag_expire_frag_queue",
    "nf_ct_frag6_expire",
];
/// Where VXLAN frees what it has no device for; it names the reason from 6.12 on.
pub const VXLAN_INPUT: &str = "vxlan_rcv";
/// Where tc's programs and actions end what comes in and what goes out.
pub const TC_INGRESS: &str = "__netif_receive_skb_core";
/// See [`TC_INGRESS`].
pub const TC_EGRESS: &str = "__dev_queue_xmit";

const fn reasons(reasons: &'static [&'static str]) -> Sign {
    Sign {
        reasons,
        functions: &[],
        callers: &[],
    }
}

const fn functions(functions: &'static [&'static str]) -> Sign {
    Sign {
        reasons: &[],
        functions,
        callers: &[],
    }
}

const fn unnamed(functions: &'static [&'static str]) -> Sign {
    Sign {
        reasons: &[UNNAMED],
        functions,
        callers: &[],
    }
}

const fn callers(callers: &'static [&'static str]) -> Sign {
    Sign {
        reasons: &[],
        functions: &[],
        callers,
    }
}

const fn at(reasons: &'static [&'static str], functions: &'static [&'static str]) -> Sign {
    Sign {
        reasons,
        functions,
        callers: &[],
    }
}

macro_rules! sites {
    ($($name:ident: $what:literal, [$($sign:expr),* $(,)?];)*) => {
        $(#[doc = $what] pub static $name: Site = Site {
            name: stringify!($name),
            what: $what,
            signs: &[$($sign),*],
        };)*
        /// Every site.
        pub static SITES: &[&Site] = &[$(&$name),*];
    };
}

sites! {
    ANYWHERE: "wherever the kernel frees a packet", [reasons(&[])];
    UNFIT: "a segment whose flags do not fit the state of the socket to which it came (tcp_rcv_state_process), which older kernels do not name (6.1)", [
        reasons(&["TCP_FLAGS"]),
        unnamed(&["tcp_v4_do_rcv", "tcp_v6_do_rcv"]),
    ];
    FILTERED: "a packet filter's verdict ends a packet's way: nf_tables frees in its chain walker, everything else in nf_hook_slow", [
        reasons(&["NETFILTER_DROP"]),
        at(&[NO_REASONS], &["nf_hook_slow", "nft_do_chain*"]),
    ];
    QUEUED: "NFQUEUE: handed to a process that is not there, or back from one that refused (nf_queue, nf_reinject)", [
        functions(&["nf_queue", "nf_reinject", "nfqnl_reinject"]),
    ];
    ROUTE_REFUSED: "a route, or its absence, discards: the dst handlers of net/ipv4/route.c, net/ipv6/route.c and net/core/dst.c", [
        functions(&[
            "ip_error",
            "ip6_pkt_discard",
            "ip6_pkt_discard_out",
            "ip6_pkt_prohibit",
            "ip6_pkt_prohibit_out",
            "ip6_pkt_drop",
            "dst_discard",
            "dst_discard_out",
        ]),
        reasons(&["IP_INNOROUTES"]),
    ];
    NOT_OURS: "not for this namespace, which may not pass it on (ip_error after fib_validate, ip6_forward)", [
        at(&["IP_INADDRERRORS", UNNAMED], &["ip_error", "ip6_forward", "ip6_input"]),
    ];
    FORWARD_LIMIT: "the forwarding path finds the TTL used up (ip_forward, ip6_forward)", [
        at(&["IP_INHDR", UNNAMED], &["ip_forward", "ip6_forward"]),
    ];
    RP_FILTERED: "the reverse-path filter refuses the source (fib_validate_source), which kernels before 5.18 do not name", [
        reasons(&["IP_RPFILTER"]),
        unnamed(&ROUTED_INPUT),
    ];
    MARTIAN: "an address that is impossible here (ip_route_input_slow), which kernels before 6.14 do not name", [
        unnamed(&ROUTED_INPUT),
        reasons(&["IP_LOCAL_SOURCE", "IP_LOCALNET", "IP_INVALID_SOURCE", "IP_INVALID_DEST"]),
    ];
    TOO_BIG: "larger than the next link takes (ip_forward, ip6_forward, ip_fragment)", [
        reasons(&["PKT_TOO_BIG"]),
        unnamed(&["ip_fragment", "ip6_fragment", "ip_forward", "ip6_forward"]),
    ];
    NEIGHBOR_QUEUE: "it waited for a neighbour (neigh_invalidate, __neigh_event_send): IPv6 gives no reason here (6.18), older kernels none at all", [
        reasons(&["NEIGH_FAILED", "NEIGH_QUEUEFULL", "NEIGH_CREATEFAIL", "NEIGH_DEAD"]),
        callers(&["neigh_invalidate"]),
        functions(&["__neigh_event_send"]),
    ];
    TRANSMIT: "the device could not send it (__dev_queue_xmit)", [
        functions(&["__dev_queue_xmit"]),
    ];
    TC_TAKEN: "a tc action took it over: what it redirects goes on as a clone (sch_handle_ingress, sch_handle_egress)", [
        functions(&[
            "__dev_queue_xmit",
            "sch_handle_egress",
            "__netif_receive_skb_core",
            "sch_handle_ingress",
        ]),
    ];
    REDIRECT: "a tc program or action handed it to another device (skb_do_redirect, __bpf_redirect)", [
        callers(&["skb_do_redirect", "__bpf_redirect"]),
    ];
    PEER: "the other end of a veth does not take it", [
        functions(&["__dev_forward_skb2", "__dev_forward_skb", "____dev_forward_skb", "veth_xmit"]),
    ];
    QUEUEING: "a queueing discipline has no room, or shapes", [
        reasons(&[
            "QDISC_DROP",
            "QDISC_OVERLIMIT",
            "QDISC_CONGESTED",
            "QDISC_EDT_HORIZON",
            "CAKE_FLOOD",
            "FQ_BAND_LIMIT",
            "FQ_HORIZON_LIMIT",
            "FQ_FLOW_LIMIT",
        ]),
        at(&[NO_REASONS], &["__dev_queue_xmit"]),
    ];
    FRAGMENTS_EXPIRED: "fragments were missing until the time was up (ip_expire, ip6_frag_expire), which 6.1 and older do not name", [
        reasons(&["FRAG_REASM_TIMEOUT"]),
        unnamed(&EXPIRE),
        // the fragments behind the first; an error that is sent to their source and dropped has other functions
        Sign {
            reasons: &[UNNAMED],
            functions: &["inet_frag_rbtree_purge", "inet_frag_destroy"],
            callers: &EXPIRE,
        },
    ];
    RING: "a device's ring, or a CPU's backlog, is full", [
        reasons(&["FULL_RING", "DEV_HDR_FULL", "CPU_BACKLOG"]),
        at(&[NO_REASONS], &["tun_net_xmit"]),
    ];
    IPSEC: "an IPsec policy refuses it", [reasons(&["XFRM_POLICY"])];
    IPSEC_UNNAMED: "an IPsec policy may have refused it, where a kernel does not say so: forwarding before 6.2, all before 5.17", [
        unnamed(&["ip_forward", "ip6_forward"]),
        at(&[NO_REASONS], &DELIVERY),
        at(&[NO_REASONS], &["icmp_rcv", "icmpv6_rcv", "tcp_v4_rcv", "tcp_v6_rcv"]),
        at(&[NO_REASONS], &UDP_QUEUE),
    ];
    NO_PROTOCOL: "input of a protocol that nobody takes, on a kernel without reasons (before 5.17)", [
        at(&[NO_REASONS], &DELIVERY),
    ];
    OTHER_HOST: "the frame is for another MAC: OTHERHOST, or PACKET_OTHERHOST in ip_rcv_core before there were reasons", [
        reasons(&["OTHERHOST"]),
        unnamed(&["ip_rcv_core", "ip_rcv", "ip6_rcv_core", "ipv6_rcv"]),
    ];
    BRIDGE: "a bridge does not pass a frame on (net/bridge)", [
        functions(&["br_*", "__br_forward", "__allowed_ingress"]),
        reasons(&[
            "BRIDGE_INGRESS_STP_STATE",
            "BRIDGE_NON_FORWARDING_STATE",
            "BRIDGE_VLAN_INGRESS",
            "VLAN_FILTER",
            "MAC_IEEE_MAC_CONTROL",
            "MAC_INVALID_SOURCE",
        ]),
    ];
    VLAN_DEVICE: "a VLAN device does not take a frame (vlan_do_receive)", [functions(&["vlan_do_receive"])];
    TC: "a tc program or action refuses it (sch_handle_ingress, sch_handle_egress, both inlined)", [
        reasons(&["TC_INGRESS", "TC_EGRESS"]),
        at(&[NO_REASONS], &[TC_INGRESS, TC_EGRESS]),
    ];
    XDP: "an XDP program refuses it", [
        functions(&[
            "do_xdp_generic",
            "netif_receive_generic_xdp",
            "veth_xdp_rcv_skb",
            "veth_xdp_rcv_one",
        ]),
        // veth_xdp_rcv_skb inlined (5.10)
        at(&[NO_REASONS], &["veth_poll", "veth_xdp_rcv"]),
        reasons(&["XDP", "XDP_DROP"]),
    ];
    CGROUP_EGRESS: "a cgroup's egress program refuses it", [reasons(&["BPF_CGROUP_EGRESS"])];
    SOCKET_FILTER: "a socket's filter, or its cgroup's ingress program, refuses it (sk_filter_trim_cap)", [
        reasons(&["SOCKET_FILTER"]),
        at(&[NO_REASONS], &UDP_QUEUE),
        at(&[NO_REASONS], &["tcp_v4_rcv", "tcp_v6_rcv"]),
    ];
    UDP_INPUT: "a socket's input of datagrams, on a kernel without reasons (udp_queue_rcv_one_skb, before 5.17)", [
        at(&[NO_REASONS], &UDP_QUEUE),
    ];
    NO_SOCKET: "no socket takes it", [
        reasons(&["NO_SOCKET"]),
        at(&[NO_REASONS], &[
            "__udp4_lib_rcv",
            "__udp6_lib_rcv",
            "udp_rcv",
            "udpv6_rcv",
            "tcp_v4_rcv",
            "tcp_v6_rcv",
            "udp_unicast_rcv_skb",
            "sctp_rcv",
            "dccp_v4_rcv",
        ]),
    ];
    ECHO_V6: "an ICMPv6 message ends (icmpv6_rcv)", [unnamed(&["icmpv6_rcv"])];
    ECHO_V4: "an ICMP message of no use ends (icmp_rcv)", [at(&["INVALID_PROTO"], &["icmp_rcv"])];
    CLOSING: "a segment for a connection that closes or opens (tcp_v4_rcv, tcp_v6_rcv)", [
        unnamed(&["tcp_v4_rcv", "tcp_v6_rcv"]),
    ];
    SOCKET_QUEUE: "a socket's queue or buffer is full", [
        reasons(&["SOCKET_RCVBUFF", "SOCKET_BACKLOG", "PROTO_MEM", "UDP_RCVBUFF", "TCP_LISTEN_OVERFLOW"]),
        at(&[NO_REASONS], &UDP_QUEUE),
    ];
    TUN_INPUT: "a TUN device that is down gets a packet from its process (tun_get_user)", [
        at(&["DEV_READY", UNNAMED, NO_REASONS], &["tun_get_user"]),
    ];
    TUNNEL_INPUT: "decapsulation finds no tunnel: no VNI, no such ends or key, or nobody at the UDP port", [
        reasons(&["VXLAN_VNI_NOT_FOUND"]),
        unnamed(&[VXLAN_INPUT]),
        at(&["NO_SOCKET", UNNAMED], &["__udp4_lib_rcv", "__udp6_lib_rcv", "udp_rcv", "udpv6_rcv"]),
        unnamed(&BY_ENDS),
    ];
    TUNNEL_OUTPUT: "a tunnel has no remote end, or no route there", [
        reasons(&["VXLAN_ENTRY_EXISTS", "VXLAN_NO_REMOTE"]),
        functions(&["vxlan_xmit*", "geneve_xmit"]),
    ];
    WIREGUARD_OUTPUT: "a WireGuard device has no peer for it, or no endpoint of that peer (wg_xmit)", [functions(&["wg_xmit"])];
    TUNNEL_SOURCE: "a tunnel gets a frame with its own source MAC (vxlan_set_mac)", [
        reasons(&["LOCAL_MAC"]),
        unnamed(&[VXLAN_INPUT]),
    ];
    OPENVSWITCH: "Open vSwitch ends a packet's way: a flow without an output, or no flow and nobody to ask (net/openvswitch)", [
        functions(&[
            "ovs_*",
            "do_execute_actions",
            "clone_execute",
            "execute_recirc",
            "process_deferred_actions",
            "do_output",
            "internal_dev_recv",
            "netdev_port_receive",
            "netdev_frame_hook",
        ]),
    ];
    SWITCH_PORT_DOWN: "a port of Open vSwitch that is down gets a copy (do_output, inlined; internal_dev_recv): normal where it is one of many", [
        at(&["DEV_READY"], &["do_execute_actions", "do_output"]),
        // do_output is inlined before it has a reason, too (6.1)
        unnamed(&["internal_dev_recv", "do_output", "do_execute_actions"]),
    ];
    TO_MANY: "a multicast or broadcast that nobody takes", [
        unnamed(&[
            "ip_rcv_finish_core",
            "ip_rcv_finish",
            "ip_mr_input",
            "ip6_mc_input",
            "ip6_mr_input",
            "udp_rcv",
            "__udp4_lib_rcv",
            "__udp6_lib_rcv",
            "__udp4_lib_mcast_deliver",
            "__udp6_lib_mcast_deliver",
        ]),
    ];
    PURGED: "a socket purges its queues", [reasons(&["QUEUE_PURGE"])];
    PURGED_BY_SOCKET: "a socket purges its queues, on kernels before QUEUE_PURGE (6.8)", [functions(&["skb_queue_purge", "skb_queue_purge_reason", "skb_rbtree_purge", "inet_sock_destruct", "sk_stream_kill_queues", "tcp_write_queue_purge", "tcp_v4_destroy_sock", "unix_release_sock", "udp_destruct_common", "udp_destruct_sock", "udpv6_destruct_sock"])];
    NO_DROP: "freed without being a drop", [reasons(&["NOT_DROPPED_YET", "CONSUMED"])];
    PIECES: "the pieces of a reassembled packet", [unnamed(&["skb_release_data"])];
    TAP: "a packet socket refuses its copy (packet_rcv)", [functions(&["packet_rcv", "packet_rcv_spkt", "tpacket_rcv", "packet_release"])];
    PING_REPLY: "an echo reply that no ping socket takes (ping_rcv)", [at(&["NO_SOCKET", UNNAMED], &["ping_rcv"])];
    SYN_AT_TCP: "TCP input of a kernel without reasons (before 5.17)", [at(&[NO_REASONS], &["tcp_v4_rcv", "tcp_v6_rcv"])];
    PING_REPLY_AT_ICMP: "ICMP input that says nothing, or of which no ping socket took a reply (icmp_rcv, icmpv6_rcv)", [at(&["NO_SOCKET", UNNAMED], &["icmp_rcv", "icmpv6_rcv"])];
    FRAME_OF_OTHERS: "a frame for another MAC", [reasons(&["OTHERHOST"])];
    NO_ADDRESS_HERE: "a packet for no address of this namespace (ip_error)", [at(&["IP_INADDRERRORS", UNNAMED], &["ip_error"])];
    FRAME_OF_OTHERS_UNNAMED: "a frame for another MAC, before OTHERHOST existed (5.17)", [unnamed(&["ip_rcv_core", "ip6_rcv_core", "ip_rcv", "ipv6_rcv"])];
    RESET_AT_TCP: "TCP input that finds no socket, or one that closes", [at(&[UNNAMED, "NO_SOCKET"], &["tcp_v4_rcv", "tcp_v6_rcv"])];
    TCP_INPUT: "TCP input that says nothing (tcp_v4_rcv, tcp_v6_rcv)", [unnamed(&["tcp_v4_rcv", "tcp_v6_rcv"])];
    TCP_STATE: "a connection that opens or closes (tcp_rcv_state_process)", [unnamed(&["tcp_rcv_state_process"])];
    TCP_RESET: "a reset that TCP takes", [reasons(&["TCP_RESET"])];
    TCP_CLOSED_BY_PROCESS: "data for a connection whose process has closed it", [reasons(&["TCP_ABORT_ON_DATA"])];
    TCP_ALREADY_HERE: "a segment that had arrived before", [reasons(&["TCP_OLD_DATA", "TCP_OLD_SEQUENCE", "TCP_OLD_ACK"])];
    GROUP_CONTROL: "multicast input that this stack does not need", [at(&[UNNAMED, "IP_INADDRERRORS"], &["ip_rcv_finish_core", "ip_mc_input", "ip6_mc_input", "stp_pdu_rcv"])];
    ICMPV6_INPUT: "ICMPv6 input that says nothing (icmpv6_rcv)", [unnamed(&["icmpv6_rcv"])];
    IPV6_OFF: "IPv6 output on a link where it is off", [at(&["IPV6DISABLED"], &["ip6_output"])];
    OWN_COPY: "input of a copy that loops back to its sender (dev_loopback_xmit)", [functions(&["udp_rcv", "__udp4_lib_rcv", "__udp4_lib_mcast_deliver", "__udp6_lib_rcv", "__udp6_lib_mcast_deliver", "icmp_rcv", "ip6_mc_input", "ip_mr_input"])];
    TAP_READ: "a packet socket is done with its copy", [functions(&["packet_rcv", "tpacket_rcv", "packet_recvmsg", "packet_rcv_spkt"])];
    NEIGHBOR_CLONE: "the neighbour code looks at a clone", [functions(&["__neigh_event_send", "neigh_probe", "arp_solicit", "ndisc_solicit"])];
    PIECES_READ: "the data of a datagram is freed", [functions(&["skb_release_data"])];
    RAW_READ: "a raw socket is read", [functions(&["raw_recvmsg", "rawv6_recvmsg"])];
    REPLACED: "the packet goes on in other buffers: segments, fragments, a new head", [functions(&["ip_do_fragment", "ip6_fragment", "ip_fragment", "validate_xmit_skb", "validate_xmit_skb_list", "skb_pp_cow_data", "veth_convert_skb_to_xdp_buff", "inet_frag_reasm_prepare", "inet_frag_reasm_finish", "netif_skb_check_for_xdp", "skb_expand_head"])];
    ECHO_INPUT: "ICMP input that answers echo requests", [functions(&["icmp_rcv", "icmpv6_rcv", "icmpv6_echo_reply"])];
    ICMP_INPUT: "ICMP input", [functions(&["icmp_rcv", "icmpv6_rcv"])];
    TCP_ANSWERED: "TCP input that answers a SYN", [functions(&["tcp_rcv_state_process", "tcp_v4_do_rcv", "tcp_v6_do_rcv", "tcp_v4_rcv", "tcp_v6_rcv"])];
    ARP_ANSWERED: "ARP input that answers requests", [functions(&["arp_process", "arp_rcv"])];
    ARP_INPUT: "ARP input", [functions(&["arp_process"])];
    READ: "a socket's reader is done with a packet", [functions(&["skb_defer_free_flush", "skb_attempt_defer_free", "skb_consume_udp", "udp_recvmsg", "udpv6_recvmsg", "ping_recvmsg", "__skb_free_datagram_locked", "skb_free_datagram", "tcp_eat_recv_skb", "tcp_recvmsg_locked", "tcp_rcv_established", "tcp_data_queue", "sctp_recvmsg"])];
}

impl Site {
    /// Whether a function that ends packets normally (`consume_skb`) is the one of this place.
    #[must_use]
    pub fn frees(&self, function: &str) -> bool {
        self.signs
            .iter()
            .any(|sign| sign.functions.iter().any(|wanted| fits(wanted, function)))
    }

    /// Whether a packet was freed here.
    #[must_use]
    pub fn is(&self, info: &DropInfo) -> bool {
        self.signs.iter().any(|sign| sign.shows(info))
    }
}

impl Sign {
    fn shows(&self, info: &DropInfo) -> bool {
        let reason = |wanted: &&str| match (&info.reason, *wanted) {
            (None, UNNAMED | NO_REASONS) => true,
            (None, _) => false,
            (Some(name), wanted) => name == wanted,
        };
        let function = info.function.as_deref().unwrap_or("");
        let called = |wanted: &str| {
            let frames = info.stack.iter().filter_map(|f| f.name.as_deref());
            function == wanted || frames.into_iter().any(|name| name == wanted)
        };
        (self.reasons.is_empty() || self.reasons.iter().any(reason))
            && (self.functions.is_empty() || self.functions.iter().any(|f| fits(f, function)))
            && (self.callers.is_empty() || self.callers.iter().any(|c| called(c)))
    }
}

/// Whether a name is the wanted one; `*` at the end of that stands for anything.
fn fits(wanted: &str, name: &str) -> bool {
    match wanted.strip_suffix('*') {
        Some(start) => name.starts_with(start),
        None => name == wanted,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn drop(reason: Option<&str>, function: &str) -> DropInfo {
        DropInfo {
            reason: reason.map(str::to_owned),
            function: Some(function.to_owned()),
            ..DropInfo::default()
        }
    }

    #[test]
    fn a_place_is_known_by_its_reason_or_by_its_function() {
        assert!(FILTERED.is(&drop(Some("NETFILTER_DROP"), "nft_do_chain")));
        assert!(FILTERED.is(&drop(None, "nft_do_chain_inet")));
        // With reasons, nf_hook_slow alone says nothing.
        assert!(!FILTERED.is(&drop(Some("NOT_SPECIFIED"), "nf_hook_slow")));
        assert!(NEIGHBOR_QUEUE.is(&drop(Some("NEIGH_DEAD"), "x")));
        assert!(!NEIGHBOR_QUEUE.is(&drop(Some("NO_SOCKET"), "x")));
    }

    #[test]
    fn names_stand_once() {
        for (n, site) in SITES.iter().enumerate() {
            let again = SITES
                .iter()
                .skip(n + 1)
                .any(|other| other.name == site.name);
            assert!(!again, "{} stands twice", site.name);
        }
    }
}
