//! Packets that left, or came to their socket, without an answer; and refusals from outside.

use std::net::IpAddr;

use crate::host::Host;
use crate::host::facts::OwnerKind;
use crate::host::prefix::holds;
use crate::model::{
    Detail, Device, Direction, Event, Fate, NetNs, Process, Proto, Transport, Tunnel, Tuple,
};
use crate::verdict::{Confidence, Place};

use super::super::candidate::Candidate;
use super::super::causes::{KERNEL_OTHER, REMOTE_UNANSWERED, SOCKET_NONE, SOCKET_UNANSWERED};
use super::super::nat_commands;
use super::super::outranked;
use super::super::ports;
use super::super::recovered::first_packet;
use super::super::remedy::{Remedy, Shell, command, ip, text};
use super::super::routing;
use super::super::translation;
use super::super::view::{GRACE_NS, View, last_seen, total};
use super::super::words;
use super::{Counts, Silence, place_of, tun};

/// Something outside this host refused it: a reset or an ICMP error came in.
pub(super) fn refused_outside(view: &View<'_>, counts: &Counts) -> Option<Silence> {
    if view.tuple()?.proto != Proto::Tcp || counts.forward.left == 0 {
        return None;
    }
    let tuple = view.tuple()?;
    if !view.is_refused() {
        return None;
    }
    let gone = leaving(view).and_then(|e| e.tuple).unwrap_or(tuple);
    let candidate = Candidate::new(
        &SOCKET_NONE,
        left_place(view),
        format!(
            "port closed: {} refused the connection, a TCP reset came back from outside this host",
            words::destination(&tuple)
        ),
    )
    .sure(Confidence::Likely)
    .because(
        "tcp",
        "a reset was the only answer; a firewall on the way can send one too".to_owned(),
    )
    .advise([text(format!(
        "on the machine that has {}: is the server listening? ss -ltnp sport = :{}",
        gone.dst, gone.dport
    ))]);
    Some(Silence::of_requests(view, candidate))
}

/// It arrived or left, an answer is due, and none was seen.
pub(super) fn unanswered(view: &View<'_>, counts: &Counts) -> Option<Silence> {
    let Counts { forward, reply } = counts;
    let expected = view.expects_reply();
    let answers = view.seen(Direction::Reply).max(total(reply));
    let tuple = view.tuple()?;
    let echo = matches!(tuple.proto, Proto::Icmp | Proto::Icmp6);
    let arrived = forward.delivered + forward.left + forward.consumed;
    let mostly_silent = echo && answers * 2 < arrived;
    let left = forward.left > forward.delivered;
    // One-way datagrams that were read are well; of those that left, nobody knows.
    if arrived == 0 || answers > 0 && !mostly_silent || !expected && !left {
        return None;
    }
    let one_way = view.host.run.as_ref().is_some_and(|r| r.one_way);
    if !expected && (tuple.dst.is_multicast() || one_way || view.answers_to_many())
        || view.is_answered_apart()
    {
        return None;
    }
    if answers == 0 && waiting_since(view).is_some() {
        return None;
    }
    let mut rest = error_seen(view, &tuple).map_or_else(String::new, |e| format!("; {e}"));
    if answers > 0 {
        rest = format!(" ({answers} of {arrived} answered){rest}");
    }
    let gone = || {
        let forward = view.journeys(Direction::Forward);
        forward.filter(|j| matches!(j.fate, Fate::Left { .. }))
    };
    // A virtual machine has read it, and is no more due to answer than a process with a socket.
    if !expected && gone().all(|j| tun::is_taken(view, j)) {
        return None;
    }
    let into_tun = || gone().find_map(|j| tun::explain(view, j));
    if left && let Some(candidate) = into_tun() {
        return Some(Silence {
            cause_known: candidate.cause != &KERNEL_OTHER,
            candidate,
            direction: Direction::Forward,
            affected: arrived.saturating_sub(answers),
        });
    }
    let candidate = if left {
        beyond(view, &tuple, &rest)
    } else {
        at_the_socket(view, &tuple, &rest)
    };
    Some(Silence {
        candidate: candidate.sure(if expected {
            Confidence::Likely
        } else {
            Confidence::Possible
        }),
        direction: Direction::Forward,
        affected: arrived.saturating_sub(answers),
        cause_known: true,
    })
}

/// For how long a request without an answer was out when the trace ended, where that is too short to miss one: answers of others
/// took as long.
pub(super) fn waiting_since(view: &View<'_>) -> Option<u64> {
    /// So many times as long as the slowest answer is not too long.
    const PATIENCE: u64 = 2;
    let out = view.trace.now.since(view.flow.first);
    let long_enough = out < GRACE_NS || out < PATIENCE * slowest_answer(view);
    (view.expects_reply() && long_enough).then_some(out)
}

/// The longest time that an answer of the same protocol took, of some flows.
fn slowest_answer(view: &View<'_>) -> u64 {
    /// Enough to know how fast a service is.
    const SOME: usize = 64;
    let proto = view.tuple().map(|tuple| tuple.proto);
    let others = view.trace.flows.iter().map(|flow| View { flow, ..*view });
    let took = others
        .filter(|other| other.tuple().map(|tuple| tuple.proto) == proto)
        .filter_map(|other| {
            let first = |direction| {
                let mut journeys = other.journeys(direction);
                journeys.find_map(|journey| Some(journey.steps.first()?.event.at))
            };
            Some(first(Direction::Reply)?.since(first(Direction::Forward)?))
        });
    took.take(SOME).max().unwrap_or_default()
}

/// What an ICMP error said of the flow.
pub fn error_seen(view: &View<'_>, tuple: &Tuple) -> Option<String> {
    view.journeys(Direction::Error).find_map(|j| {
        let packet = first_packet(j)?;
        let Transport::Icmp {
            icmp_type, code, ..
        } = packet.transport
        else {
            return None;
        };
        let said = words::icmp(tuple.dst.is_ipv6(), icmp_type, code);
        Some(format!("{} says: {said}", packet.tuple?.src))
    })
}

/// The last event of a packet that left.
fn leaving<'a>(view: &View<'a>) -> Option<&'a Event> {
    view.journeys(Direction::Forward)
        .filter(|j| matches!(j.fate, Fate::Left { .. }))
        .find_map(last_seen)
}

fn netns_of(event: Option<&Event>) -> Option<NetNs> {
    event.and_then(|e| e.device.map(|d| d.netns).or(e.netns))
}

/// The interface through which it left.
fn left_place(view: &View<'_>) -> Place {
    place_of(view.host, leaving(view), "device")
}

/// It left this host.
fn beyond(view: &View<'_>, tuple: &Tuple, rest: &str) -> Candidate {
    let place = left_place(view);
    let at = match (&place.namespace, &place.interface) {
        (Some(ns), Some(interface)) => format!("{ns}/{interface}"),
        _ => "its last interface".to_owned(),
    };
    let last = leaving(view);
    let gone = last.and_then(|e| e.tuple).unwrap_or(*tuple);
    let source = gone.src;
    let to = words::destination(tuple);
    // What goes through a tunnel is routed by its outer addresses.
    let tunnel = last.and_then(|e| e.packet.as_ref()?.tunnel);
    let far = tunnel.map_or(gone.dst, |tunnel| tunnel.outer.dst);
    let next_hop = netns_of(last).and_then(|netns| next_hop(view, netns, far));
    let others = last
        .and_then(|e| e.device)
        .map_or_else(Vec::new, |device| other_sources(view, device, &gone));
    // A service on the link itself is asked at such an address; a router passes none of it on.
    let for_the_link = next_hop.is_some() && translation::is_link_local(gone.dst);
    let how = way_out(tunnel, for_the_link);
    let (past, route_missing) = match (last.and_then(|e| e.device), tunnel, next_hop) {
        (Some(device), None, Some(hop)) => passed_over(view.host, device, (gone.dst, hop)),
        _ => None,
    }
    .unzip();
    let past = past.unwrap_or_default();
    let summary = format!(
        "no answer from {to}: it left this host through {at}{how}, nothing came back{rest}{past}"
    );
    let (other_way, instead) = outranked::other_way(view).unzip();
    Candidate::new(&REMOTE_UNANSWERED, place, summary)
        .because("packet", format!("it left with source {source}"))
        .because("route", other_way)
        .because(
            "packet",
            (gone.dst != tuple.dst).then(|| format!("it left for {}", words::destination(&gone))),
        )
        .advise([
            Shell::of(view.host, netns_of(last)).look(
                "is the next hop right?",
                command![..ip(far.is_ipv6()), "route get", far],
            ),
        ])
        .advise(route_missing)
        .advise(for_the_link.then(|| {
            text(format!(
                "who serves {} here: does a rule of this host translate it to a local agent, or does one of its interfaces have it?",
                gone.dst
            ))
        }))
        .advise(others)
        .advise(instead.flatten())
        .advise([trace_on(tunnel, next_hop, &gone)])
}

/// Where to trace next, and what to find out there.
fn trace_on(tunnel: Option<Tunnel>, next_hop: Option<IpAddr>, gone: &Tuple) -> Remedy {
    let far = tunnel.map_or(gone.dst, |tunnel| tunnel.outer.dst);
    let source = gone.src;
    let after = match (tunnel, next_hop) {
        (Some(_), _) => format!("{far}, the tunnel's other end"),
        (None, Some(hop)) => format!("the next hop {hop}, and on {far}"),
        (None, None) => format!("{far} and the routers between"),
    };
    let arrives = match tunnel {
        Some(Tunnel { outer, .. }) => format!(
            "does {outer} arrive, is what is inside taken out and passed on to {} (the FORWARD chain there), is there a way back to {source}?",
            gone.dst
        ),
        None => format!("does it arrive, is there a route back to {source}?"),
    };
    text(format!("trace on {after}: {arrives}"))
}

/// That another node has the destination, which is on the network of the interface by which the packet left for another next
/// hop: as a part of the summary, and what to do. Only lists of the whole cluster tell where pods are.
fn passed_over(
    host: &Host,
    device: Device,
    (to, next_hop): (IpAddr, IpAddr),
) -> Option<(String, Remedy)> {
    let told = |address: IpAddr| {
        host.owned_addresses()
            .filter(move |(own, _)| *own == address)
    };
    let node = told(to).find_map(|(_, owner)| owner.node.as_deref())?;
    let own = host.addresses(device);
    let near = |address: IpAddr| own.iter().any(|a| holds(a.address, a.prefix, address));
    let of_node = host
        .owned_addresses()
        .filter(|(_, owner)| owner.kind == OwnerKind::Node && owner.name == node);
    let addresses: Vec<IpAddr> = of_node.map(|(address, _)| address).collect();
    if addresses.contains(&next_hop) || near(to) {
        return None;
    }
    let there = |address: &IpAddr| near(*address) && !host.is_local(device.netns, *address);
    let address = addresses.into_iter().find(there)?;
    Some((
        format!(
            "; its next hop was {next_hop}, and {node}, where {to} is, has {address} on the same network"
        ),
        text(format!(
            "where no router leads to pods by itself, a route is missing here: to the pods of {node}, via {address}; who makes these routes (the network plugin, a cloud's route controller), and what does its log say?"
        )),
    ))
}

/// How it left, where that is not the plain way.
fn way_out(tunnel: Option<Tunnel>, for_the_link: bool) -> String {
    match tunnel {
        Some(Tunnel { outer, .. }) => format!(" inside of {outer}"),
        None if for_the_link => {
            " by a gateway, though its address is one for the own link".to_owned()
        }
        None => String::new(),
    }
}

/// The gateway to an address, by what the kernel answered or what was read of routes: a packet of another machine's is not
/// routed like one of this namespace's own.
fn next_hop(view: &View<'_>, netns: NetNs, to: IpAddr) -> Option<IpAddr> {
    let answer = routing::answer(view.host, netns, to);
    let asked = answer.and_then(|answer| answer.result.as_ref().ok()?.gateway);
    let read = || {
        let routes = &view.host.towards.get(&(netns, to))?.fact;
        routes.first()?.gateway
    };
    asked.or_else(read)
}

/// Other addresses of the interface by which a packet of its own left, to be tried.
fn other_sources(view: &View<'_>, device: Device, gone: &Tuple) -> Vec<Remedy> {
    /// More are not listed.
    const FEW: usize = 2;
    let own = view.host.addresses(device).iter();
    if !own.map(|a| a.address).any(|a| a == gone.src) {
        return Vec::new();
    }
    let shell = Shell::of(view.host, Some(device.netns));
    let others = translation::siblings(view.host, device, gone.src).take(FEW);
    others
        .map(|other| {
            shell.look(
                format!(
                    "the interface also has {}: is that source answered?",
                    other.address
                ),
                command!["ping -n -c 3 -I", other.address, gone.dst],
            )
        })
        .collect()
}

/// Who has the socket that the packet came to, where one process is all that may have it: kernels before 6.3 do not tell who
/// reads (`sock_recv_length`).
fn holder(view: &View<'_>, last: Option<&Event>) -> Option<String> {
    let arrived = last?.tuple?;
    let sockets = ports::on_port(view.host, netns_of(last)?, &arrived)?;
    let mut holders: Vec<&Process> = sockets.iter().flat_map(|s| &s.holders).collect();
    holders.sort_by_key(|process| process.pid);
    holders.dedup();
    match holders[..] {
        [process] => Some(process.to_string()),
        _ => None,
    }
}

/// It came to its socket here.
fn at_the_socket(view: &View<'_>, tuple: &Tuple, rest: &str) -> Candidate {
    let last = view.journeys(Direction::Forward).find_map(last_seen);
    let place = place_of(view.host, last, "socket");
    let host = netns_of(last).map_or_else(
        || "this host".to_owned(),
        |netns| view.host.namespace(netns),
    );
    let reader = view
        .journeys(Direction::Forward)
        .flat_map(|j| &j.steps)
        .find_map(|s| {
            let process = s.event.process.as_ref()?;
            matches!(s.event.detail, Detail::SocketRead { .. })
                .then(|| format!("{process} read it"))
        });
    let (socket, who) = match reader {
        Some(reader) => ("its socket".to_owned(), reader),
        None => (
            holder(view, last).map_or("its socket".to_owned(), |who| {
                format!("the socket of {who}")
            }),
            "no process was seen to read it".to_owned(),
        ),
    };
    let to = words::destination(tuple);
    let summary = format!(
        "no answer from {to}: it reached {socket} on {host}, {who}, and nothing was sent back{rest}"
    );
    let (other_source, kept) = other_source(view).unzip();
    Candidate::new(&SOCKET_UNANSWERED, place, summary)
        .because("packet", other_source)
        .advise([text(
            "look at the server: is it stuck, and where does it send its answers (ss -anp)?",
        )])
        .advise(kept.flatten())
}

/// That the server saw it from another source than it was sent from, which it may not serve; of what programs of one host say to
/// each other over loopback addresses, how the source is kept.
fn other_source(view: &View<'_>) -> Option<(String, Option<Remedy>)> {
    let host = view.host;
    let changes = view
        .journeys(Direction::Forward)
        .flat_map(translation::changes);
    let change = changes
        .filter(|change| change.before.src != change.after.src)
        .last()?;
    let (sent, seen) = (change.before.src, change.after.src);
    let words = format!(
        "the server saw it from {seen}: {} translated its source, {sent}; one that serves certain sources alone discards it",
        host.namespace(change.netns)
    );
    let own = sent.is_loopback() && !seen.is_loopback() && change.after.dst.is_loopback();
    let kept = || {
        let flow = Tuple {
            src: sent,
            ..change.after
        };
        let text = "leave the source of what programs of this host say to each other as it is";
        nat_commands::kept(host, change.device?, &flow, text)
    };
    Some((words, own.then(kept).flatten()))
}
