//! IPsec policies.

use std::fmt;
use std::net::IpAddr;

use serde::{Deserialize, Serialize};

use crate::host::prefix::holds;
use crate::model::Tuple;

/// For which packets a policy is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum XfrmDirection {
    /// That come to this host.
    In,
    /// That this host sends, or sends on.
    Out,
    /// That this host passes on.
    Forward,
}

/// As ip-xfrm(8) writes it.
impl fmt::Display for XfrmDirection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::In => "in",
            Self::Out => "out",
            Self::Forward => "fwd",
        })
    }
}

/// A policy (ip-xfrm(8)). A port that is `None` is any.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct XfrmPolicy {
    /// Source network.
    pub src: IpAddr,
    /// Its prefix length.
    pub src_prefix: u8,
    /// Destination network.
    pub dst: IpAddr,
    /// Its prefix length.
    pub dst_prefix: u8,
    /// IP protocol number, zero for any.
    pub protocol: u8,
    /// Source port.
    pub sport: Option<u16>,
    /// Destination port.
    pub dport: Option<u16>,
    /// For which packets.
    pub direction: XfrmDirection,
    /// `action block`.
    pub blocks: bool,
    /// Smaller ones come first.
    pub priority: u32,
    /// The kernel's own number.
    pub index: u32,
}

impl XfrmPolicy {
    /// Whether its selector holds for a packet; what a lookup does not know of its packet (protocol, ports) is taken
    /// to fit.
    #[must_use]
    pub fn selects(&self, tuple: &Tuple) -> bool {
        let protocol = tuple.proto.number().unwrap_or(0);
        let any = |asked: Option<u16>, port: u16| asked.is_none_or(|p| port == 0 || p == port);
        let source = tuple.src.is_unspecified() || holds(self.src, self.src_prefix, tuple.src);
        source
            && self.src.is_ipv4() == tuple.src.is_ipv4()
            && holds(self.dst, self.dst_prefix, tuple.dst)
            && (self.protocol == 0 || protocol == 0 || self.protocol == protocol)
            && any(self.sport, tuple.sport)
            && any(self.dport, tuple.dport)
    }
}

/// As ip-xfrm(8) writes it.
impl fmt::Display for XfrmPolicy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "src {}/{} dst {}/{}",
            self.src, self.src_prefix, self.dst, self.dst_prefix
        )?;
        match self.protocol {
            0 => {}
            1 => write!(f, " proto icmp")?,
            6 => write!(f, " proto tcp")?,
            17 => write!(f, " proto udp")?,
            58 => write!(f, " proto ipv6-icmp")?,
            132 => write!(f, " proto sctp")?,
            other => write!(f, " proto {other}")?,
        }
        for (name, port) in [("sport", self.sport), ("dport", self.dport)] {
            if let Some(port) = port {
                write!(f, " {name} {port}")?;
            }
        }
        let action = if self.blocks { "block" } else { "allow" };
        write!(
            f,
            " dir {} action {action} index {} priority {}",
            self.direction, self.index, self.priority
        )
    }
}
