//! Notifications of routes and policy rules. Nothing is kept: each message tells the whole route or rule that came or went.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use crate::host::facts::{Routed, RoutingChange, TableRoute};
use crate::host::netlink::Message;
use crate::host::policy::rule_of;
use crate::host::tables::table_route_of;
use crate::model::NetNs;

/// RT_TABLE_LOCAL: follows the addresses of interfaces, which are told.
const LOCAL: u32 = 255;
/// RTPROT_KERNEL.
const BY_KERNEL: u8 = 2;

/// What a notification tells; `None` for others, and for what the kernel adds with every interface.
pub(super) fn change(netns: NetNs, message: Message<'_>) -> Option<RoutingChange> {
    let gone = matches!(message.kind, libc::RTM_DELROUTE | libc::RTM_DELRULE);
    let v6 = i32::from(*message.payload.first()?) == libc::AF_INET6;
    let what = match message.kind {
        libc::RTM_NEWROUTE | libc::RTM_DELROUTE => {
            let like = if v6 {
                IpAddr::V6(Ipv6Addr::UNSPECIFIED)
            } else {
                IpAddr::V4(Ipv4Addr::UNSPECIFIED)
            };
            Routed::Route(table_route_of(message, like).filter(is_told)?)
        }
        libc::RTM_NEWRULE | libc::RTM_DELRULE => Routed::Rule(v6, rule_of(message)?),
        _ => return None,
    };
    Some(RoutingChange { netns, gone, what })
}

fn is_told(route: &TableRoute) -> bool {
    let of_link = match route.prefix {
        IpAddr::V6(prefix) => prefix.is_unicast_link_local() || prefix.is_multicast(),
        IpAddr::V4(_) => false,
    };
    route.table != LOCAL && !(of_link && route.protocol == BY_KERNEL)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::host::netlink::messages;

    /// struct rtmsg and attributes for 10.2.0.0/24 via 10.1.0.2.
    fn route(table: u8) -> Vec<u8> {
        let mut bytes = vec![2, 24, 0, 0, table, 3, 0, 1, 0, 0, 0, 0];
        for (kind, address) in [(1u16, [10, 2, 0, 0]), (5, [10, 1, 0, 2])] {
            bytes.extend(8u16.to_ne_bytes());
            bytes.extend(kind.to_ne_bytes());
            bytes.extend(address);
        }
        bytes
    }

    fn told(kind: u16, payload: &[u8]) -> Option<RoutingChange> {
        // struct nlmsghdr: length (4), type, flags, sequence (4), port (4)
        let length = u32::try_from(payload.len() + 16).ok()?;
        let mut bytes = length.to_ne_bytes().to_vec();
        bytes.extend(kind.to_ne_bytes());
        bytes.extend([0; 10]);
        bytes.extend(payload);
        let message = messages(&bytes).next()?;
        change(NetNs(7), message)
    }

    #[test]
    fn a_route_that_went_is_told_whole() {
        let found = told(libc::RTM_DELROUTE, &route(254));
        let mut expected = TableRoute::new("unicast", 254, [10, 2, 0, 0].into(), 24);
        expected.gateway = Some([10, 1, 0, 2].into());
        expected.protocol = 3;
        assert_eq!(
            found,
            Some(RoutingChange {
                netns: NetNs(7),
                gone: true,
                what: Routed::Route(expected),
            })
        );
    }

    #[test]
    fn what_follows_addresses_and_other_messages_say_nothing() {
        assert_eq!(told(libc::RTM_NEWROUTE, &route(255)), None);
        assert_eq!(told(libc::RTM_NEWLINK, &route(254)), None);
        assert_eq!(told(libc::RTM_DELROUTE, &[]), None);
        assert_eq!(told(libc::RTM_NEWRULE, &[2]), None);
    }
}
