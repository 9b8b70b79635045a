//! A conjunction of tests as one value, and the algebra on such values: what one [`RawClause`] can say.

use tracer_common::filter::{CLAUSE_INNER, CLAUSE_PORTED, RawClause, VLAN_ANY, VLAN_SOME};
use tracer_common::tuple::PROTO_ARP;

use super::ast::{Network, Side, Test};

/// Protocols that have ports.
const PORTED: [u8; 3] = [6, 17, 132];

/// Numbers from first to last.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Span {
    pub(super) first: u16,
    pub(super) last: u16,
}

impl Span {
    pub(super) const ALL: Self = Self {
        first: 0,
        last: u16::MAX,
    };

    fn and(self, other: Self) -> Option<Self> {
        let both = Self {
            first: self.first.max(other.first),
            last: self.last.min(other.last),
        };
        (both.first <= both.last).then_some(both)
    }
}

/// The VLAN tag.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Vlan {
    /// Not asked.
    Any,
    /// Some tag.
    Tagged,
    /// This one.
    Id(u16),
}

/// A conjunction of tests. Equal sets of packets are equal values as far as [`Conjunction::and`] can tell.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Conjunction {
    /// FAMILY_* or zero.
    pub(super) family: u8,
    pub(super) proto: Option<u8>,
    /// Some protocol with ports; only where `proto` is open.
    pub(super) ported: bool,
    pub(super) src: Network,
    pub(super) dst: Network,
    pub(super) sport: Span,
    pub(super) dport: Span,
    /// Message type; asked only together with `proto`.
    pub(super) icmp_type: Span,
    pub(super) vlan: Vlan,
    pub(super) inner: bool,
    pub(super) tcp_mask: u8,
    pub(super) tcp_flags: u8,
}

impl Conjunction {
    /// Every packet.
    pub(super) const ANY: Self = Self {
        family: 0,
        proto: None,
        ported: false,
        src: Network::ALL,
        dst: Network::ALL,
        sport: Span::ALL,
        dport: Span::ALL,
        icmp_type: Span::ALL,
        vlan: Vlan::Any,
        inner: false,
        tcp_mask: 0,
        tcp_flags: 0,
    };

    /// Whether only packets of some addresses pass.
    pub(super) fn names_an_address(&self) -> bool {
        [self.src, self.dst].iter().any(|net| *net != Network::ALL)
    }

    /// The packets that pass a test.
    pub(super) fn of(test: Test) -> Self {
        match test {
            Test::Family(family) => Self {
                family,
                ..Self::ANY
            },
            Test::Proto { family, proto } => Self {
                family,
                proto: Some(proto),
                ..Self::ANY
            },
            Test::Address(side, network) => {
                let any = Self {
                    family: network.family,
                    ..Self::ANY
                };
                match side {
                    Side::Src => Self {
                        src: network,
                        ..any
                    },
                    Side::Dst => Self {
                        dst: network,
                        ..any
                    },
                }
            }
            Test::Ports(side, first, last) => {
                let any = Self {
                    ported: true,
                    ..Self::ANY
                };
                let span = Span { first, last };
                match side {
                    Side::Src => Self { sport: span, ..any },
                    Side::Dst => Self { dport: span, ..any },
                }
            }
            Test::Vlan(id) => Self {
                vlan: id.map_or(Vlan::Tagged, Vlan::Id),
                ..Self::ANY
            },
            Test::Inner => Self {
                inner: true,
                ..Self::ANY
            },
            Test::TcpFlags { mask, value } => Self {
                proto: Some(6),
                tcp_mask: mask,
                tcp_flags: value,
                ..Self::ANY
            },
            Test::IcmpType {
                family,
                first,
                last,
            } => Self {
                family,
                proto: Some(if family == 6 { 58 } else { 1 }),
                icmp_type: Span {
                    first: first.into(),
                    last: last.into(),
                },
                ..Self::ANY
            },
        }
    }

    /// The packets of both; `None` when there are none.
    pub(super) fn and(&self, other: &Self) -> Option<Self> {
        let proto = match (self.proto, other.proto) {
            (Some(a), Some(b)) if a != b => return None,
            (a, b) => a.or(b),
        };
        let vlan = match (self.vlan, other.vlan) {
            (Vlan::Id(a), Vlan::Id(b)) if a != b => return None,
            (Vlan::Id(id), _) | (_, Vlan::Id(id)) => Vlan::Id(id),
            (Vlan::Tagged, _) | (_, Vlan::Tagged) => Vlan::Tagged,
            (Vlan::Any, Vlan::Any) => Vlan::Any,
        };
        let ported = self.ported || other.ported;
        if ported && proto.is_some_and(|proto| !PORTED.contains(&proto)) {
            return None;
        }
        if (self.tcp_flags ^ other.tcp_flags) & self.tcp_mask & other.tcp_mask != 0 {
            return None;
        }
        let families = [self.family, other.family];
        if !families.contains(&0) && self.family != other.family {
            return None;
        }
        Some(Self {
            family: self.family | other.family,
            proto,
            ported: ported && proto.is_none(),
            src: self.src.and(other.src)?,
            dst: self.dst.and(other.dst)?,
            sport: self.sport.and(other.sport)?,
            dport: self.dport.and(other.dport)?,
            icmp_type: self.icmp_type.and(other.icmp_type)?,
            vlan,
            inner: self.inner || other.inner,
            tcp_mask: self.tcp_mask | other.tcp_mask,
            tcp_flags: self.tcp_flags | other.tcp_flags,
        })
    }

    /// Whether each packet of this is one of `other`.
    pub(super) fn within(&self, other: &Self) -> bool {
        self.and(other).as_ref() == Some(self)
    }

    /// Whether ARP packets are asked for by name. Only then are they meant at all.
    pub(super) fn is_arp(&self) -> bool {
        self.proto == Some(PROTO_ARP)
    }

    /// The packets of the other direction. ICMP types stay, as in `RawTuple::reversed`.
    pub(super) fn mirrored(&self) -> Self {
        Self {
            src: self.dst,
            dst: self.src,
            sport: self.dport,
            dport: self.sport,
            ..*self
        }
    }

    /// As the kernel wants it; `flags` are added.
    pub(super) fn clause(&self, flags: u8) -> RawClause {
        let sport = if self.icmp_type == Span::ALL {
            self.sport
        } else {
            self.icmp_type
        };
        RawClause {
            src: words(self.src.value),
            src_mask: words(self.src.mask),
            dst: words(self.dst.value),
            dst_mask: words(self.dst.mask),
            sport_lo: sport.first,
            sport_span: sport.last - sport.first,
            dport_lo: self.dport.first,
            dport_span: self.dport.last - self.dport.first,
            vlan: match self.vlan {
                Vlan::Any => VLAN_ANY,
                Vlan::Tagged => VLAN_SOME,
                Vlan::Id(id) => id,
            },
            family: self.family,
            proto: self.proto.unwrap_or(0),
            proto_mask: if self.proto.is_some() { 0xff } else { 0 },
            tcp_flags: self.tcp_flags,
            tcp_mask: self.tcp_mask,
            flags: flags
                | if self.inner { CLAUSE_INNER } else { 0 }
                | if self.ported { CLAUSE_PORTED } else { 0 },
            pad: [0; 8],
        }
    }
}

/// The bytes on the wire as native words.
fn words(bits: u128) -> [u32; 4] {
    zerocopy::transmute!(bits.to_be_bytes())
}
