//! What keeps two ends of a bridge apart, in words, as evidence and with what to do. [`crate::network::bridging`] finds it.

use std::net::IpAddr;

use crate::host::Host;
use crate::host::facts::Link;
use crate::model::Mac;
use crate::network::bridging::{Obstacle, VlanGap, bridge_of};
use crate::network::links::peer_of;

use super::layer2_commands::fdb_anywhere;
use super::remedy::{Remedy, Shell, command, text};
use super::vlan_commands;
use super::words;

impl Obstacle<'_> {
    /// In words, as the end of a sentence.
    #[must_use]
    pub fn words(&self, host: &Host) -> String {
        match self {
            Self::BridgeDown(bridge) => format!("the bridge {} is down", bridge.name),
            Self::State(port, state) => format!(
                "port {} is not forwarding, its state is {}{}",
                port.name,
                state.name(),
                spanning_tree(host, port)
            ),
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
            Self::Flood(port, setting) => format!(
                "port {} gets no {}, {setting} is off on it",
                port.name,
                flooded(setting)
            ),
            Self::Snooping(port, group) => format!(
                "{} snoops multicasts, and behind port {} nobody has joined {group}",
                bridge_of(host, port.device).map_or("the bridge", |b| b.name.as_str()),
                port.name
            ),
            Self::NoPort(end, bridge) => {
                let whose = bridge_of(host, end.device)
                    .map_or_else(String::new, |other| format!(", but of {}", other.name));
                format!(
                    "{} is no port of the bridge {}{whose}",
                    end.name, bridge.name
                )
            }
            Self::LinkDown(port) => super::rules::link::down_words(host, port.device),
            Self::Vlan(gap) => outside(gap),
            Self::Elsewhere(port, mac) => {
                format!("the bridge has {mac} on another port than {}", port.name)
            }
            Self::LinkLocal(bridge) => format!(
                "the bridge {} keeps link-local groups to itself (group_fwd_mask)",
                bridge.name
            ),
        }
    }

    /// What to look at, what to set, and how to take it back.
    #[must_use]
    pub fn advice(&self, host: &Host) -> Vec<Remedy> {
        let shell = |link: &Link| Shell::of(host, Some(link.device.netns));
        match self {
            Self::BridgeDown(bridge) => vec![
                shell(bridge).look("look first", command!["ip -d link show dev", bridge.name]),
                shell(bridge).change("raise it", command!["ip link set dev", bridge.name, "up"]),
            ],
            Self::State(port, state) => not_forwarding(host, port, state.name()),
            Self::Locked(port, mac) => locked(host, port, *mac),
            Self::Hairpin(port) => setting(host, port, "hairpin on", "hairpin off"),
            Self::Isolated(from, to) => {
                let mut list = setting(host, to, "isolated off", "isolated on");
                list.push(text(format!(
                    "or on {}: one of the two is enough; ports are isolated so that tenants do not see each other",
                    from.name
                )));
                list
            }
            Self::Flood(port, name) => {
                setting(host, port, &format!("{name} on"), &format!("{name} off"))
            }
            Self::Snooping(port, group) => snooping(host, port, *group),
            Self::NoPort(end, bridge) => not_attached(host, end, bridge),
            Self::LinkDown(port) => super::rules::link::down_advice(host, port.device, &[]),
            Self::Vlan(gap) => vlan_commands::admit(host, gap),
            Self::Elsewhere(port, mac) => vec![shell(port).look(
                "check first: the bridge's entry for the MAC",
                fdb_anywhere(*mac),
            )],
            Self::LinkLocal(bridge) => vec![shell(bridge).look(
                "check first: group_fwd_mask",
                command!["ip -d link show dev", bridge.name],
            )],
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
            | Self::Flood(port, _)
            | Self::Snooping(port, _)
            | Self::Vlan(VlanGap { port, .. })
            | Self::Elsewhere(port, _) => port,
            Self::BridgeDown(_) | Self::NoPort(..) | Self::LinkDown(_) | Self::LinkLocal(_) => {
                return None;
            }
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

fn outside(gap: &VlanGap<'_>) -> String {
    let port = &gap.port.name;
    match (gap.vlan, gap.entry) {
        (None, _) => format!("port {port} takes no frames without a VLAN tag"),
        (Some(vlan), true) => {
            format!("it comes with the tag of VLAN {vlan}, to which port {port} does not belong")
        }
        (Some(vlan), false) => {
            let came = gap.other.map_or_else(String::new, |other| {
                format!(", in which it came in at {}", other.name)
            });
            format!("port {port} does not belong to VLAN {vlan}{came}")
        }
    }
}

fn spanning_tree(host: &Host, port: &Link) -> String {
    bridge_of(host, port.device)
        .filter(|bridge| bridge.bridge.is_some_and(|settings| settings.stp))
        .map_or_else(String::new, |bridge| {
            format!(" (the spanning tree of {} runs)", bridge.name)
        })
}

/// What a setting of a port lets the bridge flood through it.
fn flooded(setting: &str) -> &'static str {
    match setting {
        "flood" => "frames for unknown MACs",
        "mcast_flood" => "multicasts",
        _ => "broadcasts",
    }
}

/// A setting of a port: what it is now, the change, and what takes it back.
fn setting(host: &Host, port: &Link, change: &str, back: &str) -> Vec<Remedy> {
    let shell = Shell::of(host, Some(port.device.netns));
    let name = &port.name;
    let set = |what: &str| command!["bridge link set dev", name, ..what.split(' ')];
    vec![
        shell.look("look first", command!["bridge -d link show dev", name]),
        shell.change("set it", set(change)).undone_by(set(back)),
    ]
}

/// A port's state, which is the spanning tree's to decide where one runs.
fn not_forwarding(host: &Host, port: &Link, state: &str) -> Vec<Remedy> {
    let mut list = setting(host, port, "state forwarding", &format!("state {state}"));
    let tree = bridge_of(host, port.device).filter(|b| b.bridge.is_some_and(|s| s.stp));
    if let Some(bridge) = tree {
        list.truncate(1);
        list.extend([
            Shell::of(host, Some(bridge.device.netns)).look(
                "the spanning tree decides: its timers and its root",
                command!["ip -d link show dev", bridge.name],
            ),
            text(
                "a port that blocks closes a loop; one that listens or learns needs twice the forward delay",
            ),
        ]);
    }
    list
}

/// A locked port takes frames of MACs that the bridge knows there.
fn locked(host: &Host, port: &Link, mac: Mac) -> Vec<Remedy> {
    let shell = Shell::of(host, Some(port.device.netns));
    let name = &port.name;
    let mut list = vec![
        shell.look(
            "what the bridge knows on the port",
            command!["bridge fdb show dev", name],
        ),
        shell.change(
            "let this machine in",
            command!["bridge fdb replace", mac, "dev", name, "master static"],
        ),
    ];
    list.extend(setting(host, port, "locked off", "locked on"));
    list
}

/// Makes an interface a port of the bridge.
fn not_attached(host: &Host, end: &Link, bridge: &Link) -> Vec<Remedy> {
    let shell = Shell::of(host, Some(end.device.netns));
    let back = match bridge_of(host, end.device) {
        Some(other) => command!["ip link set dev", end.name, "master", other.name],
        None => command!["ip link set dev", end.name, "nomaster"],
    };
    let attach = command!["ip link set dev", end.name, "master", bridge.name];
    vec![
        shell.look(
            "ports of the bridge",
            command!["ip link show master", bridge.name],
        ),
        shell.change("attach it", attach).undone_by(back),
    ]
}

/// A port that lacks a group: joined by hand, or no group kept from any port.
fn snooping(host: &Host, port: &Link, group: IpAddr) -> Vec<Remedy> {
    let Some(bridge) = bridge_of(host, port.device) else {
        return Vec::new();
    };
    let shell = Shell::of(host, Some(port.device.netns));
    let entry = |verb: &'static str| {
        command![
            "bridge mdb",
            verb,
            "dev",
            bridge.name,
            "port",
            port.name,
            "grp",
            group,
            "permanent"
        ]
    };
    let snoop = |on: u8| {
        command![
            "ip link set dev",
            bridge.name,
            "type bridge mcast_snooping",
            on
        ]
    };
    vec![
        shell.look(
            "check first: which groups were joined behind which port",
            command!["bridge mdb show dev", bridge.name],
        ),
        shell
            .change("give the port the group", entry("add"))
            .undone_by(entry("del")),
        shell
            .change(
                "or turn multicast snooping off: all ports get all groups then",
                snoop(0),
            )
            .undone_by(snoop(1)),
        text(format!(
            "the machine behind {} has to report its groups: a packet filter there that drops MLD or IGMP keeps it from doing so",
            port.name
        )),
    ]
}
