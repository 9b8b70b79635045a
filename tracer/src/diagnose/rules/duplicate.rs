//! One address, or one MAC, on two machines of a network: the packet came to the one that was not meant.

use std::net::IpAddr;

use crate::correlate::Trace;
use crate::host::Host;
use crate::host::facts::{InterfaceAddress, Link, Question};
use crate::model::{Detail, Device, Direction, Mac, Transport};
use crate::network::bridging::{bridge_of, learned_port, way_to};
use crate::network::links::members;
use crate::network::neighbour::{self, Answer, Ask, By};
use crate::uapi::if_arp::ARPHRD_LOOPBACK;
use crate::verdict::{Confidence, Outcome};

use super::super::candidate::{Candidate, Specificity};
use super::super::causes::NEIGHBOR_DUPLICATE;
use super::super::layer2_commands::{fdb_of_bridge, set_mac};
use super::super::loss::Loss;
use super::super::other_source;
use super::super::readdress;
use super::super::remedy::{Remedy, Shell, command, ip, sysctl};
use super::super::routing;
use super::super::source_address::preferring;
use super::super::translation::{self, Departure};
use super::super::words;
use super::l2;
use super::l2::unredirected::taken_by_the_stack;

/// MACs that answered for an address, as far as answers were seen.
fn answers(trace: &Trace, address: IpAddr) -> Vec<Mac> {
    let mut macs: Vec<Mac> = trace
        .beside
        .iter()
        .filter_map(|e| match &e.detail {
            Detail::Neighbor(n) if n.address == Some(address) => n.new_mac,
            _ => match e.packet.as_ref()?.transport {
                Transport::Neighbor {
                    answer: true,
                    target,
                    mac,
                } if target == address => mac,
                _ => None,
            },
        })
        .filter(|mac| mac.0 != [0; 6])
        .collect();
    macs.sort_unstable();
    macs.dedup();
    macs
}

/// The packet died in a host that has the destination's address, and is not the only one.
pub fn address(loss: &Loss<'_>) -> Option<Candidate> {
    let dst = loss.dst()?;
    let netns = loss.netns()?;
    let host = loss.host;
    let own = host.owners(dst).find(|d| d.netns == netns)?;
    let asker = asker(loss);
    let other = match &asker {
        Some((_, owner)) => *owner,
        None => another(loss, own, dst)?,
    };
    let answered = several_answers(loss.trace, dst);
    let (here, there) = (words::interface(host, own), words::interface(host, other));
    let told = loss.told();
    let unused = refused(host, other, dst);
    let unused_words = match unused {
        Some(_) => ", which does not use it since it was found to be a duplicate (dadfailed)",
        None => "",
    };
    let candidate = Candidate::new(
        &NEIGHBOR_DUPLICATE,
        loss.place_at_device("neighbor"),
        format!(
            "duplicate address: {dst} is on {here}{} and on {there}{}{unused_words}; this packet came to {here}",
            mac_of(host, own),
            mac_of(host, other)
        ),
    )
    .explains(Specificity::Linked)
    .leads_to(match told {
        Some(_) => Outcome::Rejected,
        None => Outcome::Dropped,
    })
    .sure(match answered {
        Some(_) => Confidence::Certain,
        None => Confidence::Likely,
    })
    .because("neighbor", answered)
    .because("icmp", told.map(|t| format!("{here} told the sender: {t}")))
    .advise([
        shown(host, own, dst, "look first: who has it?"),
        shown(host, other, dst, "and the other one"),
    ]);
    let change = not_answered_for(loss, own, dst).or_else(|| taken_away(loss, own, dst));
    let change = change.map(|change| match unused {
        Some(entry) => taken_up(host, (other, entry), change),
        None => change,
    });
    let instead = asker.and_then(|(left, _)| {
        let other = other_source::others(host, &left).next()?;
        preferring(host, &left, other.address)
    });
    Some(candidate.advise(instead).advise(change))
}

/// Another machine on the link that has the address too. One that has it on an interface of its own and is told to answer for
/// none of that kind (`arp_ignore`: a server behind a balancer that keeps the destination) is no duplicate.
fn another(loss: &Loss<'_>, own: Device, dst: IpAddr) -> Option<Device> {
    let elsewhere = |link: &&Link| link.device.netns != own.netns;
    let near = neighbour::owners(loss.host, on_segment(loss, own), dst);
    let other = near.into_iter().find(elsewhere)?.device;
    let Some(told) = told(loss, own, dst) else {
        return Some(other);
    };
    let answers = told.answerers.iter().any(|answerer| {
        answerer.link.device.netns == other.netns && matches!(answerer.by, By::Owner(_))
    });
    (answers || !told.missing.is_empty()).then_some(other)
}

fn is_loopback(host: &Host, device: Device) -> bool {
    host.link(device)
        .is_some_and(|link| link.arp_type == ARPHRD_LOOPBACK)
}

/// The interface by which a machine is on the link where it answers for an address.
fn on_segment(loss: &Loss<'_>, own: Device) -> Device {
    let came = loss.last_device().filter(|came| came.netns == own.netns);
    match came {
        Some(came) if is_loopback(loss.host, own) => came,
        _ => own,
    }
}

/// A machine that has the address on its loopback interface alone told to answer for none of those on others.
fn not_answered_for(loss: &Loss<'_>, own: Device, dst: IpAddr) -> Option<Remedy> {
    let near = on_segment(loss, own);
    if near == own || dst.is_ipv6() {
        return None;
    }
    let name = loss.host.interface(near);
    let setting = sysctl(&format!("net/ipv4/conf/{name}/arp_ignore"));
    let set = |value: u32| command!["sysctl -w", format!("{setting}={value}")];
    let change = Shell::of(loss.host, Some(own.netns))
        .change(
            format!("it has the address on {}: have it answer on {name} for that interface's own alone (as servers behind a balancer do)", loss.host.interface(own)),
            set(1),
        )
        .undone_by(set(0));
    Some(forgotten(loss, (own, dst), change))
}

/// Who answers for the address to whoever sent the packet on its last link.
fn told<'a>(loss: &Loss<'a>, own: Device, dst: IpAddr) -> Option<Answer<'a>> {
    let ask = Ask {
        device: asking(loss, own, dst)?,
        address: dst,
        source: None,
    };
    Some(neighbour::answer(loss.host, ask))
}

/// What to read of the one who has asked with an address that another machine has too, and of that machine.
pub fn questions(loss: &Loss<'_>) -> Vec<Question> {
    let asker = asker(loss);
    let told = || {
        let (dst, netns) = (loss.dst()?, loss.netns()?);
        let own = loss.host.owners(dst).find(|d| d.netns == netns)?;
        told(loss, own, dst)
    };
    let missing = match &asker {
        None => told().map(|told| told.missing),
        Some(_) => None,
    };
    let of_asker = asker
        .iter()
        .flat_map(|(left, _)| other_source::questions(left));
    of_asker.chain(missing.into_iter().flatten()).collect()
}

/// How the one who has asked sent it, and its interface that has the address: the answer came to another machine.
pub(super) fn asker(loss: &Loss<'_>) -> Option<(Departure, Device)> {
    let view = loss.view();
    let dst = loss
        .dst()
        .filter(|_| loss.journey.direction == Direction::Reply)?;
    view.journeys(Direction::Forward).find_map(|journey| {
        let left = translation::departure(journey, loss.host)?;
        let own = left.before.is_none() && left.tuple.src == dst;
        let mut owners = loss
            .host
            .owners(dst)
            .filter(|d| d.netns == left.device.netns);
        let elsewhere = loss.netns() != Some(left.device.netns);
        let owner = owners.next().filter(|_| own && elsewhere)?;
        Some((left, owner))
    })
}

/// The address, where its interface does not use it since another one answered for it (duplicate address detection).
fn refused(host: &Host, device: Device, address: IpAddr) -> Option<&InterfaceAddress> {
    let mut own = host.addresses(device).iter();
    own.find(|own| own.address == address && own.dad_failed)
}

/// The address given to its interface anew: the kernel does not try again by itself.
fn taken_up(host: &Host, (device, entry): (Device, &InterfaceAddress), change: Remedy) -> Remedy {
    let shell = Shell::of(host, Some(device.netns));
    let (full, name) = (
        format!("{}/{}", entry.address, entry.prefix),
        host.interface(device),
    );
    change
        .and_in(&shell, command!["ip -6 addr del", full, "dev", name])
        .and_in(
            &shell,
            command!["ip -6 addr add", full, "dev", name, "nodad"],
        )
}

/// ` (02:00:00:00:00:09)`.
fn mac_of(host: &Host, device: Device) -> String {
    host.link(device)
        .and_then(|l| l.mac)
        .map_or_else(String::new, |mac| format!(" ({mac})"))
}

/// That more than one machine answered for the address.
fn several_answers(trace: &Trace, address: IpAddr) -> Option<String> {
    let macs = answers(trace, address);
    let words: Vec<_> = macs.iter().map(ToString::to_string).collect();
    (macs.len() > 1).then(|| format!("answers for {address} came from {}", words.join(" and ")))
}

fn shown(host: &Host, device: Device, address: IpAddr, why: &str) -> Remedy {
    let name = host.interface(device);
    Shell::of(host, Some(device.netns)).look(
        why,
        command![..ip(address.is_ipv6()), "addr show dev", name],
    )
}

/// The address taken from the interface to which the packet came, and forgotten by whoever sent it there.
fn taken_away(loss: &Loss<'_>, own: Device, dst: IpAddr) -> Option<Remedy> {
    let host = loss.host;
    let change = readdress::remove(
        host,
        (own, dst),
        loss.tuple()?.src,
        "if it should not have it: take it away, and let the sender ask anew",
    )?;
    Some(forgotten(loss, (own, dst), change))
}

/// The interface of whoever asked for the address on the packet's last link.
fn asking(loss: &Loss<'_>, own: Device, dst: IpAddr) -> Option<Device> {
    let on_link = |device: &Device| {
        let mut addresses = loss.host.addresses(*device).iter();
        addresses.any(|a| routing::holds(a.address, a.prefix, dst))
    };
    let mut passed = loss.steps().iter().rev().filter_map(|s| s.event.device);
    passed.find(|d| d.netns != own.netns && on_link(d))
}

/// The change, with what makes whoever sent the packet there forget to whom.
fn forgotten(loss: &Loss<'_>, (own, dst): (Device, IpAddr), change: Remedy) -> Remedy {
    let Some(asker) = asking(loss, own, dst) else {
        return change;
    };
    change.and_in(
        &Shell::of(loss.host, Some(asker.netns)),
        command![
            ..ip(dst.is_ipv6()),
            "neigh flush",
            dst,
            "dev",
            loss.host.interface(asker)
        ],
    )
}

/// The packet was for the gateway of its sender, whose address two machines have: it came to the one that passes nothing on.
pub fn gateway(loss: &Loss<'_>) -> Option<Candidate> {
    let host = loss.host;
    let taken = loss.device().filter(|_| is_foreign(loss))?;
    let asker = l2::sender(loss)?;
    let hop = l2::next_hop(loss, asker)?;
    let own = host.owners(hop).find(|d| d.netns == taken.netns)?;
    let other = neighbour::owners(host, asker, hop)
        .into_iter()
        .map(|link| link.device)
        .find(|device| device.netns != taken.netns)?;
    let (here, there) = (words::interface(host, own), words::interface(host, other));
    let answered = several_answers(loss.trace, hop);
    let candidate = Candidate::new(
        &NEIGHBOR_DUPLICATE,
        loss.place_at_device("neighbor"),
        format!(
            "duplicate address: {hop}, the next hop of {}, is on {here}{} and on {there}{}; this packet came to {here}, which does not pass it on",
            host.namespace(asker.netns),
            mac_of(host, own),
            mac_of(host, other)
        ),
    )
    .explains(Specificity::Linked)
    .sure(match answered {
        Some(_) => Confidence::Certain,
        None => Confidence::Likely,
    })
    .because("neighbor", answered)
    .advise([
        shown(host, own, hop, "look first: who has it?"),
        shown(host, other, hop, "and the other one"),
    ]);
    Some(candidate.advise(taken_away(loss, own, hop)))
}

/// Whether a namespace got what is for no address of its own, and does not pass it on.
fn is_foreign(loss: &Loss<'_>) -> bool {
    loss.reason() == "IP_INADDRERRORS" && matches!(loss.function(), "ip_error" | "ip6_forward")
        || loss.unnamed() && loss.function() == "ip_error"
}

/// Two machines have the MAC: the frame went to the one that does not own the address (`ip_error` there, unless it
/// forwards).
pub fn mac(loss: &Loss<'_>) -> Option<Candidate> {
    if !is_foreign(loss) {
        return None;
    }
    let host = loss.host;
    let taker = loss.device()?;
    let mac = l2::frame(loss)?.dst;
    let port = port_with(host, taker, mac);
    let thief = port.map_or(taker, |port| port.device);
    if host.link(thief)?.mac != Some(mac) {
        return None;
    }
    let asker = l2::sender(loss)?;
    let hop = l2::next_hop(loss, asker)?;
    // Namespaces elsewhere may be of another network.
    let owner = neighbour::owners(host, asker, hop)
        .into_iter()
        .find(|l| l.mac == Some(mac) && l.device != thief)?;
    // Interfaces that hand each other what comes in share the MAC of the machine behind them on purpose.
    if host.is_local(thief.netns, hop) || taken_by_the_stack(loss).is_some() {
        return None;
    }
    let (here, there) = (
        words::interface(host, thief),
        words::interface(host, owner.device),
    );
    // A bridge takes what is for the MAC of one of its ports, and learns no other port for it.
    let moved = match port {
        Some(_) => None,
        None => {
            l2::bridges(loss).find_map(|bridge| Some((bridge, learned_port(host, bridge, mac)?)))
        }
    };
    let own = port.and_then(|port| {
        let bridge = bridge_of(host, port.device)?;
        Some(format!(
            "{} is a port of {}, which takes what is for its MAC for its own (a permanent entry of the forwarding database)",
            port.name, bridge.name
        ))
    });
    let candidate = Candidate::new(
        &NEIGHBOR_DUPLICATE,
        loss.place(Some("device")),
        format!(
            "duplicate MAC{}: {mac} is {}that of {there}, which owns {hop}",
            loss.at_words(),
            match port {
                Some(port) => format!("that of the port {} and ", port.name),
                None => "also ".to_owned(),
            }
        ),
    )
    .explains(Specificity::Linked)
    .because("link", format!("{here} and {there} both have {mac}"))
    .because(
        "fdb",
        moved.map(|(bridge, port)| format!("{} has {mac} on port {}", bridge.name, port.name)),
    )
    .because("fdb", own);
    Some(candidate.advise(one_of_its_own(host, thief, mac, moved, owner)))
}

/// The port of a bridge that has this MAC, where the bridge itself took the frame: it has its own MAC from one of its ports, or
/// takes what is for a port's.
fn port_with(host: &Host, taker: Device, mac: Mac) -> Option<&Link> {
    let bridge = host.link(taker).filter(|link| link.kind == "bridge")?;
    members(host, bridge).find(|port| port.mac == Some(mac))
}

/// Another MAC for an interface that has the one of another machine.
pub(super) fn another_mac(host: &Host, link: &Link, mac: Mac) -> [Remedy; 2] {
    let shell = Shell::of(host, Some(link.device.netns));
    let look = command!["ip link show dev", link.name];
    let set = |mac: Mac| set_mac(&link.name, mac);
    [
        shell.look("look first", look),
        shell
            .change("give it a MAC of its own", set(free_mac(host, mac)))
            .undone_by(set(mac)),
    ]
}

/// Another MAC for the interface. The bridge that has the old one at its port has it there until the owner sends something.
fn one_of_its_own(
    host: &Host,
    thief: Device,
    mac: Mac,
    moved: Option<(&Link, &Link)>,
    owner: &Link,
) -> Vec<Remedy> {
    let Some(link) = host.link(thief) else {
        return Vec::new();
    };
    let [look, change] = another_mac(host, link, mac);
    let Some((bridge, port)) = moved else {
        return vec![look, change];
    };
    let at_bridge = Shell::of(host, Some(bridge.device.netns));
    // The owner may have spoken meanwhile, and its entry is another then: deleting would fail, replacing does not.
    let right = way_to(host, bridge, owner)
        .filter(|port| bridge_of(host, port.device).is_some_and(|b| b.device == bridge.device));
    let entry = match right {
        Some(right) => {
            command![
                "bridge fdb replace",
                mac,
                "dev",
                right.name,
                "master",
                "dynamic"
            ]
        }
        None => command!["bridge fdb del", mac, "dev", port.name, "master"],
    };
    vec![
        look,
        change.and_in(&at_bridge, entry),
        at_bridge.look(
            "on which port the bridge has it now",
            fdb_of_bridge(&bridge.name, mac),
        ),
    ]
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
