//! Captured bytes as a packet of a file: what they begin with, and how long the packet was.

use pcap_file::DataLink;
use tracer_common::hook::{TC_EGRESS, TC_INGRESS};

use crate::model::Event;

const ETHERNET: usize = 14;
const TAG: usize = 4;
const VLAN: [u16; 2] = [0x8100, 0x88a8];
const ARP: u16 = 0x0806;
/// Of ARP for IPv4 over Ethernet.
const ARP_LEN: usize = 28;
/// Of an IPv6 header, which its length field leaves out.
const IPV6_HEADER: usize = 40;

/// What bytes begin with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Link {
    Ethernet,
    /// An IP header at once.
    Raw,
}

impl From<Link> for DataLink {
    fn from(link: Link) -> Self {
        match link {
            Link::Ethernet => Self::ETHERNET,
            Link::Raw => Self::RAW,
        }
    }
}

/// What a file says of a packet, beside its bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Frame {
    /// What its bytes begin with.
    pub(super) link: Link,
    /// Length on the wire, in bytes, with its link header.
    pub(super) original_len: u32,
}

impl Frame {
    /// `None` where no bytes were captured, or they begin with neither.
    pub(super) fn of(event: &Event) -> Option<Self> {
        let bytes = event.bytes.as_ref();
        let framed = event.packet.as_ref()?.ethernet.is_some();
        let version = bytes.first().map(|byte| byte >> 4);
        let (link, network) = match (framed, version) {
            (true, _) => (Link::Ethernet, network_header(bytes)),
            (false, Some(4 | 6)) => (Link::Raw, 0),
            _ => return None,
        };
        let told = usize::try_from(event.len).ok()?;
        let whole = match event.hook.0 {
            // There the buffer begins where the capture does.
            TC_INGRESS | TC_EGRESS => told,
            // A lost packet's may begin at any layer: its own header says how long it is.
            _ => network + network_len(bytes, network).unwrap_or(told),
        };
        Some(Self {
            link,
            original_len: u32::try_from(whole.max(bytes.len())).ok()?,
        })
    }
}

/// Where the network header begins in an Ethernet frame.
fn network_header(bytes: &[u8]) -> usize {
    let mut at = ETHERNET;
    while be16(bytes, at - 2).is_some_and(|kind| VLAN.contains(&kind)) {
        at += TAG;
    }
    at
}

/// Length of an IP or ARP packet as it says itself; `None` where it does not, as with offloads beyond 64 KiB.
fn network_len(bytes: &[u8], at: usize) -> Option<usize> {
    let kind = at.checked_sub(2).and_then(|at| be16(bytes, at));
    if kind == Some(ARP) {
        return Some(ARP_LEN);
    }
    match bytes.get(at)? >> 4 {
        4 => be16(bytes, at + 2).filter(|len| *len > 0).map(usize::from),
        6 => be16(bytes, at + 4)
            .filter(|len| *len > 0)
            .map(|len| usize::from(len) + IPV6_HEADER),
        _ => None,
    }
}

fn be16(bytes: &[u8], at: usize) -> Option<u16> {
    let pair = bytes.get(at..at.checked_add(2)?)?;
    Some(u16::from_be_bytes(pair.try_into().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// An Ethernet header with these tags before what follows.
    fn frame(tags: &[u16], kind: u16, packet: &[u8]) -> Vec<u8> {
        let mut bytes = vec![0; 12];
        for tag in tags {
            bytes.extend(tag.to_be_bytes());
            bytes.extend([0, 7]);
        }
        bytes.extend(kind.to_be_bytes());
        bytes.extend(packet);
        bytes
    }

    #[test]
    fn a_packet_says_itself_how_long_it_was() {
        let v4 = [0x45, 0, 0x05, 0xdc];
        let v6 = [0x60, 0, 0, 0, 0x05, 0xb4];
        let cases = [
            (frame(&[], 0x0800, &v4), 14, Some(1500)),
            (frame(&[0x8100], 0x0800, &v4), 18, Some(1500)),
            (frame(&[0x88a8, 0x8100], 0x86dd, &v6), 22, Some(1500)),
            (frame(&[], 0x0806, &[0, 1]), 14, Some(28)),
            // longer than the field can say, and cut off before it
            (frame(&[], 0x0800, &[0x45, 0, 0, 0]), 14, None),
            (frame(&[], 0x0800, &[0x45]), 14, None),
            (frame(&[], 0x88cc, &[2, 7]), 14, None),
        ];
        for (bytes, at, len) in cases {
            assert_eq!(network_header(&bytes), at, "{bytes:?}");
            assert_eq!(network_len(&bytes, at), len, "{bytes:?}");
        }
        assert_eq!(network_len(&v4, 0), Some(1500));
        assert_eq!(network_len(&[], 0), None);
        assert_eq!(network_header(&[]), 14);
    }
}
