//! `tracer merge`: recordings of several nodes, shown as one trace.

use std::collections::BTreeSet;
use std::fs::File;
use std::io::Write;
use std::num::NonZero;
use std::panic::resume_unwind;
use std::path::Path;
use std::thread;

use super::files::{Files, Wanted};
use super::kept::KeptInputs;
use super::output::Output;
use super::redaction::RedactionStage;
use super::{confine, display, finish, look, pending, runtime, show_replay, take, tell_of_text};
use crate::config::{MergeConfig, NodeFile};
use crate::error::{Error, ExitStatus};
use crate::host::facts::NodeId;
use crate::restrict::Role;
use crate::source::merge::{Merger, NodeScan};
use crate::source::recording::{Ending, Reader};

/// Reads recordings of several nodes as one, then writes the report. Gives the exit status.
///
/// # Errors
/// When a file cannot be read or the output not be written.
pub fn merge(config: &MergeConfig) -> Result<ExitStatus, Error> {
    let mut output = Output::open(&config.output)?;
    let recordings = config.nodes.iter().map(|node| node.file.as_path());
    let wanted = recordings
        .fold(Wanted::default(), Wanted::read)
        .beside(config.record.as_ref().map(|to| to.path.as_path()))
        .saved(config.output.screen.is_some());
    let files = Files::start(wanted)?;
    let pending = pending(config.record.as_ref(), &files)?;
    let mut redaction =
        RedactionStage::new(config.redact.as_ref())?.with_names(config.names.clone());
    let look = look(config.output.screen);
    let runtime = runtime()?;
    // The files are somebody else's.
    confine(Role::Work, config.verbosity);
    let scans = named(scans(&files, &config.nodes)?, &config.nodes)?;
    let nodes = (0..).map(NodeId).zip(scans).zip(&config.nodes);
    let nodes = nodes.map(|((id, scan), node)| Ok((id, scan, open(&files, &node.file)?)));
    let merger = Merger::new(nodes.collect::<Result<_, Error>>()?);
    let keep = config.output.screen.is_some() || output.wants_inputs();
    let mut kept = KeptInputs::begin(&files, pending, keep)
        .map_err(|error| Error::io("write the recording", error))?;
    let mut session = redaction.session();
    tell_of_text(config.output.text_because);
    let mut display = display(look, &session, &mut output)?;
    for input in merger {
        if let Some(input) = redaction.input(input.map_err(failed)?) {
            take(&mut session, &mut kept, &mut display, &input);
            display.check()?;
        }
    }
    if config.output.screen.is_some() {
        display.look(&session);
        runtime.block_on(show_replay(&mut display, &mut kept))?;
    }
    display.close();
    if let Some(text) = kept.finish() {
        display.say(&text);
    }
    finish(&mut output, &session, kept, config.output.check)
}

fn failed(error: impl std::error::Error + Send + Sync + 'static) -> Error {
    Error::runtime("cannot merge").caused_by(error)
}

fn open(files: &Files, path: &Path) -> Result<Reader<File>, Error> {
    let file = files
        .read(path)
        .map_err(|error| Error::io(format_args!("read {}", path.display()), error))?;
    Reader::new(file)
        .map_err(|error| Error::runtime(format!("cannot read {}", path.display())).caused_by(error))
}

/// The first pass over all recordings, as many at a time as there are processors.
fn scans(files: &Files, nodes: &[NodeFile]) -> Result<Vec<NodeScan>, Error> {
    let at_once = thread::available_parallelism().map_or(1, NonZero::get);
    let mut scans = Vec::with_capacity(nodes.len());
    for some in nodes.chunks(at_once) {
        let read = thread::scope(|scope| {
            let threads: Vec<_> = some
                .iter()
                .map(|node| scope.spawn(|| scan(files, node)))
                .collect();
            threads
                .into_iter()
                .map(|thread| thread.join().unwrap_or_else(|panic| resume_unwind(panic)))
                .collect::<Result<Vec<_>, _>>()
        });
        scans.extend(read?);
    }
    Ok(scans)
}

/// The first pass over one recording.
fn scan(files: &Files, node: &NodeFile) -> Result<NodeScan, Error> {
    let path = node.file.display();
    let mut reader = open(files, &node.file)?;
    let scan = NodeScan::read(&mut reader)
        .map_err(|error| Error::runtime(format!("cannot read {path}")).caused_by(error))?
        .ok_or_else(|| {
            Error::runtime(format!("{path} ends before the description of its node"))
                .hint("record for longer, or copy it again from where it was made")
        })?;
    if let Some(Ending::Cut { offset }) = reader.ending() {
        super::say!("tracer: {path} was cut off at byte {offset}: this is the part before");
    }
    if scan.is_merged() {
        return Err(Error::usage(format!("{path} is of several nodes already"))
            .hint("merge the recordings that were made on the nodes"));
    }
    Ok(scan)
}

/// Names of nodes: as given, else their hosts', else, where two hosts have one name, their files'.
fn named(scans: Vec<NodeScan>, files: &[NodeFile]) -> Result<Vec<NodeScan>, Error> {
    let hosts: BTreeSet<&str> = scans.iter().map(NodeScan::name).collect();
    let distinct = hosts.len() == scans.len();
    let named: Vec<NodeScan> = scans
        .into_iter()
        .zip(files)
        .map(|(scan, node)| {
            let stem = || node.file.file_stem().and_then(|stem| stem.to_str());
            match (&node.name, distinct) {
                (Some(name), _) => scan.named(name.clone()),
                (None, true) => scan,
                (None, false) => match stem() {
                    Some(stem) => scan.named(stem.to_owned()),
                    None => scan,
                },
            }
        })
        .collect();
    let mut names = BTreeSet::new();
    match named.iter().find(|scan| !names.insert(scan.name())) {
        Some(twice) => Err(Error::usage(format!(
            "two recordings are of a node named {}",
            twice.name()
        ))
        .hint("name the nodes: tracer merge node1=FILE node2=FILE")),
        None => Ok(named),
    }
}
