//! Tunnels: packets that arrive for one that is not there, and those that find no remote end.

mod ends;
pub(super) mod hops;
mod misdirected;

use std::net::IpAddr;

use crate::host::Host;
use crate::host::facts::{Link, Neighbor, Question, VxlanLink};
use crate::model::{Detail, Device, Mac, NetNs, Proto, Tunnel, TunnelKind, Tuple};
use crate::network::links::peer_of;
use crate::network::tunnel::{remote_of, underlay_netns};
use crate::sites::VXLAN_INPUT;
use crate::uapi::neighbour::NUD_PERMANENT;

use super::super::candidate::{Candidate, Specificity, place_at};
use super::super::causes::{KERNEL_OTHER, MTU_EXCEEDED, TUNNEL_NO_REMOTE, TUNNEL_UNKNOWN};
use super::super::layer2_commands::{fdb_of_tunnel, permanent_neighbour, set_mac};
use super::super::loss::Loss;
use super::super::mtu;
use super::super::overlay::{self, Asker};
use super::super::remedy::{Command, Remedy, Shell, command, ip, text};
use super::super::routing;
use super::super::words;
use super::l2;

/// `where.hook` of this family.
const HOOK: &str = "device";
/// IANA's ports of VXLAN and Geneve, and the one Linux used first (flannel still does).
const TUNNEL_PORTS: &[u16] = &[4789, 8472, 6081];

/// VXLAN devices whose outer packets travel in the namespace, wherever they stand themselves.
fn devices(host: &Host, netns: Option<NetNs>) -> Vec<(&Link, &VxlanLink)> {
    host.links()
        .filter_map(|l| Some((l, l.vxlan.as_ref()?)))
        .filter(|(l, _)| Some(underlay_netns(l)) == netns && !host.is_gone(l.device))
        .collect()
}

/// Such a device: where it stands, if that is another namespace.
fn device_words(loss: &Loss<'_>, link: &Link) -> String {
    match Some(link.device.netns) == loss.netns() {
        true => link.name.clone(),
        false => words::interface(loss.host, link.device),
    }
}

/// Decapsulation found no such tunnel.
pub fn unknown(loss: &Loss<'_>) -> Option<Candidate> {
    let tunnel = loss
        .event
        .packet
        .as_ref()
        .or_else(|| loss.steps().last()?.event.packet.as_ref())
        .and_then(|p| p.tunnel);
    if has_own_source(loss) {
        return None;
    }
    let is_vni =
        loss.reason() == "VXLAN_VNI_NOT_FOUND" || loss.unnamed() && loss.function() == VXLAN_INPUT;
    let unheard = |tunnel: Tunnel| is_unheard(loss, &tunnel.outer, Some(tunnel));
    if (is_vni || tunnel.is_some_and(unheard))
        && let Some(found) = misdirected::found(loss)
    {
        return Some(found);
    }
    if is_vni {
        return Some(unknown_vni(loss, tunnel));
    }
    ends::unknown(loss).or_else(|| unknown_port(loss, tunnel))
}

/// A tunnel listens on the port, and none there has this VNI.
fn unknown_vni(loss: &Loss<'_>, tunnel: Option<Tunnel>) -> Candidate {
    let id = tunnel.and_then(|t| t.id);
    let words = id.map_or_else(String::new, |id| format!(" {id}"));
    let mut candidate = Candidate::new(
        &TUNNEL_UNKNOWN,
        loss.place_at_device(HOOK),
        format!("no VXLAN with VNI{words}{}", loss.at_words()),
    )
    .explains(Specificity::Fact);
    let port = tunnel.map(|t| t.outer.dport);
    let here = devices(loss.host, loss.netns());
    let same = here.iter().find(|(_, v)| Some(v.vni) == id);
    let other = here
        .iter()
        .find(|(_, v)| port.is_none_or(|p| v.port == p) && Some(v.vni) != id);
    match (same, other) {
        (Some((link, _)), _) if !link.up => {
            candidate.summary += &format!(": {} has it and is down", device_words(loss, link));
            candidate.advise(raise(loss, link))
        }
        (None, Some((link, vxlan))) => {
            candidate.summary += &format!(": {} has VNI {}", device_words(loss, link), vxlan.vni);
            candidate.advise(remade(loss, link, id.unwrap_or_default(), vxlan.port))
        }
        _ => candidate.advise([
            look(loss.host, loss.netns()),
            text("give both ends the same VNI (ip link add … vxlan id …)"),
        ]),
    }
}

/// UDP to a port of tunnels, on which none listens.
fn unknown_port(loss: &Loss<'_>, tunnel: Option<Tunnel>) -> Option<Candidate> {
    let outer = tunnel
        .or_else(|| loss.steps().last()?.event.packet.as_ref()?.tunnel)
        .map(|t| t.outer)
        .or_else(|| loss.tuple())?;
    if !is_unheard(loss, &outer, tunnel) {
        return None;
    }
    let mut candidate = Candidate::new(
        &TUNNEL_UNKNOWN,
        loss.place_at_device(HOOK),
        format!(
            "no tunnel listens on UDP port {}{}",
            outer.dport,
            loss.at_words()
        ),
    )
    .explains(Specificity::Fact)
    .because(
        "icmp",
        loss.told().map(|t| format!("the other end was told: {t}")),
    );
    let id = tunnel.and_then(|t| t.id);
    let here = devices(loss.host, loss.netns());
    let down = here.iter().find(|(l, v)| v.port == outer.dport && !l.up);
    let other = here
        .iter()
        .filter(|(_, v)| v.port != outer.dport)
        .max_by_key(|(_, v)| Some(v.vni) == id);
    Some(match (down, other) {
        (Some((link, _)), _) => {
            candidate.summary +=
                &format!(": {} has that port and is down", device_words(loss, link));
            candidate.advise(raise(loss, link))
        }
        (None, Some((link, vxlan))) => {
            candidate.summary += &format!(": {} has port {}", device_words(loss, link), vxlan.port);
            candidate.advise(remade(loss, link, vxlan.vni, outer.dport))
        }
        (None, None) if tunnel.is_some_and(|t| t.kind == TunnelKind::RawUdp) => {
            candidate.summary +=
                ": the program that takes packets from there is not running, or uses another port";
            let port = format!("sport = :{}", outer.dport);
            candidate.advise([
                Shell::of(loss.host, loss.netns()).look("who listens there", command!["ss -lnup", port]),
                text(format!(
                    "start the tunnel's program there again (flannel: flanneld), or give both ends the same port ({})",
                    outer.dport
                )),
            ])
        }
        (None, None) => {
            candidate.summary += ": none with this port, or it is down";
            candidate.advise([
                look(loss.host, loss.netns()),
                text("raise the tunnel device (ip link set … up), or give both ends the same port (dstport)"),
            ])
        }
    })
}

/// Whether UDP refused an outer packet for want of a socket.
fn is_unheard(loss: &Loss<'_>, outer: &Tuple, tunnel: Option<Tunnel>) -> bool {
    let tunnelled = outer.proto == Proto::Udp
        && (TUNNEL_PORTS.contains(&outer.dport) || tunnel.is_some_and(|t| t.outer == *outer));
    let at_udp = matches!(
        loss.function(),
        "__udp4_lib_rcv" | "__udp6_lib_rcv" | "udp_rcv" | "udpv6_rcv"
    );
    at_udp && tunnelled && matches!(loss.reason(), "NO_SOCKET" | "NOT_SPECIFIED")
}

fn look(host: &Host, netns: Option<NetNs>) -> Remedy {
    Shell::of(host, netns).look(
        "tunnels here: id, port, state",
        "ip -d link show type vxlan",
    )
}

fn raise(loss: &Loss<'_>, link: &Link) -> Vec<Remedy> {
    let shell = Shell::of(loss.host, Some(link.device.netns));
    vec![
        shell.look("look first", command!["ip -d link show dev", link.name]),
        overlay::raise(loss.host, link, asker(loss)),
    ]
}

/// VNI and port of a device cannot be changed: it is made anew.
fn remade(loss: &Loss<'_>, link: &Link, vni: u32, port: u16) -> Vec<Remedy> {
    let shell = Shell::of(loss.host, Some(link.device.netns));
    vec![
        shell.look(
            "look first: id and dstport must be the same at both ends",
            command!["ip -d link show dev", link.name],
        ),
        overlay::remake(loss.host, link, vni, port, asker(loss)),
        text("or give the sending end this one's id and dstport"),
    ]
}

/// The tunnel device that sent a packet which died elsewhere, and the packet's source.
fn asker<'a>(loss: &Loss<'a>) -> Option<Asker<'a>> {
    let far = loss.steps().iter().rev().find_map(|s| {
        let link = loss.host.link(s.event.device?)?;
        let out = matches!(s.event.detail, Detail::Egress) && link.vxlan.is_some();
        (out && Some(link.device.netns) != loss.netns()).then_some(link)
    })?;
    Some(Asker {
        far,
        src: inner_source(loss)?,
    })
}

/// The source of the packet as it was first seen, before any tunnel.
pub(in super::super) fn inner_source(loss: &Loss<'_>) -> Option<IpAddr> {
    let first = loss.steps().first().and_then(|s| s.event.tuple);
    first.or_else(|| loss.tuple()).map(|tuple| tuple.src)
}

/// The tunnel device that the packet went into and the remote end to which it was sent, when it died outside.
#[must_use]
pub fn outer_of(loss: &Loss<'_>) -> Option<(Device, IpAddr)> {
    let host = loss.host;
    let device = loss.steps().iter().rev().find_map(|s| {
        let device = s.event.device?;
        let out = matches!(s.event.detail, Detail::Egress);
        (out && host.link(device)?.vxlan.is_some()).then_some(device)
    })?;
    if loss.device() == Some(device) || loss.netns() != Some(device.netns) {
        return None;
    }
    let packet = loss.event.packet.as_ref().and_then(|p| p.tunnel);
    let told = || {
        let mac = loss.steps().iter().rev().find_map(|s| {
            (s.event.device == Some(device)).then_some(s.event.packet.as_ref()?.ethernet?.dst)
        })?;
        remote_of(host, device, mac).map(|r| r.address)
    };
    let address = packet.map(|t| t.outer.dst).or_else(told)?;
    Some((device, address))
}

/// The tunnel sends to an address of its own namespace: what it encapsulates comes straight back out of it
/// (encap_bypass_if_local, drivers/net/vxlan/vxlan_core.c).
pub fn own_end(loss: &Loss<'_>) -> Option<Candidate> {
    let host = loss.host;
    let (link, mac, end) = loss.steps().iter().find_map(|s| {
        let device = s.event.device?;
        let out = matches!(s.event.detail, Detail::Egress);
        let link = host.link(device).filter(|l| out && l.vxlan.is_some())?;
        let mac = s.event.packet.as_ref()?.ethernet?.dst;
        let end = remote_of(host, device, mac)?.address;
        host.is_local(device.netns, end).then_some((link, mac, end))
    })?;
    let (device, netns) = (link.device, link.device.netns);
    let shell = Shell::of(host, Some(netns));
    let owner = overlay::owner(host, device, mac);
    let place = place_at(host, device, HOOK);
    let mut candidate = Candidate::new(
        &TUNNEL_NO_REMOTE,
        place,
        format!(
            "the remote end {end} of the tunnel {} is an address of {} itself: what it encapsulates comes back to it",
            words::interface(host, device),
            host.namespace(netns)
        ),
    )
    .explains(Specificity::Linked)
    .because("fdb", format!("{} sends frames for {mac} to {end}", link.name))
    .because(
        "link",
        owner.map(|owner| format!("{mac} is that of {}", words::interface(host, owner.device))),
    )
    .advise([shell.look(
        "check first: to which end the tunnel sends that MAC",
        fdb_of_tunnel(&link.name, mac),
    )]);
    let same = owner.filter(|owner| host.is_local(owner.device.netns, end));
    if let Some(owner) = same {
        let ends = overlay::shared(host, netns, owner.device.netns);
        let words = ends.map_or_else(String::new, |(own, other)| {
            format!(
                "; {own} and {other} are addresses of the two nodes in a network that they share"
            )
        });
        return Some(candidate.advise([text(format!(
            "{end} is an address of both nodes, so that neither can send to the other by it: the tunnels have to be made with other ends{words} (flannel: --iface or --public-ip)"
        ))]));
    }
    let truth = owner.and_then(|owner| overlay::end_of(host, owner, netns));
    if let Some(truth) = truth.filter(|truth| *truth != end) {
        let entry = |end: IpAddr| overlay::entry("replace", mac, &link.name, end);
        candidate = candidate.advise([shell
            .change("name the end at which it is", entry(truth))
            .undone_by(entry(end))]);
    }
    Some(candidate)
}

/// Encapsulation found no remote end.
pub fn no_remote(loss: &Loss<'_>) -> Option<Candidate> {
    let without = |why: String| {
        Candidate::new(
            &TUNNEL_NO_REMOTE,
            loss.place_at_device(HOOK),
            format!("tunnel without a remote end{}: {why}", loss.at_words()),
        )
        .explains(Specificity::Fact)
    };
    let mac = l2::frame(loss).map(|f| f.dst);
    let known = loss.last_device().zip(mac);
    let remote = known
        .and_then(|(device, mac)| remote_of(loss.host, device, mac))
        .map(|r| r.address)
        .or_else(|| looked_up(loss));
    // Kernels up to 6.1 do not say which of these it is.
    let reason = match (loss.unnamed(), loss.function()) {
        (true, "vxlan_xmit") => "NO_TX_TARGET",
        (true, _) if unroutable(loss, remote) => "IP_OUTNOROUTES",
        _ => loss.reason(),
    };
    match (reason, loss.function()) {
        ("NO_TX_TARGET", "vxlan_xmit" | "vxlan_xmit_one" | "geneve_xmit") => {
            let why = format!("no FDB entry names the remote end for {}", for_mac(mac));
            Some(without_entry(loss, mac, without(why)))
        }
        ("VXLAN_NO_REMOTE", _) => {
            let why = "its FDB entry has no remote end".to_owned();
            Some(without_entry(loss, mac, without(why)))
        }
        ("IP_OUTNOROUTES", "vxlan_xmit_one" | "vxlan_xmit" | "geneve_xmit") => {
            if let Some(stale) = stale_end(loss, remote) {
                let (why, advice) = stale;
                return Some(without(why).advise(advice));
            }
            let which = remote.map_or_else(String::new, |remote| format!(" {remote}"));
            let why = format!("no route to the remote end{which} of the tunnel");
            Some(without(why).advise(to_remote(loss, remote)))
        }
        _ => None,
    }
}

/// A tunnel that sends from an address that its namespace does not have: no route is found for such a source.
fn stale_end(loss: &Loss<'_>, remote: Option<IpAddr>) -> Option<(String, Vec<Remedy>)> {
    let host = loss.host;
    let link = host.link(loss.last_device()?)?;
    let (netns, vxlan) = (link.device.netns, link.vxlan.as_ref()?);
    let local = vxlan.local.filter(|local| !host.is_local(netns, *local))?;
    let (at, name) = (host.namespace(netns), &link.name);
    let shell = Shell::of(host, Some(netns));
    let look = shell.look(
        "look first: from which address the tunnel sends, and which there are",
        command!["ip -d link show dev", name],
    );
    // Several may lead to the remote end: the one of its network is the one that the tunnel is to use.
    let mut own = host.addresses_in(netns);
    let near =
        own.find(|a| remote.is_some_and(|remote| routing::holds(a.address, a.prefix, remote)));
    let set = |end: IpAddr| {
        command![
            "ip link set dev",
            name,
            "type vxlan id",
            vxlan.vni,
            "local",
            end
        ]
    };
    let change = near.map(|new| {
        let new = new.address;
        let change = shell
            .change(format!("let the tunnel send from {new}"), set(new))
            .undone_by(set(local))
            .scope(format!("the other ends have to send to {new} too"));
        told_anew(host, link, (local, new), change)
    });
    let remote = remote.map_or_else(|| "its remote end".to_owned(), |r| r.to_string());
    Some((
        format!(
            "it sends from {local}, which is no address of {at} (any more): no route to {remote} with that source"
        ),
        [look].into_iter().chain(change).collect(),
    ))
}

/// Adds that the other ends in view, whose entries for this device's MAC name its old address, send to the new one.
fn told_anew(host: &Host, link: &Link, (old, new): (IpAddr, IpAddr), change: Remedy) -> Remedy {
    let Some(mac) = link.mac else { return change };
    other_ends(host, link).fold(change, |change, far| {
        let known = host.forwarding(far.device, mac);
        let entries = known.into_iter().flat_map(|answer| &answer.entries);
        let mut named = entries.filter(|entry| !entry.default && entry.remote == Some(old));
        if named.next().is_none() {
            return change;
        }
        let shell = Shell::of(host, Some(far.device.netns));
        let entry = |end| overlay::entry("replace", mac, &far.name, end);
        change
            .and_in(&shell, entry(new))
            .undone_in(&shell, entry(old))
    })
}

/// Devices of the same overlay elsewhere.
fn other_ends<'a>(host: &'a Host, link: &'a Link) -> impl Iterator<Item = &'a Link> {
    let id = |link: &Link| link.vxlan.as_ref().map(|v| (v.vni, v.port));
    host.links().filter(move |far| {
        let other = far.device.netns != link.device.netns && !host.is_gone(far.device);
        other && id(far).is_some() && id(far) == id(link)
    })
}

/// What to read of the other ends of a tunnel that sends from an address which is gone.
pub fn ask_other_ends(loss: &Loss<'_>) -> Vec<Question> {
    /// Most of them.
    const FEW: usize = 8;
    let host = loss.host;
    let own = loss.last_device().and_then(|device| host.link(device));
    let gone = |link: &&Link| {
        let local = link.vxlan.as_ref().and_then(|vxlan| vxlan.local);
        local.is_some_and(|local| !host.is_local(link.device.netns, local))
    };
    let Some((link, mac)) = own.filter(gone).and_then(|link| Some((link, link.mac?))) else {
        return Vec::new();
    };
    let ends = other_ends(host, link).take(FEW);
    ends.map(|far| Question::Forwarding {
        device: far.device,
        mac,
    })
    .collect()
}

fn for_mac(mac: Option<Mac>) -> String {
    mac.map_or_else(|| "its MAC".to_owned(), |mac| mac.to_string())
}

/// The forwarding entry added, where it is known at which end the MAC is.
fn without_entry(loss: &Loss<'_>, mac: Option<Mac>, candidate: Candidate) -> Candidate {
    let host = loss.host;
    let name = device_name(loss);
    let shell = Shell::of(host, loss.netns());
    let candidate = candidate.advise([shell.look(
        "its forwarding entries",
        command!["bridge fdb show dev", name],
    )]);
    let owner = loss.last_device().zip(mac).and_then(|(device, mac)| {
        let owner = overlay::owner(host, device, mac)?;
        Some((mac, owner, overlay::end_of(host, owner, device.netns)?))
    });
    let Some((mac, owner, end)) = owner else {
        return candidate.advise([text(format!(
            "add what is missing: bridge fdb append {} dev {name} dst REMOTE",
            for_mac(mac)
        ))]);
    };
    let entry = |verb: &'static str| overlay::entry(verb, mac, &name, end);
    candidate
        .because(
            "link",
            format!(
                "{mac} belongs to {}, whose end is {end}",
                words::interface(host, owner.device)
            ),
        )
        .advise([shell
            .change("add the entry", entry("append"))
            .undone_by(entry("del"))])
}

fn device_name(loss: &Loss<'_>) -> String {
    let device = loss.last_device();
    device.map_or_else(String::new, |d| loss.host.interface(d))
}

/// What to do about a remote end without a route.
fn to_remote(loss: &Loss<'_>, remote: Option<IpAddr>) -> Vec<Remedy> {
    let shell = Shell::of(loss.host, loss.netns());
    let ip = ip(remote.is_some_and(|r| r.is_ipv6()));
    let get = remote.map(|to| {
        shell.look(
            "the route to the remote end",
            command![..ip, "route get", to],
        )
    });
    let add = loss
        .netns()
        .zip(remote)
        .and_then(|(netns, to)| overlay::underlay_route(loss.host, netns, to));
    let otherwise = add.is_none().then(|| {
        text("add the route to it (via the underlay's gateway or its interface), or correct the FDB entry")
    });
    get.into_iter()
        .chain([
            shell.look(
                "which end the tunnel sends to",
                command!["bridge fdb show dev", device_name(loss)],
            ),
            shell.look(
                "routes and links of the underlay: is its interface up, has it its address?",
                command![..ip, "route"],
            ),
        ])
        .chain(add)
        .chain(otherwise)
        .collect()
}

/// The address of the route question that failed in the same call.
fn looked_up(loss: &Loss<'_>) -> Option<IpAddr> {
    loss.trace
        .beside
        .iter()
        .filter(|e| loss.same_call(e))
        .find_map(|e| match &e.detail {
            Detail::Fib(fib) if fib.error != 0 => Some(e.tuple?.dst),
            _ => None,
        })
}

/// Whether there is no route to a tunnel's remote end: the kernel found none in the same call, or finds none now.
fn unroutable(loss: &Loss<'_>, remote: Option<IpAddr>) -> bool {
    let now = || {
        let answer = routing::answer(loss.host, loss.netns()?, remote?)?;
        Some(answer.result.is_err())
    };
    looked_up(loss).is_some() || now() == Some(true)
}

/// The packet with its tunnel around it is too big for the underlay, and must not be fragmented. The ICMP error goes to
/// this host, which made the outer packet: the sender inside hears nothing.
pub fn too_big(loss: &Loss<'_>) -> Option<Candidate> {
    let fragmenting =
        matches!(loss.function(), "ip_fragment" | "ip6_fragment") || loss.reason() == "PKT_TOO_BIG";
    let wrapped = [
        "iptunnel_xmit",
        "udp_tunnel_xmit_skb",
        "udp_tunnel6_xmit_skb",
        "ip6tunnel_xmit",
    ]
    .iter()
    .any(|f| loss.within(f));
    if !(fragmenting && wrapped) {
        return None;
    }
    let host = loss.host;
    let tunnel = loss.steps().iter().rev().find_map(|s| {
        let link = host.link(s.event.device?)?;
        (matches!(s.event.detail, Detail::Egress) && link.vxlan.is_some()).then_some(link)
    })?;
    let vxlan = tunnel.vxlan.as_ref()?;
    let below = loss.info.mtu.or_else(|| loss.link().map(|l| l.mtu))?;
    let overhead = mtu::overhead(vxlan);
    let shell = Shell::of(host, loss.netns());
    // The other end of the wire tells what it carries.
    let carries = |l: &&Link| peer_of(host, l.device).is_some_and(|peer| peer.mtu > l.mtu);
    let wider = loss.link().filter(carries).and_then(|l| {
        let need = tunnel.mtu.saturating_add(overhead);
        mtu::raise(host, l, need, need)
    });
    let (name, fits) = (&tunnel.name, below.saturating_sub(overhead));
    Some(
        Candidate::new(
            &MTU_EXCEEDED,
            loss.place_at_device("route"),
            format!(
                "packet too big{}: with the tunnel {name} around it (MTU {}) it does not fit the underlay's MTU {below}, and may not be fragmented; the sender inside was not told",
                loss.at_words(),
                tunnel.mtu
            ),
        )
        .explains(Specificity::Fact)
        .because("link", (vxlan.df == 1).then(|| format!("{name} has df set")))
        .advise([shell.look("look first", command!["ip -d link show dev", name])])
        .advise(wider)
        .advise([
            shell.change(format!("or leave room for the tunnel's {overhead} bytes"), command!["ip link set dev", name, "mtu", fits]).undone_by(command!["ip link set dev", name, "mtu", tunnel.mtu]),
            text("the machines behind the tunnel need that MTU too; or raise the underlay's"),
        ]),
    )
}

/// The frame inside has the receiving device's own MAC as its source (`vxlan_set_mac`, drivers/net/vxlan).
pub fn own_source(loss: &Loss<'_>) -> Option<Candidate> {
    if loss.unnamed() && !has_own_source(loss) {
        return None;
    }
    let host = loss.host;
    let device = loss.last_device()?;
    let link = host.link(device);
    let name = host.interface(device);
    let mac = link.and_then(|l| l.mac);
    let which = mac.map_or_else(|| "the device's own MAC".to_owned(), |m| m.to_string());
    let passed = |netns| loss.steps().iter().any(|s| s.event.netns == Some(netns));
    let twin = mac.and_then(|mac| {
        host.by_mac(mac)
            .filter(|l| l.device != device)
            .max_by_key(|l| passed(l.device.netns))
    });
    let mut summary = format!(
        "duplicate MAC{}: the frame's source is {which}, which is the tunnel device's own",
        loss.at_words()
    );
    if let Some(twin) = twin {
        summary += &format!(", {} has it too", words::interface(host, twin.device));
    }
    let shell = Shell::of(host, Some(device.netns));
    let mut candidate = Candidate::new(&KERNEL_OTHER, loss.place_at_device(HOOK), summary)
        .explains(Specificity::Fact)
        .advise([shell.look("look first", command!["ip -d link show dev", name])]);
    if let Some(twin) = twin {
        let there = Shell::of(host, Some(twin.device.netns));
        candidate = candidate
            .advise([there.look("the other one", command!["ip -d link show dev", twin.name])])
            .advise(own_mac(host, device, twin, &passed));
    }
    Some(candidate.advise([text(
        "machines made from one image often share MACs and machine ids: /etc/machine-id too must differ",
    )]))
}

/// The same where the kernel does not say so: the tunnel device had the frame already when it was freed, and the frame has
/// its MAC.
fn has_own_source(loss: &Loss<'_>) -> bool {
    let device = loss.last_device().and_then(|device| loss.host.link(device));
    let Some(mac) = device.filter(|l| l.vxlan.is_some()).and_then(|l| l.mac) else {
        return false;
    };
    let packets = loss.steps().iter().filter_map(|s| s.event.packet.as_ref());
    let sources = packets.filter_map(|p| Some(p.inner_ethernet.or(p.ethernet)?.src));
    let frame = sources.last();
    loss.unnamed() && loss.function() == VXLAN_INPUT && frame == Some(mac)
}

/// What one device's neighbour table says of another's addresses.
fn known_as(host: &Host, at: Device, other: Device) -> impl Iterator<Item = &Neighbor> {
    let entries = host.neighbors.iter().rev().map(|dated| &dated.fact);
    entries.filter(move |n| {
        n.device == at && host.addresses(other).iter().any(|a| a.address == n.address)
    })
}

/// Gives the twin the MAC by which the others know it, where nobody that the packet passed has that. What it knew of the other end goes
/// with its old one (neigh_changeaddr, net/core/neighbour.c) and is told again.
fn own_mac(
    host: &Host,
    here: Device,
    twin: &Link,
    passed: &dyn Fn(NetNs) -> bool,
) -> Option<Remedy> {
    let expected = known_as(host, here, twin.device)
        .filter_map(|n| n.mac)
        .find(|mac| !host.by_mac(*mac).any(|link| passed(link.device.netns)))?;
    let told: Vec<Command> = known_as(host, twin.device, here)
        .filter(|n| n.state & NUD_PERMANENT != 0)
        .filter_map(|n| Some(permanent_neighbour(n.address, n.mac?, &twin.name)))
        .collect();
    let mut remedy = Shell::of(host, Some(twin.device.netns))
        .change(
            "give it the MAC by which the other end knows it, which nobody on the way has",
            set_mac(&twin.name, expected),
        )
        .undone_by(set_mac(&twin.name, twin.mac?));
    for command in told {
        remedy = remedy.and(command.clone()).undone_by(command);
    }
    Some(remedy)
}
