//! Built packets: what the decoder reads of the copy is what it read of the original, but for addresses.

use std::net::IpAddr;

use proptest::prelude::*;

use super::super::tests::pseudonyms;
use super::*;
use crate::decode::packet::build::{
    Ip, arp, echo, frame, geneve, gre, icmp, ip, tcp, tcp_with_options, udp, vxlan,
};
use crate::decode::packet::{build, parse};
use crate::model::{Packet, Proto, Transport};

const FRAMED: Start = Start {
    l3_offset: 14,
    protocol: 0,
    skb_len: 0,
};
const MAC: [u8; 6] = [2, 7, 7, 7, 7, 7];
/// Stands in every payload.
const SECRET: &[u8] = b"s3cr3t.example.com";

fn tuple(proto: Proto, src: &str, dst: &str, dport: u16) -> Tuple {
    let echo = matches!(proto, Proto::Icmp | Proto::Icmp6);
    Tuple {
        proto,
        src: src.parse().unwrap(),
        sport: if echo { 0 } else { 5000 },
        dst: dst.parse().unwrap(),
        dport: if echo { 0 } else { dport },
        icmp_id: if echo { dport } else { 0 },
    }
}

fn payload_of(tuple: &Tuple) -> Vec<u8> {
    match tuple.proto {
        Proto::Tcp => tcp(tuple, build::Tcp::default(), SECRET),
        Proto::Icmp | Proto::Icmp6 => echo(tuple, false, 3, SECRET),
        _ => udp(tuple, SECRET),
    }
}

fn kind(tuple: &Tuple) -> u16 {
    if tuple.src.is_ipv4() { 0x0800 } else { 0x86dd }
}

fn hidden(tuple: &Tuple, addresses: &mut Addresses) -> Tuple {
    Tuple {
        src: addresses.address(tuple.src),
        dst: addresses.address(tuple.dst),
        ..*tuple
    }
}

/// No trace of an address or of the payload, wherever it stands.
fn assert_clean(bytes: &[u8], originals: &[IpAddr]) {
    let has = |part: &[u8]| bytes.windows(part.len()).any(|window| window == part);
    for original in originals {
        match original {
            IpAddr::V4(v4) => assert!(!has(&v4.octets()), "{v4} in {bytes:02x?}"),
            IpAddr::V6(v6) => assert!(!has(&v6.octets()), "{v6} in {bytes:02x?}"),
        }
    }
    for part in SECRET.windows(4) {
        assert!(!has(part), "payload in {bytes:02x?}");
    }
}

fn redacted(bytes: &[u8], followed: &Tuple, addresses: &mut Addresses) -> (Vec<u8>, Packet) {
    let copy = redact(bytes, FRAMED, Some(followed), addresses);
    assert_eq!(copy.len(), bytes.len());
    let followed = hidden(followed, addresses);
    let packet = parse(&copy, FRAMED, Some(&followed)).unwrap();
    assert_eq!(packet.tuple, Some(followed));
    (copy, packet)
}

#[test]
fn headers_stay_and_payloads_go() {
    let mut all = pseudonyms();
    for inner in [
        tuple(Proto::Tcp, "10.0.0.1", "10.0.0.2", 80),
        tuple(Proto::Udp, "10.0.0.1", "198.51.100.2", 53),
        tuple(Proto::Icmp, "10.0.0.1", "10.0.0.2", 7),
        tuple(Proto::Tcp, "fd00::1:1", "2001:db8::2:2", 80),
        tuple(Proto::Icmp6, "fd00::1:1", "fd00::2:2", 7),
    ] {
        for tags in [&[][..], &[7, 9][..]] {
            let bytes = frame(
                kind(&inner),
                tags,
                &ip(&inner, Ip::default(), &payload_of(&inner)),
            );
            let before = parse(&bytes, FRAMED, Some(&inner)).unwrap();
            let (copy, after) = redacted(&bytes, &inner, &mut all.addresses);
            assert_clean(&copy, &[inner.src, inner.dst]);
            let same = |p: &Packet| (p.vlans.clone(), p.ttl, p.ip_id, p.ip_len, p.transport);
            assert_eq!(same(&after), same(&before));
            let (old, new) = (before.ethernet.unwrap(), after.ethernet.unwrap());
            assert_ne!(old.src, new.src);
            assert_eq!(all.addresses.mac(old.src), new.src);
        }
    }
}

#[test]
fn tunnels_are_followed_inside() {
    let mut all = pseudonyms();
    for inner in [
        tuple(Proto::Tcp, "10.0.0.1", "10.0.0.2", 80),
        tuple(Proto::Udp, "fd00::1:1", "fd00::2:2", 53),
    ] {
        let packet = ip(&inner, Ip::default(), &payload_of(&inner));
        let bridged = frame(kind(&inner), &[], &packet);
        let over_udp = |port| tuple(Proto::Udp, "192.0.2.1", "192.0.2.2", port);
        let over_ip = |number| Tuple {
            sport: 0,
            ..tuple(Proto::Other(number), "192.0.2.1", "192.0.2.2", 0)
        };
        let ipip = if inner.src.is_ipv4() { 4 } else { 41 };
        let rows = [
            (over_udp(8472), udp(&over_udp(8472), &vxlan(42, &bridged))),
            // nothing but the followed tuple says that it is one
            (over_udp(1234), udp(&over_udp(1234), &vxlan(42, &bridged))),
            (over_udp(6081), udp(&over_udp(6081), &geneve(43, &bridged))),
            (over_udp(8285), udp(&over_udp(8285), &packet)),
            (over_ip(ipip), packet.clone()),
            (over_ip(47), gre(kind(&inner), 44, &packet)),
            (over_ip(47), gre(0x6558, 45, &bridged)),
        ];
        for (outer, payload) in rows {
            let bytes = frame(0x0800, &[], &ip(&outer, Ip::default(), &payload));
            let before = parse(&bytes, FRAMED, Some(&inner)).unwrap();
            let (copy, after) = redacted(&bytes, &inner, &mut all.addresses);
            assert_clean(&copy, &[inner.src, inner.dst, outer.src, outer.dst]);
            let (old, new) = (before.tunnel.unwrap(), after.tunnel.unwrap());
            assert_eq!((new.kind, new.id), (old.kind, old.id));
            assert_eq!(new.outer, hidden(&old.outer, &mut all.addresses));
        }
    }
}

#[test]
fn a_payload_that_only_looks_like_a_tunnel_goes() {
    let mut all = pseudonyms();
    let inner = tuple(Proto::Tcp, "10.0.0.1", "10.0.0.2", 80);
    let packet = ip(&inner, Ip::default(), &payload_of(&inner));
    let outer = tuple(Proto::Udp, "192.0.2.1", "192.0.2.2", 1234);
    let payload = udp(&outer, &vxlan(42, &frame(0x0800, &[], &packet)));
    let bytes = frame(0x0800, &[], &ip(&outer, Ip::default(), &payload));
    let (copy, _) = redacted(&bytes, &outer, &mut all.addresses);
    assert!(copy.iter().skip(14 + 20 + 8).all(|byte| *byte == 0));
}

#[test]
fn what_an_error_quotes_is_hidden_too() {
    let mut all = pseudonyms();
    let about = tuple(Proto::Udp, "10.0.0.1", "10.0.0.2", 53);
    let original = ip(&about, Ip::default(), &udp(&about, SECRET));
    let error = tuple(Proto::Icmp, "10.0.0.254", "10.0.0.1", 0);
    let bytes = frame(
        0x0800,
        &[],
        &ip(&error, Ip::default(), &icmp(3, 1, [0; 4], &original)),
    );
    let (copy, packet) = redacted(&bytes, &error, &mut all.addresses);
    assert_clean(&copy, &[about.src, about.dst, error.src]);
    let Transport::Icmp { quoted, .. } = packet.transport else {
        panic!("{packet:?}");
    };
    assert_eq!(quoted, Some(hidden(&about, &mut all.addresses)));
}

#[test]
fn arp_hides_all_four() {
    let mut all = pseudonyms();
    let bytes = frame(
        0x0806,
        &[],
        &arp(&tuple(Proto::Arp, "10.0.0.1", "10.0.0.2", 0), true, MAC),
    );
    let copy = redact(&bytes, FRAMED, None, &mut all.addresses);
    let ends = ["10.0.0.1", "10.0.0.2"].map(|text| text.parse().unwrap());
    assert_clean(&copy, &ends);
    let packet = parse(&copy, FRAMED, None).unwrap();
    let tuple = packet.tuple.unwrap();
    let expected = ends.map(|end| all.addresses.address(end));
    assert_eq!([tuple.src, tuple.dst], expected);
    assert!(!copy.windows(6).any(|window| window == MAC));
}

#[test]
fn options_and_unknown_protocols_are_zero() {
    let mut all = pseudonyms();
    // a hop-by-hop header with an option, then a protocol nobody knows
    let inner = tuple(Proto::Other(0), "fd00::1:1", "fd00::2:2", 0);
    let mut payload = vec![253, 0, 5, 2, b's', b'3', b'c', b'r'];
    payload.extend_from_slice(SECRET);
    let bytes = frame(0x86dd, &[], &ip(&inner, Ip::default(), &payload));
    let copy = redact(&bytes, FRAMED, None, &mut all.addresses);
    assert_clean(&copy, &[inner.src, inner.dst]);
    assert_eq!(copy.get(54..62), Some(&[253, 0, 0, 0, 0, 0, 0, 0][..]));
    assert!(copy.iter().skip(62).all(|byte| *byte == 0));
    let foreign = frame(0x88cc, &[], SECRET);
    let copy = redact(&foreign, FRAMED, None, &mut all.addresses);
    assert!(copy.iter().skip(14).all(|byte| *byte == 0));
}

#[test]
fn a_signature_of_tcp_stays_one_without_its_value() {
    let mut all = pseudonyms();
    let inner = tuple(Proto::Tcp, "10.0.0.1", "10.0.0.2", 179);
    let mut options = vec![1, 1, 19, 18];
    options.extend_from_slice(SECRET.get(..16).unwrap());
    let segment = tcp_with_options(&inner, build::Tcp::default(), &options);
    let bytes = frame(0x0800, &[], &ip(&inner, Ip::default(), &segment));
    let (copy, packet) = redacted(&bytes, &inner, &mut all.addresses);
    assert_clean(&copy, &[inner.src, inner.dst]);
    assert!(matches!(
        packet.transport,
        Transport::Tcp { signed: true, .. }
    ));
}

proptest! {
    /// Bytes that begin like packets and go wrong: nothing panics, and no address of the tuple stays in its place.
    #[test]
    fn any_bytes_are_survived(
        seed in 0usize..4,
        cut in 0usize..160,
        noise in prop::collection::vec((0usize..160, any::<u8>()), 0..8),
        offset in 0usize..40,
        protocol in prop::sample::select(vec![0x0800u16, 0x86dd, 0x0806, 0x8100, 7]),
    ) {
        let mut all = pseudonyms();
        let inner = tuple(Proto::Tcp, "198.51.100.77", "203.0.113.99", 80);
        let packet = ip(&inner, Ip::default(), &payload_of(&inner));
        let outer = tuple(Proto::Udp, "192.0.2.1", "192.0.2.2", 8472);
        let over = |payload: &[u8]| ip(&outer, Ip::default(), &udp(&outer, payload));
        let error = tuple(Proto::Icmp, "10.0.0.254", "10.0.0.1", 0);
        let seeds = [
            frame(0x0800, &[], &packet),
            frame(0x0800, &[3], &over(&vxlan(1, &frame(0x0800, &[], &packet)))),
            frame(0x0800, &[], &ip(&error, Ip::default(), &icmp(3, 1, [0; 4], &packet))),
            packet.clone(),
        ];
        let mut bytes = seeds.get(seed).cloned().unwrap();
        bytes.truncate(cut);
        let length = bytes.len();
        for (at, byte) in noise {
            if let Some(place) = bytes.get_mut(at) {
                *place = byte;
            }
        }
        for start in [FRAMED, Start { l3_offset: offset, protocol, skb_len: 1500 }] {
            let copy = redact(&bytes, start, Some(&inner), &mut all.addresses);
            prop_assert_eq!(copy.len(), length);
            for address in [inner.src, inner.dst] {
                let IpAddr::V4(v4) = address else { continue };
                let octets = v4.octets();
                for (before, after) in bytes.windows(4).zip(copy.windows(4)) {
                    prop_assert!(before != octets || after != octets);
                }
            }
        }
        redact_neighbor(&bytes, &mut all.addresses);
    }
}
