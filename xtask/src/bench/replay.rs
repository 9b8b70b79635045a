//! How fast recordings are read: of one node, and of two as one path.

use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::Result;

use super::figure::{EVENTS, Figure, Question, Target, number};
use super::network::Chain;
use super::process::Process;
use super::task::{FLOOD, Task, count, report};
use super::udp::{BATCH, Flood, Sink};

const ROUNDS: usize = 5;
/// Fast, but not so that tracer would lose most events.
const PACED: Flood = Flood {
    packets: 200_000,
    time: Duration::from_secs(20),
    batch: BATCH,
    pause: Duration::from_millis(1),
};
/// More events a second than come.
const BUDGET: &str = "10000000";
const NODE: [&str; 1] = ["/run/node.tracer"];
const NODES: [&str; 2] = ["/run/one.tracer", "/run/other.tracer"];
const OUTPUT: &str = "/run/replay.out";
const JSON: Question = Question {
    what: "replay to JSON",
    method: "events in a recorded flood of 200,000 packets / user time of the process",
    unit: EVENTS,
    target: Target::None,
    headline: false,
};
const NDJSON: Question = Question {
    what: "replay to ndjson",
    method: "the same",
    unit: EVENTS,
    target: Target::None,
    headline: false,
};
const MERGE: Question = Question {
    what: "merge of two nodes to JSON",
    method: "the same flood, recorded at the same time by a tracer for sender and router and one for the receiver",
    unit: EVENTS,
    target: Target::None,
    headline: false,
};

/// Events a second.
pub(super) fn run(task: &Task) -> Result<Vec<Figure>> {
    let chain = Chain::new()?;
    let sink = Sink::reading()?;
    task.say("recording a flood");
    record(task, &NODE, &[&[]])?;
    task.say("recording a flood with two tracers");
    record(
        task,
        &NODES,
        &[
            &["--netns", "sender", "--netns", "router"],
            &["--netns", "receiver"],
        ],
    )?;
    drop((sink, chain));
    let one = NODE.map(str::to_owned);
    let merged = [format!("one={}", NODES[0]), format!("other={}", NODES[1])];
    Ok(vec![
        measure(task, JSON, "replay", &one, "json")?,
        measure(task, NDJSON, "replay", &one, "ndjson")?,
        measure(task, MERGE, "merge", &merged, "json")?,
    ])
}

/// Records a flood, with a tracer for each file.
fn record(task: &Task, files: &[&str], limits: &[&[&str]]) -> Result<()> {
    let mut tracers = Vec::new();
    for (file, limit) in files.iter().zip(limits) {
        let base = ["--json", "-o", "/dev/null", "--budget", BUDGET, "--record"];
        let arguments = base.iter().chain([file]).chain(*limit).chain(&[FLOOD]);
        tracers.push(Process::tracer(task.tracer, arguments)?);
    }
    PACED.to_receiver()?;
    for tracer in tracers {
        tracer.stop()?;
    }
    Ok(())
}

fn measure(
    task: &Task,
    question: Question,
    verb: &str,
    files: &[String],
    format: &str,
) -> Result<Figure> {
    let run = |format: &str| -> Result<Duration> {
        let mut command = Command::new(task.tracer);
        command.arg(verb).args(files);
        command.args(["--output", format, "-o", OUTPUT]);
        let process = Process::run(command.stdout(Stdio::null()))?;
        Ok(process.wait()?.user)
    };
    run("json")?;
    let events = count(&report(OUTPUT)?, "/trace/events")?;
    let mut values = Vec::new();
    for round in 0..ROUNDS {
        task.round(round, ROUNDS, question.what);
        values.push(events as f64 / run(format)?.as_secs_f64());
    }
    let bytes: u64 = files
        .iter()
        .map(|file| file.rsplit('=').next().unwrap_or(file))
        .filter_map(|file| Path::new(file).metadata().ok())
        .map(|file| file.len())
        .sum();
    let details = format!(
        "{} events in {:.1} MB",
        number(events as f64, 0),
        bytes as f64 / 1e6
    );
    Ok(question.answer(values, vec![details]))
}
