//! What translators did to a flow's packets: where the source or the destination changed, what the asker had
//! contacted, and whether answers come back the same way.

use std::net::IpAddr;

use crate::host::Host;
use crate::host::facts::InterfaceAddress;
use crate::model::{Detail, Device, Direction, Event, Journey, NetNs, Tuple};

use super::loss::{Loss, tuple_of};
use super::view::View;

/// One change of a packet's addresses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Change {
    /// The namespace in which it happened.
    pub netns: NetNs,
    /// The device at which the packet showed it first.
    pub device: Option<Device>,
    /// Before.
    pub before: Tuple,
    /// After.
    pub after: Tuple,
}

fn netns_of(event: &Event) -> Option<NetNs> {
    event.device.map(|d| d.netns).or(event.netns)
}

/// All changes that a journey shows, in order. What a tunnel's headers say is none.
pub fn changes(journey: &Journey) -> impl Iterator<Item = Change> {
    let shown = || {
        journey.steps.iter().map(|s| &s.event).filter_map(|event| {
            let tunnelled = event.packet.as_ref().is_some_and(|p| p.tunnel.is_some());
            // sockets' events have the tuple of what their CPU took in last
            let placed = event.device.is_some() || matches!(event.detail, Detail::Drop(_));
            (placed && !tunnelled).then_some((event, tuple_of(event)?))
        })
    };
    // what conntrack tells of a packet that was translated before it was seen
    let first = shown().next();
    let before = first.and_then(|(event, _)| Some((event, event.original?)));
    let shown = move || before.into_iter().chain(shown());
    shown()
        .zip(shown().skip(1))
        .filter_map(|((_, before), (event, after))| {
            let same = before.proto == after.proto && ports_known(&before) == ports_known(&after);
            (same && before != after).then_some(Change {
                netns: netns_of(event)?,
                device: event.device,
                before,
                after,
            })
        })
}

/// Fragments after the first have none.
fn ports_known(tuple: &Tuple) -> bool {
    tuple.sport != 0 || tuple.dport != 0
}

/// The first change of the destination on the way there.
#[must_use]
pub fn dnat(view: &View<'_>) -> Option<Change> {
    view.journeys(Direction::Forward).find_map(|j| {
        changes(j).find(|c| (c.before.dst, c.before.dport) != (c.after.dst, c.after.dport))
    })
}

/// How a packet left for where the answer must come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Departure {
    /// Through which interface.
    pub device: Device,
    /// What it was there.
    pub tuple: Tuple,
    /// What it was before source NAT, where there was one.
    pub before: Option<Tuple>,
}

/// The last source NAT of a way there; without one, the sender's own interface.
#[must_use]
pub fn departure(journey: &Journey, host: &Host) -> Option<Departure> {
    let translated = changes(journey)
        .filter(|c| c.before.src != c.after.src)
        .last()
        .and_then(|c| {
            Some(Departure {
                device: c.device?,
                tuple: c.after,
                before: Some(c.before),
            })
        });
    translated.or_else(|| {
        let first = &journey.steps.first()?.event;
        let tuple = tuple_of(first)?;
        let device = first.device?;
        let own = matches!(first.detail, Detail::Egress) && host.is_local(device.netns, tuple.src);
        own.then_some(Departure {
            device,
            tuple,
            before: None,
        })
    })
}

/// Other addresses of an interface that packets of this family could have left with.
pub fn siblings(
    host: &Host,
    device: Device,
    address: IpAddr,
) -> impl Iterator<Item = &InterfaceAddress> {
    host.addresses(device).iter().filter(move |a| {
        a.address != address
            && a.address.is_ipv4() == address.is_ipv4()
            && !a.tentative
            && !is_link_local(a.address)
    })
}

pub(super) fn is_link_local(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(v4) => v4.is_link_local() || v4.is_loopback(),
        IpAddr::V6(v6) => v6.is_unicast_link_local() || v6.is_loopback(),
    }
}

/// What the receiver of an answer had contacted instead of the answer's sender: the same flow's service address, or
/// another address of the server.
#[must_use]
pub fn contacted(loss: &Loss<'_>) -> Option<Tuple> {
    let answer = loss.tuple()?;
    let asked_from = |asked: &Tuple| {
        asked.proto == answer.proto
            && (asked.src, asked.sport) == (answer.dst, answer.dport)
            && (asked.dst, asked.dport) != (answer.src, answer.sport)
            && asked.sport != 0
    };
    let own = loss.flow.asked().filter(asked_from);
    own.or_else(|| {
        loss.trace
            .flows
            .iter()
            .filter(|f| f.id != loss.flow.id)
            .filter_map(crate::model::Flow::asked)
            // another server of the same service would be another conversation
            .filter(|asked| asked.dport == answer.sport)
            .find(asked_from)
    })
}

/// Namespaces that a packet passed, with its devices there.
pub fn passed(journey: &Journey) -> impl Iterator<Item = Device> {
    journey.steps.iter().filter_map(|s| s.event.device)
}
