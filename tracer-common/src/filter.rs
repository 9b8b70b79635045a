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

use crate::barrier::Barrier;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use crate::event::{FLAG_MATCH_FORWARD, FLAG_MATCH_REPLY};
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
    /// [`CLAUSE_INNER`] are the caller's.
    #[inline(always)]
    #[must_use]
    pub fn matches(&self, tuple: &RawTuple, tcp_flags: u8) -> bool {
        self.differences(tuple, tcp_flags, false) == 0
    }

    /// As [`RawClause::matches`], with the tests left out whose field is zero in `tuple`: for sockets and route
    /// lookups, which may not know all of it. TCP flags are not asked.
    #[inline(always)]
    #[must_use]
    pub fn matches_loosely(&self, tuple: &RawTuple) -> bool {
        self.differences(tuple, self.tcp_flags, true) == 0
    }

    /// Zero when every test is met. Written without branches, so that the verifier walks one path.
    #[inline(always)]
    fn differences(&self, tuple: &RawTuple, tcp_flags: u8, loose: bool) -> u32 {
        // a field that a loose tuple does not know is multiplied by zero
        let known = |value: u32| u32::from(!loose || value != 0);
        let [s0, s1, s2, s3] = tuple.src;
        let [ws0, ws1, ws2, ws3] = self.src;
        let [ms0, ms1, ms2, ms3] = self.src_mask;
        let src = ((s0 ^ ws0) & ms0) | ((s1 ^ ws1) & ms1) | ((s2 ^ ws2) & ms2) | ((s3 ^ ws3) & ms3);
        let mut differs = src * known(s0 | s1 | s2 | s3);
        let [d0, d1, d2, d3] = tuple.dst;
        let [wd0, wd1, wd2, wd3] = self.dst;
        let [md0, md1, md2, md3] = self.dst_mask;
        let dst = ((d0 ^ wd0) & md0) | ((d1 ^ wd1) & md1) | ((d2 ^ wd2) & md2) | ((d3 ^ wd3) & md3);
        differs |= dst * known(d0 | d1 | d2 | d3);
        let proto = u32::from(tuple.proto);
        differs |= ((proto ^ u32::from(self.proto)) & u32::from(self.proto_mask)) * known(proto);
        differs |= u32::from((tcp_flags ^ self.tcp_flags) & self.tcp_mask);
        // family 0 asks for neither: the product is zero then
        differs |= u32::from(tuple.family ^ self.family) * u32::from(self.family);
        // 1 for ARP and a clause that leaves the protocol open
        differs |= ((proto + 1) >> 8) & u32::from(!self.proto_mask);
        // a product of three differences is zero for the three protocols with ports
        let portless = (proto ^ 6) * (proto ^ 17) * (proto ^ 132) * known(proto);
        differs |= portless * u32::from((self.flags / CLAUSE_PORTED) & 1);
        // the sign bit of span - distance tells "outside the range"
        let sport = u32::from(tuple.sport.wrapping_sub(self.sport_lo));
        let dport = u32::from(tuple.dport.wrapping_sub(self.dport_lo));
        let outside = |span: u16, distance: u32| u32::from(span).wrapping_sub(distance) >> 31;
        differs |= outside(self.sport_span, sport) * known(u32::from(tuple.sport));
        differs |= outside(self.dport_span, dport) * known(u32::from(tuple.dport));
        differs
    }
}

impl RawClause {
    /// Whether a packet with this VLAN id (0xffff: none), from a tunnel or not, is one the clause speaks of.
    #[inline(always)]
    const fn admits(&self, packet: &Asked) -> bool {
        let vlan = match self.vlan {
            VLAN_ANY => true,
            VLAN_SOME => packet.vlan != VLAN_ANY,
            wanted => packet.vlan == wanted,
        };
        // ARP and ND are asked for by their protocol only, never by an address alone
        let neighbor = !packet.neighbor || self.proto_mask != 0;
        let inner = packet.inner || self.flags & CLAUSE_INNER == 0;
        vlan && neighbor && inner
    }
}

/// What the clauses are asked about.
#[derive(Clone, Copy, Debug)]
pub struct Asked {
    /// Flags byte of the TCP header.
    pub tcp_flags: u8,
    /// VLAN id; 0xffff: no tag.
    pub vlan: u16,
    /// The header stands inside a tunnel.
    pub inner: bool,
    /// The packet is ARP or ND.
    pub neighbor: bool,
    /// The tuple is a socket's or a route lookup's: its zero fields match anything.
    pub loose: bool,
}

impl Asked {
    /// About a socket or a route lookup.
    pub const LOOSE: Self = Self {
        tcp_flags: 0,
        vlan: VLAN_ANY,
        inner: false,
        neighbor: false,
        loose: true,
    };
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

impl RawFilter {
    /// FLAG_MATCH_FORWARD when `tuple` is asked for, else FLAG_MATCH_REPLY when its answer's tuple is, else zero.
    /// Reads the list twice, with the tuple reversed in between, and leaves the tuple as it was.
    #[inline(always)]
    #[must_use]
    pub fn matches<B: Barrier>(&self, tuple: &mut RawTuple, packet: &Asked) -> u32 {
        let mut found = 0;
        let mut reading = 0;
        let readings = B::opaque(2);
        while reading < readings {
            if found == 0 && self.reads::<B>(tuple, packet, reading != 0) {
                found = if reading == 0 {
                    FLAG_MATCH_FORWARD
                } else {
                    FLAG_MATCH_REPLY
                };
            }
            tuple.reverse();
            reading += 1;
        }
        found
    }

    /// Whether the list matches the tuple in this one direction.
    #[inline(always)]
    fn reads<B: Barrier>(&self, tuple: &mut RawTuple, packet: &Asked, reply: bool) -> bool {
        let mut spoiled = false;
        for clause in self.clauses.iter().take(self.clauses_len as usize) {
            B::pin(tuple);
            let hit = clause.admits(packet)
                && if packet.loose {
                    clause.matches_loosely(tuple)
                } else {
                    clause.matches(tuple, packet.tcp_flags)
                };
            if clause.flags & CLAUSE_NEGATE != 0 {
                spoiled |= hit;
            } else if hit && !spoiled && !(reply && clause.flags & CLAUSE_ONE_WAY != 0) {
                return true;
            } else {
                spoiled = false;
            }
        }
        false
    }

    /// Whether ARP and ND messages about `address` are of interest.
    #[inline(always)]
    #[must_use]
    pub fn is_neighbor(&self, address: &[u32; 4]) -> bool {
        let [a0, a1, a2, a3] = *address;
        for [b0, b1, b2, b3] in self.neighbors.iter().take(self.neighbors_len as usize) {
            if (a0 ^ b0) | (a1 ^ b1) | (a2 ^ b2) | (a3 ^ b3) == 0 {
                return true;
            }
        }
        false
    }

    /// Whether the namespace with this inode is looked at.
    #[inline(always)]
    #[must_use]
    pub fn admits_netns(&self, inode: u32) -> bool {
        if self.netns_len == 0 {
            return true;
        }
        for wanted in self.netns.iter().take(self.netns_len as usize) {
            if *wanted == inode {
                return true;
            }
        }
        false
    }
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
