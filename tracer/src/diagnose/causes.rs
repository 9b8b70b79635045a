//! The catalogue of causes: every code a verdict can carry, with the outcome it leads to, the places it can name and
//! what it means, and which others it beats where both are proposed. docs/causes.md has a section for each row. How a cause is recognised stands in `rules`.

use crate::verdict::Outcome;

/// One cause.
#[derive(Debug)]
pub struct Cause {
    /// Code in reports.
    pub code: &'static str,
    /// What became of the flow when this is why.
    pub outcome: Outcome,
    /// Values that `where.hook` can take; empty where there is none or it is the kernel's stage.
    pub hooks: &'static [&'static str],
    /// Which others it beats, and why.
    pub beats: &'static [Beats],
    /// One line.
    pub meaning: &'static str,
}

/// Which other causes one beats where both are proposed.
#[derive(Debug)]
pub struct Beats {
    /// Codes; `*` at the end stands for anything.
    pub others: &'static [&'static str],
    /// Why, in words.
    pub why: &'static str,
}

impl PartialEq for Cause {
    fn eq(&self, other: &Self) -> bool {
        self.code == other.code
    }
}

impl Eq for Cause {}

impl Cause {
    /// Why this cause beats another where both are proposed; `None` where it does not.
    #[must_use]
    pub fn beats(&self, other: &Self) -> Option<&'static str> {
        if self == other {
            return None;
        }
        let named = |pattern: &&str| match pattern.strip_suffix('*') {
            Some(start) => other.code.starts_with(start),
            None => *pattern == other.code,
        };
        let row = self
            .beats
            .iter()
            .find(|row| row.others.iter().any(named))
            .map(|row| row.why);
        row.or_else(|| (other == &KERNEL_OTHER).then_some("it only repeats the kernel's own word"))
    }

    /// Anchor of its section in docs/causes.md, as renderers of Markdown make it from the heading.
    #[must_use]
    pub fn anchor(&self) -> String {
        self.code.chars().filter(|c| *c != '.').collect()
    }
}

/// Hooks of netfilter, as reports name them.
pub const NETFILTER_HOOKS: &[&str] = &[
    "PREROUTING",
    "INPUT",
    "FORWARD",
    "OUTPUT",
    "POSTROUTING",
    "INGRESS",
    "EGRESS",
    "BRIDGE-PREROUTING",
    "BRIDGE-INPUT",
    "BRIDGE-FORWARD",
    "BRIDGE-OUTPUT",
    "BRIDGE-POSTROUTING",
    "ARP",
];

macro_rules! causes {
    ($($name:ident = $code:literal, $outcome:ident, $hooks:expr, [$($($other:literal),+ => $why:literal),* $(,)?], $meaning:literal;)*) => {
        $(#[doc = $meaning] pub static $name: Cause = Cause {
            code: $code,
            outcome: Outcome::$outcome,
            hooks: $hooks,
            beats: &[$(Beats { others: &[$($other),+], why: $why }),*],
            meaning: $meaning,
        };)*
        /// Every cause.
        pub static CAUSES: &[&Cause] = &[$(&$name),*];
    };
}

causes! {
    NETFILTER_DROP = "netfilter.drop", Dropped, NETFILTER_HOOKS, [],
        "A packet filter's rule or policy dropped it.";
    NETFILTER_REJECT = "netfilter.reject", Rejected, NETFILTER_HOOKS, ["netfilter.drop" => "an answer was built for the packet: the drop is the REJECT's own"],
        "A packet filter's REJECT rule answered in its place.";
    NETFILTER_QUEUE = "netfilter.queue", Dropped, NETFILTER_HOOKS, [],
        "A rule gave it to NFQUEUE, and no process let it pass: none listens, or it refused it, does not answer, or is too slow.";
    CONNTRACK_INVALID = "conntrack.invalid", Dropped, NETFILTER_HOOKS, ["netfilter.drop" => "the rule that dropped it looks at the state of the connection, and that is what was wrong"],
        "A rule dropped it for want of a conntrack entry (state INVALID).";
    CONNTRACK_INSERT = "conntrack.insert-failed", Dropped, NETFILTER_HOOKS, ["netfilter.drop" => "no rule dropped it: conntrack itself did, after all of them"],
        "Its conntrack entry could not be confirmed: an insertion clash, or no free port for source NAT.";
    CONNTRACK_FULL = "conntrack.full", Dropped, NETFILTER_HOOKS, ["netfilter.drop" => "no rule dropped it: conntrack itself did, before all of them"],
        "The table of connections is full: no new one is let in.";
    ROUTE_NONE = "route.none", Dropped, &["route"], [],
        "The namespace has no route to the destination.";
    ROUTE_MISSING = "route.missing", Dropped, &["route"], ["route.forwarding-disabled", "route.none", "remote.unanswered", "wire.lost" => "the machine that has the destination behind it is on the sender's network: where the default route took the packet nobody is at fault"],
        "No route of its own leads to the destination, and the default route took it to a machine that is not on the way.";
    ROUTE_BLACKHOLE = "route.blackhole", Dropped, &["route"], [],
        "A blackhole route or policy rule matched.";
    ROUTE_UNREACHABLE = "route.unreachable", Dropped, &["route"], [],
        "An unreachable route or policy rule matched.";
    ROUTE_PROHIBIT = "route.prohibit", Dropped, &["route"], [],
        "A prohibit route or policy rule matched.";
    ROUTE_FORWARDING = "route.forwarding-disabled", Dropped, &["route"], [],
        "The packet is not for this namespace, and the namespace does not forward.";
    ROUTE_RP_FILTER = "route.rp-filter", Dropped, &["route"], [],
        "The reverse-path filter refused the source address on this interface.";
    ROUTE_MARTIAN = "route.martian", Dropped, &["route"], [],
        "Its source or destination address is impossible at this place.";
    NEIGHBOR_UNRESOLVED = "neighbor.unresolved", Dropped, &["neighbor"], [],
        "ARP or neighbour discovery got no answer for the next hop.";
    NEIGHBOR_DUPLICATE = "neighbor.duplicate-address", Dropped, &["neighbor", "device"], ["socket.none", "netfilter.drop", "netfilter.reject" => "it came to the wrong machine: what that one makes of it is no fault"],
        "Two machines of one network have the same address: the packet came to the wrong one.";
    L2_WRONG_MAC = "l2.wrong-destination-mac", Dropped, &["device"], [],
        "The frame was for another MAC than the interface's.";
    L2_GONE = "l2.gone", Dropped, &["neighbor"], ["l2.wrong-destination-mac", "l2.bridge" => "nobody has the MAC or the address: whoever got a copy of the frame, or had no port for it, is not at fault"],
        "The sender's neighbour entry outlived the machine: nobody on the segment has its MAC or its address.";
    L2_BRIDGE = "l2.bridge", Dropped, &["bridge"], ["neighbor.unresolved" => "the request or its answer was kept back on the way: the neighbour cannot know"],
        "The bridge did not pass it on: port state, isolation, hairpin, lock or flooding.";
    LINK_DOWN = "link.down", Dropped, &["device"], ["neighbor.unresolved", "route.none", "route.unreachable" => "nobody can be asked over a link that is down, and its routes went with it"],
        "The interface or its peer is down or gone.";
    ADDRESS_NOT_READY = "address.not-ready", Dropped, &["device"], [],
        "The protocol is off on the interface, or its address is not usable yet.";
    MTU_EXCEEDED = "mtu.exceeded", Dropped, &["route", "device", "bridge"], [],
        "It is larger than the next link takes.";
    TTL_EXPIRED = "ttl.expired", Dropped, &["route"], [],
        "Its TTL or hop limit reached zero.";
    TUNNEL_UNKNOWN = "tunnel.unknown", Dropped, &["device"], ["socket.none" => "the port is that of a tunnel: no process would listen there"],
        "It arrived for a tunnel that does not exist here.";
    TUNNEL_NO_REMOTE = "tunnel.no-remote", Dropped, &["device"], ["ttl.expired", "l2.wrong-destination-mac" => "what a tunnel sends to itself goes round until its TTL is used up, or comes to the wrong device"],
        "The tunnel has no entry or route for the remote end.";
    TC_DROP = "tc.drop", Dropped, &["tc-ingress", "tc-egress"], [],
        "A tc program or action dropped it.";
    XDP_DROP = "xdp.drop", Dropped, &["xdp"], [],
        "An XDP program dropped it.";
    CGROUP_DROP = "cgroup.drop", Dropped, &["cgroup"], [],
        "A cgroup's BPF program dropped it.";
    SOCKET_FILTER = "socket.filter", Dropped, &["socket"], [],
        "A socket filter, or a cgroup's ingress program, dropped it.";
    QDISC_FULL = "qdisc.full", Dropped, &["qdisc"], [],
        "The queueing discipline had no room, or shaped it away.";
    DEVICE_FULL = "device.full", Dropped, &["device"], [],
        "The device's own ring or queue was full.";
    SOCKET_NONE = "socket.none", Rejected, &["socket"], [],
        "Nobody listens at this address and port.";
    SOCKET_NO_PORT = "socket.no-local-port", NotSent, &["socket"], [],
        "The sender has no local port left for one more connection to the same remote end.";
    SOCKET_BACKLOG = "socket.backlog-full", Dropped, &["socket"], [],
        "The listening socket's queue was full.";
    SOCKET_BUFFER = "socket.buffer-full", Dropped, &["socket"], [],
        "The socket's receive buffer was full.";
    SOCKET_REFUSED = "socket.refused-segment", Dropped, &["socket"], [],
        "TCP refused the segment for the state of its connection.";
    SOCKET_AUTHENTICATION = "socket.authentication", Dropped, &["socket"], [],
        "Its TCP signature (MD5 or AO) is missing, wrong or not expected.";
    SOCKET_SILENT = "socket.silent", Unanswered, &["socket", "neighbor"], [],
        "It arrived, and this host is told not to answer.";
    SOCKET_UNANSWERED = "socket.unanswered", Unanswered, &["socket"], [],
        "It reached its socket, and the process did not answer.";
    MULTICAST = "multicast.no-member", Dropped, &["route"], [],
        "Nobody here joined the multicast group, and nothing routes it on.";
    CHECKSUM = "checksum.bad", Dropped, &[], [],
        "A checksum was wrong.";
    HEADER = "header.bad", Dropped, &[], [],
        "A header was malformed or too short.";
    FRAGMENT = "fragment.timeout", Dropped, &["route"], [],
        "Fragments were missing until the time was up.";
    XFRM = "xfrm.policy", Dropped, &[], [],
        "An IPsec policy refused it.";
    NAT_SOURCE = "nat.source-address", Unanswered, &["POSTROUTING"], ["route.none", "route.blackhole", "route.unreachable", "route.prohibit", "neighbor.unresolved" => "the answer found no way to an address that the network does not know: the address is wrong, not the way",
         "remote.unanswered", "socket.unanswered" => "others of its addresses are answered, or this one cannot be"],
        "It left with a source address that the network does not answer.";
    NAT_NO_BACKEND = "nat.no-backend", Dropped, &["PREROUTING", "OUTPUT"], ["route.*", "ttl.expired", "neighbor.unresolved", "remote.unanswered" => "a packet that should have been translated and was not goes astray: how it dies is an accident",
         "netfilter.reject" => "the rule rejects for want of an endpoint"],
        "It is for a service address behind which there is no usable endpoint.";
    NAT_ASYMMETRIC = "nat.asymmetric", Dropped, &[], ["*" => "an answer that misses its translator is refused by whoever meets it next: what that one says is an accident"],
        "The reply does not come back through the translator.";
    WIRE_LOST = "wire.lost", Vanished, &["device"], [],
        "It left one traced node for another, and never came there.";
    REMOTE_UNANSWERED = "remote.unanswered", Unanswered, &["device"], [],
        "It left this host as it should, and nothing came back.";
    KERNEL_OTHER = "kernel.other", Dropped, &[], [],
        "The kernel dropped it at a place without a rule of its own here.";
}

/// The cause with this code.
#[must_use]
pub fn by_code(code: &str) -> Option<&'static Cause> {
    CAUSES.iter().copied().find(|cause| cause.code == code)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_are_unique_and_those_that_are_beaten_exist() {
        for (i, cause) in CAUSES.iter().enumerate() {
            assert!(
                !CAUSES.iter().skip(i + 1).any(|c| c.code == cause.code),
                "{} stands twice",
                cause.code
            );
            for other in cause.beats.iter().flat_map(|row| row.others) {
                let known = CAUSES.iter().any(|c| {
                    other
                        .strip_suffix('*')
                        .map_or(c.code == *other, |start| c.code.starts_with(start))
                });
                assert!(known, "{other} is no cause");
            }
        }
    }

    #[test]
    fn no_two_causes_beat_each_other() {
        for one in CAUSES {
            let both = CAUSES
                .iter()
                .find(|other| other.beats(one).is_some() && one.beats(other).is_some());
            assert!(both.is_none(), "{} and {both:?} beat each other", one.code);
        }
    }

    /// Were there a circle, which proposal stands would depend on their order.
    #[test]
    fn beating_has_no_circle() {
        fn reaches(from: &Cause, wanted: &Cause, left: usize) -> bool {
            left > 0
                && CAUSES.iter().any(|next| {
                    from.beats(next).is_some()
                        && (*next == wanted || reaches(next, wanted, left - 1))
                })
        }
        for cause in CAUSES {
            assert!(
                !reaches(cause, cause, 6),
                "{} beats itself in the end",
                cause.code
            );
        }
    }

    #[test]
    fn every_cause_has_its_section_in_the_manual() {
        let manual = include_str!("../../../docs/causes.md");
        for cause in CAUSES {
            let heading = format!("\n### {}\n", cause.code);
            let section = manual
                .split_once(&heading)
                .map(|(_, rest)| rest.split("\n### ").next().unwrap_or_default());
            assert!(
                section.is_some(),
                "docs/causes.md has no section {}",
                cause.code
            );
            let section = section.unwrap_or_default();
            for part in ["*Recognised*", "*Confirm*", "*Fix*"] {
                assert!(section.contains(part), "{}: no {part}", cause.code);
            }
        }
    }

    #[test]
    fn the_manual_has_no_section_without_a_cause() {
        let manual = include_str!("../../../docs/causes.md");
        for heading in manual.lines().filter_map(|l| l.strip_prefix("### ")) {
            assert!(by_code(heading).is_some(), "{heading} is in no row");
        }
    }
}
