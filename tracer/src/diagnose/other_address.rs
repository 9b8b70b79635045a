//! Answers over UDP that come from another address than the one that was asked: a server that listens on all addresses of
//! its host leaves the source to the kernel, which takes that of the route to the asker. A connected socket, a resolver, a
//! firewall's state and a translator take no answer from there.

use std::net::IpAddr;

use crate::correlate::Trace;
use crate::host::Host;
use crate::model::{Detail, Device, Direction, Fate, IfIndex, NetNs, Proto, Tuple};
use crate::network::route::{Decision, Query, Tables, lookup};
use crate::verdict::{Confidence, Outcome, Place};

use super::Found;
use super::candidate::{Candidate, place_on};
use super::causes::NAT_ASYMMETRIC;
use super::loss::tuple_of;
use super::needs::Asked;
use super::remedy::{Remedy, Shell, command, ip, text};
use super::route_commands::{self, Way};
use super::silent::error_seen;
use super::source_address::{chosen, own_route, preferred, without_source};
use super::view::View;

/// A datagram that came to a socket of a host.
#[derive(Clone, Copy, Debug)]
struct Request {
    /// By which interface.
    came: Device,
    /// As it was there.
    tuple: Tuple,
}

impl Request {
    /// The first of a flow over UDP that was delivered.
    fn of(view: &View<'_>) -> Option<Self> {
        if view.tuple()?.proto != Proto::Udp || view.answers_to_many() {
            return None;
        }
        // Kernels before 6.3 do not tell that a socket got a datagram (sk_data_ready), only that it ended well.
        let delivered = |fate: &Fate| matches!(fate, Fate::Delivered | Fate::Consumed { .. });
        let journey = view
            .journeys(Direction::Forward)
            .find(|journey| delivered(&journey.fate))?;
        let events = journey.steps.iter().rev().map(|step| &step.event);
        let event = { events }.find(|event| matches!(event.detail, Detail::Ingress))?;
        let request = Self {
            came: event.device?,
            tuple: tuple_of(event)?,
        };
        let own = view.host.is_local(request.netns(), request.tuple.dst);
        own.then_some(request)
    }

    const fn netns(&self) -> NetNs {
        self.came.netns
    }

    /// The source that the kernel gives to an answer that has none, where that is another address than was asked.
    fn other_source(&self, view: &View<'_>) -> Option<IpAddr> {
        preferred(view, self.netns(), self.tuple.src).filter(|source| *source != self.tuple.dst)
    }
}

/// How an answer is routed that has the address which was asked as its source.
fn sourced(asked: &Tuple) -> Query {
    Query::output(asked.reversed(), 0)
}

/// How one is routed that leaves its source to the kernel.
fn unsourced(asked: &Tuple) -> Query {
    Query::output(without_source(asked.src, &asked.reversed()), 0)
}

/// An answer that came from another address.
struct Answer {
    went: Device,
    source: IpAddr,
}

impl Answer {
    fn of(view: &View<'_>, request: &Request) -> Option<Self> {
        view.journeys(Direction::Reply).find_map(|journey| {
            let mut events = journey.steps.iter().map(|step| &step.event);
            let made = events.find(|event| event.device.is_some())?;
            let (went, tuple) = (made.device?, tuple_of(made)?);
            let here = went.netns == request.netns() && matches!(made.detail, Detail::Egress);
            let other = tuple.src != request.tuple.dst && tuple.sport == request.tuple.dport;
            let own = view.host.is_local(went.netns, tuple.src);
            (here && other && own).then_some(Self {
                went,
                source: tuple.src,
            })
        })
    }
}

/// What to read while no answer came, or one from elsewhere.
pub fn questions(view: &View<'_>, asked: &mut Asked) {
    let Some(request) = Request::of(view) else {
        return;
    };
    let (netns, tuple) = (request.netns(), request.tuple);
    let own = view.host.addresses_in(netns);
    let mut others = own.filter(|a| a.address.is_ipv4() == tuple.dst.is_ipv4());
    if others.all(|a| a.address == tuple.dst || a.address.is_loopback()) {
        return;
    }
    asked.push(own_route(netns, tuple.src, &tuple.reversed()));
    if Answer::of(view, &request).is_some() || request.other_source(view).is_some() {
        asked.lookup(view.host, netns, &sourced(&tuple));
        asked.lookup(view.host, netns, &unsourced(&tuple));
    }
}

/// Expressions for answers that the one which was asked for does not name: from the address that the kernel would take, of
/// flows without an answer.
#[must_use]
pub fn expected(trace: &Trace, host: &Host) -> Vec<String> {
    let flows = trace.flows.iter().map(|flow| View { trace, host, flow });
    let silent = flows.filter(|view| view.seen(Direction::Reply) == 0);
    let expected = silent.filter_map(|view| {
        let request = Request::of(&view)?;
        let source = request.other_source(&view)?;
        let Tuple { src, dport, .. } = request.tuple;
        Some(format!(
            "udp and src host {source} and src port {dport} and dst host {src}"
        ))
    });
    expected.collect()
}

/// The verdict's candidate, where no answer came from the address that was asked and one left from another.
#[must_use]
pub fn answered(view: &View<'_>, found: &Found<'_>) -> Option<Candidate> {
    if found.counts.reply.delivered > 0 {
        return None;
    }
    let request = Request::of(view)?;
    let answer = Answer::of(view, &request)?;
    let (host, netns) = (view.host, request.netns());
    let (asker, asked) = (request.tuple.src, request.tuple.dst);
    let by = if answer.went == request.came {
        String::new()
    } else {
        format!(
            "; it came in by {} and the answer leaves by {}",
            host.interface(request.came),
            host.interface(answer.went)
        )
    };
    let summary = format!(
        "{} was asked at {asked} and answers from {}, which {asker} did not ask{by}",
        host.namespace(netns),
        answer.source
    );
    let refused = error_seen(view, &request.tuple);
    let told = refused.is_some() || found.chosen().is_some();
    let outcome = match found.verdict.outcome {
        Outcome::Delivered => Outcome::Unanswered,
        other => other,
    };
    let place = Place {
        interface: Some(host.interface(answer.went)),
        hook: Some("socket".to_owned()),
        ..place_on(host, netns)
    };
    let candidate = Candidate::new(&NAT_ASYMMETRIC, place, summary)
        .leads_to(outcome)
        .sure(match told {
            true => Confidence::Likely,
            false => Confidence::Possible,
        })
        .because("icmp", refused)
        .because(
            "other-loss",
            found
                .chosen()
                .map(|_| format!("what became of the answer: {}", found.verdict.summary)),
        )
        .because(
            "route",
            preferred(view, netns, asker).map(|source| {
                format!(
                    "for what has no source of its own, the kernel takes {source} towards {asker}"
                )
            }),
        );
    Some(candidate.advise(advice(host, Some(netns), &request.tuple, answer.source)))
}

/// How a server is made to answer from the address at which it was `asked`, and not from the one `instead`.
#[must_use]
pub fn advice(host: &Host, server: Option<NetNs>, asked: &Tuple, instead: IpAddr) -> Vec<Remedy> {
    let shell = Shell::of(host, server);
    let bound = shell.look(
        "is the server bound to 0.0.0.0 or [::]? then the kernel chooses the source of its answers",
        command!["ss -lunp sport =", format!(":{}", asked.dport)],
    );
    let chosen = shell.look(
        "the source that it chooses",
        command![..ip(asked.dst.is_ipv6()), "route get", asked.src],
    );
    let change = server.and_then(|netns| change(host, netns, asked, instead));
    let bind = text(format!(
        "bind the server to {} as well, or let it answer from the address that was asked (IP_PKTINFO): that mends it for all who ask",
        asked.dst
    ));
    [bound, chosen]
        .into_iter()
        .chain(change)
        .chain([bind])
        .collect()
}

/// A route for the asker alone that has the address that was asked as source, where the kernel has chosen the other one.
fn change(host: &Host, netns: NetNs, asked: &Tuple, instead: IpAddr) -> Option<Remedy> {
    let chosen = chosen(host, netns, asked.src)?;
    if chosen.source != Some(instead) || chosen.kind != "unicast" {
        return None;
    }
    let tables = Tables::of(host, netns);
    let route = |query: &Query| match lookup(&tables, query).decision {
        Decision::Route { route, hops, .. } => Some((route, hops)),
        _ => None,
    };
    let (_, hops) = route(&sourced(asked)).unzip();
    let hop = hops.as_ref().and_then(|hops| hops.first());
    let way = Way {
        device: Device {
            netns,
            ifindex: IfIndex(hop.and_then(|hop| hop.oif).or(chosen.oif)?),
        },
        gateway: hop.map_or(chosen.gateway, |hop| hop.gateway),
        source: Some(asked.dst),
    };
    let used = route(&unsourced(asked)).map(|(route, _)| route);
    route_commands::towards(
        &Shell::of(host, Some(netns)),
        host,
        (asked.src, used),
        &way,
        format!(
            "let this host prefer {} as its source towards the asker",
            asked.dst
        ),
    )
}
