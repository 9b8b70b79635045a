//! The report as a ticket: Markdown as GitHub, GitLab and Jira read it, in fewer than a hundred lines whatever the
//! report holds. What does not fit is counted; the JSON report has all of it.
//!
//! ```text
//! verdict
//! path of the worst flow, there and back    as many hops as there is room
//! other flows
//! why, what to do
//! what changed of the host meanwhile
//! how complete the trace is, and where it was made
//! ```

mod escape;
mod table;

use std::io::{self, Write};

use super::figures::{count, counted, duration};
use super::place;
use super::style::{Face, Marks, UNICODE};
use super::text::verdict::{confidence, packets, sentence};
use super::text::{changes as changed, completeness};
use super::text::{more_alike, node, outcomes, seconds};
use crate::report::stories::stories;
use crate::report::{FlowReport, Report};
use crate::verdict::{Advice, Evidence, Verdict};
use escape::{code, fence, prose};

/// Most lines of a ticket.
const LINES: usize = 99;
/// Most pieces of evidence and of advice, of gaps in the trace, and of other flows that are named.
const EVIDENCE: usize = 8;
const ADVICE: usize = 5;
const GAPS: usize = 5;
const CHANGES: usize = 6;
const FLOWS: usize = 4;
/// Most nodes that are named.
const NODES: usize = 8;

const MARKS: Marks = UNICODE;

/// Writes the ticket.
///
/// # Errors
/// Those of the writer.
pub fn write(out: &mut impl Write, report: &Report) -> io::Result<()> {
    let worst = report.flows.first();
    let verdict = worst.map_or(&report.verdict, |flow| &flow.verdict);
    let mut head = headline(worst.map_or(verdict, |flow| report.verdict_of(flow)));
    if let Some(words) = worst.and_then(FlowReport::processes) {
        head.extend([prose(&words), String::new()]);
    }
    let mut rest = others(report);
    rest.extend(why(&verdict.evidence));
    rest.extend(what_to_do(&verdict.advice));
    rest.extend(changes(report));
    rest.extend(completeness_of(report));
    rest.extend(environment(report));
    let room = LINES.saturating_sub(head.len() + rest.len());
    let paths = worst
        .map(|flow| table::paths(flow, room))
        .unwrap_or_default();
    for line in head.iter().chain(&paths).chain(&rest) {
        writeln!(out, "{line}")?;
    }
    Ok(())
}

/// Outcome and summary; cause, confidence, packets and place.
fn headline(verdict: &Verdict) -> Vec<String> {
    let face = Face::of(verdict.outcome);
    let mut items = Vec::new();
    if let Some(cause) = &verdict.cause {
        items.push(code(cause));
        items.push(confidence(verdict.confidence).to_owned());
    }
    items.extend(packets(verdict));
    if let Some(at) = &verdict.place {
        let place = place::place(at);
        let place = (!place.is_empty()).then(|| format!("at {}", code(&place)));
        let function = at
            .function
            .as_deref()
            .map(|name| format!("in {}", code(name)));
        let words = [place, at.hook.as_deref().map(prose), function];
        let words: Vec<String> = words.into_iter().flatten().collect();
        items.push(words.join(" "));
    }
    items.retain(|item| !item.is_empty());
    let mut lines = vec![
        format!("## {} {}", face.mark(&MARKS), prose(&sentence(verdict))),
        String::new(),
    ];
    if !items.is_empty() {
        lines.push(items.join(" · "));
        lines.push(String::new());
    }
    lines
}

/// The flows whose paths are not shown.
fn others(report: &Report) -> Vec<String> {
    let stories = stories(&report.flows);
    let Some((worst, different)) = stories.split_first() else {
        return Vec::new();
    };
    let alike = worst.get(1..).unwrap_or_default();
    let others = report.flows.get(1..).unwrap_or_default();
    if others.is_empty() {
        return Vec::new();
    }
    let mut lines = vec![
        format!(
            "### {} of {}: {}",
            counted(others.len() as u64, "other flow"),
            count(report.trace.flows_seen),
            outcomes(others.iter())
        ),
        String::new(),
    ];
    if !alike.is_empty() {
        lines.push(format!("- {}", prose(&more_alike(alike))));
    }
    let named = different.iter().filter_map(|story| {
        let (flow, others) = story.split_first()?;
        let asked = flow.tuples.first().map_or("no packet", |tuple| &tuple.text);
        let more = match others.len() {
            0 => String::new(),
            n => format!(" and {n} more"),
        };
        Some(format!(
            "- {}{more}: {}",
            code(asked),
            prose(&flow.verdict.summary)
        ))
    });
    let named: Vec<String> = named.collect();
    lines.extend(bounded(named.into_iter(), FLOWS, "more"));
    lines.push(String::new());
    lines
}

fn why(evidence: &[Evidence]) -> Vec<String> {
    if evidence.is_empty() {
        return Vec::new();
    }
    let pieces = evidence
        .iter()
        .map(|piece| format!("- **{}**: {}", prose(&piece.kind), prose(&piece.text)));
    let mut lines = vec!["### Why".to_owned(), String::new()];
    lines.extend(bounded(pieces, EVIDENCE, "more pieces of evidence"));
    lines.push(String::new());
    lines
}

/// Each command in a block of its own, to be copied whole.
fn what_to_do(advice: &[Advice]) -> Vec<String> {
    if advice.is_empty() {
        return Vec::new();
    }
    let mut lines = vec!["### What to do".to_owned(), String::new()];
    for (n, piece) in (1..).zip(advice.iter().take(ADVICE)) {
        lines.push(format!("{n}. {}", prose(&piece.text)));
        if let Some(command) = &piece.command {
            let block = fence(command).into_iter();
            lines.extend(block.map(|line| format!("   {line}")));
        }
        let notes = [&piece.scope, &piece.owner, &piece.then];
        for note in notes.into_iter().flatten() {
            lines.push(format!("   {}", prose(note)));
        }
    }
    if advice.len() > ADVICE {
        lines.push(format!("- … {} more", advice.len() - ADVICE));
    }
    lines.push(String::new());
    lines
}

/// What changed of the host while it was traced.
fn changes(report: &Report) -> Vec<String> {
    if report.changes.is_empty() {
        return Vec::new();
    }
    let mut lines = vec![format!("### {}", changed::title(report)), String::new()];
    let shown = changed::shown(report, CHANGES);
    lines.extend(shown.iter().map(|change| {
        let when = changed::when(change, &MARKS);
        format!("- {}: {}", prose(&when), prose(&changed::text(change)))
    }));
    let more = changed::more(report, shown.len());
    lines.extend(more.map(|more| format!("- {more}")));
    lines.push(String::new());
    lines
}

fn completeness_of(report: &Report) -> Vec<String> {
    let mut gaps = completeness::gaps(report);
    let word = if gaps.is_empty() {
        "nothing lost"
    } else {
        "INCOMPLETE"
    };
    gaps.extend(completeness::notes(report));
    let mut lines = vec![
        "### How complete the trace is".to_owned(),
        String::new(),
        format!("- {word}: {}", completeness::seen(report)),
    ];
    let gaps = gaps.iter().map(|gap| format!("- {}", prose(gap)));
    lines.extend(bounded(gaps, GAPS, "more"));
    lines.push(String::new());
    lines
}

fn environment(report: &Report) -> Vec<String> {
    let (trace, host) = (&report.trace, &report.host);
    let expression = match trace.expression.as_str() {
        "" => "all packets".to_owned(),
        expression => code(expression),
    };
    let took = duration(trace.duration_ms.saturating_mul(1_000_000), &MARKS);
    let mut lines = vec![
        "### Environment".to_owned(),
        String::new(),
        format!("- followed: {expression}"),
        format!(
            "- from {} for {took}: {}",
            seconds(&trace.started_at),
            counted(trace.packets, "packet")
        ),
    ];
    let nodes = report.nodes.iter();
    let nodes = nodes.map(|one| format!("- node {}", prose(&node(one))));
    lines.extend(bounded(nodes, NODES, "more nodes"));
    if report.nodes.is_empty() {
        lines.push(format!(
            "- host {}, Linux {}, {}",
            code(&host.hostname),
            code(&host.kernel),
            prose(&host.arch)
        ));
    }
    let tool = &report.tool;
    lines.push(format!("- {} {}", prose(&tool.name), prose(&tool.version)));
    lines
}

/// The first few lines, and how many more there are.
fn bounded(lines: impl ExactSizeIterator<Item = String>, most: usize, words: &str) -> Vec<String> {
    let more = lines.len().saturating_sub(most);
    let mut kept: Vec<String> = lines.take(most).collect();
    if more > 0 {
        kept.push(format!("- … {more} {words}"));
    }
    kept
}

#[cfg(test)]
mod tests;
