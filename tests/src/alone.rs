//! What live tests share: namespaces of their own, and processes that end with them.

use std::process::Child;

use anyhow::Result;
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
