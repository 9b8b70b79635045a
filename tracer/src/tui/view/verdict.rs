//! The verdict: always on the screen in a few lines, and in full with all evidence and all advice.

use std::borrow::Cow;

use super::Picture;
use crate::render::page::{Line, Page};
use crate::render::style::{Face, Ink};
use crate::render::text::considered::lines as lines_of_considered;
use crate::render::text::verdict::{block, confidence, packets};
use crate::tui::rows::{Row, cut, plain};
use crate::verdict::Verdict;

/// Most lines of the summary; a second one only where the screen has room.
const SUMMARY: usize = 2;

/// The verdict that is shown: the chosen flow's, else the trace's own.
pub(crate) fn of<'a>(picture: &Picture<'a>) -> &'a Verdict {
    picture
        .flow
        .map_or(&picture.snapshot.report.verdict, |flow| {
            picture.snapshot.report.verdict_of(flow)
        })
}

/// Outcome and summary; cause, confidence and counts; the first advice with its command.
pub(crate) fn lines(picture: &Picture<'_>, height: usize) -> Vec<Line> {
    let verdict = of(picture);
    let marks = &picture.marks;
    let face = Face::of(verdict.outcome);
    let head = Line::default()
        .push(Ink::Plain, " ")
        .push(face.ink, face.mark(marks))
        .push(face.ink, " ")
        .push(face.ink, face.word)
        .push(Ink::Plain, "  ");
    let mut page = Page::new(picture.width, *marks);
    page.prose(head, Ink::Strong, &verdict.summary);
    let mut lines = page.into_lines();
    let most = SUMMARY.min(height.saturating_sub(2).max(1));
    if lines.len() > most {
        lines.truncate(most);
        let last = lines.pop().unwrap_or_default();
        lines.push(last.push(Ink::Strong, marks.more));
    }

    let mut facts: Vec<String> = Vec::new();
    if let Some(cause) = &verdict.cause {
        facts.push(cause.clone());
        facts.push(confidence(verdict.confidence).to_owned());
    }
    facts.extend(packets(verdict));
    if let Some(place) = &verdict.place {
        let rest = [&place.interface, &place.hook, &place.function];
        let rest = rest.into_iter().filter_map(Option::as_deref);
        let words: Vec<Cow<'_, str>> = place
            .spot()
            .into_iter()
            .chain(rest.map(Cow::Borrowed))
            .collect();
        facts.push(words.join("/"));
    }
    if !facts.is_empty() {
        let text = facts.join(&format!(" {} ", marks.dot));
        let text = cut(&text, picture.width.saturating_sub(3), marks.more);
        lines.push(
            Line::default()
                .push(Ink::Quiet, "   ")
                .push(Ink::Plain, &text),
        );
    }
    let advice = verdict
        .advice
        .iter()
        .find(|advice| advice.command.is_some())
        .or(verdict.advice.first());
    if let Some(advice) = advice {
        let room = picture.width.saturating_sub(3);
        // Where only one line is left, the command says more than its words.
        if advice.command.is_none() || lines.len() + 2 <= height {
            lines.push(
                Line::default()
                    .push(Ink::Quiet, "   ")
                    .push(Ink::Quiet, &cut(&advice.text, room, marks.more)),
            );
        }
        if let Some(command) = &advice.command {
            let first = command.lines().next().unwrap_or_default();
            let command = cut(first, room.saturating_sub(2), marks.more);
            lines.push(
                Line::default()
                    .push(Ink::Plain, "   ")
                    .push(Ink::Command, "$ ")
                    .push(Ink::Command, &command),
            );
        }
    }
    lines.truncate(height);
    lines
}

/// The command that the copy key takes.
pub(crate) fn command<'a>(picture: &Picture<'a>) -> Option<&'a str> {
    let advice = of(picture).advice.iter();
    advice.filter_map(|advice| advice.command.as_deref()).next()
}

/// Every cause that was considered, and why it does or does not stand.
pub(crate) fn considered(picture: &Picture<'_>) -> Vec<Row> {
    let mut page = Page::new(picture.width, picture.marks);
    match &picture.snapshot.considered {
        Some(all) => lines_of_considered(&mut page, all),
        None => page.prose(Line::default(), Ink::Quiet, "being worked out"),
    }
    plain(page.into_lines()).collect()
}

/// All evidence and all advice.
pub(crate) fn rows(picture: &Picture<'_>) -> Vec<Row> {
    let mut page = Page::new(picture.width, picture.marks);
    block(&mut page, of(picture));
    plain(page.into_lines()).collect()
}
