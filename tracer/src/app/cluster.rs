//! `tracer cluster`: several nodes traced at once, each by a tracer there, and shown as one trace.
//!
//! While it runs, the trace is told again from its start whenever it turns out that it was told wrong
//! ([`Gather::is_outdated`]); in the end it is merged once more, from all that was kept, as `tracer merge` would.

use std::collections::BTreeMap;
use std::time::{Duration, Instant as Clock};

use tokio::time::{Instant, Interval, MissedTickBehavior, interval};

use super::front::Front;
use super::output::Output;
use super::reel::{Blank, Reel};
use super::serve::Behind;
use super::tape::Tape;
use super::veil::Veil;
use super::work::{Part, Work};
use super::{
    Signals, due, finish, front, reached, runtime, serve, show, take, tell_of_text, until,
};
use crate::config::ClusterConfig;
use crate::error::{Error, ExitStatus};
use crate::host::facts::{Fact, NodeId};
use crate::model::KtimeNs;
use crate::session::Session;
use crate::source::cluster::{Cluster, Message, PATIENCE};
use crate::source::merge::{Gather, MergeError, Merger, News};
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
    let blank = trace.record.as_ref().map(Reel::create).transpose()?;
    let told = runtime.block_on(run(config, blank, &mut output))?;
    finish(&mut output, &told.session, told.tape, trace.output.check)
}

async fn run(
    config: &ClusterConfig,
    blank: Option<Blank>,
    output: &mut Output,
) -> Result<Told, Error> {
    let mut signals = Signals::listen()?;
    let kept = config.trace.output.screen.is_some() || output.wants_inputs();
    let told = Told::new(None, kept, Veil::new(config.trace.redact.as_ref())?)?;
    let cluster = Cluster::start(&config.nodes, config.keep.as_deref())?;
    let front = front(config.trace.output.screen, &told.session, output)?;
    let mut watch = Watch::new(config, cluster, told, front);
    if watch.front.has_keys() {
        let names: Vec<&str> = watch.names.values().map(String::as_str).collect();
        let names = names.join(", ");
        watch.front.say(&format!("waiting for {names} to begin"));
    }
    let asked = watch.follow(&mut signals).await?;
    let Watch {
        mut told,
        mut front,
        ..
    } = watch.end(blank)?;
    front.show(&told.session);
    if !asked {
        tokio::select! {
            () = signals.any() => {}
            shown = show(&mut front, &mut told.tape) => shown?,
        }
    }
    front.close();
    if let Some(text) = told.tape.finish() {
        front.say(&text);
    }
    Ok(told)
}

/// A trace as it was told.
struct Told {
    session: Session,
    tape: Tape,
    /// All inputs are kept, for what is saved of them.
    kept: bool,
    veil: Veil,
    /// Who reads events has those until then already.
    read_until: Option<KtimeNs>,
}

impl Told {
    fn new(blank: Option<Blank>, kept: bool, veil: Veil) -> Result<Self, Error> {
        let tape =
            Tape::begin(blank, kept).map_err(|error| Error::io("write the recording", error))?;
        Ok(Self {
            session: Session::default(),
            tape,
            kept,
            veil,
            read_until: None,
        })
    }

    /// The same trace, to be told once more.
    fn afresh(&self, blank: Option<Blank>) -> Result<Self, Error> {
        Self::new(blank, self.kept, self.veil.afresh())
    }

    fn take(&mut self, input: Input, front: &mut Front<'_>) {
        let Some(input) = self.veil.input(input) else {
            return;
        };
        let is_read = self
            .read_until
            .is_some_and(|until| input.at().is_none_or(|at| at <= until));
        let mut nobody = Front::nobody();
        let front = if is_read { &mut nobody } else { front };
        take(&mut self.session, &mut self.tape, front, &input);
    }
}

/// The trace while it runs.
struct Watch<'a> {
    config: &'a ClusterConfig,
    cluster: Cluster,
    gather: Gather,
    told: Told,
    front: Front<'a>,
    work: Work,
    looks: Interval,
    ready: bool,
    /// What nodes sent cannot be read again: the trace stays as it was told.
    unkept: bool,
    ending: Option<EndReason>,
    /// What nodes are called where a person reads it.
    names: BTreeMap<NodeId, String>,
    /// How nodes have gone.
    ends: BTreeMap<NodeId, String>,
    /// When nodes that do not end by then are told of, and those that were late are not waited for.
    patient_until: Option<Instant>,
    deadline: Option<Instant>,
}

impl<'a> Watch<'a> {
    fn new(config: &'a ClusterConfig, cluster: Cluster, told: Told, front: Front<'a>) -> Self {
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
            gather: Gather::new((0..).map(NodeId).zip(told_names), Clock::now()),
            told,
            front,
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
                effect = self.front.next(), if open => match effect? {
                    Effect::Quit => {
                        asked = true;
                        EndReason::Asked
                    }
                    effect => {
                        serve(effect, &mut self.front, &mut self.told.tape, Behind::Cluster);
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
                self.front.close();
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
            Part::Look => self.front.look(&self.told.session),
            Part::Judge => found = reached(&self.config.trace, &self.told.session),
        }
        self.work.done(begun);
        found
    }

    fn message(&mut self, message: Message) {
        match message {
            Message::Input(node, input) => {
                if let Some(news) = self.gather.take(node, input, Clock::now()) {
                    self.tell(news);
                }
                self.weave();
            }
            Message::Said(node, line) => {
                // of what its tracer says of itself, that it is ready shows anyhow
                let line = line.strip_prefix("tracer: ").unwrap_or(&line);
                let told = self.config.trace.verbosity > 0 || !line.starts_with("ready:");
                if told && !self.is_hidden() {
                    let line = format!("{}: {line}", self.name(node));
                    self.front.say(&line);
                }
            }
            // its command is about to end: that tells more
            Message::Over(..) => {}
        }
    }

    /// Tells what is known by now.
    fn weave(&mut self) {
        while let Some(input) = self.gather.pop() {
            let begun = Instant::now();
            let ticks = matches!(input, Input::Tick(_));
            if ticks && self.ending.is_none() && self.work.rests() {
                continue;
            }
            self.told.take(input, &mut self.front);
            if ticks {
                self.work.begin(begun);
            }
        }
    }

    /// Looks what became of the nodes.
    fn look(&mut self) -> Result<(), Error> {
        let now = Clock::now();
        for gone in self.cluster.reap() {
            self.gather.gone(gone.node);
            if self.ending.is_none() || !gone.whole {
                let how = if self.is_hidden() {
                    "its command has ended"
                } else {
                    &gone.how
                };
                let line = format!("{} has gone: {how}", self.name(gone.node));
                self.front.say(&line);
            }
            self.ends.insert(gone.node, gone.how);
        }
        for news in self.gather.look(now) {
            self.tell(news);
        }
        if !self.unkept
            && let Some(why) = self.cluster.unkept()
        {
            self.unkept = true;
            self.front.say(&format!(
                "what nodes send cannot be kept any more ({why}): clocks are taken as they are known by now"
            ));
        }
        if !self.unkept && self.ending.is_none() && self.gather.is_outdated(now) {
            self.retell()?;
        }
        if !self.ready && self.gather.is_complete(now) {
            self.ready = true;
            let whole = self.config.trace.duration;
            self.deadline = self.deadline.or(whole.map(|whole| Instant::now() + whole));
            let begun: Vec<&str> = self.gather.begun().map(|node| self.name(node)).collect();
            if !begun.is_empty() {
                let (n, all, begun) = (begun.len(), self.names.len(), begun.join(", "));
                self.front
                    .say(&format!("ready: {n} of {all} nodes: {begun}"));
            }
        }
        if self
            .patient_until
            .is_some_and(|until| until < Instant::now())
        {
            self.patient_until = None;
            let silent: Vec<NodeId> = self.gather.silent().collect();
            let left = self.cluster.left().filter(|node| !silent.contains(node));
            let left: Vec<&str> = left.map(|node| self.name(node)).collect();
            if !left.is_empty() {
                let left = left.join(", ");
                self.front.say(&format!(
                    "waiting for the end of {left} (Ctrl-C does not wait)"
                ));
            }
            silent
                .into_iter()
                .for_each(|node| self.cluster.kill_node(node));
        }
        self.weave();
        Ok(())
    }

    /// Tells the trace from its start, with what is known now. Who reads events has read them already.
    fn retell(&mut self) -> Result<(), Error> {
        let Self {
            cluster,
            gather,
            told,
            front,
            ..
        } = self;
        let mut again = told.afresh(None)?;
        let told_before = !front.has_keys() && told.session.trace().events > 0;
        again.read_until = told_before.then_some(told.session.trace().now);
        front.restart(&again.session);
        gather
            .retell(
                |node| cluster.again(node).ok(),
                |input| again.take(input, front),
            )
            .map_err(failed)?;
        *told = again;
        front.show(&told.session);
        Ok(())
    }

    fn tell(&mut self, news: News) {
        let (node, what) = match news {
            // one line will name all that begin together
            News::Begun(_) if !self.ready && self.config.trace.verbosity == 0 => return,
            News::Begun(node) => (node, "traces"),
            News::Silent(node) => (
                node,
                "has sent nothing yet, and is not waited for any longer (a command that asks something gets no answer)",
            ),
            News::Late(node) => (
                node,
                "is late: nothing comes from it, and it is not waited for",
            ),
            News::Back(node) => (node, "is back"),
        };
        let line = format!("{} {what}", self.name(node));
        self.front.say(&line);
    }

    fn name(&self, node: NodeId) -> &str {
        self.names.get(&node).map_or("", String::as_str)
    }

    /// With pseudonyms, what commands say on their own may hold originals.
    fn is_hidden(&self) -> bool {
        self.config.trace.redact.is_some()
    }

    /// All nodes have ended: the trace as it is in the end.
    fn end(mut self, blank: Option<Blank>) -> Result<Self, Error> {
        if self.gather.begun().next().is_none() {
            self.front.close();
            let all = self.names.len();
            return Err(
                Error::runtime(format!("none of {all} nodes could be traced"))
                    .hint("run the command of --node by itself, with `tracer --version` behind it"),
            );
        }
        self.weave();
        let reason = self.ending.unwrap_or(EndReason::Asked);
        if self.unkept {
            if blank.is_some() {
                self.front
                    .say("there is no recording: what nodes sent was not kept");
            }
            let end = self.gather.end(reason);
            self.told.take(end, &mut self.front);
            return Ok(self);
        }
        let nodes = self
            .gather
            .surveys()
            .into_iter()
            .map(|(id, survey, taken)| {
                let again = self.cluster.again(id).map_err(|error| {
                    Error::runtime("cannot read again what nodes sent").caused_by(error)
                })?;
                Ok((id, survey, again.take(taken)))
            });
        let merger = Merger::new(nodes.collect::<Result<_, Error>>()?);
        // a report that waited for all nodes is not lost for a recording that cannot be written
        let mut told = match self.told.afresh(blank) {
            Ok(told) => told,
            Err(error) => {
                self.front.say(&error.one_line());
                self.told.afresh(None)?
            }
        };
        self.front.restart(&told.session);
        let shown = self.front.has_keys();
        let mut nobody = Front::nobody();
        for input in merger {
            let input = input.map_err(failed)?;
            let Input::End(at, _) = input else {
                let front = if shown { &mut self.front } else { &mut nobody };
                told.take(input, front);
                continue;
            };
            for node in self.gather.missing() {
                let fact = Fact::Unread {
                    what: format!("node {}", self.name(node)),
                    why: match self.ends.get(&node) {
                        Some(how) if !self.is_hidden() => how.clone(),
                        _ => "it did not trace".to_owned(),
                    },
                };
                told.take(Input::Host(at, fact), &mut nobody);
            }
            told.take(Input::End(at, reason), &mut nobody);
        }
        self.told = told;
        Ok(self)
    }
}

fn failed(error: MergeError) -> Error {
    Error::runtime("cannot merge what nodes sent").caused_by(error)
}
