//! How soon the verdict is there once packets are dropped.

use std::io::{BufRead, BufReader};
use std::process::{ChildStdout, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow};
use serde_json::Value;

use super::figure::{Figure, Question, SECONDS, Target};
use super::network::{Chain, REFUSED};
use super::process::Process;
use super::task::{FLOOD, Task};
use super::udp::Flood;

const ROUNDS: usize = 7;
/// A packet every 10 ms, until long after the verdict.
const DRIPPING: Flood = Flood {
    packets: 100,
    time: Duration::from_secs(2),
    batch: 1,
    pause: Duration::from_millis(10),
};
const QUESTION: Question = Question {
    what: "verdict after the first dropped packet",
    method: "from the send of a packet that the router has no route for (one every 10 ms follows) to the report of `--until-verdict --output ndjson`",
    unit: SECONDS,
    target: Target::AtMost(0.2),
    headline: true,
};

/// From drop to verdict.
pub(super) fn run(task: &Task) -> Result<Vec<Figure>> {
    let _chain = Chain::new()?;
    let (mut values, mut causes) = (Vec::new(), Vec::new());
    for round in 0..ROUNDS {
        task.round(round, ROUNDS, "a drop");
        let (time, cause) = verdict(task)?;
        values.push(time.as_secs_f64());
        causes.push(cause);
    }
    causes.dedup();
    let details = vec![format!("verdict: {}", causes.join(", "))];
    Ok(vec![QUESTION.answer(values, details)])
}

fn verdict(task: &Task) -> Result<(Duration, String)> {
    let mut command = Command::new(task.tracer);
    command
        .args(["--until-verdict", "--output", "ndjson", FLOOD])
        .stdout(Stdio::piped());
    let mut tracer = Process::start(&mut command, "tracer: ready")?;
    let stdout = tracer.stdout()?;
    // Moved in: when something fails tracer is killed, and the reader ends.
    thread::scope(move |scope| {
        let reader = scope.spawn(move || until_report(stdout));
        let start = Instant::now();
        DRIPPING.to(&[REFUSED])?;
        // It has ended by itself, or has come to no verdict and never will.
        tracer.stop()?;
        let (at, report) = reader
            .join()
            .map_err(|_| anyhow!("the reader panicked"))??;
        let cause = report.pointer("/flows/0/verdict/cause");
        let cause = cause.and_then(Value::as_str).context("no verdict")?;
        Ok((at - start, cause.to_owned()))
    })
}

/// Reads lines until the report; gives when it came.
fn until_report(stdout: ChildStdout) -> Result<(Instant, Value)> {
    let lines = BufReader::new(stdout).lines().map_while(Result::ok);
    let mut reports = lines.filter(|line| line.starts_with(r#"{"type":"report""#));
    let line = reports.next().context("tracer wrote no report")?;
    Ok((Instant::now(), serde_json::from_str(&line)?))
}
