//! `tracer merge`: recordings of several nodes, shown as one trace.

use std::collections::BTreeSet;
use std::fs::File;
use std::io::Write;
use std::num::NonZero;
use std::panic::resume_unwind;
use std::path::Path;
use std::thread;

use super::output::Output;
use super::reel::Reel;
use super::tape::{self, Tape};
use super::veil::Veil;
use super::{finish, front, runtime, show_replay, take, tell_of_text};
use crate::config::{MergeConfig, NodeFile};
use crate::error::{Error, ExitStatus};
use crate::host::facts::NodeId;
use crate::session::Session;
use crate::source::merge::{Merger, Survey};
use crate::source::recording::{Ending, Reader};

/// Reads recordings of several nodes as one, then writes the report. Gives the exit status.
///
/// # Errors
/// When a file cannot be read or the output not be written.
pub fn merge(config: &MergeConfig) -> Result<ExitStatus, Error> {
    let mut output = Output::open(&config.output)?;
    let blank = config.record.as_ref().map(Reel::create).transpose()?;
    let surveys = named(surveys(&config.nodes)?, &config.nodes)?;
    let nodes = (0..).map(NodeId).zip(surveys).zip(&config.nodes);
    let nodes = nodes.map(|((id, survey), node)| Ok((id, survey, open(&node.file)?)));
    let merger = Merger::new(nodes.collect::<Result<_, Error>>()?);
    let kept = config.output.screen.is_some() || output.wants_inputs();
    let mut tape =
        Tape::begin(blank, kept).map_err(|error| Error::io("write the recording", error))?;
    let mut veil = Veil::new(config.redact.as_ref())?;
    let mut session = Session::default();
    tell_of_text(config.output.text_because);
    let mut front = front(config.output.screen, &session, &mut output)?;
    for input in merger {
        if let Some(input) = veil.input(input.map_err(failed)?) {
            take(&mut session, &mut tape, &mut front, &input);
            front.check()?;
        }
    }
    if config.output.screen.is_some() {
        front.look(&session);
        runtime()?.block_on(show_replay(&mut front, &mut tape))?;
    }
    front.close();
    if let Some(text) = tape.finish() {
        front.say(&text);
    }
    finish(&mut output, &session, tape, config.output.check)
}

fn failed(error: impl std::error::Error + Send + Sync + 'static) -> Error {
    Error::runtime("cannot merge").caused_by(error)
}

fn open(path: &Path) -> Result<Reader<File>, Error> {
    Reader::new(tape::open(path)?)
        .map_err(|error| Error::runtime(format!("cannot read {}", path.display())).caused_by(error))
}

/// The first pass over all recordings, as many at a time as there are processors.
fn surveys(nodes: &[NodeFile]) -> Result<Vec<Survey>, Error> {
    let at_once = thread::available_parallelism().map_or(1, NonZero::get);
    let mut surveys = Vec::with_capacity(nodes.len());
    for some in nodes.chunks(at_once) {
        let read = thread::scope(|scope| {
            let threads: Vec<_> = some
                .iter()
                .map(|node| scope.spawn(|| survey(node)))
                .collect();
            threads
                .into_iter()
                .map(|thread| thread.join().unwrap_or_else(|panic| resume_unwind(panic)))
                .collect::<Result<Vec<_>, _>>()
        });
        surveys.extend(read?);
    }
    Ok(surveys)
}

/// The first pass over one recording.
fn survey(node: &NodeFile) -> Result<Survey, Error> {
    let path = node.file.display();
    let mut reader = open(&node.file)?;
    let survey = Survey::read(&mut reader)
        .map_err(|error| Error::runtime(format!("cannot read {path}")).caused_by(error))?
        .ok_or_else(|| {
            Error::runtime(format!("{path} ends before it tells of its node"))
                .hint("record for longer, or copy it again from where it was made")
        })?;
    if let Some(Ending::Cut { offset }) = reader.ending() {
        super::say!("tracer: {path} was cut off at byte {offset}: this is what stands before");
    }
    if survey.is_merged() {
        return Err(Error::usage(format!("{path} is of several nodes already"))
            .hint("merge the recordings that were made on the nodes"));
    }
    Ok(survey)
}

/// Names of nodes: as given, else their hosts', else, where two hosts have one name, their files'.
fn named(surveys: Vec<Survey>, files: &[NodeFile]) -> Result<Vec<Survey>, Error> {
    let hosts: BTreeSet<&str> = surveys.iter().map(Survey::name).collect();
    let distinct = hosts.len() == surveys.len();
    let named: Vec<Survey> = surveys
        .into_iter()
        .zip(files)
        .map(|(survey, node)| {
            let stem = || node.file.file_stem().and_then(|stem| stem.to_str());
            match (&node.name, distinct) {
                (Some(name), _) => survey.named(name.clone()),
                (None, true) => survey,
                (None, false) => match stem() {
                    Some(stem) => survey.named(stem.to_owned()),
                    None => survey,
                },
            }
        })
        .collect();
    let mut names = BTreeSet::new();
    match named.iter().find(|survey| !names.insert(survey.name())) {
        Some(twice) => Err(Error::usage(format!(
            "two recordings are of a node named {}",
            twice.name()
        ))
        .hint("name the nodes: tracer merge node1=FILE node2=FILE")),
        None => Ok(named),
    }
}
