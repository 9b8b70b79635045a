//! One packet: every event with the time since the one before, headers where they change, how it was joined, and the stack of a drop.

use super::Picture;
use super::packets::{ink, took};
use crate::render::figures::duration;
use crate::render::page::{Line, Page};
use crate::render::style::Ink;
use crate::report::StepReport;
use crate::tui::rows::{Row, plain};

/// Widths of the names of hooks and of places; longer ones push the rest aside.
const HOOK: usize = 17;
const PLACE: usize = 18;

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
    let mut before: Option<&StepReport> = None;
    for step in &packet.steps {
        event(&mut page, step, before);
        before = Some(step);
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

/// One event; of what it says about the packet only what the event before did not say.
fn event(page: &mut Page, step: &StepReport, before: Option<&StepReport>) {
    let since = before.map_or_else(
        || String::from("0"),
        |before| {
            let ns = step.at_ns.saturating_sub(before.at_ns);
            format!("+{}", duration(ns, &page.marks))
        },
    );
    let place = [&step.namespace, &step.interface];
    let place: Vec<&str> = place.into_iter().filter_map(Option::as_deref).collect();
    let lost = step.hook == "kfree_skb";
    let (name, words) = if lost {
        (Ink::Bad, Ink::Bad)
    } else {
        (Ink::Strong, Ink::Plain)
    };
    let line = Line::default()
        .right(Ink::Quiet, &since, 10)
        .push(Ink::Plain, "  ")
        .left(name, &step.hook, HOOK)
        .push(Ink::Plain, " ")
        .left(Ink::Plain, &place.join("/"), PLACE)
        .push(
            Ink::Quiet,
            &format!(" {} bytes, {}", step.length, step.joined),
        );
    page.line(line);
    let indent = || Line::default().push(Ink::Plain, "            ");
    if let Some(detail) = &step.detail {
        page.prose(indent(), words, detail);
    }
    let said = |field: fn(&StepReport) -> &Option<String>| {
        let now = field(step).as_deref();
        now.filter(|now| before.and_then(|before| field(before).as_deref()) != Some(now))
    };
    if let Some(tuple) = said(|step| &step.tuple) {
        page.prose(indent(), Ink::Change, tuple);
    }
    if let Some(headers) = said(|step| &step.headers) {
        page.prose(indent(), Ink::Quiet, headers);
    }
    if !step.stack.is_empty() {
        let stack = format!("stack {}", step.stack.join(" < "));
        page.prose(indent(), Ink::Quiet, &stack);
    }
}
