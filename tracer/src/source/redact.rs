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
mod device_state;
mod fact;
mod filter;
mod key;
mod names;
mod packet;
mod record;
mod text;

use tracer_common::event::RawEvent;
use tracer_common::stats::HopKey;
use zerocopy::FromBytes;

use crate::host::facts::Question;
use crate::model::Counters;
use crate::model::Tuple;
use crate::source::Input;
use crate::source::interface_filter::InterfaceFilter;
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
    keys: Hasher,
}

/// Replaces what must not be seen.
pub struct Redactor {
    all: Pseudonyms,
    /// No pattern of the run would fit the pseudonyms, so what `--interface` leaves out is left out here.
    interfaces: InterfaceFilter,
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
                keys: key.hasher(b"wireguard"),
            },
            interfaces: InterfaceFilter::default(),
        }
    }

    /// The input with pseudonyms; `None` for a record of an interface that the run does not look at.
    pub fn input(&mut self, input: Input) -> Option<Input> {
        Some(match input {
            Input::Host(at, mut fact) => {
                self.interfaces.notice(&fact);
                self.all.fact(&mut fact);
                Input::Host(at, fact)
            }
            Input::Record(record) => {
                if RawEvent::read_from_prefix(&record)
                    .is_ok_and(|(raw, _)| !self.interfaces.wants(&raw))
                {
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
            Question::Route { tuple, .. }
            | Question::Conntrack { tuple, .. }
            | Question::Ipvs { tuple, .. } => {
                *tuple = Tuple {
                    src: addresses.original(tuple.src),
                    dst: addresses.original(tuple.dst),
                    ..*tuple
                };
            }
            Question::Ovs { flow, .. } => {
                flow.tuple = Tuple {
                    src: addresses.original(flow.tuple.src),
                    dst: addresses.original(flow.tuple.dst),
                    ..flow.tuple
                };
                if let Some((from, to)) = &mut flow.macs {
                    *from = addresses.original_mac(*from);
                    *to = addresses.original_mac(*to);
                }
            }
            Question::Neighbor { address, .. }
            | Question::RoutesTowards { dst: address, .. }
            | Question::LocalPorts { dst: address, .. } => {
                *address = addresses.original(*address);
            }
            Question::Forwarding { mac, .. } => *mac = addresses.original_mac(*mac),
            Question::Sysctl { name, .. } => *name = self.all.names.original_sysctl(name),
            Question::Rules { .. }
            | Question::XfrmPolicies { .. }
            | Question::Chains { .. }
            | Question::ChainsAgain { .. }
            | Question::ConntrackCounters { .. }
            | Question::PacketQueues { .. }
            | Question::Advertisements { .. }
            | Question::WireGuard { .. }
            | Question::PortVlans { .. }
            | Question::MulticastPorts { .. }
            | Question::ProxyNeighbors { .. }
            | Question::Link { .. }
            | Question::DeviceState { .. }
            | Question::Sockets { .. }
            | Question::Cgroups
            | Question::ProcessOwner { .. }
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
}

#[cfg(test)]
#[expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a failed setup fails the test"
)]
mod tests;
