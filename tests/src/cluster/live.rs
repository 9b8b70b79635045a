//! A cluster that is up, from outside: started or found, entered by commands, taken down.

use std::fs::{self, File, OpenOptions};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use nix::sys::signal::{Signal, kill};
use nix::sys::stat::Mode;
use nix::unistd::{Pid, mkfifo};

use super::stage::Folder;
use crate::lab::Place;
use crate::script::{self, Done};

/// Until all is up; twenty seconds on an idle machine.
const UP_LIMIT: Duration = Duration::from_secs(600);
/// From the end of the first process to that of its starter, which waits for the others and removes control groups.
const DOWN_LIMIT: Duration = Duration::from_secs(60);
const POLL: Duration = Duration::from_millis(100);
/// What waits for pods may take longer than a lab's scripts.
const SLOWNESS: u32 = 4;

/// A cluster.
#[derive(Debug)]
pub struct Live {
    folder: Folder,
    /// Its first process, by its id on this machine.
    pid: u32,
    /// Where this process brought it up, and takes it down: the process that cleans up after it.
    own: Option<Child>,
}

/// How long it took to come up, and what it needs.
#[derive(Clone, Copy, Debug)]
pub struct Cost {
    /// From the start to pods that are ready.
    pub ready: Duration,
    /// Its processes.
    pub processes: usize,
    /// Their memory, shared pages divided among those who share them.
    pub memory_mb: u64,
}

impl Live {
    /// The cluster that is up.
    #[must_use]
    pub fn found(folder: &Folder) -> Option<Self> {
        let pid = fs::read_to_string(folder.pid()).ok()?.trim().parse().ok()?;
        (folder.ready().exists() && is_stage(pid)).then(|| Self {
            folder: folder.clone(),
            pid,
            own: None,
        })
    }

    /// Brings a cluster up, which ends when this process does. The executable has to be the one that has `stage`.
    ///
    /// # Errors
    /// It does not come up: the end of its log says why.
    pub fn start(folder: &Folder) -> Result<(Self, Cost)> {
        clear(folder)?;
        Self::spawn(folder, Stdio::piped())
    }

    /// Brings a cluster up that stays when this process ends: nobody will close the pipe that keeps it.
    ///
    /// # Errors
    /// As [`Self::start`].
    pub fn start_to_stay(folder: &Folder) -> Result<Cost> {
        clear(folder)?;
        let orders = folder.run().join("orders");
        mkfifo(&orders, Mode::S_IRUSR | Mode::S_IWUSR).context("cannot make a pipe")?;
        let orders = OpenOptions::new().read(true).write(true).open(orders)?;
        let (mut live, cost) = Self::spawn(folder, orders.into())?;
        live.own = None;
        Ok(cost)
    }

    /// In a folder in which nothing tells of an earlier one.
    fn spawn(folder: &Folder, stdin: Stdio) -> Result<(Self, Cost)> {
        let start = Instant::now();
        let log = folder.run().join("log");
        let out = File::create(&log)?;
        let mut child = Command::new(std::env::current_exe()?)
            .arg("--folder")
            .arg(&folder.0)
            .arg("stage")
            .stdin(stdin)
            .stdout(out.try_clone()?)
            .stderr(out)
            // An interrupt from the terminal is for those who clean up.
            .process_group(0)
            .spawn()
            .context("cannot start the cluster's process")?;
        while !folder.ready().exists() {
            if child.try_wait()?.is_some() || start.elapsed() > UP_LIMIT {
                let pid = fs::read_to_string(folder.pid()).unwrap_or_default();
                end(pid.trim().parse().ok(), Some(&mut child));
                let log = fs::read_to_string(&log).unwrap_or_default();
                bail!("the cluster did not come up\n{}", log.trim_end());
            }
            sleep(POLL);
        }
        let pid = fs::read_to_string(folder.pid())?.trim().parse()?;
        let live = Self {
            folder: folder.clone(),
            pid,
            own: Some(child),
        };
        let ready = start.elapsed();
        let cost = live.cost(ready)?;
        Ok((live, cost))
    }

    fn cost(&self, ready: Duration) -> Result<Cost> {
        let script = "for process in /proc/[0-9]*; do cat \"$process/smaps_rollup\" 2>/dev/null || true; done";
        let done = self.run("cost", None, script, "")?;
        let sizes = done
            .output
            .lines()
            .filter_map(|line| line.strip_prefix("Pss:"));
        let sizes =
            sizes.filter_map(|size| size.trim().trim_end_matches(" kB").parse::<u64>().ok());
        let (processes, kb) = sizes.fold((0, 0), |(count, sum), size| (count + 1, sum + size));
        Ok(Cost {
            ready,
            processes,
            memory_mb: kb / 1024,
        })
    }

    /// The words that run a program in a place of the cluster; with none, beside its nodes.
    #[must_use]
    pub fn words(&self, place: Option<Place>) -> Vec<String> {
        let pid = self.pid.to_string();
        let mut words: Vec<String> = ["nsenter", "-t", &pid, "-m", "-n", "-p", "env"]
            .map(str::to_owned)
            .to_vec();
        words.extend(
            self.folder
                .environment()
                .map(|(name, value)| format!("{name}={value}")),
        );
        match place {
            Some(place @ (Place::Node1 | Place::Node2)) => words.push(place.name().to_owned()),
            Some(Place::Nodes) | None => {}
        }
        words
    }

    /// Runs a script in a place; `phase` is in its environment as PHASE.
    ///
    /// # Errors
    /// It cannot be started, or takes too long.
    pub fn run(&self, what: &str, place: Option<Place>, text: &str, phase: &str) -> Result<Done> {
        let words = self.words(place);
        let mut words = words.iter();
        let mut shell = Command::new(words.next().context("no words")?);
        shell.args(words).args(["sh", "-eu", "-c", text]);
        shell.env("PHASE", phase);
        script::finish(what, &mut shell, &self.folder.run(), SLOWNESS)
    }

    /// Runs a script beside the nodes that has to succeed.
    ///
    /// # Errors
    /// It does not.
    pub fn must(&self, what: &str, text: &str) -> Result<String> {
        let done = self.run(what, None, text, "")?;
        ensure!(
            done.status.success(),
            "{what} ended with {}\n{}",
            done.status,
            done.output.trim_end()
        );
        Ok(done.output)
    }

    /// Where it writes.
    #[must_use]
    pub fn folder(&self) -> &Folder {
        &self.folder
    }

    /// Whether this process takes it down.
    #[must_use]
    pub fn is_own(&self) -> bool {
        self.own.is_some()
    }
}

impl Drop for Live {
    fn drop(&mut self) {
        if let Some(child) = &mut self.own {
            end(Some(self.pid), Some(child));
        }
    }
}

/// Takes the cluster down that is up. Gives whether there was one.
///
/// # Errors
/// It does not go.
pub fn down(folder: &Folder) -> Result<bool> {
    let pid = fs::read_to_string(folder.pid()).unwrap_or_default();
    let Some(pid) = pid.trim().parse().ok().filter(|pid| is_stage(*pid)) else {
        return Ok(false);
    };
    ensure!(
        end(Some(pid), None),
        "process {pid} of the cluster, or the one that cleans up after it, does not end: see {}",
        folder.run().join("log").display()
    );
    Ok(true)
}

/// Ends the first process, and with it all others, and waits for the one that cleans up.
fn end(pid: Option<u32>, starter: Option<&mut Child>) -> bool {
    let parent = pid.and_then(parent);
    let number = pid.and_then(|pid| i32::try_from(pid).ok());
    if let Some(number) = number {
        // It may have ended already.
        let _ = kill(Pid::from_raw(number), Signal::SIGKILL);
    }
    if let Some(child) = starter {
        drop(child.stdin.take());
        return child.wait().is_ok();
    }
    let start = Instant::now();
    let there = |pid: u32| Path::new("/proc").join(pid.to_string()).exists();
    while pid.is_some_and(there) || parent.is_some_and(there) {
        if start.elapsed() > DOWN_LIMIT {
            return false;
        }
        sleep(POLL);
    }
    true
}

fn parent(pid: u32) -> Option<u32> {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let parent = status.lines().find_map(|line| line.strip_prefix("PPid:"))?;
    parent.trim().parse().ok()
}

/// Whether a process is the first of a cluster: its number may belong to another one by now.
fn is_stage(pid: u32) -> bool {
    let command = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
    command
        .split(|byte| *byte == 0)
        .any(|word| word == b"stage")
}

/// An empty folder for what a cluster writes; kept reports stay elsewhere.
fn clear(folder: &Folder) -> Result<()> {
    let run = folder.run();
    if run.exists() {
        fs::remove_dir_all(&run).with_context(|| format!("cannot empty {}", run.display()))?;
    }
    fs::create_dir_all(&run).with_context(|| format!("cannot make {}", run.display()))
}
