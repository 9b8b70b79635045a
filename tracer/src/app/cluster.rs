//! `tracer cluster`: several nodes traced at once, each by a tracer there, and shown as one trace.
//!
//! While it runs, the trace is recomputed from its start whenever its assumptions turn out to be wrong
//! ([`LiveMerge::is_outdated`]); in the end it is merged once more, from all that was kept, as `tracer merge` would.

use std::collections::BTreeMap;
use std::time::{Duration, Instant as Clock};

use tokio::time::{Instant, Interval, MissedTickBehavior, interval};

use super::display::Display;
use super::files::{Files, Wanted};
use super::kept::KeptInputs;
use super::output::Output;
use super::recording_file::PendingRecording;
use super::redaction::RedactionStage;
use super::serve::Shown;
use super::work::{Part, Work};
use super::{
    Signals, confine, display, due, finish, look, pending, reached, runtime, serve, show, take,
    tell_of_text, until,
};
use crate::config::ClusterConfig;
use crate::error::{Error, ExitStatus};
use crate::host::facts::{Fact, NodeId};
use crate::model::KtimeNs;
use crate::restrict::Role;
use crate::session::Session;
use crate::source::cluster::{Cluster, Message, PATIENCE};
use crate::source::merge::{LiveMerge, MergeError, Merger, News};
use crate::source::{EndReason, Input};
use crate::tui::Effect;

/// Between two looks at what became of the nodes.
const LOOK: Duration = Duration::from_millis(100);
/// How long nodes may take to end their traces.
const ENDING: Duration = Duration::from_secs(20);

/// Traces on all nodes until asked to end, then writes the report. Gives the exit status.
///
/// # Errors
/// When no node could be traced, or an output cannot be written.
pub fn cluster(config: &ClusterConfig) -> Result<ExitStatus, Error> {
    let trace = &config.trace;
    let runtime = runtime()?;
    let mut output = Output::open(&trace.output)?;
    tell_of_text(trace.output.text_because);
    let wanted = Wanted::default()
        .beside(trace.record.as_ref().map(|to| to.path.as_path()))
        .saved(trace.output.screen.is_some());
    let files = Files::start(wanted)?;
    let pending = pending(trace.record.as_ref(), &files)?;
    let merged = runtime.block_on(run(config, (files, pending), &mut output))?;
    finish(
        &mut output,
        &merged.session,
        merged.kept,
        trace.output.check,
    )
}

async fn run(
    config: &ClusterConfig,
    (files, pending): (Files, Option<PendingRecording>),
    output: &mut Output,
) -> Result<MergedTrace, Error> {
    let mut signals = Signals::listen()?;
    let keep = config.trace.output.screen.is_some() || output.wants_inputs();
    let redaction =
        RedactionStage::new(config.trace.redact.as_ref())?.with_names(config.names.clone());
    let merged = MergedTrace::new((&files, None), keep, redaction)?;
    let look = look(config.trace.output.screen);
    let cluster = Cluster::start(&config.nodes, config.keep.as_deref())?;
    // Its commands run with all that this had.
    confine(Role::Command, config.trace.verbosity);
    let display = display(look, &merged.session, output)?;
    let mut watch = Watch::new(config, cluster, merged, display);
    if watch.display.has_keys() {
        let names: Vec<&str> = watch.names.values().map(String::as_str).collect();
        let names = names.join(", ");
        watch.display.say(&format!("waiting for {names} to begin"));
    }
    let asked = watch.follow(&mut signals).await?;
    let Watch {
        mut merged,
        mut display,
        ..
    } = watch.end(pending)?;
    display.show(&merged.session);
    if !asked {
        tokio::select! {
            () = signals.any() => {}
            shown = show(&mut display, &mut merged.kept) => shown?,
        }
    }
    display.close();
    if let Some(text) = merged.kept.finish() {
        display.say(&text);
    }
    Ok(merged)
}

/// The trace of all nodes, as far as it is merged.
struct MergedTrace {
    session: Session,
    kept: KeptInputs,
    /// All inputs are kept, for what is saved of them.
    keep: bool,
    redaction: RedactionStage,
    /// Who reads events has those until then already.
    read_until: Option<KtimeNs>,
}

impl MergedTrace {
    fn new(
        (files, pending): (&Files, Option<PendingRecording>),
        keep: bool,
        mut redaction: RedactionStage,
    ) -> Result<Self, Error> {
        let kept = KeptInputs::begin(files, pending, keep)
            .map_err(|error| Error::io("write the recording", error))?;
        Ok(Self {
            session: redaction.session(),
            kept,
            keep,
            redaction,
            read_until: None,
        })
    }

    /// An empty trace with the same settings, to be merged again.
    fn afresh(&self, pending: Option<PendingRecording>) -> Result<Self, Error> {
        let files = self.kept.files();
        Self::new((files, pending), self.keep, self.redaction.afresh())
    }

    fn take(&mut self, input: Input, display: &mut Display<'_>) {
        let Some(input) = self.redaction.input(input) else {
            return;
        };
        let is_read = self
            .read_until
            .is_some_and(|until| input.at().is_none_or(|at| at <= until));
        let mut nobody = Display::nobody();
        let display = if is_read { &mut nobody } else { display };
        take(&mut self.session, &mut self.kept, display, &input);
    }
}

/// The trace while it runs.
struct Watch<'a> {
    config: &'a ClusterConfig,
    cluster: Cluster,
    merge: LiveMerge,
    merged: MergedTrace,
    display: Display<'a>,
    work: Work,
    looks: Interval,
    ready: bool,
    /// What nodes sent cannot be read again: the trace stays as it is.
    unkept: bool,
    ending: Option<EndReason>,
    /// What nodes are called where a person reads it.
    names: BTreeMap<NodeId, String>,
    /// How nodes have gone.
    ends: BTreeMap<NodeId, String>,
    /// When nodes that have not ended are reported, and late ones are no longer waited for.
    patient_until: Option<Instant>,
    deadline: Option<Instant>,
}

impl<'a> Watch<'a> {
    fn new(
        config: &'a ClusterConfig,
        cluster: Cluster,
        merged: MergedTrace,
        display: Display<'a>,
    ) -> Self {
        let told_names = config.nodes.iter().map(|node| node.name.as_str());
        let hidden = config.trace.redact.is_some();
        let names = config.nodes.iter().enumerate().map(|(n, node)| {
            if hidden {
                format!("#{}", n + 1)
            } else {
                node.name.clone()
            }
        });
        let names: BTreeMap<NodeId, String> = (0..).map(NodeId).zip(names).collect();
        let mut looks = interval(LOOK);
        looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        Self {
            config,
            cluster,
            merge: LiveMerge::new((0..).map(NodeId).zip(told_names), Clock::now()),
            merged,
            display,
            work: Work::default(),
            looks,
            ready: false,
            unkept: false,
            ending: None,
            names,
            ends: BTreeMap::new(),
            patient_until: None,
            deadline: None,
        }
    }

    /// Takes in what nodes send until all have ended. Whether a person ended it.
    async fn follow(&mut self, signals: &mut Signals) -> Result<bool, Error> {
        let mut asked = false;
        while !self.cluster.is_over() {
            let open = self.ending.is_none();
            let end = tokio::select! {
                biased;
                () = signals.any() => {
                    asked = true;
                    EndReason::Asked
                }
                () = until(self.deadline) => EndReason::Duration,
                effect = self.display.next(), if open => match effect? {
                    Effect::Quit => {
                        asked = true;
                        EndReason::Asked
                    }
                    effect => {
                        serve(effect, &mut self.display, &mut self.merged.kept, Shown::Cluster);
                        continue;
                    }
                },
                part = due(&self.work) => match self.work(part) {
                    Some(reason) if open => reason,
                    _ => continue,
                },
                _ = self.looks.tick() => {
                    self.look()?;
                    continue;
                }
                message = self.cluster.recv() => {
                    self.message(message);
                    continue;
                }
            };
            self.stop(end);
            if asked {
                self.display.close();
            }
        }
        Ok(asked)
    }

    /// Asks the nodes to end; the second time it is no question any more.
    fn stop(&mut self, reason: EndReason) {
        if self.ending.is_some() {
            self.cluster.kill();
        } else {
            self.ending = Some(reason);
            self.patient_until = Some(Instant::now() + PATIENCE);
        }
        self.cluster.stop();
        self.deadline = Some(Instant::now() + ENDING);
    }

    fn work(&mut self, part: Part) -> Option<EndReason> {
        let begun = Instant::now();
        let mut found = None;
        match part {
            // each node asks its own
            Part::Ask => {}
            Part::Look => self.display.look(&self.merged.session),
            Part::Judge => found = reached(&self.config.trace, &self.merged.session),
        }
        self.work.done(begun);
        found
    }

    fn message(&mut self, message: Message) {
        match message {
            Message::Input(node, input) => {
                if let Some(news) = self.merge.take(node, input, Clock::now()) {
                    self.tell(news);
                }
                self.fold_ready();
            }
            Message::Said(node, line) => {
                // of what its tracer says of itself, that it is ready shows anyhow
                let line = line.strip_prefix("tracer: ").unwrap_or(&line);
                let shown = self.config.trace.verbosity > 0 || !line.starts_with("ready:");
                if shown && !self.is_hidden() {
                    let line = format!("{}: {line}", self.name(node));
                    self.display.say(&line);
                }
            }
            // its command is about to end: that tells more
            Message::Over(..) | Message::Silent(_) => {}
        }
    }

    /// Tells what is known by now.
    fn fold_ready(&mut self) {
        while let Some(input) = self.merge.pop() {
            let begun = Instant::now();
            let ticks = matches!(input, Input::Tick(_));
            if ticks && self.ending.is_none() && self.work.rests() {
                continue;
            }
            self.merged.take(input, &mut self.display);
            if ticks {
                self.work.begin(begun);
            }
        }
    }

    /// Looks what became of the nodes.
    fn look(&mut self) -> Result<(), Error> {
        let now = Clock::now();
        for gone in self.cluster.reap() {
            self.merge.gone(gone.node);
            if self.ending.is_none() || !gone.whole {
                let how = if self.is_hidden() {
                    "its command has ended"
                } else {
                    &gone.how
                };
                let line = format!("{} is gone: {how}", self.name(gone.node));
                self.display.say(&line);
            }
            self.ends.insert(gone.node, gone.how);
        }
        for news in self.merge.look(now) {
            self.tell(news);
        }
        if !self.unkept
            && let Some(why) = self.cluster.unkept()
        {
            self.unkept = true;
            self.display.say(&format!(
                "what nodes send can no longer be stored ({why}): the current clock estimates are kept"
            ));
        }
        if !self.unkept && self.ending.is_none() && self.merge.is_outdated(now) {
            self.retell()?;
        }
        if !self.ready && self.merge.is_complete(now) {
            let whole = self.config.trace.duration;
            self.deadline = self.deadline.or(whole.map(|whole| Instant::now() + whole));
            let begun: Vec<&str> = self.merge.begun().map(|node| self.name(node)).collect();
            let (n, all, begun) = (begun.len(), self.names.len(), begun.join(", "));
            // where none has begun in time, it is said when the first one does
            if n > 0 {
                self.ready = true;
                self.display
                    .say(&format!("ready: {n} of {all} nodes: {begun}"));
            }
        }
        if self
            .patient_until
            .is_some_and(|until| until < Instant::now())
        {
            self.patient_until = None;
            let silent: Vec<NodeId> = self.merge.silent().collect();
            let left = self.cluster.left().filter(|node| !silent.contains(node));
            let left: Vec<&str> = left.map(|node| self.name(node)).collect();
            if !left.is_empty() {
                let left = left.join(", ");
                self.display.say(&format!(
                    "waiting for the end of {left} (Ctrl-C does not wait)"
                ));
            }
            silent
                .into_iter()
                .for_each(|node| self.cluster.kill_node(node));
        }
        self.fold_ready();
        Ok(())
    }

    /// Tells the trace from its start, with what is known now. Who reads events has read them already.
    fn retell(&mut self) -> Result<(), Error> {
        let Self {
            cluster,
            merge,
            merged,
            display,
            ..
        } = self;
        let mut again = merged.afresh(None)?;
        let told_before = !display.has_keys() && merged.session.trace().events > 0;
        again.read_until = told_before.then_some(merged.session.trace().now);
        display.restart(&again.session);
        merge
            .retell(
                |node| cluster.again(node).ok(),
                |input| again.take(input, display),
            )
            .map_err(failed)?;
        *merged = again;
        display.show(&merged.session);
        Ok(())
    }

    fn tell(&mut self, news: News) {
        let (node, what) = match news {
            // one line will name all that begin together
            News::Begun(_) if !self.ready && self.config.trace.verbosity == 0 => return,
            News::Begun(node) => (node, "traces"),
            News::Slow(node) => (node, "has sent nothing yet: it is waited for"),
            News::Silent(node) => (
                node,
                "has still sent nothing, and is not waited for any longer (a command that asks something gets no answer)",
            ),
            News::Late(node) => (
                node,
                "is late: nothing comes from it, and it is not waited for",
            ),
            News::Back(node) => (node, "is back"),
        };
        let line = format!("{} {what}", self.name(node));
        self.display.say(&line);
    }

    fn name(&self, node: NodeId) -> &str {
        self.names.get(&node).map_or("", String::as_str)
    }

    /// With pseudonyms, what commands say on their own may hold originals.
    fn is_hidden(&self) -> bool {
        self.config.trace.redact.is_some()
    }

    /// All nodes have ended: the trace as it is in the end.
    fn end(mut self, pending: Option<PendingRecording>) -> Result<Self, Error> {
        if self.merge.begun().next().is_none() {
            self.display.close();
            let all = self.names.len();
            return Err(
                Error::runtime(format!("none of {all} nodes could be traced"))
                    .hint("run the command of --node by itself, followed by `tracer --version`"),
            );
        }
        self.fold_ready();
        let reason = self.ending.unwrap_or(EndReason::Asked);
        if self.unkept {
            if pending.is_some() {
                self.display
                    .say("there is no recording: what nodes sent was not stored");
            }
            let end = self.merge.end(reason);
            self.merged.take(end, &mut self.display);
            return Ok(self);
        }
        let nodes = self.merge.scans().into_iter().map(|(id, scan, taken)| {
            let again = self.cluster.again(id).map_err(|error| {
                Error::runtime("cannot read again what nodes sent").caused_by(error)
            })?;
            Ok((id, scan, again.take(taken)))
        });
        let merger = Merger::new(nodes.collect::<Result<_, Error>>()?);
        // a report that waited for all nodes is not lost for a recording that cannot be written
        let mut merged = match self.merged.afresh(pending) {
            Ok(merged) => merged,
            Err(error) => {
                self.display.say(&error.one_line());
                self.merged.afresh(None)?
            }
        };
        self.display.restart(&merged.session);
        let shown = self.display.has_keys();
        let mut nobody = Display::nobody();
        for input in merger {
            let input = input.map_err(failed)?;
            let Input::End(at, _) = input else {
                let display = if shown {
                    &mut self.display
                } else {
                    &mut nobody
                };
                merged.take(input, display);
                continue;
            };
            for node in self.merge.missing() {
                let fact = Fact::Unread {
                    what: format!("node {}", self.name(node)),
                    why: match self.ends.get(&node) {
                        Some(how) if !self.is_hidden() => how.clone(),
                        _ => "it did not trace".to_owned(),
                    },
                };
                merged.take(Input::Host(at, fact), &mut nobody);
            }
            merged.take(Input::End(at, reason), &mut nobody);
        }
        self.merged = merged;
        Ok(self)
    }
}

fn failed(error: MergeError) -> Error {
    Error::runtime("cannot merge what nodes sent").caused_by(error)
}
