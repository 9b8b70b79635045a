//! What a binary was made of, as CycloneDX: each crate with version, licence and checksum.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result};
use serde_json::Value;

use super::Architecture;
use crate::command::{cargo, run as run_command};
use crate::setup::install_tool;
use crate::workspace::root;

/// The ending that cargo-cyclonedx is told; it adds `.json`.
const NAME: &str = "tracer.cdx";

/// Writes tracer-ARCH-linux.cdx.json.
pub(super) fn write(architecture: Architecture, folder: &Path, epoch: u64) -> Result<()> {
    install_tool("cargo-cyclonedx", "0.5.9", &["--debug"])?;
    let mut command = cargo(["cyclonedx", "--manifest-path", "tracer/Cargo.toml", "--all"]);
    command.args(["--format", "json", "--spec-version", "1.5", "--quiet"]);
    command.args(["--target", &architecture.triple()]);
    command.args(["--override-filename", NAME]);
    command.env("SOURCE_DATE_EPOCH", epoch.to_string());
    run_command(command)?;
    // It writes one beside the manifest of each crate of the workspace.
    let mut own = None;
    for entry in fs::read_dir(root())? {
        let member = entry?.path();
        let written = member.join(format!("{NAME}.json"));
        if !written.is_file() {
            continue;
        }
        if member.file_name().is_some_and(|name| name == "tracer") {
            own = Some(fs::read_to_string(&written)?);
        }
        fs::remove_file(&written)?;
    }
    let text = own.context("cargo-cyclonedx wrote nothing for tracer")?;
    // The workspace's crates are named by where they lie, and files there by their path.
    let text = text.replace(&format!("{}", root().display()), "/tracer");
    serde_json::from_str::<Value>(&text).context("cargo-cyclonedx wrote no JSON")?;
    fs::write(
        folder.join(format!("{}.cdx.json", architecture.file())),
        text,
    )?;
    Ok(())
}
