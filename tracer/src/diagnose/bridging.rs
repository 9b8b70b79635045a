//! What keeps two ends of a bridge apart: settings of the bridge and its ports, as they were read, against the way
//! that a frame should have gone. Says nothing of why a packet was lost; the rules do.

use std::collections::BTreeSet;

use crate::host::Host;
use crate::host::facts::{Link, PortState};
use crate::model::{Device, IfIndex, Mac};
use crate::network::links::peer_of;

use super::remedy::{Remedy, Shell, command, text};
use super::words;

/// How a frame is addressed, as a bridge sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cast {
    /// To a MAC of its forwarding database.
    Known,
    /// To a MAC that it does not know.
    Unknown,
    /// To a group.
    Multicast,
    /// To all.
    Broadcast,
}

/// One setting, or state, for which a frame does not go from one end to the other.
#[derive(Clone, Copy, Debug)]
pub enum Obstacle<'a> {
    /// The bridge is down.
    BridgeDown(&'a Link),
    /// The port does not forward.
    State(&'a Link, PortState),
    /// The port takes nothing from this MAC.
    Locked(&'a Link, Mac),
    /// The way back is the way in.
    Hairpin(&'a Link),
    /// Both ports are isolated.
    Isolated(&'a Link, &'a Link),
    /// The port gets no such frames, for this setting of bridge(8).
    Flood(&'a Link, &'static str),
    /// The interface is no port of this bridge.
    NoPort(&'a Link, &'a Link),
    /// The port, or what is behind it, is down.
    LinkDown(&'a Link),
}

/// The bridge that a device is, or is a port of.
#[must_use]
pub fn bridge_of(host: &Host, device: Device) -> Option<&Link> {
    let link = host.link(device)?;
    if link.kind == "bridge" {
        return Some(link);
    }
    let master = host.link(Device {
        netns: device.netns,
        ifindex: IfIndex(link.master?),
    })?;
    (master.kind == "bridge").then_some(master)
}

/// The interface of the bridge's namespace behind which an end is: the port that leads there, through other bridges
/// too. Where none does, the interface that stands unattached, or in another bridge, where a port should be.
#[must_use]
pub fn way_to<'a>(host: &'a Host, bridge: &Link, end: &'a Link) -> Option<&'a Link> {
    let mut known = BTreeSet::new();
    let mut next = vec![end];
    let (mut unattached, mut elsewhere) = (None, None);
    while let Some(link) = next.pop() {
        let Some(port) = peer_of(host, link.device) else {
            continue;
        };
        if port.device == bridge.device || !known.insert(port.device) {
            continue;
        }
        let other = bridge_of(host, port.device);
        let here = port.device.netns == bridge.device.netns;
        match other {
            Some(other) if other.device == bridge.device => return Some(port),
            Some(other) => {
                elsewhere = elsewhere.or(here.then_some(port));
                next.extend(ports(host, other).filter(|p| p.device != port.device));
            }
            None => unattached = unattached.or(here.then_some(port)),
        }
    }
    unattached.or(elsewhere)
}

/// Ports of a bridge.
pub fn ports<'a>(host: &'a Host, bridge: &Link) -> impl Iterator<Item = &'a Link> {
    let (netns, master) = (bridge.device.netns, bridge.device.ifindex.0);
    host.links()
        .filter(move |l| l.device.netns == netns && l.master == Some(master))
}

/// The port to which the bridge sends frames for this MAC, by its forwarding database.
#[must_use]
pub fn learned_port<'a>(host: &'a Host, bridge: &Link, mac: Mac) -> Option<&'a Link> {
    let answer = host.forwarding(bridge.device, mac)?;
    let entry = answer.entries.iter().find(|e| !e.is_own() && !e.default)?;
    host.link(Device {
        netns: bridge.device.netns,
        ifindex: IfIndex(entry.port),
    })
}

/// The interface behind which the owner of this MAC really is.
#[must_use]
pub fn true_way<'a>(host: &'a Host, bridge: &Link, mac: Mac) -> Option<&'a Link> {
    host.by_mac(mac).find_map(|end| way_to(host, bridge, end))
}

/// Whether the bridge knows this MAC on this port; `None` when it was not asked.
fn known_on(host: &Host, bridge: &Link, mac: Mac, port: &Link) -> Option<bool> {
    let answer = host.forwarding(bridge.device, mac)?;
    Some(
        answer
            .entries
            .iter()
            .any(|e| e.port == port.device.ifindex.0 && !e.is_own()),
    )
}

/// Why the bridge takes nothing in at this port from this MAC.
#[must_use]
pub fn at_entry<'a>(
    host: &'a Host,
    bridge: &'a Link,
    from: &'a Link,
    source: Option<Mac>,
) -> Option<Obstacle<'a>> {
    if !bridge.up {
        return Some(Obstacle::BridgeDown(bridge));
    }
    let port = from.port?;
    if port.state != PortState::Forwarding {
        return Some(Obstacle::State(from, port.state));
    }
    let stranger = source.filter(|mac| known_on(host, bridge, *mac, from) == Some(false));
    match (port.locked, stranger) {
        (true, Some(mac)) => Some(Obstacle::Locked(from, mac)),
        _ => None,
    }
}

/// Why the bridge sends nothing from one port (or from its own host) to the other (`should_deliver` and `br_flood`,
/// net/bridge/br_forward.c).
#[must_use]
pub fn towards<'a>(
    host: &'a Host,
    bridge: &'a Link,
    from: &'a Link,
    to: &'a Link,
    cast: Cast,
) -> Option<Obstacle<'a>> {
    if to.master != Some(bridge.device.ifindex.0) {
        return Some(Obstacle::NoPort(to, bridge));
    }
    if !to.up || peer_of(host, to.device).is_some_and(|peer| !peer.up) {
        return Some(Obstacle::LinkDown(to));
    }
    let port = to.port?;
    if port.state != PortState::Forwarding {
        return Some(Obstacle::State(to, port.state));
    }
    if from.device == to.device && !port.hairpin {
        return Some(Obstacle::Hairpin(to));
    }
    if port.isolated && from.port.is_some_and(|p| p.isolated) && from.device != to.device {
        return Some(Obstacle::Isolated(from, to));
    }
    let (gets, setting) = match cast {
        Cast::Known => return None,
        Cast::Unknown => (port.flood, "flood"),
        Cast::Multicast => (port.mcast_flood, "mcast_flood"),
        Cast::Broadcast => (port.bcast_flood, "bcast_flood"),
    };
    (!gets).then_some(Obstacle::Flood(to, setting))
}

impl Obstacle<'_> {
    /// In words, as the end of a sentence.
    #[must_use]
    pub fn words(&self, host: &Host) -> String {
        match self {
            Self::BridgeDown(bridge) => format!("the bridge {} is down", bridge.name),
            Self::State(port, state) => {
                let tree = bridge_of(host, port.device)
                    .and_then(|b| b.bridge.filter(|s| s.stp).map(|_| b))
                    .map_or_else(String::new, |b| {
                        format!(" (the spanning tree of {} runs)", b.name)
                    });
                format!(
                    "port {} is not forwarding, its state is {}{tree}",
                    port.name,
                    state.name()
                )
            }
            Self::Locked(port, mac) => format!(
                "port {} is locked and the bridge has no entry for its source MAC {mac} there",
                port.name
            ),
            Self::Hairpin(port) => format!(
                "it would go back to the port it came from, and hairpin is off on {}",
                port.name
            ),
            Self::Isolated(from, to) => {
                format!("ports {} and {} are both isolated", from.name, to.name)
            }
            Self::Flood(port, setting) => {
                let what = match *setting {
                    "flood" => "frames for unknown MACs",
                    "mcast_flood" => "multicasts",
                    _ => "broadcasts",
                };
                format!("port {} gets no {what}, {setting} is off on it", port.name)
            }
            Self::NoPort(end, bridge) => {
                let whose = bridge_of(host, end.device)
                    .map_or_else(String::new, |other| format!(", but of {}", other.name));
                format!(
                    "{} is no port of the bridge {}{whose}",
                    end.name, bridge.name
                )
            }
            Self::LinkDown(port) => super::rules::link::down_words(host, port.device),
        }
    }

    /// What to look at, what to set, and how to take it back.
    #[must_use]
    pub fn advice(&self, host: &Host) -> Vec<Remedy> {
        let setting = |port: &Link, change: &str, back: &str| {
            let shell = Shell::of(host, Some(port.device.netns));
            let name = &port.name;
            vec![
                shell.look("look first", command!["bridge -d link show dev", name]),
                shell
                    .change(
                        "set it",
                        command!["bridge link set dev", name, ..change.split(' ')],
                    )
                    .undone_by(command!["bridge link set dev", name, ..back.split(' ')]),
            ]
        };
        match self {
            Self::BridgeDown(bridge) => {
                let shell = Shell::of(host, Some(bridge.device.netns));
                vec![
                    shell.look("look first", command!["ip -d link show dev", bridge.name]),
                    shell.change("raise it", command!["ip link set dev", bridge.name, "up"]),
                ]
            }
            Self::State(port, state) => {
                let mut list =
                    setting(port, "state forwarding", &format!("state {}", state.name()));
                let tree = bridge_of(host, port.device).filter(|b| b.bridge.is_some_and(|s| s.stp));
                if let Some(bridge) = tree {
                    let shell = Shell::of(host, Some(bridge.device.netns));
                    list.truncate(1);
                    list.push(shell.look(
                        "the spanning tree decides: its timers and its root",
                        command!["ip -d link show dev", bridge.name],
                    ));
                    list.push(text(
                        "a port that blocks closes a loop; one that listens or learns needs twice the forward delay",
                    ));
                }
                list
            }
            Self::Locked(port, mac) => {
                let shell = Shell::of(host, Some(port.device.netns));
                let mut list = vec![
                    shell.look(
                        "what the bridge knows on the port",
                        command!["bridge fdb show dev", port.name],
                    ),
                    shell.change(
                        "let this machine in",
                        command!["bridge fdb replace", mac, "dev", port.name, "master static"],
                    ),
                ];
                list.extend(setting(port, "locked off", "locked on"));
                list
            }
            Self::Hairpin(port) => setting(port, "hairpin on", "hairpin off"),
            Self::Isolated(from, to) => {
                let mut list = setting(to, "isolated off", "isolated on");
                list.insert(
                    2,
                    text(format!(
                        "or on {}: one of the two is enough; ports are isolated so that tenants do not see each other",
                        from.name
                    )),
                );
                list
            }
            Self::Flood(port, name) => setting(port, &format!("{name} on"), &format!("{name} off")),
            Self::NoPort(end, bridge) => {
                let shell = Shell::of(host, Some(end.device.netns));
                let back = match bridge_of(host, end.device) {
                    Some(other) => command!["ip link set dev", end.name, "master", other.name],
                    None => command!["ip link set dev", end.name, "nomaster"],
                };
                vec![
                    shell.look(
                        "ports of the bridge",
                        command!["ip link show master", bridge.name],
                    ),
                    shell
                        .change(
                            "attach it",
                            command!["ip link set dev", end.name, "master", bridge.name],
                        )
                        .undone_by(back),
                ]
            }
            Self::LinkDown(port) => super::rules::link::down_advice(host, port.device, &[]),
        }
    }

    /// What was read, as evidence.
    #[must_use]
    pub fn read(&self, host: &Host) -> Option<String> {
        let port = match self {
            Self::State(port, _)
            | Self::Locked(port, _)
            | Self::Hairpin(port)
            | Self::Isolated(_, port)
            | Self::Flood(port, _) => port,
            Self::BridgeDown(_) | Self::NoPort(..) | Self::LinkDown(_) => return None,
        };
        let behind = peer_of(host, port.device)
            .map(|peer| format!(", behind it is {}", words::interface(host, peer.device)));
        Some(format!(
            "{} is a port of {}{}",
            words::interface(host, port.device),
            bridge_of(host, port.device).map_or("a bridge", |b| b.name.as_str()),
            behind.unwrap_or_default()
        ))
    }
}
