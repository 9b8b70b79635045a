//! Commands about MACs: what forwarding databases have for one, neighbour entries, and the MAC of an interface.

use std::net::IpAddr;

use crate::model::Mac;

use super::remedy::{Command, command, ip};

/// What every bridge and tunnel of the namespace has for a MAC.
#[must_use]
pub fn fdb_anywhere(mac: Mac) -> Command {
    command!["bridge fdb show"].piped_to(command!["grep -i", mac])
}

/// What a bridge has for a MAC, at all of its ports.
#[must_use]
pub fn fdb_of_bridge(bridge: &str, mac: Mac) -> Command {
    command!["bridge fdb show br", bridge].piped_to(command!["grep -i", mac])
}

/// What a tunnel has for a MAC.
#[must_use]
pub fn fdb_of_tunnel(device: &str, mac: Mac) -> Command {
    command!["bridge fdb show dev", device].piped_to(command!["grep -i", mac])
}

/// A neighbour entry that is never asked for again.
#[must_use]
pub fn permanent_neighbour(address: IpAddr, mac: Mac, device: &str) -> Command {
    neighbour(address, mac, device, "permanent")
}

/// A neighbour entry in a state (`nud`).
#[must_use]
pub fn neighbour(address: IpAddr, mac: Mac, device: &str, state: &'static str) -> Command {
    command![
        ..ip(address.is_ipv6()),
        "neigh replace",
        address,
        "lladdr",
        mac,
        "dev",
        device,
        "nud",
        state
    ]
}

/// Another MAC for an interface.
#[must_use]
pub fn set_mac(device: &str, mac: Mac) -> Command {
    command!["ip link set dev", device, "address", mac]
}
