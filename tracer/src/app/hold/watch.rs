//! Looks at what is followed for trouble. The session that it folds is begun anew now and then, from the facts that hold: what
//! it remembers then does not grow however long it runs.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::incident::{Finding, Trouble};
use crate::diagnose::{self, Judged};
use crate::host::facts::Question;
use crate::model::{FlowId, KtimeNs, Tuple};
use crate::session::Session;
use crate::source::Input;
use crate::verdict::{Outcome, Place};

/// What the kernel reports is sure; so long answers to questions are waited for, which may name another cause.
const LOSS_SETTLES: Duration = Duration::from_secs(1);
/// What did not come may still come.
const SILENCE_SETTLES: Duration = Duration::from_secs(5);
/// More flows than this, or so many answers, and the session is begun anew early.
const FLOWS: u64 = 4096;
const ANSWERS: usize = 8192;

/// Most causes and places that are told apart; further ones are one.
const PLACES: usize = 200;
const OTHER: &str = "other";

/// Packets that were lost, by cause and place.
pub(super) type Lost = BTreeMap<LostAt, u64>;

/// A cause and a place.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct LostAt {
    /// Code of the cause, or the outcome where there is none.
    pub(super) cause: String,
    /// Name of the namespace.
    pub(super) namespace: String,
    /// Name of the interface.
    pub(super) interface: String,
    /// The hook.
    pub(super) hook: String,
}

impl LostAt {
    fn other() -> Self {
        let other = || OTHER.to_owned();
        Self {
            cause: other(),
            namespace: other(),
            interface: other(),
            hook: other(),
        }
    }

    fn of(cause: &str, place: Option<&Place>) -> Self {
        let word = |of: fn(&Place) -> &Option<String>| {
            place
                .and_then(|place| of(place).clone())
                .unwrap_or_default()
        };
        Self {
            cause: cause.to_owned(),
            namespace: word(|place| &place.namespace),
            interface: word(|place| &place.interface),
            hook: word(|place| &place.hook),
        }
    }
}

/// The first causes and places are told apart for as long as this runs: pods come and go, and with them places.
#[derive(Debug, Default)]
struct Places(BTreeSet<LostAt>);

impl Places {
    /// Adds what was lost, under its own place or the common one.
    fn add(&mut self, lost: &Lost, to: &mut Lost) {
        for (at, packets) in lost {
            if self.0.len() < PLACES {
                self.0.insert(at.clone());
            }
            let at = self.0.get(at).cloned().unwrap_or_else(LostAt::other);
            *to.entry(at).or_default() += packets;
        }
    }
}

/// Since when a flow has been judged as it is.
#[derive(Clone, Copy, Debug)]
struct Bad {
    since: KtimeNs,
    outcome: Outcome,
}

/// The look-out.
pub(super) struct Watch {
    session: Session,
    began: KtimeNs,
    bad: BTreeMap<FlowId, Bad>,
    /// Events that were lost so far, and when more were.
    missed: u64,
    blind: Option<KtimeNs>,
    /// What was lost in sessions that are over, and in this one.
    lost_before: Lost,
    lost: Lost,
    places: Places,
    packets_before: u64,
    flows_before: u64,
}

impl Watch {
    pub(super) fn new() -> Self {
        Self {
            session: Session::default(),
            began: KtimeNs(0),
            bad: BTreeMap::new(),
            missed: 0,
            blind: None,
            lost_before: Lost::new(),
            lost: Lost::new(),
            places: Places::default(),
            packets_before: 0,
            flows_before: 0,
        }
    }

    /// Takes an input in.
    pub(super) fn take(&mut self, input: &Input) {
        self.session.input(input);
    }

    /// The time of the last input.
    pub(super) fn now(&self) -> KtimeNs {
        self.session.trace().now
    }

    /// The session.
    pub(super) fn session(&self) -> &Session {
        &self.session
    }

    /// What packets were translated to since the last time.
    pub(super) fn learned(&mut self) -> Vec<Tuple> {
        self.session.learned()
    }

    /// What is to be read about losses.
    pub(super) fn questions(&mut self) -> Vec<Question> {
        self.session.questions()
    }

    /// What is to be read so that what packets pass is known as it was before a loss.
    pub(super) fn questions_of_checks(&mut self) -> Vec<Question> {
        self.session.questions_of_checks()
    }

    /// What is wrong, as far as that is settled.
    pub(super) fn look(&mut self) -> Vec<Finding> {
        let now = self.now();
        let diagnosis = self.session.diagnosis();
        let meant = diagnose::meant(self.session.trace(), self.session.host());
        self.note_blindness(now);
        let mut bad = BTreeMap::new();
        let mut lost = Lost::new();
        let mut findings: BTreeMap<Trouble, Finding> = BTreeMap::new();
        for judged in &diagnosis.flows {
            let Some(outcome) = trouble_of(judged) else {
                continue;
            };
            let since = match self.bad.get(&judged.flow) {
                Some(known) if known.outcome == outcome => known.since,
                _ => now,
            };
            bad.insert(judged.flow, Bad { since, outcome });
            let reported = is_reported(judged);
            let settles = if reported {
                LOSS_SETTLES
            } else {
                SILENCE_SETTLES
            };
            let settled = Duration::from_nanos(now.since(since)) >= settles;
            let unsure = || self.is_cut(judged.flow, since) || self.is_blind(since);
            if !settled || (!reported && unsure()) {
                continue;
            }
            count(judged, &mut lost);
            // What a flow got over (it was sent again, or nobody waited for it) is counted and no trouble.
            if outcome > Outcome::Delivered && meant.contains(&judged.flow) {
                let finding = finding(judged);
                findings.entry(finding.trouble.clone()).or_insert(finding);
            }
        }
        self.bad = bad;
        self.lost = lost;
        findings.into_values().collect()
    }

    /// Events were lost since the last look: what was not seen may have been there.
    fn note_blindness(&mut self, now: KtimeNs) {
        let losses = self.session.counted_losses();
        let by_hook = losses.lost.iter().chain(&losses.missed);
        let missed = by_hook.map(|(_, n)| n).sum();
        if missed > self.missed {
            self.missed = missed;
            self.blind = Some(now);
        }
    }

    /// Whether events were lost when a flow fell silent, or later.
    fn is_blind(&self, since: KtimeNs) -> bool {
        self.blind.is_some_and(|blind| {
            blind >= since || Duration::from_nanos(since.since(blind)) < SILENCE_SETTLES
        })
    }

    /// Whether a flow is silent only because the session began in the middle of it, and nothing came since.
    fn is_cut(&self, flow: FlowId, since: KtimeNs) -> bool {
        let begun = |at: KtimeNs| Duration::from_nanos(at.since(self.began)) < SILENCE_SETTLES;
        let flow = self.session.trace().flow(flow);
        self.began > KtimeNs(0) && begun(since) && flow.is_some_and(|flow| begun(flow.last))
    }

    /// Whether it is time to begin anew: after so long, unless something is about to be found.
    pub(super) fn is_old(&self, most: Duration) -> bool {
        let age = Duration::from_nanos(self.now().since(self.began));
        let trace = self.session.trace();
        let large = trace.flows_seen > FLOWS || self.answers() > ANSWERS;
        let unsettled = self
            .bad
            .values()
            .any(|bad| Duration::from_nanos(self.now().since(bad.since)) < SILENCE_SETTLES);
        (age >= most || large) && (!unsettled || age >= most * 2 || self.answers() > 2 * ANSWERS)
    }

    fn answers(&self) -> usize {
        let host = self.session.host();
        host.routes.len() + host.neighbors.len() + host.connections.len() + host.forwarding.len()
    }

    /// Begins anew with what is known now.
    pub(super) fn renew(&mut self, opening: Vec<Input>) {
        self.look();
        let lost = std::mem::take(&mut self.lost);
        self.places.add(&lost, &mut self.lost_before);
        let trace = self.session.trace();
        self.packets_before += trace.packets;
        self.flows_before += trace.flows_seen;
        let now = self.now();
        self.session = Session::default();
        self.began = now;
        self.bad.clear();
        for input in &opening {
            self.session.input(input);
        }
        self.session.input(&Input::Tick(now));
    }

    /// Packets that were lost so far.
    pub(super) fn lost(&mut self) -> Lost {
        let mut all = self.lost_before.clone();
        self.places.add(&self.lost, &mut all);
        all
    }

    /// Packets and flows that were followed so far.
    pub(super) fn followed(&self) -> (u64, u64) {
        let trace = self.session.trace();
        (
            self.packets_before + trace.packets,
            self.flows_before + trace.flows_seen,
        )
    }
}

/// Whether the kernel says so: what only did not come may have been missed.
fn is_reported(judged: &Judged) -> bool {
    let told = judged.losses.iter().any(|loss| loss.reason.is_some());
    let outcome = judged.verdict.outcome;
    told || matches!(
        outcome,
        Outcome::Dropped | Outcome::Rejected | Outcome::NotSent
    )
}

/// What became of a flow; `None` where nothing is wrong and nothing was lost.
fn trouble_of(judged: &Judged) -> Option<Outcome> {
    let outcome = judged.verdict.outcome;
    (outcome > Outcome::Delivered || !judged.losses.is_empty()).then_some(outcome)
}

/// What the verdict says.
fn finding(judged: &Judged) -> Finding {
    let verdict = &judged.verdict;
    let cause = cause_of(judged);
    let at = LostAt::of(&cause, verdict.place.as_ref());
    Finding {
        trouble: Trouble {
            cause,
            place: format!("{} {} {}", at.namespace, at.interface, at.hook),
        },
        summary: verdict.summary.clone(),
    }
}

/// The cause, or what became of the flow.
fn cause_of(judged: &Judged) -> String {
    let verdict = &judged.verdict;
    let outcome = || verdict.outcome.code().to_owned();
    verdict.cause.clone().unwrap_or_else(outcome)
}

/// Adds what a flow lost.
fn count(judged: &Judged, lost: &mut Lost) {
    for loss in &judged.losses {
        let at = LostAt::of(loss.cause, Some(&loss.place));
        *lost.entry(at).or_default() += loss.packets;
    }
    if judged.losses.is_empty() {
        let at = LostAt::of(&cause_of(judged), judged.verdict.place.as_ref());
        *lost.entry(at).or_default() += judged.verdict.packets.affected;
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test ends where it fails")]
mod tests {
    use std::fs::{self, File};
    use std::path::{Path, PathBuf};

    use super::*;
    use crate::source::recording::Reader;

    fn recordings() -> PathBuf {
        Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/recordings")
    }

    /// What is found in a recording, looked at each second, and for some seconds after its end.
    fn found(name: &str) -> Vec<String> {
        let file = File::open(recordings().join(name)).unwrap();
        let mut watch = Watch::new();
        let mut found = BTreeSet::new();
        let mut looked = KtimeNs(0);
        let inputs = Reader::new(file).unwrap().map(Result::unwrap);
        for input in inputs.filter(|input| !matches!(input, Input::End(..))) {
            watch.take(&input);
            if watch.now().since(looked) >= 1_000_000_000 {
                looked = watch.now();
                found.extend(watch.look().into_iter().map(|it| it.trouble.cause));
            }
        }
        for _ in 0..80 {
            let tick = KtimeNs(watch.now().0 + 100_000_000);
            watch.take(&Input::Tick(tick));
            found.extend(watch.look().into_iter().map(|it| it.trouble.cause));
        }
        found.into_iter().collect()
    }

    #[test]
    fn what_is_healthy_is_no_trouble() {
        let mut wrong = Vec::new();
        let mut looked_at = 0;
        for entry in fs::read_dir(recordings()).unwrap() {
            let name = entry.unwrap().file_name().into_string().unwrap();
            if name.ends_with(".healthy.tracer") {
                looked_at += 1;
                let found = found(&name);
                wrong.extend((!found.is_empty()).then(|| format!("{name}: {found:?}")));
            }
        }
        assert!(looked_at > 10);
        assert_eq!(wrong, Vec::<String>::new());
    }

    #[test]
    fn what_is_lost_and_what_does_not_come_is_found() {
        for (name, cause) in [
            ("forward-policy-drop", "netfilter.drop"),
            ("no-route-router", "route.none"),
            ("arp-unresolved-last-hop", "neighbor.unresolved"),
            ("tcp-closed-port", "socket.none"),
            ("upstream-never-answers", "socket.unanswered"),
        ] {
            let found = found(&format!("{name}.faulty.tracer"));
            assert!(found.iter().any(|it| it == cause), "{name}: {found:?}");
        }
    }

    #[test]
    fn places_are_bounded_and_keep_their_names() {
        let at = |n: usize| LostAt {
            interface: n.to_string(),
            ..LostAt::default()
        };
        let lost: Lost = (0..PLACES + 50).map(|n| (at(n), 1)).collect();
        let (mut places, mut told) = (Places::default(), Lost::new());
        places.add(&lost, &mut told);
        assert_eq!(told.len(), PLACES + 1);
        assert_eq!(told.get(&LostAt::other()), Some(&50));
        // as before, and others are the common one
        let first = told.keys().find(|at| at.cause.is_empty()).cloned();
        let more: Lost = first
            .into_iter()
            .chain([at(PLACES + 99)])
            .map(|at| (at, 2))
            .collect();
        places.add(&more, &mut told);
        assert_eq!(told.len(), PLACES + 1);
        assert_eq!(told.get(&LostAt::other()), Some(&52));
    }
}
