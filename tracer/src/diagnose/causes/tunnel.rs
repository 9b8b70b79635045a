//! Tunnels.

use super::{Beats, Cause, Family};
use crate::verdict::Outcome;

family! {
    "Tunnels";

    /// It arrived for a tunnel that does not exist here.
    TUNNEL_UNKNOWN = Cause {
        code: "tunnel.unknown",
        outcome: Outcome::Dropped,
        hooks: &["device"],
        beats: &[
            Beats {
                others: &["socket.none"],
                why: "the port is that of a tunnel: no process would listen there",
            },
        ],
        what: "It came for a tunnel that does not exist here: other VNI or key, other port, other ends, or the
            tunnel device is down.",
        recognised: "VXLAN_VNI_NOT_FOUND; NO_SOCKET for UDP to a port of VXLAN or Geneve; an outer packet of GRE, IP in
            IP or Geneve that `gre_rcv`, `tunnel4_rcv` or one of their relatives frees and that no device of this
            namespace is set to take. The device that almost fits (down, other VNI or key, other port, other ends)
            is named.",
        confirm: "`ip -d link show type vxlan` (or `gre`, `ipip` …) at both ends.",
        fix: "the same VNI, key and port at both ends, each with the other's address as its remote end; bring the
            device up.",
    };

    /// The tunnel has no entry or route for the remote end.
    TUNNEL_NO_REMOTE = Cause {
        code: "tunnel.no-remote",
        outcome: Outcome::Dropped,
        hooks: &["device"],
        beats: &[
            Beats {
                others: &["ttl.expired", "l2.wrong-destination-mac"],
                why: "what a tunnel sends to itself goes round until its TTL is used up, or comes to the wrong device",
            },
        ],
        what: "The tunnel has no entry, or no route, for the remote end.",
        recognised: "NO_TX_TARGET or IP_OUTNOROUTES in `vxlan_xmit` and its relatives; freed in `wg_xmit`, where no peer of
            a WireGuard device has the destination in its allowed-ips, or the one that has it has no endpoint. The remote end that has no
            route is named, as the forwarding database (or the device) has it; or the device's own end, where that is no
            address of its namespace (any more). A remote end that is an address of
            the sending host itself belongs here too: what is sent there comes back out of the tunnel, until its TTL
            is used up. A remote end that exists for routing but does not answer ARP is `neighbor.unresolved`, with
            that end and the entry that names it.",
        confirm: "`bridge fdb show dev VXLAN`, `ip route get REMOTE`.",
        fix: "`bridge fdb append MAC dev VXLAN dst REMOTE`, or the route; `wg set IF peer KEY allowed-ips LIST` or
            `endpoint ADDRESS:PORT`.",
    };

    /// The other end of a WireGuard tunnel does not take it.
    TUNNEL_WIREGUARD = Cause {
        code: "tunnel.wireguard",
        outcome: Outcome::Dropped,
        hooks: &["device"],
        beats: &[],
        what: "The other end of a WireGuard tunnel does not take it: its allowed-ips lack the packet's source for this
            peer, it does not know the sender's key, it listens elsewhere, or there was never a handshake.",
        recognised: "nothing came back, and the packet was last seen where it was handed to a WireGuard device, or
            where the receiving one discarded it (`consume_skb` in `wg_packet_rx_poll`). Peers, public keys, endpoints
            and allowed-ips of all WireGuard devices of the machine are read and compared; where the other end is
            another machine, only that there was no handshake can be told. A sending device without a peer for the
            destination, or without an endpoint of it, frees the packet itself (`wg_xmit`): `tunnel.no-remote`.",
        confirm: "`wg show` at both ends: endpoint, allowed ips, latest handshake; `tracer udp port PORT` for the
            outer packets.",
        fix: "`wg set IF peer KEY allowed-ips LIST` (the whole list), `wg set IF peer KEY endpoint ADDRESS:PORT`, or
            the right key; and the same in the configuration that wg-quick or another daemon applies.",
    };
}
