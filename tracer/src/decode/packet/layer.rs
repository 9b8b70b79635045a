//! IP headers and what is nested in them: from the outermost to the one that the kernel followed.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use crate::decode::proto;
use crate::model::{Ethernet, Fragment, Proto, Transport, Tunnel, TunnelKind, Tuple};

use super::{array, be16, be32, ethernet, ethertype, transport};

/// Deepest nesting that is read.
const MAX_DEPTH: usize = 4;
/// Most IPv6 extension headers that are read.
const MAX_EXTENSIONS: usize = 8;

const VXLAN_PORTS: [u16; 2] = [4789, 8472];
const GENEVE_PORT: u16 = 6081;
/// flannel's UDP backend.
const RAW_IP_PORT: u16 = 8285;

/// One network header and the transport below it.
#[derive(Clone, Debug)]
pub(super) struct Layer {
    pub(super) tuple: Option<Tuple>,
    pub(super) ttl: u8,
    pub(super) tos: u8,
    pub(super) ip_id: u32,
    pub(super) ip_len: u32,
    pub(super) dont_fragment: bool,
    pub(super) fragment: Option<Fragment>,
    pub(super) transport: Transport,
    /// Where the transport header begins.
    at: usize,
}

/// What a network header says, before the transport is read.
#[derive(Clone, Copy)]
pub(super) struct Ip {
    pub(super) src: IpAddr,
    pub(super) dst: IpAddr,
    pub(super) proto: u8,
    /// Where the transport header begins.
    pub(super) at: usize,
    /// Bytes from there to the packet's end, as its header tells.
    pub(super) payload: u32,
    pub(super) fragment: Option<Fragment>,
    ttl: u8,
    tos: u8,
    id: u32,
    len: u32,
    dont_fragment: bool,
}

/// A packet inside another's payload: its ethertype, where it begins, what surrounds it.
struct Nested {
    kind: TunnelKind,
    id: Option<u32>,
    protocol: u16,
    at: usize,
    ethernet: Option<Ethernet>,
    /// The ports or the protocol number say so; else it is a guess that only the followed tuple can confirm.
    certain: bool,
}

type Found = (Layer, Option<Tunnel>, Option<Ethernet>);

/// The layer whose tuple is `followed` (the outermost when none is), with the tunnel around it.
pub(super) fn find(
    bytes: &[u8],
    protocol: u16,
    at: usize,
    followed: Option<&Tuple>,
    skb_len: u32,
) -> Found {
    let outer = read(bytes, protocol, at, skb_len);
    descend(bytes, &outer, followed, MAX_DEPTH).unwrap_or((outer, None, None))
}

fn descend(bytes: &[u8], outer: &Layer, followed: Option<&Tuple>, depth: usize) -> Option<Found> {
    let tuple = outer.tuple?;
    if depth == 0 || followed == Some(&tuple) || outer.fragment.is_some_and(|f| f.offset > 0) {
        return None;
    }
    nested(bytes, outer, tuple).into_iter().find_map(|nested| {
        let layer = read(bytes, nested.protocol, nested.at, 0);
        let inner = layer.tuple?;
        let tunnel = Tunnel {
            kind: nested.kind,
            id: nested.id,
            outer: tuple,
        };
        if let Some(deeper) = descend(bytes, &layer, followed, depth - 1) {
            return Some(deeper);
        }
        let ours = followed.map_or(nested.certain, |wanted| *wanted == inner);
        ours.then_some((layer, Some(tunnel), nested.ethernet))
    })
}

fn nested(bytes: &[u8], outer: &Layer, tuple: Tuple) -> Vec<Nested> {
    let at = outer.at;
    match tuple.proto {
        Proto::Other(4) => vec![bare(TunnelKind::IpIp, ethertype::IPV4, at)],
        Proto::Other(41) => vec![bare(TunnelKind::IpIp, ethertype::IPV6, at)],
        Proto::Other(47) => gre(bytes, at).into_iter().collect(),
        Proto::Udp => [
            vxlan(bytes, at + 8, tuple.dport),
            geneve(bytes, at + 8, tuple.dport),
            raw_udp(bytes, at + 8, tuple.dport),
        ]
        .into_iter()
        .flatten()
        .collect(),
        _ => Vec::new(),
    }
}

fn bare(kind: TunnelKind, protocol: u16, at: usize) -> Nested {
    Nested {
        kind,
        id: None,
        protocol,
        at,
        ethernet: None,
        certain: true,
    }
}

/// A whole Ethernet frame at `at`.
fn bridged(bytes: &[u8], at: usize) -> Option<(u16, usize, Option<Ethernet>)> {
    let frame = bytes.get(at..)?;
    let mut vlans = Vec::new();
    let (protocol, after) = super::skip_vlans(frame, be16(frame, 12)?, 14, &mut vlans);
    Some((protocol, at + after, ethernet(frame)))
}

fn vxlan(bytes: &[u8], at: usize, port: u16) -> Option<Nested> {
    // RFC 7348: flag I is set, the byte after the VNI is reserved
    let [flags, ..] = array::<8>(bytes, at)?;
    let (protocol, inner, ethernet) = bridged(bytes, at + 8).filter(|_| flags & 0x08 != 0)?;
    Some(Nested {
        kind: TunnelKind::Vxlan,
        id: Some(be32(bytes, at + 4)? >> 8),
        protocol,
        at: inner,
        ethernet,
        certain: VXLAN_PORTS.contains(&port),
    })
}

fn geneve(bytes: &[u8], at: usize, port: u16) -> Option<Nested> {
    // RFC 8926: version 0, option length in words
    let [first, _, ..] = array::<8>(bytes, at)?;
    if first & 0xc0 != 0 {
        return None;
    }
    let header = 8 + usize::from(first & 0x3f) * 4;
    let protocol = be16(bytes, at + 2)?;
    let (protocol, inner, ethernet) = if protocol == ethertype::BRIDGED {
        bridged(bytes, at + header)?
    } else {
        (protocol, at + header, None)
    };
    Some(Nested {
        kind: TunnelKind::Geneve,
        id: Some(be32(bytes, at + 4)? >> 8),
        protocol,
        at: inner,
        ethernet,
        certain: port == GENEVE_PORT,
    })
}

fn raw_udp(bytes: &[u8], at: usize, port: u16) -> Option<Nested> {
    let protocol = match bytes.get(at)? >> 4 {
        4 => ethertype::IPV4,
        6 => ethertype::IPV6,
        _ => return None,
    };
    Some(Nested {
        certain: port == RAW_IP_PORT,
        ..bare(TunnelKind::RawUdp, protocol, at)
    })
}

fn gre(bytes: &[u8], at: usize) -> Option<Nested> {
    // RFC 2784 and 2890: checksum, key and sequence number are optional words in that order
    let flags = be16(bytes, at)?;
    let protocol = be16(bytes, at + 2)?;
    if flags & 0x7 != 0 {
        return None;
    }
    let word = |bit: u16| usize::from(flags & bit != 0) * 4;
    let key = at + 4 + word(0x8000);
    let after = key + word(0x2000) + word(0x1000);
    let (protocol, inner, ethernet) = if protocol == ethertype::BRIDGED {
        bridged(bytes, after)?
    } else {
        (protocol, after, None)
    };
    Some(Nested {
        kind: TunnelKind::Gre,
        id: (word(0x2000) > 0).then(|| be32(bytes, key)).flatten(),
        protocol,
        at: inner,
        ethernet,
        certain: true,
    })
}

/// Reads the network header at `at` and the transport below it, as far as there are bytes.
fn read(bytes: &[u8], protocol: u16, at: usize, skb_len: u32) -> Layer {
    match protocol {
        ethertype::ARP => arp(bytes, at).unwrap_or_else(|| unknown(at)),
        ethertype::IPV4 | ethertype::IPV6 => ip(bytes, at, skb_len).map_or_else(
            || unknown(at),
            |ip| {
                let (tuple, transport) = transport::read(bytes, &ip);
                Layer {
                    tuple: Some(tuple),
                    ttl: ip.ttl,
                    tos: ip.tos,
                    ip_id: ip.id,
                    ip_len: ip.len,
                    dont_fragment: ip.dont_fragment,
                    fragment: ip.fragment,
                    transport,
                    at: ip.at,
                }
            },
        ),
        _ => unknown(at),
    }
}

fn unknown(at: usize) -> Layer {
    Layer {
        tuple: None,
        ttl: 0,
        tos: 0,
        ip_id: 0,
        ip_len: 0,
        dont_fragment: false,
        fragment: None,
        transport: Transport::Other,
        at,
    }
}

/// An IP header of either version at `at`.
pub(super) fn ip(bytes: &[u8], at: usize, skb_len: u32) -> Option<Ip> {
    match bytes.get(at)? >> 4 {
        4 => ipv4(bytes, at, skb_len),
        6 => ipv6(bytes, at, skb_len),
        _ => None,
    }
}

fn ipv4(bytes: &[u8], at: usize, skb_len: u32) -> Option<Ip> {
    let header = usize::from(bytes.get(at)? & 0x0f) * 4;
    if header < 20 {
        return None;
    }
    let told = u32::from(be16(bytes, at + 2)?);
    let len = if told == 0 { skb_len } else { told };
    let flags = be16(bytes, at + 6)?;
    let offset = u32::from(flags & 0x1fff) * 8;
    let more = flags & 0x2000 != 0;
    Some(Ip {
        src: Ipv4Addr::from(array::<4>(bytes, at + 12)?).into(),
        dst: Ipv4Addr::from(array::<4>(bytes, at + 16)?).into(),
        proto: *bytes.get(at + 9)?,
        at: at + header,
        payload: len.saturating_sub(u32::try_from(header).unwrap_or(0)),
        fragment: (more || offset > 0).then_some(Fragment { offset, more }),
        ttl: *bytes.get(at + 8)?,
        tos: *bytes.get(at + 1)?,
        id: u32::from(be16(bytes, at + 4)?),
        len,
        dont_fragment: flags & 0x4000 != 0,
    })
}

fn ipv6(bytes: &[u8], start: usize, skb_len: u32) -> Option<Ip> {
    let first = be16(bytes, start)?;
    let told = u32::from(be16(bytes, start + 4)?);
    let len = if told == 0 { skb_len } else { told + 40 };
    let mut ip = Ip {
        src: Ipv6Addr::from(array::<16>(bytes, start + 8)?).into(),
        dst: Ipv6Addr::from(array::<16>(bytes, start + 24)?).into(),
        proto: *bytes.get(start + 6)?,
        at: start + 40,
        payload: 0,
        fragment: None,
        ttl: *bytes.get(start + 7)?,
        tos: u8::try_from((first >> 4) & 0xff).unwrap_or(0),
        id: 0,
        len,
        dont_fragment: false,
    };
    for _ in 0..MAX_EXTENSIONS {
        let Some(after) = extension(bytes, &mut ip) else {
            break;
        };
        ip.at = after;
        if ip.fragment.is_some_and(|f| f.offset > 0) {
            break;
        }
    }
    let headers = u32::try_from(ip.at - start).unwrap_or(0);
    ip.payload = len.saturating_sub(headers);
    Some(ip)
}

/// Takes in the extension header at `ip.at`; gives where the next header begins.
fn extension(bytes: &[u8], ip: &mut Ip) -> Option<usize> {
    let next = *bytes.get(ip.at)?;
    let length = usize::from(*bytes.get(ip.at + 1)?);
    let size = match ip.proto {
        // hop-by-hop, routing, destination options, mobility
        0 | 43 | 60 | 135 => (length + 1) * 8,
        // fragment
        44 => {
            let place = be16(bytes, ip.at + 2)?;
            ip.id = be32(bytes, ip.at + 4)?;
            ip.fragment = Some(Fragment {
                offset: u32::from(place & 0xfff8),
                more: place & 1 != 0,
            });
            8
        }
        // authentication header
        51 => (length + 2) * 4,
        _ => return None,
    };
    ip.proto = next;
    Some(ip.at + size)
}

fn arp(bytes: &[u8], at: usize) -> Option<Layer> {
    // Ethernet and IPv4 only, as in every kernel
    if array::<6>(bytes, at)? != [0, 1, 8, 0, 6, 4] {
        return None;
    }
    let answer = be16(bytes, at + 6)? == 2;
    let sender = IpAddr::from(Ipv4Addr::from(array::<4>(bytes, at + 14)?));
    let target = IpAddr::from(Ipv4Addr::from(array::<4>(bytes, at + 24)?));
    Some(Layer {
        tuple: Some(Tuple {
            proto: proto(tracer_common::tuple::PROTO_ARP),
            src: sender,
            sport: 0,
            dst: target,
            dport: 0,
            icmp_id: 0,
        }),
        transport: Transport::Neighbor {
            answer,
            target: if answer { sender } else { target },
            mac: array(bytes, at + 8).map(crate::model::Mac),
        },
        ..unknown(at)
    })
}
