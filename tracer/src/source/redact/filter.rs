//! Packet filters, with pseudonyms.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::Pseudonyms;
use super::names::Kind;
use crate::host::facts::{
    BaseChain, Chain, Element, Field, FilterRule, Part, Rule, RuleTrace, RuleVerdict, Ruleset, Set,
    Statement, Test, TracedPacket, Translation, Value,
};

impl Pseudonyms {
    pub(super) fn ruleset(&mut self, ruleset: &mut Ruleset) {
        let Ruleset { base, chains, sets } = ruleset;
        base.iter_mut().for_each(|chain| self.base_chain(chain));
        chains.iter_mut().for_each(|chain| self.filter_chain(chain));
        sets.iter_mut().for_each(|set| self.filter_set(set));
    }

    pub(super) fn base_chain(&mut self, chain: &mut BaseChain) {
        let BaseChain {
            engine: _,
            family: _,
            table,
            chain,
            hook: _,
            priority: _,
            policy_drop: _,
            rules: _,
            policy_packets: _,
            kind: _,
            devices,
            stops,
            more_stops: _,
        } = chain;
        self.rename(Kind::Table, table);
        self.rename(Kind::Chain, chain);
        for device in devices {
            *device = self.names.interface(device).unwrap_or_default();
        }
        stops.iter_mut().for_each(|rule| self.filter_rule(rule));
    }

    pub(super) fn rule_trace(&mut self, trace: &mut RuleTrace) {
        let RuleTrace {
            netns: _,
            id: _,
            family: _,
            table,
            chain,
            handle: _,
            verdict,
            packet,
        } = trace;
        self.rename(Kind::Table, table);
        self.rename(Kind::Chain, chain);
        self.rule_verdict(verdict);
        if let Some(TracedPacket {
            tuple,
            ip_id: _,
            sequence: _,
        }) = packet
        {
            self.tuple(tuple);
        }
    }

    fn filter_rule(&mut self, rule: &mut FilterRule) {
        let FilterRule {
            chain,
            handle: _,
            number: _,
            stop: _,
            text,
            whole: _,
            packets: _,
            tests,
        } = rule;
        self.rename(Kind::Chain, chain);
        *text = self.rule(text);
        tests.iter_mut().for_each(|test| self.test(test));
    }

    fn filter_chain(&mut self, chain: &mut Chain) {
        let Chain {
            engine: _,
            family: _,
            table,
            name,
            rules,
            missing: _,
        } = chain;
        self.rename(Kind::Table, table);
        self.rename(Kind::Chain, name);
        for rule in rules {
            let Rule {
                chain,
                handle: _,
                number: _,
                text,
                whole: _,
                packets: _,
                parts,
            } = rule;
            chain
                .iter_mut()
                .for_each(|chain| self.rename(Kind::Chain, chain));
            *text = self.rule(text);
            for part in parts {
                match part {
                    Part::Test(test) => self.test(test),
                    Part::Do(statement) => self.statement(statement),
                }
            }
        }
    }

    fn statement(&mut self, statement: &mut Statement) {
        match statement {
            Statement::Verdict(verdict) => self.rule_verdict(verdict),
            Statement::Map { fields, map } => {
                fields.iter_mut().for_each(|field| self.field(field));
                self.rename(Kind::Set, map);
            }
            Statement::Translate(Translation {
                side: _,
                addresses,
                ports: _,
                text,
            }) => {
                if let Some((first, last)) = addresses {
                    // Pseudonyms keep networks, not the order of addresses.
                    if first == last {
                        *first = self.addresses.address(*first);
                        *last = *first;
                    } else {
                        *addresses = None;
                    }
                }
                *text = self.rule(text);
            }
            Statement::Note(text) => *text = self.rule(text),
            Statement::SetMac(_, mac) => *mac = self.addresses.mac(*mac),
            Statement::Reject(_)
            | Statement::SetMark(_)
            | Statement::SetConnectionMark(_)
            | Statement::SetTtl { v6: _, to: _ }
            | Statement::NoTrack
            | Statement::SetZone(_) => {}
        }
    }

    fn rule_verdict(&mut self, verdict: &mut RuleVerdict) {
        match verdict {
            RuleVerdict::Jump(chain) | RuleVerdict::Goto(chain) => self.rename(Kind::Chain, chain),
            RuleVerdict::Accept
            | RuleVerdict::Drop
            | RuleVerdict::Return
            | RuleVerdict::Continue
            | RuleVerdict::Queue {
                number: _,
                bypass: _,
            } => {}
        }
    }

    fn field(&mut self, field: &mut Field) {
        if let Field::Other(text) = field {
            *text = self.rule(text);
        }
    }

    fn filter_set(&mut self, set: &mut Set) {
        let Set {
            family: _,
            table,
            name,
            elements,
            missing: _,
        } = set;
        self.rename(Kind::Table, table);
        self.rename(Kind::Set, name);
        let old = std::mem::take(elements);
        for element in old {
            let Element {
                key,
                mut verdict,
                comment,
                remaining_s,
            } = element;
            verdict
                .iter_mut()
                .for_each(|verdict| self.rule_verdict(verdict));
            for key in self.keys(key) {
                elements.push(Element {
                    key,
                    verdict: verdict.clone(),
                    comment: comment
                        .as_deref()
                        .map(|text| self.names.name(Kind::Comment, text)),
                    remaining_s,
                });
            }
        }
    }

    /// A key with pseudonyms: several, where a range of addresses is made of several networks.
    fn keys(&mut self, key: Vec<(Value, Value)>) -> Vec<Vec<(Value, Value)>> {
        let mut keys = vec![Vec::new()];
        for range in key {
            let parts = self.value_ranges(range);
            keys = keys
                .iter()
                .flat_map(|key: &Vec<_>| {
                    parts
                        .iter()
                        .map(|part| [key.as_slice(), std::slice::from_ref(part)].concat())
                })
                .collect();
        }
        keys
    }

    fn value_ranges(&mut self, range: (Value, Value)) -> Vec<(Value, Value)> {
        match range {
            (Value::Address(first), Value::Address(last)) => self
                .ranges(&[(first, last)])
                .into_iter()
                .map(|(a, b)| (Value::Address(a), Value::Address(b)))
                .collect(),
            (Value::Name(name), _) => {
                let hidden = self.names.interface(&name).unwrap_or_default();
                vec![(Value::Name(hidden.clone()), Value::Name(hidden))]
            }
            (Value::Mac(mac), _) => {
                let hidden = Value::Mac(self.addresses.mac(mac));
                vec![(hidden.clone(), hidden)]
            }
            (Value::Number(_), _) | (Value::Address(_), _) => vec![range],
        }
    }

    fn ranges(&mut self, ranges: &[(IpAddr, IpAddr)]) -> Vec<(IpAddr, IpAddr)> {
        let parts = ranges.iter().copied().flat_map(networks);
        let hidden = parts.map(|(first, length)| {
            let first = self.addresses.network(first, length);
            (first, last(first, length))
        });
        hidden.collect()
    }

    fn test(&mut self, test: &mut Test) {
        match test {
            Test::Address {
                side: _,
                ranges,
                not: _,
            } => *ranges = self.ranges(ranges),
            Test::Interface {
                side: _,
                name,
                not: _,
            } => match self.names.interface(name) {
                Some(hidden) => *name = hidden,
                None => *test = Test::Other(String::from("interface …")),
            },
            Test::Is {
                field,
                mask: _,
                ranges,
                not: _,
            } => {
                self.field(field);
                let old = std::mem::take(ranges);
                ranges.extend(old.into_iter().flat_map(|range| self.value_ranges(range)));
            }
            Test::InSet {
                fields,
                set,
                not: _,
            } => {
                fields.iter_mut().for_each(|field| self.field(field));
                self.rename(Kind::Set, set);
            }
            Test::Any(tests) => tests.iter_mut().for_each(|test| self.test(test)),
            Test::Other(text) => *text = self.rule(text),
            Test::Port {
                side: _,
                ranges: _,
                not: _,
            }
            | Test::Protocol { number: _, not: _ }
            | Test::Version { v6: _, not: _ }
            | Test::State { mask: _, not: _ }
            | Test::IcmpType { number: _, not: _ }
            | Test::Mark {
                value: _,
                mask: _,
                not: _,
            } => {}
        }
    }
}

/// A range as the networks that it is made of: pseudonyms keep networks, not the order of addresses.
fn networks((first, last): (IpAddr, IpAddr)) -> Vec<(IpAddr, u8)> {
    match (first, last) {
        (IpAddr::V4(first), IpAddr::V4(last)) => {
            let parts = split(first.to_bits().into(), last.to_bits().into(), 32);
            let v4 = |bits: u128| Ipv4Addr::from_bits(u32::try_from(bits).unwrap_or(0));
            let parts = parts.into_iter();
            parts.map(|(bits, len)| (v4(bits).into(), len)).collect()
        }
        (IpAddr::V6(first), IpAddr::V6(last)) => split(first.to_bits(), last.to_bits(), 128)
            .into_iter()
            .map(|(bits, len)| (Ipv6Addr::from_bits(bits).into(), len))
            .collect(),
        _ => Vec::new(),
    }
}

/// The fewest networks that make up a range of addresses of `width` bits.
fn split(mut first: u128, last: u128, width: u32) -> Vec<(u128, u8)> {
    let mut parts = Vec::new();
    while first <= last {
        let most = first.trailing_zeros().min(width);
        let fits = |bits: &u32| first | low(*bits) <= last;
        let bits = (0..=most).rev().find(|bits| fits(bits)).unwrap_or(0);
        parts.push((first, u8::try_from(width - bits).unwrap_or(0)));
        let Some(next) = (first | low(bits)).checked_add(1) else {
            break;
        };
        first = next;
    }
    parts
}

/// The last `bits` bits.
fn low(bits: u32) -> u128 {
    !u128::MAX.checked_shl(bits).unwrap_or(0)
}

/// The last address of a network.
fn last(first: IpAddr, length: u8) -> IpAddr {
    let length = u32::from(length);
    match first {
        IpAddr::V4(v4) => {
            let hosts = u32::MAX.checked_shr(length).unwrap_or(0);
            Ipv4Addr::from_bits(v4.to_bits() | hosts).into()
        }
        IpAddr::V6(v6) => {
            let hosts = u128::MAX.checked_shr(length).unwrap_or(0);
            Ipv6Addr::from_bits(v6.to_bits() | hosts).into()
        }
    }
}

#[cfg(test)]
#[expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a failed setup fails the test"
)]
mod tests {
    use super::super::tests::pseudonyms;
    use super::*;
    use crate::host::facts::Side;

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn a_range_is_made_of_networks() {
        let told = |first, last| -> Vec<String> {
            let parts = networks((ip(first), ip(last)));
            parts.iter().map(|(a, len)| format!("{a}/{len}")).collect()
        };
        assert_eq!(told("10.0.0.0", "10.0.0.255"), ["10.0.0.0/24"]);
        assert_eq!(told("0.0.0.0", "255.255.255.255"), ["0.0.0.0/0"]);
        assert_eq!(
            told("::", "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff"),
            ["::/0"]
        );
        assert_eq!(
            told("10.0.0.1", "10.0.0.6"),
            ["10.0.0.1/32", "10.0.0.2/31", "10.0.0.4/31", "10.0.0.6/32"]
        );
        assert_eq!(told("10.0.0.2", "10.0.0.1"), [""; 0]);
    }

    #[test]
    fn a_test_holds_for_the_pseudonyms_of_what_it_held_for() {
        let mut all = pseudonyms();
        let range = (ip("192.168.3.17"), ip("192.168.5.200"));
        let mut test = Test::Address {
            side: Side::Source,
            ranges: vec![range],
            not: false,
        };
        all.test(&mut test);
        let Test::Address { ranges, .. } = test else {
            panic!("it stays a test of addresses");
        };
        for third in 2..7 {
            for fourth in 0..=255 {
                let original = ip(&format!("192.168.{third}.{fourth}"));
                let hidden = all.addresses.address(original);
                let held = ranges.iter().any(|(a, b)| *a <= hidden && hidden <= *b);
                assert_eq!(held, range.0 <= original && original <= range.1);
            }
        }
    }
}
