//! One run of one lab: network, fault, tracer, traffic, report, and the same traffic traced again where it is told
//! to. It takes this process into namespaces of its own, so a run has a process of its own; [`crate::stage`] starts
//! those and [`crate::suite`] judges what they find.

use std::io::Write;
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

/// What a network is like when its traffic is traced.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// Built, and not broken.
    Healthy,
    /// Broken.
    Faulty,
    /// The change that the faulty report advises has been typed in.
    Fixed,
    /// So has its undo.
    Undone,
}

impl Phase {
    /// Those in which a run traces again, by order.
    const AGAIN: [Self; 2] = [Self::Fixed, Self::Undone];

    /// Its name in output, in orders and in names of files.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Healthy => "healthy",
            Self::Faulty => "faulty",
            Self::Fixed => "fixed",
            Self::Undone => "undone",
        }
    }
}

impl From<Variant> for Phase {
    fn from(variant: Variant) -> Self {
        match variant {
            Variant::Healthy => Self::Healthy,
            Variant::Faulty => Self::Faulty,
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
    /// The directory for recordings, which are called `LAB.PHASE.tracer`.
    pub recordings: Option<&'a Path>,
    /// How many times longer than usual everything may take, and is waited after the traffic.
    pub slowness: u32,
}

/// What one trace found.
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
    /// Builds the lab, traces its traffic, and then again for each order of the sandbox's starter. Writes what each
    /// trace found as one line of JSON.
    ///
    /// # Errors
    /// The lab cannot be built, tracer fails, or an order names no phase.
    pub fn serve(&self, sandbox: &Sandbox, out: &mut impl Write) -> Result<()> {
        self.build(sandbox)?;
        tell(&self.found(self.variant.into())?, out)?;
        while let Some(order) = sandbox.order() {
            let phase = Phase::AGAIN
                .into_iter()
                .find(|phase| phase.name() == order)
                .with_context(|| format!("`{order}` is no phase"))?;
            let before = self.lab.fix.as_ref().and_then(|fix| fix.before.as_deref());
            self.must("before", before.unwrap_or_default())?;
            tell(&self.found(phase)?, out)?;
        }
        Ok(())
    }

    /// Traces the traffic and reads the report.
    fn found(&self, phase: Phase) -> Result<Found> {
        let recording = self.recordings.map(|directory| {
            let name = format!("{}.{}.tracer", self.lab.name, phase.name());
            directory.join(name)
        });
        let shot = Shot {
            report: &Path::new(SCRATCH).join(format!("{}.json", phase.name())),
            recording: recording.as_deref(),
            phase,
        };
        let (stderr, traffic) = if self.lab.node.is_empty() {
            let start = Start {
                program: self.tracer,
                arguments: &self.lab.trace,
                report: Some(shot.report),
                recording: shot.recording,
                slowness: self.slowness,
                through: None,
            };
            self.trace(&start, phase)?
        } else {
            self.trace_nodes(&shot)?
        };
        let text = std::fs::read(shot.report).with_context(|| {
            format!(
                "tracer left no report at {}\n{stderr}",
                shot.report.display()
            )
        })?;
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
        let start = Start {
            program: self.tracer,
            arguments,
            report: None,
            recording: None,
            slowness: self.slowness,
            through: None,
        };
        self.trace(&start, self.variant.into())?;
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

    /// A tracer on each node, restricted to its namespaces, and one that shows them as one trace. What they sent is
    /// merged once more into the report, which must be the one that came while it happened.
    fn trace_nodes(&self, shot: &Shot<'_>) -> Result<(String, String)> {
        let phase = shot.phase.name();
        let (kept, live) = (
            Path::new(SCRATCH).join(format!("{phase}.nodes")),
            Path::new(SCRATCH).join(format!("{phase}.live.json")),
        );
        let mut arguments = vec!["cluster".to_owned()];
        arguments.extend(["--tracer".to_owned(), self.tracer.display().to_string()]);
        arguments.extend(["--keep".to_owned(), kept.display().to_string()]);
        for node in &self.lab.node {
            arguments.extend(["--node".to_owned(), self.command(node)?]);
        }
        arguments.extend(self.lab.trace.iter().cloned());
        let start = Start {
            program: self.tracer,
            arguments: &arguments,
            report: Some(&live),
            recording: None,
            slowness: self.slowness,
            through: None,
        };
        let (mut stderr, traffic) = self.trace(&start, shot.phase)?;
        let mut merge = Command::new(self.tracer);
        merge.args(["merge", "--json", "-o"]).arg(shot.report);
        merge.args(self.lab.node.iter().map(|node| {
            let recording = kept.join(&node.name).with_added_extension("tracer");
            format!("{}={}", node.name, recording.display())
        }));
        if let Some(recording) = shot.recording {
            merge.arg("--record").arg(recording);
        }
        let merged = merge.output().context("cannot start the merge")?;
        stderr += &String::from_utf8_lossy(&merged.stderr);
        ensure!(
            merged.status.success(),
            "the merge ended with {}\n{stderr}",
            merged.status
        );
        let [live, merged] = [live.as_path(), shot.report].map(std::fs::read);
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

    fn trace(&self, start: &Start<'_>, phase: Phase) -> Result<(String, String)> {
        let own = self.lab.fix.as_ref().and_then(|fix| fix.traffic.as_ref());
        let again = own.filter(|_| Phase::AGAIN.contains(&phase));
        let script = again.unwrap_or(&self.lab.traffic);
        let tracer = Running::start(start)?;
        let traffic = script::run("traffic", script, Path::new(SCRATCH), self.slowness)?.output;
        // Answers, timers and retransmissions have no event that says there will be no more of them.
        std::thread::sleep(self.lab.settle.0 * self.slowness);
        Ok((tracer.finish()?, traffic))
    }

    fn must(&self, what: &str, text: &str) -> Result<()> {
        let done = script::run(what, text, Path::new(SCRATCH), self.slowness)?;
        ensure!(
            done.status.success(),
            "{what} ended with {}\n{}",
            done.status,
            done.output.trim_end()
        );
        Ok(())
    }
}

/// Where one trace leaves what it found.
struct Shot<'a> {
    report: &'a Path,
    recording: Option<&'a Path>,
    phase: Phase,
}

fn tell(found: &Found, out: &mut impl Write) -> Result<()> {
    let mut line = serde_json::to_vec(found)?;
    line.push(b'\n');
    out.write_all(&line)?;
    Ok(out.flush()?)
}
