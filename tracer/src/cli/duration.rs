//! Durations as people write them: `500ms`, `10s`, `2m`, `1h`, `1m30s`.

use std::time::Duration;

use crate::error::Error;

/// Units in milliseconds; longer names first.
const UNITS: &[(&str, u64)] = &[("ms", 1), ("s", 1_000), ("m", 60_000), ("h", 3_600_000)];
/// A year: what is longer is a mistake, and deadlines must not overflow.
const LONGEST_MS: u64 = 366 * 24 * 3_600_000;

/// Parses a duration that is not zero.
pub(super) fn parse(text: &str) -> Result<Duration, Error> {
    parse_of("--duration", text)
}

/// The same, of another option.
pub(super) fn parse_of(option: &str, text: &str) -> Result<Duration, Error> {
    let refuse = |why: &str| {
        Error::usage(format!("{option} `{text}`: {why}"))
            .hint("write a number and a unit: 500ms, 10s, 2m, 1h")
    };
    let mut rest = text;
    let mut total = 0u64;
    while !rest.is_empty() {
        let digits = rest
            .find(|c: char| !c.is_ascii_digit())
            .unwrap_or(rest.len());
        let (number, tail) = rest.split_at(digits);
        let number: u64 = number
            .parse()
            .map_err(|_| refuse("this is not a duration"))?;
        let (unit, length) = UNITS
            .iter()
            .find(|(unit, _)| tail.starts_with(unit))
            .ok_or_else(|| {
                refuse(if tail.is_empty() {
                    "the unit is missing"
                } else {
                    "this unit is not known"
                })
            })?;
        total = total.saturating_add(number.saturating_mul(*length));
        rest = tail.get(unit.len()..).unwrap_or_default();
    }
    match total {
        0 => Err(refuse("a trace takes some time")),
        LONGEST_MS.. => Err(refuse("this is longer than a year")),
        _ => Ok(Duration::from_millis(total)),
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test ends where it fails")]
mod tests {
    use super::parse;

    #[test]
    fn units() {
        for (text, ms) in [
            ("500ms", 500),
            ("10s", 10_000),
            ("2m", 120_000),
            ("1h", 3_600_000),
            ("1m30s", 90_000),
        ] {
            assert_eq!(parse(text).unwrap().as_millis(), ms, "{text}");
        }
    }

    #[test]
    fn refused() {
        let far = "99999999999999999999s";
        let refused = [
            "",
            "10",
            "s",
            "0s",
            "-1s",
            "1.5s",
            "10 s",
            "10d",
            "9999h10000h",
            far,
        ];
        let messages: Vec<String> = refused
            .iter()
            .map(|text| parse(text).unwrap_err().message().to_owned())
            .collect();
        insta::assert_snapshot!(messages.join("\n"), @r"
        --duration ``: a trace takes some time
        --duration `10`: the unit is missing
        --duration `s`: this is not a duration
        --duration `0s`: a trace takes some time
        --duration `-1s`: this is not a duration
        --duration `1.5s`: this unit is not known
        --duration `10 s`: this unit is not known
        --duration `10d`: this unit is not known
        --duration `9999h10000h`: this is longer than a year
        --duration `99999999999999999999s`: this is not a duration
        ");
    }
}
