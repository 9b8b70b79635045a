//! Builds tracer and the lab runner, and runs labs with them.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use clap::Args;

use crate::command::{cargo, is_root, program, run as run_command, run_lines};
use crate::replays;
use crate::setup;
use crate::test::{Counts, sum_line};
use crate::workspace::{built, root};

pub(crate) const LABS: &str = "tests/labs";
/// What the last `cargo xtask test` kept of its labs.
const KEPT: &str = "target/labs";
const RECORDINGS: &str = "tracer/tests/recordings";
/// Which fixes `cargo xtask test` proves; `cargo xtask labs` proves all.
const FIXES: &[&str] = &["--fixes", "quarter"];
/// Where the runner leaves its table.
const BOARD: &str = "target/scoreboard.md";
/// The page that shows one, between these two lines.
const MANUAL: &str = "docs/labs.md";
const BEGIN: &str = "<!-- scoreboard -->";
const END: &str = "<!-- end of scoreboard -->";

/// Runs labs; `arguments` are those of `lab run`.
pub(crate) fn run(arguments: &[String]) -> Result<()> {
    let mut failed = false;
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    run_labs(&arguments, |line| failed |= line.starts_with("FAIL "))?;
    ensure!(!failed, "labs failed");
    Ok(())
}

/// Runs all labs, with the fixes of a fixed quarter, replays what they recorded, and counts.
pub(crate) fn count_all() -> Result<Counts> {
    let kept = root().join(KEPT);
    if kept.exists() {
        std::fs::remove_dir_all(&kept).with_context(|| kept.display().to_string())?;
    }
    let mut counts = None;
    let keep = ["--keep-report", KEPT, "--keep-recording", KEPT];
    run_labs(&[&[LABS, "--again"][..], FIXES, &keep].concat(), |line| {
        counts = sum_line(line).or(counts);
    })?;
    let mut counts = counts.context("the labs ended without a sum: see above")?;
    counts += replays::compare(&kept)?;
    Ok(counts)
}

/// How `cargo xtask labs` runs all labs.
#[derive(Debug, Args)]
pub(crate) struct Wish {
    /// Labs that run at the same time [default: two for each core]
    #[arg(long)]
    jobs: Option<usize>,
    /// Runs in a row
    #[arg(long, default_value_t = 1)]
    times: usize,
    /// Put the table of the last run into docs/labs.md
    #[arg(long)]
    write: bool,
    /// Write what became of each lab in the last run to FILE, one line of JSON for each
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
}

/// Runs all labs with all their fixes, and shows how each family fares.
pub(crate) fn scoreboard(wish: &Wish) -> Result<()> {
    let board = root().join(BOARD);
    let jobs = wish.jobs.map(|jobs| jobs.to_string());
    let json = wish.json.as_deref().map(absolute).transpose()?;
    let mut arguments = vec![LABS, "--scoreboard", BOARD];
    if let Some(jobs) = &jobs {
        arguments.extend(["--jobs", jobs]);
    }
    if let Some(json) = &json {
        arguments.extend(["--json", json]);
    }
    let mut failed = Vec::new();
    for time in 1..=wish.times {
        run_labs(&arguments, |line| {
            if let Some(name) = line.strip_prefix("FAIL ").and_then(|l| l.split(':').next()) {
                failed.push(format!("{name} (run {time})"));
            }
        })?;
        let table = std::fs::read_to_string(&board).with_context(|| board.display().to_string())?;
        println!("\n{table}");
        if wish.write && time == wish.times {
            write_between(BEGIN, END, &table)?;
        }
    }
    ensure!(failed.is_empty(), "labs failed: {}", failed.join(", "));
    Ok(())
}

/// The runner runs in the workspace's folder, and the file is meant from where the caller is.
fn absolute(file: &Path) -> Result<String> {
    let path = std::path::absolute(file).with_context(|| file.display().to_string())?;
    Ok(path.display().to_string())
}

/// Puts a table where docs/labs.md has its last one, between two lines.
pub(crate) fn write_between(begin: &str, end: &str, table: &str) -> Result<()> {
    put_between(MANUAL, (begin, end), table)
}

/// The same of another page.
pub(crate) fn put_between(page: &str, (begin, end): (&str, &str), table: &str) -> Result<()> {
    let path = root().join(page);
    let text = std::fs::read_to_string(&path).with_context(|| path.display().to_string())?;
    let (before, rest) = text
        .split_once(begin)
        .with_context(|| format!("{page} has no line {begin}"))?;
    let (_, after) = rest
        .split_once(end)
        .with_context(|| format!("{page} has no line {end}"))?;
    std::fs::write(&path, format!("{before}{begin}\n{table}{end}{after}"))?;
    println!("{page}: the table of this run");
    Ok(())
}

/// Runs labs and keeps their recordings for the replayed tests.
pub(crate) fn record(files: &[PathBuf]) -> Result<()> {
    let mut arguments: Vec<String> = files
        .iter()
        .map(|file| file.display().to_string())
        .collect();
    if arguments.is_empty() {
        arguments.push(LABS.to_owned());
    }
    arguments.extend(["--fixes", "none", "--keep-recording", RECORDINGS].map(str::to_owned));
    run(&arguments)
}

/// Shows a lab's fault as a person would meet it.
pub(crate) fn demo(file: &Path) -> Result<()> {
    for_root()?;
    setup::for_demo()?;
    build()?;
    let text = std::fs::read_to_string(root().join(file))
        .with_context(|| format!("cannot read {}", file.display()))?;
    let lab: toml::Table = text.parse().with_context(|| file.display().to_string())?;
    let word = |key| {
        lab.get(key)
            .and_then(toml::Value::as_str)
            .unwrap_or_default()
            .trim()
    };
    let arguments = lab.get("trace").and_then(toml::Value::as_array);
    let arguments: Vec<&str> = arguments
        .into_iter()
        .flatten()
        .filter_map(toml::Value::as_str)
        .filter(|argument| *argument != "--json")
        .collect();
    println!("{}\n\n{}\n", word("title"), word("story"));
    println!("$ {}", word("traffic"));
    println!("$ tracer {}\n", arguments.join(" "));
    let mut command = program(built("lab"), ["show"]);
    command
        .arg(file)
        .arg("--tracer")
        .arg(built("tracer"))
        .arg("--")
        .args(["--output", "text"])
        .args(arguments);
    ensure!(command.status()?.success(), "the demo failed");
    Ok(())
}

fn run_labs(arguments: &[&str], each: impl FnMut(&str)) -> Result<()> {
    build()?;
    let mut command = program(built("lab"), ["run"]);
    command.args(arguments);
    if !arguments.contains(&"--tracer") {
        command.arg("--tracer").arg(built("tracer"));
    }
    run_lines(command, each)?;
    Ok(())
}

/// Builds the two binaries that a lab takes.
fn build() -> Result<()> {
    for_root()?;
    run_command(cargo([
        "build",
        "--package",
        "tracer",
        "--package",
        "tests",
        "--bins",
    ]))
}

fn for_root() -> Result<()> {
    ensure!(
        is_root(),
        "labs make network namespaces and load programs into the kernel: run as root"
    );
    Ok(())
}
