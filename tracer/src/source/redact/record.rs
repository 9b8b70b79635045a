//! Records of the kernel programs with pseudonyms: tuples, the process's name, the captured bytes.

use std::net::IpAddr;

use bytes::Bytes;
use tracer_common::event::{RAW_EVENT_SIZE, RawEvent};
use tracer_common::hook::{self, Argument};
use tracer_common::tuple::RawTuple;
use zerocopy::{FromBytes, IntoBytes};

use super::names::Kind;
use super::{Pseudonyms, packet};
use crate::decode::{self, packet::Start};
use crate::model::{Tuple, address_words, raw_address};

/// A record of which nothing can be read keeps its time: it is counted as one that cannot be decoded.
const TIME: usize = 8;

impl Pseudonyms {
    /// The record with pseudonyms, and its fixed part as it was; nothing but its time where it cannot be read.
    pub(super) fn record(&mut self, record: &Bytes) -> Bytes {
        self.readable(record)
            .unwrap_or_else(|| record.slice(..record.len().min(TIME)))
    }

    fn readable(&mut self, record: &Bytes) -> Option<Bytes> {
        let (mut raw, rest) = RawEvent::read_from_prefix(record).ok()?;
        let reserved = usize::from(raw.cap_reserved);
        let captured = rest.get(..usize::from(raw.caplen))?;
        let stack = rest
            .get(reserved..)?
            .get(..usize::from(raw.stack_len) * size_of::<u64>())?;
        if captured.len() > reserved {
            return None;
        }
        let followed = decode::tuple(&raw.tuple);
        let captured = self.captured(&raw, captured, followed.as_ref());
        raw.tuple = self.raw_tuple(&raw.tuple);
        raw.sk_tuple = self.raw_tuple(&raw.sk_tuple);
        raw.comm = self.comm(&raw.comm);
        raw.fingerprint = self.fingerprint(raw.fingerprint);
        let [first, second] = hook::arguments(raw.hook);
        raw.arg0 = argument(first, raw.arg0);
        raw.arg1 = argument(second, raw.arg1);
        let mut out = Vec::with_capacity(RAW_EVENT_SIZE + reserved + stack.len());
        out.extend_from_slice(raw.as_bytes());
        out.extend_from_slice(&captured);
        // what stands between is left over from other records
        out.resize(RAW_EVENT_SIZE + reserved, 0);
        out.extend_from_slice(stack);
        Some(out.into())
    }

    fn captured(&mut self, raw: &RawEvent, bytes: &[u8], followed: Option<&Tuple>) -> Vec<u8> {
        match raw.hook {
            hook::NEIGH_CREATE
            | hook::NEIGH_UPDATE
            | hook::NEIGH_TIMER_HANDLER
            | hook::NEIGH_EVENT_SEND_DONE => packet::redact_neighbor(bytes, &mut self.addresses),
            _ => {
                let start = Start {
                    l3_offset: raw.l3_offset.into(),
                    protocol: raw.protocol,
                    skb_len: raw.len,
                };
                packet::redact(bytes, start, followed, &mut self.addresses)
            }
        }
    }

    /// Addresses of a tuple; all of it where the family is not known.
    pub(super) fn raw_tuple(&mut self, raw: &RawTuple) -> RawTuple {
        let (Some(src), Some(dst)) = (
            raw_address(raw.src, raw.family),
            raw_address(raw.dst, raw.family),
        ) else {
            return RawTuple::NONE;
        };
        let mut hidden = |address: IpAddr| address_words(self.addresses.address(address));
        RawTuple {
            src: hidden(src),
            dst: hidden(dst),
            ..*raw
        }
    }

    fn comm(&mut self, comm: &[u8; 16]) -> [u8; 16] {
        let end = comm.iter().position(|b| *b == 0).unwrap_or(comm.len());
        let name = String::from_utf8_lossy(comm.get(..end).unwrap_or_default());
        let hidden = self.names.name(Kind::Process, &name);
        let mut padded = [0; 16];
        for (to, from) in padded.iter_mut().zip(hidden.bytes()) {
            *to = from;
        }
        padded
    }

    /// A fingerprint can be turned back into the first bytes of the payload: it becomes a keyed hash.
    fn fingerprint(&self, print: u64) -> u64 {
        match print {
            0 => 0,
            print => self.prints.hash(&print.to_ne_bytes()) | 1,
        }
    }
}

/// What a hook's own field holds, where it is declared what that is. The path of a cgroup's id is hidden where it is told.
fn argument(kind: Argument, value: u64) -> u64 {
    match kind {
        Argument::Unused => 0,
        Argument::Number | Argument::Errno | Argument::Cgroup => value,
    }
}
