//! Drops of a flow by where and why: those of which events came, and those that the kernel only counted because no
//! event of them could be sent.

use std::collections::BTreeMap;

use crate::model::{Direction, DropSite, Fate, FateCounts, Journey};

use super::fate::Judgement;
use super::unite::Union;

/// By place and reason.
#[derive(Clone, Debug, Default)]
pub(super) struct Drops {
    /// Events.
    told: BTreeMap<DropSite, u64>,
    /// Closed journeys that ended there.
    ends: BTreeMap<DropSite, u64>,
    /// Those of which no event was sent.
    untold: BTreeMap<DropSite, u64>,
}

impl Drops {
    /// An event came.
    pub(super) fn tell(&mut self, site: DropSite) {
        *self.told.entry(site).or_default() += 1;
    }

    /// A journey is closed.
    pub(super) fn close(&mut self, journey: &Journey, judged: &Judgement) {
        if let Some(site) = end(journey, judged) {
            *self.ends.entry(site).or_default() += 1;
        }
    }

    /// The kernel counts anew: what it counted before is part of what it tells now.
    pub(super) fn recount(&mut self) {
        self.untold.clear();
    }

    /// The kernel counted drops of which it sent no event.
    pub(super) fn count(&mut self, site: DropSite, packets: u64) {
        *self.untold.entry(site).or_default() += packets;
    }

    /// Lost packets by place and reason, `open` being the journeys that are not closed. Where each drop of which an
    /// event came was a packet's end, so were those that were only counted, and they are added to `fates`; elsewhere
    /// (copies, what a process had read) nothing is known of them.
    pub(super) fn sum<'a>(
        &self,
        open: impl Iterator<Item = (&'a Journey, &'a Judgement)>,
        fates: &mut BTreeMap<Direction, FateCounts>,
    ) -> BTreeMap<DropSite, u64> {
        let mut lost = self.ends.clone();
        for site in open.filter_map(|(journey, judged)| end(journey, judged)) {
            *lost.entry(site).or_default() += 1;
        }
        for (site, packets) in &mut lost {
            if self.told.get(site) != Some(packets) {
                continue;
            }
            let untold = self.untold.get(site).copied().unwrap_or_default();
            *packets += untold;
            fates.entry(site.direction).or_default().dropped += untold;
        }
        lost
    }

    /// Takes in those of a flow that is the same one.
    pub(super) fn absorb(&mut self, other: Self, union: Union) {
        let lists = [
            (&mut self.told, other.told),
            (&mut self.ends, other.ends),
            (&mut self.untold, other.untold),
        ];
        for (to, from) in lists {
            for (site, packets) in from {
                let direction = union.direction(site.direction);
                *to.entry(DropSite { direction, ..site }).or_default() += packets;
            }
        }
    }
}

/// Where a journey ended by a drop.
fn end(journey: &Journey, judged: &Judgement) -> Option<DropSite> {
    let Fate::Dropped { step } = judged.fate else {
        return None;
    };
    DropSite::of(journey.direction, &journey.steps.get(step)?.event)
}
