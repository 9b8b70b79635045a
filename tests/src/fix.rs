//! The `[fix]` table of a lab: how it is proven that the change which the report advises repairs the flow, and that
//! its undo brings the fault back. [`crate::proof`] does it.

use anyhow::{Result, ensure};
use serde::Deserialize;

use crate::expect::Expect;

/// The labs whose fixes a run proves.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum Fixes {
    /// All of them.
    #[default]
    All,
    /// A quarter, which a lab's name alone decides.
    Quarter,
    /// None.
    None,
}

impl Fixes {
    /// Whether the lab of this name is one of them.
    #[must_use]
    pub fn takes(self, name: &str) -> bool {
        match self {
            Self::All => true,
            Self::Quarter => fnv(name) & 3 == 0,
            Self::None => false,
        }
    }
}

/// FNV-1a, folded: the same on every machine and for every build, unlike the hashes of the standard library.
fn fnv(text: &str) -> u64 {
    let hash = text.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    });
    hash ^ (hash >> 32)
}

/// The table. What it leaves out has the default that its accessor gives.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Fix {
    /// Whether the first change is typed in; see [`Fix::proven`].
    proven: Option<bool>,
    /// Why it cannot be proven here.
    pub why: Option<String>,
    /// What the report after the change must say; the `[healthy]` table where this is left out.
    pub after: Option<Expect>,
    /// Whether the undo is typed in as well; see [`Fix::undo`].
    undo: Option<bool>,
    /// Script run before the traffic is traced again, after the change and after the undo.
    pub before: Option<String>,
    /// Script in the place of the lab's traffic when that is traced again.
    pub traffic: Option<String>,
}

impl Fix {
    /// Whether the first change of the faulty report is typed in and must repair the flow.
    #[must_use]
    pub fn proven(&self) -> bool {
        self.proven.unwrap_or(true)
    }

    /// Whether the undo of that change is typed in after it and must bring the fault back.
    #[must_use]
    pub fn undo(&self) -> bool {
        self.undo.unwrap_or(true)
    }

    /// Whether the report must print an undo, because the table names it.
    #[must_use]
    pub fn asks_undo(&self) -> bool {
        self.undo == Some(true)
    }

    /// Whether the table says one thing.
    ///
    /// # Errors
    /// It contradicts itself.
    pub fn check(&self) -> Result<()> {
        if let Some(after) = &self.after {
            after.check("[fix] after")?;
        }
        let why = self.why.as_deref().map(str::trim);
        ensure!(
            why != Some(""),
            "[fix] has an empty `why`: say why the fix cannot be proven"
        );
        if self.proven() {
            ensure!(
                why.is_none(),
                "[fix] has `why`, which says why a fix is not proven: add `proven = false` or remove it"
            );
            return Ok(());
        }
        ensure!(
            why.is_some(),
            "[fix] has `proven = false` without `why`: say why it cannot be proven"
        );
        let idle = [
            ("after", self.after.is_some()),
            ("undo", self.undo.is_some()),
            ("before", self.before.is_some()),
            ("traffic", self.traffic.is_some()),
        ];
        for (key, given) in idle {
            ensure!(
                !given,
                "[fix] has `proven = false` and `{key}`: nothing is typed in, so it has no effect"
            );
        }
        Ok(())
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "the texts are below")]
mod tests {
    use super::*;

    fn fix(toml: &str) -> Fix {
        toml::from_str(toml).unwrap()
    }

    #[test]
    fn a_quarter_is_about_a_quarter_and_stays_the_same() {
        let names: Vec<String> = (0..1000).map(|n| format!("lab-{n}")).collect();
        let taken = names
            .iter()
            .filter(|name| Fixes::Quarter.takes(name))
            .count();
        assert!((200..300).contains(&taken), "{taken}");
        assert!(Fixes::Quarter.takes("ttl-loop") && !Fixes::Quarter.takes("peer-down"));
        assert!(Fixes::All.takes("peer-down") && !Fixes::None.takes("ttl-loop"));
    }

    #[test]
    fn what_is_left_out_has_defaults() {
        let fix = fix("");
        assert!(fix.proven() && fix.undo() && fix.check().is_ok());
    }

    #[test]
    fn a_reason_is_enough_for_what_is_not_proven() {
        assert!(
            fix("proven=false\nwhy='the cure is a cable'")
                .check()
                .is_ok()
        );
    }

    #[test]
    fn contradictions_are_named_in_one_line() {
        for (toml, word) in [
            ("proven=false", "without `why`"),
            ("proven=true\nwhy='x'", "add `proven = false`"),
            ("why='x'", "add `proven = false`"),
            ("proven=false\nwhy=' '", "empty `why`"),
            ("proven=false\nwhy='x'\nundo=false", "`undo`"),
            (
                "proven=false\nwhy='x'\nafter={outcome='delivered'}",
                "`after`",
            ),
            ("proven=false\nwhy='x'\nbefore='true'", "`before`"),
            ("proven=false\nwhy='x'\ntraffic='true'", "`traffic`"),
            (
                "after={summary='passes',absent='pass'}",
                "[fix] after wants `passes`",
            ),
        ] {
            let error = fix(toml).check().unwrap_err().to_string();
            assert!(
                error.contains(word) && !error.contains('\n'),
                "{toml}: {error}"
            );
        }
    }
}
