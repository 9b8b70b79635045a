//! A node of the bench's own: mount, PID and network namespaces in which it is PID 1, with an empty `/run` and a number of
//! processes that do nothing. Nobody else's interfaces are traced, and whatever the bench makes (processes, network
//! namespaces, files in `/run`) goes with it, even when it is killed.

use std::process::{Command, Stdio};

use anyhow::{Context, Result, ensure};
use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, unshare};
use nix::sys::prctl::set_pdeathsig;
use nix::sys::signal::Signal;

/// Processes beside the bench, as a small server has: tracer looks through /proc.
pub(super) const PROCESSES: usize = 200;
/// How long they live at most, in seconds.
const LIFE: &str = "3600";

/// This executable, to be run again as PID 1 of new namespaces.
pub(super) fn again() -> Result<Command> {
    unshare(CloneFlags::CLONE_NEWPID | CloneFlags::CLONE_NEWNS | CloneFlags::CLONE_NEWNET)
        .context("cannot make namespaces")?;
    let own = std::env::current_exe().context("cannot find this executable")?;
    Ok(Command::new(own))
}

/// Makes these namespaces a node.
pub(super) fn settle() -> Result<()> {
    set_pdeathsig(Signal::SIGKILL).context("cannot ask to end with the parent")?;
    ensure!(
        std::process::id() == 1,
        "--inside is for the bench's own use"
    );
    let none: Option<&str> = None;
    mount(none, "/", none, MsFlags::MS_REC | MsFlags::MS_PRIVATE, none)?;
    for (kind, place) in [("proc", "/proc"), ("tmpfs", "/run")] {
        mount(Some(kind), place, Some(kind), MsFlags::empty(), none)
            .with_context(|| format!("cannot mount {kind} at {place}"))?;
    }
    for _ in 0..PROCESSES {
        Command::new("sleep")
            .arg(LIFE)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .spawn()
            .context("cannot run sleep")?;
    }
    Ok(())
}
