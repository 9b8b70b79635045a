//! A bounded estimate of a distribution of times: logarithmic buckets of less than 2 % width.

use std::collections::BTreeMap;

use crate::model::Latency;

/// Bits of a value that a bucket keeps below its leading one.
const MANTISSA: u32 = 6;

/// A histogram of nanoseconds; at most some thousand buckets, whatever comes in.
#[derive(Clone, Debug, Default)]
pub(super) struct Histogram {
    buckets: BTreeMap<u16, u64>,
    count: u64,
    min: u64,
    max: u64,
}

impl Histogram {
    pub(super) fn add(&mut self, value: u64) {
        *self.buckets.entry(bucket(value)).or_default() += 1;
        self.min = if self.count == 0 {
            value
        } else {
            self.min.min(value)
        };
        self.max = self.max.max(value);
        self.count += 1;
    }

    /// Adds all of another.
    pub(super) fn absorb(&mut self, other: &Self) {
        for (bucket, count) in &other.buckets {
            *self.buckets.entry(*bucket).or_default() += count;
        }
        if other.count > 0 {
            self.min = if self.count == 0 {
                other.min
            } else {
                self.min.min(other.min)
            };
        }
        self.max = self.max.max(other.max);
        self.count += other.count;
    }

    pub(super) fn latency(&self) -> Option<Latency> {
        (self.count > 0).then(|| Latency {
            p50: self.quantile(50),
            p99: self.quantile(99),
            max: self.max,
        })
    }

    /// The smallest value that at least `percent` of all are not above, to the bucket's width.
    fn quantile(&self, percent: u64) -> u64 {
        let wanted = (self.count * percent).div_ceil(100);
        let mut below = 0;
        for (bucket, count) in &self.buckets {
            below += count;
            if below >= wanted {
                return lower_end(*bucket).clamp(self.min, self.max);
            }
        }
        self.max
    }
}

fn bucket(value: u64) -> u16 {
    let exponent = (u64::BITS - value.leading_zeros()).saturating_sub(MANTISSA + 1);
    let mantissa = value >> exponent;
    let number = (u64::from(exponent) << MANTISSA) + mantissa;
    u16::try_from(number).unwrap_or(u16::MAX)
}

fn lower_end(bucket: u16) -> u64 {
    let number = u64::from(bucket);
    let base = 1u64 << MANTISSA;
    if number < 2 * base {
        return number;
    }
    let exponent = (number >> MANTISSA) - 1;
    (number - (exponent << MANTISSA)) << exponent
}

#[cfg(test)]
mod tests {
    use super::{Histogram, bucket, lower_end};

    #[test]
    fn buckets_are_narrow_and_in_order() {
        let mut last = 0;
        for shift in 0..63 {
            for step in 0..8u64 {
                let value = (1u64 << shift) + step * ((1u64 << shift) / 8);
                let low = lower_end(bucket(value));
                assert!(low <= value && value - low <= value / 64, "{value} {low}");
                assert!(bucket(value) >= last);
                last = bucket(value);
            }
        }
        assert_eq!(lower_end(bucket(u64::MAX)) >> 57, 127);
    }

    #[test]
    fn one_value_is_told_exactly_and_an_outlier_is_the_maximum() {
        let mut times = Histogram::default();
        assert!(times.latency().is_none());
        times.add(12_345);
        let one = times.latency().map(|l| (l.p50, l.p99, l.max));
        assert_eq!(one, Some((12_345, 12_345, 12_345)));
        for _ in 0..98 {
            times.add(20_000);
        }
        times.add(9_000_000);
        let many = times.latency().map(|l| (l.p50 / 1000, l.p99 / 1000, l.max));
        assert_eq!(many, Some((19, 19, 9_000_000)));
    }
}
