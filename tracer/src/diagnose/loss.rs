//! One drop with everything around it that a rule may look at: its packet, its place, what this host did at the
//! same moment, what is known of the interface. Reads only; decides nothing.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::LazyLock;

use tracer_common::tuple::{FAMILY_V4, FAMILY_V6};

use crate::correlate::Trace;
use crate::host::Host;
use crate::host::facts::Link;
use crate::model::{
    Detail, Device, Direction, DropInfo, DropSite, Event, Fate, Flow, FlowId, Journey, JourneyId,
    KtimeNs, NetNs, Path, Proto, Step, Transport, Tunnel, Tuple,
};
use crate::network::links::peer_of;
use crate::network::route::Query;
use crate::uapi::icmp;
use crate::verdict::Place;

use super::candidate::place_on;
use super::view::View;
use super::words;

/// An answer that belongs to a drop is built in the same call: microseconds apart, on the same CPU; milliseconds in an
/// emulated machine.
const SAME_CALL_NS: u64 = 20_000_000;

/// Flow and journey of what has none.
static NOTHING: LazyLock<(Flow, Journey)> = LazyLock::new(|| {
    let flow = Flow {
        id: FlowId(u32::MAX),
        tuples: Vec::new(),
        packets: BTreeMap::new(),
        forward: Path::default(),
        reply: Path::default(),
        journeys: Vec::new(),
        journeys_seen: BTreeMap::new(),
        fates: BTreeMap::new(),
        acked: Default::default(),
        drops: BTreeMap::new(),
        unseen: Vec::new(),
        sending: Default::default(),
        first: KtimeNs(0),
        last: KtimeNs(0),
        pause: None,
    };
    let journey = Journey {
        id: JourneyId(u64::MAX),
        flow: flow.id,
        direction: Direction::Forward,
        steps: Vec::new(),
        steps_dropped: 0,
        fate: Fate::InFlight,
    };
    (flow, journey)
});

/// A dropped packet.
#[derive(Clone, Copy)]
pub struct Loss<'a> {
    /// Everything.
    pub trace: &'a Trace,
    /// The host.
    pub host: &'a Host,
    /// Its flow.
    pub flow: &'a Flow,
    /// Its journey.
    pub journey: &'a Journey,
    /// Index of the drop in the journey.
    pub step: usize,
    /// The drop's event.
    pub event: &'a Event,
    /// What the drop tells.
    pub info: &'a DropInfo,
}

impl<'a> Loss<'a> {
    /// The drop at this step of a journey; `None` where the step is none.
    #[must_use]
    pub fn at(
        (trace, host): (&'a Trace, &'a Host),
        flow: &'a Flow,
        journey: &'a Journey,
        step: usize,
    ) -> Option<Self> {
        let event = &journey.steps.get(step)?.event;
        match &event.detail {
            Detail::Drop(info) => Some(Self {
                trace,
                host,
                flow,
                journey,
                step,
                event,
                info,
            }),
            _ => None,
        }
    }

    /// A drop that belongs to no packet of a flow, such as that of a question for a neighbour.
    #[must_use]
    pub fn beside(trace: &'a Trace, host: &'a Host, event: &'a Event) -> Option<Self> {
        let (flow, journey) = &*NOTHING;
        match &event.detail {
            Detail::Drop(info) => Some(Self {
                trace,
                host,
                flow,
                journey,
                step: 0,
                event,
                info,
            }),
            _ => None,
        }
    }

    /// Where and why, as it is counted.
    #[must_use]
    pub fn site(&self) -> Option<DropSite> {
        DropSite::of(self.journey.direction, self.event)
    }

    /// The reason's name; `NOT_SPECIFIED` where the kernel gives none.
    #[must_use]
    pub fn reason(&self) -> &'a str {
        self.info.reason.as_deref().unwrap_or("NOT_SPECIFIED")
    }

    /// The kernel said no more than that it dropped it.
    #[must_use]
    pub fn unnamed(&self) -> bool {
        self.info.is_unnamed()
    }

    /// The freeing function; empty where unknown.
    #[must_use]
    pub fn function(&self) -> &'a str {
        self.info.function.as_deref().unwrap_or("")
    }

    /// Names of the callers, nearest first.
    pub fn frames(&self) -> impl Iterator<Item = &'a str> {
        self.info.stack.iter().filter_map(|f| f.name.as_deref())
    }

    /// Whether a function is among the callers, or is the freeing one.
    #[must_use]
    pub fn within(&self, function: &str) -> bool {
        self.function() == function || self.frames().any(|f| f == function)
    }

    /// Its type of service.
    #[must_use]
    pub fn tos(&self) -> Option<u8> {
        let seen = || {
            let mut steps = self.steps().iter().rev();
            steps.find_map(|s| s.event.packet.as_ref())
        };
        let packet = self.event.packet.as_ref().or_else(seen)?;
        Some(packet.tos)
    }

    /// The packet as routing saw it: come in, or made here.
    #[must_use]
    pub fn routed(&self, came_in: Option<Device>) -> Option<Query> {
        let (tuple, mark) = (self.outermost()?, self.info.mark);
        let query = match came_in {
            Some(device) => Query::input(tuple, device.ifindex, mark),
            None => Query::output(tuple, mark),
        };
        Some(self.tos().map_or(query, |tos| query.with_tos(tos)))
    }

    /// The tuple as it was at the drop.
    #[must_use]
    pub fn tuple(&self) -> Option<Tuple> {
        tuple_of(self.event).or_else(|| self.steps().iter().rev().find_map(|s| tuple_of(&s.event)))
    }

    /// The tuple that the stack there saw, with its filters and its routes: of a tunnel the outer one.
    #[must_use]
    pub fn outermost(&self) -> Option<Tuple> {
        let outer = self.tunnel().map(|tunnel| tunnel.outer);
        outer.or_else(|| self.tuple())
    }

    /// The tunnel in which it was when it died.
    #[must_use]
    pub fn tunnel(&self) -> Option<Tunnel> {
        self.event.packet.as_ref()?.tunnel
    }

    /// [`FAMILY_V4`] or [`FAMILY_V6`].
    #[must_use]
    pub fn family(&self) -> u8 {
        match self.outermost() {
            Some(tuple) if tuple.src.is_ipv6() => FAMILY_V6,
            _ => FAMILY_V4,
        }
    }

    /// Whether it is IPv6.
    #[must_use]
    pub fn v6(&self) -> bool {
        self.family() == FAMILY_V6
    }

    /// Where the stack there was to send it.
    #[must_use]
    pub fn dst(&self) -> Option<IpAddr> {
        self.outermost().map(|t| t.dst)
    }

    /// Destination in words.
    #[must_use]
    pub fn dst_words(&self) -> String {
        self.dst()
            .map_or_else(|| "its destination".to_owned(), |a| a.to_string())
    }

    /// Steps before the drop.
    #[must_use]
    pub fn steps(&self) -> &'a [Step] {
        self.journey.steps.get(..self.step).unwrap_or_default()
    }

    /// The device that the packet was on at the drop. Sockets' drops have none.
    #[must_use]
    pub fn device(&self) -> Option<Device> {
        self.event.device
    }

    /// The device at the drop, else the last it was seen on.
    #[must_use]
    pub fn last_device(&self) -> Option<Device> {
        self.device().or_else(|| {
            self.steps()
                .iter()
                .rev()
                .filter(|s| self.event.netns.is_none_or(|ns| s.event.netns == Some(ns)))
                .find_map(|s| s.event.device)
        })
    }

    /// The flow with its trace and host.
    #[must_use]
    pub fn view(&self) -> View<'a> {
        View {
            trace: self.trace,
            host: self.host,
            flow: self.flow,
        }
    }

    /// The namespace in which it died.
    #[must_use]
    pub fn netns(&self) -> Option<NetNs> {
        self.event
            .device
            .map(|d| d.netns)
            .or(self.event.netns)
            .or(self.event.socket.map(|s| s.netns))
            .or_else(|| self.steps().iter().rev().find_map(|s| s.event.netns))
    }

    /// The interface on which it came into the namespace of the drop.
    #[must_use]
    pub fn came_in(&self) -> Option<Device> {
        let netns = self.netns()?;
        self.steps()
            .iter()
            .rev()
            .filter(|s| matches!(s.event.detail, Detail::Ingress))
            .find_map(|s| s.event.device.filter(|d| d.netns == netns))
            .or_else(|| self.device().filter(|d| self.event.iif == d.ifindex.0))
    }

    /// What is known of the drop's device.
    #[must_use]
    pub fn link(&self) -> Option<&'a Link> {
        self.last_device().and_then(|d| self.host.link(d))
    }

    /// Other end of a device, where one is known.
    #[must_use]
    pub fn peer(&self) -> Option<&'a Link> {
        peer_of(self.host, self.last_device()?)
    }

    /// `NAMESPACE` in words.
    #[must_use]
    pub fn namespace_words(&self) -> String {
        self.netns()
            .map_or_else(|| "this host".to_owned(), |ns| self.host.namespace(ns))
    }

    /// ` on NAMESPACE at INTERFACE`.
    #[must_use]
    pub fn at_words(&self) -> String {
        let interface = self
            .last_device()
            .map_or_else(String::new, |d| format!(" at {}", self.host.interface(d)));
        format!(" on {}{interface}", self.namespace_words())
    }

    /// The place of the drop, with this hook.
    #[must_use]
    pub fn place(&self, hook: Option<&str>) -> Place {
        Place {
            interface: self.device().map(|d| self.host.interface(d)),
            hook: hook.map(str::to_owned),
            function: self.info.function.clone(),
            ..place_on(self.host, self.netns())
        }
    }

    /// The place of the drop at the last device that saw the packet, for hooks without a device of their own.
    #[must_use]
    pub fn place_at_device(&self, hook: &str) -> Place {
        Place {
            interface: self.last_device().map(|d| self.host.interface(d)),
            ..self.place(Some(hook))
        }
    }

    /// The same for causes that name no hook.
    #[must_use]
    pub fn place_at_device_without_hook(&self) -> Place {
        Place {
            hook: None,
            ..self.place_at_device("")
        }
    }

    /// Whether another event happened in the same call as the drop.
    #[must_use]
    pub fn same_call(&self, other: &Event) -> bool {
        other.cpu == self.event.cpu && apart(other.at, self.event.at) < SAME_CALL_NS
    }

    /// The ICMP error that this host built about this packet: type and code. A redirect is none: the packet goes on.
    #[must_use]
    pub fn icmp_sent(&self) -> Option<(u8, u8)> {
        let told = |event: &Event| match event.detail {
            Detail::IcmpSend { icmp_type, code } if icmp_type != icmp::REDIRECT => {
                Some((icmp_type, code))
            }
            _ => None,
        };
        self.journey
            .steps
            .iter()
            .filter(|s| self.same_call(&s.event))
            .find_map(|s| told(&s.event))
            .or_else(|| {
                self.trace
                    .beside
                    .iter()
                    .filter(|e| self.same_call(e) && e.skb == self.event.skb)
                    .find_map(told)
            })
            .or_else(|| self.error_built())
    }

    /// ICMPv6 errors have no tracepoint: the error itself, first seen in the same call.
    fn error_built(&self) -> Option<(u8, u8)> {
        // Errors are never made about errors.
        if self.journey.direction == Direction::Error {
            return None;
        }
        self.journeys(Direction::Error)
            .filter_map(|j| j.steps.first())
            .filter(|s| self.same_call(&s.event) && !matches!(s.event.detail, Detail::Ingress))
            .find_map(|s| match s.event.packet.as_ref()?.transport {
                Transport::Icmp {
                    icmp_type, code, ..
                } if self.v6() || icmp_type != icmp::REDIRECT => Some((icmp_type, code)),
                _ => None,
            })
    }

    /// The TCP reset that went back in the same call: one of netfilter's making fires no event of its own.
    #[must_use]
    pub fn reset_sent(&self) -> bool {
        let own = self
            .journey
            .steps
            .iter()
            .map(|s| &s.event)
            .chain(&self.trace.beside)
            .any(|e| matches!(e.detail, Detail::ResetSent { .. }) && self.same_call(e));
        let back = match self.journey.direction {
            Direction::Forward => Direction::Reply,
            _ => Direction::Forward,
        };
        own || self
            .journeys(back)
            .filter_map(|j| j.steps.first())
            .any(|s| {
                matches!(s.event.detail, Detail::Egress)
                    && self.same_call(&s.event)
                    && s.event.packet.as_ref().is_some_and(is_reset)
            })
    }

    /// What the sender was told, in words.
    #[must_use]
    pub fn told(&self) -> Option<String> {
        if let Some((icmp_type, code)) = self.icmp_sent() {
            return Some(words::icmp(self.v6(), icmp_type, code));
        }
        (self.tuple()?.proto == Proto::Tcp && self.reset_sent()).then(|| "TCP reset".to_owned())
    }

    /// Kept journeys of the flow in a direction.
    pub fn journeys(&self, direction: Direction) -> impl Iterator<Item = &'a Journey> {
        let trace = self.trace;
        self.flow
            .journeys
            .iter()
            .filter_map(move |id| trace.journeys.get(id))
            .filter(move |j| j.direction == direction)
    }
}

/// Nanoseconds between two moments.
#[must_use]
pub fn apart(a: KtimeNs, b: KtimeNs) -> u64 {
    a.since(b).max(b.since(a))
}

/// The tuple that an event shows.
#[must_use]
pub fn tuple_of(event: &Event) -> Option<Tuple> {
    event.tuple.or_else(|| event.packet.as_ref()?.tuple)
}

/// The first segment of a TCP connection.
#[must_use]
pub fn is_syn(packet: &crate::model::Packet) -> bool {
    matches!(packet.transport, Transport::Tcp { flags, .. } if flags & 0x12 == 2)
}

/// A TCP reset.
#[must_use]
pub fn is_reset(packet: &crate::model::Packet) -> bool {
    matches!(packet.transport, Transport::Tcp { flags, .. } if flags & 4 != 0)
}
