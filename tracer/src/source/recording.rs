//! Recordings: the inputs of a run in a file, and back. What is replayed is what the live run was made of, so
//! decoder, correlator and diagnosis are run anew; nothing decoded or decided stands in the file.
//!
//! ```text
//! file    = header, block, block, …
//! header  = magic (8), version (u16), size of a record's fixed part (u16), byte order mark (u16), zero (u16)
//! block   = length (u32), inflated length (u32), CRC-32 (u32), deflated bytes
//! inflated block = frame, frame, …         whole frames only
//! frame   = kind (u8), length (u32), payload
//! ```
//! Integers are little-endian, except inside kernel records and counters, which stay as the kernel wrote them (the
//! byte order mark says how). Facts about the host are JSON: they are few, and their types grow.
//!
//! All blocks are one deflate stream, flushed to a byte boundary at the end of each: later blocks use what earlier
//! ones held, which matters because ticks force small blocks in a quiet trace. Deflate (flate2 over miniz_oxide,
//! all Rust) was chosen over LZ4, whose files are a quarter to a half larger, because recordings are meant to go into
//! tickets and repositories, and over zstd, which has no encoder of that strength in Rust alone.
//!
//! A writer that is killed leaves a file that ends somewhere: everything up to the last whole block is read, and
//! the reader says that it was [`Ending::Cut`], which is no error. Bytes that changed are an error with their place.

mod block;
mod feed;
mod frame;
mod reader;
mod ring;
#[cfg(test)]
pub mod samples;
mod writer;

pub use feed::Feed;
pub use reader::{Ending, Reader};
pub use ring::{Kept, Ring};
pub use writer::Writer;

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use thiserror::Error;
use tracer_common::event::RAW_EVENT_SIZE;

/// Version of the format. Changes with anything that an older reader would misread, the layout of
/// [`tracer_common::event::RawEvent`] included.
pub const VERSION: u16 = 1;

/// The first bytes of every recording. The first is not ASCII and the last two are a line end, so that a transfer
/// as text shows.
const MAGIC: [u8; 8] = *b"\x89TRACR\r\n";
const HEADER_SIZE: usize = 16;
/// Written in the machine's own order.
const BYTE_ORDER_MARK: u16 = 0x0102;
/// Largest frame and largest inflated block. 170 000 hop counters, far above what the kernel map holds.
const MAX_INFLATED: usize = 16 << 20;
/// Deflate never grows its input by more than this, and a flush adds a few bytes.
const MAX_DEFLATED: usize = MAX_INFLATED + (MAX_INFLATED >> 8) + 1024;

/// Why a recording cannot be read.
#[derive(Debug, Error)]
pub enum RecordingError {
    /// The system said no.
    #[error("cannot read the recording: {0}")]
    Io(#[from] io::Error),
    /// Something else, or nothing.
    #[error("this is not a recording of tracer; make one with `tracer --record FILE`")]
    Foreign,
    /// Of another version.
    #[error(
        "the recording has format {found}, this tracer reads {VERSION}: replay it with the tracer that made it"
    )]
    Version {
        /// The version it has.
        found: u16,
    },
    /// The size of records or the byte order differ.
    #[error(
        "the recording was made on a machine with another byte order or record layout: replay it on one like it"
    )]
    Layout,
    /// Bytes that no writer wrote.
    #[error(
        "the recording is damaged at byte {offset} ({what}); copy it again from where it was made"
    )]
    Damaged {
        /// Where the damaged block begins in the file.
        offset: u64,
        /// What is wrong there.
        what: &'static str,
    },
}

/// A file for a recording, which holds packets' bytes: nobody else may read it. Not yet emptied.
///
/// # Errors
/// When it cannot be made.
pub fn create(path: &Path) -> io::Result<File> {
    OpenOptions::new()
        .write(true)
        .read(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .open(path)
}

/// A file of these frames, with the checksums that they need.
///
/// # Errors
/// Those of the compressor.
pub(crate) fn of_frames(frames: &[u8]) -> io::Result<Vec<u8>> {
    let mut file = header().to_vec();
    let mut blocks = block::BlockWriter::new();
    for block in frames.chunks(MAX_INFLATED) {
        blocks.write(block, &mut file)?;
    }
    Ok(file)
}

/// The header that this version writes.
fn header() -> [u8; HEADER_SIZE] {
    let mut bytes = [0; HEADER_SIZE];
    let record = u16::try_from(RAW_EVENT_SIZE).unwrap_or(u16::MAX);
    let fields = MAGIC
        .into_iter()
        .chain(VERSION.to_le_bytes())
        .chain(record.to_le_bytes())
        .chain(BYTE_ORDER_MARK.to_ne_bytes());
    for (to, from) in bytes.iter_mut().zip(fields) {
        *to = from;
    }
    bytes
}

/// Whether this version can read what follows the header.
fn check_header(found: &[u8]) -> Result<(), RecordingError> {
    let ours = header();
    if !found.starts_with(&MAGIC) {
        return Err(RecordingError::Foreign);
    }
    match found.get(8..10) {
        Some(&[low, high]) if [low, high] != VERSION.to_le_bytes() => {
            return Err(RecordingError::Version {
                found: u16::from_le_bytes([low, high]),
            });
        }
        Some(_) => {}
        None => return Err(RecordingError::Foreign),
    }
    if found.len() < HEADER_SIZE {
        return Err(RecordingError::Foreign);
    }
    if found != ours {
        return Err(RecordingError::Layout);
    }
    Ok(())
}

#[cfg(test)]
mod tests;
