//! Verdicts of TCP connections in which one direction does not get through. That something came back says nothing of
//! them: the handshake may have, and what was sent first.

use crate::host::facts::OpenSocket;
use crate::model::{Fate, Journey, Transport};
use crate::uapi::tcp::SYN;
use crate::verdict::Confidence;

use super::super::candidate::{Candidate, place_at};
use super::super::causes::{MTU_EXCEEDED, REMOTE_UNANSWERED};
use super::super::mtu;
use super::super::recovered::first_packet;
use super::super::remedy::{Shell, command, ip, text};
use super::super::stall::{Sign, Stall};
use super::super::view::View;
use super::super::words;
use super::{Counts, Silence, vanished};

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
        (Sign::Unanswered, _) => format!(
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
