//! Commands that change routes and policy rules, each with what takes it back.

use std::net::IpAddr;

use crate::host::Host;
use crate::host::facts::{PolicyRule, TableRoute};
use crate::model::{Device, NetNs};
use crate::network::route::{route_spec, rule_words};
use crate::uapi::rtnetlink::RT_TABLE_MAIN;

use super::remedy::{Command, Remedy, Shell, command, ip};

/// What is done with a route; `None` where it has something that cannot be written.
fn words(verb: &'static str, (host, netns): (&Host, NetNs), route: &TableRoute) -> Option<Command> {
    let spec = route_spec(host, netns, route)?;
    let ip = ip(route.prefix.is_ipv6());
    Some(command![..ip, "route", verb, ..spec.split(' ')])
}

/// A route deleted; `None` where it has something that cannot be written.
#[must_use]
pub fn delete(
    shell: &Shell,
    place: (&Host, NetNs),
    route: &TableRoute,
    text: impl Into<String>,
) -> Option<Remedy> {
    let (gone, back) = (words("del", place, route)?, words("add", place, route)?);
    Some(shell.change(text, gone).undone_by(back))
}

/// The same where another one of this destination and metric stays, beside which IPv6 takes no route by `add`.
#[must_use]
pub fn delete_beside(
    shell: &Shell,
    place: (&Host, NetNs),
    route: &TableRoute,
    text: impl Into<String>,
) -> Option<Remedy> {
    let back = words("append", place, route)?;
    Some(
        shell
            .change(text, words("del", place, route)?)
            .undone_by(back),
    )
}

/// A route replaced by another one of the same destination; `None` where one of them has something that cannot be written.
#[must_use]
pub fn replace(
    shell: &Shell,
    place: (&Host, NetNs),
    (before, after): (&TableRoute, &TableRoute),
    text: impl Into<String>,
) -> Option<Remedy> {
    let set = |route| words("replace", place, route);
    Some(shell.change(text, set(after)?).undone_by(set(before)?))
}

/// Which way a route of one address leads.
#[derive(Clone, Copy, Debug)]
pub struct Way {
    /// Through which interface.
    pub device: Device,
    /// By which router; `None`: the address is on the link.
    pub gateway: Option<IpAddr>,
    /// The source of what the host sends by it without one; `None`: as the kernel chooses.
    pub source: Option<IpAddr>,
}

/// A route for one address alone, in the table of the route that is `used` for it now; the route that is for it alone
/// already is replaced.
#[must_use]
pub fn towards(
    shell: &Shell,
    host: &Host,
    (to, used): (IpAddr, Option<&TableRoute>),
    way: &Way,
    text: impl Into<String>,
) -> Option<Remedy> {
    let bits = if to.is_ipv6() { 128 } else { 32 };
    let only = |route: &&TableRoute| {
        let plain = route.paths.is_empty() && route.nexthop.is_none();
        route.length == bits && plain
    };
    let place = (host, way.device.netns);
    let before = used.filter(only);
    let table = used.map_or(RT_TABLE_MAIN, |route| route.table);
    let like = before.cloned();
    let like = like.unwrap_or_else(|| TableRoute::new("unicast", table, to, bits));
    let route = TableRoute {
        // in place of one that refuses
        kind: "unicast".to_owned(),
        gateway: way.gateway,
        oif: Some(way.device.ifindex.0),
        source: way.source.or(like.source),
        flags: 0,
        ..like
    };
    if let Some(before) = before {
        return replace(shell, place, (before, &route), text);
    }
    let (add, back) = (words("add", place, &route)?, words("del", place, &route)?);
    Some(
        shell
            .change(text, add)
            .undone_by(back)
            .scope(format!("all that this machine sends to {to}")),
    )
}

/// A policy rule deleted.
#[must_use]
pub fn delete_rule(shell: &Shell, v6: bool, rule: &PolicyRule, text: impl Into<String>) -> Remedy {
    let what = format!("pref {} {}", rule.priority, rule_words(rule));
    let words = |verb: &'static str| command![..ip(v6), "rule", verb, ..what.split(' ')];
    shell.change(text, words("del")).undone_by(words("add"))
}

/// Policy rules added; `None` where there are none.
#[must_use]
pub fn add_rules(
    shell: &Shell,
    v6: bool,
    rules: &[&PolicyRule],
    text: impl Into<String>,
) -> Option<Remedy> {
    let command = |verb: &'static str, rule: &PolicyRule| {
        let selectors = rule_words(rule);
        let selectors = match rule.dst {
            Some(_) => selectors.trim_start_matches("from all "),
            None => &selectors,
        };
        let what = format!("pref {} {selectors}", rule.priority);
        command![..ip(v6), "rule", verb, ..what.split(' ')]
    };
    let (first, others) = rules.split_first()?;
    let change = shell.change(text, command("add", first));
    let change = others
        .iter()
        .fold(change, |change, rule| change.and(command("add", rule)));
    let undone = rules.iter().rev();
    Some(undone.fold(change, |change, rule| {
        change.undone_by(command("del", rule))
    }))
}

/// The number of a policy rule that is to be asked before another one, some before it where there is room: others may want to
/// stand between. `None`: nothing can stand before it.
#[must_use]
pub fn number_before(rules: &[PolicyRule], rule: &PolicyRule) -> Option<u32> {
    const BEFORE: u32 = 10;
    let wanted = rule.priority.saturating_sub(BEFORE);
    let taken = |r: &PolicyRule| (wanted..rule.priority).contains(&r.priority);
    if wanted > 0 && !rules.iter().any(taken) {
        return Some(wanted);
    }
    rule.priority.checked_sub(1)
}

/// The number of a table to which no rule leads, from a wanted one on.
#[must_use]
pub fn free_table(rules: &[PolicyRule], wanted: u32) -> u32 {
    let free = |table: &u32| rules.iter().all(|rule| rule.table != *table);
    (wanted..).find(free).unwrap_or(wanted)
}
