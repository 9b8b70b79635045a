//! Whether a replay says what the live run said: every recording that the labs left is replayed, and its report compared
//! with the one that the live run wrote.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::thread;

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use crate::command::{output, program};
use crate::test::Counts;
use crate::workspace::built;

/// Replays all `NAME.tracer` of a directory, as many at a time as there are processors, and compares with `NAME.json`
/// beside them.
pub(crate) fn compare(directory: &Path) -> Result<Counts> {
    let recordings = recordings(directory)?;
    let queue = Mutex::new(recordings.iter());
    let next = || queue.lock().ok()?.next();
    let work = || {
        let mut counts = Counts::default();
        while let Some(recording) = next() {
            if is_the_same(recording)? {
                counts.passed += 1;
            } else {
                counts.failed += 1;
                println!(
                    "FAIL {}: the replay's report is not the live run's",
                    recording.display()
                );
            }
        }
        Ok(counts)
    };
    let mut counts = Counts::default();
    thread::scope(|scope| -> Result<()> {
        let workers = thread::available_parallelism().map_or(1, usize::from);
        let workers: Vec<_> = (0..workers).map(|_| scope.spawn(work)).collect();
        for worker in workers {
            let counted: Result<Counts> = worker.join().ok().context("a replay panicked")?;
            counts += counted?;
        }
        Ok(())
    })?;
    ensure!(counts.passed + counts.failed > 0, "no lab left a recording");
    println!("{} replays say what the live runs said", counts.passed);
    Ok(counts)
}

/// The recordings of a directory.
fn recordings(directory: &Path) -> Result<Vec<PathBuf>> {
    let mut recordings = Vec::new();
    for entry in fs::read_dir(directory).with_context(|| directory.display().to_string())? {
        let path = entry?.path();
        if path.extension().is_some_and(|kind| kind == "tracer") {
            recordings.push(path);
        }
    }
    Ok(recordings)
}

/// Whether a recording's replay gives the report that is kept beside it.
fn is_the_same(recording: &Path) -> Result<bool> {
    let report = recording.with_extension("json");
    let live: Value =
        serde_json::from_slice(&fs::read(&report).with_context(|| report.display().to_string())?)?;
    let mut command = program(built("tracer"), ["replay"]);
    command.arg(recording).arg("--json");
    let replayed: Value = serde_json::from_str(&output(command)?)?;
    Ok(live == replayed)
}
