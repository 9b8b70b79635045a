//! The rules, routes and settings of one namespace, as they were read or as they would be after changes.

use std::cmp::Reverse;
use std::net::IpAddr;

use crate::host::Host;
use crate::host::facts::{Link, PolicyRule, Question, TableRoute};
use crate::host::tables::MANY;
use crate::model::{Device, IfIndex, NetNs};

use super::{LOOPBACK, RT_TABLE_DEFAULT, RT_TABLE_LOCAL, RT_TABLE_MAIN, Unknown};

/// A change that is only thought of.
#[derive(Clone, Copy, Debug)]
pub enum Change<'a> {
    /// A route is deleted.
    WithoutRoute(&'a TableRoute),
    /// A route is added.
    Route(&'a TableRoute),
    /// A rule is deleted.
    WithoutRule(&'a PolicyRule),
    /// A rule of a family (`true`: IPv6) is added.
    Rule(bool, &'a PolicyRule),
    /// A sysctl gets a value.
    Sysctl(&'a str, &'a str),
}

/// What decides about routes in a namespace.
#[derive(Clone, Debug)]
pub struct Tables<'a> {
    host: &'a Host,
    netns: NetNs,
    changes: Vec<Change<'a>>,
}

impl<'a> Tables<'a> {
    /// As they were read.
    #[must_use]
    pub const fn of(host: &'a Host, netns: NetNs) -> Self {
        Self {
            host,
            netns,
            changes: Vec::new(),
        }
    }

    /// As they would be after one more change.
    #[must_use]
    pub fn after(&self, change: Change<'a>) -> Self {
        let mut changed = self.clone();
        changed.changes.push(change);
        changed
    }

    /// As they would be without a route.
    #[must_use]
    pub fn without(&self, route: &'a TableRoute) -> Self {
        self.after(Change::WithoutRoute(route))
    }

    /// As they would be without a rule.
    #[must_use]
    pub fn without_rule(&self, rule: &'a PolicyRule) -> Self {
        self.after(Change::WithoutRule(rule))
    }

    /// The namespace.
    #[must_use]
    pub const fn netns(&self) -> NetNs {
        self.netns
    }

    /// The host.
    #[must_use]
    pub const fn host(&self) -> &'a Host {
        self.host
    }

    /// Policy rules of a family, in order.
    pub(super) fn rules(&self, v6: bool) -> Result<Vec<&'a PolicyRule>, Unknown> {
        let netns = self.netns;
        let read = self.host.rules.get(&(netns, v6));
        let read = read.ok_or(Unknown::Unread(Question::Rules { netns, v6 }))?;
        let mut rules: Vec<&PolicyRule> = read.fact.iter().collect();
        for change in &self.changes {
            match change {
                Change::WithoutRule(rule) => {
                    if let Some(at) = rules.iter().position(|r| r == rule) {
                        rules.remove(at);
                    }
                }
                Change::Rule(family, rule) if *family == v6 => {
                    let at = rules.partition_point(|r| r.priority <= rule.priority);
                    rules.insert(at, rule);
                }
                _ => {}
            }
        }
        Ok(rules)
    }

    /// Routes of all tables that hold an address: longest prefix first, then as the kernel keeps them
    /// (fib_find_alias: type of service, then metric; fib6_add_rt2node: metric).
    pub(super) fn routes(&self, dst: IpAddr) -> Result<Vec<&'a TableRoute>, Unknown> {
        let netns = self.netns;
        let read = self.host.towards.get(&(netns, dst));
        let read = read.ok_or(Unknown::Unread(Question::RoutesTowards { netns, dst }))?;
        if read.fact.len() >= MANY {
            let why = format!("more than {MANY} routes hold {dst}, and not all were read");
            return Err(Unknown::because(why));
        }
        let mut routes: Vec<&TableRoute> = read.fact.iter().collect();
        for change in &self.changes {
            match change {
                Change::WithoutRoute(route) => {
                    if let Some(at) = routes.iter().position(|r| r == route) {
                        routes.remove(at);
                    }
                }
                Change::Route(route) if route.holds(dst) => routes.push(route),
                _ => {}
            }
        }
        routes.sort_by_key(|route| (Reverse(route.length), Reverse(route.tos), route.metric));
        Ok(routes)
    }

    /// A sysctl's value.
    pub(super) fn sysctl(&self, name: &str) -> Option<&'a str> {
        let changed = self.changes.iter().rev().find_map(|change| match change {
            Change::Sysctl(of, value) if *of == name => Some(*value),
            _ => None,
        });
        let read = || {
            let key = (self.netns, name.to_owned());
            self.host.sysctls.get(&key)?.fact.as_deref()
        };
        changed.or_else(read)
    }

    /// A sysctl's value as a number, or what to ask.
    pub(super) fn number(&self, name: &str) -> Result<u32, Unknown> {
        let value = self.sysctl(name).and_then(|value| value.parse().ok());
        value.ok_or_else(|| {
            Unknown::Unread(Question::Sysctl {
                netns: self.netns,
                name: name.to_owned(),
            })
        })
    }

    /// An interface of the namespace.
    pub(super) fn link(&self, ifindex: IfIndex) -> Option<&'a Link> {
        let netns = self.netns;
        self.host.link(Device { netns, ifindex })
    }

    /// Whether an interface has a name; `None` where its name is not known.
    pub(super) fn is_named(&self, ifindex: IfIndex, name: &str) -> Option<bool> {
        if ifindex == LOOPBACK || name == "lo" {
            return Some(ifindex == LOOPBACK && name == "lo");
        }
        let known = self.link(ifindex).map(|link| link.name == name);
        known.or_else(|| self.by_name(name).map(|_| false))
    }

    /// The present interface with a name.
    fn by_name(&self, name: &str) -> Option<&'a Link> {
        let mut links = self.host.links();
        links.find(|link| {
            link.device.netns == self.netns && link.name == name && !self.host.is_gone(link.device)
        })
    }

    /// Whether an interface is a VRF or belongs to one; `None` where it is not known.
    pub(super) fn is_of_vrf(&self, ifindex: IfIndex) -> Option<bool> {
        if ifindex == LOOPBACK {
            return Some(false);
        }
        let link = self.link(ifindex)?;
        let master = link.master.and_then(|master| self.link(IfIndex(master)));
        Some(link.kind == "vrf" || master.is_some_and(|master| master.kind == "vrf"))
    }

    /// Whether the rules are those that a namespace begins with (fib_default_rules_init, net/ipv4/fib_rules.c): until
    /// one is added or deleted, the tables local and main are one.
    pub(super) fn may_be_merged(&self, rules: &[&PolicyRule]) -> bool {
        let plain = |priority, table| PolicyRule {
            priority,
            action: "lookup".to_owned(),
            table,
            mark_mask: u32::MAX,
            ..PolicyRule::default()
        };
        let first = [
            plain(0, RT_TABLE_LOCAL),
            plain(32766, RT_TABLE_MAIN),
            plain(32767, RT_TABLE_DEFAULT),
        ];
        let untouched = self
            .changes
            .iter()
            .all(|change| !matches!(change, Change::Rule(false, _) | Change::WithoutRule(_)));
        let same = |rule: &PolicyRule, first: &PolicyRule| {
            let origin = rule.origin;
            let mark_mask = rule.mark_mask;
            *rule
                == PolicyRule {
                    origin,
                    mark_mask,
                    ..first.clone()
                }
        };
        untouched
            && rules.len() == first.len()
            && rules
                .iter()
                .zip(&first)
                .all(|(rule, first)| same(rule, first))
    }
}
