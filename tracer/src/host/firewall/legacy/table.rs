//! The entries of a table of iptables-legacy or ip6tables-legacy: struct ipt_entry and struct ip6t_entry, one after the
//! other (linux/netfilter_ipv4/ip_tables.h, linux/netfilter_ipv6/ip6_tables.h).

use std::collections::BTreeMap;
use std::net::IpAddr;

use super::super::words::{self, Dialect};
use super::super::xt::{self, Matched};
use crate::host::facts::{Field, Part, Rule, RuleVerdict, Side, Statement, Test, Value};
use crate::host::netlink::{address_of, i32_of, text_of, u16_of};

/// struct xt_entry_match and xt_entry_target: size (2), name (29), revision; then the data.
const HEAD: usize = 32;
/// Verdicts of rules are written as `-NF_x - 1`; XT_RETURN is one of them.
const VERDICT_DROP: i32 = -1;
const VERDICT_ACCEPT: i32 = -2;
const VERDICT_QUEUE: i32 = -4;
const VERDICT_RETURN: i32 = -5;
/// Chains by name.
type Chains = BTreeMap<String, Vec<Rule>>;

/// Where the fields of an entry stand.
struct Fields {
    address: usize,
    interfaces: usize,
    protocol: usize,
    flags: usize,
    /// IPT_F_GOTO, IP6T_F_GOTO.
    goto: u8,
    inverted: usize,
    /// `target_offset` and `next_offset`, 2 bytes each.
    offsets: usize,
    packets: usize,
    matches: usize,
}

/// struct ipt_ip is 84 bytes, `nfcache` 4, the offsets 4, `comefrom` 4, counters 16.
const V4: Fields = Fields {
    address: 4,
    interfaces: 16,
    protocol: 80,
    flags: 82,
    goto: 2,
    inverted: 83,
    offsets: 88,
    packets: 96,
    matches: 112,
};

/// struct ip6t_ip6 is 136 bytes; the counters are aligned to 8.
const V6: Fields = Fields {
    address: 16,
    interfaces: 64,
    protocol: 128,
    flags: 131,
    goto: 4,
    inverted: 132,
    offsets: 140,
    packets: 152,
    matches: 168,
};

/// IPT_INV_* and IP6T_INV_*.
const INVERT_IN: u8 = 0x01;
const INVERT_OUT: u8 = 0x02;
const INVERT_SOURCE: u8 = 0x08;
const INVERT_DESTINATION: u8 = 0x10;
const INVERT_PROTOCOL: u8 = 0x40;
/// IFNAMSIZ.
const NAME: usize = 16;

/// What an entry does.
enum Target {
    /// Ends the way, or goes on.
    Does(Vec<Part>),
    /// Jumps to the entry at this offset; for good, or to come back.
    Jump(usize, bool),
    /// Begins a chain of this name.
    Head(String),
}

struct Entry {
    tests: Vec<Test>,
    packets: u64,
    comment: Option<String>,
    target: Target,
    drops: bool,
    next: usize,
}

/// A chain's policy.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Policy {
    pub(super) drops: bool,
    pub(super) packets: u64,
}

/// All entries by their offsets.
pub(super) struct Table {
    entries: BTreeMap<usize, Entry>,
}

/// Reads all entries; `None` where they are laid out in an unknown way.
pub(super) fn read(bytes: &[u8], v6: bool) -> Option<Table> {
    let mut entries = BTreeMap::new();
    let mut at = 0;
    while at < bytes.len() {
        let entry = entry(bytes.get(at..)?, v6)?;
        let next = at.checked_add(entry.next)?;
        entries.insert(at, Entry { next, ..entry });
        at = next;
    }
    Some(Table { entries })
}

impl Table {
    /// The rules of a built-in chain, and its policy.
    pub(super) fn built_in(&self, first: u32, policy: u32) -> Option<(Vec<Rule>, Policy)> {
        let (first, policy) = (usize::try_from(first).ok()?, usize::try_from(policy).ok()?);
        let end = self.entries.get(&policy)?;
        let rules = if first < policy {
            self.entries
                .range(first..policy)
                .zip(1..)
                .map(|((_, entry), number)| self.rule(entry, number))
                .collect()
        } else {
            Vec::new()
        };
        let policy = Policy {
            drops: end.drops,
            packets: end.packets,
        };
        Some((rules, policy))
    }

    /// The chains that were made by users, each from its head to the next one.
    pub(super) fn user_chains(&self) -> Chains {
        let mut chains = Chains::new();
        let mut current: Option<(String, Vec<Rule>)> = None;
        for entry in self.entries.values() {
            if let Target::Head(name) = &entry.target {
                chains.extend(current.replace((name.clone(), Vec::new())));
            } else if let Some((_, rules)) = &mut current {
                let number = u32::try_from(rules.len() + 1).unwrap_or(u32::MAX);
                rules.push(self.rule(entry, number));
            }
        }
        chains.extend(current);
        chains
    }

    /// The entry's rule, with the name of the chain to which it jumps.
    fn rule(&self, entry: &Entry, number: u32) -> Rule {
        let does = match &entry.target {
            Target::Does(parts) => parts.clone(),
            Target::Jump(to, _) if *to == entry.next => Vec::new(),
            Target::Jump(to, for_good) => {
                let name = self.named(*to).unwrap_or_default();
                let verdict = if *for_good {
                    RuleVerdict::Goto(name)
                } else {
                    RuleVerdict::Jump(name)
                };
                vec![Part::Do(Statement::Verdict(verdict))]
            }
            Target::Head(_) => Vec::new(),
        };
        let tests = entry.tests.iter().cloned().map(Part::Test);
        let parts: Vec<Part> = tests.chain(does).collect();
        let (text, whole) =
            words::rule(Dialect::Iptables, &parts, entry.comment.as_deref(), |_| {
                None
            });
        Rule {
            chain: None,
            handle: None,
            number,
            text,
            whole,
            packets: Some(entry.packets),
            parts,
        }
    }

    /// The chain whose first rule is at this offset: its head ends there.
    fn named(&self, first: usize) -> Option<String> {
        let (_, head) = self.entries.range(..first).next_back()?;
        match &head.target {
            Target::Head(name) if head.next == first => Some(name.clone()),
            _ => None,
        }
    }
}

/// Reads the entry at the head of `bytes`; its `next` is its length.
fn entry(bytes: &[u8], v6: bool) -> Option<Entry> {
    let fields = if v6 { &V6 } else { &V4 };
    let target_at = usize::from(u16_of(bytes.get(fields.offsets..)?)?);
    let next = usize::from(u16_of(bytes.get(fields.offsets + 2..)?)?);
    let whole = bytes.get(..next)?;
    if next == 0 || target_at < fields.matches {
        return None;
    }
    let packets = whole.get(fields.packets..)?.first_chunk()?;
    let mut tests = head_tests(whole, fields)?;
    let mut comment = None;
    let mut at = fields.matches;
    while at < target_at {
        let size = usize::from(u16_of(whole.get(at..)?)?);
        let found = whole.get(at..at.checked_add(size)?)?;
        match xt::matched((&name(found), revision(found)), found.get(HEAD..)?, v6) {
            Matched::Tests(more) => tests.extend(more),
            Matched::Comment(text) => comment = Some(text),
        }
        at += size;
    }
    let for_good = whole.get(fields.flags)? & fields.goto != 0;
    let (target, drops) = target(whole.get(target_at..)?, v6, for_good)?;
    Some(Entry {
        tests,
        packets: u64::from_ne_bytes(*packets),
        comment,
        target,
        drops,
        next,
    })
}

fn name(head: &[u8]) -> String {
    head.get(2..31).map(text_of).unwrap_or_default()
}

fn revision(head: &[u8]) -> u32 {
    head.get(31).copied().map_or(0, u32::from)
}

/// What the entry's own head asks: addresses, interfaces, protocol.
fn head_tests(entry: &[u8], fields: &Fields) -> Option<Vec<Test>> {
    let inverted = *entry.get(fields.inverted)?;
    let mut tests = Vec::new();
    for (side, number, bit) in [
        (Side::Source, 0, INVERT_IN),
        (Side::Destination, 1, INVERT_OUT),
    ] {
        let at = fields.interfaces + number * NAME;
        let mask = entry.get(at + 2 * NAME..at + 3 * NAME)?;
        if mask.iter().any(|byte| *byte != 0) {
            let name = xt::name_under(entry.get(at..at + NAME)?, mask);
            let not = inverted & bit != 0;
            tests.push(Test::Interface { side, name, not });
        }
    }
    for (side, number, bit) in [
        (Side::Source, 0, INVERT_SOURCE),
        (Side::Destination, 1, INVERT_DESTINATION),
    ] {
        let field = |at: usize| entry.get(at..at.checked_add(fields.address)?);
        let address = field(number * fields.address)?;
        let mask = field((number + 2) * fields.address)?;
        if mask.iter().any(|byte| *byte != 0) {
            let not = inverted & bit != 0;
            let ranges = vec![range(address, mask)?];
            tests.push(Test::Address { side, ranges, not });
        }
    }
    // IPT_F_FRAG: the second and further fragments.
    if fields.address == 4 && entry.get(fields.flags)? & 1 != 0 {
        tests.push(Test::Is {
            field: Field::Fragment,
            mask: Some(0x1fff),
            ranges: vec![(Value::Number(0), Value::Number(0))],
            not: inverted & 0x20 == 0,
        });
    }
    let protocol = u16_of(entry.get(fields.protocol..)?)?;
    if let Ok(number @ 1..) = u8::try_from(protocol) {
        let not = inverted & INVERT_PROTOCOL != 0;
        tests.push(Test::Protocol { number, not });
    }
    Some(tests)
}

/// First and last address that agree with `address` where `mask` says so.
fn range(address: &[u8], mask: &[u8]) -> Option<(IpAddr, IpAddr)> {
    let join = |f: fn(u8, u8) -> u8| -> Option<IpAddr> {
        let bytes: Vec<u8> = address.iter().zip(mask).map(|(a, m)| f(*a, *m)).collect();
        address_of(&bytes)
    };
    Some((join(|a, m| a & m)?, join(|a, m| a & m | !m)?))
}

fn target(bytes: &[u8], v6: bool, for_good: bool) -> Option<(Target, bool)> {
    let data = bytes.get(HEAD..)?;
    let name = name(bytes);
    let does = |verdict| Target::Does(vec![Part::Do(Statement::Verdict(verdict))]);
    Some(match name.as_str() {
        "ERROR" => (Target::Head(text_of(data)), false),
        // The standard target has no name.
        "" => match i32_of(data)? {
            VERDICT_DROP => (does(RuleVerdict::Drop), true),
            VERDICT_ACCEPT => (does(RuleVerdict::Accept), false),
            VERDICT_RETURN => (does(RuleVerdict::Return), false),
            VERDICT_QUEUE => (
                does(RuleVerdict::Queue {
                    number: 0,
                    bypass: false,
                }),
                false,
            ),
            offset => match usize::try_from(offset) {
                Ok(to) => (Target::Jump(to, for_good), false),
                Err(_) => (Target::Does(Vec::new()), false),
            },
        },
        other => (
            Target::Does(xt::target((other, revision(bytes)), data, v6)),
            false,
        ),
    })
}

/// Entries for tests.
#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a failed setup fails the test")]
pub(super) mod fixture {
    use super::*;

    /// An entry of IPv4 that asks for nothing but these matches (name, data).
    pub(in super::super) fn entry(matches: &[(&str, &[u8])], target: &str, data: &[u8]) -> Vec<u8> {
        let part = |name: &str, revision, data: &[u8]| {
            let mut bytes = vec![0, 0];
            bytes.extend(name.bytes());
            bytes.resize(31, 0);
            bytes.push(revision);
            bytes.extend(data);
            bytes.resize(bytes.len().next_multiple_of(8), 0);
            let size = u16::try_from(bytes.len()).unwrap();
            bytes.splice(0..2, size.to_ne_bytes());
            bytes
        };
        let matches: Vec<u8> = matches
            .iter()
            .flat_map(|(name, data)| part(name, 3, data))
            .collect();
        let target = part(target, 0, data);
        let target_at = u16::try_from(V4.matches + matches.len()).unwrap();
        let next = target_at + u16::try_from(target.len()).unwrap();
        let mut bytes = vec![0; V4.matches];
        bytes.splice(88..90, target_at.to_ne_bytes());
        bytes.splice(90..92, next.to_ne_bytes());
        bytes.splice(96..104, 5u64.to_ne_bytes());
        [bytes, matches, target].concat()
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a failed setup fails the test")]
mod tests {
    use super::*;
    use fixture::entry as made;

    #[test]
    fn a_jump_names_its_chain() {
        let drop = made(&[], "", &(-1i32).to_ne_bytes());
        let head = made(&[], "ERROR", b"DOCKER-USER\0");
        // FORWARD: a jump and the policy; then the chain's head and its rule.
        let jump_size = drop.len();
        let to = i32::try_from(2 * jump_size + head.len()).unwrap();
        let jump = made(&[], "", &to.to_ne_bytes());
        let policy = made(&[], "", &(-2i32).to_ne_bytes());
        let bytes = [jump, policy, head, drop].concat();
        let table = read(&bytes, false).unwrap();
        let (rules, policy) = table
            .built_in(0, u32::try_from(jump_size).unwrap())
            .unwrap();
        let first = rules.first().unwrap();
        let jump = RuleVerdict::Jump("DOCKER-USER".to_owned());
        assert_eq!(first.parts, [Part::Do(Statement::Verdict(jump))]);
        assert_eq!(first.text, "-j DOCKER-USER");
        assert_eq!((policy.drops, policy.packets), (false, 5));
        let chains = table.user_chains();
        let rule = chains.get("DOCKER-USER").and_then(|c| c.first()).unwrap();
        assert_eq!(rule.packets, Some(5));
        assert_eq!(rule.text, "-j DROP");
    }

    #[test]
    fn matches_are_read_in_their_order() {
        let udp = [0, 0, 255, 255, 53, 0, 53, 0, 0, 0];
        let bytes = made(
            &[("udp", &udp), ("comment", b"why\0"), ("hashlimit", &[0; 8])],
            "REJECT",
            &[3, 0, 0, 0],
        );
        let read = entry(&bytes, false).unwrap();
        assert_eq!(read.comment.as_deref(), Some("why"));
        assert!(matches!(
            read.tests.as_slice(),
            [Test::Port { .. }, Test::Other(_)]
        ));
        let Target::Does(parts) = &read.target else {
            unreachable!("REJECT does something")
        };
        assert_eq!(
            parts.as_slice(),
            [Part::Do(Statement::Reject(String::new()))]
        );
    }

    #[test]
    fn the_head_of_an_entry_tells_addresses_and_interfaces() {
        let mut bytes = made(&[], "", &(-1i32).to_ne_bytes());
        bytes.splice(0..4, [10, 1, 2, 3]);
        bytes.splice(8..12, [255, 255, 255, 255]);
        bytes.splice(4..8, [10, 2, 0, 0]);
        bytes.splice(12..16, [255, 255, 0, 0]);
        bytes.splice(16..21, *b"eth+\0");
        bytes.splice(48..51, [255, 255, 255]);
        bytes.splice(80..82, [17, 0]);
        bytes.splice(83..84, [INVERT_SOURCE]);
        let tests = head_tests(&bytes, &V4).unwrap();
        let address = |side, first: &str, last: &str, not| Test::Address {
            side,
            ranges: vec![(first.parse().unwrap(), last.parse().unwrap())],
            not,
        };
        assert_eq!(
            tests,
            [
                Test::Interface {
                    side: Side::Source,
                    name: "eth*".to_owned(),
                    not: false
                },
                address(Side::Source, "10.1.2.3", "10.1.2.3", true),
                address(Side::Destination, "10.2.0.0", "10.2.255.255", false),
                Test::Protocol {
                    number: 17,
                    not: false
                },
            ]
        );
    }

    #[test]
    fn a_cut_table_is_refused() {
        let bytes = made(&[], "", &(-1i32).to_ne_bytes());
        for end in 1..bytes.len() {
            assert!(read(bytes.get(..end).unwrap(), false).is_none(), "{end}");
        }
        assert!(read(&bytes, false).is_some());
        assert!(read(&[0; 300], false).is_none(), "entries of no length");
    }
}
