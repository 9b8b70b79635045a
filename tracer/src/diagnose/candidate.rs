//! What a rule proposes: a cause with its place, words and advice; and how the proposals for one loss are weighed.

use crate::host::Host;
use crate::model::{Device, NetNs};
use crate::verdict::{Confidence, Evidence, Outcome, Place};

use super::causes::Cause;
use super::remedy::Remedy;

/// How much of the evidence a proposal explains. More specific wins.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Specificity {
    /// Only that the kernel dropped it.
    Kernel,
    /// The drop reason's name.
    Reason,
    /// The freeing function, or its callers.
    Location,
    /// The function and a field beside it (error of the route, carrier, address).
    Fact,
    /// Another event or another packet that belongs to it.
    Linked,
}

/// A proposal for one loss, or for a flow that suffered none.
#[derive(Clone, Debug)]
pub struct Candidate {
    /// Why.
    pub cause: &'static Cause,
    /// What became of the flow; mostly the cause's own.
    pub outcome: Outcome,
    /// How much it explains.
    pub specificity: Specificity,
    /// How sure it is.
    pub confidence: Confidence,
    /// Where.
    pub place: Place,
    /// One line.
    pub summary: String,
    /// What it rests on, beside the drop itself.
    pub evidence: Vec<Evidence>,
    /// What to do, safest first.
    pub remedies: Vec<Remedy>,
}

impl Candidate {
    /// A proposal of this cause at this place: the kernel's own word at its drop location, nothing else yet.
    #[must_use]
    pub fn new(cause: &'static Cause, place: Place, summary: String) -> Self {
        Self {
            cause,
            outcome: cause.outcome,
            specificity: Specificity::Location,
            confidence: Confidence::Certain,
            place,
            summary,
            evidence: Vec::new(),
            remedies: Vec::new(),
        }
    }

    /// With another specificity.
    #[must_use]
    pub fn explains(self, specificity: Specificity) -> Self {
        Self {
            specificity,
            ..self
        }
    }

    /// With another confidence.
    #[must_use]
    pub fn sure(self, confidence: Confidence) -> Self {
        Self { confidence, ..self }
    }

    /// With another outcome than its cause's own.
    #[must_use]
    pub fn leads_to(self, outcome: Outcome) -> Self {
        Self { outcome, ..self }
    }

    /// With one more piece of evidence; nothing when `text` is `None`.
    #[must_use]
    pub fn because(mut self, kind: &str, text: impl Into<Option<String>>) -> Self {
        if let Some(text) = text.into() {
            self.evidence.push(evidence(kind, text));
        }
        self
    }

    /// With more advice.
    #[must_use]
    pub fn advise(mut self, remedies: impl IntoIterator<Item = Remedy>) -> Self {
        self.remedies.extend(remedies);
        self
    }
}

/// A piece of evidence.
#[must_use]
pub fn evidence(kind: &str, text: impl Into<String>) -> Evidence {
    Evidence {
        kind: kind.to_owned(),
        text: text.into(),
    }
}

/// An interface as a place, at a hook.
#[must_use]
pub fn place_at(host: &Host, device: Device, hook: &str) -> Place {
    Place {
        interface: Some(host.interface(device)),
        hook: Some(hook.to_owned()),
        ..place_on(host, device.netns)
    }
}

/// A namespace as a place, with its node where there are several; the rest of the place is for the caller to say.
#[must_use]
pub fn place_on(host: &Host, netns: impl Into<Option<NetNs>>) -> Place {
    let netns = netns.into();
    Place {
        node: netns.and_then(|ns| host.node(ns)).map(str::to_owned),
        namespace: netns.map(|ns| host.namespace(ns)),
        interface: None,
        hook: None,
        function: None,
    }
}
