//! What packet filters do with a question for a neighbour and with its answer: both are packets like others, and pass
//! hooks at the machine that asks, at bridges between the two, and at the one that should answer.

use std::net::{IpAddr, Ipv4Addr};

use super::{Answer, Ask, By};
use crate::host::Host;
use crate::host::facts::{BaseChain, Link, Question, Rule};
use crate::model::{Device, IfIndex, KtimeNs, Mac, NetNs, Proto, Transport, Tuple};
use crate::network::bridging::{Cast, bridge_of, way_to};
use crate::network::filter::{self, Change, Interface, Layer, Outcome, Packet, Rules, states};
use crate::network::links::peer_of;
use crate::network::segment::{Crossed, Frame, Segment, solicited_node};
use crate::network::settings::value;
use crate::network::tunnel;
use crate::uapi::if_packet::{BROADCAST, HOST, MULTICAST};

/// Hop limit of neighbour discovery (RFC 4861, 7.1).
const HOP_LIMIT: u8 = 255;
/// Whether bridges have ip6tables look at what they carry (br_netfilter).
pub const CALLED_BY_BRIDGES: &str = "net/bridge/bridge-nf-call-ip6tables";
/// Length of a solicitation or an advertisement with the sender's MAC.
const ND_LENGTH: u32 = 72;

/// A question or an answer at a hook.
#[derive(Clone, Debug)]
pub struct AtHook<'a> {
    /// The interface by which it comes in, or goes out.
    pub link: &'a Link,
    /// It comes in by it.
    pub incoming: bool,
    /// Whose chains are called.
    pub layer: Layer,
    /// Hook as base chains have it.
    pub hook: &'static str,
    /// What comes there.
    pub packet: Packet,
    /// A bridge that only carries it calls these chains (br_netfilter); to them the bridge is the interface, not its port.
    pub carried: bool,
    /// What comes there is the outer packet of this tunnel.
    pub tunnel: Option<Crossed<'a>>,
    /// It answers a question, or carries an answer.
    pub answers: bool,
}

/// What stops it there.
#[derive(Clone, Debug)]
pub struct Dropped<'a> {
    /// Where.
    pub at: AtHook<'a>,
    /// The base chain.
    pub base: &'a BaseChain,
    /// The chain in which the rule stands.
    pub chain: &'a str,
    /// The rule; `None`: the base chain's policy.
    pub rule: Option<&'a Rule>,
}

/// What becomes of it at a hook.
#[derive(Clone, Debug)]
pub enum Passage<'a> {
    /// It passes.
    Passes,
    /// This drops it.
    Dropped(Box<Dropped<'a>>),
    /// The rules as they were read do not tell.
    CannotTell,
    /// The rules were not read.
    Unread(Question),
}

/// Changes that are tried on the rules of namespaces.
pub type Tried = [(NetNs, Change)];

impl<'a> AtHook<'a> {
    /// Whether it answers a question.
    #[must_use]
    pub const fn is_answer(&self) -> bool {
        self.answers
    }

    /// A packet at a hook of an interface.
    #[must_use]
    pub fn new(
        (link, incoming): (&'a Link, bool),
        (layer, hook): (Layer, &'static str),
        packet: Packet,
    ) -> Self {
        Self {
            link,
            incoming,
            layer,
            hook,
            answers: matches!(packet.transport, Transport::Neighbor { answer: true, .. }),
            packet,
            carried: false,
            tunnel: None,
        }
    }

    /// What the rules of the hook do with it. `since`: when the question was asked first; a rule that had met no packet
    /// when it was read later did not meet this one.
    #[must_use]
    pub fn passage(&self, host: &'a Host, since: Option<KtimeNs>, tried: &Tried) -> Passage<'a> {
        let netns = self.link.device.netns;
        let Some(read) = host.filters.get(&netns) else {
            return Passage::Unread(Question::Chains { netns });
        };
        let later = since.is_some_and(|since| read.at > since);
        let mut rules = Rules::of(&read.fact).without(|_, rule| later && rule.packets == Some(0));
        for (_, change) in tried.iter().filter(|(of, _)| *of == netns) {
            rules = rules.with(change.clone());
        }
        let at = filter::Hook {
            layer: self.layer,
            name: self.hook,
            engine: None,
        };
        let walk = filter::walk(&rules, &self.packet, at);
        let end = match walk.answer() {
            filter::Answer::Passes => return Passage::Passes,
            filter::Answer::Stopped(end) if end.outcome != Outcome::Queue => end,
            filter::Answer::Stopped(_) | filter::Answer::CannotTell(_) => {
                return Passage::CannotTell;
            }
        };
        let idle = end.rule.is_none() && later && end.base.policy_packets == Some(0);
        let base = read.fact.base.iter().find(|base| *base == end.base);
        let (Some(base), false) = (base, idle) else {
            return Passage::CannotTell;
        };
        // The facts outlive the walk.
        let rule = end.rule.map(|rule| {
            let mut all = read.fact.beside(base);
            all.find(|(chain, r)| *chain == end.chain && *r == rule)
        });
        let (chain, rule) = match rule {
            None => (base.chain.as_str(), None),
            Some(Some((chain, rule))) => (chain, Some(rule)),
            Some(None) => return Passage::CannotTell,
        };
        Passage::Dropped(Box::new(Dropped {
            at: self.clone(),
            base,
            chain,
            rule,
        }))
    }
}

/// The hooks that a question and the answers to it pass, in order, for each who would answer but for packet filters; none
/// where somebody would whose answer no rule sees.
#[must_use]
pub fn ways<'a>(host: &'a Host, ask: Ask, answer: &Answer<'a>) -> Vec<Vec<AtHook<'a>>> {
    let asker = host.link(ask.device);
    let question = asker.and_then(|asker| Some((asker, question(host, asker, ask)?)));
    let table = answer.answerers.iter().any(|a| matches!(a.by, By::Table));
    let Some((asker, question)) = question.filter(|_| !table) else {
        return Vec::new();
    };
    let answerers = answer.answerers.iter();
    answerers
        .map(|answerer| {
            let there = way(host, (asker, answerer.link), &question);
            let back = reply(&question, answerer.mac);
            let back = back.map(|back| way(host, (answerer.link, asker), &back));
            there.into_iter().chain(back.unwrap_or_default()).collect()
        })
        .collect()
}

/// The namespaces whose chains are asked.
#[must_use]
pub fn questions(host: &Host, ask: Ask, answer: &Answer<'_>) -> Vec<Question> {
    let mut list = Vec::new();
    for at in ways(host, ask, answer).iter().flatten() {
        let netns = at.link.device.netns;
        let chains = Question::Chains { netns };
        // Whether a bridge has chains of IP look at what it carries.
        let called = (at.layer == Layer::Bridge && ask.address.is_ipv6())
            .then(|| value(host, netns, CALLED_BY_BRIDGES).err());
        let route = at.tunnel.map(|crossed| {
            tunnel::underlay_question(tunnel::underlay_netns(crossed.from), crossed.remote)
        });
        let all = [Some(chains), called.flatten(), route];
        for question in all.into_iter().flatten() {
            if !list.contains(&question) {
                list.push(question);
            }
        }
    }
    list
}

/// The question as it is sent: ARP with the address that asks, neighbour discovery with that or, where it is not the
/// asker's own, with its link-local one (ndisc_solicit, net/ipv6/ndisc.c).
fn question(host: &Host, asker: &Link, ask: Ask) -> Option<Packet> {
    let own = |address: &IpAddr| host.is_local(asker.device.netns, *address);
    let packet = match ask.address {
        IpAddr::V4(_) => Packet {
            tuple: Some(tuple(
                Proto::Arp,
                ask.source.unwrap_or(Ipv4Addr::UNSPECIFIED.into()),
                ask.address,
            )),
            destination_mac: Some(Mac([0xff; 6])),
            packet_type: Some(BROADCAST),
            ..Packet::default()
        },
        IpAddr::V6(address) => {
            let link_local = || {
                let mut addresses = host.addresses(asker.device).iter().map(|a| a.address);
                addresses.find(|a| matches!(a, IpAddr::V6(v6) if v6.is_unicast_link_local()))
            };
            let source = ask.source.filter(own).or_else(link_local)?;
            let group = solicited_node(address);
            let [.., a, b, c, d] = group.octets();
            Packet {
                tuple: Some(tuple(Proto::Icmp6, source, group.into())),
                destination_mac: Some(Mac([0x33, 0x33, a, b, c, d])),
                packet_type: Some(MULTICAST),
                ..discovery()
            }
        }
    };
    Some(Packet {
        transport: Transport::Neighbor {
            answer: false,
            target: ask.address,
            mac: asker.mac,
        },
        source_mac: asker.mac,
        mark: Some(0),
        ..packet
    })
}

/// What is alike in packets of neighbour discovery. Conntrack leaves them untracked (nf_conntrack_icmpv6_error,
/// net/netfilter/nf_conntrack_proto_icmpv6.c).
fn discovery() -> Packet {
    Packet {
        ttl: Some(HOP_LIMIT),
        length: Some(ND_LENGTH),
        tos: Some(0),
        next_header: Proto::Icmp6.number(),
        states: Some(states::UNTRACKED),
        ..Packet::default()
    }
}

/// The answer to a question, of somebody with this MAC.
#[must_use]
pub fn reply(question: &Packet, mac: Option<Mac>) -> Option<Packet> {
    let Transport::Neighbor { target, .. } = question.transport else {
        return None;
    };
    let asked = question.tuple?;
    let packet = if target.is_ipv6() {
        discovery()
    } else {
        Packet::default()
    };
    Some(Packet {
        tuple: Some(tuple(asked.proto, target, asked.src)),
        transport: Transport::Neighbor {
            answer: true,
            target,
            mac,
        },
        source_mac: mac,
        destination_mac: question.source_mac,
        mark: Some(0),
        packet_type: Some(HOST),
        ..packet
    })
}

fn tuple(proto: Proto, src: IpAddr, dst: IpAddr) -> Tuple {
    Tuple {
        proto,
        src,
        sport: 0,
        dst,
        dport: 0,
        icmp_id: 0,
    }
}

/// From one machine to another: out there, through a bridge between them, and in.
fn way<'a>(host: &'a Host, (from, to): (&'a Link, &'a Link), packet: &Packet) -> Vec<AtHook<'a>> {
    let answers = matches!(packet.transport, Transport::Neighbor { answer: true, .. });
    let mut list = sent(host, from, packet);
    list.extend(bridged(host, (from, to), packet));
    if let Some(crossed) = crossed(host, (from, to), packet) {
        list.extend(outside(host, crossed).into_iter().map(|at| AtHook {
            answers,
            tunnel: Some(crossed),
            ..at
        }));
    }
    list.extend(received(host, to, packet));
    list
}

/// The tunnel through which it goes, where it goes through one.
fn crossed<'a>(
    host: &'a Host,
    (from, to): (&'a Link, &'a Link),
    packet: &Packet,
) -> Option<Crossed<'a>> {
    let Transport::Neighbor { answer, target, .. } = packet.transport else {
        return None;
    };
    let frame = Frame {
        cast: match (answer, target) {
            (true, _) => Cast::Known,
            (false, IpAddr::V4(_)) => Cast::Broadcast,
            (false, IpAddr::V6(_)) => Cast::Multicast,
        },
        source: from.mac,
        target: to.mac.filter(|_| answer),
        asks: None,
    };
    Segment::from(host, from, frame).end(to.device)?.tunnel
}

/// The outer packet at the hooks of the namespaces in which it begins and ends.
fn outside<'a>(host: &'a Host, crossed: Crossed<'a>) -> Vec<AtHook<'a>> {
    let Crossed { from, to, remote } = crossed;
    let netns = tunnel::underlay_netns(from);
    let by_route = || {
        let answer = tunnel::underlay(host, netns, remote)?;
        let ifindex = IfIndex(answer.result.as_ref().ok()?.oif?);
        host.link(Device { netns, ifindex })
    };
    let on_link = || Some(tunnel::on_link(host, netns, remote.address)?.0);
    let (Some(src), Some(out)) = (
        tunnel::source(host, from, remote),
        by_route().or_else(on_link),
    ) else {
        return Vec::new();
    };
    let packet = Packet {
        tuple: Some(Tuple {
            src,
            ..remote.outer()
        }),
        mark: Some(0),
        // One end's packets are never answers to the other's: the source port is another.
        states: Some(states::NEW),
        packet_type: Some(HOST),
        ..Packet::default()
    };
    let there = tunnel::underlay_netns(to);
    let into = host
        .owners(remote.address)
        .find(|owner| owner.netns == there)
        .and_then(|owner| host.link(owner));
    let received = into.map(|into| received(host, into, &packet));
    let mut list = sent(host, out, &packet);
    list.extend(received.into_iter().flatten());
    list
}

/// The hooks that it passes where it is sent.
#[must_use]
pub fn sent<'a>(host: &'a Host, from: &'a Link, packet: &Packet) -> Vec<AtHook<'a>> {
    let own: &[(Layer, &str)] = match is_arp(packet) {
        true => &[(Layer::Arp, "OUTPUT")],
        false => &[(Layer::Ip, "OUTPUT"), (Layer::Ip, "POSTROUTING")],
    };
    let all = own.iter().chain(&[(Layer::Device, "EGRESS")]);
    all.filter_map(|at| at_hook(host, *at, (None, Some(from)), packet))
        .collect()
}

/// The hooks that it passes where it is received.
#[must_use]
pub fn received<'a>(host: &'a Host, to: &'a Link, packet: &Packet) -> Vec<AtHook<'a>> {
    let own: &[(Layer, &str)] = match is_arp(packet) {
        true => &[(Layer::Arp, "INPUT")],
        false => &[(Layer::Ip, "PREROUTING"), (Layer::Ip, "INPUT")],
    };
    let all = [(Layer::Device, "INGRESS")];
    all.iter()
        .chain(own)
        .filter_map(|at| at_hook(host, *at, (Some(to), None), packet))
        .collect()
}

/// Hooks of a frame between two ports of a bridge, with those of IP that the bridge calls.
const THROUGH_A_BRIDGE: &[(Layer, &str)] = &[
    (Layer::Device, "INGRESS"),
    (Layer::Bridge, "PREROUTING"),
    (Layer::Ip, "PREROUTING"),
    (Layer::Bridge, "FORWARD"),
    (Layer::Ip, "FORWARD"),
    (Layer::Bridge, "POSTROUTING"),
    (Layer::Ip, "POSTROUTING"),
    (Layer::Device, "EGRESS"),
];
/// Of what the bridge's own host sends.
const FROM_A_BRIDGE: &[(Layer, &str)] = &[
    (Layer::Bridge, "OUTPUT"),
    (Layer::Bridge, "POSTROUTING"),
    (Layer::Device, "EGRESS"),
];
/// Of what its own host gets.
const INTO_A_BRIDGE: &[(Layer, &str)] = &[
    (Layer::Device, "INGRESS"),
    (Layer::Bridge, "PREROUTING"),
    (Layer::Bridge, "INPUT"),
];

/// The hooks of the one bridge between two machines; none where there are several, or another kind of way.
fn bridged<'a>(
    host: &'a Host,
    (from, to): (&'a Link, &'a Link),
    packet: &Packet,
) -> Vec<AtHook<'a>> {
    // Of an answer the bridge takes the frame as one for another machine.
    let packet = &Packet {
        packet_type: packet.packet_type.filter(|kind| *kind != HOST),
        ..packet.clone()
    };
    let port = |link: &'a Link, bridge: &Link| {
        let port = way_to(host, bridge, link)?;
        let attached = port.master == Some(bridge.device.ifindex.0);
        (attached && peer_of(host, port.device).is_some_and(|peer| peer.device == link.device))
            .then_some(port)
    };
    let near = peer_of(host, from.device).unwrap_or(from);
    let Some(bridge) = bridge_of(host, near.device) else {
        return Vec::new();
    };
    let (came, goes) = (port(from, bridge), port(to, bridge));
    let (sends, takes) = (bridge.device == from.device, bridge.device == to.device);
    let hooks: &[(Layer, &'static str)] = match (came, goes) {
        (Some(_), Some(_)) => THROUGH_A_BRIDGE,
        (None, Some(_)) if sends => FROM_A_BRIDGE,
        (Some(_), None) if takes => INTO_A_BRIDGE,
        _ => &[],
    };
    let ports = |hook: &str| match hook {
        "INGRESS" | "PREROUTING" | "INPUT" => (came, None),
        "OUTPUT" | "POSTROUTING" | "EGRESS" => (None, goes),
        _ => (came, goes),
    };
    // The bridge itself is the interface of what it has chains of IP look at (brnf_get_logical_dev and bridge_parent,
    // net/bridge/br_netfilter_hooks.c).
    let own = |hook: &str| match hook {
        "PREROUTING" => (Some(bridge), None),
        "POSTROUTING" => (None, Some(bridge)),
        _ => (Some(bridge), Some(bridge)),
    };
    let called = !is_arp(packet)
        && value(host, bridge.device.netns, CALLED_BY_BRIDGES).is_ok_and(|value| value != 0);
    let hooks = hooks.iter().copied().filter_map(|at| {
        let carried = at.0 == Layer::Ip;
        let ends = if carried { own(at.1) } else { ports(at.1) };
        let mut hook = at_hook(host, at, ends, packet).filter(|_| called || !carried)?;
        if carried {
            let named = |port: Option<&Link>| {
                port.map_or(Interface::Unknown, |link| {
                    Interface::Named(link.name.clone())
                })
            };
            hook.packet.port_in = named(came);
            hook.packet.port_out = named(goes);
        }
        Some(AtHook { carried, ..hook })
    });
    hooks.collect()
}

/// A packet at a hook, between the interface by which it came and the one through which it goes; `None` without either.
fn at_hook<'a>(
    host: &'a Host,
    (layer, hook): (Layer, &'static str),
    (came, goes): (Option<&'a Link>, Option<&'a Link>),
    packet: &Packet,
) -> Option<AtHook<'a>> {
    let link = came.or(goes)?;
    let named = |link: &Link| Interface::Named(link.name.clone());
    let made_here = hook == "OUTPUT" || (layer, hook) == (Layer::Ip, "POSTROUTING");
    let without = match made_here {
        true => Interface::Absent,
        false => Interface::Unknown,
    };
    let local = host.addresses_in(link.device.netns).map(|a| a.address);
    // A bridge has conntrack look at packets only where its rules ask for that.
    let states = match layer {
        Layer::Bridge => packet.states.map(|states| states | states::INVALID),
        _ => packet.states,
    };
    // To whom a frame is addressed is known of what comes in.
    let packet_type = packet.packet_type.filter(|_| came.is_some());
    let packet = Packet {
        iif: came.map_or(without, named),
        oif: goes.map_or(Interface::Absent, named),
        states,
        packet_type,
        local: Some(local.collect()),
        ..packet.clone()
    };
    Some(AtHook::new((link, came.is_some()), (layer, hook), packet))
}

fn is_arp(packet: &Packet) -> bool {
    packet.tuple.is_some_and(|tuple| tuple.proto == Proto::Arp)
}
