//! Expressions of a rule of nf_tables, one after the other: what is loaded into which register, what it is compared
//! with, and where the rule leads. What is not understood stays a condition in words.

use std::collections::BTreeMap;
use std::net::IpAddr;

use super::super::rules::{End, Way};
use super::super::xt::{self, Matched};
use super::rules::TableId;
use super::sets::{Element, Sets};
use super::verdict;
use crate::host::facts::{Side, Stop, Test};
use crate::host::netlink::{attributes, be32_of, text_of, u16_of, u32_of};

// Operations of `cmp`.
const EQUAL: u32 = 0;
const NOT_EQUAL: u32 = 1;
const LESS: u32 = 2;
const AT_MOST: u32 = 3;
const GREATER: u32 = 4;
const AT_LEAST: u32 = 5;
/// NFPROTO_IPV6.
const FAMILY_IP6: u8 = 10;
/// NFPROTO_ARP.
const FAMILY_ARP: u8 = 3;

/// What a register holds.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Loaded {
    Address(Side, bool),
    Port(Side),
    Protocol,
    /// NFPROTO_*.
    Family,
    /// ETH_P_*.
    EtherType,
    Name(Side),
    Index(Side),
    State,
    IcmpType,
    Mark,
    Other(String),
}

#[derive(Clone, Debug)]
struct Register {
    loaded: Loaded,
    length: usize,
    mask: Option<Vec<u8>>,
}

/// A rule as far as it has been read.
pub(super) struct Reading<'a> {
    table: &'a TableId,
    sets: &'a Sets,
    registers: BTreeMap<u32, Register>,
    pub(super) tests: Vec<Test>,
    pub(super) ways: Vec<Way>,
    pub(super) end: Option<End>,
    pub(super) packets: Option<u64>,
    pub(super) comment: Option<String>,
}

/// The attributes of an expression by number.
struct Attributes<'a>(&'a [u8]);

impl<'a> Attributes<'a> {
    fn get(&self, wanted: u16) -> Option<&'a [u8]> {
        attributes(self.0)
            .find(|(kind, _)| *kind == wanted)
            .map(|(_, value)| value)
    }

    fn number(&self, wanted: u16) -> Option<u32> {
        self.get(wanted).and_then(be32_of)
    }

    fn long(&self, wanted: u16) -> Option<u64> {
        let value = self.get(wanted)?.first_chunk()?;
        Some(u64::from_be_bytes(*value))
    }

    /// NFTA_DATA_VALUE in a nest.
    fn value(&self, wanted: u16) -> Option<&'a [u8]> {
        Attributes(self.get(wanted)?).get(1)
    }
}

impl<'a> Reading<'a> {
    pub(super) fn new(table: &'a TableId, sets: &'a Sets) -> Self {
        Self {
            table,
            sets,
            registers: BTreeMap::new(),
            tests: Vec::new(),
            ways: Vec::new(),
            end: None,
            packets: None,
            comment: None,
        }
    }

    /// Takes the next expression.
    pub(super) fn take(&mut self, name: &str, data: &[u8]) {
        let read = Attributes(data);
        let stop = |stop, said: &str| Some(End::Stop(stop, said.to_owned()));
        match name {
            "meta" => self.load(&read, 1, meta(&read)),
            "payload" => self.load(&read, 1, self.payload(&read)),
            "ct" => self.load(&read, 1, connection(&read)),
            "fib" => self.load(&read, 1, Some((Loaded::Other(fib(&read)), 4))),
            "bitwise" => self.bitwise(&read),
            "cmp" => self.compare(&read),
            "range" => self.range(&read),
            "lookup" => self.look_up(&read),
            "immediate" => self.immediate(&read),
            "counter" => self.packets = read.long(2),
            "match" => self.matched(&read),
            "target" => self.target(&read),
            "reject" => self.end = stop(Stop::Reject, reject_words(&read)),
            "queue" => self.end = stop(Stop::Queue, "queue"),
            "masq" => self.end = stop(Stop::Nat, "masquerade"),
            "nat" | "redir" => self.end = stop(Stop::Nat, "nat …"),
            "limit" => self.tests.push(Test::Other(limit(&read))),
            "connlimit" => {
                let over = if read.number(2) == Some(1) {
                    "over "
                } else {
                    ""
                };
                let count = read.number(1).unwrap_or_default();
                self.tests
                    .push(Test::Other(format!("ct count {over}{count}")));
            }
            // They tell of the packet or change it, and let it go on.
            "log" | "notrack" | "objref" | "dup" | "exthdr" | "byteorder" => {}
            other => self.tests.push(Test::Other(format!("{other} …"))),
        }
    }

    /// Remembers what is loaded; statements that set something load nothing.
    fn load(&mut self, read: &Attributes<'_>, register: u16, what: Option<(Loaded, usize)>) {
        if let (Some(register), Some((loaded, length))) = (read.number(register), what) {
            let mask = None;
            self.registers.insert(
                register,
                Register {
                    loaded,
                    length,
                    mask,
                },
            );
        }
    }

    fn payload(&self, read: &Attributes<'_>) -> Option<(Loaded, usize)> {
        const LINK: u32 = 0;
        const NETWORK: u32 = 1;
        const TRANSPORT: u32 = 2;
        let base = read.number(2)?;
        let (offset, length) = (read.number(3)?, usize::try_from(read.number(4)?).ok()?);
        let icmp = || {
            self.tests.iter().any(|test| {
                matches!(
                    test,
                    Test::Protocol {
                        number: 1 | 58,
                        not: false
                    }
                )
            })
        };
        let arp = self.table.0 == FAMILY_ARP;
        let loaded = match (base, offset, length) {
            (NETWORK, 6, 2) if arp => Loaded::Other("arp operation".to_owned()),
            (NETWORK, 14, 4) if arp => Loaded::Other("arp saddr ip".to_owned()),
            (NETWORK, 24, 4) if arp => Loaded::Other("arp daddr ip".to_owned()),
            // struct iphdr: saddr at 12, daddr at 16; a network of whole bytes is loaded as so many of them.
            (NETWORK, 12, 1..=4) => Loaded::Address(Side::Source, false),
            (NETWORK, 16, 1..=4) => Loaded::Address(Side::Destination, false),
            (NETWORK, 9, 1) => Loaded::Protocol,
            // struct ipv6hdr: saddr at 8, daddr at 24.
            (NETWORK, 8, 1..=16) => Loaded::Address(Side::Source, true),
            (NETWORK, 24, 1..=16) => Loaded::Address(Side::Destination, true),
            (NETWORK, 6, 1) if self.table.0 == FAMILY_IP6 => Loaded::Protocol,
            (TRANSPORT, 0, 1) if icmp() => Loaded::IcmpType,
            (TRANSPORT, 0, 2) => Loaded::Port(Side::Source),
            (TRANSPORT, 2, 2) => Loaded::Port(Side::Destination),
            (TRANSPORT, 13, 1) => Loaded::Other("tcp flags".to_owned()),
            (LINK, 12, 2) => Loaded::EtherType,
            (LINK, 0, 6) => Loaded::Other("ether daddr".to_owned()),
            (LINK, 6, 6) => Loaded::Other("ether saddr".to_owned()),
            _ => Loaded::Other(format!("@{base},{},{}", offset * 8, length * 8)),
        };
        Some((loaded, length))
    }

    fn bitwise(&mut self, read: &Attributes<'_>) {
        let (from, to, mask) = (read.number(1), read.number(2), read.value(4));
        let source = from.and_then(|from| self.registers.get(&from)).cloned();
        let (Some(source), Some(to)) = (source, to) else {
            return;
        };
        let mask = mask.map(<[u8]>::to_vec);
        self.registers.insert(to, Register { mask, ..source });
    }

    fn compare(&mut self, read: &Attributes<'_>) {
        let (Some(register), Some(operation), Some(value)) =
            (self.register(read, 1), read.number(2), read.value(3))
        else {
            return self.unknown();
        };
        let test = match operation {
            EQUAL => one(&register, value),
            NOT_EQUAL => one(&register, value).map(Test::negated),
            LESS | AT_MOST | GREATER | AT_LEAST => bound(&register, operation, value),
            _ => None,
        };
        self.tests.push(test.unwrap_or_else(|| {
            let said = match operation {
                EQUAL => "",
                NOT_EQUAL => "!= ",
                LESS => "< ",
                AT_MOST => "<= ",
                GREATER => "> ",
                _ => ">= ",
            };
            Test::Other(other(&register, said, value))
        }));
    }

    fn range(&mut self, read: &Attributes<'_>) {
        let (Some(register), Some(operation)) = (self.register(read, 1), read.number(2)) else {
            return self.unknown();
        };
        let (from, to) = (read.value(3), read.value(4));
        let test = match (&register.loaded, from.and_then(be16), to.and_then(be16)) {
            (Loaded::Port(side), Some(from), Some(to)) => Some(Test::Port {
                side: Some(*side),
                ranges: vec![(from, to)],
                not: false,
            }),
            (Loaded::Address(side, v6), ..) => from
                .zip(to)
                .and_then(|(from, to)| Some((padded(from, *v6, 0)?, padded(to, *v6, 0)?)))
                .map(|range| Test::Address {
                    side: *side,
                    ranges: vec![range],
                    not: false,
                }),
            _ => None,
        };
        match test {
            Some(test) if operation == EQUAL => self.tests.push(test),
            Some(test) => self.tests.push(test.negated()),
            None => self
                .tests
                .push(Test::Other(format!("{} …", words(&register.loaded)))),
        }
    }

    fn look_up(&mut self, read: &Attributes<'_>) {
        let register = self.register(read, 2);
        let (Some(register), Some(set)) = (register, read.get(1).map(text_of)) else {
            return self.unknown();
        };
        let elements = self.sets.get(&(self.table.clone(), set.clone()));
        if read.get(3).is_some() {
            return self.verdict_map(&register, &set, elements);
        }
        let inverted = read.number(5).is_some_and(|flags| flags & 1 != 0);
        let test = elements
            .and_then(|elements| any_of(&register, elements))
            .map(|test| if inverted { test.negated() } else { test });
        self.tests.push(test.unwrap_or_else(|| {
            let unless = if inverted { "!= " } else { "" };
            let name = if elements.is_some() {
                "{ … }".to_owned()
            } else {
                format!("@{set}")
            };
            Test::Other(format!("{} {unless}{name}", words(&register.loaded)))
        }));
    }

    /// One way for each element; a map that was not read may lead anywhere.
    fn verdict_map(&mut self, register: &Register, set: &str, elements: Option<&Vec<Element>>) {
        for element in elements.into_iter().flatten().filter(|e| !e.closes) {
            let Some(end) = element.verdict.clone() else {
                continue;
            };
            let mut tests = self.tests.clone();
            tests.push(match &register.loaded {
                Loaded::Other(text) => Test::Other(format!("{text} vmap {{ … }}")),
                _ => one(register, &element.key)
                    .unwrap_or_else(|| Test::Other(format!("{} vmap …", words(&register.loaded)))),
            });
            self.ways.push(Way { tests, end });
        }
        if elements.is_none() {
            self.tests.push(Test::Other(format!(
                "{} vmap @{set} …",
                words(&register.loaded)
            )));
            self.end = Some(End::Stop(Stop::Drop, String::from("(perhaps drop)")));
        }
    }

    fn immediate(&mut self, read: &Attributes<'_>) {
        if let Some(end) = read.get(2).and_then(verdict::of_data) {
            self.end = Some(end);
        }
    }

    /// A match of x_tables.
    fn matched(&mut self, read: &Attributes<'_>) {
        let name = read.get(1).map(text_of).unwrap_or_default();
        let revision = read.number(2).unwrap_or_default();
        match xt::matched(&name, revision, read.get(3).unwrap_or_default()) {
            Matched::Tests(tests) => self.tests.extend(tests),
            Matched::Comment(text) => self.comment = Some(text),
        }
    }

    /// A target of x_tables.
    fn target(&mut self, read: &Attributes<'_>) {
        let name = read.get(1).map(text_of).unwrap_or_default();
        let v6 = self.table.0 == FAMILY_IP6;
        self.end = Some(xt::target(&name, read.get(3).unwrap_or_default(), v6));
    }

    fn register(&self, read: &Attributes<'_>, attribute: u16) -> Option<Register> {
        self.registers.get(&read.number(attribute)?).cloned()
    }

    fn unknown(&mut self) {
        self.tests.push(Test::Other("…".to_owned()));
    }
}

fn meta(read: &Attributes<'_>) -> Option<(Loaded, usize)> {
    /// NFT_META_* by number.
    const KEYS: [(u32, Loaded, usize); 8] = [
        (1, Loaded::EtherType, 2),
        (3, Loaded::Mark, 4),
        (4, Loaded::Index(Side::Source), 4),
        (5, Loaded::Index(Side::Destination), 4),
        (6, Loaded::Name(Side::Source), 16),
        (7, Loaded::Name(Side::Destination), 16),
        (15, Loaded::Family, 1),
        (16, Loaded::Protocol, 1),
    ];
    let key = read.number(2)?;
    let known = KEYS.iter().find(|(number, ..)| *number == key);
    Some(known.map_or_else(
        || (Loaded::Other(format!("meta {key} …")), 4),
        |(_, loaded, length)| (loaded.clone(), *length),
    ))
}

fn connection(read: &Attributes<'_>) -> Option<(Loaded, usize)> {
    Some(match read.number(2)? {
        0 => (Loaded::State, 4),
        2 => (Loaded::Other("ct status".to_owned()), 4),
        3 => (Loaded::Other("ct mark".to_owned()), 4),
        key => (Loaded::Other(format!("ct {key} …")), 4),
    })
}

fn fib(read: &Attributes<'_>) -> String {
    const FLAGS: [(u32, &str); 5] = [
        (1, "saddr"),
        (2, "daddr"),
        (4, "mark"),
        (8, "iif"),
        (16, "oif"),
    ];
    const RESULTS: [(u32, &str); 3] = [(1, "oif"), (2, "oifname"), (3, "type")];
    let (result, flags) = (read.number(2), read.number(3).unwrap_or_default());
    let by: Vec<_> = FLAGS
        .iter()
        .filter(|(bit, _)| flags & bit != 0)
        .map(|(_, name)| *name)
        .collect();
    let result = RESULTS
        .iter()
        .find(|(number, _)| Some(*number) == result)
        .map_or("…", |(_, name)| name);
    format!("fib {} {result}", by.join(" . "))
}

fn limit(read: &Attributes<'_>) -> String {
    const UNITS: [(u64, &str); 5] = [
        (1, "second"),
        (60, "minute"),
        (3_600, "hour"),
        (86_400, "day"),
        (604_800, "week"),
    ];
    let over = if read.number(5).is_some_and(|flags| flags & 1 != 0) {
        "over "
    } else {
        ""
    };
    let bytes = if read.number(4) == Some(1) {
        " bytes"
    } else {
        ""
    };
    let unit = UNITS
        .iter()
        .find(|(seconds, _)| Some(*seconds) == read.long(2))
        .map_or("…", |(_, name)| name);
    let rate = read.long(1).unwrap_or_default();
    format!("limit rate {over}{rate}{bytes}/{unit}")
}

fn reject_words(read: &Attributes<'_>) -> &'static str {
    /// NFT_REJECT_TCP_RST.
    const RESET: u32 = 1;
    if read.number(1) == Some(RESET) {
        "reject with tcp reset"
    } else {
        "reject"
    }
}

fn be16(value: &[u8]) -> Option<u16> {
    value.first_chunk().map(|b| u16::from_be_bytes(*b))
}

/// An address whose missing bytes are all `fill`.
fn padded(value: &[u8], v6: bool, fill: u8) -> Option<IpAddr> {
    let length = if v6 { 16 } else { 4 };
    let mut bytes = value.get(..value.len().min(length))?.to_vec();
    bytes.resize(length, fill);
    crate::host::netlink::address_of(&bytes)
}

/// First and last address that agree with a value where the register's mask, or its length, says so.
fn network(register: &Register, value: &[u8], v6: bool) -> Option<(IpAddr, IpAddr)> {
    let Some(mask) = &register.mask else {
        let value = value.get(..value.len().min(register.length))?;
        return Some((padded(value, v6, 0)?, padded(value, v6, 0xff)?));
    };
    let last: Vec<u8> = value.iter().zip(mask).map(|(v, m)| v | !m).collect();
    Some((padded(value, v6, 0)?, padded(&last, v6, 0xff)?))
}

/// The register equals a value.
fn one(register: &Register, value: &[u8]) -> Option<Test> {
    let not = false;
    Some(match (&register.loaded, &register.mask) {
        (Loaded::Address(side, v6), _) => Test::Address {
            side: *side,
            ranges: vec![network(register, value, *v6)?],
            not,
        },
        (Loaded::Port(side), None) => Test::Port {
            side: Some(*side),
            ranges: vec![(be16(value)?, be16(value)?)],
            not,
        },
        (Loaded::Protocol, None) => Test::Protocol {
            number: *value.first()?,
            not,
        },
        (Loaded::Family, None) => Test::Version {
            v6: match value.first()? {
                2 => false,
                10 => true,
                _ => return None,
            },
            not,
        },
        (Loaded::EtherType, None) => Test::Version {
            v6: match be16(value)? {
                0x0800 => false,
                0x86dd => true,
                _ => return None,
            },
            not,
        },
        (Loaded::Name(side), None) => Test::Interface {
            side: *side,
            name: interface_name(value),
            not,
        },
        (Loaded::Index(side), None) => Test::Interface {
            side: *side,
            name: name_of_index(u32_of(value)?)?,
            not,
        },
        (Loaded::IcmpType, None) => Test::IcmpType {
            number: *value.first()?,
            not,
        },
        (Loaded::Mark, mask) => Test::Mark {
            value: u32_of(value)?,
            mask: match mask {
                Some(mask) => u32_of(mask)?,
                None => u32::MAX,
            },
            not,
        },
        (Loaded::State, None) => Test::State {
            mask: u32_of(value)?,
            not,
        },
        // `state & mask` compared with zero: equal means none of them.
        (Loaded::State, Some(mask)) if u32_of(value) == Some(0) => Test::State {
            mask: u32_of(mask)?,
            not: true,
        },
        _ => return None,
    })
}

/// A bound of a port: two of them are a range.
fn bound(register: &Register, operation: u32, value: &[u8]) -> Option<Test> {
    let Loaded::Port(side) = register.loaded else {
        return None;
    };
    let port = be16(value)?;
    let range = match operation {
        LESS => (0, port.checked_sub(1)?),
        AT_MOST => (0, port),
        GREATER => (port.checked_add(1)?, u16::MAX),
        _ => (port, u16::MAX),
    };
    Some(Test::Port {
        side: Some(side),
        ranges: vec![range],
        not: false,
    })
}

/// The register equals one of a set's elements.
fn any_of(register: &Register, elements: &[Element]) -> Option<Test> {
    let intervals = elements.iter().any(|e| e.closes);
    if intervals {
        return None;
    }
    let mut tests = elements.iter().map(|e| one(register, &e.key));
    let mut all = tests.next()??;
    for test in tests {
        match (&mut all, test?) {
            (Test::Address { ranges, .. }, Test::Address { ranges: more, .. }) => {
                ranges.extend(more);
            }
            (Test::Port { ranges, .. }, Test::Port { ranges: more, .. }) => ranges.extend(more),
            (Test::State { mask, .. }, Test::State { mask: more, .. }) => *mask |= more,
            _ => return None,
        }
    }
    Some(all)
}

/// A name as compared: without a closing zero only its beginning.
fn interface_name(value: &[u8]) -> String {
    let name = text_of(value);
    if value.contains(&0) {
        name
    } else {
        format!("{name}*")
    }
}

fn name_of_index(index: u32) -> Option<String> {
    let name = nix::net::if_::if_indextoname(index).ok()?;
    Some(text_of(name.as_bytes()))
}

fn words(loaded: &Loaded) -> String {
    let ends = |side: &Side, source: &str, destination: &str| match side {
        Side::Source => source.to_owned(),
        Side::Destination => destination.to_owned(),
    };
    match loaded {
        Loaded::Address(side, false) => ends(side, "ip saddr", "ip daddr"),
        Loaded::Address(side, true) => ends(side, "ip6 saddr", "ip6 daddr"),
        Loaded::Port(side) => ends(side, "th sport", "th dport"),
        Loaded::Protocol => "meta l4proto".to_owned(),
        Loaded::Family => "meta nfproto".to_owned(),
        Loaded::EtherType => "ether type".to_owned(),
        Loaded::Name(side) => ends(side, "iifname", "oifname"),
        Loaded::Index(side) => ends(side, "iif", "oif"),
        Loaded::State => "ct state".to_owned(),
        Loaded::IcmpType => "icmp type".to_owned(),
        Loaded::Mark => "meta mark".to_owned(),
        Loaded::Other(text) => text.clone(),
    }
}

/// A comparison that is no test of its own, as far as its value can be told.
fn other(register: &Register, said: &str, value: &[u8]) -> String {
    let what = words(&register.loaded);
    let missing = what.starts_with("fib ") && value.iter().all(|byte| *byte == 0);
    if missing && said.is_empty() {
        return format!("{what} missing");
    }
    let value = match (what.as_str(), value) {
        ("arp operation", [0, 1]) => "request".to_owned(),
        ("arp operation", [0, 2]) => "reply".to_owned(),
        ("arp saddr ip" | "arp daddr ip", _) => {
            padded(value, false, 0).map_or_else(|| "…".to_owned(), |address| address.to_string())
        }
        ("ether saddr" | "ether daddr", _) => {
            let parts: Vec<_> = value.iter().map(|byte| format!("{byte:02x}")).collect();
            parts.join(":")
        }
        ("ether type", _) => u16_of(value).map_or_else(
            || "…".to_owned(),
            |kind| format!("{:#06x}", u16::from_be(kind)),
        ),
        _ => "…".to_owned(),
    };
    format!("{what} {said}{value}")
}
