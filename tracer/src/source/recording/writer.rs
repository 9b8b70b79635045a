//! Writes a recording.

use std::io::{self, Write};

use super::block::BlockWriter;
use super::{HEADER_SIZE, MAX_INFLATED, frame, header};
use crate::model::KtimeNs;
use crate::source::Input;

/// A block is written when it has this many bytes …
const BLOCK_TARGET: usize = 64 << 10;
/// … or when this much time of the trace has gone by since the last: what a kill may cost.
const FLUSH_EVERY_NS: u64 = 1_000_000_000;

/// Writes inputs as they come. Whole blocks reach the inner writer at least once a second of the trace, and
/// everything does at [`Input::End`].
pub struct Writer<W: Write> {
    to: W,
    blocks: BlockWriter,
    pending: Vec<u8>,
    flushed_at: Option<KtimeNs>,
    size: u64,
}

impl<W: Write> Writer<W> {
    /// Begins a recording; writes its header.
    ///
    /// # Errors
    /// Those of the inner writer.
    pub fn new(mut to: W) -> io::Result<Self> {
        to.write_all(&header())?;
        to.flush()?;
        Ok(Self {
            size: HEADER_SIZE as u64,
            ..Self::part(to)
        })
    }

    /// Begins a part that stands behind a header or another part: it has no header.
    pub(super) fn part(to: W) -> Self {
        Self {
            to,
            blocks: BlockWriter::new(),
            pending: Vec::new(),
            flushed_at: None,
            size: 0,
        }
    }

    /// Adds an input.
    ///
    /// # Errors
    /// Those of the inner writer; an input larger than a frame can be (16 MiB) is refused, and others may follow.
    pub fn write(&mut self, input: &Input) -> io::Result<()> {
        let before = self.pending.len();
        frame::encode(input, &mut self.pending)?;
        // a large frame gets a block of its own
        if before > 0 && self.pending.len() > MAX_INFLATED {
            let large = self.pending.split_off(before);
            self.flush()?;
            self.pending = large;
        }
        let at = input.at();
        let since = self.flushed_at.or(at);
        self.flushed_at = since;
        let due = match (at, since) {
            (Some(at), Some(since)) => at.since(since) >= FLUSH_EVERY_NS,
            _ => false,
        };
        if due || self.pending.len() >= BLOCK_TARGET || frame::is_end(input) {
            self.flushed_at = at.or(since);
            self.flush()?;
        }
        Ok(())
    }

    /// Writes what is pending as a block, and flushes the inner writer.
    ///
    /// # Errors
    /// Those of the inner writer.
    pub fn flush(&mut self) -> io::Result<()> {
        if !self.pending.is_empty() {
            self.size += self.blocks.write(&self.pending, &mut self.to)?;
            self.pending.clear();
        }
        self.to.flush()
    }

    /// Bytes that have reached the inner writer.
    #[must_use]
    pub fn size(&self) -> u64 {
        self.size
    }

    /// Flushes and gives the inner writer back.
    ///
    /// # Errors
    /// Those of the inner writer.
    pub fn finish(mut self) -> io::Result<W> {
        self.flush()?;
        Ok(self.to)
    }
}

impl Writer<Vec<u8>> {
    /// What has reached the inner writer so far.
    #[must_use]
    pub fn written(&self) -> &[u8] {
        &self.to
    }
}

#[cfg(test)]
impl Writer<Vec<u8>> {
    /// Puts bytes into the block as they are.
    pub(super) fn append_raw(&mut self, bytes: &[u8]) {
        self.pending.extend_from_slice(bytes);
    }
}
