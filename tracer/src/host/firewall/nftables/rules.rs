//! Rules of nf_tables: NFT_MSG_NEWRULE, expression by expression (linux/netfilter/nf_tables.h).

use std::collections::{BTreeMap, BTreeSet};
use std::io;

use super::super::rules::{Chains, End, Rule, Way};
use super::expression::Reading;
use super::sets::{self, Sets};
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
const MOST_SETS: usize = 64;

/// A table: its family (NFPROTO_*) and name.
pub(super) type TableId = (u8, String);
/// All chains of all tables.
pub(super) type Tables = BTreeMap<TableId, Chains>;

/// An expression: its name and attributes.
type Expression = (String, Vec<u8>);

struct Raw {
    table: TableId,
    chain: String,
    handle: Option<u64>,
    comment: Option<String>,
    expressions: Vec<Expression>,
}

/// All rules of the calling thread's namespace.
pub(super) fn read(socket: &mut Netlink, subsystem: u16) -> io::Result<Tables> {
    let request = Request::all(subsystem << 8 | NFT_MSG_GETRULE, &[0; 4]);
    let raw = socket.ask(&request, rule_of)?;
    let wanted: BTreeSet<_> = raw
        .iter()
        .flat_map(|rule| {
            let names = rule.expressions.iter().filter_map(sets::looked_up);
            names.map(|set| (rule.table.clone(), set))
        })
        .take(MOST_SETS)
        .collect();
    let mut known = Sets::new();
    for (table, set) in wanted {
        // A set that is gone by now leaves its rules with a test that is not understood.
        if let Ok(elements) = sets::elements(socket, subsystem, (&table, &set)) {
            known.insert((table, set), elements);
        }
    }
    let mut tables = Tables::new();
    for rule in raw {
        let table = tables.entry(rule.table.clone()).or_default();
        table
            .entry(rule.chain.clone())
            .or_default()
            .push(understood(&rule, &known));
    }
    Ok(tables)
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
fn comment(bytes: &[u8]) -> Option<String> {
    let [0, length, text @ ..] = bytes else {
        return None;
    };
    text.get(..usize::from(*length))
        .map(|text| text_of(text).replace('"', "'"))
}

fn understood(raw: &Raw, sets: &Sets) -> Rule {
    let mut reading = Reading::new(&raw.table, sets);
    for (name, data) in &raw.expressions {
        reading.take(name, data);
    }
    let mut rule = Rule {
        handle: raw.handle,
        packets: reading.packets,
        comment: raw.comment.clone().or(reading.comment),
        ways: reading.ways,
    };
    if rule.ways.is_empty() {
        rule.ways.push(Way {
            tests: reading.tests,
            end: reading.end.unwrap_or(End::Next),
        });
    }
    rule
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a failed setup fails the test")]
mod tests {
    use super::*;
    use crate::host::facts::{Stop, Test};
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
        understood(&raw, &Sets::new())
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
        assert_eq!(rule.comment.as_deref(), Some("why"));
        let way = rule.ways.first().unwrap();
        assert!(
            matches!(
                way.tests.as_slice(),
                [
                    Test::Address { not: false, .. },
                    Test::Protocol { number: 6, not: false },
                    Test::Port { ranges, .. },
                ] if *ranges == [(80, 90)]
            ),
            "{way:?}"
        );
        assert_eq!(way.end, End::Stop(Stop::Drop, "drop".to_owned()));
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
        let way = rule.ways.first().unwrap();
        assert_eq!(
            way.tests,
            [Test::State {
                mask: 1,
                not: false
            }]
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
        let way = rule.ways.first().unwrap();
        assert_eq!(way.end, End::Jump("own".to_owned()));
        assert_eq!(way.tests, [Test::Other("quota …".to_owned())]);
    }
}
