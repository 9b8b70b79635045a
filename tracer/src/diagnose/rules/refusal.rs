//! A refusal by the routing tables in words and commands: which rule or route it was, and how to take it away.

use std::net::IpAddr;

use crate::host::Host;
use crate::host::facts::InterfaceAddress;
use crate::model::{Device, NetNs};

use super::super::causes::{Cause, ROUTE_BLACKHOLE, ROUTE_NONE, ROUTE_PROHIBIT, ROUTE_UNREACHABLE};
use super::super::loss::peer_of;
use super::super::policy::{self, Asked, Decision};
use super::super::remedy::{Remedy, Shell, command, ip, text};
use super::super::routing::{holds, network};

/// What refused a packet, as far as it could be read.
#[derive(Clone, Copy, Debug)]
pub struct Refusal<'a> {
    /// Why, in the end.
    pub cause: &'static Cause,
    /// The rule or the route; `None` where it was not read or does not fit what the kernel said.
    pub by: Option<Decision<'a>>,
    host: &'a Host,
    netns: Option<NetNs>,
    asked: Asked<'a>,
}

/// The cause that a refusing rule or route stands for.
fn cause_of(kind: &str) -> Option<&'static Cause> {
    match kind {
        "blackhole" => Some(&ROUTE_BLACKHOLE),
        "unreachable" => Some(&ROUTE_UNREACHABLE),
        "prohibit" => Some(&ROUTE_PROHIBIT),
        _ => None,
    }
}

impl<'a> Refusal<'a> {
    /// What the kernel said, and who may have been the reason. An unreachable rule gives the error of a missing route
    /// (fib4_rule_action and fib6_rule_action: ENETUNREACH).
    #[must_use]
    pub fn new(
        told: &'static Cause,
        host: &'a Host,
        netns: Option<NetNs>,
        asked: Asked<'a>,
    ) -> Self {
        let decision = netns.and_then(|ns| policy::decision(host, ns, &asked));
        let found = decision
            .and_then(|d| Some((d, cause_of(d.refusal()?)?)))
            .filter(|(_, cause)| {
                *cause == told || told == &ROUTE_NONE && *cause == &ROUTE_UNREACHABLE
            });
        Self {
            cause: found.map_or(told, |(_, cause)| cause),
            by: found.map(|(by, _)| by),
            host,
            netns,
            asked,
        }
    }

    /// `no route to 10.9.9.9`, `unreachable policy rule for 10.9.9.9 (90: from 10.0.0.7 unreachable)`.
    #[must_use]
    pub fn words(&self) -> String {
        let dst = self.asked.tuple.dst;
        let kind = self.cause.code.trim_start_matches("route.");
        match (self.by, self.netns) {
            (Some(Decision::Rule(rule)), _) => format!(
                "{kind} policy rule for {dst} (ip rule {}: {})",
                rule.priority,
                policy::rule_words(rule)
            ),
            (Some(Decision::Route(_, route)), Some(netns)) => format!(
                "{kind} route for {dst} ({})",
                policy::route_words(self.host, netns, route)
            ),
            _ if self.cause == &ROUTE_NONE => format!("no route to {dst}"),
            _ => format!("{kind} route for {dst}"),
        }
    }

    /// The entry, for the evidence.
    #[must_use]
    pub fn evidence(&self) -> Option<String> {
        match (self.by?, self.netns?) {
            (Decision::Rule(rule), _) => Some(format!(
                "policy rule {}: {} comes before any table that has a route",
                rule.priority,
                policy::rule_words(rule)
            )),
            (Decision::Route(rule, route), netns) => Some(format!(
                "the route is {}, by policy rule {}: {}",
                policy::route_words(self.host, netns, route),
                rule.priority,
                policy::rule_words(rule)
            )),
            (Decision::Nothing, _) => None,
        }
    }

    /// What to look at and to change. `iif`: source and interface of a packet that came in.
    #[must_use]
    pub fn advice(&self, shell: &Shell, iif: Option<(IpAddr, String)>) -> Vec<Remedy> {
        let dst = self.asked.tuple.dst;
        let ip = ip(dst.is_ipv6());
        let from = iif
            .into_iter()
            .flat_map(|(src, name)| ["from".to_owned(), src.to_string(), "iif".to_owned(), name]);
        let mut list = vec![shell.look(
            "what the kernel decides now",
            command![..ip, "route get", dst, ..from],
        )];
        match (self.by, self.netns) {
            (Some(Decision::Rule(rule)), _) => {
                let what = format!("pref {} {}", rule.priority, policy::rule_words(rule));
                list.extend([
                    shell.look("the policy rules", command![..ip, "rule"]),
                    shell
                        .change(
                            "delete the rule, if it should not match",
                            command![..ip, "rule del", ..what.split(' ')],
                        )
                        .undone_by(command![..ip, "rule add", ..what.split(' ')]),
                ]);
            }
            (Some(Decision::Route(_, route)), Some(netns)) => {
                let what = policy::route_words(self.host, netns, route);
                list.extend([
                    shell.look(
                        "routes of this kind",
                        command![..ip, "route show table all type", route.kind],
                    ),
                    shell
                        .change(
                            "delete the route, if it should not match",
                            command![..ip, "route del", ..what.split(' ')],
                        )
                        .undone_by(command![..ip, "route add", ..what.split(' ')]),
                ]);
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

    /// The route that is missing.
    fn missing(&self, shell: &Shell) -> Vec<Remedy> {
        let dst = self.asked.tuple.dst;
        let ip = ip(dst.is_ipv6());
        let look = shell.look("its routes", command![..ip, "route show table all"]);
        let way = self.netns.and_then(|netns| way_to(self.host, netns, dst));
        let add = match way {
            Some(way) => shell.change(
                format!("add the missing route: {dst} is there"),
                command![..ip, "route add", ..way.split(' ')],
            ),
            None => text(format!(
                "add the missing route: `{ip} route add {dst} via GATEWAY`, or a default route",
                ip = ip.join(" ")
            )),
        };
        vec![look, add]
    }
}

/// A way to an address that a neighbouring namespace owns, as `ip route` takes it: `10.0.0.0/24 dev eth1`, or
/// `10.0.0.0/24 via 10.1.0.2 dev eth1`.
#[must_use]
pub fn way_to(host: &Host, netns: NetNs, dst: IpAddr) -> Option<String> {
    let prefix = |owner: Device| {
        let own: &InterfaceAddress = host.addresses(owner).iter().find(|a| a.address == dst)?;
        Some(format!(
            "{}/{}",
            network(own.address, own.prefix),
            own.prefix
        ))
    };
    let here = |device: Device| peer_of(host, device).filter(|p| p.device.netns == netns);
    host.owners(dst).find_map(|owner| {
        let net = prefix(owner)?;
        if let Some(link) = here(owner) {
            return Some(format!("{net} dev {}", link.name));
        }
        host.links()
            .filter(|l| l.device.netns == owner.netns)
            .find_map(|l| {
                let link = here(l.device)?;
                let gateway = gateway_on(host, l.device, link.device, dst)?;
                Some(format!("{net} via {gateway} dev {}", link.name))
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
