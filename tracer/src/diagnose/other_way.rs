//! Answers that took another way than through the translator and did not arrive: they left this host elsewhere, or
//! died there.

use crate::model::{Direction, Fate};
use crate::verdict::Place;

use super::Found;
use super::candidate::{Candidate, place_on};
use super::causes::NAT_ASYMMETRIC;
use super::loss::tuple_of;
use super::routers::Parting;
use super::rules::nat;
use super::translation::{self, Change};
use super::view::View;
use super::words;

/// The verdict's candidate, where answers went another way.
#[must_use]
pub fn taken(view: &View<'_>, found: &Found<'_>) -> Option<Candidate> {
    let (counts, chosen) = (&found.counts, found.chosen());
    let lost = chosen.filter(|g| g.direction == Direction::Reply);
    let silent = chosen.is_none() && counts.reply.left + counts.reply.vanished > 0;
    // the loss may say it already
    let told = lost.is_some_and(|g| g.candidate.cause == &NAT_ASYMMETRIC);
    if counts.reply.delivered > 0 || told || lost.is_none() && !silent {
        return None;
    }
    let change = translated(view)?;
    let answer = match lost {
        Some(group) => group.example.journey,
        None => view
            .journeys(Direction::Reply)
            .find(|j| matches!(j.fate, Fate::Left { .. } | Fate::Vanished { .. }))?,
    };
    let parting = Parting::of(view, answer)?;
    let Parting { came, went, .. } = parting;
    if translation::passed(answer).any(|d| d.netns == change.netns) {
        return None;
    }
    let translator = view.host.namespace(change.netns);
    let (before, after) = ends(&change);
    let mut summary =
        format!("the answer went around {translator}, which translates {before} to {after}: ");
    summary += &if came == went {
        parting.words(view)
    } else {
        format!(
            "it came in on {} and is answered through {}",
            words::interface(view.host, came),
            words::interface(view.host, went),
        )
    };
    if let Some(group) = lost {
        summary += &format!(", where it was lost: {}", group.candidate.summary);
    }
    let place = Place {
        interface: Some(view.host.interface(went)),
        ..place_on(view.host, went.netns)
    };
    let tuple = answer.steps.iter().find_map(|s| tuple_of(&s.event))?;
    let candidate = Candidate::new(&NAT_ASYMMETRIC, place, summary).advise(nat::around_advice(
        view.host,
        Some(went.netns),
        (&change, &tuple),
        parting.change(view),
    ));
    Some(match lost {
        Some(_) => candidate,
        None => candidate
            .leads_to(crate::verdict::Outcome::Unanswered)
            .sure(crate::verdict::Confidence::Likely),
    })
}

/// The last translation of the way there.
fn translated(view: &View<'_>) -> Option<Change> {
    view.journeys(Direction::Forward)
        .find_map(|j| translation::changes(j).last())
}

fn ends(change: &Change) -> (String, String) {
    let destination =
        (change.before.dst, change.before.dport) != (change.after.dst, change.after.dport);
    let end = |t: &crate::model::Tuple| {
        if destination {
            t.destination().to_string()
        } else {
            t.source().to_string()
        }
    };
    (end(&change.before), end(&change.after))
}
