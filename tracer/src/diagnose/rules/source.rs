//! Checks of the source address at input: reverse-path filter and martians.

use std::net::IpAddr;

use crate::host::Host;
use crate::model::{Device, IfIndex, NetNs};
use crate::network::links::peer_of;
use crate::network::route::{
    Decision, Query, Tables, check_source, lookup, route_words, rule_words,
};
use crate::verdict::Place;

use super::super::candidate::{Candidate, Specificity};
use super::super::causes::{ROUTE_MARTIAN, ROUTE_RP_FILTER};
use super::super::loss::Loss;
use super::super::readdress;
use super::super::remedy::{Remedy, Shell, command, ip, sysctl, text};
use super::super::routing;
use super::super::words;
use super::nat;
use super::route::HOOK;

/// The reverse-path filter refused the source.
pub fn filtered(loss: &Loss<'_>) -> Option<Candidate> {
    let device = loss.device()?;
    Some(
        reverse_path(
            loss.host,
            Arrival {
                device,
                query: loss.routed(Some(device))?,
            },
            mode(loss.host, device),
            loss.place(Some(HOOK)),
        )
        .explains(Specificity::Reason),
    )
}

/// Addresses that are impossible at this place.
pub fn martian(loss: &Loss<'_>) -> Option<Candidate> {
    let tuple = loss.tuple()?;
    let why = match loss.reason() {
        "IP_LOCAL_SOURCE" => format!(
            "martian source: {} is an address of this namespace itself",
            tuple.src
        ),
        "IP_LOCALNET" => format!(
            "martian: a loopback address came in from outside ({} > {})",
            tuple.src, tuple.dst
        ),
        "IP_INVALID_SOURCE" => format!("martian source {}", tuple.src),
        "IP_INVALID_DEST" => format!("martian destination {}", tuple.dst),
        _ => return None,
    };
    let candidate = Candidate::new(
        &ROUTE_MARTIAN,
        loss.place(Some(HOOK)),
        format!("{why}{}", loss.at_words()),
    )
    .explains(Specificity::Reason);
    let netns = loss.netns()?;
    let shell = Shell::of(loss.host, Some(netns));
    if loss.reason() == "IP_LOCALNET" && tuple.dst.is_loopback() {
        let interface = loss
            .device()
            .map_or_else(|| "all".to_owned(), |d| loss.host.interface(d));
        let setting = sysctl(&format!("net/ipv4/conf/{interface}/route_localnet"));
        return Some(candidate.advise([
            shell.look("look first", command!["sysctl", setting]),
            shell.change("only where a DNAT to 127.0.0.1 is wanted: it exposes what listens on loopback", command!["sysctl -w", format!("{setting}=1")]).undone_by(command!["sysctl -w", format!("{setting}=0")]),
            text("better: let the server listen on the interface's address, and translate to that"),
        ]));
    }
    if loss.reason() == "IP_INVALID_DEST" {
        return Some(candidate.advise([text(format!(
            "mend what sends to {}: a variable that was never set, or a translation to nowhere",
            tuple.dst
        ))]));
    }
    if let Some((words, advice)) = nat::hairpin(loss) {
        let mut candidate = candidate;
        candidate.summary += &words;
        return Some(candidate.advise(advice));
    }
    let asker = loss
        .steps()
        .iter()
        .find_map(|s| s.event.device)
        .filter(|d| d.netns != netns);
    Some(candidate.advise(martian_advice(
        loss.host,
        netns,
        (tuple.src, tuple.dst),
        asker,
    )))
}

/// What to do about a source that cannot be answered on the way `to` somewhere. `sender`: an interface of the namespace that sends it.
#[must_use]
pub fn martian_advice(
    host: &Host,
    netns: NetNs,
    (source, to): (IpAddr, IpAddr),
    sender: Option<Device>,
) -> Vec<Remedy> {
    let mut list = vec![Shell::of(host, Some(netns)).look(
        "what this namespace makes of the source",
        command![..ip(source.is_ipv6()), "route get", source],
    )];
    let owner = sender.and_then(|sender| host.owners(source).find(|d| d.netns == sender.netns));
    if let Some(owner) = owner {
        let shell = Shell::of(host, Some(owner.netns));
        list.push(shell.look(
            "the sender has the address too: look",
            command![
                ..ip(source.is_ipv6()),
                "addr show dev",
                host.interface(owner)
            ],
        ));
        list.extend(readdress::remove(
            host,
            (owner, source),
            to,
            "take it away there",
        ));
    } else {
        list.push(text("the sender uses an address that cannot be answered: look for missing masquerading, a wrong SNAT rule (iptables -t nat -nvL, nft list ruleset) or a duplicate address"));
    }
    list
}

/// The setting that counts for an interface: the larger of `all` and its own (IN_DEV_RPFILTER).
fn mode(host: &Host, device: Device) -> (String, u32) {
    let own = host.interface(device);
    let name = |interface: &str| format!("net/ipv4/conf/{interface}/rp_filter");
    let value = |interface: &str| -> Option<u32> {
        let read = host.sysctls.get(&(device.netns, name(interface)))?;
        read.fact.as_deref()?.parse().ok()
    };
    match (value("all"), value(&own)) {
        (Some(all), Some(one)) if all > one => (name("all"), all),
        (_, one) => (name(&own), one.unwrap_or(1)),
    }
}

/// A packet that came to an interface.
#[derive(Clone, Copy, Debug)]
pub struct Arrival {
    /// The interface.
    pub device: Device,
    /// The packet.
    pub query: Query,
}

/// Where an answer would go.
struct WayBack {
    /// In words, for the summary.
    summary: String,
    /// The route and the rule, as far as they were read.
    evidence: Option<String>,
    /// Whether there is a way at all.
    exists: bool,
}

/// Where an answer would go, asked as the kernel asks for the check; without the facts for that, as RTM_GETROUTE told.
fn way_back(host: &Host, Arrival { device, query }: Arrival) -> Option<WayBack> {
    let tables = Tables::of(host, device.netns);
    let forward = lookup(&tables, &query).decision;
    let netns = device.netns;
    let through = |oif: Option<u32>| {
        let other = oif.filter(|oif| *oif != device.ifindex.0).map(IfIndex);
        other.map_or_else(String::new, |ifindex| {
            let name = host.interface(Device { netns, ifindex });
            format!(": an answer would leave through {name}")
        })
    };
    let none = || WayBack {
        summary: ": no route leads back to it".to_owned(),
        evidence: None,
        exists: false,
    };
    match check_source(&tables, &query, &forward).back.decision {
        Decision::Route { rule, route, hops } => Some(WayBack {
            summary: through(hops.iter().find_map(|hop| hop.oif)),
            evidence: Some(format!(
                "the way back is {}, by policy rule {}: {}",
                route_words(host, netns, route),
                rule.priority,
                rule_words(rule)
            )),
            exists: true,
        }),
        Decision::Undecided(_) => {
            let told = routing::answer(host, netns, query.tuple.src)?;
            Some(match &told.result {
                Ok(route) => WayBack {
                    summary: through(route.oif),
                    evidence: None,
                    exists: true,
                },
                Err(_) => none(),
            })
        }
        _ => Some(none()),
    }
}

/// The reverse-path filter refuses a source on an interface.
#[must_use]
pub fn reverse_path(
    host: &Host,
    arrival: Arrival,
    (name, mode): (String, u32),
    place: Place,
) -> Candidate {
    let (device, source) = (arrival.device, arrival.query.tuple.src);
    let setting = sysctl(&name);
    let interface = host.interface(device);
    let shell = Shell::of(host, Some(device.netns));
    let ip = ip(source.is_ipv6());
    let answer = routing::answer(host, device.netns, source);
    let way = way_back(host, arrival);
    let kind = if mode == 2 { "loose" } else { "strict" };
    let back = host
        .links()
        .find(|l| {
            host.is_local(l.device.netns, source)
                && peer_of(host, l.device).is_some_and(|p| p.device == device)
        })
        .and_then(|l| {
            host.addresses(l.device)
                .iter()
                .map(|a| a.address)
                .find(|a| {
                    a.is_ipv4()
                        && host
                            .addresses(device)
                            .iter()
                            .any(|own| routing::holds(own.address, own.prefix, *a))
                })
        });
    let via = back
        .filter(|gateway| *gateway != source)
        .map(|gateway| ["via".to_owned(), gateway.to_string()]);
    let exists = way.as_ref().is_some_and(|way| way.exists);
    let verb = if exists { "replace" } else { "add" };
    let mut candidate = Candidate::new(
        &ROUTE_RP_FILTER,
        place,
        format!(
            "reverse-path filter (rp_filter) refused source {source} on {}{}",
            words::interface(host, device),
            way.as_ref().map_or("", |way| way.summary.as_str())
        ),
    )
    .explains(Specificity::Linked)
    .because("sysctl", format!("{setting} = {mode} ({kind})"))
    .because("route", way.and_then(|way| way.evidence))
    .because("route", answer.map(|a| routing::answer_words(host, a)))
    .advise([
        shell.look(
            "where an answer would go",
            command![..ip, "route get", source],
        ),
        shell.look(
            "look first: the larger of both counts",
            command![
                "sysctl net.ipv4.conf.all.rp_filter",
                sysctl(&format!("net/ipv4/conf/{interface}/rp_filter"))
            ],
        ),
        shell
            .change(
                format!("best, if {source} belongs behind {interface}: route the answer there"),
                command![
                    ..ip,
                    "route",
                    verb,
                    source,
                    ..via.into_iter().flatten(),
                    "dev",
                    interface
                ],
            )
            .undone_by(command![..ip, "route del", source, "dev", interface]),
    ]);
    let weaker = if mode == 2 { 0 } else { 2 };
    candidate = candidate.advise([shell
        .change(
            if mode == 2 {
                "or turn the filter off: forged sources come in then"
            } else {
                "or filter loosely: any route back will do"
            },
            command!["sysctl -w", format!("{setting}={weaker}")],
        )
        .undone_by(command!["sysctl -w", format!("{setting}={mode}")])]);
    candidate
}
