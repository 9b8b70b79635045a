//! A frame for a MAC that nobody on the segment has: the sender's entry for its next hop outlived that MAC. The next hop is
//! there and has another one, as a bridge that took the MAC of a new port.

use crate::host::facts::Link;
use crate::network::bridging::Cast;
use crate::network::neighbour;
use crate::network::segment::Segment;

use super::super::super::candidate::{Candidate, Specificity, place_at};
use super::super::super::causes::L2_WRONG_MAC;
use super::super::super::loss::Loss;
use super::super::super::words;
use super::rewritten::Rewritten;
use super::{Stray, by_neighbor_entry, frame, next_hop, owners, sender};

/// What the story is. Placed at the one that should have got it: what died is a flooded copy, or what a bridge had no port for.
pub(in super::super) fn entry(loss: &Loss<'_>) -> Option<Candidate> {
    let host = loss.host;
    let mac = frame(loss)?.dst;
    let sender = sender(loss)?;
    let hop = next_hop(loss, sender)?;
    // With another MAC than that of its neighbour entry the frame was rewritten behind it.
    if Cast::of(mac) != Cast::Unknown || Rewritten::of(loss).is_some() {
        return None;
    }
    let segment = Segment::of_mac(host, host.link(sender)?, mac);
    if !owners(loss, Some(&segment), mac).is_empty() {
        return None;
    }
    let rightful: Vec<&Link> = neighbour::owners(host, sender, hop)
        .into_iter()
        .filter(|link| link.device.netns != sender.netns)
        .collect();
    let [owner] = rightful[..] else { return None };
    let has = owner.mac?;
    let [from, there] = [sender, owner.device].map(|device| words::interface(host, device));
    let summary = format!(
        "wrong destination MAC: {from} sends what is for {hop} to {mac}, which no interface on the way has; {there} has {hop}, and {has}"
    );
    let found = Stray {
        carries: Some(mac),
        here: owner.device,
        has: Some(has),
        owners: Vec::new(),
        sender: Some(sender),
        next_hop: Some(hop),
    };
    let candidate = Candidate::new(
        &L2_WRONG_MAC,
        place_at(host, owner.device, "device"),
        summary,
    )
    .explains(Specificity::Linked)
    .because(
        "link",
        format!("{hop} is on {there} ({has}), on the same segment; nobody there has {mac}"),
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
    Some(by_neighbor_entry(loss, &found, candidate))
}
