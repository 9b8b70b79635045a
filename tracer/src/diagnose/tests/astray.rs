//! Packets that routing leads elsewhere than where their destination is: policy rules before the right route, outer packets
//! of tunnels, routes that were chosen too early or from several.
#![expect(clippy::unwrap_used, reason = "a test's own mistakes may end it")]

use std::net::IpAddr;

use super::fixture::{Net, device, dropped, echo, mac, ports};
use crate::host::facts::{
    Fact, Link, Neighbor, PolicyRule, Question, Route, RouteAnswer, Selectors, TableRoute,
    VxlanLink,
};
use crate::model::{Device, Direction, NetNs, Proto, Tunnel, TunnelKind, Tuple};
use crate::verdict::Verdict;

const CLIENT: u32 = 1;
const ROUTER: u32 = 2;
const SERVER: u32 = 3;
const OTHER: u32 = 4;

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

fn commands(verdict: &Verdict) -> String {
    let all = verdict.advice.iter().filter_map(|a| a.command.clone());
    all.collect::<Vec<_>>().join("\n")
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

fn by(table: u32, prefix: &str, length: u8, gateway: Option<&str>, oif: u32) -> TableRoute {
    TableRoute {
        gateway: gateway.map(ip),
        oif: Some(oif),
        ..TableRoute::new("unicast", table, ip(prefix), length)
    }
}

fn cable(net: &mut Net, one: (Device, &str), other: (Device, &str)) {
    for ((at, name), (peer, _)) in [(one, other), (other, one)] {
        net.link(at, name, |l| {
            l.peer = Some(peer);
            l.mac = Some(mac(u8::try_from(at.netns.0 * 16 + at.ifindex.0).unwrap()));
        });
    }
}

/// client - router - server, and a provider at the router's third interface.
fn two_ways() -> Net {
    let mut net = Net::with(&["client", "router", "server", "provider"]);
    cable(
        &mut net,
        (device(CLIENT, 2), "eth0"),
        (device(ROUTER, 2), "west"),
    );
    cable(
        &mut net,
        (device(ROUTER, 3), "east"),
        (device(SERVER, 2), "eth0"),
    );
    cable(
        &mut net,
        (device(ROUTER, 4), "uplink"),
        (device(OTHER, 2), "cust"),
    );
    net.address(device(CLIENT, 2), "10.1.0.2", 24);
    net.address(device(ROUTER, 2), "10.1.0.1", 24);
    net.address(device(ROUTER, 3), "10.2.0.1", 24);
    net.address(device(ROUTER, 4), "192.0.2.2", 24);
    net.address(device(OTHER, 2), "192.0.2.1", 24);
    net
}

fn takes_the_uplink(net: &mut Net) -> Verdict {
    let flow = net.flow(echo("10.1.0.2", "10.2.0.2"));
    let mut info = dropped("IP_INNOROUTES", "ip_error", "");
    info.dst_error = Some(101);
    net.packet(flow, Direction::Forward)
        .leaves(device(CLIENT, 2))
        .enters(device(ROUTER, 2))
        .leaves(device(ROUTER, 4))
        .enters(device(OTHER, 2))
        .dies(Some(device(OTHER, 2)), info);
    let asked = net.questions();
    let (netns, dst) = (NetNs(ROUTER), ip("10.2.0.2"));
    assert!(asked.contains(&Question::RoutesTowards { netns, dst }));
    let source = PolicyRule {
        src: Some((ip("10.1.0.0"), 24)),
        ..lookup(1000, 200)
    };
    let rules = vec![lookup(0, 255), source, lookup(32766, 254)];
    net.fact(Fact::Rules(netns, false, rules));
    let routes = vec![
        by(254, "10.2.0.0", 24, None, 3),
        by(200, "0.0.0.0", 0, Some("192.0.2.1"), 4),
    ];
    net.fact(Fact::RoutesTowards(netns, dst, routes));
    net.verdict()
}

#[test]
fn a_policy_rule_that_hides_the_route_to_the_destination_gets_an_exception() {
    let mut net = two_ways();
    net.address(device(SERVER, 2), "10.2.0.2", 24);
    let verdict = takes_the_uplink(&mut net);
    assert_eq!(verdict.cause.as_deref(), Some("route.policy"));
    let place = verdict.place.as_ref().unwrap();
    assert_eq!(place.namespace.as_deref(), Some("router"));
    let typed = commands(&verdict);
    for act in ["add", "del"] {
        let command =
            format!("ip netns exec router ip rule {act} pref 990 to 10.2.0.0/24 lookup main");
        assert!(typed.contains(&command), "{typed}");
    }
    // nobody is there: the hidden route leads no better
    let verdict = takes_the_uplink(&mut two_ways());
    assert_eq!(verdict.cause.as_deref(), Some("route.none"));
}

#[test]
fn a_rule_before_the_table_local_is_told_where_the_packet_goes_round() {
    let mut net = two_ways();
    let flow = net.flow(echo("10.1.0.2", "10.1.0.1"));
    net.packet(flow, Direction::Forward)
        .leaves(device(CLIENT, 2))
        .enters(device(ROUTER, 2))
        .leaves(device(ROUTER, 4))
        .enters(device(OTHER, 2))
        .leaves(device(OTHER, 2))
        .enters(device(ROUTER, 4))
        .leaves(device(ROUTER, 4))
        .enters(device(OTHER, 2))
        .dies(
            Some(device(OTHER, 2)),
            dropped("IP_INHDR", "ip_forward", ""),
        );
    let netns = NetNs(ROUTER);
    let rules = vec![lookup(500, 90), lookup(32765, 255), lookup(32766, 254)];
    net.fact(Fact::Rules(netns, false, rules));
    let own = TableRoute {
        oif: Some(1),
        ..TableRoute::new("local", 255, ip("10.1.0.1"), 32)
    };
    let vpn = by(90, "0.0.0.0", 0, Some("192.0.2.1"), 4);
    net.fact(Fact::RoutesTowards(
        netns,
        ip("10.1.0.1"),
        vec![own, vpn.clone()],
    ));
    let back = vec![by(254, "10.1.0.0", 24, None, 2), vpn];
    net.fact(Fact::RoutesTowards(netns, ip("10.1.0.2"), back));
    let verdict = net.verdict();
    assert_eq!(verdict.cause.as_deref(), Some("route.policy"));
    let typed = commands(&verdict);
    for command in [
        "ip rule add pref 0 from all lookup local",
        "ip rule add pref 490 to 10.1.0.0/24 lookup main",
    ] {
        assert!(typed.contains(command), "{typed}");
    }
}

/// A packet of a pod in an outer packet that dies at the provider.
fn outer(net: &mut Net, reason: &str, function: &str, ttl: Option<u8>) -> Verdict {
    let tunnel = device(ROUTER, 5);
    net.link(tunnel, "vx5", |l| {
        l.kind = "vxlan".to_owned();
        l.vxlan = Some(VxlanLink {
            vni: 5,
            port: 4789,
            remote: Some(ip("198.51.100.9")),
            local: Some(ip("192.0.2.2")),
            learning: true,
            df: 0,
            proxy: false,
            external: false,
            ttl,
            no_checksum6: false,
            takes_no_checksum6: false,
        });
    });
    let around = Tunnel {
        kind: TunnelKind::Vxlan,
        id: Some(5),
        outer: Tuple {
            dport: 4789,
            ..ports(Proto::Udp, "192.0.2.2", 50_000, "198.51.100.9", 4789)
        },
    };
    let flow = net.flow(echo("10.1.0.2", "10.9.0.2"));
    let mut info = dropped(reason, function, "");
    info.dst_error = (function == "ip_error").then_some(101);
    let walk = net
        .packet(flow, Direction::Forward)
        .leaves(device(CLIENT, 2))
        .enters(device(ROUTER, 2))
        .leaves(tunnel);
    walk.with(move |e| {
        for packet in e.packet.iter_mut() {
            packet.tunnel = Some(around);
            packet.carrier_ttl = Some(1);
        }
    })
    .leaves(device(ROUTER, 4))
    .enters(device(OTHER, 2))
    .dies(Some(device(OTHER, 2)), info);
    net.verdict()
}

#[test]
fn what_dies_in_a_tunnel_is_told_by_its_outer_packet() {
    let verdict = outer(&mut two_ways(), "IP_INNOROUTES", "ip_error", None);
    assert_eq!(verdict.cause.as_deref(), Some("route.none"));
    assert!(
        verdict.summary.starts_with("no route to 198.51.100.9"),
        "{}",
        verdict.summary
    );
    assert!(!commands(&verdict).contains("10.9.0.2"));
}

#[test]
fn a_tunnel_that_sets_too_small_a_ttl_is_told_with_its_device() {
    let verdict = outer(&mut two_ways(), "IP_INHDR", "ip_forward", Some(1));
    assert_eq!(verdict.cause.as_deref(), Some("ttl.expired"));
    let typed = commands(&verdict);
    for ttl in ["64", "1"] {
        let command = format!("ip link set dev vx5 type vxlan id 5 ttl {ttl}");
        assert!(typed.contains(&command), "{typed}");
    }
    let verdict = outer(&mut two_ways(), "IP_INHDR", "ip_forward", None);
    assert!(!commands(&verdict).contains("ip link set"), "{verdict:?}");
}

/// A client with two addresses and two routers on one link: the first refuses what has the other's source.
fn two_routers(rule: bool) -> Verdict {
    let mut net = Net::with(&["client", "first", "second"]);
    cable(&mut net, (device(1, 2), "lan"), (device(2, 2), "lan"));
    net.addresses(device(1, 2), &["2001:db8:a::50", "2001:db8:b::50"], 64);
    net.address(device(2, 2), "2001:db8:a::1", 64);
    let first = net.host.link(device(2, 2)).unwrap().mac.unwrap();
    let dst = "2001:db8:9::80";
    let flow = net.flow(echo("2001:db8:b::50", dst));
    let mut info = dropped("IP_INNOROUTES", "ip6_pkt_prohibit", "");
    info.dst_error = Some(13);
    net.packet(flow, Direction::Forward)
        .bound_for(first)
        .leaves(device(1, 2))
        .enters(device(2, 2))
        .dies(Some(device(2, 2)), info);
    let netns = NetNs(1);
    let source = PolicyRule {
        src: Some((ip("2001:db8:b::"), 64)),
        ..lookup(1002, 102)
    };
    let mut rules = vec![lookup(0, 255), source, lookup(32766, 254)];
    if !rule {
        rules.remove(1);
    }
    net.fact(Fact::Rules(netns, true, rules));
    let kept = TableRoute {
        metric: 100,
        ..by(254, "::", 0, Some("2001:db8:a::1"), 2)
    };
    let meant = by(102, "::", 0, Some("2001:db8:b::1"), 2);
    net.fact(Fact::RoutesTowards(netns, ip(dst), vec![kept, meant]));
    net.sysctl(1, "net/ipv6/conf/all/forwarding", "0");
    for address in ["2001:db8:a::1", "2001:db8:b::1"] {
        net.fact(Fact::Neighbor(Neighbor {
            device: device(1, 2),
            address: ip(address),
            state: 2,
            mac: Some(if address.contains(":a:") {
                first
            } else {
                mac(9)
            }),
        }));
    }
    net.verdict()
}

#[test]
fn a_route_that_was_kept_from_before_the_source_was_chosen_is_told() {
    let verdict = two_routers(true);
    assert_eq!(verdict.cause.as_deref(), Some("route.prohibit"));
    assert!(
        verdict.summary.contains("before it had a source"),
        "{}",
        verdict.summary
    );
    let typed = commands(&verdict);
    let command =
        "ip -6 route replace default via 2001:db8:a::1 dev lan src 2001:db8:a::50 metric 100";
    assert!(typed.contains(command), "{typed}");
    let verdict = two_routers(false);
    assert!(!verdict.summary.contains("before it had a source"));
}

/// A client that sends what is for its neighbour to the router.
fn by_the_router(direct: bool) -> Verdict {
    let mut net = Net::with(&["client", "router", "neighbour", "switch"]);
    net.link(device(4, 9), "br0", |l| l.kind = "bridge".to_owned());
    for ns in [1, 2, 3] {
        cable(&mut net, (device(ns, 2), "eth0"), (device(4, ns + 1), "p"));
        let peer = net.host.link(device(4, ns + 1)).unwrap().clone();
        net.fact(Fact::Link(Link {
            master: Some(9),
            ..peer
        }));
    }
    net.address(device(1, 2), "10.1.0.2", 24);
    net.address(device(2, 2), "10.1.0.1", 24);
    net.address(device(3, 2), "10.1.0.3", 24);
    let router = net.host.link(device(2, 2)).unwrap().mac.unwrap();
    let flow = net.flow(echo("10.1.0.2", "10.1.0.3"));
    net.packet(flow, Direction::Forward)
        .bound_for(router)
        .leaves(device(1, 2))
        .enters(device(2, 2))
        .dies(
            Some(device(2, 2)),
            dropped("NETFILTER_DROP", "nft_do_chain", "nf_hook_slow<ip_forward"),
        );
    let (netns, dst) = (NetNs(1), ip("10.1.0.3"));
    assert!(
        net.questions()
            .contains(&Question::RoutesTowards { netns, dst })
    );
    let mut routes = vec![by(254, "0.0.0.0", 0, Some("10.1.0.1"), 2)];
    if direct {
        routes.insert(0, by(254, "10.1.0.0", 24, None, 2));
    }
    net.fact(Fact::RoutesTowards(netns, dst, routes));
    net.fact(Fact::Route(RouteAnswer {
        netns,
        tuple: echo("10.1.0.2", "10.1.0.3"),
        iif: 0,
        with: Selectors::default(),
        result: Ok(Route {
            kind: "unicast".to_owned(),
            oif: Some(2),
            gateway: (!direct).then(|| ip("10.1.0.1")),
            source: None,
            table: 254,
            mtu: None,
            learned: false,
        }),
    }));
    net.verdict()
}

#[test]
fn a_neighbour_that_is_reached_by_the_router_for_want_of_a_route_on_the_link() {
    let verdict = by_the_router(false);
    assert_eq!(verdict.cause.as_deref(), Some("route.off-link"));
    assert!(commands(&verdict).contains("ip route add 10.1.0.0/24 dev eth0"));
    // it has the route: what is wrong is the MAC of its entry
    let verdict = by_the_router(true);
    assert_eq!(verdict.cause.as_deref(), Some("l2.wrong-destination-mac"));
}

#[test]
fn of_two_default_routes_the_one_that_was_taken_is_named_by_its_mac() {
    let mut net = Net::with(&["client", "router", "server", "stranger"]);
    net.link(device(1, 2), "eth0", |l| {
        l.peer = Some(device(2, 2));
        l.mac = Some(mac(1));
    });
    net.link(device(2, 2), "west", |l| {
        l.peer = Some(device(1, 2));
        l.mac = Some(mac(2));
    });
    net.link(device(2, 3), "east", |_| {});
    net.address(device(1, 2), "2001:db8:1::2", 64);
    net.addresses(device(2, 2), &["2001:db8:1::1", "fe80::1"], 64);
    net.address(device(2, 3), "2001:db8:2::1", 64);
    let route = |gateway: &str, preference| TableRoute {
        protocol: 9,
        metric: 1024,
        preference,
        unknown: vec![12],
        ..by(254, "::", 0, Some(gateway), 2)
    };
    let dst = ip("2001:db8:2::2");
    let routes = vec![route("fe80::1", 0), route("fe80::bad", 1)];
    net.fact(Fact::RoutesTowards(NetNs(1), dst, routes));
    net.fact(Fact::Neighbor(Neighbor {
        device: device(1, 2),
        address: ip("fe80::bad"),
        state: 2,
        mac: Some(mac(9)),
    }));
    let flow = net.flow(echo("2001:db8:1::2", "2001:db8:2::2"));
    net.packet(flow, Direction::Forward)
        .bound_for(mac(9))
        .leaves(device(1, 2))
        .goes_away();
    net.wait(1000);
    let verdict = net.verdict();
    assert_eq!(verdict.cause.as_deref(), Some("route.wrong-next-hop"));
    let typed = commands(&verdict);
    for act in ["del", "append"] {
        let command = format!("ip -6 route {act} default via fe80::bad dev eth0 proto ra");
        assert!(typed.contains(&command), "{typed}");
    }
}
