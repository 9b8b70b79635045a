//! Flows whose addresses are translated on the way.

use super::fixture::{Net, device, dropped, echo, hop, ports, tcp};
use crate::host::facts::{
    BaseChain, Fact, FilterEngine, FilterRule, Question, Route, RouteAnswer, Selectors,
    Side as End, Stop, Test,
};
use crate::model::{Direction, FlowId, NetNs, Proto, Side, Tuple};
use crate::verdict::{Confidence, Outcome, Verdict};

const CLIENT: u32 = 1;
const GATE: u32 = 2;
const SERVER: u32 = 3;

/// client/lan0 - gate/in0, gate/out0 - server/srv0.
fn gateway() -> Net {
    let mut net = Net::with(&["client", "gate", "server"]);
    for (at, name, peer) in [
        (device(CLIENT, 2), "lan0", Some(device(GATE, 2))),
        (device(GATE, 2), "in0", Some(device(CLIENT, 2))),
        (device(GATE, 3), "out0", Some(device(SERVER, 2))),
        (device(SERVER, 2), "srv0", Some(device(GATE, 3))),
        (device(SERVER, 3), "back0", None),
    ] {
        net.link(at, name, |l| l.peer = peer);
    }
    net.address(device(CLIENT, 2), "10.1.0.2", 24);
    net.address(device(GATE, 2), "10.1.0.1", 24);
    net.address(device(GATE, 3), "192.0.2.1", 24);
    net.address(device(SERVER, 2), "192.0.2.9", 24);
    net
}

fn ping() -> Tuple {
    echo("10.1.0.2", "192.0.2.9")
}

fn pinged_as(source: &str) -> Tuple {
    echo(source, "192.0.2.9")
}

/// Through the gateway with this source, and out.
fn leaves_as(net: &mut Net, flow: FlowId, source: &str) {
    net.packet(flow, Direction::Forward)
        .leaves(device(CLIENT, 2))
        .enters(device(GATE, 2))
        .becomes(pinged_as(source))
        .leaves(device(GATE, 3))
        .goes_away();
}

/// The same, and received.
fn arrives_as(net: &mut Net, flow: FlowId, source: &str) {
    net.packet(flow, Direction::Forward)
        .leaves(device(CLIENT, 2))
        .enters(device(GATE, 2))
        .becomes(pinged_as(source))
        .leaves(device(GATE, 3))
        .enters(device(SERVER, 2))
        .arrives(device(SERVER, 2));
}

fn cause(verdict: &Verdict) -> Option<&str> {
    verdict.cause.as_deref()
}

fn has_advice(verdict: &Verdict, what: &str) -> bool {
    verdict
        .advice
        .iter()
        .any(|a| a.text.contains(what) || a.command.as_ref().is_some_and(|c| c.contains(what)))
}

#[test]
fn the_stale_one_of_two_addresses() {
    let mut net = gateway();
    net.addresses(device(GATE, 3), &["192.0.2.77", "192.0.2.1"], 24);
    let guest = net.flow(ping());
    leaves_as(&mut net, guest, "192.0.2.77");
    // another flow of the present address is answered
    let own = net.flow(pinged_as("192.0.2.1"));
    net.packet(own, Direction::Forward)
        .leaves(device(GATE, 3))
        .goes_away();
    net.packet(own, Direction::Reply)
        .enters(device(GATE, 3))
        .arrives(device(GATE, 3));
    if let Some(flow) = net.trace.flows.get_mut(1) {
        let out = hop(device(GATE, 3), Side::Egress, pinged_as("192.0.2.1"));
        flow.forward.hops.push(out);
    }
    let verdict = net.verdict();
    assert_eq!(cause(&verdict), Some("nat.source-address"));
    assert_eq!(verdict.outcome, Outcome::Unanswered);
    assert_eq!(verdict.confidence, Confidence::Likely);
    assert!(verdict.summary.contains("192.0.2.77") && verdict.summary.contains("192.0.2.1 of"));
    assert!(has_advice(&verdict, "ip addr del 192.0.2.77/24 dev out0"));
    let place = verdict.place.as_ref();
    assert_eq!(place.and_then(|p| p.hook.as_deref()), Some("POSTROUTING"));
    assert_eq!(place.and_then(|p| p.interface.as_deref()), Some("out0"));
}

#[test]
fn the_only_address_is_not_to_blame() {
    let mut net = gateway();
    let flow = net.flow(ping());
    leaves_as(&mut net, flow, "192.0.2.1");
    assert_eq!(cause(&net.verdict()), Some("remote.unanswered"));
}

#[test]
fn of_two_addresses_none_known_to_work_both_causes_are_named() {
    let mut net = gateway();
    net.addresses(device(GATE, 3), &["192.0.2.77", "192.0.2.1"], 24);
    let flow = net.flow(ping());
    leaves_as(&mut net, flow, "192.0.2.77");
    let verdict = net.verdict();
    assert_eq!(cause(&verdict), Some("nat.source-address"));
    assert_eq!(verdict.confidence, Confidence::Possible);
    assert!(
        verdict
            .evidence
            .iter()
            .any(|e| e.text.contains("remote.unanswered"))
    );
}

#[test]
fn the_senders_own_choice_is_not_to_blame() {
    let mut net = gateway();
    net.addresses(device(CLIENT, 2), &["10.1.0.2", "10.1.0.3"], 24);
    let flow = net.flow(ping());
    net.packet(flow, Direction::Forward)
        .leaves(device(CLIENT, 2))
        .goes_away();
    assert_eq!(cause(&net.verdict()), Some("remote.unanswered"));
}

#[test]
fn an_answer_that_finds_no_neighbour_for_the_translated_source() {
    let mut net = gateway();
    let flow = net.flow(ping());
    arrives_as(&mut net, flow, "192.0.2.66");
    net.packet(flow, Direction::Reply)
        .becomes(pinged_as("192.0.2.66").reversed())
        .dies(
            Some(device(SERVER, 2)),
            dropped("NEIGH_FAILED", "neigh_invalidate", "neigh_timer_handler"),
        );
    let verdict = net.verdict();
    assert_eq!(cause(&verdict), Some("nat.source-address"));
    assert_eq!(verdict.confidence, Confidence::Certain);
    assert!(verdict.summary.contains("192.0.2.66") && verdict.summary.contains("192.0.2.1"));
    // the address is on no interface: nothing to delete
    assert!(!has_advice(&verdict, "addr del"));
    assert!(has_advice(&verdict, "192.0.2.1"));
}

#[test]
fn a_receiver_without_a_way_to_the_translated_source() {
    let mut net = gateway();
    let query = ports(Proto::Udp, "10.1.0.2", 4000, "192.0.2.9", 53);
    let as_sent = ports(Proto::Udp, "198.51.100.7", 4000, "192.0.2.9", 53);
    let flow = net.flow(query);
    net.packet(flow, Direction::Forward)
        .leaves(device(CLIENT, 2))
        .enters(device(GATE, 2))
        .becomes(as_sent)
        .leaves(device(GATE, 3))
        .enters(device(SERVER, 2))
        .arrives(device(SERVER, 2));
    let back = Tuple {
        src: std::net::Ipv4Addr::UNSPECIFIED.into(),
        sport: 0,
        dst: as_sent.src,
        dport: 0,
        ..as_sent
    };
    assert!(
        net.questions()
            .contains(&Question::route(NetNs(SERVER), back, 0))
    );
    assert_eq!(cause(&net.verdict()), Some("socket.unanswered"));
    net.fact(Fact::Route(RouteAnswer {
        netns: NetNs(SERVER),
        tuple: back,
        iif: 0,
        with: Selectors::default(),
        result: Err(101),
    }));
    let verdict = net.verdict();
    assert_eq!(cause(&verdict), Some("nat.source-address"));
    assert_eq!(verdict.outcome, Outcome::Unanswered);
}

fn service() -> Tuple {
    ports(Proto::Tcp, "10.1.0.2", 4000, "10.9.9.9", 80)
}

fn backend() -> Tuple {
    ports(Proto::Tcp, "10.1.0.2", 4000, "192.0.2.9", 8080)
}

/// A SYN to the service, translated by the gateway.
fn syn(net: &mut Net, flow: FlowId) {
    net.packet(flow, Direction::Forward)
        .leaves(device(CLIENT, 2))
        .enters(device(GATE, 2))
        .becomes(backend())
        .leaves(device(GATE, 3))
        .enters(device(SERVER, 2))
        .arrives(device(SERVER, 2));
}

#[test]
fn a_syn_ack_from_an_address_never_contacted() {
    let mut net = gateway();
    let flow = net.flow(service());
    syn(&mut net, flow);
    net.packet(flow, Direction::Reply)
        .becomes(backend().reversed())
        .transport(tcp(0x12, 7, 101))
        .leaves(device(SERVER, 2))
        .dies(
            Some(device(CLIENT, 2)),
            dropped("NO_SOCKET", "tcp_v4_rcv", ""),
        );
    let verdict = net.verdict();
    assert_eq!(cause(&verdict), Some("nat.asymmetric"));
    assert!(verdict.summary.contains("192.0.2.9:8080") && verdict.summary.contains("10.9.9.9:80"));
    assert!(verdict.summary.contains("around gate"));
    assert_eq!(verdict.place.as_ref().and_then(|p| p.hook.clone()), None);
}

#[test]
fn a_syn_ack_bridged_past_iptables() {
    let mut net = gateway();
    for at in [device(GATE, 2), device(GATE, 3)] {
        net.link(at, "port", |l| l.master = Some(9));
    }
    let flow = net.flow(service());
    syn(&mut net, flow);
    net.packet(flow, Direction::Reply)
        .becomes(backend().reversed())
        .transport(tcp(0x12, 7, 101))
        .leaves(device(SERVER, 2))
        .enters(device(GATE, 3))
        .leaves(device(GATE, 2))
        .dies(
            Some(device(CLIENT, 2)),
            dropped("NO_SOCKET", "tcp_v4_rcv", ""),
        );
    let name = "net/bridge/bridge-nf-call-iptables";
    assert!(net.questions().contains(&Question::Sysctl {
        netns: NetNs(GATE),
        name: name.to_owned()
    }));
    net.sysctl(GATE, name, "0");
    let verdict = net.verdict();
    assert!(verdict.summary.contains("bridge-nf-call-iptables = 0"));
    assert!(has_advice(
        &verdict,
        "sysctl -w net.bridge.bridge-nf-call-iptables=1"
    ));
}

#[test]
fn a_closed_port_behind_a_service_is_a_closed_port() {
    let mut net = gateway();
    let flow = net.flow(service());
    net.packet(flow, Direction::Forward)
        .leaves(device(CLIENT, 2))
        .enters(device(GATE, 2))
        .becomes(backend())
        .leaves(device(GATE, 3))
        .dies(
            Some(device(SERVER, 2)),
            dropped("NO_SOCKET", "tcp_v4_rcv", ""),
        );
    assert_eq!(cause(&net.verdict()), Some("socket.none"));
}

#[test]
fn an_answer_through_another_interface() {
    let mut net = gateway();
    let flow = net.flow(service());
    syn(&mut net, flow);
    net.packet(flow, Direction::Reply)
        .becomes(backend().reversed())
        .transport(tcp(0x12, 7, 101))
        .leaves(device(SERVER, 3))
        .goes_away();
    let verdict = net.verdict();
    assert_eq!(cause(&verdict), Some("nat.asymmetric"));
    assert_eq!(verdict.outcome, Outcome::Unanswered);
    assert!(verdict.summary.contains("server/back0"));
}

#[test]
fn a_udp_server_that_prefers_another_source() {
    let mut net = gateway();
    net.addresses(device(SERVER, 2), &["192.0.2.9", "192.0.2.10"], 24);
    let query = ports(Proto::Udp, "192.0.2.1", 4000, "192.0.2.10", 53);
    let flow = net.flow(query);
    let local = ports(Proto::Udp, "0.0.0.0", 53, "0.0.0.0", 0);
    net.packet(flow, Direction::Forward)
        .leaves(device(GATE, 3))
        .enters(device(SERVER, 2))
        .with(move |e| {
            e.socket = Some(crate::model::Socket {
                addr: 1,
                netns: NetNs(SERVER),
                tuple: Some(local),
                state: 7,
            });
        })
        .arrives(device(SERVER, 2));
    assert_eq!(cause(&net.verdict()), Some("socket.unanswered"));
    for (source, expected) in [
        ("192.0.2.10", "socket.unanswered"),
        ("192.0.2.9", "nat.asymmetric"),
    ] {
        net.fact(Fact::Route(RouteAnswer {
            netns: NetNs(SERVER),
            tuple: Tuple {
                src: std::net::Ipv4Addr::UNSPECIFIED.into(),
                sport: 0,
                dst: query.src,
                dport: 0,
                ..query
            },
            iif: 0,
            with: Selectors::default(),
            result: Ok(Route {
                kind: "unicast".to_owned(),
                oif: Some(2),
                gateway: None,
                source: source.parse().ok(),
                table: 254,
                mtu: None,
                learned: false,
            }),
        }));
        assert_eq!(cause(&net.verdict()), Some(expected), "{source}");
    }
}

#[test]
fn one_of_two_backends_fails() {
    let mut net = gateway();
    let alive = net.flow(service());
    syn(&mut net, alive);
    net.packet(alive, Direction::Reply)
        .leaves(device(SERVER, 2))
        .arrives(device(CLIENT, 2));
    let second = Tuple {
        sport: 4001,
        ..service()
    };
    let dead = net.flow(second);
    let elsewhere = ports(Proto::Tcp, "10.1.0.2", 4001, "192.0.2.44", 8080);
    net.packet(dead, Direction::Forward)
        .leaves(device(CLIENT, 2))
        .enters(device(GATE, 2))
        .becomes(elsewhere)
        .dies(
            Some(device(GATE, 3)),
            dropped("NEIGH_FAILED", "neigh_invalidate", "neigh_timer_handler"),
        );
    let verdict = net.verdict();
    assert_eq!(cause(&verdict), Some("neighbor.unresolved"));
    assert!(verdict.summary.contains("1 of 2 backends of 10.9.9.9:80"));
    assert!(
        verdict
            .evidence
            .iter()
            .any(|e| e.text.contains("192.0.2.9:8080"))
    );
}

/// A base chain with one rule about a destination.
#[expect(clippy::unwrap_used, reason = "a test's own mistakes may end it")]
fn chain(table: &str, hook: &str, rule: (&str, Stop, &str)) -> BaseChain {
    let (text, stop, address) = rule;
    let address = address.parse().unwrap();
    BaseChain {
        engine: FilterEngine::Nftables,
        family: "ip".to_owned(),
        table: table.to_owned(),
        chain: hook.to_owned(),
        hook: hook.to_owned(),
        priority: 0,
        policy_drop: false,
        rules: Some(1),
        policy_packets: None,
        kind: None,
        devices: Vec::new(),
        stops: vec![FilterRule {
            chain: "SERVICES".to_owned(),
            handle: None,
            number: 1,
            stop,
            text: text.to_owned(),
            whole: true,
            packets: Some(1),
            tests: vec![Test::Address {
                side: End::Destination,
                ranges: vec![(address, address)],
                not: false,
            }],
        }],
        more_stops: false,
    }
}

/// A SYN to the service that no rule translates, for which the gateway has no route.
fn astray(net: &mut Net) {
    let flow = net.flow(service());
    net.packet(flow, Direction::Forward)
        .leaves(device(CLIENT, 2))
        .enters(device(GATE, 2))
        .dies(Some(device(GATE, 2)), {
            let mut info = dropped("IP_INNOROUTES", "ip_error", "");
            info.dst_error = Some(101);
            info
        });
}

#[test]
fn a_service_address_that_no_rule_translates() {
    let mut net = gateway();
    astray(&mut net);
    assert!(
        net.questions()
            .contains(&Question::Chains { netns: NetNs(GATE) })
    );
    assert_eq!(cause(&net.verdict()), Some("route.none"));
    for (neighbour, sure) in [
        ("10.9.4.4", Confidence::Likely),
        ("10.77.4.4", Confidence::Possible),
    ] {
        let translates = chain("nat", "PREROUTING", ("dnat", Stop::Nat, neighbour));
        net.fact(Fact::Chains(NetNs(GATE), vec![translates]));
        let verdict = net.verdict();
        assert_eq!(cause(&verdict), Some("nat.no-backend"));
        assert_eq!(verdict.confidence, sure, "{neighbour}");
        let place = verdict.place.as_ref();
        assert_eq!(place.and_then(|p| p.hook.as_deref()), Some("PREROUTING"));
        assert_eq!(place.and_then(|p| p.interface.as_deref()), Some("in0"));
        assert!(verdict.summary.contains("10.9.9.9:80"));
    }
}

#[test]
fn an_address_that_somebody_has_is_no_service() {
    let mut net = gateway();
    net.addresses(device(SERVER, 2), &["192.0.2.9", "10.9.9.9"], 24);
    astray(&mut net);
    let translates = chain("nat", "PREROUTING", ("dnat", Stop::Nat, "10.9.4.4"));
    net.fact(Fact::Chains(NetNs(GATE), vec![translates]));
    assert_eq!(cause(&net.verdict()), Some("route.none"));
}

#[test]
fn a_service_rejected_for_want_of_endpoints() {
    for (text, expected) in [
        (
            "-d 10.9.9.9 -m comment --comment \"shop has no endpoints\" -j REJECT",
            "nat.no-backend",
        ),
        ("-d 10.9.9.9 -j REJECT", "netfilter.reject"),
    ] {
        let mut net = gateway();
        let flow = net.flow(service());
        net.packet(flow, Direction::Forward)
            .leaves(device(CLIENT, 2))
            .enters(device(GATE, 2))
            .icmp_sent(device(GATE, 2), 3, 3)
            .dies(
                Some(device(GATE, 2)),
                dropped(
                    "NETFILTER_DROP",
                    "nft_do_chain",
                    "nft_do_chain_ipv4<nf_hook_slow<ip_forward",
                ),
            );
        let rejects = chain("filter", "FORWARD", (text, Stop::Reject, "10.9.9.9"));
        net.fact(Fact::Chains(NetNs(GATE), vec![rejects]));
        let verdict = net.verdict();
        assert_eq!(cause(&verdict), Some(expected), "{text}");
        assert_eq!(verdict.outcome, Outcome::Rejected);
    }
}
