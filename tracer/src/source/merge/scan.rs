//! A scan of what a node sent: its run, its duration, and a sample of the packets that arrived and left.
//!
//! The sample is the packets with the smallest fingerprints. All nodes see the same fingerprint of the same packet, so
//! all samples are of the same packets, however many a recording holds.

use std::collections::BTreeMap;
use std::io::Read;

use tracer_common::event::RawEvent;
use tracer_common::hook;
use zerocopy::FromBytes;

use super::clock::Sighting;
use crate::decode::decode;
use crate::host::Host;
use crate::host::facts::{Fact, NodeClock, NodeId, Run, TracedNode};
use crate::model::{Detail, Device, Event, HookId, KtimeNs, Side};
use crate::source::Input;
use crate::source::recording::{Reader, RecordingError};

/// Hooks that see a packet pass an interface. The last on its way out and the first on its way in count.
const PASSING: &[u8] = &[
    hook::NETIF_RECEIVE_SKB,
    hook::TC_INGRESS,
    hook::TC_EGRESS,
    hook::NET_DEV_QUEUE,
    hook::NET_DEV_START_XMIT,
];
/// A trace ticks from its start: one whose first input beside facts comes so much later is the later part of a
/// recording in parts.
const PART_NS: u64 = 1_000_000_000;
/// Packets in a sample.
const SAMPLE: usize = 8192;

/// What was found in all inputs of a node, or in those so far.
#[derive(Clone, Debug)]
pub struct NodeScan {
    name: String,
    run: Run,
    /// From then on it holds what was seen: when facts are told first, all probes are in place.
    from: KtimeNs,
    is_seeing: bool,
    until: KtimeNs,
    /// The longest time by which a record came after a later input: it waited in the ring buffer meanwhile.
    late_ns: u64,
    seen: BTreeMap<u64, Passage>,
    merged: bool,
    /// Empty: names of drop reasons, interfaces … are not needed to decode a passage.
    host: Host,
}

/// One packet's way through a node.
#[derive(Clone, Copy, Debug)]
struct Passage {
    first: Sighting,
    last: Sighting,
    came_at: (Device, HookId),
    /// The same fingerprint came to the same place twice: it is not one packet.
    ambiguous: bool,
}

impl NodeScan {
    /// Reads a recording from end to end; `None` when it ends before the description of its run. The node is named after
    /// its machine.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn read(reader: &mut Reader<impl Read>) -> Result<Option<Self>, RecordingError> {
        let mut scan = None;
        for input in reader {
            let input = input?;
            match &mut scan {
                Some(scan) => Self::note(scan, &input),
                None => scan = Self::begin(&input),
            }
        }
        Ok(scan)
    }

    /// Starts with the description of the run, which is the first input.
    #[must_use]
    pub fn begin(input: &Input) -> Option<Self> {
        let Input::Host(at, Fact::Run(run)) = input else {
            return None;
        };
        Some(Self {
            name: run.hostname.clone(),
            run: run.as_ref().clone(),
            from: *at,
            is_seeing: false,
            until: *at,
            late_ns: 0,
            seen: BTreeMap::new(),
            merged: false,
            host: Host::default(),
        })
    }

    /// Takes the next input into account.
    pub fn note(&mut self, input: &Input) {
        match input {
            Input::Host(_, Fact::Node(_)) => self.merged = true,
            Input::Host(_, Fact::Run(run)) => self.run.also.clone_from(&run.also),
            Input::Record(record) if passing(record, &self.seen) => {
                if let Ok(event) = decode(record, &self.host) {
                    note(&mut self.seen, &event);
                }
            }
            _ => {}
        }
        if let Some(at) = input.at()
            && !self.is_seeing
            && !matches!(input, Input::Host(..))
        {
            self.is_seeing = true;
            if at.since(self.from) > PART_NS {
                self.from = at;
            }
        }
        if let (Input::Record(_), Some(at)) = (input, input.at()) {
            self.late_ns = self.late_ns.max(self.until.since(at));
        }
        self.until = input.at().map_or(self.until, |at| self.until.max(at));
    }

    /// By how much records came late at most.
    pub(super) fn late_ns(&self) -> u64 {
        self.late_ns
    }

    /// Gives the node another name than its machine has.
    #[must_use]
    pub fn named(self, name: String) -> Self {
        Self { name, ..self }
    }

    /// Its name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Whether it is of several nodes already.
    #[must_use]
    pub fn is_merged(&self) -> bool {
        self.merged
    }

    /// The node with its clock.
    pub(super) fn node(&self, id: NodeId, clock: NodeClock) -> TracedNode {
        TracedNode {
            id,
            name: self.name.clone(),
            from: clock.at_reference(self.from),
            until: Some(clock.at_reference(self.until)),
            run: with_times(self.run.clone(), &clock),
            clock,
        }
    }

    /// How much this monotonic clock is ahead of another, if both wall clocks are right.
    pub(super) fn ahead_by_wall_clock(&self, of: &Self) -> i64 {
        let booted = |run: &Run| i128::from(run.started_unix_ns) - i128::from(run.started_ktime.0);
        // a clock that began later shows less
        let ahead = booted(&of.run) - booted(&self.run);
        i64::try_from(ahead).unwrap_or(0)
    }

    /// Packets that this node and another saw once each: first and last sighting of both.
    pub(super) fn shared<'s>(
        &'s self,
        with: &'s Self,
    ) -> impl Iterator<Item = [(Sighting, Sighting); 2]> {
        self.seen.iter().filter_map(|(fingerprint, mine)| {
            let theirs = with.seen.get(fingerprint)?;
            let clear = !mine.ambiguous && !theirs.ambiguous;
            clear.then_some([(mine.first, mine.last), (theirs.first, theirs.last)])
        })
    }
}

/// A run with the times of what was added to it on the first node's clock.
pub(super) fn with_times(mut run: Run, clock: &NodeClock) -> Run {
    for also in &mut run.also {
        also.from = clock.at_reference(also.from);
    }
    run
}

/// Whether a record may be of the sample: an interface saw a packet, and its fingerprint is small enough.
fn passing(record: &[u8], seen: &BTreeMap<u64, Passage>) -> bool {
    let Ok((raw, _)) = RawEvent::read_from_prefix(record) else {
        return false;
    };
    let largest = || seen.last_key_value().map_or(u64::MAX, |(print, _)| *print);
    PASSING.contains(&raw.hook)
        && raw.fingerprint != 0
        && (seen.len() < SAMPLE || raw.fingerprint <= largest())
}

fn note(seen: &mut BTreeMap<u64, Passage>, event: &Event) {
    let (Some(print), Some(device)) = (event.fingerprint, event.device) else {
        return;
    };
    let sighting = Sighting {
        at: event.at,
        side: match event.detail {
            Detail::Ingress => Side::Ingress,
            _ => Side::Egress,
        },
        ttl: event.packet.as_ref().map_or(0, |packet| packet.ttl),
    };
    let fresh = Passage {
        first: sighting,
        last: sighting,
        came_at: (device, event.hook),
        ambiguous: false,
    };
    seen.entry(print.0)
        .and_modify(|known| {
            known.ambiguous |= known.came_at == (device, event.hook);
            known.last = sighting;
        })
        .or_insert(fresh);
    if seen.len() > SAMPLE {
        seen.pop_last();
    }
}
