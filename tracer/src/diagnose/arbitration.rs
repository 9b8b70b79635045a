//! Which of several proposals stands: the one place where that is decided.
//!
//! A cause says in the catalogue which others it beats, and why ([`Cause::beats`]). Where it says nothing, the proposal
//! that explains more of the evidence stands; of two that explain as much neither does, and the verdict names both.

use crate::verdict::Confidence;

use super::candidate::{Candidate, evidence};

/// What a rule proposes.
#[derive(Clone, Debug)]
pub struct Proposal {
    /// The rule's name.
    pub rule: &'static str,
    /// Its proposal.
    pub candidate: Candidate,
}

impl Proposal {
    /// A rule's proposal.
    #[must_use]
    pub fn new(rule: &'static str, candidate: Candidate) -> Self {
        Self { rule, candidate }
    }
}

/// Which proposal stands, and why the others do not.
#[derive(Clone, Debug, Default)]
pub struct Decision {
    /// The one that stands, with what is said against it.
    pub winner: Option<Candidate>,
    /// Name of the rule that proposed it.
    pub rule: &'static str,
    /// The others, in the order of the rules.
    pub lost: Vec<Lost>,
}

/// A proposal that does not stand.
#[derive(Clone, Debug)]
pub struct Lost {
    /// The proposal.
    pub proposal: Proposal,
    /// Why not.
    pub why: Why,
}

/// Why a proposal does not stand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Why {
    /// The catalogue says that another cause beats it.
    Beaten {
        /// Code of that cause.
        by: &'static str,
        /// In the catalogue's words.
        why: &'static str,
    },
    /// Another explains more of the evidence.
    ExplainsLess,
    /// Another rule proposes the same cause at the same place.
    Same,
    /// It explains as much as the one that stands: both are named.
    Undecided,
}

/// Decides between the proposals for one loss, in the order of the rules.
#[must_use]
pub fn decide(proposals: Vec<Proposal>) -> Decision {
    let mut decision = Decision::default();
    let beaten: Vec<Option<Why>> = proposals
        .iter()
        .map(|one| proposals.iter().find_map(|other| beats(other, one)))
        .collect();
    let best = proposals
        .iter()
        .zip(&beaten)
        .enumerate()
        .filter(|(_, (_, beaten))| beaten.is_none())
        // Of equals the first rule's proposal stands; max_by_key would take the last.
        .min_by_key(|(_, (p, _))| std::cmp::Reverse(p.candidate.specificity))
        .map(|(n, _)| n);
    let mut winner: Option<Candidate> = None;
    if let Some(proposal) = best.and_then(|n| proposals.get(n)) {
        decision.rule = proposal.rule;
        winner = Some(proposal.candidate.clone());
    }
    for (n, (proposal, beaten)) in proposals.into_iter().zip(beaten).enumerate() {
        let Some(winner) = winner.as_mut().filter(|_| Some(n) != best) else {
            continue;
        };
        let why = beaten.unwrap_or_else(|| against(winner, &proposal));
        if why == Why::Undecided {
            doubt(winner, &proposal.candidate);
        }
        decision.lost.push(Lost { proposal, why });
    }
    decision.winner = winner;
    decision
}

/// Whether the catalogue lets one proposal beat another.
fn beats(one: &Proposal, other: &Proposal) -> Option<Why> {
    let (by, over) = (one.candidate.cause, other.candidate.cause);
    let why = by.beats(over)?;
    Some(Why::Beaten { by: by.code, why })
}

/// Why a proposal that no other beats does not stand beside the winner.
fn against(winner: &Candidate, proposal: &Proposal) -> Why {
    let candidate = &proposal.candidate;
    if candidate.specificity < winner.specificity {
        Why::ExplainsLess
    } else if candidate.cause == winner.cause && candidate.place == winner.place {
        Why::Same
    } else {
        Why::Undecided
    }
}

/// Names what the winner could also be.
fn doubt(winner: &mut Candidate, other: &Candidate) {
    winner.confidence = Confidence::Possible;
    winner.evidence.push(evidence(
        "drop",
        format!("could also be {}: {}", other.cause.code, other.summary),
    ));
    winner.remedies.extend(other.remedies.iter().cloned());
}

#[cfg(test)]
mod tests {
    use super::super::candidate::{Specificity, place_on};
    use super::super::causes::{self, Cause};
    use super::*;
    use crate::host::Host;

    fn proposal(cause: &'static Cause, specificity: Specificity) -> Proposal {
        let place = place_on(&Host::default(), None);
        let candidate = Candidate::new(cause, place, cause.code.to_owned());
        Proposal::new(cause.code, candidate.explains(specificity))
    }

    #[test]
    fn what_explains_more_stands() {
        let decision = decide(vec![
            proposal(&causes::KERNEL_OTHER, Specificity::Kernel),
            proposal(&causes::QDISC_FULL, Specificity::Reason),
            proposal(&causes::XDP_DROP, Specificity::Fact),
        ]);
        assert_eq!(decision.winner.map(|b| b.cause.code), Some("xdp.drop"));
        let why: Vec<_> = decision.lost.iter().map(|lost| lost.why).collect();
        assert!(matches!(
            why.as_slice(),
            [
                Why::Beaten {
                    by: "qdisc.full",
                    ..
                },
                Why::ExplainsLess
            ]
        ));
    }

    #[test]
    fn the_catalogue_decides_before_the_evidence_is_weighed() {
        let decision = decide(vec![
            proposal(&causes::SOCKET_NONE, Specificity::Linked),
            proposal(&causes::NAT_ASYMMETRIC, Specificity::Reason),
        ]);
        assert_eq!(
            decision.winner.map(|b| b.cause.code),
            Some("nat.asymmetric")
        );
    }

    #[test]
    fn equals_are_both_named() {
        let decision = decide(vec![
            proposal(&causes::XDP_DROP, Specificity::Location),
            proposal(&causes::MTU_EXCEEDED, Specificity::Location),
        ]);
        assert!(decision.winner.is_some_and(|b| {
            b.confidence == Confidence::Possible
                && b.cause.code == "xdp.drop"
                && b.evidence.iter().any(|e| e.text.contains("mtu.exceeded"))
        }));
        assert!(decision.lost.iter().all(|lost| lost.why == Why::Undecided));
    }

    #[test]
    fn one_cause_at_two_places_is_two_proposals() {
        let mut elsewhere = proposal(&causes::LINK_DOWN, Specificity::Fact);
        elsewhere.candidate.place.interface = Some("eth1".to_owned());
        let decision = decide(vec![
            proposal(&causes::LINK_DOWN, Specificity::Fact),
            elsewhere,
            proposal(&causes::LINK_DOWN, Specificity::Fact),
        ]);
        let why: Vec<_> = decision.lost.iter().map(|lost| lost.why).collect();
        assert_eq!(why, [Why::Undecided, Why::Same]);
    }
}
