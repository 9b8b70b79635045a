//! What the full screen takes of a core while nothing happens.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::Read;
use std::process::{Child, Command};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use nix::pty::{Winsize, openpty};

use super::alone::PROCESSES;
use super::figure::{Figure, PERCENT, Question, Target};
use super::network::Chain;
use super::task::{NOTHING, Task};

const ROUNDS: usize = 3;
/// From the first drawing on.
const START: Duration = Duration::from_secs(3);
/// One round.
const TIME: Duration = Duration::from_secs(10);
const SIZE: Winsize = Winsize {
    ws_row: 40,
    ws_col: 120,
    ws_xpixel: 0,
    ws_ypixel: 0,
};
const QUESTION: Question = Question {
    what: "the full screen at rest, share of a core",
    method: "run time of all threads (/proc/PID/task/*/schedstat) in 10 s / 10 s; on a terminal of 120 × 40",
    unit: PERCENT,
    target: Target::AtMost(0.5),
    headline: true,
};

/// Killed when this is dropped.
struct Screen(Child);

impl Drop for Screen {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Idle share.
pub(super) fn run(task: &Task) -> Result<Vec<Figure>> {
    let _chain = Chain::new()?;
    task.say("starting the full screen");
    let terminal = openpty(&SIZE, None)?;
    let (input, output) = (terminal.slave.try_clone()?, terminal.slave.try_clone()?);
    let child = Command::new(task.tracer)
        .arg(NOTHING)
        .env("TERM", "xterm-256color")
        .stdin(input)
        .stdout(output)
        .stderr(terminal.slave)
        .spawn()
        .context("cannot run tracer")?;
    let mut screen = Screen(child);
    let mut master = File::from(terminal.master);
    ensure!(master.read(&mut [0; 4096])? > 0, "nothing was drawn");
    // What is drawn must be taken; an error says that the other side is closed.
    thread::spawn(move || while master.read(&mut [0; 4096]).is_ok_and(|read| read > 0) {});
    thread::sleep(START);
    let (mut values, mut details) = (Vec::new(), Vec::new());
    for round in 0..ROUNDS {
        task.round(round, ROUNDS, &format!("{} s at rest", TIME.as_secs()));
        let (start, before) = (Instant::now(), run_times(screen.0.id())?);
        thread::sleep(TIME);
        let after = run_times(screen.0.id())?;
        let wall = start.elapsed().as_nanos() as f64;
        let share = |(name, time): (&String, &u64)| {
            let used = time.saturating_sub(before.get(name).copied().unwrap_or_default());
            (name.clone(), 100.0 * used as f64 / wall)
        };
        let shares: Vec<_> = after.iter().map(share).collect();
        values.push(shares.iter().map(|(_, share)| share).sum());
        details = shares;
    }
    ensure!(screen.0.try_wait()?.is_none(), "the full screen has ended");
    let threads = details.iter().filter(|(_, share)| *share >= 0.005);
    let threads: Vec<_> = threads
        .map(|(name, share)| format!("`{name}` {share:.2} %"))
        .collect();
    let place = format!("{PROCESSES} other processes, 4 namespaces, 8 interfaces");
    let threads = format!("threads in the last round: {}", threads.join(", "));
    Ok(vec![QUESTION.answer(values, vec![place, threads])])
}

/// What threads have run so far, in nanoseconds, by their names.
fn run_times(pid: u32) -> Result<BTreeMap<String, u64>> {
    let mut times = BTreeMap::new();
    for entry in fs::read_dir(format!("/proc/{pid}/task"))? {
        let path = entry?.path();
        // A thread may end meanwhile.
        let read = |file| fs::read_to_string(path.join(file)).unwrap_or_default();
        let text = read("schedstat");
        let time = text
            .split(' ')
            .next()
            .and_then(|word| word.parse::<u64>().ok());
        *times.entry(read("comm").trim().to_owned()).or_default() += time.unwrap_or_default();
    }
    Ok(times)
}
