//! Sets, maps and verdict maps of nf_tables with their elements, as far as rules look packets up in them.

use std::collections::BTreeMap;
use std::io;

use super::rules::TableId;
use super::verdict;
use crate::host::facts::RuleVerdict;
use crate::host::netlink::{Message, Netlink, Request, attributes, be32_of, text_of};

const NFT_MSG_GETSET: u16 = 10;
const NFT_MSG_GETSETELEM: u16 = 13;
const NFTA_SET_TABLE: u16 = 1;
const NFTA_SET_NAME: u16 = 2;
const NFTA_SET_FLAGS: u16 = 3;
const NFTA_SET_KEY_LEN: u16 = 5;
const NFT_SET_INTERVAL: u32 = 4;
const NFTA_SET_ELEM_LIST_TABLE: u16 = 1;
const NFTA_SET_ELEM_LIST_SET: u16 = 2;
const NFTA_SET_ELEM_LIST_ELEMENTS: u16 = 3;
const NFTA_SET_ELEM_KEY: u16 = 1;
const NFTA_SET_ELEM_DATA: u16 = 2;
const NFTA_SET_ELEM_FLAGS: u16 = 3;
const NFTA_SET_ELEM_EXPIRATION: u16 = 5;
const NFTA_SET_ELEM_USERDATA: u16 = 6;
const NFTA_SET_ELEM_KEY_END: u16 = 10;
const NFT_SET_ELEM_INTERVAL_END: u32 = 1;
const NFT_SET_ELEM_CATCHALL: u32 = 2;
const NFTA_DATA_VALUE: u16 = 1;

/// A set without its elements.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Kind {
    /// Bytes of a key: each field begins at a multiple of four.
    pub(super) key: usize,
    /// Elements are first keys and ends of intervals.
    pub(super) intervals: bool,
}

/// An element as read.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Element {
    pub(super) key: Vec<u8>,
    /// The last key, of elements that are ranges of joined fields.
    pub(super) last: Option<Vec<u8>>,
    /// It only closes an interval: what is below it belongs to the element before.
    pub(super) closes: bool,
    /// Of a verdict map.
    pub(super) verdict: Option<RuleVerdict>,
    pub(super) comment: Option<String>,
    /// Until it goes away by itself.
    pub(super) remaining_s: Option<u64>,
    /// Stands for every key that has no element.
    pub(super) catchall: bool,
}

/// Sets by table and name.
pub(super) type Kinds = BTreeMap<(TableId, String), Kind>;

/// All sets and maps of the calling thread's namespace, without elements.
pub(super) fn kinds(socket: &mut Netlink, subsystem: u16) -> io::Result<Kinds> {
    let request = Request::all(subsystem << 8 | NFT_MSG_GETSET, &[0; 4]);
    Ok(socket.ask(&request, kind_of)?.into_iter().collect())
}

/// Any message, to both readers.
pub(super) fn foreign(message: Message<'_>) {
    kind_of(message);
    elements_of(message);
}

fn kind_of(message: Message<'_>) -> Option<((TableId, String), Kind)> {
    let ([family, ..], rest) = message.payload.split_first_chunk::<4>()?;
    let (mut table, mut name) = (String::new(), String::new());
    let mut kind = Kind {
        key: 0,
        intervals: false,
    };
    for (attribute, value) in attributes(rest) {
        match attribute {
            NFTA_SET_TABLE => table = text_of(value),
            NFTA_SET_NAME => name = text_of(value),
            NFTA_SET_FLAGS => {
                kind.intervals = be32_of(value).is_some_and(|f| f & NFT_SET_INTERVAL != 0);
            }
            NFTA_SET_KEY_LEN => kind.key = usize::try_from(be32_of(value)?).ok()?,
            _ => {}
        }
    }
    Some((((*family, table), name), kind))
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

fn value(data: &[u8]) -> Option<Vec<u8>> {
    attributes(data)
        .find(|(kind, _)| *kind == NFTA_DATA_VALUE)
        .map(|(_, value)| value.to_vec())
}

fn element(bytes: &[u8]) -> Element {
    let mut read = Element::default();
    for (kind, data) in attributes(bytes) {
        match kind {
            NFTA_SET_ELEM_KEY => read.key = value(data).unwrap_or_default(),
            NFTA_SET_ELEM_KEY_END => read.last = value(data),
            NFTA_SET_ELEM_DATA => read.verdict = verdict::of_data(data),
            NFTA_SET_ELEM_FLAGS => {
                let flags = be32_of(data).unwrap_or_default();
                read.closes = flags & NFT_SET_ELEM_INTERVAL_END != 0;
                read.catchall = flags & NFT_SET_ELEM_CATCHALL != 0;
            }
            NFTA_SET_ELEM_EXPIRATION => {
                let ms = data.first_chunk().map(|ms| u64::from_be_bytes(*ms));
                read.remaining_s = ms.map(|ms| ms.div_ceil(1000));
            }
            NFTA_SET_ELEM_USERDATA => read.comment = super::rules::comment(data),
            _ => {}
        }
    }
    read
}

/// First and last key of each element: an interval's end is the key before the one that closes it.
pub(super) fn ranges(kind: &Kind, mut elements: Vec<Element>) -> Vec<Element> {
    let joined = elements.iter().any(|e| e.last.is_some());
    if !kind.intervals || joined {
        return elements.into_iter().filter(|e| !e.closes).collect();
    }
    let (mut catchall, mut list) = (Vec::new(), Vec::new());
    for element in elements.drain(..) {
        if element.catchall {
            catchall.push(element);
        } else {
            list.push(element);
        }
    }
    // Where one interval ends the next may begin: the end comes first.
    list.sort_by(|a, b| (&a.key, !a.closes).cmp(&(&b.key, !b.closes)));
    let mut whole: Vec<Element> = Vec::new();
    let mut open = false;
    for element in list {
        if open && let Some(before) = whole.last_mut() {
            before.last = Some(one_less(&element.key));
        }
        open = !element.closes;
        if open {
            whole.push(element);
        }
    }
    if open && let Some(before) = whole.last_mut() {
        before.last = Some(vec![0xff; before.key.len()]);
    }
    whole.extend(catchall);
    whole
}

fn one_less(key: &[u8]) -> Vec<u8> {
    let mut key = key.to_vec();
    for byte in key.iter_mut().rev() {
        let (less, borrowed) = byte.overflowing_sub(1);
        *byte = less;
        if !borrowed {
            break;
        }
    }
    key
}

#[cfg(test)]
mod tests {
    use super::*;

    fn element(key: &[u8], closes: bool) -> Element {
        Element {
            key: key.to_vec(),
            closes,
            ..Element::default()
        }
    }

    #[test]
    fn ends_of_intervals_are_joined_with_their_beginnings() {
        let kind = Kind {
            key: 2,
            intervals: true,
        };
        let list = vec![
            element(&[2, 0], false),
            element(&[0, 0], true),
            element(&[1, 0], false),
            element(&[1, 9], true),
            element(&[0, 5], false),
            element(&[1, 0], true),
        ];
        let told: Vec<_> = ranges(&kind, list)
            .into_iter()
            .map(|e| (e.key, e.last))
            .collect();
        assert_eq!(
            told,
            [
                (vec![0, 5], Some(vec![0, 255])),
                (vec![1, 0], Some(vec![1, 8])),
                (vec![2, 0], Some(vec![255, 255])),
            ]
        );
    }
}
