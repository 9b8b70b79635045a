//! What refuses nearly every packet that nobody asked for, in a few loads and before its headers are parsed: small
//! Bloom filters of the addresses, ports and protocols of a filter's clauses, or of the flows that were learned.
//!
//! What they admit is looked at in full; what they refuse cannot match. Packets in which another may be hidden
//! (tunnels, ICMP errors), neighbour discovery and headers of unusual form are always admitted.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use crate::filter::{CLAUSE_NEGATE, RawClause};
use crate::packet::{
    Bytes, ETH_ARP, ETH_IPV4, ETH_IPV6, GRE, ICMP, ICMP6, IPIP, IPV6, Link, SCTP, TCP, UDP,
    is_error_type, is_neighbor_type,
};
use crate::tuple::RawTuple;

/// Places of a Bloom filter, as a power of two.
const BITS: u32 = 9;
const PLACES: usize = 1 << BITS;
/// Most ports of one clause that are told apart.
const MOST_PORTS: u16 = 16;

/// A Bloom filter with one hash: a byte for each place, since the kernel programs put things in from several CPUs without a
/// lock, and a bit could get lost where two of them change one word.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(transparent)]
pub struct Bloom([u8; PLACES]);

impl Bloom {
    /// Holds nothing.
    pub const NONE: Self = Self([0; PLACES]);

    /// Puts in what has this hash; of which only the lower bits count.
    #[inline(always)]
    pub fn add(&mut self, hash: u32) {
        if let Some(place) = self.0.get_mut(hash as usize & (PLACES - 1)) {
            *place = 1;
        }
    }

    fn add_all(&mut self) {
        self.0 = [1; PLACES];
    }

    /// 1 when what has this hash may have been put in, else 0.
    #[inline(always)]
    fn has(&self, hash: u32) -> u64 {
        let place = self.0.get(hash as usize & (PLACES - 1));
        place.map_or(0, |place| u64::from(*place))
    }
}

/// An address in one word.
#[inline(always)]
fn fold(words: &[u32; 4]) -> u32 {
    let [w0, w1, w2, w3] = *words;
    w0 ^ w1 ^ w2 ^ w3
}

/// The hash of a folded address.
#[inline(always)]
fn hash(folded: u32) -> u32 {
    folded.wrapping_mul(0x9e37_79b1) >> (32 - BITS)
}

/// The hash of an address.
#[inline(always)]
fn of_address(words: &[u32; 4]) -> u32 {
    hash(fold(words))
}

/// The fields of one header that are asked for.
struct Outline {
    /// Folded addresses.
    src: u32,
    dst: u32,
    proto: u8,
    /// `None`: it has none, or not here.
    ports: Option<[u16; 2]>,
}

/// What is known of a packet at first sight.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Glance {
    /// It may match.
    Admitted,
    /// It does not match by its headers; by what it was before its connection was translated it may.
    Refused,
    /// No clause asks for its protocol, which translation leaves as it is: it does not match by anything.
    Foreign,
}

/// Protocols are told apart by their lower bits.
const PROTOS: usize = 32;

/// The kinds of packets that may match: apart from the rest of a prefilter, so that what is looked at for each packet lies
/// together. All zero: none.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Kinds {
    /// 1 for each protocol. A byte, as in [`Bloom`].
    protos: [u8; PROTOS],
    /// 1 when a clause may match a look-up that says nothing of ports: it asks for an address, or for no port.
    portless: u64,
}

impl Kinds {
    /// None.
    pub const NONE: Self = Self {
        protos: [0; PROTOS],
        portless: 0,
    };

    #[inline(always)]
    fn add(&mut self, proto: u8) {
        if let Some(place) = self.protos.get_mut(usize::from(proto) & (PROTOS - 1)) {
            *place = 1;
        }
    }

    /// 1 when packets of this protocol may match, else 0.
    #[inline(always)]
    fn has(&self, proto: u8) -> u64 {
        let place = self.protos.get(usize::from(proto) & (PROTOS - 1));
        place.map_or(0, |place| u64::from(*place))
    }

    /// Whether a route look-up may match a clause, by its protocol (zero: not known) and whether it names ports. Cheaper
    /// than [`Prefilter::may_ask_for`], and never false where that is true.
    #[inline(always)]
    #[must_use]
    pub fn may_ask_by(&self, proto: u8, ports: u16) -> bool {
        let known = self.portless | u64::from(ports);
        known != 0 && (proto == 0 || self.has(proto) != 0)
    }
}

/// Addresses and ports that may match. All zero: none.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Ends {
    /// Addresses, of which one at least is asked for.
    addresses: Bloom,
    /// Ports, of which one at least is asked for.
    ports: Bloom,
}

impl Ends {
    /// None.
    pub const NONE: Self = Self {
        addresses: Bloom::NONE,
        ports: Bloom::NONE,
    };

    /// 1 when a port of the packet is asked for, or it has none, else 0.
    #[inline(always)]
    fn has_port_of(&self, packet: &Outline) -> u64 {
        match packet.ports {
            Some([one, other]) => self.ports.has(u32::from(one)) | self.ports.has(u32::from(other)),
            None => 1,
        }
    }
}

/// What the clauses may match, in either direction.
#[must_use]
pub fn of_clauses(clauses: &[RawClause]) -> (Kinds, Ends) {
    let mut all = (Kinds::NONE, Ends::NONE);
    let positive = |clause: &&RawClause| clause.flags & CLAUSE_NEGATE == 0;
    clauses
        .iter()
        .filter(positive)
        .for_each(|clause| add(&mut all.0, &mut all.1, clause));
    all
}

fn add(kinds: &mut Kinds, known: &mut Ends, clause: &RawClause) {
    match (clause.proto_mask, clause.proto) {
        (0, _) => kinds.protos = [1; PROTOS],
        (_, proto) => kinds.add(proto),
    }
    let ends = [(clause.src, clause.src_mask), (clause.dst, clause.dst_mask)];
    // Both, where there are two: a look-up may not know its source yet. An IPv4 address is one word.
    for (address, mask) in &ends {
        match *mask {
            [0, 0, 0, 0] => {}
            [u32::MAX, 0, 0, 0] | [u32::MAX, u32::MAX, u32::MAX, u32::MAX] => {
                known.addresses.add(of_address(address));
            }
            _ => known.addresses.add_all(),
        }
    }
    let any_address = ends.iter().all(|(_, mask)| *mask == [0; 4]);
    if any_address {
        known.addresses.add_all();
    }
    let any_port = clause.sport_span == u16::MAX && clause.dport_span == u16::MAX;
    kinds.portless |= u64::from(!any_address || any_port);
    let ranges = [
        (clause.sport_lo, clause.sport_span),
        (clause.dport_lo, clause.dport_span),
    ];
    match ranges.into_iter().find(|(_, span)| *span < MOST_PORTS) {
        Some((low, span)) => {
            (0..=span).for_each(|n| known.ports.add(u32::from(low.wrapping_add(n))));
        }
        None => known.ports.add_all(),
    }
}

/// Puts in one flow, whose packets have both its addresses.
#[inline(always)]
pub fn learn(kinds: &mut Kinds, ends: &mut Ends, tuple: &RawTuple) {
    ends.addresses.add(of_address(&tuple.src));
    ends.addresses.add(of_address(&tuple.dst));
    ends.ports.add(u32::from(tuple.sport));
    kinds.add(tuple.proto);
    kinds.portless = 1;
}

/// What may match: by the clauses, or by what was learned.
#[derive(Clone, Copy)]
pub struct Prefilter<'a> {
    /// Looked at first.
    pub kinds: &'a Kinds,
    /// Looked at when the kind may match.
    pub ends: &'a Ends,
}

impl Prefilter<'_> {
    /// Whether a route look-up for this may match a clause. Fields that are zero are not known.
    #[inline(always)]
    #[must_use]
    pub fn may_ask_for(&self, tuple: &RawTuple) -> bool {
        let has = |address| self.ends.addresses.has(of_address(address));
        has(&tuple.src) | has(&tuple.dst) != 0
            && self
                .kinds
                .may_ask_by(tuple.proto, tuple.sport | tuple.dport)
    }
}

/// The two prefilters of a trace and the ports under which UDP carries other packets.
#[derive(Clone, Copy)]
pub struct Prefilters<'a> {
    /// Of the clauses.
    pub asked: Prefilter<'a>,
    /// Of what was learned.
    pub learned: Prefilter<'a>,
    /// Destination ports of tunnels.
    pub tunnels: &'a Bloom,
}

impl Prefilters<'_> {
    /// What is known of the packet by its network header, which `link` names, and what follows it.
    #[inline(always)]
    pub fn glance<B: Bytes + ?Sized>(&self, bytes: &B, link: &Link) -> Glance {
        if link.protocol == ETH_ARP {
            return Glance::Admitted;
        }
        let Some([first]) = bytes.words::<1>(link.at) else {
            return Glance::Refused;
        };
        match (link.protocol, u32::from_be(first) >> 28) {
            (ETH_IPV4 | 0, 4) => self.glance_v4(bytes, link.at),
            (ETH_IPV6 | 0, 6) => self.glance_v6(bytes, link.at),
            _ => Glance::Refused,
        }
    }

    #[inline(always)]
    fn glance_v4<B: Bytes + ?Sized>(&self, bytes: &B, at: u32) -> Glance {
        let Some([first, second, third, src, dst]) = bytes.words::<5>(at) else {
            return Glance::Refused;
        };
        // options are rare
        if u32::from_be(first) >> 24 != 0x45 {
            return Glance::Admitted;
        }
        let packet = Outline {
            src,
            dst,
            proto: (u32::from_be(third) >> 16) as u8,
            ports: None,
        };
        if u32::from_be(second) & 0x1fff != 0 {
            return self.compare(&packet);
        }
        self.glance_at_transport(bytes, at + 20, packet)
    }

    #[inline(always)]
    fn glance_v6<B: Bytes + ?Sized>(&self, bytes: &B, at: u32) -> Glance {
        let Some([_, second, s0, s1, s2]) = bytes.words::<5>(at) else {
            return Glance::Refused;
        };
        let Some([s3, dst @ ..]) = bytes.words::<5>(at + 20) else {
            return Glance::Refused;
        };
        let packet = Outline {
            src: fold(&[s0, s1, s2, s3]),
            dst: fold(&dst),
            proto: (u32::from_be(second) >> 8) as u8,
            ports: None,
        };
        self.glance_at_transport(bytes, at + 40, packet)
    }

    #[inline(always)]
    fn glance_at_transport<B: Bytes + ?Sized>(
        &self,
        bytes: &B,
        at: u32,
        mut packet: Outline,
    ) -> Glance {
        match packet.proto {
            TCP | UDP | SCTP => {
                let Some([word]) = bytes.words::<1>(at) else {
                    return Glance::Admitted;
                };
                let word = u32::from_be(word);
                let (sport, dport) = ((word >> 16) as u16, word as u16);
                if packet.proto == UDP && self.tunnels.has(u32::from(dport)) != 0 {
                    return Glance::Admitted;
                }
                packet.ports = Some([sport, dport]);
                self.compare(&packet)
            }
            ICMP | ICMP6 => {
                let Some([word]) = bytes.words::<1>(at) else {
                    return Glance::Admitted;
                };
                let kind = u32::from_be(word) >> 24;
                if is_error_type(packet.proto, kind) || is_neighbor_type(packet.proto, kind) {
                    return Glance::Admitted;
                }
                self.compare(&packet)
            }
            // extension headers of IPv6: hop-by-hop, routing, fragment, authentication, destination options
            IPIP | IPV6 | GRE | 0 | 43 | 44 | 51 | 60 => Glance::Admitted,
            _ => self.compare(&packet),
        }
    }

    /// Protocol, ports and addresses, in this order: the first needs least, and most packets have another.
    #[inline(always)]
    fn compare(&self, packet: &Outline) -> Glance {
        let asked = self.asked.kinds.has(packet.proto);
        let known = self.learned.kinds.has(packet.proto);
        if asked | known == 0 {
            return Glance::Foreign;
        }
        let mut may = asked & self.asked.ends.has_port_of(packet);
        let mut knows = known & self.learned.ends.has_port_of(packet);
        if may | knows != 0 {
            let (src, dst) = (hash(packet.src), hash(packet.dst));
            // of a clause one address, of a flow both
            may &= self.asked.ends.addresses.has(src) | self.asked.ends.addresses.has(dst);
            knows &= self.learned.ends.addresses.has(src) & self.learned.ends.addresses.has(dst);
        }
        if may | knows != 0 {
            Glance::Admitted
        } else if asked == 0 {
            Glance::Foreign
        } else {
            Glance::Refused
        }
    }
}

#[cfg(test)]
mod tests {
    use zerocopy::FromZeros;

    use super::*;
    use crate::filter::{Asked, RawFilter};
    use crate::packet::NO_VLAN;

    const ONE: [u8; 4] = [192, 0, 2, 1];
    const TWO: [u8; 4] = [192, 0, 2, 2];
    const THREE: [u8; 4] = [198, 51, 100, 7];

    fn word(address: [u8; 4]) -> [u32; 4] {
        [u32::from_ne_bytes(address), 0, 0, 0]
    }

    fn packet(proto: u8, [a, b, c, d]: [u8; 4], dst: [u8; 4], transport: [u8; 4]) -> [u8; 24] {
        let ([e, f, g, h], [i, j, k, l]) = (dst, transport);
        [
            0x45, 0, 0, 24, 0, 1, 0, 0, 64, proto, 0, 0, a, b, c, d, e, f, g, h, i, j, k, l,
        ]
    }

    fn from(src: [u8; 4]) -> RawClause {
        RawClause {
            src: word(src),
            src_mask: [u32::MAX, 0, 0, 0],
            ..RawClause::ANY
        }
    }

    const NOTHING: (Kinds, Ends) = (Kinds::NONE, Ends::NONE);

    fn prefilter((kinds, ends): &(Kinds, Ends)) -> Prefilter<'_> {
        Prefilter { kinds, ends }
    }

    fn glance(clauses: &[RawClause], learned: &(Kinds, Ends), bytes: &[u8]) -> Glance {
        let mut tunnels = Bloom::NONE;
        tunnels.add(4789);
        let asked = of_clauses(clauses);
        Prefilters {
            asked: prefilter(&asked),
            learned: prefilter(learned),
            tunnels: &tunnels,
        }
        .glance(
            bytes,
            &Link {
                protocol: ETH_IPV4,
                vlan: NO_VLAN,
                at: 0,
            },
        )
    }

    fn admits(clauses: &[RawClause], learned: &(Kinds, Ends), bytes: &[u8]) -> bool {
        glance(clauses, learned, bytes) == Glance::Admitted
    }

    #[test]
    fn what_it_was_before_translation_had_the_same_protocol() {
        let asked = [RawClause {
            proto: TCP,
            proto_mask: 0xff,
            ..from(ONE)
        }];
        let none = NOTHING;
        let other = |proto| glance(&asked, &none, &packet(proto, TWO, THREE, [0, 80, 1, 1]));
        assert_eq!(other(TCP), Glance::Refused);
        assert_eq!(other(UDP), Glance::Foreign);
        assert_eq!(other(50), Glance::Foreign);
        // a learned flow is known by its own headers
        let mut learned = NOTHING;
        let (kinds, ends) = &mut learned;
        learn(
            kinds,
            ends,
            &RawTuple {
                src: word(ONE),
                dst: word(TWO),
                proto: UDP,
                ..RawTuple::NONE
            },
        );
        let unknown = packet(UDP, TWO, THREE, [0, 80, 1, 1]);
        assert_eq!(glance(&asked, &learned, &unknown), Glance::Foreign);
    }

    #[test]
    fn addresses_in_either_direction() {
        let asked = [from(ONE)];
        let none = NOTHING;
        assert!(admits(&asked, &none, &packet(TCP, ONE, TWO, [0, 80, 1, 1])));
        assert!(admits(&asked, &none, &packet(TCP, TWO, ONE, [0, 80, 1, 1])));
        assert!(!admits(
            &asked,
            &none,
            &packet(TCP, TWO, THREE, [0, 80, 1, 1])
        ));
        let other = packet(50, TWO, THREE, [0; 4]);
        assert!(!admits(&asked, &none, &other));
        assert!(admits(&[RawClause::ANY], &none, &other));
    }

    #[test]
    fn ports_and_protocols() {
        let port = RawClause {
            dport_lo: 53,
            dport_span: 0,
            proto: UDP,
            proto_mask: 0xff,
            ..RawClause::ANY
        };
        let none = NOTHING;
        assert!(admits(
            &[port],
            &none,
            &packet(UDP, TWO, ONE, [9, 9, 0, 53])
        ));
        assert!(admits(
            &[port],
            &none,
            &packet(UDP, TWO, ONE, [0, 53, 9, 9])
        ));
        assert!(!admits(
            &[port],
            &none,
            &packet(UDP, TWO, ONE, [9, 9, 9, 9])
        ));
        assert!(!admits(
            &[port],
            &none,
            &packet(TCP, TWO, ONE, [9, 9, 0, 53])
        ));
        // a later fragment has no ports
        let mut fragment = packet(UDP, TWO, ONE, [9, 9, 9, 9]);
        fragment[7] = 7;
        assert!(admits(&[port], &none, &fragment));
    }

    #[test]
    fn what_may_hide_another_packet() {
        let asked = [from(ONE)];
        let none = NOTHING;
        for hidden in [
            packet(UDP, TWO, THREE, [9, 9, 0x12, 0xb5]),
            packet(GRE, TWO, THREE, [0; 4]),
            packet(ICMP, TWO, THREE, [3, 1, 0, 0]),
        ] {
            assert!(admits(&asked, &none, &hidden));
        }
        assert!(!admits(
            &asked,
            &none,
            &packet(ICMP, TWO, THREE, [8, 0, 0, 0])
        ));
    }

    #[test]
    fn learned_flows_have_both_addresses() {
        let mut learned = NOTHING;
        let (kinds, ends) = &mut learned;
        learn(
            kinds,
            ends,
            &RawTuple {
                src: word(TWO),
                dst: word(THREE),
                sport: 4000,
                dport: 80,
                family: crate::tuple::FAMILY_V4,
                proto: TCP,
                pad: [0; 2],
            },
        );
        let asked = [from(ONE)];
        let port = 4000u16.to_be_bytes();
        let there = packet(TCP, TWO, THREE, [port[0], port[1], 0, 80]);
        let back = packet(TCP, THREE, TWO, [0, 80, port[0], port[1]]);
        assert!(admits(&asked, &learned, &there));
        assert!(admits(&asked, &learned, &back));
        assert!(!admits(
            &asked,
            &learned,
            &packet(TCP, TWO, [9; 4], [port[0], port[1], 0, 80])
        ));
    }

    #[test]
    fn lookups_without_ports() {
        let port = RawClause {
            dport_lo: 80,
            dport_span: 0,
            ..RawClause::ANY
        };
        let tuple = RawTuple {
            dst: word(TWO),
            family: crate::tuple::FAMILY_V4,
            ..RawTuple::NONE
        };
        let sent = RawTuple { dport: 80, ..tuple };
        let asks =
            |clause: &RawClause, tuple| prefilter(&of_clauses(&[*clause])).may_ask_for(tuple);
        assert!(!asks(&port, &tuple));
        assert!(asks(&port, &sent));
        assert!(asks(&RawClause::ANY, &tuple));
        assert!(!asks(&from(ONE), &tuple));
        assert!(asks(&from(TWO), &tuple));
        // the source is chosen after the look-up
        let both = RawClause {
            dst: word(TWO),
            dst_mask: [u32::MAX, 0, 0, 0],
            ..from(ONE)
        };
        assert!(asks(&both, &tuple));
    }

    /// xorshift64: the next of a row of numbers.
    fn next(state: &mut u64) -> u64 {
        *state ^= *state << 13;
        *state ^= *state >> 7;
        *state ^= *state << 17;
        *state
    }

    fn pick<T: Copy + Default, const N: usize>(state: &mut u64, list: [T; N]) -> T {
        let at = next(state) % N as u64;
        list.get(at as usize).copied().unwrap_or_default()
    }

    fn any_clause(state: &mut u64) -> RawClause {
        let mut end = || {
            let mask = pick(state, [0, u32::MAX, 0x00ff_ffff]);
            let [address, ..] = word(pick(state, [ONE, TWO, THREE]));
            ([address & mask, 0, 0, 0], [mask, 0, 0, 0])
        };
        let ((src, src_mask), (dst, dst_mask)) = (end(), end());
        let mut ports = || pick(state, [(0, u16::MAX), (80, 0), (70, 40)]);
        let ((sport_lo, sport_span), (dport_lo, dport_span)) = (ports(), ports());
        let proto = pick(state, [0, TCP, UDP, ICMP]);
        RawClause {
            src,
            src_mask,
            dst,
            dst_mask,
            sport_lo,
            sport_span,
            dport_lo,
            dport_span,
            proto,
            proto_mask: if proto == 0 { 0 } else { 0xff },
            flags: pick(state, [0, 0, 0, CLAUSE_NEGATE]),
            ..RawClause::ANY
        }
    }

    /// A tuple, and the bytes of its packet.
    fn any_packet(state: &mut u64) -> (RawTuple, [u8; 24]) {
        let mut end = || pick(state, [ONE, TWO, THREE]);
        let (src, dst) = (end(), end());
        let proto = pick(state, [TCP, UDP, ICMP, 50]);
        let mut port = || match proto {
            TCP | UDP => pick(state, [80_u16, 4000, 100]),
            _ => 0,
        };
        let (sport, dport) = (port(), port());
        let ([a, b], [c, d]) = (sport.to_be_bytes(), dport.to_be_bytes());
        let tuple = RawTuple {
            src: word(src),
            dst: word(dst),
            sport,
            dport,
            family: crate::tuple::FAMILY_V4,
            proto,
            pad: [0; 2],
        };
        (tuple, packet(proto, src, dst, [a, b, c, d]))
    }

    /// The tuple as a look-up has it, which may not know its source, its ports or its protocol.
    fn any_lookup(state: &mut u64, mut tuple: RawTuple) -> RawTuple {
        if pick(state, [true, false]) {
            tuple.src = [0; 4];
        }
        if pick(state, [true, false]) {
            (tuple.sport, tuple.dport) = (0, 0);
        }
        if pick(state, [true, false]) {
            (tuple.proto, tuple.sport, tuple.dport) = (0, 0, 0);
        }
        tuple
    }

    #[test]
    fn what_matches_is_never_refused() {
        let mut state = 0x2545_f491_4f6c_dd1d;
        let link = Link {
            protocol: ETH_IPV4,
            vlan: NO_VLAN,
            at: 0,
        };
        let (mut packets, mut lookups) = (0, 0);
        for _ in 0..100_000 {
            let clauses = [any_clause(&mut state), any_clause(&mut state)];
            let mut filter = RawFilter::new_zeroed();
            filter.clauses_len = 2;
            let slots = filter.clauses.iter_mut();
            slots.zip(&clauses).for_each(|(to, from)| *to = *from);
            filter.sum_up();
            let (mut tuple, bytes) = any_packet(&mut state);
            let mut lookup = any_lookup(&mut state, tuple);
            if filter.matches::<[u8]>(&mut tuple, &Asked::LOOSE, false) != 0 {
                packets += 1;
                let prefilters = Prefilters {
                    asked: filter.prefilter(),
                    learned: prefilter(&NOTHING),
                    tunnels: &filter.tunnels,
                };
                let glance = prefilters.glance(&bytes[..], &link);
                assert_eq!(glance, Glance::Admitted, "{clauses:?} {tuple:?}");
            }
            if filter.matches::<[u8]>(&mut lookup, &Asked::LOOSE, true) != 0 {
                lookups += 1;
                assert!(
                    filter.prefilter().may_ask_for(&lookup),
                    "{clauses:?} {lookup:?}"
                );
            }
        }
        assert!(packets > 1_000 && lookups > 1_000, "{packets} {lookups}");
    }

    #[test]
    fn negated_clauses_ask_for_nothing() {
        let not = RawClause {
            flags: CLAUSE_NEGATE,
            ..from(TWO)
        };
        let bytes = packet(TCP, TWO, THREE, [0, 80, 1, 1]);
        assert!(!admits(&[not, from(ONE)], &NOTHING, &bytes));
    }
}
