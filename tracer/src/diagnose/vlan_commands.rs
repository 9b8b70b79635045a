//! What to change where VLANs keep a frame back: those of a bridge's port, and devices that take and give tags.

use std::net::IpAddr;

use crate::host::Host;
use crate::host::facts::{InterfaceAddress, Link, PortVlan};
use crate::network::bridging::{VlanGap, bridge_of, port_vlans, ports};
use crate::network::links::{lower_of, peer_of, uppers};
use crate::network::segment::Tag;

use super::remedy::{Command, Remedy, Shell, command, ip};
use super::words;

/// Longest name of an interface (IFNAMSIZ without its end).
const LONGEST: usize = 15;
/// How a port gets frames of the only VLAN of the machine behind it.
const ACCESS: &[&str] = &["pvid", "untagged"];
/// More tags than that are not stacked.
const MOST_TAGS: usize = 2;

/// Lets a frame through that a bridge keeps back for its VLAN.
#[must_use]
pub fn admit(host: &Host, gap: &VlanGap<'_>) -> Vec<Remedy> {
    let shell = Shell::of(host, Some(gap.port.device.netns));
    let bridge = bridge_of(host, gap.port.device).map_or("", |bridge| bridge.name.as_str());
    let mut list = vec![shell.look("check first: VLANs of the ports", "bridge vlan show")];
    list.extend((!bridge.is_empty()).then(|| {
        shell.look(
            "what kind of bridge it is",
            command!["ip -d link show dev", bridge],
        )
    }));
    list.extend(change(host, gap));
    list
}

fn change(host: &Host, gap: &VlanGap<'_>) -> Option<Remedy> {
    let port = gap.port;
    let Some(vlan) = gap.vlan else {
        let vlan = access_vlan(host, gap)?;
        return Some(give(host, port, vlan, ACCESS));
    };
    let Some(from) = gap.other.filter(|_| !gap.entry) else {
        return Some(give(host, port, vlan, &[]));
    };
    if takes_tags(host, port, vlan) {
        return Some(give(host, port, vlan, &[]));
    }
    // Two ports that should be in one VLAN: the one that is alone in its VLAN is the odd one.
    if let Some(other) = pvid(host, port).filter(|_| is_lonely(host, from, vlan)) {
        return Some(give(host, from, other, ACCESS));
    }
    let apart = pvid(host, port).map(|own| {
        format!(
            "VLANs {vlan} and {own} keep the two apart, which may be meant; {} leaves VLAN {own} as the one of frames without a tag",
            port.name
        )
    });
    Some(give(host, port, vlan, ACCESS).scope(apart))
}

/// The VLAN of frames without a tag that come in at a port, where all others agree on it, or that of the port to which
/// the frame goes.
fn access_vlan(host: &Host, gap: &VlanGap<'_>) -> Option<u16> {
    if let Some(other) = gap.other {
        return pvid(host, other);
    }
    let bridge = bridge_of(host, gap.port.device)?;
    let mut found = ports(host, bridge)
        .filter(|port| port.device != gap.port.device)
        .filter_map(|port| pvid(host, port));
    let first = found.next()?;
    found.all(|vlan| vlan == first).then_some(first)
}

/// The VLAN of frames without a tag.
fn pvid(host: &Host, port: &Link) -> Option<u16> {
    let vlans = port_vlans(host, port);
    vlans.iter().find(|v| v.pvid).map(|v| v.first)
}

fn holds(vlans: &[PortVlan], vlan: u16) -> Option<PortVlan> {
    let here = |v: &&PortVlan| (v.first..=v.last).contains(&vlan);
    vlans.iter().find(here).copied()
}

/// Whether a port has a VLAN as the one of frames without a tag, and no other port has it at all.
fn is_lonely(host: &Host, port: &Link, vlan: u16) -> bool {
    let Some(bridge) = bridge_of(host, port.device) else {
        return false;
    };
    let mut others = ports(host, bridge).filter(|other| other.device != port.device);
    pvid(host, port) == Some(vlan)
        && others.all(|other| holds(&port_vlans(host, other), vlan).is_none())
}

/// Whether what is behind a port takes a VLAN with its tag: a VLAN device, or another bridge that filters.
fn takes_tags(host: &Host, port: &Link, vlan: u16) -> bool {
    let Some(behind) = peer_of(host, port.device) else {
        return false;
    };
    let device = uppers(host, behind).any(|upper| upper.vlan == Some(vlan));
    let trunk = holds(&port_vlans(host, behind), vlan).is_some_and(|v| !v.untagged);
    device || trunk
}

/// A port put into a VLAN, and what it had before put back.
fn give(host: &Host, port: &Link, vlan: u16, how: &'static [&'static str]) -> Remedy {
    let own = port_vlans(host, port);
    let set = |verb: &'static str, vlan: u16, how: &[&'static str]| -> Command {
        // The bridge's own device is a port without a master.
        let own = (port.kind == "bridge").then_some("self");
        let how: Vec<&str> = how.to_vec();
        command![
            "bridge vlan",
            verb,
            "dev",
            port.name,
            "vid",
            vlan,
            ..how,
            ..own
        ]
    };
    let flags = |v: PortVlan| -> Vec<&'static str> {
        let words = [(v.pvid, "pvid"), (v.untagged, "untagged")];
        words
            .into_iter()
            .filter(|(on, _)| *on)
            .map(|(_, word)| word)
            .collect()
    };
    let text = match how {
        [] => format!("let {} take VLAN {vlan} with its tag", port.name),
        _ => format!(
            "make VLAN {vlan} the one of frames without a tag at {}",
            port.name
        ),
    };
    let change = Shell::of(host, Some(port.device.netns)).change(text, set("add", vlan, how));
    let change = match holds(&own, vlan) {
        Some(before) => change.undone_by(set("add", vlan, &flags(before))),
        None => change.undone_by(set("del", vlan, &[])),
    };
    let moved = own
        .iter()
        .find(|v| v.pvid && v.first != vlan && !how.is_empty());
    match moved {
        Some(before) => change.undone_by(set("add", before.first, &flags(*before))),
        None => change,
    }
}

/// A frame that comes to an interface with this outer tag, or without one, and the address for which it is.
#[derive(Clone, Copy)]
pub struct Mistagged<'a> {
    /// The interface.
    pub link: &'a Link,
    /// The outer tag.
    pub tag: Option<Tag>,
    /// Whom it is for.
    pub address: IpAddr,
}

impl<'a> Mistagged<'a> {
    /// The interface that has the address: this one, or a VLAN device on it.
    #[must_use]
    pub fn holder(&self, host: &'a Host) -> Option<&'a Link> {
        let mut owners = host.owners(self.address).filter_map(|d| host.link(d));
        owners.find(|owner| self.tags_down(host, owner).is_some())
    }

    /// The tags that a VLAN device puts on a frame until it leaves through the interface, innermost first.
    fn tags_down(&self, host: &'a Host, holder: &'a Link) -> Option<Vec<Tag>> {
        let mut tags = Vec::new();
        let mut at = holder;
        while at.device != self.link.device {
            tags.push(Tag::of(at)?);
            at = lower_of(host, at).filter(|_| tags.len() <= MOST_TAGS)?;
        }
        Some(tags)
    }

    /// Lets the address be reached with the tag with which its frames come: by the bridge's port on the way, or by a
    /// VLAN device made for it.
    #[must_use]
    pub fn advice(&self, host: &'a Host) -> Vec<Remedy> {
        let shell = Shell::of(host, Some(self.link.device.netns));
        let look = shell.look(
            "look first: VLAN devices and their numbers",
            "ip -d link show type vlan",
        );
        let change = self.at_port(host).or_else(|| self.moved(host));
        [look].into_iter().chain(change).collect()
    }

    /// The port of a filtering bridge at the other end gives it the tag that is taken, or none.
    fn at_port(&self, host: &'a Host) -> Option<Remedy> {
        let port = peer_of(host, self.link.device)?;
        let bridge = bridge_of(host, port.device).filter(|b| b.device != port.device)?;
        if !bridge.bridge?.vlan_filtering {
            return None;
        }
        let holder = self.holder(host)?;
        match (self.tag, Tag::of(holder)) {
            (Some(tag), None) => Some(give(host, port, tag.vlan, ACCESS)),
            (None, Some(own)) => Some(give(host, port, own.vlan, &[])),
            _ => None,
        }
    }

    /// The address moved to a device of the tag that comes.
    fn moved(&self, host: &'a Host) -> Option<Remedy> {
        let holder = self.holder(host)?;
        let entry = host
            .addresses(holder.device)
            .iter()
            .find(|a| a.address == self.address)?;
        let mut tags = self.tags_down(host, holder)?;
        match (self.tag, tags.pop()) {
            (Some(tag), _) => tags.push(tag),
            (None, _) if !tags.is_empty() => return None,
            (None, _) => {}
        }
        let shell = Shell::of(host, Some(self.link.device.netns));
        let (commands, lower) = self.made(host, &tags)?;
        let moved = [
            addressed("del", entry, &holder.name),
            addressed("add", entry, &lower),
        ];
        let made = tags
            .last()
            .map(|tag| self.free_name(host, &self.link.name, tag.vlan));
        let text = match self.tag {
            Some(tag) => format!(
                "take {} here, with the address of {}",
                tag,
                words::interface(host, holder.device)
            ),
            None => format!(
                "take it without a tag: move the address from {}",
                holder.name
            ),
        };
        let mut all = commands.into_iter().chain(moved);
        let change = shell.change(text, all.next()?);
        let change = all.fold(change, Remedy::and);
        let change = match made.flatten() {
            Some(made) => change.undone_by(command!["ip link del", made]),
            None => change.undone_by(addressed("del", entry, &self.link.name)),
        };
        Some(
            change
                .undone_by(addressed("add", entry, &holder.name))
                .scope(format!(
                    "or give the other end the VLAN of {}: which end is wrong, facts do not tell; routes through {} go with its address",
                    holder.name, holder.name
                )),
        )
    }

    /// VLAN devices made one on the other, innermost tag first, and the name of the topmost.
    fn made(&self, host: &Host, tags: &[Tag]) -> Option<(Vec<Command>, String)> {
        let mut lower = self.link.name.clone();
        let mut commands = Vec::new();
        for tag in tags.iter().rev() {
            let name = self.free_name(host, &lower, tag.vlan)?;
            let kind = tag.service.then_some(["protocol", "802.1ad"]);
            let kind = kind.into_iter().flatten();
            commands.push(command![
                "ip link add link",
                lower,
                "name",
                name,
                "type vlan",
                ..kind,
                "id",
                tag.vlan
            ]);
            commands.push(command!["ip link set dev", name, "up"]);
            lower = name;
        }
        Some((commands, lower))
    }

    /// A name that no interface of the namespace has.
    fn free_name(&self, host: &Host, lower: &str, vlan: u16) -> Option<String> {
        let netns = self.link.device.netns;
        let taken = |name: &String| {
            let mut links = host.links().filter(|l| l.device.netns == netns);
            links.any(|l| l.name == *name && !host.is_gone(l.device))
        };
        [
            format!("{lower}.{vlan}"),
            format!("vlan{vlan}"),
            format!("{lower}-{vlan}"),
        ]
        .into_iter()
        .find(|name| name.len() <= LONGEST && !taken(name))
    }
}

fn addressed(verb: &'static str, entry: &InterfaceAddress, name: &str) -> Command {
    let v6 = entry.address.is_ipv6();
    let nodad = (v6 && verb == "add").then_some("nodad");
    let address = format!("{}/{}", entry.address, entry.prefix);
    command![..ip(v6), "addr", verb, address, "dev", name, ..nodad]
}
