//! What packet filters would do with a packet: a walk over the chains of a hook in the order of their priorities, as
//! nf_tables (nft_do_chain) and x_tables (ipt_do_table) take it.
//!
//! Each test holds, does not hold, or cannot be decided from facts. Where one cannot be decided both ways are
//! followed: [`Walk`] then has several possible ends, and names the first rule that left it open. What is certain is
//! never guessed.

mod chain;
mod evaluate;
mod rules;
mod state;
mod translation;

#[cfg(test)]
mod tests;

use std::net::IpAddr;

use crate::host::facts::{
    BaseChain, Element, Field, FilterEngine, Rule, RuleVerdict, Set, Side, Test, Translation, Value,
};
use crate::model::{Fragment, Mac, Proto, Transport, Tuple};

pub use rules::{Change, Rules};
pub use translation::{
    Translated, Untranslated, first_translation, left_untracked, met, translations, zone,
};

/// States of a connection by bit.
pub mod states {
    pub use crate::uapi::nf_conntrack::{
        STATE_ESTABLISHED as ESTABLISHED, STATE_INVALID as INVALID, STATE_NEW as NEW,
        STATE_RELATED as RELATED, STATE_UNTRACKED as UNTRACKED,
    };
}

/// A packet, as it comes to a hook. What is `None` is not known.
#[derive(Clone, Debug)]
pub struct Packet {
    /// Addresses, ports, protocol; of ARP the addresses of IP that it speaks of.
    pub tuple: Option<Tuple>,
    /// What the transport header says.
    pub transport: Transport,
    /// Set in fragments.
    pub fragment: Option<Fragment>,
    /// What follows the header of IPv6 itself.
    pub next_header: Option<u8>,
    /// Interface on which it came in.
    pub iif: Interface,
    /// Interface through which it goes out.
    pub oif: Interface,
    /// Port of a bridge on which it came in, where chains of IP see what is bridged.
    pub port_in: Interface,
    /// Port of a bridge through which it goes out, likewise.
    pub port_out: Interface,
    /// Source MAC.
    pub source_mac: Option<Mac>,
    /// Destination MAC.
    pub destination_mac: Option<Mac>,
    /// skb->mark.
    pub mark: Option<u32>,
    /// The connection's mark.
    pub connection_mark: Option<u32>,
    /// Bits of [`states`]: those of which it may be one, from where conntrack looked at it.
    pub states: Option<u32>,
    /// IPS_* of its connection.
    pub status: Option<u32>,
    /// skb->pkt_type.
    pub packet_type: Option<u8>,
    /// Length of the packet of IP in bytes.
    pub length: Option<u32>,
    /// TTL or hop limit.
    pub ttl: Option<u8>,
    /// TOS or traffic class.
    pub tos: Option<u8>,
    /// Owner of the sending socket.
    pub user: Option<u32>,
    /// Addresses that this namespace has.
    pub local: Option<Vec<IpAddr>>,
    /// Conntrack sees it, whatever rules say of that (`notrack`).
    pub tracked: bool,
}

impl Default for Packet {
    fn default() -> Self {
        Self {
            tuple: None,
            transport: Transport::Other,
            fragment: None,
            next_header: None,
            iif: Interface::Unknown,
            oif: Interface::Unknown,
            port_in: Interface::Unknown,
            port_out: Interface::Unknown,
            source_mac: None,
            destination_mac: None,
            mark: None,
            connection_mark: None,
            states: None,
            status: None,
            packet_type: None,
            length: None,
            ttl: None,
            tos: None,
            user: None,
            local: None,
            tracked: false,
        }
    }
}

/// An interface of a packet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Interface {
    /// Not known.
    Unknown,
    /// It has none at this hook.
    Absent,
    /// By name.
    Named(String),
}

/// Whose chains are called.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Layer {
    /// IPv4 or IPv6, as the packet is.
    Ip,
    /// A bridge.
    Bridge,
    /// A device.
    Device,
    /// ARP.
    Arp,
}

/// A hook.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Hook<'a> {
    /// Whose.
    pub layer: Layer,
    /// `PREROUTING` and so on, as base chains have it.
    pub name: &'a str,
    /// Only chains of this engine.
    pub engine: Option<FilterEngine>,
}

impl Hook<'_> {
    /// Whether the kernel calls a base chain here for a packet.
    fn calls(&self, chain: &BaseChain, packet: &Packet) -> bool {
        let v6 = packet.tuple.map(|t| t.src.is_ipv6());
        let family = match (self.layer, chain.family.as_str()) {
            (Layer::Ip, "inet") => true,
            (Layer::Ip, "ip") => v6 != Some(true),
            (Layer::Ip, "ip6") => v6 != Some(false),
            (Layer::Bridge, family) => family == "bridge",
            (Layer::Arp, family) => family == "arp",
            (Layer::Device, "netdev") => true,
            (Layer::Device, "inet") => self.name == "INGRESS",
            _ => false,
        };
        family
            && chain.hook == self.name
            && self.engine.is_none_or(|e| e == chain.engine)
            && (self.layer != Layer::Device || self.is_bound(chain, packet))
    }

    /// Whether a chain of devices is bound to the one of the packet, or may be.
    fn is_bound(&self, chain: &BaseChain, packet: &Packet) -> bool {
        let device = match self.name {
            "EGRESS" => &packet.oif,
            _ => &packet.iif,
        };
        let Interface::Named(own) = device else {
            return true;
        };
        let mut bound = chain.devices.iter().peekable();
        bound.peek().is_none() || bound.any(|pattern| evaluate::named(pattern, own))
    }
}

/// How a packet's way ends at a hook.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It passes the base chain.
    Accept,
    /// It is discarded.
    Drop,
    /// It is discarded, and answered with this; empty: as the program does by default.
    Reject(String),
    /// It is handed to a process.
    Queue,
}

/// An element of a set or a map that a packet has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Chosen<'a> {
    /// The set or map.
    pub map: &'a Set,
    /// What is looked up in it.
    pub fields: &'a [Field],
    /// The element.
    pub element: &'a Element,
}

/// A rule, or a policy, that decides.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct End<'a> {
    /// The base chain.
    pub base: &'a BaseChain,
    /// The chain in which the rule stands.
    pub chain: &'a str,
    /// The rule; `None`: the base chain's policy.
    pub rule: Option<&'a Rule>,
    /// The element of a map that gave the verdict.
    pub element: Option<Chosen<'a>>,
    /// The element of a set for which the rule is met, where its tests name a set.
    pub member: Option<Chosen<'a>>,
    /// Jumps that led there: chain and number of the rule.
    pub via: Vec<(&'a str, u32)>,
    /// What it does.
    pub outcome: Outcome,
    /// The packet surely comes to it, and meets it.
    pub certain: bool,
}

/// A rule that the packet meets, or may meet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Step<'a> {
    /// The base chain.
    pub base: &'a BaseChain,
    /// The chain in which the rule stands.
    pub chain: &'a str,
    /// The rule; `None`: the base chain's policy.
    pub rule: Option<&'a Rule>,
    /// What the rule, or the policy, does with it.
    pub does: Does<'a>,
    /// It surely meets it.
    pub certain: bool,
    /// The first of the rule's tests that no facts decide.
    pub open: Option<&'a Test>,
}

/// What a rule does with a packet that meets it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Does<'a> {
    /// Counts, logs, sets a mark: the next rule follows.
    Continues,
    /// Gives a verdict, its own or that of a map's element.
    Verdict(&'a RuleVerdict),
    /// Discards it and answers with this.
    Rejects(&'a str),
    /// Translates it.
    Translates(&'a Translation),
    /// The policy of a base chain.
    Policy(Outcome),
}

/// Why it cannot be told what becomes of a packet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Undecided<'a> {
    /// The base chain.
    pub base: &'a BaseChain,
    /// The chain.
    pub chain: &'a str,
    /// The first rule that no facts decide; `None`: the chain is not known to its end.
    pub rule: Option<&'a Rule>,
    /// What of it.
    pub what: String,
}

/// A rule that the packet, as far as it comes to it, does not meet since it is not in a set; all else that the rule asks
/// holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outside<'a> {
    /// The base chain.
    pub base: &'a BaseChain,
    /// The chain in which the rule stands.
    pub chain: &'a str,
    /// The rule.
    pub rule: &'a Rule,
    /// The set.
    pub set: &'a Set,
    /// What is looked up in it.
    pub fields: &'a [Field],
    /// What the packet has there.
    pub key: Vec<Value>,
}

/// What a hook does with a packet.
#[derive(Clone, Debug, Default)]
pub struct Walk<'a> {
    /// Rules that it meets, or may meet, in order.
    pub steps: Vec<Step<'a>>,
    /// What may stop it, in order.
    pub ends: Vec<End<'a>>,
    /// It may pass the hook.
    pub passes: bool,
    /// Something that is not known may stop it.
    pub unknown: bool,
    /// The first thing that left it open.
    pub because: Option<Undecided<'a>>,
    /// skb->mark behind the hook, where that is known.
    pub mark: Option<u32>,
    /// The connection's mark behind the hook.
    pub connection_mark: Option<u32>,
    /// A rule of the chains that it passed left it to no connection; `None`: perhaps.
    pub untracked: Option<bool>,
    /// The zone in which conntrack looks for its connection; `None`: not known.
    pub zone: Option<u16>,
    /// Translations that it gets, or may get.
    pub translated: Vec<Translated<'a>>,
    /// Rules that it would meet, were it in a set.
    pub outside: Vec<Outside<'a>>,
}

/// The answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer<'w, 'a> {
    /// It passes.
    Passes,
    /// This stops it.
    Stopped(&'w End<'a>),
    /// It cannot be told.
    CannotTell(Option<&'w Undecided<'a>>),
}

impl<'a> Walk<'a> {
    /// What becomes of the packet.
    #[must_use]
    pub fn answer(&self) -> Answer<'_, 'a> {
        match self.ends.as_slice() {
            [] if !self.unknown => Answer::Passes,
            [.., last] if last.certain && self.ends.len() == 1 => Answer::Stopped(last),
            [only] if !self.passes && !self.unknown => Answer::Stopped(only),
            _ => Answer::CannotTell(self.because.as_ref()),
        }
    }
}

/// Walks the chains of a hook.
#[must_use]
pub fn walk<'a>(rules: &'a Rules<'a>, packet: &Packet, hook: Hook<'_>) -> Walk<'a> {
    chain::hook(rules, packet, hook)
}

/// Which of two.
fn end<T>(side: Side, source: T, destination: T) -> T {
    match side {
        Side::Source => source,
        Side::Destination => destination,
    }
}

/// Whether a protocol has ports.
fn has_ports(proto: Proto) -> bool {
    matches!(proto, Proto::Tcp | Proto::Udp | Proto::Sctp)
}
