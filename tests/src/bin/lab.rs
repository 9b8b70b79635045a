//! `lab run FILE...`: runs labs and says which passed. See docs/adding-a-lab.md.

use std::path::PathBuf;
use std::process::ExitCode;
use std::thread::available_parallelism;

use anyhow::{Context, Result, ensure};
use clap::{Parser, Subcommand};
use tests::bpf::Wanted;
use tests::lab::Lab;
use tests::net::{Sandbox, find_command};
use tests::runner::{Run, Variant};
use tests::score::{Score, Scoreboard};
use tests::suite::{Suite, find, show};

/// Networks with a fault in them, and what tracer must say about it.
#[derive(Debug, Parser)]
struct Cli {
    #[command(subcommand)]
    command: Chore,
}

#[derive(Debug, Subcommand)]
enum Chore {
    /// Run labs, healthy and faulty, and compare tracer's reports with what they expect.
    Run {
        /// Lab files, or directories of them.
        #[arg(required = true)]
        files: Vec<PathBuf>,
        /// tracer's executable [default: beside this one, else from PATH].
        #[arg(long)]
        tracer: Option<PathBuf>,
        /// Keep reports as DIR/LAB.healthy.json and DIR/LAB.faulty.json.
        #[arg(long, value_name = "DIR")]
        keep_report: Option<PathBuf>,
        /// Keep recordings as DIR/LAB.healthy.tracer and DIR/LAB.faulty.tracer.
        #[arg(long, value_name = "DIR")]
        keep_recording: Option<PathBuf>,
        /// Labs that run at the same time [default: two for each core, as most of a lab is waiting].
        #[arg(long)]
        jobs: Option<usize>,
        /// Run a lab that fails beside others once more, alone.
        #[arg(long)]
        again: bool,
        /// Write how each family fares to FILE, as a table in Markdown.
        #[arg(long, value_name = "FILE")]
        scoreboard: Option<PathBuf>,
    },
    /// Run one lab and let tracer write to the terminal; nothing is compared.
    Show {
        /// The lab file.
        file: PathBuf,
        /// tracer's executable [default: beside this one, else from PATH].
        #[arg(long)]
        tracer: Option<PathBuf>,
        /// With or without the fault.
        #[arg(long, value_enum, default_value = "faulty")]
        variant: Variant,
        /// tracer's arguments instead of the lab's.
        #[arg(last = true)]
        arguments: Vec<String>,
    },
    /// Load a BPF program that gives one fixed answer, for a lab's scripts; pin or attach it.
    Bpf(Wanted),
    /// One run in this process, for `run`; ends when stdin does.
    #[command(hide = true)]
    Stage {
        file: PathBuf,
        #[arg(long, value_enum)]
        variant: Variant,
        #[arg(long)]
        tracer: PathBuf,
        #[arg(long)]
        recording: Option<PathBuf>,
        #[arg(long)]
        show: bool,
        #[arg(last = true)]
        arguments: Vec<String>,
    },
}

fn main() -> ExitCode {
    match act(Cli::parse().command) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("{error:?}");
            ExitCode::FAILURE
        }
    }
}

fn act(chore: Chore) -> Result<ExitCode> {
    match chore {
        Chore::Run {
            files,
            tracer,
            keep_report,
            keep_recording,
            jobs,
            again,
            scoreboard,
        } => {
            must_be_root()?;
            let suite = Suite {
                tracer: executable(tracer)?,
                keep_report,
                keep_recording,
                jobs: jobs.unwrap_or_else(|| 2 * available_parallelism().map_or(1, usize::from)),
                again,
            };
            let mut labs = Vec::new();
            for file in files {
                labs.extend(if file.is_dir() {
                    find(&file)?
                } else {
                    vec![file]
                });
            }
            let lines = suite.run(&labs)?;
            if let Some(file) = scoreboard {
                std::fs::write(&file, Scoreboard::of(&lines).to_string())
                    .with_context(|| format!("cannot write {}", file.display()))?;
            }
            let score = Score::of(&lines);
            println!("{score}");
            Ok(if score.failed == 0 {
                ExitCode::SUCCESS
            } else {
                ExitCode::FAILURE
            })
        }
        Chore::Show {
            file,
            tracer,
            variant,
            arguments,
        } => {
            must_be_root()?;
            let lab = Lab::load(&file)?;
            let tracer = executable(tracer)?;
            let arguments = if arguments.is_empty() {
                &lab.trace
            } else {
                &arguments
            };
            let run = Run {
                lab: &lab,
                variant,
                tracer: &tracer,
                recording: None,
            };
            show(&run, &file, arguments)?;
            Ok(ExitCode::SUCCESS)
        }
        Chore::Bpf(wanted) => {
            must_be_root()?;
            tests::bpf::put(&wanted)?;
            Ok(ExitCode::SUCCESS)
        }
        Chore::Stage {
            file,
            variant,
            tracer,
            recording,
            show,
            arguments,
        } => {
            let sandbox = match Sandbox::enter()? {
                Ok(sandbox) => sandbox,
                Err(status) => return Ok(status),
            };
            let lab = Lab::load(&file)?;
            let run = Run {
                lab: &lab,
                variant,
                tracer: &tracer,
                recording: recording.as_deref(),
            };
            if show {
                run.show(&sandbox, &arguments)?;
            } else {
                serde_json::to_writer(std::io::stdout(), &run.report(&sandbox)?)?;
            }
            Ok(ExitCode::SUCCESS)
        }
    }
}

fn must_be_root() -> Result<()> {
    ensure!(
        nix::unistd::geteuid().is_root(),
        "labs make network namespaces and load programs into the kernel: run as root, e.g. by sudo"
    );
    Ok(())
}

fn executable(given: Option<PathBuf>) -> Result<PathBuf> {
    let beside = || {
        std::env::current_exe()
            .ok()?
            .parent()
            .map(|directory| directory.join("tracer"))
    };
    let path = given
        .or_else(|| beside().filter(|path| path.is_file()))
        .or_else(|| find_command("tracer"))
        .context("no tracer found: build it, or give its path with --tracer")?;
    path.canonicalize()
        .with_context(|| format!("there is no tracer at {}", path.display()))
}
