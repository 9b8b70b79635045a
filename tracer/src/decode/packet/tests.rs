//! Built packets read back, and bytes that are none.
#![expect(clippy::unwrap_used, reason = "a failed test may panic")]

use std::net::IpAddr;

use super::build::{
    self, Ip, Tcp, arp, echo, frame, geneve, gre, icmp, ip, tcp, tcp_with_options, udp, vxlan,
};
use super::{Start, parse};
use crate::model::{Fragment, Mac, Packet, Proto, Transport, TunnelKind, Tuple};

const FRAMED: Start = Start {
    l3_offset: 14,
    protocol: 0,
    skb_len: 0,
};

fn tuple(proto: Proto, src: &str, sport: u16, dst: &str, dport: u16) -> Tuple {
    let echo = matches!(proto, Proto::Icmp | Proto::Icmp6);
    Tuple {
        proto,
        src: src.parse().unwrap(),
        sport: if echo { 0 } else { sport },
        dst: dst.parse().unwrap(),
        dport: if echo { 0 } else { dport },
        icmp_id: if echo { dport } else { 0 },
    }
}

fn v4(proto: Proto) -> Tuple {
    tuple(proto, "10.0.0.1", 5000, "10.0.0.2", 80)
}

fn v6(proto: Proto) -> Tuple {
    tuple(proto, "fd00::1", 5000, "fd00::2", 80)
}

fn outer(proto: Proto, port: u16) -> Tuple {
    tuple(proto, "192.0.2.1", 4000, "192.0.2.2", port)
}

fn ethertype(tuple: &Tuple) -> u16 {
    match tuple.src {
        IpAddr::V4(_) => 0x0800,
        IpAddr::V6(_) => 0x86dd,
    }
}

fn transport_of(tuple: &Tuple) -> Vec<u8> {
    match tuple.proto {
        Proto::Tcp => tcp(tuple, Tcp::default(), b"data"),
        Proto::Icmp | Proto::Icmp6 => echo(tuple, false, 3, b"data"),
        _ => udp(tuple, b"data"),
    }
}

fn parsed(tuple: &Tuple, vlans: &[u16], packet: &[u8], followed: Option<&Tuple>) -> Packet {
    let bytes = frame(ethertype(tuple), vlans, packet);
    parse(&bytes, FRAMED, followed).unwrap()
}

#[test]
fn every_transport_on_both_families_with_and_without_tags() {
    let all = [
        v4(Proto::Tcp),
        v4(Proto::Udp),
        v4(Proto::Sctp),
        v4(Proto::Icmp),
        v6(Proto::Tcp),
        v6(Proto::Udp),
        v6(Proto::Icmp6),
    ];
    for tuple in all {
        for vlans in [&[][..], &[7][..], &[7, 9][..]] {
            let bytes = ip(&tuple, Ip::default(), &transport_of(&tuple));
            let packet = parsed(&tuple, vlans, &bytes, Some(&tuple));
            assert_eq!(packet.tuple, Some(tuple));
            assert_eq!(packet.vlans, vlans);
            assert_eq!((packet.ttl, packet.tunnel), (64, None));
            assert_eq!(packet.ip_len as usize, bytes.len());
            assert_eq!(packet.ethernet.unwrap().src, Mac([2, 0, 0, 0, 0, 1]));
            // and on a device without Ethernet
            let bare = Start {
                l3_offset: 0,
                protocol: ethertype(&tuple),
                skb_len: 0,
            };
            let packet = parse(&bytes, bare, None).unwrap();
            assert_eq!((packet.tuple, packet.ethernet), (Some(tuple), None));
        }
    }
}

#[test]
fn a_signature_is_found_among_options_of_tcp() {
    let tuple = v4(Proto::Tcp);
    let digest = [7; 16];
    let signed = |kind: u8| [&[2, 4, 5, 180, 1, 1, kind, 18][..], &digest].concat();
    for (options, expected) in [
        (signed(19), true),
        (signed(29), true),
        (signed(30), false),
        // in another option, behind the end, behind a length that is none, and cut off
        (vec![8, 4, 19, 18], false),
        (vec![0, 1, 19, 18], false),
        (vec![2, 0, 19, 18], false),
        (Vec::new(), false),
    ] {
        let segment = tcp_with_options(&tuple, Tcp::default(), &options);
        let packet = parsed(&tuple, &[], &ip(&tuple, Ip::default(), &segment), None);
        let found = matches!(
            packet.transport,
            Transport::Tcp { signed, payload: 0, .. } if signed == expected
        );
        assert!(found, "{:?} of {options:?}", packet.transport);
    }
}

#[test]
fn tcp_fields_and_the_payload_that_was_not_captured() {
    let tuple = v4(Proto::Tcp);
    let fields = Tcp {
        seq: 0xdead_beef,
        ack: 7,
        flags: 0x18,
        window: 512,
    };
    let long = Ip {
        uncaptured: 1000,
        dont_fragment: true,
        ..Ip::default()
    };
    let packet = parsed(
        &tuple,
        &[],
        &ip(&tuple, long, &tcp(&tuple, fields, b"abcd")),
        None,
    );
    assert!(packet.dont_fragment);
    assert_eq!(
        packet.transport,
        Transport::Tcp {
            seq: 0xdead_beef,
            ack: 7,
            flags: 0x18,
            window: 512,
            payload: 1004,
            signed: false,
        }
    );
}

#[test]
fn header_options_are_stepped_over() {
    let tuple = v4(Proto::Udp);
    let mut bytes = ip(&tuple, Ip::default(), &udp(&tuple, b"x"));
    bytes.splice(20..20, [1u8; 8]);
    *bytes.first_mut().unwrap() = 0x47;
    assert_eq!(parsed(&tuple, &[], &bytes, None).tuple, Some(tuple));

    let tuple = v6(Proto::Udp);
    let mut bytes = ip(&tuple, Ip::default(), &udp(&tuple, b"x"));
    // hop-by-hop options, then destination options of 16 bytes
    let mut extensions = vec![60, 0, 0, 0, 0, 0, 0, 0];
    extensions.extend([17, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
    bytes.splice(40..40, extensions);
    *bytes.get_mut(6).unwrap() = 0;
    assert_eq!(parsed(&tuple, &[], &bytes, None).tuple, Some(tuple));
}

#[test]
fn later_fragments_have_no_ports() {
    for tuple in [v4(Proto::Udp), v6(Proto::Udp)] {
        let later = Ip {
            id: 77,
            fragment: Some((1480, true)),
            ..Ip::default()
        };
        let packet = parsed(
            &tuple,
            &[],
            &ip(&tuple, later, b"in the middle of it"),
            None,
        );
        let portless = Tuple {
            sport: 0,
            dport: 0,
            ..tuple
        };
        assert_eq!(packet.tuple, Some(portless));
        assert_eq!((packet.ip_id, packet.transport), (77, Transport::Other));
        assert_eq!(
            packet.fragment,
            Some(Fragment {
                offset: 1480,
                more: true
            })
        );
    }
}

#[test]
fn errors_quote_the_packet_they_are_about() {
    let lost = v4(Proto::Tcp);
    let quoted = ip(&lost, Ip::default(), &tcp(&lost, Tcp::default(), b""));
    let router = v4(Proto::Icmp);
    let error = icmp(3, 4, [0, 0, 0x05, 0x78], &quoted);
    let packet = parsed(&router, &[], &ip(&router, Ip::default(), &error), None);
    assert_eq!(packet.tuple.unwrap().icmp_id, 0);
    assert_eq!(
        packet.transport,
        Transport::Icmp {
            icmp_type: 3,
            code: 4,
            seq: 0,
            quoted: Some(lost),
            mtu: Some(1400),
        }
    );

    let lost = v6(Proto::Icmp6);
    let quoted = ip(&lost, Ip::default(), &echo(&lost, false, 1, b""));
    let router = v6(Proto::Icmp6);
    let error = icmp(2, 0, [0, 0, 0x05, 0x00], &quoted);
    let packet = parsed(&router, &[], &ip(&router, Ip::default(), &error), None);
    assert_eq!(
        packet.transport,
        Transport::Icmp {
            icmp_type: 2,
            code: 0,
            seq: 0,
            quoted: Some(lost),
            mtu: Some(1280),
        }
    );
}

#[test]
fn neighbours_ask_and_answer() {
    let tuple = tuple(Proto::Arp, "10.0.0.1", 0, "10.0.0.2", 0);
    for answer in [false, true] {
        let bytes = frame(0x0806, &[], &arp(&tuple, answer, [2, 1, 1, 1, 1, 1]));
        let packet = parse(&bytes, FRAMED, None).unwrap();
        assert_eq!(packet.tuple, Some(tuple));
        assert_eq!(
            packet.transport,
            Transport::Neighbor {
                answer,
                target: if answer { tuple.src } else { tuple.dst },
                mac: Some(Mac([2, 1, 1, 1, 1, 1])),
            }
        );
    }
    let who = v6(Proto::Icmp6);
    let target: std::net::Ipv6Addr = "fd00::9".parse().unwrap();
    let mut rest = target.octets().to_vec();
    rest.extend([1, 1, 2, 2, 2, 2, 2, 2]);
    let packet = parsed(
        &who,
        &[],
        &ip(&who, Ip::default(), &icmp(135, 0, [0; 4], &rest)),
        None,
    );
    assert_eq!(
        packet.transport,
        Transport::Neighbor {
            answer: false,
            target: target.into(),
            mac: Some(Mac([2; 6])),
        }
    );
}

/// Every encapsulation around a packet: (outer tuple, bytes of the outer packet, kind, id).
fn tunnels(inner: &Tuple, packet: &[u8]) -> Vec<(Tuple, Vec<u8>, TunnelKind, Option<u32>)> {
    let inner_frame = frame(ethertype(inner), &[], packet);
    let over_udp = |port: u16, payload: &[u8]| {
        let tuple = outer(Proto::Udp, port);
        (tuple, ip(&tuple, Ip::default(), &udp(&tuple, payload)))
    };
    let over_ip = |number: u8, payload: &[u8]| {
        let tuple = Tuple {
            sport: 0,
            dport: 0,
            ..outer(Proto::Other(number), 0)
        };
        (tuple, ip(&tuple, Ip::default(), payload))
    };
    let ipip = if ethertype(inner) == 0x0800 { 4 } else { 41 };
    let rows = [
        (
            over_udp(8472, &vxlan(42, &inner_frame)),
            TunnelKind::Vxlan,
            Some(42),
        ),
        (
            over_udp(6081, &geneve(43, &inner_frame)),
            TunnelKind::Geneve,
            Some(43),
        ),
        (over_udp(8285, packet), TunnelKind::RawUdp, None),
        (over_ip(ipip, packet), TunnelKind::IpIp, None),
        (
            over_ip(47, &gre(ethertype(inner), 44, packet)),
            TunnelKind::Gre,
            Some(44),
        ),
        (
            over_ip(47, &gre(0x6558, 45, &inner_frame)),
            TunnelKind::Gre,
            Some(45),
        ),
    ];
    rows.into_iter()
        .map(|((tuple, bytes), kind, id)| (tuple, bytes, kind, id))
        .collect()
}

#[test]
fn the_followed_tuple_tells_which_layer_is_the_packet() {
    for inner in [v4(Proto::Tcp), v6(Proto::Udp), v4(Proto::Icmp)] {
        let packet = ip(
            &inner,
            Ip {
                ttl: 9,
                ..Ip::default()
            },
            &transport_of(&inner),
        );
        for (outer, bytes, kind, id) in tunnels(&inner, &packet) {
            let followed = parsed(&outer, &[], &bytes, Some(&inner));
            assert_eq!((followed.tuple, followed.ttl), (Some(inner), 9), "{kind:?}");
            let tunnel = followed.tunnel.unwrap();
            assert_eq!((tunnel.kind, tunnel.id, tunnel.outer), (kind, id, outer));

            // the tunnel itself was asked for
            let around = parsed(&outer, &[], &bytes, Some(&outer));
            assert_eq!(
                (around.tuple, around.tunnel),
                (Some(outer), None),
                "{kind:?}"
            );

            // nobody said: a known port or protocol is believed
            assert_eq!(
                parsed(&outer, &[], &bytes, None).tuple,
                Some(inner),
                "{kind:?}"
            );
        }
    }
}

#[test]
fn a_tunnel_on_an_unusual_port_is_believed_only_when_it_holds_the_followed_packet() {
    let inner = v4(Proto::Tcp);
    let packet = ip(&inner, Ip::default(), &transport_of(&inner));
    let outer = outer(Proto::Udp, 1234);
    let datagram = udp(&outer, &vxlan(5, &frame(0x0800, &[], &packet)));
    let bytes = ip(&outer, Ip::default(), &datagram);
    assert_eq!(parsed(&outer, &[], &bytes, Some(&inner)).tuple, Some(inner));
    assert_eq!(parsed(&outer, &[], &bytes, None).tuple, Some(outer));
    let other = v4(Proto::Udp);
    assert_eq!(parsed(&outer, &[], &bytes, Some(&other)).tuple, Some(outer));
}

/// xorshift64*: enough to reach odd corners, and the same on every run.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }
}

/// Bytes that begin like packets and go wrong somewhere: cut short, bits flipped, or nothing but noise.
#[test]
fn no_bytes_make_the_parser_fail() {
    let mut random = Random(42);
    let mut seeds = Vec::new();
    for inner in [v4(Proto::Tcp), v6(Proto::Icmp6)] {
        let packet = ip(&inner, Ip::default(), &transport_of(&inner));
        seeds.push(frame(ethertype(&inner), &[3], &packet));
        for (outer, bytes, _, _) in tunnels(&inner, &packet) {
            seeds.push(frame(ethertype(&outer), &[], &bytes));
        }
    }
    let mut understood = 0;
    for round in 0..60_000usize {
        let mut bytes = seeds.get(round % seeds.len()).cloned().unwrap();
        let length = bytes.len();
        for _ in 0..random.next() % 6 {
            let at = usize::try_from(random.next()).unwrap() % length;
            *bytes.get_mut(at).unwrap() = random.next().to_le_bytes()[0];
        }
        bytes.truncate(usize::try_from(random.next()).unwrap() % (length + 1));
        let start = Start {
            l3_offset: usize::try_from(random.next() % 256).unwrap(),
            protocol: *[0x0800, 0x86dd, 0x0806, 0x8100].get(round % 4).unwrap(),
            skb_len: 1500,
        };
        for start in [start, FRAMED] {
            let packet = parse(&bytes, start, Some(&build_followed(round)));
            understood += usize::from(packet.is_some_and(|p| p.tuple.is_some()));
        }
    }
    assert!(understood > 10_000, "only {understood} were packets at all");
}

fn build_followed(round: usize) -> Tuple {
    if round.is_multiple_of(2) {
        v4(Proto::Tcp)
    } else {
        v6(Proto::Icmp6)
    }
}

#[test]
fn protocol_numbers_go_both_ways() {
    for number in 0..=u8::MAX {
        assert_eq!(build::number(crate::decode::proto(number)), number);
    }
}

#[test]
fn a_capture_that_ends_before_the_identifier_still_shows_the_tunnel() {
    let inner = v6(Proto::Icmp6);
    let request = ip(&inner, Ip::default(), &echo(&inner, false, 1, &[0; 56]));
    let outer = tuple(Proto::Udp, "fd01::1", 40_000, "fd01::2", 4789);
    let datagram = udp(&outer, &vxlan(7, &frame(0x86dd, &[], &request)));
    let mut bytes = frame(0x86dd, &[], &ip(&outer, Ip::default(), &datagram));
    bytes.truncate(128);
    let packet = parse(&bytes, FRAMED, Some(&inner)).unwrap();
    assert_eq!(packet.tuple, Some(inner));
    assert_eq!(packet.tunnel.and_then(|t| t.id), Some(7));
    let other = Tuple {
        dst: "fd00::3".parse().unwrap(),
        ..inner
    };
    assert_eq!(
        parse(&bytes, FRAMED, Some(&other)).unwrap().tuple,
        Some(outer)
    );
}
