//! Macvlans that do not see each other, or their parent: what one sends goes out of the parent, and comes to the
//! other only where a switch sends it back.

use std::net::IpAddr;

use crate::host::Host;
use crate::host::facts::{InterfaceAddress, Link};
use crate::host::prefix::holds;
use crate::model::{Detail, Journey, Mac, Step};
use crate::network::links::{is_on_parent, is_switched};
use crate::uapi::neighbour::NUD_PERMANENT;
use crate::verdict::Confidence;

use super::super::candidate::{Candidate, Specificity, place_at};
use super::super::causes::L2_BRIDGE;
use super::super::layer2_commands::permanent_neighbour;
use super::super::loss::Loss;
use super::super::remedy::{Command, Remedy, Shell, command, ip, text};
use super::super::words;
use super::bridge::HOOK;
use super::l2;

/// A frame that left through the parent and was nobody's behind it.
pub fn strayed(loss: &Loss<'_>) -> Option<Candidate> {
    let lost = l2::is_stray(loss) || matches!(loss.function(), "br_handle_frame_finish");
    if !lost {
        return None;
    }
    let out = |step: &&Step| matches!(step.event.detail, Detail::Egress);
    let vepa = loss
        .steps()
        .iter()
        .filter(out)
        .filter_map(|s| loss.host.link(s.event.device?))
        .any(|l| l.macvlan.as_deref() == Some("vepa"));
    // What the switch outside says of a frame that should come back is nearer to the truth.
    if vepa && !l2::is_stray(loss) {
        return None;
    }
    kept_apart(loss.host, loss.journey)
}

/// The macvlan, or parent, from which the packet went to an end on the same parent.
#[must_use]
pub fn kept_apart(host: &Host, journey: &Journey) -> Option<Candidate> {
    let sent: Vec<(&Link, Mac)> = journey
        .steps
        .iter()
        .filter(|s| matches!(s.event.detail, Detail::Egress))
        .filter_map(|s| {
            let frame = s.event.packet.as_ref()?.ethernet?;
            Some((host.link(s.event.device?)?, frame.dst))
        })
        .collect();
    // What a macvlan sends passes its parent too, which is not the sender then.
    let (sender, mac) = sent
        .iter()
        .find(|(link, _)| link.macvlan.is_some())
        .or(sent.first())
        // all ipvlans of a parent have its MAC, which tells none of them
        .filter(|(link, _)| link.ipvlan.is_none())?;
    host.by_mac(*mac).find_map(|end| apart(host, sender, end))
}

/// Why two ends on one parent do not reach each other (`macvlan_queue_xmit`, drivers/net/macvlan.c: only bridge mode
/// at both ends is switched within the parent).
pub(super) fn apart(host: &Host, sender: &Link, end: &Link) -> Option<Candidate> {
    let lower = |link: &Link| link.peer.filter(|_| is_on_parent(link));
    let siblings = lower(sender).is_some() && lower(sender) == lower(end);
    let (from, to) = (
        words::interface(host, sender.device),
        words::interface(host, end.device),
    );
    let name_of = |link: &Link| words::interface(host, link.device);
    if siblings {
        let closed = [sender, end].into_iter().find(|l| !is_switched(l))?;
        let mode = closed.macvlan.clone()?;
        let switch = if mode == "vepa" {
            "the switch outside would have to send the frame back"
        } else {
            "they do not see each other"
        };
        let mut candidate = proposal(
            host,
            sender,
            format!(
                "macvlan {} is in mode {mode}: {from} and {to} have one parent, and {switch}",
                name_of(closed)
            ),
        );
        candidate = candidate.advise(in_bridge_mode(host, [sender, end]));
        return Some(candidate);
    }
    let (parent, child) = if lower(sender) == Some(end.device) {
        (end, sender)
    } else if lower(end) == Some(sender.device) {
        (sender, end)
    } else {
        return None;
    };
    let shell = Shell::of(host, Some(parent.device.netns));
    Some(
        proposal(
            host,
            sender,
            format!(
                "{} and its parent do not see each other: {from} sends to {to}, and what either sends leaves through the parent {}",
                child.kind, parent.name
            ),
        )
        .advise([
            shell.look("look first", command!["ip -d link show dev", parent.name]),
        ])
        .advise(of_its_own(host, parent, child))
        .advise([
            text("or reach the host by another of its interfaces"),
        ]),
    )
}

/// Both siblings switch within the parent: one that does not keeps the other's answers from coming back.
fn in_bridge_mode(host: &Host, siblings: [&Link; 2]) -> Vec<Remedy> {
    let closed: Vec<&Link> = siblings
        .into_iter()
        .filter(|l| l.macvlan.as_deref() != Some("bridge"))
        .collect();
    let shell = |link: &Link| Shell::of(host, Some(link.device.netns));
    let set =
        |link: &Link, mode: &str| command!["ip link set dev", link.name, "type macvlan mode", mode];
    let before = |link: &Link| set(link, link.macvlan.as_deref().unwrap_or_default());
    let mut list: Vec<Remedy> = closed
        .iter()
        .map(|link| shell(link).look("look first", command!["ip -d link show dev", link.name]))
        .collect();
    if let Some((first, rest)) = closed.split_first() {
        let mut remedy = shell(first)
            .change("switch within the parent", set(first, "bridge"))
            .undone_by(before(first));
        for link in rest {
            remedy = remedy
                .and_in(&shell(link), set(link, "bridge"))
                .undone_in(&shell(link), before(link));
        }
        list.push(remedy);
    }
    list
}

/// Gives the host an interface of its own on the parent, by which it and the other reach each other. That one forgets the
/// parent's MAC.
fn of_its_own(host: &Host, parent: &Link, child: &Link) -> Option<Remedy> {
    let (own, other) = host.addresses(parent.device).iter().find_map(|own| {
        let mut others = host.addresses(child.device).iter();
        let other = others.find(|net| holds(net.address, net.prefix, own.address))?;
        Some((own, other))
    })?;
    // Both kinds cannot stand on one parent, nor ipvlans of two modes.
    let (kind, mode) = match &child.ipvlan {
        Some(mode) => ("ipvlan", mode.name()),
        None => ("macvlan", "bridge"),
    };
    let start = kind.get(..1)?;
    let name: String = format!("{start}v-{}", parent.name)
        .chars()
        .take(15)
        .collect();
    let add = command![
        "ip link add",
        name,
        "link",
        parent.name,
        "type",
        kind,
        "mode",
        mode
    ];
    // An ipvlan takes in what is for its own addresses, and IPv6 answers questions for those of the interface alone.
    if child.ipvlan.is_some() || own.address.is_ipv6() {
        return Some(with_the_address(
            host,
            (parent, child),
            own,
            (kind, &name, add),
        ));
    }
    let shell = Shell::of(host, Some(parent.device.netns));
    let there = Shell::of(host, Some(child.device.netns));
    let text = format!(
        "give the host a {kind} of its own on the parent, and lead what is for {} through it",
        other.address
    );
    let remedy = shell
        .change(text, add)
        .and(command!["ip link set dev", name, "up"])
        .and(command![
            "ip route add",
            other.address,
            "dev",
            name,
            "src",
            own.address
        ])
        .and_in(&there, forgotten(child, own.address))
        .undone_by(command!["ip link del", name])
        .undone_in(&there, forgotten(child, own.address));
    let remedy = match permanent(host, child, own.address) {
        Some(entry) => remedy.undone_in(&there, entry),
        None => remedy,
    };
    Some(remedy.scope(format!(
        "whatever sets up {} has to make {name} too, so that it is there after a restart",
        parent.name
    )))
}

/// The same with the host's address moved to the new interface.
fn with_the_address(
    host: &Host,
    (parent, child): (&Link, &Link),
    moved: &InterfaceAddress,
    (kind, name, add): (&str, &str, Command),
) -> Remedy {
    let shell = Shell::of(host, Some(parent.device.netns));
    let there = Shell::of(host, Some(child.device.netns));
    let remedy = shell
        .change(
            format!(
                "give the host a {kind} of its own on the parent, and move the host's address to it"
            ),
            add,
        )
        .and(addressed("del", moved, &parent.name))
        .and(addressed("add", moved, name))
        .and(command!["ip link set dev", name, "up"])
        .and_in(&there, forgotten(child, moved.address))
        .undone_by(command!["ip link del", name])
        .undone_by(addressed("add", moved, &parent.name))
        .undone_in(&there, forgotten(child, moved.address));
    let remedy = match permanent(host, child, moved.address) {
        Some(entry) => remedy.undone_in(&there, entry),
        None => remedy,
    };
    remedy.scope(format!(
        "routes of the host through {} have to lead through {name}, and whatever sets the host's address up has to know of it",
        parent.name
    ))
}

fn addressed(verb: &'static str, moved: &InterfaceAddress, name: &str) -> Command {
    let v6 = moved.address.is_ipv6();
    let nodad = (v6 && verb == "add").then_some("nodad");
    let address = format!("{}/{}", moved.address, moved.prefix);
    command![..ip(v6), "addr", verb, address, "dev", name, ..nodad]
}

/// The neighbour entries for an address forgotten, permanent ones too.
fn forgotten(link: &Link, address: IpAddr) -> Command {
    let ip = ip(address.is_ipv6());
    command![..ip, "neigh flush to", address, "dev", link.name, "nud all"]
}

/// The permanent entry that goes with them.
fn permanent(host: &Host, link: &Link, address: IpAddr) -> Option<Command> {
    let entry = host.neighbor(link.device, address)?;
    let mac = entry.mac.filter(|_| entry.state & NUD_PERMANENT != 0)?;
    Some(permanent_neighbour(address, mac, &link.name))
}

fn proposal(host: &Host, sender: &Link, summary: String) -> Candidate {
    let place = place_at(host, sender.device, HOOK);
    Candidate::new(&L2_BRIDGE, place, summary)
        .explains(Specificity::Linked)
        .sure(Confidence::Likely)
}
