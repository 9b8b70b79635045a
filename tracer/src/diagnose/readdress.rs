//! Taking an address from an interface, with all that goes with it put back: the kernel removes the secondary addresses
//! of the same network (`__inet_del_ifa`, net/ipv4/devinet.c), routes that prefer the address as source, and with the
//! last address all routes of the interface (fib_inetaddr_event, net/ipv4/fib_frontend.c).

use std::net::IpAddr;

use crate::host::Host;
use crate::host::facts::{InterfaceAddress, Question, TableRoute};
use crate::model::{Device, IfIndex, NetNs, Tuple};
use crate::uapi::rtnetlink::{RT_TABLE_LOCAL, RT_TABLE_MAIN};

use super::remedy::{Command, Remedy, Shell, command, ip};
use super::routing;
use super::source_address::{chosen, own_route};

/// What to read before an address is taken away: routes towards the flow's destination, and the source that the kernel
/// would choose.
#[must_use]
pub fn questions(netns: NetNs, to: IpAddr, like: &Tuple) -> [Question; 2] {
    [
        Question::RoutesTowards { netns, dst: to },
        own_route(netns, to, like),
    ]
}

/// An address that is to go, and what is known around it.
struct Removal<'a> {
    entry: &'a InterfaceAddress,
    name: String,
    /// Secondary addresses of its network, which go with it.
    followers: Vec<&'a InterfaceAddress>,
    /// Routes through gateways that go with it.
    routes: Vec<&'a TableRoute>,
    /// Addresses that the interface keeps, or gets back.
    kept: Vec<&'a InterfaceAddress>,
    /// The source that the kernel chose for the flow's destination.
    chosen: Option<IpAddr>,
}

/// The address taken from an interface, as a change; `None` where it does not have it.
#[must_use]
pub fn remove(
    host: &Host,
    (device, address): (Device, IpAddr),
    to: IpAddr,
    text: &str,
) -> Option<Remedy> {
    let all = host.addresses(device);
    // Programs of the host need its loopback addresses, whatever another one did with them.
    let own = |a: &&InterfaceAddress| a.address == address && !address.is_loopback();
    let entry = all.iter().find(own)?;
    let same = |a: &&InterfaceAddress| {
        a.prefix == entry.prefix && routing::holds(entry.address, entry.prefix, a.address)
    };
    let followers: Vec<_> = all
        .iter()
        .filter(|a| !entry.secondary && a.secondary && same(a))
        .collect();
    let chosen = chosen(host, device.netns, to).and_then(|route| route.source);
    let left = all
        .iter()
        .filter(|a| a.address.is_ipv4() == address.is_ipv4() && a.address != address)
        .count();
    let emptied = address.is_ipv4() && left == followers.len();
    let removal = Removal {
        entry,
        name: host.interface(device),
        followers,
        kept: all.iter().filter(|a| a.address != address).collect(),
        routes: gateways(host, device, to)
            .filter(|r| emptied || r.source.or(chosen) == Some(address))
            .collect(),
        chosen,
    };
    Some(removal.change(&Shell::of(host, Some(device.netns)), text))
}

/// Routes towards an address through gateways of an interface.
fn gateways(host: &Host, device: Device, to: IpAddr) -> impl Iterator<Item = &TableRoute> {
    let known = host.towards.get(&(device.netns, to));
    known
        .into_iter()
        .flat_map(|routes| &routes.fact)
        .filter(move |r| r.oif.map(IfIndex) == Some(device.ifindex))
        .filter(|r| r.kind == "unicast" && r.gateway.is_some() && r.table != RT_TABLE_LOCAL)
}

impl Removal<'_> {
    fn change(&self, shell: &Shell, text: &str) -> Remedy {
        let mut change = shell.change(text, self.address("del", self.entry));
        for follower in &self.followers {
            // There still is one where net.ipv4.conf.*.promote_secondaries is set.
            change = change.and(self.address("replace", follower));
        }
        for route in self.routes.iter().filter(|r| self.reaches(r)) {
            let source = route.source.or(self.chosen);
            let source = source.filter(|s| *s != self.entry.address);
            change = change.and(self.route(route, source));
        }
        for follower in self.followers.iter().rev() {
            change = change.undone_by(self.address("del", follower));
        }
        change = change.undone_by(self.address("add", self.entry));
        for follower in &self.followers {
            change = change.undone_by(self.address("add", follower));
        }
        for route in &self.routes {
            change = change.undone_by(self.route(route, route.source.or(self.chosen)));
        }
        change
    }

    /// Whether a route's gateway is still on the link of the interface.
    fn reaches(&self, route: &TableRoute) -> bool {
        let on_link = |gateway| {
            let mut kept = self.kept.iter();
            kept.any(|a| routing::holds(a.address, a.prefix, gateway))
        };
        route.gateway.is_some_and(on_link)
    }

    fn address(&self, act: &str, entry: &InterfaceAddress) -> Command {
        let full = format!("{}/{}", entry.address, entry.prefix);
        let v6 = entry.address.is_ipv6();
        // It was in use: it is not to wait for the detection of duplicates, which may refuse it.
        let nodad = (v6 && act == "add" && !entry.tentative).then_some("nodad");
        command![..ip(v6), "addr", act, full, "dev", self.name, ..nodad]
    }

    fn route(&self, route: &TableRoute, source: Option<IpAddr>) -> Command {
        let what = match route.length {
            0 => "default".to_owned(),
            length => format!("{}/{length}", route.prefix),
        };
        let option = |word: &str, value: Option<String>| {
            value.map_or_else(Vec::new, |v| vec![word.to_owned(), v])
        };
        command![
            ..ip(route.prefix.is_ipv6()),
            "route replace",
            what,
            ..option("via", route.gateway.map(|g| g.to_string())),
            "dev",
            self.name,
            ..option("src", source.map(|s| s.to_string())),
            ..option(
                "metric",
                (route.metric != 0).then(|| route.metric.to_string())
            ),
            ..option(
                "table",
                (route.table != RT_TABLE_MAIN).then(|| route.table.to_string())
            )
        ]
    }
}
