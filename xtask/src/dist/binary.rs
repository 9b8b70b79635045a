//! The static binaries: no shared libc and no C toolchain, linked by the linker that comes with Rust.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use super::{ARCHITECTURES, Architecture};
use crate::command::{cargo, program, run as run_command};
use crate::workspace::{Toolchain, root};

/// Checks that tracer compiles for what is handed out: libc has less for musl than for glibc, and other types on other
/// processors.
pub(crate) fn check() -> Result<()> {
    let mut command = cargo(["check", "--package", "tracer"]);
    for architecture in ARCHITECTURES {
        install(architecture)?;
        command.args(["--target", &architecture.triple()]);
    }
    run_command(command)
}

/// Rust's own libraries for the target.
fn install(architecture: Architecture) -> Result<()> {
    let channel = Toolchain::host()?.channel;
    let triple = architecture.triple();
    run_command(program(
        "rustup",
        ["target", "add", &triple, "--toolchain", &channel],
    ))
}

/// Where cargo puts this machine's static binary.
pub(crate) fn path() -> PathBuf {
    place(std::env::consts::ARCH, "tracer")
}

fn place(architecture: &str, name: &str) -> PathBuf {
    let triple = format!("{architecture}-unknown-linux-musl");
    root()
        .join("target")
        .join(triple)
        .join("release")
        .join(name)
}

/// Builds this machine's static binary, where its sources are younger, and gives its path.
pub(crate) fn build() -> Result<PathBuf> {
    build_static("tracer")
}

/// The same of another program that is called as its package.
pub(crate) fn build_static(name: &str) -> Result<PathBuf> {
    build_for(Architecture::host()?, name)
}

/// The same for a processor.
pub(crate) fn build_for(architecture: Architecture, name: &str) -> Result<PathBuf> {
    let mut command = cargo(["build", "--release", "--locked", "--package", name]);
    command.args(["--bin", name]);
    command.args(static_options(architecture)?);
    run_command(command)?;
    Ok(place(architecture.rust, name))
}

/// What cargo is told beside, so that what it builds is static and runs on that processor.
pub(crate) fn static_options(architecture: Architecture) -> Result<Vec<String>> {
    install(architecture)?;
    let triple = architecture.triple();
    let linker = format!("target.{triple}.linker=\"rust-lld\"");
    let flags = format!("target.{triple}.rustflags={:?}", flags()?);
    Ok(
        ["--target", &triple, "--config", &linker, "--config", &flags]
            .map(str::to_owned)
            .to_vec(),
    )
}

/// Paths stand in the messages of panics: those of this machine are replaced.
fn flags() -> Result<Vec<String>> {
    let cargo_home = std::env::var_os("CARGO_HOME").map(PathBuf::from);
    let cargo_home = match cargo_home {
        Some(home) => home,
        None => PathBuf::from(std::env::var_os("HOME").context("HOME is not set")?).join(".cargo"),
    };
    let remap = |from: &Path, to| format!("--remap-path-prefix={}={to}", from.display());
    Ok(vec![
        remap(&cargo_home, "/cargo"),
        remap(&root(), "/tracer"),
    ])
}

/// Builds one into the directory.
pub(super) fn hand_out(architecture: Architecture, folder: &Path) -> Result<()> {
    let built = build_for(architecture, "tracer")?;
    fs::copy(&built, folder.join(architecture.file()))
        .with_context(|| format!("cannot copy {}", built.display()))?;
    Ok(())
}
