//! The one loop: owns the session, the recording and the run's end. Live runs and replays differ only in where their
//! inputs come from; neither kernel nor rendering knowledge lives here.

mod cluster;
mod diff;
mod display;
mod doctor;
mod files;
pub mod hold;
mod kept;
mod merge;
mod names;
mod output;
mod recording_file;
mod redaction;
mod renamed;
mod replay;
mod save;
mod serve;
mod stdin;
mod work;

use std::io::{self, Write};
use std::time::Duration;

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::time::{Instant, sleep_until};

use crate::config::Depth;
use crate::config::{Config, RecordTo, ScreenConfig};
use crate::error::{Error, ExitStatus};
use crate::filter::{Request, compile};
use crate::host::NamePlaces;
use crate::inventory::{self, list::Listed};
use crate::render::style::{ASCII, UNICODE};
use crate::report::Report;
use crate::restrict::{Role, restrict};
use crate::session::Session;
use crate::source::live::{Live, Message, Ready};
use crate::source::{EndReason, Input};
use crate::tui::{Driver, Effect, Settings, settings};
use crate::verdict::{Confidence, Outcome};
pub use cluster::cluster;
pub use diff::diff;
use display::{Display, Progress};
pub use doctor::doctor;
use files::{Files, Wanted};
pub use hold::hold;
use kept::KeptInputs;
pub use merge::merge;
use names::Names;
use output::Output;
use recording_file::{PendingRecording, RecordingFile};
use redaction::RedactionStage;
use renamed::Renamed;
pub use replay::replay;
use serve::{Shown, serve};
use stdin::{Stdin, Told};
use work::{Part, Work};

/// A message on stderr. When stderr is closed, the trace continues.
macro_rules! say {
    ($($words:tt)*) => {
        // The error has nowhere to go: this is where it would be said.
        let _ = writeln!(::std::io::stderr(), $($words)*);
    };
}
use say;

/// How long the end of a run waits for one round of answers about the last loss.
const LAST_ANSWERS: Duration = Duration::from_secs(5);
/// Rounds of questions at the end: an answer may lead to one more question.
const LAST_ROUNDS: u32 = 8;
/// Width of text that goes to a file or a pipe.
const PLAIN_WIDTH: u16 = 100;

/// Traces until asked to end, then writes the report. Gives the exit status.
///
/// # Errors
/// When rights or kernel support are missing, or an output cannot be written.
pub fn trace(config: &Config) -> Result<ExitStatus, Error> {
    let runtime = runtime()?;
    // A file that cannot be created is reported before the trace, not after it.
    let mut output = Output::open(&config.output)?;
    tell_of_text(config.output.text_because);
    let files = Files::start(
        Wanted::default()
            .beside(config.record.as_ref().map(|to| to.path.as_path()))
            .saved(config.output.screen.is_some()),
    )?;
    let pending = pending(config.record.as_ref(), &files)?;
    let run = run(config, (files, pending), &mut output);
    let (session, kept) = runtime.block_on(run)?;
    finish(&mut output, &session, kept, config.output.check)
}

/// The recording that is asked for.
fn pending(to: Option<&RecordTo>, files: &Files) -> Result<Option<PendingRecording>, Error> {
    to.map(|to| RecordingFile::create(to, files)).transpose()
}

/// Takes from this thread, and from those that it starts later, what they do not need. What could not be had is said to who asks
/// for more (`-v`).
fn confine(role: Role<'_>, verbosity: u8) {
    for missing in restrict(role) {
        if verbosity > 0 {
            say!("tracer: not restricted by {missing}");
        }
    }
}

/// Writes what the run gives. Gives the exit status.
fn finish(
    output: &mut Output,
    session: &Session,
    mut kept: KeptInputs,
    check: bool,
) -> Result<ExitStatus, Error> {
    let report = session.report();
    output.report(&report)?;
    if output.wants_inputs() {
        output.packets(session, kept.inputs()?)?;
        if !kept.note().is_empty() {
            say!("tracer: packets written{}", kept.note());
        }
    }
    Ok(exit_status(&report, check))
}

fn runtime() -> Result<tokio::runtime::Runtime, Error> {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| Error::io("start the event loop", error))
}

/// Says why there is text instead of the full screen.
fn tell_of_text(because: Option<&str>) {
    if let Some(reason) = because {
        say!("tracer: {reason}: text instead of the full screen");
    }
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

/// Prints what can be asked for by name.
///
/// # Errors
/// When namespaces cannot be read, or the standard output takes nothing.
pub fn list(what: Option<Listed>, places: NamePlaces) -> Result<ExitStatus, Error> {
    confine(Role::Machine, 0);
    let text = inventory::list::list(what, places)
        .map_err(|error| Error::runtime("cannot read the machine's namespaces").caused_by(error))?;
    print(|out| out.write_all(text.as_bytes()))
}

/// Waits for a signal, with no rights: what is started beside it has its own.
///
/// # Errors
/// When signals cannot be waited for.
pub fn wait() -> Result<ExitStatus, Error> {
    confine(Role::Work, 0);
    runtime()?.block_on(async {
        Signals::listen()?.any().await;
        Ok(ExitStatus::Done)
    })
}

/// Prints keys and colours in force, as a settings file.
///
/// # Errors
/// When the standard output cannot be written.
pub fn keys() -> Result<ExitStatus, Error> {
    let (settings, note) = Settings::load(Depth::True);
    if let Some(note) = note {
        say!("tracer: {note}");
    }
    let text = settings::listing(&settings, settings::path().as_deref());
    print(|out| out.write_all(text.as_bytes()))
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

/// Keys and colours of the screen, if there is to be one, read while files can be; and what was wrong with them.
type Look = Option<(Settings, Option<String>)>;

fn look(screen: Option<ScreenConfig>) -> Look {
    screen.map(|ScreenConfig { depth }| Settings::load(depth))
}

/// The display that the configuration asks for.
fn display<'a>(
    look: Look,
    session: &Session,
    output: &'a mut Output,
) -> Result<Display<'a>, Error> {
    let Some((settings, note)) = look else {
        return Ok(if output.tells_events() {
            Display::Events(output)
        } else {
            Display::Line(Progress::new())
        });
    };
    let marks = if speaks_utf8() { UNICODE } else { ASCII };
    let driver = Driver::start(settings, marks, note, session).map_err(|error| {
        Error::io("draw on the terminal", error).hint("--output text needs no terminal")
    })?;
    Ok(Display::Screen(Box::new(driver)))
}

/// The signals that end a trace.
struct Signals {
    interrupt: Signal,
    terminate: Signal,
    hangup: Signal,
}

impl Signals {
    fn listen() -> Result<Self, Error> {
        let listen = |kind| signal(kind).map_err(|error| Error::io("listen for signals", error));
        Ok(Self {
            interrupt: listen(SignalKind::interrupt())?,
            terminate: listen(SignalKind::terminate())?,
            hangup: listen(SignalKind::hangup())?,
        })
    }

    async fn any(&mut self) {
        tokio::select! {
            _ = self.interrupt.recv() => {}
            _ = self.terminate.recv() => {}
            _ = self.hangup.recv() => {}
        }
    }
}

/// Gives the session when all is in, and the inputs that were kept.
async fn run(
    config: &Config,
    (files, pending): (Files, Option<PendingRecording>),
    output: &mut Output,
) -> Result<(Session, KeptInputs), Error> {
    let mut signals = Signals::listen()?;
    let mut redaction = RedactionStage::new(config.redact.as_ref())?;
    let mut live = tokio::select! {
        started = Live::start(config) => started?,
        () = signals.any() => return Err(Error::runtime("ended before it was ready: nothing was traced")),
    };
    let names = config.output.screen.map(|_| Names::start(config));
    let names = names.transpose()?;
    let mut renamed = Renamed::start(config)?;
    let look = look(config.output.screen);
    confine(Role::Work, config.verbosity);
    let mut kept = KeptInputs::begin(
        &files,
        pending,
        config.output.screen.is_some() || output.wants_inputs(),
    )
    .map_err(|error| Error::io("write the recording", error))?;
    say!("{}", ready_line(live.ready()));
    let deadline = config.duration.map(|d| Instant::now() + d);
    let mut stdin = Stdin::listen(config.until_eof, config.filter.one_way)?;
    let mut session = Session::default();
    let mut display = display(look, &session, output)?;
    let mut ending: Option<EndReason> = None;
    // The user has quit: the screen closes as soon as the trace is over.
    let mut left = false;
    let mut work = Work::default();

    loop {
        let open = ending.is_none();
        let end = tokio::select! {
            biased;
            () = signals.any(), if open => {
                left = true;
                EndReason::Asked
            }
            () = until(deadline), if open => EndReason::Duration,
            told = stdin.next(), if open => match told {
                Told::End => EndReason::Asked,
                Told::Also(compiled) => {
                    if let Err(error) = live.also(*compiled) {
                        display.say(&error.one_line());
                    }
                    continue;
                }
            },
            compiled = renamed::next(&mut renamed), if open => {
                display.say(renamed::SAID);
                live.grow(compiled);
                continue;
            }
            effect = display.next(), if open => {
                match effect? {
                    Effect::Quit => {
                        left = true;
                        EndReason::Asked
                    }
                    effect => {
                        if matches!(effect, Effect::Filter(_)) {
                            renamed = None;
                        }
                        let shown = Shown::Live {
                            live: &mut live,
                            config,
                            names: names.as_ref(),
                            redaction: &mut redaction,
                            session: &mut session,
                        };
                        serve(effect, &mut display, &mut kept, shown);
                        continue;
                    }
                }
            }
            part = due(&work) => {
                let begun = Instant::now();
                let mut found = None;
                match part {
                    Part::Ask => {
                        live.ask(redaction.questions(session.questions()));
                        if display.shows_checks() {
                            live.ask(redaction.questions(session.questions_of_checks()));
                        }
                        // With pseudonyms the addresses are not those of the machine.
                        if config.redact.is_none() {
                            if config.rules {
                                live.learned(session.learned());
                            }
                            if !config.filter.one_way {
                                expect(&mut live, &mut session);
                            }
                        }
                    }
                    Part::Look => display.look(&session),
                    Part::Judge => {
                        let unread = kept.is_unread().then_some(EndReason::Asked);
                        found = reached(config, &session).or(unread).filter(|_| open);
                    }
                }
                work.done(begun);
                let Some(reason) = found else { continue };
                reason
            }
            message = live.recv() => match message? {
                // Dropped before anything takes it: a replay of the recording gives the same trace.
                Message::Input(Input::Tick(_)) if open && work.rests() => continue,
                Message::Input(input) => {
                    let begun = Instant::now();
                    if let Some(renamed) = &renamed {
                        renamed.see(&input);
                    }
                    let Some(input) = redaction.input(input) else {
                        continue;
                    };
                    take(&mut session, &mut kept, &mut display, &input);
                    if let Input::Tick(_) = input {
                        work.begin(begun);
                    }
                    continue;
                }
                Message::Drained => break,
                Message::Answered | Message::Failed(_) => continue,
            },
        };
        ending = Some(end);
        live.stop();
        if left {
            display.close();
        }
    }

    // The probes are detached and their records are in. Questions about the last losses are asked now, and then those
    // about what packets passed.
    for ask in [Session::questions, Session::questions_of_checks] {
        for _ in 0..LAST_ROUNDS {
            let questions = ask(&mut session);
            if questions.is_empty() && !live.owes_answers() {
                break;
            }
            let questions = redaction.questions(questions);
            let answers = live.ask_and_wait(questions, LAST_ANSWERS).await;
            for input in answers
                .into_iter()
                .filter_map(|input| redaction.input(input))
            {
                take(&mut session, &mut kept, &mut display, &input);
            }
        }
    }
    // When the programs were told to stop: what came later was seen by none.
    let until = session.trace().now;
    let end = Input::End(until, ending.unwrap_or(EndReason::Asked));
    take(&mut session, &mut kept, &mut display, &end);
    drop(live);
    if !left {
        display.look(&session);
        tokio::select! {
            () = signals.any() => {}
            shown = show(&mut display, &mut kept) => shown?,
        }
    }
    display.close();
    if let Some(text) = kept.finish() {
        display.say(&text);
    }
    Ok((session, kept))
}

/// Shows a finished trace until the user quits or a signal arrives: either way the terminal is restored.
/// Has what is expected to belong to the flows followed too.
fn expect(live: &mut Live, session: &mut Session) {
    for expr in session.expected() {
        let request = Request {
            expr,
            one_way: true,
            ..Request::default()
        };
        // The first who asked stand for those that the filter has no room for.
        let room = compile(&request).is_ok_and(|compiled| live.also(compiled).is_ok());
        if !room {
            return;
        }
    }
}

async fn show_replay(display: &mut Display<'_>, kept: &mut KeptInputs) -> Result<(), Error> {
    let mut signals = Signals::listen()?;
    tokio::select! {
        () = signals.any() => Ok(()),
        shown = show(display, kept) => shown,
    }
}

/// Shows the trace until the user quits. Without a screen there is nothing to wait for.
async fn show(display: &mut Display<'_>, kept: &mut KeptInputs) -> Result<(), Error> {
    while display.snapshot().is_some() {
        match display.next().await? {
            Effect::Quit => break,
            effect => serve(effect, display, kept, Shown::Finished),
        }
    }
    Ok(())
}

/// The part of a tick's work that is due; never resolves when none is.
async fn due(work: &Work) -> Part {
    match work.next() {
        Some(part) => part,
        None => std::future::pending().await,
    }
}

/// Folds one input and keeps it.
fn take(session: &mut Session, kept: &mut KeptInputs, display: &mut Display<'_>, input: &Input) {
    display.input(input, session);
    let seen = session.input(input);
    display.taken(input, seen, session);
    if let Err(text) = kept.write(input) {
        display.say(&text);
    }
}

/// Whether `--packets` or `--until-verdict` are met, or nothing is left that would keep to `--max-cpu`.
fn reached(config: &Config, session: &Session) -> Option<EndReason> {
    let trace = session.trace();
    if config.packets.is_some_and(|limit| trace.packets >= limit) {
        return Some(EndReason::Packets);
    }
    let cost = session.host().cost.as_ref();
    if cost.is_some_and(|cost| cost.exceeded) {
        return Some(EndReason::Cost);
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
