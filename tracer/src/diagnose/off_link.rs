//! What is on the own link goes to a router: the sender has an address in the destination's network, and no route for that
//! network on the link (`noprefixroute`).

use std::net::IpAddr;

use crate::host::Host;
use crate::host::facts::{InterfaceAddress, Link, Question, TableRoute};
use crate::model::{Detail, Device, Direction, Event};
use crate::network::neighbour;
use crate::network::route::route_words;
use crate::verdict::{Confidence, Place};

use super::Found;
use super::candidate::{Candidate, place_on};
use super::causes::ROUTE_OFF_LINK;
use super::missing_route::failed;
use super::remedy::{Shell, command, ip};
use super::routing::network;
use super::translation::is_link_local;
use super::view::View;
use super::words;

/// A packet that left for another machine than its destination, which is on the same link.
struct OffLink<'a> {
    from: Device,
    dst: IpAddr,
    /// The sender's address in the destination's network.
    own: &'a InterfaceAddress,
    /// Who has the destination.
    owner: &'a Link,
}

impl<'a> OffLink<'a> {
    fn of(view: &View<'a>, direction: Direction) -> Option<Self> {
        let mut left = view
            .journeys(direction)
            .flat_map(|journey| &journey.steps)
            .map(|step| &step.event)
            .filter(|event| matches!(event.detail, Detail::Egress));
        left.find_map(|event| Self::at(view.host, event))
    }

    fn at(host: &'a Host, event: &Event) -> Option<Self> {
        let (from, dst) = (event.device?, event.tuple?.dst);
        let packet = event.packet.as_ref().filter(|p| p.tunnel.is_none())?;
        let to = packet.ethernet?.dst;
        let own = host.near(from, dst).filter(|own| own.address != dst)?;
        let owner = neighbour::owners(host, from, dst).into_iter().next()?;
        let elsewhere = owner.mac.is_some_and(|mac| mac != to);
        (elsewhere && !is_link_local(dst)).then_some(Self {
            from,
            dst,
            own,
            owner,
        })
    }

    /// The route that takes it to a router, where none is for the link.
    fn route(&self, host: &'a Host) -> Option<&'a TableRoute> {
        let known = &host.towards.get(&(self.from.netns, self.dst))?.fact;
        let direct = |route: &TableRoute| {
            let hops = route.hops();
            route.nexthop.is_none() && hops.iter().any(|hop| hop.gateway.is_none())
        };
        let unicast = || known.iter().filter(|route| route.kind == "unicast");
        let first = unicast().next()?;
        (!unicast().any(direct)).then_some(first)
    }
}

/// What to read about it.
#[must_use]
pub fn question(view: &View<'_>) -> Option<Question> {
    let found = [Direction::Forward, Direction::Reply]
        .into_iter()
        .find_map(|direction| OffLink::of(view, direction))?;
    Some(Question::RoutesTowards {
        netns: found.from.netns,
        dst: found.dst,
    })
}

/// The verdict's candidate, where such a packet did not come through.
#[must_use]
pub fn taken(view: &View<'_>, found: &Found<'_>) -> Option<Candidate> {
    let (direction, what) = failed(found, &ROUTE_OFF_LINK)?;
    let host = view.host;
    let astray = OffLink::of(view, direction)?;
    let route = astray.route(host)?;
    let OffLink { from, dst, own, .. } = astray;
    let (name, interface) = (host.namespace(from.netns), host.interface(from));
    let net = format!("{}/{}", network(own.address, own.prefix), own.prefix);
    let summary = format!(
        "{what}{name} has {}/{} on {interface} and no route for {net} on that link: what is for its neighbour {dst} ({}) goes by {}",
        own.address,
        own.prefix,
        words::interface(host, astray.owner.device),
        route_words(host, from.netns, route)
    );
    let place = Place {
        interface: Some(interface.clone()),
        hook: Some("route".to_owned()),
        ..place_on(host, from.netns)
    };
    let shell = Shell::of(host, Some(from.netns));
    let ip = || ip(dst.is_ipv6());
    let add = |verb: &'static str| command![..ip(), "route", verb, net, "dev", interface];
    let candidate = Candidate::new(&ROUTE_OFF_LINK, place, summary)
        .sure(Confidence::Likely)
        .leads_to(found.verdict.outcome)
        .because(
            "address",
            format!(
                "{dst} is on the same segment ({}), and the frame went to another MAC",
                words::interface(host, astray.owner.device)
            ),
        )
        .because(
            "other-loss",
            format!("what became of it there: {}", found.verdict.summary),
        );
    Some(candidate.advise([
        shell.look("which route is taken", command![..ip(), "route get", dst]),
        shell
            .change("add the route for the link's network", add("add"))
            .undone_by(add("del"))
            .scope("whoever set the address up without its route (noprefixroute: NetworkManager, systemd-networkd) has to make that too".to_owned()),
    ]))
}
