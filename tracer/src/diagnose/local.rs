//! What fails in the sender itself, before any packet exists: route lookups in its own context.

use std::net::IpAddr;

use crate::correlate::Trace;
use crate::host::Host;
use crate::model::{
    Detail, Device, Event, FibEvent, IfIndex, KtimeNs, NetNs, Process, Proto, Tuple,
};
use crate::network::route::Query;
use crate::uapi::errno::{EAGAIN, ENETUNREACH};
use crate::uapi::fib::LOOPBACK_IFINDEX;
use crate::uapi::rtnetlink::RT_TABLE_LOCAL;
use crate::verdict::{Affected, Confidence, Evidence, Outcome, Place, Verdict};

use super::candidate::{Candidate, Specificity, evidence, place_on};
use super::causes::SOCKET_SILENT;
use super::loss::{apart, tuple_of};
use super::remedy::{self, Remedy, Shell, command, sysctl, text};
use super::routing;
use super::rules::refusal::Refusal;
use super::rules::{link, ready, route};

/// Lookups of one send are microseconds apart.
const SAME_SEND_NS: u64 = 200_000;
/// So soon a program that tries both families tries the other one (RFC 8305, and resolvers that sort what they found).
const FALLBACK_NS: u64 = 3_000_000_000;

/// Lookups of one sender for one destination that found no route.
#[derive(Clone, Debug)]
pub struct Failure {
    /// What was looked up.
    pub tuple: Tuple,
    /// For where.
    pub dst: IpAddr,
    /// Where, as far as known.
    pub netns: Option<NetNs>,
    /// Who.
    pub process: Option<Process>,
    /// Positive errno of the last lookup.
    pub error: u32,
    /// Table of the last lookup.
    pub table: u32,
    /// How many.
    pub count: u64,
    /// When first.
    pub at: KtimeNs,
}

/// Failed lookups for packets of this host itself, by destination and namespace. A table that has no match is no
/// failure when the next one has.
#[must_use]
pub fn failures(trace: &Trace, host: &Host) -> Vec<Failure> {
    let lookups: Vec<Lookup<'_>> = Lookup::all(trace).collect();
    let failed = lookups.iter().filter(|lookup| {
        lookup.fib.error != 0
            && is_asked_for(&lookup.tuple, trace, host)
            && !lookup.is_recovered(&lookups)
            && !lookup.goes_on(&lookups)
            && !lookup.falls_back(&lookups)
    });
    let mut list: Vec<Failure> = Vec::new();
    for Lookup { event, fib, tuple } in failed {
        let netns = event.netns.or(event.socket.map(|s| s.netns));
        let known = list
            .iter_mut()
            .find(|f| f.dst == tuple.dst && (f.netns == netns || netns.is_none()));
        match known {
            Some(failure) => {
                failure.count += 1;
                if fib.table != RT_TABLE_LOCAL {
                    (failure.error, failure.table) = (fib.error, fib.table);
                }
            }
            None => list.push(Failure {
                tuple: *tuple,
                dst: tuple.dst,
                netns,
                process: event.process.clone().filter(|_| fib.local),
                error: fib.error,
                table: fib.table,
                count: 1,
                at: event.at,
            }),
        }
    }
    list
}

/// A route lookup for a packet of this host itself.
struct Lookup<'t> {
    event: &'t Event,
    fib: &'t FibEvent,
    tuple: Tuple,
}

impl<'t> Lookup<'t> {
    fn all(trace: &'t Trace) -> impl Iterator<Item = Self> {
        trace.beside.iter().filter_map(|event| match &event.detail {
            Detail::Fib(fib) if is_own(fib) => Some(Self {
                event,
                fib,
                tuple: tuple_of(event)?,
            }),
            _ => None,
        })
    }

    fn is_of_same_send(&self, other: &Self) -> bool {
        other.tuple.dst == self.tuple.dst
            && other.event.cpu == self.event.cpu
            && apart(other.event.at, self.event.at) < SAME_SEND_NS
    }

    /// Whether a later one of the same send found a route.
    fn is_recovered(&self, lookups: &[Self]) -> bool {
        lookups.iter().any(|later| {
            later.event.at >= self.event.at && later.fib.error == 0 && self.is_of_same_send(later)
        })
    }

    /// The local table is searched first; where nothing else is, a policy rule may have ended the lookup.
    fn goes_on(&self, lookups: &[Self]) -> bool {
        self.fib.table == RT_TABLE_LOCAL
            && lookups
                .iter()
                .any(|other| other.fib.table != RT_TABLE_LOCAL && self.is_of_same_send(other))
    }
}

impl Lookup<'_> {
    /// Whether the same process found a way to the same port in the other family just then: it tries what a name has, on hosts
    /// that have one family alone all day.
    fn falls_back(&self, lookups: &[Self]) -> bool {
        let who = self.event.process.as_ref().map(|process| process.pid);
        let family = |lookup: &Self| lookup.tuple.dst.is_ipv6();
        // No match: in IPv4 the table itself says EAGAIN.
        matches!(self.fib.error, ENETUNREACH | EAGAIN)
            && who.is_some()
            && lookups.iter().any(|other| {
                other.fib.error == 0
                    && family(other) != family(self)
                    && other.tuple.dport == self.tuple.dport
                    && apart(other.event.at, self.event.at) < FALLBACK_NS
                    && other.event.process.as_ref().map(|process| process.pid) == who
            })
    }
}

fn is_own(fib: &FibEvent) -> bool {
    fib.iif == LOOPBACK_IFINDEX || fib.local && fib.iif == 0
}

/// Lookups that found a route for packets of this host itself that were asked for.
pub fn successes<'t>(trace: &'t Trace, host: &'t Host) -> impl Iterator<Item = &'t Event> {
    trace.beside.iter().filter(move |e| {
        let own = matches!(&e.detail, Detail::Fib(f) if f.error == 0 && is_own(f));
        own && tuple_of(e).is_some_and(|t| is_asked_for(&t, trace, host))
    })
}

/// Who found a route for what was asked for, where no packet came: it only asked, or got an error for another reason
/// than the route, which leaves no event. With what to ask it.
#[must_use]
pub fn found_a_way(trace: &Trace, host: &Host) -> Option<(Evidence, Remedy)> {
    let (event, tuple, fib) = successes(trace, host).find_map(|e| match &e.detail {
        Detail::Fib(fib) => Some((e, tuple_of(e)?, fib)),
        _ => None,
    })?;
    let who = event.process.as_ref()?;
    let through = event
        .netns
        .map(|netns| Device {
            netns,
            ifindex: IfIndex(fib.oif),
        })
        .and_then(|device| host.link(device));
    let way = through.map_or_else(String::new, |link| {
        format!(" through {} (MTU {})", link.name, link.mtu)
    });
    let found = evidence(
        "route",
        format!(
            "{who} looked up a route to {} and found one{way}; no packet followed",
            tuple.dst
        ),
    );
    let why = text(format!(
        "what did {} say? \"Message too long\" (EMSGSIZE): larger than the MTU, and it may not be fragmented; \"Operation not permitted\" (EPERM): a cgroup's program, an LSM or IPsec refused it; \"Cannot assign requested address\" (EADDRNOTAVAIL): no local port is left, or the address it wants to send from is not here",
        who.comm
    ));
    Some((found, why))
}

/// Whether a lookup is surely for a packet that was asked for, or for the answer to one. The kernel lets pass what a
/// lookup does not know (its protocol, its ports): where the expression names no address, that may be any program on
/// the machine.
#[must_use]
pub fn is_asked_for(tuple: &Tuple, trace: &Trace, host: &Host) -> bool {
    let Some(run) = &host.run else { return true };
    let has_ports = matches!(tuple.proto, Proto::Tcp | Proto::Udp | Proto::Sctp);
    match tuple.proto {
        _ if has_ports && tuple.dport != 0 => {
            let asked = |port| {
                let mut ports = run.asked_ports.iter();
                ports.any(|(first, last)| (*first..=*last).contains(&port))
            };
            run.asked_ports.is_empty()
                || asked(tuple.dport)
                || asked(tuple.sport)
                || is_followed(tuple, trace)
        }
        Proto::Other(0) => run.names_addresses,
        _ => !has_ports || run.names_addresses,
    }
}

/// Whether a lookup goes to an end of a flow: translation gives it ports that nobody asked for.
fn is_followed(tuple: &Tuple, trace: &Trace) -> bool {
    let to = (tuple.dst, tuple.dport);
    trace
        .flows
        .iter()
        .flat_map(|flow| &flow.tuples)
        .any(|(_, own)| to == (own.dst, own.dport) || to == (own.src, own.sport))
}

/// The owner of the socket, by the table in which the lookup ended: that of rules for the sockets of some users alone.
#[must_use]
pub fn owner_meant(host: &Host, netns: NetNs, failure: &Failure) -> Option<u32> {
    let rules = &host.rules.get(&(netns, failure.dst.is_ipv6()))?.fact;
    let mut there = rules.iter().filter(|rule| rule.table == failure.table);
    let (first, _) = there.next()?.uid?;
    there.all(|rule| rule.uid.is_some()).then_some(first)
}

/// Why a lookup failed.
#[must_use]
pub fn candidate(
    trace: &Trace,
    host: &Host,
    failure: &Failure,
    netns: Option<NetNs>,
) -> Option<Candidate> {
    let netns = failure.netns.or(netns);
    let dst = failure.dst;
    // The answer to a question tells IPv6's unreachable routes from none.
    let answer = netns.and_then(|ns| routing::answer(host, ns, dst));
    let answered = answer.and_then(|a| a.result.as_ref().err().copied());
    let told = match answered {
        Some(error) => route::cause_of_answer(error),
        None => None,
    }
    .or_else(|| route::cause_of_errno(failure.error, dst.is_ipv6()))?;
    // A socket has no mark unless it was given one.
    let query = Query {
        uid: netns.and_then(|ns| owner_meant(host, ns, failure)),
        ..Query::output(failure.tuple, 0)
    };
    let refusal = Refusal::new(told, host, netns, query);
    if refusal.by.is_none() {
        // A lookup in the local table alone is no failure where no rule ended it.
        if failure.table == RT_TABLE_LOCAL && answered.is_none() {
            return None;
        }
        let gone = netns.and_then(|ns| without_way(trace, host, ns, dst));
        if gone.is_some() {
            return gone;
        }
    }
    let name = netns.map_or_else(|| "the sender".to_owned(), |ns| host.namespace(ns));
    let place = Place {
        hook: Some("route".to_owned()),
        ..place_on(host, netns)
    };
    let shell = Shell::of(host, netns);
    Some(
        Candidate::new(
            refusal.cause,
            place,
            format!("{} on {name}", refusal.words()),
        )
        .explains(Specificity::Fact)
        .because("route", refusal.evidence())
        .because(
            "route",
            format!(
                "lookup of {dst} in table {}: {}",
                failure.table,
                routing::errno_words(failure.error)
            ),
        )
        .because("route", answer.map(|a| routing::answer_words(host, a)))
        .advise(refusal.advice(&shell, None)),
    )
}

/// No route, since the interface is down or IPv6 is turned off.
fn without_way(trace: &Trace, host: &Host, netns: NetNs, dst: IpAddr) -> Option<Candidate> {
    if let Some(off) = ready::disabled(host, netns, dst) {
        return Some(off);
    }
    let down = routing::downed_way(host, netns, dst)?;
    link::is_down(trace, host, down.device).then(|| {
        link::down(host, down.device, None, &[dst]).because(
            "route",
            format!("no route to {dst}: it went with {}", down.name),
        )
    })
}

/// The verdict of a sender that got an error instead of sending.
#[must_use]
pub fn verdict(trace: &Trace, host: &Host, failure: &Failure) -> Option<Verdict> {
    let candidate = candidate(trace, host, failure, None)?;
    let who = failure
        .process
        .as_ref()
        .map_or_else(|| "the sender".to_owned(), ToString::to_string);
    let mut list = candidate.evidence;
    list.push(evidence(
        "socket",
        format!(
            "{who} asked {} times and got an error; no packet was made",
            failure.count
        ),
    ));
    Some(Verdict {
        outcome: Outcome::NotSent,
        cause: Some(candidate.cause.code.to_owned()),
        confidence: if failure.netns.is_some() {
            Confidence::Certain
        } else {
            Confidence::Likely
        },
        summary: format!("not sent: {}, {who} got an error", candidate.summary),
        place: Some(candidate.place),
        packets: Affected {
            seen: 0,
            affected: 0,
        },
        evidence: list,
        advice: remedy::advice(&candidate.remedies),
    })
}

/// The sysctl that silences echo to this destination.
#[must_use]
pub fn echo_sysctl(host: &Host, netns: NetNs, dst: IpAddr) -> &'static str {
    match (dst.is_ipv6(), dst.is_multicast()) {
        (true, true) => "net/ipv6/icmp/echo_ignore_multicast",
        (true, false) => "net/ipv6/icmp/echo_ignore_all",
        (false, false) if !host.is_broadcast(netns, dst) => "net/ipv4/icmp_echo_ignore_all",
        (false, _) => "net/ipv4/icmp_echo_ignore_broadcasts",
    }
}

/// An echo request that this namespace may be told to ignore: `certain` where the setting says so, `likely` where it was not
/// read; `None` where it is told to answer.
#[must_use]
pub fn echo_ignored(host: &Host, (netns, dst): (NetNs, IpAddr), place: Place) -> Option<Candidate> {
    let name = echo_sysctl(host, netns, dst);
    let read = host.sysctls.get(&(netns, name.to_owned()));
    let value = read.and_then(|value| value.fact.clone());
    let confidence = match value.as_deref() {
        Some("0") => return None,
        Some(_) => Confidence::Certain,
        None => Confidence::Likely,
    };
    let dotted = sysctl(name);
    let set = |to: u8| command!["sysctl -w", format!("{dotted}={to}")];
    let shell = Shell::of(host, Some(netns));
    let told = match value {
        Some(_) => "is told",
        None => "may be told",
    };
    let summary = format!(
        "echo request reached {} and is not answered: this host {told} to ignore it",
        host.namespace(netns)
    );
    let change = value.as_ref().map(|before| {
        let back = command!["sysctl -w", format!("{dotted}={before}")];
        shell.change("let it answer", set(0)).undone_by(back)
    });
    let candidate = Candidate::new(&SOCKET_SILENT, place, summary)
        .sure(confidence)
        .because("sysctl", value.map(|value| format!("{dotted} = {value}")));
    let look = shell.look("look first", command!["sysctl", dotted]);
    Some(candidate.advise([look]).advise(change))
}
