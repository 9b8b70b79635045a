//! Links: no carrier, peers that refuse, and routes that went with their link.

use std::net::IpAddr;

use crate::correlate::Trace;
use crate::host::Host;
use crate::host::facts::Link;
use crate::model::{Detail, Device, DropInfo, Event};
use crate::network::bridging;
use crate::network::links::{is_idle, members, peer_of};
use crate::verdict::{Confidence, Place};

use super::super::candidate::{Candidate, Specificity, place_at};
use super::super::causes::{LINK_DOWN, MTU_EXCEEDED};
use super::super::loss::Loss;
use super::super::mtu;
use super::super::raising;
use super::super::remedy::{Remedy, Shell, command, text};
use super::super::routing;
use super::super::words;

/// `where.hook` of this family.
const HOOK: &str = "device";

/// What is wrong with a link and which end to raise: `link down on r at rb: no carrier, its peer b/eth0 is down`.
#[must_use]
pub fn down_words(host: &Host, device: Device) -> String {
    let place = format!(
        "link down on {} at {}",
        host.namespace(device.netns),
        host.interface(device)
    );
    let own = host.link(device);
    let peer = peer_of(host, device);
    match (own, peer) {
        _ if host.is_gone(device) => format!("{place}: the interface was removed"),
        (Some(own), _) if !own.up => format!("{place}: the interface is down"),
        (_, Some(peer)) if host.is_gone(peer.device) => format!(
            "{place}: no carrier, its peer {} was removed",
            words::interface(host, peer.device)
        ),
        (Some(own), None) if own.kind == "bridge" => {
            format!("{place}: no carrier, {}", portless_words(host, own))
        }
        (Some(own), None) if is_bond(own) => {
            format!("{place}: no carrier, {}", slaves_words(host, own))
        }
        (_, Some(peer)) if !peer.up => format!(
            "{place}: no carrier, its peer {} is down",
            words::interface(host, peer.device)
        ),
        (Some(own), None) if own.kind == "tun" => {
            format!("{place}: no carrier, no process has the TUN device open")
        }
        (_, Some(peer)) => format!(
            "{place}: no carrier (its peer is {})",
            words::interface(host, peer.device)
        ),
        (_, None) => format!("{place}: no carrier"),
    }
}

/// Why a bridge has no carrier: it has no port that forwards (`br_port_state_selection`, net/bridge/br_stp.c).
fn portless_words(host: &Host, bridge: &Link) -> String {
    let closed: Vec<String> = bridging::ports(host, bridge)
        .map(|l| match (l.up && l.carrier, l.port) {
            (true, Some(port)) => format!("port {} is {}", l.name, port.state.name()),
            _ => format!("port {} is down", l.name),
        })
        .collect();
    if closed.is_empty() {
        "the bridge has no port".to_owned()
    } else {
        format!("no port of the bridge forwards: {}", closed.join(", "))
    }
}

fn is_bond(link: &Link) -> bool {
    link.bond.is_some()
}

/// Why a bond or team has no carrier: none of its slaves has one.
fn slaves_words(host: &Host, bond: &Link) -> String {
    let slaves: Vec<String> = members(host, bond)
        .map(|slave| match peer_of(host, slave.device) {
            _ if !slave.up => format!("{} is down", slave.name),
            Some(peer) if !peer.up => format!(
                "the peer of {}, {}, is down",
                slave.name,
                words::interface(host, peer.device)
            ),
            _ if !slave.carrier => format!("{} has no carrier", slave.name),
            _ => format!("{} is not used", slave.name),
        })
        .collect();
    match slaves.is_empty() {
        true => "it has no slave".to_owned(),
        false => format!("no slave of it carries anything: {}", slaves.join(", ")),
    }
}

/// The first slave that can be raised, at the end that is down.
fn raised_slave(host: &Host, bond: &Link, ends: &[IpAddr]) -> Remedy {
    let raised = members(host, bond).find_map(|slave| {
        let (down, what) = match peer_of(host, slave.device) {
            _ if !slave.up => (slave, "raise a slave"),
            Some(peer) if !peer.up => (peer, "raise the other end of a slave"),
            _ => return None,
        };
        Some(raising::raise(host, down, what, ends))
    });
    raised.unwrap_or_else(|| text("repair the cables of its slaves, or what is behind them"))
}

/// How to raise it, for the traffic between these addresses.
#[must_use]
pub fn down_advice(host: &Host, device: Device, ends: &[IpAddr]) -> Vec<Remedy> {
    let shell = Shell::of(host, Some(device.netns));
    let name = host.interface(device);
    let mut list = vec![shell.look("look first", command!["ip link show dev", name])];
    let up = |link: &Link, what: &str| raising::raise(host, link, what, ends);
    match (host.link(device), peer_of(host, device)) {
        (Some(own), _) if host.is_gone(device) => list.push(text(format!(
            "make {} again, with its addresses and routes; who removed it? (the pod or VM behind it may be gone)",
            own.name
        ))),
        (_, Some(peer)) if host.is_gone(peer.device) => list.push(text(format!(
            "make {} again, with its addresses and routes; who removed it? (the pod or VM behind it may be gone)",
            words::interface(host, peer.device)
        ))),
        (Some(own), _) if !own.up => list.push(up(own, "raise it")),
        (Some(own), None) if own.kind == "bridge" => {
            list.push(shell.look("its ports and their states", "bridge -d link show"));
            list.extend(open_port(host, own, ends));
        }
        (Some(own), None) if is_bond(own) => {
            list.push(shell.look("its slaves and their states", command!["ip -d link show master", own.name]));
            list.push(raised_slave(host, own, ends));
        }
        (_, Some(peer)) => list.push(up(peer, "raise the other end")),
        (Some(own), None) if own.kind == "tun" => {
            list.push(Shell::of(host, None).look("which processes have which TUN device open", "grep -s iff: /proc/*/fdinfo/*"));
            list.push(text(format!(
                "start the process that serves the TUN device {name} (the VPN or tunnel daemon)"
            )));
        }
        (_, None) => list.push(text("repair the cable, or raise the other end")),
    }
    list
}

/// The port of a bridge that leads to one of these addresses, else its only one: raised at the end that is down, or
/// opened.
fn open_port(host: &Host, bridge: &Link, ends: &[IpAddr]) -> Vec<Remedy> {
    let shell = Shell::of(host, Some(bridge.device.netns));
    let ports: Vec<&Link> = bridging::ports(host, bridge).collect();
    let leads = |port: &&&Link| {
        peer_of(host, port.device).is_some_and(|peer| {
            ends.iter()
                .any(|end| host.is_local(peer.device.netns, *end))
        })
    };
    let port = match ports.as_slice() {
        [] => return vec![attached(host, bridge, ends)],
        [only] => *only,
        several => match several.iter().find(leads) {
            Some(port) => *port,
            None => return vec![text("raise the other end of the port that should carry it")],
        },
    };
    let up = |link: &Link, what: &str| raising::raise(host, link, what, ends);
    vec![match peer_of(host, port.device) {
        _ if !port.up => up(port, "raise the port"),
        Some(peer) if !peer.up => up(peer, "raise the other end of the port"),
        _ if !port.carrier => text(format!("raise what is behind the port {}", port.name)),
        _ => {
            let state =
                |state: &'static str| command!["bridge link set dev", port.name, "state", state];
            let before = port
                .port
                .map_or("disabled", |settings| settings.state.name());
            shell
                .change("open the port", state("forwarding"))
                .undone_by(state(before))
        }
    }]
}

/// The interface that should be a port of a bridge without one: at its other end is one of these addresses, in the bridge's network.
fn missing_port<'a>(host: &'a Host, bridge: &Link, ends: &[IpAddr]) -> Option<&'a Link> {
    let near = |end: &IpAddr| {
        let mut own = host.addresses(bridge.device).iter();
        own.any(|own| routing::holds(own.address, own.prefix, *end))
    };
    let has = |netns, end: &IpAddr| near(end) && host.is_local(netns, *end);
    let mut loose = host.links().filter(|link| {
        let beside = link.device.netns == bridge.device.netns && link.device != bridge.device;
        let far = peer_of(host, link.device).map(|peer| peer.device.netns);
        let far = far.filter(|netns| *netns != bridge.device.netns);
        beside
            && link.master.is_none()
            && !host.is_gone(link.device)
            && is_idle(host, link)
            && far.is_some_and(|netns| ends.iter().any(|end| has(netns, end)))
    });
    loose.next()
}

/// The missing port attached, where it is known.
fn attached(host: &Host, bridge: &Link, ends: &[IpAddr]) -> Remedy {
    let Some(port) = missing_port(host, bridge, ends) else {
        return text(format!(
            "attach the port that should be there: ip link set dev … master {}",
            bridge.name
        ));
    };
    let behind = peer_of(host, port.device).map_or_else(String::new, |peer| {
        format!(", behind which {} is", words::interface(host, peer.device))
    });
    Shell::of(host, Some(bridge.device.netns))
        .change(
            format!("attach {}{behind}", port.name),
            command!["ip link set dev", port.name, "master", bridge.name],
        )
        .undone_by(command!["ip link set dev", port.name, "nomaster"])
}

/// A drop because of a missing carrier, or of a device that is down and has no queue, as the loopback has none.
#[must_use]
pub fn is_no_carrier(info: &DropInfo) -> bool {
    (info.no_carrier == Some(true) || info.device_up == Some(false))
        && info.function.as_deref() == Some("__dev_queue_xmit")
        && info
            .reason
            .as_deref()
            .is_none_or(|r| matches!(r, "QDISC_DROP" | "NOT_SPECIFIED" | "DEV_READY"))
}

/// Whether packets of any kind died on this device for want of a carrier, or it is known to be down.
#[must_use]
pub fn is_down(trace: &Trace, host: &Host, device: Device) -> bool {
    let died = |event: &Event| {
        event.device == Some(device)
            && matches!(&event.detail, Detail::Drop(info) if is_no_carrier(info) || info.device_up == Some(false))
    };
    trace
        .journeys
        .values()
        .flat_map(|j| &j.steps)
        .map(|s| &s.event)
        .chain(&trace.beside)
        .any(died)
        || host.is_gone(device)
        || host.link(device).is_some_and(|l| !l.up || !l.carrier)
        || peer_of(host, device).is_some_and(|p| !p.up)
}

/// Between whom the packet was to pass.
#[must_use]
pub fn ends(loss: &Loss<'_>) -> Vec<IpAddr> {
    let tuple = loss.tuple().into_iter();
    tuple.flat_map(|tuple| [tuple.src, tuple.dst]).collect()
}

/// A proposal for a device that is down, at the device; the traffic between these addresses needs it.
#[must_use]
pub fn down(host: &Host, device: Device, function: Option<String>, ends: &[IpAddr]) -> Candidate {
    let place = Place {
        function,
        ..place_at(host, device, HOOK)
    };
    Candidate::new(&LINK_DOWN, place, down_words(host, device))
        .explains(Specificity::Linked)
        .advise(down_advice(host, device, ends))
}

/// No carrier at the queue; or a neighbour that nobody could be asked for, for the same reason.
pub fn no_carrier(loss: &Loss<'_>) -> Option<Candidate> {
    let device = loss.last_device()?;
    let function = loss.info.function.clone();
    if is_no_carrier(loss.info) {
        return Some(
            down(loss.host, device, function, &ends(loss)).because(
                "link",
                if loss.info.device_up == Some(false) {
                    "the device was down at the drop"
                } else {
                    "the device had no carrier at the drop (its queue discipline is out of work)"
                }
                .to_owned(),
            ),
        );
    }
    let waited = loss.within("neigh_invalidate")
        || loss.function() == "__neigh_event_send"
        || loss.reason() == "NEIGH_FAILED";
    let down_then = loss.info.no_carrier == Some(true)
        || loss.info.device_up == Some(false)
        || is_down(loss.trace, loss.host, device);
    (waited && down_then).then(|| {
        down(loss.host, device, function, &ends(loss)).because(
            "neighbor",
            "the neighbour could not be asked for: its ARP or ND died on the link".to_owned(),
        )
    })
}

/// A TUN device that is down: what its process writes is freed (`tun_get_user`, drivers/net/tun.c).
pub fn tun_down(loss: &Loss<'_>) -> Option<Candidate> {
    let host = loss.host;
    let link = host.link(loss.device()?).filter(|link| !link.up)?;
    let function = loss.info.function.clone();
    let candidate = down(host, link.device, function, &ends(loss));
    Some(candidate.because(
        "link",
        "a process has the TUN device open and writes packets into it, which are freed while it is down".to_owned(),
    ))
}

/// The other end of a veth does not take it: down, or its MTU is smaller.
pub fn peer_refuses(loss: &Loss<'_>) -> Option<Candidate> {
    let device = loss.last_device()?;
    let function = loss.info.function.clone();
    let peer = peer_of(loss.host, device);
    // What counts is the packet with its Ethernet header, against MTU + 14 + 4 (is_skb_forwardable).
    let too_long = peer.filter(|p| loss.event.len > p.mtu + 18);
    if loss.info.no_carrier == Some(true) || peer.is_some_and(|p| !p.up) {
        return Some(down(loss.host, device, function, &ends(loss)));
    }
    if let Some(peer) = too_long {
        let name = words::interface(loss.host, peer.device);
        return Some(
            Candidate::new(
                &MTU_EXCEEDED,
                loss.place_at_device(HOOK),
                format!(
                    "packet too big{}: {} bytes, the MTU of its peer {name} is {}; the sender was not told",
                    loss.at_words(),
                    loss.event.len,
                    peer.mtu
                ),
            )
            .explains(Specificity::Linked)
            .advise([mtu::as_other_end(
                loss.host,
                peer,
                loss.link().map_or(peer.mtu, |l| l.mtu),
            )]),
        );
    }
    Some(
        down(loss.host, device, function, &ends(loss))
            .explains(Specificity::Location)
            .sure(Confidence::Likely),
    )
}

/// No route, since the link that carried it is down.
pub fn gone_with_its_route(loss: &Loss<'_>) -> Option<Candidate> {
    if loss.reason() != "IP_INNOROUTES"
        && !matches!(loss.function(), "ip_error" | "ip6_pkt_discard")
    {
        return None;
    }
    if loss.reason() == "IP_INADDRERRORS" {
        return None;
    }
    let (netns, dst) = (loss.netns()?, loss.dst()?);
    let link = routing::downed_way(loss.host, netns, dst)?;
    Some(
        down(
            loss.host,
            link.device,
            loss.info.function.clone(),
            &ends(loss),
        )
        .because(
            "route",
            format!(
                "no route to {dst}: it went with {}",
                words::interface(loss.host, link.device)
            ),
        ),
    )
}
