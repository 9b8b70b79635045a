//! What stays of addresses, and what does not.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use proptest::prelude::*;

use super::Addresses;
use crate::model::Mac;
use crate::source::redact::Key;

fn addresses(seed: u8) -> Addresses {
    let mut bytes = [seed; 32];
    bytes[0] ^= 1;
    Addresses::new(&Key::of(bytes).unwrap())
}

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

/// Leading bits that two addresses of a family share.
fn common(a: IpAddr, b: IpAddr) -> u32 {
    match (a, b) {
        (IpAddr::V4(a), IpAddr::V4(b)) => (a.to_bits() ^ b.to_bits()).leading_zeros(),
        (IpAddr::V6(a), IpAddr::V6(b)) => (a.to_bits() ^ b.to_bits()).leading_zeros(),
        _ => 0,
    }
}

#[test]
fn what_has_a_meaning_for_everybody_stays() {
    let mut addresses = addresses(1);
    for known in [
        "0.0.0.0",
        "127.0.0.1",
        "127.0.0.53",
        "224.0.0.251",
        "239.1.2.3",
        "255.255.255.255",
        "::",
        "::1",
        "ff02::1",
        "ff02::16",
        "ff05::1:3",
    ] {
        assert_eq!(addresses.address(ip(known)), ip(known));
    }
    for (network, length) in [
        ("0.0.0.0", 0),
        ("::", 0),
        ("10.0.0.0", 8),
        ("172.16.0.0", 12),
        ("224.0.0.0", 4),
        ("fe80::", 64),
        ("fc00::", 7),
        ("2000::", 3),
    ] {
        assert_eq!(addresses.network(ip(network), length), ip(network));
    }
}

#[test]
fn a_class_stays_and_the_rest_does_not() {
    let mut addresses = addresses(2);
    for (text, holds) in [
        ("10.20.30.40", ("10.0.0.0", 8)),
        ("172.17.0.2", ("172.16.0.0", 12)),
        ("192.168.7.9", ("192.168.0.0", 16)),
        ("100.100.1.1", ("100.64.0.0", 10)),
        ("169.254.169.254", ("169.254.0.0", 16)),
        ("fd12:3456:789a::1", ("fc00::", 7)),
        ("fe80::3c:7bff:fe00:1", ("fe80::", 64)),
        ("2001:db8:7::42", ("2000::", 3)),
        ("::ffff:10.20.30.40", ("::ffff:10.0.0.0", 104)),
        ("64:ff9b::192.168.7.9", ("64:ff9b::192.168.0.0", 112)),
    ] {
        let pseudonym = addresses.address(ip(text));
        assert_ne!(pseudonym, ip(text));
        let (block, length) = holds;
        assert!(
            crate::host::prefix::holds(ip(block), length, pseudonym),
            "{text} became {pseudonym}"
        );
    }
}

#[test]
fn an_address_inside_another_is_the_same_pseudonym() {
    let mut addresses = addresses(3);
    let IpAddr::V4(plain) = addresses.address(ip("192.0.2.7")) else {
        panic!("an IPv4 address stays one");
    };
    let mapped = addresses.address(ip("::ffff:192.0.2.7"));
    assert_eq!(mapped, IpAddr::V6(plain.to_ipv6_mapped()));
}

#[test]
fn a_solicited_node_group_is_that_of_the_pseudonym() {
    let mut addresses = addresses(4);
    let IpAddr::V6(target) = addresses.address(ip("fd00:1::ab:cdef")) else {
        panic!("an IPv6 address stays one");
    };
    let IpAddr::V6(group) = addresses.address(ip("ff02::1:ffab:cdef")) else {
        panic!("an IPv6 address stays one");
    };
    let [.., a, b, c] = target.octets();
    assert!(group.octets().ends_with(&[0, 1, 0xff, a, b, c]));
    assert_ne!([a, b, c], [0xab, 0xcd, 0xef]);
    let mac = addresses.mac(Mac([0x33, 0x33, 0xff, 0xab, 0xcd, 0xef]));
    assert_eq!(mac, Mac([0x33, 0x33, 0xff, a, b, c]));
}

#[test]
fn a_network_in_a_group_is_hidden() {
    let mut addresses = addresses(5);
    let IpAddr::V6(network) = addresses.network(ip("2001:db8:5::"), 48) else {
        panic!("an IPv6 network stays one");
    };
    let group = addresses.address(ip("ff3e:30:2001:db8:5:0:0:17"));
    let expected = 0xff3e_0030_u128 << 96 | network.to_bits() >> 32 | 0x17;
    assert_eq!(group, IpAddr::V6(Ipv6Addr::from_bits(expected)));
}

#[test]
fn the_broadcast_address_of_a_network_of_256_stays_one() {
    for seed in 0..32 {
        let mut addresses = addresses(seed);
        let hosts = (0..=255).map(|n| addresses.address(Ipv4Addr::new(10, 4, 0, n).into()));
        let hosts: Vec<IpAddr> = hosts.collect();
        let last = |address: &IpAddr| matches!(address, IpAddr::V4(v4) if v4.octets()[3] == 255);
        assert_eq!(hosts.iter().position(last), Some(255));
    }
}

#[test]
fn ethernet_addresses_keep_their_kind_only() {
    let mut addresses = addresses(6);
    for known in [
        [0; 6],
        [0xff; 6],
        [1, 0, 0x5e, 0, 0, 0xfb],
        [0x33, 0x33, 0, 0, 0, 1],
    ] {
        assert_eq!(addresses.mac(Mac(known)), Mac(known));
    }
    for original in [[2, 0x42, 0xac, 0x11, 0, 2], [0, 0x1b, 0x21, 7, 8, 9]] {
        let Mac(pseudonym) = addresses.mac(Mac(original));
        assert_ne!(pseudonym, original);
        assert_eq!(pseudonym[0] & 3, original[0] & 3);
        assert_eq!(addresses.mac(Mac(original)), Mac(pseudonym));
        assert_eq!(addresses.original_mac(Mac(pseudonym)), Mac(original));
    }
}

proptest! {
    #[test]
    fn ipv4_prefixes_are_kept(a: u32, b: u32, length in 0u8..=32, seed: u8) {
        // near each other as often as not
        let b = if seed & 1 == 0 { b } else { a ^ (b >> (seed >> 3)) };
        keeps(Ipv4Addr::from_bits(a).into(), Ipv4Addr::from_bits(b).into(), length, seed);
    }

    #[test]
    fn ipv6_prefixes_are_kept(a: u128, b: u128, length in 0u8..=128, seed: u8) {
        let b = if seed & 1 == 0 { b } else { a ^ (b >> (seed >> 1)) };
        keeps(Ipv6Addr::from_bits(a).into(), Ipv6Addr::from_bits(b).into(), length, seed);
    }

    #[test]
    fn ipv6_prefixes_are_kept_near_what_is_known(start in 0usize..6, a: u128, b: u128, seed: u8) {
        let first = super::V6.get(start).unwrap().first;
        let near = |bits: u128| Ipv6Addr::from_bits(first ^ bits >> (seed >> 1));
        // groups that hold networks hide each as if it stood alone
        prop_assume!(!near(a).is_multicast() && !near(b).is_multicast());
        keeps(near(a).into(), near(b).into(), 64, seed);
    }
}

fn keeps(a: IpAddr, b: IpAddr, length: u8, seed: u8) {
    let multicast = |a: IpAddr| a.is_ipv6() && a.is_multicast();
    if multicast(a) || multicast(b) {
        return;
    }
    let mut addresses = addresses(seed);
    let (x, y) = (addresses.address(a), addresses.address(b));
    assert_eq!(common(x, y), common(a, b), "{a} {b} became {x} {y}");
    assert_eq!((addresses.original(x), addresses.original(y)), (a, b));
    let network = addresses.network(a, length);
    assert_eq!(
        crate::host::prefix::holds(network, length, y),
        crate::host::prefix::holds(a, length, b)
    );
}
