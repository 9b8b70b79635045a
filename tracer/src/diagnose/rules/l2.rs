//! Frames that came to an interface with another MAC.

use std::net::IpAddr;

use crate::host::Host;
use crate::host::facts::Link;
use crate::model::{Detail, Device, Ethernet, IfIndex, Mac};
use crate::network::bridging::{bridge_of, learned_port, true_way};
use crate::network::neighbour;
use crate::network::segment::Segment;
use crate::network::tunnel::remote_of;
use crate::sites;
use crate::uapi::if_packet;
use crate::uapi::neighbour::NUD_PERMANENT;
use crate::verdict::Place;

use super::super::candidate::{Candidate, Specificity, place_at};
use super::super::causes::{L2_WRONG_MAC, NEIGHBOR_DUPLICATE};
use super::super::loss::Loss;
use super::super::overlay;
use super::super::remedy::{Remedy, Shell, command, ip, text};
use super::super::words;

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
    let dst = loss.dst()?;
    let route = loss.host.routes.iter().rev().find_map(|r| {
        let answer = &r.fact;
        let route = answer.result.as_ref().ok()?;
        let here = answer.netns == sender.netns
            && answer.tuple.dst == dst
            && route.oif == Some(sender.ifindex.0);
        here.then_some(route)
    });
    Some(route.and_then(|r| r.gateway).unwrap_or(dst))
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

/// Interfaces with this MAC that the frame could have come to: of the sender's segment, or of a namespace that it passed.
/// Networks of one machine may use the same MACs.
pub(super) fn owners<'a>(
    loss: &Loss<'a>,
    segment: Option<&Segment<'a>>,
    mac: Mac,
) -> Vec<&'a Link> {
    let reached = |link: &&Link| {
        let netns = Some(link.device.netns);
        let passed = loss.steps().iter().any(|s| s.event.netns == netns);
        passed || segment.is_some_and(|s| s.end(link.device).is_some())
    };
    loss.host.by_mac(mac).filter(reached).collect()
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
    let misled = found
        .carries
        .and_then(|mac| misled(loss, &found, mac).or_else(|| wrong_end(loss, mac)));
    let nobody = found.carries.is_some() && found.owners.is_empty();
    let meant = found
        .next_hop
        .is_some_and(|hop| host.is_local(found.here.netns, hop));
    if let Some(misled) = &misled {
        summary += &format!("; {}", misled.words);
    } else if nobody && !meant {
        summary += "; no interface on the way has that MAC";
    }
    let place = Place {
        function: loss.info.function.clone(),
        ..place_at(host, found.here, "device")
    };
    let mut candidate = Candidate::new(&L2_WRONG_MAC, place, summary).explains(Specificity::Fact);
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
        return Some(
            candidate
                .because("fdb", misled.evidence)
                .advise(misled.advice),
        );
    }
    Some(by_neighbor_entry(loss, &found, candidate))
}

/// A VXLAN device that sends the frame to another end than the one at which its MAC is.
fn wrong_end(loss: &Loss<'_>, mac: Mac) -> Option<Misled> {
    let host = loss.host;
    let device = loss.steps().iter().find_map(|s| {
        let device = s.event.device?;
        let out = matches!(s.event.detail, Detail::Egress);
        (out && host.link(device)?.vxlan.is_some()).then_some(device)
    })?;
    let remote = remote_of(host, device, mac)?.address;
    let owner = overlay::owner(host, device, mac)?;
    let truth = overlay::end_of(host, owner, device.netns).filter(|truth| *truth != remote)?;
    let name = host.interface(device);
    let shell = Shell::of(host, Some(device.netns));
    Some(Misled {
        words: format!(
            "the FDB of {name} sends it to {remote}, but it is at {truth} ({})",
            words::interface(host, owner.device)
        ),
        evidence: format!("{name} sends frames for {mac} to {remote}"),
        advice: vec![
            shell.look(
                "look first: to which end the tunnel sends that MAC",
                command!["bridge fdb show dev", name].piped_to(command!["grep -i", mac]),
            ),
            shell
                .change(
                    "name the end at which it is",
                    command!["bridge fdb replace", mac, "dev", name, "dst", truth],
                )
                .undone_by(command![
                    "bridge fdb replace",
                    mac,
                    "dev",
                    name,
                    "dst",
                    remote
                ]),
        ],
    })
}

/// A bridge that sends the frame to another port than the one behind which its MAC is, or takes it for its own.
struct Misled {
    words: String,
    evidence: String,
    advice: Vec<Remedy>,
}

fn misled(loss: &Loss<'_>, found: &Stray<'_>, mac: Mac) -> Option<Misled> {
    let host = loss.host;
    let (bridge, answer, entry) = loss
        .steps()
        .iter()
        .filter_map(|s| bridge_of(host, s.event.device?))
        .find_map(|bridge| {
            let answer = host.forwarding(bridge.device, mac)?;
            let entry = answer.entries.iter().find(|e| !e.default)?;
            Some((bridge, answer, *entry))
        })?;
    let port = host.link(Device {
        netns: bridge.device.netns,
        ifindex: IfIndex(entry.port),
    })?;
    let truth = true_way(host, bridge, mac).filter(|t| t.device != port.device);
    let own = entry.is_own() && found.here == bridge.device;
    if !own && (truth.is_none() || port.device == bridge.device) {
        return None;
    }
    let shell = Shell::of(host, Some(bridge.device.netns));
    let look = shell.look(
        "look first: the bridge's entry for the MAC",
        command!["bridge fdb show br", bridge.name].piped_to(command!["grep -i", mac]),
    );
    let remove = shell.change(
        "remove the wrong entry: the bridge learns the right one by itself",
        command!["bridge fdb del", mac, "dev", port.name, "master"],
    );
    let set = |port: &Link, kind: &str, sticky: Option<&str>| {
        command![
            "bridge fdb replace",
            mac,
            "dev",
            port.name,
            "master",
            kind,
            ..sticky
        ]
    };
    let back = || set(port, entry.kind(), entry.sticky.then_some("sticky"));
    let mut advice = vec![look, remove.undone_by(back())];
    if let Some(truth) = truth {
        let change = shell.change(
            "or name the port behind which the machine is",
            set(truth, "static", None),
        );
        advice.push(change.undone_by(back()));
    }
    let words = if own {
        format!(
            "the FDB of {} marks {mac} as its own (a local entry on {})",
            bridge.name, port.name
        )
    } else {
        format!(
            "the FDB of {} has it on port {}, but it is behind {}",
            bridge.name,
            port.name,
            truth.map_or("another", |t| t.name.as_str())
        )
    };
    Some(Misled {
        words,
        evidence: format!(
            "{} has {} for {mac}, on {}",
            bridge.name,
            words::count(answer.entries.len() as u64, "entry").replace("entrys", "entries"),
            port.name
        ),
        advice,
    })
}

/// Who put the MAC on the frame had it from a neighbour entry (or, in a VXLAN, the frame went to the wrong end).
fn by_neighbor_entry(loss: &Loss<'_>, found: &Stray<'_>, mut candidate: Candidate) -> Candidate {
    let host = loss.host;
    let here = Shell::of(host, Some(found.here.netns));
    let name = host.interface(found.here);
    let ip = ip(loss.v6());
    if let Some(sender) = found.sender {
        let shell = Shell::of(host, Some(sender.netns));
        let device = host.interface(sender);
        let hop = found.next_hop.map(|hop| hop.to_string());
        let entry = found
            .next_hop
            .and_then(|next| entry_words(host, sender, next));
        candidate = candidate
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
            )]);
        let right = found
            .next_hop
            .filter(|hop| host.is_local(found.here.netns, *hop))
            .zip(found.has);
        if let Some((hop, mac)) = right {
            let replace =
                |mac: Mac| command![..ip, "neigh replace", hop, "lladdr", mac, "dev", device];
            let mut change = shell.change("give the sender's entry the right MAC", replace(mac));
            if let Some(old) = found.carries {
                change = told_end(loss, sender, (old, mac), change.undone_by(replace(old)));
            }
            candidate = candidate.advise([change]);
        }
        candidate = candidate.advise(tunnel_entry(loss, found.carries));
    } else {
        candidate = candidate.advise([here.look(
            "look first: neighbour entries",
            command![..ip, "neigh show"],
        )]);
    }
    let bridged = loss
        .steps()
        .iter()
        .filter_map(|s| bridge_of(host, s.event.device?))
        .next();
    if let (Some(bridge), Some(mac)) = (bridged, found.carries) {
        candidate = candidate.advise([Shell::of(host, Some(bridge.device.netns)).look(
            "what the bridge on the way knows of that MAC",
            command!["bridge fdb show br", bridge.name].piped_to(command!["grep -i", mac]),
        )]);
    }
    let Some(mac) = found.carries else {
        return candidate.advise([text(
            "correct the entry that names the wrong MAC: ip link shows the right one",
        )]);
    };
    let twice = match found.owners.first() {
        Some(owner) => format!(
            " (now {} has it: not on one segment with it)",
            words::interface(host, owner.device)
        ),
        None => String::new(),
    };
    // Whoever got a flooded copy is not the one that the others expect.
    let meant = |hop| host.is_local(found.here.netns, hop);
    if !found.next_hop.is_some_and(meant) {
        return candidate;
    }
    let set = |mac: Mac| command!["ip link set dev", name, "address", mac];
    let mut change = here.change(
        format!("or give the interface the MAC that the others expect{twice}"),
        set(mac),
    );
    if let Some(own) = found.has {
        change = change.undone_by(set(own));
    }
    candidate.advise([change])
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
fn tunnel_entry(loss: &Loss<'_>, mac: Option<Mac>) -> Vec<Remedy> {
    let host = loss.host;
    let through = loss.steps().iter().find_map(|s| {
        let device = s.event.device?;
        let link = host.link(device)?;
        let out = matches!(s.event.detail, Detail::Egress);
        (out && link.vxlan.is_some()).then_some(link)
    });
    let (Some(vxlan), Some(mac)) = (through, mac) else {
        return Vec::new();
    };
    let shell = Shell::of(host, Some(vxlan.device.netns));
    vec![shell.look(
        "and to which end the tunnel sends that MAC",
        command!["bridge fdb show dev", vxlan.name].piped_to(command!["grep -i", mac]),
    )]
}

/// Two machines have the MAC: the frame went to the one that does not own the address (`ip_error` there, unless it
/// forwards).
pub fn twin(loss: &Loss<'_>) -> Option<Candidate> {
    let foreign = loss.reason() == "IP_INADDRERRORS"
        && matches!(loss.function(), "ip_error" | "ip6_forward")
        || loss.unnamed() && loss.function() == "ip_error";
    if !foreign {
        return None;
    }
    let host = loss.host;
    let thief = loss.device()?;
    let mac = frame(loss)?.dst;
    if host.link(thief)?.mac != Some(mac) {
        return None;
    }
    let hop = sender(loss).and_then(|sender| next_hop(loss, sender))?;
    // Namespaces elsewhere may be of another network.
    let asker = sender(loss)?;
    let owner = neighbour::owners(host, asker, hop)
        .into_iter()
        .find(|l| l.mac == Some(mac) && l.device != thief)?;
    if host.is_local(thief.netns, hop) {
        return None;
    }
    let (here, there) = (
        words::interface(host, thief),
        words::interface(host, owner.device),
    );
    let moved = loss
        .steps()
        .iter()
        .filter_map(|s| bridge_of(host, s.event.device?))
        .find_map(|bridge| Some((bridge, learned_port(host, bridge, mac)?)));
    let place = loss.place(Some("device"));
    let shell = Shell::of(host, Some(thief.netns));
    let name = host.interface(thief);
    let set = |mac: Mac| command!["ip link set dev", name, "address", mac];
    let own = shell
        .change("give it a MAC of its own", set(free_mac(host, mac)))
        .undone_by(set(mac));
    let mut candidate = Candidate::new(
        &NEIGHBOR_DUPLICATE,
        place,
        format!(
            "duplicate MAC{}: {mac} is also that of {there}, which owns {hop}",
            loss.at_words()
        ),
    )
    .explains(Specificity::Linked)
    .because("link", format!("{here} and {there} both have {mac}"))
    .because(
        "fdb",
        moved.map(|(bridge, port)| format!("{} has {mac} on port {}", bridge.name, port.name)),
    )
    .advise([
        shell.look("look first", command!["ip link show dev", name]),
        match moved {
            // The bridge has it there until the owner sends something.
            Some((bridge, port)) => own.and_in(
                &Shell::of(host, Some(bridge.device.netns)),
                command!["bridge fdb del", mac, "dev", port.name, "master"],
            ),
            None => own,
        },
    ]);
    if let Some((bridge, _)) = moved {
        candidate = candidate.advise([Shell::of(host, Some(bridge.device.netns)).look(
            "on which port the bridge has it now",
            command!["bridge fdb show br", bridge.name].piped_to(command!["grep -i", mac]),
        )]);
    }
    Some(candidate)
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

/// A locally administered MAC next to this one that no known interface has.
fn free_mac(host: &Host, mac: Mac) -> Mac {
    let mut bytes = mac.0;
    bytes[0] = bytes[0] & !1 | 2;
    let next = |step: u8| {
        let mut bytes = bytes;
        bytes[5] = bytes[5].wrapping_add(step);
        Mac(bytes)
    };
    (1..=u8::MAX)
        .map(next)
        .find(|mac| host.by_mac(*mac).next().is_none())
        .unwrap_or_else(|| next(1))
}
