//! Elements of sets and verdict maps of nf_tables, where rules look packets up in them.

use std::collections::BTreeMap;
use std::io;

use super::super::rules::End;
use super::rules::TableId;
use super::verdict;
use crate::host::netlink::{Message, Netlink, Request, attributes, be32_of, text_of};

const NFT_MSG_GETSETELEM: u16 = 13;
const NFTA_SET_ELEM_LIST_TABLE: u16 = 1;
const NFTA_SET_ELEM_LIST_SET: u16 = 2;
const NFTA_SET_ELEM_LIST_ELEMENTS: u16 = 3;
const NFTA_SET_ELEM_KEY: u16 = 1;
const NFTA_SET_ELEM_DATA: u16 = 2;
const NFTA_SET_ELEM_FLAGS: u16 = 3;
const NFT_SET_ELEM_INTERVAL_END: u32 = 1;
const NFTA_DATA_VALUE: u16 = 1;
const NFTA_LOOKUP_SET: u16 = 1;
/// How nft names sets and maps that belong to one rule.
const ANONYMOUS: [&str; 2] = ["__set", "__map"];

/// An element.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Element {
    pub(super) key: Vec<u8>,
    /// It only closes an interval.
    pub(super) closes: bool,
    /// Of a verdict map.
    pub(super) verdict: Option<End>,
}

/// Elements by table and set.
pub(super) type Sets = BTreeMap<(TableId, String), Vec<Element>>;

/// The set that a lookup names, where it belongs to its rule alone and so is small. Others may hold millions.
pub(super) fn looked_up((name, data): &(String, Vec<u8>)) -> Option<String> {
    if name != "lookup" {
        return None;
    }
    let set = attributes(data)
        .find(|(kind, _)| *kind == NFTA_LOOKUP_SET)
        .map(|(_, value)| text_of(value))?;
    ANONYMOUS
        .iter()
        .any(|start| set.starts_with(start))
        .then_some(set)
}

/// The elements of a set.
pub(super) fn elements(
    socket: &mut Netlink,
    subsystem: u16,
    ((family, table), set): (&TableId, &str),
) -> io::Result<Vec<Element>> {
    let closed = |text: &str| [text.as_bytes(), &[0]].concat();
    let request = Request::all(subsystem << 8 | NFT_MSG_GETSETELEM, &[*family, 0, 0, 0])
        .attribute(NFTA_SET_ELEM_LIST_TABLE, &closed(table))
        .attribute(NFTA_SET_ELEM_LIST_SET, &closed(set));
    Ok(socket.ask(&request, elements_of)?.concat())
}

fn elements_of(message: Message<'_>) -> Option<Vec<Element>> {
    let list = attributes(message.payload.get(4..)?)
        .find(|(kind, _)| *kind == NFTA_SET_ELEM_LIST_ELEMENTS)
        .map(|(_, value)| value)?;
    Some(attributes(list).map(|(_, e)| element(e)).collect())
}

fn element(bytes: &[u8]) -> Element {
    let mut read = Element {
        key: Vec::new(),
        closes: false,
        verdict: None,
    };
    for (kind, value) in attributes(bytes) {
        match kind {
            NFTA_SET_ELEM_KEY => {
                read.key = attributes(value)
                    .find(|(kind, _)| *kind == NFTA_DATA_VALUE)
                    .map(|(_, value)| value.to_vec())
                    .unwrap_or_default();
            }
            NFTA_SET_ELEM_DATA => read.verdict = verdict::of_data(value),
            NFTA_SET_ELEM_FLAGS => {
                read.closes =
                    be32_of(value).is_some_and(|flags| flags & NFT_SET_ELEM_INTERVAL_END != 0);
            }
            _ => {}
        }
    }
    read
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_sets_of_one_rule_are_read() {
        let lookup = |set: &[u8]| {
            let request = Request::one(0, &[]).attribute(NFTA_LOOKUP_SET, set);
            (String::from("lookup"), request.payload().to_vec())
        };
        assert_eq!(looked_up(&lookup(b"__set0\0")).as_deref(), Some("__set0"));
        assert_eq!(looked_up(&lookup(b"blocked\0")), None);
        assert_eq!(looked_up(&(String::from("cmp"), Vec::new())), None);
    }
}
