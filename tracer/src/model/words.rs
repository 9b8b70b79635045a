//! The vocabulary in words: the one canonical text of tuples, tunnels and rewrites, and the names that reports
//! give to enumerations. Everything that prints them (report, verdicts, views) uses these.
//!
//! ```text
//! tcp 10.0.0.1:5000 > 10.0.0.2:80      icmp 10.0.0.1 > 10.0.0.2 id 7      tcp [fd00::1]:5000 > [fd00::2]:80
//! dnat 10.96.0.1:443 > 10.0.0.5:6443   vxlan push vni 42 192.0.2.1 > 192.0.2.2   ttl -1
//! ```

use std::fmt;
use std::net::IpAddr;

use super::short::Short;
use super::{Direction, Fate, Joined, Proto, Rewrite, Side, Tunnel, TunnelKind, Tuple, TupleRole};

/// One end of a tuple: the address, with its port unless that is zero. IPv6 stands in brackets before a port.
#[derive(Clone, Copy, Debug)]
pub struct Endpoint {
    /// Address.
    pub address: IpAddr,
    /// Port; zero for none.
    pub port: u16,
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.address, self.port) {
            (IpAddr::V4(v4), port) => {
                let mut text = Short::<21>::new();
                for (at, byte) in v4.octets().into_iter().enumerate() {
                    if at > 0 {
                        text.push(b'.');
                    }
                    text.number(byte.into());
                }
                if port != 0 {
                    text.push(b':');
                    text.number(port);
                }
                f.write_str(text.as_str())
            }
            (IpAddr::V6(v6), 0) => write!(f, "{v6}"),
            (IpAddr::V6(v6), port) => write!(f, "[{v6}]:{port}"),
        }
    }
}

impl Tuple {
    /// The sending end.
    #[must_use]
    pub fn source(&self) -> Endpoint {
        Endpoint {
            address: self.src,
            port: self.sport,
        }
    }

    /// The receiving end.
    #[must_use]
    pub fn destination(&self) -> Endpoint {
        Endpoint {
            address: self.dst,
            port: self.dport,
        }
    }
}

impl fmt::Display for Proto {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp => f.write_str("tcp"),
            Self::Udp => f.write_str("udp"),
            Self::Icmp => f.write_str("icmp"),
            Self::Icmp6 => f.write_str("icmp6"),
            Self::Sctp => f.write_str("sctp"),
            Self::Arp => f.write_str("arp"),
            Self::Other(number) => write!(f, "{number}"),
        }
    }
}

impl fmt::Display for Tuple {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // a bare number would read as part of an address
        if let Proto::Other(number) = self.proto {
            write!(f, "proto {number}")?;
        } else {
            fmt::Display::fmt(&self.proto, f)?;
        }
        f.write_str(" ")?;
        fmt::Display::fmt(&self.source(), f)?;
        f.write_str(" > ")?;
        fmt::Display::fmt(&self.destination(), f)?;
        if self.icmp_id != 0 {
            write!(f, " id {}", self.icmp_id)?;
        }
        Ok(())
    }
}

impl fmt::Display for TunnelKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Vxlan => "vxlan",
            Self::Geneve => "geneve",
            Self::Gre => "gre",
            Self::IpIp => "ipip",
            Self::RawUdp => "udp-tunnel",
        })
    }
}

impl Tunnel {
    /// What VNI and GRE key are called.
    fn id_word(&self) -> &'static str {
        match self.kind {
            TunnelKind::Gre => "key",
            _ => "vni",
        }
    }

    /// `vxlan push vni 42 192.0.2.1 > 192.0.2.2`. The source port of UDP tunnels is a hash of the inner headers
    /// and differs from packet to packet: ports are not shown.
    fn write(&self, verb: &str, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // IPv6 straight in IPv4 is what devices of kind sit send
        match (self.kind, self.outer.proto, self.outer.dst) {
            (TunnelKind::IpIp, Proto::Other(41), IpAddr::V4(_)) => f.write_str("sit")?,
            (kind, ..) => write!(f, "{kind}")?,
        }
        if !verb.is_empty() {
            write!(f, " {verb}")?;
        }
        if let Some(id) = self.id {
            write!(f, " {} {id}", self.id_word())?;
        }
        match self.outer.src {
            // as ip-tunnel(8) calls an end that is not set
            src if src.is_unspecified() => write!(f, " any > {}", self.outer.dst),
            src => write!(f, " {src} > {}", self.outer.dst),
        }
    }
}

impl fmt::Display for Tunnel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.write("", f)
    }
}

impl fmt::Display for Rewrite {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Dnat { from, to } => {
                write!(f, "dnat {} > {}", from.destination(), to.destination())
            }
            Self::Snat { from, to } => write!(f, "snat {} > {}", from.source(), to.source()),
            Self::Push(tunnel) => tunnel.write("push", f),
            Self::Pop(tunnel) => tunnel.write("pop", f),
            Self::Ttl(by) => write!(f, "ttl -{by}"),
        }
    }
}

impl TupleRole {
    /// Its name in reports.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Asked => "asked",
            Self::Reply => "reply",
            Self::Translated => "translated",
            Self::Inner => "inner",
            Self::Outer => "outer",
        }
    }
}

impl Direction {
    /// Its name in reports.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Forward => "forward",
            Self::Reply => "reply",
            Self::Error => "error",
        }
    }
}

impl Side {
    /// Its name in reports.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Ingress => "ingress",
            Self::Egress => "egress",
        }
    }
}

impl Joined {
    /// Its name in reports.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::First => "first",
            Self::Skb => "skb",
            Self::Clone => "clone",
            Self::Fingerprint => "fingerprint",
            Self::Pieces => "pieces",
            Self::Cpu => "cpu",
        }
    }
}

impl Fate {
    /// Its name in reports.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            Self::InFlight => "in-flight",
            Self::Delivered => "delivered",
            Self::Dropped { .. } => "dropped",
            Self::Left { .. } => "left",
            Self::Vanished { .. } => "vanished",
            Self::Consumed { .. } => "consumed",
        }
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    fn tuple(proto: Proto, src: (&str, u16), dst: (&str, u16), icmp_id: u16) -> Tuple {
        Tuple {
            proto,
            src: src.0.parse().unwrap(),
            sport: src.1,
            dst: dst.0.parse().unwrap(),
            dport: dst.1,
            icmp_id,
        }
    }

    #[test]
    fn tuples_have_one_form() {
        let cases = [
            (
                tuple(Proto::Tcp, ("10.0.0.1", 5000), ("10.0.0.2", 80), 0),
                "tcp 10.0.0.1:5000 > 10.0.0.2:80",
            ),
            (
                tuple(Proto::Udp, ("fd00::1", 5000), ("fd00::2", 53), 0),
                "udp [fd00::1]:5000 > [fd00::2]:53",
            ),
            (
                tuple(Proto::Icmp, ("10.0.0.1", 0), ("10.0.0.2", 0), 7),
                "icmp 10.0.0.1 > 10.0.0.2 id 7",
            ),
            (
                tuple(Proto::Icmp6, ("fd00::1", 0), ("fd00::2", 0), 7),
                "icmp6 fd00::1 > fd00::2 id 7",
            ),
            (
                tuple(Proto::Other(47), ("10.0.0.1", 0), ("10.0.0.2", 0), 0),
                "proto 47 10.0.0.1 > 10.0.0.2",
            ),
        ];
        for (tuple, text) in cases {
            assert_eq!(tuple.to_string(), text);
        }
    }

    #[test]
    fn rewrites_name_only_what_changed() {
        let before = tuple(Proto::Tcp, ("10.0.0.2", 5000), ("10.96.0.1", 443), 0);
        let after = tuple(Proto::Tcp, ("192.0.2.1", 6000), ("10.0.0.5", 6443), 0);
        let tunnel = Tunnel {
            kind: TunnelKind::Vxlan,
            id: Some(42),
            outer: tuple(Proto::Udp, ("192.0.2.1", 51234), ("192.0.2.2", 4789), 0),
        };
        let keyed = Tunnel {
            kind: TunnelKind::Gre,
            id: Some(9),
            ..tunnel
        };
        let bare = Tunnel {
            kind: TunnelKind::IpIp,
            id: None,
            ..tunnel
        };
        let outer = tuple(Proto::Other(41), ("192.0.2.1", 0), ("192.0.2.2", 0), 0);
        let six = Tunnel { outer, ..bare };
        let cases = [
            (
                Rewrite::Dnat {
                    from: before,
                    to: after,
                },
                "dnat 10.96.0.1:443 > 10.0.0.5:6443",
            ),
            (
                Rewrite::Snat {
                    from: before,
                    to: after,
                },
                "snat 10.0.0.2:5000 > 192.0.2.1:6000",
            ),
            (
                Rewrite::Push(tunnel),
                "vxlan push vni 42 192.0.2.1 > 192.0.2.2",
            ),
            (Rewrite::Pop(keyed), "gre pop key 9 192.0.2.1 > 192.0.2.2"),
            (Rewrite::Push(bare), "ipip push 192.0.2.1 > 192.0.2.2"),
            (Rewrite::Push(six), "sit push 192.0.2.1 > 192.0.2.2"),
            (Rewrite::Ttl(1), "ttl -1"),
        ];
        for (rewrite, text) in cases {
            assert_eq!(rewrite.to_string(), text);
        }
        assert_eq!(tunnel.to_string(), "vxlan vni 42 192.0.2.1 > 192.0.2.2");
    }
}
