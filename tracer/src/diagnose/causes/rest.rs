//! What ends outside of this host, and what belongs to no other family.

use super::{Cause, Family};
use crate::verdict::Outcome;

family! {
    "The rest";

    /// It left one traced node for another, and never arrived.
    WIRE_LOST = Cause {
        code: "wire.lost",
        outcome: Outcome::Vanished,
        hooks: &["device"],
        beats: &[],
        what: "It left one node for another, and never arrived. Only where the recordings of both were merged.",
        recognised: "the last hop is an interface of one node; the MAC or the address (of a tunnel, its outer one) to
            which it went is of another node, whose trace was running, was asked for it (by its expression, or by
            what it was [told](merge.md)), and saw nothing of it. Never certain: a program before the stack (XDP) or
            the card of the other node may have taken it.",
        confirm: "`ip -s -s link show dev IF` on both nodes; a capture on the switch.",
        fix: "cables, switches, VLANs, MTU, security groups and firewalls between the nodes; for tunnels their UDP
            port.",
    };

    /// It left this host, and nothing came back.
    REMOTE_UNANSWERED = Cause {
        code: "remote.unanswered",
        outcome: Outcome::Unanswered,
        hooks: &["device"],
        beats: &[],
        what: "It left this host, and nothing came back, or nothing that says it arrived: not this
            host's fault, as far as it can see.",
        recognised: "the last hop is an interface behind which the trace sees nothing; no packet of the other
            direction. A TCP connection also where there are some: the SYN-ACK, or the same data, left again and
            again and was never acknowledged; data came again and again though it was acknowledged each time; bytes
            are missing before others that came. A reset by the other end ends that. Of several nodes also where the
            next one was traced and not asked for the translated tuple: then nobody knows what became of it there.",
        confirm: "run a trace on the other machine; the verdict gives the source address with which it left.",
        fix: "the remote end, its route back, or a filter between. There is nothing to fix on this host; where the
            answer leaves by another uplink than the request came in on, it is `nat.asymmetric`.",
    };

    /// A checksum was wrong.
    CHECKSUM = Cause {
        code: "checksum.bad",
        outcome: Outcome::Dropped,
        hooks: &[],
        beats: &[],
        what: "A checksum was wrong.",
        recognised: "IP_CSUM, TCP_CSUM, UDP_CSUM, ICMP_CSUM.",
        confirm: "`nstat -az | grep -i csum`.",
        fix: "look for offloads that a virtual device gets wrong: `ethtool -K IF tx off` at the sender. For a
            tunnel's packet it is the outer checksum: the sender of the outer packet is named, and
            `ethtool -K TUNNEL tx-checksum-ip-generic off` there lets the kernel make it.",
    };

    /// A header was malformed or too short.
    HEADER = Cause {
        code: "header.bad",
        outcome: Outcome::Dropped,
        hooks: &[],
        beats: &[],
        what: "A header was malformed, too short, or of a protocol that nobody takes.",
        recognised: "IP_INHDR in `ip_rcv_core`, PKT_TOO_SMALL, HDR_TRUNC, UNHANDLED_PROTO, IP_NOPROTO and the like.",
        confirm: "look at the packet's bytes in the trace.",
        fix: "the sender, or whatever rewrites packets on the way.",
    };

    /// The kernel dropped it at a place without a rule of its own here.
    KERNEL_OTHER = Cause {
        code: "kernel.other",
        outcome: Outcome::Dropped,
        hooks: &[],
        beats: &[],
        what: "The kernel dropped it at a place without a rule of its own: its reason, function and stack are shown
            as they are.",
        recognised: "no other rule fits.",
        confirm: "look for the function and the reason in the kernel's source.",
        fix: "depends on what it is.",
    };
}
