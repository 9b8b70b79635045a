//! The end line: whether the trace saw everything, and if not, what it may have missed.

use super::figures::{count, counted};
use super::page::{Line, Page};
use crate::render::style::Ink;
use crate::report::{Completeness, Report};

/// Most probes that are named one by one.
const NAMED: usize = 6;

/// One line when nothing is missing, else a line for each gap.
pub(super) fn lines(page: &mut Page, report: &Report) {
    let complete = &report.trace.completeness;
    let gaps = gaps(complete);
    let seen = format!(
        "{}, {} of {}, {}",
        counted(report.trace.events, "event"),
        count(complete.interfaces_covered.into()),
        counted(complete.interfaces_total.into(), "interface"),
        counted(working(complete), "probe"),
    );
    if gaps.is_empty() {
        let line = Line::default()
            .push(Ink::Good, page.marks.good)
            .push(Ink::Quiet, " complete  ");
        page.prose(line, Ink::Quiet, &format!("{seen}; nothing lost"));
        return;
    }
    let line = Line::default()
        .push(Ink::Doubt, page.marks.doubt)
        .push(Ink::Doubt, " INCOMPLETE  ");
    let indent = line.width();
    page.prose(line, Ink::Quiet, &seen);
    for gap in gaps {
        page.prose(Line::default().to(indent), Ink::Plain, &gap);
    }
}

fn working(complete: &Completeness) -> u64 {
    let attached = complete.probes.iter().filter(|p| p.state == "attached");
    attached.count() as u64
}

/// What is missing, in words.
fn gaps(complete: &Completeness) -> Vec<String> {
    let mut gaps = Vec::new();
    if complete.lost_events > 0 {
        gaps.push(format!(
            "{} lost, the buffer was full{}",
            counted(complete.lost_events, "event"),
            hooks(complete, |lost, _| lost)
        ));
    }
    if complete.thinned_events > 0 {
        gaps.push(format!(
            "{} left out by the budget{}; packet counts are exact",
            counted(complete.thinned_events, "event"),
            hooks(complete, |_, thinned| thinned)
        ));
    }
    let counters = [
        (
            complete.map_full,
            "hop counter",
            "had no room: packet counts are too low",
        ),
        (complete.decode_errors, "record", "could not be decoded"),
        (complete.unreadable, "packet", "had unreadable headers"),
        (
            complete.tags_evicted,
            "packet",
            "may have been lost from sight behind a rewrite",
        ),
    ];
    for (number, noun, what) in counters {
        if number > 0 {
            gaps.push(format!("{} {what}", counted(number, noun)));
        }
    }
    let unwatched = complete
        .interfaces_total
        .saturating_sub(complete.interfaces_covered);
    if unwatched > 0 {
        gaps.push(format!(
            "{} not watched by tc",
            counted(unwatched.into(), "interface")
        ));
    }
    gaps.extend(probes(complete));
    gaps
}

/// ` (tc-egress 100, kfree_skb 20)`
fn hooks(complete: &Completeness, which: impl Fn(u64, u64) -> u64) -> String {
    let words: Vec<String> = complete
        .by_hook
        .iter()
        .map(|hook| (which(hook.lost, hook.thinned), &hook.hook))
        .filter(|(number, _)| *number > 0)
        .map(|(number, hook)| format!("{hook} {}", count(number)))
        .collect();
    if words.is_empty() {
        return String::new();
    }
    format!(" ({})", words.join(", "))
}

/// Those that this kernel lacks in one line, those that failed in a line each.
fn probes(complete: &Completeness) -> Vec<String> {
    let mut lines = Vec::new();
    let missing: Vec<&str> = complete
        .probes
        .iter()
        .filter(|probe| probe.state == "missing")
        .map(|probe| probe.name.as_str())
        .collect();
    if !missing.is_empty() {
        lines.push(format!("not in this kernel: {}", missing.join(", ")));
    }
    let failed = complete.probes.iter().filter(|p| p.state == "failed");
    let failed: Vec<String> = failed
        .map(|probe| format!("{} failed: {}", probe.name, probe.detail))
        .collect();
    lines.extend(failed.iter().take(NAMED).cloned());
    if failed.len() > NAMED {
        let more = (failed.len() - NAMED) as u64;
        lines.push(format!("{} more failed", counted(more, "probe")));
    }
    lines
}
