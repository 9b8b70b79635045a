//! Drops at sockets: nobody listens, no room.

use crate::host::facts::{OpenSocket, Question, TableRoute};
use crate::model::{Detail, Device, Direction, Event, Journey, KtimeNs, Proto, Transport, Tuple};
use crate::network::reach;
use crate::network::route::route_words;
use crate::network::sockets::{Refusal, Wanted, accept_sysctl, refusal, vrf_of};
use crate::sites;
use crate::uapi::icmpv6;
use crate::uapi::rtnetlink::RT_TABLE_LOCAL;
use crate::uapi::tcp::{ACK, SYN};
use crate::verdict::Confidence;

use super::super::candidate::{Candidate, Specificity};
use super::super::causes::{
    SOCKET_AUTHENTICATION, SOCKET_BACKLOG, SOCKET_BUFFER, SOCKET_NONE, SOCKET_REFUSED,
};
use super::super::left_over::has_given_up;
use super::super::local;
use super::super::loss::{Loss, is_reset, is_syn};
use super::super::needs::Asked;
use super::super::ports;
use super::super::remedy::{Remedy, Shell, command, sysctl, text};
use super::super::route_commands;
use super::super::words;
use super::l2::Misled;
use super::l2::unredirected::{self, taken_by_the_stack};
use super::neighbor::{self, Unresolved};

/// `where.hook` of this family.
const HOOK: &str = "socket";

/// No socket expects it.
pub(super) fn is_unexpected(loss: &Loss<'_>) -> bool {
    // Kernels before 5.17 give no reason: there the answer in the same call tells, or where it came.
    let told = loss.info.reason.is_some() || loss.told().is_some() || is_taken_in(loss);
    sites::NO_SOCKET.is(loss.info) && told
}

/// Whether the packet had another destination before it came here.
pub(in crate::diagnose) fn is_translated(loss: &Loss<'_>, tuple: &Tuple) -> bool {
    let asked = loss.flow.asked();
    asked.is_some_and(|asked| (asked.dst, asked.dport) != (tuple.dst, tuple.dport))
}

/// Nobody listens.
pub fn none(loss: &Loss<'_>) -> Option<Candidate> {
    if !is_unexpected(loss) {
        return None;
    }
    let tuple = loss.tuple()?;
    let near = Near::of(loss, &tuple);
    let told = loss.told();
    let answer = told.as_ref().map_or_else(
        || "; no answer was seen (ICMP errors are limited in rate)".to_owned(),
        |t| format!("; answered with {t}"),
    );
    if has_given_up(&loss.view()) {
        let summary = format!(
            "nothing on {} waits for this answer (any more): the request was not seen, so it was sent before the trace or by another way{answer}",
            loss.namespace_words()
        );
        let candidate = Candidate::new(&SOCKET_NONE, loss.place_at_device(HOOK), summary);
        return Some(candidate.explains(Specificity::Reason));
    }
    if let Some(late) = Late::of(loss, &tuple) {
        return Some(late.candidate(loss, &tuple));
    }
    let candidate = Candidate::new(
        &SOCKET_NONE,
        loss.place_at_device(HOOK),
        format!(
            "port closed on {}: nobody listens on {}{}{answer}",
            loss.namespace_words(),
            words::destination(&tuple),
            near.but()
        ),
    )
    .explains(Specificity::Reason)
    .because(
        "icmp",
        told.map(|t| format!("{t} was sent back in the same call")),
    )
    .advise([listing(loss, &tuple)])
    .advise(accept_in_vrf(loss, &tuple));
    if let Some(misled) = handed_up(loss, &tuple) {
        let (kind, text) = misled.evidence;
        let mut candidate = candidate.because(kind, text).explains(Specificity::Linked);
        candidate.summary += &format!("; {}", misled.words);
        candidate.remedies = misled.advice;
        return Some(candidate);
    }
    let candidate = match LoneRoute::of(loss, &tuple) {
        Some(route) => route.explain(candidate, loss, &tuple),
        None => candidate.advise([near.advice(loss, &tuple)]),
    };
    Some(with_sockets(candidate, loss, &tuple, &near))
}

/// What a namespace refused that keeps the address of a machine elsewhere, to which its interfaces hand all that comes in: the
/// redirect there is missing.
fn handed_up(loss: &Loss<'_>, tuple: &Tuple) -> Option<Misled> {
    is_elsewhere_too(loss, tuple)
        .then(|| taken_by_the_stack(loss))
        .flatten()
}

/// Whether another namespace has the destination's address as well.
fn is_elsewhere_too(loss: &Loss<'_>, tuple: &Tuple) -> bool {
    let host = loss.host;
    let mut owners = host.owners(tuple.dst);
    !tuple.dst.is_loopback()
        && owners.any(|owner| Some(owner.netns) != loss.netns() && !host.is_gone(owner))
}

/// The interfaces of a namespace that refused what is for a machine elsewhere too.
pub(in super::super) fn ask_handed_up(loss: &Loss<'_>, list: &mut Asked) {
    if let (Some(tuple), Some(netns)) = (loss.tuple(), loss.netns())
        && is_elsewhere_too(loss, &tuple)
    {
        unredirected::ask(loss.host, netns, list);
    }
}

/// A datagram that answers one which was seen to leave the same socket, or the answer to a connection's opening: the socket is
/// closed by now.
struct Late<'a> {
    /// How long after it, in nanoseconds.
    after: u64,
    /// The neighbour for which the question waited before it left, and how long, in nanoseconds.
    waited: Option<(Unresolved, u64)>,
    /// Who answered and how long that took, where it was seen.
    served: Option<(&'a Event, u64)>,
}

impl<'a> Late<'a> {
    fn of(loss: &Loss<'a>, tuple: &Tuple) -> Option<Self> {
        let netns = loss.netns()?;
        let opening = || {
            let packet = loss.event.packet.as_ref();
            let flags = packet.map(|packet| packet.transport);
            matches!(flags, Some(Transport::Tcp { flags, .. }) if flags & (SYN | ACK) == SYN | ACK)
        };
        let answers =
            loss.journey.direction == Direction::Reply && (tuple.proto == Proto::Udp || opening());
        if !answers || !loss.host.is_local(netns, tuple.dst) {
            return None;
        }
        let left_here = |journey: &&Journey| {
            let first = journey.steps.first().map(|step| &step.event);
            first.is_some_and(|event| {
                let asked = event.original.or(event.tuple);
                let own = asked.is_some_and(|asked| asked.reversed() == *tuple);
                own && event.device.map(|d| d.netns) == Some(netns)
            })
        };
        let view = loss.view();
        let request = view.journeys(Direction::Forward).find(left_here)?;
        let left = &request.steps.first()?.event;
        let waited = waited_for_neighbour(loss, left, tuple);
        let asked = left.at.0 - waited.map_or(0, |(_, wait)| wait);
        let (taken, sent) = (request.steps.last(), loss.journey.steps.first());
        let served = taken.zip(sent).and_then(|(taken, sent)| {
            let (taken, sent) = (&taken.event, &sent.event);
            let there = taken.netns.or(taken.device.map(|d| d.netns));
            let same = there.is_some() && sent.device.map(|d| d.netns) == there;
            (same && sent.at > taken.at).then(|| (taken, sent.at.since(taken.at)))
        });
        let after = loss.event.at.since(KtimeNs(asked));
        Some(Self {
            after,
            // Else it has little to do with it.
            waited: waited.filter(|(_, wait)| wait * 2 >= after),
            served,
        })
    }

    fn candidate(&self, loss: &Loss<'_>, tuple: &Tuple) -> Candidate {
        let name = loss.namespace_words();
        let after = words::duration(self.after);
        let waited = self.waited.map_or_else(String::new, |(who, wait)| {
            format!(
                ", which had waited {} of it for the neighbour {} on {},",
                words::duration(wait),
                who.address,
                words::interface(loss.host, who.device)
            )
        });
        let summary = format!(
            "the answer to {} came {after} after the question{waited} and the socket of {name} that asked is closed",
            words::destination(tuple)
        );
        let served = self.served.map(|(event, took)| {
            let who = event
                .process
                .as_ref()
                .map_or_else(|| "the server".to_owned(), |process| process.to_string());
            format!("{who} took {} of it", words::duration(took))
        });
        Candidate::new(&SOCKET_NONE, loss.place_at_device(HOOK), summary)
            .explains(Specificity::Linked)
            .because("socket", served)
            .advise([text(match self.waited {
                Some(_) => "why did the neighbour take so long to answer? when a question for it is lost, the next is sent a second later",
                None => "why does the answer take so long? or let who asks wait longer: its timeout (of a resolver `options timeout` in resolv.conf) is shorter than that",
            })])
    }
}

/// The neighbour that was asked for between a question's look-up by its socket and its leaving, and the time between the two in
/// nanoseconds.
fn waited_for_neighbour(
    loss: &Loss<'_>,
    left: &Event,
    answer: &Tuple,
) -> Option<(Unresolved, u64)> {
    let device = left.device?;
    // A connection has no port yet while its way is looked up.
    let asks = |asked: Tuple| {
        let port = asked.sport == 0 || asked.sport == answer.dport;
        port && (asked.dst, asked.dport) == (answer.src, answer.sport)
    };
    let beside = || loss.trace.beside.iter();
    let looked = beside().rev().find(|event| {
        let here = event.netns == Some(device.netns) && event.at < left.at;
        here && matches!(event.detail, Detail::Fib(_)) && event.tuple.is_some_and(asks)
    })?;
    let who = beside().filter_map(neighbor::unresolved_in).find(|who| {
        let asked = neighbor::asked_between(loss.trace, *who, looked.at, left.at.0);
        who.device == device && asked
    })?;
    Some((who, left.at.since(looked.at)))
}

/// A segment of a connection that the one to whom it came does not have: a listener took it, and reset it. The connection is
/// older than the server, or was another machine's.
pub fn unknown_connection(loss: &Loss<'_>) -> Option<Candidate> {
    const FIN: u8 = 1;
    const RST: u8 = 4;
    let (netns, tuple) = (loss.netns()?, loss.tuple()?);
    let Transport::Tcp { flags, payload, .. } = loss.event.packet.as_ref()?.transport else {
        return None;
    };
    // A bare acknowledgement may be the end of a handshake, with a SYN cookie that is wrong.
    let within = payload > 0 || flags & FIN != 0;
    let of_a_connection = within && flags & ACK != 0 && flags & (SYN | RST) == 0;
    let told = loss.told().filter(|_| of_a_connection)?;
    let known = ports::connection(loss.host, netns, &tuple);
    let sockets = ports::on_port(loss.host, netns, &tuple)?;
    let listener = sockets.iter().find(|socket| socket.listens());
    if known.is_some_and(|socket| !socket.holders.is_empty()) {
        return None;
    }
    let state = match (known, listener) {
        (Some(_), _) => "its process closed the connection".to_owned(),
        (None, Some(socket)) => format!("{} only listens there", ports::holder(socket)),
        (None, None) => "it is gone there".to_owned(),
    };
    let name = loss.namespace_words();
    let summary = format!(
        "{name} does not have the connection {tuple} (any more): {state}; it answered with {told}"
    );
    let shell = Shell::of(loss.host, Some(netns));
    let candidate = Candidate::new(&SOCKET_REFUSED, loss.place_at_device(HOOK), summary)
        .explains(Specificity::Linked)
        .because(
            "tcp",
            "a segment within a connection came to a socket that is not of this connection: the server was started again since, or another endpoint had it".to_owned(),
        );
    Some(candidate.advise([
        shell.look(
            "the connections that it has",
            command!["ss -tanp sport =", format!(":{}", tuple.dport)],
        ),
        text(
            "let the client connect anew (a pool that keeps connections: check them before use, TCP keepalive); why did the server go: started again, failed over, or translated to another endpoint since?",
        ),
    ]))
}

/// A route of type `local` for an address that no interface of the namespace has, while another machine has it: left over,
/// as by a program that moves addresses.
struct LoneRoute<'a> {
    route: &'a TableRoute,
    owner: Device,
}

impl<'a> LoneRoute<'a> {
    fn of(loss: &Loss<'a>, tuple: &Tuple) -> Option<Self> {
        let netns = loss.netns()?;
        if loss.host.is_local(netns, tuple.dst) {
            return None;
        }
        let whole = if tuple.dst.is_ipv6() { 128 } else { 32 };
        let routes = &loss.host.towards.get(&(netns, tuple.dst))?.fact;
        let mut local = routes.iter().filter(|route| route.table == RT_TABLE_LOCAL);
        let route = local.find(|route| route.kind == "local" && route.length == whole)?;
        let owner = *reach::owners(loss.host, netns, tuple.dst).first()?;
        Some(Self { route, owner })
    }

    fn explain(&self, mut candidate: Candidate, loss: &Loss<'_>, tuple: &Tuple) -> Candidate {
        let Some(netns) = loss.netns() else {
            return candidate;
        };
        let words = route_words(loss.host, netns, self.route);
        candidate.summary += &format!(
            "; {} is no address of its interfaces, and taken for one by the route {words}: {} has it",
            tuple.dst,
            words::interface(loss.host, self.owner)
        );
        let shell = Shell::of(loss.host, Some(netns));
        candidate.advise(route_commands::delete(
            &shell,
            (loss.host, netns),
            self.route,
            "delete that route, which no address stands for",
        ))
    }
}

/// What to read of the route that takes a packet in for an address which no interface has.
pub fn local_route(loss: &Loss<'_>) -> Option<Question> {
    let (netns, dst) = (loss.netns()?, loss.dst()?);
    (!loss.host.is_local(netns, dst)).then_some(Question::RoutesTowards { netns, dst })
}

/// Who listens close to where a packet went.
struct Near {
    /// On its port, at another address, device or peer.
    elsewhere: Vec<String>,
    /// On other ports, where a rule chose this one: that may be the rule's mistake.
    others: Vec<(String, u16)>,
}

impl Near {
    fn of(loss: &Loss<'_>, tuple: &Tuple) -> Self {
        let Some(netns) = loss.netns() else {
            return Self {
                elsewhere: Vec::new(),
                others: Vec::new(),
            };
        };
        let wanted = Wanted {
            netns,
            tuple: *tuple,
            interface: loss.came_in().or(loss.device()).map(|d| d.ifindex),
        };
        let others = if is_translated(loss, tuple) {
            ports::on_other_ports(loss.host, netns, tuple)
        } else {
            Vec::new()
        };
        Self {
            elsewhere: ports::elsewhere(loss.host, &wanted),
            others,
        }
    }

    /// As a part of the summary.
    fn but(&self) -> String {
        match (self.elsewhere.first(), self.others.first()) {
            (Some(who), _) => format!("; {who}"),
            (None, Some((who, port))) => format!("; {who} listens on port {port}"),
            (None, None) => String::new(),
        }
    }

    fn advice(&self, loss: &Loss<'_>, tuple: &Tuple) -> Remedy {
        match self.elsewhere.first() {
            Some(who) => text(format!(
                "{who}: have it listen on {} or on all addresses (0.0.0.0, ::), from all interfaces and peers",
                tuple.dst
            )),
            None => self.wrong_port(loss, tuple),
        }
    }

    /// A rule chose the port: whose that is, and which port somebody listens on.
    fn wrong_port(&self, loss: &Loss<'_>, tuple: &Tuple) -> Remedy {
        let asked = loss.flow.asked().filter(|asked| asked.dst != tuple.dst);
        match self.others.first() {
            Some((_, right)) => text(format!(
                "correct the port in whatever translates {}to {} (a service's targetPort): {right} instead of {}; or have the server listen on {}",
                asked.map_or_else(String::new, |asked| format!(
                    "{} ",
                    words::destination(&asked)
                )),
                words::destination(tuple),
                tuple.dport,
                tuple.dport
            )),
            None => text(
                "start the server; one bound to 127.0.0.1, another address, device or peer does not take it either",
            ),
        }
    }
}

/// What came in through a VRF, and a server listens that is bound to no interface.
fn accept_in_vrf(loss: &Loss<'_>, tuple: &Tuple) -> Option<Remedy> {
    let netns = loss.netns()?;
    let wanted = Wanted {
        netns,
        tuple: *tuple,
        interface: loss.came_in().or(loss.device()).map(|d| d.ifindex),
    };
    let mut sockets = ports::on_port(loss.host, netns, tuple)?.iter();
    sockets.find(|socket| matches!(refusal(loss.host, socket, &wanted), Some(Refusal::Vrf(_))))?;
    let name = sysctl(accept_sysctl(tuple.proto)?);
    let set = |value: u8| command!["sysctl -w", format!("{name}={value}")];
    let change = Shell::of(loss.host, Some(netns)).change(
        format!(
            "let servers that are bound to no interface take {} from VRFs",
            tuple.proto
        ),
        set(1),
    );
    Some(change.undone_by(set(0)).scope(format!(
        "for all servers of the namespace; or start this one in the VRF alone: ip vrf exec {} COMMAND",
        vrf_of(loss.host, &wanted)?.name
    )))
}

/// How to see who listens.
fn listing(loss: &Loss<'_>, tuple: &Tuple) -> Remedy {
    let port = format!(":{}", tuple.dport);
    let (what, command) = match tuple.proto {
        Proto::Tcp => ("TCP port", command!["ss -ltnp sport =", port]),
        Proto::Udp => ("UDP port", command!["ss -lunp sport =", port]),
        Proto::Sctp => ("SCTP port", command!["ss -lnpS sport =", port]),
        _ => ("socket", "ss -anp".into()),
    };
    Shell::of(loss.host, loss.netns()).look(
        format!("who listens on this {what}, and on which address"),
        command,
    )
}

/// What the sockets there, and the packet itself, say about it.
fn with_sockets(
    mut candidate: Candidate,
    loss: &Loss<'_>,
    tuple: &Tuple,
    near: &Near,
) -> Candidate {
    for (who, port) in &near.others {
        candidate = candidate.because("socket", format!("{who} listens on port {port} there"));
    }
    let sockets = loss
        .netns()
        .and_then(|ns| ports::on_port(loss.host, ns, tuple));
    let none = sockets.is_some_and(<[_]>::is_empty).then(|| {
        let (proto, port) = (tuple.proto, tuple.dport);
        format!("no {proto} socket has port {port} there")
    });
    candidate = candidate.because("socket", none);
    for who in &near.elsewhere {
        candidate = candidate.because("socket", who.clone());
    }
    let foreign = loss.netns().is_some_and(|ns| {
        !loss.host.is_local(ns, tuple.dst) && !reach::owners(loss.host, ns, tuple.dst).is_empty()
    });
    let foreign = foreign.then(|| {
        format!(
            "{} belongs to another namespace: two have the address, or the packet was led astray",
            tuple.dst
        )
    });
    let syn_ack = loss.event.packet.as_ref().is_some_and(
        |p| matches!(p.transport, Transport::Tcp { flags, .. } if flags & (SYN | ACK) == SYN | ACK),
    );
    let syn_ack = syn_ack.then(|| {
        format!(
            "a SYN-ACK from {}, to which no connection was opened: the answer missed its address translation",
            tuple.src
        )
    });
    candidate.because("socket", foreign).because("tcp", syn_ack)
}

/// An echo request over IPv6 that is not answered: icmpv6_rcv (net/ipv6/icmp.c) leaves the reason as it was when
/// echo_ignore_all says so. With the setting at 0 it is something else.
pub fn echo_ignored(loss: &Loss<'_>) -> Option<Candidate> {
    let echo = loss.event.packet.as_ref().is_some_and(|p| {
        matches!(
            p.transport,
            Transport::Icmp {
                icmp_type: icmpv6::ECHO_REQUEST,
                ..
            }
        )
    });
    if !loss.unnamed() || loss.function() != "icmpv6_rcv" || !echo {
        return None;
    }
    let place = loss.place_at_device(HOOK);
    let candidate = local::echo_ignored(loss.host, (loss.netns()?, loss.dst()?), place)?;
    let specificity = match candidate.confidence {
        Confidence::Certain => Specificity::Fact,
        _ => Specificity::Location,
    };
    Some(candidate.explains(specificity))
}

/// A segment for a connection that is closing or half open: tcp_v4_rcv and its IPv6 twin free it without a reason
/// (TCP_TW_ACK, TCP_TW_RST, and what tcp_check_req refuses).
pub fn closing(loss: &Loss<'_>) -> Option<Candidate> {
    let segment = loss
        .event
        .packet
        .as_ref()
        .is_some_and(|p| matches!(p.transport, Transport::Tcp { .. }) && !is_reset(p));
    // Without reasons nothing else is told of a first segment either: a wrong checksum, or a filter.
    let first = loss.event.packet.as_ref().is_some_and(is_syn) && loss.info.reason.is_none();
    let here = matches!(loss.function(), "tcp_v4_rcv" | "tcp_v6_rcv");
    // Where a kernel has no reasons (before 5.17), a reset tells that there was no socket. So does an address that the namespace
    // does not have: no connection of its is with that.
    let no_socket = loss.info.reason.is_none() && (loss.reset_sent() || is_taken_in(loss));
    if !loss.unnamed() || !here || !segment || first || no_socket {
        return None;
    }
    let tuple = loss.tuple()?;
    let state = match loss.event.socket.map(|s| s.state) {
        Some(6) => "in TIME_WAIT: it was closed a short while ago",
        Some(12) => "half open: its handshake is not done",
        _ => "closed (TIME_WAIT) or half open",
    };
    let shell = Shell::of(loss.host, loss.netns());
    Some(
        Candidate::new(
            &SOCKET_REFUSED,
            loss.place_at_device(HOOK),
            format!(
                "TCP refused a segment on {}: the connection {tuple} is {state}",
                loss.namespace_words()
            ),
        )
        .advise([shell.look(
            "connections of this port and their states",
            command!["ss -tanp sport =", format!(":{}", tuple.dport)],
        )]),
    )
}

/// Whether an answer came to a namespace that does not have its address and takes it in by a route of type `local`.
fn is_taken_in(loss: &Loss<'_>) -> bool {
    let own = |netns, dst| loss.host.is_local(netns, dst) || loss.host.is_broadcast(netns, dst);
    let ends = loss.netns().zip(loss.dst());
    loss.journey.direction == Direction::Reply && ends.is_some_and(|(netns, dst)| !own(netns, dst))
}

/// A signed SYN that TCP frees without a reset, on a kernel that tells no reason (before 5.17): its signature is looked at
/// before anything is answered (tcp_v4_inbound_md5_hash in tcp_v4_rcv, net/ipv4/tcp_ipv4.c).
pub fn signed(loss: &Loss<'_>) -> Option<Candidate> {
    let packet = loss.event.packet.as_ref()?;
    let signed = matches!(packet.transport, Transport::Tcp { signed: true, .. });
    if !signed || !is_syn(packet) || loss.reset_sent() {
        return None;
    }
    let shell = Shell::of(loss.host, loss.netns());
    let words = format!(
        "TCP MD5 signature not expected, or wrong{}",
        loss.at_words()
    );
    let candidate = Candidate::new(&SOCKET_AUTHENTICATION, loss.place_at_device(HOOK), words)
        .explains(Specificity::Fact)
        .sure(Confidence::Likely)
        .because(
            "tcp",
            Some(
                "the SYN is signed, and was freed without an answer; this kernel tells no reason"
                    .to_owned(),
            ),
        )
        .advise([shell.look(
            "counters of TCP: which rises?",
            command!["nstat -az"].piped_to(command!["grep -i -e md5 -e csum"]),
        )]);
    Some(candidate)
}

/// Queues without room.
pub fn full(loss: &Loss<'_>) -> Option<Candidate> {
    let tuple = loss.tuple();
    let owner = loss.netns().zip(tuple).and_then(|(ns, t)| {
        let found = ports::on_port(loss.host, ns, &t)?;
        found.iter().max_by_key(|s| s.waiting)
    });
    let to = tuple.map_or_else(String::new, |t| format!(" for {}", words::destination(&t)));
    let place = format!("{}{to}", loss.namespace_words());
    let candidate = match loss.reason() {
        _ if loss.unnamed() && refused_for_room(loss) => full_buffer(loss, &place, owner),
        "SOCKET_RCVBUFF" | "SOCKET_BACKLOG" | "PROTO_MEM" | "UDP_RCVBUFF" => {
            full_buffer(loss, &place, owner)
        }
        "TCP_LISTEN_OVERFLOW" => full_accept_queue(loss, &place),
        _ => return None,
    };
    let go_on = owner.map(|s| ports::go_on(loss.host, s));
    Some(
        candidate
            .explains(Specificity::Reason)
            .advise(go_on.unwrap_or_default()),
    )
}

/// Whether the socket said in the same call that it had no room (udp_fail_queue_rcv_skb).
pub(super) fn refused_for_room(loss: &Loss<'_>) -> bool {
    let told = |event: &&Event| {
        matches!(event.detail, Detail::SocketFull { .. }) && event.tuple == loss.tuple()
    };
    let mut beside = loss.trace.beside.iter().filter(told);
    beside.any(|event| loss.same_call(event))
}

/// What the process does not read.
fn full_buffer(loss: &Loss<'_>, place: &str, owner: Option<&OpenSocket>) -> Candidate {
    let shell = Shell::of(loss.host, loss.netns());
    let who = owner.map_or_else(|| "the process".to_owned(), ports::holder);
    Candidate::new(
        &SOCKET_BUFFER,
        loss.place_at_device(HOOK),
        format!("receive buffer full on {place}: {who} does not read fast enough"),
    )
    .because(
        "socket",
        owner.map(|s| format!("{} bytes wait to be read", s.waiting)),
    )
    .advise([
        shell.look("look at Recv-Q and the drop counter (d)", "ss -uamnp"),
        shell.look(
            "the largest buffer a process may ask for",
            "sysctl net.core.rmem_max",
        ),
    ])
}

/// Connections that the process does not accept.
fn full_accept_queue(loss: &Loss<'_>, place: &str) -> Candidate {
    let shell = Shell::of(loss.host, loss.netns());
    Candidate::new(
        &SOCKET_BACKLOG,
        loss.place_at_device(HOOK),
        format!("accept queue full on {place}: the process does not accept fast enough"),
    )
    .advise([
        shell.look("Recv-Q above Send-Q: the queue is full", "ss -ltn"),
        shell.look(
            "the largest backlog a process may ask for",
            "sysctl net.core.somaxconn",
        ),
    ])
}
