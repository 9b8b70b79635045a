//! Rules, routes and errors as ip-rule(8) and ip-route(8) write them.

use std::net::IpAddr;

use crate::host::Host;
use crate::host::facts::{NextHop, PolicyRule, TableRoute};
use crate::model::clean::one_word;
use crate::model::{Device, IfIndex, NetNs};

use super::Refusal;
use crate::uapi::errno::{self, EACCES, EAGAIN, EHOSTUNREACH, EINVAL, ENETUNREACH};
use crate::uapi::rtnetlink::{RT_TABLE_DEFAULT, RT_TABLE_LOCAL, RT_TABLE_MAIN};

/// RTPROT_BOOT: what `ip` sets where nothing is said.
const BOOT: u8 = 3;
/// RTAX_LOCK: the bits of metrics that are locked.
const LOCK: u16 = 1;

/// A rule as `ip rule` takes it, without its priority: `from 10.0.0.7 unreachable`.
#[must_use]
pub fn rule_words(rule: &PolicyRule) -> String {
    let mut words = Vec::new();
    if rule.inverted {
        words.push("not".to_owned());
    }
    let prefix = |(address, length): (IpAddr, u8)| prefix_words(address, length);
    match rule.src {
        Some(src) => words.push(format!("from {}", prefix(src))),
        None => words.push("from all".to_owned()),
    }
    words.extend(rule.dst.map(|dst| format!("to {}", prefix(dst))));
    words.extend((rule.tos != 0).then(|| format!("tos {:#x}", rule.tos)));
    words.extend(rule.mark.map(|mark| match rule.mark_mask {
        u32::MAX => format!("fwmark {mark:#x}"),
        mask => format!("fwmark {mark:#x}/{mask:#x}"),
    }));
    words.extend(
        rule.iif
            .as_ref()
            .map(|name| format!("iif {}", one_word(name))),
    );
    words.extend(
        rule.oif
            .as_ref()
            .map(|name| format!("oif {}", one_word(name))),
    );
    words.extend(rule.l3mdev.then(|| "l3mdev".to_owned()));
    let uids = rule
        .uid
        .map(|(first, last)| format!("uidrange {first}-{last}"));
    words.extend(uids);
    words.extend(rule.protocol.map(|number| format!("ipproto {number}")));
    words.extend(ports("sport", rule.sport, rule.sport_mask));
    words.extend(ports("dport", rule.dport, rule.dport_mask));
    words.extend(rule.tunnel.map(|id| format!("tun_id {id}")));
    words.extend(rule.dscp.map(|(dscp, mask)| match mask {
        0x3f => format!("dscp {dscp}"),
        mask => format!("dscp {dscp:#x}/{mask:#x}"),
    }));
    words.push(match rule.action.as_str() {
        "lookup" if rule.l3mdev => String::new(),
        "lookup" => format!("lookup {}", table_words(rule.table)),
        "goto" => format!("goto {}", rule.goto.unwrap_or_default()),
        action => action.to_owned(),
    });
    words.retain(|word| !word.is_empty());
    let most = rule.suppress_prefix;
    words.extend(most.map(|length| format!("suppress_prefixlength {length}")));
    let group = rule.suppress_group;
    words.extend(group.map(|group| format!("suppress_ifgroup {group}")));
    words.join(" ")
}

fn ports(name: &str, range: Option<(u16, u16)>, mask: Option<u16>) -> Option<String> {
    let (first, last) = range?;
    Some(match mask.filter(|mask| *mask != u16::MAX) {
        Some(mask) => format!("{name} {first}/{mask:#x}"),
        None if first == last => format!("{name} {first}"),
        None => format!("{name} {first}-{last}"),
    })
}

/// A route as a person names it: `10.0.0.0/8 via 10.77.1.99 dev lan7 table 120`.
#[must_use]
pub fn route_words(host: &Host, netns: NetNs, route: &TableRoute) -> String {
    let mut words = Vec::new();
    // The object says what a route through it is.
    if route.kind != "unicast" && route.nexthop.is_none() {
        words.push(route.kind.clone());
    }
    words.push(match route.length {
        0 => "default".to_owned(),
        length => prefix_words(route.prefix, length),
    });
    let from = route.from.map(|(from, length)| prefix_words(from, length));
    words.extend(from.map(|from| format!("from {from}")));
    words.extend((route.tos != 0).then(|| format!("tos {:#x}", route.tos)));
    match route.nexthop {
        Some(id) => words.push(format!("nhid {id}")),
        None if route.paths.is_empty() => {
            let hops = route.hops();
            // Refusals hang on `lo` in IPv6, which nobody types.
            let refuses = Refusal::of(&route.kind).is_some() || route.kind == "throw";
            let hop = hops.first().filter(|_| !refuses);
            words.extend(hop.map(|hop| hop_words(host, netns, hop, route)));
        }
        None => {}
    }
    if route.table != RT_TABLE_MAIN {
        words.push(format!("table {}", table_words(route.table)));
    }
    words.retain(|word| !word.is_empty());
    words.join(" ")
}

/// A route with all that makes it: what `ip route del` needs to meet this one and no other, and `ip route add` to make
/// it again. `None` where it has something that cannot be written.
#[must_use]
pub fn route_spec(host: &Host, netns: NetNs, route: &TableRoute) -> Option<String> {
    if !route.unknown.is_empty() {
        return None;
    }
    let mut words = vec![route_words(host, netns, route)];
    let protocol = Some(route.protocol).filter(|p| !matches!(*p, 0 | BOOT));
    words.extend(protocol.map(|number| format!("proto {}", protocol_words(number))));
    let scope = route.prefix.is_ipv4() && route.protocol != 0 && route.scope != usual_scope(route);
    words.extend(scope.then(|| format!("scope {}", scope_words(route.scope))));
    words.extend(route.source.map(|source| format!("src {source}")));
    words.extend((route.metric != 0).then(|| format!("metric {}", route.metric)));
    let locked = route.metrics.iter().find(|(kind, _)| *kind == LOCK);
    let locked = locked.map_or(0, |(_, bits)| *bits);
    for (kind, value) in route.metrics.iter().filter(|(kind, _)| *kind != LOCK) {
        let lock = locked.checked_shr(u32::from(*kind)).unwrap_or(0) & 1 != 0;
        let lock = if lock { " lock" } else { "" };
        words.push(format!("{}{lock} {value}", metric_name(*kind)?));
    }
    words.extend(preference_words(route.preference).map(|name| format!("pref {name}")));
    if route.nexthop.is_none() {
        for hop in &route.paths {
            let way = hop_words(host, netns, hop, route);
            words.push(format!("nexthop {way} weight {}", hop.weight));
        }
    }
    Some(words.join(" "))
}

/// One path: `via 10.77.1.99 dev lan7 onlink`.
fn hop_words(host: &Host, netns: NetNs, hop: &NextHop, route: &TableRoute) -> String {
    let mut words = Vec::new();
    words.extend(hop.gateway.map(|gateway| {
        // A gateway of the other family is said to be one.
        match gateway.is_ipv6() != route.prefix.is_ipv6() {
            true => format!("via inet6 {gateway}"),
            false => format!("via {gateway}"),
        }
    }));
    words.extend(hop.oif.map(|oif| {
        let ifindex = IfIndex(oif);
        let name = host.interface(Device { netns, ifindex });
        format!("dev {}", one_word(&name))
    }));
    words.extend((hop.flags & NextHop::ONLINK != 0).then(|| "onlink".to_owned()));
    words.join(" ")
}

/// The scope that `ip route add` chooses (iproute_modify of iproute2).
fn usual_scope(route: &TableRoute) -> u8 {
    const HOST: u8 = 254;
    const LINK: u8 = 253;
    match route.kind.as_str() {
        "local" | "nat" => HOST,
        "unicast" | "broadcast" | "multicast" | "anycast" if is_direct(route) => LINK,
        _ => 0,
    }
}

fn is_direct(route: &TableRoute) -> bool {
    route.gateway.is_none() && route.paths.is_empty() && route.nexthop.is_none()
}

/// Who made a route, by number where every system has another name (/etc/iproute2/rt_protos).
fn protocol_words(number: u8) -> String {
    match number {
        1 => "redirect".to_owned(),
        2 => "kernel".to_owned(),
        4 => "static".to_owned(),
        9 => "ra".to_owned(),
        16 => "dhcp".to_owned(),
        number => number.to_string(),
    }
}

fn scope_words(scope: u8) -> String {
    match scope {
        0 => "global".to_owned(),
        200 => "site".to_owned(),
        253 => "link".to_owned(),
        254 => "host".to_owned(),
        255 => "nowhere".to_owned(),
        number => number.to_string(),
    }
}

const fn preference_words(preference: u8) -> Option<&'static str> {
    match preference {
        1 => Some("high"),
        3 => Some("low"),
        _ => None,
    }
}

/// RTAX_* whose number is what `ip route` takes.
const fn metric_name(kind: u16) -> Option<&'static str> {
    match kind {
        2 => Some("mtu"),
        3 => Some("window"),
        6 => Some("ssthresh"),
        7 => Some("cwnd"),
        8 => Some("advmss"),
        9 => Some("reordering"),
        10 => Some("hoplimit"),
        11 => Some("initcwnd"),
        14 => Some("initrwnd"),
        15 => Some("quickack"),
        17 => Some("fastopen_no_cookie"),
        _ => None,
    }
}

/// A table's name where every system has it, else its number.
#[must_use]
pub fn table_words(table: u32) -> String {
    match table {
        RT_TABLE_LOCAL => "local".to_owned(),
        RT_TABLE_MAIN => "main".to_owned(),
        RT_TABLE_DEFAULT => "default".to_owned(),
        number => number.to_string(),
    }
}

fn prefix_words(address: IpAddr, length: u8) -> String {
    let whole = if address.is_ipv6() { 128 } else { 32 };
    if length == whole {
        address.to_string()
    } else {
        format!("{address}/{length}")
    }
}

/// An errno of a lookup in words.
#[must_use]
pub fn errno_words(error: u32) -> String {
    match error {
        // What a lookup in one IPv4 table says.
        EAGAIN => "no route matches".to_owned(),
        EACCES => "prohibited (EACCES)".to_owned(),
        EINVAL => "blackhole (EINVAL)".to_owned(),
        ENETUNREACH => "network unreachable (ENETUNREACH)".to_owned(),
        EHOSTUNREACH => "host unreachable (EHOSTUNREACH)".to_owned(),
        other => errno::name(i64::from(other)).unwrap_or_else(|| format!("errno {other}")),
    }
}
