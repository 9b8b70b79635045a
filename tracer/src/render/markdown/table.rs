//! Paths as tables.

use super::MARKS;
use super::escape::{cell, code, prose};
use crate::render::figures::{count, counted, duration};
use crate::render::place;
use crate::render::text::path::{End, changes, end_of};
use crate::render::window::Window;
use crate::report::{FlowReport, HopReport, PathReport};

/// Lines around the rows of a path: heading, an empty line, two of the table's head, an empty line.
const AROUND: usize = 5;

/// Both ways of a flow in at most `room` lines.
pub(super) fn paths(flow: &FlowReport, room: usize) -> Vec<String> {
    let end = end_of(flow);
    let ways: Vec<(&PathReport, Option<&End>)> = flow
        .paths
        .iter()
        .enumerate()
        .map(|(i, path)| (path, end.as_ref().filter(|end| end.path == i)))
        .filter(|(path, end)| !path.hops.is_empty() || end.is_some())
        .collect();
    let mut room = room;
    let mut lines = Vec::new();
    for (i, (path, end)) in ways.iter().enumerate() {
        // what one way does not need, the next may have
        let later: usize = ways.iter().skip(i + 1).map(|(path, _)| needs(path)).sum();
        let share = (room / (ways.len() - i)).max(room.saturating_sub(later));
        let own = way(flow, path, *end, share.saturating_sub(AROUND));
        room = room.saturating_sub(own.len());
        lines.extend(own);
    }
    lines
}

/// Lines of a whole path.
fn needs(path: &PathReport) -> usize {
    path.hops.len() + 1 + AROUND
}

/// One way as a table of at most `room` rows.
fn way(flow: &FlowReport, path: &PathReport, end: Option<&End>, room: usize) -> Vec<String> {
    let first = path.hops.first().map(|hop| flow.with_owners(&hop.tuple));
    let tuple = first.or_else(|| flow.title());
    let title = match path.direction.as_str() {
        "forward" => "Path".to_owned(),
        other => format!("Path, {}", prose(other)),
    };
    let mut lines = vec![
        format!(
            "### {title}: {}",
            code(tuple.as_deref().unwrap_or("no packet"))
        ),
        String::new(),
        "| # | place | hook | packets | to next | p99 | what changed |".to_owned(),
        "|--:|---|---|--:|--:|--:|---|".to_owned(),
    ];
    // the end and the note of what was left out need a row each
    let window = Window::new(
        path.hops.len(),
        end.map(|end| end.after),
        room.saturating_sub(2),
    );
    lines.extend(
        end.filter(|end| end.after == 0)
            .map(|end| end_row(end, None)),
    );
    for (i, hop) in path.hops.iter().enumerate() {
        let here = end.filter(|end| end.after == i + 1);
        if let Some(more) = window.left_out(i) {
            lines.push(format!(
                "| … | {}, in the JSON report | | | | | |",
                counted(more as u64, "more hop")
            ));
        }
        if window.shows(i) {
            lines.push(hop_row(flow, hop, here.is_none()));
        }
        lines.extend(here.map(|end| end_row(end, Some(hop))));
    }
    lines.push(String::new());
    lines
}

/// A hop; losses after it unless the verdict's row tells them.
fn hop_row(flow: &FlowReport, hop: &HopReport, losses: bool) -> String {
    let latency = |ns: Option<u64>| ns.map(|ns| duration(ns, &MARKS)).unwrap_or_default();
    let mut changed: Vec<String> = changes(&MARKS, hop, false)
        .map(|text| flow.with_owners(&text))
        .collect();
    changed.extend(
        hop.rewrites
            .iter()
            .filter(|text| text.starts_with("ttl "))
            .cloned(),
    );
    if hop.lost_after > 0 && losses {
        changed.push(format!("{} lost after it", count(hop.lost_after)));
    }
    format!(
        "| {} | {} | {} | {} | {} | {} | {} |",
        hop.n,
        cell(&code(&place::hop(hop))),
        cell(&prose(&hop.hook)),
        count(hop.packets),
        latency(hop.latency_ns.map(|latency| latency.p50)),
        latency(hop.latency_ns.map(|latency| latency.p99)),
        cell(&prose(&changed.join(", "))),
    )
}

/// Where the verdict stands, with what changed on the way from the hop before.
fn end_row(end: &End, hop: Option<&HopReport>) -> String {
    let place = end.place.as_ref().map(place::place).unwrap_or_default();
    let hook = end.place.as_ref().and_then(|place| place.hook.as_deref());
    let mut words = vec![format!("**{}**", end.face.word)];
    words.extend(
        end.function()
            .map(|function| format!("in {}", code(function))),
    );
    let changed = hop.into_iter().flat_map(|hop| changes(&MARKS, hop, true));
    words.extend(changed.map(|text| format!("after {}", prose(&text))));
    let place = match place.as_str() {
        "" => String::new(),
        place => format!("**{}**", code(place)),
    };
    let packets = match end.packets {
        0 => String::new(),
        packets => format!("**{}**", count(packets)),
    };
    format!(
        "| **{}** | {} | {} | {packets} | | | {} |",
        end.face.mark(&MARKS),
        cell(&place),
        cell(
            &hook
                .map(|hook| format!("**{}**", prose(hook)))
                .unwrap_or_default()
        ),
        cell(&words.join(" ")),
    )
}
