//! Rules in the words of the program that made them: nft(8) or iptables(8).

use std::net::IpAddr;

use super::rules::{Rule, Way};
use crate::host::facts::{Side, Test};

/// Whose words.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Dialect {
    /// nft(8).
    Nft,
    /// iptables(8), ip6tables(8).
    Iptables,
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

/// A rule's tests and what it does; and whether that is all of it.
pub(super) fn rule(dialect: Dialect, rule: &Rule, way: &Way, said: &str) -> (String, bool) {
    let mut parts = match dialect {
        Dialect::Nft => nft(&way.tests),
        Dialect::Iptables => way.tests.iter().map(iptables).collect(),
    };
    let target = match dialect {
        Dialect::Iptables if !said.starts_with('-') => format!("-j {}", said.to_uppercase()),
        _ => said.to_owned(),
    };
    match (&rule.comment, dialect) {
        (Some(comment), Dialect::Nft) => {
            parts.push(target);
            parts.push(format!("comment \"{comment}\""));
        }
        (Some(comment), Dialect::Iptables) => {
            parts.push(format!("-m comment --comment \"{comment}\""));
            parts.push(target);
        }
        (None, _) => parts.push(target),
    }
    let text = parts.join(" ");
    let whole = !text.contains(MORE) && rule.ways.len() == 1;
    (text, whole)
}

fn protocol(number: u8) -> String {
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
fn nft(tests: &[Test]) -> Vec<String> {
    let mut parts = Vec::new();
    let mut transport = None;
    for (i, test) in tests.iter().enumerate() {
        let next = tests.get(i + 1);
        match (test, next) {
            (Test::Version { not: false, .. }, Some(Test::Address { .. })) => {}
            (Test::Protocol { number, not: false }, Some(Test::Port { .. })) => {
                transport = Some(*number);
            }
            (
                Test::Protocol {
                    number: 1 | 58,
                    not: false,
                },
                Some(Test::IcmpType { .. }),
            ) => {}
            _ => parts.push(nft_one(test, transport)),
        }
    }
    parts
}

fn nft_one(test: &Test, transport: Option<u8>) -> String {
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
            let version = if *v6 { "ipv6" } else { "ipv4" };
            format!("meta nfproto {}{version}", unless(not))
        }
        Test::Interface { side, name, not } => {
            let what = match side {
                Side::Source => "iifname",
                Side::Destination => "oifname",
            };
            format!("{what} {}\"{name}\"", unless(not))
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
        Test::Other(text) => text.clone(),
    }
}

/// In the words of iptables.
fn iptables(test: &Test) -> String {
    let unless = |not: &bool| if *not { "! " } else { "" };
    match test {
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
            format!("{}{what} {name}", unless(not))
        }
        Test::State { mask, not } => {
            let list = states(*mask).join(",").to_uppercase();
            format!("-m conntrack {}--ctstate {list}", unless(not))
        }
        Test::IcmpType { number, not } => format!("{}--icmp-type {number}", unless(not)),
        Test::Mark { value, mask, not } => {
            format!("-m mark {}--mark {value:#x}/{mask:#x}", unless(not))
        }
        Test::Other(text) => text.clone(),
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a failed setup fails the test")]
mod tests {
    use super::super::rules::End;
    use super::*;
    use crate::host::facts::Stop;

    fn net(first: &str, last: &str) -> (IpAddr, IpAddr) {
        (first.parse().unwrap(), last.parse().unwrap())
    }

    fn told(dialect: Dialect, tests: Vec<Test>, said: &str) -> (String, bool) {
        let way = Way {
            tests,
            end: End::Stop(Stop::Drop, said.to_owned()),
        };
        let read = Rule {
            handle: None,
            packets: None,
            comment: None,
            ways: vec![way.clone()],
        };
        rule(dialect, &read, &way, said)
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
    fn each_program_has_its_words() {
        assert_eq!(
            told(Dialect::Nft, tests(), "drop"),
            (
                "iifname \"veth*\" ip saddr != 10.1.0.0/16 tcp dport 80-90 ct state invalid,new drop"
                    .to_owned(),
                true
            )
        );
        assert_eq!(
            told(Dialect::Iptables, tests(), "-j DROP").0,
            "-i veth+ ! -s 10.1.0.0/16 -p tcp --dport 80:90 -m conntrack --ctstate INVALID,NEW -j DROP"
        );
    }

    #[test]
    fn what_is_not_understood_is_not_the_whole() {
        let tests = vec![Test::Other("-m hashlimit …".to_owned())];
        assert!(!told(Dialect::Iptables, tests, "-j DROP").1);
    }

    #[test]
    fn a_range_that_is_no_network_stays_one() {
        assert_eq!(addresses(net("10.0.0.1", "10.0.0.9")), "10.0.0.1-10.0.0.9");
        assert_eq!(addresses(net("0.0.0.0", "255.255.255.255")), "0.0.0.0/0");
        assert_eq!(addresses(net("fd00::", "fd00::ffff")), "fd00::/112");
        assert_eq!(addresses(net("10.0.0.1", "10.0.0.1")), "10.0.0.1");
    }
}
