//! Recordings of several nodes as one stream of inputs, as if one machine had made it: everything behind it (correlator,
//! diagnosis, outputs, even another recording) needs to know nothing of nodes.
//!
//! ```text
//! recordings ─▶ survey (clocks, runs) ─▶ [`Weaver`]: rewrite each input, take the earliest next ─▶ inputs
//! ```
//! Two passes over the files: the first finds packets that several nodes saw and learns from them how far the clocks
//! are apart ([`clock`]); the second gives the inputs in the order of their corrected times. Neither keeps what it read.

mod clock;
mod lane;
mod rewrite;
mod survey;
mod weaver;

use std::collections::BTreeMap;
use std::io::Read;

use crate::host::facts::{ClockBasis, NodeClock, NodeId};
use crate::source::recording::{Reader, RecordingError};
use crate::source::{EndReason, Input};

pub use clock::{Sighting, estimate};
pub use survey::Survey;
pub use weaver::Weaver;

/// Inputs of several recordings, merged.
pub struct Merger<R: Read> {
    weaver: Weaver,
    readers: BTreeMap<NodeId, Reader<R>>,
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
    /// Begins. Each node has its number, what the first pass found, and its recording from the start.
    #[must_use]
    pub fn new(nodes: Vec<(NodeId, Survey, Reader<R>)>) -> Self {
        let surveys: Vec<&Survey> = nodes.iter().map(|(_, survey, _)| survey).collect();
        let clocks = estimate(&surveys);
        let traced = nodes
            .iter()
            .zip(clocks)
            .map(|((id, survey, _), clock)| survey.node(*id, clock))
            .collect();
        Self {
            weaver: Weaver::new(traced),
            readers: nodes
                .into_iter()
                .map(|(id, _, reader)| (id, reader))
                .collect(),
            ended: false,
        }
    }

    /// Reads what is wanted of a node.
    fn read(&mut self, node: NodeId) -> Result<(), MergeError> {
        match self.readers.get_mut(&node).and_then(Iterator::next) {
            Some(Ok(input)) => self.weaver.push(node, input),
            None => self.weaver.close(node),
            Some(Err(error)) => {
                let name = self.weaver.nodes().find(|known| known.id == node);
                return Err(MergeError {
                    name: name.map(|node| node.name.clone()).unwrap_or_default(),
                    error,
                });
            }
        }
        Ok(())
    }
}

impl<R: Read> Iterator for Merger<R> {
    type Item = Result<Input, MergeError>;

    fn next(&mut self) -> Option<Self::Item> {
        while !self.ended {
            if let Some(input) = self.weaver.pop() {
                return Some(Ok(input));
            }
            let Some(wanted) = self.weaver.wanted() else {
                self.ended = true;
                return Some(Ok(self.weaver.end(EndReason::EndOfFile)));
            };
            if let Err(error) = self.read(wanted) {
                self.ended = true;
                return Some(Err(error));
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
