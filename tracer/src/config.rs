//! What a run is to do: values that have been checked. `cli` reads the words of a command line, refuses what cannot be,
//! and makes these of them; nothing behind it sees an unchecked value.

mod cluster;
mod diff;
mod glob;
pub mod hold;
mod merge;
mod output;
mod share;
mod sink;
mod speed;

use std::path::PathBuf;
use std::time::Duration;

use crate::filter::Compiled;
use crate::host::NamePlaces;
use crate::host::facts::AddressOwner;
pub use cluster::{ClusterConfig, NodeCommand};
pub use diff::DiffConfig;
pub use glob::Glob;
pub use hold::HoldConfig;
pub use merge::{MergeConfig, NodeFile};
pub use output::{
    Depth, Drawable, OutputConfig, OutputFormat, RecordTo, ScreenConfig, Surroundings,
};
pub use share::CpuShare;
pub use sink::{ReportTo, Sink};
pub use speed::Speed;

/// Bytes captured of each packet unless `--snaplen` says otherwise.
pub const DEFAULT_SNAPLEN: u16 = 128;
/// Fewer would cut headers off that the path is told from.
pub const MIN_SNAPLEN: u16 = 64;
/// Events a second unless `--budget` says otherwise.
pub const DEFAULT_BUDGET: u32 = 20_000;
/// Most events a second: above it user space cannot keep up.
pub const MAX_BUDGET: u32 = 10_000_000;

/// Pseudonyms instead of addresses and names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Redaction {
    /// The key that makes them; none: a random one.
    pub key_file: Option<PathBuf>,
}

/// A live trace.
#[derive(Clone, Debug)]
pub struct Config {
    /// What is followed.
    pub filter: Compiled,
    /// Names of the namespaces to look at; empty: all.
    pub only_netns: Vec<String>,
    /// Where names are looked for.
    pub names: NamePlaces,
    /// Interfaces to look at; empty: all.
    pub only_interfaces: Vec<Glob>,
    /// End after this time.
    pub duration: Option<Duration>,
    /// End after so many packets.
    pub packets: Option<u64>,
    /// End when the verdict is certain.
    pub until_verdict: bool,
    /// End with the standard input.
    pub until_eof: bool,
    /// What is shown and written.
    pub output: OutputConfig,
    /// Where the recording goes.
    pub record: Option<RecordTo>,
    /// Rules of nf_tables are traced.
    pub rules: bool,
    /// Packet filters are read again when they change.
    pub follow_filters: bool,
    /// Events a second.
    pub budget: u32,
    /// CPU time that tracer may use.
    pub max_cpu: Option<CpuShare>,
    /// Bytes captured of each packet, a multiple of 8, at most [`tracer_common::event::MAX_SNAPLEN`].
    pub snaplen: u16,
    /// BTF file to read instead of the running kernel's own.
    pub btf: Option<PathBuf>,
    /// Pseudonyms instead of addresses and names.
    pub redact: Option<Redaction>,
    /// How often `-v` was given.
    pub verbosity: u8,
}

/// A replay.
#[derive(Clone, Debug)]
pub struct ReplayConfig {
    /// Whose addresses are, beside what the recording tells.
    pub names: Vec<AddressOwner>,
    /// Write every proposal behind the report, and why it does or does not stand.
    pub explain: bool,
    /// The recording.
    pub file: PathBuf,
    /// Where another recording goes.
    pub record: Option<RecordTo>,
    /// How fast it is played.
    pub speed: Speed,
    /// What is shown and written.
    pub output: OutputConfig,
    /// Pseudonyms instead of addresses and names.
    pub redact: Option<Redaction>,
    /// How often `-v` was given.
    pub verbosity: u8,
}
