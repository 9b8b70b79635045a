//! Differences of numbers, where they are large enough to matter.

use super::summary::name;
use super::{Difference, Row};
use crate::report::figures::{count, duration};
use crate::report::{HopReport, Latency};

/// What stands for a millionth.
const MICRO: &str = "µ";
/// Times that a latency must be larger than the other's.
const FACTOR: u64 = 4;
/// And by how much, nanoseconds: less is a matter of scheduling. Of the median, and of the 99th percentile.
const MEDIAN: u64 = 500_000;
const SLOWEST: u64 = 5_000_000;
/// Share of packets lost, in percent, from which two shares are different.
const SHARE: u64 = 10;

/// Packets that came no further than this row.
pub(super) fn losses(
    row: &Row,
    good: &HopReport,
    bad: &HopReport,
    at_parting: bool,
) -> Option<Difference> {
    let share = |hop: &HopReport| hop.lost_after.saturating_mul(100) / hop.packets.max(1);
    let one_only = (good.lost_after == 0) != (bad.lost_after == 0);
    if !one_only && share(good).abs_diff(share(bad)) < SHARE {
        return None;
    }
    let words = |hop: &HopReport| match hop.lost_after {
        0 => format!("none of {}", count(hop.packets)),
        lost => format!("{} of {}", count(lost), count(hop.packets)),
    };
    Some(Difference {
        kind: "loss".into(),
        place: name(row),
        at_parting,
        what: "packets lost after it".into(),
        good: words(good),
        bad: words(bad),
    })
}

/// The time to the next hop.
pub(super) fn latency(
    row: &Row,
    good: &HopReport,
    bad: &HopReport,
    at_parting: bool,
) -> Option<Difference> {
    let (one, other) = (good.latency_ns?, bad.latency_ns?);
    if !apart(one.p50, other.p50, MEDIAN) && !apart(one.p99, other.p99, SLOWEST) {
        return None;
    }
    let words = |latency: Latency| {
        format!(
            "{} (p99 {})",
            duration(latency.p50, MICRO),
            duration(latency.p99, MICRO)
        )
    };
    Some(Difference {
        kind: "latency".into(),
        place: name(row),
        at_parting,
        what: "time to the next hop".into(),
        good: words(one),
        bad: words(other),
    })
}

/// Whether two times differ by a factor and by an amount that matter.
fn apart(one: u64, other: u64, least: u64) -> bool {
    let (small, large) = (one.min(other), one.max(other));
    large >= small.saturating_mul(FACTOR) && large - small >= least
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_latency_differs_by_a_factor_and_an_amount() {
        for (one, other, differ) in [
            (10_000, 200_000, false),
            (1_000_000, 3_000_000, false),
            (100_000, 2_000_000, true),
            (2_000_000, 100_000, true),
            (0, 600_000, true),
        ] {
            assert_eq!(apart(one, other, MEDIAN), differ, "{one} {other}");
        }
    }
}
