//! What nf_tables draws or looks for in a packet that is no field of the model: numbers of a generator, extension headers of
//! IPv6, options of TCP. They cannot be decided; here are their words, as nft(8) writes them.

use super::super::values::{self, Layout};
use super::expression::{Attributes, Register};
use crate::host::facts::Field;

/// How a value of such a thing is written; `None`: not as a number.
pub(super) type Says = fn(Layout, &[u8]) -> Option<String>;

/// `numgen inc mod 2`, `numgen random mod 100 offset 5`.
pub(super) fn generator(read: &Attributes<'_>) -> Register {
    let kind = match read.number(3) {
        Some(0) => "inc",
        Some(1) => "random",
        _ => "…",
    };
    let modulus = read.number(2).unwrap_or_default();
    let offset = match read.number(4) {
        None | Some(0) => String::new(),
        Some(offset) => format!(" offset {offset}"),
    };
    let host = Layout {
        host: true,
        index: false,
    };
    Register::worded(
        format!("numgen {kind} mod {modulus}{offset}"),
        4,
        host,
        number,
    )
}

/// A header, or a field of one: what nft(8) calls it, its type and where it begins.
struct Known {
    operation: u32,
    kind: u8,
    offset: u32,
    length: u32,
    name: &'static str,
}

/// NFT_EXTHDR_OP_IPV6 and NFT_EXTHDR_OP_TCPOPT.
const IPV6: u32 = 0;
const TCP: u32 = 1;

const fn known(
    operation: u32,
    (kind, offset, length): (u8, u32, u32),
    name: &'static str,
) -> Known {
    Known {
        operation,
        kind,
        offset,
        length,
        name,
    }
}

/// As src/exthdr.c and src/tcpopt.c of nft have them.
static FIELDS: [Known; 21] = [
    known(IPV6, (0, 0, 1), "hbh nexthdr"),
    known(IPV6, (0, 1, 1), "hbh hdrlength"),
    known(IPV6, (43, 0, 1), "rt nexthdr"),
    known(IPV6, (43, 1, 1), "rt hdrlength"),
    known(IPV6, (43, 2, 1), "rt type"),
    known(IPV6, (43, 3, 1), "rt seg-left"),
    known(IPV6, (44, 0, 1), "frag nexthdr"),
    known(IPV6, (44, 1, 1), "frag reserved"),
    known(IPV6, (44, 3, 1), "frag more-fragments"),
    known(IPV6, (44, 4, 4), "frag id"),
    known(IPV6, (60, 0, 1), "dst nexthdr"),
    known(IPV6, (60, 1, 1), "dst hdrlength"),
    known(IPV6, (135, 0, 1), "mh nexthdr"),
    known(IPV6, (135, 1, 1), "mh hdrlength"),
    known(IPV6, (135, 2, 1), "mh type"),
    known(IPV6, (135, 3, 1), "mh reserved"),
    known(IPV6, (135, 4, 2), "mh checksum"),
    known(TCP, (2, 2, 2), "tcp option maxseg size"),
    known(TCP, (3, 2, 1), "tcp option window count"),
    known(TCP, (8, 2, 4), "tcp option timestamp tsval"),
    known(TCP, (8, 6, 4), "tcp option timestamp tsecr"),
];

/// Headers and options whose presence can be asked for.
static HEADERS: [(u32, u8, &str); 10] = [
    (IPV6, 0, "exthdr hbh"),
    (IPV6, 43, "exthdr rt"),
    (IPV6, 44, "exthdr frag"),
    (IPV6, 60, "exthdr dst"),
    (IPV6, 135, "exthdr mh"),
    (TCP, 2, "tcp option maxseg"),
    (TCP, 3, "tcp option window"),
    (TCP, 4, "tcp option sack-perm"),
    (TCP, 5, "tcp option sack"),
    (TCP, 8, "tcp option timestamp"),
];

/// What an expression of extension headers and options is about, in words; and whether it asks only if that is there.
fn about(read: &Attributes<'_>) -> (String, bool) {
    /// NFT_EXTHDR_F_PRESENT.
    const PRESENT: u32 = 1;
    let operation = read.number(6).unwrap_or(IPV6);
    let kind = read.get(2).and_then(|kind| kind.first().copied());
    let present = read.number(5).unwrap_or_default() & PRESENT != 0;
    let name = if present {
        let mut headers = HEADERS.iter();
        headers
            .find(|(op, number, _)| *op == operation && Some(*number) == kind)
            .map(|(.., name)| *name)
    } else {
        let place = (kind, read.number(3), read.number(4));
        let of = |f: &&Known| (Some(f.kind), Some(f.offset), Some(f.length)) == place;
        FIELDS
            .iter()
            .filter(|f| f.operation == operation)
            .find(of)
            .map(|f| f.name)
    };
    (name.unwrap_or("exthdr …").to_owned(), present)
}

/// What is loaded of an extension header or option.
pub(super) fn extension(read: &Attributes<'_>) -> Register {
    let (name, present) = about(read);
    let length = read.number(4).and_then(|n| usize::try_from(n).ok());
    let says = match (present, name.ends_with("nexthdr")) {
        (true, _) => presence,
        (false, true) => protocol,
        (false, false) => number,
    };
    Register::worded(name, length.unwrap_or(1), Layout::default(), says)
}

/// What is written into an option: `tcp option maxseg size set rt mtu`.
pub(super) fn written(read: &Attributes<'_>, value: Option<String>) -> String {
    let (name, _) = about(read);
    format!("{name} set {}", value.as_deref().unwrap_or("…"))
}

/// What is loaded of the route.
pub(super) fn route(read: &Attributes<'_>) -> Register {
    /// NFT_RT_*.
    const KEYS: [(u32, &str); 5] = [
        (0, "rt classid"),
        (1, "rt ip nexthop"),
        (2, "rt ip6 nexthop"),
        (3, "rt mtu"),
        (4, "rt ipsec"),
    ];
    let mut keys = KEYS.iter();
    let name = keys.find(|(key, _)| read.number(2) == Some(*key));
    match name {
        Some((_, name)) => Register::of(Field::Other((*name).to_owned())),
        None => Register::of(Field::Other("rt …".to_owned())),
    }
}

pub(super) fn number(layout: Layout, bytes: &[u8]) -> Option<String> {
    values::number(layout, bytes).map(|number| number.to_string())
}

/// A time of day. The kernel has it in UTC, nft writes it in the zone of whoever asks: it is not to be typed in.
pub(super) fn hour(layout: Layout, bytes: &[u8]) -> Option<String> {
    let seconds = values::number(layout, bytes)?;
    let (hours, minutes) = (seconds / 3600, seconds / 60 % 60);
    Some(format!("{hours:02}:{minutes:02} (UTC) …"))
}

fn presence(_: Layout, bytes: &[u8]) -> Option<String> {
    match bytes {
        [0] => Some("missing".to_owned()),
        [1] => Some("exists".to_owned()),
        _ => None,
    }
}

fn protocol(_: Layout, bytes: &[u8]) -> Option<String> {
    bytes
        .first()
        .map(|number| super::super::words::protocol(*number))
}
