//! The log: what happened to the trace itself, folded from its inputs. Probes, interfaces that come and go, losses of
//! observations, what could not be read. The same in a replay.

use crate::host::Host;
use crate::host::facts::{Fact, ProbeState};
use crate::model::Counters;
use crate::model::KtimeNs;
use crate::render::style::Ink;
use crate::source::Input;

/// One line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Nanoseconds since the start of the trace.
    pub at_ns: u64,
    /// How it is to be taken.
    pub ink: Ink,
    /// The words.
    pub text: String,
    /// No input told it: it does not come again when inputs do.
    pub said: bool,
}

/// Lines that are kept.
const LINES: usize = 500;

/// The fold.
#[derive(Clone, Debug, Default)]
pub struct Log {
    entries: Vec<Entry>,
    /// Lines ever written: those that were dropped count.
    written: u64,
    start: Option<KtimeNs>,
    /// Probes attached, missing, failed, until the first packets may come.
    probes: (u32, u32, u32),
    begun: bool,
    lost: u64,
    thinned: u64,
}

impl Log {
    /// The lines, oldest first.
    #[must_use]
    pub fn entries(&self) -> &[Entry] {
        &self.entries
    }

    /// How many lines were ever written.
    #[must_use]
    pub fn written(&self) -> u64 {
        self.written
    }

    /// Adds a line that no input tells.
    pub fn say(&mut self, at_ns: u64, ink: Ink, text: impl Into<String>) {
        self.write(Entry {
            at_ns,
            ink,
            text: text.into(),
            said: true,
        });
    }

    /// Begins again: inputs will be told once more.
    #[must_use]
    pub fn afresh(self) -> Self {
        let said = self.entries.into_iter().filter(|entry| entry.said);
        Self {
            entries: said.collect(),
            written: self.written,
            ..Self::default()
        }
    }

    fn write(&mut self, entry: Entry) {
        self.entries.push(entry);
        self.written += 1;
        let over = self.entries.len().saturating_sub(LINES);
        self.entries.drain(..over);
    }

    /// Takes an input in, before `host` does: what it knows is what was before.
    pub fn input(&mut self, input: &Input, host: &Host) {
        match input {
            Input::Host(at, Fact::Run(run)) => {
                self.start = Some(run.started_ktime);
                let what = match run.expression.as_str() {
                    "" => "all packets",
                    expression => expression,
                };
                let what = run.also.last().map_or_else(
                    || what.to_owned(),
                    |also| format!("{} too", also.expression),
                );
                self.at(*at, Ink::Plain, format!("following {what}"));
            }
            Input::Host(at, fact) => self.fact(*at, fact, host),
            Input::Counters(at, counters) => self.counters(*at, counters),
            Input::Tick(at) if !self.begun => {
                self.begun = true;
                let (attached, missing, failed) = self.probes;
                let ink = if failed > 0 { Ink::Doubt } else { Ink::Good };
                self.at(
                    *at,
                    ink,
                    format!(
                        "{attached} probes attached, {missing} not in this kernel, {failed} failed"
                    ),
                );
            }
            Input::Tick(_) | Input::Record(_) => {}
            Input::End(at, reason) => self.at(
                *at,
                Ink::Plain,
                format!("the trace ended: {}", reason.words()),
            ),
        }
    }

    fn at(&mut self, at: KtimeNs, ink: Ink, text: String) {
        let at_ns = self.start.map_or(0, |start| at.since(start));
        self.write(Entry {
            at_ns,
            ink,
            text,
            said: false,
        });
    }

    fn fact(&mut self, at: KtimeNs, fact: &Fact, host: &Host) {
        match fact {
            Fact::Probe(probe) => match probe.state {
                ProbeState::Attached => self.probes.0 += 1,
                ProbeState::Missing => {
                    self.probes.1 += 1;
                    self.at(
                        at,
                        Ink::Quiet,
                        format!("{} is not in this kernel", probe.name),
                    );
                }
                ProbeState::Failed => {
                    self.probes.2 += 1;
                    self.at(
                        at,
                        Ink::Doubt,
                        format!("{} failed: {}", probe.name, probe.detail),
                    );
                }
            },
            Fact::Cost(cost) => {
                let before = host.cost.as_ref().map(|before| before.budget);
                if before.is_some_and(|before| before != cost.budget) {
                    let text = format!("{} events a second are sent (--max-cpu)", cost.budget);
                    self.at(at, Ink::Doubt, text);
                }
            }
            Fact::Namespace(ns) if self.begun => {
                self.at(at, Ink::Plain, format!("namespace {} appeared", ns.name));
            }
            Fact::NamespaceGone(ns) => {
                self.at(
                    at,
                    Ink::Plain,
                    format!("namespace {} is gone", host.namespace(*ns)),
                );
            }
            Fact::Link(link) => {
                let place = format!("{}/{}", host.namespace(link.device.netns), link.name);
                let state = |up, carrier| match (up, carrier) {
                    (false, _) => "down",
                    (true, false) => "up, no carrier",
                    (true, true) => "up",
                };
                let now = state(link.up, link.carrier);
                match host.link(link.device) {
                    None if self.begun => {
                        self.at(at, Ink::Plain, format!("interface {place} appeared, {now}"));
                    }
                    Some(before) if state(before.up, before.carrier) != now => {
                        let ink = if now == "up" { Ink::Plain } else { Ink::Doubt };
                        self.at(at, ink, format!("interface {place} is {now}"));
                    }
                    _ => {}
                }
            }
            Fact::LinkGone(device) => {
                let place = format!(
                    "{}/{}",
                    host.namespace(device.netns),
                    host.interface(*device)
                );
                self.at(at, Ink::Doubt, format!("interface {place} is gone"));
            }
            Fact::Unread { what, why } => {
                self.at(at, Ink::Doubt, format!("could not read {what}: {why}"));
            }
            _ => {}
        }
    }

    fn counters(&mut self, at: KtimeNs, counters: &Counters) {
        let sum = |list: &[(String, u64)]| list.iter().map(|(_, n)| n).sum::<u64>();
        let (lost, thinned) = (sum(&counters.loss.lost), sum(&counters.loss.thinned));
        if lost > self.lost {
            let more = lost - self.lost;
            self.at(
                at,
                Ink::Bad,
                format!("{more} events lost: the buffer was full"),
            );
        }
        if thinned > self.thinned {
            let more = thinned - self.thinned;
            self.at(
                at,
                Ink::Doubt,
                format!("{more} events not sent (rate limit); counts stay exact"),
            );
        }
        (self.lost, self.thinned) = (lost, thinned);
    }
}
