//! The table of docs/labs.md that tells how the labs fare on other kernels: a row for each family, a column for each
//! kernel.

use std::collections::BTreeMap;
use std::fmt;

use anyhow::{Context, Result};
use serde_json::Value;

/// How many labs of a family are right, were run, and were left out.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Cell {
    right: usize,
    run: usize,
    skipped: usize,
}

/// Cells by family and kernel.
#[derive(Debug, Default)]
pub(super) struct Table {
    kernels: Vec<String>,
    families: BTreeMap<String, BTreeMap<String, Cell>>,
    sums: BTreeMap<String, Cell>,
}

impl Table {
    /// Adds what `lab run --json` wrote on a kernel.
    pub(super) fn add(&mut self, kernel: &str, results: &str) -> Result<()> {
        self.kernels.push(kernel.to_owned());
        for line in results.lines() {
            let lab: Value = serde_json::from_str(line).context("a result is no JSON")?;
            let text = |key: &str| lab.get(key).and_then(Value::as_str).unwrap_or_default();
            let row = self.families.entry(text("family").to_owned()).or_default();
            for cell in [
                row.entry(kernel.to_owned()).or_default(),
                self.sums.entry(kernel.to_owned()).or_default(),
            ] {
                cell.run += usize::from(text("result") != "skip");
                cell.skipped += usize::from(text("result") == "skip");
                cell.right += usize::from(text("result") == "pass");
            }
        }
        Ok(())
    }

    fn row(
        &self,
        f: &mut fmt::Formatter<'_>,
        name: &str,
        cells: &BTreeMap<String, Cell>,
    ) -> fmt::Result {
        write!(f, "| {name} |")?;
        for kernel in &self.kernels {
            match cells.get(kernel) {
                Some(cell) => write!(f, " {cell} |")?,
                None => write!(f, " – |")?,
            }
        }
        writeln!(f)
    }
}

impl fmt::Display for Cell {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} of {}", self.right, self.run)?;
        if self.skipped > 0 {
            write!(f, ", {} skipped", self.skipped)?;
        }
        Ok(())
    }
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "| family | {} |", self.kernels.join(" | "))?;
        writeln!(f, "|---|{}", "--:|".repeat(self.kernels.len()))?;
        for (family, cells) in &self.families {
            self.row(f, family, cells)?;
        }
        self.row(f, "**all**", &self.sums)
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]
mod tests {
    use super::*;

    #[test]
    fn results_are_counted_by_family_and_kernel() {
        let mut table = Table::default();
        let line = |family: &str, result: &str| {
            format!("{{\"family\":\"{family}\",\"result\":\"{result}\"}}\n")
        };
        table
            .add(
                "5.10",
                &(line("tc", "pass") + &line("route", "fail") + &line("route", "skip")),
            )
            .unwrap();
        table.add("7.2", &line("route", "pass")).unwrap();
        assert_eq!(
            table.to_string(),
            "| family | 5.10 | 7.2 |\n|---|--:|--:|\n| route | 0 of 1, 1 skipped | 1 of 1 |\n\
             | tc | 1 of 1 | – |\n| **all** | 1 of 2, 1 skipped | 1 of 1 |\n"
        );
    }
}
