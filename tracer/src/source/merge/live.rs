//! Recordings of several nodes, merged while they arrive.
//!
//! What a first pass over finished recordings would find out (which nodes there are, how far their clocks are apart) is learned
//! on the way. When it changes so much that the merged trace is wrong, the trace must be recomputed from its start
//! ([`LiveMerge::is_outdated`]) with what is known now. The live trace and the merge of the stored recordings are therefore the
//! same. The merge does not wait for a node that sends nothing.

use std::collections::BTreeMap;
use std::io::Read;
use std::time::{Duration, Instant};

use super::clock::estimate;
use super::queue::MergeQueue;
use super::scan::NodeScan;
use super::{MergeError, Merger};
use crate::host::facts::{ClockBasis, NodeClock, NodeId, TracedNode};
use crate::source::recording::Reader;
use crate::source::{EndReason, Input};

/// A node sends a tick ten times a second; one that is silent for so long is late.
const LATE: Duration = Duration::from_secs(3);
/// How long the trace waits for nodes to begin: on a busy machine a tracer needs more than ten seconds.
const BEGINNING: Duration = Duration::from_secs(30);
/// After so long it is said for whom it waits.
const SLOW: Duration = Duration::from_secs(10);
/// First pause between two looks at the clocks; each is twice as long as the one before.
const FIRST_PAUSE: Duration = Duration::from_millis(500);
const LONGEST_PAUSE: Duration = Duration::from_secs(60);
/// A clock that was known by packets in one direction may be wrong by the fastest packet's way.
const ONE_WAY_NS: u64 = 20_000;

/// What is to be said of a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum News {
    /// It traces.
    Begun(NodeId),
    /// Nothing has come from it so far, and it is waited for.
    Slow(NodeId),
    /// Nothing has come from it at all.
    Silent(NodeId),
    /// Nothing has come from it for a while.
    Late(NodeId),
    /// Something comes again.
    Back(NodeId),
}

/// Nodes whose recordings are coming in.
pub struct LiveMerge {
    members: BTreeMap<NodeId, Member>,
    queue: MergeQueue,
    started: Instant,
    pause: Duration,
    look_at: Instant,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Here,
    Late,
    Gone,
}

struct Member {
    name: String,
    /// None before it began.
    scan: Option<NodeScan>,
    /// Inputs so far.
    taken: usize,
    heard: Instant,
    state: State,
    /// It was said that it is slow to begin.
    slow: bool,
}

impl LiveMerge {
    /// Begins to wait for nodes, by their names.
    pub fn new<'a>(nodes: impl IntoIterator<Item = (NodeId, &'a str)>, now: Instant) -> Self {
        let member = |(id, name): (NodeId, &str)| {
            let member = Member {
                name: name.to_owned(),
                scan: None,
                taken: 0,
                heard: now,
                state: State::Here,
                slow: false,
            };
            (id, member)
        };
        Self {
            members: nodes.into_iter().map(member).collect(),
            queue: MergeQueue::new(Vec::new()),
            started: now,
            pause: FIRST_PAUSE,
            look_at: now,
        }
    }

    /// Takes in what a node sent next.
    pub fn take(&mut self, node: NodeId, input: Input, now: Instant) -> Option<News> {
        let member = self.members.get_mut(&node)?;
        member.taken += 1;
        member.heard = now;
        let mut news = None;
        // the end that a reader finds where a command was killed is no word from the node
        if member.state == State::Late && !matches!(input, Input::End(..)) {
            member.state = State::Here;
            self.queue.set_late(node, false);
            news = Some(News::Back(node));
        }
        match &mut member.scan {
            Some(scan) => scan.note(&input),
            None => {
                member.scan = NodeScan::begin(&input).map(|scan| scan.named(member.name.clone()));
                news = member.scan.as_ref().map(|_| News::Begun(node));
            }
        }
        self.queue.push(node, input);
        news
    }

    /// A node sends nothing any more.
    pub fn gone(&mut self, node: NodeId) {
        if let Some(member) = self.members.get_mut(&node) {
            member.state = State::Gone;
            self.queue.set_late(node, true);
        }
    }

    /// Looks which nodes are late.
    pub fn look(&mut self, now: Instant) -> Vec<News> {
        let slow = self.members.iter_mut().filter(|(_, member)| {
            let silent = member.state == State::Here && member.scan.is_none();
            silent && !member.slow && now.duration_since(member.heard) >= SLOW
        });
        let mut news: Vec<News> = slow
            .map(|(id, member)| {
                member.slow = true;
                News::Slow(*id)
            })
            .collect();
        let late = self.members.iter_mut().filter(|(_, member)| {
            let patience = if member.scan.is_some() {
                LATE
            } else {
                BEGINNING
            };
            member.state == State::Here && now.duration_since(member.heard) >= patience
        });
        let late = late.map(|(id, member)| {
            member.state = State::Late;
            self.queue.set_late(*id, true);
            if member.scan.is_some() {
                News::Late(*id)
            } else {
                News::Silent(*id)
            }
        });
        news.extend(late);
        news
    }

    /// Nodes from which nothing comes: those that are late, and those that never began.
    pub fn silent(&self) -> impl Iterator<Item = NodeId> {
        let silent = |m: &Member| match m.state {
            State::Here => m.scan.is_none(),
            State::Late => true,
            State::Gone => false,
        };
        let members = self.members.iter();
        members
            .filter(move |(_, member)| silent(member))
            .map(|(id, _)| *id)
    }

    /// Nodes that have not begun.
    pub fn missing(&self) -> impl Iterator<Item = NodeId> {
        let missing = self.members.iter().filter(|(_, m)| m.scan.is_none());
        missing.map(|(id, _)| *id)
    }

    /// The next input of the merged trace, if it is known yet.
    pub fn pop(&mut self) -> Option<Input> {
        self.queue.pop()
    }

    /// What comes after all others.
    #[must_use]
    pub fn end(&self, reason: EndReason) -> Input {
        self.queue.end(reason)
    }

    /// Whether all nodes trace that are still expected to.
    #[must_use]
    pub fn is_complete(&self, now: Instant) -> bool {
        let waited = now.duration_since(self.started) >= BEGINNING;
        let settled = |m: &Member| m.scan.is_some() || m.state == State::Gone || waited;
        self.members.values().all(settled)
    }

    /// Nodes that have begun.
    pub fn begun(&self) -> impl Iterator<Item = NodeId> {
        let begun = self.members.iter().filter(|(_, m)| m.scan.is_some());
        begun.map(|(id, _)| *id)
    }

    /// Whether what was told so far is wrong by what is known now: nodes have come, records came later than was waited for
    /// them, or clocks are further off than could be known. Looks at the clocks less and less often.
    pub fn is_outdated(&mut self, now: Instant) -> bool {
        if !self.is_complete(now) {
            return false;
        }
        if self.begun().count() > self.queue.nodes().count() {
            (self.pause, self.look_at) = (FIRST_PAUSE, now + FIRST_PAUSE);
            return true;
        }
        if now < self.look_at {
            return false;
        }
        self.pause = (self.pause * 2).min(LONGEST_PAUSE);
        self.look_at = now + self.pause;
        let told = self.queue.nodes().map(|node| (node.id, node.clock));
        let told: BTreeMap<NodeId, NodeClock> = told.collect();
        self.late().any(|(id, late)| !self.queue.expects(id, late))
            || self.nodes().iter().any(|node| {
                told.get(&node.id)
                    .is_none_or(|told| is_refuted(told, &node.clock))
            })
    }

    /// Begins to tell the trace again. `again` reads what a node has sent so far; what it sends from now on is taken in
    /// as before.
    ///
    /// # Errors
    /// When what was kept cannot be read.
    pub fn retell<R: Read>(
        &mut self,
        mut again: impl FnMut(NodeId) -> Option<Reader<R>>,
        mut each: impl FnMut(Input),
    ) -> Result<(), MergeError> {
        let traced = self.nodes();
        let readers: BTreeMap<NodeId, _> = traced
            .iter()
            .filter_map(|node| {
                let taken = self.members.get(&node.id)?.taken;
                Some((node.id, again(node.id)?.take(taken)))
            })
            .collect();
        let mut queue = MergeQueue::new(traced);
        for (id, late) in self.late() {
            queue.expect(id, late);
        }
        let mut merger = Merger::of(queue, readers);
        while let Some(input) = merger.advance()? {
            each(input);
        }
        self.queue = merger.rest()?;
        for (id, member) in &self.members {
            if member.state != State::Here {
                self.queue.set_late(*id, true);
            }
        }
        Ok(())
    }

    /// The nodes that have begun, with what is known of them and how many inputs they sent, for a merge of all that.
    #[must_use]
    pub fn scans(&self) -> Vec<(NodeId, NodeScan, usize)> {
        let members = self.members.iter();
        members
            .filter_map(|(id, member)| Some((*id, member.scan.clone()?, member.taken)))
            .collect()
    }

    /// By how much records of each node came late.
    fn late(&self) -> impl Iterator<Item = (NodeId, u64)> {
        let members = self.members.iter();
        members.filter_map(|(id, member)| Some((*id, member.scan.as_ref()?.late_ns())))
    }

    /// The nodes that have begun, with their clocks as far as they are known.
    fn nodes(&self) -> Vec<TracedNode> {
        let begun = self.members.iter();
        let begun: Vec<(NodeId, &NodeScan)> = begun
            .filter_map(|(id, member)| Some((*id, member.scan.as_ref()?)))
            .collect();
        let scans: Vec<&NodeScan> = begun.iter().map(|(_, scan)| *scan).collect();
        let clocks = estimate(&scans);
        let node = |((id, scan), clock): ((NodeId, &NodeScan), NodeClock)| TracedNode {
            until: None,
            ..scan.node(id, clock)
        };
        begun.into_iter().zip(clocks).map(node).collect()
    }
}

/// Whether a clock cannot be as it was told: packets came before they left.
fn is_refuted(told: &NodeClock, known: &NodeClock) -> bool {
    let rank = |clock: &NodeClock| match clock.basis {
        ClockBasis::WallClock => 0,
        ClockBasis::OneWay => 1,
        ClockBasis::TwoWay | ClockBasis::Reference => 2,
    };
    let off = told.ahead_ns.abs_diff(known.ahead_ns);
    rank(known) > rank(told) || off > known.uncertainty_ns.unwrap_or(ONE_WAY_NS)
}
