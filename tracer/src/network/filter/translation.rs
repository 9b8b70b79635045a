//! Translations: which rule gives one, and why a packet may be without one that a rule would give.

use super::states::{ESTABLISHED, INVALID, NEW, RELATED, UNTRACKED};
use super::{Hook, Layer, Packet, Rules, Step, Walk, walk};
use crate::host::facts::{BaseChain, ConntrackEntry, Rule, Side, Statement, Translation};
use crate::model::Tuple;

/// A rule that translates a packet, or may.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Translated<'a> {
    /// The base chain.
    pub base: &'a BaseChain,
    /// The chain in which the rule stands.
    pub chain: &'a str,
    /// The rule.
    pub rule: &'a Rule,
    /// To what.
    pub to: &'a Translation,
    /// It surely does.
    pub certain: bool,
}

impl Translated<'_> {
    /// Whether the rule gives this target: an address and a port of the translated end.
    #[must_use]
    pub fn gives(&self, tuple: &Tuple) -> Option<bool> {
        let (address, port) = super::end(
            self.to.side,
            (tuple.src, tuple.sport),
            (tuple.dst, tuple.dport),
        );
        let (first, last) = self.to.addresses?;
        let ports = self.to.ports.is_none_or(|(a, b)| a <= port && port <= b);
        Some(first <= address && address <= last && ports)
    }
}

/// What the rules say of a packet's translation, held against what became of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Untranslated<'a> {
    /// This rule gave it.
    By(Translated<'a>),
    /// No rule gives it (any more): its connection is older than the rules.
    Stale,
    /// No rule translates it.
    NoRule,
    /// This rule would translate it, but its connection was entered before, without.
    Older(Translated<'a>),
    /// This rule would translate it, but conntrack leaves the packet alone, or knows no connection of it.
    NotTracked(Translated<'a>),
    /// Rules that cannot be decided stand in the way.
    CannotTell,
}

/// What the rules give the first packet of a connection at a hook, whatever became of it. `tracked`: even where a rule leaves
/// it to no connection.
fn first<'a>(rules: &'a Rules<'a>, packet: &Packet, (name, tracked): (&str, bool)) -> Walk<'a> {
    let packet = Packet {
        states: Some(NEW),
        status: Some(0),
        tracked,
        ..packet.clone()
    };
    walk(rules, &packet, at(name))
}

/// The rule that translates an end of a connection which begins with this packet, if one does or may.
#[must_use]
pub fn first_translation<'a>(
    rules: &'a Rules<'a>,
    packet: &Packet,
    (hook, side): (&str, Side),
) -> Option<Translated<'a>> {
    let found = first(rules, packet, (hook, packet.tracked)).translated;
    found.into_iter().find(|rule| rule.to.side == side)
}

/// The rules that the first packet of a connection meets at a hook.
#[must_use]
pub fn met<'a>(rules: &'a Rules<'a>, packet: &Packet, hook: &str) -> Vec<&'a Rule> {
    let found = first(rules, packet, (hook, packet.tracked));
    found
        .steps
        .into_iter()
        .filter_map(|step| step.rule)
        .collect()
}

fn at(name: &str) -> Hook<'_> {
    Hook {
        layer: Layer::Ip,
        name,
        engine: None,
    }
}

/// The rule that leaves a packet to no connection where it comes in or is sent, if one surely does.
#[must_use]
pub fn left_untracked<'a>(rules: &'a Rules<'a>, packet: &Packet, hook: &str) -> Option<Step<'a>> {
    let found = first(rules, packet, (hook, false));
    if found.untracked != Some(true) {
        return None;
    }
    let leaves = |step: &Step<'_>| {
        step.rule
            .is_some_and(|rule| rule.statements().any(|s| matches!(s, Statement::NoTrack)))
    };
    found.steps.into_iter().find(|s| s.certain && leaves(s))
}

/// The zone of conntrack in which a packet's connection is looked up where it comes in or is sent; `None`: not known.
#[must_use]
pub fn zone(rules: &Rules<'_>, packet: &Packet, hook: &str) -> Option<u16> {
    first(rules, packet, (hook, false)).zone
}

/// Why a packet was translated, or was not, at a hook: `packet` as it came there, `entry` as conntrack has it.
#[must_use]
pub fn translations<'a>(
    rules: &'a Rules<'a>,
    packet: &Packet,
    (hook, side): (&str, Side),
    entry: Option<&ConntrackEntry>,
) -> Untranslated<'a> {
    let Walk {
        translated,
        unknown,
        because,
        ..
    } = first(rules, packet, (hook, true));
    let open = unknown || because.is_some();
    let own: Vec<Translated<'_>> = translated
        .into_iter()
        .filter(|t| t.to.side == side)
        .collect();
    let target = entry.and_then(|entry| target(entry, packet, side));
    match target {
        Some(target) => given(own, unknown, &target),
        None => missing(own, open, (packet, entry)),
    }
}

/// Which rule gave a target. Rules that are chosen by chance are all possible: only where none gives it, it is stale.
fn given<'a>(own: Vec<Translated<'a>>, unknown: bool, target: &Tuple) -> Untranslated<'a> {
    let certain = own.first().is_some_and(|rule| rule.certain);
    let mut own = own
        .into_iter()
        .filter(|rule| rule.gives(target) != Some(false));
    match own.next() {
        Some(rule) => Untranslated::By(rule),
        None if unknown && !certain => Untranslated::CannotTell,
        None => Untranslated::Stale,
    }
}

/// Why a packet has no translation.
fn missing<'a>(
    own: Vec<Translated<'a>>,
    open: bool,
    (packet, entry): (&Packet, Option<&ConntrackEntry>),
) -> Untranslated<'a> {
    let Some(rule) = own.into_iter().next() else {
        return if open {
            Untranslated::CannotTell
        } else {
            Untranslated::NoRule
        };
    };
    if !rule.certain {
        return Untranslated::CannotTell;
    }
    match (packet.states, entry) {
        (Some(states), _) if states & !(INVALID | UNTRACKED) == 0 => Untranslated::NotTracked(rule),
        (_, Some(_)) => Untranslated::Older(rule),
        (Some(states), None) if states & (ESTABLISHED | RELATED | NEW) != 0 => {
            Untranslated::Older(rule)
        }
        _ => Untranslated::CannotTell,
    }
}

/// To what an entry translates an end of a packet of its original direction; `None`: to nothing.
fn target(entry: &ConntrackEntry, packet: &Packet, side: Side) -> Option<Tuple> {
    let [original_source, original_destination] = entry.original;
    let [reply_source, reply_destination] = entry.reply;
    let mut tuple = packet.tuple?;
    let changed = match side {
        Side::Source => {
            (tuple.src, tuple.sport) = reply_destination;
            original_source != reply_destination
        }
        Side::Destination => {
            (tuple.dst, tuple.dport) = reply_source;
            original_destination != reply_source
        }
    };
    changed.then_some(tuple)
}
