//! When a journey is over: fates of the open ones, which of them are due, and their closing.

use std::collections::BTreeMap;

use crate::host::Host;
use crate::model::{Fate, JourneyId};

use super::fate::{self, Around, Judgement};
use super::{Correlator, summary};

impl Correlator {
    /// Fates of all open journeys, as of now.
    pub(super) fn judge(&mut self, host: &Host) -> BTreeMap<JourneyId, Judgement> {
        let around = Around {
            host,
            losses: &self.trace.losses,
            now: self.trace.now,
            settle_ns: self.settings.settle_ns,
        };
        let mut judged: BTreeMap<JourneyId, Judgement> = self
            .index
            .open
            .iter()
            .filter_map(|(id, open)| {
                let journey = self.trace.journeys.get(id)?;
                Some((*id, fate::judge(journey, open, &around)))
            })
            .collect();
        // what was merged into another packet shares its fate
        for (id, open) in &self.index.open {
            let Some(by) = open.merged else { continue };
            let taken = match self.trace.journeys.get(&by).map(|other| &other.fate) {
                Some(Fate::Delivered) | None => true,
                Some(_) => judged
                    .get(&by)
                    .is_some_and(|other| other.fate == Fate::Delivered),
            };
            if let Some(mine) = judged.get_mut(id).filter(|_| taken) {
                mine.fate = Fate::Delivered;
                mine.over = true;
            }
        }
        for (id, judged) in &judged {
            if let Some(journey) = self.trace.journeys.get_mut(id) {
                journey.fate = judged.fate.clone();
            }
        }
        judged
    }

    pub(super) fn is_due(&self, id: JourneyId, judged: &Judgement) -> bool {
        let silent = self
            .index
            .open
            .get(&id)
            .map_or(u64::MAX, |open| self.trace.now.since(open.last));
        let wait = if judged.over {
            self.settings.recreate_ns
        } else {
            self.settings.linger_ns
        };
        silent > wait
    }

    /// Closes the oldest journeys when too many are open.
    pub(super) fn make_room(&mut self, host: &Host) {
        if self.index.open.len() < self.settings.open {
            return;
        }
        let around = Around {
            host,
            losses: &self.trace.losses,
            now: self.trace.now,
            settle_ns: 0,
        };
        let many = self.settings.open / 8 + 1;
        let oldest: Vec<(JourneyId, Judgement)> = self
            .index
            .open
            .iter()
            .take(many)
            .filter_map(|(id, open)| {
                let journey = self.trace.journeys.get(id)?;
                Some((*id, fate::judge(journey, open, &around)))
            })
            .collect();
        for (id, judged) in oldest {
            self.close(id, &judged);
        }
        self.sweep();
    }

    pub(super) fn close(&mut self, id: JourneyId, judged: &Judgement) {
        let Some(open) = self.index.close(id) else {
            return;
        };
        summary::fold(&mut self.trace, &mut self.flows, &open, judged);
        self.keeping
            .decide(&mut self.trace, &mut self.flows, &open, &self.settings);
    }
}
