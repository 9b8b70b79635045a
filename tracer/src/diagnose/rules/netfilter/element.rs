//! Verdicts that stand in an element of a map: the change is about that element, and not about the rule that looks all
//! packets up in the map.

use crate::host::facts::{BaseChain, Element, FilterRule};
use crate::host::{element_words, ipset_words, nft_string};
use crate::network::reach;

use super::super::super::chain_commands::rule_words;
use super::super::super::hooks::Hook;
use super::super::super::loss::Loss;
use super::super::super::owners::{self, Owner};
use super::super::super::remedy::{Command, Remedy, Shell, command, text};
use super::super::super::translator;
use super::suspects::{Absent, OfMap};

/// What is to be said of an element.
pub(super) struct Change {
    /// For the summary.
    pub summary: String,
    pub remedies: Vec<Remedy>,
    /// To let the packet pass here helps nobody.
    pub useless: bool,
}

/// An element of a map or set that has a name.
struct Named {
    key: String,
    /// The verdict to which it leads; empty in a set.
    leads: String,
    /// Its comment.
    told: String,
}

impl Named {
    /// `None` where the map or set belongs to its rule alone.
    fn of(
        OfMap {
            map,
            fields,
            element,
            family,
        }: &OfMap,
    ) -> Option<Self> {
        if map.starts_with("__") {
            return None;
        }
        let (mut key, leads) = element_words(element, fields);
        if family.is_empty() {
            key = ipset_words(element, fields);
        }
        let comment = element.comment.as_ref();
        Some(Self {
            key,
            leads: leads.unwrap_or_default(),
            told: comment.map_or_else(String::new, |c| format!(" (comment \"{c}\")")),
        })
    }
}

/// The change to an element of a map that gave the verdict. `None` where the map belongs to its rule alone: its elements
/// cannot be changed.
pub(super) fn change(
    loss: &Loss<'_>,
    (hook, chain, rule): (Hook, &BaseChain, &FilterRule),
    of_map: &OfMap,
    shell: &Shell,
) -> Option<Change> {
    let Named { key, leads, told } = Named::of(of_map)?;
    let map = &of_map.map;
    let place = [&chain.family, &chain.table, map];
    let look = shell.look(
        format!("the element of map {map} that says so"),
        command!["nft get element", ..place, format!("{{ {key} }}")],
    );
    let summary = format!("; its element in map {map} says {leads}: {key}{told}");
    let mut remedies = vec![look];
    let owner = owners::of(&chain.table, &rule.chain, &rule.text);
    // What is for a service without an endpoint is not helped by letting it pass.
    let useless = owner.is_some() && hook.chain_hook != "INPUT" && goes_nowhere(loss);
    if useless {
        remedies.push(no_endpoint(loss, owner, "element out"));
    } else {
        let whole = format!("{{ {} : {leads} }}", with_options(&key, &of_map.element));
        remedies.push(
            shell
                .change(
                    "take the element out of the map",
                    command!["nft delete element", ..place, format!("{{ {key} }}")],
                )
                .undone_by(command!["nft add element", ..place, whole])
                .scope("this opens the firewall for all that the element stands for".to_owned())
                .owner(owner.map(Owner::words)),
        );
    }
    Some(Change {
        summary,
        remedies,
        useless,
    })
}

/// The change to an element of a set for which a rule is met. `None` where it belongs to its rule alone.
pub(super) fn member(
    chain: &BaseChain,
    rule: &FilterRule,
    of_map: &OfMap,
    shell: &Shell,
) -> Option<Change> {
    let Named { key, told, .. } = Named::of(of_map)?;
    let (delete, add) = commands(chain, of_map, &key);
    let owner = owners::of(&chain.table, &rule.chain, &rule.text);
    let change = shell
        .change("take it out of the set", delete)
        .undone_by(add)
        .scope("this opens the firewall for all that the element stands for".to_owned())
        .owner(owner.map(Owner::words));
    Some(Change {
        summary: format!("; {key} is in set {}{told}", of_map.map),
        remedies: vec![change],
        useless: false,
    })
}

/// The element that a set has not, put into it: a rule would let the packet pass then. `None` where the set belongs to its
/// rule alone.
pub(super) fn absent(absent: &Absent<'_>, shell: &Shell) -> Option<Change> {
    let Absent {
        chain,
        rule,
        element,
        ..
    } = absent;
    let Named { key, .. } = Named::of(element)?;
    let (delete, add) = commands(chain, element, &key);
    let owner = owners::of(&chain.table, &rule.chain, &rule.text);
    let change = shell
        .change("put it into the set", add)
        .undone_by(delete)
        .scope("this opens the firewall for all that the set stands for".to_owned())
        .owner(owner.map(Owner::words));
    Some(Change {
        summary: format!(
            "; {key} is not in set {}, of which {} asks",
            element.map,
            rule_words(chain, &rule.chain, rule)
        ),
        remedies: vec![change],
        useless: false,
    })
}

/// The commands that take an element out of its set and put it in.
fn commands(chain: &BaseChain, of_map: &OfMap, key: &str) -> (Command, Command) {
    let OfMap { map, element, .. } = of_map;
    let comment = element.comment.as_ref();
    if of_map.family.is_empty() {
        let told = comment.into_iter().flat_map(|c| ["comment", c.as_str()]);
        let seconds = element.remaining_s.map(|seconds| seconds.to_string());
        let timeout = seconds.iter().flat_map(|s| ["timeout", s.as_str()]);
        return (
            command!["ipset del", map, key],
            command!["ipset add", map, key, ..timeout, ..told],
        );
    }
    let whole = format!("{{ {} }}", with_options(key, element));
    let place = [&chain.family, &chain.table, map];
    (
        command!["nft delete element", ..place, format!("{{ {key} }}")],
        command!["nft add element", ..place, whole],
    )
}

/// An element's key with its comment, and until when it stays, as nft(8) takes them.
fn with_options(key: &str, element: &Element) -> String {
    let timeout = element.remaining_s.map(|s| format!(" timeout {s}s"));
    let comment = element.comment.as_ref();
    let comment = comment.map(|comment| format!(" comment {}", nft_string(comment)));
    let options = [timeout, comment].map(Option::unwrap_or_default);
    format!("{key}{}", options.concat())
}

/// What helps a packet for a service without an endpoint, whose owner takes away what refuses it.
pub(super) fn no_endpoint(loss: &Loss<'_>, owner: Option<&Owner>, what: &str) -> Remedy {
    text(format!(
        "to let it pass would not help: no rule translates {} then; {} takes the {what} once the service has an endpoint that it may use here (start one on this node, or let it use those of other nodes: externalTrafficPolicy, internalTrafficPolicy: Cluster)",
        loss.dst_words(),
        owner.map_or("its owner", |owner| owner.name)
    ))
}

/// Nobody has the destination, and no rule translates it.
fn goes_nowhere(loss: &Loss<'_>) -> bool {
    let (Some(netns), Some(dst)) = (loss.netns(), loss.dst()) else {
        return false;
    };
    let nobody = reach::owners(loss.host, netns, dst).is_empty();
    nobody && translator::no_rule(loss.host, loss.journey, netns) == Some(true)
}
