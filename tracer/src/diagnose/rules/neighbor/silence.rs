//! Why a neighbour that was asked for does not answer, as far as the way to it and its own settings tell
//! ([`crate::network::neighbour`]).
//!
//! The kernel frees such a question like an answered one (arp_process, net/ipv4/arp.c), so the settings are read.

use std::collections::BTreeSet;
use std::net::IpAddr;

use crate::correlate::Trace;
use crate::host::Host;
use crate::host::facts::{Link, Question};
use crate::model::{Detail, Event, NetNs, Proto, Transport, Tuple};
use crate::network::bridging::{Obstacle, bridge_of, way_to};
use crate::network::links::{members, peer_of};
use crate::network::neighbour::filtered;
use crate::network::neighbour::{Answer, Ask, Silence, Silent, answer, owners_at};
use crate::network::route::{LOOPBACK, Query};
use crate::network::segment::{Stop, Tag};
use crate::network::settings::{Combined, Setting, conf, setting};
use crate::sites;
use crate::verdict::{Confidence, Outcome};

use super::super::super::candidate::{Candidate, Specificity, place_at};
use super::super::super::causes::{NEIGHBOR_UNRESOLVED, ROUTE_MARTIAN, SOCKET_SILENT};
use super::super::super::gateways;
use super::super::super::needs::Asked;
use super::super::super::overruled;
use super::super::super::readdress;
use super::super::super::remedy::{Remedy, Shell, command, ip, sysctl, text};
use super::super::super::routing::holds;
use super::super::super::stray_source::Stray;
use super::super::super::vlan_commands::Mistagged;
use super::super::super::words;
use super::super::{flooded, link, localnet, macvlan, netfilter, ready, source, vlan};
use super::{
    Unresolved, answered, foreign, intercepted, is_asked_for, preset, question_evidence,
    question_words, senders, tunnelled, unresolved_in,
};

/// Most neighbours that are asked about.
const PENDING: usize = 4;
/// Most machines on a link that are asked whether they forward.
const FEW: usize = 4;

/// The question as the network sees it.
#[must_use]
pub fn ask(trace: &Trace, host: &Host, who: Unresolved) -> Ask {
    Ask {
        device: who.device,
        address: who.address,
        source: asker(trace, host, who),
    }
}

/// The question as packet filters see it: neighbour discovery asks with the source of a packet that is made here and waits,
/// else with its link-local address (ndisc_solicit, net/ipv6/ndisc.c).
fn sent(trace: &Trace, host: &Host, who: Unresolved) -> Ask {
    let made_here = || {
        let query = super::routed(trace, who)?;
        let own = query.iif == Some(LOOPBACK) && !query.tuple.src.is_unspecified();
        own.then_some(query.tuple.src)
    };
    let asked = ask(trace, host, who);
    match who.address {
        IpAddr::V4(_) => asked,
        IpAddr::V6(_) => Ask {
            source: seen_asker(trace, who).or_else(made_here),
            ..asked
        },
    }
}

/// Who asks: by the question itself, by what the sender looked up, by what died waiting, or the address of the asking interface.
fn asker(trace: &Trace, host: &Host, who: Unresolved) -> Option<IpAddr> {
    let looked_up = || senders(trace, who).find_map(|t| (!t.src.is_unspecified()).then_some(t.src));
    let own = || {
        host.addresses(who.device)
            .iter()
            .find(|a| holds(a.address, a.prefix, who.address))
            .map(|a| a.address)
    };
    let waited = || died_waiting(trace, host, who);
    seen_asker(trace, who)
        .or_else(looked_up)
        .or_else(waited)
        .or_else(own)
}

/// The source of a packet of the machine's own that died waiting for the neighbour: kernels before 6.15 tell of no segment that
/// is sent again while it waits.
fn died_waiting(trace: &Trace, host: &Host, who: Unresolved) -> Option<IpAddr> {
    let source = |event: &Event| match &event.detail {
        Detail::Drop(info) if sites::NEIGHBOR_QUEUE.is(info) => {
            let tuple = event.tuple.filter(|_| event.device == Some(who.device))?;
            host.is_local(who.device.netns, tuple.src)
                .then_some(tuple.src)
        }
        _ => None,
    };
    let mut journeys = trace.journeys.values();
    journeys.find_map(|journey| source(&journey.steps.last()?.event))
}

/// Who asks, by the question itself.
fn seen_asker(trace: &Trace, who: Unresolved) -> Option<IpAddr> {
    let asked = trace.beside.iter().find_map(|e| {
        let packet = e.packet.as_ref()?;
        let Transport::Neighbor { answer, target, .. } = packet.transport else {
            return None;
        };
        (e.device == Some(who.device) && !answer && target == who.address)
            .then(|| packet.tuple.map(|t| t.src))
            .flatten()
    });
    asked.filter(|a| !a.is_unspecified())
}

/// What to read of those who should answer and of the way to them.
#[must_use]
pub fn questions(trace: &Trace, host: &Host, who: Unresolved) -> Vec<Question> {
    let answer = answer(host, ask(trace, host, who));
    let mut list = Vec::new();
    for silent in &answer.silent {
        let devices = [Some(silent.link.device), silent.owner];
        list.extend(
            devices
                .into_iter()
                .flatten()
                .map(|device| Question::Link { device }),
        );
        if let Silence::Stopped(Stop::Bridge(_, _, Obstacle::LinkDown(port)))
        | Silence::AnswerStopped(Stop::Bridge(_, _, Obstacle::LinkDown(port))) = silent.why
        {
            list.extend(left_routes(trace, host, who, port));
        }
        if let Silence::SourceOwn(asker) = silent.why {
            let (to, like) = (destination(trace, who), back(asker, who.address));
            list.extend(readdress::questions(who.device.netns, to, &like));
        }
        if let Silence::ReversePath(asker, _) = silent.why {
            let (netns, v6) = (silent.link.device.netns, asker.is_ipv6());
            list.push(Question::Rules { netns, v6 });
            list.push(Question::RoutesTowards { netns, dst: asker });
            let stray = Stray::of_question(trace, host, who, asker);
            list.extend(stray.iter().flat_map(|stray| stray.questions(netns)));
            let (netns, dst) = (who.device.netns, who.address);
            list.push(Question::RoutesTowards { netns, dst });
        }
    }
    list.extend(led_past_local(who, &answer));
    let peer = peer_of(host, who.device).into_iter();
    let on_link = answer.asked.iter().copied().take(FEW);
    for link in peer.chain(on_link).filter(|_| who.address.is_ipv6()) {
        let netns = link.device.netns;
        let names = [link.name.as_str(), "all"].map(ready::disable_sysctl);
        list.extend(names.map(|name| Question::Sysctl { netns, name }));
    }
    // What carries nothing comes back with the routes that went at its other end; of a bridge at those of its ports.
    if let Some(asker) = host.link(who.device).filter(|link| !link.carrier) {
        let ports = members(host, asker).take(FEW);
        for link in [asker].into_iter().chain(ports) {
            list.extend(left_routes(trace, host, who, link));
        }
    }
    list.extend(foreign::question(trace, host, who));
    list.extend(preset::questions(host, who));
    list.extend(tunnelled::questions(host, who));
    list.extend(intercepted::questions(who, &answer));
    // A gateway that nobody has may be meant to be an address of the one that forwards.
    if destination(trace, who) != who.address {
        let key = (who.address.is_ipv6(), "forwarding");
        for link in answer.asked.iter().take(FEW) {
            let read = setting(host, link.device, key, Combined::Own);
            list.extend(read.err().into_iter().flatten());
        }
    }
    list.extend(on_the_way(trace, host, who, &answer));
    list.extend(by_filters(trace, host, who, &answer));
    list.extend(answer.missing);
    list
}

/// The rules that question and answer pass.
fn by_filters(trace: &Trace, host: &Host, who: Unresolved, answer: &Answer<'_>) -> Vec<Question> {
    if answered(trace, who) {
        return Vec::new();
    }
    let sent = sent(trace, host, who);
    let mut list = filtered::questions(host, sent, answer);
    list.extend(netfilter::tunnel_questions(host, sent, answer));
    list
}

/// Rules that lead past the table local keep those who have the address from answering.
fn led_past_local(who: Unresolved, answer: &Answer<'_>) -> Vec<Question> {
    let (dst, v6) = (who.address, who.address.is_ipv6());
    let near = answer.answerers.iter().map(|near| near.link.device.netns);
    near.flat_map(|netns| {
        [
            Question::Rules { netns, v6 },
            Question::RoutesTowards { netns, dst },
        ]
    })
    .collect()
}

/// What stands where questions are dropped, and between the asker and an owner.
fn on_the_way(trace: &Trace, host: &Host, who: Unresolved, answer: &Answer<'_>) -> Vec<Question> {
    let by_tc = netfilter::questions_dropped_by_tc(trace, host, who.address);
    let mut list: Vec<Question> = by_tc
        .map(|device| Question::DeviceState { device })
        .collect();
    for between in &answer.between {
        let (netns, dst) = (between.near.device.netns, who.address);
        list.push(Question::RoutesTowards { netns, dst });
        for device in [between.near.device, between.far.device] {
            list.push(Question::DeviceState { device });
        }
    }
    list
}

/// The answer, as a route lookup.
fn back(from: IpAddr, to: IpAddr) -> Tuple {
    Tuple {
        proto: Proto::Arp,
        src: from,
        sport: 0,
        dst: to,
        dport: 0,
        icmp_id: 0,
    }
}

/// The addresses whose traffic waits for the neighbour.
#[must_use]
pub fn ends(trace: &Trace, who: Unresolved) -> Vec<IpAddr> {
    let sent = senders(trace, who).map(|t| t.src);
    let waits = super::routed(trace, who).map(|query| query.tuple);
    let waits = waits.into_iter().flat_map(|t| [t.src, t.dst]);
    sent.chain(waits).chain([who.address]).collect()
}

/// Which routes are left behind a port whose link is down: others went with it, and are put back with it.
fn left_routes(trace: &Trace, host: &Host, who: Unresolved, port: &Link) -> Vec<Question> {
    let both = [Some(port), peer_of(host, port.device)];
    let of = |netns: NetNs| {
        let ends = ends(trace, who).into_iter();
        ends.map(move |dst| Question::RoutesTowards { netns, dst })
    };
    both.into_iter()
        .flatten()
        .flat_map(|link| of(link.device.netns))
        .collect()
}

/// What to read of proxies that do not answer: how they route the question, and who leads on from there; and of who else could
/// lead a packet on.
pub fn ask_of_proxies(trace: &Trace, host: &Host, who: Unresolved, list: &mut Asked) {
    let told = answer(host, ask(trace, host, who));
    let case = Case {
        trace,
        host,
        who,
        told: &told,
    };
    for silent in &told.silent {
        let netns = silent.link.device.netns;
        match silent.why {
            Silence::ProxyNoRoute => {
                if let Some(query) = super::routed(trace, who) {
                    gateways::ask(host, netns, query.tuple, list);
                }
            }
            Silence::ProxySameInterface(_) => {
                if let Some(query) = case.question_at(silent.link) {
                    list.lookup(host, netns, &query);
                }
            }
            _ => {}
        }
    }
    let through = super::routed(trace, who).filter(|query| query.tuple.dst != who.address);
    if let Some(query) = through {
        super::next_hop::ask_of_others(host, &told, query.tuple, list);
    }
}

/// Why the neighbour does not answer.
pub(super) fn explained<'a>(
    trace: &'a Trace,
    host: &'a Host,
    who: Unresolved,
    told: &Answer<'a>,
) -> Option<Candidate> {
    let case = Case {
        trace,
        host,
        who,
        told,
    };
    let found = told.silent.iter().find_map(|silent| case.of(silent));
    found
        .or_else(|| case.unattached())
        .or_else(|| case.without_ipv6())
        .or_else(|| case.filtered())
}

/// A neighbour that does not answer, with what was seen and read.
#[derive(Clone, Copy)]
struct Case<'a, 't> {
    trace: &'a Trace,
    host: &'a Host,
    who: Unresolved,
    told: &'t Answer<'a>,
}

impl<'a> Case<'a, '_> {
    /// Nobody has to do with the address, as far as the question comes.
    fn is_nobodys(self) -> bool {
        self.told.answerers.is_empty() && self.told.silent.is_empty()
    }

    fn of(self, silent: &Silent<'a>) -> Option<Candidate> {
        let host = self.host;
        let candidate = match &silent.why {
            Silence::Stopped(stop) | Silence::AnswerStopped(stop) => return self.stopped(*stop),
            Silence::Tentative | Silence::Duplicate => {
                ready::unusable(host, silent.owner?, self.who.address)?
            }
            Silence::Ignored(setting) | Silence::Filtered(setting) => self.ignored(silent, setting),
            Silence::NoArp => self.without_arp(silent.link),
            Silence::SourceOwn(asker) => self.impossible(silent.link, *asker, true),
            Silence::SourceImpossible(asker) => self.impossible(silent.link, *asker, false),
            Silence::ReversePath(asker, setting) => self.refused(silent.link, *asker, setting),
            Silence::NotForwarding(setting) => {
                let why = format!(
                    "{} = 0: who does not forward is no proxy",
                    sysctl(&setting.name)
                );
                let set = self.switched_on(silent.link, &setting.name);
                self.proxy(silent.link, why, Some(set))
            }
            Silence::ProxyNdpOff => {
                let name = conf(true, &silent.link.name, "proxy_ndp");
                let why = format!("it has the proxy entry, but {} = 0", sysctl(&name));
                let set = self.switched_on(silent.link, &name);
                self.proxy(silent.link, why, Some(set))
            }
            Silence::ProxyNoRoute => {
                let why = format!("it has no route for {}", self.who.address);
                let change = self
                    .default_route(silent.link)
                    .or_else(|| self.own_address(silent.link));
                self.proxy(silent.link, why, change)
            }
            Silence::ProxySameInterface(_) => {
                let netns = silent.link.device.netns;
                let question = self.question_at(silent.link);
                if let Some(overruled) =
                    question.and_then(|query| overruled::of_question(host, netns, &query))
                {
                    return Some(self.waits(overruled));
                }
                let why = format!(
                    "its route for {} leads back to the link from which the question came",
                    self.who.address
                );
                self.proxy(silent.link, why, None)
            }
            Silence::LedAway(query) => {
                overruled::of_question(host, silent.link.device.netns, query)?
            }
            Silence::NoWayBack
            | Silence::AskerDown
            | Silence::AskerNoArp
            | Silence::OtherInterface
            | Silence::OtherVrf => return None,
        };
        Some(self.waits(candidate))
    }

    fn waits(self, candidate: Candidate) -> Candidate {
        let who = self.who;
        candidate.because(
            "neighbor",
            format!(
                "{} asks for {} ({}) and gets no answer: its packets wait, or died waiting",
                words::interface(self.host, who.device),
                who.address,
                question_words(who.address)
            ),
        )
    }

    /// Something on the way keeps the question from its receiver, or the answer from the asker.
    fn stopped(self, stop: Stop<'a>) -> Option<Candidate> {
        let host = self.host;
        match stop {
            Stop::Bridge(bridge, from, obstacle) => Some(self.kept_from(bridge, from, &obstacle)),
            Stop::Apart(from, to) => macvlan::apart(host, from, to),
            Stop::Tagged(link, tag) => Some(self.mistagged(link, tag)),
            Stop::Down(vlan) if vlan.vlan.is_some() && vlan.device != self.who.device => Some(
                link::down(host, vlan.device, None, &ends(self.trace, self.who)),
            ),
            // A link that carries nothing shows itself at the asker's own end.
            Stop::Down(_)
            | Stop::Gone(_)
            | Stop::Proxy(_)
            | Stop::Suppressed(..)
            | Stop::OwnEnd(..)
            | Stop::NoRoute(..)
            | Stop::Underlay(..)
            | Stop::NoDevice(..)
            | Stop::Backup(..) => None,
        }
    }

    /// The question, or its answer, has another VLAN tag than the one that is taken where it comes to.
    fn mistagged(self, link: &Link, tag: Option<Tag>) -> Candidate {
        let (host, who) = (self.host, self.who);
        let answer = link.device.netns == who.device.netns;
        let asker = ask(self.trace, host, who).source;
        let (what, address) = match asker.filter(|_| answer) {
            Some(asker) => (format!("the answer about {}", who.address), asker),
            None => (format!("the question for {}", who.address), who.address),
        };
        let case = Mistagged { link, tag, address };
        let place = place_at(host, who.device, "neighbor");
        vlan::mismatch(host, case, place, &what)
    }

    fn kept_from(self, bridge: &Link, from: &Link, obstacle: &Obstacle<'_>) -> Candidate {
        let (host, who) = (self.host, self.who);
        let question = match who.address {
            IpAddr::V4(_) => "ARP",
            IpAddr::V6(_) => "neighbour solicitation",
        };
        let ends = ends(self.trace, who);
        let mut candidate = flooded::kept_from(host, (bridge, from), obstacle, &ends, |why| {
            format!("{question} for {} does not get through: {why}", who.address)
        });
        candidate
            .evidence
            .extend(question_evidence(self.trace, host, who, self.told));
        let shell = Shell::of(host, Some(who.device.netns));
        candidate.advise([shell.look(
            "then the sender's entry",
            command![
                ..ip(who.address.is_ipv6()),
                "neigh show",
                who.address,
                "dev",
                host.interface(who.device)
            ],
        )])
    }

    /// The interface before the owner stands unattached, or in another bridge, where a port of the asker's should be.
    fn unattached(self) -> Option<Candidate> {
        let (host, who) = (self.host, self.who);
        if !self.is_nobodys() {
            return None;
        }
        let from = peer_of(host, who.device).map_or(who.device, |peer| peer.device);
        let (bridge, from) = (bridge_of(host, from)?, host.link(from)?);
        let mut owners = owners_at(host, who.device, who.address).into_iter();
        let end = owners.find_map(|owner| way_to(host, bridge, owner))?;
        let loose = end.master != Some(bridge.device.ifindex.0);
        loose.then(|| self.kept_from(bridge, from, &Obstacle::NoPort(end, bridge)))
    }

    /// IPv6 is off at the other end of the cable, so that its address is not even known any more.
    fn without_ipv6(self) -> Option<Candidate> {
        let (host, who) = (self.host, self.who);
        if who.address.is_ipv4() || !self.is_nobodys() {
            return None;
        }
        let peer = peer_of(host, who.device)?;
        let lost = ready::Lost::told_by(self.trace, host, who.device, who.address);
        let candidate = ready::disabled_on(host, peer.device, lost.as_ref())?;
        Some(self.waits(candidate).leads_to(Outcome::Dropped))
    }

    /// A packet filter drops the question, or the answer.
    fn filtered(self) -> Option<Candidate> {
        let (trace, host, who) = (self.trace, self.host, self.who);
        let mut events = trace.beside.iter();
        let first = events.find(|e| unresolved_in(e) == Some(who));
        let ask = sent(trace, host, who);
        let waits = super::routed(trace, who).map(|query| query.tuple);
        let waits = waits.and_then(|tuple| {
            // looked up before it had a source
            let src = match tuple.src.is_unspecified() {
                true => asker(trace, host, who)?,
                false => tuple.src,
            };
            Some(Tuple { src, ..tuple })
        });
        let since = first.map(|e| e.at);
        let mut found = netfilter::question_by_rules(host, (ask, waits), self.told, since)?;
        found
            .evidence
            .extend(question_evidence(trace, host, who, self.told));
        Some(self.waits(found))
    }

    /// `arp_ignore` (`arp_ignore()`, net/ipv4/arp.c) or `arp_filter`.
    fn ignored(self, silent: &Silent<'a>, setting: &Setting) -> Candidate {
        let (host, who, arrival) = (self.host, self.who, silent.link.device);
        let (name, value) = (sysctl(&setting.name), setting.value);
        let key = setting.name.rsplit('/').next().unwrap_or_default();
        let shell = Shell::of(host, Some(arrival.netns));
        let owner = silent.owner.map(|owner| {
            format!(
                "{} belongs to {}",
                who.address,
                words::interface(host, owner)
            )
        });
        Candidate::new(
            &SOCKET_SILENT,
            place_at(self.host, arrival, "neighbor"),
            format!(
                "ARP for {} reaches {} and is not answered: {key} ({name} = {value})",
                who.address,
                words::interface(host, arrival)
            ),
        )
        .explains(Specificity::Linked)
        .because("sysctl", format!("{name} = {value}"))
        .because("address", owner)
        .advise([
            shell.look("look first", command!["sysctl", name]),
            shell
                .change("let it answer", command!["sysctl -w", format!("{name}=0")])
                .undone_by(command!["sysctl -w", format!("{name}={value}")]),
        ])
    }

    fn without_arp(self, link: &Link) -> Candidate {
        let shell = Shell::of(self.host, Some(link.device.netns));
        let set = |state: &'static str| command!["ip link set dev", link.name, "arp", state];
        Candidate::new(
            &SOCKET_SILENT,
            place_at(self.host, link.device, "neighbor"),
            format!(
                "ARP for {} reaches {} and is not answered: ARP is off on the interface (NOARP)",
                self.who.address,
                words::interface(self.host, link.device)
            ),
        )
        .explains(Specificity::Linked)
        .advise([
            shell.look("look first: NOARP", command!["ip link show dev", link.name]),
            shell.change("turn it on", set("on")).undone_by(set("off")),
        ])
    }

    /// The asker's address cannot be answered.
    fn impossible(self, link: &Link, asker: IpAddr, own: bool) -> Candidate {
        let (host, netns) = (self.host, link.device.netns);
        let what = if own {
            format!("{asker} is an address of this namespace itself")
        } else {
            format!("no answer can go to {asker}")
        };
        // What was looked up before a rule translated the destination is for the asker's own service.
        let mut sent = senders(self.trace, self.who).map(|tuple| tuple.dst);
        let to = sent
            .find(|dst| *dst != asker)
            .unwrap_or_else(|| destination(self.trace, self.who));
        Candidate::new(
            &ROUTE_MARTIAN,
            place_at(self.host, link.device, "route"),
            format!(
                "martian source on {}: {what}; not even its ARP is answered",
                words::interface(host, link.device)
            ),
        )
        .explains(Specificity::Linked)
        .sure(Confidence::Likely)
        .advise(
            asker
                .is_loopback()
                .then(|| localnet::masqueraded(host, self.who.device, (asker, self.who.address))),
        )
        .advise(source::martian_advice(
            host,
            netns,
            (asker, to),
            Some(self.who.device),
        ))
    }

    /// The reverse-path filter refuses the asker, before any packet of its.
    fn refused(self, link: &Link, asker: IpAddr, setting: &Setting) -> Candidate {
        let request = back(self.who.address, asker).reversed();
        let refusal = source::Refusal {
            device: link.device,
            query: Query::input(request, link.device.ifindex, 0),
            mode: (setting.name.clone(), setting.value),
            stray: Stray::of_question(self.trace, self.host, self.who, asker),
            answers: false,
            elsewhere: None,
            handed_by: Some(self.who.device),
        };
        let place = place_at(self.host, link.device, "route");
        source::reverse_path(self.host, &refusal, place)
            .sure(Confidence::Likely)
            .because(
                "neighbor",
                "the same filter refuses the ARP request of this source, before any packet"
                    .to_owned(),
            )
            .advise([text(
                "the neighbour entry of the sender is INCOMPLETE or FAILED as long as this lasts",
            )])
    }

    /// The question as routing sees it where it comes in.
    fn question_at(self, link: &Link) -> Option<Query> {
        let asker = ask(self.trace, self.host, self.who).source?;
        let asked = back(asker, self.who.address);
        Some(Query::input(asked, link.device.ifindex, 0))
    }

    /// A setting of a proxy switched on.
    fn switched_on(self, link: &Link, name: &str) -> Remedy {
        let set = |value: u32| command!["sysctl -w", format!("{}={value}", sysctl(name))];
        Shell::of(self.host, Some(link.device.netns))
            .change("let it answer", set(1))
            .undone_by(set(0))
    }

    /// The default route that a proxy lacks, by the only machine that leads to where the packet goes.
    fn default_route(self, link: &Link) -> Option<Remedy> {
        let (host, netns) = (self.host, link.device.netns);
        let packet = super::routed(self.trace, self.who)?.tuple;
        let gateway = gateways::only(host, (Some(self.who.device.netns), netns), packet)?;
        let ip = ip(packet.dst.is_ipv6());
        let (address, out) = (gateway.address, &gateway.out.name);
        let route =
            |verb: &'static str| command![..ip, "route", verb, "default via", address, "dev", out];
        let text = format!(
            "give it the default route that it lacks: {}",
            gateway.words(host, packet.dst)
        );
        Some(
            Shell::of(host, Some(netns))
                .change(text, route("add"))
                .undone_by(route("del"))
                .scope("all for which it has no other route".to_owned()),
        )
    }

    /// The address of a gateway that nobody has given to the interface that should answer for it, which needs no route then.
    fn own_address(self, link: &Link) -> Option<Remedy> {
        let (host, gateway) = (self.host, self.who.address);
        let by_it = destination(self.trace, self.who) != gateway
            || super::routed(self.trace, self.who).is_some_and(|q| q.tuple.dst != gateway);
        if !by_it || host.owners(gateway).next().is_some() {
            return None;
        }
        let bits = if gateway.is_ipv6() { 128 } else { 32 };
        let full = format!("{gateway}/{bits}");
        let ip = ip(gateway.is_ipv6());
        let address = |verb: &'static str| command![..ip, "addr", verb, full, "dev", link.name];
        let text = format!(
            "let {} answer for {gateway} as its own; or give this machine back the default route that it lacks",
            words::interface(host, link.device)
        );
        let change = Shell::of(host, Some(link.device.netns)).change(text, address("add"));
        Some(change.undone_by(address("del")))
    }

    /// A machine that is set up to answer in another's stead, and does not.
    fn proxy(self, link: &Link, why: String, change: Option<Remedy>) -> Candidate {
        let (host, who) = (self.host, self.who);
        let shell = Shell::of(host, Some(link.device.netns));
        let ip = ip(who.address.is_ipv6());
        let get = match self.question_at(link) {
            Some(query) => {
                let (from, by) = (query.tuple.src, &link.name);
                command![..ip, "route get", who.address, "from", from, "iif", by]
            }
            None => command![..ip, "route get", who.address],
        };
        Candidate::new(
            &NEIGHBOR_UNRESOLVED,
            place_at(self.host, who.device, "neighbor"),
            format!(
                "{}: {} should answer as a proxy, and does not: {why}",
                super::summary(host, who),
                words::interface(host, link.device)
            ),
        )
        .explains(Specificity::Linked)
        .advise([
            shell.look(
                "check first: for whom it answers",
                command![..ip, "neigh show proxy"],
            ),
            shell.look("and which way it has to the address", get),
        ])
        .advise(change)
    }
}

/// Where the packet goes that waits, as far as its sender's lookups tell.
fn destination(trace: &Trace, who: Unresolved) -> IpAddr {
    let mut sent = senders(trace, who).map(|t| t.dst);
    sent.find(|dst| *dst != who.address).unwrap_or(who.address)
}

/// Neighbours that packets of the trace may wait for, each once: a node has many others that nobody answers for.
#[must_use]
pub fn pending(trace: &Trace, host: &Host) -> Vec<Unresolved> {
    let travelled: BTreeSet<NetNs> = trace
        .journeys
        .values()
        .filter_map(|j| j.steps.last()?.event.netns)
        .collect();
    let mut list: Vec<Unresolved> = Vec::new();
    for who in trace.beside.iter().filter_map(unresolved_in) {
        let concerns = || {
            travelled.contains(&who.device.netns)
                || is_asked_for(host, who.address)
                || senders(trace, who).next().is_some()
        };
        if !list.contains(&who) && concerns() {
            list.push(who);
        }
    }
    list.truncate(PENDING);
    list
}
