//! What became of packets.

use super::script::{Scene, run};

const PAIR: &str = "client/eth0 10.0.0.1 = server/eth0 10.0.0.2";

#[test]
fn a_ping_and_its_answer_are_delivered_and_the_answers_freed_original_is_no_drop() {
    let scene = run(
        PAIR,
        "
        10 client/eth0 egress s1 icmp 10.0.0.1>10.0.0.2:5
        20 server/eth0 rx     s1 icmp 10.0.0.1>10.0.0.2:5
        30 server/eth0 egress s2 icmp 10.0.0.2>10.0.0.1:5 reply
        35 server/eth0 consume@icmp_rcv s1 icmp 10.0.0.1>10.0.0.2:5
        40 client/eth0 rx     s2 icmp 10.0.0.2>10.0.0.1:5 reply
        41 client      ready     icmp 0.0.0.0>0.0.0.0
        42 client/eth0 drop:NO_SOCKET@ping_rcv s2 icmp 10.0.0.2>10.0.0.1:5 reply
        ",
    );
    assert_eq!(scene.fates(), ["forward delivered", "reply delivered"]);
}

#[test]
fn an_echo_reply_that_icmp_rcv_frees_is_delivered() {
    for reason in ["NO_SOCKET", "NOT_SPECIFIED"] {
        let scene = run(
            PAIR,
            &format!(
                "
                10 client/eth0 egress s1 icmp 10.0.0.1>10.0.0.2:5
                20 server/eth0 rx     s1 icmp 10.0.0.1>10.0.0.2:5
                30 server/eth0 egress s2 icmp 10.0.0.2>10.0.0.1:5 reply
                35 server/eth0 consume@icmp_rcv s1 icmp 10.0.0.1>10.0.0.2:5
                40 client/eth0 rx     s2 icmp 10.0.0.2>10.0.0.1:5 reply
                42 client/eth0 drop:{reason}@icmp_rcv s2 icmp 10.0.0.2>10.0.0.1:5 reply
                "
            ),
        );
        assert_eq!(scene.fates(), ["forward delivered", "reply delivered"]);
    }
}

#[test]
fn what_was_freed_as_another_machines_did_not_reach_the_socket_that_gets_the_next_question() {
    let scene = run(
        PAIR,
        "
        10 client/eth0 egress s1 udp 10.0.0.1:5000>10.0.0.2:53 id=7
        20 server/eth0 rx     s1 udp 10.0.0.1:5000>10.0.0.2:53 id=7 pt=3
        21 server/eth0 drop:OTHERHOST@ip_rcv_core s1 udp 10.0.0.1:5000>10.0.0.2:53 id=7 pt=3
        90 server      ready     udp 10.0.0.2:53>0.0.0.0:0
        95 server      read:20   udp 10.0.0.2:53>0.0.0.0:0
        ",
    );
    assert_eq!(scene.fates(), ["forward dropped"]);
}

#[test]
fn an_echo_request_over_ipv6_that_is_freed_without_an_answer_is_lost() {
    let scene = run(
        "client/eth0 fd00::1 = server/eth0 fd00::2",
        "
        10 client/eth0 egress s1 icmp6 fd00::1>[fd00::2]:5
        20 server/eth0 rx     s1 icmp6 fd00::1>[fd00::2]:5
        35 server/eth0 drop:NOT_SPECIFIED@icmpv6_rcv s1 icmp6 fd00::1>[fd00::2]:5
        ",
    );
    assert_eq!(scene.fates(), ["forward dropped"]);
}

#[test]
fn an_echo_request_over_ipv6_that_is_freed_after_its_answer_is_delivered() {
    let scene = run(
        "client/eth0 fd00::1 = server/eth0 fd00::2",
        "
        10 client/eth0 egress s1 icmp6 fd00::1>[fd00::2]:5
        20 server/eth0 rx     s1 icmp6 fd00::1>[fd00::2]:5
        30 server/eth0 egress s2 icmp6 fd00::2>[fd00::1]:5 reply
        35 server/eth0 drop:NOT_SPECIFIED@icmpv6_rcv s1 icmp6 fd00::1>[fd00::2]:5
        40 client/eth0 rx     s2 icmp6 fd00::2>[fd00::1]:5 reply
        42 client/eth0 drop:NO_SOCKET@icmpv6_rcv s2 icmp6 fd00::2>[fd00::1]:5 reply
        ",
    );
    assert_eq!(scene.fates(), ["forward delivered", "reply delivered"]);
}

#[test]
fn an_echo_request_that_is_ignored_is_consumed_without_an_answer() {
    let scene = run(
        PAIR,
        "
        10 client/eth0 egress s1 icmp 10.0.0.1>10.0.0.2:5
        20 server/eth0 rx     s1 icmp 10.0.0.1>10.0.0.2:5
        35 server/eth0 consume@icmp_rcv s1 icmp 10.0.0.1>10.0.0.2:5
        ",
    );
    assert_eq!(scene.fates(), ["forward consumed"]);
}

#[test]
fn datagrams_are_delivered_in_the_order_in_which_their_cpu_took_them_in() {
    let scene = run(
        PAIR,
        "
        10 server/eth0 rx s1 udp 10.0.0.1:5000>10.0.0.2:53 id=1
        11 server/eth0 rx s2 udp 10.0.0.1:5000>10.0.0.2:53 id=2
        12 server/eth0 rx s3 udp 10.0.0.1:5000>10.0.0.2:53 id=3
        20 server/eth0 drop:SOCKET_RCVBUFF@udp_queue_rcv_one_skb s1 udp 10.0.0.1:5000>10.0.0.2:53 id=1
        21 server ready udp 10.0.0.2:53>10.0.0.1:5000
        22 server ready udp 10.0.0.2:53>10.0.0.1:5000
        90 server read:4 udp 10.0.0.2:53>10.0.0.1:5000 cpu=1 pid=7
        91 server read:-11 udp 10.0.0.2:53>10.0.0.1:5000 cpu=1 pid=7
        ",
    );
    assert_eq!(
        scene.journeys(),
        [
            "1 forward dropped: in server/eth0, drop@udp_queue_rcv_one_skb server/eth0",
            "2 forward delivered: in server/eth0, reached cpu, read cpu",
            "3 forward delivered: in server/eth0, reached cpu",
        ]
    );
}

#[test]
fn a_list_is_taken_in_before_it_is_delivered() {
    let udp = "udp 10.0.0.1:5000>10.0.0.2:53";
    let scene = run(
        PAIR,
        &format!(
            "
        10 server/eth0 rx s1 {udp} id=1
        11 server/eth0 rx s2 {udp} id=2
        12 server/eth0 rx s3 {udp} id=3
        20 server ready s3 udp 10.0.0.2:53>0.0.0.0:0 id=3
        21 server ready s3 udp 10.0.0.2:53>0.0.0.0:0 id=3
        22 server ready s3 udp 10.0.0.2:53>0.0.0.0:0 id=3
        "
        ),
    );
    assert_eq!(scene.fates(), ["forward delivered"; 3]);
}

#[test]
fn a_packet_translated_to_a_local_port_reached_the_socket_that_got_it() {
    let scene = run(
        PAIR,
        "
        10 server/eth0 rx s1 udp 10.0.0.1:5000>10.0.0.2:53 id=1
        20 server ready s1 udp 10.0.0.2:5353>0.0.0.0:0 id=1
        30 server read:9 udp 10.0.0.2:5353>0.0.0.0:0 pid=4
        ",
    );
    assert_eq!(
        scene.journeys(),
        ["1 forward delivered: in server/eth0, reached, read cpu"]
    );
}

#[test]
fn a_socket_of_another_namespace_or_port_got_something_else() {
    let scene = run(
        PAIR,
        "
        10 server/eth0 rx s1 udp 10.0.0.1:5000>10.0.0.2:53 id=1
        20 client ready udp 10.0.0.2:53>0.0.0.0:0
        21 server ready udp 10.0.0.2:54>0.0.0.0:0
        22 server ready udp 10.0.0.2:53>10.0.0.1:5001
        ",
    );
    assert_eq!(scene.fates(), ["forward vanished"]);
    assert_eq!(scene.trace().beside.len(), 3);
}

#[test]
fn a_handshake_is_delivered_though_half_of_its_ends_are_silent() {
    let scene = run(
        PAIR,
        "
        10 client/eth0 egress s1 tcp 10.0.0.1:5000>10.0.0.2:80 S seq=1 id=1
        20 server/eth0 rx     s1 tcp 10.0.0.1:5000>10.0.0.2:80 S seq=1 id=1
        21 server/eth0 egress s2 tcp 10.0.0.2:80>10.0.0.1:5000 SA seq=9 ack=2 id=0
        22 -           consume@tcp_rcv_state_process s1 tcp 10.0.0.1:5000>10.0.0.2:80 S seq=1 id=1
        30 client/eth0 rx     s2 tcp 10.0.0.2:80>10.0.0.1:5000 SA seq=9 ack=2 id=0
        31 client/eth0 egress s3 tcp 10.0.0.1:5000>10.0.0.2:80 A seq=2 ack=10 id=2
        40 server/eth0 rx     s3 tcp 10.0.0.1:5000>10.0.0.2:80 A seq=2 ack=10 id=2
        41 server      ready     tcp 10.0.0.2:80>0.0.0.0:0
        ",
    );
    assert_eq!(
        scene.fates(),
        ["forward delivered", "reply delivered", "forward delivered"]
    );
}

#[test]
fn a_syn_that_a_full_queue_swallows_is_consumed_without_an_answer() {
    let scene = run(
        PAIR,
        "
        10 client/eth0 egress s1 tcp 10.0.0.1:5000>10.0.0.2:80 S seq=1 id=1
        20 server/eth0 rx     s1 tcp 10.0.0.1:5000>10.0.0.2:80 S seq=1 id=1
        22 -           consume@tcp_rcv_state_process s1 tcp 10.0.0.1:5000>10.0.0.2:80 S seq=1 id=1
        ",
    );
    assert_eq!(scene.fates(), ["forward consumed"]);
}

#[test]
fn ends_of_a_healthy_connection_are_no_losses() {
    let scene = run(
        PAIR,
        "
        10 client/eth0 rx s1 tcp 10.0.0.2:80>10.0.0.1:5000 FA seq=9 ack=2 id=1
        11 client/eth0 drop:NOT_SPECIFIED@tcp_v4_rcv s1 tcp 10.0.0.2:80>10.0.0.1:5000 FA seq=9 ack=2 id=1
        20 server/eth0 rx s2 tcp 10.0.0.1:5000>10.0.0.2:80 R seq=3 id=2
        21 server/eth0 drop:NO_SOCKET@tcp_v4_rcv s2 tcp 10.0.0.1:5000>10.0.0.2:80 R seq=3 id=2
        30 server/eth0 rx s3 tcp 10.0.0.1:5000>10.0.0.2:80 A seq=3 pay=10 id=3
        31 server/eth0 probe s3 tcp 10.0.0.1:5000>10.0.0.2:80 A seq=3 pay=10 id=3
        32 - drop:QUEUE_PURGE@skb_queue_purge_reason s3 tcp 10.0.0.1:5000>10.0.0.2:80 A seq=3 pay=10 id=3
        40 server/eth0 rx s4 tcp 10.0.0.1:5000>10.0.0.2:80 A seq=3 pay=10 id=4
        41 server/eth0 probe s4 tcp 10.0.0.1:5000>10.0.0.2:80 A seq=3 pay=10 id=4
        42 - drop:TCP_OLD_DATA@tcp_rcv_established s4 tcp 10.0.0.1:5000>10.0.0.2:80 A seq=3 pay=10 id=4
        50 server/eth0 rx s5 tcp 10.0.0.1:5000>10.0.0.2:80 A seq=13 id=5
        51 - drop:NOT_SPECIFIED@tcp_rcv_state_process s5 tcp 10.0.0.1:5000>10.0.0.2:80 A seq=13 id=5
        ",
    );
    assert_eq!(
        scene.fates(),
        [
            "reply delivered",
            "forward delivered",
            "forward delivered",
            "forward delivered",
            "forward delivered"
        ]
    );
}

#[test]
fn a_packet_made_up_to_ask_for_a_route_is_none() {
    let scene = run(
        PAIR,
        "
        10 server/eth0 drop:NOT_SPECIFIED@inet_rtm_getroute s1 icmp 10.0.0.1>10.0.0.2:0
        ",
    );
    assert_eq!(scene.trace().packets, 0);
}

#[test]
fn segments_that_a_connection_refuses_are_losses_although_they_reached_it() {
    let scene = run(
        PAIR,
        "
        10 server/eth0 rx s1 tcp 10.0.0.1:5000>10.0.0.2:80 A seq=3 pay=10 id=3
        11 server/eth0 probe s1 tcp 10.0.0.1:5000>10.0.0.2:80 A seq=3 pay=10 id=3
        12 - drop:TCP_RFC7323_PAWS@tcp_validate_incoming s1 tcp 10.0.0.1:5000>10.0.0.2:80 A seq=3 pay=10 id=3
        20 server/eth0 rx s2 tcp 10.0.0.1:5001>10.0.0.2:81 S seq=3 id=3
        21 server/eth0 drop:NO_SOCKET@tcp_v4_rcv s2 tcp 10.0.0.1:5001>10.0.0.2:81 S seq=3 id=3
        22 server/eth0 rx s3 tcp 10.0.0.1:5002>10.0.0.2:82 A seq=3 pay=5 id=3
        23 server/eth0 drop:NOT_SPECIFIED@tcp_v4_rcv s3 tcp 10.0.0.1:5002>10.0.0.2:82 A seq=3 pay=5 id=3
        ",
    );
    assert_eq!(scene.fates(), ["forward dropped"; 3]);
}

#[test]
fn a_packet_leaves_through_a_device_without_a_visible_other_end() {
    let network = "
        pod/eth0 10.0.0.2 = node/pa 10.0.0.1
        node/eth0 192.0.2.1
    ";
    let out = "
        10 pod/eth0  egress s1 udp 10.0.0.2:5000>8.8.8.8:53 id=1
        20 node/pa   rx     s1 udp 10.0.0.2:5000>8.8.8.8:53 id=1
        30 node/eth0 queue  s1 udp 10.0.0.2:5000>8.8.8.8:53 id=1 ttl=63
    ";
    assert_eq!(run(network, out).fates(), ["forward left"]);
    let sent = format!(
        "{out}
        60 - consume@napi_consume_skb s1 udp 10.0.0.2:5000>8.8.8.8:53 id=1 ttl=63"
    );
    assert_eq!(run(network, &sent).fates(), ["forward left"]);
    // a cable's other end is seen: there it should have come out
    let lost = "
        10 pod/eth0  egress s1 udp 10.0.0.2:5000>8.8.8.8:53 id=1
    ";
    assert_eq!(run(network, lost).fates(), ["forward vanished"]);
}

#[test]
fn a_young_packet_is_on_its_way() {
    let mut scene = Scene::new(PAIR);
    scene.play("10 client/eth0 egress s1 udp 10.0.0.1:5000>10.0.0.2:53 id=1");
    scene.wait(100);
    assert_eq!(scene.fates(), ["forward in flight"]);
    let flow = scene.trace().flows.first().unwrap();
    let counts = flow.fates.get(&crate::model::Direction::Forward).unwrap();
    assert_eq!((counts.in_flight, counts.vanished), (1, 0));
    scene.wait(300);
    assert_eq!(scene.fates(), ["forward vanished"]);
    let flow = scene.trace().flows.first().unwrap();
    let counts = flow.fates.get(&crate::model::Direction::Forward).unwrap();
    assert_eq!((counts.in_flight, counts.vanished), (0, 1));
}

#[test]
fn the_loss_of_an_error_is_not_the_loss_of_its_packet() {
    let network = "
        a/eth0 10.0.0.1 = r/ra 10.0.0.254
        r/rb 10.0.1.254
    ";
    let lost = "udp 10.0.0.1:5000>10.0.1.2:53 id=1";
    let scene = run(
        network,
        &format!(
            "
        10 a/eth0 egress s1 {lost}
        20 r/ra   rx     s1 {lost}
        21 r/ra   icmp_send:3 s1 {lost}
        22 r      drop:NETFILTER_DROP@nft_do_chain<nf_hook_slow<__ip_local_out<__icmp_send s2 icmp 10.0.0.254>10.0.0.1 type=3 code=0 id=9 quote=udp,10.0.0.1:5000>10.0.1.2:53
        23 r/ra   drop:IP_INNOROUTES@ip_error s1 {lost}
        "
        ),
    );
    assert_eq!(
        scene.journeys(),
        [
            "1 forward dropped: out a/eth0, in r/ra, icmp_send r/ra, drop@ip_error r/ra",
            "2 error dropped: drop@nft_do_chain",
        ]
    );
    assert_eq!(scene.trace().flows.len(), 1);
}

#[test]
fn without_a_view_of_sockets_reception_by_the_owner_is_delivery() {
    let mut scene = Scene::new(PAIR);
    let losses = crate::model::Losses {
        thinned: vec![("sk_data_ready".to_owned(), 3)],
        ..crate::model::Losses::default()
    };
    scene
        .correlator
        .counters(crate::model::KtimeNs(1), std::iter::empty(), losses);
    scene.play("10 server/eth0 rx s1 udp 10.0.0.1:5000>10.0.0.2:53 id=1");
    scene.end();
    assert_eq!(scene.fates(), ["forward delivered"]);
}

#[test]
fn a_fragmented_echo_request_arrived_when_its_reply_is_made() {
    // a fragment's bytes are its payload alone: of this one type 8, code 0, and the number 0x7878
    let asked = "10 client/eth0 egress  s1 icmp 10.0.0.1>10.0.0.2:7 seq=134217728 pay=40 frag=0+ id=9\n\
         11 client/eth0 egress  s2 icmp 10.0.0.1>10.0.0.2:0 pay=40 frag=48 id=9\n\
         12 server/eth0 ingress s1 icmp 10.0.0.1>10.0.0.2:7 seq=134217728 pay=40 frag=0+ id=9\n\
         13 server/eth0 ingress s2 icmp 10.0.0.1>10.0.0.2:0 pay=40 frag=48 id=9\n";
    let fates = |answer: &str| run(PAIR, &format!("{asked}{answer}")).fates();
    let answer = "20 server/eth0 egress s3 icmp 10.0.0.2>10.0.0.1:7 reply n=30840 id=4";
    assert_eq!(fates(answer), ["forward delivered", "reply vanished"]);
    let another = "20 server/eth0 egress s3 icmp 10.0.0.2>10.0.0.1:7 reply n=4 id=4";
    assert!(!fates(another).contains(&"forward delivered".to_owned()));
}

#[test]
fn what_a_host_sends_into_open_vswitch_does_not_leave_by_that() {
    let network = "node/gw0 10.0.0.1 openvswitch\nnode/eth0 - = far/eth0 10.0.0.9";
    let in_the_switch = run(
        network,
        "
        10 node/gw0 egress s1 icmp 10.0.0.1>10.0.0.9:5
        12 node/gw0 consume s1 icmp 10.0.0.1>10.0.0.9:5
        ",
    );
    assert_eq!(in_the_switch.fates(), ["forward vanished"]);
    let through_it = run(
        network,
        "
        10 node/gw0  egress s1 icmp 10.0.0.1>10.0.0.9:5
        12 node/eth0 egress s1 icmp 10.0.0.1>10.0.0.9:5
        14 far/eth0  rx     s1 icmp 10.0.0.1>10.0.0.9:5
        16 far/eth0  egress s2 icmp 10.0.0.9>10.0.0.1:5 reply
        18 far/eth0  consume s1 icmp 10.0.0.1>10.0.0.9:5
        ",
    );
    assert_eq!(
        through_it.fates().first().map(String::as_str),
        Some("forward delivered")
    );
}

#[test]
fn a_copy_for_a_port_of_open_vswitch_that_is_down_is_no_loss_beside_another() {
    let flood = |rest: &str| {
        run(
            "pod/eth0 10.0.0.1 = node/p1 -\nnode/p2 - = far/eth0 10.0.0.9",
            &format!(
                "
                10 pod/eth0 egress s1 icmp 10.0.0.1>10.0.0.9:5 head=1
                12 node/p1  rx     s1 icmp 10.0.0.1>10.0.0.9:5 head=1
                {rest}
                18 node/p1  drop:NOT_SPECIFIED@do_execute_actions<ovs_execute_actions s1 icmp 10.0.0.1>10.0.0.9:5 head=1
                "
            ),
        )
    };
    let taken = "
                14 node/p2  egress s2 icmp 10.0.0.1>10.0.0.9:5 head=1 clone
                15 far/eth0 rx     s2 icmp 10.0.0.1>10.0.0.9:5 head=1
                16 far/eth0 egress s3 icmp 10.0.0.9>10.0.0.1:5 reply
                17 far/eth0 consume s2 icmp 10.0.0.1>10.0.0.9:5 head=1";
    assert_eq!(
        flood(taken).fates().first().map(String::as_str),
        Some("forward delivered")
    );
    assert_eq!(flood("").fates(), ["forward dropped"]);
}
