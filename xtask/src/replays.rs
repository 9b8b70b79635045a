//! Whether a replay says what the live run said: every recording that the labs left is replayed, and its report compared
//! with the one that the live run wrote.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use crate::command::{output, program};
use crate::test::Counts;
use crate::workspace::built;

/// Replays all `NAME.tracer` of a directory and compares with `NAME.json` beside them.
pub(crate) fn compare(directory: &Path) -> Result<Counts> {
    let mut counts = Counts::default();
    for entry in fs::read_dir(directory).with_context(|| directory.display().to_string())? {
        let recording = entry?.path();
        if recording.extension().is_none_or(|kind| kind != "tracer") {
            continue;
        }
        let report = recording.with_extension("json");
        let live: Value = serde_json::from_slice(
            &fs::read(&report).with_context(|| report.display().to_string())?,
        )?;
        let mut command = program(built("tracer"), ["replay"]);
        command.arg(&recording).arg("--json");
        let replayed: Value = serde_json::from_str(&output(command)?)?;
        if live == replayed {
            counts.passed += 1;
        } else {
            counts.failed += 1;
            println!(
                "FAIL {}: the replay's report is not the live run's",
                recording.display()
            );
        }
    }
    ensure!(counts.passed + counts.failed > 0, "no lab left a recording");
    println!("{} replays say what the live runs said", counts.passed);
    Ok(counts)
}
