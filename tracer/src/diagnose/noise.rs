//! Drop events that are no loss: copies that were not for this place, control packets of no one's concern, sockets
//! being closed, and losses that a retransmission mended.

use crate::model::{Detail, Direction, Fate, Journey, Transport};

use super::loss::{Loss, is_reset};

/// What a drop event means to its packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Meaning {
    /// It is lost.
    Lost,
    /// It had arrived already: what was freed is what was left of it.
    Arrived,
    /// It is lost, and another copy of the same data arrived.
    Mended,
    /// It is of no concern.
    Nothing,
}

/// A (reason, function) pair that is no loss; an empty string fits any.
struct Row {
    reason: &'static str,
    function: &'static str,
    meaning: Meaning,
}

const fn row(reason: &'static str, function: &'static str, meaning: Meaning) -> Row {
    Row {
        reason,
        function,
        meaning,
    }
}

const ROWS: &[Row] = &[
    // A raw socket took its clone of the echo reply before (every ping run by root, Linux 5.18 and later).
    row("NO_SOCKET", "ping_rcv", Meaning::Arrived),
    row("NOT_SPECIFIED", "ping_rcv", Meaning::Arrived),
    // Socket closed with packets in its queues.
    row("QUEUE_PURGE", "", Meaning::Arrived),
    row("NOT_SPECIFIED", "skb_queue_purge", Meaning::Arrived),
    row("NOT_SPECIFIED", "skb_queue_purge_reason", Meaning::Arrived),
    row("NOT_SPECIFIED", "inet_sock_destruct", Meaning::Arrived),
    row("NOT_SPECIFIED", "sk_stream_kill_queues", Meaning::Arrived),
    // Late or repeated segments of a working connection.
    row("TCP_OLD_DATA", "", Meaning::Arrived),
    row("TCP_OLD_SEQUENCE", "", Meaning::Arrived),
    row("TCP_OLD_ACK", "", Meaning::Arrived),
    row("TCP_OFOMERGE", "", Meaning::Arrived),
    row("NOT_SPECIFIED", "stp_pdu_rcv", Meaning::Nothing),
    row("NOT_SPECIFIED", "ip6_mc_input", Meaning::Nothing),
    row("NOT_SPECIFIED", "unix_release_sock", Meaning::Nothing),
    row("IPV6DISABLED", "ip6_output", Meaning::Nothing),
    // Neighbour discovery and MLD end so when they were handled, too.
    row("NOT_SPECIFIED", "icmpv6_rcv", Meaning::Nothing),
];

/// What this drop means.
#[must_use]
pub fn meaning(loss: &Loss<'_>) -> Meaning {
    let row = ROWS.iter().find(|row| {
        (row.reason == loss.reason())
            && (row.function.is_empty() || row.function == loss.function())
    });
    if let Some(row) = row {
        return row.meaning;
    }
    let reset = loss.event.packet.as_ref().is_some_and(is_reset);
    if reset && matches!(loss.function(), "tcp_v4_rcv" | "tcp_v6_rcv") {
        // A reset has done its work when it comes to a socket, or finds that there is none.
        return Meaning::Arrived;
    }
    if copy_accepted(loss) {
        return Meaning::Nothing;
    }
    if mended(loss) {
        return Meaning::Mended;
    }
    Meaning::Lost
}

/// Another branch of the same packet went on: this one was a flooded copy or a tap's.
fn copy_accepted(loss: &Loss<'_>) -> bool {
    let Some(own) = loss.journey.steps.get(loss.step) else {
        return false;
    };
    let strayed = loss.reason() == "OTHERHOST"
        || matches!(loss.function(), "ip_rcv_core" | "ipv6_rcv" | "ip6_rcv_core")
            && loss.event.pkt_type == 3;
    if !strayed {
        return false;
    }
    let accepted = loss.journey.steps.iter().any(|s| {
        s.branch != own.branch
            && (matches!(
                s.event.detail,
                Detail::SocketReached | Detail::SocketRead { .. }
            ) || (s.event.pkt_type != 3
                && matches!(s.event.detail, Detail::Egress)
                && s.event.at > own.event.at))
    });
    accepted || loss.journey.fate == Fate::Delivered
}

/// The same data came through later.
fn mended(loss: &Loss<'_>) -> bool {
    let Some(packet) = loss
        .event
        .packet
        .as_ref()
        .or_else(|| first_packet(loss.journey))
    else {
        return false;
    };
    match packet.transport {
        Transport::Tcp {
            seq,
            payload,
            flags,
            ..
        } => {
            let length = payload.max(u32::from(flags & 3 != 0));
            length > 0
                && (loss.journeys(loss.journey.direction).any(|other| {
                    other.id != loss.journey.id
                        && other.fate == Fate::Delivered
                        && first_packet(other).is_some_and(|p| {
                            matches!(p.transport, Transport::Tcp { seq: s, flags: f, .. }
                                if s == seq && f & 3 == flags & 3)
                        })
                }) || acknowledged(loss, seq.wrapping_add(length)))
        }
        Transport::Icmp { seq, icmp_type, .. } if matches!(icmp_type, 0 | 8 | 128 | 129) => {
            loss.journeys(loss.journey.direction).any(|other| {
                other.id != loss.journey.id
                    && other.fate == Fate::Delivered
                    && first_packet(other).is_some_and(|p| {
                        matches!(p.transport, Transport::Icmp { seq: s, icmp_type: t, .. }
                            if s == seq && t == icmp_type)
                    })
            })
        }
        _ => false,
    }
}

/// The other end acknowledged data up to `end` after the loss.
fn acknowledged(loss: &Loss<'_>, end: u32) -> bool {
    let back = match loss.journey.direction {
        Direction::Forward => Direction::Reply,
        Direction::Reply => Direction::Forward,
        Direction::Error => return false,
    };
    loss.journeys(back).any(|other| {
        other.fate == Fate::Delivered
            && other
                .steps
                .last()
                .is_some_and(|s| s.event.at > loss.event.at)
            && first_packet(other).is_some_and(|p| {
                matches!(p.transport, Transport::Tcp { ack, flags, .. }
                    if flags & 16 != 0 && flags & 4 == 0 && ack.wrapping_sub(end) < 1 << 30)
            })
    })
}

/// The first headers that a journey shows.
#[must_use]
pub fn first_packet(journey: &Journey) -> Option<&crate::model::Packet> {
    journey.steps.iter().find_map(|s| s.event.packet.as_ref())
}
