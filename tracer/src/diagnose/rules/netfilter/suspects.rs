//! Which rule or policy of the chains at a hook it was: what was read beside the loss is walked as the kernel walks it,
//! without rules whose counters tell that no packet met them. What may end the walk is suspected.

use crate::host::facts::{
    BaseChain, Chain, Element, Field, FilterRule, Rule, RuleVerdict, Ruleset, Statement, Stop,
    Test, Value,
};
use crate::model::{Device, NetNs, Transport};
use crate::network::filter::{self, Chosen, Interface, Layer, Outcome, Packet, Rules, Walk};
use crate::uapi::nf_conntrack::{
    IPS_CONFIRMED, IPS_SEEN_REPLY, STATE_ESTABLISHED, STATE_INVALID, STATE_NEW, STATE_RELATED,
    STATE_UNTRACKED,
};

use super::super::super::chain_commands::{chain_words, rule_of, rule_words};
use super::super::super::hooks::Hook;
use super::super::super::loss::Loss;
use super::super::super::traced::{self, Stopped};

/// Somebody who may have done it.
#[derive(Clone, Debug)]
pub struct Suspect<'a> {
    /// The base chain.
    pub chain: &'a BaseChain,
    /// The rule, with the tests of the jumps that lead to it; `None`: the chain's policy.
    pub rule: Option<FilterRule>,
    /// By how much its counter rose between two looks, where there were two.
    pub moved: Option<u64>,
    /// The element of a map that gave the verdict.
    pub element: Option<OfMap>,
    /// The element of a set for which the rule is met.
    pub member: Option<OfMap>,
}

/// An element of a set or a map.
#[derive(Clone, Debug)]
pub struct OfMap {
    /// The family of its table; empty for an ipset.
    pub family: String,
    /// The set's name.
    pub map: String,
    /// What is looked up in it.
    pub fields: Vec<Field>,
    /// The element.
    pub element: Element,
}

impl OfMap {
    fn of(chosen: Chosen<'_>) -> Self {
        Self {
            family: chosen.map.family.clone(),
            map: chosen.map.name.clone(),
            fields: chosen.fields.to_vec(),
            element: chosen.element.clone(),
        }
    }
}

/// All of them.
#[derive(Debug, Default)]
pub struct Suspects<'a> {
    /// In the order of evaluation.
    pub list: Vec<Suspect<'a>>,
    /// Nobody else can have done it.
    pub complete: bool,
    /// By the rules as they were read the packet passes.
    pub passes: bool,
}

/// An element that a set has not, and what would come of it.
#[derive(Clone, Debug)]
pub(super) struct Absent<'a> {
    /// The base chain.
    pub chain: &'a BaseChain,
    /// The rule that would be met.
    pub rule: FilterRule,
    /// The element.
    pub element: OfMap,
    /// The rule sets a mark, and does not let the packet pass by itself.
    pub marks: bool,
}

impl<'a> Absent<'a> {
    /// Of the last rule on the packet's way that only a set keeps from letting it pass the chains which stopped it. What no
    /// packet met counts here, since none could.
    pub(super) fn last(
        loss: &Loss<'a>,
        (hook, goes_out): (Hook, Option<Device>),
        stopped: &BaseChain,
    ) -> Option<Self> {
        let facts = &loss.host.filters.get(&loss.netns()?)?.fact;
        let rules = Rules::of(facts);
        let at = filter::Hook {
            layer: layer(hook),
            name: hook.chain_hook,
            engine: Some(stopped.engine),
        };
        let walk = filter::walk(&rules, &packet(loss, hook, goes_out), at);
        let mut outside = walk.outside.iter().rev();
        outside.find_map(|outside| Self::of(facts, outside))
    }

    fn of(facts: &'a Ruleset, outside: &filter::Outside<'_>) -> Option<Self> {
        let lets = |s: &Statement| {
            matches!(
                s,
                Statement::SetMark(_)
                    | Statement::Verdict(RuleVerdict::Accept | RuleVerdict::Return)
            )
        };
        if !outside.rule.statements().any(lets) {
            return None;
        }
        let chain = facts.base.iter().find(|base| *base == outside.base)?;
        let one = |value: &Value| (value.clone(), value.clone());
        Some(Self {
            chain,
            rule: rule_of(outside.chain, outside.rule, Stop::Accept),
            element: OfMap {
                family: outside.set.family.clone(),
                map: outside.set.name.clone(),
                fields: outside.fields.to_vec(),
                element: Element {
                    key: outside.key.iter().map(one).collect(),
                    verdict: None,
                    comment: None,
                    remaining_s: None,
                },
            },
            marks: outside
                .rule
                .statements()
                .any(|s| matches!(s, Statement::SetMark(_))),
        })
    }
}

impl<'a> Suspects<'a> {
    /// The one that is left.
    pub fn only(&self) -> Option<&Suspect<'a>> {
        match self.list.as_slice() {
            [one] if self.complete => Some(one),
            _ => None,
        }
    }

    /// The one of which nf_tables told.
    fn told(self, suspect: Suspect<'a>) -> Self {
        let rule = |s: &Suspect<'_>| {
            let place = |r: &FilterRule| (r.handle, r.chain.clone());
            s.rule.as_ref().map(place)
        };
        let known = self
            .list
            .into_iter()
            .find(|s| s.chain == suspect.chain && rule(s) == rule(&suspect));
        Self {
            list: vec![known.unwrap_or(suspect)],
            complete: true,
            passes: false,
        }
    }

    /// Those whose counters rose, where all have one.
    fn counted(mut self) -> Self {
        let counted = |s: &Suspect<'_>| s.rule.as_ref().is_none_or(|r| r.packets.is_some());
        if self.list.iter().any(|s| s.moved.is_some()) && self.list.iter().all(counted) {
            self.list.retain(|s| s.moved.is_some());
        }
        self
    }
}

impl<'a> Suspect<'a> {
    /// What ended a walk; `None` where its counter tells that it met no packet.
    fn of(
        loss: &Loss<'a>,
        facts: &'a Ruleset,
        chains: &[&'a BaseChain],
        end: Ended<'_, '_>,
    ) -> Option<Self> {
        let base = end.base;
        let chain = chains.iter().find(|c| **c == base)?;
        let moved = match end.rule {
            Some(rule) => moved_below(loss, base, end.chain, rule),
            None => policy_moved(loss, base),
        };
        // A policy that met no packet, or none meanwhile.
        if end.rule.is_none() && (base.policy_packets == Some(0) || moved == Some(0)) {
            return None;
        }
        let stop = (end.stop, end.via);
        Some(Self {
            chain,
            rule: end
                .rule
                .map(|rule| with_jumps(facts, base, (end.chain, rule), stop)),
            moved,
            element: end.element.map(OfMap::of),
            member: end.member.map(OfMap::of),
        })
    }

    /// A rule of a chain, or a base chain's policy, that drops by what was read alone.
    pub(super) fn read(base: &'a BaseChain, (chain, rule): (&str, Option<&Rule>)) -> Self {
        Self {
            chain: base,
            rule: rule.map(|rule| rule_of(chain, rule, Stop::Drop)),
            moved: None,
            element: None,
            member: None,
        }
    }

    /// Whether it is the same rule or policy.
    fn is(&self, other: &Self) -> bool {
        let same_rule = match (&self.rule, &other.rule) {
            (Some(a), Some(b)) => (a.handle, a.number, &a.chain) == (b.handle, b.number, &b.chain),
            (None, None) => true,
            _ => false,
        };
        self.chain == other.chain && same_rule
    }
}

/// Who may have ended the packet's way in one of these manners; chains in the order of their priorities.
pub(super) fn of<'a>(
    loss: &Loss<'a>,
    (hook, goes_out): (Hook, Option<Device>),
    chains: &[&'a BaseChain],
    manners: &[Stop],
) -> Suspects<'a> {
    let Some(ruleset) = loss.netns().and_then(|ns| loss.host.filters.get(&ns)) else {
        return Suspects::default();
    };
    let facts = &ruleset.fact;
    let Some(first) = chains.first().map(|c| c.engine) else {
        return Suspects {
            complete: true,
            ..Suspects::default()
        };
    };
    let rules = Rules::of(facts)
        .without(|chain, rule| rule.packets == Some(0) || moved(loss, chain, rule) == Some(0));
    let at = filter::Hook {
        layer: layer(hook),
        name: hook.chain_hook,
        // The chains are of both where the kernel does not tell which engine it was.
        engine: Some(first).filter(|engine| chains.iter().all(|c| c.engine == *engine)),
    };
    let walk = filter::walk(&rules, &packet(loss, hook, goes_out), at);
    let mut found = Suspects {
        list: Vec::new(),
        complete: !walk.unknown,
        passes: walk.passes && walk.ends.is_empty() && !walk.unknown,
    };
    for end in ends(&walk, manners) {
        let suspect = Suspect::of(loss, facts, chains, end);
        // Several jumps may lead to one rule.
        if let Some(suspect) = suspect
            && !found.list.iter().any(|known| known.is(&suspect))
        {
            found.list.push(suspect);
        }
    }
    match told(loss, facts, chains) {
        Some(suspect) => found.told(suspect),
        None => found.counted(),
    }
}

/// What may end a walk.
struct Ended<'w, 'a> {
    base: &'a BaseChain,
    chain: &'a str,
    /// `None`: the base chain's policy.
    rule: Option<&'a Rule>,
    stop: Stop,
    /// Chains and numbers of the rules that jump there.
    via: &'w [(&'a str, u32)],
    element: Option<Chosen<'a>>,
    member: Option<Chosen<'a>>,
}

/// What may end a walk in one of these manners.
fn ends<'w, 'a>(walk: &'w Walk<'a>, manners: &[Stop]) -> impl Iterator<Item = Ended<'w, 'a>> {
    let stop = |outcome: &Outcome| match outcome {
        Outcome::Accept => Stop::Accept,
        Outcome::Drop => Stop::Drop,
        Outcome::Reject(_) => Stop::Reject,
        Outcome::Queue => Stop::Queue,
    };
    let stopped = walk.ends.iter().map(move |e| Ended {
        base: e.base,
        chain: e.chain,
        rule: e.rule,
        stop: stop(&e.outcome),
        via: &e.via,
        element: e.element,
        member: e.member,
    });
    let translated = walk.translated.iter().map(|t| Ended {
        base: t.base,
        chain: t.chain,
        rule: Some(t.rule),
        stop: Stop::Nat,
        via: &[],
        element: None,
        member: None,
    });
    stopped
        .chain(translated)
        .filter(|end| manners.contains(&end.stop))
}

/// Who did it, as nf_tables told (`--rules`).
fn told<'a>(loss: &Loss<'a>, facts: &'a Ruleset, chains: &[&'a BaseChain]) -> Option<Suspect<'a>> {
    let Stopped { base, step, .. } = traced::stop(loss)?;
    let chain = chains.iter().find(|chain| **chain == base)?;
    let rule = match step.handle {
        Some(_) => {
            let rule = traced::rule_of(facts, step)?;
            let stop = rule.stop().unwrap_or(Stop::Drop);
            Some(with_jumps(facts, base, (&step.chain, rule), (stop, &[])))
        }
        None => None,
    };
    Some(Suspect {
        chain,
        rule,
        moved: None,
        element: None,
        member: None,
    })
}

/// A rule with the tests of the jumps that lead to it.
fn with_jumps(
    facts: &Ruleset,
    base: &BaseChain,
    (chain, rule): (&str, &Rule),
    (stop, via): (Stop, &[(&str, u32)]),
) -> FilterRule {
    let jumps = via.iter().filter_map(|(name, number)| {
        let mut rules = facts.beside(base);
        rules.find(|(chain, rule)| chain == name && rule.number == *number)
    });
    let tests: Vec<Test> = jumps
        .flat_map(|(_, jump)| jump.tests())
        .chain(rule.tests())
        .cloned()
        .collect();
    FilterRule {
        tests,
        ..rule_of(chain, rule, stop)
    }
}

/// The packet as the chains of the hook saw it.
pub(super) fn packet(loss: &Loss<'_>, hook: Hook, goes_out: Option<Device>) -> Packet {
    let named = |device: Option<Device>| {
        let link = device.and_then(|device| loss.host.link(device));
        link.map_or(Interface::Unknown, |link| {
            Interface::Named(link.name.clone())
        })
    };
    // What br_netfilter shows as interface is the bridge, or its port.
    let (iif, oif) = if hook.bridged {
        (Interface::Unknown, Interface::Unknown)
    } else {
        let none = |is: bool, otherwise| if is { Interface::Absent } else { otherwise };
        (
            none(hook.name == "OUTPUT", named(loss.came_in())),
            none(
                matches!(hook.name, "PREROUTING" | "INPUT" | "INGRESS"),
                named(goes_out),
            ),
        )
    };
    let headers = loss.event.packet.as_ref();
    let plain = headers.filter(|p| p.tunnel.is_none());
    let local = loss.netns().into_iter();
    let local = local
        .flat_map(|netns| loss.host.addresses_in(netns))
        .map(|address| address.address)
        .collect();
    Packet {
        tuple: loss.outermost(),
        transport: plain.map_or(Transport::Other, |p| p.transport),
        fragment: plain.and_then(|p| p.fragment),
        iif,
        oif,
        source_mac: headers.and_then(|p| p.ethernet).map(|e| e.src),
        destination_mac: headers.and_then(|p| p.ethernet).map(|e| e.dst),
        mark: Some(loss.info.mark),
        states: states_of(loss),
        status: loss.info.ct_status,
        packet_type: Some(loss.event.pkt_type),
        length: plain.map(|p| p.ip_len).filter(|length| *length > 0),
        ttl: plain.map(|p| p.ttl).filter(|ttl| *ttl > 0),
        next_header: plain.and_then(|p| p.next_header),
        tos: plain.map(|p| p.tos),
        local: Some(local),
        ..Packet::default()
    }
}

pub(super) fn layer(hook: Hook) -> Layer {
    match hook.name {
        "INGRESS" | "EGRESS" => Layer::Device,
        "ARP" => Layer::Arp,
        _ if hook.bridge => Layer::Bridge,
        _ => Layer::Ip,
    }
}

/// The states of which the packet may be one.
pub fn states_of(loss: &Loss<'_>) -> Option<u32> {
    if loss.info.ct_untracked {
        return Some(STATE_UNTRACKED);
    }
    if !loss.info.ct_attached? {
        return Some(STATE_INVALID);
    }
    Some(match loss.info.ct_status? {
        status if status & IPS_CONFIRMED == 0 => STATE_NEW | STATE_RELATED,
        status if status & IPS_SEEN_REPLY != 0 => STATE_ESTABLISHED | STATE_RELATED,
        _ => STATE_NEW | STATE_RELATED | STATE_ESTABLISHED,
    })
}

/// What was read first, where packets were lost between then and now.
fn before<'a>(loss: &Loss<'a>) -> Option<&'a Ruleset> {
    let netns = loss.netns()?;
    let (before, _) = loss.host.filters_before.get(&netns)?;
    let now = loss.host.filters.get(&netns)?;
    let between = loss.event.at > before.at && loss.event.at < now.at;
    between.then_some(&before.fact)
}

/// By how much a rule's counter rose since the first look.
fn moved(loss: &Loss<'_>, chain: &Chain, rule: &Rule) -> Option<u64> {
    let packets = rule.packets?;
    let old = before(loss)?;
    let like = |c: &&Chain| {
        c.engine == chain.engine
            && (&c.family, &c.table, &c.name) == (&chain.family, &chain.table, &chain.name)
    };
    let old = old.chains.iter().find(like)?;
    let same =
        |r: &&Rule| (r.handle, &r.chain) == (rule.handle, &rule.chain) && r.text == rule.text;
    // Nothing counts down: what stood elsewhere then is another rule.
    let place = usize::try_from(rule.number).ok()?.saturating_sub(1);
    let counted = old
        .rules
        .get(place)
        .filter(same)
        .or_else(|| old.rules.iter().find(same))
        .map_or(Some(0), |r| r.packets)?;
    Some(packets.saturating_sub(counted))
}

fn moved_below(loss: &Loss<'_>, base: &BaseChain, chain: &str, rule: &Rule) -> Option<u64> {
    let netns = loss.netns()?;
    let now = &loss.host.filters.get(&netns)?.fact;
    // A recording made before rules were kept whole lists it below its base chain.
    let name = if rule.chain.is_some() {
        base.chain.as_str()
    } else {
        chain
    };
    let mut chains = now.chains.iter();
    let chain = chains.find(|c| c.name == name && c.beside(base))?;
    moved(loss, chain, rule)
}

fn policy_moved(loss: &Loss<'_>, base: &BaseChain) -> Option<u64> {
    let same = |c: &&BaseChain| {
        c.engine == base.engine
            && (&c.family, &c.table, &c.chain) == (&base.family, &base.table, &base.chain)
    };
    let old = before(loss)?.base.iter().find(same)?;
    Some(base.policy_packets?.saturating_sub(old.policy_packets?))
}

/// Who it is, in the words of evidence.
pub(super) fn words(suspect: &Suspect<'_>) -> String {
    let chain = suspect.chain;
    match &suspect.rule {
        None => format!("chain {} has policy drop", chain_words(chain)),
        Some(rule) => format!("{}: {}", rule_words(chain, &rule.chain, rule), rule.text),
    }
}

/// How often it met a packet, for evidence.
pub(super) fn counted(suspect: &Suspect<'_>) -> String {
    let packets = match &suspect.rule {
        Some(rule) => rule.packets,
        None => suspect.chain.policy_packets,
    };
    match (packets, suspect.moved) {
        (Some(packets), Some(moved)) => {
            format!(" ({packets} packets, {moved} of them while tracing)")
        }
        (Some(packets), None) => format!(" ({packets} packets so far)"),
        (None, _) => String::new(),
    }
}

/// Whether a namespace's chains are to be read once more: packets were lost after the last look, and that was not just
/// now. Looks become rarer.
pub fn look_again(loss: &Loss<'_>, netns: NetNs) -> Option<u8> {
    /// The first wait, then twice as long each time.
    const WAIT_NS: u64 = 200_000_000;
    const MOST: u8 = 10;
    let last = loss.host.filters.get(&netns)?;
    let round = loss.host.filters_before.get(&netns).map_or(0, |(_, n)| *n);
    let waited = loss.trace.now.since(last.at);
    (round < MOST && loss.event.at > last.at && waited > WAIT_NS << round).then_some(round)
}
