//! What was read of the host for the verdict, with the time of each reading; what the verdict rests on is marked.

use super::Picture;
use super::verdict;
use crate::render::figures::duration;
use crate::render::page::{Line, Page, columns};
use crate::render::style::Ink;
use crate::report::ContextEntry;
use crate::tui::rows::{Row, Target};

/// The rows, by kind in the order of the report.
pub(super) fn rows(picture: &Picture<'_>) -> Vec<Row> {
    let context = &picture.snapshot.report.context;
    if context.is_empty() {
        return vec![Row::words(
            Ink::Quiet,
            "  Nothing was read yet: it is read when a packet is lost or does not come.",
        )];
    }
    let kinds = context.iter().map(|entry| columns(&entry.kind));
    let width = kinds.max().unwrap_or_default();
    let mut rows = Vec::new();
    for (at, entry) in context.iter().enumerate() {
        let decides = decides(picture, entry);
        let (mark, ink) = if decides {
            (picture.marks.to, Ink::Strong)
        } else {
            (" ", Ink::Plain)
        };
        let when = entry
            .at_ns
            .map_or_else(|| String::from("now"), |at| duration(at, &picture.marks));
        let head = Line::default()
            .push(Ink::Plain, " ")
            .push(Ink::Change, mark)
            .push(Ink::Plain, " ")
            .left(Ink::Quiet, &entry.kind, width + 2)
            .right(Ink::Quiet, &when, 8)
            .push(Ink::Plain, "  ")
            .push(Ink::Quiet, entry.namespace.as_deref().unwrap_or_default())
            .push(Ink::Plain, "  ");
        let mut page = Page::new(picture.width, picture.marks);
        page.prose(head, ink, &entry.text);
        let mut lines = page.into_lines().into_iter();
        if let Some(first) = lines.next() {
            rows.push(Row::of(first, Target::Line(at)));
        }
        rows.extend(lines.map(Row::text));
    }
    rows
}

/// Whether the verdict's evidence says the same.
fn decides(picture: &Picture<'_>, entry: &ContextEntry) -> bool {
    let verdict = verdict::of(picture);
    let here = verdict
        .place
        .as_ref()
        .is_none_or(|place| place.namespace == entry.namespace || entry.namespace.is_none());
    let first = entry.text.split_whitespace().next().unwrap_or_default();
    here && verdict
        .evidence
        .iter()
        .any(|piece| piece.kind == entry.kind && !first.is_empty() && piece.text.contains(first))
}
