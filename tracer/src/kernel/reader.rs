//! Takes records out of the ring buffer: a thread that sleeps until the kernel has some, and hands them on in
//! batches. Each batch is one buffer; its records are slices of it.
//!
//! Not here: what a record means (`decode`), where batches go (the caller's function, which may block: then the ring
//! buffer fills and the kernel counts what it could not write).

use std::io;
use std::ops::ControlFlow;
use std::os::fd::AsFd;
use std::sync::Arc;
use std::thread::{self, JoinHandle};

use aya::maps::{MapData, RingBuf};
use bytes::Bytes;
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::eventfd::{EfdFlags, EventFd};

use crate::restrict::{Role, restrict};

/// A batch ends when it has this many bytes, so that its records do not wait for each other for long.
const BATCH_BYTES: usize = 64 * 1024;

/// The reading end of the ring buffer, not yet started.
pub struct Reader {
    ring: RingBuf<MapData>,
    /// The batch that is being taken.
    batch: Vec<u8>,
    /// Where its records end.
    ends: Vec<usize>,
}

impl Reader {
    pub(super) fn new(ring: RingBuf<MapData>) -> Self {
        Self {
            ring,
            batch: Vec::new(),
            ends: Vec::new(),
        }
    }

    /// Starts the thread. `sink` gets every batch in order, oldest record first, and may end the reading.
    ///
    /// # Errors
    /// When no thread or descriptor can be had.
    pub fn start(
        mut self,
        mut sink: impl FnMut(Vec<Bytes>) -> ControlFlow<()> + Send + 'static,
    ) -> io::Result<Running> {
        let stop = Arc::new(EventFd::from_flags(EfdFlags::EFD_CLOEXEC)?);
        let told = Arc::clone(&stop);
        let thread = thread::Builder::new()
            .name("tracer-records".to_owned())
            .spawn(move || self.run(&told, &mut sink))?;
        Ok(Running {
            stop,
            thread: Some(thread),
        })
    }

    fn run(
        &mut self,
        stop: &EventFd,
        sink: &mut impl FnMut(Vec<Bytes>) -> ControlFlow<()>,
    ) -> io::Result<()> {
        // What cannot be had is said of the loop's thread.
        restrict(Role::Work);
        loop {
            let stopping = self.wait(stop)?;
            loop {
                let batch = self.take();
                if batch.is_empty() {
                    break;
                }
                if sink(batch).is_break() {
                    return Ok(());
                }
            }
            if stopping {
                return Ok(());
            }
        }
    }

    /// Sleeps until there are records or the end is asked for; true for the latter.
    fn wait(&self, stop: &EventFd) -> io::Result<bool> {
        let mut fds = [
            PollFd::new(self.ring.as_fd(), PollFlags::POLLIN),
            PollFd::new(stop.as_fd(), PollFlags::POLLIN),
        ];
        loop {
            match poll(&mut fds, PollTimeout::NONE) {
                Ok(_) => break,
                Err(Errno::EINTR) => {}
                Err(error) => return Err(error.into()),
            }
        }
        let [_, stop] = &fds;
        Ok(stop.any().unwrap_or(false))
    }

    /// What is there, up to a batch.
    fn take(&mut self) -> Vec<Bytes> {
        self.batch.clear();
        self.ends.clear();
        while self.batch.len() < BATCH_BYTES
            && let Some(record) = self.ring.next()
        {
            self.batch.extend_from_slice(&record);
            self.ends.push(self.batch.len());
        }
        // Most batches have few records, and one that is kept keeps all of its batch: no room is left in it.
        slices(Bytes::copy_from_slice(&self.batch), &self.ends)
    }
}

/// Cuts a buffer at `ends` without copying.
fn slices(mut bytes: Bytes, ends: &[usize]) -> Vec<Bytes> {
    let mut start = 0;
    let cut = |end: &usize| {
        let record = bytes.split_to(end.saturating_sub(start).min(bytes.len()));
        start = *end;
        record
    };
    ends.iter().map(cut).collect()
}

/// A running reader. Dropping it is [`Running::stop`] without the answer.
pub struct Running {
    stop: Arc<EventFd>,
    thread: Option<JoinHandle<io::Result<()>>>,
}

impl Running {
    /// Hands on what the ring buffer still holds, then ends the thread. Detach first: what comes later is lost.
    ///
    /// # Errors
    /// Why the thread ended before it was asked to.
    pub fn stop(mut self) -> io::Result<()> {
        self.end()
    }

    fn end(&mut self) -> io::Result<()> {
        let Some(thread) = self.thread.take() else {
            return Ok(());
        };
        self.stop.write(1)?;
        match thread.join() {
            Ok(result) => result,
            Err(panic) => std::panic::resume_unwind(panic),
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if !thread::panicking() {
            // The error has nobody to go to: `stop` is for those who want it.
            let _ = self.end();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_batch_is_cut_without_copying() {
        let bytes = Bytes::from_static(b"abcdefgh");
        let start = bytes.as_ptr();
        let records = slices(bytes, &[2, 2, 8]);
        assert_eq!(records, [&b"ab"[..], b"", b"cdefgh"]);
        assert_eq!(records.first().map(|record| record.as_ptr()), Some(start));
    }
}
