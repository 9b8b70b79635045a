//! Looks at what is followed for trouble. The session that it folds is begun anew now and then, from the facts that hold: what
//! it remembers then does not grow however long it runs.

use std::collections::BTreeMap;
use std::time::Duration;

use super::incident::{Finding, Trouble};
use crate::diagnose::{self, Judged};
use crate::host::facts::Question;
use crate::model::{FlowId, KtimeNs};
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
    fn of(cause: &str, place: Option<&Place>) -> Self {
        let word = |of: fn(&Place) -> &Option<String>| {
            place.and_then(|place| of(place).clone()).unwrap_or_default()
        };
        Self {
            cause: cause.to_owned(),
            namespace: word(|place| &place.namespace),
            interface: word(|place| &place.interface),
            hook: word(|place| &place.hook),
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
    /// What was lost in sessions that are over, and in this one.
    lost_before: Lost,
    lost: Lost,
    packets_before: u64,
    flows_before: u64,
}

impl Watch {
    pub(super) fn new() -> Self {
        Self {
            session: Session::default(),
            began: KtimeNs(0),
            bad: BTreeMap::new(),
            lost_before: Lost::new(),
            lost: Lost::new(),
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
            let reported = !judged.losses.is_empty();
            let settles = if reported {
                LOSS_SETTLES
            } else {
                SILENCE_SETTLES
            };
            let settled = Duration::from_nanos(now.since(since)) >= settles;
            if !settled || (!reported && self.is_cut(judged.flow, since)) {
                continue;
            }
            count(judged, &mut lost);
            if meant.contains(&judged.flow) {
                let finding = finding(judged);
                findings.entry(finding.trouble.clone()).or_insert(finding);
            }
        }
        self.bad = bad;
        self.lost = lost;
        findings.into_values().collect()
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
        let unsettled = self.bad.values().any(|bad| {
            Duration::from_nanos(self.now().since(bad.since)) < SILENCE_SETTLES
        });
        (age >= most || large) && (!unsettled || age >= most * 2 || self.answers() > 2 * ANSWERS)
    }

    fn answers(&self) -> usize {
        let host = self.session.host();
        host.routes.len() + host.neighbors.len() + host.connections.len() + host.forwarding.len()
    }

    /// Begins anew with what is known now.
    pub(super) fn renew(&mut self, opening: Vec<Input>) {
        self.look();
        for (at, packets) in std::mem::take(&mut self.lost) {
            *self.lost_before.entry(at).or_default() += packets;
        }
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
    pub(super) fn lost(&self) -> Lost {
        let mut all = self.lost_before.clone();
        for (at, packets) in &self.lost {
            *all.entry(at.clone()).or_default() += packets;
        }
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

/// How bad it is; `None` where nothing is wrong.
fn trouble_of(judged: &Judged) -> Option<Outcome> {
    let outcome = judged.verdict.outcome;
    (outcome > Outcome::Delivered || !judged.losses.is_empty()).then_some(outcome)
}

/// What the verdict says where it is bad, else the first loss.
fn finding(judged: &Judged) -> Finding {
    let verdict = &judged.verdict;
    let (cause, place, summary) = match judged.losses.first() {
        Some(loss) if verdict.outcome <= Outcome::Delivered => {
            (loss.cause.to_owned(), Some(&loss.place), &loss.summary)
        }
        _ => (cause_of(judged), verdict.place.as_ref(), &verdict.summary),
    };
    let at = LostAt::of(&cause, place);
    Finding {
        trouble: Trouble {
            cause,
            place: format!("{} {} {}", at.namespace, at.interface, at.hook),
        },
        summary: summary.clone(),
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
