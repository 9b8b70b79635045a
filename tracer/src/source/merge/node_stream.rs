//! One node of a merge: its inputs, rewritten, in the order of their times.
//!
//! A node sends inputs in the order in which it received them: a record waits in the ring buffer while the clock ticks. Facts
//! stay before the records that followed them, because those may need them.

use std::collections::BTreeMap;

use super::rewrite::{Numbers, Rewriter};
use crate::model::KtimeNs;
use crate::source::Input;

/// A record is received no later than this after it was made, on a machine that is not busy.
const WINDOW_NS: u64 = 300_000_000;

/// Time, then the position in the recording.
type Due = (KtimeNs, u64);

pub(super) struct NodeStream {
    rewriter: Rewriter,
    waiting: BTreeMap<Due, Input>,
    /// Facts among them, by their position in the recording.
    facts: BTreeMap<u64, KtimeNs>,
    newest: KtimeNs,
    /// For so long what waits may still be followed by something earlier.
    window_ns: u64,
    taken: u64,
    /// More may follow, which may be earlier than what waits.
    open: bool,
}

impl NodeStream {
    pub(super) fn new(rewriter: Rewriter) -> Self {
        Self {
            rewriter,
            waiting: BTreeMap::new(),
            facts: BTreeMap::new(),
            newest: KtimeNs(0),
            window_ns: WINDOW_NS,
            taken: 0,
            open: true,
        }
    }

    /// Takes the node's next input.
    pub(super) fn push(&mut self, input: Input, numbers: &mut Numbers) {
        let Some(input) = self.rewriter.rewrite(input, numbers) else {
            return;
        };
        let at = input.at().unwrap_or(self.newest);
        self.newest = self.newest.max(at);
        self.taken += 1;
        match input {
            Input::Host(..) => {
                self.facts.insert(self.taken, at);
            }
            Input::Record(_) => self.advance_facts(at),
            _ => {}
        }
        self.waiting.insert((at, self.taken), input);
    }

    /// Records come so late: waits longer than that for them.
    pub(super) fn expect(&mut self, late_ns: u64) {
        self.window_ns = WINDOW_NS.max(late_ns.saturating_add(1));
    }

    /// Whether records that come so late are put in their place.
    pub(super) fn expects(&self, late_ns: u64) -> bool {
        late_ns < self.window_ns
    }

    /// Sets whether more may follow.
    pub(super) fn set_open(&mut self, open: bool) {
        self.open = open;
    }

    /// Whether the node's next input is needed before it is known what comes next.
    pub(super) fn is_wanting(&self) -> bool {
        let ripe = |at| self.newest.since(at) >= self.window_ns;
        self.open && !self.due().is_some_and(ripe)
    }

    /// When the first that waits is due, on the first node's clock.
    pub(super) fn due(&self) -> Option<KtimeNs> {
        self.waiting.first_key_value().map(|((at, _), _)| *at)
    }

    /// The time of the latest input, on the first node's clock.
    pub(super) fn newest(&self) -> KtimeNs {
        self.newest
    }

    /// The first that waits.
    pub(super) fn take(&mut self) -> Option<Input> {
        let ((_, place), input) = self.waiting.pop_first()?;
        self.facts.remove(&place);
        Some(input)
    }

    /// Facts that came before a record of an earlier time are due with it.
    fn advance_facts(&mut self, to: KtimeNs) {
        for (place, at) in &mut self.facts {
            if *at > to
                && let Some(fact) = self.waiting.remove(&(*at, *place))
            {
                self.waiting.insert((to, *place), fact);
                *at = to;
            }
        }
    }
}
