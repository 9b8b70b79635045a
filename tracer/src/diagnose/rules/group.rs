//! Packets for many: multicast that nobody joined, broadcasts that nobody listens to.

use std::net::IpAddr;

use crate::host::facts::OpenSocket;

use super::super::candidate::Candidate;
use super::super::causes::{MULTICAST, SOCKET_NONE, SOCKET_SILENT};
use super::super::local::echo_sysctl;
use super::super::loss::Loss;
use super::super::ports;
use super::super::remedy::{Remedy, Shell, command, ip, sysctl, text};
use crate::verdict::Outcome;

/// Where a broadcast ends for which no socket is open.
const WITHOUT_RECEIVER: &[&str] = &["udp_rcv", "__udp4_lib_rcv", "__udp4_lib_mcast_deliver"];

/// Nobody joined the group.
pub fn multicast(loss: &Loss<'_>) -> Option<Candidate> {
    let group = loss.dst().filter(|d| d.is_multicast())?;
    let shell = Shell::of(loss.host, loss.netns());
    let ip = ip(loss.v6());
    let join = join(loss, group);
    let device = loss.last_device().map(|d| loss.host.interface(d));
    let words = device.iter().flat_map(|name| ["dev", name]);
    let look = command!["ip maddr show", ..words];
    let dev = device
        .as_ref()
        .map_or_else(String::new, |name| format!(" dev {name}"));
    Some(
        Candidate::new(
            &MULTICAST,
            loss.place_at_device("route"),
            format!("nobody joined group {group}{}", loss.at_words()),
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

/// The group joined by the host itself, where a socket waits on the port and has perhaps joined elsewhere: a socket
/// takes what its host joined unless it asked for its own groups alone (inet->mc_all, ip_mc_sf_allow).
fn join(loss: &Loss<'_>, group: IpAddr) -> Option<Remedy> {
    let (netns, tuple) = (loss.netns()?, loss.tuple()?);
    let sockets = ports::on_port(loss.host, netns, &tuple)?;
    let waits = |s: &OpenSocket| {
        s.is_open() && s.interface.is_none() && (s.local.is_unspecified() || s.local == group)
    };
    let socket = sockets.iter().find(|s| waits(s))?;
    let name = loss.host.interface(loss.last_device()?);
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
