//! A recording being played: as fast as it can be read or at a pace, stopped by a key, gone through step by step, begun
//! again. The file is read as it is needed, and what was read is folded by the session alone.

use std::borrow::Cow;
use std::fs::File;
use std::io::{self, Write};
use std::thread;
use std::time::Duration;

use tokio::sync::oneshot;
use tokio::task::yield_now;
use tokio::time::{Instant, sleep_until};

use super::display::Display;
use super::files::{Files, Wanted};
use super::kept::{self, KeptInputs};
use super::output::Output;
use super::recording_file::PendingRecording;
use super::redaction::RedactionStage;
use super::serve::Shown;
use super::{
    Signals, confine, display, finish, look, pending, runtime, say, serve, take, tell_of_text,
};
use crate::config::{ReplayConfig, Speed};
use crate::error::{Error, ExitStatus};
use crate::host::facts::Fact;
use crate::model::KtimeNs;
use crate::restrict::Role;
use crate::session::Session;
use crate::session::step::{Goal, StepTo};
use crate::source::Input;
use crate::source::recording::{Ending, Feed, Reader, RecordingError};
use crate::tui::Effect;
use crate::tui::snapshot::Played;

/// So long inputs are read before keys are looked at again.
const SLICE: Duration = Duration::from_millis(5);

/// Reads a recording, then writes the report. Gives the exit status.
///
/// # Errors
/// When the file cannot be read or the output not be written.
pub fn replay(config: &ReplayConfig) -> Result<ExitStatus, Error> {
    let wanted = Wanted::default()
        .read(&config.file)
        .beside(config.record.as_ref().map(|to| to.path.as_path()))
        .saved(config.output.screen.is_some());
    let files = Files::start(wanted)?;
    let file = kept::open(&config.file)?;
    let redaction = RedactionStage::new(config.redact.as_ref())?.with_names(config.names.clone());
    let pending = pending(config.record.as_ref(), &files)?;
    let mut output = Output::open(&config.output)?;
    let look = look(config.output.screen);
    let runtime = runtime()?;
    // The file is somebody else's.
    confine(Role::Work, config.verbosity);
    let mut player = Player::open(config, &files, file, redaction)?;
    tell_of_text(config.output.text_because);
    let mut display = display(look, &player.session, &mut output)?;
    let played = runtime.block_on(play(&mut player, &mut display));
    display.close();
    played?;
    if let Some(pending) = pending {
        record(pending, &mut player.kept)?;
    }
    let session = player.as_of_now().into_owned();
    if session.ended().is_some() && session.host().run.is_none() {
        let file = config.file.display();
        return Err(
            Error::runtime(format!("{file} ends before the description of its trace"))
                .hint("record for longer, or copy it again from where it was made"),
        );
    }
    let status = finish(&mut output, &session, player.kept, config.output.check)?;
    if config.explain {
        output.considered(&session.considered())?;
    }
    Ok(status)
}

/// Plays until the person leaves or a signal comes, without a screen until the recording ends. Either way the terminal
/// can be given back.
async fn play(player: &mut Player<'_>, display: &mut Display<'_>) -> Result<(), Error> {
    let mut signals = Signals::listen()?;
    let paced = matches!(player.config.speed, Speed::Times(_));
    let mut length = (display.has_keys() && paced)
        .then(|| player.measure())
        .flatten();
    player.show(display);
    loop {
        let due = player.due;
        tokio::select! {
            biased;
            () = signals.any() => return Ok(()),
            effect = display.next() => match effect? {
                Effect::Quit => return Ok(()),
                Effect::Step(to) => player.step(to, display),
                Effect::Restart => player.restart(display)?,
                Effect::Run => player.stop_or_run(display),
                effect => serve(effect, display, &mut player.kept, Shown::Finished),
            },
            found = measured(&mut length) => player.length_ns = player.length_ns.or(found),
            fed = player.fed(), if player.starved && player.runs() => fed?,
            () = sleep_until(due), if player.runs() && !player.starved => {
                player.advance(display)?;
                if player.session.ended().is_some() && !display.has_keys() {
                    return Ok(());
                }
                // Timers and signals get their turn.
                yield_now().await;
            }
        }
    }
}

/// The length, once it is known; never comes when nobody looks for it.
async fn measured(length: &mut Option<oneshot::Receiver<u64>>) -> Option<u64> {
    match length {
        Some(receiver) => {
            let found = receiver.await.ok();
            *length = None;
            found
        }
        None => std::future::pending().await,
    }
}

/// Whether inputs are taken.
#[derive(Clone, Copy)]
enum Course {
    Runs,
    /// Until there; then it stops.
    To(Goal),
    Stopped,
}

/// Where inputs come from.
enum Supply {
    File(Reader<File>),
    /// What comes through a pipe is waited for, and keys are heard meanwhile.
    Pipe(Feed),
}

impl Supply {
    /// The next input; `Ok(None)` where it has not come yet. What has ended gives nothing either, after its end.
    fn next(&mut self) -> Result<Option<Input>, RecordingError> {
        match self {
            Self::File(reader) => reader.next().transpose(),
            Self::Pipe(feed) => feed.try_next().ok().transpose(),
        }
    }

    fn ending(&self) -> Option<Ending> {
        match self {
            Self::File(reader) => reader.ending(),
            Self::Pipe(feed) => feed.ending(),
        }
    }
}

/// A recording and how far it has been played.
struct Player<'a> {
    config: &'a ReplayConfig,
    from: Supply,
    redaction: RedactionStage,
    session: Session,
    kept: KeptInputs,
    course: Course,
    /// An input that was read and waits for its time.
    waiting: Option<Input>,
    /// Nothing more has come so far.
    starved: bool,
    /// Not before then is it taken.
    due: Instant,
    /// A moment of the trace and when it was played: what follows keeps its distance from it.
    paced_from: Option<(KtimeNs, Instant)>,
    length_ns: Option<u64>,
}

impl<'a> Player<'a> {
    fn open(
        config: &'a ReplayConfig,
        files: &Files,
        file: File,
        mut redaction: RedactionStage,
    ) -> Result<Self, Error> {
        let kept = KeptInputs::of_replay(files, (&config.file, &file), redaction.afresh())
            .map_err(|error| unread(config, error))?;
        let reader = Reader::new(file).map_err(|error| unreadable(config, error))?;
        let from = if is_file(config) {
            Supply::File(reader)
        } else {
            Supply::Pipe(Feed::new(reader).map_err(Error::no_thread)?)
        };
        Ok(Self {
            config,
            from,
            session: redaction.session(),
            redaction,
            kept,
            course: Course::Runs,
            waiting: None,
            starved: false,
            due: Instant::now(),
            paced_from: None,
            length_ns: None,
        })
    }

    fn runs(&self) -> bool {
        !matches!(self.course, Course::Stopped) && self.session.ended().is_none()
    }

    /// The next input of a pipe, once it is there.
    async fn fed(&mut self) -> Result<(), Error> {
        let Supply::Pipe(feed) = &mut self.from else {
            return Ok(());
        };
        let input = feed.next().await.transpose();
        self.starved = false;
        let input = input.map_err(|error| unreadable(self.config, error))?;
        self.waiting = input.and_then(|input| self.redaction.input(input));
        Ok(())
    }

    /// Takes inputs until there is something else to do: a slice of time is over, the next one is not due yet, a step is
    /// done, or the picture was renewed.
    fn advance(&mut self, display: &mut Display<'_>) -> Result<(), Error> {
        let until = Instant::now() + SLICE;
        while Instant::now() < until {
            let Some(input) = self.next()? else {
                return Ok(());
            };
            if let Some(due) = self.not_before(&input) {
                (self.due, self.waiting) = (due, Some(input));
                return Ok(());
            }
            take(&mut self.session, &mut self.kept, display, &input);
            display.check()?;
            if let Input::End(..) = input {
                self.end(display);
                return Ok(());
            }
            match self.course {
                Course::To(goal) if goal.is_reached(&self.session) => {
                    self.stop(display);
                    return Ok(());
                }
                Course::Runs if matches!(input, Input::Tick(_)) && self.shows(display) => {
                    display.played(self.played());
                    display.look(&self.session);
                    return Ok(());
                }
                _ => {}
            }
        }
        Ok(())
    }

    /// Without a screen, what runs as fast as it can be read needs no line that says so.
    fn shows(&self, display: &Display<'_>) -> bool {
        display.has_keys() || self.config.speed != Speed::Max
    }

    fn next(&mut self) -> Result<Option<Input>, Error> {
        if let Some(input) = self.waiting.take() {
            return Ok(Some(input));
        }
        let unreadable = |error| unreadable(self.config, error);
        while let Some(input) = self.from.next().map_err(unreadable)? {
            if let Some(input) = self.redaction.input(input) {
                return Ok(Some(input));
            }
        }
        self.starved = true;
        Ok(None)
    }

    /// When an input is due, if that is still to come. Steps wait for nothing.
    fn not_before(&mut self, input: &Input) -> Option<Instant> {
        let (Course::Runs, Speed::Times(times)) = (self.course, self.config.speed) else {
            return None;
        };
        let (at, now) = (input.at()?, Instant::now());
        let (from, played) = *self.paced_from.get_or_insert((at, now));
        let due = played + Duration::from_nanos(at.since(from)).div_f64(times);
        (due > now).then_some(due)
    }

    /// The recording is over.
    fn end(&mut self, display: &mut Display<'_>) {
        self.length_ns = Some(self.session.elapsed_ns());
        if let Some(Ending::Cut { offset }) = self.from.ending() {
            display.say(&format!(
                "the recording was cut off at byte {offset}: this is the part before"
            ));
        }
        self.show(display);
    }

    fn stop(&mut self, display: &mut Display<'_>) {
        self.course = Course::Stopped;
        self.show(display);
    }

    fn played(&self) -> Played {
        Played {
            length_ns: self.length_ns,
            stopped: matches!(self.course, Course::Stopped),
        }
    }

    /// The trace as far as it was played, between two ticks too.
    fn as_of_now(&self) -> Cow<'_, Session> {
        match self.session.ended() {
            Some(_) => Cow::Borrowed(&self.session),
            None => Cow::Owned(self.session.as_of_now()),
        }
    }

    fn show(&self, display: &mut Display<'_>) {
        display.played(self.played());
        display.show(&self.as_of_now());
    }

    /// Goes one step on.
    fn step(&mut self, to: StepTo, display: &mut Display<'_>) {
        if self.session.ended().is_some() {
            display.say("the recording is over: there is nothing further");
            return;
        }
        self.course = Course::To(to.from(&self.session));
        self.due = Instant::now();
    }

    fn stop_or_run(&mut self, display: &mut Display<'_>) {
        if self.session.ended().is_some() {
            display.say("the recording is over");
        } else if self.runs() {
            self.stop(display);
        } else {
            self.course = Course::Runs;
            self.paced_from = None;
            self.due = Instant::now();
            self.show(display);
        }
    }

    /// Begins again, and stops before the first packet: what was known of the host then is known.
    fn restart(&mut self, display: &mut Display<'_>) -> Result<(), Error> {
        if !is_file(self.config) {
            display.say("the recording comes through a pipe: it cannot go back to its start");
            return Ok(());
        }
        self.from = Supply::File(self.reader()?);
        (self.session, self.waiting, self.paced_from) = (self.redaction.session(), None, None);
        display.restart(&self.session);
        while let Some(input) = self.next()? {
            if !matches!(input, Input::Host(..)) {
                self.waiting = Some(input);
                break;
            }
            take(&mut self.session, &mut self.kept, display, &input);
        }
        self.stop(display);
        Ok(())
    }

    /// The file from its start.
    fn reader(&self) -> Result<Reader<File>, Error> {
        let file = self.kept.files().read(&self.config.file);
        let file = file.map_err(|error| unread(self.config, error))?;
        Reader::new(file).map_err(|error| unreadable(self.config, error))
    }

    /// Looks for the length of the trace beside the replay: the file is read to its end.
    fn measure(&self) -> Option<oneshot::Receiver<u64>> {
        if !is_file(self.config) {
            return None;
        }
        let reader = self.reader().ok()?;
        let (send, receive) = oneshot::channel();
        let measure = move || {
            let (mut start, mut last) = (None, KtimeNs(0));
            for input in reader.map_while(Result::ok) {
                if let Input::Host(_, Fact::Run(run)) = &input {
                    start = start.or(Some(run.started_ktime));
                }
                last = input.at().map_or(last, |at| last.max(at));
            }
            // The person may have left.
            let _ = send.send(start.map_or(0, |start| last.since(start)));
        };
        let thread = thread::Builder::new().name("length".into());
        thread.spawn(measure).ok().map(|_| receive)
    }
}

/// Writes all inputs of the recording, as they may be seen, to another.
fn record(pending: PendingRecording, from: &mut KeptInputs) -> Result<(), Error> {
    let failed = |error| Error::io("write the recording", error);
    let mut to = KeptInputs::begin(from.files(), Some(pending), false).map_err(failed)?;
    for input in from.inputs()? {
        let input = input
            .map_err(|error| Error::runtime("cannot read the trace again").caused_by(error))?;
        to.write(&input).map_err(Error::runtime)?;
    }
    let note = from.note();
    if !note.is_empty() {
        say!("tracer: the recording is cut{note}");
    }
    if let Some(text) = to.finish() {
        say!("tracer: {text}");
    }
    Ok(())
}

fn is_file(config: &ReplayConfig) -> bool {
    std::fs::metadata(&config.file).is_ok_and(|meta| meta.is_file())
}

fn unread(config: &ReplayConfig, error: io::Error) -> Error {
    Error::io(format_args!("read {}", config.file.display()), error)
}

fn unreadable(config: &ReplayConfig, error: RecordingError) -> Error {
    Error::runtime(format!("cannot replay {}", config.file.display())).caused_by(error)
}
