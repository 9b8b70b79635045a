//! Finding the tuple and the fingerprint of a packet in its bytes: link layer, IP, transport, tunnels.
//!
//! Generic over [`Bytes`], so that the same code runs in the kernel programs (over packet pointers or kernel
//! memory) and on the host (over slices, in tests). It reads headers only; what the packet means to the
//! filter is [`crate::filter`]'s.

use crate::barrier::{Barrier, is_some, is_zero};
use crate::filter::RawFilter;
use crate::fingerprint::Parts;
use crate::tuple::{FAMILY_V4, FAMILY_V6, PROTO_ARP, RawTuple};

/// Ethernet protocol numbers, in host order.
pub const ETH_IPV4: u16 = 0x0800;
/// ARP.
pub const ETH_ARP: u16 = 0x0806;
/// IPv6.
pub const ETH_IPV6: u16 = 0x86dd;
/// Customer VLAN tag.
pub const ETH_VLAN: u16 = 0x8100;
/// Service VLAN tag (QinQ).
pub const ETH_QINQ: u16 = 0x88a8;
/// Ethernet bridged through GRE or Geneve.
pub const ETH_TEB: u16 = 0x6558;

/// Whether frames of this protocol (linux/if_ether.h) may carry an IP packet behind a header that is not read here: MPLS,
/// PPPoE, MACsec, NSH, HSR and PRP, B.A.T.M.A.N.
#[inline(always)]
#[must_use]
pub const fn is_wrapping(protocol: u16) -> bool {
    matches!(
        protocol,
        0x8847 | 0x8848 | 0x8864 | 0x88e5 | 0x894f | 0x892f | 0x88fb | 0x4305
    )
}

pub(crate) const ICMP: u8 = 1;
pub(crate) const IPIP: u8 = 4;
pub(crate) const TCP: u8 = 6;
pub(crate) const UDP: u8 = 17;
pub(crate) const IPV6: u8 = 41;
pub(crate) const GRE: u8 = 47;
pub(crate) const ICMP6: u8 = 58;
pub(crate) const SCTP: u8 = 132;

/// No VLAN tag.
pub const NO_VLAN: u16 = 0xffff;
/// Most IPv6 extension headers that are skipped.
const MAX_EXTENSIONS: u32 = 6;

/// Whether ICMP or ICMPv6 messages of this type are errors, which quote the packet that they are about.
#[inline(always)]
pub(crate) const fn is_error_type(proto: u8, kind: u32) -> bool {
    match proto {
        ICMP => matches!(kind, 3 | 4 | 5 | 11 | 12),
        ICMP6 => matches!(kind, 1..=4),
        _ => false,
    }
}

/// Whether messages of this type are IPv6 neighbour discovery.
#[inline(always)]
pub(crate) const fn is_neighbor_type(proto: u8, kind: u32) -> bool {
    proto == ICMP6 && matches!(kind, 133..=137)
}

/// The bytes of a packet, from wherever they can be read.
pub trait Bytes: Barrier {
    /// Two bytes at `at`, as the native word that they form in memory.
    fn half(&self, at: u32) -> Option<u16>;
    /// `4 * N` bytes at `at`, as native words.
    fn words<const N: usize>(&self, at: u32) -> Option<[u32; N]>;
    /// The first `len` (1 to 8) bytes at `at`, zero padded. Zero where they are not linear: a fingerprint must be
    /// the same wherever it is taken, and not every place can read further.
    fn head(&self, at: u32, len: u32) -> u64;
}

/// What the link layer says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Link {
    /// Ethernet protocol of what follows, in host order.
    pub protocol: u16,
    /// The innermost VLAN id seen, or [`NO_VLAN`].
    pub vlan: u16,
    /// Where the network header begins.
    pub at: u32,
}

impl Link {
    /// The Ethernet header at `at`.
    #[inline(always)]
    pub fn ethernet<B: Bytes + ?Sized>(bytes: &B, at: u32) -> Option<Self> {
        let protocol = u16::from_be(bytes.half(at + 12)?);
        let mut link = Self {
            protocol,
            vlan: NO_VLAN,
            at: at + 14,
        };
        link.untag(bytes).then_some(link)
    }

    /// Steps over up to two VLAN tags. False when they cannot be read.
    #[inline(always)]
    pub fn untag<B: Bytes + ?Sized>(&mut self, bytes: &B) -> bool {
        let mut left = B::opaque(2);
        while left > 0 && (self.protocol == ETH_VLAN || self.protocol == ETH_QINQ) {
            let Some([tag]) = bytes.words::<1>(self.at) else {
                return false;
            };
            let tag = u32::from_be(tag);
            self.vlan = (tag >> 16) as u16 & 0x0fff;
            self.protocol = tag as u16;
            self.at += 4;
            left -= 1;
        }
        true
    }
}

/// One network header and the beginning of what it carries.
#[derive(Clone, Copy, Debug)]
pub struct Header {
    /// Addresses, protocol, ports.
    pub tuple: RawTuple,
    /// The first 16 bytes above IP, as native words; the last two zero where the packet is shorter.
    pub l4: [u32; 4],
    /// Where they are.
    pub l4_at: u32,
    /// The first byte behind the IP packet.
    pub end: u32,
    /// IPv4 identification; of IPv6 only in fragments other than the first.
    pub ip_id: u32,
    /// Offset of a fragment other than the first, else zero.
    pub fragment: u32,
    /// What the fragments of one datagram have in common beside addresses and protocol; zero in what is no fragment.
    pub datagram: u32,
    /// Zero.
    pub pad: u32,
}

impl Header {
    /// A header that is still to be read.
    pub const EMPTY: Self = Self {
        tuple: RawTuple::NONE,
        l4: [0; 4],
        l4_at: 0,
        end: u32::MAX,
        ip_id: 0,
        fragment: 0,
        datagram: 0,
        pad: 0,
    };

    /// Reads the header at `at`: IPv4, IPv6 or ARP by `protocol` (Ethernet number; zero: IP by its version). False
    /// when there is none that can be read. Written in place, since stack is dear in the kernel programs.
    #[inline(always)]
    pub fn read<B: Bytes + ?Sized>(&mut self, bytes: &B, protocol: u16, at: u32) -> bool {
        let read = match protocol {
            ETH_ARP => self.arp(bytes, at),
            ETH_IPV4 | ETH_IPV6 | 0 => self.ip(bytes, protocol, at),
            _ => None,
        };
        if read.is_none() {
            return false;
        }
        // one path for the verifier from here on, whatever the header was
        B::merge(self);
        if self.tuple.proto != PROTO_ARP {
            self.transport(bytes);
        }
        true
    }

    #[inline(always)]
    fn ip<B: Bytes + ?Sized>(&mut self, bytes: &B, protocol: u16, at: u32) -> Option<()> {
        let [first, second, third, fourth, fifth] = bytes.words::<5>(at)?;
        let word = u32::from_be(first);
        let second = u32::from_be(second);
        match word >> 28 {
            4 if protocol != ETH_IPV6 => {
                let ihl = (word >> 24) & 0xf;
                if ihl < 5 {
                    return None;
                }
                self.tuple.family = FAMILY_V4;
                self.tuple.proto = (u32::from_be(third) >> 16) as u8;
                self.tuple.src[0] = fourth;
                self.tuple.dst[0] = fifth;
                self.ip_id = second >> 16;
                self.fragment = (second & 0x1fff) * 8;
                if second & 0x3fff != 0 {
                    // an identification of zero counts too
                    self.datagram = self.ip_id | 0x1_0000;
                }
                self.l4_at = at + ihl * 4;
                self.end = ending(at, word & 0xffff);
            }
            6 if protocol != ETH_IPV4 => {
                let [src, dst @ ..] = bytes.words::<5>(at + 20)?;
                self.tuple.family = FAMILY_V6;
                self.tuple.src = [third, fourth, fifth, src];
                self.tuple.dst = dst;
                self.end = ending(at + 40, second >> 16);
                self.l4_at = at + 40;
                self.extensions(bytes, (second >> 8) as u8)?;
            }
            _ => return None,
        }
        Some(())
    }

    #[inline(always)]
    fn arp<B: Bytes + ?Sized>(&mut self, bytes: &B, at: u32) -> Option<()> {
        // hardware 1, IPv4, lengths 6 and 4, operation; then sender MAC, sender IP, target MAC, target IP
        let [_, sizes] = bytes.words::<2>(at)?;
        let [sender] = bytes.words::<1>(at + 14)?;
        let [target] = bytes.words::<1>(at + 24)?;
        let sizes = u32::from_be(sizes);
        if sizes >> 16 != 0x0604 {
            return None;
        }
        self.tuple.src[0] = sender;
        self.tuple.dst[0] = target;
        self.tuple.sport = sizes as u16;
        self.tuple.family = FAMILY_V4;
        self.tuple.proto = PROTO_ARP;
        self.l4_at = at;
        self.end = at + 28;
        Some(())
    }

    /// Walks the IPv6 extension headers from `l4_at` on.
    #[inline(always)]
    fn extensions<B: Bytes + ?Sized>(&mut self, bytes: &B, first: u8) -> Option<()> {
        let mut next = first;
        let mut left = B::opaque(u64::from(MAX_EXTENSIONS));
        while left > 0 {
            left -= 1;
            self.l4_at = B::forget(u64::from(self.l4_at)) as u32;
            match next {
                0 | 43 | 60 | 51 => {
                    let [word] = bytes.words::<1>(self.l4_at)?;
                    let word = u32::from_be(word);
                    let units = (word >> 16) & 0xff;
                    // the authentication header counts in units of four bytes
                    self.l4_at += if next == 51 {
                        (units + 2) * 4
                    } else {
                        (units + 1) * 8
                    };
                    next = (word >> 24) as u8;
                }
                44 => {
                    let [word, id] = bytes.words::<2>(self.l4_at)?;
                    let word = u32::from_be(word);
                    self.fragment = word & 0xfff8;
                    self.datagram = u32::from_be(id);
                    self.l4_at += 8;
                    next = (word >> 24) as u8;
                    if self.fragment != 0 {
                        self.ip_id = self.datagram;
                        break;
                    }
                }
                _ => break,
            }
        }
        self.tuple.proto = next;
        Some(())
    }

    /// Reads what stands above IP. A packet too short for it keeps zero ports.
    #[inline(always)]
    fn transport<B: Bytes + ?Sized>(&mut self, bytes: &B) {
        if let Some(words) = bytes.words::<4>(self.l4_at) {
            self.l4 = words;
        } else if let Some([first, second]) = bytes.words::<2>(self.l4_at) {
            self.l4 = [first, second, 0, 0];
        }
        if self.fragment != 0 {
            return;
        }
        let first = u32::from_be(self.l4[0]);
        let (mut sport, mut dport) = (0, 0);
        match self.tuple.proto {
            TCP | UDP | SCTP => (sport, dport) = (first >> 16, first & 0xffff),
            ICMP | ICMP6 => {
                sport = first >> 24;
                if is_echo(self.tuple.proto, sport) {
                    dport = u32::from_be(self.l4[1]) >> 16;
                }
            }
            _ => {}
        }
        B::merge(&mut self.l4);
        self.tuple.sport = B::forget(u64::from(sport)) as u16;
        self.tuple.dport = B::forget(u64::from(dport)) as u16;
    }

    /// The flags byte of the TCP header; zero for other packets.
    #[inline(always)]
    #[must_use]
    pub fn tcp_flags(&self) -> u32 {
        if self.tuple.proto == TCP {
            (u32::from_be(self.l4[3]) >> 16) & 0xff
        } else {
            0
        }
    }

    /// An ICMP message with an identifier.
    #[inline(always)]
    #[must_use]
    pub fn is_echo(&self) -> bool {
        is_echo(self.tuple.proto, u32::from(self.tuple.sport))
    }

    /// An ICMP error, which quotes the packet that it is about.
    #[inline(always)]
    #[must_use]
    pub fn is_error(&self) -> bool {
        is_error_type(self.tuple.proto, u32::from(self.tuple.sport)) && self.fragment == 0
    }

    /// ARP, or a message of IPv6 neighbour discovery.
    #[inline(always)]
    #[must_use]
    pub fn is_neighbor(&self) -> bool {
        self.tuple.proto == PROTO_ARP
            || is_neighbor_type(self.tuple.proto, u32::from(self.tuple.sport))
    }

    /// Whether the packet's tuple may stand for its flow: it has all of it, and it is the flow's own.
    #[inline(always)]
    #[must_use]
    pub fn is_flow(&self) -> bool {
        self.fragment == 0
            && match self.tuple.proto {
                PROTO_ARP => false,
                ICMP | ICMP6 => self.is_echo(),
                _ => true,
            }
    }

    /// The address that a neighbour solicitation or advertisement is about.
    #[inline(always)]
    pub fn nd_target<B: Bytes + ?Sized>(&self, bytes: &B) -> Option<[u32; 4]> {
        if self.tuple.proto == ICMP6 && matches!(self.tuple.sport, 135..=137) {
            bytes.words::<4>(self.l4_at + 8)
        } else {
            None
        }
    }

    /// Protocol (as for [`Header::parse`]) and place of the packet that this one carries, if it is a tunnel's.
    #[inline(always)]
    pub fn inner<B: Bytes + ?Sized>(&self, bytes: &B, filter: &RawFilter) -> Option<Link> {
        if self.fragment != 0 {
            return None;
        }
        let (protocol, at) = match self.tuple.proto {
            IPIP => (ETH_IPV4, self.l4_at),
            IPV6 => (ETH_IPV6, self.l4_at),
            GRE => {
                let word = u32::from_be(self.l4[0]);
                if (word >> 16) & 7 != 0 {
                    return None;
                }
                // checksum, key and sequence are four bytes each
                let optional = ((word >> 31) & 1) + ((word >> 29) & 1) + ((word >> 28) & 1);
                (word as u16, self.l4_at + 4 + 4 * optional)
            }
            UDP => {
                let port = self.tuple.dport;
                let first = u32::from_be(self.l4[2]);
                let [v0, v1, v2, v3] = filter.vxlan_ports;
                let [g0, g1] = filter.geneve_ports;
                let [r0, r1] = filter.raw_ip_ports;
                if port == 0 {
                    return None;
                } else if port == v0 || port == v1 || port == v2 || port == v3 {
                    // the flag that says the VNI is valid
                    if first & 0x0800_0000 == 0 {
                        return None;
                    }
                    (ETH_TEB, self.l4_at + 16)
                } else if port == g0 || port == g1 {
                    (first as u16, self.l4_at + 16 + ((first >> 24) & 0x3f) * 4)
                } else if port == r0 || port == r1 {
                    (0, self.l4_at + 8)
                } else {
                    return None;
                }
            }
            _ => return None,
        };
        match protocol {
            ETH_TEB => Link::ethernet(bytes, at),
            ETH_IPV4 | ETH_IPV6 | 0 => Some(Link {
                protocol,
                vlan: NO_VLAN,
                at,
            }),
            _ => None,
        }
    }

    /// Where the packet quoted by this ICMP error begins.
    #[inline(always)]
    #[must_use]
    pub fn quoted(&self) -> Link {
        Link {
            protocol: 0,
            vlan: NO_VLAN,
            at: self.l4_at + 8,
        }
    }

    /// The fingerprint of the packet below this header.
    #[inline(always)]
    pub fn fingerprint<B: Bytes + ?Sized>(&self, bytes: &B) -> u64 {
        let [w0, w1, w2, w3] = self.l4;
        let (mut kind, mut first, mut second) = (self.fragment, 0, 0);
        let mut payload_at = self.l4_at;
        if self.fragment == 0 {
            match self.tuple.proto {
                TCP => {
                    let word = u32::from_be(w3);
                    kind = (word >> 16) & 0x16;
                    first = u32::from_be(w1);
                    second = u32::from_be(w2);
                    // sequence and IP id tell segments apart; the payload of a sender is seldom linear
                    payload_at = self.end;
                }
                UDP => {
                    first = u32::from_be(w1) >> 16;
                    payload_at += 8;
                }
                ICMP | ICMP6 => {
                    kind = u32::from_be(w0) >> 16;
                    first = u32::from_be(w1) & 0xffff;
                    payload_at += 8;
                }
                PROTO_ARP => {
                    kind = u32::from(self.tuple.sport);
                    first = self.tuple.src[0];
                    second = self.tuple.dst[0];
                    // without a header of its own there is no payload: what is read must not depend on where the packet begins
                    payload_at = self.end;
                }
                _ => {}
            }
        }
        // one path for the verifier from here on, whatever the protocol was
        let kind = B::forget(u64::from(kind)) as u32;
        let both = B::forget(u64::from(first) << 32 | u64::from(second));
        let payload_at = B::forget(u64::from(payload_at)) as u32;
        B::meet();
        let left = self.end.saturating_sub(payload_at);
        let payload = if left > 0 && payload_at > 0 {
            bytes.head(payload_at, if left > 8 { 8 } else { left })
        } else {
            0
        };
        let parts = Parts {
            ip_id: self.ip_id,
            proto: self.tuple.proto,
            kind,
            first: (both >> 32) as u32,
            second: both as u32,
            payload: B::forget(payload),
        };
        parts.hash()
    }
}

/// Whether an ICMP message of this type has an identifier.
#[inline(always)]
const fn is_echo(proto: u8, kind: u32) -> bool {
    match proto {
        ICMP => matches!(kind, 0 | 8 | 13 | 14),
        ICMP6 => matches!(kind, 128 | 129),
        _ => false,
    }
}

/// Where `len` bytes at `at` end. A length of zero is that of a packet over 64 KiB: a GSO one.
#[inline(always)]
const fn ending(at: u32, len: u32) -> u32 {
    if len == 0 { u32::MAX } else { at + len }
}

/// A hash of a flow that is the same for both directions and for both ICMP echo types; with `datagram` (of
/// [`Header::datagram`], else zero) that of one fragmented datagram, whose later fragments know no ports.
#[inline(always)]
#[must_use]
pub fn flow_hash<B: Barrier + ?Sized>(tuple: &RawTuple, datagram: u32, generation: u32) -> u64 {
    // without a branch, so that the verifier walks one path
    let proto = u64::from(tuple.proto);
    let icmp = is_zero::<B>((proto ^ u64::from(ICMP)) * (proto ^ u64::from(ICMP6)));
    let fragment = is_some::<B>(u64::from(datagram));
    let (sport, dport) = (u64::from(tuple.sport), u64::from(tuple.dport));
    let source = (sport * (icmp ^ 1)) | (dport * icmp);
    let (a, b) = (source * (fragment ^ 1), (dport * (fragment ^ 1)) | fragment);
    let end = |address: &[u32; 4], port: u64| {
        let [w0, w1, w2, w3] = *address;
        let high = (u64::from(w0) << 32 | u64::from(w1)).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        let low = (u64::from(w2) << 32 | u64::from(w3)) ^ (port << 20);
        let mixed = (high ^ (high >> 29) ^ low).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed ^ (mixed >> 32)
    };
    let ends = end(&tuple.src, a).wrapping_add(end(&tuple.dst, b));
    let salt = u64::from(generation) << 16 | u64::from(tuple.proto) << 8 | u64::from(tuple.family);
    let mixed = (ends ^ salt ^ u64::from(datagram) << 32).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    (mixed ^ (mixed >> 31)) | 1
}

impl Bytes for [u8] {
    fn half(&self, at: u32) -> Option<u16> {
        let bytes = self.get(at as usize..)?.first_chunk::<2>()?;
        Some(u16::from_ne_bytes(*bytes))
    }

    fn words<const N: usize>(&self, at: u32) -> Option<[u32; N]> {
        let bytes = self.get(at as usize..)?.get(..4 * N)?;
        let mut words = [0; N];
        for (word, bytes) in words.iter_mut().zip(bytes.as_chunks::<4>().0) {
            *word = u32::from_ne_bytes(*bytes);
        }
        Some(words)
    }

    fn head(&self, at: u32, len: u32) -> u64 {
        let mut head = [0; 8];
        if let Some(bytes) = self
            .get(at as usize..)
            .and_then(|rest| rest.get(..len as usize))
        {
            for (to, from) in head.iter_mut().zip(bytes) {
                *to = *from;
            }
        }
        u64::from_ne_bytes(head)
    }
}

#[cfg(test)]
#[expect(
    clippy::indexing_slicing,
    reason = "packets of known length, written in the tests"
)]
mod tests;
