//! Whether tracer's numbers add up in a flood of which most packets are far beyond the budget, and most are dropped at
//! the end.

use std::fs::File;
use std::io::{BufRead, BufReader};
use std::time::Duration;

use anyhow::{Context, Result};
use serde_json::Value;

use super::figure::{Figure, Question, SHARE, Target, number};
use super::network::Chain;
use super::process::Process;
use super::task::{FLOOD, Task, count};
use super::udp::{BATCH, Flood, receiver, waiting};

const ROUNDS: usize = 3;
const LINES: &str = "/run/counted.ndjson";
/// As fast as it goes.
const FULL: Flood = Flood {
    packets: 500_000,
    time: Duration::from_secs(20),
    batch: BATCH,
    pause: Duration::ZERO,
};
const HOPS: Question = Question {
    what: "counted / sent, at each of four hops of a flood at full rate",
    method: "`packets` of the hops in the report of 500,000 packets that nobody reads; default budget",
    unit: SHARE,
    target: Target::Exactly(1.0),
    headline: true,
};
const DROPS: Question = Question {
    what: "(told as lost + received) / sent in that flood",
    method: "`losses` in the report, and what was in the socket's buffer in the end",
    unit: SHARE,
    target: Target::Exactly(1.0),
    headline: false,
};
const EVENTS: Question = Question {
    what: "(events delivered + thinned + lost) / (packets sent × 4) in that flood",
    method: "lines of `--output ndjson` from tc, and `by_hook` in the report: one event for each packet and hop",
    unit: SHARE,
    target: Target::Exactly(1.0),
    headline: false,
};

/// What a round found.
struct Round {
    hops: Vec<f64>,
    drops: f64,
    events: f64,
    detail: String,
}

/// Packets at hops, drops, events.
pub(super) fn run(task: &Task) -> Result<Vec<Figure>> {
    let mut rounds = Vec::new();
    for round in 0..ROUNDS {
        task.round(round, ROUNDS, &format!("{} packets", FULL.packets));
        rounds.push(flood(task)?);
    }
    let hops = rounds.iter().flat_map(|round| round.hops.clone()).collect();
    let drops = rounds.iter().map(|round| round.drops).collect();
    let events = rounds.iter().map(|round| round.events).collect();
    let details = rounds.into_iter().map(|round| round.detail).collect();
    Ok(vec![
        HOPS.answer(hops, Vec::new()),
        DROPS.answer(drops, Vec::new()),
        EVENTS.answer(events, details),
    ])
}

fn flood(task: &Task) -> Result<Round> {
    let _chain = Chain::new()?;
    let socket = receiver()?;
    let arguments = ["--output", "ndjson", "-o", LINES, FLOOD];
    let tracer = Process::tracer(task.tracer, arguments)?;
    let sent = FULL.to_receiver()?;
    tracer.stop()?;
    let received = waiting(&socket)?;
    let (delivered, report) = read()?;
    let flow = report.pointer("/flows/0").context("no flow was seen")?;
    let numbers = |list: &str| -> Vec<u64> {
        let list = flow.pointer(list).and_then(Value::as_array);
        let packets = list.into_iter().flatten();
        packets
            .filter_map(|of| of.get("packets")?.as_u64())
            .collect()
    };
    let lost: u64 = numbers("/losses").iter().sum();
    let by_hook = report.pointer("/trace/completeness/by_hook");
    let hooks = by_hook.and_then(Value::as_array).context("no by_hook")?;
    let tc = |name| -> u64 {
        let hooks = hooks.iter().filter(|hook| of_tc(hook));
        hooks.filter_map(|hook| hook.get(name)?.as_u64()).sum()
    };
    let (packets, thinned, gone) = (sent.packets as f64, tc("thinned"), tc("lost"));
    Ok(Round {
        hops: numbers("/paths/0/hops")
            .into_iter()
            .map(|of| of as f64 / packets)
            .collect(),
        drops: (lost + received) as f64 / packets,
        events: (delivered + thinned + gone) as f64 / (packets * 4.0),
        detail: format!(
            "{} packets sent in {:.2} s, {} told as lost, {} received; events of tc: {} delivered, {} thinned, {} lost; missed: {}",
            number(packets, 0),
            sent.time.as_secs_f64(),
            number(lost as f64, 0),
            received,
            number(delivered as f64, 0),
            number(thinned as f64, 0),
            number(gone as f64, 0),
            count(&report, "/trace/completeness/missed_events")?,
        ),
    })
}

/// Events of tc that were delivered, and the report.
fn read() -> Result<(u64, Value)> {
    let (mut delivered, mut last) = (0, Value::Null);
    for line in BufReader::new(File::open(LINES)?).lines() {
        last = serde_json::from_str(&line?)?;
        delivered += u64::from(of_tc(&last));
    }
    Ok((delivered, last))
}

fn of_tc(value: &Value) -> bool {
    let hook = value.get("hook").and_then(Value::as_str);
    matches!(hook, Some("tc-ingress" | "tc-egress"))
}
