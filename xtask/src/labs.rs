//! Builds tracer and the lab runner, and runs labs with them.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};

use crate::command::{cargo, is_root, program, run as run_command, run_lines};
use crate::replays;
use crate::test::{Counts, sum_line};
use crate::workspace::{built, root};

const LABS: &str = "tests/labs";
/// What the last `cargo xtask test` kept of its labs.
const KEPT: &str = "target/labs";
const RECORDINGS: &str = "tracer/tests/recordings";

/// Runs labs; `arguments` are those of `lab run`.
pub(crate) fn run(arguments: &[String]) -> Result<()> {
    let mut failed = false;
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    run_labs(&arguments, |line| failed |= line.starts_with("FAIL "))?;
    ensure!(!failed, "labs failed");
    Ok(())
}

/// Runs all labs, replays what they recorded, and counts.
pub(crate) fn count_all() -> Result<Counts> {
    let kept = root().join(KEPT);
    if kept.exists() {
        std::fs::remove_dir_all(&kept).with_context(|| kept.display().to_string())?;
    }
    let mut counts = None;
    let keep = ["--keep-report", KEPT, "--keep-recording", KEPT];
    run_labs(&[&[LABS][..], &keep].concat(), |line| {
        counts = sum_line(line).or(counts);
    })?;
    let mut counts = counts.context("the labs ended without a sum: see above")?;
    counts += replays::compare(&kept)?;
    Ok(counts)
}

/// Runs all labs and shows how many of each family passed.
pub(crate) fn scoreboard(jobs: usize) -> Result<()> {
    let mut families: BTreeMap<String, Counts> = BTreeMap::new();
    let family_of = families_by_lab()?;
    run_labs(&[LABS, "--jobs", &jobs.to_string()], |line| {
        let Some((word, name)) = line
            .split_once(' ')
            .and_then(|(word, rest)| Some((word, rest.split_once(':')?.0)))
        else {
            return;
        };
        if let (Some(one), Some(family)) = (one(word), family_of.get(name)) {
            *families.entry(family.clone()).or_default() += one;
        }
    })?;
    println!();
    for (family, counts) in &families {
        println!("{family:<12} {counts}");
    }
    let failed: usize = families.values().map(|counts| counts.failed).sum();
    ensure!(failed == 0, "{failed} labs failed");
    Ok(())
}

fn one(word: &str) -> Option<Counts> {
    let none = Counts::default();
    match word {
        "PASS" => Some(Counts { passed: 1, ..none }),
        "FAIL" => Some(Counts { failed: 1, ..none }),
        "SKIP" => Some(Counts { skipped: 1, ..none }),
        _ => None,
    }
}

/// The folder of each lab.
fn families_by_lab() -> Result<BTreeMap<String, String>> {
    let mut families = BTreeMap::new();
    for family in std::fs::read_dir(root().join(LABS))? {
        let family = family?;
        for lab in std::fs::read_dir(family.path())? {
            let lab = lab?.path();
            if let Some(name) = lab.file_stem() {
                families.insert(
                    name.to_string_lossy().into_owned(),
                    family.file_name().to_string_lossy().into_owned(),
                );
            }
        }
    }
    Ok(families)
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
    arguments.extend(["--keep-recording".to_owned(), RECORDINGS.to_owned()]);
    run(&arguments)
}

/// Shows a lab's fault as a person would meet it.
pub(crate) fn demo(file: &Path) -> Result<()> {
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
    ensure!(
        is_root(),
        "labs make network namespaces and load programs into the kernel: run as root"
    );
    run_command(cargo([
        "build",
        "--package",
        "tracer",
        "--package",
        "tests",
        "--bins",
    ]))
}
