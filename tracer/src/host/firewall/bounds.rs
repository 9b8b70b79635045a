//! How much of a namespace's packet filters is kept: facts are recorded, and read again while a trace goes on. What is
//! cut is said, and makes answers undecided.

use crate::host::facts::{Chain, Missing, Ruleset};

/// Most elements of a set.
pub(super) const ELEMENTS: usize = 2_000;
/// Most elements of a set that stand in the rule itself.
pub(super) const INLINED: usize = 64;
/// Most rules of all chains.
const RULES: usize = 6_000;

/// Leaves out chains that no base chain leads to, and then what is too much: the chains that are met last are cut.
pub(super) fn apply(ruleset: &mut Ruleset) {
    let mut left = RULES;
    let total: usize = ruleset.chains.iter().map(|c| c.rules.len()).sum();
    if total <= RULES {
        return;
    }
    // Short chains are whole before long ones are cut: what all packets pass is short, lists of services are long.
    let mut order: Vec<&mut Chain> = ruleset.chains.iter_mut().collect();
    order.sort_by_key(|chain| chain.rules.len());
    for chain in order {
        if chain.rules.len() > left {
            chain.rules.truncate(left);
            chain.missing = Missing::Cut;
        }
        left -= chain.rules.len();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::host::facts::{FilterEngine, Rule};

    fn chain(rules: usize) -> Chain {
        Chain {
            engine: FilterEngine::Legacy,
            family: "ip".to_owned(),
            table: "nat".to_owned(),
            name: format!("c{rules}"),
            rules: vec![Rule::default(); rules],
            missing: Missing::Nothing,
        }
    }

    #[test]
    fn long_chains_are_cut_and_say_so() {
        let mut ruleset = Ruleset {
            chains: vec![chain(RULES), chain(10), chain(20)],
            ..Ruleset::default()
        };
        apply(&mut ruleset);
        let told: Vec<_> = ruleset
            .chains
            .iter()
            .map(|c| (c.rules.len(), c.missing))
            .collect();
        assert_eq!(
            told,
            [
                (RULES - 30, Missing::Cut),
                (10, Missing::Nothing),
                (20, Missing::Nothing)
            ]
        );
        let mut small = Ruleset {
            chains: vec![chain(10)],
            ..Ruleset::default()
        };
        apply(&mut small);
        assert_eq!(
            small.chains.first().map(|c| c.missing),
            Some(Missing::Nothing)
        );
    }
}
