//! Interfaces whose MTU is too small for what they should send: to what it can be raised, and at which ends; and how
//! less is sent where the small one is elsewhere.

use std::net::IpAddr;

use crate::host::Host;
use crate::host::facts::{Link, VxlanLink};
use crate::host::prefix::holds;
use crate::model::{Detail, Device, IfIndex, NetNs, Tuple};
use crate::network::links::peer_of;

use super::chain_commands::default_program;
use super::loss::Loss;
use super::remedy::{Remedy, Shell, command, ip};
use super::routing;
use super::words;

/// The largest packet that every network takes: of IPv6 by RFC 8200, of IPv4 what every host must be able to receive
/// (RFC 791).
#[must_use]
pub const fn smallest(v6: bool) -> u32 {
    if v6 { 1280 } else { 576 }
}

/// An MTU that passes almost everywhere, for what loses packets of this size.
const fn safe(v6: bool, size: u32) -> u32 {
    if size > 1280 { 1280 } else { smallest(v6) }
}

/// A route to one destination with a smaller MTU than its interface's.
#[must_use]
pub fn narrow_route(host: &Host, (netns, dst): (NetNs, IpAddr), size: u32) -> Option<Remedy> {
    let v6 = dst.is_ipv6();
    let towards = host.towards.get(&(netns, dst))?;
    let alone = |length: u8| length == if v6 { 128 } else { 32 };
    if towards.fact.iter().any(|route| alone(route.length)) {
        return None;
    }
    let answers = host.routes.iter().rev().map(|r| &r.fact);
    let route = answers
        .filter(|r| r.netns == netns && r.tuple.dst == dst)
        .find_map(|r| r.result.as_ref().ok())
        .filter(|route| route.kind == "unicast")?;
    let name = host.interface(Device {
        netns,
        ifindex: IfIndex(route.oif?),
    });
    let via = route
        .gateway
        .map_or_else(Vec::new, |g| vec!["via".to_owned(), g.to_string()]);
    let to = safe(v6, size);
    let change = Shell::of(host, Some(netns)).change(
        format!("exchange packets of no more than {to} bytes with this destination alone (new connections)"),
        command![..ip(v6), "route add", dst, ..via, "dev", name, "mtu", to],
    );
    Some(
        change
            .undone_by(command![..ip(v6), "route del", dst, "dev", name])
            .scope(format!("all that this host sends to {dst}")),
    )
}

/// A smaller MSS written into handshakes that pass, on a router between.
#[must_use]
pub fn set_mss(shell: &Shell, tuple: &Tuple, size: u32) -> Remedy {
    let v6 = tuple.dst.is_ipv6();
    // IP and TCP headers
    let mss = safe(v6, size) - if v6 { 60 } else { 40 };
    let program = default_program(v6);
    let rule = |verb: &'static str| {
        command![
            program,
            "-t mangle",
            verb,
            "FORWARD -p tcp -s",
            tuple.dst,
            "-d",
            tuple.src,
            "--tcp-flags SYN,RST SYN -j TCPMSS --set-mss",
            mss
        ]
    };
    shell
        .change(
            format!("have its receiver ask for segments of {mss} bytes of data (new connections)"),
            rule("-A"),
        )
        .undone_by(rule("-D"))
}

/// What VXLAN puts around a frame: its own header (8), UDP (8), the inner Ethernet header (14) and the outer IP header.
#[must_use]
pub fn overhead(vxlan: &VxlanLink) -> u32 {
    let v6 = vxlan
        .local
        .or(vxlan.remote)
        .is_some_and(|end| end.is_ipv6());
    if v6 { 70 } else { 50 }
}

/// The interface of a VXLAN device's namespace by which its packets leave, as its addresses tell.
#[must_use]
pub fn underlay<'a>(host: &'a Host, link: &Link) -> Option<&'a Link> {
    let vxlan = link.vxlan.as_ref()?;
    let end = vxlan.local.or(vxlan.remote)?;
    let below = link.peer.and_then(|device| host.link(device));
    below.or_else(|| {
        host.links()
            .filter(|l| l.device.netns == link.device.netns && l.vxlan.is_none())
            .find(|l| {
                let own = host.addresses(l.device).iter();
                own.clone().any(|a| a.address == end)
                    || own.clone().any(|a| holds(a.address, a.prefix, end))
            })
    })
}

/// The largest MTU that an interface can have here: of a veth what both ends are given, of a VXLAN device what its
/// underlay leaves. Of a wire nobody here knows.
fn room(host: &Host, link: &Link) -> Option<u32> {
    match (link.kind.as_str(), &link.vxlan) {
        ("veth" | "netkit", _) if peer_of(host, link.device).is_some() => Some(u32::MAX),
        (_, Some(vxlan)) => Some(underlay(host, link)?.mtu.saturating_sub(overhead(vxlan))),
        _ => None,
    }
}

/// Raises an interface's MTU, and that of a veth's other end, so that packets of this size pass; to `wanted` where there
/// is room for it.
#[must_use]
pub fn raise(host: &Host, link: &Link, size: u32, wanted: u32) -> Option<Remedy> {
    let to = wanted.max(size).min(room(host, link)?);
    if to < size || link.mtu >= to {
        return None;
    }
    let shell = Shell::of(host, Some(link.device.netns));
    let set = |link: &Link, mtu: u32| command!["ip link set dev", link.name, "mtu", mtu];
    let peer = peer_of(host, link.device).filter(|peer| peer.mtu < to);
    let other = peer.map_or_else(String::new, |peer| {
        format!(
            ", and its other end {}",
            words::interface(host, peer.device)
        )
    });
    let text = format!("give {}{other} an MTU that takes it", link.name);
    let mut remedy = shell
        .change(text, set(link, to))
        .undone_by(set(link, link.mtu));
    if let Some(peer) = peer {
        let there = Shell::of(host, Some(peer.device.netns));
        remedy = remedy
            .and_in(&there, set(peer, to))
            .undone_in(&there, set(peer, peer.mtu));
    }
    Some(remedy)
}

/// The interface by which a forwarded packet should leave, by the kernel's own answer.
fn way_out<'a>(loss: &Loss<'a>) -> Option<&'a Link> {
    let (netns, dst) = (loss.netns()?, loss.dst()?);
    let route = routing::answer(loss.host, netns, dst)?
        .result
        .as_ref()
        .ok()?;
    let link = loss.host.link(Device {
        netns,
        ifindex: IfIndex(route.oif?),
    })?;
    // A smaller MTU of the route itself is not the interface's.
    route.mtu.is_none_or(|mtu| mtu >= link.mtu).then_some(link)
}

/// Gives an end of a link the MTU that the other one has.
#[must_use]
pub fn as_other_end(host: &Host, link: &Link, wanted: u32) -> Remedy {
    let set = |mtu: u32| command!["ip link set dev", link.name, "mtu", mtu];
    Shell::of(host, Some(link.device.netns))
        .change("give both ends the same MTU", set(wanted))
        .undone_by(set(link.mtu))
}

/// The interface by which the packet was sent, where that was seen.
#[must_use]
pub fn sender<'a>(loss: &Loss<'a>) -> Option<&'a Link> {
    let mut steps = loss.steps().iter();
    let sent = steps.find(|s| matches!(s.event.detail, Detail::Egress))?;
    loss.host.link(sent.event.device?)
}

/// What makes room for a packet that does not fit the way out. The sender forgets the smaller MTU that it was told.
#[must_use]
pub fn make_room(loss: &Loss<'_>, size: u32, told: bool) -> Vec<Remedy> {
    let host = loss.host;
    let Some(out) = way_out(loss) else {
        return Vec::new();
    };
    let wanted = loss
        .came_in()
        .and_then(|device| host.link(device))
        .map_or(size, |link| link.mtu);
    let sender = sender(loss);
    let raised = raise(host, out, size.min(wanted), wanted).map(|remedy| match sender {
        Some(sender) if told => remedy.and_in(
            &Shell::of(host, Some(sender.device.netns)),
            command![..ip(loss.v6()), "route flush cache"],
        ),
        _ => remedy,
    });
    let lowered = sender
        .filter(|s| s.mtu > out.mtu && Some(s.device.netns) != loss.netns())
        .map(|s| {
            let set = |mtu: u32| command!["ip link set dev", s.name, "mtu", mtu];
            Shell::of(host, Some(s.device.netns))
                .change(
                    "or send no more than passes, where the way cannot be made wider",
                    set(out.mtu),
                )
                .undone_by(set(s.mtu))
                .scope(format!(
                    "all that {} sends is made smaller; a program that asks for larger packets gets an error",
                    words::interface(host, s.device)
                ))
        });
    raised.into_iter().chain(lowered).collect()
}
