//! Frames of a recording: one [`Input`] as bytes, and back.

use std::io;

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use tracer_common::stats::{HopCount, HopKey};
use zerocopy::{FromBytes, IntoBytes};

use super::MAX_INFLATED;
use crate::model::KtimeNs;
use crate::model::{Counters, Losses};
use crate::source::{EndReason, Input};

const HOST: u8 = 1;
const RECORD: u8 = 2;
const COUNTERS: u8 = 3;
const TICK: u8 = 4;
const END: u8 = 5;

/// Kind and length before each payload.
const FRAME_HEADER: usize = 5;

/// Appends `input` to a block.
pub(super) fn encode(input: &Input, out: &mut Vec<u8>) -> io::Result<()> {
    let start = out.len();
    out.extend([0; FRAME_HEADER]);
    let kind = match input {
        Input::Host(at, fact) => {
            json(*at, fact, out)?;
            HOST
        }
        Input::Record(bytes) => {
            out.extend_from_slice(bytes);
            RECORD
        }
        Input::Counters(at, counters) => {
            out.extend(at.0.to_le_bytes());
            let rows = u32::try_from(counters.hops.len()).map_err(io::Error::other)?;
            out.extend(rows.to_le_bytes());
            for (key, count) in &counters.hops {
                out.extend_from_slice(key.as_bytes());
                out.extend_from_slice(count.as_bytes());
            }
            serde_json::to_writer(&mut *out, &counters.loss)?;
            COUNTERS
        }
        Input::Tick(at) => {
            out.extend(at.0.to_le_bytes());
            TICK
        }
        Input::End(at, reason) => {
            json(*at, reason, out)?;
            END
        }
    };
    let size = out.len() - start;
    if size > MAX_INFLATED {
        out.truncate(start);
        return Err(io::Error::other(format!(
            "an input of {size} bytes does not fit into a recording"
        )));
    }
    let length = u32::try_from(size - FRAME_HEADER).map_err(io::Error::other)?;
    let header = [kind].into_iter().chain(length.to_le_bytes());
    for (to, from) in out.iter_mut().skip(start).zip(header) {
        *to = from;
    }
    Ok(())
}

fn json<T: Serialize>(at: KtimeNs, value: &T, out: &mut Vec<u8>) -> io::Result<()> {
    out.extend(at.0.to_le_bytes());
    Ok(serde_json::to_writer(out, value)?)
}

/// Why a frame gives no input.
pub(super) enum NoInput {
    /// A kind that this version does not know; later versions may add some.
    Unknown,
    /// Not written by a writer of ours, in words.
    Bad(&'static str),
}

/// Takes the first frame of `bytes`; `None` when there are none left.
pub(super) fn decode(bytes: &mut &[u8]) -> Option<Result<Input, NoInput>> {
    if bytes.is_empty() {
        return None;
    }
    Some(split(bytes).map_or(
        Err(NoInput::Bad("a frame is longer than its block")),
        |(kind, payload)| input(kind, payload),
    ))
}

/// Kind and payload of the first frame.
fn split<'a>(bytes: &mut &'a [u8]) -> Option<(u8, &'a [u8])> {
    let (&kind, rest) = bytes.split_first()?;
    let (length, rest) = rest.split_first_chunk::<4>()?;
    let (payload, rest) = rest.split_at_checked(u32::from_le_bytes(*length) as usize)?;
    *bytes = rest;
    Some((kind, payload))
}

fn input(kind: u8, payload: &[u8]) -> Result<Input, NoInput> {
    match kind {
        HOST => dated(payload).map(|(at, fact)| Input::Host(at, fact)),
        // a copy of its own: a slice of the block would keep all of it alive for one kept packet
        RECORD => Some(Input::Record(Bytes::copy_from_slice(payload))),
        COUNTERS => counters(payload),
        TICK => time(payload).map(|(at, _)| Input::Tick(at)),
        END => dated(payload).map(|(at, reason)| Input::End(at, reason)),
        _ => return Err(NoInput::Unknown),
    }
    .ok_or(NoInput::Bad("a frame cannot be understood"))
}

fn time(payload: &[u8]) -> Option<(KtimeNs, &[u8])> {
    let (at, rest) = payload.split_first_chunk::<8>()?;
    Some((KtimeNs(u64::from_le_bytes(*at)), rest))
}

fn dated<T: for<'a> Deserialize<'a>>(payload: &[u8]) -> Option<(KtimeNs, T)> {
    let (at, rest) = time(payload)?;
    Some((at, serde_json::from_slice(rest).ok()?))
}

fn counters(payload: &[u8]) -> Option<Input> {
    let (at, rest) = time(payload)?;
    let (rows, mut rest) = rest.split_first_chunk::<4>()?;
    let mut hops = Vec::new();
    for _ in 0..u32::from_le_bytes(*rows) {
        let (key, after) = HopKey::read_from_prefix(rest).ok()?;
        let (count, after) = HopCount::read_from_prefix(after).ok()?;
        hops.push((key, count));
        rest = after;
    }
    let loss: Losses = serde_json::from_slice(rest).ok()?;
    Some(Input::Counters(at, Counters { hops, loss }))
}

/// Whether nothing can follow.
pub(super) fn is_end(input: &Input) -> bool {
    matches!(input, Input::End(..))
}

/// The end that a reader adds where the file has none.
pub(super) fn end_of_file(at: KtimeNs) -> Input {
    Input::End(at, EndReason::EndOfFile)
}
