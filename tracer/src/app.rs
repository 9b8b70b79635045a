//! The one loop: owns the session, the recording and the run's end. Live runs and replays differ only in where their
//! inputs come from; neither kernel nor rendering knowledge lives here.

use std::fs::{File, OpenOptions};
use std::io::{self, IsTerminal, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::time::Duration;

use tokio::signal::unix::{SignalKind, signal};
use tokio::time::{Instant, sleep_until};

use crate::config::{Config, OutputFormat, ReplayConfig, Sink};
use crate::error::{Error, ExitStatus};
use crate::host::machine;
use crate::render;
use crate::render::text::TextStyle;
use crate::report::{Confidence, Outcome, Report};
use crate::session::Session;
use crate::source::live::{Live, Message, Ready};
use crate::source::recording::{Ending, Reader, Writer};
use crate::source::{EndReason, Input};

/// A line for the person on stderr. When nobody reads it any more, the trace goes on all the same.
macro_rules! say {
    ($($words:tt)*) => {
        // The error has nowhere to go: this is where it would be said.
        let _ = writeln!(io::stderr(), $($words)*);
    };
}

/// How long the end of a run waits for one round of answers about the last loss.
const LAST_ANSWERS: Duration = Duration::from_secs(5);
/// Rounds of questions at the end: an answer may lead to one more question.
const LAST_ROUNDS: u32 = 3;
/// Width of text that goes to a file or a pipe.
const PLAIN_WIDTH: u16 = 100;

/// A recording being written.
type Recording = Writer<File>;

/// Traces until asked to end, then writes the report. Gives the exit status.
///
/// # Errors
/// When rights or kernel support are missing, or an output cannot be written.
pub fn trace(config: &Config) -> Result<ExitStatus, Error> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| Error::io("start the event loop", error))?;
    // A file that cannot be made is better known before the incident than after it.
    let mut sink = Sink::open(&config.report_to)?;
    let file = config.record.as_deref().map(create).transpose()?;
    let session = runtime.block_on(run(config, file))?;
    let report = session.report();
    write_report(&mut sink, &report, config.output, config.color)?;
    Ok(exit_status(&report, config.check))
}

/// Reads a recording, then writes the report. Gives the exit status.
///
/// # Errors
/// When the file cannot be read or the output not be written.
pub fn replay(config: &ReplayConfig) -> Result<ExitStatus, Error> {
    let file = File::open(&config.file)
        .map_err(|error| Error::io(format_args!("read {}", config.file.display()), error))?;
    let mut sink = Sink::open(&config.report_to)?;
    let mut session = Session::default();
    let unreadable =
        |error| Error::runtime(format!("cannot replay {}", config.file.display())).caused_by(error);
    let mut reader = Reader::new(file).map_err(unreadable)?;
    for input in &mut reader {
        session.input(&input.map_err(unreadable)?);
    }
    if let Some(Ending::Cut { offset }) = reader.ending() {
        say!("tracer: the recording was cut off at byte {offset}: this is what stands before");
    }
    let report = session.report();
    write_report(&mut sink, &report, config.output, config.color)?;
    Ok(exit_status(&report, config.check))
}

/// Prints a document about tracer itself.
///
/// # Errors
/// When the standard output cannot be written.
pub fn print(
    document: impl FnOnce(&mut io::Stdout) -> io::Result<()>,
) -> Result<ExitStatus, Error> {
    let mut out = io::stdout();
    document(&mut out)
        .and_then(|()| out.flush())
        .map_err(|error| Error::io("write to the standard output", error))?;
    Ok(ExitStatus::Done)
}

/// The file for a recording, not yet emptied: the run may still be refused. It will hold packets' bytes: nobody else
/// may read it.
fn create(path: &Path) -> Result<File, Error> {
    OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .open(path)
        .map_err(|error| Error::io(format_args!("write {}", path.display()), error))
}

/// Begins the recording.
fn begin(file: File) -> io::Result<Recording> {
    if file.metadata()?.is_file() {
        file.set_len(0)?;
    }
    Writer::new(file)
}

fn ready_line(ready: Ready) -> String {
    format!(
        "tracer: ready: {} tracepoints, {} interfaces, {} namespaces, in {} ms",
        ready.tracepoints,
        ready.interfaces,
        ready.namespaces,
        ready.took.as_millis()
    )
}

async fn run(config: &Config, record_to: Option<File>) -> Result<Session, Error> {
    let listen = |kind| signal(kind).map_err(|error| Error::io("listen for signals", error));
    let mut interrupt = listen(SignalKind::interrupt())?;
    let mut terminate = listen(SignalKind::terminate())?;
    let mut hangup = listen(SignalKind::hangup())?;

    let mut live = Live::start(config)?;
    let mut recording = record_to
        .map(begin)
        .transpose()
        .map_err(|error| Error::io("write the recording", error))?;
    say!("{}", ready_line(live.ready()));
    let deadline = config.duration.map(|d| Instant::now() + d);
    let mut progress = Progress::new();
    let mut session = Session::default();
    let mut ending: Option<EndReason> = None;

    loop {
        let open = ending.is_none();
        let end = tokio::select! {
            biased;
            _ = interrupt.recv(), if open => EndReason::Asked,
            _ = terminate.recv(), if open => EndReason::Asked,
            _ = hangup.recv(), if open => EndReason::Asked,
            () = until(deadline), if open => EndReason::Duration,
            message = live.recv() => match message? {
                Message::Input(input) => {
                    take(&mut session, &mut recording, &input);
                    let Input::Tick(_) = input else { continue };
                    live.ask(session.questions());
                    progress.show(&session);
                    match reached(config, &session) {
                        Some(reason) if open => reason,
                        _ => continue,
                    }
                }
                Message::Drained => break,
                Message::Answered | Message::Failed(_) => continue,
            },
        };
        ending = Some(end);
        live.stop();
    }
    progress.clear();

    // The probes are out and everything they saw is in. What the last losses make us want to know is asked now.
    for _ in 0..LAST_ROUNDS {
        let questions = session.questions();
        if questions.is_empty() && !live.owes_answers() {
            break;
        }
        for input in live.ask_and_wait(questions, LAST_ANSWERS).await {
            take(&mut session, &mut recording, &input);
        }
    }
    let now = machine::ktime().map_err(|error| Error::io("read the clock", error))?;
    let end = Input::End(now, ending.unwrap_or(EndReason::Asked));
    take(&mut session, &mut recording, &end);
    if let Some(writer) = recording
        && let Err(error) = writer.finish()
    {
        say!("tracer: the end of the recording is missing: {error}");
    }
    Ok(session)
}

/// Folds one input and records it. A recording that cannot be written any more (full disk) is said once and does not
/// end the trace.
fn take(session: &mut Session, recording: &mut Option<Recording>, input: &Input) {
    session.input(input);
    if let Some(writer) = recording
        && let Err(error) = writer.write(input)
    {
        say!("tracer: the recording ends here: {error}");
        *recording = None;
    }
}

/// Whether `--packets` or `--until-verdict` are met.
fn reached(config: &Config, session: &Session) -> Option<EndReason> {
    let trace = session.trace();
    if config.packets.is_some_and(|limit| trace.packets >= limit) {
        return Some(EndReason::Packets);
    }
    let certain = || {
        let verdict = session.diagnosis().overall;
        verdict.outcome != Outcome::NoTraffic && verdict.confidence == Confidence::Certain
    };
    (config.until_verdict && trace.packets > 0 && certain()).then_some(EndReason::Verdict)
}

async fn until(deadline: Option<Instant>) {
    match deadline {
        Some(at) => sleep_until(at).await,
        None => std::future::pending().await,
    }
}

fn write_report(
    sink: &mut Sink,
    report: &Report,
    format: OutputFormat,
    color: bool,
) -> Result<(), Error> {
    let style = TextStyle {
        width: usize::from(sink.width().unwrap_or(PLAIN_WIDTH)),
        color,
        ascii: !speaks_utf8(),
        ..TextStyle::default()
    };
    match format {
        OutputFormat::Text => render::text::write(sink, report, &style),
        OutputFormat::Json => render::json::write(sink, report),
    }
    .and_then(|()| sink.flush())
    .map_err(|error| Error::io("write the report", error))
}

/// Whether the locale's encoding is UTF-8, by the variables that decide it (locale(7)). A shell without any of them, as in
/// most containers, gets plain ASCII.
fn speaks_utf8() -> bool {
    ["LC_ALL", "LC_CTYPE", "LANG"]
        .iter()
        .find_map(|name| std::env::var(name).ok().filter(|value| !value.is_empty()))
        .is_some_and(|value| {
            let value = value.to_ascii_uppercase();
            value.contains("UTF-8") || value.contains("UTF8")
        })
}

fn exit_status(report: &Report, check: bool) -> ExitStatus {
    if check && report.verdict.outcome != Outcome::Delivered {
        ExitStatus::NotDelivered
    } else {
        ExitStatus::Done
    }
}

/// One line on a terminal's stderr that says that something happens; nothing elsewhere.
struct Progress {
    on: bool,
    last: (u64, u64),
}

impl Progress {
    fn new() -> Self {
        Self {
            on: io::stderr().is_terminal(),
            last: (u64::MAX, 0),
        }
    }

    fn show(&mut self, session: &Session) {
        let trace = session.trace();
        let now = (trace.packets, trace.events);
        if self.on && now != self.last {
            self.last = now;
            let flows = trace.flows.len();
            let _ = write!(
                io::stderr(),
                "\r\x1b[Ktracer: {} packets in {flows} flows, {} events; Ctrl-C ends the trace and shows the path",
                now.0,
                now.1
            );
        }
    }

    fn clear(&self) {
        if self.on {
            let _ = write!(io::stderr(), "\r\x1b[K");
        }
    }
}
