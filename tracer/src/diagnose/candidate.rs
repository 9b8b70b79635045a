//! What a rule proposes: a cause with its place, words and advice; and how the proposals for one loss are weighed.

use crate::host::Host;
use crate::model::NetNs;
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

/// The most specific proposal. One of another cause that explains as much makes it `possible`, and is named.
#[must_use]
pub fn weigh(mut candidates: Vec<Candidate>) -> Option<Candidate> {
    // Stable: of equals the first rule's proposal stands.
    candidates.sort_by_key(|c| std::cmp::Reverse(c.specificity));
    let mut rest = candidates.into_iter();
    let mut best = rest.next()?;
    for other in rest.take_while(|c| c.specificity == best.specificity) {
        if other.cause == best.cause || best.cause.refines == Some(other.cause.code) {
            continue;
        }
        best.confidence = Confidence::Possible;
        best.evidence.push(evidence(
            "drop",
            format!("could also be {}: {}", other.cause.code, other.summary),
        ));
        best.remedies.extend(other.remedies);
    }
    Some(best)
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

#[cfg(test)]
mod tests {
    use super::super::causes;
    use super::*;

    fn candidate(cause: &'static Cause, specificity: Specificity) -> Candidate {
        let place = place_on(&Host::default(), None);
        Candidate::new(cause, place, cause.code.to_owned()).explains(specificity)
    }

    #[test]
    fn the_most_specific_wins() {
        let best = weigh(vec![
            candidate(&causes::KERNEL_OTHER, Specificity::Kernel),
            candidate(&causes::QDISC_FULL, Specificity::Reason),
            candidate(&causes::LINK_DOWN, Specificity::Fact),
        ]);
        assert_eq!(best.map(|b| b.cause.code), Some("link.down"));
    }

    #[test]
    fn equals_are_both_named() {
        let best = weigh(vec![
            candidate(&causes::LINK_DOWN, Specificity::Location),
            candidate(&causes::MTU_EXCEEDED, Specificity::Location),
        ]);
        assert!(best.is_some_and(|b| b.confidence == Confidence::Possible
            && b.cause.code == "link.down"
            && b.evidence.iter().any(|e| e.text.contains("mtu.exceeded"))));
    }
}
