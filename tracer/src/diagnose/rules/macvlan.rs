//! Macvlans that do not see each other, or their parent: what one sends goes out of the parent, and comes to the
//! other only where a switch sends it back.

use crate::host::Host;
use crate::host::facts::Link;
use crate::model::{Detail, Device, Journey, Mac, Step};
use crate::verdict::{Confidence, Place};

use super::super::candidate::{Candidate, Specificity, place_on};
use super::super::causes::L2_BRIDGE;
use super::super::loss::Loss;
use super::super::remedy::{Shell, command, text};
use super::super::words;
use super::bridge::HOOK;
use super::l2;
use super::neighbor::{self, Unresolved};

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

/// A packet that waited for a neighbour on the other side of the same parent.
pub fn question(loss: &Loss<'_>) -> Option<Candidate> {
    question_lost(loss.host, neighbor::awaited(loss)?)
}

/// The question for a neighbour left through the parent, and its owner is on the same parent.
#[must_use]
pub fn question_lost(host: &Host, who: Unresolved) -> Option<Candidate> {
    let sender = host.link(who.device)?;
    host.owners(who.address)
        .filter_map(|owner| host.link(owner))
        .find_map(|owner| apart(host, sender, owner))
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
        .or(sent.first())?;
    host.by_mac(*mac).find_map(|end| apart(host, sender, end))
}

/// Why two ends on one parent do not reach each other (`macvlan_queue_xmit`, drivers/net/macvlan.c: only bridge mode
/// at both ends is switched within the parent).
fn apart(host: &Host, sender: &Link, end: &Link) -> Option<Candidate> {
    let is = |mode: &Option<String>, name: &str| mode.as_deref() == Some(name);
    let lower = |link: &Link| link.macvlan.as_ref().and(link.peer);
    let siblings = lower(sender).is_some() && lower(sender) == lower(end);
    let (from, to) = (
        words::interface(host, sender.device),
        words::interface(host, end.device),
    );
    let name_of = |link: &Link| words::interface(host, link.device);
    if siblings {
        let closed = [sender, end]
            .into_iter()
            .find(|l| !is(&l.macvlan, "bridge"))?;
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
        for link in [sender, end]
            .into_iter()
            .filter(|l| !is(&l.macvlan, "bridge"))
        {
            let shell = Shell::of(host, Some(link.device.netns));
            let old = link.macvlan.clone().unwrap_or_default();
            candidate = candidate.advise([
                shell.look("look first", command!["ip -d link show dev", link.name]),
                shell
                    .change(
                        "switch within the parent",
                        command!["ip link set dev", link.name, "type macvlan mode bridge"],
                    )
                    .undone_by(command![
                        "ip link set dev",
                        link.name,
                        "type macvlan mode",
                        old
                    ]),
            ]);
        }
        return Some(candidate);
    }
    let parent = if lower(sender) == Some(end.device) {
        end
    } else if lower(end) == Some(sender.device) {
        sender
    } else {
        return None;
    };
    let shell = Shell::of(host, Some(parent.device.netns));
    Some(
        proposal(
            host,
            sender,
            format!(
                "macvlan and its parent do not see each other: {from} sends to {to}, and what either sends leaves through the parent {}",
                parent.name
            ),
        )
        .advise([
            shell.look("look first", command!["ip -d link show dev", parent.name]),
            shell.change("give the host a macvlan of its own on the parent, and move the host's address to it", command!["ip link add macvlan-host link", parent.name, "type macvlan mode bridge"]).undone_by("ip link del macvlan-host"),
            text("or reach the host by another of its interfaces"),
        ]),
    )
}

fn proposal(host: &Host, sender: &Link, summary: String) -> Candidate {
    let at: Device = sender.device;
    let place = Place {
        interface: Some(sender.name.clone()),
        hook: Some(HOOK.to_owned()),
        ..place_on(host, at.netns)
    };
    Candidate::new(&L2_BRIDGE, place, summary)
        .explains(Specificity::Linked)
        .sure(Confidence::Likely)
}
