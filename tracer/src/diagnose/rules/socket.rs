//! Drops at sockets: nobody listens, no room.

use crate::model::{Proto, Transport};

use super::super::advice::{Shell, text};
use super::super::candidate::{Candidate, Specificity};
use super::super::causes::{SOCKET_BACKLOG, SOCKET_BUFFER, SOCKET_NONE};
use super::super::loss::Loss;
use super::super::words;

/// `where.hook` of this family.
const HOOK: &str = "socket";

/// No socket expects it.
pub(super) fn is_unexpected(loss: &Loss<'_>) -> bool {
    let placed = matches!(
        loss.function(),
        "__udp4_lib_rcv"
            | "__udp6_lib_rcv"
            | "udp_rcv"
            | "udpv6_rcv"
            | "tcp_v4_rcv"
            | "tcp_v6_rcv"
            | "udp_unicast_rcv_skb"
            | "sctp_rcv"
            | "dccp_v4_rcv"
    );
    // Kernels before 5.17 give no reason: there the answer in the same call tells.
    let old = loss.info.reason.is_none() && placed && loss.told().is_some();
    loss.reason() == "NO_SOCKET" || old
}

/// Nobody listens.
pub fn none(loss: &Loss<'_>) -> Option<Candidate> {
    if !is_unexpected(loss) {
        return None;
    }
    let tuple = loss.tuple()?;
    let (what, listing) = match tuple.proto {
        Proto::Tcp => ("TCP port", format!("ss -ltnp sport = :{}", tuple.dport)),
        Proto::Udp => ("UDP port", format!("ss -lunp sport = :{}", tuple.dport)),
        Proto::Sctp => ("SCTP port", format!("ss -lnpS sport = :{}", tuple.dport)),
        _ => ("socket", "ss -anp".to_owned()),
    };
    let told = loss.told();
    let answer = told.as_ref().map_or_else(
        || "; no answer was seen (ICMP errors are limited in rate)".to_owned(),
        |t| format!("; answered with {t}"),
    );
    let shell = Shell::of(loss.host, loss.netns());
    let foreign = loss.netns().is_some_and(|ns| {
        loss.host.owners(tuple.dst).next().is_some() && !loss.host.is_local(ns, tuple.dst)
    });
    let mut candidate = Candidate::new(
        &SOCKET_NONE,
        loss.place_at_device(HOOK),
        format!(
            "port closed on {}: nobody listens on {}{answer}",
            loss.namespace_words(),
            words::destination(&tuple)
        ),
    )
    .explains(Specificity::Reason)
    .because("icmp", told.map(|t| format!("{t} was sent back in the same call")))
    .advise([
        shell.run(format!("who listens on this {what}, and on which address"), listing),
        text("start the server; one bound to 127.0.0.1, another address, device or peer does not take it either"),
    ]);
    if foreign {
        candidate = candidate.because(
            "socket",
            format!("{} belongs to another namespace: two have the address, or the packet was led astray", tuple.dst),
        );
    }
    let syn_ack = loss.event.packet.as_ref().is_some_and(
        |p| matches!(p.transport, Transport::Tcp { flags, .. } if flags & 0x12 == 0x12),
    );
    if syn_ack {
        candidate = candidate.because(
            "tcp",
            format!("a SYN-ACK from {}, to which no connection was opened: the answer missed its address translation", tuple.src),
        );
    }
    Some(candidate)
}

/// Queues without room.
pub fn full(loss: &Loss<'_>) -> Option<Candidate> {
    let shell = Shell::of(loss.host, loss.netns());
    let tuple = loss.tuple();
    let to = tuple
        .as_ref()
        .map_or_else(String::new, |t| format!(" for {}", words::destination(t)));
    match loss.reason() {
        "SOCKET_RCVBUFF" | "SOCKET_BACKLOG" | "PROTO_MEM" | "UDP_RCVBUFF" => Some(
            Candidate::new(
                &SOCKET_BUFFER,
                loss.place_at_device(HOOK),
                format!(
                    "receive buffer full on {}{to}: the process does not read fast enough",
                    loss.namespace_words()
                ),
            )
            .explains(Specificity::Reason)
            .advise([
                shell.run("look at Recv-Q and the drop counter (d)", "ss -uamnp"),
                shell.run(
                    "the largest buffer a process may ask for",
                    "sysctl net.core.rmem_max",
                ),
            ]),
        ),
        "TCP_LISTEN_OVERFLOW" => Some(
            Candidate::new(
                &SOCKET_BACKLOG,
                loss.place_at_device(HOOK),
                format!(
                    "accept queue full on {}{to}: the process does not accept fast enough",
                    loss.namespace_words()
                ),
            )
            .explains(Specificity::Reason)
            .advise([
                shell.run("Recv-Q above Send-Q: the queue is full", "ss -ltn"),
                shell.run(
                    "the largest backlog a process may ask for",
                    "sysctl net.core.somaxconn",
                ),
            ]),
        ),
        _ => None,
    }
}
