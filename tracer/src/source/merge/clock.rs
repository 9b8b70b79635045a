//! How far the clocks of nodes are apart, from packets that two of them saw.
//!
//! A packet that leaves node A at `a` (A's clock) and comes to node B at `b` (B's clock) tells `b - a = ahead + way`,
//! where `ahead` is how much B's clock is ahead and `way` took no less than no time: the smallest is an upper bound of
//! `ahead`. Packets in the other direction give a lower bound. The middle is the estimate, half the distance between
//! the bounds its uncertainty (as NTP has it, RFC 5905), and no packet of the sample then arrives before it left.

use std::collections::BTreeMap;

use super::by_wall_clock;
use super::scan::NodeScan;
use crate::host::facts::{ClockBasis, NodeClock};
use crate::model::{KtimeNs, Side};

/// What the fastest packet is taken to have needed where there is no other bound: it came after it left.
const NO_TIME_NS: i64 = 1;

/// One sighting of a packet at an interface.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sighting {
    /// When, on the node's own clock.
    pub at: KtimeNs,
    /// Into the stack or out of it.
    pub side: Side,
    /// TTL or hop limit.
    pub ttl: u8,
}

/// What packets tell of two clocks.
#[derive(Clone, Copy, Debug, Default)]
struct Bounds {
    /// Smallest difference of packets from the first to the second.
    there: Option<i64>,
    /// Smallest difference of packets from the second to the first.
    back: Option<i64>,
    packets: u64,
}

impl Bounds {
    /// Of two nodes, by the packets that both saw.
    fn of(one: &NodeScan, other: &NodeScan) -> Self {
        let mut bounds = Self::default();
        for [mine, theirs] in one.shared(other) {
            match (went(mine, theirs), went(theirs, mine)) {
                (Some(took), None) => bounds.there = least(bounds.there, took),
                (None, Some(took)) => bounds.back = least(bounds.back, took),
                // it cannot be told who had it first
                _ => continue,
            }
            bounds.packets += 1;
        }
        bounds
    }

    /// How much the second clock is ahead of the first.
    fn ahead(&self) -> Option<NodeClock> {
        let clock = |ahead_ns, uncertainty_ns, basis| NodeClock {
            ahead_ns,
            uncertainty_ns,
            basis,
            packets: self.packets,
        };
        match (self.there, self.back) {
            (Some(there), Some(back)) => {
                let middle = (i128::from(there) - i128::from(back)) / 2;
                let half = (i128::from(there) + i128::from(back)) / 2;
                let uncertainty = u64::try_from(half.unsigned_abs()).ok();
                Some(clock(
                    i64::try_from(middle).unwrap_or(0),
                    uncertainty,
                    ClockBasis::TwoWay,
                ))
            }
            (Some(there), None) => Some(clock(
                there.saturating_sub(NO_TIME_NS),
                None,
                ClockBasis::OneWay,
            )),
            (None, Some(back)) => Some(clock(
                NO_TIME_NS.saturating_sub(back),
                None,
                ClockBasis::OneWay,
            )),
            (None, None) => None,
        }
    }

    fn swapped(self) -> Self {
        Self {
            there: self.back,
            back: self.there,
            packets: self.packets,
        }
    }
}

fn least(known: Option<i64>, new: i64) -> Option<i64> {
    Some(known.map_or(new, |known| known.min(new)))
}

/// Difference of the clocks' readings, if the packet can have gone from the first node to the second: it left the one
/// and came to the other, and no router between gave it a higher TTL.
fn went(from: (Sighting, Sighting), to: (Sighting, Sighting)) -> Option<i64> {
    let ((_, left), (came, _)) = (from, to);
    if left.side != Side::Egress || came.side != Side::Ingress || came.ttl > left.ttl {
        return None;
    }
    let took = i128::from(came.at.0) - i128::from(left.at.0);
    i64::try_from(took).ok()
}

/// Clocks of all nodes against that of the first: from node to node over the best known pairs, the rest by wall clock.
#[must_use]
pub fn estimate(scans: &[&NodeScan]) -> Vec<NodeClock> {
    let mut pairs: BTreeMap<(usize, usize), Bounds> = BTreeMap::new();
    for (i, one) in scans.iter().enumerate() {
        for (j, other) in scans.iter().enumerate().skip(i + 1) {
            let bounds = Bounds::of(one, other);
            pairs.insert((i, j), bounds);
            pairs.insert((j, i), bounds.swapped());
        }
    }
    let mut known: BTreeMap<usize, NodeClock> = BTreeMap::new();
    known.insert(0, NodeClock::REFERENCE);
    while let Some((node, clock)) = nearest(&pairs, &known) {
        known.insert(node, clock);
    }
    let first = scans.first();
    let by_wall = |scan: &NodeScan| first.map_or(0, |first| scan.ahead_by_wall_clock(first));
    scans
        .iter()
        .enumerate()
        .map(|(node, scan)| {
            known
                .get(&node)
                .copied()
                .unwrap_or_else(|| by_wall_clock(by_wall(scan)))
        })
        .collect()
}

/// The node that can be told best from those that are known: two-way pairs first, then the smallest uncertainty.
fn nearest(
    pairs: &BTreeMap<(usize, usize), Bounds>,
    known: &BTreeMap<usize, NodeClock>,
) -> Option<(usize, NodeClock)> {
    pairs
        .iter()
        .filter(|((from, to), _)| known.contains_key(from) && !known.contains_key(to))
        .filter_map(|((from, to), bounds)| {
            let (base, step) = (known.get(from)?, bounds.ahead()?);
            let both = |a: u64, b: u64| a.saturating_add(b);
            let clock = NodeClock {
                ahead_ns: base.ahead_ns.saturating_add(step.ahead_ns),
                uncertainty_ns: base
                    .uncertainty_ns
                    .zip(step.uncertainty_ns)
                    .map(|(a, b)| both(a, b)),
                basis: if base.basis == ClockBasis::OneWay {
                    ClockBasis::OneWay
                } else {
                    step.basis
                },
                packets: step.packets,
            };
            Some((*to, clock))
        })
        .min_by_key(|(_, clock)| {
            (
                clock.uncertainty_ns.is_none(),
                clock.uncertainty_ns,
                std::cmp::Reverse(clock.packets),
            )
        })
}
