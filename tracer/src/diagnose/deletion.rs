//! Rules that are deleted together: from the last of a chain to its first, so that the numbers of those that are left
//! stay true, and put back the other way round.

use crate::host::facts::{BaseChain, FilterRule};

use super::chain_commands::delete_rule;
use super::owners;
use super::remedy::{Command, Remedy, Shell};

/// A change that deletes rules; `None` where there are none.
#[must_use]
pub fn of(rules: &[(BaseChain, FilterRule)], what: &str, shell: &Shell) -> Option<Remedy> {
    let mut order: Vec<&(BaseChain, FilterRule)> = rules.iter().collect();
    order.sort_by_key(|(_, rule)| std::cmp::Reverse(rule.number));
    let mut pairs = order.iter().map(|(base, rule)| delete_rule(base, rule));
    let (first, back) = pairs.next()?;
    let mut undo: Vec<Option<Command>> = vec![back];
    let change = pairs.fold(shell.change(what, first), |change, (delete, back)| {
        undo.push(back);
        change.and(delete)
    });
    let owner = rules
        .iter()
        .find_map(|(base, rule)| owners::words(base, Some(rule)));
    // One that cannot be put back makes the undo of the others half of one.
    let undo: Option<Vec<Command>> = undo.into_iter().collect();
    let undo = undo.into_iter().flatten().rev();
    Some(undo.fold(change, Remedy::undone_by).owner(owner))
}
