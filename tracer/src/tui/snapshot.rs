//! What the views show, as of one moment: immutable, so that a picture can be held still while the trace goes on.

use std::borrow::Cow;
use std::collections::BTreeMap;

use super::changes::{Fresh, HopId};
use super::combined::combined;
use super::log::Entry;
use crate::host::Host;
use crate::model::{Device, NetNs};
use crate::report::assemble::journeys_newest_first;
use crate::report::{FlowReport, JourneyReport, Report};
use crate::session::Session;
use crate::source::EndReason;
use crate::verdict::{Considered, spot};

/// Packets that are kept for the list of packets.
const PACKETS: usize = 256;

/// Everything that the views show.
#[derive(Clone, Debug)]
pub struct Snapshot {
    /// The report as of this moment.
    pub report: Report,
    /// All flows as one, where there are several.
    pub combined: Option<FlowReport>,
    /// The newest packets, newest first, in full.
    pub packets: Vec<JourneyReport>,
    /// Namespaces with their interfaces, by name.
    pub namespaces: Vec<Namespace>,
    /// Packets of the trace in each second, oldest first.
    pub packet_rates: Vec<u64>,
    /// Events in each second.
    pub event_rates: Vec<u64>,
    /// Hops that have just come or changed.
    pub fresh: BTreeMap<HopId, Fresh>,
    /// The log, oldest first.
    pub log: Vec<Entry>,
    /// Why the trace ended, once it has.
    pub ended: Option<EndReason>,
    /// How a replay stands; live there is none.
    pub played: Option<Played>,
    /// Every cause that was considered: made where it is looked at, and at the end.
    pub considered: Option<Vec<Considered>>,
}

/// How a replay stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Played {
    /// Nanoseconds from the start of its trace to the end, once known.
    pub length_ns: Option<u64>,
    /// It waits for a key.
    pub stopped: bool,
}

/// A namespace.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Namespace {
    /// Its name.
    pub name: String,
    /// Its interfaces by number.
    pub interfaces: Vec<Interface>,
}

/// An interface.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Interface {
    /// Its name.
    pub name: String,
    /// Its number.
    pub ifindex: u32,
    /// `veth`, `bridge` …; empty for a physical one.
    pub kind: String,
    /// Administratively up, with carrier.
    pub state: (bool, bool),
    /// MTU in bytes.
    pub mtu: u32,
    /// Its MAC.
    pub mac: Option<String>,
    /// `10.0.0.1/24`.
    pub addresses: Vec<String>,
    /// Bridge or bond that it belongs to.
    pub master: Option<String>,
    /// Other end: `namespace/interface`.
    pub peer: Option<String>,
    /// Packets of the flows at it: entering, leaving.
    pub packets: (u64, u64),
}

impl Interface {
    /// Kind, master and peer in a few words: `veth in cni0 → pod/eth0`.
    #[must_use]
    pub fn relations(&self, to: &str) -> String {
        let mut words = Vec::new();
        if !self.kind.is_empty() {
            words.push(self.kind.clone());
        }
        words.extend(self.master.as_ref().map(|master| format!("in {master}")));
        words.extend(self.peer.as_ref().map(|peer| format!("{to} {peer}")));
        words.join(" ")
    }
}

impl Snapshot {
    /// The session as of now.
    #[must_use]
    pub fn of(session: &Session, history: &History, log: &[Entry], considered: bool) -> Self {
        let report = session.report();
        let namespaces = namespaces(session.host(), &report);
        Self {
            packets: journeys_newest_first(session.trace(), session.host(), PACKETS),
            combined: combined(&report),
            report,
            namespaces,
            packet_rates: history.packets.clone(),
            event_rates: history.events.clone(),
            fresh: BTreeMap::new(),
            log: log.to_vec(),
            ended: session.ended(),
            played: None,
            considered: (considered || session.ended().is_some()).then(|| session.considered()),
        }
    }
}

/// How many packets and events came in each second.
#[derive(Clone, Debug, Default)]
pub struct History {
    packets: Vec<u64>,
    events: Vec<u64>,
    second: Option<u64>,
    before: (u64, u64),
}

/// Seconds that are kept.
const SECONDS: usize = 120;

impl History {
    /// Takes the sums of a moment in; `at_ns` since the start.
    pub fn note(&mut self, at_ns: u64, packets: u64, events: u64) {
        let second = at_ns / 1_000_000_000;
        let begun = self.second.unwrap_or(second);
        if self.second.is_none() || second > begun {
            for _ in begun..second.min(begun + SECONDS as u64) {
                self.packets.push(0);
                self.events.push(0);
            }
            if self.second.is_none() {
                self.packets.push(0);
                self.events.push(0);
            }
            self.second = Some(second);
            let over = self.packets.len().saturating_sub(SECONDS);
            self.packets.drain(..over);
            self.events.drain(..over);
        }
        let (packets_before, events_before) = self.before;
        if let (Some(p), Some(e)) = (self.packets.last_mut(), self.events.last_mut()) {
            *p += packets.saturating_sub(packets_before);
            *e += events.saturating_sub(events_before);
        }
        self.before = (packets, events);
    }
}

fn namespaces(host: &Host, report: &Report) -> Vec<Namespace> {
    let mut counts: BTreeMap<(Cow<'_, str>, u32), (u64, u64)> = BTreeMap::new();
    let paths = report.flows.iter().flat_map(|flow| &flow.paths);
    for hop in paths.flat_map(|path| &path.hops) {
        let count = counts.entry((hop.spot(), hop.ifindex)).or_default();
        if hop.hook == "ingress" {
            count.0 += hop.packets;
        } else {
            count.1 += hop.packets;
        }
    }
    let spots: BTreeMap<NetNs, Cow<'_, str>> = host
        .namespaces()
        .map(|(netns, name)| (netns, spot(host.node(netns), name)))
        .collect();
    let mut all: BTreeMap<&str, Vec<Interface>> = spots
        .values()
        .map(|name| (name.as_ref(), Vec::new()))
        .collect();
    let place = |device: Device| {
        let link = host.interface(device);
        format!("{}/{link}", host.namespace(device.netns))
    };
    for link in host.links() {
        let device = link.device;
        let sibling = |ifindex| Device {
            ifindex: crate::model::IfIndex(ifindex),
            ..device
        };
        let Some(name) = spots.get(&device.netns).map(Cow::as_ref) else {
            continue;
        };
        all.entry(name).or_default().push(Interface {
            name: link.name.clone(),
            ifindex: device.ifindex.0,
            kind: link.kind.clone(),
            state: (link.up, link.carrier),
            mtu: link.mtu,
            mac: link.mac.map(|mac| mac.to_string()),
            addresses: host
                .addresses(device)
                .iter()
                .map(|a| format!("{}/{}", a.address, a.prefix))
                .collect(),
            master: link.master.map(|master| host.interface(sibling(master))),
            peer: link.peer.map(|peer| {
                if peer.netns == device.netns {
                    host.interface(peer)
                } else {
                    place(peer)
                }
            }),
            packets: counts
                .get(&(Cow::Borrowed(name), device.ifindex.0))
                .copied()
                .unwrap_or_default(),
        });
    }
    all.into_iter()
        .map(|(name, interfaces)| Namespace {
            name: name.to_owned(),
            interfaces,
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seconds_without_packets_are_zero_and_old_ones_go() {
        let mut history = History::default();
        history.note(100, 5, 10);
        history.note(900_000_000, 8, 20);
        history.note(3_100_000_000, 9, 21);
        assert_eq!(history.packets, [8, 0, 0, 1]);
        assert_eq!(history.events, [20, 0, 0, 1]);
        history.note(1_000_000_000_000, 10, 22);
        assert_eq!(history.packets.len(), SECONDS);
        assert_eq!(history.packets.last(), Some(&1));
    }
}
