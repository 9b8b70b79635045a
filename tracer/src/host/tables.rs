//! The routes of all tables that hold one destination, as the kernel lists them, with all that a command needs to make
//! them again.

use std::collections::BTreeMap;
use std::io;
use std::net::IpAddr;

use netlink_sys::protocols::NETLINK_ROUTE;

use super::facts::{NextHop, TableRoute};
use super::netlink::{
    Message, Netlink, Request, address_bytes, address_of, attributes, family_of, u32_of,
};
use crate::uapi::rtnetlink::{ROUTE_TYPES, RTA_VIA, RTM_F_CLONED};

// Of linux/rtnetlink.h.
const RTA_CACHEINFO: u16 = 12;
const RTA_PREF: u16 = 20;
const RTA_PAD: u16 = 24;
const RTA_TTL_PROPAGATE: u16 = 26;
const RTA_NH_ID: u16 = 30;
/// RTAX_CC_ALGO: the one that is a text.
const RTAX_CC_ALGO: u16 = 16;
/// Missing in libc.
const RTM_GETNEXTHOP: u16 = 106;
// Of linux/nexthop.h.
const NHA_ID: u16 = 1;
const NHA_GROUP: u16 = 2;
const NHA_OIF: u16 = 5;
const NHA_GATEWAY: u16 = 6;
/// Most routes told of one destination: the longest prefixes come first.
pub(crate) const MANY: usize = 256;

/// The routes of all tables whose prefix holds the address, longest prefix first, each prefix in the kernel's order.
pub(super) fn towards(dst: IpAddr) -> io::Result<Vec<TableRoute>> {
    let mut header = [0; 12];
    if let Some(first) = header.first_mut() {
        *first = family_of(dst);
    }
    let mut socket = Netlink::open(NETLINK_ROUTE)?;
    let request = Request::all(libc::RTM_GETROUTE, &header);
    let mut list = socket.ask(&request, |message| {
        table_route_of(message, dst).filter(|route| route.holds(dst))
    })?;
    list.sort_by_key(|route| {
        (
            std::cmp::Reverse(route.length),
            std::cmp::Reverse(route.tos),
            route.metric,
        )
    });
    list.truncate(MANY);
    if list.iter().any(is_without_paths) {
        complete(&mut list, &next_hops(&mut socket)?);
    }
    Ok(list)
}

/// Reads RTM_NEWROUTE as an entry of a table.
pub(super) fn table_route_of(message: Message<'_>, like: IpAddr) -> Option<TableRoute> {
    // struct rtmsg: family, dst_len, src_len, tos, table, protocol, scope, type, flags (4)
    let (header, rest) = message.payload.split_first_chunk::<12>()?;
    let [
        family,
        length,
        src_len,
        tos,
        table,
        protocol,
        scope,
        kind,
        flags @ ..,
    ] = *header;
    let flags = u32::from_ne_bytes(flags);
    if family != family_of(like) || flags & RTM_F_CLONED != 0 {
        return None;
    }
    let any = vec![0; address_bytes(like).len()];
    let kind = ROUTE_TYPES
        .get(usize::from(kind))
        .map_or_else(|| format!("type {kind}"), |name| (*name).into());
    let mut route = TableRoute {
        flags: flags.to_le_bytes()[0],
        protocol,
        scope,
        tos,
        ..TableRoute::new(&kind, table.into(), address_of(&any)?, length)
    };
    for (kind, value) in attributes(rest) {
        match kind {
            libc::RTA_DST => route.prefix = address_of(value)?,
            libc::RTA_SRC => route.from = address_of(value).map(|from| (from, src_len)),
            libc::RTA_GATEWAY => route.gateway = address_of(value),
            // A gateway of the other family: its family (2), then the address.
            RTA_VIA => route.gateway = value.get(2..).and_then(address_of),
            libc::RTA_OIF => route.oif = u32_of(value),
            libc::RTA_TABLE => route.table = u32_of(value).unwrap_or(route.table),
            libc::RTA_PRIORITY => route.metric = u32_of(value).unwrap_or_default(),
            libc::RTA_PREFSRC => route.source = address_of(value),
            libc::RTA_METRICS => metrics(&mut route, value),
            libc::RTA_MULTIPATH => paths(&mut route, value),
            RTA_NH_ID => route.nexthop = u32_of(value),
            RTA_PREF => route.preference = value.first().copied().unwrap_or_default(),
            // struct rta_cacheinfo: clntref, lastuse, expires …
            RTA_CACHEINFO if value.get(8..).and_then(u32_of) == Some(0) => {}
            RTA_PAD | RTA_TTL_PROPAGATE => {}
            other => route.unknown.push(other),
        }
    }
    Some(route)
}

/// Reads RTA_METRICS.
fn metrics(route: &mut TableRoute, value: &[u8]) {
    for (kind, value) in attributes(value) {
        match u32_of(value).filter(|_| kind != RTAX_CC_ALGO) {
            Some(number) => route.metrics.push((kind, number)),
            None => route.unknown.push(libc::RTA_METRICS),
        }
    }
}

/// Reads RTA_MULTIPATH: struct rtnexthop (length (2), flags, hops, ifindex (4)), each with attributes.
fn paths(route: &mut TableRoute, mut value: &[u8]) {
    while let Some((header, _)) = value.split_first_chunk::<8>() {
        let [low, high, flags, hops, ifindex @ ..] = *header;
        let length = usize::from(u16::from_ne_bytes([low, high]));
        let Some(inside) = value.get(8..length) else {
            break;
        };
        let mut hop = NextHop {
            gateway: None,
            oif: Some(u32::from_ne_bytes(ifindex)).filter(|oif| *oif != 0),
            weight: u16::from(hops) + 1,
            flags,
        };
        for (kind, value) in attributes(inside) {
            match kind {
                libc::RTA_GATEWAY => hop.gateway = address_of(value),
                RTA_VIA => hop.gateway = value.get(2..).and_then(address_of),
                RTA_PAD => {}
                other => route.unknown.push(other),
            }
        }
        route.paths.push(hop);
        value = value.get(length.next_multiple_of(4)..).unwrap_or_default();
    }
}

/// Whether a route names a next-hop object without telling its paths (sysctl nexthop_compat_mode).
fn is_without_paths(route: &TableRoute) -> bool {
    route.nexthop.is_some()
        && route.kind != "blackhole"
        && route.oif.is_none()
        && route.paths.is_empty()
}

/// What a next-hop object is.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Object {
    One(NextHop),
    /// Others, with weights.
    Group(Vec<(u32, u16)>),
}

/// All next-hop objects of the namespace.
fn next_hops(socket: &mut Netlink) -> io::Result<BTreeMap<u32, Object>> {
    // struct nhmsg: family, scope, protocol, reserved, flags (4)
    let request = Request::all(RTM_GETNEXTHOP, &[0; 8]);
    Ok(socket.ask(&request, object_of)?.into_iter().collect())
}

/// Reads RTM_NEWNEXTHOP.
pub(super) fn object_of(message: Message<'_>) -> Option<(u32, Object)> {
    let (header, rest) = message.payload.split_first_chunk::<8>()?;
    let [.., flags, _, _, _] = *header;
    let (mut id, mut hop, mut group) = (
        None,
        NextHop {
            weight: 1,
            flags,
            ..NextHop::default()
        },
        None,
    );
    for (kind, value) in attributes(rest) {
        match kind {
            NHA_ID => id = u32_of(value),
            NHA_OIF => hop.oif = u32_of(value),
            NHA_GATEWAY => hop.gateway = address_of(value),
            // struct nexthop_grp: id (4), weight less one, high byte of the weight, reserved (2)
            NHA_GROUP => {
                let members = value.as_chunks::<8>().0.iter().filter_map(|member| {
                    let [_, _, _, _, low, high, _, _] = *member;
                    let weight = u16::from_le_bytes([low, high]);
                    Some((u32_of(member)?, weight.saturating_add(1)))
                });
                group = Some(members.collect());
            }
            _ => {}
        }
    }
    Some((id?, group.map_or(Object::One(hop), Object::Group)))
}

/// Gives routes the paths of their next-hop objects.
fn complete(list: &mut [TableRoute], objects: &BTreeMap<u32, Object>) {
    for route in list.iter_mut().filter(|route| is_without_paths(route)) {
        match route.nexthop.and_then(|id| objects.get(&id)) {
            Some(Object::One(hop)) => {
                (route.gateway, route.oif, route.flags) = (hop.gateway, hop.oif, hop.flags);
            }
            Some(Object::Group(members)) => {
                let member = |(id, weight): &(u32, u16)| match objects.get(id)? {
                    Object::One(hop) => Some(NextHop {
                        weight: *weight,
                        ..*hop
                    }),
                    Object::Group(_) => None,
                };
                route.paths = members.iter().filter_map(member).collect();
            }
            None => {}
        }
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a failed setup fails the test")]
mod tests {
    use super::*;
    use crate::host::netlink::messages;

    #[test]
    fn a_route_of_a_table_is_read_with_its_prefix() {
        let like = "10.77.2.2".parse().unwrap();
        let request = Request::one(libc::RTM_NEWROUTE, &[2, 16, 0, 0, 120, 3, 0, 1, 0, 0, 0, 0])
            .attribute(libc::RTA_TABLE, &120u32.to_ne_bytes())
            .attribute(libc::RTA_DST, &[10, 77, 0, 0])
            .attribute(libc::RTA_GATEWAY, &[10, 77, 1, 99])
            .attribute(libc::RTA_PRIORITY, &20u32.to_ne_bytes());
        let bytes = request.bytes();
        let route = table_route_of(messages(&bytes).next().unwrap(), like).unwrap();
        assert_eq!((route.table, route.length, route.metric), (120, 16, 20));
        assert_eq!(route.gateway, Some("10.77.1.99".parse().unwrap()));
        assert!(route.holds(like));
        assert!(!route.holds("10.78.0.1".parse().unwrap()));
    }

    #[test]
    fn a_default_route_has_the_empty_prefix() {
        let like = "fd00::2".parse().unwrap();
        let request = Request::one(libc::RTM_NEWROUTE, &[10, 0, 0, 0, 254, 3, 0, 6, 0, 0, 0, 0]);
        let bytes = request.bytes();
        let route = table_route_of(messages(&bytes).next().unwrap(), like).unwrap();
        assert_eq!((route.kind.as_str(), route.length), ("blackhole", 0));
        assert!(route.holds(like));
    }

    #[test]
    fn a_route_is_read_with_all_that_makes_it() {
        let like = "10.77.2.2".parse().unwrap();
        // two struct rtnexthop: length, flags, weight less one, interface; the first with a gateway
        let hops = [
            &[16, 0, 0, 1, 3, 0, 0, 0, 8, 0, 5, 0, 10, 77, 1, 99][..],
            &[8, 0, 1, 0, 4, 0, 0, 0],
        ];
        let request = Request::one(libc::RTM_NEWROUTE, &[2, 16, 0, 8, 254, 4, 0, 1, 0, 0, 0, 0])
            .attribute(libc::RTA_DST, &[10, 77, 0, 0])
            .attribute(libc::RTA_PREFSRC, &[10, 0, 0, 1])
            .attribute(libc::RTA_METRICS, &[8, 0, 2, 0, 0x78, 5, 0, 0])
            .attribute(libc::RTA_MULTIPATH, &hops.concat())
            .attribute(22, &[1]);
        let bytes = request.bytes();
        let route = table_route_of(messages(&bytes).next().unwrap(), like).unwrap();
        assert_eq!((route.protocol, route.tos), (4, 8));
        assert_eq!(route.source, Some("10.0.0.1".parse().unwrap()));
        assert_eq!(route.metrics, [(2, u32::from_ne_bytes([0x78, 5, 0, 0]))]);
        assert_eq!(route.unknown, [22]);
        let [first, second] = *route.paths else {
            unreachable!("{route:?}")
        };
        assert_eq!(
            (first.gateway, first.oif),
            (Some("10.77.1.99".parse().unwrap()), Some(3))
        );
        assert_eq!((first.weight, first.is_dead()), (2, false));
        assert_eq!((second.oif, second.is_dead()), (Some(4), true));
    }

    #[test]
    fn a_route_gets_the_paths_of_its_object() {
        let hop = |oif| NextHop {
            oif: Some(oif),
            weight: 1,
            ..NextHop::default()
        };
        let objects = BTreeMap::from([
            (1, Object::One(hop(3))),
            (2, Object::One(hop(4))),
            (7, Object::Group(vec![(1, 5), (2, 1)])),
        ]);
        let route = |id| TableRoute {
            nexthop: Some(id),
            ..TableRoute::new("unicast", 254, "10.0.0.0".parse().unwrap(), 8)
        };
        let mut list = [route(2), route(7)];
        complete(&mut list, &objects);
        assert_eq!(list[0].oif, Some(4));
        let weights: Vec<_> = list[1].paths.iter().map(|h| (h.oif, h.weight)).collect();
        assert_eq!(weights, [(Some(3), 5), (Some(4), 1)]);
    }
}
