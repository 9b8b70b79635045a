//! What nf_tables told of packets while they went over its rules (`--rules`), joined to the packets of the trace: by
//! namespace, addresses, IP id and sequence number.

use crate::host::Host;
use crate::host::facts::{BaseChain, FilterEngine, Rule, RuleTrace, RuleVerdict, Ruleset};
use crate::model::{Event, NetNs, Tuple};

use super::loss::Loss;

/// A packet's way through one base chain, and what is reached from it.
#[derive(Clone, Debug)]
pub struct Told<'a> {
    /// Step by step; never empty.
    pub steps: Vec<&'a RuleTrace>,
}

impl<'a> Told<'a> {
    /// The base chain, where the chains were read.
    #[must_use]
    pub fn base<'r>(&self, rules: &'r Ruleset) -> Option<&'r BaseChain> {
        let first = self.steps.first()?;
        let mut chains = rules.base.iter().filter(|base| is_of(base, first));
        chains.find(|base| base.chain == first.chain)
    }

    /// Whether an IP id or a sequence number told the packet from others of its tuple.
    fn is_exact(&self) -> bool {
        let packet = self.steps.first().and_then(|step| step.packet);
        packet.is_some_and(|packet| packet.ip_id != 0 || packet.sequence.is_some())
    }

    /// The step that discarded the packet or handed it to a process, if one did.
    #[must_use]
    pub fn stop(&self) -> Option<&'a RuleTrace> {
        let last = self.steps.last()?;
        matches!(last.verdict, RuleVerdict::Drop | RuleVerdict::Queue { .. }).then_some(*last)
    }
}

/// Whether a step was made in a base chain's table.
fn is_of(base: &BaseChain, step: &RuleTrace) -> bool {
    base.engine == FilterEngine::Nftables
        && (&base.family, &base.table) == (&step.family, &step.table)
}

/// The rule of a step, where it was read: its table's chains are looked through for the handle.
#[must_use]
pub fn rule_of<'r>(rules: &'r Ruleset, step: &RuleTrace) -> Option<&'r Rule> {
    let handle = step.handle?;
    let mut chains = rules.chains.iter().filter(|chain| {
        chain.engine == FilterEngine::Nftables
            && (&chain.family, &chain.table, &chain.name)
                == (&step.family, &step.table, &step.chain)
    });
    chains.find_map(|chain| chain.rules.iter().find(|rule| rule.handle == Some(handle)))
}

/// What was told of a packet in a namespace, in order: it had one of these tuples there.
#[must_use]
pub fn of<'a>(host: &'a Host, netns: NetNs, event: &Event, tuples: &[Tuple]) -> Vec<Told<'a>> {
    let packet = event.packet.as_ref();
    let same = |told: &RuleTrace| {
        let Some(traced) = told.packet else {
            return false;
        };
        let inner = packet.is_none_or(|p| p.tunnel.is_some());
        let (id, sequence) = match packet.filter(|_| !inner) {
            Some(p) => (p.ip_id, p.sequence()),
            None => (traced.ip_id, traced.sequence),
        };
        tuples.contains(&traced.tuple)
            && (traced.ip_id, traced.sequence) == (id, sequence.or(traced.sequence))
    };
    let here = host.rule_traces.iter().filter(|step| step.netns == netns);
    let starts = here.clone().enumerate().filter(|(_, step)| same(step));
    starts
        .map(|(at, first)| {
            let own = |step: &&RuleTrace| {
                (step.id, &step.family, &step.table) == (first.id, &first.family, &first.table)
            };
            let later = here.clone().skip(at + 1).filter(own);
            let rest = later.take_while(|step| step.packet.is_none());
            Told {
                steps: [first].into_iter().chain(rest).collect(),
            }
        })
        .collect()
}

/// What ended a lost packet's way, as nf_tables told.
#[derive(Clone, Copy, Debug)]
pub struct Stopped<'a> {
    /// The base chain.
    pub base: &'a BaseChain,
    /// The step.
    pub step: &'a RuleTrace,
    /// It was told of this very packet; else of one that nothing but its time tells from it.
    pub exact: bool,
}

/// What ended a lost packet's way.
#[must_use]
pub fn stop<'a>(loss: &Loss<'a>) -> Option<Stopped<'a>> {
    let netns = loss.netns()?;
    let rules = &loss.host.filters.get(&netns)?.fact;
    let seen = loss.steps().iter().rev().map(|s| &s.event);
    let event = [loss.event]
        .into_iter()
        .chain(seen)
        .find(|event| event.packet.is_some())?;
    let told = of(loss.host, netns, event, &[loss.outermost()?]);
    told.iter().rev().find_map(|told| {
        Some(Stopped {
            base: told.base(rules)?,
            step: told.stop()?,
            exact: told.is_exact(),
        })
    })
}
