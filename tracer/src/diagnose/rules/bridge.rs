//! Frames that a bridge does not pass on.

use crate::host::Host;
use crate::host::facts::{Link, PortState};
use crate::model::{Detail, Device, Mac, Step};
use crate::network::bridging::{
    self, Cast, Obstacle, VlanFault, VlanGap, at_entry, bridge_of, learned_port, towards, true_way,
    vlan_in, vlan_out, way_to,
};
use crate::network::links::is_idle;
use crate::uapi::if_arp::ARPHRD_ETHER;

use super::super::candidate::{Candidate, Specificity};
use super::super::causes::{L2_BRIDGE, MTU_EXCEEDED};
use super::super::layer2_commands::fdb_anywhere;
use super::super::loss::Loss;
use super::super::remedy::{Remedy, Shell, command, text};
use super::l2;
use super::link;
use super::vlan;

/// `where.hook` of this family.
pub(super) const HOOK: &str = "bridge";

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
        "no FDB entry for its MAC, and no port takes what is unknown",
    ),
    (
        "NO_TX_TARGET",
        "br_flood",
        "no FDB entry for its MAC, and no port takes what is unknown",
    ),
    (
        "NO_TX_TARGET",
        "br_dev_xmit",
        "no FDB entry for its MAC, and no port takes what is unknown",
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
        "br_allowed_ingress",
        "its VLAN is not allowed on the port",
    ),
    (
        "NOT_SPECIFIED",
        "__allowed_ingress",
        "its VLAN is not allowed on the port",
    ),
    (
        "NOT_SPECIFIED",
        "br_handle_vlan",
        "its VLAN is not allowed on the port",
    ),
    (
        "NOT_SPECIFIED",
        "br_handle_frame_finish",
        "the port towards its MAC is isolated, not forwarding, locked, or the one it came from (hairpin off)",
    ),
    ("NOT_SPECIFIED", "__br_forward", "the port does not take it"),
    ("NOT_SPECIFIED", "br_forward", "the port does not take it"),
    ("NOT_SPECIFIED", "br_flood", "no port takes it"),
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
    // Settings of ports count where somebody has the frame's MAC.
    if let Some(outdated) = l2::outdated::entry(loss) {
        return Some(outdated);
    }
    if let Some(misplaced) = misplaced(loss) {
        return Some(misplaced);
    }
    if let Some(obstacle) = obstacle(loss) {
        return Some(held_up(loss, &obstacle));
    }
    if loss.reason() == "NO_TX_TARGET"
        && let Some(lonely) = lonely(loss)
    {
        return Some(lonely);
    }
    let shell = Shell::of(loss.host, loss.netns());
    Some(
        Candidate::new(
            &L2_BRIDGE,
            loss.place_at_device(HOOK),
            format!("bridge does not pass it on{}: {why}", loss.at_words()),
        )
        .advise([
            shell.look("look at the ports: state, isolated, locked, hairpin, flood", "bridge -d link show"),
            shell.look("which port has its MAC", "bridge fdb show"),
            shell.look("the port it came in on", command!["bridge -d link show dev", name]),
            text("set what is wrong with: bridge link set dev PORT isolated off | hairpin on | flood on | locked off | state 3"),
        ]),
    )
}

/// The forwarding database names a port behind which nobody has the frame's MAC: settings of that port do not count.
fn misplaced(loss: &Loss<'_>) -> Option<Candidate> {
    let host = loss.host;
    let from = loss.last_device()?;
    let (source, mac) = frame_macs(loss)?;
    let bridge = bridge_of(host, from)?;
    // What the port takes in at all is asked first.
    let entered = host.link(from)?;
    if from != bridge.device && at_entry(host, bridge, entered, Some(source)).is_some() {
        return None;
    }
    let found = l2::Misplaced::of(host, bridge, mac)?;
    let summary = format!(
        "bridge does not pass it on{}: {}",
        loss.at_words(),
        found.words(host)
    );
    Some(
        Candidate::new(&L2_BRIDGE, loss.place_at_device(HOOK), summary)
            .explains(Specificity::Fact)
            .because("fdb", fdb_words(loss, Some(mac)))
            .advise(found.advice(host)),
    )
}

/// The bridge has no other port to send it to: one is missing.
fn lonely(loss: &Loss<'_>) -> Option<Candidate> {
    let host = loss.host;
    let from = loss.last_device()?;
    let bridge = bridge_of(host, from)?;
    let others: Vec<String> = bridging::ports(host, bridge)
        .filter(|p| p.device != from)
        .filter(|p| p.up && p.port.is_none_or(|s| s.state == PortState::Forwarding))
        .map(|p| p.name.clone())
        .collect();
    if !others.is_empty() {
        return None;
    }
    let loose: Vec<&Link> = host
        .links()
        .filter(|l| l.device.netns == bridge.device.netns && l.device != from)
        .filter(|l| l.up && l.master.is_none() && l.arp_type == ARPHRD_ETHER && l.kind != "bridge")
        .filter(|l| is_idle(host, l))
        .collect();
    let names: Vec<&str> = loose.iter().map(|l| l.name.as_str()).collect();
    let suspects = if names.is_empty() {
        String::new()
    } else {
        format!("; {} stands without a bridge", names.join(", "))
    };
    let shell = Shell::of(host, loss.netns());
    Some(
        Candidate::new(
            &L2_BRIDGE,
            loss.place_at_device(HOOK),
            format!(
                "bridge does not pass it on{}: {} has no other port that forwards{suspects}",
                loss.at_words(),
                bridge.name
            ),
        )
        .explains(Specificity::Fact)
        .advise([shell.look(
            "ports of the bridge",
            command!["ip link show master", bridge.name],
        )])
        .advise(loose.iter().flat_map(|l| {
            [shell
                .change(
                    "attach what is missing",
                    command!["ip link set dev", l.name, "master", bridge.name],
                )
                .undone_by(command!["ip link set dev", l.name, "nomaster"])]
        })),
    )
}

/// The entry that a port lacks to which nothing unknown is flooded: that is mostly meant.
fn entry(host: &Host, obstacle: &Obstacle<'_>, mac: Mac) -> Option<Remedy> {
    let Obstacle::Flood(port, "flood") = obstacle else {
        return None;
    };
    let words =
        |verb: &'static str| command!["bridge fdb", verb, mac, "dev", port.name, "master static"];
    let text = format!("tell the bridge that {mac} is behind {}", port.name);
    let shell = Shell::of(host, Some(port.device.netns));
    Some(shell.change(text, words("add")).undone_by(words("del")))
}

/// The loss with the one setting that did it.
fn held_up(loss: &Loss<'_>, obstacle: &Obstacle<'_>) -> Candidate {
    let host = loss.host;
    let mac = frame_macs(loss).map(|(_, dst)| dst);
    if let Obstacle::LinkDown(port) = obstacle {
        return link::down(
            host,
            port.device,
            loss.info.function.clone(),
            &link::ends(loss),
        )
        .because(
            "fdb",
            mac.map(|mac| {
                format!(
                    "{mac} is behind {}, and the bridge cannot send there",
                    port.name
                )
            }),
        );
    }
    let unknown = match (obstacle, mac) {
        (Obstacle::Flood(..) | Obstacle::NoPort(..), Some(mac)) => {
            format!("no FDB entry for {mac}, and ")
        }
        _ => String::new(),
    };
    Candidate::new(
        &L2_BRIDGE,
        loss.place_at_device(HOOK),
        format!(
            "bridge does not pass it on{}: {unknown}{}",
            loss.at_words(),
            obstacle.words(host)
        ),
    )
    .explains(Specificity::Fact)
    .because("link", obstacle.read(host))
    .because("fdb", fdb_words(loss, mac))
    .advise(mac.and_then(|mac| entry(host, obstacle, mac)))
    .advise(obstacle.advice(host))
    .advise(
        mac.map(|mac| {
            Shell::of(host, loss.netns()).look("which port has its MAC", fdb_anywhere(mac))
        }),
    )
}

/// What the bridge knows of the frame's MAC.
fn fdb_words(loss: &Loss<'_>, mac: Option<Mac>) -> Option<String> {
    let bridge = bridge_of(loss.host, loss.last_device()?)?;
    let mac = mac?;
    loss.host.forwarding(bridge.device, mac)?;
    Some(match learned_port(loss.host, bridge, mac) {
        Some(port) => format!("{} has {mac} on port {}", bridge.name, port.name),
        None => format!("{} has no entry for {mac}", bridge.name),
    })
}

/// Source and destination of the frame that the bridge got.
fn frame_macs(loss: &Loss<'_>) -> Option<(Mac, Mac)> {
    l2::frame(loss).map(|f| (f.src, f.dst))
}

/// The setting for which this frame was refused, where it can be told.
fn obstacle<'a>(loss: &Loss<'a>) -> Option<Obstacle<'a>> {
    let host = loss.host;
    let from = host.link(loss.last_device()?)?;
    let bridge = bridge_of(host, from.device)?;
    let macs = frame_macs(loss);
    if from.device != bridge.device
        && let Some(found) = at_entry(host, bridge, from, macs.map(|(src, _)| src))
    {
        return Some(found);
    }
    let (_, mac) = macs?;
    let learned = learned_port(host, bridge, mac);
    let owner = || {
        let dst = loss.dst()?;
        host.owners(dst)
            .filter_map(|d| host.link(d))
            .find_map(|end| way_to(host, bridge, end))
    };
    let to: &Link = learned
        .or_else(|| true_way(host, bridge, mac))
        .or_else(owner)?;
    if let Some(gap) = outside_vlan(loss, bridge, (from, to)) {
        return Some(Obstacle::Vlan(gap));
    }
    let cast = match Cast::of(mac) {
        Cast::Unknown if learned.is_some() && loss.reason() != "NO_TX_TARGET" => Cast::Known,
        other => other,
    };
    towards(host, bridge, from, to, cast)
}

/// The port that does not belong to the VLAN of the frame, where the bridge filters VLANs.
fn outside_vlan<'a>(
    loss: &Loss<'a>,
    bridge: &'a Link,
    (from, to): (&'a Link, &'a Link),
) -> Option<VlanGap<'a>> {
    let host = loss.host;
    if !bridge.bridge.is_some_and(|b| b.vlan_filtering) {
        return None;
    }
    let before = loss.steps().iter().take_while(|step| {
        let here = step.event.device == Some(from.device);
        let inwards = matches!(step.event.detail, Detail::Ingress);
        !(here && inwards == (from.device != bridge.device))
    });
    let before: Vec<Step> = before.cloned().collect();
    let tag = vlan::tags(host, &before).last().map(|tag| tag.vlan);
    let gap = |fault| match fault {
        VlanFault::Obstacle(Obstacle::Vlan(gap)) => Some(VlanGap {
            other: gap.other.or(Some(to)),
            ..gap
        }),
        _ => None,
    };
    match vlan_in(host, bridge, from, tag) {
        Err(fault) => gap(fault),
        Ok(vlan) => vlan_out(host, bridge, from, to, vlan).err().and_then(gap),
    }
}

/// Bridges that the packet came into before it was lost, with the port, or the bridge's own device.
pub(super) fn entered<'a>(loss: &Loss<'a>) -> impl Iterator<Item = (&'a Link, &'a Link)> {
    let host = loss.host;
    loss.steps().iter().filter_map(move |step| {
        let device: Device = step.event.device?;
        let bridge = bridge_of(host, device)?;
        let inwards = matches!(step.event.detail, Detail::Ingress);
        let from = host.link(device)?;
        ((device == bridge.device) != inwards).then_some((bridge, from))
    })
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
    let name = loss
        .last_device()
        .map_or_else(|| "PORT".to_owned(), |d| loss.host.interface(d));
    let wanted = loss.peer().map_or(1500, |peer| peer.mtu);
    let set = |mtu: u32| command!["ip link set dev", name, "mtu", mtu];
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
            shell.look("MTU of the ports", "ip link"),
            mtu.into_iter().fold(
                shell.change(
                    "give the port the MTU of the machine behind it",
                    set(wanted),
                ),
                |change, mtu| change.undone_by(set(mtu)),
            ),
            text("or give all ports and the machines behind them the same, smaller MTU"),
        ]),
    )
}
