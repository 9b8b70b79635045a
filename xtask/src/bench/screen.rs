//! What the full screen takes of a core while nothing happens.

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
    let mut values = Vec::new();
    for round in 0..ROUNDS {
        task.round(round, ROUNDS, &format!("{} s at rest", TIME.as_secs()));
        let (start, before) = (Instant::now(), run_time(screen.0.id())?);
        thread::sleep(TIME);
        let used = run_time(screen.0.id())?.saturating_sub(before);
        values.push(100.0 * used.as_secs_f64() / start.elapsed().as_secs_f64());
    }
    ensure!(screen.0.try_wait()?.is_none(), "the full screen has ended");
    let details = format!("{PROCESSES} other processes, 4 namespaces, 8 interfaces");
    Ok(vec![QUESTION.answer(values, vec![details])])
}

/// What all threads have run so far.
fn run_time(pid: u32) -> Result<Duration> {
    let mut nanoseconds = 0;
    for entry in fs::read_dir(format!("/proc/{pid}/task"))? {
        // A thread may end meanwhile.
        let text = fs::read_to_string(entry?.path().join("schedstat")).unwrap_or_default();
        let first = text
            .split(' ')
            .next()
            .and_then(|word| word.parse::<u64>().ok());
        nanoseconds += first.unwrap_or_default();
    }
    Ok(Duration::from_nanos(nanoseconds))
}
