//! Small hand-made tables.
#![expect(clippy::unwrap_used, reason = "a failed setup fails the test")]

use super::*;
use crate::host::Host;
use crate::host::facts::{Fact, InterfaceAddress, Neighbor, Route, RouteAnswer, Selectors};
use crate::model::{Device, KtimeNs, NetNs, Proto};

const NETNS: NetNs = NetNs(1);
const LAN: IfIndex = IfIndex(2);
const WAN: IfIndex = IfIndex(3);

fn rule(priority: u32, action: &str, table: u32) -> PolicyRule {
    PolicyRule {
        priority,
        action: action.to_owned(),
        table,
        mark_mask: u32::MAX,
        ..PolicyRule::default()
    }
}

/// `10.9.0.0/16`, with an output interface.
fn route(kind: &str, prefix: &str, table: u32) -> TableRoute {
    let (address, length) = prefix.split_once('/').unwrap();
    TableRoute {
        oif: (!matches!(kind, "blackhole" | "throw")).then_some(WAN.0),
        ..TableRoute::new(
            kind,
            table,
            address.parse().unwrap(),
            length.parse().unwrap(),
        )
    }
}

fn via(route: TableRoute, gateway: &str, oif: IfIndex) -> TableRoute {
    TableRoute {
        gateway: Some(gateway.parse().unwrap()),
        oif: Some(oif.0),
        ..route
    }
}

fn tuple(src: &str, dst: &str) -> Tuple {
    Tuple {
        proto: Proto::Udp,
        src: src.parse().unwrap(),
        sport: 4000,
        dst: dst.parse().unwrap(),
        dport: 53,
        icmp_id: 0,
    }
}

/// A host with these rules and routes, for one destination and the way back.
struct Net {
    host: Host,
    query: Query,
}

impl Net {
    fn new(rules: Vec<PolicyRule>, routes: &[TableRoute]) -> Self {
        Self::towards(tuple("10.1.0.7", "10.9.0.2"), rules, routes)
    }

    fn towards(tuple: Tuple, rules: Vec<PolicyRule>, routes: &[TableRoute]) -> Self {
        let query = Query::input(tuple, LAN, 0).with_tos(0);
        let mut net = Self {
            host: Host::default(),
            query,
        };
        net.fact(Fact::Rules(NETNS, tuple.dst.is_ipv6(), rules));
        for address in [tuple.src, tuple.dst] {
            let held = routes
                .iter()
                .filter(|r| r.holds(address))
                .cloned()
                .collect();
            net.fact(Fact::RoutesTowards(NETNS, address, held));
        }
        net
    }

    fn fact(&mut self, fact: Fact) {
        self.host.apply(KtimeNs(0), fact);
    }

    fn sysctl(&mut self, name: &str, value: &str) {
        self.fact(Fact::Sysctl {
            netns: NETNS,
            name: name.to_owned(),
            value: Some(value.to_owned()),
        });
    }

    fn tables(&self) -> Tables<'_> {
        Tables::of(&self.host, NETNS)
    }

    fn words(&self, decision: &Decision<'_>) -> String {
        match decision {
            Decision::RefusedByRule(rule, kind) => {
                format!("rule {}: {}", rule.priority, kind.name())
            }
            Decision::Route { rule, route, .. } | Decision::RefusedByRoute(rule, route, _) => {
                let words = route_words(&self.host, NETNS, route);
                format!("{}: {words}", rule.priority)
            }
            Decision::OnLink(oif) => format!("on link {}", oif.0),
            Decision::Nothing => "nothing".to_owned(),
            Decision::Undecided(why) => format!("undecided: {why}"),
        }
    }

    fn decide(&self) -> String {
        self.words(&lookup(&self.tables(), &self.query).decision)
    }
}

fn three(between: Vec<PolicyRule>) -> Vec<PolicyRule> {
    let mut rules = vec![rule(0, "lookup", RT_TABLE_LOCAL)];
    rules.extend(between);
    rules.push(rule(32766, "lookup", RT_TABLE_MAIN));
    rules.push(rule(32767, "lookup", RT_TABLE_DEFAULT));
    rules
}

#[test]
fn the_first_rule_that_matches_decides() {
    let refusing = |src: &str| PolicyRule {
        src: Some((src.parse().unwrap(), 32)),
        ..rule(90, "unreachable", 0)
    };
    let main = [route("unicast", "10.9.0.0/16", RT_TABLE_MAIN)];
    let net = Net::new(three(vec![refusing("10.1.0.7")]), &main);
    assert_eq!(net.decide(), "rule 90: unreachable");
    assert_eq!(
        lookup(&net.tables(), &net.query).decision.errno(),
        Some(101)
    );
    let net = Net::new(three(vec![refusing("10.1.0.8")]), &main);
    assert_eq!(net.decide(), "32766: 10.9.0.0/16 dev if:3");
    let trail = lookup(&net.tables(), &net.query).trail;
    let passed: Vec<_> = trail.iter().map(|s| (s.rule.priority, &s.passed)).collect();
    assert_eq!(
        passed,
        [(0, &Passed::NoRoute), (90, &Passed::Selector("from"))]
    );
}

#[test]
fn a_refusing_route_of_a_table_decides_and_a_throw_goes_on() {
    let rules = || three(vec![rule(100, "lookup", 120)]);
    let default = route("unicast", "0.0.0.0/0", RT_TABLE_MAIN);
    let with = |kind| Net::new(rules(), &[route(kind, "10.9.0.0/24", 120), default.clone()]);
    assert_eq!(
        with("blackhole").decide(),
        "100: blackhole 10.9.0.0/24 table 120"
    );
    assert_eq!(with("throw").decide(), "32766: default dev if:3");
    assert_eq!(Net::new(rules(), &[]).decide(), "nothing");
}

#[test]
fn goto_goes_to_a_rule_that_exists_and_on_where_there_is_none() {
    let to = |priority| PolicyRule {
        goto: Some(priority),
        ..rule(10, "goto", 0)
    };
    let rules = |target| {
        three(vec![
            to(target),
            rule(20, "blackhole", 0),
            rule(30, "nop", 0),
        ])
    };
    let main = [route("unicast", "10.9.0.0/16", RT_TABLE_MAIN)];
    assert_eq!(
        Net::new(rules(30), &main).decide(),
        "32766: 10.9.0.0/16 dev if:3"
    );
    assert_eq!(Net::new(rules(25), &main).decide(), "rule 20: blackhole");
}

#[test]
fn what_is_not_known_of_a_packet_decides_only_where_it_makes_no_difference() {
    let of_user = |table| PolicyRule {
        uid: Some((1000, 1000)),
        ..rule(50, "lookup", table)
    };
    let main = route("unicast", "10.9.0.0/16", RT_TABLE_MAIN);
    let mut net = Net::new(three(vec![of_user(120)]), std::slice::from_ref(&main));
    net.query = Query::output(net.query.tuple, 0);
    assert_eq!(
        net.decide(),
        "32766: 10.9.0.0/16 dev if:3",
        "its table is empty"
    );
    let other = route("unicast", "10.9.0.0/16", 120);
    let mut net = Net::new(three(vec![of_user(120)]), &[main, other]);
    net.query = Query::output(net.query.tuple, 0);
    assert!(net.decide().contains("uidrange"), "{}", net.decide());
    net.query.uid = Some(1000);
    assert_eq!(net.decide(), "50: 10.9.0.0/16 dev if:3 table 120");
    let unheard_of = PolicyRule {
        unknown: vec!["attribute 31".to_owned()],
        ..rule(50, "prohibit", 0)
    };
    let net = Net::new(three(vec![unheard_of]), &[]);
    assert!(net.decide().contains("attribute 31"), "{}", net.decide());
}

#[test]
fn a_mask_without_mark_asks_for_the_mark_zero() {
    let marked = PolicyRule {
        mark: Some(0),
        mark_mask: 0xff,
        ..rule(50, "prohibit", 0)
    };
    let mut net = Net::new(three(vec![marked]), &[]);
    assert_eq!(net.decide(), "rule 50: prohibit");
    net.query.mark = Some(0x10);
    assert_eq!(net.decide(), "nothing");
}

#[test]
fn a_short_prefix_is_suppressed() {
    let suppressing = PolicyRule {
        suppress_prefix: Some(0),
        ..rule(50, "lookup", RT_TABLE_MAIN)
    };
    let tunnel = PolicyRule {
        mark: Some(0xca6c),
        inverted: true,
        ..rule(51, "lookup", 51820)
    };
    let default = route("unicast", "0.0.0.0/0", RT_TABLE_MAIN);
    let through = route("unicast", "0.0.0.0/0", 51820);
    let rules = || three(vec![suppressing.clone(), tunnel.clone()]);
    let mut net = Net::new(rules(), &[default.clone(), through.clone()]);
    assert_eq!(net.decide(), "51: default dev if:3 table 51820");
    net.query.mark = Some(0xca6c);
    assert_eq!(net.decide(), "32766: default dev if:3");
}

#[test]
fn metric_and_dead_paths_choose() {
    let with = |metric, flags, oif| TableRoute {
        metric,
        flags,
        oif: Some(oif),
        ..route("unicast", "10.9.0.0/16", RT_TABLE_MAIN)
    };
    let dead = NextHop::DEAD | NextHop::LINKDOWN;
    let routes = [
        with(10, dead, 7),
        with(20, NextHop::LINKDOWN, 8),
        with(30, 0, 9),
    ];
    let net = Net::new(three(vec![]), &routes);
    assert_eq!(net.decide(), "32766: 10.9.0.0/16 dev if:8");
    let hop = |oif, flags| NextHop {
        oif: Some(oif),
        weight: 1,
        flags,
        gateway: None,
    };
    let several = TableRoute {
        oif: None,
        paths: vec![hop(7, 0), hop(8, NextHop::DEAD), hop(9, 0)],
        ..route("unicast", "10.9.0.0/16", RT_TABLE_MAIN)
    };
    let net = Net::new(three(vec![]), &[several]);
    let Decision::Route { hops, .. } = lookup(&net.tables(), &net.query).decision else {
        unreachable!("{}", net.decide())
    };
    let out: Vec<_> = hops.iter().filter_map(|hop| hop.oif).collect();
    assert_eq!(out, [7, 9]);
}

#[test]
fn a_bound_socket_sends_to_the_link_where_there_is_no_route() {
    let mut net = Net::new(three(vec![rule(9, "prohibit", 0)]), &[]);
    net.query = Query {
        oif: Some(WAN),
        ..Query::output(net.query.tuple, 0)
    };
    assert_eq!(net.decide(), "on link 3");
}

#[test]
fn a_longer_prefix_of_main_may_come_before_local() {
    let routes = [
        route("local", "10.9.0.0/24", RT_TABLE_LOCAL),
        route("unicast", "10.9.0.2/32", RT_TABLE_MAIN),
    ];
    let net = Net::new(three(vec![]), &routes);
    assert!(net.decide().contains("searched as one"), "{}", net.decide());
    let net = Net::new(three(vec![rule(9, "nop", 0)]), &routes);
    assert_eq!(net.decide(), "0: local 10.9.0.0/24 dev if:3 table local");
}

#[test]
fn what_would_be_without_a_route_or_a_rule() {
    let routes = [
        route("blackhole", "10.9.0.0/24", RT_TABLE_MAIN),
        route("unicast", "0.0.0.0/0", RT_TABLE_MAIN),
    ];
    let net = Net::new(three(vec![rule(9, "prohibit", 0)]), &routes);
    let tables = net.tables();
    let blocking = lookup(&tables, &net.query).decision.rule().unwrap();
    let tables = tables.without_rule(blocking);
    let decision = lookup(&tables, &net.query).decision;
    assert_eq!(net.words(&decision), "32766: blackhole 10.9.0.0/24");
    let tables = tables.without(decision.route().unwrap());
    let decision = lookup(&tables, &net.query).decision;
    assert_eq!(net.words(&decision), "32766: default dev if:3");
    let better = via(
        route("unicast", "10.9.0.2/32", RT_TABLE_MAIN),
        "10.0.0.9",
        LAN,
    );
    let tables = tables.after(Change::Route(&better));
    let decision = lookup(&tables, &net.query).decision;
    assert_eq!(
        net.words(&decision),
        "32766: 10.9.0.2 via 10.0.0.9 dev if:2"
    );
}

fn six(routes: &[TableRoute]) -> Net {
    let rules = vec![
        rule(0, "lookup", RT_TABLE_LOCAL),
        rule(32766, "lookup", RT_TABLE_MAIN),
    ];
    Net::towards(tuple("fd00:1::7", "fd00:9::2"), rules, routes)
}

#[test]
fn ipv6_chooses_by_metric_then_interface_then_preference() {
    let with = |preference, metric, oif| TableRoute {
        preference,
        metric,
        oif: Some(oif),
        ..route("unicast", "fd00:9::/64", RT_TABLE_MAIN)
    };
    let mut net = six(&[with(3, 5, 4), with(0, 5, 5), with(1, 9, 6)]);
    net.sysctl("net/ipv6/conf/all/forwarding", "1");
    assert_eq!(net.decide(), "32766: fd00:9::/64 dev if:5");
    let mut net = six(&[with(0, 5, 5), with(0, 5, LAN.0)]);
    net.sysctl("net/ipv6/conf/all/forwarding", "1");
    assert_eq!(
        net.decide(),
        "32766: fd00:9::/64 dev if:2",
        "the interface on which it came"
    );
}

#[test]
fn ipv6_hosts_pass_over_gateways_that_failed() {
    let near = via(
        route("unicast", "fd00:9::/64", RT_TABLE_MAIN),
        "fe80::1",
        WAN,
    );
    let far = via(route("unicast", "::/0", RT_TABLE_MAIN), "fe80::2", LAN);
    let mut net = six(&[near, far]);
    net.sysctl("net/ipv6/conf/all/forwarding", "0");
    assert_eq!(
        net.decide(),
        "undecided: the neighbour entry of fe80::1 was not read"
    );
    let entry = |address: &str, ifindex, state| {
        Fact::Neighbor(Neighbor {
            device: Device {
                netns: NETNS,
                ifindex,
            },
            address: address.parse().unwrap(),
            state,
            mac: None,
        })
    };
    net.fact(entry("fe80::1", WAN, 0x20));
    net.fact(entry("fe80::2", LAN, 0x02));
    assert_eq!(net.decide(), "32766: default via fe80::2 dev if:2");
    net.sysctl("net/ipv6/conf/all/forwarding", "1");
    assert_eq!(net.decide(), "32766: fd00:9::/64 via fe80::1 dev if:3");
}

/// A router between LAN and WAN whose way back to the packet's source leads over `back`.
fn filtered(mode: &str, back: IfIndex, rules: Vec<PolicyRule>) -> Net {
    let routes = [
        route("unicast", "10.9.0.0/16", RT_TABLE_MAIN),
        TableRoute {
            oif: Some(back.0),
            ..route("unicast", "10.1.0.0/16", RT_TABLE_MAIN)
        },
    ];
    let mut net = Net::new(three(rules), &routes);
    for device in [LAN, WAN] {
        let at = Device {
            netns: NETNS,
            ifindex: device,
        };
        net.fact(Fact::Link(crate::host::facts::Link {
            kind: "veth".to_owned(),
            mtu: 1500,
            up: true,
            carrier: true,
            arp_type: 1,
            ..crate::host::facts::Link::new(at, format!("eth{}", device.0))
        }));
        net.fact(Fact::Addresses(
            at,
            vec![InterfaceAddress {
                address: format!("10.{}.0.1", device.0 + 50).parse().unwrap(),
                prefix: 24,
                tentative: false,
                dad_failed: false,
                deprecated: false,
                secondary: false,
                scope: 0,
            }],
        ));
    }
    for name in ["rp_filter", "src_valid_mark", "accept_local"] {
        net.sysctl(&format!("net/ipv4/conf/all/{name}"), "0");
        net.sysctl(&format!("net/ipv4/conf/eth2/{name}"), "0");
    }
    net.sysctl("net/ipv4/conf/eth2/forwarding", "1");
    net.sysctl("net/ipv4/conf/eth2/rp_filter", mode);
    net
}

#[test]
fn the_way_back_is_asked_as_the_kernel_asks_it() {
    let end = |net: &Net| receive(&net.tables(), &net.query).end;
    let refused = InputEnd::Source(Forged::ReversePath);
    assert_eq!(end(&filtered("1", LAN, vec![])), InputEnd::Forward);
    assert_eq!(end(&filtered("1", WAN, vec![])), refused);
    assert_eq!(end(&filtered("2", WAN, vec![])), InputEnd::Forward);
    // `from` is the packet's destination then
    let from = |address: &str| PolicyRule {
        src: Some((address.parse().unwrap(), 32)),
        ..rule(40, "blackhole", 0)
    };
    assert_eq!(end(&filtered("1", LAN, vec![from("10.9.0.2")])), refused);
    assert_eq!(
        end(&filtered("1", LAN, vec![from("10.1.0.7")])),
        InputEnd::NoRoute(22),
        "that is its own source"
    );
    // the mark counts with src_valid_mark alone
    let marked = PolicyRule {
        mark: Some(7),
        ..rule(40, "nop", 0)
    };
    let hidden = PolicyRule {
        dst: Some(("10.1.0.0".parse().unwrap(), 16)),
        ..rule(41, "blackhole", 0)
    };
    let skip = PolicyRule {
        goto: Some(32766),
        action: "goto".to_owned(),
        ..marked
    };
    let mut net = filtered("1", LAN, vec![skip, hidden]);
    net.query.mark = Some(7);
    assert_eq!(end(&net), refused);
    net.sysctl("net/ipv4/conf/all/src_valid_mark", "1");
    assert_eq!(end(&net), InputEnd::Forward);
    // `iif` is where the packet would go out
    let out = PolicyRule {
        iif: Some("eth3".to_owned()),
        ..rule(40, "blackhole", 0)
    };
    assert_eq!(end(&filtered("1", LAN, vec![out])), refused);
    let mut off = filtered("1", LAN, vec![]);
    off.sysctl("net/ipv4/conf/eth2/forwarding", "0");
    assert_eq!(end(&off), InputEnd::NotForwarding);
}

#[test]
fn a_difference_from_what_the_kernel_said_is_told() {
    let net = filtered("0", LAN, vec![]);
    let told = |result| RouteAnswer {
        netns: NETNS,
        tuple: net.query.tuple,
        iif: LAN.0,
        with: Selectors::default(),
        result,
    };
    let by = |oif| Route {
        kind: "unicast".to_owned(),
        oif: Some(oif),
        gateway: None,
        source: None,
        table: RT_TABLE_MAIN,
        mtu: None,
        learned: false,
    };
    assert_eq!(compare(&net.host, &told(Ok(by(WAN.0)))), Comparison::Agrees);
    let differs = |kernel: &str| Comparison::Differs {
        kernel: kernel.to_owned(),
        facts: "unicast dev eth3 table main".to_owned(),
    };
    assert_eq!(
        compare(&net.host, &told(Ok(by(LAN.0)))),
        differs("unicast dev eth2 table main")
    );
    let redirected = Route {
        learned: true,
        ..by(LAN.0)
    };
    assert!(matches!(
        compare(&net.host, &told(Ok(redirected))),
        Comparison::Undecided(_)
    ));
    assert_eq!(
        compare(&net.host, &told(Err(113))),
        differs("host unreachable (EHOSTUNREACH)")
    );
}

#[test]
fn a_route_is_written_with_all_that_makes_it() {
    let net = filtered("0", LAN, vec![]);
    let spec = |route: &TableRoute| route_spec(&net.host, NETNS, route);
    let plain = via(route("unicast", "10.8.0.0/16", 120), "10.53.0.9", WAN);
    let full = TableRoute {
        protocol: 4,
        metric: 50,
        source: Some("10.53.0.1".parse().unwrap()),
        metrics: vec![(1, 1 << 2), (2, 1400)],
        flags: NextHop::ONLINK,
        ..plain.clone()
    };
    assert_eq!(
        spec(&full).unwrap(),
        "10.8.0.0/16 via 10.53.0.9 dev eth3 onlink table 120 proto static src 10.53.0.1 metric 50 mtu lock 1400"
    );
    let by_object = TableRoute {
        nexthop: Some(7),
        kind: "blackhole".to_owned(),
        ..plain.clone()
    };
    assert_eq!(spec(&by_object).unwrap(), "10.8.0.0/16 nhid 7 table 120");
    let hop = |oif: IfIndex, weight| NextHop {
        oif: Some(oif.0),
        weight,
        ..NextHop::default()
    };
    let several = TableRoute {
        gateway: None,
        oif: None,
        paths: vec![hop(LAN, 1), hop(WAN, 5)],
        ..plain.clone()
    };
    assert_eq!(
        spec(&several).unwrap(),
        "10.8.0.0/16 table 120 nexthop dev eth2 weight 1 nexthop dev eth3 weight 5"
    );
    let strange = TableRoute {
        unknown: vec![22],
        ..plain
    };
    assert_eq!(spec(&strange), None, "an encapsulation would be lost");
}
