//! Counts labs: how many ended how, and for each family what tracer got right.

use std::collections::BTreeMap;
use std::fmt;

use crate::compare::Difference;
use crate::runner::Variant;
use crate::suite::{Line, Verdict};

/// What one lab's reports got right.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Marks {
    /// Outcome and cause of the faulty run.
    pub cause: bool,
    /// Namespace, interface and hook.
    pub place: bool,
    /// The words wanted in summary and advice.
    pub advice: bool,
    /// The hops and rewrites.
    pub path: bool,
    /// The healthy run: no alarm, and all else that is expected of it.
    pub healthy: bool,
}

impl Marks {
    /// Enters a run that gave a report.
    pub fn mark(&mut self, variant: Variant, differences: &[Difference]) {
        match variant {
            Variant::Healthy => self.healthy = differences.is_empty(),
            Variant::Faulty => {
                let right = |keys: &[&str]| !differences.iter().any(|d| keys.contains(&d.key));
                self.cause = right(&["outcome", "cause"]);
                self.place = right(&["namespace", "interface", "hook"]);
                self.advice = right(&["summary", "advice"]);
                self.path = right(&["hops", "rewrites"]);
            }
        }
    }
}

/// How many labs ended how.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Score {
    /// As expected.
    pub passed: usize,
    /// Not as expected.
    pub failed: usize,
    /// Not run.
    pub skipped: usize,
}

impl Score {
    /// Counts.
    #[must_use]
    pub fn of(lines: &[Line]) -> Self {
        let mut score = Self::default();
        for line in lines {
            *match line.verdict {
                Verdict::Pass(_) => &mut score.passed,
                Verdict::Fail(_) => &mut score.failed,
                Verdict::Skip(_) => &mut score.skipped,
            } += 1;
        }
        score
    }
}

impl fmt::Display for Score {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} passed, {} failed, {} skipped",
            self.passed, self.failed, self.skipped
        )
    }
}

/// How each family fares.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Scoreboard(BTreeMap<String, Row>);

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Row {
    run: usize,
    skipped: usize,
    /// Cause, place, advice, path, healthy.
    right: [usize; 5],
}

impl Row {
    fn add(&mut self, line: &Line) {
        if matches!(line.verdict, Verdict::Skip(_)) {
            self.skipped += 1;
            return;
        }
        self.run += 1;
        let Marks {
            cause,
            place,
            advice,
            path,
            healthy,
        } = line.marks;
        for (sum, mark) in self
            .right
            .iter_mut()
            .zip([cause, place, advice, path, healthy])
        {
            *sum += usize::from(mark);
        }
    }

    fn write(&self, f: &mut fmt::Formatter<'_>, family: &str) -> fmt::Result {
        write!(f, "| {family} | {} |", self.run)?;
        for right in self.right {
            write!(f, " {right} |")?;
        }
        writeln!(f, " {} |", self.skipped)
    }
}

impl Scoreboard {
    /// Counts by family.
    #[must_use]
    pub fn of(lines: &[Line]) -> Self {
        let mut rows: BTreeMap<String, Row> = BTreeMap::new();
        for line in lines {
            rows.entry(line.family.clone()).or_default().add(line);
        }
        Self(rows)
    }
}

impl fmt::Display for Scoreboard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "| family | labs | right cause | right place | advice | path | healthy silent | skipped |"
        )?;
        writeln!(f, "|---|--:|--:|--:|--:|--:|--:|--:|")?;
        let mut all = Row::default();
        for (family, row) in &self.0 {
            row.write(f, family)?;
            all.run += row.run;
            all.skipped += row.skipped;
            for (sum, right) in all.right.iter_mut().zip(row.right) {
                *sum += right;
            }
        }
        all.write(f, "**all**")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(family: &str, verdict: Verdict, marks: Marks) -> Line {
        Line {
            name: "x".to_owned(),
            family: family.to_owned(),
            verdict,
            marks,
        }
    }

    fn difference(key: &'static str) -> Difference {
        Difference {
            key,
            wanted: String::new(),
            found: String::new(),
        }
    }

    #[test]
    fn each_key_spoils_its_own_mark() {
        let all = Marks {
            cause: true,
            place: true,
            advice: true,
            path: true,
            healthy: true,
        };
        for (key, without) in [
            (
                "cause",
                Marks {
                    cause: false,
                    ..all
                },
            ),
            (
                "hook",
                Marks {
                    place: false,
                    ..all
                },
            ),
            (
                "summary",
                Marks {
                    advice: false,
                    ..all
                },
            ),
            ("rewrites", Marks { path: false, ..all }),
        ] {
            let mut marks = Marks::default();
            marks.mark(Variant::Healthy, &[]);
            marks.mark(Variant::Faulty, &[difference(key)]);
            assert_eq!(marks, without, "{key}");
        }
        let mut alarmed = all;
        alarmed.mark(Variant::Healthy, &[difference("outcome")]);
        assert!(!alarmed.healthy);
    }

    #[test]
    fn families_are_summed() {
        let good = Marks {
            cause: true,
            place: true,
            advice: true,
            path: true,
            healthy: true,
        };
        let lines = [
            line("route", Verdict::Pass(String::new()), good),
            line(
                "route",
                Verdict::Fail(String::new()),
                Marks {
                    place: false,
                    ..good
                },
            ),
            line("mtu", Verdict::Skip(String::new()), Marks::default()),
        ];
        assert_eq!(
            Score::of(&lines).to_string(),
            "1 passed, 1 failed, 1 skipped"
        );
        let board = Scoreboard::of(&lines).to_string();
        let rows: Vec<&str> = board.lines().skip(2).collect();
        assert_eq!(
            rows,
            [
                "| mtu | 0 | 0 | 0 | 0 | 0 | 0 | 1 |",
                "| route | 2 | 2 | 1 | 2 | 2 | 2 | 0 |",
                "| **all** | 2 | 2 | 1 | 2 | 2 | 2 | 1 |"
            ]
        );
    }
}
