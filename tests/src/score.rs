//! Counts labs: how many ended how, and for each family what tracer got right.

use std::collections::BTreeMap;
use std::fmt;

use crate::compare::Difference;
use crate::proof::{Fate, Proof};
use crate::runner::Variant;
use crate::suite::{Line, Verdict};

/// What one lab's reports got right.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Marks {
    /// Outcome and cause of the faulty run.
    pub cause: bool,
    /// Node, namespace, interface and hook.
    pub place: bool,
    /// The words wanted in summary and advice, and those that are to be absent.
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
                self.place = right(&["node", "namespace", "interface", "hook"]);
                self.advice = right(&["summary", "advice", "absent"]);
                self.path = right(&["hops", "rewrites", "checks"]);
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

/// How each family fares, and how the fixes do.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Scoreboard {
    families: BTreeMap<String, Row>,
    all: Row,
    fixes: Fixed,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Row {
    run: usize,
    skipped: usize,
    /// Cause, place, advice, path, healthy.
    right: [usize; 5],
    fix: Tried,
    undo: Tried,
}

/// How many commands were typed in, and after how many the report was as expected.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Tried {
    ok: usize,
    typed: usize,
}

/// How many labs have a change, and what became of those changes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Fixed {
    /// Labs whose faulty run is expected to lose something.
    lose: usize,
    /// Those of them whose report has a change that can be typed in.
    print: usize,
    /// Those that say why their fix cannot be proven.
    unproven: usize,
}

impl Tried {
    fn add(&mut self, fate: Fate) {
        self.ok += usize::from(fate == Fate::Ok);
        self.typed += usize::from(matches!(fate, Fate::Ok | Fate::Failed));
    }
}

impl fmt::Display for Tried {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} of {}", self.ok, self.typed)
    }
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
        self.fix.add(line.proof.fix.fate);
        self.undo.add(line.proof.undo.fate);
    }

    fn write(&self, f: &mut fmt::Formatter<'_>, family: &str) -> fmt::Result {
        write!(f, "| {family} | {} |", self.run)?;
        for right in self.right {
            write!(f, " {right} |")?;
        }
        writeln!(f, " {} | {} | {} |", self.fix, self.undo, self.skipped)
    }
}

impl Fixed {
    fn add(&mut self, line: &Line) {
        let Proof { fix, .. } = &line.proof;
        self.lose += usize::from(line.loses);
        self.print += usize::from(line.loses && fix.command.is_some());
        self.unproven += usize::from(fix.fate == Fate::Unproven);
    }

    fn write(&self, f: &mut fmt::Formatter<'_>, all: &Row) -> fmt::Result {
        let Self {
            lose,
            print,
            unproven,
        } = self;
        writeln!(
            f,
            "Of {lose} labs in which something is lost, {print} print a change that can be typed in and {} print none.",
            lose - print
        )?;
        writeln!(
            f,
            "The change repairs the flow in {}, and its undo brings the fault back in {}.",
            all.fix, all.undo
        )?;
        writeln!(
            f,
            "{unproven} have `proven = false`, with the reason why nothing is typed in."
        )
    }
}

impl Scoreboard {
    /// Counts by family.
    #[must_use]
    pub fn of(lines: &[Line]) -> Self {
        let mut board = Self::default();
        for line in lines {
            let family = board.families.entry(line.family.clone()).or_default();
            family.add(line);
            board.all.add(line);
            board.fixes.add(line);
        }
        board
    }
}

impl fmt::Display for Scoreboard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "| family | labs | right cause | right place | advice | path | healthy silent | fix works | undo works | skipped |"
        )?;
        writeln!(f, "|---|--:|--:|--:|--:|--:|--:|--:|--:|--:|")?;
        for (family, row) in &self.families {
            row.write(f, family)?;
        }
        self.all.write(f, "**all**")?;
        writeln!(f)?;
        self.fixes.write(f, &self.all)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proof::Step;

    fn line(family: &str, verdict: Verdict, marks: Marks) -> Line {
        Line {
            name: "x".to_owned(),
            family: family.to_owned(),
            verdict,
            marks,
            loses: true,
            proof: Proof::default(),
        }
    }

    fn tried(fate: Fate) -> Step {
        Step {
            fate,
            command: Some("x".to_owned()),
            said: None,
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
        let mut lines = [
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
        lines[0].proof.fix = tried(Fate::Ok);
        lines[0].proof.undo = tried(Fate::Failed);
        lines[1].proof.fix = tried(Fate::Failed);
        lines[2].loses = false;
        assert_eq!(
            Score::of(&lines).to_string(),
            "1 passed, 1 failed, 1 skipped"
        );
        let board = Scoreboard::of(&lines).to_string();
        let rows: Vec<&str> = board.lines().skip(2).collect();
        assert_eq!(
            rows,
            [
                "| mtu | 0 | 0 | 0 | 0 | 0 | 0 | 0 of 0 | 0 of 0 | 1 |",
                "| route | 2 | 2 | 1 | 2 | 2 | 2 | 1 of 2 | 0 of 1 | 0 |",
                "| **all** | 2 | 2 | 1 | 2 | 2 | 2 | 1 of 2 | 0 of 1 | 1 |",
                "",
                "Of 2 labs in which something is lost, 2 print a change that can be typed in and 0 print none.",
                "The change repairs the flow in 1 of 2, and its undo brings the fault back in 0 of 1.",
                "0 have `proven = false`, with the reason why nothing is typed in."
            ]
        );
    }

    #[test]
    fn what_a_lab_prints_is_counted_where_something_is_lost() {
        let pass = || line("x", Verdict::Pass(String::new()), Marks::default());
        let mut lines = [pass(), pass(), pass(), pass()];
        lines[0].proof.fix = tried(Fate::Unproven);
        lines[1].proof.fix = tried(Fate::Untried);
        lines[2].proof.fix.fate = Fate::None;
        lines[3].loses = false;
        let fixes = Scoreboard::of(&lines).fixes;
        let wanted = Fixed {
            lose: 3,
            print: 2,
            unproven: 1,
        };
        assert_eq!(fixes, wanted);
    }
}
