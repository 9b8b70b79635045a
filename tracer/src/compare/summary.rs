//! The comparison in one line, and what to bear in mind.

use super::{Comparison, PartingKind, PathPair, Relation, Row, Side, place};
use crate::report::{Completeness, Report};

/// Places of a way that are named; of more the first and the last ones.
const NAMED: usize = 4;

/// The answer: how far they go together, and what each does then.
pub(super) fn line(comparison: &Comparison) -> String {
    let Comparison { good, bad, .. } = comparison;
    let Some(parting) = &comparison.parting else {
        return together(comparison);
    };
    let path = comparison.path(&parting.direction);
    let common = path
        .zip(parting.after_row)
        .and_then(|(path, row)| common(path, row));
    let answers = if parting.direction == "reply" {
        "the answers of "
    } else {
        ""
    };
    let later = comparison
        .sides()
        .into_iter()
        .zip([&parting.good, &parting.bad])
        .filter(|((_, side), words)| !side.delivered() && !words.contains(&side.fate()))
        .map(|((name, side), _)| format!("; {name} ends later: {}", side.fate()));
    let later: String = later.collect();
    let then = format!("GOOD {}, BAD {}{later}", parting.good, parting.bad);
    let line = match (common, parting.kind) {
        (None, _) => format!("{answers}they diverge before the first hop: {then}"),
        (Some(way), PartingKind::Answer) => format!("both arrive: {way}; {then}"),
        (Some(way), _) => format!("{answers}both go {way}; then {then}"),
    };
    let line = line.replacen("the answers of both go", "the answers to both go", 1);
    let line = line.replacen("the answers of they diverge", "the answers diverge", 1);
    if good.delivered() && bad.delivered() {
        format!("both are delivered, over paths that diverge: {line}")
    } else {
        line
    }
}

fn together(comparison: &Comparison) -> String {
    let Comparison { good, bad, .. } = comparison;
    if !(good.delivered() && bad.delivered()) {
        return format!("they do not diverge: both end alike: {}", bad.fate());
    }
    let hops: usize = comparison.paths.iter().map(|path| path.rows.len()).sum();
    let what = match comparison.differences.len() {
        0 => "no difference was seen".to_owned(),
        1 => "one difference was seen".to_owned(),
        count => format!("{count} differences were seen"),
    };
    format!("they do not diverge: both are delivered over the same {hops} hops; {what}")
}

/// `client/eth0 → node1/veth1a2b → … → node2/flannel.1`.
fn common(path: &PathPair, last: usize) -> Option<String> {
    let rows = path.rows.get(..=last)?;
    let mut names: Vec<String> = Vec::new();
    for row in rows.iter().filter(|row| row.both().is_some()) {
        let name = name(row)?;
        // in and out of one interface
        if names.last() != Some(&name) {
            names.push(name);
        }
    }
    if names.len() > NAMED {
        let last = names.split_off(names.len() - (NAMED - 2));
        names.truncate(1);
        names.push("…".to_owned());
        names.extend(last);
    }
    Some(names.join(" → "))
}

/// The place of both; where they differ GOOD's, and BAD's in brackets.
pub(super) fn name(row: &Row) -> Option<String> {
    match (row.relation, &row.good, &row.bad) {
        (Relation::Alike, Some(good), Some(bad)) => {
            Some(format!("{} (BAD: {})", place(good), place(bad)))
        }
        (_, Some(hop), _) | (_, _, Some(hop)) => Some(place(hop)),
        _ => None,
    }
}

/// What may be wrong about the comparison itself.
pub(super) fn notes(comparison: &Comparison, good: &Report, bad: &Report) -> Vec<String> {
    let mut notes = Vec::new();
    match (comparison.good.delivered(), comparison.bad.delivered()) {
        (false, true) => {
            notes.push("BAD was delivered and GOOD was not: are the files swapped?".to_owned());
        }
        (false, false) => notes.push(format!(
            "GOOD was not delivered either: {}",
            comparison.good.fate()
        )),
        _ => {}
    }
    for ((name, side), report) in comparison.sides().into_iter().zip([good, bad]) {
        notes.extend(incomplete(name, side, &report.trace.completeness));
    }
    notes
}

fn incomplete(name: &str, side: &Side, seen: &Completeness) -> Option<String> {
    let missing = seen.lost_events + seen.map_full + seen.decode_errors + seen.tags_evicted;
    (missing > 0).then(|| {
        format!(
            "the trace of {name} ({}) is incomplete: a hop that seems to be missing may only not have been seen",
            side.file
        )
    })
}
