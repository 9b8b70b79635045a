//! Packets, newest first: one row each, with how far it came and what became of it.

use super::Picture;
use crate::render::figures::duration;
use crate::render::page::Line;
use crate::render::style::Ink;
use crate::report::JourneyReport;
use crate::tui::rows::{Row, Target, cut};

/// The rows.
pub(super) fn rows(picture: &Picture<'_>) -> Vec<Row> {
    let packets = &picture.snapshot.packets;
    if packets.is_empty() {
        return vec![Row::words(Ink::Quiet, "  No packet has matched yet.")];
    }
    let mut rows = vec![heading(picture)];
    rows.extend(packets.iter().map(|packet| row(packet, picture)));
    rows
}

/// Colour of a fate.
pub(super) fn ink(fate: &str) -> Ink {
    match fate {
        "delivered" => Ink::Good,
        "dropped" => Ink::Bad,
        "vanished" => Ink::Doubt,
        "in-flight" => Ink::Quiet,
        _ => Ink::Plain,
    }
}

/// Its mark, so that colour does not tell alone.
fn mark(fate: &str, picture: &Picture<'_>) -> &'static str {
    match fate {
        "delivered" => picture.marks.good,
        "dropped" => picture.marks.bad,
        "vanished" => picture.marks.doubt,
        "left" => picture.marks.to,
        _ => picture.marks.dot,
    }
}

const WIDE: usize = 100;

fn heading(picture: &Picture<'_>) -> Row {
    let mut line = Line::default()
        .push(Ink::Quiet, "   ")
        .right(Ink::Quiet, "age", 8)
        .push(Ink::Plain, "  ")
        .left(Ink::Quiet, "fate", 10)
        .right(Ink::Quiet, "bytes", 6)
        .right(Ink::Quiet, "hops", 5)
        .right(Ink::Quiet, "took", 9)
        .push(Ink::Plain, "  ");
    line = line.push(
        Ink::Quiet,
        if picture.width >= WIDE {
            "tuple and headers"
        } else {
            "tuple"
        },
    );
    Row::text(line)
}

/// Hooks at devices: what counts as a hop.
fn is_hop(hook: &str) -> bool {
    hook.starts_with("tc-")
}

/// Nanoseconds from its first to its last event.
pub(super) fn took(packet: &JourneyReport) -> u64 {
    let at = |step: Option<&crate::report::StepReport>| step.map_or(0, |step| step.at_ns);
    at(packet.steps.last()).saturating_sub(at(packet.steps.first()))
}

/// Headers without the link layer's: on one line, the flags of TCP tell more.
fn without_macs(headers: &str) -> &str {
    const MACS: usize = "00:00:00:00:00:00 > 00:00:00:00:00:00".len();
    match headers.split_once(", ") {
        Some((macs, rest)) if macs.len() == MACS && macs.contains(" > ") => rest,
        _ => headers,
    }
}

fn row(packet: &JourneyReport, picture: &Picture<'_>) -> Row {
    let marks = &picture.marks;
    let first = packet.steps.first();
    let age = first.map_or(0, |step| picture.now_ns().saturating_sub(step.at_ns));
    let ink = ink(&packet.fate);
    let back = match packet.direction.as_str() {
        "forward" => " ",
        "reply" => "<",
        _ => "!",
    };
    let hops = packet
        .steps
        .iter()
        .filter(|step| is_hop(&step.hook))
        .count();
    let length = packet
        .steps
        .iter()
        .map(|step| step.length)
        .max()
        .unwrap_or_default();
    let line = Line::default()
        .push(ink, " ")
        .push(ink, mark(&packet.fate, picture))
        .push(Ink::Change, back)
        .right(Ink::Quiet, &duration(age, marks), 8)
        .push(Ink::Plain, "  ")
        .left(ink, &packet.fate, 10)
        .right(Ink::Plain, &length.to_string(), 6)
        .right(Ink::Plain, &hops.to_string(), 5)
        .right(Ink::Plain, &duration(took(packet), marks), 9)
        .push(Ink::Plain, "  ");
    let mut text = packet
        .steps
        .iter()
        .find_map(|step| step.tuple.clone())
        .unwrap_or_default();
    if picture.width >= WIDE
        && let Some(headers) = packet.steps.iter().find_map(|step| step.headers.as_deref())
    {
        text += "  ";
        text += without_macs(headers);
    }
    let room = picture.width.saturating_sub(line.width());
    Row::of(
        line.push(Ink::Plain, &cut(&text, room, marks.more)),
        Target::Journey(packet.id),
    )
}
