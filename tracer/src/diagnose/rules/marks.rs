//! Packets with a mark that no policy rule knows: what gave them the mark (TPROXY, a VPN) wants them routed by a table of
//! its own, and the rule that leads there is missing, or the route in that table.

use std::net::IpAddr;

use crate::host::facts::{PolicyRule, TableRoute};
use crate::model::NetNs;
use crate::network::route::{route_words, table_words};
use crate::uapi::rtnetlink::{RT_TABLE_DEFAULT, RT_TABLE_LOCAL, RT_TABLE_MAIN};
use crate::verdict::Confidence;

use super::super::candidate::{Candidate, Specificity};
use super::super::causes::ROUTE_NONE;
use super::super::loss::Loss;
use super::super::remedy::{Command, Remedy, Shell, command, ip, text};
use super::super::route_commands::free_table;
use super::route::HOOK;

/// The table that howtos of TPROXY use (Documentation/networking/tproxy.rst).
const USUAL_TABLE: u32 = 100;

/// What was read of a marked packet's routing.
struct Routing<'a> {
    netns: NetNs,
    dst: IpAddr,
    mark: u32,
    rules: &'a [PolicyRule],
    routes: &'a [TableRoute],
}

impl<'a> Routing<'a> {
    fn of(loss: &Loss<'a>) -> Option<Self> {
        let (netns, dst) = (loss.netns()?, loss.dst()?);
        Some(Self {
            netns,
            dst,
            mark: Some(loss.info.mark).filter(|mark| *mark != 0)?,
            rules: &loss.host.rules.get(&(netns, loss.v6()))?.fact,
            routes: &loss.host.towards.get(&(netns, dst))?.fact,
        })
    }

    /// The rule that asks for this mark.
    fn known_by(&self) -> Option<&'a PolicyRule> {
        self.rules.iter().find(|rule| rule.asks_for(self.mark))
    }

    /// A route to the destination in a table to which no rule leads.
    fn left_out(&self, local: bool) -> Option<&'a TableRoute> {
        let of_kernel = [RT_TABLE_LOCAL, RT_TABLE_MAIN, RT_TABLE_DEFAULT];
        let led_to = |table: u32| {
            let leads = |r: &PolicyRule| r.action == "lookup" && r.table == table;
            of_kernel.contains(&table) || self.rules.iter().any(leads)
        };
        let fits = |route: &&TableRoute| (route.kind == "local") == local && !led_to(route.table);
        self.routes.iter().find(fits)
    }
}

/// A packet that has a socket already may not be forwarded (ip_forward, ip6_forward: `if (skb->sk) goto drop`). It was given
/// to the socket by its mark's rule set, and routing did not take it for this host's own.
pub fn not_local(loss: &Loss<'_>) -> Option<Candidate> {
    let forwarding = matches!(loss.function(), "ip_forward" | "ip6_forward");
    let alive = loss.event.packet.as_ref().is_none_or(|p| p.ttl > 1);
    if !forwarding || !loss.unnamed() || !alive {
        return None;
    }
    let routing = Routing::of(loss)?;
    let mark = routing.mark;
    let shell = Shell::of(loss.host, loss.netns());
    let (why, change) = match routing.known_by() {
        Some(rule) => without_route(&routing, rule, (loss.v6(), &shell))?,
        None => without_rule(loss, &routing, &shell),
    };
    let given = given_by(loss);
    Some(
        Candidate::new(
            &ROUTE_NONE,
            loss.place(Some(HOOK)),
            format!(
                "a socket of a transparent proxy has it (mark {mark:#x}), and it was to be forwarded{}: {why}",
                loss.at_words()
            ),
        )
        .explains(Specificity::Linked)
        .sure(if given.is_some() {
            Confidence::Certain
        } else {
            Confidence::Likely
        })
        .because("packet", format!("skb mark {mark:#x}, and no reason given: what has a socket is not forwarded"))
        .because("rule", given)
        .advise(looks(&routing, (loss.v6(), &shell)))
        .advise([change]),
    )
}

/// A table has a route for a packet that found none, and the rule that leads there by the packet's mark is missing.
pub fn unknown(loss: &Loss<'_>) -> Option<Candidate> {
    let routing = Routing::of(loss)?;
    if routing.known_by().is_some() {
        return None;
    }
    let route = routing.left_out(false).or_else(|| routing.left_out(true))?;
    let shell = Shell::of(loss.host, loss.netns());
    let why = no_rule_words(loss, &routing, route);
    let mark = routing.mark;
    Some(
        Candidate::new(
            &ROUTE_NONE,
            loss.place(Some(HOOK)),
            format!(
                "no route for mark {mark:#x} to {}{}: {why}",
                routing.dst,
                loss.at_words()
            ),
        )
        .explains(Specificity::Linked)
        .sure(Confidence::Likely)
        .because("rule", given_by(loss))
        .advise(looks(&routing, (loss.v6(), &shell)))
        .advise([lead((mark, route.table), (loss.v6(), &shell))]),
    )
}

fn no_rule_words(loss: &Loss<'_>, routing: &Routing<'_>, route: &TableRoute) -> String {
    format!(
        "no policy rule knows its mark, and none leads to table {}, which has {}",
        table_words(route.table),
        route_words(loss.host, routing.netns, route)
    )
}

/// No rule knows the mark.
fn without_rule(loss: &Loss<'_>, routing: &Routing<'_>, shell: &Shell) -> (String, Remedy) {
    let v6 = loss.v6();
    if let Some(route) = routing.left_out(true) {
        let change = lead((routing.mark, route.table), (v6, shell));
        return (no_rule_words(loss, routing, route), change);
    }
    let table = free_table(routing.rules, USUAL_TABLE);
    let why = "no policy rule knows its mark, and no table has a local route for it".to_owned();
    (why, lead_home((routing.mark, table), (v6, shell)))
}

/// A rule leads to a table without a route that would make the packet this host's own.
fn without_route(
    routing: &Routing<'_>,
    rule: &PolicyRule,
    (v6, shell): (bool, &Shell),
) -> Option<(String, Remedy)> {
    let table = rule.table;
    let local = |route: &&TableRoute| route.table == table && route.kind == "local";
    if rule.action != "lookup" || routing.routes.iter().any(|route| local(&route)) {
        return None;
    }
    let name = table_words(table);
    let change = shell
        .change(
            format!("the route in table {name} that makes such packets this host's own"),
            home_route("add", table, v6),
        )
        .undone_by(home_route("del", table, v6));
    let why = format!("table {name}, to which the rule of its mark leads, has no local route");
    Some((why, change))
}

/// The route of a table that makes all packets this host's own.
fn home_route(act: &str, table: u32, v6: bool) -> Command {
    let name = table_words(table);
    command![..ip(v6), "route", act, "local default dev lo table", name]
}

fn rule_command(act: &str, (mark, table): (u32, u32), v6: bool) -> Command {
    command![
        ..ip(v6),
        "rule",
        act,
        "fwmark",
        format!("{mark:#x}"),
        "lookup",
        table_words(table)
    ]
}

/// The rule that leads packets of a mark to a table.
fn lead(to: (u32, u32), (v6, shell): (bool, &Shell)) -> Remedy {
    let (mark, table) = to;
    let what = format!(
        "the rule that leads mark {mark:#x} to table {}",
        table_words(table)
    );
    shell
        .change(what, rule_command("add", to, v6))
        .undone_by(rule_command("del", to, v6))
}

/// The rule, and the local route in its table.
fn lead_home(to: (u32, u32), (v6, shell): (bool, &Shell)) -> Remedy {
    let route = |act: &str| home_route(act, to.1, v6);
    let what = "the local route of a transparent proxy, and the rule that leads its mark there";
    shell
        .change(what, route("add"))
        .and(rule_command("add", to, v6))
        .undone_by(rule_command("del", to, v6))
        .undone_by(route("del"))
}

fn looks(routing: &Routing<'_>, (v6, shell): (bool, &Shell)) -> Vec<Remedy> {
    let mark = format!("{:#x}", routing.mark);
    vec![
        shell.look(
            "policy rules: is there one for the mark?",
            command![..ip(v6), "rule show"],
        ),
        shell.look(
            "where the mark leads now",
            command![..ip(v6), "route get", routing.dst, "mark", mark],
        ),
        text(
            "what made rule and route at start-up (the proxy's unit, a VPN client) has to make them again when the network daemon is restarted",
        ),
    ]
}

/// The rule that hands packets to a transparent proxy, where the chains were read.
fn given_by(loss: &Loss<'_>) -> Option<String> {
    let read = &loss.host.filters.get(&loss.netns()?)?.fact;
    let chains = read.chains.iter().flat_map(|chain| {
        let rules = chain.rules.iter();
        rules.map(move |rule| (chain, rule))
    });
    let hands = |text: &str| text.to_lowercase().contains("tproxy");
    chains
        .filter(|(_, rule)| hands(&rule.text))
        .map(|(chain, rule)| {
            format!(
                "rule {} of chain {}/{} hands packets to a transparent proxy: {}",
                rule.number, chain.table, chain.name, rule.text
            )
        })
        .next()
}
