//! Tunnels as far as devices and forwarding databases tell: where a VXLAN device sends a frame, who has the remote end,
//! and whether the underlay leads there.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use crate::host::Host;
use crate::host::facts::{Link, Question, RouteAnswer, Selectors};
use crate::host::prefix::holds;
use crate::model::{Device, Mac, NetNs, Proto, Tuple};

/// The remote end to which a VXLAN device sends frames for a MAC.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Remote {
    /// Its address.
    pub address: IpAddr,
    /// The UDP port.
    pub port: u16,
    /// The address that the device sends from, where it is set.
    pub local: Option<IpAddr>,
}

impl Remote {
    /// The address to send from; unspecified where the route chooses it.
    #[must_use]
    pub fn source(&self) -> IpAddr {
        self.local.unwrap_or(match self.address {
            IpAddr::V4(_) => IpAddr::V4(Ipv4Addr::UNSPECIFIED),
            IpAddr::V6(_) => IpAddr::V6(Ipv6Addr::UNSPECIFIED),
        })
    }

    /// The outer packet, as a route look-up.
    #[must_use]
    pub fn outer(&self) -> Tuple {
        Tuple {
            proto: Proto::Udp,
            src: self.source(),
            sport: 0,
            dst: self.address,
            dport: self.port,
            icmp_id: 0,
        }
    }
}

/// Where a VXLAN device sends frames for this MAC: by its own entry, else by the one for all others, else by its
/// default remote.
#[must_use]
pub fn remote_of(host: &Host, device: Device, mac: Mac) -> Option<Remote> {
    let vxlan = host.link(device)?.vxlan.as_ref()?;
    let entries = host.forwarding(device, mac).map(|f| f.entries.as_slice());
    let entry = |default: bool| {
        entries
            .unwrap_or_default()
            .iter()
            .filter(move |e| e.default == default)
            .find_map(|e| e.remote)
    };
    Some(Remote {
        address: entry(false).or_else(|| entry(true)).or(vxlan.remote)?,
        port: vxlan.port,
        local: vxlan.local,
    })
}

/// All remote ends to which a VXLAN device sends what is flooded. A default remote is an entry for all MACs too.
///
/// # Errors
/// What has to be read first.
pub fn flooded_to(host: &Host, link: &Link) -> Result<Vec<Remote>, Question> {
    let Some(vxlan) = link.vxlan.as_ref() else {
        return Ok(Vec::new());
    };
    let read = host.forwarding.iter().rev().map(|dated| &dated.fact);
    let Some(answer) = read.clone().find(|f| f.device == link.device) else {
        return Err(Question::Forwarding {
            device: link.device,
            mac: Mac([0xff; 6]),
        });
    };
    let remote = |address| Remote {
        address,
        port: vxlan.port,
        local: vxlan.local,
    };
    let defaults = answer.entries.iter().filter(|e| e.default);
    Ok(defaults.filter_map(|e| e.remote).map(remote).collect())
}

/// VXLAN devices that flood to one of the host's own: their ends are what it learns from what they send.
pub fn senders_to<'a>(host: &'a Host, link: &'a Link) -> impl Iterator<Item = &'a Link> {
    let own = link.vxlan.as_ref().map(|v| (v.vni, v.port));
    host.links().filter(move |other| {
        let same = other.device != link.device
            && !host.is_gone(other.device)
            && own.is_some()
            && other.vxlan.as_ref().map(|v| (v.vni, v.port)) == own;
        same && flooded_to(host, other)
            .unwrap_or_default()
            .iter()
            .any(|remote| host.is_local(link.device.netns, remote.address))
    })
}

/// What is known of the remote end of a VXLAN device.
#[derive(Clone, Debug, PartialEq)]
pub enum End<'a> {
    /// The VXLAN devices that take it in there: same VNI, same port, same end.
    Devices(Vec<&'a Link>),
    /// The remote end is an address of the sending device's own namespace.
    Own,
    /// The address is known, but no VXLAN device of this VNI and port is up with it.
    NoDevice(NetNs),
    /// The kernel has no route to it (a positive errno).
    NoRoute(u32),
    /// No namespace that is known has the address, or it is a group.
    Unknown,
}

/// Who is at the remote end, with the underlay's answer where it was asked.
#[must_use]
pub fn end_of<'a>(host: &'a Host, link: &Link, remote: Remote) -> End<'a> {
    let Some(vni) = link.vxlan.as_ref().map(|v| v.vni) else {
        return End::Unknown;
    };
    let address = remote.address;
    if host.is_local(link.device.netns, address) {
        return End::Own;
    }
    if let Some(RouteAnswer {
        result: Err(error), ..
    }) = underlay(host, link.device.netns, remote)
    {
        return End::NoRoute(*error);
    }
    let mut owners: Vec<NetNs> = host.owners(address).map(|device| device.netns).collect();
    owners.sort_unstable();
    owners.dedup();
    let takes = |l: &&Link| {
        let at_it = l.vxlan.as_ref().is_some_and(|v| {
            v.vni == vni && v.port == remote.port && v.local.is_none_or(|local| local == address)
        });
        at_it && owners.contains(&l.device.netns) && !host.is_gone(l.device)
    };
    let devices: Vec<&Link> = host.links().filter(takes).collect();
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
