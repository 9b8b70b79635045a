//! Requests that one router hands over and answers that are given to another one: translators and stateful firewalls see
//! half of such a connection. The routers may be neighbours on one and the same interface.

use std::net::IpAddr;

use crate::host::facts::{Question, TableRoute};
use crate::model::{Detail, Device, Direction, Event, Journey, Mac, NetNs, Tuple};
use crate::network::bridging::Cast;
use crate::network::route::{Decision, Query, Tables, lookup};
use crate::network::segment::Segment;

use super::loss::tuple_of;
use super::remedy::{Remedy, Shell};
use super::route_commands::{self, Way};
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
        let frame = |event: &Event| event.packet.as_ref()?.ethernet;
        let from = frame(event).and_then(|frame| machine(frame.src));
        let to = frame(left).and_then(|frame| machine(frame.dst));
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
    pub fn change(&self, view: &View<'a>) -> Option<Remedy> {
        let router = address_of(view, self.came, self.from?)?;
        let asker = self.answered.dst;
        let way = Way {
            device: self.came,
            gateway: Some(router),
            source: None,
        };
        let shell = Shell::of(view.host, Some(self.netns()));
        route_commands::towards(
            &shell,
            view.host,
            (asker, self.route(view)),
            &way,
            format!("send answers to {asker} back by the router from which its requests come"),
        )
    }

    /// The route by which the answer leaves, as it was read.
    fn route(&self, view: &View<'a>) -> Option<&'a TableRoute> {
        let tables = Tables::of(view.host, self.netns());
        match lookup(&tables, &Query::output(self.answered, 0)).decision {
            Decision::Route { route, .. } => Some(route),
            _ => None,
        }
    }
}

/// What to read of the machine that gives its answers to another router.
#[must_use]
pub fn questions(view: &View<'_>) -> Vec<Question> {
    let mut answers = view.journeys(Direction::Reply);
    let parting = answers.find_map(|answer| Parting::of(view, answer));
    parting.map_or_else(Vec::new, |parting| {
        let (netns, dst) = (parting.netns(), parting.answered.dst);
        vec![
            Question::Rules {
                netns,
                v6: dst.is_ipv6(),
            },
            Question::RoutesTowards { netns, dst },
        ]
    })
}

/// A MAC that is one machine's.
fn machine(mac: Mac) -> Option<Mac> {
    (Cast::of(mac) == Cast::Unknown && mac.0 != [0; 6]).then_some(mac)
}

/// The address of a neighbour on an interface's own network, as neighbour discovery told it during the trace, or as
/// another traced namespace has it.
#[must_use]
pub fn address_of(view: &View<'_>, device: Device, mac: Mac) -> Option<IpAddr> {
    let near = |address: &IpAddr| view.host.near(device, *address).is_some();
    addresses_of(view, device, mac).into_iter().find(near)
}

/// All its addresses that are known so, whether or not the interface has an address in their networks.
#[must_use]
pub fn addresses_of(view: &View<'_>, device: Device, mac: Mac) -> Vec<IpAddr> {
    let told = view.trace.beside.iter().filter_map(|e| match &e.detail {
        Detail::Neighbor(n) if e.device == Some(device) => {
            n.address.filter(|_| n.new_mac.or(n.mac) == Some(mac))
        }
        _ => None,
    });
    let mut list: Vec<IpAddr> = told.collect();
    // Other networks of the machine may use the same MACs and addresses.
    if let Some(from) = view.host.link(device) {
        let ends = Segment::of_mac(view.host, from, mac).ends;
        let here = ends.iter().filter(|end| end.link.mac == Some(mac));
        let own = here.flat_map(|end| view.host.addresses(end.link.device));
        list.extend(own.map(|a| a.address));
    }
    list
}
