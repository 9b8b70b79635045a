//! What leads a frame astray beside a neighbour entry: the forwarding database of a bridge or of a VXLAN device, or a
//! sender without ARP.

use crate::host::Host;
use crate::host::facts::{Attachment, FdbEntry, Link};
use crate::model::{Device, IfIndex, Mac};
use crate::network::bridging::{true_way, way_to};
use crate::network::segment::Segment;
use crate::network::tunnel::remote_of;

use super::super::super::device_state;
use super::super::super::layer2_commands::{fdb_of_bridge, fdb_of_tunnel};
use super::super::super::loss::Loss;
use super::super::super::overlay;
use super::super::super::remedy::{Command, Remedy, Shell, command, text};
use super::super::super::words;
use super::super::duplicate::another_mac;
use super::{bridges, misredirected, rewritten, sender, unredirected, vxlan};

/// What led a frame astray.
pub struct Misled {
    /// As the end of a sentence.
    pub words: String,
    /// Kind and text.
    pub evidence: (&'static str, String),
    pub advice: Vec<Remedy>,
}

impl Misled {
    /// By a program or filter of an interface, or for want of its counterpart.
    pub(super) fn by(
        host: &Host,
        (device, attachment): (Device, &Attachment),
        words: String,
        advice: Vec<Remedy>,
    ) -> Self {
        let named = device_state::attachment(host, device, attachment);
        Self {
            words,
            evidence: (
                "program",
                format!("{} has {named}", words::interface(host, device)),
            ),
            advice,
        }
    }
}

/// Whether one of them misled the frame that should have arrived here.
pub(super) fn misled(loss: &Loss<'_>, here: Device, mac: Mac) -> Option<Misled> {
    unredirected::told(loss)
        .or_else(|| misredirected::told(loss, mac))
        .or_else(|| rewritten::told(loss))
        .or_else(|| by_noarp(loss, mac))
        .or_else(|| by_bridge(loss, here, mac))
        .or_else(|| by_vxlan(loss, mac))
}

/// A sender that asks nobody for MACs and puts its own on all that it sends (arp_constructor, net/ipv4/arp.c;
/// ndisc_constructor, net/ipv6/ndisc.c).
fn by_noarp(loss: &Loss<'_>, mac: Mac) -> Option<Misled> {
    let host = loss.host;
    let link = host.link(sender(loss)?)?;
    if !link.noarp || link.mac != Some(mac) {
        return None;
    }
    let set = |to: &'static str| command!["ip link set dev", link.name, "arp", to];
    let at = words::interface(host, link.device);
    Some(Misled {
        words: format!("{at} has ARP turned off (NOARP), and puts its own MAC on what it sends"),
        evidence: (
            "link",
            format!("{mac} is the MAC of {at} itself, which has the flag NOARP"),
        ),
        advice: vec![
            Shell::of(host, Some(link.device.netns))
                .change("let it ask for MACs", set("on"))
                .undone_by(set("off")),
        ],
    })
}

/// A bridge that sends the frame to another port than the one behind which its MAC is, or takes it for its own.
fn by_bridge(loss: &Loss<'_>, here: Device, mac: Mac) -> Option<Misled> {
    let known = Known::on_way(loss, mac)?;
    let Known {
        bridge,
        port,
        entry,
        ..
    } = known;
    let truth = true_way(loss.host, bridge, mac).filter(|t| t.device != port.device);
    let own = entry.is_own() && here == bridge.device;
    let mut others = loss.host.by_mac(mac).filter(|l| l.device != port.device);
    let twice = port.device != bridge.device
        && port.mac == Some(mac)
        && others.any(|other| way_to(loss.host, bridge, other).is_some());
    if own && twice {
        let name = &port.name;
        return Some(Misled {
            words: format!(
                "{name}, a port of {}, has that MAC too, and the bridge takes what is for it for its own",
                bridge.name
            ),
            evidence: (
                "fdb",
                format!("{} has a local entry for {mac}, on {name}", bridge.name),
            ),
            advice: another_mac(loss.host, port, mac).into(),
        });
    }
    if !own && (truth.is_none() || port.device == bridge.device) {
        return None;
    }
    Some(Misled {
        words: if own {
            format!(
                "the FDB of {} marks {mac} as its own (a local entry on {})",
                bridge.name, port.name
            )
        } else {
            format!(
                "the FDB of {} has it on port {}, but it is behind {}",
                bridge.name,
                port.name,
                truth.map_or("another", |t| t.name.as_str())
            )
        },
        evidence: (
            "fdb",
            format!(
                "{} has {} for {mac}, on {}",
                bridge.name,
                words::count(known.entries as u64, "entry").replace("entrys", "entries"),
                port.name
            ),
        ),
        advice: known.corrected(loss.host, truth),
    })
}

/// A port to which a bridge sends frames for a MAC, and behind which nobody has it: the owner is behind another port.
pub(in super::super) struct Misplaced<'a> {
    known: Known<'a>,
    truth: &'a Link,
    owner: &'a Link,
}

impl<'a> Misplaced<'a> {
    /// What the forwarding database has for a frame that the bridge did not pass on.
    pub(in super::super) fn of(host: &'a Host, bridge: &'a Link, mac: Mac) -> Option<Self> {
        let known = Known::at(host, bridge, mac).filter(|known| !known.entry.is_own())?;
        let behind = |port: &Link| port.master == Some(bridge.device.ifindex.0);
        let mut owners = host.by_mac(mac).filter(|link| !host.is_gone(link.device));
        let (owner, truth) = owners.find_map(|owner| {
            let truth = way_to(host, bridge, owner).filter(|truth| behind(truth))?;
            Some((owner, truth))
        })?;
        let there = Segment::of_mac(host, known.port, mac);
        let reached = |link: &Link| there.end(link.device).is_some();
        let twice = host.by_mac(mac).any(reached) || known.port.device == truth.device;
        (known.port.device != bridge.device && !twice).then_some(Self {
            known,
            truth,
            owner,
        })
    }

    /// As the end of a sentence.
    pub(in super::super) fn words(&self, host: &Host) -> String {
        format!(
            "the FDB of {} has {} on port {}, and it is behind {} ({})",
            self.known.bridge.name,
            self.known.mac,
            self.known.port.name,
            self.truth.name,
            words::interface(host, self.owner.device)
        )
    }

    /// The entry moved to the right port, or removed.
    pub(in super::super) fn advice(&self, host: &Host) -> Vec<Remedy> {
        let known = &self.known;
        let kind = known.entry.kind();
        let sticky = known.entry.sticky.then_some("sticky");
        let shell = Shell::of(host, Some(known.bridge.device.netns));
        let moved = shell
            .change(
                format!("name the port behind which it is: {}", self.truth.name),
                known.placed(self.truth, kind, sticky),
            )
            .undone_by(known.placed(known.port, kind, sticky));
        let learns = (kind == "dynamic").then(|| {
            text(format!(
                "the bridge learns the MAC on {} again as soon as a frame with it as source comes in there, as one that comes back by a loop or a flood: bridge link set dev {} learning off",
                known.port.name, known.port.name
            ))
        });
        let look = known.look(host);
        [look, moved].into_iter().chain(learns).collect()
    }
}

/// What a bridge has for a MAC.
struct Known<'a> {
    mac: Mac,
    bridge: &'a Link,
    port: &'a Link,
    entry: FdbEntry,
    /// How many it has.
    entries: usize,
}

impl<'a> Known<'a> {
    /// Of the first bridge on the way that has something.
    fn on_way(loss: &Loss<'a>, mac: Mac) -> Option<Self> {
        bridges(loss).find_map(|bridge| Self::at(loss.host, bridge, mac))
    }

    fn at(host: &'a Host, bridge: &'a Link, mac: Mac) -> Option<Self> {
        let answer = host.forwarding(bridge.device, mac)?;
        let entry = *answer.entries.iter().find(|e| !e.default)?;
        let entries = answer.entries.len();
        let port = host.link(Device {
            netns: bridge.device.netns,
            ifindex: IfIndex(entry.port),
        })?;
        Some(Self {
            mac,
            bridge,
            port,
            entry,
            entries,
        })
    }

    fn look(&self, host: &Host) -> Remedy {
        Shell::of(host, Some(self.bridge.device.netns)).look(
            "look first: the bridge's entry for the MAC",
            fdb_of_bridge(&self.bridge.name, self.mac),
        )
    }

    /// The wrong entry removed, or made the right one.
    fn corrected(&self, host: &Host, truth: Option<&Link>) -> Vec<Remedy> {
        let shell = Shell::of(host, Some(self.bridge.device.netns));
        let sticky = self.entry.sticky.then_some("sticky");
        let back = || self.placed(self.port, self.entry.kind(), sticky);
        let look = self.look(host);
        let remove = shell
            .change(
                "remove the wrong entry: the bridge learns the right one by itself",
                command!["bridge fdb del", self.mac, "dev", self.port.name, "master"],
            )
            .undone_by(back());
        let right = truth.map(|truth| {
            shell
                .change(
                    "or name the port behind which the machine is",
                    self.placed(truth, "static", None),
                )
                .undone_by(back())
        });
        [look, remove].into_iter().chain(right).collect()
    }

    /// The MAC put on a port.
    fn placed(&self, port: &Link, kind: &str, sticky: Option<&str>) -> Command {
        command![
            "bridge fdb replace",
            self.mac,
            "dev",
            port.name,
            "master",
            kind,
            ..sticky
        ]
    }
}

/// A VXLAN device that sends the frame to another end than the one at which its MAC is.
fn by_vxlan(loss: &Loss<'_>, mac: Mac) -> Option<Misled> {
    let host = loss.host;
    let device = vxlan(loss)?.device;
    let remote = remote_of(host, device, mac)?.address;
    let owner = overlay::owner(host, device, mac)?;
    let truth = overlay::end_of(host, owner, device.netns).filter(|truth| *truth != remote)?;
    let name = host.interface(device);
    let shell = Shell::of(host, Some(device.netns));
    let entry = |end| overlay::entry("replace", mac, &name, end);
    Some(Misled {
        words: format!(
            "the FDB of {name} sends it to {remote}, but it is at {truth} ({})",
            words::interface(host, owner.device)
        ),
        evidence: ("fdb", format!("{name} sends frames for {mac} to {remote}")),
        advice: vec![
            shell.look(
                "look first: to which end the tunnel sends that MAC",
                fdb_of_tunnel(&name, mac),
            ),
            shell
                .change("name the end at which it is", entry(truth))
                .undone_by(entry(remote)),
        ],
    })
}
