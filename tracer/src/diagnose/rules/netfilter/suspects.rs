//! Which rule or policy of the chains at a hook it was. What was read beside the loss leaves out the rules that the
//! packet cannot meet and those whose counters did not move; what remains is suspected.

use std::net::IpAddr;

use crate::host::facts::{BaseChain, FilterRule, Side, Stop, Test};
use crate::model::{Device, NetNs, Proto, Transport, Tuple};
use crate::uapi::netfilter::NF_IP_PRI_CONNTRACK;
use crate::uapi::nf_conntrack::{
    IPS_CONFIRMED, IPS_SEEN_REPLY, STATE_ESTABLISHED, STATE_INVALID, STATE_NEW, STATE_RELATED,
    STATE_UNTRACKED,
};

use super::super::super::hooks::Hook;
use super::super::super::loss::Loss;

/// Somebody who may have done it.
#[derive(Clone, Copy, Debug)]
pub struct Suspect<'a> {
    /// The base chain.
    pub chain: &'a BaseChain,
    /// The rule; `None`: the chain's policy.
    pub rule: Option<&'a FilterRule>,
    /// By how much its counter rose between two looks, where there were two.
    pub moved: Option<u64>,
}

/// All of them.
#[derive(Debug, Default)]
pub struct Suspects<'a> {
    /// Chains in the order of their priorities.
    pub list: Vec<Suspect<'a>>,
    /// Nobody else can have done it.
    pub complete: bool,
}

impl<'a> Suspects<'a> {
    /// The one that is left.
    pub fn only(&self) -> Option<Suspect<'a>> {
        match self.list.as_slice() {
            [one] if self.complete => Some(*one),
            _ => None,
        }
    }
}

/// Whether packets at this place meet a test, as far as it can be told.
struct Packet<'l, 'a> {
    loss: &'l Loss<'a>,
    tuple: Option<Tuple>,
    hook: Hook,
    came_in: Option<Device>,
    goes_out: Option<Device>,
}

/// Who may have ended the packet's way in one of these manners; chains in the order of their priorities.
pub(super) fn of<'a>(
    loss: &Loss<'a>,
    (hook, goes_out): (Hook, Option<Device>),
    chains: &[&'a BaseChain],
    manners: &[Stop],
) -> Suspects<'a> {
    let packet = Packet {
        loss,
        tuple: loss.filtered(),
        hook,
        came_in: loss.came_in(),
        goes_out,
    };
    let mut found = Suspects {
        list: Vec::new(),
        complete: true,
    };
    'chains: for chain in chains {
        let unread = chain.stops.is_empty() && chain.rules.is_none_or(|n| n > 0);
        found.complete &= !chain.more_stops && !(unread && chain.policy_packets.is_none());
        for rule in chain.stops.iter().filter(|r| manners.contains(&r.stop)) {
            let met = packet.meets_all(chain, &rule.tests);
            if met == Some(false) {
                continue;
            }
            let moved = moved(loss, chain, Some(rule));
            if moved == Some(0) {
                continue;
            }
            let rule = Some(rule);
            found.list.push(Suspect { chain, rule, moved });
            // What it surely meets lets nothing of it come to the rules behind.
            if met == Some(true) {
                break 'chains;
            }
        }
        if chain.policy_drop && manners.contains(&Stop::Drop) && chain.policy_packets != Some(0) {
            let moved = moved(loss, chain, None);
            if moved != Some(0) {
                let rule = None;
                found.list.push(Suspect { chain, rule, moved });
            }
        }
    }
    if found.list.iter().any(|s| s.moved.is_some())
        && found
            .list
            .iter()
            .all(|s| s.rule.is_none_or(|r| r.packets.is_some()))
    {
        found.list.retain(|s| s.moved.is_some());
    }
    found
}

/// By how much a counter rose since the first look, where packets were lost between the two.
fn moved(loss: &Loss<'_>, chain: &BaseChain, rule: Option<&FilterRule>) -> Option<u64> {
    let netns = loss.netns()?;
    let (before, _) = loss.host.chains_before.get(&netns)?;
    let now = loss.host.chains.get(&netns)?;
    if loss.event.at <= before.at || loss.event.at >= now.at {
        return None;
    }
    let same = |c: &&BaseChain| {
        c.engine == chain.engine
            && (c.family.as_str(), c.table.as_str(), c.chain.as_str())
                == (
                    chain.family.as_str(),
                    chain.table.as_str(),
                    chain.chain.as_str(),
                )
    };
    let old = before.fact.iter().find(same)?;
    let Some(rule) = rule else {
        return Some(chain.policy_packets?.saturating_sub(old.policy_packets?));
    };
    let counted = old
        .stops
        .iter()
        .find(|r| r.chain == rule.chain && r.handle == rule.handle && r.text == rule.text)
        // A rule that had been idle until then was not kept.
        .map_or(Some(0), |r| r.packets)?;
    Some(rule.packets?.saturating_sub(counted))
}

impl Packet<'_, '_> {
    /// `None`: cannot be told.
    fn meets_all(&self, chain: &BaseChain, tests: &[Test]) -> Option<bool> {
        let mut all = Some(true);
        for test in tests {
            match self.meets(chain, test) {
                Some(false) => return Some(false),
                None => all = None,
                Some(true) => {}
            }
        }
        all
    }

    fn meets(&self, chain: &BaseChain, test: &Test) -> Option<bool> {
        match test {
            Test::Address { side, ranges, not } => {
                let tuple = self.tuple.filter(|t| t.proto != Proto::Arp)?;
                let address = end(*side, tuple.src, tuple.dst);
                let comparable = ranges.iter().any(|(a, _)| a.is_ipv4() == address.is_ipv4());
                let within = |(first, last): &(IpAddr, IpAddr)| (*first..=*last).contains(&address);
                Some(comparable && ranges.iter().any(within) != *not)
            }
            Test::Port { side, ranges, not } => {
                let tuple = self.tuple?;
                if !matches!(tuple.proto, Proto::Tcp | Proto::Udp | Proto::Sctp) {
                    return Some(false);
                }
                let within = |port: u16| ranges.iter().any(|(a, b)| (*a..=*b).contains(&port));
                let met = match side {
                    Some(side) => within(end(*side, tuple.sport, tuple.dport)),
                    None => within(tuple.sport) || within(tuple.dport),
                };
                Some(met != *not)
            }
            Test::Protocol { number, not } => {
                let own = protocol_number(self.tuple?.proto)?;
                Some((own == *number) != *not)
            }
            Test::Version { v6, not } => {
                let tuple = self.tuple.filter(|t| t.proto != Proto::Arp)?;
                Some((tuple.src.is_ipv6() == *v6) != *not)
            }
            Test::Interface { side, name, not } => {
                let device = end(*side, self.came_in, self.goes_out)?;
                // What br_netfilter shows as interface is the bridge, or its port.
                if self.hook.bridged {
                    return None;
                }
                let own = self.loss.host.link(device)?.name.as_str();
                let met = match name.strip_suffix('*') {
                    Some(start) => own.starts_with(start),
                    None => own == name,
                };
                Some(met != *not)
            }
            Test::State { mask, not } => {
                let possible = self.states(chain)?;
                match (possible & mask, possible & !mask) {
                    (0, _) => Some(*not),
                    (_, 0) => Some(!not),
                    _ => None,
                }
            }
            Test::IcmpType { number, not } => match self.loss.event.packet.as_ref()?.transport {
                Transport::Icmp { icmp_type, .. } => Some((icmp_type == *number) != *not),
                _ => None,
            },
            Test::Mark { value, mask, not } => Some((self.loss.info.mark & mask == *value) != *not),
            Test::Other(_) => None,
        }
    }

    /// The states of which the packet may be one.
    fn states(&self, chain: &BaseChain) -> Option<u32> {
        if !self.loss.info.ct_attached? {
            return (chain.priority > NF_IP_PRI_CONNTRACK)
                .then_some(STATE_INVALID | STATE_UNTRACKED);
        }
        Some(match self.loss.info.ct_status? {
            status if status & IPS_CONFIRMED == 0 => STATE_NEW | STATE_RELATED,
            status if status & IPS_SEEN_REPLY != 0 => STATE_ESTABLISHED | STATE_RELATED,
            _ => STATE_NEW | STATE_RELATED | STATE_ESTABLISHED,
        })
    }
}

fn end<T>(side: Side, source: T, destination: T) -> T {
    match side {
        Side::Source => source,
        Side::Destination => destination,
    }
}

fn protocol_number(proto: Proto) -> Option<u8> {
    Some(match proto {
        Proto::Icmp => 1,
        Proto::Tcp => 6,
        Proto::Udp => 17,
        Proto::Icmp6 => 58,
        Proto::Sctp => 132,
        Proto::Other(number) => number,
        Proto::Arp => return None,
    })
}

/// The namespace of a loss, with a chain's name, in the words of evidence.
pub(super) fn words(suspect: &Suspect<'_>) -> String {
    let chain = suspect.chain;
    let name = |chain_name: &str| {
        super::super::super::chain_commands::chain_words(&BaseChain {
            chain: chain_name.to_owned(),
            ..chain.clone()
        })
    };
    match suspect.rule {
        None => format!("chain {} has policy drop", name(&chain.chain)),
        Some(rule) => {
            let which = match rule.handle {
                Some(handle) if !chain.is_iptables() => format!("rule (handle {handle})"),
                _ => format!("rule {}", rule.number),
            };
            format!("{which} of chain {}: {}", name(&rule.chain), rule.text)
        }
    }
}

/// How often it met a packet, for evidence.
pub(super) fn counted(suspect: &Suspect<'_>) -> String {
    let packets = match suspect.rule {
        Some(rule) => rule.packets,
        None => suspect.chain.policy_packets,
    };
    match (packets, suspect.moved) {
        (Some(packets), Some(moved)) => {
            format!(" ({packets} packets, {moved} of them while tracing)")
        }
        (Some(packets), None) => format!(" ({packets} packets so far)"),
        (None, _) => String::new(),
    }
}

/// Whether a namespace's chains are to be read once more: packets were lost after the last look, and that was not just
/// now. Looks become rarer.
pub fn look_again(loss: &Loss<'_>, netns: NetNs) -> Option<u8> {
    /// The first wait, then twice as long each time.
    const WAIT_NS: u64 = 200_000_000;
    const MOST: u8 = 10;
    let last = loss.host.chains.get(&netns)?;
    let round = loss.host.chains_before.get(&netns).map_or(0, |(_, n)| *n);
    let waited = loss.trace.now.since(last.at);
    (round < MOST && loss.event.at > last.at && waited > WAIT_NS << round).then_some(round)
}
