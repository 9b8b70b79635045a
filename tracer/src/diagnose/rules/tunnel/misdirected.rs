//! A tunnel whose forwarding database sends frames to another machine than the one that has their MAC: who got the packet is not
//! at fault, whatever it did with it.

use crate::host::Host;
use crate::host::facts::Link;
use crate::model::{Detail, Device, Mac};
use crate::network::bridging::{bridge_of, ports};
use crate::network::links::peer_of;
use crate::network::tunnel::remote_of;

use super::super::super::candidate::{Candidate, Specificity, place_at};
use super::super::super::causes::TUNNEL_UNKNOWN;
use super::super::super::layer2_commands::fdb_of_tunnel;
use super::super::super::loss::Loss;
use super::super::super::overlay;
use super::super::super::remedy::Shell;
use super::super::super::words;
use super::HOOK;

/// The bit of a MAC's first byte that says that many are meant.
const GROUP: u8 = 1;

/// The VXLAN device that sent the packet to the namespace where it died, and the MAC for which it did.
fn sent<'a>(loss: &Loss<'a>) -> Option<(&'a Link, Mac)> {
    loss.steps().iter().rev().find_map(|step| {
        let out = matches!(step.event.detail, Detail::Egress);
        let link = loss.host.link(step.event.device.filter(|_| out)?)?;
        link.vxlan.as_ref()?;
        let mac = step.event.packet.as_ref()?.ethernet?.dst;
        (Some(link.device.netns) != loss.netns() && mac.0[0] & GROUP == 0).then_some((link, mac))
    })
}

/// The VXLAN device of the same overlay that has the MAC, or a bridge with somebody who has it.
fn owner(host: &Host, device: Device, mac: Mac) -> Option<&Link> {
    if let Some(owner) = overlay::owner(host, device, mac) {
        return Some(owner);
    }
    let vni = |link: &Link| link.vxlan.as_ref().map(|vxlan| vxlan.vni);
    let own = host.link(device).and_then(vni)?;
    let mut ends = host.by_mac(mac).filter(|end| !host.is_gone(end.device));
    let end = ends.next().filter(|_| ends.next().is_none())?;
    let port = peer_of(host, end.device)?;
    let bridge = bridge_of(host, port.device)?;
    ports(host, bridge).find(|port| vni(port) == Some(own))
}

/// The verdict's candidate.
pub(super) fn found(loss: &Loss<'_>) -> Option<Candidate> {
    let (link, mac) = sent(loss)?;
    let (host, device) = (loss.host, link.device);
    let end = loss
        .event
        .packet
        .as_ref()
        .and_then(|packet| packet.tunnel)
        .map(|tunnel| tunnel.outer.dst)
        .or_else(|| loss.dst())?;
    let by_entry = remote_of(host, device, mac).is_some_and(|remote| remote.address == end);
    let owner =
        owner(host, device, mac).filter(|owner| Some(owner.device.netns) != loss.netns())?;
    let truth = overlay::end_of(host, owner, device.netns).filter(|truth| *truth != end)?;
    if !by_entry {
        return None;
    }
    let shell = Shell::of(host, Some(device.netns));
    let entry = |end| overlay::entry("replace", mac, &link.name, end);
    Some(
        Candidate::new(
            &TUNNEL_UNKNOWN,
            place_at(host, device, HOOK),
            format!(
                "{} sends frames for {mac} to {end}, where no tunnel takes them: {mac} is at {truth} ({})",
                words::interface(host, device),
                words::interface(host, owner.device)
            ),
        )
        .explains(Specificity::Linked)
        .advise([
            shell.look(
                "look first: to which end the tunnel sends that MAC",
                fdb_of_tunnel(&link.name, mac),
            ),
            shell
                .change("name the end at which it is", entry(truth))
                .undone_by(entry(end)),
        ]),
    )
}
