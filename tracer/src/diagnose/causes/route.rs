//! Routing: routes that are missing or refuse, addresses and sizes that routing refuses.

use super::{Beats, Cause, Family};
use crate::verdict::Outcome;

family! {
    "Routing";

    /// The namespace has no route to the destination.
    ROUTE_NONE = Cause {
        code: "route.none",
        outcome: Outcome::Dropped,
        hooks: &["route"],
        beats: &[],
        what: "The namespace has no route to the destination. With outcome `not-sent`: the sender itself has none,
            gets an error, and no packet exists. With `unanswered`: the request arrived, and the answer found no
            route back.",
        recognised: "IP_INNOROUTES, or `ip_error` / `ip6_pkt_discard` with the route's error ENETUNREACH; for senders
            a route lookup that failed in their own system call (ping asks by connecting a UDP socket first). The
            policy rules and the routes of all tables that cover the destination are read, so that a rule is told
            from a missing route.",
        confirm: "`ip route get ADDRESS` in that namespace.",
        fix: "`ip route add PREFIX via GATEWAY`. Where a namespace next to this one owns the address, the command is
            complete; so it is where one machine alone on the links of the namespace forwards, has a way to the
            address, and answers on the same link. Where a link goes on outside of what is known, none is named. A
            packet with a mark that no policy rule knows, while a table to which no rule leads has a route for it,
            is one of these (`likely`): `ip rule add fwmark MARK lookup TABLE`. So is a packet that a transparent
            proxy's rule (TPROXY) gave to a socket and that routing does not take for this host's own: freed in
            `ip_forward` without a reason, since what has a socket is not forwarded. Missing is the rule for its
            mark, or the local route in its table.",
    };

    /// No route of its own leads to the destination, and the default route took it to a machine that is not on the way.
    ROUTE_MISSING = Cause {
        code: "route.missing",
        outcome: Outcome::Dropped,
        hooks: &["route"],
        beats: &[
            Beats {
                others: &["route.forwarding-disabled", "route.none", "route.unreachable", "route.prohibit", "route.blackhole", "remote.unanswered", "wire.lost", "ttl.expired"],
                why: "the machine that has the destination behind it is on a network of the sender's: where the default route took the packet nobody is at fault",
            },
        ],
        what: "The sender or a router has no route of its own to the destination's network, and its default route
            took the packet to a machine that knows nothing of these addresses. Only where the machine that has the
            destination behind it was traced too, or is a node of the same trace.",
        recognised: "another namespace has an address on the network of the interface by which it left, and another
            interface in the network of the destination; the frame went to another MAC; of the routes that were read
            only the default route leads to the destination; the packet did not come through.",
        confirm: "`ip route get DESTINATION` where it left.",
        fix: "`ip route add NETWORK via ADDRESS`; and what makes these routes (the network plugin, a route
            controller, a routing daemon).",
    };

    /// A route names another machine than the one behind which the destination is.
    ROUTE_WRONG_HOP = Cause {
        code: "route.wrong-next-hop",
        outcome: Outcome::Dropped,
        hooks: &["route"],
        beats: &[
            Beats {
                others: &["route.forwarding-disabled", "route.none", "route.unreachable", "route.prohibit", "route.blackhole", "remote.unanswered", "wire.lost"],
                why: "another machine than the one that the route names has the destination, or has it behind it: the one that the route names knows nothing of these addresses",
            },
        ],
        what: "The sender or a router has a route to the destination's network through a machine that does not have it,
            while the one that has it stands on the same network: the node's address changed, or the route was
            written for another node. Or of two routes the one with the longer prefix or the better metric leads
            nowhere, and the other one, followed from table to table, to the destination: a second default route, a
            leftover of a VPN. Only where that machine was traced too, or is a node of the same trace.",
        recognised: "as `route.missing`; but the route that leads to the destination is none for all addresses, and
            its gateway is another one than the machine's address. Of two routes: both are followed through the
            tables of all routers that are known.",
        confirm: "`ip route get DESTINATION` where it left.",
        fix: "`ip route replace NETWORK via ADDRESS`; and what makes these routes (the network plugin, a route
            controller, a routing daemon).",
    };

    /// A policy rule leads it elsewhere than the route that leads to its destination.
    ROUTE_POLICY = Cause {
        code: "route.policy",
        outcome: Outcome::Dropped,
        hooks: &["route"],
        beats: &[
            Beats {
                others: &["route.none", "route.missing", "route.wrong-next-hop", "route.forwarding-disabled", "route.unreachable", "route.prohibit", "route.blackhole", "route.martian", "remote.unanswered", "wire.lost", "ttl.expired"],
                why: "a route that leads to the destination is there, and a policy rule before it led the packet elsewhere: who got it there knows nothing of these addresses",
            },
            Beats {
                others: &["socket.none"],
                why: "a local route in the table of a policy rule took in what is for another machine: nobody here waits for it",
            },
        ],
        what: "A policy rule (`ip rule`) leads packets into a table whose route goes elsewhere, although a later rule has a
            route that leads to the destination: the exception for the own networks is missing before the rule of a VPN
            client or of a second uplink. Or the rule stands before the table local, and takes what is for the host
            itself. The packet may be the outer one of a tunnel, or the question for a neighbour behind one.",
        recognised: "the walk over policy rules and routes is done again where the packet passed: a rule gives a route of
            a table of its own, whose next hop does not lead to the destination; without that rule a route is used
            whose next hop does: it has the address, or its network on another of its links. For the outer packets of
            a tunnel whose remote end is outside of what was traced: only the hidden route leaves by the interface
            that has their source (`likely`). And the packet did not come through.",
        confirm: "`ip rule`; `ip route get ADDRESS`, and the same with `ip route show table main`.",
        fix: "`ip rule add pref NUMBER to NETWORK lookup main`, with a number before that of the rule;
            `ip rule add pref 0 lookup local` where the rule stands before the table local.",
    };

    /// What is on the own link goes to a router.
    ROUTE_OFF_LINK = Cause {
        code: "route.off-link",
        outcome: Outcome::Dropped,
        hooks: &["route"],
        beats: &[
            Beats {
                others: &["netfilter.drop", "netfilter.reject", "route.none", "route.forwarding-disabled", "route.unreachable", "route.prohibit", "route.blackhole", "remote.unanswered", "wire.lost", "ttl.expired"],
                why: "sender and destination are neighbours on one link: a router has no business with the packet, and nobody is at fault there",
            },
        ],
        what: "The sender has an address in the destination's network, and the destination is on the same link; but the
            sender has no route for that network on the link (an address with `noprefixroute` whose route went, or was
            never made), so its default route gives the packet to a router. Routers need not send packets back on the
            link from which they came, and firewalls between zones do not expect them.",
        recognised: "an address of the interface by which it left has the destination in its network, another machine on
            the same segment owns the destination, the frame went to another MAC, and no route that was read leads to the
            destination without a gateway; the packet did not come through: `likely`.",
        confirm: "`ip route get DESTINATION` names a gateway; `ip addr` shows `noprefixroute`.",
        fix: "`ip route add NETWORK dev IF`.",
    };

    /// An ICMP redirect led it to a router that does not pass it on.
    ROUTE_REDIRECTED = Cause {
        code: "route.redirected",
        outcome: Outcome::Dropped,
        hooks: &["route"],
        beats: &[
            Beats {
                others: &["route.forwarding-disabled", "route.none", "remote.unanswered", "wire.lost", "neighbor.unresolved"],
                why: "the routes name another router: the one that the redirect named is used in its place for as long as it is remembered",
            },
        ],
        what: "The sender or a router once got an ICMP redirect, and gives packets for this destination to the router that
            it named, in place of the next hop of its routes. That one does not pass them on (any more). What was
            learned is kept for five minutes after its last use, longer than routes on which it rested.",
        recognised: "the kernel, asked for the route, answers with a next hop that it learned (RTCF_REDIRECTED; for IPv6
            a cached exception), the routes that were read name another one, and the packet did not come through:
            `likely`.",
        confirm: "`ip route get DESTINATION` says `redirected`; `ip route show cache`.",
        fix: "`ip route flush cache`; and find out why the router sends its hosts there.",
    };

    /// A blackhole route or policy rule matched.
    ROUTE_BLACKHOLE = Cause {
        code: "route.blackhole",
        outcome: Outcome::Dropped,
        hooks: &["route"],
        beats: &[],
        what: "A blackhole route or policy rule matched: discarded, nobody is told.",
        recognised: "`ip_error` or `dst_discard_out` with the route's error EINVAL. Which route or rule it was: the
            walk over rules and tables is done again over what was read of them; it is named only when it fits the
            kernel's error.",
        confirm: "`ip route get ADDRESS`; `ip route show table all type blackhole`; `ip rule`.",
        fix: "`ip route del blackhole PREFIX`, or the rule.",
    };

    /// An unreachable route or policy rule matched.
    ROUTE_UNREACHABLE = Cause {
        code: "route.unreachable",
        outcome: Outcome::Dropped,
        hooks: &["route"],
        beats: &[],
        what: "An unreachable route or policy rule matched.",
        recognised: "`ip_error` or `ip6_pkt_discard` with the route's error EHOSTUNREACH, where forwarding is on. An
            unreachable *rule* gives the error of a missing route: told by the rule itself, or (`likely`) by a
            lookup that only the local table saw.",
        confirm: "`ip route get ADDRESS`; `ip route show table all type unreachable`; `ip rule`.",
        fix: "`ip route del unreachable PREFIX`, or the rule.",
    };

    /// A prohibit route or policy rule matched.
    ROUTE_PROHIBIT = Cause {
        code: "route.prohibit",
        outcome: Outcome::Dropped,
        hooks: &["route"],
        beats: &[],
        what: r#"A prohibit route or policy rule matched: the sender is told "administratively prohibited"."#,
        recognised: "`ip_error` with the route's error EACCES, or `ip6_pkt_prohibit`. Where it (or another refusal on the
            way) met a source that a policy rule of its sender would have led elsewhere, the sender's story is told: an
            IPv6 socket that is not bound looks its route up with the source ::, chooses its source then, and keeps the
            route (`ip6_dst_lookup_tail`).",
        confirm: "`ip route get ADDRESS`; `ip route show table all type prohibit`; `ip rule`.",
        fix: "`ip route del prohibit PREFIX`, or the rule.",
    };

    /// The packet is not for this namespace, and the namespace does not forward.
    ROUTE_FORWARDING = Cause {
        code: "route.forwarding-disabled",
        outcome: Outcome::Dropped,
        hooks: &["route"],
        beats: &[],
        what: "The destination is no address of this namespace, and the namespace does not forward. Also a packet
            that was led to the wrong machine.",
        recognised: "IP_INADDRERRORS in `ip_error` or `ip6_forward`; the sysctls are read.",
        confirm: "`sysctl net.ipv4.ip_forward net.ipv4.conf.IF.forwarding`, `sysctl net.ipv6.conf.all.forwarding`.",
        fix: "`sysctl -w net.ipv4.ip_forward=1`, or of the one interface; or fix what sent the packet here.",
    };

    /// The reverse-path filter refused the source address on this interface.
    ROUTE_RP_FILTER = Cause {
        code: "route.rp-filter",
        outcome: Outcome::Dropped,
        hooks: &["route"],
        beats: &[],
        what: "The reverse-path filter: an answer to the packet's source would leave through another interface.",
        recognised: "IP_RPFILTER. The filter refuses ARP requests of the same source too, silently: then packets wait
            at the sender for a neighbour that does not answer. The neighbour's settings and its route to the asker
            are read (`likely`). A sender that uses the address of another interface than the one by which the packet
            left is named, with how it came by the source: chosen before the destination was translated or a mark
            set, preferred by a route, bound by the program, or an answer on another way than its request.",
        confirm: "`ip route get SOURCE`; `sysctl net.ipv4.conf.all.rp_filter net.ipv4.conf.IF.rp_filter` (the larger
            counts), `src_valid_mark` of the same; at the sender `ip rule`, `iptables -t nat -nvL POSTROUTING`.",
        fix: "mend the sender where it uses the address of another interface: masquerade there, the route's `src`, or
            a rule `from` the address for what is bound to it and for answers. Otherwise route the answer through
            the interface on which the packet comes; or filter loosely (`rp_filter=2`).
            Where a policy rule leads the answer elsewhere (several uplinks, pods of a second interface), the rule
            is named and only the latter helps; where the packet's mark would lead it back,
            `net.ipv4.conf.IF.src_valid_mark=1` keeps the filter strict.",
    };

    /// Its source or destination address is impossible at this place.
    ROUTE_MARTIAN = Cause {
        code: "route.martian",
        outcome: Outcome::Dropped,
        hooks: &["route"],
        beats: &[],
        what: "Its source or destination is impossible here: an own address as source, 127.0.0.0/8 from outside,
            0.0.0.0, multicast as source. Often a hairpin without masquerading, or a DNAT to 127.0.0.1.",
        recognised: "IP_LOCAL_SOURCE, IP_LOCALNET, IP_INVALID_SOURCE, IP_INVALID_DEST. Or, before any packet: the
            sender asks by ARP with an address that its neighbour has itself (`likely`).",
        confirm: "compare the packet's addresses with `ip addr`.",
        fix: "masquerade, or fix the sender; `route_localnet` only where a DNAT to loopback is wanted.",
    };

    /// Its TTL or hop limit reached zero.
    TTL_EXPIRED = Cause {
        code: "ttl.expired",
        outcome: Outcome::Dropped,
        hooks: &["route"],
        beats: &[],
        what: "TTL or hop limit used up. The verdict says whether the packet went in circles, and through which
            interfaces.",
        recognised: "IP_INHDR in `ip_forward` or `ip6_forward` (the reason speaks of the header); a loop is a journey
            that enters an interface more than once. Of what dies in a tunnel the outer TTL counts: the device that
            made the outer packet is named, with the TTL that it is set to.",
        confirm: "`ip route get ADDRESS` in each namespace of the loop; `ip -d link show dev TUNNEL`.",
        fix: "correct the route that points back: where one route of the loop alone hides another that leads out of
            it to a machine that is known, it is deleted. Without a loop, raise the sender's TTL, or that of the tunnel
            device (`ip link set dev TUNNEL type KIND ttl 64`).",
    };

    /// It is larger than the next link takes.
    MTU_EXCEEDED = Cause {
        code: "mtu.exceeded",
        outcome: Outcome::Dropped,
        hooks: &["route", "device", "bridge"],
        beats: &[],
        what: "Larger than the next link takes. The verdict says whether the sender was told; if not, small packets
            pass and large ones hang.",
        recognised: "PKT_TOO_BIG; or no reason, freed in `ip_fragment`, `br_dev_queue_push_xmit`,
            `br_nf_dev_queue_xmit`, or `__dev_forward_skb2` with a length above the veth peer's MTU. Where an ICMP
            error about the flow was dropped too, the verdict speaks of a path MTU black hole and says where it
            died, with the rule that accepts ESTABLISHED and leaves out RELATED where there is one; one that was
            followed and not seen at the sender is said to have told it nothing. Where none was built, the router's own
            route to the sender is asked for: an ICMP error is routed like all that it sends itself. A small link
            outside, of which no ICMP error tells, is known by TCP: full-sized segments leave
            again and again and are never acknowledged while nothing as large ever was, or a hole of whole segments
            is not filled: `likely` (outcome `unanswered`), `possible` where nothing shows that smaller ones pass.",
        confirm: "`ip link`, `ping -M do -s SIZE ADDRESS`.",
        fix: "the smallest MTU of the path at the sender (a route with `mtu` for the one destination); let ICMP
            errors pass; clamp TCP's MSS; `net.ipv4.tcp_mtu_probing=1`.",
    };

    /// Nobody here joined the multicast group, and nothing routes it on.
    MULTICAST = Cause {
        code: "multicast.no-member",
        outcome: Outcome::Dropped,
        hooks: &["route"],
        beats: &[],
        what: "Nobody here joined the group, and no multicast route passes it on.",
        recognised: "no reason, freed in `ip_rcv_finish_core`, `ip6_mc_input` or the UDP receiver, destination
            multicast.",
        confirm: "`ip maddr`; on a router `ip mroute`.",
        fix: "let the receiver join on the right interface, or route the group.",
    };

    /// Fragments were missing until the time was up.
    FRAGMENT = Cause {
        code: "fragment.timeout",
        outcome: Outcome::Dropped,
        hooks: &["route"],
        beats: &[],
        what: "Fragments were missing until the time was up (30 s), or came too far apart.",
        recognised: "FRAG_REASM_TIMEOUT, FRAG_TOO_FAR. Before the time is up: a fragment was seen at its destination
            and its datagram reached no socket; then `vanished`, `likely`.",
        confirm: "`nstat -az | grep -i reasm`; look for a filter that drops fragments without ports.",
        fix: "let all fragments pass, or avoid fragmentation by a smaller MTU.",
    };

    /// An IPsec policy refused it.
    XFRM = Cause {
        code: "xfrm.policy",
        outcome: Outcome::Dropped,
        hooks: &[],
        beats: &[],
        what: "An IPsec policy refused it, or demanded protection that it lacks.",
        recognised: "XFRM_POLICY; the policies are read, and the one whose selector holds is named. What a host sends
            itself is refused before there is a packet and leaves no event: `not-sent`, `likely`, where a route was
            found, no packet came, and an outgoing policy of the namespace blocks what was looked up.",
        confirm: "`ip xfrm policy`, `/proc/net/xfrm_stat`.",
        fix: "correct or remove the policy.",
    };
}
