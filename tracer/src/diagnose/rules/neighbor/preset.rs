//! A neighbour that answers nobody, since a program typed its MAC at the interface of a pod: a virtual machine behind that
//! interface, to which tc hands all that comes in, knows nothing of the entry.

use std::net::IpAddr;

use crate::host::Host;
use crate::host::facts::{Link, Question};
use crate::model::Mac;
use crate::network::links::peer_of;
use crate::network::neighbour::owners;
use crate::network::redirects;
use crate::network::segment::Segment;
use crate::uapi::neighbour::NUD_PERMANENT;

use super::super::super::device_state;
use super::super::super::layer2_commands::permanent_neighbour;
use super::super::super::remedy::{Command, Remedy, Shell, command, ip};
use super::super::super::words;
use super::Unresolved;

/// The interface at the other end of the asker's cable, where nobody on the asker's segment has the address.
fn beside(host: &Host, who: Unresolved) -> Option<&Link> {
    let peer = peer_of(host, who.device).filter(|peer| peer.master.is_none())?;
    owners(host, who.device, who.address)
        .is_empty()
        .then_some(peer)
}

/// What to read of the interfaces that hand each other what comes in.
pub(super) fn questions(host: &Host, who: Unresolved) -> Vec<Question> {
    let Some(peer) = beside(host, who) else {
        return Vec::new();
    };
    let state = |device| Question::DeviceState { device };
    let mut list = vec![state(peer.device)];
    let filters = device_state::at(host, peer.device, "tc-ingress");
    list.extend(
        filters
            .flat_map(|a| device_state::redirects(peer.device, a))
            .map(state),
    );
    let other = redirects::other_end(host, peer);
    list.extend(other.map(|other| Question::Neighbor {
        device: other.device,
        address: who.address,
    }));
    list
}

/// The entry that was typed at the interface to which the question is handed, with who has its MAC.
fn entry(host: &Host, who: Unresolved) -> Option<(&Link, Mac, &Link)> {
    let other = redirects::other_end(host, beside(host, who)?)?;
    let entry = host.neighbor(other.device, who.address)?;
    let mac = entry.mac.filter(|_| entry.state & NUD_PERMANENT != 0)?;
    let segment = Segment::of_mac(host, host.link(who.device)?, mac);
    let owner = host
        .by_mac(mac)
        .find(|link| segment.end(link.device).is_some())?;
    Some((other, mac, owner))
}

/// What the story is, as the end of the summary, and the entry for the asker.
pub(super) fn told(host: &Host, who: Unresolved) -> Option<(String, Remedy)> {
    let (other, mac, owner) = entry(host, who)?;
    let [asker, typed, owner] =
        [who.device, other.device, owner.device].map(|device| words::interface(host, device));
    let said = format!(
        "; {typed} has a permanent entry for it ({mac}, {owner}), and {asker}, to which it hands all that comes in, has none"
    );
    let name = host.interface(who.device);
    let change = Shell::of(host, Some(who.device.netns))
        .change(
            format!("give {asker} the entry too"),
            permanent_neighbour(who.address, mac, &name),
        )
        .undone_by(deleted(who.address, &name));
    Some((said, change))
}

fn deleted(address: IpAddr, name: &str) -> Command {
    command![..ip(address.is_ipv6()), "neigh del", address, "dev", name]
}

/// The interface that gets questions of the asker, beyond those that only hand them on.
pub(super) fn far_end<'a>(host: &'a Host, peer: &'a Link) -> &'a Link {
    redirects::other_end(host, peer)
        .and_then(|other| peer_of(host, other.device))
        .unwrap_or(peer)
}
