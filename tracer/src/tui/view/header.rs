//! The first lines of the screen: what is followed, for how long, how fast, and whether anything is missing.

use super::Picture;
use crate::render::figures::{count, counted, duration};
use crate::render::page::{Line, columns};
use crate::render::style::Ink;
use crate::render::text::completeness::cost;
use crate::report::{Completeness, FlowReport, TupleReport};
use crate::tui::combined::ALL;
use crate::tui::rows::cut;

/// Columns from which on there is room for more than what matters most.
const WIDE: usize = 100;

/// Heights of a sparkline's columns.
const BARS: [&str; 8] = ["▁", "▂", "▃", "▄", "▅", "▆", "▇", "█"];
/// Those of terminals without Unicode.
const ASCII_BARS: [&str; 8] = [".", ".", ":", ":", "|", "|", "#", "#"];

/// Expression to the left; time, rates and state to the right.
pub(crate) fn first(picture: &Picture<'_>, state: &str) -> (String, String) {
    let trace = &picture.snapshot.report.trace;
    let ended = picture.snapshot.ended.is_some();
    let played = picture.snapshot.played.filter(|_| !ended);
    let time = match played {
        Some(played) => position(trace.duration_ms, played.length_ns),
        None => duration(picture.now_ns(), &picture.marks),
    };
    let rate = |list: &[u64]| {
        list.iter()
            .rev()
            .nth(1)
            .or(list.last())
            .copied()
            .unwrap_or_default()
    };
    let packets = rate(&picture.snapshot.packet_rates);
    let events = rate(&picture.snapshot.event_rates);
    let bars = if picture.width >= 100 { 20 } else { 8 };
    let spark = sparkline(&picture.snapshot.packet_rates, bars, picture.is_ascii());
    // What has been played has no rate; while it stands, sums tell how far it is.
    let stands = ended || played.is_some_and(|played| played.stopped);
    let figures = match stands {
        true => [
            counted(trace.packets, "packet"),
            counted(trace.events, "event"),
        ],
        false => [
            format!("{} p/s", count(packets)),
            format!("{} ev/s", count(events)),
        ],
    };
    let [packets, events] = figures;
    let mut right = format!("{time}  {spark} {packets}");
    if picture.width >= 80 {
        right += &format!("  {events}");
    }
    right += &format!("  {state} ");
    let room = picture.width.saturating_sub(columns(&right) + 2);
    let what = match trace.expression.as_str() {
        "" => "all packets",
        expression => expression,
    };
    (cut(&format!(" {what}"), room, picture.marks.more), right)
}

/// Where a replay is, to the millisecond, and in how much.
fn position(at_ms: u64, length_ns: Option<u64>) -> String {
    let seconds = |ms: u64| format!("{}.{:03}", ms / 1000, ms % 1000);
    match length_ns {
        Some(length) => format!("{} of {} s", seconds(at_ms), seconds(length / 1_000_000)),
        None => format!("{} s", seconds(at_ms)),
    }
}

/// The newest values as bars, relative to the largest of them.
fn sparkline(values: &[u64], width: usize, ascii: bool) -> String {
    let shown = values
        .get(values.len().saturating_sub(width)..)
        .unwrap_or_default();
    let most = shown.iter().copied().max().unwrap_or_default().max(1);
    let bars = if ascii { ASCII_BARS } else { BARS };
    let mut out = " ".repeat(width.saturating_sub(shown.len()));
    for value in shown {
        let step = usize::try_from(value.saturating_mul(7).div_ceil(most)).unwrap_or(7);
        out += match value {
            0 => " ",
            _ => bars.get(step.min(7)).copied().unwrap_or(" "),
        };
    }
    out
}

/// The flow's tuples to the left, completeness to the right.
pub(crate) fn second(picture: &Picture<'_>) -> Line {
    let (ink, mut meter) = completeness(picture);
    let used = picture.snapshot.report.trace.cost.as_ref();
    if let Some(used) = used.filter(|_| picture.width >= WIDE) {
        meter = format!("{}  {meter}", cost(used));
    }
    let room = picture.width.saturating_sub(columns(&meter) + 4);
    let mut left = String::from("no flow yet");
    if picture.flow.is_some_and(|flow| flow.id == ALL) {
        let flows = picture.snapshot.report.flows.len();
        left = format!("all {} as one", counted(flows as u64, "flow"));
    } else if let Some(flow) = picture.flow {
        let flows = &picture.snapshot.report.flows;
        let at = flows
            .iter()
            .position(|f| f.id == flow.id)
            .unwrap_or_default();
        left = tuples(flow);
        if flows.len() > 1 {
            left = format!("{}/{} {left}", at + 1, flows.len());
        }
    }
    let left = cut(&left, room, picture.marks.more);
    Line::default()
        .push(Ink::Plain, " ")
        .push(Ink::Strong, &left)
        .to(picture.width.saturating_sub(columns(&meter) + 1))
        .push(ink, &meter)
}

/// The asked tuple, and what else its packets were: `tcp A > B, translated A > C, inside vxlan`.
fn tuples(flow: &FlowReport) -> String {
    let mut parts = Vec::new();
    for tuple in &flow.tuples {
        match tuple.role.as_str() {
            "asked" => parts.push(tuple.text.clone()),
            // the asked tuple turned round says nothing new
            "reply" if mirrored(flow, tuple) => {}
            role => parts.push(format!("{role} {}", tuple.text)),
        }
    }
    parts.join("  ")
}

fn mirrored(flow: &FlowReport, reply: &TupleReport) -> bool {
    let asked = flow.tuples.iter().filter(|tuple| tuple.role == "asked");
    let ends = |t: &TupleReport| (t.src.clone(), t.sport, t.dst.clone(), t.dport);
    asked
        .map(ends)
        .any(|(src, sport, dst, dport)| (dst, dport, src, sport) == ends(reply))
}

/// Green when nothing is missing; else what is.
fn completeness(picture: &Picture<'_>) -> (Ink, String) {
    let marks = &picture.marks;
    let Completeness {
        lost_events,
        thinned_events,
        map_full,
        decode_errors,
        unreadable,
        interfaces_covered,
        interfaces_total,
        probes,
        ..
    } = &picture.snapshot.report.trace.completeness;
    let nodes = picture.snapshot.report.nodes.iter();
    let silent = match picture.snapshot.ended {
        None => nodes.filter(|node| node.until_ms.is_some()).count() as u64,
        Some(_) => 0,
    };
    let failed = probes
        .iter()
        .filter(|probe| probe.state == "failed")
        .count() as u64;
    let missing = probes
        .iter()
        .filter(|probe| probe.state == "missing")
        .count() as u64;
    let gaps: Vec<String> = [
        (*lost_events, "lost"),
        (*thinned_events, "not sent"),
        (*map_full, "counted without a flow"),
        (*decode_errors + *unreadable, "unreadable"),
        (failed, "probes failed"),
        (
            silent,
            if silent == 1 {
                "node silent"
            } else {
                "nodes silent"
            },
        ),
        (
            u64::from(interfaces_total.saturating_sub(*interfaces_covered)),
            "interfaces unwatched",
        ),
    ]
    .iter()
    .filter(|(number, _)| *number > 0)
    .map(|(number, word)| format!("{} {word}", count(*number)))
    .collect();
    if gaps.is_empty() {
        let seen = counted(u64::from(*interfaces_covered), "interface");
        let without = match missing {
            0 => String::new(),
            n => format!(", {n} probes not in this kernel"),
        };
        let text = if picture.width >= WIDE {
            format!("{} complete, {seen}{without}", marks.good)
        } else {
            format!("{} complete", marks.good)
        };
        return (Ink::Good, text);
    }
    let text = gaps.join(", ");
    let most = picture.width / 2;
    (
        Ink::Doubt,
        cut(&format!("{} {text}", marks.doubt), most, marks.more),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_position_stands_in_its_length() {
        assert_eq!(position(1_204, Some(61_000_700_000)), "1.204 of 61.000 s");
        assert_eq!(position(7, None), "0.007 s");
    }

    #[test]
    fn a_sparkline_is_as_wide_as_asked() {
        assert_eq!(sparkline(&[], 4, false), "    ");
        assert_eq!(sparkline(&[0, 1, 4, 8], 4, false), " ▂▅█");
        assert_eq!(sparkline(&[9, 9, 0, 1, 4, 8], 4, false), " ▂▅█");
        assert_eq!(sparkline(&[1, 2], 4, true), "  |#");
    }
}
