//! Blocks of a recording: bytes in, checked and deflated bytes out, and back. What the bytes mean is `frame`'s.

use std::io::{self, Read, Write};

use flate2::{Compress, Compression, Decompress, FlushCompress, FlushDecompress, Status};

use super::{MAX_DEFLATED, MAX_INFLATED};

const BLOCK_HEADER: usize = 12;
/// Space offered to the compressor at a time.
const STEP: usize = 16 << 10;

/// Deflates blocks.
pub(super) struct BlockWriter {
    deflate: Compress,
    out: Vec<u8>,
}

impl BlockWriter {
    pub(super) fn new() -> Self {
        // 20 000 records a second (8 MB) take 3 % of a core; level 9 takes six times that for 4 % less.
        Self {
            deflate: Compress::new(Compression::new(3), false),
            out: Vec::new(),
        }
    }

    /// Writes `inflated` (not empty, at most `MAX_INFLATED` bytes) as one block. Gives the block's size in bytes.
    pub(super) fn write(&mut self, inflated: &[u8], to: &mut impl Write) -> io::Result<u64> {
        self.out.clear();
        // the header comes last, into its place, so that a block is one write
        self.out.extend([0; BLOCK_HEADER]);
        let mut rest = inflated;
        loop {
            self.out.reserve(STEP);
            let before = self.deflate.total_in();
            self.deflate
                .compress_vec(rest, &mut self.out, FlushCompress::Sync)
                .map_err(io::Error::other)?;
            let taken = usize::try_from(self.deflate.total_in() - before).unwrap_or(usize::MAX);
            rest = rest.get(taken..).unwrap_or_default();
            // room that is left over says that the flush is complete
            if rest.is_empty() && self.out.len() < self.out.capacity() {
                break;
            }
        }
        let inflated = u32::try_from(inflated.len()).map_err(io::Error::other)?;
        if let Some((header, deflated)) = self.out.split_first_chunk_mut::<BLOCK_HEADER>() {
            let length = u32::try_from(deflated.len()).map_err(io::Error::other)?;
            let fields = [length, inflated, checksum(inflated, deflated)];
            for (to, from) in header.as_chunks_mut().0.iter_mut().zip(fields) {
                *to = from.to_le_bytes();
            }
        }
        to.write_all(&self.out)?;
        Ok(self.out.len() as u64)
    }
}

/// CRC-32 of the inflated length and the deflated bytes.
fn checksum(inflated: u32, deflated: &[u8]) -> u32 {
    let mut crc = crc32fast::Hasher::new();
    crc.update(&inflated.to_le_bytes());
    crc.update(deflated);
    crc.finalize()
}

/// What stands at a block's place in the file.
pub(super) enum Next {
    /// A block; its inflated bytes are in the buffer.
    Block,
    /// The file ends before it.
    End,
    /// The file ends inside it.
    Cut,
    /// Not a block of ours, in words.
    Damaged(&'static str),
}

/// Inflates blocks.
pub(super) struct BlockReader {
    inflate: Decompress,
    deflated: Vec<u8>,
    /// Where the next block begins.
    offset: u64,
}

impl BlockReader {
    pub(super) fn new(offset: u64) -> Self {
        Self {
            inflate: Decompress::new(false),
            deflated: Vec::new(),
            offset,
        }
    }

    /// Where the next block begins, or the one that was damaged.
    pub(super) fn offset(&self) -> u64 {
        self.offset
    }

    /// Reads the next block into `out`, replacing what it held.
    pub(super) fn read(&mut self, from: &mut impl Read, out: &mut Vec<u8>) -> io::Result<Next> {
        let mut header = Vec::with_capacity(BLOCK_HEADER);
        from.by_ref()
            .take(BLOCK_HEADER as u64)
            .read_to_end(&mut header)?;
        let &[a, b, c, d, e, f, g, h, i, j, k, l] = header.as_slice() else {
            return Ok(if header.is_empty() {
                Next::End
            } else {
                Next::Cut
            });
        };
        let length = u32::from_le_bytes([a, b, c, d]);
        let inflated = u32::from_le_bytes([e, f, g, h]);
        let crc = u32::from_le_bytes([i, j, k, l]);
        if length == 0 || length as usize > MAX_DEFLATED || inflated as usize > MAX_INFLATED {
            return Ok(Next::Damaged("impossible length of a block"));
        }
        self.deflated.clear();
        // grows with what is there, not with what the length promises
        from.by_ref()
            .take(u64::from(length))
            .read_to_end(&mut self.deflated)?;
        if self.deflated.len() < length as usize {
            return Ok(Next::Cut);
        }
        if checksum(inflated, &self.deflated) != crc {
            return Ok(Next::Damaged("wrong checksum"));
        }
        if !self.inflate_block(inflated as usize, out) {
            return Ok(Next::Damaged("cannot be inflated"));
        }
        self.offset += BLOCK_HEADER as u64 + u64::from(length);
        Ok(Next::Block)
    }

    /// Whether the deflated bytes give exactly `wanted` bytes.
    fn inflate_block(&mut self, wanted: usize, out: &mut Vec<u8>) -> bool {
        out.clear();
        let mut rest = self.deflated.as_slice();
        // one byte more than wanted: with no room at all the inflater would not take the flush mark in
        while out.len() <= wanted {
            out.reserve((wanted + 1 - out.len()).min(STEP));
            let (had, before) = (out.len(), self.inflate.total_in());
            let Ok(status) = self
                .inflate
                .decompress_vec(rest, out, FlushDecompress::Sync)
            else {
                return false;
            };
            let taken = usize::try_from(self.inflate.total_in() - before).unwrap_or(usize::MAX);
            rest = rest.get(taken..).unwrap_or_default();
            let stuck = taken == 0 && out.len() == had;
            if status == Status::StreamEnd || stuck {
                break;
            }
        }
        rest.is_empty() && out.len() == wanted
    }
}
