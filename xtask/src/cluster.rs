//! A real Kubernetes of two nodes in namespaces of this machine: what it needs is built here, from Debian's packages and
//! kept below target/cluster; the `cluster` program of the `tests` crate brings it up, runs the incidents and takes it
//! down.

mod build;

use std::os::unix::process::CommandExt;
use std::path::PathBuf;

use anyhow::{Context, Result, ensure};
use clap::Subcommand;

use crate::command::{cargo, is_root, program, run as run_command};
use crate::workspace::{built, root};
use crate::{dist, labs};

/// Where the incidents are.
const INCIDENTS: &str = "tests/cluster";
/// Where the table of all incidents is told of, and between which lines.
const MANUAL: &str = "docs/cluster.md";
const BEGIN: &str = "<!-- make cluster: begin -->";
const END: &str = "<!-- make cluster: end -->";

/// What to do.
#[derive(Debug, Subcommand)]
pub(crate) enum What {
    /// Build what the cluster needs, where it is not there; some ten minutes of a processor
    Build,
    /// Bring the cluster up and leave it up
    Up,
    /// Take it down
    Down,
    /// Run incidents on the cluster that is up, or on one that is brought up for them and taken down after them
    Run {
        /// tracer's executable [default: the static release build]
        #[arg(long, value_name = "FILE")]
        tracer: Option<PathBuf>,
        /// Put the table of the last run of all incidents into docs/cluster.md, and run none
        #[arg(long)]
        write: bool,
        /// Incidents, or arguments of `cluster run` [default: all incidents]
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        arguments: Vec<String>,
    },
}

impl Default for What {
    fn default() -> Self {
        Self::Run {
            tracer: None,
            write: false,
            arguments: Vec::new(),
        }
    }
}

/// Builds what is missing, and does it.
pub(crate) fn run(what: &What) -> Result<()> {
    ensure!(
        is_root(),
        "a cluster is made of namespaces, mounts and control groups: run as root"
    );
    let table = build::cache().join("table.md");
    if let What::Run { write: true, .. } = what {
        let table = std::fs::read_to_string(&table)
            .with_context(|| format!("no run of all incidents left {}", table.display()))?;
        return labs::put_between(MANUAL, (BEGIN, END), &table);
    }
    if !matches!(what, What::Down) {
        build::all()?;
    }
    let mut arguments = vec!["--folder".to_owned(), build::cache().display().to_string()];
    match what {
        What::Build => return Ok(()),
        What::Up => arguments.push("up".to_owned()),
        What::Down => arguments.push("down".to_owned()),
        What::Run {
            tracer,
            arguments: given,
            ..
        } => {
            let tracer = match tracer {
                Some(tracer) => std::path::absolute(tracer)?,
                None => dist::build()?,
            };
            arguments.extend(["run".to_owned(), "--tracer".to_owned()]);
            arguments.push(tracer.display().to_string());
            arguments.extend(given.iter().cloned());
            if !given.iter().any(|word| word.ends_with(".toml")) {
                arguments.extend(["--table".to_owned(), table.display().to_string()]);
                arguments.push(root().join(INCIDENTS).display().to_string());
            }
        }
    }
    run_command(cargo(["build", "--package", "tests", "--bin", "cluster"]))?;
    // In the place of this process, so that an interrupt finds the one that cleans up and the shell waits for it.
    let error = program(built("cluster"), arguments).exec();
    Err(error).context("cannot start target/debug/cluster")
}
