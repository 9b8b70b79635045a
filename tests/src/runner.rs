//! One run of one lab: network, fault, tracer, traffic, report. It takes this process into namespaces of its own,
//! so a run has a process of its own; [`crate::suite`] starts those and judges what they find.

use std::path::Path;

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
        let (stderr, traffic) = self.trace(&self.lab.trace, Some(&report))?;
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
        self.trace(arguments, None)?;
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

    fn trace(&self, arguments: &[String], report: Option<&Path>) -> Result<(String, String)> {
        let tracer = Running::start(&Start {
            program: self.tracer,
            arguments,
            report,
            recording: self.recording,
        })?;
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
