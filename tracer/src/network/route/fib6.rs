//! What an IPv6 table says: fib6_table_lookup, rt6_select, find_rr_leaf and fib6_select_path of net/ipv6/route.c.

use std::net::IpAddr;

use crate::host::facts::{NextHop, Question, TableRoute};
use crate::model::{Device, IfIndex};

use super::{Found, LOOPBACK, Occasion, Query, Refusal, Tables, Unknown};

/// NUD_FAILED.
const FAILED: u16 = 0x20;

/// Searches the routes of a table, which hold the destination, longest prefix first, then by metric.
pub(super) fn search<'a>(
    tables: &Tables<'a>,
    routes: &[&'a TableRoute],
    query: &Query,
) -> Found<'a> {
    if let Some(route) = routes.iter().find(|route| route.from.is_some()) {
        let why = format!(
            "table {} has a route for certain sources ({}/{})",
            route.table, route.prefix, route.length
        );
        return Found::Unknown(Unknown::because(why));
    }
    let select = Select {
        tables,
        oif: interface(query),
        strict: is_strict(query),
    };
    // A host that does not forward passes over gateways that do not answer, first (ip6_pol_route).
    let forwards = tables.number("net/ipv6/conf/all/forwarding");
    let any = || select.table(routes, None);
    let reachable = |failed: &[NextHop]| select.table(routes, Some(failed)).or_else(any);
    // Of a gateway of which nothing is known both is tried: that it answers, and that it does not.
    let first = reachable(&[]);
    let hops: &[NextHop] = first.as_ref().map_or(&[], |(_, hops)| hops);
    let second = reachable(hops);
    let chosen = match forwards {
        Ok(0) => [first, second],
        Ok(_) => [any(), any()],
        Err(_) if first == second => [any(), second],
        Err(_) => [first, second],
    };
    match (chosen, forwards) {
        ([Some(one), Some(two)], _) if one == two => found(one),
        ([None, None], _) => Found::Nothing,
        (_, Err(unread)) => Found::Unknown(unread),
        ([one, two], Ok(_)) => Found::Unknown(select.unread_gateway([one, two])),
    }
}

/// The interface that a route should have: the one to which a socket is bound, or the one on which the packet came
/// (ip6_pol_route_output, ip6_pol_route_input).
fn interface(query: &Query) -> Option<IfIndex> {
    match query.occasion {
        Occasion::Output => query.oif,
        Occasion::Input | Occasion::Reverse => query.iif.filter(|iif| *iif != LOOPBACK),
    }
}

/// Whether a route must have it (RT6_LOOKUP_F_IFACE: rt6_need_strict, ip6_route_output_flags).
fn is_strict(query: &Query) -> bool {
    let IpAddr::V6(dst) = query.tuple.dst else {
        return false;
    };
    let need = dst.is_multicast() || dst.is_unicast_link_local() || dst.is_loopback();
    let bound = query.occasion == Occasion::Output
        && query.oif.is_some()
        && query.tuple.src.is_unspecified();
    need || bound
}

fn found<'a>((route, hops): (&'a TableRoute, Vec<NextHop>)) -> Found<'a> {
    match Refusal::of(&route.kind) {
        Some(kind) => Found::Refused(route, kind),
        None if route.kind == "throw" => Found::Throw(route),
        None => Found::Route(route, hops),
    }
}

/// A choice among routes.
struct Select<'a, 't> {
    tables: &'t Tables<'a>,
    oif: Option<IfIndex>,
    strict: bool,
}

type Chosen<'a> = Option<(&'a TableRoute, Vec<NextHop>)>;

impl<'a> Select<'a, '_> {
    /// The route of a table, prefix by prefix. `failed`: gateways that failed do not count, nor do these where nothing
    /// is known of them.
    fn table(&self, routes: &[&'a TableRoute], failed: Option<&[NextHop]>) -> Chosen<'a> {
        routes
            .chunk_by(|a, b| a.length == b.length)
            .find_map(|node| self.node(node, failed))
    }

    /// The routes of one prefix: the best of the lowest metric, else the best of all others together (find_rr_leaf).
    fn node(&self, node: &[&'a TableRoute], failed: Option<&[NextHop]>) -> Chosen<'a> {
        let lowest = node.first()?.metric;
        let (first, rest) = node.split_at(node.partition_point(|route| route.metric == lowest));
        let best = [first, rest]
            .into_iter()
            .find_map(|routes| self.best(routes, failed))?;
        Some((best, self.paths(best, failed)))
    }

    /// The first route with the highest score (__find_rr_leaf); a next-hop object that is a blackhole ends the search.
    fn best(
        &self,
        routes: &[&'a TableRoute],
        failed: Option<&[NextHop]>,
    ) -> Option<&'a TableRoute> {
        let mut best: Option<(&TableRoute, u8)> = None;
        for route in routes.iter().copied() {
            if route.nexthop.is_some() && route.kind == "blackhole" {
                return Some(route);
            }
            for hop in route.hops().iter().filter(|hop| !hop.is_dead()) {
                let score = self.score(route, hop, failed);
                best = match (score, best) {
                    (Some(score), Some((_, highest))) if score <= highest => best,
                    (Some(score), _) => Some((route, score)),
                    (None, _) => best,
                };
            }
        }
        best.map(|(route, _)| route)
    }

    /// rt6_score_route: the interface, then the router's preference; `None` where the path does not count.
    fn score(&self, route: &TableRoute, hop: &NextHop, failed: Option<&[NextHop]>) -> Option<u8> {
        let refuses = Refusal::of(&route.kind).is_some() || route.kind == "throw";
        // Routes that refuse hang on `lo`.
        let at = hop.oif.or(refuses.then_some(LOOPBACK.0));
        let here = self.oif.is_none_or(|oif| at == Some(oif.0));
        if !here && self.strict {
            return None;
        }
        if let (Some(failed), Some(gateway)) = (failed, hop.gateway)
            && !self
                .answers(hop, gateway)
                .unwrap_or_else(|| !failed.contains(hop))
        {
            return None;
        }
        let preference = (route.preference ^ 2) << 2;
        Some(preference | if here { 2 } else { 0 })
    }

    /// Whether a gateway has not failed (rt6_check_neigh, with CONFIG_IPV6_ROUTER_PREF); `None` where it was not read.
    fn answers(&self, hop: &NextHop, gateway: IpAddr) -> Option<bool> {
        let device = self.device(hop)?;
        let mut entries = self.tables.host().neighbors.iter().rev().map(|n| &n.fact);
        let entry = entries.find(|n| n.device == device && n.address == gateway)?;
        Some(entry.state & FAILED == 0)
    }

    fn device(&self, hop: &NextHop) -> Option<Device> {
        Some(Device {
            netns: self.tables.netns(),
            ifindex: IfIndex(hop.oif?),
        })
    }

    /// The paths of the chosen route that a hash may give (fib6_select_path).
    fn paths(&self, route: &TableRoute, failed: Option<&[NextHop]>) -> Vec<NextHop> {
        let object = route.nexthop.is_some();
        let mut hops = route.hops();
        hops.retain(|hop| !hop.is_dead() && (object || self.score(route, hop, failed).is_some()));
        hops
    }

    /// What would tell which of the two ways it is.
    fn unread_gateway(&self, ways: [Chosen<'a>; 2]) -> Unknown {
        let hops = ways.into_iter().flatten().flat_map(|(_, hops)| hops);
        let mut unread = hops.filter_map(|hop| {
            let (gateway, device) = (hop.gateway?, self.device(&hop)?);
            let unread = self.answers(&hop, gateway).is_none();
            unread.then_some((device, gateway))
        });
        match unread.next() {
            Some((device, address)) => Unknown::Unread(Question::Neighbor { device, address }),
            None => Unknown::because("which gateway answers is not known"),
        }
    }
}
