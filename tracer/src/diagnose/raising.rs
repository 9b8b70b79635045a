//! Raising a link, with what it lost when it went down: IPv6 addresses (addrconf_ifdown, net/ipv6/addrconf.c) and routes
//! through a gateway (fib_sync_down_dev, net/ipv4/fib_semantics.c). What was lost before the trace began is told by the
//! other end of the link: its own address there, and the gateway that its routes name.

use std::net::IpAddr;

use crate::host::Host;
use crate::host::facts::{InterfaceAddress, Link, TableRoute};
use crate::host::prefix::{holds, network};
use crate::model::{Device, IfIndex, NetNs};
use crate::network::links::peer_of;
use crate::network::neighbour;
use crate::uapi::if_arp::ARPHRD_LOOPBACK;

use super::remedy::{Remedy, Shell, command, ip};

/// Raises a link for the traffic between two addresses.
#[must_use]
pub fn raise(host: &Host, link: &Link, text: &str, ends: &[IpAddr]) -> Remedy {
    let shell = Shell::of(host, Some(link.device.netns));
    let set = |state: &'static str| command!["ip link set dev", link.name, state];
    let lost = lost_addresses(host, link, ends);
    let routes = lost_routes(host, link, &lost, ends);
    let mut remedy = shell.change(text, set("up"));
    for (address, prefix) in &lost {
        let address = format!("{address}/{prefix}");
        remedy = remedy.and(command![
            "ip -6 addr add",
            address,
            "dev",
            link.name,
            "nodad"
        ]);
    }
    for (to, gateway) in routes {
        let ip = ip(gateway.is_ipv6());
        remedy = remedy.and(command![
            ..ip,
            "route add",
            to,
            "via",
            gateway,
            "dev",
            link.name
        ]);
    }
    for to in through_tun(host, link, ends) {
        let ip = ip(to.contains(':'));
        remedy = remedy.and(command![..ip, "route add", to, "dev", link.name]);
    }
    remedy
        .undone_by(set("down"))
        .then(unknown_addresses(host, link, &lost, ends))
}

/// Whether an interface has an IPv6 address that is routed.
fn has_v6(host: &Host, link: &Link) -> bool {
    routed(host.addresses(link.device)).any(|(address, _)| address.is_ipv6())
}

/// What is left to do where IPv6 addresses went with the link, and nothing tells which they were.
fn unknown_addresses(
    host: &Host,
    link: &Link,
    lost: &[(IpAddr, u8)],
    ends: &[IpAddr],
) -> Option<String> {
    let wanted = !link.up && ends.iter().any(IpAddr::is_ipv6) && link.master.is_none();
    (wanted && lost.is_empty() && !has_v6(host, link)).then(|| {
        format!(
            "{} has no IPv6 address: those that were on it went when it was taken down, with their routes, and nothing here tells which they were; have them configured anew",
            link.name
        )
    })
}

/// Whether an address is one of a routed network.
fn is_routed(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(_) => true,
        IpAddr::V6(v6) => !v6.is_unicast_link_local(),
    }
}

/// Addresses of routed networks among those of an interface, with their prefix lengths.
pub(super) fn routed(list: &[InterfaceAddress]) -> impl Iterator<Item = (IpAddr, u8)> {
    list.iter()
        .map(|a| (a.address, a.prefix))
        .filter(|(address, _)| is_routed(*address))
}

/// Routes of a namespace that were read for a destination; `None` where they were not.
fn towards(host: &Host, netns: NetNs, dst: IpAddr) -> Option<&[TableRoute]> {
    let read = host.towards.get(&(netns, dst))?;
    Some(&read.fact)
}

/// IPv6 addresses that went with the link: those that it had, else the gateway behind it that the other end's routes
/// name and that nobody has.
fn lost_addresses(host: &Host, link: &Link, ends: &[IpAddr]) -> Vec<(IpAddr, u8)> {
    let v6 = |(address, _): &(IpAddr, u8)| address.is_ipv6();
    if link.up || has_v6(host, link) || !ends.iter().any(IpAddr::is_ipv6) {
        return Vec::new();
    }
    let former: Vec<_> = routed(host.last_addresses(link.device))
        .filter(v6)
        .collect();
    if !former.is_empty() {
        return former;
    }
    let Some(peer) = peer_of(host, link.device) else {
        return Vec::new();
    };
    let gateway = ends
        .iter()
        .filter_map(|end| towards(host, peer.device.netns, *end))
        .flatten()
        .filter(|route| route.oif == Some(peer.device.ifindex.0))
        .filter_map(|route| route.gateway)
        .filter(|gateway| is_routed(*gateway))
        .find(|gateway| neighbour::owners(host, peer.device, *gateway).is_empty());
    let named = gateway.and_then(|gateway| {
        let (_, prefix) = routed(host.addresses(peer.device))
            .find(|(own, prefix)| holds(*own, *prefix, gateway))?;
        Some((gateway, prefix))
    });
    named.into_iter().collect()
}

/// Routes through the link that its namespace has not got without it: destination and gateway.
fn lost_routes(
    host: &Host,
    link: &Link,
    lost: &[(IpAddr, u8)],
    ends: &[IpAddr],
) -> Vec<(String, IpAddr)> {
    let netns = link.device.netns;
    let own: Vec<_> = routed(host.addresses(link.device))
        .chain(lost.iter().copied())
        .collect();
    let on_link = |end: IpAddr| {
        host.links()
            .filter(|l| l.device.netns == netns && l.up)
            .flat_map(|l| routed(host.addresses(l.device)))
            .chain(own.iter().copied())
            .any(|(address, prefix)| holds(address, prefix, end))
    };
    let mut routes = Vec::new();
    for end in ends.iter().filter(|end| !on_link(**end)) {
        let read = towards(host, netns, *end);
        if read.is_none_or(|list| list.iter().any(|route| route.kind == "unicast")) {
            continue;
        }
        let Some(gateway) = gateway(host, link, &own).filter(|g| g.is_ipv4() == end.is_ipv4())
        else {
            continue;
        };
        let route = (destination(host, link, *end), gateway);
        if !routes.contains(&route) {
            routes.push(route);
        }
    }
    routes
}

/// Networks of these addresses that were reached through a TUN device, as far as nothing else leads to them.
fn through_tun(host: &Host, link: &Link, ends: &[IpAddr]) -> Vec<String> {
    let mut networks = Vec::new();
    if link.kind != "tun" || link.up {
        return networks;
    }
    let netns = link.device.netns;
    for end in ends {
        let read = towards(host, netns, *end);
        let mut routes = read.into_iter().flatten();
        let led = read.is_none() || routes.any(|r| r.kind == "unicast" && r.length > 0);
        let here = host
            .addresses_in(netns)
            .any(|a| holds(a.address, a.prefix, *end));
        let Some(network) = network_of(host, *end).filter(|_| !led && !here) else {
            continue;
        };
        if !networks.contains(&network) {
            networks.push(network);
        }
    }
    networks
}

/// The network of an address, as its owner has it.
fn network_of(host: &Host, end: IpAddr) -> Option<String> {
    let prefix = host.owners(end).find_map(|owner| {
        let mut list = host.addresses(owner).iter();
        list.find(|a| a.address == end).map(|a| a.prefix)
    })?;
    Some(format!("{}/{prefix}", network(end, prefix)))
}

/// The address of the other end of a link, or of the bridge to which that belongs, in one of the link's own networks.
fn gateway(host: &Host, link: &Link, own: &[(IpAddr, u8)]) -> Option<IpAddr> {
    let peer = peer_of(host, link.device)?;
    let master = peer.master.map(|ifindex| Device {
        netns: peer.device.netns,
        ifindex: IfIndex(ifindex),
    });
    [Some(peer.device), master]
        .into_iter()
        .flatten()
        .flat_map(|device| routed(host.addresses(device)))
        .map(|(address, _)| address)
        .find(|address| {
            own.iter()
                .any(|(net, prefix)| holds(*net, *prefix, *address))
        })
}

/// What was routed there: everything, where there is no other interface; else the network of the address.
fn destination(host: &Host, link: &Link, end: IpAddr) -> String {
    let only = host
        .links()
        .filter(|l| l.device.netns == link.device.netns && !host.is_gone(l.device))
        .all(|l| l.device == link.device || l.arp_type == ARPHRD_LOOPBACK);
    if only {
        return "default".to_owned();
    }
    network_of(host, end).unwrap_or_else(|| end.to_string())
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a failed setup fails the test")]
mod tests {
    use super::*;
    use crate::host::facts::{Fact, Namespace};
    use crate::model::{KtimeNs, Mac};

    fn device(netns: u32, ifindex: u32) -> Device {
        Device {
            netns: NetNs(netns),
            ifindex: IfIndex(ifindex),
        }
    }

    fn apply(host: &mut Host, fact: Fact) {
        host.apply(KtimeNs(0), fact);
    }

    fn link(host: &mut Host, at: Device, name: &str, peer: Device, up: bool) {
        let link = Link {
            kind: "veth".to_owned(),
            mac: Some(Mac([2, 0, 0, 0, 0, 1])),
            mtu: 1500,
            up,
            carrier: false,
            arp_type: 1,
            peer: Some(peer),
            ..Link::new(at, name)
        };
        apply(host, Fact::Link(link));
    }

    fn address(host: &mut Host, at: Device, address: &str, prefix: u8) {
        let address = InterfaceAddress {
            address: address.parse().unwrap(),
            prefix,
            tentative: false,
            dad_failed: false,
            deprecated: false,
            secondary: false,
            scope: 0,
        };
        apply(host, Fact::Addresses(at, vec![address]));
    }

    fn route(host: &mut Host, netns: u32, dst: &str, gateway: Option<&str>) {
        let routes = gateway.map(|gateway| TableRoute {
            gateway: Some(gateway.parse().unwrap()),
            oif: Some(2),
            ..TableRoute::new("unicast", 254, "::".parse().unwrap(), 0)
        });
        let list = routes.into_iter().collect();
        let dst = dst.parse().unwrap();
        apply(host, Fact::RoutesTowards(NetNs(netns), dst, list));
    }

    /// A router and the machine behind it, whose end of the link is down.
    fn pair() -> Host {
        let mut host = Host::default();
        for (number, name) in [(1, "router"), (2, "server")] {
            let namespace = Namespace {
                node: None,
                netns: NetNs(number),
                name: name.to_owned(),
                process: None,
                path: None,
            };
            apply(&mut host, Fact::Namespace(namespace));
        }
        host
    }

    fn typed(host: &Host, at: Device, ends: [&str; 2]) -> Vec<String> {
        let ends = ends.map(|end| end.parse().unwrap());
        let remedy = raise(host, host.link(at).unwrap(), "raise it", &ends);
        super::super::remedy::advice(&[remedy])
            .into_iter()
            .map(|a| a.command.unwrap())
            .collect()
    }

    #[test]
    fn the_route_back_through_the_other_end_is_made_again() {
        let (router, server) = (device(1, 2), device(2, 2));
        let mut host = pair();
        link(&mut host, router, "r1", server, true);
        link(&mut host, server, "eth0", router, false);
        address(&mut host, router, "10.1.2.1", 24);
        address(&mut host, server, "10.1.2.2", 24);
        let ends = ["10.1.1.9", "10.1.2.2"];
        let up = "ip netns exec server ip link set dev eth0 up";
        let down = "ip netns exec server ip link set dev eth0 down";
        assert_eq!(typed(&host, server, ends), [up, down], "nothing was read");
        route(&mut host, 2, "10.1.1.9", None);
        let back = "ip netns exec server ip route add default via 10.1.2.1 dev eth0";
        assert_eq!(
            typed(&host, server, ends),
            [format!("{up}\n{back}"), down.to_owned()]
        );
    }

    #[test]
    fn an_ipv6_address_that_went_with_the_link_is_the_gateway_that_nobody_has() {
        let (router, server) = (device(1, 2), device(2, 2));
        let mut host = pair();
        link(&mut host, router, "r1", server, false);
        link(&mut host, server, "eth0", router, true);
        address(&mut host, server, "fd00:2::2", 64);
        route(&mut host, 2, "fd00:1::2", Some("fd00:2::1"));
        assert_eq!(
            typed(&host, router, ["fd00:1::2", "fd00:2::2"]),
            [
                "ip netns exec router ip link set dev r1 up\nip netns exec router ip -6 addr add fd00:2::1/64 dev r1 nodad",
                "ip netns exec router ip link set dev r1 down"
            ]
        );
        address(&mut host, router, "fd00:2::7", 64);
        assert_eq!(
            typed(&host, router, ["fd00:1::2", "fd00:2::2"])
                .first()
                .unwrap(),
            "ip netns exec router ip link set dev r1 up",
            "it kept an address (keep_addr_on_down)"
        );
    }
}
