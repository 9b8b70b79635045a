//! Packets that end within Open vSwitch.

use super::super::candidate::Candidate;
use super::super::loss::Loss;
use super::super::ovs;

/// Freed by its datapath.
pub fn ended(loss: &Loss<'_>) -> Option<Candidate> {
    ovs::explain(loss.host, loss.steps(), Some(loss.info))
}
