//! What `lab run --json` writes: one line of JSON a lab, for programs that look at what fails.

use serde::Serialize;

use crate::proof::Step;
use crate::score::Marks;
use crate::suite::{Line, Verdict};

/// One lab.
#[derive(Debug, Serialize)]
pub struct Record<'a> {
    /// Its name.
    name: &'a str,
    /// The folder of its file.
    family: &'a str,
    /// `pass`, `fail` or `skip`.
    result: &'static str,
    /// Whether the faulty run is expected to lose something.
    loses: bool,
    /// Whether the healthy run is as expected.
    healthy: bool,
    /// Whether the faulty one is.
    faulty: bool,
    /// The first change of the faulty report: `fate` is `ok`, `failed`, `none` (the report has none), `unproven` (`why`
    /// says why) or `untried`.
    fix: &'a Step,
    why: Option<&'a str>,
    /// The undo of that change.
    undo: &'a Step,
    /// The line that the run writes, with what explains a failure.
    text: &'a str,
}

impl<'a> From<&'a Line> for Record<'a> {
    fn from(line: &'a Line) -> Self {
        let (result, text) = match &line.verdict {
            Verdict::Pass(text) => ("pass", text),
            Verdict::Fail(text) => ("fail", text),
            Verdict::Skip(text) => ("skip", text),
        };
        let Marks {
            cause,
            place,
            advice,
            path,
            healthy,
        } = line.marks;
        Self {
            name: &line.name,
            family: &line.family,
            result,
            loses: line.loses,
            healthy,
            faulty: cause && place && advice && path,
            fix: &line.proof.fix,
            why: line.proof.why.as_deref(),
            undo: &line.proof.undo,
            text,
        }
    }
}

impl Record<'_> {
    /// As one line of JSON.
    ///
    /// # Errors
    /// Nothing in a record cannot be written as JSON.
    pub fn line(&self) -> serde_json::Result<String> {
        Ok(serde_json::to_string(self)? + "\n")
    }
}
