//! What the correlator gives, and its bounds.

use std::collections::BTreeMap;

use crate::model::Losses;
use crate::model::{Event, Flow, FlowId, Journey, JourneyId, KtimeNs};

/// Everything that the correlator knows; what `diagnose` and the report are made of.
#[derive(Clone, Debug, Default)]
pub struct Trace {
    /// Flows by number. Numbers may have gaps: use [`Trace::flow`].
    pub flows: Vec<Flow>,
    /// Flows seen in all, kept or not.
    pub flows_seen: u64,
    /// What was counted of flows that are not among them.
    pub unfollowed: Unfollowed,
    /// Journeys that are kept: all with a loss up to the bound, and a sample of the rest.
    pub journeys: BTreeMap<JourneyId, Journey>,
    /// Events that belong to no journey but may explain one, oldest first, bounded: neighbours, route lookups,
    /// resets, retransmissions, socket events without a packet.
    pub beside: Vec<Event>,
    /// Journeys seen in all.
    pub packets: u64,
    /// Events seen in all.
    pub events: u64,
    /// Drops seen in all, several of one packet where its copies were lost.
    pub drops: u64,
    /// Time of the last input.
    pub now: KtimeNs,
    /// Losses as last told.
    pub losses: Losses,
    /// Records that could not be decoded.
    pub decode_errors: u64,
}

/// What the kernel counted, and no event told of: the rate limit left them out, or the buffer was full.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Unfollowed {
    /// Flows that were asked for, without those of `crowded`.
    pub flows: u64,
    /// Their packets.
    pub packets: u64,
    /// Packets of further flows, for which the kernel had no row each: the most at one hop.
    pub crowded: u64,
}

impl Trace {
    /// The flow of that number, when it is kept.
    #[must_use]
    pub fn flow(&self, id: FlowId) -> Option<&Flow> {
        let at = self.flows.binary_search_by_key(&id, |flow| flow.id).ok()?;
        self.flows.get(at)
    }
}

/// Bounds and waiting times.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// Most flows kept; beyond it, healthy idle ones make room.
    pub flows: usize,
    /// Most journeys kept in all, lossy ones first.
    pub journeys: usize,
    /// Most healthy journeys kept of one flow and direction.
    pub sample: usize,
    /// Most journeys that are open (may still get events).
    pub open: usize,
    /// Most steps kept of one journey.
    pub steps: usize,
    /// Most events kept beside the journeys.
    pub beside: usize,
    /// A packet silent for so long is no longer on its way, nanoseconds.
    pub settle_ns: u64,
    /// Another buffer with the same fingerprint can be the same packet for so long, nanoseconds.
    pub recreate_ns: u64,
    /// The same buffer can be the same packet for so long (neighbour and fragment queues), nanoseconds.
    pub linger_ns: u64,
}

impl Default for Settings {
    fn default() -> Self {
        const MS: u64 = 1_000_000;
        Self {
            flows: 512,
            journeys: 512,
            sample: 8,
            open: 1024,
            steps: 128,
            beside: 2048,
            settle_ns: 250 * MS,
            recreate_ns: 1000 * MS,
            linger_ns: 35_000 * MS,
        }
    }
}
