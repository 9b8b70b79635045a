//! How much memory tracer takes when much happens.

use std::net::Ipv4Addr;
use std::time::Duration;

use anyhow::Result;

use super::figure::{Figure, MEGABYTES, Question, Target, number};
use super::network::{Chain, MANY};
use super::process::Process;
use super::task::{FLOOD, Task, count, report};
use super::udp::{BATCH, Flood, Sink};

const ROUNDS: usize = 3;
const FLOWS: u32 = 50_000;
const REPORT: &str = "/run/memory.json";
/// As fast as it goes.
const FULL: Flood = Flood {
    packets: 1_000_000,
    time: Duration::from_secs(30),
    batch: BATCH,
    pause: Duration::ZERO,
};
const QUESTION: Question = Question {
    what: "most memory, 1,000,000 packets of 50,000 flows",
    method: "resident set (wait4) of a run with `--json` and the default budget, report written",
    unit: MEGABYTES,
    target: Target::AtMost(60.0),
    headline: true,
};

/// Resident memory.
pub(super) fn run(task: &Task) -> Result<Vec<Figure>> {
    let _chain = Chain::new()?;
    let _sink = Sink::reading()?;
    let first = u32::from(MANY);
    let addresses: Vec<_> = (1..=FLOWS).map(|n| Ipv4Addr::from(first + n)).collect();
    let (mut values, mut details) = (Vec::new(), Vec::new());
    for round in 0..ROUNDS {
        task.round(round, ROUNDS, &format!("{} packets", FULL.packets));
        let tracer = Process::tracer(task.tracer, ["--json", "-o", REPORT, FLOOD])?;
        let sent = FULL.to(&addresses)?;
        let used = tracer.stop()?;
        values.push(used.peak_kib as f64 * 1024.0 / 1e6);
        let report = report(REPORT)?;
        let trace = |name| count(&report, &format!("/trace/{name}")).map(|n| number(n as f64, 0));
        details.push(format!(
            "{} packets sent in {:.1} s; {} flows seen, {} more counted; {} events taken in; end after {:.2} s",
            number(sent.packets as f64, 0),
            sent.time.as_secs_f64(),
            trace("flows_seen")?,
            trace("flows_counted")?,
            trace("events")?,
            used.took.as_secs_f64(),
        ));
    }
    Ok(vec![QUESTION.answer(values, details)])
}
