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

use crate::barrier::{Barrier, is_some, is_zero, sign};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use crate::event::{FLAG_MATCH_FORWARD, FLAG_MATCH_LEARNED, FLAG_MATCH_REPLY};
use crate::prefilter::{Bloom, Ends, Kinds, Prefilter, of_clauses};
use crate::tuple::{RawTuple, wide};

// `matches` makes the flags of its bits
const _: () = assert!(FLAG_MATCH_FORWARD == 1 && FLAG_MATCH_REPLY == 2 && FLAG_MATCH_LEARNED == 4);
const _: () = assert!(CLAUSE_NEGATE == 1);

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

/// Not asked for, but known to belong to what is: a match is told as [`FLAG_MATCH_LEARNED`].
pub const CLAUSE_LEARNED: u8 = 1 << 4;

/// `vlan` of a clause that does not ask for one.
pub const VLAN_ANY: u16 = 0xffff;
/// `vlan` of a clause that asks for some VLAN tag.
pub const VLAN_SOME: u16 = 0xfffe;

/// One conjunction of tests. 88 bytes. All zero except `sport_span`, `dport_span` = 65535 and `vlan` =
/// [`VLAN_ANY`] matches every IP packet: see [`RawClause::ANY`]. ARP is matched only by clauses that name it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C, align(8))]
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
    /// [`CLAUSE_INNER`] are not asked.
    #[must_use]
    pub fn matches(&self, tuple: &RawTuple, tcp_flags: u8) -> bool {
        let packet = Asked {
            tcp_flags: u32::from(tcp_flags),
            ..Asked::LOOSE
        };
        let (mut tuple, reply) = (*tuple, answer_ports(tuple));
        let [differs, _] = self.differences::<[u8]>(&mut tuple, &reply, &packet, false);
        differs == 0
    }

    /// Zero when every test is met: by the tuple, and by that of its answer, whose ports are `reply`. Without branches,
    /// so that the verifier walks one path. With `loose`, tests are left out whose field is zero, and TCP flags are not
    /// asked.
    #[inline(always)]
    fn differences<B: Barrier + ?Sized>(
        &self,
        tuple: &mut RawTuple,
        reply: &[u32; 2],
        packet: &Asked,
        loose: bool,
    ) -> [u64; 2] {
        // a field that a loose tuple does not know is multiplied by zero
        let known = |value: u64| if loose { is_some::<B>(value) } else { 1 };
        let any = |[one, other]: [u64; 2]| one | other;
        let apart = |have: [u64; 2], want: [u64; 2], mask: [u64; 2]| {
            let ([h0, h1], [w0, w1], [m0, m1]) = (have, want, mask);
            (((h0 ^ w0) & m0) | ((h1 ^ w1) & m1)) * known(h0 | h1)
        };
        // the sign bit of span - distance tells "outside the range"
        let port = |have: u32, low: u16, span: u16| {
            let distance = u64::from((have as u16).wrapping_sub(low));
            sign::<B>(u64::from(span).wrapping_sub(distance)) * known(u64::from(have))
        };
        let [src, dst] = tuple.ends();
        let (want, mask) = (wide(self.src), wide(self.src_mask));
        let mut asked = apart(src, want, mask);
        let mut answer = apart(dst, want, mask);
        // pinned in between: registers are few
        B::pin(tuple);
        let [src, dst] = tuple.ends();
        let (want, mask) = (wide(self.dst), wide(self.dst_mask));
        asked |= apart(dst, want, mask);
        answer |= apart(src, want, mask);
        B::pin(tuple);
        let (sport, dport) = (u32::from(tuple.sport), u32::from(tuple.dport));
        let [reply_sport, reply_dport] = *reply;
        asked |= port(sport, self.sport_lo, self.sport_span);
        asked |= port(dport, self.dport_lo, self.dport_span);
        answer |= port(reply_sport, self.sport_lo, self.sport_span);
        answer |= port(reply_dport, self.dport_lo, self.dport_span);
        if loose {
            // of the addresses that are asked for, or else of the ports, one at least must have been there to compare
            let none_of = |asked: [u64; 2], have: [u64; 2]| {
                let compared = (asked[0] & known(have[0])) | (asked[1] & known(have[1]));
                (asked[0] | asked[1]) & (compared ^ 1)
            };
            let masks = [wide(self.src_mask), wide(self.dst_mask)];
            let addresses = masks.map(|mask| is_some::<B>(any(mask)));
            let ports = [self.sport_span, self.dport_span]
                .map(|span| is_some::<B>(u64::from(span ^ u16::MAX)));
            let by_ports = (addresses[0] | addresses[1]) ^ 1;
            let [src, dst] = tuple.ends();
            asked |= none_of(addresses, [any(src), any(dst)]);
            asked |= by_ports & none_of(ports, [u64::from(sport), u64::from(dport)]);
            answer |= none_of(addresses, [any(dst), any(src)]);
            answer |= by_ports & none_of(ports, [u64::from(reply_sport), u64::from(reply_dport)]);
        }
        B::pin(tuple);
        let proto = u64::from(tuple.proto);
        let mut either =
            ((proto ^ u64::from(self.proto)) * known(proto)) & u64::from(self.proto_mask);
        if !loose {
            let flags = packet.tcp_flags ^ u32::from(self.tcp_flags);
            either |= u64::from(flags & u32::from(self.tcp_mask));
        }
        // family 0 asks for neither: the product is zero then
        either |= u64::from(tuple.family ^ self.family) * u64::from(self.family);
        // 1 for ARP and a clause that leaves the protocol open
        either |= (B::opaque(proto + 1) >> 8) & u64::from(!self.proto_mask);
        // a product of three differences is zero for the three protocols with ports
        let portless = (proto ^ 6) * (proto ^ 17) * (proto ^ 132) * known(proto);
        either |= portless * (u64::from(self.flags / CLAUSE_PORTED) & 1);
        [asked | either, answer | either]
    }

    /// Zero when the clause speaks of packets with this VLAN id, from a tunnel or not.
    #[inline(always)]
    fn refuses<B: Barrier + ?Sized>(&self, packet: &Asked) -> u64 {
        let (want, have) = (u64::from(self.vlan), u64::from(packet.vlan));
        let not_any = is_some::<B>(want ^ u64::from(VLAN_ANY));
        let not_some = is_some::<B>(want ^ u64::from(VLAN_SOME));
        let untagged = is_zero::<B>(have ^ u64::from(VLAN_ANY));
        let mut refuses = (want ^ have) * not_any * not_some;
        refuses |= (not_some ^ 1) & untagged;
        // ARP and ND are asked for by their protocol only, never by an address alone
        refuses |= u64::from(packet.neighbor) & u64::from(!self.proto_mask);
        refuses | (u64::from(self.flags / CLAUSE_INNER) & u64::from(1 ^ packet.inner))
    }
}

/// The ports of the answer's tuple: ICMP's type and identifier stay where they are.
#[inline(always)]
fn answer_ports(tuple: &RawTuple) -> [u32; 2] {
    let (sport, dport) = (u32::from(tuple.sport), u32::from(tuple.dport));
    if tuple.has_ports() {
        [dport, sport]
    } else {
        [sport, dport]
    }
}

/// What the clauses are asked about, beside a tuple. Words, so that [`Barrier::merge`] can have them.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub struct Asked {
    /// Flags byte of the TCP header.
    pub tcp_flags: u32,
    /// VLAN id; 0xffff: no tag.
    pub vlan: u32,
    /// 1 for a header inside a tunnel.
    pub inner: u32,
    /// 1 for ARP and ND.
    pub neighbor: u32,
}

impl Asked {
    /// About a socket or a route lookup.
    pub const LOOSE: Self = Self {
        tcp_flags: 0,
        vlan: VLAN_ANY as u32,
        inner: 0,
        neighbor: 0,
    };
}

/// One whole filter.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct RawFilter {
    /// LOOK_*: at which tracepoints packets are looked at that no classifier tagged.
    pub look_at: u32,
    /// Clauses in use.
    pub clauses_len: u32,
    /// What the clauses may match. See [`RawFilter::sum_up`]. In front, with what else is looked at for each packet.
    pub kinds: Kinds,
    /// Namespaces in use; zero: all.
    pub netns_len: u32,
    /// Addresses in use in `neighbors`.
    pub neighbors_len: u32,
    /// Changes with every filter: tuples learned under another generation no longer count.
    pub generation: u32,
    /// Zero.
    pub pad: u32,
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
    /// What the clauses may match, where the kind may.
    pub ends: Ends,
    /// UDP destination ports that carry another packet.
    pub tunnels: Bloom,
}

/// Packets that are received, before a classifier sees them: generic XDP comes between.
pub const LOOK_RECEIVED: u32 = 1 << 0;
/// Packets that are sent: an interface has no classifier.
pub const LOOK_SENT: u32 = 1 << 1;

/// The global that user space writes: two slots and the number of the one in force.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct RawFilterPair {
    /// Events a second.
    pub budget: u32,
    /// Zero.
    pub pad: u32,
    /// 0 or 1.
    pub active: u32,
    /// Zero: no program does anything yet (attached, but the filter is not written).
    pub armed: u32,
    /// The slots.
    pub slots: [RawFilter; 2],
}

impl RawFilter {
    /// Fills in what is derived from clauses and ports; to be called when they are complete.
    pub fn sum_up(&mut self) {
        let used = self.clauses.get(..self.clauses_len as usize);
        (self.kinds, self.ends) = of_clauses(used.unwrap_or(&self.clauses));
        self.tunnels = Bloom::NONE;
        let ports = self.vxlan_ports.iter().chain(&self.geneve_ports);
        for port in ports.chain(&self.raw_ip_ports).filter(|port| **port != 0) {
            self.tunnels.add(u32::from(*port));
        }
    }

    /// What the clauses may match.
    #[inline(always)]
    #[must_use]
    pub fn prefilter(&self) -> Prefilter<'_> {
        Prefilter {
            kinds: &self.kinds,
            ends: &self.ends,
        }
    }

    /// FLAG_MATCH_FORWARD when `tuple` is asked for, else FLAG_MATCH_REPLY when its answer's tuple is; FLAG_MATCH_LEARNED
    /// too when a clause with [`CLAUSE_LEARNED`] names it in either direction; else zero.
    ///
    /// Both readings of the list go side by side through one loop without a branch but its end.
    #[inline(always)]
    #[must_use]
    pub fn matches<B: Barrier + ?Sized>(
        &self,
        tuple: &mut RawTuple,
        packet: &Asked,
        loose: bool,
    ) -> u32 {
        let mut packet = *packet;
        B::merge(&mut packet);
        let mut reply = answer_ports(tuple);
        B::merge(&mut reply);
        B::merge(tuple);
        // bit 0 for the asked direction, bit 1 for the answer
        let (mut found, mut spoiled) = (0, 0);
        for clause in self.clauses.iter().take(self.clauses_len as usize) {
            B::pin(tuple);
            B::pin(&mut packet);
            B::pin(&mut reply);
            let [asked, answer] = clause.differences::<B>(tuple, &reply, &packet, loose);
            let refuses = clause.refuses::<B>(&packet);
            let hits = is_zero::<B>(asked | refuses) | (is_zero::<B>(answer | refuses) << 1);
            let flags = B::opaque(u64::from(clause.flags));
            let negate = B::opaque(flags & u64::from(CLAUSE_NEGATE));
            let one_way = B::opaque((flags / u64::from(CLAUSE_ONE_WAY)) & 1);
            let positive = hits & !spoiled & ((3 - 2 * one_way) * (1 - negate));
            let learned = B::opaque((flags / u64::from(CLAUSE_LEARNED)) & 1);
            let either = positive | (positive >> 1);
            found |= (positive * (learned ^ 1)) | ((either & learned) << 2);
            // a positive clause ends its term: the next begins unspoiled
            spoiled = (spoiled | hits) * negate;
        }
        // the asked direction first, when both match
        B::forget(found & !((found & 1) << 1)) as u32
    }

    /// Whether ARP and ND messages about one of these addresses are of interest.
    #[inline(always)]
    #[must_use]
    pub fn is_neighbor<B: Barrier + ?Sized>(&self, one: &[u32; 4], other: &[u32; 4]) -> bool {
        let (one, other) = (wide(*one), wide(*other));
        let differs = |a: [u64; 2], b: [u64; 2]| (a[0] ^ b[0]) | (a[1] ^ b[1]);
        let mut found = 0;
        for wanted in self.neighbors.iter().take(self.neighbors_len as usize) {
            let wanted = wide(*wanted);
            found |= is_zero::<B>(differs(wanted, one)) | is_zero::<B>(differs(wanted, other));
        }
        B::forget(found) != 0
    }

    /// Whether the namespace with this inode is looked at.
    #[inline(always)]
    #[must_use]
    pub fn admits_netns<B: Barrier + ?Sized>(&self, inode: u32) -> bool {
        let mut found = is_zero::<B>(u64::from(self.netns_len));
        for wanted in self.netns.iter().take(self.netns_len as usize) {
            found |= is_zero::<B>(u64::from(*wanted ^ inode));
        }
        B::forget(found) != 0
    }
}

#[cfg(test)]
mod tests {
    use zerocopy::FromZeros;

    use super::{
        Asked, CLAUSE_LEARNED, CLAUSE_NEGATE, CLAUSE_ONE_WAY, CLAUSE_PORTED, RawClause, RawFilter,
        VLAN_SOME,
    };
    use crate::event::{FLAG_MATCH_FORWARD, FLAG_MATCH_LEARNED, FLAG_MATCH_REPLY};
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

    fn filter(clauses: &[RawClause]) -> RawFilter {
        let mut filter = RawFilter::new_zeroed();
        filter.clauses_len = clauses.len() as u32;
        for (to, from) in filter.clauses.iter_mut().zip(clauses) {
            *to = *from;
        }
        filter
    }

    #[test]
    fn a_lookup_without_ports_is_not_that_of_a_port_alone() {
        let port = RawClause {
            dport_lo: 4242,
            dport_span: 0,
            flags: CLAUSE_PORTED,
            ..RawClause::ANY
        };
        let lookup = |sport, dport, dst| RawTuple {
            dst: [dst, 0, 0, 0],
            sport,
            dport,
            ..tuple(6)
        };
        let matches = |clause: RawClause, mut tuple: RawTuple| {
            filter(&[clause]).matches::<[u8]>(&mut tuple, &Asked::LOOSE, true) != 0
        };
        assert!(!matches(port, lookup(0, 0, 9)));
        assert!(matches(port, lookup(1, 4242, 9)));
        assert!(matches(port, lookup(4242, 1, 9)));
        // with an address it may be
        let both = RawClause {
            dst: [9, 0, 0, 0],
            dst_mask: [u32::MAX; 4],
            ..port
        };
        assert!(matches(both, lookup(0, 0, 9)));
    }

    fn to(dst: u32) -> RawClause {
        RawClause {
            dst: [dst, 0, 0, 0],
            dst_mask: [u32::MAX, 0, 0, 0],
            ..RawClause::ANY
        }
    }

    fn tcp(src: u32, sport: u16, dst: u32, dport: u16) -> RawTuple {
        RawTuple {
            src: [src, 0, 0, 0],
            dst: [dst, 0, 0, 0],
            sport,
            dport,
            ..tuple(6)
        }
    }

    fn asked(filter: &RawFilter, mut tuple: RawTuple) -> u32 {
        let before = tuple;
        let flags = filter.matches::<[u8]>(&mut tuple, &Asked::LOOSE, false);
        assert_eq!(tuple, before);
        flags
    }

    #[test]
    fn replies_match_unless_one_way() {
        let there = tcp(1, 1000, 2, 80);
        assert_eq!(asked(&filter(&[to(2)]), there), FLAG_MATCH_FORWARD);
        assert_eq!(asked(&filter(&[to(2)]), there.reversed()), FLAG_MATCH_REPLY);
        let one_way = RawClause {
            flags: CLAUSE_ONE_WAY,
            ..to(2)
        };
        assert_eq!(asked(&filter(&[one_way]), there.reversed()), 0);
        assert_eq!(asked(&filter(&[]), there), 0);
    }

    #[test]
    fn a_negated_clause_spoils_its_own_term_in_its_own_direction() {
        let not_80 = RawClause {
            dport_lo: 80,
            dport_span: 0,
            flags: CLAUSE_NEGATE,
            ..RawClause::ANY
        };
        let terms = filter(&[not_80, to(2), to(3)]);
        assert_eq!(asked(&terms, tcp(1, 1000, 2, 80)), 0);
        assert_eq!(asked(&terms, tcp(1, 1000, 2, 81)), FLAG_MATCH_FORWARD);
        assert_eq!(asked(&terms, tcp(1, 1000, 3, 80)), FLAG_MATCH_FORWARD);
        assert_eq!(asked(&terms, tcp(2, 81, 1, 80)), FLAG_MATCH_REPLY);
    }

    #[test]
    fn what_was_learned_is_told_as_such() {
        let learned = RawClause {
            flags: CLAUSE_LEARNED,
            ..to(3)
        };
        let both = filter(&[to(2), learned]);
        assert_eq!(asked(&both, tcp(1, 1000, 2, 80)), FLAG_MATCH_FORWARD);
        assert_eq!(asked(&both, tcp(1, 1000, 3, 80)), FLAG_MATCH_LEARNED);
        assert_eq!(asked(&both, tcp(3, 80, 1, 1000)), FLAG_MATCH_LEARNED);
        assert_eq!(asked(&both, tcp(1, 1000, 4, 80)), 0);
        assert_eq!(
            asked(&both, tcp(2, 1000, 3, 80)),
            FLAG_MATCH_REPLY | FLAG_MATCH_LEARNED
        );
    }

    #[test]
    fn vlans_are_asked_for_by_number_or_at_all() {
        let ask = |want, have| {
            let filter = filter(&[RawClause {
                vlan: want,
                ..RawClause::ANY
            }]);
            let packet = Asked {
                vlan: have,
                ..Asked::LOOSE
            };
            filter.matches::<[u8]>(&mut tuple(17), &packet, false) != 0
        };
        assert!(ask(5, 5) && !ask(5, 6) && !ask(5, 0xffff));
        assert!(ask(VLAN_SOME, 6) && !ask(VLAN_SOME, 0xffff));
    }

    #[test]
    fn what_a_socket_does_not_know_is_not_asked_but_an_address_must_be_compared() {
        let port = RawClause {
            dport_lo: 80,
            dport_span: 0,
            proto: 6,
            proto_mask: 0xff,
            ..to(2)
        };
        let ask = |mut tuple| filter(&[port]).matches::<[u8]>(&mut tuple, &Asked::LOOSE, true);
        assert_eq!(ask(tcp(0, 0, 2, 0)), FLAG_MATCH_FORWARD);
        assert_eq!(ask(tcp(0, 0, 2, 81)), 0);
        assert_eq!(ask(tcp(2, 80, 0, 0)), FLAG_MATCH_REPLY);
        assert_eq!(ask(tcp(0, 0, 3, 80)), 0);
        assert_eq!(ask(tcp(0, 0, 0, 80)), 0);
    }
}
