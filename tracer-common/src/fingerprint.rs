//! The fingerprint of a packet: 64 bits that NAT, forwarding, encapsulation and the first cut of GSO leave alone.
//!
//! Addresses, ports, checksums, TTL and lengths that segmentation changes are not part of it; IP id, TCP
//! sequence and acknowledgement, ICMP sequence, UDP length and the first payload bytes are. The kernel computes it
//! from the innermost header that it followed; user space only compares.

/// What goes into a fingerprint. Fields that a protocol does not have are zero.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Parts {
    /// IPv4 identification; of IPv6 only in fragments other than the first, so that the first one, the whole
    /// datagram and its reassembly have one fingerprint.
    pub ip_id: u32,
    /// IP protocol.
    pub proto: u8,
    /// TCP: SYN, RST and ACK bits (PSH and FIN move when GSO cuts). ICMP: type and code. Later fragments: offset.
    pub kind: u32,
    /// TCP: sequence number. UDP: length. ICMP: sequence (not the identifier, which NAT changes).
    pub first: u32,
    /// TCP: acknowledgement number.
    pub second: u32,
    /// First eight payload bytes, zero padded; zero for TCP and where they are not in the packet's linear part.
    pub payload: u64,
}

const K0: u64 = 0x9e37_79b9_7f4a_7c15;
const K1: u64 = 0xbf58_476d_1ce4_e5b9;

impl Parts {
    /// The fingerprint; never zero, which means "none".
    #[inline(always)]
    #[must_use]
    pub const fn hash(&self) -> u64 {
        let a = ((self.ip_id as u64) << 32) | self.kind as u64;
        let b = ((self.first as u64) << 32) | self.second as u64;
        let mut h = (a ^ K0).wrapping_mul(K1);
        h = (h ^ (h >> 29) ^ b).wrapping_mul(K0);
        h = (h ^ (h >> 32) ^ self.payload).wrapping_mul(K1);
        h ^= (h >> 31) ^ ((self.proto as u64) << 56);
        h | 1
    }
}
