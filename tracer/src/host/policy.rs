//! Policy rules as the kernel lists them: what RTM_GETROUTE decides by and does not tell when the decision is a refusal.

use netlink_sys::protocols::NETLINK_ROUTE;
use std::io;

use super::facts::PolicyRule;
use super::netlink::{Message, Netlink, Request, address_of, attributes, text_of, u16_of, u32_of};

// Of linux/fib_rules.h.
const FRA_DST: u16 = 1;
const FRA_SRC: u16 = 2;
const FRA_IIFNAME: u16 = 3;
const FRA_GOTO: u16 = 4;
const FRA_PRIORITY: u16 = 6;
const FRA_FWMARK: u16 = 10;
const FRA_FLOW: u16 = 11;
const FRA_TUN_ID: u16 = 12;
const FRA_SUPPRESS_IFGROUP: u16 = 13;
const FRA_SUPPRESS_PREFIXLEN: u16 = 14;
const FRA_TABLE: u16 = 15;
const FRA_FWMASK: u16 = 16;
const FRA_OIFNAME: u16 = 17;
const FRA_PAD: u16 = 18;
const FRA_L3MDEV: u16 = 19;
const FRA_UID_RANGE: u16 = 20;
const FRA_PROTOCOL: u16 = 21;
const FRA_IP_PROTO: u16 = 22;
const FRA_SPORT_RANGE: u16 = 23;
const FRA_DPORT_RANGE: u16 = 24;
const FRA_DSCP: u16 = 25;
const FRA_SPORT_MASK: u16 = 28;
const FRA_DPORT_MASK: u16 = 29;
const FRA_DSCP_MASK: u16 = 30;
const FIB_RULE_INVERT: u32 = 2;
const FIB_RULE_FIND_SADDR: u32 = 0x1_0000;
/// All bits of a DSCP.
const DSCP_BITS: u8 = 0x3f;
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

/// The rules of one family in the calling thread's namespace, in the kernel's order: by priority, then by age.
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
pub(super) fn rule_of(message: Message<'_>) -> Option<PolicyRule> {
    // struct fib_rule_hdr: family, dst_len, src_len, tos, table, res1, res2, action, flags (4)
    let (header, rest) = message.payload.split_first_chunk::<12>()?;
    let [_, dst_len, src_len, tos, table, _, _, action, flags @ ..] = *header;
    let flags = u32::from_ne_bytes(flags);
    let mut rule = PolicyRule {
        action: RULE_ACTIONS
            .get(usize::from(action))
            .map_or_else(|| format!("action {action}"), |name| (*name).into()),
        table: table.into(),
        inverted: flags & FIB_RULE_INVERT != 0,
        mark_mask: u32::MAX,
        tos,
        ..PolicyRule::default()
    };
    if flags & FIB_RULE_FIND_SADDR != 0 {
        rule.unknown.push("the address it would choose".to_owned());
    }
    for (kind, value) in attributes(rest) {
        selector(&mut rule, kind, value, (src_len, dst_len));
    }
    // A mask alone asks for the mark 0 (fib_nl_fill_rule leaves out what is zero).
    let masked =
        attributes(rest).any(|(kind, value)| kind == FRA_FWMASK && u32_of(value) != Some(0));
    if rule.mark.is_none() && masked {
        rule.mark = Some(0);
    }
    Some(rule)
}

/// Reads one attribute of a rule.
fn selector(rule: &mut PolicyRule, kind: u16, value: &[u8], (src_len, dst_len): (u8, u8)) {
    let ports = |value: &[u8]| Some((u16_of(value.get(..2)?)?, u16_of(value.get(2..4)?)?));
    let set = |value: &[u8]| u32_of(value).filter(|number| *number != u32::MAX);
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
        FRA_SPORT_MASK => rule.sport_mask = u16_of(value),
        FRA_DPORT_MASK => rule.dport_mask = u16_of(value),
        FRA_DSCP => {
            let mask = rule.dscp.map_or(DSCP_BITS, |(_, mask)| mask);
            rule.dscp = value.first().map(|dscp| (*dscp, mask));
        }
        FRA_DSCP_MASK => {
            let mask = value.first().copied().unwrap_or(DSCP_BITS);
            rule.dscp = Some((rule.dscp.map_or(0, |(dscp, _)| dscp), mask));
        }
        FRA_UID_RANGE => rule.uid = u32_of(value).zip(value.get(4..).and_then(u32_of)),
        FRA_L3MDEV => rule.l3mdev = value.first() == Some(&1),
        FRA_TUN_ID => rule.tunnel = value.first_chunk().map(|id| u64::from_be_bytes(*id)),
        FRA_SUPPRESS_PREFIXLEN => rule.suppress_prefix = set(value),
        FRA_SUPPRESS_IFGROUP => rule.suppress_group = set(value),
        FRA_PROTOCOL => rule.origin = value.first().copied().unwrap_or_default(),
        // Realms decide nothing.
        FRA_FLOW | FRA_PAD => {}
        other => rule.unknown.push(format!("attribute {other}")),
    }
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
            .attribute(FRA_L3MDEV, &[0]);
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
    fn what_is_not_understood_is_no_selector_that_holds() {
        let request = Request::one(libc::RTM_NEWRULE, &[2, 0, 0, 0, 254, 0, 0, 1, 0, 0, 0, 0])
            .attribute(FRA_SUPPRESS_PREFIXLEN, &u32::MAX.to_ne_bytes())
            .attribute(FRA_SUPPRESS_IFGROUP, &0u32.to_ne_bytes())
            .attribute(FRA_FWMASK, &0xffu32.to_ne_bytes())
            .attribute(FRA_UID_RANGE, &[0, 0, 0, 0, 232, 3, 0, 0])
            .attribute(FRA_DSCP, &[10])
            .attribute(31, &[1]);
        let bytes = request.bytes();
        let rule = rule_of(messages(&bytes).next().unwrap()).unwrap();
        assert_eq!((rule.suppress_prefix, rule.suppress_group), (None, Some(0)));
        assert_eq!((rule.mark, rule.mark_mask), (Some(0), 0xff));
        assert_eq!((rule.uid, rule.dscp), (Some((0, 1000)), Some((10, 0x3f))));
        assert_eq!(rule.unknown, ["attribute 31"]);
    }
}
