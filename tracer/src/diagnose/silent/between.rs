//! Packets lost between two nodes that were both traced: they left the one, for the other, and never came there.

use std::net::IpAddr;

use crate::filter::destination;
use crate::host::Host;
use crate::host::facts::{Link, NodeId, TracedNode};
use crate::model::{Device, Direction, Event, Fate, KtimeNs, Mac, Proto, Side, Tunnel, TunnelKind};
use crate::network::reach::Reach;
use crate::verdict::{Confidence, Evidence, Outcome};

use super::super::asked::is_asked;
use super::super::candidate::{Candidate, evidence};
use super::super::causes::{REMOTE_UNANSWERED, TUNNEL_NO_REMOTE, WIRE_LOST};
use super::super::device_state;
use super::super::mtu;
use super::super::remedy::{Remedy, Shell, command, ip, text};
use super::super::view::{GRACE_NS, View, last_seen, total};
use super::super::words;
use super::{Counts, Silence, place_of};

/// Bytes of a frame's header, which an MTU does not count.
const ETHERNET: u32 = 14;
/// By how much a clock may be wrong that no packets tell of.
const UNSURE_NS: u64 = 50_000_000;

/// A packet that left a node, and the interface of the other node for which it was.
#[derive(Clone, Copy)]
struct Gap<'a> {
    left: &'a Event,
    from: Device,
    /// Interface that owns the address, or the MAC, to which it was sent.
    to: Device,
    node: &'a TracedNode,
    tunnel: Option<Tunnel>,
}

/// Left one node, for another, and never came.
pub(super) fn lost(view: &View<'_>, counts: &Counts) -> Option<Silence> {
    [Direction::Forward, Direction::Reply]
        .into_iter()
        .find_map(|direction| one_way(view, direction, counts))
}

fn one_way(view: &View<'_>, direction: Direction, counts: &Counts) -> Option<Silence> {
    let fates = match direction {
        Direction::Reply => counts.reply,
        _ => counts.forward,
    };
    // TCP sends again: what came through in the end was not lost.
    let recovered = view.tuple()?.proto == Proto::Tcp && fates.delivered > fates.left;
    if view.host.nodes.len() < 2 || fates.left == 0 || recovered {
        return None;
    }
    let candidate = leaving(view, direction)
        .find_map(|event| misled(view.host, event))
        .map(|candidate| (candidate, fates.left))
        .or_else(|| {
            let gap = gaps(view, direction).find(Gap::is_asked)?;
            let affected = missing(view, direction, &gap, counts)?.min(fates.left);
            Some((explain(view, direction, gap), affected))
        });
    let (candidate, affected) = candidate?;
    Some(Silence {
        candidate,
        direction,
        affected,
        cause_known: true,
    })
}

/// The last events of packets that left.
fn leaving<'a>(view: &View<'a>, direction: Direction) -> impl Iterator<Item = &'a Event> {
    view.journeys(direction)
        .filter(|j| matches!(j.fate, Fate::Left { .. }))
        .filter_map(last_seen)
}

/// Those of them that were for another node.
fn gaps<'a>(view: &View<'a>, direction: Direction) -> impl Iterator<Item = Gap<'a>> {
    let host = view.host;
    leaving(view, direction).filter_map(|event| gap(host, event))
}

/// It left one node for another that was not asked for it, and no answer came: nobody knows where it was lost.
pub(super) fn unknown(view: &View<'_>, counts: &Counts) -> Option<Silence> {
    let Counts { forward, reply } = counts;
    if forward.left == 0 || forward.delivered > 0 || total(reply) > 0 {
        return None;
    }
    let gap = gaps(view, Direction::Forward).find(|gap| !gap.is_asked())?;
    let sender = view.host.home(gap.from.netns)?;
    let to = words::destination(&view.tuple()?);
    let (at, node) = (words::interface(view.host, gap.from), &gap.node.name);
    let tuple = gap.left.tuple?;
    let candidate = Candidate::new(
        &REMOTE_UNANSWERED,
        place_of(view.host, Some(gap.left), "device"),
        format!(
            "no answer from {to}: it left {} through {at} for {node}; cannot tell what became of it there, because {node} was not asked for the translated tuple {tuple}",
            sender.name
        ),
    )
    .sure(Confidence::Possible)
    .because("packet", gap.unasked())
    .advise([text(format!(
        "trace again, on both nodes with the expression: ({}) or ({})",
        sender.run.expression,
        destination(&tuple)
    ))]);
    Some(Silence::of_requests(view, candidate))
}

/// What a node could not see of a flow that is well.
pub(super) fn unasked(view: &View<'_>) -> Option<Evidence> {
    let mut gaps = [Direction::Forward, Direction::Reply]
        .into_iter()
        .flat_map(|direction| gaps(view, direction));
    let gap = gaps.find(|gap| !gap.is_asked())?;
    Some(evidence("packet", gap.unasked()?))
}

impl Gap<'_> {
    /// Whether the other node looked for it.
    fn is_asked(&self) -> bool {
        let at = self.left.at;
        let outer = self.tunnel.map(|tunnel| tunnel.outer);
        let mut tuples = self.left.tuple.into_iter().chain(outer);
        tuples.any(|tuple| is_asked(self.node, &tuple, at))
    }

    /// The MAC to which its frame went, where that is no interface's of the node for which it was.
    fn router(&self, host: &Host) -> Option<Mac> {
        let mac = self.left.packet.as_ref()?.ethernet?.dst;
        let of_node = |link: &Link| {
            let home = host.home(link.device.netns);
            home.is_some_and(|home| home.id == self.node.id)
        };
        (!host.by_mac(mac).any(of_node)).then_some(mac)
    }

    fn handed_to_another(&self, host: &Host) -> Option<String> {
        let mac = self.router(host)?;
        let node = &self.node.name;
        Some(format!(
            "the frame went to {mac}, which no interface of {node} has: whoever has that MAC must pass it on to {node}"
        ))
    }

    /// The interface for which the frame was, where it takes none as large, and the packet's length.
    fn too_large<'h>(&self, host: &'h Host) -> Option<(&'h Link, u32)> {
        let to = host.link(self.to)?;
        let frame = self.left.packet.as_ref()?.ethernet?;
        let size = self.left.len.checked_sub(ETHERNET)?;
        let one = self.left.segments <= 1 && to.mac == Some(frame.dst);
        (one && size > to.mtu).then_some((to, size))
    }

    /// That it did not.
    fn unasked(&self) -> Option<String> {
        let (node, tuple) = (&self.node.name, self.left.tuple?);
        Some(format!(
            "{node} was not asked for {tuple} when it left: its way through {node} is not known"
        ))
    }
}

/// How many packets left and did not come while both nodes were traced, by the exact counters of both; `None` where as
/// many came, and where it was answered though none was seen to come. What only one of them could see is taken off.
fn missing(view: &View<'_>, direction: Direction, gap: &Gap<'_>, counts: &Counts) -> Option<u64> {
    let path = view.flow.path(direction);
    let sender = view.host.home(gap.from.netns)?;
    let is_there = |device: Device| {
        let home = view.host.home(device.netns);
        home.is_some_and(|node| node.id == gap.node.id)
    };
    let of = |side: Side, here: &dyn Fn(Device) -> bool| {
        let hops = path
            .hops
            .iter()
            .filter(|h| h.side == side && here(h.device));
        hops.map(|hop| hop.packets).max().unwrap_or(0)
    };
    let left = of(Side::Egress, &|device| device == gap.from);
    let came = of(Side::Ingress, &is_there);
    if came == 0 && direction == Direction::Forward && view.answers(counts) > 0 {
        return None;
    }
    let unasked = |event: &Event| self::gap(view.host, event).is_some_and(|gap| !gap.is_asked());
    let lonely = view.journeys(direction).filter_map(|journey| {
        let (first, last) = (journey.steps.first()?, last_seen(journey)?);
        let gone =
            last.device == Some(gap.from) && (!is_traced(gap.node, last.at) || unasked(last));
        let arrived =
            first.event.device.is_some_and(is_there) && !is_traced(sender, first.event.at);
        Some((u64::from(gone), u64::from(arrived)))
    });
    let (gone, arrived) = lonely.fold((0, 0), |sum, one| (sum.0 + one.0, sum.1 + one.1));
    let missing = left
        .saturating_sub(gone)
        .checked_sub(came.saturating_sub(arrived))?;
    // exact counters do not tell since when the node was asked, and of a longer flow not all packets are kept
    let asked = |tuple| is_asked(gap.node, &tuple, view.flow.first);
    let most = if gap.left.tuple.is_none_or(asked) {
        missing
    } else {
        let lost = gaps(view, direction).filter(|g| g.node.id == gap.node.id && g.is_asked());
        lost.count() as u64
    };
    Some(missing.min(most)).filter(|missing| *missing > 0)
}

/// Whether an address is one of another node that was traced at that time, where the way out of that node leads to it.
fn owner<'a>(host: &'a Host, address: IpAddr, event: &Event) -> Option<(Device, &'a TracedNode)> {
    let here = host.home(event.device?.netns)?.id;
    host.owners(address)
        .filter(|device| host.is_watched(device.netns))
        .filter(|device| Reach::of(host, device.netns).open)
        .find_map(|device| Some((device, abroad(host, device, here, event)?)))
}

fn abroad<'a>(
    host: &'a Host,
    device: Device,
    here: NodeId,
    event: &Event,
) -> Option<&'a TracedNode> {
    let node = host.home(device.netns).filter(|node| node.id != here)?;
    is_traced(node, event.at).then_some(node)
}

/// Whether a node saw, for sure, what came to it at that time: its clock may be wrong, and what comes late in its trace may
/// come after it.
fn is_traced(node: &TracedNode, at: KtimeNs) -> bool {
    let wrong = node.clock.uncertainty_ns.unwrap_or(UNSURE_NS);
    let begun = at.0 >= node.from.0.saturating_add(wrong);
    begun && node.until.is_none_or(|until| until.since(at) >= GRACE_NS)
}

fn gap<'a>(host: &'a Host, left: &'a Event) -> Option<Gap<'a>> {
    let from = left.device?;
    let packet = left.packet.as_ref()?;
    let tunnel = packet.tunnel;
    let target = tunnel.map_or(left.tuple?.dst, |tunnel| tunnel.outer.dst);
    let here = host.home(from.netns)?.id;
    // where it goes on routed, the next node's MAC tells, and the address is of something behind it
    let by_mac = packet.ethernet.and_then(|ethernet| {
        host.by_mac(ethernet.dst)
            .map(|link| link.device)
            .filter(|device| host.is_watched(device.netns))
            .find_map(|device| Some((device, abroad(host, device, here, left)?)))
    });
    let (to, node) = by_mac.or_else(|| owner(host, target, left))?;
    Some(Gap {
        left,
        from,
        to,
        node,
        tunnel,
    })
}

/// A tunnel took it to an address that is not of the node on which its destination is.
fn misled(host: &Host, left: &Event) -> Option<Candidate> {
    let tunnel = left.packet.as_ref()?.tunnel?;
    let inside = left.packet.as_ref()?.tuple?;
    let (_, home) = owner(host, inside.dst, left)?;
    let remote = tunnel.outer.dst;
    let here = host.home(left.device?.netns)?;
    let reaches = host
        .owners(remote)
        .any(|device| host.home(device.netns).is_some_and(|n| n.id == home.id));
    if reaches || remote.is_multicast() {
        return None;
    }
    let shell = Shell::of(host, left.device.map(|d| d.netns));
    let summary = format!(
        "the tunnel takes it to the wrong end: {} is on {}, and it was sent to {remote}",
        inside.dst, home.name
    );
    Some(
        Candidate::new(
            &TUNNEL_NO_REMOTE,
            place_of(host, Some(left), "device"),
            summary,
        )
        .leads_to(Outcome::Vanished)
        .sure(Confidence::Likely)
        .because(
            "packet",
            format!("it left {} in a tunnel to {remote}", here.name),
        )
        .advise([
            shell.look("which end the tunnel has for this MAC", "bridge fdb show"),
            shell.look(
                "the neighbour entry that leads there",
                command![..ip(inside.dst.is_ipv6()), "neigh show"],
            ),
        ]),
    )
}

fn explain(view: &View<'_>, direction: Direction, gap: Gap<'_>) -> Candidate {
    let host = view.host;
    let what = match direction {
        Direction::Reply => "reply lost",
        _ => "lost",
    };
    let sender = host.home(gap.from.netns).map_or("", |n| n.name.as_str());
    let at = words::interface(host, gap.from);
    let to = words::interface(host, gap.to);
    let node = &gap.node.name;
    let large = gap
        .too_large(host)
        .map_or_else(String::new, |(link, size)| {
            format!(
                ", which takes packets of at most {} bytes (its MTU); this one has {size}",
                link.mtu
            )
        });
    let summary = format!(
        "{what} between {sender} and {node}: it left {sender} through {at} and never reached {to} of {node}{large}"
    );
    let losses = &view.trace.losses;
    let unseen: u64 = losses
        .lost
        .iter()
        .chain(&losses.thinned)
        .map(|(_, n)| n)
        .sum();
    let sure = if unseen == 0 {
        Confidence::Likely
    } else {
        Confidence::Possible
    };
    let mut candidate = Candidate::new(
        &WIRE_LOST,
        place_of(host, Some(gap.left), "device"),
        summary,
    )
    .leads_to(Outcome::Vanished)
    .sure(sure)
    .because(
        "packet",
        format!("the trace of {node} was running, and no interface of it saw the packet"),
    )
    .because(
        "counter",
        (unseen > 0).then(|| {
            format!("{unseen} observations were lost or thinned: it may have come all the same")
        }),
    );
    for suspect in device_state::suspects(host, gap.to) {
        candidate = candidate.because("between", suspect);
    }
    candidate
        .because("between", gap.handed_to_another(host))
        .advise(advice(host, &gap))
}

fn advice(host: &Host, gap: &Gap<'_>) -> Vec<Remedy> {
    let here = Shell::of(host, Some(gap.from.netns));
    let there = Shell::of(host, Some(gap.to.netns));
    let (from, to) = (host.interface(gap.from), host.interface(gap.to));
    let mut list = vec![
        there.look(
            "do its counters of errors and drops rise?",
            command!["ip -s -s link show dev", to],
        ),
        there.look(
            "is there a program before the stack?",
            command!["bpftool net show dev", to],
        ),
        here.look(
            "does it come out of the card?",
            command!["ip -s -s link show dev", from],
        ),
    ];
    if let (Some((link, _)), Some(sender)) = (gap.too_large(host), host.link(gap.from)) {
        list.insert(0, mtu::as_other_end(host, link, sender.mtu));
    }
    if let (Some(_), Some(tuple)) = (gap.router(host), gap.left.tuple) {
        let outer = gap.tunnel.map_or(tuple.dst, |tunnel| tunnel.outer.dst);
        let way = here.look(
            format!("is that the right next hop to {}?", gap.node.name),
            command![..ip(outer.is_ipv6()), "route get", outer],
        );
        list.insert(0, way);
    }
    match gap.tunnel {
        Some(tunnel) => list.push(text(format!(
            "what stands between the nodes must let {} pass: security groups, firewalls, switches",
            outer_words(&tunnel)
        ))),
        None => list.push(text(
            "what stands between the nodes: cables, switches, VLANs, security groups, firewalls",
        )),
    }
    list
}

/// `UDP port 8472 (VXLAN)`.
fn outer_words(tunnel: &Tunnel) -> String {
    let name = match tunnel.kind {
        TunnelKind::Vxlan => "VXLAN",
        TunnelKind::Geneve => "Geneve",
        TunnelKind::RawUdp => "IP in UDP",
        TunnelKind::Gre => return "GRE (IP protocol 47)".to_owned(),
        TunnelKind::IpIp => return "IP in IP (IP protocol 4 or 41)".to_owned(),
    };
    format!("UDP port {} ({name})", tunnel.outer.dport)
}
