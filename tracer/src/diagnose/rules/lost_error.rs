//! What became of the ICMP error that a router built about a packet which was too big: whether it came to the sender, and
//! what stopped it on its way. A sender that is not told sends the same again: a path MTU black hole.

use std::net::IpAddr;

use crate::host::facts::{BaseChain, Rule, RuleVerdict, Statement, Stop, Test};
use crate::model::{Detail, Device, Direction, Journey, NetNs, Step};
use crate::network::filter::states;

use super::super::chain_commands::{at_head, rule_of, rule_words, show_chain};
use super::super::hooks::{self, Hook};
use super::super::loss::Loss;
use super::super::remedy::{Remedy, Shell, command, ip};
use super::super::words;
use super::netfilter;

/// Where the errors about a flow ended.
pub(super) enum Errors<'a> {
    /// They came to the sender, or nothing says that they did not.
    Told(String),
    /// None was built.
    None,
    /// They were seen on their way, and not at the sender.
    Unseen(Device),
    /// They died.
    Lost(LostError<'a>),
}

/// An ICMP error about the flow that died.
pub(super) struct LostError<'a> {
    loss: Loss<'a>,
    netns: NetNs,
    hook: Option<Hook>,
    count: u64,
}

impl<'a> Errors<'a> {
    /// About a packet that was too big.
    pub(super) fn of(loss: &Loss<'a>) -> Self {
        if let Some(lost) = LostError::of(loss) {
            return Self::Lost(lost);
        }
        let Some(told) = loss.told() else {
            return Self::None;
        };
        match unseen_at_sender(loss) {
            Some(device) => Self::Unseen(device),
            None => Self::Told(told),
        }
    }

    /// Whether the sender heard of it, for the summary.
    pub(super) fn summary(&self, loss: &Loss<'_>) -> String {
        let host = loss.host;
        match self {
            Self::Lost(error) => format!(
                "; the ICMP error that tells the sender was lost on {} (path MTU black hole)",
                host.namespace(error.netns)
            ),
            Self::Unseen(device) => format!(
                "; the ICMP error that tells the sender was last seen on {}, and not at the sender",
                words::interface(host, *device)
            ),
            Self::Told(told) => format!("; the sender was told ({told})"),
            Self::None => match unreachable_sender(loss) {
                Some(sender) => format!(
                    "; the sender was not told: {} has no route of its own to {sender}",
                    loss.namespace_words()
                ),
                None => "; the sender was not told".to_owned(),
            },
        }
    }

    /// Where they died, for the evidence.
    pub(super) fn words(&self) -> Option<String> {
        match self {
            Self::Lost(error) => Some(error.words()),
            _ => None,
        }
    }
}

/// The sender, where the kernel said that what this host itself sends there finds no route: an ICMP error is looked up so
/// (`icmp_route_lookup`, net/ipv4/icmp.c), whatever way packets of others have.
pub(super) fn unreachable_sender(loss: &Loss<'_>) -> Option<IpAddr> {
    let (netns, sender) = (loss.netns()?, loss.outermost()?.src);
    let mut answers = loss.host.routes.iter().rev().map(|dated| &dated.fact);
    let answer = answers.find(|a| a.netns == netns && a.iif == 0 && a.tuple.dst == sender)?;
    answer.result.is_err().then_some(sender)
}

/// The steps of errors about the flow.
fn errors<'a>(loss: &Loss<'a>) -> impl Iterator<Item = &'a Journey> {
    loss.journeys(Direction::Error)
}

/// Where the errors were last seen, where the sender's namespace is looked at and none came there.
fn unseen_at_sender(loss: &Loss<'_>) -> Option<Device> {
    // About a tunnel's packet the end of the tunnel is told.
    if loss.event.packet.as_ref()?.tunnel.is_some() {
        return None;
    }
    let first = &loss.journey.steps.first()?.event;
    let sender = first
        .device
        .filter(|_| matches!(first.detail, Detail::Egress))?;
    let came = |journey: &Journey| {
        let mut devices = journey.steps.iter().filter_map(|s| s.event.device);
        devices.any(|device| device.netns == sender.netns)
    };
    if loss.netns() == Some(sender.netns) || errors(loss).any(came) {
        return None;
    }
    let steps = errors(loss).flat_map(|j| &j.steps);
    steps.filter_map(|s| s.event.device).last()
}

impl<'a> LostError<'a> {
    fn of(loss: &Loss<'a>) -> Option<Self> {
        let mut lost = errors(loss).filter_map(|j| {
            let is_drop = |s: &Step| matches!(s.event.detail, Detail::Drop(_));
            let at = j.steps.iter().rposition(is_drop)?;
            let own = Loss::at((loss.trace, loss.host), loss.flow, j, at)?;
            Some((own.netns()?, own))
        });
        let (netns, first) = lost.next()?;
        Some(Self {
            loss: first,
            netns,
            hook: hooks::of(&first.info.stack),
            count: lost.count() as u64 + 1,
        })
    }

    fn words(&self) -> String {
        let first = &self.loss;
        let at = self
            .hook
            .map_or_else(String::new, |hook| format!(", hook {}", hook.name));
        format!(
            "{} about it died{}: {} in {}{at}: a path MTU black hole",
            words::count(self.count, "ICMP error"),
            first.at_words(),
            first.reason(),
            first.function(),
        )
    }

    /// The chain that drops it, where one filter did.
    fn chain(&self) -> Option<&'a BaseChain> {
        let hook = self.hook?;
        let (_, found) = netfilter::suspected(&self.loss, hook, &[Stop::Drop])?;
        found.list.first().map(|suspect| suspect.chain)
    }

    /// The rule that accepts answers and not what is related to them, as ICMP errors are (nf_conntrack_icmp_error,
    /// net/netfilter/nf_conntrack_proto_icmp.c).
    fn answers_alone(&self, chain: &BaseChain) -> Option<(&'a str, &'a Rule)> {
        let accepts = |rule: &Rule| {
            rule.statements()
                .any(|s| matches!(s, Statement::Verdict(RuleVerdict::Accept)))
        };
        let alone = |test: &Test| {
            matches!(test, Test::State { mask, not: false }
                if mask & states::ESTABLISHED != 0 && mask & states::RELATED == 0)
        };
        let facts = &self.loss.host.filters.get(&self.netns)?.fact;
        let mut rules = facts.beside(chain);
        rules.find(|(_, rule)| accepts(rule) && rule.tests().any(alone))
    }

    /// In words, for the evidence.
    pub(super) fn related_words(&self) -> Option<String> {
        let chain = self.chain()?;
        let (name, rule) = self.answers_alone(chain)?;
        let which = rule_words(chain, name, &rule_of(name, rule, Stop::Accept));
        Some(format!(
            "{which} accepts ESTABLISHED without RELATED, which an ICMP error about a connection is: {}",
            rule.text
        ))
    }

    /// What to look at.
    pub(super) fn looks(&self) -> Vec<Remedy> {
        let shell = Shell::of(self.loss.host, Some(self.netns));
        const TEXT: &str = "look first: the filter that drops the ICMP error; it should let \"fragmentation needed\" and \"packet too big\" pass";
        if let Some(chain) = self.chain() {
            return vec![shell.look(TEXT, show_chain(chain))];
        }
        let iptables = if self.loss.v6() {
            "ip6tables"
        } else {
            "iptables"
        };
        let hook = self.hook.map_or("OUTPUT", |hook| hook.name);
        vec![
            shell.look(TEXT, command![iptables, "-S", hook]),
            shell.look("or a chain of nftables", "nft list ruleset"),
        ]
    }

    /// The error let through. The sender forgets what it learned when that is taken back.
    pub(super) fn let_pass(&self, sender: Option<NetNs>) -> Option<Remedy> {
        let (host, chain) = (self.loss.host, self.chain()?);
        let shell = Shell::of(host, Some(self.netns));
        let related = self.answers_alone(chain).is_some();
        let rule = pass(chain, self.loss.v6(), related);
        let rule = at_head((chain, &chain.chain), &rule, &shell);
        let change = shell
            .change(
                "let the sender be told: it then sends what passes",
                rule.insert,
            )
            .undone_by(rule.delete);
        Some(match sender {
            Some(sender) => change.undone_in(
                &Shell::of(host, Some(sender)),
                command![..ip(self.loss.v6()), "route flush cache"],
            ),
            None => change,
        })
    }
}

/// The rule that lets the error pass: as related to a known connection, where the chain looks at that, else by its type.
fn pass(chain: &BaseChain, v6: bool, related: bool) -> Vec<String> {
    let rule = match (chain.is_iptables(), v6, related) {
        (true, false, true) => "-p icmp -m conntrack --ctstate RELATED -j ACCEPT",
        (true, true, true) => "-p ipv6-icmp -m conntrack --ctstate RELATED -j ACCEPT",
        (true, false, false) => "-p icmp --icmp-type fragmentation-needed -j ACCEPT",
        (true, true, false) => "-p icmpv6 --icmpv6-type packet-too-big -j ACCEPT",
        (false, false, true) => "meta l4proto icmp ct state related accept",
        (false, true, true) => "meta l4proto ipv6-icmp ct state related accept",
        (false, false, false) => "icmp type destination-unreachable icmp code 4 accept",
        (false, true, false) => "icmpv6 type packet-too-big accept",
    };
    rule.split(' ').map(str::to_owned).collect()
}
