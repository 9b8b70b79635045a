//! Flows whose packets the kernel dropped.

use super::fixture::{Net, device, dropped, echo, mac, ports, tcp};
use crate::host::facts::{Advertised, Fact, FilterEngine, Question, Route, RouteAnswer, Selectors};
use crate::model::{Detail, Direction, KtimeNs, NetNs, Proto, Transport, Tuple};
use crate::verdict::{Confidence, Outcome, Verdict};

const CLIENT: u32 = 1;
const ROUTER: u32 = 2;
const SERVER: u32 = 3;

/// client/eth0 - router/west, router/east - server/eth0.
fn routed() -> Net {
    let mut net = Net::with(&["client", "router", "server"]);
    for (at, name, peer, m) in [
        (device(CLIENT, 2), "eth0", device(ROUTER, 2), 1),
        (device(ROUTER, 2), "west", device(CLIENT, 2), 2),
        (device(ROUTER, 3), "east", device(SERVER, 2), 3),
        (device(SERVER, 2), "eth0", device(ROUTER, 3), 4),
    ] {
        net.link(at, name, |l| {
            l.peer = Some(peer);
            l.mac = Some(mac(m));
        });
    }
    net.address(device(CLIENT, 2), "10.1.0.2", 24);
    net.address(device(ROUTER, 2), "10.1.0.1", 24);
    net.address(device(ROUTER, 3), "10.2.0.1", 24);
    net.address(device(SERVER, 2), "10.2.0.2", 24);
    net
}

fn ping() -> Tuple {
    echo("10.1.0.2", "10.2.0.2")
}

fn ping6() -> Tuple {
    echo("fd00:1::2", "fd00:2::2")
}

fn commands(verdict: &Verdict) -> String {
    let all: Vec<_> = verdict
        .advice
        .iter()
        .filter_map(|a| a.command.clone())
        .collect();
    all.join("\n")
}

fn hook(verdict: &Verdict) -> Option<&str> {
    verdict.place.as_ref()?.hook.as_deref()
}

fn place(verdict: &Verdict) -> Option<(&str, Option<&str>)> {
    let place = verdict.place.as_ref()?;
    Some((place.namespace.as_deref()?, place.interface.as_deref()))
}

/// One echo request that comes to the router's west side and dies there.
fn dies_at_west(net: &mut Net, tuple: Tuple, info: crate::model::DropInfo) {
    let flow = net.flow(tuple);
    for _ in 0..3 {
        net.packet(flow, Direction::Forward)
            .leaves(device(CLIENT, 2))
            .enters(device(ROUTER, 2))
            .dies(Some(device(ROUTER, 2)), info.clone());
    }
}

#[test]
fn where_copies_end_is_no_loss_while_observations_are_missing() {
    let broadcast = ports(Proto::Udp, "10.1.0.2", 6068, "255.255.255.255", 6067);
    let verdict = |thinned: u64| {
        let mut net = Net::with(&["client", "bystander", "server"]);
        for ns in [CLIENT, ROUTER, SERVER] {
            net.link(device(ns, 2), "eth0", |_| {});
        }
        let (sender, bystander, server) = (device(CLIENT, 2), device(ROUTER, 2), device(SERVER, 2));
        let flow = net.flow(broadcast);
        let ended = dropped("NOT_SPECIFIED", "__udp4_lib_rcv", "ip_local_deliver_finish");
        net.packet(flow, Direction::Forward)
            .leaves(sender)
            .step(Some(bystander), Detail::Drop(Box::new(ended.clone())))
            .arrives(server);
        net.packet(flow, Direction::Forward)
            .dies(Some(bystander), ended);
        if thinned > 0 {
            net.trace.losses.thinned = vec![("tc-ingress".to_owned(), thinned)];
        }
        net.verdict()
    };
    assert_eq!(verdict(0).outcome, Outcome::Dropped);
    let told = verdict(9);
    assert_eq!(
        (told.outcome, told.packets.affected),
        (Outcome::Delivered, 0)
    );
}

#[test]
fn forward_policy_of_iptables_nft() {
    let mut net = routed();
    dies_at_west(
        &mut net,
        ping(),
        dropped(
            "NETFILTER_DROP",
            "nft_do_chain",
            "nft_do_chain_ipv4<nf_hook_slow<ip_forward",
        ),
    );
    assert!(net.questions().contains(&Question::Chains {
        netns: NetNs(ROUTER)
    }));
    net.chain(
        ROUTER,
        FilterEngine::Nftables,
        ["ip", "filter", "FORWARD", "FORWARD"],
        true,
    );
    net.fact(Fact::Route(RouteAnswer {
        netns: NetNs(ROUTER),
        tuple: ping(),
        iif: 2,
        with: Selectors::default(),
        result: Ok(Route {
            kind: "unicast".to_owned(),
            oif: Some(3),
            gateway: None,
            source: None,
            table: 254,
            mtu: None,
            learned: false,
        }),
    }));
    let verdict = net.verdict();
    assert_eq!(verdict.outcome, Outcome::Dropped);
    assert_eq!(verdict.cause.as_deref(), Some("netfilter.drop"));
    assert_eq!(verdict.confidence, Confidence::Certain);
    assert_eq!(
        verdict.summary,
        "FORWARD DROP on router at west → east: chain filter/FORWARD has policy drop"
    );
    assert_eq!(place(&verdict), Some(("router", Some("west"))));
    assert_eq!(hook(&verdict), Some("FORWARD"));
    assert_eq!((verdict.packets.seen, verdict.packets.affected), (3, 3));
    let commands = commands(&verdict);
    assert!(
        commands.starts_with("ip netns exec router iptables -nvL FORWARD"),
        "{commands}"
    );
    assert!(commands.contains("ip netns exec router iptables -P FORWARD ACCEPT"));
    assert!(commands.contains("ip netns exec router iptables -P FORWARD DROP"));
}

#[test]
fn forward_policy_of_iptables_legacy_and_ipv6() {
    let mut net = routed();
    dies_at_west(
        &mut net,
        ping6(),
        dropped("NETFILTER_DROP", "nf_hook_slow", "ip6_forward<ipv6_rcv"),
    );
    net.chain(
        ROUTER,
        FilterEngine::Legacy,
        ["ip6", "filter", "FORWARD", "FORWARD"],
        true,
    );
    let verdict = net.verdict();
    assert_eq!(hook(&verdict), Some("FORWARD"));
    assert!(commands(&verdict).contains("ip6tables-legacy -P FORWARD ACCEPT"));
}

#[test]
fn a_rule_of_nftables_names_its_base_chain_and_no_rule() {
    let mut net = routed();
    dies_at_west(
        &mut net,
        ping(),
        dropped(
            "NETFILTER_DROP",
            "nft_do_chain",
            "nft_do_chain_inet<nf_hook_slow<ip_forward",
        ),
    );
    net.chain(
        ROUTER,
        FilterEngine::Nftables,
        ["inet", "fw", "fwd", "FORWARD"],
        false,
    );
    let verdict = net.verdict();
    assert!(
        verdict
            .summary
            .contains("a rule reached from chain inet fw/fwd"),
        "{}",
        verdict.summary
    );
    assert!(commands(&verdict).contains("nft -a list chain inet fw fwd"));
    assert!(!commands(&verdict).contains("policy"));
}

#[test]
fn output_drop_has_no_interface() {
    let mut net = routed();
    let flow = net.flow(ping());
    net.packet(flow, Direction::Forward)
        .with(|e| e.netns = Some(NetNs(CLIENT)))
        .dies(
            None,
            dropped(
                "NETFILTER_DROP",
                "nft_do_chain",
                "nft_do_chain_ipv4<nf_hook_slow<__ip_local_out",
            ),
        );
    let verdict = net.verdict();
    assert_eq!(place(&verdict), Some(("client", None)));
    assert_eq!(hook(&verdict), Some("OUTPUT"));
    assert!(commands(&verdict).contains("iptables -nvL OUTPUT"));
}

#[test]
fn reject_is_told_by_the_icmp_before_the_drop() {
    let mut net = routed();
    let flow = net.flow(ports(Proto::Udp, "10.1.0.2", 4000, "10.2.0.2", 53));
    net.packet(flow, Direction::Forward)
        .enters(device(ROUTER, 2))
        .icmp_sent(device(ROUTER, 2), 3, 3)
        .dies(
            Some(device(ROUTER, 2)),
            dropped(
                "NETFILTER_DROP",
                "nft_do_chain",
                "nft_do_chain_ipv4<nf_hook_slow<ip_forward",
            ),
        );
    let verdict = net.verdict();
    assert_eq!(verdict.cause.as_deref(), Some("netfilter.reject"));
    assert_eq!(verdict.outcome, Outcome::Rejected);
    assert!(verdict.summary.contains("port unreachable"));
}

#[test]
fn reject_with_a_reset_is_told_by_the_reset_in_the_same_call() {
    let mut net = routed();
    let flow = net.flow(ports(Proto::Tcp, "10.1.0.2", 4000, "10.2.0.2", 80));
    net.packet(flow, Direction::Forward)
        .enters(device(ROUTER, 2))
        .dies(
            Some(device(ROUTER, 2)),
            dropped(
                "NETFILTER_DROP",
                "nft_do_chain",
                "nft_do_chain_ipv4<nf_hook_slow<ip_forward",
            ),
        );
    // The reset leaves within the call: put it next to the drop.
    let at = net
        .trace
        .journeys
        .values()
        .next()
        .map(|j| j.steps.len())
        .map(|_| net.trace.now.0);
    net.packet(flow, Direction::Reply)
        .with(move |e| {
            e.at = KtimeNs(at.unwrap_or_default());
            if let Some(p) = e.packet.as_mut() {
                p.transport = tcp(0x14, 0, 101);
            }
        })
        .leaves(device(ROUTER, 2))
        .enters(device(CLIENT, 2))
        .arrives(device(CLIENT, 2));
    let verdict = net.verdict();
    assert_eq!(
        verdict.cause.as_deref(),
        Some("netfilter.reject"),
        "{verdict:?}"
    );
    assert!(verdict.summary.contains("TCP reset"));
}

#[test]
fn no_route_on_the_router() {
    for (tuple, function, error) in [(ping(), "ip_error", 101), (ping6(), "ip6_pkt_discard", 101)] {
        let mut net = routed();
        let mut info = dropped("IP_INNOROUTES", function, "__netif_receive_skb_one_core");
        info.dst_error = Some(error);
        dies_at_west(&mut net, tuple, info);
        let verdict = net.verdict();
        assert_eq!(verdict.cause.as_deref(), Some("route.none"));
        assert_eq!(
            verdict.summary,
            format!("no route to {} on router at west", tuple.dst)
        );
        assert_eq!(hook(&verdict), Some("route"));
        assert!(commands(&verdict).contains("route get"));
    }
}

#[test]
fn a_route_that_router_advertisements_should_have_brought() {
    let said = |accept: u32, forwards: bool, uplinks: u32| {
        let mut net = routed();
        let mut info = dropped("IP_INNOROUTES", "ip6_pkt_discard", "dst_input");
        info.dst_error = Some(101);
        let advertised = |ifindex| Advertised {
            ifindex,
            received: 3,
            accept,
            forwards,
        };
        let list = (3..3 + uplinks).map(advertised).collect();
        net.fact(Fact::Advertisements(NetNs(ROUTER), list));
        dies_at_west(&mut net, ping6(), info);
        net.verdict()
    };
    let ignored = said(1, true, 1);
    assert_eq!(ignored.cause.as_deref(), Some("route.none"));
    assert!(
        ignored
            .summary
            .contains("(east ignores router advertisements)"),
        "{ignored:?}"
    );
    assert!(commands(&ignored).contains("net.ipv6.conf.east.accept_ra=2"));
    assert!(commands(&said(0, false, 1)).contains("net.ipv6.conf.east.accept_ra=1"));
    for other in [said(2, true, 1), said(1, false, 1), said(1, true, 2)] {
        assert!(!commands(&other).contains("accept_ra"), "{other:?}");
    }
}

#[test]
fn routes_that_refuse_are_told_by_their_error() {
    for (tuple, function, reason, error, cause) in [
        (ping(), "ip_error", "NOT_SPECIFIED", 22, "route.blackhole"),
        (ping(), "ip_error", "NOT_SPECIFIED", 13, "route.prohibit"),
        (
            ping(),
            "ip_error",
            "NOT_SPECIFIED",
            113,
            "route.unreachable",
        ),
        (
            ping6(),
            "dst_discard_out",
            "NOT_SPECIFIED",
            22,
            "route.blackhole",
        ),
        (
            ping6(),
            "ip6_pkt_prohibit",
            "IP_INNOROUTES",
            13,
            "route.prohibit",
        ),
        (
            ping6(),
            "ip6_pkt_discard",
            "IP_INNOROUTES",
            113,
            "route.unreachable",
        ),
    ] {
        let mut net = routed();
        let mut info = dropped(reason, function, "");
        info.dst_error = Some(error);
        dies_at_west(&mut net, tuple, info);
        assert_eq!(
            net.verdict().cause.as_deref(),
            Some(cause),
            "{function} {error}"
        );
    }
}

#[test]
fn a_route_that_went_with_its_link() {
    let mut net = routed();
    let mut info = dropped("IP_INNOROUTES", "ip_error", "");
    info.dst_error = Some(101);
    dies_at_west(&mut net, ping(), info);
    net.link(device(ROUTER, 3), "east", |l| {
        l.up = false;
        l.carrier = false;
    });
    let verdict = net.verdict();
    assert_eq!(verdict.cause.as_deref(), Some("link.down"));
    assert_eq!(place(&verdict), Some(("router", Some("east"))));
    assert!(commands(&verdict).contains("ip netns exec router ip link set dev east up"));
}

#[test]
fn forwarding_off_in_all_or_on_one_interface() {
    for (all, own, named) in [
        ("0", "0", "net.ipv4.ip_forward"),
        ("1", "0", "net.ipv4.conf.west.forwarding"),
    ] {
        let mut net = routed();
        let mut info = dropped("IP_INADDRERRORS", "ip_error", "");
        info.dst_error = Some(113);
        dies_at_west(&mut net, ping(), info);
        assert!(net.questions().contains(&Question::Sysctl {
            netns: NetNs(ROUTER),
            name: "net/ipv4/ip_forward".to_owned()
        }));
        net.sysctl(ROUTER, "net/ipv4/ip_forward", all);
        net.sysctl(ROUTER, "net/ipv4/conf/west/forwarding", own);
        let verdict = net.verdict();
        assert_eq!(verdict.cause.as_deref(), Some("route.forwarding-disabled"));
        assert!(
            verdict
                .summary
                .starts_with("forwarding is off on router at west")
        );
        assert!(
            verdict.summary.contains(&format!("({named} = 0)")),
            "{}",
            verdict.summary
        );
        assert!(commands(&verdict).contains(&format!("sysctl -w {named}=1")));
    }
}

#[test]
fn forwarding_off_without_a_reason_is_told_by_the_sysctl() {
    let mut net = routed();
    let mut info = dropped("", "ip_error", "");
    info.dst_error = Some(113);
    dies_at_west(&mut net, ping(), info);
    assert_eq!(net.verdict().cause.as_deref(), Some("route.unreachable"));
    net.sysctl(ROUTER, "net/ipv4/ip_forward", "0");
    assert_eq!(
        net.verdict().cause.as_deref(),
        Some("route.forwarding-disabled")
    );
}

#[test]
fn forwarding_off_for_ipv6() {
    let mut net = routed();
    dies_at_west(
        &mut net,
        ping6(),
        dropped("IP_INADDRERRORS", "ip6_forward", "ipv6_rcv"),
    );
    let verdict = net.verdict();
    assert_eq!(verdict.cause.as_deref(), Some("route.forwarding-disabled"));
    assert!(commands(&verdict).contains("net.ipv6.conf.all.forwarding=1"));
}

#[test]
fn arp_and_nd_misses() {
    for (tuple, reason, word, who) in [
        (ping(), "NEIGH_FAILED", "ARP miss", "10.2.0.2"),
        (ping6(), "NOT_SPECIFIED", "ND miss", "fd00:2::2"),
    ] {
        let mut net = routed();
        let flow = net.flow(tuple);
        net.packet(flow, Direction::Forward)
            .leaves(device(CLIENT, 2))
            .enters(device(ROUTER, 2))
            .dies(
                Some(device(ROUTER, 3)),
                dropped(reason, "neigh_invalidate", "neigh_timer_handler"),
            );
        net.neighbor(device(ROUTER, 3), who, 0x20);
        assert!(
            net.questions()
                .iter()
                .any(|q| matches!(q, Question::Neighbor { .. }))
        );
        let verdict = net.verdict();
        assert_eq!(verdict.cause.as_deref(), Some("neighbor.unresolved"));
        assert_eq!(
            verdict.summary,
            format!("{word} on router: nobody answers for neighbour {who} on east")
        );
        assert_eq!(hook(&verdict), Some("neighbor"));
        assert_eq!(place(&verdict), Some(("router", Some("east"))));
        assert!(commands(&verdict).contains("neigh show"));
    }
}

#[test]
fn a_neighbour_behind_a_dead_link_is_a_dead_link() {
    let mut net = routed();
    net.link(device(SERVER, 2), "eth0", |l| l.up = false);
    let flow = net.flow(ping());
    net.packet(flow, Direction::Forward)
        .enters(device(ROUTER, 2))
        .dies(
            Some(device(ROUTER, 3)),
            dropped("NEIGH_FAILED", "neigh_invalidate", "neigh_timer_handler"),
        );
    let verdict = net.verdict();
    assert_eq!(verdict.cause.as_deref(), Some("link.down"));
    assert!(verdict.summary.contains("its peer server/eth0 is down"));
    assert!(commands(&verdict).contains("ip netns exec server ip link set dev eth0 up"));
}

#[test]
fn a_queue_without_carrier_is_a_dead_link_and_with_it_a_full_queue() {
    for (no_carrier, cause) in [(true, "link.down"), (false, "qdisc.full")] {
        let mut net = routed();
        let mut info = dropped(
            "QDISC_DROP",
            "__dev_queue_xmit",
            "ip_finish_output2<ip_output",
        );
        info.no_carrier = Some(no_carrier);
        let flow = net.flow(ping());
        net.packet(flow, Direction::Forward)
            .enters(device(ROUTER, 2))
            .leaves(device(ROUTER, 3))
            .dies(Some(device(ROUTER, 3)), info);
        let verdict = net.verdict();
        assert_eq!(verdict.cause.as_deref(), Some(cause));
        assert_eq!(place(&verdict), Some(("router", Some("east"))));
    }
}

#[test]
fn a_veth_peer_refuses_for_its_state_or_its_mtu() {
    for (up, mtu, cause) in [(false, 1500, "link.down"), (true, 60, "mtu.exceeded")] {
        let mut net = routed();
        net.link(device(SERVER, 2), "eth0", |l| {
            l.up = up;
            l.mtu = mtu;
        });
        let flow = net.flow(ping());
        net.packet(flow, Direction::Forward)
            .leaves(device(ROUTER, 3))
            .dies(
                Some(device(ROUTER, 3)),
                dropped(
                    "NOT_SPECIFIED",
                    "__dev_forward_skb2",
                    "veth_xmit<dev_hard_start_xmit",
                ),
            );
        assert_eq!(net.verdict().cause.as_deref(), Some(cause));
    }
}

#[test]
fn another_mac_than_the_interfaces() {
    let mut net = routed();
    let flow = net.flow(ping());
    net.packet(flow, Direction::Forward)
        .bound_for(mac(0x99))
        .leaves(device(ROUTER, 3))
        .enters(device(SERVER, 2))
        .dies(
            Some(device(SERVER, 2)),
            dropped("OTHERHOST", "ip_rcv_core", "ip_rcv"),
        );
    let verdict = net.verdict();
    assert_eq!(verdict.cause.as_deref(), Some("l2.wrong-destination-mac"));
    assert!(
        verdict
            .summary
            .contains("the frame is for 02:00:00:00:00:99, the interface has 02:00:00:00:00:04"),
        "{}",
        verdict.summary
    );
    assert_eq!(hook(&verdict), Some("device"));
    let commands = commands(&verdict);
    assert!(
        commands.contains("ip netns exec router ip neigh show 10.2.0.2 dev east"),
        "{commands}"
    );
    assert!(
        commands.contains("ip netns exec server ip link set dev eth0 address 02:00:00:00:00:99")
    );
}

#[test]
fn ttl_expired_without_and_with_a_loop() {
    for (tuple, function, word) in [
        (ping(), "ip_forward", "TTL expired"),
        (ping6(), "ip6_forward", "hop limit expired"),
    ] {
        let mut net = routed();
        dies_at_west(&mut net, tuple, dropped("IP_INHDR", function, ""));
        let verdict = net.verdict();
        assert_eq!(verdict.cause.as_deref(), Some("ttl.expired"));
        assert!(verdict.summary.contains(word) && verdict.summary.contains("TTL"));
        assert!(!verdict.summary.contains("loop"));

        let mut net = routed();
        let flow = net.flow(tuple);
        let mut walk = net
            .packet(flow, Direction::Forward)
            .enters(device(ROUTER, 2));
        for _ in 0..4 {
            walk = walk
                .leaves(device(ROUTER, 3))
                .enters(device(SERVER, 2))
                .enters(device(SERVER, 2))
                .leaves(device(SERVER, 2))
                .enters(device(ROUTER, 3));
        }
        walk.dies(Some(device(ROUTER, 3)), dropped("IP_INHDR", function, ""));
        let verdict = net.verdict();
        assert!(
            verdict.summary.contains("loop")
                && verdict.summary.contains("server/eth0 and router/east"),
            "{}",
            verdict.summary
        );
        assert!(
            verdict
                .evidence
                .iter()
                .any(|e| e.text.contains("server/eth0 passed 4 times"))
        );
    }
}

#[test]
fn closed_ports_say_how_they_answered() {
    let mut net = routed();
    let flow = net.flow(ports(Proto::Udp, "10.1.0.2", 4000, "10.2.0.2", 53));
    net.packet(flow, Direction::Forward)
        .enters(device(SERVER, 2))
        .icmp_sent(device(SERVER, 2), 3, 3)
        .dies(
            Some(device(SERVER, 2)),
            dropped("NO_SOCKET", "__udp4_lib_rcv", "ip_protocol_deliver_rcu"),
        );
    let verdict = net.verdict();
    assert_eq!(verdict.cause.as_deref(), Some("socket.none"));
    assert_eq!(verdict.outcome, Outcome::Rejected);
    assert_eq!(
        verdict.summary,
        "port closed on server: nobody listens on 10.2.0.2:53/udp; answered with ICMP port unreachable"
    );

    let mut net = routed();
    let flow = net.flow(ports(Proto::Tcp, "fd00:1::2", 4000, "fd00:2::2", 80));
    net.packet(flow, Direction::Forward)
        .enters(device(SERVER, 2))
        .step(Some(device(SERVER, 2)), Detail::ResetSent { reason: None })
        .dies(
            Some(device(SERVER, 2)),
            dropped("NO_SOCKET", "tcp_v6_rcv", "ip6_protocol_deliver_rcu"),
        );
    let verdict = net.verdict();
    assert!(
        verdict
            .summary
            .contains("[fd00:2::2]:80/tcp; answered with TCP reset")
    );
    assert!(commands(&verdict).contains("ss -ltnp"));
}

#[test]
fn a_reply_that_dies_is_the_flows_verdict() {
    let mut net = routed();
    let flow = net.flow(ping());
    net.packet(flow, Direction::Forward)
        .leaves(device(CLIENT, 2))
        .arrives(device(SERVER, 2));
    net.packet(flow, Direction::Reply)
        .leaves(device(SERVER, 2))
        .dies(
            Some(device(ROUTER, 3)),
            dropped(
                "NETFILTER_DROP",
                "nft_do_chain",
                "nft_do_chain_ipv4<nf_hook_slow<ip_forward",
            ),
        );
    let verdict = net.verdict();
    assert_eq!(verdict.outcome, Outcome::Dropped);
    assert!(
        verdict
            .summary
            .starts_with("reply lost: FORWARD DROP on router")
    );
}

#[test]
fn the_loss_of_an_error_belongs_to_the_loss_that_made_it() {
    let mut net = routed();
    let mut info = dropped("IP_INNOROUTES", "ip_error", "");
    info.dst_error = Some(101);
    dies_at_west(&mut net, ping(), info);
    let flow = crate::model::FlowId(0);
    for _ in 0..5 {
        net.packet(flow, Direction::Error)
            .with(|e| e.netns = Some(NetNs(ROUTER)))
            .dies(
                None,
                dropped(
                    "NETFILTER_DROP",
                    "nft_do_chain",
                    "nft_do_chain_ipv4<nf_hook_slow<__ip_local_out<__icmp_send<ip_error",
                ),
            );
    }
    let verdict = net.verdict();
    assert_eq!(verdict.cause.as_deref(), Some("route.none"));
    assert!(
        verdict
            .evidence
            .iter()
            .any(|e| e.kind == "other-loss" && e.text.contains("netfilter.drop"))
    );
}

/// A packet that the server's transport frees without a reason, as kernels before 5.17 do.
fn freed_at_server(tuple: Tuple, transport: Transport, function: &str) -> Verdict {
    let mut net = routed();
    let flow = net.flow(tuple);
    net.packet(flow, Direction::Forward)
        .transport(transport)
        .leaves(device(CLIENT, 2))
        .enters(device(SERVER, 2))
        .dies(Some(device(SERVER, 2)), dropped("", function, ""));
    net.verdict()
}

#[test]
fn without_a_reason_a_signed_syn_is_told_by_its_option() {
    for (signed, cause) in [(true, "socket.authentication"), (false, "kernel.other")] {
        let syn = Transport::Tcp {
            seq: 1,
            ack: 0,
            flags: 2,
            window: 1000,
            payload: 0,
            signed,
        };
        let tuple = ports(Proto::Tcp, "10.1.0.2", 4000, "10.2.0.2", 179);
        let verdict = freed_at_server(tuple, syn, "tcp_v4_rcv");
        assert_eq!(verdict.cause.as_deref(), Some(cause), "{signed}");
    }
}

#[test]
fn without_a_reason_a_datagram_that_is_freed_before_it_is_queued_was_filtered() {
    let tuple = ports(Proto::Udp, "10.1.0.2", 4000, "10.2.0.2", 53);
    let datagram = Transport::Udp { payload: 9 };
    let verdict = freed_at_server(tuple, datagram, "udp_queue_rcv_one_skb");
    assert_eq!(verdict.cause.as_deref(), Some("socket.filter"));
    assert_eq!(
        verdict.confidence,
        Confidence::Possible,
        "no cgroup was read"
    );
}

#[test]
fn a_reason_without_a_rule_is_shown_as_it_is() {
    let mut net = routed();
    dies_at_west(
        &mut net,
        ping(),
        dropped("SOMETHING_NEW", "some_function", "a_caller<another"),
    );
    let verdict = net.verdict();
    assert_eq!(verdict.cause.as_deref(), Some("kernel.other"));
    assert!(
        verdict
            .summary
            .contains("some_function (SOMETHING_NEW) on router at west")
    );
    assert!(
        verdict
            .evidence
            .iter()
            .any(|e| e.kind == "stack" && e.text == "a_caller < another")
    );
}

#[test]
fn reasons_of_the_table() {
    for (reason, function, cause) in [
        ("TCP_CSUM", "tcp_v4_rcv", "checksum.bad"),
        ("IP_INHDR", "ip_rcv_core", "header.bad"),
        ("IP_RPFILTER", "ip_rcv_finish_core", "route.rp-filter"),
        ("IP_LOCAL_SOURCE", "ip_rcv_finish_core", "route.martian"),
        ("PKT_TOO_BIG", "ip_forward", "mtu.exceeded"),
        ("NOT_SPECIFIED", "ip_fragment", "mtu.exceeded"),
        ("TC_EGRESS", "__dev_queue_xmit", "tc.drop"),
        ("NOT_SPECIFIED", "do_xdp_generic", "xdp.drop"),
        ("BPF_CGROUP_EGRESS", "ip_finish_output", "cgroup.drop"),
        ("SOCKET_FILTER", "tcp_v4_rcv", "socket.filter"),
        ("FULL_RING", "tun_net_xmit", "device.full"),
        ("NOT_SPECIFIED", "br_handle_frame_finish", "l2.bridge"),
        ("NO_TX_TARGET", "br_handle_frame_finish", "l2.bridge"),
        ("NO_TX_TARGET", "vxlan_xmit", "tunnel.no-remote"),
        ("VXLAN_VNI_NOT_FOUND", "vxlan_rcv", "tunnel.unknown"),
        ("TCP_LISTEN_OVERFLOW", "tcp_v4_rcv", "socket.backlog-full"),
        (
            "SOCKET_RCVBUFF",
            "udp_queue_rcv_one_skb",
            "socket.buffer-full",
        ),
        (
            "TCP_RFC7323_PAWS",
            "tcp_validate_incoming",
            "socket.refused-segment",
        ),
        ("TCP_MD5NOTFOUND", "tcp_v4_rcv", "socket.authentication"),
        ("XFRM_POLICY", "ip_forward", "xfrm.policy"),
        ("FRAG_REASM_TIMEOUT", "ip_expire", "fragment.timeout"),
        ("NOT_SPECIFIED", "ip_expire", "fragment.timeout"),
        ("NOT_SPECIFIED", "ip6_frag_expire", "fragment.timeout"),
        ("IPV6DISABLED", "ip6_rcv_core", "address.not-ready"),
        ("NOT_SPECIFIED", "nf_queue", "netfilter.queue"),
    ] {
        let mut net = routed();
        dies_at_west(&mut net, ping(), dropped(reason, function, ""));
        let verdict = net.verdict();
        assert_eq!(
            verdict.cause.as_deref(),
            Some(cause),
            "{reason} in {function}"
        );
        assert_ne!(
            verdict.confidence,
            Confidence::Possible,
            "{reason} in {function}: {verdict:?}"
        );
        if let Some(hook) = hook(&verdict) {
            let row = crate::diagnose::causes::by_code(cause);
            assert!(
                row.is_some_and(|c| c.hooks.contains(&hook)),
                "{cause} at {hook}"
            );
        }
    }
}
