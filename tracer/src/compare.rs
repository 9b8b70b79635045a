//! Two flows held against each other, one that works and one that does not: the first place where their paths part,
//! and what was different there.
//!
//! ```text
//! two Reports ──▶ choose a flow of each ──▶ align their hops by role ──▶ where they part ──▶ what differs
//! ```
//! A pure function of two reports. It tells only what both reports show, or what one of them has as evidence of its
//! verdict. Field names and meaning are fixed by docs/diff.md; `docs/diff.schema.json` is generated from these types.

mod align;
mod choose;
mod context;
mod differences;
mod figures;
mod parting;
mod rewrites;
mod summary;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::report::{FlowReport, HopReport, HostInfo, PathReport, Report};
use crate::verdict::{Affected, Outcome, Verdict};
pub use choose::NoFlow;

/// `schema` of every comparison.
pub const SCHEMA: &str = "tracer.diff/1";

/// The whole document.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Comparison {
    /// Always `tracer.diff/1`.
    #[schemars(extend("const" = SCHEMA))]
    pub schema: String,
    /// The flow that works.
    pub good: Side,
    /// The one that does not.
    pub bad: Side,
    /// One line.
    pub summary: String,
    /// The first place where the paths part; null where they do not.
    pub parting: Option<Parting>,
    /// The paths, hop beside hop: `forward`, then `reply` where either has one.
    pub paths: Vec<PathPair>,
    /// What else was seen to differ, those at the parting first.
    pub differences: Vec<Difference>,
    /// What to bear in mind: a trace that is incomplete, a GOOD that was not delivered.
    pub notes: Vec<String>,
}

/// One of the two.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Side {
    /// The file.
    pub file: String,
    /// Where it was traced.
    pub host: HostInfo,
    /// RFC 3339, UTC.
    pub started_at: String,
    /// The expression that was traced.
    pub expression: String,
    /// Number of the flow in its report; null where nothing was sent.
    pub flow: Option<u32>,
    /// Its tuple as asked; null where nothing was sent.
    pub tuple: Option<String>,
    /// How many flows there were to choose from.
    pub flows: u64,
    /// What became of it.
    pub verdict: Verdict,
    /// Where it ended; null where it was delivered, or nobody knows.
    pub end: Option<End>,
}

/// Where a flow ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct End {
    /// `forward` or `reply`.
    #[schemars(extend("enum" = ["forward", "reply"]))]
    pub direction: String,
    /// Number of the last hop before it; zero before the first.
    pub after: u32,
}

/// One direction of both.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct PathPair {
    /// `forward` or `reply`.
    #[schemars(extend("enum" = ["forward", "reply"]))]
    pub direction: String,
    /// In order.
    pub rows: Vec<Row>,
}

/// A hop of one, and that of the other which has the same part.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Row {
    /// How they belong together.
    pub relation: Relation,
    /// A hop of the flow that works.
    pub good: Option<HopReport>,
    /// A hop of the one that does not.
    pub bad: Option<HopReport>,
}

impl Row {
    /// Both hops, where there are both.
    fn both(&self) -> Option<(&HopReport, &HopReport)> {
        self.good.as_ref().zip(self.bad.as_ref())
    }
}

/// How two hops belong together.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Relation {
    /// The same side of the same interface of the same namespace.
    Same,
    /// Another interface with the same part: the one of another pod, or on another node.
    Alike,
    /// Only the flow that works came by.
    GoodOnly,
    /// Only the flow that does not work came by.
    BadOnly,
}

/// The first place where the paths part.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Parting {
    /// Of which path.
    #[schemars(extend("enum" = ["forward", "reply"]))]
    pub direction: String,
    /// How they part.
    pub kind: PartingKind,
    /// Index into the rows of that path: the last hop that both have; null before the first.
    pub after_row: Option<usize>,
    /// What the flow that works does there, in words.
    pub good: String,
    /// What the other does.
    pub bad: String,
}

/// How paths part.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum PartingKind {
    /// One ends here, or both do for different causes.
    End,
    /// They go on to different hops.
    Way,
    /// One is translated or put into a tunnel, the other is not, or otherwise.
    Rewrite,
    /// One is answered, the other is not.
    Answer,
}

/// Something that was seen to differ.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Difference {
    /// `rewrite`, `loss`, `latency`, `link`, `route`, `neighbor`, `chain` and the other kinds of `context`, `reply`,
    /// `hop`, `kernel`.
    pub kind: String,
    /// Where, in words; of two places `GOOD's / BAD's`. Null where it is of no place.
    pub place: Option<String>,
    /// Whether that is where the paths part.
    pub at_parting: bool,
    /// What differs.
    pub what: String,
    /// What it was where the flow works.
    pub good: String,
    /// What it was where it does not.
    pub bad: String,
}

/// One report with the name of its file, and the number of the flow where one was asked for.
#[derive(Clone, Copy, Debug)]
pub struct Subject<'a> {
    /// The file.
    pub file: &'a str,
    /// The report.
    pub report: &'a Report,
    /// Which flow.
    pub flow: Option<u32>,
}

/// Holds them against each other.
///
/// # Errors
/// When a report has no such flow, or nothing at all.
pub fn compare(good: Subject<'_>, bad: Subject<'_>) -> Result<Comparison, NoFlow> {
    let chosen_bad = choose::bad(&bad)?;
    let chosen_good = choose::good(&good, chosen_bad, bad.report)?;
    let kinds = [context::kinds(good.report), context::kinds(bad.report)];
    let mut comparison = Comparison {
        schema: SCHEMA.into(),
        paths: align::paths(chosen_good, chosen_bad, &kinds),
        good: side(&good, chosen_good),
        bad: side(&bad, chosen_bad),
        summary: String::new(),
        parting: None,
        differences: Vec::new(),
        notes: Vec::new(),
    };
    comparison.parting = parting::find(&comparison);
    comparison.differences = differences::all(&comparison, good.report, bad.report);
    comparison.summary = summary::line(&comparison);
    comparison.notes = summary::notes(&comparison, good.report, bad.report);
    Ok(comparison)
}

impl Comparison {
    /// Both sides: GOOD, then BAD.
    #[must_use]
    pub fn sides(&self) -> [(&'static str, &Side); 2] {
        [("GOOD", &self.good), ("BAD", &self.bad)]
    }

    /// One direction.
    fn path(&self, direction: &str) -> Option<&PathPair> {
        self.paths.iter().find(|path| path.direction == direction)
    }
}

impl Side {
    /// Whether it arrived.
    #[must_use]
    pub fn delivered(&self) -> bool {
        self.verdict.outcome == Outcome::Delivered
    }

    /// Whether it ended in this direction after the hop of this number.
    fn ends_after(&self, direction: &str, hop: u32) -> bool {
        self.end
            .as_ref()
            .is_some_and(|end| end.direction == direction && end.after == hop)
    }

    /// How it failed, in words, with its cause.
    fn fate(&self) -> String {
        match &self.verdict.cause {
            Some(cause) => format!("{} ({cause})", self.verdict.summary),
            None => self.verdict.summary.clone(),
        }
    }
}

fn side(subject: &Subject<'_>, flow: Option<&FlowReport>) -> Side {
    let report = subject.report;
    let verdict = flow.map_or(&report.verdict, |flow| &flow.verdict);
    Side {
        file: subject.file.to_owned(),
        host: report.host.clone(),
        started_at: report.trace.started_at.clone(),
        expression: report.trace.expression.clone(),
        flow: flow.map(|flow| flow.id),
        tuple: flow.and_then(|flow| Some(flow.tuples.first()?.text.clone())),
        flows: report.trace.flows_seen,
        verdict: verdict.clone(),
        end: match (flow, verdict.outcome) {
            (_, Outcome::Delivered) => None,
            (Some(flow), _) => flow.end().map(|end| End {
                direction: flow
                    .paths
                    .get(end.path)
                    .map_or("forward", |path| path.direction.as_str())
                    .to_owned(),
                after: u32::try_from(end.after).unwrap_or(u32::MAX),
            }),
            // the sender was told before any packet existed
            (None, _) => Some(End {
                direction: "forward".into(),
                after: 0,
            }),
        },
    }
}

/// The hops of one direction; none where it was not seen.
fn hops<'a>(flow: Option<&'a FlowReport>, direction: &str) -> &'a [HopReport] {
    let paths: &[PathReport] = flow.map_or(&[], |flow| &flow.paths);
    paths
        .iter()
        .find(|path| path.direction == direction)
        .map_or(&[], |path| &path.hops)
}

/// A place as a person writes it: `node1:client/eth0`.
fn place(hop: &HopReport) -> String {
    format!("{}/{}", hop.spot(), hop.interface)
}

/// `3 of 10`.
fn of(packets: Affected) -> String {
    format!("{} of {}", packets.affected, packets.seen)
}

#[cfg(test)]
#[expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]
mod tests;
