//! A table that leads a packet to its destination, and no policy rule leads to the table (any more), or one that is asked too
//! late: the packet goes by another uplink, where its source is not welcome. As for a second address, or a pod that has its
//! address from a second interface, whose rules another program of the host deleted or put behind the table main.

use std::net::IpAddr;

use crate::host::Host;
use crate::host::facts::{PolicyRule, Question, TableRoute};
use crate::model::{Device, Direction, IfIndex, NetNs};
use crate::network::filter::{Hook, Interface, Layer, Packet, Rules, states, walk};
use crate::network::path::{End, follow};
use crate::network::route::{Change, Query, Tables, lookup, route_words, rule_words, table_words};
use crate::uapi::rtnetlink::{RT_TABLE_DEFAULT, RT_TABLE_LOCAL, RT_TABLE_MAIN};
use crate::verdict::{Confidence, Place};

use super::Found;
use super::candidate::{Candidate, place_on};
use super::causes::ROUTE_POLICY;
use super::missing_route::failed;
use super::needs::Asked;
use super::redirected::Routed;
use super::remedy::{Remedy, Shell, command, ip};
use super::route_commands;
use super::view::View;
use super::words;

/// A packet's way, and the one by the table.
pub struct Unruled<'a> {
    host: &'a Host,
    out: Device,
    /// The route by which it left.
    taken: &'a TableRoute,
    way: Way<'a>,
    /// Who has the destination there.
    owner: Device,
}

/// A way by a table that is not asked.
struct Way<'a> {
    /// The packet, with its mark where that matters.
    query: Query,
    /// The table's route.
    route: &'a TableRoute,
    /// The rule that would lead there.
    rule: PolicyRule,
    /// Where such a rule is there, and not asked.
    late: Option<Late<'a>>,
}

/// A rule that asks for the packet, and the one before it that took the packet.
#[derive(Clone, Copy)]
struct Late<'a> {
    asks: &'a PolicyRule,
    took: &'a PolicyRule,
}

impl<'a> Late<'a> {
    /// Of rules that lead to the table, the one that asks for a mark, a source or an interface, as the packet has it.
    fn of(
        host: &Host,
        at: &Routed,
        (rules, took): (&'a [PolicyRule], &'a PolicyRule),
        table: u32,
    ) -> Option<Self> {
        let mut behind = rules.iter().filter(|rule| {
            let leads = rule.action == "lookup" && rule.table == table && !rule.inverted;
            leads && rule.priority > took.priority
        });
        let asks = behind.find(|rule| match rule.mark {
            Some(_) => mark_at(host, at).is_some_and(|mark| rule.asks_for(mark)),
            None => rule.src.is_some() || rule.iif.is_some(),
        })?;
        Some(Self { asks, took })
    }
}

/// The mark that the rules of a namespace give a packet before it is routed.
fn mark_at(host: &Host, at: &Routed) -> Option<u32> {
    let rules = Rules::of(&host.filters.get(&at.netns())?.fact);
    let came = at.came();
    let packet = Packet {
        tuple: Some(at.query().tuple),
        iif: came.map_or(Interface::Unknown, |device| {
            Interface::Named(host.interface(device))
        }),
        states: Some(states::NEW),
        mark: Some(0),
        connection_mark: Some(0),
        ..Packet::default()
    };
    let hook = Hook {
        layer: Layer::Ip,
        name: if came.is_some() {
            "PREROUTING"
        } else {
            "OUTPUT"
        },
        engine: None,
    };
    walk(&rules, &packet, hook).mark
}

/// The route by which a packet left, and ways by tables that are not asked, through other interfaces.
fn ways<'a>(host: &'a Host, at: &Routed) -> Option<(&'a TableRoute, Vec<Way<'a>>)> {
    let (netns, query) = (at.netns(), at.as_seen(host));
    let v6 = query.tuple.dst.is_ipv6();
    let rules = &host.rules.get(&(netns, v6))?.fact;
    let tables = Tables::of(host, netns);
    let took = lookup(&tables, &query).decision.rule()?;
    let taken = at.taken(host)?;
    let all = &host.towards.get(&(netns, query.tuple.dst))?.fact;
    let elsewhere = |route: &&TableRoute| {
        let own = !matches!(
            route.table,
            RT_TABLE_LOCAL | RT_TABLE_MAIN | RT_TABLE_DEFAULT
        );
        let oif = route.oif.map(IfIndex);
        own && route.kind == "unicast" && oif.is_some_and(|oif| oif != at.out.ifindex)
    };
    let way = |route: &'a TableRoute| {
        let table = route.table;
        if rules.iter().all(|rule| rule.table != table && !rule.l3mdev) {
            return Some(Way {
                query,
                route,
                rule: for_source(&query, table),
                late: None,
            });
        }
        let late = Late::of(host, at, (rules, took), table)?;
        Some(Way {
            query: Query {
                mark: late.asks.mark.or(query.mark),
                ..query
            },
            route,
            rule: PolicyRule {
                priority: route_commands::number_before(rules, took)?,
                ..late.asks.clone()
            },
            late: Some(late),
        })
    };
    let ways = all.iter().filter(elsewhere).filter_map(way);
    Some((taken, ways.collect()))
}

/// The rule that would lead a source to a table.
fn for_source(query: &Query, table: u32) -> PolicyRule {
    let whole = if query.tuple.src.is_ipv6() { 128 } else { 32 };
    PolicyRule {
        action: "lookup".to_owned(),
        table,
        src: Some((query.tuple.src, whole)),
        mark_mask: u32::MAX,
        ..PolicyRule::default()
    }
}

impl Way<'_> {
    /// Where the packet would end; `None`: the rule does not lead it by the route.
    fn end(&self, host: &Host, netns: NetNs) -> Option<End> {
        let tables = Tables::of(host, netns);
        let changed = tables.after(Change::Rule(self.query.tuple.dst.is_ipv6(), &self.rule));
        let led = lookup(&changed, &self.query).decision.route() == Some(self.route);
        led.then(|| follow(&changed, &self.query))
    }
}

impl<'a> Unruled<'a> {
    /// The first such place on the way of a flow's packets.
    #[must_use]
    pub fn of(view: &View<'a>, direction: Direction) -> Option<Self> {
        let places = Routed::of(view, direction);
        places.iter().find_map(|at| Self::at(view.host, at))
    }

    fn at(host: &'a Host, at: &Routed) -> Option<Self> {
        let (taken, ways) = ways(host, at)?;
        ways.into_iter().find_map(|way| {
            let Some(End::Owner(owner)) = way.end(host, at.netns()) else {
                return None;
            };
            Some(Self {
                host,
                out: at.out,
                taken,
                way,
                owner,
            })
        })
    }

    /// Whether a rule asks for the packet, and is not asked itself.
    #[must_use]
    pub const fn is_late(&self) -> bool {
        self.way.late.is_some()
    }

    fn dst(&self) -> IpAddr {
        self.way.query.tuple.dst
    }

    /// `table 2 of node (default via 10.7.4.129 dev eth1 table 2) leads to it too (db/lo), and no policy rule leads to that table`.
    #[must_use]
    pub fn words(&self) -> String {
        let netns = self.out.netns;
        let why = match self.way.late {
            None => "no policy rule leads to that table".to_owned(),
            Some(Late { asks, took }) => format!(
                "rule {} ({}), which asks for this packet and leads there, stands behind rule {} ({}), which took it",
                asks.priority,
                rule_words(asks),
                took.priority,
                rule_words(took)
            ),
        };
        format!(
            "table {} of {} leads {} to {} ({}), and {why}",
            table_words(self.way.route.table),
            self.host.namespace(netns),
            self.dst(),
            words::interface(self.host, self.owner),
            route_words(self.host, netns, self.way.route),
        )
    }

    /// The rule that is missing, or that has to be asked sooner.
    #[must_use]
    pub fn change(&self) -> Option<Remedy> {
        let (query, rule) = (&self.way.query, &self.way.rule);
        let shell = Shell::of(self.host, Some(self.out.netns));
        if let Some(Late { asks, took }) = self.way.late {
            let text = format!(
                "have rule {} asked before rule {}",
                asks.priority, took.priority
            );
            let change =
                route_commands::add_rules(&shell, query.tuple.dst.is_ipv6(), &[rule], text)?;
            return Some(change.scope(
                "all that the rule asks for; whoever made it has to give it this place".to_owned(),
            ));
        }
        let src = query.tuple.src;
        let rule = |verb: &'static str| {
            command![
                ..ip(src.is_ipv6()),
                "rule",
                verb,
                "from",
                src,
                "lookup",
                rule.table
            ]
        };
        let text = format!(
            "let what has source {src} go by table {}, as a rule that is missing may have done",
            table_words(self.way.rule.table)
        );
        let change = shell.change(text, rule("add")).undone_by(rule("del"));
        Some(change.scope(format!("all that has source {src}")))
    }
}

/// What to read to follow the ways of such tables.
pub fn questions(view: &View<'_>, asked: &mut Asked) {
    let host = view.host;
    for direction in [Direction::Forward, Direction::Reply] {
        for at in Routed::of(view, direction) {
            let (netns, query) = (at.netns(), at.as_seen(host));
            asked.lookup(host, netns, &query);
            let rules = host.rules.get(&(netns, query.tuple.dst.is_ipv6()));
            if rules.is_some_and(|rules| rules.fact.iter().any(|rule| rule.mark.is_some())) {
                asked.push(Question::Chains { netns });
            }
            let Some((_, ways)) = ways(host, &at) else {
                continue;
            };
            for way in ways {
                if let Some(End::Unknown(Some(question))) = way.end(host, netns) {
                    asked.push(question);
                }
            }
        }
    }
}

/// The verdict's candidate, where a packet that goes by another table did not come through. Answers are to leave as their
/// requests came ([`super::uplinks`]).
#[must_use]
pub fn taken(view: &View<'_>, found: &Found<'_>) -> Option<Candidate> {
    let (direction, what) = failed(found, &ROUTE_POLICY)?;
    let unruled = Unruled::of(view, direction).filter(|_| direction == Direction::Forward)?;
    let (host, out) = (view.host, unruled.out);
    let summary = format!(
        "{what}{} takes {} by {}, where it is lost; {}",
        host.namespace(out.netns),
        unruled.dst(),
        route_words(host, out.netns, unruled.taken),
        unruled.words()
    );
    let place = Place {
        interface: Some(host.interface(out)),
        hook: Some("route".to_owned()),
        ..place_on(host, out.netns)
    };
    let shell = Shell::of(host, Some(out.netns));
    let v6 = unruled.dst().is_ipv6();
    let candidate = Candidate::new(&ROUTE_POLICY, place, summary)
        .leads_to(found.verdict.outcome)
        .sure(Confidence::Likely)
        .because(
            "other-loss",
            format!("what became of it there: {}", found.verdict.summary),
        );
    let look = shell.look(
        "look first: the policy rules, in the order in which they are asked",
        command![..ip(v6), "rule show"],
    );
    Some(candidate.advise([look]).advise(unruled.change()))
}
