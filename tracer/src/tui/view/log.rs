//! The log, newest first.

use super::Picture;
use crate::render::figures::duration;
use crate::render::page::{Line, Page};
use crate::render::style::Ink;
use crate::tui::rows::{Row, Target};

/// The rows.
pub(super) fn rows(picture: &Picture<'_>) -> Vec<Row> {
    let mut rows = Vec::new();
    for (at, entry) in picture.snapshot.log.iter().enumerate().rev() {
        let mut page = Page::new(picture.width, picture.marks);
        let head = Line::default()
            .right(Ink::Quiet, &duration(entry.at_ns, &picture.marks), 9)
            .push(Ink::Plain, "  ");
        page.prose(head, entry.ink, &entry.text);
        let mut lines = page.into_lines().into_iter();
        if let Some(first) = lines.next() {
            rows.push(Row::of(first, Target::Line(at)));
        }
        rows.extend(lines.map(Row::text));
    }
    rows
}
