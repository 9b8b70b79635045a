//! The tuple of a packet as both sides of the kernel boundary write it.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// `family` of a tuple that holds IPv4 addresses (and of ARP, where `proto` is [`PROTO_ARP`]).
pub const FAMILY_V4: u8 = 4;
/// `family` of a tuple that holds IPv6 addresses.
pub const FAMILY_V6: u8 = 6;
/// Pseudo protocol number for ARP: 255 is reserved by IANA and never on the wire.
pub const PROTO_ARP: u8 = 255;

/// Addresses, protocol and ports of one packet. 40 bytes.
///
/// `src` and `dst` are the address's bytes as on the wire, seen as native words (so that the kernel side loads
/// and compares them aligned); an IPv4 address is the first word, the rest zero. Ports are in host order. ICMP and ICMPv6 have the message type in `sport` and the identifier of echo messages (else
/// zero) in `dport`; ARP has the operation in `sport`. Fragments other than the first have zero ports.
/// `family` is zero where no IP packet was found. Aligned so that the kernel side compares two words of an address at once.
#[derive(
    Clone,
    Copy,
    Debug,
    Default,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    Hash,
    FromBytes,
    IntoBytes,
    Immutable,
    KnownLayout,
)]
#[repr(C, align(8))]
pub struct RawTuple {
    /// Source address.
    pub src: [u32; 4],
    /// Destination address.
    pub dst: [u32; 4],
    /// Source port, ICMP type or ARP operation.
    pub sport: u16,
    /// Destination port or ICMP echo identifier.
    pub dport: u16,
    /// FAMILY_*; zero: no tuple.
    pub family: u8,
    /// IP protocol number or [`PROTO_ARP`].
    pub proto: u8,
    /// Zero.
    pub pad: [u8; 2],
}
const _: () = assert!(size_of::<RawTuple>() == 40);

/// An address by two words at once, as they lie in memory.
#[inline(always)]
pub(crate) fn wide(words: [u32; 4]) -> [u64; 2] {
    zerocopy::transmute!(words)
}

impl RawTuple {
    /// No tuple.
    pub const NONE: Self = Self {
        src: [0; 4],
        dst: [0; 4],
        sport: 0,
        dport: 0,
        family: 0,
        proto: 0,
        pad: [0; 2],
    };

    /// Source and destination by two words at once.
    #[inline(always)]
    pub(crate) fn ends(&self) -> [[u64; 2]; 2] {
        [wide(self.src), wide(self.dst)]
    }

    /// The tuple of the answer: source and destination exchanged, ICMP type and identifier left as they are.
    #[inline(always)]
    #[must_use]
    pub const fn reversed(&self) -> Self {
        let mut reversed = *self;
        reversed.reverse();
        reversed
    }

    /// TCP, UDP, SCTP.
    #[inline(always)]
    #[must_use]
    pub const fn has_ports(&self) -> bool {
        self.proto == 6 || self.proto == 17 || self.proto == 132
    }

    /// Makes it the tuple of the answer, in place.
    #[inline(always)]
    pub const fn reverse(&mut self) {
        let [s0, s1, s2, s3] = &mut self.src;
        let [d0, d1, d2, d3] = &mut self.dst;
        core::mem::swap(s0, d0);
        core::mem::swap(s1, d1);
        core::mem::swap(s2, d2);
        core::mem::swap(s3, d3);
        if self.has_ports() {
            core::mem::swap(&mut self.sport, &mut self.dport);
        }
    }
}
