//! What is being measured now, with which tracer; and the report that tracer leaves.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result};
use serde_json::Value;

/// What matches every packet of the floods.
pub(super) const FLOOD: &str = "udp port 9000";
/// What matches none.
pub(super) const NOTHING: &str = "tcp port 4242";

/// One row of the bench at work.
pub(super) struct Task<'a> {
    /// The tracer under measure.
    pub(super) tracer: &'a Path,
    /// The row's name.
    pub(super) row: &'a str,
    /// Its place among those that are measured, from 1.
    pub(super) number: usize,
    /// How many are measured.
    pub(super) of: usize,
}

impl Task<'_> {
    /// Tells the user what is going on.
    pub(super) fn say(&self, text: &str) {
        eprintln!("[{}/{}] {}: {text}", self.number, self.of, self.row);
    }

    /// Tells of a round.
    pub(super) fn round(&self, round: usize, of: usize, text: &str) {
        self.say(&format!("round {} of {of}: {text}", round + 1));
    }
}

/// A report that tracer has written.
pub(super) fn report(path: &str) -> Result<Value> {
    let text = fs::read(path).with_context(|| format!("no report in {path}"))?;
    serde_json::from_slice(&text).with_context(|| format!("{path} is no JSON"))
}

/// A number in a report.
pub(super) fn count(report: &Value, pointer: &str) -> Result<u64> {
    let number = report.pointer(pointer).and_then(Value::as_u64);
    number.with_context(|| format!("no number at {pointer} of the report"))
}
