//! `lab run FILE...`: runs labs and says which passed. See docs/adding-a-lab.md.

use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::thread::available_parallelism;

use anyhow::{Context, Result, ensure};
use clap::{Args, Parser, Subcommand};
use tests::bpf::Wanted;
use tests::fix::Fixes;
use tests::kernel::Version;
use tests::lab::{Lab, name_of};
use tests::net::{Sandbox, find_command};
use tests::result::{Record, names};
use tests::runner::{Run, Variant};
use tests::sample::sample;
use tests::score::{Score, Scoreboard};
use tests::stage::show;
use tests::suite::{Line, Suite, find};

/// Networks with a fault in them, and what tracer must say about it.
#[derive(Debug, Parser)]
struct Cli {
    #[command(subcommand)]
    command: Chore,
}

#[derive(Debug, Subcommand)]
enum Chore {
    /// Run labs, healthy and faulty, type in what is advised and its undo, and compare tracer's reports with what the
    /// labs expect.
    Run(Wish),
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
        recordings: Option<PathBuf>,
        #[arg(long)]
        slowness: u32,
        #[arg(long)]
        show: bool,
        #[arg(last = true)]
        arguments: Vec<String>,
    },
}

/// What to run.
#[derive(Debug, Args)]
struct Wish {
    /// Lab files, or directories of them.
    #[arg(required = true)]
    files: Vec<PathBuf>,
    /// tracer's executable [default: beside this one, else from PATH].
    #[arg(long)]
    tracer: Option<PathBuf>,
    /// Keep reports as DIR/LAB.PHASE.json: healthy, faulty, fixed (what was advised is typed in), undone.
    #[arg(long, value_name = "DIR")]
    keep_report: Option<PathBuf>,
    /// Keep recordings as DIR/LAB.PHASE.tracer.
    #[arg(long, value_name = "DIR")]
    keep_recording: Option<PathBuf>,
    /// Labs that run at the same time [default: two for each core, as most of a lab is waiting].
    #[arg(long)]
    jobs: Option<usize>,
    /// Only this one of a lab's two runs; the other counts as not right.
    #[arg(long, value_enum)]
    variant: Option<Variant>,
    /// The labs in which the advice is typed in: all, a quarter that their names decide, or none.
    #[arg(long, value_enum, default_value = "all")]
    fixes: Fixes,
    /// Run a lab that fails beside others once more, alone.
    #[arg(long)]
    again: bool,
    /// Let everything take N times as long, on a machine that is that much slower.
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..))]
    slowness: u32,
    /// Of the labs given, only a sample: families healthy and incident, and for each cause its shortest file.
    #[arg(long)]
    sample: bool,
    /// Write how each family fares to FILE, as a table in Markdown.
    #[arg(long, value_name = "FILE")]
    scoreboard: Option<PathBuf>,
    /// Write what became of each lab to FILE, one line of JSON for each.
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Leave out labs that FILE of --json tells of already, and add to it.
    #[arg(long, requires = "json")]
    resume: bool,
}

fn main() -> ExitCode {
    match act(Cli::parse().command) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("{error:#}");
            ExitCode::FAILURE
        }
    }
}

fn act(chore: Chore) -> Result<ExitCode> {
    match chore {
        Chore::Run(wish) => run(wish),
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
                recordings: None,
                slowness: 1,
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
            recordings,
            slowness,
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
                recordings: recordings.as_deref(),
                slowness,
            };
            if show {
                run.show(&sandbox, &arguments)?;
            } else {
                run.serve(&sandbox, &mut std::io::stdout())?;
            }
            Ok(ExitCode::SUCCESS)
        }
    }
}

/// Runs labs and tells how they ended.
fn run(wish: Wish) -> Result<ExitCode> {
    must_be_root()?;
    let suite = Suite {
        tracer: executable(wish.tracer)?,
        keep_report: wish.keep_report,
        keep_recording: wish.keep_recording,
        jobs: wish
            .jobs
            .unwrap_or_else(|| 2 * available_parallelism().map_or(1, usize::from)),
        variants: wish
            .variant
            .map_or_else(|| Variant::ALL.to_vec(), |variant| vec![variant]),
        fixes: wish.fixes,
        again: wish.again,
        kernel: Version::running()?,
        slowness: wish.slowness,
    };
    let mut labs = Vec::new();
    for file in wish.files {
        labs.extend(if file.is_dir() {
            find(&file)?
        } else {
            vec![file]
        });
    }
    if wish.sample {
        labs = sample(labs)?;
    }
    let json = match wish.json.as_deref() {
        Some(file) if wish.resume => Some(resume(file, &mut labs)?),
        file => file.map(create).transpose()?,
    };
    let lines = suite.run(&labs, |line| {
        // What cannot be written is missing there; the labs go on.
        let _ = json.as_ref().map(|json| tell(line, json));
    })?;
    if let Some(file) = wish.scoreboard {
        write(&file, &Scoreboard::of(&lines).to_string())?;
    }
    say_what_was_left_out(suite.fixes, &lines);
    let score = Score::of(&lines);
    println!("{score}");
    Ok(if score.failed == 0 {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

/// A run that does not prove all fixes says so.
fn say_what_was_left_out(fixes: Fixes, lines: &[Line]) {
    let taken = lines.iter().filter(|line| fixes.takes(&line.name)).count();
    if taken < lines.len() {
        println!(
            "fixes were tried in {taken} of {} labs, chosen by their names; `--fixes all` tries every one",
            lines.len()
        );
    }
}

fn create(file: &Path) -> Result<File> {
    File::create(file).with_context(|| format!("cannot write {}", file.display()))
}

/// Opens a file of results to add to it, and takes the labs that it tells of from those that are to be run.
fn resume(file: &Path, labs: &mut Vec<PathBuf>) -> Result<File> {
    let told = match std::fs::read_to_string(file) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => String::new(),
        told => told.with_context(|| format!("cannot read {}", file.display()))?,
    };
    let done = names(&told).with_context(|| file.display().to_string())?;
    labs.retain(|lab| !done.contains(&name_of(lab)));
    let results = File::options().create(true).append(true).open(file);
    results.with_context(|| format!("cannot write {}", file.display()))
}

/// One write for a line, as labs that end at the same time share the file.
fn tell(line: &Line, mut json: &File) -> Result<()> {
    Ok(json.write_all(Record::from(line).line()?.as_bytes())?)
}

fn write(file: &Path, text: &str) -> Result<()> {
    std::fs::write(file, text).with_context(|| format!("cannot write {}", file.display()))
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
