//! Changes that need more than one command: MTUs of both ends, tunnels with what goes with them, macvlans of the host.

use super::fixture::{Net, device, mac};
use crate::diagnose::remedy::{Remedy, advice};
use crate::diagnose::{mtu, overlay};
use crate::host::facts::{Fact, VxlanLink};
use crate::model::{Device, NetNs};

/// Commands of a change and of its undo.
fn typed(remedy: Remedy) -> Vec<String> {
    let list = advice(&[remedy]).into_iter();
    list.filter_map(|a| a.command).collect()
}

fn lines<const N: usize>(lines: [&str; N]) -> String {
    lines.map(|line| format!("ip netns exec {line}")).join("\n")
}

const A: u32 = 1;
const B: u32 = 2;
const UNDER: u32 = 2;
const TUNNEL: u32 = 3;
const PODS: u32 = 4;

/// Two nodes with a tunnel that is told its neighbours, as flannel makes it.
fn nodes(down_at_b: bool) -> Net {
    let mut net = Net::with(&["a", "b"]);
    for (node, other) in [(A, B), (B, A)] {
        net.link(device(node, UNDER), "eth0", |l| {
            l.peer = Some(device(other, UNDER));
        });
        net.address(device(node, UNDER), &format!("172.16.0.{node}"), 24);
        net.link(device(node, TUNNEL), "vx0", |l| {
            l.kind = "vxlan".to_owned();
            l.mac = Some(mac(node as u8));
            l.mtu = 1450;
            l.up = !(down_at_b && node == B);
            l.vxlan = Some(VxlanLink {
                vni: 7,
                port: 4789,
                remote: None,
                local: Some([172, 16, 0, node as u8].into()),
                learning: false,
                df: 0,
                proxy: false,
                external: false,
                ttl: None,
                no_checksum6: false,
                takes_no_checksum6: false,
            });
        });
        net.address(device(node, TUNNEL), &format!("10.9.{node}.0"), 32);
        net.link(device(node, PODS), "cni0", |l| l.kind = "bridge".to_owned());
        net.address(device(node, PODS), &format!("10.9.{node}.1"), 24);
    }
    let src = "10.9.1.5".parse().ok();
    net.fact(Fact::RoutesTowards(
        NetNs(B),
        src.unwrap_or_else(|| [0, 0, 0, 0].into()),
        Vec::new(),
    ));
    net
}

fn asker(net: &Net) -> Option<overlay::Asker<'_>> {
    Some(overlay::Asker {
        far: net.host.link(device(A, TUNNEL))?,
        src: [10, 9, 1, 5].into(),
    })
}

fn at(
    net: &Net,
    device: Device,
    make: impl Fn(&crate::host::facts::Link) -> Remedy,
) -> Vec<String> {
    net.host
        .link(device)
        .map(make)
        .map(typed)
        .unwrap_or_default()
}

const BACK: [&str; 3] = [
    "b ip route replace 10.9.1.0/24 via 10.9.1.0 dev vx0 onlink",
    "b ip neigh replace 10.9.1.0 lladdr 02:00:00:00:00:01 dev vx0 nud permanent",
    "b bridge fdb replace 02:00:00:00:00:01 dev vx0 dst 172.16.0.1",
];

#[test]
fn a_tunnel_that_is_raised_gets_the_way_back() {
    let net = nodes(true);
    let commands = at(&net, device(B, TUNNEL), |link| {
        overlay::raise(&net.host, link, asker(&net))
    });
    let [route, neighbour, entry] = BACK;
    assert_eq!(
        commands,
        [
            lines(["b ip link set dev vx0 up", route, neighbour, entry]),
            lines(["b ip link set dev vx0 down"]),
        ]
    );
}

#[test]
fn a_tunnel_that_is_made_anew_has_what_the_old_one_had() {
    let net = nodes(false);
    let commands = at(&net, device(B, TUNNEL), |link| {
        overlay::remake(&net.host, link, 8, 8472, asker(&net))
    });
    let [route, neighbour, entry] = BACK;
    let made = |vni: &str| {
        lines([
            "b ip link del vx0",
            &format!(
                "b ip link add vx0 address 02:00:00:00:00:02 mtu 1450 type vxlan {vni} local 172.16.0.2 nolearning"
            ),
            "b ip addr add 10.9.2.0/32 dev vx0",
            "b ip link set dev vx0 up",
            route,
            neighbour,
            entry,
        ])
    };
    assert_eq!(
        commands,
        [made("id 8 dstport 8472"), made("id 7 dstport 4789")]
    );
}

#[test]
fn a_remote_end_without_a_route_is_on_the_wire_that_leads_to_it() {
    let mut net = nodes(false);
    let route =
        |net: &Net| overlay::underlay_route(&net.host, NetNs(A), [172, 16, 0, 2].into()).map(typed);
    let both = |to: &str| {
        Some(
            ["add", "del"]
                .map(|verb| lines([&format!("a ip route {verb} {to} dev eth0")]))
                .to_vec(),
        )
    };
    assert_eq!(route(&net), both("172.16.0.0/24"));
    net.address(device(A, UNDER), "172.16.0.1", 32);
    assert_eq!(route(&net), both("172.16.0.2"), "its other end has it");
    net.link(device(A, UNDER), "eth0", |_| {});
    assert_eq!(route(&net), None);
}

#[test]
fn an_mtu_is_raised_at_both_ends_and_within_what_is_below() {
    let mut net = nodes(false);
    for node in [A, B] {
        net.link(device(node, UNDER), "eth0", |l| {
            l.peer = Some(device(3 - node, UNDER));
            l.mtu = 1300;
        });
    }
    let raise = |net: &Net, ifindex, size| {
        let link = net.host.link(device(A, ifindex))?;
        mtu::raise(&net.host, link, size, 1500).map(typed)
    };
    let both = |mtu: u32| {
        let line = |node: &str| format!("ip netns exec {node} ip link set dev eth0 mtu {mtu}");
        format!("{}\n{}", line("a"), line("b"))
    };
    assert_eq!(raise(&net, UNDER, 1400), Some(vec![both(1500), both(1300)]));
    net.link(device(A, TUNNEL), "vx0", |l| {
        l.kind = "vxlan".to_owned();
        l.mtu = 1200;
        l.vxlan = Some(VxlanLink {
            vni: 7,
            port: 4789,
            remote: None,
            local: Some([172, 16, 0, 1].into()),
            learning: false,
            df: 0,
            proxy: false,
            external: false,
            ttl: None,
            no_checksum6: false,
            takes_no_checksum6: false,
        });
    });
    let set = |mtu: u32| lines([&format!("a ip link set dev vx0 mtu {mtu}")]);
    assert_eq!(raise(&net, TUNNEL, 1240), Some(vec![set(1250), set(1200)]));
    assert_eq!(raise(&net, TUNNEL, 1400), None, "the underlay takes 1300");
    net.link(device(A, UNDER), "eth0", |l| l.kind = String::new());
    assert_eq!(
        raise(&net, UNDER, 1400),
        None,
        "nobody knows what a wire takes"
    );
}
