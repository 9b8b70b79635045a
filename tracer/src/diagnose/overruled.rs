//! A policy rule that leads packets elsewhere than the routes that it stands before, which lead to the destination: a VPN
//! client's rule for all addresses, a table for a second uplink that lacks the own networks, a rule before a table local that
//! was moved behind it. The outer packets of tunnels are led astray like all others, and so are the questions for
//! neighbours that go through them.

use std::net::IpAddr;

use crate::host::Host;
use crate::host::facts::{Link, NextHop, PolicyRule, TableRoute};
use crate::model::{Device, Direction, IfIndex, NetNs};
use crate::network::bridging::bridge_of;
use crate::network::links::{members, peer_of};
use crate::network::route::{
    Change, Decision, Query, Tables, lookup, route_words, rule_words, table_words,
};
use crate::network::{neighbour, tunnel};
use crate::uapi::rtnetlink::RT_TABLE_LOCAL;
use crate::verdict::{Confidence, Place};

use super::Found;
use super::candidate::{Candidate, Specificity, place_on};
use super::causes::ROUTE_POLICY;
use super::enclosed::enclosures;
use super::missing_route::failed;
use super::needs::Asked;
use super::overlay;
use super::redirected::Routed;
use super::remedy::{Remedy, Shell, command, ip};
use super::route_commands;
use super::rules::neighbor::Unresolved;
use super::view::View;
use super::words;

/// `where.hook` of this cause.
const HOOK: &str = "route";

/// Who is at the end of the way that the rule hides.
#[derive(Clone, Copy, Debug, PartialEq)]
enum End {
    /// The namespace itself.
    Own,
    /// This interface.
    Owner(Device),
    /// Nobody knows; but only this way leaves by the interface that has the packet's source.
    BySource(Device),
}

/// A packet that a rule leads astray.
#[derive(Clone, Debug)]
pub struct Overruled<'a> {
    host: &'a Host,
    netns: NetNs,
    query: Query,
    rule: &'a PolicyRule,
    /// The route that is taken by it.
    taken: &'a TableRoute,
    /// By which interface that leads.
    out: Option<Device>,
    /// The route that is hidden.
    hidden: Option<&'a TableRoute>,
    end: End,
    /// The rule that is missing before it.
    exception: PolicyRule,
}

impl<'a> Overruled<'a> {
    /// Of a packet as routing sees it in a namespace; `None` where no rule leads it astray, or that cannot be told.
    #[must_use]
    pub fn of(host: &'a Host, netns: NetNs, query: &Query) -> Option<Self> {
        let tables = Tables::of(host, netns);
        let Decision::Route {
            rule,
            route: taken,
            hops,
        } = lookup(&tables, query).decision
        else {
            return None;
        };
        let dst = query.tuple.dst;
        // What is for the namespace itself goes by the table local before all others.
        let plain = matches!(rule.table, 0 | 253..=255) && !host.is_local(netns, dst);
        let own = taken.kind == "local" && taken.table == RT_TABLE_LOCAL;
        if plain || rule.l3mdev || own {
            return None;
        }
        if leads(host, netns, &hops, dst).is_some() {
            return None;
        }
        let (hidden, end, table) = if host.is_local(netns, dst) {
            (None, End::Own, RT_TABLE_LOCAL)
        } else {
            let (route, table, end) = behind(host, &tables, query, (rule, &hops))?;
            (Some(route), end, table)
        };
        let found = Self {
            host,
            netns,
            query: *query,
            rule,
            taken,
            out: hops.first().and_then(|hop| device_of(netns, hop)),
            hidden,
            end,
            exception: exception(host, (netns, dst), (rule, table), (hidden, end))?,
        };
        found.helps(&tables).then_some(found)
    }

    /// Whether the packet is led where it should go once the missing rule stands.
    fn helps(&self, tables: &Tables<'_>) -> bool {
        let v6 = self.query.tuple.dst.is_ipv6();
        let changed = tables.after(Change::Rule(v6, &self.exception));
        match lookup(&changed, &self.query).decision {
            Decision::Route { route, .. } => match self.hidden {
                Some(hidden) => route == hidden,
                None => route.kind == "local",
            },
            _ => false,
        }
    }

    fn name(&self) -> String {
        self.host.namespace(self.netns)
    }

    fn words_of(&self, route: &TableRoute) -> String {
        route_words(self.host, self.netns, route)
    }

    /// `policy rule 700 of node1 (from all lookup 70) takes 192.0.2.9 by the route default via 10.9.0.1 dev vpn0 table 70,
    /// although …`.
    #[must_use]
    pub fn words(&self) -> String {
        let dst = self.query.tuple.dst;
        let way = match (self.end, self.hidden) {
            (End::Owner(owner), Some(route)) => format!(
                "although the route {} leads to it ({})",
                self.words_of(route),
                words::interface(self.host, owner)
            ),
            (End::BySource(out), Some(route)) => format!(
                "although its source is an address of {}, through which the route {} leads",
                self.host.interface(out),
                self.words_of(route)
            ),
            _ => format!("although {dst} is an address of {} itself", self.name()),
        };
        format!(
            "policy rule {} of {} ({}) takes {dst} by the route {}, {way}",
            self.rule.priority,
            self.name(),
            rule_words(self.rule),
            self.words_of(self.taken)
        )
    }

    /// A proposal. `tunnel`: of a packet that this device sent.
    fn candidate(&self, tunnel: Option<&Link>) -> Candidate {
        let host = self.host;
        let whose = tunnel.map_or_else(String::new, |link| {
            format!("the outer packets of the tunnel {} go astray: ", link.name)
        });
        let place = Place {
            interface: self.out.map(|out| host.interface(out)),
            hook: Some(HOOK.to_owned()),
            ..place_on(host, self.netns)
        };
        let certain = !matches!(self.end, End::BySource(_));
        let answers = self.of_answers();
        Candidate::new(&ROUTE_POLICY, place, format!("{whose}{}", self.words()))
            .explains(Specificity::Linked)
            .sure(if certain {
                Confidence::Certain
            } else {
                Confidence::Likely
            })
            .because(
                "route",
                tunnel.map(|link| {
                    format!(
                        "{} sends {}",
                        words::interface(host, link.device),
                        tunnel::words(link)
                    )
                }),
            )
            .because(
                "route",
                format!(
                    "with a rule {}: {} the packet is led by {}",
                    self.exception.priority,
                    rule_words(&self.exception),
                    self.hidden.map_or_else(
                        || "the table local, to the namespace itself".to_owned(),
                        |route| format!("the route {}", self.words_of(route))
                    )
                ),
            )
            .because(
                "route",
                answers
                    .as_ref()
                    .map(|answers| format!("what answers it goes astray too: {}", answers.words())),
            )
            .advise(self.advice(answers.as_ref()))
    }

    /// The same of what answers a packet that is for the namespace itself.
    fn of_answers(&self) -> Option<Self> {
        let back = Query::output(self.query.tuple.reversed(), 0);
        let own = self.end == End::Own;
        own.then(|| Self::of(self.host, self.netns, &back))?
    }

    fn advice(&self, answers: Option<&Self>) -> Vec<Remedy> {
        let shell = Shell::of(self.host, Some(self.netns));
        let dst = self.query.tuple.dst;
        let v6 = dst.is_ipv6();
        let what = self.exception.dst.map_or_else(
            || "ask the table local before that rule".to_owned(),
            |(net, length)| {
                let table = table_words(self.exception.table);
                format!("let {net}/{length} go by the table {table} before that rule is asked")
            },
        );
        let also = answers
            .and_then(|answers| answers.exception.dst)
            .map_or_else(String::new, |(net, length)| {
                format!(", and let answers to {net}/{length} pass by it")
            });
        let exceptions: Vec<&PolicyRule> = std::iter::once(&self.exception)
            .chain(answers.map(|answers| &answers.exception))
            .collect();
        let change = route_commands::add_rules(&shell, v6, &exceptions, what + &also);
        let scope = "whoever made the rule (a VPN client, a script for a second uplink) has to make the exception too";
        [
            shell.look(
                "look first: the policy rules, in the order in which they are asked",
                command![..ip(v6), "rule show"],
            ),
            shell.look("which route is taken", command![..ip(v6), "route get", dst]),
        ]
        .into_iter()
        .chain(change.map(|change| change.scope(scope.to_owned())))
        .collect()
    }
}

fn device_of(netns: NetNs, hop: &NextHop) -> Option<Device> {
    Some(Device {
        netns,
        ifindex: IfIndex(hop.oif?),
    })
}

/// The owner of an address to whom all next hops lead: on the link, or by a machine that has it, or one that has its network
/// on another link.
fn leads(host: &Host, netns: NetNs, hops: &[NextHop], dst: IpAddr) -> Option<Device> {
    let one = |hop: &NextHop| {
        let out = device_of(netns, hop)?;
        let on_link = |at: Device| neighbour::owners(host, at, dst).first().map(|l| l.device);
        let Some(gateway) = hop.gateway else {
            return on_link(out);
        };
        neighbour::owners(host, out, gateway)
            .iter()
            .find_map(|near| {
                let at = near.device;
                let own = host.owners(dst).find(|owner| owner.netns == at.netns);
                let others = host
                    .links()
                    .filter(|l| l.device.netns == at.netns && l.device != at)
                    .filter(|l| host.near(l.device, dst).is_some());
                own.or_else(|| others.map(|l| l.device).find_map(on_link))
            })
    };
    let mut ends = hops.iter().map(one);
    let first = ends.next()??;
    ends.all(|end| end == Some(first)).then_some(first)
}

/// The route that would be used without a rule, where that leads to the destination, with its table.
fn behind<'a>(
    host: &'a Host,
    tables: &Tables<'a>,
    query: &Query,
    (rule, taken): (&'a PolicyRule, &[NextHop]),
) -> Option<(&'a TableRoute, u32, End)> {
    let Decision::Route { route, hops, .. } = lookup(&tables.without_rule(rule), query).decision
    else {
        return None;
    };
    let netns = tables.netns();
    let end = match leads(host, netns, &hops, query.tuple.dst) {
        Some(owner) => End::Owner(owner),
        None => End::BySource(only_by_source(
            host,
            (netns, query.tuple.src),
            &hops,
            taken,
        )?),
    };
    Some((route, route.table, end))
}

/// The interface of the hidden way, where it has the packet's source, the other way's has not, and nobody who is known has the
/// destination.
fn only_by_source(
    host: &Host,
    (netns, source): (NetNs, IpAddr),
    hidden: &[NextHop],
    taken: &[NextHop],
) -> Option<Device> {
    let has = |hop: &NextHop| {
        let out = device_of(netns, hop)?;
        let mut own = host.addresses(out).iter();
        own.any(|a| a.address == source).then_some(out)
    };
    let by_source = hidden.iter().map(has).collect::<Option<Vec<_>>>()?;
    let other = taken.iter().all(|hop| has(hop).is_none());
    by_source.first().copied().filter(|_| other)
}

/// The rule that is missing: for the table local, or for the network that the hidden route is for; where that is for all, for
/// the one in which the owner has the destination.
fn exception(
    host: &Host,
    (netns, dst): (NetNs, IpAddr),
    (rule, table): (&PolicyRule, u32),
    (hidden, end): (Option<&TableRoute>, End),
) -> Option<PolicyRule> {
    let plain = PolicyRule {
        action: "lookup".to_owned(),
        table,
        mark_mask: u32::MAX,
        ..PolicyRule::default()
    };
    let Some(hidden) = hidden else {
        return Some(plain);
    };
    let whole = if dst.is_ipv6() { 128 } else { 32 };
    let network = match (hidden.length, end) {
        (0, End::Owner(owner)) => overlay::network_of(host, owner.netns, dst),
        (0, _) => (dst, whole),
        (length, _) => (hidden.prefix, length),
    };
    let rules = &host.rules.get(&(netns, dst.is_ipv6()))?.fact;
    Some(PolicyRule {
        priority: route_commands::number_before(rules, rule)?,
        dst: Some(network),
        ..plain
    })
}

/// Tunnel devices into which a question for a neighbour goes, with the outer packets that they make of it.
fn asked_through(host: &Host, who: Unresolved) -> Vec<(&Link, Query)> {
    let beside = [
        Some(who.device),
        peer_of(host, who.device).map(|l| l.device),
    ];
    let own = host.link(who.device);
    let bridge = beside
        .into_iter()
        .flatten()
        .find_map(|device| bridge_of(host, device))
        .or(own.filter(|link| link.kind == "bridge"));
    let ports = bridge.into_iter().flat_map(|bridge| members(host, bridge));
    let tunnels = own.into_iter().chain(ports);
    tunnels
        .filter(|link| tunnel::is_known(link) && !tunnel::is_external(link))
        .flat_map(|link| {
            let ends = tunnel::flooded_to(host, link).unwrap_or_default();
            ends.into_iter()
                .map(move |remote| (link, tunnel::query(link, remote.outer(), 0)))
        })
        .collect()
}

/// Why a namespace does not answer a question for an address of its own, as its route is looked up.
#[must_use]
pub fn of_question(host: &Host, netns: NetNs, query: &Query) -> Option<Candidate> {
    Some(Overruled::of(host, netns, query)?.candidate(None))
}

/// What to read about the outer packets of a question for a neighbour.
pub fn ask_of_neighbor(host: &Host, who: Unresolved, asked: &mut Asked) {
    for (link, query) in asked_through(host, who) {
        asked.lookup(host, tunnel::underlay_netns(link), &query);
    }
}

/// Why a neighbour behind a tunnel does not answer: the question inside goes astray. It says nothing where the tunnel itself is
/// not in order.
#[must_use]
pub fn of_neighbor(host: &Host, who: Unresolved) -> Option<Candidate> {
    asked_through(host, who).iter().find_map(|(link, query)| {
        let found = Overruled::of(host, tunnel::underlay_netns(link), query)?;
        Some(found.candidate(Some(link)))
    })
}

/// What to read about a flow's packets.
pub fn questions(view: &View<'_>, asked: &mut Asked) {
    for direction in [Direction::Forward, Direction::Reply] {
        let journeys = view.journeys(direction);
        for (link, around) in journeys
            .flat_map(|j| enclosures(view.host, &j.steps))
            .take(1)
        {
            let query = tunnel::query(link, around.outer, 0);
            asked.lookup(view.host, tunnel::underlay_netns(link), &query);
        }
        for at in Routed::of(view, direction) {
            let (netns, tuple) = (at.netns(), at.query().tuple);
            // what left although it was for this namespace itself, and its answer
            if view.host.is_local(netns, tuple.dst) {
                asked.lookup(view.host, netns, &Query::output(tuple.reversed(), 0));
            }
        }
    }
}

/// The verdict's candidate, where a packet that a policy rule led astray did not come through.
#[must_use]
pub fn taken(view: &View<'_>, found: &Found<'_>) -> Option<Candidate> {
    let (direction, what) = failed(found, &ROUTE_POLICY)?;
    let host = view.host;
    let enclosed = || {
        let mut all = view
            .journeys(direction)
            .flat_map(|journey| enclosures(host, &journey.steps));
        all.find_map(|(link, around)| {
            let query = tunnel::query(link, around.outer, 0);
            let found = Overruled::of(host, tunnel::underlay_netns(link), &query)?;
            Some(found.candidate(Some(link)))
        })
    };
    let plain = Routed::of(view, direction)
        .iter()
        .find_map(|at| Overruled::of(host, at.netns(), &at.as_seen(host)))
        // A transparent proxy takes in what is for others; an answer is for nobody here.
        .filter(|found| found.taken.kind != "local" || direction == Direction::Reply);
    let mut candidate = plain
        .map(|found| found.candidate(None))
        .or_else(enclosed)?
        .leads_to(found.verdict.outcome)
        .because(
            "other-loss",
            format!("what became of it there: {}", found.verdict.summary),
        );
    candidate.summary.insert_str(0, what);
    // where nothing tells what became of it, the other way may lead there after all
    if found.verdict.confidence != Confidence::Certain {
        candidate.confidence = Confidence::Likely;
    }
    Some(candidate)
}
