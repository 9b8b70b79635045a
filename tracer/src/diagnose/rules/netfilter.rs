//! Drops by packet filters: the hook from the stack, the engine from the freeing function, the chains and rules from
//! the host. The kernel never tells the rule: it is named where only one can have done it.

mod answer;
mod discovery;
mod element;
mod helper;
mod marked;
mod opening;
mod other_source;
mod sender_mac;
mod source_before;
mod suspects;
mod untracked;
mod untranslated;
mod way_back;

use std::net::IpAddr;

use crate::correlate::Trace;
use crate::host::Host;
use crate::host::facts::{BaseChain, FilterEngine, Stop, Test};
use crate::model::{Device, IfIndex, Release, Transport};
use crate::sites;

use super::super::candidate::{Candidate, Specificity};
use super::super::causes::{Cause, NETFILTER_DROP, NETFILTER_QUEUE, NETFILTER_REJECT};
use super::super::hooks::{self, Hook};
use super::super::loss::Loss;
use super::super::nfqueue;
use super::super::owners;
use super::super::remedy::{Remedy, Shell, command, text};
use super::filter;

pub use answer::switch;
pub use discovery::of_rules as question_by_rules;
pub use discovery::tunnel_questions;
pub use other_source::questions as questions_of_other_sources;
pub use source_before::questions as questions_of_the_source_before;
pub use suspects::Suspects;
pub use suspects::{look_again, states_of};
pub(super) use untranslated::is_untranslated;
pub use way_back::is_asked as asks_for_the_way_back;

/// The hook, when a packet filter freed the packet.
pub fn filtered(loss: &Loss<'_>) -> Option<Option<Hook>> {
    sites::FILTERED
        .is(loss.info)
        .then(|| hooks::of(&loss.info.stack))
}

/// The first kernel whose nf_tables frees in its own chain walker (NF_DROP_REASON, e0d4593140b0).
const FREES_ITSELF: Release = Release(6, 7);

/// nf_tables frees in its own chain walker; x_tables and conntrack leave it to nf_hook_slow. Older kernels free everything
/// there: `None`.
pub(super) fn engine(loss: &Loss<'_>) -> Option<FilterEngine> {
    if loss.within("nft_do_chain") || loss.frames().any(|f| f.starts_with("nft_do_chain")) {
        return Some(FilterEngine::Nftables);
    }
    let kernel = loss.host.run.as_ref().map(|run| run.kernel.as_str());
    let tells = kernel
        .and_then(Release::parse)
        .is_none_or(|release| release >= FREES_ITSELF);
    tells.then_some(FilterEngine::Legacy)
}

/// The engine, else that of the chains which were read at the hook where all are of one, else nf_tables.
pub(super) fn likely_engine(loss: &Loss<'_>, hook: Option<Hook>) -> FilterEngine {
    engine(loss).unwrap_or_else(|| {
        let chains = hook.and_then(|hook| filter_chains(loss, hook, None));
        let only_legacy = chains.is_some_and(|chains| {
            !chains.is_empty() && chains.iter().all(|c| c.engine == FilterEngine::Legacy)
        });
        match only_legacy {
            true => FilterEngine::Legacy,
            false => FilterEngine::Nftables,
        }
    })
}

/// Base chains that see packets of this family at this hook, of one engine where it is known.
fn filter_chains<'a>(
    loss: &Loss<'a>,
    hook: Hook,
    engine: Option<FilterEngine>,
) -> Option<Vec<&'a BaseChain>> {
    let chains = loss.host.filters.get(&loss.netns()?)?;
    let families = hooks::families(hook, loss.family());
    let mut list: Vec<_> = chains
        .fact
        .base
        .iter()
        .filter(|c| c.hook == hook.chain_hook && families.contains(&c.family.as_str()))
        .filter(|c| engine.is_none_or(|engine| c.engine == engine))
        .collect();
    list.sort_by_key(|c| c.priority);
    Some(list)
}

/// Base chains of the loss's hook and engine that were read, and who of them may have ended its way in one of these
/// manners.
pub(super) fn suspected<'a>(
    loss: &Loss<'a>,
    hook: Hook,
    manners: &[Stop],
) -> Option<(Vec<&'a BaseChain>, Suspects<'a>)> {
    let chains = filter_chains(loss, hook, engine(loss))?;
    let found = suspects::of(loss, (hook, goes_out(loss, hook)), &chains, manners);
    Some((chains, found))
}

/// The interface through which the packet was to go out.
fn goes_out(loss: &Loss<'_>, hook: Hook) -> Option<Device> {
    match hook.name {
        "POSTROUTING" | "EGRESS" | "BRIDGE-POSTROUTING" | "BRIDGE-FORWARD" => loss.device(),
        _ => going_out(loss),
    }
}

/// ` at ra → rb`: where it came in and, as far as known, where it was going.
fn between(loss: &Loss<'_>, hook: Option<Hook>) -> String {
    let name = |d: Device| loss.host.interface(d);
    let (from, to) = match hook.map(|h| h.name) {
        Some("FORWARD") => (loss.came_in().or(loss.device()), going_out(loss)),
        Some("POSTROUTING" | "EGRESS" | "BRIDGE-POSTROUTING" | "BRIDGE-FORWARD") => {
            (loss.came_in(), loss.device())
        }
        Some("OUTPUT") => (None, going_out(loss)),
        _ => (loss.device(), None),
    };
    match (from, to.filter(|t| Some(*t) != from)) {
        (Some(a), Some(b)) => format!(" at {} → {}", name(a), name(b)),
        (Some(a), None) => format!(" at {}", name(a)),
        (None, Some(b)) => format!(" towards {}", name(b)),
        (None, None) => String::new(),
    }
}

/// The interface that the route names, where the kernel was asked.
fn going_out(loss: &Loss<'_>) -> Option<Device> {
    let (netns, dst) = (loss.netns()?, loss.dst()?);
    // As this host's own, a packet from elsewhere may have been refused.
    let mut answers = loss.host.routes.iter().rev().map(|r| &r.fact);
    let oif = answers.find_map(|answer| {
        let here = answer.netns == netns && answer.tuple.dst == dst;
        answer.result.as_ref().ok().filter(|_| here)?.oif
    })?;
    Some(Device {
        netns,
        ifindex: IfIndex(oif),
    })
}

fn hook_name(hook: Option<Hook>) -> &'static str {
    hook.map_or("netfilter", |h| h.name)
}

pub(super) fn propose(
    loss: &Loss<'_>,
    cause: &'static Cause,
    hook: Option<Hook>,
    verb: &str,
) -> Candidate {
    let summary = format!(
        "{} {verb} on {}{}",
        hook_name(hook),
        loss.namespace_words(),
        between(loss, hook)
    );
    Candidate::new(cause, loss.place(hook.map(|h| h.name)), summary)
}

/// The plain drop.
pub fn drop(loss: &Loss<'_>) -> Option<Candidate> {
    let hook = filtered(loss)?;
    let mut candidate = propose(loss, &NETFILTER_DROP, hook, "DROP");
    let shell = Shell::of(loss.host, loss.netns());
    if is_untranslated(loss, hook) {
        let candidate = candidate.explains(Specificity::Fact);
        return Some(untranslated::explain(candidate, (loss, hook)));
    }
    let found = hook.and_then(|h| Some((h, suspected(loss, h, &[Stop::Drop])?)));
    let Some((hook, (chains, mut found))) = found else {
        candidate.summary += ": a rule or policy of its chains dropped it";
        return Some(candidate.advise(look_everywhere(loss, hook, &shell)));
    };
    if found.list.is_empty() {
        // A REJECT whose answer was not sent (there is a limit to them) is a drop to the kernel.
        found = suspected(loss, hook, &[Stop::Reject])?.1;
    }
    let candidate = untracked::explain(candidate, (loss, hook));
    let candidate = helper::explain(candidate, (loss, hook));
    let asked = |test: &Test| match test {
        Test::Mark { mask, .. } => Some(*mask),
        _ => None,
    };
    let rules = found.list.iter().filter_map(|s| s.rule.as_ref());
    let bits = rules.flat_map(|rule| &rule.tests).filter_map(asked);
    let set_by = bits.reduce(|all, mask| all | mask);
    let set_by = set_by.and_then(|bits| marked::set_by(loss, hook, bits));
    let mut candidate = answer::with(candidate, (loss, hook), &chains, &found);
    if let Some(marked::SetBy { summary, evidence }) = set_by {
        candidate.summary += &summary;
        candidate = candidate.because("rule", evidence);
    }
    Some(candidate)
}

/// Questions for neighbours, and answers, that were dropped, with the neighbour's address. They are packets of no flow that was
/// asked for.
fn questions_lost<'a>(
    trace: &'a Trace,
    host: &'a Host,
) -> impl Iterator<Item = (IpAddr, Loss<'a>)> {
    let steps = trace.journeys.values().flat_map(|j| &j.steps);
    steps
        .map(|s| &s.event)
        .chain(&trace.beside)
        .filter_map(move |event| {
            let Transport::Neighbor { target, .. } = event.packet.as_ref()?.transport else {
                return None;
            };
            Some((target, Loss::beside(trace, host, event)?))
        })
}

/// Those that a packet filter dropped.
pub fn questions_dropped<'a>(
    trace: &'a Trace,
    host: &'a Host,
) -> impl Iterator<Item = (IpAddr, Loss<'a>)> {
    questions_lost(trace, host).filter(|(_, loss)| filtered(loss).is_some())
}

/// Interfaces where a tc filter dropped the question for a neighbour, or the answer.
pub fn questions_dropped_by_tc<'a>(
    trace: &'a Trace,
    host: &'a Host,
    address: IpAddr,
) -> impl Iterator<Item = Device> + 'a {
    let of_tc = move |(target, loss): (IpAddr, Loss<'a>)| {
        let here = target == address && sites::TC.is(loss.info);
        loss.device().filter(|_| here)
    };
    questions_lost(trace, host).filter_map(of_tc)
}

/// Whether tc dropped it. Where the kernel does not name it (before 5.17), a link that is down or without carrier ends there too.
fn by_tc(loss: &Loss<'_>) -> bool {
    let ready = loss.info.no_carrier == Some(false) && loss.info.device_up == Some(true);
    sites::TC.is(loss.info) && (ready || loss.info.reason.is_some())
}

/// What dropped the question for a neighbour, or the answer: the first cause of all that waits for it.
#[must_use]
pub fn of_question(trace: &Trace, host: &Host, address: IpAddr) -> Option<Candidate> {
    let by = |loss: &Loss<'_>| match filtered(loss) {
        Some(_) => drop(loss),
        None if by_tc(loss) => filter::tc(loss),
        None => None,
    };
    let mut candidate = questions_lost(trace, host)
        .filter(|(target, _)| *target == address)
        .find_map(|(_, loss)| by(&loss))?;
    let question = discovery::protocol_words(address);
    candidate.summary = format!("{question} for {address}: {}", candidate.summary);
    Some(candidate.explains(Specificity::Linked))
}

fn look_everywhere(loss: &Loss<'_>, hook: Option<Hook>, shell: &Shell) -> Vec<Remedy> {
    let six = if loss.v6() { "6" } else { "" };
    let chain = hook.filter(|h| !h.bridge).map_or("", |h| h.chain_hook);
    let bridge = hook.is_some_and(|h| h.bridge);
    let engine = likely_engine(loss, hook);
    let xtables = match engine {
        FilterEngine::Nftables => command![format!("ip{six}tables"), "-nvL", chain],
        FilterEngine::Legacy => command![format!("ip{six}tables-legacy"), "-nvL", chain],
    };
    let mut list = Vec::new();
    if !bridge && matches!(chain, "INPUT" | "FORWARD" | "OUTPUT") {
        list.push(shell.look("look at the policy and which counter rises", xtables));
    } else if engine == FilterEngine::Legacy && !bridge {
        list.push(shell.look(
            "look for the counter that rises",
            command![format!("ip{six}tables-legacy-save"), "-c"],
        ));
    }
    if engine == FilterEngine::Nftables {
        list.push(shell.look("look at all chains of this hook", "nft -a list ruleset"));
    }
    list
}

/// A REJECT: this host answered about the very packet in the call in which it dropped it.
pub fn reject(loss: &Loss<'_>) -> Option<Candidate> {
    let hook = filtered(loss)?;
    let told = loss.told()?;
    let mut candidate = propose(loss, &NETFILTER_REJECT, hook, "REJECT");
    candidate.summary += &format!(": a rule answered with {told}");
    let kind = if loss.icmp_sent().is_some() {
        "icmp"
    } else {
        "tcp"
    };
    let shell = Shell::of(loss.host, loss.netns());
    candidate = candidate.explains(Specificity::Linked).because(
        kind,
        format!("{told} was built for this packet in the same call"),
    );
    let mut named = false;
    let candidate = match hook.and_then(|h| Some((h, suspected(loss, h, &[Stop::Reject])?))) {
        Some((hook, (chains, found))) => {
            named = found.only().is_some_and(|only| !is_of_services(only));
            let candidate = untracked::explain(candidate, (loss, hook));
            let candidate = helper::explain(candidate, (loss, hook));
            answer::with(candidate, (loss, hook), &chains, &found)
        }
        None => candidate.advise(look_everywhere(loss, hook, &shell)),
    };
    let services = shell.look(
        "a service without endpoints is rejected the same way: are there backends?",
        "nft list ruleset",
    );
    Some(candidate.advise((!named).then_some(services)))
}

/// Whether who wrote a rule translates services.
fn is_of_services(suspect: &suspects::Suspect<'_>) -> bool {
    let suspects::Suspect {
        chain: base, rule, ..
    } = suspect;
    let plain = (base.chain.as_str(), "");
    let (chain, text) = rule.as_ref().map_or(plain, |r| (&r.chain, &r.text));
    owners::of(&base.table, chain, text).is_some_and(|owner| owner.serves())
}

/// NFQUEUE: no process listens, or its queue is full, or it refused the packet.
pub fn queue(loss: &Loss<'_>) -> Option<Candidate> {
    if matches!(loss.function(), "nf_reinject" | "nfqnl_reinject") {
        return nfqueue::refused(loss);
    }
    let hook = hooks::of(&loss.info.stack);
    let mut candidate = propose(loss, &NETFILTER_QUEUE, hook, "NFQUEUE");
    let shell = Shell::of(loss.host, loss.netns());
    // The kernel frees in the same place for both engines.
    let found = hook.and_then(|h| {
        [FilterEngine::Nftables, FilterEngine::Legacy]
            .into_iter()
            .filter_map(|engine| {
                let chains = filter_chains(loss, h, Some(engine))?;
                let found = suspects::of(loss, (h, going_out(loss)), &chains, &[Stop::Queue]);
                (!found.list.is_empty()).then_some((h, chains, found))
            })
            .next()
    });
    let full = nfqueue::full(loss);
    candidate.summary += &match &full {
        Some(queue) => format!(": {} was full", nfqueue::words(queue)),
        None => ": no process listens on the queue that the rule names".to_owned(),
    };
    candidate = candidate.advise([nfqueue::look(&shell)]);
    candidate = candidate.advise(
        full.into_iter()
            .flat_map(|queue| nfqueue::let_read(loss.host, queue)),
    );
    candidate = match found {
        Some((hook, chains, found)) => answer::with(candidate, (loss, hook), &chains, &found),
        None => candidate.advise([shell.look("the rule", "nft list ruleset")]),
    };
    Some(candidate.advise([text(match full {
        Some(_) => "or let what finds the queue full pass (`--queue-bypass` does not; NFQA_CFG_F_FAIL_OPEN, which the process sets, does)",
        None => "start the listener, or let the rule bypass a missing one (`queue flags bypass`, `--queue-bypass`)",
    })]))
}
