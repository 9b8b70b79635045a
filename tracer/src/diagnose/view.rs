//! One flow as the verdict needs it: its losses, and counts of fates in which noise is no loss.

use std::cell::LazyCell;
use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use tracer_common::event::FLAG_NEIGHBOR_AUX;

use crate::correlate::Trace;
use crate::host::Host;
use crate::host::prefix::is_many;
use crate::model::{
    Detail, Direction, DropSite, Event, Fate, FateCounts, Flow, Journey, Proto, Side, Transport,
    Tuple,
};
use crate::uapi::if_packet::LOOPBACK;
use crate::uapi::{icmp, icmpv6};

use super::loss::{Loss, is_reset};
use super::recovered::{Arrived, first_packet};
use super::silent::Counts;

/// A packet seen this short before the end of the trace may still be on its way.
pub const GRACE_NS: u64 = 500_000_000;

/// UDP services whose requests are always answered: DNS, DHCP, NTP, NetBIOS names, SNMP, IKE, mDNS.
const ANSWERING_UDP: &[u16] = &[53, 67, 68, 123, 137, 161, 500, 547, 4500];

/// Most flows that are looked at for one that the same server answers.
const MOST_OTHERS: usize = 256;

/// Ports from which a DHCP server answers, and to which, in IPv4 and IPv6.
const DHCP_ANSWERS: &[(u16, u16)] = &[(67, 68), (547, 546)];

/// Ports of DHCP servers and relays, in IPv4 and IPv6.
const DHCP_SERVERS: &[u16] = &[67, 547];

/// Groups by which hosts find each other: mDNS, LLMNR, SSDP.
const DISCOVERY: &[IpAddr] = &[
    IpAddr::V4(Ipv4Addr::new(224, 0, 0, 251)),
    IpAddr::V4(Ipv4Addr::new(224, 0, 0, 252)),
    IpAddr::V4(Ipv4Addr::new(239, 255, 255, 250)),
    IpAddr::V6(Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 0xfb)),
    IpAddr::V6(Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 1, 3)),
    IpAddr::V6(Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 0xc)),
];

/// Lost packets of a flow.
#[derive(Default)]
pub struct Losses<'a> {
    /// For good.
    pub lost: Vec<Loss<'a>>,
    /// The same data came through later.
    pub recovered: Vec<Loss<'a>>,
    /// A copy ended where copies of packets end that arrived. What became of the packet is not known, for observations are
    /// missing.
    pub copies: Vec<Loss<'a>>,
}

impl<'a> Losses<'a> {
    /// Those that are none, or not known to be.
    pub fn harmless(&self) -> impl Iterator<Item = &Loss<'a>> {
        self.recovered.iter().chain(&self.copies)
    }
}

/// A flow with its trace and host.
#[derive(Clone, Copy)]
pub struct View<'a> {
    /// Everything.
    pub trace: &'a Trace,
    /// The host.
    pub host: &'a Host,
    /// The flow.
    pub flow: &'a Flow,
}

impl<'a> View<'a> {
    /// Kept journeys, oldest first.
    pub fn kept(&self) -> impl DoubleEndedIterator<Item = &'a Journey> {
        let trace = self.trace;
        self.flow
            .journeys
            .iter()
            .filter_map(move |id| trace.journeys.get(id))
    }

    /// Kept journeys of a direction.
    pub fn journeys(&self, direction: Direction) -> impl DoubleEndedIterator<Item = &'a Journey> {
        self.kept().filter(move |j| j.direction == direction)
    }

    /// Lost packets, apart from those that a retransmission made good.
    #[must_use]
    pub fn losses(&self) -> Losses<'a> {
        let arrived = LazyCell::new(|| Arrived::of(self.kept()));
        let ends_of_copies = LazyCell::new(|| self.ends_of_copies());
        let dropped = self.kept().filter_map(|journey| {
            let Fate::Dropped { step } = journey.fate else {
                return None;
            };
            Loss::at((self.trace, self.host), self.flow, journey, step)
        });
        let mut losses = Losses::default();
        for loss in dropped {
            let is_copy = || {
                loss.site()
                    .is_some_and(|site| ends_of_copies.contains(&site))
            };
            let list = if arrived.recovers(&loss) {
                &mut losses.recovered
            } else if self.lost_observations() > 0 && is_copy() {
                &mut losses.copies
            } else {
                &mut losses.lost
            };
            list.push(loss);
        }
        losses
    }

    /// Where copies ended of packets that arrived.
    fn ends_of_copies(&self) -> BTreeSet<DropSite> {
        let arrived = self.kept().filter(|j| j.fate == Fate::Delivered);
        let ends = arrived.flat_map(|j| {
            let ends = j.steps.iter();
            ends.filter_map(|step| DropSite::of(j.direction, &step.event))
        });
        ends.collect()
    }

    /// Fates of a direction. What was made good, or may have arrived, is no drop; what is silent for too short is still on its way, and
    /// for too long is not.
    #[must_use]
    pub fn counts(&self, direction: Direction, losses: &Losses<'_>) -> FateCounts {
        let mut counts = self.flow.fates.get(&direction).copied().unwrap_or_default();
        let of = |fate: fn(&Fate) -> bool, young: bool| {
            self.journeys(direction)
                .filter(|j| fate(&j.fate) && self.young(j) == young)
                .count() as u64
        };
        let harmless = losses.harmless();
        let harmless = harmless.filter(|l| l.journey.direction == direction);
        counts.dropped = counts.dropped.saturating_sub(harmless.count() as u64);
        let stuck = of(|f| *f == Fate::InFlight, false).min(counts.in_flight);
        let going = of(|f| matches!(f, Fate::Vanished { .. }), true).min(counts.vanished);
        counts.in_flight = counts.in_flight - stuck + going;
        counts.vanished = counts.vanished - going + stuck;
        counts
    }

    /// Seen so shortly before the end that nothing can be said of it.
    #[must_use]
    pub fn young(&self, journey: &Journey) -> bool {
        journey
            .steps
            .last()
            .is_none_or(|s| self.trace.now.since(s.event.at) < GRACE_NS)
    }

    /// Observations that are missing: what has no end may have had one.
    #[must_use]
    pub fn lost_observations(&self) -> u64 {
        let losses = &self.trace.losses;
        let all = losses.lost.iter().chain(&losses.thinned);
        all.map(|(_, n)| n).sum()
    }

    /// Packets of a direction: exact where the kernel counted. Where observations are missing, copies of one packet may be
    /// journeys of their own.
    #[must_use]
    pub fn seen(&self, direction: Direction) -> u64 {
        let of = |counts: &BTreeMap<Direction, u64>| counts.get(&direction).copied().unwrap_or(0);
        let counted = of(&self.flow.packets);
        if counted > 0 && self.lost_observations() > 0 {
            return counted;
        }
        counted.max(of(&self.flow.journeys_seen))
    }

    /// Answers that were seen or counted: also those of which no event was sent.
    #[must_use]
    pub fn answers(&self, counts: &Counts) -> u64 {
        self.seen(Direction::Reply).max(total(&counts.reply))
    }

    /// Whether packets of a direction were counted of which no event was sent: what they did is not known.
    #[must_use]
    pub fn is_thinned(&self, direction: Direction) -> bool {
        let told = self.flow.journeys_seen.get(&direction);
        self.seen(direction) > told.copied().unwrap_or(0)
    }

    /// Whether no packet of either direction was seen: the flow is known by an error about one alone.
    #[must_use]
    pub fn is_unseen(&self, counts: &Counts) -> bool {
        let of = |direction| self.seen(direction) + total(counts.of(direction));
        of(Direction::Forward) == 0 && of(Direction::Reply) == 0
    }

    /// Whether all that came back are resets.
    #[must_use]
    pub fn is_refused(&self) -> bool {
        let mut replies = self.journeys(Direction::Reply).peekable();
        replies.peek().is_some() && replies.all(|j| first_packet(j).is_some_and(is_reset))
    }

    /// The tuple that was asked for.
    #[must_use]
    pub fn tuple(&self) -> Option<Tuple> {
        self.flow.asked()
    }

    /// Whether an answer has to come for the flow to be well.
    #[must_use]
    pub fn expects_reply(&self) -> bool {
        if self.host.run.as_ref().is_some_and(|r| r.one_way) {
            return false;
        }
        let Some(tuple) = self.tuple() else {
            return false;
        };
        if self.answers_to_many() {
            return false;
        }
        match tuple.proto {
            Proto::Tcp | Proto::Sctp => true,
            Proto::Icmp | Proto::Icmp6 => self.asks_for_echo(),
            Proto::Udp => {
                ANSWERING_UDP.contains(&tuple.dport)
                    || self.seen(Direction::Reply) > 0
                    || self.others_are_answered(&tuple)
            }
            Proto::Arp | Proto::Other(_) => false,
        }
    }

    /// Whether the same port of the same server answers others: then it should answer this one.
    fn others_are_answered(&self, own: &Tuple) -> bool {
        let server = |t: &Tuple| (t.proto, t.dst, t.dport);
        let others = self.trace.flows.iter().take(MOST_OTHERS);
        let mut others = others.filter(|other| other.id != self.flow.id);
        !own.dst.is_multicast()
            && others.any(|flow| {
                let asked = flow
                    .asked()
                    .is_some_and(|asked| server(&asked) == server(own));
                asked && View { flow, ..*self }.seen(Direction::Reply) > 0
            })
    }

    /// Whether a flow is itself the answer to what another one asked of many: it comes from an address that nobody asked,
    /// and may go to all as well.
    #[must_use]
    pub fn answers_to_many(&self) -> bool {
        let Some(own) = self.tuple() else {
            return false;
        };
        let told = own.proto == Proto::Udp && DHCP_ANSWERS.contains(&(own.sport, own.dport));
        told || self.asked_elsewhere(|asked| {
            is_answer(&own, &asked) || self.answers_echo_of_many(&own, &asked)
        })
    }

    /// Whether what was asked of many was answered by another flow.
    #[must_use]
    pub fn is_answered_apart(&self) -> bool {
        self.tuple().is_some_and(|own| {
            self.asked_elsewhere(|other| {
                is_answer(&other, &own) || self.answers_echo_of_many(&other, &own)
            })
        })
    }

    /// Whether a tuple can be one machine's answer to an echo request for many of the flow's network.
    fn answers_echo_of_many(&self, answer: &Tuple, asked: &Tuple) -> bool {
        let echo = matches!(asked.proto, Proto::Icmp | Proto::Icmp6) && asked.icmp_id != 0;
        let same = (answer.proto, answer.icmp_id) == (asked.proto, asked.icmp_id);
        if !echo || !same || answer.dst != asked.src {
            return false;
        }
        let hops = self.flow.forward.hops.iter().map(|hop| hop.device.netns);
        let mut passed = hops.take(1);
        is_many(asked.dst) || passed.any(|netns| self.host.is_broadcast(netns, asked.dst))
    }

    fn asked_elsewhere(&self, which: impl Fn(Tuple) -> bool) -> bool {
        let mut others = self.trace.flows.iter().filter(|f| f.id != self.flow.id);
        others.any(|other| other.asked().is_some_and(&which))
    }

    fn asks_for_echo(&self) -> bool {
        self.journeys(Direction::Forward)
            .find_map(first_packet)
            .map_or_else(
                || self.tuple().is_some_and(|t| t.icmp_id != 0),
                |p| {
                    matches!(
                        p.transport,
                        Transport::Icmp {
                            icmp_type: icmp::ECHO | icmpv6::ECHO_REQUEST,
                            ..
                        }
                    )
                },
            )
    }

    /// Whether the asker is on this host: its packets come out of a socket here.
    #[must_use]
    pub fn asker_is_here(&self) -> bool {
        self.journeys(Direction::Forward)
            .find_map(|j| j.steps.iter().find(|s| s.event.pkt_type != LOOPBACK))
            .map(|s| !matches!(s.event.detail, Detail::Ingress))
            .or_else(|| {
                self.flow
                    .forward
                    .hops
                    .first()
                    .map(|h| h.side == Side::Egress)
            })
            .unwrap_or(false)
    }

    /// To a group or to all, by a host that was asked for, when the group was not: what hosts say to each other all
    /// the time. It is judged like any flow, but does not stand for those that were meant.
    #[must_use]
    pub fn is_chatter(&self) -> bool {
        let (Some(tuple), Some(run)) = (self.tuple(), &self.host.run) else {
            return false;
        };
        let group = is_many(tuple.dst);
        let meant = run.asked.is_empty() || run.asked.contains(&tuple.dst);
        group && (!meant || DISCOVERY.contains(&tuple.dst) && !run.asked.contains(&tuple.dst))
    }

    /// Only ARP or neighbour discovery beside what was asked for.
    #[must_use]
    pub fn is_aside(&self) -> bool {
        self.kept()
            .find_map(|j| j.steps.first())
            .is_some_and(|s| s.event.flags & FLAG_NEIGHBOR_AUX != 0)
    }

    /// Events of the flow and beside it that its sockets or processes met.
    pub fn events(&self) -> impl Iterator<Item = &'a Event> {
        self.kept()
            .flat_map(|j| &j.steps)
            .map(|s| &s.event)
            .chain(&self.trace.beside)
    }

    /// Whether a tuple is one of the flow's, in either direction.
    #[must_use]
    pub fn owns(&self, tuple: &Tuple) -> bool {
        self.flow
            .tuples
            .iter()
            .any(|(_, own)| own == tuple || own.reversed() == *tuple)
    }
}

/// Whether a tuple can be the answer to what was asked of many, or by a relay.
fn is_answer(answer: &Tuple, asked: &Tuple) -> bool {
    let of_many = is_many(asked.dst)
        && (answer.sport, answer.dport) == (asked.dport, asked.sport)
        && answer.sport != answer.dport
        && (answer.dst == asked.src || is_many(answer.dst) || asked.src.is_unspecified());
    let over_udp = answer.proto == Proto::Udp && asked.proto == Proto::Udp;
    over_udp && (of_many || is_relayed(answer, asked))
}

/// A DHCP server answers a relay at the address in the request (giaddr, RFC 2131 4.1; link-address, RFC 8415 19), not at the one
/// from which it came.
fn is_relayed(answer: &Tuple, asked: &Tuple) -> bool {
    DHCP_SERVERS.iter().any(|port| {
        let ports = [answer.sport, answer.dport, asked.dport];
        ports == [*port; 3] && answer.src == asked.dst
    })
}

/// Journeys that ended at all.
#[must_use]
pub fn total(counts: &FateCounts) -> u64 {
    counts.in_flight
        + counts.delivered
        + counts.dropped
        + counts.left
        + counts.vanished
        + counts.consumed
}

/// The last step of a journey that has an interface.
#[must_use]
pub fn last_seen(journey: &Journey) -> Option<&Event> {
    journey
        .steps
        .iter()
        .rev()
        .map(|s| &s.event)
        .find(|e| e.device.is_some())
        .or_else(|| journey.steps.last().map(|s| &s.event))
}
