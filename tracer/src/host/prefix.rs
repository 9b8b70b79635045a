//! Networks as address and prefix length.

use std::net::{IpAddr, Ipv4Addr};

/// Whether a prefix holds an address.
#[must_use]
pub fn holds(network: IpAddr, prefix: u8, address: IpAddr) -> bool {
    let shift = |width: u32| width.saturating_sub(u32::from(prefix));
    match (network, address) {
        (IpAddr::V4(a), IpAddr::V4(b)) => (u32::from(a) ^ u32::from(b))
            .checked_shr(shift(32))
            .is_none_or(|x| x == 0),
        (IpAddr::V6(a), IpAddr::V6(b)) => (u128::from(a) ^ u128::from(b))
            .checked_shr(shift(128))
            .is_none_or(|x| x == 0),
        _ => false,
    }
}

/// The network of an address.
#[must_use]
pub fn network(address: IpAddr, prefix: u8) -> IpAddr {
    let keep = |width: u32| width.saturating_sub(u32::from(prefix));
    match address {
        IpAddr::V4(v4) => {
            let mask = u32::MAX.checked_shl(keep(32)).unwrap_or(0);
            IpAddr::from((u32::from(v4) & mask).to_be_bytes())
        }
        IpAddr::V6(v6) => {
            let mask = u128::MAX.checked_shl(keep(128)).unwrap_or(0);
            IpAddr::from((u128::from(v6) & mask).to_be_bytes())
        }
    }
}

/// Whether an address is that of a group, or of all on a link.
#[must_use]
pub fn is_many(address: IpAddr) -> bool {
    address.is_multicast() || address == IpAddr::V4(Ipv4Addr::BROADCAST)
}

/// Whether an address of IPv4 is that of all in the network of an address.
#[must_use]
pub fn is_last(network: IpAddr, prefix: u8, address: IpAddr) -> bool {
    match (network, address) {
        (IpAddr::V4(own), IpAddr::V4(address)) if prefix < 31 => {
            let rest = u32::MAX.checked_shr(prefix.into()).unwrap_or(0);
            u32::from(own) | rest == u32::from(address)
        }
        _ => false,
    }
}

/// Whether an address is of those that every owner of a network may give out: RFC 1918, RFC 6598's shared space, RFC 4193.
#[must_use]
pub fn is_private(address: IpAddr) -> bool {
    const SHARED: IpAddr = IpAddr::V4(Ipv4Addr::new(100, 64, 0, 0));
    match address {
        IpAddr::V4(v4) => v4.is_private() || holds(SHARED, 10, address),
        IpAddr::V6(v6) => v6.is_unique_local(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prefixes_hold_their_addresses() {
        let ip = |s: &str| s.parse::<IpAddr>().ok();
        let check = |n, p, a| Some(holds(ip(n)?, p, ip(a)?));
        assert_eq!(check("10.1.2.1", 24, "10.1.2.200"), Some(true));
        assert_eq!(check("10.1.2.1", 24, "10.1.3.1"), Some(false));
        assert_eq!(check("0.0.0.0", 0, "10.1.3.1"), Some(true));
        assert_eq!(check("fd00::1", 64, "fd00::ffff"), Some(true));
        assert_eq!(check("fd00::1", 64, "10.1.3.1"), Some(false));
        assert_eq!(check("10.1.2.1", 32, "10.1.2.2"), Some(false));
    }

    #[test]
    fn networks_of_addresses() {
        let of = |s: &str, p| s.parse::<IpAddr>().ok().map(|a| network(a, p).to_string());
        assert_eq!(of("10.1.2.77", 24).as_deref(), Some("10.1.2.0"));
        assert_eq!(of("10.1.2.77", 0).as_deref(), Some("0.0.0.0"));
        assert_eq!(of("fd00:1::77", 64).as_deref(), Some("fd00:1::"));
        assert_eq!(of("fd00:1::77", 128).as_deref(), Some("fd00:1::77"));
    }

    #[test]
    fn private_addresses_are_those_of_one_owner() {
        let private = |text: &str| text.parse().is_ok_and(is_private);
        for text in [
            "10.1.2.3",
            "172.31.0.1",
            "192.168.7.7",
            "100.64.0.1",
            "100.127.255.255",
            "fd00::1",
        ] {
            assert!(private(text), "{text}");
        }
        for text in ["172.32.0.1", "100.128.0.1", "203.0.113.9", "2001:db8::1"] {
            assert!(!private(text), "{text}");
        }
    }
}
