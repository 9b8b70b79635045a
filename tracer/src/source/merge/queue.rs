//! Inputs of several nodes, which arrive in any interleaving, in one order: that of their times on the first node's clock.

use std::collections::{BTreeMap, VecDeque};

use super::node_stream::NodeStream;
use super::rewrite::{Numbers, Rewriter};
use super::scan::with_times;
use crate::host::facts::{Fact, NodeId, Run, TracedNode};
use crate::model::KtimeNs;
use crate::source::{EndReason, Input};

/// Ticks of several nodes closer than this are one.
const TICK_NS: u64 = 50_000_000;

/// One stream per node, merged by time.
pub struct MergeQueue {
    nodes: BTreeMap<NodeId, TracedNode>,
    streams: BTreeMap<NodeId, NodeStream>,
    numbers: Numbers,
    ready: VecDeque<Input>,
    ticked: KtimeNs,
    now: KtimeNs,
}

impl MergeQueue {
    /// Starts with the run and the nodes as the first inputs.
    #[must_use]
    pub fn new(nodes: Vec<TracedNode>) -> Self {
        let run =
            run_of_all(&nodes).map(|run| Input::Host(run.started_ktime, Fact::Run(run.into())));
        let facts = nodes.iter().map(|node| fact(node, node.from));
        Self {
            ready: run.into_iter().chain(facts).collect(),
            streams: nodes
                .iter()
                .map(|node| (node.id, NodeStream::new(Rewriter::new(node))))
                .collect(),
            nodes: nodes.into_iter().map(|node| (node.id, node)).collect(),
            numbers: Numbers::default(),
            ticked: KtimeNs(0),
            now: KtimeNs(0),
        }
    }

    /// The nodes.
    pub fn nodes(&self) -> impl Iterator<Item = &TracedNode> {
        self.nodes.values()
    }

    /// Takes the next input of a node.
    pub fn push(&mut self, node: NodeId, input: Input) {
        if let Input::Host(_, Fact::Run(run)) = &input
            && let Some(known) = self.nodes.get_mut(&node)
        {
            let also = with_times(run.as_ref().clone(), &known.clock).also;
            if also.len() > known.run.also.len() {
                known.run.also = also;
                self.ready.push_back(fact(known, self.now));
            }
        }
        if let Some(stream) = self.streams.get_mut(&node) {
            stream.push(input, &mut self.numbers);
        }
    }

    /// Records of the node come so late at most.
    pub fn expect(&mut self, node: NodeId, late_ns: u64) {
        if let Some(stream) = self.streams.get_mut(&node) {
            stream.expect(late_ns);
        }
    }

    /// Whether records of the node that come so late are put in their place.
    #[must_use]
    pub fn expects(&self, node: NodeId, late_ns: u64) -> bool {
        let stream = self.streams.get(&node);
        stream.is_none_or(|stream| stream.expects(late_ns))
    }

    /// The node's inputs are complete: the queue no longer waits for it.
    pub fn close(&mut self, node: NodeId) {
        if let Some(stream) = self.streams.get_mut(&node) {
            stream.set_open(false);
        }
    }

    /// The node is late, or sends again. The queue does not wait for a late node, and announces it as a fact: packets that
    /// should have arrived there since do not count as lost.
    pub fn set_late(&mut self, node: NodeId, late: bool) {
        let (Some(known), Some(stream)) = (self.nodes.get_mut(&node), self.streams.get_mut(&node))
        else {
            return;
        };
        stream.set_open(!late);
        known.until = late.then(|| stream.newest());
        self.ready.push_back(fact(known, self.now));
    }

    /// The node whose next input is needed before it is known what comes next.
    #[must_use]
    pub fn wanted(&self) -> Option<NodeId> {
        let wanting = |(node, stream): (&NodeId, &NodeStream)| stream.is_wanting().then_some(*node);
        self.streams.iter().find_map(wanting)
    }

    /// The next input; `None` while one is [`MergeQueue::wanted`], and when all have been given.
    pub fn pop(&mut self) -> Option<Input> {
        loop {
            self.ready.extend(self.numbers.told(self.now));
            if let Some(input) = self.ready.pop_front() {
                return Some(input);
            }
            match self.earliest()? {
                Input::Tick(at) if at.since(self.ticked) < TICK_NS => {}
                input => {
                    if let Input::Tick(at) = input {
                        self.ticked = at;
                    }
                    // what was just numbered comes before what refers to it
                    self.ready.extend(self.numbers.told(self.now));
                    self.ready.push_back(input);
                }
            }
        }
    }

    /// The last input.
    #[must_use]
    pub fn end(&self, reason: EndReason) -> Input {
        Input::End(self.now, reason)
    }

    fn earliest(&mut self) -> Option<Input> {
        let mut first: Option<(KtimeNs, NodeId, &mut NodeStream)> = None;
        for (node, stream) in &mut self.streams {
            if stream.is_wanting() {
                return None;
            }
            let Some(at) = stream.due() else {
                continue;
            };
            if first.as_ref().is_none_or(|(earliest, ..)| at < *earliest) {
                first = Some((at, *node, stream));
            }
        }
        let (at, node, stream) = first?;
        self.now = self.now.max(at);
        stream.take().map(|input| self.numbers.sum(node, input))
    }
}

fn fact(node: &TracedNode, at: KtimeNs) -> Input {
    Input::Host(at, Fact::Node(Box::new(node.clone())))
}

/// One run that stands for those of all nodes: what was requested from any of them, on the first node's machine and clock.
fn run_of_all(nodes: &[TracedNode]) -> Option<Run> {
    let mut all = nodes.first()?.run.clone();
    let mut expressions = vec![all.expression.clone()];
    for node in nodes {
        let run = &node.run;
        let started = node.clock.at_reference(run.started_ktime);
        if started < all.started_ktime {
            all.started_unix_ns = all
                .started_unix_ns
                .saturating_sub(all.started_ktime.since(started));
            all.started_ktime = started;
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
    all.also.clear();
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
