//! Facts of layer 2: bridges and their ports, bonds and their slaves, entries of forwarding databases, and addresses for
//! which a host answers in another's stead.

use std::net::IpAddr;

use serde::{Deserialize, Serialize};

use crate::model::{Device, Mac, NetNs};
use crate::uapi::neighbour::{NUD_NOARP, NUD_PERMANENT};

/// A bridge's own settings.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BridgeLink {
    /// Spanning tree runs (IFLA_BR_STP_STATE): in the kernel, or in a daemon.
    pub stp: bool,
    /// VLANs are filtered.
    pub vlan_filtering: bool,
    /// Multicasts go only where somebody asked for them, once there is a querier.
    #[serde(default = "yes")]
    pub mcast_snooping: bool,
    /// The bridge itself asks for members of groups.
    #[serde(default)]
    pub mcast_querier: bool,
    /// Link-local groups (01:80:c2:00:00:0X) that it forwards, one bit each.
    #[serde(default)]
    pub group_fwd_mask: u16,
}

impl Default for BridgeLink {
    /// As the kernel makes a bridge (br_dev_setup, net/bridge/br_device.c).
    fn default() -> Self {
        Self {
            stp: false,
            vlan_filtering: false,
            mcast_snooping: true,
            mcast_querier: false,
            group_fwd_mask: 0,
        }
    }
}

/// What recordings say that do not know a field.
fn yes() -> bool {
    true
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
    /// Gets no questions for neighbours that the bridge knows; it answers them itself (`neigh_suppress`).
    #[serde(default)]
    pub neigh_suppress: bool,
    /// Gets no flooded frames; the bridge answers its questions for neighbours that it knows (`proxy_arp`).
    #[serde(default)]
    pub proxy_arp: bool,
    /// Gets no questions that the bridge answered; it answers for neighbours behind this port (`proxy_arp_wifi`).
    #[serde(default)]
    pub proxy_arp_wifi: bool,
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
            neigh_suppress: false,
            proxy_arp: false,
            proxy_arp_wifi: false,
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

/// How an ipvlan passes packets on (IPVLAN_MODE_* of linux/if_link.h).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum IpvlanMode {
    /// By MAC, as a switch.
    L2,
    /// By the routes of its parent's namespace.
    L3,
    /// The same, through the packet filters of that namespace.
    L3s,
}

impl IpvlanMode {
    /// As ip-link(8) calls it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::L2 => "l2",
            Self::L3 => "l3",
            Self::L3s => "l3s",
        }
    }
}

/// A bond's settings, or a team's.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct BondLink {
    /// Mode as ip-link(8) calls it (`active-backup`, `802.3ad` …); `None` of a team, whose daemon alone knows it.
    pub mode: Option<String>,
    /// Number of the interface that alone carries packets (`active-backup`, `balance-tlb`, `balance-alb`), where there is one.
    pub active: Option<u32>,
}

/// An interface's state as a slave of a bond.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BondSlave {
    /// It carries packets (IFLA_BOND_SLAVE_STATE): in mode `802.3ad` it is part of the active aggregator; false: a backup.
    pub active: bool,
    /// The bond's monitor finds that its link is up (IFLA_BOND_SLAVE_MII_STATUS).
    pub up: bool,
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
    /// Stays on its port though the MAC is seen on another one (`sticky`).
    #[serde(default)]
    pub sticky: bool,
}

impl FdbEntry {
    /// The bridge takes frames for it as its own host's.
    #[must_use]
    pub fn is_own(&self) -> bool {
        self.state & NUD_PERMANENT != 0
    }

    /// What kind of entry of a bridge it is, as `bridge fdb` takes it.
    #[must_use]
    pub fn kind(&self) -> &'static str {
        match (self.is_own(), self.state & NUD_NOARP != 0) {
            (true, _) => "permanent",
            (false, true) => "static",
            (false, false) => "dynamic",
        }
    }
}

/// VLANs of the ports of a bridge, and of the bridge itself as its own port.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PortVlans {
    /// The bridge.
    pub bridge: Device,
    /// Entries, by port.
    pub vlans: Vec<PortVlan>,
}

/// VLANs of a port.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PortVlan {
    /// The port, or the bridge.
    pub port: u32,
    /// First VLAN.
    pub first: u16,
    /// Last VLAN.
    pub last: u16,
    /// Frames without a tag belong to it.
    pub pvid: bool,
    /// Its frames leave without a tag.
    pub untagged: bool,
}

/// What a bridge knows of groups.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MulticastPorts {
    /// The bridge.
    pub bridge: Device,
    /// Who asked for which group.
    pub members: Vec<GroupMember>,
    /// Ports behind which a multicast router or a querier is: they get all groups.
    pub routers: Vec<u32>,
}

/// A port behind which somebody asked for a group.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct GroupMember {
    /// The port.
    pub port: u32,
    /// The group.
    pub group: IpAddr,
    /// VLAN, zero for none.
    pub vlan: u16,
}

/// Addresses for which a namespace answers in another's stead (`ip neigh show proxy`), of one family.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProxyNeighbors {
    /// Where.
    pub netns: NetNs,
    /// IPv6.
    pub v6: bool,
    /// Interface on which it answers (zero: on all), and address.
    pub entries: Vec<(u32, IpAddr)>,
}
