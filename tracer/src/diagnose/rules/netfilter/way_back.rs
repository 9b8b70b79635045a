//! Rules that filter by the way back (`fib saddr … oif`, `rpfilter`): what is wrong is mostly that way, and not the rule.

use crate::host::Host;
use crate::host::facts::{BaseChain, FilterRule, Rule, RuleVerdict, Ruleset, Statement};
use crate::model::{Device, IfIndex, Tuple};
use crate::network::route::{Decision, Query, Tables, lookup, route_words};

use super::super::super::candidate::Candidate;
use super::super::super::loss::Loss;
use super::super::super::remedy::{Shell, command, ip};
use super::super::super::stray_source::Stray;
use super::super::source;

/// Whether a rule asks for the way back.
fn asks(text: &str) -> bool {
    text.contains("rpfilter") || (text.contains("fib saddr") && text.contains("oif"))
}

/// Whether one of the rules does.
pub fn is_asked(rules: &Ruleset) -> bool {
    let of = |base: &BaseChain| {
        rules
            .beside(base)
            .any(|(_, rule): (_, &Rule)| asks(&rule.text))
    };
    rules.base.iter().any(of)
}

/// A filter by the way back that stopped a packet.
pub(super) struct Filter<'a> {
    /// The rule above the one that stopped the packet that lets only those pass which have a right way back; `None`: the rule asks
    /// itself.
    above: Option<&'a Rule>,
}

impl<'a> Filter<'a> {
    /// What a rule is, or ends: many let pass what has a right way back, and stop the rest without a further question.
    pub(super) fn of(loss: &Loss<'a>, (base, rule): (&BaseChain, &FilterRule)) -> Option<Self> {
        if asks(&rule.text) {
            return Some(Self { above: None });
        }
        let tuple = loss.outermost().filter(|_| rule.tests.is_empty())?;
        if may_lead_back(loss.host, tuple, loss.came_in()?) {
            return None;
        }
        let lets = |s: &Statement| {
            matches!(
                s,
                Statement::Verdict(RuleVerdict::Accept | RuleVerdict::Return)
            )
        };
        let rules = &loss.host.filters.get(&loss.netns()?)?.fact;
        let mut above = rules
            .beside(base)
            .filter(|(chain, above)| *chain == rule.chain && above.number < rule.number)
            .map(|(_, above)| above);
        let above = above.find(|above| asks(&above.text) && above.statements().any(lets))?;
        Some(Self { above: Some(above) })
    }

    /// Adds what to look at and to change about the way back: the sender, where it uses the address of another of its
    /// interfaces, else the route that leads answers elsewhere.
    pub(super) fn explain(
        &self,
        mut candidate: Candidate,
        loss: &Loss<'_>,
        shell: &Shell,
    ) -> Candidate {
        let Some(tuple) = loss.outermost() else {
            return candidate;
        };
        if let Some(above) = self.above {
            candidate.summary += &format!(
                ", after rule {} ({}) did not let it pass",
                above.number, above.text
            );
        }
        let came_in = loss.came_in();
        let came = came_in.map_or_else(String::new, |d| {
            format!(": it came in through {}", loss.host.interface(d))
        });
        let look = shell.look(
            format!("the rule filters by the way back; where would an answer go{came}"),
            command![..ip(tuple.src.is_ipv6()), "route get", tuple.src],
        );
        let candidate = candidate.advise([look]);
        if let Some(stray) = Stray::of_packet(loss) {
            let mended = stray.mended(tuple).zip(came_in);
            let fits =
                mended.is_some_and(|(tuple, came_in)| may_lead_back(loss.host, tuple, came_in));
            let changes = stray.remedies(fits);
            return stray.told(candidate).advise(changes);
        }
        let Some(came_in) = came_in else {
            return candidate;
        };
        told(candidate, (loss.host, tuple), came_in).advise(
            source::misleading(loss.host, &tuple, came_in).or_else(|| {
                let handed_by = source::handed_by(loss.steps(), came_in.netns);
                source::routed_back((loss.host, came_in), tuple.src, handed_by)
            }),
        )
    }
}

/// Adds where an answer would go.
fn told(mut candidate: Candidate, (host, tuple): (&Host, Tuple), came_in: Device) -> Candidate {
    let netns = came_in.netns;
    let tables = Tables::of(host, netns);
    let way = match lookup(&tables, &Query::output(tuple.reversed(), 0)).decision {
        Decision::Route { hops, route, .. } => {
            let mut ways = hops.iter().filter_map(|hop| hop.oif).map(IfIndex);
            let Some(ifindex) = ways.find(|oif| *oif != came_in.ifindex) else {
                return candidate;
            };
            candidate = candidate.because(
                "route",
                format!("the way back is {}", route_words(host, netns, route)),
            );
            let other = host.interface(Device { netns, ifindex });
            format!("an answer would leave through {other}")
        }
        Decision::Undecided(_) => return candidate,
        _ => "no route leads back".to_owned(),
    };
    candidate.summary += &format!("; {way}");
    candidate
}

/// Whether an answer would leave where the packet came in, as far as is known.
fn may_lead_back(host: &Host, tuple: Tuple, came_in: Device) -> bool {
    let tables = Tables::of(host, came_in.netns);
    match lookup(&tables, &Query::output(tuple.reversed(), 0)).decision {
        Decision::Route { hops, .. } => {
            let mut hops = hops.iter();
            hops.any(|hop| hop.oif == Some(came_in.ifindex.0))
        }
        Decision::Undecided(_) => true,
        _ => false,
    }
}
