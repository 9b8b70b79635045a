//! Packets for tests, layer by layer from the inside: `ip(&tuple, Ip::default(), &udp(&tuple, b"hello"))`.
//! Checksums are zero: nothing here reads them.

use std::net::IpAddr;

use tracer_common::tuple::PROTO_ARP;

use crate::model::{Proto, Tuple};

/// Fields of an IP header that tests set.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Ip {
    pub(crate) ttl: u8,
    pub(crate) id: u32,
    /// Offset in bytes and "more fragments".
    pub(crate) fragment: Option<(u16, bool)>,
    pub(crate) dont_fragment: bool,
    /// Added to the length fields: bytes that were not captured.
    pub(crate) uncaptured: u16,
}

impl Default for Ip {
    fn default() -> Self {
        Self {
            ttl: 64,
            id: 1,
            fragment: None,
            dont_fragment: false,
            uncaptured: 0,
        }
    }
}

/// Protocol number of a tuple, as the kernel programs have it.
pub(crate) fn number(proto: Proto) -> u8 {
    proto.number().unwrap_or(PROTO_ARP)
}

/// An IP packet of the tuple's family around a payload.
pub(crate) fn ip(tuple: &Tuple, fields: Ip, payload: &[u8]) -> Vec<u8> {
    let proto = number(tuple.proto);
    match (tuple.src, tuple.dst) {
        (IpAddr::V4(src), IpAddr::V4(dst)) => {
            let len = u16::try_from(payload.len()).unwrap_or(0) + 20 + fields.uncaptured;
            let (offset, more) = fields.fragment.unwrap_or((0, false));
            let place =
                (offset / 8) | (u16::from(more) << 13) | (u16::from(fields.dont_fragment) << 14);
            let id = u16::try_from(fields.id).unwrap_or(0);
            let mut bytes = vec![0x45, 0];
            bytes.extend(len.to_be_bytes());
            bytes.extend(id.to_be_bytes());
            bytes.extend(place.to_be_bytes());
            bytes.extend([fields.ttl, proto, 0, 0]);
            bytes.extend(src.octets());
            bytes.extend(dst.octets());
            bytes.extend(payload);
            bytes
        }
        (IpAddr::V6(src), IpAddr::V6(dst)) => {
            let mut body = Vec::new();
            let mut next = proto;
            if let Some((offset, more)) = fields.fragment {
                body.extend([proto, 0]);
                body.extend((offset | u16::from(more)).to_be_bytes());
                body.extend(fields.id.to_be_bytes());
                next = 44;
            }
            body.extend(payload);
            let len = u16::try_from(body.len()).unwrap_or(0) + fields.uncaptured;
            let mut bytes = vec![0x60, 0, 0, 0];
            bytes.extend(len.to_be_bytes());
            bytes.extend([next, fields.ttl]);
            bytes.extend(src.octets());
            bytes.extend(dst.octets());
            bytes.extend(body);
            bytes
        }
        _ => Vec::new(),
    }
}

/// Fields of a TCP header that tests set.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Tcp {
    pub(crate) seq: u32,
    pub(crate) ack: u32,
    pub(crate) flags: u8,
    pub(crate) window: u16,
}

/// A TCP segment.
pub(crate) fn tcp(tuple: &Tuple, fields: Tcp, payload: &[u8]) -> Vec<u8> {
    let mut bytes = ports(tuple);
    bytes.extend(fields.seq.to_be_bytes());
    bytes.extend(fields.ack.to_be_bytes());
    bytes.extend([0x50, fields.flags]);
    bytes.extend(fields.window.to_be_bytes());
    bytes.extend([0; 4]);
    bytes.extend(payload);
    bytes
}

/// The same with options, of which there are whole words.
pub(crate) fn tcp_with_options(tuple: &Tuple, fields: Tcp, options: &[u8]) -> Vec<u8> {
    let mut bytes = tcp(tuple, fields, options);
    let words = 5 + u8::try_from(options.len() / 4).unwrap_or(0);
    if let Some(offset) = bytes.get_mut(12) {
        *offset = words << 4;
    }
    bytes
}

/// A UDP datagram.
pub(crate) fn udp(tuple: &Tuple, payload: &[u8]) -> Vec<u8> {
    let mut bytes = ports(tuple);
    bytes.extend((u16::try_from(payload.len()).unwrap_or(0) + 8).to_be_bytes());
    bytes.extend([0; 2]);
    bytes.extend(payload);
    bytes
}

/// An ICMP message of either version: type, code, the four bytes after the checksum, the rest.
pub(crate) fn icmp(kind: u8, code: u8, word: [u8; 4], rest: &[u8]) -> Vec<u8> {
    let mut bytes = vec![kind, code, 0, 0];
    bytes.extend(word);
    bytes.extend(rest);
    bytes
}

/// An echo message.
pub(crate) fn echo(tuple: &Tuple, reply: bool, seq: u16, payload: &[u8]) -> Vec<u8> {
    let kind = match (tuple.proto, reply) {
        (Proto::Icmp6, false) => 128,
        (Proto::Icmp6, true) => 129,
        (_, false) => 8,
        (_, true) => 0,
    };
    let [a, b] = tuple.icmp_id.to_be_bytes();
    let [c, d] = seq.to_be_bytes();
    icmp(kind, 0, [a, b, c, d], payload)
}

/// An ARP message: sender's MAC and address, target's address.
pub(crate) fn arp(tuple: &Tuple, answer: bool, mac: [u8; 6]) -> Vec<u8> {
    let (IpAddr::V4(src), IpAddr::V4(dst)) = (tuple.src, tuple.dst) else {
        return Vec::new();
    };
    let mut bytes = vec![0, 1, 8, 0, 6, 4, 0, if answer { 2 } else { 1 }];
    bytes.extend(mac);
    bytes.extend(src.octets());
    bytes.extend([0; 6]);
    bytes.extend(dst.octets());
    bytes
}

/// An Ethernet frame around a packet, with VLAN tags.
pub(crate) fn frame(ethertype: u16, vlans: &[u16], packet: &[u8]) -> Vec<u8> {
    let mut bytes = vec![2, 0, 0, 0, 0, 2, 2, 0, 0, 0, 0, 1];
    for vlan in vlans {
        bytes.extend([0x81, 0x00]);
        bytes.extend(vlan.to_be_bytes());
    }
    bytes.extend(ethertype.to_be_bytes());
    bytes.extend(packet);
    bytes
}

/// The payload of a VXLAN datagram.
pub(crate) fn vxlan(vni: u32, frame: &[u8]) -> Vec<u8> {
    let mut bytes = vec![8, 0, 0, 0];
    bytes.extend((vni << 8).to_be_bytes());
    bytes.extend(frame);
    bytes
}

/// The payload of a Geneve datagram with one option word.
pub(crate) fn geneve(vni: u32, frame: &[u8]) -> Vec<u8> {
    let mut bytes = vec![1, 0, 0x65, 0x58];
    bytes.extend((vni << 8).to_be_bytes());
    bytes.extend([0; 4]);
    bytes.extend(frame);
    bytes
}

/// A GRE header with a key, and a packet.
pub(crate) fn gre(ethertype: u16, key: u32, packet: &[u8]) -> Vec<u8> {
    let mut bytes = vec![0x20, 0];
    bytes.extend(ethertype.to_be_bytes());
    bytes.extend(key.to_be_bytes());
    bytes.extend(packet);
    bytes
}

fn ports(tuple: &Tuple) -> Vec<u8> {
    let mut bytes = tuple.sport.to_be_bytes().to_vec();
    bytes.extend(tuple.dport.to_be_bytes());
    bytes
}
