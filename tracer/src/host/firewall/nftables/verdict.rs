//! Verdicts of nf_tables: where a rule, or an element of a verdict map, leads.

use crate::host::facts::RuleVerdict;
use crate::host::netlink::{attributes, be32_of, text_of};

const NFTA_DATA_VERDICT: u16 = 2;
const NFTA_VERDICT_CODE: u16 = 1;
const NFTA_VERDICT_CHAIN: u16 = 2;
const NF_DROP: i32 = 0;
const NF_ACCEPT: i32 = 1;
const NF_QUEUE: i32 = 3;
const NFT_JUMP: i32 = -3;
const NFT_GOTO: i32 = -4;
const NFT_RETURN: i32 = -5;
/// NF_VERDICT_FLAG_QUEUE_BYPASS.
const BYPASS: i32 = 0x8000;

/// Reads a verdict out of NFTA_*_DATA; `None` where the data are a value.
pub(super) fn of_data(data: &[u8]) -> Option<RuleVerdict> {
    let verdict = attributes(data).find(|(kind, _)| *kind == NFTA_DATA_VERDICT);
    of_attributes(verdict?.1)
}

/// Reads the attributes of a verdict (NFTA_VERDICT_*).
pub(crate) fn of_attributes(verdict: &[u8]) -> Option<RuleVerdict> {
    let (mut code, mut chain) = (None, String::new());
    for (kind, value) in attributes(verdict) {
        match kind {
            NFTA_VERDICT_CODE => code = be32_of(value).map(u32::cast_signed),
            NFTA_VERDICT_CHAIN => chain = text_of(value),
            _ => {}
        }
    }
    Some(match code? {
        NFT_JUMP => RuleVerdict::Jump(chain),
        NFT_GOTO => RuleVerdict::Goto(chain),
        NFT_RETURN => RuleVerdict::Return,
        NF_DROP => RuleVerdict::Drop,
        NF_ACCEPT => RuleVerdict::Accept,
        // A queue's number stands above the verdict.
        code if code > 0 && code & 0xff == NF_QUEUE => RuleVerdict::Queue {
            number: u16::try_from(code >> 16).unwrap_or_default(),
            bypass: code & BYPASS != 0,
        },
        _ => RuleVerdict::Continue,
    })
}
