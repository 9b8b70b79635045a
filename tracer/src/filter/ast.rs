//! What an expression says: tests joined by and, or, not. Directions are resolved (`host a` is two tests).

use std::net::IpAddr;

use tracer_common::tuple::{FAMILY_V4, FAMILY_V6};

/// A parsed expression.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Expr {
    Test(Test),
    Not(Box<Expr>),
    /// Empty: everything.
    And(Vec<Expr>),
    /// Empty: nothing.
    Or(Vec<Expr>),
}

/// One end of a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Side {
    Src,
    Dst,
}

/// A test of one property.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Test {
    /// FAMILY_*.
    Family(u8),
    /// Protocol number as in `RawTuple`, in one family or (zero) both.
    Proto { family: u8, proto: u8 },
    /// An address of one end.
    Address(Side, Network),
    /// A port of one end, first and last, of a protocol that has ports.
    Ports(Side, u16, u16),
    /// A VLAN tag, with this id where one is given.
    Vlan(Option<u16>),
    /// A header inside a tunnel.
    Inner,
    /// TCP flags under a mask.
    TcpFlags { mask: u8, value: u8 },
    /// Type of an ICMP message of this family, first and last.
    IcmpType { family: u8, first: u8, last: u8 },
}

/// An address under a mask. IPv4 addresses stand in the upper 32 bits, so that the bytes are those of
/// [`tracer_common::tuple::RawTuple`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Network {
    /// FAMILY_*; zero for the network of all addresses of both.
    pub(super) family: u8,
    /// Address; bits outside the mask are zero.
    pub(super) value: u128,
    pub(super) mask: u128,
}

impl Network {
    /// All addresses of both families.
    pub(super) const ALL: Self = Self {
        family: 0,
        value: 0,
        mask: 0,
    };

    /// The network of `address` under a mask (upper bits, as in `value`).
    pub(super) fn masked(address: IpAddr, mask: u128) -> Self {
        let (family, bits) = match address {
            IpAddr::V4(v4) => (FAMILY_V4, u128::from(v4.to_bits()) << 96),
            IpAddr::V6(v6) => (FAMILY_V6, v6.to_bits()),
        };
        let mask = mask & width_mask(family);
        Self {
            family,
            value: bits & mask,
            mask,
        }
    }

    /// The network with this prefix length; longer ones than the address count as its full length.
    pub(super) fn prefix(address: IpAddr, length: u8) -> Self {
        Self::masked(address, prefix_mask(length))
    }

    /// The address, when it is exactly one.
    pub(super) fn host(&self) -> Option<IpAddr> {
        (self.family != 0 && self.mask == width_mask(self.family)).then(|| self.address())
    }

    /// The network's own address.
    pub(super) fn address(&self) -> IpAddr {
        if self.family == FAMILY_V6 {
            IpAddr::V6(self.value.into())
        } else {
            IpAddr::V4(((self.value >> 96) as u32).into())
        }
    }

    /// Length of the prefix, when the mask is one.
    pub(super) fn prefix_length(&self) -> Option<u8> {
        let length = self.mask.leading_ones() as u8;
        (self.mask == prefix_mask(length)).then_some(length)
    }

    /// The addresses of both; `None` when there are none.
    pub(super) fn and(self, other: Self) -> Option<Self> {
        let family = self.family | other.family;
        let known = self.family == 0 || other.family == 0 || self.family == other.family;
        let clash = (self.value ^ other.value) & self.mask & other.mask;
        (known && clash == 0).then_some(Self {
            family,
            value: self.value | other.value,
            mask: self.mask | other.mask,
        })
    }
}

fn width_mask(family: u8) -> u128 {
    if family == FAMILY_V6 {
        u128::MAX
    } else {
        prefix_mask(32)
    }
}

/// The first `length` bits of 128 set.
fn prefix_mask(length: u8) -> u128 {
    u128::MAX
        .checked_shl(128 - u32::from(length.min(128)))
        .unwrap_or(0)
}
