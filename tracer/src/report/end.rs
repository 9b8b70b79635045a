//! Where in its paths a flow came to its end, and what changed on the way to it.

use super::{FlowReport, HopReport, Outcome, Place};

/// The place of a flow's end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PathEnd {
    /// Index of the path.
    pub path: usize,
    /// Hops before it.
    pub after: usize,
}

impl FlowReport {
    /// After the hop that the verdict names, of those that lost packets where any did; else at the end of the way
    /// there. None where nothing came to an end.
    #[must_use]
    pub fn end(&self) -> Option<PathEnd> {
        let verdict = &self.verdict;
        let delivered = verdict.outcome == Outcome::Delivered;
        if verdict.outcome == Outcome::NoTraffic || (delivered && verdict.place.is_none()) {
            return None;
        }
        let place = verdict.place.as_ref();
        let is = |name: Option<&String>, of: &str| name.is_some_and(|name| name == of);
        let loses = !matches!(verdict.outcome, Outcome::Delivered | Outcome::Unanswered);
        let rank = |hop: &HopReport, last: bool| {
            let namespace = place.and_then(Place::spot) == Some(hop.spot());
            let interface = is(place.and_then(|p| p.interface.as_ref()), &hop.interface);
            let lost = loses && hop.lost_after > 0;
            // a way out of one direction is a way in of the other: what did not go on ends where its path does
            let ends = namespace && interface && last;
            (
                lost && namespace,
                namespace && interface,
                ends,
                lost,
                namespace,
            )
        };
        let way_there = self.paths.first().map_or(0, |path| path.hops.len());
        let mut best = ((false, false, false, false, false), 0, way_there);
        for (path, i) in self.paths.iter().zip(0..) {
            for (hop, after) in path.hops.iter().zip(1..) {
                let found = rank(hop, after == path.hops.len());
                // of equals the last one of the way there
                if found > best.0 || (found == best.0 && i == best.1 && after > best.2) {
                    best = (found, i, after);
                }
            }
        }
        Some(PathEnd {
            path: best.1,
            after: best.2,
        })
    }
}

impl HopReport {
    /// Whether one of its rewrites came about behind it: packets lost after their last hop were changed there, and the hop
    /// still has what was changed.
    #[must_use]
    pub fn changed_behind(&self, change: &str) -> bool {
        let ends = change
            .split_once(' ')
            .and_then(|(_, ends)| ends.split_once(" > "));
        let has = |end: &str| self.tuple.split(' ').any(|word| word == end);
        ends.is_some_and(|(from, to)| has(from) && !has(to))
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test ends where it fails")]
mod tests {
    use super::*;
    use crate::render::samples;
    use crate::report::PathReport;

    /// A flow through `client eth0`, `router lan0` and back, which ends at the router's interface.
    fn flow() -> FlowReport {
        let mut flow = samples::forward_drop().flows.into_iter().next().unwrap();
        let hop = flow.paths.first().unwrap().hops.first().unwrap().clone();
        let hops = |places: &[(&str, &str)]| {
            let hops = places.iter().map(|(namespace, interface)| HopReport {
                namespace: (*namespace).to_owned(),
                interface: (*interface).to_owned(),
                lost_after: 0,
                ..hop.clone()
            });
            hops.collect()
        };
        let path = |direction: &str, hops| PathReport {
            direction: direction.to_owned(),
            hops,
            checks: Vec::new(),
        };
        flow.paths = vec![
            path(
                "forward",
                hops(&[("client", "eth0"), ("router", "wan0"), ("server", "eth0")]),
            ),
            path("reply", hops(&[("server", "eth0"), ("router", "wan0")])),
        ];
        flow.verdict.outcome = Outcome::Vanished;
        flow.verdict.place = Some(Place {
            node: None,
            namespace: Some("router".to_owned()),
            interface: Some("wan0".to_owned()),
            hook: Some("device".to_owned()),
            function: None,
        });
        flow
    }

    #[test]
    fn what_did_not_go_on_ends_where_its_path_does() {
        assert_eq!(flow().end(), Some(PathEnd { path: 1, after: 2 }));
        // cut before it: the packets of the way there end at the same interface
        let mut there = flow();
        for path in there.paths.iter_mut().take(1) {
            path.hops.truncate(2);
        }
        assert_eq!(there.end(), Some(PathEnd { path: 0, after: 2 }));
    }
}
