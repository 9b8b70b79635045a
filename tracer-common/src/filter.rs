//! What the kernel programs match, as user space writes it into their global data.
//!
//! A filter is a list of clauses read in order. A clause with [`CLAUSE_NEGATE`] that matches spoils the term
//! it stands in; the next clause without it ends the term: when it matches and the term is not spoiled, the
//! packet is ours. `a and not b or c` is thus `¬b, a, c`: any boolean expression in disjunctive form.
//!
//! Replies are followed by reading the whole list a second time with [`RawTuple::reversed`]; in that reading a
//! positive clause with [`CLAUSE_ONE_WAY`] ends its term without a match. Never mix the two readings clause by
//! clause: a negated clause would then exclude what only the other direction should. User space relies on this:
//! it sends one of two terms that are each other's mirror.
//!
//! Two slots and the number of the active one stand side by side: user space fills the idle slot, then changes
//! `active` with one aligned word, so no reader sees half a change.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use crate::tuple::RawTuple;

/// Most clauses in one filter.
pub const MAX_CLAUSES: usize = 16;
/// Most namespaces in [`RawFilter::netns`].
pub const MAX_NETNS: usize = 32;
/// Most addresses in [`RawFilter::neighbors`].
pub const MAX_NEIGHBORS: usize = 16;

/// A match of this clause excludes the packet from the term that the next positive clause ends.
pub const CLAUSE_NEGATE: u8 = 1 << 0;
/// The clause is not tried with source and destination exchanged.
pub const CLAUSE_ONE_WAY: u8 = 1 << 1;
/// Only headers inside a tunnel can match.
pub const CLAUSE_INNER: u8 = 1 << 2;
/// Only protocols with ports (TCP, UDP, SCTP) can match: elsewhere the port fields mean other things.
pub const CLAUSE_PORTED: u8 = 1 << 3;

/// `vlan` of a clause that does not ask for one.
pub const VLAN_ANY: u16 = 0xffff;
/// `vlan` of a clause that asks for some VLAN tag.
pub const VLAN_SOME: u16 = 0xfffe;

/// One conjunction of tests. 88 bytes. All zero except `sport_span`, `dport_span` = 65535 and `vlan` =
/// [`VLAN_ANY`] matches every IP packet: see [`RawClause::ANY`]. ARP is matched only by clauses that name it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct RawClause {
    /// Wanted source, as in [`RawTuple`], with the bits outside the mask zero.
    pub src: [u32; 4],
    /// Mask of the source.
    pub src_mask: [u32; 4],
    /// Wanted destination.
    pub dst: [u32; 4],
    /// Mask of the destination.
    pub dst_mask: [u32; 4],
    /// First source port (ICMP: type).
    pub sport_lo: u16,
    /// Last source port minus first.
    pub sport_span: u16,
    /// First destination port (ICMP: identifier).
    pub dport_lo: u16,
    /// Last destination port minus first.
    pub dport_span: u16,
    /// VLAN id, [`VLAN_ANY`] or [`VLAN_SOME`].
    pub vlan: u16,
    /// FAMILY_* or zero for both.
    pub family: u8,
    /// Protocol, compared under `proto_mask` (zero: any).
    pub proto: u8,
    /// 0xff or zero.
    pub proto_mask: u8,
    /// Wanted TCP flags under `tcp_mask`.
    pub tcp_flags: u8,
    /// Mask of TCP flags; zero: not asked.
    pub tcp_mask: u8,
    /// CLAUSE_*.
    pub flags: u8,
    /// Zero.
    pub pad: [u8; 8],
}
const _: () = assert!(size_of::<RawClause>() == 88);

impl RawClause {
    /// The clause that matches every IP packet.
    pub const ANY: Self = Self {
        src: [0; 4],
        src_mask: [0; 4],
        dst: [0; 4],
        dst_mask: [0; 4],
        sport_lo: 0,
        sport_span: u16::MAX,
        dport_lo: 0,
        dport_span: u16::MAX,
        vlan: VLAN_ANY,
        family: 0,
        proto: 0,
        proto_mask: 0,
        tcp_flags: 0,
        tcp_mask: 0,
        flags: 0,
        pad: [0; 8],
    };

    /// Whether `tuple` (with the flags byte of its TCP header) meets every test in this direction. VLAN and
    /// [`CLAUSE_INNER`] are the caller's. Written without branches, so that the verifier walks one path.
    #[inline(always)]
    #[must_use]
    pub fn matches(&self, tuple: &RawTuple, tcp_flags: u8) -> bool {
        let mut differs = 0u32;
        let [s0, s1, s2, s3] = tuple.src;
        let [d0, d1, d2, d3] = tuple.dst;
        let [ws0, ws1, ws2, ws3] = self.src;
        let [wd0, wd1, wd2, wd3] = self.dst;
        let [ms0, ms1, ms2, ms3] = self.src_mask;
        let [md0, md1, md2, md3] = self.dst_mask;
        differs |= (s0 ^ ws0) & ms0;
        differs |= (s1 ^ ws1) & ms1;
        differs |= (s2 ^ ws2) & ms2;
        differs |= (s3 ^ ws3) & ms3;
        differs |= (d0 ^ wd0) & md0;
        differs |= (d1 ^ wd1) & md1;
        differs |= (d2 ^ wd2) & md2;
        differs |= (d3 ^ wd3) & md3;
        differs |= u32::from((tuple.proto ^ self.proto) & self.proto_mask);
        differs |= u32::from((tcp_flags ^ self.tcp_flags) & self.tcp_mask);
        // family 0 asks for neither: the product is zero then
        differs |= u32::from(tuple.family ^ self.family) * u32::from(self.family);
        // 1 for ARP and a clause that leaves the protocol open
        differs |= ((u32::from(tuple.proto) + 1) >> 8) & u32::from(!self.proto_mask);
        // a product of three differences is zero for the three protocols with ports
        let portless =
            u32::from(tuple.proto ^ 6) * u32::from(tuple.proto ^ 17) * u32::from(tuple.proto ^ 132);
        differs |= portless * u32::from((self.flags / CLAUSE_PORTED) & 1);
        // the sign bit of span - distance tells "outside the range"
        let sport = u32::from(tuple.sport.wrapping_sub(self.sport_lo));
        let dport = u32::from(tuple.dport.wrapping_sub(self.dport_lo));
        differs |= u32::from(self.sport_span).wrapping_sub(sport) >> 31;
        differs |= u32::from(self.dport_span).wrapping_sub(dport) >> 31;
        differs == 0
    }
}

/// One whole filter.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct RawFilter {
    /// Clauses in use.
    pub clauses_len: u32,
    /// Namespaces in use; zero: all.
    pub netns_len: u32,
    /// Addresses in use in `neighbors`.
    pub neighbors_len: u32,
    /// Changes with every filter: tuples learned under another generation no longer count.
    pub generation: u32,
    /// UDP destination ports that carry VXLAN (4789 and 8472 first), zero where unused.
    pub vxlan_ports: [u16; 4],
    /// UDP destination ports that carry Geneve.
    pub geneve_ports: [u16; 2],
    /// UDP destination ports that carry a bare IP packet (flannel's UDP backend).
    pub raw_ip_ports: [u16; 2],
    /// Inodes of the namespaces to look at.
    pub netns: [u32; MAX_NETNS],
    /// Addresses (as in [`RawTuple`]) whose ARP and ND messages are of interest.
    pub neighbors: [[u32; 4]; MAX_NEIGHBORS],
    /// The clauses.
    pub clauses: [RawClause; MAX_CLAUSES],
}

/// The global that user space writes: two slots and the number of the one in force.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct RawFilterPair {
    /// 0 or 1.
    pub active: u32,
    /// Zero: no program does anything yet (attached, but the filter is not written).
    pub armed: u32,
    /// The slots.
    pub slots: [RawFilter; 2],
}

#[cfg(test)]
mod tests {
    use super::{CLAUSE_PORTED, RawClause};
    use crate::tuple::{FAMILY_V4, PROTO_ARP, RawTuple};

    fn tuple(proto: u8) -> RawTuple {
        RawTuple {
            family: FAMILY_V4,
            proto,
            sport: 8,
            ..RawTuple::default()
        }
    }

    #[test]
    fn arp_is_matched_by_name_only() {
        let named = RawClause {
            proto: PROTO_ARP,
            proto_mask: 0xff,
            ..RawClause::ANY
        };
        assert!(!RawClause::ANY.matches(&tuple(PROTO_ARP), 0));
        assert!(RawClause::ANY.matches(&tuple(254), 0));
        assert!(RawClause::ANY.matches(&tuple(0), 0));
        assert!(named.matches(&tuple(PROTO_ARP), 0));
        assert!(!named.matches(&tuple(6), 0));
    }

    #[test]
    fn ports_are_not_those_of_icmp() {
        let port = RawClause {
            sport_lo: 8,
            sport_span: 0,
            flags: CLAUSE_PORTED,
            ..RawClause::ANY
        };
        for proto in 0..=u8::MAX {
            let expected = [6, 17, 132].contains(&proto);
            assert_eq!(port.matches(&tuple(proto), 0), expected, "protocol {proto}");
        }
    }
}
