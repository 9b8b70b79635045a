//! Recordings of several nodes as one stream of inputs, as if one machine had made it: the later stages (correlator,
//! diagnosis, outputs, even another recording) need not know about nodes.
//!
//! ```text
//! recordings ─▶ scan (clocks, runs) ─▶ [`MergeQueue`]: rewrite each input, take the earliest next ─▶ inputs
//! ```
//! Two passes over the files: the first finds packets that several nodes saw and learns from them how far the clocks
//! are apart ([`clock`]), and how late records came; the second gives the inputs in the order of their corrected times. Neither keeps what it read.

mod clock;
mod live;
mod node_stream;
mod queue;
mod rewrite;
mod scan;

use std::collections::BTreeMap;

use crate::host::facts::{ClockBasis, NodeClock, NodeId};
use crate::source::recording::RecordingError;
use crate::source::{EndReason, Input};

pub use clock::{Sighting, estimate};
pub use live::{LiveMerge, News};
pub use queue::MergeQueue;
pub use scan::NodeScan;

/// Inputs of several recordings, merged. `I` reads one of them.
pub struct Merger<I> {
    queue: MergeQueue,
    recordings: BTreeMap<NodeId, I>,
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

impl<I: Iterator<Item = Result<Input, RecordingError>>> Merger<I> {
    /// Begins. Each node has its number, what the first pass found, and its recording from the start.
    #[must_use]
    pub fn new(nodes: Vec<(NodeId, NodeScan, I)>) -> Self {
        let scans: Vec<&NodeScan> = nodes.iter().map(|(_, scan, _)| scan).collect();
        let clocks = estimate(&scans);
        let traced = nodes
            .iter()
            .zip(clocks)
            .map(|((id, scan, _), clock)| scan.node(*id, clock))
            .collect();
        let mut queue = MergeQueue::new(traced);
        for (id, scan, _) in &nodes {
            queue.expect(*id, scan.late_ns());
        }
        let recordings = nodes.into_iter().map(|(id, _, inputs)| (id, inputs));
        Self::of(queue, recordings.collect())
    }

    fn of(queue: MergeQueue, recordings: BTreeMap<NodeId, I>) -> Self {
        Self {
            queue,
            recordings,
            ended: false,
        }
    }

    /// The next input that is known for sure; `None` where a recording ends that may go on.
    fn advance(&mut self) -> Result<Option<Input>, MergeError> {
        loop {
            if let Some(input) = self.queue.pop() {
                return Ok(Some(input));
            }
            match self.queue.wanted() {
                Some(wanted) if self.read(wanted)? => {}
                _ => return Ok(None),
            }
        }
    }

    /// Takes in all that is left, to go on without recordings.
    fn rest(mut self) -> Result<MergeQueue, MergeError> {
        let nodes: Vec<NodeId> = self.recordings.keys().copied().collect();
        for node in nodes {
            while self.read(node)? {}
        }
        Ok(self.queue)
    }

    /// Reads on in a node's recording; whether there was something.
    fn read(&mut self, node: NodeId) -> Result<bool, MergeError> {
        match self.recordings.get_mut(&node).and_then(Iterator::next) {
            Some(Ok(input)) => self.queue.push(node, input),
            None => return Ok(false),
            Some(Err(error)) => {
                let name = self.queue.nodes().find(|known| known.id == node);
                return Err(MergeError {
                    name: name.map(|node| node.name.clone()).unwrap_or_default(),
                    error,
                });
            }
        }
        Ok(true)
    }
}

impl<I: Iterator<Item = Result<Input, RecordingError>>> Iterator for Merger<I> {
    type Item = Result<Input, MergeError>;

    fn next(&mut self) -> Option<Self::Item> {
        while !self.ended {
            match self.advance() {
                Ok(Some(input)) => return Some(Ok(input)),
                Ok(None) => {}
                Err(error) => {
                    self.ended = true;
                    return Some(Err(error));
                }
            }
            if let Some(over) = self.queue.wanted() {
                self.queue.close(over);
            } else {
                self.ended = true;
                return Some(Ok(self.queue.end(EndReason::EndOfFile)));
            }
        }
        None
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
