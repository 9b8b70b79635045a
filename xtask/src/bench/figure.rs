//! A measured figure: its median, its spread, and what it should be.

use serde_json::{Value, json};

/// What a figure should be.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Target {
    /// Nothing is asked.
    None,
    /// This or less.
    AtMost(f64),
    /// This or more.
    AtLeast(f64),
    /// This, in each round.
    Exactly(f64),
}

/// How a number is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Unit {
    /// Behind the number.
    pub(super) name: &'static str,
    /// Digits behind the point.
    pub(super) digits: usize,
}

/// Of a packet.
pub(super) const NANOSECONDS: Unit = Unit {
    name: "ns",
    digits: 0,
};
/// Of a start or an end.
pub(super) const SECONDS: Unit = Unit {
    name: "s",
    digits: 3,
};
/// With tracer / without.
pub(super) const RATIO: Unit = Unit {
    name: "",
    digits: 3,
};
/// Counted / sent.
pub(super) const SHARE: Unit = Unit {
    name: "",
    digits: 6,
};
/// Of a core.
pub(super) const PERCENT: Unit = Unit {
    name: "%",
    digits: 2,
};
/// Millions of bytes.
pub(super) const MEGABYTES: Unit = Unit {
    name: "MB",
    digits: 1,
};
/// Events in a second of one core.
pub(super) const EVENTS: Unit = Unit {
    name: "events/s",
    digits: 0,
};

/// What a row measures, before it is measured.
#[derive(Clone, Copy, Debug)]
pub(super) struct Question {
    /// In a few words.
    pub(super) what: &'static str,
    /// How it is measured.
    pub(super) method: &'static str,
    /// Its unit.
    pub(super) unit: Unit,
    /// What it should be.
    pub(super) target: Target,
    /// Whether the README shows it.
    pub(super) headline: bool,
}

/// A line of the table.
#[derive(Clone, Debug)]
pub(super) struct Figure {
    /// What was asked.
    pub(super) question: Question,
    /// One for each round, in order of size.
    values: Vec<f64>,
    /// More about it, a line each.
    pub(super) details: Vec<String>,
}

impl Question {
    /// The answer: one value for each round.
    pub(super) fn answer(self, mut values: Vec<f64>, details: Vec<String>) -> Figure {
        values.sort_by(f64::total_cmp);
        Figure {
            question: self,
            values,
            details,
        }
    }
}

impl Figure {
    /// The median.
    pub(super) fn median(&self) -> f64 {
        median(&self.values)
    }

    fn ends(&self) -> (f64, f64) {
        let end = |value: Option<&f64>| value.copied().unwrap_or(f64::NAN);
        (end(self.values.first()), end(self.values.last()))
    }

    /// Whether it is what it should be.
    pub(super) fn met(&self) -> bool {
        let (low, high) = self.ends();
        match self.question.target {
            Target::None => true,
            Target::AtMost(most) => self.median() <= most,
            Target::AtLeast(least) => self.median() >= least,
            Target::Exactly(value) => low == value && high == value,
        }
    }

    /// The median with its unit.
    pub(super) fn text(&self) -> String {
        let median = number(self.median(), self.question.unit.digits);
        format!("{median} {}", self.question.unit.name)
            .trim_end()
            .to_owned()
    }

    /// Smallest and largest of all rounds.
    pub(super) fn spread(&self) -> String {
        let ((low, high), digits) = (self.ends(), self.question.unit.digits);
        match self.values.len() {
            0 | 1 => "one round".to_owned(),
            rounds => format!(
                "{} to {}, {rounds} rounds",
                number(low, digits),
                number(high, digits)
            ),
        }
    }

    /// What it should be, and whether it is.
    pub(super) fn target(&self) -> String {
        let (sign, value) = match self.question.target {
            Target::None => return String::new(),
            Target::AtMost(value) => ("≤", value),
            Target::AtLeast(value) => ("≥", value),
            Target::Exactly(value) => ("=", value),
        };
        let met = if self.met() { "" } else { ", **missed**" };
        let unit = self.question.unit.name;
        format!("{sign} {}{met}", format!("{value} {unit}").trim_end())
    }

    /// For people who wait at the terminal.
    pub(super) fn lines(&self) -> String {
        let target = self.target().replace("**", "");
        let first = [self.text(), self.spread(), target].join("; ");
        let first = first.trim_end_matches("; ");
        let details = self.details.iter().map(|line| format!("    {line}\n"));
        let details: String = details.collect();
        format!("{}: {first}\n{details}", self.question.what)
    }

    /// For programs.
    pub(super) fn json(&self, row: &str) -> Value {
        let (low, high) = self.ends();
        let (relation, wanted) = match self.question.target {
            Target::None => (Value::Null, Value::Null),
            Target::AtMost(value) => (json!("at most"), json!(value)),
            Target::AtLeast(value) => (json!("at least"), json!(value)),
            Target::Exactly(value) => (json!("exactly"), json!(value)),
        };
        json!({
            "row": row, "what": self.question.what, "method": self.question.method,
            "unit": self.question.unit.name, "median": self.median(), "low": low, "high": high,
            "rounds": self.values, "target": { "relation": relation, "value": wanted },
            "met": self.met(), "details": self.details,
        })
    }
}

/// The middle one; of none, no number.
pub(super) fn median(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    sorted.get(sorted.len() / 2).copied().unwrap_or(f64::NAN)
}

/// A number with a comma between thousands.
pub(super) fn number(value: f64, digits: usize) -> String {
    let text = format!("{value:.digits$}");
    let (whole, rest) = text.split_at(text.find('.').unwrap_or(text.len()));
    let mut grouped = String::new();
    for (place, digit) in whole.chars().enumerate() {
        let left = whole.len() - place;
        if place > 0 && left % 3 == 0 && digit.is_ascii_digit() && !grouped.ends_with('-') {
            grouped.push(',');
        }
        grouped.push(digit);
    }
    grouped + rest
}

#[cfg(test)]
mod tests {
    use super::*;

    fn figure(target: Target, values: &[f64]) -> Figure {
        let question = Question {
            what: "",
            method: "",
            unit: RATIO,
            target,
            headline: false,
        };
        question.answer(values.to_vec(), Vec::new())
    }

    #[test]
    fn a_target_is_held_against_the_median_or_against_every_round() {
        let values = [0.99, 0.9, 1.0];
        assert!(figure(Target::AtLeast(0.97), &values).met());
        assert!(!figure(Target::AtMost(0.97), &values).met());
        assert!(!figure(Target::Exactly(1.0), &values).met());
        assert!(figure(Target::Exactly(1.0), &[1.0, 1.0]).met());
        assert!(!figure(Target::AtMost(1.0), &[]).met());
    }

    #[test]
    fn numbers_and_spread_are_written_for_people() {
        assert_eq!(number(1_234_567.4, 0), "1,234,567");
        assert_eq!(number(-123.0, 0), "-123");
        assert_eq!(number(999.5, 1), "999.5");
        let figure = figure(Target::AtLeast(0.97), &[0.5, 0.9, 0.7]);
        assert_eq!(figure.text(), "0.700");
        assert_eq!(figure.spread(), "0.500 to 0.900, 3 rounds");
        assert_eq!(figure.target(), "≥ 0.97, **missed**");
    }
}
