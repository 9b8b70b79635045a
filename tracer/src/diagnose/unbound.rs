//! IPv6 senders that looked their route up before they had a source: a socket that is connected without being bound asks for
//! the route with the source `::`, so no policy rule for a source holds; then a source is chosen, and the route is kept
//! (`ip6_dst_lookup_tail`, net/ipv6/ip6_output.c). The packet leaves by one router with the address of another's network,
//! and what that router or the network behind it makes of such a source is what the verdict is about.

use std::net::IpAddr;

use crate::host::Host;
use crate::host::facts::{NextHop, PolicyRule, TableRoute};
use crate::model::{Detail, Device, Direction, Mac, Tuple};
use crate::network::neighbour;
use crate::network::route::{Decision, Query, Tables, lookup, route_words, rule_words};
use crate::verdict::{Advice, Evidence, Verdict};

use super::Found;
use super::candidate::evidence;
use super::needs::Asked;
use super::remedy::{self, Remedy, Shell, command, text};
use super::route_commands;
use super::source_address::without_source;
use super::translation::is_link_local;
use super::view::View;

/// Ends of packets with a source that does not belong there.
const REFUSALS: &[&str] = &[
    "route.prohibit",
    "route.unreachable",
    "route.blackhole",
    "route.none",
    "netfilter.drop",
    "netfilter.reject",
    "remote.unanswered",
    "wire.lost",
    "nat.source-address",
];

/// A packet as its sender made it.
#[derive(Clone, Copy)]
struct Made {
    device: Device,
    tuple: Tuple,
    /// To whom it was given.
    to: Option<Mac>,
}

impl Made {
    /// The first of a flow, where an IPv6 sender was traced.
    fn of(view: &View<'_>) -> Option<Self> {
        let mut first = view
            .journeys(Direction::Forward)
            .filter_map(|journey| journey.steps.first());
        let event = &first
            .find(|step| matches!(step.event.detail, Detail::Egress))?
            .event;
        let (device, tuple) = (event.device?, event.tuple?);
        let own = tuple.dst.is_ipv6() && view.host.is_local(device.netns, tuple.src);
        let to = event
            .packet
            .as_ref()
            .and_then(|p| p.ethernet)
            .map(|e| e.dst);
        own.then_some(Self { device, tuple, to })
    }

    /// The look-ups without a source and with the one that it has.
    fn queries(&self) -> [Query; 2] {
        let bare = without_source(self.tuple.dst, &self.tuple);
        let bare = Tuple {
            dport: self.tuple.dport,
            ..bare
        };
        [bare, self.tuple].map(|tuple| Query::output(tuple, 0))
    }
}

/// A sender that kept a route which is not the one for its source.
struct Early<'a> {
    host: &'a Host,
    made: Made,
    kept: &'a TableRoute,
    gateway: IpAddr,
    /// The rule for the source, and its route.
    rule: &'a PolicyRule,
    meant: &'a TableRoute,
}

impl<'a> Early<'a> {
    fn of(view: &View<'a>) -> Option<Self> {
        let (host, made) = (view.host, Made::of(view)?);
        let tables = Tables::of(host, made.device.netns);
        let [early, late] = made.queries().map(|query| lookup(&tables, &query).decision);
        let (
            Decision::Route {
                route: kept, hops, ..
            },
            Decision::Route {
                rule, route: meant, ..
            },
        ) = (early, late)
        else {
            return None;
        };
        let gateway = hops.iter().find_map(|hop| given_to(host, &made, hop))?;
        let by_source = rule.src.is_some() && !rule.inverted;
        (by_source && kept != meant).then_some(Self {
            host,
            made,
            kept,
            gateway,
            rule,
            meant,
        })
    }

    fn words_of(&self, route: &TableRoute) -> String {
        route_words(self.host, self.made.device.netns, route)
    }

    /// As the end of the summary.
    fn words(&self) -> String {
        format!(
            "; {} looked the route up before it had a source (connect without bind) and kept {}; for the source {} that it then chose, policy rule {} has {}",
            self.host.namespace(self.made.device.netns),
            self.words_of(self.kept),
            self.made.tuple.src,
            self.rule.priority,
            self.words_of(self.meant),
        )
    }

    fn evidence(&self) -> Evidence {
        evidence(
            "route",
            format!(
                "with source ::, {} is used; with {} policy rule {} ({}) leads to {}: an unbound socket asks with the first",
                self.words_of(self.kept),
                self.made.tuple.src,
                self.rule.priority,
                rule_words(self.rule),
                self.words_of(self.meant),
            ),
        )
    }

    /// An address of the interface for which the rule does not hold, in the network of the router that is used.
    fn fitting(&self) -> Option<IpAddr> {
        let fits = |address: &IpAddr| {
            let led = self
                .rule
                .src
                .is_some_and(|(net, length)| super::routing::holds(net, length, *address));
            address.is_ipv6() && !is_link_local(*address) && !led
        };
        let own = || {
            let all = self.host.addresses(self.made.device).iter();
            all.filter(|a| fits(&a.address))
        };
        let near = own().find(|a| super::routing::holds(a.address, a.prefix, self.gateway));
        near.or_else(|| own().next()).map(|a| a.address)
    }

    fn advice(&self) -> Vec<Remedy> {
        let netns = self.made.device.netns;
        let shell = Shell::of(self.host, Some(netns));
        let look = shell.look(
            "look first: which route is taken without a source, and which source is chosen",
            command!["ip -6 route get", self.made.tuple.dst],
        );
        let change = self.fitting().and_then(|source| {
            let sourced = TableRoute {
                source: Some(source),
                ..self.kept.clone()
            };
            route_commands::replace(
                &shell,
                (self.host, netns),
                (self.kept, &sourced),
                format!("have what leaves by that route without a source use {source}, which belongs to its router"),
            )
        });
        let otherwise = text("or let the program bind the source before it connects");
        [look]
            .into_iter()
            .chain(change)
            .chain([otherwise])
            .collect()
    }
}

/// The gateway, where the packet was given to it.
fn given_to(host: &Host, made: &Made, hop: &NextHop) -> Option<IpAddr> {
    let gateway = hop
        .gateway
        .filter(|_| hop.oif == Some(made.device.ifindex.0))?;
    neighbour::has_mac(host, made.device, gateway, made.to?).then_some(gateway)
}

/// What to read of the sender.
pub fn questions(view: &View<'_>, asked: &mut Asked) {
    if let Some(made) = Made::of(view) {
        for query in made.queries() {
            asked.lookup(view.host, made.device.netns, &query);
        }
    }
}

/// Tells of it where packets with such a source were refused or lost on their way, what to change first.
pub fn tell(view: &View<'_>, found: &Found<'_>, verdict: &mut Verdict) {
    let refused = verdict
        .cause
        .as_deref()
        .is_some_and(|cause| REFUSALS.contains(&cause));
    let lost = found
        .chosen()
        .is_none_or(|group| group.direction == Direction::Forward);
    if !refused || !lost || found.counts.reply.delivered > 0 {
        return;
    }
    let Some(early) = Early::of(view) else {
        return;
    };
    verdict.summary += &early.words();
    verdict.evidence.push(early.evidence());
    let first = remedy::advice(&early.advice());
    let before = u32::try_from(first.len()).unwrap_or_default();
    let others = std::mem::take(&mut verdict.advice);
    let others = others.into_iter().map(|advice| Advice {
        undoes: advice.undoes.map(|number| number.saturating_add(before)),
        ..advice
    });
    verdict.advice = first.into_iter().chain(others).collect();
}
