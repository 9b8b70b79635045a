//! Any expression as a list of terms, each one conjunction without some others: what a filter's clauses say.
//!
//! A negated conjunction stays one piece (`a and not (b and c)` is one term), so terms stay few. ARP packets are
//! matched only by terms that name ARP; that rule holds in the end only, while terms are being joined `any`
//! includes them.

use super::ast::Expr;
use super::conjunction::{Conjunction, Span};

/// Terms at which the work is given up: far above what a filter can hold, low enough to take no time.
const MOST_TERMS: usize = 128;

/// A conjunction without the packets of some others.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Term {
    pub(super) conjunction: Conjunction,
    pub(super) without: Vec<Conjunction>,
}

/// The expression has more terms than anyone would use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct TooMany;

impl Term {
    const ANY: Self = Self {
        conjunction: Conjunction::ANY,
        without: Vec::new(),
    };

    fn of(conjunction: Conjunction) -> Self {
        Self {
            conjunction,
            without: Vec::new(),
        }
    }

    fn and(&self, other: &Self) -> Option<Self> {
        let conjunction = self.conjunction.and(&other.conjunction)?;
        let mut without = self.without.clone();
        without.extend(other.without.iter().copied());
        Self {
            conjunction,
            without,
        }
        .reduced()
    }

    /// Without what excludes nothing; `None` when everything is excluded.
    fn reduced(mut self) -> Option<Self> {
        let conjunction = self.conjunction;
        if self.without.iter().any(|not| conjunction.within(not)) {
            return None;
        }
        self.without.retain(|not| conjunction.and(not).is_some());
        let all = std::mem::take(&mut self.without);
        for (i, not) in all.iter().enumerate() {
            let excluded = conjunction.and(not);
            let covered = all.iter().enumerate().any(|(j, other)| {
                let larger = excluded.is_some_and(|excluded| excluded.within(other));
                let same = conjunction.and(other) == excluded;
                i != j && larger && (!same || j < i)
            });
            if !covered {
                self.without.push(*not);
            }
        }
        Some(self)
    }

    /// With the rule of ARP applied, see the head of this file. What is excluded from one protocol names it: the
    /// kernel asks ARP and neighbour discovery only of clauses that name a protocol.
    fn settled(mut self) -> Option<Self> {
        if !self.conjunction.is_arp() {
            self.without.retain(|not| !not.is_arp());
        }
        if let Some(proto) = self.conjunction.proto {
            for not in &mut self.without {
                not.proto = not.proto.or(Some(proto));
                not.ported = false;
            }
        }
        self.reduced()
    }

    fn within(&self, other: &Self) -> bool {
        self.conjunction.is_arp() == other.conjunction.is_arp()
            && self.conjunction.within(&other.conjunction)
            && other.without.iter().all(|not| {
                self.conjunction
                    .and(not)
                    .is_none_or(|lost| self.without.iter().any(|own| lost.within(own)))
            })
    }

    fn mirrored(&self) -> Self {
        Self {
            conjunction: self.conjunction.mirrored(),
            without: self.without.iter().map(Conjunction::mirrored).collect(),
        }
    }

    /// How much it looks like a request: what is asked for stands at the destination.
    fn requestlike(&self) -> (i32, i32) {
        let Conjunction {
            src,
            dst,
            sport,
            dport,
            ..
        } = self.conjunction;
        (
            i32::from(dport != Span::ALL) - i32::from(sport != Span::ALL),
            dst.mask.count_ones() as i32 - src.mask.count_ones() as i32,
        )
    }
}

/// The terms of an expression, without those that others contain. With `both_ways`, also without those whose
/// mirror others contain: the kernel reads the list for replies too.
pub(super) fn terms(expr: &Expr, both_ways: bool) -> Result<Vec<Term>, TooMany> {
    let settled: Vec<Term> = expand(expr)?
        .into_iter()
        .filter_map(Term::settled)
        .collect();
    let mut kept = distinct(settled);
    if both_ways {
        kept = unmirrored(kept);
    }
    Ok(kept)
}

fn expand(expr: &Expr) -> Result<Vec<Term>, TooMany> {
    match expr {
        Expr::Test(test) => Ok(vec![Term::of(Conjunction::of(*test))]),
        Expr::Not(inner) => negated(&expand(inner)?),
        Expr::And(parts) => parts
            .iter()
            .try_fold(vec![Term::ANY], |all, part| product(&all, &expand(part)?)),
        Expr::Or(parts) => {
            let mut all = Vec::new();
            for part in parts {
                all.extend(expand(part)?);
            }
            bounded(distinct(all))
        }
    }
}

fn product(left: &[Term], right: &[Term]) -> Result<Vec<Term>, TooMany> {
    if left.len().saturating_mul(right.len()) > MOST_TERMS * 4 {
        return Err(TooMany);
    }
    let joined = left
        .iter()
        .flat_map(|a| right.iter().filter_map(|b| a.and(b)))
        .collect();
    bounded(distinct(joined))
}

/// Not (a without b, c) is: all without a, or b, or c.
fn negated(terms: &[Term]) -> Result<Vec<Term>, TooMany> {
    terms.iter().try_fold(vec![Term::ANY], |all, term| {
        let outside = Term {
            conjunction: Conjunction::ANY,
            without: vec![term.conjunction],
        };
        let mut parts: Vec<Term> = outside.reduced().into_iter().collect();
        parts.extend(term.without.iter().copied().map(Term::of));
        product(&all, &parts)
    })
}

fn bounded(terms: Vec<Term>) -> Result<Vec<Term>, TooMany> {
    if terms.len() > MOST_TERMS {
        Err(TooMany)
    } else {
        Ok(terms)
    }
}

/// Without terms that lie within others; of equal ones the first stays.
fn distinct(terms: Vec<Term>) -> Vec<Term> {
    let mut kept: Vec<Term> = Vec::with_capacity(terms.len());
    for term in terms {
        if !kept.iter().any(|other| term.within(other)) {
            kept.retain(|other| !other.within(&term));
            kept.push(term);
        }
    }
    kept
}

/// One of two terms that say the same in opposite directions: the one that looks like a request.
fn unmirrored(terms: Vec<Term>) -> Vec<Term> {
    let mut kept = terms.clone();
    for term in &terms {
        let mirror = term.mirrored();
        let replaced = kept.iter().any(|other| {
            other != term
                && mirror.within(other)
                && (other.requestlike() > term.requestlike() || !other.mirrored().within(term))
        });
        if replaced {
            kept.retain(|other| other != term);
        }
    }
    // what is left are pairs that look alike: the first named is the sender
    let mut settled: Vec<Term> = Vec::with_capacity(kept.len());
    for term in kept {
        let mirror = term.mirrored();
        if !settled.iter().any(|other| mirror.within(other)) {
            settled.push(term);
        }
    }
    settled
}
