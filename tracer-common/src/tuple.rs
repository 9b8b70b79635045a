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
/// `family` is zero where no IP packet was found.
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
#[repr(C)]
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

impl RawTuple {
    /// The tuple of the answer: source and destination exchanged, ICMP type and identifier left as they are.
    #[inline(always)]
    #[must_use]
    pub const fn reversed(&self) -> Self {
        let ports = self.proto == 6 || self.proto == 17 || self.proto == 132;
        Self {
            src: self.dst,
            dst: self.src,
            sport: if ports { self.dport } else { self.sport },
            dport: if ports { self.sport } else { self.dport },
            family: self.family,
            proto: self.proto,
            pad: self.pad,
        }
    }
}
