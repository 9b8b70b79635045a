//! Whether the same sources give the same bytes elsewhere: all of it is made again in a copy, and compared.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};

use super::files;
use crate::command::{cargo, output, program, run as run_command};
use crate::workspace::{root, tools};

/// A copy of the sources that goes with this.
struct Elsewhere(PathBuf);

impl Drop for Elsewhere {
    fn drop(&mut self) {
        // It lies in the directory for temporary files.
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// Makes everything again from a copy, and compares each file.
pub(super) fn compare(folder: &Path, epoch: u64) -> Result<()> {
    let name = format!("tracer-made-elsewhere-{}", std::process::id());
    let elsewhere = Elsewhere(std::env::temp_dir().join(name));
    let copy = &elsewhere.0;
    for source in sources()? {
        let to = copy.join(&source);
        let parent = to.parent().context("a file without a directory")?;
        fs::create_dir_all(parent).with_context(|| parent.display().to_string())?;
        fs::copy(root().join(&source), &to).with_context(|| source.display().to_string())?;
    }
    let target = copy.join("target");
    fs::create_dir_all(&target)?;
    // Programs that build are not what is built.
    std::os::unix::fs::symlink(tools(), target.join("tools"))?;
    let mut command = cargo(["run", "--quiet", "--package", "xtask", "--", "dist"]);
    command.current_dir(copy);
    command.env("SOURCE_DATE_EPOCH", epoch.to_string());
    command.env("CARGO_TARGET_DIR", &target);
    run_command(command)?;
    let made = target.join("dist");
    let (here, there) = (files(folder)?, files(&made)?);
    ensure!(here == there, "other files elsewhere: {here:?}, {there:?}");
    let mut differing = Vec::new();
    for file in &here {
        if fs::read(folder.join(file))? != fs::read(made.join(file))? {
            differing.push(file.display().to_string());
        }
    }
    if !differing.is_empty() {
        // What differs is kept, to be looked at.
        let kept = root().join("target/dist-elsewhere");
        let _ = fs::remove_dir_all(&kept);
        for file in &differing {
            let to = kept.join(file);
            fs::create_dir_all(to.parent().unwrap_or(&kept))?;
            fs::copy(made.join(file), to)?;
        }
        bail!(
            "not the same bytes when it is built elsewhere (those are in {}): {}",
            kept.display(),
            differing.join(", ")
        );
    }
    println!(
        "{} files, the same when they are made elsewhere",
        here.len()
    );
    Ok(())
}

/// The files of the sources, also those that are not committed yet.
fn sources() -> Result<Vec<PathBuf>> {
    let list = output(program(
        "git",
        [
            "ls-files",
            "-z",
            "--cached",
            "--others",
            "--exclude-standard",
        ],
    ))?;
    let files = list.split('\0').filter(|file| !file.is_empty());
    // One that was removed and not committed is listed too.
    Ok(files
        .map(PathBuf::from)
        .filter(|file| root().join(file).is_file())
        .collect())
}
