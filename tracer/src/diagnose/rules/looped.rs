//! Which route of a routing loop points back: the one without which its namespace would send the packet out of the loop,
//! to a machine that is known.

use std::collections::BTreeSet;

use crate::host::Host;
use crate::host::facts::TableRoute;
use crate::model::{Device, IfIndex, NetNs, Tuple};
use crate::network::neighbour;
use crate::network::route::{Decision, Query, Tables, lookup, route_words};

use super::super::loss::Loss;
use super::super::needs::Asked;
use super::super::remedy::{Remedy, Shell};
use super::super::route_commands;
use super::super::visits;

/// What to read of the namespaces that a packet passed more than once.
pub fn ask(loss: &Loss<'_>, asked: &mut Asked) {
    let Some(tuple) = loss.outermost() else {
        return;
    };
    for (device, _) in visits::looping(loss.journey) {
        let query = Query::input(tuple, device.ifindex, 0);
        asked.lookup(loss.host, device.netns, &query);
    }
}

/// The route that is to go; `None` where none of the loop's, or more than one, can be the wrong one.
pub(super) fn deleted(loss: &Loss<'_>, loops: &[(Device, usize)]) -> Option<Remedy> {
    let (host, tuple) = (loss.host, loss.outermost()?);
    let within: BTreeSet<NetNs> = loops.iter().map(|(device, _)| device.netns).collect();
    let mut wrong = loops.iter().filter_map(|(device, _)| {
        let tables = Tables::of(host, device.netns);
        let query = Query::input(tuple, device.ifindex, 0);
        let Decision::Route { route, .. } = lookup(&tables, &query).decision else {
            return None;
        };
        let without = lookup(&tables.without(route), &query).decision;
        let instead = leads_out(host, device.netns, &without, tuple, &within)?;
        Some((device.netns, route, instead))
    });
    let (netns, route, instead) = wrong.next()?;
    if wrong.any(|(other, ..)| other != netns) {
        return None;
    }
    let shell = Shell::of(host, Some(netns));
    let text = format!(
        "delete the route that points back: {} is used then, which leads out of the loop",
        route_words(host, netns, instead)
    );
    route_commands::delete(&shell, (host, netns), route, text)
}

/// The route, where its next hops are all known, and outside of the loop.
fn leads_out<'a>(
    host: &Host,
    netns: NetNs,
    decision: &Decision<'a>,
    tuple: Tuple,
    within: &BTreeSet<NetNs>,
) -> Option<&'a TableRoute> {
    let Decision::Route { route, hops, .. } = decision else {
        return None;
    };
    let out = |oif: u32, address| {
        let device = Device {
            netns,
            ifindex: IfIndex(oif),
        };
        let owners = neighbour::owners(host, device, address);
        !owners.is_empty() && owners.iter().all(|o| !within.contains(&o.device.netns))
    };
    let known = hops.iter().all(|hop| {
        hop.oif
            .is_some_and(|oif| out(oif, hop.gateway.unwrap_or(tuple.dst)))
    });
    (known && !hops.is_empty()).then_some(*route)
}
