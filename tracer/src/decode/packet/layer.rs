//! IP headers and what is nested in them: from the outermost to the one that the kernel followed.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use crate::decode::proto;
use crate::model::{Ethernet, Fragment, Transport, Tunnel, Tuple};

use super::{array, be16, be32, ethertype, transport, tunnel};

/// Deepest nesting that is read.
const MAX_DEPTH: usize = 4;
/// Bytes of a transport header within which ports and identifiers stand.
const PORTS: usize = 6;
/// Most IPv6 extension headers that are read.
const MAX_EXTENSIONS: usize = 8;

/// One network header and the transport below it.
#[derive(Clone, Debug)]
pub(crate) struct Layer {
    pub(crate) tuple: Option<Tuple>,
    pub(super) ttl: u8,
    pub(super) tos: u8,
    pub(super) ip_id: u32,
    pub(super) ip_len: u32,
    pub(super) next_header: Option<u8>,
    pub(super) dont_fragment: bool,
    pub(super) fragment: Option<Fragment>,
    /// Identification of the tunnel's packet around it, where that goes in fragments.
    pub(super) carrier_id: Option<u32>,
    /// TTL or hop limit of that packet.
    pub(super) carrier_ttl: Option<u8>,
    pub(super) transport: Transport,
    /// Where the transport header begins.
    at: usize,
}

/// What a network header says, before the transport is read.
#[derive(Clone, Copy)]
pub(crate) struct Ip {
    pub(crate) src: IpAddr,
    pub(crate) dst: IpAddr,
    pub(crate) proto: u8,
    /// Where the transport header begins.
    pub(crate) at: usize,
    /// Bytes from there to the packet's end, as its header tells.
    pub(super) payload: u32,
    pub(crate) fragment: Option<Fragment>,
    ttl: u8,
    tos: u8,
    id: u32,
    len: u32,
    next_header: Option<u8>,
    dont_fragment: bool,
}

type Found = (Layer, Option<Tunnel>, Option<Ethernet>);

/// The layer whose tuple is `followed` (the outermost when none is), with the tunnel around it.
pub(crate) fn find(
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
    tunnel::nested(bytes, outer.at, tuple)
        .into_iter()
        .find_map(|nested| {
            let mut layer = read(bytes, nested.protocol, nested.at, 0);
            let inner = layer.tuple?;
            let tunnel = Tunnel {
                kind: nested.kind,
                id: nested.id,
                outer: tuple,
            };
            if let Some(deeper) = descend(bytes, &layer, followed, depth - 1) {
                return Some(deeper);
            }
            layer.carrier_id = outer.fragment.map(|_| outer.ip_id);
            layer.carrier_ttl = Some(outer.ttl);
            // IPv6 in IPv6 leaves no room for ports and identifiers in a short capture: the kernel has seen them.
            let cut = bytes.len() < layer.at + PORTS;
            if let Some(wanted) = followed.filter(|wanted| cut && same_ends(wanted, &inner)) {
                layer.tuple = Some(*wanted);
                return Some((layer, Some(tunnel), nested.ethernet));
            }
            let ours = followed.map_or(nested.certain, |wanted| *wanted == inner);
            ours.then_some((layer, Some(tunnel), nested.ethernet))
        })
}

fn same_ends(a: &Tuple, b: &Tuple) -> bool {
    (a.proto, a.src, a.dst) == (b.proto, b.src, b.dst)
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
                    next_header: ip.next_header,
                    dont_fragment: ip.dont_fragment,
                    fragment: ip.fragment,
                    carrier_id: None,
                    carrier_ttl: None,
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
        next_header: None,
        dont_fragment: false,
        fragment: None,
        carrier_id: None,
        carrier_ttl: None,
        transport: Transport::Other,
        at,
    }
}

/// An IP header of either version at `at`.
pub(crate) fn ip(bytes: &[u8], at: usize, skb_len: u32) -> Option<Ip> {
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
        next_header: None,
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
        next_header: bytes.get(start + 6).copied(),
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
