//! How fast a recording is played: `1` as it was, `10` ten times as fast, `0.5` half as fast, `max`.

use std::str::FromStr;

/// Slower or faster than this is a mistake.
const RANGE: std::ops::RangeInclusive<f64> = 0.001..=1e6;

/// How fast.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Speed {
    /// Without waiting.
    Max,
    /// So many times as fast as it was.
    Times(f64),
}

impl FromStr for Speed {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text.parse() {
            _ if text == "max" => Ok(Self::Max),
            Ok(times) if RANGE.contains(&times) => Ok(Self::Times(times)),
            _ => Err(
                "give `max` or a number: 1 is real time, 10 ten times as fast, 0.1 a tenth".into(),
            ),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Speed;

    #[test]
    fn a_speed_is_max_or_a_number() {
        assert_eq!("max".parse(), Ok(Speed::Max));
        assert_eq!("1".parse(), Ok(Speed::Times(1.0)));
        assert_eq!("0.5".parse(), Ok(Speed::Times(0.5)));
        for text in ["", "0", "-1", "nan", "inf", "fast", "1x", "1e9"] {
            assert!(text.parse::<Speed>().is_err(), "{text}");
        }
    }
}
