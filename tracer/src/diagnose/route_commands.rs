//! Commands that change routes and policy rules, each with what takes it back.

use crate::host::Host;
use crate::host::facts::{PolicyRule, TableRoute};
use crate::model::NetNs;
use crate::network::route::{route_spec, rule_words};

use super::remedy::{Remedy, Shell, command, ip};

/// A route deleted; `None` where it has something that cannot be written.
#[must_use]
pub fn delete(
    shell: &Shell,
    (host, netns): (&Host, NetNs),
    route: &TableRoute,
    text: impl Into<String>,
) -> Option<Remedy> {
    let spec = route_spec(host, netns, route)?;
    let words = |verb: &'static str| {
        command![
            ..ip(route.prefix.is_ipv6()),
            "route",
            verb,
            ..spec.split(' ')
        ]
    };
    Some(shell.change(text, words("del")).undone_by(words("add")))
}

/// A route replaced by another one of the same destination; `None` where one of them has something that cannot be written.
#[must_use]
pub fn replace(
    shell: &Shell,
    (host, netns): (&Host, NetNs),
    (before, after): (&TableRoute, &TableRoute),
    text: impl Into<String>,
) -> Option<Remedy> {
    let words = |route: &TableRoute| {
        let spec = route_spec(host, netns, route)?;
        let ip = ip(route.prefix.is_ipv6());
        Some(command![..ip, "route replace", ..spec.split(' ')])
    };
    Some(shell.change(text, words(after)?).undone_by(words(before)?))
}

/// A policy rule deleted.
#[must_use]
pub fn delete_rule(shell: &Shell, v6: bool, rule: &PolicyRule, text: impl Into<String>) -> Remedy {
    let what = format!("pref {} {}", rule.priority, rule_words(rule));
    let words = |verb: &'static str| command![..ip(v6), "rule", verb, ..what.split(' ')];
    shell.change(text, words("del")).undone_by(words("add"))
}

/// The number of a table to which no rule leads, from a wanted one on.
#[must_use]
pub fn free_table(rules: &[PolicyRule], wanted: u32) -> u32 {
    let free = |table: &u32| rules.iter().all(|rule| rule.table != *table);
    (wanted..).find(free).unwrap_or(wanted)
}
