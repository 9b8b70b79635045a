//! Recordings of real labs, replayed: what the whole pipeline makes of what a kernel really sent, without root.
//!
//! `cargo xtask record-labs FILE…` makes the recordings; their text is a snapshot beside them. A recording that a
//! user sends becomes a test by being put into the folder.
#![expect(
    clippy::unwrap_used,
    reason = "a test ends where something is not as it must be"
)]

use std::fs::{self, File};
use std::path::{Path, PathBuf};

use tracer::render::{json, text};
use tracer::report::Report;
use tracer::session::Session;
use tracer::source::recording::{Ending, Reader};

fn recordings() -> Vec<PathBuf> {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/recordings");
    let mut files: Vec<PathBuf> = fs::read_dir(directory)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|kind| kind == "tracer"))
        .collect();
    files.sort();
    assert!(!files.is_empty(), "no recordings");
    files
}

fn replay(file: &Path) -> Report {
    let mut session = Session::default();
    let mut reader = Reader::new(File::open(file).unwrap()).unwrap();
    for input in &mut reader {
        session.input(&input.unwrap());
    }
    assert_eq!(reader.ending(), Some(Ending::Whole), "{}", file.display());
    session.report()
}

#[test]
fn the_text_of_every_recording_is_as_it_was() {
    for file in recordings() {
        let mut page = Vec::new();
        text::write(&mut page, &replay(&file), &text::TextStyle::default()).unwrap();
        let name = file.file_stem().unwrap().to_string_lossy().into_owned();
        insta::with_settings!({snapshot_path => "recordings", prepend_module_to_snapshot => false, omit_expression => true}, {
            insta::assert_snapshot!(name, String::from_utf8(page).unwrap());
        });
    }
}

#[test]
fn every_report_meets_the_schema() {
    let schema: serde_json::Value = serde_json::from_str(&json::schema()).unwrap();
    let validator = jsonschema::validator_for(&schema).unwrap();
    for file in recordings() {
        let mut document = Vec::new();
        json::write(&mut document, &replay(&file)).unwrap();
        let document: serde_json::Value = serde_json::from_slice(&document).unwrap();
        let errors: Vec<String> = validator
            .iter_errors(&document)
            .map(|error| error.to_string())
            .collect();
        assert!(errors.is_empty(), "{}: {errors:?}", file.display());
    }
}

#[test]
fn a_faulty_run_has_a_cause_and_a_healthy_one_has_none() {
    for file in recordings() {
        let verdict = replay(&file).verdict;
        let healthy = file.to_string_lossy().contains(".healthy.");
        assert_eq!(
            verdict.cause.is_none(),
            healthy,
            "{}: {}",
            file.display(),
            verdict.summary
        );
    }
}
