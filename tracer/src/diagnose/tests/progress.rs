//! What came back says nothing of the rest: TCP that is not acknowledged, answers by another uplink, requests that
//! nobody reads, and answers to what was asked of many.
#![expect(clippy::unwrap_used, reason = "a test's own mistakes may end it")]

use crate::host::facts::{Fact, OpenSocket, PortSockets, TableRoute};
use crate::model::{
    Direction, Hop, KtimeNs, NetNs, Process, Proto, Segment, Sending, Side, Transport, Tuple,
};
use crate::verdict::{Confidence, Outcome, Verdict};

use super::fixture::{Net, device, hop, ports, tcp};

const SECOND: u64 = 1_000_000_000;

/// A shop with two uplinks, asked by somebody elsewhere.
fn shop() -> Net {
    let mut net = Net::with(&["shop"]);
    net.link(device(1, 2), "wan1", |link| link.kind = String::new());
    net.link(device(1, 3), "wan2", |link| link.kind = String::new());
    net.address(device(1, 2), "10.2.0.80", 24);
    net.address(device(1, 3), "10.3.0.80", 24);
    net
}

fn asked() -> Tuple {
    ports(Proto::Tcp, "198.51.100.7", 40000, "10.3.0.80", 443)
}

/// A request that comes in by one uplink and an answer that leaves by one.
fn exchange(net: &mut Net, came: u32, went: u32) {
    let flow = net.flow(asked());
    net.packet(flow, Direction::Forward)
        .transport(tcp(2, 1, 0))
        .enters(device(1, came))
        .arrives(device(1, came));
    net.packet(flow, Direction::Reply)
        .transport(tcp(0x12, 500, 2))
        .leaves(device(1, went))
        .goes_away();
}

/// Copies of a segment, one a second.
fn sent(length: u32, size: u32, copies: u64) -> Sending {
    let mut sending = Sending::default();
    for n in 0..copies {
        let at = KtimeNs((n + 1) * SECOND);
        sending.sent(Segment {
            seq: 500,
            end: 500 + length,
            size,
            syn: length == 1,
            copies: 1,
            left: 1,
            first: at,
            last: at,
            device: Some(device(1, 2)),
        });
    }
    sending
}

fn verdict(net: &mut Net, sending: Sending) -> Verdict {
    let flow = net.trace.flows.first_mut().unwrap();
    flow.sending.insert(Direction::Reply, sending);
    net.wait(10_000);
    net.verdict()
}

#[test]
fn a_handshake_without_its_third_segment_is_not_delivered() {
    let acked = |mut sending: Sending| {
        sending.acknowledged(501, KtimeNs(9 * SECOND));
        sending
    };
    let reset = |mut sending: Sending| {
        sending.reset = Some(KtimeNs(9 * SECOND));
        sending
    };
    for (sending, outcome) in [
        (sent(1, 60, 1), Outcome::Delivered),
        (sent(1, 60, 3), Outcome::Unanswered),
        (acked(sent(1, 60, 3)), Outcome::Delivered),
        (reset(sent(1, 60, 3)), Outcome::Delivered),
    ] {
        let mut net = shop();
        exchange(&mut net, 2, 2);
        let verdict = verdict(&mut net, sending.clone());
        assert_eq!(verdict.outcome, outcome, "{sending:?}");
        let cause = (outcome == Outcome::Unanswered).then_some("remote.unanswered");
        assert_eq!(verdict.cause.as_deref(), cause);
    }
}

#[test]
fn full_segments_that_never_pass_are_told_from_silence() {
    for (size, largest, heard, cause, confidence) in [
        (1500, 100, true, "mtu.exceeded", Confidence::Likely),
        (1500, 100, false, "mtu.exceeded", Confidence::Possible),
        (1500, 1500, true, "remote.unanswered", Confidence::Likely),
        (200, 100, true, "remote.unanswered", Confidence::Likely),
    ] {
        let mut net = shop();
        exchange(&mut net, 2, 2);
        let mut sending = sent(size - 52, size, 4);
        sending.largest_acked = largest;
        sending.acknowledged(500, KtimeNs(if heard { 5 * SECOND } else { 1 }));
        let verdict = verdict(&mut net, sending);
        assert_eq!(verdict.outcome, Outcome::Unanswered);
        assert_eq!(verdict.cause.as_deref(), Some(cause), "{size} {largest}");
        assert_eq!(verdict.confidence, confidence, "{size} {heard}");
    }
}

#[test]
fn an_answer_by_another_uplink_is_the_verdict_only_where_it_is_lost() {
    for (came, copies, cause, told) in [
        (3, 3, Some("nat.asymmetric"), true),
        (3, 1, None, true),
        (2, 1, None, false),
    ] {
        let mut net = shop();
        exchange(&mut net, came, 2);
        let table = TableRoute {
            gateway: Some("10.3.0.1".parse().unwrap()),
            oif: Some(3),
            ..TableRoute::new("unicast", 202, "0.0.0.0".parse().unwrap(), 0)
        };
        let asker = asked().src;
        net.fact(Fact::RoutesTowards(NetNs(1), asker, vec![table]));
        let verdict = verdict(&mut net, sent(1, 60, copies));
        assert_eq!(verdict.cause.as_deref(), cause, "{came} {copies}");
        let words = "came in on shop/wan2 and is answered through shop/wan1";
        let evidence = verdict.evidence.iter().any(|e| e.text.contains(words));
        assert_eq!(evidence, told, "{came} {copies}");
        // what main leads by more than a default route stays as it is
        let rules = "ip netns exec shop ip rule add from 10.3.0.80 lookup 202\nip netns exec shop ip rule add from 10.3.0.80 lookup main suppress_prefixlength 0";
        let advised = verdict
            .advice
            .iter()
            .any(|a| a.command.as_deref() == Some(rules));
        assert_eq!(advised, cause.is_some());
    }
}

/// A datagram for a port whose only socket one process holds.
fn unread(stopped: bool, waiting: u32) -> Verdict {
    let mut net = shop();
    let tuple = ports(Proto::Udp, "10.2.0.7", 5000, "10.2.0.80", 53);
    let flow = net.flow(tuple);
    net.packet(flow, Direction::Forward)
        .enters(device(1, 2))
        .arrives(device(1, 2));
    let last_seen = net.trace.now;
    let entered = net.trace.flows.first_mut().unwrap();
    entered.forward.hops.push(Hop {
        last_seen,
        ..hop(device(1, 2), Side::Ingress, tuple)
    });
    net.fact(Fact::Sockets(PortSockets {
        netns: NetNs(1),
        proto: Proto::Udp,
        port: 53,
        sockets: vec![OpenSocket {
            port: 0,
            local: "0.0.0.0".parse().unwrap(),
            peer: None,
            interface: None,
            state: 7,
            waiting,
            limit: 0,
            only_v6: false,
            holders: vec![Process {
                pid: 12,
                comm: "named".to_owned(),
            }],
            stopped: stopped.then_some(12).into_iter().collect(),
            tcp: None,
        }],
    }));
    net.verdict()
}

#[test]
fn who_does_not_read_is_named_and_let_go_on_where_it_is_stopped() {
    for (stopped, waiting, said) in [
        (true, 0, "which is stopped, does not read"),
        (false, 900, "named (pid 12) does not read"),
        (false, 0, "nothing was sent back"),
    ] {
        let verdict = unread(stopped, waiting);
        assert_eq!(verdict.cause.as_deref(), Some("socket.unanswered"));
        assert!(verdict.summary.contains(said), "{}", verdict.summary);
        let signal = verdict
            .advice
            .iter()
            .any(|a| a.command.as_deref() == Some("kill -CONT 12"));
        assert_eq!(signal, stopped);
    }
}

#[test]
fn what_was_asked_of_many_is_answered_by_another_flow() {
    let offer = |net: &mut Net| {
        let answer = ports(Proto::Udp, "10.2.0.1", 67, "255.255.255.255", 68);
        let flow = net.flow(answer);
        net.packet(flow, Direction::Forward)
            .leaves(device(1, 2))
            .goes_away();
    };
    for (answered, outcome) in [(true, Outcome::Delivered), (false, Outcome::Unanswered)] {
        let mut net = shop();
        let discover = ports(Proto::Udp, "0.0.0.0", 68, "255.255.255.255", 67);
        let flow = net.flow(discover);
        net.packet(flow, Direction::Forward)
            .with(|e| {
                e.packet.as_mut().unwrap().transport = Transport::Udp { payload: 300 };
            })
            .enters(device(1, 2))
            .arrives(device(1, 2));
        if answered {
            offer(&mut net);
        }
        assert_eq!(net.verdict().outcome, outcome, "{answered}");
    }
}
