//! Neighbours, links and bridges.

use super::{Beats, Cause, Family};
use crate::verdict::Outcome;

family! {
    "Neighbours, links, bridges";

    /// ARP or neighbour discovery got no answer for the next hop.
    NEIGHBOR_UNRESOLVED = Cause {
        code: "neighbor.unresolved",
        outcome: Outcome::Dropped,
        hooks: &["neighbor"],
        beats: &[],
        what: r#""ARP miss": nobody answers ARP (IPv6: neighbour solicitations) for the next hop. The packet waits, and
            is given up after three seconds."#,
        recognised: "NEIGH_FAILED, or freed in `neigh_invalidate` (IPv6 gives no reason); before that, packets in the
            queue of an entry that is INCOMPLETE. The question is followed over the segment as far as facts lead
            (veths, bridges with their VLANs, ports and multicast snooping, VXLANs, macvlans), and whoever has the
            address there is asked why it does not answer: a bridge that keeps the question back (`l2.bridge`),
            arp_ignore or arp_filter (`socket.silent`), a reverse-path filter, an impossible asker, an address that
            is not ready, a proxy that is only half set up. An address in a network that the segment does not reach
            does not count: networks of one machine may use the same addresses. The route that makes the address a
            neighbour is given: as a gateway, as one of several next hops, or by taking the destination to be on the
            link. Then nothing is wrong with the neighbour where the network of the link is too large (the other end
            has a longer prefix) or was put there by mistake (the route that would be used without it is named), or
            where the owner is behind a machine that is on the link and does not answer in its place. Interfaces that
            hand each other what comes in (tc, as in the pod of a virtual machine) are one link; an entry that was
            typed at one of them is named where the machine behind the other lacks it. So is the end of an overlay to
            which a VXLAN device does not flood, where the owner is behind it.",
        confirm: "`ip neigh show`; the verdict says whether the question reached the other end.",
        fix: "start or repair the machine that owns the address; leave out a next hop that does not answer; correct
            the prefix length; a route for the one address past the link; `ip neigh add proxy ADDRESS dev IF` on the
            machine in between, or `proxy_arp` at the node's end of a pod's link. See also *Translations* below.",
    };

    /// Two machines of one network have the same address: the packet came to the wrong one.
    NEIGHBOR_DUPLICATE = Cause {
        code: "neighbor.duplicate-address",
        outcome: Outcome::Dropped,
        hooks: &["neighbor", "device"],
        beats: &[
            Beats {
                others: &["socket.none", "netfilter.drop", "netfilter.reject"],
                why: "it came to the wrong machine: what that one makes of it is no fault",
            },
        ],
        what: "Two machines of one network have the same address (IP, or MAC). Whichever answered last, or was heard
            last by the bridge, gets the packets; here it was the wrong one.",
        recognised: "the packet died in a namespace that owns the address (nobody listens, a filter refuses), and the
            address also belongs to another interface on the same bridge: `certain` when answers with two MACs were
            seen. For a MAC: the frame's MAC is the interface's own, the packet's address is not this namespace's
            (`ip_error`), and another interface has the same MAC and owns the address; the forwarding database says
            on which port the bridge has it now. A bridge takes what is for the MAC of one of its ports: a port that
            has the MAC of the machine behind another one is named.",
        confirm: "`arping -D -I IF ADDRESS`, `ip addr` and `ip link` at both; `bridge fdb show` twice, a few seconds
            apart.",
        fix: "take the address from one of the two (`ip addr del`), then `ip neigh flush ADDRESS` at the sender; or
            give one of them another MAC.",
    };

    /// The frame was for another MAC than the interface's.
    L2_WRONG_MAC = Cause {
        code: "l2.wrong-destination-mac",
        outcome: Outcome::Dropped,
        hooks: &["device"],
        beats: &[
            Beats {
                others: &["route.*", "netfilter.*", "neighbor.unresolved", "ttl.expired"],
                why: "who took the frame is not the sender's next hop: what it does with the packet is not at fault",
            },
            Beats {
                others: &["remote.unanswered", "wire.lost"],
                why: "a frame that left with the MAC of an interface of its own host is taken by nobody beyond",
            },
        ],
        what: "The frame came to an interface with another MAC than it is for, and no other copy of it was taken; or a
            machine took it that is not the sender's next hop.",
        recognised: "OTHERHOST in `ip_rcv_core`, no other branch of the journey accepted. Both MACs are given. A
            flooded frame is judged where it should have arrived: at the owner of the next hop. Where a bridge's
            forwarding database has the MAC on another port than the one behind which it is, or as its own, the
            entry is named; a sender with ARP turned off, which puts its own MAC on all frames. A destination that
            changed between two observations although the source did not, or behind a right neighbour entry, was
            written over: the rule (ebtables, nft) that has that MAC is named, else what stands on both interfaces.
            Else the sender's neighbour entry. Where the packet was lost at or behind a machine that does not have
            the address of the sender's next hop, and another interface of the segment has it: the address moved and
            was not announced, somebody answers for it (proxy_arp), or the entry was typed. Where nobody on the
            segment has the frame's MAC, and an interface of it has the next hop's address with another one, the
            entry outlived that MAC, as when a bridge takes the MAC of a new port: whether a bridge dropped the frame
            (NO_TX_TARGET) or a copy died at a bystander. A frame that was handed on although it was addressed to the
            interface where it came in (a redirect of tc, a program, `fwd to` of nftables) keeps that MAC past routing, and
            is judged where it left this host too.",
        confirm: "`ip neigh` at the sender, `bridge fdb show` on the way, `ip link` here.",
        fix: "correct the neighbour or FDB entry, delete the rule; or, where the interface owns the next hop,
            `ip link set dev IF address MAC`.",
    };

    /// The sender's neighbour entry outlived the machine: nobody on the segment has its MAC or its address.
    L2_GONE = Cause {
        code: "l2.gone",
        outcome: Outcome::Dropped,
        hooks: &["neighbor", "device"],
        beats: &[
            Beats {
                others: &["route.none", "route.blackhole", "route.unreachable", "route.prohibit", "route.forwarding-disabled", "neighbor.unresolved", "remote.unanswered", "wire.lost", "ttl.expired", "netfilter.drop", "netfilter.reject"],
                why: "an address that a host has no more leaves by a route: whoever gets the packets there is not at fault",
            },
            Beats {
                others: &["l2.wrong-destination-mac", "l2.bridge"],
                why: "nobody has the MAC or the address: whoever got a copy of the frame, or had no port for it, is not at fault",
            },
        ],
        what: "A neighbour entry outlived the machine that it names: a client still holds the address of a deleted
            pod or a stopped container. Or a host lost an address of its own (a node's DNS cache, a virtual address).",
        recognised: "a unicast frame died as a flooded copy (OTHERHOST) or in a bridge that had no port for it; no
            interface that the sender's segment reaches has its MAC, none has the address of the next hop, and the
            segment ends on this host. Placed at the sender, whose entry is stale. Where an interface that is gone
            had the MAC or the address, it is named. Of an own address: nobody has it, and a host that sent the packets
            on has a socket that is bound to it, or a rule of INPUT for it alone; or a host that does not forward, or sends back what a
            route to the address alone leads to it, got them, and a process of it listens on their port.",
        confirm: "`ip neigh show ADDRESS` at the sender, `bridge fdb show` on the way.",
        fix: "what names the address has to learn the new one (endpoints, DNS answers that are held, a
            configuration), or the machine has to come back. Deleting the entry only makes the sender learn at once
            that nobody answers.",
    };

    /// The bridge did not pass it on: port state, isolation, hairpin, lock or flooding.
    L2_BRIDGE = Cause {
        code: "l2.bridge",
        outcome: Outcome::Dropped,
        hooks: &["bridge"],
        beats: &[
            Beats {
                others: &["neighbor.unresolved"],
                why: "the request or its answer was kept back on the way: the neighbour cannot know",
            },
        ],
        what: "A bridge did not pass it on: port state, isolation, lock, hairpin, flooding, VLAN filtering; or an
            interface is no port of it. The same happens between macvlans of one parent that are not both in bridge
            mode, and between a macvlan, or an ipvlan of mode l2, and its parent.",
        recognised: "freed in `br_handle_frame_finish` and its relatives; BRIDGE_INGRESS_STP_STATE, NO_TX_TARGET. The
            kernel has one place for several: which it was is told by the ports' settings and the forwarding
            database, read beside the loss. A port that gets no copy of a flooded frame is skipped silently: then an
            ARP request (or a flooded frame) came into the bridge, the owner is behind another of its ports, and
            that port's settings keep it from there.",
        confirm: "`bridge -d link show`, `bridge fdb show`, `bridge vlan show`; `ip -d link show` for the mode of a macvlan.",
        fix: "`bridge link set dev PORT isolated off` (or `hairpin on`, `flood on`, `bcast_flood on`, `locked off`,
            `state forwarding`); `bridge vlan add dev PORT vid N`, with `pvid untagged` where the machine behind it
            sends no tags; `ip link set dev PORT master BRIDGE`;
            `ip link set dev IF type macvlan mode bridge`.",
    };

    /// A frame has another VLAN tag than the one that is taken at the other end.
    L2_VLAN = Cause {
        code: "l2.vlan",
        outcome: Outcome::Dropped,
        hooks: &["device", "neighbor"],
        beats: &[
            Beats {
                others: &["neighbor.unresolved", "l2.wrong-destination-mac", "l2.gone"],
                why: "the frame or the question came with a tag that nobody takes: its MAC and the neighbour are not at fault",
            },
        ],
        what: "The two ends of a link use different VLANs: a frame comes with a tag for which the interface has no VLAN
            device (another number, or 802.1ad instead of 802.1Q), or without the tag that the VLAN device at the
            other end wants.",
        recognised: "a frame for the interface's own MAC is freed as OTHERHOST, and the VLAN devices and ports of
            filtering bridges on its way gave it a tag that no VLAN device there takes; or ARP or neighbour discovery
            is not answered, and the owner of the address is behind a VLAN device of another number.",
        confirm: "`ip -d link show type vlan` at both ends; `bridge vlan show` on the way; `tcpdump -e vlan`.",
        fix: "the same number at both ends: a VLAN device can only be made anew
            (`ip link add link IF name IF.N type vlan id N`); or `bridge vlan add dev PORT vid N` with or without
            `pvid untagged` at the port on the way.",
    };

    /// The interface or its peer is down or gone.
    LINK_DOWN = Cause {
        code: "link.down",
        outcome: Outcome::Dropped,
        hooks: &["device"],
        beats: &[
            Beats {
                others: &["neighbor.unresolved", "route.none", "route.unreachable", "route.prohibit", "route.blackhole", "route.missing", "route.forwarding-disabled", "remote.unanswered", "wire.lost", "ttl.expired"],
                why: "nobody can be asked over a link that is down, and its routes went with it: what another route took its packets to knows nothing of them",
            },
            Beats {
                others: &["route.missing", "route.forwarding-disabled", "route.prohibit", "route.blackhole", "remote.unanswered", "wire.lost"],
                why: "the route went with a TUN device that is down: where the default route took the packet nobody is at fault",
            },
        ],
        what: "The interface or its peer is down or gone. A route that went with its link counts too.",
        recognised: "QDISC_DROP in `__dev_queue_xmit` without carrier (a TUN device that no process has open has
            none) or on a device that is down and has no queue (`lo`); freed in `__dev_forward_skb2` with a peer that is down; a neighbour failure or a missing route on
            an interface that is down; DEV_READY in `tun_get_user`; or a packet that the default route took, while a TUN device
            is down that the machine with the destination behind it has too.",
        confirm: "`ip link show dev IF`, at both ends.",
        fix: "`ip link set dev IF up`; start the process of a TUN device.",
    };

    /// The protocol is off on the interface, or its address is not usable yet.
    ADDRESS_NOT_READY = Cause {
        code: "address.not-ready",
        outcome: Outcome::Dropped,
        hooks: &["device"],
        beats: &[],
        what: "The protocol is off on the interface, or its address is tentative or duplicate.",
        recognised: "IPV6DISABLED. Or nobody answers solicitations for an address that its owner holds as tentative
            or dadfailed, or the interface at the other end of the cable has disable_ipv6 set. With outcome
            `not-sent`: it is set in the sender.",
        confirm: "`sysctl net.ipv6.conf.IF.disable_ipv6`, `ip -6 addr`.",
        fix: "`sysctl -w net.ipv6.conf.IF.disable_ipv6=0`; wait for the end of duplicate address detection, or take
            the address from one of the two that have it.",
    };
}
