//! Draws the pictures that the README shows, the full screen and the diagram of a path, from a recording, with the
//! tool's own renderers.

use std::fs;

use anyhow::{Context, Result};

use crate::command::{cargo, output};
use crate::workspace::root;

const RECORDING: &str = "tracer/tests/recordings/forward-policy-drop.faulty.tracer";
const SIZE: &str = "100x30";
const FRAME: &str = "docs/tui.svg";
const DIAGRAM: &str = "docs/path.svg";

/// Draws them anew.
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
    save(FRAME, &output(command)?)?;

    let mut command = cargo(["run", "--quiet", "--package", "tracer", "--", "replay"]);
    command
        .arg(root().join(RECORDING))
        .args(["--output", "svg"]);
    save(DIAGRAM, &output(command)?)
}

fn save(picture: &str, svg: &str) -> Result<()> {
    let path = root().join(picture);
    fs::write(&path, svg).with_context(|| path.display().to_string())?;
    println!("{picture}: {} bytes", svg.len());
    Ok(())
}
