//! How long tracer takes to be ready, and to end.

use std::thread;
use std::time::Duration;

use anyhow::Result;

use super::figure::{Figure, Question, SECONDS, Target};
use super::network::Crowd;
use super::process::Process;
use super::task::{NOTHING, Task};

const ROUNDS: usize = 5;
/// After the namespaces are made or removed: the kernel is still busy with some of that.
const SETTLE: Duration = Duration::from_secs(3);

/// Interfaces, and what is asked.
const SIZES: [(usize, Question, Question); 2] = [
    (
        10,
        Question {
            what: "ready, 10 interfaces in 5 namespaces",
            method: "from the start of the process to `tracer: ready`; half of the interfaces are loopbacks",
            unit: SECONDS,
            target: Target::AtMost(0.2),
            headline: true,
        },
        Question {
            what: "end, 10 interfaces",
            method: "from SIGINT to the end of the process, report written",
            unit: SECONDS,
            target: Target::AtMost(0.3),
            headline: false,
        },
    ),
    (
        1000,
        Question {
            what: "ready, 1,000 interfaces in 500 namespaces",
            method: "the same",
            unit: SECONDS,
            target: Target::AtMost(1.0),
            headline: true,
        },
        Question {
            what: "end, 1,000 interfaces",
            method: "the same",
            unit: SECONDS,
            target: Target::AtMost(0.3),
            headline: false,
        },
    ),
];

/// Start and end with few interfaces and with many.
pub(super) fn run(task: &Task) -> Result<Vec<Figure>> {
    let mut figures = Vec::new();
    for (interfaces, ready, end) in SIZES {
        task.say(&format!("making {interfaces} interfaces"));
        let crowd = Crowd::new(interfaces / 2)?;
        thread::sleep(SETTLE);
        let (mut starts, mut ends) = (Vec::new(), Vec::new());
        for round in 0..ROUNDS {
            task.round(round, ROUNDS, &format!("{interfaces} interfaces"));
            let tracer = Process::tracer(task.tracer, [NOTHING, "--json", "-o", "/dev/null"])?;
            starts.push(tracer.ready.as_secs_f64());
            ends.push(tracer.stop()?.took.as_secs_f64());
        }
        figures.push(ready.answer(starts, Vec::new()));
        figures.push(end.answer(ends, Vec::new()));
        task.say("removing them");
        drop(crowd);
        thread::sleep(SETTLE);
    }
    Ok(figures)
}
