//! What is known of routes around a packet: lookups at the same moment, answers to questions, links that are down.

use std::net::IpAddr;

use crate::correlate::Trace;
use crate::host::Host;
use crate::host::facts::{Link, RouteAnswer};
use crate::model::{Detail, Event, FibEvent, NetNs};
use crate::uapi::if_arp::ARPHRD_LOOPBACK;
use crate::uapi::rtnetlink::RT_TABLE_LOCAL;

use super::loss::{apart, tuple_of};
pub use crate::host::prefix::{holds, network};
pub use crate::network::route::errno_words;

/// A lookup belongs to what the same CPU does next.
const SAME_LOOKUP_NS: u64 = 1_000_000;

/// The route lookup for this destination nearest before an event, on its CPU, outside the local table.
#[must_use]
pub fn lookup_before<'a>(trace: &'a Trace, event: &Event, dst: IpAddr) -> Option<&'a FibEvent> {
    trace
        .beside
        .iter()
        .rev()
        .filter(|e| {
            e.at <= event.at && e.cpu == event.cpu && apart(e.at, event.at) < SAME_LOOKUP_NS
        })
        .filter(|e| tuple_of(e).is_some_and(|t| t.dst == dst))
        .find_map(|e| match &e.detail {
            Detail::Fib(fib) if fib.table != RT_TABLE_LOCAL => Some(fib),
            _ => None,
        })
}

/// What the kernel answered when it was asked for this destination.
#[must_use]
pub fn answer(host: &Host, netns: NetNs, dst: IpAddr) -> Option<&RouteAnswer> {
    host.routes
        .iter()
        .rev()
        .map(|r| &r.fact)
        .find(|r| r.netns == netns && r.tuple.dst == dst)
}

/// The answer in words.
#[must_use]
pub fn answer_words(host: &Host, answer: &RouteAnswer) -> String {
    let dst = answer.tuple.dst;
    let netns = host.namespace(answer.netns);
    match &answer.result {
        Err(error) => format!("asked for {dst}, {netns} answers: {}", errno_words(*error)),
        Ok(found) => {
            let via = found
                .gateway
                .map_or_else(String::new, |g| format!(" via {g}"));
            let dev = found.oif.map_or_else(String::new, |i| {
                let device = crate::model::Device {
                    netns: answer.netns,
                    ifindex: crate::model::IfIndex(i),
                };
                format!(" dev {}", host.interface(device))
            });
            format!(
                "asked for {dst}, {netns} answers: {}{via}{dev} table {}",
                found.kind, found.table
            )
        }
    }
}

/// Whether a lookup right before the event asked the local table alone: a policy rule ended it before any other.
#[must_use]
pub fn stopped_by_rule(trace: &Trace, event: &Event, dst: IpAddr) -> bool {
    let mut local = false;
    for e in &trace.beside {
        let Detail::Fib(fib) = &e.detail else {
            continue;
        };
        let same = e.at <= event.at
            && e.cpu == event.cpu
            && apart(e.at, event.at) < SAME_LOOKUP_NS
            && tuple_of(e).is_some_and(|t| t.dst == dst);
        if !same {
            continue;
        }
        if fib.table != RT_TABLE_LOCAL || fib.error == 0 {
            return false;
        }
        local = true;
    }
    local
}

fn is_downed(host: &Host, link: &Link) -> bool {
    !link.up || host.is_gone(link.device)
}

/// An interface of the namespace that is administratively down or gone and has, or had, an address in the network of the
/// destination.
#[must_use]
pub fn downed_network(host: &Host, netns: NetNs, dst: IpAddr) -> Option<&Link> {
    let on_link = |link: &&Link| {
        let mut own = host.last_addresses(link.device).iter();
        own.any(|a| holds(a.address, a.prefix, dst))
    };
    let cable = |l: &&Link| l.arp_type != ARPHRD_LOOPBACK && l.name != "lo";
    host.links()
        .filter(|l| l.device.netns == netns && is_downed(host, l))
        .filter(cable)
        .find(on_link)
}

/// An interface of the namespace that is administratively down or gone and that the destination belongs to, or the
/// only way out there is. Its routes went with it.
#[must_use]
pub fn downed_way(host: &Host, netns: NetNs, dst: IpAddr) -> Option<&Link> {
    let links = || {
        host.links()
            .filter(|l| l.device.netns == netns && l.arp_type != ARPHRD_LOOPBACK && l.name != "lo")
    };
    let downed = |link: &Link| is_downed(host, link);
    let only = |list: &mut dyn Iterator<Item = &'_ Link>| {
        let first = list.next()?;
        (list.next().is_none() && downed(first)).then_some(first.device)
    };
    downed_network(host, netns, dst)
        .map(|l| l.device)
        .or_else(|| only(&mut links().filter(|l| !host.last_addresses(l.device).is_empty())))
        // Its addresses may have gone before this run began.
        .or_else(|| only(&mut links()))
        .or_else(|| {
            // One interface with addresses is down: the way through its gateway went with it.
            let suspect = |l: &&Link| {
                downed(l) && (dst.is_ipv6() || !host.last_addresses(l.device).is_empty())
            };
            only(&mut links().filter(suspect))
        })
        .and_then(|device| host.link(device))
}
