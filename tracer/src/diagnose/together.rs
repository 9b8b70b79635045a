//! Several flows that fail in one way at one place: the first change of the verdict mends all of them, where each has its own line.

use crate::verdict::{Advice, AdviceKind, Verdict};

use super::view::View;

/// Causes of which the first change names the flow: what passes a filter, or a neighbour entry.
const BY_FLOW: &[&str] = &[
    "netfilter.drop",
    "netfilter.reject",
    "l2.wrong-destination-mac",
];
/// Most lines of a change that mends several flows.
const MOST: usize = 8;

/// Adds to the first change of the verdict what those of other flows with this cause at this place say.
pub(super) fn tell(meant: &[(&View<'_>, &Verdict)], overall: &mut Verdict) {
    let by_flow = |cause: &str| BY_FLOW.contains(&cause);
    if !overall.cause.as_deref().is_some_and(by_flow) {
        return;
    }
    let alike = |verdict: &Verdict| {
        (verdict.outcome, &verdict.cause, &verdict.place)
            == (overall.outcome, &overall.cause, &overall.place)
    };
    let others: Vec<&Verdict> = meant
        .iter()
        .map(|(_, verdict)| *verdict)
        .filter(|verdict| alike(verdict))
        .collect();
    let Some(first) = first_change(&overall.advice) else {
        return;
    };
    let Some(text) = overall.advice.get(first).map(|change| change.text.clone()) else {
        return;
    };
    let alone = overall.advice.get(first).and_then(|a| a.command.clone());
    let undo = undo_of(&overall.advice, first);
    for other in others {
        let Some(at) = first_change(&other.advice) else {
            continue;
        };
        let same = other.advice.get(at).filter(|change| change.text == text);
        let back = undo_of(&other.advice, at);
        let Some(change) = same.filter(|_| undo.is_some() == back.is_some()) else {
            continue;
        };
        let Some(own) = overall
            .advice
            .get_mut(first)
            .filter(|own| room(own, change))
        else {
            continue;
        };
        add(own, change);
        if let (Some(undo), Some(back)) = (undo, back)
            && let (Some(own), Some(back)) = (overall.advice.get_mut(undo), other.advice.get(back))
        {
            add(own, back);
        }
    }
    let grown = overall
        .advice
        .get(first)
        .is_some_and(|change| change.command != alone);
    if let Some(change) = overall.advice.get_mut(first).filter(|_| grown) {
        change.text += ", for each of the flows";
    }
}

fn first_change(advice: &[Advice]) -> Option<usize> {
    let is_change = |advice: &Advice| advice.kind == AdviceKind::Change && advice.command.is_some();
    advice.iter().position(is_change)
}

/// The entry that takes back the one at this place.
fn undo_of(advice: &[Advice], change: usize) -> Option<usize> {
    let number = u32::try_from(change + 1).ok()?;
    advice.iter().position(|a| a.undoes == Some(number))
}

/// Lines of another entry that this one has not.
fn new_lines<'a>(own: &Advice, other: &'a Advice) -> Vec<&'a str> {
    let known: Vec<&str> = own.command.iter().flat_map(|lines| lines.lines()).collect();
    let lines = other.command.iter().flat_map(|lines| lines.lines());
    lines.filter(|line| !known.contains(line)).collect()
}

/// Whether there is room for all of them: half of a change must not be made.
fn room(own: &Advice, other: &Advice) -> bool {
    let known = own.command.iter().flat_map(|lines| lines.lines()).count();
    known + new_lines(own, other).len() <= MOST
}

fn add(own: &mut Advice, other: &Advice) {
    let more: String = new_lines(own, other)
        .iter()
        .map(|line| format!("\n{line}"))
        .collect();
    if let Some(command) = &mut own.command {
        command.push_str(&more);
    }
}
