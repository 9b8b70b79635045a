//! What live tests share: namespaces of their own, and processes that end with them.

use std::path::PathBuf;
use std::process::{Child, Command, Output};

use anyhow::{Context, Result, ensure};
use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, unshare};
use nix::unistd::geteuid;

/// Runs a test on a thread with a mount and a network namespace of its own, and an empty `/run`: what it makes is in
/// sight of nobody else and dies with it. Without root it says that it is skipped.
///
/// # Errors
/// When the namespaces cannot be made.
///
/// # Panics
/// As the test does.
pub fn alone(test: impl FnOnce() + Send + 'static) -> Result<()> {
    if !geteuid().is_root() {
        eprintln!("SKIPPED: needs root (BPF, network and mount namespaces)");
        return Ok(());
    }
    let run = std::thread::spawn(move || -> Result<()> {
        unshare(CloneFlags::CLONE_NEWNS | CloneFlags::CLONE_NEWNET)?;
        let none: Option<&str> = None;
        mount(none, "/", none, MsFlags::MS_REC | MsFlags::MS_PRIVATE, none)?;
        mount(Some("tmpfs"), "/run", Some("tmpfs"), MsFlags::empty(), none)?;
        test();
        Ok(())
    });
    match run.join() {
        Ok(done) => done,
        Err(panic) => std::panic::resume_unwind(panic),
    }
}

/// The tracer that was built beside the running test: target/debug/tracer for target/debug/deps/NAME-….
///
/// # Errors
/// It was not built.
pub fn tracer() -> Result<PathBuf> {
    let own = std::env::current_exe()?;
    let directory = own.parent().and_then(|deps| deps.parent());
    let path = directory
        .context("the test has no directory")?
        .join("tracer");
    ensure!(
        path.exists(),
        "{} is missing: cargo build -p tracer",
        path.display()
    );
    Ok(path)
}

/// Runs a script with bash, which ends where a command fails; `$TRACER` is [`tracer`].
///
/// # Errors
/// The tracer was not built, or there is no bash.
pub fn bash(script: &str) -> Result<Output> {
    let mut bash = Command::new("bash");
    bash.args(["-euo", "pipefail", "-c", script])
        .env("TRACER", tracer()?);
    bash.output().context("cannot run bash")
}

/// A process that is ended when this is dropped.
#[derive(Debug)]
pub struct Running(pub Child);

impl Drop for Running {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
