//! Interfaces and addresses of a namespace, read by rtnetlink: dumps, and the same messages as notifications.
//!
//! The other end of a link is told by a number that only its own namespace understands; [`Peers`] finds out which
//! namespace is meant.

mod layer2;
mod tunnels;

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::os::fd::{AsFd, AsRawFd};

use netlink_sys::protocols::NETLINK_ROUTE;

use super::facts::{InterfaceAddress, Link};
use super::namespaces::{Namespaces, NetnsFd};
use super::netlink::{Message, Netlink, Request, address_of, attributes, i32_of, text_of, u32_of};
use crate::model::{Device, IfIndex, Mac, NetNs};
use crate::uapi::netdevice::{IFF_LOWER_UP, IFF_NOARP, IFF_UP};

const AF_UNSPEC: u8 = 0;
/// Statistics are most of a link's message and nobody here reads them (RTEXT_FILTER_SKIP_STATS).
const SKIP_STATS: u32 = 1 << 3;

// Of linux/if_link.h, below IFLA_LINKINFO, and of linux/net_namespace.h.
const IFLA_INFO_KIND: u16 = 1;
const IFLA_INFO_DATA: u16 = 2;
const IFLA_INFO_SLAVE_KIND: u16 = 4;
const IFLA_INFO_SLAVE_DATA: u16 = 5;
const IFLA_XDP_ATTACHED: u16 = 2;
const NETNSA_NSID: u16 = 1;
const NETNSA_FD: u16 = 3;

/// The other end of a link as its namespace tells it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Lower {
    /// IFLA_LINK; zero: only the namespace is told (a tunnel that was moved out of it).
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
    let device = Device {
        netns,
        ifindex: IfIndex(ifindex),
    };
    let mut link = Link {
        up: flags & IFF_UP != 0,
        carrier: flags & IFF_LOWER_UP != 0,
        arp_type: u16::from_ne_bytes([t0, t1]),
        noarp: flags & IFF_NOARP != 0,
        ..Link::new(device, String::new())
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
    // A tunnel that is bound to no interface tells zero, and what has nothing below it may tell itself.
    let lower = lower
        .filter(|other| nsid.is_some() || *other != 0 && *other != ifindex)
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
        "vxlan" => link.vxlan = Some(tunnels::vxlan_of(data)),
        "bridge" => link.bridge = Some(layer2::bridge_of(data)),
        "bond" => link.bond = Some(Box::new(layer2::bond_of(data))),
        "team" => link.bond = Some(Box::default()),
        "macvlan" | "macvtap" => link.macvlan = layer2::macvlan_mode(data),
        "ipvlan" | "ipvtap" => link.ipvlan = layer2::ipvlan_mode(data),
        "vlan" => {
            (link.vlan, link.vlan_service) = layer2::vlan_of(data);
        }
        kind => link.tunnel = tunnels::tunnel_of(kind, data).map(Box::new),
    }
    match master.as_str() {
        "bridge" => link.port = Some(layer2::port_of(port)),
        "bond" => link.slave = layer2::slave_of(port),
        _ => {}
    }
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
        deprecated: flags & libc::IFA_F_DEPRECATED != 0,
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
#[expect(
    clippy::unwrap_used,
    clippy::string_slice,
    reason = "a failed setup fails the test"
)]
mod tests {
    use std::net::IpAddr;

    use super::*;
    use crate::host::facts::{BondLink, BondSlave, TunnelLink};
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

    /// A link by its IFLA_LINKINFO, as Linux 6.1 sent it: hexadecimal digits.
    fn told(digits: &str) -> Link {
        let byte = |at: usize| u8::from_str_radix(&digits[at..at + 2], 16).unwrap();
        let info: Vec<u8> = (0..digits.len()).step_by(2).map(byte).collect();
        let bytes = newlink(0, &[(libc::IFLA_LINKINFO, &info)]);
        parsed(&bytes).unwrap().link
    }

    fn tunnel(digits: &str) -> TunnelLink {
        *told(digits).tunnel.unwrap()
    }

    fn ends(local: &str, remote: &str) -> TunnelLink {
        TunnelLink {
            local: local.parse().ok(),
            remote: remote.parse().ok(),
            ..TunnelLink::default()
        }
    }

    #[test]
    fn gre_tells_its_ends_and_keys() {
        // ip link add g1 type gre local 10.0.0.1 remote 10.0.0.2 ikey 5 okey 6 dev d0
        let gre = tunnel(
            "080001006772650084000200080001000b0000000600020020000000060003002000000008000400000000050800050000000006080006000a000001080007000a0000020500080000000000050009000000000005000a0001000000080014000000000006000e00000000000600100000000000060011000000000006000f00000000000500130000000000",
        );
        let expected = TunnelLink {
            input_key: Some(5),
            output_key: Some(6),
            ..ends("10.0.0.1", "10.0.0.2")
        };
        assert_eq!(gre, expected);
        // ip link add g2 type gretap external
        let gretap = tunnel(
            "0b00010067726574617000008800020008000100000000000600020000000000060003000000000008000400000000000800050000000000080006000000000008000700000000000500080000000000050009000000000005000a0001000000080014000000000006000e00000000000600100000000000060011000000000006000f0000000000050013000000000004001200",
        );
        let expected = TunnelLink {
            external: true,
            ..TunnelLink::default()
        };
        assert_eq!(
            gretap, expected,
            "zero is no end, and no key without its flag"
        );
        // ip link add g3 type ip6gretap local fd00::1 remote fd00::2 key 7
        let over_ipv6 = tunnel(
            "0e0001006970366772657461700000009c0002000800010000000000060002002000000006000300200000000800040000000007080005000000000714000600fd00000000000000000000000000000114000700fd000000000000000000000000000002050008004000000005000b000400000008000c000000000008000d0000000300080014000000000006000e00000000000600100000000000060011000000000006000f0002000000",
        );
        let expected = TunnelLink {
            input_key: Some(7),
            output_key: Some(7),
            ttl: Some(64),
            ..ends("fd00::1", "fd00::2")
        };
        assert_eq!(over_ipv6, expected);
    }

    #[test]
    fn ip_in_ip_tells_its_ends_and_what_may_be_inside() {
        // ip link add i2 type ipip local 10.0.0.1 remote 10.0.0.4 encap fou encap-sport auto encap-dport 5555
        let ipip = tunnel(
            "090001006970697000000000640002000800010000000000080002000a000001080003000a00000405000400000000000500050000000000050009000000000005000a0001000000080014000000000006000f000100000006001100000000000600120015b300000600100000000000",
        );
        let expected = TunnelLink {
            port: 5555,
            ..ends("10.0.0.1", "10.0.0.4")
        };
        assert_eq!(ipip, expected);
        // ip link add s1 type sit local 10.0.0.1
        let sit = tunnel(
            "0800010073697400980002000800010000000000080002000a00000108000300000000000500040000000000050005000000000005000a000100000005000900000000000600080000000000080014000000000014000b002002000000000000000000000000000008000c000000000006000d001000000006000e000000000006000f0000000000060011000000000006001200000000000600100000000000",
        );
        assert_eq!(sit, ends("10.0.0.1", ""));
        // ip link add t1 type ip6tnl local fd00::1 remote fd00::2 mode ipip6
        let over_ipv6 = tunnel(
            "0b000100697036746e6c000084000200080001000000000014000200fd00000000000000000000000000000114000300fd00000000000000000000000000000205000400400000000500060004000000080007000000000008000800000003000500090004000000080014000000000006000f0000000000060011000000000006001200000000000600100002000000",
        );
        let expected = TunnelLink {
            inside: 4,
            ttl: Some(64),
            ..ends("fd00::1", "fd00::2")
        };
        assert_eq!(over_ipv6, expected);
    }

    #[test]
    fn geneve_tells_its_vni_and_port() {
        // ip link add v1 type geneve id 42 remote 10.0.0.9
        let geneve = tunnel(
            "0b00010067656e657665000054000200080001002a000000080002000a00000905000800000000000500030000000000050004000000000008000b000000000005000d00000000000600050017c1000005000a000100000005000c0000000000",
        );
        let expected = TunnelLink {
            input_key: Some(42),
            output_key: Some(42),
            port: 6081,
            ..ends("", "10.0.0.9")
        };
        assert_eq!(geneve, expected);
    }

    #[test]
    fn a_bond_tells_its_mode_and_its_slaves_their_state() {
        // ip link add b1 type bond mode active-backup miimon 100
        let bond = told(
            "09000100626f6e6400000000cc0002000500010001000000080002001600000008000300640000000800040000000000080005000000000008001c000000000005000600010000000800070000000000080009000000000008000a000000000005000c000000000005000d000000000005000e000000000008000f00010000000500100001000000050011000000000008001200000000000800130001000000080014000100000005001d00010000000500150000000000050016000000000005001b000100000005001e00020000000500200001000000",
        );
        let expected = BondLink {
            mode: Some("active-backup".into()),
            active: Some(22),
        };
        assert_eq!(bond.bond.as_deref(), Some(&expected));
        // its first slave is active, its second one is not
        let slaves = [
            "09000100766574680000000009000400626f6e6400000000380005000500010000000000050002000000000008000300000000000a0004000a4d49e691ec000006000500000000000800090000000000",
            "09000100766574680000000009000400626f6e6400000000380005000500010001000000050002000000000008000300000000000a000400a6206e26f412000006000500000000000800090000000000",
        ];
        for (digits, active) in slaves.into_iter().zip([true, false]) {
            assert_eq!(told(digits).slave, Some(BondSlave { active, up: true }));
        }
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
        let unbound = [
            (libc::IFLA_LINK, [0; 4].as_slice()),
            (libc::IFLA_LINK_NETNSID, nsid),
        ];
        let expected = Lower {
            ifindex: 0,
            nsid: Some(3),
        };
        assert_eq!(
            lower(&unbound),
            Some(expected),
            "a tunnel that was moved away"
        );
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
