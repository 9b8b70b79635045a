//! Which flow of each report is held against which.

use std::cmp::Reverse;

use thiserror::Error;

use super::Subject;
use crate::report::{FlowReport, Report, TupleReport};
use crate::verdict::Outcome;

/// There is nothing to compare.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum NoFlow {
    /// Nothing matched.
    #[error("{file} has no packets: there is nothing to compare")]
    Empty {
        /// The file.
        file: String,
    },
    /// No flow has the number that was asked for.
    #[error("{file} has no flow {flow}; it has {known}")]
    Unknown {
        /// The file.
        file: String,
        /// The number.
        flow: u32,
        /// The numbers that there are.
        known: String,
    },
}

/// Numbers of flows that an error lists.
const LISTED: usize = 12;

/// The flow that fails: the one asked for, else the one of the report's verdict, else the worst. None where the sender
/// was told before any packet existed.
///
/// # Errors
/// When there is none.
pub(super) fn bad<'a>(subject: &Subject<'a>) -> Result<Option<&'a FlowReport>, NoFlow> {
    asked(subject, judged)
}

/// The flow that is most like `other`: the one asked for, else of the same destination, port and protocol, else of the
/// same port and protocol, else of the same protocol; of equals one that arrived. Where none has even that, and the
/// expressions are the same or not, the one of the report's verdict.
///
/// # Errors
/// When there is none.
pub(super) fn good<'a>(
    subject: &Subject<'a>,
    other: Option<&FlowReport>,
    of: &Report,
) -> Result<Option<&'a FlowReport>, NoFlow> {
    let wanted = other.and_then(|flow| flow.tuples.first());
    asked(subject, |report| {
        let best = report.flows.iter().max_by_key(|flow| {
            let tuple = flow.tuples.first();
            let arrived = flow.verdict.outcome == Outcome::Delivered;
            (likeness(tuple, wanted), arrived, Reverse(flow.id))
        });
        match wanted {
            Some(_) => best.filter(|flow| likeness(flow.tuples.first(), wanted) > 0),
            // nothing was sent: what was asked is known by the expression alone
            None if report.trace.expression == of.trace.expression => best,
            None => None,
        }
        .or_else(|| judged(report))
    })
}

fn asked<'a>(
    subject: &Subject<'a>,
    otherwise: impl FnOnce(&'a Report) -> Option<&'a FlowReport>,
) -> Result<Option<&'a FlowReport>, NoFlow> {
    let Subject { file, report, flow } = *subject;
    if report.flows.is_empty() && report.verdict.outcome == Outcome::NoTraffic {
        return Err(NoFlow::Empty { file: file.into() });
    }
    let Some(number) = flow else {
        return Ok(otherwise(report));
    };
    let found = report.flows.iter().find(|flow| flow.id == number);
    found.map(Some).ok_or_else(|| NoFlow::Unknown {
        file: file.into(),
        flow: number,
        known: known(report),
    })
}

fn known(report: &Report) -> String {
    let mut numbers: Vec<u32> = report.flows.iter().map(|flow| flow.id).collect();
    numbers.sort_unstable();
    let listed: Vec<String> = numbers.iter().take(LISTED).map(u32::to_string).collect();
    match numbers.len() {
        0 => "none".into(),
        count if count > LISTED => format!("{} and {} more", listed.join(", "), count - LISTED),
        _ => listed.join(", "),
    }
}

/// The flow of the report's own verdict (background such as ARP is not), else the worst.
fn judged(report: &Report) -> Option<&FlowReport> {
    report
        .flows
        .iter()
        .find(|flow| flow.verdict == report.verdict)
        .or_else(|| report.flows.first())
}

/// Zero for another protocol.
fn likeness(one: Option<&TupleReport>, other: Option<&TupleReport>) -> u8 {
    let Some((one, other)) = one.zip(other) else {
        return 0;
    };
    if one.proto != other.proto {
        return 0;
    }
    let same = |is: bool, weight| if is { weight } else { 0 };
    1 + same(one.dport == other.dport, 4)
        + same(one.dst == other.dst, 2)
        + same(one.src == other.src, 1)
}
