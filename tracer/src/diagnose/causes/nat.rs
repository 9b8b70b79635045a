//! Address translation and services.

use super::{Beats, Cause, Family};
use crate::verdict::Outcome;

/// What holds for every cause, where addresses are translated.
const TRANSLATIONS: &str = "\
### Translations
Whatever the cause of a packet that finds no receiver: the rules of the namespaces that it passed are walked for the first packet of a
connection, and held against what became of it. The verdict then says

* which rule translated it; and where behind that rule stands another one, whose target exists, to delete the first (the hostPort of a pod
  that is gone);
* that no rule gives this translation any more, while conntrack still has it: the entry is stale, `conntrack -D` with its addresses and ports;
* that a rule would translate it, and its entry in conntrack, which has no translation, is older: the same;
* that a rule would translate it, and another one leaves it untracked: what is not tracked is not translated.

In the last three the route, the neighbour or the server where it died is not to blame, and no change is advised there.
";

family! {
    "Address translation and services", notes: TRANSLATIONS;

    /// It left with a source address that the network does not answer.
    NAT_SOURCE = Cause {
        code: "nat.source-address",
        outcome: Outcome::Unanswered,
        hooks: &["POSTROUTING"],
        beats: &[
            Beats {
                others: &["route.none", "route.blackhole", "route.unreachable", "route.prohibit", "neighbor.unresolved"],
                why: "the answer found no way to an address that the network does not know: the address is wrong, not the way",
            },
            Beats {
                others: &["remote.unanswered", "socket.unanswered"],
                why: "others of its addresses are answered, or this one cannot be",
            },
        ],
        what: "It left with a source address to which the network has no way back: what source NAT made of it, or the
            wrong one of several addresses of the sender, or a private one that no rule translates. A stale DHCP lease
            beside the present address, a SNAT rule with an address that nobody has, a MASQUERADE that takes the
            first of two addresses or whose rule excludes the destination, a private IPv6 address to a public one.",
        recognised: "the last change of the source on the way there (or the sender's own address) and, on the other
            side, an answer that finds no route or no neighbour for it, or a receiver that has no way to it:
            `certain`. Where nothing comes back from outside and the interface has other addresses: `likely` when
            packets from one of those are answered, or when the kernel would itself use another; else `possible`,
            since the other end may be silent. An address that is its interface's only one is never blamed: that is
            `remote.unanswered`, or the lost answer's own cause. A private source that a router forwarded as it came:
            the rules that translate sources were read and none is for it. Towards a public address: `likely` where
            others are translated there, `possible` where a chain for it is empty; towards a private one only where
            the receiver says that it has no way back.",
        confirm: "`ip addr show dev IF`; `ping -I ADDRESS DESTINATION` from each of its addresses; `iptables -t nat -nvL
            POSTROUTING`, `nft list ruleset`.",
        fix: "`ip addr del ADDRESS/LEN dev IF` when it is stale, or correct the rule (`SNAT --to-source`, `snat to`);
            the route's `src`; a rule that masquerades, or the exclusion deleted.
            Entries of conntrack keep the old address until they end.",
    };

    /// It was sent to a service address behind which there is no usable endpoint.
    NAT_NO_BACKEND = Cause {
        code: "nat.no-backend",
        outcome: Outcome::Dropped,
        hooks: &["PREROUTING", "INPUT", "OUTPUT"],
        beats: &[
            Beats {
                others: &["route.*", "ttl.expired", "neighbor.unresolved", "remote.unanswered"],
                why: "a packet that should have been translated and was not goes astray: how it dies is an accident",
            },
            Beats {
                others: &["netfilter.reject", "netfilter.drop"],
                why: "the rule refuses for want of an endpoint, or of a service",
            },
        ],
        what: "It was sent to a service address behind which there is no usable endpoint: no rule translates it any
            more, and it goes astray.",
        recognised: "a private address that no interface has and that is no neighbour's; on its way, a namespace that
            translates destinations (PREROUTING for what comes in, OUTPUT for its own packets) let it pass
            untranslated, and it arrived nowhere. Since a machine that is gone looks the same, it is `possible`, and
            the other cause is named. An address to which rules translate is an endpoint and no service. Where rules
            translate the address for other ports alone, those are named (`certain`). A service of IPVS is
            known by its tables: it has no destination, none with a weight, or the client's connection
            still leads to one that was removed (`certain`, at INPUT).",
        confirm: "`ipvsadm -Ln`, `ipvsadm -Lnc`; `iptables-save -t nat | grep ADDRESS`, `nft list ruleset | grep ADDRESS`; endpoints of the service.",
        fix: "start a backend, correct the selector of the service, or remove the service address from the client.",
    };

    /// The reply does not come back through the translator.
    NAT_ASYMMETRIC = Cause {
        code: "nat.asymmetric",
        outcome: Outcome::Dropped,
        hooks: &[],
        beats: &[
            Beats {
                others: &["*"],
                why: "an answer that misses its translator is refused by whoever meets it next: what that one says is an accident",
            },
        ],
        what: "The reply does not go back as the request came: past its translator, so that the asker does not know
            its sender, or by another uplink. Backend and client on one bridge with `bridge-nf-call-iptables` = 0; a
            backend whose gateway is not the translator; a conntrack entry that is lost while the connection lives;
            a segment outside of the window, which conntrack considers INVALID and does not translate; a UDP server
            that answers from another of its addresses; a host with two uplinks whose answers take the default
            route. It names no hook.",
        recognised: "NO_SOCKET for an answer (a SYN-ACK, a datagram) at a socket that had contacted another address,
            which was translated on the way there; an answer for a translated source that the translator itself no
            longer knows; an answer that leaves through another interface than the request came in on, and not
            through the translator. Of a namespace that gets a request by one interface and answers through another
            the evidence says so with every verdict; it is the cause where the answer died where the request had not
            been (`certain`; a firewall that considers it INVALID is `conntrack.invalid`), or left and was never
            acknowledged (`likely`). A segment is INVALID, and its entry not lost, where others of the connection
            are translated before and after it, or its numbers are far from those of the connection. A UDP server's
            answer from another address of its host is followed too, by the source that the kernel says it would take,
            and counts as the flow's: `likely` where the asker refused it or it was lost on the way, else `possible`;
            where none was seen, a socket bound to no address and a route back that prefers another source than was
            asked are `likely`.",
        confirm: "`conntrack -L -d SERVICE` ([UNREPLIED]), `conntrack -S` (invalid); `ip route get CLIENT` on the
            server, `ip rule`; `sysctl net.bridge.bridge-nf-call-iptables`.",
        fix: "lead the answers through the translator (the backend's route,
            `sysctl -w net.bridge.bridge-nf-call-iptables=1`), or masquerade what it sends to the backend; bind a
            UDP server to the address that is asked. With two uplinks: `ip rule add from ADDRESS lookup TABLE`, or
            for answers that are translated a connection mark (CONNMARK) and `ip rule add fwmark MARK lookup TABLE`.
            For INVALID segments: `net.netfilter.nf_conntrack_tcp_be_liberal=1`, or a rule that drops what is
            INVALID.",
    };

    /// A machine does not have the virtual address of an IPVS service that it should have.
    NAT_VIRTUAL_ADDRESS = Cause {
        code: "nat.virtual-address",
        outcome: Outcome::Dropped,
        hooks: &["route"],
        beats: &[
            Beats {
                others: &[
                    "route.forwarding-disabled",
                    "route.none",
                    "route.unreachable",
                    "neighbor.unresolved",
                    "ttl.expired",
                    "nat.no-backend",
                    "tunnel.unknown",
                ],
                why: "the packet had arrived: this machine is to take it in, not to pass it on",
            },
        ],
        what: "A packet for the virtual address of an IPVS service came to a machine that should have the address and has
            not: the balancer itself (kube-proxy's `kube-ipvs0` lacks it), or a real server to which the service
            sends by direct routing or through a tunnel.",
        recognised: "the packet is not for this namespace, has no route or goes round, IPVS has a service for its
            destination here, or in a namespace that it passed, with a destination by direct routing or tunnel that
            is an address of this namespace. A tunnel's packet that is not taken out counts where the device for it
            (`tunl0`) is down.",
        confirm: "`ipvsadm -Ln` at the balancer, `ip addr show` here.",
        fix: "`ip addr add ADDRESS/32 dev kube-ipvs0` at the balancer. At a real server `ip addr add ADDRESS/32 dev lo`,
            with `net.ipv4.conf.all.arp_ignore=1` and `arp_announce=2` so that it does not answer for the address.
            Never forwarding: the packet would go back to the balancer.",
    };
}
