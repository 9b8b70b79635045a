//! What changed of the host while it was traced, nearest to the first loss first.

use crate::render::figures::duration;
use crate::render::page::{Line, Page};
use crate::render::style::{Ink, Marks};
use crate::report::{ChangeReport, Report};
use crate::verdict::spot;

/// Most that are shown; the JSON report has more.
const MOST: usize = 8;

/// A line for each of the nearest.
pub(super) fn lines(page: &mut Page, report: &Report) {
    let all = &report.changes;
    if all.is_empty() {
        return;
    }
    page.gap();
    page.prose(Line::default(), Ink::Strong, title(report));
    let shown = shown(report, MOST);
    for change in &shown {
        let when = when(change, &page.marks);
        let head = Line::default()
            .push(Ink::Plain, "  ")
            .left(Ink::Quiet, &when, 16)
            .push(Ink::Plain, "  ");
        page.prose(head, Ink::Plain, &text(change));
    }
    if let Some(more) = more(report, shown.len()) {
        page.prose(Line::default().push(Ink::Plain, "  "), Ink::Quiet, &more);
    }
}

/// Those in namespaces of the flows, at most so many. What changed elsewhere is rarely why.
pub(crate) fn shown(report: &Report, most: usize) -> Vec<&ChangeReport> {
    let on_path = report.changes.iter().filter(|change| change.on_path);
    on_path.take(most).collect()
}

/// How many are not shown.
pub(crate) fn more(report: &Report, shown: usize) -> Option<String> {
    let left = report.changes.len().saturating_sub(shown);
    let where_to = "in the JSON report";
    match (left, shown) {
        (0, _) => None,
        (left, 0) => Some(format!("{left} elsewhere than on the path: {where_to}")),
        (left, _) => Some(format!("{left} more, also elsewhere: {where_to}")),
    }
}

/// What stands above them.
pub(crate) fn title(report: &Report) -> &'static str {
    if report.changes.iter().any(|c| c.to_first_loss_ns.is_some()) {
        "Changed during the trace, nearest to the first loss first"
    } else {
        "Changed during the trace, newest first"
    }
}

/// `2.1 s before`, `300 ms after` the first loss; without a loss, since the start of the trace.
pub(crate) fn when(change: &ChangeReport, marks: &Marks) -> String {
    match change.to_first_loss_ns {
        Some(by) => {
            let side = if by < 0 { "before" } else { "after" };
            format!("{} {side}", duration(by.unsigned_abs(), marks))
        }
        None => format!("at {}", duration(change.at_ns, marks)),
    }
}

/// `router: route 10.2.0.0/24 via 10.1.0.2 dev eth1 is gone`
pub(crate) fn text(change: &ChangeReport) -> String {
    let at = spot(change.node.as_deref(), &change.namespace);
    // A namespace is named by its change.
    if change.kind == "namespace" && change.node.is_none() {
        return change.text.clone();
    }
    format!("{at}: {}", change.text)
}
