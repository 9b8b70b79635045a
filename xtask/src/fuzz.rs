//! `cargo xtask fuzz`: bytes that break a reader are looked for, target by target.

use std::path::Path;

use anyhow::{Context, Result, ensure};
use clap::Parser;

use crate::command::{cargo, run as run_command};
use crate::setup::install_tool;
use crate::workspace::root;

/// What is fuzzed, and for how long.
#[derive(Debug, Parser)]
pub(crate) struct Wish {
    /// Seconds for each target
    #[arg(long, default_value_t = 60)]
    seconds: u32,
    /// This target alone [default: all]
    #[arg(long)]
    target: Vec<String>,
}

/// Most memory of a target, in MiB; longest time for one input, in seconds.
const LIMITS: [&str; 2] = ["-rss_limit_mb=1024", "-timeout=10"];

/// Fuzzes the targets one after the other. What is found stays in fuzz/found, and what breaks a target in fuzz/artifacts;
/// fuzz/corpus is only read.
pub(crate) fn run(wish: &Wish) -> Result<()> {
    install_tool("cargo-fuzz", "0.13.2", &["--debug"])?;
    let package = root().join("fuzz");
    let mut targets = wish.target.clone();
    if targets.is_empty() {
        targets = names(&package.join("corpus"))?;
    }
    for target in targets {
        let found = package.join("found").join(&target);
        std::fs::create_dir_all(&found)
            .with_context(|| format!("cannot make {}", found.display()))?;
        let seconds = format!("-max_total_time={}", wish.seconds);
        let corpus = format!("corpus/{target}");
        let found = format!("found/{target}");
        // Readers are safe Rust: what a sanitizer finds in other languages panics here, and stable Rust has none.
        let mut command = cargo(["fuzz", "run", "--sanitizer", "none"]);
        command.args([&target, &found, &corpus, "--"]);
        command.arg(seconds).args(LIMITS).current_dir(&package);
        run_command(command).with_context(|| {
            format!("{target} is broken: fuzz/artifacts/{target} has the bytes")
        })?;
    }
    Ok(())
}

fn names(corpus: &Path) -> Result<Vec<String>> {
    let entries =
        std::fs::read_dir(corpus).with_context(|| format!("cannot read {}", corpus.display()))?;
    let names = entries.map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned()));
    let mut names = names.collect::<Result<Vec<_>>>()?;
    names.sort();
    ensure!(!names.is_empty(), "{} is empty", corpus.display());
    Ok(names)
}
