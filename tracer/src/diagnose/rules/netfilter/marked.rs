//! Who set the mark for which a packet was dropped: the rule that drops is the same for all that are marked, as
//! kube-proxy's `KUBE-FIREWALL` is, and says nothing of why.

use crate::host::facts::{Rule, RuleVerdict, Statement};
use crate::network::filter::{self, Interface, Packet, Rules, Step, walk};

use super::super::super::hooks::Hook;
use super::super::super::loss::Loss;
use super::suspects;

/// The rules that set it.
pub(super) struct SetBy {
    /// The one that does, and the one that sends the packet to its chain.
    pub(super) evidence: String,
    /// The one that chose the packet, as a part of the summary.
    pub(super) summary: String,
}

/// Who set it. `bits`: those for which the packet was dropped.
pub(super) fn set_by(loss: &Loss<'_>, hook: Hook, bits: u32) -> Option<SetBy> {
    let mark = Some(loss.info.mark & bits).filter(|mark| *mark != 0)?;
    let facts = &loss.host.filters.get(&loss.netns()?)?.fact;
    let (name, oif) = match hook.name {
        "OUTPUT" => ("OUTPUT", Interface::Unknown),
        _ => ("PREROUTING", Interface::Absent),
    };
    let packet = Packet {
        mark: Some(0),
        states: Some(filter::states::NEW),
        status: Some(0),
        oif,
        ..suspects::packet(loss, hook, None)
    };
    let at = filter::Hook {
        layer: suspects::layer(hook),
        name,
        engine: None,
    };
    let rules = Rules::of(facts);
    let found = walk(&rules, &packet, at);
    let sets = |rule: &Rule| {
        rule.statements().any(
            |s| matches!(s, Statement::SetMark(new) if new.from.is_none() && new.xor & mark != 0),
        )
    };
    let place = found.steps.iter().position(|s| s.rule.is_some_and(sets))?;
    let (before, setter) = found.steps.split_at_checked(place)?;
    let setter = setter.first()?;
    let leads = |step: &&Step<'_>| {
        step.rule.is_some_and(|rule| {
            rule.statements().any(|s| {
                matches!(s, Statement::Verdict(RuleVerdict::Jump(to) | RuleVerdict::Goto(to)) if to == setter.chain)
            })
        })
    };
    let from = before.iter().rev().find(leads).and_then(words);
    let setter = words(setter)?;
    Some(SetBy {
        summary: format!(
            "; the mark is set by {}",
            from.as_deref().unwrap_or(&setter)
        ),
        evidence: match from {
            Some(from) => {
                format!("mark {mark:#x} is set by {setter}, to which the packet comes by {from}")
            }
            None => format!("mark {mark:#x} is set by {setter}"),
        },
    })
}

fn words(step: &Step<'_>) -> Option<String> {
    let rule = step.rule?;
    Some(format!(
        "rule {} of chain {}/{}: {}",
        rule.number, step.base.table, step.chain, rule.text
    ))
}
