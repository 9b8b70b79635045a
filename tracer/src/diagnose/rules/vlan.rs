//! Frames with a VLAN tag that nobody takes at the other end. The kernel takes the tag off and treats the frame as
//! another machine's (`__netif_receive_skb_core`, net/core/dev.c): OTHERHOST, or an ARP request that is not answered.

use std::net::IpAddr;

use crate::host::Host;
use crate::host::facts::Link;
use crate::model::{Detail, Step};
use crate::network::bridging::{bridge_of, vlan_in, vlan_out};
use crate::network::links::uppers;
use crate::network::segment::Tag;
use crate::verdict::Place;

use super::super::candidate::{Candidate, Specificity};
use super::super::causes::L2_VLAN;
use super::super::loss::Loss;
use super::super::vlan_commands::Mistagged;
use super::super::words;
use super::l2;
use super::link;

/// `where.hook` of a frame that came and was not taken.
const HOOK: &str = "device";

/// A proposal at a place, in words that begin with what does not arrive.
pub(super) fn mismatch(host: &Host, case: Mistagged<'_>, place: Place, what: &str) -> Candidate {
    let at = words::interface(host, case.link.device);
    let devices: Vec<String> = uppers(host, case.link)
        .filter_map(|upper| Some(format!("{} ({})", upper.name, Tag::of(upper)?)))
        .collect();
    let has = match devices.as_slice() {
        [] => "has no VLAN device".to_owned(),
        devices => format!("has {}", devices.join(", ")),
    };
    let why = match case.tag {
        Some(tag) => format!("it comes to {at} with {tag}, and {at} {has}"),
        None => format!("it comes to {at} without a VLAN tag, and {at} {has}"),
    };
    let holder = case.holder(host).map(|holder| {
        format!(
            "{} is the address of {}",
            case.address,
            words::interface(host, holder.device)
        )
    });
    Candidate::new(&L2_VLAN, place, format!("VLAN mismatch: {what}: {why}"))
        .explains(Specificity::Linked)
        .because("link", format!("{at} {has}"))
        .because("address", holder)
        .advise(case.advice(host))
}

/// A frame for the interface's own MAC that was discarded as another machine's, for its tag.
pub fn untaken(loss: &Loss<'_>) -> Option<Candidate> {
    let (host, link) = (loss.host, loss.host.link(loss.device()?)?);
    if !l2::is_stray(loss) {
        return None;
    }
    let tag = *tags(host, loss.steps()).last()?;
    let mac = l2::frame(loss)?.dst;
    let own = link.mac == Some(mac) || uppers(host, link).any(|upper| upper.mac == Some(mac));
    if !own || uppers(host, link).any(|upper| Tag::of(upper) == Some(tag)) {
        return None;
    }
    let case = Mistagged {
        link,
        tag: Some(tag),
        address: whom(loss)?,
    };
    let what = format!("a frame for {}", case.address);
    Some(mismatch(host, case, loss.place_at_device(HOOK), &what))
}

/// The address on the segment for which a frame was.
fn whom(loss: &Loss<'_>) -> Option<IpAddr> {
    let next = l2::sender(loss).and_then(|sender| l2::next_hop(loss, sender));
    next.or_else(|| loss.dst())
}

/// The tags that a frame has after these steps, innermost first: those that VLAN devices and the ports of filtering
/// bridges on its way gave it and took from it.
pub(super) fn tags(host: &Host, steps: &[Step]) -> Vec<Tag> {
    let mut tags: Vec<Tag> = Vec::new();
    let mut before = None;
    for step in steps {
        let Some(link) = step.event.device.and_then(|device| host.link(device)) else {
            continue;
        };
        let out = match step.event.detail {
            Detail::Egress => true,
            Detail::Ingress => false,
            _ => continue,
        };
        // one device tells of a packet more than once
        if before == Some((link.device, out)) {
            continue;
        }
        before = Some((link.device, out));
        match (Tag::of(link), out) {
            (Some(tag), true) => tags.push(tag),
            (Some(_), false) => drop(tags.pop()),
            (None, _) => at_port(host, link, out, &mut tags),
        }
    }
    tags
}

/// What the port of a filtering bridge does with the outer tag. Within the bridge a frame has one always: its VLAN.
fn at_port(host: &Host, link: &Link, out: bool, tags: &mut Vec<Tag>) {
    let filtering = |bridge: &&Link| bridge.bridge.is_some_and(|b| b.vlan_filtering);
    let Some(bridge) = bridge_of(host, link.device).filter(filtering) else {
        return;
    };
    let is_port = link.device != bridge.device;
    let tagged = |vlan: u16| Tag {
        vlan,
        service: false,
    };
    if out == is_port {
        let Some(vlan) = tags.pop() else { return };
        if let Ok(Some(vlan)) = vlan_out(host, bridge, bridge, link, vlan.vlan) {
            tags.push(tagged(vlan));
        }
    } else if let Ok(vlan) = vlan_in(host, bridge, link, tags.last().map(|tag| tag.vlan)) {
        tags.pop();
        tags.push(tagged(vlan));
    }
}

/// A VLAN device that is down takes no frame (vlan_do_receive, net/8021q/vlan_core.c).
pub fn device_down(loss: &Loss<'_>) -> Option<Candidate> {
    let device = loss.last_device()?;
    let down = loss.host.link(device).is_some_and(|l| !l.up);
    let found = match down {
        true => Some(device),
        false => uppers(loss.host, loss.host.link(device)?)
            .find(|upper| {
                Tag::of(upper) == tags(loss.host, loss.steps()).last().copied() && !upper.up
            })
            .map(|upper| upper.device),
    };
    let function = loss.info.function.clone();
    Some(link::down(loss.host, found?, function, &link::ends(loss)))
}
