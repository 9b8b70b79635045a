//! Each reason on facts made by hand: one bridge in `h` (namespace 1) with ports to `a` (2) and `b` (3), and beside them
//! another network with the same addresses.

use std::net::IpAddr;

use super::*;
use crate::host::facts::{
    Action, Attachment, BridgeLink, BridgePort, DeviceState, Fact, FdbEntry, Forwarding,
    GroupMember, InterfaceAddress, MulticastPorts, Neighbor, PortState, PortVlan, PortVlans,
    ProxyNeighbors, Route, RouteAnswer, Selectors, VxlanLink,
};
use crate::model::{IfIndex, KtimeNs, NetNs, Proto, Tuple};
use crate::network::bridging::Obstacle;
use crate::network::change::{Change, after};

const A: Device = device(2, 1);
const B: Device = device(3, 1);
const PA: Device = device(1, 2);
const PB: Device = device(1, 3);
const BRIDGE: Device = device(1, 1);
/// The other network's owner of the same address.
const STRANGER: Device = device(9, 1);

const fn device(netns: u32, ifindex: u32) -> Device {
    Device {
        netns: NetNs(netns),
        ifindex: IfIndex(ifindex),
    }
}

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap_or(IpAddr::from([0; 4]))
}

fn mac(device: Device) -> Mac {
    let last = u8::try_from(device.ifindex.0).unwrap_or_default();
    let netns = u8::try_from(device.netns.0).unwrap_or_default();
    Mac([2, 0, 0, 0, netns, last])
}

fn link(device: Device, kind: &str, peer: Option<Device>) -> Link {
    Link {
        kind: kind.into(),
        mac: Some(mac(device)),
        mtu: 1500,
        up: true,
        carrier: true,
        arp_type: 1,
        peer,
        ..Link::new(device, format!("i{}", device.ifindex.0))
    }
}

/// Facts, and changes of links before they are told.
struct Net(Host);

impl Net {
    fn new() -> Self {
        let mut net = Self(Host::default());
        let mut bridge = link(BRIDGE, "bridge", None);
        bridge.bridge = Some(BridgeLink::default());
        net.link(bridge);
        for (port, end) in [(PA, A), (PB, B)] {
            let mut inner = link(port, "veth", Some(end));
            inner.master = Some(BRIDGE.ifindex.0);
            inner.port = Some(BridgePort::default());
            net.link(inner);
            net.link(link(end, "veth", Some(port)));
        }
        net.link(link(STRANGER, "veth", None));
        net.address(A, "10.0.0.1");
        net.address(B, "10.0.0.2");
        net.address(STRANGER, "10.0.0.2");
        for device in [BRIDGE, A, B] {
            net.quiet(device);
        }
        net.fact(Fact::MulticastPorts(MulticastPorts {
            bridge: BRIDGE,
            members: Vec::new(),
            routers: Vec::new(),
        }));
        net
    }

    fn fact(&mut self, fact: Fact) {
        self.0.apply(KtimeNs(1), fact);
    }

    fn link(&mut self, link: Link) {
        self.fact(Fact::Link(link));
    }

    fn change(&mut self, device: Device, change: impl FnOnce(&mut Link)) {
        if let Some(mut link) = self.0.link(device).cloned() {
            change(&mut link);
            self.link(link);
        }
    }

    fn port(&mut self, device: Device, change: impl FnOnce(&mut BridgePort)) {
        self.change(device, |l| change(l.port.get_or_insert_default()));
    }

    fn address(&mut self, device: Device, address: &str) {
        let mut list = self.0.addresses(device).to_vec();
        list.push(InterfaceAddress {
            address: ip(address),
            prefix: if address.contains(':') { 64 } else { 24 },
            tentative: false,
            dad_failed: false,
            deprecated: false,
            secondary: false,
            scope: 0,
        });
        self.fact(Fact::Addresses(device, list));
    }

    fn sysctl(&mut self, netns: NetNs, name: &str, value: u32) {
        self.fact(Fact::Sysctl {
            netns,
            name: name.into(),
            value: Some(value.to_string()),
        });
    }

    fn conf(&mut self, device: Device, key: &str, value: u32) {
        let name = self.0.interface(device);
        self.sysctl(device.netns, &format!("net/ipv4/conf/{name}/{key}"), value);
    }

    fn conf6(&mut self, device: Device, key: &str, value: u32) {
        let name = self.0.interface(device);
        self.sysctl(device.netns, &format!("net/ipv6/conf/{name}/{key}"), value);
    }

    /// Nothing of the settings of a new interface.
    fn quiet(&mut self, device: Device) {
        for key in [
            "arp_ignore",
            "arp_filter",
            "rp_filter",
            "accept_local",
            "forwarding",
            "proxy_arp",
            "proxy_arp_pvlan",
        ] {
            self.conf(device, key, 0);
            let all = format!("net/ipv4/conf/all/{key}");
            self.sysctl(device.netns, &all, 0);
        }
        for v6 in [false, true] {
            self.proxies(device.netns, v6, &[]);
        }
    }

    fn proxies(&mut self, netns: NetNs, v6: bool, entries: &[(u32, IpAddr)]) {
        self.fact(Fact::ProxyNeighbors(ProxyNeighbors {
            netns,
            v6,
            entries: entries.to_vec(),
        }));
    }

    /// What the kernel says about the request's own route.
    fn input(&mut self, at: Device, address: &str, result: Result<u32, u32>) {
        self.fact(Fact::Route(RouteAnswer {
            netns: at.netns,
            tuple: Tuple {
                proto: Proto::Arp,
                src: ip("10.0.0.1"),
                sport: 0,
                dst: ip(address),
                dport: 0,
                icmp_id: 0,
            },
            iif: at.ifindex.0,
            with: Selectors::default(),
            result: result.map(|oif| Route {
                kind: "unicast".into(),
                oif: Some(oif),
                gateway: None,
                source: None,
                table: 254,
                mtu: None,
                learned: false,
            }),
        }));
    }

    fn asked(&self, address: &str) -> Answer<'_> {
        answer(&self.0, ask(address))
    }

    /// The reasons of those who stay silent where nobody answers.
    fn silence(&self, address: &str) -> Vec<Silence<'_>> {
        let answer = self.asked(address);
        assert_eq!(answer.told(), Told::Nobody, "{answer:#?}");
        answer.silent.into_iter().map(|s| s.why).collect()
    }

    fn answers(&self, address: &str) -> Vec<(Device, By)> {
        let answer = self.asked(address);
        assert_eq!(answer.told(), Told::Somebody, "{answer:#?}");
        let list = answer.answerers.into_iter();
        list.map(|a| (a.link.device, a.by)).collect()
    }
}

fn ask(address: &str) -> Ask {
    let source = if address.contains(':') {
        "fd00::1"
    } else {
        "10.0.0.1"
    };
    Ask {
        device: A,
        address: ip(address),
        source: Some(ip(source)),
    }
}

#[test]
fn the_owner_on_the_segment_answers_and_no_other() {
    let net = Net::new();
    assert_eq!(net.answers("10.0.0.2"), [(B, By::Owner(B))]);
    let owners: Vec<Device> = owners(&net.0, A, ip("10.0.0.2"))
        .iter()
        .map(|l| l.device)
        .collect();
    assert_eq!(owners, [B], "not the one of the other network");
    assert_eq!(net.silence("10.0.0.9"), []);
}

#[test]
fn what_was_not_read_is_asked_for() {
    let mut net = Net::new();
    net.0.sysctls.clear();
    let answer = net.asked("10.0.0.2");
    assert_eq!(answer.told(), Told::CannotTell);
    let first = answer.missing.first();
    assert!(
        matches!(first, Some(Question::Sysctl { netns, name }) if *netns == B.netns && name.ends_with("rp_filter")),
        "{first:?}"
    );
}

#[test]
fn settings_of_the_owner_keep_it_silent() {
    type Fits = fn(&Silence<'_>) -> bool;
    let rows: [(&str, u32, Fits); 3] = [
        ("arp_ignore", 8, |s| matches!(s, Silence::Ignored(_))),
        ("arp_ignore", 1, |s| matches!(s, Silence::Ignored(_))),
        ("arp_ignore", 2, |s| matches!(s, Silence::Ignored(_))),
    ];
    for (key, value, fits) in rows {
        let mut net = Net::new();
        net.conf(B, key, value);
        // An address of another interface of the same namespace.
        let other = device(3, 2);
        net.link(link(other, "dummy", None));
        net.address(other, "10.1.0.7");
        let silence = net.silence("10.1.0.7");
        assert!(silence.iter().any(fits), "{key}={value}: {silence:?}");
        let own = value != 8;
        assert_eq!(net.asked("10.0.0.2").told() == Told::Somebody, own);
    }
}

#[test]
fn an_address_of_the_host_alone_is_ignored_by_arp_ignore_3() {
    let mut net = Net::new();
    net.conf(B, "arp_ignore", 3);
    assert_eq!(net.answers("10.0.0.2"), [(B, By::Owner(B))]);
    let mut list = net.0.addresses(B).to_vec();
    list.iter_mut().for_each(|a| a.scope = 254);
    net.fact(Fact::Addresses(B, list));
    assert!(matches!(net.silence("10.0.0.2").as_slice(), [Silence::Ignored(s)] if s.value == 3));
}

#[test]
fn the_source_of_a_question_may_refuse_it() {
    let mut net = Net::new();
    net.address(B, "10.0.0.1");
    assert!(matches!(
        net.silence("10.0.0.2").as_slice(),
        [Silence::SourceOwn(_)]
    ));
    net.conf(B, "accept_local", 1);
    assert_eq!(net.answers("10.0.0.2"), [(B, By::Owner(B))]);

    let mut net = Net::new();
    net.conf(B, "rp_filter", 1);
    assert!(
        net.asked("10.0.0.2")
            .missing
            .iter()
            .any(|q| matches!(q, Question::Route { iif: 1, .. }))
    );
    net.input(B, "10.0.0.2", Err(18));
    assert!(matches!(
        net.silence("10.0.0.2").as_slice(),
        [Silence::ReversePath(_, setting)] if setting.value == 1
    ));
}

#[test]
fn a_filter_answers_only_where_its_route_leaves() {
    let mut net = Net::new();
    net.conf(B, "arp_filter", 1);
    assert_eq!(net.asked("10.0.0.2").told(), Told::CannotTell);
    for (oif, told) in [(1, Told::Somebody), (5, Told::Nobody)] {
        net.fact(Fact::Route(RouteAnswer {
            netns: B.netns,
            tuple: Tuple {
                proto: Proto::Arp,
                src: ip("10.0.0.2"),
                sport: 0,
                dst: ip("10.0.0.1"),
                dport: 0,
                icmp_id: 0,
            },
            iif: 0,
            with: Selectors::default(),
            result: Ok(Route {
                kind: "unicast".into(),
                oif: Some(oif),
                gateway: None,
                source: None,
                table: 254,
                mtu: None,
                learned: false,
            }),
        }));
        assert_eq!(net.asked("10.0.0.2").told(), told, "{oif}");
    }
}

#[test]
fn a_proxy_needs_forwarding_and_a_route_elsewhere() {
    let mut net = Net::new();
    net.conf(B, "proxy_arp", 1);
    assert!(matches!(
        net.silence("10.0.7.7").as_slice(),
        [Silence::NotForwarding(_)]
    ));
    net.conf(B, "forwarding", 1);
    assert_eq!(net.asked("10.0.7.7").told(), Told::CannotTell);
    net.input(B, "10.0.7.7", Ok(4));
    assert!(matches!(
        net.answers("10.0.7.7").as_slice(),
        [(_, By::ProxyArp(_, 4))]
    ));
    net.input(B, "10.0.7.7", Ok(1));
    assert_eq!(net.silence("10.0.7.7"), [Silence::ProxySameInterface(1)]);
    net.input(B, "10.0.7.7", Err(101));
    assert_eq!(net.silence("10.0.7.7"), [Silence::ProxyNoRoute]);
}

#[test]
fn an_entry_of_the_proxy_table_answers_for_ipv6() {
    let mut net = Net::new();
    net.address(A, "fd00::1");
    for device in [BRIDGE, B] {
        net.conf6(device, "proxy_ndp", 0);
        net.conf6(device, "forwarding", 0);
        net.sysctl(device.netns, "net/ipv6/conf/all/proxy_ndp", 0);
    }
    net.proxies(B.netns, true, &[(1, ip("fd00::7"))]);
    assert_eq!(net.silence("fd00::7"), [Silence::ProxyNdpOff]);
    net.conf6(B, "proxy_ndp", 1);
    assert!(matches!(
        net.silence("fd00::7").as_slice(),
        [Silence::NotForwarding(_)]
    ));
    net.conf6(B, "forwarding", 1);
    assert_eq!(net.answers("fd00::7"), [(B, By::ProxyEntry)]);
    assert_eq!(net.silence("fd00::8"), []);
}

#[test]
fn an_ipv6_address_answers_on_its_interface_once_it_is_ready() {
    let mut net = Net::new();
    net.address(B, "fd00::2");
    assert_eq!(net.answers("fd00::2"), [(B, By::Owner(B))]);
    let mut list = net.0.addresses(B).to_vec();
    list.iter_mut().for_each(|a| a.tentative = true);
    net.fact(Fact::Addresses(B, list.clone()));
    assert_eq!(net.silence("fd00::2"), [Silence::Tentative]);
    list.iter_mut().for_each(|a| a.dad_failed = true);
    net.fact(Fact::Addresses(B, list));
    assert_eq!(net.silence("fd00::2"), [Silence::Duplicate]);
    let other = device(3, 2);
    net.link(link(other, "dummy", None));
    net.address(other, "fd00::3");
    assert_eq!(net.silence("fd00::3"), [Silence::OtherInterface]);
}

#[test]
fn a_bridge_keeps_the_question_or_the_answer_back() {
    type Fits = fn(&Silence<'_>) -> bool;
    type Change = fn(&mut BridgePort);
    let rows: [(&str, Change, Fits); 3] = [
        (
            "state of the owner's port",
            |p| p.state = PortState::Blocking,
            |s| matches!(s, Silence::Stopped(Stop::Bridge(_, _, Obstacle::State(..)))),
        ),
        (
            "broadcasts",
            |p| p.bcast_flood = false,
            |s| {
                matches!(
                    s,
                    Silence::Stopped(Stop::Bridge(_, _, Obstacle::Flood(_, "bcast_flood")))
                )
            },
        ),
        (
            "locked",
            |p| p.locked = true,
            |s| {
                matches!(
                    s,
                    Silence::AnswerStopped(Stop::Bridge(_, _, Obstacle::Locked(..)))
                )
            },
        ),
    ];
    for (what, change, fits) in rows {
        let mut net = Net::new();
        net.port(PB, change);
        for end in [A, B] {
            net.fact(Fact::Forwarding(Forwarding {
                device: BRIDGE,
                mac: mac(end),
                entries: Vec::new(),
            }));
        }
        let silence = net.silence("10.0.0.2");
        assert!(silence.iter().any(fits), "{what}: {silence:?}");
    }
}

#[test]
fn isolation_needs_both_ports() {
    let mut net = Net::new();
    net.port(PB, |p| p.isolated = true);
    assert_eq!(net.answers("10.0.0.2"), [(B, By::Owner(B))]);
    net.port(PA, |p| p.isolated = true);
    assert!(matches!(
        net.silence("10.0.0.2").as_slice(),
        [Silence::Stopped(Stop::Bridge(_, _, Obstacle::Isolated(..)))]
    ));
}

#[test]
fn an_entry_for_the_asker_elsewhere_takes_the_answer_away() {
    let mut net = Net::new();
    net.fact(Fact::Forwarding(Forwarding {
        device: BRIDGE,
        mac: mac(A),
        entries: vec![FdbEntry {
            port: PB.ifindex.0,
            default: false,
            remote: None,
            state: 0x40,
            sticky: false,
        }],
    }));
    assert!(matches!(
        net.silence("10.0.0.2").as_slice(),
        [Silence::AnswerStopped(Stop::Bridge(
            _,
            _,
            Obstacle::Elsewhere(..)
        ))]
    ));
}

#[test]
fn a_bridge_that_snoops_keeps_solicitations_from_who_did_not_report() {
    let group = ip("ff02::1:ff00:2");
    let member = GroupMember {
        port: PB.ifindex.0,
        group,
        vlan: 0,
    };
    for (querier, members, routers, told) in [
        (false, vec![], vec![], Told::Somebody),
        (true, vec![], vec![], Told::Nobody),
        (true, vec![member], vec![], Told::Somebody),
        (false, vec![], vec![PA.ifindex.0], Told::Nobody),
        (false, vec![], vec![PB.ifindex.0], Told::Somebody),
    ] {
        let mut net = Net::new();
        net.address(A, "fd00::1");
        net.address(B, "fd00::2");
        net.change(BRIDGE, |l| {
            l.bridge.get_or_insert_default().mcast_querier = querier;
        });
        net.fact(Fact::MulticastPorts(MulticastPorts {
            bridge: BRIDGE,
            members,
            routers,
        }));
        assert_eq!(net.asked("fd00::2").told(), told, "{querier}");
    }
}

#[test]
fn a_machine_between_the_asker_and_the_owner_is_found() {
    let mut net = Net::new();
    let (far, owner) = (device(3, 2), device(4, 1));
    net.link(link(far, "veth", Some(owner)));
    net.link(link(owner, "veth", Some(far)));
    net.address(owner, "10.9.0.1");
    let answer = net.asked("10.9.0.1");
    let found: Vec<_> = answer
        .between
        .iter()
        .map(|b| (b.near.device, b.far.device, b.owner.device))
        .collect();
    assert_eq!(found, [(B, far, owner)]);
}

#[test]
fn vlans_of_ports_part_them() {
    let mut net = Net::new();
    net.change(BRIDGE, |l| {
        l.bridge.get_or_insert_default().vlan_filtering = true;
    });
    assert_eq!(
        net.asked("10.0.0.2").told(),
        Told::Somebody,
        "as far as is known"
    );
    let own = |port: Device, vlan| PortVlan {
        port: port.ifindex.0,
        first: vlan,
        last: vlan,
        pvid: true,
        untagged: true,
    };
    for (vlan, told) in [(1, Told::Somebody), (2, Told::Nobody)] {
        net.fact(Fact::PortVlans(PortVlans {
            bridge: BRIDGE,
            vlans: vec![own(PA, 1), own(PB, vlan)],
        }));
        assert_eq!(net.asked("10.0.0.2").told(), told, "{vlan}");
    }
}

#[test]
fn a_bridge_answers_for_a_suppressed_port() {
    let mut net = Net::new();
    net.port(PB, |p| p.neigh_suppress = true);
    net.fact(Fact::Neighbor(Neighbor {
        device: BRIDGE,
        address: ip("10.0.0.2"),
        state: 0,
        mac: None,
    }));
    assert_eq!(net.answers("10.0.0.2"), [(B, By::Owner(B))]);
    net.fact(Fact::Neighbor(Neighbor {
        device: BRIDGE,
        address: ip("10.0.0.2"),
        state: 0x80,
        mac: Some(mac(B)),
    }));
    net.fact(Fact::Forwarding(Forwarding {
        device: BRIDGE,
        mac: mac(B),
        entries: vec![FdbEntry {
            port: PB.ifindex.0,
            default: false,
            remote: None,
            state: 0x02,
            sticky: false,
        }],
    }));
    assert_eq!(net.answers("10.0.0.2"), [(BRIDGE, By::Table)]);
}

#[test]
fn links_that_are_down_or_take_no_part_are_told() {
    let mut net = Net::new();
    net.change(B, |l| l.up = false);
    assert!(matches!(
        net.silence("10.0.0.2").as_slice(),
        [Silence::Stopped(Stop::Bridge(_, _, Obstacle::LinkDown(_)))]
    ));
    let mut net = Net::new();
    net.change(B, |l| l.noarp = true);
    assert_eq!(net.silence("10.0.0.2"), [Silence::NoArp]);
    let mut net = Net::new();
    net.change(A, |l| l.noarp = true);
    assert_eq!(net.silence("10.0.0.2"), [Silence::AskerNoArp]);
    net.change(A, |l| l.up = false);
    assert_eq!(net.silence("10.0.0.2"), [Silence::AskerDown]);
}

#[test]
fn a_wire_or_a_process_may_answer() {
    for (kind, open) in [("", true), ("tun", true), ("dummy", false)] {
        let mut net = Net::new();
        let mut port = link(device(1, 7), kind, None);
        port.master = Some(BRIDGE.ifindex.0);
        port.port = Some(BridgePort::default());
        net.link(port);
        let told = net.asked("10.0.0.9").told();
        assert_eq!(told == Told::CannotTell, open, "{kind}");
    }
}

#[test]
fn an_owner_behind_another_interface_is_found_there() {
    let mut net = Net::new();
    let (near, far) = (device(2, 2), device(4, 1));
    net.link(link(near, "veth", Some(far)));
    net.link(link(far, "veth", Some(near)));
    net.address(far, "10.0.0.50");
    let answer = net.asked("10.0.0.50");
    assert_eq!(answer.told(), Told::Nobody);
    let found: Vec<_> = answer
        .elsewhere
        .iter()
        .map(|e| (e.through.device, e.owner.device))
        .collect();
    assert_eq!(found, [(near, far)]);
}

#[test]
fn macvlans_of_one_parent_need_bridge_mode() {
    for (modes, told) in [
        (["bridge", "bridge"], Told::Somebody),
        (["bridge", "private"], Told::Nobody),
    ] {
        let mut net = Net::new();
        let parent = device(5, 1);
        net.link(link(parent, "dummy", None));
        let ends = [device(6, 2), device(7, 3)];
        for (end, mode) in ends.into_iter().zip(modes) {
            let mut own = link(end, "macvlan", Some(parent));
            own.macvlan = Some(mode.into());
            net.link(own);
            net.quiet(end);
        }
        net.quiet(parent);
        net.address(device(7, 3), "10.0.0.60");
        let ask = Ask {
            device: device(6, 2),
            address: ip("10.0.0.60"),
            source: Some(ip("10.0.0.1")),
        };
        assert_eq!(answer(&net.0, ask).told(), told, "{modes:?}");
    }
}

/// Two VXLAN devices over the bridge, in `a` and `b`.
fn tunnelled(remote: &str) -> Net {
    let mut net = Net::new();
    net.0.forwarding.clear();
    for (netns, local) in [(2, "10.0.0.1"), (3, "10.0.0.2")] {
        let own = device(netns, 8);
        let mut vxlan = link(own, "vxlan", None);
        vxlan.vxlan = Some(VxlanLink {
            vni: 42,
            port: 4789,
            remote: None,
            local: Some(ip(local)),
            learning: true,
            df: 0,
            proxy: false,
            external: false,
            ttl: None,
            no_checksum6: false,
            takes_no_checksum6: false,
        });
        net.link(vxlan);
        net.quiet(own);
        let other = if netns == 2 { remote } else { "10.0.0.1" };
        net.fact(Fact::Forwarding(Forwarding {
            device: own,
            mac: Mac([0xff; 6]),
            entries: vec![FdbEntry {
                port: 8,
                default: true,
                remote: Some(ip(other)),
                state: 0x80,
                sticky: false,
            }],
        }));
    }
    net.address(device(3, 8), "10.5.0.2");
    net
}

#[test]
fn a_vxlan_leads_to_its_remote_end_or_says_why_not() {
    let ask = Ask {
        device: device(2, 8),
        address: ip("10.5.0.2"),
        source: Some(ip("10.5.0.1")),
    };
    let mut net = tunnelled("10.0.0.2");
    // The other network's machine has that address too, but no such device.
    assert_eq!(answer(&net.0, ask).told(), Told::Somebody);
    net.change(device(3, 8), |l| {
        l.vxlan.iter_mut().for_each(|v| v.vni = 43);
    });
    assert_eq!(answer(&net.0, ask).told(), Told::Nobody, "another VNI");
    let own = tunnelled("10.0.0.1");
    assert_eq!(answer(&own.0, ask).told(), Told::Nobody);
    let away = tunnelled("192.0.2.1");
    assert_eq!(answer(&away.0, ask).told(), Told::CannotTell);
}

#[test]
fn a_change_is_tried_on_the_facts_alone() {
    let mut net = Net::new();
    net.conf(B, "arp_ignore", 8);
    net.change(A, |l| l.up = false);
    let ignore = |value: &str| {
        Change::Sysctl(
            B.netns,
            "net/ipv4/conf/i1/arp_ignore".into(),
            value.to_owned(),
        )
    };
    let up = after(&net.0, &[Change::Up(A, true)]);
    assert!(matches!(
        answer(&up, ask("10.0.0.2")).silent.as_slice(),
        [Silent {
            why: Silence::Ignored(_),
            ..
        }]
    ));
    let both = after(&net.0, &[Change::Up(A, true), ignore("0")]);
    assert_eq!(answer(&both, ask("10.0.0.2")).told(), Told::Somebody);
    assert_eq!(net.silence("10.0.0.2"), [Silence::AskerDown], "as it was");
}

/// A redirect of all that comes in at an interface to another one of its namespace.
fn redirect(net: &mut Net, from: Device, to: Device, protocol: u16) {
    let filter = Attachment {
        hook: "tc-ingress".to_owned(),
        how: "u32".to_owned(),
        priority: 10,
        protocol,
        program: None,
        actions: vec![Action {
            kind: "mirred".to_owned(),
            verb: "redirect".to_owned(),
            to: Some(to.ifindex.0),
        }],
    };
    let state = DeviceState {
        programs: vec![filter],
        ..DeviceState::default()
    };
    net.fact(Fact::DeviceState(from, state));
}

/// Interface 4 of `b` leads to a machine (namespace 4) that has the address in its place.
fn machine_behind_b() -> (Net, Device) {
    let (tap, inside) = (device(3, 4), device(4, 1));
    let mut net = Net::new();
    net.link(link(tap, "veth", Some(inside)));
    net.link(link(inside, "veth", Some(tap)));
    net.quiet(inside);
    net.address(inside, "10.0.0.77");
    (net, tap)
}

#[test]
fn what_is_handed_on_both_ways_is_one_segment() {
    let (mut net, tap) = machine_behind_b();
    assert!(net.asked("10.0.0.77").answerers.is_empty());
    redirect(&mut net, B, tap, 3);
    assert!(net.asked("10.0.0.77").answerers.is_empty(), "no way back");
    redirect(&mut net, tap, B, 3);
    let inside = device(4, 1);
    assert_eq!(net.answers("10.0.0.77"), vec![(inside, By::Owner(inside))]);
}

#[test]
fn what_is_handed_on_of_ip_alone_is_none() {
    let (mut net, tap) = machine_behind_b();
    redirect(&mut net, B, tap, 0x0800);
    redirect(&mut net, tap, B, 3);
    assert!(net.asked("10.0.0.77").answerers.is_empty());
}
