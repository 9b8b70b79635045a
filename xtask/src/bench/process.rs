//! A process that is measured: started, waited for until it says that it is ready, ended, and asked for what it used.

use std::ffi::OsStr;
use std::io::{self, BufRead, BufReader};
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{Child, ChildStderr, Command, ExitStatus, Stdio};
use std::sync::mpsc::{self, Receiver};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, bail, ensure};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

/// Until it is ready, and from SIGINT to its end.
const PATIENCE: Duration = Duration::from_secs(60);
/// Between two looks whether it has ended: the precision of how long that took.
const LOOK: Duration = Duration::from_millis(1);

/// One that runs; killed when this is dropped.
pub(super) struct Process {
    child: Option<Child>,
    said: Receiver<(Instant, String)>,
    started: Instant,
    /// From its start to the line that says that it is ready.
    pub(super) ready: Duration,
}

/// What it used.
pub(super) struct Used {
    /// Processor time in its own code.
    pub(super) user: Duration,
    /// From the signal (or from its start, when it was only waited for) to its end.
    pub(super) took: Duration,
    /// Most memory at a time, in KiB.
    pub(super) peak_kib: i64,
}

impl Process {
    /// Starts tracer and waits until all its probes are in place.
    pub(super) fn tracer<A: AsRef<OsStr>>(
        binary: &Path,
        arguments: impl IntoIterator<Item = A>,
    ) -> Result<Self> {
        let mut command = Command::new(binary);
        command.args(arguments).stdout(Stdio::null());
        Self::start(&mut command, "tracer: ready")
    }

    /// Starts a program and waits for a line on its stderr.
    pub(super) fn start(command: &mut Command, ready: &str) -> Result<Self> {
        let mut process = Self::run(command)?;
        let end = process.started + PATIENCE;
        let mut heard = String::new();
        loop {
            let left = end.saturating_duration_since(Instant::now());
            let Ok((at, line)) = process.said.recv_timeout(left) else {
                bail!("{:?} was never ready\n{heard}", command.get_program());
            };
            heard = heard + &line + "\n";
            if line.contains(ready) {
                process.ready = at - process.started;
                return Ok(process);
            }
        }
    }

    /// Starts a program.
    pub(super) fn run(command: &mut Command) -> Result<Self> {
        let started = Instant::now();
        let mut child = command
            .stdin(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .with_context(|| format!("cannot run {:?}", command.get_program()))?;
        let stderr = child.stderr.take().context("no stderr")?;
        Ok(Self {
            child: Some(child),
            said: lines(stderr),
            started,
            ready: Duration::ZERO,
        })
    }

    /// Its number.
    pub(super) fn id(&self) -> u32 {
        self.child.as_ref().map_or(0, Child::id)
    }

    /// What it writes, when stdout is a pipe.
    pub(super) fn stdout(&mut self) -> Result<std::process::ChildStdout> {
        let child = self.child.as_mut().context("it has ended")?;
        child.stdout.take().context("its stdout is no pipe")
    }

    /// Interrupts it and waits for its end.
    pub(super) fn stop(mut self) -> Result<Used> {
        kill(Pid::from_raw(i32::try_from(self.id())?), Signal::SIGINT)?;
        self.started = Instant::now();
        self.wait()
    }

    /// Waits until it ends by itself.
    pub(super) fn wait(mut self) -> Result<Used> {
        let pid = i32::try_from(self.id())?;
        let end = Instant::now() + PATIENCE;
        while Instant::now() < end {
            if let Some((status, usage)) = reap(pid)? {
                let took = self.started.elapsed();
                self.child = None;
                let said: Vec<_> = self.said.iter().map(|(_, line)| line).collect();
                let status = ExitStatus::from_raw(status);
                ensure!(
                    status.success(),
                    "a measured process ended with {status}\n{}",
                    said.join("\n")
                );
                return Ok(Used {
                    user: duration(usage.ru_utime)?,
                    took,
                    peak_kib: usage.ru_maxrss,
                });
            }
            thread::sleep(LOOK);
        }
        Err(anyhow!("a measured process did not end"))
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if let Some(child) = &mut self.child {
            // It may have ended by itself.
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

/// Each line with the time at which it came, over an unbounded channel: the process never waits for this one.
fn lines(stderr: ChildStderr) -> Receiver<(Instant, String)> {
    let (sender, receiver) = mpsc::channel();
    thread::spawn(move || {
        for line in BufReader::new(stderr).lines().map_while(Result::ok) {
            if sender.send((Instant::now(), line)).is_err() {
                break;
            }
        }
    });
    receiver
}

/// The status of a child that has ended, and what it used.
fn reap(pid: i32) -> Result<Option<(i32, libc::rusage)>> {
    let mut status = 0;
    // SAFETY: zeros are a valid rusage.
    let mut usage: libc::rusage = unsafe { std::mem::zeroed() };
    // SAFETY: the kernel writes into the two, which outlive the call.
    let ended = unsafe { libc::wait4(pid, &raw mut status, libc::WNOHANG, &raw mut usage) };
    ensure!(
        ended >= 0,
        "cannot wait for a process: {}",
        io::Error::last_os_error()
    );
    Ok((ended == pid).then_some((status, usage)))
}

fn duration(time: libc::timeval) -> Result<Duration> {
    let seconds = Duration::from_secs(u64::try_from(time.tv_sec)?);
    Ok(seconds + Duration::from_micros(u64::try_from(time.tv_usec)?))
}
