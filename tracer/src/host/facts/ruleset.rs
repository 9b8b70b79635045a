//! A namespace's packet filters as facts, whole enough to be walked: every chain with its rules in order, what each
//! rule asks and does, and the elements of the sets and maps that they look into. [`crate::network::filter`] walks them.

use std::net::IpAddr;

use serde::{Deserialize, Serialize};

use super::filter::{BaseChain, FilterEngine, Side, Stop, Test};
use crate::model::Mac;

/// All packet filters of a namespace.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Ruleset {
    /// Chains that the kernel calls.
    pub base: Vec<BaseChain>,
    /// Rules of all chains, base chains included.
    pub chains: Vec<Chain>,
    /// Sets and maps.
    pub sets: Vec<Set>,
}

/// A chain's rules.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Chain {
    /// Whose.
    pub engine: FilterEngine,
    /// Family as in [`BaseChain`].
    pub family: String,
    /// Table.
    pub table: String,
    /// Name.
    pub name: String,
    /// In the order of evaluation.
    pub rules: Vec<Rule>,
    /// What of it is not here.
    #[serde(default)]
    pub missing: Missing,
}

/// What is not here of a chain, or of a set.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Missing {
    /// It is whole.
    #[default]
    Nothing,
    /// Rules that let pass, or that had met no packet: a recording made before rules were kept whole.
    NotEnding,
    /// Anything: it is cut, since it was too long or could not be read.
    Cut,
}

/// A rule.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rule {
    /// The chain in which it stands, where that is not the one that lists it: a recording made before rules were kept
    /// whole lists all rules below their base chain, with the tests of the jumps that lead to them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub chain: Option<String>,
    /// Its handle, in nftables.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub handle: Option<u64>,
    /// Its place in the chain, from 1.
    pub number: u32,
    /// As the program that made it would print it, as far as it is understood.
    pub text: String,
    /// Whether `text` says all of it.
    pub whole: bool,
    /// How many packets it counted; `None` where it has no counter.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub packets: Option<u64>,
    /// What it asks and does, in order.
    pub parts: Vec<Part>,
}

/// A part of a rule.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Part {
    /// A condition: where it does not hold the rule ends here.
    Test(Test),
    /// Something that the rule does.
    Do(Statement),
}

/// What a rule does with a packet that meets its tests.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Statement {
    /// Decides where the packet goes.
    Verdict(RuleVerdict),
    /// Looks the verdict up in a map; without an element the next rule follows.
    Map {
        /// What is looked up, joined.
        fields: Vec<Field>,
        /// The map's name.
        map: String,
    },
    /// Discards and answers with this.
    Reject(String),
    /// Translates, and lets it pass the base chain.
    Translate(Translation),
    /// Sets skb->mark.
    SetMark(NewValue),
    /// Sets the connection's mark.
    SetConnectionMark(NewValue),
    /// Gives the frame another MAC.
    SetMac(Side, Mac),
    /// Gives the packet another TTL or hop limit.
    SetTtl {
        /// Of IPv6.
        v6: bool,
        /// Which.
        to: NewTtl,
    },
    /// Leaves it to no connection.
    NoTrack,
    /// Sets the zone of conntrack in which its connection is looked up; `None`: which one is not known.
    SetZone(Option<u16>),
    /// Nothing that a later test could see: logs, counts …, in words.
    Note(String),
}

/// Where a packet goes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum RuleVerdict {
    /// Passes this base chain.
    Accept,
    /// Is discarded.
    Drop,
    /// Back behind the jump; of a base chain: to its policy.
    Return,
    /// To the next rule.
    Continue,
    /// Into a chain, and back from it.
    Jump(String),
    /// Into a chain for good.
    Goto(String),
    /// To a process.
    Queue {
        /// Its number.
        number: u16,
        /// Passes where nobody listens.
        bypass: bool,
    },
}

/// What becomes of an end of the packet.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Translation {
    /// Which end.
    pub side: Side,
    /// First and last address; `None`: the interface's own (masquerade, redirect), or not known.
    pub addresses: Option<(IpAddr, IpAddr)>,
    /// First and last port, where they are given.
    pub ports: Option<(u16, u16)>,
    /// As the program says it.
    pub text: String,
}

/// How a mark is made: `(from & and) ^ xor`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NewValue {
    /// The mark as it was.
    pub keep: u32,
    /// Further field, and its bits; `Field::Other` is not known.
    pub from: Option<(Field, u32)>,
    /// What is turned in the end.
    pub xor: u32,
}

/// How a TTL or hop limit is made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum NewTtl {
    /// It is set.
    Is(u8),
    /// So much is added.
    More(u8),
    /// So much is taken away.
    Less(u8),
}

impl NewTtl {
    /// What becomes of one.
    #[must_use]
    pub const fn of(self, before: u8) -> u8 {
        match self {
            Self::Is(value) => value,
            Self::More(n) => before.saturating_add(n),
            Self::Less(n) => before.saturating_sub(n),
        }
    }
}

/// What of a packet a test looks at, or a set is asked for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Field {
    /// Address of IP.
    Address(Side),
    /// Port.
    Port(Side),
    /// IPPROTO_*.
    Protocol,
    /// What follows the header of IPv6 itself, IPPROTO_*: an extension header, or the transport.
    NextHeader,
    /// NFPROTO_* of the hook (2 IPv4, 10 IPv6).
    Family,
    /// ETH_P_*.
    EtherType,
    /// ARPHRD_* of the interface.
    LinkType(Side),
    /// Interface by name.
    Interface(Side),
    /// Port of a bridge by name, where IP sees what is bridged.
    BridgePort(Side),
    /// The bridge of the interface, by name.
    Bridge(Side),
    /// State of the connection by bit, as in [`Test::State`].
    State,
    /// IPS_* of the connection.
    Status,
    /// Mark of the connection.
    ConnectionMark,
    /// skb->mark.
    Mark,
    /// Type of ICMP or ICMPv6.
    IcmpType,
    /// Code.
    IcmpCode,
    /// Flags byte of TCP.
    TcpFlags,
    /// MAC.
    Mac(Side),
    /// skb->pkt_type.
    PacketType,
    /// Length of the packet of IP.
    Length,
    /// TTL or hop limit.
    Ttl,
    /// TOS or traffic class, all eight bits.
    Tos,
    /// Flags and offset of a fragment as the header of IPv4 has them.
    Fragment,
    /// RTN_* of an address for this namespace (1 unicast, 2 local, 3 broadcast, 5 multicast).
    AddressType(Side),
    /// Operation of ARP.
    ArpOperation,
    /// Address of ARP.
    ArpAddress(Side),
    /// MAC of ARP.
    ArpMac(Side),
    /// ARPHRD_* of ARP.
    ArpHardware,
    /// Length of a MAC in ARP.
    ArpHardwareLength,
    /// Length of an address in ARP.
    ArpProtocolLength,
    /// Owner of the sending socket.
    User,
    /// Group of the sending socket.
    Group,
    /// Anything else, in words.
    Other(String),
}

/// A value that a field may have.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Value {
    /// A number.
    Number(u64),
    /// An address.
    Address(IpAddr),
    /// A name; `*` at the end stands for anything.
    Name(String),
    /// A MAC.
    Mac(Mac),
}

/// A set, or a map.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Set {
    /// Family of its table as in [`BaseChain`]; empty: an ipset.
    pub family: String,
    /// Table.
    pub table: String,
    /// Name.
    pub name: String,
    /// What it holds.
    pub elements: Vec<Element>,
    /// What of it is not here.
    #[serde(default)]
    pub missing: Missing,
}

/// An element.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Element {
    /// First and last of each field.
    pub key: Vec<(Value, Value)>,
    /// Of a map of verdicts: where it leads.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub verdict: Option<RuleVerdict>,
    /// Its comment.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub comment: Option<String>,
    /// It goes away by itself, in so many seconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub remaining_s: Option<u64>,
}

impl Set {
    /// Whether it is one of ipset, which belongs to no table.
    #[must_use]
    pub fn is_ipset(&self) -> bool {
        self.family.is_empty()
    }
}

impl Rule {
    /// Its conditions.
    pub fn tests(&self) -> impl Iterator<Item = &Test> {
        self.parts.iter().filter_map(|part| match part {
            Part::Test(test) => Some(test),
            Part::Do(_) => None,
        })
    }

    /// What it does.
    pub fn statements(&self) -> impl Iterator<Item = &Statement> {
        self.parts.iter().filter_map(|part| match part {
            Part::Do(statement) => Some(statement),
            Part::Test(_) => None,
        })
    }

    /// How it can end a packet's way, itself; `None` for jumps and rules that let the packet go on.
    #[must_use]
    pub fn stop(&self) -> Option<Stop> {
        self.statements().find_map(|statement| match statement {
            Statement::Verdict(verdict) => verdict.stop(),
            Statement::Reject(_) => Some(Stop::Reject),
            Statement::Translate(_) => Some(Stop::Nat),
            _ => None,
        })
    }
}

impl RuleVerdict {
    /// How it ends a packet's way.
    #[must_use]
    pub fn stop(&self) -> Option<Stop> {
        match self {
            Self::Accept => Some(Stop::Accept),
            Self::Drop => Some(Stop::Drop),
            Self::Queue { .. } => Some(Stop::Queue),
            Self::Return | Self::Continue | Self::Jump(_) | Self::Goto(_) => None,
        }
    }
}

impl Chain {
    /// Whether it is the base chain's own.
    #[must_use]
    pub fn is(&self, base: &BaseChain) -> bool {
        self.name == base.chain && self.beside(base)
    }

    /// Whether it stands in the base chain's table.
    #[must_use]
    pub fn beside(&self, base: &BaseChain) -> bool {
        self.engine == base.engine && self.family == base.family && self.table == base.table
    }
}

impl Ruleset {
    /// Rules reached from a base chain that may stop a packet or translate it and are not known to have been idle, each
    /// once, with their chains, in the order of evaluation; at most so many.
    #[must_use]
    pub fn stops<'a>(&'a self, base: &'a BaseChain, most: usize) -> Vec<(&'a str, &'a Rule)> {
        let mut found = Vec::new();
        let mut seen = vec![base.chain.as_str()];
        self.stops_in(base, &base.chain, most, (&mut seen, &mut found));
        found
    }

    fn stops_in<'a>(
        &'a self,
        base: &BaseChain,
        name: &str,
        most: usize,
        (seen, found): (&mut Vec<&'a str>, &mut Vec<(&'a str, &'a Rule)>),
    ) {
        let chains = &mut self.chains.iter();
        let Some(chain) = chains.find(|c| c.name == name && c.beside(base)) else {
            return;
        };
        for rule in chain.rules.iter().filter(|rule| rule.packets != Some(0)) {
            if found.len() >= most {
                return;
            }
            let mut stops = rule.stop().is_some_and(|stop| stop != Stop::Accept);
            for verdict in self.verdicts(base, rule) {
                stops |= matches!(verdict.stop(), Some(Stop::Drop | Stop::Queue));
                if let RuleVerdict::Jump(to) | RuleVerdict::Goto(to) = verdict
                    && !seen.contains(&to.as_str())
                {
                    seen.push(to);
                    self.stops_in(base, to, most, (seen, found));
                }
            }
            if stops {
                found.push((rule.chain.as_deref().unwrap_or(&chain.name), rule));
            }
        }
    }

    /// Verdicts that a rule may give, those of its map's elements included.
    fn verdicts<'a>(&'a self, base: &BaseChain, rule: &'a Rule) -> Vec<&'a RuleVerdict> {
        let of_map = |name: &str| {
            let mut sets = self.sets.iter();
            sets.find(|s| s.name == *name && s.family == base.family && s.table == base.table)
        };
        rule.statements()
            .flat_map(move |statement| -> Vec<&RuleVerdict> {
                match statement {
                    Statement::Verdict(verdict) => vec![verdict],
                    Statement::Map { map, .. } => of_map(map)
                        .iter()
                        .flat_map(|set| &set.elements)
                        .filter_map(|element| element.verdict.as_ref())
                        .collect(),
                    _ => Vec::new(),
                }
            })
            .collect()
    }

    /// Rules of all chains of a base chain's table, with their chains.
    pub fn beside<'a>(&'a self, base: &BaseChain) -> impl Iterator<Item = (&'a str, &'a Rule)> {
        self.chains.iter().filter(|c| c.beside(base)).flat_map(|c| {
            let rules = c.rules.iter();
            rules.map(|rule| (rule.chain.as_deref().unwrap_or(&c.name), rule))
        })
    }

    /// What a recording tells that kept only rules which end a packet's way.
    #[must_use]
    pub fn of_stops(mut base: Vec<BaseChain>) -> Self {
        let mut chains = Vec::new();
        for chain in &mut base {
            let unread = chain.stops.is_empty() && chain.rules.is_none_or(|n| n > 0);
            let missing = if chain.more_stops || unread && chain.policy_packets.is_none() {
                Missing::Cut
            } else {
                Missing::NotEnding
            };
            let stops = std::mem::take(&mut chain.stops);
            let mut own = Chain {
                engine: chain.engine,
                family: chain.family.clone(),
                table: chain.table.clone(),
                name: chain.chain.clone(),
                rules: Vec::new(),
                missing,
            };
            for stop in stops {
                let tests = stop.tests.into_iter().map(Part::Test);
                let end = match stop.stop {
                    Stop::Accept => Statement::Verdict(RuleVerdict::Accept),
                    Stop::Drop => Statement::Verdict(RuleVerdict::Drop),
                    Stop::Queue => Statement::Verdict(RuleVerdict::Queue {
                        number: 0,
                        bypass: false,
                    }),
                    Stop::Reject => Statement::Reject(String::new()),
                    Stop::Nat => Statement::Translate(Translation {
                        side: if chain.hook == "POSTROUTING" || chain.hook == "INPUT" {
                            Side::Source
                        } else {
                            Side::Destination
                        },
                        addresses: None,
                        ports: None,
                        text: String::new(),
                    }),
                };
                let rule = Rule {
                    chain: Some(stop.chain).filter(|name| *name != own.name),
                    handle: stop.handle,
                    number: stop.number,
                    text: stop.text,
                    whole: stop.whole,
                    packets: stop.packets,
                    parts: tests.chain([Part::Do(end)]).collect(),
                };
                own.rules.push(rule);
            }
            chains.push(own);
        }
        Self {
            base,
            chains,
            sets: Vec::new(),
        }
    }
}
