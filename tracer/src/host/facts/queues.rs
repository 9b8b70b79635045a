//! Queues of packets for processes (NFQUEUE) as facts.

use serde::{Deserialize, Serialize};

use super::Holder;

/// A queue that a process has open, as /proc/net/netfilter/nfnetlink_queue shows it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct PacketQueue {
    /// Its number, which rules name.
    pub number: u16,
    /// Packets that wait for a verdict.
    pub waiting: u32,
    /// Packets that were dropped because it was full.
    pub dropped: u32,
    /// Packets that were dropped because the process's own buffer was full.
    pub undelivered: u32,
    /// Processes that have its socket open.
    pub holders: Vec<Holder>,
}
