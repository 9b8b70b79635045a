//! What tracer itself costs while it traces, and what it gives up to stay below `--max-cpu`.
//!
//! The kernel counts the programs' times for a moment now and then: counting costs each program of the machine about as much
//! as a small one takes, and to begin and to end it the kernel patches its code, which interrupts all processors. The time of tracer's own threads is read from the process's clock. Beyond the limit fewer
//! events are sent; when the fewest still cost too much, tracepoints are given up, the dearest first; and when nothing is
//! left to give up, the trace ends. A tracepoint is not attached again: it would only be given up once more.

use std::collections::BTreeMap;
use std::io;
use std::time::{Duration, Instant};

use tracer_common::names::CLASSIFIERS;

use crate::host::facts::{Cost, ProgramCost, per_second};
use crate::host::machine;
use crate::kernel::{Kernel, Measured, Measurement, Runs};

/// Ticks between two measurements; with a limit.
const EVERY: u32 = 300;
const EVERY_LIMITED: u32 = 20;
/// The first one comes early, so that a short trace has one.
const FIRST: u32 = 5;
/// Events a second that are still sent when too much is used.
const LEAST_BUDGET: u32 = 200;
/// Drops are what a trace is made for; without classifiers there is no path.
const KEPT: &str = "kfree_skb";
/// So many measurements in a row are beyond the limit before something is given up for good: one may be of a moment in which
/// rules were read.
const PATIENCE: u32 = 2;

/// What to do about what is used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// Send so many events a second.
    Budget(u32),
    /// Give up this tracepoint.
    GiveUp(&'static str),
    /// End: nothing is left to give up.
    End,
}

/// What is used, and what of it may be.
pub(super) struct Meter {
    limit: Option<Limit>,
    ready: Reading,
    before: Reading,
    counting: Option<Measurement>,
    measured: Duration,
    programs: BTreeMap<&'static str, Runs>,
}

impl Meter {
    /// Begins; `max_cpu` is in nanoseconds of CPU time a second, `budget` in events a second.
    pub(super) fn start(max_cpu: Option<u64>, budget: u32) -> io::Result<Self> {
        let now = Reading::now()?;
        Ok(Self {
            limit: max_cpu.map(|most| Limit {
                most,
                budget,
                beyond: 0,
            }),
            ready: now,
            before: now,
            counting: None,
            measured: Duration::ZERO,
            programs: BTreeMap::new(),
        })
    }

    /// Counts from now on: what the start took is no part of the trace.
    pub(super) fn is_ready(&mut self) -> io::Result<()> {
        self.ready = Reading::now()?;
        self.before = self.ready;
        Ok(())
    }

    /// Measures when it is time to; `ticks` counts from when tracer was ready. Gives what to do about what was measured.
    pub(super) fn tick(&mut self, ticks: u32, kernel: &Kernel) -> io::Result<Option<Measure>> {
        if let Some(counting) = self.counting.take() {
            return self
                .measure(Some(kernel.measured(&counting)), kernel)
                .map(Some);
        }
        let every = self.limit.as_ref().map_or(EVERY, |_| EVERY_LIMITED);
        if ticks != FIRST && !ticks.is_multiple_of(every) {
            return Ok(None);
        }
        self.counting = kernel.measure();
        match self.counting {
            Some(_) => Ok(None),
            None => self.measure(None, kernel).map(Some),
        }
    }

    fn measure(&mut self, counted: Option<Measured>, kernel: &Kernel) -> io::Result<Measure> {
        let now = Reading::now()?;
        let threads = now.since(self.before);
        self.before = now;
        let programs = counted.as_ref().map_or(0, Measured::ns_per_s);
        let step = self.limit.as_mut().and_then(|limit| {
            let runs = counted.iter().flat_map(|counted| &counted.runs);
            let dearest = runs
                .filter(|(hook, _)| **hook != KEPT && !CLASSIFIERS.contains(*hook))
                .max_by_key(|(_, runs)| runs.ns)
                .map(|(hook, _)| *hook);
            limit.step(programs + threads.ns_per_s(), kernel.budget(), dearest)
        });
        if let Some(counted) = counted {
            self.measured += counted.window;
            for (hook, runs) in counted.runs {
                let sum = self.programs.entry(hook).or_default();
                sum.calls += runs.calls;
                sum.ns += runs.ns;
            }
        }
        let cost = Cost {
            exceeded: step == Some(Step::End),
            ..self.cost(now, kernel)?
        };
        Ok(Measure { cost, step })
    }

    /// What was used in all.
    pub(super) fn total(&self, kernel: &Kernel) -> io::Result<Cost> {
        self.cost(Reading::now()?, kernel)
    }

    fn cost(&self, now: Reading, kernel: &Kernel) -> io::Result<Cost> {
        let used = now.since(self.ready);
        Ok(Cost {
            over_ns: nanoseconds(used.time),
            threads_ns: nanoseconds(used.cpu),
            memory: machine::resident_memory()?,
            budget: kernel.budget(),
            measured_ns: nanoseconds(self.measured),
            programs: self
                .programs
                .iter()
                .map(|(hook, runs)| ProgramCost {
                    hook: (*hook).to_owned(),
                    calls: runs.calls,
                    ns: runs.ns,
                })
                .collect(),
            exceeded: false,
        })
    }
}

/// What one measurement found, and what it asks for.
pub(super) struct Measure {
    /// What was used in all so far.
    pub(super) cost: Cost,
    /// What to give up, or to take up again.
    pub(super) step: Option<Step>,
}

/// What may be used.
struct Limit {
    /// Nanoseconds of CPU time a second.
    most: u64,
    /// Events a second where no more is used.
    budget: u32,
    /// Measurements in a row that were beyond it.
    beyond: u32,
}

impl Limit {
    /// What to do when `used` nanoseconds a second are used, with `budget` events a second sent at most.
    fn step(&mut self, used: u64, budget: u32, dearest: Option<&'static str>) -> Option<Step> {
        if used <= self.most {
            self.beyond = 0;
            let more = budget.saturating_mul(2).min(self.budget);
            return (used < self.most / 2 && more > budget).then_some(Step::Budget(more));
        }
        let least = LEAST_BUDGET.min(self.budget);
        if budget > least {
            return Some(Step::Budget((budget / 2).max(least)));
        }
        self.beyond += 1;
        if self.beyond < PATIENCE {
            return None;
        }
        self.beyond = 0;
        Some(dearest.map_or(Step::End, Step::GiveUp))
    }
}

/// The process's clock beside the time.
#[derive(Clone, Copy)]
struct Reading {
    at: Instant,
    cpu: Duration,
}

/// What was used in a time.
#[derive(Clone, Copy)]
struct Used {
    time: Duration,
    cpu: Duration,
}

impl Reading {
    fn now() -> io::Result<Self> {
        Ok(Self {
            at: Instant::now(),
            cpu: machine::cpu_time()?,
        })
    }

    fn since(self, before: Self) -> Used {
        Used {
            time: self.at.saturating_duration_since(before.at),
            cpu: self.cpu.saturating_sub(before.cpu),
        }
    }
}

impl Used {
    fn ns_per_s(self) -> u64 {
        per_second(nanoseconds(self.cpu), nanoseconds(self.time))
    }
}

impl Measured {
    fn ns_per_s(&self) -> u64 {
        let ns = self.runs.values().map(|runs| runs.ns).sum();
        per_second(ns, nanoseconds(self.window))
    }
}

fn nanoseconds(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    const FULL: u32 = 1600;

    fn limit() -> Limit {
        Limit {
            most: 20_000_000,
            budget: FULL,
            beyond: 0,
        }
    }

    #[test]
    fn fewer_events_come_first_then_tracepoints_then_the_end() {
        let mut limit = limit();
        let mut budget = FULL;
        let mut steps = Vec::new();
        let mut dearest = Some("sk_data_ready");
        for _ in 0..8 {
            let step = limit.step(30_000_000, budget, dearest);
            match step {
                Some(Step::Budget(fewer)) => budget = fewer,
                Some(Step::GiveUp(_)) => dearest = None,
                Some(Step::End) | None => {}
            }
            steps.push(step);
        }
        let expected = [
            Some(Step::Budget(800)),
            Some(Step::Budget(400)),
            Some(Step::Budget(200)),
            None,
            Some(Step::GiveUp("sk_data_ready")),
            None,
            Some(Step::End),
            None,
        ];
        assert_eq!(steps, expected);
    }

    #[test]
    fn one_moment_beyond_the_limit_gives_up_nothing() {
        let mut limit = limit();
        for used in [30_000_000, 15_000_000].repeat(4) {
            assert_eq!(limit.step(used, LEAST_BUDGET, Some("consume_skb")), None);
        }
    }

    #[test]
    fn events_come_back_when_much_less_is_used() {
        let mut limit = limit();
        assert_eq!(limit.step(15_000_000, 400, None), None);
        assert_eq!(limit.step(9_000_000, 400, None), Some(Step::Budget(800)));
        assert_eq!(limit.step(9_000_000, FULL, None), None);
    }

    #[test]
    fn a_small_budget_is_never_raised() {
        let mut limit = Limit {
            budget: 50,
            ..limit()
        };
        assert_eq!(limit.step(30_000_000, 50, None), None);
        assert_eq!(limit.step(30_000_000, 50, None), Some(Step::End));
    }
}
