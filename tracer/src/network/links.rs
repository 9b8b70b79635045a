//! Links: the other end of one, what it stands on, and why it carries nothing.

use std::net::IpAddr;

use crate::host::Host;
use crate::host::facts::{IpvlanMode, Link};
use crate::model::{Device, IfIndex};

/// Other end of a veth or netkit.
#[must_use]
pub fn peer_of(host: &Host, device: Device) -> Option<&Link> {
    let link = host.link(device)?;
    link.is_paired()
        .then(|| link.peer.and_then(|p| host.link(p)))
        .flatten()
}

/// The device on which a VLAN device, macvlan or ipvlan stands.
#[must_use]
pub fn lower_of<'a>(host: &'a Host, link: &Link) -> Option<&'a Link> {
    is_upper(link)
        .then(|| link.peer.and_then(|p| host.link(p)))
        .flatten()
}

/// The bridge, bond or VRF to which an interface belongs.
#[must_use]
pub fn master_of<'a>(host: &'a Host, link: &Link) -> Option<&'a Link> {
    host.link(Device {
        netns: link.device.netns,
        ifindex: IfIndex(link.master?),
    })
}

/// Interfaces that belong to a bridge, bond or VRF and still exist.
pub fn members<'a>(host: &'a Host, master: &Link) -> impl Iterator<Item = &'a Link> {
    let (netns, number) = (master.device.netns, master.device.ifindex.0);
    host.links().filter(move |l| {
        l.device.netns == netns && l.master == Some(number) && !host.is_gone(l.device)
    })
}

/// Whether a device stands on another one: a VLAN device, macvlan or ipvlan.
#[must_use]
pub fn is_upper(link: &Link) -> bool {
    matches!(
        link.kind.as_str(),
        "vlan" | "macvlan" | "macvtap" | "ipvlan" | "ipvtap" | "macsec"
    )
}

/// Whether a device shares its parent's segment with its siblings and sends to its parent's stack nothing that asks for
/// a neighbour: a macvlan, or an ipvlan of mode l2 (`ipvlan_xmit_mode_l2`, drivers/net/ipvlan/ipvlan_core.c).
#[must_use]
pub fn is_on_parent(link: &Link) -> bool {
    link.macvlan.is_some() || link.ipvlan == Some(IpvlanMode::L2)
}

/// Whether its broadcasts go to its siblings without leaving: an ipvlan's always, a macvlan's in bridge mode.
#[must_use]
pub fn is_switched(link: &Link) -> bool {
    link.macvlan.as_deref().unwrap_or("bridge") == "bridge"
}

/// Devices that stand on an interface and still exist.
pub fn uppers<'a>(host: &'a Host, lower: &Link) -> impl Iterator<Item = &'a Link> {
    let device = lower.device;
    host.links()
        .filter(move |l| l.peer == Some(device) && is_upper(l) && !host.is_gone(l.device))
}

/// Whether an interface serves nothing: one with an address of its own, or below another device, would lose what it serves if it
/// became the port of a bridge.
#[must_use]
pub fn is_idle(host: &Host, link: &Link) -> bool {
    let serves = |address: IpAddr| match address {
        IpAddr::V4(_) => true,
        IpAddr::V6(v6) => !v6.is_unicast_link_local(),
    };
    let mut own = host.addresses(link.device).iter();
    !own.any(|own| serves(own.address)) && uppers(host, link).next().is_none()
}

/// Why an interface carries nothing. The devices are those that have to be looked at.
#[derive(Clone, Debug, PartialEq)]
pub enum Trouble<'a> {
    /// It was removed.
    Gone,
    /// It is administratively down.
    Down,
    /// The other end was removed.
    PeerGone(&'a Link),
    /// The other end is down.
    PeerDown(&'a Link),
    /// A bridge without ports.
    NoPort,
    /// No port of the bridge forwards (`br_port_state_selection`, net/bridge/br_stp.c).
    ClosedPorts(Vec<&'a Link>),
    /// No process has the TUN device open.
    NoProcess,
    /// What it stands on carries nothing itself.
    Lower(&'a Link),
    /// No facts tell; the other end, where there is one.
    Untold(Option<&'a Link>),
}

/// Why an interface carries nothing, as far as facts tell. To be asked where it is known that it does not.
#[must_use]
pub fn trouble(host: &Host, device: Device) -> Trouble<'_> {
    let own = host.link(device);
    let peer = peer_of(host, device);
    match (own, peer) {
        _ if host.is_gone(device) => Trouble::Gone,
        (Some(own), _) if !own.up => Trouble::Down,
        (_, Some(peer)) if host.is_gone(peer.device) => Trouble::PeerGone(peer),
        (Some(own), None) if own.kind == "bridge" => {
            let ports: Vec<&Link> = members(host, own).collect();
            if ports.is_empty() {
                Trouble::NoPort
            } else {
                Trouble::ClosedPorts(ports)
            }
        }
        (_, Some(peer)) if !peer.up => Trouble::PeerDown(peer),
        (Some(own), None) if own.kind == "tun" => Trouble::NoProcess,
        (Some(own), None) => match lower_of(host, own) {
            Some(lower) if !carries(host, lower) => Trouble::Lower(lower),
            _ => Trouble::Untold(None),
        },
        (_, peer) => Trouble::Untold(peer),
    }
}

/// Whether an interface is there, up, and has a carrier, as far as is known; the other end of a veth counts too.
#[must_use]
pub fn carries(host: &Host, link: &Link) -> bool {
    let there = |l: &Link| l.up && !host.is_gone(l.device);
    there(link) && link.carrier && peer_of(host, link.device).is_none_or(there)
}

/// The smallest MTU among interfaces, with the interface that has it: the largest packet that passes them all.
pub fn smallest_mtu(
    host: &Host,
    devices: impl IntoIterator<Item = Device>,
) -> Option<(&Link, u32)> {
    devices
        .into_iter()
        .filter_map(|device| host.link(device))
        .map(|link| (link, link.mtu))
        .min_by_key(|(_, mtu)| *mtu)
}
