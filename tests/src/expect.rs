//! What a lab expects of a report: the tables `[expect]`, `[healthy]` and `after`. [`crate::compare`] holds a report
//! against one.

use std::fmt;

use anyhow::{Result, bail, ensure};
use serde::Deserialize;

/// What a report must say. Empty lists ask nothing.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Expect {
    /// Acceptable outcomes.
    pub outcome: OneOrMore,
    /// Acceptable causes; here and below `"null"` stands for a field that is null.
    pub cause: OneOrMore,
    /// Acceptable `verdict.where.node`.
    pub node: OneOrMore,
    /// Acceptable `verdict.where.namespace`.
    pub namespace: OneOrMore,
    /// Acceptable `verdict.where.interface`.
    pub interface: OneOrMore,
    /// Acceptable `verdict.where.hook`.
    pub hook: OneOrMore,
    /// Each must be found in the summary, ignoring case.
    pub summary: OneOrMore,
    /// Each must be found in the text or the command of some advice, ignoring case.
    pub advice: OneOrMore,
    /// `namespace/interface` places, a subsequence of a forward path.
    pub hops: OneOrMore,
    /// Each must be found among the rewrites of a flow's paths, ignoring case.
    pub rewrites: OneOrMore,
    /// Each must be found in a line `NAMESPACE HOOK FAMILY TABLE/CHAIN TEXT → VERDICT by facts` (or `trace`) of the checks
    /// between hops, ignoring case.
    pub checks: OneOrMore,
    /// None may be found in summary, evidence or advice, ignoring case.
    pub absent: OneOrMore,
}

impl Expect {
    /// Whether a report can meet it; `table` is how messages call it.
    ///
    /// # Errors
    /// A word is both wanted and to be absent.
    pub fn check(&self, table: &str) -> Result<()> {
        for absent in &self.absent.0 {
            ensure!(
                !absent.trim().is_empty(),
                "{table} has an empty word in `absent`"
            );
            let wanted = self.summary.0.iter().chain(&self.advice.0);
            let mut within = wanted.filter(|word| contains(word, absent));
            if let Some(word) = within.next() {
                bail!("{table} wants `{word}` and has `{absent}` in `absent`");
            }
        }
        Ok(())
    }
}

/// Whether a text is found in another, ignoring case.
#[must_use]
pub fn contains(text: &str, word: &str) -> bool {
    text.to_lowercase().contains(&word.to_lowercase())
}

/// A string, or an array of strings.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(from = "OneOrMoreForm")]
pub struct OneOrMore(pub Vec<String>);

impl OneOrMore {
    /// Whether this is one of them.
    #[must_use]
    pub fn has(&self, text: &str) -> bool {
        self.0.iter().any(|own| own == text)
    }
}

#[derive(Deserialize)]
#[serde(untagged)]
enum OneOrMoreForm {
    One(String),
    More(Vec<String>),
}

impl From<OneOrMoreForm> for OneOrMore {
    fn from(form: OneOrMoreForm) -> Self {
        Self(match form {
            OneOrMoreForm::One(text) => vec![text],
            OneOrMoreForm::More(texts) => texts,
        })
    }
}

impl fmt::Display for OneOrMore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.join(" or "))
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "the texts are below")]
mod tests {
    use super::*;

    fn check(toml: &str) -> Result<()> {
        toml::from_str::<Expect>(toml).unwrap().check("[expect]")
    }

    #[test]
    fn a_word_cannot_be_wanted_and_absent() {
        assert!(check("advice='ip route add'\nabsent='route del'").is_ok());
        for (toml, message) in [
            (
                "advice='ip ROUTE add'\nabsent='route'",
                "[expect] wants `ip ROUTE add` and has `route` in `absent`",
            ),
            (
                "summary='no route'\nabsent=['mtu','no route']",
                "[expect] wants `no route` and has `no route` in `absent`",
            ),
            ("absent=''", "[expect] has an empty word in `absent`"),
        ] {
            assert_eq!(check(toml).unwrap_err().to_string(), message);
        }
    }
}
