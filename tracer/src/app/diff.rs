//! `tracer diff`: two traces, each from a recording or a report, held against each other.

use std::fs::File;
use std::io::{Cursor, Read, Write};
use std::path::Path;

use serde_json::Value;

use super::redaction::RedactionStage;
use super::{PLAIN_WIDTH, confine, kept, speaks_utf8};
use crate::compare::{NoFlow, Subject, compare};
use crate::config::{DiffConfig, OutputFormat, Sink};
use crate::error::{Error, ExitStatus};
use crate::render::text::TextStyle;
use crate::render::{comparison, json};
use crate::report::{Report, SCHEMA};
use crate::restrict::Role;
use crate::session::Session;
use crate::source::recording::{Ending, Reader};

/// Compares, and writes what came of it. Gives the exit status.
///
/// # Errors
/// When a file cannot be read, holds nothing to compare, or the output cannot be written.
pub fn diff(config: &DiffConfig) -> Result<ExitStatus, Error> {
    let mut sink = Sink::open(&config.output.report_to)?;
    let redaction = RedactionStage::new(config.redact.as_ref())?;
    let (good, bad) = (kept::open(&config.good)?, kept::open(&config.bad)?);
    // The files are somebody else's.
    confine(Role::Work, 0);
    let good = load(&config.good, good, redaction.afresh())?;
    let bad = load(&config.bad, bad, redaction)?;
    let (good_file, bad_file) = (name(&config.good), name(&config.bad));
    let compared = compare(
        Subject {
            file: &good_file,
            report: &good,
            flow: config.good_flow,
        },
        Subject {
            file: &bad_file,
            report: &bad,
            flow: config.flow,
        },
    )
    .map_err(advise)?;
    let written = if config.output.format == OutputFormat::Json {
        json::write(&mut sink, &compared)
    } else {
        let style = TextStyle {
            width: usize::from(sink.width().unwrap_or(PLAIN_WIDTH)),
            color: config.output.color,
            ascii: !speaks_utf8(),
            ..TextStyle::default()
        };
        comparison::write(&mut sink, &compared, &style)
    };
    written
        .and_then(|()| sink.flush())
        .map_err(|error| Error::io("write the comparison", error))?;
    Ok(if config.output.check && compared.parting.is_some() {
        ExitStatus::NotDelivered
    } else {
        ExitStatus::Done
    })
}

fn advise(error: NoFlow) -> Error {
    let hint = match error {
        NoFlow::Empty { .. } => "trace while the flow is tried, and compare that",
        NoFlow::Unknown { .. } => {
            "--flow is of BAD, --good-flow of GOOD; --json of each names its flows"
        }
    };
    Error::runtime(error.to_string()).hint(hint)
}

fn name(path: &Path) -> String {
    if path == Path::new("-") {
        "standard input".to_owned()
    } else {
        path.display().to_string()
    }
}

/// The report of a file, whichever of both it is: JSON begins with a brace, a recording with bytes that no text has.
fn load(path: &Path, mut from: File, redaction: RedactionStage) -> Result<Report, Error> {
    let name = name(path);
    let unread = |error| Error::io(format_args!("read {name}"), error);
    let mut first = Vec::new();
    Read::by_ref(&mut from)
        .take(1)
        .read_to_end(&mut first)
        .map_err(unread)?;
    let text = first.iter().all(u8::is_ascii);
    let from = Cursor::new(first).chain(from);
    if !text {
        return of_recording(&name, from, redaction);
    }
    let report = of_json(&name, from)?;
    if redaction.hides() {
        return Err(
            Error::usage(format!("{name} is a report, which holds original names"))
                .hint("give the recording that it was made of"),
        );
    }
    Ok(report)
}

fn of_recording(
    name: &str,
    from: impl Read,
    mut redaction: RedactionStage,
) -> Result<Report, Error> {
    let unreadable = |error| Error::runtime(format!("cannot compare {name}")).caused_by(error);
    let mut reader = Reader::new(from).map_err(unreadable)?;
    let mut session = Session::default();
    for input in &mut reader {
        if let Some(input) = redaction.input(input.map_err(unreadable)?) {
            session.input(&input);
        }
    }
    if let Some(Ending::Cut { offset }) = reader.ending() {
        super::say!("tracer: {name} was cut off at byte {offset}: this is the part before");
    }
    Ok(session.report())
}

fn of_json(name: &str, mut from: impl Read) -> Result<Report, Error> {
    let cannot = || format!("cannot compare {name}");
    let foreign = |what: &str| {
        Error::runtime(format!("{}: {what}", cannot()))
            .hint("give recordings (tracer --record FILE) or reports (tracer --json -o FILE)")
    };
    let mut bytes = Vec::new();
    from.read_to_end(&mut bytes)
        .map_err(|error| Error::io(format_args!("read {name}"), error))?;
    let neither = "it is neither a recording nor a report of tracer";
    if !bytes.trim_ascii_start().starts_with(b"{") {
        return Err(foreign(neither));
    }
    let document: Value = match serde_json::from_slice(&bytes) {
        Ok(document) => document,
        Err(error) if error.to_string().starts_with("trailing characters") => {
            return Err(foreign("it holds more than one JSON document (ndjson?)"));
        }
        Err(error) => return Err(foreign("it is not whole JSON").caused_by(error)),
    };
    match document.get("schema").and_then(Value::as_str) {
        Some(SCHEMA) => {}
        Some(other) if other.starts_with("tracer.report/") => {
            return Err(foreign(&format!(
                "it is a {other}, this tracer reads {SCHEMA}"
            )));
        }
        _ => return Err(foreign(neither)),
    }
    serde_json::from_value(document)
        .map_err(|error| foreign("it says that it is a report, but it is none").caused_by(error))
}
