//! A packet that its sender or a router gave to another machine than the one behind which its destination is, although
//! that one stands on the same network: the default route took it since a route of its own is missing, or such a route
//! names the wrong machine, as on a node of a cluster that lost the route to another node's pods, or kept one to its
//! former address. The machine that got it, which knows nothing of these addresses, is not at fault.

use std::collections::HashSet;
use std::net::IpAddr;

use crate::host::Host;
use crate::host::facts::{InterfaceAddress, Link, Question, TableRoute};
use crate::host::prefix::{holds, network};
use crate::model::{Detail, Device, Direction, Event, Mac, NetNs};
use crate::network::links::peer_of;
use crate::network::neighbour;
use crate::network::route::route_words;
use crate::verdict::{Confidence, Place};

use super::Found;
use super::candidate::{Candidate, Specificity, place_at, place_on};
use super::causes::{Cause, LINK_DOWN, ROUTE_MISSING, ROUTE_WRONG_HOP, by_code};
use super::loss::Loss;
use super::outranked;
use super::remedy::{Command, Remedy, Shell, command, ip, text};
use super::route_commands;
use super::translation::is_link_local;
use super::uplinks::Detour;
use super::view::View;
use super::words;

/// RTPROT_RA, of routes that came by router advertisements.
const RTPROT_RA: u8 = 9;
/// RTA_CACHEINFO: there only where the route expires.
const RTA_CACHEINFO: u16 = 12;
/// ICMPV6_ROUTER_PREF_HIGH.
const PREFERRED: u8 = 1;

/// Where a packet is to go that leaves by an interface, and goes astray.
#[derive(Clone, Copy)]
pub struct Astray<'a> {
    /// By which it leaves.
    from: Device,
    /// By which it would have to leave.
    by: Device,
    /// To whose MAC it went.
    went_to: Option<Mac>,
    dst: IpAddr,
    /// The address of the machine that has the destination behind it, on the same network.
    pub next_hop: IpAddr,
    at: NetNs,
    /// How that machine has it.
    inside: Inside<'a>,
}

/// How a machine has the destination behind it.
#[derive(Clone, Copy)]
enum Inside<'a> {
    /// By an address in the destination's network.
    Network(&'a InterfaceAddress),
    /// At the other end of this interface, as an address of its own (/32, /128): to such ones host routes lead.
    Host(Device),
}

impl<'a> Inside<'a> {
    /// Of these interfaces of a machine.
    fn of(host: &'a Host, links: &[Device], dst: IpAddr) -> Option<Self> {
        let mut known = links.iter().flat_map(|device| host.addresses(*device));
        let network = known.find(|a| holds(a.address, a.prefix, dst) && a.address != dst);
        let alone = |device: &&Device| {
            let end = peer_of(host, **device).filter(|end| end.up);
            let mut addresses = end.into_iter().flat_map(|end| host.addresses(end.device));
            addresses.any(|a| a.address == dst && a.prefix == bits(dst))
        };
        let at_its_end = || links.iter().find(alone).copied();
        network
            .map(Self::Network)
            .or_else(|| at_its_end().map(Self::Host))
    }
}

/// The length of a prefix for an address alone.
const fn bits(address: IpAddr) -> u8 {
    if address.is_ipv6() { 128 } else { 32 }
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
        Self::behind(host, (from, Some(frame)), dst)
    }

    /// By the machine on the network of an interface that has an address in the destination's network; it is another
    /// one than that to whose MAC the packet went.
    #[must_use]
    pub fn behind(
        host: &'a Host,
        (from, went_to): (Device, Option<Mac>),
        dst: IpAddr,
    ) -> Option<Self> {
        if host.near(from, dst).is_some() {
            return None;
        }
        // The machine may be on another link of the same namespace.
        let others = host.links().map(|link| link.device);
        let others = others.filter(|device| device.netns == from.netns && *device != from);
        Self::on_the_network_of(host, (from, went_to), from, dst).or_else(|| {
            { others }.find_map(|link| Self::on_the_network_of(host, (from, None), link, dst))
        })
    }

    /// By a machine on the network of this link.
    fn on_the_network_of(
        host: &'a Host,
        (from, went_to): (Device, Option<Mac>),
        link: Device,
        dst: IpAddr,
    ) -> Option<Self> {
        let own = host.addresses(link);
        let on_link = |address: IpAddr| own.iter().any(|a| holds(a.address, a.prefix, address));
        if on_link(dst) {
            return None;
        }
        let by = link;
        let beyond = host.links().filter(|link| link.device.netns != from.netns);
        beyond
            .filter(|link| host.is_watched(link.device.netns))
            .filter(|link| went_to.is_none_or(|frame| link.mac.is_some_and(|mac| mac != frame)))
            .find_map(|link| {
                let address = host.addresses(link.device).iter().map(|a| a.address);
                let next_hop = address
                    .filter(|a| a.is_ipv6() == dst.is_ipv6() && !is_link_local(*a))
                    .find(|address| on_link(*address))?;
                let at = link.device.netns;
                // Another network of this machine may have the same addresses; what lies between two nodes is not known.
                let here = host.node(at) == host.node(from.netns);
                if here
                    && !neighbour::owners(host, by, next_hop)
                        .iter()
                        .any(|l| l.device == link.device)
                {
                    return None;
                }
                let others = host.links().map(|l| l.device);
                let others: Vec<Device> = others
                    .filter(|other| other.netns == at && *other != link.device)
                    .collect();
                let inside = Inside::of(host, &others, dst)?;
                Some(Self {
                    from,
                    by,
                    went_to,
                    dst,
                    next_hop,
                    at,
                    inside,
                })
            })
    }

    /// The TUN device by which the machine is reached: it is down here, and its counterpart there is not.
    fn downed(&self, host: &'a Host) -> Option<&'a Link> {
        let tun = |netns: NetNs, up: bool| {
            host.links().filter(move |link| {
                let here = link.device.netns == netns && !host.is_gone(link.device);
                here && link.kind == "tun" && link.up == up
            })
        };
        let faced = |link: &&Link| tun(self.at, true).any(|far| far.name == link.name);
        let mut found = tun(self.from.netns, false).filter(faced);
        found.next().filter(|_| found.next().is_none())
    }

    /// A proposal where the route went with a TUN device that is down, and the default route takes what it led there.
    #[must_use]
    pub fn gone_with_its_device(&self, host: &'a Host) -> Option<Candidate> {
        let link = self.downed(host)?;
        let (network, name) = (self.network(), &link.name);
        let shell = Shell::of(host, Some(link.device.netns));
        let ip = || ip(self.dst.is_ipv6());
        let set = |state: &'static str| command!["ip link set dev", name, state];
        let summary = format!(
            "link down on {} at {name}: the TUN device is down, and the route to {network} through it, which is behind {} ({name} there), went with it: the default route takes {}",
            host.namespace(link.device.netns),
            self.machine(host),
            self.dst
        );
        let place = place_at(host, link.device, "device");
        Some(
            Candidate::new(&LINK_DOWN, place, summary)
                .explains(Specificity::Linked)
                .sure(Confidence::Likely)
                .because(
                    "link",
                    format!(
                        "{} has a TUN device {name} that is up, and here it is down",
                        self.machine(host)
                    ),
                )
                .because("address", self.has(host))
                .advise([
                    shell.look("look first", command!["ip link show dev", name]),
                    self.look(&shell),
                    shell
                        .change("raise it, with the route that went", set("up"))
                        .and(command![..ip(), "route add", network, "dev", name])
                        .undone_by(set("down"))
                        .scope("other routes that went with the device have to be made again: whatever serves it does so when it is started again".to_owned()),
                ]),
        )
    }

    /// Whether nothing speaks for another way: an answer goes back by where its request came from, and that may be a tunnel.
    fn fits(&self, view: &View<'_>, direction: Direction) -> bool {
        let came = Detour::of(view).map(|detour| detour.came);
        let back = came.is_none_or(|came| came == self.by || self.leads(view.host, came));
        self.by == self.from || direction == Direction::Forward || back
    }

    /// Routes that lead to the destination with the longest prefix, in their order: the first table's best comes first.
    fn routes(&self, host: &'a Host) -> Vec<&'a TableRoute> {
        let known = host.towards.get(&(self.from.netns, self.dst));
        let routes = known.into_iter().flat_map(|known| &known.fact);
        let mut routes = routes.filter(|route| route.kind == "unicast").peekable();
        let longest = routes.peek().map(|route| route.length);
        routes
            .filter(|route| Some(route.length) == longest)
            .collect()
    }

    /// The route that it took, where that leads elsewhere: of several the one whose next hop has the MAC to which it went.
    fn route(&self, host: &'a Host) -> Option<&'a TableRoute> {
        let routes = self.routes(host);
        let went = |route: &&&TableRoute| route.gateway.is_some_and(|g| self.is_at(host, g));
        let taken = routes.iter().find(went).or(routes.first()).copied()?;
        let leads = taken.oif.is_none_or(|oif| oif == self.from.ifindex.0);
        let right = taken.gateway == Some(self.next_hop);
        (leads && !right).then_some(taken)
    }

    /// Whether it went to the MAC of this next hop.
    fn is_at(&self, host: &Host, gateway: IpAddr) -> bool {
        self.went_to
            .is_some_and(|mac| neighbour::has_mac(host, self.from, gateway, mac))
    }

    /// Another route beside the one that it took, by the machine that has the destination behind it.
    fn other(&self, host: &'a Host, taken: &TableRoute) -> Option<&'a TableRoute> {
        let beside = |route: &&TableRoute| *route != taken && route.table == taken.table;
        let other = self.routes(host).into_iter().find(beside)?;
        let owners = neighbour::owners(host, self.from, other.gateway?);
        let there = owners.iter().any(|link| link.device.netns == self.at);
        there.then_some(other)
    }

    /// The machine where the destination is: its node, else its namespace.
    #[must_use]
    pub fn machine(&self, host: &Host) -> String {
        host.node(self.at)
            .map_or_else(|| host.namespace(self.at), str::to_owned)
    }

    /// The network in which that machine has the destination.
    fn network(&self) -> String {
        match self.inside {
            Inside::Network(a) => format!("{}/{}", network(a.address, a.prefix), a.prefix),
            Inside::Host(_) => format!("{}/{}", self.dst, bits(self.dst)),
        }
    }

    /// The length of that network's prefix.
    const fn length(&self) -> u8 {
        match self.inside {
            Inside::Network(a) => a.prefix,
            Inside::Host(_) => bits(self.dst),
        }
    }

    /// A proposal where it left for the wrong machine.
    fn proposal(&self, host: &Host, cause: &'static Cause, summary: String) -> Candidate {
        let place = Place {
            interface: Some(host.interface(self.from)),
            hook: Some("route".to_owned()),
            ..place_on(host, self.from.netns)
        };
        Candidate::new(cause, place, summary)
            .sure(Confidence::Likely)
            .because("address", self.has(host))
    }

    /// How the machine has the destination behind it, and where it stands.
    fn has(&self, host: &Host) -> String {
        let near = format!(
            "{} on the network of {}",
            self.next_hop,
            words::interface(host, self.by)
        );
        match self.inside {
            Inside::Network(a) => format!(
                "{} has {}/{}, and {near}",
                self.machine(host),
                a.address,
                a.prefix
            ),
            Inside::Host(device) => format!(
                "{} is at the other end of {}; {} has {near}",
                self.dst,
                words::interface(host, device),
                self.machine(host)
            ),
        }
    }

    /// A command for the route to that machine.
    fn command(&self, verb: &'static str) -> Command {
        let (ip, network) = (ip(self.dst.is_ipv6()), self.network());
        command![..ip, "route", verb, network, "via", self.next_hop]
    }

    /// The route that is missing.
    #[must_use]
    pub fn added(&self, host: &Host) -> Remedy {
        Shell::of(host, Some(self.from.netns))
            .change(
                format!("add the route to {}", self.machine(host)),
                self.command("add"),
            )
            .undone_by(self.command("del"))
    }

    /// Whether this is the VXLAN in which both machines are.
    fn leads(&self, host: &Host, device: Device) -> bool {
        self.vxlan(host)
            .is_some_and(|(own, _)| own.device == device)
    }

    /// The VXLAN in which both machines are, and the other one's address there.
    fn vxlan(&self, host: &'a Host) -> Option<(&'a Link, IpAddr)> {
        let vxlans = |netns: NetNs| {
            let links = host
                .links()
                .filter(move |l| l.device.netns == netns && l.up);
            links.filter_map(|link| Some((link, link.vxlan.as_ref()?)))
        };
        vxlans(self.from.netns).find_map(|(own, here)| {
            let mut others = vxlans(self.at);
            let (far, _) = others.find(|(_, there)| there.vni == here.vni)?;
            let mut addresses = host.addresses(far.device).iter().map(|a| a.address);
            let same = |a: &IpAddr| a.is_ipv6() == self.dst.is_ipv6() && !is_link_local(*a);
            Some((own, addresses.find(same)?))
        })
    }

    /// The same through a VXLAN in which both machines are, as an overlay's own route has it.
    fn through_vxlan(&self, host: &Host) -> Option<Remedy> {
        let (own, hop) = self.vxlan(host)?;
        let (ip, network) = (ip(self.dst.is_ipv6()), self.network());
        let route = |verb: &'static str| {
            command![
                ..ip,
                "route",
                verb,
                network,
                "via",
                hop,
                "dev",
                own.name,
                "onlink"
            ]
        };
        let text = format!(
            "add the route to {} through {}, in which both are",
            self.machine(host),
            own.name
        );
        let change = Shell::of(host, Some(self.from.netns)).change(text, route("add"));
        Some(change.undone_by(route("del")))
    }

    fn look(&self, shell: &Shell) -> Remedy {
        let ip = ip(self.dst.is_ipv6());
        shell.look(
            "which route is taken",
            command![..ip, "route get", self.dst],
        )
    }
}

/// The direction that did not come through, with what is said before its summary; `None` where both did, or an answer did, or
/// where what was found goes further than this explanation.
pub fn failed(found: &Found<'_>, by: &Cause) -> Option<(Direction, &'static str)> {
    by.beats(found.verdict.cause.as_deref().and_then(by_code)?)?;
    let silent = match found.counts.forward.delivered {
        0 => Direction::Forward,
        _ => Direction::Reply,
    };
    let direction = found.chosen().map_or(silent, |g| g.direction);
    let came = direction == Direction::Forward && found.counts.forward.delivered > 0
        || found.counts.reply.delivered > 0;
    let what = match direction {
        Direction::Reply => "reply lost: ",
        _ => "",
    };
    (!came).then_some((direction, what))
}

fn who_makes_it(name: &str) -> Remedy {
    text(format!(
        "who makes these routes on {name} (the network plugin, a cloud's route controller, a routing daemon), and what does its log say?"
    ))
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

/// The verdict's candidate, where a packet took the default route since its own went with a TUN device that is down.
#[must_use]
pub fn gone_with_its_device(view: &View<'_>, found: &Found<'_>) -> Option<Candidate> {
    let (direction, what) = failed(found, &LINK_DOWN)?;
    let host = view.host;
    let astray = Astray::of(view, direction)?;
    astray.route(host).filter(|route| route.length == 0)?;
    let mut candidate = astray.gone_with_its_device(host)?;
    candidate.summary.insert_str(0, what);
    Some(candidate.leads_to(found.verdict.outcome).because(
        "other-loss",
        format!("what became of it there: {}", found.verdict.summary),
    ))
}

/// Where the request came through the overlay: an answer beside it, in the clear, is none that the other end expects.
fn past_overlay(view: &View<'_>, astray: &Astray<'_>) -> Option<Device> {
    let came = Detour::of(view).map(|detour| detour.came)?;
    astray.leads(view.host, came).then_some(came)
}

/// The verdict's candidate, where a packet that took the default route did not come through.
#[must_use]
pub fn taken(view: &View<'_>, found: &Found<'_>) -> Option<Candidate> {
    let (direction, what) = failed(found, &ROUTE_MISSING)?;
    let host = view.host;
    let astray = Astray::of(view, direction).filter(|astray| astray.fits(view, direction))?;
    let route = astray.route(host).filter(|route| route.length == 0)?;
    let hidden = || astray.by != astray.from && outranked::is_behind(view, direction);
    if astray.other(host, route).is_some() || hidden() {
        return None;
    }
    let name = host.namespace(astray.from.netns);
    let (dst, network, right) = (astray.dst, astray.network(), astray.machine(host));
    let gateway = route.gateway.map_or_else(
        || words::interface(host, astray.from),
        |gateway| gateway.to_string(),
    );
    let summary = format!(
        "{what}{name} has no route to {network}, which is behind {} ({right}): its default route takes {dst} to {gateway}",
        astray.next_hop
    );
    let shell = Shell::of(host, Some(astray.from.netns));
    let candidate = astray
        .proposal(host, &ROUTE_MISSING, summary)
        .leads_to(found.verdict.outcome)
        .because(
            "route",
            format!("of all routes of {name} only the default route leads to {dst}"),
        )
        .because(
            "other-loss",
            format!("what became of it there: {}", found.verdict.summary),
        );
    Some(
        candidate
            .advise([astray.look(&shell)])
            .advise(astray.through_vxlan(host))
            .advise(
                past_overlay(view, &astray)
                    .is_none()
                    .then(|| astray.added(host)),
            )
            .advise([who_makes_it(&name)]),
    )
}

/// What a filter stopped that the default route took there, although the destination is behind a machine on another way: in
/// words for the summary, and the route that is missing. Not where the sender itself, or that machine, stopped it.
#[must_use]
pub fn before_a_filter(loss: &Loss<'_>) -> Option<(String, Remedy)> {
    let (host, view) = (loss.host, loss.view());
    let astray = Astray::of(&view, loss.journey.direction)?;
    let route = astray.route(host).filter(|route| route.length == 0)?;
    let beyond = ![astray.from.netns, astray.at].contains(&loss.netns()?);
    if !beyond || !astray.fits(&view, loss.journey.direction) || astray.other(host, route).is_some()
    {
        return None;
    }
    let (name, right) = (host.namespace(astray.from.netns), astray.machine(host));
    let words = format!(
        "; {name} has no route to {}, which is behind {} ({right}): its default route takes {} here",
        astray.network(),
        astray.next_hop,
        astray.dst
    );
    Some((words, astray.added(host)))
}

/// Of several routes the kernel chose one that does not lead there: by its metric, or by the preference that a router
/// advertised for itself.
fn chosen_wrongly(
    host: &Host,
    astray: &Astray<'_>,
    (route, other): (&TableRoute, &TableRoute),
    what: &str,
) -> Option<Candidate> {
    let netns = astray.from.netns;
    let (name, gateway) = (host.namespace(netns), route.gateway?);
    let near = neighbour::owners(host, astray.from, gateway);
    let whose = near.first().map_or_else(String::new, |link| {
        format!(" ({})", words::interface(host, link.device))
    });
    let advertised = route.protocol == RTPROT_RA;
    let by = match (advertised, route.preference) {
        (true, PREFERRED) => ", which its router advertisements prefer (high)",
        (true, _) => ", which it advertised itself",
        (false, _) => "",
    };
    let summary = format!(
        "{what}of two routes {name} takes {} by {}{whose}{by}, and not by {}: it is behind {} ({})",
        astray.dst,
        route_words(host, netns, route),
        route_words(host, netns, other),
        other.gateway?,
        astray.machine(host)
    );
    let shell = Shell::of(host, Some(netns));
    // made again by hand, it has no lifetime
    let lasting = TableRoute {
        unknown: Vec::new(),
        ..route.clone()
    };
    let expires = route.unknown == [RTA_CACHEINFO];
    let delete = route_commands::delete_beside(
        &shell,
        (host, netns),
        if expires { &lasting } else { route },
        format!(
            "delete the route to {gateway}: {} is used then",
            route_words(host, netns, other)
        ),
    )?;
    let source = advertised.then(|| {
        text(format!(
            "and stop the router advertisements of {gateway}{whose}, or it comes back: a guard for them on the switch, or net.ipv6.conf.{}.accept_ra_rtr_pref=0, which heeds no preference",
            host.interface(astray.from)
        ))
    });
    let candidate = astray.proposal(host, &ROUTE_WRONG_HOP, summary);
    Some(
        candidate
            .advise([astray.look(&shell), delete])
            .advise(source),
    )
}

/// The verdict's candidate, where a packet that a route of its own took to another machine did not come through.
#[must_use]
pub fn misled(view: &View<'_>, found: &Found<'_>) -> Option<Candidate> {
    let (direction, what) = failed(found, &ROUTE_WRONG_HOP)?;
    let host = view.host;
    let astray = Astray::of(view, direction).filter(|astray| astray.by == astray.from)?;
    let route = astray.route(host)?;
    if let Some(other) = astray.other(host, route) {
        let candidate = chosen_wrongly(host, &astray, (route, other), what)?;
        return Some(candidate.leads_to(found.verdict.outcome).because(
            "other-loss",
            format!("what became of it there: {}", found.verdict.summary),
        ));
    }
    if route.length == 0 {
        return None;
    }
    let (netns, gateway) = (astray.from.netns, route.gateway?);
    let (name, right) = (host.namespace(netns), astray.machine(host));
    let summary = format!(
        "{what}the route {} of {name} takes {} to {gateway}, and it is behind {} ({right})",
        route_words(host, netns, route),
        astray.dst,
        astray.next_hop
    );
    let shell = Shell::of(host, Some(netns));
    let text = format!("lead it to {right}");
    // One that uses a next-hop object gets a next hop of its own: others use the object too.
    let corrected = TableRoute {
        gateway: Some(astray.next_hop),
        oif: Some(astray.from.ifindex.0),
        nexthop: None,
        ..route.clone()
    };
    // a route for more than the network that is there leads to others too
    let change = if route.length >= astray.length() {
        route_commands::replace(&shell, (host, netns), (route, &corrected), text)?
    } else {
        shell
            .change(text, astray.command("add"))
            .undone_by(astray.command("del"))
    };
    let candidate = astray
        .proposal(host, &ROUTE_WRONG_HOP, summary)
        .leads_to(found.verdict.outcome)
        .because(
            "other-loss",
            format!("what became of it there: {}", found.verdict.summary),
        );
    Some(candidate.advise([astray.look(&shell), change, who_makes_it(&name)]))
}
