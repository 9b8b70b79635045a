//! What `lab run --json` writes: one line of JSON a lab, for programs that look at what fails.

use std::collections::BTreeSet;

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};

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

/// The labs that lines of `--json` tell of.
///
/// # Errors
/// A line is not what `--json` writes.
pub fn names(lines: &str) -> Result<BTreeSet<String>> {
    #[derive(Deserialize)]
    struct Named {
        name: String,
    }
    let name = |line| {
        serde_json::from_str(line)
            .map(|named: Named| named.name)
            .with_context(|| format!("not a result of a lab: {line}"))
    };
    lines.lines().map(name).collect()
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]
mod tests {
    use super::*;
    use crate::proof::Proof;

    #[test]
    fn labs_are_found_again_by_the_names_in_their_results() {
        let line = |name: &str| Line {
            name: name.to_owned(),
            family: "route".to_owned(),
            verdict: Verdict::Fail("healthy: outcome\nis another".to_owned()),
            marks: Marks::default(),
            loses: true,
            proof: Proof::default(),
        };
        let told: String = ["ttl-loop", "no-route"]
            .map(|name| Record::from(&line(name)).line().unwrap())
            .concat();
        let found = names(&told).unwrap();
        assert!(found.iter().eq(["no-route", "ttl-loop"]));
        assert!(names("PASS ttl-loop").is_err());
    }
}
