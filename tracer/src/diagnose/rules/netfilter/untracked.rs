//! Packets that a rule leaves to no connection, and that a filter then drops since no rule for known connections lets them
//! pass. They are not invalid: they are to have no state.

use crate::model::Direction;
use crate::network::filter::{self, Change, Interface, Packet, Rules};
use crate::uapi::nf_conntrack::STATE_ESTABLISHED;

use super::super::super::candidate::Candidate;
use super::super::super::hooks::Hook;
use super::super::super::loss::Loss;
use super::super::super::remedy::Shell;
use super::super::super::untracked::{self, Leaves};
use super::goes_out;
use super::suspects::{layer, packet};

/// Adds which rules leave the packet untracked, or what it answers, where it would pass were it of a known connection.
pub(super) fn explain(mut candidate: Candidate, (loss, hook): (&Loss<'_>, Hook)) -> Candidate {
    let untracked = loss.info.ct_untracked;
    if untracked {
        candidate = candidate.because(
            "conntrack",
            "the packet is untracked: it has no connection and no state".to_owned(),
        );
    } else if loss.journey.direction != Direction::Reply {
        return candidate;
    }
    let Some(list) = leaves(loss, hook).filter(|list| !list.is_empty()) else {
        return candidate;
    };
    let words = untracked::words(&list);
    if !passes_if_known(loss, hook, &list) {
        let told = untracked.then(|| format!("left untracked by {words}"));
        return candidate.because("rule", told);
    }
    let what = if untracked {
        "it is"
    } else {
        "what it answers is"
    };
    candidate.summary += &format!(
        ": {what} untracked by {words}, so that no rule for established connections lets it pass"
    );
    let shell = Shell::of(loss.host, loss.netns());
    candidate.advise(untracked::track(&list, &shell))
}

/// The rules that leave this packet, or those of the other direction, to no connection.
fn leaves(loss: &Loss<'_>, hook: Hook) -> Option<Vec<Leaves>> {
    let facts = &loss.host.filters.get(&loss.netns()?)?.fact;
    let here = packet(loss, hook, goes_out(loss, hook));
    let made_here = loss.came_in().is_none();
    let own = first_hook(here.clone(), made_here);
    let ends_here = hook.chain_hook == "INPUT";
    let other = Packet {
        tuple: here.tuple.map(|t| t.reversed()),
        iif: here.oif.clone(),
        oif: here.iif.clone(),
        mark: Some(0),
        local: here.local.clone(),
        ..Packet::default()
    };
    let other = first_hook(other, ends_here);
    let rules = Rules::of(facts);
    let packets = [(&own.0, own.1), (&other.0, other.1)];
    Some(untracked::rules(&rules, &packets))
}

/// A packet as the first hook of its namespace sees it.
fn first_hook(packet: Packet, made_here: bool) -> (Packet, &'static str) {
    if made_here {
        let iif = Interface::Absent;
        return (Packet { iif, ..packet }, "OUTPUT");
    }
    let oif = Interface::Absent;
    (Packet { oif, ..packet }, "PREROUTING")
}

/// Whether the chains of the hook let the packet pass, were it of a known connection, without those rules. Of the way there, the first packet of
/// a connection is none of that.
fn passes_if_known(loss: &Loss<'_>, hook: Hook, leaves: &[Leaves]) -> bool {
    let ruleset = loss.netns().and_then(|netns| loss.host.filters.get(&netns));
    let Some(ruleset) = ruleset.filter(|_| loss.journey.direction != Direction::Forward) else {
        return false;
    };
    let known = Packet {
        states: Some(STATE_ESTABLISHED),
        ..packet(loss, hook, goes_out(loss, hook))
    };
    let at = filter::Hook {
        layer: layer(hook),
        name: hook.chain_hook,
        engine: None,
    };
    let gone = |(base, rule): &Leaves| Change::Delete {
        base: base.clone(),
        chain: rule.chain.clone(),
        number: rule.number,
    };
    let rules = leaves.iter().map(gone);
    let rules = rules.fold(Rules::of(&ruleset.fact), Rules::with);
    filter::walk(&rules, &known, at).answer() == filter::Answer::Passes
}
