//! Which machine can carry a packet on to where its namespace has no route: the one on its links that forwards and has a
//! way there itself.

use std::net::IpAddr;

use crate::host::Host;
use crate::host::facts::{Link, Question};
use crate::host::prefix::holds;
use crate::model::{Device, IfIndex, NetNs, Tuple};
use crate::network::links::carries;
use crate::network::route::{Decision, Query, Tables, lookup};
use crate::network::segment::Segment;
use crate::network::settings::{Combined, setting};
use crate::network::tunnel::is_tunnel;

use super::needs::Asked;
use super::raising::routed;
use super::words;

/// Machines that are looked at.
const FEW: usize = 8;

/// A machine on a link of the namespace.
#[derive(Clone, Copy, Debug)]
pub struct Gateway<'a> {
    /// The interface that leads to it.
    pub out: &'a Link,
    /// Its own interface there.
    pub near: &'a Link,
    /// Its address in the network of that link.
    pub address: IpAddr,
}

/// The machines on the links of a namespace.
#[derive(Default)]
struct Around<'a> {
    machines: Vec<Gateway<'a>>,
    /// Whether a link goes on outside of what is known: there may be others then.
    open: bool,
    missing: Vec<Question>,
}

impl<'a> Around<'a> {
    fn of(host: &'a Host, netns: NetNs, v6: bool) -> Self {
        let mut around = Self::default();
        let links = host.links().filter(|l| l.device.netns == netns);
        for out in links.filter(|l| carries(host, l)) {
            around.add(host, out, v6);
        }
        around.machines.truncate(FEW);
        around
    }

    fn add(&mut self, host: &'a Host, out: &'a Link, v6: bool) {
        let own: Vec<_> = routed(host.addresses(out.device))
            .filter(|(address, _)| address.is_ipv6() == v6 && !address.is_loopback())
            .collect();
        if own.is_empty() {
            return;
        }
        let segment = Segment::of_broadcast(host, out);
        self.open |= !segment.open.is_empty();
        self.missing.extend(segment.missing);
        for end in segment.ends.iter().filter(|end| end.stop.is_none()) {
            let near = end.link;
            let there = routed(host.addresses(near.device))
                .find(|(a, _)| own.iter().any(|(net, prefix)| holds(*net, *prefix, *a)))
                .filter(|_| near.device.netns != out.device.netns);
            self.machines
                .extend(there.map(|(address, _)| Gateway { out, near, address }));
        }
    }
}

impl Gateway<'_> {
    /// Why it is proposed: `r1/eth0 is the only machine on its links that forwards and has a way to 10.9.0.1`.
    #[must_use]
    pub fn words(&self, host: &Host, dst: IpAddr) -> String {
        format!(
            "{} is the only machine on its links that forwards and has a way to {dst}",
            words::interface(host, self.near.device)
        )
    }

    /// Whether it forwards what comes in there; `Err`: what has to be read.
    fn forwards(&self, host: &Host) -> Result<bool, Vec<Question>> {
        let key = (self.address.is_ipv6(), "forwarding");
        let read = setting(host, self.near.device, key, Combined::Own);
        read.map(|setting| setting.value != 0)
    }

    /// The packet as it comes to it: without a source while none is chosen, then with that of the interface.
    fn query(&self, host: &Host, tuple: Tuple) -> Query {
        let mut own = routed(host.addresses(self.out.device));
        let own = own.find(|(a, prefix)| holds(*a, *prefix, self.address));
        let src = match own {
            Some((address, _)) if tuple.src.is_unspecified() => address,
            _ => tuple.src,
        };
        Query::input(Tuple { src, ..tuple }, self.near.device.ifindex, 0)
    }

    /// The answer to it, as it comes back from there.
    fn answer(&self, host: &Host, tuple: Tuple, from: u32) -> Query {
        let back = self.query(host, tuple).tuple.reversed();
        Query::input(back, IfIndex(from), 0)
    }

    /// The interfaces through which its routes lead a packet; none where they were not read.
    fn ways(&self, host: &Host, query: &Query) -> Vec<u32> {
        match lookup(&Tables::of(host, self.near.device.netns), query).decision {
            Decision::Route { hops, .. } => hops.iter().filter_map(|hop| hop.oif).collect(),
            _ => Vec::new(),
        }
    }

    /// Whether it has the destination's network on one of its other links.
    fn is_there(&self, host: &Host, dst: IpAddr) -> bool {
        let near = self.near.device;
        let others = host.links().filter(|link| {
            link.device.netns == near.netns && link.device != near && carries(host, link)
        });
        others
            .flat_map(|link| routed(host.addresses(link.device)))
            .any(|(address, prefix)| holds(address, prefix, dst) && address != dst)
    }

    /// Whether its own routes lead on, and the answer back: on the same link, or where the destination is on a link of its
    /// own, by another that is no tunnel. An overlay's nodes have another way for both.
    fn leads_on(&self, host: &Host, tuple: Tuple) -> bool {
        let near = self.near.device;
        let onwards = self.ways(host, &self.query(host, tuple));
        let there = self.is_there(host, tuple.dst);
        let leads_back = |oif: u32| {
            let device = Device {
                ifindex: IfIndex(oif),
                ..near
            };
            let link = host.link(device);
            device == near || there && link.is_some_and(|link| !is_tunnel(link))
        };
        let is_way = |oif: &u32| {
            let device = Device {
                ifindex: IfIndex(*oif),
                ..near
            };
            let carried = host.link(device).is_some_and(|link| carries(host, link));
            let back = self.ways(host, &self.answer(host, tuple, *oif));
            device != near && carried && !back.is_empty() && back.iter().all(|oif| leads_back(*oif))
        };
        !onwards.is_empty() && onwards.iter().all(is_way)
    }
}

/// What to read of the machines around a namespace that has no route for a packet.
pub fn ask(host: &Host, netns: NetNs, tuple: Tuple, asked: &mut Asked) {
    let around = Around::of(host, netns, tuple.dst.is_ipv6());
    for question in around.missing {
        asked.push(question);
    }
    for machine in around.machines {
        match machine.forwards(host) {
            Ok(true) => {
                let query = machine.query(host, tuple);
                asked.lookup(host, machine.near.device.netns, &query);
                if let Some(from) = machine.ways(host, &query).first() {
                    let back = machine.answer(host, tuple, *from);
                    asked.lookup(host, machine.near.device.netns, &back);
                }
            }
            Ok(false) => {}
            Err(questions) => questions.into_iter().for_each(|q| asked.push(q)),
        }
    }
}

/// The only machine on the links of a namespace that can carry a packet on, and that did not send it there (`from`); `None`
/// where there may be others.
#[must_use]
pub fn only(
    host: &Host,
    (from, netns): (Option<NetNs>, NetNs),
    tuple: Tuple,
) -> Option<Gateway<'_>> {
    let around = Around::of(host, netns, tuple.dst.is_ipv6());
    if around.open {
        return None;
    }
    let can = |machine: &Gateway<'_>| {
        machine.forwards(host) == Ok(true)
            && machine.leads_on(host, tuple)
            && from != Some(machine.near.device.netns)
    };
    let mut able = around.machines.into_iter().filter(can);
    able.next().filter(|_| able.next().is_none())
}
