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
        recognised: "NO_TX_TARGET or IP_OUTNOROUTES in `vxlan_xmit` and its relatives. The remote end that has no
            route is named, as the forwarding database (or the device) has it; or the device's own end, where that is no
            address of its namespace (any more). A remote end that is an address of
            the sending host itself belongs here too: what is sent there comes back out of the tunnel, until its TTL
            is used up. A remote end that exists for routing but does not answer ARP is `neighbor.unresolved`, with
            that end and the entry that names it.",
        confirm: "`bridge fdb show dev VXLAN`, `ip route get REMOTE`.",
        fix: "`bridge fdb append MAC dev VXLAN dst REMOTE`, or the route.",
    };
}
