//! Which packets are of one flow, and in which direction.

use super::script::{Scene, run, tuple};
use crate::correlate::Settings;
use crate::host::facts::{Also, Fact, Namespace, NodeClock, NodeId, Run, TracedNode};
use crate::model::{Direction, KtimeNs, TupleRole};

const PAIR: &str = "client/eth0 10.0.0.1 = server/eth0 10.0.0.2";

/// Direction of the first packet and the asked tuple, for one packet.
fn asked(packet: &str) -> (Direction, String) {
    let scene = run(PAIR, &format!("10 client/eth0 egress s1 {packet}"));
    let journey = scene.trace().journeys.values().next().unwrap();
    let flow = scene.trace().flows.first().unwrap();
    (journey.direction, flow.asked().unwrap().to_string())
}

#[test]
fn the_initiator_is_told_by_what_only_one_side_sends() {
    let forward = |packet: &str| assert_eq!(asked(packet).0, Direction::Forward, "{packet}");
    let reply = |packet: &str| assert_eq!(asked(packet).0, Direction::Reply, "{packet}");
    forward("tcp 10.0.0.1:80>10.0.0.2:5000 S");
    reply("tcp 10.0.0.1:40000>10.0.0.2:80 SA");
    reply("tcp 10.0.0.1:40000>10.0.0.2:80 R");
    reply("tcp 10.0.0.1:8080>10.0.0.2:40000 A");
    forward("tcp 10.0.0.1:40000>10.0.0.2:8080 A");
    forward("icmp 10.0.0.1>10.0.0.2:7");
    reply("icmp 10.0.0.1>10.0.0.2:7 reply");
    reply("icmp6 fd00::1>fd00::2:7 reply");
    forward("udp 10.0.0.1:40000>10.0.0.2:53");
    reply("udp 10.0.0.1:53>10.0.0.2:40000");
    forward("udp 10.0.0.1:40000>10.0.0.2:40001");
    assert_eq!(
        asked("udp 10.0.0.1:53>10.0.0.2:40000").1,
        "udp 10.0.0.2:40000 > 10.0.0.1:53"
    );
}

fn run_fact(src: &[&str], dst: &[&str]) -> Fact {
    let all = |list: &[&str]| list.iter().map(|a| a.parse().unwrap()).collect();
    Fact::Run(Box::new(Run {
        tool_version: String::new(),
        hostname: String::new(),
        kernel: String::new(),
        arch: String::new(),
        boot_id: String::new(),
        expression: String::new(),
        clauses: Vec::new(),
        asked_src: all(src),
        asked_dst: all(dst),
        asked: Vec::new(),
        names_addresses: true,
        asked_ports: Vec::new(),
        started_unix_ns: 0,
        started_ktime: KtimeNs(0),
        one_way: false,
        rules: false,
        also: Vec::new(),
        only_netns: Vec::new(),
        only_interfaces: Vec::new(),
    }))
}

#[test]
fn what_was_asked_for_tells_the_direction_before_all() {
    let cases: [(&[&str], &[&str], Direction); 4] = [
        (&["10.0.0.2"], &[], Direction::Reply),
        (&[], &["10.0.0.1"], Direction::Reply),
        (&[], &["10.0.0.2"], Direction::Forward),
        // no help: the SYN decides
        (&[], &["10.9.9.9"], Direction::Forward),
    ];
    for (src, dst, direction) in cases {
        let mut scene = Scene::new(PAIR);
        scene.host.apply(KtimeNs(0), run_fact(src, dst));
        scene.play("10 client/eth0 egress s1 tcp 10.0.0.1:5000>10.0.0.2:80 S");
        scene.end();
        let journey = scene.trace().journeys.values().next().unwrap();
        assert_eq!(journey.direction, direction, "{src:?} {dst:?}");
    }
}

#[test]
fn a_hosts_own_packets_that_were_translated_before_the_first_interface_are_of_the_asked_flow() {
    let network = "node/eth0 192.0.2.1 = far/eth0 192.0.2.9";
    let scene = run(
        network,
        "
        30 node/eth0 egress s1 udp 192.0.2.1:5000>192.0.2.9:5353 id=1 was=udp,192.0.2.1:5000>10.96.0.10:53
        40 far/eth0  rx     s1 udp 192.0.2.1:5000>192.0.2.9:5353 id=1
        42 far       ready  s1 udp 192.0.2.9:5353>192.0.2.1:5000 id=1
        50 far/eth0  egress s2 udp 192.0.2.9:5353>192.0.2.1:5000 id=3
        60 node/eth0 rx     s2 udp 192.0.2.9:5353>192.0.2.1:5000 id=3
        130 node/eth0 egress s3 udp 192.0.2.1:5000>192.0.2.9:5353 id=2
        ",
    );
    assert_eq!(scene.trace().flows.len(), 1);
    let flow = scene.trace().flows.first().unwrap();
    assert_eq!(
        flow.asked().unwrap().to_string(),
        "udp 192.0.2.1:5000 > 10.96.0.10:53"
    );
    let there = scene.rewrites(&flow.forward);
    assert_eq!(
        there.get("node/eth0").unwrap(),
        &["dnat 10.96.0.10:53 > 192.0.2.9:5353"]
    );
    assert_eq!(flow.packets.get(&Direction::Forward), Some(&2));
}

#[test]
fn a_translated_flow_and_its_answer_are_one() {
    let network = "
        pod/eth0 10.0.0.2 = node/pa 10.0.0.1
        node/eth0 192.0.2.1 = far/eth0 192.0.2.9
    ";
    let scene = run(
        network,
        "
        10 pod/eth0  egress s1 tcp 10.0.0.2:5000>10.96.0.1:443 S seq=1 id=1
        20 node/pa   rx     s1 tcp 10.0.0.2:5000>10.96.0.1:443 S seq=1 id=1
        30 node/eth0 egress s1 tcp 192.0.2.1:61000>192.0.2.9:6443 S seq=1 id=1 ttl=63
        40 far/eth0  rx     s1 tcp 192.0.2.1:61000>192.0.2.9:6443 S seq=1 id=1 ttl=63
        41 far/eth0  egress s2 tcp 192.0.2.9:6443>192.0.2.1:61000 SA seq=7 ack=2 id=0
        42 -         consume@tcp_rcv_state_process s1 tcp 192.0.2.1:61000>192.0.2.9:6443 S seq=1 id=1 ttl=63
        50 node/eth0 rx     s2 tcp 192.0.2.9:6443>192.0.2.1:61000 SA seq=7 ack=2 id=0
        60 node/pa   egress s2 tcp 10.96.0.1:443>10.0.0.2:5000 SA seq=7 ack=2 id=0 ttl=63
        70 pod/eth0  rx     s2 tcp 10.96.0.1:443>10.0.0.2:5000 SA seq=7 ack=2 id=0 ttl=63
        ",
    );
    assert_eq!(scene.fates(), ["forward delivered", "reply delivered"]);
    let flow = scene.trace().flows.first().unwrap();
    let tuples: Vec<_> = flow
        .tuples
        .iter()
        .map(|(role, tuple)| (*role, tuple.to_string()))
        .collect();
    let expected = [
        (TupleRole::Asked, "tcp 10.0.0.2:5000 > 10.96.0.1:443"),
        (
            TupleRole::Translated,
            "tcp 192.0.2.1:61000 > 192.0.2.9:6443",
        ),
        (
            TupleRole::Translated,
            "tcp 192.0.2.9:6443 > 192.0.2.1:61000",
        ),
        (TupleRole::Reply, "tcp 10.96.0.1:443 > 10.0.0.2:5000"),
    ];
    assert_eq!(tuples, expected.map(|(role, text)| (role, text.to_owned())));
    let there = scene.rewrites(&flow.forward);
    assert_eq!(
        there.get("node/eth0").unwrap(),
        &[
            "dnat 10.96.0.1:443 > 192.0.2.9:6443",
            "snat 10.0.0.2:5000 > 192.0.2.1:61000",
            "ttl -1"
        ]
    );
    let back = scene.rewrites(&flow.reply);
    assert_eq!(
        back.get("node/pa").unwrap(),
        &[
            "dnat 192.0.2.1:61000 > 10.0.0.2:5000",
            "snat 192.0.2.9:6443 > 10.96.0.1:443",
            "ttl -1"
        ]
    );
}

#[test]
fn pings_with_another_identifier_are_another_flow() {
    let scene = run(
        PAIR,
        "
        10 client/eth0 egress s1 icmp 10.0.0.1>10.0.0.2:5
        11 server/eth0 egress s2 icmp 10.0.0.2>10.0.0.1:5 reply
        12 client/eth0 egress s3 icmp 10.0.0.1>10.0.0.2:6 n=2
        13 client/eth0 egress s4 icmp 10.0.0.1>10.0.0.2:5 n=2
        ",
    );
    let seen: Vec<u64> = scene
        .trace()
        .flows
        .iter()
        .map(|flow| flow.journeys_seen.values().sum())
        .collect();
    assert_eq!(seen, [3, 1]);
}

#[test]
fn a_host_that_pings_itself_has_two_directions() {
    let scene = run(
        "box/lo 127.0.0.1 loopback",
        "
        10 box/lo egress s1 icmp 127.0.0.1>127.0.0.1:5
        11 box/lo rx     s1 icmp 127.0.0.1>127.0.0.1:5
        12 box/lo egress s2 icmp 127.0.0.1>127.0.0.1:5 reply
        13 box/lo consume@icmp_rcv s1 icmp 127.0.0.1>127.0.0.1:5
        14 box/lo rx     s2 icmp 127.0.0.1>127.0.0.1:5 reply
        15 box/lo drop:NO_SOCKET@ping_rcv s2 icmp 127.0.0.1>127.0.0.1:5 reply
        ",
    );
    assert_eq!(scene.fates(), ["forward delivered", "reply delivered"]);
}

#[test]
fn an_error_belongs_to_the_flow_that_it_quotes_even_translated() {
    let network = "
        pod/eth0 10.0.0.2 = node/pa 10.0.0.1
        node/eth0 192.0.2.1
    ";
    let scene = run(
        network,
        "
        10 pod/eth0  egress s1 udp 10.0.0.2:5000>8.8.8.8:53 id=1
        20 node/pa   rx     s1 udp 10.0.0.2:5000>8.8.8.8:53 id=1
        30 node/eth0 egress s1 udp 192.0.2.1:61000>8.8.8.8:53 id=1 ttl=63
        40 node/eth0 rx     s2 icmp 192.0.2.254>192.0.2.1 type=3 code=1 id=5 quote=udp,192.0.2.1:61000>8.8.8.8:53
        50 node/pa   egress s2 icmp 192.0.2.254>10.0.0.2 type=3 code=1 id=5 quote=udp,10.0.0.2:5000>8.8.8.8:53
        60 pod/eth0  rx     s2 icmp 192.0.2.254>10.0.0.2 type=3 code=1 id=5 quote=udp,10.0.0.2:5000>8.8.8.8:53
        61 pod/eth0  consume@icmp_rcv s2 icmp 192.0.2.254>10.0.0.2 type=3 code=1 id=5 quote=udp,10.0.0.2:5000>8.8.8.8:53
        ",
    );
    assert_eq!(scene.fates(), ["forward left", "error delivered"]);
    assert_eq!(scene.trace().flows.len(), 1);
    let flow = scene.trace().flows.first().unwrap();
    assert_eq!(flow.packets.get(&Direction::Error), Some(&1));
}

#[test]
fn neighbour_messages_that_nobody_asked_for_stand_beside() {
    let scene = run(
        PAIR,
        "
        10 client/eth0 egress s1 arp 10.0.0.1>10.0.0.2 aux
        11 server/eth0 rx     s1 arp 10.0.0.1>10.0.0.2 aux
        12 server/eth0 drop:NETFILTER_DROP@nft_do_chain s1 arp 10.0.0.1>10.0.0.2 aux
        13 client/eth0 neigh:32 arp 0.0.0.0>10.0.0.2
        14 client/eth0 neigh:32 arp 0.0.0.0>10.0.0.2
        15 client/eth0 neigh:32 arp 0.0.0.0>10.0.0.2
        16 client/eth0 neigh:32 arp 0.0.0.0>10.0.0.2
        ",
    );
    assert_eq!((scene.trace().flows.len(), scene.trace().packets), (0, 0));
    // the fourth of the same says nothing new
    assert_eq!(scene.trace().beside.len(), 6);
}

#[test]
fn arp_that_was_asked_for_is_a_flow_with_an_answer() {
    let scene = run(
        PAIR,
        "
        10 client/eth0 egress s1 arp 10.0.0.1>10.0.0.2
        11 server/eth0 rx     s1 arp 10.0.0.1>10.0.0.2
        12 server/eth0 egress s2 arp 10.0.0.2>10.0.0.1 reply
        13 server/eth0 consume@arp_process s1 arp 10.0.0.1>10.0.0.2
        14 client/eth0 rx     s2 arp 10.0.0.2>10.0.0.1 reply
        15 client/eth0 consume@arp_process s2 arp 10.0.0.2>10.0.0.1 reply
        ",
    );
    assert_eq!(scene.trace().flows.len(), 1);
    assert_eq!(scene.fates(), ["forward delivered", "reply delivered"]);
}

#[test]
fn a_route_lookup_gets_the_namespace_of_the_packet_that_caused_it() {
    let network = "
        a/eth0 10.0.0.1 = r/ra 10.0.0.254
        r/rb 10.0.1.254
    ";
    let scene = run(
        network,
        "
        10 a/eth0 egress s1 udp 10.0.0.1:5000>10.0.1.2:53 id=1
        20 r/ra   rx     s1 udp 10.0.0.1:5000>10.0.1.2:53 id=1
        21 -      fib:-11 udp 10.0.0.1:5000>10.0.1.2:53 iif=2
        30 a      fib:-113 udp 10.0.0.1:5000>10.0.9.9:53 iif=1 pid=5 cpu=1
        ",
    );
    let found: Vec<_> = scene
        .trace()
        .beside
        .iter()
        .map(|event| (event.netns, event.process.is_some()))
        .collect();
    let (a, r) = (scene.device("a/eth0").netns, scene.device("r/ra").netns);
    assert_eq!(found, [(Some(r), false), (Some(a), true)]);
}

#[test]
fn many_flows_stay_within_bounds_and_are_all_counted() {
    let settings = Settings {
        flows: 10,
        journeys: 40,
        open: 20,
        ..Settings::default()
    };
    let mut scene = Scene::new(PAIR).with(settings);
    for port in 1..=200u64 {
        let at = port * 200_000;
        let syn = format!("tcp 10.0.0.1:40000>10.0.0.2:{port} S seq=1 id={port}");
        let answer = format!("tcp 10.0.0.2:{port}>10.0.0.1:40000 SA seq=1 ack=2 id={port}");
        scene.play(&format!(
            "
            {at} client/eth0 egress s1 {syn}
            {at} server/eth0 rx s1 {syn}
            "
        ));
        if port <= 100 {
            scene.play(&format!(
                "
                {at} server/eth0 egress s2 {answer}
                {at} - consume@tcp_rcv_state_process s1 {syn}
                {at} client/eth0 rx s2 {answer}
                "
            ));
        } else {
            scene.play(&format!(
                "{at} server/eth0 drop:NO_SOCKET@tcp_v4_rcv s1 {syn}"
            ));
        }
        scene.wait(100);
    }
    scene.end();
    let trace = scene.trace();
    assert_eq!((trace.packets, trace.flows_seen), (300, 200));
    assert!(trace.flows.len() <= 10 && trace.journeys.len() <= 60);
    // losses stay, healthy flows made room for them
    let lossy = |flow: &&crate::model::Flow| flow.fates.values().any(|f| f.dropped > 0);
    assert_eq!(trace.flows.iter().filter(lossy).count(), 10);
    let kept = trace.flow(trace.flows.last().unwrap().id).unwrap();
    assert_eq!(
        kept.asked(),
        Some(tuple("tcp", "10.0.0.1:40000>10.0.0.2:110"))
    );
}

const TRANSLATED: &str =
    "client/eth0 10.0.0.2 = node/v1 10.0.0.1\nnode/eth0 10.9.0.1 = server/eth0 10.9.0.2";

#[test]
fn a_flow_that_was_seen_behind_its_translation_first_is_one_flow() {
    // the first answer and the second request are seen behind the translator alone, as by another node
    for first in [
        "10 server/eth0 egress s1 udp 10.9.0.2:5353>10.0.0.2:5555 id=1",
        "10 server/eth0 ingress s1 udp 10.0.0.2:5555>10.9.0.2:5353 id=1",
    ] {
        let mut scene = Scene::new(TRANSLATED);
        scene.play(first);
        scene.wait(3000);
        scene.play(
            "3100000 client/eth0 egress s2 udp 10.0.0.2:5555>10.96.0.10:53 id=2
            3100010 node/v1 ingress s2 udp 10.0.0.2:5555>10.96.0.10:53 id=2
            3100020 node/eth0 egress s2 udp 10.0.0.2:5555>10.9.0.2:5353 id=2 ttl=63
            3100030 server/eth0 ingress s2 udp 10.0.0.2:5555>10.9.0.2:5353 id=2 ttl=63
            3100040 server/eth0 egress s3 udp 10.9.0.2:5353>10.0.0.2:5555 id=3
            3100050 node/eth0 ingress s3 udp 10.9.0.2:5353>10.0.0.2:5555 id=3
            3100060 node/v1 egress s3 udp 10.96.0.10:53>10.0.0.2:5555 id=3 ttl=63
            3100070 client/eth0 ingress s3 udp 10.96.0.10:53>10.0.0.2:5555 id=3 ttl=63",
        );
        scene.end();
        let flows: Vec<String> = scene
            .trace()
            .flows
            .iter()
            .map(|flow| {
                let seen: Vec<_> = flow.journeys_seen.iter().collect();
                format!("{} {seen:?}", flow.asked().unwrap())
            })
            .collect();
        let expected = if first.contains("egress") {
            "[(Forward, 1), (Reply, 2)]"
        } else {
            "[(Forward, 2), (Reply, 1)]"
        };
        assert_eq!(
            flows,
            [format!("udp 10.0.0.2:5555 > 10.96.0.10:53 {expected}")],
            "{first}"
        );
        let flow = scene.trace().flows.first().unwrap();
        let places = flow.forward.hops.len() + flow.reply.hops.len();
        assert_eq!(places, 8, "{first}");
        assert_eq!(scene.trace().flows_seen, 1);
    }
}

#[test]
fn a_port_that_a_translator_uses_again_is_no_bond_between_flows() {
    let mut scene = Scene::new(TRANSLATED);
    scene.play(
        "10 node/v1 ingress s1 udp 10.0.0.2:5555>10.9.0.2:53 id=1
        20 node/eth0 egress s1 udp 10.9.0.1:1024>10.9.0.2:53 id=1 ttl=63",
    );
    scene.wait(3000);
    scene.play(
        "3100000 node/v1 ingress s2 udp 10.0.0.3:7777>10.9.0.2:53 id=2
        3100010 node/eth0 egress s2 udp 10.9.0.1:1024>10.9.0.2:53 id=2 ttl=63",
    );
    scene.end();
    assert_eq!(scene.trace().flows.len(), 2);
}

#[test]
fn what_a_node_follows_for_others_opens_no_flow_by_itself() {
    let mut scene = Scene::new(TRANSLATED);
    let node = TracedNode {
        id: NodeId(1),
        name: "far".to_owned(),
        run: Run {
            also: vec![Also {
                expression: "udp and dst host 10.9.0.2".to_owned(),
                from: KtimeNs(0),
            }],
            ..Run::default()
        },
        clock: NodeClock::REFERENCE,
        from: KtimeNs(0),
        until: None,
    };
    scene.host.apply(KtimeNs(0), Fact::Node(Box::new(node)));
    let netns = scene.device("server/eth0").netns;
    scene.host.apply(
        KtimeNs(0),
        Fact::Namespace(Namespace {
            process: None,
            path: None,
            netns,
            name: "server".to_owned(),
            node: Some(NodeId(1)),
        }),
    );
    scene.play(
        "10 server/eth0 ingress s1 udp 10.0.0.7:4444>10.9.0.2:5353 id=1 learned
        20 node/v1 ingress s2 udp 10.0.0.2:5555>10.96.0.10:53 id=2
        30 node/eth0 egress s2 udp 10.0.0.2:5555>10.9.0.2:5353 id=2 ttl=63
        40 server/eth0 ingress s2 udp 10.0.0.2:5555>10.9.0.2:5353 id=2 ttl=63 learned",
    );
    scene.end();
    let flows = &scene.trace().flows;
    assert_eq!(flows.len(), 1);
    let hops = flows.first().unwrap().forward.hops.len();
    assert_eq!(hops, 3, "{:?}", scene.journeys());
}

#[test]
fn a_datagram_from_another_address_of_the_host_that_was_asked_is_its_answer() {
    let topology = &format!("{PAIR}\nserver/vip0 10.0.0.3");
    let asked = "10 client/eth0 egress s1 udp 10.0.0.1:4000>10.0.0.2:53\n\
         20 server/eth0 ingress s1 udp 10.0.0.1:4000>10.0.0.2:53\n";
    let flows = |answer: &str| {
        let scene = run(topology, &format!("{asked}{answer}"));
        let last = scene.trace().journeys.values().next_back().unwrap();
        (scene.trace().flows.len(), last.direction)
    };
    let other = "30 server/eth0 egress s2 udp 10.0.0.3:53>10.0.0.1:4000";
    assert_eq!(flows(other), (1, Direction::Reply));
    // as it comes in, where the server is not seen
    let other = "30 client/eth0 ingress s2 udp 10.9.9.9:53>10.0.0.1:4000";
    assert_eq!(flows(other), (1, Direction::Reply));
    // from another port, from a host that was not asked, and over another protocol
    for stranger in [
        "30 server/eth0 egress s2 udp 10.0.0.3:54>10.0.0.1:4000",
        "30 server/eth0 egress s2 udp 10.9.9.9:53>10.0.0.1:4000",
        "30 server/eth0 egress s2 tcp 10.0.0.3:53>10.0.0.1:4000 A",
    ] {
        assert_eq!(flows(stranger).0, 2, "{stranger}");
    }
}
