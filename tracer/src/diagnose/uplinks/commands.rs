//! How answers are made to leave by the interface by which their requests came: a table, and a policy rule or a
//! connection mark that leads to it.

use std::net::IpAddr;

use crate::host::facts::{PolicyRule, TableRoute};
use crate::host::{Host, nft_string};
use crate::model::{Detail, Device, Direction, Event, IfIndex, NetNs};
use crate::network::filter::{Hook, Interface, Layer, Packet, Rules, states, walk};
use crate::network::route::{Decision, Passed, Step, Tables, lookup, rule_words, table_words};
use crate::uapi::rtnetlink::{RT_TABLE_LOCAL, RT_TABLE_MAIN};

use super::super::chain_commands;
use super::super::nat_commands::translators;
use super::super::remedy::{Command, Remedy, Shell, command, ip, text};
use super::super::route_commands::{self, Way, free_table};
use super::super::view::View;
use super::super::{routers, routing};
use super::Detour;

/// A command, and what takes it back where another step's undoing does not.
type Act = (Command, Option<Command>);

/// A table by which the answer would leave as the request came.
struct Table {
    number: u32,
    /// What makes it, where it is not there yet, and what takes it away.
    made: Option<Act>,
    /// It takes the place of the default route of the table main.
    default: bool,
}

pub(super) fn advice(view: &View<'_>, detour: &Detour<'_>) -> Vec<Remedy> {
    let host = view.host;
    let v6 = detour.routed.dst.is_ipv6();
    let shell = Shell::of(host, Some(detour.netns()));
    let came = host.interface(detour.came);
    let mut list = vec![
        shell.look(
            "look first: the policy rules, in the order in which they are asked",
            command![..ip(v6), "rule show"],
        ),
        shell.look(
            "which tables lead where",
            command![..ip(v6), "route show table all"],
        ),
    ];
    let translated = detour.routed.src != detour.left.src;
    if let Some(back) = straight_back(host, detour) {
        list.push(back);
        return list;
    }
    let Some(table) = table(view, detour) else {
        let from = match translated {
            true => format!(
                "a connection mark that is set on what comes in on {came} and restored on its answers, and `ip rule add fwmark MARK lookup TABLE`"
            ),
            false => format!("`ip rule add from {} lookup TABLE`", detour.routed.src),
        };
        list.push(text(format!(
            "give {} a table with a default route through the gateway of {came}, and have answers use it: {from}",
            host.namespace(detour.netns())
        )));
        return list;
    };
    list.extend(match (translated, detour.inside) {
        (true, Some(inside)) => match carried(host, detour, inside) {
            Some(mark) => by_mark(view, detour, mark, &table),
            None => by_connection(host, detour, &table, inside),
        },
        _ if let Some(filled) = by_own_rule(view, detour) => Some(filled),
        _ => {
            let from = detour.routed.src;
            let text = format!(
                "let what has source {from} leave through {came}, as requests to it come in"
            );
            by_source((host, detour.came), from, &table, text)
        }
    });
    list
}

/// Behind an interface that asks for no neighbours there is one machine, and what came from it goes back there.
fn straight_back(host: &Host, detour: &Detour<'_>) -> Option<Remedy> {
    let (netns, asker) = (detour.netns(), detour.routed.dst);
    let link = host.link(detour.came).filter(|link| link.noarp)?;
    let Decision::Route { route, .. } = lookup(&Tables::of(host, netns), &detour.query()).decision
    else {
        return None;
    };
    let way = Way {
        device: link.device,
        gateway: None,
        source: None,
    };
    let text = format!(
        "no route leads back to {asker} through {}, by which requests come in: add it",
        link.name
    );
    let shell = Shell::of(host, Some(netns));
    route_commands::towards(&shell, host, (asker, Some(route)), &way, text)
}

/// A table that has a route to the asker through the interface by which the request came; or what makes one.
fn table(view: &View<'_>, detour: &Detour<'_>) -> Option<Table> {
    let way = Through {
        host: view.host,
        device: detour.came,
        to: detour.routed.dst,
        router: None,
    };
    way.table(|| sender_of(view, detour))
}

/// A way to an address through an interface of which the routes may lead elsewhere.
struct Through<'a> {
    host: &'a Host,
    device: Device,
    to: IpAddr,
    /// By this router alone.
    router: Option<IpAddr>,
}

impl<'a> Through<'a> {
    /// Routes to the address through the interface, of one router where it has several.
    fn routes(&self) -> Vec<&'a TableRoute> {
        let (netns, ifindex) = (self.device.netns, self.device.ifindex);
        let known = self.host.towards.get(&(netns, self.to));
        known
            .into_iter()
            .flat_map(|dated| &dated.fact)
            .filter(|r| r.kind == "unicast" && r.oif.map(IfIndex) == Some(ifindex))
            .filter(|r| self.router.is_none() || r.gateway == self.router)
            .collect()
    }

    /// A table that has such a route; or what makes one. `router`: who is behind the interface, where no route tells.
    fn table(&self, router: impl FnOnce() -> Option<IpAddr>) -> Option<Table> {
        let routes = self.routes();
        let own = |r: &&&TableRoute| !matches!(r.table, RT_TABLE_MAIN | RT_TABLE_LOCAL);
        if let Some(route) = routes.iter().find(own) {
            return Some(Table {
                number: route.table,
                made: None,
                default: self.usual().is_none(),
            });
        }
        let number = free_table(self.rules(), 100 + self.device.ifindex.0);
        self.filled(number, router)
    }

    /// The route of the table main to the address, where that is no default route.
    fn usual(&self) -> Option<&'a TableRoute> {
        let known = self.host.towards.get(&(self.device.netns, self.to))?;
        let main = known.fact.iter().filter(|r| r.table == RT_TABLE_MAIN);
        main.max_by_key(|r| r.length).filter(|r| r.length > 0)
    }

    /// The policy rules of its family.
    fn rules(&self) -> &'a [PolicyRule] {
        let rules = (self.host.rules).get(&(self.device.netns, self.to.is_ipv6()));
        rules.map_or(&[][..], |dated| dated.fact.as_slice())
    }

    /// A table with this number, and what gives it such a route.
    fn filled(&self, number: u32, router: impl FnOnce() -> Option<IpAddr>) -> Option<Table> {
        let (host, v6) = (self.host, self.to.is_ipv6());
        let way = self.way(&self.routes(), router)?;
        let route = |verb: &'static str| {
            let (way, onlink) = match way.split_last() {
                Some((last, rest)) if last == "onlink" => (rest, Some("onlink")),
                _ => (way.as_slice(), None),
            };
            command![
                ..ip(v6),
                "route",
                verb,
                ..way,
                "dev",
                host.interface(self.device),
                ..onlink,
                "table",
                number
            ]
        };
        Some(Table {
            number,
            made: Some((route("add"), Some(route("del")))),
            default: self.usual().is_none(),
        })
    }

    /// The route, as `ip route` takes it.
    fn way(
        &self,
        routes: &[&TableRoute],
        router: impl FnOnce() -> Option<IpAddr>,
    ) -> Option<Vec<String>> {
        if let Some(own) = self.host.near(self.device, self.to) {
            let network = routing::network(own.address, own.prefix);
            return Some(vec![format!("{network}/{}", own.prefix)]);
        }
        let gateway = routes.iter().find_map(|r| r.gateway).or_else(router)?;
        // No network of the interface has it: the route says that it is on the link all the same.
        let onlink = self.host.near(self.device, gateway).is_none();
        // Others are led as they are.
        let to = self.usual().map_or_else(
            || "default".to_owned(),
            |usual| format!("{}/{}", usual.prefix, usual.length),
        );
        let way = [to, "via".to_owned(), gateway.to_string()];
        Some(
            way.into_iter()
                .chain(onlink.then(|| "onlink".to_owned()))
                .collect(),
        )
    }
}

/// What a namespace sends from an address made to leave by this interface, where a route or a table leads there.
#[must_use]
pub fn leaving_by(host: &Host, device: Device, (from, to): (IpAddr, IpAddr)) -> Option<Remedy> {
    let way = Through {
        host,
        device,
        to,
        router: None,
    };
    let table = way.table(|| None)?;
    let text = format!(
        "let what has source {from} leave through {}, which has the address",
        host.interface(device)
    );
    by_source((host, device), from, &table, text)
}

/// What a namespace sends from an address made to leave by the router of that address, of several behind one interface.
#[must_use]
pub fn leaving_by_router(
    host: &Host,
    (device, router): (Device, IpAddr),
    (from, to): (IpAddr, IpAddr),
) -> Option<Remedy> {
    let way = Through {
        host,
        device,
        to,
        router: Some(router),
    };
    let table = way.table(|| None)?;
    let text = format!("let what has source {from} leave by {router}, the router of its network");
    by_source((host, device), from, &table, text)
}

/// The address of the router that handed the request over, as neighbour discovery told it during the trace, or as
/// another traced namespace has it.
fn sender_of(view: &View<'_>, detour: &Detour<'_>) -> Option<IpAddr> {
    let of_family = |address: &IpAddr| address.is_ipv4() == detour.asked.dst.is_ipv4();
    let at_door = |e: &&Event| e.device == Some(detour.came) && matches!(e.detail, Detail::Ingress);
    let mac = view
        .journeys(Direction::Forward)
        .flat_map(|j| &j.steps)
        .map(|s| &s.event)
        .filter(at_door)
        .find_map(|e| Some(e.packet.as_ref()?.ethernet?.src))?;
    let near = |address: &&IpAddr| view.host.near(detour.came, **address).is_some();
    let all = routers::addresses_of(view, detour.came, mac);
    let all: Vec<IpAddr> = all.into_iter().filter(of_family).collect();
    all.iter().find(near).or(all.first()).copied()
}

/// Packets find their way by their source.
fn by_source(
    (host, device): (&Host, Device),
    from: IpAddr,
    table: &Table,
    text: String,
) -> Option<Remedy> {
    let rule = |verb: &'static str| {
        command![
            ..ip(from.is_ipv6()),
            "rule",
            verb,
            "from",
            from,
            "lookup",
            table.number
        ]
    };
    let mut steps = vec![(rule("add"), Some(rule("del")))];
    if table.default {
        steps.push(keeping(from.is_ipv6(), ["from", &from.to_string()]));
    }
    let change = change(&Shell::of(host, Some(device.netns)), table, steps, text)?;
    Some(change.scope(format!("all that leaves with source {from}")))
}

/// Has the table main asked first for what it leads by more than a default route: neighbours and the own networks. The kernel
/// puts a rule without a number before those that are there.
fn keeping(v6: bool, selector: [&str; 2]) -> Act {
    let rule = |verb: &'static str| {
        let selector = selector.map(str::to_owned);
        command![
            ..ip(v6),
            "rule",
            verb,
            ..selector,
            "lookup main suppress_prefixlength 0"
        ]
    };
    (rule("add"), Some(rule("del")))
}

/// A policy rule for the answer's source leads to a table without a route for it: as where an interface was taken down and raised
/// again, and with it went its routes.
fn by_own_rule(view: &View<'_>, detour: &Detour<'_>) -> Option<Remedy> {
    let (host, netns) = (view.host, detour.netns());
    let trail = lookup(&Tables::of(host, netns), &detour.query()).trail;
    let empty = |step: &&Step<'_>| step.rule.src.is_some() && step.passed == Passed::NoRoute;
    let rule = trail.iter().find(empty)?.rule;
    let way = Through {
        host,
        device: detour.came,
        to: detour.routed.dst,
        router: None,
    };
    let table = way.filled(rule.table, || sender_of(view, detour))?;
    let text = format!(
        "policy rule {} ({}) leads to table {}, which has no route for the answer: add it",
        rule.priority,
        rule_words(rule),
        table_words(rule.table)
    );
    change(&Shell::of(host, Some(netns)), &table, Vec::new(), text)
}

/// The mark that rules give the answers already, from that of their connection.
fn carried(host: &Host, detour: &Detour<'_>, inside: Device) -> Option<u32> {
    let rules = Rules::of(&host.filters.get(&detour.netns())?.fact);
    let behind = |tuple, device, states, connection_mark| {
        let packet = Packet {
            tuple: Some(tuple),
            iif: Interface::Named(host.interface(device)),
            states: Some(states),
            mark: Some(0),
            connection_mark: Some(connection_mark),
            ..Packet::default()
        };
        let hook = Hook {
            layer: Layer::Ip,
            name: "PREROUTING",
            engine: None,
        };
        let walked = walk(&rules, &packet, hook);
        walked.mark.zip(walked.connection_mark)
    };
    let (_, kept) = behind(detour.asked, detour.came, states::NEW, 0)?;
    let (mark, _) = behind(detour.routed, inside, states::ESTABLISHED, kept)?;
    (mark != 0).then_some(mark)
}

/// Answers have a mark, and it leads nowhere: no policy rule asks for it, or the table to which one leads is empty.
fn by_mark(view: &View<'_>, detour: &Detour<'_>, mark: u32, table: &Table) -> Option<Remedy> {
    let host = view.host;
    let way = Through {
        host,
        device: detour.came,
        to: detour.routed.dst,
        router: None,
    };
    let came = host.interface(detour.came);
    let shell = Shell::of(host, Some(detour.netns()));
    let asks = |rule: &&PolicyRule| rule.asks_for(mark) && rule.action == "lookup";
    let scope = format!("all that has the mark {mark:#x}");
    let Some(rule) = way.rules().iter().find(asks) else {
        let v6 = detour.routed.dst.is_ipv6();
        let number = table.number;
        let rule = |verb: &'static str| {
            let mark = format!("{mark:#x}");
            command![..ip(v6), "rule", verb, "fwmark", mark, "lookup", number]
        };
        let steps = vec![(rule("add"), Some(rule("del")))];
        let text = format!(
            "answers to what comes in on {came} have the mark {mark:#x}, and no policy rule asks for it: add the one that leads to a table with a route through {came}"
        );
        return Some(change(&shell, table, steps, text)?.scope(scope));
    };
    if way.routes().iter().any(|route| route.table == rule.table) {
        return None;
    }
    let table = way.filled(rule.table, || sender_of(view, detour))?;
    let text = format!(
        "answers to what comes in on {came} have the mark {mark:#x}, and table {}, to which its policy rule leads, has no route for them: add it",
        table_words(rule.table)
    );
    Some(change(&shell, &table, Vec::new(), text)?.scope(scope))
}

/// Answers of connections that came in by the interface find their way by a mark: they are routed with the source of
/// whoever answers, who may answer requests of several uplinks.
fn by_connection(
    host: &Host,
    detour: &Detour<'_>,
    table: &Table,
    inside: Device,
) -> Option<Remedy> {
    let v6 = detour.routed.dst.is_ipv6();
    let (came, inside) = (host.interface(detour.came), host.interface(inside));
    let ready = marked(host, detour.netns(), v6, table.number);
    let mark = ready.unwrap_or(table.number);
    let rule = |verb: &'static str| {
        command![
            ..ip(v6),
            "rule",
            verb,
            "fwmark",
            format!("{mark:#x}"),
            "lookup",
            table.number
        ]
    };
    let mut steps = Vec::new();
    if ready.is_none() {
        steps.push((rule("add"), Some(rule("del"))));
        if table.default {
            steps.push(keeping(v6, ["fwmark", &format!("{mark:#x}")]));
        }
    }
    let chains = translators(host, detour.netns(), v6);
    match chain_commands::program_of(&chains) {
        None if !chains.is_empty() => steps.extend(marks_by_nft(v6, mark, &came, &inside)),
        program => {
            let program = program.unwrap_or_else(|| chain_commands::default_program(v6).to_owned());
            steps.extend(marks_by_iptables(&program, mark, &came, &inside));
        }
    }
    let text = format!(
        "mark connections that come in on {came}, and let their answers leave there (new connections): a connection mark, and an ip rule for it"
    );
    let change = change(&Shell::of(host, Some(detour.netns())), table, steps, text)?;
    Some(change.scope(format!(
        "all connections that come in on {came} and are answered through {inside}"
    )))
}

/// Both rules at the end of the table for marks.
fn marks_by_iptables(program: &str, mark: u32, came: &str, inside: &str) -> [Act; 2] {
    let set = |verb: &'static str| {
        command![
            program,
            "-t mangle",
            verb,
            "PREROUTING -i",
            came,
            "-m conntrack --ctstate NEW -j CONNMARK --set-mark",
            format!("{mark:#x}")
        ]
    };
    let restore = |verb: &'static str| {
        command![
            program,
            "-t mangle",
            verb,
            "PREROUTING -i",
            inside,
            "-j CONNMARK --restore-mark"
        ]
    };
    [
        (set("-A"), Some(set("-D"))),
        (restore("-A"), Some(restore("-D"))),
    ]
}

/// Both rules in a table of their own.
fn marks_by_nft(v6: bool, mark: u32, came: &str, inside: &str) -> Vec<Act> {
    const TABLE: &str = "uplinks";
    let family = if v6 { "ip6" } else { "ip" };
    let rule = |text: String| command!["nft add rule", family, TABLE, "prerouting", text];
    let chain = "{ type filter hook prerouting priority mangle; }";
    vec![
        (
            command!["nft add table", family, TABLE],
            Some(command!["nft delete table", family, TABLE]),
        ),
        (
            command![
                "nft add chain",
                family,
                TABLE,
                "prerouting",
                chain.to_owned()
            ],
            None,
        ),
        (
            rule(format!(
                "iifname {} ct state new ct mark set {mark:#x}",
                nft_string(came)
            )),
            None,
        ),
        (
            rule(format!(
                "iifname {} meta mark set ct mark",
                nft_string(inside)
            )),
            None,
        ),
    ]
}

/// The mark for which a policy rule already asks the table.
fn marked(host: &Host, netns: NetNs, v6: bool, table: u32) -> Option<u32> {
    let rules = &host.rules.get(&(netns, v6))?.fact;
    let alone = |rule: &&PolicyRule| {
        rule.action == "lookup"
            && rule.table == table
            && !rule.inverted
            && rule.src.is_none()
            && rule.iif.is_none()
    };
    rules.iter().filter(alone).find_map(|rule| rule.mark)
}

/// Several steps as one change: first the table, where it has to be made.
fn change(shell: &Shell, table: &Table, steps: Vec<Act>, text: String) -> Option<Remedy> {
    let mut all = table.made.iter().cloned().chain(steps);
    let (first, undo) = all.next()?;
    let mut undone: Vec<Command> = undo.into_iter().collect();
    let mut change = shell.change(text, first);
    for (step, undo) in all {
        change = change.and(step);
        undone.extend(undo);
    }
    Some(undone.into_iter().rev().fold(change, Remedy::undone_by))
}
