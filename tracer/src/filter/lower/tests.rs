//! Compiled clauses against the expression itself, on random expressions and packets.

use std::net::IpAddr;

use tracer_common::filter::{
    CLAUSE_INNER, CLAUSE_NEGATE, CLAUSE_ONE_WAY, RawClause, VLAN_ANY, VLAN_SOME,
};
use tracer_common::tuple::{FAMILY_V4, FAMILY_V6, PROTO_ARP, RawTuple};

use super::clauses;
use crate::filter::ast::{Expr, Network, Side, Test};
use crate::filter::{NoDirectory, normal_form, parser, words};

/// One header of a packet, as the kernel programs see it.
#[derive(Clone, Copy, Debug)]
struct Header {
    tuple: RawTuple,
    tcp_flags: u8,
    vlan: Option<u16>,
    inner: bool,
}

impl Header {
    fn reversed(&self) -> Self {
        Self {
            tuple: self.tuple.reversed(),
            ..*self
        }
    }
}

/// The list of clauses as tracer-common documents it.
fn kernel(list: &[RawClause], header: &Header) -> bool {
    reading(list, header, false) || reading(list, &header.reversed(), true)
}

fn reading(list: &[RawClause], header: &Header, reversed: bool) -> bool {
    let mut spoiled = false;
    for clause in list {
        let vlan = match clause.vlan {
            VLAN_ANY => true,
            VLAN_SOME => header.vlan.is_some(),
            id => header.vlan == Some(id),
        };
        let inner = clause.flags & CLAUSE_INNER == 0 || header.inner;
        let hit = vlan && inner && clause.matches(&header.tuple, header.tcp_flags);
        if clause.flags & CLAUSE_NEGATE != 0 {
            spoiled |= hit;
        } else {
            let barred = reversed && clause.flags & CLAUSE_ONE_WAY != 0;
            if hit && !spoiled && !barred {
                return true;
            }
            spoiled = false;
        }
    }
    false
}

/// What an expression says of a packet. ARP packets count only where `arp` was named on the way: `plain` and
/// `named` tell whether some way through the `or`s is true without and with it.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Truth {
    plain: bool,
    named: bool,
}

fn truth(expr: &Expr, header: &Header, negated: bool) -> Truth {
    let all = |parts: &[Expr]| {
        parts.iter().fold(
            Truth {
                plain: true,
                named: false,
            },
            |a, part| {
                let b = truth(part, header, negated);
                Truth {
                    plain: a.plain && b.plain,
                    named: (a.named && (b.plain || b.named)) || (a.plain && b.named),
                }
            },
        )
    };
    let some = |parts: &[Expr]| {
        parts.iter().fold(
            Truth {
                plain: false,
                named: false,
            },
            |a, part| {
                let b = truth(part, header, negated);
                Truth {
                    plain: a.plain || b.plain,
                    named: a.named || b.named,
                }
            },
        )
    };
    match expr {
        Expr::Test(test) => {
            let holds = holds(test, header) != negated;
            let named = matches!(
                test,
                Test::Proto {
                    proto: PROTO_ARP,
                    ..
                }
            ) && !negated;
            Truth {
                plain: holds && !named,
                named: holds && named,
            }
        }
        Expr::Not(inner) => truth(inner, header, !negated),
        Expr::And(parts) if negated => some(parts),
        Expr::Or(parts) if negated => all(parts),
        Expr::And(parts) => all(parts),
        Expr::Or(parts) => some(parts),
    }
}

fn holds(test: &Test, header: &Header) -> bool {
    let tuple = &header.tuple;
    match *test {
        Test::Family(family) => tuple.family == family,
        Test::Proto { family, proto } => {
            (family == 0 || tuple.family == family) && tuple.proto == proto
        }
        Test::Address(side, network) => {
            let words = match side {
                Side::Src => tuple.src,
                Side::Dst => tuple.dst,
            };
            let bytes: Vec<u8> = words.iter().flat_map(|word| word.to_ne_bytes()).collect();
            let wanted = network.value.to_be_bytes();
            let mask = network.mask.to_be_bytes();
            let equal = bytes
                .iter()
                .zip(wanted)
                .zip(mask)
                .all(|((have, want), mask)| have & mask == want & mask);
            tuple.family == network.family && equal
        }
        Test::Ports(side, first, last) => {
            let port = match side {
                Side::Src => tuple.sport,
                Side::Dst => tuple.dport,
            };
            matches!(tuple.proto, 6 | 17 | 132) && (first..=last).contains(&port)
        }
        Test::Vlan(None) => header.vlan.is_some(),
        Test::Vlan(id) => header.vlan == id,
        Test::Inner => header.inner,
        Test::TcpFlags { mask, value } => tuple.proto == 6 && header.tcp_flags & mask == value,
        Test::IcmpType {
            family,
            first,
            last,
        } => {
            let proto = if family == FAMILY_V6 { 58 } else { 1 };
            tuple.family == family
                && tuple.proto == proto
                && (u16::from(first)..=u16::from(last)).contains(&tuple.sport)
        }
    }
}

fn expected(expr: &Expr, header: &Header, one_way: bool) -> bool {
    let one = |header: &Header| {
        let truth = truth(expr, header, false);
        truth.named || (truth.plain && header.tuple.proto != PROTO_ARP)
    };
    one(header) || (!one_way && one(&header.reversed()))
}

/// A small generator (xorshift): the same numbers in every run.
struct Random(u64);

impl Random {
    fn below(&mut self, end: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 11) as usize % end
    }

    fn pick<T: Copy>(&mut self, from: &[T]) -> T {
        from[self.below(from.len())]
    }

    fn address(&mut self) -> IpAddr {
        let text = self.pick(&[
            "10.0.0.1",
            "10.0.0.2",
            "10.0.1.1",
            "192.0.2.9",
            "fd00::1",
            "fd00::2",
        ]);
        text.parse().unwrap()
    }

    fn port(&mut self) -> u16 {
        self.pick(&[0, 8, 53, 80, 81, 443, 65535])
    }

    fn side(&mut self) -> Side {
        self.pick(&[Side::Src, Side::Dst])
    }

    fn test(&mut self) -> Test {
        match self.below(12) {
            0 => Test::Family(self.pick(&[FAMILY_V4, FAMILY_V6])),
            1 | 2 => self.pick(&[
                Test::Proto {
                    family: 0,
                    proto: 6,
                },
                Test::Proto {
                    family: 0,
                    proto: 17,
                },
                Test::Proto {
                    family: FAMILY_V4,
                    proto: 1,
                },
                Test::Proto {
                    family: FAMILY_V6,
                    proto: 58,
                },
                Test::Proto {
                    family: FAMILY_V4,
                    proto: 6,
                },
            ]),
            3 => Test::Proto {
                family: FAMILY_V4,
                proto: PROTO_ARP,
            },
            4..=6 => {
                let length = self.pick(&[0, 8, 23, 24, 32, 128, 128]);
                Test::Address(self.side(), Network::prefix(self.address(), length))
            }
            7 | 8 => {
                let (a, b) = (self.port(), self.port());
                let span = self.pick(&[(a, a), (a.min(b), a.max(b))]);
                Test::Ports(self.side(), span.0, span.1)
            }
            9 => Test::Vlan(self.pick(&[None, Some(5), Some(6)])),
            10 => {
                let mask = self.pick(&[0x02, 0x12, 0xff, 0x04]);
                Test::TcpFlags {
                    mask,
                    value: mask & self.pick(&[0, 0x02, 0x12, 0x10]),
                }
            }
            _ => self.pick(&[
                Test::IcmpType {
                    family: FAMILY_V4,
                    first: 8,
                    last: 8,
                },
                Test::IcmpType {
                    family: FAMILY_V4,
                    first: 0,
                    last: 7,
                },
                Test::IcmpType {
                    family: FAMILY_V6,
                    first: 128,
                    last: 129,
                },
            ]),
        }
    }

    /// `arp` stands below no `not` but its own: whether a double negation names it depends on what is simplified.
    fn leaf(&mut self, below_not: bool) -> Expr {
        loop {
            let test = self.test();
            let arp = matches!(
                test,
                Test::Proto {
                    proto: PROTO_ARP,
                    ..
                }
            );
            if !arp || !below_not {
                let negated = arp && self.below(3) == 0;
                let leaf = Expr::Test(test);
                return if negated {
                    Expr::Not(Box::new(leaf))
                } else {
                    leaf
                };
            }
        }
    }

    fn expr(&mut self, depth: usize, below_not: bool) -> Expr {
        if depth == 0 {
            return self.leaf(below_not);
        }
        let parts = |random: &mut Self| (0..2).map(|_| random.expr(depth - 1, below_not)).collect();
        match self.below(7) {
            0 => self.leaf(below_not),
            1 | 2 => Expr::Not(Box::new(self.expr(depth - 1, true))),
            3 | 4 => Expr::And(parts(self)),
            _ => Expr::Or(parts(self)),
        }
    }

    fn header(&mut self) -> Header {
        let (src, dst) = loop {
            let pair = (self.address(), self.address());
            if pair.0.is_ipv4() == pair.1.is_ipv4() {
                break pair;
            }
        };
        let v4 = src.is_ipv4();
        let proto = self.pick(&[1, 6, 17, 58, 132, 47, if v4 { PROTO_ARP } else { 6 }]);
        let wire = |address| {
            let bytes = Network::prefix(address, 128).value.to_be_bytes();
            zerocopy::transmute!(bytes)
        };
        Header {
            tuple: RawTuple {
                src: wire(src),
                dst: wire(dst),
                sport: match proto {
                    1 => self.pick(&[0, 3, 8]),
                    58 => self.pick(&[1, 128, 129]),
                    PROTO_ARP => self.pick(&[1, 2]),
                    _ => self.port(),
                },
                dport: self.port(),
                family: if v4 { FAMILY_V4 } else { FAMILY_V6 },
                proto,
                pad: [0; 2],
            },
            tcp_flags: self.pick(&[0, 0x02, 0x12, 0x10, 0x04]),
            vlan: self.pick(&[None, None, Some(5), Some(6)]),
            inner: self.below(4) == 0,
        }
    }
}

#[test]
fn clauses_say_what_the_expression_says() {
    let mut random = Random(0x5eed_1234_9876_abcd);
    let mut matched = 0;
    for _ in 0..6_000 {
        let depth = random.below(5);
        let mut expr = random.expr(depth, false);
        if random.below(8) == 0 {
            expr = Expr::And(vec![Expr::Test(Test::Inner), expr]);
        }
        let one_way = random.below(2) == 0;
        let terms = normal_form::terms(&expr, !one_way).unwrap();
        let list = clauses(&terms, one_way);
        for _ in 0..60 {
            let header = random.header();
            let wanted = expected(&expr, &header, one_way);
            matched += u32::from(wanted);
            assert_eq!(
                kernel(&list, &header),
                wanted,
                "{expr:?}\none way: {one_way}\n{header:?}\n{terms:?}"
            );
        }
    }
    assert!(matched > 50_000, "the packets must often match: {matched}");
}

#[test]
fn words_say_what_the_terms_say() {
    let mut random = Random(0xfeed_0001);
    for _ in 0..3_000 {
        let depth = random.below(4);
        let expr = random.expr(depth, false);
        for term in normal_form::terms(&expr, true).unwrap() {
            let text = words::term(&term);
            let again =
                normal_form::terms(&parser::parse(&text, &NoDirectory).unwrap().expr, false)
                    .unwrap();
            let list = clauses(&again, true);
            let wanted = clauses(std::slice::from_ref(&term), true);
            for _ in 0..20 {
                let header = random.header();
                assert_eq!(
                    kernel(&list, &header),
                    kernel(&wanted, &header),
                    "{text}\n{header:?}"
                );
            }
        }
    }
}
