//! Rules of a bridge that let a machine pass with one source MAC alone, and the machine has another one.

use crate::host::Host;
use crate::host::facts::{BaseChain, Field, Link, Side, Test, Value};
use crate::model::{Mac, NetNs, Transport};
use crate::network::filter::{self, Answer, Packet, Rules};
use crate::network::links::peer_of;

use super::super::super::candidate::Candidate;
use super::super::super::layer2_commands::set_mac;
use super::super::super::remedy::{Remedy, Shell};
use super::super::super::words;

/// The machine's interface, and the MAC with which the rules would let it pass.
#[derive(Clone, Copy)]
pub(super) struct Allowed<'a> {
    host: &'a Host,
    sender: &'a Link,
    has: Mac,
    right: Mac,
}

/// Source MACs that rules beside a base chain ask for.
fn asked_for<'a>(rules: impl Iterator<Item = &'a Test>) -> impl Iterator<Item = Mac> {
    rules.filter_map(|test| match test {
        Test::Is {
            field: Field::Mac(Side::Source) | Field::ArpMac(Side::Source),
            ranges,
            ..
        } => match ranges.as_slice() {
            [(Value::Mac(first), Value::Mac(last))] if first == last => Some(*first),
            _ => None,
        },
        _ => None,
    })
}

/// The packet with another source MAC.
fn sent_by(packet: &Packet, mac: Mac) -> Packet {
    let transport = match packet.transport {
        Transport::Neighbor { answer, target, .. } => Transport::Neighbor {
            answer,
            target,
            mac: Some(mac),
        },
        other => other,
    };
    Packet {
        source_mac: Some(mac),
        transport,
        ..packet.clone()
    }
}

impl<'a> Allowed<'a> {
    /// Where the rules of the hook would let the packet pass, had it that source MAC, which nobody else has.
    pub(super) fn of(
        host: &'a Host,
        (netns, base): (NetNs, &BaseChain),
        packet: &Packet,
        at: filter::Hook<'_>,
    ) -> Option<Self> {
        let facts = &host.filters.get(&netns)?.fact;
        let has = packet.source_mac?;
        let near = |link: &&Link| {
            peer_of(host, link.device).is_some_and(|peer| peer.device.netns == netns)
        };
        let sender = host.by_mac(has).find(near)?;
        let rules = Rules::of(facts);
        let passes =
            |mac: &Mac| filter::walk(&rules, &sent_by(packet, *mac), at).answer() == Answer::Passes;
        let tests = facts.beside(base).flat_map(|(_, rule)| rule.tests());
        let mut all = asked_for(tests).filter(|mac| *mac != has);
        let right = all.find(|mac| passes(mac) && host.by_mac(*mac).next().is_none())?;
        Some(Self {
            host,
            sender,
            has,
            right,
        })
    }

    /// As the end of a summary, with the change.
    pub(super) fn told(self, mut candidate: Candidate) -> Candidate {
        let from = words::interface(self.host, self.sender.device);
        candidate.summary += &format!(
            "; {from} sends with the MAC {}, and the rules let {} pass",
            self.has, self.right
        );
        candidate.advise([self.change()])
    }

    fn change(self) -> Remedy {
        let name = &self.sender.name;
        Shell::of(self.host, Some(self.sender.device.netns))
            .change(
                "give the machine the MAC that it is known by".to_owned(),
                set_mac(name, self.right),
            )
            .undone_by(set_mac(name, self.has))
            .scope("others learn the new MAC as they ask anew".to_owned())
    }
}
