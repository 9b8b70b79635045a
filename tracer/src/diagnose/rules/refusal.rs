//! A refusal by the routing tables in words and commands: which rule or route it was, and how to take it away.

use std::net::IpAddr;

use crate::host::Host;
use crate::host::facts::{InterfaceAddress, Link, NextHop, TableRoute};
use crate::model::clean::one_word;
use crate::model::{Device, NetNs};
use crate::network::bridging::bridge_of;
use crate::network::links::peer_of;
use crate::network::neighbour;
use crate::network::route::{
    self, Decision, LOOPBACK, Query, Tables, errno_words, lookup, route_words, rule_words,
    table_words,
};

use super::super::advertisements::Ignored;
use super::super::causes::{Cause, ROUTE_BLACKHOLE, ROUTE_NONE, ROUTE_PROHIBIT, ROUTE_UNREACHABLE};
use super::super::gateways;
use super::super::remedy::{Remedy, Shell, command, ip, text};
use super::super::route_commands;
use super::super::routing::{holds, network};
use crate::uapi::rtnetlink::RT_TABLE_MAIN;

/// What refused a packet, as far as it could be read.
#[derive(Clone, Debug)]
pub struct Refusal<'a> {
    /// Why, in the end.
    pub cause: &'static Cause,
    /// The rule or the route; `None` where it was not read or does not fit what the kernel said.
    pub by: Option<Decision<'a>>,
    host: &'a Host,
    netns: Option<NetNs>,
    query: Query,
    /// Who gave it to the namespace.
    handed_by: Option<NetNs>,
}

/// The cause that a refusing rule or route stands for.
const fn cause_of(kind: route::Refusal) -> &'static Cause {
    match kind {
        route::Refusal::Blackhole => &ROUTE_BLACKHOLE,
        route::Refusal::Unreachable => &ROUTE_UNREACHABLE,
        route::Refusal::Prohibit => &ROUTE_PROHIBIT,
    }
}

impl<'a> Refusal<'a> {
    /// What the kernel said, and who may have been the reason. An unreachable rule gives the error of a missing route
    /// (fib4_rule_action and fib6_rule_action: ENETUNREACH).
    #[must_use]
    pub fn new(told: &'static Cause, host: &'a Host, netns: Option<NetNs>, query: Query) -> Self {
        let decision = netns.map(|ns| lookup(&Tables::of(host, ns), &query).decision);
        let found = decision
            .and_then(|d| Some((cause_of(d.refusal()?), d)))
            .filter(|(cause, _)| {
                *cause == told || told == &ROUTE_NONE && *cause == &ROUTE_UNREACHABLE
            });
        Self {
            cause: found.as_ref().map_or(told, |(cause, _)| cause),
            by: found.map(|(_, by)| by),
            host,
            netns,
            query,
            handed_by: None,
        }
    }

    /// With the namespace that sent the packet to the one that refused it: a route back there helps nobody.
    #[must_use]
    pub fn handed_by(self, handed_by: Option<NetNs>) -> Self {
        Self { handed_by, ..self }
    }

    /// `no route to 10.9.9.9`, `unreachable policy rule for 10.9.9.9 (90: from 10.0.0.7 unreachable)`.
    #[must_use]
    pub fn words(&self) -> String {
        let dst = self.query.tuple.dst;
        let kind = self.cause.code.trim_start_matches("route.");
        match (&self.by, self.netns) {
            (Some(Decision::RefusedByRule(rule, _)), _) => format!(
                "{kind} policy rule for {dst} (ip rule {}: {})",
                rule.priority,
                rule_words(rule)
            ),
            (Some(Decision::RefusedByRoute(_, route, _)), Some(netns)) => format!(
                "{kind} route for {dst} ({})",
                route_words(self.host, netns, route)
            ),
            _ if self.cause == &ROUTE_NONE => match self.ignored() {
                Some(ignored) => format!("no route to {dst} ({})", ignored.words()),
                None => match self.unasked() {
                    Some(route) => format!(
                        "no route to {dst} (table {} has one, and no policy rule leads to that table)",
                        table_words(route.table)
                    ),
                    None => format!("no route to {dst}"),
                },
            },
            _ => format!("{kind} route for {dst}"),
        }
    }

    /// The entry, for the evidence.
    #[must_use]
    pub fn evidence(&self) -> Option<String> {
        match (self.by.as_ref()?, self.netns?) {
            (Decision::RefusedByRule(rule, _), _) => Some(format!(
                "policy rule {}: {} comes before any table that has a route",
                rule.priority,
                rule_words(rule)
            )),
            (Decision::RefusedByRoute(rule, route, _), netns) => Some(format!(
                "the route is {}, by policy rule {}: {}",
                route_words(self.host, netns, route),
                rule.priority,
                rule_words(rule)
            )),
            _ => self.ignored().map(|ignored| ignored.evidence()),
        }
    }

    /// The interface that ignores router advertisements, where the route is missing that would come with them.
    fn ignored(&self) -> Option<Ignored<'a>> {
        let netns = self.netns.filter(|_| self.query.tuple.dst.is_ipv6())?;
        Ignored::only(self.host, netns).filter(|_| self.cause == &ROUTE_NONE && self.by.is_none())
    }

    /// A route to the destination in a table to which no policy rule leads.
    fn unasked(&self) -> Option<&'a TableRoute> {
        let (netns, dst) = (self.netns?, self.query.tuple.dst);
        let rules = &self.host.rules.get(&(netns, dst.is_ipv6()))?.fact;
        let routes = &self.host.towards.get(&(netns, dst))?.fact;
        let asked = |table: u32| rules.iter().any(|rule| rule.table == table || rule.l3mdev);
        let sourced = !self.query.tuple.src.is_unspecified();
        let mut unasked = routes.iter().filter(|route| {
            let sayable = sourced || route.table == RT_TABLE_MAIN;
            route.kind == "unicast" && !asked(route.table) && sayable
        });
        unasked.next().filter(|_| self.by.is_none())
    }

    /// The rule that is missing: for the table main where the kernel has it, else for what has this source.
    fn asking(&self, shell: &Shell, (netns, route): (NetNs, &TableRoute)) -> Remedy {
        let (v6, table) = (self.query.tuple.dst.is_ipv6(), table_words(route.table));
        let selector = match route.table {
            RT_TABLE_MAIN => ["pref".to_owned(), "32766".to_owned()],
            _ => ["from".to_owned(), self.query.tuple.src.to_string()],
        };
        let rule =
            |verb: &'static str| command![..ip(v6), "rule", verb, ..&selector, "lookup", table];
        let text = format!(
            "add the policy rule that leads to table {table}, which has the route {}",
            route_words(self.host, netns, route)
        );
        shell.change(text, rule("add")).undone_by(rule("del"))
    }

    /// What to look at and to change. `iif`: source and interface of a packet that came in.
    #[must_use]
    pub fn advice(&self, shell: &Shell, iif: Option<(IpAddr, String)>) -> Vec<Remedy> {
        let dst = self.query.tuple.dst;
        let ip = ip(dst.is_ipv6());
        let from = iif
            .into_iter()
            .flat_map(|(src, name)| ["from".to_owned(), src.to_string(), "iif".to_owned(), name]);
        // Root's own lookups pass rules for others by.
        let uid = self.query.uid.filter(|uid| *uid != 0);
        let user = uid
            .into_iter()
            .flat_map(|uid| ["uid".to_owned(), uid.to_string()]);
        let mut list = vec![shell.look(
            "what the kernel decides now",
            command![..ip, "route get", dst, ..from, ..user],
        )];
        match (&self.by, self.netns) {
            (Some(Decision::RefusedByRule(rule, _)), _) => {
                list.extend([
                    shell.look("the policy rules", command![..ip, "rule"]),
                    route_commands::delete_rule(
                        shell,
                        dst.is_ipv6(),
                        rule,
                        "delete the rule, if it should not match",
                    ),
                ]);
            }
            (Some(Decision::RefusedByRoute(_, route, _)), Some(netns)) => {
                list.push(shell.look(
                    "routes of this kind",
                    command![..ip, "route show table all type", route.kind],
                ));
                list.push(self.without(shell, netns, route));
            }
            _ if self.cause == &ROUTE_NONE => list.extend(self.missing(shell)),
            _ => {
                let kind = self.cause.code.trim_start_matches("route.");
                list.extend([
                    shell.look("its routes", command![..ip, "route show table all"]),
                    shell.look("policy rules", command![..ip, "rule"]),
                    text(format!(
                        "remove what should not match: `{ip} route del {kind} PREFIX`, or `{ip} rule del`",
                        ip = ip.join(" ")
                    )),
                ]);
            }
        }
        list
    }

    /// The route deleted, where another one is used then.
    fn without(&self, shell: &Shell, netns: NetNs, refusing: &TableRoute) -> Remedy {
        let tables = Tables::of(self.host, netns);
        let words = route_words(self.host, netns, refusing);
        let then = lookup(&tables.without(refusing), &self.query).decision;
        if let Some(own) = self.of_its_own(shell, netns, refusing, &then) {
            return own;
        }
        if let Some(moved) = self.behind_gateway(shell, (netns, refusing), &then) {
            return moved;
        }
        if let Some(back) = self.back(netns, &then) {
            return text(format!(
                "do not just delete {words}: {back}. A route to where {dst} is is missing, or {dst} is not in use",
                dst = self.query.tuple.dst
            ));
        }
        let then = match then {
            Decision::Route { route, .. } => {
                let other = route_words(self.host, netns, route);
                format!("the route {other} is used then")
            }
            Decision::OnLink(ifindex) => {
                let name = self.host.interface(Device { netns, ifindex });
                format!("it is sent on {name} then")
            }
            Decision::Undecided(_) => "which route is used then is not known".to_owned(),
            other => {
                let error = other.errno().map_or_else(String::new, errno_words);
                return text(format!(
                    "to delete {words} is not enough, no other route leads there then ({error}): add one"
                ));
            }
        };
        let what = format!("delete the route, if it should not match: {then}");
        route_commands::delete(shell, (self.host, netns), refusing, what).unwrap_or_else(|| {
            text(format!(
                "delete the route {words}, if it should not match: {then}"
            ))
        })
    }

    /// A route for the destination alone, where a neighbour of this namespace owns it, and the route that would be used
    /// without the refusing one leads elsewhere: the refusing one is the last resort for a network of which it is a part.
    fn of_its_own(
        &self,
        shell: &Shell,
        netns: NetNs,
        refusing: &TableRoute,
        then: &Decision<'_>,
    ) -> Option<Remedy> {
        let (host, dst) = (self.host, self.query.tuple.dst);
        let lead = lead_to(host, netns, dst)?;
        let same = |hop: &NextHop| hop.oif == Some(lead.link.device.ifindex.0);
        let elsewhere = match then {
            Decision::Route { hops, .. } => !hops.iter().all(same),
            Decision::Nothing | Decision::RefusedByRoute(..) => true,
            Decision::OnLink(_) | Decision::RefusedByRule(..) | Decision::Undecided(_) => false,
        };
        if !elsewhere {
            return None;
        }
        let way = route_commands::Way {
            device: lead.link.device,
            gateway: lead.gateway,
            source: None,
        };
        let missing = format!(
            "add the route that is missing: {dst} is behind {}, and {} is the last resort",
            lead.link.name,
            route_words(host, netns, refusing)
        );
        route_commands::towards(shell, host, (dst, Some(refusing)), &way, missing)
    }

    /// A route for the destination alone by the only machine around that carries it on, where the refusing one is for a network that
    /// has others too: as the block of a node, of which one address moved to another node.
    fn behind_gateway(
        &self,
        shell: &Shell,
        (netns, refusing): (NetNs, &TableRoute),
        then: &Decision<'_>,
    ) -> Option<Remedy> {
        let (host, tuple) = (self.host, self.query.tuple);
        let bits = if tuple.dst.is_ipv6() { 128 } else { 32 };
        let gateway = gateways::only(host, (self.handed_by, netns), tuple)?;
        let leads = |hop: &NextHop| hop.gateway == Some(gateway.address);
        let there = matches!(then, Decision::Route { hops, .. } if hops.iter().all(leads));
        if refusing.length == bits || there {
            return None;
        }
        let way = route_commands::Way {
            device: gateway.out.device,
            gateway: Some(gateway.address),
            source: None,
        };
        let text = format!(
            "add a route for this address: {}",
            gateway.words(host, tuple.dst)
        );
        route_commands::towards(shell, host, (tuple.dst, Some(refusing)), &way, text)
    }

    /// Where the packet would go back by the interface on which it came, to the machine that sent it here: a loop.
    fn back(&self, netns: NetNs, then: &Decision<'_>) -> Option<String> {
        let Decision::Route { route, hops, .. } = then else {
            return None;
        };
        let came = self.query.iif.filter(|iif| *iif != LOOPBACK)?;
        let gateway = |hop: &NextHop| hop.gateway.is_some() && hop.oif == Some(came.0);
        let back = !hops.is_empty() && hops.iter().all(gateway);
        back.then(|| {
            format!(
                "{} would send it back by {}, on which it came",
                route_words(self.host, netns, route),
                self.host.interface(Device {
                    netns,
                    ifindex: came
                })
            )
        })
    }

    /// The route that is missing.
    fn missing(&self, shell: &Shell) -> Vec<Remedy> {
        let dst = self.query.tuple.dst;
        let ip = ip(dst.is_ipv6());
        if let Some(unasked) = self.netns.zip(self.unasked()) {
            let look = shell.look("the policy rules", command![..ip, "rule show"]);
            return vec![look, self.asking(shell, unasked)];
        }
        let look = shell.look("its routes", command![..ip, "route show table all"]);
        let lost = self.netns.and_then(|netns| self.lost_address(netns, shell));
        if let Some(lost) = lost {
            return vec![look, lost];
        }
        let route = |way: &str, text: String| {
            let words = |act: &str| command![..ip, "route", act, ..way.split(' ')];
            shell.change(text, words("add")).undone_by(words("del"))
        };
        if let Some(ignored) = self.ignored() {
            return vec![look, ignored.taken(shell)];
        }
        let lead = self.netns.and_then(|netns| lead_to(self.host, netns, dst));
        if let Some(lead) = lead {
            let text = format!("add the missing route: {dst} is there");
            return vec![look, route(&lead.spec(), text)];
        }
        let general = text(format!(
            "add the missing route: `{ip} route add {dst} via GATEWAY`, or a default route",
            ip = ip.join(" ")
        ));
        let gateway = self
            .netns
            .and_then(|netns| gateways::only(self.host, (self.handed_by, netns), self.query.tuple));
        let Some(gateway) = gateway else {
            return vec![look, general];
        };
        let way = format!("{dst} via {} dev {}", gateway.address, gateway.out.name);
        let text = format!(
            "add a route for this address: {}",
            gateway.words(self.host, dst)
        );
        vec![look, route(&way, text)]
    }
}

impl Refusal<'_> {
    /// The address that an interface here has lost: the owner of the destination is at its other end, and sends its
    /// answers to a gateway in their network that nobody has. Without it a route alone would not do.
    pub(in super::super) fn lost_address(&self, netns: NetNs, shell: &Shell) -> Option<Remedy> {
        let (host, tuple) = (self.host, self.query.tuple);
        host.owners(tuple.dst).find_map(|owner| {
            let link = attached(host, owner).filter(|link| link.device.netns == netns)?;
            let own = host
                .addresses(owner)
                .iter()
                .find(|a| a.address == tuple.dst)?;
            let within = |address: IpAddr| holds(own.address, own.prefix, address);
            let towards = &host.towards.get(&(owner.netns, tuple.src))?.fact;
            let gateway = towards.first()?.gateway.filter(|g| within(*g))?;
            let has_one = host
                .addresses(link.device)
                .iter()
                .any(|a| within(a.address));
            if has_one || !neighbour::owners(host, owner, gateway).is_empty() {
                return None;
            }
            let address = format!("{gateway}/{}", own.prefix);
            let words = |act: &str| command!["ip addr", act, address, "dev", link.name];
            let change = shell.change(
                format!(
                    "give {} its address again: {} sends answers to {gateway}, which nobody has",
                    link.name,
                    host.namespace(owner.netns)
                ),
                words("add"),
            );
            Some(change.undone_by(words("del")))
        })
    }
}

/// The interface at the other end of a cable: the bridge, where that end is a port of one.
pub(in super::super) fn attached(host: &Host, end: Device) -> Option<&Link> {
    let peer = peer_of(host, end)?;
    bridge_of(host, peer.device).or(Some(peer))
}

/// The way to an address that a neighbouring namespace owns.
pub(in super::super) struct Lead<'a> {
    /// The owner's network.
    network: String,
    /// The neighbour's address on the link; `None`: the owner itself is at its other end.
    pub gateway: Option<IpAddr>,
    /// The interface that leads there.
    pub link: &'a Link,
}

impl Lead<'_> {
    /// As `ip route` takes it: `10.0.0.0/24 dev eth1`, or `10.0.0.0/24 via 10.1.0.2 dev eth1`.
    fn spec(&self) -> String {
        let name = one_word(&self.link.name);
        match self.gateway {
            Some(gateway) => format!("{} via {gateway} dev {name}", self.network),
            None => format!("{} dev {name}", self.network),
        }
    }
}

/// The way from a namespace to an address that one of its neighbours owns.
pub(in super::super) fn lead_to(host: &Host, netns: NetNs, dst: IpAddr) -> Option<Lead<'_>> {
    let network = |owner: Device| {
        let own: &InterfaceAddress = host.addresses(owner).iter().find(|a| a.address == dst)?;
        Some(format!(
            "{}/{}",
            network(own.address, own.prefix),
            own.prefix
        ))
    };
    let here = |device: Device| attached(host, device).filter(|l| l.device.netns == netns);
    host.owners(dst).find_map(|owner| {
        let network = network(owner)?;
        if let Some(link) = here(owner) {
            return Some(Lead {
                network,
                gateway: None,
                link,
            });
        }
        host.links()
            .filter(|l| l.device.netns == owner.netns)
            .find_map(|l| {
                let link = here(l.device)?;
                let gateway = gateway_on(host, l.device, link.device, dst)?;
                Some(Lead {
                    network: network.clone(),
                    gateway: Some(gateway),
                    link,
                })
            })
    })
}

/// An address of `there` that `here` reaches directly, of the family of `like`.
fn gateway_on(host: &Host, there: Device, here: Device, like: IpAddr) -> Option<IpAddr> {
    host.addresses(there)
        .iter()
        .map(|a| a.address)
        .filter(|a| a.is_ipv4() == like.is_ipv4())
        .find(|a| {
            host.addresses(here)
                .iter()
                .any(|own| holds(own.address, own.prefix, *a))
        })
}
