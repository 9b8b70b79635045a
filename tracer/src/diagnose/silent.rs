//! Flows without a drop: delivered, unanswered, vanished, waiting for a neighbour, or never sent at all.

use crate::correlate::Trace;
use crate::host::Host;
use crate::model::{Detail, Direction, Event, Fate, FateCounts, Journey, NetNs, Proto, Transport};
use crate::report::{Affected, Confidence, Outcome, Place, Verdict};

use super::advice::{Shell, ip, text};
use super::candidate::{Candidate, Specificity, evidence};
use super::causes::{
    NEIGHBOR_UNRESOLVED, REMOTE_UNANSWERED, SOCKET_BACKLOG, SOCKET_NONE, SOCKET_SILENT,
    SOCKET_UNANSWERED,
};
use super::local;
use super::loss::is_reset;
use super::mended::first_packet;
use super::rules::link;
use super::rules::neighbor::{self, Unresolved};
use super::view::{View, last_seen, total};
use super::words;

/// Fates of both directions.
#[derive(Clone, Copy)]
pub struct Counts {
    /// The way there.
    pub forward: FateCounts,
    /// The way back.
    pub reply: FateCounts,
}

/// The verdict of a flow that lost nothing that the kernel would admit.
#[must_use]
pub fn verdict(view: &View<'_>, counts: &Counts) -> Verdict {
    let found = waiting(view, counts)
        .or_else(|| swallowed(view, counts))
        .or_else(|| answer_not_sent(view, counts))
        .or_else(|| refused_outside(view, counts))
        .or_else(|| vanished(view, Direction::Forward, counts))
        .or_else(|| unanswered(view, counts))
        .or_else(|| vanished(view, Direction::Reply, counts));
    match found {
        Some(silence) => silence.verdict(view),
        None => delivered(view, counts),
    }
}

/// A proposal with what it is about.
struct Silence {
    candidate: Candidate,
    direction: Direction,
    affected: u64,
    vanished: bool,
}

impl Silence {
    fn verdict(self, view: &View<'_>) -> Verdict {
        let Candidate {
            cause,
            outcome,
            confidence,
            place,
            summary,
            evidence,
            advice,
            ..
        } = self.candidate;
        Verdict {
            outcome,
            cause: (!self.vanished).then(|| cause.code.to_owned()),
            confidence,
            summary,
            place: Some(place),
            packets: Affected {
                seen: view.seen(self.direction).max(self.affected),
                affected: self.affected,
            },
            evidence,
            advice,
        }
    }
}

/// Packets that wait for a neighbour which has not answered (yet).
fn waiting(view: &View<'_>, counts: &Counts) -> Option<Silence> {
    let arrives = |c: &FateCounts| c.delivered + c.left > 0;
    for (direction, fates) in [
        (Direction::Forward, &counts.forward),
        (Direction::Reply, &counts.reply),
    ] {
        if arrives(fates) || fates.vanished + fates.in_flight == 0 {
            continue;
        }
        let stuck = |j: &&Journey| matches!(j.fate, Fate::Vanished { .. } | Fate::InFlight);
        let who = view
            .journeys(direction)
            .filter(stuck)
            .filter_map(last_seen)
            .find_map(|last| waits_for(view.trace, view.host, last));
        let Some(who) = who else { continue };
        return Some(Silence {
            candidate: stuck_at(view.trace, view.host, who),
            direction,
            affected: fates.vanished + fates.in_flight,
            vanished: false,
        });
    }
    None
}

/// The neighbour that a packet last seen in `last` waits for: of its namespace, never resolved since.
fn waits_for(trace: &Trace, host: &Host, last: &Event) -> Option<Unresolved> {
    let who = neighbor::waited_for(trace, last, None)?;
    let netns = last.device.map(|d| d.netns).or(last.netns)?;
    let gateway = host.routes.iter().any(|r| {
        r.fact.netns == netns
            && r.fact
                .result
                .as_ref()
                .is_ok_and(|route| route.gateway == Some(who.address))
    });
    let then = neighbor::asked_at(trace, who, last);
    let itself = last.tuple.is_some_and(|t| t.dst == who.address);
    (who.device.netns == netns && (then || itself || gateway) && !neighbor::answered(trace, who))
        .then_some(who)
}

/// Nobody answers for this neighbour: since the link is down, or for another reason.
pub fn stuck_at(trace: &Trace, host: &Host, who: Unresolved) -> Candidate {
    if link::is_down(trace, host, who.device) {
        return link::down(host, who.device, None).because(
            "neighbor",
            format!("packets wait for {}, who cannot be asked", who.address),
        );
    }
    let place = Place {
        namespace: Some(host.namespace(who.device.netns)),
        interface: Some(host.interface(who.device)),
        hook: Some("neighbor".to_owned()),
        function: None,
    };
    let failed = neighbor::failed(trace, who);
    let mut candidate = Candidate::new(&NEIGHBOR_UNRESOLVED, place, neighbor::summary(host, who))
        .explains(Specificity::Linked)
        .sure(if failed {
            Confidence::Certain
        } else {
            Confidence::Likely
        })
        .advise(neighbor::advice(host, who));
    candidate.evidence = neighbor::question_evidence(trace, host, who);
    candidate.evidence.insert(
        0,
        evidence(
            "neighbor",
            format!(
                "the entry for {} is {}; packets wait in its queue",
                who.address,
                if failed { "FAILED" } else { "INCOMPLETE" }
            ),
        ),
    );
    candidate
}

/// Consumed by the kernel without the answer that it should have made.
fn swallowed(view: &View<'_>, counts: &Counts) -> Option<Silence> {
    if total(&counts.reply) > 0 || !view.expects_reply() {
        return None;
    }
    let end = |j: &Journey| {
        j.steps.iter().rev().find_map(|s| match &s.event.detail {
            Detail::Consumed {
                function: Some(function),
            } => Some((function.clone(), s.event.clone())),
            _ => None,
        })
    };
    let (journey, (function, event)) = view
        .journeys(Direction::Forward)
        .filter(|j| matches!(j.fate, Fate::Consumed { .. } | Fate::Delivered))
        .find_map(|j| end(j).map(|e| (j, e)))?;
    let transport = first_packet(journey)?.transport;
    let last = last_seen(journey);
    let device = event.device.or(last.and_then(|e| e.device));
    let netns = device.map(|d| d.netns).or(event.netns)?;
    let name = view.host.namespace(netns);
    let shell = Shell::of(view.host, Some(netns));
    let place = Place {
        namespace: Some(name.clone()),
        interface: device.map(|d| view.host.interface(d)),
        hook: Some("socket".to_owned()),
        function: Some(function.clone()),
    };
    let v6 = view.tuple()?.dst.is_ipv6();
    let candidate = match (transport, function.as_str()) {
        (
            Transport::Icmp {
                icmp_type: 8 | 128, ..
            },
            "icmp_rcv" | "icmpv6_rcv",
        ) => {
            let sysctl = local::echo_sysctl(v6);
            let value = view
                .host
                .sysctls
                .get(&(netns, sysctl.to_owned()))
                .and_then(|v| v.fact.clone());
            let confidence = match value.as_deref() {
                Some("0") => Confidence::Possible,
                Some(_) => Confidence::Certain,
                None => Confidence::Likely,
            };
            let dotted = super::advice::sysctl(sysctl);
            Candidate::new(
                &SOCKET_SILENT,
                place,
                format!("echo request reached {name} and is not answered: this host is told to ignore it"),
            )
            .sure(confidence)
            .because("sysctl", value.map(|v| format!("{dotted} = {v}")))
            .advise([
                shell.run("look first", format!("sysctl {dotted}")),
                shell.run("let it answer", format!("sysctl -w {dotted}=0")),
                shell.run("to take that back", format!("sysctl -w {dotted}=1")),
            ])
        }
        (Transport::Tcp { flags, .. }, "tcp_rcv_state_process") if flags & 0x12 == 0x02 => {
            Candidate::new(
                &SOCKET_BACKLOG,
                place,
                format!(
                    "accept queue full on {name}: the SYN for {} was taken and not answered",
                    words::destination(&view.tuple()?)
                ),
            )
            .sure(Confidence::Likely)
            .advise([
                shell.run(
                    "Recv-Q at or above Send-Q: the accept queue is full",
                    "ss -ltn",
                ),
                shell.run(
                    "which counter rises",
                    "nstat -az TcpExtListenOverflows TcpExtListenDrops TcpExtTCPReqQFullDrop",
                ),
            ])
        }
        _ => return None,
    };
    Some(Silence {
        candidate: candidate.because(
            "socket",
            format!("freed normally in {function}, and nothing was sent back"),
        ),
        direction: Direction::Forward,
        affected: view.seen(Direction::Forward),
        vanished: false,
    })
}

/// The answer failed at its own route lookup.
fn answer_not_sent(view: &View<'_>, counts: &Counts) -> Option<Silence> {
    if counts.forward.delivered + counts.forward.consumed == 0 || total(&counts.reply) > 0 {
        return None;
    }
    let arrived = view
        .journeys(Direction::Forward)
        .filter_map(last_seen)
        .next_back()?;
    let asker = arrived.tuple?.src;
    let netns = arrived.device.map(|d| d.netns).or(arrived.netns)?;
    let failure = local::failures(view.trace)
        .into_iter()
        .find(|f| f.dst == asker && f.netns.is_none_or(|ns| ns == netns))?;
    Some(Silence {
        candidate: local::candidate(view.trace, view.host, &failure, Some(netns))?
            .leads_to(Outcome::Unanswered)
            .because(
                "route",
                format!("the request arrived; the answer to {asker} could not be sent"),
            ),
        direction: Direction::Forward,
        affected: view.seen(Direction::Forward),
        vanished: false,
    })
}

/// Something outside this host refused it: a reset or an ICMP error came in.
fn refused_outside(view: &View<'_>, counts: &Counts) -> Option<Silence> {
    if view.tuple()?.proto != Proto::Tcp || counts.forward.left == 0 {
        return None;
    }
    let mut replies = view.journeys(Direction::Reply).peekable();
    replies.peek()?;
    let only_resets = replies.all(|j| first_packet(j).is_some_and(is_reset));
    let tuple = view.tuple()?;
    if !only_resets {
        return None;
    }
    Some(Silence {
        candidate: Candidate::new(
            &SOCKET_NONE,
            left_place(view),
            format!(
                "port closed: {} refused the connection, a TCP reset came back from outside this host",
                words::destination(&tuple)
            ),
        )
        .sure(Confidence::Likely)
        .because("tcp", "a reset was the only answer; a firewall on the way can send one too".to_owned())
        .advise([text(format!(
            "on the other machine: is the server listening? ss -ltnp sport = :{}",
            tuple.dport
        ))]),
        direction: Direction::Forward,
        affected: view.seen(Direction::Forward),
        vanished: false,
    })
}

/// The interface through which it left.
fn left_place(view: &View<'_>) -> Place {
    let event = view
        .journeys(Direction::Forward)
        .filter(|j| matches!(j.fate, Fate::Left { .. }))
        .find_map(last_seen);
    place_of(view.host, event, "device")
}

fn place_of(host: &Host, event: Option<&Event>, hook: &str) -> Place {
    let device = event.and_then(|e| e.device);
    let netns: Option<NetNs> = device
        .map(|d| d.netns)
        .or_else(|| event.and_then(|e| e.netns));
    Place {
        namespace: netns.map(|ns| host.namespace(ns)),
        interface: device.map(|d| host.interface(d)),
        hook: Some(hook.to_owned()),
        function: None,
    }
}

/// No drop, no delivery: say where it was seen last.
fn vanished(view: &View<'_>, direction: Direction, counts: &Counts) -> Option<Silence> {
    let fates = match direction {
        Direction::Forward => counts.forward,
        _ => counts.reply,
    };
    let arrived = fates.delivered + fates.left;
    let works = match direction {
        // TCP's handshake and coalesced segments end without any event: an answer proves that they came.
        Direction::Forward => arrived >= fates.vanished.max(1) || total(&counts.reply) > 0,
        _ => arrived > 0 || !view.asker_is_here() || conversation(view),
    };
    if works || fates.vanished == 0 {
        return None;
    }
    let last = view
        .journeys(direction)
        .filter(|j| matches!(j.fate, Fate::Vanished { .. } | Fate::InFlight))
        .find_map(last_seen);
    let place = place_of(view.host, last, "device");
    let at = last.and_then(|e| e.device).map_or_else(
        || "an unknown place".to_owned(),
        |d| words::interface(view.host, d),
    );
    let what = if direction == Direction::Reply {
        "reply vanished"
    } else {
        "vanished"
    };
    let side = match last.map(|e| &e.detail) {
        Some(Detail::Egress) => "leaving",
        Some(Detail::Ingress) => "entering",
        _ => "at",
    };
    let losses = &view.trace.losses;
    let lost: u64 = losses
        .lost
        .iter()
        .chain(&losses.thinned)
        .map(|(_, n)| n)
        .sum();
    let candidate = Candidate::new(
        &super::causes::KERNEL_OTHER,
        place,
        format!("{what}: last seen {side} {at}; the kernel reported no drop"),
    )
    .leads_to(Outcome::Vanished)
    .sure(Confidence::Possible)
    .because(
        "counter",
        (lost > 0).then(|| {
            format!("{lost} observations were lost or thinned: the end may be among them")
        }),
    )
    .advise([
        text("look at what is behind that interface: a process, a program, hardware"),
        Shell::of(view.host, last.and_then(|e| e.netns))
            .run("counters of its interfaces", "ip -s -s link"),
    ]);
    Some(Silence {
        candidate,
        direction,
        affected: fates.vanished,
        vanished: true,
    })
}

/// A TCP connection in which the asker went on after the answer.
fn conversation(view: &View<'_>) -> bool {
    view.journeys(Direction::Forward).any(|j| {
        first_packet(j).is_some_and(
            |p| matches!(p.transport, Transport::Tcp { flags, .. } if flags & 0x16 == 0x10),
        )
    })
}

/// It arrived or left, an answer is due, and none was seen.
fn unanswered(view: &View<'_>, counts: &Counts) -> Option<Silence> {
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
    if !expected && (tuple.dst.is_multicast() || view.host.run.as_ref().is_some_and(|r| r.one_way))
    {
        return None;
    }
    let errors: Vec<_> = view
        .journeys(Direction::Error)
        .filter_map(|j| {
            let packet = first_packet(j)?;
            let Transport::Icmp {
                icmp_type, code, ..
            } = packet.transport
            else {
                return None;
            };
            Some(format!(
                "{} says: {}",
                packet.tuple?.src,
                words::icmp(tuple.dst.is_ipv6(), icmp_type, code)
            ))
        })
        .take(1)
        .collect();
    let said = errors
        .first()
        .map_or_else(String::new, |e| format!("; {e}"));
    let some = if answers > 0 {
        format!(" ({answers} of {arrived} answered)")
    } else {
        String::new()
    };
    let candidate = if left {
        let place = left_place(view);
        let at = match (&place.namespace, &place.interface) {
            (Some(ns), Some(interface)) => format!("{ns}/{interface}"),
            _ => "its last interface".to_owned(),
        };
        let shell_ns = view
            .journeys(Direction::Forward)
            .filter(|j| matches!(j.fate, Fate::Left { .. }))
            .find_map(last_seen)
            .and_then(|e| e.netns.or(e.device.map(|d| d.netns)));
        let shell = Shell::of(view.host, shell_ns);
        let source = view
            .journeys(Direction::Forward)
            .filter(|j| matches!(j.fate, Fate::Left { .. }))
            .find_map(last_seen)
            .and_then(|e| e.tuple)
            .map_or(tuple.src, |t| t.src);
        Candidate::new(
            &REMOTE_UNANSWERED,
            place,
            format!(
                "no answer from {}: it left this host through {at} as it should, nothing came back{some}{said}",
                words::destination(&tuple)
            ),
        )
        .because("packet", format!("it left with source {source}"))
        .advise([
            shell.run("is the next hop right?", format!("{} route get {}", ip(tuple.dst.is_ipv6()), tuple.dst)),
            text(format!("trace on {} and the routers between: does it arrive, is there a route back to {source}?", tuple.dst)),
        ])
    } else {
        let last = view.journeys(Direction::Forward).find_map(last_seen);
        let place = place_of(view.host, last, "socket");
        let reader = view.events().find_map(|e| match (&e.detail, &e.process) {
            (Detail::SocketRead { .. }, Some(process))
                if e.tuple
                    .or(e.socket.and_then(|s| s.tuple))
                    .is_some_and(|t| view.owns(&t)) =>
            {
                Some(format!("{} (pid {}) read it", process.comm, process.pid))
            }
            _ => None,
        });
        let who = reader
            .clone()
            .unwrap_or_else(|| "no process was seen to read it".to_owned());
        Candidate::new(
            &SOCKET_UNANSWERED,
            place,
            format!(
                "no answer from {}: it reached its socket on {}, {who}, and nothing was sent back{some}{said}",
                words::destination(&tuple),
                last.and_then(|e| e.netns.or(e.device.map(|d| d.netns)))
                    .map_or_else(|| "this host".to_owned(), |ns| view.host.namespace(ns)),
            ),
        )
        .advise([text("look at the server: is it stuck, and where does it send its answers (ss -anp)?")])
    };
    Some(Silence {
        candidate: candidate.sure(if expected {
            Confidence::Likely
        } else {
            Confidence::Possible
        }),
        direction: Direction::Forward,
        affected: arrived.saturating_sub(answers),
        vanished: false,
    })
}

/// Nothing is wrong.
fn delivered(view: &View<'_>, counts: &Counts) -> Verdict {
    let Counts { forward, reply } = counts;
    let to = view
        .tuple()
        .map_or_else(|| "its destination".to_owned(), |t| words::destination(&t));
    let answered = view.seen(Direction::Reply).max(total(reply));
    let seen = view.seen(Direction::Forward);
    let summary = if answered > 0 {
        format!(
            "delivered: {} to {to}, {} back",
            words::count(seen, "packet"),
            words::count(answered, "packet")
        )
    } else if forward.left > 0 && forward.delivered == 0 {
        format!("left this host: {} to {to}", words::count(seen, "packet"))
    } else {
        format!("delivered: {} to {to}", words::count(seen, "packet"))
    };
    let proven = forward.delivered > 0
        && (answered == 0 || reply.delivered > 0 || !view.asker_is_here())
        && forward.vanished == 0
        && reply.vanished == 0;
    let list = (forward.vanished + reply.vanished > 0)
        .then(|| {
            evidence(
                "packet",
                format!(
                    "{} without a seen end (the kernel frees some without an event)",
                    words::count(forward.vanished + reply.vanished, "packet")
                ),
            )
        })
        .into_iter()
        .collect();
    Verdict {
        outcome: Outcome::Delivered,
        cause: None,
        confidence: if proven {
            Confidence::Certain
        } else {
            Confidence::Likely
        },
        summary,
        place: None,
        packets: Affected { seen, affected: 0 },
        evidence: list,
        advice: Vec::new(),
    }
}
