//! Packets that left with a source address to which the network has no way back: what source NAT made of them, or
//! the wrong one of several addresses of the sender.
//!
//! Seen from the end: an answer that dies on the other side for want of a way to that address, a receiver that has
//! no route to it, or silence while other addresses of the same interface are answered.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use crate::host::Host;
use crate::host::facts::{BaseChain, Link, Question, Route, Rule, TableRoute};
use crate::host::prefix::is_private;
use crate::model::{Device, Direction, Fate, IfIndex, NetNs, Tuple};
use crate::verdict::{Confidence, Place};

use super::Found;
use super::candidate::{Candidate, place_at};
use super::causes::NAT_SOURCE;
use super::chain_commands::{chain_words, show_chain};
use super::groups::Group;
use super::local;
use super::loss::Loss;
use super::nat_commands::{self, Source, SourceRule, translating, translators};
use super::other_source::{self, Better};
use super::readdress;
use super::remedy::{Remedy, Shell, command, ip, text};
use super::route_commands::{self, Way};
use super::routing;
use super::rules::neighbor;
use super::silent::Counts;
use super::translation::{self, Departure};
use super::view::{View, last_seen};
use super::words;

/// How it was found out that nobody answers a source.
pub enum Proof {
    /// The network said so.
    Told(String),
    /// Nothing came back.
    Silence,
}

impl Proof {
    /// Of a packet that left; `None`: an answer came, or was lost for another reason.
    #[must_use]
    pub fn of(
        view: &View<'_>,
        (counts, chosen): (&Counts, Option<&Group<'_>>),
        left: &Departure,
    ) -> Option<Self> {
        match chosen {
            Some(group) => lost_on_the_way_back(group, left),
            None => nothing_came(view, counts, left),
        }
    }
}

/// The packet as the kernel is asked for a source of its own choice.
#[must_use]
pub fn without_source(to: IpAddr, like: &Tuple) -> Tuple {
    Tuple {
        src: match to {
            IpAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
            IpAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
        },
        sport: 0,
        dst: to,
        dport: 0,
        icmp_id: 0,
        ..*like
    }
}

/// The route that the kernel would choose for its own packets.
#[must_use]
pub fn own_route(netns: NetNs, to: IpAddr, like: &Tuple) -> Question {
    Question::route(netns, without_source(to, like), 0)
}

/// The route that the kernel chooses for its own packets to an address while they have no source, as it answered.
#[must_use]
pub fn chosen(host: &Host, netns: NetNs, to: IpAddr) -> Option<&Route> {
    let answers = host.routes.iter().rev().map(|r| &r.fact);
    answers
        .filter(|r| r.netns == netns && r.tuple.dst == to && r.tuple.src.is_unspecified())
        .find_map(|r| r.result.as_ref().ok())
}

/// The source that it chooses then.
#[must_use]
pub fn preferred(view: &View<'_>, netns: NetNs, to: IpAddr) -> Option<IpAddr> {
    chosen(view.host, netns, to)?.source
}

fn departed(view: &View<'_>) -> Option<Departure> {
    view.journeys(Direction::Forward)
        .find_map(|j| translation::departure(j, view.host))
}

/// What to read while answers fail to come.
#[must_use]
pub fn questions(view: &View<'_>) -> Vec<Question> {
    let mut list = Vec::new();
    if let Some(left) = departed(view) {
        // Who has no way to the source may have one to another address of the sender.
        let losses = view.losses();
        let mut refused_by = losses
            .lost
            .iter()
            .filter(|loss| loss.dst() == Some(left.tuple.src));
        let lost_at = refused_by.find_map(Loss::netns);
        if let Some(netns) = lost_at.or_else(|| receiver(view, left.tuple.dst)) {
            let others = elsewhere(view.host, &left);
            list.extend(others.map(|dst| Question::RoutesTowards { netns, dst }));
        }
        list.extend(readdress::questions(
            left.device.netns,
            left.tuple.dst,
            &left.tuple,
        ));
        list.push(Question::Link {
            device: left.device,
        });
        if left.before.is_some() {
            list.push(Question::Chains {
                netns: left.device.netns,
            });
        }
    }
    let arrived = view
        .journeys(Direction::Forward)
        .filter_map(last_seen)
        .find_map(|e| {
            let (device, tuple) = (e.device?, e.tuple?);
            view.host
                .is_local(device.netns, tuple.dst)
                .then_some((device, tuple))
        });
    // the way of the answer, and its source where the server leaves it to the kernel
    list.extend(arrived.map(|(device, tuple)| own_route(device.netns, tuple.src, &tuple)));
    list
}

/// The verdict's candidate, where the source address is why no answer came.
#[must_use]
pub fn refused(view: &View<'_>, found: &Found<'_>) -> Option<Candidate> {
    let (counts, chosen) = (&found.counts, found.chosen());
    if counts.reply.delivered > 0 || !view.expects_reply() && chosen.is_none() {
        return None;
    }
    let left = departed(view)?;
    let proof = Proof::of(view, (counts, chosen), &left)?;
    let refused_by = match chosen {
        Some(group) => group.example.netns(),
        None => receiver(view, left.tuple.dst),
    };
    let choice = Choice::of(view, &left, refused_by);
    // The only address of its interface is not the wrong one, unless the machine has one of its own that is known to others.
    let only = choice.own && choice.others.is_empty();
    let machine = choice
        .known
        .is_some_and(|a| is_of_machine(view, &left, a) || network_is_answered(view, &left, a));
    if only && !machine || answered(view, left.device, left.tuple.src) {
        return None;
    }
    let confidence = confidence(&left, &choice, &proof)?;
    let name = view.host.namespace(left.device.netns);
    let to = left.tuple.dst;
    let translated = left.before.map(|before| {
        format!(
            "{name} translates {} to {}",
            before.source(),
            left.tuple.source()
        )
    });
    let preferred = choice
        .preferred
        .map(|c| format!("for packets of its own to {to}, {name} would use source {c}"));
    let otherwise = (confidence == Confidence::Possible)
        .then(|| format!("could also be remote.unanswered: {to} may be silent to everyone"));
    let summary = summary(view, &left, &choice, &proof);
    let told = match proof {
        Proof::Told(why) => Some(why),
        Proof::Silence => None,
    };
    let candidate = Candidate::new(&NAT_SOURCE, place(view, &left), summary)
        .sure(confidence)
        .because("packet", translated)
        .because("address", addresses(view, &left))
        .because("route", preferred)
        .because("other-loss", told)
        .because("other-loss", otherwise);
    Some(candidate.advise(advice(view, &left, &choice)))
}

/// Source addresses with which the packet could have left.
struct Choice {
    /// Whether its own is one of the interface's.
    own: bool,
    /// Others of the interface.
    others: Vec<IpAddr>,
    /// Those of them that are answered.
    alive: Vec<IpAddr>,
    /// What the kernel would choose.
    preferred: Option<IpAddr>,
    /// One of the others that is known to the world, where its own is private and the destination is not.
    public: Option<IpAddr>,
    /// One of another interface, to which who has no way to its own has a route.
    known: Option<IpAddr>,
}

impl Choice {
    fn of(view: &View<'_>, left: &Departure, refused_by: Option<NetNs>) -> Self {
        let (device, address) = (left.device, left.tuple.src);
        let own = view.host.addresses(device);
        let others: Vec<IpAddr> = translation::siblings(view.host, device, address)
            .map(|a| a.address)
            .collect();
        Self {
            own: own.iter().any(|a| a.address == address),
            alive: others
                .iter()
                .copied()
                .filter(|a| answered(view, device, *a))
                .collect(),
            public: others
                .iter()
                .copied()
                .filter(|other| !stays_inside(*other))
                .find(|_| stays_inside(address) && !stays_inside(left.tuple.dst)),
            others,
            preferred: preferred(view, device.netns, left.tuple.dst),
            known: refused_by.and_then(|netns| {
                let routed = |address: &IpAddr| {
                    let routes = view.host.towards.get(&(netns, *address));
                    let mut routes = routes.into_iter().flat_map(|dated| &dated.fact);
                    routes.any(|route| route.kind == "unicast" && route.length > 0)
                };
                elsewhere(view.host, left).find(routed)
            }),
        }
    }

    /// What the kernel would choose instead.
    fn other_than(&self, address: IpAddr) -> Option<IpAddr> {
        self.preferred.filter(|c| *c != address)
    }

    /// The best one instead.
    fn instead_of(&self, address: IpAddr) -> Option<IpAddr> {
        self.other_than(address)
            .or(self.alive.first().copied())
            .or(self.public)
            .or(self.known)
            .or(self.others.first().copied())
    }
}

/// Addresses of other interfaces of a sender, with which it could have sent a packet as well: few of them.
fn elsewhere<'a>(host: &'a Host, left: &Departure) -> impl Iterator<Item = IpAddr> + use<'a> {
    /// More are not looked at.
    const FEW: usize = 4;
    let (netns, source, own) = (left.device.netns, left.tuple.src, left.before.is_none());
    let links = host.links().map(|link| link.device);
    let all = links
        .filter(move |device| own && device.netns == netns)
        .flat_map(|device| host.addresses(device));
    all.filter(|a| a.scope == 0 && !a.tentative && !translation::is_link_local(a.address))
        .map(|a| a.address)
        .filter(move |a| *a != source && a.is_ipv4() == source.is_ipv4())
        .take(FEW)
}

/// Whether routers of others have no way to an address.
#[must_use]
pub fn stays_inside(address: IpAddr) -> bool {
    is_private(address) || translation::is_link_local(address)
}

/// How sure it is that it is the source; `None`: rather something else.
fn confidence(left: &Departure, choice: &Choice, proof: &Proof) -> Option<Confidence> {
    let better = choice.other_than(left.tuple.src).is_some();
    match proof {
        Proof::Told(_) => Some(Confidence::Certain),
        Proof::Silence if !choice.alive.is_empty() || better => Some(Confidence::Likely),
        // Nobody translates IPv6 on the way, as a rule; a private IPv4 address may well be translated farther on.
        Proof::Silence if choice.public.is_some() => Some(match left.tuple.dst {
            IpAddr::V6(_) => Confidence::Likely,
            IpAddr::V4(_) => Confidence::Possible,
        }),
        // its own choice and its own address: it is rather the other end
        Proof::Silence if left.before.is_none() || choice.others.is_empty() => None,
        Proof::Silence => Some(Confidence::Possible),
    }
}

/// An answer that was on its way to the address and found none.
fn lost_on_the_way_back(group: &Group<'_>, left: &Departure) -> Option<Proof> {
    let to_it = group.example.dst() == Some(left.tuple.src);
    let elsewhere = group.example.netns() != Some(left.device.netns);
    let back = group.direction == Direction::Reply;
    let no_way = NAT_SOURCE.beats(group.candidate.cause).is_some();
    (back && to_it && elsewhere && no_way).then(|| Proof::Told(group.candidate.summary.clone()))
}

/// No answer was seen at all, or none that ended here.
fn nothing_came(view: &View<'_>, counts: &Counts, left: &Departure) -> Option<Proof> {
    let address = left.tuple.src;
    let forward = &counts.forward;
    if view.answers(counts) > 0 {
        return None;
    }
    let here = forward.delivered + forward.consumed > 0;
    if here {
        let receiver = receiver(view, left.tuple.dst)?;
        let name = view.host.namespace(receiver);
        let failed = local::failures(view.trace, view.host)
            .iter()
            .any(|f| f.dst == address && f.netns.is_none_or(|ns| ns == receiver));
        let refused = routing::answer(view.host, receiver, address)
            .and_then(|a| a.result.as_ref().err().copied());
        return match refused {
            Some(error) => Some(Proof::Told(format!(
                "{name} has no way to {address}: {}",
                routing::errno_words(error)
            ))),
            None if failed => Some(Proof::Told(format!("{name} has no route to {address}"))),
            None => neighbor::pending(view.trace)
                .find(|who| who.device.netns == receiver && who.address == address)
                .map(|who| Proof::Told(neighbor::summary(view.host, who))),
        };
    }
    let gone = view
        .journeys(Direction::Forward)
        .any(|j| matches!(j.fate, Fate::Left { .. }));
    (forward.left > 0 && gone).then_some(Proof::Silence)
}

/// The namespace that has the destination and saw the request.
fn receiver(view: &View<'_>, dst: IpAddr) -> Option<NetNs> {
    let seen = view.journeys(Direction::Forward).filter_map(last_seen);
    let mut at = seen.filter_map(|event| event.device).map(|d| d.netns);
    at.find(|netns| view.host.is_local(*netns, dst))
}

/// Whether an address is the sender's own and no link's: on a loopback or dummy interface, as that of a router is.
fn is_of_machine(view: &View<'_>, left: &Departure, address: IpAddr) -> bool {
    let host = view.host;
    let mut owners = host.owners(address);
    owners.any(|device| {
        let link = host.link(device);
        device.netns == left.device.netns && link.is_some_and(Link::is_linkless)
    })
}

/// Whether others of the network in which the sender has this address are answered by the same way.
fn network_is_answered(view: &View<'_>, left: &Departure, address: IpAddr) -> bool {
    let host = view.host;
    let mut owners = host
        .owners(address)
        .filter(|d| d.netns == left.device.netns);
    let entry = owners.find_map(|device| {
        let mut own = host.addresses(device).iter();
        own.find(|own| own.address == address)
    });
    entry.is_some_and(|entry| {
        let inside = |source: IpAddr| routing::holds(entry.address, entry.prefix, source);
        let mut answered = view.trace.flows.iter().filter(|flow| {
            let back = flow.fates.get(&Direction::Reply);
            back.is_some_and(|fates| fates.delivered > 0)
        });
        answered.any(|flow| {
            let mut hops = flow.forward.hops.iter();
            hops.any(|hop| hop.device == left.device && inside(hop.tuple.src))
        })
    })
}

/// Whether packets that left by an interface with this source were answered.
fn answered(view: &View<'_>, device: Device, address: IpAddr) -> bool {
    view.trace.flows.iter().any(|flow| {
        let delivered = flow
            .fates
            .get(&Direction::Reply)
            .is_some_and(|f| f.delivered > 0);
        delivered
            && flow
                .forward
                .hops
                .iter()
                .any(|h| h.device == device && h.tuple.src == address)
    })
}

fn place(view: &View<'_>, left: &Departure) -> Place {
    place_at(view.host, left.device, "POSTROUTING")
}

fn list(addresses: &[IpAddr]) -> String {
    addresses
        .iter()
        .map(ToString::to_string)
        .collect::<Vec<_>>()
        .join(", ")
}

fn summary(view: &View<'_>, left: &Departure, choice: &Choice, proof: &Proof) -> String {
    let at = words::interface(view.host, left.device);
    let made = left
        .before
        .map_or_else(String::new, |b| format!(" (source NAT of {})", b.src));
    let mut summary = format!(
        "nobody answers source {}{made}, with which it left through {at}",
        left.tuple.src
    );
    if !choice.alive.is_empty() {
        summary += &format!(
            "; {} of the same interface is answered",
            list(&choice.alive)
        );
    } else if !choice.others.is_empty() {
        summary += &format!("; the interface also has {}", list(&choice.others));
    } else if let Some(known) = choice.known {
        summary += &format!("; to {known}, another address of the sender, there is a route");
    }
    match (proof, choice.public) {
        (Proof::Told(why), _) => summary += &format!(": {why}"),
        (Proof::Silence, Some(_)) if choice.alive.is_empty() => {
            summary += &format!(
                "; {} is a private address, {} is none",
                left.tuple.src, left.tuple.dst
            );
        }
        (Proof::Silence, _) => {}
    }
    summary
}

fn addresses(view: &View<'_>, left: &Departure) -> String {
    let all: Vec<String> = view
        .host
        .addresses(left.device)
        .iter()
        .map(|a| {
            let state = if answered(view, left.device, a.address) {
                " (answered)"
            } else if a.address == left.tuple.src {
                " (not answered)"
            } else {
                ""
            };
            format!("{}/{}{state}", a.address, a.prefix)
        })
        .collect();
    let at = words::interface(view.host, left.device);
    if all.is_empty() {
        format!("{at} has no address")
    } else {
        format!("{at} has {}", all.join(", "))
    }
}

fn advice(view: &View<'_>, left: &Departure, choice: &Choice) -> Vec<Remedy> {
    let host = view.host;
    let shell = Shell::of(host, Some(left.device.netns));
    let address = left.tuple.src;
    let better = choice.instead_of(address);
    let chains = translators(host, left.device.netns, address.is_ipv6());
    let mut advice = vec![shell.look(
        "look first: which of these addresses is the present one?",
        command![
            ..ip(address.is_ipv6()),
            "addr show dev",
            host.interface(left.device)
        ],
    )];
    if let Some(before) = &left.before {
        advice.extend(translating_rules(&shell, &chains, address));
        advice.extend(
            better.and_then(|better| translated_to(host, left.device, &chains, (before, better))),
        );
    }
    let change = (left.before.is_none())
        .then(|| another(view, left, (choice, better)))
        .flatten();
    let changed = change.is_some();
    advice.extend(change);
    let only = choice.others.is_empty();
    if choice.own && !only && !is_named(host, left, &chains) {
        advice.extend(readdress::remove(
            host,
            (left.device, address),
            left.tuple.dst,
            "if it is stale, remove it: connections that use it break",
        ));
    }
    advice.push(text(match better {
        Some(better) if left.before.is_some() => format!(
            "to last: let the rule itself translate to {better} (SNAT --to-source {better}, `snat to {better}`)"
        ),
        Some(better) if changed => format!("or let the sender bind {better}"),
        Some(better) => format!(
            "or let the sender use {better}: bind it, or give the route `src {better}`"
        ),
        None => format!("or give the network a route for {address} to this machine"),
    }));
    advice
}

/// What makes a sender, which translates nothing, use another address: its routes, else a rule where it leaves.
fn another(
    view: &View<'_>,
    left: &Departure,
    (choice, better): (&Choice, Option<IpAddr>),
) -> Option<Remedy> {
    let host = view.host;
    let by_route = better
        .and_then(|better| preferring(host, left, better))
        .or_else(|| {
            let other = other_source::others(host, left).find(|o| Some(o.address) == better)?;
            Better::new(host, *left, other).preferred_again()
        })
        .or_else(|| {
            let known = choice.known.filter(|known| Some(*known) == better)?;
            let owner = host.owners(known).find(|d| d.netns == left.device.netns)?;
            let entry = host.addresses(owner).iter().find(|a| a.address == known)?;
            Better::new(host, *left, entry).chosen_instead()
        });
    if by_route.is_some() || choice.own {
        return by_route;
    }
    // The packet was routed again after its source was chosen: by a mark, or after its destination was translated.
    let text = format!(
        "let what leaves with {} through {} have an address of that interface (new connections)",
        left.tuple.src,
        words::interface(host, left.device)
    );
    let flow = &left.tuple;
    Some(nat_commands::masquerade(host, left.device, flow, text))
}

/// The route that prefers the address, with another one in its place.
#[must_use]
pub fn preferring(host: &Host, left: &Departure, better: IpAddr) -> Option<Remedy> {
    let (netns, address) = (left.device.netns, left.tuple.src);
    let known = &host.towards.get(&(netns, left.tuple.dst))?.fact;
    // A default route by another interface leads much else, which must not get this one's address.
    let elsewhere = |r: &&TableRoute| r.oif.is_some_and(|oif| IfIndex(oif) != left.device.ifindex);
    let route = known
        .iter()
        .filter(|r| r.length > 0 || !elsewhere(r))
        .find(|r| r.source == Some(address))?;
    let other = TableRoute {
        source: Some(better),
        ..route.clone()
    };
    let change = route_commands::replace(
        &Shell::of(host, Some(netns)),
        (host, netns),
        (route, &other),
        format!("let the route that prefers {address} prefer {better}"),
    )?;
    Some(change.scope("all that this route leads and that binds no address".to_owned()))
}

/// A route for the destination alone with another address in its place, where the route that prefers the address leads others as
/// well.
#[must_use]
pub fn preferring_for_one(host: &Host, left: &Departure, better: IpAddr) -> Option<Remedy> {
    let (netns, dst) = (left.device.netns, left.tuple.dst);
    let known = &host.towards.get(&(netns, dst))?.fact;
    let prefers = |r: &&TableRoute| r.source == Some(left.tuple.src) && r.kind == "unicast";
    let route = known.iter().find(prefers)?;
    let [hop] = route.hops()[..] else {
        return None;
    };
    let bits = if dst.is_ipv6() { 128 } else { 32 };
    let way = Way {
        device: Device {
            netns,
            ifindex: IfIndex(hop.oif?),
        },
        gateway: hop.gateway,
        source: Some(better),
    };
    let text = format!("let the kernel take {better} as source towards {dst}");
    let shell = Shell::of(host, Some(netns));
    let change = || route_commands::towards(&shell, host, (dst, Some(route)), &way, text);
    if route.length == bits { None } else { change() }
}

/// Where the rule is that made the source.
fn translating_rules(shell: &Shell, chains: &[&BaseChain], address: IpAddr) -> Vec<Remedy> {
    if chains.is_empty() {
        let six = if address.is_ipv6() { "6" } else { "" };
        let list = command![
            format!("ip{six}tables"),
            "-t nat -nvL POSTROUTING --line-numbers"
        ];
        return vec![shell.look("the rule that translates", list)];
    }
    let show = |chain: &&BaseChain| {
        let from = chain_words(chain);
        shell.look(
            format!("the rule that translates, reached from {from}"),
            show_chain(chain),
        )
    };
    chains.iter().map(show).collect()
}

/// The flow translated to a better address, before the rules that translate it now.
fn translated_to(
    host: &Host,
    device: Device,
    chains: &[&BaseChain],
    (flow, better): (&Tuple, IpAddr),
) -> Option<Remedy> {
    let known = |chain: &&&BaseChain| !translating(host, device.netns, chain).is_empty();
    let rule = SourceRule {
        chain: chains.iter().find(known).or(chains.first())?,
        flow,
        device: &host.interface(device),
        source: Source::Address(better),
    };
    Some(rule.change(
        &Shell::of(host, Some(device.netns)),
        format!("translate this flow to {better} instead, in front of the rule (flows that conntrack knows keep the old address)"),
    ))
}

/// Whether a rule that translates names the address: it uses it whether or not an interface has it.
fn is_named(host: &Host, left: &Departure, chains: &[&BaseChain]) -> bool {
    let named = left.tuple.src.to_string();
    let mut rules = chains
        .iter()
        .flat_map(|c| translating(host, left.device.netns, c));
    rules.any(|rule: &Rule| rule.text.contains(&named))
}
