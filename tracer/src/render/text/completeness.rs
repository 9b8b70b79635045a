//! The end line: whether the trace saw everything, and if not, what it may have missed.

use crate::render::figures::{count, counted, duration};
use crate::render::page::{Line, Page};
use crate::render::style::{Ink, UNICODE};
use crate::report::{Completeness, CostReport, HookLoss, Report};

/// Most gaps of one kind that are named one by one.
const NAMED: usize = 6;
/// Nodes do not begin and end in the same moment: so much is no gap.
const PARTLY_MS: u64 = 1_000;

/// One line when nothing is missing, else a line for each gap.
pub(super) fn lines(page: &mut Page, report: &Report) {
    let gaps = gaps(report);
    let notes = notes(report);
    let seen = seen(report);
    // what a kernel does not have is no fault of this trace
    let (mark, ink, word) = match (gaps.is_empty(), notes.is_empty()) {
        (true, true) => (page.marks.good, Ink::Good, " complete, nothing lost  "),
        (true, false) => (page.marks.good, Ink::Good, " nothing lost  "),
        (false, _) => (page.marks.doubt, Ink::Doubt, " INCOMPLETE  "),
    };
    let line = Line::default().push(ink, mark).push(ink, word);
    let indent = line.width();
    page.prose(line, Ink::Quiet, &seen);
    for (ink, text) in gaps
        .iter()
        .map(|gap| (Ink::Plain, gap))
        .chain(notes.iter().map(|note| (Ink::Quiet, note)))
    {
        page.prose(Line::default().to(indent), ink, text);
    }
}

/// How much was seen, and by what.
pub(crate) fn seen(report: &Report) -> String {
    let complete = &report.trace.completeness;
    let seen = format!(
        "{}, {} of {}, {}",
        counted(report.trace.events, "event"),
        count(complete.interfaces_covered.into()),
        counted(complete.interfaces_total.into(), "interface"),
        counted(working(complete), "probe"),
    );
    match &report.trace.cost {
        Some(used) => format!("{seen}; tracer took {}", cost(used)),
        None => seen,
    }
}

/// What tracer itself cost: `0.7 % CPU, 31 MB`, of one processor.
pub(crate) fn cost(cost: &CostReport) -> String {
    #[expect(clippy::cast_precision_loss, reason = "two digits are shown")]
    let percent = cost.cpu_ns_per_s as f64 / 1e7;
    format!(
        "{percent:.1} % CPU, {} MB",
        count(cost.memory_bytes / 1_000_000)
    )
}

fn working(complete: &Completeness) -> u64 {
    let attached = complete.probes.iter().filter(|p| p.state == "attached");
    attached.count() as u64
}

/// What is missing, in words.
pub(crate) fn gaps(report: &Report) -> Vec<String> {
    let complete = &report.trace.completeness;
    let mut gaps = Vec::new();
    let kept = report.flows.len() as u64;
    if report.trace.flows_seen > kept {
        gaps.push(format!(
            "{} seen, only {} could be kept: use a narrower expression",
            counted(report.trace.flows_seen, "flow"),
            count(kept)
        ));
    }
    let trace = &report.trace;
    if trace.packets_counted > 0 {
        gaps.push(format!(
            "{} of {} more were counted, and no event of them came",
            counted(trace.packets_counted, "packet"),
            counted(trace.flows_counted, "flow")
        ));
    }
    if complete.lost_events > 0 {
        gaps.push(format!(
            "{} lost, the buffer was full{}",
            counted(complete.lost_events, "event"),
            hooks(complete, |hook| hook.lost)
        ));
    }
    if complete.thinned_events > 0 {
        gaps.push(format!(
            "{} not sent (rate limit){}; packet counts are exact",
            counted(complete.thinned_events, "event"),
            hooks(complete, |hook| hook.thinned)
        ));
    }
    let counters = [
        (
            complete.map_full,
            "packet",
            "at hops counted without a flow: too many flows for a counter each",
        ),
        (complete.decode_errors, "record", "could not be decoded"),
        (
            complete.unreadable,
            "packet",
            "not followed behind a header that is not parsed (MPLS, PPPoE, MACsec …)",
        ),
        (
            complete.tags_evicted,
            "packet",
            "may not have been followed past a rewrite",
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
    gaps.extend(failed(complete));
    gaps
}

/// ` (tc-egress 100, kfree_skb 20)`
fn hooks(complete: &Completeness, which: impl Fn(&HookLoss) -> u64) -> String {
    let words: Vec<String> = complete
        .by_hook
        .iter()
        .map(|hook| (which(hook), &hook.hook))
        .filter(|(number, _)| *number > 0)
        .map(|(number, hook)| format!("{hook} {}", count(number)))
        .collect();
    if words.is_empty() {
        return String::new();
    }
    format!(" ({})", words.join(", "))
}

/// What the kernel or the rights of this run did not offer.
pub(crate) fn notes(report: &Report) -> Vec<String> {
    let mut notes = Vec::new();
    let complete = &report.trace.completeness;
    let probes = &complete.probes;
    let missing: Vec<&str> = probes
        .iter()
        .filter(|probe| probe.state == "missing")
        .map(|probe| probe.name.as_str())
        .collect();
    if !missing.is_empty() {
        notes.push(format!("not in this kernel: {}", missing.join(", ")));
    }
    let gone = probes.iter().filter(|probe| probe.state == "gone");
    let gone =
        gone.map(|probe| format!("{} failed, and what it was to watch went away", probe.name));
    notes.extend(bounded(
        gone.collect(),
        "more probes failed where something went away",
    ));
    // whose packets they were is not known: on a busy machine nearly always another flow's
    if complete.missed_events > 0 {
        notes.push(format!(
            "{} of any flow not seen, the probe was already running on that CPU{}",
            counted(complete.missed_events, "event"),
            hooks(complete, |hook| hook.missed)
        ));
    }
    notes.extend(partly(report));
    let unread = report.context.iter().filter(|entry| entry.kind == "unread");
    let unread: Vec<String> = unread
        .map(|entry| format!("could not read {}", entry.text))
        .collect();
    notes.extend(bounded(unread, "more things could not be read"));
    notes
}

/// Nodes that were traced for a part of the time only.
fn partly(report: &Report) -> Vec<String> {
    let whole = report.trace.duration_ms;
    let seconds = |ms: u64| duration(ms.saturating_mul(1_000_000), &UNICODE);
    let parts = report.nodes.iter().filter_map(|node| {
        let until = node.until_ms.unwrap_or(whole);
        let from = Some(node.from_ms).filter(|from| *from > PARTLY_MS);
        let until = Some(until).filter(|until| until + PARTLY_MS < whole);
        let name = &node.name;
        Some(match (from, until) {
            (None, None) => return None,
            (Some(from), None) => format!("{name} was only traced from {} on", seconds(from)),
            (None, Some(until)) => format!(
                "{name} was only traced until {}, of {}",
                seconds(until),
                seconds(whole)
            ),
            (Some(from), Some(until)) => format!(
                "{name} was only traced from {} until {}, of {}",
                seconds(from),
                seconds(until),
                seconds(whole)
            ),
        })
    });
    bounded(
        parts.collect(),
        "more nodes were traced for only part of the time",
    )
}

/// Probes that failed, each with its reason.
fn failed(complete: &Completeness) -> Vec<String> {
    let failed = complete.probes.iter().filter(|p| p.state == "failed");
    let failed = failed.map(|probe| format!("{} failed: {}", probe.name, probe.detail));
    bounded(failed.collect(), "more probes failed")
}

/// The first few, and how many more there are.
fn bounded(mut lines: Vec<String>, words: &str) -> Vec<String> {
    let more = lines.len().saturating_sub(NAMED);
    if more > 0 {
        lines.truncate(NAMED);
        lines.push(format!("{more} {words}"));
    }
    lines
}
