//! What stands on interfaces and in packet filters, with pseudonyms.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::Pseudonyms;
use super::names::Kind;
use crate::host::facts::{
    Action, Attachment, BaseChain, FilterRule, Holder, Qdisc, Standing, Test,
};

impl Pseudonyms {
    pub(super) fn standing(&mut self, standing: Standing) -> Standing {
        let Standing {
            programs,
            qdiscs,
            counters,
            queue_length,
            holders,
        } = standing;
        let holder = |holder: Holder| {
            let Holder { process, state } = holder;
            Holder {
                process: self.process(process),
                state,
            }
        };
        let holders = holders.map(|list| list.into_iter().map(holder).collect());
        let programs = programs.into_iter().map(|program| self.attachment(program));
        Standing {
            programs: programs.collect(),
            qdiscs: qdiscs.into_iter().map(qdisc).collect(),
            counters,
            queue_length,
            holders,
        }
    }

    fn attachment(&mut self, attachment: Attachment) -> Attachment {
        let Attachment {
            hook,
            how,
            priority,
            program,
            actions,
        } = attachment;
        // actions have kinds, verbs and numbers
        let action = |Action { kind, verb, to }| Action { kind, verb, to };
        Attachment {
            hook,
            how,
            priority,
            program: program.map(|program| self.program(program)),
            actions: actions.into_iter().map(action).collect(),
        }
    }

    pub(super) fn base_chain(&mut self, chain: BaseChain) -> BaseChain {
        let BaseChain {
            engine,
            family,
            table,
            chain,
            hook,
            priority,
            policy_drop,
            rules,
            policy_packets,
            stops,
            more_stops,
        } = chain;
        BaseChain {
            engine,
            family,
            table: self.names.name(Kind::Table, &table),
            chain: self.names.name(Kind::Chain, &chain),
            hook,
            priority,
            policy_drop,
            rules,
            policy_packets,
            stops: stops
                .into_iter()
                .map(|rule| self.filter_rule(rule))
                .collect(),
            more_stops,
        }
    }

    fn filter_rule(&mut self, rule: FilterRule) -> FilterRule {
        let FilterRule {
            chain,
            handle,
            number,
            stop,
            text,
            whole,
            packets,
            tests,
        } = rule;
        FilterRule {
            chain: self.names.name(Kind::Chain, &chain),
            handle,
            number,
            stop,
            text: self.rule(&text),
            whole,
            packets,
            tests: tests.into_iter().map(|test| self.test(test)).collect(),
        }
    }

    fn test(&mut self, test: Test) -> Test {
        match test {
            Test::Address { side, ranges, not } => {
                let hidden = ranges.into_iter().flat_map(networks);
                let hidden = hidden.map(|(first, length)| {
                    let first = self.addresses.network(first, length);
                    (first, last(first, length))
                });
                Test::Address {
                    side,
                    ranges: hidden.collect(),
                    not,
                }
            }
            Test::Interface { side, name, not } => match self.names.interface(&name) {
                Some(name) => Test::Interface { side, name, not },
                None => Test::Other(String::from("interface …")),
            },
            Test::Other(text) => Test::Other(self.rule(&text)),
            test @ (Test::Port {
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
            }) => test,
        }
    }
}

/// Kinds, handles and counters: nothing of it is a name that somebody gave.
fn qdisc(qdisc: Qdisc) -> Qdisc {
    let Qdisc {
        kind,
        handle,
        parent,
        packets,
        drops,
        overlimits,
        queued,
        backlog,
    } = qdisc;
    Qdisc {
        kind,
        handle,
        parent,
        packets,
        drops,
        overlimits,
        queued,
        backlog,
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
        let Test::Address { ranges, .. } = all.test(Test::Address {
            side: Side::Source,
            ranges: vec![range],
            not: false,
        }) else {
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
