//! The catalogue of causes over all committed recordings: wherever two causes are proposed for one loss, a row says which
//! of them stands, and why.

#![expect(
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test ends where it fails"
)]

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::path::{Path, PathBuf};

use tracer::correlate::Trace;
use tracer::diagnose::groups;
use tracer::diagnose::view::View;
use tracer::host::Host;
use tracer::session::Session;
use tracer::source::recording::Reader;

#[test]
fn where_two_causes_meet_the_catalogue_decides() {
    let mut undecided = BTreeSet::new();
    let mut met = 0;
    for file in recordings() {
        let session = replayed(&file);
        let meeting = pairs(session.trace(), session.host());
        met += meeting.len();
        undecided.extend(meeting.into_iter().filter(|pair| !pair.2).map(|pair| {
            let name = file.file_stem().unwrap().to_string_lossy().into_owned();
            format!("{} and {} meet in {name}", pair.0, pair.1)
        }));
    }
    assert!(met > 0, "no two causes met: the recordings test nothing");
    assert!(
        undecided.is_empty(),
        "causes without a row that says which beats the other:\n{}",
        undecided.into_iter().collect::<Vec<_>>().join("\n")
    );
}

/// Causes that were proposed for one loss, and whether the catalogue decides between them.
fn pairs(trace: &Trace, host: &Host) -> BTreeSet<(&'static str, &'static str, bool)> {
    let mut met = BTreeSet::new();
    for flow in &trace.flows {
        let view = View { trace, host, flow };
        for loss in &view.losses().lost {
            let proposals = groups::proposals(loss);
            for (n, one) in proposals.iter().enumerate() {
                for other in proposals.iter().skip(n + 1) {
                    let (a, b) = (one.candidate.cause, other.candidate.cause);
                    if a != b {
                        let decided = a.beats(b).or_else(|| b.beats(a)).is_some();
                        met.insert((a.code, b.code, decided));
                    }
                }
            }
        }
    }
    met
}

fn recordings() -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/recordings");
    let mut list: Vec<PathBuf> = fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|e| e == "tracer"))
        .collect();
    list.sort();
    list
}

fn replayed(file: &Path) -> Session {
    let mut session = Session::default();
    for input in Reader::new(File::open(file).unwrap()).unwrap() {
        let input = input.unwrap_or_else(|error| panic!("{}: {error}", file.display()));
        session.input(&input);
    }
    session
}
