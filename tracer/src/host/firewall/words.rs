//! Rules in the words of the program that made them: nft(8) or iptables(8).

use std::borrow::Cow;
use std::net::IpAddr;

use super::bounds;
use crate::host::facts::{
    Element, Field, Missing, NewTtl, NewValue, Part, RuleVerdict, Set, Side, Statement, Test, Value,
};
use crate::model::clean::is_unsayable;

/// Whose words.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Dialect {
    /// nft(8).
    Nft,
    /// nft(8) in tables of whole frames (bridge, netdev): the frame's type tells the version of IP.
    NftFrames,
    /// iptables(8), ip6tables(8).
    Iptables,
}

impl Dialect {
    const fn is_nft(self) -> bool {
        matches!(self, Self::Nft | Self::NftFrames)
    }
}

/// Stands for what is not understood.
const MORE: char = '…';
/// States of a connection by bit (NF_CT_STATE_BIT, linux/netfilter/nf_conntrack_common.h).
const STATES: [(u32, &str); 5] = [
    (1, "invalid"),
    (2, "established"),
    (4, "related"),
    (8, "new"),
    (64, "untracked"),
];
/// Protocols by number, as both programs call them.
const PROTOCOLS: [(u8, &str); 7] = [
    (1, "icmp"),
    (2, "igmp"),
    (6, "tcp"),
    (17, "udp"),
    (47, "gre"),
    (58, "ipv6-icmp"),
    (132, "sctp"),
];

/// Whether iptables shows and changes the chains of a table.
pub(super) fn is_iptables(family: &str, table: &str) -> bool {
    matches!(family, "ip" | "ip6")
        && matches!(table, "filter" | "mangle" | "raw" | "nat" | "security")
}

/// A rule in words; and whether that is all of it. `sets` gives the sets that belong to the rule alone, too.
pub(super) fn rule<'a>(
    dialect: Dialect,
    parts: &[Part],
    comment: Option<&str>,
    sets: impl Fn(&str) -> Option<&'a Set>,
) -> (String, bool) {
    let comment = comment.map(|text| match dialect {
        Dialect::Nft | Dialect::NftFrames => format!("comment {}", nft_string(text)),
        Dialect::Iptables => format!("-m comment --comment {}", iptables_string(text)),
    });
    let mut said: Vec<String> = Vec::new();
    let mut tests: Vec<&Test> = Vec::new();
    let mut ended = false;
    for part in parts {
        match part {
            Part::Test(test) => tests.push(test),
            Part::Do(statement) => {
                said.extend(conditions(dialect, &tests, &sets));
                tests.clear();
                // iptables puts the target last.
                if dialect == Dialect::Iptables && !ended {
                    said.extend(comment.clone());
                    ended = true;
                }
                // Both ends that NETMAP may translate stand as one target.
                let words = done(dialect, statement, &sets);
                said.extend(words.filter(|words| said.last() != Some(words)));
            }
        }
    }
    said.extend(conditions(dialect, &tests, &sets));
    if !ended {
        said.extend(comment);
    }
    let text = said.join(" ");
    let whole = !text.contains(MORE);
    (text, whole)
}

/// A string as nft(8) takes it. It knows no way to say a quote: a text with one is not all of it.
pub fn nft_string(text: &str) -> String {
    if text.contains('"') || is_unsayable(text) {
        return format!("\"{}{MORE}\"", text.replace('"', "'"));
    }
    format!("\"{text}\"")
}

/// The name of a chain or a set, which nft(8) takes as an identifier (`{string}` of its scanner.l).
pub(super) fn nft_name(name: &str) -> String {
    if is_nft_name(name) {
        name.to_owned()
    } else {
        format!("{name}{MORE}")
    }
}

/// Whether nft(8) takes a name of a table, a chain, a set or an object as it is.
#[must_use]
pub fn is_nft_name(name: &str) -> bool {
    let inside = |c: char| c.is_ascii_alphanumeric() || "/_.-".contains(c);
    name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_') && name.chars().all(inside)
}

/// A comment in double quotes, as iptables-save(8) writes it.
fn iptables_string(text: &str) -> String {
    if is_unsayable(text) {
        return format!("\"{}{MORE}\"", text.replace(['"', '\\'], "'"));
    }
    format!("\"{}\"", text.replace('\\', r"\\").replace('"', r#"\""#))
}

/// A name as a word of a line that is split as a shell does: quoted where it has to be.
fn iptables_word(name: &str) -> Cow<'_, str> {
    match shlex::try_quote(name) {
        Ok(word) if !is_unsayable(name) => word,
        _ => Cow::Owned(format!("{name}{MORE}")),
    }
}

fn conditions<'a>(
    dialect: Dialect,
    tests: &[&Test],
    sets: &impl Fn(&str) -> Option<&'a Set>,
) -> Vec<String> {
    match dialect {
        Dialect::Nft | Dialect::NftFrames => nft(dialect, tests, sets),
        Dialect::Iptables => iptables_all(tests),
    }
}

/// What a rule does, in words.
fn done<'a>(
    dialect: Dialect,
    statement: &Statement,
    sets: &impl Fn(&str) -> Option<&'a Set>,
) -> Option<String> {
    let nft = dialect.is_nft();
    Some(match statement {
        Statement::Verdict(RuleVerdict::Continue) => return None,
        Statement::Verdict(given) => verdict(dialect, given),
        Statement::Map { fields, map } => {
            let set = sets(map);
            let v6 = set.is_some_and(is_of_ipv6);
            format!("{} vmap {}", joined(fields, None, v6), set_words(map, set))
        }
        Statement::Reject(with) => match (nft, with.is_empty()) {
            (true, true) => "reject".to_owned(),
            (true, false) => format!("reject with {with}"),
            (false, true) => "-j REJECT".to_owned(),
            (false, false) => format!("-j REJECT --reject-with {with}"),
        },
        Statement::Translate(made) => made.text.clone(),
        Statement::SetMark(value) if nft => format!("meta mark set {}", mark(value, "meta mark")),
        Statement::SetMark(value) => match value {
            NewValue {
                keep,
                from: None,
                xor,
            } => format!("-j MARK --set-xmark {xor:#x}/{:#x}", !keep),
            NewValue { keep, from, .. } => {
                let mask = from.as_ref().map_or(u32::MAX, |(_, mask)| *mask);
                format!(
                    "-j CONNMARK --restore-mark --nfmask {:#x} --ctmask {mask:#x}",
                    !keep
                )
            }
        },
        Statement::SetConnectionMark(value) if nft => {
            format!("ct mark set {}", mark(value, "ct mark"))
        }
        Statement::SetConnectionMark(NewValue {
            keep,
            from: None,
            xor,
        }) => format!("-j CONNMARK --set-xmark {xor:#x}/{:#x}", !keep),
        Statement::SetConnectionMark(NewValue { keep, from, .. }) => {
            let mask = from.as_ref().map_or(u32::MAX, |(_, mask)| *mask);
            format!(
                "-j CONNMARK --save-mark --nfmask {mask:#x} --ctmask {:#x}",
                !keep
            )
        }
        Statement::SetZone(zone) => {
            let zone = zone.map_or_else(|| MORE.to_string(), |zone| zone.to_string());
            if nft {
                format!("ct zone set {zone}")
            } else {
                format!("-j CT --zone {zone}")
            }
        }
        Statement::SetTtl {
            v6,
            to: NewTtl::Is(value),
        } if nft => {
            let field = if *v6 { "ip6 hoplimit" } else { "ip ttl" };
            format!("{field} set {value}")
        }
        Statement::SetTtl { v6, to } => {
            let (target, option) = if *v6 { ("HL", "hl") } else { ("TTL", "ttl") };
            let (how, n) = match to {
                NewTtl::Is(n) => ("set", n),
                NewTtl::More(n) => ("inc", n),
                NewTtl::Less(n) => ("dec", n),
            };
            format!("-j {target} --{option}-{how} {n}")
        }
        Statement::SetMac(side, mac) if nft => {
            let side = match side {
                Side::Source => "saddr",
                Side::Destination => "daddr",
            };
            format!("ether {side} set {mac}")
        }
        Statement::SetMac(Side::Source, mac) => format!("-j snat --to-source {mac}"),
        Statement::SetMac(Side::Destination, mac) => format!("-j dnat --to-destination {mac}"),
        Statement::NoTrack if nft => "notrack".to_owned(),
        Statement::NoTrack => "-j CT --notrack".to_owned(),
        Statement::Note(text) => text.clone(),
    })
}

fn verdict(dialect: Dialect, verdict: &RuleVerdict) -> String {
    let nft = dialect.is_nft();
    let plain = |name: &str| {
        if nft {
            name.to_owned()
        } else {
            format!("-j {}", name.to_uppercase())
        }
    };
    match verdict {
        RuleVerdict::Accept => plain("accept"),
        RuleVerdict::Drop => plain("drop"),
        RuleVerdict::Return => plain("return"),
        RuleVerdict::Continue => "continue".to_owned(),
        RuleVerdict::Jump(chain) if nft => format!("jump {}", nft_name(chain)),
        RuleVerdict::Jump(chain) => format!("-j {}", iptables_word(chain)),
        RuleVerdict::Goto(chain) if nft => format!("goto {}", nft_name(chain)),
        RuleVerdict::Goto(chain) => format!("-g {}", iptables_word(chain)),
        RuleVerdict::Queue { number, bypass } => {
            if nft {
                let flags = if *bypass { " flags bypass" } else { "" };
                format!("queue{flags} to {number}")
            } else {
                let bypass = if *bypass { " --queue-bypass" } else { "" };
                format!("-j NFQUEUE --queue-num {number}{bypass}")
            }
        }
    }
}

/// `0x1`, `meta mark or 0x1`, `ct mark`.
fn mark(value: &NewValue, own: &str) -> String {
    match value {
        NewValue {
            keep: 0,
            from: None,
            xor,
        } => format!("{xor:#x}"),
        NewValue {
            keep,
            from: None,
            xor,
        } if !keep == *xor => format!("{own} | {xor:#x}"),
        NewValue {
            keep,
            from: None,
            xor: 0,
        } => format!("{own} & {keep:#x}"),
        NewValue {
            keep,
            from: None,
            xor,
        } => format!("{own} & {keep:#x} ^ {xor:#x}"),
        NewValue {
            keep: 0,
            from: Some((from, u32::MAX)),
            xor: 0,
        } => field(from),
        NewValue { .. } => MORE.to_string(),
    }
}

/// A set's name; of one that belongs to its rule alone the elements.
fn set_words(name: &str, set: Option<&Set>) -> String {
    let Some(set) = set.filter(|_| name.starts_with("__")) else {
        return format!("@{}", nft_name(name));
    };
    if set.missing != Missing::Nothing || set.elements.len() > bounds::INLINED {
        return format!("{{ {MORE} }}");
    }
    let list: Vec<_> = set.elements.iter().map(element).collect();
    format!("{{ {} }}", list.join(", "))
}

/// Whether the addresses of a set are of IPv6: by its table, or by what it holds.
fn is_of_ipv6(set: &Set) -> bool {
    let keys = set.elements.first().into_iter();
    let mut keys = keys.flat_map(|element| &element.key);
    set.family == "ip6" || keys.any(|(a, _)| matches!(a, Value::Address(a) if a.is_ipv6()))
}

/// An element as nft(8) writes it in the set of a rule, without its comment.
fn element(element: &Element) -> String {
    let (key, leads) = element_words(element, &[]);
    match leads {
        Some(leads) => format!("{key} : {leads}"),
        None => key,
    }
}

/// An element's key and where it leads, as nft(8) writes them. `fields`: what is looked up, where that is known.
pub fn element_words(element: &Element, fields: &[Field]) -> (String, Option<String>) {
    let part = |(n, range): (usize, &(Value, Value))| match (fields.get(n), range) {
        (Some(Field::Protocol | Field::NextHeader), (Value::Number(a), Value::Number(b)))
            if a == b =>
        {
            u8::try_from(*a).map_or_else(|_| a.to_string(), protocol)
        }
        _ => value_range(range),
    };
    let key: Vec<_> = element.key.iter().enumerate().map(part).collect();
    let key = if key.is_empty() {
        "*".to_owned()
    } else {
        key.join(" . ")
    };
    let leads = element.verdict.as_ref();
    (key, leads.map(|leads| verdict(Dialect::Nft, leads)))
}

/// An element of an ipset, as ipset(8) writes it: `10.0.0.1,tcp:80`.
pub fn ipset_words(element: &Element, fields: &[Field]) -> String {
    let mut words = String::new();
    for (range, field) in element.key.iter().zip(fields) {
        let value = match range {
            (Value::Name(name), _) => name.clone(),
            (Value::Number(a), Value::Number(b)) if a == b => match (field, u8::try_from(*a)) {
                (Field::Protocol, Ok(number)) => protocol(number),
                _ => a.to_string(),
            },
            range => value_range(range),
        };
        words += &value;
        // A protocol stands before its port.
        words.push(if *field == Field::Protocol { ':' } else { ',' });
    }
    words.pop();
    words
}

fn value_range((first, last): &(Value, Value)) -> String {
    match (first, last) {
        (Value::Address(a), Value::Address(b)) => addresses((*a, *b)),
        (Value::Number(a), Value::Number(b)) if a != b => format!("{a}-{b}"),
        (value, _) => value_words(value),
    }
}

/// A value as nft writes it.
pub(super) fn value_words(value: &Value) -> String {
    match value {
        Value::Number(number) if *number > 0xffff => format!("{number:#x}"),
        Value::Number(number) => number.to_string(),
        Value::Address(address) => address.to_string(),
        Value::Name(name) => nft_string(name),
        Value::Mac(mac) => mac.to_string(),
    }
}

fn joined(fields: &[Field], transport: Option<u8>, v6: bool) -> String {
    let words: Vec<_> = fields
        .iter()
        .map(|one| match (one, transport) {
            (Field::Address(side), _) if v6 => ends(*side, "ip6 saddr", "ip6 daddr").to_owned(),
            (Field::Port(side), Some(number)) => {
                let end = ends(*side, "sport", "dport");
                format!("{} {end}", protocol(number))
            }
            _ => field(one),
        })
        .collect();
    words.join(" . ")
}

fn ends(side: Side, source: &'static str, destination: &'static str) -> &'static str {
    match side {
        Side::Source => source,
        Side::Destination => destination,
    }
}

/// A field as nft calls it where the packet's version is known.
pub(super) fn field_of(one: &Field, v6: bool) -> String {
    joined(std::slice::from_ref(one), None, v6)
}

/// A field as nft calls it.
pub(super) fn field(field: &Field) -> String {
    let name = match field {
        Field::Address(side) => ends(*side, "ip saddr", "ip daddr"),
        Field::Port(side) => ends(*side, "th sport", "th dport"),
        Field::Protocol => "meta l4proto",
        Field::NextHeader => "ip6 nexthdr",
        Field::Family => "meta nfproto",
        Field::EtherType => "ether type",
        Field::LinkType(side) => ends(*side, "meta iiftype", "meta oiftype"),
        Field::Interface(side) => ends(*side, "iifname", "oifname"),
        Field::BridgePort(side) => ends(*side, "physdev-in", "physdev-out"),
        Field::Bridge(side) => ends(*side, "meta ibrname", "meta obrname"),
        Field::State => "ct state",
        Field::Status => "ct status",
        Field::ConnectionMark => "ct mark",
        Field::Mark => "meta mark",
        Field::IcmpType => "icmp type",
        Field::IcmpCode => "icmp code",
        Field::TcpFlags => "tcp flags",
        Field::Mac(side) => ends(*side, "ether saddr", "ether daddr"),
        Field::PacketType => "meta pkttype",
        Field::Length => "ip length",
        Field::Ttl => "ip ttl",
        Field::Tos => "ip dscp",
        Field::Fragment => "ip frag-off",
        Field::AddressType(side) => ends(*side, "fib saddr type", "fib daddr type"),
        Field::ArpOperation => "arp operation",
        Field::ArpAddress(side) => ends(*side, "arp saddr ip", "arp daddr ip"),
        Field::ArpMac(side) => ends(*side, "arp saddr ether", "arp daddr ether"),
        Field::ArpHardware => "arp htype",
        Field::ArpHardwareLength => "arp hlen",
        Field::ArpProtocolLength => "arp plen",
        Field::User => "meta skuid",
        Field::Group => "meta skgid",
        Field::Other(text) => text,
    };
    name.to_owned()
}

pub(super) fn protocol(number: u8) -> String {
    PROTOCOLS
        .iter()
        .find(|(known, _)| *known == number)
        .map_or_else(|| number.to_string(), |(_, name)| (*name).to_owned())
}

fn states(mask: u32) -> Vec<&'static str> {
    STATES
        .iter()
        .filter(|(bit, _)| mask & bit != 0)
        .map(|(_, name)| *name)
        .collect()
}

/// `10.0.0.0/8`, `10.0.0.1`, `10.0.0.1-10.0.0.9`.
fn addresses((first, last): (IpAddr, IpAddr)) -> String {
    if first == last {
        return first.to_string();
    }
    match prefix(first, last) {
        Some(prefix) => format!("{first}/{prefix}"),
        None => format!("{first}-{last}"),
    }
}

/// The prefix length, where a range is a network.
fn prefix(first: IpAddr, last: IpAddr) -> Option<u32> {
    let (first, last, bits) = match (first, last) {
        (IpAddr::V4(a), IpAddr::V4(b)) => (u128::from(a.to_bits()), u128::from(b.to_bits()), 32),
        (IpAddr::V6(a), IpAddr::V6(b)) => (a.to_bits(), b.to_bits(), 128),
        _ => return None,
    };
    let host = first ^ last;
    (host & host.wrapping_add(1) == 0 && first & host == 0).then(|| bits - host.count_ones())
}

fn ports(ranges: &[(u16, u16)], between: char) -> String {
    let each: Vec<_> = ranges
        .iter()
        .map(|(a, b)| {
            if a == b {
                a.to_string()
            } else {
                format!("{a}{between}{b}")
            }
        })
        .collect();
    each.join(",")
}

fn braced(list: Vec<String>) -> String {
    match list.as_slice() {
        [only] => only.clone(),
        _ => format!("{{ {} }}", list.join(", ")),
    }
}

/// In nft's words. What a following test implies is left out, as nft itself does.
fn nft<'a>(
    dialect: Dialect,
    tests: &[&Test],
    sets: &impl Fn(&str) -> Option<&'a Set>,
) -> Vec<String> {
    let mut parts = Vec::new();
    let mut transport = None;
    let mut version = None;
    for (i, test) in tests.iter().enumerate() {
        let looks = |wanted: fn(&Field) -> bool| match tests.get(i + 1) {
            Some(Test::InSet { fields, .. }) => fields.first().is_some_and(wanted),
            Some(Test::Is { field, .. }) => wanted(field),
            _ => false,
        };
        if let Test::Version { v6, not: false } = test {
            version = Some(*v6);
        }
        match (test, tests.get(i + 1)) {
            (Test::Version { not: false, .. }, Some(Test::Address { .. })) => {}
            (Test::Version { not: false, .. }, _) if looks(|f| matches!(f, Field::Address(_))) => {}
            (Test::Protocol { number, not: false }, Some(Test::Port { .. })) => {
                transport = Some(*number);
            }
            (Test::Protocol { number, not: false }, _)
                if looks(|f| matches!(f, Field::Port(_) | Field::TcpFlags)) =>
            {
                transport = Some(*number);
            }
            (
                Test::Protocol {
                    number: 1 | 58,
                    not: false,
                },
                Some(Test::IcmpType { .. }),
            ) => {}
            (Test::InSet { fields, set, not }, _) => {
                let unless = if *not { "!= " } else { "" };
                let of = sets(set);
                let v6 = version.unwrap_or_else(|| of.is_some_and(is_of_ipv6));
                let name = set_words(set, of);
                parts.push(format!("{} {unless}{name}", joined(fields, transport, v6)));
            }
            _ => parts.push(nft_one(dialect, test, transport)),
        }
    }
    parts
}

/// A field's test, in nft's words.
fn field_test(of: &Field, mask: Option<u64>, ranges: &[(Value, Value)], not: bool) -> String {
    let name = field(of);
    let list: Vec<_> = ranges.iter().map(|range| named_value(of, range)).collect();
    let unless = if not { "!= " } else { "" };
    match (mask, ranges) {
        (None, _) => format!("{name} {unless}{}", braced(list)),
        (Some(mask), [(Value::Number(0), Value::Number(0))]) if not => match (of, mask) {
            (Field::Status, mask) => format!("{name} {}", status(mask)),
            _ => format!("{name} & {mask:#x} != 0"),
        },
        (Some(0xfc), [(Value::Number(value), _)]) if *of == Field::Tos => {
            format!("{name} {unless}{}", value >> 2)
        }
        (Some(mask), _) => {
            let compared = if not { "!=" } else { "==" };
            format!("{name} & {mask:#x} {compared} {}", braced(list))
        }
    }
}

fn named_value(of: &Field, range: &(Value, Value)) -> String {
    const TYPES: [(u64, &str); 4] = [
        (1, "unicast"),
        (2, "local"),
        (3, "broadcast"),
        (5, "multicast"),
    ];
    const KINDS: [(u64, &str); 4] = [
        (0, "host"),
        (1, "broadcast"),
        (2, "multicast"),
        (3, "other"),
    ];
    const OPERATIONS: [(u64, &str); 2] = [(1, "request"), (2, "reply")];
    /// ARPHRD_*.
    const LINKS: [(u64, &str); 3] = [(1, "ether"), (512, "ppp"), (772, "loopback")];
    let names: &[(u64, &str)] = match of {
        Field::AddressType(_) => &TYPES,
        Field::PacketType => &KINDS,
        Field::ArpOperation => &OPERATIONS,
        Field::LinkType(_) => &LINKS,
        _ => &[],
    };
    let known = match range {
        (Value::Number(first), last) if Value::Number(*first) == *last => {
            names.iter().find(|(number, _)| number == first)
        }
        _ => None,
    };
    match (known, of, range) {
        (Some((_, name)), ..) => (*name).to_owned(),
        (None, Field::NextHeader, (Value::Number(a), Value::Number(b))) if a == b => {
            u8::try_from(*a).map_or_else(|_| a.to_string(), protocol)
        }
        (None, Field::EtherType, (Value::Number(kind), _)) => format!("{kind:#06x}"),
        (None, Field::ConnectionMark, (Value::Number(mark), _)) => format!("{mark:#x}"),
        _ => value_range(range),
    }
}

/// Bits of IPS_* by name, as both programs call them.
fn status(mask: u64) -> String {
    const NAMES: [(u64, &str); 6] = [
        (1, "expected"),
        (2, "seen-reply"),
        (4, "assured"),
        (8, "confirmed"),
        (16, "snat"),
        (32, "dnat"),
    ];
    let names: Vec<_> = NAMES
        .iter()
        .filter(|(bit, _)| mask & bit != 0)
        .map(|(_, name)| *name)
        .collect();
    names.join(",")
}

fn nft_one(dialect: Dialect, test: &Test, transport: Option<u8>) -> String {
    let unless = |not: &bool| if *not { "!= " } else { "" };
    match test {
        Test::Address { side, ranges, not } => {
            let v6 = ranges.first().is_some_and(|(a, _)| a.is_ipv6());
            let family = if v6 { "ip6" } else { "ip" };
            let end = match side {
                Side::Source => "saddr",
                Side::Destination => "daddr",
            };
            let list = braced(ranges.iter().copied().map(addresses).collect());
            format!("{family} {end} {}{list}", unless(not))
        }
        Test::Port { side, ranges, not } => {
            let what = transport.map_or_else(|| "th".to_owned(), protocol);
            let end = match side {
                Some(Side::Source) => "sport",
                _ => "dport",
            };
            let list = braced(ranges.iter().map(|r| ports(&[*r], '-')).collect());
            format!("{what} {end} {}{list}", unless(not))
        }
        Test::Protocol { number, not } => {
            format!("meta l4proto {}{}", unless(not), protocol(*number))
        }
        Test::Version { v6, not } => {
            let version = match (dialect, v6) {
                (Dialect::NftFrames, false) => "meta protocol {}ip",
                (Dialect::NftFrames, true) => "meta protocol {}ip6",
                (_, false) => "meta nfproto {}ipv4",
                (_, true) => "meta nfproto {}ipv6",
            };
            version.replace("{}", unless(not))
        }
        Test::Interface { side, name, not } => {
            let what = match side {
                Side::Source => "iifname",
                Side::Destination => "oifname",
            };
            format!("{what} {}{}", unless(not), nft_string(name))
        }
        Test::State { mask, not } => {
            format!("ct state {}{}", unless(not), states(*mask).join(","))
        }
        Test::IcmpType { number, not } => format!("icmp type {}{number}", unless(not)),
        Test::Mark { value, mask, not } if *mask == u32::MAX => {
            format!("meta mark {}{value:#x}", unless(not))
        }
        Test::Mark { value, mask, not } => {
            let compared = if *not { "!=" } else { "==" };
            format!("meta mark & {mask:#x} {compared} {value:#x}")
        }
        Test::Is {
            field,
            mask,
            ranges,
            not,
        } => field_test(field, *mask, ranges, *not),
        Test::InSet { set, .. } => format!("@{}", nft_name(set)),
        Test::Any(_) => MORE.to_string(),
        Test::Other(text) => text.clone(),
    }
}

/// Several tests, in the words of iptables: a type of ICMP and its code are one option, and that of IPv6 has a name of its own.
fn iptables_all(tests: &[&Test]) -> Vec<String> {
    const ICMPV6: u8 = 58;
    let is_v6 = |test: &&Test| {
        matches!(
            test,
            Test::Protocol {
                number: ICMPV6,
                not: false
            }
        )
    };
    let option = match tests.iter().any(is_v6) {
        true => "--icmpv6-type",
        false => "--icmp-type",
    };
    let mut words = Vec::new();
    let mut rest = tests.iter().peekable();
    while let Some(test) = rest.next() {
        let Test::IcmpType { number, not } = test else {
            words.extend(iptables(test));
            continue;
        };
        let unless = if *not { "! " } else { "" };
        let code = rest.next_if(|next| !not && code_of(next).is_some());
        let code = code.and_then(|test| code_of(test));
        let code = code.map_or_else(String::new, |code| format!("/{code}"));
        words.push(format!("{unless}{option} {number}{code}"));
    }
    words
}

/// The only code of ICMP for which a test asks.
fn code_of(test: &Test) -> Option<u64> {
    match test {
        Test::Is {
            field: Field::IcmpCode,
            mask: None,
            ranges,
            not: false,
        } => match ranges.as_slice() {
            [(Value::Number(first), last)] if Value::Number(*first) == *last => Some(*first),
            _ => None,
        },
        _ => None,
    }
}

/// In the words of iptables; nothing for what its program adds itself.
fn iptables(test: &Test) -> Option<String> {
    let unless = |not: &bool| if *not { "! " } else { "" };
    Some(match test {
        Test::Address { side, ranges, not } => {
            let end = match side {
                Side::Source => "-s",
                Side::Destination => "-d",
            };
            let list: Vec<_> = ranges.iter().copied().map(addresses).collect();
            format!("{}{end} {}", unless(not), list.join(","))
        }
        Test::Port { side, ranges, not } => {
            let (one, many) = match side {
                Some(Side::Source) => ("--sport", "--sports"),
                Some(Side::Destination) => ("--dport", "--dports"),
                None => ("--ports", "--ports"),
            };
            let list = ports(ranges, ':');
            if ranges.len() == 1 && side.is_some() {
                format!("{}{one} {list}", unless(not))
            } else {
                format!("-m multiport {}{many} {list}", unless(not))
            }
        }
        Test::Protocol { number, not } => format!("{}-p {}", unless(not), protocol(*number)),
        // Its family is the program's own.
        Test::Version { not: false, .. } => return None,
        Test::Version { .. } => MORE.to_string(),
        Test::Interface { side, name, not } => {
            let what = match side {
                Side::Source => "-i",
                Side::Destination => "-o",
            };
            let name = match name.strip_suffix('*') {
                Some(start) => format!("{start}+"),
                None => name.clone(),
            };
            format!("{}{what} {}", unless(not), iptables_word(&name))
        }
        Test::State { mask, not } => {
            let list = states(*mask).join(",").to_uppercase();
            format!("-m conntrack {}--ctstate {list}", unless(not))
        }
        Test::IcmpType { number, not } => format!("{}--icmp-type {number}", unless(not)),
        Test::Mark { value, mask, not } => {
            format!("-m mark {}--mark {value:#x}/{mask:#x}", unless(not))
        }
        Test::Is {
            field,
            mask,
            ranges,
            not,
        } => iptables_field(field, *mask, ranges, *not)
            .unwrap_or_else(|| format!("{} {MORE}", super::words::field(field))),
        Test::InSet { fields, set, not } => {
            let sides: Vec<_> = fields.iter().map(field).collect();
            format!(
                "-m set {}--match-set {} {}",
                unless(not),
                iptables_word(set),
                sides.join(",")
            )
        }
        Test::Any(tests) => iptables_any(tests),
        Test::Other(text) => text.clone(),
    })
}

/// `--ctstate RELATED,ESTABLISHED,DNAT` is any of several tests.
fn iptables_any(tests: &[Test]) -> String {
    let mut names = Vec::new();
    for test in tests {
        match test {
            Test::State { mask, not: false } => {
                names.extend(states(*mask).into_iter().map(str::to_uppercase));
            }
            Test::Is {
                field: Field::Status,
                mask: Some(mask),
                not: true,
                ..
            } => names.push(status(*mask).to_uppercase()),
            _ => return MORE.to_string(),
        }
    }
    format!("-m conntrack --ctstate {}", names.join(","))
}

fn iptables_field(
    of: &Field,
    mask: Option<u64>,
    ranges: &[(Value, Value)],
    not: bool,
) -> Option<String> {
    let unless = if not { "! " } else { "" };
    let [(first, last)] = ranges else {
        let Field::AddressType(side) = of else {
            return None;
        };
        let list: Vec<_> = ranges
            .iter()
            .map(|r| named_value(of, r).to_uppercase())
            .collect();
        let option = ends(*side, "--src-type", "--dst-type");
        return Some(format!("-m addrtype {unless}{option} {}", list.join(",")));
    };
    let range = |between: char| {
        if first == last {
            value_words(first)
        } else {
            format!("{}{between}{}", value_words(first), value_words(last))
        }
    };
    Some(match (of, mask) {
        (Field::AddressType(side), None) => {
            let option = ends(*side, "--src-type", "--dst-type");
            let kind = named_value(of, &(first.clone(), last.clone())).to_uppercase();
            format!("-m addrtype {unless}{option} {kind}")
        }
        (Field::TcpFlags, Some(mask)) => {
            let Value::Number(flags) = first else {
                return None;
            };
            format!(
                "{unless}--tcp-flags {} {}",
                tcp_flags(mask),
                tcp_flags(*flags)
            )
        }
        (Field::ConnectionMark, Some(mask)) => {
            let Value::Number(mark) = first else {
                return None;
            };
            format!("-m connmark {unless}--mark {mark:#x}/{mask:#x}")
        }
        // Inverted it is the test itself: the bits are not all zero.
        (Field::Status, Some(mask)) => {
            let unless = if not { "" } else { "! " };
            format!(
                "-m conntrack {unless}--ctstatus {}",
                status(mask).to_uppercase()
            )
        }
        (Field::BridgePort(side), None) => {
            let Value::Name(name) = first else {
                return None;
            };
            let name = name
                .strip_suffix('*')
                .map_or(name.clone(), |n| format!("{n}+"));
            let option = ends(*side, "--physdev-in", "--physdev-out");
            format!("-m physdev {unless}{option} {}", iptables_word(&name))
        }
        // Later fragments: the offset is not zero.
        (Field::Fragment, Some(0x1fff)) if *last == Value::Number(0) => {
            format!("{}-f", if not { "" } else { "! " })
        }
        (Field::Mac(Side::Source), None) => {
            format!("-m mac {unless}--mac-source {}", value_words(first))
        }
        (Field::User, None) => format!("-m owner {unless}--uid-owner {}", range('-')),
        (Field::Group, None) => format!("-m owner {unless}--gid-owner {}", range('-')),
        (Field::Length, None) => format!("-m length {unless}--length {}", range(':')),
        (Field::PacketType, None) => {
            let kind = named_value(of, &(first.clone(), last.clone()));
            format!("-m pkttype {unless}--pkt-type {kind}")
        }
        _ => return None,
    })
}

fn tcp_flags(mask: u64) -> String {
    const NAMES: [(u64, &str); 6] = [
        (1, "FIN"),
        (2, "SYN"),
        (4, "RST"),
        (8, "PSH"),
        (16, "ACK"),
        (32, "URG"),
    ];
    let names: Vec<_> = NAMES
        .iter()
        .filter(|(bit, _)| mask & bit != 0)
        .map(|(_, name)| *name)
        .collect();
    if names.is_empty() {
        "NONE".to_owned()
    } else {
        names.join(",")
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a failed setup fails the test")]
mod tests {
    use super::*;

    fn net(first: &str, last: &str) -> (IpAddr, IpAddr) {
        (first.parse().unwrap(), last.parse().unwrap())
    }

    fn told(dialect: Dialect, tests: Vec<Test>) -> (String, bool) {
        let mut parts: Vec<_> = tests.into_iter().map(Part::Test).collect();
        parts.push(Part::Do(Statement::Verdict(RuleVerdict::Drop)));
        rule(dialect, &parts, None, |_| None)
    }

    fn tests() -> Vec<Test> {
        vec![
            Test::Interface {
                side: Side::Source,
                name: "veth*".to_owned(),
                not: false,
            },
            Test::Address {
                side: Side::Source,
                ranges: vec![net("10.1.0.0", "10.1.255.255")],
                not: true,
            },
            Test::Protocol {
                number: 6,
                not: false,
            },
            Test::Port {
                side: Some(Side::Destination),
                ranges: vec![(80, 90)],
                not: false,
            },
            Test::State {
                mask: 9,
                not: false,
            },
        ]
    }

    #[test]
    fn an_ipset_is_named_as_iptables_does() {
        let side = |name: &str| Field::Other(name.to_owned());
        let test = Test::InSet {
            fields: vec![side("src"), side("dst")],
            set: "blocked".to_owned(),
            not: true,
        };
        assert_eq!(
            iptables(&test).as_deref(),
            Some("-m set ! --match-set blocked src,dst")
        );
    }

    #[test]
    fn each_program_has_its_words() {
        assert_eq!(
            told(Dialect::Nft, tests()),
            (
                "iifname \"veth*\" ip saddr != 10.1.0.0/16 tcp dport 80-90 ct state invalid,new drop"
                    .to_owned(),
                true
            )
        );
        assert_eq!(
            told(Dialect::Iptables, tests()).0,
            "-i veth+ ! -s 10.1.0.0/16 -p tcp --dport 80:90 -m conntrack --ctstate INVALID,NEW -j DROP"
        );
    }

    #[test]
    fn what_is_not_understood_is_not_the_whole() {
        let tests = vec![Test::Other("-m hashlimit …".to_owned())];
        assert!(!told(Dialect::Iptables, tests).1);
    }

    #[test]
    fn a_range_that_is_no_network_stays_one() {
        assert_eq!(addresses(net("10.0.0.1", "10.0.0.9")), "10.0.0.1-10.0.0.9");
        assert_eq!(addresses(net("0.0.0.0", "255.255.255.255")), "0.0.0.0/0");
        assert_eq!(addresses(net("fd00::", "fd00::ffff")), "fd00::/112");
        assert_eq!(addresses(net("10.0.0.1", "10.0.0.1")), "10.0.0.1");
    }

    #[test]
    fn what_a_rule_does_stands_where_its_program_has_it() {
        let parts = [
            Part::Test(Test::Protocol {
                number: 6,
                not: false,
            }),
            Part::Do(Statement::SetMark(NewValue {
                keep: !0x4000,
                from: None,
                xor: 0x4000,
            })),
        ];
        let told = |dialect| rule(dialect, &parts, Some("why"), |_| None).0;
        assert_eq!(
            told(Dialect::Nft),
            "meta l4proto tcp meta mark set meta mark | 0x4000 comment \"why\""
        );
        assert_eq!(
            told(Dialect::Iptables),
            "-p tcp -m comment --comment \"why\" -j MARK --set-xmark 0x4000/0x4000"
        );
    }
}
