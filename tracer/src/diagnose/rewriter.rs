//! Who changes a field of packets on their way through a namespace: a rule of its packet filters, a tc action or a program.

use crate::host::Host;
use crate::host::facts::{BaseChain, Chain, FilterRule, Rule, Ruleset, Statement, Stop};
use crate::model::{Device, NetNs};

use super::chain_commands::{rule_of, rule_words};
use super::deletion;
use super::device_state;
use super::needs::Asked;
use super::remedy::{Remedy, Shell, command};

/// What to read.
pub fn ask(host: &Host, netns: NetNs, devices: &[Device], asked: &mut Asked) {
    asked.push(crate::host::facts::Question::Chains { netns });
    for device in devices {
        asked.device_state(host, *device);
    }
}

/// The rules that do it, or what else stands on the interfaces between which it is done: as the end of a sentence, with what
/// to do.
#[must_use]
pub fn find(
    host: &Host,
    (netns, devices): (NetNs, &[Device]),
    does: impl Fn(&Statement) -> bool,
) -> (String, Vec<Remedy>) {
    by_rule(host, netns, does).unwrap_or_else(|| by_program(host, netns, devices))
}

/// The rules that do it.
#[must_use]
pub fn by_rule(
    host: &Host,
    netns: NetNs,
    does: impl Fn(&Statement) -> bool,
) -> Option<(String, Vec<Remedy>)> {
    let ruleset = &host.filters.get(&netns)?.fact;
    let rules = doing(ruleset, does);
    let (base, rule) = rules.first()?;
    let which = match rules.len() {
        1 => rule_words(base, &rule.chain, rule),
        n => format!(
            "one of {n} rules, the first is {}",
            rule_words(base, &rule.chain, rule)
        ),
    };
    let shell = Shell::of(host, Some(netns));
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

fn doing(ruleset: &Ruleset, does: impl Fn(&Statement) -> bool) -> Vec<(BaseChain, FilterRule)> {
    let does = |rule: &&Rule| rule.statements().any(&does);
    let base_of = |chain: &Chain| {
        let mut bases = ruleset.base.iter();
        let own = bases.clone().find(|base| chain.is(base));
        own.or_else(|| bases.find(|base| chain.beside(base)))
            .cloned()
    };
    let mut list = Vec::new();
    for chain in &ruleset.chains {
        let Some(base) = base_of(chain) else { continue };
        let rules = chain.rules.iter().filter(does);
        list.extend(rules.map(|rule| (base.clone(), rule_of(&chain.name, rule, Stop::Accept))));
    }
    list
}

/// Programs and actions of tc at the interfaces.
fn by_program(host: &Host, netns: NetNs, devices: &[Device]) -> (String, Vec<Remedy>) {
    let attached: Vec<_> = devices
        .iter()
        .flat_map(|device| {
            let state = device_state::of(host, *device);
            let programs = state.into_iter().flat_map(|state| &state.programs);
            programs.map(move |attachment| (*device, attachment))
        })
        .collect();
    match attached.as_slice() {
        [] => {
            let shell = Shell::of(host, Some(netns));
            let looks = devices.iter().map(|device| {
                let name = host.interface(*device);
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
