//! Flows without a loss that the kernel tells: well, unanswered, waiting, vanished, never sent.

use std::net::Ipv4Addr;

use super::fixture::{Net, device, dropped, echo, mac, ports, tcp};
use crate::host::facts::{
    AddressOwner, Fact, Neighbor, OpenSocket, Owner, OwnerKind, PortSockets, Question, Route,
    RouteAnswer, Selectors, XfrmDirection, XfrmPolicy,
};
use crate::model::{
    Acked, Detail, Direction, Event, FibEvent, Fingerprint, FlowId, Fragment, KtimeNs, NetNs,
    Process, Proto, Sending, Transport, Tuple,
};
use crate::verdict::{Confidence, Outcome};

const CLIENT: u32 = 1;
const SERVER: u32 = 2;

/// client/eth0 - server/eth0.
fn cable() -> Net {
    let mut net = Net::with(&["client", "server"]);
    net.link(device(CLIENT, 2), "eth0", |l| {
        l.peer = Some(device(SERVER, 2))
    });
    net.link(device(SERVER, 2), "eth0", |l| {
        l.peer = Some(device(CLIENT, 2))
    });
    net.address(device(CLIENT, 2), "10.1.0.2", 24);
    net.address(device(SERVER, 2), "10.1.0.3", 24);
    net
}

fn ping() -> Tuple {
    echo("10.1.0.2", "10.1.0.3")
}

fn there(net: &mut Net, flow: FlowId) {
    net.packet(flow, Direction::Forward)
        .leaves(device(CLIENT, 2))
        .enters(device(SERVER, 2))
        .arrives(device(SERVER, 2));
}

#[test]
fn an_answered_ping_is_delivered() {
    let mut net = cable();
    let flow = net.flow(ping());
    there(&mut net, flow);
    net.packet(flow, Direction::Reply)
        .leaves(device(SERVER, 2))
        .arrives(device(CLIENT, 2));
    let verdict = net.verdict();
    assert_eq!((verdict.outcome, verdict.cause), (Outcome::Delivered, None));
    assert_eq!(verdict.confidence, Confidence::Certain);
}

#[test]
fn one_way_datagrams_that_were_read_are_delivered() {
    let mut net = cable();
    let flow = net.flow(ports(Proto::Udp, "10.1.0.2", 4000, "10.1.0.3", 9999));
    there(&mut net, flow);
    assert_eq!(net.verdict().outcome, Outcome::Delivered);
}

#[test]
fn a_query_that_was_read_and_not_answered() {
    let mut net = cable();
    let flow = net.flow(ports(Proto::Udp, "10.1.0.2", 4000, "10.1.0.3", 53));
    there(&mut net, flow);
    let verdict = net.verdict();
    assert_eq!(verdict.outcome, Outcome::Unanswered);
    assert_eq!(verdict.cause.as_deref(), Some("socket.unanswered"));
    assert!(
        verdict
            .summary
            .starts_with("no answer from 10.1.0.3:53/udp")
    );
}

#[test]
fn what_left_and_was_not_answered() {
    for tuple in [ping(), ports(Proto::Udp, "10.1.0.2", 1, "10.1.0.3", 9999)] {
        let mut net = cable();
        let flow = net.flow(tuple);
        net.packet(flow, Direction::Forward)
            .leaves(device(CLIENT, 2))
            .goes_away();
        let verdict = net.verdict();
        assert_eq!(verdict.outcome, Outcome::Unanswered);
        assert_eq!(verdict.cause.as_deref(), Some("remote.unanswered"));
        assert!(
            verdict
                .summary
                .contains("left this host through client/eth0")
        );
    }
}

#[expect(clippy::unwrap_used, reason = "the addresses are below")]
fn ip(text: &str) -> std::net::IpAddr {
    text.parse().unwrap()
}

/// A pod of the other node is asked by way of this next hop, where a list of the whole cluster is known.
fn to_a_pod_of_node2(next_hop: &str) -> String {
    let mut net = cable();
    let pod = ip("10.9.2.7");
    net.fact(Fact::Route(RouteAnswer {
        netns: NetNs(CLIENT),
        tuple: echo("10.1.0.2", "10.9.2.7"),
        iif: 0,
        with: Selectors::default(),
        result: Ok(Route {
            kind: "unicast".to_owned(),
            oif: Some(2),
            gateway: Some(ip(next_hop)),
            source: None,
            table: 254,
            mtu: None,
            learned: false,
        }),
    }));
    let owner = |address, kind, name: &str, node: Option<&str>| AddressOwner {
        address,
        owner: Owner {
            kind,
            name: name.to_owned(),
            node: node.map(str::to_owned),
        },
    };
    net.fact(Fact::Owners(vec![
        owner(pod, OwnerKind::Pod, "shop/db-0", Some("node2")),
        owner(ip("10.1.0.12"), OwnerKind::Node, "node2", None),
    ]));
    let flow = net.flow(echo("10.1.0.2", "10.9.2.7"));
    net.packet(flow, Direction::Forward)
        .leaves(device(CLIENT, 2))
        .goes_away();
    net.verdict().summary
}

#[test]
fn a_next_hop_that_is_not_the_node_where_the_pod_is() {
    let past = to_a_pod_of_node2("10.1.0.1");
    let words = "its next hop was 10.1.0.1, and node2, where 10.9.2.7 is, has 10.1.0.12 on the same network";
    assert!(past.contains(words), "{past}");
    let there = to_a_pod_of_node2("10.1.0.12");
    assert!(!there.contains("next hop"), "{there}");
}

#[test]
fn a_reset_from_outside_is_a_refusal() {
    let mut net = cable();
    let flow = net.flow(ports(Proto::Tcp, "10.1.0.2", 4000, "10.9.0.3", 80));
    net.packet(flow, Direction::Forward)
        .leaves(device(CLIENT, 2))
        .goes_away();
    net.packet(flow, Direction::Reply)
        .transport(tcp(0x14, 0, 101))
        .enters(device(CLIENT, 2))
        .arrives(device(CLIENT, 2));
    let verdict = net.verdict();
    assert_eq!(verdict.outcome, Outcome::Rejected);
    assert_eq!(verdict.confidence, Confidence::Likely);
}

#[test]
fn an_ignored_echo_request() {
    let mut net = cable();
    let flow = net.flow(ping());
    net.packet(flow, Direction::Forward)
        .leaves(device(CLIENT, 2))
        .enters(device(SERVER, 2))
        .consumed(device(SERVER, 2), Some("icmp_rcv"));
    assert!(net.questions().contains(&Question::Sysctl {
        netns: NetNs(SERVER),
        name: "net/ipv4/icmp_echo_ignore_all".to_owned()
    }));
    assert_eq!(net.verdict().confidence, Confidence::Likely);
    net.sysctl(SERVER, "net/ipv4/icmp_echo_ignore_all", "1");
    let verdict = net.verdict();
    assert_eq!(verdict.cause.as_deref(), Some("socket.silent"));
    assert_eq!(verdict.confidence, Confidence::Certain);
}

/// A fragment that came to its destination, with more to follow.
fn half_a_datagram(net: &mut Net) {
    let flow = net.flow(ports(Proto::Udp, "10.1.0.2", 4000, "10.1.0.3", 9999));
    net.packet(flow, Direction::Forward)
        .with(|e| {
            let first = Fragment {
                offset: 0,
                more: true,
            };
            e.packet.iter_mut().for_each(|p| p.fragment = Some(first));
        })
        .leaves(device(CLIENT, 2))
        .enters(device(SERVER, 2))
        .vanishes();
}

#[test]
fn a_fragment_that_waits_for_the_others() {
    let mut net = cable();
    half_a_datagram(&mut net);
    let verdict = net.verdict();
    assert_eq!(verdict.outcome, Outcome::Vanished);
    assert_eq!(verdict.cause.as_deref(), Some("fragment.timeout"));
    assert_eq!(verdict.confidence, Confidence::Likely);
    let namespace = verdict.place.and_then(|place| place.namespace);
    assert_eq!(namespace.as_deref(), Some("server"));
}

#[test]
fn drops_that_the_probe_missed_are_evidence_for_what_vanished() {
    let mut net = cable();
    let flow = net.flow(ping());
    net.packet(flow, Direction::Forward)
        .leaves(device(CLIENT, 2))
        .enters(device(SERVER, 2))
        .vanishes();
    let told = |net: &mut Net| {
        let evidence = net.verdict().evidence;
        evidence
            .iter()
            .any(|e| e.text.starts_with("3 drops of any flow"))
    };
    assert!(!told(&mut net));
    net.trace.losses.missed = vec![("kfree_skb".to_owned(), 3), ("icmp_send".to_owned(), 1)];
    assert!(told(&mut net));
}

#[test]
fn a_syn_that_was_taken_and_not_answered() {
    let mut net = cable();
    let flow = net.flow(ports(Proto::Tcp, "10.1.0.2", 4000, "10.1.0.3", 80));
    net.packet(flow, Direction::Forward)
        .leaves(device(CLIENT, 2))
        .enters(device(SERVER, 2))
        .consumed(device(SERVER, 2), Some("tcp_rcv_state_process"));
    assert_eq!(net.verdict().cause.as_deref(), Some("socket.backlog-full"));
}

#[test]
fn cookies_are_advised_where_they_are_off_and_the_accept_queue_has_room() {
    for (setting, waiting, advised) in [("0", 0, true), ("1", 0, false), ("0", 9, false)] {
        let mut net = cable();
        let flow = net.flow(ports(Proto::Tcp, "10.1.0.2", 4000, "10.1.0.3", 80));
        net.packet(flow, Direction::Forward)
            .transport(tcp(2, 1, 0))
            .leaves(device(CLIENT, 2))
            .enters(device(SERVER, 2))
            .consumed(device(SERVER, 2), Some("tcp_rcv_state_process"));
        let name = "net/ipv4/tcp_syncookies";
        assert!(net.questions().contains(&Question::Sysctl {
            netns: NetNs(SERVER),
            name: name.to_owned()
        }));
        net.sysctl(SERVER, name, setting);
        net.fact(Fact::Sockets(PortSockets {
            netns: NetNs(SERVER),
            proto: Proto::Tcp,
            port: 80,
            sockets: vec![OpenSocket {
                port: 0,
                local: [0; 4].into(),
                peer: None,
                interface: None,
                state: 10,
                waiting,
                limit: 4,
                only_v6: false,
                holders: Vec::new(),
                stopped: Vec::new(),
                tcp: None,
            }],
        }));
        let commands = net.verdict().advice.into_iter().filter_map(|a| a.command);
        let on = "sysctl -w net.ipv4.tcp_syncookies=1";
        assert_eq!(commands.filter(|c| c.ends_with(on)).count() == 1, advised);
    }
}

#[test]
fn a_syn_whose_answer_waits_for_a_neighbour() {
    let mut net = cable();
    let flow = net.flow(ports(Proto::Tcp, "10.1.0.2", 4000, "10.1.0.3", 80));
    net.packet(flow, Direction::Forward)
        .leaves(device(CLIENT, 2))
        .enters(device(SERVER, 2))
        .consumed(device(SERVER, 2), Some("tcp_rcv_state_process"));
    net.neighbor(device(SERVER, 2), "10.1.0.2", 0x01);
    let verdict = net.verdict();
    assert_eq!(verdict.cause.as_deref(), Some("neighbor.unresolved"));
    assert!(verdict.summary.contains("10.1.0.2"), "{}", verdict.summary);
}

#[test]
fn packets_that_still_wait_for_a_neighbour() {
    let mut net = cable();
    let flow = net.flow(ping());
    net.packet(flow, Direction::Forward)
        .enters(device(CLIENT, 5))
        .vanishes();
    net.neighbor(device(CLIENT, 2), "10.1.0.3", 0x01);
    let verdict = net.verdict();
    assert_eq!(verdict.cause.as_deref(), Some("neighbor.unresolved"));
    assert_eq!(verdict.outcome, Outcome::Dropped);
    assert!(
        verdict
            .summary
            .contains("ARP miss on client: nobody answers for neighbour 10.1.0.3 on eth0")
    );

    // The same with a link that is down.
    net.link(device(SERVER, 2), "eth0", |l| l.up = false);
    assert_eq!(net.verdict().cause.as_deref(), Some("link.down"));
}

#[test]
fn a_neighbour_that_answered_is_no_cause() {
    let mut net = cable();
    let flow = net.flow(ping());
    net.packet(flow, Direction::Forward)
        .enters(device(CLIENT, 5))
        .vanishes();
    net.neighbor(device(CLIENT, 2), "10.1.0.3", 0x01);
    net.neighbor(device(CLIENT, 2), "10.1.0.3", 0x02);
    let verdict = net.verdict();
    assert_eq!((verdict.outcome, verdict.cause), (Outcome::Vanished, None));
    assert!(verdict.summary.contains("last seen entering client/if:5"));
}

#[test]
fn what_went_out_had_the_neighbours_mac() {
    let mut net = cable();
    let flow = net.flow(ping());
    net.packet(flow, Direction::Forward)
        .enters(device(CLIENT, 5))
        .leaves(device(CLIENT, 2))
        .vanishes();
    net.neighbor(device(CLIENT, 2), "10.1.0.3", 0x01);
    assert_eq!(net.verdict().cause, None);
}

#[test]
fn a_neighbour_without_any_packet_counts_only_where_the_asked_sender_is() {
    let mut net = cable();
    net.neighbor(device(CLIENT, 2), "10.1.0.1", 0x01);
    assert_eq!(net.verdict().outcome, Outcome::NoTraffic);
    net.asked("203.0.113.80");
    lookup(&mut net, 254, 0, "203.0.113.80");
    let verdict = net.verdict();
    assert_eq!(verdict.cause.as_deref(), Some("neighbor.unresolved"));
    assert!(verdict.summary.contains("10.1.0.1 on eth0"));
}

#[test]
fn a_neighbour_that_the_table_knows_by_now_holds_up_no_flow_without_packets() {
    for (known, cause) in [(false, Some("neighbor.unresolved")), (true, None)] {
        let mut net = cable();
        net.flow(echo("10.1.0.2", "203.0.113.80"));
        net.neighbor(device(CLIENT, 2), "10.1.0.1", 0x01);
        net.asked("203.0.113.80");
        lookup(&mut net, 254, 0, "203.0.113.80");
        if known {
            net.fact(Fact::Neighbor(Neighbor {
                device: device(CLIENT, 2),
                address: Ipv4Addr::new(10, 1, 0, 1).into(),
                state: 2,
                mac: Some(mac(7)),
            }));
        }
        assert_eq!(net.verdict().cause.as_deref(), cause, "{known}");
    }
}

fn lookup(net: &mut Net, table: u32, error: u32, dst: &str) {
    lookup_of(net, table, error, echo("0.0.0.0", dst));
}

fn lookup_of(net: &mut Net, table: u32, error: u32, tuple: Tuple) {
    let mut event = net.event(
        None,
        Some(tuple),
        Detail::Fib(FibEvent {
            table,
            error,
            iif: 1,
            oif: 0,
            local: true,
        }),
    );
    event.netns = Some(NetNs(CLIENT));
    event.process = Some(Process {
        pid: 42,
        comm: "ping".to_owned(),
    });
    net.trace.beside.push(event);
}

#[test]
fn a_sender_without_a_route() {
    let mut net = cable();
    lookup(&mut net, 255, 11, "10.9.0.1");
    lookup(&mut net, 254, 11, "10.9.0.1");
    let verdict = net.verdict();
    assert_eq!(verdict.outcome, Outcome::NotSent);
    assert_eq!(verdict.cause.as_deref(), Some("route.none"));
    assert_eq!(
        verdict.summary,
        "not sent: no route to 10.9.0.1 on client, ping (pid 42) got an error"
    );
    assert!(
        net.questions()
            .iter()
            .any(|q| matches!(q, Question::Route { iif: 0, .. }))
    );
}

#[test]
fn lookups_of_others_are_no_failure_where_no_address_is_asked_for() {
    let unknown = Tuple {
        proto: Proto::Other(0),
        ..echo("0.0.0.0", "10.9.0.1")
    };
    let udp = |dport| Tuple {
        proto: Proto::Udp,
        dport,
        ..unknown
    };
    for (names_addresses, tuple, outcome) in [
        (true, unknown, Outcome::NotSent),
        (false, unknown, Outcome::NoTraffic),
        (false, udp(0), Outcome::NoTraffic),
        (false, udp(53), Outcome::NotSent),
        (true, udp(9911), Outcome::NoTraffic),
    ] {
        let mut net = cable();
        net.asked("10.9.0.1");
        if let Some(run) = &mut net.host.run {
            run.names_addresses = names_addresses;
            run.asked_ports = vec![(53, 53)];
        }
        lookup_of(&mut net, 254, 11, tuple);
        assert_eq!(net.verdict().outcome, outcome, "{tuple}");
    }
}

#[test]
fn a_sender_that_an_ipsec_policy_refuses() {
    for (blocks, protocol, outcome) in [
        (true, 0, Outcome::NotSent),
        (false, 0, Outcome::NoTraffic),
        // of another protocol
        (true, 6, Outcome::NoTraffic),
    ] {
        let mut net = cable();
        net.asked("10.9.0.1");
        lookup(&mut net, 254, 0, "10.9.0.1");
        net.wait(2000);
        assert!(net.questions().contains(&Question::XfrmPolicies {
            netns: NetNs(CLIENT)
        }));
        net.fact(Fact::XfrmPolicies(
            NetNs(CLIENT),
            vec![XfrmPolicy {
                src: [0; 4].into(),
                src_prefix: 0,
                dst: [10, 9, 0, 0].into(),
                dst_prefix: 16,
                protocol,
                sport: None,
                dport: None,
                direction: XfrmDirection::Out,
                blocks,
                priority: 0,
                index: 97,
            }],
        ));
        let verdict = net.verdict();
        assert_eq!(verdict.outcome, outcome, "{}", verdict.summary);
        if outcome == Outcome::NotSent {
            assert_eq!(verdict.cause.as_deref(), Some("xfrm.policy"));
            assert!(verdict.summary.contains("ping (pid 42)"));
            let undo = verdict.advice.last().and_then(|a| a.command.as_deref());
            let again = "ip xfrm policy add src 0.0.0.0/0 dst 10.9.0.0/16 dir out action block index 97 priority 0";
            assert!(undo.is_some_and(|c| c.ends_with(again)), "{undo:?}");
        }
    }
}

#[test]
fn senders_routes_that_refuse() {
    for (error, cause) in [
        (22, "route.blackhole"),
        (13, "route.prohibit"),
        (113, "route.unreachable"),
    ] {
        let mut net = cable();
        lookup(&mut net, 254, error, "10.9.0.1");
        assert_eq!(net.verdict().cause.as_deref(), Some(cause));
    }
}

#[test]
fn a_sender_whose_only_link_is_down() {
    let mut net = cable();
    lookup(&mut net, 254, 11, "10.1.0.3");
    net.link(device(CLIENT, 2), "eth0", |l| {
        l.up = false;
        l.carrier = false;
    });
    let verdict = net.verdict();
    assert_eq!(
        (verdict.outcome, verdict.cause.as_deref()),
        (Outcome::NotSent, Some("link.down"))
    );
}

#[test]
fn a_route_that_went_with_a_removed_interface_whose_addresses_went_before() {
    let mut net = cable();
    let uplink = device(CLIENT, 3);
    net.link(uplink, "eth1", |_| {});
    net.address(uplink, "10.9.0.2", 24);
    net.addresses(uplink, &[], 24);
    net.fact(Fact::LinkGone(uplink));
    lookup(&mut net, 254, 11, "10.9.0.1");
    let verdict = net.verdict();
    assert_eq!(verdict.cause.as_deref(), Some("link.down"));
    assert!(verdict.summary.contains("eth1"), "{}", verdict.summary);
}

#[test]
fn an_answer_to_a_translated_port_that_has_no_route() {
    for (port, outcome) in [(2023, Outcome::Unanswered), (2024, Outcome::Delivered)] {
        let mut net = cable();
        net.asked("10.1.0.3");
        if let Some(run) = &mut net.host.run {
            run.asked_ports = vec![(443, 443)];
        }
        let flow = net.flow(ports(Proto::Udp, "10.1.0.2", 2023, "10.1.0.3", 6443));
        there(&mut net, flow);
        let answer = ports(Proto::Udp, "10.1.0.3", 6443, "10.1.0.2", port);
        lookup_of(&mut net, 254, 11, answer);
        net.trace
            .beside
            .iter_mut()
            .for_each(|e| e.netns = Some(NetNs(SERVER)));
        assert_eq!(net.verdict().outcome, outcome, "port {port}");
    }
}

#[test]
fn a_table_without_a_match_before_one_with_it_is_no_failure() {
    let mut net = cable();
    lookup(&mut net, 100, 11, "10.9.0.1");
    lookup(&mut net, 254, 0, "10.9.0.1");
    assert_eq!(net.verdict().outcome, Outcome::NoTraffic);
}

#[test]
fn nothing_at_all() {
    let verdict = cable().verdict();
    assert_eq!((verdict.outcome, verdict.cause), (Outcome::NoTraffic, None));
    assert!(!verdict.advice.is_empty());
}

#[test]
fn the_last_packet_of_a_running_trace_may_still_be_on_its_way() {
    let mut net = cable();
    let flow = net.flow(ping());
    there(&mut net, flow);
    net.packet(flow, Direction::Reply)
        .leaves(device(SERVER, 2))
        .arrives(device(CLIENT, 2));
    net.packet(flow, Direction::Forward)
        .leaves(device(CLIENT, 2))
        .vanishes();
    assert_eq!(net.verdict().outcome, Outcome::Delivered);
}

#[test]
fn a_lost_segment_that_was_sent_again_is_no_verdict() {
    let mut net = cable();
    let flow = net.flow(ports(Proto::Tcp, "10.1.0.2", 4000, "10.1.0.3", 80));
    net.packet(flow, Direction::Forward)
        .leaves(device(CLIENT, 2))
        .dies(
            Some(device(CLIENT, 2)),
            dropped("QDISC_DROP", "__dev_queue_xmit", ""),
        );
    there(&mut net, flow);
    net.packet(flow, Direction::Reply)
        .transport(tcp(0x12, 7, 101))
        .leaves(device(SERVER, 2))
        .arrives(device(CLIENT, 2));
    let verdict = net.verdict();
    assert_eq!((verdict.outcome, verdict.cause), (Outcome::Delivered, None));
    assert!(verdict.evidence.iter().any(|e| e.kind == "other-loss"));
}

#[test]
fn a_packets_own_end_that_was_seen_apart_is_no_later_copy_of_it() {
    for (apart_ns, outcome) in [
        (30_000, Outcome::Dropped),
        (300_000_000, Outcome::Delivered),
    ] {
        let mut net = cable();
        let flow = net.flow(ports(Proto::Tcp, "10.1.0.2", 4000, "10.1.0.3", 80));
        net.packet(flow, Direction::Reply)
            .transport(tcp(0x10, 1, 1))
            .leaves(device(SERVER, 2))
            .arrives(device(CLIENT, 2));
        let seen = move |at: u64| {
            move |e: &mut Event| {
                e.at = KtimeNs(at);
                e.fingerprint = Some(Fingerprint(7));
                if let Some(packet) = e.packet.as_mut() {
                    packet.transport = data();
                }
            }
        };
        let at = 1_000_000_000;
        net.packet(flow, Direction::Forward)
            .with(seen(at - apart_ns))
            .leaves(device(CLIENT, 2))
            .enters(device(SERVER, 2))
            .arrives(device(SERVER, 2));
        net.packet(flow, Direction::Forward).with(seen(at)).dies(
            Some(device(SERVER, 2)),
            dropped("TCP_FLAGS", "tcp_v4_do_rcv", ""),
        );
        assert_eq!(net.verdict().outcome, outcome, "{apart_ns}");
    }
}

/// A segment with 100 bytes, from number 100 on.
fn data() -> Transport {
    match tcp(0x18, 100, 1) {
        Transport::Tcp {
            flags,
            seq,
            ack,
            window,
            ..
        } => Transport::Tcp {
            flags,
            seq,
            ack,
            window,
            payload: 100,
            signed: false,
        },
        other => other,
    }
}

#[test]
fn what_the_other_end_acknowledged_later_was_not_lost() {
    let conversation = ports(Proto::Tcp, "10.1.0.2", 40000, "10.1.0.3", 80);
    let drop = || {
        dropped(
            "NETFILTER_DROP",
            "nft_do_chain",
            "nf_hook_slow ip_local_deliver",
        )
    };
    for (lost, sent, arrived, outcome) in [
        // data up to 200, of which the other end speaks later
        (data(), Some(200), None, Outcome::Delivered),
        (data(), Some(150), None, Outcome::Dropped),
        // a mere acknowledgement
        (tcp(0x10, 100, 500), None, Some(600), Outcome::Delivered),
        (tcp(0x10, 100, 500), None, None, Outcome::Dropped),
    ] {
        let mut net = cable();
        let flow = net.flow(conversation);
        for direction in [Direction::Forward, Direction::Reply] {
            let (from, to) = match direction {
                Direction::Forward => (device(CLIENT, 2), device(SERVER, 2)),
                _ => (device(SERVER, 2), device(CLIENT, 2)),
            };
            net.packet(flow, direction)
                .transport(tcp(0x10, 1, 1))
                .leaves(from)
                .enters(to)
                .arrives(to);
        }
        net.packet(flow, Direction::Forward)
            .transport(lost)
            .leaves(device(CLIENT, 2))
            .enters(device(SERVER, 2))
            .dies(Some(device(SERVER, 2)), drop());
        let late = KtimeNs(u64::MAX);
        let Some(flow) = net.trace.flows.first_mut() else {
            unreachable!("the flow was made above")
        };
        let noted = |number: Option<u32>| Acked {
            sent: number.map(|n| (n, late)),
            arrived: number.map(|n| (n, late)),
        };
        flow.acked.insert(Direction::Reply, noted(sent));
        flow.acked.insert(Direction::Forward, noted(arrived));
        assert_eq!(
            net.verdict().outcome,
            outcome,
            "{lost:?} {sent:?} {arrived:?}"
        );
    }
}

#[test]
fn an_acknowledgement_behind_the_last_one_is_not_missed() {
    const LISTENER: &str = "tcp_v4_do_rcv";
    let tuple = ports(Proto::Tcp, "10.1.0.2", 4000, "10.1.0.3", 80);
    let noted = |number| Some((number, KtimeNs(1)));
    // The server's FIN has number 500.
    for (function, number, fin, sent, arrived, outcome) in [
        // for a FIN that was sent again, and one that was overtaken by the last one
        (LISTENER, 501, Some(501), 501, None, Outcome::Delivered),
        (LISTENER, 500, Some(501), 501, None, Outcome::Delivered),
        // a filter's drop says nothing of the connection: did the last one come?
        (
            "nf_hook_slow",
            501,
            Some(501),
            501,
            noted(501),
            Outcome::Delivered,
        ),
        ("nf_hook_slow", 501, Some(501), 501, None, Outcome::Dropped),
        // within the connection
        (LISTENER, 400, None, 400, noted(400), Outcome::Dropped),
        (LISTENER, 400, Some(501), 400, noted(400), Outcome::Dropped),
    ] {
        let mut net = cable();
        let flow = net.flow(tuple);
        there(&mut net, flow);
        net.packet(flow, Direction::Reply)
            .transport(tcp(0x18, 400, 1))
            .leaves(device(SERVER, 2))
            .arrives(device(CLIENT, 2));
        net.packet(flow, Direction::Forward)
            .transport(tcp(0x10, 100, number))
            .leaves(device(CLIENT, 2))
            .enters(device(SERVER, 2))
            .dies(Some(device(SERVER, 2)), dropped("", function, "tcp_v4_rcv"));
        let Some(flow) = net.trace.flows.first_mut() else {
            unreachable!("the flow was made above")
        };
        let sent = noted(sent);
        flow.acked
            .insert(Direction::Forward, Acked { sent, arrived });
        let sending = Sending {
            fin,
            ..Sending::default()
        };
        flow.sending.insert(Direction::Reply, sending);
        assert_eq!(
            net.verdict().outcome,
            outcome,
            "{function} {number} {fin:?} {arrived:?}"
        );
    }
}

#[test]
fn the_slower_of_two_servers_answers_a_socket_that_is_closed() {
    for (answered, outcome) in [(true, Outcome::Delivered), (false, Outcome::Rejected)] {
        let mut net = cable();
        net.address(device(SERVER, 2), "10.1.0.4", 24);
        if answered {
            let first = net.flow(ports(Proto::Udp, "10.1.0.2", 4000, "10.1.0.4", 53));
            there(&mut net, first);
            // kernels before 6.3 do not tell who ended it
            net.packet(first, Direction::Reply)
                .leaves(device(SERVER, 2))
                .consumed(device(CLIENT, 2), None);
        }
        let second = net.flow(ports(Proto::Udp, "10.1.0.2", 4000, "10.1.0.3", 53));
        there(&mut net, second);
        net.packet(second, Direction::Reply)
            .leaves(device(SERVER, 2))
            .enters(device(CLIENT, 2))
            .icmp_sent(device(CLIENT, 2), 3, 3)
            .dies(
                Some(device(CLIENT, 2)),
                dropped("NO_SOCKET", "__udp4_lib_rcv", "udp_rcv"),
            );
        assert_eq!(net.verdict().outcome, outcome, "{answered}");
    }
}

#[test]
fn chatter_to_groups_does_not_stand_for_the_flow_that_was_meant() {
    let nobody = || dropped("NOT_SPECIFIED", "ip_rcv_finish_core", "ip_rcv");
    let group = ports(Proto::Udp, "10.1.0.2", 5353, "224.0.0.251", 5353);
    for (asked, outcome) in [
        (vec!["10.1.0.2"], Outcome::Delivered),
        (vec![], Outcome::Delivered),
        (vec!["10.1.0.2", "224.0.0.251"], Outcome::Dropped),
    ] {
        let mut net = cable();
        net.asked("10.1.0.2");
        if let Some(run) = &mut net.host.run {
            run.asked = asked.iter().filter_map(|text| text.parse().ok()).collect();
        }
        let flow = net.flow(ping());
        there(&mut net, flow);
        net.packet(flow, Direction::Reply)
            .leaves(device(SERVER, 2))
            .arrives(device(CLIENT, 2));
        let chatter = net.flow(group);
        net.packet(chatter, Direction::Forward)
            .leaves(device(CLIENT, 2))
            .enters(device(SERVER, 2))
            .dies(Some(device(SERVER, 2)), nobody());
        assert_eq!(net.verdict().outcome, outcome, "{asked:?}");
    }
}
