//! The control thread: owns probes and namespaces, answers questions, reads counters, tells the time.

use std::collections::BTreeMap;
use std::io;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender};
use std::thread;
use std::time::{Duration, Instant};

use tokio::sync::mpsc;

use super::cost::{Meter, Step};
use super::filters::ChangedFilters;
use super::forward::{Forwarder, Progress};
use super::scope::Scope;
use super::{Message, Ready, Waiting};
use crate::config::{Config, CpuShare};
use crate::decode::packet::{self, Start, ethertype};
use crate::error::Error;
use crate::filter::Compiled;
use crate::host::answers;
use crate::host::facts::{
    Also, Fact, Link, Probe, ProbeState, Question, RuleTrace, Run, TracedPacket,
};
use crate::host::machine::{self, Clock, Machine};
use crate::host::namespaces::{Namespaces, NetnsFd};
use crate::host::watch::{HostChange, Watcher};
use crate::kernel::nftrace::{self, RuleTracing};
use crate::kernel::{Kernel, KernelError, LoadOptions, Running, Target};
use crate::model::{Device, KtimeNs, NetNs, Tuple};
use crate::restrict::{Role, restrict};
use crate::source::Input;

/// The thread's name. What the kernel looks up when this thread asks for a route is no traffic (see `forward`).
pub(super) const THREAD: &str = "tracer-control";
/// Between two ticks.
const TICK: Duration = Duration::from_millis(100);
/// A tick follows answers by so much: one that came sooner after the last would not be judged (`session`).
const AFTER_ANSWERS: Duration = Duration::from_millis(25);
/// Longest wait of the watcher: how late it sees that nobody listens any more.
const WATCH: Duration = Duration::from_millis(250);
/// Ticks between two reads of the counters.
const COUNTERS_EVERY: u32 = 5;

/// What the control thread is told.
#[derive(Debug)]
pub(super) enum Command {
    /// Answer these.
    Ask(Vec<Question>),
    /// Follow this from now on.
    Refilter(Box<Compiled>),
    /// Names of the expression have come to stand for more.
    Grow(Box<Compiled>),
    /// Packets of the flows have these tuples too.
    Learned(Vec<Tuple>),
    /// Follow this too.
    Also(Box<Compiled>),
    /// The machine changed.
    Changes(Vec<HostChange>),
    /// Rows of counters that have not changed since then are of no use any more.
    Forget(KtimeNs),
    /// Another thread cannot go on.
    Failed(Error),
    /// No more records: detach, drain, say so.
    Stop,
    /// Take everything out and end.
    Quit,
}

/// Why the thread ends.
enum Exit {
    /// It was told to, or nobody listens any more.
    Quit,
    /// Something broke.
    Failed(Error),
}

impl<T> From<mpsc::error::SendError<T>> for Exit {
    fn from(_: mpsc::error::SendError<T>) -> Self {
        Self::Quit
    }
}

impl From<io::Error> for Exit {
    fn from(error: io::Error) -> Self {
        Self::Failed(clock(error))
    }
}

impl From<KernelError> for Exit {
    fn from(error: KernelError) -> Self {
        Self::Failed(error.into())
    }
}

/// Of the system calls on the way only the clock has no error of its own.
fn clock(error: io::Error) -> Error {
    Error::io("read the clock or the machine's name", error)
}

/// Kind of the interfaces that Open vSwitch makes: that of a datapath, and internal ports.
const OPENVSWITCH: &str = "openvswitch";

/// The thread's state.
pub(super) struct Control {
    kernel: Kernel,
    scope: Scope,
    namespaces: Namespaces,
    links: BTreeMap<Device, Link>,
    /// Open vSwitch is at work, and what it tells is taken in.
    switched: bool,
    reading: Option<Running>,
    rules: Option<RuleTracing>,
    progress: Progress,
    run: Run,
    meter: Meter,
    /// All programs are attached, and the filter is in force.
    armed: bool,
    /// From when on rows of counters are read next.
    counted: KtimeNs,
    waiting: Waiting,
    filters: ChangedFilters,
    to: mpsc::Sender<Message>,
}

impl Control {
    /// Loads and attaches everything, tracepoints first: they cover all namespaces at once. The inputs stand before
    /// everything that comes through the channel.
    pub(super) fn start(
        config: &Config,
        to: mpsc::Sender<Message>,
        commands: Sender<Command>,
        waiting: Waiting,
    ) -> Result<(Self, Ready, Vec<Input>), Error> {
        // The two slow parts, the kernel's types and the machine's namespaces, are read side by side.
        let places = config.names.clone();
        let follow_filters = config.follow_filters;
        let watching = thread::Builder::new()
            .spawn(move || {
                Watcher::new(places).map(|(mut watcher, changes)| {
                    if follow_filters {
                        watcher.follow_filters();
                    }
                    (watcher, changes)
                })
            })
            .map_err(Error::no_thread)?;
        let mut kernel = Kernel::load(&LoadOptions {
            btf: config.btf.clone(),
            snaplen: config.snaplen,
            budget: config.budget,
            verifier_log: config.verbosity >= 2,
        })?;
        let (watcher, changes) = watching
            .join()
            .unwrap_or_else(|panic| std::panic::resume_unwind(panic))
            .map_err(|e| Error::runtime("cannot follow the machine's namespaces").caused_by(e))?;
        let scope = Scope::new(config, &changes)?;
        let run = run(config, &scope).map_err(clock)?;
        let mut facts = vec![
            Fact::Run(Box::new(run.clone())),
            Fact::DropReasons(kernel.drop_reasons().clone()),
            Fact::ResetReasons(kernel.reset_reasons().clone()),
        ];
        let probes = kernel.attach_tracepoints();
        facts.extend(probes.into_iter().map(Fact::Probe));

        let reader = kernel
            .reader()
            .ok_or_else(|| Error::runtime("the ring buffer is already being read"))?;
        let progress = Progress::default();
        let mut forwarder = Forwarder::new(config.btf.clone(), to.clone(), progress.clone());
        let mut control = Self {
            kernel,
            scope,
            namespaces: Namespaces::default(),
            links: BTreeMap::new(),
            switched: false,
            reading: None,
            rules: config
                .rules
                .then(|| RuleTracing::new(&config.filter.clauses)),
            progress,
            run,
            meter: Meter::start(config.max_cpu.map(CpuShare::ns_per_s), config.budget)
                .map_err(clock)?,
            armed: false,
            counted: KtimeNs(0),
            waiting,
            filters: ChangedFilters::default(),
            to,
        };
        facts.extend(control.changed(changes)?);
        // Until now the programs do nothing: what passes some of them only would seem to be lost at the others.
        control.armed = true;
        control.set_filter()?;
        let attached =
            |fact: &&Fact| matches!(fact, Fact::Probe(it) if it.state == ProbeState::Attached);
        let tracepoints = facts.iter().filter(attached).count();
        let reading = reader
            .start(move |batch| forwarder.pass(batch))
            .map_err(|e| Error::runtime("cannot read the ring buffer").caused_by(e))?;
        control.reading = Some(reading);
        spawn_watcher(watcher, commands)?;
        control.meter.is_ready().map_err(clock)?;
        // What cannot be had is said of the loop's thread.
        restrict(Role::Machine);
        let ready = Ready {
            tracepoints,
            interfaces: control.kernel.watched(),
            namespaces: control.namespaces.iter().count(),
            took: Duration::ZERO,
        };
        let now = machine::ktime().map_err(clock)?;
        let inputs = facts
            .into_iter()
            .map(|fact| Input::Host(now, fact))
            .collect();
        Ok((control, ready, inputs))
    }

    /// Serves until told to end or until nobody listens.
    pub(super) fn run(mut self, commands: &Receiver<Command>) {
        if let Err(Exit::Failed(error)) = self.serve(commands) {
            // If the loop is gone too, there is nobody to tell.
            let _ = self.to.blocking_send(Message::Failed(error));
        }
    }

    fn serve(&mut self, commands: &Receiver<Command>) -> Result<(), Exit> {
        let mut next = Instant::now() + TICK;
        let mut ticks = 0u32;
        // What was asked decides what stands: that is not to wait for the next tick.
        let mut answered = None;
        loop {
            let due = answered.map_or(next, |at: Instant| next.min(at + AFTER_ANSWERS));
            match commands.recv_timeout(due.saturating_duration_since(Instant::now())) {
                Ok(Command::Ask(questions)) => {
                    self.answer(&questions)?;
                    answered = Some(Instant::now());
                }
                Ok(Command::Refilter(filter)) => self.refilter(&filter)?,
                Ok(Command::Grow(filter)) => self.grow(&filter)?,
                Ok(Command::Learned(tuples)) => {
                    // A rule that cannot be added is one packet less that is traced.
                    let _ = self.rules.as_mut().map(|rules| rules.learn(&tuples));
                }
                Ok(Command::Also(filter)) => self.also(*filter)?,
                // Once the probes are out, nothing is attached to what is new.
                Ok(Command::Changes(changes)) if changes.is_empty() || self.reading.is_none() => {}
                Ok(Command::Changes(changes)) => {
                    let facts = self.changed(changes)?;
                    self.tell(facts)?;
                }
                Ok(Command::Forget(before)) => self.kernel.forget_counters(before)?,
                Ok(Command::Failed(error)) => return Err(Exit::Failed(error)),
                Ok(Command::Stop) => self.stop()?,
                Ok(Command::Quit) | Err(RecvTimeoutError::Disconnected) => return Err(Exit::Quit),
                Err(RecvTimeoutError::Timeout) if due < next => {
                    answered = None;
                    self.send_tick()?;
                }
                Err(RecvTimeoutError::Timeout) => {
                    answered = None;
                    next += TICK;
                    ticks = ticks.wrapping_add(1);
                    self.tick(ticks)?;
                }
            }
        }
    }

    fn tick(&mut self, ticks: u32) -> Result<(), Exit> {
        if self.reading.is_none() {
            return Ok(());
        }
        if ticks.is_multiple_of(COUNTERS_EVERY) && !self.waiting.get() {
            self.send_counters(machine::ktime()?)?;
        }
        self.send_rule_traces()?;
        self.read_filters_again()?;
        self.meter(ticks)?;
        self.send_tick()
    }

    fn send_tick(&self) -> Result<(), Exit> {
        if self.reading.is_none() {
            return Ok(());
        }
        self.send(Input::Tick(self.progress.until(machine::ktime()?)))
    }

    /// Takes the probes out, hands on what they saw, and says that nothing more will come.
    fn stop(&mut self) -> Result<(), Exit> {
        self.kernel.disarm()?;
        // To detach them takes time in which nothing is seen: it is not part of what is judged.
        let until = machine::ktime()?;
        self.kernel.detach_all();
        if let Some(reading) = self.reading.take() {
            reading.stop().map_err(|e| {
                Exit::Failed(Error::runtime("cannot read the ring buffer").caused_by(e))
            })?;
        }
        self.send_counters(until)?;
        self.send_rule_traces()?;
        self.rules = None;
        self.tell(vec![Fact::Cost(self.meter.total(&self.kernel)?)])?;
        self.send(Input::Tick(until))?;
        Ok(self.to.blocking_send(Message::Drained)?)
    }

    fn refilter(&mut self, filter: &Compiled) -> Result<(), Exit> {
        self.scope.follow(filter);
        self.set_filter()?;
        if self.rules.take().is_some() {
            self.rules = Some(RuleTracing::new(&filter.clauses));
            let all: Vec<NetNs> = self.namespaces.iter().map(NetnsFd::netns).collect();
            let failed: Vec<Fact> = all
                .into_iter()
                .filter_map(|n| self.trace_rules(n))
                .collect();
            self.tell(failed)?;
        }
        follow(&mut self.run, filter);
        self.tell(vec![Fact::Run(Box::new(self.run.clone()))])
    }

    fn grow(&mut self, filter: &Compiled) -> Result<(), Exit> {
        self.scope.grow(filter);
        self.set_filter()?;
        // What cannot be marked is not traced through the rules, and is followed all the same.
        let _ = self.rules.as_mut().map(|rules| rules.also(&filter.clauses));
        let also = std::mem::take(&mut self.run.also);
        follow(&mut self.run, filter);
        self.run.also = also;
        self.tell(vec![Fact::Run(Box::new(self.run.clone()))])
    }

    /// Measures what tracer costs when it is time to, and gives up what it may not cost.
    fn meter(&mut self, ticks: u32) -> Result<(), Exit> {
        let Some(measured) = self.meter.tick(ticks, &self.kernel)? else {
            return Ok(());
        };
        let mut facts = Vec::new();
        match measured.step {
            Some(Step::Budget(budget)) => self.kernel.set_budget(budget)?,
            Some(Step::GiveUp(hook)) => {
                self.kernel.detach_tracepoint(hook);
                facts.push(Fact::Probe(Probe {
                    name: hook.to_owned(),
                    state: ProbeState::Failed,
                    detail: "given up: with it tracer needs more CPU time than --max-cpu allows"
                        .to_owned(),
                }));
            }
            Some(Step::End) | None => {}
        }
        facts.push(Fact::Cost(measured.cost));
        self.tell(facts)
    }

    /// What nf_tables told since the last time.
    fn send_rule_traces(&mut self) -> Result<(), Exit> {
        let Some(rules) = &mut self.rules else {
            return Ok(());
        };
        let mut facts = Vec::new();
        rules.drain(|netns, step| facts.push(rule_trace(netns, step)));
        self.tell(facts)
    }

    /// Begins to trace rules in a namespace; a failure becomes a fact.
    fn trace_rules(&mut self, netns: NetNs) -> Option<Fact> {
        let namespace = self.namespaces.get(netns)?;
        let mut links = self.links.values().filter(|l| l.device.netns == netns);
        let bridged = links.any(|l| l.kind == "bridge");
        if !self.scope.looks_into(netns) {
            return None;
        }
        let error = self.rules.as_mut()?.add(namespace, bridged).err()?;
        Some(Fact::Probe(Probe {
            name: format!("rules {}", self.scope.namespace(netns)),
            state: ProbeState::Failed,
            detail: error.to_string(),
        }))
    }

    fn also(&mut self, filter: Compiled) -> Result<(), Exit> {
        // What cannot be marked is not traced through the rules, and is followed all the same.
        let _ = self.rules.as_mut().map(|rules| rules.also(&filter.clauses));
        self.run.also.push(Also {
            expression: filter.expression.clone(),
            from: machine::ktime()?,
        });
        self.scope.add(filter);
        self.set_filter()?;
        self.tell(vec![Fact::Run(Box::new(self.run.clone()))])
    }

    /// Rows that changed since they were read the last time; those of the second before too, as a program may add to a row
    /// a little later than it read the clock.
    fn send_counters(&mut self, now: KtimeNs) -> Result<(), Exit> {
        const MARGIN: u64 = 1_000_000_000;
        let counters = self.kernel.counters(self.counted)?;
        self.counted = KtimeNs(now.0.saturating_sub(MARGIN));
        self.waiting.set(true);
        self.send(Input::Counters(now, counters))
    }

    /// Reads the packet filters that changed.
    fn read_filters_again(&mut self) -> Result<(), Exit> {
        let Some(netns) = self.filters.due(Instant::now()) else {
            return Ok(());
        };
        let begun = Instant::now();
        let facts = answers::answer(&Question::Chains { netns }, &self.namespaces);
        self.tell(facts)?;
        self.filters.read(netns, Instant::now(), begun.elapsed());
        Ok(())
    }

    fn answer(&mut self, questions: &[Question]) -> Result<(), Exit> {
        for question in questions {
            self.filters.asked(question);
            self.tell(answers::answer(question, &self.namespaces))?;
        }
        Ok(self.to.blocking_send(Message::Answered)?)
    }

    fn tell(&self, facts: Vec<Fact>) -> Result<(), Exit> {
        let now = machine::ktime()?;
        facts
            .into_iter()
            .try_for_each(|fact| self.send(Input::Host(now, fact)))
    }

    /// Puts the filter in force, once all programs are attached.
    fn set_filter(&mut self) -> Result<(), KernelError> {
        match self.armed {
            true => self.kernel.set_filter(self.scope.filter()),
            false => Ok(()),
        }
    }

    fn send(&self, input: Input) -> Result<(), Exit> {
        Ok(self.to.blocking_send(Message::Input(input))?)
    }

    /// Follows changes of the machine: attaches to what is new, gives up what is gone. The facts tell the rest of the
    /// pipeline.
    fn changed(&mut self, changes: Vec<HostChange>) -> Result<Vec<Fact>, KernelError> {
        let mut facts: Vec<Fact> = changes.iter().filter_map(HostChange::fact).collect();
        let mut new = Vec::new();
        let mut added = Vec::new();
        for change in changes {
            match change {
                HostChange::NamespaceAdded(handle, identity) => {
                    self.scope.called(handle.netns(), &identity.name);
                    added.push(handle.netns());
                    self.namespaces.insert(handle);
                }
                HostChange::NamespaceGone(netns) => {
                    let gone: Vec<Device> = self
                        .links
                        .keys()
                        .filter(|device| device.netns == netns)
                        .copied()
                        .collect();
                    for device in gone {
                        self.forget(device);
                    }
                    if let Some(rules) = &mut self.rules {
                        rules.remove(netns);
                    }
                    self.namespaces.remove(netns);
                    self.filters.forget(netns);
                }
                HostChange::LinkAdded(link) | HostChange::LinkChanged(link) => {
                    if self
                        .links
                        .insert(link.device, link.clone())
                        .is_none_or(|old| old.name != link.name)
                    {
                        new.push(link.device);
                    }
                    if self.scope.learn(&link) {
                        self.set_filter()?;
                    }
                }
                HostChange::LinkGone(device) => self.forget(device),
                HostChange::NamespaceRenamed(netns, identity) => {
                    self.scope.called(netns, &identity.name);
                }
                HostChange::Filters(netns) => self.filters.changed(netns, Instant::now()),
                HostChange::Addresses(..)
                | HostChange::Owners(_)
                | HostChange::Routing(_)
                | HostChange::Unread { .. } => {}
            }
        }
        facts.extend(self.attach(&new));
        facts.extend(self.attach_to_switch());
        if self.rules.is_some() {
            let added: Vec<Fact> = added
                .into_iter()
                .filter_map(|n| self.trace_rules(n))
                .collect();
            facts.extend(added);
        }
        let (watched, wanted) = (self.kernel.watched(), self.wanted().count());
        let generic_xdp = self.wanted().any(|link| link.generic_xdp);
        if self.scope.look_at_untagged(watched < wanted, generic_xdp) {
            self.set_filter()?;
        }
        facts.push(Fact::Coverage {
            covered: u32::try_from(watched).unwrap_or(u32::MAX),
            total: u32::try_from(wanted).unwrap_or(u32::MAX),
        });
        Ok(facts)
    }

    /// Attaches to the tracepoints of Open vSwitch when there is a datapath for the first time.
    fn attach_to_switch(&mut self) -> Vec<Fact> {
        let mut links = self.links.values();
        let is_there =
            links.any(|link| link.kind == OPENVSWITCH && self.scope.looks_into(link.device.netns));
        if self.switched || !is_there {
            return Vec::new();
        }
        self.switched = true;
        let probes = self.kernel.attach_module_tracepoints();
        probes.into_iter().map(Fact::Probe).collect()
    }

    fn forget(&mut self, device: Device) {
        let namespace = self.namespaces.get(device.netns);
        self.kernel.detach(device, namespace);
        self.links.remove(&device);
    }

    /// Interfaces that are to be watched.
    fn wanted(&self) -> impl Iterator<Item = &Link> {
        self.links.values().filter(|link| self.scope.wants(link))
    }

    /// Attaches to those of `devices` that are wanted; failures become facts.
    fn attach(&mut self, devices: &[Device]) -> Vec<Fact> {
        let targets: Vec<Target<'_>> = devices
            .iter()
            .filter_map(|device| {
                let link = self
                    .links
                    .get(device)
                    .filter(|link| self.scope.wants(link))?;
                let namespace = self.namespaces.get(device.netns)?;
                Some(Target {
                    device: *device,
                    arp_type: link.arp_type,
                    namespace,
                })
            })
            .collect();
        if targets.is_empty() {
            return Vec::new();
        }
        self.kernel
            .attach_interfaces(&targets)
            .into_iter()
            .filter_map(|outcome| {
                let error = outcome.result.err()?;
                let name = self
                    .links
                    .get(&outcome.device)
                    .map_or("?", |link| link.name.as_str());
                Some(Fact::Probe(Probe {
                    name: format!("tc {}/{name}", self.scope.namespace(outcome.device.netns)),
                    state: ProbeState::Failed,
                    detail: error.to_string(),
                }))
            })
            .collect()
    }
}

/// A step over rules as a fact.
fn rule_trace(netns: NetNs, step: nftrace::Step) -> Fact {
    let nftrace::Step {
        id,
        family,
        table,
        chain,
        handle,
        verdict,
        headers,
    } = step;
    Fact::RuleTrace(Box::new(RuleTrace {
        netns,
        id,
        family,
        table,
        chain,
        handle,
        verdict,
        packet: traced_packet(&headers),
    }))
}

/// The packet by the headers that nf_tables copied: the outermost, as rules see it.
fn traced_packet(headers: &[u8]) -> Option<TracedPacket> {
    let protocol = match headers.first()? >> 4 {
        6 => ethertype::IPV6,
        _ => ethertype::IPV4,
    };
    let start = Start {
        l3_offset: 0,
        protocol,
        skb_len: 0,
    };
    let packet = packet::parse(headers, start, None)?;
    Some(TracedPacket {
        tuple: packet.tunnel.map(|t| t.outer).or(packet.tuple)?,
        ip_id: packet.ip_id,
        sequence: packet.sequence().filter(|_| packet.tunnel.is_none()),
    })
}

/// The run as the report tells of it.
fn run(config: &Config, scope: &Scope) -> io::Result<Run> {
    let machine = Machine::read()?;
    let clock = Clock::read()?;
    let mut run = Run {
        tool_version: env!("CARGO_PKG_VERSION").into(),
        hostname: machine.hostname,
        kernel: machine.kernel,
        arch: machine.arch,
        boot_id: machine.boot_id,
        expression: String::new(),
        clauses: Vec::new(),
        asked_src: Vec::new(),
        asked_dst: Vec::new(),
        asked: Vec::new(),
        names_addresses: false,
        asked_ports: Default::default(),
        started_unix_ns: clock.unix_ns,
        started_ktime: clock.ktime,
        one_way: false,
        rules: config.rules,
        also: Vec::new(),
        only_netns: scope.only().to_vec(),
        only_interfaces: config
            .only_interfaces
            .iter()
            .map(ToString::to_string)
            .collect(),
    };
    follow(&mut run, &config.filter);
    Ok(run)
}

/// Enters an expression into the run.
fn follow(run: &mut Run, filter: &Compiled) {
    run.also.clear();
    run.expression.clone_from(&filter.expression);
    run.clauses.clone_from(&filter.words);
    run.asked_src.clone_from(&filter.asked_src);
    run.asked_dst.clone_from(&filter.asked_dst);
    run.asked.clone_from(&filter.addresses);
    run.names_addresses = filter.names_addresses;
    run.asked_ports.clone_from(&filter.asked_ports);
    run.one_way = !filter.sees_replies;
}

/// Waits for changes on a thread of its own, for as long as somebody wants them.
fn spawn_watcher(mut watcher: Watcher, commands: Sender<Command>) -> Result<(), Error> {
    thread::Builder::new()
        .name("watcher".into())
        .spawn(move || {
            restrict(Role::Machine);
            loop {
                let command = match watcher.wait(WATCH) {
                    // An empty list asks whether anybody still listens.
                    Ok(changes) => Command::Changes(changes),
                    Err(error) => Command::Failed(
                        Error::runtime("cannot follow the machine's namespaces").caused_by(error),
                    ),
                };
                if commands.send(command).is_err() {
                    return;
                }
            }
        })
        .map(drop)
        .map_err(Error::no_thread)
}
