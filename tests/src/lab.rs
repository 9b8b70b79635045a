//! The lab file: one TOML document read into [`Lab`] and checked, so that a mistake in it is told before
//! anything is built. It says nothing about how a lab is run.

use std::collections::HashSet;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use serde::{Deserialize, Deserializer, de};

use crate::expect::{Expect, OneOrMore};
use crate::fix::Fix;
use crate::kernel::{Exception, Version};

/// One lab.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Lab {
    /// File name without its ending: how the lab is called in output and in kept reports.
    #[serde(skip)]
    pub name: String,
    /// One line: what is broken.
    pub title: String,
    /// Prose for the reader of the file.
    #[serde(default)]
    pub story: String,
    /// Commands, or `kernel:CONFIG_X`, without which the lab is skipped.
    #[serde(default)]
    pub needs: Vec<String>,
    /// Network namespaces, made before `setup` with `lo` up.
    #[serde(default)]
    pub namespaces: Vec<String>,
    /// Script that builds the healthy network.
    #[serde(default)]
    pub setup: String,
    /// Script that breaks it.
    #[serde(default)]
    pub fault: String,
    /// Script that sends the traffic; its exit status is ignored.
    #[serde(default)]
    pub traffic: String,
    /// Arguments of tracer.
    #[serde(default)]
    pub trace: Vec<String>,
    /// Wait between the end of the traffic and SIGINT.
    #[serde(default)]
    pub settle: Settle,
    /// What the faulty run's report must say.
    pub expect: Expect,
    /// What older kernels cannot tell.
    #[serde(default)]
    pub kernel: Vec<Exception>,
    /// What the healthy run's report must say.
    #[serde(default)]
    pub healthy: Expect,
    /// How the fix is proven; the defaults where the file has no such table.
    #[serde(default)]
    pub fix: Option<Fix>,
    /// Nodes with a tracer of their own each.
    #[serde(default)]
    pub node: Vec<Node>,
    /// Where tracer is asked on the cluster; such a lab is an incident, which [`crate::cluster`] runs.
    #[serde(default)]
    pub ask: Vec<Ask>,
    /// Script that takes back what `setup` and `fault` of an incident did.
    #[serde(default)]
    pub restore: String,
}

/// A place where tracer is asked about an incident of the cluster.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Ask {
    /// The place.
    pub from: Place,
    /// Arguments instead of the incident's.
    #[serde(default)]
    pub trace: Option<Vec<String>>,
    /// What can be told there instead of the incident's `[expect]`.
    #[serde(default)]
    pub expect: Option<Expect>,
    /// What can be told there instead of its `[healthy]`.
    #[serde(default)]
    pub healthy: Option<Expect>,
    /// Whether its advice is not typed in.
    #[serde(default)]
    pub fix: Option<Fix>,
}

/// A place of the cluster.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
pub enum Place {
    /// The first node.
    Node1,
    /// The second.
    Node2,
    /// Both at once, by `tracer cluster`.
    Nodes,
}

impl Place {
    /// Its name in files and output.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Node1 => "node1",
            Self::Node2 => "node2",
            Self::Nodes => "nodes",
        }
    }
}

/// A node of a lab that is traced on several.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Node {
    /// Its name.
    pub name: String,
    /// Those of the lab's namespaces that its tracer sees.
    pub namespaces: Vec<String>,
    /// Arguments of its tracer instead of the lab's.
    #[serde(default)]
    pub trace: Option<Vec<String>>,
}

/// A wait, written `500ms`, `1s` or `1.5s`. One second where the lab says nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Settle(pub Duration);

impl Default for Settle {
    fn default() -> Self {
        Self(Duration::from_secs(1))
    }
}

impl<'de> Deserialize<'de> for Settle {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        duration(&text)
            .map(Self)
            .ok_or_else(|| de::Error::custom(format!("`{text}` is no time such as 500ms or 1.5s")))
    }
}

fn duration(text: &str) -> Option<Duration> {
    const UNITS: [(&str, f64); 3] = [("ms", 0.001), ("s", 1.0), ("m", 60.0)];
    let (number, unit) = UNITS
        .iter()
        .find_map(|(name, unit)| Some((text.strip_suffix(name)?, unit)))?;
    let number: f64 = number.trim().parse().ok()?;
    Duration::try_from_secs_f64(number * unit).ok()
}

impl Lab {
    /// Reads and checks a lab file.
    ///
    /// # Errors
    /// The file cannot be read, is no TOML, or describes no lab that could be run.
    pub fn load(file: &Path) -> Result<Self> {
        let text = std::fs::read_to_string(file)
            .with_context(|| format!("cannot read {}", file.display()))?;
        Self::parse(&name_of(file), &text).with_context(|| file.display().to_string())
    }

    /// Reads and checks the text of a lab file.
    ///
    /// # Errors
    /// It is no TOML, or describes no lab that could be run.
    pub fn parse(name: &str, text: &str) -> Result<Self> {
        let mut lab: Self = toml::from_str(text)?;
        name.clone_into(&mut lab.name);
        if lab.healthy.outcome.0.is_empty() {
            lab.healthy.outcome = OneOrMore(vec!["delivered".to_owned()]);
        }
        lab.check()?;
        Ok(lab)
    }

    fn check(&self) -> Result<()> {
        let mut seen = HashSet::new();
        for namespace in &self.namespaces {
            // The name becomes a file under /run/netns and an argument of ip.
            ensure!(
                !namespace.is_empty()
                    && !namespace.contains('/')
                    && !namespace.starts_with(['-', '.']),
                "`{namespace}` is no name for a namespace"
            );
            ensure!(
                seen.insert(namespace),
                "namespace `{namespace}` is listed twice"
            );
        }
        for node in &self.node {
            if let Some(namespace) = node.namespaces.iter().find(|name| !seen.contains(name)) {
                bail!(
                    "node `{}` has namespace `{namespace}`, which the lab does not make",
                    node.name
                );
            }
        }
        ensure!(
            !self.trace.is_empty() || !self.node.is_empty(),
            "`trace` is empty: give tracer's arguments"
        );
        for ask in &self.ask {
            let tables = [&ask.expect, &ask.healthy];
            for table in tables.into_iter().flatten() {
                table.check("[[ask]]")?;
            }
            ask.fix.as_ref().map_or(Ok(()), Fix::check)?;
        }
        ensure!(
            self.ask.is_empty() || (self.namespaces.is_empty() && self.node.is_empty()),
            "an incident of the cluster, with [[ask]], has no namespaces and nodes of its own"
        );
        ensure!(
            !self.expect.outcome.0.is_empty(),
            "[expect] names no outcome"
        );
        self.expect.check("[expect]")?;
        for exception in &self.kernel {
            ensure!(
                !exception.why.trim().is_empty(),
                "[[kernel]] has an empty `why`: say what these kernels lack"
            );
            if let Some(expect) = &exception.expect {
                expect.check("[[kernel]] expect")?;
            }
        }
        self.healthy.check("[healthy]")?;
        self.fix.as_ref().map_or(Ok(()), Fix::check)
    }

    /// The exception that holds on a kernel: of several, that of the oldest ones.
    #[must_use]
    pub fn exception(&self, kernel: Version) -> Option<&Exception> {
        let holds = self.kernel.iter().filter(|one| kernel < one.before);
        holds.min_by_key(|one| one.before)
    }

    /// The lab as it is on a kernel, with what that can tell; or why it is not run there.
    ///
    /// # Errors
    /// The reason why it is not run.
    pub fn on(mut self, kernel: Version) -> Result<Self, String> {
        match self.exception(kernel).cloned() {
            None => Ok(self),
            Some(Exception {
                expect: Some(expect),
                ..
            }) => {
                self.expect = expect;
                Ok(self)
            }
            Some(exception) => Err(exception.why),
        }
    }

    /// An incident as it is seen from one place.
    #[must_use]
    pub fn from(&self, ask: &Ask) -> Self {
        let mut seen = self.clone();
        seen.trace = ask.trace.clone().unwrap_or(seen.trace);
        seen.expect = ask.expect.clone().unwrap_or(seen.expect);
        seen.healthy = ask.healthy.clone().unwrap_or(seen.healthy);
        seen.fix = ask.fix.clone().or(seen.fix);
        seen.name = format!("{}.{}", self.name, ask.from.name());
        seen
    }

    /// Whether the faulty run is expected to lose something, so that there is something to repair.
    #[must_use]
    pub fn loses(&self) -> bool {
        !self.expect.outcome.has("delivered")
    }

    /// What the report must say once the change is typed in.
    #[must_use]
    pub fn after(&self) -> Expect {
        let own = self.fix.as_ref().and_then(|fix| fix.after.clone());
        let mut after = own.unwrap_or_else(|| self.healthy.clone());
        if after.outcome.0.is_empty() {
            after.outcome = self.healthy.outcome.clone();
        }
        after
    }

    /// What it must say once that is taken back: outcome and cause of the fault.
    #[must_use]
    pub fn undone(&self) -> Expect {
        Expect {
            outcome: self.expect.outcome.clone(),
            cause: self.expect.cause.clone(),
            ..Expect::default()
        }
    }
}

/// The name of a lab: its file's name without ending.
#[must_use]
pub fn name_of(file: &Path) -> String {
    file.file_stem().map_or_else(
        || file.display().to_string(),
        |stem| stem.to_string_lossy().into_owned(),
    )
}

/// The family of a lab: the folder of its file.
#[must_use]
pub fn family_of(file: &Path) -> String {
    file.parent()
        .and_then(Path::file_name)
        .map_or_else(String::new, |folder| folder.to_string_lossy().into_owned())
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]
mod tests {
    use super::*;

    const SMALLEST: &str = r#"
        title = "t"
        namespaces = ["a", "b"]
        trace = ["--json", "icmp"]
        [expect]
        outcome = "dropped"
    "#;

    #[test]
    fn what_is_left_out_has_defaults() {
        let lab = Lab::parse("small", SMALLEST).unwrap();
        assert_eq!(lab.name, "small");
        assert_eq!(lab.settle.0, Duration::from_secs(1));
        assert_eq!(lab.healthy.outcome.0, ["delivered"]);
        assert_eq!(lab.expect.cause, OneOrMore::default());
    }

    #[test]
    fn healthy_keeps_its_default_outcome_when_it_asks_something_else() {
        let lab = Lab::parse("x", &format!("{SMALLEST}\n[healthy]\nrewrites = 'dnat'")).unwrap();
        assert_eq!(lab.healthy.outcome.0, ["delivered"]);
        assert_eq!(lab.healthy.rewrites.0, ["dnat"]);
    }

    #[test]
    fn a_field_is_a_string_or_an_array() {
        let lab = Lab::parse(
            "x",
            "title='t'\ntrace=['x']\nsettle='1.5s'\n[expect]\noutcome='dropped'\ninterface=['e0','e1']",
        )
        .unwrap();
        assert_eq!(lab.expect.interface.0, ["e0", "e1"]);
        assert_eq!(lab.settle.0, Duration::from_millis(1500));
    }

    #[test]
    fn nodes_are_read() {
        let lab = Lab::parse(
            "x",
            &format!("{SMALLEST}\n[[node]]\nname='n1'\nnamespaces=['a']\n[[node]]\nname='n2'\nnamespaces=['b']\ntrace=['udp']"),
        )
        .unwrap();
        assert_eq!(lab.node.len(), 2);
        assert_eq!(
            lab.node.last().unwrap().trace.as_deref(),
            Some(&["udp".to_owned()][..])
        );
    }

    #[test]
    fn an_exception_holds_on_older_kernels() {
        let text = format!(
            "{SMALLEST}\n[[kernel]]\nbefore='6.1'\nwhy='x'\nexpect={{outcome='vanished'}}\n[[kernel]]\nbefore='5.10'\nwhy='no device'"
        );
        let on = |kernel: &str| {
            let lab = Lab::parse("x", &text).unwrap().on(kernel.parse().unwrap());
            lab.map(|lab| lab.expect.outcome.0.concat())
        };
        assert_eq!(on("6.1"), Ok("dropped".to_owned()));
        assert_eq!(on("5.15"), Ok("vanished".to_owned()));
        assert_eq!(on("5.4"), Err("no device".to_owned()));
    }

    #[test]
    fn mistakes_are_named() {
        for (text, word) in [
            (SMALLEST.replace("\"b\"", "\"a\""), "twice"),
            (SMALLEST.replace("\"b\"", "\"../b\""), "no name"),
            (SMALLEST.replace("outcome", "outcom"), "outcom"),
            (SMALLEST.replace("[\"--json\", \"icmp\"]", "[]"), "trace"),
            (format!("settle = 'soon'\n{SMALLEST}"), "soon"),
            (
                format!("{SMALLEST}\n[[node]]\nname='n'\nnamespaces=['c']"),
                "`c`",
            ),
        ] {
            let error = format!("{:#}", Lab::parse("x", &text).unwrap_err());
            assert!(error.contains(word), "{error}");
        }
    }

    #[test]
    fn every_lab_of_the_repository_is_sound() {
        let labs = crate::suite::find(Path::new(env!("CARGO_MANIFEST_DIR")).join("labs").as_path())
            .unwrap();
        assert!(!labs.is_empty());
        let mut names = HashSet::new();
        for file in labs {
            let lab = Lab::load(&file).unwrap();
            // Kept reports are named by the lab alone.
            assert!(names.insert(lab.name.clone()), "two labs {}", lab.name);
            // What a healthy network bears has none, and what happened without an event may have none.
            let uncaused = ["delivered", "unanswered", "rejected"];
            let borne = lab
                .expect
                .outcome
                .0
                .iter()
                .all(|o| uncaused.contains(&o.as_str()));
            assert!(
                borne || !lab.expect.cause.0.is_empty(),
                "{} expects no cause",
                lab.name
            );
        }
    }
}
