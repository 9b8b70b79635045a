//! Ends of buffers that are not ends of packets: what a healthy path frees, and what that says.
//!
//! Two tables, one for `kfree_skb` and one for `consume_skb`. A row names a place of the kernel ([`crate::sites`]) and
//! what the packet must be like; each gives its reason in words. What no row names is a real drop, or an end that tells nothing.

use crate::model::{Detail, Direction, DropInfo, Event};
use crate::sites::{self, Site};

use super::kind::{
    always, asks_over_icmp6, for_other_host, is_broadcast_frame, is_closing, is_echo_reply,
    is_echo_request, is_fragment, is_group_control, is_neighbor_request, is_own_copy, is_reset,
    is_syn, is_to_a_group, is_unsolicited, tells_over_icmp6,
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
    /// A copy for a port that takes nothing: a loss only when there is no other one.
    Unsent,
    /// It came to the code that answers it: arrived when the answer was built just before.
    Answers,
    /// As `Answers`, but a loss when no answer was built.
    AnswersOrLost,
    /// It goes on in other buffers (segments, fragments, a new head).
    GoesOn,
    /// It ended normally, at a place that tells nothing more.
    Ended,
}

/// A row: freed at this place, and the packet is such a one.
struct Row {
    site: &'static Site,
    when: fn(&Event) -> bool,
    meaning: Meaning,
    #[expect(dead_code, reason = "for those who read the table")]
    why: &'static str,
}

/// Ends of `kfree_skb` that are noise (Linux 6.18 where nothing else is said). The first row that fits counts.
const DROPS: &[Row] = &[
    Row {
        site: &sites::PURGED,
        when: always,
        meaning: Meaning::Nothing,
        why: "a closing socket frees its queues",
    },
    Row {
        site: &sites::PURGED_BY_SOCKET,
        when: always,
        meaning: Meaning::Nothing,
        why: "the same before QUEUE_PURGE existed (6.8)",
    },
    Row {
        site: &sites::NO_DROP,
        when: always,
        meaning: Meaning::Nothing,
        why: "not a drop by the kernel's own word",
    },
    Row {
        site: &sites::PIECES,
        when: always,
        meaning: Meaning::Nothing,
        why: "the pieces of a reassembled packet, freed with it",
    },
    Row {
        site: &sites::TAP,
        when: always,
        meaning: Meaning::Nothing,
        why: "a sniffer's copy",
    },
    Row {
        site: &sites::PING_REPLY,
        when: always,
        meaning: Meaning::Arrived,
        why: "the answer of every ping by a raw socket, which got a clone",
    },
    Row {
        site: &sites::PING_REPLY_AT_ICMP,
        when: is_echo_reply,
        meaning: Meaning::Arrived,
        why: "the same where the caller of ping_rcv frees it (6.1)",
    },
    Row {
        site: &sites::FRAME_OF_OTHERS,
        when: always,
        meaning: Meaning::Copy,
        why: "a flooded frame at a port it is not for",
    },
    Row {
        site: &sites::NO_ADDRESS_HERE,
        when: is_broadcast_frame,
        meaning: Meaning::Copy,
        why: "a broadcast also comes to those who have no address of its network, as a bridge that only switches",
    },
    Row {
        site: &sites::FRAME_OF_OTHERS_UNNAMED,
        when: for_other_host,
        meaning: Meaning::Copy,
        why: "the same before OTHERHOST existed (5.17)",
    },
    Row {
        site: &sites::SWITCH_PORT_DOWN,
        when: always,
        meaning: Meaning::Unsent,
        why: "Open vSwitch floods to the bridge's own port too, which mostly is down",
    },
    Row {
        site: &sites::RESET_AT_TCP,
        when: is_reset,
        meaning: Meaning::Arrived,
        why: "a reset that found its connection closing or gone",
    },
    Row {
        site: &sites::TCP_INPUT,
        when: is_closing,
        meaning: Meaning::Arrived,
        why: "TIME_WAIT frees every segment it has answered",
    },
    Row {
        site: &sites::SYN_AT_TCP,
        when: is_syn,
        meaning: Meaning::AnswersOrLost,
        why: "the same where what finds no socket ends without a reason too",
    },
    Row {
        site: &sites::TCP_INPUT,
        when: is_syn,
        meaning: Meaning::Answers,
        why: "a SYN sent again to a half-open connection, which sends its SYN-ACK again",
    },
    Row {
        site: &sites::TCP_STATE,
        when: is_closing,
        meaning: Meaning::Arrived,
        why: "acknowledgements that a connection gets after the other end has closed its half",
    },
    Row {
        site: &sites::TCP_RESET,
        when: is_reset,
        meaning: Meaning::Arrived,
        why: "a reset that did its work",
    },
    Row {
        site: &sites::TCP_CLOSED_BY_PROCESS,
        when: always,
        meaning: Meaning::Arrived,
        why: "data for a connection that its process has closed: it got as far as it could",
    },
    Row {
        site: &sites::TCP_ALREADY_HERE,
        when: always,
        meaning: Meaning::Arrived,
        why: "retransmitted although it had arrived, or a window probe",
    },
    Row {
        site: &sites::GROUP_CONTROL,
        when: is_group_control,
        meaning: Meaning::Ended,
        why: "IGMP, MLD, router solicitations and spanning tree frames that this stack does not need",
    },
    Row {
        site: &sites::GROUP_CONTROL,
        when: is_to_a_group,
        meaning: Meaning::Copy,
        why: "a multicast also comes to hosts that did not join its group, as a bridge that only switches",
    },
    Row {
        site: &sites::ICMPV6_INPUT,
        when: is_unsolicited,
        meaning: Meaning::Ended,
        why: "duplicate address detection of others",
    },
    Row {
        site: &sites::ICMPV6_INPUT,
        when: asks_over_icmp6,
        meaning: Meaning::AnswersOrLost,
        why: "icmpv6_rcv of 6.1 frees every message as if it had failed, those that it answered too",
    },
    Row {
        site: &sites::ICMPV6_INPUT,
        when: tells_over_icmp6,
        meaning: Meaning::Ended,
        why: "the same of advertisements, reports and errors: whether they were heeded is told elsewhere",
    },
    Row {
        site: &sites::IPV6_OFF,
        when: is_group_control,
        meaning: Meaning::Ended,
        why: "a multicast report on a link going down",
    },
    Row {
        site: &sites::OWN_COPY,
        when: is_own_copy,
        meaning: Meaning::Nothing,
        why: "the sender's own copy of what it sends to many (dev_loopback_xmit), which none of its sockets wants",
    },
    Row {
        site: &sites::ANYWHERE,
        when: is_own_copy,
        meaning: Meaning::Copy,
        why: "the same, refused by a filter: the packet itself goes out",
    },
];

/// Normal ends.
const ENDS: &[Row] = &[
    Row {
        site: &sites::TAP_READ,
        when: always,
        meaning: Meaning::Nothing,
        why: "a sniffer's copy",
    },
    Row {
        site: &sites::NEIGHBOR_CLONE,
        when: always,
        meaning: Meaning::Nothing,
        why: "a clone that the neighbour code examines; the packet waits",
    },
    Row {
        site: &sites::PIECES_READ,
        when: is_fragment,
        meaning: Meaning::Arrived,
        why: "a fragment, freed with the reassembled datagram that its reader was done with",
    },
    Row {
        site: &sites::RAW_READ,
        when: always,
        meaning: Meaning::Arrived,
        why: "a raw socket's copy was read",
    },
    Row {
        site: &sites::REPLACED,
        when: always,
        meaning: Meaning::GoesOn,
        why: "its data goes on in other buffers",
    },
    Row {
        site: &sites::TC_TAKEN,
        when: always,
        meaning: Meaning::GoesOn,
        why: "a tc action redirected it: its clone goes on",
    },
    Row {
        site: &sites::OPENVSWITCH,
        when: always,
        meaning: Meaning::GoesOn,
        why: "what no flow of Open vSwitch matches is copied to its daemon, which sends what it makes of it in another buffer",
    },
    Row {
        site: &sites::ECHO_INPUT,
        when: is_echo_request,
        meaning: Meaning::Answers,
        why: "an answered echo request ends after its reply was queued; an ignored one too, without a reply",
    },
    Row {
        site: &sites::ICMP_INPUT,
        when: always,
        meaning: Meaning::Arrived,
        why: "the ICMP layer took it",
    },
    Row {
        site: &sites::TCP_ANSWERED,
        when: is_syn,
        meaning: Meaning::Answers,
        why: "a SYN ends after its SYN-ACK was queued; with a full queue too, without one",
    },
    Row {
        site: &sites::ARP_ANSWERED,
        when: is_neighbor_request,
        meaning: Meaning::Answers,
        why: "an ARP request ends after its answer was queued; an ignored one too",
    },
    Row {
        site: &sites::ARP_INPUT,
        when: always,
        meaning: Meaning::Arrived,
        why: "an ARP answer was taken in",
    },
    Row {
        site: &sites::READ,
        when: always,
        meaning: Meaning::Arrived,
        why: "a socket's reader is done with it",
    },
];

/// The same on kernels that do not tell where (before 6.3): what asks may have been answered just before.
fn of_untold_end(event: &Event) -> Meaning {
    let asks = is_echo_request(event) || is_syn(event) || is_neighbor_request(event);
    match asks {
        true => Meaning::Answers,
        false => Meaning::Ended,
    }
}

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
    let row = DROPS
        .iter()
        .find(|row| row.site.is(info) && (row.when)(event));
    match row.map(|row| row.meaning) {
        Some(meaning) => meaning,
        // an error whose socket is gone or does not care
        None if direction == Direction::Error && sites::ICMP_INPUT.is(info) => Meaning::Arrived,
        None => Meaning::Lost,
    }
}

/// What a `consume_skb` of this packet means.
pub(super) fn of_end(event: &Event, function: Option<&str>) -> Meaning {
    let Some(function) = function else {
        return of_untold_end(event);
    };
    let row = ENDS
        .iter()
        .find(|row| row.site.frees(function) && (row.when)(event));
    row.map_or(Meaning::Ended, |row| row.meaning)
}
