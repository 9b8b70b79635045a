//! What nf_tables told of a packet while it went over its rules (nftrace).

use serde::{Deserialize, Serialize};

use super::RuleVerdict;
use crate::model::{NetNs, Tuple};

/// One step of a packet through a base chain and what is reached from it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RuleTrace {
    /// Where.
    pub netns: NetNs,
    /// The kernel's number for the packet: not unique for long.
    pub id: u32,
    /// Family of the table, as in [`super::BaseChain`].
    pub family: String,
    /// Table.
    pub table: String,
    /// Chain.
    pub chain: String,
    /// The rule; `None`: the end of the chain, or the policy of a base chain.
    pub handle: Option<u64>,
    /// What it decided.
    pub verdict: RuleVerdict,
    /// The packet as it came into the base chain: told at the first step of each.
    pub packet: Option<TracedPacket>,
}

/// What tells a traced packet from others.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TracedPacket {
    /// Its addresses and ports.
    pub tuple: Tuple,
    /// Identification in its IPv4 header; zero in IPv6.
    pub ip_id: u32,
    /// Sequence number of TCP, or of an echo message.
    pub sequence: Option<u32>,
}
