//! Whether a policy rule holds for a packet: fib_rule_match (net/core/fib_rules.c), fib4_rule_match
//! (net/ipv4/fib_rules.c) and fib6_rule_match (net/ipv6/fib6_rules.c).

use std::net::IpAddr;

use crate::host::facts::PolicyRule;
use crate::host::prefix;
use crate::model::IfIndex;

use super::{Query, Tables};

/// Bits of the type of service at which `tos` of rules and routes looks in IPv4 (INET_DSCP_LEGACY_TOS_MASK).
pub(super) const TOS_BITS: u8 = 0x1c;

/// Whether a rule holds.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Match {
    Yes,
    /// The first selector that does not.
    No(&'static str),
    /// Why it cannot be told.
    Unknown(String),
}

/// A selector: its name, and whether it holds; `None` where that is not known.
type Selector = (&'static str, Option<bool>);

/// Whether a rule holds for a packet.
pub(super) fn holds(tables: &Tables<'_>, rule: &PolicyRule, query: &Query) -> Match {
    let selectors = selectors(tables, rule, query);
    let fails = selectors.iter().find(|(_, holds)| *holds == Some(false));
    let unknown = selectors.iter().find(|(_, holds)| holds.is_none());
    match (fails, unknown, rule.inverted) {
        (Some(_), _, true) => Match::Yes,
        (Some((name, _)), _, false) => Match::No(name),
        (None, Some((name, _)), _) => {
            let what = rule.unknown.first().map_or(*name, String::as_str);
            Match::Unknown(format!("whether it holds is not known ({what})"))
        }
        (None, None, true) => Match::No("not"),
        (None, None, false) => Match::Yes,
    }
}

fn selectors(tables: &Tables<'_>, rule: &PolicyRule, query: &Query) -> Vec<Selector> {
    let tuple = &query.tuple;
    let interface = |want: &Option<String>, have: Option<Option<IfIndex>>| match (want, have) {
        (None, _) => Some(true),
        (Some(_), Some(None)) => Some(false),
        (Some(name), Some(Some(ifindex))) => tables.is_named(ifindex, name),
        (Some(_), None) => None,
    };
    let mark = match rule.mark {
        Some(want) => query.mark.map(|have| (want ^ have) & rule.mark_mask == 0),
        None => Some(true),
    };
    let protocol = tuple.proto.number().unwrap_or_default();
    vec![
        ("iif", interface(&rule.iif, query.iif.map(Some))),
        ("oif", interface(&rule.oif, Some(query.oif))),
        ("fwmark", mark),
        ("tun_id", rule.tunnel.map_or(Some(true), |_| None)),
        ("l3mdev", l3mdev(tables, rule, query)),
        ("uidrange", uid(rule, query)),
        ("from", Some(address(rule.src, tuple.src))),
        ("to", Some(address(rule.dst, tuple.dst))),
        ("tos", tos(rule, query)),
        ("dscp", dscp(rule, query)),
        (
            "ipproto",
            Some(rule.protocol.is_none_or(|want| want == protocol)),
        ),
        (
            "sport",
            Some(port(rule.sport, rule.sport_mask, tuple.sport)),
        ),
        (
            "dport",
            Some(port(rule.dport, rule.dport_mask, tuple.dport)),
        ),
        ("unknown", rule.unknown.is_empty().then_some(true)),
    ]
}

/// In IPv6 a source that has yet to be chosen is in no prefix.
fn address(want: Option<(IpAddr, u8)>, have: IpAddr) -> bool {
    let chosen = have.is_ipv4() || !have.is_unspecified();
    want.is_none_or(|(net, length)| length == 0 || chosen && prefix::holds(net, length, have))
}

/// A port in a range, or under a mask (fib_rule_port_match).
fn port(range: Option<(u16, u16)>, mask: Option<u16>, have: u16) -> bool {
    match (range, mask) {
        (None, _) => true,
        (Some((first, _)), Some(mask)) => (first ^ have) & mask == 0,
        (Some((first, last)), None) => (first..=last).contains(&have),
    }
}

/// Whether the packet's interface belongs to a VRF (l3mdev_fib_rule_match). Which table it then leads to is not read.
fn l3mdev(tables: &Tables<'_>, rule: &PolicyRule, query: &Query) -> Option<bool> {
    if !rule.l3mdev {
        return Some(true);
    }
    let mut interfaces = query.iif.iter().chain(&query.oif);
    let none = query.iif.is_some() && interfaces.all(|at| tables.is_of_vrf(*at) == Some(false));
    none.then_some(false)
}

fn uid(rule: &PolicyRule, query: &Query) -> Option<bool> {
    match rule.uid {
        None | Some((0, u32::MAX)) => Some(true),
        Some((first, last)) => query.uid.map(|uid| (first..=last).contains(&uid)),
    }
}

/// IPv4 looks at three bits, IPv6 at all six of the DSCP.
fn tos(rule: &PolicyRule, query: &Query) -> Option<bool> {
    if rule.tos == 0 {
        return Some(true);
    }
    let bits = if query.v6() { 0xfc } else { TOS_BITS };
    query.tos.map(|tos| tos & bits == rule.tos)
}

fn dscp(rule: &PolicyRule, query: &Query) -> Option<bool> {
    let Some((dscp, mask)) = rule.dscp else {
        return Some(true);
    };
    query.tos.map(|tos| (tos >> 2 ^ dscp) & mask == 0)
}
