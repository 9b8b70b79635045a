//! The fold of one trace: inputs in, report out. Live runs and replays use the same one, so they say the same.
//!
//! It owns host facts and correlator, and does no I/O; where inputs come from and where the report goes is `app`'s.

pub mod step;

use std::collections::HashSet;

use crate::config::Glob;
use crate::correlate::{Correlator, Settings, Sighting, Trace};
use crate::decode;
use crate::diagnose::{self, Diagnosis};
use crate::host::Host;
use crate::host::facts::{Fact, Question};
use crate::model::{
    Counted, Counters, Detail, Event, JourneyId, KtimeNs, Losses, NetNs, Tuple, TupleRole,
};
use crate::report::{self, Report};
use crate::source::{EndReason, Input};
use crate::verdict::Considered;

/// An event that became part of the trace.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Seen {
    /// The packet that it belongs to, where that is known by now.
    pub journey: Option<JourneyId>,
}

/// Nanoseconds between two ticks that are heeded. A trace ticks ten times a second; a machine that catches up, the nodes of a
/// cluster together, and a recording that was made to take long tick more often. Each tick looks through all packets that are
/// under way.
const LEAST_BETWEEN_TICKS_NS: u64 = 20_000_000;

/// One trace as far as its inputs have come.
#[derive(Clone)]
pub struct Session {
    host: Host,
    correlator: Correlator,
    settings: Settings,
    /// The kernel's counters as last read, and as they were when counting began again.
    counted: Counted,
    counted_before: Counted,
    /// `--interface`; empty: all.
    only_interfaces: Vec<Glob>,
    asked: HashSet<Question>,
    asked_of_checks: HashSet<Question>,
    learned: HashSet<Tuple>,
    expected: HashSet<String>,
    /// The last tick that was heeded.
    ticked: Option<KtimeNs>,
    ended: Option<EndReason>,
}

impl Default for Session {
    fn default() -> Self {
        Self::new(Settings::default())
    }
}

impl Session {
    /// A trace without inputs yet.
    #[must_use]
    pub fn new(settings: Settings) -> Self {
        Self {
            host: Host::default(),
            correlator: Correlator::new(settings.clone()),
            settings,
            counted: Counted::default(),
            counted_before: Counted::default(),
            only_interfaces: Vec::new(),
            asked: HashSet::new(),
            asked_of_checks: HashSet::new(),
            learned: HashSet::new(),
            expected: HashSet::new(),
            ticked: None,
            ended: None,
        }
    }

    /// Takes one input in. Of an event that is part of the trace, says to which packet it belongs.
    pub fn input(&mut self, input: &Input) -> Option<Seen> {
        match input {
            Input::Host(at, fact) => {
                if let Fact::Run(run) = fact {
                    let globs = run.only_interfaces.iter();
                    self.only_interfaces = globs.filter_map(|glob| Glob::new(glob).ok()).collect();
                }
                self.host.apply(*at, fact.clone());
            }
            Input::Record(record) => match decode::decode(record, &self.host) {
                Ok(event) if self.looks_at(&event) => {
                    let journey = self.correlator.event(event, &self.host);
                    return Some(Seen { journey });
                }
                Ok(_) => {}
                Err(_) => self.correlator.decode_error(),
            },
            Input::Counters(at, counters) if self.is_before(*at, counters) => {
                self.counted.update(counters);
                self.counted_before.update(counters);
            }
            Input::Counters(at, counters) => {
                self.counted.update(counters);
                let losses = self.counted.losses_since(&self.counted_before);
                let rows = self.counted.rows_since(&self.counted_before);
                self.correlator.counters(*at, rows, losses);
            }
            Input::Tick(at) => self.tick(*at),
            Input::End(at, reason) => {
                self.correlator.finish(*at, &self.host);
                self.ended = Some(*reason);
            }
        }
        None
    }

    /// Whether these were counted before the trace began: that of a recording which begins in the middle of what was traced.
    fn is_before(&self, at: KtimeNs, counters: &Counters) -> bool {
        let netns = counters.hops.first().map(|(key, _)| NetNs(key.netns));
        let node = netns.and_then(|netns| self.host.home(netns));
        let began =
            node.map(|node| node.from)
                .or(self.host.run.as_ref().map(|run| run.started_ktime));
        began.is_some_and(|began| at <= began)
    }

    /// Judges what is under way, unless that was done just now.
    fn tick(&mut self, at: KtimeNs) {
        let soon = |before: KtimeNs| at.since(before) < LEAST_BETWEEN_TICKS_NS;
        if self.ticked.is_some_and(soon) {
            self.correlator.reach(at);
        } else {
            self.ticked = Some(at);
            self.correlator.tick(at, &self.host);
        }
    }

    /// Whether the event is of an interface that was asked for. Tracepoints see all of them, tc only those. A drop is
    /// told wherever it happens: it is what the trace is made for.
    fn looks_at(&self, event: &Event) -> bool {
        let Some(device) = event.device.filter(|_| !self.only_interfaces.is_empty()) else {
            return true;
        };
        let name = self.host.interface(device);
        matches!(event.detail, Detail::Drop(_))
            || self.only_interfaces.iter().any(|glob| glob.matches(&name))
    }

    /// What was seen by the input that was just taken in; `seen` is what [`Session::input`] said of it.
    #[must_use]
    pub fn sighting(&self, input: &Input, seen: Option<Seen>) -> Option<Sighting<'_>> {
        let (Input::Record(record), Some(seen)) = (input, seen) else {
            return None;
        };
        Sighting::of(record, seen.journey, self.trace(), &self.host)
    }

    /// What the diagnosis wants to know and has not asked before.
    pub fn questions(&mut self) -> Vec<Question> {
        let mut new = diagnose::questions(self.trace(), &self.host);
        new.retain(|question| self.asked.insert(question.clone()));
        new
    }

    /// What has to be read so that the checks along the paths are known. It is asked apart: a fact that was read for a
    /// healthy packet must not stand for what is to be read about a lost one.
    pub fn questions_of_checks(&mut self) -> Vec<Question> {
        let mut new = diagnose::questions_of_checks(self.trace(), &self.host);
        new.retain(|question| {
            !self.asked.contains(question) && self.asked_of_checks.insert(question.clone())
        });
        new
    }

    /// Tuples, other than those asked for, that packets of the flows were found to have since the last time: in both
    /// directions.
    pub fn learned(&mut self) -> Vec<Tuple> {
        let flows = self.correlator.trace().flows.iter();
        let other = |role: &TupleRole| !matches!(role, TupleRole::Asked | TupleRole::Reply);
        let tuples = flows.flat_map(|flow| &flow.tuples);
        let mut new: Vec<Tuple> = tuples
            .filter(|(role, _)| other(role))
            .flat_map(|(_, tuple)| [*tuple, tuple.reversed()])
            .collect();
        new.retain(|tuple| self.learned.insert(*tuple));
        new
    }

    /// Expressions for what belongs to the flows and the one that was asked for does not name, each once.
    pub fn expected(&mut self) -> Vec<String> {
        let mut new = diagnose::expected(self.trace(), &self.host);
        new.retain(|expression| self.expected.insert(expression.clone()));
        new
    }

    /// The correlated trace so far.
    #[must_use]
    pub fn trace(&self) -> &Trace {
        self.correlator.trace()
    }

    /// What was not seen since the source began, whatever was counted from zero since.
    #[must_use]
    pub fn counted_losses(&self) -> &Losses {
        self.counted.losses()
    }

    /// What is known of the host so far.
    #[must_use]
    pub fn host(&self) -> &Host {
        &self.host
    }

    /// Nanoseconds from the start of the trace to its last input.
    #[must_use]
    pub fn elapsed_ns(&self) -> u64 {
        let start = self.host.run.as_ref().map(|run| run.started_ktime);
        start.map_or(0, |start| self.trace().now.since(start))
    }

    /// Counts from zero again, as of now; what is known of the host stays.
    pub fn reset(&mut self) {
        let now = self.trace().now;
        if let Some(run) = &mut self.host.run {
            run.started_unix_ns += now.since(run.started_ktime);
            run.started_ktime = now;
        }
        self.correlator = Correlator::new(self.settings.clone());
        self.correlator.tick(now, &self.host);
        self.counted_before.clone_from(&self.counted);
        self.asked.clear();
        self.asked_of_checks.clear();
    }

    /// A copy in which everything is brought up to now, to be looked at between two ticks. The trace itself goes on as
    /// if nobody had looked.
    #[must_use]
    pub fn as_of_now(&self) -> Self {
        let mut copy = self.clone();
        let now = copy.trace().now;
        copy.correlator.tick(now, &copy.host);
        copy
    }

    /// Why it ended, once it has.
    #[must_use]
    pub fn ended(&self) -> Option<EndReason> {
        self.ended
    }

    /// The verdicts as of now.
    #[must_use]
    pub fn diagnosis(&self) -> Diagnosis {
        diagnose::diagnose(self.trace(), &self.host)
    }

    /// Every proposal that was made, and why it does or does not stand.
    #[must_use]
    pub fn considered(&self) -> Vec<Considered> {
        diagnose::explain(self.trace(), &self.host)
    }

    /// The report as of now.
    #[must_use]
    pub fn report(&self) -> Report {
        report::assemble(self.trace(), &self.host, &self.diagnosis())
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test ends where it fails")]
mod tests {
    use std::fs::File;
    use std::path::Path;

    use super::*;
    use crate::source::recording::Reader;

    #[test]
    fn ticks_that_follow_each_other_at_once_judge_nothing() {
        let name = "tests/recordings/http-conc.healthy.tracer";
        let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(name);
        let mut inputs = Reader::new(File::open(file).unwrap()).unwrap();
        let mut session = Session::default();
        let mut next = || inputs.next().unwrap().unwrap();
        while session.trace().packets == 0 {
            session.input(&next());
        }
        // many records, and no tick in between
        let mut records = 0;
        while records < 500 {
            let input = next();
            if !matches!(input, Input::Tick(_) | Input::Counters(..)) {
                records += usize::from(matches!(input, Input::Record(_)));
                session.input(&input);
            }
        }
        let before = session.ticked.unwrap();
        let judged = |session: &Session| format!("{:?}", session.trace().flows);
        let flows = judged(&session);
        session.input(&Input::Tick(KtimeNs(before.0 + LEAST_BETWEEN_TICKS_NS - 1)));
        assert_eq!(judged(&session), flows);
        session.input(&Input::Tick(KtimeNs(before.0 + LEAST_BETWEEN_TICKS_NS)));
        assert_ne!(judged(&session), flows);
    }
}
