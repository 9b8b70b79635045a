//! Recordings of several nodes as one stream of inputs, as if one machine had made it: everything behind it (correlator,
//! diagnosis, outputs, even another recording) needs to know nothing of nodes.
//!
//! ```text
//! recordings ─▶ survey (clocks, runs) ─▶ [`Merger`]: rewrite each input, take the earliest next ─▶ inputs
//! ```
//! Two passes over the files: the first finds packets that several nodes saw and learns from them how far the clocks
//! are apart ([`clock`]); the second gives the inputs in the order of their corrected times. Neither keeps what it read.

mod clock;
mod lane;
mod rewrite;
mod survey;

use std::collections::VecDeque;
use std::io::Read;

use crate::host::facts::{ClockBasis, Fact, NodeClock, NodeId, Run, TracedNode};
use crate::model::KtimeNs;
use crate::source::recording::{Reader, RecordingError};
use crate::source::{EndReason, Input};

pub use clock::{Sighting, estimate};
use lane::Lane;
use rewrite::{Numbers, Rewriter};
pub use survey::Survey;

/// Ticks of several nodes closer than this are one.
const TICK_NS: u64 = 50_000_000;

/// Inputs of several recordings, merged.
pub struct Merger<R: Read> {
    lanes: Vec<Lane<R>>,
    numbers: Numbers,
    ready: VecDeque<Input>,
    ticked: KtimeNs,
    now: KtimeNs,
    ended: bool,
}

/// Which recording could not be read, and why.
#[derive(Debug, thiserror::Error)]
#[error("{name}: {error}")]
pub struct MergeError {
    /// Name of the node.
    pub name: String,
    /// Why.
    pub error: RecordingError,
}

impl<R: Read> Merger<R> {
    /// Begins. `surveys` are what the first pass found, in the order of `readers`.
    #[must_use]
    pub fn new(surveys: Vec<Survey>, readers: Vec<Reader<R>>) -> Self {
        let clocks = estimate(&surveys);
        let nodes: Vec<TracedNode> = (0..)
            .map(NodeId)
            .zip(surveys)
            .zip(clocks)
            .map(|((id, survey), clock)| survey.node(id, clock))
            .collect();
        let mut ready = VecDeque::new();
        if let Some(run) = run_of_all(&nodes) {
            ready.push_back(Input::Host(run.started_ktime, Fact::Run(Box::new(run))));
        }
        let mut lanes = Vec::with_capacity(nodes.len());
        for (node, reader) in nodes.into_iter().zip(readers) {
            let at = node.from;
            lanes.push(Lane::new(reader, Rewriter::new(&node)));
            ready.push_back(Input::Host(at, Fact::Node(Box::new(node))));
        }
        Self {
            lanes,
            numbers: Numbers::default(),
            ready,
            ticked: KtimeNs(0),
            now: KtimeNs(0),
            ended: false,
        }
    }

    /// The earliest input of all recordings; `None` when all are over.
    fn earliest(&mut self) -> Result<Option<Input>, MergeError> {
        let mut first: Option<(KtimeNs, &mut Lane<R>)> = None;
        for lane in &mut self.lanes {
            let Some(at) = lane.due(&mut self.numbers)? else {
                continue;
            };
            if first.as_ref().is_none_or(|(earliest, _)| at < *earliest) {
                first = Some((at, lane));
            }
        }
        let Some((at, lane)) = first else {
            return Ok(None);
        };
        self.now = self.now.max(at);
        Ok(lane.take())
    }
}

impl<R: Read> Iterator for Merger<R> {
    type Item = Result<Input, MergeError>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            self.ready.extend(self.numbers.told(self.now));
            if let Some(input) = self.ready.pop_front() {
                return Some(Ok(input));
            }
            if self.ended {
                return None;
            }
            match self.earliest() {
                Ok(Some(Input::Tick(at))) if at.since(self.ticked) < TICK_NS => {}
                Ok(Some(input)) => {
                    if let Input::Tick(at) = input {
                        self.ticked = at;
                    }
                    // what was just numbered is told before what names it
                    self.ready.extend(self.numbers.told(self.now));
                    self.ready.push_back(input);
                }
                Ok(None) => {
                    self.ended = true;
                    return Some(Ok(Input::End(self.now, EndReason::EndOfFile)));
                }
                Err(error) => {
                    self.ended = true;
                    return Some(Err(error));
                }
            }
        }
    }
}

/// One run that stands for those of all nodes: what was asked of any, on the first node's machine and clock.
fn run_of_all(nodes: &[TracedNode]) -> Option<Run> {
    let mut all = nodes.first()?.run.clone();
    let mut expressions = vec![all.expression.clone()];
    for node in nodes {
        let run = &node.run;
        if node.from < all.started_ktime {
            all.started_unix_ns = all
                .started_unix_ns
                .saturating_sub(all.started_ktime.since(node.from));
            all.started_ktime = node.from;
        }
        if !expressions.contains(&run.expression) {
            expressions.push(run.expression.clone());
        }
        add(&mut all.clauses, &run.clauses);
        add(&mut all.asked, &run.asked);
        add(&mut all.asked_src, &run.asked_src);
        add(&mut all.asked_dst, &run.asked_dst);
        add(&mut all.asked_ports, &run.asked_ports);
        all.names_addresses &= run.names_addresses;
        all.one_way &= run.one_way;
    }
    all.expression = expressions.join(" | ");
    // each node's own
    all.only_netns.clear();
    all.only_interfaces.clear();
    Some(all)
}

fn add<T: Clone + PartialEq>(list: &mut Vec<T>, more: &[T]) {
    for item in more {
        if !list.contains(item) {
            list.push(item.clone());
        }
    }
}

/// A clock that is as far ahead as the wall clocks say: where packets tell nothing.
const fn by_wall_clock(ahead_ns: i64) -> NodeClock {
    NodeClock {
        ahead_ns,
        uncertainty_ns: None,
        basis: ClockBasis::WallClock,
        packets: 0,
    }
}

#[cfg(test)]
mod tests;
