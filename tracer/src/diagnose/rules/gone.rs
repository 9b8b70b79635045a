//! Frames for a machine that is no more: its neighbour entry outlived it at the sender, and nobody on the segment has the
//! MAC or the address.

use std::net::IpAddr;

use crate::host::Host;
use crate::host::facts::Link;
use crate::model::{Device, Mac};
use crate::network::bridging::{Cast, bridge_of, way_to};
use crate::network::neighbour::owners_at;
use crate::network::segment::Segment;

use super::super::candidate::{Candidate, Specificity, place_at};
use super::super::causes::L2_GONE;
use super::super::loss::Loss;
use super::super::remedy::{Shell, command, ip, text};
use super::super::words;
use super::l2;
use super::l2::rewritten::Rewritten;

/// `where.hook` of this family: what is stale is the sender's entry.
const HOOK: &str = "neighbor";

/// The frame was for a MAC that no interface of the sender's segment has, as its next hop that no interface has.
pub fn address(loss: &Loss<'_>) -> Option<Candidate> {
    let host = loss.host;
    let frame = l2::frame(loss)?;
    let sender = l2::sender(loss)?;
    let link = host.link(sender).filter(|l| l.vxlan.is_none())?;
    let hop = l2::next_hop(loss, sender)?;
    let unicast = Cast::of(frame.dst) == Cast::Unknown;
    // With another MAC than that of its neighbour entry the frame was rewritten behind it.
    let rewritten = Rewritten::of(loss).is_some();
    let only = |device| l2::is_only_receiver(host, sender, hop, device);
    if !unicast
        || rewritten
        || loss.device().is_some_and(only)
        || !owners_at(host, sender, hop).is_empty()
        || !nobody_has(loss, link, frame.dst)
    {
        return None;
    }
    let place = place_at(host, sender, HOOK);
    let from = words::interface(host, sender);
    let former = former(host, hop, frame.dst)
        .map(|device| format!("; {} had it and is gone", words::interface(host, device)));
    let mut candidate = Candidate::new(
        &L2_GONE,
        place,
        format!(
            "{hop} is nobody's any more: {from} sends to its MAC {}, which no interface on the segment has{}",
            frame.dst,
            former.unwrap_or_default()
        ),
    )
    .explains(Specificity::Linked)
    .because(
        "neighbor",
        l2::entry_words(host, sender, hop).map(|entry| format!("the entry of {from} {entry}")),
    )
    .because(
        "link",
        loss.device().map(|device| {
            format!(
                "what died at {} is a flooded copy, or what the bridge had no port for",
                words::interface(host, device)
            )
        }),
    );
    let shell = Shell::of(host, Some(sender.netns));
    let ip = ip(hop.is_ipv6());
    candidate = candidate.advise([
        shell.look(
            "the stale entry of the sender",
            command![..ip, "neigh show", hop, "dev", link.name],
        ),
        text(format!(
            "whatever still names {hop} has to learn where its service is now: endpoints, DNS answers that are held, a configuration; or start the machine that had it"
        )),
    ]);
    Some(candidate)
}

/// Whether no interface that the frame could come to has the MAC, and the segment does not go on where facts end.
fn nobody_has(loss: &Loss<'_>, sender: &Link, mac: Mac) -> bool {
    let host = loss.host;
    let segment = Segment::of_mac(host, sender, mac);
    if !segment.open.is_empty() {
        return false;
    }
    // One that stands unattached where a port should be is not gone.
    let behind = |link: &Link| {
        let mut devices = loss.steps().iter().filter_map(|s| s.event.device);
        devices.any(|d| bridge_of(host, d).is_some_and(|b| way_to(host, b, link).is_some()))
    };
    let reached = l2::owners(loss, Some(&segment), mac).into_iter();
    let mut found = reached.chain(host.by_mac(mac).filter(|link| behind(link)));
    found.all(|link| host.is_gone(link.device))
}

/// The interface that is gone and had the MAC or the address.
fn former(host: &Host, hop: IpAddr, mac: Mac) -> Option<Device> {
    let had = |link: &&Link| {
        let mut addresses = host.last_addresses(link.device).iter();
        link.mac == Some(mac) || addresses.any(|a| a.address == hop)
    };
    host.links()
        .filter(|l| host.is_gone(l.device))
        .find(had)
        .map(|l| l.device)
}
