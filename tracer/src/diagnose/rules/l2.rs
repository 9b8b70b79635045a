//! Frames that came to an interface with another MAC.

mod another_then;
mod misled;
mod misredirected;
pub(super) mod outdated;
pub mod past_routing;
pub(super) mod rewritten;
pub mod taken;
pub mod unredirected;

use std::net::IpAddr;

use crate::host::Host;
use crate::host::facts::Link;
use crate::model::{Detail, Device, Ethernet, Mac, Step};
use crate::network::bridging::bridge_of;
use crate::network::links::{peer_of, uppers};
use crate::network::neighbour::{self, Ask, By, answer};
use crate::network::redirects;
use crate::network::segment::Segment;
use crate::network::tunnel::remote_of;
use crate::sites;
use crate::uapi::if_packet;
use crate::uapi::neighbour::NUD_PERMANENT;
use crate::verdict::Place;

use super::super::candidate::{Candidate, Specificity, place_at};
use super::super::causes::L2_WRONG_MAC;
use super::super::layer2_commands::{
    fdb_of_bridge, fdb_of_tunnel, neighbour, permanent_neighbour, set_mac,
};
use super::super::loss::Loss;
use super::super::needs::Asked;
use super::super::overlay;
use super::super::ovs;
use super::super::remedy::{Remedy, Shell, command, ip, text};
use super::super::translation;
use super::super::words;

use misled::misled;
pub(super) use misled::{Misled, Misplaced};
pub(in super::super) use rewritten::Rewritten;

/// The Ethernet header that the dropping interface saw: the inner one after decapsulation.
pub(in super::super) fn frame(loss: &Loss<'_>) -> Option<Ethernet> {
    let here = loss.device()?;
    let events = || {
        std::iter::once(loss.event).chain(
            loss.steps()
                .iter()
                .rev()
                .map(|s| &s.event)
                .filter(|e| e.device == Some(here)),
        )
    };
    events()
        .filter_map(|e| e.packet.as_ref())
        .find_map(|p| p.ethernet)
        .or_else(|| {
            // A tunnel device shows the inner header only while it is inside.
            loss.steps()
                .iter()
                .rev()
                .find_map(|s| s.event.packet.as_ref()?.inner_ethernet)
        })
        .or_else(|| {
            loss.steps()
                .iter()
                .rev()
                .find_map(|s| s.event.packet.as_ref()?.ethernet)
        })
}

/// Discarded by an IP stack as another machine's.
pub(in super::super) fn is_stray(loss: &Loss<'_>) -> bool {
    // Without a reason, the function alone says nothing.
    let another = loss.reason() == "OTHERHOST" || loss.event.pkt_type == if_packet::OTHERHOST;
    sites::OTHER_HOST.is(loss.info) && another
}

/// Who put its destination MAC on the frame: the first interface that an IP stack sent it from with that MAC.
pub(in super::super) fn sender(loss: &Loss<'_>) -> Option<Device> {
    let mac = frame(loss)?.dst;
    if let Some((bridge, after)) = translated_within_bridge(loss)
        && after == mac
    {
        return Some(bridge);
    }
    loss.steps()
        .iter()
        .filter(|s| matches!(s.event.detail, Detail::Egress))
        .filter(|s| {
            s.event
                .packet
                .as_ref()
                .and_then(|p| p.ethernet)
                .is_some_and(|e| e.dst == mac)
        })
        .find_map(|s| s.event.device)
}

/// The bridge whose filter translated a frame to an address behind itself, and the MAC that it put on it: that of its own
/// neighbour entry, without a way through its interface (`br_nf_pre_routing_finish`, where the route leads back to the bridge).
pub(in super::super) fn translated_within_bridge(loss: &Loss<'_>) -> Option<(Device, Mac)> {
    let host = loss.host;
    let seen = |step: &Step| {
        let packet = step.event.packet.as_ref().filter(|p| p.tunnel.is_none())?;
        let port = step.event.device?;
        let bridge = bridge_of(host, port).filter(|bridge| bridge.device != port)?;
        Some((bridge.device, step.event.tuple?.dst, packet.ethernet?.dst))
    };
    let steps = || loss.steps().iter();
    let pairs = steps().zip(steps().skip(1));
    let mut pairs = pairs.filter_map(|(from, to)| Some((seen(from)?, seen(to)?)));
    pairs.find_map(|((bridge, dst, mac), (behind, to, after))| {
        (bridge == behind && dst != to && mac != after).then_some((bridge, after))
    })
}

/// The interface on which the packet had come into the sender's namespace, when it is only passed on there.
pub(in super::super) fn came_to(loss: &Loss<'_>, sender: Device) -> Option<Device> {
    let before = loss.steps().iter().take_while(|s| {
        !(s.event.device == Some(sender) && matches!(s.event.detail, Detail::Egress))
    });
    before
        .filter(|s| matches!(s.event.detail, Detail::Ingress))
        .filter_map(|s| s.event.device)
        .filter(|d| d.netns == sender.netns)
        .last()
}

/// The neighbour whose MAC the sender put on the frame: the route's gateway, else the destination itself.
pub(in super::super) fn next_hop(loss: &Loss<'_>, sender: Device) -> Option<IpAddr> {
    Some(hop_towards(loss.host, sender, loss.dst()?))
}

/// The same for a destination, as far as the route is known.
fn hop_towards(host: &Host, sender: Device, dst: IpAddr) -> IpAddr {
    let mut all: Vec<_> = told_hops(host, sender, dst).collect();
    // what was asked with the packet's own source comes first
    all.sort_by_key(|(source, _)| source.is_unspecified());
    all.first().map_or(dst, |(_, hop)| *hop)
}

/// The next hop of what the sender looks up before it has chosen a source.
fn hop_without_source(host: &Host, sender: Device, dst: IpAddr) -> Option<IpAddr> {
    let mut all = told_hops(host, sender, dst);
    all.find(|(source, _)| source.is_unspecified())
        .map(|(_, hop)| hop)
}

/// Next hops by this interface as the kernel told them, the last answer first, with the source that was asked for.
fn told_hops(host: &Host, sender: Device, dst: IpAddr) -> impl Iterator<Item = (IpAddr, IpAddr)> {
    host.routes.iter().rev().filter_map(move |dated| {
        let answer = &dated.fact;
        let route = answer.result.as_ref().ok()?;
        let here = answer.netns == sender.netns
            && answer.tuple.dst == dst
            && route.oif == Some(sender.ifindex.0);
        here.then(|| (answer.tuple.src, route.gateway.unwrap_or(dst)))
    })
}

/// What is known of a frame that came to an interface with another MAC.
struct Stray<'a> {
    /// The MAC that it carries, where that is not the interface's.
    carries: Option<Mac>,
    /// Where it should have arrived: the interface that owns the next hop; else where it was discarded.
    here: Device,
    /// That interface's MAC.
    has: Option<Mac>,
    /// Interfaces with the MAC that it carries.
    owners: Vec<&'a Link>,
    sender: Option<Device>,
    next_hop: Option<IpAddr>,
}

impl Stray<'_> {
    /// Whether the interface is the one that it was for.
    fn is_meant(&self, host: &Host) -> bool {
        let only = |hop| {
            let sender = self.sender;
            sender.is_some_and(|sender| is_only_receiver(host, sender, hop, self.here))
        };
        self.next_hop
            .is_some_and(|hop| host.is_local(self.here.netns, hop) || only(hop))
    }
}

/// Interfaces with this MAC that the frame could have come to: of the sender's segment, or of a namespace that it passed.
/// Networks of one machine may use the same MACs.
pub(super) fn owners<'a>(
    loss: &Loss<'a>,
    segment: Option<&Segment<'a>>,
    mac: Mac,
) -> Vec<&'a Link> {
    let reached = |link: &&Link| {
        let netns = Some(link.device.netns);
        // the other direction shows machines that this packet did not come to
        let view = loss.view();
        let mut devices = view.kept().flat_map(translation::passed);
        let passed = loss.steps().iter().any(|s| s.event.netns == netns)
            || devices.any(|device| Some(device.netns) == netns);
        passed || segment.is_some_and(|s| s.end(link.device).is_some())
    };
    let there = loss.host.by_mac(mac).filter(reached);
    there
        .filter(|link| !loss.host.is_gone(link.device))
        .collect()
}

/// Whether an interface is the only one that gets what another one sends: the other end of its cable, which hands nothing on, while
/// nobody has the address of the next hop, as those of AWS and Calico that pods have for their gateway.
pub(in super::super) fn is_only_receiver(
    host: &Host,
    sender: Device,
    hop: IpAddr,
    here: Device,
) -> bool {
    let Some(peer) = peer_of(host, sender).filter(|peer| peer.device == here) else {
        return false;
    };
    let hands_on = peer.master.is_some() || uppers(host, peer).next().is_some();
    !hands_on
        && redirects::other_end(host, peer).is_none()
        && neighbour::owners(host, sender, hop).is_empty()
}

fn stray<'a>(loss: &Loss<'a>) -> Option<Stray<'a>> {
    let host = loss.host;
    let died = loss.device()?;
    let carries = frame(loss).map(|f| f.dst);
    let sender = sender(loss);
    let next_hop = sender.and_then(|sender| next_hop(loss, sender));
    // A flooded frame dies at every interface: what matters is the one that it was meant for.
    let meant = |device: &Device| next_hop.is_some_and(|hop| host.is_local(device.netns, hop));
    let copies = loss
        .journey
        .steps
        .iter()
        .filter_map(|s| match &s.event.detail {
            Detail::Drop(info) if info.reason.as_deref() == Some("OTHERHOST") => s.event.device,
            _ => None,
        });
    let here = std::iter::once(died)
        .chain(copies)
        .find(meant)
        .unwrap_or(died);
    let has = host.link(here).and_then(|l| l.mac);
    let carries = carries.filter(|m| Some(*m) != has);
    Some(Stray {
        carries,
        here,
        has,
        owners: carries.map_or_else(Vec::new, |mac| {
            let from = sender.and_then(|sender| host.link(sender));
            let segment = from.map(|link| Segment::of_mac(host, link, mac));
            owners(loss, segment.as_ref(), mac)
        }),
        sender,
        next_hop,
    })
}

/// OTHERHOST where no other copy was taken.
pub fn wrong_mac(loss: &Loss<'_>) -> Option<Candidate> {
    if !is_stray(loss) {
        return None;
    }
    if let Some(then) = another_then::than_now(loss) {
        return Some(then);
    }
    let host = loss.host;
    let found = stray(loss)?;
    let name = host.interface(found.here);
    let mut summary = format!(
        "wrong destination MAC (OTHERHOST) on {} at {name}",
        host.namespace(found.here.netns)
    );
    match (found.carries, found.has) {
        (Some(c), Some(h)) => summary += &format!(": the frame is for {c}, the interface has {h}"),
        (Some(c), None) => summary += &format!(": the frame is for {c}"),
        (None, Some(h)) => summary += &format!(": the frame is not for {h}"),
        (None, None) => {}
    }
    let misled = found.carries.and_then(|mac| misled(loss, found.here, mac));
    let nobody = found.carries.is_some() && found.owners.is_empty();
    if let Some(misled) = &misled {
        summary += &format!("; {}", misled.words);
    } else if nobody && !found.is_meant(host) {
        summary += "; no interface on the way has that MAC";
    }
    let place = Place {
        function: loss.info.function.clone(),
        ..place_at(host, found.here, "device")
    };
    let candidate = Candidate::new(&L2_WRONG_MAC, place, summary).explains(Specificity::Fact);
    let mut candidate = match ovs::misdirected(loss, candidate) {
        Ok(found) => return Some(found),
        Err(candidate) => *candidate,
    };
    if let Some(mac) = found.carries.filter(|_| nobody) {
        candidate = candidate.because("link", format!("no interface on the way has {mac}"));
    } else if let Some(mac) = found.carries {
        let owners: Vec<_> = found
            .owners
            .iter()
            .map(|l| words::interface(host, l.device))
            .collect();
        candidate = candidate.because("link", format!("{mac} belongs to {}", owners.join(", ")));
    }
    if let Some(misled) = misled {
        let (kind, evidence) = misled.evidence;
        return Some(candidate.because(kind, evidence).advise(misled.advice));
    }
    // A copy at somebody who was neither asked nor the next hop tells nothing of who should have got the frame.
    if !found.is_meant(host)
        && let Some(outdated) = outdated::entry(loss)
    {
        return Some(outdated);
    }
    Some(by_neighbor_entry(loss, &found, candidate))
}

/// Who put the MAC on the frame had it from a neighbour entry (or, in a VXLAN, the frame went to the wrong end).
fn by_neighbor_entry(loss: &Loss<'_>, found: &Stray<'_>, candidate: Candidate) -> Candidate {
    let host = loss.host;
    let shared = found.carries.and_then(|mac| shared(host, found, mac));
    let candidate = candidate.advise(shared.into_iter().flatten());
    let candidate = match found.sender {
        Some(sender) => at_sender(loss, found, sender, candidate),
        None => candidate.advise([Shell::of(host, Some(found.here.netns)).look(
            "look first: neighbour entries",
            command![..ip(loss.v6()), "neigh show"],
        )]),
    };
    let Some(mac) = found.carries else {
        return candidate.advise([text(
            "correct the entry that names the wrong MAC: ip link shows the right one",
        )]);
    };
    let bridge = bridges(loss).next().map(|bridge| {
        Shell::of(host, Some(bridge.device.netns)).look(
            "what the bridge on the way knows of that MAC",
            fdb_of_bridge(&bridge.name, mac),
        )
    });
    candidate.advise(bridge).advise(renamed(host, found, mac))
}

/// The neighbour entry of the sender, and the right one.
fn at_sender(
    loss: &Loss<'_>,
    found: &Stray<'_>,
    sender: Device,
    candidate: Candidate,
) -> Candidate {
    let host = loss.host;
    let shell = Shell::of(host, Some(sender.netns));
    let device = host.interface(sender);
    let ip = ip(loss.v6());
    let hop = found.next_hop.map(|hop| hop.to_string());
    let entry = found
        .next_hop
        .and_then(|next| entry_words(host, sender, next));
    let right = found.next_hop.filter(|_| found.is_meant(host));
    let right = right.zip(found.has).map(|(hop, mac)| {
        let state = lasting(host, sender, hop);
        let replace = |mac: Mac| {
            command![
                ..ip,
                "neigh replace",
                hop,
                "lladdr",
                mac,
                "dev",
                device,
                ..state
            ]
        };
        let change = shell.change("give the sender's entry the right MAC", replace(mac));
        match found.carries {
            Some(old) => told_end(loss, sender, (old, mac), change.undone_by(replace(old))),
            None => change,
        }
    });
    let told = told_by_table(host, found, sender);
    let candidate = candidate.because("neighbor", told.as_ref().map(|(words, _)| words.clone()));
    let right = match told {
        Some((_, remedy)) => Some(remedy),
        None => right,
    };
    candidate
        .because(
            "neighbor",
            format!(
                "that MAC was put on the frame at {}",
                words::interface(host, sender)
            ),
        )
        .because("neighbor", entry.map(|entry| format!("its entry {entry}")))
        .advise([shell.look(
            "look first: the neighbour entry that the sender uses",
            command![..ip, "neigh show", ..hop, "dev", device],
        )])
        .advise(right)
        .advise(tunnel_entry(loss, found.carries))
}

/// A bridge that answers for others from its own table (`neigh_suppress`) and told the sender the wrong MAC: its entry corrected, and
/// the sender's, which the next answer would make wrong again.
fn told_by_table(host: &Host, found: &Stray<'_>, sender: Device) -> Option<(String, Remedy)> {
    let (address, wrong) = (found.next_hop?, found.carries?);
    let right = found.has.filter(|_| found.is_meant(host))?;
    let learned = host.neighbor(sender, address)?.state & NUD_PERMANENT == 0;
    let told = answer(host, asked_by(host, sender, address));
    let bridge = told
        .answerers
        .iter()
        .find(|answerer| matches!(answerer.by, By::Table) && answerer.mac == Some(wrong));
    let bridge = bridge.filter(|_| learned)?.link;
    let (at, name) = (words::interface(host, bridge.device), &bridge.name);
    let own = host.interface(sender);
    let entry = |mac: Mac| permanent_neighbour(address, mac, name);
    let senders = |mac: Mac| neighbour(address, mac, &own, "reachable");
    let shell = Shell::of(host, Some(sender.netns));
    let change = Shell::of(host, Some(bridge.device.netns))
        .change(
            format!("give {at}, which answers for {address}, the right MAC, and the sender too"),
            entry(right),
        )
        .and_in(&shell, senders(right))
        .undone_by(entry(wrong))
        .undone_in(&shell, senders(wrong));
    let words = format!(
        "{at} answers questions for {address} from its own table of neighbours (neigh_suppress), and says {wrong}"
    );
    Some((words, change))
}

/// The question by which a sender learns a neighbour's MAC.
fn asked_by(host: &Host, sender: Device, address: IpAddr) -> Ask {
    Ask {
        device: sender,
        address,
        source: host.near(sender, address).map(|own| own.address),
    }
}

/// What to read about who told a sender a MAC.
pub(in super::super) fn ask_who_told(
    host: &Host,
    sender: Device,
    address: IpAddr,
    list: &mut Asked,
) {
    let suppresses = host
        .links()
        .any(|link| link.port.is_some_and(|port| port.neigh_suppress));
    if suppresses {
        list.extend(answer(host, asked_by(host, sender, address)).missing);
    }
}

/// The interface given the MAC of the pod's link that hands what comes in on to it: both ends have one MAC on purpose, and all
/// senders know that one.
fn shared(host: &Host, found: &Stray<'_>, mac: Mac) -> Option<[Remedy; 2]> {
    let hands_on = |link: &&&Link| redirects::other_end(host, link).is_some();
    let pod = found.owners.iter().find(hands_on)?;
    let text = format!(
        "give the interface the MAC of {}, which hands on to it what comes in: senders know that one",
        words::interface(host, pod.device)
    );
    let look = Shell::of(host, Some(found.here.netns)).look(
        "the MAC that the interface has",
        command!["ip link show dev", host.interface(found.here)],
    );
    Some([look, given(host, found, mac, text)?])
}

/// The interface given the MAC that the frame carries. Whoever got a flooded copy is not the one that the others expect.
fn renamed(host: &Host, found: &Stray<'_>, mac: Mac) -> Option<Remedy> {
    let twice = match found.owners.first() {
        Some(owner) => format!(
            " (now {} has it: not on one segment with it)",
            words::interface(host, owner.device)
        ),
        None => String::new(),
    };
    let text = format!("or give the interface the MAC that the others expect{twice}");
    given(host, found, mac, text)
}

/// The interface for which the frame was given this MAC.
fn given(host: &Host, found: &Stray<'_>, mac: Mac, text: String) -> Option<Remedy> {
    if !found.is_meant(host) {
        return None;
    }
    let name = host.interface(found.here);
    let change = Shell::of(host, Some(found.here.netns)).change(text, set_mac(&name, mac));
    Some(match found.has {
        Some(own) => change.undone_by(set_mac(&name, own)),
        None => change,
    })
}

/// A VXLAN device that does not learn has to be told too where the right MAC is: at the end to which it sent the wrong one.
fn told_end(loss: &Loss<'_>, sender: Device, (old, new): (Mac, Mac), change: Remedy) -> Remedy {
    let host = loss.host;
    let told = host
        .link(sender)
        .and_then(|l| l.vxlan.as_ref())
        .is_some_and(|v| !v.learning && v.remote.is_none());
    let Some(remote) = remote_of(host, sender, old).filter(|_| told) else {
        return change;
    };
    let name = host.interface(sender);
    change
        .and(overlay::entry("replace", new, &name, remote.address))
        .undone_by(overlay::entry("del", new, &name, remote.address))
}

/// In a VXLAN the frame may have gone to the wrong end: the device's own entry for the MAC.
fn tunnel_entry(loss: &Loss<'_>, mac: Option<Mac>) -> Option<Remedy> {
    let (vxlan, mac) = vxlan(loss).zip(mac)?;
    Some(Shell::of(loss.host, Some(vxlan.device.netns)).look(
        "and to which end the tunnel sends that MAC",
        fdb_of_tunnel(&vxlan.name, mac),
    ))
}

/// The VXLAN device into which the frame went.
fn vxlan<'a>(loss: &Loss<'a>) -> Option<&'a Link> {
    loss.steps().iter().find_map(|s| {
        let out = matches!(s.event.detail, Detail::Egress);
        let link = loss.host.link(s.event.device?)?;
        (out && link.vxlan.is_some()).then_some(link)
    })
}

/// Bridges on the way, as often as the packet was seen at one.
pub(super) fn bridges<'a>(loss: &Loss<'a>) -> impl Iterator<Item = &'a Link> {
    let host = loss.host;
    let steps = loss.steps().iter();
    steps.filter_map(move |s| bridge_of(host, s.event.device?))
}

/// How an entry that stands for a sender's is to be marked, to be as lasting as that one: without a word it is permanent.
fn lasting(host: &Host, sender: Device, hop: IpAddr) -> &'static [&'static str] {
    match host.neighbor(sender, hop) {
        Some(entry) if entry.state & NUD_PERMANENT == 0 => &["nud", "reachable"],
        _ => &[],
    }
}

/// What a sender's neighbour entry says: `for 10.0.0.9 says 02:00:00:00:00:09`.
pub(super) fn entry_words(host: &Host, sender: Device, hop: IpAddr) -> Option<String> {
    let entry = host.neighbor(sender, hop)?;
    let kind = match entry.state & NUD_PERMANENT {
        0 => "",
        _ => " (PERMANENT: set by hand or by a program)",
    };
    Some(format!("for {hop} says {}{kind}", entry.mac?))
}
