//! Transport headers: ports, TCP fields, ICMP with the packet it quotes, neighbour discovery.

use std::net::{IpAddr, Ipv6Addr};

use crate::decode::proto;
use crate::model::{Mac, Proto, Transport, Tuple};
use crate::uapi::{icmp, icmpv6};

use super::layer::{self, Ip};
use super::{array, be16, be32};

/// Tuple and transport of the packet whose network header is `ip`.
pub(crate) fn read(bytes: &[u8], ip: &Ip) -> (Tuple, Transport) {
    let mut tuple = Tuple {
        proto: proto(ip.proto),
        src: ip.src,
        sport: 0,
        dst: ip.dst,
        dport: 0,
        icmp_id: 0,
    };
    if ip.fragment.is_some_and(|f| f.offset > 0) {
        return (tuple, Transport::Other);
    }
    let transport = match tuple.proto {
        Proto::Tcp => tcp(bytes, ip),
        Proto::Udp => Some(Transport::Udp {
            payload: udp_payload(bytes, ip),
        }),
        Proto::Icmp => icmp(bytes, ip.at),
        Proto::Icmp6 => neighbor(bytes, ip.at).or_else(|| icmp6(bytes, ip.at)),
        _ => None,
    };
    ports(bytes, ip.at, &mut tuple);
    (tuple, transport.unwrap_or(Transport::Other))
}

/// Ports, or the identifier of an echo message.
fn ports(bytes: &[u8], at: usize, tuple: &mut Tuple) {
    match tuple.proto {
        Proto::Tcp | Proto::Udp | Proto::Sctp => {
            tuple.sport = be16(bytes, at).unwrap_or(0);
            tuple.dport = be16(bytes, at + 2).unwrap_or(0);
        }
        Proto::Icmp | Proto::Icmp6 => {
            let echo = bytes
                .get(at)
                .is_some_and(|kind| is_echo(tuple.proto, *kind));
            tuple.icmp_id = be16(bytes, at + 4).filter(|_| echo).unwrap_or(0);
        }
        _ => {}
    }
}

/// Echo request or reply.
fn is_echo(proto: Proto, icmp_type: u8) -> bool {
    match proto {
        Proto::Icmp => matches!(icmp_type, icmp::ECHOREPLY | icmp::ECHO),
        Proto::Icmp6 => matches!(icmp_type, icmpv6::ECHO_REQUEST | icmpv6::ECHO_REPLY),
        _ => false,
    }
}

/// TCP's options of one byte: the end of the list, and what fills it up.
const END: u8 = 0;
const NOP: u8 = 1;
/// Options that carry a signature: MD5 (RFC 2385) and AO (RFC 5925).
pub(crate) const SIGNATURES: [u8; 2] = [19, 29];

/// The kinds and lengths of the options of a TCP header, without those of one byte.
pub(crate) fn options(bytes: &[u8], header: usize) -> impl Iterator<Item = (u8, u8)> {
    let words = bytes.get(header + 12).map_or(0, |byte| byte >> 4);
    let end = header + usize::from(words) * 4;
    let mut at = header + 20;
    std::iter::from_fn(move || {
        loop {
            let kind = *bytes.get(at).filter(|_| at < end)?;
            match kind {
                END => return None,
                NOP => at += 1,
                _ => {
                    let length = *bytes.get(at + 1).filter(|length| **length >= 2)?;
                    at += usize::from(length);
                    return Some((kind, length));
                }
            }
        }
    })
}

fn tcp(bytes: &[u8], ip: &Ip) -> Option<Transport> {
    let at = ip.at;
    let header = u32::from(bytes.get(at + 12)? >> 4) * 4;
    Some(Transport::Tcp {
        seq: be32(bytes, at + 4)?,
        ack: be32(bytes, at + 8)?,
        flags: *bytes.get(at + 13)?,
        window: be16(bytes, at + 14)?,
        payload: ip.payload.saturating_sub(header),
        signed: options(bytes, at).any(|(kind, _)| SIGNATURES.contains(&kind)),
    })
}

fn udp_payload(bytes: &[u8], ip: &Ip) -> u32 {
    // a fragment's IP header tells less than the datagram's own; UDP GSO's own length is that of all segments
    be16(bytes, ip.at + 4)
        .map(u32::from)
        .filter(|len| *len >= 8)
        .unwrap_or(ip.payload)
        .saturating_sub(8)
}

fn icmp(bytes: &[u8], at: usize) -> Option<Transport> {
    let icmp_type = *bytes.get(at)?;
    let code = *bytes.get(at + 1)?;
    let error = matches!(icmp_type, 3 | 4 | 5 | 11 | 12);
    Some(Transport::Icmp {
        icmp_type,
        code,
        seq: echo_sequence(bytes, at, is_echo(Proto::Icmp, icmp_type)),
        quoted: error.then(|| quoted(bytes, at + 8)).flatten(),
        mtu: (icmp_type == 3 && code == 4)
            .then(|| be16(bytes, at + 6).map(u32::from))
            .flatten(),
    })
}

fn icmp6(bytes: &[u8], at: usize) -> Option<Transport> {
    let icmp_type = *bytes.get(at)?;
    Some(Transport::Icmp {
        icmp_type,
        code: *bytes.get(at + 1)?,
        seq: echo_sequence(bytes, at, is_echo(Proto::Icmp6, icmp_type)),
        quoted: matches!(icmp_type, 1..=4)
            .then(|| quoted(bytes, at + 8))
            .flatten(),
        mtu: (icmp_type == 2).then(|| be32(bytes, at + 4)).flatten(),
    })
}

fn echo_sequence(bytes: &[u8], at: usize, echo: bool) -> u16 {
    be16(bytes, at + 6).filter(|_| echo).unwrap_or(0)
}

/// Neighbour solicitation and advertisement (RFC 4861): target, then options of 8-byte units.
fn neighbor(bytes: &[u8], at: usize) -> Option<Transport> {
    let (answer, wanted) = match *bytes.get(at)? {
        135 => (false, 1),
        136 => (true, 2),
        _ => return None,
    };
    let option = at + 24;
    let mac = bytes
        .get(option)
        .filter(|kind| **kind == wanted)
        .and_then(|_| array(bytes, option + 2))
        .map(Mac);
    Some(Transport::Neighbor {
        answer,
        target: IpAddr::from(Ipv6Addr::from(array::<16>(bytes, at + 8)?)),
        mac,
    })
}

/// The tuple of the packet quoted in an ICMP error.
fn quoted(bytes: &[u8], at: usize) -> Option<Tuple> {
    let ip = layer::ip(bytes, at, 0)?;
    let mut tuple = Tuple {
        proto: proto(ip.proto),
        src: ip.src,
        sport: 0,
        dst: ip.dst,
        dport: 0,
        icmp_id: 0,
    };
    if ip.fragment.is_none_or(|f| f.offset == 0) {
        ports(bytes, ip.at, &mut tuple);
    }
    Some(tuple)
}
