//! The static binaries: no shared libc and no C toolchain, linked by the linker that comes with Rust.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use super::{ARCHITECTURES, Architecture};
use crate::command::{cargo, program, run as run_command};
use crate::workspace::{Toolchain, root};

/// What the linker leaves out.
const NO_UNWINDING: &str = "xtask/src/dist/no-unwinding.ld";

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
    command.args(linked(architecture, &without_unwinding())?);
    run_command(command)?;
    Ok(place(architecture.rust, name))
}

/// What cargo is told beside, so that what it builds is static and runs on that processor.
pub(crate) fn static_options(architecture: Architecture) -> Result<Vec<String>> {
    linked(architecture, &[])
}

/// The same with more for the linker.
fn linked(architecture: Architecture, more: &[String]) -> Result<Vec<String>> {
    install(architecture)?;
    let triple = architecture.triple();
    let linker = format!("target.{triple}.linker=\"rust-lld\"");
    let flags = format!("target.{triple}.rustflags={:?}", [&paths()?, more].concat());
    Ok(
        ["--target", &triple, "--config", &linker, "--config", &flags]
            .map(str::to_owned)
            .to_vec(),
    )
}

/// Nothing of a release unwinds, so the tables for it are left out, and with them backtraces, which would have no names; addresses
/// that are relative to the file take a bit each.
fn without_unwinding() -> Vec<String> {
    vec![
        format!("-Clink-arg=-T{}", root().join(NO_UNWINDING).display()),
        "-Clink-arg=--no-eh-frame-hdr".to_owned(),
        "-Clink-arg=--pack-dyn-relocs=relr".to_owned(),
    ]
}

/// Paths stand in the messages of panics: those of this machine are replaced.
fn paths() -> Result<Vec<String>> {
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
