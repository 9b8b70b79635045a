//! Captured bytes → [`Packet`]: link layer, VLAN tags, IP headers down to the followed one, transport.
//!
//! Which of nested packets is "the packet" is the kernel's word (the followed tuple); what surrounds it becomes its
//! tunnel. Bytes that end early give what was there; nothing here can fail or panic.

pub(crate) mod layer;
pub(crate) mod transport;
pub(crate) mod tunnel;

use crate::model::{Ethernet, Mac, Packet, Tuple};

use layer::Layer;

/// Where and how parsing begins.
#[derive(Clone, Copy, Debug)]
pub struct Start {
    /// Offset of the outermost network header; an Ethernet header stands before it when it is 14 or more.
    pub l3_offset: usize,
    /// skb->protocol, for packets without an Ethernet header.
    pub protocol: u16,
    /// skb->len, for packets that are too long for their own length field.
    pub skb_len: u32,
}

/// Ethertypes and what else stands in their place.
pub(crate) mod ethertype {
    pub(crate) const IPV4: u16 = 0x0800;
    pub(crate) const ARP: u16 = 0x0806;
    pub(crate) const IPV6: u16 = 0x86dd;
    pub(crate) const VLAN: u16 = 0x8100;
    pub(crate) const QINQ: u16 = 0x88a8;
    pub(crate) const BRIDGED: u16 = 0x6558;
}

const ETHERNET: usize = 14;
/// More tags than that are not read.
const MAX_VLANS: usize = 4;

/// Parses a captured packet. `followed` is the tuple that the kernel followed. `None` when there are no bytes.
#[must_use]
pub fn parse(bytes: &[u8], start: Start, followed: Option<&Tuple>) -> Option<Packet> {
    if bytes.is_empty() {
        return None;
    }
    let framed = start.l3_offset >= ETHERNET;
    let ethernet = framed.then(|| ethernet(bytes)).flatten();
    let mut vlans = Vec::new();
    let (protocol, at) = if framed {
        let (protocol, at) = skip_vlans(bytes, be16(bytes, 12).unwrap_or(0), ETHERNET, &mut vlans);
        // the kernel's own offset counts when the tags do not lead to it
        (protocol, at.max(start.l3_offset))
    } else {
        skip_vlans(bytes, start.protocol, start.l3_offset, &mut vlans)
    };
    let (layer, tunnel, inner_ethernet) = layer::find(bytes, protocol, at, followed, start.skb_len);
    Some(packet(layer, ethernet, vlans, tunnel, inner_ethernet))
}

fn packet(
    layer: Layer,
    ethernet: Option<Ethernet>,
    vlans: Vec<u16>,
    tunnel: Option<crate::model::Tunnel>,
    inner_ethernet: Option<Ethernet>,
) -> Packet {
    Packet {
        ethernet,
        vlans,
        tunnel,
        inner_ethernet,
        tuple: layer.tuple,
        ttl: layer.ttl,
        tos: layer.tos,
        ip_id: layer.ip_id,
        ip_len: layer.ip_len,
        next_header: layer.next_header,
        dont_fragment: layer.dont_fragment,
        fragment: layer.fragment,
        carrier_id: layer.carrier_id,
        carrier_ttl: layer.carrier_ttl,
        transport: layer.transport,
    }
}

/// Skips VLAN tags from `at` on, putting their ids into `vlans`; gives what follows them, and where.
pub(crate) fn skip_vlans(
    bytes: &[u8],
    mut protocol: u16,
    mut at: usize,
    vlans: &mut Vec<u16>,
) -> (u16, usize) {
    while vlans.len() < MAX_VLANS && matches!(protocol, ethertype::VLAN | ethertype::QINQ) {
        let (Some(tag), Some(next)) = (be16(bytes, at), be16(bytes, at + 2)) else {
            break;
        };
        vlans.push(tag & 0x0fff);
        protocol = next;
        at += 4;
    }
    (protocol, at)
}

pub(super) fn ethernet(bytes: &[u8]) -> Option<Ethernet> {
    Some(Ethernet {
        dst: Mac(array(bytes, 0)?),
        src: Mac(array(bytes, 6)?),
    })
}

pub(super) fn array<const N: usize>(bytes: &[u8], at: usize) -> Option<[u8; N]> {
    bytes.get(at..at.checked_add(N)?)?.try_into().ok()
}

/// Two bytes in network order.
pub(crate) fn be16(bytes: &[u8], at: usize) -> Option<u16> {
    array(bytes, at).map(u16::from_be_bytes)
}

pub(super) fn be32(bytes: &[u8], at: usize) -> Option<u32> {
    array(bytes, at).map(u32::from_be_bytes)
}

#[cfg(test)]
pub(crate) mod build;
#[cfg(test)]
mod tests;
