//! The binary to hand out: static, so that it runs on any Linux of its architecture, with its checksum.

use std::fs;
use std::path::PathBuf;

use anyhow::{Context, Result};

use crate::command::{cargo, output, program, run as run_command};
use crate::workspace::{Toolchain, root};

/// Checks that tracer compiles for the static build: libc has less for musl than for glibc.
pub(crate) fn check() -> Result<()> {
    let target = target()?;
    run_command(cargo(["check", "--package", "tracer", "--target", &target]))
}

/// The target without a shared libc, installed.
fn target() -> Result<String> {
    let target = triple();
    let channel = Toolchain::host()?.channel;
    run_command(program(
        "rustup",
        ["target", "add", &target, "--toolchain", &channel],
    ))?;
    Ok(target)
}

/// Where cargo puts the static binary.
pub(crate) fn path() -> PathBuf {
    root().join("target").join(triple()).join("release/tracer")
}

fn triple() -> String {
    format!("{}-unknown-linux-musl", std::env::consts::ARCH)
}

/// Builds the static binary, where its sources are younger, and gives its path.
pub(crate) fn build() -> Result<PathBuf> {
    let target = target()?;
    run_command(cargo([
        "build",
        "--release",
        "--package",
        "tracer",
        "--bin",
        "tracer",
        "--target",
        &target,
    ]))?;
    Ok(path())
}

/// Builds target/dist/tracer-ARCH-linux and its .sha256.
pub(crate) fn run() -> Result<()> {
    let binary = build()?;
    let dist = root().join("target/dist");
    fs::create_dir_all(&dist).with_context(|| format!("cannot make {}", dist.display()))?;
    let name = format!("tracer-{}-linux", std::env::consts::ARCH);
    let size = fs::copy(&binary, dist.join(&name))
        .with_context(|| format!("cannot copy {}", binary.display()))?;
    let mut sum = program("sha256sum", [&name]);
    sum.current_dir(&dist);
    let sum = output(sum)?;
    fs::write(dist.join(format!("{name}.sha256")), &sum)?;
    println!(
        "target/dist/{name}: {:.1} MB\n{}",
        size as f64 / 1e6,
        sum.trim_end()
    );
    Ok(())
}
