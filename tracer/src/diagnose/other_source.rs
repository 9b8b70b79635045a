//! A sender with several addresses, whose packets are refused for the one that they have: why it is that one, and how
//! another is used.

use std::net::IpAddr;

use crate::correlate::Trace;
use crate::host::Host;
use crate::host::facts::{InterfaceAddress, Question, Route, TableRoute};
use crate::model::{Flow, IfIndex};
use crate::network::route::{Decision, Query, Tables, lookup};
use crate::uapi::rtnetlink::RT_TABLE_LOCAL;

use super::remedy::{Command, Remedy, Shell, command, text};
use super::route_commands::{self, Way};
use super::routing;
use super::source_address::{chosen, own_route, preferring, without_source};
use super::translation::{self, Departure};
use super::uplinks;

/// Other addresses with which the sender itself could have sent a packet through the same interface, which are those of its other
/// interfaces where that one has none: none where the source was translated.
pub fn others<'a>(
    host: &'a Host,
    left: &Departure,
) -> impl Iterator<Item = &'a InterfaceAddress> + use<'a> {
    let own = left.before.is_none();
    let (device, source) = (left.device, left.tuple.src);
    let global = |a: &&InterfaceAddress| a.scope == 0 && !a.dad_failed;
    let bare = is_bare(host, left);
    let others = host.links().map(|link| link.device);
    let others = others.filter(move |d| bare && d.netns == device.netns && *d != device);
    let devices = std::iter::once(device).chain(others);
    let all = devices.flat_map(move |device| translation::siblings(host, device, source));
    all.filter(move |a| own && global(a))
}

/// Whether the interface by which a packet left has no address that it could have had as its source.
#[must_use]
pub fn is_bare(host: &Host, left: &Departure) -> bool {
    let v4 = left.tuple.src.is_ipv4();
    let mut own = host.addresses(left.device).iter();
    !own.any(|a| a.address.is_ipv4() == v4 && a.scope == 0)
}

/// Whether what was traced from a source goes to this destination alone: then a route for that one is enough.
#[must_use]
pub fn is_only_destination(trace: &Trace, (source, dst): (IpAddr, IpAddr)) -> bool {
    let mut asked = trace.flows.iter().filter_map(Flow::asked);
    asked.all(|asked| asked.src != source || asked.dst == dst)
}

/// What to read of the sender.
#[must_use]
pub fn questions(left: &Departure) -> [Question; 3] {
    let (netns, dst) = (left.device.netns, left.tuple.dst);
    [
        own_route(netns, dst, &left.tuple),
        Question::RoutesTowards { netns, dst },
        Question::Rules {
            netns,
            v6: dst.is_ipv6(),
        },
    ]
}

/// A packet's source, and one that would do.
#[derive(Clone, Copy)]
pub struct Better<'a> {
    host: &'a Host,
    left: Departure,
    other: &'a InterfaceAddress,
}

impl<'a> Better<'a> {
    /// One of [`others`].
    #[must_use]
    pub const fn new(host: &'a Host, left: Departure, other: &'a InterfaceAddress) -> Self {
        Self { host, left, other }
    }

    /// The address that would do.
    #[must_use]
    pub const fn address(&self) -> IpAddr {
        self.other.address
    }

    /// Routes to the destination, of all tables.
    fn routes(&self) -> impl Iterator<Item = &'a TableRoute> {
        let known = (self.host.towards).get(&(self.left.device.netns, self.left.tuple.dst));
        let routes = known.into_iter().flat_map(|dated| &dated.fact);
        routes.filter(|route| route.kind == "unicast" && route.table != RT_TABLE_LOCAL)
    }

    /// Whether the sender has the source for being in one network with the destination, and the other address is not in it.
    #[must_use]
    pub fn leaves_network(&self) -> bool {
        let (source, dst) = (self.left.tuple.src, self.left.tuple.dst);
        let own = self.host.addresses(self.left.device);
        let both = own.iter().find(|a| a.address == source);
        both.is_some_and(|entry| routing::holds(entry.address, entry.prefix, dst))
            && !routing::holds(self.other.address, self.other.prefix, dst)
    }

    /// A route to the destination alone that prefers the other address, where what is used now leads others as well.
    #[must_use]
    pub fn for_one(&self) -> Option<Remedy> {
        let (host, netns) = (self.host, self.left.device.netns);
        let (source, dst) = (self.left.tuple.src, self.left.tuple.dst);
        let chosen = chosen(host, netns, dst).filter(|route| route.source == Some(source))?;
        let query = Query::output(without_source(dst, &self.left.tuple), 0);
        let Decision::Route { route, .. } = lookup(&Tables::of(host, netns), &query).decision
        else {
            return None;
        };
        let bits = if dst.is_ipv6() { 128 } else { 32 };
        let elsewhere = chosen.oif.map(IfIndex) != Some(self.left.device.ifindex);
        // It is the router that does not fit the source.
        if elsewhere || route.length == bits || self.own_router().is_some() {
            return None;
        }
        self.led_by(chosen, route)
    }

    /// A route to the destination alone like the one that is chosen, with the other address as source. `used`: the entry of a table
    /// that leads there now.
    fn led_by(&self, chosen: &Route, used: &TableRoute) -> Option<Remedy> {
        let (host, dst, other) = (self.host, self.left.tuple.dst, self.address());
        let way = Way {
            device: self.left.device,
            gateway: chosen.gateway,
            source: Some(other),
        };
        let text = format!("let the kernel take {other} as source towards {dst}");
        let shell = Shell::of(host, Some(self.left.device.netns));
        route_commands::towards(&shell, host, (dst, Some(used)), &way, text)
    }

    /// The kernel chose between the two, and passed over the better one for its age.
    fn passed_over(&self) -> bool {
        let own = self.host.addresses(self.left.device);
        let used = own.iter().find(|a| a.address == self.left.tuple.src);
        self.other.deprecated && used.is_some_and(|used| !used.deprecated)
    }

    /// The router of the source's own network, where the packet went by that of another.
    fn own_router(&self) -> Option<IpAddr> {
        let source = self.left.tuple.src;
        let own = self.host.addresses(self.left.device);
        let entry = own.iter().find(|a| a.address == source)?;
        let of_own = |gateway: &IpAddr| routing::holds(entry.address, entry.prefix, *gateway);
        let here = |route: &&TableRoute| route.oif.map(IfIndex) == Some(self.left.device.ifindex);
        let used = routing::answer(self.host, self.left.device.netns, self.left.tuple.dst)
            .and_then(|answer| answer.result.as_ref().ok()?.gateway);
        let mut routers = self.routes().filter(here).filter_map(|route| route.gateway);
        routers
            .find(of_own)
            .filter(|router| used.is_some_and(|used| used != *router && !of_own(&used)))
    }

    /// Why the packet has its source, as far as is known.
    #[must_use]
    pub fn why(&self) -> Option<String> {
        let (source, other) = (self.left.tuple.src, self.address());
        if self.routes().any(|route| route.source == Some(source)) {
            return Some(format!("the route prefers {source} (`src`)"));
        }
        if self.passed_over() {
            return Some(format!(
                "{other} is deprecated: its preferred lifetime is over"
            ));
        }
        if is_bare(self.host, &self.left) {
            let name = self.host.interface(self.left.device);
            return Some(format!(
                "{name} has no address, so the kernel took that of another interface"
            ));
        }
        let router = self.own_router()?;
        Some(format!(
            "{router} is the router of {source}, and another one was taken"
        ))
    }

    /// What makes the sender use it, the best first.
    #[must_use]
    pub fn remedies(&self) -> Vec<Remedy> {
        let (source, other) = (self.left.tuple.src, self.address());
        let change = preferring(self.host, &self.left, other)
            .or_else(|| self.preferred_again())
            .or_else(|| self.by_own_router())
            .or_else(|| self.chosen_instead());
        let bind = match change {
            Some(_) => format!("or let the program bind {other}"),
            None => format!(
                "or let the program bind {other}, or give the route `src {other}`: {source} is the source that is refused"
            ),
        };
        change.into_iter().chain([text(bind)]).collect()
    }

    /// For how long the kernel prefers an address of the interface to others (`forever`, `0`).
    fn preferred_for(&self, entry: &InterfaceAddress, lifetime: &'static str) -> Command {
        let full = format!("{}/{}", entry.address, entry.prefix);
        let name = self.host.interface(self.left.device);
        command![
            "ip -6 addr change",
            full,
            "dev",
            name,
            "preferred_lft",
            lifetime
        ]
    }

    /// The address that is deprecated preferred again.
    #[must_use]
    pub fn preferred_again(&self) -> Option<Remedy> {
        let (source, entry) = (self.left.tuple.src, self.other);
        let lifetime = |lifetime| self.preferred_for(entry, lifetime);
        let shell = Shell::of(self.host, Some(self.left.device.netns));
        let change = || {
            shell
                .change(
                    format!(
                        "{} is deprecated, so the kernel takes {source}: let it be preferred again. Where a router advertises it, that gives its lifetime: mend it there too",
                        entry.address
                    ),
                    lifetime("forever"),
                )
                .undone_by(lifetime("0"))
                .scope("all that this machine sends without a source of its own".to_owned())
        };
        (self.passed_over() && entry.address.is_ipv6()).then(change)
    }

    /// Where the kernel chose the source, another one chosen: in IPv6 it takes none that is deprecated, in IPv4 that of the route.
    #[must_use]
    pub fn chosen_instead(&self) -> Option<Remedy> {
        let (host, netns) = (self.host, self.left.device.netns);
        let (source, dst) = (self.left.tuple.src, self.left.tuple.dst);
        let chosen = chosen(host, netns, dst).filter(|route| route.source == Some(source))?;
        // It left by another interface than the one for which its source was chosen.
        if chosen.oif.map(IfIndex) != Some(self.left.device.ifindex) {
            return None;
        }
        let shell = Shell::of(host, Some(netns));
        if source.is_ipv6() {
            let own = host.addresses(self.left.device);
            let used = own.iter().find(|a| a.address == source)?;
            let lifetime = |lifetime| self.preferred_for(used, lifetime);
            let text = format!(
                "let the kernel take {} for what binds no address: {source} stays, and is answered",
                self.address()
            );
            let change = shell
                .change(text, lifetime("0"))
                .undone_by(lifetime("forever"));
            return Some(
                change.scope("all that this machine sends without a source of its own".to_owned()),
            );
        }
        let query = Query::output(without_source(dst, &self.left.tuple), 0);
        let Decision::Route { route, .. } = lookup(&Tables::of(host, netns), &query).decision
        else {
            return None;
        };
        self.led_by(chosen, route)
    }

    /// What has the source sent by the router of the source's network.
    fn by_own_router(&self) -> Option<Remedy> {
        let router = self.own_router()?;
        let ends = (self.left.tuple.src, self.left.tuple.dst);
        uplinks::leaving_by_router(self.host, (self.left.device, router), ends)
    }
}
