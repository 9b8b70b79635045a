//! One packet: every event with the time since the one before, headers, how it was joined, and the stack of a drop.

use super::Picture;
use super::packets::{ink, took};
use crate::render::figures::duration;
use crate::render::page::{Line, Page};
use crate::render::style::Ink;
use crate::tui::rows::{Row, plain};

/// Title and rows.
pub(super) fn rows(id: u64, picture: &Picture<'_>) -> Option<(String, Vec<Row>)> {
    let snapshot = picture.snapshot;
    let packet = snapshot
        .packets
        .iter()
        .chain(&snapshot.report.journeys)
        .find(|packet| packet.id == id)?;
    let marks = &picture.marks;
    let mut page = Page::new(picture.width, *marks);
    let mut before = None;
    for step in &packet.steps {
        let since = before.map_or_else(
            || String::from("0"),
            |at| format!("+{}", duration(step.at_ns.saturating_sub(at), marks)),
        );
        before = Some(step.at_ns);
        let place = match (&step.namespace, &step.interface) {
            (Some(namespace), Some(interface)) => format!("{namespace}/{interface}"),
            (Some(namespace), None) => namespace.clone(),
            (None, Some(interface)) => interface.clone(),
            (None, None) => String::new(),
        };
        let lost = step.hook == "kfree_skb";
        let name = if lost { Ink::Bad } else { Ink::Strong };
        let line = Line::default()
            .right(Ink::Quiet, &since, 10)
            .push(Ink::Plain, "  ")
            .push(name, &step.hook)
            .push(Ink::Plain, "  ")
            .push(Ink::Plain, &place);
        page.line(line);
        let indent = || Line::default().push(Ink::Plain, "            ");
        if let Some(detail) = &step.detail {
            page.prose(indent(), if lost { Ink::Bad } else { Ink::Plain }, detail);
        }
        if let Some(tuple) = &step.tuple {
            page.prose(indent(), Ink::Change, tuple);
        }
        let mut quiet = vec![format!("{} bytes", step.length)];
        quiet.extend(step.headers.clone());
        quiet.push(format!("joined by {}", step.joined));
        page.prose(indent(), Ink::Quiet, &quiet.join(", "));
        if !step.stack.is_empty() {
            let below = step.stack.join(" < ");
            page.prose(indent(), Ink::Quiet, &format!("stack {below}"));
        }
    }
    if packet.steps_left_out > 0 {
        page.prose(
            Line::default().push(Ink::Plain, "  "),
            Ink::Doubt,
            &format!("{} events are left out: too many", packet.steps_left_out),
        );
    }
    let fate = Line::default()
        .push(Ink::Plain, "  ")
        .push(ink(&packet.fate), &packet.fate)
        .push(
            Ink::Quiet,
            &format!(" after {}", duration(took(packet), marks)),
        );
    page.line(fate);
    let title = format!(
        "packet {} ({}, flow {})",
        packet.id, packet.direction, packet.flow
    );
    Some((title, plain(page.into_lines()).collect()))
}
