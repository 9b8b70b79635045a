//! Verdicts of nf_tables: where a rule, or an element of a verdict map, leads.

use super::super::rules::End;
use crate::host::facts::Stop;
use crate::host::netlink::{attributes, be32_of, text_of};

const NFTA_DATA_VERDICT: u16 = 2;
const NFTA_VERDICT_CODE: u16 = 1;
const NFTA_VERDICT_CHAIN: u16 = 2;
const NF_DROP: i32 = 0;
const NF_ACCEPT: i32 = 1;
const NF_QUEUE: i32 = 3;
const NFT_JUMP: i32 = -3;
const NFT_GOTO: i32 = -4;

/// Reads a verdict out of NFTA_*_DATA; `None` where the data are a value.
pub(super) fn of_data(data: &[u8]) -> Option<End> {
    let verdict = attributes(data)
        .find(|(kind, _)| *kind == NFTA_DATA_VERDICT)
        .map(|(_, value)| value)?;
    let (mut code, mut chain) = (None, String::new());
    for (kind, value) in attributes(verdict) {
        match kind {
            NFTA_VERDICT_CODE => code = be32_of(value).map(u32::cast_signed),
            NFTA_VERDICT_CHAIN => chain = text_of(value),
            _ => {}
        }
    }
    let stop = |stop, said: &str| End::Stop(stop, said.to_owned());
    // A queue's number stands above the verdict.
    Some(match code? {
        NFT_JUMP | NFT_GOTO => End::Jump(chain),
        NF_DROP => stop(Stop::Drop, "drop"),
        NF_ACCEPT => stop(Stop::Accept, "accept"),
        code if code > 0 && code & 0xff == NF_QUEUE => stop(Stop::Queue, "queue"),
        _ => End::Next,
    })
}
