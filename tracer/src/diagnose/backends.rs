//! Services with several backends: which of those that were tried fail, and which answer.

use std::collections::BTreeMap;

use crate::model::Tuple;
use crate::verdict::Outcome;

use super::Judged;
use super::candidate::evidence;
use super::translation;
use super::view::View;

/// Adds to the verdicts of flows to a service how many of its backends fail, where more than one was tried.
pub(super) fn compare(views: &[View<'_>], flows: &mut [Judged]) {
    let tried: Vec<Option<(Tuple, Tuple)>> = views
        .iter()
        .map(|view| translation::dnat(view).map(|c| (c.before, c.after)))
        .collect();
    let mut services: BTreeMap<String, BTreeMap<String, bool>> = BTreeMap::new();
    for (pair, judged) in tried.iter().zip(flows.iter()) {
        let Some((service, backend)) = pair else {
            continue;
        };
        let answers = judged.verdict.outcome == Outcome::Delivered;
        let state = services
            .entry(key(service))
            .or_default()
            .entry(name(backend))
            .or_default();
        *state |= answers;
    }
    for (pair, Judged { verdict, .. }) in tried.iter().zip(flows.iter_mut()) {
        let Some((service, backend)) = pair else {
            continue;
        };
        let Some(backends) = services.get(&key(service)).filter(|b| b.len() > 1) else {
            continue;
        };
        if verdict.outcome == Outcome::Delivered || backends.get(&name(backend)) == Some(&true) {
            continue;
        }
        let of = |answers: bool| {
            let names = backends.iter().filter(|(_, a)| **a == answers);
            names.map(|(n, _)| n.clone()).collect::<Vec<_>>()
        };
        let (dead, alive) = (of(false), of(true));
        verdict.summary += &format!(
            "; {} of {} backends of {} that were tried fail: {}",
            dead.len(),
            backends.len(),
            service.destination(),
            dead.join(", ")
        );
        if !alive.is_empty() {
            verdict.evidence.push(evidence(
                "other-loss",
                format!("backends that answer: {}", alive.join(", ")),
            ));
        }
    }
}

/// A service as it was asked for.
fn key(service: &Tuple) -> String {
    format!("{} {}", service.proto, service.destination())
}

fn name(backend: &Tuple) -> String {
    match backend.dport {
        0 => backend.dst.to_string(),
        _ => backend.destination().to_string(),
    }
}
