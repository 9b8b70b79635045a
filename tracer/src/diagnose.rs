//! Evidence in, verdicts out: what became of each flow, why, where, and what to type next.

use crate::model::FlowId;
use crate::report::Verdict;

/// What the diagnosis says of a trace.
#[derive(Clone, Debug, PartialEq)]
pub struct Diagnosis {
    /// A verdict for each flow.
    pub flows: Vec<(FlowId, Verdict)>,
    /// The worst of them, asked direction first.
    pub overall: Verdict,
}
