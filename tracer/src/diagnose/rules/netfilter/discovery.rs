//! Questions for neighbours, and their answers, that a packet filter drops: what lets them pass, and what the rules would
//! do with them then.

use std::net::IpAddr;

use crate::host::Host;
use crate::host::facts::{BaseChain, Question, Side};
use crate::model::{KtimeNs, NetNs, Transport, Tuple};
use crate::network::bridging::bridge_of;
use crate::network::filter::{self, Layer, Packet, states};
use crate::network::neighbour::filtered::{
    AtHook, CALLED_BY_BRIDGES, Dropped, Passage, received, reply, sent, ways,
};
use crate::network::neighbour::{Answer, Ask};
use crate::network::segment::Crossed;
use crate::network::tunnel;
use crate::verdict::Confidence;

use super::super::super::candidate::{Candidate, Specificity, place_at};
use super::super::super::causes::NETFILTER_DROP;
use super::super::super::chain_commands::{AtHead, chain_words, let_pass as let_flow_pass};
use super::super::super::hooks::Hook;
use super::super::super::loss::Loss;
use super::super::super::neighbour_commands::let_pass;
use super::super::super::other_source::{self, Better};
use super::super::super::owners;
use super::super::super::remedy::{Remedy, Shell, command, sysctl};
use super::super::super::translation::Departure;
use super::super::super::words::interface;
use super::super::neighbor::question_words;
use super::answer::{look, state, without_rule};
use super::goes_out;
use super::opening::{MOST, accepted_at};
use super::sender_mac::Allowed;
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
    change(loss.host, (chain, &at), &way, None)
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
    let link = loss.host.link(device?)?;
    // To chains of IP that a bridge calls, the bridge is the interface and not its port.
    let bridge = bridge_of(loss.host, link.device).filter(|_| hook.bridged);
    let seen = AtHook::new(
        (bridge.unwrap_or(link), incoming),
        (layer(hook), hook.chain_hook),
        packet(loss, hook, goes_out(loss, hook)),
    );
    Some(AtHook {
        carried: hook.bridged,
        ..seen
    })
}

/// Why a neighbour does not answer, where the rules as they were read drop the question for it or every answer. `since`: when
/// it was asked for first. `waits`: what is sent once it has answered.
#[must_use]
pub fn of_rules<'a>(
    host: &'a Host,
    (ask, waits): (Ask, Option<Tuple>),
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
    let candidate = stopped_by(host, ask.address, &dropped);
    let candidate = match dropped.at.tunnel {
        Some(crossed) => by_other_source(candidate, host, crossed, &dropped.at),
        None => by_mac(candidate, host, &dropped),
    };
    let (at, shell) = (
        &dropped.at,
        Shell::of(host, Some(dropped.at.link.device.netns)),
    );
    let opened = match at.tunnel {
        Some(_) => let_tunnel_pass(host, way),
        None => change(host, (dropped.base, at), way, waits),
    };
    let suspect = Suspect::read(dropped.base, (dropped.chain, dropped.rule));
    let rule = suspect.rule.as_ref();
    let owner = rule.and_then(|r| owners::of(&dropped.base.table, &r.chain, &r.text));
    Some(
        candidate
            .advise(opened)
            .advise(rule.and_then(|rule| without_rule((dropped.base, rule), owner, &shell))),
    )
}

/// What stops the question for an address, or the answer, with what to look at.
fn stopped_by(host: &Host, address: IpAddr, dropped: &Dropped<'_>) -> Candidate {
    let (at, netns) = (&dropped.at, dropped.at.link.device.netns);
    let hook = match at.layer {
        Layer::Arp => "ARP".to_owned(),
        Layer::Bridge => format!("BRIDGE-{}", at.hook),
        Layer::Ip | Layer::Device => at.hook.to_owned(),
    };
    let suspect = Suspect::read(dropped.base, (dropped.chain, dropped.rule));
    let what = words(&suspect);
    let side = if at.incoming { "at" } else { "towards" };
    let through = at.tunnel.map_or_else(String::new, |crossed| {
        format!("; it is in {}", tunnel_words(host, crossed, at))
    });
    let summary = format!(
        "{} for {address}: {hook} DROP on {} {side} {}: {what}{through}",
        protocol_words(address),
        host.namespace(netns),
        host.interface(at.link.device),
    );
    let shell = Shell::of(host, Some(netns));
    let by_bridge = at.carried.then(|| {
        shell.look(
            "why the IP firewall sees bridged packets (0: it does not; some container networks need 1)",
            command!["sysctl", sysctl(CALLED_BY_BRIDGES)],
        )
    });
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
    .because(
        "sysctl",
        at.carried.then(|| {
            format!(
                "the packet is only bridged; chains of IP see it by br_netfilter ({} = 1)",
                sysctl(CALLED_BY_BRIDGES)
            )
        }),
    )
    .advise(look(&shell, dropped.base, dropped.chain))
    .advise(by_bridge)
}

/// Adds that it would pass with another source MAC.
fn by_mac(candidate: Candidate, host: &Host, dropped: &Dropped<'_>) -> Candidate {
    let at = &dropped.at;
    let hook = filter::Hook {
        layer: at.layer,
        name: at.hook,
        engine: None,
    };
    let netns = at.link.device.netns;
    match Allowed::of(host, (netns, dropped.base), &at.packet, hook) {
        Some(allowed) => allowed.told(candidate),
        None => candidate,
    }
}

/// Adds that the outer packet would pass with another address of the machine that sends it.
fn by_other_source(
    mut candidate: Candidate,
    host: &Host,
    crossed: Crossed<'_>,
    at: &AtHook<'_>,
) -> Candidate {
    let Some(better) = better_source(host, crossed, at) else {
        return candidate;
    };
    let why = better
        .why()
        .map_or_else(String::new, |why| format!("; {why}"));
    candidate.summary += &format!(
        "; from {}, which {} has too, it would pass{why}",
        better.address(),
        host.namespace(tunnel::underlay_netns(crossed.from)),
    );
    candidate.advise(better.remedies())
}

/// `the tunnel of node1/gnv0: udp 10.0.0.1 > 10.0.0.2:4789`.
fn tunnel_words(host: &Host, crossed: Crossed<'_>, at: &AtHook<'_>) -> String {
    let outer = at
        .packet
        .tuple
        .map_or_else(String::new, |tuple| format!(": {}", outer_words(&tuple)));
    format!(
        "the tunnel of {}{outer}",
        interface(host, crossed.from.device)
    )
}

fn outer_words(outer: &Tuple) -> String {
    let port = match outer.dport {
        0 => String::new(),
        port => format!(", port {port}"),
    };
    format!("{} {} > {}{port}", outer.proto, outer.src, outer.dst)
}

/// Another address of the machine that sends the outer packet with which the rules let it pass, where its route chooses.
fn better_source<'a>(host: &'a Host, crossed: Crossed<'a>, at: &AtHook<'a>) -> Option<Better<'a>> {
    if crossed.remote.local.is_some() {
        return None;
    }
    let left = tunnel_left(host, crossed, at.packet.tuple?)?;
    let passes = |source: IpAddr| {
        let tuple = at.packet.tuple.map(|tuple| Tuple {
            src: source,
            ..tuple
        });
        let packet = Packet {
            tuple,
            ..at.packet.clone()
        };
        let other = AtHook {
            packet,
            ..at.clone()
        };
        matches!(other.passage(host, None, &[]), Passage::Passes)
    };
    let mut others = other_source::others(host, &left);
    let other = others.find(|other| passes(other.address))?;
    Some(Better::new(host, left, other))
}

/// How the outer packet left.
fn tunnel_left(host: &Host, crossed: Crossed<'_>, tuple: Tuple) -> Option<Departure> {
    let netns = tunnel::underlay_netns(crossed.from);
    let device = host.owners(tuple.src).find(|owner| owner.netns == netns)?;
    Some(Departure {
        device,
        tuple,
        before: None,
    })
}

/// What to read of a machine whose tunnel carries the question, where it has several addresses.
pub fn tunnel_questions(host: &Host, ask: Ask, told: &Answer<'_>) -> Vec<Question> {
    let ways = ways(host, ask, told);
    let all = ways.iter().flatten().filter_map(|at| {
        let crossed = at.tunnel.filter(|crossed| crossed.remote.local.is_none())?;
        let left = tunnel_left(host, crossed, at.packet.tuple?)?;
        let several = other_source::others(host, &left).next().is_some();
        several.then(|| other_source::questions(&left))
    });
    let mut list: Vec<Question> = Vec::new();
    for question in all.flatten() {
        if !list.contains(&question) {
            list.push(question);
        }
    }
    list
}

/// The outer packets that carry question and answer let pass where they are stopped.
fn let_tunnel_pass(host: &Host, way: &[AtHook<'_>]) -> Option<Remedy> {
    let mut change: Option<Remedy> = None;
    for at in way.iter().filter(|at| at.tunnel.is_some()) {
        let Passage::Dropped(dropped) = at.passage(host, None, &[]) else {
            continue;
        };
        let shell = Shell::of(host, Some(at.link.device.netns));
        let chain = (dropped.base, dropped.base.chain.as_str());
        let tuple = at.packet.tuple?;
        let rule = let_flow_pass(chain, &tuple, Side::Destination, &shell)?;
        let next = match change {
            None => shell.change("let the tunnel's packets pass", rule.insert),
            Some(change) => change.and_in(&shell, rule.insert),
        };
        change = Some(next.undone_in(&shell, rule.delete));
    }
    change
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
    if let Some(outer) = at.packet.tuple.filter(|_| at.tunnel.is_some()) {
        return outer_words(&outer);
    }
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
    waits: Option<Tuple>,
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
    let found = openings.len();
    openings.extend(
        waits
            .into_iter()
            .flat_map(|waits| of_flow(host, way, &waits)),
    );
    if openings.len() > found {
        then.push("so do the packets that wait, and their answers".to_owned());
    }
    let then =
        (!then.is_empty()).then(|| format!("by the rules as they were read, {}", then.join("; ")));
    Some(typed(host, openings)?.owner(kept).then(then))
}

/// What lets the packets pass that wait for the neighbour, and their answers, where a bridge has chains of IP look at both and they
/// are stopped there as well.
fn of_flow(host: &Host, way: &[AtHook<'_>], waits: &Tuple) -> Vec<(NetNs, Vec<AtHead>)> {
    let carried = way.iter().filter(|at| at.carried);
    let stopped = carried.filter_map(|at| {
        let (tuple, server, state) = match at.is_answer() {
            false => (*waits, Side::Destination, states::NEW),
            true => (waits.reversed(), Side::Source, states::ESTABLISHED),
        };
        let packet = Packet {
            tuple: Some(tuple),
            iif: at.packet.iif.clone(),
            oif: at.packet.oif.clone(),
            local: at.packet.local.clone(),
            states: Some(state),
            ..Packet::default()
        };
        let flow = AtHook {
            packet,
            ..at.clone()
        };
        let Passage::Dropped(dropped) = flow.passage(host, None, &[]) else {
            return None;
        };
        let netns = at.link.device.netns;
        let chain = (dropped.base, dropped.base.chain.as_str());
        let rule = let_flow_pass(chain, &tuple, server, &Shell::of(host, Some(netns)))?;
        Some((netns, vec![rule]))
    });
    stopped.collect()
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
