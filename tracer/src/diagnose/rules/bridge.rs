//! Frames that a bridge does not pass on.

use super::super::advice::{Shell, text};
use super::super::candidate::{Candidate, Specificity};
use super::super::causes::{L2_BRIDGE, MTU_EXCEEDED};
use super::super::loss::Loss;

/// `where.hook` of this family.
const HOOK: &str = "bridge";

/// Locations and reasons of a bridge, with what they can mean. The first that fits counts.
const ROWS: &[(&str, &str, &str)] = &[
    (
        "BRIDGE_INGRESS_STP_STATE",
        "",
        "the port it came in on is not forwarding (STP state, or the bridge is down)",
    ),
    (
        "BRIDGE_NON_FORWARDING_STATE",
        "",
        "the port is not forwarding",
    ),
    (
        "NO_TX_TARGET",
        "br_handle_frame_finish",
        "no FDB entry for its MAC, and flooding is off",
    ),
    (
        "NO_TX_TARGET",
        "br_flood",
        "no FDB entry for its MAC, and flooding is off",
    ),
    (
        "MAC_INVALID_SOURCE",
        "br_handle_frame",
        "its source MAC is invalid",
    ),
    (
        "MAC_IEEE_MAC_CONTROL",
        "",
        "a MAC control frame is not passed on",
    ),
    (
        "BRIDGE_VLAN_INGRESS",
        "",
        "its VLAN is not allowed on the port",
    ),
    ("VLAN_FILTER", "", "its VLAN is not allowed on the port"),
    (
        "NOT_SPECIFIED",
        "br_handle_frame_finish",
        "the port towards its MAC is isolated, not forwarding, locked, or the one it came from (hairpin off)",
    ),
    ("NOT_SPECIFIED", "__br_forward", "the port does not take it"),
    ("NOT_SPECIFIED", "br_forward", "the port does not take it"),
    (
        "NOT_SPECIFIED",
        "br_handle_frame",
        "the port does not take it",
    ),
    (
        "NOT_SPECIFIED",
        "br_pass_frame_up",
        "the bridge itself does not take it",
    ),
    (
        "NOT_SPECIFIED",
        "br_dev_xmit",
        "the bridge is not up, or has no port for it",
    ),
];

/// A frame dropped between two ports.
pub fn refused(loss: &Loss<'_>) -> Option<Candidate> {
    let (.., why) = ROWS.iter().find(|(reason, function, _)| {
        *reason == loss.reason() && (function.is_empty() || *function == loss.function())
    })?;
    let name = loss
        .last_device()
        .map_or_else(String::new, |d| loss.host.interface(d));
    let shell = Shell::of(loss.host, loss.netns());
    Some(
        Candidate::new(
            &L2_BRIDGE,
            loss.place_at_device(HOOK),
            format!("bridge does not pass it on{}: {why}", loss.at_words()),
        )
        .advise([
            shell.run("look at the ports: state, isolated, locked, hairpin, flood", "bridge -d link show"),
            shell.run("which port has its MAC", "bridge fdb show"),
            shell.run("the port it came in on", format!("bridge -d link show dev {name}")),
            text("set what is wrong with: bridge link set dev PORT isolated off | hairpin on | flood on | locked off | state 3"),
        ]),
    )
}

/// The egress port has a smaller MTU; nobody is told.
pub fn port_mtu(loss: &Loss<'_>) -> Option<Candidate> {
    if !loss.unnamed()
        || !matches!(
            loss.function(),
            "br_dev_queue_push_xmit" | "br_nf_dev_queue_xmit"
        )
    {
        return None;
    }
    let mtu = loss.info.mtu.or_else(|| loss.link().map(|l| l.mtu));
    let limit = mtu.map_or_else(String::new, |m| format!(", the port's MTU is {m}"));
    let shell = Shell::of(loss.host, loss.netns());
    Some(
        Candidate::new(
            &MTU_EXCEEDED,
            loss.place_at_device(HOOK),
            format!(
                "packet too big for the bridge port{}: {} bytes{limit}; the sender was not told",
                loss.at_words(),
                loss.event.len
            ),
        )
        .explains(Specificity::Location)
        .advise([
            shell.run("MTU of the ports", "ip link"),
            text("give all ports and the machines behind them the same MTU"),
        ]),
    )
}
