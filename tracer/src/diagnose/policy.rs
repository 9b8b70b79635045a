//! Which rule and which route decide over a packet: the kernel's walk over policy rules and tables, done again over what
//! was read of them. RTM_GETROUTE alone does not tell who refused.

use std::net::IpAddr;

use crate::host::Host;
use crate::host::facts::{PolicyRule, TableRoute};
use crate::model::{Device, IfIndex, NetNs, Tuple};
use crate::uapi::rtnetlink::{RT_TABLE_DEFAULT, RT_TABLE_LOCAL, RT_TABLE_MAIN};

use super::routing::holds;

/// Most steps of `goto`: the kernel only lets them go forward.
const MOST_RULES: usize = 4096;

/// A packet as policy rules see it.
#[derive(Clone, Copy, Debug)]
pub struct Asked<'a> {
    /// Its addresses, protocol and ports.
    pub tuple: Tuple,
    /// Interface on which it came; `lo` for what the namespace sends itself.
    pub iif: &'a str,
    /// Its mark.
    pub mark: u32,
}

/// Who decided.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Decision<'a> {
    /// A policy rule that refuses.
    Rule(&'a PolicyRule),
    /// A route, in the table to which this rule led.
    Route(&'a PolicyRule, &'a TableRoute),
    /// No rule led to a route.
    Nothing,
}

impl<'a> Decision<'a> {
    /// `blackhole`, `unreachable` or `prohibit`, when that was decided.
    #[must_use]
    pub fn refusal(&self) -> Option<&'a str> {
        let kind = match self {
            Self::Rule(rule) => rule.action.as_str(),
            Self::Route(_, route) => route.kind.as_str(),
            Self::Nothing => return None,
        };
        matches!(kind, "blackhole" | "unreachable" | "prohibit").then_some(kind)
    }
}

/// The decision of a namespace; `None` when its rules or routes were not read.
#[must_use]
pub fn decision<'a>(host: &'a Host, netns: NetNs, asked: &Asked<'_>) -> Option<Decision<'a>> {
    let dst = asked.tuple.dst;
    let rules = &host.rules.get(&(netns, dst.is_ipv6()))?.fact;
    let routes = &host.towards.get(&(netns, dst))?.fact;
    let usable = |route: &&TableRoute| {
        let device = route.oif.map(|oif| Device {
            netns,
            ifindex: IfIndex(oif),
        });
        // Routes over an interface that is down are passed over.
        device.is_none_or(|d| host.link(d).is_none_or(|l| l.up))
    };
    let mut from = 0;
    for rule in rules.iter().take(MOST_RULES) {
        if rule.priority < from || !matches(rule, asked) {
            continue;
        }
        match rule.action.as_str() {
            "lookup" => {
                let found = routes
                    .iter()
                    .filter(usable)
                    .find(|route| route.table == rule.table);
                match found {
                    Some(route) if route.kind == "throw" => {}
                    Some(route) => return Some(Decision::Route(rule, route)),
                    None => {}
                }
            }
            "goto" => from = rule.goto.unwrap_or_default(),
            "blackhole" | "unreachable" | "prohibit" => return Some(Decision::Rule(rule)),
            _ => {}
        }
    }
    Some(Decision::Nothing)
}

/// Whether a rule's selectors hold (fib_rule_match, fib4_rule_match, net/core/fib_rules.c and net/ipv4/fib_rules.c).
fn matches(rule: &PolicyRule, asked: &Asked<'_>) -> bool {
    let tuple = &asked.tuple;
    let address = |want: Option<(IpAddr, u8)>, have: IpAddr| {
        want.is_none_or(|(net, length)| holds(net, length, have))
    };
    let ports = |want: Option<(u16, u16)>, have: u16| {
        want.is_none_or(|(low, high)| (low..=high).contains(&have))
    };
    let protocol = tuple.proto.number();
    let all = address(rule.src, tuple.src)
        && address(rule.dst, tuple.dst)
        && rule.iif.as_deref().is_none_or(|want| want == asked.iif)
        && rule.oif.is_none()
        && rule
            .mark
            .is_none_or(|want| (want ^ asked.mark) & rule.mark_mask == 0)
        && rule.protocol.is_none_or(|want| Some(want) == protocol)
        && ports(rule.sport, tuple.sport)
        && ports(rule.dport, tuple.dport);
    all != rule.inverted
}

/// A rule as `ip rule` takes it, without its priority: `from 10.0.0.7 unreachable`.
#[must_use]
pub fn rule_words(rule: &PolicyRule) -> String {
    let mut words = Vec::new();
    if rule.inverted {
        words.push("not".to_owned());
    }
    let prefix = |(address, length): (IpAddr, u8)| prefix_words(address, length);
    match rule.src {
        Some(src) => words.push(format!("from {}", prefix(src))),
        None => words.push("from all".to_owned()),
    }
    words.extend(rule.dst.map(|dst| format!("to {}", prefix(dst))));
    words.extend(rule.mark.map(|mark| match rule.mark_mask {
        u32::MAX => format!("fwmark {mark:#x}"),
        mask => format!("fwmark {mark:#x}/{mask:#x}"),
    }));
    words.extend(rule.iif.as_ref().map(|name| format!("iif {name}")));
    words.extend(rule.oif.as_ref().map(|name| format!("oif {name}")));
    words.extend(rule.protocol.map(|number| format!("ipproto {number}")));
    let range = |(low, high): (u16, u16)| {
        if low == high {
            low.to_string()
        } else {
            format!("{low}-{high}")
        }
    };
    words.extend(rule.sport.map(|p| format!("sport {}", range(p))));
    words.extend(rule.dport.map(|p| format!("dport {}", range(p))));
    words.push(match rule.action.as_str() {
        "lookup" => format!("lookup {}", table_words(rule.table)),
        "goto" => format!("goto {}", rule.goto.unwrap_or_default()),
        action => action.to_owned(),
    });
    words.join(" ")
}

/// A route as `ip route` takes it: `10.0.0.0/8 via 10.77.1.99 dev lan7 table 120`.
#[must_use]
pub fn route_words(host: &Host, netns: NetNs, route: &TableRoute) -> String {
    let mut words = Vec::new();
    if route.kind != "unicast" {
        words.push(route.kind.clone());
    }
    words.push(match route.length {
        0 => "default".to_owned(),
        length => prefix_words(route.prefix, length),
    });
    words.extend(route.gateway.map(|gateway| format!("via {gateway}")));
    // Refusals hang on `lo` in IPv6, which nobody types.
    let device = route.oif.filter(|_| {
        !matches!(
            route.kind.as_str(),
            "blackhole" | "unreachable" | "prohibit"
        )
    });
    words.extend(device.map(|oif| {
        let device = Device {
            netns,
            ifindex: IfIndex(oif),
        };
        format!("dev {}", host.interface(device))
    }));
    if route.table != RT_TABLE_MAIN {
        words.push(format!("table {}", table_words(route.table)));
    }
    words.join(" ")
}

fn table_words(table: u32) -> String {
    match table {
        RT_TABLE_LOCAL => "local".to_owned(),
        RT_TABLE_MAIN => "main".to_owned(),
        RT_TABLE_DEFAULT => "default".to_owned(),
        number => number.to_string(),
    }
}

fn prefix_words(address: IpAddr, length: u8) -> String {
    let whole = if address.is_ipv6() { 128 } else { 32 };
    if length == whole {
        address.to_string()
    } else {
        format!("{address}/{length}")
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a failed setup fails the test")]
mod tests {
    use super::*;
    use crate::host::facts::Fact;
    use crate::model::{KtimeNs, Proto};

    fn rule(priority: u32, action: &str, table: u32) -> PolicyRule {
        PolicyRule {
            priority,
            action: action.to_owned(),
            table,
            mark_mask: u32::MAX,
            ..PolicyRule::default()
        }
    }

    fn route(kind: &str, prefix: &str, length: u8, table: u32) -> TableRoute {
        TableRoute {
            kind: kind.to_owned(),
            table,
            prefix: prefix.parse().unwrap(),
            length,
            gateway: None,
            oif: None,
            metric: 0,
        }
    }

    fn tuple() -> Tuple {
        Tuple {
            proto: Proto::Udp,
            src: "10.1.0.7".parse().unwrap(),
            sport: 4000,
            dst: "10.9.0.2".parse().unwrap(),
            dport: 53,
            icmp_id: 0,
        }
    }

    fn decide(rules: Vec<PolicyRule>, routes: Vec<TableRoute>) -> Option<String> {
        let mut host = Host::default();
        let netns = NetNs(1);
        host.apply(KtimeNs(0), Fact::Rules(netns, false, rules));
        host.apply(KtimeNs(0), Fact::RoutesTowards(netns, tuple().dst, routes));
        let asked = Asked {
            tuple: tuple(),
            iif: "lan0",
            mark: 0,
        };
        decision(&host, netns, &asked).map(|d| match d {
            Decision::Rule(rule) => format!("rule {}: {}", rule.priority, rule_words(rule)),
            Decision::Route(rule, route) => {
                format!("{}: {}", rule.priority, route_words(&host, netns, route))
            }
            Decision::Nothing => "nothing".to_owned(),
        })
    }

    #[test]
    fn the_first_rule_that_matches_decides() {
        let selective = |priority, src: &str, action| PolicyRule {
            src: Some((src.parse().unwrap(), 32)),
            ..rule(priority, action, 0)
        };
        let main = || route("unicast", "10.9.0.0", 16, 254);
        let rules = |src: &str| {
            vec![
                rule(0, "lookup", 255),
                selective(90, src, "unreachable"),
                rule(32766, "lookup", 254),
            ]
        };
        assert_eq!(
            decide(rules("10.1.0.7"), vec![main()]).as_deref(),
            Some("rule 90: from 10.1.0.7 unreachable")
        );
        assert_eq!(
            decide(rules("10.1.0.8"), vec![main()]).as_deref(),
            Some("32766: 10.9.0.0/16")
        );
    }

    #[test]
    fn a_refusing_route_of_a_table_decides_and_a_throw_goes_on() {
        let rules = || vec![rule(100, "lookup", 120), rule(32766, "lookup", 254)];
        let refusing = route("blackhole", "10.9.0.0", 24, 120);
        let throwing = route("throw", "10.9.0.0", 24, 120);
        let default = route("unicast", "0.0.0.0", 0, 254);
        assert_eq!(
            decide(rules(), vec![refusing, default.clone()]).as_deref(),
            Some("100: blackhole 10.9.0.0/24 table 120")
        );
        assert_eq!(
            decide(rules(), vec![throwing, default]).as_deref(),
            Some("32766: default")
        );
        assert_eq!(decide(rules(), vec![]).as_deref(), Some("nothing"));
    }

    #[test]
    fn rules_of_interfaces_marks_and_ports_match_only_theirs() {
        let asked = |iif| Asked {
            tuple: tuple(),
            iif,
            mark: 0x12,
        };
        let refuse = rule(5, "prohibit", 0);
        let by = |change: fn(&mut PolicyRule)| {
            let mut rule = refuse.clone();
            change(&mut rule);
            matches(&rule, &asked("lan0"))
        };
        assert!(by(|r| r.iif = Some("lan0".to_owned())));
        assert!(!by(|r| r.iif = Some("lo".to_owned())));
        assert!(by(|r| (r.mark, r.mark_mask) = (Some(0x10), 0xf0)));
        assert!(!by(|r| r.mark = Some(0x10)));
        assert!(by(|r| r.dport = Some((50, 60))));
        assert!(!by(|r| r.protocol = Some(6)));
        assert!(by(|r| {
            r.protocol = Some(6);
            r.inverted = true;
        }));
    }
}
