//! Routing as facts: policy rules, entries of tables, and what RTM_GETROUTE said of a packet.

use std::net::IpAddr;

use serde::{Deserialize, Serialize};

use super::Question;
use crate::host::prefix::holds;
use crate::model::{NetNs, Tuple};

/// What RTM_GETROUTE said.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RouteAnswer {
    /// Where it was asked.
    pub netns: NetNs,
    /// For which packet.
    pub tuple: Tuple,
    /// Coming in on this interface; zero: from this host itself.
    pub iif: u32,
    /// What else was asked with.
    #[serde(default)]
    pub with: Selectors,
    /// The answer, or a positive errno (101 ENETUNREACH, 113 EHOSTUNREACH, 13 EACCES, 22 EINVAL).
    pub result: Result<Route, u32>,
}

/// What a route is asked for beside addresses, ports and the input interface.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(default)]
pub struct Selectors {
    /// skb->mark, or SO_MARK of a socket.
    pub mark: u32,
    /// Interface to which a socket is bound; zero for none.
    pub oif: u32,
    /// Owner of the socket; `None`: whoever asks.
    pub uid: Option<u32>,
    /// Type of service, the upper six bits.
    pub tos: u8,
}

/// A route.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Route {
    /// `unicast`, `local`, `blackhole`, `unreachable`, `prohibit` …
    pub kind: String,
    /// Output interface.
    pub oif: Option<u32>,
    /// Next hop.
    pub gateway: Option<IpAddr>,
    /// Preferred source.
    pub source: Option<IpAddr>,
    /// Table.
    pub table: u32,
    /// Path MTU known for it.
    pub mtu: Option<u32>,
    /// The kernel learned it by ICMP, in place of what its tables say: a redirect, for IPv6 also a path MTU.
    #[serde(default)]
    pub learned: bool,
}

/// A policy rule (ip-rule(8)). What is `None` is not asked for.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct PolicyRule {
    /// Its place in the order.
    pub priority: u32,
    /// `lookup`, `goto`, `nop`, `blackhole`, `unreachable`, `prohibit`.
    pub action: String,
    /// Table of `lookup`.
    pub table: u32,
    /// Priority at which `goto` goes on.
    pub goto: Option<u32>,
    /// `not`: holds where the selectors do not.
    pub inverted: bool,
    /// Source prefix.
    pub src: Option<(IpAddr, u8)>,
    /// Destination prefix.
    pub dst: Option<(IpAddr, u8)>,
    /// Input interface; `lo` for what this host sends itself.
    pub iif: Option<String>,
    /// Output interface that a socket is bound to.
    pub oif: Option<String>,
    /// skb->mark under `mark_mask`.
    pub mark: Option<u32>,
    /// See `mark`.
    pub mark_mask: u32,
    /// IP protocol number.
    pub protocol: Option<u8>,
    /// First and last source port.
    pub sport: Option<(u16, u16)>,
    /// First and last destination port.
    pub dport: Option<(u16, u16)>,
    /// Bits of the source port that are compared with the first one, instead of a range.
    pub sport_mask: Option<u16>,
    /// Bits of the destination port that are compared.
    pub dport_mask: Option<u16>,
    /// Type of service (`tos`); zero is not asked for.
    pub tos: u8,
    /// DSCP and the bits of it that are compared (`dscp`).
    pub dscp: Option<(u8, u8)>,
    /// First and last owner of the socket.
    pub uid: Option<(u32, u32)>,
    /// Interfaces of a VRF: the table is that of the VRF.
    pub l3mdev: bool,
    /// Id of the tunnel through which the packet came.
    pub tunnel: Option<u64>,
    /// Routes with prefixes of up to this length do not count.
    pub suppress_prefix: Option<u32>,
    /// Routes over interfaces of this group do not count.
    pub suppress_group: Option<u32>,
    /// Who made it (RTPROT_*).
    pub origin: u8,
    /// Selectors that are not understood: whether the rule holds cannot be told.
    pub unknown: Vec<String>,
}

impl PolicyRule {
    /// Whether it asks for a mark, and this is one.
    #[must_use]
    pub fn asks_for(&self, mark: u32) -> bool {
        let asked = self.mark.filter(|_| self.mark_mask != 0);
        asked.is_some_and(|asked| mark & self.mark_mask == asked) && !self.inverted
    }
}

/// A route as an entry of a table.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TableRoute {
    /// `unicast`, `local`, `blackhole`, `unreachable`, `prohibit`, `throw` …
    pub kind: String,
    /// Table.
    pub table: u32,
    /// Destination.
    pub prefix: IpAddr,
    /// Its length; 0 is the default route.
    pub length: u8,
    /// Next hop, where there is one path.
    pub gateway: Option<IpAddr>,
    /// Output interface, where there is one path.
    pub oif: Option<u32>,
    /// Metric: of equal prefixes the lower wins.
    pub metric: u32,
    /// RTNH_F_* of the one path.
    #[serde(default)]
    pub flags: u8,
    /// Paths of a multipath route; empty where there is one.
    #[serde(default)]
    pub paths: Vec<NextHop>,
    /// Next-hop object that the route uses (ip-nexthop(8)).
    #[serde(default)]
    pub nexthop: Option<u32>,
    /// Who made it (RTPROT_*); zero where that was not read.
    #[serde(default)]
    pub protocol: u8,
    /// RT_SCOPE_*.
    #[serde(default)]
    pub scope: u8,
    /// Type of service for which alone it is; zero for all.
    #[serde(default)]
    pub tos: u8,
    /// Source address for what this host sends by it.
    #[serde(default)]
    pub source: Option<IpAddr>,
    /// IPv6: sources for which alone it is.
    #[serde(default)]
    pub from: Option<(IpAddr, u8)>,
    /// IPv6: preference of the router (ICMPV6_ROUTER_PREF_*: 0 medium, 1 high, 3 low).
    #[serde(default)]
    pub preference: u8,
    /// RTAX_* and values.
    #[serde(default)]
    pub metrics: Vec<(u16, u32)>,
    /// RTA_* that it has and that are not understood: the route cannot be made again from this.
    #[serde(default)]
    pub unknown: Vec<u16>,
}

/// One path of a route.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct NextHop {
    /// Gateway.
    pub gateway: Option<IpAddr>,
    /// Output interface.
    pub oif: Option<u32>,
    /// Share of the packets, beginning at 1.
    pub weight: u16,
    /// RTNH_F_*.
    pub flags: u8,
}

impl NextHop {
    /// RTNH_F_DEAD.
    pub const DEAD: u8 = 1;
    /// RTNH_F_ONLINK.
    pub const ONLINK: u8 = 4;
    /// RTNH_F_LINKDOWN.
    pub const LINKDOWN: u8 = 16;

    /// Whether it is not used: its interface is down, or has no carrier where that counts. The kernel tells both with
    /// RTNH_F_DEAD (fib_nexthop_info, net/ipv4/fib_semantics.c).
    #[must_use]
    pub const fn is_dead(&self) -> bool {
        self.flags & Self::DEAD != 0
    }
}

impl TableRoute {
    /// A route without anything beside its destination.
    #[must_use]
    pub fn new(kind: &str, table: u32, prefix: IpAddr, length: u8) -> Self {
        Self {
            kind: kind.to_owned(),
            table,
            prefix,
            length,
            gateway: None,
            oif: None,
            metric: 0,
            flags: 0,
            paths: Vec::new(),
            nexthop: None,
            protocol: 0,
            scope: 0,
            tos: 0,
            source: None,
            from: None,
            preference: 0,
            metrics: Vec::new(),
            unknown: Vec::new(),
        }
    }

    /// Whether it is for this destination.
    #[must_use]
    pub fn holds(&self, dst: IpAddr) -> bool {
        holds(self.prefix, self.length, dst)
    }

    /// All its paths.
    #[must_use]
    pub fn hops(&self) -> Vec<NextHop> {
        if self.paths.is_empty() {
            return vec![NextHop {
                gateway: self.gateway,
                oif: self.oif,
                weight: 1,
                flags: self.flags,
            }];
        }
        self.paths.clone()
    }
}

/// A route or a policy rule that came or went.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RoutingChange {
    /// Where.
    pub netns: NetNs,
    /// It went; else it came, perhaps in place of another one.
    pub gone: bool,
    /// What.
    pub what: Routed,
}

/// What packets are routed by.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Routed {
    /// An entry of a table.
    Route(TableRoute),
    /// A policy rule (`true`: of IPv6).
    Rule(bool, PolicyRule),
}

impl Question {
    /// The route of a packet that has no mark and no socket.
    #[must_use]
    pub fn route(netns: NetNs, tuple: Tuple, iif: u32) -> Self {
        Self::Route {
            netns,
            tuple,
            iif,
            with: Selectors::default(),
        }
    }
}

/// An interface that got router advertisements, and what decides whether they are taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Advertised {
    /// Which.
    pub ifindex: u32,
    /// How many, since it exists (`Icmp6InRouterAdvertisements`).
    pub received: u64,
    /// `accept_ra` of the interface.
    pub accept: u32,
    /// `forwarding` of the interface.
    pub forwards: bool,
}

impl Advertised {
    /// Whether they are taken (ipv6_accept_ra, include/net/ipv6.h).
    #[must_use]
    pub fn is_taken(&self) -> bool {
        self.accept == 2 || self.accept != 0 && !self.forwards
    }
}
