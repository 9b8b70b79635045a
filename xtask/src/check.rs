//! What is checked without root: formatting, lints with warnings as errors, the static build, the eBPF object, licences and sources of
//! dependencies, unit and replayed tests.

use anyhow::{Context, Result};

use crate::command::{cargo, exists, program, run as run_command};
use crate::test::{Counts, cargo_test};
use crate::workspace::Toolchain;
use crate::{dist, object};

/// Scripts for a POSIX shell.
const SCRIPTS: [&str; 3] = [".ci/run", "kubernetes/kubectl-tracer", "xtask/bootstrap.sh"];

/// Runs all checks; the first that fails ends them, failed tests are counted.
pub(crate) fn run() -> Result<Counts> {
    run_command(cargo(["fmt", "--all", "--check"]))?;
    run_command(cargo([
        "clippy",
        "--workspace",
        "--exclude",
        "tracer-ebpf",
        "--all-targets",
        "--",
        "-D",
        "warnings",
    ]))?;
    clippy_ebpf()?;
    shell_scripts()?;
    dist::check()?;
    object::run()?;
    // The advisory database is not part of the check: it comes from the network, and changes what passes from
    // one day to the next.
    run_command(cargo(["deny", "check", "licenses", "bans", "sources"]))?;
    // The default members need no root, and of the crate `tests` its units.
    let mut counts = cargo_test(&[])?;
    counts += cargo_test(&["--package", "tests", "--lib", "--bins"])?;
    Ok(counts)
}

/// Lints of what is handed out, and used, as a shell script.
fn shell_scripts() -> Result<()> {
    if !exists("shellcheck") {
        eprintln!("SKIPPED: shell scripts are not checked without shellcheck");
        return Ok(());
    }
    run_command(program("shellcheck", SCRIPTS))
}

/// The kernel programs are another toolchain's, and another target's.
fn clippy_ebpf() -> Result<()> {
    let channel = Toolchain::ebpf()?.channel;
    let mut command = program(
        "rustup",
        [
            "run",
            channel.as_str(),
            "cargo",
            "clippy",
            "--package",
            "tracer-ebpf",
        ],
    );
    command.args([
        "--target",
        "bpfel-unknown-none",
        "-Z",
        "build-std=core",
        "--release",
    ]);
    command.args(["--target-dir", "target/clippy-ebpf"]);
    command.args(["--", "-D", "warnings"]);
    // What this cargo was started with concerns another toolchain.
    for name in [
        "CARGO",
        "RUSTC",
        "RUSTUP_TOOLCHAIN",
        "CARGO_ENCODED_RUSTFLAGS",
    ] {
        command.env_remove(name);
    }
    run_command(command).context("lints of the kernel programs")
}
