//! Sockets on a port, as they were read beside a loss: who has them, and why none took the packet.

use crate::host::Host;
use crate::host::facts::{OpenSocket, Question};
use crate::model::{Device, NetNs, Process, Proto, Tuple};
use crate::network::sockets::{Refusal, Wanted, refusal};

use super::device_state;
use super::remedy::Remedy;

/// Most sockets that are put into words.
const TOLD: usize = 3;

/// What to read about the sockets for which a packet was.
#[must_use]
pub fn question(netns: NetNs, tuple: &Tuple) -> Option<Question> {
    let known = matches!(tuple.proto, Proto::Tcp | Proto::Udp) && tuple.dport != 0;
    known.then_some(Question::Sockets {
        netns,
        proto: tuple.proto,
        port: tuple.dport,
    })
}

/// Sockets on a packet's destination port; `None` when they were not read.
#[must_use]
pub fn on_port<'a>(host: &'a Host, netns: NetNs, tuple: &Tuple) -> Option<&'a [OpenSocket]> {
    let key = (netns, tuple.proto, tuple.dport);
    host.sockets.get(&key).map(|dated| dated.fact.as_slice())
}

/// `nginx (pid 12)`, `nginx (pid 12), which is stopped,`, `a process`.
#[must_use]
pub fn holder(socket: &OpenSocket) -> String {
    let stopped = |process: &&Process| socket.stopped.contains(&process.pid);
    let first = socket.holders.iter().find(stopped);
    first.or(socket.holders.first()).map_or_else(
        || "a process".to_owned(),
        |process| {
            let stopped = socket.stopped.contains(&process.pid);
            let state = if stopped { ", which is stopped," } else { "" };
            format!("{process}{state}")
        },
    )
}

/// Whether all processes that hold it are stopped; or one of them, and something waits for it.
#[must_use]
pub fn is_stopped(socket: &OpenSocket) -> bool {
    let mut holders = socket.holders.iter();
    let all = holders.all(|process| socket.stopped.contains(&process.pid));
    !socket.stopped.is_empty() && (all || socket.waiting > 0)
}

/// A signal for each process that holds the socket and is stopped.
#[must_use]
pub fn go_on(host: &Host, socket: &OpenSocket) -> Vec<Remedy> {
    let stopped = socket.stopped.iter();
    stopped
        .map(|pid| device_state::let_go_on(host, *pid))
        .collect()
}

/// Why a socket does not take a packet, in words; `None` where it does.
fn refuses(host: &Host, socket: &OpenSocket, wanted: &Wanted) -> Option<String> {
    Some(match refusal(host, socket, wanted)? {
        Refusal::Connected(peer, port) => format!("is connected to {peer} port {port} alone"),
        Refusal::Interface(ifindex) => {
            let netns = wanted.netns;
            let name = host.interface(Device { netns, ifindex });
            format!("is bound to interface {name} alone")
        }
        Refusal::Vrf(ifindex) => {
            let netns = wanted.netns;
            let name = host.interface(Device { netns, ifindex });
            format!(
                "is bound to no interface, and takes nothing that comes in through the VRF {name}"
            )
        }
        Refusal::Family if !socket.local.is_unspecified() => {
            format!("listens on {} alone", socket.local)
        }
        Refusal::Family if socket.local.is_ipv6() => "listens on IPv6 alone".to_owned(),
        Refusal::Family => "listens on IPv4 alone".to_owned(),
        Refusal::Address(address) => format!("listens on {address} alone"),
    })
}

/// Sockets on the port that do not take a packet, in words.
#[must_use]
pub fn elsewhere(host: &Host, wanted: &Wanted) -> Vec<String> {
    let sockets = on_port(host, wanted.netns, &wanted.tuple).unwrap_or_default();
    // Connections of a TCP server say nothing of its listener.
    let tells = |s: &&OpenSocket| wanted.tuple.proto == Proto::Udp || s.state == 10;
    sockets
        .iter()
        .filter(tells)
        .filter_map(|s| Some(format!("{} {}", holder(s), refuses(host, s, wanted)?)))
        .take(TOLD)
        .collect()
}

/// What to read about the sockets of other ports.
#[must_use]
pub fn other_ports(netns: NetNs, proto: Proto) -> Option<Question> {
    let known = matches!(proto, Proto::Tcp | Proto::Udp);
    known.then_some(Question::Sockets {
        netns,
        proto,
        port: 0,
    })
}

/// Who would take the packet on another port, in words, with the port: servers, which have a port below Linux's
/// ephemeral ones, or listen.
#[must_use]
pub fn on_other_ports(host: &Host, netns: NetNs, tuple: &Tuple) -> Vec<(String, u16)> {
    let all = Tuple { dport: 0, ..*tuple };
    let wanted = Wanted {
        netns,
        tuple: *tuple,
        interface: None,
    };
    let mut list: Vec<(String, u16)> = Vec::new();
    for socket in on_port(host, netns, &all).unwrap_or_default() {
        let takes = refusal(host, socket, &wanted).is_none();
        let known = list.iter().any(|(_, port)| *port == socket.port);
        if takes && !known && !socket.holders.is_empty() && list.len() < TOLD {
            list.push((holder(socket), socket.port));
        }
    }
    list
}

/// The sockets that share the port and take the packet.
fn taking<'a>(host: &'a Host, wanted: &Wanted) -> impl Iterator<Item = &'a OpenSocket> + use<'a> {
    let wanted = *wanted;
    let all = on_port(host, wanted.netns, &wanted.tuple).unwrap_or_default();
    all.iter()
        .filter(move |s| refusal(host, s, &wanted).is_none())
}

/// The listeners that share the port (`SO_REUSEPORT`), of which the kernel chooses one.
pub fn listeners<'a>(
    host: &'a Host,
    wanted: &Wanted,
) -> impl Iterator<Item = &'a OpenSocket> + use<'a> {
    taking(host, wanted).filter(|s| s.state == 10)
}

/// The connection to which a segment belongs.
#[must_use]
pub fn connection<'a>(host: &'a Host, netns: NetNs, tuple: &Tuple) -> Option<&'a OpenSocket> {
    on_port(host, netns, tuple)?
        .iter()
        .find(|s| s.peer == Some((tuple.src, tuple.sport)))
}

/// The sockets that take a datagram: one that is connected to its sender, else all that share the port
/// (`SO_REUSEPORT`), of which the kernel chooses one.
#[must_use]
pub fn takers<'a>(host: &'a Host, wanted: &Wanted) -> Vec<&'a OpenSocket> {
    match connection(host, wanted.netns, &wanted.tuple) {
        Some(own) => vec![own],
        None => taking(host, wanted).collect(),
    }
}
