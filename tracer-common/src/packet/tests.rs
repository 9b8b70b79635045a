//! Packets written out by hand, read as the kernel programs read them.

extern crate std;

use std::vec::Vec;

use zerocopy::FromZeros;

use super::{
    ETH_IPV4, ETH_IPV6, ETH_QINQ, ETH_VLAN, Header, Link, NO_VLAN, flow_hash, is_wrapping,
};
use crate::filter::RawFilter;
use crate::tuple::{FAMILY_V4, FAMILY_V6, PROTO_ARP, RawTuple};

fn join(parts: &[&[u8]]) -> Vec<u8> {
    parts.concat()
}

fn ethernet(tags: &[(u16, u16)], protocol: u16) -> Vec<u8> {
    let mut bytes = std::vec![2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2];
    for (kind, id) in tags {
        bytes.extend(kind.to_be_bytes());
        bytes.extend(id.to_be_bytes());
    }
    bytes.extend(protocol.to_be_bytes());
    bytes
}

struct V4 {
    proto: u8,
    src: [u8; 4],
    dst: [u8; 4],
    options: usize,
    /// In units of eight bytes.
    fragment: u16,
}

const PLAIN: V4 = V4 {
    proto: 17,
    src: [10, 0, 0, 1],
    dst: [10, 0, 0, 2],
    options: 0,
    fragment: 0,
};

fn ipv4(header: &V4, payload: &[u8]) -> Vec<u8> {
    let len = 20 + header.options + payload.len();
    let mut bytes = std::vec![0x45 + (header.options / 4) as u8, 0];
    bytes.extend((len as u16).to_be_bytes());
    bytes.extend([0x12, 0x34]);
    bytes.extend(header.fragment.to_be_bytes());
    bytes.extend([64, header.proto, 0, 0]);
    bytes.extend(header.src);
    bytes.extend(header.dst);
    bytes.extend(std::vec![1; header.options]);
    bytes.extend(payload);
    bytes
}

fn ipv6(next: u8, payload: &[u8]) -> Vec<u8> {
    let mut bytes = std::vec![0x60, 0, 0, 0];
    bytes.extend((payload.len() as u16).to_be_bytes());
    bytes.extend([next, 64]);
    bytes.extend([0xfd, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1]);
    bytes.extend([0xfd, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 2]);
    bytes.extend(payload);
    bytes
}

fn udp(sport: u16, dport: u16, payload: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::new();
    bytes.extend(sport.to_be_bytes());
    bytes.extend(dport.to_be_bytes());
    bytes.extend((8 + payload.len() as u16).to_be_bytes());
    bytes.extend([0, 0]);
    bytes.extend(payload);
    bytes
}

fn tcp(sport: u16, dport: u16, flags: u8) -> Vec<u8> {
    let mut bytes = Vec::new();
    bytes.extend(sport.to_be_bytes());
    bytes.extend(dport.to_be_bytes());
    bytes.extend([0, 0, 0, 1, 0, 0, 0, 2, 0x50, flags, 1, 0, 0, 0, 0, 0]);
    bytes
}

fn read(bytes: &[u8], protocol: u16, at: u32) -> Option<Header> {
    let mut header = Header::EMPTY;
    header.read(bytes, protocol, at).then_some(header)
}

fn ports(header: Option<Header>) -> Option<(u8, u16, u16)> {
    header.map(|header| (header.tuple.proto, header.tuple.sport, header.tuple.dport))
}

fn tunnels() -> RawFilter {
    let mut filter = RawFilter::new_zeroed();
    filter.vxlan_ports = [4789, 8472, 0, 0];
    filter.geneve_ports = [6081, 0];
    filter.raw_ip_ports = [8285, 0];
    filter
}

/// The ports of the packet inside the first header of `bytes`.
fn inside(bytes: &[u8]) -> Option<(u8, u16, u16)> {
    let link = read(bytes, ETH_IPV4, 0)?.inner(bytes, &tunnels())?;
    ports(read(bytes, link.protocol, link.at))
}

#[test]
fn vlan_tags_are_stepped_over() {
    let ip = ipv4(&PLAIN, &udp(1, 2, b"x"));
    let cases = [
        (&[][..], NO_VLAN, 14),
        (&[(ETH_VLAN, 0x6005)], 5, 18),
        (&[(ETH_QINQ, 7), (ETH_VLAN, 9)], 9, 22),
    ];
    for (tags, vlan, at) in cases {
        let bytes = join(&[&ethernet(tags, ETH_IPV4), &ip]);
        let link = Link::ethernet(&bytes[..], 0);
        assert_eq!(
            link,
            Some(Link {
                protocol: ETH_IPV4,
                vlan,
                at
            })
        );
        assert_eq!(ports(read(&bytes, ETH_IPV4, at)), Some((17, 1, 2)));
    }
}

#[test]
fn options_and_extension_headers_are_stepped_over() {
    let options = V4 {
        options: 8,
        ..PLAIN
    };
    assert_eq!(
        ports(read(&ipv4(&options, &udp(1, 2, b"")), ETH_IPV4, 0)),
        Some((17, 1, 2))
    );
    let extensions = join(&[&[60, 0, 0, 0, 0, 0, 0, 0], &[51, 0, 0, 0, 0, 0, 0, 0]]);
    let authentication = [
        17, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0,
    ];
    let bytes = ipv6(0, &join(&[&extensions, &authentication, &udp(3, 4, b"")]));
    let header = read(&bytes, ETH_IPV6, 0);
    assert_eq!(ports(header), Some((17, 3, 4)));
    assert_eq!(header.map(|header| header.tuple.family), Some(FAMILY_V6));
}

#[test]
fn later_fragments_have_no_ports_and_first_ones_the_fingerprint_of_the_whole() {
    let whole = ipv4(&PLAIN, &udp(1, 2, b"12345678"));
    let first = ipv4(
        &V4 {
            fragment: 0x2000,
            ..PLAIN
        },
        &udp(1, 2, b"12345678"),
    );
    let later = ipv4(
        &V4 {
            fragment: 0x0003,
            ..PLAIN
        },
        &udp(1, 2, b"12345678"),
    );
    let print = |bytes: &[u8]| read(bytes, ETH_IPV4, 0).map(|header| header.fingerprint(bytes));
    assert_eq!(print(&first), print(&whole));
    assert_ne!(print(&later), print(&whole));
    assert_eq!(ports(read(&later, ETH_IPV4, 0)), Some((17, 0, 0)));

    // both know the datagram, and what is no fragment knows none
    let hash = |bytes: &[u8], protocol| {
        let header = read(bytes, protocol, 0).filter(|header| header.datagram != 0)?;
        Some(flow_hash::<[u8]>(&header.tuple, header.datagram, 1))
    };
    assert_eq!(hash(&whole, ETH_IPV4), None);
    assert!(hash(&first, ETH_IPV4).is_some());
    assert_eq!(hash(&first, ETH_IPV4), hash(&later, ETH_IPV4));
    let v6 = |offset, id, rest: &[u8]| {
        let bytes = join(&[&[17, 0, 0, offset, 0, 0, 0, id], rest]);
        hash(&ipv6(44, &bytes), ETH_IPV6)
    };
    assert!(v6(1, 9, &udp(1, 2, b"1")).is_some());
    assert_eq!(v6(1, 9, &udp(1, 2, b"1")), v6(8, 9, &[1, 2, 3, 4]));
    assert_ne!(v6(1, 9, &udp(1, 2, b"1")), v6(8, 7, &[1, 2, 3, 4]));

    let fragment = [17, 0, 0, 8, 0, 0, 0, 9];
    let header = read(&ipv6(44, &join(&[&fragment, &[1, 2, 3, 4]])), ETH_IPV6, 0);
    assert_eq!(
        header.map(|header| (header.fragment, header.ip_id)),
        Some((8, 9))
    );
}

#[test]
fn a_fingerprint_survives_translation_and_forwarding() {
    let print = |bytes: &[u8]| read(bytes, 0, 0).map(|header| header.fingerprint(bytes));
    for proto in [6, 17] {
        let body = |sport, dport| {
            if proto == 6 {
                tcp(sport, dport, 2)
            } else {
                udp(sport, dport, b"abc")
            }
        };
        let before = ipv4(&V4 { proto, ..PLAIN }, &body(1000, 80));
        let mut after = ipv4(
            &V4 {
                proto,
                dst: [10, 9, 9, 9],
                ..PLAIN
            },
            &body(2000, 8080),
        );
        // TTL and checksum
        after[8] = 63;
        after[10] = 0xab;
        assert_eq!(print(&before), print(&after), "protocol {proto}");
        let mut other = before.clone();
        other[5] = 0x35;
        assert_ne!(print(&before), print(&other), "protocol {proto}");
    }
}

#[test]
fn the_padding_of_a_short_frame_is_not_part_of_the_packet() {
    let bytes = ipv4(&PLAIN, &udp(1, 2, b"abc"));
    let padded = join(&[&bytes, &[7; 16]]);
    let print = |bytes: &[u8]| read(bytes, 0, 0).map(|header| header.fingerprint(bytes));
    assert_eq!(print(&bytes), print(&padded));
}

#[test]
fn icmp_has_type_and_identifier() {
    let icmp = |kind| V4 { proto: 1, ..PLAIN }.packet(&[kind, 0, 0, 0, 0x12, 0x34, 0, 1]);
    assert_eq!(ports(read(&icmp(8), ETH_IPV4, 0)), Some((1, 8, 0x1234)));
    assert_eq!(ports(read(&icmp(3), ETH_IPV4, 0)), Some((1, 3, 0)));
}

impl V4 {
    fn packet(&self, payload: &[u8]) -> Vec<u8> {
        ipv4(self, payload)
    }
}

#[test]
fn errors_quote_a_packet() {
    // eight bytes above IP are all that an old router quotes
    let quoted = &ipv4(&V4 { proto: 6, ..PLAIN }, &tcp(1000, 80, 2))[..28];
    let bytes = V4 { proto: 1, ..PLAIN }.packet(&join(&[&[3, 1, 0, 0, 0, 0, 0, 0], quoted]));
    let header = read(&bytes, ETH_IPV4, 0);
    assert_eq!(header.map(|header| header.is_error()), Some(true));
    let link = header.map(|header| header.quoted());
    assert_eq!(
        link.map(|link| ports(read(&bytes, link.protocol, link.at))),
        Some(Some((6, 1000, 80)))
    );
}

#[test]
fn tunnels_are_opened() {
    let inner = ipv4(&PLAIN, &udp(5, 6, b""));
    let frame = join(&[&ethernet(&[], ETH_IPV4), &inner]);
    let over_udp =
        |port, head: &[u8], body: &[u8]| ipv4(&PLAIN, &udp(9, port, &join(&[head, body])));
    let expected = Some((17, 5, 6));
    assert_eq!(
        inside(&over_udp(8472, &[8, 0, 0, 0, 0, 0, 1, 0], &frame)),
        expected,
        "vxlan"
    );
    assert_eq!(
        inside(&over_udp(8472, &[0, 0, 0, 0, 0, 0, 1, 0], &frame)),
        None,
        "vxlan without VNI"
    );
    let geneve = [1, 0, 0x65, 0x58, 0, 0, 1, 0, 0, 0, 0, 0];
    assert_eq!(inside(&over_udp(6081, &geneve, &frame)), expected, "geneve");
    assert_eq!(inside(&over_udp(8285, &[], &inner)), expected, "raw IP");
    assert_eq!(inside(&over_udp(53, &[], &inner)), None, "no tunnel");
    let gre = join(&[&[0x20, 0, 8, 0, 0, 0, 0, 1], &inner]);
    assert_eq!(
        inside(&V4 { proto: 47, ..PLAIN }.packet(&gre)),
        expected,
        "GRE with a key"
    );
    assert_eq!(
        inside(&V4 { proto: 4, ..PLAIN }.packet(&inner)),
        expected,
        "IPIP"
    );
    let six = ipv6(17, &udp(5, 6, b""));
    assert_eq!(
        inside(&V4 { proto: 41, ..PLAIN }.packet(&six)),
        expected,
        "SIT"
    );
}

/// An ARP request.
const REQUEST: [u8; 28] = [
    0, 1, 8, 0, 6, 4, 0, 1, 2, 0, 0, 0, 0, 1, 10, 0, 0, 1, 0, 0, 0, 0, 0, 0, 10, 0, 0, 2,
];

#[test]
fn a_question_has_one_fingerprint_wherever_it_begins() {
    let framed = join(&[&[0; 14], &REQUEST]);
    let print = |bytes: &[u8], at| read(bytes, super::ETH_ARP, at).map(|h| h.fingerprint(bytes));
    assert!(print(&REQUEST, 0).is_some());
    assert_eq!(print(&REQUEST, 0), print(&framed, 14));
}

#[test]
fn arp_names_sender_and_target() {
    let expected = RawTuple {
        src: [u32::from_ne_bytes([10, 0, 0, 1]), 0, 0, 0],
        dst: [u32::from_ne_bytes([10, 0, 0, 2]), 0, 0, 0],
        sport: 1,
        family: FAMILY_V4,
        proto: PROTO_ARP,
        ..RawTuple::NONE
    };
    assert_eq!(
        read(&REQUEST, super::ETH_ARP, 0).map(|header| header.tuple),
        Some(expected)
    );
}

#[test]
fn what_is_cut_short_is_no_header() {
    let bytes = ipv4(&PLAIN, &[]);
    for len in 0..20 {
        assert!(read(&bytes[..len], ETH_IPV4, 0).is_none(), "{len} bytes");
    }
    assert_eq!(ports(read(&bytes, ETH_IPV4, 0)), Some((17, 0, 0)));
    assert!(
        read(&bytes, ETH_IPV6, 0).is_none(),
        "the version must be that of the link"
    );
}

#[test]
fn a_flow_has_one_hash_in_both_directions() {
    let flow = |proto, sport, dport| RawTuple {
        proto,
        sport,
        dport,
        src: [1, 0, 0, 0],
        dst: [2, 0, 0, 0],
        ..RawTuple::NONE
    };
    let there = flow(6, 1000, 80);
    assert_eq!(
        flow_hash::<[u8]>(&there, 0, 1),
        flow_hash::<[u8]>(&there.reversed(), 0, 1)
    );
    assert_ne!(
        flow_hash::<[u8]>(&there, 0, 1),
        flow_hash::<[u8]>(&there, 0, 2)
    );
    assert_ne!(
        flow_hash::<[u8]>(&there, 0, 1),
        flow_hash::<[u8]>(&flow(6, 1000, 81), 0, 1)
    );
    let (request, reply) = (flow(1, 8, 77), flow(1, 0, 77).reversed());
    assert_eq!(
        flow_hash::<[u8]>(&request, 0, 1),
        flow_hash::<[u8]>(&reply, 0, 1)
    );
}

#[test]
fn a_wrapping_is_nothing_that_is_read() {
    let read = [ETH_IPV4, ETH_IPV6, ETH_VLAN, ETH_QINQ, 0x0806, 0x6558];
    assert!(!read.into_iter().any(is_wrapping));
    // stale tags are of frames like these: LLDP, spanning tree, netlink
    assert!(![0x88cc, 0x0004, 16, 0].into_iter().any(is_wrapping));
    assert!(is_wrapping(0x8847));
}
