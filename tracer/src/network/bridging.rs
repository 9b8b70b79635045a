//! What a bridge does with a frame: the way to an end, the settings of the bridge and its ports for which a frame does
//! not go from one port to the other, and to which ports it goes.

use std::collections::BTreeSet;
use std::net::IpAddr;

use super::links::{is_idle, members, peer_of};
use crate::host::Host;
use crate::host::facts::{Link, PortState, PortVlan, Question};
use crate::model::{Device, IfIndex, Mac};

/// How a frame is addressed, as a bridge sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cast {
    /// To a MAC of its forwarding database.
    Known,
    /// To a MAC that it does not know.
    Unknown,
    /// To a group.
    Multicast,
    /// To all.
    Broadcast,
}

impl Cast {
    /// By the group bit: what a bridge does with a MAC that it has not learned.
    #[must_use]
    pub fn of(mac: Mac) -> Self {
        match mac.0 {
            [0xff, 0xff, 0xff, 0xff, 0xff, 0xff] => Self::Broadcast,
            [first, ..] if first & 1 != 0 => Self::Multicast,
            _ => Self::Unknown,
        }
    }
}

/// One setting, or state, for which a frame does not go from one end to the other.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Obstacle<'a> {
    /// The bridge is down.
    BridgeDown(&'a Link),
    /// The port does not forward.
    State(&'a Link, PortState),
    /// The port takes nothing from this MAC.
    Locked(&'a Link, Mac),
    /// The way back is the way in.
    Hairpin(&'a Link),
    /// Both ports are isolated.
    Isolated(&'a Link, &'a Link),
    /// The port gets no such frames, for this setting of bridge(8).
    Flood(&'a Link, &'static str),
    /// The bridge snoops, and nobody behind the port has joined this group.
    Snooping(&'a Link, IpAddr),
    /// The interface is no port of this bridge.
    NoPort(&'a Link, &'a Link),
    /// The port, or what is behind it, is down.
    LinkDown(&'a Link),
    /// The port does not belong to the frame's VLAN.
    Vlan(VlanGap<'a>),
    /// The bridge has the MAC on another port than the one to which the frame should go.
    Elsewhere(&'a Link, Mac),
    /// A link-local group that the bridge keeps to itself (`group_fwd_mask`).
    LinkLocal(&'a Link),
}

/// A VLAN to which a port of a bridge does not belong.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct VlanGap<'a> {
    /// The port, or the bridge as its own port.
    pub port: &'a Link,
    /// The VLAN; `None`: the port takes no frames without a tag.
    pub vlan: Option<u16>,
    /// The frame came in there; false: it should go out there.
    pub entry: bool,
    /// The port at the other end of its way through the bridge, where it is known.
    pub other: Option<&'a Link>,
}

/// The bridge that a device is, or is a port of.
#[must_use]
pub fn bridge_of(host: &Host, device: Device) -> Option<&Link> {
    let link = host.link(device)?;
    if link.kind == "bridge" {
        return Some(link);
    }
    let master = super::links::master_of(host, link)?;
    (master.kind == "bridge").then_some(master)
}

/// The interface of the bridge's namespace behind which an end is: the port that leads there, through other bridges
/// too. Where none does, the interface that stands unattached and serves nothing, or in another bridge, where a port
/// should be.
#[must_use]
pub fn way_to<'a>(host: &'a Host, bridge: &Link, end: &'a Link) -> Option<&'a Link> {
    let mut known = BTreeSet::new();
    let mut next = vec![end];
    let (mut unattached, mut elsewhere) = (None, None);
    while let Some(link) = next.pop() {
        let Some(port) = peer_of(host, link.device) else {
            continue;
        };
        if port.device == bridge.device || !known.insert(port.device) {
            continue;
        }
        let other = bridge_of(host, port.device);
        let here = port.device.netns == bridge.device.netns;
        match other {
            Some(other) if other.device == bridge.device => return Some(port),
            Some(other) => {
                elsewhere = elsewhere.or(here.then_some(port));
                next.extend(ports(host, other).filter(|p| p.device != port.device));
            }
            None => unattached = unattached.or((here && is_idle(host, port)).then_some(port)),
        }
    }
    unattached.or(elsewhere)
}

/// Ports of a bridge.
pub fn ports<'a>(host: &'a Host, bridge: &Link) -> impl Iterator<Item = &'a Link> {
    members(host, bridge)
}

/// The port to which the bridge sends frames for this MAC, by its forwarding database.
#[must_use]
pub fn learned_port<'a>(host: &'a Host, bridge: &Link, mac: Mac) -> Option<&'a Link> {
    let answer = host.forwarding(bridge.device, mac)?;
    let entry = answer.entries.iter().find(|e| !e.is_own() && !e.default)?;
    host.link(Device {
        netns: bridge.device.netns,
        ifindex: IfIndex(entry.port),
    })
}

/// The interface behind which the owner of this MAC really is.
#[must_use]
pub fn true_way<'a>(host: &'a Host, bridge: &Link, mac: Mac) -> Option<&'a Link> {
    host.by_mac(mac).find_map(|end| way_to(host, bridge, end))
}

/// Whether the bridge knows this MAC on this port; `None` when it was not asked.
fn known_on(host: &Host, bridge: &Link, mac: Mac, port: &Link) -> Option<bool> {
    let answer = host.forwarding(bridge.device, mac)?;
    Some(
        answer
            .entries
            .iter()
            .any(|e| e.port == port.device.ifindex.0 && !e.is_own()),
    )
}

/// Why the bridge takes nothing in at this port from this MAC.
#[must_use]
pub fn at_entry<'a>(
    host: &'a Host,
    bridge: &'a Link,
    from: &'a Link,
    source: Option<Mac>,
) -> Option<Obstacle<'a>> {
    if !bridge.up {
        return Some(Obstacle::BridgeDown(bridge));
    }
    let port = from.port?;
    if port.state != PortState::Forwarding {
        return Some(Obstacle::State(from, port.state));
    }
    let stranger = source.filter(|mac| known_on(host, bridge, *mac, from) == Some(false));
    match (port.locked, stranger) {
        (true, Some(mac)) => Some(Obstacle::Locked(from, mac)),
        _ => None,
    }
}

/// Why the bridge sends nothing from one port (or from its own host) to the other (`should_deliver` and `br_flood`,
/// net/bridge/br_forward.c). Its own host's broadcasts and groups are not held back by the flags of ports.
#[must_use]
pub fn towards<'a>(
    host: &'a Host,
    bridge: &'a Link,
    from: &'a Link,
    to: &'a Link,
    cast: Cast,
) -> Option<Obstacle<'a>> {
    if to.master != Some(bridge.device.ifindex.0) {
        return Some(Obstacle::NoPort(to, bridge));
    }
    if !to.up || peer_of(host, to.device).is_some_and(|peer| !peer.up) {
        return Some(Obstacle::LinkDown(to));
    }
    let port = to.port?;
    if port.state != PortState::Forwarding {
        return Some(Obstacle::State(to, port.state));
    }
    if from.device == to.device && !port.hairpin {
        return Some(Obstacle::Hairpin(to));
    }
    if port.isolated && from.port.is_some_and(|p| p.isolated) && from.device != to.device {
        return Some(Obstacle::Isolated(from, to));
    }
    let own = from.device == bridge.device;
    let (gets, setting) = match cast {
        Cast::Known => return None,
        Cast::Unknown => (port.flood, "flood"),
        Cast::Multicast => (port.mcast_flood || own, "mcast_flood"),
        Cast::Broadcast => (port.bcast_flood || own, "bcast_flood"),
    };
    (!gets).then_some(Obstacle::Flood(to, setting))
}

/// Whether a bridge that snoops keeps a group from a port (`br_multicast_flood`, net/bridge/br_forward.c): where there is
/// a querier, members and routers alone get it.
///
/// # Errors
/// What has to be read first.
pub fn snooped<'a>(
    host: &'a Host,
    bridge: &Link,
    to: &'a Link,
    group: IpAddr,
) -> Result<Option<Obstacle<'a>>, Question> {
    let settings = bridge.bridge.unwrap_or_default();
    if !settings.mcast_snooping {
        return Ok(None);
    }
    let device = bridge.device;
    let known = host.multicast.get(&device).map(|dated| &dated.fact);
    let known = known.ok_or(Question::MulticastPorts { bridge: device })?;
    let port = to.device.ifindex.0;
    let querier = settings.mcast_querier || !known.routers.is_empty();
    let member = known
        .members
        .iter()
        .any(|m| m.port == port && m.group == group);
    let passes = !querier || member || known.routers.contains(&port);
    Ok((!passes).then_some(Obstacle::Snooping(to, group)))
}

/// The VLAN of a frame within a bridge that filters VLANs, by the tag with which it came in at a port (or from the
/// bridge's own host).
///
/// # Errors
/// The obstacle, or what was not read.
pub fn vlan_in<'a>(
    host: &'a Host,
    bridge: &Link,
    from: &'a Link,
    tag: Option<u16>,
) -> Result<u16, VlanFault<'a>> {
    let vlans = vlans_of(host, bridge, from)?;
    let mut found = vlans.iter().filter(|v| match tag {
        Some(tag) => (v.first..=v.last).contains(&tag),
        None => v.pvid,
    });
    match found.next() {
        Some(vlan) => Ok(tag.unwrap_or(vlan.first)),
        None => Err(VlanFault::Obstacle(Obstacle::Vlan(VlanGap {
            port: from,
            vlan: tag,
            entry: true,
            other: None,
        }))),
    }
}

/// The tag with which a frame of a VLAN leaves a port, or goes up to the bridge's own host.
///
/// # Errors
/// The obstacle, or what was not read.
pub fn vlan_out<'a>(
    host: &'a Host,
    bridge: &Link,
    from: &'a Link,
    to: &'a Link,
    vlan: u16,
) -> Result<Option<u16>, VlanFault<'a>> {
    let vlans = vlans_of(host, bridge, to)?;
    match vlans.iter().find(|v| (v.first..=v.last).contains(&vlan)) {
        Some(entry) => Ok((!entry.untagged).then_some(vlan)),
        None => Err(VlanFault::Obstacle(Obstacle::Vlan(VlanGap {
            port: to,
            vlan: Some(vlan),
            entry: false,
            other: Some(from),
        }))),
    }
}

/// Why a frame's VLAN at a port is not known.
#[derive(Clone, Debug, PartialEq)]
pub enum VlanFault<'a> {
    /// The port does not belong to it.
    Obstacle(Obstacle<'a>),
    /// The tables were not read.
    Unread(Question),
}

/// The VLANs of a port, as far as they were read.
#[must_use]
pub fn port_vlans(host: &Host, port: &Link) -> Vec<PortVlan> {
    let bridge = bridge_of(host, port.device);
    let read = bridge.and_then(|bridge| host.port_vlans.get(&bridge.device));
    let number = port.device.ifindex.0;
    let all = read.into_iter().flat_map(|read| &read.fact);
    all.filter(|v| v.port == number).copied().collect()
}

fn vlans_of<'a>(host: &Host, bridge: &Link, port: &Link) -> Result<Vec<PortVlan>, VlanFault<'a>> {
    let read = host.port_vlans.get(&bridge.device);
    match read {
        Some(_) => Ok(port_vlans(host, port)),
        None => Err(VlanFault::Unread(Question::PortVlans {
            bridge: bridge.device,
        })),
    }
}

/// Where a frame goes that a bridge has got.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Forwarded<'a> {
    /// Ports out of which it goes.
    pub ports: Vec<&'a Link>,
    /// It goes up to the bridge's own host.
    pub up: bool,
    /// Why it goes no further, or not to a port.
    pub stopped: Vec<Obstacle<'a>>,
}

/// Where a frame goes that came in at a port, or from the bridge's own host (`br_handle_frame`,
/// `br_handle_frame_finish`, net/bridge/br_input.c). VLANs are not looked at.
#[must_use]
pub fn forward<'a>(
    host: &'a Host,
    bridge: &'a Link,
    from: &'a Link,
    (source, mac): (Option<Mac>, Mac),
) -> Forwarded<'a> {
    let own = from.device == bridge.device;
    let mut found = Forwarded::default();
    if !own && let Some(obstacle) = at_entry(host, bridge, from, source) {
        found.stopped.push(obstacle);
        return found;
    }
    if !own && is_kept(bridge, mac) {
        found.up = true;
        found.stopped.push(Obstacle::LinkLocal(bridge));
        return found;
    }
    let cast = Cast::of(mac);
    let entries = host.forwarding(bridge.device, mac);
    let is_own = entries.is_some_and(|f| f.entries.iter().any(|e| e.is_own() && !e.default));
    if cast == Cast::Unknown && (is_own || bridge.mac == Some(mac)) {
        found.up = !own;
        return found;
    }
    found.up = cast != Cast::Unknown && !own;
    let learned = learned_port(host, bridge, mac).filter(|_| cast == Cast::Unknown);
    let (cast, targets): (Cast, Vec<&Link>) = match learned {
        Some(port) => (Cast::Known, vec![port]),
        None => (cast, ports(host, bridge).collect()),
    };
    for to in targets {
        match towards(host, bridge, from, to, cast) {
            None => found.ports.push(to),
            // a flood never goes back, which is no obstacle
            Some(Obstacle::Hairpin(_)) if cast != Cast::Known => {}
            Some(obstacle) => found.stopped.push(obstacle),
        }
    }
    found
}

/// Whether a bridge keeps a link-local group to itself (`br_handle_frame`): the spanning tree's own goes on where none
/// runs, pause frames never do.
fn is_kept(bridge: &Link, mac: Mac) -> bool {
    let [0x01, 0x80, 0xc2, 0x00, 0x00, last @ 0..=0x0f] = mac.0 else {
        return false;
    };
    let settings = bridge.bridge.unwrap_or_default();
    let forwarded = settings.group_fwd_mask & (1 << last) != 0;
    match last {
        0 => settings.stp && !forwarded,
        1 => true,
        _ => !forwarded,
    }
}
