//! The path as a list: hops by namespace, what changed between them, how many packets came how far and how fast, and
//! where they were lost. Both ways side by side where there is room.

mod columns;
mod end;
mod graph;
mod hop;

use super::Picture;
use crate::render::page::{Line, Page};
use crate::render::style::Ink;
use crate::render::text::path::changes;
use crate::report::{FlowReport, PathReport};
use crate::tui::changes;
use crate::tui::combined::ALL;
use crate::tui::rows::{Row, Target, cut, plain};
use columns::Columns;
use end::End;
use graph::BranchGraph;

pub(super) use hop::open;

/// From this width on the ways stand side by side.
const TWO_WAYS: usize = 150;
/// Space between them.
const BETWEEN: usize = 3;

/// The lists.
pub(super) fn rows(picture: &Picture<'_>) -> Vec<Row> {
    let Some(flow) = picture.flow else {
        return waiting(picture);
    };
    let ways: Vec<(usize, &PathReport)> = picture.paths().collect();
    match ways.as_slice() {
        [first, second, ..] if picture.width >= TWO_WAYS => {
            let width = (picture.width - BETWEEN) / 2;
            let left = way(picture, flow, *first, width);
            let right = way(picture, flow, *second, picture.width - BETWEEN - width);
            beside(left, right, width + BETWEEN)
        }
        ways => {
            let mut rows = Vec::new();
            for path in ways {
                if !rows.is_empty() {
                    rows.push(Row::default());
                }
                rows.extend(way(picture, flow, *path, picture.width));
            }
            rows
        }
    }
}

/// Nothing has come yet: what will be seen, and the evidence and advice that there are.
fn waiting(picture: &Picture<'_>) -> Vec<Row> {
    let mut page = Page::new(picture.width, picture.marks);
    page.gap();
    page.prose(
        Line::default().push(Ink::Plain, "  "),
        Ink::Quiet,
        "No packet has matched yet. Hops appear here as packets pass them.",
    );
    page.gap();
    crate::render::text::verdict::reasons(&mut page, &picture.snapshot.report.verdict);
    plain(page.into_lines()).collect()
}

/// Rows side by side; a row stands for what its left half stands for, else its right half.
fn beside(left: Vec<Row>, right: Vec<Row>, column: usize) -> Vec<Row> {
    let rows = left.len().max(right.len());
    let (mut left, mut right) = (left.into_iter(), right.into_iter());
    (0..rows)
        .map(|_| {
            let (l, r) = (
                left.next().unwrap_or_default(),
                right.next().unwrap_or_default(),
            );
            let mut line = l.line.to(column);
            for (ink, text) in r.line.pieces() {
                line = line.push(ink, text);
            }
            Row {
                line,
                target: l.target.or(r.target),
                is_verdict: l.is_verdict || r.is_verdict,
            }
        })
        .collect()
}

/// One way: a title, then hop after hop.
fn way(
    picture: &Picture<'_>,
    flow: &FlowReport,
    (index, path): (usize, &PathReport),
    width: usize,
) -> Vec<Row> {
    let mut graph = BranchGraph::of(path, picture.is_ascii());
    let columns = Columns::of(picture, path, width, graph.width());
    let end = End::of(flow, index);
    let ends_after = |n: u32| end.as_ref().filter(|end| end.after == n);
    let mut rows = vec![title(picture, flow, path, width)];
    if let Some(end) = ends_after(0) {
        rows.extend(end.rows(picture, &graph, width));
    }
    let words = |graph: &str, ink: Ink, text: &str| {
        let line = Line::default().push(Ink::Quiet, &format!(" {graph}"));
        let room = width.saturating_sub(line.width());
        line.push(ink, &cut(text, room, picture.marks.more))
    };
    let change = |graph: &BranchGraph<'_>, text: String| {
        let text = format!("  {} {text}", picture.marks.change);
        Row::text(words(&graph.passing(), Ink::Change, &text))
    };
    let mut namespace = None;
    for (hop, id) in path.hops.iter().zip(changes::ids(flow.id, path)) {
        if let Some(join) = graph.enter(hop.n) {
            rows.push(Row::text(words(&join, Ink::Quiet, "")));
        }
        let spot = hop.spot();
        if namespace.is_none() {
            let blank = " ".repeat(graph.width() + 1);
            let room = columns.start().saturating_sub(blank.len() + 1);
            let name = cut(&spot, room, picture.marks.more);
            let line = Line::default().push(Ink::Plain, &blank);
            rows.push(Row::text(columns.heading(line.push(Ink::Strong, &name))));
        } else if namespace.as_ref() != Some(&spot) {
            rows.push(Row::text(words(&graph.passing(), Ink::Strong, &spot)));
        }
        namespace = Some(spot);
        let before = changes(&picture.marks, hop, false);
        rows.extend(before.map(|text| change(&graph, flow.with_owners(&text))));
        let fresh = picture.snapshot.fresh.get(&id).copied();
        let line = columns.row(picture, hop, &graph.hop(), fresh);
        rows.push(Row::of(line, Target::Hop(index, hop.n)));
        let after = changes(&picture.marks, hop, true);
        rows.extend(after.map(|text| change(&graph, flow.with_owners(&text))));
        if let Some(end) = ends_after(hop.n) {
            rows.extend(end.rows(picture, &graph, width));
        }
        if let Some(fork) = graph.leave() {
            rows.push(Row::text(words(&fork, Ink::Quiet, "")));
        }
    }
    rows
}

/// The way, its tuple, and whose it is when several flows stand together.
fn title(picture: &Picture<'_>, flow: &FlowReport, path: &PathReport, width: usize) -> Row {
    let first = path.hops.first().map(|hop| flow.with_owners(&hop.tuple));
    let tuple = first.or_else(|| flow.title()).unwrap_or_default();
    let head = format!(" {}  ", path.direction);
    let others = if flow.id == ALL { "  and others" } else { "" };
    let room = width.saturating_sub(head.len() + others.len());
    Row::text(
        Line::default()
            .push(Ink::Strong, &head)
            .push(Ink::Plain, &cut(&tuple, room, picture.marks.more))
            .push(Ink::Quiet, others),
    )
}
