//! Sockets on the port of a lost packet, and what refuses without a reason.
#![expect(clippy::unwrap_used, reason = "a test's own mistakes may end it")]

use crate::diagnose::expected;
use crate::host::facts::{
    Fact, OpenSocket, PortSockets, Question, Route, RouteAnswer, Selectors, TableRoute,
};
use crate::model::{Direction, NetNs, Process, Proto};
use crate::verdict::{Confidence, Outcome, Verdict};

use super::fixture::{Net, device, dropped, echo, ports, tcp};

fn closed(local: &str, interface: Option<u32>) -> Verdict {
    let mut net = Net::with(&["shop", "db"]);
    net.link(device(2, 1), "db0", |_| {});
    net.link(device(2, 7), "mgmt0", |_| {});
    let flow = net.flow(ports(Proto::Tcp, "10.4.0.1", 40000, "10.4.0.2", 5432));
    net.packet(flow, Direction::Forward)
        .transport(tcp(2, 1, 0))
        .enters(device(2, 1))
        .dies(
            Some(device(2, 1)),
            dropped("NO_SOCKET", "tcp_v4_rcv", "ip_protocol_deliver_rcu"),
        );
    net.fact(Fact::Sockets(PortSockets {
        netns: NetNs(2),
        proto: Proto::Tcp,
        port: 5432,
        sockets: vec![OpenSocket {
            port: 0,
            local: local.parse().unwrap(),
            peer: None,
            interface,
            state: 10,
            waiting: 0,
            limit: 128,
            only_v6: false,
            holders: vec![Process {
                pid: 12,
                comm: "postgres".to_owned(),
            }],
            stopped: Vec::new(),
            tcp: None,
        }],
    }));
    net.verdict()
}

#[test]
fn who_listens_elsewhere_is_named() {
    let verdict = closed("127.0.0.1", None);
    assert_eq!(verdict.cause.as_deref(), Some("socket.none"));
    let words = "postgres (pid 12) listens on 127.0.0.1 alone";
    assert!(verdict.summary.contains(words), "{}", verdict.summary);
    let verdict = closed("0.0.0.0", Some(7));
    let words = "is bound to interface mgmt0 alone";
    assert!(verdict.summary.contains(words), "{}", verdict.summary);
}

#[test]
fn a_socket_that_would_take_it_now_is_not_blamed() {
    let verdict = closed("0.0.0.0", None);
    assert!(!verdict.summary.contains("alone"), "{}", verdict.summary);
}

fn echo_lost(setting: &str) -> Verdict {
    let mut net = Net::with(&["mon", "sealed"]);
    net.link(device(2, 1), "se0", |_| {});
    net.sysctl(2, "net/ipv6/icmp/echo_ignore_all", setting);
    let flow = net.flow(echo("fd00::1", "fd00::2"));
    net.packet(flow, Direction::Forward)
        .enters(device(2, 1))
        .dies(
            Some(device(2, 1)),
            dropped("NOT_SPECIFIED", "icmpv6_rcv", "ip6_protocol_deliver_rcu"),
        );
    net.verdict()
}

#[test]
fn an_echo_request_over_ipv6_is_ignored_only_where_the_host_is_told_so() {
    assert_eq!(echo_lost("1").cause.as_deref(), Some("socket.silent"));
    assert_ne!(echo_lost("0").cause.as_deref(), Some("socket.silent"));
}

#[test]
fn a_segment_for_a_closing_connection_is_refused() {
    let mut net = Net::with(&["a", "b"]);
    net.link(device(2, 1), "eth0", |_| {});
    let flow = net.flow(ports(Proto::Tcp, "10.4.0.1", 40000, "10.4.0.2", 80));
    net.packet(flow, Direction::Forward)
        .transport(tcp(24, 5, 5))
        .enters(device(2, 1))
        .dies(
            Some(device(2, 1)),
            dropped("NOT_SPECIFIED", "tcp_v4_rcv", "ip_protocol_deliver_rcu"),
        );
    let verdict = net.verdict();
    assert_eq!(verdict.cause.as_deref(), Some("socket.refused-segment"));
}

#[test]
fn a_stopped_process_that_does_not_read_is_let_go_on() {
    let mut net = Net::with(&["a", "b"]);
    net.link(device(2, 1), "eth0", |_| {});
    let flow = net.flow(ports(Proto::Udp, "10.4.0.1", 40000, "10.4.0.2", 7777));
    net.packet(flow, Direction::Forward)
        .enters(device(2, 1))
        .dies(
            Some(device(2, 1)),
            dropped("SOCKET_RCVBUFF", "__udp_queue_rcv_skb", "udp_rcv"),
        );
    net.fact(Fact::Sockets(PortSockets {
        netns: NetNs(2),
        proto: Proto::Udp,
        port: 7777,
        sockets: vec![OpenSocket {
            port: 0,
            local: "0.0.0.0".parse().unwrap(),
            peer: None,
            interface: None,
            state: 7,
            waiting: 4096,
            limit: 0,
            only_v6: false,
            holders: vec![Process {
                pid: 77,
                comm: "socat".to_owned(),
            }],
            stopped: vec![77],
            tcp: None,
        }],
    }));
    let verdict = net.verdict();
    let words = "socat (pid 77), which is stopped, does not read";
    assert!(verdict.summary.contains(words), "{}", verdict.summary);
    let commands: Vec<_> = verdict
        .advice
        .iter()
        .filter_map(|a| a.command.as_deref())
        .collect();
    assert!(
        commands.ends_with(&["kill -CONT 77", "kill -STOP 77"]),
        "{commands:?}"
    );
}

/// A server over UDP with an address on each of two uplinks, of which the default route takes the first.
fn two_uplinks() -> Net {
    const BOX: u32 = 1;
    let mut net = Net::with(&["box"]);
    net.link(device(BOX, 1), "wan1", |_| {});
    net.link(device(BOX, 2), "wan2", |_| {});
    net.address(device(BOX, 1), "198.51.100.10", 25);
    net.address(device(BOX, 2), "198.51.100.140", 25);
    let default = TableRoute {
        gateway: "198.51.100.1".parse().ok(),
        oif: Some(1),
        ..TableRoute::new("unicast", 254, "0.0.0.0".parse().unwrap(), 0)
    };
    let asker = "203.0.113.7".parse().unwrap();
    net.fact(Fact::RoutesTowards(NetNs(BOX), asker, vec![default]));
    let flow = net.flow(ports(
        Proto::Udp,
        "203.0.113.7",
        4000,
        "198.51.100.140",
        5300,
    ));
    net.packet(flow, Direction::Forward)
        .enters(device(BOX, 2))
        .arrives(device(BOX, 2));
    let asks = |q: &Question| matches!(q, Question::Route { tuple, .. } if tuple.dst == asker && tuple.src.is_unspecified());
    assert!(net.questions().iter().any(asks));
    net.fact(Fact::Route(RouteAnswer {
        netns: NetNs(BOX),
        tuple: ports(Proto::Udp, "0.0.0.0", 0, "203.0.113.7", 0),
        iif: 0,
        with: Selectors::default(),
        result: Ok(Route {
            kind: "unicast".to_owned(),
            oif: Some(1),
            gateway: "198.51.100.1".parse().ok(),
            source: "198.51.100.10".parse().ok(),
            table: 254,
            mtu: None,
            learned: false,
        }),
    }));
    net
}

#[test]
fn an_answer_from_another_address_is_followed_and_told() {
    let mut net = two_uplinks();
    assert_eq!(
        expected(&net.trace, &net.host),
        ["udp and src host 198.51.100.10 and src port 5300 and dst host 203.0.113.7"]
    );
    let flow = net.trace.flows.first().unwrap().id;
    net.packet(flow, Direction::Reply)
        .becomes(ports(
            Proto::Udp,
            "198.51.100.10",
            5300,
            "203.0.113.7",
            4000,
        ))
        .leaves(device(1, 1))
        .goes_away();
    assert!(expected(&net.trace, &net.host).is_empty());
    let verdict = net.verdict();
    assert_eq!(verdict.cause.as_deref(), Some("nat.asymmetric"));
    assert_eq!(verdict.outcome, Outcome::Unanswered);
    assert_eq!(verdict.confidence, Confidence::Possible);
    assert!(
        verdict
            .summary
            .contains("asked at 198.51.100.140 and answers from 198.51.100.10"),
        "{}",
        verdict.summary
    );
    // one from the address that was asked is as it should be
    let mut net = two_uplinks();
    let flow = net.trace.flows.first().unwrap().id;
    net.packet(flow, Direction::Reply)
        .leaves(device(1, 1))
        .goes_away();
    assert_ne!(net.verdict().cause.as_deref(), Some("nat.asymmetric"));
}
