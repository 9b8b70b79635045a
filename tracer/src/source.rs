//! Where inputs come from: the running kernel (`source::live`) or a file (`source::recording`).
//!
//! Both give one stream of [`Input`]s; every stage behind it is the same, so a recording replays what the live
//! run showed.

pub mod live;
pub mod recording;

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use tracer_common::stats::HopKey;

use crate::host::facts::Fact;
use crate::model::KtimeNs;

/// What drives the trace.
#[derive(Clone, Debug, PartialEq)]
pub enum Input {
    /// Something known of the host, read at that moment.
    Host(KtimeNs, Fact),
    /// A record of the ring buffer: [`tracer_common::event::RawEvent`] and what follows it.
    Record(Bytes),
    /// The kernel's exact counters, cumulative since the start; a later one replaces an earlier one.
    Counters(KtimeNs, Counters),
    /// Time passes (about ten a second): what waits for silence may decide.
    Tick(KtimeNs),
    /// The trace is over.
    End(KtimeNs, EndReason),
}

/// Sums over CPUs of what the kernel programs counted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// One row for each hop and tuple.
    pub hops: Vec<(HopKey, tracer_common::stats::HopCount)>,
    /// Losses by place.
    pub loss: Losses,
}

/// Observations that were lost or thinned, by place. Cumulative.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Losses {
    /// Records written, by hook name.
    pub events: Vec<(String, u64)>,
    /// Ring buffer full, by hook name.
    pub lost: Vec<(String, u64)>,
    /// Budget used up, by hook name.
    pub thinned: Vec<(String, u64)>,
    /// Hop counters without room.
    pub map_full: u64,
    /// Tags overwritten.
    pub tags_evicted: u64,
    /// Headers that could not be read.
    pub unreadable: u64,
}

/// Why the trace ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum EndReason {
    /// SIGINT or SIGTERM, or `q`.
    Asked,
    /// `--duration`.
    Duration,
    /// `--packets`.
    Packets,
    /// `--until-verdict`.
    Verdict,
    /// The recording's end.
    EndOfFile,
}
