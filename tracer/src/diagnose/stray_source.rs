//! Packets that left a namespace by one interface with the address of another. The network beyond the one has no way back
//! to the address of the other: a reverse-path filter on the way refuses such a source, and is right.
//!
//! The kernel chooses the source once, by the first route. Where the destination is translated or a mark is set after
//! that, the packet is routed again and keeps its source (ip_route_me_harder, net/ipv4/netfilter.c). A program may bind an
//! address, and a route may prefer one. An answer has the address that was asked, whatever its way.

use std::net::IpAddr;

use crate::correlate::Trace;
use crate::host::Host;
use crate::host::facts::{InterfaceAddress, Question};
use crate::model::{Detail, Device, Direction, Flow, IfIndex, Journey, NetNs, Tuple};
use crate::network::route::{
    CheckResult, Decision, Query, Tables, check_source, lookup, route_words, rule_words,
};

use super::candidate::Candidate;
use super::loss::{Loss, tuple_of};
use super::nat_commands;
use super::other_source;
use super::remedy::{Remedy, text};
use super::rules::neighbor::{Unresolved, senders};
use super::rules::source::conf_of_check;
use super::source_address::{self, chosen, own_route};
use super::stale_source::StaleSource;
use super::translation::{self, Departure};
use super::uplinks;
use super::view::View;
use super::words;

/// A packet on its way out, and whose address it has.
#[derive(Clone, Copy)]
pub struct Stray<'a> {
    trace: &'a Trace,
    host: &'a Host,
    /// Its flow, where packets of it were seen.
    flow: Option<&'a Flow>,
    /// Whether it is an answer.
    answers: bool,
    /// By which interface it left, or waits to leave.
    pub went: Device,
    /// Which interface of the same namespace has the address.
    pub owner: Device,
    /// As it left.
    tuple: Tuple,
    /// As it came to the namespace, where that translated its source.
    before: Option<Tuple>,
    /// For whom it was before the namespace translated that.
    meant: IpAddr,
    /// Its mark, where that is known.
    mark: u32,
}

/// Why it has this source.
enum Choice {
    /// A rule of the namespace translates to it.
    Translated,
    /// The route by which it leaves prefers it.
    Preferred,
    /// The kernel chose it, for the way through this interface.
    ForOtherWay(Device),
    /// The kernel would choose another: the program asked for it.
    Bound,
    /// What the kernel would choose was not read.
    Unknown,
}

/// What was sent of a packet that was looked up: where the neighbour is no next hop to its destination and is on the link itself, the
/// destination was translated to it.
fn sent(host: &Host, who: Unresolved, asked: Tuple) -> Tuple {
    let tables = Tables::of(host, who.device.netns);
    let by = |dst: IpAddr| {
        let query = Query::output(Tuple { dst, ..asked }, 0);
        match lookup(&tables, &query).decision {
            Decision::Route { hops, .. } => hops
                .iter()
                .filter(|hop| hop.oif == Some(who.device.ifindex.0))
                .map(|hop| hop.gateway.unwrap_or(dst))
                .collect(),
            _ => Vec::new(),
        }
    };
    let translated = !by(asked.dst).contains(&who.address) && by(who.address) == [who.address];
    Tuple {
        dst: if translated { who.address } else { asked.dst },
        ..asked
    }
}

impl<'a> Stray<'a> {
    /// A packet that was refused in another namespace for its source.
    #[must_use]
    pub fn of_packet(loss: &Loss<'a>) -> Option<Self> {
        let left = translation::departure(loss.journey, loss.host)?;
        let source = loss.tuple()?.src;
        let elsewhere = loss.netns() != Some(left.device.netns);
        let known = Some((loss.flow, loss.journey));
        (elsewhere && left.tuple.src == source)
            .then(|| Self::of((loss.trace, loss.host), known, &left))?
    }

    /// The first request of a flow.
    #[must_use]
    pub fn of_request(view: &View<'a>) -> Option<Self> {
        view.journeys(Direction::Forward).find_map(|journey| {
            let left = translation::departure(journey, view.host)?;
            Self::of((view.trace, view.host), Some((view.flow, journey)), &left)
        })
    }

    /// A packet that waits for a neighbour who was asked with its source.
    #[must_use]
    pub fn of_question(
        trace: &'a Trace,
        host: &'a Host,
        who: Unresolved,
        asker: IpAddr,
    ) -> Option<Self> {
        let waiting = trace.journeys.values().find_map(|journey| {
            let last = &journey.steps.last()?.event;
            let here = last.device == Some(who.device);
            let tuple = tuple_of(last).filter(|t| here && t.src == asker)?;
            let flow = trace.flows.iter().find(|f| f.id == journey.flow)?;
            let before = translation::changes(journey)
                .filter(|c| c.netns == who.device.netns && c.before.src != c.after.src)
                .last();
            let before = before.map(|c| c.before);
            Some(((flow, journey), tuple, before))
        });
        let looked_up = || senders(trace, who).find(|tuple| tuple.src == asker);
        let left = |tuple, before| Departure {
            device: who.device,
            tuple,
            before,
        };
        match waiting {
            Some((known, tuple, before)) => {
                Self::of((trace, host), Some(known), &left(tuple, before))
            }
            None => {
                let asked = looked_up()?;
                let stray = Self::of((trace, host), None, &left(sent(host, who, asked), None))?;
                Some(Self {
                    meant: asked.dst,
                    ..stray
                })
            }
        }
    }

    fn of(
        (trace, host): (&'a Trace, &'a Host),
        known: Option<(&'a Flow, &'a Journey)>,
        left: &Departure,
    ) -> Option<Self> {
        let (went, source) = (left.device, left.tuple.src);
        let mut owners = host.owners(source).filter(|d| d.netns == went.netns);
        // An address of the machine itself belongs to no link.
        let wired = |device: &Device| {
            let link = host.link(*device);
            link.is_none_or(|l| !l.is_linkless())
        };
        let owner = owners.next().filter(wired)?;
        let both = owner == went || owners.any(|other| other == went);
        if both || host.near(went, source).is_some() {
            return None;
        }
        let journey = known.map(|(_, journey)| journey);
        let first = journey.and_then(|j| j.steps.first()).map(|s| &s.event);
        let here = first.filter(|e| e.device.map(|d| d.netns) == Some(went.netns));
        let meant = here.and_then(|e| e.original.or_else(|| tuple_of(e)));
        let mark = journey.and_then(|journey| match &journey.steps.last()?.event {
            event if event.device == Some(went) => match &event.detail {
                Detail::Drop(info) => Some(info.mark),
                _ => None,
            },
            _ => None,
        });
        Some(Self {
            trace,
            host,
            flow: known.map(|(flow, _)| flow),
            answers: journey.is_some_and(|j| j.direction == Direction::Reply),
            went,
            owner,
            tuple: left.tuple,
            before: left.before,
            meant: meant.map_or(left.tuple.dst, |tuple| tuple.dst),
            mark: mark.unwrap_or_default(),
        })
    }

    /// Where it was sent.
    #[must_use]
    pub const fn netns(&self) -> NetNs {
        self.went.netns
    }

    /// What to read of the sender, and on the way back to the address that the packet should have: `receiver` refused it.
    #[must_use]
    pub fn questions(&self, receiver: NetNs) -> Vec<Question> {
        let (netns, v6) = (self.netns(), self.tuple.dst.is_ipv6());
        let towards = |netns: NetNs, dst: IpAddr| Question::RoutesTowards { netns, dst };
        let mut list = vec![
            Question::Chains { netns },
            Question::Rules { netns, v6 },
            own_route(netns, self.meant, &self.tuple),
            towards(netns, self.tuple.dst),
            towards(netns, self.meant),
        ];
        list.extend(self.own().map(|own| towards(receiver, own)));
        if !self.answers {
            list.push(towards(netns, self.tuple.src));
            let name = self.host.interface(self.owner);
            list.extend(conf_of_check(&name).map(|name| Question::Sysctl { netns, name }));
        }
        list
    }

    /// Whether it would take an answer to the address on the interface that has it, as far as is known.
    #[must_use]
    pub fn takes_answers(&self) -> bool {
        let query = Query::input(self.tuple.reversed(), self.owner.ifindex, 0);
        let tables = Tables::of(self.host, self.netns());
        let forward = lookup(&tables, &query).decision;
        let refused = || {
            let check = check_source(&tables, &query, &forward);
            matches!(check.result, CheckResult::Refused(_))
        };
        self.answers || self.tuple.src.is_ipv6() || !refused()
    }

    /// The address with which it should have left.
    fn own(&self) -> Option<IpAddr> {
        let source = self.tuple.src;
        let usable = |a: &&InterfaceAddress| {
            let same = a.address.is_ipv4() == source.is_ipv4();
            same && !a.tentative && !translation::is_link_local(a.address)
        };
        let mut own = self.host.addresses(self.went).iter();
        own.find(usable).map(|a| a.address)
    }

    /// The packet as it would come with the address that it should have.
    #[must_use]
    pub fn mended(&self, tuple: Tuple) -> Option<Tuple> {
        Some(Tuple {
            src: self.own()?,
            ..tuple
        })
    }

    fn choice(&self) -> Choice {
        if self.before.is_some() {
            return Choice::Translated;
        }
        let Some(route) = chosen(self.host, self.netns(), self.meant) else {
            return Choice::Unknown;
        };
        match route.oif.map(IfIndex) {
            _ if route.source != Some(self.tuple.src) => Choice::Bound,
            Some(oif) if oif == self.went.ifindex => Choice::Preferred,
            Some(ifindex) => Choice::ForOtherWay(Device {
                ifindex,
                ..self.went
            }),
            None => Choice::Unknown,
        }
    }

    /// For the summary of the refusal.
    #[must_use]
    pub fn summary(&self) -> String {
        let host = self.host;
        let sender = host.namespace(self.netns());
        let (went, owner) = (host.interface(self.went), host.interface(self.owner));
        match self.before {
            Some(before) if !self.answers => {
                let stale = self
                    .stale()
                    .map_or_else(String::new, |s| format!("; {}", s.words()));
                format!(
                    "; {sender} sends it through {went}, and translates {} to the address of {owner}{stale}",
                    before.src
                )
            }
            _ => format!("; {sender} sends it through {went} with the address of {owner}"),
        }
    }

    /// A proposal with what is known of the sender.
    #[must_use]
    pub fn told(&self, mut candidate: Candidate) -> Candidate {
        candidate.summary += &self.summary();
        candidate
            .because("address", self.address_words())
            .because("route", self.choice_words())
            .because("route", self.marked_way())
            .because("rule", self.stale().map(|stale| stale.evidence()))
    }

    fn address_words(&self) -> String {
        let host = self.host;
        let own = match self.own() {
            Some(own) => format!("which has {own}"),
            None => "which has none".to_owned(),
        };
        format!(
            "{} is the address of {}; the packet leaves through {}, {own}",
            self.tuple.src,
            words::interface(host, self.owner),
            words::interface(host, self.went),
        )
    }

    fn choice_words(&self) -> Option<String> {
        if self.answers {
            return None;
        }
        let (host, source, to) = (self.host, self.tuple.src, self.meant);
        let sender = host.namespace(self.netns());
        Some(match self.choice() {
            Choice::Unknown | Choice::Translated => return None,
            Choice::Preferred => format!("the route of {sender} to {to} prefers source {source}"),
            Choice::Bound => format!(
                "for packets of its own to {to}, {sender} would use another source: the program asked for {source}"
            ),
            Choice::ForOtherWay(device) => {
                let then = if to == self.tuple.dst {
                    "it was routed again after that".to_owned()
                } else {
                    format!(
                        "the destination was translated to {} after that",
                        self.tuple.dst
                    )
                };
                format!(
                    "{sender} chose source {source} for {to}, on the way through {}; {then}, and no rule translates the source",
                    host.interface(device)
                )
            }
        })
    }

    /// The way of the packet by its mark, where that leads to where it left.
    fn marked_way(&self) -> Option<String> {
        let mark = Some(self.mark).filter(|mark| *mark != 0)?;
        let tables = Tables::of(self.host, self.netns());
        let Decision::Route { rule, route, hops } =
            lookup(&tables, &Query::output(self.tuple, mark)).decision
        else {
            return None;
        };
        let here = hops
            .iter()
            .any(|hop| hop.oif.map(IfIndex) == Some(self.went.ifindex));
        (here && rule.mark.is_some()).then(|| {
            format!(
                "with mark {mark:#x} {} sends it by {}, by policy rule {}: {}",
                self.host.namespace(self.netns()),
                route_words(self.host, self.netns(), route),
                rule.priority,
                rule_words(rule)
            )
        })
    }

    /// What to change at the sender, the best first. `fits`: whether the receiver takes the packet with the address that it
    /// should have.
    #[must_use]
    pub fn remedies(&self, fits: bool) -> Vec<Remedy> {
        if self.answers {
            return self.led_back();
        }
        if let Some(stale) = self.stale() {
            return stale.remedies(self.host);
        }
        let mut list = Vec::new();
        match self.choice() {
            Choice::Preferred | Choice::ForOtherWay(_) => {
                list.extend(self.without_preference().into_iter().filter(|_| fits));
            }
            Choice::Bound => list.extend(self.through_its_own()),
            _ => {}
        }
        list.extend(self.masqueraded().filter(|_| fits));
        list
    }

    /// The entry of conntrack that translates it, where rules would give another source now.
    fn stale(&self) -> Option<StaleSource> {
        StaleSource::of(self.host, self.went, (self.before?, self.tuple))
    }

    /// The answer sent out where its request came in.
    fn led_back(&self) -> Vec<Remedy> {
        let advice = self.flow.and_then(|flow| {
            uplinks::leading_back(&View {
                trace: self.trace,
                host: self.host,
                flow,
            })
        });
        advice.unwrap_or_else(|| {
            vec![text(format!(
                "let answers with source {} leave {} through {}, as requests to it come in: a default route there, or `ip rule add from {} lookup TABLE`",
                self.tuple.src,
                self.host.namespace(self.netns()),
                self.host.interface(self.owner),
                self.tuple.src
            ))]
        })
    }

    /// The route that prefers the address prefers the one of its own interface.
    fn without_preference(&self) -> Vec<Remedy> {
        let left = Departure {
            device: self.went,
            tuple: Tuple {
                dst: self.meant,
                ..self.tuple
            },
            before: None,
        };
        let Some(own) = self.own() else {
            return Vec::new();
        };
        let alone = other_source::is_only_destination(self.trace, (self.tuple.src, self.meant));
        let for_one = || source_address::preferring_for_one(self.host, &left, own);
        let for_one = if alone { for_one() } else { None };
        let for_all = source_address::preferring(self.host, &left, own);
        for_one.into_iter().chain(for_all).collect()
    }

    /// What has the address leaves by the interface that has it.
    fn through_its_own(&self) -> Option<Remedy> {
        let ends = (self.tuple.src, self.tuple.dst);
        uplinks::leaving_by(self.host, self.owner, ends)
    }

    /// The source translated where the packet leaves.
    fn masqueraded(&self) -> Option<Remedy> {
        let own = self.own()?;
        let flow = Tuple {
            src: self.before.map_or(self.tuple.src, |before| before.src),
            ..self.tuple
        };
        let text = format!(
            "let what {} sends there through {} have that interface's address {own} (new connections)",
            self.host.namespace(self.netns()),
            self.host.interface(self.went),
        );
        Some(nat_commands::masquerade(self.host, self.went, &flow, text))
    }
}
