//! What stands beside a packet: where on its path it was, what changed, and what became of it.

use std::collections::HashMap;

use super::names::spot;
use crate::correlate::Sighting;
use crate::host::Host;
use crate::model::clean::clean;
use crate::model::{Device, Direction, DropInfo, FlowId, Side};
use crate::render::place;
use crate::report::{LossReport, Report};
use crate::session::Session;

/// A hop's number, and how many its path has.
type Number = (usize, usize);

/// What the whole trace tells of its hops and losses.
pub(super) struct Words<'a> {
    host: &'a Host,
    report: &'a Report,
    hops: HashMap<(FlowId, Direction, Device, Side), Number>,
}

impl<'a> Words<'a> {
    pub(super) fn new(session: &'a Session, report: &'a Report) -> Self {
        let paths = session.trace().flows.iter().flat_map(|flow| {
            [
                (flow.id, Direction::Forward, &flow.forward),
                (flow.id, Direction::Reply, &flow.reply),
            ]
        });
        let hops = paths.flat_map(|(flow, direction, path)| {
            let all = path.hops.len();
            let numbered = (1..).zip(&path.hops);
            numbered.map(move |(n, hop)| ((flow, direction, hop.device, hop.side), (n, all)))
        });
        Self {
            host: session.host(),
            report,
            hops: hops.collect(),
        }
    }

    /// `hop 3 of 7, forward: ingress at router/r-client; dnat …; journey 12 of flow 0`.
    pub(super) fn hop(&self, sighting: &Sighting<'_>, side: Side) -> String {
        let at = self.place(sighting);
        let mut words = vec![match self.number(sighting) {
            Some(number) => format!("{number}: {} at {at}", side.name()),
            None => format!("{} at {at}", side.name()),
        }];
        words.extend(sighting.rewrites().iter().map(ToString::to_string));
        words.extend(journey(sighting));
        words.join("; ")
    }

    /// Whether the drop was a loss, which may have shown later.
    pub(super) fn is_loss(&self, sighting: &Sighting<'_>, info: &DropInfo) -> bool {
        let told = sighting.is_loss();
        told.unwrap_or_else(|| self.known(sighting, info).is_some())
    }

    /// `DROPPED after hop 7 of 7, forward: NETFILTER_DROP in nft_do_chain at node2/eth0; FORWARD DROP on …`.
    pub(super) fn loss(&self, sighting: &Sighting<'_>, info: &DropInfo) -> String {
        let after = match self.number(sighting) {
            Some(number) => format!("DROPPED after {number}: "),
            None => "DROPPED: ".to_owned(),
        };
        let reason = info.reason.as_deref().unwrap_or("no reason given");
        let function = info.function.as_deref();
        let function = function.map_or_else(String::new, |name| format!(" in {name}"));
        let at = self.place(sighting);
        let mut words = vec![format!("{after}{reason}{function} at {at}")];
        words.extend(sighting.rewrites().iter().map(ToString::to_string));
        let known = self.known(sighting, info);
        words.extend(known.map(|loss| format!("{} ({})", clean(&loss.summary), loss.cause)));
        words.extend(journey(sighting));
        words.join("; ")
    }

    /// `hop 3 of 7, forward`: where the packet is or was last.
    fn number(&self, sighting: &Sighting<'_>) -> Option<String> {
        let journey = sighting.journey?;
        let (device, side) = sighting.hop()?;
        let key = (journey.flow, journey.direction, device, side);
        let (n, all) = self.hops.get(&key)?;
        Some(format!("hop {n} of {all}, {}", journey.direction.name()))
    }

    fn place(&self, sighting: &Sighting<'_>) -> String {
        let event = &sighting.event;
        let name = match (event.device, event.netns) {
            (Some(device), _) => {
                place::interface(&spot(self.host, device.netns), &self.host.interface(device))
            }
            (None, Some(netns)) => spot(self.host, netns),
            (None, None) => "a place without a name".to_owned(),
        };
        clean(&name).into_owned()
    }

    /// What the report says of this loss.
    fn known(&self, sighting: &Sighting<'_>, info: &DropInfo) -> Option<&LossReport> {
        let journey = sighting.journey?;
        let flow = self
            .report
            .flows
            .iter()
            .find(|flow| flow.id == journey.flow.0)?;
        let namespace = sighting.event.netns.map(|netns| spot(self.host, netns));
        let interface = sighting
            .event
            .device
            .map(|device| self.host.interface(device));
        let is_it = |loss: &&LossReport| {
            loss.direction == journey.direction.name()
                && loss.reason == info.reason
                && loss.place.function == info.function
                && loss.place.spot().as_deref() == namespace.as_deref()
                && (loss.place.interface.is_none() || loss.place.interface == interface)
        };
        flow.losses.iter().find(is_it)
    }
}

fn journey(sighting: &Sighting<'_>) -> Option<String> {
    let journey = sighting.journey?;
    Some(format!(
        "journey {} of flow {}",
        journey.id.0, journey.flow.0
    ))
}
