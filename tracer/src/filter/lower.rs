//! Terms to the kernel's clauses.

use tracer_common::filter::{CLAUSE_NEGATE, CLAUSE_ONE_WAY, RawClause};

use super::normal_form::Term;

/// The clauses of all terms, in the order in which the kernel reads them: what a term excludes, then what it asks.
pub(super) fn clauses(terms: &[Term], one_way: bool) -> Vec<RawClause> {
    let flags = if one_way { CLAUSE_ONE_WAY } else { 0 };
    terms
        .iter()
        .flat_map(|term| {
            term.without
                .iter()
                .map(move |not| not.clause(flags | CLAUSE_NEGATE))
                .chain([term.conjunction.clause(flags)])
        })
        .collect()
}

#[cfg(test)]
#[expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test ends where it fails"
)]
mod tests;
