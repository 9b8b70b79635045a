//! `tracer hold`: a recorder that stays on a node. It keeps the last minutes in memory and saves them when something is lost.
//!
//! ```text
//! inputs ──▶ ring (the last minutes, as a recording) ─────────────▶ save, with what comes after
//!        ╰─▶ watch (a session, begun anew now and then) ─▶ incidents ─╯
//! ```

pub mod helper;
mod incident;
mod keys;
mod metrics;
pub mod save;
mod store;
mod watch;

use std::io::Write;
use std::path::PathBuf;
use std::time::{Duration, SystemTime};

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::time::Instant;

use super::files::{Files, Wanted};
use super::redaction::RedactionStage;
use super::renamed::{self, Renamed};
use super::{LAST_ANSWERS, Signals, confine, ready_line, runtime, say};
use crate::config::HoldConfig;
use crate::error::{Error, ExitStatus};
use crate::host::machine;
use crate::model::KtimeNs;
use crate::render::figures;
use crate::render::style::UNICODE;
use crate::restrict::Role;
use crate::source::Input;
use crate::source::live::{Live, Message};
use crate::source::recording::Ring;
use helper::{Answer, Request, Saver, unix_ns};
use incident::{Finding, Incident, Incidents, Said, Why};
use keys::Keys;
use metrics::{Figures, Metrics};
use store::Store;
use watch::Watch;

/// Between two looks for trouble, and between two at which is read what packets pass.
const LOOK: Duration = Duration::from_secs(1);
const CHECKS: Duration = Duration::from_secs(5);
/// Between two writes of the metrics.
const METRICS: Duration = Duration::from_secs(15);
/// Rest after work, in times of what it took: a look at many flows under load is less frequent.
const REST: u32 = 10;
/// Counters of what has been idle for so long are given up in the kernel; at least.
const IDLE: Duration = Duration::from_secs(300);

/// Records until asked to end. Gives the exit status.
///
/// # Errors
/// When rights or kernel support are missing, or the directory cannot be used.
pub fn hold(config: &HoldConfig) -> Result<ExitStatus, Error> {
    let runtime = runtime()?;
    let store = Store::open(&config.save)?;
    let files = Files::start(Wanted::default().beside(config.metrics.as_deref()))?;
    let redaction = RedactionStage::new(config.trace.redact.as_ref())?;
    let saver = Saver::start()?;
    runtime.block_on(run(config, (&store, &files, redaction), saver))?;
    Ok(ExitStatus::Done)
}

async fn run(
    config: &HoldConfig,
    (store, files, redaction): (&Store, &Files, RedactionStage),
    saver: Saver,
) -> Result<(), Error> {
    let mut signals = Signals::listen()?;
    let mut asked = signal(SignalKind::user_defined1())
        .map_err(|error| Error::io("listen for signals", error))?;
    let mut live = tokio::select! {
        started = Live::start(&config.trace) => started?,
        () = signals.any() => return Err(Error::runtime("ended before it was ready: nothing was kept")),
    };
    let mut keys = Keys::listen()?;
    let mut renamed = Renamed::start(&config.trace)?;
    let mut holder = Holder::new(config, (store, files, redaction), saver)?;
    confine(Role::Work, config.trace.verbosity);
    say!("{}", ready_line(live.ready()));
    if keys.are_there() {
        say!("tracer: s saves now, Ctrl-C ends");
    }
    loop {
        tokio::select! {
            biased;
            () = signals.any() => break,
            () = wanted(&mut asked, &mut keys) => holder.ask(),
            answer = holder.saver.answer() => holder.answered(&answer),
            compiled = renamed::next(&mut renamed) => {
                say!("tracer: {}", renamed::SAID);
                live.grow(compiled);
            }
            message = live.recv() => if let Message::Input(input) = message? {
                if let Some(renamed) = &renamed {
                    renamed.see(&input);
                }
                holder.take(input, &mut live)?;
            },
        }
    }
    live.stop();
    while let Some(input) = drained(&mut live).await? {
        holder.take(input, &mut live)?;
    }
    let questions = holder.watch.questions();
    let questions = holder.redaction.questions(questions);
    for input in live.ask_and_wait(questions, LAST_ANSWERS).await {
        holder.keep(input)?;
    }
    drop(live);
    holder.end().await
}

/// A signal or a key that asks for a save.
async fn wanted(asked: &mut Signal, keys: &mut Keys) {
    tokio::select! {
        _ = asked.recv() => {}
        () = keys.save() => {}
    }
}

/// What comes until the probes are out.
async fn drained(live: &mut Live) -> Result<Option<Input>, Error> {
    loop {
        match live.recv().await? {
            Message::Input(input) => return Ok(Some(input)),
            Message::Drained => return Ok(None),
            Message::Answered | Message::Failed(_) => {}
        }
    }
}

/// When something is due again, on the clock of this process.
struct Due(Instant);

impl Due {
    fn now() -> Self {
        Self(Instant::now())
    }

    /// Does it when it is time to, then rests.
    fn run<T>(&mut self, every: Duration, work: impl FnOnce() -> T) -> Option<T> {
        let begun = Instant::now();
        if begun < self.0 {
            return None;
        }
        let done = work();
        self.0 = Instant::now() + every.max(begun.elapsed() * REST);
        Some(done)
    }
}

/// The state of the recorder.
struct Holder<'a> {
    config: &'a HoldConfig,
    directory: PathBuf,
    /// What is kept, looked at, said, saved and counted has passed it.
    redaction: RedactionStage,
    ring: Ring,
    watch: Watch,
    incidents: Incidents,
    saver: Saver,
    metrics: Option<Metrics>,
    ask: Due,
    look: Due,
    checks: Due,
    tell: Due,
    saves: u64,
    failed: u64,
    said_too_small: bool,
    metrics_failed: bool,
}

impl<'a> Holder<'a> {
    fn new(
        config: &'a HoldConfig,
        (store, files, redaction): (&Store, &Files, RedactionStage),
        saver: Saver,
    ) -> Result<Self, Error> {
        let clock = |error| Error::io("read the clock", error);
        let now = machine::ktime().map_err(clock)?;
        let ago = |age: Duration| KtimeNs(now.0.saturating_sub(unix_ns(age)));
        let mut ages: Vec<Duration> = store::ages(&store.saves, SystemTime::now()).collect();
        ages.sort_by_key(|age| std::cmp::Reverse(*age));
        let metrics = config.metrics.as_deref();
        let metrics = metrics.map(|path| Metrics::new(path, files)).transpose();
        Ok(Self {
            config,
            directory: store.directory.clone(),
            redaction,
            ring: Ring::new(config.last + config.after, config.max_memory),
            watch: Watch::new(),
            incidents: Incidents::new(
                (config.last, config.after),
                config.at_most,
                ages.into_iter().map(ago),
            ),
            saver,
            metrics: metrics.map_err(|error| Error::io("prepare the metrics", error))?,
            ask: Due::now(),
            look: Due::now(),
            checks: Due::now(),
            tell: Due::now(),
            saves: 0,
            failed: 0,
            said_too_small: false,
            metrics_failed: false,
        })
    }

    /// Keeps an input, and does what is due at a tick.
    fn take(&mut self, input: Input, live: &mut Live) -> Result<(), Error> {
        let is_tick = matches!(input, Input::Tick(_));
        self.keep(input)?;
        if is_tick {
            self.tick(live)?;
        }
        Ok(())
    }

    fn keep(&mut self, input: Input) -> Result<(), Error> {
        let Some(input) = self.redaction.input(input) else {
            return Ok(());
        };
        self.watch.take(&input);
        let kept = self.ring.take(&input);
        kept.map_err(|error| Error::io("keep what is traced", error))
    }

    fn tick(&mut self, live: &mut Live) -> Result<(), Error> {
        let now = self.watch.now();
        let watch = &mut self.watch;
        let questions = self.ask.run(Duration::ZERO, || watch.questions());
        live.ask(self.redaction.questions(questions.unwrap_or_default()));
        // With pseudonyms the addresses are not those of the machine.
        let trace = &self.config.trace;
        if trace.rules && trace.redact.is_none() {
            live.learned(self.watch.learned());
        }
        let watch = &mut self.watch;
        let checks = self.checks.run(CHECKS, || watch.questions_of_checks());
        live.ask(self.redaction.questions(checks.unwrap_or_default()));
        if let Some(findings) = self.look.run(LOOK, || watch.look()) {
            self.found(now, findings);
        }
        // What cannot be saved yet waits: the time before it is kept meanwhile.
        if self.saver.has_room()
            && let Some(incident) = self.incidents.due(now, false)
        {
            self.save(&incident)?;
        }
        let most = self.config.last.max(Duration::from_secs(60));
        if !self.incidents.is_pending() && self.watch.is_old(most) {
            self.watch.renew(self.ring.opening());
            let idle = IDLE.max(self.config.last * 2);
            live.forget_counters(KtimeNs(now.0.saturating_sub(unix_ns(idle))));
        }
        if self.ring.is_too_small() && !self.said_too_small {
            self.said_too_small = true;
            say!(
                "tracer: --max-memory holds {} of the {} that are asked for",
                seconds(self.ring.span()),
                seconds(self.config.last)
            );
        }
        self.tell(false);
        Ok(())
    }

    fn found(&mut self, now: KtimeNs, findings: Vec<Finding>) {
        for (finding, said) in self.incidents.see(now, findings) {
            match said {
                Said::Begun => {
                    say!(
                        "tracer: {}: {}; saving in {}",
                        finding.trouble.cause,
                        finding.summary,
                        seconds(self.config.after)
                    );
                }
                Said::Suppressed => {
                    say!(
                        "tracer: not saved, there were {} in the last hour: {}: {}",
                        self.config.at_most,
                        finding.trouble.cause,
                        finding.summary
                    );
                }
            }
        }
    }

    /// Somebody asks for a save.
    fn ask(&mut self) {
        // Before the first input the watch has no time yet.
        let now = machine::ktime().unwrap_or(self.watch.now());
        if self.incidents.ask(now) {
            say!("tracer: saving in {}", seconds(self.config.after));
        } else {
            say!("tracer: a save is on its way");
        }
    }

    fn save(&mut self, incident: &Incident) -> Result<(), Error> {
        let kept = self.ring.recording();
        let kept = kept.map_err(|error| Error::io("put together what is kept", error))?;
        let Some(kept) = kept else {
            return Ok(());
        };
        let now = machine::ktime().map_err(|error| Error::io("read the clock", error))?;
        let ago = Duration::from_nanos(now.since(incident.at));
        let at = SystemTime::now().checked_sub(ago);
        let at = at.and_then(|at| at.duration_since(SystemTime::UNIX_EPOCH).ok());
        let (why, found) = match &incident.why {
            Why::Found(finding) => (finding.trouble.cause.clone(), Some(finding.summary.clone())),
            Why::Asked => ("asked".to_owned(), None),
        };
        let request = Request {
            directory: self.directory.clone(),
            at_unix_ns: unix_ns(at.unwrap_or_default()),
            why,
            found,
            keep: self.config.keep,
            exec: self.config.exec.clone(),
            size: kept.size() as u64,
        };
        if let Err(why) = self.saver.save(request, kept) {
            self.failed += 1;
            say!("tracer: cannot save: {why}");
        }
        Ok(())
    }

    /// Says what became of a save.
    fn answered(&mut self, answer: &Answer) {
        if let Some(error) = &answer.error {
            self.failed += 1;
            say!("tracer: cannot save: {error}");
            return;
        }
        self.saves += 1;
        let removed = match answer.removed {
            0 => String::new(),
            n => format!("; {} removed", figures::counted(n, "older save")),
        };
        say!(
            "tracer: saved {} ({}): {}: {}{removed}",
            answer.recording.display(),
            seconds(Duration::from_millis(answer.duration_ms)),
            answer.cause.as_deref().unwrap_or(&answer.outcome),
            answer.summary
        );
    }

    /// Writes the metrics when it is time to, or now.
    fn tell(&mut self, now: bool) {
        let Some(metrics) = &self.metrics else {
            return;
        };
        if now {
            self.tell = Due::now();
        }
        let watch = &mut self.watch;
        let mut figures = || Figures {
            lost: watch.lost(),
            followed: watch.followed(),
            saves: self.saves,
            suppressed: self.incidents.suppressed(),
            failed: self.failed,
            kept: (self.ring.memory(), self.ring.span().as_secs_f64()),
            losses: watch.session().counted_losses().clone(),
            cost: watch.session().host().cost.clone(),
        };
        let written = self.tell.run(METRICS, || metrics.write(&figures()));
        match written {
            Some(Err(error)) if !self.metrics_failed => {
                self.metrics_failed = true;
                say!("tracer: cannot write the metrics: {error}");
            }
            Some(Ok(())) => self.metrics_failed = false,
            _ => {}
        }
    }

    /// Saves what was to be saved, and says what was done.
    async fn end(mut self) -> Result<(), Error> {
        let now = self.watch.now();
        while !self.saver.has_room() {
            let answer = self.saver.answer().await;
            self.answered(&answer);
        }
        if let Some(incident) = self.incidents.due(now, true) {
            self.save(&incident)?;
        }
        while self.saver.is_busy() {
            let answer = self.saver.answer().await;
            self.answered(&answer);
        }
        self.tell(true);
        let (packets, flows) = self.watch.followed();
        say!(
            "tracer: {} of {} followed, {}, {} refused, {} failed",
            figures::counted(packets, "packet"),
            figures::counted(flows, "flow"),
            figures::counted(self.saves, "save"),
            self.incidents.suppressed(),
            self.failed
        );
        Ok(())
    }
}

fn seconds(time: Duration) -> String {
    figures::duration(unix_ns(time), &UNICODE)
}
