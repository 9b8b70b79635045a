//! Bridges, macvlans and tunnels: one kernel location, many causes, told apart by settings that were read.

use super::fixture::{Net, Walk, device, dropped, echo, mac};
use crate::host::facts::{
    BaseChain, BridgeLink, BridgePort, Chain, Fact, FdbEntry, FilterEngine, Forwarding, Missing,
    Part, PortState, Question, Route, RouteAnswer, Rule, Ruleset, Selectors, Side, Statement,
    TunnelLink, VxlanLink,
};
use crate::model::{Device, Direction, NetNs, Proto, Tunnel, TunnelKind, Tuple};
use crate::verdict::Verdict;

const LEFT: u32 = 1;
const SWITCH: u32 = 2;
const RIGHT: u32 = 3;
const THIRD: u32 = 4;
const BR0: u32 = 9;

/// left, right and third, each eth0 - switch/p1, p2, p3 on br0. Ports as `change` leaves them.
fn bridged(change: impl Fn(&str, &mut Option<BridgePort>)) -> Net {
    let mut net = Net::with(&["left", "switch", "right", "third"]);
    net.link(device(SWITCH, BR0), "br0", |l| {
        l.kind = "bridge".to_owned();
        l.mac = Some(mac(9));
        l.bridge = Some(BridgeLink {
            stp: false,
            ..BridgeLink::default()
        });
    });
    for (ns, port, name, address) in [
        (LEFT, 1, "p1", "10.3.0.1"),
        (RIGHT, 2, "p2", "10.3.0.2"),
        (THIRD, 3, "p3", "10.3.0.3"),
    ] {
        net.link(device(ns, 2), "eth0", |l| {
            l.peer = Some(device(SWITCH, port));
            l.mac = u8::try_from(port).ok().map(mac);
        });
        net.link(device(SWITCH, port), name, |l| {
            l.peer = Some(device(ns, 2));
            l.port = Some(BridgePort::default());
            change(name, &mut l.port);
            l.master = l.port.map(|_| BR0);
        });
        net.address(device(ns, 2), address, 24);
    }
    net
}

fn ping() -> Tuple {
    echo("10.3.0.1", "10.3.0.2")
}

fn known(net: &mut Net, last: u8, entries: &[(u32, u16)]) {
    net.fact(Fact::Forwarding(Forwarding {
        device: device(SWITCH, BR0),
        mac: mac(last),
        entries: entries
            .iter()
            .map(|(port, state)| FdbEntry {
                port: *port,
                default: false,
                remote: None,
                state: *state,
                sticky: false,
            })
            .collect(),
    }));
}

/// Echo requests from left for the MAC `last`, as they come to the bridge; `end` says how they die.
fn come_to_bridge(net: &mut Net, last: u8, end: impl Fn(Walk<'_>)) {
    let flow = net.flow(ping());
    for _ in 0..3 {
        end(net
            .packet(flow, Direction::Forward)
            .bound_for(mac(last))
            .leaves(device(LEFT, 2))
            .enters(device(SWITCH, 1)));
    }
}

fn die_in_bridge(net: &mut Net, reason: &'static str, function: &'static str) -> Verdict {
    come_to_bridge(net, 2, |walk| {
        walk.dies(
            Some(device(SWITCH, 1)),
            dropped(reason, function, "br_handle_frame"),
        );
    });
    net.verdict()
}

fn commands(verdict: &Verdict) -> String {
    let all: Vec<_> = verdict
        .advice
        .iter()
        .filter_map(|a| a.command.clone())
        .collect();
    all.join("\n")
}

fn at(verdict: &Verdict) -> Option<(&str, &str)> {
    let place = verdict.place.as_ref()?;
    Some((place.namespace.as_deref()?, place.interface.as_deref()?))
}

#[track_caller]
fn check(verdict: &Verdict, cause: &str, words: &str, command: &str) {
    assert_eq!(verdict.cause.as_deref(), Some(cause), "{}", verdict.summary);
    assert!(verdict.summary.contains(words), "{}", verdict.summary);
    let commands = commands(verdict);
    assert!(commands.contains(command), "{commands}");
}

#[test]
fn one_location_is_told_apart_by_the_ports_settings() {
    type Change = fn(&str, &mut BridgePort);
    let cases: [(Change, &str, &str); 4] = [
        (
            |name, port| port.isolated = name != "p3",
            "ports p1 and p2 are both isolated",
            "ip netns exec switch bridge link set dev p2 isolated off",
        ),
        (
            |name, port| {
                if name == "p2" {
                    port.state = PortState::Listening;
                }
            },
            "port p2 is not forwarding, its state is listening",
            "bridge link set dev p2 state forwarding",
        ),
        (
            |name, port| port.locked = name == "p1",
            "port p1 is locked and the bridge has no entry for its source MAC",
            "bridge link set dev p1 locked off",
        ),
        (
            |name, port| port.isolated = name == "p2",
            "isolated, not forwarding, locked, or the one it came from",
            "bridge -d link show",
        ),
    ];
    for (change, words, command) in cases {
        let mut net = bridged(|name, port| change(name, port.get_or_insert_default()));
        known(&mut net, 2, &[(2, 2)]);
        known(&mut net, 0xee, &[]);
        let verdict = die_in_bridge(&mut net, "NOT_SPECIFIED", "br_handle_frame_finish");
        check(&verdict, "l2.bridge", words, command);
        assert_eq!(at(&verdict), Some(("switch", "p1")));
    }
}

#[test]
fn a_locked_port_lets_in_whom_it_knows() {
    let mut net = bridged(|name, port| {
        let port = port.get_or_insert_default();
        port.locked = name == "p1";
        port.isolated = true;
    });
    known(&mut net, 2, &[(2, 2)]);
    known(&mut net, 0xee, &[(1, 0x40)]);
    let verdict = die_in_bridge(&mut net, "NOT_SPECIFIED", "br_handle_frame_finish");
    check(&verdict, "l2.bridge", "both isolated", "isolated off");
}

#[test]
fn the_way_back_is_the_way_in() {
    let mut net = bridged(|_, _| {});
    known(&mut net, 1, &[(1, 2)]);
    come_to_bridge(&mut net, 1, |walk| {
        walk.dies(
            Some(device(SWITCH, 1)),
            dropped("NOT_SPECIFIED", "br_handle_frame_finish", "br_handle_frame"),
        );
    });
    check(
        &net.verdict(),
        "l2.bridge",
        "hairpin is off on p1",
        "bridge link set dev p1 hairpin on",
    );
}

#[test]
fn a_machine_known_on_the_port_of_its_senders_is_behind_another_one() {
    for (state, kind) in [(0x40, "static"), (0x02, "dynamic")] {
        let mut net = bridged(|_, _| {});
        known(&mut net, 2, &[(1, state)]);
        let verdict = die_in_bridge(&mut net, "NOT_SPECIFIED", "br_handle_frame_finish");
        check(
            &verdict,
            "l2.bridge",
            "the FDB of br0 has 02:00:00:00:00:02 on port p1, and it is behind p2 (right/eth0)",
            &format!("bridge fdb replace 02:00:00:00:00:02 dev p2 master {kind}"),
        );
        assert!(!commands(&verdict).contains("hairpin"), "{verdict:#?}");
    }
}

#[test]
fn a_bridge_that_is_down_is_no_port_state() {
    let mut net = bridged(|_, port| port.get_or_insert_default().state = PortState::Disabled);
    net.link(device(SWITCH, BR0), "br0", |l| {
        l.kind = "bridge".to_owned();
        l.up = false;
    });
    let verdict = die_in_bridge(&mut net, "BRIDGE_INGRESS_STP_STATE", "br_handle_frame");
    check(
        &verdict,
        "l2.bridge",
        "the bridge br0 is down",
        "ip link set dev br0 up",
    );
}

#[test]
fn what_has_no_entry_needs_flooding() {
    let mut net = bridged(|name, port| port.get_or_insert_default().flood = name != "p2");
    known(&mut net, 2, &[]);
    let verdict = die_in_bridge(&mut net, "NO_TX_TARGET", "br_handle_frame_finish");
    check(
        &verdict,
        "l2.bridge",
        "no FDB entry for 02:00:00:00:00:02, and port p2 gets no frames for unknown MACs",
        "bridge link set dev p2 flood on",
    );
}

/// A flooded copy dies at third.
fn strays(net: &mut Net, last: u8) -> Verdict {
    come_to_bridge(net, last, |walk| {
        walk.leaves(device(SWITCH, 3))
            .enters(device(THIRD, 2))
            .dies(
                Some(device(THIRD, 2)),
                dropped("OTHERHOST", "ip_rcv_core", "ip_rcv"),
            );
    });
    net.verdict()
}

#[test]
fn a_copy_at_an_innocent_interface_leads_to_the_port_that_got_none() {
    let mut net = bridged(|name, port| {
        if name == "p2" {
            *port = None;
        }
    });
    known(&mut net, 2, &[]);
    let verdict = strays(&mut net, 2);
    check(
        &verdict,
        "l2.bridge",
        "p2 is no port of the bridge br0",
        "ip netns exec switch ip link set dev p2 master br0",
    );
    assert_eq!(at(&verdict), Some(("switch", "p1")));
}

#[test]
fn a_copy_at_an_innocent_interface_leads_to_the_end_that_is_down() {
    let mut net = bridged(|_, _| {});
    net.link(device(RIGHT, 2), "eth0", |l| {
        l.peer = Some(device(SWITCH, 2));
        l.mac = Some(mac(2));
        l.up = false;
    });
    let verdict = strays(&mut net, 2);
    check(
        &verdict,
        "link.down",
        "right/eth0 is down",
        "ip netns exec right ip link set dev eth0 up",
    );
}

#[test]
fn an_entry_for_another_port_is_named_with_the_true_one() {
    let mut net = bridged(|_, _| {});
    known(&mut net, 2, &[(3, 0x40)]);
    let verdict = strays(&mut net, 2);
    check(
        &verdict,
        "l2.wrong-destination-mac",
        "the FDB of br0 has it on port p3, but it is behind p2",
        "bridge fdb del 02:00:00:00:00:02 dev p3 master",
    );
    assert_eq!(at(&verdict), Some(("third", "eth0")));
}

#[test]
fn a_wrong_entry_comes_back_as_it_was() {
    for (state, sticky, kind) in [
        (0x40, true, "static sticky"),
        (0x40, false, "static"),
        (0x02, false, "dynamic"),
    ] {
        let mut net = bridged(|_, _| {});
        net.fact(Fact::Forwarding(Forwarding {
            device: device(SWITCH, BR0),
            mac: mac(2),
            entries: vec![FdbEntry {
                port: 3,
                default: false,
                remote: None,
                state,
                sticky,
            }],
        }));
        let verdict = strays(&mut net, 2);
        let undo = verdict.advice.iter().find(|a| a.undoes == Some(2));
        let back = format!("bridge fdb replace 02:00:00:00:00:02 dev p3 master {kind}");
        assert!(
            undo.and_then(|a| a.command.as_deref())
                .is_some_and(|c| c.ends_with(&back)),
            "{:?}",
            verdict.advice
        );
    }
}

#[test]
fn a_flooded_frame_is_judged_where_it_should_have_arrived() {
    let mut net = bridged(|_, _| {});
    come_to_bridge(&mut net, 0x77, |walk| {
        let stray = || dropped("OTHERHOST", "ip_rcv_core", "ip_rcv");
        walk.enters(device(RIGHT, 2))
            .step(
                Some(device(RIGHT, 2)),
                crate::model::Detail::Drop(Box::new(stray())),
            )
            .enters(device(THIRD, 2))
            .dies(Some(device(THIRD, 2)), stray());
    });
    let verdict = net.verdict();
    check(
        &verdict,
        "l2.wrong-destination-mac",
        "the frame is for 02:00:00:00:00:77, the interface has 02:00:00:00:00:02",
        "ip netns exec left ip neigh replace 10.3.0.2 lladdr 02:00:00:00:00:02 dev eth0",
    );
    assert_eq!(at(&verdict), Some(("right", "eth0")));
}

#[test]
fn a_mac_that_changes_on_a_bridge_is_told_with_the_rule_that_sets_it() {
    let mut net = bridged(|_, _| {});
    let base = BaseChain {
        engine: FilterEngine::Nftables,
        family: "bridge".to_owned(),
        table: "nat".to_owned(),
        chain: "PREROUTING".to_owned(),
        hook: "PREROUTING".to_owned(),
        priority: -300,
        policy_drop: false,
        rules: Some(2),
        policy_packets: None,
        kind: None,
        devices: Vec::new(),
        stops: Vec::new(),
        more_stops: false,
    };
    let rule = |handle: u64, to: u8| Rule {
        handle: Some(handle),
        number: 1,
        text: format!("ether daddr set {}", mac(to)),
        whole: true,
        parts: vec![Part::Do(Statement::SetMac(Side::Destination, mac(to)))],
        ..Rule::default()
    };
    let ruleset = Ruleset {
        chains: vec![Chain {
            engine: base.engine,
            family: base.family.clone(),
            table: base.table.clone(),
            name: base.chain.clone(),
            rules: vec![rule(4, 0x55), rule(5, 0x77)],
            missing: Missing::Nothing,
        }],
        base: vec![base],
        sets: Vec::new(),
    };
    let flow = net.flow(echo("10.3.0.1", "10.3.0.2"));
    net.packet(flow, Direction::Forward)
        .bound_for(mac(2))
        .leaves(device(LEFT, 2))
        .enters(device(SWITCH, 1))
        .bound_for(mac(0x77))
        .leaves(device(SWITCH, 2))
        .enters(device(RIGHT, 2))
        .dies(
            Some(device(RIGHT, 2)),
            dropped("OTHERHOST", "ip_rcv_core", "ip_rcv"),
        );
    let asked = net.questions();
    let chains = Question::Chains {
        netns: NetNs(SWITCH),
    };
    assert!(asked.contains(&chains), "{asked:?}");
    net.fact(Fact::Ruleset(NetNs(SWITCH), Box::new(ruleset)));
    let verdict = net.verdict();
    check(
        &verdict,
        "l2.wrong-destination-mac",
        "its destination was changed from 02:00:00:00:00:02 to 02:00:00:00:00:77 on switch between p1 and p2, by rule (handle 5)",
        "ip netns exec switch nft delete rule bridge nat PREROUTING handle 5",
    );
    assert!(!format!("{verdict:?}").contains("neigh replace"));
}

#[test]
fn the_neighbour_entry_is_that_of_the_gateway() {
    let mut net = bridged(|_, _| {});
    net.fact(Fact::Route(RouteAnswer {
        netns: NetNs(LEFT),
        tuple: echo("10.3.0.1", "10.9.0.9"),
        iif: 0,
        with: Selectors::default(),
        result: Ok(Route {
            kind: "unicast".to_owned(),
            oif: Some(2),
            gateway: "10.3.0.3".parse().ok(),
            source: None,
            table: 254,
            mtu: None,
            learned: false,
        }),
    }));
    let flow = net.flow(echo("10.3.0.1", "10.9.0.9"));
    net.packet(flow, Direction::Forward)
        .bound_for(mac(0x77))
        .leaves(device(LEFT, 2))
        .enters(device(SWITCH, 1))
        .enters(device(THIRD, 2))
        .dies(
            Some(device(THIRD, 2)),
            dropped("OTHERHOST", "ip_rcv_core", "ip_rcv"),
        );
    assert!(net.questions().contains(&Question::Neighbor {
        device: device(LEFT, 2),
        address: "10.3.0.3".parse().unwrap_or([0, 0, 0, 0].into()),
    }));
    check(
        &net.verdict(),
        "l2.wrong-destination-mac",
        "the frame is for 02:00:00:00:00:77, the interface has 02:00:00:00:00:03",
        "ip neigh replace 10.3.0.3 lladdr 02:00:00:00:00:03 dev eth0",
    );
}

#[test]
fn a_question_that_no_port_passes_on_is_the_bridges_doing() {
    let mut net = bridged(|name, port| port.get_or_insert_default().bcast_flood = name != "p2");
    net.asked("10.3.0.2");
    net.neighbor(device(LEFT, 2), "10.3.0.2", 0x20);
    let verdict = net.verdict();
    check(
        &verdict,
        "l2.bridge",
        "ARP for 10.3.0.2 does not get through",
        "bridge link set dev p2 bcast_flood on",
    );
    // The same without the setting: nobody knows.
    let mut net = bridged(|_, _| {});
    net.asked("10.3.0.2");
    net.neighbor(device(LEFT, 2), "10.3.0.2", 0x20);
    assert_eq!(net.verdict().cause.as_deref(), Some("neighbor.unresolved"));
}

#[test]
fn a_mac_of_two_machines_is_named_with_its_owner() {
    let mut net = bridged(|_, _| {});
    net.link(device(THIRD, 2), "eth0", |l| {
        l.peer = Some(device(SWITCH, 3));
        l.mac = Some(mac(2));
    });
    known(&mut net, 2, &[(3, 2)]);
    come_to_bridge(&mut net, 2, |walk| {
        walk.leaves(device(SWITCH, 3))
            .enters(device(THIRD, 2))
            .dies(
                Some(device(THIRD, 2)),
                dropped("IP_INADDRERRORS", "ip_error", "ip_rcv"),
            );
    });
    let verdict = net.verdict();
    check(
        &verdict,
        "neighbor.duplicate-address",
        "02:00:00:00:00:02 is also that of right/eth0, which owns 10.3.0.2",
        "ip netns exec third ip link set dev eth0 address",
    );
}

/// Two macvlans of one parent; the frame of the first comes to a cable's far end.
fn macvlans(modes: [&str; 2]) -> Verdict {
    let mut net = Net::with(&["left", "node", "right", "far"]);
    let parent = device(2, 2);
    net.link(parent, "eno1", |l| {
        l.peer = Some(device(4, 2));
        l.mac = Some(mac(9));
    });
    net.link(device(4, 2), "port", |l| l.mac = Some(mac(8)));
    for (ns, mode, last) in [(LEFT, modes[0], 1), (RIGHT, modes[1], 2)] {
        net.link(device(ns, 2), "net1", |l| {
            l.kind = "macvlan".to_owned();
            l.macvlan = Some(mode.to_owned());
            l.peer = Some(parent);
            l.mac = Some(mac(last));
        });
    }
    let flow = net.flow(ping());
    net.packet(flow, Direction::Forward)
        .bound_for(mac(2))
        .leaves(device(LEFT, 2))
        .leaves(parent)
        .enters(device(4, 2))
        .dies(
            Some(device(4, 2)),
            dropped("OTHERHOST", "ip_rcv_core", "ip_rcv"),
        );
    net.verdict()
}

#[test]
fn macvlans_see_each_other_in_bridge_mode_only() {
    let verdict = macvlans(["bridge", "private"]);
    check(
        &verdict,
        "l2.bridge",
        "macvlan right/net1 is in mode private",
        "ip netns exec right ip link set dev net1 type macvlan mode bridge",
    );
    assert_eq!(at(&verdict), Some(("left", "net1")));
    assert_eq!(
        macvlans(["bridge", "bridge"]).cause.as_deref(),
        Some("l2.wrong-destination-mac")
    );
}

/// A node with a VXLAN that wants VNI 5 at UDP port 4789, and the tunnel's packets at its underlay.
fn node(change: impl FnOnce(&mut crate::host::facts::Link)) -> (Net, Device) {
    let mut net = Net::with(&["far", "node"]);
    let underlay = device(2, 2);
    net.link(underlay, "eth0", |l| l.peer = Some(device(1, 2)));
    net.link(device(2, 5), "vx5", |l| {
        l.kind = "vxlan".to_owned();
        l.vxlan = Some(VxlanLink {
            vni: 5,
            port: 4789,
            remote: None,
            local: "192.0.2.2".parse().ok(),
            learning: false,
            df: 0,
            proxy: false,
            external: false,
            ttl: None,
            no_checksum6: false,
            takes_no_checksum6: false,
        });
        change(l);
    });
    (net, underlay)
}

#[test]
fn a_tunnel_that_is_down_or_elsewhere_is_named() {
    let outer = super::fixture::ports(Proto::Udp, "192.0.2.1", 50_000, "192.0.2.2", 4789);
    for (port, up, words, command) in [
        (
            4789,
            false,
            "vx5 has that port and is down",
            "ip netns exec node ip link set dev vx5 up",
        ),
        (
            8472,
            true,
            "vx5 has port 8472",
            "vxlan id 5 dstport 4789 local 192.0.2.2 nolearning",
        ),
    ] {
        let (mut net, underlay) = node(|l| {
            l.up = up;
            if let Some(vxlan) = &mut l.vxlan {
                vxlan.port = port;
            }
        });
        let flow = net.flow(outer);
        net.packet(flow, Direction::Forward).enters(underlay).dies(
            Some(underlay),
            dropped("NO_SOCKET", "__udp4_lib_rcv", "ip_protocol_deliver_rcu"),
        );
        check(&net.verdict(), "tunnel.unknown", words, command);
    }
}

#[test]
fn a_host_on_either_side_is_asked_for_too() {
    let mut net = bridged(|name, port| {
        if name == "p1" {
            port.get_or_insert_default().state = PortState::Listening;
        }
    });
    net.asked("10.3.0.2");
    if let Some(run) = &mut net.host.run {
        run.asked = std::mem::take(&mut run.asked_dst);
    }
    net.neighbor(device(LEFT, 2), "10.3.0.2", 1);
    check(
        &net.verdict(),
        "l2.bridge",
        "port p1 is not forwarding, its state is listening",
        "bridge link set dev p1 state forwarding",
    );
}

#[test]
fn a_mac_and_an_address_that_nobody_has_any_more_are_stale_at_the_sender() {
    let mut net = bridged(|_, _| {});
    // right is gone, and with it its MAC and its address
    net.link(device(RIGHT, 2), "eth0", |l| {
        l.peer = Some(device(SWITCH, 2));
        l.mac = Some(mac(77));
    });
    net.addresses(device(RIGHT, 2), &[], 24);
    let verdict = strays(&mut net, 2);
    check(
        &verdict,
        "l2.gone",
        "10.3.0.2 is nobody's any more: left/eth0 sends to its MAC 02:00:00:00:00:02",
        "ip netns exec left ip neigh show 10.3.0.2 dev eth0",
    );
    assert_eq!(at(&verdict), Some(("left", "eth0")));
    assert!(!commands(&verdict).contains("address"), "{verdict:#?}");
    // Its nearest look-alike: the address is there, with another MAC.
    let mut net = bridged(|_, _| {});
    net.link(device(RIGHT, 2), "eth0", |l| {
        l.peer = Some(device(SWITCH, 2));
        l.mac = Some(mac(77));
    });
    let verdict = strays(&mut net, 2);
    assert_eq!(
        verdict.cause.as_deref(),
        Some("l2.wrong-destination-mac"),
        "{}",
        verdict.summary
    );
}

#[test]
fn a_tunnel_whose_remote_end_is_its_own_host_sends_to_itself() {
    for (end, own) in [("192.168.56.11", true), ("192.168.56.12", false)] {
        let mut net = Net::with(&["pod", "node"]);
        let (underlay, tunnel) = (device(2, 2), device(2, 5));
        net.link(underlay, "eth1", |_| {});
        net.address(underlay, "192.168.56.11", 24);
        net.link(tunnel, "flannel.1", |l| {
            l.kind = "vxlan".to_owned();
            l.mac = Some(mac(1));
            l.vxlan = Some(VxlanLink {
                vni: 1,
                port: 8472,
                remote: None,
                local: None,
                learning: false,
                df: 0,
                proxy: false,
                external: false,
                ttl: None,
                no_checksum6: false,
                takes_no_checksum6: false,
            });
        });
        net.fact(Fact::Forwarding(Forwarding {
            device: tunnel,
            mac: mac(2),
            entries: vec![FdbEntry {
                port: tunnel.ifindex.0,
                default: false,
                remote: end.parse().ok(),
                state: 0x80,
                sticky: false,
            }],
        }));
        let flow = net.flow(ping());
        net.packet(flow, Direction::Forward)
            .bound_for(mac(2))
            .leaves(tunnel)
            .enters(tunnel)
            .dies(
                Some(tunnel),
                dropped("IP_INHDR", "ip_forward", "ip_rcv_finish"),
            );
        let verdict = net.verdict();
        let found = verdict.cause.as_deref() == Some("tunnel.no-remote");
        assert_eq!(found, own, "{}", verdict.summary);
    }
}

#[test]
fn an_outer_packet_that_no_device_is_set_to_take_names_the_one_that_almost_is() {
    let (near, far) = ("192.0.2.2".parse().ok(), "192.0.2.1".parse().ok());
    let set = TunnelLink {
        local: near,
        remote: far,
        input_key: Some(5),
        output_key: Some(5),
        ..TunnelLink::default()
    };
    let key = TunnelLink {
        input_key: Some(6),
        output_key: Some(6),
        ..set
    };
    let end = TunnelLink {
        remote: "192.0.2.9".parse().ok(),
        ..set
    };
    let ends = "local 192.0.2.2 remote 192.0.2.1";
    let rows = [
        (
            key,
            true,
            "gre1 has key 6 local 192.0.2.2",
            format!("{ends} key 5"),
        ),
        (end, true, "remote 192.0.2.9", ends.to_owned()),
        (set, false, "gre1 is down", "gre1 up".to_owned()),
    ];
    for (set, up, words, command) in rows {
        let mut net = Net::with(&["far", "node"]);
        let underlay = device(2, 2);
        net.link(underlay, "eth0", |_| {});
        net.link(device(2, 5), "gre1", |l| {
            l.kind = "gre".to_owned();
            l.up = up;
            l.tunnel = Some(Box::new(set));
        });
        let tunnel = Tunnel {
            kind: TunnelKind::Gre,
            id: Some(5),
            outer: Tuple {
                proto: Proto::Other(47),
                sport: 0,
                dport: 0,
                ..super::fixture::ports(Proto::Udp, "192.0.2.1", 1, "192.0.2.2", 2)
            },
        };
        let flow = net.flow(ping());
        net.packet(flow, Direction::Forward)
            .with(move |e| {
                for packet in e.packet.iter_mut() {
                    packet.tunnel = Some(tunnel);
                }
            })
            .enters(underlay)
            .dies(
                Some(underlay),
                dropped("NOT_SPECIFIED", "gre_rcv", "ip_protocol_deliver_rcu"),
            );
        check(&net.verdict(), "tunnel.unknown", words, &command);
    }
}

#[test]
fn a_frame_for_one_machine_that_another_took() {
    let sent_to = |last: u8| {
        let mut net = bridged(|_, _| {});
        let flow = net.flow(ping());
        let taker = device(u32::from(last), 2);
        net.packet(flow, Direction::Forward)
            .bound_for(mac(if last == RIGHT as u8 { 2 } else { 3 }))
            .leaves(device(LEFT, 2))
            .enters(device(SWITCH, 1))
            .leaves(device(SWITCH, if last == RIGHT as u8 { 2 } else { 3 }))
            .enters(taker)
            .dies(
                Some(taker),
                dropped("IP_INADDRERRORS", "ip_error", "ip_rcv"),
            );
        net.sysctl(u32::from(last), "net/ipv4/ip_forward", "0");
        net.verdict()
    };
    check(
        &sent_to(THIRD as u8),
        "l2.wrong-destination-mac",
        "left/eth0 sends what is for 10.3.0.2 to 02:00:00:00:00:03, which is third/eth0; right/eth0 has 10.3.0.2",
        "neigh replace 10.3.0.2 lladdr 02:00:00:00:00:02 dev eth0 nud reachable",
    );
    // who has the address took it: what it did with it is its own
    let verdict = sent_to(RIGHT as u8);
    assert_eq!(verdict.cause.as_deref(), Some("route.forwarding-disabled"));
}

/// A pod whose cable leads to a node, and a route by a gateway that nobody has.
fn pod_and_node() -> Net {
    let mut net = Net::with(&["pod", "node"]);
    for (ns, name, end, last) in [(LEFT, "eth0", SWITCH, 2), (SWITCH, "eni5", LEFT, 5)] {
        net.link(device(ns, 2), name, |l| {
            l.peer = Some(device(end, 2));
            l.mac = Some(mac(last));
        });
    }
    net.address(device(LEFT, 2), "10.7.0.9", 32);
    net.fact(Fact::Route(RouteAnswer {
        netns: NetNs(LEFT),
        tuple: echo("10.7.0.9", "10.9.0.9"),
        iif: 0,
        with: Selectors::default(),
        result: Ok(Route {
            kind: "unicast".to_owned(),
            oif: Some(2),
            gateway: "169.254.1.1".parse().ok(),
            source: None,
            table: 254,
            mtu: None,
            learned: false,
        }),
    }));
    net
}

#[test]
fn the_other_end_of_a_cable_gets_what_is_for_a_gateway_that_nobody_has() {
    let mut net = pod_and_node();
    let flow = net.flow(echo("10.7.0.9", "10.9.0.9"));
    net.packet(flow, Direction::Forward)
        .bound_for(mac(0x77))
        .leaves(device(LEFT, 2))
        .enters(device(SWITCH, 2))
        .dies(
            Some(device(SWITCH, 2)),
            dropped("OTHERHOST", "ip_rcv_core", "ip_rcv"),
        );
    check(
        &net.verdict(),
        "l2.wrong-destination-mac",
        "the frame is for 02:00:00:00:00:77, the interface has 02:00:00:00:00:05",
        "ip neigh replace 169.254.1.1 lladdr 02:00:00:00:00:05 dev eth0",
    );
}
