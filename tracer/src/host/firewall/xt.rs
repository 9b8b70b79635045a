//! Matches of x_tables: in tables of iptables-legacy, and where iptables-nft keeps them as they are.
//! Their data are structs of linux/netfilter/xt_*.h and linux/netfilter_ipv4/ipt_*.h.

mod counted;
mod ipset;
mod target;

use std::net::IpAddr;

use crate::host::facts::{Field, Side, Test, Value};
use crate::host::links::mac_of;
use crate::host::netlink::{address_of, i32_of, text_of, u16_of, u32_of};

pub(super) use target::target;

/// What a match contributes to its rule.
pub(super) enum Matched {
    /// Conditions.
    Tests(Vec<Test>),
    /// Only a comment.
    Comment(String),
}

/// Reads a match by its name, revision and data.
pub(super) fn matched((name, revision): (&str, u32), data: &[u8], v6: bool) -> Matched {
    let known = match name {
        "comment" => return Matched::Comment(text_of(data)),
        "tcp" => tcp(data),
        "udp" | "udplite" => ports(data, 8),
        "multiport" if revision == 1 => multiport(data),
        "icmp" | "icmp6" => icmp(data),
        "conntrack" if revision > 0 => conntrack(revision, data, v6),
        "state" => u32_of(data).map(|mask| vec![Test::State { mask, not: false }]),
        "mark" if revision == 1 => mark(data, &Field::Mark),
        "connmark" if revision == 1 => mark(data, &Field::ConnectionMark),
        "iprange" if revision == 1 => iprange(data, v6),
        "mac" => mac(data),
        "addrtype" => addrtype(revision, data),
        "physdev" => physdev(data),
        "owner" if revision == 1 => owner(data),
        "pkttype" => pkttype(data),
        "length" => length(data),
        "ttl" | "hl" => ttl(data),
        "dscp" if revision == 0 => dscp(data),
        "set" if revision > 0 => ipset::matched(data, ipset::name_of),
        "rpfilter" => data.first().map(|flags| {
            // XT_RPFILTER_INVERT
            let invert = if flags & 8 != 0 { " --invert" } else { "" };
            vec![Test::Other(format!("-m rpfilter{invert}"))]
        }),
        _ => counted::words((name, revision), data, v6).map(|words| vec![Test::Other(words)]),
    };
    Matched::Tests(known.unwrap_or_else(|| vec![Test::Other(format!("-m {name} …"))]))
}

fn number(value: u64) -> (Value, Value) {
    (Value::Number(value), Value::Number(value))
}

fn is(field: Field, mask: Option<u64>, range: (Value, Value), not: bool) -> Test {
    Test::Is {
        field,
        mask,
        ranges: vec![range],
        not,
    }
}

/// struct xt_tcp: ports, option, flags under a mask, inversions.
fn tcp(data: &[u8]) -> Option<Vec<Test>> {
    /// XT_TCP_INV_FLAGS.
    const FLAGS: u8 = 4;
    let mut tests = ports(data, 11)?;
    let (option, mask, flags) = (*data.get(8)?, *data.get(9)?, *data.get(10)?);
    let inverted = *data.get(11)?;
    if mask != 0 {
        let (mask, flags) = (u64::from(mask), u64::from(flags));
        let not = inverted & FLAGS != 0;
        tests.push(is(Field::TcpFlags, Some(mask), number(flags), not));
    }
    if option != 0 {
        tests.push(Test::Other("--tcp-option …".to_owned()));
    }
    Some(tests)
}

/// Source and destination range, then further fields, then the flags of inversion (1 and 2).
fn ports(data: &[u8], inverted_at: usize) -> Option<Vec<Test>> {
    let inverted = *data.get(inverted_at)?;
    let port = |at: usize| data.get(at..).and_then(u16_of);
    let mut tests = Vec::new();
    for (side, at, bit) in [(Side::Source, 0, 1), (Side::Destination, 4, 2)] {
        let range = (port(at)?, port(at + 2)?);
        if range != (0, u16::MAX) {
            tests.push(Test::Port {
                side: Some(side),
                ranges: vec![range],
                not: inverted & bit != 0,
            });
        }
    }
    Some(tests)
}

/// struct xt_multiport_v1: flags, count, ports (15 × 2), range marks (15), invert.
fn multiport(data: &[u8]) -> Option<Vec<Test>> {
    let side = match data.first()? {
        0 => Some(Side::Source),
        1 => Some(Side::Destination),
        _ => None,
    };
    let count = usize::from(*data.get(1)?);
    let mut ranges = Vec::new();
    let mut at = 0;
    while at < count {
        let port = u16_of(data.get(2 + 2 * at..)?)?;
        let is_range = *data.get(32 + at)? != 0;
        let last = if is_range {
            at += 1;
            u16_of(data.get(2 + 2 * at..)?)?
        } else {
            port
        };
        ranges.push((port, last));
        at += 1;
    }
    let not = *data.get(47)? != 0;
    Some(vec![Test::Port { side, ranges, not }])
}

/// struct ipt_icmp: type, codes (2), inversion. 255 is any type.
fn icmp(data: &[u8]) -> Option<Vec<Test>> {
    let (kind, first, last) = (*data.first()?, *data.get(1)?, *data.get(2)?);
    let not = *data.get(3)? != 0;
    if kind == 255 {
        return Some(vec![]);
    }
    let kind = Test::IcmpType { number: kind, not };
    if (first, last) == (0, 255) {
        return Some(vec![kind]);
    }
    // Inverted, type and code are inverted together.
    let codes = (Value::Number(first.into()), Value::Number(last.into()));
    let code = is(Field::IcmpCode, None, codes, not);
    Some(if not {
        vec![Test::Any(vec![kind, code])]
    } else {
        vec![kind, code]
    })
}

/// struct xt_conntrack_mtinfo1 to 3: what is compared, what of it inverted, the states.
fn conntrack(revision: u32, data: &[u8], v6: bool) -> Option<Vec<Test>> {
    /// XT_CONNTRACK_*.
    const STATE: u16 = 1;
    const PROTOCOL: u16 = 1 << 1;
    const STATUS: u16 = 1 << 6;
    let compared = u16_of(data.get(146..)?)?;
    let inverted = u16_of(data.get(148..)?)?;
    let (states, status) = match revision {
        1 => (u16::from(*data.get(150)?), u16::from(*data.get(151)?)),
        _ => (u16_of(data.get(150..)?)?, u16_of(data.get(152..)?)?),
    };
    let not = |flag: u16| inverted & flag != 0;
    let mut tests = Vec::new();
    if compared & STATE != 0 {
        tests.push(state(states, not(STATE)));
    }
    if compared & PROTOCOL != 0 {
        tests.push(Test::Other("-m conntrack --ctproto …".to_owned()));
    }
    if compared & STATUS != 0 {
        tests.push(is(
            Field::Status,
            Some(status.into()),
            number(0),
            !not(STATUS),
        ));
    }
    let _ = v6;
    if compared & !(STATE | PROTOCOL | STATUS) != 0 {
        tests.push(Test::Other("-m conntrack …".to_owned()));
    }
    Some(tests)
}

/// States of x_tables: INVALID to NEW as nf_tables has them; SNAT, DNAT and UNTRACKED are XT_CONNTRACK_STATE_* of
/// linux/netfilter/xt_conntrack.h.
fn state(states: u16, not: bool) -> Test {
    const PLAIN: u16 = 0x0f;
    const SNAT: u16 = 1 << 6;
    const DNAT: u16 = 1 << 7;
    const UNTRACKED: u16 = 1 << 8;
    /// IPS_SRC_NAT and IPS_DST_NAT.
    const TRANSLATED: [(u16, u64); 2] = [(SNAT, 1 << 4), (DNAT, 1 << 5)];
    let untracked = if states & UNTRACKED != 0 { 64 } else { 0 };
    let mask = u32::from(states & PLAIN) | untracked;
    let mut tests = Vec::new();
    if mask != 0 {
        tests.push(Test::State { mask, not: false });
    }
    for (bit, status) in TRANSLATED {
        if states & bit != 0 {
            tests.push(is(Field::Status, Some(status), number(0), true));
        }
    }
    match (tests.as_slice(), not) {
        ([Test::State { .. }], _) => Test::State { mask, not },
        (_, false) => Test::Any(tests),
        (_, true) => Test::Other("-m conntrack ! --ctstate …".to_owned()),
    }
}

/// struct xt_mark_mtinfo1, struct xt_connmark_mtinfo1.
fn mark(data: &[u8], field: &Field) -> Option<Vec<Test>> {
    let (value, mask) = (u32_of(data)?, u32_of(data.get(4..)?)?);
    let not = *data.get(8)? != 0;
    Some(vec![match field {
        Field::Mark => Test::Mark { value, mask, not },
        field => is(field.clone(), Some(mask.into()), number(value.into()), not),
    }])
}

/// struct xt_iprange_mtinfo: source and destination, first and last, in 16 bytes each; flags.
fn iprange(data: &[u8], v6: bool) -> Option<Vec<Test>> {
    /// IPRANGE_SRC and so on.
    const SIDES: [(Side, u8, u8, usize); 2] = [
        (Side::Source, 1, 1 << 4, 0),
        (Side::Destination, 2, 1 << 5, 32),
    ];
    let flags = *data.get(64)?;
    let width = if v6 { 16 } else { 4 };
    let address = |at: usize| -> Option<IpAddr> { address_of(data.get(at..at + width)?) };
    let mut tests = Vec::new();
    for (side, wanted, inverted, at) in SIDES {
        if flags & wanted != 0 {
            tests.push(Test::Address {
                side,
                ranges: vec![(address(at)?, address(at + 16)?)],
                not: flags & inverted != 0,
            });
        }
    }
    Some(tests)
}

/// struct xt_mac_info.
fn mac(data: &[u8]) -> Option<Vec<Test>> {
    let mac = Value::Mac(mac_of(data.get(..6)?)?);
    let not = i32_of(data.get(8..)?)? != 0;
    let range = (mac.clone(), mac);
    Some(vec![is(Field::Mac(Side::Source), None, range, not)])
}

/// struct xt_addrtype_info and xt_addrtype_info_v1: masks of RTN_*.
fn addrtype(revision: u32, data: &[u8]) -> Option<Vec<Test>> {
    /// XT_ADDRTYPE_LIMIT_IFACE_IN and _OUT.
    const LIMITED: u32 = 4 | 8;
    let (source, destination) = (u16_of(data)?, u16_of(data.get(2..)?)?);
    let (not_source, not_destination) = match revision {
        0 => (u32_of(data.get(4..)?)? != 0, u32_of(data.get(8..)?)? != 0),
        _ => {
            let flags = u32_of(data.get(4..)?)?;
            if flags & LIMITED != 0 {
                return None;
            }
            (flags & 1 != 0, flags & 2 != 0)
        }
    };
    let mut tests = Vec::new();
    for (side, mask, not) in [
        (Side::Source, source, not_source),
        (Side::Destination, destination, not_destination),
    ] {
        if mask != 0 {
            let ranges = (0..16_u64)
                .filter(|bit| mask & 1 << bit != 0)
                .map(number)
                .collect();
            tests.push(Test::Is {
                field: Field::AddressType(side),
                mask: None,
                ranges,
                not,
            });
        }
    }
    Some(tests)
}

/// struct xt_physdev_info: names and masks (16 bytes each), inversions, what is asked.
fn physdev(data: &[u8]) -> Option<Vec<Test>> {
    /// XT_PHYSDEV_OP_*.
    const IN: u8 = 1;
    const OUT: u8 = 2;
    const BRIDGED: u8 = 4;
    const ANY_IN: u8 = 8;
    const ANY_OUT: u8 = 16;
    let (inverted, asked) = (*data.get(64)?, *data.get(65)?);
    let mut tests = Vec::new();
    for (bit, any, side, at) in [
        (IN, ANY_IN, Side::Source, 0),
        (OUT, ANY_OUT, Side::Destination, 32),
    ] {
        let name = if asked & bit != 0 {
            name_under(data.get(at..at + 16)?, data.get(at + 16..at + 32)?)
        } else if asked & any != 0 {
            "*".to_owned()
        } else {
            continue;
        };
        let not = inverted & (if asked & bit != 0 { bit } else { any }) != 0;
        let name = Value::Name(name);
        tests.push(is(Field::BridgePort(side), None, (name.clone(), name), not));
    }
    if asked & BRIDGED != 0 {
        let unless = if inverted & BRIDGED != 0 { "! " } else { "" };
        tests.push(Test::Other(format!(
            "-m physdev {unless}--physdev-is-bridged"
        )));
    }
    Some(tests)
}

/// A name of an interface: the mask covers the closing zero of a whole name, and not that of one that ends in `+`.
pub(super) fn name_under(name: &[u8], mask: &[u8]) -> String {
    let text = text_of(name);
    let whole = mask.get(text.len()).is_none_or(|byte| *byte != 0);
    if whole {
        text
    } else {
        format!("{}*", text.strip_suffix('+').unwrap_or(&text))
    }
}

/// struct xt_owner_match_info.
fn owner(data: &[u8]) -> Option<Vec<Test>> {
    /// XT_OWNER_UID, XT_OWNER_GID, XT_OWNER_SOCKET.
    const USER: u8 = 1;
    const GROUP: u8 = 2;
    const SOCKET: u8 = 4;
    let (asked, inverted) = (*data.get(16)?, *data.get(17)?);
    let range = |at: usize| -> Option<(Value, Value)> {
        let (first, last) = (u32_of(data.get(at..)?)?, u32_of(data.get(at + 4..)?)?);
        Some((Value::Number(first.into()), Value::Number(last.into())))
    };
    let mut tests = Vec::new();
    if asked & USER != 0 {
        tests.push(is(Field::User, None, range(0)?, inverted & USER != 0));
    }
    if asked & GROUP != 0 {
        tests.push(is(Field::Group, None, range(8)?, inverted & GROUP != 0));
    }
    if asked & SOCKET != 0 {
        tests.push(Test::Other("-m owner --socket-exists".to_owned()));
    }
    Some(tests)
}

/// struct xt_pkttype_info.
fn pkttype(data: &[u8]) -> Option<Vec<Test>> {
    let kind = u64::try_from(i32_of(data)?).ok()?;
    let not = i32_of(data.get(4..)?)? != 0;
    Some(vec![is(Field::PacketType, None, number(kind), not)])
}

/// struct xt_length_info.
fn length(data: &[u8]) -> Option<Vec<Test>> {
    let (first, last) = (u16_of(data)?, u16_of(data.get(2..)?)?);
    let not = *data.get(4)? != 0;
    let range = (Value::Number(first.into()), Value::Number(last.into()));
    Some(vec![is(Field::Length, None, range, not)])
}

/// struct ipt_ttl_info and ip6t_hl_info: IPT_TTL_EQ, _NE, _LT, _GT.
fn ttl(data: &[u8]) -> Option<Vec<Test>> {
    let (mode, value) = (*data.first()?, u64::from(*data.get(1)?));
    let (range, not) = match mode {
        0 => (number(value), false),
        1 => (number(value), true),
        2 => (number(value), false),
        3 => (number(value), false),
        _ => return None,
    };
    let range = match mode {
        2 => (Value::Number(0), Value::Number(value.checked_sub(1)?)),
        3 => (Value::Number(value + 1), Value::Number(255)),
        _ => range,
    };
    Some(vec![is(Field::Ttl, None, range, not)])
}

/// struct xt_dscp_info: the upper six bits.
fn dscp(data: &[u8]) -> Option<Vec<Test>> {
    let (value, not) = (u64::from(*data.first()?), *data.get(1)? != 0);
    Some(vec![is(Field::Tos, Some(0xfc), number(value << 2), not)])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tests(name: &str, revision: u32, data: &[u8]) -> Vec<Test> {
        match matched((name, revision), data, false) {
            Matched::Tests(tests) => tests,
            Matched::Comment(text) => vec![Test::Other(text)],
        }
    }

    fn dport(first: u16, last: u16, not: bool) -> Test {
        Test::Port {
            side: Some(Side::Destination),
            ranges: vec![(first, last)],
            not,
        }
    }

    #[test]
    fn ports_of_tcp_and_udp() {
        let mut tcp = [0, 0, 255, 255, 80, 0, 90, 0, 0, 0, 0, 2];
        assert_eq!(tests("tcp", 0, &tcp), [dport(80, 90, true)]);
        (tcp[9], tcp[10]) = (0x12, 2);
        let syn = is(Field::TcpFlags, Some(0x12), number(2), false);
        assert_eq!(tests("tcp", 0, &tcp), [dport(80, 90, true), syn]);
        let udp = [0, 0, 255, 255, 53, 0, 53, 0, 0, 0];
        assert_eq!(tests("udp", 0, &udp), [dport(53, 53, false)]);
        assert_eq!(
            tests("udp", 0, &[0, 0]),
            [Test::Other("-m udp …".to_owned())]
        );
    }

    #[test]
    fn states_of_conntrack() {
        let mut data = [0; 160];
        (data[146], data[150]) = (1, 1);
        let invalid = Test::State {
            mask: 1,
            not: false,
        };
        assert_eq!(tests("conntrack", 3, &data), std::slice::from_ref(&invalid));
        // and the status DNAT
        (data[146], data[152]) = (1 | 64, 32);
        let translated = is(Field::Status, Some(32), number(0), true);
        assert_eq!(tests("conntrack", 3, &data), [invalid.clone(), translated]);
        // RELATED, ESTABLISHED and DNAT as states
        (data[146], data[150], data[152]) = (1, 0x86, 0);
        let some = Test::State {
            mask: 6,
            not: false,
        };
        let translated = is(Field::Status, Some(32), number(0), true);
        assert_eq!(
            tests("conntrack", 3, &data),
            [Test::Any(vec![some, translated])]
        );
        // a field without a test of ours
        (data[146], data[147], data[150]) = (1, 1, 1);
        assert!(matches!(
            tests("conntrack", 3, &data).as_slice(),
            [Test::State { .. }, Test::Other(_)]
        ));
    }

    #[test]
    fn kinds_of_addresses() {
        // --dst-type LOCAL, then ! --src-type BROADCAST
        let local = [0, 0, 4, 0, 0, 0, 0, 0];
        let test = |side, kind, not| is(Field::AddressType(side), None, number(kind), not);
        assert_eq!(
            tests("addrtype", 1, &local),
            [test(Side::Destination, 2, false)]
        );
        let broadcast = [8, 0, 0, 0, 1, 0, 0, 0];
        assert_eq!(
            tests("addrtype", 1, &broadcast),
            [test(Side::Source, 3, true)]
        );
        let limited = [0, 0, 4, 0, 4, 0, 0, 0];
        assert!(matches!(
            tests("addrtype", 1, &limited).as_slice(),
            [Test::Other(_)]
        ));
    }

    #[test]
    fn ranges_of_addresses() {
        let mut data = [0; 68];
        data[32..36].copy_from_slice(&[10, 0, 0, 1]);
        data[48..52].copy_from_slice(&[10, 0, 0, 9]);
        data[64] = 2 | 32;
        let expected = Test::Address {
            side: Side::Destination,
            ranges: vec![([10, 0, 0, 1].into(), [10, 0, 0, 9].into())],
            not: true,
        };
        assert_eq!(tests("iprange", 1, &data), [expected]);
    }

    #[test]
    fn ports_of_a_bridge() {
        let mut data = [0; 66];
        data[..4].copy_from_slice(b"eth1");
        data[16..21].copy_from_slice(&[255; 5]);
        (data[64], data[65]) = (1, 1);
        let name = Value::Name("eth1".to_owned());
        let port = is(
            Field::BridgePort(Side::Source),
            None,
            (name.clone(), name),
            true,
        );
        assert_eq!(tests("physdev", 0, &data), [port]);
    }

    #[test]
    fn icmp_types_with_codes() {
        let kind = |number, not| Test::IcmpType { number, not };
        assert_eq!(tests("icmp", 0, &[8, 0, 255, 0]), [kind(8, false)]);
        let code = is(Field::IcmpCode, None, number(3), false);
        assert_eq!(tests("icmp", 0, &[3, 3, 3, 0]), [kind(3, false), code]);
        assert_eq!(tests("icmp", 0, &[255, 0, 255, 0]), []);
    }

    #[test]
    fn owners_lengths_and_marks() {
        let mut data = [0; 20];
        data[..4].copy_from_slice(&1000_u32.to_ne_bytes());
        data[4..8].copy_from_slice(&1000_u32.to_ne_bytes());
        (data[16], data[17]) = (1, 1);
        assert_eq!(
            tests("owner", 1, &data),
            [is(Field::User, None, number(1000), true)]
        );
        let length = (Value::Number(100), Value::Number(200));
        assert_eq!(
            tests("length", 0, &[100, 0, 200, 0, 0, 0]),
            [is(Field::Length, None, length, false)]
        );
        let mut data = [0; 12];
        (data[0], data[4]) = (1, 3);
        assert_eq!(
            tests("connmark", 1, &data),
            [is(Field::ConnectionMark, Some(3), number(1), false)]
        );
        let smaller = (Value::Number(0), Value::Number(4));
        assert_eq!(
            tests("ttl", 0, &[2, 5]),
            [is(Field::Ttl, None, smaller, false)]
        );
    }
}
