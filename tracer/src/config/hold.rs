//! A recorder that stays on a node.

use std::path::PathBuf;
use std::time::Duration;

use super::Config;

/// The word by which this program becomes the process that starts others for the recorder.
pub const HELPER: &str = "hold-helper";
/// The word by which it makes one save.
pub const SAVER: &str = "hold-save";

/// What `tracer hold` is to do.
#[derive(Clone, Debug)]
pub struct HoldConfig {
    /// What is followed.
    pub trace: Config,
    /// How much of the past is kept.
    pub last: Duration,
    /// How long a save waits for what comes after.
    pub after: Duration,
    /// Most bytes of memory for what is kept.
    pub max_memory: usize,
    /// Where saves go.
    pub save: PathBuf,
    /// Most saves in an hour that nobody asked for.
    pub at_most: u32,
    /// Most saves that are left in the directory.
    pub keep: usize,
    /// The words of a command that is told of each save.
    pub exec: Option<Vec<String>>,
    /// Where metrics go.
    pub metrics: Option<PathBuf>,
}
