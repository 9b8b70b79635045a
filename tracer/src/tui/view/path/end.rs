//! Where the verdict stands in the list of hops: outcome, place and count, then the reason in words.

use super::super::Picture;
use super::graph::BranchGraph;
use crate::render::figures::count;
use crate::render::page::{Line, Page, columns};
use crate::render::style::{Face, Ink};
use crate::render::text::path::end_of;
use crate::report::FlowReport;
use crate::tui::rows::{Row, cut};
use crate::verdict::{Outcome, Verdict};

/// The verdict and its place.
pub(super) struct End<'a> {
    /// Number of the hop above it; zero for the beginning.
    pub(super) after: u32,
    verdict: &'a Verdict,
}

impl<'a> End<'a> {
    /// Where the verdict of a flow stands on this path, when it does.
    pub(super) fn of(flow: &'a FlowReport, path: usize) -> Option<Self> {
        let end = end_of(flow).filter(|end| end.path == path)?;
        let hops = flow.paths.get(path).map_or(&[][..], |path| &path.hops);
        let above = end.after.checked_sub(1).and_then(|at| hops.get(at));
        Some(Self {
            after: above.map_or(0, |hop| hop.n),
            verdict: &flow.verdict,
        })
    }

    pub(super) fn rows(
        &self,
        picture: &Picture<'_>,
        graph: &BranchGraph<'_>,
        width: usize,
    ) -> Vec<Row> {
        let marks = &picture.marks;
        let verdict = self.verdict;
        let face = Face::of(verdict.outcome);
        let at = verdict.place.as_ref().map_or_else(String::new, |place| {
            let words = [&place.hook, &place.function];
            let words: Vec<&str> = words.into_iter().filter_map(Option::as_deref).collect();
            words.join(" at ")
        });
        let figure = match verdict.packets.affected {
            _ if verdict.outcome == Outcome::Delivered => String::new(),
            0 => String::new(),
            affected => {
                let seen = verdict.packets.seen.max(affected);
                format!("{} of {}", count(affected), count(seen))
            }
        };
        let mark = face.mark(marks);
        let stop = mark.chars().next().unwrap_or('x');
        // Where the graph passes, the mark stands beside it.
        let beside = if graph.goes_on() { mark } else { " " };
        let head = format!("{} {at}", face.word);
        let front = Line::default()
            .push(face.ink, &format!(" {}{beside} ", graph.end(stop)))
            .to(graph.width() + 3);
        let room = width.saturating_sub(front.width() + columns(&figure) + 2);
        let mut rows = vec![Row::text(
            front
                .push(face.ink, &cut(head.trim_end(), room, marks.more))
                .push(Ink::Plain, "  ")
                .push(face.ink, &figure),
        )];
        if verdict.outcome != Outcome::Delivered {
            let indent = format!(" {}  ", graph.end(' '));
            let mut page = Page::new(width.saturating_sub(columns(&indent)), *marks);
            page.prose(Line::default(), face.ink, &verdict.summary);
            rows.extend(page.into_lines().into_iter().map(|line| {
                let front = Line::default().push(Ink::Quiet, &indent);
                let pieces = line.pieces();
                Row::text(pieces.fold(front, |line, (ink, text)| line.push(ink, text)))
            }));
            rows = rows.into_iter().map(Row::of_verdict).collect();
        }
        rows
    }
}
