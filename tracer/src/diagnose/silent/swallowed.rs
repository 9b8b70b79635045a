//! Packets that the kernel took in and did not answer, and answers that it could not send.

use std::net::IpAddr;

use crate::host::facts::OpenSocket;
use crate::model::{Detail, Device, Direction, Fate, Journey, NetNs, Proto, Transport, Tuple};
use crate::network::route::{Decision, Query, Tables, lookup};
use crate::network::sockets::Wanted;
use crate::uapi::{icmp, icmpv6, tcp};
use crate::verdict::{Confidence, Outcome, Place};

use super::super::candidate::{Candidate, place_on};
use super::super::causes::{NAT_ASYMMETRIC, SOCKET_BACKLOG};
use super::super::local;
use super::super::other_address;
use super::super::ports;
use super::super::recovered::first_packet;
use super::super::remedy::{Remedy, Shell, command, sysctl};
use super::super::rules::neighbor::{self, Unresolved};
use super::super::source_address;
use super::super::view::{View, last_seen};
use super::super::words;
use super::{Counts, Silence, waiting};

/// Consumed by the kernel without the answer that it should have made.
pub(super) fn swallowed(view: &View<'_>, counts: &Counts) -> Option<Silence> {
    if view.answers(counts) > 0 || !view.expects_reply() || view.is_answered_apart() {
        return None;
    }
    let (journey, taken) = Taken::first(view)?;
    let waits = || answer_waits(view, taken.netns, taken.arrived);
    let candidate = match (first_packet(journey)?.transport, taken.function) {
        (
            Transport::Icmp {
                icmp_type: icmp::ECHO | icmpv6::ECHO_REQUEST,
                ..
            },
            "" | "icmp_rcv" | "icmpv6_rcv",
        ) => match taken.echo_ignored() {
            Some(candidate) => candidate,
            // It is not told so. Its answer may wait for a neighbour, before any hook sees it.
            None => return waits(),
        },
        (Transport::Tcp { flags, .. }, "" | "tcp_rcv_state_process")
            if flags & (tcp::ACK | tcp::SYN) == tcp::SYN =>
        {
            let listener = taken.listener();
            if !listener.is_some_and(OpenSocket::is_full)
                && let Some(silence) = waits()
            {
                return Some(silence);
            }
            taken.accept_queue(listener)
        }
        _ => return None,
    };
    let whereabouts = match taken.function {
        "" => String::new(),
        function => format!(" in {function}"),
    };
    Some(Silence::of_requests(
        view,
        candidate.because(
            "socket",
            format!("freed normally{whereabouts}, and nothing was sent back"),
        ),
    ))
}

/// A packet that the kernel took.
struct Taken<'a> {
    view: &'a View<'a>,
    /// Which function of the kernel freed it; empty where it does not say (before 6.3).
    function: &'a str,
    netns: NetNs,
    device: Option<Device>,
    /// Its addresses where it arrived.
    arrived: Tuple,
}

impl<'a> Taken<'a> {
    /// The first request that was taken.
    fn first(view: &'a View<'a>) -> Option<(&'a Journey, Self)> {
        let (journey, event, function) = view
            .journeys(Direction::Forward)
            .filter(|j| matches!(j.fate, Fate::Consumed { .. } | Fate::Delivered))
            .find_map(|j| {
                let mut events = j.steps.iter().rev().map(|s| &s.event);
                events.find_map(|event| match &event.detail {
                    Detail::Consumed { function } => {
                        Some((j, event, function.as_deref().unwrap_or_default()))
                    }
                    _ => None,
                })
            })?;
        let last = last_seen(journey);
        let device = event.device.or(last.and_then(|e| e.device));
        let taken = Self {
            view,
            function,
            netns: device.map(|d| d.netns).or(event.netns)?,
            device,
            arrived: last.and_then(|e| e.tuple).or(view.tuple())?,
        };
        Some((journey, taken))
    }

    fn place(&self) -> Place {
        let host = self.view.host;
        Place {
            interface: self.device.map(|d| host.interface(d)),
            hook: Some("socket".to_owned()),
            function: Some(self.function.to_owned()).filter(|name| !name.is_empty()),
            ..place_on(host, self.netns)
        }
    }

    /// The listener that it is for.
    fn listener(&self) -> Option<&'a OpenSocket> {
        let wanted = Wanted {
            netns: self.netns,
            tuple: self.arrived,
            interface: self.device.map(|d| d.ifindex),
        };
        ports::listeners(self.view.host, &wanted).next()
    }

    /// An echo request that this host may be told to ignore; `None` where it is told to answer.
    fn echo_ignored(&self) -> Option<Candidate> {
        let dst = self.view.tuple()?.dst;
        local::echo_ignored(self.view.host, (self.netns, dst), self.place())
    }

    /// A SYN for which the accept queue of its listener has no room.
    fn accept_queue(&self, listener: Option<&OpenSocket>) -> Candidate {
        let (host, netns) = (self.view.host, self.netns);
        let full = listener.filter(|l| l.is_full());
        let who = full.map_or_else(String::new, |l| {
            format!("; {} does not accept its connections", ports::holder(l))
        });
        let summary = format!(
            "accept queue full on {}: the SYN for {} was taken and not answered{who}",
            host.namespace(netns),
            words::destination(&self.arrived)
        );
        let shell = Shell::of(host, Some(netns));
        Candidate::new(&SOCKET_BACKLOG, self.place(), summary)
            .sure(match (full, listener) {
                (Some(_), _) => Confidence::Certain,
                (None, Some(_)) => Confidence::Possible,
                (None, None) => Confidence::Likely,
            })
            .because(
                "socket",
                listener.map(|l| {
                    format!(
                        "{} connections wait to be accepted, the backlog is {} (Recv-Q and Send-Q of the listener)",
                        l.waiting, l.limit
                    )
                }),
            )
            .advise([
                shell.look("Recv-Q at or above Send-Q: the accept queue is full", "ss -ltn"),
                shell.look(
                    "the largest backlog that a process may ask for",
                    "sysctl net.core.somaxconn net.ipv4.tcp_max_syn_backlog",
                ),
                shell.look(
                    "which counter rises",
                    "nstat -az TcpExtListenOverflows TcpExtListenDrops TcpExtTCPReqQFullDrop",
                ),
            ])
            .advise(full.map(|l| ports::go_on(host, l)).unwrap_or_default())
            .advise(
                listener
                    .filter(|l| !l.is_full())
                    .and_then(|_| cookies(self.view, netns)),
            )
    }
}

/// What counts for half-open connections.
pub const SYN_COOKIES: &str = "net/ipv4/tcp_syncookies";

/// There is room for connections that are done: those that are half open have none, and no cookie stands in for them
/// (tcp_conn_request, net/ipv4/tcp_input.c).
fn cookies(view: &View<'_>, netns: NetNs) -> Option<Remedy> {
    let value = view.host.sysctls.get(&(netns, SYN_COOKIES.to_owned()))?;
    let set = |to: &str| command!["sysctl -w", format!("{}={to}", sysctl(SYN_COOKIES))];
    (value.fact.as_deref() == Some("0")).then(|| {
        Shell::of(view.host, Some(netns))
            .change(
                "SYN cookies are off: with them, connections are taken while half-open ones fill the queue",
                set("1"),
            )
            .undone_by(set("0"))
    })
}

/// The answer to `asker` was made in this namespace, and waits for a neighbour that does not answer.
fn answer_waits(view: &View<'_>, netns: NetNs, arrived: Tuple) -> Option<Silence> {
    let asker = arrived.src;
    let hops = next_hops(view, netns, arrived.reversed());
    let who = neighbor::pending(view.trace).find(|who| {
        let next = who.address == asker || hops.contains(&who.address);
        who.device.netns == netns && (next || leads(view, netns, who))
    })?;
    Some(Silence {
        candidate: waiting::stuck_at(view.trace, view.host, who).because(
            "packet",
            format!(
                "the request arrived; the answer to {asker} waits for {}",
                who.address
            ),
        ),
        direction: Direction::Reply,
        affected: view.seen(Direction::Forward),
        cause_known: true,
    })
}

/// The gateways by which a namespace sends an answer, by its rules and tables.
fn next_hops(view: &View<'_>, netns: NetNs, answer: Tuple) -> Vec<IpAddr> {
    let tables = Tables::of(view.host, netns);
    match lookup(&tables, &Query::output(answer, 0)).decision {
        Decision::Route { hops, .. } => hops.iter().filter_map(|hop| hop.gateway).collect(),
        _ => Vec::new(),
    }
}

/// Whether a neighbour is the gateway of a route that was asked for in this namespace.
fn leads(view: &View<'_>, netns: NetNs, who: &Unresolved) -> bool {
    view.host.routes.iter().any(|r| {
        r.fact.netns == netns
            && r.fact
                .result
                .as_ref()
                .is_ok_and(|route| route.gateway == Some(who.address))
    })
}

/// The answer failed at its own route lookup.
pub(super) fn answer_not_sent(view: &View<'_>, counts: &Counts) -> Option<Silence> {
    if counts.forward.delivered + counts.forward.consumed == 0 || view.answers(counts) > 0 {
        return None;
    }
    let arrived = view
        .journeys(Direction::Forward)
        .filter_map(last_seen)
        .next_back()?;
    let asker = arrived.tuple?.src;
    let netns = arrived.device.map(|d| d.netns).or(arrived.netns)?;
    let failure = local::failures(view.trace, view.host)
        .into_iter()
        .find(|f| f.dst == asker && f.netns.is_none_or(|ns| ns == netns))?;
    let candidate = local::candidate(view.trace, view.host, &failure, Some(netns))?
        .leads_to(Outcome::Unanswered)
        .because(
            "route",
            format!("the request arrived; the answer to {asker} could not be sent"),
        );
    Some(Silence::of_requests(view, candidate))
}

/// A UDP server that is bound to no address of its own answers with the one that its route prefers: where that is
/// not the one that was asked, no socket of the asker takes the answer, and it is none of the flow's packets.
pub(super) fn answered_with_another_address(view: &View<'_>, counts: &Counts) -> Option<Silence> {
    let tuple = view.tuple()?;
    if tuple.proto != Proto::Udp
        || counts.forward.delivered == 0
        || view.answers(counts) > 0
        || !view.expects_reply()
    {
        return None;
    }
    let (event, socket) = view.journeys(Direction::Forward).find_map(|j| {
        j.steps
            .iter()
            .map(|s| &s.event)
            .filter(|e| matches!(e.detail, Detail::SocketReached))
            .find_map(|e| Some((e, e.socket?)))
    })?;
    let open = socket.tuple.is_some_and(|t| t.src.is_unspecified());
    let arrived = event.tuple.unwrap_or(tuple);
    let chooses = source_address::preferred(view, socket.netns, arrived.src)?;
    if !open || chooses == arrived.dst || !view.host.is_local(socket.netns, chooses) {
        return None;
    }
    let name = view.host.namespace(socket.netns);
    let last = view.journeys(Direction::Forward).find_map(last_seen);
    let place = Place {
        interface: last.and_then(|e| e.device).map(|d| view.host.interface(d)),
        ..place_on(view.host, socket.netns)
    };
    let summary = format!(
        "no answer from {}: it reached its socket on {name}, which is bound to no address; its answers leave with source {chooses}, which {} never asked",
        words::destination(&arrived),
        arrived.src
    );
    let candidate = Candidate::new(&NAT_ASYMMETRIC, place, summary)
        .leads_to(Outcome::Unanswered)
        .sure(Confidence::Likely)
        .because(
            "route",
            format!(
                "to {}, {name} prefers source {chooses}, and {} was asked",
                arrived.src, arrived.dst
            ),
        )
        .because(
            "socket",
            "could also be socket.unanswered: that the server answers at all was not seen"
                .to_owned(),
        )
        .advise(other_address::advice(
            view.host,
            Some(socket.netns),
            &arrived,
            chooses,
        ));
    Some(Silence::of_requests(view, candidate))
}
