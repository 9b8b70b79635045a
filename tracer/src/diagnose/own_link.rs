//! A packet that a router, or its sender, gave away by the default route although its destination is at the other end of one of its
//! own links: the route for it is gone, or the address of that interface, or the interface is down. Who got it knows nothing of
//! these addresses and is not at fault.

use crate::host::Host;
use crate::host::facts::{Question, TableRoute};
use crate::model::Direction;
use crate::network::route::route_words;
use crate::verdict::{Confidence, Place};

use super::Found;
use super::candidate::{Candidate, place_on};
use super::causes::ROUTE_MISSING;
use super::missing_route::failed;
use super::needs::Asked;
use super::redirected::Routed;
use super::remedy::{Shell, command, ip};
use super::route_commands::{self, Way};
use super::routing;
use super::rules::link;
use super::rules::refusal::{Lead, Refusal, attached, lead_to};
use super::view::View;
use super::words;

/// Such a packet, and the route that took it.
struct GivenAway<'a> {
    host: &'a Host,
    at: Routed,
    route: &'a TableRoute,
}

impl<'a> GivenAway<'a> {
    fn at(host: &'a Host, at: Routed) -> Option<Self> {
        let route = at.taken(host).filter(|route| route.length == 0)?;
        Some(Self { host, at, route })
    }

    fn by_down(&self) -> Option<Candidate> {
        let (host, dst) = (self.host, self.at.dst());
        let down = routing::downed_network(host, self.at.netns(), dst)?;
        let gone = format!(
            "the route to {dst} went with {}, and the route {} takes it",
            down.name,
            route_words(host, self.at.netns(), self.route)
        );
        Some(link::down(host, down.device, None, &[dst]).because("route", gone))
    }

    fn by_missing(&self, what: &str) -> Option<Candidate> {
        let (host, netns, dst) = (self.host, self.at.netns(), self.at.dst());
        // What a neighbour leads on to may have many ways.
        let own = |lead: &Lead<'_>| lead.gateway.is_none() && lead.link.device != self.at.out;
        let lead = lead_to(host, netns, dst).filter(own)?;
        if !lead.link.up {
            return Some(link::down(host, lead.link.device, None, &[dst]));
        }
        let (name, shell) = (host.namespace(netns), Shell::of(host, Some(netns)));
        let refusal = Refusal::new(&ROUTE_MISSING, host, Some(netns), self.at.query());
        let way = Way {
            device: lead.link.device,
            gateway: None,
            source: None,
        };
        let regained = refusal.lost_address(netns, &shell);
        let lost = match regained {
            Some(_) => format!("; {} has lost its address", lead.link.name),
            None => String::new(),
        };
        let change = regained.or_else(|| {
            let text = format!("add the missing route: {dst} is there");
            route_commands::towards(&shell, host, (dst, Some(self.route)), &way, text)
        });
        let summary = format!(
            "{what}{name} has no route of its own to {dst}, which is behind {}{lost}: its default route takes it to {}",
            words::interface(host, lead.link.device),
            self.route.gateway.map_or_else(
                || words::interface(host, self.at.out),
                |gateway| gateway.to_string()
            )
        );
        let place = Place {
            interface: Some(host.interface(self.at.out)),
            hook: Some("route".to_owned()),
            ..place_on(host, netns)
        };
        let owner = host.owners(dst).next();
        let owner =
            owner.map(|owner| format!("{dst} belongs to {}", words::interface(host, owner)));
        let look = command![..ip(dst.is_ipv6()), "route get", dst];
        let candidate = Candidate::new(&ROUTE_MISSING, place, summary)
            .sure(Confidence::Likely)
            .because("address", owner)
            .advise([shell.look("which route is taken", look)])
            .advise(change);
        Some(candidate)
    }
}

/// What to read about it: where the owners of the destination send their answers.
pub fn questions(view: &View<'_>, asked: &mut Asked) {
    for direction in [Direction::Forward, Direction::Reply] {
        for at in Routed::of(view, direction) {
            let (host, netns) = (view.host, at.netns());
            let src = at.query().tuple.src;
            let beside = host.owners(at.dst()).filter(|owner| {
                attached(host, *owner).is_some_and(|link| link.device.netns == netns)
            });
            for owner in beside {
                asked.lookup(host, netns, &at.query());
                asked.push(Question::RoutesTowards {
                    netns: owner.netns,
                    dst: src,
                });
            }
        }
    }
}

/// The verdict's candidate, where a packet that was given away so did not come through.
#[must_use]
pub fn given_away(view: &View<'_>, found: &Found<'_>) -> Option<Candidate> {
    let (direction, what) = failed(found, &ROUTE_MISSING)?;
    let places = Routed::of(view, direction);
    let mut all = places
        .into_iter()
        .filter_map(|at| GivenAway::at(view.host, at));
    let candidate = all.find_map(|given| given.by_down().or_else(|| given.by_missing(what)))?;
    let what_became = format!("what became of it there: {}", found.verdict.summary);
    Some(
        candidate
            .leads_to(found.verdict.outcome)
            .because("other-loss", what_became),
    )
}
