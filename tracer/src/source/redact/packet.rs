//! Captured packets with pseudonyms: headers that the decoder knows are copied with other addresses, everything else (payload,
//! options, checksums, what is not understood) becomes zero.
//!
//! The copy begins as zeros and gets only what is known to be harmless, so a protocol that is not known here cannot leak.
//! Checksums are left out because they are sums of the original addresses.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::address::Addresses;
use crate::decode::packet::{Start, be16, ethertype, layer, skip_vlans, transport, tunnel};
use crate::model::{Mac, TunnelKind, Tuple};
use crate::uapi::{icmp, icmpv6};

const ETHERNET: usize = 14;
/// Deepest nesting that is followed: tunnels and what ICMP errors quote.
const DEPTH: usize = 6;
/// TCP's header up to the window: ports, numbers and flags; its checksum and urgent pointer stand behind.
const TCP: usize = 16;

/// The packet with pseudonyms. `followed` is the tuple that the kernel followed: it tells whether what looks like a tunnel
/// on an unusual port is one.
pub(super) fn redact(
    bytes: &[u8],
    start: Start,
    followed: Option<&Tuple>,
    addresses: &mut Addresses,
) -> Vec<u8> {
    let mut copy = Copy {
        from: bytes,
        to: vec![0; bytes.len()],
        followed,
        addresses,
    };
    if start.l3_offset >= ETHERNET {
        copy.frame(0, start.l3_offset, DEPTH);
    } else {
        let mut tags = Vec::new();
        let (protocol, at) = skip_vlans(bytes, start.protocol, start.l3_offset, &mut tags);
        copy.keep(start.l3_offset, at.saturating_sub(start.l3_offset));
        copy.network(protocol, at, DEPTH);
    }
    copy.forget();
    copy.to
}

/// Two MACs as neighbour events carry them: eight bytes each.
pub(super) fn redact_neighbor(bytes: &[u8], addresses: &mut Addresses) -> Vec<u8> {
    let mut copy = Copy {
        from: bytes,
        to: vec![0; bytes.len()],
        followed: None,
        addresses,
    };
    copy.mac(0);
    copy.mac(8);
    copy.to
}

struct Copy<'a> {
    from: &'a [u8],
    to: Vec<u8>,
    followed: Option<&'a Tuple>,
    addresses: &'a mut Addresses,
}

impl Copy<'_> {
    /// Copies what is there of some bytes.
    fn keep(&mut self, at: usize, length: usize) {
        let from = self.from.iter().skip(at).take(length);
        for (to, from) in self.to.iter_mut().skip(at).zip(from) {
            *to = *from;
        }
    }

    fn array<const N: usize>(&self, at: usize) -> Option<[u8; N]> {
        self.from.get(at..at.checked_add(N)?)?.try_into().ok()
    }

    fn byte(&self, at: usize) -> u8 {
        self.from.get(at).copied().unwrap_or(0)
    }

    fn put(&mut self, at: usize, bytes: &[u8]) {
        for (to, from) in self.to.iter_mut().skip(at).zip(bytes) {
            *to = *from;
        }
    }

    fn mac(&mut self, at: usize) {
        if let Some(mac) = self.array(at) {
            let Mac(new) = self.addresses.mac(Mac(mac));
            self.put(at, &new);
        }
    }

    fn v4(&mut self, at: usize) {
        if let Some(address) = self.array::<4>(at)
            && let IpAddr::V4(new) = self.addresses.address(Ipv4Addr::from(address).into())
        {
            self.put(at, &new.octets());
        }
    }

    fn v6(&mut self, at: usize) {
        if let Some(address) = self.array::<16>(at)
            && let IpAddr::V6(new) = self.addresses.address(Ipv6Addr::from(address).into())
        {
            self.put(at, &new.octets());
        }
    }

    /// Where headers do not begin where the record says, an address can be taken for something else and be kept: those of the
    /// followed packet are not left where they stood, come what may.
    fn forget(&mut self) {
        let Some(followed) = self.followed else {
            return;
        };
        for address in [followed.src, followed.dst] {
            if self.addresses.address(address) == address {
                continue;
            }
            match address {
                IpAddr::V4(v4) => self.wipe(&v4.octets()),
                IpAddr::V6(v6) => self.wipe(&v6.octets()),
            }
        }
    }

    fn wipe(&mut self, original: &[u8]) {
        let size = original.len();
        for at in 0..self.from.len() {
            let there = |bytes: &[u8]| bytes.get(at..at + size) == Some(original);
            if there(self.from) && there(&self.to) {
                self.put(at, &vec![0; size]);
            }
        }
    }

    /// An Ethernet frame with its tags; its network header is not before `least`.
    fn frame(&mut self, at: usize, least: usize, depth: usize) {
        self.mac(at);
        self.mac(at + 6);
        let kind = at + 12;
        let mut tags = Vec::new();
        let first = be16(self.from, kind).unwrap_or(0);
        let (protocol, after) = skip_vlans(self.from, first, at + ETHERNET, &mut tags);
        self.keep(kind, after.saturating_sub(kind));
        self.network(protocol, after.max(least), depth);
    }

    fn network(&mut self, protocol: u16, at: usize, depth: usize) {
        let Some(depth) = depth.checked_sub(1) else {
            return;
        };
        match protocol {
            ethertype::ARP => self.arp(at),
            ethertype::IPV4 | ethertype::IPV6 => self.ip(at, depth),
            _ => {}
        }
    }

    fn arp(&mut self, at: usize) {
        // Ethernet and IPv4 only, as the decoder has it
        if self.array(at) != Some([0, 1, 8, 0, 6, 4]) {
            return;
        }
        self.keep(at, 8);
        self.mac(at + 8);
        self.v4(at + 14);
        self.mac(at + 18);
        self.v4(at + 24);
    }

    fn ip(&mut self, at: usize, depth: usize) {
        let Some(ip) = layer::ip(self.from, at, 0) else {
            return;
        };
        if ip.src.is_ipv4() {
            // up to the checksum
            self.keep(at, 10);
            self.v4(at + 12);
            self.v4(at + 16);
        } else {
            self.keep(at, 8);
            self.v6(at + 8);
            self.v6(at + 24);
            self.extensions(at, ip.at);
        }
        if ip.fragment.is_none_or(|fragment| fragment.offset == 0) {
            self.transport(&ip, depth);
        }
    }

    /// Extension headers of IPv6 up to `end`: their kinds and lengths, and what tells of fragments.
    fn extensions(&mut self, start: usize, end: usize) {
        const FRAGMENT: u8 = 44;
        const AUTHENTICATION: u8 = 51;
        let mut kind = self.byte(start + 6);
        let mut at = start + 40;
        while at < end {
            let Some([next, length]) = self.array(at) else {
                return;
            };
            let size = match kind {
                FRAGMENT => {
                    self.keep(at, 8);
                    8
                }
                AUTHENTICATION => (usize::from(length) + 2) * 4,
                _ => (usize::from(length) + 1) * 8,
            };
            self.keep(at, 2);
            kind = next;
            at += size;
        }
    }

    fn transport(&mut self, ip: &layer::Ip, depth: usize) {
        let at = ip.at;
        match ip.proto {
            1 => self.icmp(at, depth),
            6 => self.tcp(at),
            17 => self.keep(at, 6),
            58 => self.icmp6(at, depth),
            // ports and verification tag
            132 => self.keep(at, 8),
            _ => {}
        }
        self.tunnel(ip, depth);
    }

    fn tcp(&mut self, at: usize) {
        self.keep(at, TCP);
        // Of options the decoder reads only whether one is a signature: it stands first, without its value.
        let signature = transport::options(self.from, at)
            .find(|(kind, _)| transport::SIGNATURES.contains(kind));
        if let Some((kind, length)) = signature {
            self.put(at + 20, &[kind, length]);
        }
    }

    fn icmp(&mut self, at: usize, depth: usize) {
        self.keep(at, 2);
        match self.from.get(at) {
            // echo
            Some(&(icmp::ECHOREPLY | icmp::ECHO)) => self.keep(at + 4, 4),
            Some(
                &(icmp::DEST_UNREACH
                | icmp::SOURCE_QUENCH
                | icmp::TIME_EXCEEDED
                | icmp::PARAMETERPROB),
            ) => {
                self.keep(at + 4, 4);
                self.quoted(at + 8, depth);
            }
            // a redirect's router
            Some(&icmp::REDIRECT) => {
                self.v4(at + 4);
                self.quoted(at + 8, depth);
            }
            _ => {}
        }
    }

    fn icmp6(&mut self, at: usize, depth: usize) {
        self.keep(at, 2);
        match self.from.get(at) {
            Some(&(icmpv6::ECHO_REQUEST | icmpv6::ECHO_REPLY)) => self.keep(at + 4, 4),
            Some(&(icmpv6::DEST_UNREACH..=icmpv6::PARAMPROB)) => {
                self.keep(at + 4, 4);
                self.quoted(at + 8, depth);
            }
            Some(&(icmpv6::NEIGHBOUR_SOLICITATION | icmpv6::NEIGHBOUR_ADVERTISEMENT)) => {
                self.keep(at + 4, 4);
                self.v6(at + 8);
                // the first option is all that the decoder reads; one unit long
                if let Some([1 | 2, 1]) = self.array(at + 24) {
                    self.keep(at + 24, 2);
                    self.mac(at + 26);
                }
            }
            _ => {}
        }
    }

    /// The packet that an error is about.
    fn quoted(&mut self, at: usize, depth: usize) {
        let protocol = match self.byte(at) >> 4 {
            4 => ethertype::IPV4,
            6 => ethertype::IPV6,
            _ => return,
        };
        self.network(protocol, at, depth);
    }

    /// What is nested in the packet.
    fn tunnel(&mut self, ip: &layer::Ip, depth: usize) {
        let (outer, _) = transport::read(self.from, ip);
        let followed = self.followed;
        let ours = |nested: &tunnel::Nested| {
            let inner = || layer::find(self.from, nested.protocol, nested.at, followed, 0).0;
            nested.certain || followed.is_some() && inner().tuple.as_ref() == followed
        };
        let Some(nested) = tunnel::nested(self.from, ip.at, outer)
            .into_iter()
            .find(ours)
        else {
            return;
        };
        let at = ip.at + 8;
        match nested.kind {
            TunnelKind::Vxlan => {
                self.keep(at, 8);
                self.frame(at + 8, nested.at, depth);
            }
            TunnelKind::Geneve => {
                self.keep(at, 8);
                let header = 8 + usize::from(self.byte(at) & 0x3f) * 4;
                self.inner(be16(self.from, at + 2), at + header, &nested, depth);
            }
            TunnelKind::Gre => self.gre(ip.at, &nested, depth),
            TunnelKind::IpIp | TunnelKind::RawUdp => {
                self.network(nested.protocol, nested.at, depth);
            }
        }
    }

    fn inner(&mut self, kind: Option<u16>, at: usize, nested: &tunnel::Nested, depth: usize) {
        if kind == Some(ethertype::BRIDGED) {
            self.frame(at, nested.at, depth);
        } else {
            self.network(nested.protocol, nested.at, depth);
        }
    }

    /// RFC 2784 and 2890: checksum, key and sequence number are optional words in that order.
    fn gre(&mut self, at: usize, nested: &tunnel::Nested, depth: usize) {
        let flags = be16(self.from, at).unwrap_or(0);
        let word = |bit: u16| usize::from(flags & bit != 0) * 4;
        let key = at + 4 + word(0x8000);
        let after = key + word(0x2000) + word(0x1000);
        self.keep(at, 4);
        self.keep(key, after - key);
        self.inner(be16(self.from, at + 2), after, nested, depth);
    }
}

#[cfg(test)]
#[expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a failed setup fails the test"
)]
mod tests;
