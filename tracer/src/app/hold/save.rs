//! Makes one save, in a process of its own: the recording as it came, then what a replay of it says, as a report and a ticket.
//! Each file has another name until it is complete.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::Path;
use std::time::{Duration, SystemTime};

use super::super::output::{Output, fold};
use super::helper::{Answer, Request, heed_no_signals};
use super::store;
use crate::config::OutputFormat;
use crate::error::Error;
use crate::report::Report;
use crate::restrict::{Role, restrict};
use crate::source::recording::{self, Reader};
use crate::verdict::Outcome;

/// What the process does: the request is its argument, the recording its input, the answer its output.
///
/// # Errors
/// When the answer cannot be written; what else goes wrong is the answer.
pub fn save(request: &str) -> io::Result<()> {
    heed_no_signals();
    let answer = serde_json::from_slice(request.as_bytes())
        .map_err(|error| Error::runtime("a save was asked for in other words").caused_by(error))
        .and_then(|request| made(&request))
        .unwrap_or_else(|error| Answer::failed(error.one_line()));
    let mut output = io::stdout();
    serde_json::to_writer(&mut output, &answer)?;
    output.flush()
}

fn made(request: &Request) -> Result<Answer, Error> {
    let directory = request.directory.as_path();
    let failed = |error| Error::io(format_args!("save to {}", directory.display()), error);
    let mut names = store::names(directory).map_err(failed)?;
    // Packets are read from here on.
    let write = [directory.to_owned()];
    restrict(Role::Files {
        read: &[],
        write: &write,
    });
    let at = SystemTime::UNIX_EPOCH + Duration::from_nanos(request.at_unix_ns);
    let first = store::name(at, &request.why, &names);
    let (_, part) = store::file(directory, &first, store::RECORDING);
    let written = write_recording(&part, request.size).and_then(|()| File::open(&part));
    let file = written.inspect_err(|_| remove(&part)).map_err(failed)?;
    let report = replayed(file).inspect_err(|_| remove(&part))?;
    let verdict = &report.verdict;
    let Title {
        called,
        cause,
        summary,
    } = Title::of(request, &report);
    let save = store::name(at, &called, &names);
    let (ticket, _) = store::file(directory, &save, store::TICKET);
    let (json, _) = store::file(directory, &save, store::REPORT);
    let (recording, _) = store::file(directory, &save, store::RECORDING);
    for (ending, format) in [
        (store::TICKET, OutputFormat::Markdown),
        (store::REPORT, OutputFormat::Json),
    ] {
        let (path, part) = store::file(directory, &save, ending);
        write_report(&part, format, &report)
            .and_then(|()| fs::rename(&part, &path).map_err(failed))
            .inspect_err(|_| remove(&part))?;
    }
    // The recording comes last: where it is, the others are.
    fs::rename(&part, &recording).map_err(failed)?;
    names.extend([&ticket, &json, &recording].into_iter().filter_map(|path| {
        let name = path.file_name()?.to_str()?;
        Some(name.to_owned())
    }));
    let surplus = store::surplus(&names, request.keep);
    for name in &surplus {
        // Somebody else may have removed it.
        remove(&directory.join(name));
    }
    let recordings = format!(".{}", store::RECORDING);
    Ok(Answer {
        error: None,
        recording,
        report: json,
        ticket,
        outcome: verdict.outcome.code().to_owned(),
        cause,
        summary,
        duration_ms: report.trace.duration_ms,
        removed: surplus
            .iter()
            .filter(|name| name.ends_with(&recordings))
            .count() as u64,
    })
}

/// What a save is said to be about.
struct Title {
    /// In the names of its files.
    called: String,
    cause: Option<String>,
    summary: String,
}

impl Title {
    /// The verdict of the whole, which knows more than what was found at first, where it is about that; what was found where it
    /// is about something else, or was over before the recording ended.
    fn of(request: &Request, report: &Report) -> Self {
        let verdict = &report.verdict;
        let bad = verdict.outcome > Outcome::Delivered;
        let own = |cause: &Option<String>| cause.as_deref() == Some(request.why.as_str());
        let found = request.found.as_ref();
        // Earlier trouble is still in the minutes that are kept.
        let apart = report.flows.iter().map(|flow| &flow.verdict);
        let apart = apart.filter(|verdict| own(&verdict.cause));
        let apart = found.and(apart.max_by_key(|verdict| verdict.packets.affected));
        let (cause, summary) = match (found, apart) {
            (_, Some(apart)) if bad && !own(&verdict.cause) => {
                (apart.cause.clone(), apart.summary.clone())
            }
            (Some(found), _) if !bad => {
                let summary = format!("{found}; in the end {}", verdict.summary);
                (Some(request.why.clone()), summary)
            }
            _ => (verdict.cause.clone(), verdict.summary.clone()),
        };
        let called = match &cause {
            Some(cause) if bad => cause,
            None if bad => verdict.outcome.code(),
            _ => &request.why,
        };
        Self {
            called: called.to_owned(),
            cause,
            summary,
        }
    }
}

fn remove(path: &Path) {
    let _ = fs::remove_file(path);
}

/// The recording is on the disk when this is done.
fn write_recording(path: &Path, size: u64) -> io::Result<()> {
    let mut file = recording::create(path)?;
    file.set_len(0)?;
    let came = io::copy(&mut io::stdin().lock(), &mut file)?;
    if came != size {
        // The recorder was killed.
        return Err(io::Error::other("the recording ends too early"));
    }
    file.sync_all()
}

/// What `tracer replay` says.
fn replayed(file: File) -> Result<Report, Error> {
    let unreadable = |error| Error::runtime("what was kept cannot be replayed").caused_by(error);
    let inputs = Reader::new(file).map_err(unreadable)?;
    let session = fold(Box::new(inputs), |_, _, _| {}).map_err(unreadable)?;
    Ok(session.report())
}

fn write_report(path: &Path, format: OutputFormat, report: &Report) -> Result<(), Error> {
    let file = recording::create(path).and_then(|file| file.set_len(0).map(|()| file));
    let file = file.map_err(|error| Error::io(format_args!("write {}", path.display()), error))?;
    Output::to_file(file, format).report(report)
}
