//! Rule tracing of nf_tables (`--rules`): a table of our own that marks the packets asked for with `meta nftrace set 1`, and
//! what the kernel then tells of each rule that they meet.
//!
//! The table decides nothing. It belongs to a socket of this process (NFT_TABLE_F_OWNER, Linux 5.12) and is gone with it, however
//! the process ends.

use std::collections::BTreeMap;
use std::io;

use netlink_sys::protocols::NETLINK_NETFILTER;
use tracer_common::filter::{CLAUSE_NEGATE, CLAUSE_ONE_WAY, RawClause};
use tracer_common::tuple::{FAMILY_V4, FAMILY_V6};

use crate::host::facts::RuleVerdict;
use crate::host::firewall::nftables::{TRACE_TABLE, family_name, has_chains, verdict};
use crate::host::namespaces::NetnsFd;
use crate::host::netlink::{
    Message, NFNL_SUBSYS_NFTABLES, Netlink, Request, attributes, be32_of, text_of,
};
use crate::model::{NetNs, Proto, Tuple, address_words};

/// NFNLGRP_NFTRACE.
const GROUP: u32 = 9;
/// Packets a second that each rule marks: what comes beyond is not traced.
const RATE: u64 = 50;
/// Before all other chains that see packets of IP (defragmentation is at -400 and keeps the mark of a first fragment).
const PRIORITY: i32 = -500;
/// Translated tuples that are followed too.
const MOST_LEARNED: usize = 64;

/// linux/netfilter/nf_tables.h.
mod nft {
    pub(super) const NEWTABLE: u16 = 0;
    pub(super) const NEWCHAIN: u16 = 3;
    pub(super) const NEWRULE: u16 = 6;
    pub(super) const TRACE: u16 = 17;
    pub(super) const TABLE_NAME: u16 = 1;
    pub(super) const TABLE_FLAGS: u16 = 2;
    pub(super) const TABLE_F_OWNER: u32 = 2;
    pub(super) const CHAIN_TABLE: u16 = 1;
    pub(super) const CHAIN_NAME: u16 = 3;
    pub(super) const CHAIN_HOOK: u16 = 4;
    pub(super) const CHAIN_TYPE: u16 = 7;
    pub(super) const HOOK_HOOKNUM: u16 = 1;
    pub(super) const HOOK_PRIORITY: u16 = 2;
    pub(super) const RULE_TABLE: u16 = 1;
    pub(super) const RULE_CHAIN: u16 = 2;
    pub(super) const RULE_EXPRESSIONS: u16 = 4;
    pub(super) const LIST_ELEM: u16 = 1;
    pub(super) const EXPR_NAME: u16 = 1;
    pub(super) const EXPR_DATA: u16 = 2;
    pub(super) const DATA_VALUE: u16 = 1;
    pub(super) const REG_1: u32 = 1;
    pub(super) const TRACE_TABLE: u16 = 1;
    pub(super) const TRACE_CHAIN: u16 = 2;
    pub(super) const TRACE_RULE_HANDLE: u16 = 3;
    pub(super) const TRACE_TYPE: u16 = 4;
    pub(super) const TRACE_VERDICT: u16 = 5;
    pub(super) const TRACE_ID: u16 = 6;
    pub(super) const TRACE_NETWORK_HEADER: u16 = 8;
    pub(super) const TRACE_TRANSPORT_HEADER: u16 = 9;
    pub(super) const TRACE_POLICY: u16 = 16;
    pub(super) const TRACETYPE_POLICY: u32 = 1;
    pub(super) const TRACETYPE_RETURN: u32 = 2;
    pub(super) const META_NFTRACE: u32 = 12;
    pub(super) const META_PROTOCOL: u32 = 1;
    pub(super) const META_L4PROTO: u32 = 16;
}

/// NFPROTO_INET and NFPROTO_BRIDGE, with names.
const INET: u8 = 1;
const BRIDGE: u8 = 7;
/// NF_INET_PRE_ROUTING and NF_INET_LOCAL_OUT; bridges number theirs alike.
const CHAINS: [(&str, u32); 2] = [("prerouting", 0), ("output", 3)];

/// One step of a packet, as the kernel tells it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Step {
    /// The kernel's number for the packet.
    pub id: u32,
    /// Family of the table, as in [`crate::host::facts::BaseChain`].
    pub family: String,
    /// Table.
    pub table: String,
    /// Chain.
    pub chain: String,
    /// The rule.
    pub handle: Option<u64>,
    /// What it decided.
    pub verdict: RuleVerdict,
    /// Headers of network and transport, as they came into the base chain; empty but at its first step.
    pub headers: Vec<u8>,
}

/// The tables, and what is told of them.
#[derive(Default)]
pub struct RuleTracing {
    spaces: BTreeMap<NetNs, Space>,
    /// What is asked for.
    clauses: Vec<RawClause>,
    /// Tuples that packets of it were found to have.
    learned: Vec<Tuple>,
    buffer: Vec<u8>,
}

/// One namespace.
struct Space {
    owner: Netlink,
    told: Netlink,
    bridged: bool,
}

impl std::fmt::Debug for RuleTracing {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "RuleTracing in {} namespaces", self.spaces.len())
    }
}

impl RuleTracing {
    /// For packets that one of these clauses asks for.
    #[must_use]
    pub fn new(clauses: &[RawClause]) -> Self {
        Self {
            clauses: clauses.to_vec(),
            ..Self::default()
        }
    }

    /// Begins in a namespace, where that has rules of nf_tables. `bridged`: it has a bridge, whose own chains are traced
    /// too.
    ///
    /// # Errors
    /// The kernel's; `Unsupported` where it is too old.
    pub fn add(&mut self, namespace: &NetnsFd, bridged: bool) -> io::Result<()> {
        if self.spaces.contains_key(&namespace.netns()) {
            return Ok(());
        }
        let opened = namespace.enter(|| -> io::Result<Option<(Netlink, Netlink)>> {
            if !has_chains()? {
                return Ok(None);
            }
            let told = Netlink::subscribe(NETLINK_NETFILTER, &[GROUP])?;
            Ok(Some((Netlink::open(NETLINK_NETFILTER)?, told)))
        })??;
        let Some((mut owner, told)) = opened else {
            return Ok(());
        };
        let name = table();
        let mut families = vec![INET];
        families.extend(bridged.then_some(BRIDGE));
        for family in families {
            let mut changes = vec![
                Request::append(kind(nft::NEWTABLE), &header(family))
                    .attribute(nft::TABLE_NAME, &zero_terminated(&name))
                    .attribute(nft::TABLE_FLAGS, &nft::TABLE_F_OWNER.to_be_bytes()),
            ];
            for (chain, hook) in CHAINS {
                changes.push(base_chain(family, &name, (chain, hook)));
            }
            owner
                .commit(&changes)
                .map_err(|error| match error.raw_os_error() {
                    Some(libc::EOPNOTSUPP | libc::EINVAL) => io::Error::new(
                        io::ErrorKind::Unsupported,
                        "tables that go away with their process need Linux 5.12",
                    ),
                    _ => error,
                })?;
        }
        let mut space = Space {
            owner,
            told,
            bridged,
        };
        let learned = self.learned.iter().map(of_tuple);
        let rules: Vec<Matched> = of_clauses(&self.clauses)
            .into_iter()
            .chain(learned)
            .collect();
        space.mark(&rules)?;
        self.spaces.insert(namespace.netns(), space);
        Ok(())
    }

    /// Follows these tuples too: what translations made of the packets asked for.
    ///
    /// # Errors
    /// The kernel's.
    pub fn learn(&mut self, tuples: &[Tuple]) -> io::Result<()> {
        let mut new: Vec<Tuple> = Vec::new();
        for tuple in tuples {
            let room = self.learned.len() + new.len() < MOST_LEARNED;
            if room && !self.learned.contains(tuple) && !new.contains(tuple) {
                new.push(*tuple);
            }
        }
        let rules: Vec<Matched> = new.iter().map(of_tuple).collect();
        self.learned.extend(new);
        if rules.is_empty() {
            return Ok(());
        }
        self.spaces
            .values_mut()
            .try_for_each(|space| space.mark(&rules))
    }

    /// Marks what these clauses ask for too.
    ///
    /// # Errors
    /// The kernel's.
    pub fn also(&mut self, clauses: &[RawClause]) -> io::Result<()> {
        self.clauses.extend_from_slice(clauses);
        let rules = of_clauses(clauses);
        self.spaces
            .values_mut()
            .try_for_each(|space| space.mark(&rules))
    }

    /// Ends in a namespace.
    pub fn remove(&mut self, netns: NetNs) {
        self.spaces.remove(&netns);
    }

    /// What was told since the last time. Packets of which something was lost (ENOBUFS) are told in part.
    pub fn drain(&mut self, mut each: impl FnMut(NetNs, Step)) {
        for (netns, space) in &mut self.spaces {
            // A full queue is emptied by going on.
            for _ in 0..2 {
                let taken = space.told.drain(&mut self.buffer, |message| {
                    if let Some(step) = step(message).filter(|s| !s.table.starts_with(TRACE_TABLE))
                    {
                        each(*netns, step);
                    }
                });
                if taken.is_ok() {
                    break;
                }
            }
        }
    }
}

impl Space {
    fn mark(&mut self, rules: &[Matched]) -> io::Result<()> {
        let name = table();
        let mut changes = Vec::new();
        for rule in rules {
            for (chain, _) in CHAINS {
                changes.push(marking(INET, &name, chain, rule));
                if self.bridged {
                    changes.push(marking(BRIDGE, &name, chain, rule));
                }
            }
        }
        self.owner.commit(&changes)
    }
}

/// The table of this process.
fn table() -> String {
    format!("{TRACE_TABLE}{}", std::process::id())
}

fn kind(message: u16) -> u16 {
    NFNL_SUBSYS_NFTABLES << 8 | message
}

/// struct nfgenmsg.
fn header(family: u8) -> [u8; 4] {
    [family, 0, 0, 0]
}

fn zero_terminated(text: &str) -> Vec<u8> {
    text.bytes().chain([0]).collect()
}

fn base_chain(family: u8, table: &str, (name, hook): (&str, u32)) -> Request {
    let at = [
        (nft::HOOK_HOOKNUM, hook.to_be_bytes().to_vec()),
        (nft::HOOK_PRIORITY, PRIORITY.to_be_bytes().to_vec()),
    ];
    Request::append(kind(nft::NEWCHAIN), &header(family))
        .attribute(nft::CHAIN_TABLE, &zero_terminated(table))
        .attribute(nft::CHAIN_NAME, &zero_terminated(name))
        .nested(nft::CHAIN_HOOK, &at)
        .attribute(nft::CHAIN_TYPE, b"filter\0")
}

/// What a rule asks of packets.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Matched {
    /// ETH_P_IP or ETH_P_IPV6; both where it is not asked.
    ethertype: Option<u16>,
    protocol: Option<u8>,
    /// Offset and value under mask in the network header.
    addresses: Vec<(u32, Vec<u8>, Vec<u8>)>,
    /// Offset in the transport header, first and last.
    ports: Vec<(u32, u16, u16)>,
}

/// Rules for clauses, read in both directions where replies are followed. A clause that excludes is left out: more is
/// traced then, and nobody looks at it.
fn of_clauses(clauses: &[RawClause]) -> Vec<Matched> {
    let mut list = Vec::new();
    for clause in clauses.iter().filter(|c| c.flags & CLAUSE_NEGATE == 0) {
        list.push(of_clause(clause));
        if clause.flags & CLAUSE_ONE_WAY == 0 {
            list.push(of_clause(&RawClause {
                src: clause.dst,
                src_mask: clause.dst_mask,
                dst: clause.src,
                dst_mask: clause.src_mask,
                sport_lo: clause.dport_lo,
                sport_span: clause.dport_span,
                dport_lo: clause.sport_lo,
                dport_span: clause.sport_span,
                ..*clause
            }));
        }
    }
    list.dedup();
    list
}

fn of_clause(clause: &RawClause) -> Matched {
    let ethertype = match clause.family {
        FAMILY_V4 => Some(0x0800),
        FAMILY_V6 => Some(0x86dd),
        _ => None,
    };
    let (length, source, destination) = places(clause.family);
    let bytes = |words: &[u32; 4]| -> Vec<u8> {
        let all = words.iter().flat_map(|word| word.to_ne_bytes());
        all.take(length).collect()
    };
    let both = [
        (source, clause.src, clause.src_mask),
        (destination, clause.dst, clause.dst_mask),
    ];
    let protocol = (clause.proto_mask != 0).then_some(clause.proto);
    let ported = matches!(protocol, Some(6 | 17 | 132));
    let ports = [
        (0, clause.sport_lo, clause.sport_span),
        (2, clause.dport_lo, clause.dport_span),
    ];
    Matched {
        ethertype,
        protocol,
        addresses: both
            .iter()
            .filter(|(_, _, mask)| ethertype.is_some() && *mask != [0; 4])
            .map(|(at, value, mask)| (*at, bytes(value), bytes(mask)))
            .collect(),
        ports: ports
            .into_iter()
            .filter(|(_, _, span)| ported && *span != u16::MAX)
            .map(|(at, low, span)| (at, low, low.wrapping_add(span)))
            .collect(),
    }
}

/// A tuple in its own direction and in that of its answers are two rules; of a learned one the answer is learned too.
fn of_tuple(tuple: &Tuple) -> Matched {
    let family = match tuple.src.is_ipv6() {
        true => FAMILY_V6,
        false => FAMILY_V4,
    };
    let number = tuple.proto.number();
    let ported = matches!(tuple.proto, Proto::Tcp | Proto::Udp | Proto::Sctp);
    let span = |port: u16| if ported && port != 0 { 0 } else { u16::MAX };
    of_clause(&RawClause {
        src: address_words(tuple.src),
        src_mask: [u32::MAX; 4],
        dst: address_words(tuple.dst),
        dst_mask: [u32::MAX; 4],
        sport_lo: tuple.sport,
        sport_span: span(tuple.sport),
        dport_lo: tuple.dport,
        dport_span: span(tuple.dport),
        family,
        proto: number.unwrap_or_default(),
        proto_mask: if number.is_some() { 0xff } else { 0 },
        ..RawClause::ANY
    })
}

/// Length of an address, and where the two stand in the header.
fn places(family: u8) -> (usize, u32, u32) {
    match family {
        FAMILY_V4 => (4, 12, 16),
        _ => (16, 8, 24),
    }
}

/// The rule that marks what it asks for, at most so many packets a second.
fn marking(family: u8, table: &str, chain: &str, asks: &Matched) -> Request {
    let mut list = Vec::new();
    if let Some(ethertype) = asks.ethertype {
        list.push(meta_load(nft::META_PROTOCOL));
        list.push(compare(&ethertype.to_be_bytes()));
    }
    for (at, value, mask) in &asks.addresses {
        list.push(payload(1, *at, value.len()));
        if mask.iter().any(|byte| *byte != 0xff) {
            list.push(masked(mask));
        }
        list.push(compare(value));
    }
    if let Some(protocol) = asks.protocol {
        list.push(meta_load(nft::META_L4PROTO));
        list.push(compare(&[protocol]));
    }
    for (at, first, last) in &asks.ports {
        list.push(payload(2, *at, 2));
        list.push(range(*first, *last));
    }
    list.push(expression(
        "limit",
        &[
            (1, RATE.to_be_bytes().to_vec()),
            (2, 1_u64.to_be_bytes().to_vec()),
            (3, word(u32::try_from(RATE).unwrap_or(u32::MAX))),
        ],
    ));
    list.push(expression(
        "immediate",
        &[(1, word(nft::REG_1)), (2, value(&[1]))],
    ));
    list.push(expression(
        "meta",
        &[(2, word(nft::META_NFTRACE)), (3, word(nft::REG_1))],
    ));
    let elements: Vec<(u16, Vec<u8>)> = list
        .into_iter()
        .map(|bytes| (nft::LIST_ELEM, bytes))
        .collect();
    Request::append(kind(nft::NEWRULE), &header(family))
        .attribute(nft::RULE_TABLE, &zero_terminated(table))
        .attribute(nft::RULE_CHAIN, &zero_terminated(chain))
        .nested(nft::RULE_EXPRESSIONS, &elements)
}

fn word(number: u32) -> Vec<u8> {
    number.to_be_bytes().to_vec()
}

/// Bytes as data of an expression.
fn value(bytes: &[u8]) -> Vec<u8> {
    Request::attributes_only(&[(nft::DATA_VALUE, bytes.to_vec())])
}

fn expression(name: &str, data: &[(u16, Vec<u8>)]) -> Vec<u8> {
    Request::attributes_only(&[
        (nft::EXPR_NAME, zero_terminated(name)),
        (nft::EXPR_DATA, Request::attributes_only(data)),
    ])
}

fn meta_load(key: u32) -> Vec<u8> {
    expression("meta", &[(1, word(nft::REG_1)), (2, word(key))])
}

/// Equal to these bytes.
fn compare(bytes: &[u8]) -> Vec<u8> {
    expression(
        "cmp",
        &[(1, word(nft::REG_1)), (2, word(0)), (3, value(bytes))],
    )
}

/// `base` 1: the network header, 2: the transport header.
fn payload(base: u32, at: u32, length: usize) -> Vec<u8> {
    expression(
        "payload",
        &[
            (1, word(nft::REG_1)),
            (2, word(base)),
            (3, word(at)),
            (4, word(u32::try_from(length).unwrap_or_default())),
        ],
    )
}

fn masked(mask: &[u8]) -> Vec<u8> {
    let nothing = vec![0; mask.len()];
    expression(
        "bitwise",
        &[
            (1, word(nft::REG_1)),
            (2, word(nft::REG_1)),
            (3, word(u32::try_from(mask.len()).unwrap_or_default())),
            (4, value(mask)),
            (5, value(&nothing)),
        ],
    )
}

fn range(first: u16, last: u16) -> Vec<u8> {
    if first == last {
        return compare(&first.to_be_bytes());
    }
    expression(
        "range",
        &[
            (1, word(nft::REG_1)),
            (2, word(0)),
            (3, value(&first.to_be_bytes())),
            (4, value(&last.to_be_bytes())),
        ],
    )
}

/// Reads NFT_MSG_TRACE.
pub(crate) fn step(message: Message<'_>) -> Option<Step> {
    if message.kind != kind(nft::TRACE) {
        return None;
    }
    let (&[family, ..], rest) = message.payload.split_first_chunk::<4>()?;
    let mut step = Step {
        id: 0,
        family: family_name(family),
        table: String::new(),
        chain: String::new(),
        handle: None,
        verdict: RuleVerdict::Continue,
        headers: Vec::new(),
    };
    let (mut network, mut transport) = (&[][..], &[][..]);
    let mut policy = None;
    let mut of = 0;
    for (kind, value) in attributes(rest) {
        match kind {
            nft::TRACE_TABLE => step.table = text_of(value),
            nft::TRACE_CHAIN => step.chain = text_of(value),
            nft::TRACE_RULE_HANDLE => {
                step.handle = value.first_chunk().map(|bytes| u64::from_be_bytes(*bytes));
            }
            nft::TRACE_TYPE => of = be32_of(value)?,
            nft::TRACE_VERDICT => step.verdict = verdict::of_attributes(value)?,
            nft::TRACE_ID => step.id = be32_of(value)?,
            nft::TRACE_NETWORK_HEADER => network = value,
            nft::TRACE_TRANSPORT_HEADER => transport = value,
            nft::TRACE_POLICY => policy = be32_of(value),
            _ => {}
        }
    }
    match of {
        nft::TRACETYPE_POLICY => {
            step.handle = None;
            step.verdict = match policy {
                Some(0) => RuleVerdict::Drop,
                _ => RuleVerdict::Accept,
            };
        }
        nft::TRACETYPE_RETURN => {
            step.handle = None;
            step.verdict = RuleVerdict::Return;
        }
        _ => {}
    }
    step.headers = [network, transport].concat();
    Some(step)
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a failed setup fails the test")]
mod tests {
    use super::*;
    use crate::host::netlink::messages;

    #[test]
    fn a_step_is_read_with_its_rule_and_headers() {
        let verdict = Request::attributes_only(&[(1, 0_u32.to_be_bytes().to_vec())]);
        let bytes = Request::one(kind(nft::TRACE), &header(2))
            .attribute(nft::TRACE_TABLE, b"filter\0")
            .attribute(nft::TRACE_CHAIN, b"FORWARD\0")
            .attribute(nft::TRACE_TYPE, &word(3))
            .attribute(nft::TRACE_RULE_HANDLE, &7_u64.to_be_bytes())
            .attribute(nft::TRACE_VERDICT, &verdict)
            .attribute(nft::TRACE_ID, &word(99))
            .attribute(nft::TRACE_TRANSPORT_HEADER, &[2])
            .attribute(nft::TRACE_NETWORK_HEADER, &[1])
            .bytes();
        let found = step(messages(&bytes).next().unwrap()).unwrap();
        assert_eq!(
            (found.id, found.handle, found.family.as_str()),
            (99, Some(7), "ip")
        );
        assert_eq!(found.verdict, RuleVerdict::Drop);
        assert_eq!(found.headers, [1, 2]);
    }

    #[test]
    fn clauses_are_read_in_both_directions_unless_replies_are_not_wanted() {
        let tcp = RawClause {
            proto: 6,
            proto_mask: 0xff,
            dport_lo: 443,
            dport_span: 0,
            ..RawClause::ANY
        };
        let ports: Vec<_> = of_clauses(&[tcp]).into_iter().map(|m| m.ports).collect();
        assert_eq!(ports, [vec![(2, 443, 443)], vec![(0, 443, 443)]]);
        let one_way = RawClause {
            flags: CLAUSE_ONE_WAY,
            ..tcp
        };
        assert_eq!(of_clauses(&[one_way]).len(), 1);
        let not = RawClause {
            flags: CLAUSE_NEGATE,
            ..tcp
        };
        assert_eq!(of_clauses(&[not]), []);
    }
}
