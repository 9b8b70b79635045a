//! What tracer's programs take of a packet's time, by the kernel's own statistics.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::Result;
use aya::sys::{Stats, enable_stats};

use super::bpf::{Empty, Statistics, names, of_process};
use super::figure::{Figure, NANOSECONDS, Question, Target, median};
use super::network::Chain;
use super::process::Process;
use super::task::{FLOOD, NOTHING, Task};
use super::udp::{BATCH, Flood, Sink};

const ROUNDS: usize = 7;
/// Fast enough to be soon done, slow enough that the receiver reads each packet.
const PACED: Flood = Flood {
    packets: 20_000,
    time: Duration::from_secs(10),
    batch: BATCH,
    pause: Duration::from_millis(1),
};
/// As fast as it goes.
const FULL: Flood = Flood {
    packets: 100_000,
    time: Duration::from_secs(10),
    batch: BATCH,
    pause: Duration::ZERO,
};
const UNINVOLVED: Question = Question {
    what: "all programs, a forwarded packet that is not asked for",
    method: "kernel statistics (run_time_ns) over 20,000 UDP packets of 64 bytes through a router, less what empty programs at the same places take; tracer asks `tcp port 4242`",
    unit: NANOSECONDS,
    target: Target::AtMost(200.0),
    headline: true,
};
const CLAUSES: Question = Question {
    what: "the same, expression of 16 clauses",
    method: "the same; 16 pairs of address and port",
    unit: NANOSECONDS,
    target: Target::AtMost(220.0),
    headline: false,
};
const BEYOND: Question = Question {
    what: "all programs, a packet that matches, beyond the budget",
    method: "the same over 100,000 packets at full rate; tracer asks for them with `--budget 100`",
    unit: NANOSECONDS,
    target: Target::AtMost(1500.0),
    headline: false,
};

/// A packet that is not asked for.
pub(super) fn uninvolved(task: &Task) -> Result<Vec<Figure>> {
    measure(task, UNINVOLVED, &[NOTHING], PACED)
}

/// The same with as many clauses as there can be.
pub(super) fn clauses(task: &Task) -> Result<Vec<Figure>> {
    let clauses = (1..=16).map(|n| format!("(tcp and dst host 192.0.2.{n} and dst port {n}42)"));
    let expression = clauses.collect::<Vec<_>>().join(" or ");
    measure(task, CLAUSES, &[&expression], PACED)
}

/// A packet that is asked for, of which no event is sent.
pub(super) fn beyond(task: &Task) -> Result<Vec<Figure>> {
    measure(task, BEYOND, &["--budget", "100", FLOOD], FULL)
}

fn measure(
    task: &Task,
    question: Question,
    arguments: &[&str],
    flood: Flood,
) -> Result<Vec<Figure>> {
    task.say("making a network, starting tracer");
    let chain = Chain::new()?;
    let sink = Sink::reading()?;
    let empty = Empty::attach()?;
    let output = ["--json", "-o", "/dev/null"];
    let tracer = Process::tracer(task.tracer, arguments.iter().chain(&output))?;
    // Counts while it is open.
    let counting = enable_stats(Stats::RunTime)?;
    let mut rounds = Vec::new();
    let mut sent = 0;
    for round in 0..ROUNDS {
        task.round(round, ROUNDS, &format!("{} packets", flood.packets));
        let before = Reading::take(&tracer, &empty)?;
        let packets = flood.to_receiver()?.packets;
        sent += packets;
        sink.read(sent);
        rounds.push(Reading::take(&tracer, &empty)?.since(&before, packets));
    }
    drop(counting);
    let details = details(&rounds, &names());
    tracer.stop()?;
    drop(chain);
    let values = rounds.iter().map(Round::total).collect();
    Ok(vec![question.answer(values, details)])
}

/// Statistics at one moment.
struct Reading {
    programs: BTreeMap<u32, Statistics>,
    empty: [Statistics; 2],
}

impl Reading {
    fn take(tracer: &Process, empty: &Empty) -> Result<Self> {
        Ok(Self {
            programs: of_process(tracer.id())?,
            empty: empty.statistics()?,
        })
    }

    /// What a packet took since then.
    fn since(&self, before: &Self, packets: u64) -> Round {
        let each: Vec<_> = self
            .empty
            .iter()
            .zip(before.empty)
            .map(|(now, then)| now.since(then).each())
            .collect();
        // Of classifiers there are none without tcx: a call's statistics cost the same anywhere.
        let of = |kind: usize| each.get(kind).copied().flatten();
        let tracepoint = of(1).or(of(0)).unwrap_or_default();
        let classifier = of(0).unwrap_or(tracepoint);
        let programs = self.programs.iter().map(|(id, now)| {
            let program = now.since(before.programs.get(id).copied().unwrap_or_default());
            let empty = if program.classifier {
                classifier
            } else {
                tracepoint
            };
            let calls = program.calls as f64;
            let net = program.nanoseconds as f64 - calls * empty;
            let packets = packets as f64;
            (*id, (net / packets, calls / packets))
        });
        Round {
            programs: programs.collect(),
            empty: [classifier, tracepoint],
        }
    }
}

/// A round's result.
struct Round {
    /// Nanoseconds and calls of a packet, by program.
    programs: BTreeMap<u32, (f64, f64)>,
    /// Nanoseconds of an empty classifier, and of an empty program at a tracepoint.
    empty: [f64; 2],
}

impl Round {
    fn total(&self) -> f64 {
        self.programs.values().map(|(time, _)| time).sum()
    }
}

/// Each program that was called, the dearest first: medians of all rounds.
fn details(rounds: &[Round], names: &BTreeMap<u32, String>) -> Vec<String> {
    let middle = |of: &dyn Fn(&Round) -> f64| median(&rounds.iter().map(of).collect::<Vec<_>>());
    let ids = rounds
        .last()
        .into_iter()
        .flat_map(|round| round.programs.keys());
    let mut programs: Vec<_> = ids
        .map(|id| {
            let of = |round: &Round| round.programs.get(id).copied().unwrap_or_default();
            let (time, calls) = (middle(&|round| of(round).0), middle(&|round| of(round).1));
            (time, calls, names.get(id).map_or("?", String::as_str))
        })
        .filter(|(_, calls, _)| *calls >= 0.005)
        .collect();
    programs.sort_by(|one, other| other.0.total_cmp(&one.0));
    let [classifier, tracepoint] =
        [0, 1].map(|kind| middle(&|round| round.empty.get(kind).copied().unwrap_or(f64::NAN)));
    let calls: f64 = programs.iter().map(|(_, calls, _)| calls).sum();
    let mut lines = vec![format!(
        "{calls:.1} calls; an empty program takes {classifier:.0} ns as classifier, {tracepoint:.0} ns at a tracepoint, nearly all of it the statistics' own"
    )];
    lines.extend(
        programs
            .iter()
            .map(|(time, calls, name)| format!("`{name}`: {time:.1} ns, {calls:.2} calls")),
    );
    lines
}
