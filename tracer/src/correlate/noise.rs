//! Ends of buffers that are not ends of packets: what a healthy path frees, and what that says.
//!
//! Two tables, one for `kfree_skb` and one for `consume_skb`. A row names functions (and reasons) as the kernel has
//! them; each gives its reason in words. What no row names is a real drop, or an end that tells nothing.

use crate::model::{Detail, Direction, DropInfo, Event};

use super::kind::{
    always, for_other_host, is_broadcast_frame, is_closing, is_echo_request, is_fragment,
    is_group_control, is_neighbor_request, is_own_copy, is_reset, is_syn, is_unsolicited,
};

/// What a freed buffer says of its packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Meaning {
    /// The packet was lost here.
    Lost,
    /// Nothing: the buffer was a copy, or its packet was over before.
    Nothing,
    /// The packet had reached its receiver.
    Arrived,
    /// A flooded copy that this port is not the addressee of: a loss only when no other copy was taken.
    Copy,
    /// It came to the code that answers it: arrived when the answer was built just before.
    Answers,
    /// It goes on in other buffers (segments, fragments, a new head).
    GoesOn,
    /// It ended normally, at a place that tells nothing more.
    Ended,
}

/// A row: all given conditions hold. Empty lists hold always.
struct Row {
    reasons: &'static [&'static str],
    functions: &'static [&'static str],
    when: fn(&Event) -> bool,
    meaning: Meaning,
    #[expect(dead_code, reason = "for those who read the table")]
    why: &'static str,
}

/// Ends of `kfree_skb` that are noise (Linux 6.18 where nothing else is said). The first row that fits counts.
const DROPS: &[Row] = &[
    Row {
        reasons: &["QUEUE_PURGE"],
        functions: &[],
        when: always,
        meaning: Meaning::Nothing,
        why: "a closing socket frees its queues",
    },
    Row {
        reasons: &[],
        functions: &[
            "skb_queue_purge",
            "skb_queue_purge_reason",
            "skb_rbtree_purge",
            "inet_sock_destruct",
            "sk_stream_kill_queues",
            "tcp_write_queue_purge",
            "tcp_v4_destroy_sock",
            "unix_release_sock",
            "udp_destruct_common",
            "udp_destruct_sock",
            "udpv6_destruct_sock",
        ],
        when: always,
        meaning: Meaning::Nothing,
        why: "the same before QUEUE_PURGE existed (6.8)",
    },
    Row {
        reasons: &["NOT_DROPPED_YET", "CONSUMED"],
        functions: &[],
        when: always,
        meaning: Meaning::Nothing,
        why: "not a drop by the kernel's own word",
    },
    Row {
        reasons: &["NOT_SPECIFIED", ""],
        functions: &["skb_release_data"],
        when: always,
        meaning: Meaning::Nothing,
        why: "the pieces of a reassembled packet, freed with it",
    },
    Row {
        reasons: &[],
        functions: &[
            "packet_rcv",
            "packet_rcv_spkt",
            "tpacket_rcv",
            "packet_release",
        ],
        when: always,
        meaning: Meaning::Nothing,
        why: "a sniffer's copy",
    },
    Row {
        reasons: &["NO_SOCKET", "NOT_SPECIFIED"],
        functions: &["ping_rcv"],
        when: always,
        meaning: Meaning::Arrived,
        why: "the answer of every ping by a raw socket, which got a clone",
    },
    Row {
        reasons: &["OTHERHOST"],
        functions: &[],
        when: always,
        meaning: Meaning::Copy,
        why: "a flooded frame at a port it is not for",
    },
    Row {
        reasons: &["IP_INADDRERRORS", "NOT_SPECIFIED", ""],
        functions: &["ip_error"],
        when: is_broadcast_frame,
        meaning: Meaning::Copy,
        why: "a broadcast also comes to those who have no address of its network, as a bridge that only switches",
    },
    Row {
        reasons: &["NOT_SPECIFIED", ""],
        functions: &["ip_rcv_core", "ip6_rcv_core", "ip_rcv", "ipv6_rcv"],
        when: for_other_host,
        meaning: Meaning::Copy,
        why: "the same before OTHERHOST existed (5.17)",
    },
    Row {
        reasons: &["NOT_SPECIFIED", "NO_SOCKET", ""],
        functions: &["tcp_v4_rcv", "tcp_v6_rcv"],
        when: is_reset,
        meaning: Meaning::Arrived,
        why: "a reset that found its connection closing or gone",
    },
    Row {
        reasons: &["NOT_SPECIFIED", ""],
        functions: &["tcp_v4_rcv", "tcp_v6_rcv"],
        when: is_closing,
        meaning: Meaning::Arrived,
        why: "TIME_WAIT frees every segment it has answered",
    },
    Row {
        reasons: &["NOT_SPECIFIED", ""],
        functions: &["tcp_v4_rcv", "tcp_v6_rcv"],
        when: is_syn,
        meaning: Meaning::Answers,
        why: "a SYN sent again to a half-open connection, which sends its SYN-ACK again",
    },
    Row {
        reasons: &["NOT_SPECIFIED", ""],
        functions: &["tcp_rcv_state_process"],
        when: is_closing,
        meaning: Meaning::Arrived,
        why: "acknowledgements that a connection gets after the other end has closed its half",
    },
    Row {
        reasons: &["TCP_RESET"],
        functions: &[],
        when: is_reset,
        meaning: Meaning::Arrived,
        why: "a reset that did its work",
    },
    Row {
        reasons: &["TCP_ABORT_ON_DATA"],
        functions: &[],
        when: always,
        meaning: Meaning::Arrived,
        why: "data for a connection that its process has closed: it got as far as it could",
    },
    Row {
        reasons: &["TCP_OLD_DATA", "TCP_OLD_SEQUENCE", "TCP_OLD_ACK"],
        functions: &[],
        when: always,
        meaning: Meaning::Arrived,
        why: "retransmitted although it had arrived, or a window probe",
    },
    Row {
        reasons: &["NOT_SPECIFIED", "IP_INADDRERRORS", ""],
        functions: &[
            "ip_rcv_finish_core",
            "ip_mc_input",
            "ip6_mc_input",
            "stp_pdu_rcv",
        ],
        when: is_group_control,
        meaning: Meaning::Ended,
        why: "IGMP, MLD, router solicitations and spanning tree frames that this stack does not need",
    },
    Row {
        reasons: &["NOT_SPECIFIED"],
        functions: &["icmpv6_rcv"],
        when: is_unsolicited,
        meaning: Meaning::Ended,
        why: "duplicate address detection of others",
    },
    Row {
        reasons: &["IPV6DISABLED"],
        functions: &["ip6_output"],
        when: is_group_control,
        meaning: Meaning::Ended,
        why: "a multicast report on a link going down",
    },
    Row {
        reasons: &[],
        functions: &[
            "udp_rcv",
            "__udp4_lib_rcv",
            "__udp4_lib_mcast_deliver",
            "__udp6_lib_rcv",
            "__udp6_lib_mcast_deliver",
            "icmp_rcv",
            "ip6_mc_input",
            "ip_mr_input",
        ],
        when: is_own_copy,
        meaning: Meaning::Nothing,
        why: "the sender's own copy of what it sends to many (dev_loopback_xmit), which none of its sockets wants",
    },
];

/// Normal ends.
const ENDS: &[Row] = &[
    Row {
        reasons: &[],
        functions: &[
            "packet_rcv",
            "tpacket_rcv",
            "packet_recvmsg",
            "packet_rcv_spkt",
        ],
        when: always,
        meaning: Meaning::Nothing,
        why: "a sniffer's copy",
    },
    Row {
        reasons: &[],
        functions: &[
            "__neigh_event_send",
            "neigh_probe",
            "arp_solicit",
            "ndisc_solicit",
        ],
        when: always,
        meaning: Meaning::Nothing,
        why: "a clone that the neighbour code examines; the packet waits",
    },
    Row {
        reasons: &[],
        functions: &["skb_release_data"],
        when: is_fragment,
        meaning: Meaning::Arrived,
        why: "a fragment, freed with the reassembled datagram that its reader was done with",
    },
    Row {
        reasons: &[],
        functions: &["raw_recvmsg", "rawv6_recvmsg"],
        when: always,
        meaning: Meaning::Arrived,
        why: "a raw socket's copy was read",
    },
    Row {
        reasons: &[],
        functions: &[
            "ip_do_fragment",
            "ip6_fragment",
            "ip_fragment",
            "validate_xmit_skb",
            "validate_xmit_skb_list",
            "skb_pp_cow_data",
            "veth_convert_skb_to_xdp_buff",
            "inet_frag_reasm_prepare",
            "inet_frag_reasm_finish",
            "netif_skb_check_for_xdp",
            "skb_expand_head",
        ],
        when: always,
        meaning: Meaning::GoesOn,
        why: "its data goes on in other buffers",
    },
    Row {
        reasons: &[],
        functions: &["icmp_rcv", "icmpv6_rcv", "icmpv6_echo_reply"],
        when: is_echo_request,
        meaning: Meaning::Answers,
        why: "an answered echo request ends after its reply was queued; an ignored one too, without a reply",
    },
    Row {
        reasons: &[],
        functions: &["icmp_rcv", "icmpv6_rcv"],
        when: always,
        meaning: Meaning::Arrived,
        why: "the ICMP layer took it",
    },
    Row {
        reasons: &[],
        functions: &[
            "tcp_rcv_state_process",
            "tcp_v4_do_rcv",
            "tcp_v6_do_rcv",
            "tcp_v4_rcv",
            "tcp_v6_rcv",
        ],
        when: is_syn,
        meaning: Meaning::Answers,
        why: "a SYN ends after its SYN-ACK was queued; with a full queue too, without one",
    },
    Row {
        reasons: &[],
        functions: &["arp_process", "arp_rcv"],
        when: is_neighbor_request,
        meaning: Meaning::Answers,
        why: "an ARP request ends after its answer was queued; an ignored one too",
    },
    Row {
        reasons: &[],
        functions: &["arp_process"],
        when: always,
        meaning: Meaning::Arrived,
        why: "an ARP answer was taken in",
    },
    Row {
        reasons: &[],
        functions: &[
            "skb_defer_free_flush",
            "skb_attempt_defer_free",
            "skb_consume_udp",
            "udp_recvmsg",
            "udpv6_recvmsg",
            "ping_recvmsg",
            "__skb_free_datagram_locked",
            "skb_free_datagram",
            "tcp_eat_recv_skb",
            "tcp_recvmsg_locked",
            "tcp_rcv_established",
            "tcp_data_queue",
            "sctp_recvmsg",
        ],
        when: always,
        meaning: Meaning::Arrived,
        why: "a socket's reader is done with it",
    },
];

/// Buffers that never were packets: a route lookup over netlink (`ip route get`, and tracer's own) makes one to look
/// the route up with, and frees it (inet_rtm_getroute, net/ipv4/route.c).
pub(super) fn is_no_packet(event: &Event) -> bool {
    const QUESTIONS: [&str; 2] = ["inet_rtm_getroute", "inet6_rtm_getroute"];
    let function = match &event.detail {
        Detail::Drop(info) => info.function.as_deref(),
        Detail::Consumed { function } => function.as_deref(),
        _ => None,
    };
    function.is_some_and(|function| QUESTIONS.contains(&function))
}

/// What a `kfree_skb` of this packet means.
pub(super) fn of_drop(event: &Event, info: &DropInfo, direction: Direction) -> Meaning {
    let reason = info.reason.as_deref().unwrap_or("");
    let function = info.function.as_deref().unwrap_or("");
    let row = find(DROPS, reason, function, event);
    match row.map(|row| row.meaning) {
        Some(meaning) => meaning,
        // an error whose socket is gone or does not care
        None if direction == Direction::Error && matches!(function, "icmp_rcv" | "icmpv6_rcv") => {
            Meaning::Arrived
        }
        None => Meaning::Lost,
    }
}

/// What a `consume_skb` of this packet means.
pub(super) fn of_end(event: &Event, function: Option<&str>) -> Meaning {
    find(ENDS, "", function.unwrap_or(""), event).map_or(Meaning::Ended, |row| row.meaning)
}

fn find<'a>(rows: &'a [Row], reason: &str, function: &str, event: &Event) -> Option<&'a Row> {
    rows.iter().find(|row| {
        (row.reasons.is_empty() || row.reasons.contains(&reason))
            && (row.functions.is_empty() || row.functions.contains(&function))
            && (row.when)(event)
    })
}
