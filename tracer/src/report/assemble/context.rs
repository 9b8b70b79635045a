//! What was read of the host beside the losses, in words: routes, neighbours, sysctls, chains, and the interfaces
//! of the paths.

use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr};

use super::Clock;
use super::journeys::error_name;
use crate::correlate::Trace;
use crate::diagnose::device_state;
use crate::host::Host;
use crate::host::facts::{
    BaseChain, CgroupProgram, ConntrackAnswer, ConntrackCounters, FilterEngine, Forwarding,
    InterfaceAddress, Link, Neighbor, OpenSocket, Route, RouteAnswer, Rule,
};
use crate::model::{Device, IfIndex, NetNs};
use crate::network::route;
use crate::report::ContextEntry;
use crate::uapi::neighbour::{self, NUD_NOARP, NUD_PERMANENT};

/// Makes an entry: kind, namespace, time, text.
type Entry<'a> = dyn Fn(&str, Option<NetNs>, Option<u64>, String) -> ContextEntry + 'a;

/// Most entries of one kind.
const ENTRIES: usize = 64;

/// All of it, bounded by kind; newest facts win where there are too many.
pub(super) fn read(trace: &Trace, host: &Host, clock: Clock) -> Vec<ContextEntry> {
    let entry = |kind: &str, netns: Option<NetNs>, at: Option<u64>, text: String| ContextEntry {
        kind: kind.into(),
        node: netns.and_then(|netns| host.node(netns)).map(str::to_owned),
        namespace: netns.map(|netns| host.namespace(netns)),
        text,
        at_ns: at,
    };
    let mut groups: Vec<Vec<ContextEntry>> = Vec::new();
    groups.push(
        host.routes
            .iter()
            .map(|dated| {
                let answer = &dated.fact;
                let at = Some(clock.since_start(dated.at));
                entry("route", Some(answer.netns), at, route_text(answer, host))
            })
            .collect(),
    );
    groups.push(
        host.rules
            .iter()
            .flat_map(|((netns, _), dated)| {
                dated.fact.iter().map(move |rule| (netns, dated.at, rule))
            })
            .map(|(netns, at, rule)| {
                let text = format!("{}: {}", rule.priority, route::rule_words(rule));
                entry("rule", Some(*netns), Some(clock.since_start(at)), text)
            })
            .collect(),
    );
    groups.push(
        host.towards
            .iter()
            .flat_map(|((netns, dst), dated)| {
                dated
                    .fact
                    .iter()
                    .map(move |route| (*netns, dst, dated.at, route))
            })
            .map(|(netns, dst, at, route)| {
                let words = route::route_words(host, netns, route);
                let text = format!("holds {dst}: {words}");
                entry("table", Some(netns), Some(clock.since_start(at)), text)
            })
            .collect(),
    );
    groups.push(
        host.neighbors
            .iter()
            .map(|dated| {
                let at = Some(clock.since_start(dated.at));
                let netns = Some(dated.fact.device.netns);
                entry("neighbor", netns, at, neighbor_text(&dated.fact, host))
            })
            .collect(),
    );
    groups.push(
        host.sysctls
            .iter()
            .map(|((netns, name), dated)| {
                let text = match &dated.fact {
                    Some(value) => format!("{name} = {value}"),
                    None => format!("{name} cannot be read"),
                };
                let at = Some(clock.since_start(dated.at));
                entry("sysctl", Some(*netns), at, text)
            })
            .collect(),
    );
    groups.push(
        host.xfrm
            .iter()
            .flat_map(|(netns, dated)| {
                let at = Some(clock.since_start(dated.at));
                dated
                    .fact
                    .iter()
                    .map(move |policy| (*netns, at, policy.to_string()))
            })
            .map(|(netns, at, text)| entry("policy", Some(netns), at, text))
            .collect(),
    );
    groups.push(
        host.forwarding
            .iter()
            .map(|dated| {
                let at = Some(clock.since_start(dated.at));
                let netns = Some(dated.fact.device.netns);
                entry("fdb", netns, at, forwarding_text(&dated.fact, host))
            })
            .collect(),
    );
    groups.push(
        host.sockets
            .iter()
            .flat_map(|((netns, proto, port), dated)| {
                let at = Some(clock.since_start(dated.at));
                let mut texts: Vec<String> = dated
                    .fact
                    .iter()
                    .map(|s| format!("{proto} port {port}: {}", socket_text(s)))
                    .collect();
                if texts.is_empty() {
                    texts.push(format!("{proto} port {port}: no socket"));
                }
                texts
                    .into_iter()
                    .map(move |text| entry("socket", Some(*netns), at, text))
            })
            .collect(),
    );
    let mut chains = Vec::new();
    for (netns, dated) in &host.filters {
        let at = Some(clock.since_start(dated.at));
        if dated.fact.base.is_empty() {
            chains.push(entry("chain", Some(*netns), at, "no base chains".into()));
        }
        for base in &dated.fact.base {
            chains.push(entry("chain", Some(*netns), at, chain_text(base)));
            let stops = dated.fact.stops(base, STOPS);
            let texts = stops
                .iter()
                .map(|(chain, rule)| rule_text(base, chain, rule));
            chains.extend(texts.map(|text| entry("rule", Some(*netns), at, text)));
        }
    }
    groups.push(chains);
    groups.push(device_entries(host, &entry, clock));
    groups.push(cgroup_entries(host, &entry, clock));
    groups.push(
        host.connections
            .iter()
            .map(|dated| {
                let at = Some(clock.since_start(dated.at));
                let netns = Some(dated.fact.netns);
                entry("conntrack", netns, at, connection_text(&dated.fact))
            })
            .collect(),
    );
    groups.push(
        host.conntrack
            .iter()
            .map(|(netns, dated)| {
                let ConntrackCounters {
                    invalid,
                    insert_failed,
                    drop,
                    early_drop,
                } = dated.fact;
                let text = format!(
                    "invalid {invalid}, insert_failed {insert_failed}, drop {drop}, early_drop {early_drop}"
                );
                let at = Some(clock.since_start(dated.at));
                entry("conntrack", Some(*netns), at, text)
            })
            .collect(),
    );
    let devices = devices(trace);
    let links = devices.iter().filter_map(|device| host.link(*device));
    groups.push(
        links
            .map(|link| entry("link", Some(link.device.netns), None, link_text(link)))
            .collect(),
    );
    let addresses = devices.iter().flat_map(|device| {
        let list = host.addresses(*device).iter();
        list.map(|address| (*device, address))
    });
    groups.push(
        addresses
            .map(|(device, address)| {
                let text = address_text(&host.interface(device), address);
                entry("address", Some(device.netns), None, text)
            })
            .collect(),
    );
    groups.push(
        host.unread
            .iter()
            .map(|(what, why)| entry("unread", None, None, format!("{what}: {why}")))
            .collect(),
    );
    for group in &mut groups {
        group.dedup();
        let surplus = group.len().saturating_sub(ENTRIES);
        group.drain(..surplus);
    }
    groups.concat()
}

/// What stands on interfaces.
fn device_entries(host: &Host, entry: &Entry<'_>, clock: Clock) -> Vec<ContextEntry> {
    let mut list = Vec::new();
    for (device, dated) in &host.device_states {
        let at = Some(clock.since_start(dated.at));
        let netns = Some(device.netns);
        let name = host.interface(*device);
        let state = &dated.fact;
        for attachment in &state.programs {
            let words = device_state::attachment(host, *device, attachment);
            let text = format!("{} of {name}: {words}", attachment.hook);
            list.push(entry("program", netns, at, text));
        }
        for qdisc in &state.qdiscs {
            let text = format!("{name}: {}", device_state::qdisc(qdisc));
            list.push(entry("qdisc", netns, at, text));
        }
        for holder in state.holders.iter().flatten() {
            let text = format!("{name} is open in {}", device_state::holder(holder));
            list.push(entry("process", netns, at, text));
        }
        if state.holders.as_ref().is_some_and(Vec::is_empty) {
            let text = format!("no process has {name} open");
            list.push(entry("process", netns, at, text));
        }
    }
    list
}

/// Programs of cgroups.
fn cgroup_entries(host: &Host, entry: &Entry<'_>, clock: Clock) -> Vec<ContextEntry> {
    let Some(dated) = &host.cgroups else {
        return Vec::new();
    };
    let at = Some(clock.since_start(dated.at));
    let words = |p: &CgroupProgram| {
        format!(
            "{} of cgroup {}: {}",
            p.hook,
            p.cgroup,
            device_state::program(&p.program)
        )
    };
    let programs = dated.fact.programs.iter();
    programs
        .map(|p| entry("program", None, at, words(p)))
        .collect()
}

/// The interfaces of all paths.
fn devices(trace: &Trace) -> BTreeSet<Device> {
    trace
        .flows
        .iter()
        .flat_map(|flow| [&flow.forward, &flow.reply])
        .flat_map(|path| &path.hops)
        .map(|hop| hop.device)
        .collect()
}

fn interface(host: &Host, netns: NetNs, ifindex: u32) -> String {
    host.interface(Device {
        netns,
        ifindex: IfIndex(ifindex),
    })
}

fn route_text(answer: &RouteAnswer, host: &Host) -> String {
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

fn neighbor_text(entry: &Neighbor, host: &Host) -> String {
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

fn forwarding_text(answer: &Forwarding, host: &Host) -> String {
    let entries: Vec<String> = answer
        .entries
        .iter()
        .map(|entry| {
            let port = interface(host, answer.device.netns, entry.port);
            let remote = entry.remote.map(|r| format!(" dst {r}"));
            let kind = match entry.state {
                state if state & NUD_PERMANENT != 0 => " permanent",
                state if state & NUD_NOARP != 0 => " static",
                _ => "",
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

fn socket_text(socket: &OpenSocket) -> String {
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

/// Most rules shown of a base chain.
const STOPS: usize = 48;

fn chain_text(chain: &BaseChain) -> String {
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
fn rule_text(base: &BaseChain, chain: &str, rule: &Rule) -> String {
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

fn connection_text(answer: &ConntrackAnswer) -> String {
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

fn link_text(link: &Link) -> String {
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
    words.extend(link.macvlan.as_ref().map(|mode| format!("mode {mode}")));
    if let Some(vxlan) = &link.vxlan {
        words.push(format!("vni {} port {}", vxlan.vni, vxlan.port));
        words.extend(vxlan.local.map(|local| format!("local {local}")));
        words.extend(vxlan.remote.map(|remote| format!("remote {remote}")));
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

fn address_text(interface: &str, address: &InterfaceAddress) -> String {
    let marks = [
        (address.tentative, " tentative"),
        (address.dad_failed, " dadfailed"),
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
