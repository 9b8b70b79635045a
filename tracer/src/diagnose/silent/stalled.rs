//! TCP connections in which the same is sent again and again and never acknowledged: the SYN-ACK, or data. That
//! something came back says nothing of them: the handshake may have, and what was sent first.

use crate::host::facts::{OpenSocket, Question};
use crate::model::{
    Device, Direction, Fate, Hop, Journey, KtimeNs, NetNs, Path, Proto, Repeated, Side, Transport,
    Tuple,
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

/// How it shows that one direction does not get through.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Sign {
    /// This end sends the same again, and nobody acknowledges it.
    Unacked,
    /// This end acknowledges, and the other one sends the same again.
    Unheard,
    /// So many bytes did not come, and what follows them did.
    Missing(u32),
}

/// A connection in which one direction does not get through.
#[derive(Clone, Copy)]
pub struct Stall {
    /// The direction that does not.
    pub direction: Direction,
    /// What was sent again, with what became of its copies.
    pub repeated: Repeated,
    /// Through which interface this end's packets leave.
    pub device: Device,
    /// What they are there.
    pub tuple: Tuple,
    sign: Sign,
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
            .flat_map(|direction| {
                [
                    Self::unacked(view, direction),
                    Self::missing(view, direction),
                    Self::unheard(view, direction),
                ]
            })
            .flatten()
            .min_by_key(|stall| stall.repeated.first)
    }

    fn unacked(view: &View<'_>, direction: Direction) -> Option<Self> {
        let sending = view.flow.sending.get(&direction)?;
        let repeated = sending.first_unacked()?;
        let opened = direction == Direction::Reply || !repeated.syn;
        if !opened || repeated.copies < 2 || !lasts(view, &repeated, sending.reset) {
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
            sign: Sign::Unacked,
            heard: sending.acked_at > repeated.first,
            largest_acked: sending.largest_acked,
        })
    }

    /// Data of the other end, who is elsewhere, with a hole that is not filled.
    fn missing(view: &View<'_>, direction: Direction) -> Option<Self> {
        let sending = view.flow.sending.get(&direction)?;
        let (bytes, since) = sending.gap()?;
        let hop = answers_through(view, direction)?;
        let last = sending.unacked.iter().map(|s| s.last).max()?;
        let repeated = Repeated {
            copies: 1,
            left: 0,
            size: bytes,
            syn: false,
            first: since,
            last,
            device: Some(hop.device),
        };
        // what is on its way again fills it within one timeout
        let long = view.trace.now.since(since) >= 2 * GRACE_NS;
        (long && lasts(view, &repeated, sending.reset)).then_some(Self {
            direction,
            repeated,
            device: hop.device,
            tuple: hop.tuple,
            sign: Sign::Missing(bytes),
            heard: true,
            largest_acked: sending.largest_acked,
        })
    }

    /// The other end, who is elsewhere, does not know what was acknowledged.
    fn unheard(view: &View<'_>, direction: Direction) -> Option<Self> {
        let sending = view.flow.sending.get(&direction)?;
        let again = sending.again?;
        let hop = answers_through(view, direction)?;
        let repeated = Repeated {
            copies: again.copies,
            left: again.left,
            size: again.size,
            syn: false,
            first: again.first,
            last: again.last,
            device: again.device,
        };
        let often = again.copies > 2 && again.last.since(again.first) >= GRACE_NS;
        (often && lasts(view, &repeated, sending.reset)).then_some(Self {
            direction: reverse(direction),
            repeated,
            device: hop.device,
            tuple: hop.tuple,
            sign: Sign::Unheard,
            heard: true,
            largest_acked: 0,
        })
    }

    /// The first hop of what this end sends.
    fn begin<'a>(&self, view: &View<'a>) -> Option<&'a Hop> {
        let direction = match self.sign {
            Sign::Missing(_) => reverse(self.direction),
            Sign::Unacked | Sign::Unheard => self.direction,
        };
        path(view, direction).hops.first()
    }

    /// The namespace of this end, where its socket is on this host.
    #[must_use]
    pub fn sender(&self, view: &View<'_>) -> Option<NetNs> {
        let first = self.begin(view)?;
        (first.side == Side::Egress).then_some(first.device.netns)
    }

    /// Larger than all that was acknowledged, and than what every network takes.
    fn is_too_large(&self) -> bool {
        let always = mtu::smallest(self.tuple.dst.is_ipv6());
        !self.repeated.syn && self.repeated.size > always && self.repeated.size > self.largest_acked
    }

    /// The sender's socket.
    fn socket<'a>(&self, view: &View<'a>) -> Option<&'a OpenSocket> {
        let first = self.begin(view)?;
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
        let tenths = last.since(first) / 100_000_000;
        let often = format!("{copies} times in {}.{} s", tenths / 10, tenths % 10);
        match (self.sign, self.repeated.syn) {
            (Sign::Unacked, true) => {
                format!("the SYN-ACK was sent again and again ({often}) and never acknowledged")
            }
            (Sign::Unacked, false) => {
                format!("the same data was sent again and again ({often}) and never acknowledged")
            }
            (Sign::Unheard, _) => format!(
                "{} sends the same data again and again ({often}), though it was acknowledged each time",
                self.tuple.dst
            ),
            (Sign::Missing(bytes), _) => format!(
                "{bytes} bytes from {} never came, what follows them did, and they are asked for again and again",
                self.tuple.dst
            ),
        }
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

/// For long enough, and nobody has reset the connection meanwhile.
fn lasts(view: &View<'_>, repeated: &Repeated, reset: Option<KtimeNs>) -> bool {
    let quiet = view.trace.now.since(repeated.last) >= GRACE_NS;
    let long = repeated.last.since(repeated.first) >= GRACE_NS && repeated.copies > 2;
    let refused = reset.is_some_and(|at| at > repeated.first);
    !refused && (quiet || long)
}

/// The hop by which the receiver of a direction, who is on this host, answers its sender, who is not.
fn answers_through<'a>(view: &View<'a>, direction: Direction) -> Option<&'a Hop> {
    let from_outside = path(view, direction).hops.first()?.side == Side::Ingress;
    let back = &path(view, reverse(direction)).hops;
    let from_here = back.first()?.side == Side::Egress;
    let mut out = back.iter().rev().filter(|hop| hop.side == Side::Egress);
    out.next().filter(|_| from_outside && from_here)
}

const fn reverse(direction: Direction) -> Direction {
    match direction {
        Direction::Reply => Direction::Forward,
        _ => Direction::Reply,
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
    let (candidate, cause_known) = if stall.repeated.left > 0 || stall.sign != Sign::Unacked {
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
    let words = stall.repeated_words();
    let who = peer(stall);
    let summary = match (stall.sign, stall.repeated.syn) {
        (Sign::Unacked, true) => format!(
            "the connection never opens: {words} through {at}, no third segment of the handshake came from {who}"
        ),
        (Sign::Unacked, false) => format!(
            "no acknowledgement from {who}: the connection opened, then {words}; it left this host through {at}"
        ),
        (Sign::Unheard, _) => format!(
            "what is sent to {who} does not arrive: {words}; the acknowledgements left this host through {at}"
        ),
        (Sign::Missing(_), _) => format!("not all comes from {who}: {words}"),
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
    let words = stall.repeated_words();
    let largest = stall.largest_acked;
    let link = view.host.link(stall.device);
    let incoming = stall.sign != Sign::Unacked;
    let summary = if incoming {
        format!(
            "large packets are lost on their way to {at} (path MTU): {words}; the largest that came had {largest} bytes"
        )
    } else {
        format!(
            "packets of {size} bytes are lost beyond {at} (path MTU): {words}; the largest that {} acknowledged had {largest} bytes",
            peer(stall)
        )
    };
    let candidate = Candidate::new(
        &MTU_EXCEEDED,
        place_at(view.host, stall.device, "device"),
        summary,
    )
    .leads_to(REMOTE_UNANSWERED.outcome)
    .because("tcp", stall.repeated_words())
    .because(
        "tcp",
        (stall.heard && !incoming).then(|| {
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
        (!incoming).then(|| {
            "no ICMP error told the sender of a smaller MTU: a path MTU black hole".to_owned()
        }),
    )
    .advise(advice(view, stall));
    let full = !incoming || link.is_some_and(|l| is_of_full_ones(size, l.mtu, stall));
    if stall.heard && full {
        return candidate.sure(Confidence::Likely);
    }
    candidate.sure(Confidence::Possible).because(
        "other-loss",
        format!(
            "could also be remote.unanswered: that {} is only silent, or that something else loses them",
            stall.tuple.dst
        ),
    )
}

/// Whether so many bytes are the data of whole segments, as large as the interface's MTU lets the other end send
/// them: with or without timestamps.
fn is_of_full_ones(bytes: u32, mtu: u32, stall: &Stall) -> bool {
    let headers = if stall.tuple.dst.is_ipv6() { 60 } else { 40 };
    [0, 12].into_iter().any(|options| {
        let data = mtu.saturating_sub(headers + options);
        data > 0 && bytes.is_multiple_of(data)
    })
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
    let link = view.host.link(stall.device).map_or(1500, |l| l.mtu);
    let size = stall.repeated.size.min(link);
    // IP and ICMP headers
    let payload = size.saturating_sub(if v6 { 48 } else { 28 });
    let mut list = vec![here.look(
        format!(
            "check first: packets of {} bytes should get no answer, smaller ones should (the largest that passes is the path's MTU)",
            size
        ),
        command!["ping -c 3 -M do -s", payload, other],
    )];
    match netns {
        Some(netns) => list.extend(mtu::narrow_route(view.host, (netns, other), size)),
        None => list.push(mtu::set_mss(&here, &stall.tuple, size)),
    }
    if let Some(netns) = netns.filter(|_| stall.sign == Sign::Unacked) {
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
