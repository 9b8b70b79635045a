//! What rules of nf_tables do, and their tests that no facts decide, in nft's words.

use super::expression::Attributes;
use crate::host::facts::{RuleVerdict, Side, Statement, Translation};
use crate::host::netlink::{address_of, be32_of, text_of};

/// `reject`; `v6`: of packets of IPv6 alone.
pub(super) fn reject(read: &Attributes<'_>, v6: bool) -> Statement {
    /// NFT_REJECT_TCP_RST.
    const RESET: u32 = 1;
    /// NFT_REJECT_ICMPX_UNREACH.
    const EITHER: u32 = 2;
    const CODES: [(u32, &str); 8] = [
        (0, "net-unreachable"),
        (1, "host-unreachable"),
        (2, "prot-unreachable"),
        (3, "port-unreachable"),
        (9, "net-prohibited"),
        (10, "host-prohibited"),
        (13, "admin-prohibited"),
        (99, ""),
    ];
    /// Codes of ICMPv6.
    const CODES_6: [(u32, &str); 6] = [
        (0, "no-route"),
        (1, "admin-prohibited"),
        (3, "addr-unreachable"),
        (4, "port-unreachable"),
        (5, "policy-fail"),
        (6, "reject-route"),
    ];
    let code = read.get(2).and_then(|b| b.first()).copied().map(u32::from);
    let words = match (read.number(1), code) {
        (Some(RESET), _) => "tcp reset".to_owned(),
        (Some(EITHER), Some(code)) => {
            let names = [
                "no-route",
                "port-unreachable",
                "host-unreachable",
                "admin-prohibited",
            ];
            let name = usize::try_from(code).ok().and_then(|c| names.get(c));
            match name {
                Some(&"port-unreachable") | None => String::new(),
                Some(name) => format!("icmpx {name}"),
            }
        }
        (_, Some(code)) if v6 => {
            let name = CODES_6.iter().find(|(number, _)| *number == code);
            name.map_or_else(
                || format!("icmpv6 {code}"),
                |(_, name)| format!("icmpv6 {name}"),
            )
        }
        // It is what nft takes where nothing is said.
        (_, Some(3) | None) => String::new(),
        (_, Some(code)) => CODES
            .iter()
            .find(|(number, _)| *number == code)
            .map_or_else(
                || format!("icmp {code}"),
                |(_, name)| format!("icmp {name}"),
            ),
    };
    Statement::Reject(words)
}

/// `queue`.
pub(super) fn queue(read: &Attributes<'_>) -> Statement {
    /// NFT_QUEUE_FLAG_BYPASS.
    const BYPASS: u16 = 1;
    let short = |attribute| {
        let bytes = read.get(attribute)?.first_chunk()?;
        Some(u16::from_be_bytes(*bytes))
    };
    Statement::Verdict(RuleVerdict::Queue {
        number: short(1).unwrap_or_default(),
        bypass: short(3).is_some_and(|flags| flags & BYPASS != 0),
    })
}

/// `nat`, `masq` and `redir`.
pub(super) fn translation(
    name: &str,
    read: &Attributes<'_>,
    constant: impl Fn(u32) -> Option<Vec<u8>>,
) -> Translation {
    let value = |attribute: u16| read.number(attribute).and_then(&constant);
    let port = |attribute: u16| {
        let bytes = value(attribute)?;
        bytes.first_chunk().map(|b| u16::from_be_bytes(*b))
    };
    let between = |first: u16, last: u16| {
        let first = port(first)?;
        Some((first, port(last).unwrap_or(first)))
    };
    match name {
        "masq" => Translation {
            side: Side::Source,
            addresses: None,
            ports: between(2, 3),
            text: "masquerade".to_owned(),
        },
        "redir" => {
            let ports = between(1, 2);
            let to = ports.map_or_else(String::new, |(first, _)| format!(" to :{first}"));
            Translation {
                side: Side::Destination,
                addresses: None,
                ports,
                text: format!("redirect{to}"),
            }
        }
        _ => {
            let source = read.number(1) == Some(0);
            let address = |attribute: u16| value(attribute).as_deref().and_then(address_of);
            let addresses = address(3).map(|first| (first, address(4).unwrap_or(first)));
            let ports = between(5, 6);
            let verb = if source { "snat" } else { "dnat" };
            Translation {
                side: super::super::values::side(source),
                addresses,
                ports,
                text: format!("{verb} to {}", target(addresses, ports)),
            }
        }
    }
}

fn target(
    addresses: Option<(std::net::IpAddr, std::net::IpAddr)>,
    ports: Option<(u16, u16)>,
) -> String {
    let port = ports.map_or_else(String::new, |(first, last)| {
        if first == last {
            format!(":{first}")
        } else {
            format!(":{first}-{last}")
        }
    });
    match addresses {
        None => format!("…{port}"),
        Some((first, last)) if first == last => match (first.is_ipv6(), port.is_empty()) {
            (true, false) => format!("[{first}]{port}"),
            _ => format!("{first}{port}"),
        },
        Some((first, last)) => format!("{first}-{last}{port}"),
    }
}

/// `limit`.
pub(super) fn limit(read: &Attributes<'_>) -> String {
    const UNITS: [(u64, &str); 5] = [
        (1, "second"),
        (60, "minute"),
        (3_600, "hour"),
        (86_400, "day"),
        (604_800, "week"),
    ];
    /// What nft takes where nothing is said.
    const USUAL_BURST: u32 = 5;
    let over = if read.number(5).is_some_and(|flags| flags & 1 != 0) {
        "over "
    } else {
        ""
    };
    let bytes = if read.number(4) == Some(1) {
        " bytes"
    } else {
        ""
    };
    let unit = UNITS
        .iter()
        .find(|(seconds, _)| Some(*seconds) == read.long(2))
        .map_or("…", |(_, name)| name);
    let rate = read.long(1).unwrap_or_default();
    let burst = match (read.number(3), bytes) {
        (None | Some(0), _) | (Some(USUAL_BURST), "") => String::new(),
        (Some(burst), "") => format!(" burst {burst} packets"),
        (Some(burst), bytes) => format!(" burst {burst}{bytes}"),
    };
    format!("limit rate {over}{rate}{bytes}/{unit}{burst}")
}

/// `ct count`.
pub(super) fn connlimit(read: &Attributes<'_>) -> String {
    let over = if read.number(2) == Some(1) {
        "over "
    } else {
        ""
    };
    format!("ct count {over}{}", read.number(1).unwrap_or_default())
}

/// `log`.
pub(super) fn log(read: &Attributes<'_>) -> String {
    /// NFTA_LOG_PREFIX is the only part that is told in full.
    const PREFIX: u16 = 2;
    let further = [1, 3, 4, 6]
        .into_iter()
        .any(|part| read.get(part).is_some());
    let level = read
        .get(5)
        .and_then(be32_of)
        .is_some_and(|level| level != 4);
    let more = if further || level { " …" } else { "" };
    match read.get(PREFIX).map(text_of) {
        Some(prefix) => format!("log prefix \"{}\"{more}", prefix.replace('"', "'")),
        None => format!("log{more}"),
    }
}
