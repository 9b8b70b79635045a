//! What kind of packet an event is of: the tests that the tables of this stage name.

use crate::model::{Event, Proto, Transport};
use crate::uapi::tcp::{ACK, FIN, RST, SYN};
use crate::uapi::{icmp, icmpv6, if_packet};

/// Every packet.
pub(super) fn always(_: &Event) -> bool {
    true
}

pub(super) fn for_other_host(event: &Event) -> bool {
    event.pkt_type == if_packet::OTHERHOST
}

/// A frame for everybody on the link.
pub(super) fn is_broadcast_frame(event: &Event) -> bool {
    event.pkt_type == if_packet::BROADCAST
}

/// The copy of what this host sends to many that it gets itself.
pub(super) fn is_own_copy(event: &Event) -> bool {
    event.pkt_type == if_packet::LOOPBACK
}

/// TCP flags and payload.
fn tcp_flags(event: &Event) -> Option<(u8, u32)> {
    match event.packet.as_ref()?.transport {
        Transport::Tcp { flags, payload, .. } => Some((flags, payload)),
        _ => None,
    }
}

pub(super) fn is_reset(event: &Event) -> bool {
    tcp_flags(event).is_some_and(|(flags, _)| flags & RST != 0)
}

/// A segment without data that ends a connection or acknowledges its end.
pub(super) fn is_closing(event: &Event) -> bool {
    tcp_flags(event).is_some_and(|(flags, payload)| {
        payload == 0 && flags & SYN == 0 && flags & (FIN | RST | ACK) != 0
    })
}

/// A SYN without ACK.
pub(super) fn is_syn(event: &Event) -> bool {
    tcp_flags(event).is_some_and(|(flags, _)| flags & (SYN | ACK) == SYN)
}

/// A part of a datagram.
pub(super) fn is_fragment(event: &Event) -> bool {
    let packet = event.packet.as_ref();
    packet.is_some_and(|packet| packet.fragment.is_some())
}

/// An ICMP echo request of either version.
pub(super) fn is_echo_request(event: &Event) -> bool {
    match event.packet.as_ref().map(|p| (p.tuple, p.transport)) {
        Some((Some(tuple), Transport::Icmp { icmp_type, .. })) => match tuple.proto {
            Proto::Icmp => icmp_type == icmp::ECHO,
            Proto::Icmp6 => icmp_type == icmpv6::ECHO_REQUEST,
            _ => false,
        },
        _ => false,
    }
}

/// An ICMP echo reply of either version.
pub(super) fn is_echo_reply(event: &Event) -> bool {
    match event.packet.as_ref().map(|p| (p.tuple, p.transport)) {
        Some((Some(tuple), Transport::Icmp { icmp_type, .. })) => match tuple.proto {
            Proto::Icmp => icmp_type == icmp::ECHOREPLY,
            Proto::Icmp6 => icmp_type == icmpv6::ECHO_REPLY,
            _ => false,
        },
        _ => false,
    }
}

pub(super) fn is_neighbor_request(event: &Event) -> bool {
    matches!(
        event.packet.as_ref().map(|p| p.transport),
        Some(Transport::Neighbor { answer: false, .. })
    )
}

/// An ICMPv6 message that wants an answer: an echo request, a neighbour solicitation.
pub(super) fn asks_over_icmp6(event: &Event) -> bool {
    is_icmp6(event) && (is_echo_request(event) || is_neighbor_request(event))
}

/// An ICMPv6 message that wants none and is no echo reply: an advertisement, a multicast report, an error.
pub(super) fn tells_over_icmp6(event: &Event) -> bool {
    is_icmp6(event) && !asks_over_icmp6(event) && !is_echo_reply(event)
}

fn is_icmp6(event: &Event) -> bool {
    event.tuple.is_some_and(|tuple| tuple.proto == Proto::Icmp6)
}

/// To a group, by a protocol that manages groups or neighbours.
pub(super) fn is_group_control(event: &Event) -> bool {
    const IGMP: u8 = 2;
    event.tuple.is_none_or(|tuple| {
        tuple.dst.is_multicast() && matches!(tuple.proto, Proto::Icmp6 | Proto::Other(IGMP))
    })
}

/// To a group, whatever it is about.
pub(super) fn is_to_a_group(event: &Event) -> bool {
    event.tuple.is_some_and(|tuple| tuple.dst.is_multicast())
}

/// A solicitation by nobody yet, or an advertisement to all.
pub(super) fn is_unsolicited(event: &Event) -> bool {
    let told = matches!(
        event.packet.as_ref().map(|p| p.transport),
        Some(Transport::Neighbor { answer: true, .. })
    );
    event
        .tuple
        .is_some_and(|tuple| tuple.src.is_unspecified() || (told && tuple.dst.is_multicast()))
}
