//! What to read of bridges, VXLAN devices and their forwarding databases.

use std::collections::BTreeSet;

use crate::correlate::Trace;
use crate::host::Host;
use crate::host::facts::{Link, Question};
use crate::model::{Detail, Device, Mac};
use crate::network::bridging::{bridge_of, true_way, way_to};
use crate::network::links::peer_of;
use crate::network::neighbour::owners_at;
use crate::network::tunnel::remote_of;

use super::super::loss::Loss;
use super::super::overruled;
use super::super::ovs;
use super::super::rewriter;
use super::super::rules::l2;
use super::super::rules::neighbor::{self, Unresolved, silence};
use super::Asked;

/// A frame that a bridge or a tunnel had, or that came to the wrong interface.
pub(super) fn about_frame(loss: &Loss<'_>, list: &mut Asked) {
    let host = loss.host;
    let frame = l2::frame(loss);
    for bridge in bridges(loss) {
        list.push(Question::Link {
            device: bridge.device,
        });
        if bridge.bridge.is_some_and(|b| b.vlan_filtering) {
            list.push(Question::PortVlans {
                bridge: bridge.device,
            });
        }
        for mac in frame.iter().flat_map(|f| [f.dst, f.src]) {
            list.push(Question::Forwarding {
                device: bridge.device,
                mac,
            });
        }
        let behind = frame.and_then(|f| true_way(host, bridge, f.dst));
        if let Some(port) = behind {
            list.link(host, port.device);
        }
    }
}

/// By which neighbour entry the sender put its MAC on the frame.
pub(super) fn about_sender(loss: &Loss<'_>, list: &mut Asked) {
    if let Some(sender) = l2::sender(loss) {
        if let Some(tuple) = loss.tuple() {
            list.push(Question::route(
                sender.netns,
                tuple,
                l2::came_to(loss, sender).map_or(0, |d| d.ifindex.0),
            ));
        }
        if let Some(address) = l2::next_hop(loss, sender) {
            list.push(Question::Neighbor {
                device: sender,
                address,
            });
            l2::ask_who_told(loss.host, sender, address, list);
        }
    }
    if let Some(rewritten) = l2::Rewritten::of(loss) {
        let devices: Vec<_> = rewritten.devices().collect();
        rewriter::ask(loss.host, rewritten.netns(), &devices, list);
    }
}

/// A frame that was handed to a VXLAN device.
pub(super) fn about_tunnels(loss: &Loss<'_>, list: &mut Asked) {
    let host = loss.host;
    for (device, mac) in tunnelled(loss) {
        list.push(Question::Forwarding { device, mac });
        if loss.function().starts_with("vxlan_xmit")
            && let Some(remote) = remote_of(host, device, mac)
        {
            list.push(Question::route(device.netns, remote.outer(), 0));
        }
    }
}

/// Who should answer for an address, and what may keep the question or the answer back.
pub(in super::super) fn about_neighbor(
    trace: &Trace,
    host: &Host,
    who: Unresolved,
    list: &mut Asked,
) {
    if let Some(query) = neighbor::routed(trace, who) {
        list.lookup(host, who.device.netns, &query);
        if query.tuple.src.is_loopback() {
            let netns = who.device.netns;
            list.push(Question::Chains { netns });
        }
    }
    list.extend(silence::questions(trace, host, who));
    silence::ask_of_proxies(trace, host, who, list);
    overruled::ask_of_neighbor(host, who, list);
    list.extend(ovs::questions_of_neighbor(trace, host, who.address));
    // A namespace with the address may stand unattached where a bridge of the asker's should have a port.
    let bridge = [
        Some(who.device),
        peer_of(host, who.device).map(|l| l.device),
    ]
    .into_iter()
    .flatten()
    .find_map(|device| bridge_of(host, device));
    let Some(bridge) = bridge else { return };
    for owner in owners_at(host, who.device, who.address) {
        list.link(host, owner.device);
        let Some(port) = way_to(host, bridge, owner) else {
            continue;
        };
        list.link(host, port.device);
        let asker = host.link(who.device).and_then(|l| l.mac);
        for mac in [owner.mac, asker].into_iter().flatten() {
            list.push(Question::Forwarding {
                device: bridge.device,
                mac,
            });
        }
    }
}

/// Bridges that the packet passed, each once.
fn bridges<'a>(loss: &Loss<'a>) -> Vec<&'a Link> {
    let host = loss.host;
    let mut known = BTreeSet::new();
    loss.steps()
        .iter()
        .map(|s| &s.event)
        .chain([loss.event])
        .filter_map(|event| bridge_of(host, event.device?))
        .filter(|bridge| known.insert(bridge.device))
        .collect()
}

/// VXLAN devices that the packet was handed to, with the MAC for which they had to know the remote end.
fn tunnelled(loss: &Loss<'_>) -> Vec<(Device, Mac)> {
    loss.steps()
        .iter()
        .map(|s| &s.event)
        .filter(|e| matches!(e.detail, Detail::Egress))
        .filter_map(|e| {
            let device = e.device?;
            loss.host.link(device)?.vxlan.as_ref()?;
            Some((device, e.packet.as_ref()?.ethernet?.dst))
        })
        .collect()
}
