//! Traces of two nodes, merged: what is lost between them, and what is not.

use super::fixture::{Net, device, echo, mac};
use crate::host::facts::{Also, Fact, Namespace, NodeClock, NodeId, Run, TableRoute, TracedNode};
use crate::model::{
    Device, Direction, Ethernet, FlowId, Hop, KtimeNs, NetNs, Proto, Side, Tunnel, TunnelKind,
    Tuple,
};
use crate::verdict::{Confidence, Outcome, Verdict};

const ONE: u32 = 1;
const TWO: u32 = 2;
const POD: u32 = 3;

/// Tells of a node and the time in which it was traced.
fn traced(net: &mut Net, id: u16, from: u64, until: Option<KtimeNs>) {
    net.fact(Fact::Node(Box::new(TracedNode {
        id: NodeId(id),
        name: if id == 0 { "rack1" } else { "rack2" }.to_owned(),
        run: Run::default(),
        clock: NodeClock::REFERENCE,
        from: KtimeNs(from),
        until,
    })));
}

/// one/eth0 - two/eth0, and two/veth - pod/eth0 on the second node. Its trace runs until the end if it is to.
fn nodes(until: Option<KtimeNs>) -> Net {
    let mut net = Net::with(&["host", "host", "pod"]);
    traced(&mut net, 0, 0, None);
    traced(&mut net, 1, 0, until);
    for (netns, name, node) in [(ONE, "host", 0), (TWO, "host", 1), (POD, "pod", 1)] {
        net.fact(Fact::Namespace(Namespace {
            process: None,
            path: None,
            netns: NetNs(netns),
            name: name.to_owned(),
            node: Some(NodeId(node)),
        }));
    }
    for (at, name, address) in [
        (device(ONE, 2), "eth0", "192.0.2.1"),
        (device(TWO, 2), "eth0", "192.0.2.2"),
        (device(TWO, 3), "veth", "10.2.0.1"),
        (device(POD, 2), "eth0", "10.2.0.9"),
    ] {
        net.link(at, name, |_| {});
        net.address(at, address, 24);
    }
    net
}

fn hop(at: Device, side: Side, packets: u64, tuple: Tuple) -> Hop {
    Hop {
        device: at,
        side,
        tuple,
        tunnel: None,
        packets,
        bytes: 0,
        latency: None,
        rewrites: Vec::new(),
        lost_after: 0,
        last_seen: KtimeNs(0),
        next: Vec::new(),
    }
}

/// Three pings that leave the first node; so many came to the second, by its counters.
fn pings(net: Net, came: u64) -> Verdict {
    seen(net, came, |_, _| {})
}

/// Three pings, before each of which something happens.
fn seen(mut net: Net, came: u64, before: impl Fn(&mut Net, u32)) -> Verdict {
    let tuple = echo("192.0.2.1", "192.0.2.2");
    let flow = net.flow(tuple);
    for n in 0..3 {
        before(&mut net, n);
        net.packet(flow, Direction::Forward)
            .leaves(device(ONE, 2))
            .goes_away();
    }
    if let Some(flow) = net.trace.flows.first_mut() {
        flow.forward.hops = vec![
            hop(device(ONE, 2), Side::Egress, 3, tuple),
            hop(device(TWO, 2), Side::Ingress, came, tuple),
        ];
    }
    net.verdict()
}

#[test]
fn what_left_for_another_node_and_never_came_there() {
    let verdict = pings(nodes(None), 0);
    assert_eq!(verdict.outcome, Outcome::Vanished);
    assert_eq!(verdict.cause.as_deref(), Some("wire.lost"));
    assert_eq!(verdict.confidence, Confidence::Likely);
    assert_eq!(verdict.packets.affected, 3);
    assert_eq!(
        verdict.summary,
        "rack1: lost between rack1 and rack2: it left rack1 through host/eth0 and never reached host/eth0 of rack2"
    );
    let place = verdict.place.and_then(|place| place.node);
    assert_eq!(place.as_deref(), Some("rack1"));
}

#[test]
fn some_of_them() {
    assert_eq!(pings(nodes(None), 2).packets.affected, 1);
}

#[test]
fn what_the_counters_of_the_other_node_have_was_not_lost() {
    let verdict = pings(nodes(None), 3);
    assert_eq!(verdict.cause.as_deref(), Some("remote.unanswered"));
}

#[test]
fn a_node_whose_trace_had_ended_tells_nothing() {
    let verdict = pings(nodes(Some(KtimeNs(1))), 0);
    assert_eq!(verdict.cause.as_deref(), Some("remote.unanswered"));
}

#[test]
fn a_packet_that_left_before_the_other_node_was_traced_is_not_missed() {
    let later = |net: &mut Net, n: u32| {
        if n == 1 {
            net.wait(1);
            let from = net.trace.now.0;
            traced(net, 1, from, None);
        }
    };
    let verdict = seen(nodes(None), 2, later);
    assert_eq!(verdict.cause.as_deref(), Some("remote.unanswered"));
    let verdict = seen(nodes(None), 1, later);
    assert_eq!(verdict.cause.as_deref(), Some("wire.lost"));
    assert_eq!(verdict.packets.affected, 1);
}

#[test]
fn what_came_before_the_sender_was_traced_makes_up_for_no_loss() {
    let first_unseen = |net: &mut Net, n: u32| {
        if n == 0 {
            let flow = FlowId(0);
            net.packet(flow, Direction::Forward).arrives(device(TWO, 2));
            net.wait(1);
            let from = net.trace.now.0;
            traced(net, 0, from, None);
        }
    };
    // two of three came, and one that only the second node saw
    let verdict = seen(nodes(None), 3, first_unseen);
    assert_eq!(verdict.cause.as_deref(), Some("wire.lost"));
    assert_eq!(verdict.packets.affected, 1);
}

#[test]
fn lost_observations_leave_it_possible() {
    let mut net = nodes(None);
    net.trace.losses.lost = vec![("tc-ingress".to_owned(), 4)];
    assert_eq!(pings(net, 0).confidence, Confidence::Possible);
}

#[test]
fn a_tunnel_that_ends_at_no_address_of_the_node_that_has_the_pod() {
    let mut net = nodes(None);
    let flow = net.flow(echo("10.1.0.5", "10.2.0.9"));
    let tunnel = Tunnel {
        kind: TunnelKind::Vxlan,
        id: Some(1),
        outer: Tuple {
            proto: Proto::Udp,
            sport: 50_000,
            dport: 8472,
            ..echo("192.0.2.1", "192.0.2.77")
        },
    };
    let gateway = Ethernet {
        src: crate::model::Mac([2; 6]),
        dst: crate::model::Mac([4; 6]),
    };
    for _ in 0..3 {
        net.packet(flow, Direction::Forward)
            .with(move |e| {
                for packet in e.packet.iter_mut() {
                    packet.tunnel = Some(tunnel);
                    packet.ethernet = Some(gateway);
                }
            })
            .leaves(device(ONE, 2))
            .goes_away();
    }
    let verdict = net.verdict();
    assert_eq!(verdict.cause.as_deref(), Some("tunnel.no-remote"));
    assert!(
        verdict.summary.contains("10.2.0.9 is on rack2"),
        "{}",
        verdict.summary
    );
    assert!(
        verdict.summary.contains("192.0.2.77"),
        "{}",
        verdict.summary
    );
}

/// What the nodes are asked for; the second since a time also for something else.
fn asked(net: &mut Net, expression: &str, also: Option<(&str, u64)>) {
    for (id, also) in [(0, None), (1, also)] {
        let run = Run {
            expression: expression.to_owned(),
            also: also
                .map(|(expression, from)| Also {
                    expression: expression.to_owned(),
                    from: KtimeNs(from),
                })
                .into_iter()
                .collect(),
            ..Run::default()
        };
        net.fact(Fact::Node(Box::new(TracedNode {
            id: NodeId(id),
            name: if id == 0 { "rack1" } else { "rack2" }.to_owned(),
            run,
            clock: NodeClock::REFERENCE,
            from: KtimeNs(0),
            until: None,
        })));
    }
}

#[test]
fn a_node_that_was_not_asked_for_a_packet_cannot_tell_of_it() {
    let mut net = nodes(None);
    asked(&mut net, "icmp and host 10.96.0.1", None);
    let verdict = pings(net, 0);
    assert_eq!(verdict.outcome, Outcome::Unanswered);
    assert_eq!(verdict.cause.as_deref(), Some("remote.unanswered"));
    assert_eq!(verdict.confidence, Confidence::Possible);
    assert!(
        verdict.summary.contains("cannot tell what became of it there, because rack2 was not asked for the translated tuple icmp 192.0.2.1 > 192.0.2.2"),
        "{}",
        verdict.summary
    );
    let wanted = "(icmp and host 10.96.0.1) or (icmp and dst host 192.0.2.2)";
    let told = verdict.advice.iter().any(|a| a.text.ends_with(wanted));
    assert!(told, "{:?}", verdict.advice);
}

#[test]
fn a_node_that_was_asked_in_time_can_tell() {
    let added = "icmp and dst host 192.0.2.2";
    for (from, cause) in [(0, "wire.lost"), (u64::MAX, "remote.unanswered")] {
        let mut net = nodes(None);
        asked(&mut net, "icmp and host 10.96.0.1", Some((added, from)));
        let verdict = pings(net, 0);
        assert_eq!(verdict.cause.as_deref(), Some(cause), "{from}");
    }
}

#[test]
fn a_frame_for_a_router_between_is_not_said_to_be_lost_by_the_cable_alone() {
    let mut net = nodes(None);
    let flow = net.flow(echo("192.0.2.1", "192.0.2.2"));
    net.packet(flow, Direction::Forward)
        .bound_for(mac(9))
        .leaves(device(ONE, 2))
        .goes_away();
    if let Some(flow) = net.trace.flows.first_mut() {
        let tuple = echo("192.0.2.1", "192.0.2.2");
        flow.forward.hops = vec![hop(device(ONE, 2), Side::Egress, 1, tuple)];
    }
    let verdict = net.verdict();
    assert_eq!(verdict.cause.as_deref(), Some("wire.lost"));
    let said = verdict.evidence.iter().any(|e| {
        e.text
            .contains("02:00:00:00:00:09, which no interface of rack2 has")
    });
    assert!(said, "{:?}", verdict.evidence);
    let first = verdict.advice.first().and_then(|a| a.command.as_deref());
    assert_eq!(first, Some("ip route get 192.0.2.2"));
}

/// An answer of the second node's pod that left it by its default route, and that the first node never saw.
#[test]
fn an_answer_that_took_the_default_route_of_its_node() {
    let mut net = nodes(None);
    net.link(device(ONE, 2), "eth0", |l| l.mac = Some(mac(1)));
    net.fact(Fact::Namespace(Namespace {
        process: None,
        path: None,
        netns: NetNs(4),
        name: "asker".to_owned(),
        node: Some(NodeId(0)),
    }));
    for (at, name, address) in [
        (device(ONE, 3), "veth", "10.1.0.1"),
        (device(4, 2), "eth0", "10.1.0.7"),
    ] {
        net.link(at, name, |_| {});
        net.address(at, address, 24);
    }
    let asker: std::net::IpAddr = [10, 1, 0, 7].into();
    let default = TableRoute {
        gateway: "192.0.2.254".parse().ok(),
        oif: Some(2),
        ..TableRoute::new("unicast", 254, [0; 4].into(), 0)
    };
    net.fact(Fact::RoutesTowards(NetNs(TWO), asker, vec![default]));
    let asked = echo("10.1.0.7", "10.2.0.9");
    let flow = net.flow(asked);
    net.packet(flow, Direction::Forward).arrives(device(POD, 2));
    net.packet(flow, Direction::Reply)
        .bound_for(mac(9))
        .leaves(device(TWO, 2))
        .goes_away();
    if let Some(flow) = net.trace.flows.first_mut() {
        flow.reply.hops = vec![hop(device(TWO, 2), Side::Egress, 1, asked.reversed())];
    }
    let verdict = net.verdict();
    assert_eq!(verdict.cause.as_deref(), Some("route.missing"));
    assert!(
        verdict.summary.starts_with("rack2: reply lost: "),
        "{}",
        verdict.summary
    );
    let typed = verdict.advice.iter().filter_map(|a| a.command.as_deref());
    assert!(
        typed
            .into_iter()
            .any(|c| c == "ip route add 10.1.0.0/24 via 192.0.2.1")
    );
}

#[test]
fn a_packet_larger_than_the_other_node_takes() {
    let told = |length: u32| {
        let mut net = nodes(None);
        net.link(device(TWO, 2), "eth0", |l| {
            l.mac = Some(mac(2));
            l.mtu = 1400;
        });
        let tuple = echo("192.0.2.1", "192.0.2.2");
        let flow = net.flow(tuple);
        net.packet(flow, Direction::Forward)
            .with(move |e| {
                e.len = length;
                for packet in e.packet.iter_mut() {
                    packet.ethernet = Some(Ethernet {
                        src: mac(1),
                        dst: mac(2),
                    });
                }
            })
            .leaves(device(ONE, 2))
            .goes_away();
        if let Some(flow) = net.trace.flows.first_mut() {
            flow.forward.hops = vec![hop(device(ONE, 2), Side::Egress, 1, tuple)];
        }
        net.verdict()
    };
    let large = told(1492);
    assert_eq!(large.cause.as_deref(), Some("wire.lost"));
    assert!(
        large
            .summary
            .contains("at most 1400 bytes (its MTU); this one has 1478"),
        "{}",
        large.summary
    );
    let first = large.advice.first().and_then(|a| a.command.as_deref());
    assert_eq!(first, Some("ip link set dev eth0 mtu 1500"));
    assert!(!told(1414).summary.contains("MTU"));
}
