//! The report as a diagram (SVG, a document of its own): the path of the worst flow through its namespaces, what
//! changed on the way, where it ended and why. For tickets and pages, dark or light; colour never tells alone.

mod canvas;
mod column;

use super::figures::{counted, duration};
use super::style::{Face, UNICODE};
use super::text::completeness;
use super::text::path::{End, end_of};
use super::text::verdict::{confidence, packets, sentence};
use super::text::{outcomes, seconds};
use crate::report::{FlowReport, PathReport, Report};
use crate::verdict::Verdict;
use canvas::{Canvas, LINE, TEXT, class, wrap};
use column::{Column, paragraph};

/// Space at the edges of the picture and between columns.
const EDGE: f32 = 20.0;
const BETWEEN: f32 = 24.0;
/// Text beside the symbol of the verdict.
const BESIDE: f32 = 28.0;
/// Narrowest picture: of a trace without packets.
const NARROWEST: f32 = 560.0;

/// The diagram.
#[must_use]
pub fn svg(report: &Report) -> String {
    let flow = report.flows.first();
    let verdict = flow.map_or(&report.verdict, |flow| &flow.verdict);
    let end = match flow {
        Some(flow) => end_of(flow),
        None => End::without_path(verdict),
    };
    let none = PathReport {
        direction: "forward".to_owned(),
        hops: Vec::new(),
        checks: Vec::new(),
    };
    let tuple = flow.and_then(FlowReport::title);
    let tuple = tuple.as_deref().unwrap_or("no packet");
    let paths = flow.map_or(std::slice::from_ref(&none), |flow| &flow.paths);
    let columns: Vec<Column<'_>> = paths
        .iter()
        .enumerate()
        .map(|(i, path)| (path, end.as_ref().filter(|end| end.path == i)))
        .filter(|(path, end)| !path.hops.is_empty() || end.is_some())
        .map(|(path, end)| {
            let first = flow.zip(path.hops.first());
            let first = first.map(|(flow, hop)| flow.with_owners(&hop.tuple));
            let first = first.as_deref().unwrap_or(tuple);
            let title = format!("{}: {first}", path.direction);
            Column::new(title, path, end.map(|end| (end, verdict.summary.as_str())))
        })
        .collect();
    let width = columns
        .iter()
        .map(|column| column.width() + BETWEEN)
        .sum::<f32>()
        - BETWEEN;
    let width = width.max(NARROWEST);

    let mut drawn = Canvas::default();
    let mut y = EDGE;
    y += head(&mut drawn, y, width, report, verdict) + LINE;
    let mut x = EDGE;
    let mut bottom = y;
    for column in &columns {
        bottom = (y + column.draw(&mut drawn, (x, y))).max(bottom);
        x += column.width() + BETWEEN;
    }
    if !columns.is_empty() {
        bottom += LINE;
    }
    bottom += foot(&mut drawn, bottom, width, report);
    let size = (width + 2.0 * EDGE, bottom + EDGE);
    let mut canvas = Canvas::default();
    canvas.rect((0.5, 0.5), (size.0 - 1.0, size.1 - 1.0), "card");
    canvas.append(drawn);
    canvas.document(size.0, size.1, &sentence(verdict))
}

/// Columns of text that fit into so many pixels.
fn fitting(pixels: f32) -> usize {
    let mut most = 0;
    while canvas::width(most + 1) <= pixels {
        most += 1;
    }
    most
}

/// Outcome, summary, cause; what was followed. Gives its height.
fn head(canvas: &mut Canvas, top: f32, width: f32, report: &Report, verdict: &Verdict) -> f32 {
    let face = Face::of(verdict.outcome);
    canvas.symbol((EDGE + 9.0, top + LINE / 2.0), face.ink);
    let room = fitting(width - BESIDE);
    let left = EDGE + BESIDE;
    let mut y = top;
    let mut items = vec![face.word.to_owned()];
    if let Some(cause) = &verdict.cause {
        items.push(cause.clone());
        items.push(confidence(verdict.confidence).to_owned());
    }
    items.extend(packets(verdict));
    let lines = wrap(&items.join(" · "), room);
    y += paragraph(canvas, (left, y), class(face.ink), &lines);
    y += paragraph(canvas, (left, y), "strong", &wrap(&verdict.summary, room));
    let expression = match report.trace.expression.as_str() {
        "" => "all packets",
        expression => expression,
    };
    y += paragraph(canvas, (left, y), "quiet", &wrap(expression, room));
    y - top
}

/// What else there is: other flows, how complete the trace is, where it was made. Gives its height.
fn foot(canvas: &mut Canvas, top: f32, width: f32, report: &Report) -> f32 {
    let mut texts = Vec::new();
    if let Some((_, others)) = report
        .flows
        .split_first()
        .filter(|(_, rest)| !rest.is_empty())
    {
        let more = counted(others.len() as u64, "other flow");
        texts.push(("plain", format!("{more}: {}", outcomes(others.iter()))));
    }
    let gaps = completeness::gaps(report);
    texts.push(match gaps.first() {
        None => ("quiet", format!("{} nothing lost", UNICODE.good)),
        Some(gap) => ("doubt", format!("{} INCOMPLETE: {gap}", UNICODE.doubt)),
    });
    let (trace, host) = (&report.trace, &report.host);
    let nodes: Vec<&str> = report.nodes.iter().map(|node| node.name.as_str()).collect();
    let machine = if nodes.is_empty() {
        format!("{}, Linux {}", host.hostname, host.kernel)
    } else {
        format!(
            "{}: {}",
            counted(nodes.len() as u64, "node"),
            nodes.join(", ")
        )
    };
    let took = duration(trace.duration_ms.saturating_mul(1_000_000), &UNICODE);
    texts.push((
        "quiet",
        format!(
            "{machine} · {} · {took} · {} {}",
            seconds(&trace.started_at),
            report.tool.name,
            report.tool.version
        ),
    ));
    let room = fitting(width);
    let mut y = top;
    for (class, text) in texts {
        y += paragraph(canvas, (EDGE, y), class, &wrap(&text, room));
    }
    // letters hang below their line
    y - top - (LINE - TEXT) / 2.0
}

#[cfg(test)]
mod tests;
