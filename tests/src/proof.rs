//! Proves what a faulty report advises: its first change is typed in and the traffic traced again, then the undo of
//! that change and the traffic once more. Decides what is typed and judges what the traces found; the network that it
//! happens in is behind [`Network`].

use anyhow::Result;
use serde::Serialize;
use serde_json::Value;

use crate::compare::{Difference, differences, summary};
use crate::expect::Expect;
use crate::lab::Lab;
use crate::remedy::{first_change, undo_of};
use crate::runner::{Found, Phase};

/// A lab's network with its fault in it.
pub trait Network {
    /// Types commands in, as a person would on the machine.
    ///
    /// # Errors
    /// One of them fails.
    fn type_in(&mut self, commands: &str) -> Result<()>;

    /// Traces the traffic again by a new tracer.
    ///
    /// # Errors
    /// tracer fails, or a script of the lab does.
    fn again(&mut self, phase: Phase) -> Result<Found>;
}

/// How a change or an undo fared.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Fate {
    /// Nobody looked: the lab was not run this far, or fixes are left out of this run.
    #[default]
    Untried,
    /// The report has none that could be typed in.
    None,
    /// The lab says why it cannot be proven.
    Unproven,
    /// It was typed in, and the next report was as expected.
    Ok,
    /// It was typed in, and failed or did not lead to the report that is expected.
    Failed,
}

/// What a report says, in short.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Said {
    /// `verdict.outcome`.
    pub outcome: Option<String>,
    /// `verdict.cause`.
    pub cause: Option<String>,
    /// `verdict.summary`.
    pub summary: String,
}

impl Said {
    /// Of a report's verdict.
    #[must_use]
    pub fn of(report: &Value) -> Self {
        let text = |pointer| {
            let value = report.pointer(pointer).and_then(Value::as_str);
            value.map(str::to_owned)
        };
        Self {
            outcome: text("/verdict/outcome"),
            cause: text("/verdict/cause"),
            summary: summary(report).to_owned(),
        }
    }
}

/// One command, typed in or not, and what came of it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Step {
    /// How it fared.
    pub fate: Fate,
    /// The command that the report prints, with several lines where there are several commands.
    pub command: Option<String>,
    /// What the report after it said; nothing where there is none.
    pub said: Option<Said>,
}

/// What became of a faulty report's advice.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Proof {
    /// The first change.
    pub fix: Step,
    /// Why the lab cannot prove it.
    pub why: Option<String>,
    /// The undo of that change.
    pub undo: Step,
    /// What is not as expected, for a failure's message.
    pub wrong: Vec<String>,
}

impl Proof {
    /// What a report advises, without typing it in.
    #[must_use]
    pub fn untried(report: &Value) -> Self {
        let change = first_change(report);
        let undo = change.as_ref().and_then(|change| undo_of(report, change));
        Self {
            fix: Step::of(change.map(|change| change.command)),
            undo: Step::of(undo),
            ..Self::default()
        }
    }

    /// Types in what the faulty report advises and judges what comes of it. `keep` is given each report.
    pub fn of(
        lab: &Lab,
        faulty: &Value,
        network: &mut impl Network,
        mut keep: impl FnMut(Phase, &Found) -> Result<()>,
    ) -> Self {
        let mut proof = Self::untried(faulty);
        let table = lab.fix.clone().unwrap_or_default();
        if !table.proven() {
            proof.fix.fate = Fate::Unproven;
            proof.why = table.why;
            return proof;
        }
        if lab.fix.is_some() && proof.fix.command.is_none() {
            let what =
                "fixed: the lab has a [fix] table, and the report advises no change with a command";
            proof.wrong.push(what.to_owned());
        }
        let mut attempt = |step: &mut Step, phase, expect: &Expect| {
            step.attempt(phase, |command| {
                network.type_in(command)?;
                let found = network.again(phase)?;
                keep(phase, &found)?;
                Ok(Judged::of(expect, found))
            })
        };
        let wrong = attempt(&mut proof.fix, Phase::Fixed, &lab.after());
        proof.wrong.extend(wrong);
        if proof.fix.fate == Fate::Ok && table.undo() {
            if table.asks_undo() && proof.undo.command.is_none() {
                let what =
                    "undone: the lab has `undo = true`, and the report has no undo with a command";
                proof.wrong.push(what.to_owned());
            }
            let wrong = attempt(&mut proof.undo, Phase::Undone, &lab.undone());
            proof.wrong.extend(wrong);
        }
        proof
    }
}

impl Step {
    fn of(command: Option<String>) -> Self {
        Self {
            fate: if command.is_some() {
                Fate::Untried
            } else {
                Fate::None
            },
            command,
            said: None,
        }
    }

    /// Tries the command, where there is one. Gives what is wrong.
    fn attempt(
        &mut self,
        phase: Phase,
        try_it: impl FnOnce(&str) -> Result<Judged>,
    ) -> Option<String> {
        let command = self.command.as_deref()?;
        let wrong = match try_it(command) {
            Ok(judged) => {
                self.said = Some(Said::of(&judged.found.report));
                (!judged.differences.is_empty()).then(|| judged.explained())
            }
            Err(error) => Some(format!("{error:#}")),
        };
        self.fate = if wrong.is_none() {
            Fate::Ok
        } else {
            Fate::Failed
        };
        wrong.map(|wrong| format!("{}: after `{command}`: {wrong}", phase.name()))
    }
}

/// One trace, compared with what the lab expects of it.
#[derive(Debug)]
pub struct Judged {
    /// What is not as expected.
    pub differences: Vec<Difference>,
    /// What the trace found.
    pub found: Found,
}

impl Judged {
    /// Compares.
    #[must_use]
    pub fn of(expect: &Expect, found: Found) -> Self {
        Self {
            differences: differences(expect, &found.report),
            found,
        }
    }

    /// What is not as expected, and what helps to see why.
    #[must_use]
    pub fn explained(&self) -> String {
        let differences: Vec<String> = self.differences.iter().map(ToString::to_string).collect();
        format!(
            "{}\nverdict: {}\ntraffic: {}\nstderr: {}",
            differences.join("\n"),
            summary(&self.found.report),
            self.found.traffic.trim_end(),
            self.found.stderr
        )
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]
mod tests {
    use super::*;
    use anyhow::{Context, bail};
    use serde_json::json;

    /// A network whose traces find what was written down, one after the other.
    #[derive(Default)]
    struct Written {
        reports: Vec<Value>,
        refuses: &'static str,
        typed: Vec<String>,
    }

    impl Network for Written {
        fn type_in(&mut self, commands: &str) -> Result<()> {
            self.typed.push(commands.to_owned());
            if commands == self.refuses {
                bail!("it ended with exit status: 2");
            }
            Ok(())
        }

        fn again(&mut self, _: Phase) -> Result<Found> {
            let report = self.reports.pop().context("traced once too often")?;
            Ok(Found {
                report,
                stderr: String::new(),
                traffic: String::new(),
            })
        }
    }

    const LAB: &str = "title='t'\ntrace=['icmp']\n[expect]\noutcome='dropped'\ncause='link.down'\ninterface='e0'\n";

    fn report(outcome: &str, cause: Option<&str>) -> Value {
        json!({"verdict": {"outcome": outcome, "cause": cause, "summary": outcome, "advice": [
            {"kind": "look", "text": "check first", "command": "ip link"},
            {"kind": "change", "text": "set it up", "command": "up"},
            {"kind": "undo", "text": "to undo", "command": "down", "undoes": 2}
        ]}})
    }

    fn faulty() -> Value {
        report("dropped", Some("link.down"))
    }

    /// What comes of a lab whose file goes on with this, and what is typed in.
    fn prove(toml: &str, reports: Vec<Value>) -> (Proof, Vec<String>, Vec<&'static str>) {
        let lab = Lab::parse("x", &format!("{LAB}{toml}")).unwrap();
        let mut network = Written {
            reports: reports.into_iter().rev().collect(),
            refuses: "",
            ..Written::default()
        };
        let mut kept = Vec::new();
        let proof = Proof::of(&lab, &faulty(), &mut network, |phase, _| {
            kept.push(phase.name());
            Ok(())
        });
        (proof, network.typed, kept)
    }

    #[test]
    fn the_change_repairs_and_its_undo_brings_the_fault_back() {
        let (proof, typed, kept) = prove("", vec![report("delivered", None), faulty()]);
        assert_eq!((proof.fix.fate, proof.undo.fate), (Fate::Ok, Fate::Ok));
        assert_eq!(proof.wrong, Vec::<String>::new());
        assert_eq!(typed, ["up", "down"]);
        assert_eq!(kept, ["fixed", "undone"]);
    }

    #[test]
    fn a_change_that_does_not_repair_is_not_undone() {
        let (proof, typed, _) = prove("", vec![report("dropped", Some("route.none"))]);
        assert_eq!(
            (proof.fix.fate, proof.undo.fate),
            (Fate::Failed, Fate::Untried)
        );
        assert!(
            proof.wrong.concat().starts_with(
                "fixed: after `up`: outcome: expected delivered, got dropped\nverdict: dropped"
            ),
            "{:?}",
            proof.wrong
        );
        assert_eq!(proof.fix.said.unwrap().cause.as_deref(), Some("route.none"));
        assert_eq!(typed, ["up"]);
    }

    #[test]
    fn an_undo_must_bring_outcome_and_cause_back_and_nothing_else() {
        let other = report("dropped", Some("route.none"));
        let (proof, ..) = prove("", vec![report("delivered", None), other]);
        assert_eq!(proof.undo.fate, Fate::Failed);
        assert!(
            proof
                .wrong
                .concat()
                .starts_with("undone: after `down`: cause: expected link.down, got route.none\n"),
            "{:?}",
            proof.wrong
        );
    }

    #[test]
    fn the_table_says_what_comes_after_and_whether_to_go_on() {
        let after = "[fix]\nafter={outcome=['delivered','unanswered']}\nundo=false";
        let (proof, typed, _) = prove(after, vec![report("unanswered", None)]);
        assert_eq!((proof.fix.fate, proof.undo.fate), (Fate::Ok, Fate::Untried));
        assert_eq!(typed, ["up"]);

        let (proof, typed, _) = prove("[fix]\nproven=false\nwhy='a cable'", vec![]);
        assert_eq!(proof.fix.fate, Fate::Unproven);
        assert_eq!(proof.fix.command.as_deref(), Some("up"));
        assert_eq!(proof.why.as_deref(), Some("a cable"));
        assert_eq!((typed.len(), proof.wrong.len()), (0, 0));
    }

    #[test]
    fn a_command_that_fails_is_told() {
        let lab = Lab::parse("x", LAB).unwrap();
        let mut network = Written {
            refuses: "up",
            ..Written::default()
        };
        let proof = Proof::of(&lab, &faulty(), &mut network, |_, _| Ok(()));
        assert_eq!(proof.fix.fate, Fate::Failed);
        assert_eq!(
            proof.wrong,
            ["fixed: after `up`: it ended with exit status: 2"]
        );
        assert_eq!(proof.fix.said, None);
    }

    #[test]
    fn no_change_is_wrong_only_where_the_lab_asks_for_one() {
        let none = json!({"verdict": {"advice": [{"kind": "look", "text": "", "command": "ss"}]}});
        for (toml, wrong) in [("", 0), ("[fix]\nundo=false", 1), ("[fix]", 1)] {
            let lab = Lab::parse("x", &format!("{LAB}{toml}")).unwrap();
            let proof = Proof::of(&lab, &none, &mut Written::default(), |_, _| Ok(()));
            assert_eq!(
                (proof.fix.fate, proof.undo.fate),
                (Fate::None, Fate::None),
                "{toml}"
            );
            assert_eq!(proof.wrong.len(), wrong, "{toml}");
        }
    }
}
