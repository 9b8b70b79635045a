//! Packets for many: multicast that nobody joined, broadcasts that nobody listens to.

use std::net::IpAddr;

use crate::host::facts::OpenSocket;

use super::super::candidate::{Candidate, Specificity, place_on};
use super::super::causes::{MULTICAST, SOCKET_NONE, SOCKET_SILENT, TTL_EXPIRED};
use super::super::local::echo_sysctl;
use super::super::loss::Loss;
use super::super::needs::Asked;
use super::super::ports;
use super::super::remedy::{Remedy, Shell, command, ip, sysctl, text};
use super::super::words;
use crate::model::{Detail, Device, Step};
use crate::verdict::{Outcome, Place};

/// Where a broadcast ends for which no socket is open.
const WITHOUT_RECEIVER: &[&str] = &["udp_rcv", "__udp4_lib_rcv", "__udp4_lib_mcast_deliver"];

/// Multicast routing did not pass it on for its TTL: every outgoing interface has a threshold of at least 1, and passes what is
/// above it (ip_mr_forward, net/ipv4/ipmr.c; ip6_mr_forward).
pub fn short_lived(loss: &Loss<'_>) -> Option<Candidate> {
    let group = loss.dst().filter(|d| d.is_multicast())?;
    let packet = loss.event.packet.as_ref()?;
    let routed = matches!(
        loss.function(),
        "ip_mr_input" | "ip6_mr_input" | "ip6_mr_forward"
    );
    if !routed || packet.ttl != 1 {
        return None;
    }
    let (word, option) = match loss.v6() {
        false => ("TTL", "IP_MULTICAST_TTL"),
        true => ("hop limit", "IPV6_MULTICAST_HOPS"),
    };
    let shell = Shell::of(loss.host, loss.netns());
    let ip = ip(loss.v6());
    Some(
        Candidate::new(
            &TTL_EXPIRED,
            loss.place_at_device("route"),
            format!(
                "{word} 1{}: multicast routing passes {group} on only with more than the {word} threshold of an interface",
                loss.at_words()
            ),
        )
        .explains(Specificity::Fact)
        .because("packet", format!("it came with {word} 1, the default of a socket that sends to groups"))
        .advise([
            shell.look("where the group is routed", command![..ip, "mroute show"]),
            text(format!(
                "let the sender give its packets a larger {word}: its program's option, which sets {option}"
            )),
        ]),
    )
}

/// Nobody joined the group.
pub fn multicast(loss: &Loss<'_>) -> Option<Candidate> {
    let group = loss.dst().filter(|d| d.is_multicast())?;
    let at = waiting(loss, group).or(loss.last_device());
    let netns = at.map_or_else(|| loss.netns(), |device| Some(device.netns));
    let shell = Shell::of(loss.host, netns);
    let ip = ip(loss.v6());
    let join = at.and_then(|device| join(loss, group, device));
    let device = at.map(|d| loss.host.interface(d));
    let words = device.iter().flat_map(|name| ["dev", name]);
    let look = command!["ip maddr show", ..words];
    let (dev, here) = match &device {
        Some(name) => (format!(" dev {name}"), format!(" at {name}")),
        None => (String::new(), String::new()),
    };
    let on = netns.map_or_else(
        || loss.namespace_words(),
        |ns| words::namespace(loss.host, ns),
    );
    Some(
        Candidate::new(
            &MULTICAST,
            Place {
                interface: device,
                hook: Some("route".to_owned()),
                function: loss.info.function.clone(),
                ..place_on(loss.host, netns)
            },
            format!("nobody joined group {group} on {on}{here}"),
        )
        .advise([
            shell.look("groups joined here", look),
            shell.look("on a router: is the group routed on? (a multicast routing daemon or smcroute sets this)", command![..ip, "mroute show"]),
        ])
        .advise(join)
        .advise([
            text(format!(
                "let the receiver join {group} on the interface where it arrives{dev}; its socket must be bound to the port, too"
            )),
        ]),
    )
}

/// Where copies of the packet ended.
fn copies<'a>(loss: &Loss<'a>) -> impl Iterator<Item = Device> + use<'a> {
    let ended = |step: &&Step| matches!(step.event.detail, Detail::Drop(_));
    let steps = loss.journey.steps.iter().filter(ended);
    steps.filter_map(|step| step.event.device)
}

/// What to read where copies of a packet for a group ended: the sockets on its port.
pub fn asked(loss: &Loss<'_>, asked: &mut Asked) {
    if let Some(tuple) = loss.tuple().filter(|tuple| tuple.dst.is_multicast()) {
        for device in copies(loss) {
            asked.extend(ports::question(device.netns, &tuple));
        }
    }
}

/// The interface at which a copy came to a namespace where a socket waits for it on its port.
fn waiting(loss: &Loss<'_>, group: IpAddr) -> Option<Device> {
    let tuple = loss.tuple()?;
    copies(loss).find(|device| {
        let sockets = ports::on_port(loss.host, device.netns, &tuple);
        sockets.is_some_and(|list| list.iter().any(|socket| takes(socket, group)))
    })
}

/// Whether a socket takes what comes for a group on its port, wherever its host joined it.
fn takes(socket: &OpenSocket, group: IpAddr) -> bool {
    let local = socket.local;
    socket.is_open() && socket.interface.is_none() && (local.is_unspecified() || local == group)
}

/// The group joined by the host itself, where a socket waits on the port and has perhaps joined elsewhere: a socket
/// takes what its host joined unless it asked for its own groups alone (inet->mc_all, ip_mc_sf_allow).
fn join(loss: &Loss<'_>, group: IpAddr, device: Device) -> Option<Remedy> {
    let (netns, tuple) = (device.netns, loss.tuple()?);
    let sockets = ports::on_port(loss.host, netns, &tuple)?;
    let socket = sockets.iter().find(|socket| takes(socket, group))?;
    let name = loss.host.interface(device);
    let full = format!("{group}/{}", if group.is_ipv6() { 128 } else { 32 });
    Some(
        Shell::of(loss.host, Some(netns))
            .change(
                format!(
                    "{} waits on the port: let the host join the group for it on {name}",
                    ports::holder(socket)
                ),
                command!["ip addr add", full, "dev", name, "autojoin"],
            )
            .undone_by(command!["ip addr del", full, "dev", name]),
    )
}

/// An echo request to many that this host is told to ignore (icmp_rcv frees it as INVALID_PROTO, net/ipv4/icmp.c).
pub fn echo(loss: &Loss<'_>) -> Option<Candidate> {
    let dst = loss.dst()?;
    let netns = loss.netns()?;
    let to_many = dst.is_multicast() || loss.host.is_broadcast(netns, dst);
    if loss.reason() != "INVALID_PROTO" || loss.function() != "icmp_rcv" || !to_many {
        return None;
    }
    let setting = sysctl(echo_sysctl(loss.host, netns, dst));
    let shell = Shell::of(loss.host, Some(netns));
    Some(
        Candidate::new(
            &SOCKET_SILENT,
            loss.place_at_device("socket"),
            format!(
                "echo request to {dst}, which is for many, reached {} and is not answered ({setting})",
                loss.namespace_words()
            ),
        )
        .advise([
            shell.look("look first", command!["sysctl", setting]),
            shell.change("let it answer: floods of answers can be provoked then", command!["sysctl -w", format!("{setting}=0")]).undone_by(command!["sysctl -w", format!("{setting}=1")]),
        ]),
    )
}

/// Nobody listens for the broadcast: no answer is ever sent about one.
pub fn broadcast(loss: &Loss<'_>) -> Option<Candidate> {
    let tuple = loss.tuple()?;
    let netns = loss.netns()?;
    let heard = !loss.unnamed() || !WITHOUT_RECEIVER.contains(&loss.function());
    if heard || !loss.host.is_broadcast(netns, tuple.dst) {
        return None;
    }
    let shell = Shell::of(loss.host, Some(netns));
    let device = loss.last_device();
    let own = device.is_some_and(|d| {
        loss.host
            .addresses(d)
            .iter()
            .any(|a| super::super::routing::holds(a.address, a.prefix, tuple.dst))
    });
    let mut candidate = Candidate::new(
        &SOCKET_NONE,
        loss.place_at_device("socket"),
        format!(
            "nobody listens for the broadcast to {}:{}{}",
            tuple.dst,
            tuple.dport,
            loss.at_words()
        ),
    )
    .leads_to(Outcome::Dropped)
    .advise([shell.look(
        "who listens? a socket bound to one address gets no broadcasts",
        command!["ss -lunp sport =", format!(":{}", tuple.dport)],
    )]);
    if let (Some(device), false) = (device, own) {
        let name = loss.host.interface(device);
        let setting = format!("net.ipv4.conf.{name}.bc_forwarding");
        candidate = candidate
            .because(
                "route",
                format!(
                    "{} is the broadcast address of another network of this namespace: a directed broadcast, which a router takes for itself",
                    tuple.dst
                ),
            )
            .advise([
                shell.look("is it passed on?", command!["sysctl", setting]),
                shell.change("pass directed broadcasts on (all and the interface): they can be abused to multiply traffic", command!["sysctl -w net.ipv4.conf.all.bc_forwarding=1", format!("{setting}=1")]),
            ]);
    }
    Some(candidate)
}
