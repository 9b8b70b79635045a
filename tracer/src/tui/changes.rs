//! Which hops have just come or changed, so that they flash. Only what the reports say counts; what is drawn of it is
//! for the views.

use std::borrow::Cow;
use std::collections::BTreeMap;

use crate::report::Report;

/// How long a change is fresh.
const FLASH_NS: u64 = 600_000_000;

/// A hop in the flows: flow, direction, namespace, interface, hook, and its place among equal ones.
pub type HopId = (u32, String, String, u32, String, usize);

/// What is new about a hop.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fresh {
    /// Nothing passed here before.
    New,
    /// More packets passed.
    More,
}

/// The hops that are fresh, and until when.
#[derive(Clone, Debug, Default)]
pub struct Changes {
    until: BTreeMap<HopId, u64>,
    hops: BTreeMap<HopId, Fresh>,
}

impl Changes {
    /// Compares two reports of one trace.
    pub fn take(&mut self, before: &Report, now: &Report, at_ns: u64) {
        let before = packets(before);
        let now = packets(now);
        self.until.retain(|id, until| {
            let lasts = *until > at_ns && now.contains_key(id);
            if !lasts {
                self.hops.remove(id);
            }
            lasts
        });
        for (id, packets) in now {
            let fresh = match before.get(&id) {
                None => Fresh::New,
                Some(old) if *old != packets => Fresh::More,
                Some(_) => continue,
            };
            // A new hop flashes as new first, however many packets follow at once.
            if fresh == Fresh::More && self.hops.get(&id) == Some(&Fresh::New) {
                continue;
            }
            self.until.insert(id.clone(), at_ns + FLASH_NS);
            self.hops.insert(id, fresh);
        }
    }

    /// The hops that are fresh.
    #[must_use]
    pub fn hops(&self) -> &BTreeMap<HopId, Fresh> {
        &self.hops
    }

    /// Whether one of them is fresh no longer by then.
    #[must_use]
    pub fn fade_before(&self, at_ns: u64) -> bool {
        self.until.values().any(|until| *until <= at_ns)
    }
}

/// Names the hops of one path, in order.
pub fn ids<'a>(flow: u32, path: &'a crate::report::PathReport) -> impl Iterator<Item = HopId> + 'a {
    let mut seen: BTreeMap<(Cow<'a, str>, u32, &str), usize> = BTreeMap::new();
    path.hops.iter().map(move |hop| {
        let count = seen
            .entry((hop.spot(), hop.ifindex, &hop.hook))
            .or_default();
        *count += 1;
        (
            flow,
            path.direction.clone(),
            hop.spot().into_owned(),
            hop.ifindex,
            hop.hook.clone(),
            *count,
        )
    })
}

fn packets(report: &Report) -> BTreeMap<HopId, u64> {
    let paths = report
        .flows
        .iter()
        .flat_map(|flow| flow.paths.iter().map(move |path| (flow.id, path)));
    paths
        .flat_map(|(flow, path)| ids(flow, path).zip(path.hops.iter().map(|hop| hop.packets)))
        .collect()
}

#[cfg(test)]
#[expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test ends where it fails"
)]
mod tests {
    use super::*;
    use crate::render::samples;

    #[test]
    fn a_hop_flashes_when_packets_pass_and_then_rests() {
        let before = samples::forward_drop();
        let mut now = before.clone();
        let hop = now.flows[0].paths[0].hops.first_mut().unwrap();
        hop.packets += 1;
        let mut changes = Changes::default();
        changes.take(&before, &now, 0);
        let fresh: Vec<Fresh> = changes.hops().values().copied().collect();
        assert_eq!(fresh, [Fresh::More]);
        assert!(!changes.fade_before(FLASH_NS - 1));
        assert!(changes.fade_before(FLASH_NS));
        changes.take(&now, &now, FLASH_NS);
        assert!(changes.hops().is_empty());
    }

    #[test]
    fn a_hop_that_comes_is_new_even_when_more_packets_follow() {
        let now = samples::forward_drop();
        let mut before = now.clone();
        let gone = before.flows[0].paths[0].hops.pop().unwrap();
        let mut more = now.clone();
        more.flows[0].paths[0].hops.last_mut().unwrap().packets += gone.packets;
        let mut changes = Changes::default();
        changes.take(&before, &now, 0);
        changes.take(&now, &more, 1);
        assert_eq!(changes.hops().values().next(), Some(&Fresh::New));
        changes.take(&now, &more, FLASH_NS);
        assert_eq!(changes.hops().values().next(), Some(&Fresh::More));
    }
}
