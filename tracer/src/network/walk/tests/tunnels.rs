//! Packets into tunnels of the router and out of them: `gre1` (7) sends from `wan0` to 10.9.0.2.

use super::*;
use crate::host::facts::{InterfaceAddress, TunnelLink};
use crate::model::{Tunnel, TunnelKind};

const TUNNEL: Device = device(7);
const MADE: &str = "tunnel gre key 5 10.9.0.1 > 10.9.0.2 dev gre1 → encapsulate";
const SENT: &str = "route 10.9.0.0/24 dev wan0 → send";

fn settings() -> TunnelLink {
    TunnelLink {
        local: Some(ip("10.9.0.1")),
        remote: Some(ip("10.9.0.2")),
        output_key: Some(5),
        input_key: Some(5),
        ..TunnelLink::default()
    }
}

fn net(set: TunnelLink) -> Net {
    let mut net = Net::new();
    net.fact(Fact::Link(Link {
        tunnel: Some(Box::new(set)),
        ..link(TUNNEL, "gre1", "gre")
    }));
    let own = InterfaceAddress {
        address: ip("10.9.0.1"),
        prefix: 24,
        tentative: false,
        dad_failed: false,
        deprecated: false,
        secondary: false,
        scope: 0,
    };
    net.fact(Fact::Addresses(WAN, vec![own]));
    let local = TableRoute::new("local", 255, ip("10.9.0.1"), 32);
    net.fact(Fact::RoutesTowards(NETNS, ip("10.9.0.1"), vec![local]));
    let rule = |priority, table| PolicyRule {
        priority,
        action: "lookup".into(),
        table,
        mark_mask: u32::MAX,
        ..PolicyRule::default()
    };
    let rules = vec![rule(0, 255), rule(32766, 254)];
    net.fact(Fact::Rules(NETNS, false, rules));
    net
}

/// GRE from one end to the other.
fn gre(src: &str, dst: &str, key: u32) -> Arrived {
    let outer = Tuple {
        proto: Proto::Other(47),
        sport: 0,
        dport: 0,
        src: ip(src),
        ..tuple(dst)
    };
    Arrived {
        tunnel: Tunnel {
            kind: TunnelKind::Gre,
            id: Some(key),
            outer,
        },
        frame: false,
        v6: false,
        iif: None,
    }
}

/// Into the tunnel, and not seen again.
fn into() -> Leg {
    Leg {
        entry: Entry::Tunnel(TUNNEL),
        exit: Exit::Unknown,
        out: None,
        before: tuple("10.50.0.1"),
        after: tuple("10.50.0.1"),
        ..leg()
    }
}

/// Out of `wan0` into the namespace.
fn out_of(key: u32, exit: Exit) -> Leg {
    let outer = gre("10.9.0.2", "10.9.0.1", key);
    Leg {
        entry: Entry::Device(WAN),
        exit,
        out: None,
        before: outer.tunnel.outer,
        after: outer.tunnel.outer,
        outer: Some(outer),
        ..leg()
    }
}

#[test]
fn what_goes_into_a_tunnel_goes_on_as_its_outer_packet() {
    let mut seen = into();
    seen.exit = Exit::Out;
    seen.out = Some(WAN);
    seen.outer = Some(gre("10.9.0.1", "10.9.0.2", 5));
    assert_eq!(net(settings()).walk(&seen), [MADE, SENT, NEIGHBOUR]);
    // and where it was not seen, as the device's settings have it: the route gives a source that is not set
    assert_eq!(net(settings()).walk(&into()), [MADE, SENT, NEIGHBOUR]);
    let any = TunnelLink {
        local: None,
        ..settings()
    };
    assert_eq!(net(any).walk(&into()), [MADE, SENT, NEIGHBOUR]);
    // a packet that went elsewhere went by other settings
    seen.outer = Some(gre("10.9.0.1", "10.9.0.2", 6));
    let changed = "tunnel gre key 6 10.9.0.1 > 10.9.0.2 dev gre1 → encapsulate (changed-since)";
    assert_eq!(net(settings()).walk(&seen), [changed, SENT, NEIGHBOUR]);
}

#[test]
fn rules_for_what_the_host_sends_stop_the_outer_packet() {
    let mut net = net(settings());
    let rules = vec![rule("-p gre -j DROP", None, vec![drop()])];
    net.rules(vec![(base("filter", "OUTPUT", false), rules)]);
    let stopped = "OUTPUT -p gre -j DROP → drop";
    assert_eq!(net.walk(&into()), [MADE, SENT, stopped]);
}

#[test]
fn a_tunnel_may_be_bound_to_an_interface() {
    let mut net = net(settings());
    net.fact(Fact::Link(Link {
        peer: Some(LAN),
        tunnel: Some(Box::new(settings())),
        ..link(TUNNEL, "gre1", "gre")
    }));
    let lines = net.walk(&into());
    let bound = "route the destination is taken to be on the link → send";
    assert_eq!(lines, [MADE, bound]);
    let found = walk(&net.0, &into());
    assert!(found.missing.contains(&Question::Neighbor {
        device: LAN,
        address: ip("10.9.0.2")
    }));
}

#[test]
fn where_the_remote_end_comes_with_the_packet_it_cannot_be_told() {
    let external = TunnelLink {
        external: true,
        ..TunnelLink::default()
    };
    let why = "tunnel gre1 is external: the route or program that sends there gives the remote end → unknown (not-modelled)";
    assert_eq!(net(external).walk(&into()), [why]);
    let many = TunnelLink {
        remote: None,
        ..settings()
    };
    let why = "tunnel gre1 has no remote end: the next hop of each packet gives it → unknown (not-modelled)";
    assert_eq!(net(many).walk(&into()), [why]);
}

#[test]
fn an_outer_packet_goes_on_inside_on_the_device_that_takes_it() {
    let local = "route local 10.9.0.1 table local → local";
    let taken = "tunnel gre key 5 10.9.0.2 > 10.9.0.1 dev gre1 → decapsulate";
    let seen = net(settings()).walk(&out_of(5, Exit::Tunnel(TUNNEL)));
    assert_eq!(seen, [local, taken]);
    let died = out_of(6, Exit::Stage(Stage::Decapsulate));
    let nobody = "tunnel gre key 6 10.9.0.2 > 10.9.0.1: no tunnel here takes it, gre1 has key 5 local 10.9.0.1 remote 10.9.0.2 → no-tunnel";
    assert_eq!(net(settings()).walk(&died), [local, nobody]);
    let mut net = net(settings());
    net.fact(Fact::Link(Link {
        up: false,
        tunnel: Some(Box::new(settings())),
        ..link(TUNNEL, "gre1", "gre")
    }));
    let down = "tunnel gre key 5 10.9.0.2 > 10.9.0.1 dev gre1, which is down → no-tunnel";
    let died = out_of(5, Exit::Stage(Stage::Decapsulate));
    assert_eq!(net.walk(&died), [local, down]);
}
