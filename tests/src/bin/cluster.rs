//! `cluster run`: incidents on a Kubernetes of two nodes in namespaces. See docs/cluster.md; `cargo xtask cluster` builds what
//! this needs and calls it.

use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::mpsc;
use std::thread;

use anyhow::{Context, Result, ensure};
use clap::{Parser, Subcommand};
use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::iterator::Signals;
use tests::cluster::incident::{Incidents, Told, load};
use tests::cluster::live::{Cost, Live, down};
use tests::cluster::stage::{Folder, serve};
use tests::cluster::table::Table;
use tests::net::Sandbox;

/// A Kubernetes of two nodes in namespaces of this machine, and what tracer says of incidents on it.
#[derive(Debug, Parser)]
struct Cli {
    /// Where its programs are.
    #[arg(long)]
    folder: PathBuf,
    #[command(subcommand)]
    command: Chore,
}

#[derive(Debug, Subcommand)]
enum Chore {
    /// Bring it up and leave it up.
    Up,
    /// Take it down.
    Down,
    /// Run incidents, on the cluster that is up or on one of its own.
    Run {
        /// tracer's executable.
        #[arg(long)]
        tracer: PathBuf,
        /// Type nothing in.
        #[arg(long)]
        no_fixes: bool,
        /// Write the table to FILE too.
        #[arg(long, value_name = "FILE")]
        table: Option<PathBuf>,
        /// Incidents, or directories of them.
        #[arg(required = true)]
        files: Vec<PathBuf>,
    },
    /// The process in which it lives.
    #[command(hide = true)]
    Stage,
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    match act(&Folder(cli.folder), cli.command) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("{error:#}");
            ExitCode::FAILURE
        }
    }
}

fn act(folder: &Folder, chore: Chore) -> Result<ExitCode> {
    match chore {
        Chore::Stage => {
            let sandbox = match Sandbox::enter()? {
                Ok(sandbox) => sandbox,
                Err(status) => return Ok(status),
            };
            serve(&sandbox, folder)?;
        }
        Chore::Up => {
            ensure!(Live::found(folder).is_none(), "it is up already");
            say_cost(&interruptible(folder, || Live::start_to_stay(folder))?);
            println!("commands: see docs/cluster.md; `cargo xtask cluster down` takes it down");
        }
        Chore::Down => {
            let was = down(folder)?;
            println!(
                "{}",
                if was {
                    "it is down"
                } else {
                    "no cluster was up"
                }
            );
        }
        Chore::Run {
            tracer,
            no_fixes,
            table,
            files,
        } => {
            let labs = load(&files)?;
            let tracer = tracer
                .canonicalize()
                .with_context(|| format!("there is no tracer at {}", tracer.display()))?;
            let told = interruptible(folder, || -> Result<Vec<Told>> {
                let live = match Live::found(folder) {
                    Some(live) => live,
                    None => {
                        let (live, cost) = Live::start(folder)?;
                        say_cost(&cost);
                        live
                    }
                };
                let keep = folder.0.join("kept");
                std::fs::create_dir_all(&keep)?;
                let incidents = Incidents {
                    live: &live,
                    tracer: &tracer,
                    keep: &keep,
                    fixes: !no_fixes,
                };
                let mut all = Vec::new();
                for lab in &labs {
                    let told = incidents.run(lab)?;
                    for told in &told {
                        say(told);
                    }
                    all.extend(told);
                }
                Ok(all)
            })?;
            let text = Table(&told).to_string();
            println!("\n{text}");
            if let Some(file) = table {
                std::fs::write(&file, &text)
                    .with_context(|| format!("cannot write {}", file.display()))?;
            }
            let failed = told.iter().filter(|told| !told.wrong.is_empty()).count();
            println!("{} passed, {failed} failed", told.len() - failed);
            if failed > 0 {
                return Ok(ExitCode::FAILURE);
            }
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// Does something that is given up at SIGINT or SIGTERM: the cluster that this process has started goes then too.
fn interruptible<T: Send>(folder: &Folder, work: impl FnOnce() -> Result<T> + Send) -> Result<T> {
    let was_up = Live::found(folder).is_some();
    // Handlers, not a mask: programs that are started would inherit that.
    let mut signals = Signals::new([SIGINT, SIGTERM])?;
    let (sender, done) = mpsc::channel();
    let folder = folder.clone();
    thread::spawn(move || {
        if signals.forever().next().is_some() {
            eprintln!("interrupted");
            if !was_up && let Err(error) = down(&folder) {
                eprintln!("{error:#}");
            }
            std::process::exit(130);
        }
    });
    thread::scope(|scope| {
        scope.spawn(move || {
            // The receiver waits for this.
            let _ = sender.send(work());
        });
        done.recv().context("the work ended without a result")?
    })
}

fn say_cost(cost: &Cost) {
    println!(
        "a Kubernetes of two nodes is up after {:.1} s: {} processes, {} MB",
        cost.ready.as_secs_f64(),
        cost.processes,
        cost.memory_mb
    );
}

fn say(told: &Told) {
    let word = if told.wrong.is_empty() {
        "PASS"
    } else {
        "FAIL"
    };
    let said = told
        .said
        .as_ref()
        .map_or("nothing", |said| said.summary.as_str());
    println!("{word} {} on {}: {said}", told.incident, told.place.name());
    for wrong in &told.wrong {
        println!("    {}", wrong.replace('\n', "\n    "));
    }
}
