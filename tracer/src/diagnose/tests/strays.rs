//! Sources that do not fit the interface by which a packet leaves, and what the reverse-path filter does not look at.

use super::fixture::{Net, device, dropped, echo, ports};
use crate::host::facts::{Fact, PolicyRule, Question, Route, RouteAnswer, Selectors, TableRoute};
use crate::model::{Detail, Direction, DropInfo, NetNs, Proto, Transport};
use crate::verdict::{AdviceKind, Verdict};

const CLIENT: u32 = 1;
const ROUTER: u32 = 2;

/// client/eth0 10.1.0.2 - router/west 10.1.0.1, client/eth1 10.5.0.2 - router/south 10.5.0.1.
fn two_ways() -> Net {
    let mut net = Net::with(&["client", "router"]);
    for (at, name, peer, address) in [
        (device(CLIENT, 2), "eth0", device(ROUTER, 2), "10.1.0.2"),
        (device(CLIENT, 3), "eth1", device(ROUTER, 3), "10.5.0.2"),
        (device(ROUTER, 2), "west", device(CLIENT, 2), "10.1.0.1"),
        (device(ROUTER, 3), "south", device(CLIENT, 3), "10.5.0.1"),
    ] {
        net.link(at, name, |l| l.peer = Some(peer));
        net.address(at, address, 24);
    }
    net
}

/// A packet with the address of client/eth1 leaves through client/eth0, and is refused.
fn strays(net: &mut Net) {
    let flow = net.flow(ports(Proto::Udp, "10.5.0.2", 4000, "10.2.0.2", 53));
    net.packet(flow, Direction::Forward)
        .leaves(device(CLIENT, 2))
        .enters(device(ROUTER, 2))
        .dies(
            Some(device(ROUTER, 2)),
            dropped("IP_RPFILTER", "ip_rcv_finish_core", ""),
        );
}

/// The client would send packets of its own through this interface, with this source.
fn would_send(net: &mut Net, oif: u32, source: &str) {
    net.fact(Fact::Route(RouteAnswer {
        netns: NetNs(CLIENT),
        tuple: echo("0.0.0.0", "10.2.0.2"),
        iif: 0,
        with: Selectors::default(),
        result: Ok(Route {
            kind: "unicast".to_owned(),
            oif: Some(oif),
            gateway: None,
            source: source.parse().ok(),
            table: 254,
            mtu: None,
            learned: false,
        }),
    }));
}

fn default_through(oif: u32, gateway: &str, table: u32) -> TableRoute {
    TableRoute {
        oif: Some(oif),
        gateway: gateway.parse().ok(),
        ..TableRoute::new("unicast", table, [0, 0, 0, 0].into(), 0)
    }
}

fn towards(net: &mut Net, ns: u32, dst: &str, routes: Vec<TableRoute>) {
    if let Ok(dst) = dst.parse() {
        net.fact(Fact::RoutesTowards(NetNs(ns), dst, routes));
    }
}

fn changes(verdict: &Verdict) -> Vec<String> {
    let list = verdict.advice.iter();
    list.filter(|a| a.kind == AdviceKind::Change)
        .filter_map(|a| a.command.clone())
        .collect()
}

const MASQUERADED: &str = "ip netns exec client iptables -t nat -A POSTROUTING -s 10.5.0.2 -d 10.2.0.2 -o eth0 -j MASQUERADE";

#[test]
fn a_source_that_was_chosen_for_another_way_is_translated() {
    let mut net = two_ways();
    strays(&mut net);
    let asked = net.questions();
    for question in [
        Question::Chains {
            netns: NetNs(CLIENT),
        },
        Question::RoutesTowards {
            netns: NetNs(ROUTER),
            dst: [10, 1, 0, 2].into(),
        },
    ] {
        assert!(asked.contains(&question), "{question:?}");
    }
    would_send(&mut net, 3, "10.5.0.2");
    let verdict = net.verdict();
    assert_eq!(verdict.cause.as_deref(), Some("route.rp-filter"));
    let words = "client sends it through eth0 with the address of eth1";
    assert!(verdict.summary.contains(words), "{}", verdict.summary);
    let list = changes(&verdict);
    assert_eq!(list.first().map(String::as_str), Some(MASQUERADED));
    assert!(list.iter().any(|c| c.contains("rp_filter=2")), "{list:?}");
    assert!(!list.iter().any(|c| c.contains("route add")), "{list:?}");
}

#[test]
fn a_route_that_prefers_the_other_address_is_corrected() {
    let mut net = two_ways();
    strays(&mut net);
    would_send(&mut net, 2, "10.5.0.2");
    let preferring = TableRoute {
        source: "10.5.0.2".parse().ok(),
        ..default_through(2, "10.1.0.1", 254)
    };
    towards(&mut net, CLIENT, "10.2.0.2", vec![preferring]);
    let list = changes(&net.verdict());
    let for_one = "ip netns exec client ip route add 10.2.0.2 via 10.1.0.1 dev eth0 src 10.1.0.2";
    let corrected =
        "ip netns exec client ip route replace default via 10.1.0.1 dev eth0 src 10.1.0.2";
    assert_eq!(list.first().map(String::as_str), Some(for_one));
    assert_eq!(list.get(1).map(String::as_str), Some(corrected));
}

#[test]
fn what_binds_an_address_leaves_by_the_interface_that_has_it() {
    let mut net = two_ways();
    strays(&mut net);
    would_send(&mut net, 2, "10.1.0.2");
    let routes = vec![
        default_through(2, "10.1.0.1", 254),
        default_through(3, "10.5.0.1", 10),
    ];
    towards(&mut net, CLIENT, "10.2.0.2", routes);
    let list = changes(&net.verdict());
    let by_source = "ip netns exec client ip rule add from 10.5.0.2 lookup 10\nip netns exec client ip rule add from 10.5.0.2 lookup main suppress_prefixlength 0";
    assert_eq!(list.first().map(String::as_str), Some(by_source));
    assert_eq!(list.get(1).map(String::as_str), Some(MASQUERADED));
}

#[test]
fn an_address_of_the_machine_itself_is_no_other_interfaces() {
    let mut net = two_ways();
    net.link(device(CLIENT, 3), "svc", |l| l.kind = "dummy".to_owned());
    strays(&mut net);
    would_send(&mut net, 3, "10.5.0.2");
    let list = changes(&net.verdict());
    assert!(!list.iter().any(|c| c.contains("MASQUERADE")), "{list:?}");
    assert!(list.iter().any(|c| c.contains("ip route add 10.5.0.2")));
}

#[test]
fn the_filter_is_to_look_at_the_mark_where_that_leads_back() {
    for (mark, heeded, offered) in [(0x80, "0", true), (0x81, "0", false), (0x80, "1", false)] {
        let mut net = two_ways();
        let flow = net.flow(echo("10.9.0.9", "10.5.0.2"));
        let info = DropInfo {
            mark,
            ..dropped("IP_RPFILTER", "ip_rcv_finish_core", "")
        };
        net.packet(flow, Direction::Forward)
            .enters(device(ROUTER, 2))
            .dies(Some(device(ROUTER, 2)), info);
        let lookup = |priority: u32, table: u32, mark: Option<u32>| PolicyRule {
            priority,
            action: "lookup".to_owned(),
            table,
            mark,
            mark_mask: u32::MAX,
            ..PolicyRule::default()
        };
        net.fact(Fact::Rules(
            NetNs(ROUTER),
            false,
            vec![
                lookup(0, 255, None),
                lookup(5210, 254, Some(0x80)),
                lookup(5270, 52, None),
                lookup(32766, 254, None),
            ],
        ));
        let elsewhere = default_through(3, "10.5.0.9", 52);
        let back = default_through(2, "10.1.0.9", 254);
        towards(&mut net, ROUTER, "10.9.0.9", vec![elsewhere, back]);
        let inside = TableRoute {
            oif: Some(3),
            ..TableRoute::new("unicast", 254, [10, 5, 0, 0].into(), 24)
        };
        towards(&mut net, ROUTER, "10.5.0.2", vec![inside]);
        for interface in ["all", "west"] {
            for (key, value) in [
                ("rp_filter", "1"),
                ("src_valid_mark", heeded),
                ("accept_local", "0"),
            ] {
                net.sysctl(ROUTER, &format!("net/ipv4/conf/{interface}/{key}"), value);
            }
        }
        let list = changes(&net.verdict());
        let first = "ip netns exec router sysctl -w net.ipv4.conf.west.src_valid_mark=1";
        let is_first = list.first().map(String::as_str) == Some(first);
        assert_eq!(is_first, offered, "{mark:#x} {heeded}: {list:?}");
    }
}

#[test]
fn an_error_that_did_not_come_to_the_sender_told_it_nothing() {
    for (arrives, words) in [
        (true, "the sender was told (ICMP fragmentation needed)"),
        (false, "was last seen on router/west, and not at the sender"),
    ] {
        let mut net = two_ways();
        net.link(device(ROUTER, 4), "core", |l| l.mtu = 1380);
        let flow = net.flow(ports(Proto::Tcp, "10.1.0.2", 4000, "10.2.0.2", 80));
        let big = dropped("PKT_TOO_BIG", "ip_forward", "");
        net.packet(flow, Direction::Forward)
            .leaves(device(CLIENT, 2))
            .enters(device(ROUTER, 2))
            .icmp_sent(device(ROUTER, 2), 3, 4)
            .dies(Some(device(ROUTER, 2)), big);
        let error = Transport::Icmp {
            icmp_type: 3,
            code: 4,
            seq: 0,
            quoted: None,
            mtu: Some(1380),
        };
        let walk = net.packet(flow, Direction::Error).transport(error);
        let walk = walk.leaves(device(ROUTER, 2));
        match arrives {
            true => walk.enters(device(CLIENT, 2)).arrives(device(CLIENT, 2)),
            false => walk
                .step(Some(device(ROUTER, 2)), Detail::Egress)
                .vanishes(),
        };
        let summary = net.verdict().summary;
        assert!(summary.contains(words), "{summary}");
    }
}
