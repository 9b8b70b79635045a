//! Interfaces and addresses of a namespace, read by rtnetlink: dumps, and the same messages as notifications.
//!
//! The other end of a link is told by a number that only its own namespace understands; [`Peers`] finds out which
//! namespace is meant.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::os::fd::{AsFd, AsRawFd};

use netlink_sys::protocols::NETLINK_ROUTE;

use super::facts::{BridgeLink, BridgePort, InterfaceAddress, Link, PortState, VxlanLink};
use super::namespaces::{Namespaces, NetnsFd};
use super::netlink::{
    Message, Netlink, Request, address_of, attributes, i32_of, text_of, u16_of, u32_of,
};
use crate::model::{Device, IfIndex, Mac, NetNs};
use crate::uapi::netdevice::{IFF_LOWER_UP, IFF_NOARP, IFF_UP};

const AF_UNSPEC: u8 = 0;
/// Statistics are most of a link's message and nobody here reads them (RTEXT_FILTER_SKIP_STATS).
const SKIP_STATS: u32 = 1 << 3;

// Of linux/if_link.h, the part below IFLA_LINKINFO, and of linux/net_namespace.h.
const IFLA_INFO_KIND: u16 = 1;
const IFLA_INFO_DATA: u16 = 2;
const IFLA_INFO_SLAVE_KIND: u16 = 4;
const IFLA_INFO_SLAVE_DATA: u16 = 5;
const IFLA_VXLAN_ID: u16 = 1;
const IFLA_VXLAN_GROUP: u16 = 2;
const IFLA_VXLAN_LOCAL: u16 = 4;
const IFLA_VXLAN_LEARNING: u16 = 7;
const IFLA_VXLAN_PROXY: u16 = 11;
const IFLA_VXLAN_PORT: u16 = 15;
const IFLA_VXLAN_GROUP6: u16 = 16;
const IFLA_VXLAN_LOCAL6: u16 = 17;
const IFLA_VXLAN_COLLECT_METADATA: u16 = 25;
const IFLA_VXLAN_DF: u16 = 29;
const IFLA_VLAN_ID: u16 = 1;
const IFLA_XDP_ATTACHED: u16 = 2;
const IFLA_BR_STP_STATE: u16 = 5;
const IFLA_BR_VLAN_FILTERING: u16 = 7;
const IFLA_BR_GROUP_FWD_MASK: u16 = 9;
const IFLA_BR_MCAST_SNOOPING: u16 = 23;
const IFLA_BR_MCAST_QUERIER: u16 = 25;
const IFLA_BRPORT_STATE: u16 = 1;
const IFLA_BRPORT_MODE: u16 = 4;
const IFLA_BRPORT_LEARNING: u16 = 8;
const IFLA_BRPORT_UNICAST_FLOOD: u16 = 9;
const IFLA_BRPORT_PROXYARP: u16 = 10;
const IFLA_BRPORT_PROXYARP_WIFI: u16 = 12;
const IFLA_BRPORT_MCAST_FLOOD: u16 = 27;
const IFLA_BRPORT_BCAST_FLOOD: u16 = 30;
const IFLA_BRPORT_NEIGH_SUPPRESS: u16 = 32;
const IFLA_BRPORT_ISOLATED: u16 = 33;
const IFLA_BRPORT_LOCKED: u16 = 39;
const IFLA_MACVLAN_MODE: u16 = 1;
const NETNSA_NSID: u16 = 1;
const NETNSA_FD: u16 = 3;

/// The other end of a link as its namespace tells it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Lower {
    /// IFLA_LINK.
    pub(crate) ifindex: u32,
    /// IFLA_LINK_NETNSID; `None` when the other end is in the same namespace.
    pub(crate) nsid: Option<i32>,
}

/// A link as one message tells it: `link.peer` is not yet known.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct LinkMessage {
    pub(crate) link: Link,
    pub(crate) lower: Option<Lower>,
}

/// Reads RTM_NEWLINK or RTM_DELLINK. `None` for messages about a port of a bridge (AF_BRIDGE), which are sent under
/// the same types, and for malformed ones.
pub(crate) fn link_of(netns: NetNs, message: Message<'_>) -> Option<LinkMessage> {
    // struct ifinfomsg: family, pad, type (2), index (4), flags (4), change (4)
    let (header, rest) = message.payload.split_first_chunk::<16>()?;
    let [family, _, t0, t1, i0, i1, i2, i3, f0, f1, f2, f3, ..] = *header;
    if family != AF_UNSPEC {
        return None;
    }
    let ifindex = u32::from_ne_bytes([i0, i1, i2, i3]);
    let flags = u32::from_ne_bytes([f0, f1, f2, f3]);
    let mut link = Link {
        device: Device {
            netns,
            ifindex: IfIndex(ifindex),
        },
        name: String::new(),
        kind: String::new(),
        mac: None,
        mtu: 0,
        up: flags & IFF_UP != 0,
        carrier: flags & IFF_LOWER_UP != 0,
        arp_type: u16::from_ne_bytes([t0, t1]),
        master: None,
        peer: None,
        vxlan: None,
        bridge: None,
        port: None,
        macvlan: None,
        noarp: flags & IFF_NOARP != 0,
        vlan: None,
        generic_xdp: false,
    };
    let (mut lower, mut nsid) = (None, None);
    for (kind, value) in attributes(rest) {
        match kind {
            libc::IFLA_IFNAME => link.name = text_of(value),
            libc::IFLA_ADDRESS => link.mac = mac_of(value),
            libc::IFLA_MTU => link.mtu = u32_of(value).unwrap_or_default(),
            libc::IFLA_MASTER => link.master = u32_of(value).filter(|n| *n != 0),
            libc::IFLA_LINK => lower = u32_of(value),
            libc::IFLA_LINK_NETNSID => nsid = i32_of(value),
            libc::IFLA_LINKINFO => read_info(value, &mut link),
            libc::IFLA_XDP => link.generic_xdp = is_generic(value),
            _ => {}
        }
    }
    // Tunnels tell zero, and what has nothing below it may tell itself.
    let lower = lower
        .filter(|other| *other != 0 && (*other != ifindex || nsid.is_some()))
        .map(|ifindex| Lower { ifindex, nsid });
    Some(LinkMessage { link, lower })
}

/// Of IFLA_XDP: whether a program runs in the stack, alone or beside one in the driver.
fn is_generic(xdp: &[u8]) -> bool {
    /// XDP_ATTACHED_SKB and XDP_ATTACHED_MULTI (linux/if_link.h).
    const GENERIC: [u8; 2] = [2, 4];
    attributes(xdp)
        .find(|(kind, _)| *kind == IFLA_XDP_ATTACHED)
        .is_some_and(|(_, value)| value.first().is_some_and(|mode| GENERIC.contains(mode)))
}

fn read_info(info: &[u8], link: &mut Link) {
    let (mut data, mut port): (&[u8], &[u8]) = (&[], &[]);
    let mut master = String::new();
    for (kind, value) in attributes(info) {
        match kind {
            IFLA_INFO_KIND => link.kind = text_of(value),
            IFLA_INFO_DATA => data = value,
            IFLA_INFO_SLAVE_KIND => master = text_of(value),
            IFLA_INFO_SLAVE_DATA => port = value,
            _ => {}
        }
    }
    match link.kind.as_str() {
        "vxlan" => link.vxlan = Some(vxlan_of(data)),
        "bridge" => link.bridge = Some(bridge_of(data)),
        "macvlan" | "macvtap" => link.macvlan = macvlan_mode(data),
        "vlan" => {
            link.vlan = attributes(data)
                .find(|(kind, _)| *kind == IFLA_VLAN_ID)
                .and_then(|(_, value)| u16_of(value));
        }
        _ => {}
    }
    if master == "bridge" {
        link.port = Some(port_of(port));
    }
}

fn vxlan_of(data: &[u8]) -> VxlanLink {
    let mut vxlan = VxlanLink {
        vni: 0,
        port: 0,
        remote: None,
        local: None,
        learning: false,
        df: 0,
        proxy: false,
        external: false,
    };
    for (kind, value) in attributes(data) {
        match kind {
            IFLA_VXLAN_ID => vxlan.vni = u32_of(value).unwrap_or_default(),
            IFLA_VXLAN_PORT => vxlan.port = u16_of(value).map_or(0, u16::from_be),
            IFLA_VXLAN_GROUP | IFLA_VXLAN_GROUP6 => vxlan.remote = address_of(value),
            IFLA_VXLAN_LOCAL | IFLA_VXLAN_LOCAL6 => vxlan.local = address_of(value),
            IFLA_VXLAN_LEARNING => vxlan.learning = is_set(value),
            IFLA_VXLAN_PROXY => vxlan.proxy = is_set(value),
            IFLA_VXLAN_COLLECT_METADATA => vxlan.external = is_set(value),
            IFLA_VXLAN_DF => vxlan.df = value.first().copied().unwrap_or_default(),
            _ => {}
        }
    }
    vxlan
}

fn bridge_of(data: &[u8]) -> BridgeLink {
    let mut bridge = BridgeLink::default();
    for (kind, value) in attributes(data) {
        match kind {
            IFLA_BR_STP_STATE => bridge.stp = u32_of(value).is_some_and(|state| state != 0),
            IFLA_BR_VLAN_FILTERING => bridge.vlan_filtering = is_set(value),
            IFLA_BR_GROUP_FWD_MASK => bridge.group_fwd_mask = u16_of(value).unwrap_or_default(),
            IFLA_BR_MCAST_SNOOPING => bridge.mcast_snooping = is_set(value),
            IFLA_BR_MCAST_QUERIER => bridge.mcast_querier = is_set(value),
            _ => {}
        }
    }
    bridge
}

fn port_of(data: &[u8]) -> BridgePort {
    let mut port = BridgePort::default();
    for (kind, value) in attributes(data) {
        match kind {
            IFLA_BRPORT_STATE => {
                port.state = PortState::of(value.first().copied().unwrap_or_default());
            }
            IFLA_BRPORT_MODE => port.hairpin = is_set(value),
            IFLA_BRPORT_LEARNING => port.learning = is_set(value),
            IFLA_BRPORT_UNICAST_FLOOD => port.flood = is_set(value),
            IFLA_BRPORT_MCAST_FLOOD => port.mcast_flood = is_set(value),
            IFLA_BRPORT_BCAST_FLOOD => port.bcast_flood = is_set(value),
            IFLA_BRPORT_NEIGH_SUPPRESS => port.neigh_suppress = is_set(value),
            IFLA_BRPORT_PROXYARP => port.proxy_arp = is_set(value),
            IFLA_BRPORT_PROXYARP_WIFI => port.proxy_arp_wifi = is_set(value),
            IFLA_BRPORT_ISOLATED => port.isolated = is_set(value),
            IFLA_BRPORT_LOCKED => port.locked = is_set(value),
            _ => {}
        }
    }
    port
}

/// MACVLAN_MODE_* of linux/if_link.h, as ip-link(8) calls them.
fn macvlan_mode(data: &[u8]) -> Option<String> {
    const MODES: [(u32, &str); 5] = [
        (1, "private"),
        (2, "vepa"),
        (4, "bridge"),
        (8, "passthru"),
        (16, "source"),
    ];
    let (_, value) = attributes(data).find(|(kind, _)| *kind == IFLA_MACVLAN_MODE)?;
    let number = u32_of(value)?;
    MODES
        .iter()
        .find(|(mode, _)| *mode == number)
        .map(|(_, name)| (*name).to_owned())
}

fn is_set(value: &[u8]) -> bool {
    value.first().is_some_and(|flag| *flag != 0)
}

/// A link-layer address that is Ethernet's; `lo` has one of zeros, which is none.
pub(crate) fn mac_of(value: &[u8]) -> Option<Mac> {
    let bytes = <[u8; 6]>::try_from(value).ok()?;
    (bytes != [0; 6]).then_some(Mac(bytes))
}

/// Reads RTM_NEWADDR or RTM_DELADDR: the interface and the address.
pub(crate) fn address_message(message: Message<'_>) -> Option<(u32, InterfaceAddress)> {
    // struct ifaddrmsg: family, prefix length, flags, scope, index (4)
    let (header, rest) = message.payload.split_first_chunk::<8>()?;
    let [_, prefix, flags, scope, i0, i1, i2, i3] = *header;
    let mut flags = u32::from(flags);
    let (mut local, mut other) = (None, None);
    for (kind, value) in attributes(rest) {
        match kind {
            // On a point-to-point link IFA_ADDRESS is the other end.
            libc::IFA_LOCAL => local = address_of(value),
            libc::IFA_ADDRESS => other = address_of(value),
            libc::IFA_FLAGS => flags = u32_of(value).unwrap_or(flags),
            _ => {}
        }
    }
    let address = InterfaceAddress {
        address: local.or(other)?,
        prefix,
        tentative: flags & libc::IFA_F_TENTATIVE != 0,
        dad_failed: flags & libc::IFA_F_DADFAILED != 0,
        secondary: flags & libc::IFA_F_SECONDARY != 0,
        scope,
    };
    Some((u32::from_ne_bytes([i0, i1, i2, i3]), address))
}

/// Everything that a namespace holds at one moment.
#[derive(Debug, Default)]
pub(crate) struct Listing {
    pub(crate) links: Vec<LinkMessage>,
    pub(crate) addresses: BTreeMap<u32, Vec<InterfaceAddress>>,
}

/// Lists interfaces and addresses of the calling thread's namespace, which the caller knows to be `netns`.
pub(crate) fn list(netns: NetNs) -> io::Result<Listing> {
    let mut socket = Netlink::open(NETLINK_ROUTE)?;
    let links = socket.ask(
        &Request::all(libc::RTM_GETLINK, &[0; 16])
            .attribute(libc::IFLA_EXT_MASK, &SKIP_STATS.to_ne_bytes()),
        |message| link_of(netns, message),
    )?;
    let mut addresses: BTreeMap<u32, Vec<InterfaceAddress>> = BTreeMap::new();
    for (ifindex, address) in
        socket.ask(&Request::all(libc::RTM_GETADDR, &[0; 8]), address_message)?
    {
        addresses.entry(ifindex).or_default().push(address);
    }
    Ok(Listing { links, addresses })
}

/// Which namespace a namespace means by a number (RTM_GETNSID). Asked lazily and remembered.
#[derive(Debug, Default)]
pub(crate) struct Peers {
    known: BTreeMap<(NetNs, i32), NetNs>,
    /// Pairs that have been asked about: (who was asked, about whom).
    asked: BTreeSet<(NetNs, NetNs)>,
}

impl Peers {
    /// The namespace that `at` calls `nsid`, when it is one of `all`.
    pub(crate) fn resolve(&mut self, at: NetNs, nsid: i32, all: &Namespaces) -> Option<NetNs> {
        if let Some(found) = self.known.get(&(at, nsid)) {
            return Some(*found);
        }
        let handle = all.get(at)?;
        // Those that name `at` themselves come first: relations are mutual for veths, and a node has hundreds of
        // namespaces whose only relation is the host's.
        let mutual: BTreeSet<NetNs> = self
            .known
            .iter()
            .filter(|(_, named)| **named == at)
            .map(|((owner, _), _)| *owner)
            .collect();
        let rest = all
            .iter()
            .map(NetnsFd::netns)
            .filter(|n| !mutual.contains(n));
        let candidates: Vec<NetNs> = mutual
            .iter()
            .copied()
            .chain(rest)
            .filter(|candidate| !self.asked.contains(&(at, *candidate)))
            .collect();
        if candidates.is_empty() {
            return None;
        }
        let mut socket = handle.enter(|| Netlink::open(NETLINK_ROUTE)).ok()?.ok()?;
        for candidate in candidates {
            self.asked.insert((at, candidate));
            let Some(number) = all
                .get(candidate)
                .and_then(|other| nsid_of(&mut socket, other))
            else {
                continue;
            };
            self.known.insert((at, number), candidate);
            if number == nsid {
                return Some(candidate);
            }
        }
        None
    }

    /// `at` may have given out new numbers.
    pub(crate) fn renew(&mut self, at: NetNs) {
        self.asked.retain(|(owner, _)| *owner != at);
    }

    /// `at` no longer uses this number, or uses it for another namespace.
    pub(crate) fn forget(&mut self, at: NetNs, nsid: i32) {
        self.known.remove(&(at, nsid));
        self.renew(at);
    }

    /// A namespace is gone.
    pub(crate) fn forget_namespace(&mut self, gone: NetNs) {
        self.known
            .retain(|(owner, _), named| *owner != gone && *named != gone);
        self.asked
            .retain(|(owner, named)| *owner != gone && *named != gone);
    }
}

/// The number that the socket's namespace uses for another one, when it has any.
fn nsid_of(socket: &mut Netlink, other: &NetnsFd) -> Option<i32> {
    let request = Request::one(libc::RTM_GETNSID, &[0; 4])
        .attribute(NETNSA_FD, &other.as_fd().as_raw_fd().to_ne_bytes());
    let answers = socket.ask(&request, nsid_message).ok()?;
    answers.into_iter().find(|number| *number >= 0)
}

/// The number in RTM_NEWNSID or RTM_DELNSID; -1 says there is none.
pub(crate) fn nsid_message(message: Message<'_>) -> Option<i32> {
    attributes(message.payload.get(4..)?)
        .find(|(kind, _)| *kind == NETNSA_NSID)
        .and_then(|(_, value)| i32_of(value))
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a failed setup fails the test")]
mod tests {
    use std::net::IpAddr;

    use super::*;
    use crate::host::netlink::messages;

    const NETNS: NetNs = NetNs(7);

    /// RTM_NEWLINK of interface 5 (Ethernet, up, with a carrier).
    fn newlink(family: u8, attributes: &[(u16, &[u8])]) -> Vec<u8> {
        let mut header = vec![family, 0, 1, 0, 5, 0, 0, 0];
        header.extend((IFF_UP | IFF_LOWER_UP).to_ne_bytes());
        header.extend([0; 4]);
        attributes
            .iter()
            .fold(
                Request::one(libc::RTM_NEWLINK, &header),
                |r, (kind, value)| r.attribute(*kind, value),
            )
            .bytes()
    }

    fn parsed(bytes: &[u8]) -> Option<LinkMessage> {
        link_of(NETNS, messages(bytes).next().unwrap())
    }

    #[test]
    fn a_vxlan_tells_its_settings_among_attributes_that_nobody_knows() {
        let data = [
            [8, 0, 1, 0].as_slice(),
            &42u32.to_ne_bytes(),
            &[6, 0, 15, 0, 0x21, 0x18, 0, 0, 8, 0, 2, 0, 10, 0, 0, 9],
        ]
        .concat();
        let length = u8::try_from(data.len() + 4).unwrap();
        let info = [
            b"\x0a\0\x01\0vxlan\0\0\0".as_slice(),
            &[length, 0, 2, 0x80],
            &data,
        ]
        .concat();
        let bytes = newlink(
            0,
            &[
                (999, &[1]),
                (libc::IFLA_IFNAME, b"flannel0\0"),
                (libc::IFLA_ADDRESS, &[2, 0, 0, 0, 0, 1]),
                (libc::IFLA_LINKINFO | 0x8000, &info),
            ],
        );
        let link = parsed(&bytes).unwrap().link;
        assert_eq!(
            (link.name.as_str(), link.kind.as_str()),
            ("flannel0", "vxlan")
        );
        assert_eq!(link.mac, Some(Mac([2, 0, 0, 0, 0, 1])));
        assert!(link.up && link.carrier);
        let vxlan = link.vxlan.unwrap();
        assert_eq!((vxlan.vni, vxlan.port), (42, 8472));
        assert_eq!(vxlan.remote, Some([10, 0, 0, 9].into()));
    }

    #[test]
    fn the_other_end_is_neither_itself_nor_nothing() {
        let lower = |attributes: &[(u16, &[u8])]| parsed(&newlink(0, attributes)).unwrap().lower;
        let five: &[u8] = &5u32.to_ne_bytes();
        let nsid: &[u8] = &3i32.to_ne_bytes();
        assert_eq!(lower(&[(libc::IFLA_LINK, five)]), None);
        assert_eq!(lower(&[(libc::IFLA_LINK, &[0; 4])]), None);
        let both = [(libc::IFLA_LINK, five), (libc::IFLA_LINK_NETNSID, nsid)];
        let expected = Lower {
            ifindex: 5,
            nsid: Some(3),
        };
        assert_eq!(lower(&both), Some(expected), "same number, other namespace");
    }

    #[test]
    fn a_port_of_a_bridge_is_no_interface() {
        let bridge = u8::try_from(libc::AF_BRIDGE).unwrap();
        assert_eq!(
            parsed(&newlink(bridge, &[(libc::IFLA_IFNAME, b"a\0")])),
            None
        );
    }

    #[test]
    fn an_address_is_the_local_one_with_its_flags() {
        // struct ifaddrmsg: AF_INET, /30, flags in one byte (which the attribute replaces), index 5
        let flags = libc::IFA_F_TENTATIVE | libc::IFA_F_DADFAILED;
        let bytes = Request::one(libc::RTM_NEWADDR, &[2, 30, 1, 0, 5, 0, 0, 0])
            .attribute(libc::IFA_ADDRESS, &[10, 0, 0, 2])
            .attribute(libc::IFA_LOCAL, &[10, 0, 0, 1])
            .attribute(libc::IFA_FLAGS, &flags.to_ne_bytes())
            .bytes();
        let (ifindex, address) = address_message(messages(&bytes).next().unwrap()).unwrap();
        assert_eq!((ifindex, address.prefix), (5, 30));
        assert_eq!(address.address, IpAddr::from([10, 0, 0, 1]));
        assert!(address.tentative && address.dad_failed && !address.secondary);
    }
}
