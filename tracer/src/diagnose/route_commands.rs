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

/// The number of a table to which no rule leads, from a wanted one on.
#[must_use]
pub fn free_table(rules: &[PolicyRule], wanted: u32) -> u32 {
    let free = |table: &u32| rules.iter().all(|rule| rule.table != *table);
    (wanted..).find(free).unwrap_or(wanted)
}
