//! TCP connections in which the same is sent again and again and never acknowledged: the SYN-ACK, or data. That
//! something came back says nothing of them: the handshake may have, and what was sent first.

use crate::host::facts::{OpenSocket, Question};
use crate::model::{
    Device, Direction, Fate, Journey, NetNs, Path, Proto, Repeated, Side, Transport, Tuple,
};
use crate::uapi::tcp::SYN;
use crate::verdict::Confidence;

use super::super::candidate::Candidate;
use super::super::causes::{MTU_EXCEEDED, REMOTE_UNANSWERED};
use super::super::mended::first_packet;
use super::super::mtu;
use super::super::ports;
use super::super::remedy::{Shell, command, ip, text};
use super::super::source_address;
use super::super::view::{GRACE_NS, View};
use super::super::words;
use super::{Counts, Silence, place_at, vanished};

/// What was sent again and never acknowledged.
#[derive(Clone, Copy)]
pub struct Stall {
    /// Direction of what was sent.
    pub direction: Direction,
    /// It, with what became of its copies.
    pub repeated: Repeated,
    /// Where it was seen last.
    pub device: Device,
    /// What it was there.
    pub tuple: Tuple,
    /// The other end was heard of after it was sent first: it repeats what it has, as it does when newer data comes.
    heard: bool,
    /// Bytes of the largest packet that was acknowledged.
    largest_acked: u32,
}

impl Stall {
    /// The one that began first, of both directions.
    #[must_use]
    pub fn of(view: &View<'_>) -> Option<Self> {
        let run = view.host.run.as_ref();
        // where not all acknowledgements were seen, none that is missing means anything
        let blind = run.is_some_and(|r| r.one_way || !r.only_interfaces.is_empty())
            || vanished::lost_observations(view) > 0;
        if blind || view.tuple()?.proto != Proto::Tcp {
            return None;
        }
        let both = [Direction::Forward, Direction::Reply];
        both.into_iter()
            .filter_map(|direction| Self::in_direction(view, direction))
            .min_by_key(|stall| stall.repeated.first)
    }

    fn in_direction(view: &View<'_>, direction: Direction) -> Option<Self> {
        let sending = view.flow.sending.get(&direction)?;
        let repeated = sending.first_unacked()?;
        let refused = sending.reset.is_some_and(|at| at > repeated.first);
        let opened = direction == Direction::Reply || !repeated.syn;
        let quiet = view.trace.now.since(repeated.last) >= GRACE_NS;
        let long = repeated.last.since(repeated.first) >= GRACE_NS && repeated.copies > 2;
        if repeated.copies < 2 || refused || !opened || !quiet && !long {
            return None;
        }
        let device = repeated.device?;
        let hops = &path(view, direction).hops;
        let last = hops.iter().rev().find(|hop| hop.device == device);
        Some(Self {
            direction,
            repeated,
            device,
            tuple: last.map(|hop| hop.tuple).or(view.tuple())?,
            heard: sending.acked_at > repeated.first,
            largest_acked: sending.largest_acked,
        })
    }

    /// Its sender's namespace, where it is on this host.
    #[must_use]
    pub fn sender(&self, view: &View<'_>) -> Option<NetNs> {
        let first = path(view, self.direction).hops.first()?;
        (first.side == Side::Egress).then_some(first.device.netns)
    }

    /// Larger than all that was acknowledged, and than what every network takes.
    fn is_too_large(&self) -> bool {
        let always = mtu::smallest(self.tuple.dst.is_ipv6());
        !self.repeated.syn && self.repeated.size > always && self.repeated.size > self.largest_acked
    }

    /// The sender's socket.
    fn socket<'a>(&self, view: &View<'a>) -> Option<&'a OpenSocket> {
        let first = path(view, self.direction).hops.first()?;
        let back = first.tuple.reversed();
        let sockets = ports::on_port(view.host, self.sender(view)?, &back)?;
        sockets
            .iter()
            .find(|s| s.peer == Some((back.src, back.sport)))
    }

    /// `the SYN-ACK was sent again and again (4 times in 3.0 s) and never acknowledged`.
    #[must_use]
    pub fn repeated_words(&self) -> String {
        let Repeated {
            copies,
            first,
            last,
            ..
        } = self.repeated;
        let what = match self.repeated.syn {
            true => "the SYN-ACK was",
            false => "the same data was",
        };
        let tenths = last.since(first) / 100_000_000;
        format!(
            "{what} sent again and again ({copies} times in {}.{} s) and never acknowledged",
            tenths / 10,
            tenths % 10
        )
    }

    /// What to read while it lasts.
    #[must_use]
    pub fn questions(&self, view: &View<'_>) -> Vec<Question> {
        let netns = self.device.netns;
        let mut list = vec![
            source_address::own_route(netns, self.tuple.dst, &self.tuple),
            Question::RoutesTowards {
                netns,
                dst: self.tuple.dst,
            },
        ];
        let first = path(view, self.direction).hops.first();
        list.extend(
            self.sender(view)
                .zip(first)
                .and_then(|(netns, hop)| ports::question(netns, &hop.tuple.reversed())),
        );
        list
    }
}

fn path<'a>(view: &View<'a>, direction: Direction) -> &'a Path {
    match direction {
        Direction::Reply => &view.flow.reply,
        _ => &view.flow.forward,
    }
}

/// The verdict's candidate.
pub(super) fn stalled(view: &View<'_>, _: &Counts) -> Option<Silence> {
    let stall = Stall::of(view)?;
    let (candidate, cause_known) = if stall.repeated.left > 0 {
        let candidate = match stall.is_too_large() {
            true => too_large(view, &stall),
            false => unanswered(view, &stall),
        };
        (candidate, true)
    } else {
        let journey = copies(view, &stall).find(|j| vanished::is_open(j))?;
        let rest = format!("; {}", stall.repeated_words());
        let mut candidate = vanished::explain(view, stall.direction, journey, "");
        candidate.summary += &rest;
        (candidate, vanished::known(view, journey))
    };
    Some(Silence {
        candidate,
        direction: stall.direction,
        affected: stall.repeated.copies.into(),
        cause_known,
    })
}

/// Kept journeys of what was sent again.
fn copies<'a>(view: &View<'a>, stall: &Stall) -> impl Iterator<Item = &'a Journey> {
    let syn = stall.repeated.syn;
    let (first, last) = (stall.repeated.first, stall.repeated.last);
    view.journeys(stall.direction).filter(move |journey| {
        let begun = journey.steps.first().map(|s| s.event.at);
        begun.is_some_and(|at| at >= first && at <= last)
            && first_packet(journey).is_some_and(|p| {
                matches!(p.transport, Transport::Tcp { flags, payload, .. } if payload > 0 || syn && flags & SYN != 0)
            })
            && journey.fate != Fate::Delivered
    })
}

fn peer(stall: &Stall) -> String {
    words::destination(&stall.tuple)
}

/// It left, and what would say that it came did not come.
fn unanswered(view: &View<'_>, stall: &Stall) -> Candidate {
    let at = words::interface(view.host, stall.device);
    let summary = if stall.repeated.syn {
        format!(
            "the connection never opens: {} through {at}, no third segment of the handshake came from {}",
            stall.repeated_words(),
            peer(stall)
        )
    } else {
        format!(
            "no acknowledgement from {}: the connection opened, then {}; it left this host through {at}",
            peer(stall),
            stall.repeated_words()
        )
    };
    let other = stall.tuple.dst;
    Candidate::new(
        &REMOTE_UNANSWERED,
        place_at(view.host, stall.device, "device"),
        summary,
    )
    .sure(Confidence::Likely)
    .because("tcp", stall.repeated_words())
    .because("packet", format!("it left as {}", stall.tuple))
    .because("socket", stall.socket(view).and_then(socket_words))
    .advise([
        Shell::of(view.host, Some(stall.device.netns)).look(
            "does it leave by the right next hop?",
            command![..ip(other.is_ipv6()), "route get", other, "from", stall.tuple.src],
        ),
        text(format!(
            "trace on {other} and the routers and firewalls between: does it arrive there, and where does its answer go?"
        )),
    ])
}

/// Small segments pass, full-sized ones never do.
fn too_large(view: &View<'_>, stall: &Stall) -> Candidate {
    let at = words::interface(view.host, stall.device);
    let size = stall.repeated.size;
    let summary = format!(
        "packets of {size} bytes are lost beyond {at} (path MTU): {}; the largest that {} acknowledged had {} bytes",
        stall.repeated_words(),
        peer(stall),
        stall.largest_acked
    );
    let link = view.host.link(stall.device);
    let candidate = Candidate::new(
        &MTU_EXCEEDED,
        place_at(view.host, stall.device, "device"),
        summary,
    )
    .leads_to(REMOTE_UNANSWERED.outcome)
    .because("tcp", stall.repeated_words())
    .because(
        "tcp",
        stall.heard.then(|| {
            format!(
                "{} was heard of meanwhile and repeated what it has: smaller segments pass",
                stall.tuple.dst
            )
        }),
    )
    .because("link", link.map(|l| format!("{at} has MTU {}", l.mtu)))
    .because("socket", stall.socket(view).and_then(socket_words))
    .because(
        "icmp",
        "no ICMP error told the sender of a smaller MTU: a path MTU black hole".to_owned(),
    )
    .advise(advice(view, stall));
    if stall.heard {
        return candidate.sure(Confidence::Likely);
    }
    candidate.sure(Confidence::Possible).because(
        "other-loss",
        format!(
            "could also be remote.unanswered: nothing at all came from {} after it",
            stall.tuple.dst
        ),
    )
}

fn socket_words(socket: &OpenSocket) -> Option<String> {
    let tcp = socket.tcp?;
    Some(format!(
        "its socket: MSS {}, path MTU {}, {} not acknowledged, {} sent again since it was opened",
        tcp.mss,
        tcp.path_mtu,
        words::count(tcp.unacked.into(), "segment"),
        words::count(tcp.resent.into(), "segment")
    ))
}

fn advice(view: &View<'_>, stall: &Stall) -> Vec<super::super::remedy::Remedy> {
    let netns = stall.sender(view);
    let other = stall.tuple.dst;
    let v6 = other.is_ipv6();
    let here = Shell::of(view.host, Some(stall.device.netns));
    // IP and ICMP headers
    let payload = stall.repeated.size.saturating_sub(if v6 { 48 } else { 28 });
    let mut list = vec![here.look(
        format!(
            "check first: packets of {} bytes should get no answer, smaller ones should (the largest that passes is the path's MTU)",
            stall.repeated.size
        ),
        command!["ping -c 3 -M do -s", payload, other],
    )];
    match netns {
        Some(netns) => list.extend(mtu::narrow_route(
            view.host,
            (netns, other),
            stall.repeated.size,
        )),
        None => list.push(mtu::set_mss(&here, &stall.tuple, stall.repeated.size)),
    }
    if let Some(netns) = netns {
        let set = |to: &str| command!["sysctl -w", format!("net.ipv4.tcp_mtu_probing={to}")];
        list.push(
            Shell::of(view.host, Some(netns))
                .change(
                    "or let TCP itself try smaller segments when full ones get lost (IPv6 too)",
                    set("1"),
                )
                .undone_by(set("0"))
                .scope("all connections of this namespace".to_owned()),
        );
    }
    list.push(text(
        "to last: have whoever runs the path let \"fragmentation needed\" and \"packet too big\" pass, or clamp the MSS to the path's MTU where the small link begins",
    ));
    list
}
