//! What packets of a flow were checked by between the interfaces at which they were seen, from facts
//! ([`crate::network::walk`]): where they passed, by which rule, route and entry; where one died, up to what stopped it.

use crate::correlate::Trace;
use crate::host::Host;
use crate::host::facts::{
    BaseChain, FilterEngine, Question, Rule, RuleTrace, RuleVerdict, Ruleset, Stop,
};
use crate::model::{
    Detail, Device, Direction, Event, Fate, Hop, Journey, NetNs, Packet as Headers, Path, Side,
    Transport, Tuple,
};
use crate::network::bonding::is_bond;
use crate::network::filter::{Packet, states};
use crate::network::links::{lower_of, master_of};
use crate::network::tunnel::{self, Arrived};
use crate::network::walk::{self, ChainName, Check, Entry, Exit, Leg, Stage, Walked};
use crate::uapi::nf_conntrack::{
    IPS_CONFIRMED, IPS_DST_NAT_DONE, IPS_SEEN_REPLY, IPS_SRC_NAT_DONE,
};
use crate::uapi::tcp::{ACK, SYN};
use crate::uapi::{icmp, icmpv6};

use super::causes::NETFILTER_HOOKS;
use super::hooks;
use super::loss::Loss;
use super::ovs;
use super::rules::netfilter;
use super::traced;
use super::view::View;

/// Most flows for which the facts are read.
const FLOWS: usize = 4;

/// A check, and how it is known.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Passed {
    /// What was checked.
    pub check: Check,
    /// The kernel's own event says it; else facts do.
    pub traced: bool,
}

/// The checks along one direction of a flow.
#[derive(Clone, Debug, Default)]
pub struct Checks {
    /// Before the first hop.
    pub before: Vec<Passed>,
    /// Behind each hop, up to the next one or the end.
    pub behind: Vec<Vec<Passed>>,
    /// What has to be read to know more.
    missing: Vec<Question>,
}

/// The checks along a direction.
#[must_use]
pub fn along(view: &View<'_>, direction: Direction) -> Checks {
    let path = view.flow.path(direction);
    let tracks = tracks(view, direction);
    let mut missing = Vec::new();
    let mut walked =
        |way: Option<Way<'_>>| way.map_or_else(Vec::new, |way| way.walked(view, &mut missing));
    let before = walked(first(view, path, &tracks));
    let behind = path.hops.iter().map(|hop| walked(behind(hop, &tracks)));
    let behind = behind.collect();
    Checks {
        before,
        behind,
        missing,
    }
}

/// What has to be read so that the checks of the first flows are known.
#[must_use]
pub fn questions(trace: &Trace, host: &Host) -> Vec<Question> {
    let views = trace.flows.iter().map(|flow| View { trace, host, flow });
    let mut views: Vec<View<'_>> = views.filter(|view| !view.is_aside()).collect();
    views.sort_by_key(|view| !view.kept().any(is_lost));
    let directions = [Direction::Forward, Direction::Reply];
    views
        .iter()
        .take(FLOWS)
        .flat_map(|view| directions.map(|direction| along(view, direction)))
        .flat_map(|checks| checks.missing)
        .collect()
}

/// The interfaces that a journey passed, or a copy of it that went another way.
struct Track<'a> {
    journey: &'a Journey,
    visits: Vec<Visit<'a>>,
}

/// Those of a direction, of lost packets first: what stopped them is to be told.
fn tracks<'a>(view: &View<'a>, direction: Direction) -> Vec<Track<'a>> {
    let (lost, others): (Vec<_>, Vec<_>) = view.journeys(direction).partition(|j| is_lost(j));
    let of = |journey: &'a Journey| {
        let last = journey.steps.iter().map(|s| s.branch).max().unwrap_or(0);
        (0..=last).map(move |branch| Track {
            journey,
            visits: visits(journey, branch),
        })
    };
    lost.into_iter().chain(others).flat_map(of).collect()
}

const fn is_lost(journey: &Journey) -> bool {
    matches!(journey.fate, Fate::Dropped { .. } | Fate::Vanished { .. })
}

/// A packet at one side of an interface.
#[derive(Clone, Copy)]
struct Visit<'a> {
    device: Device,
    side: Side,
    event: &'a Event,
    /// Index of its step.
    step: usize,
}

fn visits(journey: &Journey, branch: u16) -> Vec<Visit<'_>> {
    let mut list: Vec<Visit<'_>> = Vec::new();
    for (step, s) in journey.steps.iter().enumerate() {
        let side = match s.event.detail {
            Detail::Ingress => Side::Ingress,
            Detail::Egress => Side::Egress,
            _ => continue,
        };
        let Some(device) = s.event.device.filter(|_| s.branch == branch) else {
            continue;
        };
        let visit = Visit {
            device,
            side,
            event: &s.event,
            step,
        };
        match list.last_mut() {
            // Several hooks see the packet at one side of one device: the one with its headers tells more.
            Some(last) if (last.device, last.side) == (device, side) => {
                if last.event.packet.is_none() {
                    *last = visit;
                }
            }
            _ => list.push(visit),
        }
    }
    list
}

/// The way of a packet from one place to the next one at which it was seen, or to its end.
struct Way<'a> {
    journey: &'a Journey,
    from: Option<Visit<'a>>,
    to: Option<Visit<'a>>,
}

/// Before the first hop: only what the namespace itself sent.
fn first<'a>(view: &View<'a>, path: &Path, tracks: &[Track<'a>]) -> Option<Way<'a>> {
    let Track { journey, visits } = tracks.first()?;
    let to = visits.first().copied();
    match (path.hops.first(), to) {
        (Some(hop), Some(to)) => {
            let own = to.side == Side::Egress && to.event.iif == 0;
            let same = hop.device == to.device && hop.side == to.side;
            (own && same).then_some(Way {
                journey,
                from: None,
                to: Some(to),
            })
        }
        // It died before any interface saw it.
        (None, None) => loss_of(view, journey).map(|_| Way {
            journey,
            from: None,
            to: None,
        }),
        _ => None,
    }
}

/// Behind a hop.
fn behind<'a>(hop: &Hop, tracks: &[Track<'a>]) -> Option<Way<'a>> {
    tracks.iter().find_map(|Track { journey, visits }| {
        let here = |v: &Visit<'_>| v.device == hop.device && v.side == hop.side;
        let at = visits.iter().position(here)?;
        Some(Way {
            journey,
            from: visits.get(at).copied(),
            to: visits.get(at + 1).copied(),
        })
    })
}

fn loss_of<'a>(view: &View<'a>, journey: &'a Journey) -> Option<Loss<'a>> {
    let Fate::Dropped { step } = journey.fate else {
        return None;
    };
    Loss::at((view.trace, view.host), view.flow, journey, step)
}

impl<'a> Way<'a> {
    fn walked(&self, view: &View<'a>, missing: &mut Vec<Question>) -> Vec<Passed> {
        // Only behind the last place at which it was seen.
        let loss = loss_of(view, self.journey).filter(|_| self.to.is_none());
        let loss = loss.filter(|loss| self.from.is_none_or(|from| from.step < loss.step));
        let leg = self.leg(view, loss.as_ref());
        let found = leg
            .as_ref()
            .map_or_else(Walked::default, |leg| walk::walk(view.host, leg));
        missing.extend(found.missing);
        let facts = found.checks.into_iter().map(|check| Passed {
            check,
            traced: false,
        });
        let mut all: Vec<Passed> = facts.collect();
        let switched = self.from.map(|from| ovs::checks(view.host, from.event));
        all.extend(switched.into_iter().flatten().map(|check| Passed {
            check,
            traced: false,
        }));
        let done = self.from.map(|from| {
            let end = self.to.map_or(self.journey.steps.len(), |to| to.step);
            let between = self.journey.steps.get(from.step + 1..end);
            ovs::kernel_checks(view.host, from.event, between.unwrap_or_default())
        });
        all.extend(done.into_iter().flatten().map(|check| Passed {
            check,
            traced: true,
        }));
        if let Some(leg) = &leg {
            self.take_told(view, leg, &mut all);
        }
        if let Some(loss) = loss
            && !all.last().is_some_and(|passed| passed.check.stops())
        {
            all.push(Passed {
                check: by_kernel(&loss),
                traced: true,
            });
        }
        all
    }

    /// Where nf_tables told which rules the packet met, that stands for what facts say of its chains.
    fn take_told(&self, view: &View<'a>, leg: &Leg, all: &mut Vec<Passed>) {
        let Some(read) = view.host.filters.get(&leg.netns) else {
            return;
        };
        let seen = self.from.or(self.to).map(|v| v.event);
        let lost = || self.journey.steps.last().map(|s| &s.event);
        let Some(event) = seen.or_else(lost) else {
            return;
        };
        let tuples = [leg.before, leg.routed(), leg.after];
        for told in traced::of(view.host, leg.netns, event, &tuples) {
            let Some((base, hook)) = told
                .base(&read.fact)
                .and_then(|base| Some((base, hook_of(base)?)))
            else {
                continue;
            };
            let same = |passed: &Passed| {
                let chain = passed.check.chain.as_ref();
                passed.check.hook == hook
                    && chain.is_some_and(|c| {
                        c.engine == base.engine
                            && (&c.family, &c.table) == (&base.family, &base.table)
                    })
            };
            let at = all.iter().position(same).or_else(|| {
                let last = all.iter().rposition(|passed| passed.check.hook == hook);
                last.map(|at| at + 1)
            });
            all.retain(|passed| passed.traced || !same(passed));
            let first = matches!(hook, "PREROUTING" | "INGRESS" | "BRIDGE-PREROUTING");
            let at = at.unwrap_or(if first { 0 } else { all.len() });
            let steps = told.steps.iter().map(|step| Passed {
                check: told_check(&read.fact, hook, step),
                traced: true,
            });
            let at = at.min(all.len());
            all.splice(at..at, steps);
        }
    }

    fn leg(&self, view: &View<'a>, loss: Option<&Loss<'a>>) -> Option<Leg> {
        let host = view.host;
        let event = self
            .from
            .or(self.to)
            .map(|v| v.event)
            .or(loss.map(|l| l.event))?;
        let entry = self.entry(host)?;
        let exit = self.exit(host, loss)?;
        let netns = match (self.from, self.to, loss) {
            (Some(visit), ..) | (None, Some(visit), _) => visit.device.netns,
            (None, None, loss) => loss?.netns()?,
        };
        let outer = match (entry, exit) {
            (Entry::Tunnel(_), _) => {
                let made = self.to.map(|v| v.event).or(loss.map(|l| l.event));
                made.and_then(arrived)
            }
            _ => self.from.and_then(|v| arrived(v.event)),
        };
        let seen = |v: &Visit<'_>| seen_tuple(v.event);
        let own = match (entry, self.from) {
            (Entry::Made, Some(_)) => self.to.as_ref().and_then(seen),
            (Entry::Made, None) => made(view, self.journey.direction, event),
            _ => self.from.as_ref().and_then(seen),
        }?;
        // Into a tunnel and out of it the packet becomes another one.
        let same = !matches!(entry, Entry::Tunnel(_)) && !self.is_out_of_tunnel();
        let end = self.to.as_ref().filter(|_| same).and_then(seen);
        let end = end.or_else(|| loss.filter(|_| same).and_then(Loss::outermost));
        Some(Leg {
            netns,
            entry,
            exit,
            out: match exit {
                Exit::Out => self.to.map(|to| to.device),
                Exit::Stage(Stage::Postrouting | Stage::BridgePostrouting | Stage::Neighbour) => {
                    loss.and_then(Loss::device)
                }
                Exit::Stage(Stage::BridgeForward) => loss.and_then(Loss::device),
                _ => None,
            },
            before: own,
            after: end.unwrap_or(own),
            outer,
            packet: packet(self.journey.direction, event, loss),
            at: event.at,
        })
    }

    /// Where the way begins; `None`: it leads through what is not modelled.
    fn entry(&self, host: &Host) -> Option<Entry> {
        let Some(from) = self.from else {
            return Some(Entry::Made);
        };
        if from.side == Side::Ingress {
            return Some(Entry::Device(from.device));
        }
        let tunnel = host.link(from.device).is_some_and(tunnel::is_known);
        match self.to {
            Some(to) if is_outer(to.event) && !is_outer(from.event) => Some(match tunnel {
                true => Entry::Tunnel(from.device),
                false => Entry::Made,
            }),
            Some(to) => {
                let master = master_of(host, host.link(to.device)?)?;
                let entry = match is_bond(master) {
                    true => Entry::Bond(master.device),
                    false => Entry::Bridge(master.device),
                };
                (master.device == from.device).then_some(entry)
            }
            None if tunnel => Some(Entry::Tunnel(from.device)),
            None => host
                .link(from.device)
                .filter(|link| is_bond(link))
                .map(|bond| Entry::Bond(bond.device)),
        }
    }

    /// Where it ends; `None`: not in the namespace in which it began.
    fn exit(&self, host: &Host, loss: Option<&Loss<'a>>) -> Option<Exit> {
        let own = |netns: NetNs| {
            self.from
                .is_none_or(|from| namespaces(host, from.device).contains(&netns))
        };
        match (self.to, loss, &self.journey.fate) {
            (Some(to), ..) if self.is_out_of_tunnel() => {
                let link = host.link(to.device).filter(|l| tunnel::is_known(l));
                let below = link.map_or(to.device.netns, tunnel::underlay_netns);
                let exit = link.map_or(Exit::Up, |l| Exit::Tunnel(l.device));
                own(below).then_some(exit)
            }
            (Some(to), ..) if !own(to.device.netns) => None,
            (Some(to), ..) if to.side == Side::Egress => Some(Exit::Out),
            (Some(to), ..) if self.from.is_some_and(|from| stands_on(host, to, from)) => {
                Some(Exit::Upper)
            }
            (Some(_), ..) => Some(Exit::Up),
            (None, Some(loss), _) => {
                let elsewhere = loss.netns().is_some_and(|netns| !own(netns));
                (!elsewhere).then(|| Exit::Stage(stage(loss)))
            }
            (None, None, Fate::Delivered) => {
                let left = self.from.is_some_and(|from| from.side == Side::Egress);
                (!left).then_some(Exit::Up)
            }
            (None, None, Fate::Vanished { .. } | Fate::Consumed { .. }) => Some(Exit::Unknown),
            (None, None, _) => None,
        }
    }

    /// Whether the packet was in a tunnel, and then was not.
    fn is_out_of_tunnel(&self) -> bool {
        let both = self.from.zip(self.to);
        both.is_some_and(|(from, to)| is_outer(from.event) && !is_outer(to.event))
    }
}

/// The namespaces in which a packet goes on behind an interface: its own, and that of a tunnel's outer packets.
fn namespaces(host: &Host, device: Device) -> [NetNs; 2] {
    let below = host.link(device).map(tunnel::underlay_netns);
    [device.netns, below.unwrap_or(device.netns)]
}

/// Whether one interface stands on another one, or is its bond.
fn stands_on(host: &Host, upper: Visit<'_>, lower: Visit<'_>) -> bool {
    let upper = host.link(upper.device);
    let below = upper.and_then(|link| lower_of(host, link));
    let master = host.link(lower.device).and_then(|l| master_of(host, l));
    let bond = master.filter(|master| is_bond(master)).map(|l| l.device);
    below.is_some_and(|l| l.device == lower.device)
        || bond.is_some() && bond == upper.map(|l| l.device)
}

fn is_outer(event: &Event) -> bool {
    event.packet.as_ref().is_some_and(|p| p.tunnel.is_some())
}

/// The outer packet of a tunnel.
pub(super) fn arrived(event: &Event) -> Option<Arrived> {
    let packet = event.packet.as_ref()?;
    Some(Arrived {
        tunnel: packet.tunnel?,
        frame: packet.inner_ethernet.is_some(),
        v6: packet.tuple.is_some_and(|tuple| tuple.dst.is_ipv6()),
        iif: None,
    })
}

/// The addresses that chains and routes see: of a tunnel the outer ones.
fn seen_tuple(event: &Event) -> Option<Tuple> {
    let packet = event.packet.as_ref();
    let outer = packet.and_then(|p| p.tunnel).map(|t| t.outer);
    outer
        .or(event.tuple)
        .or_else(|| packet.and_then(|p| p.tuple))
}

/// What a socket sent, before a translation in OUTPUT.
fn made(view: &View<'_>, direction: Direction, event: &Event) -> Option<Tuple> {
    let seen = seen_tuple(event)?;
    let asked = view.tuple().filter(|_| direction == Direction::Forward);
    let original = event
        .original
        .or(asked.filter(|asked| asked.src == seen.src));
    Some(original.unwrap_or(seen))
}

/// The packet as its headers, and its place in the connection, tell.
fn packet(direction: Direction, event: &Event, loss: Option<&Loss<'_>>) -> Packet {
    let headers = event.packet.as_ref();
    let plain: Option<&Headers> = headers.filter(|p| p.tunnel.is_none());
    let transport = plain.map_or(Transport::Other, |p| p.transport);
    let (known, status) = connection(direction, &transport);
    Packet {
        transport,
        fragment: plain.and_then(|p| p.fragment),
        source_mac: headers.and_then(|p| p.ethernet).map(|e| e.src),
        destination_mac: headers.and_then(|p| p.ethernet).map(|e| e.dst),
        // A device hands packets up without one, and a socket that sets one is rare: the kernel tells it of lost ones.
        mark: Some(loss.map_or(0, |loss| loss.info.mark)),
        states: loss.and_then(netfilter::states_of).or(known),
        status: loss.and_then(|loss| loss.info.ct_status).or(status),
        packet_type: Some(event.pkt_type),
        length: plain.map(|p| p.ip_len).filter(|length| *length > 0),
        ttl: plain.map(|p| p.ttl).filter(|ttl| *ttl > 0),
        next_header: plain.and_then(|p| p.next_header),
        tos: plain.map(|p| p.tos),
        ..Packet::default()
    }
}

/// States of which the packet's connection may be one, and its status where that is known.
fn connection(direction: Direction, transport: &Transport) -> (Option<u32>, Option<u32>) {
    let old = IPS_CONFIRMED | IPS_SEEN_REPLY | IPS_SRC_NAT_DONE | IPS_DST_NAT_DONE;
    let established = (Some(states::ESTABLISHED), Some(old));
    let new = (Some(states::NEW), Some(0));
    if direction != Direction::Forward {
        return established;
    }
    match *transport {
        Transport::Tcp { flags, .. } if flags & (SYN | ACK) == SYN => new,
        Transport::Tcp { .. } => established,
        // ping(8) counts from one.
        Transport::Icmp { icmp_type, seq, .. } if seq <= 1 => match icmp_type {
            icmp::ECHO | icmpv6::ECHO_REQUEST => new,
            _ => (None, None),
        },
        _ => (Some(states::NEW | states::ESTABLISHED), None),
    }
}

/// Functions that free packets, and the stage behind which they stand; the nearest caller decides.
const FUNCTIONS: &[(&str, Stage)] = &[
    ("vxlan_xmit_one", Stage::Route),
    ("vxlan_xmit", Stage::Encapsulate),
    ("vxlan_rcv", Stage::Decapsulate),
    ("geneve_xmit", Stage::Route),
    ("geneve_", Stage::Decapsulate),
    ("ip_tunnel_xmit", Stage::Route),
    ("ip_tunnel_rcv", Stage::Decapsulate),
    ("ip6_tnl_xmit", Stage::Route),
    ("ip6_tnl_start_xmit", Stage::Route),
    ("ip6gre_tunnel_xmit", Stage::Route),
    ("ipgre_xmit", Stage::Route),
    ("gre_tap_xmit", Stage::Route),
    ("ipip_tunnel_xmit", Stage::Route),
    ("sit_tunnel_xmit", Stage::Route),
    ("ipip6_tunnel_xmit", Stage::Route),
    ("gre_rcv", Stage::Decapsulate),
    ("tunnel4_rcv", Stage::Decapsulate),
    ("tunnel64_rcv", Stage::Decapsulate),
    ("tunnel6_rcv", Stage::Decapsulate),
    ("tunnel46_rcv", Stage::Decapsulate),
    ("neigh_", Stage::Neighbour),
    ("__neigh_", Stage::Neighbour),
    ("arp_", Stage::Neighbour),
    ("ndisc_", Stage::Neighbour),
    ("__dev_queue_xmit", Stage::Neighbour),
    ("ip_finish_output", Stage::Neighbour),
    ("ip6_finish_output", Stage::Neighbour),
    ("ip_output", Stage::Postrouting),
    ("ip6_output", Stage::Postrouting),
    ("ip_mc_output", Stage::Postrouting),
    ("ip_fragment", Stage::Postrouting),
    ("ip6_fragment", Stage::Postrouting),
    ("ip_forward_finish", Stage::Forward),
    ("ip_forward", Stage::Route),
    ("ip6_forward", Stage::Route),
    ("ip_local_deliver", Stage::Input),
    ("ip_protocol_deliver_rcu", Stage::Input),
    ("ip6_protocol_deliver_rcu", Stage::Input),
    ("ip6_input", Stage::Input),
    ("tcp_", Stage::Input),
    ("udp", Stage::Input),
    ("__udp", Stage::Input),
    ("icmp", Stage::Input),
    ("raw", Stage::Input),
    ("bond_", Stage::Bond),
    ("__bond_", Stage::Bond),
    ("team_", Stage::Bond),
    ("ip_error", Stage::Route),
    ("ip6_pkt_", Stage::Route),
    ("ip_rcv_finish", Stage::Route),
    ("ip_sublist_rcv_finish", Stage::Route),
    ("ip6_rcv_finish", Stage::Route),
    ("br_", Stage::Fdb),
    ("__br_", Stage::Fdb),
];

/// How far a lost packet came.
fn stage(loss: &Loss<'_>) -> Stage {
    if let Some(Some(hook)) = netfilter::filtered(loss) {
        return of_hook(hook);
    }
    let names = [loss.function()].into_iter().chain(loss.frames());
    let stages = names.filter_map(|name| {
        let mut rows = FUNCTIONS.iter();
        rows.find(|(start, _)| name.starts_with(start))
    });
    stages
        .map(|(_, stage)| *stage)
        .next()
        .unwrap_or(Stage::Ingress)
}

fn of_hook(hook: hooks::Hook) -> Stage {
    match hook.name {
        "BRIDGE-PREROUTING" => Stage::BridgePrerouting,
        "BRIDGE-INPUT" => Stage::BridgeInput,
        "BRIDGE-OUTPUT" => Stage::BridgeOutput,
        "BRIDGE-POSTROUTING" => Stage::BridgePostrouting,
        "BRIDGE-FORWARD" => Stage::BridgeForward,
        _ if hook.bridged => Stage::BridgeForward,
        "PREROUTING" => Stage::Prerouting,
        "INPUT" => Stage::Input,
        "OUTPUT" => Stage::Output,
        "FORWARD" => Stage::Forward,
        "POSTROUTING" => Stage::Postrouting,
        _ => Stage::Ingress,
    }
}

/// The hook of a base chain, as checks name it.
fn hook_of(base: &BaseChain) -> Option<&'static str> {
    let name = match base.family.as_str() {
        "bridge" => format!("BRIDGE-{}", base.hook),
        _ => base.hook.clone(),
    };
    NETFILTER_HOOKS.iter().copied().find(|hook| *hook == name)
}

/// A step that nf_tables told.
fn told_check(rules: &Ruleset, hook: &'static str, step: &RuleTrace) -> Check {
    let rule = traced::rule_of(rules, step);
    // The kernel says how a rule ended: that it translated, or answered, is the rule's own doing.
    let verdict = match (rule.and_then(Rule::stop), &step.verdict) {
        (Some(Stop::Nat), RuleVerdict::Accept) => "translate".to_owned(),
        (Some(Stop::Reject), RuleVerdict::Drop) => "reject".to_owned(),
        (_, verdict) => walk::verdict_words(verdict),
    };
    Check {
        hook,
        chain: Some(ChainName {
            engine: FilterEngine::Nftables,
            family: step.family.clone(),
            table: step.table.clone(),
            chain: step.chain.clone(),
        }),
        rule: rule.map(|rule| rule.number),
        handle: step.handle,
        text: match (rule, step.handle) {
            (Some(rule), _) => rule.text.clone(),
            (None, Some(handle)) => format!("handle {handle}"),
            (None, None) => format!("policy {verdict}"),
        },
        verdict,
        undecided: None,
    }
}

/// What the kernel said of the end.
fn by_kernel(loss: &Loss<'_>) -> Check {
    let hook = match netfilter::filtered(loss) {
        Some(Some(hook)) => hook.name,
        _ => "kernel",
    };
    let at = match loss.function() {
        "" => String::new(),
        function => format!(" in {function}"),
    };
    let reason = match &loss.info.reason {
        Some(reason) => format!(", reason {reason}"),
        None => String::new(),
    };
    Check {
        hook,
        chain: None,
        rule: None,
        handle: None,
        text: format!("freed{at}{reason}"),
        verdict: "drop".to_owned(),
        undecided: None,
    }
}
