//! A share of one processor as people write it: `2%`, `0.5%`, `150%`.

use std::fmt;
use std::str::FromStr;

/// CPU time, in nanoseconds a second.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CpuShare(u64);

/// One percent.
const PERCENT: f64 = 10_000_000.0;
/// Less than this is used by looking at the clock now and then.
const LEAST: f64 = 0.1;
/// No machine has more processors.
const MOST: f64 = 819_200.0;

impl CpuShare {
    /// Nanoseconds of CPU time a second.
    #[must_use]
    pub const fn ns_per_s(self) -> u64 {
        self.0
    }
}

impl fmt::Display for CpuShare {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        #[expect(clippy::cast_precision_loss, reason = "parsed from a few digits")]
        let percent = self.0 as f64 / PERCENT;
        write!(f, "{percent}%")
    }
}

impl FromStr for CpuShare {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text.strip_suffix('%').unwrap_or(text).parse::<f64>() {
            #[expect(
                clippy::cast_possible_truncation,
                clippy::cast_sign_loss,
                reason = "between the bounds"
            )]
            Ok(percent) if (LEAST..=MOST).contains(&percent) => {
                Ok(Self((percent * PERCENT).round() as u64))
            }
            _ => Err("give a share of one processor from 0.1% on, such as 2%".into()),
        }
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test ends where it fails")]
mod tests {
    use super::*;

    #[test]
    fn shares_are_read_and_written() {
        for (text, ns) in [
            ("2%", 20_000_000),
            ("0.5%", 5_000_000),
            ("150", 1_500_000_000),
        ] {
            let share: CpuShare = text.parse().unwrap();
            assert_eq!(share.ns_per_s(), ns);
            assert_eq!(share.to_string().parse(), Ok(share));
        }
    }

    #[test]
    fn what_is_no_share_is_refused() {
        for text in ["", "%", "two", "-1%", "0%", "0.01%", "nan", "inf", "1e9%"] {
            assert!(text.parse::<CpuShare>().is_err(), "{text}");
        }
    }
}
