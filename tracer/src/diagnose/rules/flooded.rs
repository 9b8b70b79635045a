//! What a bridge floods everywhere but where it should go: the kernel tells nothing of ports that get no copy, so
//! their settings have to.

use std::net::IpAddr;

use crate::correlate::Trace;
use crate::host::Host;
use crate::host::facts::Link;
use crate::model::{Detail, Device, Event, Transport};
use crate::network::bridging::{Cast, Obstacle, at_entry, bridge_of, towards, true_way, way_to};
use crate::network::links::peer_of;
use crate::verdict::{Confidence, Place};

use super::super::candidate::{Candidate, Specificity, place_on};
use super::super::causes::L2_BRIDGE;
use super::super::loss::Loss;
use super::super::remedy::{Shell, command, ip};
use super::super::words;
use super::bridge::{HOOK, entered};
use super::l2;
use super::link;
use super::neighbor::{self, Unresolved};

/// A flooded copy died at an innocent interface, since the port of the right one got none.
pub fn strayed(loss: &Loss<'_>) -> Option<Candidate> {
    if !l2::is_stray(loss) {
        return None;
    }
    let mac = l2::frame(loss)?.dst;
    let (bridge, from, obstacle) = entered(loss).find_map(|(bridge, from)| {
        let to = true_way(loss.host, bridge, mac)?;
        let obstacle = towards(loss.host, bridge, from, to, Cast::Unknown)?;
        Some((bridge, from, obstacle))
    })?;
    let here = words::interface(loss.host, loss.device()?);
    let copy = format!("a flooded copy came to {here}, which is not its receiver");
    Some(
        kept_from(loss.host, bridge, from, &obstacle, |why| {
            format!("frame for {mac} is flooded and does not reach its receiver: {why}")
        })
        .because("link", copy),
    )
}

/// A packet that waited for a neighbour whom the question never reached.
pub fn question(loss: &Loss<'_>) -> Option<Candidate> {
    let who = neighbor::awaited(loss)?;
    question_lost(loss.trace, loss.host, who)
}

/// The question for a neighbour came into a bridge that keeps it from the owner of the address, or keeps his answer.
#[must_use]
pub fn question_lost(trace: &Trace, host: &Host, who: Unresolved) -> Option<Candidate> {
    let asked: Vec<&Event> = questions(trace, who.address).collect();
    let seen = asked.iter().filter_map(|e| {
        let device = e.device?;
        let bridge = bridge_of(host, device)?;
        let inwards = matches!(e.detail, Detail::Ingress);
        ((device == bridge.device) != inwards).then_some(device)
    });
    let next = peer_of(host, who.device).map_or(who.device, |peer| peer.device);
    let came_out = |to: &Link| {
        asked
            .iter()
            .any(|e| e.device == Some(to.device) && matches!(e.detail, Detail::Egress))
    };
    let cast = if who.address.is_ipv6() {
        Cast::Multicast
    } else {
        Cast::Broadcast
    };
    let (bridge, from, obstacle) = seen.chain([next]).find_map(|device| {
        let (bridge, from) = (bridge_of(host, device)?, host.link(device)?);
        let asker = host.link(who.device).and_then(|l| l.mac);
        host.owners(who.address)
            .filter_map(|owner| host.link(owner))
            .find_map(|owner| {
                if owner.device == bridge.device && from.device != bridge.device {
                    let obstacle = at_entry(host, bridge, from, asker)?;
                    return Some((bridge, from, obstacle));
                }
                if owner.device.netns == bridge.device.netns {
                    return None;
                }
                let to = way_to(host, bridge, owner)?;
                let there = || match from.device == bridge.device {
                    true => towards(host, bridge, from, to, cast),
                    false => at_entry(host, bridge, from, asker)
                        .or_else(|| towards(host, bridge, from, to, cast)),
                };
                let back = || {
                    at_entry(host, bridge, to, owner.mac).or_else(|| {
                        let isolated = towards(host, bridge, to, from, Cast::Known);
                        isolated.filter(|_| from.device != bridge.device)
                    })
                };
                let found = if came_out(to) {
                    back()
                } else {
                    there().or_else(back)
                };
                found.map(|obstacle| (bridge, from, obstacle))
            })
    })?;
    let what = if who.address.is_ipv6() {
        "neighbour solicitation"
    } else {
        "ARP"
    };
    let mut candidate = kept_from(host, bridge, from, &obstacle, |why| {
        format!("{what} for {} does not get through: {why}", who.address)
    });
    candidate
        .evidence
        .extend(neighbor::question_evidence(trace, host, who));
    let shell = Shell::of(host, Some(who.device.netns));
    Some(candidate.advise([shell.look(
        "then the sender's entry",
        command![
            ..ip(who.address.is_ipv6()),
            "neigh show",
            who.address,
            "dev",
            host.interface(who.device)
        ],
    )]))
}

/// Questions for the owner of an address that were seen on interfaces.
fn questions(trace: &Trace, address: IpAddr) -> impl Iterator<Item = &Event> {
    trace
        .journeys
        .values()
        .flat_map(|j| &j.steps)
        .map(|s| &s.event)
        .chain(&trace.beside)
        .filter(move |e| {
            matches!(e.packet.as_ref().map(|p| p.transport),
                Some(Transport::Neighbor { answer: false, target, .. }) if target == address)
        })
}

/// A proposal for what a bridge keeps back, at the port where it came in.
fn kept_from(
    host: &Host,
    bridge: &Link,
    from: &Link,
    obstacle: &Obstacle<'_>,
    summary: impl Fn(&str) -> String,
) -> Candidate {
    if let Obstacle::LinkDown(port) = obstacle {
        return link::down(host, port.device, None, &[]);
    }
    let at: Device = from.device;
    let place = Place {
        interface: Some(host.interface(at)),
        hook: Some(HOOK.to_owned()),
        ..place_on(host, at.netns)
    };
    let why = format!(
        "bridge {} on {} at {} keeps it back, {}",
        bridge.name,
        host.namespace(at.netns),
        from.name,
        obstacle.words(host)
    );
    Candidate::new(&L2_BRIDGE, place, summary(&why))
        .explains(Specificity::Linked)
        .sure(Confidence::Likely)
        .because("link", obstacle.read(host))
        .advise(obstacle.advice(host))
}
