//! Values of fields as rules and sets of nf_tables hold them in bytes, and tests made of them.

use std::net::IpAddr;

use crate::host::facts::{Field, Side, Test, Value};
use crate::host::links::mac_of;
use crate::host::netlink::{address_of, text_of, u32_of};

/// How a field's bytes are laid out.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Layout {
    /// A number in the order of this machine's bytes.
    pub(super) host: bool,
    /// An interface by its number.
    pub(super) index: bool,
}

/// What bytes say of a field.
pub(super) fn value(field: &Field, layout: Layout, bytes: &[u8]) -> Option<Value> {
    Some(match field {
        Field::Address(_) | Field::ArpAddress(_) => Value::Address(address_of(bytes)?),
        Field::Interface(_) if layout.index => Value::Name(name_of_index(u32_of(bytes)?)?),
        Field::Interface(_) | Field::Bridge(_) | Field::BridgePort(_) => {
            Value::Name(interface_name(bytes))
        }
        Field::Mac(_) | Field::ArpMac(_) => Value::Mac(mac_of(bytes.get(..6)?)?),
        Field::Other(_) => return None,
        _ => Value::Number(number(layout, bytes)?),
    })
}

/// A number of at most eight bytes.
pub(super) fn number(layout: Layout, bytes: &[u8]) -> Option<u64> {
    if bytes.len() > 8 {
        return None;
    }
    let little = layout.host && cfg!(target_endian = "little");
    let add = |sum: u64, byte: &u8| sum << 8 | u64::from(*byte);
    Some(if little {
        bytes.iter().rev().fold(0, add)
    } else {
        bytes.iter().fold(0, add)
    })
}

/// First and last of a range in bytes. A range of names is what begins alike.
pub(super) fn range(
    field: &Field,
    layout: Layout,
    (first, last): (&[u8], &[u8]),
) -> Option<(Value, Value)> {
    let both = (value(field, layout, first)?, value(field, layout, last)?);
    if let (Value::Name(start), Value::Name(_)) = &both
        && first != last
    {
        let start = Value::Name(format!("{}*", start.trim_end_matches('*')));
        return Some((start.clone(), start));
    }
    Some(both)
}

/// A name as compared: without a closing zero only its beginning.
fn interface_name(value: &[u8]) -> String {
    let name = text_of(value);
    if value.contains(&0) || value.len() >= libc::IFNAMSIZ {
        name
    } else {
        format!("{name}*")
    }
}

fn name_of_index(index: u32) -> Option<String> {
    let name = nix::net::if_::if_indextoname(index).ok()?;
    Some(text_of(name.as_bytes()))
}

/// The test that a field, under a mask, lies in one of these ranges: in the shape that has a name of its own where
/// there is one.
pub(super) fn test(
    field: &Field,
    mask: Option<u64>,
    ranges: Vec<(Value, Value)>,
    not: bool,
) -> Test {
    named(field, mask, &ranges, not).unwrap_or_else(|| match field {
        Field::Other(text) => Test::Other(format!("{text}{} …", if not { " !=" } else { "" })),
        _ => Test::Is {
            field: field.clone(),
            mask,
            ranges,
            not,
        },
    })
}

fn named(field: &Field, mask: Option<u64>, ranges: &[(Value, Value)], not: bool) -> Option<Test> {
    let only = || match ranges {
        [(Value::Number(a), Value::Number(b))] if a == b => Some(*a),
        _ => None,
    };
    Some(match (field, mask) {
        (Field::Address(side), None) => Test::Address {
            side: *side,
            ranges: ranges.iter().map(addresses).collect::<Option<_>>()?,
            not,
        },
        (Field::Port(side), None) => Test::Port {
            side: Some(*side),
            ranges: ranges.iter().map(ports).collect::<Option<_>>()?,
            not,
        },
        (Field::Protocol, None) => Test::Protocol {
            number: u8::try_from(only()?).ok()?,
            not,
        },
        (Field::Family | Field::EtherType, None) => Test::Version {
            v6: match (field, only()?) {
                (Field::Family, 2) | (Field::EtherType, 0x0800) => false,
                (Field::Family, 10) | (Field::EtherType, 0x86dd) => true,
                _ => return None,
            },
            not,
        },
        (Field::Interface(side), None) => match ranges {
            [(Value::Name(name), _)] => Test::Interface {
                side: *side,
                name: name.clone(),
                not,
            },
            _ => return None,
        },
        (Field::IcmpType, None) => Test::IcmpType {
            number: u8::try_from(only()?).ok()?,
            not,
        },
        (Field::Mark, mask) => Test::Mark {
            value: u32::try_from(only()?).ok()?,
            mask: mask.map_or(Some(u32::MAX), |m| u32::try_from(m).ok())?,
            not,
        },
        // `state & mask` compared with zero: equal means none of them.
        (Field::State, Some(mask)) if only() == Some(0) => Test::State {
            mask: u32::try_from(mask).ok()?,
            not: !not,
        },
        (Field::State, None) => {
            let mut mask = 0;
            for range in ranges {
                match range {
                    // Several bits are one value, which no packet has (`ct state != new,untracked`).
                    (Value::Number(a), Value::Number(b)) if a == b && a.is_power_of_two() => {
                        mask |= u32::try_from(*a).ok()?;
                    }
                    _ => return None,
                }
            }
            Test::State { mask, not }
        }
        _ => return None,
    })
}

fn addresses(range: &(Value, Value)) -> Option<(IpAddr, IpAddr)> {
    match range {
        (Value::Address(a), Value::Address(b)) => Some((*a, *b)),
        _ => None,
    }
}

fn ports(range: &(Value, Value)) -> Option<(u16, u16)> {
    match range {
        (Value::Number(a), Value::Number(b)) => {
            Some((u16::try_from(*a).ok()?, u16::try_from(*b).ok()?))
        }
        _ => None,
    }
}

/// What lies on the other side of a number, or of an address: for comparisons by size. `Ordering`-like: below, or above.
pub(super) fn half(value: Value, bound: Bound, bits: u32) -> Option<Vec<(Value, Value)>> {
    let most = u64::MAX
        .checked_shr(64_u32.saturating_sub(bits))
        .unwrap_or(0);
    let ends = match value {
        Value::Number(n) => match bound {
            Bound::Less => n.checked_sub(1).map(|n| (0, n)),
            Bound::AtMost => Some((0, n)),
            Bound::Greater => (n < most).then(|| (n + 1, most)),
            Bound::AtLeast => Some((n, most)),
        }
        .map(|(a, b)| (Value::Number(a), Value::Number(b))),
        Value::Address(address) => {
            let (low, high): (IpAddr, IpAddr) = match address {
                IpAddr::V4(_) => ([0; 4].into(), [255; 4].into()),
                IpAddr::V6(_) => ([0; 16].into(), [255; 16].into()),
            };
            match bound {
                Bound::Less => step(address, false).map(|a| (low, a)),
                Bound::AtMost => Some((low, address)),
                Bound::Greater => step(address, true).map(|a| (a, high)),
                Bound::AtLeast => Some((address, high)),
            }
            .map(|(a, b)| (Value::Address(a), Value::Address(b)))
        }
        _ => return None,
    };
    Some(ends.into_iter().collect())
}

/// How a comparison bounds a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Bound {
    Less,
    AtMost,
    Greater,
    AtLeast,
}

fn step(address: IpAddr, up: bool) -> Option<IpAddr> {
    match address {
        IpAddr::V4(v4) => {
            let bits = v4.to_bits();
            let next = if up {
                bits.checked_add(1)
            } else {
                bits.checked_sub(1)
            };
            next.map(|bits| std::net::Ipv4Addr::from_bits(bits).into())
        }
        IpAddr::V6(v6) => {
            let bits = v6.to_bits();
            let next = if up {
                bits.checked_add(1)
            } else {
                bits.checked_sub(1)
            };
            next.map(|bits| std::net::Ipv6Addr::from_bits(bits).into())
        }
    }
}

/// Source where `source`, else destination.
pub(super) fn side(source: bool) -> Side {
    if source {
        Side::Source
    } else {
        Side::Destination
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_state_of_several_bits_is_compared_as_one_value() {
        let range = |bits: u64| vec![(Value::Number(bits), Value::Number(bits))];
        let of = |mask, bits, not| test(&Field::State, mask, range(bits), not);
        let state = |mask, not| Test::State { mask, not };
        assert_eq!(of(None, 8, true), state(8, true));
        assert_eq!(of(Some(9), 0, true), state(9, false));
        assert!(matches!(of(None, 0x48, true), Test::Is { mask: None, .. }));
    }
}
