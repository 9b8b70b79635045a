//! Facts in the words of the context.

use std::net::{IpAddr, SocketAddr};

use super::super::journeys::error_name;
use crate::host::Host;
use crate::host::facts::{
    BaseChain, ConntrackAnswer, FilterEngine, Forwarding, InterfaceAddress, Link, Neighbor,
    OpenSocket, Route, RouteAnswer, Rule,
};
use crate::model::{Device, IfIndex, NetNs};
use crate::network::segment::Tag;
use crate::network::tunnel;
use crate::uapi::neighbour;

fn interface(host: &Host, netns: NetNs, ifindex: u32) -> String {
    host.interface(Device {
        netns,
        ifindex: IfIndex(ifindex),
    })
}

pub(super) fn route(answer: &RouteAnswer, host: &Host) -> String {
    let from = match answer.iif {
        0 => String::new(),
        iif => format!(" from {}", interface(host, answer.netns, iif)),
    };
    let result = match &answer.result {
        Ok(route) => route_words(route, answer.netns, host),
        Err(errno) => error_name(i64::from(*errno)),
    };
    format!("{}{from}: {result}", answer.tuple)
}

fn route_words(route: &Route, netns: NetNs, host: &Host) -> String {
    let mut words = vec![route.kind.clone()];
    words.extend(route.gateway.map(|gateway| format!("via {gateway}")));
    words.extend(
        route
            .oif
            .map(|oif| format!("dev {}", interface(host, netns, oif))),
    );
    words.extend(route.source.map(|source| format!("src {source}")));
    words.extend(route.mtu.map(|mtu| format!("mtu {mtu}")));
    words.push(match route.table {
        254 => "table main".into(),
        255 => "table local".into(),
        table => format!("table {table}"),
    });
    words.join(" ")
}

pub(super) fn neighbor(entry: &Neighbor, host: &Host) -> String {
    let mac = entry
        .mac
        .map(|mac| format!(" lladdr {mac}"))
        .unwrap_or_default();
    format!(
        "{} dev {}{mac} {}",
        entry.address,
        host.interface(entry.device),
        neighbour::words(entry.state)
    )
}

pub(super) fn forwarding(answer: &Forwarding, host: &Host) -> String {
    let entries: Vec<String> = answer
        .entries
        .iter()
        .map(|entry| {
            let port = interface(host, answer.device.netns, entry.port);
            let remote = entry.remote.map(|r| format!(" dst {r}"));
            let kind = match entry.kind() {
                "dynamic" => String::new(),
                set => format!(" {set}"),
            };
            let whose = if entry.default {
                "every other MAC: "
            } else {
                ""
            };
            format!("{whose}dev {port}{}{kind}", remote.unwrap_or_default())
        })
        .collect();
    let known = if entries.is_empty() {
        "no entry".to_owned()
    } else {
        entries.join(", ")
    };
    format!(
        "{} on {}: {known}",
        answer.mac,
        host.interface(answer.device)
    )
}

pub(super) fn socket(socket: &OpenSocket) -> String {
    let peer = socket.peer.map_or_else(String::new, |(peer, port)| {
        format!(" to {peer} port {port}")
    });
    let holders: Vec<String> = socket.holders.iter().map(ToString::to_string).collect();
    let whose = if holders.is_empty() {
        "no known process".to_owned()
    } else {
        holders.join(", ")
    };
    format!(
        "{}{peer}, queues {}/{}, of {whose}",
        socket.local, socket.waiting, socket.limit
    )
}

pub(super) fn chain(chain: &BaseChain) -> String {
    let engine = match chain.engine {
        FilterEngine::Nftables => "nftables",
        FilterEngine::Legacy => "iptables-legacy",
    };
    let policy = if chain.policy_drop { "drop" } else { "accept" };
    let rules = match chain.rules {
        None => String::new(),
        Some(1) => ", 1 rule".into(),
        Some(count) => format!(", {count} rules"),
    };
    format!(
        "{engine} {} {} {}: hook {} priority {} policy {policy}{rules}",
        chain.family, chain.table, chain.chain, chain.hook, chain.priority
    )
}

/// A rule that can end a packet's way, below its base chain.
pub(super) fn rule(base: &BaseChain, chain: &str, rule: &Rule) -> String {
    let which = match rule.handle {
        Some(handle) => format!("handle {handle}"),
        None => format!("number {}", rule.number),
    };
    let packets = rule
        .packets
        .map_or_else(String::new, |packets| format!(", {packets} packets"));
    format!(
        "{} {} {} {which}{packets}: {}",
        base.family, base.table, chain, rule.text
    )
}

pub(super) fn connection(answer: &ConntrackAnswer) -> String {
    let Some(entry) = &answer.entry else {
        return format!("{}: no entry", answer.tuple);
    };
    let ends = |[(src, sport), (dst, dport)]: [(IpAddr, u16); 2]| {
        if sport == 0 && dport == 0 {
            format!("{src} > {dst}")
        } else {
            format!(
                "{} > {}",
                SocketAddr::new(src, sport),
                SocketAddr::new(dst, dport)
            )
        }
    };
    let timeout = entry
        .timeout
        .map_or_else(String::new, |seconds| format!(", for {seconds} s more"));
    format!(
        "{}: entry {}, answers {}, status {:#x}{timeout}",
        answer.tuple,
        ends(entry.original),
        ends(entry.reply),
        entry.status
    )
}

pub(super) fn link(link: &Link) -> String {
    let mut words = vec![link.name.clone()];
    if !link.kind.is_empty() {
        words.push(link.kind.clone());
    }
    words.extend(link.mac.map(|mac| format!("mac {mac}")));
    words.push(format!("mtu {}", link.mtu));
    words.push(if link.up { "up" } else { "down" }.into());
    if !link.carrier {
        words.push("no carrier".into());
    }
    words.extend(Tag::of(link).map(|tag| tag.to_string()));
    words.extend(link.ipvlan.map(|mode| format!("mode {}", mode.name())));
    words.extend(link.macvlan.as_ref().map(|mode| format!("mode {mode}")));
    words.extend(Some(tunnel::words(link)).filter(|ends| !ends.is_empty()));
    if let Some(bond) = &link.bond {
        words.extend(bond.mode.as_ref().map(|mode| format!("mode {mode}")));
    }
    if let Some(slave) = &link.slave {
        let states = [
            (slave.active, "active slave"),
            (!slave.active, "backup slave"),
        ];
        words.extend(set(&states, true));
        words.extend(set(&[(slave.up, "down as its bond finds")], false));
    }
    if let Some(bridge) = &link.bridge {
        let settings = [
            (bridge.stp, "stp"),
            (bridge.vlan_filtering, "vlan_filtering"),
        ];
        words.extend(set(&settings, true));
    }
    if let Some(port) = &link.port {
        words.push(format!("port {}", port.state.name()));
        let unusual = [
            (port.isolated, "isolated"),
            (port.locked, "locked"),
            (port.hairpin, "hairpin"),
        ];
        words.extend(set(&unusual, true));
        let usual = [
            (port.learning, "learning off"),
            (port.flood, "flood off"),
            (port.mcast_flood, "mcast_flood off"),
            (port.bcast_flood, "bcast_flood off"),
        ];
        words.extend(set(&usual, false));
    }
    words.join(" ")
}

/// Words of the flags that have this value.
fn set(flags: &[(bool, &str)], value: bool) -> Vec<String> {
    flags
        .iter()
        .filter(|(flag, _)| *flag == value)
        .map(|(_, word)| (*word).to_owned())
        .collect()
}

pub(super) fn address(interface: &str, address: &InterfaceAddress) -> String {
    let marks = [
        (address.tentative, " tentative"),
        (address.dad_failed, " dadfailed"),
        (address.deprecated, " deprecated"),
        (address.secondary, " secondary"),
    ];
    let marks: String = marks
        .into_iter()
        .filter_map(|(set, word)| set.then_some(word))
        .collect();
    format!(
        "{}/{} dev {interface}{marks}",
        address.address, address.prefix
    )
}
