//! A run in a process of its own, seen from outside: started, asked for what its traces found, given commands to type
//! in and orders to trace again. The process ends when its stdin does, so nothing outlives this one even when it is
//! killed.

use std::io::{BufRead, BufReader, Lines, Read, Write};
use std::path::Path;
use std::process::{Child, ChildStderr, ChildStdin, ChildStdout, Command, Stdio};
use std::thread::JoinHandle;

use anyhow::{Context, Result, bail, ensure};

use crate::net::SCRATCH;
use crate::proof::Network;
use crate::runner::{Found, Phase, Run};
use crate::script;

/// A run whose network is there until this is dropped.
#[derive(Debug)]
pub struct Stage {
    child: Child,
    stdin: Option<ChildStdin>,
    lines: Lines<BufReader<ChildStdout>>,
    stderr: Option<JoinHandle<String>>,
    slowness: u32,
}

impl Stage {
    /// Starts the run; [`Stage::found`] gives what its first trace finds.
    ///
    /// # Errors
    /// The process cannot be started.
    pub fn start(run: &Run<'_>, file: &Path) -> Result<Self> {
        let mut child = process(run, file)?
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .context("cannot start the lab's process")?;
        let stdout = child.stdout.take().context("the process has no stdout")?;
        Ok(Self {
            stdin: child.stdin.take(),
            lines: BufReader::new(stdout).lines(),
            stderr: child.stderr.take().map(collect),
            child,
            slowness: run.slowness,
        })
    }

    /// What the next trace found.
    ///
    /// # Errors
    /// The run failed: what it wrote to stderr.
    pub fn found(&mut self) -> Result<Found> {
        if let Some(line) = self.lines.next() {
            return serde_json::from_str(&line?).context("the lab's process gave no result");
        }
        let stderr = self.stderr.take().and_then(|stderr| stderr.join().ok());
        bail!("{}", stderr.unwrap_or_default().trim_end())
    }
}

impl Network for Stage {
    /// The shell sees the names and links of the lab, and processes by their ids on the machine: those that tracer
    /// prints.
    fn type_in(&mut self, command: &str) -> Result<()> {
        let pid = self.child.id().to_string();
        let mut shell = Command::new("nsenter");
        shell.args(["--target", &pid, "--mount", "--net"]);
        shell.args(["sh", "-eu", "-c", command]);
        let directory = format!("/proc/{pid}/root{SCRATCH}");
        let done = script::finish("typed", &mut shell, Path::new(&directory), self.slowness)?;
        let output = done.output.trim_end();
        ensure!(
            done.status.success(),
            "it ended with {}\n{output}",
            done.status
        );
        Ok(())
    }

    fn again(&mut self, phase: Phase) -> Result<Found> {
        let stdin = self.stdin.as_mut().context("the process has no stdin")?;
        // It may have ended: then its stderr says more than this error.
        let _ = writeln!(stdin, "{}", phase.name());
        self.found()
    }
}

impl Drop for Stage {
    fn drop(&mut self) {
        drop(self.stdin.take());
        let _ = self.child.wait();
    }
}

/// Runs one lab and lets tracer write to this process's stdout; nothing is compared.
///
/// # Errors
/// The lab cannot be built, or tracer fails.
pub fn show(run: &Run<'_>, file: &Path, arguments: &[String]) -> Result<()> {
    let mut child = process(run, file)?
        .arg("--show")
        .arg("--")
        .args(arguments)
        .spawn()
        .context("cannot start the lab's process")?;
    let stdin = child.stdin.take();
    let status = child.wait()?;
    drop(stdin);
    ensure!(status.success(), "{} could not be shown", run.lab.name);
    Ok(())
}

/// This executable as the process of one run.
fn process(run: &Run<'_>, file: &Path) -> Result<Command> {
    let own = std::env::current_exe().context("cannot find this executable")?;
    let mut command = Command::new(own);
    command.arg("stage").arg(file);
    command.args(["--variant", run.variant.name()]);
    command.arg("--tracer").arg(run.tracer);
    if let Some(recordings) = run.recordings {
        command.arg("--recordings").arg(recordings);
    }
    command.args(["--slowness", &run.slowness.to_string()]);
    command.stdin(Stdio::piped());
    Ok(command)
}

/// Reads all that a process writes to stderr, so that it never waits for a reader.
fn collect(mut stderr: ChildStderr) -> JoinHandle<String> {
    std::thread::spawn(move || {
        let mut text = Vec::new();
        // What came before an error is all there is.
        let _ = stderr.read_to_end(&mut text);
        String::from_utf8_lossy(&text).into_owned()
    })
}
