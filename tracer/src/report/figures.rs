//! Numbers for people.

/// Units of time, the largest first: from how many nanoseconds, divisor, name; `u` stands for micro.
const UNITS: &[(u64, f64, &str)] = &[
    (1_000_000_000, 1e9, "s"),
    (1_000_000, 1e6, "ms"),
    (1_000, 1e3, "us"),
    (0, 1.0, "ns"),
];

/// A duration in two or three digits: `850 ns`, `12.3 µs`, `1.2 ms`, `4.2 s`; `micro` is what stands for a millionth.
pub(crate) fn duration(ns: u64, micro: &str) -> String {
    let (_, divisor, unit) = UNITS
        .iter()
        .find(|(from, ..)| ns >= *from)
        .copied()
        .unwrap_or((0, 1.0, "ns"));
    #[expect(clippy::cast_precision_loss, reason = "three digits are shown")]
    let value = ns as f64 / divisor;
    let unit = unit.replace('u', micro);
    if divisor > 1.0 && value < 99.95 {
        format!("{value:.1} {unit}")
    } else {
        format!("{value:.0} {unit}")
    }
}

/// A count with its thousands apart: `1,204,331`.
pub(crate) fn count(number: u64) -> String {
    let digits = number.to_string();
    let mut out = String::with_capacity(digits.len() * 4 / 3);
    for (i, digit) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

/// `1 packet`, `3 packets`.
pub(crate) fn counted(number: u64, noun: &str) -> String {
    let s = if number == 1 { "" } else { "s" };
    format!("{} {noun}{s}", count(number))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_short() {
        let cases = [
            (0, "0 ns"),
            (850, "850 ns"),
            (1_000, "1.0 µs"),
            (12_345, "12.3 µs"),
            (123_456, "123 µs"),
            (1_204_000, "1.2 ms"),
            (4_210_000_000, "4.2 s"),
            (7_200_000_000_000, "7200 s"),
        ];
        for (ns, text) in cases {
            assert_eq!(duration(ns, "µ"), text);
        }
        assert_eq!(duration(12_345, "u"), "12.3 us");
    }

    #[test]
    fn counts_are_grouped() {
        let cases = [
            (0, "0"),
            (999, "999"),
            (1_000, "1,000"),
            (1_204_331, "1,204,331"),
        ];
        for (number, text) in cases {
            assert_eq!(count(number), text);
        }
        assert_eq!(counted(1, "packet"), "1 packet");
        assert_eq!(counted(2_000, "event"), "2,000 events");
    }
}
