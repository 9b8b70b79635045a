//! What tracer costs: processor time of a packet, packets that a router no longer forwards, time to start and to answer,
//! memory, size. Each as a ratio within one run, or by the kernel's own statistics. Figures for people, not tests.

mod alone;
mod bpf;
mod cost;
mod counted;
mod figure;
mod kept;
mod memory;
mod network;
mod page;
mod process;
mod ready;
mod replay;
mod screen;
mod size;
mod task;
mod tcp;
mod udp;
mod verdict;

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Instant;

use anyhow::{Context, Result, ensure};

use crate::command::{cargo, is_root, run as run_command};
use crate::dist;
use crate::workspace::root;
use figure::Figure;
use page::{Machine, Page};
use task::Task;

/// Where figures go for programs, below the workspace's folder.
const JSON: &str = "target/bench.json";

/// What is wished for.
#[derive(Debug, clap::Args)]
pub(crate) struct Wish {
    /// Rows to measure, with commas between them [default: all]
    #[arg(long, value_delimiter = ',')]
    rows: Vec<String>,
    /// The tracer to measure [default: a release build, which is built]
    #[arg(long)]
    tracer: Option<PathBuf>,
    /// Write docs/performance.md and the README's figures, as is done anyway when all rows of a release build are measured
    #[arg(long)]
    write: bool,
    /// For the bench's own use: this process is alone in its namespaces
    #[arg(long, hide = true)]
    inside: bool,
}

/// A row of the bench.
struct Row {
    name: &'static str,
    measure: fn(&Task) -> Result<Vec<Figure>>,
}

/// All rows, in the order in which they are measured: what leaves the kernel busy comes late.
const ROWS: &[Row] = &[
    row("cost", cost::uninvolved),
    row("clauses", cost::clauses),
    row("beyond", cost::beyond),
    row("router", kept::router),
    row("tcp", kept::connections),
    row("counted", counted::run),
    row("verdict", verdict::run),
    row("replay", replay::run),
    row("memory", memory::run),
    row("screen", screen::run),
    row("ready", ready::run),
    row("size", size::run),
];

const fn row(name: &'static str, measure: fn(&Task) -> Result<Vec<Figure>>) -> Row {
    Row { name, measure }
}

/// Builds what is measured, then measures.
pub(crate) fn run(wish: &Wish) -> Result<()> {
    ensure!(
        is_root(),
        "tracer loads programs into the kernel: run as root"
    );
    let rows = chosen(&wish.rows)?;
    if let (true, Some(tracer)) = (wish.inside, &wish.tracer) {
        return measure(&rows, tracer, wish.write);
    }
    let tracer = match &wish.tracer {
        Some(tracer) => std::path::absolute(tracer)?,
        None => {
            run_command(cargo(["build", "--release", "--package", "tracer"]))?;
            root().join("target/release/tracer")
        }
    };
    ensure!(tracer.is_file(), "there is no {}", tracer.display());
    if rows.iter().any(|row| row.name == "size") {
        dist::build()?;
    }
    let names: Vec<_> = rows.iter().map(|row| row.name).collect();
    let mut command = alone::again()?;
    command.args(["bench", "--inside", "--rows", &names.join(",")]);
    command.arg("--tracer").arg(tracer);
    if wish.write || (wish.tracer.is_none() && rows.len() == ROWS.len()) {
        command.arg("--write");
    }
    run_command(command)
}

/// The rows of these names.
fn chosen(names: &[String]) -> Result<Vec<&'static Row>> {
    if names.is_empty() {
        return Ok(ROWS.iter().collect());
    }
    let found = names.iter().map(|name| {
        let all = || ROWS.iter().map(|row| row.name).collect::<Vec<_>>();
        let row = ROWS.iter().find(|row| row.name == name);
        row.with_context(|| format!("no row {name}; there are {}", all().join(", ")))
    });
    found.collect()
}

/// Measures, shows each figure as soon as it is there, and writes all. A row that fails leaves the others alone.
fn measure(rows: &[&'static Row], tracer: &Path, write: bool) -> Result<()> {
    let mut page = Page {
        rows: Vec::new(),
        machine: Machine::this()?,
    };
    let start = Instant::now();
    alone::settle()?;
    let mut failed = Vec::new();
    for (index, row) in rows.iter().enumerate() {
        let task = Task {
            tracer,
            row: row.name,
            number: index + 1,
            of: rows.len(),
        };
        match (row.measure)(&task) {
            Ok(figures) => {
                figures
                    .iter()
                    .for_each(|figure| print!("{}", figure.lines()));
                page.rows.push((row.name, figures));
            }
            Err(error) => {
                task.say(&format!("FAILED: {error:#}"));
                failed.push(row.name);
            }
        }
    }
    fs::write(root().join(JSON), page.json())?;
    println!("{JSON}: written, after {} s", start.elapsed().as_secs());
    ensure!(failed.is_empty(), "not measured: {}", failed.join(", "));
    if write {
        page.write()?;
    }
    Ok(())
}
