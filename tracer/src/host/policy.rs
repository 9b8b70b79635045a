//! Policy rules and the routes of all tables that hold one destination, as the kernel lists them: what RTM_GETROUTE
//! decides by and does not tell when the decision is a refusal.

use std::io;
use std::net::IpAddr;

use netlink_sys::protocols::NETLINK_ROUTE;

use super::facts::{PolicyRule, TableRoute};
use super::netlink::{
    Message, Netlink, Request, address_bytes, address_of, attributes, family_of, text_of, u16_of,
    u32_of,
};
use crate::uapi::rtnetlink::{ROUTE_TYPES, RTA_VIA, RTM_F_CLONED};

// Of linux/fib_rules.h.
const FRA_DST: u16 = 1;
const FRA_SRC: u16 = 2;
const FRA_IIFNAME: u16 = 3;
const FRA_GOTO: u16 = 4;
const FRA_PRIORITY: u16 = 6;
const FRA_FWMARK: u16 = 10;
const FRA_TABLE: u16 = 15;
const FRA_FWMASK: u16 = 16;
const FRA_OIFNAME: u16 = 17;
const FRA_IP_PROTO: u16 = 22;
const FRA_SPORT_RANGE: u16 = 23;
const FRA_DPORT_RANGE: u16 = 24;
const FIB_RULE_INVERT: u32 = 2;
/// `action` by number (FR_ACT_*), as ip-rule(8) calls them.
const RULE_ACTIONS: [&str; 9] = [
    "unspecified",
    "lookup",
    "goto",
    "nop",
    "reserved",
    "reserved",
    "blackhole",
    "unreachable",
    "prohibit",
];

/// Most routes told of one destination: the longest prefixes of each table come first.
const MANY: usize = 32;

/// The rules of one family in the calling thread's namespace, by priority.
pub(super) fn rules(v6: bool) -> io::Result<Vec<PolicyRule>> {
    let family = if v6 { libc::AF_INET6 } else { libc::AF_INET };
    let mut header = [0; 12];
    if let Some(first) = header.first_mut() {
        *first = u8::try_from(family).unwrap_or_default();
    }
    let mut socket = Netlink::open(NETLINK_ROUTE)?;
    let mut list = socket.ask(&Request::all(libc::RTM_GETRULE, &header), rule_of)?;
    list.sort_by_key(|rule| rule.priority);
    Ok(list)
}

/// Reads RTM_NEWRULE.
fn rule_of(message: Message<'_>) -> Option<PolicyRule> {
    // struct fib_rule_hdr: family, dst_len, src_len, tos, table, res1, res2, action, flags (4)
    let (header, rest) = message.payload.split_first_chunk::<12>()?;
    let [_, dst_len, src_len, _, table, _, _, action, flags @ ..] = *header;
    let mut rule = PolicyRule {
        action: RULE_ACTIONS
            .get(usize::from(action))
            .map_or_else(|| format!("action {action}"), |name| (*name).into()),
        table: table.into(),
        inverted: u32::from_ne_bytes(flags) & FIB_RULE_INVERT != 0,
        mark_mask: u32::MAX,
        ..PolicyRule::default()
    };
    let ports = |value: &[u8]| Some((u16_of(value.get(..2)?)?, u16_of(value.get(2..4)?)?));
    for (kind, value) in attributes(rest) {
        match kind {
            FRA_DST => rule.dst = address_of(value).map(|a| (a, dst_len)),
            FRA_SRC => rule.src = address_of(value).map(|a| (a, src_len)),
            FRA_IIFNAME => rule.iif = Some(text_of(value)),
            FRA_OIFNAME => rule.oif = Some(text_of(value)),
            FRA_GOTO => rule.goto = u32_of(value),
            FRA_PRIORITY => rule.priority = u32_of(value).unwrap_or_default(),
            FRA_FWMARK => rule.mark = u32_of(value),
            FRA_FWMASK => rule.mark_mask = u32_of(value).unwrap_or(u32::MAX),
            FRA_TABLE => rule.table = u32_of(value).unwrap_or(rule.table),
            FRA_IP_PROTO => rule.protocol = value.first().copied(),
            FRA_SPORT_RANGE => rule.sport = ports(value),
            FRA_DPORT_RANGE => rule.dport = ports(value),
            _ => {}
        }
    }
    Some(rule)
}

/// The routes of all tables whose prefix holds the address, longest prefix first, then by metric.
pub(super) fn towards(dst: IpAddr) -> io::Result<Vec<TableRoute>> {
    let mut header = [0; 12];
    if let Some(first) = header.first_mut() {
        *first = family_of(dst);
    }
    let mut socket = Netlink::open(NETLINK_ROUTE)?;
    let request = Request::all(libc::RTM_GETROUTE, &header);
    let mut list = socket.ask(&request, |message| {
        table_route_of(message, dst).filter(|route| route.holds(dst))
    })?;
    list.sort_by_key(|route| (std::cmp::Reverse(route.length), route.metric));
    list.truncate(MANY);
    Ok(list)
}

/// Reads RTM_NEWROUTE as an entry of a table.
fn table_route_of(message: Message<'_>, like: IpAddr) -> Option<TableRoute> {
    // struct rtmsg: family, dst_len, src_len, tos, table, protocol, scope, type, flags (4)
    let (header, rest) = message.payload.split_first_chunk::<12>()?;
    let [family, length, _, _, table, _, _, kind, flags @ ..] = *header;
    if family != family_of(like) || u32::from_ne_bytes(flags) & RTM_F_CLONED != 0 {
        return None;
    }
    let any = vec![0; address_bytes(like).len()];
    let mut route = TableRoute {
        kind: ROUTE_TYPES
            .get(usize::from(kind))
            .map_or_else(|| format!("type {kind}"), |name| (*name).into()),
        table: table.into(),
        prefix: address_of(&any)?,
        length,
        gateway: None,
        oif: None,
        metric: 0,
    };
    for (kind, value) in attributes(rest) {
        match kind {
            libc::RTA_DST => route.prefix = address_of(value)?,
            libc::RTA_GATEWAY => route.gateway = address_of(value),
            RTA_VIA => route.gateway = value.get(2..).and_then(address_of),
            libc::RTA_OIF => route.oif = u32_of(value),
            libc::RTA_TABLE => route.table = u32_of(value).unwrap_or(route.table),
            libc::RTA_PRIORITY => route.metric = u32_of(value).unwrap_or_default(),
            _ => {}
        }
    }
    Some(route)
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a failed setup fails the test")]
mod tests {
    use super::*;
    use crate::host::netlink::messages;

    #[test]
    fn a_rule_is_read_with_its_selectors() {
        let request = Request::one(libc::RTM_NEWRULE, &[2, 24, 32, 0, 0, 0, 0, 7, 2, 0, 0, 0])
            .attribute(FRA_PRIORITY, &90u32.to_ne_bytes())
            .attribute(FRA_SRC, &[10, 0, 0, 7])
            .attribute(FRA_DST, &[10, 9, 0, 0])
            .attribute(FRA_IIFNAME, b"lan0\0")
            .attribute(FRA_FWMARK, &5u32.to_ne_bytes())
            .attribute(FRA_DPORT_RANGE, &[80, 0, 81, 0])
            .attribute(999, &[1]);
        let bytes = request.bytes();
        let rule = rule_of(messages(&bytes).next().unwrap()).unwrap();
        assert_eq!((rule.action.as_str(), rule.priority), ("unreachable", 90));
        assert!(rule.inverted);
        assert_eq!(rule.src, Some(("10.0.0.7".parse().unwrap(), 32)));
        assert_eq!(rule.dst, Some(("10.9.0.0".parse().unwrap(), 24)));
        assert_eq!(rule.iif.as_deref(), Some("lan0"));
        assert_eq!((rule.mark, rule.mark_mask), (Some(5), u32::MAX));
    }

    #[test]
    fn a_route_of_a_table_is_read_with_its_prefix() {
        let like = "10.77.2.2".parse().unwrap();
        let request = Request::one(libc::RTM_NEWROUTE, &[2, 16, 0, 0, 120, 3, 0, 1, 0, 0, 0, 0])
            .attribute(libc::RTA_TABLE, &120u32.to_ne_bytes())
            .attribute(libc::RTA_DST, &[10, 77, 0, 0])
            .attribute(libc::RTA_GATEWAY, &[10, 77, 1, 99])
            .attribute(libc::RTA_PRIORITY, &20u32.to_ne_bytes());
        let bytes = request.bytes();
        let route = table_route_of(messages(&bytes).next().unwrap(), like).unwrap();
        assert_eq!((route.table, route.length, route.metric), (120, 16, 20));
        assert_eq!(route.gateway, Some("10.77.1.99".parse().unwrap()));
        assert!(route.holds(like));
        assert!(!route.holds("10.78.0.1".parse().unwrap()));
    }

    #[test]
    fn a_default_route_has_the_empty_prefix() {
        let like = "fd00::2".parse().unwrap();
        let request = Request::one(libc::RTM_NEWROUTE, &[10, 0, 0, 0, 254, 3, 0, 6, 0, 0, 0, 0]);
        let bytes = request.bytes();
        let route = table_route_of(messages(&bytes).next().unwrap(), like).unwrap();
        assert_eq!((route.kind.as_str(), route.length), ("blackhole", 0));
        assert!(route.holds(like));
    }
}
