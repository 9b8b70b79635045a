//! Drops by packet filters: the hook from the stack, the engine from the freeing function, the chains from the
//! host. The kernel never tells the rule.

use crate::host::Host;
use crate::host::facts::{BaseChain, FilterEngine};
use crate::model::{Detail, Device, NetNs};
use crate::report::{Advice, Confidence};

use super::super::advice::{Shell, chain_words, let_pass, set_policy, show_chain, text};
use super::super::candidate::{Candidate, Specificity};
use super::super::causes::{
    CONNTRACK_INSERT, CONNTRACK_INVALID, Cause, NETFILTER_DROP, NETFILTER_QUEUE, NETFILTER_REJECT,
};
use super::super::hooks::{self, Hook};
use super::super::loss::Loss;
use super::super::words;

/// IPS_CONFIRMED of nf_conn.status (include/uapi/linux/netfilter/nf_conntrack_common.h).
const CONFIRMED: u32 = 1 << 3;

/// The hook, when a packet filter freed the packet. Kernels before 5.17 give no reason: the function tells.
fn filtered(loss: &Loss<'_>) -> Option<Option<Hook>> {
    let by_name = loss.reason() == "NETFILTER_DROP";
    let by_place = loss.info.reason.is_none()
        && (matches!(loss.function(), "nf_hook_slow" | "nft_do_chain")
            || loss.function().starts_with("nft_do_chain_"));
    (by_name || by_place).then(|| hooks::of(&loss.info.stack))
}

/// nf_tables frees in its own chain walker; x_tables and conntrack leave it to nf_hook_slow.
fn engine(loss: &Loss<'_>) -> FilterEngine {
    if loss.within("nft_do_chain") || loss.frames().any(|f| f.starts_with("nft_do_chain")) {
        FilterEngine::Nftables
    } else {
        FilterEngine::Legacy
    }
}

/// Base chains that see packets of this family at this hook, of one engine.
fn filter_chains(host: &Host, netns: NetNs, hook: Hook, family: u8) -> Option<Vec<&BaseChain>> {
    let chains = host.chains.get(&netns)?;
    let families = hooks::families(hook, family);
    Some(
        chains
            .fact
            .iter()
            .filter(|c| c.hook == hook.chain_hook && families.contains(&c.family.as_str()))
            .collect(),
    )
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
    let answer = loss
        .host
        .routes
        .iter()
        .rev()
        .find(|r| r.fact.netns == netns && r.fact.tuple.dst == dst)?;
    let route = answer.fact.result.as_ref().ok()?;
    Some(Device {
        netns,
        ifindex: crate::model::IfIndex(route.oif?),
    })
}

fn hook_name(hook: Option<Hook>) -> &'static str {
    hook.map_or("netfilter", |h| h.name)
}

fn propose(loss: &Loss<'_>, cause: &'static Cause, hook: Option<Hook>, verb: &str) -> Candidate {
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
    if loss.frames().any(|f| f.starts_with("nf_nat_")) {
        candidate.summary += ": a NAT rule could not translate it (has the interface an address?)";
        let show = shell.run("look at the addresses", "ip addr");
        return Some(candidate.explains(Specificity::Fact).advise([show]));
    }
    let engine = engine(loss);
    let known = hook.and_then(|h| filter_chains(loss.host, loss.netns()?, h, loss.family()));
    let Some(known) = known else {
        candidate.summary += ": a rule or policy of its chains dropped it";
        return Some(candidate.advise(look_everywhere(loss, hook, &shell)));
    };
    let chains: Vec<_> = known
        .iter()
        .copied()
        .filter(|c| c.engine == engine)
        .collect();
    candidate = candidate.advise(
        chains
            .iter()
            .map(|c| shell.run("look first: which counter rises", show_chain(c))),
    );
    for chain in &chains {
        candidate = candidate.because("chain", chain_state(chain));
    }
    let dropping: Vec<_> = chains.iter().filter(|c| c.policy_drop).collect();
    match (dropping.as_slice(), chains.as_slice()) {
        ([chain, ..], _) => {
            candidate.summary += &format!(": chain {} has policy drop", chain_words(chain));
            for other in dropping.iter().skip(1) {
                candidate.summary += &format!(", and {} too", chain_words(other));
            }
            candidate.advice.extend(open_policy(loss, chain, &shell));
        }
        ([], [chain]) => {
            candidate.summary += &format!(": a rule reached from chain {}", chain_words(chain));
            candidate.advice.extend(let_through(loss, chain, &shell));
        }
        ([], [first, ..]) => {
            let names: Vec<_> = chains.iter().map(|c| chain_words(c)).collect();
            candidate.summary += &format!(": a rule reached from one of {}", names.join(", "));
            candidate.advice.extend(let_through(loss, first, &shell));
        }
        ([], []) => {
            candidate.summary += ": no chain of this hook was found when it was read";
            candidate.confidence = Confidence::Likely;
            candidate.advice.extend(look_everywhere(loss, hook, &shell));
        }
    }
    Some(candidate)
}

fn chain_state(chain: &BaseChain) -> String {
    let policy = if chain.policy_drop { "drop" } else { "accept" };
    let rules = chain.rules.map_or_else(String::new, |n| {
        format!(", {}", words::count(u64::from(n), "rule"))
    });
    format!(
        "{} ({}) at hook {} priority {}: policy {policy}{rules}",
        chain_words(chain),
        match chain.engine {
            FilterEngine::Nftables => "nf_tables",
            FilterEngine::Legacy => "legacy x_tables",
        },
        chain.hook,
        chain.priority
    )
}

fn open_policy(loss: &Loss<'_>, chain: &BaseChain, shell: &Shell) -> Vec<Advice> {
    let mut list = Vec::new();
    if let Some(tuple) = loss.tuple() {
        list.push(shell.run(
            "let this flow pass (its answers need a rule of their own unless established ones pass)",
            let_pass(chain, &tuple).0,
        ));
    }
    list.push(shell.run(
        "or let all pass: this opens the firewall for everything that no rule drops",
        set_policy(chain, true),
    ));
    list.push(shell.run("to take that back", set_policy(chain, false)));
    list
}

fn let_through(loss: &Loss<'_>, chain: &BaseChain, shell: &Shell) -> Vec<Advice> {
    let mut list = vec![text(
        "remove or amend the rule whose counter rises with each packet",
    )];
    if let Some(tuple) = loss.tuple() {
        let (insert, revert) = let_pass(chain, &tuple);
        list.push(shell.run(
            "or let this flow pass before it: this opens the firewall for it",
            insert,
        ));
        list.extend(revert.map(|r| shell.run("to take that back", r)));
    }
    list
}

fn look_everywhere(loss: &Loss<'_>, hook: Option<Hook>, shell: &Shell) -> Vec<Advice> {
    let six = if loss.v6() { "6" } else { "" };
    let chain = hook.filter(|h| !h.bridge).map_or("", |h| h.chain_hook);
    let bridge = hook.is_some_and(|h| h.bridge);
    let xtables = match engine(loss) {
        FilterEngine::Nftables => format!("ip{six}tables -nvL {chain}"),
        FilterEngine::Legacy => format!("ip{six}tables-legacy -nvL {chain}"),
    };
    let mut list = Vec::new();
    if !bridge && matches!(chain, "INPUT" | "FORWARD" | "OUTPUT") {
        list.push(shell.run("look at the policy and which counter rises", xtables));
    } else if engine(loss) == FilterEngine::Legacy && !bridge {
        list.push(shell.run(
            "look for the counter that rises",
            format!("ip{six}tables-legacy-save -c"),
        ));
    }
    if engine(loss) == FilterEngine::Nftables {
        list.push(shell.run("look at all chains of this hook", "nft -a list ruleset"));
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
    let plain = drop(loss)?;
    Some(
        candidate
            .explains(Specificity::Linked)
            .because(
                kind,
                format!("{told} was built for this packet in the same call"),
            )
            .advise(plain.advice.into_iter().filter(|a| {
                // A REJECT is a rule: the policy is not what to change.
                a.command
                    .as_ref()
                    .is_none_or(|c| !c.contains(" -P ") && !c.contains("policy"))
            }))
            .advise([shell.run(
                "a service without endpoints is rejected the same way: are there backends?",
                "nft list ruleset",
            )]),
    )
}

/// NFQUEUE without a process behind it.
pub fn queue(loss: &Loss<'_>) -> Option<Candidate> {
    let queue = loss.function() == "nf_queue" || loss.function() == "nf_reinject";
    if !queue {
        return None;
    }
    let hook = hooks::of(&loss.info.stack);
    let mut candidate = propose(loss, &NETFILTER_QUEUE, hook, "NFQUEUE");
    candidate.summary += ": no process listens on the queue that the rule names";
    let shell = Shell::of(loss.host, loss.netns());
    Some(candidate.advise([
        shell.run("queues with a listener", "cat /proc/net/netfilter/nfnetlink_queue"),
        shell.run("the rule", "nft list ruleset"),
        text("start the listener, or let the rule bypass a missing one (`queue flags bypass`, `--queue-bypass`)"),
    ]))
}

/// Conntrack itself: freed after all chains of POSTROUTING or INPUT had their say, with an entry not confirmed.
pub fn conntrack(loss: &Loss<'_>) -> Option<Candidate> {
    let hook = filtered(loss)??;
    let shell = Shell::of(loss.host, loss.netns());
    let look = shell.run("counters of conntrack", "conntrack -S");
    let unconfirmed = loss.info.ct_status.is_some_and(|s| s & CONFIRMED == 0);
    let translated = loss.info.ct_status.is_some_and(|s| s & 0x30 != 0);
    let nft_nat = loss.frames().any(|f| f.starts_with("nf_nat_"));
    if loss.function() == "nf_hook_slow"
        && matches!(hook.name, "POSTROUTING" | "INPUT")
        && unconfirmed
        && !nft_nat
    {
        let legacy = filter_chains(loss.host, loss.netns()?, hook, loss.family())
            .is_none_or(|c| c.iter().any(|c| c.engine == FilterEngine::Legacy));
        let mut candidate = propose(loss, &CONNTRACK_INSERT, Some(hook), "DROP");
        candidate.summary += ": its conntrack entry could not be inserted";
        if translated {
            candidate.summary += " (are the ports for source NAT used up?)";
        }
        let sure = if legacy {
            Confidence::Possible
        } else {
            Confidence::Likely
        };
        return Some(
            candidate
                .explains(if legacy {
                    Specificity::Reason
                } else {
                    Specificity::Fact
                })
                .sure(sure)
                .advise([look, text("watch insert_failed and drop rise")]),
        );
    }
    // The packet has no entry although others of its flow's namespace have: state INVALID.
    let others_tracked = loss.info.ct_attached == Some(false)
        && loss
            .trace
            .journeys
            .values()
            .flat_map(|j| &j.steps)
            .any(|s| {
                matches!(&s.event.detail, Detail::Drop(d) if d.ct_attached == Some(true))
                    && s.event.netns == loss.netns()
            });
    if others_tracked && matches!(hook.name, "FORWARD" | "INPUT" | "OUTPUT") {
        let mut candidate = propose(loss, &CONNTRACK_INVALID, Some(hook), "DROP");
        candidate.summary += ": no conntrack entry belongs to it (state INVALID)";
        return Some(
            candidate
                .explains(Specificity::Reason)
                .sure(Confidence::Possible)
                .advise([look]),
        );
    }
    None
}
