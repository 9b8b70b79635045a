//! One recording of a merge: its inputs, rewritten, in the order of their times.
//!
//! A recording has them in the order in which they were taken in: a record waits in the ring buffer while the clock
//! ticks. Facts stay before the records that came after them, for those may need them.

use std::collections::BTreeMap;
use std::io::Read;

use super::MergeError;
use super::rewrite::{Numbers, Rewriter};
use crate::model::KtimeNs;
use crate::source::Input;
use crate::source::recording::Reader;

/// A record is taken in no later than this after it was made.
const WINDOW_NS: u64 = 300_000_000;

/// Time, then the place in the file.
type Due = (KtimeNs, u64);

pub(super) struct Lane<R: Read> {
    reader: Reader<R>,
    rewriter: Rewriter,
    waiting: BTreeMap<Due, Input>,
    /// Facts among them, by their place in the file.
    facts: BTreeMap<u64, KtimeNs>,
    newest: KtimeNs,
    read: u64,
    over: bool,
}

impl<R: Read> Lane<R> {
    pub(super) fn new(reader: Reader<R>, rewriter: Rewriter) -> Self {
        Self {
            reader,
            rewriter,
            waiting: BTreeMap::new(),
            facts: BTreeMap::new(),
            newest: KtimeNs(0),
            read: 0,
            over: false,
        }
    }

    /// When the next input is due, on the first node's clock; `None` when the recording is over.
    ///
    /// # Errors
    /// When the recording cannot be read.
    pub(super) fn due(&mut self, numbers: &mut Numbers) -> Result<Option<KtimeNs>, MergeError> {
        loop {
            let first = self.waiting.first_key_value().map(|((at, _), _)| *at);
            let ripe = first.is_some_and(|at| self.newest.since(at) >= WINDOW_NS);
            if ripe || self.over {
                return Ok(first);
            }
            match self.reader.next().transpose() {
                Ok(Some(input)) => {
                    if let Some(input) = self.rewriter.rewrite(input, numbers) {
                        self.wait(input);
                    }
                }
                Ok(None) => self.over = true,
                Err(error) => {
                    return Err(MergeError {
                        name: self.rewriter.name().to_owned(),
                        error,
                    });
                }
            }
        }
    }

    /// The next input.
    pub(super) fn take(&mut self) -> Option<Input> {
        let ((_, place), input) = self.waiting.pop_first()?;
        self.facts.remove(&place);
        Some(input)
    }

    fn wait(&mut self, input: Input) {
        let at = input.at().unwrap_or(self.newest);
        self.newest = self.newest.max(at);
        self.read += 1;
        match input {
            Input::Host(..) => {
                self.facts.insert(self.read, at);
            }
            Input::Record(_) => self.advance_facts(at),
            _ => {}
        }
        self.waiting.insert((at, self.read), input);
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
