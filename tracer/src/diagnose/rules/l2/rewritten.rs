//! A frame that was given another destination MAC on its way, without being routed: by a rule of a bridge's or an
//! interface's filter, by a tc action or a program.

use crate::host::Host;
use crate::host::facts::{BaseChain, Chain, FilterRule, Rule, Ruleset, Side, Statement, Stop};
use crate::model::{Device, Event, Mac, NetNs};

use super::super::super::chain_commands::{rule_of, rule_words};
use super::super::super::deletion;
use super::super::super::device_state;
use super::super::super::loss::Loss;
use super::super::super::remedy::{Remedy, Shell, command};
use super::super::super::words;
use super::misled::Misled;
use super::{frame, next_hop, sender};

/// Where the destination MAC of a frame changed.
#[derive(Clone, Copy, Debug)]
pub(in super::super::super) struct Rewritten {
    /// Seen with the old one; where an interface sent it with another MAC than its neighbour entry has, the same.
    from: Device,
    /// Seen with the new one.
    to: Device,
    before: Mac,
    after: Mac,
}

impl Rewritten {
    /// The last change before the frame was lost.
    pub(in super::super::super) fn of(loss: &Loss<'_>) -> Option<Self> {
        let after = frame(loss)?.dst;
        Self::between_hops(loss, after).or_else(|| Self::at_sender(loss, after))
    }

    /// Between two observations in one namespace. Routing puts another source on the frame too.
    fn between_hops(loss: &Loss<'_>, after: Mac) -> Option<Self> {
        let seen = |event: &Event| {
            let packet = event.packet.as_ref().filter(|p| p.tunnel.is_none())?;
            Some((event.device?, packet.ethernet?))
        };
        let events = || loss.steps().iter().map(|step| &step.event).filter_map(seen);
        let pairs = events().zip(events().skip(1));
        let changed = pairs.filter(|((from, was), (to, is))| {
            let rewritten = was.src == is.src && was.dst != is.dst && is.dst == after;
            from.netns == to.netns && rewritten
        });
        changed.last().map(|((from, was), (to, is))| Self {
            from,
            to,
            before: was.dst,
            after: is.dst,
        })
    }

    /// By the sender, behind its neighbour entry, which has the MAC of who should have got it.
    fn at_sender(loss: &Loss<'_>, after: Mac) -> Option<Self> {
        let host = loss.host;
        let sender = sender(loss)?;
        let hop = next_hop(loss, sender)?;
        let before = host.neighbor(sender, hop)?.mac?;
        let meant = host
            .by_mac(before)
            .any(|link| host.is_local(link.device.netns, hop));
        (meant && before != after).then_some(Self {
            from: sender,
            to: sender,
            before,
            after,
        })
    }

    /// The namespace whose rules and programs may have done it.
    pub(in super::super::super) const fn netns(&self) -> NetNs {
        self.from.netns
    }

    /// The interfaces on which programs may have done it.
    pub(in super::super::super) fn devices(&self) -> impl Iterator<Item = Device> {
        let other = (self.to != self.from).then_some(self.to);
        std::iter::once(self.from).chain(other)
    }

    /// `between b1 and b2 of sw`.
    fn place(&self, host: &Host) -> String {
        let at = host.namespace(self.netns());
        let (from, to) = (host.interface(self.from), host.interface(self.to));
        if from == to {
            format!("on {at} at {from}")
        } else {
            format!("on {at} between {from} and {to}")
        }
    }
}

/// What the story is where a frame was rewritten.
pub(super) fn told(loss: &Loss<'_>) -> Option<Misled> {
    let host = loss.host;
    let found = Rewritten::of(loss)?;
    let place = found.place(host);
    let (words, advice) = match by_rule(host, &found) {
        Some(by) => by,
        None => by_program(host, &found),
    };
    Some(Misled {
        words: format!(
            "its destination was changed from {} to {} {place}{words}",
            found.before, found.after
        ),
        evidence: (
            "frame",
            format!(
                "it was for {} when it came to {}, and for {} behind",
                found.before,
                words::interface(host, found.from),
                found.after
            ),
        ),
        advice,
    })
}

/// The rules that give a frame this MAC.
fn by_rule(host: &Host, found: &Rewritten) -> Option<(String, Vec<Remedy>)> {
    let ruleset = &host.filters.get(&found.netns())?.fact;
    let rules = setting(ruleset, found.after);
    let (base, rule) = rules.first()?;
    let which = match rules.len() {
        1 => rule_words(base, &rule.chain, rule),
        n => format!(
            "one of {n} rules, the first is {}",
            rule_words(base, &rule.chain, rule)
        ),
    };
    let shell = Shell::of(host, Some(found.netns()));
    let list = shell.look(
        "look first: the rules of that table, with their counters",
        command!["nft -a list table", base.family, base.table],
    );
    let gone = (rules.len() == 1)
        .then(|| deletion::of(&rules, "delete the rule that changes it", &shell))
        .flatten();
    let text = &rule.text;
    Some((
        format!(", by {which}: {text}"),
        std::iter::once(list).chain(gone).collect(),
    ))
}

fn setting(ruleset: &Ruleset, mac: Mac) -> Vec<(BaseChain, FilterRule)> {
    let sets = |rule: &&Rule| {
        rule.statements()
            .any(|s| matches!(s, Statement::SetMac(Side::Destination, to) if *to == mac))
    };
    let base_of = |chain: &Chain| {
        let same = |base: &&BaseChain| {
            base.engine == chain.engine
                && (&base.family, &base.table) == (&chain.family, &chain.table)
        };
        let own = |base: &&BaseChain| base.chain == chain.name;
        let bases = || ruleset.base.iter().filter(same);
        bases().find(own).or_else(|| bases().next()).cloned()
    };
    ruleset
        .chains
        .iter()
        .flat_map(|chain| {
            chain
                .rules
                .iter()
                .filter(sets)
                .map(move |rule| (chain, rule))
        })
        .filter_map(|(chain, rule)| {
            Some((base_of(chain)?, rule_of(&chain.name, rule, Stop::Accept)))
        })
        .collect()
}

/// Programs and actions of tc at both interfaces.
fn by_program(host: &Host, found: &Rewritten) -> (String, Vec<Remedy>) {
    let attached: Vec<_> = found
        .devices()
        .flat_map(|device| {
            let state = device_state::of(host, device);
            let programs = state.into_iter().flat_map(|state| &state.programs);
            programs.map(move |attachment| (device, attachment))
        })
        .collect();
    match attached.as_slice() {
        [] => {
            let shell = Shell::of(host, Some(found.netns()));
            let looks = found.devices().map(|device| {
                let name = host.interface(device);
                shell.look(
                    format!("which filters and programs stand on {name}"),
                    command!["bpftool net show dev", name],
                )
            });
            let what = "; no rule that was read does that".to_owned();
            (what, looks.collect())
        }
        list => {
            let names: Vec<_> = list
                .iter()
                .map(|(device, attachment)| device_state::attachment(host, *device, attachment))
                .collect();
            let which = match names.as_slice() {
                [one] => format!("; {one} stands there"),
                several => format!("; there stand {}", several.join(", ")),
            };
            let advice = list
                .iter()
                .flat_map(|(device, attachment)| device_state::advice(host, *device, attachment));
            (which, advice.collect())
        }
    }
}
