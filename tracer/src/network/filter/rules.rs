//! The rules that a walk goes over: facts, with changes laid over them that were not made.

use std::collections::HashSet;

use crate::host::facts::{BaseChain, Chain, Missing, Rule, Ruleset, Set};

/// A change that is tried on facts.
#[derive(Clone, Debug)]
pub enum Change {
    /// A rule at the head of a chain.
    Insert {
        /// A base chain of its table.
        base: BaseChain,
        /// The chain.
        chain: String,
        /// The rule.
        rule: Rule,
    },
    /// A rule less.
    Delete {
        /// A base chain of its table.
        base: BaseChain,
        /// The chain.
        chain: String,
        /// Its number as the facts have it.
        number: u32,
    },
    /// Another policy.
    Policy {
        /// The base chain.
        base: BaseChain,
        /// Drops.
        drop: bool,
    },
}

/// Facts with changes.
#[derive(Clone, Debug)]
pub struct Rules<'a> {
    facts: &'a Ruleset,
    changes: Vec<Change>,
    /// Rules of the facts that are known to be met by no packet of those that are looked at.
    unmet: HashSet<*const Rule>,
}

impl<'a> Rules<'a> {
    /// The facts as they are.
    #[must_use]
    pub fn of(facts: &'a Ruleset) -> Self {
        Self {
            facts,
            changes: Vec::new(),
            unmet: HashSet::new(),
        }
    }

    /// The facts without rules that the packet did not meet, as counters tell.
    #[must_use]
    pub fn without(mut self, unmet: impl Fn(&Chain, &Rule) -> bool) -> Self {
        for chain in &self.facts.chains {
            let rules = chain.rules.iter().filter(|rule| unmet(chain, rule));
            self.unmet.extend(rules.map(std::ptr::from_ref));
        }
        self
    }

    /// The facts with a further change.
    #[must_use]
    pub fn with(mut self, change: Change) -> Self {
        self.changes.push(change);
        self
    }

    /// Base chains, in the order in which the facts have them.
    pub fn base(&self) -> impl Iterator<Item = &'a BaseChain> {
        self.facts.base.iter()
    }

    /// Whether a chain's policy drops.
    #[must_use]
    pub fn policy_drops(&self, base: &BaseChain) -> bool {
        let changed = self.changes.iter().rev().find_map(|change| match change {
            Change::Policy { base: of, drop } => same(of, base).then_some(*drop),
            _ => None,
        });
        changed.unwrap_or(base.policy_drop)
    }

    /// A chain of a base chain's table.
    #[must_use]
    pub fn chain(&self, base: &BaseChain, name: &str) -> Option<&'a Chain> {
        let mut chains = self.facts.chains.iter();
        chains.find(|chain| chain.name == name && chain.beside(base))
    }

    /// What is not known of a chain.
    #[must_use]
    pub fn missing(&self, base: &BaseChain, name: &str) -> Missing {
        self.chain(base, name).map_or(Missing::Cut, |c| c.missing)
    }

    /// Rules of a chain of a base chain's table, in order.
    pub(super) fn rules<'s>(&'s self, base: &'s BaseChain, name: &'s str) -> Vec<&'s Rule>
    where
        'a: 's,
    {
        let mut list: Vec<&Rule> = Vec::new();
        for change in self.changes.iter().rev() {
            if let Change::Insert {
                base: of,
                chain,
                rule,
            } = change
                && beside(of, base)
                && chain == name
            {
                list.push(rule);
            }
        }
        let gone = |number: u32| {
            self.changes.iter().any(|change| match change {
                Change::Delete {
                    base: of,
                    chain,
                    number: without,
                } => *without == number && chain == name && beside(of, base),
                _ => false,
            })
        };
        let facts = self.chain(base, name).map_or(&[][..], |c| &c.rules);
        list.extend(
            facts.iter().filter(|rule| {
                !gone(rule.number) && !self.unmet.contains(&std::ptr::from_ref(*rule))
            }),
        );
        list
    }

    /// A set of a base chain's table, or an ipset, which belongs to no table.
    #[must_use]
    pub fn set(&self, base: &BaseChain, name: &str) -> Option<&'a Set> {
        let named = || self.facts.sets.iter().filter(|set| set.name == name);
        named()
            .find(|set| set.family == base.family && set.table == base.table)
            .or_else(|| named().find(|set| set.is_ipset()))
    }
}

/// Whether two base chains stand in one table.
fn beside(a: &BaseChain, b: &BaseChain) -> bool {
    a.engine == b.engine && a.family == b.family && a.table == b.table
}

fn same(a: &BaseChain, b: &BaseChain) -> bool {
    a.chain == b.chain && beside(a, b)
}
