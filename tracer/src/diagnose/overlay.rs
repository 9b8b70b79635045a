//! What VXLAN devices need to work again: raised, made anew, with an entry for a remote end or a route to it. What went
//! with a device is told by facts where it was still there, else by the device at the other end.

use std::net::IpAddr;

use crate::host::Host;
use crate::host::facts::{Link, VxlanLink};
use crate::host::prefix::{holds, network};
use crate::model::{Device, IfIndex, Mac, NetNs};
use crate::network::links::peer_of;
use crate::network::{neighbour, tunnel};

use super::layer2_commands::permanent_neighbour;
use super::remedy::{Command, Remedy, Shell, command, ip};
use super::rules::neighbor::Unresolved;

/// The other end of a tunnel, and whom its packets come from.
#[derive(Clone, Copy)]
pub struct Asker<'a> {
    /// The device that sent the packet.
    pub far: &'a Link,
    /// The packet's source, inside the tunnel.
    pub src: IpAddr,
}

/// The address to which packets for a VXLAN device are sent from another namespace: its own, else the one that its
/// namespace has in a network of theirs.
#[must_use]
pub fn end_of(host: &Host, link: &Link, from: NetNs) -> Option<IpAddr> {
    let addresses = |netns: NetNs| {
        host.links()
            .filter(move |l| l.device.netns == netns && l.vxlan.is_none())
            .flat_map(|l| host.addresses(l.device))
            .filter(|a| !a.address.is_loopback())
    };
    link.vxlan.as_ref()?.local.or_else(|| {
        addresses(link.device.netns)
            .map(|a| a.address)
            .find(|end| addresses(from).any(|own| holds(own.address, own.prefix, *end)))
    })
}

/// An address of each of two namespaces in a network that they share, and that is not an address of both.
#[must_use]
pub fn shared(host: &Host, one: NetNs, other: NetNs) -> Option<(IpAddr, IpAddr)> {
    let addresses = |netns: NetNs| {
        host.links()
            .filter(move |l| l.device.netns == netns && l.vxlan.is_none())
            .flat_map(|l| host.addresses(l.device))
            .filter(|a| !a.address.is_loopback())
    };
    addresses(one).find_map(|own| {
        let far = addresses(other).map(|a| a.address).find(|far| {
            holds(own.address, own.prefix, *far)
                && !host.is_local(one, *far)
                && !host.is_local(other, own.address)
        })?;
        Some((own.address, far))
    })
}

/// The VXLAN device with this MAC in the same overlay.
#[must_use]
pub fn owner(host: &Host, device: Device, mac: Mac) -> Option<&Link> {
    let vni = |link: &Link| link.vxlan.as_ref().map(|v| v.vni);
    let own = host.link(device).and_then(vni)?;
    let ends = host
        .by_mac(mac)
        .filter(|l| l.device != device && vni(l) == Some(own) && !host.is_gone(l.device));
    nearest(host, device.netns, ends.collect())
}

/// The tunnel device that a namespace reaches, of several that look alike: overlays of one machine that have nothing to
/// do with each other may use the same VNIs, MACs and addresses.
fn nearest<'a>(host: &'a Host, from: NetNs, ends: Vec<&'a Link>) -> Option<&'a Link> {
    let reached = |link: &&&Link| {
        let Some(end) = end_of(host, link, from) else {
            return false;
        };
        tunnel::on_link(host, from, end).is_some_and(|(out, _)| {
            neighbour::owners(host, out.device, end)
                .iter()
                .any(|owner| owner.device.netns == link.device.netns)
        })
    };
    match ends.as_slice() {
        [only] => Some(only),
        several => several.iter().find(reached).or(several.first()).copied(),
    }
}

/// Whether the device has to be told MACs and remote ends, because it neither learns nor floods.
fn is_told(vxlan: &VxlanLink) -> bool {
    !vxlan.learning && vxlan.remote.is_none()
}

/// Entry of the forwarding database: frames for this MAC go to that end.
#[must_use]
pub fn entry(verb: &'static str, mac: Mac, name: &str, end: IpAddr) -> Command {
    command!["bridge fdb", verb, mac, "dev", name, "dst", end]
}

/// An entry that names the wrong end: the right one in its place, or none where the device's default remote is right.
#[must_use]
pub fn corrected(
    host: &Host,
    device: Device,
    mac: Mac,
    (wrong, right): (IpAddr, IpAddr),
) -> Remedy {
    let name = host.interface(device);
    let shell = Shell::of(host, Some(device.netns));
    let vxlan = host.link(device).and_then(|link| link.vxlan.as_ref());
    let by_default = vxlan.is_some_and(|vxlan| vxlan.remote == Some(right));
    let (text, change) = match by_default {
        true => (
            format!(
                "remove the entry: the device's default remote is {right}, the end at which it is"
            ),
            entry("del", mac, &name, wrong),
        ),
        false => (
            "name the end at which it is".to_owned(),
            entry("replace", mac, &name, right),
        ),
    };
    shell
        .change(text, change)
        .undone_by(entry("replace", mac, &name, wrong))
}

/// The way through a device back to the asker: the route, and where the device has to be told, neighbour and remote end.
fn way_back(host: &Host, near: &Link, asker: Asker<'_>) -> Vec<Command> {
    let (netns, name, to) = (near.device.netns, &near.name, asker.src);
    let own = host.addresses(near.device);
    let on_link = |address: IpAddr| own.iter().any(|a| holds(a.address, a.prefix, address));
    let mut list = Vec::new();
    let mut hop = to;
    if !on_link(to) {
        let Some(read) = host.towards.get(&(netns, to)) else {
            return list;
        };
        // A default route leads elsewhere only since the route through the tunnel is missing.
        let mut routes = read
            .fact
            .iter()
            .filter(|route| route.kind == "unicast" && route.length > 0);
        let through = |oif: Option<u32>| oif == Some(near.device.ifindex.0);
        let (prefix, gateway) = match routes.clone().find(|route| through(route.oif)) {
            Some(route) => ((route.prefix, route.length), route.gateway),
            // It leads elsewhere, and the device is not the reason.
            None if routes.next().is_some() => return list,
            None => {
                let mut ends = host.addresses(asker.far.device).iter().map(|a| a.address);
                let Some(end) = ends.find(|end| end.is_ipv4() == to.is_ipv4()) else {
                    return list;
                };
                (network_of(host, asker.far.device.netns, to), Some(end))
            }
        };
        let ip = ip(to.is_ipv6());
        let prefix = format!("{}/{}", prefix.0, prefix.1);
        let onlink = gateway
            .filter(|gateway| !on_link(*gateway))
            .map(|_| "onlink");
        let via = gateway.map(|gateway| ["via".to_owned(), gateway.to_string()]);
        list.push(command![
            ..ip,
            "route replace",
            prefix,
            ..via.into_iter().flatten(),
            "dev",
            name,
            ..onlink
        ]);
        hop = gateway.unwrap_or(to);
    }
    let told = near.vxlan.as_ref().is_some_and(is_told);
    let end = end_of(host, asker.far, netns);
    if let (true, Some(mac), Some(end)) = (
        told && host.is_local(asker.far.device.netns, hop),
        asker.far.mac,
        end,
    ) {
        list.push(permanent_neighbour(hop, mac, name));
        list.push(entry("replace", mac, name, end));
    }
    list
}

/// The network of an address as a namespace has it on one of its interfaces; else the address alone.
#[must_use]
pub fn network_of(host: &Host, netns: NetNs, address: IpAddr) -> (IpAddr, u8) {
    let links = host.links().filter(|l| l.device.netns == netns);
    links
        .flat_map(|l| host.addresses(l.device))
        .filter(|a| holds(a.address, a.prefix, address))
        .max_by_key(|a| a.prefix)
        .map_or_else(
            || (address, if address.is_ipv6() { 128 } else { 32 }),
            |a| (network(address, a.prefix), a.prefix),
        )
}

/// Raises a VXLAN device, with the way back to the asker.
#[must_use]
pub fn raise(host: &Host, link: &Link, asker: Option<Asker<'_>>) -> Remedy {
    let set = |state: &'static str| command!["ip link set dev", link.name, state];
    let way = asker.map(|asker| way_back(host, link, asker));
    let mut remedy = Shell::of(host, Some(link.device.netns))
        .change("raise it, with the way back through it", set("up"));
    for command in way.into_iter().flatten() {
        remedy = remedy.and(command);
    }
    remedy.undone_by(set("down")).scope(
        "other routes and neighbour entries that went with the device have to be made again"
            .to_owned(),
    )
}

/// Makes a VXLAN device anew with another VNI and port, which a device cannot change; with its addresses, its bridge
/// and the way back to the asker.
#[must_use]
pub fn remake(host: &Host, link: &Link, vni: u32, port: u16, asker: Option<Asker<'_>>) -> Remedy {
    let shell = Shell::of(host, Some(link.device.netns));
    let way = asker.map_or_else(Vec::new, |asker| way_back(host, link, asker));
    let own = link.vxlan.as_ref().map_or((vni, port), |v| (v.vni, v.port));
    let remove = || command!["ip link del", link.name];
    let mut remedy = shell.change("make it anew as the other end has it", remove());
    for command in made(host, link, (vni, port)).into_iter().chain(way.clone()) {
        remedy = remedy.and(command);
    }
    remedy = remedy.undone_by(remove());
    for command in made(host, link, own).into_iter().chain(way) {
        remedy = remedy.undone_by(command);
    }
    remedy.scope("other routes, neighbour and forwarding entries go with the old one, and so do settings beside VNI, port, ends, learning, DF, MAC and MTU".to_owned())
}

/// How the device is made with this VNI and port, with its addresses and its bridge.
fn made(host: &Host, link: &Link, id: (u32, u16)) -> Vec<Command> {
    let Some(vxlan) = &link.vxlan else {
        return Vec::new();
    };
    let (name, netns) = (&link.name, link.device.netns);
    let master = link.master.map(|ifindex| {
        let ifindex = IfIndex(ifindex);
        let bridge = host.interface(Device { netns, ifindex });
        command!["ip link set dev", name, "master", bridge]
    });
    std::iter::once(added(host, link, vxlan, id))
        .chain(addressed(host, link))
        .chain(master)
        .chain([command!["ip link set dev", name, "up"]])
        .collect()
}

fn added(host: &Host, link: &Link, vxlan: &VxlanLink, (vni, port): (u32, u16)) -> Command {
    let word = |key: &'static str, value: Option<String>| {
        value
            .into_iter()
            .flat_map(move |value| [key.to_owned(), value])
    };
    let below = link
        .peer
        .filter(|below| below.netns == link.device.netns)
        .map(|below| host.interface(below));
    let df = match vxlan.df {
        1 => Some("set".to_owned()),
        2 => Some("inherit".to_owned()),
        _ => None,
    };
    command![
        "ip link add",
        link.name,
        ..word("address", link.mac.map(|mac| mac.to_string())),
        "mtu",
        link.mtu,
        "type vxlan id",
        vni,
        "dstport",
        port,
        ..word("dev", below),
        ..word("local", vxlan.local.map(|a| a.to_string())),
        ..word("remote", vxlan.remote.map(|a| a.to_string())),
        ..word("df", df),
        ..(!vxlan.learning).then_some("nolearning"),
        ..vxlan.proxy.then_some("proxy")
    ]
}

/// Its addresses; an IPv6 link-local one comes by itself.
fn addressed(host: &Host, link: &Link) -> impl Iterator<Item = Command> {
    let name = &link.name;
    host.addresses(link.device).iter().filter_map(move |a| {
        let address = format!("{}/{}", a.address, a.prefix);
        match a.address {
            IpAddr::V4(_) => Some(command!["ip addr add", address, "dev", name]),
            IpAddr::V6(v6) => (!v6.is_unicast_link_local())
                .then(|| command!["ip -6 addr add", address, "dev", name, "nodad"]),
        }
    })
}

/// The entry of a tunnel that has to be told its neighbours: the owner of the address is known.
#[must_use]
pub fn neighbour_entry(host: &Host, who: Unresolved) -> Option<Remedy> {
    let link = host.link(who.device)?;
    let vxlan = link.vxlan.as_ref().filter(|v| is_told(v))?;
    let owners = host
        .owners(who.address)
        .filter_map(|device| host.link(device))
        .filter(|l| l.device != who.device && l.vxlan.as_ref().map(|v| v.vni) == Some(vxlan.vni));
    let owner = nearest(host, who.device.netns, owners.collect())?;
    let ip = ip(who.address.is_ipv6());
    Some(
        Shell::of(host, Some(who.device.netns))
            .change(
                format!("{} does not ask by itself: tell it the MAC", link.name),
                permanent_neighbour(who.address, owner.mac?, &link.name),
            )
            .undone_by(command![..ip, "neigh del", who.address, "dev", link.name]),
    )
}

/// The route to a remote end that can be reached without a gateway: over the interface whose network holds it, or whose
/// other end has it.
#[must_use]
pub fn underlay_route(host: &Host, netns: NetNs, remote: IpAddr) -> Option<Remedy> {
    let own = || {
        host.links()
            .filter(|l| l.device.netns == netns && l.up && l.vxlan.is_none())
    };
    let holding = own()
        .flat_map(|l| host.addresses(l.device).iter().map(move |a| (l, a)))
        .filter(|(_, a)| holds(a.address, a.prefix, remote))
        .max_by_key(|(_, a)| a.prefix)
        .map(|(l, a)| (l, format!("{}/{}", network(remote, a.prefix), a.prefix)));
    let facing = || {
        let link = own().find(|l| {
            peer_of(host, l.device).is_some_and(|peer| {
                host.addresses(peer.device)
                    .iter()
                    .any(|a| a.address == remote)
            })
        })?;
        Some((link, remote.to_string()))
    };
    let (link, prefix) = holding.or_else(facing)?;
    let ip = ip(remote.is_ipv6());
    let route = |verb: &'static str| command![..ip, "route", verb, &prefix, "dev", link.name];
    Some(
        Shell::of(host, Some(netns))
            .change("add the route to the remote end", route("add"))
            .undone_by(route("del")),
    )
}
