//! Tables of bridges beside the forwarding database (VLANs of ports, members of groups), and the table of neighbours
//! for which a namespace answers; all read by rtnetlink.

use std::io;
use std::net::{IpAddr, Ipv4Addr};

use netlink_sys::protocols::NETLINK_ROUTE;

use super::facts::{GroupMember, MulticastPorts, PortVlan, PortVlans, ProxyNeighbors};
use super::netlink::{Message, Netlink, Request, address_of, attributes, u16_of, u32_of};
use crate::model::{Device, NetNs};

const AF_BRIDGE: u8 = libc::AF_BRIDGE as u8;
/// RTEXT_FILTER_BRVLAN_COMPRESSED (linux/rtnetlink.h): VLANs of ports, neighbours of one kind as a range.
const BRIDGE_VLANS: u32 = 1 << 2;
/// Proxy entries instead of neighbours (linux/neighbour.h).
const NTF_PROXY: u8 = 1 << 3;

// Of linux/if_bridge.h.
const IFLA_BRIDGE_VLAN_INFO: u16 = 2;
const VLAN_PVID: u16 = 1 << 1;
const VLAN_UNTAGGED: u16 = 1 << 2;
const VLAN_RANGE_BEGIN: u16 = 1 << 3;
const VLAN_RANGE_END: u16 = 1 << 4;
const MDBA_MDB: u16 = 1;
const MDBA_ROUTER: u16 = 2;
const MDBA_MDB_ENTRY: u16 = 1;
const MDBA_MDB_ENTRY_INFO: u16 = 1;
const MDBA_ROUTER_PORT: u16 = 1;

/// VLANs of a bridge's ports, in the calling thread's namespace.
pub(super) fn vlans(bridge: Device) -> io::Result<PortVlans> {
    let mut socket = Netlink::open(NETLINK_ROUTE)?;
    // struct ifinfomsg: family, pad, type (2), index (4), flags (4), change (4)
    let mut header = [0; 16];
    if let Some(family) = header.first_mut() {
        *family = AF_BRIDGE;
    }
    let request = Request::all(libc::RTM_GETLINK, &header)
        .attribute(libc::IFLA_EXT_MASK, &BRIDGE_VLANS.to_ne_bytes());
    let ports = socket.ask(&request, |message| vlans_of(bridge.ifindex.0, message))?;
    Ok(PortVlans {
        bridge,
        vlans: ports.into_iter().flatten().collect(),
    })
}

/// Reads RTM_NEWLINK of AF_BRIDGE: one port of the bridge, or the bridge itself.
pub(super) fn vlans_of(bridge: u32, message: Message<'_>) -> Option<Vec<PortVlan>> {
    let (header, rest) = message.payload.split_first_chunk::<16>()?;
    let [family, _, _, _, i0, i1, i2, i3, ..] = *header;
    let port = u32::from_ne_bytes([i0, i1, i2, i3]);
    let value = |wanted| attributes(rest).find(|(kind, _)| *kind == wanted);
    let (_, master) = value(libc::IFLA_MASTER)?;
    if family != AF_BRIDGE || u32_of(master) != Some(bridge) {
        return None;
    }
    let (_, entries) = value(libc::IFLA_AF_SPEC)?;
    let mut list = Vec::new();
    let mut begun = None;
    for (kind, value) in attributes(entries) {
        let (Some(flags), Some(id)) = (
            value.get(0..2).and_then(u16_of),
            value.get(2..4).and_then(u16_of),
        ) else {
            continue;
        };
        if kind != IFLA_BRIDGE_VLAN_INFO {
            continue;
        }
        if flags & VLAN_RANGE_BEGIN != 0 {
            begun = Some(id);
            continue;
        }
        let first = begun.take().filter(|_| flags & VLAN_RANGE_END != 0);
        list.push(PortVlan {
            port,
            first: first.unwrap_or(id),
            last: id,
            pvid: flags & VLAN_PVID != 0,
            untagged: flags & VLAN_UNTAGGED != 0,
        });
    }
    Some(list)
}

/// What a bridge knows of groups, in the calling thread's namespace.
pub(super) fn groups(bridge: Device) -> io::Result<MulticastPorts> {
    let mut socket = Netlink::open(NETLINK_ROUTE)?;
    // struct br_port_msg: family, pad (3), ifindex (4)
    let request = Request::all(libc::RTM_GETMDB, &[AF_BRIDGE, 0, 0, 0, 0, 0, 0, 0]);
    let mut found = MulticastPorts {
        bridge,
        members: Vec::new(),
        routers: Vec::new(),
    };
    for (members, routers) in
        socket.ask(&request, |message| groups_of(bridge.ifindex.0, message))?
    {
        found.members.extend(members);
        found.routers.extend(routers);
    }
    Ok(found)
}

/// Reads RTM_GETMDB's answer about one bridge.
pub(super) fn groups_of(bridge: u32, message: Message<'_>) -> Option<(Vec<GroupMember>, Vec<u32>)> {
    let (header, rest) = message.payload.split_first_chunk::<8>()?;
    let [family, _, _, _, i0, i1, i2, i3] = *header;
    if family != AF_BRIDGE || u32::from_ne_bytes([i0, i1, i2, i3]) != bridge {
        return None;
    }
    let inside = |wanted| {
        attributes(rest)
            .filter(move |(kind, _)| *kind == wanted)
            .flat_map(|(_, value)| attributes(value))
    };
    let members = inside(MDBA_MDB)
        .filter(|(kind, _)| *kind == MDBA_MDB_ENTRY)
        .flat_map(|(_, entry)| attributes(entry))
        .filter(|(kind, _)| *kind == MDBA_MDB_ENTRY_INFO)
        .filter_map(|(_, entry)| member_of(entry))
        .collect();
    let routers = inside(MDBA_ROUTER)
        .filter(|(kind, _)| *kind == MDBA_ROUTER_PORT)
        .filter_map(|(_, port)| u32_of(port.get(0..4)?))
        .collect();
    Some((members, routers))
}

/// Reads struct br_mdb_entry: ifindex (4), state, flags, VLAN (2), address (16), protocol (2, big endian).
fn member_of(entry: &[u8]) -> Option<GroupMember> {
    let address = entry.get(8..24)?;
    let group = match u16::from_be_bytes(entry.get(24..26)?.try_into().ok()?) {
        0x0800 => IpAddr::V4(Ipv4Addr::from(
            <[u8; 4]>::try_from(address.get(0..4)?).ok()?,
        )),
        0x86dd => address_of(address)?,
        // of a MAC alone
        _ => return None,
    };
    Some(GroupMember {
        port: u32_of(entry.get(0..4)?)?,
        group,
        vlan: u16_of(entry.get(6..8)?)?,
    })
}

/// Addresses of one family for which the calling thread's namespace answers.
pub(super) fn proxies(netns: NetNs, v6: bool) -> io::Result<ProxyNeighbors> {
    let mut socket = Netlink::open(NETLINK_ROUTE)?;
    // struct ndmsg: family, pad (3), ifindex (4), state (2), flags, type
    let family = if v6 { libc::AF_INET6 } else { libc::AF_INET };
    let family = u8::try_from(family).unwrap_or_default();
    let header = [family, 0, 0, 0, 0, 0, 0, 0, 0, 0, NTF_PROXY, 0];
    let entries = socket.ask(&Request::all(libc::RTM_GETNEIGH, &header), proxy_of)?;
    Ok(ProxyNeighbors { netns, v6, entries })
}

/// Reads RTM_NEWNEIGH of a proxy entry: interface and address.
pub(super) fn proxy_of(message: Message<'_>) -> Option<(u32, IpAddr)> {
    let (header, rest) = message.payload.split_first_chunk::<12>()?;
    let [_, _, _, _, i0, i1, i2, i3, _, _, flags, _] = *header;
    if flags & NTF_PROXY == 0 {
        return None;
    }
    let (_, address) = attributes(rest).find(|(kind, _)| *kind == libc::NDA_DST)?;
    Some((u32::from_ne_bytes([i0, i1, i2, i3]), address_of(address)?))
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a failed setup fails the test")]
mod tests {
    use super::*;
    use crate::host::netlink::messages;

    #[test]
    fn vlans_of_a_port_are_ranges_with_their_roles() {
        let list = Request::attributes_only(&[
            (IFLA_BRIDGE_VLAN_INFO, vec![6, 0, 1, 0]),
            (IFLA_BRIDGE_VLAN_INFO, vec![8, 0, 10, 0]),
            (IFLA_BRIDGE_VLAN_INFO, vec![16, 0, 20, 0]),
        ]);
        let header = [AF_BRIDGE, 0, 0, 0, 5, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
        let bytes = Request::one(libc::RTM_NEWLINK, &header)
            .attribute(libc::IFLA_MASTER, &7u32.to_ne_bytes())
            .attribute(libc::IFLA_AF_SPEC, &list)
            .bytes();
        let of = |bridge| vlans_of(bridge, messages(&bytes).next().unwrap());
        let entry = |first, last, own| PortVlan {
            port: 5,
            first,
            last,
            pvid: own,
            untagged: own,
        };
        assert_eq!(of(7).unwrap(), [entry(1, 1, true), entry(10, 20, false)]);
        assert_eq!(of(8), None, "a port of another bridge");
    }

    #[test]
    fn members_and_routers_of_a_bridge_are_read() {
        let mut entry = vec![5, 0, 0, 0, 0, 0, 3, 0, 239, 1, 2, 3];
        entry.extend([0; 12]);
        entry.extend([0x08, 0, 0, 0]);
        let info = Request::attributes_only(&[(MDBA_MDB_ENTRY_INFO, entry)]);
        let table = Request::attributes_only(&[(MDBA_MDB_ENTRY, info)]);
        let routers = Request::attributes_only(&[(MDBA_ROUTER_PORT, vec![6, 0, 0, 0, 9, 9])]);
        let bytes = Request::one(libc::RTM_NEWMDB, &[AF_BRIDGE, 0, 0, 0, 7, 0, 0, 0])
            .attribute(MDBA_MDB, &table)
            .attribute(MDBA_ROUTER, &routers)
            .bytes();
        let of = |bridge| groups_of(bridge, messages(&bytes).next().unwrap());
        let member = GroupMember {
            port: 5,
            group: "239.1.2.3".parse().unwrap(),
            vlan: 3,
        };
        assert_eq!(of(7), Some((vec![member], vec![6])));
        assert_eq!(of(8), None);
    }

    #[test]
    fn only_proxy_entries_are_taken() {
        let bytes = |flags| {
            let header = [2, 0, 0, 0, 5, 0, 0, 0, 0, 0, flags, 0];
            Request::one(libc::RTM_NEWNEIGH, &header)
                .attribute(libc::NDA_DST, &[10, 0, 0, 9])
                .bytes()
        };
        let of = |flags| proxy_of(messages(&bytes(flags)).next().unwrap());
        assert_eq!(of(NTF_PROXY), Some((5, "10.0.0.9".parse().unwrap())));
        assert_eq!(of(0), None);
    }
}
