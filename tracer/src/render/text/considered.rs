//! What was considered, and what stands: one block for each loss or silence.

use std::io::{self, Write};

use crate::render::page::{Line, Page};
use crate::render::style::{ASCII, Ink, UNICODE};
use crate::verdict::{Considered, Proposed};

use super::verdict::confidence;
use super::{NARROWEST, TextStyle};

/// Writes all that was considered.
///
/// # Errors
/// Those of the writer.
pub fn write(out: &mut impl Write, all: &[Considered], style: &TextStyle) -> io::Result<()> {
    let marks = if style.ascii { ASCII } else { UNICODE };
    let mut page = Page::new(style.width.max(NARROWEST), marks);
    page.gap();
    lines(&mut page, all);
    page.write(out, style.color)
}

/// The blocks.
pub(crate) fn lines(page: &mut Page, all: &[Considered]) {
    if all.is_empty() {
        page.prose(
            Line::default(),
            Ink::Plain,
            "considered: nothing, for no flow lost a packet or waits for one",
        );
    }
    for considered in all {
        page.gap();
        page.prose(
            Line::default().push(Ink::Strong, "considered  "),
            Ink::Strong,
            &considered.about,
        );
        for proposal in &considered.proposals {
            proposed(page, proposal);
        }
    }
}

fn proposed(page: &mut Page, proposal: &Proposed) {
    let mark = match proposal.lost {
        None => "stands",
        Some(_) => "lost",
    };
    let head = format!(
        "{} ({}), by the rule for {}",
        proposal.cause,
        confidence(proposal.confidence),
        proposal.rule
    );
    let line = |label: &str| {
        Line::default()
            .push(Ink::Plain, "  ")
            .left(Ink::Quiet, label, 8)
    };
    page.prose(line(mark), Ink::Strong, &head);
    page.prose(line(""), Ink::Plain, &proposal.summary);
    for piece in &proposal.evidence {
        let text = format!("{}: {}", piece.kind, piece.text);
        page.prose(line(""), Ink::Quiet, &text);
    }
    if let Some(why) = &proposal.lost {
        page.prose(line("why"), Ink::Plain, why);
    }
}
