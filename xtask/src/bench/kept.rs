//! What a router still does while tracer runs: each round measures all cases, one after the other, and begins with
//! another one.

use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::Result;

use super::bpf::Empty;
use super::figure::{Figure, Question, RATIO, Target, median, number};
use super::network::Chain;
use super::process::Process;
use super::task::{FLOOD, NOTHING, Task};
use super::tcp;
use super::udp::{BATCH, Flood, Sink};
use crate::command::exists;

const ROUNDS: usize = 7;
/// How long each case is measured.
const TIME: Duration = Duration::from_secs(1);
/// As fast as it goes.
const FULL: Flood = Flood {
    packets: 5_000_000,
    time: TIME,
    batch: BATCH,
    pause: Duration::ZERO,
};

const IDLE: Question = Question {
    what: "router: packets/s kept, tracer asks for other packets",
    method: "with / without tracer in the same round; 64-byte UDP packets by sendmmsg from one core for 1 s, counted where they arrive",
    unit: RATIO,
    target: Target::AtLeast(0.97),
    headline: true,
};
const ALL: Question = Question {
    what: "router: packets/s kept, tracer asks for all of them",
    method: "the same; default budget",
    unit: RATIO,
    target: Target::AtLeast(0.85),
    headline: true,
};
const DISPATCH: Question = Question {
    what: "router: packets/s kept, programs that do nothing at the same places",
    method: "the same; what calling programs costs whatever they do",
    unit: RATIO,
    target: Target::None,
    headline: false,
};
const TCPDUMP: Question = Question {
    what: "router: packets/s kept, tcpdump takes all of them",
    method: "the same; `tcpdump -i any -n -s 128 -w /dev/null` in the router's namespace",
    unit: RATIO,
    target: Target::None,
    headline: false,
};
const AHEAD: Question = Question {
    what: "packets/s beside tracer / beside tcpdump, both for all of them",
    method: "the same rounds",
    unit: RATIO,
    target: Target::AtLeast(1.0),
    headline: true,
};
const BULK: Question = Question {
    what: "TCP: bytes/s of one connection kept, tracer asks for other packets",
    method: "with / without tracer in the same round; through the router for 1 s",
    unit: RATIO,
    target: Target::AtLeast(0.97),
    headline: false,
};
const CONNECTIONS: Question = Question {
    what: "TCP: new connections/s kept, tracer asks for other packets",
    method: "the same; four clients connect, are accepted and closed",
    unit: RATIO,
    target: Target::AtLeast(0.97),
    headline: false,
};

/// Who looks on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Case {
    Nobody,
    Empty,
    Idle,
    All,
    Tcpdump,
}

/// One who looks on, until this is dropped.
#[expect(dead_code, reason = "held for its end")]
enum Running {
    Process(Process),
    Empty(Empty),
}

impl Case {
    fn name(self) -> &'static str {
        match self {
            Self::Nobody => "without tracer",
            Self::Empty => "empty programs",
            Self::Idle => "tracer asks for others",
            Self::All => "tracer asks for all",
            Self::Tcpdump => "tcpdump",
        }
    }

    fn start(self, task: &Task) -> Result<Option<Running>> {
        let tracer = |expression| {
            let arguments = [expression, "--json", "-o", "/dev/null"];
            let process = Process::tracer(task.tracer, arguments)?;
            Ok(Some(Running::Process(process)))
        };
        match self {
            Self::Nobody => Ok(None),
            Self::Empty => Ok(Some(Running::Empty(Empty::attach()?))),
            Self::Idle => tracer(NOTHING),
            Self::All => tracer(FLOOD),
            Self::Tcpdump => {
                let words = "netns exec router tcpdump -i any -n -s 128 -w /dev/null";
                let mut command = Command::new("ip");
                command.args(words.split(' ')).arg(FLOOD);
                let process = Process::start(command.stdout(Stdio::null()), "listening on")?;
                Ok(Some(Running::Process(process)))
            }
        }
    }
}

/// What each case did in one round.
type Rates = Vec<(Case, f64)>;

fn rate(rates: &Rates, case: Case) -> f64 {
    let found = rates.iter().find(|(of, _)| *of == case);
    found.map_or(f64::NAN, |(_, rate)| *rate)
}

/// Measures cases, round by round.
fn rounds(
    task: &Task,
    cases: &[Case],
    what: &str,
    mut measure: impl FnMut() -> Result<f64>,
) -> Result<Vec<Rates>> {
    let mut order = cases.to_vec();
    let mut rounds = Vec::new();
    for round in 0..ROUNDS {
        let mut rates = Rates::new();
        for case in &order {
            task.round(round, ROUNDS, &format!("{what}, {}", case.name()));
            let running = case.start(task)?;
            rates.push((*case, measure()?));
            if let Some(Running::Process(process)) = running {
                process.stop()?;
            }
        }
        rounds.push(rates);
        order.rotate_left(1);
    }
    Ok(rounds)
}

/// One case against another, in each round; with the median of the first, in the unit given.
fn ratio(
    question: Question,
    rounds: &[Rates],
    [of, to]: [Case; 2],
    (unit, scale): (&str, f64),
) -> Figure {
    let values = rounds.iter().map(|rates| rate(rates, of) / rate(rates, to));
    let middle = |case| {
        let all: Vec<_> = rounds
            .iter()
            .map(|rates| rate(rates, case) / scale)
            .collect();
        number(median(&all), 0)
    };
    let text = format!(
        "{} {unit} ({}), {} {unit} ({})",
        middle(to),
        to.name(),
        middle(of),
        of.name()
    );
    question.answer(values.collect(), vec![text])
}

/// UDP packets.
pub(super) fn router(task: &Task) -> Result<Vec<Figure>> {
    let chain = Chain::new()?;
    let _sink = Sink::reading()?;
    let mut cases = vec![Case::Nobody, Case::Empty, Case::Idle, Case::All];
    let beside = exists("tcpdump");
    if beside {
        cases.push(Case::Tcpdump);
    } else {
        task.say("SKIPPED: tcpdump is not installed, there is nothing to compare with");
    }
    let rounds = rounds(task, &cases, "packets", || {
        let before = chain.arrived()?;
        let sent = FULL.to_receiver()?;
        Ok((chain.arrived()? - before) as f64 / sent.time.as_secs_f64())
    })?;
    let against = |question, of, to| ratio(question, &rounds, [of, to], ("packets/s", 1.0));
    let mut figures = vec![
        against(IDLE, Case::Idle, Case::Nobody),
        against(DISPATCH, Case::Empty, Case::Nobody),
        against(ALL, Case::All, Case::Nobody),
    ];
    if beside {
        figures.push(against(TCPDUMP, Case::Tcpdump, Case::Nobody));
        figures.push(against(AHEAD, Case::All, Case::Tcpdump));
    }
    Ok(figures)
}

/// TCP connections, few with much data and many with none.
pub(super) fn connections(task: &Task) -> Result<Vec<Figure>> {
    let _chain = Chain::new()?;
    let cases = [Case::Nobody, Case::Idle];
    let pair = [Case::Idle, Case::Nobody];
    let bulk = rounds(task, &cases, "bytes", || tcp::bulk(TIME))?;
    let many = rounds(task, &cases, "connections", || tcp::connections(TIME))?;
    Ok(vec![
        ratio(BULK, &bulk, pair, ("MB/s", 1e6)),
        ratio(CONNECTIONS, &many, pair, ("connections/s", 1.0)),
    ])
}
