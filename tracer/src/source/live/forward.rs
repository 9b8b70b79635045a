//! What happens to each batch of records on the reader's thread: the names of the functions that a record mentions for
//! the first time go into the channel before it.

use std::collections::HashSet;
use std::ops::ControlFlow;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use tokio::sync::mpsc;
use tracer_common::event::RawEvent;
use tracer_common::hook;
use zerocopy::FromBytes;

use super::{Message, control};
use crate::host::facts::Fact;
use crate::kernel::symbols::Symbols;
use crate::model::KtimeNs;
use crate::source::Input;

/// The time of the record that is being handed on; zero while none is. To find the names of a first stack takes
/// long, and the clock that the loop is told must not run ahead of the records that wait meanwhile.
#[derive(Clone, Debug, Default)]
pub(super) struct Progress(Arc<AtomicU64>);

impl Progress {
    fn at(&self, ktime: u64) {
        self.0.store(ktime, Ordering::Release);
    }

    /// `now`, or the time of the record that has not been handed on yet.
    pub(super) fn until(&self, now: KtimeNs) -> KtimeNs {
        match self.0.load(Ordering::Acquire) {
            0 => now,
            waiting => now.min(KtimeNs(waiting)),
        }
    }
}

/// Hands batches on to the loop.
pub(super) struct Forwarder {
    symbols: Symbols,
    named: HashSet<u64>,
    to: mpsc::Sender<Message>,
    progress: Progress,
}

impl Forwarder {
    /// `image` as for [`Symbols::new`].
    pub(super) fn new(
        image: Option<PathBuf>,
        to: mpsc::Sender<Message>,
        progress: Progress,
    ) -> Self {
        Self {
            symbols: Symbols::new(image),
            named: HashSet::new(),
            to,
            progress,
        }
    }

    /// Hands one batch on, waiting for room; breaks when nobody listens any more.
    pub(super) fn pass(&mut self, batch: Vec<Bytes>) -> ControlFlow<()> {
        for record in batch {
            if let Ok((event, _)) = RawEvent::ref_from_prefix(&record) {
                self.progress.at(event.ktime_ns);
            }
            if is_own_lookup(&record) {
                continue;
            }
            if let Some(fact) = self.new_names(&record) {
                self.send(fact)?;
            }
            self.send(Input::Record(record))?;
        }
        self.progress.at(0);
        ControlFlow::Continue(())
    }

    fn send(&self, input: Input) -> ControlFlow<()> {
        match self.to.blocking_send(Message::Input(input)) {
            Ok(()) => ControlFlow::Continue(()),
            Err(_) => ControlFlow::Break(()),
        }
    }

    fn new_names(&mut self, record: &[u8]) -> Option<Input> {
        let (event, rest) = RawEvent::ref_from_prefix(record).ok()?;
        let mut new: Vec<u64> = stack(event, rest).chain([event.location]).collect();
        new.retain(|address| *address != 0 && self.named.insert(*address));
        if new.is_empty() {
            return None;
        }
        let names = self.symbols.names(&new);
        Some(Input::Host(KtimeNs(event.ktime_ns), Fact::Symbols(names)))
    }
}

/// Whether it is a route lookup that a control thread asked for: this run's, or that of another run beside it.
fn is_own_lookup(record: &[u8]) -> bool {
    RawEvent::ref_from_prefix(record).is_ok_and(|(event, _)| {
        matches!(event.hook, hook::FIB_TABLE_LOOKUP | hook::FIB6_TABLE_LOOKUP)
            && event.comm.starts_with(control::THREAD.as_bytes())
    })
}

/// The stack's addresses: see [`tracer_common::event`] for where they stand.
fn stack<'a>(event: &RawEvent, rest: &'a [u8]) -> impl Iterator<Item = u64> + use<'a> {
    let frames = rest.get(usize::from(event.cap_reserved)..).unwrap_or(&[]);
    frames
        .as_chunks()
        .0
        .iter()
        .take(usize::from(event.stack_len))
        .map(|bytes| u64::from_ne_bytes(*bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_clock_waits_for_the_record_that_is_handed_on() {
        let progress = Progress::default();
        assert_eq!(progress.until(KtimeNs(900)), KtimeNs(900));
        progress.at(400);
        assert_eq!(progress.until(KtimeNs(900)), KtimeNs(400));
        progress.at(0);
        assert_eq!(progress.until(KtimeNs(950)), KtimeNs(950));
    }
}
