//! All flows of a trace as one: hops that several flows pass are one hop, and where flows part (backends of a service,
//! equal routes) the path forks. Numbers are sums; of latencies the slowest flow's stand, for medians have no sum.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};

use crate::model::Latency;
use crate::report::{FlowReport, HopReport, PathReport, Report};

/// The number of the flow that all flows make: no flow has it.
pub const ALL: u32 = u32::MAX;
/// Most rewrites of one hop that are told.
const REWRITES: usize = 3;

/// All flows as one, where there are several.
#[must_use]
pub fn combined(report: &Report) -> Option<FlowReport> {
    if report.flows.len() < 2 {
        return None;
    }
    let way = |direction: &str| {
        let paths = report.flows.iter().flat_map(|flow| &flow.paths);
        let mut union = Union::default();
        for path in paths.filter(|path| path.direction == direction) {
            union.add(path);
        }
        (!union.hops.is_empty()).then(|| PathReport {
            direction: direction.to_owned(),
            hops: union.in_order(),
            checks: Vec::new(),
        })
    };
    Some(FlowReport {
        id: ALL,
        tuples: Vec::new(),
        owners: report.flows.iter().flat_map(|f| f.owners.clone()).collect(),
        sender: None,
        receiver: None,
        verdict: report.verdict.clone(),
        losses: Vec::new(),
        paths: ["forward", "reply"].into_iter().filter_map(way).collect(),
    })
}

/// Namespace, interface, hook, and which of several visits.
type Place = (String, u32, String, usize);

/// Paths laid upon each other.
#[derive(Default)]
struct Union {
    places: BTreeMap<Place, usize>,
    hops: Vec<HopReport>,
    next: Vec<BTreeSet<usize>>,
    more: Vec<usize>,
}

impl Union {
    fn add(&mut self, path: &PathReport) {
        let mut visits: BTreeMap<(Cow<'_, str>, u32, &str), usize> = BTreeMap::new();
        let mut mine: BTreeMap<u32, usize> = BTreeMap::new();
        for hop in &path.hops {
            let visit = visits
                .entry((hop.spot(), hop.ifindex, &hop.hook))
                .or_default();
            *visit += 1;
            let place = (
                hop.spot().into_owned(),
                hop.ifindex,
                hop.hook.clone(),
                *visit,
            );
            let at = *self.places.entry(place).or_insert(self.hops.len());
            mine.insert(hop.n, at);
            match self.hops.get_mut(at) {
                Some(sum) => {
                    let more = merge(sum, hop);
                    if let Some(count) = self.more.get_mut(at) {
                        *count += more;
                    }
                }
                None => {
                    self.hops.push(hop.clone());
                    self.next.push(BTreeSet::new());
                    self.more.push(0);
                }
            }
        }
        for (hop, below) in path
            .hops
            .iter()
            .zip(path.hops.iter().skip(1).map(Some).chain([None]))
        {
            let straight = below.map(|hop| hop.n).into_iter();
            let next: Vec<u32> = match hop.next.as_slice() {
                [] => straight.collect(),
                next => next.to_vec(),
            };
            let from = mine.get(&hop.n).and_then(|at| self.next.get_mut(*at));
            if let Some(from) = from {
                from.extend(next.iter().filter_map(|n| mine.get(n)));
            }
        }
    }

    /// The hops with every one before its next ones, branch after branch; numbered anew. A loop is cut where it closes.
    fn in_order(self) -> Vec<HopReport> {
        let mut before = vec![0_usize; self.hops.len()];
        for to in self.next.iter().flatten() {
            if let Some(count) = before.get_mut(*to) {
                *count += 1;
            }
        }
        let mut left: BTreeSet<usize> = (0..self.hops.len()).collect();
        let mut ready: Vec<usize> = Vec::new();
        let mut order: Vec<usize> = Vec::new();
        while let Some(first) = left.first().copied() {
            let free = |at: &&usize| before.get(**at) == Some(&0);
            let at = ready
                .pop()
                .or_else(|| left.iter().find(free).copied())
                .unwrap_or(first);
            if !left.remove(&at) {
                continue;
            }
            order.push(at);
            // the first branch is to be the next one taken
            for to in self.next.get(at).into_iter().flatten().rev() {
                if let Some(count) = before.get_mut(*to) {
                    *count = count.saturating_sub(1);
                    if *count == 0 {
                        ready.push(*to);
                    }
                }
            }
        }
        let numbers: BTreeMap<usize, u32> = order.iter().copied().zip(1..).collect();
        let number = |at: &usize| numbers.get(at).copied();
        order
            .iter()
            .filter_map(|at| {
                let mut hop = self.hops.get(*at)?.clone();
                hop.n = number(at)?;
                // What one flow passed is not what the others did.
                hop.checks.clear();
                hop.next = self.next.get(*at)?.iter().filter_map(number).collect();
                hop.next.sort_unstable();
                match self.more.get(*at) {
                    None | Some(0) => {}
                    Some(more) => hop.rewrites.push(format!("and {more} like these")),
                }
                Some(hop)
            })
            .collect()
    }
}

/// Adds a hop to the one of other flows at the same place; gives how many of its rewrites are left out.
fn merge(sum: &mut HopReport, hop: &HopReport) -> usize {
    sum.packets += hop.packets;
    sum.bytes += hop.bytes;
    sum.lost_after += hop.lost_after;
    sum.last_ns = sum.last_ns.max(hop.last_ns);
    sum.latency_ns = match (sum.latency_ns, hop.latency_ns) {
        (Some(a), Some(b)) => Some(Latency {
            p50: a.p50.max(b.p50),
            p99: a.p99.max(b.p99),
            max: a.max.max(b.max),
        }),
        (a, b) => a.or(b),
    };
    let mut left_out = 0;
    for rewrite in &hop.rewrites {
        if sum.rewrites.contains(rewrite) {
            continue;
        }
        if sum.rewrites.len() < REWRITES {
            sum.rewrites.push(rewrite.clone());
        } else {
            left_out += 1;
        }
    }
    left_out
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

    /// A flow through interfaces of one namespace, by their numbers.
    fn flow(report: &Report, interfaces: &[u32]) -> FlowReport {
        let mut flow = report.flows[0].clone();
        let hop = flow.paths[0].hops[0].clone();
        flow.paths.truncate(1);
        flow.paths[0].hops = interfaces
            .iter()
            .zip(1..)
            .map(|(ifindex, n)| {
                let mut hop = hop.clone();
                (hop.ifindex, hop.n, hop.packets, hop.next) = (*ifindex, n, 1, Vec::new());
                hop
            })
            .collect();
        flow
    }

    fn of(flows: &[&[u32]]) -> Vec<(u32, u64, Vec<u32>)> {
        let mut report = samples::forward_drop();
        report.flows = flows.iter().map(|hops| flow(&report, hops)).collect();
        let all = combined(&report).unwrap();
        let hops = all.paths[0].hops.iter();
        hops.map(|hop| (hop.ifindex, hop.packets, hop.next.clone()))
            .collect()
    }

    #[test]
    fn one_flow_is_no_union() {
        assert!(combined(&samples::forward_drop()).is_none());
    }

    #[test]
    fn flows_that_part_make_a_fork() {
        assert_eq!(
            of(&[&[10, 20, 30], &[10, 21, 31], &[10, 20, 30]]),
            [
                (10, 3, vec![2, 4]),
                (20, 2, vec![3]),
                (30, 2, vec![]),
                (21, 1, vec![5]),
                (31, 1, vec![])
            ]
        );
    }

    #[test]
    fn flows_that_meet_again_join() {
        assert_eq!(
            of(&[&[1, 2, 4], &[1, 3, 4]]),
            [
                (1, 2, vec![2, 3]),
                (2, 1, vec![4]),
                (3, 1, vec![4]),
                (4, 2, vec![])
            ]
        );
    }

    #[test]
    fn a_loop_ends() {
        let hops = of(&[&[1, 2, 1, 2], &[2, 1]]);
        assert_eq!(hops.len(), 4);
        assert_eq!(hops.iter().map(|(_, packets, _)| packets).sum::<u64>(), 6);
    }
}
