//! Requests that one router hands over and answers that are given to another one: translators and stateful firewalls see
//! half of such a connection. The routers may be neighbours on one and the same interface.

use std::net::IpAddr;

use crate::model::{Detail, Device, Direction, Event, Journey, Mac, NetNs, Tuple};
use crate::network::segment::Segment;

use super::loss::tuple_of;
use super::remedy::{Remedy, Shell, command, ip};
use super::routing;
use super::translation;
use super::view::View;
use super::words;

/// Where the machine that answers gets a request from, and to whom it gives the answer.
#[derive(Clone, Copy, Debug)]
pub struct Parting<'a> {
    /// By which the request came in.
    pub came: Device,
    /// Through which the answer leaves.
    pub went: Device,
    /// Who handed the request over; `None` on links without MACs.
    from: Option<Mac>,
    /// Who is given the answer.
    to: Option<Mac>,
    /// The answer as it leaves.
    answered: Tuple,
    request: &'a Journey,
}

impl<'a> Parting<'a> {
    /// Of an answer; `None` where it goes to who handed the request over, or that cannot be told.
    #[must_use]
    pub fn of(view: &View<'a>, answer: &Journey) -> Option<Self> {
        let mut steps = answer.steps.iter().map(|s| &s.event);
        let left = steps.find(|event| matches!(event.detail, Detail::Egress))?;
        let went = left.device?;
        let (request, came, event) = view.journeys(Direction::Forward).find_map(|request| {
            let mut steps = request.steps.iter().rev().map(|s| &s.event);
            let (came, event) = steps.find_map(|event| {
                let device = event.device.filter(|d| d.netns == went.netns)?;
                matches!(event.detail, Detail::Ingress).then_some((device, event))
            })?;
            Some((request, came, event))
        })?;
        let (from, to) = (ethernet(event, Side::From), ethernet(left, Side::To));
        let other_router = from.zip(to).is_some_and(|(from, to)| from != to);
        (came != went || other_router).then_some(Self {
            came,
            went,
            from,
            to,
            answered: tuple_of(left)?,
            request,
        })
    }

    /// The namespace that answers.
    #[must_use]
    pub fn netns(&self) -> NetNs {
        self.went.netns
    }

    /// Whether the request passed a namespace.
    #[must_use]
    pub fn request_passed(&self, netns: NetNs) -> bool {
        translation::passed(self.request).any(|device| device.netns == netns)
    }

    /// `db got the request from 10.71.2.1 by br0 and gives the answer to 10.71.2.254 by br0`.
    #[must_use]
    pub fn words(&self, view: &View<'_>) -> String {
        let router = |device, mac: Option<Mac>| {
            let address = mac.and_then(|mac| address_of(view, device, mac));
            let known = address.map(|a| a.to_string());
            known
                .or(mac.map(|m| m.to_string()))
                .unwrap_or_else(|| "somebody".to_owned())
        };
        let by = |device| words::interface(view.host, device);
        format!(
            "{} got the request from {} by {} and gives the answer to {} by {}",
            view.host.namespace(self.netns()),
            router(self.came, self.from),
            by(self.came),
            router(self.went, self.to),
            by(self.went)
        )
    }

    /// A route for who asked, by the router that handed the request over.
    #[must_use]
    pub fn change(&self, view: &View<'_>) -> Option<Remedy> {
        let router = address_of(view, self.came, self.from?)?;
        let asker = self.answered.dst;
        let name = view.host.interface(self.came);
        let route = |verb: &'static str| {
            command![
                ..ip(asker.is_ipv6()),
                "route",
                verb,
                asker,
                "via",
                router,
                "dev",
                &name
            ]
        };
        let shell = Shell::of(view.host, Some(self.netns()));
        Some(
            shell
                .change(
                    format!(
                        "send answers to {asker} back by the router from which its requests come"
                    ),
                    route("add"),
                )
                .undone_by(route("del"))
                .scope(format!("all that this machine sends to {asker}")),
        )
    }
}

/// An end of a frame.
#[derive(Clone, Copy)]
enum Side {
    From,
    To,
}

/// A frame's MAC, where that is one machine's.
fn ethernet(event: &Event, side: Side) -> Option<Mac> {
    let ethernet = event.packet.as_ref()?.ethernet?;
    let mac = match side {
        Side::From => ethernet.src,
        Side::To => ethernet.dst,
    };
    let [first, ..] = mac.0;
    (first & 1 == 0 && mac.0 != [0; 6]).then_some(mac)
}

/// The address of a neighbour on an interface's own network, as neighbour discovery told it during the trace, or as
/// another traced namespace has it.
#[must_use]
pub fn address_of(view: &View<'_>, device: Device, mac: Mac) -> Option<IpAddr> {
    let near = |address: &IpAddr| {
        let own = view.host.addresses(device);
        own.iter()
            .any(|a| routing::holds(a.address, a.prefix, *address))
    };
    let told = view.trace.beside.iter().find_map(|e| match &e.detail {
        Detail::Neighbor(n) if e.device == Some(device) => n
            .address
            .filter(|address| n.new_mac.or(n.mac) == Some(mac) && near(address)),
        _ => None,
    });
    // Other networks of the machine may use the same MACs and addresses.
    let on_the_link = || {
        let from = view.host.link(device)?;
        let ends = Segment::of_mac(view.host, from, mac).ends;
        ends.iter()
            .filter(|end| end.link.mac == Some(mac))
            .flat_map(|end| view.host.addresses(end.link.device))
            .map(|a| a.address)
            .find(near)
    };
    told.or_else(on_the_link)
}
