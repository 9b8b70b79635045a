//! How large the static binary is.

use anyhow::{Context, Result};

use super::figure::{Figure, MEGABYTES, Question, Target};
use super::task::Task;
use crate::dist;

const QUESTION: Question = Question {
    what: "static binary",
    method: "size of what `make dist` builds",
    unit: MEGABYTES,
    target: Target::AtMost(8.0),
    headline: true,
};

/// Bytes of the file, which was built before the first measurement.
pub(super) fn run(_: &Task) -> Result<Vec<Figure>> {
    let path = dist::path();
    let file = path.metadata();
    let file = file.with_context(|| format!("cannot look at {}", path.display()))?;
    Ok(vec![
        QUESTION.answer(vec![file.len() as f64 / 1e6], Vec::new()),
    ])
}
