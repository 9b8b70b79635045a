//! Many labs: each run, judged, and told in one line.

use std::fmt;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::thread;

use anyhow::{Context, Result};

use crate::compare::{differences, healthy_differences, summary};
use crate::fix::Fixes;
use crate::kernel::Version;
use crate::lab::{Lab, family_of, name_of};
use crate::needs;
use crate::proof::{Fate, Judged, Proof};
use crate::runner::{Found, Phase, Run, Variant};
use crate::score::Marks;
use crate::stage::Stage;

/// How labs are run.
#[derive(Clone, Debug)]
pub struct Suite {
    /// tracer's executable.
    pub tracer: PathBuf,
    /// Where reports are kept.
    pub keep_report: Option<PathBuf>,
    /// Where recordings are kept.
    pub keep_recording: Option<PathBuf>,
    /// Labs that run at the same time.
    pub jobs: usize,
    /// The runs of each lab.
    pub variants: Vec<Variant>,
    /// The labs whose fixes are proven.
    pub fixes: Fixes,
    /// A lab that fails beside others is run once more, alone.
    pub again: bool,
    /// The kernel that they run on.
    pub kernel: Version,
    /// How many times longer than usual everything may take.
    pub slowness: u32,
}

/// When more labs fail than this, it is not for what ran beside them.
const MOST_AGAIN: usize = 8;

/// How a lab ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// All reports are as expected; the faulty one's summary, and what became of its advice.
    Pass(String),
    /// What is not.
    Fail(String),
    /// Why it was not run.
    Skip(String),
}

/// One line of output, with what explains a failure below it.
#[derive(Clone, Debug)]
pub struct Line {
    /// Name of the lab.
    pub name: String,
    /// Folder of its file: the family of faults.
    pub family: String,
    /// How it ended.
    pub verdict: Verdict,
    /// What was right; nothing is where it was not run.
    pub marks: Marks,
    /// Whether the faulty run is expected to lose something.
    pub loses: bool,
    /// What became of the faulty report's advice.
    pub proof: Proof,
}

impl fmt::Display for Line {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (word, text) = match &self.verdict {
            Verdict::Pass(text) => ("PASS", text),
            Verdict::Fail(text) => ("FAIL", text),
            Verdict::Skip(text) => ("SKIP", text),
        };
        write!(
            f,
            "{word} {}: {}",
            self.name,
            text.trim_end().replace('\n', "\n    ")
        )
    }
}

impl Suite {
    /// Runs the labs, writes a line for each as it ends and hands it on. Gives the lines, in the order in which they
    /// ended; those of labs that were run again, which a line beginning with `AGAIN` tells, stand last.
    ///
    /// # Errors
    /// A directory to keep things in cannot be made.
    pub fn run(&self, files: &[PathBuf], each: impl Fn(&Line) + Sync) -> Result<Vec<Line>> {
        for directory in [&self.keep_report, &self.keep_recording]
            .into_iter()
            .flatten()
        {
            std::fs::create_dir_all(directory)
                .with_context(|| format!("cannot make {}", directory.display()))?;
        }
        let queue = Mutex::new(files.iter());
        let next = || queue.lock().ok()?.next();
        let lines = Mutex::new(Vec::new());
        let failed = Mutex::new(Vec::new());
        let put_off = |file: &Path, line: &Line| {
            let later = self.again && self.jobs > 1 && matches!(line.verdict, Verdict::Fail(_));
            let mut failed = failed
                .lock()
                .ok()
                .filter(|f| later && f.len() < MOST_AGAIN)?;
            failed.push(file.to_path_buf());
            Some(())
        };
        thread::scope(|scope| {
            for _ in 0..self.jobs.max(1) {
                scope.spawn(|| {
                    while let Some(file) = next() {
                        let line = self.judge(file);
                        let later = put_off(file, &line).is_some();
                        if let Ok(mut lines) = lines.lock() {
                            if later {
                                say(&line.to_string().replacen("FAIL", "AGAIN", 1));
                            } else {
                                say(&line);
                                each(&line);
                                lines.push(line);
                            }
                        }
                    }
                });
            }
        });
        let mut lines = lines.into_inner().ok().context("a worker ended early")?;
        for file in failed.into_inner().ok().into_iter().flatten() {
            let line = self.judge(&file);
            say(&line);
            each(&line);
            lines.push(line);
        }
        Ok(lines)
    }

    /// Runs one lab and judges it.
    fn judge(&self, file: &Path) -> Line {
        let mut line = Line {
            name: name_of(file),
            family: family_of(file),
            verdict: Verdict::Skip(String::new()),
            marks: Marks::default(),
            loses: false,
            proof: Proof::default(),
        };
        line.verdict = match Lab::load(file) {
            Ok(lab) => match needs::unmet(&lab.needs).map_or_else(|| lab.on(self.kernel), Err) {
                Err(reason) => Verdict::Skip(reason),
                Ok(lab) if !lab.ask.is_empty() => Verdict::Skip(format!(
                    "it is an incident of the cluster: cargo xtask cluster run {}",
                    file.display()
                )),
                Ok(lab) => self.judge_lab(&lab, file, &mut line),
            },
            Err(error) => Verdict::Fail(format!("{error:#}")),
        };
        line
    }

    /// Both runs of a lab that can be run, and the proof of what the faulty one advises.
    fn judge_lab(&self, lab: &Lab, file: &Path, line: &mut Line) -> Verdict {
        line.loses = lab.loses();
        let (mut told, mut wrong) = (String::new(), Vec::new());
        for &variant in &self.variants {
            match self.judge_run(lab, file, variant) {
                Ok((judged, proof)) => {
                    line.marks.mark(variant, &judged.differences);
                    if !judged.differences.is_empty() {
                        wrong.push(format!("{}: {}", variant.name(), judged.explained()));
                    }
                    // Without a table of its own a lab shows how its advice fares; with one it demands it.
                    if lab.fix.is_some() {
                        wrong.extend(proof.wrong.iter().cloned());
                    }
                    told = summary(&judged.found.report).to_owned();
                    line.proof = proof;
                }
                Err(error) => wrong.push(format!("{}: {error:#}", variant.name())),
            }
        }
        if wrong.is_empty() {
            Verdict::Pass(told + tried(&line.proof))
        } else {
            Verdict::Fail(wrong.join("\n"))
        }
    }

    /// Runs one variant and compares its report; goes on with the advice of a faulty one.
    fn judge_run(&self, lab: &Lab, file: &Path, variant: Variant) -> Result<(Judged, Proof)> {
        let run = Run {
            lab,
            variant,
            tracer: &self.tracer,
            recordings: self.keep_recording.as_deref(),
            slowness: self.slowness,
        };
        let mut stage = Stage::start(&run, file)?;
        let found = stage.found()?;
        self.keep(lab, variant.into(), &found)?;
        let proof = match variant {
            Variant::Healthy => Proof::default(),
            Variant::Faulty if !self.fixes.takes(&lab.name) => Proof::untried(&found.report),
            Variant::Faulty => Proof::of(lab, &found.report, &mut stage, |phase, found| {
                self.keep(lab, phase, found)
            }),
        };
        let differences = match variant {
            Variant::Healthy => healthy_differences(&lab.healthy, &found.report),
            Variant::Faulty => differences(&lab.expect, &found.report),
        };
        Ok((Judged { differences, found }, proof))
    }

    /// Keeps a report where reports are kept.
    fn keep(&self, lab: &Lab, phase: Phase, found: &Found) -> Result<()> {
        let Some(keep) = &self.keep_report else {
            return Ok(());
        };
        let kept = keep.join(format!("{}.{}.json", lab.name, phase.name()));
        std::fs::write(&kept, serde_json::to_vec_pretty(&found.report)?)
            .with_context(|| format!("cannot write {}", kept.display()))
    }
}

/// What a line that passes adds about the advice that was typed in.
const fn tried(proof: &Proof) -> &'static str {
    match (proof.fix.fate, proof.undo.fate) {
        (Fate::Ok, Fate::Ok) => " (the change repairs it, its undo brings it back)",
        (Fate::Ok, Fate::Failed) => " (the change repairs it, ITS UNDO DOES NOT BRING IT BACK)",
        (Fate::Ok, _) => " (the change repairs it)",
        (Fate::Failed, _) => " (ITS CHANGE DOES NOT REPAIR IT)",
        _ => "",
    }
}

/// A reader that went away (`| head`) is no reason to stop half-way.
fn say(line: &impl fmt::Display) {
    let _ = writeln!(std::io::stdout(), "{line}");
}

/// All lab files below a directory, in the order of their paths.
///
/// # Errors
/// A directory cannot be read.
pub fn find(directory: &Path) -> Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    let entries = std::fs::read_dir(directory)
        .with_context(|| format!("cannot read {}", directory.display()))?;
    for entry in entries {
        let path = entry?.path();
        if path.is_dir() {
            files.extend(find(&path)?);
        } else if path
            .extension()
            .is_some_and(|extension| extension == "toml")
        {
            files.push(path);
        }
    }
    files.sort();
    Ok(files)
}
