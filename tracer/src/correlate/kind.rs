//! What kind of packet an event is of: the questions that rules ask.

use crate::model::{Event, Proto, Transport};

/// Every packet.
pub(super) fn always(_: &Event) -> bool {
    true
}

/// PACKET_BROADCAST (include/uapi/linux/if_packet.h).
const BROADCAST: u8 = 1;
/// PACKET_OTHERHOST (the same).
pub(super) const OTHERHOST: u8 = 3;
/// PACKET_LOOPBACK (the same).
const OWN_COPY: u8 = 5;
const FIN: u8 = 1;
const SYN: u8 = 2;
const RST: u8 = 4;
const ACK: u8 = 16;

pub(super) fn for_other_host(event: &Event) -> bool {
    event.pkt_type == OTHERHOST
}

/// A frame for everybody on the link.
pub(super) fn is_broadcast_frame(event: &Event) -> bool {
    event.pkt_type == BROADCAST
}

/// The copy of what this host sends to many that it gets itself.
pub(super) fn is_own_copy(event: &Event) -> bool {
    event.pkt_type == OWN_COPY
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
            Proto::Icmp => icmp_type == 8,
            Proto::Icmp6 => icmp_type == 128,
            _ => false,
        },
        _ => false,
    }
}

/// An ICMP echo reply of either version.
pub(super) fn is_echo_reply(event: &Event) -> bool {
    match event.packet.as_ref().map(|p| (p.tuple, p.transport)) {
        Some((Some(tuple), Transport::Icmp { icmp_type, .. })) => match tuple.proto {
            Proto::Icmp => icmp_type == 0,
            Proto::Icmp6 => icmp_type == 129,
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

/// To a group, by a protocol that manages groups or neighbours.
pub(super) fn is_group_control(event: &Event) -> bool {
    const IGMP: u8 = 2;
    event.tuple.is_none_or(|tuple| {
        tuple.dst.is_multicast() && matches!(tuple.proto, Proto::Icmp6 | Proto::Other(IGMP))
    })
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
