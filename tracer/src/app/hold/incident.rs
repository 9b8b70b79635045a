//! When to save: what is a new trouble, what goes on, and what there were too many of. Pure: the time is an argument.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use crate::model::KtimeNs;

/// Within this time so many saves are made at most.
const HOUR: Duration = Duration::from_secs(3600);
/// Most troubles that are remembered; each is a cause at a place.
const TROUBLES: usize = 1024;

/// A trouble: the same cause at the same place is the same.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Trouble {
    /// Code of the cause, or the outcome where there is none.
    pub(super) cause: String,
    /// Where, in words.
    pub(super) place: String,
}

/// What is wrong now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Finding {
    /// Which trouble.
    pub(super) trouble: Trouble,
    /// In one line.
    pub(super) summary: String,
}

/// Why there is a save.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Why {
    /// Something was lost, or a verdict got worse.
    Found(Finding),
    /// Somebody asked for it.
    Asked,
}

/// A save to come.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Incident {
    /// When it began.
    pub(super) at: KtimeNs,
    /// Why.
    pub(super) why: Why,
    due: KtimeNs,
}

/// What became of a finding.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Said {
    /// It is saved, when what comes after it is in.
    Begun,
    /// It would have been one save too many in this hour.
    Suppressed,
}

/// Remembers.
#[derive(Debug)]
pub(super) struct Incidents {
    last_ns: u64,
    after_ns: u64,
    at_most: usize,
    /// When each was seen last.
    troubles: BTreeMap<Trouble, KtimeNs>,
    pending: Option<Incident>,
    /// When there were saves, in the last hour.
    saves: VecDeque<KtimeNs>,
    suppressed: u64,
}

impl Incidents {
    /// `saves`: those of the last hour that an earlier run made.
    pub(super) fn new(
        (last, after): (Duration, Duration),
        at_most: u32,
        saves: impl IntoIterator<Item = KtimeNs>,
    ) -> Self {
        Self {
            last_ns: nanoseconds(last),
            after_ns: nanoseconds(after),
            at_most: usize::try_from(at_most).unwrap_or(usize::MAX),
            troubles: BTreeMap::new(),
            pending: None,
            saves: saves.into_iter().collect(),
            suppressed: 0,
        }
    }

    /// Takes in what is wrong now. A trouble that was seen within the time that is kept goes on: it is in a save already, or
    /// one was refused.
    pub(super) fn see(&mut self, now: KtimeNs, findings: Vec<Finding>) -> Vec<(Finding, Said)> {
        self.troubles
            .retain(|_, seen| now.since(*seen) <= self.last_ns);
        let mut said = Vec::new();
        for finding in findings {
            let full = self.troubles.len() >= TROUBLES;
            let known = self.troubles.contains_key(&finding.trouble);
            if !full || known {
                self.troubles.insert(finding.trouble.clone(), now);
            }
            // During the wait it is a part of the same incident.
            if known || full || self.pending.is_some() {
                continue;
            }
            if self.saves_in_the_last_hour(now) >= self.at_most {
                self.suppressed += 1;
                said.push((finding, Said::Suppressed));
            } else {
                self.begin(now, Why::Found(finding.clone()));
                said.push((finding, Said::Begun));
            }
        }
        said
    }

    /// Somebody asks for a save, which no limit refuses. Whether one begins.
    pub(super) fn ask(&mut self, now: KtimeNs) -> bool {
        let begins = self.pending.is_none();
        if begins {
            self.begin(now, Why::Asked);
        }
        begins
    }

    fn begin(&mut self, at: KtimeNs, why: Why) {
        let due = KtimeNs(at.0.saturating_add(self.after_ns));
        self.pending = Some(Incident { at, why, due });
        self.saves.push_back(at);
    }

    fn saves_in_the_last_hour(&mut self, now: KtimeNs) -> usize {
        let hour = nanoseconds(HOUR);
        self.saves.retain(|at| now.since(*at) < hour);
        self.saves.len()
    }

    /// The incident, once what came after it is in; at the end of the run at once.
    pub(super) fn due(&mut self, now: KtimeNs, ends: bool) -> Option<Incident> {
        self.pending.take_if(|incident| ends || now >= incident.due)
    }

    /// Whether a save is to come.
    pub(super) fn is_pending(&self) -> bool {
        self.pending.is_some()
    }

    /// Saves that were refused.
    pub(super) fn suppressed(&self) -> u64 {
        self.suppressed
    }
}

fn nanoseconds(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    const LAST: u64 = 300;
    const AFTER: u64 = 10;

    fn at(seconds: u64) -> KtimeNs {
        KtimeNs((10_000 + seconds) * 1_000_000_000)
    }

    fn incidents(at_most: u32) -> Incidents {
        let times = (Duration::from_secs(LAST), Duration::from_secs(AFTER));
        Incidents::new(times, at_most, [])
    }

    fn finding(cause: &str) -> Finding {
        Finding {
            trouble: Trouble {
                cause: cause.to_owned(),
                place: "router".to_owned(),
            },
            summary: format!("{cause} on router"),
        }
    }

    fn said(incidents: &mut Incidents, now: u64, cause: &str) -> Option<Said> {
        let said = incidents.see(at(now), vec![finding(cause)]);
        said.into_iter().next().map(|(_, said)| said)
    }

    #[test]
    fn a_save_waits_for_what_comes_after_and_takes_in_what_comes_meanwhile() {
        let mut incidents = incidents(6);
        assert_eq!(said(&mut incidents, 0, "route.none"), Some(Said::Begun));
        assert_eq!(said(&mut incidents, 5, "link.down"), None);
        assert!(!incidents.ask(at(6)));
        assert_eq!(incidents.due(at(AFTER - 1), false), None);
        let due = incidents.due(at(AFTER), false);
        assert_eq!(
            due.map(|it| it.why),
            Some(Why::Found(finding("route.none")))
        );
        assert_eq!(incidents.due(at(AFTER), true), None);
    }

    #[test]
    fn trouble_that_goes_on_is_saved_once_and_trouble_that_returns_again() {
        let mut incidents = incidents(6);
        for second in 0..2 * LAST {
            let begun = said(&mut incidents, second, "route.none");
            assert_eq!(begun.is_some(), second == 0, "{second}");
            incidents.due(at(second), false);
        }
        let later = 2 * LAST + LAST + 1;
        assert_eq!(said(&mut incidents, later, "route.none"), Some(Said::Begun));
    }

    #[test]
    fn the_end_waits_for_nothing() {
        let mut incidents = incidents(6);
        assert!(incidents.ask(at(0)));
        assert_eq!(
            incidents.due(at(1), true).map(|it| it.why),
            Some(Why::Asked)
        );
    }

    #[test]
    fn more_than_so_many_an_hour_are_counted_unless_somebody_asks() {
        let mut incidents = incidents(2);
        for (n, cause) in ["a", "b", "c", "d"].into_iter().enumerate() {
            let now = n as u64 * 20;
            let expected = if n < 2 { Said::Begun } else { Said::Suppressed };
            assert_eq!(said(&mut incidents, now, cause), Some(expected), "{cause}");
            incidents.due(at(now + AFTER), false);
        }
        assert_eq!(incidents.suppressed(), 2);
        assert!(incidents.ask(at(90)));
        incidents.due(at(90 + AFTER), false);
        // an hour after the first two, when the third that was asked for still counts
        assert_eq!(said(&mut incidents, 3620, "e"), Some(Said::Begun));
    }

    #[test]
    fn saves_of_an_earlier_run_count() {
        let times = (Duration::from_secs(LAST), Duration::from_secs(AFTER));
        let mut incidents = Incidents::new(times, 1, [at(0)]);
        assert_eq!(said(&mut incidents, 60, "a"), Some(Said::Suppressed));
        assert_eq!(said(&mut incidents, 3601, "b"), Some(Said::Begun));
    }

    #[test]
    fn what_is_remembered_is_bounded() {
        let mut incidents = incidents(u32::MAX);
        for n in 0..3 * TROUBLES {
            said(&mut incidents, 0, &n.to_string());
        }
        assert_eq!(incidents.troubles.len(), TROUBLES);
    }
}
