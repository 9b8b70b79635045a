//! Words for people that the model has not: ICMP messages, interfaces and numbers as summaries and evidence name them.

use crate::host::Host;
use crate::model::{Device, NetNs, Tuple};

/// The destination with its port where it has one: `10.0.0.2:53/udp`.
#[must_use]
pub fn destination(tuple: &Tuple) -> String {
    match tuple.dport {
        0 => tuple.dst.to_string(),
        _ => format!("{}/{}", tuple.destination(), tuple.proto),
    }
}

/// A namespace; of several nodes with its node's name: `node1:host`.
#[must_use]
pub fn namespace(host: &Host, netns: NetNs) -> String {
    let name = host.namespace(netns);
    host.node(netns)
        .map_or_else(|| name.clone(), |node| format!("{node}:{name}"))
}

/// `node2/flannel0`.
#[must_use]
pub fn interface(host: &Host, device: Device) -> String {
    format!(
        "{}/{}",
        host.namespace(device.netns),
        host.interface(device)
    )
}

/// `1 packet`, `3 packets`.
#[must_use]
pub fn count(n: u64, what: &str) -> String {
    if n == 1 {
        format!("1 {what}")
    } else {
        format!("{n} {what}s")
    }
}

/// Types and codes of ICMP errors (RFC 792, RFC 1812) and their ICMPv6 relatives (RFC 4443).
const ICMP: &[(bool, u8, u8, &str)] = &[
    (false, 3, 0, "network unreachable"),
    (false, 3, 1, "host unreachable"),
    (false, 3, 2, "protocol unreachable"),
    (false, 3, 3, "port unreachable"),
    (false, 3, 4, "fragmentation needed"),
    (false, 3, 9, "network administratively prohibited"),
    (false, 3, 10, "host administratively prohibited"),
    (false, 3, 13, "administratively prohibited"),
    (false, 5, 0, "redirect"),
    (false, 5, 1, "redirect"),
    (false, 11, 0, "TTL exceeded"),
    (false, 11, 1, "fragment reassembly time exceeded"),
    (false, 12, 0, "parameter problem"),
    (true, 1, 0, "no route to destination"),
    (true, 1, 1, "administratively prohibited"),
    (true, 1, 3, "address unreachable"),
    (true, 1, 4, "port unreachable"),
    (true, 1, 5, "source address failed policy"),
    (true, 1, 6, "reject route"),
    (true, 2, 0, "packet too big"),
    (true, 3, 0, "hop limit exceeded"),
    (true, 3, 1, "fragment reassembly time exceeded"),
    (true, 4, 0, "parameter problem"),
];

/// An ICMP error in words.
#[must_use]
pub fn icmp(v6: bool, icmp_type: u8, code: u8) -> String {
    ICMP.iter()
        .find(|(six, t, c, _)| (*six, *t, *c) == (v6, icmp_type, code))
        .map_or_else(
            || format!("ICMP type {icmp_type} code {code}"),
            |(.., words)| format!("ICMP {words}"),
        )
}

/// `1.6 s`, `12 ms`, `0.4 ms`: rounded down.
#[must_use]
pub fn duration(ns: u64) -> String {
    let tenths = |unit: u64| format!("{}.{}", ns / unit, ns % unit / (unit / 10));
    match ns {
        0..1_000_000 => format!("{} ms", tenths(1_000_000)),
        1_000_000..100_000_000 => format!("{} ms", ns / 1_000_000),
        _ => format!("{} s", tenths(1_000_000_000)),
    }
}
