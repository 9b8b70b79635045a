//! Every proposal for a flow, what it rests on, and why it does not stand: the same rules and the same decisions as the
//! verdict's, kept instead of thrown away. For whoever doubts an answer, or writes a rule.

use crate::correlate::Trace;
use crate::host::Host;
use crate::model::Direction;
use crate::verdict::{Considered, Proposed, Verdict};

use super::arbitration::{self, Decision, Why};
use super::candidate::Candidate;
use super::groups::{self, Group};
use super::silent::{self, Counts};
use super::view::View;
use super::{EXPLANATIONS, Found, words};

/// What was considered for each flow, in the trace's order.
#[must_use]
pub fn explain(trace: &Trace, host: &Host) -> Vec<Considered> {
    trace
        .flows
        .iter()
        .flat_map(|flow| of_flow(&View { trace, host, flow }))
        .collect()
}

fn of_flow(view: &View<'_>) -> Vec<Considered> {
    let found = Found::of(view);
    let groups = found.groups.iter();
    let mut list: Vec<Considered> = groups.map(|group| of_losses(view, group)).collect();
    if found.chosen().is_none() {
        list.extend(of_silence(view, &found.counts));
    }
    list.extend(beyond(view, &found));
    list
}

/// The flow in words, for the line that says what is considered.
fn flow_words(view: &View<'_>) -> String {
    view.tuple()
        .map_or_else(|| "a flow".to_owned(), |tuple| tuple.to_string())
}

fn of_losses(view: &View<'_>, group: &Group<'_>) -> Considered {
    let loss = &group.example;
    let what = match group.direction {
        Direction::Forward => "",
        Direction::Reply => " of the reply",
        Direction::Error => " (an ICMP error)",
    };
    let about = format!(
        "{}: {}{what} freed in {} ({}){}",
        flow_words(view),
        words::count(group.count, "packet"),
        loss.function(),
        loss.reason(),
        loss.at_words()
    );
    let Decision { winner, rule, lost } = arbitration::decide(groups::proposals(loss));
    let stands = winner.map(|candidate| proposed(rule, &candidate, None));
    let others = lost.iter().map(|lost| {
        let why = why_words(lost.why);
        proposed(lost.proposal.rule, &lost.proposal.candidate, Some(why))
    });
    Considered {
        about,
        proposals: stands.into_iter().chain(others).collect(),
    }
}

fn why_words(why: Why) -> String {
    match why {
        Why::Beaten { by, why } => format!("{by} beats it: {why}"),
        Why::ExplainsLess => "another proposal explains more of the evidence".to_owned(),
        Why::Same => "another rule says the same of this place".to_owned(),
        Why::Undecided => {
            "it explains as much as the one above: nothing decides between them".to_owned()
        }
    }
}

fn of_silence(view: &View<'_>, counts: &Counts) -> Option<Considered> {
    let symptoms = silent::considered(view, counts);
    let (first, before, _) = *symptoms.first().map(|(n, b, c)| (n, b, c)).as_ref()?;
    let proposals = symptoms
        .iter()
        .enumerate()
        .map(|(n, (name, _, candidate))| {
            let lost = (n > 0).then(|| format!("{first} comes first: {before}"));
            proposed(name, candidate, lost)
        })
        .collect();
    Some(Considered {
        about: format!(
            "{}: no drop was seen, and it does not work",
            flow_words(view)
        ),
        proposals,
    })
}

/// What may be behind the verdict.
fn beyond(view: &View<'_>, found: &Found<'_>) -> Option<Considered> {
    let mut stands = false;
    let proposals: Vec<Proposed> = EXPLANATIONS
        .iter()
        .filter_map(|(name, explain)| Some((name, explain(view, found)?)))
        .map(|(name, candidate)| {
            let beats = found.is_beaten_by(&candidate);
            let lost = match (beats, stands) {
                (true, false) => None,
                (true, true) => Some("an explanation above comes first".to_owned()),
                (false, _) => Some(kept(&found.verdict, &candidate)),
            };
            stands |= beats;
            proposed(name, &candidate, lost)
        })
        .collect();
    (!proposals.is_empty()).then(|| Considered {
        about: format!("{}: what may be behind it", flow_words(view)),
        proposals,
    })
}

fn kept(verdict: &Verdict, candidate: &Candidate) -> String {
    let known = verdict.cause.as_deref().unwrap_or_default();
    format!("{} does not beat {known}", candidate.cause.code)
}

fn proposed(rule: &str, candidate: &Candidate, lost: Option<String>) -> Proposed {
    Proposed {
        rule: rule.to_owned(),
        cause: candidate.cause.code.to_owned(),
        confidence: candidate.confidence,
        summary: candidate.summary.clone(),
        evidence: candidate.evidence.clone(),
        lost,
    }
}
