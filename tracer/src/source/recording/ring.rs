//! The last minutes of a trace in memory, ready to be saved: parts of a recording, each short, the oldest of which is given up
//! when it is too old or there is no more room.
//!
//! ```text
//! part      = opening, body
//! opening   = the run as if it began here, the facts that hold, the counters so far
//! body      = what came then
//! recording = header, opening of the oldest part, body, body, …, end
//! ```
//! Openings and bodies are deflated apart, each flushed to a byte boundary. A deflate stream that begins anew refers to nothing
//! before it (RFC 1951, 2), so that one behind the other is a stream, and saving copies bytes. Whichever part is the oldest, what
//! is saved is a whole recording.

use std::collections::VecDeque;
use std::io;
use std::time::Duration;

use bytes::Bytes;

use super::{HEADER_SIZE, Writer, header};
use crate::host::facts::Fact;
use crate::host::known::Known;
use crate::model::{Counted, KtimeNs};
use crate::source::{EndReason, Input};

/// Parts of the time that is kept, and of the memory that it may take: what is given up at once.
const PARTS: u32 = 8;
/// Bounds of a part's length.
const SHORTEST: Duration = Duration::from_secs(1);
const LONGEST: Duration = Duration::from_secs(60);
/// What is gone is known for so long: records of its packets may still come.
const GONE_FOR: Duration = Duration::from_secs(5);

/// A part that is complete.
#[derive(Debug)]
struct Part {
    from: KtimeNs,
    opening: Bytes,
    body: Bytes,
}

/// The part that is being written.
struct Open {
    from: KtimeNs,
    opening: Bytes,
    body: Writer<Vec<u8>>,
}

/// What is kept of a trace.
pub struct Ring {
    keep_ns: u64,
    part_ns: u64,
    most: usize,
    known: Known,
    counted: Counted,
    parts: VecDeque<Part>,
    open: Option<Open>,
    now: KtimeNs,
    too_small: bool,
}

/// A recording, in pieces.
#[derive(Clone, Debug)]
pub struct Kept {
    /// The pieces, one behind the other.
    pub pieces: Vec<Bytes>,
    /// When it begins.
    pub from: KtimeNs,
    /// When it ends.
    pub until: KtimeNs,
}

impl Kept {
    /// Its length.
    #[must_use]
    pub fn size(&self) -> usize {
        self.pieces.iter().map(Bytes::len).sum()
    }
}

impl Ring {
    /// Keeps at least so much time, as far as so many bytes hold it.
    #[must_use]
    pub fn new(keep: Duration, most: usize) -> Self {
        Self {
            keep_ns: nanoseconds(keep),
            part_ns: nanoseconds((keep / PARTS).clamp(SHORTEST, LONGEST)),
            most,
            known: Known::default(),
            counted: Counted::default(),
            parts: VecDeque::new(),
            open: None,
            now: KtimeNs(0),
            too_small: false,
        }
    }

    /// Keeps an input.
    ///
    /// # Errors
    /// That it is larger than a recording can hold; what follows is kept all the same.
    pub fn take(&mut self, input: &Input) -> io::Result<()> {
        self.now = input.at().map_or(self.now, |at| self.now.max(at));
        match input {
            Input::Host(at, fact) => {
                self.known.take(*at, fact);
                if self.open.is_none() {
                    return Ok(());
                }
            }
            Input::Counters(_, counters) => self.counted.update(counters),
            Input::Tick(at) => self.turn(*at)?,
            Input::Record(_) | Input::End(..) => {}
        }
        if self.open.is_none() {
            self.begin(None)?;
        }
        match &mut self.open {
            Some(open) => open.body.write(input),
            None => Ok(()),
        }
    }

    /// Begins another part when it is time to.
    fn turn(&mut self, at: KtimeNs) -> io::Result<()> {
        let most = self.most / PARTS as usize;
        let is_full = |open: &Open| {
            at.since(open.from) >= self.part_ns
                || open.body.written().len() + open.opening.len() >= most
        };
        if !self.open.as_ref().is_some_and(is_full) {
            return Ok(());
        }
        let ago = |ns: u64| KtimeNs(at.0.saturating_sub(ns));
        let (gone, idle) = (nanoseconds(GONE_FOR), self.keep_ns.saturating_mul(2));
        self.known.forget(ago(gone), ago(idle));
        self.counted.forget(ago(idle));
        if let Some(open) = self.open.take() {
            self.parts.push_back(Part {
                from: open.from,
                opening: open.opening,
                body: open.body.finish()?.into(),
            });
        }
        self.begin(Some(at))?;
        self.give_up(at);
        Ok(())
    }

    /// Begins a part: the first with the trace, later ones in the middle of it.
    fn begin(&mut self, at: Option<KtimeNs>) -> io::Result<()> {
        let Some(mut run) = self.known.run().cloned() else {
            return Ok(());
        };
        let from = at.unwrap_or(run.started_ktime);
        run.started_unix_ns += from.since(run.started_ktime);
        run.started_ktime = from;
        let mut opening = Writer::part(Vec::new());
        // All that is told here was there when it began.
        opening.write(&Input::Host(self.now, Fact::Run(Box::new(run))))?;
        for (told, fact) in self.known.facts() {
            opening.write(&Input::Host(told, fact))?;
        }
        if at.is_some() {
            opening.write(&Input::Counters(from, self.counted.counters()))?;
        }
        self.open = Some(Open {
            from,
            opening: opening.finish()?.into(),
            body: Writer::part(Vec::new()),
        });
        Ok(())
    }

    /// Gives up what is too old, and what there is no room for.
    fn give_up(&mut self, at: KtimeNs) {
        // One part more is being written.
        let most = self.most - self.most / PARTS as usize;
        self.too_small = false;
        while let Some(first) = self.parts.front() {
            let second = self.parts.get(1).map(|part| part.from);
            let ends = second.or(self.open.as_ref().map(|open| open.from));
            let old = ends.is_some_and(|ends| at.since(ends) >= self.keep_ns);
            if !old && self.memory() <= most {
                return;
            }
            self.too_small |= !old && at.since(first.from) <= self.keep_ns;
            self.parts.pop_front();
        }
    }

    /// Bytes that are kept.
    #[must_use]
    pub fn memory(&self) -> usize {
        let parts = self.parts.iter();
        let closed: usize = parts.map(|part| part.opening.len() + part.body.len()).sum();
        let open = self.open.as_ref();
        closed + open.map_or(0, |open| open.opening.len() + open.body.written().len())
    }

    /// How much time is kept.
    #[must_use]
    pub fn span(&self) -> Duration {
        let first = self.parts.front().map(|part| part.from);
        let first = first.or(self.open.as_ref().map(|open| open.from));
        Duration::from_nanos(first.map_or(0, |first| self.now.since(first)))
    }

    /// Whether less time is kept than was wished for, because there is no room for more.
    #[must_use]
    pub fn is_too_small(&self) -> bool {
        self.too_small
    }

    /// The run as if the trace began now, the facts that hold, and the counters so far: with them another session can go on.
    ///
    /// # Errors
    /// None that memory could have.
    pub fn opening(&self) -> Vec<Input> {
        let Some(mut run) = self.known.run().cloned() else {
            return Vec::new();
        };
        let at = self.now;
        run.started_unix_ns += at.since(run.started_ktime);
        run.started_ktime = at;
        let run = Input::Host(at, Fact::Run(Box::new(run)));
        let facts = self.known.facts();
        let facts = facts.map(|(told, fact)| Input::Host(told, fact));
        let counters = Input::Counters(at, self.counted.counters());
        [run].into_iter().chain(facts).chain([counters]).collect()
    }

    /// All that is kept, as a recording that ends now; `None` before anything came.
    ///
    /// # Errors
    /// None that memory could have.
    pub fn recording(&mut self) -> io::Result<Option<Kept>> {
        let until = self.now;
        let Some(open) = &mut self.open else {
            return Ok(None);
        };
        open.body.flush()?;
        let mut end = Writer::part(Vec::with_capacity(HEADER_SIZE));
        end.write(&Input::End(until, EndReason::EndOfFile))?;
        let first = self.parts.front();
        let (from, opening) = first.map_or((open.from, &open.opening), |part| {
            (part.from, &part.opening)
        });
        let mut pieces = vec![Bytes::copy_from_slice(&header()), opening.clone()];
        pieces.extend(self.parts.iter().map(|part| part.body.clone()));
        pieces.push(Bytes::copy_from_slice(open.body.written()));
        pieces.push(end.finish()?.into());
        Ok(Some(Kept {
            pieces,
            from,
            until,
        }))
    }
}

fn nanoseconds(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test ends where it fails")]
mod tests;
