//! What a comparison is to do.

use std::path::PathBuf;

use super::{OutputConfig, Redaction};

/// A comparison.
#[derive(Clone, Debug)]
pub struct DiffConfig {
    /// Recording or report of the flow that works; `-` is the standard input.
    pub good: PathBuf,
    /// Of the one that does not.
    pub bad: PathBuf,
    /// Number of BAD's flow.
    pub flow: Option<u32>,
    /// Number of GOOD's.
    pub good_flow: Option<u32>,
    /// Pseudonyms instead of addresses and names.
    pub redact: Option<Redaction>,
    /// JSON or text; the exit status tells whether they part.
    pub output: OutputConfig,
}
