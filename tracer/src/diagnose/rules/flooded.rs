//! What a bridge floods everywhere but where it should go: the kernel tells nothing of ports that get no copy, so
//! their settings have to.

use std::net::IpAddr;

use crate::host::Host;
use crate::host::facts::Link;
use crate::model::Device;
use crate::network::bridging::{Cast, Obstacle, towards, true_way};
use crate::verdict::Confidence;

use super::super::candidate::{Candidate, Specificity, place_at};
use super::super::causes::L2_BRIDGE;
use super::super::loss::Loss;
use super::super::words;
use super::bridge::{HOOK, entered};
use super::l2;
use super::link;

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
    let ends = link::ends(loss);
    let copy = format!("a flooded copy came to {here}, which is not its receiver");
    Some(
        kept_from(loss.host, (bridge, from), &obstacle, &ends, |why| {
            format!("frame for {mac} is flooded and does not reach its receiver: {why}")
        })
        .because("link", copy),
    )
}

/// A proposal for what a bridge keeps back, at the port where it came in. `ends`: the addresses whose traffic it is.
pub(super) fn kept_from(
    host: &Host,
    (bridge, from): (&Link, &Link),
    obstacle: &Obstacle<'_>,
    ends: &[IpAddr],
    summary: impl Fn(&str) -> String,
) -> Candidate {
    if let Obstacle::LinkDown(port) = obstacle {
        return link::down(host, port.device, None, ends);
    }
    let at: Device = from.device;
    let place = place_at(host, at, HOOK);
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
