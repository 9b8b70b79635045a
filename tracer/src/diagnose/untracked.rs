//! Packets that a rule leaves to no connection (NOTRACK), and what lets conntrack see them again.

use crate::host::facts::{BaseChain, FilterRule, Stop};
use crate::network::filter::{Packet, Rules, left_untracked};

use super::chain_commands::rule_of;
use super::chain_commands::rule_words;
use super::deletion;
use super::remedy::{Remedy, Shell};

/// A rule that leaves packets to no connection.
pub type Leaves = (BaseChain, FilterRule);

/// The rules that leave these packets to no connection, each at the hook where conntrack would see it first.
#[must_use]
pub fn rules(rules: &Rules<'_>, packets: &[(&Packet, &str)]) -> Vec<Leaves> {
    let mut list: Vec<Leaves> = Vec::new();
    for (packet, hook) in packets {
        let step = left_untracked(rules, packet, hook);
        let found = step.and_then(|step| {
            let rule = rule_of(step.chain, step.rule?, Stop::Accept);
            Some((step.base.clone(), rule))
        });
        list.extend(found.filter(|found| !list.contains(found)));
    }
    list
}

/// The rules in words: `rule 2 of chain raw/OUTPUT (-p udp --sport 53 -j CT --notrack)`.
#[must_use]
pub fn words(list: &[Leaves]) -> String {
    let one = |(base, rule): &Leaves| {
        let name = rule_words(base, &rule.chain, rule);
        format!("{name} ({})", rule.text)
    };
    let all: Vec<String> = list.iter().map(one).collect();
    all.join(" and ")
}

/// The change that lets conntrack see again what rules leave untracked.
#[must_use]
pub fn track(list: &[Leaves], shell: &Shell) -> Option<Remedy> {
    let what = match list.len() {
        1 => "let conntrack see it: delete the NOTRACK rule, or limit it to other packets",
        _ => {
            "let conntrack see both directions: delete the NOTRACK rules, or limit them to other packets"
        }
    };
    let scope = "all that they match is tracked again, and takes room in the table of connections";
    Some(deletion::of(list, what, shell)?.scope(scope.to_owned()))
}
