//! Private sources that leave a router as they are, and to which nobody beyond has a way back: no rule translates them.

use crate::host::Host;
use crate::host::facts::{
    BaseChain, FilterRule, InterfaceAddress, Question, Rule, RuleVerdict, Side, Statement, Stop,
    Test,
};
use crate::model::{Detail, Device, Direction, Journey, Tuple};
use crate::network::filter::{
    self, Does, Interface, Layer, Packet, Rules, Step, Untranslated, translations, walk,
};
use crate::uapi::nf_conntrack::STATE_NEW;
use crate::verdict::Confidence;

use super::Found;
use super::candidate::{Candidate, place_at};
use super::causes::NAT_SOURCE;
use super::chain_commands::{delete_rule, rule_of, rule_words, show_chain};
use super::loss::{Loss, tuple_of};
use super::nat_commands::{masquerade, translates_sources, translating, translator, translators};
use super::owners;
use super::remedy::{Remedy, Shell, text};
use super::source_address::{Proof, stays_inside};
use super::translation::{self, Departure};
use super::view::View;
use super::words;

/// Most routers of a way that are looked at.
const MOST: usize = 6;

/// Where a forwarded packet left with the source that it came with.
#[derive(Clone, Copy)]
struct Passed {
    /// Through which interface.
    went: Device,
    /// As it left.
    tuple: Tuple,
}

impl Passed {
    /// Where its source is private and was not translated on the way: the namespace that forwarded it and whose rules
    /// translate sources, else the last one.
    fn of(view: &View<'_>, journey: &Journey) -> Option<Self> {
        let all = Self::all(view, journey);
        let translates = |passed: &&Self| {
            translates_sources(view.host, passed.went.netns, passed.tuple.src.is_ipv6())
        };
        let chosen = all.iter().rev().find(translates).or(all.last());
        chosen.copied()
    }

    /// All namespaces that forwarded it, in its order.
    fn all(view: &View<'_>, journey: &Journey) -> Vec<Self> {
        if translation::changes(journey).any(|c| c.before.src != c.after.src) {
            return Vec::new();
        }
        let events = || journey.steps.iter().map(|s| &s.event);
        let mut list: Vec<Self> = Vec::new();
        for (at, left) in events().enumerate() {
            let egress = matches!(left.detail, Detail::Egress);
            let (Some(went), Some(tuple)) = (left.device.filter(|_| egress), tuple_of(left)) else {
                continue;
            };
            // What came in by a port of a bridge may have been bridged: a router has addresses where it came in.
            let routed = events().take(at).any(|e| {
                matches!(e.detail, Detail::Ingress)
                    && e.device.is_some_and(|d| {
                        d.netns == went.netns && d != went && !view.host.addresses(d).is_empty()
                    })
            });
            let own = view.host.is_local(went.netns, tuple.src);
            if routed && !own && stays_inside(tuple.src) && list.len() < MOST {
                list.push(Self { went, tuple });
            }
        }
        list
    }

    /// The packet as it comes to the rules that translate sources.
    fn packet(&self, host: &Host) -> Packet {
        let local = host
            .addresses_in(self.went.netns)
            .map(|a| a.address)
            .collect();
        let marks = host.filters.get(&self.went.netns).is_some_and(|facts| {
            let mut rules = facts.fact.chains.iter().flat_map(|c| &c.rules);
            rules.any(|rule| {
                rule.statements()
                    .any(|s| matches!(s, Statement::SetMark(_)))
            })
        });
        Packet {
            tuple: Some(self.tuple),
            iif: Interface::Absent,
            oif: Interface::Named(host.interface(self.went)),
            mark: (!marks).then_some(0),
            states: Some(STATE_NEW),
            status: Some(0),
            local: Some(local),
            ..Packet::default()
        }
    }

    fn departure(&self) -> Departure {
        Departure {
            device: self.went,
            tuple: self.tuple,
            before: None,
        }
    }

    fn summary(&self, host: &Host, exempt: Option<&(&BaseChain, FilterRule)>) -> String {
        let mut summary = format!(
            "nobody answers source {}, with which it left through {}: no rule translates it",
            self.tuple.src,
            words::interface(host, self.went)
        );
        if let Some((base, rule)) = exempt {
            summary += &format!(
                " ({} excludes it: {})",
                rule_words(base, &rule.chain, rule),
                rule.text
            );
        }
        summary
    }

    /// Whether who is asked lies beyond other people's routers, or is a neighbour that has none of this host's routes.
    fn leaves_home(&self, host: &Host) -> bool {
        let (v4, dst) = (self.tuple.src.is_ipv4(), self.tuple.dst);
        let public = |a: &InterfaceAddress| a.address.is_ipv4() == v4 && !stays_inside(a.address);
        let own_is_public = host.addresses(self.went).iter().any(public);
        !stays_inside(dst) && (own_is_public || host.near(self.went, dst).is_some())
    }
}

/// The rules of the routers that let it out.
#[must_use]
pub fn questions(view: &View<'_>) -> Vec<Question> {
    let mut sent = view.journeys(Direction::Forward);
    let passed = sent.find_map(|journey| {
        let all = Passed::all(view, journey);
        (!all.is_empty()).then_some(all)
    });
    let chains = |passed: Passed| Question::Chains {
        netns: passed.went.netns,
    };
    passed.into_iter().flatten().map(chains).collect()
}

/// The verdict's candidate, where nobody answers a source that was left as it is.
#[must_use]
pub fn kept(view: &View<'_>, found: &Found<'_>) -> Option<Candidate> {
    let (counts, chosen) = (&found.counts, found.chosen());
    if counts.reply.delivered > 0 || !view.expects_reply() && chosen.is_none() {
        return None;
    }
    let mut sent = view.journeys(Direction::Forward);
    let passed = sent.find_map(|journey| Passed::of(view, journey))?;
    let (host, netns) = (view.host, passed.went.netns);
    let told = match Proof::of(view, (counts, chosen), &passed.departure())? {
        Proof::Told(why) => Some(why),
        Proof::Silence => None,
    };
    let facts = &host.filters.get(&netns)?.fact;
    let rules = Rules::of(facts);
    let packet = passed.packet(host);
    if translations(&rules, &packet, ("POSTROUTING", Side::Source), None) != Untranslated::NoRule {
        return None;
    }
    let v6 = passed.tuple.src.is_ipv6();
    let chains = translators(host, netns, v6);
    let translates = translates_sources(host, netns, v6);
    // Where nothing is ever translated, it is the route back that is missing; and between private networks silence says
    // nothing of the source.
    let exempt = exemption(host, &rules, &packet, passed.went);
    let confidence = match (translates, passed.leaves_home(host)) {
        (true, true) => Confidence::Likely,
        (true, false) if told.is_some() && !for_marks_alone(exempt.as_ref()) => Confidence::Likely,
        (false, true) if told.is_none() && !chains.is_empty() => Confidence::Possible,
        _ => return None,
    };
    let mut summary = passed.summary(host, exempt.as_ref());
    if let Some(absent) = for_an_absent_interface(host, &rules, &packet, passed.went) {
        summary += &absent;
    }
    if let Some(told) = &told {
        summary += &format!(": {told}");
    }
    let otherwise = (confidence == Confidence::Possible).then(|| {
        format!(
            "could also be remote.unanswered: {} may be silent to everyone, or a router farther on translates it",
            passed.tuple.dst
        )
    });
    Some(
        Candidate::new(
            &NAT_SOURCE,
            place_at(host, passed.went, "POSTROUTING"),
            summary,
        )
        .sure(confidence)
        .because(
            "packet",
            format!(
                "{} is a private address, and was not translated",
                passed.tuple.src
            ),
        )
        .because("other-loss", told)
        .because("other-loss", otherwise)
        .advise(advice(host, &passed, exempt)),
    )
}

/// Of a packet that a filter beyond a router stopped, where the router translates sources and left this private one as it is on its
/// way to a public address: what is said of it, and what to change.
#[must_use]
pub fn before_a_filter(loss: &Loss<'_>) -> Option<(String, Vec<Remedy>)> {
    if loss.journey.direction != Direction::Forward {
        return None;
    }
    let (host, view) = (loss.host, loss.view());
    let passed = Passed::of(&view, loss.journey)?;
    let netns = passed.went.netns;
    let rules = Rules::of(&host.filters.get(&netns)?.fact);
    let packet = passed.packet(host);
    let untranslated =
        translations(&rules, &packet, ("POSTROUTING", Side::Source), None) == Untranslated::NoRule;
    let translates = translates_sources(host, netns, passed.tuple.src.is_ipv6());
    if Some(netns) == loss.netns() || !untranslated || !translates || !passed.leaves_home(host) {
        return None;
    }
    let exempt = exemption(host, &rules, &packet, passed.went);
    let words = format!(
        "; its source {} is private, and left through {} as it was: no rule translates it there",
        passed.tuple.src,
        words::interface(host, passed.went)
    );
    Some((words, advice(host, &passed, exempt)))
}

/// The rule that takes the packet past those that translate.
fn exemption<'a>(
    host: &'a Host,
    rules: &'a Rules<'a>,
    packet: &Packet,
    went: Device,
) -> Option<(&'a BaseChain, FilterRule)> {
    let at = filter::Hook {
        layer: Layer::Ip,
        name: "POSTROUTING",
        engine: None,
    };
    let found = walk(rules, packet, at);
    let leaves = |step: &&Step<'_>| {
        step.base.is_nat()
            && step.certain
            && matches!(
                step.does,
                Does::Verdict(RuleVerdict::Return | RuleVerdict::Accept)
            )
    };
    let step = found.steps.iter().rev().find(leaves)?;
    let rule = step.rule?;
    // The facts outlive the walk.
    let facts = &host.filters.get(&went.netns)?.fact;
    let base = facts.base.iter().find(|base| *base == step.base)?;
    let after = facts.beside(base).any(|(chain, r)| {
        chain == step.chain && r.number > rule.number && r.stop() == Some(Stop::Nat)
    });
    after.then(|| (base, rule_of(step.chain, rule, Stop::Accept)))
}

/// Whether what excludes it is that it has no mark: rules translate what other rules chose, and leave all else as it is, as those
/// for services do.
fn for_marks_alone(exempt: Option<&(&BaseChain, FilterRule)>) -> bool {
    let chooses = |test: &Test| matches!(test, Test::Mark { not: true, .. });
    exempt.is_some_and(|(_, rule)| rule.tests.iter().any(chooses))
}

/// The rule that would translate it, did it leave by an interface that is not there (any more), for the summary.
fn for_an_absent_interface(
    host: &Host,
    rules: &Rules<'_>,
    packet: &Packet,
    went: Device,
) -> Option<String> {
    let names = translators(host, went.netns, packet.tuple?.src.is_ipv6())
        .into_iter()
        .flat_map(|chain| translating(host, went.netns, chain))
        .flat_map(Rule::tests)
        .filter_map(|test| match test {
            Test::Interface {
                side: Side::Destination,
                name,
                not: false,
            } => Some(name),
            _ => None,
        });
    let is_there = |name: &String| {
        let mut links = host.links().filter(|l| l.device.netns == went.netns);
        name.ends_with('*') || links.any(|link| link.name == *name)
    };
    let found = names.filter(|name| !is_there(name)).find_map(|name| {
        let there = Packet {
            oif: Interface::Named(name.clone()),
            ..packet.clone()
        };
        match translations(rules, &there, ("POSTROUTING", Side::Source), None) {
            Untranslated::Older(rule) if rule.certain => {
                let named = rule_of(rule.chain, rule.rule, Stop::Nat);
                Some((rule_words(rule.base, &named.chain, &named), name))
            }
            _ => None,
        }
    });
    found.map(|(rule, name)| {
        format!(
            " ({rule} does, for {name}, an interface that {} does not have)",
            words::namespace(host, went.netns)
        )
    })
}

fn advice(host: &Host, passed: &Passed, exempt: Option<(&BaseChain, FilterRule)>) -> Vec<Remedy> {
    let (netns, flow) = (passed.went.netns, &passed.tuple);
    let shell = Shell::of(host, Some(netns));
    let device = host.interface(passed.went);
    let look = translator(host, netns, flow.src.is_ipv6()).map(|chain| {
        shell.look(
            "look first: the rules that translate sources",
            show_chain(chain),
        )
    });
    let mut list: Vec<Remedy> = look.into_iter().collect();
    list.push(masquerade(
        host,
        passed.went,
        flow,
        "translate what is sent there to an address of this host",
    ));
    if let Some((base, rule)) = exempt {
        let (delete, undo) = delete_rule(base, &rule);
        let change = shell
            .change("or delete the rule that excludes it", delete)
            .scope("all that the rule excludes is translated then".to_owned())
            .owner(owners::of(&base.table, &rule.chain, &rule.text).map(owners::Owner::words));
        list.push(undo.into_iter().fold(change, Remedy::undone_by));
    }
    list.push(text(format!(
        "or give the network beyond {device} a route for {} through this host",
        flow.src
    )));
    list
}
