//! Ports of Open vSwitch whose MTU is smaller than the packet: it drops there without telling the sender (ovs_vport_send,
//! net/openvswitch/vport.c).

use crate::host::facts::Link;
use crate::model::DropInfo;
use crate::network::links::peer_of;
use crate::verdict::{Confidence, Place};

use super::super::candidate::{Candidate, place_at};
use super::super::causes::MTU_EXCEEDED;
use super::super::remedy::{Remedy, Shell, command};
use super::{KIND, Scene};

/// Where it is dropped, and the function into which that may be compiled: there, other drops without a reason are too.
const FUNCTION: &str = "ovs_vport_send";
const AROUND: &str = "do_execute_actions";

/// A packet that a port does not take.
pub(super) fn exceeded(scene: &Scene<'_>, info: &DropInfo) -> Option<Candidate> {
    let length = scene.length?;
    let sure = match info.function.as_deref() {
        Some(FUNCTION) => true,
        Some(AROUND) if info.is_unnamed() => false,
        _ => return None,
    };
    let netns = scene.device.netns;
    let ports = scene.answer.bridges.iter().flat_map(|bridge| &bridge.ports);
    let links = ports.filter_map(|port| {
        let mut links = scene.host.links();
        links.find(|link| link.device.netns == netns && link.name == port.name)
    });
    // The daemon gives internal ports the smallest MTU of their bridge.
    let mut small =
        links.filter(|link| link.mtu < length && link.device != scene.device && link.kind != KIND);
    let only = small.next().filter(|_| small.next().is_none());
    if only.is_none() && !sure {
        return None;
    }
    let to = only.map_or_else(
        || "the port to which Open vSwitch sends it".to_owned(),
        |link| format!("port {} (MTU {})", link.name, link.mtu),
    );
    let words =
        format!("a packet of {length} bytes is larger than {to} takes, and the sender is not told");
    let mut candidate = scene.candidate(&MTU_EXCEEDED, words);
    candidate.place = Place {
        function: candidate.place.function.take(),
        ..place_at(
            scene.host,
            only.map_or(scene.device, |link| link.device),
            "device",
        )
    };
    if !sure {
        candidate.confidence = Confidence::Likely;
    }
    let candidate = candidate
        .advise(scene.look())
        .advise([scene.shell().look("MTUs of the ports", "ip -br link")])
        .advise(only.map(|link| raise(scene, link, length)));
    Some(candidate)
}

/// The MTU of the port, and of the other end of its veth, raised to what is sent.
fn raise(scene: &Scene<'_>, link: &Link, length: u32) -> Remedy {
    let set = |link: &Link, mtu: u32| command!["ip link set dev", link.name, "mtu", mtu];
    let change = scene
        .shell()
        .change("let the port take it", set(link, length))
        .undone_by(set(link, link.mtu));
    match peer_of(scene.host, link.device).filter(|peer| peer.mtu < length) {
        Some(peer) => {
            let there = Shell::of(scene.host, Some(peer.device.netns));
            change
                .and_in(&there, set(peer, length))
                .undone_in(&there, set(peer, peer.mtu))
        }
        None => change,
    }
}
