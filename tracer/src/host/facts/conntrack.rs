//! Connection tracking as facts.

use std::net::IpAddr;

use serde::{Deserialize, Serialize};

use crate::model::{NetNs, Tuple};

/// What conntrack knows of a packet's connection.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ConntrackAnswer {
    /// Where it was asked.
    pub netns: NetNs,
    /// For which packet.
    pub tuple: Tuple,
    /// In which zone.
    #[serde(default)]
    pub zone: u16,
    /// The entry, if there is one.
    pub entry: Option<ConntrackEntry>,
}

/// A connection.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ConntrackEntry {
    /// Addresses and ports as the first packet had them: source, destination.
    pub original: [(IpAddr, u16); 2],
    /// Addresses and ports that an answer has: source, destination.
    pub reply: [(IpAddr, u16); 2],
    /// IPS_* bits.
    pub status: u32,
    /// State of a TCP connection, by number (TCP_CONNTRACK_*).
    pub tcp_state: Option<u8>,
    /// Seconds until it is forgotten.
    pub timeout: Option<u32>,
    /// Zone.
    pub zone: u16,
}

/// Counters of a namespace's connection tracking since it exists.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ConntrackCounters {
    /// Packets that belong to no connection.
    pub invalid: u64,
    /// Connections that could not be entered.
    pub insert_failed: u64,
    /// Packets dropped for that, or for want of room.
    pub drop: u64,
    /// Connections thrown out early to make room.
    pub early_drop: u64,
}
