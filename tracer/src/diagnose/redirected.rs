//! A next hop that a host learned from an ICMP redirect and keeps using in place of the one that its routes name: the
//! router that it was sent to does not pass the packets on (any more).

use std::collections::HashSet;
use std::net::IpAddr;

use crate::host::Host;
use crate::host::facts::{Question, TableRoute};
use crate::model::{Detail, Device, Direction, Event, IfIndex, NetNs, Tuple};
use crate::network::route::{Decision, Query, Tables, lookup, route_words};
use crate::verdict::{Confidence, Place};

use super::Found;
use super::candidate::{Candidate, place_on};
use super::causes::ROUTE_REDIRECTED;
use super::missing_route::failed;
use super::needs::Asked;
use super::remedy::{Remedy, Shell, command, ip, text};
use super::view::View;

/// Namespaces of a path that are asked.
const FEW: usize = 4;

/// Where a packet was routed: it came in on `iif` (zero: it was made there) and left by `out`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Routed {
    /// By which it left.
    pub(super) out: Device,
    iif: u32,
    tuple: Tuple,
}

impl Routed {
    /// The places of a flow's packets, each once. Before source NAT, as routing sees them.
    pub(super) fn of(view: &View<'_>, direction: Direction) -> Vec<Self> {
        let mut seen = HashSet::new();
        let mut places = Vec::new();
        for journey in view.journeys(direction) {
            let mut came: Option<&Event> = None;
            for event in journey.steps.iter().map(|step| &step.event) {
                match event.detail {
                    Detail::Ingress => came = Some(event),
                    Detail::Egress => places.extend(
                        Self::at(came, event).filter(|place| seen.insert((place.out, place.tuple))),
                    ),
                    _ => {}
                }
            }
            if places.len() >= FEW {
                break;
            }
        }
        places.truncate(FEW);
        places
    }

    fn at(came: Option<&Event>, left: &Event) -> Option<Self> {
        let out = left.device?;
        // what a tunnel takes goes by its outer addresses
        if left.packet.as_ref()?.tunnel.is_some() {
            return None;
        }
        let tuple = left.tuple?;
        let came = came.filter(|event| event.device.is_some_and(|d| d.netns == out.netns));
        let iif = came.and_then(|event| event.device);
        let src = came.and_then(|event| event.tuple).map(|tuple| tuple.src);
        Some(Self {
            out,
            iif: iif.map_or(0, |device| device.ifindex.0),
            tuple: Tuple {
                src: src.unwrap_or(tuple.src),
                ..tuple
            },
        })
    }

    pub(super) const fn dst(&self) -> IpAddr {
        self.tuple.dst
    }

    pub(super) const fn netns(&self) -> NetNs {
        self.out.netns
    }

    /// By which interface it came in; `None`: it was made there.
    pub(super) fn came(&self) -> Option<Device> {
        let ifindex = Some(IfIndex(self.iif)).filter(|ifindex| ifindex.0 != 0)?;
        Some(Device {
            ifindex,
            ..self.out
        })
    }

    /// The packet as routing saw it.
    pub(super) fn query(&self) -> Query {
        match self.iif {
            0 => Query::output(self.tuple, 0),
            iif => Query::input(self.tuple, IfIndex(iif), 0),
        }
    }
}

impl Routed {
    /// The packet as routing saw it; with the mark of a policy rule, where only that leads to where it left.
    pub(super) fn as_seen(&self, host: &Host) -> Query {
        let (plain, netns) = (self.query(), self.netns());
        let tables = Tables::of(host, netns);
        let leaves = |query: &Query| match lookup(&tables, query).decision {
            Decision::Route { hops, .. } => {
                hops.iter().any(|hop| hop.oif == Some(self.out.ifindex.0))
            }
            _ => false,
        };
        if leaves(&plain) {
            return plain;
        }
        let rules = host.rules.get(&(netns, plain.tuple.dst.is_ipv6()));
        let marks = rules.into_iter().flat_map(|dated| &dated.fact);
        let marked = marks.filter_map(|rule| rule.mark).map(|mark| Query {
            mark: Some(mark),
            ..plain
        });
        { marked }.find(leaves).unwrap_or(plain)
    }

    /// The route by which it left, where the tables agree with that.
    pub(super) fn taken<'a>(&self, host: &'a Host) -> Option<&'a TableRoute> {
        match lookup(&Tables::of(host, self.netns()), &self.as_seen(host)).decision {
            Decision::Route { route, hops, .. } => {
                let seen = hops.iter().any(|hop| hop.oif == Some(self.out.ifindex.0));
                (seen && route.kind == "unicast").then_some(route)
            }
            _ => None,
        }
    }
}

/// A next hop that was learned.
struct Learned<'a> {
    at: Routed,
    gateway: IpAddr,
    /// What the tables say.
    route: &'a TableRoute,
    told: IpAddr,
}

impl<'a> Learned<'a> {
    fn of(view: &View<'a>, direction: Direction) -> Option<Self> {
        let places = Routed::of(view, direction);
        places.into_iter().find_map(|at| Self::at(view.host, at))
    }

    fn at(host: &'a Host, at: Routed) -> Option<Self> {
        let answers = host.routes.iter().rev().map(|dated| &dated.fact);
        let answer = answers
            .filter(|a| (a.netns, a.iif) == (at.netns(), at.iif))
            .find(|a| a.tuple.dst == at.tuple.dst)?;
        let said = answer.result.as_ref().ok().filter(|said| said.learned)?;
        let gateway = said.gateway?;
        let tables = Tables::of(host, at.netns());
        let Decision::Route { route, hops, .. } = lookup(&tables, &at.query()).decision else {
            return None;
        };
        // what was learned may be a path MTU: then the next hop is that of the tables
        let told = hops.iter().find_map(|hop| hop.gateway)?;
        let other = hops.iter().all(|hop| hop.gateway != Some(gateway));
        other.then_some(Self {
            at,
            gateway,
            route,
            told,
        })
    }
}

/// What to read about it.
pub fn questions(view: &View<'_>, asked: &mut Asked) {
    for direction in [Direction::Forward, Direction::Reply] {
        for at in Routed::of(view, direction) {
            asked.push(Question::route(at.netns(), at.tuple, at.iif));
            asked.lookup(view.host, at.netns(), &at.query());
        }
    }
}

/// The verdict's candidate, where a packet that was sent to a next hop learned by a redirect did not come through.
#[must_use]
pub fn followed(view: &View<'_>, found: &Found<'_>) -> Option<Candidate> {
    let (direction, what) = failed(found, &ROUTE_REDIRECTED)?;
    let host = view.host;
    let learned = Learned::of(view, direction)?;
    let (netns, dst) = (learned.at.netns(), learned.at.tuple.dst);
    let (name, gateway) = (host.namespace(netns), learned.gateway);
    let summary = format!(
        "{what}{name} sends what is for {dst} to {gateway}, as an ICMP redirect told it; its routes name {}",
        learned.told
    );
    let place = Place {
        interface: Some(host.interface(learned.at.out)),
        hook: Some("route".to_owned()),
        ..place_on(host, netns)
    };
    let route = route_words(host, netns, learned.route);
    let candidate = Candidate::new(&ROUTE_REDIRECTED, place, summary)
        .sure(Confidence::Likely)
        .leads_to(found.verdict.outcome)
        .because("route", format!("the route of the tables is {route}"))
        .because(
            "other-loss",
            format!("what became of it there: {}", found.verdict.summary),
        );
    Some(candidate.advise(advice(host, &learned)))
}

fn advice(host: &Host, learned: &Learned<'_>) -> [Remedy; 3] {
    let (at, dst) = (learned.at, learned.at.tuple.dst);
    let shell = Shell::of(host, Some(at.netns()));
    let ip = || ip(dst.is_ipv6());
    let family = if dst.is_ipv6() { "ipv6" } else { "ipv4" };
    let device = host.interface(at.out);
    [
        shell.look(
            "which next hop is used",
            command![..ip(), "route get", dst],
        ),
        shell
            .change(
                "forget what redirects told (until a router tells it again)",
                command![..ip(), "route flush cache"],
            )
            .scope(format!(
                "path MTUs that were learned are forgotten too, and learned again when they are needed; the router {} is the one to ask why it sends its hosts to {}",
                learned.told, learned.gateway
            )),
        text(format!(
            "or accept no redirects there: net.{family}.conf.all.accept_redirects and that of {device} both 0"
        )),
    ]
}
