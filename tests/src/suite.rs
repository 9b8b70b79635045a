//! Many labs: each run in a process of its own, judged, and told in one line. A run's process ends when its stdin
//! does, so nothing outlives this process even when it is killed.

use std::fmt;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Mutex;
use std::thread;

use anyhow::{Context, Result, bail, ensure};

use crate::compare::{Difference, differences, summary};
use crate::lab::{Lab, family_of, name_of};
use crate::needs;
use crate::runner::{Found, Run, Variant};
use crate::score::Marks;

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
    /// A lab that fails beside others is run once more, alone.
    pub again: bool,
}

/// When more labs fail than this, it is not for what ran beside them.
const MOST_AGAIN: usize = 8;

/// How a lab ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Both reports are as expected; the faulty one's summary.
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
    /// Runs the labs and writes a line for each as it ends. Gives the lines, in the order in which they ended; those
    /// of labs that were run again, which a line beginning with `AGAIN` tells, stand last.
    ///
    /// # Errors
    /// A directory to keep things in cannot be made.
    pub fn run(&self, files: &[PathBuf]) -> Result<Vec<Line>> {
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
            lines.push(line);
        }
        Ok(lines)
    }

    /// Runs one lab and judges it.
    fn judge(&self, file: &Path) -> Line {
        let line = |verdict, marks| Line {
            name: name_of(file),
            family: family_of(file),
            verdict,
            marks,
        };
        let lab = match Lab::load(file) {
            Ok(lab) => lab,
            Err(error) => return line(Verdict::Fail(format!("{error:#}")), Marks::default()),
        };
        if let Some(reason) = needs::unmet(&lab.needs) {
            return line(Verdict::Skip(reason), Marks::default());
        }
        let (mut marks, mut told, mut wrong) = (Marks::default(), String::new(), Vec::new());
        for variant in Variant::ALL {
            match self.judge_run(&lab, file, variant) {
                Ok(judged) => {
                    marks.mark(variant, &judged.differences);
                    if !judged.differences.is_empty() {
                        wrong.push(format!("{}: {}", variant.name(), judged.explained()));
                    }
                    told = judged.summary;
                }
                Err(error) => wrong.push(format!("{}: {error:#}", variant.name())),
            }
        }
        if wrong.is_empty() {
            line(Verdict::Pass(told), marks)
        } else {
            line(Verdict::Fail(wrong.join("\n")), marks)
        }
    }

    /// Runs one variant and compares its report.
    fn judge_run(&self, lab: &Lab, file: &Path, variant: Variant) -> Result<Judged> {
        let name = format!("{}.{}", lab.name, variant.name());
        let recording = self
            .keep_recording
            .as_ref()
            .map(|keep| keep.join(format!("{name}.tracer")));
        let found = self.run_apart(
            &Run {
                lab,
                variant,
                tracer: &self.tracer,
                recording: recording.as_deref(),
            },
            file,
        )?;
        if let Some(keep) = &self.keep_report {
            let kept = keep.join(format!("{name}.json"));
            std::fs::write(&kept, serde_json::to_vec_pretty(&found.report)?)
                .with_context(|| format!("cannot write {}", kept.display()))?;
        }
        let expect = match variant {
            Variant::Healthy => &lab.healthy,
            Variant::Faulty => &lab.expect,
        };
        Ok(Judged {
            differences: differences(expect, &found.report),
            summary: summary(&found.report).to_owned(),
            found,
        })
    }

    /// A run in a process of its own, which gives what it found on stdout.
    fn run_apart(&self, run: &Run<'_>, file: &Path) -> Result<Found> {
        let mut child = stage(run, file)?
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .context("cannot start the lab's process")?;
        // Kept open until the child has ended: the child ends with it.
        let stdin = child.stdin.take();
        let output = child.wait_with_output()?;
        drop(stdin);
        if output.status.success() {
            return serde_json::from_slice(&output.stdout)
                .context("the lab's process gave no result");
        }
        bail!("{}", String::from_utf8_lossy(&output.stderr).trim_end())
    }
}

/// Runs one lab and lets tracer write to this process's stdout; nothing is compared.
///
/// # Errors
/// The lab cannot be built, or tracer fails.
pub fn show(run: &Run<'_>, file: &Path, arguments: &[String]) -> Result<()> {
    let mut child = stage(run, file)?
        .arg("--show")
        .arg("--")
        .args(arguments)
        .spawn()
        .context("cannot start the lab's process")?;
    let stdin = child.stdin.take();
    let status = child.wait()?;
    drop(stdin);
    ensure!(status.success(), "{} could not be shown", run.lab.name);
    Ok(())
}

/// This executable as the process of one run.
fn stage(run: &Run<'_>, file: &Path) -> Result<Command> {
    let own = std::env::current_exe().context("cannot find this executable")?;
    let mut command = Command::new(own);
    command.arg("stage").arg(file);
    command.args(["--variant", run.variant.name()]);
    command.arg("--tracer").arg(run.tracer);
    if let Some(recording) = run.recording {
        command.arg("--recording").arg(recording);
    }
    command.stdin(Stdio::piped());
    Ok(command)
}

/// One run, compared with what the lab expects.
struct Judged {
    differences: Vec<Difference>,
    summary: String,
    found: Found,
}

impl Judged {
    /// What is not as expected, and what helps to see why.
    fn explained(&self) -> String {
        let differences: Vec<String> = self.differences.iter().map(ToString::to_string).collect();
        format!(
            "{}\nverdict: {}\ntraffic: {}\nstderr: {}",
            differences.join("\n"),
            self.summary,
            self.found.traffic.trim_end(),
            self.found.stderr
        )
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
