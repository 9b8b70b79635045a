//! Which of several tunnel devices takes a packet in, and where one sends: `NEAR` and `FAR` over one network.
#![expect(clippy::unwrap_used, reason = "a failed setup fails the test")]

use super::*;
use crate::host::facts::{Fact, InterfaceAddress, VxlanLink};
use crate::model::KtimeNs;

const NEAR: NetNs = NetNs(1);
const FAR: NetNs = NetNs(2);

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

fn tunnel(local: &str, remote: &str, key: Option<u32>) -> TunnelLink {
    TunnelLink {
        local: local.parse().ok(),
        remote: remote.parse().ok(),
        input_key: key,
        output_key: key,
        ..TunnelLink::default()
    }
}

struct Net(Host, u32);

impl Net {
    /// A namespace with an address of the underlay.
    fn new() -> Self {
        let mut net = Self(Host::default(), 1);
        for (netns, own) in [(NEAR, "10.0.0.1"), (FAR, "10.0.0.2")] {
            let device = net.add(netns, "eth0", "", None);
            let address = InterfaceAddress {
                address: ip(own),
                prefix: 24,
                tentative: false,
                dad_failed: false,
                deprecated: false,
                secondary: false,
                scope: 0,
            };
            let fact = Fact::Addresses(device, vec![address]);
            net.0.apply(KtimeNs(1), fact);
        }
        net
    }

    fn add(&mut self, netns: NetNs, name: &str, kind: &str, tunnel: Option<TunnelLink>) -> Device {
        self.1 += 1;
        let device = Device {
            netns,
            ifindex: IfIndex(self.1),
        };
        let link = Link {
            kind: kind.into(),
            mtu: 1500,
            up: true,
            carrier: true,
            arp_type: 1,
            tunnel: tunnel.map(Box::new),
            ..Link::new(device, name)
        };
        self.0.apply(KtimeNs(1), Fact::Link(link));
        device
    }

    fn change(&mut self, device: Device, change: impl FnOnce(&mut Link)) {
        let mut link = self.0.link(device).unwrap().clone();
        change(&mut link);
        self.0.apply(KtimeNs(2), Fact::Link(link));
    }

    fn taker(&self, arrived: Arrived) -> &str {
        taker(&self.0, FAR, &arrived).map_or("nobody", |link| &link.name)
    }
}

/// A packet from `NEAR` to `FAR` in this protocol.
fn arrived(kind: TunnelKind, id: Option<u32>, v6: bool) -> Arrived {
    let outer = Tuple {
        proto: Proto::Udp,
        src: ip("10.0.0.1"),
        sport: 0,
        dst: ip("10.0.0.2"),
        dport: 6081,
        icmp_id: 0,
    };
    Arrived {
        tunnel: Tunnel { kind, id, outer },
        frame: false,
        v6,
        iif: None,
    }
}

#[test]
fn the_device_with_the_most_of_its_ends_takes_it() {
    let mut net = Net::new();
    let packet = arrived(TunnelKind::Gre, Some(5), false);
    // each is more special than those before it
    let rows = [
        ("gre0", tunnel("", "", None)),
        (
            "all",
            TunnelLink {
                external: true,
                ..TunnelLink::default()
            },
        ),
        ("any", tunnel("", "", Some(5))),
        ("local", tunnel("10.0.0.2", "", Some(5))),
        ("remote", tunnel("", "10.0.0.1", Some(5))),
        ("both", tunnel("10.0.0.2", "10.0.0.1", Some(5))),
    ];
    assert_eq!(net.taker(packet), "nobody");
    let mut last = None;
    for (name, set) in rows {
        last = Some(net.add(FAR, name, "gre", Some(set)));
        assert_eq!(net.taker(packet), name);
    }
    net.add(
        FAR,
        "key",
        "gre",
        Some(tunnel("10.0.0.2", "10.0.0.1", Some(6))),
    );
    net.add(
        FAR,
        "none",
        "gre",
        Some(tunnel("10.0.0.2", "10.0.0.1", None)),
    );
    net.add(
        FAR,
        "other",
        "gre",
        Some(tunnel("10.0.0.2", "10.0.0.9", Some(5))),
    );
    net.add(
        FAR,
        "tap",
        "gretap",
        Some(tunnel("10.0.0.2", "10.0.0.1", Some(5))),
    );
    assert_eq!(net.taker(packet), "both");
    let framed = Arrived {
        frame: true,
        ..packet
    };
    assert_eq!(net.taker(framed), "tap");
    assert_eq!(net.taker(arrived(TunnelKind::Gre, None, false)), "none");
    net.change(last.unwrap(), |link| link.up = false);
    assert_eq!(net.taker(packet), "remote");
}

#[test]
fn a_bound_device_takes_what_comes_in_at_its_interface() {
    let mut net = Net::new();
    let set = || Some(tunnel("10.0.0.2", "10.0.0.1", None));
    let bound = net.add(FAR, "bound", "gre", set());
    net.add(FAR, "free", "gre", set());
    let at = Device {
        netns: FAR,
        ifindex: IfIndex(77),
    };
    net.change(bound, |link| link.peer = Some(at));
    let packet = Arrived {
        iif: Some(at),
        ..arrived(TunnelKind::Gre, None, false)
    };
    assert_eq!(net.taker(packet), "bound");
    assert_eq!(
        query(net.0.link(bound).unwrap(), packet.tunnel.outer, 0).oif,
        Some(at.ifindex)
    );
}

#[test]
fn what_is_inside_of_ip_decides_among_devices_too() {
    let mut net = Net::new();
    let set = || Some(tunnel("10.0.0.2", "10.0.0.1", None));
    net.add(FAR, "sit", "sit", set());
    let (v4, v6) = (
        arrived(TunnelKind::IpIp, None, false),
        arrived(TunnelKind::IpIp, None, true),
    );
    assert_eq!((net.taker(v4), net.taker(v6)), ("sit", "sit"));
    net.add(FAR, "ipip", "ipip", set());
    assert_eq!((net.taker(v4), net.taker(v6)), ("ipip", "sit"));
}

#[test]
fn geneve_and_vxlan_are_found_by_vni_and_port() {
    let mut net = Net::new();
    let geneve = |remote, vni, port| TunnelLink {
        port,
        ..tunnel("", remote, Some(vni))
    };
    net.add(FAR, "end", "geneve", Some(geneve("10.0.0.9", 42, 6081)));
    net.add(FAR, "vni", "geneve", Some(geneve("10.0.0.1", 43, 6081)));
    net.add(FAR, "port", "geneve", Some(geneve("10.0.0.1", 42, 6082)));
    let packet = arrived(TunnelKind::Geneve, Some(42), false);
    assert_eq!(net.taker(packet), "nobody");
    net.add(FAR, "it", "geneve", Some(geneve("10.0.0.1", 42, 6081)));
    assert_eq!(net.taker(packet), "it");
    let device = net.add(FAR, "vx", "vxlan", None);
    net.change(device, |link| {
        link.vxlan = Some(VxlanLink {
            vni: 42,
            port: 6081,
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
    assert_eq!(net.taker(arrived(TunnelKind::Vxlan, Some(42), false)), "vx");
    assert_eq!(
        net.taker(arrived(TunnelKind::Vxlan, Some(43), false)),
        "nobody"
    );
}

#[test]
fn the_outer_packet_travels_where_the_device_was_made() {
    let mut net = Net::new();
    let inside = NetNs(3);
    let device = net.add(
        inside,
        "moved",
        "ipip",
        Some(tunnel("10.0.0.2", "10.0.0.1", None)),
    );
    net.change(device, |link| {
        link.peer = Some(Device {
            netns: FAR,
            ifindex: IfIndex(0),
        });
    });
    assert_eq!(net.taker(arrived(TunnelKind::IpIp, None, false)), "moved");
    let moved = net.0.link(device).unwrap();
    assert_eq!(
        query(
            moved,
            arrived(TunnelKind::IpIp, None, false).tunnel.outer,
            0
        )
        .oif,
        None
    );
}

#[test]
fn a_device_sends_to_its_remote_end_by_its_protocol() {
    let mut net = Net::new();
    let sent = |net: &mut Net, kind: &str, set: TunnelLink, v6: bool| {
        let device = net.add(NEAR, kind, kind, Some(set));
        let link = net.0.link(device).unwrap();
        let remote = encapsulate(&net.0, link, Inner { mac: None, v6 })
            .unwrap()
            .unwrap();
        (remote.outer().proto, remote.outer().dport, remote.id)
    };
    let set = || tunnel("10.0.0.1", "10.0.0.2", Some(5));
    let plain = || tunnel("10.0.0.1", "10.0.0.2", None);
    assert_eq!(
        sent(&mut net, "gre", set(), false),
        (Proto::Other(47), 0, Some(5))
    );
    assert_eq!(
        sent(&mut net, "ipip", plain(), false),
        (Proto::Other(4), 0, None)
    );
    assert_eq!(
        sent(&mut net, "sit", plain(), true),
        (Proto::Other(41), 0, None)
    );
    let geneve = TunnelLink {
        port: 6081,
        ..set()
    };
    assert_eq!(
        sent(&mut net, "geneve", geneve, false),
        (Proto::Udp, 6081, Some(5))
    );
    let fou = TunnelLink {
        port: 5555,
        ..plain()
    };
    assert_eq!(sent(&mut net, "ipip", fou, false), (Proto::Udp, 5555, None));
}

#[test]
fn frames_come_to_the_device_at_the_other_end() {
    let mut net = Net::new();
    let near = net.add(NEAR, "tap", "gretap", Some(tunnel("", "10.0.0.2", Some(5))));
    let end = |net: &Net| {
        let link = net.0.link(near).unwrap();
        let remote = flooded_to(&net.0, link).unwrap();
        let end = end_of(&net.0, link, *remote.first().unwrap());
        match end {
            End::Devices(list) => list.iter().map(|link| link.name.clone()).collect(),
            other => format!("{other:?}"),
        }
    };
    assert_eq!(end(&net), "NoDevice(NetNs(2))");
    net.add(
        FAR,
        "wrong",
        "gretap",
        Some(tunnel("", "10.0.0.1", Some(6))),
    );
    net.add(
        FAR,
        "right",
        "gretap",
        Some(tunnel("10.0.0.2", "10.0.0.1", Some(5))),
    );
    assert_eq!(end(&net), "right");
}
