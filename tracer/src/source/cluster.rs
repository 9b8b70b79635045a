//! Nodes as a source of inputs: on each, a tracer that a command of the person's started there sends its recording.
//!
//! ```text
//! command's stdout ─▶ [`Spool`] (kept as it came) ─▶ reader ─┐
//! command's stderr ─▶ lines ─────────────────────────────────┴▶ one bounded channel
//! ```
//! What one node learns of the packets' tuples is told to the others on their standard input ([`Lessons`]).
//!
//! A tracer on a node ends when its standard input does, so it ends too when this process is gone. When the loop behind
//! the channel is late, nodes wait with their recordings, and their ring buffers lose where it is counted.

mod lessons;
mod node;
mod spool;

use std::collections::BTreeMap;
use std::io;
use std::path::Path;
use std::time::{Duration, Instant};

use tokio::sync::mpsc;

use crate::config::NodeCommand;
use crate::error::Error;
use crate::host::facts::NodeId;
use crate::source::Input;
use crate::source::recording::{Reader, RecordingError};
use lessons::Lessons;
use node::Node;
pub use spool::Again;
use spool::Spool;

/// Inputs that wait for the loop.
const CHANNEL: usize = 4096;
/// How long a command may go on once it sends nothing any more, or was asked to end and does not hear it.
pub const PATIENCE: Duration = Duration::from_secs(2);

/// What nodes send.
#[derive(Debug)]
pub enum Message {
    /// The next input of a node.
    Input(NodeId, Input),
    /// A line that a node's command wrote to its standard error.
    Said(NodeId, String),
    /// Its standard error has ended.
    Silent(NodeId),
    /// A node sends nothing any more; why, unless its recording came to its end.
    Over(NodeId, Option<RecordingError>),
}

/// A node's command has ended.
#[derive(Debug)]
pub struct Gone {
    /// Which.
    pub node: NodeId,
    /// Its recording has an end: nothing of it is missing.
    pub whole: bool,
    /// How, in words, with what it said last.
    pub how: String,
}

/// The nodes.
#[derive(Debug)]
pub struct Cluster {
    nodes: BTreeMap<NodeId, Node>,
    messages: mpsc::Receiver<Message>,
    lessons: Lessons,
}

impl Cluster {
    /// Starts all commands. What they send is kept in files of their own in `keep`, else in files without a name.
    ///
    /// # Errors
    /// When a file cannot be made or a command not be started.
    pub fn start(commands: &[NodeCommand], keep: Option<&Path>) -> Result<Self, Error> {
        if let Some(keep) = keep {
            std::fs::create_dir_all(keep)
                .map_err(|error| Error::io(format_args!("make {}", keep.display()), error))?;
        }
        let (send, messages) = mpsc::channel(CHANNEL);
        let nodes = (0..).map(NodeId).zip(commands).map(|(id, command)| {
            let spool = Spool::create(keep.map(|keep| command.recording(keep)).as_deref())?;
            Ok((id, Node::start(id, command, spool, &send)?))
        });
        Ok(Self {
            nodes: nodes.collect::<Result<_, Error>>()?,
            messages,
            lessons: Lessons::default(),
        })
    }

    /// The next message; never comes once no node sends any more.
    pub async fn recv(&mut self) -> Message {
        match self.messages.recv().await {
            Some(message) => {
                match &message {
                    Message::Said(node, line) => self.of(*node, |node| node.said(line)),
                    Message::Silent(node) => self.of(*node, Node::silent),
                    Message::Over(node, error) => self.of(*node, |node| node.over(error.as_ref())),
                    Message::Input(node, input) => {
                        self.teach(*node, input);
                        self.of(*node, |node| node.takes(input));
                    }
                }
                message
            }
            None => std::future::pending().await,
        }
    }

    /// Tells the others what a node's packets are called once they leave it.
    fn teach(&mut self, by: NodeId, input: &Input) {
        let Input::Record(record) = input else {
            return;
        };
        if let Some(expression) = self.lessons.note(by, record) {
            let others = self.nodes.iter_mut().filter(|(id, _)| **id != by);
            others.for_each(|(_, node)| node.tell(&format!("also {expression}\n")));
        }
    }

    /// Looks which commands have ended. One that sends nothing any more is ended after a while.
    pub fn reap(&mut self) -> Vec<Gone> {
        let now = Instant::now();
        let gone = self.nodes.iter_mut().filter_map(|(id, node)| {
            let (whole, how) = node.reap(now)?;
            Some(Gone {
                node: *id,
                whole,
                how,
            })
        });
        gone.collect()
    }

    /// Whether all commands have ended.
    #[must_use]
    pub fn is_over(&self) -> bool {
        self.nodes.values().all(Node::is_gone)
    }

    /// Lets all nodes end their traces: they send what is left, and the ends of their recordings.
    pub fn stop(&mut self) {
        self.nodes.values_mut().for_each(Node::stop);
    }

    /// Ends all commands at once.
    pub fn kill(&mut self) {
        self.nodes.values_mut().for_each(Node::kill);
    }

    /// Ends a node's command at once.
    pub fn kill_node(&mut self, node: NodeId) {
        self.of(node, Node::kill);
    }

    /// Nodes whose commands have not ended.
    pub fn left(&self) -> impl Iterator<Item = NodeId> {
        let left = self.nodes.iter().filter(|(_, node)| !node.is_gone());
        left.map(|(id, _)| *id)
    }

    /// All that a node has sent so far, once more.
    ///
    /// # Errors
    /// When there is nothing yet that could be read.
    pub fn again(&self, node: NodeId) -> Result<Reader<Again>, RecordingError> {
        let node = self.nodes.get(&node);
        let again = node.map(|node| node.spool().again());
        Reader::new(again.ok_or_else(|| io::Error::from(io::ErrorKind::NotFound))?)
    }

    /// Why what nodes sent could not be kept: it cannot be read again.
    #[must_use]
    pub fn unkept(&self) -> Option<String> {
        self.nodes.values().find_map(|node| node.spool().failure())
    }

    fn of(&mut self, node: NodeId, act: impl FnOnce(&mut Node)) {
        if let Some(node) = self.nodes.get_mut(&node) {
            act(node);
        }
    }
}
