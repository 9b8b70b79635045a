//! One run of one lab: network, fault, tracer, traffic, report. It takes this process into namespaces of its own,
//! so a run has a process of its own; [`crate::suite`] starts those and judges what they find.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::lab::Lab;
use crate::net::{SCRATCH, Sandbox};
use crate::script;
use crate::tracer::{Running, Start};

/// Which of a lab's two runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum Variant {
    /// Without the fault.
    Healthy,
    /// With it.
    Faulty,
}

impl Variant {
    /// Both, in the order in which they run.
    pub const ALL: [Self; 2] = [Self::Healthy, Self::Faulty];

    /// Its name in output and in names of files.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Healthy => "healthy",
            Self::Faulty => "faulty",
        }
    }
}

/// What to run and with what.
#[derive(Clone, Debug)]
pub struct Run<'a> {
    /// The lab.
    pub lab: &'a Lab,
    /// Which run.
    pub variant: Variant,
    /// tracer's executable.
    pub tracer: &'a Path,
    /// Where the recording goes.
    pub recording: Option<&'a Path>,
}

/// What a run found.
#[derive(Debug, Serialize, Deserialize)]
pub struct Found {
    /// The report.
    pub report: Value,
    /// The end of tracer's stderr, for a failure's message.
    pub stderr: String,
    /// What the traffic wrote, for a failure's message.
    pub traffic: String,
}

impl Run<'_> {
    /// Builds the lab, traces its traffic and reads the report.
    ///
    /// # Errors
    /// The lab cannot be built, or tracer fails.
    pub fn report(&self, sandbox: &Sandbox) -> Result<Found> {
        self.build(sandbox)?;
        let report = Path::new(SCRATCH).join("report.json");
        let (stderr, traffic) = if self.lab.node.is_empty() {
            self.trace(&[self.alone(&self.lab.trace, Some(&report))])?
        } else {
            self.trace_nodes(&report)?
        };
        let text = std::fs::read(&report)
            .with_context(|| format!("tracer left no report at {}\n{stderr}", report.display()))?;
        let report = serde_json::from_slice(&text).context("tracer's report is no JSON")?;
        Ok(Found {
            report,
            stderr,
            traffic,
        })
    }

    /// Builds the lab and traces its traffic with other arguments; tracer writes to this process's stdout.
    ///
    /// # Errors
    /// The lab cannot be built, or tracer fails.
    pub fn show(&self, sandbox: &Sandbox, arguments: &[String]) -> Result<()> {
        self.build(sandbox)?;
        self.trace(&[self.alone(arguments, None)])?;
        Ok(())
    }

    fn build(&self, sandbox: &Sandbox) -> Result<()> {
        for namespace in &self.lab.namespaces {
            sandbox.add_namespace(namespace)?;
        }
        self.must("setup", &self.lab.setup)?;
        if self.variant == Variant::Faulty {
            self.must("fault", &self.lab.fault)?;
        }
        Ok(())
    }

    /// The one tracer of a lab without nodes.
    fn alone<'s>(&'s self, arguments: &'s [String], report: Option<&'s Path>) -> Start<'s> {
        Start {
            program: self.tracer,
            arguments,
            report,
            recording: self.recording,
        }
    }

    /// One tracer for each node, restricted to its namespaces; what they recorded is merged into the report.
    fn trace_nodes(&self, report: &Path) -> Result<(String, String)> {
        struct Kept<'a> {
            name: &'a str,
            arguments: Vec<String>,
            report: PathBuf,
            recording: PathBuf,
        }
        let kept = self.lab.node.iter().map(|node| {
            let own = node.namespaces.iter();
            let narrowed = own.flat_map(|name| ["--netns".to_owned(), name.clone()]);
            let trace = node.trace.as_ref().unwrap_or(&self.lab.trace);
            Kept {
                name: &node.name,
                arguments: narrowed.chain(trace.iter().cloned()).collect(),
                report: Path::new(SCRATCH).join(format!("{}.json", node.name)),
                recording: Path::new(SCRATCH).join(format!("{}.tracer", node.name)),
            }
        });
        let kept: Vec<Kept<'_>> = kept.collect();
        let starts: Vec<Start<'_>> = kept
            .iter()
            .map(|node| Start {
                program: self.tracer,
                arguments: &node.arguments,
                report: Some(&node.report),
                recording: Some(&node.recording),
            })
            .collect();
        let (mut stderr, traffic) = self.trace(&starts)?;
        let mut merge = Command::new(self.tracer);
        merge.args(["merge", "--json", "-o"]).arg(report);
        merge.args(
            kept.iter()
                .map(|node| format!("{}={}", node.name, node.recording.display())),
        );
        if let Some(recording) = self.recording {
            merge.arg("--record").arg(recording);
        }
        let merged = merge.output().context("cannot start the merge")?;
        stderr += &String::from_utf8_lossy(&merged.stderr);
        ensure!(
            merged.status.success(),
            "the merge ended with {}\n{stderr}",
            merged.status
        );
        Ok((stderr, traffic))
    }

    fn trace(&self, starts: &[Start<'_>]) -> Result<(String, String)> {
        let tracers = starts.iter().map(Running::start);
        let tracers = tracers.collect::<Result<Vec<_>>>()?;
        let traffic = script::run("traffic", &self.lab.traffic, Path::new(SCRATCH))?.output;
        // Answers, timers and retransmissions have no event that says there will be no more of them.
        std::thread::sleep(self.lab.settle.0);
        let ended = tracers.into_iter().map(Running::finish);
        let ended = ended.collect::<Result<Vec<_>>>()?;
        Ok((ended.join("\n"), traffic))
    }

    fn must(&self, what: &str, text: &str) -> Result<()> {
        let done = script::run(what, text, Path::new(SCRATCH))?;
        ensure!(
            done.status.success(),
            "{what} ended with {}\n{}",
            done.status,
            done.output.trim_end()
        );
        Ok(())
    }
}
