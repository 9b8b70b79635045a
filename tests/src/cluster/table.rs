//! What became of all incidents, as a table in Markdown: a row for each place where one was asked about.

use std::fmt;

use super::incident::Told;
use crate::proof::Fate;

/// The rows.
#[derive(Debug)]
pub struct Table<'a>(pub &'a [Told]);

impl fmt::Display for Table<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "| incident | asked on | expected | tracer said | change | undo | |"
        )?;
        writeln!(f, "|---|---|---|---|---|---|---|")?;
        for told in self.0 {
            let [outcome, cause] = &told.expected;
            let expected = [outcome.as_str(), cause.as_str()];
            let expected: Vec<&str> = expected
                .into_iter()
                .filter(|word| !word.is_empty())
                .collect();
            let said = told.said.as_ref();
            let summary = said.map_or_else(
                || "nothing".to_owned(),
                |said| said.summary.replace('|', "\\|"),
            );
            let cause = said.and_then(|said| said.cause.as_deref());
            let cause = cause.map_or_else(String::new, |cause| format!(" ({cause})"));
            writeln!(
                f,
                "| {} | {} | {} | {summary}{cause} | {} | {} | {} |",
                told.title,
                told.place.name(),
                expected.join(", "),
                fate(told.proof.fix.fate),
                fate(told.proof.undo.fate),
                if told.wrong.is_empty() {
                    "✓"
                } else {
                    "**✗**"
                }
            )?;
        }
        Ok(())
    }
}

const fn fate(fate: Fate) -> &'static str {
    match fate {
        Fate::Untried | Fate::None => "–",
        Fate::Unproven => "not tried",
        Fate::Ok => "✓",
        Fate::Failed => "**✗**",
    }
}
