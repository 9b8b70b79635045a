//! Tunnels as far as devices and forwarding databases tell: where a tunnel device sends a packet, which device takes it in
//! at the remote end, and whether the underlay leads there.

use std::cmp::Reverse;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::route::{Query, Unknown};
use crate::host::Host;
use crate::host::facts::{Link, Question, RouteAnswer, Selectors, TunnelLink};
use crate::host::prefix::holds;
use crate::model::{Device, IfIndex, Mac, NetNs, Proto, Tunnel, TunnelKind, Tuple};

/// Protocol numbers of IPv4 and IPv6 inside of IP, and of GRE.
const IPIP: u8 = 4;
const IPV6: u8 = 41;
const GRE: u8 = 47;

/// Devices that their modules make in each namespace: they take what no other device there takes.
const FALLBACKS: [&str; 6] = ["gre0", "gretap0", "tunl0", "sit0", "ip6gre0", "ip6tnl0"];

/// The remote end to which a tunnel device sends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Remote {
    /// What is put around the packet.
    pub kind: TunnelKind,
    /// VNI or GRE key.
    pub id: Option<u32>,
    /// Its address.
    pub address: IpAddr,
    /// Protocol of the outer packet.
    pub proto: Proto,
    /// The UDP port; zero without UDP.
    pub port: u16,
    /// The address that the device sends from, where it is set.
    pub local: Option<IpAddr>,
}

impl Remote {
    /// The address to send from; unspecified where the route chooses it.
    #[must_use]
    pub fn source(&self) -> IpAddr {
        self.local.unwrap_or_else(|| unspecified(self.address))
    }

    /// The outer packet, as a route look-up.
    #[must_use]
    pub fn outer(&self) -> Tuple {
        Tuple {
            proto: self.proto,
            src: self.source(),
            sport: 0,
            dst: self.address,
            dport: self.port,
            icmp_id: 0,
        }
    }

    /// The tunnel as its packets tell it.
    #[must_use]
    pub fn tunnel(&self) -> Tunnel {
        Tunnel {
            kind: self.kind,
            id: self.id,
            outer: self.outer(),
        }
    }
}

/// The unspecified address of an address's family.
fn unspecified(beside: IpAddr) -> IpAddr {
    match beside {
        IpAddr::V4(_) => IpAddr::V4(Ipv4Addr::UNSPECIFIED),
        IpAddr::V6(_) => IpAddr::V6(Ipv6Addr::UNSPECIFIED),
    }
}

/// A packet that a tunnel device is given to send.
#[derive(Clone, Copy, Debug)]
pub struct Inner {
    /// Destination MAC of a frame, where it is known.
    pub mac: Option<Mac>,
    /// It is IPv6.
    pub v6: bool,
}

/// An outer packet at its destination.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Arrived {
    /// What is around the packet. An unspecified source is any.
    pub tunnel: Tunnel,
    /// A frame is inside, not a packet.
    pub frame: bool,
    /// It is IPv6.
    pub v6: bool,
    /// Interface on which it came.
    pub iif: Option<Device>,
}

/// The settings of a tunnel device, those of VXLAN in the same form; `None`: it is none, or one of a kind that is not
/// known here.
fn settings(link: &Link) -> Option<TunnelLink> {
    let of_vxlan = link.vxlan.as_ref().map(|vxlan| TunnelLink {
        local: vxlan.local,
        remote: vxlan.remote,
        output_key: Some(vxlan.vni),
        input_key: Some(vxlan.vni),
        port: vxlan.port,
        external: vxlan.external,
        ttl: vxlan.ttl,
        ..TunnelLink::default()
    });
    of_vxlan.or_else(|| link.tunnel.as_deref().copied())
}

/// Whether it is a tunnel device whose ways are known here.
#[must_use]
pub fn is_known(link: &Link) -> bool {
    settings(link).is_some()
}

/// Whether key and remote end come with each packet.
#[must_use]
pub fn is_external(link: &Link) -> bool {
    settings(link).is_some_and(|set| set.external)
}

/// The TTL or hop limit with which a device sends its outer packets, where one is set.
#[must_use]
pub fn ttl(link: &Link) -> Option<u8> {
    settings(link)?.ttl
}

/// The address that a device is set to send from.
#[must_use]
pub fn local(link: &Link) -> Option<IpAddr> {
    settings(link)?.local
}

/// The VNI or key with which it sends.
#[must_use]
pub fn output_key(link: &Link) -> Option<u32> {
    settings(link)?.output_key
}

fn kind_of(link: &Link) -> TunnelKind {
    match link.kind.as_str() {
        "vxlan" => TunnelKind::Vxlan,
        "geneve" => TunnelKind::Geneve,
        "gre" | "gretap" | "ip6gre" | "ip6gretap" => TunnelKind::Gre,
        _ => TunnelKind::IpIp,
    }
}

/// Whether what it sends goes to a remote end inside of other packets, or to a program.
#[must_use]
pub fn is_tunnel(link: &Link) -> bool {
    settings(link).is_some() || matches!(link.kind.as_str(), "tun" | "wireguard" | "xfrm" | "vti")
}

/// Whether it carries frames.
fn carries_frames(link: &Link) -> bool {
    matches!(
        link.kind.as_str(),
        "vxlan" | "geneve" | "gretap" | "ip6gretap"
    )
}

/// The namespace in which a tunnel device's outer packets travel: it stays that in which the device was made.
#[must_use]
pub fn underlay_netns(link: &Link) -> NetNs {
    let below = link.peer.filter(|_| is_known(link));
    below.map_or(link.device.netns, |device| device.netns)
}

/// The look-up of the outer packet's route: with the source that the device is set to, if any, and bound to its
/// interface, where it has one. GRE and IP in IP look it up with a mark of their own (`ip_tunnel_xmit`,
/// net/ipv4/ip_tunnel.c), the others with that of the packet inside.
#[must_use]
pub fn query(link: &Link, outer: Tuple, mark: u32) -> Query {
    let set = settings(link).unwrap_or_default();
    let mark = match kind_of(link) {
        TunnelKind::Gre | TunnelKind::IpIp => set.mark,
        _ => mark,
    };
    let src = set.local.unwrap_or_else(|| unspecified(outer.dst));
    let bound = link.peer.map(|below| below.ifindex);
    Query {
        oif: bound.filter(|below| *below != IfIndex(0)),
        ..Query::output(Tuple { src, ..outer }, mark)
    }
}

/// The end at an address, as a device's settings have it.
fn end_at(link: &Link, set: &TunnelLink, address: IpAddr, v6: bool) -> Remote {
    let kind = kind_of(link);
    let proto = match kind {
        _ if set.port != 0 => Proto::Udp,
        TunnelKind::Gre => Proto::Other(GRE),
        _ => Proto::Other(if v6 { IPV6 } else { IPIP }),
    };
    Remote {
        kind,
        id: set.output_key,
        address,
        proto,
        port: set.port,
        local: set.local,
    }
}

/// Where a VXLAN device sends frames for this MAC: by its own entry, else by the one for all others, else by its
/// default remote; another device to its remote end.
#[must_use]
pub fn remote_of(host: &Host, device: Device, mac: Mac) -> Option<Remote> {
    let link = host.link(device)?;
    let set = settings(link)?;
    let entries = host.forwarding(device, mac).map(|f| f.entries.as_slice());
    let entries = entries.filter(|_| link.vxlan.is_some());
    let entry = |default: bool| {
        entries
            .unwrap_or_default()
            .iter()
            .filter(move |e| e.default == default)
            .find_map(|e| e.remote)
    };
    let address = entry(false).or_else(|| entry(true)).or(set.remote)?;
    Some(end_at(link, &set, address, false))
}

/// Where a tunnel device sends a packet; `None`: it has no remote end for it.
///
/// # Errors
/// Why it cannot be told.
pub fn encapsulate(host: &Host, link: &Link, inner: Inner) -> Result<Option<Remote>, Unknown> {
    let because = |words: &str| Err(Unknown::Unmodelled(format!("{} {words}", link.name)));
    let Some(set) = settings(link) else {
        return because("is of a kind whose ways are not known");
    };
    if set.external {
        return because("is external: the route or program that sends there gives the remote end");
    }
    if link.vxlan.is_some() {
        let Some(mac) = inner.mac else {
            return because("sends by the frame's MAC, which is not known");
        };
        let device = link.device;
        if host.forwarding(device, mac).is_none() {
            return Err(Unknown::Unread(Question::Forwarding { device, mac }));
        }
        return Ok(remote_of(host, device, mac));
    }
    match set.remote {
        Some(address) => Ok(Some(end_at(link, &set, address, inner.v6))),
        None => because("has no remote end: the next hop of each packet gives it"),
    }
}

/// All remote ends to which a tunnel device sends what is flooded. A default remote of VXLAN is an entry for all MACs
/// too.
///
/// # Errors
/// What has to be read first.
pub fn flooded_to(host: &Host, link: &Link) -> Result<Vec<Remote>, Question> {
    let Some(set) = settings(link) else {
        return Ok(Vec::new());
    };
    let remote = |address| end_at(link, &set, address, false);
    if link.vxlan.is_none() {
        return Ok(set.remote.map(remote).into_iter().collect());
    }
    let read = host.forwarding.iter().rev().map(|dated| &dated.fact);
    let Some(answer) = read.clone().find(|f| f.device == link.device) else {
        return Err(Question::Forwarding {
            device: link.device,
            mac: Mac([0xff; 6]),
        });
    };
    let defaults = answer.entries.iter().filter(|e| e.default);
    Ok(defaults.filter_map(|e| e.remote).map(remote).collect())
}

/// VXLAN devices that flood to one of the host's own, with the remote end that this one learns from what they send, where their
/// outer source is known.
pub fn senders_to<'a>(
    host: &'a Host,
    link: &'a Link,
) -> impl Iterator<Item = (&'a Link, Option<Remote>)> {
    let own = link.vxlan.as_ref().map(|v| (v.vni, v.port));
    let netns = underlay_netns(link);
    host.links().filter_map(move |other| {
        let same = other.device != link.device
            && !host.is_gone(other.device)
            && own.is_some()
            && other.vxlan.as_ref().map(|v| (v.vni, v.port)) == own;
        let flooded = flooded_to(host, other).unwrap_or_default();
        let mut here = flooded
            .into_iter()
            .filter(|remote| host.is_local(netns, remote.address));
        let remote = here.next().filter(|_| same)?;
        let learned = source(host, other, remote)
            .map(|address| end_at(link, &settings(link).unwrap_or_default(), address, false));
        Some((other, learned))
    })
}

/// The source of the outer packets that a device sends to a remote end: its own, else that of the route, else of the interface
/// whose network holds the end.
#[must_use]
pub fn source(host: &Host, link: &Link, remote: Remote) -> Option<IpAddr> {
    let netns = underlay_netns(link);
    let of_route = || {
        let mut answers = host.routes.iter().rev().map(|dated| &dated.fact);
        let chosen = answers.find(|r| {
            let to = (r.netns, r.iif, r.tuple.dst) == (netns, 0, remote.address);
            to && r.tuple.src.is_unspecified()
        })?;
        chosen.result.as_ref().ok()?.source
    };
    remote
        .local
        .or_else(of_route)
        .or_else(|| on_link(host, netns, remote.address).map(|(_, own)| own))
}

/// Tunnel devices that stand in a namespace's underlay and are set to take this kind of packet, whatever their ends and
/// keys.
pub fn of_kind<'a>(
    host: &'a Host,
    netns: NetNs,
    arrived: &'a Arrived,
) -> impl Iterator<Item = &'a Link> {
    host.links().filter(move |link| {
        underlay_netns(link) == netns
            && !host.is_gone(link.device)
            && !is_fallback(link)
            && kinds(arrived).contains(&link.kind.as_str())
    })
}

/// Kinds of devices that take such a packet, those that are asked first in front.
fn kinds(arrived: &Arrived) -> &'static [&'static str] {
    let v6 = arrived.tunnel.outer.dst.is_ipv6();
    match (arrived.tunnel.kind, v6, arrived.frame) {
        (TunnelKind::Vxlan, ..) => &["vxlan"],
        (TunnelKind::Geneve, ..) => &["geneve"],
        (TunnelKind::Gre, false, false) => &["gre"],
        (TunnelKind::Gre, false, true) => &["gretap"],
        (TunnelKind::Gre, true, false) => &["ip6gre"],
        (TunnelKind::Gre, true, true) => &["ip6gretap"],
        (TunnelKind::IpIp, true, _) => &["ip6tnl"],
        (TunnelKind::IpIp, false, _) if arrived.v6 => &["sit"],
        (TunnelKind::IpIp, false, _) => &["ipip", "sit"],
        (TunnelKind::RawUdp, ..) => &[],
    }
}

/// The tunnel device that takes an outer packet in, as the kernel picks it: the one with the most of its ends
/// (`ip_tunnel_lookup` of net/ipv4/ip_tunnel.c, `ip6_tnl_lookup` of net/ipv6/ip6_tunnel.c). One that is down would, where no other does.
#[must_use]
pub fn taker<'a>(host: &'a Host, netns: NetNs, arrived: &Arrived) -> Option<&'a Link> {
    let kinds = kinds(arrived);
    let ranked = host.links().filter_map(|link| {
        let here = underlay_netns(link) == netns && !host.is_gone(link.device);
        let first = kinds.iter().position(|kind| *kind == link.kind)?;
        let rank = rank(link, arrived).filter(|_| here)?;
        let bound = link.peer.is_some() && link.peer == arrived.iif;
        Some(((link.up, Reverse(first), rank, bound), link))
    });
    let best = ranked.max_by_key(|(key, _)| *key);
    best.map(|(_, link)| link)
}

fn is_fallback(link: &Link) -> bool {
    let ends = settings(link).map(|set| (set.local, set.remote));
    FALLBACKS.contains(&link.name.as_str()) && ends == Some((None, None))
}

/// How closely a device's settings match an outer packet; `None`: not.
fn rank(link: &Link, arrived: &Arrived) -> Option<u8> {
    let set = settings(link)?;
    let Tunnel { id, outer, .. } = arrived.tunnel;
    let any = outer.src.is_unspecified();
    let from = |end: IpAddr| any || end == outer.src;
    match kind_of(link) {
        TunnelKind::Vxlan | TunnelKind::Geneve => {
            // Geneve has a table of remote ends, VXLAN one of VNIs alone (geneve_lookup, vxlan_vs_find_vni).
            let end = link.vxlan.is_some() || set.remote.is_none_or(from);
            let family = |end: IpAddr| end.is_ipv4() == outer.dst.is_ipv4();
            let own = set.external
                || id == set.input_key && end && set.local.or(set.remote).is_none_or(family);
            return (own && set.port == outer.dport).then_some(u8::from(!set.external));
        }
        TunnelKind::IpIp => {
            let inside = if arrived.v6 { IPV6 } else { IPIP };
            if set.inside != 0 && set.inside != inside {
                return None;
            }
        }
        _ => {}
    }
    let ends = (set.local, set.remote);
    if is_fallback(link) {
        // Nobody raises it for this.
        return link.up.then_some(0);
    }
    if set.external {
        return Some(1);
    }
    let key = match outer.dst {
        IpAddr::V4(_) => set.input_key == id,
        // A key of zero and none are one there (ip6gre_tunnel_lookup).
        IpAddr::V6(_) => set.input_key.unwrap_or(0) == id.unwrap_or(0),
    };
    let matches = match ends {
        (None, None) => Some(2),
        (Some(local), None) => (local == outer.dst).then_some(3),
        (None, Some(remote)) if remote.is_multicast() => (remote == outer.dst).then_some(3),
        (None, Some(remote)) => from(remote).then_some(4),
        (Some(local), Some(remote)) => (local == outer.dst && from(remote)).then_some(5),
    };
    matches.filter(|_| key)
}

/// A device's ends and key, as ip-link(8) has them.
#[must_use]
pub fn words(link: &Link) -> String {
    let Some(set) = settings(link) else {
        return String::new();
    };
    let word = match kind_of(link) {
        TunnelKind::Gre => "key",
        _ => "vni",
    };
    let mut words = Vec::new();
    match (set.input_key, set.output_key) {
        (Some(input), Some(output)) if input == output => words.push(format!("{word} {input}")),
        (input, output) => {
            words.extend(input.map(|key| format!("ikey {key}")));
            words.extend(output.map(|key| format!("okey {key}")));
        }
    }
    if set.port != 0 {
        words.push(format!("port {}", set.port));
    }
    words.extend(set.local.map(|local| format!("local {local}")));
    words.extend(set.remote.map(|remote| format!("remote {remote}")));
    if set.external {
        words.push("external".to_owned());
    }
    words.join(" ")
}

/// What is known of the remote end of a tunnel device that carries frames.
#[derive(Clone, Debug, PartialEq)]
pub enum End<'a> {
    /// The tunnel devices that take it in there.
    Devices(Vec<&'a Link>),
    /// The remote end is an address of the sending device's own namespace.
    Own,
    /// The address is known, but no tunnel device takes it in there.
    NoDevice(NetNs),
    /// The kernel has no route to it (a positive errno).
    NoRoute(u32),
    /// No namespace that is known has the address, or it is a group.
    Unknown,
}

/// Who is at the remote end, with the underlay's answer where it was asked.
#[must_use]
pub fn end_of<'a>(host: &'a Host, link: &Link, remote: Remote) -> End<'a> {
    let address = remote.address;
    let netns = underlay_netns(link);
    if host.is_local(netns, address) {
        return End::Own;
    }
    if let Some(RouteAnswer {
        result: Err(error), ..
    }) = underlay(host, netns, remote)
    {
        return End::NoRoute(*error);
    }
    let mut owners: Vec<NetNs> = host.owners(address).map(|device| device.netns).collect();
    owners.sort_unstable();
    owners.dedup();
    let source = remote
        .local
        .or_else(|| on_link(host, netns, address).map(|(_, own)| own));
    let remote = Remote {
        local: source,
        ..remote
    };
    let arrived = Arrived {
        tunnel: remote.tunnel(),
        frame: carries_frames(link),
        v6: false,
        iif: None,
    };
    let takers = owners.iter().filter_map(|at| taker(host, *at, &arrived));
    let devices: Vec<&Link> = takers.collect();
    match (owners.first(), devices.is_empty()) {
        (_, false) => End::Devices(devices),
        (Some(netns), true) => End::NoDevice(*netns),
        (None, true) => End::Unknown,
    }
}

/// The interface of a namespace whose network holds an address, with its own address there.
#[must_use]
pub fn on_link(host: &Host, netns: NetNs, address: IpAddr) -> Option<(&Link, IpAddr)> {
    let here = host.links().filter(|l| l.device.netns == netns);
    here.flat_map(|link| {
        host.addresses(link.device)
            .iter()
            .filter(|own| holds(own.address, own.prefix, address))
            .map(move |own| (own.prefix, link, own.address))
    })
    .max_by_key(|(prefix, ..)| *prefix)
    .map(|(_, link, own)| (link, own))
}

/// What the kernel said about the route to a remote end.
#[must_use]
pub fn underlay(host: &Host, netns: NetNs, remote: Remote) -> Option<&RouteAnswer> {
    host.routes
        .iter()
        .rev()
        .map(|dated| &dated.fact)
        .find(|r| r.netns == netns && r.iif == 0 && r.tuple.dst == remote.address)
}

/// The question for the route to a remote end.
#[must_use]
pub fn underlay_question(netns: NetNs, remote: Remote) -> Question {
    Question::Route {
        netns,
        tuple: remote.outer(),
        iif: 0,
        with: Selectors::default(),
    }
}

#[cfg(test)]
mod tests;
