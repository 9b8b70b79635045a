//! Values of tests: addresses, networks, ports, protocol numbers.

use std::net::IpAddr;
use std::ops::Range;

use tracer_common::tuple::PROTO_ARP;

use super::{Direction, Parser, Qualifiers};
use crate::filter::FilterError;
use crate::filter::ast::{Expr, Network, Side, Test};
use crate::filter::lexer::TokenKind;
use crate::filter::names::{KEYWORDS, Keyword, Kind, Named, PROTOCOLS, SERVICES, lookup};

/// Why host names are refused.
pub(super) const NO_NAMES: &str =
    "names are not looked up: give the address (`getent hosts NAME` shows it)";

impl Kind {
    /// What must follow.
    pub(super) fn wanted(self) -> &'static str {
        match self {
            Self::Host => "an address",
            Self::Net => "a network",
            Self::Port => "a port",
            Self::PortRange => "a range of ports",
            Self::Proto => "a protocol",
            Self::Named(Named::Pod) => "a pod",
            Self::Named(Named::Container) => "a container",
            Self::Named(Named::Service) => "a service",
            Self::Named(Named::Process) => "a process",
            Self::Named(Named::Pid) => "a process id",
        }
    }

    /// A whole test.
    pub(super) fn example(self) -> &'static str {
        match self {
            Self::Host => "host 10.0.0.1",
            Self::Net => "net 10.1.0.0/16",
            Self::Port => "port 443",
            Self::PortRange => "portrange 8000-8100",
            Self::Proto => "proto 47",
            Self::Named(Named::Pod) => "pod shop/cart-5f6d",
            Self::Named(Named::Container) => "container web",
            Self::Named(Named::Service) => "service shop/db",
            Self::Named(Named::Process) => "process nginx",
            Self::Named(Named::Pid) => "pid 4711",
        }
    }
}

impl Parser<'_> {
    /// The test of one identifier.
    pub(super) fn identifier(
        &mut self,
        word: &str,
        span: Range<usize>,
        qualifiers: Qualifiers,
    ) -> Result<Expr, FilterError> {
        match qualifiers.kind {
            Kind::Host => {
                let network = self.host(word, &span)?;
                self.network(network, span, qualifiers)
            }
            Kind::Net => {
                let network = self.net(word, &span)?;
                self.network(network, span, qualifiers)
            }
            Kind::Port | Kind::PortRange => {
                let (first, last) = self.ports(word, &span, qualifiers.kind)?;
                self.port_test(first, last, span, qualifiers)
            }
            Kind::Proto => self.proto(word, span, qualifiers),
            Kind::Named(named) => self.named((named, word), span, qualifiers),
        }
    }

    fn host(&self, word: &str, span: &Range<usize>) -> Result<Network, FilterError> {
        if let Some(network) = address(word) {
            return Ok(network);
        }
        let error = self.refuse(span.clone(), format!("`{word}` is not an address"));
        Err(if number(word).is_some() {
            error.hint(format!("a port is `port {word}`"))
        } else if word.contains(',') {
            error.hint("join several with `or`: `host A or B`")
        } else if word.contains('/') {
            error.hint("prefix lengths end at 32 for IPv4 and 128 for IPv6")
        } else if word.matches(':').count() == 5 {
            error.hint(
                "MAC addresses are not matched: give the IP address; the trace shows MAC addresses",
            )
        } else if word.chars().all(|c| c.is_ascii_digit() || c == '.') {
            error.hint(
                "an IPv4 address has four numbers from 0 to 255; `net 10.1` means 10.1.0.0/16",
            )
        } else if word.contains('%') {
            error.hint("leave the zone out, and narrow with --interface")
        } else {
            error.hint(NO_NAMES)
        })
    }

    /// `10.1.0.0/16`, `fd00::/8`, `10.1` (as 10.1.0.0/16), `10.1.0.0 mask 255.255.0.0`.
    fn net(&mut self, word: &str, span: &Range<usize>) -> Result<Network, FilterError> {
        let Some(network) = address(word).or_else(|| partial(word)) else {
            return self.host(word, span);
        };
        if !matches!(self.peek(), TokenKind::Word(next) if next == "mask") {
            return Ok(network);
        }
        self.advance();
        let (mask, mask_span) = self.word("a mask", "net 10.1.0.0 mask 255.255.0.0")?;
        let IpAddr::V4(base) = network.address() else {
            return Err(self
                .refuse(mask_span, "masks are for IPv4")
                .hint("give a prefix length: `net fd00::/8`"));
        };
        match mask.parse::<std::net::Ipv4Addr>() {
            Ok(mask) => Ok(Network::masked(
                IpAddr::V4(base),
                u128::from(mask.to_bits()) << 96,
            )),
            Err(_) => Err(self
                .refuse(mask_span, format!("`{mask}` is not a mask"))
                .hint("give one such as 255.255.0.0, or a prefix length: `net 10.1.0.0/16`")),
        }
    }

    fn network(
        &mut self,
        network: Network,
        span: Range<usize>,
        qualifiers: Qualifiers,
    ) -> Result<Expr, FilterError> {
        let family = match qualifiers.protocol {
            Some(Test::Family(family) | Test::Proto { family, .. }) => family,
            _ => 0,
        };
        if family != 0 && network.family != family {
            return Err(self
                .refuse(
                    span,
                    "the protocol before it and this address are of different IP versions",
                )
                .hint(
                    "IPv4 goes with ip, icmp and arp; IPv6 with ip6 and icmp6; tcp, udp and sctp with both",
                ));
        }
        self.asks_for(network.host(), qualifiers.direction);
        Ok(qualified(qualifiers, |side| Test::Address(side, network)))
    }

    /// Notes an address that is asked for.
    pub(super) fn asks_for(&mut self, host: Option<IpAddr>, direction: Direction) {
        let Some(host) = host.filter(|_| !self.negated) else {
            return;
        };
        let list = match direction {
            Direction::One(Side::Src) => &mut self.asked.src,
            Direction::One(Side::Dst) => &mut self.asked.dst,
            Direction::Either | Direction::Both => &mut self.asked.any,
        };
        if !list.contains(&host) {
            list.push(host);
        }
    }

    fn ports(
        &self,
        word: &str,
        span: &Range<usize>,
        kind: Kind,
    ) -> Result<(u16, u16), FilterError> {
        if let Some(port) = port(word) {
            return Ok((port, port));
        }
        let range = range(word);
        match range {
            Some((first, last)) if kind == Kind::PortRange && first <= last => Ok((first, last)),
            Some((first, last)) if kind == Kind::PortRange => Err(self
                .refuse(span.clone(), "the range ends before it begins")
                .hint(format!("write `portrange {last}-{first}`"))),
            Some(_) => Err(self
                .refuse(span.clone(), "this is a range, not a port")
                .hint(format!("write `portrange {word}`"))),
            None => Err(self.no_port(word, span.clone(), kind)),
        }
    }

    fn no_port(&self, word: &str, span: Range<usize>, kind: Kind) -> FilterError {
        let error = self.refuse(span, format!("`{word}` is not {}", kind.wanted()));
        if number(word).is_some() {
            error.hint("ports end at 65535")
        } else if word.contains(',') {
            error.hint("join several with `or`: `port 80 or 443`")
        } else if kind == Kind::PortRange {
            error.hint("write the first and the last: `portrange 8000-8100`")
        } else {
            error.hint("give its number; only common services are known by name (http, https, domain, ssh …)")
        }
    }

    fn port_test(
        &self,
        first: u16,
        last: u16,
        span: Range<usize>,
        qualifiers: Qualifiers,
    ) -> Result<Expr, FilterError> {
        if let Some(Test::Proto { proto, .. }) = qualifiers.protocol
            && ![6, 17, 132].contains(&proto)
        {
            return Err(self
                .refuse(span, "the protocol before it has no ports")
                .hint("ports go with tcp, udp and sctp"));
        }
        Ok(qualified(qualifiers, |side| Test::Ports(side, first, last)))
    }

    fn proto(
        &self,
        word: &str,
        span: Range<usize>,
        qualifiers: Qualifiers,
    ) -> Result<Expr, FilterError> {
        let name = word.trim_start_matches('\\');
        let family = match qualifiers.protocol {
            None => 0,
            Some(Test::Family(family)) => family,
            Some(_) => {
                return Err(self
                    .refuse(span, "only `ip` and `ip6` stand before `proto`")
                    .hint("write `proto NUMBER`, `ip proto NUMBER` or `ip6 proto NUMBER`"));
            }
        };
        if qualifiers.direction != Direction::Either {
            return Err(self
                .refuse(span, "a protocol has no direction")
                .hint("leave `src` or `dst` out"));
        }
        let proto =
            lookup(PROTOCOLS, name).or_else(|| number(name).and_then(|n| u8::try_from(n).ok()));
        match proto {
            // 255 is reserved, and stands for ARP inside tracer
            Some(proto) if proto != PROTO_ARP => Ok(Expr::Test(Test::Proto { family, proto })),
            _ if matches!(lookup(KEYWORDS, name), Some(Keyword::Protocol(_))) => Err(self
                .refuse(span, format!("`{name}` is no protocol inside IP"))
                .hint(format!("write `{name}` without `proto`"))),
            _ => Err(self
                .refuse(span, format!("`{word}` is not a protocol"))
                .hint("give its number from 0 to 254, or a name such as tcp, udp, icmp, icmp6, sctp, gre, esp")),
        }
    }
}

/// The test at the ends asked for, with the protocol that stands before it.
fn qualified(qualifiers: Qualifiers, test: impl Fn(Side) -> Test) -> Expr {
    at_ends(qualifiers, |side| Expr::Test(test(side)))
}

/// The same of several tests, which must hold at one end.
pub(super) fn at_ends(qualifiers: Qualifiers, test: impl Fn(Side) -> Expr) -> Expr {
    let ends = match qualifiers.direction {
        Direction::One(side) => test(side),
        Direction::Either | Direction::Both => {
            let both = vec![test(Side::Src), test(Side::Dst)];
            if qualifiers.direction == Direction::Both {
                Expr::And(both)
            } else {
                Expr::Or(both)
            }
        }
    };
    match qualifiers.protocol {
        Some(protocol) => Expr::And(vec![Expr::Test(protocol), ends]),
        None => ends,
    }
}

/// An address with or without prefix length.
pub(super) fn address(word: &str) -> Option<Network> {
    let Some((address, length)) = word.split_once('/') else {
        return Some(Network::prefix(word.parse().ok()?, 128));
    };
    let address: IpAddr = address.parse().ok()?;
    let length: u8 = decimal(length)?.try_into().ok()?;
    let longest = if address.is_ipv4() { 32 } else { 128 };
    (length <= longest).then(|| Network::prefix(address, length))
}

/// `10`, `10.1`, `10.1.2`, also with a prefix length.
fn partial(word: &str) -> Option<Network> {
    let (octets, length) = match word.split_once('/') {
        Some((octets, length)) => (octets, Some(length)),
        None => (word, None),
    };
    let given = octets.split('.').count();
    let full = format!("{octets}{}", ".0".repeat(4usize.checked_sub(given)?));
    match length {
        Some(length) => address(&format!("{full}/{length}")),
        None => address(&format!("{full}/{}", given * 8)),
    }
}

fn port(word: &str) -> Option<u16> {
    lookup(SERVICES, word).or_else(|| number(word)?.try_into().ok())
}

fn range(word: &str) -> Option<(u16, u16)> {
    // names of services may hold a dash
    word.match_indices('-').find_map(|(at, _)| {
        let (first, last) = (word.get(..at)?, word.get(at + 1..)?);
        Some((port(first)?, port(last)?))
    })
}

/// A number as in C: decimal, 0x hexadecimal, or octal with a leading zero.
pub(super) fn number(word: &str) -> Option<u32> {
    if let Some(hex) = word.strip_prefix("0x").or_else(|| word.strip_prefix("0X")) {
        return digits(hex, 16);
    }
    match word.strip_prefix('0') {
        Some(octal) if !octal.is_empty() => digits(octal, 8),
        _ => decimal(word),
    }
}

fn decimal(word: &str) -> Option<u32> {
    digits(word, 10)
}

/// `from_str_radix` alone accepts a sign.
fn digits(word: &str, radix: u32) -> Option<u32> {
    word.chars()
        .all(|c| c.is_digit(radix))
        .then(|| u32::from_str_radix(word, radix).ok())?
}
