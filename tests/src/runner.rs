//! One run of one lab: network, fault, tracer, traffic, report. It takes this process into namespaces of its own,
//! so a run has a process of its own; [`crate::suite`] starts those and judges what they find.

use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, ensure};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::lab::{Lab, Node};
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
            self.trace(&self.start(&self.lab.trace, Some(&report)))?
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
        self.trace(&self.start(arguments, None))?;
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

    fn start<'s>(&'s self, arguments: &'s [String], report: Option<&'s Path>) -> Start<'s> {
        Start {
            program: self.tracer,
            arguments,
            report,
            recording: self.recording.filter(|_| self.lab.node.is_empty()),
        }
    }

    /// A tracer on each node, restricted to its namespaces, and one that shows them as one trace. What they sent is
    /// merged once more into the report, which must be the one that came while it happened.
    fn trace_nodes(&self, report: &Path) -> Result<(String, String)> {
        let (kept, live) = (
            Path::new(SCRATCH).join("nodes"),
            Path::new(SCRATCH).join("live.json"),
        );
        let mut arguments = vec!["cluster".to_owned()];
        arguments.extend(["--tracer".to_owned(), self.tracer.display().to_string()]);
        arguments.extend(["--keep".to_owned(), kept.display().to_string()]);
        for node in &self.lab.node {
            arguments.extend(["--node".to_owned(), self.command(node)?]);
        }
        arguments.extend(self.lab.trace.iter().cloned());
        let (mut stderr, traffic) = self.trace(&self.start(&arguments, Some(&live)))?;
        let mut merge = Command::new(self.tracer);
        merge.args(["merge", "--json", "-o"]).arg(report);
        merge.args(self.lab.node.iter().map(|node| {
            let recording = kept.join(&node.name).with_added_extension("tracer");
            format!("{}={}", node.name, recording.display())
        }));
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
        let [live, merged] = [live.as_path(), report].map(std::fs::read);
        ensure!(
            live? == merged?,
            "the merge differs from what was shown while it happened\n{stderr}"
        );
        Ok((stderr, traffic))
    }

    /// `NAME=COMMAND` for a node: what `cluster` calls, narrowed to the node's namespaces.
    fn command(&self, node: &Node) -> Result<String> {
        let own = node.namespaces.iter();
        let narrowed: Vec<&str> = own.flat_map(|name| ["--netns", name]).collect();
        let narrowed = shlex::try_join(narrowed)?;
        let script = match &node.trace {
            None => format!("exec \"$@\" {narrowed}"),
            Some(trace) => {
                let tracer = self.tracer.display().to_string();
                let words = [tracer.as_str(), "--record", "-", "--until-eof"];
                let words = words.into_iter().chain(
                    // the report is made where they come together
                    trace
                        .iter()
                        .map(String::as_str)
                        .filter(|word| *word != "--json"),
                );
                format!("exec {} {narrowed}", shlex::try_join(words)?)
            }
        };
        let command = shlex::try_join(["sh", "-c", &script, "sh"])?;
        Ok(format!("{}={command}", node.name))
    }

    fn trace(&self, start: &Start<'_>) -> Result<(String, String)> {
        let tracer = Running::start(start)?;
        let traffic = script::run("traffic", &self.lab.traffic, Path::new(SCRATCH))?.output;
        // Answers, timers and retransmissions have no event that says there will be no more of them.
        std::thread::sleep(self.lab.settle.0);
        Ok((tracer.finish()?, traffic))
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
