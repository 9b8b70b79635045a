//! What a run gives in the end, in the form that was asked for; with ndjson also what happens, as it happens.

use std::borrow::Cow;
use std::fs::File;
use std::io::{self, Write};

use super::PLAIN_WIDTH;
use crate::config::{OutputConfig, OutputFormat, Sink};
use crate::error::Error;
use crate::render::text::{TextStyle, considered};
use crate::render::{self, diagram, json, markdown, pcapng};
use crate::report::Report;
use crate::report::assemble::event_report;
use crate::report::event::NdjsonLine;
use crate::session::{Seen, Session};
use crate::source::Input;
use crate::source::recording::RecordingError;
use crate::verdict::Considered;

/// An open destination, and what is written to it.
pub(super) struct Output {
    sink: Sink,
    format: OutputFormat,
    color: bool,
    hop_checks: bool,
    /// For the line that is written.
    room: Vec<u8>,
    /// What went wrong while events were written: nothing is written any more.
    failed: Option<io::Error>,
}

/// Inputs of a trace that is over, once more.
pub(super) type Inputs<'a> = Box<dyn Iterator<Item = Result<Input, RecordingError>> + 'a>;

impl Output {
    /// Opens the destination.
    ///
    /// # Errors
    /// When the file cannot be made.
    pub(super) fn open(config: &OutputConfig) -> Result<Self, Error> {
        Ok(Self {
            sink: Sink::open(&config.report_to)?,
            format: config.format,
            color: config.color,
            hop_checks: config.hop_checks,
            room: Vec::new(),
            failed: None,
        })
    }

    /// To a file that is open, without colours.
    pub(super) fn to_file(file: File, format: OutputFormat) -> Self {
        Self {
            sink: Sink::of_file(file),
            format,
            color: false,
            hop_checks: false,
            room: Vec::new(),
            failed: None,
        }
    }

    /// Whether events are written as they happen.
    pub(super) fn tells_events(&self) -> bool {
        self.format == OutputFormat::Ndjson
    }

    /// Whether the trace's inputs are needed once more in the end.
    pub(super) fn wants_inputs(&self) -> bool {
        self.format == OutputFormat::Pcapng
    }

    /// Writes the event of the input that the session has just taken in; at a tick, sees to it that all so far is out.
    pub(super) fn event(&mut self, input: &Input, seen: Option<Seen>, session: &Session) {
        if self.failed.is_some() {
            return;
        }
        let sighting = session.sighting(input, seen);
        let written = match (sighting, input) {
            (Some(sighting), _) => {
                let event = event_report(&sighting, session.host());
                json::line(&mut self.sink, &NdjsonLine::Event(event), &mut self.room)
            }
            (None, Input::Tick(_)) => self.sink.flush(),
            (None, _) => Ok(()),
        };
        self.failed = written.err();
    }

    /// What went wrong so far.
    ///
    /// # Errors
    /// When an event could not be written.
    pub(super) fn check(&mut self) -> Result<(), Error> {
        match self.failed.take() {
            Some(error) => Err(Error::io("write the events", error)),
            None => Ok(()),
        }
    }

    /// Writes what depends on the report alone.
    ///
    /// # Errors
    /// When it cannot be written.
    pub(super) fn report(&mut self, report: &Report) -> Result<(), Error> {
        self.check()?;
        let style = self.style();
        let out = &mut self.sink;
        match self.format {
            OutputFormat::Text => render::text::write(out, report, &style),
            OutputFormat::Json => json::write(out, report),
            OutputFormat::Ndjson => {
                let report = NdjsonLine::Report(Cow::Borrowed(report));
                json::line(out, &report, &mut self.room)
            }
            OutputFormat::Markdown => markdown::write(out, report),
            OutputFormat::Svg => out.write_all(diagram::svg(report).as_bytes()),
            // made of the inputs, not of the report
            OutputFormat::Pcapng => Ok(()),
        }
        .and_then(|()| out.flush())
        .map_err(|error| Error::io("write the report", error))
    }

    /// Writes what was considered behind a report in text.
    ///
    /// # Errors
    /// When it cannot be written.
    pub(super) fn considered(&mut self, all: &[Considered]) -> Result<(), Error> {
        let style = self.style();
        considered::write(&mut self.sink, all, &style)
            .and_then(|()| self.sink.flush())
            .map_err(|error| Error::io("write what was considered", error))
    }

    fn style(&self) -> TextStyle {
        TextStyle {
            width: usize::from(self.sink.width().unwrap_or(PLAIN_WIDTH)),
            color: self.color,
            ascii: !super::speaks_utf8(),
            checks: self.hop_checks,
            ..TextStyle::default()
        }
    }

    /// Writes the packets.
    ///
    /// # Errors
    /// When the inputs cannot be read again or the packets not be written.
    pub(super) fn packets(&mut self, session: &Session, inputs: Inputs<'_>) -> Result<(), Error> {
        pcapng::write(&mut self.sink, session, inputs)
            .and_then(|()| self.sink.flush())
            .map_err(|error| Error::io("write the packets", error))
    }
}

/// What inputs come to; `each` looks at every one.
///
/// # Errors
/// When the inputs cannot be read.
pub(super) fn fold(
    inputs: Inputs<'_>,
    mut each: impl FnMut(&Input, Option<Seen>, &Session),
) -> Result<Session, RecordingError> {
    let mut session = Session::default();
    for input in inputs {
        let input = input?;
        let seen = session.input(&input);
        each(&input, seen, &session);
    }
    Ok(session)
}
