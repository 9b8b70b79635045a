//! Packets without an end: nothing dropped them, nothing took them in. All that can be told is where they were seen
//! last, how many came to the place before and after, and what stands between; never that it was the one.

use crate::model::{Detail, Device, Direction, Event, Fate, Hop, Journey, Proto, Side, Transport};
use crate::uapi::tcp;
use crate::verdict::{Confidence, Evidence, Outcome};

use super::super::candidate::{Candidate, evidence, place_at};
use super::super::causes::{FRAGMENT, KERNEL_OTHER, TC_DROP, XDP_DROP};
use super::super::device_state;
use super::super::nfqueue;
use super::super::ovs;
use super::super::recovered::first_packet;
use super::super::remedy::{Shell, command, text};
use super::super::rules::l2::unredirected;
use super::super::rules::macvlan;
use super::super::view::{View, last_seen};
use super::super::words;
use super::{Counts, Silence, place_of};

/// Where veth makes a buffer that its XDP program may write to, and frees the old one (drivers/net/veth.c): a packet
/// that ends there was given to the program, which passed nothing on.
const GIVEN_TO_XDP: &[&str] = &["skb_pp_cow_data", "veth_convert_skb_to_xdp_buff"];
/// Of a direction that works otherwise, so many have to be missing before they are worth a verdict.
const WORTH_A_VERDICT: u64 = 2;

/// No drop, no delivery: say where it was seen last.
pub(super) fn vanished(view: &View<'_>, direction: Direction, counts: &Counts) -> Option<Silence> {
    let fates = match direction {
        Direction::Forward => counts.forward,
        _ => counts.reply,
    };
    let arrived = fates.delivered + fates.left;
    let works = match direction {
        // TCP's handshake and coalesced segments end without any event: an answer proves that they came.
        Direction::Forward => arrived >= fates.vanished.max(1) || view.answers(counts) > 0,
        _ => arrived > 0 || !view.asker_is_here() || conversation(view),
    };
    if fates.vanished == 0 {
        return None;
    }
    if works {
        return partly(view, direction);
    }
    // What was counted further on went on: only its events are missing.
    if view.flow.unseen.iter().any(|(way, ..)| *way == direction) {
        return None;
    }
    let journey = view
        .journeys(direction)
        .find(|j| is_open(j) && !is_with_a_process(view, j))?;
    Some(Silence {
        candidate: explain(view, direction, journey, ""),
        direction,
        affected: fates.vanished,
        cause_known: known(view, journey),
    })
}

/// Some came through and some did not, between the same two hops, by the exact counters of both.
fn partly(view: &View<'_>, direction: Direction) -> Option<Silence> {
    // TCP sends again, and frees arrived segments without an event: its missing journeys mean nothing.
    if !matches!(view.tuple()?.proto, Proto::Icmp | Proto::Icmp6 | Proto::Udp)
        || view.lost_observations() > 0
    {
        return None;
    }
    let path = match direction {
        Direction::Forward => &view.flow.forward,
        _ => &view.flow.reply,
    };
    let missing = |journey: &&Journey| {
        let at = last_place(journey);
        path.hops
            .iter()
            .position(|h| Some((h.device, h.side)) == at)
            .and_then(|n| Some((n, path.hops.get(n)?)))
            .filter(|(_, hop)| gap(&path.hops, hop) >= WORTH_A_VERDICT)
            .is_some()
    };
    let open: Vec<&Journey> = view
        .journeys(direction)
        .filter(|j| is_open(j) && !view.young(j))
        .filter(missing)
        .collect();
    let first = *open.first()?;
    let at = last_place(first)?;
    let hop = path.hops.iter().find(|h| (h.device, h.side) == at)?;
    let count = open.iter().filter(|j| last_place(j) == Some(at)).count() as u64;
    let gap = gap(&path.hops, hop);
    // What came further on, or was answered, passed here, whatever was seen of it.
    let further = path.hops.iter().skip_while(|h| (h.device, h.side) != at);
    let further = further.skip(1).map(|h| h.packets).max().unwrap_or(0);
    let answers = match direction {
        Direction::Forward => view.seen(Direction::Reply),
        _ => 0,
    };
    let answered = hop.packets.saturating_sub(further.max(answers)) < WORTH_A_VERDICT;
    if count < WORTH_A_VERDICT || answered {
        return None;
    }
    let next = hop
        .next
        .iter()
        .filter_map(|n| path.hops.get(*n))
        .max_by_key(|h| h.packets)?;
    let between = format!(
        " on the way to {} ({} of {} came there)",
        words::interface(view.host, next.device),
        next.packets,
        hop.packets
    );
    Some(Silence {
        candidate: explain(view, direction, first, &between),
        direction,
        affected: count.min(gap),
        cause_known: known(view, first),
    })
}

/// How many packets passed a hop and none of the next ones. Copies of a flood make up for others: then it is none.
fn gap(hops: &[Hop], hop: &Hop) -> u64 {
    let after: u64 = hop
        .next
        .iter()
        .filter_map(|n| hops.get(*n))
        .map(|next| next.packets)
        .sum();
    if after == 0 {
        return 0;
    }
    hop.packets.saturating_sub(after)
}

/// Whether a process had it from a TUN device just before the trace ended: it may still pass it on.
fn is_with_a_process(view: &View<'_>, journey: &Journey) -> bool {
    let last = journey.steps.last().and_then(|step| step.event.device);
    let kind = last.and_then(|device| view.host.link(device));
    view.young(journey) && kind.is_some_and(|link| link.kind == "tun")
}

pub(super) fn is_open(journey: &Journey) -> bool {
    matches!(journey.fate, Fate::Vanished { .. } | Fate::InFlight)
}

fn last_place(journey: &Journey) -> Option<(Device, Side)> {
    journey.steps.iter().rev().find_map(|s| {
        let side = match s.event.detail {
            Detail::Ingress => Side::Ingress,
            Detail::Egress => Side::Egress,
            _ => return None,
        };
        Some((s.event.device?, side))
    })
}

/// Times that the program which sees drops could not run: of any flow.
fn missed_drops(view: &View<'_>) -> u64 {
    let missed = view.trace.losses.missed.iter();
    missed
        .filter(|(hook, _)| hook == "kfree_skb")
        .map(|(_, n)| n)
        .sum()
}

/// A fragment that came to its destination and nothing after it: the rest of its datagram is missing, and it waits.
/// The kernel gives up after net.ipv4.ipfrag_time, 30 seconds by default: a trace may well end before.
fn unassembled(view: &View<'_>, journey: &Journey) -> Option<Candidate> {
    let last = last_seen(journey)?;
    let (device, tuple) = (last.device?, last.tuple?);
    last.packet.as_ref()?.fragment?;
    let waits =
        matches!(last.detail, Detail::Ingress) && view.host.is_local(device.netns, tuple.dst);
    if !waits {
        return None;
    }
    let shell = Shell::of(view.host, Some(device.netns));
    let candidate = Candidate::new(
        &FRAGMENT,
        place_of(view.host, Some(last), "route"),
        format!(
            "a fragment waits on {} for others of its datagram, and they did not come",
            view.host.namespace(device.netns)
        ),
    )
    .leads_to(Outcome::Vanished)
    .sure(Confidence::Likely)
    .because(
        "packet",
        "a fragment was seen at its destination; its datagram reached no socket".to_owned(),
    );
    Some(candidate.advise([
        text("where were the other fragments lost? look for drops before this place; without the first one, which alone has ports, only a trace of the host shows the others"),
        shell.look("counters of reassembly", command!["nstat -az"].piped_to("grep -i reasm".into())),
    ]))
}

/// The device whose XDP program was the last to get it.
fn given_to_xdp(journey: &Journey) -> Option<Device> {
    let last = &journey.steps.last()?.event;
    match &last.detail {
        Detail::Consumed {
            function: Some(function),
        } if GIVEN_TO_XDP.contains(&function.as_str()) => last.device,
        _ => None,
    }
}

/// A tc filter where it was seen last redirects to an interface that is gone: the action frees what it gets without a word.
fn redirected_to_nothing(view: &View<'_>, journey: &Journey) -> Option<Candidate> {
    let host = view.host;
    let (device, side) = last_place(journey)?;
    let (hook, way) = match side {
        Side::Ingress => ("tc-ingress", "comes in"),
        Side::Egress => ("tc-egress", "goes out"),
    };
    let mut filters = device_state::at(host, device, hook);
    let filter = filters.find(|filter| {
        let mut to = device_state::redirects(device, filter);
        to.any(|to| host.link(to).is_none())
    })?;
    let named = device_state::attachment(host, device, filter);
    let at = words::interface(host, device);
    Some(
        Candidate::new(
            &TC_DROP,
            place_at(host, device, hook),
            format!("a tc filter of {at} redirects what {way} there to an interface that is gone: pref {}", filter.priority),
        )
        .leads_to(Outcome::Dropped)
        .sure(Confidence::Likely)
        .because("program", format!("{at} has {named}"))
        .because(
            "packet",
            "it was seen there last; the kernel reported no drop".to_owned(),
        )
        .advise(unredirected::led_again(host, device, filter))
        .advise(device_state::advice(host, device, filter)),
    )
}

/// Whether what happened is known by more than its place.
pub(super) fn known(view: &View<'_>, journey: &Journey) -> bool {
    given_to_xdp(journey).is_some()
        || macvlan::kept_apart(view.host, journey).is_some()
        || redirected_to_nothing(view, journey).is_some()
        || nfqueue::waits(view.host, journey).is_some()
        || unassembled(view, journey).is_some()
        || ovs::vanished(view, journey).is_some()
}

pub(super) fn explain(
    view: &View<'_>,
    direction: Direction,
    journey: &Journey,
    between: &str,
) -> Candidate {
    if let Some(candidate) = macvlan::kept_apart(view.host, journey) {
        return candidate.leads_to(Outcome::Vanished);
    }
    if let Some(candidate) = unassembled(view, journey) {
        return candidate;
    }
    if let Some(candidate) = redirected_to_nothing(view, journey) {
        return candidate;
    }
    if let Some(candidate) = ovs::vanished(view, journey) {
        return candidate;
    }
    let what = match direction {
        Direction::Reply => "reply vanished",
        _ => "vanished",
    };
    if let Some(mut candidate) = nfqueue::waits(view.host, journey) {
        candidate.summary = format!("{what}{between}: {}", candidate.summary);
        return candidate;
    }
    let last = last_seen(journey);
    let mut candidate = match given_to_xdp(journey) {
        Some(device) => by_xdp(view, device, &format!("{what}{between}")),
        None => without_trace(view, last, what, between),
    }
    .leads_to(Outcome::Vanished);
    candidate.evidence.extend(unobserved(view));
    let behind = last.and_then(|e| e.device);
    let suspects = behind.map(|d| device_state::suspects(view.host, d));
    for suspect in suspects.unwrap_or_default() {
        candidate = candidate.because("between", suspect);
    }
    let shell = Shell::of(view.host, last.and_then(|e| e.netns));
    candidate.advise([
        text("look at what is behind that interface: a program, a process, hardware; the evidence lists what was found"),
        shell.look("counters of its interfaces, twice: which rises?", "ip -s -s link"),
        shell.look("queues that drop", "tc -s qdisc show"),
        shell.look("programs on the interfaces", "bpftool net show"),
    ])
}

/// All that is known is where it was seen last.
fn without_trace(view: &View<'_>, last: Option<&Event>, what: &str, between: &str) -> Candidate {
    let at = last.and_then(|e| e.device).map_or_else(
        || "an unknown place".to_owned(),
        |d| words::interface(view.host, d),
    );
    let side = match last.map(|e| &e.detail) {
        Some(Detail::Egress) => "leaving",
        Some(Detail::Ingress) => "entering",
        _ => "at",
    };
    Candidate::new(
        &KERNEL_OTHER,
        place_of(view.host, last, "device"),
        format!("{what}: last seen {side} {at}{between}; the kernel reported no drop"),
    )
    .sure(Confidence::Possible)
}

/// What the trace did not see: the end may be among it.
fn unobserved(view: &View<'_>) -> impl Iterator<Item = Evidence> {
    let lost = view.lost_observations();
    let lost = (lost > 0)
        .then(|| format!("{lost} observations were lost or thinned: the end may be among them"));
    let missed = missed_drops(view);
    let missed = (missed > 0).then(|| {
        format!("{missed} drops of any flow were not seen, kfree_skb's probe was at work: this may be one")
    });
    lost.into_iter()
        .chain(missed)
        .map(|text| evidence("counter", text))
}

/// A native XDP program got it.
fn by_xdp(view: &View<'_>, device: Device, what: &str) -> Candidate {
    let programs: Vec<_> = device_state::at(view.host, device, "xdp").collect();
    let names: Vec<String> = programs
        .iter()
        .map(|a| device_state::attachment(view.host, device, a))
        .collect();
    let name = if names.is_empty() {
        String::new()
    } else {
        format!(" ({})", names.join("; "))
    };
    let place = place_at(view.host, device, "xdp");
    let mut candidate = Candidate::new(
        &XDP_DROP,
        place,
        format!(
            "{what}: the XDP program on {}{name} got it and passed nothing on; the kernel reported no drop",
            words::interface(view.host, device)
        ),
    )
    .sure(Confidence::Likely)
    .because(
        "xdp",
        "it was copied for an XDP program, and no packet came out: it was sent back (XDP_TX), redirected, or lost on that way"
            .to_owned(),
    );
    for attachment in programs {
        candidate = candidate.advise(device_state::advice(view.host, device, attachment));
    }
    candidate
}

/// A TCP connection in which the asker went on after the answer.
fn conversation(view: &View<'_>) -> bool {
    view.journeys(Direction::Forward).any(|j| {
        first_packet(j).is_some_and(
            |p| matches!(p.transport, Transport::Tcp { flags, .. } if flags & (tcp::SYN | tcp::RST | tcp::ACK) == tcp::ACK),
        )
    })
}
