//! One node: the command that runs there, and the threads that listen to it.

use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::process::CommandExt;
use std::process::{Child, ChildStderr, ChildStdin, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;
use tokio::sync::mpsc::Sender;

use super::spool::Spool;
use super::{Message, PATIENCE};
use crate::config::NodeCommand;
use crate::error::{Error, printable};
use crate::host::facts::NodeId;
use crate::restrict::{Role, restrict};
use crate::source::recording::{Reader, RecordingError};
use crate::source::{EndReason, Input};

/// Longest line of a node's standard error.
const LINE: u64 = 400;
/// Most lines of it in a second.
const LINES: usize = 20;
const SECOND: Duration = Duration::from_secs(1);
/// Most bytes that a node is told: a pipe holds 64 KiB, one of a user who has many holds a page.
const TELLING: usize = 2048;
/// So much of what is no recording is shown.
const START: u64 = 40;

/// A node's command.
#[derive(Debug)]
pub(super) struct Node {
    child: Child,
    stdin: Option<ChildStdin>,
    /// Bytes that were written to it.
    told: usize,
    spool: Spool,
    /// The end of its recording came.
    whole: bool,
    /// It was asked to end then. One that still ticks after a while did not hear it.
    stopped: Option<Instant>,
    /// It sends nothing any more since then.
    over: Option<Instant>,
    /// What was wrong with what it sent, else what it said last.
    last: Option<String>,
    /// It says nothing any more.
    silent: bool,
    gone: bool,
    /// This process ended it.
    killed: bool,
}

impl Node {
    /// Starts the command, in a process group of its own: Ctrl-C is for this process, which ends it in its way.
    ///
    /// # Errors
    /// When it cannot be started.
    pub(super) fn start(
        id: NodeId,
        command: &NodeCommand,
        spool: Spool,
        to: &Sender<Message>,
    ) -> Result<Self, Error> {
        let failed = |error| {
            let words = command.words.join(" ");
            Error::runtime(format!("cannot start `{words}` for {}", command.name))
                .caused_by(error)
                .hint("check the command of --node: it must run here by itself")
        };
        let (program, arguments) = command
            .words
            .split_first()
            .ok_or_else(|| Error::usage(format!("the command of {} is missing", command.name)))?;
        let mut child = Command::new(program)
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .process_group(0)
            .spawn()
            .map_err(failed)?;
        let mut stdin = child.stdin.take();
        if let Some(stdin) = &mut stdin {
            // It shows the tracer there that this is connected. One that has ended already is told of otherwise.
            let _ = stdin.write_all(b"\n");
        }
        if let (Some(stdout), Some(stderr)) = (child.stdout.take(), child.stderr.take()) {
            let (tee, to_loop) = (spool.tee(stdout), to.clone());
            spawn(move || listen(id, tee, &to_loop))?;
            let to_loop = to.clone();
            spawn(move || overhear(id, stderr, &to_loop))?;
        }
        Ok(Self {
            child,
            stdin,
            told: 0,
            spool,
            whole: false,
            stopped: None,
            over: None,
            last: None,
            silent: false,
            gone: false,
            killed: false,
        })
    }

    pub(super) fn spool(&self) -> &Spool {
        &self.spool
    }

    pub(super) fn takes(&mut self, input: &Input) {
        // one that the reader adds where there is none says nothing
        self.whole |= matches!(input, Input::End(_, reason) if *reason != EndReason::EndOfFile);
        let deaf = self.stopped.is_some_and(|at| at.elapsed() > PATIENCE);
        if deaf && matches!(input, Input::Tick(_)) {
            self.kill();
        }
    }

    pub(super) fn said(&mut self, line: &str) {
        // what tracer says of its doings there explains no end, and an error's hints do not say what it was
        if !line.starts_with("tracer: ") && !line.starts_with("hint: ") {
            self.last = Some(line.to_owned());
        }
    }

    pub(super) fn silent(&mut self) {
        self.silent = true;
    }

    pub(super) fn over(&mut self, error: Option<&RecordingError>) {
        self.over = Some(Instant::now());
        if let Some(RecordingError::Damaged { offset, .. }) = error {
            self.spool.cut(*offset);
        }
        let wrong = match error {
            None if self.whole => return,
            None => "its recording was cut off".to_owned(),
            Some(RecordingError::Foreign) => self.foreign(),
            Some(error) => error.to_string(),
        };
        // what it said itself tells more than that something is missing
        let misread = matches!(error, Some(error) if !matches!(error, RecordingError::Foreign));
        if misread || self.last.is_none() {
            self.last = Some(wrong);
        }
    }

    /// What it sent that is no recording.
    fn foreign(&self) -> String {
        let mut start = Vec::new();
        // what cannot be read shows as nothing
        let _ = self.spool.again().take(START).read_to_end(&mut start);
        if start.is_empty() {
            return "it sent nothing".to_owned();
        }
        let text = String::from_utf8_lossy(&start);
        let line = printable(text.lines().next().unwrap_or_default());
        format!(
            "what it sends begins with `{line}`, not with a recording: only tracer may write to its output"
        )
    }

    pub(super) fn is_gone(&self) -> bool {
        self.gone
    }

    /// Whether its end came whole, and how the command ended, once.
    pub(super) fn reap(&mut self, now: Instant) -> Option<(bool, String)> {
        if self.gone {
            return None;
        }
        let over = self.over?;
        // its last line tells why; what it started may keep the descriptor
        if !self.silent && now.duration_since(over) < SECOND {
            return None;
        }
        let status = match self.child.try_wait() {
            Ok(Some(status)) => status.to_string(),
            Ok(None) => {
                if now.duration_since(over) > PATIENCE {
                    self.kill();
                }
                return None;
            }
            Err(error) => error.to_string(),
        };
        self.gone = true;
        let status = if self.killed {
            "its command did not end by itself and was killed".to_owned()
        } else {
            status
        };
        let how = match &self.last {
            Some(last) => format!("{status}: {last}"),
            None => status,
        };
        Some((self.whole, how))
    }

    /// Writes a line to its standard input. What a node is told in all is little (its filter is soon full): it fits into
    /// the pipe though nobody reads it yet.
    pub(super) fn tell(&mut self, line: &str) {
        let room = self.told + line.len() <= TELLING;
        if let Some(stdin) = self.stdin.as_mut().filter(|_| room) {
            self.told += line.len();
            // One that has ended is told of otherwise.
            let _ = stdin.write_all(line.as_bytes());
        }
    }

    /// Closes its standard input.
    pub(super) fn stop(&mut self) {
        self.stdin = None;
        self.stopped.get_or_insert_with(Instant::now);
    }

    /// Ends the command and what it started. Not yet waited for, its number is nobody else's.
    pub(super) fn kill(&mut self) {
        if self.gone {
            return;
        }
        self.over.get_or_insert_with(Instant::now);
        self.killed = true;
        if let Ok(pid) = i32::try_from(self.child.id()) {
            // What has ended needs no end.
            let _ = killpg(Pid::from_raw(pid), Signal::SIGKILL);
        }
    }
}

impl Drop for Node {
    /// No command outlives the trace.
    fn drop(&mut self) {
        self.kill();
        if !self.gone {
            let _ = self.child.wait();
        }
    }
}

fn spawn(work: impl FnOnce() + Send + 'static) -> Result<(), Error> {
    thread::Builder::new()
        .name("node".into())
        .spawn(|| {
            // What comes is somebody else's. What cannot be had is said of the loop's thread.
            restrict(Role::Work);
            work();
        })
        .map(|_| ())
        .map_err(Error::no_thread)
}

/// Reads the recording until it ends, or nobody listens any more.
fn listen(id: NodeId, from: impl Read, to: &Sender<Message>) {
    let read = || {
        for input in Reader::new(from)? {
            if to.blocking_send(Message::Input(id, input?)).is_err() {
                break;
            }
        }
        Ok(())
    };
    let failed: Result<(), RecordingError> = read();
    // The loop may have left.
    let _ = to.blocking_send(Message::Over(id, failed.err()));
}

/// Passes lines on until there are no more, or nobody listens. Of a flood only some, and how many there were more.
fn overhear(id: NodeId, stderr: ChildStderr, to: &Sender<Message>) {
    pass_on(id, stderr, to);
    // The loop may have left.
    let _ = to.blocking_send(Message::Silent(id));
}

fn pass_on(id: NodeId, stderr: ChildStderr, to: &Sender<Message>) {
    let mut lines = BufReader::new(stderr);
    let mut line = Vec::new();
    let (mut second, mut told) = (Instant::now(), 0_usize);
    let say = |text: String| to.blocking_send(Message::Said(id, text)).is_ok();
    while lines
        .by_ref()
        .take(LINE)
        .read_until(b'\n', &mut line)
        .is_ok_and(|got| got > 0)
    {
        let text = printable(String::from_utf8_lossy(&line).trim_end());
        line.clear();
        if second.elapsed() >= SECOND {
            let more = told.saturating_sub(LINES);
            (second, told) = (Instant::now(), 0);
            if more > 0 && !say(format!("tracer: {more} more lines")) {
                return;
            }
        }
        told += usize::from(!text.is_empty());
        if !text.is_empty() && told <= LINES && !say(text) {
            return;
        }
    }
}
