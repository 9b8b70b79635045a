//! The verdict: as the first line of all, and in full after a flow's path.

use std::borrow::Cow;

use crate::render::figures::{count, counted};
use crate::render::page::{Line, Page, columns};
use crate::render::style::{Face, Ink};
use crate::verdict::{Advice, Confidence, Evidence, Outcome, Verdict};

/// Where `why` and `try` begin, and what they say.
const INDENT: &str = "  ";

/// `✗ DROPPED  FORWARD DROP on router …`
pub(super) fn headline(page: &mut Page, verdict: &Verdict) {
    let face = Face::of(verdict.outcome);
    let line = Line::default()
        .push(face.ink, face.mark(&page.marks))
        .push(face.ink, " ")
        .push(face.ink, face.word)
        .push(face.ink, "  ");
    page.prose(line, Ink::Strong, &verdict.summary);
}

/// Outcome and summary in one sentence: `DROPPED: FORWARD DROP on router …`. Summaries that begin with the outcome's word
/// do not say it twice.
pub(crate) fn sentence(verdict: &Verdict) -> String {
    let word = Face::of(verdict.outcome).word;
    let again = format!("{}: ", word.to_lowercase());
    let summary = verdict.summary.strip_prefix(&again);
    format!("{word}: {}", summary.unwrap_or(&verdict.summary))
}

/// Evidence and advice.
pub(crate) fn reasons(page: &mut Page, verdict: &Verdict) {
    evidence(page, &verdict.evidence);
    advice(page, &verdict.advice);
}

/// Outcome, cause and confidence; what happened; why; what to type.
pub(crate) fn block(page: &mut Page, verdict: &Verdict) {
    if verdict.cause.is_none() && verdict.evidence.is_empty() {
        headline(page, verdict);
        advice(page, &verdict.advice);
        return;
    }
    let face = Face::of(verdict.outcome);
    let line = Line::default()
        .push(face.ink, face.mark(&page.marks))
        .push(face.ink, " ")
        .push(face.ink, face.word);
    let mut items: Vec<Cow<'_, str>> = Vec::new();
    if let Some(cause) = &verdict.cause {
        items.push(cause.into());
        items.push(confidence(verdict.confidence).into());
    }
    if let Some(packets) = packets(verdict) {
        items.push(packets.into());
    }
    let dot = format!(" {} ", page.marks.dot);
    let line = if items.is_empty() {
        line
    } else {
        line.push(Ink::Plain, "  ")
    };
    page.flow(line, &dot, items.into_iter().map(|item| (Ink::Plain, item)));
    page.prose(
        Line::default().push(Ink::Plain, INDENT),
        Ink::Strong,
        &verdict.summary,
    );
    reasons(page, verdict);
}

/// The word of a confidence.
pub(crate) fn confidence(confidence: Confidence) -> &'static str {
    match confidence {
        Confidence::Certain => "certain",
        Confidence::Likely => "likely",
        Confidence::Possible => "possible, not sure",
    }
}

/// How many packets met the fate of the verdict, of how many.
pub(crate) fn packets(verdict: &Verdict) -> Option<String> {
    let seen = verdict.packets.seen;
    match verdict.outcome {
        _ if seen == 0 => None,
        Outcome::Delivered => Some(counted(seen, "packet")),
        _ => Some(format!(
            "{} of {}",
            count(verdict.packets.affected),
            counted(seen, "packet")
        )),
    }
}

fn evidence(page: &mut Page, evidence: &[Evidence]) {
    let width = evidence.iter().map(|e| columns(&e.kind)).max().unwrap_or(0);
    let mut label = "why";
    for piece in evidence {
        let line = Line::default()
            .push(Ink::Plain, INDENT)
            .left(Ink::Strong, label, 5)
            .left(Ink::Quiet, &piece.kind, width + 2);
        page.prose(line, Ink::Plain, &piece.text);
        label = "";
    }
}

/// Commands stand alone on their lines and are never wrapped: a part of a command must not be pasted for the whole.
fn advice(page: &mut Page, advice: &[Advice]) {
    let mut label = "try";
    for piece in advice {
        let line = Line::default()
            .push(Ink::Plain, INDENT)
            .left(Ink::Strong, label, 5);
        page.prose(line, Ink::Plain, &piece.text);
        for command in piece.command.iter().flat_map(|text| text.lines()) {
            let line = Line::default().push(Ink::Plain, "         ");
            page.line(line.push(Ink::Command, command));
        }
        let notes = [
            ("scope", &piece.scope),
            ("owner", &piece.owner),
            ("then", &piece.then),
        ];
        for (name, note) in notes {
            if let Some(note) = note {
                let line = Line::default()
                    .push(Ink::Plain, "         ")
                    .left(Ink::Quiet, name, 7);
                page.prose(line, Ink::Plain, note);
            }
        }
        label = "";
    }
}
