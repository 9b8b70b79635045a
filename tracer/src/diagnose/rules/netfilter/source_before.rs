//! Rules that stop a packet for its source, which another machine on its way had translated: with the source that it had
//! before, the same rules would let it pass. What is wrong then is that translation, and not the rule.

use std::net::IpAddr;

use crate::host::facts::{Field, Question, RuleVerdict, Side, Stop, Test};
use crate::model::{Detail, Direction, NetNs, Step as Seen, Tuple};
use crate::network::filter::{self, Answer, Does, Packet, Rules, Step, Walk, walk};
use crate::network::route::{Decision, Query, Tables, lookup};

use super::super::super::candidate::Candidate;
use super::super::super::chain_commands::{rule_of, rule_words};
use super::super::super::hooks::Hook;
use super::super::super::loss::Loss;
use super::super::super::nat_commands::{Source, SourceRule, translator};
use super::super::super::remedy::{Remedy, Shell, text};
use super::super::super::translation::{self, Change};
use super::goes_out;
use super::suspects::{layer, packet};

/// The last translation of the packet's source on its way to the namespace in which it was lost.
fn change(loss: &Loss<'_>) -> Option<Change> {
    let (netns, source) = (loss.netns()?, loss.outermost()?.src);
    let last = match loss.tunnel() {
        Some(tunnel) => of_tunnel(loss, tunnel.outer)?,
        None => translation::changes(loss.journey)
            .filter(|c| c.before.src != c.after.src)
            .last()?,
    };
    let elsewhere = last.netns != netns && last.after.src == source;
    (loss.journey.direction == Direction::Forward && elsewhere).then_some(last)
}

/// The translation of a tunnel's packet on its way out of the namespace that made it: the tunnel sends from another address.
fn of_tunnel(loss: &Loss<'_>, outer: Tuple) -> Option<Change> {
    let out = |step: &&Seen| matches!(step.event.detail, Detail::Egress);
    let mut steps = loss.steps().iter().rev().filter(out);
    let link = steps.find_map(|step| {
        let link = loss.host.link(step.event.device?)?;
        link.vxlan
            .as_ref()
            .is_some_and(|v| v.local.is_some())
            .then_some(link)
    })?;
    let local = link.vxlan.as_ref()?.local?;
    let (netns, own) = (
        link.device.netns,
        loss.host.is_local(link.device.netns, outer.src),
    );
    let left = loss.steps().iter().filter(out).find_map(|step| {
        let device = step.event.device?;
        let carries = step
            .event
            .packet
            .as_ref()
            .is_some_and(|p| p.tunnel.is_some());
        (device.netns == netns && carries).then_some(device)
    });
    (local != outer.src && own).then_some(Change {
        netns,
        device: left,
        before: Tuple {
            src: local,
            ..outer
        },
        after: outer,
    })
}

/// What to read of the translator, and of the way back to the source that it had.
pub fn questions(loss: &Loss<'_>) -> Vec<Question> {
    let Some((change, netns)) = change(loss).zip(loss.netns()) else {
        return Vec::new();
    };
    let (dst, v6) = (change.before.src, change.before.src.is_ipv6());
    vec![
        Question::Chains {
            netns: change.netns,
        },
        Question::Rules { netns, v6 },
        Question::RoutesTowards { netns, dst },
    ]
}

/// Adds that the packet would pass with the source that it had, and how it keeps that.
pub(super) fn explain(candidate: Candidate, (loss, hook): (&Loss<'_>, Hook)) -> Candidate {
    let told = change(loss).and_then(|change| {
        let before = (change.before.src, change.before.sport);
        Some((change, passes(loss, hook, before)?))
    });
    let Some((change, by)) = told else {
        return candidate;
    };
    let (before, after) = (change.before.src, change.after.src);
    let translator = loss.host.namespace(change.netns);
    let mut candidate = candidate.because(
        "packet",
        format!(
            "{translator} translated source {before} to {after}: with {before} it would pass{by}"
        ),
    );
    candidate.summary += &format!(
        "; with its source {before}, which {translator} translated to {after}, it would pass"
    );
    candidate.advise([kept(loss, &change)])
}

/// The rule that would let it pass with another source, in words; `None` where it would not, or that is not certain.
pub(super) fn passes(loss: &Loss<'_>, hook: Hook, (source, port): (IpAddr, u16)) -> Option<String> {
    let facts = &loss.host.filters.get(&loss.netns()?)?.fact;
    let rules = Rules::of(facts);
    let at = filter::Hook {
        layer: layer(hook),
        name: hook.chain_hook,
        engine: None,
    };
    let now = packet(loss, hook, goes_out(loss, hook));
    let mut tuple = now.tuple?;
    (tuple.src, tuple.sport) = (source, port);
    let then = Packet {
        tuple: Some(tuple),
        ..now.clone()
    };
    let (refused, passed) = (walk(&rules, &now, at), walk(&rules, &then, at));
    if passed.answer() != Answer::Passes || refused.answer() == Answer::Passes {
        return None;
    }
    let lets = |step: &&Step<'_>| {
        matches!(
            step.does,
            Does::Verdict(RuleVerdict::Accept | RuleVerdict::Return)
        ) && !refused
            .steps
            .iter()
            .any(|s| (s.chain, s.rule) == (step.chain, step.rule))
    };
    let by = passed.steps.iter().find(lets).and_then(|step| {
        let rule = rule_of(step.chain, step.rule?, Stop::Accept);
        let words = rule_words(step.base, step.chain, &rule);
        Some(format!(", by {words}: {}", rule.text))
    });
    Some(by.or_else(|| spared_by(&refused)).unwrap_or_default())
}

/// In words, the rule that refuses all sources but some, where one does.
fn spared_by(refused: &Walk<'_>) -> Option<String> {
    let refuses = |step: &&Step<'_>| {
        let stops = matches!(
            step.does,
            Does::Rejects(_) | Does::Verdict(RuleVerdict::Drop)
        );
        stops && step.certain
    };
    let all_but = |test: &Test| match test {
        Test::Address { side, not, .. } => *side == Side::Source && *not,
        Test::InSet { fields, not, .. } => *not && fields.contains(&Field::Address(Side::Source)),
        _ => false,
    };
    let step = refused.steps.iter().find(refuses)?;
    let rule = step.rule.filter(|rule| rule.tests().any(all_but))?;
    let named = rule_of(step.chain, rule, Stop::Drop);
    let words = rule_words(step.base, step.chain, &named);
    Some(format!(", as {words} spares it: {}", named.text))
}

/// The source left as it is, where an answer to it finds back as far as is known here.
fn kept(loss: &Loss<'_>, change: &Change) -> Remedy {
    let (host, source) = (loss.host, change.before.src);
    let translator_of = |netns| translator(host, netns, source.is_ipv6());
    let way = change.device.zip(translator_of(change.netns));
    let Some((device, chain)) = way.filter(|_| finds_back(loss, change)) else {
        return text(format!(
            "best, where the network has a way back to {source}: let {} leave this source as it is",
            host.namespace(change.netns)
        ));
    };
    let mut flow = change.after;
    flow.src = source;
    let device = host.interface(device);
    let rule = SourceRule {
        chain,
        flow: &flow,
        device: &device,
        source: Source::Kept,
    };
    rule.change(
        &Shell::of(host, Some(change.netns)),
        format!("best: leave the source of this flow as it is ({source}), in front of the rules that translate it (new connections)"),
    )
}

/// Whether an answer to the source would leave the namespace of the loss as the packet came in.
fn finds_back(loss: &Loss<'_>, change: &Change) -> bool {
    let leads = |(came, netns): (u32, NetNs)| {
        let mut back = loss.outermost()?.reversed();
        back.dst = change.before.src;
        let found = lookup(&Tables::of(loss.host, netns), &Query::output(back, 0));
        match found.decision {
            Decision::Route { hops, .. } => Some(hops.iter().any(|hop| hop.oif == Some(came))),
            _ => None,
        }
    };
    let came = loss.came_in().map(|device| device.ifindex.0);
    came.zip(loss.netns()).and_then(leads).unwrap_or(false)
}
