//! `cargo xtask soak`: the live test of a busy node, for as long as is asked, with what it measured.

use anyhow::{Result, ensure};
use clap::Args;

use crate::command::{cargo, is_root, run as run_command};

/// How long.
#[derive(Debug, Args)]
pub(crate) struct Wish {
    /// Seconds: rounds of some ten seconds are begun until then
    #[arg(long, default_value_t = 600)]
    seconds: u32,
}

/// Runs it in namespaces of its own, and shows its figures.
pub(crate) fn run(wish: &Wish) -> Result<()> {
    ensure!(
        is_root(),
        "namespaces and loading programs need root: run as root"
    );
    run_command(cargo(["build", "--package", "tracer"]))?;
    let mut command = cargo([
        "test",
        "--package",
        "tests",
        "--test",
        "soak",
        "--",
        "--nocapture",
    ]);
    command.env("TRACER_SOAK_SECONDS", wish.seconds.to_string());
    run_command(command)
}
