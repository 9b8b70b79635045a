//! A source that conntrack goes on translating to the address of an interface by which its packets do not leave any more.
//! Rules are asked for the first packet of a connection alone: when the route changes, the entry keeps the address.

use crate::host::Host;
use crate::host::facts::{Side, Stop};
use crate::model::{Device, NetNs, Tuple};
use crate::network::filter::{Interface, Packet, Rules, Translated, first_translation};

use super::chain_commands::{rule_of, rule_words};
use super::remedy::{Remedy, Shell};
use super::translator;

/// The entry and the rule that would give another source.
pub struct StaleSource {
    netns: NetNs,
    /// As the connection began.
    original: Tuple,
    /// The rule, in words and with its text.
    rule: String,
    text: String,
    /// What it gives.
    target: String,
}

impl StaleSource {
    /// Of a packet that left by an interface as `left`, and was `original` when it came to its namespace. `None` where a rule
    /// may give this source, or none surely gives another.
    #[must_use]
    pub fn of(host: &Host, went: Device, (original, left): (Tuple, Tuple)) -> Option<Self> {
        let facts = &host.filters.get(&went.netns)?.fact;
        let rules = Rules::of(facts);
        let packet = Packet {
            tuple: Some(Tuple {
                src: original.src,
                sport: original.sport,
                ..left
            }),
            iif: Interface::Unknown,
            oif: Interface::Named(host.interface(went)),
            tracked: true,
            local: Some(host.addresses_in(went.netns).map(|a| a.address).collect()),
            ..Packet::default()
        };
        let first = first_translation(&rules, &packet, ("POSTROUTING", Side::Source))?;
        let target = other(host, went, &first, &left).filter(|_| first.certain)?;
        let rule = rule_of(first.chain, first.rule, Stop::Nat);
        Some(Self {
            netns: went.netns,
            original,
            rule: rule_words(first.base, &rule.chain, &rule),
            text: rule.text.clone(),
            target,
        })
    }

    /// What the entry does, for a summary that names the packet's source before it.
    #[must_use]
    pub fn words(&self) -> String {
        format!(
            "its conntrack entry is older than this way: {} would translate it to {} now (stale)",
            self.rule, self.target
        )
    }

    /// The rule.
    #[must_use]
    pub fn evidence(&self) -> String {
        format!("{} translates new connections: {}", self.rule, self.text)
    }

    /// The entry deleted.
    #[must_use]
    pub fn remedies(&self, host: &Host) -> Vec<Remedy> {
        let then = format!("the next packet is translated to {}", self.target);
        translator::forget(&self.original, 0, &then, &Shell::of(host, Some(self.netns)))
    }
}

/// What a rule gives, where that is not what the packet has.
fn other(host: &Host, went: Device, rule: &Translated<'_>, left: &Tuple) -> Option<String> {
    if let Some((first, _)) = rule.to.addresses {
        return (rule.gives(left) == Some(false)).then(|| first.to_string());
    }
    // the interface's own
    let own = host.addresses(went);
    let mut same = own
        .iter()
        .filter(|a| a.address.is_ipv4() == left.src.is_ipv4());
    let given = own.iter().any(|a| a.address == left.src);
    same.next()
        .filter(|_| !given)
        .map(|a| a.address.to_string())
}
