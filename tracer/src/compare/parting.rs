//! The first place where two paths part.

use super::rewrites::{behind, goal, on_the_way, unlike};
use super::{Comparison, Parting, PartingKind, PathPair, Row, Side, of, place};
use crate::report::HopReport;
use crate::verdict::Outcome;

/// Looks along the way there, then for answers, then along the way back.
pub(super) fn find(comparison: &Comparison) -> Option<Parting> {
    for path in &comparison.paths {
        let walk = Walk { comparison, path };
        if path.direction == "reply"
            && let Some(parting) = walk.answers()
        {
            return Some(parting);
        }
        match walk.along() {
            Found::Parting(parting) => return Some(parting),
            Found::Together => return None,
            Found::Nothing => {}
        }
    }
    unplaced(comparison)
}

/// What a walk along a path comes to.
enum Found {
    /// They part.
    Parting(Parting),
    /// Both end at the same place for the same cause.
    Together,
    /// They do not part on this path.
    Nothing,
}

struct Walk<'a> {
    comparison: &'a Comparison,
    path: &'a PathPair,
}

/// Hops of both, GOOD first.
type Pair<'a> = (&'a HopReport, &'a HopReport);

impl Walk<'_> {
    fn along(&self) -> Found {
        match self.ends(None) {
            Found::Nothing => {}
            found => return found,
        }
        let mut last: Option<usize> = None;
        for (i, row) in self.path.rows.iter().enumerate() {
            let Some(pair) = row.both() else { continue };
            let before = last.and_then(|last| self.pair(last));
            let begin = last.map_or(0, |last| last + 1);
            if i > begin && !goes_straight(before, pair) {
                return self.ways(last, begin);
            }
            if let Some(parting) = self.changes(last, before, pair) {
                return Found::Parting(parting);
            }
            match self.ends(Some(i)) {
                Found::Nothing => {}
                found => return found,
            }
            last = Some(i);
        }
        let begin = last.map_or(0, |last| last + 1);
        let rest = self.path.rows.get(begin..).unwrap_or_default();
        let goes_on = |side: fn(&Row) -> Option<&HopReport>| {
            let next = rest.iter().find_map(side);
            let from = last.and_then(|last| side(self.path.rows.get(last)?));
            next.is_some_and(|next| from.is_none_or(|from| leads(from, next)))
        };
        if goes_on(|row| row.good.as_ref()) || goes_on(|row| row.bad.as_ref()) {
            return self.ways(last, begin);
        }
        Found::Nothing
    }

    fn pair(&self, row: usize) -> Option<Pair<'_>> {
        self.path.rows.get(row)?.both()
    }

    fn parting(
        &self,
        kind: PartingKind,
        after_row: Option<usize>,
        words: (String, String),
    ) -> Parting {
        Parting {
            direction: self.path.direction.clone(),
            kind,
            after_row,
            good: words.0,
            bad: words.1,
        }
    }

    /// Ends behind this row, or before the first hop.
    fn ends(&self, row: Option<usize>) -> Found {
        let Comparison { good, bad, .. } = self.comparison;
        let hops = row.and_then(|row| self.pair(row));
        let ends = |side: &Side, hop: Option<&HopReport>| {
            side.ends_after(&self.path.direction, hop.map_or(0, |hop| hop.n))
        };
        let good_ends = ends(good, hops.map(|(good, _)| good));
        let bad_ends = ends(bad, hops.map(|(_, bad)| bad));
        let is_answer = |side: &Side| side.verdict.outcome == Outcome::Unanswered;
        let words = match (good_ends, bad_ends) {
            (false, false) => return Found::Nothing,
            (true, true) if good.verdict.cause == bad.verdict.cause => return Found::Together,
            (true, true) => (end(good), end(bad)),
            (true, false) => (
                end(good),
                self.instead(bad, row, |row| row.bad.as_ref(), is_answer(good)),
            ),
            (false, true) => (
                self.instead(good, row, |row| row.good.as_ref(), is_answer(bad)),
                end(bad),
            ),
        };
        let kind = if (good_ends && is_answer(good)) || (bad_ends && is_answer(bad)) {
            PartingKind::Answer
        } else {
            PartingKind::End
        };
        Found::Parting(self.parting(kind, row, words))
    }

    /// What a side does where the other ends.
    fn instead(
        &self,
        side: &Side,
        row: Option<usize>,
        hop: fn(&Row) -> Option<&HopReport>,
        answer: bool,
    ) -> String {
        if answer && side.delivered() {
            return "is answered".to_owned();
        }
        self.next(side, row, hop)
    }

    /// Where a side goes behind a row.
    fn next(&self, side: &Side, row: Option<usize>, hop: fn(&Row) -> Option<&HopReport>) -> String {
        let rest = row.map_or(0, |row| row + 1);
        let from = row.and_then(|row| hop(self.path.rows.get(row)?));
        let mut rest = self.path.rows.get(rest..).unwrap_or_default().iter();
        // of branches the one that the packets take from here
        let next =
            rest.find_map(|row| hop(row).filter(|next| from.is_none_or(|from| leads(from, next))));
        match (from, next) {
            (None, Some(next)) => format!("is seen at {}", place(next)),
            (Some(from), Some(next)) if next.hook == "egress" && from.spot() == next.spot() => {
                format!("leaves {} through {}", next.spot(), next.interface)
            }
            (Some(_), Some(next)) => format!("goes on to {}", place(next)),
            (_, None) if side.delivered() => "is delivered".to_owned(),
            (Some(_), None) => "is seen no further".to_owned(),
            (None, None) => "is not seen at all".to_owned(),
        }
    }

    /// They go on to different hops.
    fn ways(&self, last: Option<usize>, begin: usize) -> Found {
        let Comparison { good, bad, .. } = self.comparison;
        let here = |side: &Side, hop: fn(&Row) -> Option<&HopReport>| {
            let mut words = self.next(side, last, hop);
            let next = self
                .path
                .rows
                .get(begin..)
                .and_then(|rows| rows.iter().find_map(hop));
            // it ends at once, where the other never came
            if next.is_some_and(|next| side.ends_after(&self.path.direction, next.n)) {
                words = format!("{words} and {}", end(side));
            }
            words
        };
        let words = (
            here(good, |row| row.good.as_ref()),
            here(bad, |row| row.bad.as_ref()),
        );
        Found::Parting(self.parting(PartingKind::Way, last, words))
    }

    /// One is translated, or put into a tunnel, and the other is not, or otherwise.
    fn changes(
        &self,
        last: Option<usize>,
        before: Option<Pair<'_>>,
        hops: Pair<'_>,
    ) -> Option<Parting> {
        let good = on_the_way(before.map(|(good, _)| good), hops.0);
        let bad = on_the_way(before.map(|(_, bad)| bad), hops.1);
        let words = unlike(&good, &bad, goal(hops.0) == goal(hops.1))?;
        Some(self.parting(PartingKind::Rewrite, last, words))
    }

    /// One was answered and the other not; what became of the other says why.
    fn answers(&self) -> Option<Parting> {
        let Comparison { good, bad, .. } = self.comparison;
        let any = |hop: fn(&Row) -> Option<&HopReport>| self.path.rows.iter().find_map(hop);
        let answered = |hop: &HopReport| format!("is answered from {}", place(hop));
        let words = match (any(|row| row.good.as_ref()), any(|row| row.bad.as_ref())) {
            (Some(hop), None) if !bad.delivered() => (answered(hop), end(bad)),
            (None, Some(hop)) if !good.delivered() => (end(good), answered(hop)),
            _ => return None,
        };
        let forward = self.comparison.path("forward")?;
        let last = forward.rows.iter().rposition(|row| row.both().is_some());
        Some(Parting {
            direction: "forward".into(),
            ..self.parting(PartingKind::Answer, last, words)
        })
    }
}

/// Whether both go from one row to another, past hops that only one of them has: those are branches of it.
fn goes_straight(before: Option<Pair<'_>>, hops: Pair<'_>) -> bool {
    before.is_some_and(|before| leads(before.0, hops.0) && leads(before.1, hops.1))
}

/// Whether packets go from one hop right to the other. A report that does not tell lists them in order.
fn leads(from: &HopReport, to: &HopReport) -> bool {
    if from.next.is_empty() {
        to.n == from.n + 1
    } else {
        from.next.contains(&to.n)
    }
}

/// How a side ended, in words.
fn end(side: &Side) -> String {
    let packets = side.verdict.packets;
    let some = packets.affected > 0 && packets.affected < packets.seen;
    let lost = if some {
        format!("{} packets: ", of(packets))
    } else {
        String::new()
    };
    format!("ends: {lost}{}", side.fate())
}

/// The fates differ, and no place of the paths tells where.
fn unplaced(comparison: &Comparison) -> Option<Parting> {
    let Comparison { good, bad, .. } = comparison;
    if good.verdict.outcome == bad.verdict.outcome && good.verdict.cause == bad.verdict.cause {
        return None;
    }
    let forward = comparison.path("forward")?;
    let words = |side: &Side| {
        if side.delivered() {
            "is delivered".to_owned()
        } else {
            end(side)
        }
    };
    Some(Parting {
        direction: forward.direction.clone(),
        kind: PartingKind::End,
        after_row: forward.rows.iter().rposition(|row| row.both().is_some()),
        good: words(good),
        bad: words(bad),
    })
}

/// Changes behind the last hop that both have.
pub(super) fn changes_behind(row: &Row) -> Option<(String, String)> {
    let (good, bad) = row.both()?;
    let good: Vec<_> = behind(good).collect();
    let bad: Vec<_> = behind(bad).collect();
    unlike(&good, &bad, false)
}
