//! Pseudonyms of IP and Ethernet addresses.
//!
//! IP addresses go through ipcrypt's prefix-preserving cipher (draft-irtf-cfrg-ipcrypt, after Xu, Fan, Ammar and Moon,
//! "Prefix-Preserving IP Address Anonymization", 2002): whether bit *n* is turned over depends on the bits before it alone,
//! so two addresses share as many leading bits after as before, and no two become one. On top of that, bits are *not*
//! turned over that lead to a block with a meaning ([`V4`], [`V6`]): private stays private, loopback stays itself.
//!
//! The last 24 bits of an IPv6 address are turned over by what they are themselves, so that the solicited-node group of
//! a pseudonym is the pseudonym of the solicited-node group (RFC 4291, 2.7.1). That keeps prefixes just the same.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipcrypt_rs::IpcryptPfx;

use super::key::{Hasher, Key};
use crate::model::Mac;

/// Most addresses that are remembered. Beyond it the memory begins anew: they are only calculated once more.
const MOST: usize = 1 << 18;

/// A block of addresses with a meaning.
struct Block {
    first: u128,
    length: u32,
    /// Nothing in it is hidden.
    shown: bool,
}

const fn v4(a: u8, b: u8, length: u32, shown: bool) -> Block {
    let first = (Ipv4Addr::new(a, b, 0, 0).to_bits() as u128) << 96;
    Block {
        first,
        length,
        shown,
    }
}

const fn v6(first: u128, length: u32, shown: bool) -> Block {
    Block {
        first,
        length,
        shown,
    }
}

/// This network, private, shared, loopback, link-local, multicast and above (RFC 6890).
const V4: [Block; 8] = [
    v4(0, 0, 8, true),
    v4(10, 0, 8, false),
    v4(100, 64, 10, false),
    v4(127, 0, 8, true),
    v4(169, 254, 16, false),
    v4(172, 16, 12, false),
    v4(192, 168, 16, false),
    v4(224, 0, 3, true),
];

/// IPv4 in IPv6 (with unspecified and loopback); unique local; link-local; multicast (RFC 4291, 4193).
const V6: [Block; 6] = [
    v6(HOLDING_V4[0] << 32, 96, true),
    v6(HOLDING_V4[1] << 32, 96, true),
    v6(HOLDING_V4[2] << 32, 96, true),
    v6(0xfc << 120, 7, false),
    v6(0xfe80 << 112, 64, false),
    v6(0xff << 120, 8, true),
];

/// Blocks of /96 that hold an IPv4 address, without its bits: compatible, mapped, translated (RFC 4291, 6052).
const HOLDING_V4: [u128; 3] = [0, 0xffff, 0x0064_ff9b << 64];
/// ff02::1:ff00:0/104, without its last 24 bits.
const SOLICITED: u128 = 0xff02_0000_0000_0000_0000_0001_ff00_0000 >> 24;
const LAST: u32 = 24;

/// How many leading bits stay as they are.
fn fixed(bits: u128, blocks: &[Block], size: u32) -> u32 {
    let of = |block: &Block| {
        let common = (bits ^ block.first).leading_zeros();
        match (common >= block.length, block.shown) {
            (true, true) => size,
            (true, false) => block.length,
            // turning the next bit over would lead into the block
            (false, _) => common + 1,
        }
    };
    blocks.iter().map(of).max().unwrap_or(0)
}

/// All bits below the first `length` of 128.
fn below(length: u32) -> u128 {
    u128::MAX.checked_shr(length).unwrap_or(0)
}

/// Pseudonyms of addresses, and back.
pub(super) struct Addresses {
    cipher: IpcryptPfx,
    macs: Hasher,
    known: HashMap<IpAddr, IpAddr>,
    back: HashMap<IpAddr, IpAddr>,
    known_macs: HashMap<Mac, Mac>,
    back_macs: HashMap<Mac, Mac>,
}

impl Addresses {
    pub(super) fn new(key: &Key) -> Self {
        Self {
            cipher: key.cipher(),
            macs: key.hasher(b"mac"),
            known: HashMap::new(),
            back: HashMap::new(),
            known_macs: HashMap::new(),
            back_macs: HashMap::new(),
        }
    }

    /// The pseudonym of an address.
    pub(super) fn address(&mut self, original: IpAddr) -> IpAddr {
        let pseudonym = self.ciphered(original);
        if self.back.len() > MOST {
            self.back.clear();
        }
        self.back.insert(pseudonym, original);
        pseudonym
    }

    /// The pseudonym of a network: bits beyond the prefix are zero.
    pub(super) fn network(&mut self, original: IpAddr, length: u8) -> IpAddr {
        let length = u32::from(length);
        let pseudonym = match self.ciphered(original) {
            IpAddr::V4(v4) => IpAddr::V4(Ipv4Addr::from_bits(
                v4.to_bits() & !u32::MAX.checked_shr(length).unwrap_or(0),
            )),
            IpAddr::V6(v6) => IpAddr::V6(Ipv6Addr::from_bits(v6.to_bits() & !below(length))),
        };
        self.back.entry(pseudonym).or_insert(original);
        pseudonym
    }

    /// The address behind a pseudonym; what is none stays.
    pub(super) fn original(&self, pseudonym: IpAddr) -> IpAddr {
        self.back.get(&pseudonym).copied().unwrap_or(pseudonym)
    }

    /// What the cipher makes of it.
    fn ciphered(&mut self, original: IpAddr) -> IpAddr {
        if let Some(known) = self.known.get(&original) {
            return *known;
        }
        let pseudonym = match original {
            IpAddr::V4(v4) => IpAddr::V4(self.v4(v4)),
            IpAddr::V6(v6) => IpAddr::V6(self.v6(v6)),
        };
        if self.known.len() > MOST {
            self.known.clear();
        }
        self.known.insert(original, pseudonym);
        pseudonym
    }

    fn v4(&self, original: Ipv4Addr) -> Ipv4Addr {
        let bits = original.to_bits();
        let fixed = fixed(u128::from(bits) << 96, &V4, 32);
        let IpAddr::V4(turned) = self.cipher.encrypt_ipaddr(original.into()) else {
            return original;
        };
        // the path to the last address of a /24 stays, so that its broadcast address stays one
        let last = (bits << 24).leading_ones();
        let path = !(0xff >> last.saturating_add(1)) & 0xff;
        let free = u32::MAX.checked_shr(fixed).unwrap_or(0) & !path;
        Ipv4Addr::from_bits(bits ^ (bits ^ turned.to_bits()) & free)
    }

    fn v6(&self, original: Ipv6Addr) -> Ipv6Addr {
        let bits = original.to_bits();
        if HOLDING_V4.contains(&(bits >> 32)) {
            let low = u32::try_from(bits & below(96)).unwrap_or(0);
            let held = self.v4(Ipv4Addr::from_bits(low));
            return Ipv6Addr::from_bits(bits & !below(96) | u128::from(held.to_bits()));
        }
        if original.is_multicast() {
            return self.group(original);
        }
        let fixed = fixed(bits, &V6, 128);
        let upper = (bits ^ self.turned(bits)) & below(fixed) & !below(128 - LAST);
        Ipv6Addr::from_bits((bits ^ upper) & !below(128 - LAST) | self.last(bits))
    }

    fn turned(&self, bits: u128) -> u128 {
        match self.cipher.encrypt_ipaddr(Ipv6Addr::from_bits(bits).into()) {
            IpAddr::V6(v6) => v6.to_bits(),
            IpAddr::V4(v4) => v4.to_ipv6_mapped().to_bits(),
        }
    }

    /// The last 24 bits, turned over as the bits behind ff00::/8 would be, which no address uses for itself.
    fn last(&self, bits: u128) -> u128 {
        let moved = 0xff << 120 | (bits & below(128 - LAST)) << (120 - LAST);
        self.turned(moved) >> (120 - LAST) & below(128 - LAST)
    }

    /// Groups are well known, but for what some of them hold: the end of an address, or a network (RFC 3306).
    fn group(&self, original: Ipv6Addr) -> Ipv6Addr {
        let bits = original.to_bits();
        if bits >> LAST == SOLICITED {
            return Ipv6Addr::from_bits(bits & !below(128 - LAST) | self.last(bits));
        }
        let [_, flags, _, length, ..] = original.octets();
        if flags & 0x20 == 0 {
            return original;
        }
        let network = bits << 32 & !below(64);
        let hidden = self.v6(Ipv6Addr::from_bits(network)).to_bits();
        let hidden = hidden & !below(u32::from(length).min(64));
        Ipv6Addr::from_bits(bits & !(below(32) & !below(96)) | hidden >> 32)
    }

    /// The pseudonym of an Ethernet address. Broadcast and multicast stay, as does "none"; whether it was given by a vendor
    /// or by software stays.
    pub(super) fn mac(&mut self, original: Mac) -> Mac {
        let [first, rest @ ..] = original.0;
        let pseudonym = match (first, rest) {
            (0, [0, 0, 0, 0, 0]) => original,
            // of a solicited-node group (RFC 2464)
            (0x33, [0x33, 0xff, a, b, c]) => {
                let last = self.last(u128::from(u32::from_be_bytes([0, a, b, c])));
                let [.., a, b, c] = last.to_be_bytes();
                Mac([0x33, 0x33, 0xff, a, b, c])
            }
            (group, _) if group & 1 != 0 => original,
            _ => match self.known_macs.get(&original) {
                Some(known) => *known,
                None => {
                    let [a, b, c, d, e, g, ..] = self.macs.hash(&original.0).to_ne_bytes();
                    Mac([a & !3 | first & 3, b, c, d, e, g])
                }
            },
        };
        if self.known_macs.len() > MOST {
            self.known_macs.clear();
            self.back_macs.clear();
        }
        self.known_macs.insert(original, pseudonym);
        self.back_macs.insert(pseudonym, original);
        pseudonym
    }

    /// The address behind a pseudonym; what is none stays.
    pub(super) fn original_mac(&self, pseudonym: Mac) -> Mac {
        self.back_macs.get(&pseudonym).copied().unwrap_or(pseudonym)
    }
}

#[cfg(test)]
#[expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a failed setup fails the test"
)]
mod tests;
