//! What a merge is to do.

use std::path::PathBuf;

use crate::host::facts::AddressOwner;

use super::{OutputConfig, RecordTo, Redaction};

/// A merge.
#[derive(Clone, Debug)]
pub struct MergeConfig {
    /// Whose addresses are, beside what the recordings tell.
    pub names: Vec<AddressOwner>,
    /// The recordings, two or more.
    pub nodes: Vec<NodeFile>,
    /// Where the merged recording goes.
    pub record: Option<RecordTo>,
    /// What is shown and written.
    pub output: OutputConfig,
    /// Pseudonyms instead of addresses and names.
    pub redact: Option<Redaction>,
    /// How often `-v` was given.
    pub verbosity: u8,
}

/// A node's recording.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NodeFile {
    /// The node's name, where it was given.
    pub name: Option<String>,
    /// The recording.
    pub file: PathBuf,
}
