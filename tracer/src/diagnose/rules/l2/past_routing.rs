//! A frame that was handed on although it was addressed to the interface where it came in, and should have been routed: it keeps
//! that interface's MAC, which nobody has where it goes. By a tc filter, by a program, or by a rule of nftables (`fwd to`).

use std::net::IpAddr;

use crate::host::Host;
use crate::host::facts::{Attachment, BaseChain, Rule, Side, Stop};
use crate::model::{Detail, Device, Direction, Mac, NetNs, Step, Tuple};
use crate::uapi::if_arp::ARPHRD_ETHER;
use crate::verdict::Confidence;

use super::super::super::Found;
use super::super::super::candidate::{Candidate, place_at};
use super::super::super::causes::L2_WRONG_MAC;
use super::super::super::chain_commands::{let_pass, rule_of, rule_words, show_reached};
use super::super::super::device_state;
use super::super::super::loss::Loss;
use super::super::super::missing_route::failed;
use super::super::super::needs::Asked;
use super::super::super::remedy::{Remedy, Shell, command};
use super::super::super::view::View;
use super::super::super::words;
use super::hop_towards;
use super::misled::Misled;
use super::misredirected::{self, Handed, handed, look, side, without};

/// Journeys of a direction that are looked at.
const FEW: usize = 4;

/// What handed it on.
#[derive(Clone, Copy)]
enum By<'a> {
    /// A filter of tc with this redirect.
    Filter(&'a Attachment),
    /// A rule of a chain of `netdev`.
    Rule(&'a BaseChain, &'a str, &'a Rule),
    /// A program at that hook, which may redirect whatever it wants.
    Program(&'a Attachment),
}

impl<'a> By<'a> {
    fn of(host: &'a Host, handed: &Handed) -> Option<Self> {
        let filter = misredirected::filter(host, handed).map(Self::Filter);
        let program = || {
            let mut all = device_state::at(host, handed.from, handed.hook);
            let program = all.find(|attachment| attachment.program.is_some());
            program.map(Self::Program)
        };
        filter.or_else(|| rule(host, handed)).or_else(program)
    }
}

/// The rule at the ingress of the interface that sends what it matches out of another one.
fn rule<'a>(host: &'a Host, handed: &Handed) -> Option<By<'a>> {
    let rules = &host.filters.get(&handed.from.netns)?.fact;
    let name = host.interface(handed.from);
    let bound = |base: &&BaseChain| {
        let here = base.devices.is_empty() || base.devices.contains(&name);
        base.family == "netdev" && base.hook == "INGRESS" && here
    };
    let sends = |rule: &Rule| rule.text.split(' ').any(|word| word == "fwd");
    rules.base.iter().filter(bound).find_map(|base| {
        let mut all = rules.beside(base);
        let (chain, rule) = all.find(|(_, rule)| sends(rule))?;
        Some(By::Rule(base, chain, rule))
    })
}

/// Whether who addressed the frame meant a router: a machine whose destination it is gets it handed on as it is, as that of a pod
/// does whose namespace redirects to it. Where that one was not seen, it may be so.
fn is_for_a_router(host: &Host, steps: &[Step], mac: Mac) -> bool {
    let addressed = |step: &&Step| {
        let frame = step.event.packet.as_ref().and_then(|p| p.ethernet);
        frame.is_some_and(|frame| frame.dst == mac)
    };
    let first = steps.iter().find(addressed).map(|step| &step.event);
    let sender = first.filter(|event| matches!(event.detail, Detail::Egress));
    let sent = sender.and_then(|event| Some((event.device?, event.tuple?.dst)));
    sent.is_none_or(|(device, dst)| hop_towards(host, device, dst) != dst)
}

/// A frame that was handed on so.
struct Past<'a> {
    host: &'a Host,
    handed: Handed,
    by: By<'a>,
}

impl<'a> Past<'a> {
    /// The first on a way.
    fn of(host: &'a Host, steps: &[Step], mac: Mac) -> Option<Self> {
        let addressed = |handed: &Handed| {
            let own = host.link(handed.from).and_then(|link| link.mac);
            handed.hook == "tc-ingress" && own == Some(mac)
        };
        if !is_for_a_router(host, steps, mac) {
            return None;
        }
        let mut all = handed(steps).into_iter().filter(addressed);
        all.find_map(|handed| {
            let by = By::of(host, &handed)?;
            Some(Self { host, handed, by })
        })
    }

    /// As the end of a sentence.
    fn words(&self) -> String {
        let Handed { from, to, .. } = self.handed;
        let (at, to) = (words::interface(self.host, from), self.host.interface(to));
        let keeps = format!(
            "past routing: the frame keeps the MAC of {}",
            self.host.interface(from)
        );
        match self.by {
            By::Filter(_) => {
                format!("a tc filter of {at} hands what comes in there to {to} {keeps}")
            }
            By::Rule(base, chain, rule) => {
                let which = rule_words(base, chain, &rule_of(chain, rule, Stop::Accept));
                format!("{which} hands what comes in at {at} to {to} {keeps}")
            }
            By::Program(_) => format!(
                "what comes in at {at} is handed to {to}, by the program that stands there, {keeps}"
            ),
        }
    }

    fn shell(&self) -> Shell {
        Shell::of(self.host, Some(self.handed.from.netns))
    }

    /// What to look at and to change, for a packet of this flow in this direction.
    fn advice(&self, tuple: Option<Tuple>, direction: Direction) -> Vec<Remedy> {
        let (host, device) = (self.host, self.handed.from);
        let dst = tuple.map(|tuple| tuple.dst);
        match self.by {
            By::Filter(filter) => [look(host, device, filter)]
                .into_iter()
                .chain(dst.and_then(|dst| passed_before(host, (device, filter), dst)))
                .chain([without(host, device, filter, "the packet is routed then")])
                .collect(),
            By::Rule(base, chain, rule) => {
                let server = match direction {
                    Direction::Reply => Side::Source,
                    _ => Side::Destination,
                };
                let shell = self.shell();
                let pass = tuple.and_then(|tuple| {
                    let pass = let_pass((base, chain), &tuple, server, &shell)?;
                    let change = shell.change(
                        "let this flow be routed, by a rule before that one",
                        pass.insert,
                    );
                    Some(change.undone_by(pass.delete))
                });
                let shown = shell.look(
                    "look first: the chain, with what its rules match",
                    show_reached(base, chain),
                );
                let delete = rule.handle.map(|handle| {
                    let place = [base.family.as_str(), base.table.as_str(), chain];
                    shell
                        .change(
                            "or delete the rule, after noting what the command above shows",
                            command!["nft delete rule", ..place, "handle", handle],
                        )
                        .scope("all that the rule matches is routed then".to_owned())
                });
                [shown].into_iter().chain(pass).chain(delete).collect()
            }
            By::Program(program) => {
                let looks = device_state::advice(host, device, program);
                let looks: Vec<Remedy> = looks.into_iter().filter(Remedy::is_look).collect();
                let classic = program.how == "bpf";
                let pass = dst.filter(|_| classic);
                let pass = pass.and_then(|dst| passed_before(host, (device, program), dst));
                looks.into_iter().chain(pass).collect()
            }
        }
    }

    fn misled(&self, tuple: Option<Tuple>, direction: Direction) -> Misled {
        let advice = self.advice(tuple, direction);
        match self.by {
            By::Filter(attachment) | By::Program(attachment) => Misled::by(
                self.host,
                (self.handed.from, attachment),
                self.words(),
                advice,
            ),
            By::Rule(_, _, rule) => Misled {
                words: self.words(),
                evidence: ("rule", rule.text.clone()),
                advice,
            },
        }
    }
}

/// What goes to an address let past a filter, by one before it: as far as there is a place for that. A match without an action
/// ends the classification, and needs no module for an action.
fn passed_before(
    host: &Host,
    (device, filter): (Device, &Attachment),
    dst: IpAddr,
) -> Option<Remedy> {
    let before = filter.priority.checked_sub(1).filter(|pref| *pref > 0)?;
    let mut others = device_state::at(host, device, &filter.hook);
    if others.any(|other| other.priority == before) {
        return None;
    }
    let (name, side) = (host.interface(device), side(filter));
    let (protocol, field, bits) = match dst {
        IpAddr::V4(_) => ("ip", "ip", 32),
        IpAddr::V6(_) => ("ipv6", "ip6", 128),
    };
    let network = format!("{dst}/{bits}");
    let add = command![
        "tc filter add dev",
        name,
        side,
        "protocol",
        protocol,
        "pref",
        before,
        "u32 match",
        field,
        "dst",
        network,
        "flowid 1:1"
    ];
    let delete = command![
        "tc filter del dev",
        name,
        side,
        "protocol",
        protocol,
        "pref",
        before
    ];
    let shell = Shell::of(host, Some(device.netns));
    let text = format!("let what goes to {dst} be routed, by a filter before that one");
    Some(shell.change(text, add).undone_by(delete))
}

/// What the story is of a frame that came to the wrong interface.
pub(super) fn told(loss: &Loss<'_>, mac: Mac) -> Option<Misled> {
    let past = Past::of(loss.host, loss.steps(), mac)?;
    Some(past.misled(loss.tuple(), loss.journey.direction))
}

/// Where a packet left with the MAC of the interface by which it had come in, and the MAC: nobody beyond has that.
fn left(host: &Host, steps: &[Step]) -> Option<(Handed, Mac)> {
    handed(steps).into_iter().find_map(|handed| {
        let own = host.link(handed.from)?.mac?;
        let out = |step: &&Step| {
            step.event.device == Some(handed.to) && matches!(step.event.detail, Detail::Egress)
        };
        let frame = steps.iter().find(out)?.event.packet.as_ref()?.ethernet?;
        // Interfaces that hand each other what comes in for a machine behind them have its MAC, or know it behind a tunnel.
        let mut others = host.by_mac(own).filter(|link| link.device != handed.from);
        let cable = host.link(handed.to).is_some_and(|link| {
            let physical = link.kind.is_empty() && link.arp_type == ARPHRD_ETHER;
            link.is_paired() || physical
        });
        let wrong = handed.hook == "tc-ingress" && frame.dst == own && cable;
        (wrong && others.next().is_none()).then_some((handed, own))
    })
}

/// What to read where an answer is missing.
pub(in super::super::super) fn ask_where_left(view: &View<'_>, list: &mut Asked) {
    for direction in [Direction::Forward, Direction::Reply] {
        for journey in view.journeys(direction).take(FEW) {
            if let Some((handed, _)) = left(view.host, &journey.steps) {
                list.device_state(view.host, handed.from);
                let netns: NetNs = handed.from.netns;
                list.push(crate::host::facts::Question::Chains { netns });
            }
        }
    }
}

/// The verdict's candidate, where packets left this host so and no answer came.
#[must_use]
pub fn left_with_it(view: &View<'_>, found: &Found<'_>) -> Option<Candidate> {
    let (direction, what) = failed(found, &L2_WRONG_MAC)?;
    let host = view.host;
    let (journey, past) = view.journeys(direction).find_map(|journey| {
        let (_, mac) = left(host, &journey.steps)?;
        Some((journey, Past::of(host, &journey.steps, mac)?))
    })?;
    let to = past.handed.to;
    let tuple = journey.steps.iter().find_map(|step| {
        let here = step.event.device == Some(past.handed.from);
        step.event.tuple.filter(|_| here)
    });
    let misled = past.misled(tuple, direction);
    let whom = tuple.map_or_else(String::new, |tuple| format!(" for {}", tuple.dst));
    let summary = format!(
        "{what}wrong destination MAC: what is{whom} leaves by {} with the MAC of an interface of {} itself; {}",
        words::interface(host, to),
        host.namespace(to.netns),
        misled.words
    );
    let (kind, text) = misled.evidence;
    Some(
        Candidate::new(&L2_WRONG_MAC, place_at(host, to, "device"), summary)
            .sure(Confidence::Likely)
            .leads_to(found.verdict.outcome)
            .because(kind, text)
            .because(
                "other-loss",
                format!("what became of it: {}", found.verdict.summary),
            )
            .advise(misled.advice),
    )
}
