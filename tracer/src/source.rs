//! Where inputs come from: the running kernel (`source::live`) or a file (`source::recording`).
//!
//! Both give one stream of [`Input`]s; every stage behind it is the same, so a recording replays what the live
//! run showed.

pub mod cluster;
mod interface_filter;
pub mod live;
pub mod merge;
pub mod recording;
pub mod redact;

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use crate::host::facts::Fact;
use crate::model::{Counters, KtimeNs};

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

impl Input {
    /// When it was made; a record's time is its first field.
    #[must_use]
    pub fn at(&self) -> Option<KtimeNs> {
        match self {
            Self::Host(at, _) | Self::Counters(at, _) | Self::Tick(at) | Self::End(at, _) => {
                Some(*at)
            }
            Self::Record(record) => record
                .first_chunk()
                .map(|at| KtimeNs(u64::from_ne_bytes(*at))),
        }
    }
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
    /// `--max-cpu`.
    Cost,
}

impl EndReason {
    /// In words.
    #[must_use]
    pub const fn words(self) -> &'static str {
        match self {
            Self::Asked => "on request",
            Self::Duration => "its duration was reached",
            Self::Packets => "the requested number of packets was reached",
            Self::Verdict => "the verdict was certain",
            Self::EndOfFile => "the recording ends here",
            Self::Cost => "it needs more CPU time than --max-cpu allows",
        }
    }
}
