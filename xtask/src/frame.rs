//! Draws the picture of the full screen that the README shows, from a recording, with the tool's own renderer.

use std::fs;

use anyhow::{Context, Result};

use crate::command::{cargo, output};
use crate::workspace::root;

const RECORDING: &str = "tracer/tests/recordings/forward-policy-drop.faulty.tracer";
const SIZE: &str = "100x30";
const PICTURE: &str = "docs/tui.svg";

/// Draws it anew.
pub(crate) fn run() -> Result<()> {
    let arguments = [
        "run",
        "--quiet",
        "--package",
        "tracer",
        "--example",
        "frame",
    ];
    let mut command = cargo(arguments);
    command.arg("--").arg(root().join(RECORDING)).arg(SIZE);
    let svg = output(command)?;
    let path = root().join(PICTURE);
    fs::write(&path, &svg).with_context(|| path.display().to_string())?;
    println!("{PICTURE}: {} bytes", svg.len());
    Ok(())
}
