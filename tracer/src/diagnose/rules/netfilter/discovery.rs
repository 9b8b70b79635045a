//! Questions for neighbours, and their answers, that a packet filter drops: what lets them pass, and what the rules would
//! do with them then.

use std::net::IpAddr;

use crate::host::Host;
use crate::host::facts::BaseChain;
use crate::model::{KtimeNs, NetNs, Transport};
use crate::network::filter::Layer;
use crate::network::neighbour::filtered::{AtHook, Dropped, Passage, received, reply, sent, ways};
use crate::network::neighbour::{Answer, Ask};
use crate::verdict::Confidence;

use super::super::super::candidate::{Candidate, Specificity, place_at};
use super::super::super::causes::NETFILTER_DROP;
use super::super::super::chain_commands::{AtHead, chain_words};
use super::super::super::hooks::Hook;
use super::super::super::loss::Loss;
use super::super::super::neighbour_commands::let_pass;
use super::super::super::owners;
use super::super::super::remedy::{Remedy, Shell};
use super::super::neighbor::question_words;
use super::answer::{look, state, without_rule};
use super::goes_out;
use super::opening::{MOST, accepted_at};
use super::suspects::{Suspect, counted, layer, packet, words};

/// Lets neighbours find each other where a question for one, or its answer, was dropped; `None` for other packets.
pub(super) fn opened(loss: &Loss<'_>, hook: Hook, chain: &BaseChain) -> Option<Remedy> {
    let at = seen(loss, hook)?;
    let mut way = vec![at.clone()];
    // The answer leaves by the interface by which the question came.
    let own = matches!(at.hook, "INPUT" | "PREROUTING" | "INGRESS") && at.layer != Layer::Bridge;
    if own && !at.is_answer() {
        let back = reply(&at.packet, at.link.mac);
        way.extend(back.into_iter().flat_map(|b| sent(loss.host, at.link, &b)));
    }
    // So does the answer to what is asked from here.
    if !at.incoming && !at.is_answer() {
        let back = reply(&at.packet, None);
        way.extend(
            back.into_iter()
                .flat_map(|b| received(loss.host, at.link, &b)),
        );
    }
    change(loss.host, (chain, &at), &way)
}

/// Whether the lost packet is a question for a neighbour, or an answer.
pub(super) fn is_one(loss: &Loss<'_>) -> bool {
    let headers = loss.event.packet.as_ref();
    headers.is_some_and(|p| p.tunnel.is_none() && matches!(p.transport, Transport::Neighbor { .. }))
}

/// The lost packet at the hook.
fn seen<'a>(loss: &Loss<'a>, hook: Hook) -> Option<AtHook<'a>> {
    if !is_one(loss) {
        return None;
    }
    let incoming = !matches!(hook.chain_hook, "OUTPUT" | "POSTROUTING" | "EGRESS");
    let device = match incoming {
        true => loss.came_in().or(loss.device()),
        false => goes_out(loss, hook).or(loss.device()),
    };
    Some(AtHook {
        link: loss.host.link(device?)?,
        incoming,
        layer: layer(hook),
        hook: hook.chain_hook,
        packet: packet(loss, hook, goes_out(loss, hook)),
    })
}

/// Why a neighbour does not answer, where the rules as they were read drop the question for it or every answer. `since`: when
/// it was asked for first.
#[must_use]
pub fn of_rules<'a>(
    host: &'a Host,
    ask: Ask,
    told: &Answer<'a>,
    since: Option<KtimeNs>,
) -> Option<Candidate> {
    let ways = ways(host, ask, told);
    let stopped = |way: &Vec<AtHook<'a>>| {
        way.iter()
            .find_map(|at| match at.passage(host, since, &[]) {
                Passage::Dropped(dropped) => Some(dropped),
                _ => None,
            })
    };
    // Who else would answer is not kept from it.
    let all: Option<Vec<_>> = ways.iter().map(stopped).collect();
    let (way, dropped) = ways.iter().zip(all?).next()?;
    let (at, netns) = (&dropped.at, dropped.at.link.device.netns);
    let hook = match at.layer {
        Layer::Arp => "ARP".to_owned(),
        Layer::Bridge => format!("BRIDGE-{}", at.hook),
        Layer::Ip | Layer::Device => at.hook.to_owned(),
    };
    let suspect = Suspect::read(dropped.base, (dropped.chain, dropped.rule));
    let what = words(&suspect);
    let side = if at.incoming { "at" } else { "towards" };
    let summary = format!(
        "{} for {}: {hook} DROP on {} {side} {}: {what}",
        protocol_words(ask.address),
        ask.address,
        host.namespace(netns),
        host.interface(at.link.device),
    );
    let shell = Shell::of(host, Some(netns));
    let rule = suspect.rule.as_ref();
    let owner = rule.and_then(|r| owners::of(&dropped.base.table, &r.chain, &r.text));
    Some(
        Candidate::new(
            &NETFILTER_DROP,
            place_at(host, at.link.device, &hook),
            summary,
        )
        .explains(Specificity::Linked)
        .sure(Confidence::Likely)
        .because("chain", state(dropped.base))
        .because(
            "rule",
            format!(
                "by the rules as they were read it stops {}: {what}{}",
                packet_words(at),
                counted(&suspect)
            ),
        )
        .advise(look(&shell, dropped.base, dropped.chain))
        .advise(change(host, (dropped.base, at), way))
        .advise(rule.and_then(|rule| without_rule((dropped.base, rule), owner, &shell))),
    )
}

/// Who asks whom by which protocol.
#[must_use]
pub(super) fn protocol_words(address: IpAddr) -> &'static str {
    match address {
        IpAddr::V6(_) => "neighbour discovery",
        IpAddr::V4(_) => "ARP",
    }
}

/// `the neighbour solicitation from fe80::1 to ff02::1:ff00:80`.
fn packet_words(at: &AtHook<'_>) -> String {
    let what = match (at.packet.transport, at.is_answer()) {
        (Transport::Neighbor { target, .. }, false) => question_words(target),
        (Transport::Neighbor { target, .. }, true) if target.is_ipv6() => "neighbour advertisement",
        _ => "ARP reply",
    };
    let ends = at.packet.tuple.map_or_else(String::new, |tuple| {
        format!(" from {} to {}", tuple.src, tuple.dst)
    });
    format!("the {what}{ends}")
}

/// One change that opens the chain which stops it, and all that stop it, or its answer, then.
fn change(
    host: &Host,
    (base, at): (&BaseChain, &AtHook<'_>),
    way: &[AtHook<'_>],
) -> Option<Remedy> {
    let netns = at.link.device.netns;
    let mut openings = vec![(netns, let_pass(host, base, at))];
    let mut kept = owners::of(&base.table, &base.chain, "").map(owners::Owner::words);
    let mut tried = vec![(netns, accepted_at(base, &base.chain))];
    let mut then = Vec::new();
    for answers in [false, true] {
        let who = match (answers, at.is_answer()) {
            (true, false) => "its answer",
            _ => "it",
        };
        // what lets an ARP request pass names who asks: the answer is another's
        if answers && !at.is_answer() && at.layer != Layer::Ip {
            tried.clear();
        }
        let mut way = way.iter().filter(|at| at.is_answer() == answers).peekable();
        if way.peek().is_none() || at.is_answer() && !answers {
            continue;
        }
        let next = loop {
            let Some(at) = way.peek() else {
                break format!("{who} then passes");
            };
            match at.passage(host, None, &tried) {
                Passage::Passes => {
                    way.next();
                }
                Passage::Dropped(more) if openings.len() < MOST => {
                    let netns = at.link.device.netns;
                    openings.push((netns, let_pass(host, more.base, at)));
                    let owner = owners::of(&more.base.table, &more.base.chain, "");
                    kept = kept.or(owner.map(owners::Owner::words));
                    tried.push((netns, accepted_at(more.base, &more.base.chain)));
                }
                Passage::Dropped(more) => break format!("{who} is then stopped by {}", by(&more)),
                Passage::CannotTell | Passage::Unread(_) => {
                    break format!("whether {who} then passes cannot be told");
                }
            }
        };
        then.push(next);
    }
    let then =
        (!then.is_empty()).then(|| format!("by the rules as they were read, {}", then.join("; ")));
    Some(typed(host, openings)?.owner(kept).then(then))
}

fn by(dropped: &Dropped<'_>) -> String {
    let base = chain_words(dropped.base);
    match dropped.rule {
        Some(rule) => format!("rule {} of chain {} ({base})", rule.number, dropped.chain),
        None => format!("the policy of chain {base}"),
    }
}

/// All openings as one change.
fn typed(host: &Host, openings: Vec<(NetNs, Vec<AtHead>)>) -> Option<Remedy> {
    let mut change: Option<Remedy> = None;
    let mut known: Vec<(NetNs, AtHead)> = Vec::new();
    for (netns, rules) in openings {
        let shell = Shell::of(host, Some(netns));
        for rule in rules {
            let same = |(of, other): &(NetNs, AtHead)| *of == netns && other.insert == rule.insert;
            if known.iter().any(same) {
                continue;
            }
            // One command may take several rules of a chain away.
            let undone =
                |(of, other): &(NetNs, AtHead)| *of == netns && other.delete == rule.delete;
            let taken = known.iter().any(undone);
            let next = match change {
                None => shell.change("let neighbours find each other there", rule.insert.clone()),
                Some(change) => change.and_in(&shell, rule.insert.clone()),
            };
            change = Some(match taken {
                true => next,
                false => next.undone_in(&shell, rule.delete.clone()),
            });
            known.push((netns, rule));
        }
    }
    change
}
