//! Words and advice for what is suspected: the rule or policy where it is the only one, the list where it is not.

use crate::host::facts::{BaseChain, Field, FilterEngine, FilterRule, RuleVerdict, Stop, Test};
use crate::network::filter;
use crate::verdict::Confidence;

use super::super::super::candidate::Candidate;
use super::super::super::chain_commands::{
    chain_words, delete_rule, other_program, set_policy, show_reached,
};
use super::super::super::hooks::Hook;
use super::super::super::loss::Loss;
use super::super::super::missing_route;
use super::super::super::nfqueue;
use super::super::super::owners::{self, Owner};
use super::super::super::remedy::{Remedy, Shell, command, text};
use super::super::super::traced::{self, Stopped};
use super::super::super::translator;
use super::super::super::untranslated_source;
use super::super::super::words::count;
use super::discovery;
use super::element;
use super::opening::both_ways;
use super::other_source;
use super::sender_mac::Allowed;
use super::source_before;
use super::suspects::{Absent, Suspect, Suspects, counted, layer, packet, words};
use super::way_back;
use super::{goes_out, look_everywhere};

/// Most suspects that are listed.
const LISTED: usize = 6;

/// Adds what is known of the chains, and of who did it.
pub(super) fn with(
    mut candidate: Candidate,
    (loss, hook): (&Loss<'_>, Hook),
    chains: &[&BaseChain],
    found: &Suspects<'_>,
) -> Candidate {
    let shell = Shell::of(loss.host, loss.netns());
    candidate = bridged(candidate, loss, hook, &shell);
    for chain in chains {
        candidate = candidate.because("chain", state(chain));
    }
    candidate = candidate.because("trace", told(loss, chains));
    if let Some(only) = found.only() {
        return named(candidate, (loss, hook), only, &shell);
    }
    if found.passes {
        candidate = candidate.because(
            "doubt",
            "by the rules as they were read it would pass: were they changed meanwhile?".to_owned(),
        );
        candidate.confidence = Confidence::Likely;
    }
    let several = found.list.len() > 1 || found.list.iter().any(|s| s.rule.is_some());
    for suspect in found.list.iter().take(if several { LISTED } else { 0 }) {
        candidate = candidate.because(
            "chain",
            format!("perhaps {}{}", words(suspect), counted(suspect)),
        );
    }
    candidate = candidate.advise(looks(&shell, chains, found));
    among(candidate, (loss, hook), chains, found)
}

/// What nf_tables told of this packet, or that the chains cannot tell (`--rules`).
fn told(loss: &Loss<'_>, chains: &[&BaseChain]) -> Option<String> {
    let told = traced::stop(loss).filter(|told| chains.contains(&told.base));
    if let Some(Stopped { step, exact, .. }) = told {
        let whom = if exact {
            "this packet"
        } else {
            "a packet of these addresses and ports"
        };
        let how = match step.verdict {
            RuleVerdict::Queue { .. } => "handed to a process by",
            _ => "dropped by",
        };
        let which = match step.handle {
            Some(handle) => format!("rule with handle {handle}"),
            None => "policy".to_owned(),
        };
        let (family, table, name) = (&step.family, &step.table, &step.chain);
        return Some(format!(
            "nf_tables told of {whom}: {how} the {which} of {family} {table}/{name}"
        ));
    }
    let asked = loss.host.run.as_ref().is_some_and(|run| run.rules);
    let legacy = |chain: &&BaseChain| chain.engine == FilterEngine::Legacy;
    (asked && chains.iter().any(legacy)).then(|| {
        "iptables-legacy does not tell which rules a packet meets: the rules as they were read are walked".to_owned()
    })
}

/// Those who may have done it, and what lets the flow pass them.
fn among(
    mut candidate: Candidate,
    (loss, hook): (&Loss<'_>, Hook),
    chains: &[&BaseChain],
    found: &Suspects<'_>,
) -> Candidate {
    let shell = Shell::of(loss.host, loss.netns());
    let (by_rule, by_policy): (Vec<_>, Vec<_>) = found.list.iter().partition(|s| s.rule.is_some());
    let policies: Vec<_> = by_policy.iter().map(|s| s.chain).collect();
    let rules = by_rule.len();
    let (words, advice) = match (policies.as_slice(), by_rule.as_slice(), chains) {
        ([chain, ..], ..) => (
            policy_words(&policies, rules),
            open_policy(loss, hook, chain, &shell),
        ),
        ([], [first, ..], [_, ..]) => {
            let mut names: Vec<_> = by_rule.iter().map(|s| chain_words(s.chain)).collect();
            names.dedup();
            (
                format!(
                    ": {} reached from chain {}",
                    one_of(rules),
                    names.join(", ")
                ),
                let_through(loss, hook, first.chain, &shell),
            )
        }
        ([], _, [chain]) => (
            format!(": a rule reached from chain {}", chain_words(chain)),
            let_through(loss, hook, chain, &shell),
        ),
        ([], _, [first, ..]) => {
            let names: Vec<_> = chains.iter().map(|c| chain_words(c)).collect();
            (
                format!(": a rule reached from one of {}", names.join(", ")),
                let_through(loss, hook, first, &shell),
            )
        }
        ([], _, []) => {
            candidate.confidence = Confidence::Likely;
            (
                ": no chain of this hook was found when it was read".to_owned(),
                look_everywhere(loss, Some(hook), &shell),
            )
        }
    };
    candidate.summary += &words;
    candidate.advise(advice)
}

/// Chains of which a policy may have done it, or else a rule.
fn policy_words(policies: &[&BaseChain], rules: usize) -> String {
    let names: Vec<_> = policies.iter().map(|chain| chain_words(chain)).collect();
    let mut words = String::new();
    for (n, name) in names.iter().enumerate() {
        words += &match n {
            0 => format!(": chain {name} has policy drop"),
            _ => format!(", and {name} too"),
        };
    }
    if rules > 0 {
        words += &format!(", or {} did it", one_of(rules));
    }
    words
}

fn one_of(rules: usize) -> String {
    if rules == 1 {
        "a rule".to_owned()
    } else {
        format!("one of {rules} rules")
    }
}

/// The only one that can have done it.
fn named(
    mut candidate: Candidate,
    (loss, hook): (&Loss<'_>, Hook),
    who: &Suspect<'_>,
    shell: &Shell,
) -> Candidate {
    candidate.summary += &format!(": {}", words(who));
    let missing = Absent::last(loss, (hook, goes_out(loss, hook)), who.chain)
        .filter(|absent| helps(who, absent))
        .and_then(|absent| element::absent(&absent, shell));
    candidate = candidate.because(
        "rule",
        format!(
            "the only one at this hook that matches: {}{}",
            words(who),
            counted(who)
        ),
    );
    let chain = who.chain;
    let stands = who.rule.as_ref().map_or(&chain.chain, |rule| &rule.chain);
    candidate = candidate.advise(look(shell, chain, stands));
    candidate = source_before::explain(candidate, (loss, hook));
    candidate = by_sender(candidate, (loss, hook), chain);
    if let Some((words, changes)) = untranslated_source::before_a_filter(loss) {
        candidate.summary += &words;
        candidate = candidate.advise(changes);
    }
    if let Some(missing) = missing {
        candidate.summary += &missing.summary;
        candidate = candidate.advise(missing.remedies);
    }
    let Some(rule) = &who.rule else {
        return candidate.advise(open_policy(loss, hook, chain, shell));
    };
    if let Some(filter) = way_back::Filter::of(loss, (chain, rule)) {
        candidate = filter.explain(candidate, loss, shell);
    }
    if rule.stop == Stop::Queue {
        return candidate.advise([nfqueue::without((chain, rule), shell)]);
    }
    let owner = owners::of(&chain.table, &rule.chain, &rule.text);
    candidate = candidate.advise(owner.into_iter().flat_map(|owner| owners_way(owner, rule)));
    if let Some(element) = &who.element
        && let Some(change) = element::change(loss, (hook, chain, rule), element, shell)
    {
        candidate.summary += &change.summary;
        candidate = candidate.advise(change.remedies);
        if change.useless {
            return candidate;
        }
        return candidate.advise(both_ways(loss, hook, (chain, owner), shell));
    }
    if is_for_no_endpoint(loss, hook, owner) {
        return candidate.advise([element::no_endpoint(loss, owner, "rule away")]);
    }
    let member = who.member.as_ref();
    if let Some(change) = member.and_then(|m| element::member(chain, rule, m, shell)) {
        candidate.summary += &change.summary;
        candidate = candidate.advise(change.remedies);
    }
    candidate
        .advise(both_ways(loss, hook, (chain, owner), shell))
        .advise(without_rule((chain, rule), owner, shell))
}

/// Adds that the packet would pass with another source, or another source MAC, or that a route led it here for want of another.
fn by_sender(
    candidate: Candidate,
    (loss, hook): (&Loss<'_>, Hook),
    chain: &BaseChain,
) -> Candidate {
    let at = filter::Hook {
        layer: layer(hook),
        name: hook.chain_hook,
        engine: None,
    };
    let mut candidate = other_source::explain(candidate, (loss, hook));
    if let Some((words, change)) = missing_route::before_a_filter(loss) {
        candidate.summary += &words;
        candidate = candidate.advise([change]);
    }
    let asked = packet(loss, hook, goes_out(loss, hook));
    let netns = loss.netns();
    let allowed = netns.and_then(|ns| Allowed::of(loss.host, (ns, chain), &asked, at));
    match allowed {
        Some(allowed) => allowed.told(candidate),
        None => candidate,
    }
}

/// Whether the packet passed, were the element in its set: the rule lets it pass, or sets a mark for which this one asks.
fn helps(who: &Suspect<'_>, absent: &Absent<'_>) -> bool {
    let of_mark = |test: &Test| {
        matches!(test, Test::Mark { .. })
            || matches!(
                test,
                Test::Is {
                    field: Field::Mark,
                    ..
                }
            )
    };
    let asks = who
        .rule
        .as_ref()
        .is_some_and(|rule| rule.tests.iter().any(of_mark));
    absent.chain == who.chain && (!absent.marks || asks)
}

/// The rule deleted. Who keeps a chain for rules of others wants its own left alone.
pub(super) fn without_rule(
    (chain, rule): (&BaseChain, &FilterRule),
    owner: Option<&Owner>,
    shell: &Shell,
) -> Option<Remedy> {
    let others = owner.and_then(Owner::chain_for_others);
    if others.is_some_and(|others| others != rule.chain) {
        return None;
    }
    let (delete, revert) = delete_rule(chain, rule);
    let change = shell
        .change("or delete the rule", delete)
        .scope("this opens the firewall for all that the rule matches".to_owned())
        .owner(owner.map(Owner::words));
    Some(revert.into_iter().fold(change, Remedy::undone_by))
}

/// Refused at an address of the machine by the one that translates services, and no rule translates it: nothing would
/// answer behind the rule.
fn is_for_no_endpoint(loss: &Loss<'_>, hook: Hook, owner: Option<&Owner>) -> bool {
    let netns = loss.netns().filter(|_| hook.chain_hook == "INPUT");
    let from_outside = loss.dst().is_some_and(|dst| !dst.is_loopback());
    owner.is_some_and(Owner::serves)
        && from_outside
        && netns.is_some_and(|ns| translator::no_rule(loss.host, loss.journey, ns) == Some(true))
}

/// How the one that writes the rule is told to make the change.
fn owners_way(owner: &Owner, rule: &FilterRule) -> Vec<Remedy> {
    if owner.chain_for_others() == Some(rule.chain.as_str()) {
        return vec![text(format!(
            "{} keeps chain {} for rules of others, and this is one of those: who added it?",
            owner.name, rule.chain
        ))];
    }
    let mut list = vec![text(format!(
        "{} writes this rule: {}",
        owner.name,
        owner.way()
    ))];
    if rule.chain.starts_with("DOCKER-ISOLATION") {
        list.push(text(
            "or put both containers into one network: docker network connect NETWORK CONTAINER",
        ));
    }
    list
}

/// How to look at a chain reached from a base chain.
pub(super) fn look(shell: &Shell, base: &BaseChain, name: &str) -> Vec<Remedy> {
    let show = show_reached(base, name);
    let mut list = vec![shell.look("check first: which counter rises", show)];
    let other = other_program(base, name);
    list.extend(other.map(|c| shell.look("or by the program that made it", c)));
    list
}

/// The chains of the suspects; where nobody is suspected, all of the hook.
fn looks(shell: &Shell, chains: &[&BaseChain], found: &Suspects<'_>) -> Vec<Remedy> {
    let base = chains.iter().map(|c| (*c, c.chain.as_str()));
    let suspects = found.list.iter().take(LISTED);
    let below = suspects.filter_map(|s| Some((s.chain, s.rule.as_ref()?.chain.as_str())));
    let mut list: Vec<Remedy> = Vec::new();
    for (base, name) in base.chain(below) {
        for advice in look(shell, base, name) {
            if !list.contains(&advice) {
                list.push(advice);
            }
        }
    }
    list
}

pub(super) fn state(chain: &BaseChain) -> String {
    let policy = if chain.policy_drop { "drop" } else { "accept" };
    let rules = chain.rules.map_or_else(String::new, |n| {
        format!(", {}", count(u64::from(n), "rule"))
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

/// Why chains of IP see packets that a bridge only carries.
fn bridged(candidate: Candidate, loss: &Loss<'_>, hook: Hook, shell: &Shell) -> Candidate {
    if !hook.bridged {
        return candidate;
    }
    let name = switch(loss.v6());
    let value = loss
        .netns()
        .and_then(|ns| loss.host.sysctls.get(&(ns, name.to_owned())))
        .and_then(|v| v.fact.clone());
    let dotted = name.replace('/', ".");
    candidate
        .because(
            "sysctl",
            format!(
                "the packet is only bridged; chains of IP see it by br_netfilter{}",
                value.map_or_else(String::new, |v| format!(" ({dotted} = {v})"))
            ),
        )
        .advise([shell.look("why the IP firewall sees bridged packets (0: it does not; some container networks need 1)", command!["sysctl", dotted])])
}

/// The switch of br_netfilter.
pub fn switch(v6: bool) -> &'static str {
    if v6 {
        "net/bridge/bridge-nf-call-ip6tables"
    } else {
        "net/bridge/bridge-nf-call-iptables"
    }
}

fn open_policy(loss: &Loss<'_>, hook: Hook, chain: &BaseChain, shell: &Shell) -> Vec<Remedy> {
    let read = loss.netns().and_then(|netns| loss.host.filters.get(&netns));
    let owner = read.and_then(|read| owners::of_policy(&read.fact, chain));
    let all = shell
        .change(
            "or let everything pass that no rule drops",
            set_policy(chain, true),
        )
        .undone_by(set_policy(chain, false))
        .scope("this opens the firewall for all flows, not only this one".to_owned())
        .owner(owner.map(|owner| format!("{} keeps this policy: {}", owner.name, owner.way())));
    let narrow = both_ways(loss, hook, (chain, owner), shell);
    // Neighbours need no more than a rule.
    let all = (narrow.is_none() || !discovery::is_one(loss)).then_some(all);
    narrow.into_iter().chain(all).collect()
}

fn let_through(loss: &Loss<'_>, hook: Hook, chain: &BaseChain, shell: &Shell) -> Vec<Remedy> {
    let owner = owners::of(&chain.table, &chain.chain, "");
    let amend = text("or remove or change the rule whose counter rises with each packet");
    both_ways(loss, hook, (chain, owner), shell)
        .into_iter()
        .chain([amend])
        .collect()
}
