//! A table that leads a packet to its destination, and no policy rule leads to the table (any more): the packet goes by another
//! uplink, where its source is not welcome. As for a second address, or a pod that has its address from a second interface,
//! whose rules another program of the host deleted.

use crate::host::Host;
use crate::host::facts::{PolicyRule, TableRoute};
use crate::model::{Device, Direction, IfIndex};
use crate::network::path::{End, follow};
use crate::network::route::{Change, Query, Tables, route_words, table_words};
use crate::uapi::rtnetlink::{RT_TABLE_DEFAULT, RT_TABLE_LOCAL, RT_TABLE_MAIN};
use crate::verdict::{Confidence, Place};

use super::Found;
use super::candidate::{Candidate, place_on};
use super::causes::ROUTE_POLICY;
use super::missing_route::failed;
use super::needs::Asked;
use super::redirected::Routed;
use super::remedy::{Remedy, Shell, command, ip};
use super::view::View;
use super::words;

/// A packet's way, and the one by the table.
pub struct Unruled<'a> {
    host: &'a Host,
    out: Device,
    query: Query,
    /// The route by which it left.
    taken: &'a TableRoute,
    /// The table's.
    route: &'a TableRoute,
    /// Who has the destination there.
    owner: Device,
}

/// The route by which a packet left, and those of tables to which no rule leads, by other interfaces.
fn ways<'a>(
    host: &'a Host,
    at: &Routed,
) -> Option<(
    &'a TableRoute,
    impl Iterator<Item = &'a TableRoute> + use<'a>,
)> {
    let (netns, query) = (at.netns(), at.as_seen(host));
    let rules = &host.rules.get(&(netns, query.tuple.dst.is_ipv6()))?.fact;
    let taken = at.taken(host)?;
    let out = at.out.ifindex;
    let own = |table: u32| {
        !matches!(table, RT_TABLE_LOCAL | RT_TABLE_MAIN | RT_TABLE_DEFAULT)
            && rules.iter().all(|rule| rule.table != table && !rule.l3mdev)
    };
    let all = &host.towards.get(&(netns, query.tuple.dst))?.fact;
    let others = all.iter().filter(move |route| {
        let elsewhere = route.oif.map(IfIndex).is_some_and(|oif| oif != out);
        own(route.table) && route.kind == "unicast" && elsewhere
    });
    Some((taken, others))
}

/// The rule that would lead a source there.
fn rule(query: &Query, table: u32) -> PolicyRule {
    let whole = if query.tuple.src.is_ipv6() { 128 } else { 32 };
    PolicyRule {
        action: "lookup".to_owned(),
        table,
        src: Some((query.tuple.src, whole)),
        mark_mask: u32::MAX,
        ..PolicyRule::default()
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
        let query = at.as_seen(host);
        let (taken, mut others) = ways(host, at)?;
        others.find_map(|route| {
            let rule = rule(&query, route.table);
            let tables = Tables::of(host, at.netns());
            let changed = tables.after(Change::Rule(query.tuple.dst.is_ipv6(), &rule));
            let End::Owner(owner) = follow(&changed, &query) else {
                return None;
            };
            Some(Self {
                host,
                out: at.out,
                query,
                taken,
                route,
                owner,
            })
        })
    }

    /// `table 2 of node (default via 10.7.4.129 dev eth1 table 2) leads to it too (db/lo), and no policy rule leads to that table`.
    #[must_use]
    pub fn words(&self) -> String {
        let netns = self.out.netns;
        format!(
            "table {} of {} leads {} to {} ({}), and no policy rule leads to that table",
            table_words(self.route.table),
            self.host.namespace(netns),
            self.query.tuple.dst,
            words::interface(self.host, self.owner),
            route_words(self.host, netns, self.route),
        )
    }

    /// The rule that is missing.
    #[must_use]
    pub fn change(&self) -> Remedy {
        let (src, table) = (self.query.tuple.src, self.route.table);
        let rule = |verb: &'static str| {
            command![
                ..ip(src.is_ipv6()),
                "rule",
                verb,
                "from",
                src,
                "lookup",
                table
            ]
        };
        Shell::of(self.host, Some(self.out.netns))
            .change(
                format!(
                    "let what has source {src} go by table {}, as a rule that is missing may have done",
                    table_words(table)
                ),
                rule("add"),
            )
            .undone_by(rule("del"))
            .scope(format!("all that has source {src}"))
    }
}

/// What to read to follow the ways of such tables.
pub fn questions(view: &View<'_>, asked: &mut Asked) {
    let host = view.host;
    for direction in [Direction::Forward, Direction::Reply] {
        for at in Routed::of(view, direction) {
            let query = at.as_seen(host);
            asked.lookup(host, at.netns(), &query);
            let Some((_, others)) = ways(host, &at) else {
                continue;
            };
            for route in others {
                let rule = rule(&query, route.table);
                let tables = Tables::of(host, at.netns());
                let changed = tables.after(Change::Rule(query.tuple.dst.is_ipv6(), &rule));
                if let End::Unknown(Some(question)) = follow(&changed, &query) {
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
        unruled.query.tuple.dst,
        route_words(host, out.netns, unruled.taken),
        unruled.words()
    );
    let place = Place {
        interface: Some(host.interface(out)),
        hook: Some("route".to_owned()),
        ..place_on(host, out.netns)
    };
    let shell = Shell::of(host, Some(out.netns));
    let v6 = unruled.query.tuple.dst.is_ipv6();
    let candidate = Candidate::new(&ROUTE_POLICY, place, summary)
        .leads_to(found.verdict.outcome)
        .sure(Confidence::Likely)
        .because(
            "other-loss",
            format!("what became of it there: {}", found.verdict.summary),
        );
    Some(candidate.advise([
        shell.look(
            "look first: the policy rules, in the order in which they are asked",
            command![..ip(v6), "rule show"],
        ),
        unruled.change(),
    ]))
}
