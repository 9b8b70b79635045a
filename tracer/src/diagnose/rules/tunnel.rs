//! Tunnels: packets that arrive for one that is not there, and those that find no remote end.

use crate::model::Proto;

use super::super::advice::{Shell, text};
use super::super::candidate::{Candidate, Specificity};
use super::super::causes::{TUNNEL_NO_REMOTE, TUNNEL_UNKNOWN};
use super::super::loss::Loss;

/// `where.hook` of this family.
const HOOK: &str = "device";
/// IANA's ports of VXLAN and Geneve, and the one Linux used first (flannel still does).
const TUNNEL_PORTS: &[u16] = &[4789, 8472, 6081];

/// Decapsulation found no such tunnel.
pub fn unknown(loss: &Loss<'_>) -> Option<Candidate> {
    let shell = Shell::of(loss.host, loss.netns());
    let look = shell.run("tunnels here: id, port, state", "ip -d link show");
    if loss.reason() == "VXLAN_VNI_NOT_FOUND" {
        let id = loss
            .event
            .packet
            .as_ref()
            .or_else(|| loss.steps().last()?.event.packet.as_ref())
            .and_then(|p| p.tunnel)
            .and_then(|t| t.id)
            .map_or_else(String::new, |id| format!(" {id}"));
        return Some(
            Candidate::new(
                &TUNNEL_UNKNOWN,
                loss.place_at_device(HOOK),
                format!("no VXLAN with VNI{id}{}", loss.at_words()),
            )
            .explains(Specificity::Fact)
            .advise([
                look,
                text("give both ends the same VNI (ip link add … vxlan id …)"),
            ]),
        );
    }
    let outer = loss
        .event
        .packet
        .as_ref()
        .and_then(|p| p.tunnel)
        .or_else(|| loss.steps().last()?.event.packet.as_ref()?.tunnel)
        .map(|t| t.outer)
        .or_else(|| loss.tuple())?;
    let tunnelled = outer.proto == Proto::Udp && TUNNEL_PORTS.contains(&outer.dport);
    let at_udp = matches!(
        loss.function(),
        "__udp4_lib_rcv" | "__udp6_lib_rcv" | "udp_rcv" | "udpv6_rcv"
    );
    if !(at_udp && tunnelled && matches!(loss.reason(), "NO_SOCKET" | "NOT_SPECIFIED")) {
        return None;
    }
    Some(
        Candidate::new(
            &TUNNEL_UNKNOWN,
            loss.place_at_device(HOOK),
            format!(
                "no tunnel listens on UDP port {}{}: none with this port, or it is down",
                outer.dport,
                loss.at_words()
            ),
        )
        .explains(Specificity::Fact)
        .because(
            "icmp",
            loss.told().map(|t| format!("the other end was told: {t}")),
        )
        .advise([
            look,
            text("raise the tunnel device (ip link set … up), or give both ends the same port"),
        ]),
    )
}

/// Encapsulation found no remote end.
pub fn no_remote(loss: &Loss<'_>) -> Option<Candidate> {
    let shell = Shell::of(loss.host, loss.netns());
    let name = loss
        .last_device()
        .map_or_else(String::new, |d| loss.host.interface(d));
    let why = match (loss.reason(), loss.function()) {
        ("NO_TX_TARGET", "vxlan_xmit" | "vxlan_xmit_one" | "geneve_xmit") => {
            "no FDB entry names the remote end for its MAC"
        }
        ("VXLAN_ENTRY_EXISTS" | "VXLAN_NO_REMOTE", _) => "its FDB entry has no remote end",
        ("IP_OUTNOROUTES", "vxlan_xmit_one" | "vxlan_xmit" | "geneve_xmit") => {
            "no route to the remote end of the tunnel"
        }
        _ => return None,
    };
    Some(
        Candidate::new(
            &TUNNEL_NO_REMOTE,
            loss.place_at_device(HOOK),
            format!("tunnel without a remote end{}: {why}", loss.at_words()),
        )
        .explains(Specificity::Fact)
        .advise([
            shell.run(
                "its forwarding entries",
                format!("bridge fdb show dev {name}"),
            ),
            shell.run("routes to the remote ends", "ip route"),
            text(format!(
                "add what is missing: bridge fdb append MAC dev {name} dst REMOTE, or the route"
            )),
        ]),
    )
}
