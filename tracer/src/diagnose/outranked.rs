//! A route that stands before the one that leads to the destination: it is for fewer addresses, or has the better metric, and
//! takes the packet where nobody has it. A leftover of a VPN, a second default route, an overlay's network that overlaps
//! another one.

use crate::host::Host;
use crate::host::facts::TableRoute;
use crate::model::{Device, Direction, IfIndex};
use crate::network::path::{End, follow};
use crate::network::route::{Decision, Tables, lookup, route_words};
use crate::verdict::{Confidence, Place};

use super::Found;
use super::candidate::{Candidate, place_on};
use super::causes::ROUTE_WRONG_HOP;
use super::missing_route::failed;
use super::needs::Asked;
use super::redirected::Routed;
use super::remedy::{Remedy, Shell, command, ip};
use super::route_commands::{self, Way};
use super::view::View;
use super::words;

/// A route, and the one that it hides.
struct Outranked<'a> {
    host: &'a Host,
    at: Routed,
    /// The one that is used.
    taken: &'a TableRoute,
    /// The one that would be without it.
    hidden: &'a TableRoute,
    /// Who has the destination there.
    owner: Device,
}

impl<'a> Outranked<'a> {
    fn of(view: &View<'a>, direction: Direction) -> Option<Self> {
        let places = Routed::of(view, direction);
        places.into_iter().find_map(|at| Self::at(view.host, at))
    }

    fn at(host: &'a Host, at: Routed) -> Option<Self> {
        let (tables, query) = (Tables::of(host, at.netns()), at.as_seen(host));
        let taken = at.taken(host)?;
        if follow(&tables, &query) != End::Lost {
            return None;
        }
        let without = tables.without(taken);
        let Decision::Route { route: hidden, .. } = lookup(&without, &query).decision else {
            return None;
        };
        match follow(&without, &query) {
            End::Owner(owner) if hidden.table == taken.table => Some(Self {
                host,
                at,
                taken,
                hidden,
                owner,
            }),
            _ => None,
        }
    }

    fn words(&self, route: &TableRoute) -> String {
        route_words(self.host, self.at.netns(), route)
    }

    fn advice(&self) -> Vec<Remedy> {
        let (host, netns) = (self.host, self.at.netns());
        let shell = Shell::of(host, Some(netns));
        let dst = self.at.dst();
        let bits = if dst.is_ipv6() { 128 } else { 32 };
        let look = shell.look(
            "which route is taken",
            command![..ip(dst.is_ipv6()), "route get", dst],
        );
        let delete = route_commands::delete_beside(
            &shell,
            (host, netns),
            self.taken,
            format!(
                "delete the route that is taken: {} is used then",
                self.words(self.hidden)
            ),
        );
        let delete = delete.map(|change| {
            change.scope("all that this route leads; whoever made it may make it again".to_owned())
        });
        // One that also leads others, who may need it, stays.
        let wide = self.taken.length != self.hidden.length && self.taken.length != bits;
        let narrow = || {
            let [hop] = self.hidden.hops()[..] else {
                return None;
            };
            let way = Way {
                device: Device {
                    netns,
                    ifindex: IfIndex(hop.oif?),
                },
                gateway: hop.gateway,
                source: self.hidden.source,
            };
            let text = format!("lead {dst} alone as {} would", self.words(self.hidden));
            route_commands::towards(&shell, host, (dst, Some(self.hidden)), &way, text)
        };
        let narrow = if wide { narrow() } else { None };
        [look].into_iter().chain(narrow).chain(delete).collect()
    }
}

/// Whether such a route is behind what became of a flow.
#[must_use]
pub fn is_behind(view: &View<'_>, direction: Direction) -> bool {
    Outranked::of(view, direction).is_some()
}

/// For what left and was not answered: the other way that its sender has, and what makes it take that, where the route in use is
/// for this destination alone.
pub fn other_way(view: &View<'_>) -> Option<(String, Option<Remedy>)> {
    let host = view.host;
    let at = *Routed::of(view, Direction::Forward).last()?;
    let netns = at.netns();
    let tables = Tables::of(host, netns);
    let taken = at.taken(host)?;
    let without = lookup(&tables.without(taken), &at.as_seen(host)).decision;
    let Decision::Route { route: hidden, .. } = without else {
        return None;
    };
    let dst = at.dst();
    let [taken_words, hidden_words] = [taken, hidden].map(|r| route_words(host, netns, r));
    let bits = if dst.is_ipv6() { 128 } else { 32 };
    let only = taken.length == bits && hidden.length < bits && hidden.oif != taken.oif;
    let delete = || {
        let text = format!(
            "if it is a leftover, delete the route for this address alone: {hidden_words} is used then"
        );
        route_commands::delete_beside(&Shell::of(host, Some(netns)), (host, netns), taken, text)
    };
    let words = format!(
        "{} takes {dst} by {taken_words}; without that route it would take it by {hidden_words}",
        host.namespace(netns)
    );
    (hidden.kind == "unicast").then(|| (words, if only { delete() } else { None }))
}

/// What to read to follow both ways, a router more each time.
pub fn questions(view: &View<'_>, asked: &mut Asked) {
    for direction in [Direction::Forward, Direction::Reply] {
        for at in Routed::of(view, direction) {
            let host = view.host;
            let (tables, query) = (Tables::of(host, at.netns()), at.as_seen(host));
            let Some(taken) = at.taken(host) else {
                continue;
            };
            let without = tables.without(taken);
            // Without another route nothing is hidden.
            let Decision::Route { .. } = lookup(&without, &query).decision else {
                continue;
            };
            for end in [follow(&tables, &query), follow(&without, &query)] {
                if let End::Unknown(Some(question)) = end {
                    asked.push(question);
                }
            }
        }
    }
}

/// The verdict's candidate, where a packet that such a route took did not come through.
#[must_use]
pub fn taken(view: &View<'_>, found: &Found<'_>) -> Option<Candidate> {
    let (direction, what) = failed(found, &ROUTE_WRONG_HOP)?;
    let route = Outranked::of(view, direction)?;
    let (host, out) = (view.host, route.at.out);
    let summary = format!(
        "{what}of two routes {} takes {} by {}, where it is lost, and not by {}, which leads to it ({})",
        host.namespace(out.netns),
        route.at.dst(),
        route.words(route.taken),
        route.words(route.hidden),
        words::interface(host, route.owner)
    );
    let place = Place {
        interface: Some(host.interface(out)),
        hook: Some("route".to_owned()),
        ..place_on(host, out.netns)
    };
    let candidate = Candidate::new(&ROUTE_WRONG_HOP, place, summary)
        .leads_to(found.verdict.outcome)
        .sure(Confidence::Likely)
        .because(
            "other-loss",
            format!("what became of it there: {}", found.verdict.summary),
        );
    Some(candidate.advise(route.advice()))
}
