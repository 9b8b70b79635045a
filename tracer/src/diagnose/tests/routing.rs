//! Who refused a packet, and neighbours that may not answer: settings read beside the loss.

use std::net::IpAddr;

use super::fixture::{Net, device, dropped, echo, mac, ports};
use crate::host::facts::{
    Fact, InterfaceAddress, PolicyRule, Question, Route, RouteAnswer, Selectors, TableRoute,
};
use crate::model::{Detail, Device, Direction, FibEvent, NetNs, Proto, Tuple};
use crate::verdict::{Confidence, Outcome, Verdict};

const CLIENT: u32 = 1;
const ROUTER: u32 = 2;
const EAST: u32 = 3;

/// client/eth0 10.1.0.2 - router/west 10.1.0.1, router/east 10.2.0.1 - server/eth0 10.2.0.2.
fn routed() -> Net {
    let mut net = Net::with(&["client", "router", "server"]);
    for (at, name, peer) in [
        (device(CLIENT, 2), "eth0", device(ROUTER, 2)),
        (device(ROUTER, 2), "west", device(CLIENT, 2)),
        (device(ROUTER, 3), "east", device(EAST, 2)),
        (device(EAST, 2), "eth0", device(ROUTER, 3)),
    ] {
        net.link(at, name, |l| l.peer = Some(peer));
    }
    net.address(device(CLIENT, 2), "10.1.0.2", 24);
    net.address(device(ROUTER, 2), "10.1.0.1", 24);
    net.address(device(ROUTER, 3), "10.2.0.1", 24);
    net.address(device(EAST, 2), "10.2.0.2", 24);
    net
}

fn commands(verdict: &Verdict) -> String {
    let all: Vec<_> = verdict
        .advice
        .iter()
        .filter_map(|a| a.command.clone())
        .collect();
    all.join("\n")
}

fn refused(net: &mut Net, reason: &str, error: u32) {
    let flow = net.flow(echo("10.1.0.2", "10.2.0.2"));
    let mut info = dropped(reason, "ip_error", "");
    info.dst_error = Some(error);
    net.packet(flow, Direction::Forward)
        .leaves(device(CLIENT, 2))
        .enters(device(ROUTER, 2))
        .dies(Some(device(ROUTER, 2)), info);
}

fn lookup(priority: u32, table: u32) -> PolicyRule {
    PolicyRule {
        priority,
        action: "lookup".to_owned(),
        table,
        mark_mask: u32::MAX,
        ..PolicyRule::default()
    }
}

fn rules(net: &mut Net, ns: u32, action: &str) {
    let refusing = PolicyRule {
        priority: 90,
        action: action.to_owned(),
        src: "10.1.0.0".parse().ok().map(|a| (a, 24)),
        mark_mask: u32::MAX,
        ..PolicyRule::default()
    };
    net.fact(Fact::Rules(
        NetNs(ns),
        false,
        vec![lookup(0, 255), refusing, lookup(32766, 254)],
    ));
}

fn towards(net: &mut Net, ns: u32, kind: &str) {
    let Ok(prefix) = "10.2.0.0".parse() else {
        return;
    };
    let route = TableRoute {
        oif: Some(3),
        ..TableRoute::new(kind, 254, prefix, 24)
    };
    if let Ok(dst) = "10.2.0.2".parse() {
        net.fact(Fact::RoutesTowards(NetNs(ns), dst, vec![route]));
    }
}

fn answer(net: &mut Net, ns: u32, dst: &str, result: Result<u32, u32>) {
    let result = result.map(|oif| Route {
        kind: "unicast".to_owned(),
        oif: Some(oif),
        gateway: None,
        source: None,
        table: 254,
        mtu: None,
        learned: false,
    });
    net.fact(Fact::Route(RouteAnswer {
        netns: NetNs(ns),
        tuple: echo("10.1.0.1", dst),
        iif: 0,
        with: Selectors::default(),
        result,
    }));
}

#[test]
fn a_rule_that_refuses_is_named_with_its_command() {
    for (action, reason, error, cause) in [
        ("unreachable", "IP_INNOROUTES", 101, "route.unreachable"),
        ("blackhole", "NOT_SPECIFIED", 22, "route.blackhole"),
        ("prohibit", "NOT_SPECIFIED", 13, "route.prohibit"),
    ] {
        let mut net = routed();
        refused(&mut net, reason, error);
        let asked = net.questions();
        assert!(asked.contains(&Question::Rules {
            netns: NetNs(ROUTER),
            v6: false
        }));
        rules(&mut net, ROUTER, action);
        towards(&mut net, ROUTER, "unicast");
        let verdict = net.verdict();
        assert_eq!(verdict.cause.as_deref(), Some(cause), "{action}");
        let command = format!("ip rule del pref 90 from 10.1.0.0/24 {action}");
        assert!(commands(&verdict).contains(&command), "{verdict:?}");
    }
}

#[test]
fn a_rule_that_does_not_fit_what_the_kernel_said_is_not_named() {
    let mut net = routed();
    refused(&mut net, "NOT_SPECIFIED", 22);
    rules(&mut net, ROUTER, "prohibit");
    towards(&mut net, ROUTER, "unicast");
    let verdict = net.verdict();
    assert_eq!(verdict.cause.as_deref(), Some("route.blackhole"));
    assert!(!commands(&verdict).contains("pref 90"));
}

#[test]
fn a_lookup_that_only_the_local_table_saw_was_ended_by_a_rule() {
    for (table, cause) in [(255, "route.unreachable"), (254, "route.none")] {
        let mut net = routed();
        let looked_up = FibEvent {
            table,
            error: 11,
            iif: 2,
            oif: 0,
            local: false,
        };
        let tuple = Some(echo("10.1.0.2", "10.2.0.2"));
        net.wait(9);
        refused(&mut net, "IP_INNOROUTES", 101);
        let mut event = net.event(None, tuple, Detail::Fib(looked_up));
        let died = net
            .trace
            .journeys
            .values()
            .filter_map(|j| j.steps.last())
            .map(|s| s.event.at)
            .next_back();
        event.at = died.unwrap_or_default();
        net.trace.beside.push(event);
        assert_eq!(net.verdict().cause.as_deref(), Some(cause), "table {table}");
    }
}

#[test]
fn a_missing_route_to_what_a_neighbouring_namespace_owns_can_be_typed() {
    let mut net = routed();
    refused(&mut net, "IP_INNOROUTES", 101);
    let verdict = net.verdict();
    assert_eq!(verdict.cause.as_deref(), Some("route.none"));
    assert!(
        commands(&verdict).contains("ip netns exec router ip route add 10.2.0.0/24 dev east"),
        "{}",
        commands(&verdict)
    );
}

/// A blackhole for 10.2.0.0/24, and a default route back to where packets come from.
fn last_resort(net: &mut Net) {
    let parsed = |text: &str| text.parse::<IpAddr>().ok();
    let (Some(any), Some(prefix), Some(dst)) =
        (parsed("0.0.0.0"), parsed("10.2.0.0"), parsed("10.2.0.2"))
    else {
        return;
    };
    let default = TableRoute {
        oif: Some(2),
        gateway: parsed("10.1.0.9"),
        ..TableRoute::new("unicast", 254, any, 0)
    };
    let blackhole = TableRoute::new("blackhole", 254, prefix, 24);
    net.fact(Fact::Rules(
        NetNs(ROUTER),
        false,
        vec![lookup(0, 255), lookup(32766, 254)],
    ));
    net.fact(Fact::RoutesTowards(
        NetNs(ROUTER),
        dst,
        vec![blackhole, default],
    ));
}

#[test]
fn a_route_of_last_resort_is_not_deleted_where_the_owners_own_is_missing() {
    let mut net = routed();
    refused(&mut net, "NOT_SPECIFIED", 22);
    last_resort(&mut net);
    let verdict = net.verdict();
    assert_eq!(verdict.cause.as_deref(), Some("route.blackhole"));
    let typed = commands(&verdict);
    assert!(
        typed.contains("ip netns exec router ip route add 10.2.0.2 dev east"),
        "{typed}"
    );
    assert!(!typed.contains("route del blackhole"), "{typed}");
}

#[test]
fn a_refusing_route_is_not_deleted_where_packets_would_go_back() {
    let mut net = routed();
    net.address(device(EAST, 2), "10.2.0.77", 24);
    refused(&mut net, "NOT_SPECIFIED", 22);
    last_resort(&mut net);
    let verdict = net.verdict();
    let typed = commands(&verdict);
    assert!(!typed.contains("route del blackhole"), "{typed}");
    assert!(
        verdict
            .advice
            .iter()
            .any(|a| a.text.contains("back by west")),
        "{verdict:?}"
    );
}

fn sender_looks_up(net: &mut Net, table: u32, error: u32) {
    let lookup = FibEvent {
        table,
        error,
        iif: 1,
        oif: 2,
        local: true,
    };
    let tuple = ports(Proto::Tcp, "10.1.0.2", 0, "10.2.0.2", 80);
    let mut event = net.event(None, Some(tuple), Detail::Fib(lookup));
    event.netns = Some(NetNs(CLIENT));
    net.trace.beside.push(event);
}

#[test]
fn a_rule_of_the_sender_ends_its_lookup_after_the_local_table() {
    let mut net = routed();
    sender_looks_up(&mut net, 255, 11);
    assert_eq!(net.verdict().outcome, Outcome::NoTraffic);
    rules(&mut net, CLIENT, "prohibit");
    towards(&mut net, CLIENT, "unicast");
    answer(&mut net, CLIENT, "10.2.0.2", Err(13));
    let verdict = net.verdict();
    assert_eq!(
        (verdict.outcome, verdict.cause.as_deref()),
        (Outcome::NotSent, Some("route.prohibit"))
    );
}

/// The client sends to 10.2.0.2 and waits for its gateway's MAC; no packet was seen.
fn waits_for_the_gateway() -> Net {
    let mut net = routed();
    sender_looks_up(&mut net, 254, 0);
    net.neighbor(device(CLIENT, 2), "10.1.0.1", 0x01);
    net
}

fn at(verdict: &Verdict) -> Option<(&str, Option<&str>, Option<&str>)> {
    let place = verdict.place.as_ref()?;
    Some((
        place.namespace.as_deref()?,
        place.interface.as_deref(),
        place.hook.as_deref(),
    ))
}

#[test]
fn a_gateway_without_an_answer_is_told_before_the_kernel_gives_up() {
    let mut net = waits_for_the_gateway();
    let verdict = net.verdict();
    assert_eq!(verdict.cause.as_deref(), Some("neighbor.unresolved"));
    assert_eq!(verdict.confidence, Confidence::Likely);
    assert_eq!(
        at(&verdict),
        Some(("client", Some("eth0"), Some("neighbor")))
    );
}

#[test]
fn a_neighbour_of_another_namespace_is_not_the_traces() {
    let mut net = routed();
    sender_looks_up(&mut net, 254, 0);
    net.neighbor(device(EAST, 2), "10.2.0.1", 0x01);
    assert_eq!(net.verdict().outcome, Outcome::NoTraffic);
    assert!(
        !net.questions()
            .iter()
            .any(|q| matches!(q, Question::Sysctl { name, .. } if name.contains("/conf/")))
    );
}

#[test]
fn a_reverse_path_filter_refuses_the_question_first() {
    for (mode, back, cause) in [
        ("1", Ok(3), "route.rp-filter"),
        ("1", Ok(2), "neighbor.unresolved"),
        ("2", Ok(3), "neighbor.unresolved"),
        ("2", Err(101), "route.rp-filter"),
        ("0", Err(101), "neighbor.unresolved"),
    ] {
        let mut net = waits_for_the_gateway();
        assert!(net.questions().contains(&Question::Sysctl {
            netns: NetNs(ROUTER),
            name: "net/ipv4/conf/west/rp_filter".to_owned()
        }));
        net.sysctl(ROUTER, "net/ipv4/conf/all/rp_filter", "0");
        net.sysctl(ROUTER, "net/ipv4/conf/west/rp_filter", mode);
        answer(&mut net, ROUTER, "10.1.0.2", back);
        let verdict = net.verdict();
        assert_eq!(verdict.cause.as_deref(), Some(cause), "{mode} {back:?}");
        if cause == "route.rp-filter" {
            assert_eq!(at(&verdict), Some(("router", Some("west"), Some("route"))));
            assert!(commands(&verdict).contains("sysctl -w net.ipv4.conf.west.rp_filter="));
        }
    }
}

#[test]
fn a_route_to_the_asker_alone_is_replaced_and_put_back() {
    let mut net = waits_for_the_gateway();
    net.sysctl(ROUTER, "net/ipv4/conf/all/rp_filter", "0");
    net.sysctl(ROUTER, "net/ipv4/conf/west/rp_filter", "1");
    answer(&mut net, ROUTER, "10.1.0.2", Ok(3));
    let asked = net.questions();
    let back = Question::RoutesTowards {
        netns: NetNs(ROUTER),
        dst: ip("10.1.0.2"),
    };
    assert!(asked.contains(&back), "{asked:?}");
    let typed = commands(&net.verdict());
    assert!(typed.contains("ip route add 10.1.0.2 dev west"), "{typed}");
    let elsewhere = TableRoute {
        gateway: Some(ip("10.2.0.2")),
        oif: Some(3),
        ..TableRoute::new("unicast", 254, ip("10.1.0.2"), 32)
    };
    net.fact(Fact::RoutesTowards(
        NetNs(ROUTER),
        ip("10.1.0.2"),
        vec![elsewhere],
    ));
    let typed = commands(&net.verdict());
    for command in [
        "ip route replace 10.1.0.2 dev west",
        "ip route replace 10.1.0.2 via 10.2.0.2 dev east",
    ] {
        assert!(typed.contains(command), "{typed}");
    }
}

#[test]
fn an_asker_with_the_gateways_own_address_gets_no_answer() {
    let mut net = waits_for_the_gateway();
    net.address(device(ROUTER, 3), "10.1.0.2", 32);
    let verdict = net.verdict();
    assert_eq!(verdict.cause.as_deref(), Some("route.martian"));
    assert_eq!(at(&verdict), Some(("router", Some("west"), Some("route"))));
    assert!(
        commands(&verdict).contains("ip netns exec client ip addr del 10.1.0.2/24 dev eth0"),
        "{}",
        commands(&verdict)
    );
}

#[test]
fn arp_ignore_silences_what_is_not_on_the_interface() {
    for (value, elsewhere, cause) in [
        ("8", false, "socket.silent"),
        ("1", false, "neighbor.unresolved"),
        ("1", true, "socket.silent"),
        ("0", true, "neighbor.unresolved"),
    ] {
        let mut net = waits_for_the_gateway();
        if elsewhere {
            net.address(device(ROUTER, 2), "10.1.0.9", 24);
            net.address(device(ROUTER, 3), "10.1.0.1", 32);
        }
        net.sysctl(ROUTER, "net/ipv4/conf/all/arp_ignore", "0");
        net.sysctl(ROUTER, "net/ipv4/conf/west/arp_ignore", value);
        for key in ["rp_filter", "arp_filter"] {
            for interface in ["all", "west"] {
                net.sysctl(ROUTER, &format!("net/ipv4/conf/{interface}/{key}"), "0");
            }
        }
        let verdict = net.verdict();
        assert_eq!(verdict.cause.as_deref(), Some(cause), "{value} {elsewhere}");
        if cause == "socket.silent" {
            assert_eq!(
                at(&verdict),
                Some(("router", Some("west"), Some("neighbor")))
            );
            assert!(commands(&verdict).contains("sysctl -w net.ipv4.conf.west.arp_ignore=0"));
        }
    }
}

/// The client asks for fd00::1 on its cable and gets no answer.
fn waits_for_ipv6() -> Net {
    let mut net = routed();
    let lookup = FibEvent {
        table: 254,
        error: 0,
        iif: 1,
        oif: 2,
        local: true,
    };
    let mut event = net.event(None, Some(echo("fd00::2", "fd00::1")), Detail::Fib(lookup));
    event.netns = Some(NetNs(CLIENT));
    net.trace.beside.push(event);
    net.neighbor(device(CLIENT, 2), "fd00::1", 0x01);
    net
}

fn owned(net: &mut Net, at: Device, tentative: bool, dad_failed: bool) {
    if let Ok(address) = "fd00::1".parse() {
        net.fact(Fact::Addresses(
            at,
            vec![InterfaceAddress {
                address,
                prefix: 64,
                tentative,
                dad_failed,
                deprecated: false,
                secondary: false,
                scope: 0,
            }],
        ));
    }
}

#[test]
fn an_address_under_detection_or_found_twice_does_not_answer() {
    for (tentative, failed, cause, word) in [
        (true, false, "address.not-ready", "tentative"),
        (true, true, "address.not-ready", "dadfailed"),
        (false, false, "neighbor.unresolved", "ND miss"),
    ] {
        let mut net = waits_for_ipv6();
        owned(&mut net, device(ROUTER, 2), tentative, failed);
        let verdict = net.verdict();
        assert_eq!(verdict.cause.as_deref(), Some(cause));
        assert!(verdict.summary.contains(word), "{}", verdict.summary);
    }
}

#[test]
fn ipv6_turned_off_at_the_other_end_of_the_cable() {
    let mut net = waits_for_ipv6();
    let name = "net/ipv6/conf/west/disable_ipv6";
    assert!(net.questions().contains(&Question::Sysctl {
        netns: NetNs(ROUTER),
        name: name.to_owned()
    }));
    net.sysctl(ROUTER, name, "0");
    assert_eq!(net.verdict().cause.as_deref(), Some("neighbor.unresolved"));
    net.sysctl(ROUTER, name, "1");
    let verdict = net.verdict();
    assert_eq!(verdict.cause.as_deref(), Some("address.not-ready"));
    assert_eq!(at(&verdict), Some(("router", Some("west"), Some("device"))));
    net.address(device(CLIENT, 2), "fd00::2", 64);
    let mut commands = net.verdict().advice.into_iter().filter_map(|a| a.command);
    let given_back = "addr add fd00::1/64 dev west";
    assert!(commands.any(|c| c.contains("disable_ipv6=0\n") && c.contains(given_back)));
}

#[test]
fn a_packet_that_came_to_the_wrong_one_of_two_with_its_address() {
    let bridge = device(4, 9);
    let port = |n| device(4, n);
    for (shared, cause) in [(true, "neighbor.duplicate-address"), (false, "socket.none")] {
        let mut net = Net::with(&["asker", "meant", "wrong", "host"]);
        net.link(bridge, "br0", |l| l.kind = "bridge".to_owned());
        for ns in 1..4 {
            let master = if shared || ns != 2 { 9 } else { 8 };
            net.link(device(ns, 2), "eth0", |l| l.peer = Some(port(ns)));
            net.link(port(ns), "tap", |l| {
                l.peer = Some(device(ns, 2));
                l.master = Some(master);
            });
        }
        net.address(device(1, 2), "10.5.0.10", 24);
        net.address(device(2, 2), "10.5.0.11", 24);
        net.address(device(3, 2), "10.5.0.11", 24);
        let tuple: Tuple = ports(Proto::Udp, "10.5.0.10", 4000, "10.5.0.11", 9000);
        let flow = net.flow(tuple);
        net.packet(flow, Direction::Forward)
            .leaves(device(1, 2))
            .enters(device(3, 2))
            .dies(
                Some(device(3, 2)),
                dropped("NO_SOCKET", "__udp4_lib_rcv", "ip_protocol_deliver_rcu"),
            );
        let verdict = net.verdict();
        assert_eq!(verdict.cause.as_deref(), Some(cause));
        if shared {
            assert_eq!(
                at(&verdict),
                Some(("wrong", Some("eth0"), Some("neighbor")))
            );
            assert!(commands(&verdict).contains("ip addr del 10.5.0.11/24 dev eth0"));
        }
    }
}

#[test]
fn packets_for_many_that_nobody_wants() {
    for (tuple, reason, function, cause, word) in [
        (
            ports(Proto::Udp, "10.1.0.2", 4000, "239.1.1.1", 5004),
            "NOT_SPECIFIED",
            "ip_rcv_finish_core",
            "multicast.no-member",
            "ip maddr show dev west",
        ),
        (
            ports(Proto::Udp, "fd00::2", 4000, "ff15::7", 5004),
            "NOT_SPECIFIED",
            "ip6_mc_input",
            "multicast.no-member",
            "ip -6 mroute",
        ),
        (
            ports(Proto::Udp, "10.1.0.2", 4000, "10.1.0.255", 5004),
            "NOT_SPECIFIED",
            "__udp4_lib_rcv",
            "socket.none",
            "ss -lunp sport = :5004",
        ),
        (
            ports(Proto::Udp, "10.1.0.2", 4000, "10.2.0.255", 5004),
            "NOT_SPECIFIED",
            "__udp4_lib_rcv",
            "socket.none",
            "net.ipv4.conf.west.bc_forwarding",
        ),
        (
            echo("10.1.0.2", "10.1.0.255"),
            "INVALID_PROTO",
            "icmp_rcv",
            "socket.silent",
            "net.ipv4.icmp_echo_ignore_broadcasts",
        ),
        (
            ports(Proto::Udp, "10.1.0.2", 4000, "10.1.0.1", 5004),
            "NOT_SPECIFIED",
            "__udp4_lib_rcv",
            "kernel.other",
            "",
        ),
    ] {
        let mut net = routed();
        let flow = net.flow(tuple);
        net.packet(flow, Direction::Forward)
            .leaves(device(CLIENT, 2))
            .enters(device(ROUTER, 2))
            .dies(Some(device(ROUTER, 2)), dropped(reason, function, ""));
        let verdict = net.verdict();
        assert_eq!(verdict.cause.as_deref(), Some(cause), "{function} {tuple}");
        assert!(commands(&verdict).contains(word), "{}", commands(&verdict));
    }
}

/// left/eth0, which has 10.8.1.2 with `prefix`, is on one link with right/eth0, which has 10.8.1.1/24. A packet for `dst` died
/// waiting for the neighbour `next`, by these routes.
fn waits_on_the_link(prefix: u8, dst: &str, next: &str, routes: Vec<TableRoute>) -> Net {
    let mut net = Net::with(&["left", "right"]);
    let (left, right) = (device(1, 2), device(2, 2));
    net.link(left, "eth0", |l| l.peer = Some(right));
    net.link(right, "eth0", |l| l.peer = Some(left));
    net.address(left, "10.8.1.2", prefix);
    net.address(right, "10.8.1.1", 24);
    net.fact(Fact::RoutesTowards(NetNs(1), ip(dst), routes));
    net.fact(Fact::Rules(
        NetNs(1),
        false,
        vec![lookup(0, 255), lookup(32766, 254)],
    ));
    let flow = net.flow(echo("10.8.1.2", dst));
    net.neighbor(left, next, 0x20);
    net.packet(flow, Direction::Forward).dies(
        Some(left),
        dropped("NEIGH_FAILED", "neigh_invalidate", "neigh_timer_handler"),
    );
    net
}

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap_or(IpAddr::from([0; 4]))
}

fn through_eth0(prefix: &str, length: u8, gateway: Option<&str>) -> TableRoute {
    TableRoute {
        oif: Some(2),
        gateway: gateway.map(ip),
        ..TableRoute::new("unicast", 254, ip(prefix), length)
    }
}

#[test]
fn another_gateway_is_named_only_where_the_whole_link_is_known() {
    for (whole, leads_on, named) in [
        (true, true, true),
        (false, true, false),
        // it would give it back to the gateway that is gone
        (true, false, false),
    ] {
        let default = through_eth0("0.0.0.0", 0, Some("10.8.1.9"));
        let mut net = waits_on_the_link(24, "10.9.0.5", "10.8.1.9", vec![default]);
        net.sysctl(2, "net/ipv4/conf/eth0/forwarding", "1");
        plain_rules(&mut net, 2);
        let onwards = match leads_on {
            true => TableRoute {
                oif: Some(3),
                ..through_eth0("0.0.0.0", 0, Some("10.3.0.1"))
            },
            false => through_eth0("0.0.0.0", 0, Some("10.8.1.9")),
        };
        net.fact(Fact::RoutesTowards(NetNs(2), ip("10.9.0.5"), vec![onwards]));
        if !whole {
            // what such a device lets in is not modelled
            net.link(device(2, 9), "mv0", |l| {
                l.kind = "macvlan".to_owned();
                l.macvlan = Some("source".to_owned());
                l.peer = Some(device(2, 2));
            });
        }
        let verdict = net.verdict();
        let all = commands(&verdict);
        assert_eq!(verdict.cause.as_deref(), Some("neighbor.unresolved"));
        let change = "ip netns exec left ip route replace default via 10.8.1.1 dev eth0";
        assert_eq!(all.contains(change), named, "{all}");
    }
}

#[test]
fn a_prefix_length_that_the_other_end_does_not_share_is_corrected() {
    let routes = vec![
        through_eth0("10.0.0.0", 8, None),
        through_eth0("0.0.0.0", 0, Some("10.8.1.1")),
    ];
    let verdict = waits_on_the_link(8, "10.9.0.5", "10.9.0.5", routes).verdict();
    assert_eq!(verdict.cause.as_deref(), Some("neighbor.unresolved"));
    assert!(
        verdict.summary.contains("10.8.1.2/8, where 10.8.1.1/24"),
        "{}",
        verdict.summary
    );
    let all = commands(&verdict);
    assert!(all.contains("ip addr add 10.8.1.2/24 dev eth0"), "{all}");
    assert!(all.contains("ip addr del 10.8.1.2/8 dev eth0"), "{all}");
}

fn plain_rules(net: &mut Net, ns: u32) {
    let plain = vec![lookup(0, 255), lookup(32766, 254)];
    net.fact(Fact::Rules(NetNs(ns), false, plain));
}

#[test]
fn the_only_machine_that_forwards_and_has_a_way_is_the_gateway() {
    for (forwarding, way, back, others, printed) in [
        ("1", true, Some(2), false, true),
        ("0", true, Some(2), false, false),
        ("1", false, Some(2), false, false),
        // answers would go another way, or it is not known which
        ("1", true, Some(4), false, false),
        ("1", true, None, false, false),
        ("1", true, Some(2), true, false),
    ] {
        let mut net = routed();
        if others {
            net.link(device(CLIENT, 3), "wan0", |_| ());
            net.address(device(CLIENT, 3), "10.3.0.2", 24);
        }
        sender_looks_up(&mut net, 254, 101);
        answer(&mut net, CLIENT, "10.2.0.2", Err(101));
        let name = "net/ipv4/conf/west/forwarding";
        assert!(net.questions().contains(&Question::Sysctl {
            netns: NetNs(ROUTER),
            name: name.to_owned()
        }));
        net.sysctl(ROUTER, name, forwarding);
        plain_rules(&mut net, ROUTER);
        if way {
            towards(&mut net, ROUTER, "unicast");
        }
        if let Some(back) = back {
            let dst = ip("10.1.0.2");
            let asks = net.questions().contains(&Question::RoutesTowards {
                netns: NetNs(ROUTER),
                dst,
            });
            assert_eq!(asks, forwarding == "1" && way);
            let route = TableRoute {
                oif: Some(back),
                ..TableRoute::new("unicast", 254, ip("10.1.0.0"), 24)
            };
            net.fact(Fact::RoutesTowards(NetNs(ROUTER), dst, vec![route]));
        }
        let typed = commands(&net.verdict());
        for act in ["add", "del"] {
            let command =
                format!("ip netns exec client ip route {act} 10.2.0.2 via 10.1.0.1 dev eth0");
            assert_eq!(
                typed.contains(&command),
                printed,
                "{forwarding} {way}: {typed}"
            );
        }
    }
}

#[test]
fn the_route_of_a_loop_without_which_the_packet_leaves_it_is_deleted() {
    for (target, printed) in [(true, true), (false, false)] {
        let mut net = Net::with(&["home", "east", "west", "target"]);
        let (h0, e_home, e_west) = (device(1, 2), device(2, 2), device(2, 3));
        let (w_east, w_target, t0) = (device(3, 2), device(3, 3), device(4, 2));
        for (at, name, peer) in [
            (h0, "h0", e_home),
            (e_home, "e-home", h0),
            (e_west, "e-west", w_east),
            (w_east, "w-east", e_west),
            (w_target, "w-target", t0),
            (t0, "t0", w_target),
        ] {
            net.link(at, name, |l| l.peer = Some(peer));
        }
        net.address(e_west, "10.67.0.1", 24);
        net.address(w_east, "10.67.0.2", 24);
        net.address(w_target, "10.68.0.1", 24);
        if target {
            net.address(t0, "10.68.0.2", 24);
        }
        let flow = net.flow(echo("10.66.0.2", "10.68.0.2"));
        net.packet(flow, Direction::Forward)
            .leaves(h0)
            .enters(e_home)
            .leaves(e_west)
            .enters(w_east)
            .leaves(w_east)
            .enters(e_west)
            .leaves(e_west)
            .enters(w_east)
            .leaves(w_east)
            .enters(e_west)
            .dies(Some(e_west), dropped("IP_INHDR", "ip_forward", ""));
        for netns in [NetNs(2), NetNs(3)] {
            let dst = ip("10.68.0.2");
            assert!(
                net.questions()
                    .contains(&Question::RoutesTowards { netns, dst })
            );
            plain_rules(&mut net, netns.0);
        }
        let route = |prefix: &str, length, gateway: Option<&str>, oif| TableRoute {
            gateway: gateway.map(ip),
            oif: Some(oif),
            ..TableRoute::new("unicast", 254, ip(prefix), length)
        };
        let of_east = vec![route("10.68.0.0", 24, Some("10.67.0.2"), 3)];
        let of_west = vec![
            route("10.68.0.2", 32, Some("10.67.0.1"), 2),
            route("10.68.0.0", 24, None, 3),
        ];
        net.fact(Fact::RoutesTowards(NetNs(2), ip("10.68.0.2"), of_east));
        net.fact(Fact::RoutesTowards(NetNs(3), ip("10.68.0.2"), of_west));
        let typed = commands(&net.verdict());
        for act in ["del", "add"] {
            let command =
                format!("ip netns exec west ip route {act} 10.68.0.2 via 10.67.0.1 dev w-east");
            assert_eq!(typed.contains(&command), printed, "{typed}");
        }
        assert!(!typed.contains("east ip route del"), "{typed}");
    }
}

#[test]
fn the_route_that_went_at_the_other_end_is_asked_for_where_nobody_can_be_asked() {
    let mut net = routed();
    net.link(device(ROUTER, 3), "east", |l| {
        l.peer = Some(device(EAST, 2));
        l.carrier = false;
    });
    net.link(device(EAST, 2), "eth0", |l| {
        l.peer = Some(device(ROUTER, 3));
        (l.up, l.carrier) = (false, false);
    });
    let flow = net.flow(echo("10.1.0.2", "10.2.0.2"));
    net.packet(flow, Direction::Forward)
        .leaves(device(CLIENT, 2))
        .enters(device(ROUTER, 2))
        .vanishes();
    net.neighbor(device(ROUTER, 3), "10.2.0.2", 0x01);
    net.wait(400);
    let dst = ip("10.1.0.2");
    let asked = net.questions();
    let back = Question::RoutesTowards {
        netns: NetNs(EAST),
        dst,
    };
    assert!(asked.contains(&back), "{asked:?}");
    net.fact(Fact::RoutesTowards(NetNs(EAST), dst, Vec::new()));
    let verdict = net.verdict();
    assert_eq!(verdict.cause.as_deref(), Some("link.down"));
    let typed = commands(&verdict);
    for command in [
        "ip netns exec server ip link set dev eth0 up",
        "ip netns exec server ip route add default via 10.2.0.1 dev eth0",
    ] {
        assert!(typed.contains(command), "{typed}");
    }
}

/// A client whose kernel says that it learned another next hop than its routes name.
fn is_redirected(learned: bool, answers: bool) -> Verdict {
    let mut net = Net::with(&["client", "router", "server"]);
    net.link(device(CLIENT, 2), "eth0", |_| {});
    net.address(device(CLIENT, 2), "10.1.0.2", 24);
    let asked = echo("10.1.0.2", "10.2.0.2");
    let main = TableRoute {
        gateway: "10.1.0.1".parse().ok(),
        oif: Some(2),
        ..TableRoute::new("unicast", 254, [0, 0, 0, 0].into(), 0)
    };
    let dst = IpAddr::from([10, 2, 0, 2]);
    net.fact(Fact::RoutesTowards(NetNs(CLIENT), dst, vec![main]));
    net.fact(Fact::Rules(NetNs(CLIENT), false, vec![lookup(32766, 254)]));
    net.fact(Fact::Route(RouteAnswer {
        netns: NetNs(CLIENT),
        tuple: asked,
        iif: 0,
        with: Selectors::default(),
        result: Ok(Route {
            kind: "unicast".to_owned(),
            oif: Some(2),
            gateway: "10.1.0.254".parse().ok(),
            source: None,
            table: 254,
            mtu: None,
            learned,
        }),
    }));
    let flow = net.flow(asked);
    net.packet(flow, Direction::Forward)
        .leaves(device(CLIENT, 2))
        .goes_away();
    if answers {
        net.packet(flow, Direction::Reply)
            .enters(device(CLIENT, 2))
            .arrives(device(CLIENT, 2));
    }
    net.wait(1000);
    net.verdict()
}

#[test]
fn a_next_hop_that_a_redirect_named_is_told_where_it_does_not_lead_on() {
    let verdict = is_redirected(true, false);
    assert_eq!(verdict.cause.as_deref(), Some("route.redirected"));
    assert!(
        verdict.summary.contains("to 10.1.0.254"),
        "{}",
        verdict.summary
    );
    assert!(commands(&verdict).contains("ip netns exec client ip route flush cache"));
    for (learned, answers) in [(true, true), (false, false)] {
        let verdict = is_redirected(learned, answers);
        assert_ne!(verdict.cause.as_deref(), Some("route.redirected"));
    }
}

/// A packet that a route took to another machine than the one behind which its destination is: `behind` has 10.1.0.1 on
/// the client's network, and 10.2.0.0/24.
fn takes_the_route(behind: u32, prefix: &str, length: u8) -> Verdict {
    let mut net = Net::with(&["client", "router", "server", "stranger"]);
    net.link(device(CLIENT, 2), "eth0", |l| {
        l.peer = Some(device(ROUTER, 2));
    });
    net.link(device(ROUTER, 2), "west", |l| {
        l.peer = Some(device(CLIENT, 2));
        l.mac = Some(mac(2));
    });
    net.link(device(4, 2), "west", |l| l.mac = Some(mac(4)));
    for ns in [ROUTER, 4] {
        net.link(device(ns, 3), "east", |_| {});
    }
    net.address(device(CLIENT, 2), "10.1.0.2", 24);
    net.address(device(behind, 2), "10.1.0.1", 24);
    net.address(device(behind, 3), "10.2.0.1", 24);
    let taken = TableRoute {
        gateway: "10.1.0.254".parse().ok(),
        oif: Some(2),
        ..TableRoute::new("unicast", 254, ip(prefix), length)
    };
    let dst = IpAddr::from([10, 2, 0, 2]);
    net.fact(Fact::RoutesTowards(NetNs(CLIENT), dst, vec![taken]));
    let flow = net.flow(echo("10.1.0.2", "10.2.0.2"));
    net.packet(flow, Direction::Forward)
        .bound_for(mac(9))
        .leaves(device(CLIENT, 2))
        .goes_away();
    net.wait(1000);
    net.verdict()
}

#[test]
fn a_missing_route_leads_to_a_machine_on_the_same_link_and_to_no_stranger() {
    let verdict = takes_the_route(ROUTER, "0.0.0.0", 0);
    assert_eq!(verdict.cause.as_deref(), Some("route.missing"));
    assert!(commands(&verdict).contains("ip route add 10.2.0.0/24 via 10.1.0.1"));
    // another network of the machine that has the same addresses
    let verdict = takes_the_route(4, "0.0.0.0", 0);
    assert_ne!(verdict.cause.as_deref(), Some("route.missing"));
}

#[test]
fn a_route_that_names_the_wrong_machine_is_corrected_for_its_network_alone() {
    let verdict = takes_the_route(ROUTER, "10.2.0.0", 24);
    assert_eq!(verdict.cause.as_deref(), Some("route.wrong-next-hop"));
    let typed = commands(&verdict);
    for command in [
        "ip route replace 10.2.0.0/24 via 10.1.0.1 dev eth0",
        "ip route replace 10.2.0.0/24 via 10.1.0.254 dev eth0",
    ] {
        assert!(typed.contains(command), "{typed}");
    }
    // others are led by a larger one too
    let verdict = takes_the_route(ROUTER, "10.0.0.0", 8);
    assert_eq!(verdict.cause.as_deref(), Some("route.wrong-next-hop"));
    let typed = commands(&verdict);
    assert!(
        typed.contains("ip route add 10.2.0.0/24 via 10.1.0.1"),
        "{typed}"
    );
    let verdict = takes_the_route(4, "10.2.0.0", 24);
    assert_ne!(verdict.cause.as_deref(), Some("route.wrong-next-hop"));
}

#[test]
fn what_is_taken_to_be_on_the_link_is_led_to_the_machine_before_it() {
    let told = |behind: u32| {
        let mut net = Net::with(&["client", "router", "server", "stranger"]);
        net.link(device(CLIENT, 2), "eth0", |l| {
            l.peer = Some(device(ROUTER, 2));
        });
        net.link(device(ROUTER, 2), "west", |l| {
            l.peer = Some(device(CLIENT, 2));
        });
        net.link(device(4, 2), "west", |_| {});
        for ns in [ROUTER, 4] {
            net.link(device(ns, 3), "east", |_| {});
        }
        net.address(device(CLIENT, 2), "10.1.0.2", 24);
        net.address(device(behind, 2), "10.1.0.1", 24);
        net.address(device(behind, 3), "10.2.0.1", 24);
        let on_link = TableRoute {
            oif: Some(2),
            ..TableRoute::new("unicast", 254, ip("10.2.0.0"), 24)
        };
        let dst = ip("10.2.0.2");
        net.fact(Fact::RoutesTowards(NetNs(CLIENT), dst, vec![on_link]));
        plain_rules(&mut net, CLIENT);
        net.neighbor(device(CLIENT, 2), "10.2.0.2", 0x20);
        let flow = net.flow(echo("10.1.0.2", "10.2.0.2"));
        net.packet(flow, Direction::Forward).dies(
            Some(device(CLIENT, 2)),
            dropped("NEIGH_FAILED", "neigh_invalidate", "neigh_timer_handler"),
        );
        net.verdict()
    };
    let typed = "ip route add 10.2.0.2 via 10.1.0.1 dev eth0";
    let verdict = told(ROUTER);
    assert_eq!(verdict.cause.as_deref(), Some("neighbor.unresolved"));
    assert!(commands(&verdict).contains(typed), "{verdict:?}");
    // another network of the machine that has the same addresses
    assert!(!commands(&told(4)).contains(typed));
}
