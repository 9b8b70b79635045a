//! Facts of layer 2: bridges and their ports, VXLAN devices, and entries of forwarding databases.

use std::net::IpAddr;

use serde::{Deserialize, Serialize};

use crate::model::{Device, Mac};
use crate::uapi::neighbour::NUD_PERMANENT;

/// A bridge's own settings.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BridgeLink {
    /// Spanning tree runs (IFLA_BR_STP_STATE): in the kernel, or in a daemon.
    pub stp: bool,
    /// VLANs are filtered.
    pub vlan_filtering: bool,
}

/// An interface's settings as a port of a bridge. What an older kernel does not tell has the kernel's default.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BridgePort {
    /// State of the spanning tree, which also exists without one.
    pub state: PortState,
    /// Passes nothing to other isolated ports.
    pub isolated: bool,
    /// Takes frames only from MACs that the bridge has on this port.
    pub locked: bool,
    /// May send a frame back to where it came from.
    pub hairpin: bool,
    /// Learns MACs.
    pub learning: bool,
    /// Gets frames for unknown MACs.
    pub flood: bool,
    /// Gets multicasts that nobody asked for.
    pub mcast_flood: bool,
    /// Gets broadcasts.
    pub bcast_flood: bool,
}

impl Default for BridgePort {
    fn default() -> Self {
        Self {
            state: PortState::Forwarding,
            isolated: false,
            locked: false,
            hairpin: false,
            learning: true,
            flood: true,
            mcast_flood: true,
            bcast_flood: true,
        }
    }
}

/// State of a bridge's port (BR_STATE_* of linux/if_bridge.h).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum PortState {
    /// Set by hand, or the port has no carrier, or it or the bridge is down.
    Disabled,
    /// Takes part in the election only.
    Listening,
    /// Learns MACs and passes nothing.
    Learning,
    /// As it should be.
    Forwarding,
    /// Kept closed by the spanning tree.
    Blocking,
}

impl PortState {
    /// The state with the kernel's number.
    #[must_use]
    pub fn of(number: u8) -> Self {
        match number {
            0 => Self::Disabled,
            1 => Self::Listening,
            2 => Self::Learning,
            4 => Self::Blocking,
            _ => Self::Forwarding,
        }
    }

    /// As bridge(8) calls it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Disabled => "disabled",
            Self::Listening => "listening",
            Self::Learning => "learning",
            Self::Forwarding => "forwarding",
            Self::Blocking => "blocking",
        }
    }
}

/// A VXLAN device's settings.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct VxlanLink {
    /// VNI.
    pub vni: u32,
    /// UDP destination port.
    pub port: u16,
    /// Default remote.
    pub remote: Option<IpAddr>,
    /// Source address of what it sends.
    #[serde(default)]
    pub local: Option<IpAddr>,
    /// Whether it learns remotes from what it gets.
    #[serde(default)]
    pub learning: bool,
    /// Forbids fragments of what it sends: 0 no, 1 yes, 2 as the packet inside.
    #[serde(default)]
    pub df: u8,
}

/// What the forwarding database of a bridge or of a VXLAN device says about one MAC; no entries: it is not known.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Forwarding {
    /// The bridge or the VXLAN device.
    pub device: Device,
    /// About which MAC.
    pub mac: Mac,
    /// Entries, and of a VXLAN device also those for every unknown MAC.
    pub entries: Vec<FdbEntry>,
}

/// An entry of a forwarding database.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FdbEntry {
    /// The port; of a VXLAN device's own entries that device.
    pub port: u32,
    /// For every MAC without an entry of its own (all zeros, VXLAN).
    pub default: bool,
    /// Remote end (VXLAN).
    pub remote: Option<IpAddr>,
    /// NUD_* state: PERMANENT 0x80 marks an address of the host itself on a bridge, NOARP 0x40 a static entry.
    pub state: u16,
}

impl FdbEntry {
    /// The bridge takes frames for it as its own host's.
    #[must_use]
    pub fn is_own(&self) -> bool {
        self.state & NUD_PERMANENT != 0
    }
}
