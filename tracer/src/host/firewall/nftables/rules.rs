//! Rules of nf_tables: NFT_MSG_NEWRULE, expression by expression (linux/netfilter/nf_tables.h).

use std::collections::BTreeMap;
use std::io;

use super::super::words::{self, Dialect};
use super::super::{bounds, values};
use super::expression::{Reading, Use};
use super::sets::{self, Kinds};
use super::{engine_chain, family_name};
use crate::host::facts::{
    BaseChain, Chain, Element, Field, Missing, Part, Rule, Ruleset, Set, Statement, Test,
    Translation, Value,
};
use crate::host::netlink::{Message, Netlink, Request, attributes, text_of};

const NFT_MSG_GETRULE: u16 = 7;
const NFTA_RULE_TABLE: u16 = 1;
const NFTA_RULE_CHAIN: u16 = 2;
const NFTA_RULE_HANDLE: u16 = 3;
const NFTA_RULE_EXPRESSIONS: u16 = 4;
const NFTA_RULE_USERDATA: u16 = 7;
const NFTA_EXPR_NAME: u16 = 1;
const NFTA_EXPR_DATA: u16 = 2;
/// Most sets whose elements are read in one look.
const MOST_SETS: usize = 256;
/// How nft names sets and maps that belong to one rule.
const ANONYMOUS: [&str; 2] = ["__set", "__map"];

/// A table: its family (NFPROTO_*) and name.
pub(super) type TableId = (u8, String);

/// An expression: its name and attributes.
type Expression = (String, Vec<u8>);

struct Raw {
    table: TableId,
    chain: String,
    handle: Option<u64>,
    comment: Option<String>,
    expressions: Vec<Expression>,
}

/// A rule without its words.
struct Understood {
    raw: Raw,
    parts: Vec<Part>,
    packets: Option<u64>,
}

/// All rules of the calling thread's namespace, and the sets that they look into.
pub(super) fn read(
    socket: &mut Netlink,
    subsystem: u16,
    base: Vec<BaseChain>,
) -> io::Result<Ruleset> {
    let request = Request::all(subsystem << 8 | NFT_MSG_GETRULE, &[0; 4]);
    let raw = socket.ask(&request, rule_of)?;
    let kinds = sets::kinds(socket, subsystem)?;
    let mut uses: BTreeMap<(TableId, String), Use> = BTreeMap::new();
    let mut list = Vec::new();
    for rule in raw {
        let (understood, used) = understood(rule, &kinds);
        for one in used {
            let key = (understood.raw.table.clone(), one.set.clone());
            uses.entry(key).or_insert(one);
        }
        list.push(understood);
    }
    let mut found = Vec::new();
    for ((table, name), used) in uses.into_iter().take(MOST_SETS) {
        let Some(kind) = kinds.get(&(table.clone(), name.clone())) else {
            continue;
        };
        // A set that is gone by now leaves its rules with a test that is not understood.
        if let Ok(elements) = sets::elements(socket, subsystem, (&table, &name)) {
            let elements = sets::ranges(kind, elements);
            found.push(set((&table, &used), elements));
        }
    }
    Ok(Ruleset {
        chains: chains(list, &found),
        base,
        sets: found.into_iter().filter(|set| !is_anonymous(set)).collect(),
    })
}

/// A set of one rule that stands in the rule's own tests already.
fn is_anonymous(set: &Set) -> bool {
    let inlined = set.missing == Missing::Nothing
        && set.elements.len() <= bounds::INLINED
        && set
            .elements
            .iter()
            .all(|e| e.verdict.is_none() && e.key.len() == 1);
    inlined && ANONYMOUS.iter().any(|start| set.name.starts_with(start))
}

fn set((table, used): (&TableId, &Use), raw: Vec<sets::Element>) -> Set {
    let mut missing = Missing::Nothing;
    let mut elements = Vec::new();
    for element in raw {
        if elements.len() >= bounds::ELEMENTS {
            missing = Missing::Cut;
            break;
        }
        let Some(key) = key(used, &element) else {
            missing = Missing::Cut;
            continue;
        };
        elements.push(Element {
            key,
            verdict: element.verdict,
            comment: element.comment,
            remaining_s: element.remaining_s,
        });
    }
    Set {
        family: family_name(table.0),
        table: table.1.clone(),
        name: used.set.clone(),
        elements,
        missing,
    }
}

/// First and last of each field; a catch-all element has no fields.
fn key(used: &Use, element: &sets::Element) -> Option<Vec<(Value, Value)>> {
    if element.catchall {
        return Some(Vec::new());
    }
    let last = element.last.as_ref().unwrap_or(&element.key);
    let mut at = 0;
    let mut key = Vec::new();
    for (field, layout, length) in &used.fields {
        let part = |bytes: &'_ [u8]| bytes.get(at..at + length).map(<[u8]>::to_vec);
        let (first, last) = (part(&element.key)?, part(last)?);
        key.push(match field {
            // What no packet can be asked for is compared with nothing.
            Field::Other(_) => (
                Value::Number(values::number(*layout, &first).unwrap_or(0)),
                Value::Number(values::number(*layout, &last).unwrap_or(0)),
            ),
            _ => values::range(field, *layout, (&first, &last))?,
        });
        at += length.next_multiple_of(4);
    }
    Some(key)
}

fn chains(list: Vec<Understood>, sets: &[Set]) -> Vec<Chain> {
    let mut chains: Vec<Chain> = Vec::new();
    let mut places: BTreeMap<(TableId, String), usize> = BTreeMap::new();
    for rule in list {
        let place = (rule.raw.table.clone(), rule.raw.chain.clone());
        let at = *places.entry(place).or_insert_with(|| {
            chains.push(engine_chain(&rule.raw.table, &rule.raw.chain));
            chains.len() - 1
        });
        let Some(chain) = chains.get_mut(at) else {
            continue;
        };
        let dialect = if words::is_iptables(&chain.family, &chain.table) {
            Dialect::Iptables
        } else if matches!(chain.family.as_str(), "bridge" | "netdev") {
            Dialect::NftFrames
        } else {
            Dialect::Nft
        };
        let number = u32::try_from(chain.rules.len() + 1).unwrap_or(u32::MAX);
        chain.rules.push(told(rule, number, (dialect, chain), sets));
    }
    chains
}

fn told(rule: Understood, number: u32, (dialect, chain): (Dialect, &Chain), sets: &[Set]) -> Rule {
    let own = |name: &str| {
        let mut sets = sets.iter();
        sets.find(|s| s.family == chain.family && s.table == chain.table && s.name == *name)
    };
    let parts: Vec<Part> = rule
        .parts
        .into_iter()
        .map(|part| match part {
            Part::Test(Test::InSet { fields, set, not }) => {
                Part::Test(inlined(fields, set, not, own))
            }
            Part::Do(Statement::Translate(made)) if chain.family == "inet" => {
                Part::Do(Statement::Translate(of_family(made)))
            }
            other => other,
        })
        .collect();
    let comment = rule.raw.comment.as_deref();
    let (text, whole) = words::rule(dialect, &parts, comment, own);
    Rule {
        chain: None,
        handle: rule.raw.handle,
        number,
        text,
        whole,
        packets: rule.packets,
        parts,
    }
}

/// In tables of both families nft wants to know of which the address is.
fn of_family(made: Translation) -> Translation {
    let family = match made.addresses {
        Some((address, _)) if address.is_ipv6() => " ip6 to ",
        Some(_) => " ip to ",
        None => return made,
    };
    Translation {
        text: made.text.replacen(" to ", family, 1),
        ..made
    }
}

/// A look into a set of one field that belongs to the rule alone, as a test with the set's own ranges.
fn inlined<'a>(
    fields: Vec<Field>,
    set: String,
    not: bool,
    own: impl Fn(&str) -> Option<&'a Set>,
) -> Test {
    let found = own(&set).filter(|s| is_anonymous(s));
    if let (Some(found), [field]) = (found, fields.as_slice()) {
        let ranges = found.elements.iter().flat_map(|e| e.key.clone()).collect();
        let test = values::test(field, None, ranges, not);
        if !matches!(test, Test::Other(_)) {
            return test;
        }
    }
    Test::InSet { fields, set, not }
}

/// Any message as a rule, up to its words.
pub(super) fn foreign(message: Message<'_>) {
    if let Some(raw) = rule_of(message) {
        let (rule, _) = understood(raw, &Kinds::default());
        for dialect in [Dialect::Nft, Dialect::Iptables] {
            words::rule(dialect, &rule.parts, rule.raw.comment.as_deref(), |_| None);
        }
    }
}

fn rule_of(message: Message<'_>) -> Option<Raw> {
    let ([family, ..], rest) = message.payload.split_first_chunk::<4>()?;
    let mut rule = Raw {
        table: (*family, String::new()),
        chain: String::new(),
        handle: None,
        comment: None,
        expressions: Vec::new(),
    };
    for (kind, value) in attributes(rest) {
        match kind {
            NFTA_RULE_TABLE => rule.table.1 = text_of(value),
            NFTA_RULE_CHAIN => rule.chain = text_of(value),
            NFTA_RULE_HANDLE => rule.handle = value.first_chunk().map(|b| u64::from_be_bytes(*b)),
            NFTA_RULE_USERDATA => rule.comment = comment(value),
            NFTA_RULE_EXPRESSIONS => {
                rule.expressions = attributes(value).map(|(_, e)| expression(e)).collect();
            }
            _ => {}
        }
    }
    Some(rule)
}

fn expression(bytes: &[u8]) -> Expression {
    let mut read = Expression::default();
    for (kind, value) in attributes(bytes) {
        match kind {
            NFTA_EXPR_NAME => read.0 = text_of(value),
            NFTA_EXPR_DATA => read.1 = value.to_vec(),
            _ => {}
        }
    }
    read
}

/// nft keeps a rule's comment among the user data: type (0), length, text (libnftnl, udata.h).
pub(super) fn comment(bytes: &[u8]) -> Option<String> {
    let [0, length, text @ ..] = bytes else {
        return None;
    };
    text.get(..usize::from(*length)).map(text_of)
}

fn understood(mut raw: Raw, kinds: &Kinds) -> (Understood, Vec<Use>) {
    let mut reading = Reading::new(&raw.table, kinds);
    for (name, data) in &raw.expressions {
        reading.take(name, data);
    }
    let Reading {
        parts,
        uses,
        packets,
        comment,
        ..
    } = reading;
    raw.comment = raw.comment.or(comment);
    raw.expressions.clear();
    let rule = Understood {
        raw,
        parts,
        packets,
    };
    (rule, uses)
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a failed setup fails the test")]
mod tests {
    use super::*;
    use crate::host::facts::{NewValue, RuleVerdict, Statement};
    use crate::host::netlink::messages;

    /// Attributes in a nest of their own.
    fn nest(list: &[(u16, Vec<u8>)]) -> Vec<u8> {
        let request = Request::one(0, &[]).nested(1, list);
        request.payload().get(4..).unwrap().to_vec()
    }

    fn be(value: u32) -> Vec<u8> {
        value.to_be_bytes().to_vec()
    }

    fn expression(name: &str, data: &[(u16, Vec<u8>)]) -> (u16, Vec<u8>) {
        let name = [name.as_bytes(), &[0]].concat();
        (1, nest(&[(1, name), (2, nest(data))]))
    }

    fn data(value: &[u8]) -> Vec<u8> {
        nest(&[(1, value.to_vec())])
    }

    fn verdict(code: u32) -> (u16, Vec<u8>) {
        let verdict = nest(&[(2, nest(&[(1, be(code))]))]);
        expression("immediate", &[(1, be(0)), (2, verdict)])
    }

    fn counter(packets: u64) -> (u16, Vec<u8>) {
        expression("counter", &[(2, packets.to_be_bytes().to_vec())])
    }

    fn read(expressions: &[(u16, Vec<u8>)]) -> Rule {
        let bytes = Request::one(10 << 8 | 6, &[2, 0, 0, 0])
            .attribute(1, b"filter\0")
            .attribute(2, b"FORWARD\0")
            .attribute(3, &7u64.to_be_bytes())
            .nested(4, expressions)
            .attribute(7, &[0, 3, b'w', b'h', b'y'])
            .bytes();
        let raw = rule_of(messages(&bytes).next().unwrap()).unwrap();
        let (read, _) = understood(raw, &Kinds::new());
        let chain = engine_chain(&(2, "filter".to_owned()), "FORWARD");
        told(read, 1, (Dialect::Nft, &chain), &[])
    }

    #[test]
    fn a_rule_of_iptables_nft_is_understood() {
        // -s 10.1.2.3 -p tcp --dport 80:90 -j DROP
        let rule = read(&[
            expression(
                "payload",
                &[(1, be(1)), (2, be(1)), (3, be(12)), (4, be(4))],
            ),
            expression("cmp", &[(1, be(1)), (2, be(0)), (3, data(&[10, 1, 2, 3]))]),
            expression("meta", &[(2, be(16)), (1, be(1))]),
            expression("cmp", &[(1, be(1)), (2, be(0)), (3, data(&[6]))]),
            expression("payload", &[(1, be(1)), (2, be(2)), (3, be(2)), (4, be(2))]),
            expression(
                "range",
                &[
                    (1, be(1)),
                    (2, be(0)),
                    (3, data(&[0, 80])),
                    (4, data(&[0, 90])),
                ],
            ),
            counter(4),
            verdict(0),
        ]);
        assert_eq!((rule.handle, rule.packets), (Some(7), Some(4)));
        assert_eq!(
            rule.text,
            "ip saddr 10.1.2.3 tcp dport 80-90 drop comment \"why\""
        );
        assert!(
            matches!(
                rule.parts.as_slice(),
                [
                    Part::Test(Test::Address { not: false, .. }),
                    Part::Test(Test::Protocol { number: 6, not: false }),
                    Part::Test(Test::Port { ranges, .. }),
                    Part::Do(Statement::Verdict(RuleVerdict::Drop)),
                ] if *ranges == [(80, 90)]
            ),
            "{rule:?}"
        );
    }

    #[test]
    fn a_state_is_a_mask_and_a_comparison() {
        let rule = read(&[
            expression("ct", &[(2, be(0)), (1, be(1))]),
            expression(
                "bitwise",
                &[
                    (1, be(1)),
                    (2, be(1)),
                    (3, be(4)),
                    (4, data(&1u32.to_ne_bytes())),
                    (5, data(&[0; 4])),
                ],
            ),
            expression("cmp", &[(1, be(1)), (2, be(1)), (3, data(&[0; 4]))]),
            verdict(0),
        ]);
        assert_eq!(
            rule.parts.first(),
            Some(&Part::Test(Test::State {
                mask: 1,
                not: false
            }))
        );
    }

    #[test]
    fn a_jump_and_what_is_not_known() {
        let to = nest(&[(
            2,
            nest(&[(1, be((-3i32).cast_unsigned())), (2, b"own\0".to_vec())]),
        )]);
        let rule = read(&[
            expression("quota", &[]),
            expression("immediate", &[(1, be(0)), (2, to)]),
        ]);
        assert_eq!(
            rule.parts,
            [
                Part::Test(Test::Other("quota …".to_owned())),
                Part::Do(Statement::Verdict(RuleVerdict::Jump("own".to_owned()))),
            ]
        );
    }

    /// The words of a rule that drops, after these expressions.
    fn words_of(expressions: &[(u16, Vec<u8>)]) -> String {
        let rule = read(expressions);
        rule.text.replace(" comment \"why\"", "")
    }

    #[test]
    fn a_mac_that_is_written_is_known() {
        let written = |offset: u32| {
            let place = [(5, be(1)), (2, be(0)), (3, be(offset)), (4, be(6))];
            let mac = data(&[2, 0, 0, 0, 0, 7]);
            words_of(&[
                expression("immediate", &[(1, be(1)), (2, mac)]),
                expression("payload", &place),
            ])
        };
        assert!(written(0).starts_with("ether daddr set 02:00:00:00:00:07"));
        assert!(written(6).starts_with("ether saddr set 02:00:00:00:00:07"));
        assert!(written(8).contains("@… set …"));
    }

    #[test]
    fn neighbours_that_are_loaded_in_one_piece() {
        let protocol = [
            expression("meta", &[(1, be(1)), (2, be(16))]),
            expression("cmp", &[(1, be(1)), (2, be(0)), (3, data(&[17]))]),
        ];
        let piece = |base, offset, length| {
            let place = [(1, be(1)), (2, be(base)), (3, be(offset)), (4, be(length))];
            expression("payload", &place)
        };
        let is = |operation, bytes: &[u8]| {
            expression("cmp", &[(1, be(1)), (2, be(operation)), (3, data(bytes))])
        };
        let ports = [piece(2, 0, 4), is(0, &[3, 0xe8, 7, 0xd0])];
        let words = words_of(&[&protocol[..], &ports].concat());
        assert!(
            words.contains("sport 1000") && words.contains("dport 2000"),
            "{words}"
        );
        let ends = [piece(1, 12, 8), is(0, &[10, 0, 0, 1, 10, 0, 0, 2])];
        let words = words_of(&ends);
        assert!(
            words.contains("saddr 10.0.0.1") && words.contains("daddr 10.0.0.2"),
            "{words}"
        );
        // one of them differs: which is not said
        let other = [piece(1, 12, 8), is(1, &[10, 0, 0, 1, 10, 0, 0, 2])];
        assert!(words_of(&other).contains("@nh,96,64 != "));
    }

    #[test]
    fn two_bounds_are_one_range() {
        let port = |operation: u32, value: u16| {
            let mut bytes = data(&value.to_be_bytes());
            let parts = [
                (1, be(1)),
                (2, be(operation)),
                (3, std::mem::take(&mut bytes)),
            ];
            expression("cmp", &parts)
        };
        let load = expression("payload", &[(1, be(1)), (2, be(2)), (3, be(2)), (4, be(2))]);
        let protocol = [
            expression("meta", &[(1, be(1)), (2, be(16))]),
            expression("cmp", &[(1, be(1)), (2, be(0)), (3, data(&[17]))]),
        ];
        let mut list = protocol.to_vec();
        list.extend([load, port(5, 1024), port(3, 2048)]);
        assert_eq!(words_of(&list), "udp dport 1024-2048");
    }

    #[test]
    fn a_zone_is_set() {
        let value = expression("immediate", &[(1, be(1)), (2, data(&5_u16.to_ne_bytes()))]);
        let both = expression("ct", &[(2, be(17)), (4, be(1))]);
        let one = expression("ct", &[(2, be(17)), (3, vec![0]), (4, be(1))]);
        assert_eq!(words_of(&[value.clone(), both]), "ct zone set 5");
        assert_eq!(words_of(&[value, one]), "ct zone set …");
    }

    #[test]
    fn numbers_that_are_drawn() {
        let drawn = |kind: u32, modulus: u32, offset: u32| {
            let data = [(1, be(1)), (2, be(modulus)), (3, be(kind)), (4, be(offset))];
            expression("numgen", &data)
        };
        let compared = |how: u32, value: &[u8]| {
            expression("cmp", &[(1, be(1)), (2, be(how)), (3, data(value))])
        };
        let swapped = expression("byteorder", &[(1, be(1)), (2, be(1))]);
        assert_eq!(
            words_of(&[drawn(0, 2, 0), compared(0, &1u32.to_ne_bytes()), verdict(0)]),
            "numgen inc mod 2 1 drop"
        );
        assert_eq!(
            words_of(&[drawn(1, 100, 5), compared(1, &7u32.to_ne_bytes())]),
            "numgen random mod 100 offset 5 != 7"
        );
        // for a comparison by size the bytes are swapped
        assert_eq!(
            words_of(&[drawn(1, 100, 0), swapped, compared(2, &be(10))]),
            "numgen random mod 100 < 10"
        );
    }

    #[test]
    fn extension_headers_and_options() {
        let loaded = |operation: u32, kind: u8, (offset, length): (u32, u32), flags: u32| {
            let data = [
                (1, be(1)),
                (2, vec![kind]),
                (3, be(offset)),
                (4, be(length)),
                (5, be(flags)),
                (6, be(operation)),
            ];
            expression("exthdr", &data)
        };
        let is = |value: &[u8]| expression("cmp", &[(1, be(1)), (2, be(0)), (3, data(value))]);
        for (header, value, words) in [
            (loaded(0, 0, (0, 1), 1), vec![1], "exthdr hbh exists"),
            (loaded(0, 44, (0, 1), 1), vec![0], "exthdr frag missing"),
            (loaded(0, 0, (0, 1), 0), vec![6], "hbh nexthdr tcp"),
            (loaded(0, 43, (2, 1), 0), vec![0], "rt type 0"),
            (loaded(0, 44, (4, 4), 0), be(5), "frag id 5"),
            (
                loaded(1, 4, (0, 1), 1),
                vec![1],
                "tcp option sack-perm exists",
            ),
            (
                loaded(1, 2, (2, 2), 0),
                vec![5, 0xb4],
                "tcp option maxseg size 1460",
            ),
            // no header that nft has a name for
            (loaded(0, 99, (0, 1), 0), vec![1], "exthdr … 1"),
        ] {
            let rule = read(&[header, is(&value), verdict(0)]);
            assert_eq!(rule.text, format!("{words} drop comment \"why\""));
            assert_eq!(rule.whole, !words.contains('…'));
            assert!(matches!(
                rule.parts.first(),
                Some(Part::Test(Test::Other(_)))
            ));
        }
    }

    #[test]
    fn what_is_written_into_an_option_is_told() {
        let write = || {
            let data = [(2, vec![2]), (3, be(2)), (4, be(2)), (6, be(1)), (7, be(1))];
            expression("exthdr", &data)
        };
        let value = expression("immediate", &[(1, be(1)), (2, data(&[5, 0x78]))]);
        let mtu = expression("rt", &[(1, be(1)), (2, be(3))]);
        let swapped = expression("byteorder", &[(1, be(1)), (2, be(1))]);
        assert_eq!(
            words_of(&[value, write()]),
            "tcp option maxseg size set 1400"
        );
        assert_eq!(
            words_of(&[mtu, swapped, write()]),
            "tcp option maxseg size set rt mtu"
        );
    }

    #[test]
    fn a_mark_is_made_of_what_it_was() {
        // meta mark set meta mark & 0xffff0000 ^ 5
        let rule = read(&[
            expression("meta", &[(2, be(3)), (1, be(1))]),
            expression(
                "bitwise",
                &[
                    (1, be(1)),
                    (2, be(1)),
                    (3, be(4)),
                    (4, data(&0xffff_0000_u32.to_ne_bytes())),
                    (5, data(&5u32.to_ne_bytes())),
                ],
            ),
            expression("meta", &[(2, be(3)), (3, be(1))]),
        ]);
        assert_eq!(
            rule.parts,
            [Part::Do(Statement::SetMark(NewValue {
                keep: 0xffff_0000,
                from: None,
                xor: 5
            }))]
        );
    }
}
