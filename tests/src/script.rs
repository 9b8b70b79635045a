//! Runs one of a lab's scripts within a time limit. Output goes to a file, not to a pipe: servers that a script
//! leaves in the background keep it open, and waiting for its end would be waiting for them.

use std::fs::File;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;

use crate::net::search_path;

/// How long a script may take.
const LIMIT: Duration = Duration::from_secs(30);

/// What a script did.
#[derive(Debug)]
pub struct Done {
    /// Its exit status.
    pub status: ExitStatus,
    /// What it wrote, both streams.
    pub output: String,
}

/// Runs a script with `sh -eu` and gives its status and output.
///
/// # Errors
/// It cannot be started, or takes longer than half a minute, `slowness` times as long on a slow machine (it is killed
/// then).
pub fn run(what: &str, script: &str, directory: &Path, slowness: u32) -> Result<Done> {
    let mut shell = Command::new("sh");
    shell.args(["-eu", "-c", script]);
    finish(what, &mut shell, directory, slowness)
}

/// Runs a command as a script is run; `what` names it in messages and its log in the directory.
///
/// # Errors
/// As [`run`].
pub fn finish(what: &str, command: &mut Command, directory: &Path, slowness: u32) -> Result<Done> {
    let limit = LIMIT * slowness;
    let log = directory.join(format!("{what}.log"));
    let file = File::create(&log).with_context(|| format!("cannot write {}", log.display()))?;
    let child = command
        .env("PATH", search_path())
        .current_dir(directory)
        .stdin(Stdio::null())
        .stdout(file.try_clone()?)
        .stderr(file)
        .process_group(0)
        .spawn()
        .with_context(|| format!("cannot run {}", command.get_program().display()))?;
    let status = wait(child, limit)?;
    let output = String::from_utf8_lossy(&std::fs::read(&log)?).into_owned();
    match status {
        Some(status) => Ok(Done { status, output }),
        None => bail!(
            "{what} took more than {} s\n{}",
            limit.as_secs(),
            output.trim_end()
        ),
    }
}

/// Waits for a child that leads its process group; kills the group and gives nothing when the time is over.
///
/// # Errors
/// The system cannot wait for it.
pub fn wait(mut child: Child, limit: Duration) -> Result<Option<ExitStatus>> {
    let group = Pid::from_raw(i32::try_from(child.id())?);
    let (sender, receiver) = mpsc::channel();
    let waiter = thread::spawn(move || {
        // Nobody listens any more when the time is over.
        let _ = sender.send(child.wait());
    });
    let answer = receiver.recv_timeout(limit);
    if answer.is_err() {
        killpg(group, Signal::SIGKILL).context("cannot kill a process that takes too long")?;
    }
    // It has ended or was killed: this reaps it.
    let _ = waiter.join();
    Ok(answer.ok().transpose()?)
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]
mod tests {
    use super::*;

    #[test]
    fn a_script_stops_at_its_first_error_and_keeps_its_output() {
        let done = run(
            "stops",
            "echo one; echo two >&2; false; echo three",
            &std::env::temp_dir(),
            1,
        )
        .unwrap();
        assert!(!done.status.success());
        assert_eq!(done.output, "one\ntwo\n");
    }

    #[test]
    fn what_takes_too_long_is_killed() {
        let child = Command::new("sleep")
            .arg("600")
            .process_group(0)
            .spawn()
            .unwrap();
        assert!(wait(child, Duration::from_millis(10)).unwrap().is_none());
    }

    #[test]
    fn a_server_in_the_background_is_not_waited_for() {
        let done = run("server", "sleep 5 & echo started", &std::env::temp_dir(), 1).unwrap();
        assert_eq!(done.output, "started\n");
    }
}
