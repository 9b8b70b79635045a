//! Chains of the packet filter on a packet's way: the rules that it met at a hook, each with what it did.

use crate::host::facts::{Field, Question, RuleVerdict, Test};
use crate::model::Tuple;

use super::super::filter::{self, Does, Hook, Interface, Layer, Outcome, Packet, Rules, Step};
use super::{ChainName, Check, Stage, Walk};

/// Most checks that are told of one hook.
const MOST: usize = 48;

impl Walk<'_, '_> {
    /// The chains of a hook, for the packet with these addresses between these interfaces.
    pub(super) fn chains(
        &mut self,
        at: (Stage, &'static str),
        tuple: Tuple,
        interfaces: (Interface, Interface),
    ) {
        let none = (Interface::Unknown, Interface::Unknown);
        self.ip_chains(at, tuple, interfaces, &none);
    }

    /// The same with the ports of the bridge that calls chains of IP.
    pub(super) fn ip_chains(
        &mut self,
        (stage, hook): (Stage, &'static str),
        tuple: Tuple,
        (iif, oif): (Interface, Interface),
        (port_in, port_out): &(Interface, Interface),
    ) {
        if !self.reaches(stage) {
            return;
        }
        let netns = self.leg.netns;
        let Some(read) = self.host.filters.get(&netns) else {
            self.found.missing.push(Question::Chains { netns });
            return;
        };
        // A rule that had met no packet when it was read later did not meet this one.
        let later = read.at > self.leg.at;
        let rules = Rules::of(&read.fact).without(|_, rule| later && rule.packets == Some(0));
        let layer = match stage {
            Stage::Ingress => Layer::Device,
            _ if hook.starts_with("BRIDGE-") => Layer::Bridge,
            _ => Layer::Ip,
        };
        let local = self.host.addresses_in(netns).map(|a| a.address).collect();
        let packet = Packet {
            tuple: Some(tuple),
            iif,
            oif,
            port_in: port_in.clone(),
            port_out: port_out.clone(),
            mark: self.mark,
            local: Some(local),
            ..self.leg.packet.clone()
        };
        let at = Hook {
            layer,
            name: hook.trim_start_matches("BRIDGE-"),
            engine: None,
        };
        let walk = filter::walk(&rules, &packet, at);
        if walk.passes {
            self.mark = walk.mark;
        }
        for step in walk.steps.iter().take(MOST) {
            self.tell(stage, check(hook, step));
        }
    }
}

fn check(hook: &'static str, step: &Step<'_>) -> Check {
    let verdict = does_words(&step.does);
    let text = match step.rule {
        Some(rule) => rule.text.clone(),
        None => format!("policy {verdict}"),
    };
    Check {
        hook,
        chain: Some(ChainName {
            engine: step.base.engine,
            family: step.base.family.clone(),
            table: step.base.table.clone(),
            chain: step.chain.to_owned(),
        }),
        rule: step.rule.map(|rule| rule.number),
        handle: step.rule.and_then(|rule| rule.handle),
        text,
        verdict,
        undecided: match step.open {
            Some(test) => Some(code(test)),
            None if step.certain => None,
            None => Some("earlier-rule".to_owned()),
        },
    }
}

/// A verdict of nf_tables or iptables in one word, or with the chain that it leads to.
#[must_use]
pub fn verdict_words(verdict: &RuleVerdict) -> String {
    match verdict {
        RuleVerdict::Accept => "accept".to_owned(),
        RuleVerdict::Drop => "drop".to_owned(),
        RuleVerdict::Return => "return".to_owned(),
        RuleVerdict::Continue => "continue".to_owned(),
        RuleVerdict::Jump(to) => format!("jump {to}"),
        RuleVerdict::Goto(to) => format!("goto {to}"),
        RuleVerdict::Queue { .. } => "queue".to_owned(),
    }
}

fn does_words(does: &Does<'_>) -> String {
    match does {
        Does::Continues => "continue".to_owned(),
        Does::Policy(Outcome::Accept) => "accept".to_owned(),
        Does::Policy(_) => "drop".to_owned(),
        Does::Rejects(_) => "reject".to_owned(),
        Does::Translates(_) => "translate".to_owned(),
        Does::Verdict(verdict) => verdict_words(verdict),
    }
}

/// Which kind of test is not decided.
fn code(test: &Test) -> String {
    let name = match test {
        Test::State { .. } => "connection-state",
        Test::Mark { .. } => "mark",
        Test::Address { .. } => "address",
        Test::Port { .. } => "port",
        Test::Protocol { .. } | Test::Version { .. } => "protocol",
        Test::Interface { .. } => "interface",
        Test::IcmpType { .. } => "icmp-type",
        Test::InSet { .. } => "set",
        Test::Any(_) => "alternatives",
        Test::Is { field, .. } => of_field(field),
        Test::Other(words) => first_word(words),
    };
    name.to_owned()
}

fn of_field(field: &Field) -> &str {
    match field {
        Field::State => "connection-state",
        Field::Status => "connection-status",
        Field::ConnectionMark => "connection-mark",
        Field::Mark => "mark",
        Field::User | Field::Group => "owner",
        Field::Interface(_) | Field::BridgePort(_) | Field::Bridge(_) => "interface",
        Field::AddressType(_) => "address-type",
        Field::Other(words) => first_word(words),
        _ => "header",
    }
}

/// The name of a match that is not read: `-m limit --limit 5/sec`, `limit rate 5/second`.
fn first_word(words: &str) -> &str {
    let mut names = words
        .split_whitespace()
        .filter(|w| !matches!(*w, "not" | "!" | "-m"));
    names.next().unwrap_or("unknown")
}
