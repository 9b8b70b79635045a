//! A running tracer: started, waited for until its probes are in place, interrupted, and asked for its report.
//! Knows of tracer only what its command line promises.

use std::io::{BufRead, BufReader};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStderr, Command, ExitStatus, Stdio};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use nix::sys::signal::{Signal, kill, killpg};
use nix::unistd::Pid;

use crate::script;

/// What tracer says on stderr when every probe is in place.
const READY: &str = "tracer: ready";
/// Until then; a machine with hundreds of interfaces needs far less, and one that compiles meanwhile may need a minute.
const READY_LIMIT: Duration = Duration::from_secs(120);
/// From SIGINT to its end.
const END_LIMIT: Duration = Duration::from_secs(60);
/// Lines of stderr that are kept for a failure's message.
const TAIL: usize = 20;

/// How to start tracer.
#[derive(Clone, Debug)]
pub struct Start<'a> {
    /// Its executable.
    pub program: &'a Path,
    /// Its arguments, without those of the runner.
    pub arguments: &'a [String],
    /// Where the report goes; without it the report goes to this process's own stdout.
    pub report: Option<&'a Path>,
    /// Where the recording goes.
    pub recording: Option<&'a Path>,
    /// How many times longer than usual it may take to start and to end.
    pub slowness: u32,
    /// tracer's executable, where `program` is another one that runs it.
    pub through: Option<&'a Path>,
}

/// A tracer that is tracing.
#[derive(Debug)]
pub struct Running {
    child: Child,
    lines: Receiver<String>,
    reader: JoinHandle<()>,
    tail: Vec<String>,
    slowness: u32,
    through: Option<PathBuf>,
}

impl Running {
    /// Starts tracer with these words, which are split at spaces; its report goes to a file.
    ///
    /// # Errors
    /// As [`Running::start`].
    pub fn reporting(program: &Path, words: &str, report: &Path) -> Result<Self> {
        let arguments: Vec<String> = words.split(' ').map(str::to_owned).collect();
        Self::start(&Start {
            program,
            arguments: &arguments,
            report: Some(report),
            recording: None,
            slowness: 1,
            through: None,
        })
    }

    /// Starts tracer and returns when it says that it is ready.
    ///
    /// # Errors
    /// It cannot be started, ends before it is ready, or is not ready in time.
    pub fn start(start: &Start<'_>) -> Result<Self> {
        let mut command = Command::new(start.program);
        command.args(start.arguments);
        let output = |flag: &str, path: Option<&Path>| {
            path.map(|path| [PathBuf::from(flag), path.to_path_buf()])
        };
        command.args(output("-o", start.report).into_iter().flatten());
        command.args(output("--record", start.recording).into_iter().flatten());
        let mut child = command
            .stdin(Stdio::null())
            .stdout(if start.report.is_some() {
                Stdio::null()
            } else {
                Stdio::inherit()
            })
            .stderr(Stdio::piped())
            .process_group(0)
            .spawn()
            .with_context(|| format!("cannot start {}", start.program.display()))?;
        let (lines, reader) = read_lines(child.stderr.take().context("tracer has no stderr")?);
        let mut running = Self {
            child,
            lines,
            reader,
            tail: Vec::new(),
            slowness: start.slowness,
            through: start.through.map(Path::to_path_buf),
        };
        match running.wait_until_ready() {
            Ok(()) => Ok(running),
            Err(error) => {
                // Reaped here, with the tracers of its nodes, so that the message comes with all that was said.
                let _ = i32::try_from(running.child.id())
                    .map(|id| killpg(Pid::from_raw(id), Signal::SIGKILL));
                let _ = running.child.wait();
                let tail = running.drain();
                Err(error.context(tail))
            }
        }
    }

    fn wait_until_ready(&mut self) -> Result<()> {
        let limit = READY_LIMIT * self.slowness;
        let end = Instant::now() + limit;
        loop {
            match self
                .lines
                .recv_timeout(end.saturating_duration_since(Instant::now()))
            {
                Ok(line) if line.contains(READY) => return Ok(()),
                Ok(line) => self.tail.push(line),
                Err(RecvTimeoutError::Timeout) => {
                    bail!("tracer was not ready after {} s", limit.as_secs())
                }
                Err(RecvTimeoutError::Disconnected) => {
                    let status = self.child.wait()?;
                    bail!("tracer ended before it was ready: {status}")
                }
            }
        }
    }

    /// Its number.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Sends it a signal.
    ///
    /// # Errors
    /// It is no more.
    pub fn signal(&self, signal: Signal) -> Result<()> {
        let through = self.through.as_ref();
        let pid = through.map_or(self.pid(), |tracer| below(self.pid(), tracer));
        let pid = Pid::from_raw(i32::try_from(pid)?);
        kill(pid, signal).with_context(|| format!("cannot send {signal}"))
    }

    /// Interrupts tracer as a person would, and waits for its end. Where commands run it that enter namespaces (nsenter, which waits
    /// for its child), it is the first below them with its executable. Gives the end of its stderr.
    ///
    /// # Errors
    /// It does not end in time, or not with status 0.
    pub fn finish(self) -> Result<String> {
        let (status, tail) = self.end_by(Signal::SIGINT)?;
        ensure!(status.success(), "tracer ended with {status}\n{tail}");
        Ok(tail)
    }

    /// Ends it by a signal. Gives its status and the end of its stderr.
    ///
    /// # Errors
    /// It does not end in time.
    pub fn end_by(self, signal: Signal) -> Result<(ExitStatus, String)> {
        self.signal(signal)?;
        self.wait(signal.as_str())
    }

    /// Waits for its end, which something has caused.
    ///
    /// # Errors
    /// It does not end in time.
    pub fn wait(self, cause: &str) -> Result<(ExitStatus, String)> {
        let Self {
            child,
            lines,
            reader,
            mut tail,
            slowness,
            through: _,
        } = self;
        let limit = END_LIMIT * slowness;
        let status = script::wait(child, limit)?;
        let _ = reader.join();
        tail.extend(lines.try_iter());
        let tail = last(&tail);
        let status = status
            .with_context(|| format!("tracer did not end {} s after {cause}", limit.as_secs()))
            .with_context(|| tail.clone())?;
        Ok((status, tail))
    }

    fn drain(&mut self) -> String {
        self.tail.extend(self.lines.iter());
        last(&self.tail)
    }
}

/// The first child, or its first child, and so on, that is this executable; the last one where none is.
fn below(mut pid: u32, executable: &Path) -> u32 {
    let is_it =
        |pid| std::fs::read_link(format!("/proc/{pid}/exe")).is_ok_and(|exe| exe == executable);
    let child = |pid| {
        let children = std::fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).ok()?;
        children.split(' ').next()?.parse().ok()
    };
    while !is_it(pid)
        && let Some(inner) = child(pid)
    {
        pid = inner;
    }
    pid
}

fn last(lines: &[String]) -> String {
    let skip = lines.len().saturating_sub(TAIL);
    lines.get(skip..).unwrap_or_default().join("\n")
}

/// Lines come over an unbounded channel, so that tracer never waits for this process.
fn read_lines(stderr: ChildStderr) -> (Receiver<String>, JoinHandle<()>) {
    let (sender, receiver) = mpsc::channel();
    let reader = std::thread::spawn(move || {
        for line in BufReader::new(stderr).split(b'\n').map_while(Result::ok) {
            if sender
                .send(String::from_utf8_lossy(&line).into_owned())
                .is_err()
            {
                break;
            }
        }
    });
    (receiver, reader)
}
