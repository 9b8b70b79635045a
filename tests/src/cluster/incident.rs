//! One incident: the healthy cluster asked, broken, asked again, repaired as the report says, and restored. The cluster is
//! shared, so whatever happens it is restored at the end.

use std::fs;
use std::path::{Path, PathBuf};
use std::thread::sleep;

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use super::live::Live;
use crate::compare::{differences, healthy_differences};
use crate::lab::{Ask, Lab, Place};
use crate::proof::{Fate, Judged, Network, Proof, Said};
use crate::runner::{Found, Phase};
use crate::tracer::{Running, Start};

/// Names of pods, services and nodes: the line that docs/kubernetes.md gives.
const NAMES: &str = "kubectl get pods,services,endpointslices,nodes -A -o json";
const SLOWNESS: u32 = 2;

/// What became of an incident in one place.
#[derive(Debug)]
pub struct Told {
    /// The incident.
    pub incident: String,
    /// What is broken.
    pub title: String,
    /// Where tracer was asked.
    pub place: Place,
    /// The outcome and the cause that are expected.
    pub expected: [String; 2],
    /// What it said of the broken cluster.
    pub said: Option<Said>,
    /// What became of its advice.
    pub proof: Proof,
    /// What was not as expected.
    pub wrong: Vec<String>,
}

/// How incidents are run.
#[derive(Debug)]
pub struct Incidents<'a> {
    /// The cluster.
    pub live: &'a Live,
    /// tracer's executable.
    pub tracer: &'a Path,
    /// Where reports and recordings are kept.
    pub keep: &'a Path,
    /// Whether advice is typed in.
    pub fixes: bool,
}

impl Incidents<'_> {
    /// Runs one.
    ///
    /// # Errors
    /// The cluster could not be restored: what comes next would be asked about this incident too.
    pub fn run(&self, lab: &Lab) -> Result<Vec<Told>> {
        let mut told: Vec<Told> = lab.ask.iter().map(|ask| Told::new(lab, ask)).collect();
        if let Err(error) = self.act(lab, &mut told) {
            for told in &mut told {
                told.wrong.push(format!("{error:#}"));
            }
        }
        self.live.must("restore", &lab.restore)?;
        self.live.must("settled", "settled")?;
        Ok(told)
    }

    fn act(&self, lab: &Lab, told: &mut [Told]) -> Result<()> {
        self.live.must("setup", &lab.setup)?;
        self.live.must("settled", "settled")?;
        for (ask, told) in lab.ask.iter().zip(told.iter_mut()) {
            let seen = lab.from(ask);
            told.take(Phase::Healthy, || {
                let found = self.ask(&seen, ask.from, Phase::Healthy)?;
                let differences = healthy_differences(&seen.healthy, &found.report);
                Ok(Judged { differences, found })
            });
        }
        self.live.must("fault", &lab.fault)?;
        let mut reports = Vec::new();
        for (ask, told) in lab.ask.iter().zip(told.iter_mut()) {
            let seen = lab.from(ask);
            reports.push(told.take(Phase::Faulty, || {
                let found = self.ask(&seen, ask.from, Phase::Faulty)?;
                let differences = differences(&seen.expect, &found.report);
                Ok(Judged { differences, found })
            }));
        }
        for ((ask, told), report) in lab.ask.iter().zip(told).zip(reports) {
            let Some(report) = report else { continue };
            told.said = Some(Said::of(&report));
            let seen = lab.from(ask);
            told.proof = Proof::untried(&report);
            if self.fixes {
                let mut there = There {
                    incidents: self,
                    lab: &seen,
                    ask,
                    report: &report,
                };
                told.proof = Proof::of(&seen, &report, &mut there, |_, _| Ok(()));
                if lab.fix.is_some() || ask.fix.is_some() {
                    told.wrong.extend(told.proof.wrong.iter().cloned());
                }
                // Where the fault is not back, the next place would be asked about another cluster.
                if told.proof.fix.fate == Fate::Ok && told.proof.undo.fate != Fate::Ok {
                    self.live.must("restore", &lab.restore)?;
                    self.live.must("setup", &lab.setup)?;
                    self.live.must("fault", &lab.fault)?;
                }
            }
        }
        Ok(())
    }

    /// Traces the traffic in one place.
    fn ask(&self, lab: &Lab, place: Place, phase: Phase) -> Result<Found> {
        let kept = |ending: &str| {
            let name = format!("{}.{}.{ending}", lab.name, phase.name());
            self.keep.join(name)
        };
        let (report, recording) = (kept("json"), kept("tracer"));
        let names = self.live.folder().run().join("names.json");
        fs::write(&names, self.live.must("names", NAMES)?)?;
        let mut words = match place {
            Place::Node1 | Place::Node2 => {
                let mut words = self.live.words(Some(place));
                words.push(self.tracer.display().to_string());
                words.extend(self.narrowed(place)?);
                words
            }
            Place::Nodes => self.both(&kept("nodes"))?,
        };
        words.extend(["--json".to_owned(), "--names".to_owned()]);
        words.push(names.display().to_string());
        words.extend(lab.trace.iter().cloned());
        let (program, arguments) = words.split_first().context("no words")?;
        let running = Running::start(&Start {
            program: Path::new(program),
            arguments,
            report: Some(&report),
            recording: Some(&recording),
            slowness: SLOWNESS,
            through: Some(self.tracer),
        })?;
        let traffic = lab.fix.as_ref().and_then(|fix| fix.traffic.as_ref());
        let again = matches!(phase, Phase::Fixed | Phase::Undone);
        let traffic = traffic.filter(|_| again).unwrap_or(&lab.traffic);
        let traffic = self.live.run("traffic", None, traffic, phase.name())?;
        // Answers, timers and retransmissions have no event that says there will be no more of them.
        sleep(lab.settle.0);
        let stderr = running.finish()?;
        let report = fs::read(&report)
            .with_context(|| format!("tracer left no report at {}\n{stderr}", report.display()))?;
        Ok(Found {
            report: serde_json::from_slice(&report).context("tracer's report is no JSON")?,
            stderr,
            traffic: traffic.output,
        })
    }

    /// `tracer cluster` over both nodes.
    fn both(&self, keep: &Path) -> Result<Vec<String>> {
        let tracer = self.tracer.display().to_string();
        let mut words = self.live.words(None);
        words.extend([tracer.clone(), "cluster".to_owned()]);
        words.extend(["--tracer".to_owned(), tracer]);
        words.extend(["--keep".to_owned(), keep.display().to_string()]);
        for node in [Place::Node1, Place::Node2] {
            let narrowed = self.narrowed(node)?;
            let narrowed = shlex::try_join(narrowed.iter().map(String::as_str))?;
            let script = format!("exec \"$@\" {narrowed}");
            let command = shlex::try_join([node.name(), "sh", "-c", &script, "sh"])?;
            words.extend(["--node".to_owned(), format!("{}={command}", node.name())]);
        }
        Ok(words)
    }

    /// A node that is a machine of its own sees its own namespaces alone; these share a kernel.
    fn narrowed(&self, node: Place) -> Result<Vec<String>> {
        let names = self
            .live
            .run("namespaces", Some(node), "ls /run/netns", "")?;
        let names = names.output;
        let all = std::iter::once("host").chain(names.lines());
        Ok(all
            .flat_map(|name| ["--netns".to_owned(), name.to_owned()])
            .collect())
    }
}

/// The broken cluster, as the proof of an advice needs it.
struct There<'a> {
    incidents: &'a Incidents<'a>,
    lab: &'a Lab,
    ask: &'a Ask,
    report: &'a Value,
}

impl Network for There<'_> {
    /// Where the advice says that it is to be typed.
    fn type_in(&mut self, commands: &str) -> Result<()> {
        let place = match self.ask.from {
            Place::Nodes => node_of(self.report, commands),
            place => place,
        };
        let done = self
            .incidents
            .live
            .run("typed", Some(place), commands, "")?;
        ensure!(
            done.status.success(),
            "it ended with {}\n{}",
            done.status,
            done.output.trim_end()
        );
        Ok(())
    }

    fn again(&mut self, phase: Phase) -> Result<Found> {
        let before = self.lab.fix.as_ref().and_then(|fix| fix.before.as_deref());
        self.incidents
            .live
            .must("before", before.unwrap_or_default())?;
        self.incidents.ask(self.lab, self.ask.from, phase)
    }
}

/// The node that the text of an advice with this command ends with: `let it pass (on node2)`; an undo goes where its change
/// went.
fn node_of(report: &Value, commands: &str) -> Place {
    let advice = report
        .pointer("/verdict/advice")
        .and_then(Value::as_array)
        .map_or(&[][..], Vec::as_slice);
    let own = |entry: &&Value| entry.get("command").and_then(Value::as_str) == Some(commands);
    let entry = advice.iter().find(own);
    let undone = entry.and_then(|entry| entry.get("undoes")?.as_u64());
    let undone =
        undone.and_then(|number| advice.get(usize::try_from(number).ok()?.checked_sub(1)?));
    let text = undone
        .or(entry)
        .and_then(|entry| entry.get("text")?.as_str());
    match text {
        Some(text) if text.ends_with("on node2)") => Place::Node2,
        _ => Place::Node1,
    }
}

impl Told {
    fn new(lab: &Lab, ask: &Ask) -> Self {
        let expect = ask.expect.as_ref().unwrap_or(&lab.expect);
        Self {
            incident: lab.name.clone(),
            title: lab.title.clone(),
            place: ask.from,
            expected: [&expect.outcome, &expect.cause].map(|words| words.0.join(" or ")),
            said: None,
            proof: Proof::default(),
            wrong: Vec::new(),
        }
    }

    /// Takes in what a trace found. Gives its report.
    fn take(&mut self, phase: Phase, trace: impl FnOnce() -> Result<Judged>) -> Option<Value> {
        match trace() {
            Ok(judged) => {
                if !judged.differences.is_empty() {
                    let wrong = format!("{}: {}", phase.name(), judged.explained());
                    self.wrong.push(wrong);
                }
                Some(judged.found.report)
            }
            Err(error) => {
                self.wrong.push(format!("{}: {error:#}", phase.name()));
                None
            }
        }
    }
}

/// Incidents among files and directories of them.
///
/// # Errors
/// A file cannot be read, or is no incident.
pub fn load(files: &[PathBuf]) -> Result<Vec<Lab>> {
    let mut labs = Vec::new();
    for file in files {
        let found = if file.is_dir() {
            crate::suite::find(file)?
        } else {
            vec![file.clone()]
        };
        for file in found {
            let lab = Lab::load(&file)?;
            ensure!(
                !lab.ask.is_empty(),
                "{} is no incident of the cluster: it has no [[ask]]",
                file.display()
            );
            labs.push(lab);
        }
    }
    Ok(labs)
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]
mod tests {
    use super::*;

    #[test]
    fn every_incident_of_the_repository_is_sound() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("cluster");
        let incidents = load(&[folder]).unwrap();
        assert!(!incidents.is_empty());
        for incident in incidents {
            let broken = !incident.fault.is_empty() || incident.traffic.contains("PHASE");
            assert_eq!(broken, incident.loses(), "{}", incident.name);
        }
    }

    #[test]
    fn commands_are_typed_where_the_advice_says() {
        let report = serde_json::json!({"verdict": {"where": {"node": "node1"}, "advice": [
            {"kind": "look", "text": "check first (on node1)", "command": "ip link"},
            {"kind": "change", "text": "let it pass (in pod shop/web on node2)", "command": "up"},
            {"kind": "undo", "text": "to undo", "command": "down", "undoes": 2}
        ]}});
        let nodes = ["ip link", "up", "down"].map(|command| node_of(&report, command));
        assert_eq!(nodes, [Place::Node1, Place::Node2, Place::Node2]);
    }

    #[test]
    fn a_place_may_tell_less_than_another() {
        let text = "title='t'\ntrace=['tcp']\n[expect]\noutcome='dropped'\n[[ask]]\nfrom='node1'\n\
                    [[ask]]\nfrom='nodes'\ntrace=['udp']\nexpect={outcome='unanswered'}";
        let lab = Lab::parse("x", text).unwrap();
        let seen: Vec<Lab> = lab.ask.iter().map(|ask| lab.from(ask)).collect();
        let said: Vec<(&str, &str, String)> = seen
            .iter()
            .map(|lab| {
                (
                    lab.name.as_str(),
                    lab.trace.first().unwrap().as_str(),
                    lab.expect.outcome.to_string(),
                )
            })
            .collect();
        let wanted = [
            ("x.node1", "tcp", "dropped"),
            ("x.nodes", "udp", "unanswered"),
        ];
        assert!(
            said.iter()
                .zip(wanted)
                .all(|((name, word, outcome), wanted)| {
                    (*name, *word, outcome.as_str()) == wanted
                })
        );
        assert_eq!(said.len(), wanted.len());
    }
}
