//! Addresses that a change takes away or gives back.
#![expect(clippy::unwrap_used, reason = "a test's own mistakes may end it")]

use std::net::IpAddr;

use super::fixture::{Net, device, echo};
use crate::diagnose::readdress;
use crate::diagnose::remedy::advice;
use crate::host::facts::{Fact, InterfaceAddress, Route, RouteAnswer, Selectors, TableRoute};
use crate::model::NetNs;
use crate::uapi::rtnetlink::RT_TABLE_MAIN;

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

/// A machine with addresses on one interface (prefix, whether secondary), and a default route there.
fn machine(addresses: &[(&str, u8, bool)], chosen: &str) -> Net {
    let mut net = Net::with(&["host", "vm"]);
    net.link(device(2, 3), "ens9", |_| {});
    let list = addresses
        .iter()
        .map(|(address, prefix, secondary)| InterfaceAddress {
            address: address.parse().unwrap(),
            prefix: *prefix,
            tentative: false,
            dad_failed: false,
            deprecated: false,
            secondary: *secondary,
            scope: 0,
        });
    net.fact(Fact::Addresses(device(2, 3), list.collect()));
    let (netns, dst) = (NetNs(2), ip("198.18.9.80"));
    net.fact(Fact::RoutesTowards(
        netns,
        dst,
        vec![TableRoute {
            kind: "unicast".to_owned(),
            table: RT_TABLE_MAIN,
            prefix: ip("0.0.0.0"),
            length: 0,
            gateway: Some(ip("100.70.8.1")),
            oif: Some(3),
            metric: 0,
            flags: 0,
            paths: Vec::new(),
            nexthop: None,
            protocol: 0,
            scope: 0,
            tos: 0,
            source: Some(ip(chosen)),
            from: None,
            preference: 0,
            metrics: Vec::new(),
            unknown: Vec::new(),
        }],
    ));
    net.fact(Fact::Route(RouteAnswer {
        netns,
        tuple: echo("0.0.0.0", "198.18.9.80"),
        iif: 0,
        with: Selectors::default(),
        result: Ok(Route {
            kind: "unicast".to_owned(),
            oif: Some(3),
            gateway: Some(ip("100.70.8.1")),
            source: Some(ip(chosen)),
            table: RT_TABLE_MAIN,
            mtu: None,
            learned: false,
        }),
    }));
    net
}

fn typed(net: &Net, gone: &str) -> Vec<String> {
    let at = (device(2, 3), ip(gone));
    let remedy = readdress::remove(&net.host, at, ip("198.18.9.80"), "").unwrap();
    let list = advice(&[remedy]);
    list.into_iter().filter_map(|a| a.command).collect()
}

#[test]
fn secondaries_and_the_default_route_are_put_back_by_change_and_undo() {
    let net = machine(
        &[("100.70.8.44", 24, false), ("100.70.8.61", 24, true)],
        "100.70.8.61",
    );
    assert_eq!(
        typed(&net, "100.70.8.44"),
        [
            "ip netns exec vm ip addr del 100.70.8.44/24 dev ens9\n\
             ip netns exec vm ip addr replace 100.70.8.61/24 dev ens9\n\
             ip netns exec vm ip route replace default via 100.70.8.1 dev ens9 src 100.70.8.61",
            "ip netns exec vm ip addr del 100.70.8.61/24 dev ens9\n\
             ip netns exec vm ip addr add 100.70.8.44/24 dev ens9\n\
             ip netns exec vm ip addr add 100.70.8.61/24 dev ens9\n\
             ip netns exec vm ip route replace default via 100.70.8.1 dev ens9 src 100.70.8.61",
        ]
    );
}

#[test]
fn a_secondary_goes_alone() {
    let net = machine(
        &[("100.70.8.61", 24, false), ("100.70.8.44", 24, true)],
        "100.70.8.61",
    );
    assert_eq!(
        typed(&net, "100.70.8.44"),
        [
            "ip netns exec vm ip addr del 100.70.8.44/24 dev ens9",
            "ip netns exec vm ip addr add 100.70.8.44/24 dev ens9",
        ]
    );
}

#[test]
fn a_route_that_prefers_the_address_goes_with_it_and_is_put_back_without() {
    let net = machine(
        &[("100.70.8.61", 24, false), ("10.34.2.1", 32, false)],
        "10.34.2.1",
    );
    assert_eq!(
        typed(&net, "10.34.2.1"),
        [
            "ip netns exec vm ip addr del 10.34.2.1/32 dev ens9\n\
             ip netns exec vm ip route replace default via 100.70.8.1 dev ens9",
            "ip netns exec vm ip addr add 10.34.2.1/32 dev ens9\n\
             ip netns exec vm ip route replace default via 100.70.8.1 dev ens9 src 10.34.2.1",
        ]
    );
}
