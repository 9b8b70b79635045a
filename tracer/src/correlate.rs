//! Events in, journeys, flows and paths out: which packet is which, through clones, NAT, tunnels and re-creation.
//!
//! Pure: time and host facts are arguments. What became of a flow and why is not decided here (`diagnose`).

use std::collections::BTreeMap;

use crate::model::{Event, Flow, Journey, JourneyId, KtimeNs};
use crate::source::Losses;

/// Everything that the correlator knows; what `diagnose` and the report are made of.
#[derive(Clone, Debug, Default)]
pub struct Trace {
    /// Flows by number.
    pub flows: Vec<Flow>,
    /// Journeys that are kept: all with a loss up to the bound, and a sample of the rest.
    pub journeys: BTreeMap<JourneyId, Journey>,
    /// Events that belong to no journey but may explain one, oldest first, bounded: neighbours, route lookups,
    /// resets, retransmissions, socket events without a packet.
    pub beside: Vec<Event>,
    /// Journeys seen in all.
    pub packets: u64,
    /// Events seen in all.
    pub events: u64,
    /// Time of the last input.
    pub now: KtimeNs,
    /// Losses as last told.
    pub losses: Losses,
    /// Records that could not be decoded.
    pub decode_errors: u64,
}
