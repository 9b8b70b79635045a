//! Tunnels on a packet's way: the outer packet that a tunnel device puts around it, and the device that takes one in.

use std::net::IpAddr;

use crate::host::Host;
use crate::host::facts::Link;
use crate::host::prefix::holds;
use crate::model::{Device, IfIndex, NetNs, Tunnel, TunnelKind, Tuple};

use super::super::filter::{Packet, states};
use super::super::route::{Decision, Query, Tables, lookup};
use super::super::tunnel::{self, Arrived, Inner};
use super::{Check, Entry, Exit, Leg, Stage, Walk, Walked};

impl Walk<'_, '_> {
    /// A packet that a tunnel device was given, up to where its outer packet leaves.
    pub(super) fn encapsulated(&mut self, device: Device) {
        let Some(link) = self.link(device) else {
            return;
        };
        let inner = Inner {
            mac: self.leg.packet.destination_mac,
            v6: self.leg.before.dst.is_ipv6(),
        };
        let told = tunnel::encapsulate(self.host, link, inner);
        let seen = self.leg.outer.map(|outer| outer.tunnel);
        let around = match (seen, told) {
            (Some(seen), told) => {
                let other = told.is_ok_and(|remote| !remote.is_some_and(|r| sends(r, seen)));
                let check = Check::new("tunnel", on(seen, link), "encapsulate");
                let undecided = other.then(|| "changed-since".to_owned());
                self.tell(Stage::Encapsulate, Check { undecided, ..check });
                seen
            }
            (None, Ok(Some(remote))) => {
                let around = self.sourced(link, remote.tunnel());
                let check = Check::new("tunnel", on(around, link), "encapsulate");
                self.tell(Stage::Encapsulate, check);
                around
            }
            (None, Ok(None)) => {
                let mac = inner
                    .mac
                    .map_or_else(String::new, |mac| format!(" for {mac}"));
                let text = format!("{} has no remote end{mac}", link.name);
                return self.tell(Stage::Encapsulate, Check::new("tunnel", text, "no-remote"));
            }
            (None, Err(why)) => return self.unknown((Stage::Encapsulate, "tunnel"), &why),
        };
        self.outer(link, around);
    }

    /// Where the route chooses the source of an outer packet, that which it would choose.
    fn sourced(&self, link: &Link, tunnel: Tunnel) -> Tunnel {
        let source = || {
            let mark = self.leg.packet.mark.unwrap_or_default();
            let query = tunnel::query(link, tunnel.outer, mark);
            source_of(self.host, tunnel::underlay_netns(link), &query)
        };
        let own = Some(tunnel.outer.src).filter(|src| !src.is_unspecified());
        let src = own.or_else(source).unwrap_or(tunnel.outer.src);
        let outer = Tuple {
            src,
            ..tunnel.outer
        };
        Tunnel { outer, ..tunnel }
    }

    /// The way of the outer packet, which the device's underlay makes.
    fn outer(&mut self, link: &Link, around: Tunnel) {
        let mark = self.leg.packet.mark;
        let query = tunnel::query(link, around.outer, mark.unwrap_or_default());
        // Rules are not asked about a source that nobody knows.
        let exit = match self.leg.exit {
            Exit::Stage(last) if around.outer.src.is_unspecified() => {
                Exit::Stage(last.min(Stage::Route))
            }
            Exit::Unknown if around.outer.src.is_unspecified() => Exit::Stage(Stage::Route),
            exit => exit,
        };
        let leg = Leg {
            netns: tunnel::underlay_netns(link),
            entry: Entry::Made,
            exit,
            before: around.outer,
            after: around.outer,
            outer: None,
            packet: Packet {
                mark,
                states: Some(states::NEW | states::ESTABLISHED),
                ..Packet::default()
            },
            ..self.leg.clone()
        };
        let mut walk = Walk::new(self.host, &leg);
        walk.tunnel = Some(query);
        walk.made();
        let Walked { checks, missing } = walk.found;
        self.found.checks.extend(checks);
        self.found.missing.extend(missing);
    }

    /// Which tunnel device takes an outer packet in that is for this namespace.
    pub(super) fn decapsulated(&mut self, device: Device) {
        let arrived = self.leg.outer.filter(|_| self.reaches(Stage::Decapsulate));
        // What a process takes out of UDP no device tells.
        let Some(outer) = arrived.filter(|a| a.tunnel.kind != TunnelKind::RawUdp) else {
            return;
        };
        let arrived = Arrived {
            iif: Some(device),
            ..outer
        };
        let taker = tunnel::taker(self.host, self.leg.netns, &arrived);
        let seen = match self.leg.exit {
            Exit::Tunnel(device) => self.link(device),
            _ => None,
        };
        let check = match (seen, taker) {
            (Some(seen), taker) => Check {
                undecided: (taker.map(|l| l.device) != Some(seen.device))
                    .then(|| "changed-since".to_owned()),
                ..Check::new("tunnel", on(outer.tunnel, seen), "decapsulate")
            },
            (None, Some(link)) if link.up => {
                Check::new("tunnel", on(outer.tunnel, link), "decapsulate")
            }
            (None, Some(link)) => {
                let text = format!("{}, which is down", on(outer.tunnel, link));
                Check::new("tunnel", text, "no-tunnel")
            }
            (None, None) => {
                let text = self.nobody(&arrived);
                Check::new("tunnel", text, "no-tunnel")
            }
        };
        self.tell(Stage::Decapsulate, check);
    }

    /// That no device takes an outer packet, and what those of its kind would take.
    fn nobody(&self, arrived: &Arrived) -> String {
        let others = tunnel::of_kind(self.host, self.leg.netns, arrived);
        let others: Vec<String> = others
            .map(|link| format!("{} has {}", link.name, tunnel::words(link)))
            .collect();
        let others = match others.as_slice() {
            [] => "there is none of its kind".to_owned(),
            list => list.join(", "),
        };
        format!("{}: no tunnel here takes it, {others}", arrived.tunnel)
    }
}

/// A tunnel as its packets tell it, and the device.
fn on(tunnel: Tunnel, link: &Link) -> String {
    format!("{tunnel} dev {}", link.name)
}

/// Whether what was seen is what a device sends by its settings.
fn sends(remote: tunnel::Remote, seen: Tunnel) -> bool {
    let source = remote.local.is_none_or(|local| local == seen.outer.src);
    remote.address == seen.outer.dst && source && remote.id == seen.id
}

/// The source address that the kernel chooses for what is sent by a route: the route's own, else the first one of its
/// interface on the network of the next hop, else the first one there (`inet_select_addr`, net/ipv4/devinet.c).
/// `None`: it cannot be told; for IPv6 that is so where an interface has several.
fn source_of(host: &Host, netns: NetNs, query: &Query) -> Option<IpAddr> {
    let tables = Tables::of(host, netns);
    let (route, ifindex, next) = match lookup(&tables, query).decision {
        Decision::Route { route, hops, .. } => match hops.as_slice() {
            [hop] => (Some(route), IfIndex(hop.oif?), hop.gateway),
            _ => return None,
        },
        Decision::OnLink(ifindex) => (None, ifindex, None),
        _ => return None,
    };
    if let Some(source) = route.and_then(|route| route.source) {
        return Some(source);
    }
    let next = next.unwrap_or(query.tuple.dst);
    let own = host.addresses(Device { netns, ifindex }).iter();
    let v6 = query.tuple.dst.is_ipv6();
    let mut own = own.filter(|a| a.address.is_ipv6() == v6 && a.scope == 0);
    if v6 {
        let first = own.next()?;
        return own.next().is_none().then_some(first.address);
    }
    let near = own.clone().find(|a| holds(a.address, a.prefix, next));
    near.or_else(|| own.next()).map(|a| a.address)
}
