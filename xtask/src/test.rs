//! Everything that can be tested, in one sum: unit and replayed tests, live tests, labs.

use std::fmt;
use std::ops::AddAssign;
use std::time::{Duration, Instant};

use anyhow::{Result, bail, ensure};

use crate::command::{cargo, is_root, run_lines};
use crate::{check, labs};

/// How many tests ended how.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Counts {
    pub(crate) passed: usize,
    pub(crate) failed: usize,
    pub(crate) skipped: usize,
}

impl AddAssign for Counts {
    fn add_assign(&mut self, other: Self) {
        self.passed += other.passed;
        self.failed += other.failed;
        self.skipped += other.skipped;
    }
}

impl fmt::Display for Counts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} passed, {} failed, {} skipped",
            self.passed, self.failed, self.skipped
        )
    }
}

/// Runs everything; the last line is the sum.
pub(crate) fn run() -> Result<()> {
    let mut stages = Stages::default();
    let mut sum = stages.run("check", check::run)?;
    if is_root() {
        // Those that `check` left out are run now.
        sum.skipped = 0;
        sum += stages.run("live tests", live)?;
        sum += stages.run("labs", labs::count_all)?;
    } else {
        eprintln!(
            "SKIPPED: live tests and labs need root (namespaces, loading programs): run `make test` as root."
        );
    }
    eprintln!("{stages}");
    println!("{sum}");
    none_failed(sum)?;
    ensure!(is_root(), "labs could not be run");
    Ok(())
}

/// An error where a test failed.
pub(crate) fn none_failed(counts: Counts) -> Result<()> {
    ensure!(counts.failed == 0, "{} failed", counts.failed);
    Ok(())
}

/// What needs root, but no lab.
fn live() -> Result<Counts> {
    let mut counts = cargo_test(&["--", "--ignored"])?;
    counts += cargo_test(&[
        "--package",
        "tests",
        "--test",
        "*",
        "--",
        "--include-ignored",
    ])?;
    Ok(counts)
}

/// How long each stage took, for whoever has to keep the sum of them short.
#[derive(Debug, Default)]
struct Stages(Vec<(&'static str, Duration)>);

impl Stages {
    fn run<T>(&mut self, name: &'static str, stage: impl FnOnce() -> Result<T>) -> Result<T> {
        let begun = Instant::now();
        let result = stage();
        self.0.push((name, begun.elapsed()));
        result
    }
}

impl fmt::Display for Stages {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let words = |(name, took): &(&str, Duration)| {
            let seconds = took.as_secs();
            format!("{name} {} min {} s", seconds / 60, seconds % 60)
        };
        let all: Vec<_> = self.0.iter().map(words).collect();
        write!(f, "took: {}", all.join(", "))
    }
}

/// Runs `cargo test`, all of it even when some fail, and counts.
pub(crate) fn cargo_test(arguments: &[&str]) -> Result<Counts> {
    let mut command = cargo(["test", "--no-fail-fast"]);
    command.args(arguments);
    let mut counts = Counts::default();
    let succeeded = run_lines(command, |line| {
        if let Some(result) = result_line(line) {
            counts += result;
        }
    })?;
    // A test that fails is in the sum; what does not compile, or dies, is not.
    if !succeeded && counts.failed == 0 {
        bail!("`cargo test` ended without a result: see above");
    }
    Ok(counts)
}

/// Reads `test result: ok. 3 passed; 0 failed; 1 ignored; …`.
fn result_line(line: &str) -> Option<Counts> {
    let (_, numbers) = line.strip_prefix("test result: ")?.split_once(". ")?;
    let number = |word: &str| {
        numbers
            .split("; ")
            .find_map(|part| part.strip_suffix(word)?.trim().parse().ok())
            .unwrap_or_default()
    };
    Some(Counts {
        passed: number("passed"),
        failed: number("failed"),
        skipped: number("ignored"),
    })
}

/// Reads `3 passed, 0 failed, 1 skipped`.
pub(crate) fn sum_line(line: &str) -> Option<Counts> {
    let mut parts = line.split(", ");
    let mut number = |word: &str| parts.next()?.strip_suffix(word)?.trim().parse().ok();
    Some(Counts {
        passed: number("passed")?,
        failed: number("failed")?,
        skipped: number("skipped")?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn results_of_cargo_test_are_read() {
        let line = "test result: FAILED. 14 passed; 2 failed; 1 ignored; 0 measured; 0 filtered out; finished in 0.04s";
        assert_eq!(
            result_line(line),
            Some(Counts {
                passed: 14,
                failed: 2,
                skipped: 1
            })
        );
        assert_eq!(result_line("test the_result ... ok"), None);
    }

    #[test]
    fn the_last_line_of_labs_is_read() {
        let counts = Counts {
            passed: 31,
            failed: 2,
            skipped: 1,
        };
        assert_eq!(sum_line(&counts.to_string()), Some(counts));
        assert_eq!(sum_line("PASS one: 3 passed, none lost"), None);
    }
}
