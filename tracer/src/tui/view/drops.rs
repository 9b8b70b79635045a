//! Losses of all flows by cause and place, with counts and rates; Enter shows the stack of one.

use super::Picture;
use crate::render::figures::{count, counted, duration};
use crate::render::page::{Line, Page};
use crate::render::style::Ink;
use crate::render::text::verdict::confidence;
use crate::report::LossReport;
use crate::report::stories::losses;
use crate::tui::rows::{Row, Target, cut, plain};

/// The rows, most packets first.
pub(super) fn rows(picture: &Picture<'_>) -> Vec<Row> {
    let flows = &picture.snapshot.report.flows;
    let losses = losses(flows);
    if losses.is_empty() {
        return vec![Row::words(
            Ink::Quiet,
            "  No packet of these flows was lost in this kernel so far.",
        )];
    }
    let mut rows = vec![Row::text(
        Line::default()
            .right(Ink::Quiet, "packets", 9)
            .right(Ink::Quiet, "per s", 9)
            .right(Ink::Quiet, "last", 9)
            .push(Ink::Quiet, "  cause, place"),
    )];
    for shared in losses {
        let loss = shared.loss;
        let line = Line::default()
            .right(Ink::Bad, &count(shared.packets), 9)
            .right(Ink::Plain, &rate(picture, shared.packets), 9)
            .right(
                Ink::Quiet,
                &duration(
                    picture.now_ns().saturating_sub(shared.last_ns),
                    &picture.marks,
                ),
                9,
            )
            .push(Ink::Plain, "  ")
            .push(Ink::Strong, &loss.cause)
            .push(Ink::Plain, "  ")
            .push(Ink::Plain, &place(loss));
        let line = match shared.flows {
            1 => line,
            n => line
                .push(Ink::Plain, "  ")
                .push(Ink::Quiet, &counted(n, "flow")),
        };
        rows.push(Row::of(line, Target::Loss(shared.flow.id, shared.index)));
        let room = picture.width.saturating_sub(29);
        rows.push(Row::text(
            Line::default()
                .push(Ink::Plain, &" ".repeat(29))
                .push(Ink::Quiet, &cut(&loss.summary, room, picture.marks.more)),
        ));
    }
    rows
}

/// Packets a second over the whole trace.
fn rate(picture: &Picture<'_>, packets: u64) -> String {
    let ms = picture.snapshot.report.trace.duration_ms.max(1);
    let milli = packets.saturating_mul(1_000_000) / ms;
    if milli >= 100_000 {
        count(milli / 1000)
    } else {
        format!("{}.{}", milli / 1000, milli % 1000 / 100)
    }
}

fn place(loss: &LossReport) -> String {
    let place = &loss.place;
    let words = [
        &place.namespace,
        &place.interface,
        &place.hook,
        &place.function,
    ];
    let words: Vec<&str> = words.into_iter().filter_map(Option::as_deref).collect();
    words.join("/")
}

/// One loss in full.
pub(super) fn open(flow: u32, index: usize, picture: &Picture<'_>) -> Option<(String, Vec<Row>)> {
    let report = &picture.snapshot.report;
    let flow = report.flows.iter().find(|f| f.id == flow)?;
    let loss = flow.losses.get(index)?;
    let mut page = Page::new(picture.width, picture.marks);
    page.prose(
        Line::default().push(Ink::Plain, " "),
        Ink::Strong,
        &loss.summary,
    );
    let mut field = |name: &str, text: &str| {
        let line = Line::default()
            .push(Ink::Plain, " ")
            .left(Ink::Quiet, name, 12);
        page.prose(line, Ink::Plain, text);
    };
    field(
        "cause",
        &format!("{}, {}", loss.cause, confidence(loss.confidence)),
    );
    field("place", &place(loss));
    field(
        "packets",
        &format!("{} ({})", count(loss.packets), loss.direction),
    );
    field(
        "reason",
        loss.reason.as_deref().unwrap_or("this kernel gives none"),
    );
    if let Some(tuple) = flow.title() {
        field("flow", &tuple);
    }
    field("stack", if loss.stack.is_empty() { "none" } else { "" });
    for frame in &loss.stack {
        field("", frame);
    }
    Some((
        format!("drop: {}", loss.cause),
        plain(page.into_lines()).collect(),
    ))
}
