//! VLANs, WireGuard tunnels and virtual addresses of IPVS: settings of both ends, compared.

use super::fixture::{Net, device, dropped, echo, mac, ports};
use crate::host::facts::{
    AllowedNet, BridgeLink, BridgePort, Fact, FdbEntry, Forwarding, IpvsAnswer, IpvsDestination,
    IpvsService, PortVlan, PortVlans, WireGuard, WireGuardKey, WireGuardPeer,
};
use crate::model::{Device, Direction, NetNs, Proto, Tuple};
use crate::verdict::Verdict;

const NEAR: u32 = 1;
const FAR: u32 = 2;
const SWITCH: u32 = 3;

fn commands(verdict: &Verdict) -> String {
    let all = verdict.advice.iter().filter_map(|a| a.command.clone());
    all.collect::<Vec<_>>().join("\n")
}

#[track_caller]
fn check(verdict: &Verdict, cause: &str, words: &str, command: &str) {
    assert_eq!(verdict.cause.as_deref(), Some(cause), "{}", verdict.summary);
    assert!(verdict.summary.contains(words), "{}", verdict.summary);
    let commands = commands(verdict);
    assert!(commands.contains(command), "{commands}");
}

/// near/eth0.10 on near/eth0 - far/eth0 with a VLAN device of this number.
fn tagged(number: u16) -> Net {
    let mut net = Net::with(&["near", "far"]);
    for (ns, last) in [(NEAR, 1), (FAR, 2)] {
        let other = if ns == NEAR { FAR } else { NEAR };
        net.link(device(ns, 2), "eth0", |l| {
            l.peer = Some(device(other, 2));
            l.mac = Some(mac(last));
        });
        let number = if ns == NEAR { 10 } else { number };
        net.link(device(ns, 3), &format!("eth0.{number}"), |l| {
            l.kind = "vlan".to_owned();
            l.vlan = Some(number);
            l.peer = Some(device(ns, 2));
            l.mac = Some(mac(last));
        });
    }
    net.address(device(NEAR, 3), "10.3.0.1", 24);
    net.address(device(FAR, 3), "10.3.0.2", 24);
    net
}

fn strays(net: &mut Net) -> Verdict {
    let flow = net.flow(echo("10.3.0.1", "10.3.0.2"));
    net.packet(flow, Direction::Forward)
        .bound_for(mac(2))
        .leaves(device(NEAR, 3))
        .leaves(device(NEAR, 2))
        .enters(device(FAR, 2))
        .dies(
            Some(device(FAR, 2)),
            dropped("OTHERHOST", "ip_rcv_core", "ip_rcv"),
        );
    net.verdict()
}

#[test]
fn a_tag_that_no_device_takes_is_named_with_those_that_are_there() {
    let verdict = strays(&mut tagged(20));
    check(
        &verdict,
        "l2.vlan",
        "it comes to far/eth0 with VLAN 10, and far/eth0 has eth0.20 (VLAN 20)",
        "ip netns exec far ip link add link eth0 name eth0.10 type vlan id 10",
    );
    assert!(commands(&verdict).contains("ip netns exec far ip link del eth0.10"));
}

#[test]
fn a_tag_that_is_taken_says_nothing_of_a_stray_frame() {
    let verdict = strays(&mut tagged(10));
    assert_ne!(verdict.cause.as_deref(), Some("l2.vlan"));
}

/// near/eth0 - switch/p1, far/eth0 - switch/p2, with these VLANs for frames without a tag.
fn filtered(vlans: [u16; 2]) -> Net {
    const BR0: u32 = 9;
    let mut net = Net::with(&["near", "far", "switch"]);
    net.link(device(SWITCH, BR0), "br0", |l| {
        l.kind = "bridge".to_owned();
        l.bridge = Some(BridgeLink {
            vlan_filtering: true,
            ..BridgeLink::default()
        });
    });
    for (ns, port) in [(NEAR, 1), (FAR, 2)] {
        net.link(device(ns, 2), "eth0", |l| {
            l.peer = Some(device(SWITCH, port));
            l.mac = u8::try_from(port).ok().map(mac);
        });
        net.link(device(SWITCH, port), &format!("p{port}"), |l| {
            l.peer = Some(device(ns, 2));
            l.port = Some(BridgePort::default());
            l.master = Some(BR0);
        });
        net.address(device(ns, 2), &format!("10.3.0.{port}"), 24);
    }
    let vlans = (1..).zip(vlans).map(|(port, vlan)| PortVlan {
        port,
        first: vlan,
        last: vlan,
        pvid: true,
        untagged: true,
    });
    net.fact(Fact::PortVlans(PortVlans {
        bridge: device(SWITCH, BR0),
        vlans: vlans.collect(),
    }));
    net.fact(Fact::Forwarding(Forwarding {
        device: device(SWITCH, BR0),
        mac: mac(2),
        entries: vec![FdbEntry {
            port: 2,
            default: false,
            remote: None,
            state: 2,
            sticky: false,
        }],
    }));
    net
}

fn dies_at_port(net: &mut Net) -> Verdict {
    let flow = net.flow(echo("10.3.0.1", "10.3.0.2"));
    net.packet(flow, Direction::Forward)
        .bound_for(mac(2))
        .leaves(device(NEAR, 2))
        .enters(device(SWITCH, 1))
        .dies(
            Some(device(SWITCH, 1)),
            dropped("NOT_SPECIFIED", "br_handle_frame_finish", "br_handle_frame"),
        );
    net.verdict()
}

#[test]
fn ports_of_two_vlans_are_put_into_one_and_back() {
    let verdict = dies_at_port(&mut filtered([31, 30]));
    check(
        &verdict,
        "l2.bridge",
        "port p2 does not belong to VLAN 31, in which it came in at p1",
        "bridge vlan add dev p1 vid 30 pvid untagged",
    );
    let all = commands(&verdict);
    assert!(all.contains("bridge vlan del dev p1 vid 30"), "{all}");
    assert!(
        all.contains("bridge vlan add dev p1 vid 31 pvid untagged"),
        "{all}"
    );
}

#[test]
fn ports_of_one_vlan_are_not_blamed_for_it() {
    let verdict = dies_at_port(&mut filtered([30, 30]));
    assert!(!verdict.summary.contains("VLAN"), "{}", verdict.summary);
}

const WG: u32 = 5;

fn wireguard(ns: u32, key: u8, peer: WireGuardPeer) -> Fact {
    let set = WireGuard {
        key: Some(WireGuardKey([key; 32])),
        port: 51820,
        peers: vec![peer],
    };
    Fact::WireGuard(device(ns, WG), set)
}

/// A peer with one address.
fn peer(key: u8, endpoint: &str, allowed: &str) -> Option<WireGuardPeer> {
    Some(WireGuardPeer {
        key: WireGuardKey([key; 32]),
        endpoint: Some(endpoint.parse().ok()?),
        keepalive: 0,
        handshake: false,
        preshared: false,
        allowed: vec![AllowedNet {
            address: allowed.parse().ok()?,
            prefix: 32,
        }],
    })
}

/// Where a packet that came through a tunnel ends; `None` on kernels that do not tell (before 6.3).
type Taken = Option<&'static str>;

/// near/wg0 with key 1 and far/wg0 with key 2, each with this peer; what is sent is consumed at far or not at all.
fn tunnelled(
    near: Option<WireGuardPeer>,
    far: Option<WireGuardPeer>,
    comes: Option<Taken>,
) -> Verdict {
    let mut net = Net::with(&["near", "far"]);
    for (ns, key, peer) in [(NEAR, 1, near), (FAR, 2, far)] {
        net.link(device(ns, WG), "wg0", |l| l.kind = "wireguard".to_owned());
        net.link(device(ns, 2), "eth0", |_| {});
        net.address(device(ns, 2), &format!("192.0.2.{ns}"), 24);
        net.address(device(ns, WG), &format!("10.9.0.{ns}"), 24);
        if let Some(peer) = peer {
            net.fact(wireguard(ns, key, peer));
        }
    }
    let flow = net.flow(echo("10.9.0.1", "10.9.0.2"));
    let at: Device = device(FAR, WG);
    let walk = net
        .packet(flow, Direction::Forward)
        .leaves(device(NEAR, WG));
    if let Some(function) = comes {
        walk.consumed(at, function);
    } else {
        walk.goes_away();
    }
    net.wait(2000);
    net.verdict()
}

#[test]
fn a_receiver_that_allows_another_address_is_told_the_whole_list() {
    for taken in [Some("wg_packet_rx_poll"), None] {
        let verdict = tunnelled(
            peer(2, "192.0.2.2:51820", "10.9.0.2"),
            peer(1, "192.0.2.1:51820", "10.9.0.77"),
            Some(taken),
        );
        check(
            &verdict,
            "tunnel.wireguard",
            "10.9.0.1 is not in the allowed-ips of the peer that sends it (it has 10.9.0.77/32)",
            "allowed-ips 10.9.0.77/32,10.9.0.1/32",
        );
    }
}

#[test]
fn without_a_function_two_ends_that_fit_are_not_blamed() {
    let verdict = tunnelled(
        peer(2, "192.0.2.2:51820", "10.9.0.2"),
        peer(1, "192.0.2.1:51820", "10.9.0.1"),
        Some(None),
    );
    assert_ne!(verdict.cause.as_deref(), Some("tunnel.wireguard"));
}

#[test]
fn a_wrong_port_and_a_wrong_key_are_told_apart() {
    let far = || peer(1, "192.0.2.1:51820", "10.9.0.1");
    let port = tunnelled(peer(2, "192.0.2.2:9", "10.9.0.2"), far(), None);
    check(
        &port,
        "tunnel.wireguard",
        "sends to the wrong end",
        "endpoint 192.0.2.2:51820",
    );
    let key = tunnelled(peer(7, "192.0.2.2:51820", "10.9.0.2"), far(), None);
    check(
        &key,
        "tunnel.wireguard",
        "knows the peer at 192.0.2.2:51820 by the key",
        "remove",
    );
    let stranger = tunnelled(
        peer(2, "192.0.2.2:51820", "10.9.0.2"),
        peer(8, "192.0.2.1:51820", "10.9.0.1"),
        None,
    );
    check(
        &stranger,
        "tunnel.wireguard",
        "no peer with the key of near/wg0",
        "remove",
    );
}

#[test]
fn two_ends_that_fit_are_not_blamed_beyond_their_handshake() {
    let verdict = tunnelled(
        peer(2, "192.0.2.2:51820", "10.9.0.2"),
        peer(1, "192.0.2.1:51820", "10.9.0.1"),
        None,
    );
    assert!(
        verdict.summary.contains("had no handshake"),
        "{}",
        verdict.summary
    );
    let change = verdict
        .advice
        .iter()
        .find(|a| a.kind == crate::verdict::AdviceKind::Change);
    assert_eq!(change, None, "nothing tells what to change");
}

/// A service with one destination, as it is read for a packet.
fn service(at: u32, tuple: Tuple, method: &str) -> Fact {
    Fact::Ipvs(IpvsAnswer {
        netns: NetNs(at),
        tuple,
        services: vec![IpvsService {
            proto: Proto::Tcp,
            address: tuple.dst,
            port: tuple.dport,
            scheduler: "rr".to_owned(),
            destinations: vec![IpvsDestination {
                address: [10, 5, 0, 21].into(),
                port: tuple.dport,
                method: method.to_owned(),
                weight: 1,
            }],
        }],
        connections: Vec::new(),
    })
}

/// A connection through the balancer `near` to `far`, which refuses it as none of its own.
fn balanced(method: &str) -> Verdict {
    let mut net = Net::with(&["near", "far"]);
    for ns in [NEAR, FAR] {
        net.link(device(ns, 1), "lo", |l| l.arp_type = 772);
        net.link(device(ns, 2), "eth0", |_| {});
    }
    net.address(device(FAR, 2), "10.5.0.21", 24);
    let tuple = ports(Proto::Tcp, "10.5.0.2", 40_000, "10.5.0.100", 443);
    net.fact(service(NEAR, tuple, method));
    net.sysctl(FAR, "net/ipv4/conf/all/arp_ignore", "0");
    net.sysctl(FAR, "net/ipv4/conf/all/arp_announce", "2");
    net.sysctl(FAR, "net/ipv4/ip_forward", "0");
    let flow = net.flow(tuple);
    net.packet(flow, Direction::Forward)
        .enters(device(NEAR, 2))
        .leaves(device(NEAR, 2))
        .enters(device(FAR, 2))
        .dies(
            Some(device(FAR, 2)),
            dropped("IP_INADDRERRORS", "ip_error", "ip_rcv"),
        );
    net.verdict()
}

#[test]
fn a_real_server_gets_the_address_and_no_forwarding() {
    let verdict = balanced("Route");
    check(
        &verdict,
        "nat.virtual-address",
        "far is a real server of the IPVS service 10.5.0.100:443/tcp on near",
        "ip addr add 10.5.0.100/32 dev lo",
    );
    let all = commands(&verdict);
    assert!(all.contains("net.ipv4.conf.all.arp_ignore=1"), "{all}");
    assert!(
        !all.contains("arp_announce") && !all.contains("forward"),
        "{all}"
    );
}

#[test]
fn a_destination_that_is_translated_needs_no_address() {
    let verdict = balanced("Masq");
    assert_ne!(verdict.cause.as_deref(), Some("nat.virtual-address"));
}
