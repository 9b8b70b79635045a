//! Encapsulations: what stands in the payload of a packet.

use crate::model::{Ethernet, Proto, TunnelKind, Tuple};

use super::{array, be16, be32, ethernet, ethertype, skip_vlans};

const VXLAN_PORTS: [u16; 2] = [4789, 8472];
const GENEVE_PORT: u16 = 6081;
/// flannel's UDP backend.
const RAW_IP_PORT: u16 = 8285;

/// A packet inside another's payload: its ethertype, where it begins, what surrounds it.
pub(crate) struct Nested {
    pub(crate) kind: TunnelKind,
    pub(super) id: Option<u32>,
    pub(crate) protocol: u16,
    pub(crate) at: usize,
    pub(super) ethernet: Option<Ethernet>,
    /// The ports or the protocol number say so; else it is a guess that only the followed tuple can confirm.
    pub(crate) certain: bool,
}

/// What can stand in the payload of a packet whose transport header is at `at`.
pub(crate) fn nested(bytes: &[u8], at: usize, tuple: Tuple) -> Vec<Nested> {
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
    let (protocol, after) = skip_vlans(frame, be16(frame, 12)?, 14, &mut vlans);
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
