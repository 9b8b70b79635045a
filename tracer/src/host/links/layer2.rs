//! What a link's message tells of bridges, bonds, macvlans and the interfaces that belong to them (below IFLA_INFO_DATA
//! and IFLA_INFO_SLAVE_DATA).

use crate::host::facts::{BondLink, BondSlave, BridgeLink, BridgePort, IpvlanMode, PortState};
use crate::host::netlink::{attributes, u16_of, u32_of};
use crate::uapi::if_link::{
    BOND_LINK_UP, BOND_MODES, BOND_STATE_ACTIVE, IFLA_BOND_ACTIVE_SLAVE, IFLA_BOND_MODE,
    IFLA_BOND_SLAVE_MII_STATUS, IFLA_BOND_SLAVE_STATE,
};

// Of linux/if_link.h.
const IFLA_BR_STP_STATE: u16 = 5;
const IFLA_BR_VLAN_FILTERING: u16 = 7;
const IFLA_BR_GROUP_FWD_MASK: u16 = 9;
const IFLA_BR_MCAST_SNOOPING: u16 = 23;
const IFLA_BR_MCAST_QUERIER: u16 = 25;
const IFLA_BRPORT_STATE: u16 = 1;
const IFLA_BRPORT_MODE: u16 = 4;
const IFLA_BRPORT_LEARNING: u16 = 8;
const IFLA_BRPORT_UNICAST_FLOOD: u16 = 9;
const IFLA_BRPORT_PROXYARP: u16 = 10;
const IFLA_BRPORT_PROXYARP_WIFI: u16 = 12;
const IFLA_BRPORT_MCAST_FLOOD: u16 = 27;
const IFLA_BRPORT_BCAST_FLOOD: u16 = 30;
const IFLA_BRPORT_NEIGH_SUPPRESS: u16 = 32;
const IFLA_BRPORT_ISOLATED: u16 = 33;
const IFLA_BRPORT_LOCKED: u16 = 39;
const IFLA_MACVLAN_MODE: u16 = 1;
const IFLA_IPVLAN_MODE: u16 = 1;
const IFLA_VLAN_ID: u16 = 1;
const IFLA_VLAN_PROTOCOL: u16 = 5;
/// ETH_P_8021AD of linux/if_ether.h.
const SERVICE_TAG: u16 = 0x88a8;

pub(super) fn bridge_of(data: &[u8]) -> BridgeLink {
    let mut bridge = BridgeLink::default();
    for (kind, value) in attributes(data) {
        match kind {
            IFLA_BR_STP_STATE => bridge.stp = u32_of(value).is_some_and(|state| state != 0),
            IFLA_BR_VLAN_FILTERING => bridge.vlan_filtering = is_set(value),
            IFLA_BR_GROUP_FWD_MASK => bridge.group_fwd_mask = u16_of(value).unwrap_or_default(),
            IFLA_BR_MCAST_SNOOPING => bridge.mcast_snooping = is_set(value),
            IFLA_BR_MCAST_QUERIER => bridge.mcast_querier = is_set(value),
            _ => {}
        }
    }
    bridge
}

pub(super) fn port_of(data: &[u8]) -> BridgePort {
    let mut port = BridgePort::default();
    for (kind, value) in attributes(data) {
        match kind {
            IFLA_BRPORT_STATE => {
                port.state = PortState::of(value.first().copied().unwrap_or_default());
            }
            IFLA_BRPORT_MODE => port.hairpin = is_set(value),
            IFLA_BRPORT_LEARNING => port.learning = is_set(value),
            IFLA_BRPORT_UNICAST_FLOOD => port.flood = is_set(value),
            IFLA_BRPORT_MCAST_FLOOD => port.mcast_flood = is_set(value),
            IFLA_BRPORT_BCAST_FLOOD => port.bcast_flood = is_set(value),
            IFLA_BRPORT_NEIGH_SUPPRESS => port.neigh_suppress = is_set(value),
            IFLA_BRPORT_PROXYARP => port.proxy_arp = is_set(value),
            IFLA_BRPORT_PROXYARP_WIFI => port.proxy_arp_wifi = is_set(value),
            IFLA_BRPORT_ISOLATED => port.isolated = is_set(value),
            IFLA_BRPORT_LOCKED => port.locked = is_set(value),
            _ => {}
        }
    }
    port
}

/// MACVLAN_MODE_* of linux/if_link.h, as ip-link(8) calls them.
pub(super) fn macvlan_mode(data: &[u8]) -> Option<String> {
    const MODES: [(u32, &str); 5] = [
        (1, "private"),
        (2, "vepa"),
        (4, "bridge"),
        (8, "passthru"),
        (16, "source"),
    ];
    let (_, value) = attributes(data).find(|(kind, _)| *kind == IFLA_MACVLAN_MODE)?;
    let number = u32_of(value)?;
    MODES
        .iter()
        .find(|(mode, _)| *mode == number)
        .map(|(_, name)| (*name).to_owned())
}

pub(super) fn ipvlan_mode(data: &[u8]) -> Option<IpvlanMode> {
    const MODES: [IpvlanMode; 3] = [IpvlanMode::L2, IpvlanMode::L3, IpvlanMode::L3s];
    let (_, value) = attributes(data).find(|(kind, _)| *kind == IFLA_IPVLAN_MODE)?;
    MODES.get(usize::from(u16_of(value)?)).copied()
}

/// Number of a VLAN device, and whether its tag is a service tag (802.1ad).
pub(super) fn vlan_of(data: &[u8]) -> (Option<u16>, bool) {
    let number = |wanted: u16| {
        let (_, value) = attributes(data).find(|(kind, _)| *kind == wanted)?;
        u16_of(value)
    };
    let service = number(IFLA_VLAN_PROTOCOL).map(u16::from_be) == Some(SERVICE_TAG);
    (number(IFLA_VLAN_ID), service)
}

pub(super) fn bond_of(data: &[u8]) -> BondLink {
    let mut bond = BondLink::default();
    for (kind, value) in attributes(data) {
        match kind {
            IFLA_BOND_MODE => {
                let mode = value.first().and_then(|n| BOND_MODES.get(usize::from(*n)));
                bond.mode = mode.map(|name| (*name).to_owned());
            }
            IFLA_BOND_ACTIVE_SLAVE => bond.active = u32_of(value),
            _ => {}
        }
    }
    bond
}

/// `None` where the message does not tell both.
pub(super) fn slave_of(data: &[u8]) -> Option<BondSlave> {
    let byte = |wanted: u16| {
        let (_, value) = attributes(data).find(|(kind, _)| *kind == wanted)?;
        value.first().copied()
    };
    Some(BondSlave {
        active: byte(IFLA_BOND_SLAVE_STATE)? == BOND_STATE_ACTIVE,
        up: byte(IFLA_BOND_SLAVE_MII_STATUS)? == BOND_LINK_UP,
    })
}

pub(super) fn is_set(value: &[u8]) -> bool {
    value.first().is_some_and(|flag| *flag != 0)
}
