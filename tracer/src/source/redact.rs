//! Inputs with pseudonyms (`--redact`): addresses, MACs and names are replaced before anybody looks at an input, so that
//! whatever is made of inputs (text, JSON, screen, recordings) never had the originals.
//!
//! ```text
//! source ─▶ [`Redactor::input`] ─▶ session, recording, screen
//!        ◀─ [`Redactor::question`] ◀─ diagnosis
//! ```
//! Pseudonyms are made by a [`Key`]: with the same key the same original has the same pseudonym on every machine, without it
//! nobody can try originals out. `docs/redaction.md` tells what is replaced, what stays, and what that means.

mod address;
mod fact;
mod key;
mod names;
mod packet;
mod record;
mod standing;
mod text;

use std::collections::HashMap;

use tracer_common::event::RawEvent;
use tracer_common::hook;
use tracer_common::stats::HopKey;
use zerocopy::FromBytes;

use crate::config::Glob;
use crate::host::facts::{Fact, Question};
use crate::model::{Device, IfIndex, NetNs, Tuple};
use crate::source::{Counters, Input};
use address::Addresses;
use key::Hasher;
pub use key::Key;
use names::Names;
use text::Vocabulary;

/// Pseudonyms of everything.
struct Pseudonyms {
    addresses: Addresses,
    names: Names,
    vocabulary: Vocabulary,
    prints: Hasher,
}

/// Replaces what must not be seen.
pub struct Redactor {
    all: Pseudonyms,
    /// `--interface` of the run: no pattern would fit the pseudonyms, so what it leaves out is left out here.
    only: Vec<Glob>,
    interfaces: HashMap<Device, String>,
}

impl Redactor {
    /// One for a run.
    #[must_use]
    pub fn new(key: &Key) -> Self {
        Self {
            all: Pseudonyms {
                addresses: Addresses::new(key),
                names: Names::new(key),
                vocabulary: Vocabulary::default(),
                prints: key.hasher(b"fingerprint"),
            },
            only: Vec::new(),
            interfaces: HashMap::new(),
        }
    }

    /// The input with pseudonyms; `None` for a record of an interface that the run does not look at.
    pub fn input(&mut self, input: Input) -> Option<Input> {
        Some(match input {
            Input::Host(at, fact) => {
                self.notice(&fact);
                Input::Host(at, self.all.fact(fact))
            }
            Input::Record(record) => {
                if !self.looks_at(&record) {
                    return None;
                }
                Input::Record(self.all.record(&record))
            }
            Input::Counters(at, Counters { hops, loss }) => {
                let hidden = hops.into_iter().map(|(key, count)| {
                    let tuple = self.all.raw_tuple(&key.tuple);
                    (HopKey { tuple, ..key }, count)
                });
                Input::Counters(
                    at,
                    Counters {
                        hops: hidden.collect(),
                        loss,
                    },
                )
            }
            input @ (Input::Tick(_) | Input::End(..)) => input,
        })
    }

    /// What the diagnosis asks about pseudonyms, as the machine understands it.
    #[must_use]
    pub fn question(&self, mut question: Question) -> Question {
        let addresses = &self.all.addresses;
        match &mut question {
            Question::Route { tuple, .. } | Question::Conntrack { tuple, .. } => {
                *tuple = Tuple {
                    src: addresses.original(tuple.src),
                    dst: addresses.original(tuple.dst),
                    ..*tuple
                };
            }
            Question::Neighbor { address, .. } | Question::RoutesTowards { dst: address, .. } => {
                *address = addresses.original(*address);
            }
            Question::Forwarding { mac, .. } => *mac = addresses.original_mac(*mac),
            Question::Sysctl { name, .. } => *name = self.all.names.original_sysctl(name),
            Question::Rules { .. }
            | Question::XfrmPolicies { .. }
            | Question::Chains { .. }
            | Question::ChainsAgain { .. }
            | Question::ConntrackCounters { .. }
            | Question::Link { .. }
            | Question::Standing { .. }
            | Question::Sockets { .. }
            | Question::Cgroups
            | Question::Cgroup { .. } => {}
        }
        question
    }

    /// An expression with pseudonyms.
    pub fn expression(&mut self, text: &str) -> String {
        self.all.expression(text)
    }

    /// An expression in which pseudonyms may stand, as it was meant: what is shown can be edited.
    #[must_use]
    pub fn meant(&self, text: &str) -> String {
        self.all.meant(text)
    }

    /// Remembers what tells which records the run looks at.
    fn notice(&mut self, fact: &Fact) {
        match fact {
            Fact::Run(run) => {
                let globs = run.only_interfaces.iter();
                self.only = globs.filter_map(|glob| Glob::new(glob).ok()).collect();
            }
            Fact::Link(link) => {
                self.interfaces.insert(link.device, link.name.clone());
            }
            _ => {}
        }
    }

    /// As [`crate::session`] has it: a drop is told wherever it happens.
    fn looks_at(&self, record: &[u8]) -> bool {
        let Some((raw, _)) = RawEvent::read_from_prefix(record)
            .ok()
            .filter(|_| !self.only.is_empty())
        else {
            return true;
        };
        let device = Device {
            netns: NetNs(raw.netns),
            ifindex: IfIndex(raw.ifindex),
        };
        let matches = |name: &String| self.only.iter().any(|glob| glob.matches(name));
        raw.hook == hook::KFREE_SKB || self.interfaces.get(&device).is_none_or(matches)
    }
}

#[cfg(test)]
#[expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a failed setup fails the test"
)]
mod tests;
