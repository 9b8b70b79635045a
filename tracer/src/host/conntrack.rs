//! Connection tracking of a namespace, read-only: a packet's connection by ctnetlink
//! (linux/netfilter/nfnetlink_conntrack.h), and the counters of /proc/net/stat/nf_conntrack.

use std::fs;
use std::io;
use std::net::IpAddr;

use netlink_sys::protocols::NETLINK_NETFILTER;

use super::facts::{ConntrackAnswer, ConntrackCounters, ConntrackEntry};
use super::firewall::in_use;
use super::netlink::{
    Message, Netlink, Request, address_bytes, address_of, attributes, be32_of, family_of,
};
use crate::model::{NetNs, Proto, Tuple};

const NFNL_SUBSYS_CTNETLINK: u16 = 1;
const IPCTNL_MSG_CT_GET: u16 = 1;
const NESTED: u16 = 0x8000;
const CTA_TUPLE_ORIG: u16 = 1;
const CTA_TUPLE_REPLY: u16 = 2;
const CTA_STATUS: u16 = 3;
const CTA_PROTOINFO: u16 = 4;
const CTA_TIMEOUT: u16 = 7;
const CTA_ZONE: u16 = 18;
const CTA_TUPLE_IP: u16 = 1;
const CTA_TUPLE_PROTO: u16 = 2;
const CTA_IP_V4_SRC: u16 = 1;
const CTA_IP_V4_DST: u16 = 2;
const CTA_IP_V6_SRC: u16 = 3;
const CTA_IP_V6_DST: u16 = 4;
const CTA_PROTO_NUM: u16 = 1;
const CTA_PROTO_SRC_PORT: u16 = 2;
const CTA_PROTO_DST_PORT: u16 = 3;
const CTA_PROTO_ICMP_ID: u16 = 4;
const CTA_PROTO_ICMP_TYPE: u16 = 5;
const CTA_PROTO_ICMP_CODE: u16 = 6;
const CTA_PROTO_ICMPV6_ID: u16 = 7;
const CTA_PROTO_ICMPV6_TYPE: u16 = 8;
const CTA_PROTO_ICMPV6_CODE: u16 = 9;
const CTA_PROTOINFO_TCP: u16 = 1;
const CTA_PROTOINFO_TCP_STATE: u16 = 1;
/// Of the namespace of the thread that opens it.
const COUNTERS: &str = "/proc/thread-self/net/stat/nf_conntrack";

/// Asks for a packet's connection in the calling thread's namespace and a zone: as the packet was seen, in either
/// direction.
pub(super) fn entry(netns: NetNs, tuple: Tuple, zone: u16) -> io::Result<ConntrackAnswer> {
    let answer = |entry| ConntrackAnswer {
        netns,
        tuple,
        zone,
        entry,
    };
    // A question to an absent ctnetlink would load its module.
    if !in_use("nf_conntrack_netlink") {
        return Err(io::Error::other("this kernel has not loaded ctnetlink"));
    }
    let Some(request) = request(tuple, zone) else {
        return Ok(answer(None));
    };
    let mut socket = Netlink::open(NETLINK_NETFILTER)?;
    match socket.ask(&request, entry_of) {
        Ok(found) => Ok(answer(found.into_iter().next())),
        Err(error) if error.raw_os_error() == Some(libc::ENOENT) => Ok(answer(None)),
        Err(error) => Err(error),
    }
}

fn request(tuple: Tuple, zone: u16) -> Option<Request> {
    let (v6, number) = match tuple.proto {
        Proto::Icmp => (false, 1),
        Proto::Icmp6 => (true, 58),
        Proto::Tcp => (tuple.src.is_ipv6(), 6),
        Proto::Udp => (tuple.src.is_ipv6(), 17),
        Proto::Sctp => (tuple.src.is_ipv6(), 132),
        Proto::Arp | Proto::Other(_) => return None,
    };
    let [source, destination] = if v6 {
        [CTA_IP_V6_SRC, CTA_IP_V6_DST]
    } else {
        [CTA_IP_V4_SRC, CTA_IP_V4_DST]
    };
    let be = |port: u16| port.to_be_bytes().to_vec();
    // Of echoes the request is asked for: conntrack finds it by its answer as well.
    let transport = match tuple.proto {
        Proto::Icmp => vec![
            (CTA_PROTO_ICMP_ID, be(tuple.icmp_id)),
            (CTA_PROTO_ICMP_TYPE, vec![8]),
            (CTA_PROTO_ICMP_CODE, vec![0]),
        ],
        Proto::Icmp6 => vec![
            (CTA_PROTO_ICMPV6_ID, be(tuple.icmp_id)),
            (CTA_PROTO_ICMPV6_TYPE, vec![128]),
            (CTA_PROTO_ICMPV6_CODE, vec![0]),
        ],
        _ => vec![
            (CTA_PROTO_SRC_PORT, be(tuple.sport)),
            (CTA_PROTO_DST_PORT, be(tuple.dport)),
        ],
    };
    let nest = |list: &[(u16, Vec<u8>)]| Request::attributes_only(list);
    let mut protocol = vec![(CTA_PROTO_NUM, vec![number])];
    protocol.extend(transport);
    let addresses = [
        (source, address_bytes(tuple.src)),
        (destination, address_bytes(tuple.dst)),
    ];
    let header = [family_of(tuple.src), 0, 0, 0];
    let kind = NFNL_SUBSYS_CTNETLINK << 8 | IPCTNL_MSG_CT_GET;
    let request = Request::one(kind, &header).nested(
        NESTED | CTA_TUPLE_ORIG,
        &[
            (NESTED | CTA_TUPLE_IP, nest(&addresses)),
            (NESTED | CTA_TUPLE_PROTO, nest(&protocol)),
        ],
    );
    Some(match zone {
        // A kernel without zones refuses to be asked about one.
        0 => request,
        zone => request.attribute(CTA_ZONE, &zone.to_be_bytes()),
    })
}

/// Reads IPCTNL_MSG_CT_NEW.
pub(super) fn entry_of(message: Message<'_>) -> Option<ConntrackEntry> {
    let all = message.payload.get(4..)?;
    let get = |wanted: u16| {
        attributes(all)
            .find(|(kind, _)| *kind == wanted)
            .map(|(_, value)| value)
    };
    Some(ConntrackEntry {
        original: ends(get(CTA_TUPLE_ORIG)?)?,
        reply: ends(get(CTA_TUPLE_REPLY)?)?,
        status: get(CTA_STATUS).and_then(be32_of).unwrap_or_default(),
        tcp_state: get(CTA_PROTOINFO).and_then(tcp_state),
        timeout: get(CTA_TIMEOUT).and_then(be32_of),
        zone: get(CTA_ZONE).and_then(be16_of).unwrap_or_default(),
    })
}

fn be16_of(value: &[u8]) -> Option<u16> {
    value.first_chunk().map(|b| u16::from_be_bytes(*b))
}

fn tcp_state(info: &[u8]) -> Option<u8> {
    let (_, tcp) = attributes(info).find(|(kind, _)| *kind == CTA_PROTOINFO_TCP)?;
    let (_, state) = attributes(tcp).find(|(kind, _)| *kind == CTA_PROTOINFO_TCP_STATE)?;
    state.first().copied()
}

/// Source and destination of a tuple.
fn ends(tuple: &[u8]) -> Option<[(IpAddr, u16); 2]> {
    let (mut source, mut destination) = (None, None);
    let (mut sport, mut dport) = (0, 0);
    for (kind, part) in attributes(tuple) {
        for (inner, value) in attributes(part) {
            match (kind, inner) {
                (CTA_TUPLE_IP, CTA_IP_V4_SRC | CTA_IP_V6_SRC) => source = address_of(value),
                (CTA_TUPLE_IP, CTA_IP_V4_DST | CTA_IP_V6_DST) => destination = address_of(value),
                (CTA_TUPLE_PROTO, CTA_PROTO_SRC_PORT) => sport = be16_of(value)?,
                (CTA_TUPLE_PROTO, CTA_PROTO_DST_PORT) => dport = be16_of(value)?,
                _ => {}
            }
        }
    }
    Some([(source?, sport), (destination?, dport)])
}

/// The counters of the calling thread's namespace, all processors together.
pub(super) fn counters() -> io::Result<ConntrackCounters> {
    Ok(sum(&fs::read_to_string(COUNTERS)?))
}

/// A line of names, then one of hexadecimal numbers for each processor.
fn sum(text: &str) -> ConntrackCounters {
    let mut lines = text.lines();
    let names: Vec<&str> = lines
        .next()
        .unwrap_or_default()
        .split_whitespace()
        .collect();
    let mut total = ConntrackCounters::default();
    for line in lines {
        for (name, value) in names.iter().zip(line.split_whitespace()) {
            let counter = match *name {
                "invalid" => &mut total.invalid,
                "insert_failed" => &mut total.insert_failed,
                "drop" => &mut total.drop,
                "early_drop" => &mut total.early_drop,
                _ => continue,
            };
            *counter = counter.saturating_add(u64::from_str_radix(value, 16).unwrap_or(0));
        }
    }
    total
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a failed setup fails the test")]
mod tests {
    use super::*;
    use crate::host::netlink::messages;

    fn tuple(proto: Proto) -> Tuple {
        Tuple {
            proto,
            src: "10.0.0.1".parse().unwrap(),
            sport: 4000,
            dst: "10.0.0.2".parse().unwrap(),
            dport: 53,
            icmp_id: 9,
        }
    }

    #[test]
    fn a_connection_is_read_as_it_was_asked_for() {
        // The kernel lays the answer out as the question, and adds to it.
        let question = request(tuple(Proto::Udp), 0).unwrap();
        let original = attributes(question.payload().get(4..).unwrap())
            .next()
            .map(|(_, value)| value.to_vec())
            .unwrap();
        let bytes = Request::one(0x100, &[2, 0, 0, 0])
            .attribute(CTA_TUPLE_ORIG, &original)
            .attribute(CTA_TUPLE_REPLY, &original)
            .attribute(CTA_STATUS, &[0, 0, 1, 0x8a])
            .attribute(CTA_TIMEOUT, &[0, 0, 0, 29])
            .bytes();
        let entry = entry_of(messages(&bytes).next().unwrap()).unwrap();
        let ends = [
            ("10.0.0.1".parse().unwrap(), 4000),
            ("10.0.0.2".parse().unwrap(), 53),
        ];
        assert_eq!((entry.original, entry.reply), (ends, ends));
        assert_eq!((entry.status, entry.timeout), (0x18a, Some(29)));
    }

    #[test]
    fn what_conntrack_does_not_track_is_not_asked_for() {
        assert!(request(tuple(Proto::Arp), 0).is_none());
        assert!(request(tuple(Proto::Icmp), 0).is_some());
    }

    #[test]
    fn counters_are_added_up_by_name() {
        let text = "entries  clashres found new invalid ignore insert_failed drop early_drop\n\
                    00000007  00000000 00000001 00000000 00000002 00000000 00000010 00000003 00000000\n\
                    00000007  00000000 00000000 00000000 00000001 00000000 00000001 00000000 0000000a\n";
        let expected = ConntrackCounters {
            invalid: 3,
            insert_failed: 17,
            drop: 3,
            early_drop: 10,
        };
        assert_eq!(sum(text), expected);
        assert_eq!(sum(""), ConntrackCounters::default());
    }
}
