//! Saving, away from the packets: each save is made by a process of its own, so that what it takes is given back, and a fault in
//! it ends nothing else. A small process starts them, since the recorder itself may not start any once it is ready; it also runs
//! `--exec`. It parses nothing but its own messages.
//!
//! ```text
//! tracer hold ──request, recording──▶ tracer hold-helper ──recording──▶ tracer hold-save ──▶ files
//!            ◀──────answer────────────                  ◀────answer────
//! ```

use std::io::{self, BufRead, BufReader, Read, Write};
use std::path::PathBuf;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::thread;
use std::time::Duration;

use nix::sys::signal::{SigSet, Signal};
use serde::{Deserialize, Serialize};
use tokio::sync::mpsc;

use super::super::say;
use crate::config::hold::{HELPER, SAVER};
use crate::error::Error;
use crate::restrict::{Role, restrict};
use crate::source::recording::Kept;

/// Most saves that are under way or wait: what they hold is memory beside that of the recorder.
const WAITING: usize = 2;
/// Most commands of `--exec` that run at a time.
const COMMANDS: usize = 4;

/// What a save is made of, beside the recording.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Request {
    /// The directory.
    pub directory: PathBuf,
    /// When it happened, nanoseconds since the Unix epoch.
    pub at_unix_ns: u64,
    /// What it is called where the report finds nothing wrong.
    pub why: String,
    /// What was found then, in one line; none where somebody asked.
    pub found: Option<String>,
    /// Most saves that are left.
    pub keep: usize,
    /// The command that is told.
    pub exec: Option<Vec<String>>,
    /// Length of the recording, which follows.
    pub size: u64,
}

/// What became of it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Answer {
    /// Why it failed.
    pub error: Option<String>,
    /// The recording.
    pub recording: PathBuf,
    /// The report, as JSON.
    pub report: PathBuf,
    /// The ticket, as Markdown.
    pub ticket: PathBuf,
    /// The report's outcome.
    pub outcome: String,
    /// Its cause, where there is one.
    pub cause: Option<String>,
    /// Its summary.
    pub summary: String,
    /// How long the recording is.
    pub duration_ms: u64,
    /// Older saves that were removed for it.
    pub removed: u64,
}

impl Answer {
    /// A failure.
    pub(super) fn failed(why: impl std::fmt::Display) -> Self {
        Self {
            error: Some(why.to_string()),
            ..Self::default()
        }
    }
}

/// A save that waits for the helper.
type Job = (Request, Kept);

/// The helper, as the recorder sees it.
pub(super) struct Saver {
    jobs: Option<SyncSender<Job>>,
    answers: mpsc::UnboundedReceiver<Answer>,
    thread: Option<thread::JoinHandle<()>>,
    /// Saves that are under way.
    waiting: usize,
}

impl Saver {
    /// Starts the helper; before the recorder gives up the right to.
    ///
    /// # Errors
    /// When it cannot be started.
    pub(super) fn start() -> Result<Self, Error> {
        let helper = Helper::start().map_err(|error| Error::io("start what saves", error))?;
        let (jobs, receive) = sync_channel(WAITING);
        let (send, answers) = mpsc::unbounded_channel();
        let thread = thread::Builder::new()
            .name("tracer-saver".to_owned())
            .spawn(move || hand_over(helper, &receive, &send))
            .map_err(Error::no_thread)?;
        Ok(Self {
            jobs: Some(jobs),
            answers,
            thread: Some(thread),
            waiting: 0,
        })
    }

    /// Has a recording saved, unless others are still being saved.
    pub(super) fn save(&mut self, request: Request, kept: Kept) -> Result<(), &'static str> {
        let jobs = self.jobs.as_ref().ok_or("nothing is saved any more")?;
        match jobs.try_send((request, kept)) {
            Ok(()) => {
                self.waiting += 1;
                Ok(())
            }
            Err(TrySendError::Full(_)) => Err("other saves are still under way"),
            Err(TrySendError::Disconnected(_)) => Err("the process that saves is gone"),
        }
    }

    /// Waits for what became of a save; never resolves where there is none.
    pub(super) async fn answer(&mut self) -> Answer {
        if self.waiting == 0 {
            return std::future::pending().await;
        }
        let gone = || Answer::failed("the process that saves is gone");
        let answer = self.answers.recv().await.unwrap_or_else(gone);
        // Who waits for several things at once may give this up up to here.
        self.waiting -= 1;
        answer
    }

    /// Whether another save can be handed over.
    pub(super) fn has_room(&self) -> bool {
        self.waiting < WAITING
    }

    /// Whether saves are under way.
    pub(super) fn is_busy(&self) -> bool {
        self.waiting > 0
    }
}

impl Drop for Saver {
    fn drop(&mut self) {
        drop(self.jobs.take());
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// Gives jobs to the helper, which may take its time.
fn hand_over(mut helper: Helper, jobs: &Receiver<Job>, answers: &mpsc::UnboundedSender<Answer>) {
    restrict(Role::Work);
    while let Ok((request, kept)) = jobs.recv() {
        let answer = helper.ask(&request, &kept).unwrap_or_else(Answer::failed);
        // The recorder may have ended.
        let _ = answers.send(answer);
    }
}

/// The process.
struct Helper {
    child: Child,
    to: Option<ChildStdin>,
    from: BufReader<ChildStdout>,
}

impl Helper {
    fn start() -> io::Result<Self> {
        let mut child = Command::new("/proc/self/exe")
            .arg(HELPER)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()?;
        let missing = || io::Error::other("it has no pipes");
        Ok(Self {
            to: Some(child.stdin.take().ok_or_else(missing)?),
            from: BufReader::new(child.stdout.take().ok_or_else(missing)?),
            child,
        })
    }

    fn ask(&mut self, request: &Request, kept: &Kept) -> io::Result<Answer> {
        let gone = || io::Error::other("the process that saves is gone");
        let to = self.to.as_mut().ok_or_else(gone)?;
        serde_json::to_writer(&mut *to, request)?;
        to.write_all(b"\n")?;
        for piece in &kept.pieces {
            to.write_all(piece)?;
        }
        to.flush()?;
        let mut line = String::new();
        if self.from.read_line(&mut line)? == 0 {
            return Err(gone());
        }
        Ok(serde_json::from_slice(line.as_bytes())?)
    }
}

impl Drop for Helper {
    fn drop(&mut self) {
        // It ends with its input.
        drop(self.to.take());
        let _ = self.child.wait();
    }
}

/// Signals end the recorder, which ends its helpers when all is saved.
pub(super) fn heed_no_signals() {
    let mut signals = SigSet::empty();
    for signal in [
        Signal::SIGINT,
        Signal::SIGTERM,
        Signal::SIGHUP,
        Signal::SIGUSR1,
    ] {
        signals.add(signal);
    }
    // Nothing can be wrong with these.
    let _ = signals.thread_block();
}

/// What the helper does, until its input ends.
///
/// # Errors
/// When its input or output breaks; what else goes wrong is in its answers.
pub fn serve() -> io::Result<()> {
    heed_no_signals();
    let mut input = io::stdin().lock();
    let mut output = io::stdout();
    let running = Arc::new(AtomicUsize::new(0));
    loop {
        let mut line = String::new();
        if input.read_line(&mut line)? == 0 {
            return Ok(());
        }
        let request: Request = serde_json::from_slice(line.as_bytes())?;
        let mut recording = input.by_ref().take(request.size);
        let answer = save(&line, &mut recording).unwrap_or_else(Answer::failed);
        // The next request stands behind it.
        io::copy(&mut recording, &mut io::sink())?;
        if answer.error.is_none()
            && let Some(command) = &request.exec
        {
            run(command, &answer, &running);
        }
        serde_json::to_writer(&mut output, &answer)?;
        output.write_all(b"\n")?;
        output.flush()?;
    }
}

/// Has a process make the save.
fn save(request: &str, recording: &mut impl Read) -> io::Result<Answer> {
    let mut child = Command::new("/proc/self/exe")
        .args([SAVER, request.trim_end()])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()?;
    if let Some(mut to) = child.stdin.take() {
        // Who reads no more says why.
        let _ = io::copy(recording, &mut to);
    }
    let output = child.wait_with_output()?;
    serde_json::from_slice(&output.stdout).map_err(|_| {
        io::Error::other(format!(
            "the process that saves ended with {}",
            output.status
        ))
    })
}

/// Runs `--exec`, and waits for its end elsewhere. What it writes goes where the recorder's messages go.
fn run(command: &[String], answer: &Answer, running: &Arc<AtomicUsize>) {
    let Some((program, arguments)) = command.split_first() else {
        return;
    };
    if running.load(Ordering::Relaxed) >= COMMANDS {
        say!("tracer: --exec `{program}`: not run, {COMMANDS} of them are still running");
        return;
    }
    let started = Command::new(program)
        .args(arguments)
        .env("TRACER_RECORDING", &answer.recording)
        .env("TRACER_REPORT", &answer.report)
        .env("TRACER_TICKET", &answer.ticket)
        .env("TRACER_OUTCOME", &answer.outcome)
        .env("TRACER_CAUSE", answer.cause.as_deref().unwrap_or_default())
        .env("TRACER_SUMMARY", &answer.summary)
        .stdin(Stdio::null())
        .stdout(io::stderr())
        .spawn();
    let mut child = match started {
        Ok(child) => child,
        Err(error) => {
            say!("tracer: --exec `{program}` cannot be run: {error}");
            return;
        }
    };
    running.fetch_add(1, Ordering::Relaxed);
    let (program, running) = (program.clone(), Arc::clone(running));
    let wait = move || {
        match child.wait() {
            Ok(status) if status.success() => {}
            Ok(status) => {
                say!("tracer: --exec `{program}` ended with {status}");
            }
            Err(error) => {
                say!("tracer: --exec `{program}`: {error}");
            }
        }
        running.fetch_sub(1, Ordering::Relaxed);
    };
    if thread::Builder::new().spawn(wait).is_err() {
        say!("tracer: --exec: there can be no further thread");
    }
}

/// A save's time on the wall clock.
pub(super) fn unix_ns(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}
