//! Checks of the source address at input: reverse-path filter and martians.

use super::super::advice::{Shell, ip, sysctl, text};
use super::super::candidate::{Candidate, Specificity};
use super::super::causes::{ROUTE_MARTIAN, ROUTE_RP_FILTER};
use super::super::loss::Loss;
use super::nat;
use super::route::HOOK;

/// Source checks at input.
pub fn source(loss: &Loss<'_>) -> Option<Candidate> {
    let tuple = loss.tuple()?;
    let shell = Shell::of(loss.host, loss.netns());
    let (cause, why) = match loss.reason() {
        "IP_RPFILTER" => (
            &ROUTE_RP_FILTER,
            format!(
                "reverse-path filter (rp_filter) refused source {}",
                tuple.src
            ),
        ),
        "IP_LOCAL_SOURCE" => (
            &ROUTE_MARTIAN,
            format!(
                "martian source: {} is an address of this namespace itself",
                tuple.src
            ),
        ),
        "IP_LOCALNET" => (
            &ROUTE_MARTIAN,
            format!(
                "martian: a loopback address came in from outside ({} > {})",
                tuple.src, tuple.dst
            ),
        ),
        "IP_INVALID_SOURCE" => (&ROUTE_MARTIAN, format!("martian source {}", tuple.src)),
        "IP_INVALID_DEST" => (&ROUTE_MARTIAN, format!("martian destination {}", tuple.dst)),
        _ => return None,
    };
    let interface = loss
        .device()
        .map_or_else(|| "all".to_owned(), |d| loss.host.interface(d));
    let name = |interface: &str| sysctl(&format!("net/ipv4/conf/{interface}/rp_filter"));
    let candidate = Candidate::new(
        cause,
        loss.place(Some(HOOK)),
        format!("{why}{}", loss.at_words()),
    )
    .explains(Specificity::Reason)
    .advise([shell.run(
        "where an answer would go",
        format!("{} route get {}", ip(loss.v6()), tuple.src),
    )]);
    Some(if cause == &ROUTE_RP_FILTER {
        candidate.advise([
            shell.run(
                "look first: the larger of both counts",
                format!("sysctl {} {}", name("all"), name(&interface)),
            ),
            text("best: route the answer to the interface the packet comes in on (ip route add …)"),
            shell.run(
                "or filter loosely",
                format!("sysctl -w {}=2", name(&interface)),
            ),
            shell.run(
                "to take that back",
                format!("sysctl -w {}=1", name(&interface)),
            ),
        ])
    } else if loss.reason() == "IP_LOCALNET" {
        candidate.advise([shell.run(
            "only where a DNAT to 127.0.0.1 is wanted: it exposes what listens on loopback",
            format!(
                "sysctl -w {}=1",
                sysctl(&format!("net/ipv4/conf/{interface}/route_localnet"))
            ),
        )])
    } else if let Some((words, advice)) = nat::hairpin(loss) {
        let mut candidate = candidate;
        candidate.summary += &words;
        candidate.advise(advice)
    } else {
        candidate.advise([text("the sender uses an address that cannot be answered: look for missing masquerading or a duplicate address")])
    })
}
