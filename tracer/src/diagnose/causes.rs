//! The table of causes: every code a verdict can carry, with the outcome it leads to, the places it can name and
//! what it means. docs/causes.md has a section for each row. How a cause is recognised stands in `rules`.

use crate::verdict::Outcome;

/// One cause.
#[derive(Debug, PartialEq, Eq)]
pub struct Cause {
    /// Code in reports.
    pub code: &'static str,
    /// What became of the flow when this is why.
    pub outcome: Outcome,
    /// Values that `where.hook` can take; empty where there is none or it is the kernel's stage.
    pub hooks: &'static [&'static str],
    /// A more general cause that this one explains: found at the same place, this one wins.
    pub refines: Option<&'static str>,
    /// One line.
    pub meaning: &'static str,
}

impl Cause {
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
    ($($name:ident = $code:literal, $outcome:ident, $hooks:expr, $refines:expr, $meaning:literal;)*) => {
        $(#[doc = $meaning] pub static $name: Cause = Cause {
            code: $code,
            outcome: Outcome::$outcome,
            hooks: $hooks,
            refines: $refines,
            meaning: $meaning,
        };)*
        /// Every cause.
        pub static CAUSES: &[&Cause] = &[$(&$name),*];
    };
}

causes! {
    NETFILTER_DROP = "netfilter.drop", Dropped, NETFILTER_HOOKS, None,
        "A packet filter's rule or policy dropped it.";
    NETFILTER_REJECT = "netfilter.reject", Rejected, NETFILTER_HOOKS, Some("netfilter.drop"),
        "A packet filter's REJECT rule answered in its place.";
    NETFILTER_QUEUE = "netfilter.queue", Dropped, NETFILTER_HOOKS, None,
        "A rule gave it to NFQUEUE and no process was listening.";
    CONNTRACK_INVALID = "conntrack.invalid", Dropped, NETFILTER_HOOKS, Some("netfilter.drop"),
        "A rule dropped it for want of a conntrack entry (state INVALID).";
    CONNTRACK_INSERT = "conntrack.insert-failed", Dropped, NETFILTER_HOOKS, Some("netfilter.drop"),
        "Its conntrack entry could not be confirmed: an insertion clash, or no free port for source NAT.";
    CONNTRACK_FULL = "conntrack.full", Dropped, NETFILTER_HOOKS, Some("netfilter.drop"),
        "The table of connections is full: no new one is let in.";
    ROUTE_NONE = "route.none", Dropped, &["route"], None,
        "The namespace has no route to the destination.";
    ROUTE_BLACKHOLE = "route.blackhole", Dropped, &["route"], None,
        "A blackhole route or policy rule matched.";
    ROUTE_UNREACHABLE = "route.unreachable", Dropped, &["route"], None,
        "An unreachable route or policy rule matched.";
    ROUTE_PROHIBIT = "route.prohibit", Dropped, &["route"], None,
        "A prohibit route or policy rule matched.";
    ROUTE_FORWARDING = "route.forwarding-disabled", Dropped, &["route"], None,
        "The packet is not for this namespace, and the namespace does not forward.";
    ROUTE_RP_FILTER = "route.rp-filter", Dropped, &["route"], None,
        "The reverse-path filter refused the source address on this interface.";
    ROUTE_MARTIAN = "route.martian", Dropped, &["route"], None,
        "Its source or destination address is impossible at this place.";
    NEIGHBOR_UNRESOLVED = "neighbor.unresolved", Dropped, &["neighbor"], None,
        "ARP or neighbour discovery got no answer for the next hop.";
    NEIGHBOR_DUPLICATE = "neighbor.duplicate-address", Dropped, &["neighbor", "device"], Some("socket.none"),
        "Two machines of one network have the same address: the packet came to the wrong one.";
    L2_WRONG_MAC = "l2.wrong-destination-mac", Dropped, &["device"], None,
        "The frame was for another MAC than the interface's.";
    L2_BRIDGE = "l2.bridge", Dropped, &["bridge"], Some("neighbor.unresolved"),
        "The bridge did not pass it on: port state, isolation, hairpin, lock or flooding.";
    LINK_DOWN = "link.down", Dropped, &["device"], Some("neighbor.unresolved"),
        "The interface or its peer is down or gone.";
    ADDRESS_NOT_READY = "address.not-ready", Dropped, &["device"], None,
        "The protocol is off on the interface, or its address is not usable yet.";
    MTU_EXCEEDED = "mtu.exceeded", Dropped, &["route", "device", "bridge"], None,
        "It is larger than the next link takes.";
    TTL_EXPIRED = "ttl.expired", Dropped, &["route"], None,
        "Its TTL or hop limit reached zero.";
    TUNNEL_UNKNOWN = "tunnel.unknown", Dropped, &["device"], Some("socket.none"),
        "It arrived for a tunnel that does not exist here.";
    TUNNEL_NO_REMOTE = "tunnel.no-remote", Dropped, &["device"], None,
        "The tunnel has no entry or route for the remote end.";
    TC_DROP = "tc.drop", Dropped, &["tc-ingress", "tc-egress"], None,
        "A tc program or action dropped it.";
    XDP_DROP = "xdp.drop", Dropped, &["xdp"], None,
        "An XDP program dropped it.";
    CGROUP_DROP = "cgroup.drop", Dropped, &["cgroup"], None,
        "A cgroup's BPF program dropped it.";
    SOCKET_FILTER = "socket.filter", Dropped, &["socket"], None,
        "A socket filter, or a cgroup's ingress program, dropped it.";
    QDISC_FULL = "qdisc.full", Dropped, &["qdisc"], None,
        "The queueing discipline had no room, or shaped it away.";
    DEVICE_FULL = "device.full", Dropped, &["device"], None,
        "The device's own ring or queue was full.";
    SOCKET_NONE = "socket.none", Rejected, &["socket"], None,
        "Nobody listens at this address and port.";
    SOCKET_BACKLOG = "socket.backlog-full", Dropped, &["socket"], None,
        "The listening socket's queue was full.";
    SOCKET_BUFFER = "socket.buffer-full", Dropped, &["socket"], None,
        "The socket's receive buffer was full.";
    SOCKET_REFUSED = "socket.refused-segment", Dropped, &["socket"], None,
        "TCP refused the segment for the state of its connection.";
    SOCKET_AUTHENTICATION = "socket.authentication", Dropped, &["socket"], None,
        "Its TCP signature (MD5 or AO) is missing, wrong or not expected.";
    SOCKET_SILENT = "socket.silent", Unanswered, &["socket", "neighbor"], None,
        "It arrived, and this host is told not to answer.";
    SOCKET_UNANSWERED = "socket.unanswered", Unanswered, &["socket"], None,
        "It reached its socket, and the process did not answer.";
    MULTICAST = "multicast.no-member", Dropped, &["route"], None,
        "Nobody here joined the multicast group, and nothing routes it on.";
    CHECKSUM = "checksum.bad", Dropped, &[], None,
        "A checksum was wrong.";
    HEADER = "header.bad", Dropped, &[], None,
        "A header was malformed or too short.";
    FRAGMENT = "fragment.timeout", Dropped, &["route"], None,
        "Fragments were missing until the time was up.";
    XFRM = "xfrm.policy", Dropped, &[], None,
        "An IPsec policy refused it.";
    NAT_SOURCE = "nat.source-address", Unanswered, &["POSTROUTING"], Some("remote.unanswered"),
        "It left with a source address that the network does not answer.";
    NAT_NO_BACKEND = "nat.no-backend", Dropped, &["PREROUTING", "OUTPUT"], None,
        "It is for a service address behind which there is no usable endpoint.";
    NAT_ASYMMETRIC = "nat.asymmetric", Dropped, &[], Some("socket.none"),
        "The reply does not come back through the translator.";
    WIRE_LOST = "wire.lost", Vanished, &["device"], None,
        "It left one traced node for another, and never came there.";
    REMOTE_UNANSWERED = "remote.unanswered", Unanswered, &["device"], None,
        "It left this host as it should, and nothing came back.";
    KERNEL_OTHER = "kernel.other", Dropped, &[], None,
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
    fn codes_are_unique_and_refinements_exist() {
        for (i, cause) in CAUSES.iter().enumerate() {
            assert!(
                !CAUSES.iter().skip(i + 1).any(|c| c.code == cause.code),
                "{} stands twice",
                cause.code
            );
            if let Some(general) = cause.refines {
                assert!(by_code(general).is_some(), "{general} is no cause");
            }
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
