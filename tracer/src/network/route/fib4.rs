//! What an IPv4 table says: fib_table_lookup (net/ipv4/fib_trie.c) and the choice of a path (fib_select_path,
//! net/ipv4/fib_semantics.c).

use std::net::IpAddr;

use crate::host::facts::{NextHop, TableRoute};
use crate::model::IfIndex;

use super::rules::TOS_BITS;
use super::{Found, Occasion, Query, Refusal, Unknown};

/// Searches the routes of a table, which hold the destination and stand in the kernel's order.
pub(super) fn search<'a>(routes: &[&'a TableRoute], query: &Query) -> Found<'a> {
    let mut routes = routes.to_vec();
    // Where local and main are one, local comes first of equal prefixes (fib_find_alias, by descending table).
    routes.sort_by_key(|route| {
        (
            std::cmp::Reverse(route.length),
            std::cmp::Reverse(route.table),
        )
    });
    // A next-hop object without a usable path ends the search of its leaf, which holds all prefixes that begin with
    // the same address (fib_table_lookup goes to `miss`).
    let mut skipped: Option<IpAddr> = None;
    for (at, route) in routes.iter().copied().enumerate() {
        if skipped == Some(route.prefix) {
            continue;
        }
        match is_for_tos(route, query) {
            Some(true) => {}
            Some(false) => continue,
            None => return unknown_tos(route),
        }
        if let Some(kind) = Refusal::of(&route.kind) {
            return Found::Refused(route, kind);
        }
        if route.kind == "throw" {
            return Found::Throw(route);
        }
        let good = usable(route, query.oif);
        if good.is_empty() {
            skipped = skipped.or(route.nexthop.map(|_| route.prefix));
            continue;
        }
        return chosen(route, good, routes.get(at..).unwrap_or_default(), query);
    }
    Found::Nothing
}

/// Whether a route is for the packet's type of service; `None` where that is not known.
fn is_for_tos(route: &TableRoute, query: &Query) -> Option<bool> {
    if route.tos == 0 {
        return Some(true);
    }
    query.tos.map(|tos| tos & TOS_BITS == route.tos)
}

fn unknown_tos<'a>(route: &TableRoute) -> Found<'a> {
    let why = format!(
        "a route for {}/{} is for packets of type of service {:#x} alone, and that of the packet is not known",
        route.prefix, route.length, route.tos
    );
    Found::Unknown(Unknown::because(why))
}

/// Paths that can be taken (fib_lookup_good_nhc).
fn usable(route: &TableRoute, oif: Option<IfIndex>) -> Vec<NextHop> {
    let mut hops = route.hops();
    hops.retain(|hop| !hop.is_dead() && oif.is_none_or(|oif| hop.oif == Some(oif.0)));
    hops
}

/// The path of a route. `from_it`: the route, and those behind it in the table.
fn chosen<'a>(
    route: &'a TableRoute,
    mut good: Vec<NextHop>,
    from_it: &[&'a TableRoute],
    query: &Query,
) -> Found<'a> {
    if query.oif.is_some() {
        good.truncate(1);
    }
    let one = route.paths.len() < 2;
    let output = query.occasion == Occasion::Output && query.oif.is_none();
    if output && one && rivals(route, from_it, query) > 1 {
        let why = format!(
            "table {} has several default routes of the same metric: the kernel chooses by the state of their neighbours",
            route.table
        );
        return Found::Unknown(Unknown::because(why));
    }
    Found::Route(route, good)
}

/// How many default routes fib_select_default chooses from.
fn rivals(route: &TableRoute, from_it: &[&TableRoute], query: &Query) -> usize {
    /// RT_SCOPE_LINK.
    const LINK: u8 = 253;
    if route.length != 0 || route.kind != "unicast" {
        return 0;
    }
    let (mut last_metric, mut last_tos) = (route.metric, 0);
    let mut count = 0;
    for next in from_it.iter().filter(|next| next.length == 0) {
        if next.table != route.table || is_for_tos(next, query) != Some(true) {
            continue;
        }
        if next.metric > last_metric && next.tos == last_tos {
            if last_tos != 0 {
                continue;
            }
            break;
        }
        let hops = next.hops();
        if hops.iter().all(NextHop::is_dead) {
            continue;
        }
        (last_tos, last_metric) = (next.tos, next.metric);
        let gateway = hops.first().is_some_and(|hop| hop.gateway.is_some());
        if next.kind == "unicast" && next.scope == route.scope && route.scope < LINK && gateway {
            count += 1;
        } else if count == 0 && std::ptr::eq(*next, route) {
            return 0;
        }
    }
    count
}
