//! Which event is of which packet.

use super::script::{Scene, run};

const CHAIN: &str = "
    client/eth0 10.0.1.2 = router/ra 10.0.1.1
    router/rb 10.0.2.1 = server/eth0 10.0.2.2
";

#[test]
fn one_buffer_through_a_chain_of_namespaces() {
    let scene = run(
        CHAIN,
        "
        10 client/eth0 egress s1 udp 10.0.1.2:5000>10.0.2.2:53 id=7
        11 client/eth0 queue  s1 udp 10.0.1.2:5000>10.0.2.2:53 id=7
        20 router/ra   rx     s1 udp 10.0.1.2:5000>10.0.2.2:53 id=7
        21 router/ra ingress  s1 udp 10.0.1.2:5000>10.0.2.2:53 id=7
        30 router/rb   egress s1 udp 10.0.1.2:5000>10.0.2.2:53 id=7 ttl=63
        40 server/eth0 rx     s1 udp 10.0.1.2:5000>10.0.2.2:53 id=7 ttl=63
        50 server      ready     udp 10.0.2.2:53>0.0.0.0:0
        60 server      read:20   udp 10.0.2.2:53>0.0.0.0:0 pid=77
        ",
    );
    assert_eq!(
        scene.journeys(),
        [
            "1 forward delivered: out client/eth0, out client/eth0, in router/ra, in router/ra, \
          out router/rb, in server/eth0, reached cpu, read cpu"
        ]
    );
    assert_eq!(
        scene.paths().0,
        "client/eth0> >router/ra router/rb> >server/eth0"
    );
}

#[test]
fn events_of_several_cpus_may_come_in_the_wrong_order() {
    let scene = run(
        CHAIN,
        "
        20 router/ra   rx     s1 udp 10.0.1.2:5000>10.0.2.2:53 id=7
        10 client/eth0 egress s1 udp 10.0.1.2:5000>10.0.2.2:53 id=7 cpu=1
        30 router/rb   egress s1 udp 10.0.1.2:5000>10.0.2.2:53 id=7 ttl=63
        12 client/eth0 queue  s1 udp 10.0.1.2:5000>10.0.2.2:53 id=7 cpu=1
        ",
    );
    assert_eq!(scene.trace().journeys.len(), 1);
    assert_eq!(scene.paths().0, "client/eth0> >router/ra router/rb>-1");
}

#[test]
fn a_recycled_buffer_is_another_packet() {
    let scene = run(
        CHAIN,
        "
        10 client/eth0 egress s1 udp 10.0.1.2:5000>10.0.2.2:53 id=7
        20 router/ra   rx     s1 udp 10.0.1.2:5000>10.0.2.2:53 id=7
        30 client/eth0 egress s1 udp 10.0.1.2:5000>10.0.2.2:53 id=8
        40 router/ra   rx     s1 udp 10.0.1.2:5000>10.0.2.2:53 id=8
        ",
    );
    assert_eq!(scene.trace().packets, 2);
    assert_eq!(scene.paths().0, "client/eth0>*2 >router/ra*2-2");
}

#[test]
fn an_echoed_payload_in_a_recycled_buffer_is_an_answer() {
    let scene = run(
        CHAIN,
        "
        10 client/eth0 egress s1 udp 10.0.1.2:5000>10.0.2.2:53 id=0
        20 router/ra   rx     s1 udp 10.0.1.2:5000>10.0.2.2:53 id=0
        30 server/eth0 rx     s1 udp 10.0.1.2:5000>10.0.2.2:53 id=0
        31 server      ready     udp 10.0.2.2:53>0.0.0.0:0
        40 server/eth0 egress s1 udp 10.0.2.2:53>10.0.1.2:5000 id=0
        50 client/eth0 rx     s1 udp 10.0.2.2:53>10.0.1.2:5000 id=0
        51 client      ready     udp 10.0.1.2:5000>10.0.2.2:53
        ",
    );
    assert_eq!(scene.trace().packets, 2);
    assert_eq!(
        scene.paths(),
        (
            "client/eth0> >router/ra >server/eth0".to_owned(),
            "server/eth0> >client/eth0".to_owned()
        )
    );
}

#[test]
fn the_answer_to_one_asker_in_the_buffer_of_anothers_request_is_an_answer() {
    let scene = run(
        CHAIN,
        "
        10 client/eth0 egress s1 udp 10.0.1.2:5000>10.0.2.2:53 id=0
        30 server/eth0 rx     s1 udp 10.0.1.2:5000>10.0.2.2:53 id=0
        31 client/eth0 egress s2 udp 10.0.1.2:6000>10.0.2.2:53 id=0
        33 server/eth0 rx     s2 udp 10.0.1.2:6000>10.0.2.2:53 id=0
        40 server/eth0 egress s1 udp 10.0.2.2:53>10.0.1.2:6000 id=0
        50 client/eth0 rx     s1 udp 10.0.2.2:53>10.0.1.2:6000 id=0
        60 server/eth0 egress s2 udp 10.0.2.2:53>10.0.1.2:5000 id=0
        70 client/eth0 rx     s2 udp 10.0.2.2:53>10.0.1.2:5000 id=0
        ",
    );
    assert_eq!(scene.trace().packets, 4);
    assert_eq!(scene.trace().flows.len(), 2);
}

#[test]
fn an_answer_from_another_address_in_the_buffer_of_the_request_is_an_answer() {
    let scene = run(
        CHAIN,
        "
        10 client/eth0 egress s1 udp 10.0.1.2:5000>10.0.2.2:53 id=0 head=9
        30 server/eth0 rx     s1 udp 10.0.1.2:5000>10.0.2.2:53 id=0 head=9
        40 server/eth0 egress s2 udp 10.0.2.3:53>10.0.1.2:5000 id=0 head=9
        50 client/eth0 rx     s2 udp 10.0.2.3:53>10.0.1.2:5000 id=0 head=9
        ",
    );
    assert_eq!(scene.trace().packets, 2);
}

#[test]
fn a_retry_without_ip_id_in_the_same_buffer_is_another_packet() {
    let scene = run(
        CHAIN,
        "
        10 client/eth0 egress s1 udp 10.0.1.2:5000>10.0.2.2:53 id=0
        20 router/ra   rx     s1 udp 10.0.1.2:5000>10.0.2.2:53 id=0
        21 router/ra   drop:NETFILTER_DROP@nft_do_chain s1 udp 10.0.1.2:5000>10.0.2.2:53 id=0
        5000010 client/eth0 egress s1 udp 10.0.1.2:5000>10.0.2.2:53 id=0
        5000020 router/ra   rx     s1 udp 10.0.1.2:5000>10.0.2.2:53 id=0
        ",
    );
    assert_eq!(scene.fates(), ["forward dropped", "forward vanished"]);
}

#[test]
fn a_retry_without_ip_id_in_another_buffer_is_another_packet_though_the_first_is_under_way() {
    let scene = run(
        CHAIN,
        "
        10 client/eth0 egress s1 udp 10.0.1.2:5000>10.0.2.2:53 id=0
        20 router/ra   rx     s1 udp 10.0.1.2:5000>10.0.2.2:53 id=0
        30 client/eth0 egress s2 udp 10.0.1.2:5000>10.0.2.2:53 id=0
        40 router/ra   rx     s2 udp 10.0.1.2:5000>10.0.2.2:53 id=0
        ",
    );
    assert_eq!(scene.trace().packets, 2);
}

#[test]
fn a_retransmission_is_another_packet_even_in_the_same_buffer() {
    let scene = run(
        CHAIN,
        "
        10 client/eth0 egress s1 tcp 10.0.1.2:5000>10.0.2.2:80 S seq=100 id=7
        12 router/ra   rx     s1 tcp 10.0.1.2:5000>10.0.2.2:80 S seq=100 id=7
        13 router/ra   drop:NETFILTER_DROP@nft_do_chain s1 tcp 10.0.1.2:5000>10.0.2.2:80 S seq=100 id=7
        1000010 client/eth0 egress s1 tcp 10.0.1.2:5000>10.0.2.2:80 S seq=100 id=8
        1000011 -           retransmit s9 tcp 10.0.1.2:5000>10.0.2.2:80 S seq=100 id=8
        1000012 router/ra   rx     s1 tcp 10.0.1.2:5000>10.0.2.2:80 S seq=100 id=8
        ",
    );
    assert_eq!(scene.trace().packets, 2);
    assert_eq!(scene.trace().beside.len(), 1);
}

#[test]
fn pings_of_two_hosts_in_one_second_look_alike_and_are_not() {
    let network = "
        a/eth0 10.0.0.1 = r/pa 10.0.0.254
        b/eth0 10.0.0.2 = r/pb 10.0.1.254
    ";
    let scene = run(
        network,
        "
        10 a/eth0 egress s1 icmp 10.0.0.1>10.9.9.9:11 id=0
        12 r/pa   rx     s1 icmp 10.0.0.1>10.9.9.9:11 id=0
        13 -      consume@kfree_skb_partial s1 icmp 10.0.0.1>10.9.9.9:11 id=0
        14 b/eth0 egress s1 icmp 10.0.0.2>10.9.9.9:12 id=0
        16 r/pb   rx     s1 icmp 10.0.0.2>10.9.9.9:12 id=0
        ",
    );
    assert_eq!(scene.trace().packets, 2);
    assert_eq!(scene.trace().flows.len(), 2);
}

#[test]
fn a_tun_daemon_makes_the_packet_anew_even_in_the_same_buffer() {
    let network = "
        client/eth0 10.0.1.2 = node/pa 10.0.1.1
        node/tun0 - tun
        node/eth0 192.0.2.1
    ";
    for again in ["s1", "s5"] {
        let scene = run(
            network,
            &format!(
                "
        10 client/eth0 egress s1 icmp 10.0.1.2>10.0.9.2:5 id=3
        12 node/pa     rx     s1 icmp 10.0.1.2>10.0.9.2:5 id=3
        14 node/tun0   egress s1 icmp 10.0.1.2>10.0.9.2:5 id=3 ttl=63
        16 node/tun0   copy:84 s1 icmp 10.0.1.2>10.0.9.2:5 id=3 ttl=63 pid=9
        17 node/tun0   consume@tun_do_read s1 icmp 10.0.1.2>10.0.9.2:5 id=3 ttl=63
        40 node/eth0   egress {again} icmp 10.0.1.2>10.0.9.2:5 id=3 ttl=63 vxlan=1:192.0.2.1:4000>192.0.2.2:8285
        "
            ),
        );
        assert_eq!(
            scene.journeys(),
            [
                "1 forward left: out client/eth0, in node/pa, out node/tun0, read node/tun0, \
              consumed node/tun0, out node/eth0 again"
            ]
        );
        assert_eq!(
            scene.paths().0,
            "client/eth0> >node/pa node/tun0> node/eth0>"
        );
    }
}

#[test]
fn the_path_goes_on_behind_a_daemon_whose_datagram_ends_last() {
    let network = "
        client/eth0 10.0.1.2 = node/pa 10.0.1.1
        node/tun0 - tun
        node/eth0 192.0.2.1 = far/eth0 192.0.2.2
        far/tun0 10.0.9.2 tun
    ";
    let scene = run(
        network,
        "
        10 client/eth0 egress s1 icmp 10.0.1.2>10.0.9.2:5 id=3
        12 node/pa     rx     s1 icmp 10.0.1.2>10.0.9.2:5 id=3
        14 node/tun0   egress s1 icmp 10.0.1.2>10.0.9.2:5 id=3 ttl=63
        16 node/tun0   copy:84 s1 icmp 10.0.1.2>10.0.9.2:5 id=3 ttl=63 pid=9
        17 node/tun0   consume@tun_do_read s1 icmp 10.0.1.2>10.0.9.2:5 id=3 ttl=63
        40 node/eth0   egress s5 icmp 10.0.1.2>10.0.9.2:5 id=3 ttl=63 vxlan=1:192.0.2.1:4000>192.0.2.2:8285
        42 far/eth0    rx     s5 icmp 10.0.1.2>10.0.9.2:5 id=3 ttl=63 vxlan=1:192.0.2.1:4000>192.0.2.2:8285
        60 far/tun0    rx     s6 icmp 10.0.1.2>10.0.9.2:5 id=3 ttl=63
        62 far/tun0    egress s7 icmp 10.0.9.2>10.0.1.2:5 id=9 reply
        63 far/tun0    consume@icmp_rcv s6 icmp 10.0.1.2>10.0.9.2:5 id=3 ttl=63
        64 -           consume@skb_defer_free_flush s5 icmp 10.0.1.2>10.0.9.2:5 id=3 ttl=63 vxlan=1:192.0.2.1:4000>192.0.2.2:8285
        ",
    );
    assert_eq!(
        scene.paths().0,
        "client/eth0> >node/pa node/tun0> node/eth0> >far/eth0 >far/tun0"
    );
}

/// The datagram that carried it is freed later, by the CPU that had made it.
#[test]
fn a_packet_lost_behind_a_daemon_is_lost_although_its_datagram_arrived() {
    let network = "
        client/eth0 10.0.1.2 = node/pa 10.0.1.1
        node/tun0 - tun
        node/eth0 192.0.2.1 = far/eth0 192.0.2.2
        far/tun0 10.0.9.1 tun
    ";
    let scene = run(
        network,
        "
        10 client/eth0 egress s1 icmp 10.0.1.2>10.0.9.2:5 id=3
        12 node/pa     rx     s1 icmp 10.0.1.2>10.0.9.2:5 id=3
        14 node/tun0   egress s1 icmp 10.0.1.2>10.0.9.2:5 id=3 ttl=63
        16 node/tun0   copy:84 s1 icmp 10.0.1.2>10.0.9.2:5 id=3 ttl=63 pid=9
        17 node/tun0   consume@tun_do_read s1 icmp 10.0.1.2>10.0.9.2:5 id=3 ttl=63
        40 node/eth0   egress s5 icmp 10.0.1.2>10.0.9.2:5 id=3 ttl=63 vxlan=1:192.0.2.1:4000>192.0.2.2:8285
        42 far/eth0    rx     s5 icmp 10.0.1.2>10.0.9.2:5 id=3 ttl=63 vxlan=1:192.0.2.1:4000>192.0.2.2:8285
        60 far/tun0    rx     s6 icmp 10.0.1.2>10.0.9.2:5 id=3 ttl=63
        61 far/tun0    drop:NETFILTER_DROP@nft_do_chain s6 icmp 10.0.1.2>10.0.9.2:5 id=3 ttl=63
        94 -           consume@skb_defer_free_flush s5 icmp 10.0.1.2>10.0.9.2:5 id=3 ttl=63 vxlan=1:192.0.2.1:4000>192.0.2.2:8285
        ",
    );
    assert_eq!(scene.fates(), ["forward dropped"]);
    assert_eq!(
        scene.paths().0,
        "client/eth0> >node/pa node/tun0> node/eth0> >far/eth0 >far/tun0-1"
    );
}

#[test]
fn a_daemon_that_swallows_packets_is_where_they_left() {
    let network = "
        client/eth0 10.0.1.2 = node/pa 10.0.1.1
        node/tun0 - tun
    ";
    let scene = run(
        network,
        "
        10 client/eth0 egress s1 icmp 10.0.1.2>10.0.9.2:5 id=3
        12 node/pa     rx     s1 icmp 10.0.1.2>10.0.9.2:5 id=3
        14 node/tun0   egress s1 icmp 10.0.1.2>10.0.9.2:5 id=3 ttl=63
        16 node/tun0   copy:84 s1 icmp 10.0.1.2>10.0.9.2:5 id=3 ttl=63 pid=9
        17 node/tun0   consume@tun_do_read s1 icmp 10.0.1.2>10.0.9.2:5 id=3 ttl=63
        ",
    );
    assert_eq!(scene.fates(), ["forward left"]);
}

#[test]
fn native_xdp_copies_into_a_new_buffer() {
    let scene = run(
        CHAIN,
        "
        10 client/eth0 egress s1 udp 10.0.1.2:5000>10.0.2.2:53 id=7
        12 -           consume@skb_pp_cow_data s1 udp 10.0.1.2:5000>10.0.2.2:53 id=7
        13 router/ra   ingress s2 udp 10.0.1.2:5000>10.0.2.2:53 id=7
        14 router/ra   drop:NETFILTER_DROP@nft_do_chain s2 udp 10.0.1.2:5000>10.0.2.2:53 id=7
        ",
    );
    assert_eq!(
        scene.journeys(),
        [
            "1 forward dropped: out client/eth0, consumed, in router/ra again, drop@nft_do_chain router/ra"
        ]
    );
}

#[test]
fn a_large_segment_is_cut_in_the_queue_and_merged_at_reception() {
    let big = "tcp 10.0.1.2:5000>10.0.2.2:80 A";
    let scene = run(
        CHAIN,
        &format!(
            "
        10 client/eth0 queue s1 {big} seq=1000 pay=30 id=7 segs=3
        11 client/eth0 consume@validate_xmit_skb s1 {big} seq=1000 pay=30 id=7
        12 client/eth0 xmit s2 {big} seq=1000 pay=10 id=7
        13 client/eth0 xmit s3 {big} seq=1010 pay=10 id=8
        14 client/eth0 xmit s4 {big} seq=1020 pay=10 id=9
        20 router/ra   rx   s2 {big} seq=1000 pay=30 id=7 segs=3
        30 router/rb   queue s2 {big} seq=1000 pay=30 id=7 segs=3 ttl=63
        40 server/eth0 rx   s2 {big} seq=1000 pay=30 id=7 segs=3 ttl=63
        50 server/eth0 probe s2 {big} seq=1000 pay=30 id=7 segs=3 ttl=63
        "
        ),
    );
    assert_eq!(
        scene.journeys(),
        [
            "1 forward delivered: out client/eth0, consumed client/eth0, out client/eth0 again, \
          out client/eth0 piece [1], out client/eth0 piece [2], in router/ra, out router/rb, \
          in server/eth0, reached server/eth0"
        ]
    );
}

#[test]
fn segments_merged_at_reception_arrive_with_the_one_that_holds_them() {
    let segment = "tcp 10.0.1.2:5000>10.0.2.2:80 A";
    let scene = run(
        "client/eth0 10.0.1.2 = server/eth0 10.0.2.2",
        &format!(
            "
        10 client/eth0 queue s2 {segment} seq=1000 pay=10 id=7
        11 client/eth0 queue s3 {segment} seq=1010 pay=10 id=8
        12 client/eth0 queue s4 {segment} seq=1020 pay=10 id=9
        20 server/eth0 rx    s2 {segment} seq=1000 pay=30 id=7 segs=3
        21 server/eth0 probe s2 {segment} seq=1000 pay=30 id=7 segs=3
        "
        ),
    );
    assert_eq!(scene.fates(), ["forward delivered"; 3]);
    assert_eq!(scene.paths().0, "client/eth0>*3 >server/eth0*3");
}

#[test]
fn a_retransmitted_part_of_a_large_segment_is_another_packet() {
    let segment = "tcp 10.0.1.2:5000>10.0.2.2:80 A";
    let scene = run(
        CHAIN,
        &format!(
            "
        10 client/eth0 queue s1 {segment} seq=1000 pay=30 id=7 segs=3
        12 router/ra   rx    s1 {segment} seq=1000 pay=30 id=7 segs=3
        200000 client/eth0 queue s5 {segment} seq=1010 pay=10 id=17
        200002 router/ra   rx    s5 {segment} seq=1010 pay=10 id=17
        "
        ),
    );
    assert_eq!(scene.trace().packets, 2);
}

#[test]
fn fragments_and_the_datagram_made_of_them_are_one_packet() {
    let udp = "udp 10.0.1.2:5000>10.0.2.2:53 id=77";
    let scene = run(
        CHAIN,
        &format!(
            "
        10 client/eth0 egress s1 {udp} pay=40 frag=0+
        11 client/eth0 egress s2 {udp} pay=40 frag=48
        20 router/ra   rx     s1 {udp} pay=40 frag=0+
        21 router/ra   rx     s2 {udp} pay=40 frag=48
        22 router/ra   consume@inet_frag_reasm_prepare s1 {udp} pay=40
        30 router/rb   queue  s2 {udp} pay=40 ttl=63
        31 router/rb   egress s5 {udp} pay=40 frag=0+ ttl=63
        32 router/rb   egress s6 {udp} pay=40 frag=48 ttl=63
        33 router/rb   consume@ip_do_fragment s2 {udp} pay=40 ttl=63
        40 server/eth0 rx     s5 {udp} pay=40 frag=0+ ttl=63
        41 server/eth0 rx     s6 {udp} pay=40 frag=48 ttl=63
        50 server      ready     udp 10.0.2.2:53>0.0.0.0:0
        "
        ),
    );
    assert_eq!(scene.fates(), ["forward delivered"]);
    assert_eq!(scene.trace().flows.len(), 1);
}

#[test]
fn the_loss_of_one_fragment_is_the_loss_of_the_packet() {
    let udp = "udp 10.0.1.2:5000>10.0.2.2:53 id=77";
    let scene = run(
        CHAIN,
        &format!(
            "
        10 client/eth0 egress s1 {udp} pay=40 frag=0+
        11 client/eth0 egress s2 {udp} pay=40 frag=48
        20 router/ra   rx     s1 {udp} pay=40 frag=0+
        21 router/ra   rx     s2 {udp} pay=40 frag=48
        22 router/ra   drop:NETFILTER_DROP@nft_do_chain s2 {udp} pay=40 frag=48
        30 router/rb   egress s1 {udp} pay=40 frag=0+ ttl=63
        40 server/eth0 rx     s1 {udp} pay=40 frag=0+ ttl=63
        "
        ),
    );
    assert_eq!(scene.fates(), ["forward dropped"]);
}

#[test]
fn the_loss_of_a_later_fragment_of_the_tunnels_packet_is_the_loss_of_what_is_inside() {
    let network = "
        n1/pa 10.1.0.1 = a/eth0 10.1.0.2
        n1/vx - vxlan
        n1/eth0 192.0.2.1 = mid/e1 192.0.2.9
    ";
    let inner = "udp 10.1.0.2:5000>10.2.0.2:53 id=7";
    let outer = "vxlan=42:192.0.2.1:4000>192.0.2.2:8472";
    let later = "udp 192.0.2.1:4000>192.0.2.2:8472 id=7 frag=1376";
    let scene = run(
        network,
        &format!(
            "
        10 a/eth0  egress s1 {inner}
        20 n1/pa   rx     s1 {inner}
        30 n1/vx   egress s1 {inner} ttl=63
        40 n1/eth0 egress s1 {inner} ttl=63 {outer} frag=0+
        41 n1/eth0 egress s2 {later}
        50 mid/e1  rx     s1 {inner} ttl=63 {outer} frag=0+
        51 mid/e1  rx     s2 {later}
        52 mid/e1  drop:NETFILTER_DROP@nft_do_chain s2 {later}
        "
        ),
    );
    assert_eq!(scene.fates(), ["forward dropped"]);
    assert_eq!(scene.trace().flows.len(), 1);
}

#[test]
fn a_routing_loop_is_one_packet_with_bounded_steps() {
    let network = "a/eth0 10.0.0.1 = b/eth0 10.0.0.2";
    let mut script = String::new();
    let mut at = 10;
    for ttl in (2..=64).rev().step_by(2) {
        for (place, hook, ttl) in [
            ("a/eth0", "egress", ttl),
            ("a/eth0", "queue", ttl),
            ("b/eth0", "rx", ttl),
            ("b/eth0", "ingress", ttl),
            ("b/eth0", "egress", ttl - 1),
            ("a/eth0", "rx", ttl - 1),
        ] {
            at += 1;
            script += &format!("{at} {place} {hook} s1 icmp 10.0.0.1>10.9.9.9:5 ttl={ttl}\n");
        }
    }
    at += 1;
    script += &format!("{at} a/eth0 drop:IP_INHDR@ip_forward s1 icmp 10.0.0.1>10.9.9.9:5 ttl=1\n");
    let scene = run(network, &script);
    assert_eq!(scene.fates(), ["forward dropped"]);
    let journey = scene.trace().journeys.values().next().unwrap();
    assert_eq!(journey.steps.len(), 128);
    assert_eq!(
        journey.steps.len() as u64 + journey.steps_dropped,
        32 * 6 + 1
    );
    assert_eq!(scene.paths().0, "a/eth0> >b/eth0 b/eth0> >a/eth0-1");
}

#[test]
fn flooded_copies_are_branches_and_only_the_one_that_was_taken_counts() {
    let network = "
        a/eth0 10.0.0.1 = sw/pa
        b/eth0 10.0.0.2 = sw/pb
        c/eth0 10.0.0.3 = sw/pc
    ";
    let udp = "udp 10.0.0.1:5000>10.0.0.2:53 id=7";
    let scene = run(
        network,
        &format!(
            "
        10 a/eth0 egress s1 {udp} head=1
        12 sw/pa  rx     s1 {udp} head=1 pt=3
        14 sw/pb  egress s2 {udp} head=1 pt=3 clone
        15 sw/pc  egress s1 {udp} head=1 pt=3
        20 b/eth0 rx     s2 {udp} head=1 clone
        21 c/eth0 rx     s1 {udp} head=1 pt=3
        22 c/eth0 drop:OTHERHOST@ip_rcv_core s1 {udp} head=1 pt=3
        23 b      ready     udp 10.0.0.2:53>0.0.0.0:0
        "
        ),
    );
    assert_eq!(
        scene.journeys(),
        [
            "1 forward delivered: out a/eth0, in sw/pa, out sw/pb clone [1], out sw/pc, \
          in b/eth0 [1], in c/eth0, drop@ip_rcv_core c/eth0, reached cpu [1]"
        ]
    );
    assert_eq!(scene.paths().0, "a/eth0> >sw/pa sw/pb> >b/eth0");
}

#[test]
fn a_frame_that_nobody_took_was_lost() {
    let network = "
        a/eth0 10.0.0.1 = sw/pa
        b/eth0 10.0.0.2 = sw/pb
        c/eth0 10.0.0.3 = sw/pc
    ";
    let udp = "udp 10.0.0.1:5000>10.0.0.2:53 id=7";
    let scene = run(
        network,
        &format!(
            "
        10 a/eth0 egress s1 {udp} head=1
        12 sw/pa  rx     s1 {udp} head=1 pt=3
        14 sw/pb  egress s2 {udp} head=1 pt=3 clone
        15 sw/pc  egress s1 {udp} head=1 pt=3
        20 b/eth0 rx     s2 {udp} head=1 pt=3 clone
        21 c/eth0 rx     s1 {udp} head=1 pt=3
        22 c/eth0 drop:OTHERHOST@ip_rcv_core s1 {udp} head=1 pt=3
        23 b/eth0 drop:OTHERHOST@ip_rcv_core s2 {udp} head=1 pt=3 clone
        "
        ),
    );
    assert_eq!(scene.fates(), ["forward dropped"]);
}

#[test]
fn the_end_of_a_copy_alone_is_no_packet() {
    // the rate limit left out all that the packet did
    let network = "
        a/eth0 10.0.0.1 = sw/pa
        c/eth0 10.0.0.3 = sw/pc
    ";
    let scene = run(
        network,
        "22 c/eth0 drop:OTHERHOST@ip_rcv_core s1 udp 10.0.0.1:5000>10.0.0.2:53 id=7 pt=3",
    );
    assert_eq!(scene.trace().packets, 0);
}

#[test]
fn a_clone_dropped_on_a_port_is_no_loss_while_another_goes_on() {
    let network = "
        a/eth0 10.0.0.1 = sw/pa
        sw/pb
        c/eth0 10.0.0.3 = sw/pc
    ";
    let udp = "udp 10.0.0.1:5000>10.0.0.2:53 id=7";
    let scene = run(
        network,
        &format!(
            "
        10 a/eth0 egress s1 {udp} head=1
        12 sw/pa  rx     s1 {udp} head=1 pt=3
        14 sw/pc  drop:NETFILTER_DROP@nft_do_chain<nft_do_chain_bridge<nf_hook_slow<__br_forward s2 {udp} head=1 pt=3 clone
        15 sw/pb  egress s1 {udp} head=1 pt=3
        "
        ),
    );
    assert_eq!(scene.fates(), ["forward left"]);
    assert_eq!(scene.paths().0, "a/eth0> >sw/pa sw/pb>");
}

#[test]
fn a_sniffers_copy_is_nothing() {
    let udp = "udp 10.0.1.2:5000>10.0.2.2:53 id=7";
    let scene = run(
        CHAIN,
        &format!(
            "
        10 client/eth0 queue s1 {udp} head=1
        11 client/eth0 consume@tpacket_rcv s2 {udp} head=1 clone
        20 router/ra   rx    s1 {udp} head=1 clone
        21 router/ra   drop:NETFILTER_DROP@nft_do_chain s1 {udp} head=1
        "
        ),
    );
    assert_eq!(scene.fates(), ["forward dropped"]);
}

#[test]
fn a_packet_that_waits_for_its_neighbour_is_still_the_same_seconds_later() {
    let udp = "udp 10.0.1.2:5000>10.0.2.2:53 id=7";
    let mut scene = Scene::new(CHAIN);
    scene.play(&format!(
        "
        10 client/eth0 egress s1 {udp}
        20 router/ra   rx     s1 {udp}
        21 router/rb   consume@__neigh_event_send s9 {udp} head=257
        "
    ));
    scene.wait(3000);
    assert_eq!(scene.fates(), ["forward vanished"]);
    scene.play(&format!(
        "3000020 router/rb drop:NEIGH_FAILED@neigh_invalidate s1 {udp} ttl=63"
    ));
    scene.end();
    assert_eq!(scene.fates(), ["forward dropped"]);
    assert_eq!(scene.trace().packets, 1);
}

#[test]
fn vxlan_keeps_the_buffer_and_shows_the_tunnel() {
    let network = "
        a/eth0 10.1.0.2 = n1/pa
        n1/vx - vxlan
        n1/eth0 192.0.2.1 = n2/eth0 192.0.2.2
        n2/vx - vxlan
        n2/pb 10.2.0.1 = b/eth0 10.2.0.2
    ";
    let inner = "udp 10.1.0.2:5000>10.2.0.2:53 id=7";
    let outer = "vxlan=42:192.0.2.1:4000>192.0.2.2:8472";
    let scene = run(
        network,
        &format!(
            "
        10 a/eth0  egress s1 {inner}
        20 n1/pa   rx     s1 {inner}
        30 n1/vx   egress s1 {inner} ttl=63 head=9
        40 n1/eth0 egress s1 {inner} ttl=63 head=9 {outer}
        50 n2/eth0 rx     s1 {inner} ttl=63 head=9 {outer}
        60 n2/vx   rx     s1 {inner} ttl=63 head=9
        70 n2/pb   egress s1 {inner} ttl=62 head=9
        80 b/eth0  rx     s1 {inner} ttl=62 head=9
        81 b       ready     udp 10.2.0.2:53>0.0.0.0:0
        "
        ),
    );
    assert_eq!(scene.fates(), ["forward delivered"]);
    let flow = scene.trace().flows.first().unwrap();
    assert_eq!(
        scene.path(&flow.forward),
        "a/eth0> >n1/pa n1/vx> n1/eth0> >n2/eth0 >n2/vx n2/pb> >b/eth0"
    );
    let rewrites = scene.rewrites(&flow.forward);
    assert_eq!(
        rewrites.get("n1/eth0").unwrap(),
        &["vxlan push vni 42 192.0.2.1 > 192.0.2.2"]
    );
    assert_eq!(
        rewrites.get("n2/vx").unwrap(),
        &["vxlan pop vni 42 192.0.2.1 > 192.0.2.2"]
    );
    assert_eq!(rewrites.get("n1/vx").unwrap(), &["ttl -1"]);
}

const COPIED: &str = "
    client/eth0 10.0.1.2 = router/ra 10.0.1.1
    router/rb 10.0.2.1 = server/eth0 10.0.2.2
    router/rm 10.0.3.1 = sniffer/eth0 10.0.3.9
";

/// What `TEE` and `dup` send elsewhere is a buffer of its own.
fn copied(end: &str) -> Scene {
    let script = "
        10 client/eth0  egress s1 udp 10.0.1.2:5000>10.0.2.2:53 id=3
        12 router/ra    rx     s1 udp 10.0.1.2:5000>10.0.2.2:53 id=3
        14 router/rm    egress s2 udp 10.0.1.2:5000>10.0.2.2:53 id=3 ttl=63
        16 router/rb    egress s1 udp 10.0.1.2:5000>10.0.2.2:53 id=3 ttl=63
        18 sniffer/eth0 rx     s2 udp 10.0.1.2:5000>10.0.2.2:53 id=3 ttl=63
    ";
    run(COPIED, &format!("{script}{end}"))
}

#[test]
fn a_copy_that_a_rule_sends_elsewhere_is_no_loss() {
    let scene = copied(
        "
        20 sniffer/eth0 drop:NETFILTER_DROP@nft_do_chain s2 udp 10.0.1.2:5000>10.0.2.2:53 id=3 ttl=63
        22 server/eth0  rx     s1 udp 10.0.1.2:5000>10.0.2.2:53 id=3 ttl=63
        24 server ready udp 10.0.2.2:53>0.0.0.0:0
        26 server/eth0  consume@skb_consume_udp s1 udp 10.0.1.2:5000>10.0.2.2:53 id=3 ttl=63
        ",
    );
    assert_eq!(scene.fates(), ["forward delivered"]);
}

#[test]
fn a_copy_that_arrives_is_not_the_packet_that_is_lost() {
    let scene = copied(
        "
        20 sniffer/eth0 consume@skb_consume_udp s2 udp 10.0.1.2:5000>10.0.2.2:53 id=3 ttl=63
        22 server/eth0  rx     s1 udp 10.0.1.2:5000>10.0.2.2:53 id=3 ttl=63
        24 server/eth0  drop:NETFILTER_DROP@nft_do_chain s1 udp 10.0.1.2:5000>10.0.2.2:53 id=3 ttl=63
        ",
    );
    assert_eq!(scene.fates(), ["forward dropped"]);
}
