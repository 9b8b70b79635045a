//! What was read of the host for the verdict, with the time of each reading; what the verdict rests on is marked.

use std::collections::BTreeSet;

use super::Picture;
use super::verdict;
use crate::render::figures::duration;
use crate::render::page::{Line, Page, columns};
use crate::render::style::Ink;
use crate::render::text::changes;
use crate::report::ContextEntry;
use crate::tui::rows::{Row, Target};
use crate::verdict::{Evidence, spot};

/// The rows, by kind in the order of the report.
pub(super) fn rows(picture: &Picture<'_>) -> Vec<Row> {
    let context = &picture.snapshot.report.context;
    let mut rows = changed(picture);
    if context.is_empty() && !rows.is_empty() {
        return rows;
    }
    if context.is_empty() {
        return vec![Row::words(
            Ink::Quiet,
            "  Nothing was read yet: it is read when a packet is lost or does not come.",
        )];
    }
    let kinds = context.iter().map(|entry| columns(&entry.kind));
    let width = kinds.max().unwrap_or_default();
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
            .push(
                Ink::Quiet,
                &spot(
                    entry.node.as_deref(),
                    entry.namespace.as_deref().unwrap_or_default(),
                ),
            )
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

/// What changed of the host, above what was read of it.
fn changed(picture: &Picture<'_>) -> Vec<Row> {
    let report = &picture.snapshot.report;
    if report.changes.is_empty() {
        return Vec::new();
    }
    let mut rows = vec![Row::words(Ink::Strong, changes::title(report))];
    for change in &report.changes {
        let when = changes::when(change, &picture.marks);
        let head = Line::default()
            .push(Ink::Plain, "   ")
            .left(Ink::Quiet, &when, 16)
            .push(Ink::Plain, "  ");
        let mut page = Page::new(picture.width, picture.marks);
        page.prose(head, Ink::Plain, &changes::text(change));
        rows.extend(page.into_lines().into_iter().map(Row::text));
    }
    rows.push(Row::words(Ink::Plain, ""));
    rows
}

/// Whether the verdict's evidence says the same: of one kind, at the same place, and for the most part in the same
/// words, for each of the two is written for its own reader.
fn decides(picture: &Picture<'_>, entry: &ContextEntry) -> bool {
    let verdict = verdict::of(picture);
    let here = verdict.place.as_ref().is_none_or(|place| {
        (&place.node, &place.namespace) == (&entry.node, &entry.namespace)
            || entry.namespace.is_none()
    });
    let read = words(&entry.text);
    let same = |evidence: &Evidence| {
        let said = words(&evidence.text);
        let common = said.intersection(&read).count();
        evidence.kind == entry.kind && common * 2 > said.len()
    };
    here && verdict.evidence.iter().any(same)
}

/// Names and numbers of a text.
fn words(text: &str) -> BTreeSet<&str> {
    text.split(|c: char| !(c.is_alphanumeric() || "._:-".contains(c)))
        .map(|word| word.trim_matches([':', '.']))
        .filter(|word| !word.is_empty())
        .collect()
}

#[cfg(test)]
mod tests {
    use super::words;

    #[test]
    fn names_are_words_however_they_are_joined() {
        let chain = words("filter/FORWARD (nf_tables): policy drop");
        assert!(chain.contains("filter") && chain.contains("FORWARD"));
        assert!(words("net.ipv4.ip_forward = 0").contains("net.ipv4.ip_forward"));
        assert!(words("via 10.0.0.1, fe80::1").contains("fe80::1"));
    }
}
