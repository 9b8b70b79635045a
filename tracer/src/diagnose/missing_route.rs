//! A packet that its sender or a router gave to the default gateway, although the machine behind which its destination is
//! stands on the same network: the route of its own that leads there is missing, as on a node of a cluster that lost
//! the route to another node's pods. The gateway, which knows nothing of these addresses, is not at fault.

use std::collections::HashSet;
use std::net::IpAddr;

use crate::host::Host;
use crate::host::facts::{InterfaceAddress, Question, TableRoute};
use crate::host::prefix::{holds, network};
use crate::model::{Detail, Device, Direction, Event, NetNs};
use crate::network::neighbour;
use crate::verdict::Confidence;

use super::Found;
use super::candidate::{Candidate, place_at};
use super::causes::{ROUTE_MISSING, by_code};
use super::remedy::{Remedy, Shell, command, ip, text};
use super::translation::is_link_local;
use super::view::View;
use super::words;

/// Where a packet took the default route, and where it should have gone.
#[derive(Clone, Copy)]
struct Astray<'a> {
    /// By which it left.
    from: Device,
    dst: IpAddr,
    /// The address of the machine that has the destination behind it, on the same network.
    next_hop: IpAddr,
    at: NetNs,
    /// That machine's address in the destination's network.
    inside: &'a InterfaceAddress,
}

impl<'a> Astray<'a> {
    /// The first of a flow.
    fn of(view: &View<'a>, direction: Direction) -> Option<Self> {
        // Packets of a flow leave by few interfaces for few machines: each way is looked at once.
        let mut seen = HashSet::new();
        view.journeys(direction)
            .flat_map(|journey| &journey.steps)
            .filter(|step| matches!(step.event.detail, Detail::Egress))
            .filter(|step| {
                let frame = step.event.packet.as_ref().and_then(|p| p.ethernet);
                let to = frame.map(|frame| frame.dst);
                let dst = step.event.tuple.map(|tuple| tuple.dst);
                let inside = step
                    .event
                    .packet
                    .as_ref()
                    .is_some_and(|p| p.tunnel.is_some());
                seen.insert((step.event.device, dst, to, inside))
            })
            .find_map(|step| Self::at(view.host, &step.event))
    }

    fn at(host: &'a Host, event: &Event) -> Option<Self> {
        let from = event.device?;
        let dst = event.tuple?.dst;
        let frame = event.packet.as_ref()?.ethernet?.dst;
        // what a tunnel takes goes by its outer addresses
        if event.packet.as_ref()?.tunnel.is_some() {
            return None;
        }
        let own = host.addresses(from);
        let on_link = |address: IpAddr| own.iter().any(|a| holds(a.address, a.prefix, address));
        if on_link(dst) {
            return None;
        }
        let beyond = host.links().filter(|link| link.device.netns != from.netns);
        beyond
            .filter(|link| host.is_watched(link.device.netns))
            .filter(|link| link.mac.is_some_and(|mac| mac != frame))
            .find_map(|link| {
                let address = host.addresses(link.device).iter().map(|a| a.address);
                let next_hop = address
                    .filter(|a| a.is_ipv6() == dst.is_ipv6() && !is_link_local(*a))
                    .find(|address| on_link(*address))?;
                let at = link.device.netns;
                // Another network of this machine may have the same addresses; what lies between two nodes is not known.
                let here = host.node(at) == host.node(from.netns);
                if here
                    && !neighbour::owners(host, from, next_hop)
                        .iter()
                        .any(|l| l.device == link.device)
                {
                    return None;
                }
                let others = host.links().filter(|l| l.device.netns == at);
                let inside = others
                    .filter(|other| other.device != link.device)
                    .flat_map(|other| host.addresses(other.device))
                    .find(|a| holds(a.address, a.prefix, dst) && a.address != dst)?;
                Some(Self {
                    from,
                    dst,
                    next_hop,
                    at,
                    inside,
                })
            })
    }

    /// The network in which the destination is.
    fn network(&self) -> String {
        let InterfaceAddress {
            address, prefix, ..
        } = *self.inside;
        format!("{}/{prefix}", network(address, prefix))
    }

    /// The machine to which it should have gone.
    fn right(&self, host: &Host) -> String {
        match host.home(self.at) {
            Some(node) => node.name.clone(),
            None => host.namespace(self.at),
        }
    }

    /// The route that is missing.
    fn advice(&self, host: &Host) -> [Remedy; 3] {
        let shell = Shell::of(host, Some(self.from.netns));
        let ip = ip(self.dst.is_ipv6());
        let (network, right) = (self.network(), self.right(host));
        let route =
            |verb: &'static str| command![..ip, "route", verb, &network, "via", self.next_hop];
        [
            shell.look(
                "which route is taken",
                command![..ip, "route get", self.dst],
            ),
            shell
                .change(format!("add the route to {right}"), route("add"))
                .undone_by(route("del")),
            text(format!(
                "who makes these routes on {} (the network plugin, a cloud's route controller, a routing daemon), and why did it not?",
                host.namespace(self.from.netns)
            )),
        ]
    }

    /// The default route that it took, where no other leads to the destination.
    fn default_route(&self, host: &'a Host) -> Option<&'a TableRoute> {
        let known = host.towards.get(&(self.from.netns, self.dst))?;
        let mut routes = known.fact.iter().filter(|route| route.kind == "unicast");
        let first = routes.next()?;
        let leads = first.oif.is_none_or(|oif| oif == self.from.ifindex.0);
        (first.length == 0 && leads && first.gateway != Some(self.next_hop)).then_some(first)
    }
}

/// What to read about it.
#[must_use]
pub fn question(view: &View<'_>) -> Option<Question> {
    let astray = [Direction::Forward, Direction::Reply]
        .into_iter()
        .find_map(|direction| Astray::of(view, direction))?;
    Some(Question::RoutesTowards {
        netns: astray.from.netns,
        dst: astray.dst,
    })
}

/// The verdict's candidate, where a packet that took the default route did not come through.
#[must_use]
pub fn taken(view: &View<'_>, found: &Found<'_>) -> Option<Candidate> {
    let cause = found.verdict.cause.as_deref().and_then(by_code)?;
    ROUTE_MISSING.beats(cause)?;
    let direction = found.chosen().map_or(Direction::Forward, |g| g.direction);
    if direction == Direction::Forward && found.counts.forward.delivered > 0
        || found.counts.reply.delivered > 0
    {
        return None;
    }
    let host = view.host;
    let astray = Astray::of(view, direction)?;
    let route = astray.default_route(host)?;
    let name = host.namespace(astray.from.netns);
    let right = astray.right(host);
    let from = words::interface(host, astray.from);
    let gateway = route
        .gateway
        .map_or_else(|| from.clone(), |gateway| gateway.to_string());
    let what = match direction {
        Direction::Reply => "reply lost: ",
        _ => "",
    };
    let network = astray.network();
    let Astray {
        dst,
        next_hop,
        inside,
        ..
    } = astray;
    let candidate = Candidate::new(
        &ROUTE_MISSING,
        place_at(host, astray.from, "route"),
        format!(
            "{what}{name} has no route to {network}, which is behind {next_hop} ({right}): its default route takes {dst} to {gateway}"
        ),
    )
    .leads_to(found.verdict.outcome)
    .sure(Confidence::Likely)
    .because(
        "address",
        format!("{right} has {}/{}, and {next_hop} on the network of {from}", inside.address, inside.prefix),
    )
    .because("route", format!("of all routes of {name} only the default route leads to {dst}"))
    .because("other-loss", format!("what became of it there: {}", found.verdict.summary));
    Some(candidate.advise(astray.advice(host)))
}
