//! What is handed out, in target/dist: static binaries, man pages, completions, Debian packages, container images, what each
//! was made of (SBOM), and the checksums. The same sources give the same bytes, wherever they lie and whenever they are
//! built: `--twice` does it.

mod binary;
mod image;
mod package;
mod pages;
mod sbom;
mod twice;

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use clap::Args;

use crate::command::{output, program};
use crate::workspace::root;

pub(crate) use binary::{build, build_for, build_static, check, path, static_options};

/// How to hand out.
#[derive(Debug, Args)]
pub(crate) struct Wish {
    /// Build all of it a second time, from a copy of the sources elsewhere, and compare: takes as long as a first build
    #[arg(long)]
    twice: bool,
}

/// A processor that tracer is built for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Architecture {
    /// As Rust and the kernel call it.
    pub(crate) rust: &'static str,
    /// As Debian and container images do.
    pub(crate) debian: &'static str,
}

const ARCHITECTURES: [Architecture; 2] = [
    Architecture {
        rust: "x86_64",
        debian: "amd64",
    },
    Architecture {
        rust: "aarch64",
        debian: "arm64",
    },
];
const VERSION: &str = env!("CARGO_PKG_VERSION");
/// The checksums of all others.
const SUMS: &str = "SHA256SUMS";
/// Files that are handed out as they are.
const SCRIPTS: [&str; 1] = ["kubernetes/kubectl-tracer"];

impl Architecture {
    /// The target without a shared libc.
    pub(crate) fn triple(self) -> String {
        format!("{}-unknown-linux-musl", self.rust)
    }

    /// This machine's.
    pub(crate) fn host() -> Result<Self> {
        Self::named(std::env::consts::ARCH)
    }

    /// By its name in Rust.
    pub(crate) fn named(name: &str) -> Result<Self> {
        let found = ARCHITECTURES.into_iter().find(|one| one.rust == name);
        found.with_context(|| format!("tracer is not built for {name}"))
    }

    /// The binary's file in target/dist.
    fn file(self) -> String {
        format!("tracer-{}-linux", self.rust)
    }
}

/// Where all of it goes.
fn folder() -> PathBuf {
    root().join("target/dist")
}

/// The time that files and documents bear: that of the last commit, so that it does not depend on when they are made.
fn epoch() -> Result<u64> {
    let told = match std::env::var("SOURCE_DATE_EPOCH") {
        Ok(told) => told,
        Err(_) => output(program("git", ["log", "-1", "--format=%ct"]))
            .context("the sources have no last commit: set SOURCE_DATE_EPOCH")?,
    };
    let epoch = told.trim().parse();
    epoch.with_context(|| format!("SOURCE_DATE_EPOCH is no number of seconds: {told}"))
}

/// Makes all of it.
pub(crate) fn run(wish: &Wish) -> Result<()> {
    let epoch = epoch()?;
    let folder = empty_folder()?;
    for architecture in ARCHITECTURES {
        binary::hand_out(architecture, &folder)?;
        sbom::write(architecture, &folder, epoch)?;
    }
    pages::write(&folder)?;
    for script in SCRIPTS {
        let from = root().join(script);
        let name = from.file_name().context("a script without a name")?;
        fs::copy(&from, folder.join(name)).with_context(|| from.display().to_string())?;
    }
    for architecture in ARCHITECTURES {
        package::write(architecture, &folder, epoch)?;
        image::write(architecture, &folder, epoch)?;
    }
    write_sums(&folder)?;
    if wish.twice {
        twice::compare(&folder, epoch)?;
    }
    Ok(())
}

/// Makes the images alone.
pub(crate) fn images() -> Result<()> {
    let epoch = epoch()?;
    let folder = folder();
    fs::create_dir_all(&folder).with_context(|| format!("cannot make {}", folder.display()))?;
    for architecture in ARCHITECTURES {
        binary::hand_out(architecture, &folder)?;
        image::write(architecture, &folder, epoch)?;
    }
    Ok(())
}

/// target/dist without what an earlier version left there.
fn empty_folder() -> Result<PathBuf> {
    let folder = folder();
    if folder.exists() {
        fs::remove_dir_all(&folder)
            .with_context(|| format!("cannot empty {}", folder.display()))?;
    }
    fs::create_dir_all(&folder).with_context(|| format!("cannot make {}", folder.display()))?;
    Ok(folder)
}

/// All files below a directory, relative to it, sorted.
fn files(folder: &Path) -> Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    let mut folders = vec![folder.to_path_buf()];
    while let Some(next) = folders.pop() {
        for entry in fs::read_dir(&next).with_context(|| next.display().to_string())? {
            let path = entry?.path();
            if path.is_dir() {
                folders.push(path);
            } else {
                found.push(path.strip_prefix(folder)?.to_path_buf());
            }
        }
    }
    found.sort();
    Ok(found)
}

/// Writes the checksums, for `sha256sum --check`, and shows them with the sizes.
fn write_sums(folder: &Path) -> Result<()> {
    let files = files(folder)?;
    let mut command = program("sha256sum", &files);
    command.current_dir(folder);
    let sums = output(command)?;
    fs::write(folder.join(SUMS), &sums)?;
    for file in files {
        let bytes = fs::metadata(folder.join(&file))?.len();
        println!("{:10} bytes  target/dist/{}", bytes, file.display());
    }
    println!("target/dist/{SUMS} has their checksums");
    Ok(())
}
