//! Terms in words, for the report: the same language that the user writes.

use std::net::IpAddr;

use tracer_common::tuple::{FAMILY_V4, FAMILY_V6, PROTO_ARP};

use super::ast::Network;
use super::conjunction::{Conjunction, Span, Vlan};
use super::names::{KEYWORDS, Keyword, name_of};
use super::normal_form::Term;
use crate::filter::ast::Test;

/// A term as an expression.
pub(super) fn term(term: &Term) -> String {
    let mut parts = tests(&term.conjunction);
    for not in &term.without {
        let mut bare = *not;
        if bare.tcp_mask == 0 && bare.icmp_type == Span::ALL && bare.proto == term.conjunction.proto
        {
            // the term has said so
            bare.proto = None;
        }
        let inner = tests(&bare);
        parts.push(if inner.len() == 1 {
            format!("not {}", inner.concat())
        } else {
            format!("not ({})", inner.join(" and "))
        });
    }
    if parts.is_empty() {
        "ip or ip6".to_owned()
    } else {
        parts.join(" and ")
    }
}

/// The tests of a conjunction; none for all packets.
pub(super) fn tests(conjunction: &Conjunction) -> Vec<String> {
    let mut parts = Vec::new();
    if conjunction.inner {
        parts.push("inner".to_owned());
    }
    match conjunction.vlan {
        Vlan::Any => {}
        Vlan::Tagged => parts.push("vlan".to_owned()),
        Vlan::Id(id) => parts.push(format!("vlan {id}")),
    }
    parts.extend(protocol(conjunction));
    parts.extend(network("src", &conjunction.src));
    parts.extend(ports("src", conjunction.sport));
    parts.extend(network("dst", &conjunction.dst));
    parts.extend(ports("dst", conjunction.dport));
    if conjunction.ported && conjunction.sport == Span::ALL && conjunction.dport == Span::ALL {
        parts.push("portrange 0-65535".to_owned());
    }
    if conjunction.tcp_mask != 0 {
        parts.push(format!(
            "tcp[tcpflags] & {:#04x} == {:#04x}",
            conjunction.tcp_mask, conjunction.tcp_flags
        ));
    }
    let Span { first, last } = conjunction.icmp_type;
    if conjunction.icmp_type != Span::ALL {
        let field = if conjunction.family == FAMILY_V6 {
            "icmp6[icmp6type]"
        } else {
            "icmp[icmptype]"
        };
        if first == last {
            parts.push(format!("{field} == {first}"));
        } else {
            parts.push(format!("{field} >= {first}"));
            parts.push(format!("{field} <= {last}"));
        }
    }
    parts
}

fn protocol(conjunction: &Conjunction) -> Option<String> {
    let told = conjunction.src.family != 0 || conjunction.dst.family != 0;
    let version = match conjunction.family {
        FAMILY_V4 if !told => "ip",
        FAMILY_V6 if !told => "ip6",
        _ => "",
    };
    let Some(proto) = conjunction.proto else {
        return (!version.is_empty()).then(|| version.to_owned());
    };
    if conjunction.tcp_mask != 0 || conjunction.icmp_type != Span::ALL {
        return (conjunction.family != 0 && proto == 6 && !told).then(|| version.to_owned());
    }
    let exact = Keyword::Protocol(Test::Proto {
        family: conjunction.family,
        proto,
    });
    let any = Keyword::Protocol(Test::Proto { family: 0, proto });
    let name =
        name_of(KEYWORDS, exact).or_else(|| name_of(KEYWORDS, any).filter(|_| version.is_empty()));
    Some(match name {
        Some(name) => name.to_owned(),
        None if proto == PROTO_ARP => "arp".to_owned(),
        None => format!("{version} proto {proto}").trim_start().to_owned(),
    })
}

fn network(side: &str, network: &Network) -> Option<String> {
    let address = network.address();
    match (network.family, network.host(), network.prefix_length()) {
        (0, ..) => None,
        (_, Some(host), _) => Some(format!("{side} host {host}")),
        (_, None, Some(length)) => Some(format!("{side} net {address}/{length}")),
        (_, None, None) => {
            let mask = IpAddr::V4(((network.mask >> 96) as u32).into());
            Some(format!("{side} net {address} mask {mask}"))
        }
    }
}

fn ports(side: &str, Span { first, last }: Span) -> Option<String> {
    if (Span { first, last }) == Span::ALL {
        None
    } else if first == last {
        Some(format!("{side} port {first}"))
    } else {
        Some(format!("{side} portrange {first}-{last}"))
    }
}
