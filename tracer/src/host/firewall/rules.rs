//! From base chains to the rules that can end a packet's way: follows jumps, and leaves out what has been idle.

use std::collections::BTreeMap;

use super::words::{self, Dialect};
use crate::host::facts::{FilterRule, Stop, Test};

/// Most rules kept for one base chain.
const MOST: usize = 48;
/// Most rules looked at for one base chain: chains that jump to each other in many ways are cut here.
const MOST_LOOKED_AT: u32 = 20_000;
/// The kernel follows this many jumps (NFT_JUMP_STACK_SIZE, linux/netfilter/nf_tables.h).
const DEEPEST: usize = 16;

/// Where a rule leads when its tests hold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum End {
    /// Ends the packet's way; with the words that say so.
    Stop(Stop, String),
    /// Into another chain of the table.
    Jump(String),
    /// On to the next rule.
    Next,
}

/// One way through a rule: a map of verdicts has several.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Way {
    pub(super) tests: Vec<Test>,
    pub(super) end: End,
}

/// A rule as read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Rule {
    pub(super) handle: Option<u64>,
    pub(super) packets: Option<u64>,
    pub(super) comment: Option<String>,
    pub(super) ways: Vec<Way>,
}

/// All chains of one table.
pub(super) type Chains = BTreeMap<String, Vec<Rule>>;

/// Rules reached from a chain that can end a packet's way, in order, and whether there are more than are kept.
pub(super) fn stops(chains: &Chains, from: &str, dialect: Dialect) -> (Vec<FilterRule>, bool) {
    let mut walk = Walk {
        chains,
        dialect,
        found: Vec::new(),
        left: MOST_LOOKED_AT,
        cut: false,
    };
    walk.chain(from, &mut Vec::new(), &[]);
    (walk.found, walk.cut)
}

struct Walk<'a> {
    chains: &'a Chains,
    dialect: Dialect,
    found: Vec<FilterRule>,
    left: u32,
    cut: bool,
}

impl<'a> Walk<'a> {
    fn chain(&mut self, name: &'a str, above: &mut Vec<&'a str>, so_far: &[Test]) {
        if above.len() >= DEEPEST || above.contains(&name) {
            return;
        }
        let Some(rules) = self.chains.get(name) else {
            return;
        };
        above.push(name);
        for (number, rule) in (1..).zip(rules) {
            // What never met a packet ended no packet's way.
            if rule.packets == Some(0) {
                continue;
            }
            let Some(left) = self.left.checked_sub(1) else {
                self.cut = true;
                break;
            };
            self.left = left;
            for way in &rule.ways {
                let tests = [so_far, &way.tests].concat();
                match &way.end {
                    End::Next => {}
                    End::Jump(to) => self.chain(to, above, &tests),
                    End::Stop(stop, said) => {
                        let by_state = || tests.iter().any(|t| matches!(t, Test::State { .. }));
                        if *stop == Stop::Accept && !by_state() {
                            continue;
                        }
                        if self.found.len() >= MOST {
                            self.cut = true;
                            continue;
                        }
                        let (text, whole) = words::rule(self.dialect, rule, way, said);
                        self.found.push(FilterRule {
                            chain: name.to_owned(),
                            handle: rule.handle,
                            number,
                            stop: *stop,
                            text,
                            whole,
                            packets: rule.packets,
                            tests,
                        });
                    }
                }
            }
        }
        above.pop();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rule(packets: Option<u64>, test: &str, end: End) -> Rule {
        Rule {
            handle: None,
            packets,
            comment: None,
            ways: vec![Way {
                tests: vec![Test::Other(test.to_owned())],
                end,
            }],
        }
    }

    fn drop() -> End {
        End::Stop(Stop::Drop, "drop".to_owned())
    }

    #[test]
    fn jumps_are_followed_with_their_tests() {
        let chains = Chains::from([
            (
                "top".to_owned(),
                vec![
                    rule(None, "a", End::Jump("below".to_owned())),
                    rule(Some(3), "b", drop()),
                ],
            ),
            (
                "below".to_owned(),
                vec![
                    rule(Some(0), "idle", drop()),
                    rule(None, "c", drop()),
                    rule(None, "d", End::Jump("top".to_owned())),
                ],
            ),
        ]);
        let (found, cut) = stops(&chains, "top", Dialect::Nft);
        let told: Vec<_> = found
            .iter()
            .map(|r| (r.chain.as_str(), r.number, r.text.as_str(), r.tests.len()))
            .collect();
        assert_eq!(told, [("below", 2, "c drop", 2), ("top", 2, "b drop", 1)]);
        assert!(!cut);
    }

    #[test]
    fn rules_that_accept_matter_only_for_the_state_they_ask() {
        let accept = End::Stop(Stop::Accept, "accept".to_owned());
        let mut by_state = rule(None, "", accept.clone());
        by_state.ways.iter_mut().for_each(|w| {
            w.tests = vec![Test::State {
                mask: 6,
                not: false,
            }];
        });
        let chains = Chains::from([("c".to_owned(), vec![rule(None, "x", accept), by_state])]);
        let (found, _) = stops(&chains, "c", Dialect::Nft);
        assert_eq!(found.len(), 1);
    }

    #[test]
    fn a_long_chain_is_cut() {
        let chains = Chains::from([("c".to_owned(), vec![rule(None, "x", drop()); MOST + 1])]);
        let (found, cut) = stops(&chains, "c", Dialect::Nft);
        assert_eq!((found.len(), cut), (MOST, true));
    }
}
