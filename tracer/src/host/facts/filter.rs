//! Packet filters as facts: base chains; what their rules ask of a packet and do with it stands in [`super::ruleset`].

use std::net::IpAddr;

use crate::uapi::netfilter::{NF_IP_PRI_NAT_DST, NF_IP_PRI_NAT_SRC};
use serde::{Deserialize, Serialize};

use super::ruleset::{Field, Value};

/// A base chain of netfilter.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BaseChain {
    /// nftables (iptables-nft included) or legacy xtables.
    pub engine: FilterEngine,
    /// `ip`, `ip6`, `inet`, `bridge`, `netdev`, `arp`.
    pub family: String,
    /// Table.
    pub table: String,
    /// Chain.
    pub chain: String,
    /// `PREROUTING`, `INPUT`, `FORWARD`, `OUTPUT`, `POSTROUTING`, `INGRESS`, `EGRESS`.
    pub hook: String,
    /// Priority.
    pub priority: i32,
    /// Whether its policy drops.
    pub policy_drop: bool,
    /// How many rules it holds itself; `None` where unknown.
    pub rules: Option<u32>,
    /// How many packets met the policy; `None` where nothing counts them.
    #[serde(default)]
    pub policy_packets: Option<u64>,
    /// `filter`, `nat` or `route`; `None` where that was not told.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kind: Option<String>,
    /// Devices to which a chain of `netdev` is bound; empty: all.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub devices: Vec<String>,
    /// Of recordings made before rules were kept whole: rules of this chain, and of those reached from it, that can
    /// end a packet's way and were not known to have been idle; in the order of evaluation. Accepting rules only where
    /// they look at the connection's state.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub stops: Vec<FilterRule>,
    /// There were more of them than are kept, or they were not all understood.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub more_stops: bool,
}

impl BaseChain {
    /// Whether iptables made this chain, or can at least show and change it.
    #[must_use]
    pub fn is_iptables(&self) -> bool {
        matches!(self.family.as_str(), "ip" | "ip6")
            && matches!(
                self.table.as_str(),
                "filter" | "mangle" | "raw" | "nat" | "security"
            )
            && self.chain == self.hook
    }

    /// Whether it translates addresses: by its table's name or the priorities of NAT
    /// (linux/netfilter_ipv4.h: NF_IP_PRI_NAT_DST, NF_IP_PRI_NAT_SRC).
    #[must_use]
    pub fn is_nat(&self) -> bool {
        if let Some(kind) = &self.kind {
            return kind == "nat";
        }
        self.table == "nat"
            || matches!(
                (self.hook.as_str(), self.priority),
                ("PREROUTING" | "OUTPUT", NF_IP_PRI_NAT_DST)
                    | ("POSTROUTING" | "INPUT", NF_IP_PRI_NAT_SRC)
            )
    }
}

/// Which packet filter.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum FilterEngine {
    /// nf_tables.
    Nftables,
    /// x_tables (iptables-legacy).
    Legacy,
}

/// A rule that can end a packet's way.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FilterRule {
    /// The chain in which it stands.
    pub chain: String,
    /// Its handle, in nftables.
    pub handle: Option<u64>,
    /// Its place in the chain, from 1.
    pub number: u32,
    /// What it does.
    pub stop: Stop,
    /// As the program that made it would print it, as far as it is understood.
    pub text: String,
    /// Whether `text` says all of it.
    pub whole: bool,
    /// How many packets it counted; `None` where it has no counter.
    pub packets: Option<u64>,
    /// What has to hold for a packet to meet it: its own tests and those of the jumps that lead to it.
    pub tests: Vec<Test>,
}

/// How a rule ends a packet's way.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Stop {
    /// Discards it.
    Drop,
    /// Discards it and answers.
    Reject,
    /// Hands it to a process.
    Queue,
    /// Lets it pass this base chain.
    Accept,
    /// Translates it.
    Nat,
}

/// Which end of a packet, or which of its two interfaces.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Side {
    /// Source address or port; input interface.
    Source,
    /// Destination address or port; output interface.
    Destination,
}

/// One condition of a rule.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Test {
    /// The address lies in one of these ranges.
    Address {
        /// Which.
        side: Side,
        /// First and last.
        ranges: Vec<(IpAddr, IpAddr)>,
        /// Or rather in none.
        not: bool,
    },
    /// The port lies in one of these ranges.
    Port {
        /// Which; `None`: either.
        side: Option<Side>,
        /// First and last.
        ranges: Vec<(u16, u16)>,
        /// Or rather in none.
        not: bool,
    },
    /// Transport protocol.
    Protocol {
        /// IPPROTO_*.
        number: u8,
        /// Or rather not.
        not: bool,
    },
    /// IPv4 or IPv6.
    Version {
        /// IPv6.
        v6: bool,
        /// Or rather not.
        not: bool,
    },
    /// Interface.
    Interface {
        /// Input or output.
        side: Side,
        /// Its name; `*` at the end stands for anything.
        name: String,
        /// Or rather not.
        not: bool,
    },
    /// State of the connection: bits of NF_CT_STATE_* (1 invalid, 2 established, 4 related, 8 new, 64 untracked).
    State {
        /// Any of them.
        mask: u32,
        /// Or rather none.
        not: bool,
    },
    /// ICMP type.
    IcmpType {
        /// Type.
        number: u8,
        /// Or rather not.
        not: bool,
    },
    /// skb mark, after a mask.
    Mark {
        /// Value.
        value: u32,
        /// Mask.
        mask: u32,
        /// Or rather not.
        not: bool,
    },
    /// A field lies in one of these ranges.
    Is {
        /// Which field.
        field: Field,
        /// Bits that are compared; `None`: all.
        mask: Option<u64>,
        /// First and last.
        ranges: Vec<(Value, Value)>,
        /// Or rather in none.
        not: bool,
    },
    /// A set has an element for these fields.
    InSet {
        /// What is looked up, joined.
        fields: Vec<Field>,
        /// The set's name.
        set: String,
        /// Or rather none.
        not: bool,
    },
    /// One of them holds.
    Any(Vec<Test>),
    /// Anything else, in words.
    Other(String),
}

impl Test {
    /// The test turned round.
    #[must_use]
    pub fn negated(mut self) -> Self {
        match &mut self {
            Self::Address { not, .. }
            | Self::Port { not, .. }
            | Self::Protocol { not, .. }
            | Self::Version { not, .. }
            | Self::Interface { not, .. }
            | Self::State { not, .. }
            | Self::IcmpType { not, .. }
            | Self::Mark { not, .. }
            | Self::Is { not, .. }
            | Self::InSet { not, .. } => *not = !*not,
            Self::Any(_) => return Self::Other("not any of …".to_owned()),
            Self::Other(text) => *text = format!("not {text}"),
        }
        self
    }
}
