//! Hops in order, exact numbers, forks and latency.

use tracer_common::hook;
use tracer_common::stats::{HopCount, HopKey, short_reason};

use super::script::{Scene, raw_tuple, run, tuple};
use crate::correlate::Unfollowed;
use crate::model::{Direction, DropInfo, KtimeNs, Losses};

const CHAIN: &str = "
    client/eth0 10.0.1.2 = router/ra 10.0.1.1
    router/rb 10.0.2.1 = server/eth0 10.0.2.2
";

#[test]
fn a_hop_that_some_packets_show_and_others_do_not_is_in_its_place() {
    let udp = "udp 10.0.1.2:5000>10.0.2.2:53";
    let scene = run(
        CHAIN,
        &format!(
            "
        10 client/eth0 egress s1 {udp} id=1
        20 router/rb   egress s1 {udp} id=1 ttl=63
        30 server/eth0 rx     s1 {udp} id=1 ttl=63
        40 client/eth0 egress s2 {udp} id=2
        50 router/ra   rx     s2 {udp} id=2
        60 router/rb   egress s2 {udp} id=2 ttl=63
        70 server/eth0 rx     s2 {udp} id=2 ttl=63
        "
        ),
    );
    assert_eq!(
        scene.paths().0,
        "client/eth0>*2 >router/ra router/rb>*2 >server/eth0*2-2"
    );
    let next: Vec<_> = scene
        .trace()
        .flows
        .first()
        .unwrap()
        .forward
        .hops
        .iter()
        .map(|hop| hop.next.clone())
        .collect();
    assert_eq!(next, [vec![1], vec![2], vec![3], vec![]]);
}

#[test]
fn two_backends_are_a_fork() {
    let network = "
        client/eth0 10.0.0.1 = lb/c 10.0.0.254
        lb/a 10.1.0.254 = a/eth0 10.1.0.1
        lb/b 10.2.0.254 = b/eth0 10.2.0.1
    ";
    let vip = "udp 10.0.0.1:5000>10.96.0.1:53";
    let scene = run(
        network,
        &format!(
            "
        10 client/eth0 egress s1 {vip} id=1
        11 lb/c   rx     s1 {vip} id=1
        12 lb/a   egress s1 udp 10.0.0.1:5000>10.1.0.1:53 id=1 ttl=63
        13 a/eth0 rx     s1 udp 10.0.0.1:5000>10.1.0.1:53 id=1 ttl=63
        20 client/eth0 egress s2 {vip} id=2
        21 lb/c   rx     s2 {vip} id=2
        22 lb/b   egress s2 udp 10.0.0.1:5000>10.2.0.1:53 id=2 ttl=63
        23 b/eth0 rx     s2 udp 10.0.0.1:5000>10.2.0.1:53 id=2 ttl=63
        30 client/eth0 egress s3 {vip} id=3
        31 lb/c   rx     s3 {vip} id=3
        32 lb/a   egress s3 udp 10.0.0.1:5000>10.1.0.1:53 id=3 ttl=63
        33 a/eth0 rx     s3 udp 10.0.0.1:5000>10.1.0.1:53 id=3 ttl=63
        "
        ),
    );
    assert_eq!(
        scene.paths().0,
        "client/eth0>*3 >lb/c*3 lb/a>*2 >a/eth0*2-2 lb/b> >b/eth0-1"
    );
    let flow = scene.trace().flows.first().unwrap();
    let fork = flow.forward.hops.get(1).unwrap();
    assert_eq!(fork.next, [2, 4]);
    let dnat = scene.rewrites(&flow.forward);
    assert_eq!(
        dnat.get("lb/b").unwrap(),
        &["dnat 10.96.0.1:53 > 10.2.0.1:53", "ttl -1"]
    );
}

#[test]
fn latency_is_from_the_first_sight_at_a_hop_to_the_first_at_the_next() {
    let udp = "udp 10.0.1.2:5000>10.0.2.2:53";
    let scene = run(
        CHAIN,
        &format!(
            "
        100 client/eth0 egress s1 {udp} id=1
        104 client/eth0 queue  s1 {udp} id=1
        110 router/ra   rx     s1 {udp} id=1
        112 router/ra  ingress s1 {udp} id=1
        150 router/rb   egress s1 {udp} id=1
        "
        ),
    );
    let hops = &scene.trace().flows.first().unwrap().forward.hops;
    let medians: Vec<_> = hops.iter().map(|h| h.latency.map(|l| l.p50)).collect();
    assert_eq!(medians, [Some(10_000), Some(40_000), None]);
}

#[test]
fn the_kernels_counters_are_the_numbers_of_the_path() {
    let mut scene = Scene::new(CHAIN);
    let udp = "udp 10.0.1.2:5000>10.0.2.2:53";
    scene.play(&format!(
        "
        10 client/eth0 egress s1 {udp} id=1
        20 router/ra   rx     s1 {udp} id=1
        "
    ));
    let key = |place: &str, hook: u8| {
        let device = scene.device(place);
        HopKey {
            tuple: raw_tuple(&tuple("udp", "10.0.1.2:5000>10.0.2.2:53"), 0),
            netns: device.netns.0,
            ifindex: device.ifindex.0,
            hook,
            asked: 0,
            reason: 0,
            site: 0,
        }
    };
    // the rate limit left out all events of the answers
    let answer = HopKey {
        tuple: raw_tuple(&tuple("udp", "10.0.2.2:53>10.0.1.2:5000"), 0),
        ..key("client/eth0", hook::TC_INGRESS)
    };
    let count = |packets| HopCount {
        packets,
        bytes: packets * 100,
        first_ns: 10_000,
        last_ns: 900_000,
    };
    let fragments = HopKey {
        tuple: raw_tuple(&tuple("udp", "10.0.1.2:0>10.0.2.2:0"), 0),
        ..key("router/ra", hook::NETIF_RECEIVE_SKB)
    };
    // of another flow no event came at all, and more flows than there are rows for were counted together
    let other = |text: &str, place: &str| HopKey {
        tuple: raw_tuple(&tuple("udp", text), 0),
        asked: 1,
        ..key(place, hook::TC_EGRESS)
    };
    let crowd = HopKey {
        tuple: raw_tuple(&tuple("udp", "0.0.0.0:0>0.0.0.0:0"), 0),
        ..key("client/eth0", hook::TC_EGRESS)
    };
    let rows = [
        (key("client/eth0", hook::TC_EGRESS), count(1000)),
        (key("client/eth0", hook::NET_DEV_QUEUE), count(990)),
        (key("router/ra", hook::NETIF_RECEIVE_SKB), count(700)),
        (fragments, count(30)),
        (key("router/ra", hook::KFREE_SKB), count(5000)),
        (answer, count(40)),
        (other("10.0.1.2:6000>10.0.2.2:53", "client/eth0"), count(7)),
        (other("10.0.1.2:6000>10.0.2.2:53", "router/rb"), count(5)),
        (other("10.0.2.2:53>10.0.1.2:6000", "client/eth0"), count(6)),
        (crowd, count(300)),
    ];
    scene
        .correlator
        .counters(KtimeNs(950_000), rows.into_iter(), Losses::default());
    scene.end();
    assert_eq!(scene.paths().0, "client/eth0>*1000 >router/ra*730-1");
    let rest = Unfollowed {
        flows: 1,
        packets: 13,
        crowded: 300,
    };
    assert_eq!(scene.trace().unfollowed, rest);
    let flow = scene.trace().flows.first().unwrap();
    assert_eq!(flow.packets.get(&Direction::Forward), Some(&1000));
    assert_eq!(flow.packets.get(&Direction::Reply), Some(&40));
    assert_eq!(flow.forward.hops.first().unwrap().bytes, 100_000);
}

#[test]
fn drops_of_which_no_event_was_sent_are_counted_with_those_of_the_same_place() {
    let udp = "udp 10.0.1.2:5000>10.0.2.2:53";
    let mut scene = Scene::new(CHAIN);
    scene.play(&format!(
        "
        10 client/eth0 egress s1 {udp} id=1
        20 router/ra   rx     s1 {udp} id=1
        30 router/ra   drop:NETFILTER_DROP@nft_do_chain s1 {udp} id=1
        40 client/eth0 egress s2 {udp} id=2
        50 router/ra   rx     s2 {udp} id=2
        60 router/ra   drop:NO_SOCKET@__udp4_lib_rcv s2 {udp} id=2
        "
    ));
    let (device, drops) = (scene.device("router/ra"), scene.drops());
    let [filter, socket] = drops.as_slice() else {
        panic!("{drops:?}");
    };
    let row = |info: &DropInfo, packets| {
        let key = HopKey {
            tuple: raw_tuple(&tuple("udp", "10.0.1.2:5000>10.0.2.2:53"), 0),
            netns: device.netns.0,
            ifindex: device.ifindex.0,
            hook: hook::KFREE_SKB,
            asked: 1,
            reason: short_reason(info.reason_code),
            site: info.site,
        };
        let count = HopCount {
            packets,
            ..HopCount::default()
        };
        (key, count)
    };
    // of a place without an event it is not known what its drops were
    let silent = DropInfo {
        site: 99,
        ..filter.clone()
    };
    let rows = [row(filter, 500), row(socket, 20), row(&silent, 7000)];
    let rows = || rows.into_iter();
    for _ in 0..2 {
        scene
            .correlator
            .counters(KtimeNs(950_000), rows(), Losses::default());
    }
    scene.end();
    let flow = scene.trace().flows.first().unwrap();
    let fates = flow.fates.get(&Direction::Forward).unwrap();
    assert_eq!(fates.dropped, 2 + 520);
    assert_eq!(flow.drops.values().copied().collect::<Vec<_>>(), [501, 21]);
}

#[test]
fn a_translation_that_only_the_drop_shows() {
    let scene = run(
        "
        client/eth0 10.0.1.2 = router/ra 10.0.1.1
        router/rb 10.0.2.1 = server/eth0 10.0.2.2
        ",
        "
        10 client/eth0 egress s1 udp 10.0.1.2:5000>10.9.9.9:53 id=7
        20 router/ra   rx     s1 udp 10.0.1.2:5000>10.9.9.9:53 id=7
        30 router/rb   drop:NEIGH_FAILED@neigh_invalidate s1 udp 10.0.1.2:5000>10.0.2.9:1053 id=7
        ",
    );
    let flow = scene.trace().flows.first().unwrap();
    let hop = flow.forward.hops.last().unwrap();
    let rewrites: Vec<_> = hop.rewrites.iter().map(ToString::to_string).collect();
    assert_eq!(rewrites, ["dnat 10.9.9.9:53 > 10.0.2.9:1053"]);
}
