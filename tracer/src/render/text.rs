//! The report as text for a person: the answer first, then how the packets went, then why and what to type.
//!
//! ```text
//! verdict in one line
//! what was traced
//!
//! flow                         worst first, those with the same verdict together
//!   hops, rewrites, and the place of the loss; the way back
//!   verdict, evidence, advice
//!
//! what changed of the host meanwhile
//! how complete the trace is
//! ```
//! Made from the [`Report`] alone. Readable at 60 columns and without colour. Commands are never wrapped or cut.

pub(crate) mod changes;
pub(crate) mod completeness;
pub mod considered;
pub(crate) mod path;
mod table;
pub(crate) mod verdict;

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::io::{self, Write};

use super::figures::{count, counted, duration};
use super::page::{Line, Page};
use super::style::{ASCII, Face, Ink, UNICODE};
use crate::report::stories::stories;
use crate::report::{ClockReport, FlowReport, NodeReport, Report};
use crate::verdict::Outcome;

/// How text is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TextStyle {
    /// Columns of the terminal.
    pub width: usize,
    /// With colours.
    pub color: bool,
    /// Without characters beyond ASCII of its own (names keep theirs).
    pub ascii: bool,
    /// Flows that are shown in full, each with the number of those like it; the rest are counted.
    pub flows: usize,
    /// What packets were checked by between the hops.
    pub checks: bool,
}

impl Default for TextStyle {
    fn default() -> Self {
        Self {
            width: 80,
            color: false,
            ascii: false,
            flows: 5,
            checks: false,
        }
    }
}

/// Narrower than this, columns would be all ellipsis.
const NARROWEST: usize = 40;

/// Writes the report.
///
/// # Errors
/// Those of the writer.
pub fn write(out: &mut impl Write, report: &Report, style: &TextStyle) -> io::Result<()> {
    let marks = if style.ascii { ASCII } else { UNICODE };
    let mut page = Page::new(style.width.max(NARROWEST), marks);
    verdict::headline(&mut page, &report.verdict);
    header(&mut page, report);
    let stories = stories(&report.flows);
    let shown = stories.len().min(style.flows);
    let (told, left) = stories.split_at(shown);
    for story in told {
        let Some((flow, others)) = story.split_first() else {
            continue;
        };
        page.gap();
        title(&mut page, flow, report.flows.len());
        processes(&mut page, flow);
        same(&mut page, others);
        path::rows(&mut page, flow, style.checks);
        page.gap();
        verdict::block(&mut page, &flow.verdict);
    }
    if report.flows.is_empty() {
        page.gap();
        verdict::reasons(&mut page, &report.verdict);
    }
    rest(&mut page, &left.concat());
    changes::lines(&mut page, report);
    page.gap();
    completeness::lines(&mut page, report);
    page.write(out, style.color)
}

/// What was traced, where and for how long.
fn header(page: &mut Page, report: &Report) {
    let trace = &report.trace;
    let time = duration(trace.duration_ms.saturating_mul(1_000_000), &page.marks);
    let host = &report.host;
    let expression = match trace.expression.as_str() {
        "" => "all packets",
        expression => expression,
    };
    page.prose(
        Line::default().push(Ink::Plain, "  "),
        Ink::Plain,
        expression,
    );
    let between = format!(" {} ", page.marks.dot);
    let mut items = vec![format!("{} in {time}", counted(trace.packets, "packet"))];
    if report.flows.len() > 1 {
        let flows = match trace.flows_counted {
            0 => counted(trace.flows_seen, "flow"),
            more => format!(
                "{} of {} followed",
                count(trace.flows_seen),
                counted(trace.flows_seen + more, "flow")
            ),
        };
        items.push(format!("{flows}: {}", outcomes(report.flows.iter())));
    }
    items.extend(if report.nodes.is_empty() {
        vec![format!("{}, Linux {}", host.hostname, host.kernel)]
    } else {
        report.nodes.iter().map(node).collect()
    });
    items.push(seconds(&trace.started_at));
    page.flow(
        Line::default().push(Ink::Quiet, "  "),
        &between,
        items.into_iter().map(|item| (Ink::Quiet, Cow::Owned(item))),
    );
}

/// `worker-2, Linux 6.1, clock 1.2 ms ahead ± 40 µs`.
pub(crate) fn node(node: &NodeReport) -> String {
    let marks = UNICODE;
    let ns = |ns| duration(ns, &marks);
    let ClockReport {
        ahead_ns,
        uncertainty_ns,
        basis,
        ..
    } = &node.clock;
    let name = format!("{}, Linux {}", node.name, node.host.kernel);
    if basis == "reference" {
        return name;
    }
    let way = if *ahead_ns < 0 { "behind" } else { "ahead" };
    let by = ns(ahead_ns.unsigned_abs());
    match uncertainty_ns {
        Some(uncertainty) => format!("{name}, clock {by} {way} ± {}", ns(*uncertainty)),
        None => format!("{name}, clock {by} {way} (by {basis})"),
    }
}

/// RFC 3339 without its fraction: `2026-09-21 14:13:20Z`.
pub(crate) fn seconds(at: &str) -> String {
    let whole = at.split(['.', 'Z']).next().unwrap_or(at);
    format!("{}Z", whole.replacen('T', " ", 1))
}

fn title(page: &mut Page, flow: &FlowReport, flows: usize) {
    let asked = flow.title();
    let mut line = Line::default();
    if flows > 1 {
        line = line.push(Ink::Quiet, &format!("flow {}  ", flow.id));
    }
    page.prose(line, Ink::Strong, asked.as_deref().unwrap_or("no packet"));
}

/// Who sends and who receives.
fn processes(page: &mut Page, flow: &FlowReport) {
    if let Some(words) = flow.processes() {
        page.prose(Line::default().push(Ink::Quiet, "  "), Ink::Quiet, &words);
    }
}

/// How many more flows have the story that is told, and which.
fn same(page: &mut Page, others: &[&FlowReport]) {
    if others.is_empty() {
        return;
    }
    page.prose(
        Line::default().push(Ink::Quiet, "  "),
        Ink::Quiet,
        &more_alike(others),
    );
}

/// `and 58 more flows with the same verdict: tcp …, tcp …`
pub(crate) fn more_alike(others: &[&FlowReport]) -> String {
    const NAMED: usize = 3;
    let asked = others.iter().filter_map(|flow| flow.tuples.first());
    let named: Vec<&str> = asked.take(NAMED).map(|t| t.text.as_str()).collect();
    let more = if others.len() > NAMED { ", …" } else { "" };
    format!(
        "and {} with the same verdict: {}{more}",
        counted(others.len() as u64, "more flow"),
        named.join(", ")
    )
}

/// The flows that are not shown, by outcome.
fn rest(page: &mut Page, flows: &[&FlowReport]) {
    if flows.is_empty() {
        return;
    }
    let text = format!(
        "{} more: {}; all are in the JSON report",
        counted(flows.len() as u64, "flow"),
        outcomes(flows.iter().copied())
    );
    page.gap();
    let mark = Line::default().push(Ink::Quiet, page.marks.more);
    page.prose(mark.push(Ink::Quiet, " "), Ink::Quiet, &text);
}

/// `1 dropped, 6 delivered`, worst first.
pub(crate) fn outcomes<'a>(flows: impl Iterator<Item = &'a FlowReport>) -> String {
    let mut counts: BTreeMap<Outcome, u64> = BTreeMap::new();
    for flow in flows {
        *counts.entry(flow.verdict.outcome).or_default() += 1;
    }
    let words: Vec<String> = counts
        .iter()
        .rev()
        .map(|(outcome, number)| {
            format!(
                "{} {}",
                count(*number),
                Face::of(*outcome).word.to_lowercase()
            )
        })
        .collect();
    words.join(", ")
}

#[cfg(test)]
mod tests;
