//! Answers [`Question`]s of the diagnosis: one look into one namespace each, read-only.
//!
//! What cannot be read becomes [`Fact::Unread`] with the reason; what the kernel refuses a packet (an errno of a
//! route lookup) is itself the answer.

#![cfg_attr(not(test), warn(clippy::too_many_lines))]

use std::fs;
use std::io;
use std::net::IpAddr;
use std::path::Path;

use netlink_sys::protocols::NETLINK_ROUTE;

use super::facts::{Fact, Neighbor, OvsFlow, Question, Route, RouteAnswer, Selectors};
use super::links::{self, Peers, mac_of};
use super::namespaces::Namespaces;
use super::netlink::{
    Message, Netlink, Request, address_bytes, address_of, attributes, family_of, u16_of, u32_of,
};
use super::{
    Unreadable, advertisements, bridge_tables, cgroups, conntrack, device_state, fdb, firewall,
    ipvs, ovs, packet_queues, policy, services, sockets, tables, wireguard, workloads, xfrm,
};
use crate::model::{Device, IfIndex, Mac, NetNs, Proto, Tuple};
use crate::uapi::rtnetlink::{ROUTE_TYPES, RTA_VIA, RTM_F_CLONED};

// Of linux/rtnetlink.h.
const RTM_F_LOOKUP_TABLE: u32 = 0x1000;
/// Of linux/in_route.h: the next hop was learned from an ICMP redirect.
const RTCF_REDIRECTED: u32 = 0x4_0000;
const RTA_UID: u16 = 25;
const RTA_IP_PROTO: u16 = 27;
const RTA_SPORT: u16 = 28;
const RTA_DPORT: u16 = 29;
const RTAX_MTU: u16 = 2;

/// Answers one question, as far as this machine can tell.
#[must_use]
pub fn answer(question: &Question, namespaces: &Namespaces) -> Vec<Fact> {
    let Some((netns, what)) = subject(question) else {
        return of_machine(question);
    };
    let Some(handle) = namespaces.get(netns) else {
        let gone = "the namespace is gone, or was never found";
        return vec![unread(netns, &what, &gone)];
    };
    let read = handle.enter(|| read(question, netns, namespaces));
    read.flatten()
        .unwrap_or_else(|error| vec![unread(netns, &what, &error)])
}

fn unread(netns: NetNs, what: &str, why: &dyn std::fmt::Display) -> Fact {
    Fact::Unread {
        what: format!("{what} in namespace {}", netns.0),
        why: why.to_string(),
    }
}

/// Where to look, and for what, in words; `None` for what is the same in all namespaces.
fn subject(question: &Question) -> Option<(NetNs, String)> {
    Some(match question {
        Question::Cgroups | Question::Cgroup { .. } => return None,
        Question::DeviceState { device } => (
            device.netns,
            format!("state of interface {}", device.ifindex.0),
        ),
        Question::Route { netns, tuple, .. } => (*netns, format!("route to {}", tuple.dst)),
        Question::Neighbor { device, address } => {
            (device.netns, format!("neighbour entry of {address}"))
        }
        Question::Forwarding { device, mac } => {
            (device.netns, format!("forwarding entry of {mac}"))
        }
        Question::PortVlans { bridge } => (
            bridge.netns,
            format!("VLANs of the ports of interface {}", bridge.ifindex.0),
        ),
        Question::MulticastPorts { bridge } => (
            bridge.netns,
            format!("groups of interface {}", bridge.ifindex.0),
        ),
        Question::ProxyNeighbors { netns, .. } => (*netns, String::from("neighbours answered for")),
        Question::Sysctl { netns, name } => (*netns, format!("sysctl {name}")),
        Question::Rules { netns, .. } => (*netns, String::from("policy rules")),
        Question::XfrmPolicies { netns } => (*netns, String::from("IPsec policies")),
        Question::RoutesTowards { netns, dst } => (*netns, format!("routes towards {dst}")),
        Question::Chains { netns } | Question::ChainsAgain { netns, .. } => {
            (*netns, String::from("base chains"))
        }
        Question::Conntrack { netns, tuple, .. } => (*netns, format!("connection of {tuple}")),
        Question::Ipvs { netns, tuple } => (*netns, format!("IPVS services of {}", tuple.dst)),
        Question::WireGuard { device } => (
            device.netns,
            format!("WireGuard peers of interface {}", device.ifindex.0),
        ),
        Question::Ovs { device, .. } => (
            device.netns,
            format!("Open vSwitch's port {}", device.ifindex.0),
        ),
        Question::Advertisements { netns } => (*netns, String::from("router advertisements")),
        Question::PacketQueues { netns } => {
            (*netns, String::from("queues of packets for processes"))
        }
        Question::ConntrackCounters { netns } => (*netns, String::from("counters of conntrack")),
        Question::Sockets { netns, port, .. } => (*netns, format!("sockets on port {port}")),
        Question::ProcessOwner { netns, pid } => (*netns, format!("container of process {pid}")),
        Question::LocalPorts {
            netns, dst, port, ..
        } => (*netns, format!("local ports towards {dst} port {port}")),
        Question::Link { device } => (device.netns, format!("interface {}", device.ifindex.0)),
    })
}

/// What is the same in all namespaces.
fn of_machine(question: &Question) -> Vec<Fact> {
    match question {
        Question::Cgroups => cgroup_programs(),
        Question::Cgroup { id } => cgroup(*id),
        _ => Vec::new(),
    }
}

/// Looks, in the calling thread's namespace, which is this one.
fn read(question: &Question, netns: NetNs, namespaces: &Namespaces) -> io::Result<Vec<Fact>> {
    let fact = match question {
        Question::Chains { .. } | Question::ChainsAgain { .. } => return Ok(chains(netns)),
        Question::Link { device } => return link(*device, namespaces),
        Question::Ovs { device, flow } => return virtual_switch(*device, *flow),
        Question::Cgroups | Question::Cgroup { .. } => return Ok(Vec::new()),
        Question::Route {
            tuple, iif, with, ..
        } => Fact::Route(route(netns, *tuple, *iif, *with)?),
        Question::Neighbor { device, address } => Fact::Neighbor(neighbor(*device, *address)?),
        Question::Forwarding { device, mac } => Fact::Forwarding(fdb::read(*device, *mac)?),
        Question::PortVlans { bridge } => Fact::PortVlans(bridge_tables::vlans(*bridge)?),
        Question::MulticastPorts { bridge } => {
            Fact::MulticastPorts(bridge_tables::groups(*bridge)?)
        }
        Question::ProxyNeighbors { v6, .. } => {
            Fact::ProxyNeighbors(bridge_tables::proxies(netns, *v6)?)
        }
        Question::Rules { v6, .. } => Fact::Rules(netns, *v6, policy::rules(*v6)?),
        Question::XfrmPolicies { .. } => Fact::XfrmPolicies(netns, xfrm::policies()?),
        Question::RoutesTowards { dst, .. } => {
            Fact::RoutesTowards(netns, *dst, tables::towards(*dst)?)
        }
        Question::Sysctl { name, .. } => sysctl(netns, name),
        Question::Conntrack { tuple, zone, .. } => {
            Fact::Conntrack(conntrack::entry(netns, *tuple, *zone)?)
        }
        Question::Ipvs { tuple, .. } => Fact::Ipvs(ipvs::read(netns, *tuple)?),
        Question::WireGuard { device } => Fact::WireGuard(*device, wireguard::read(*device)?),
        Question::Advertisements { .. } => Fact::Advertisements(netns, advertisements::read()?),
        Question::PacketQueues { .. } => Fact::PacketQueues(netns, packet_queues::read()?),
        Question::ConntrackCounters { .. } => {
            Fact::ConntrackCounters(netns, conntrack::counters()?)
        }
        Question::Sockets { proto, port, .. } => {
            Fact::Sockets(sockets::read(netns, *proto, *port)?)
        }
        Question::LocalPorts {
            proto, dst, port, ..
        } => Fact::LocalPorts(sockets::local_ports(netns, *proto, (*dst, *port))?),
        Question::ProcessOwner { pid, .. } => {
            Fact::ProcessOwner(workloads::of_process(netns, *pid))
        }
        Question::DeviceState { device } => device_state(*device)?,
    };
    Ok(vec![fact])
}

/// The packet filters, and what of them could not be read.
fn chains(netns: NetNs) -> Vec<Fact> {
    let (ruleset, missing) = firewall::read();
    let mut facts: Vec<Fact> = missing
        .into_iter()
        .map(|Unreadable { what, why }| unread(netns, &what, &why))
        .collect();
    // An empty list means "there are none": that is not known when something could not be read.
    if facts.is_empty() || !ruleset.base.is_empty() {
        let owners = services::owners(&ruleset);
        facts.extend((!owners.is_empty()).then_some(Fact::Owners(owners)));
        facts.push(Fact::Ruleset(netns, Box::new(ruleset)));
    }
    facts
}

/// What Open vSwitch has for a packet, and what of that could not be read.
fn virtual_switch(device: Device, flow: OvsFlow) -> io::Result<Vec<Fact>> {
    let (answer, missing) = ovs::read(device, flow)?;
    let missing = missing
        .into_iter()
        .map(|Unreadable { what, why }| unread(device.netns, &what, &why));
    Ok(missing.chain([Fact::Ovs(Box::new(answer))]).collect())
}

/// Asks for the route of a packet in the calling thread's namespace: by its own addresses and ports, as policy rules
/// may look at them.
fn route(netns: NetNs, tuple: Tuple, iif: u32, with: Selectors) -> io::Result<RouteAnswer> {
    let mut socket = Netlink::open(NETLINK_ROUTE)?;
    let answers = socket.ask(&route_request(tuple, iif, with), route_of);
    let result = match answers {
        Ok(routes) => routes
            .into_iter()
            .next()
            .ok_or_else(|| io::Error::other("no answer from the kernel"))
            .map(Ok)?,
        Err(error) => Err(error
            .raw_os_error()
            .and_then(|errno| u32::try_from(errno).ok())
            .ok_or(error)?),
    };
    Ok(RouteAnswer {
        netns,
        tuple,
        iif,
        with,
        result,
    })
}

fn route_request(tuple: Tuple, iif: u32, with: Selectors) -> Request {
    let (source, destination) = (address_bytes(tuple.src), address_bytes(tuple.dst));
    let bits = u8::try_from(destination.len() * 8).unwrap_or_default();
    let same_family = source.len() == destination.len();
    let source = (same_family && !tuple.src.is_unspecified()).then_some(source);
    // struct rtmsg: family, dst_len, src_len, tos, table, protocol, scope, type, flags (4)
    let mut header = vec![
        family_of(tuple.dst),
        bits,
        source.as_ref().map_or(0, |_| bits),
        with.tos,
        0,
        0,
        0,
        0,
    ];
    // IPv6 always tells the table, and refuses this flag (inet6_rtm_valid_getroute_req, net/ipv6/route.c).
    let flags = if tuple.dst.is_ipv4() {
        RTM_F_LOOKUP_TABLE
    } else {
        0
    };
    header.extend(flags.to_ne_bytes());
    let mut request =
        Request::one(libc::RTM_GETROUTE, &header).attribute(libc::RTA_DST, &destination);
    if let Some(source) = source {
        request = request.attribute(libc::RTA_SRC, &source);
    }
    for (kind, number) in [
        (libc::RTA_IIF, iif),
        (libc::RTA_OIF, with.oif),
        (libc::RTA_MARK, with.mark),
    ] {
        if number != 0 {
            request = request.attribute(kind, &number.to_ne_bytes());
        }
    }
    // A packet that came in is nobody's, which IPv4 takes for root's (ip_route_input_slow), and so does IPv6
    // (ip6_route_input), but not where it is asked without a user (inet6_rtm_getroute).
    if let Some(uid) = with.uid.or((iif != 0).then_some(0)) {
        request = request.attribute(RTA_UID, &uid.to_ne_bytes());
    }
    // The kernel takes no other protocols here (rtm_getroute_parse_ip_proto, net/ipv4/fib_frontend.c).
    if let Some(protocol) = routed_protocol(tuple.proto) {
        request = request.attribute(RTA_IP_PROTO, &[protocol]);
    }
    if matches!(tuple.proto, Proto::Tcp | Proto::Udp) {
        for (kind, port) in [(RTA_SPORT, tuple.sport), (RTA_DPORT, tuple.dport)] {
            if port != 0 {
                request = request.attribute(kind, &port.to_be_bytes());
            }
        }
    }
    request
}

fn routed_protocol(proto: Proto) -> Option<u8> {
    match proto {
        Proto::Tcp => Some(6),
        Proto::Udp => Some(17),
        Proto::Icmp => Some(1),
        Proto::Icmp6 => Some(58),
        Proto::Sctp | Proto::Arp | Proto::Other(_) => None,
    }
}

/// Reads RTM_NEWROUTE.
pub(super) fn route_of(message: Message<'_>) -> Option<Route> {
    let (header, rest) = message.payload.split_first_chunk::<12>()?;
    let [family, _, _, _, table, _, _, kind, flags @ ..] = *header;
    // IPv4 has a flag for redirects, and marks every answer as one of a cache; IPv6 marks what is in its cache
    // (rt_fill_info, net/ipv4/route.c; rt6_fill_node, net/ipv6/route.c).
    let cached = match i32::from(family) {
        libc::AF_INET6 => RTM_F_CLONED,
        _ => RTCF_REDIRECTED,
    };
    let mut route = Route {
        kind: ROUTE_TYPES
            .get(usize::from(kind))
            .map_or_else(|| format!("type {kind}"), |name| (*name).into()),
        oif: None,
        gateway: None,
        source: None,
        table: table.into(),
        mtu: None,
        learned: u32::from_ne_bytes(flags) & cached != 0,
    };
    for (kind, value) in attributes(rest) {
        match kind {
            libc::RTA_OIF => route.oif = u32_of(value),
            libc::RTA_GATEWAY => route.gateway = address_of(value),
            // A gateway of the other family: its family (2), then the address.
            RTA_VIA => route.gateway = value.get(2..).and_then(address_of),
            libc::RTA_PREFSRC => route.source = address_of(value),
            libc::RTA_TABLE => route.table = u32_of(value).unwrap_or(route.table),
            libc::RTA_METRICS => {
                route.mtu = attributes(value)
                    .find(|(kind, _)| *kind == RTAX_MTU)
                    .and_then(|(_, value)| u32_of(value));
            }
            _ => {}
        }
    }
    Some(route)
}

fn neighbor(device: Device, address: IpAddr) -> io::Result<Neighbor> {
    let mut socket = Netlink::open(NETLINK_ROUTE)?;
    // struct ndmsg: family, pad (3), ifindex (4), state (2), flags, type
    let mut header = vec![family_of(address), 0, 0, 0];
    header.extend(device.ifindex.0.to_ne_bytes());
    header.extend([0; 4]);
    let request =
        Request::one(libc::RTM_GETNEIGH, &header).attribute(libc::NDA_DST, &address_bytes(address));
    let found = match socket.ask(&request, neighbor_of) {
        Ok(entries) => entries.into_iter().next(),
        Err(error) if error.raw_os_error() == Some(libc::ENOENT) => None,
        Err(error) => return Err(error),
    };
    let (state, mac) = found.unwrap_or_default();
    Ok(Neighbor {
        device,
        address,
        state,
        mac,
    })
}

/// Reads RTM_NEWNEIGH: state and MAC.
pub(super) fn neighbor_of(message: Message<'_>) -> Option<(u16, Option<Mac>)> {
    let (header, rest) = message.payload.split_first_chunk::<12>()?;
    let state = u16_of(header.get(8..10)?)?;
    let mac = attributes(rest)
        .find(|(kind, _)| *kind == libc::NDA_LLADDR)
        .and_then(|(_, value)| mac_of(value));
    Some((state, mac))
}

/// Reads a sysctl. Those below `net` are looked up in the namespace of the thread that opens them
/// (net_ctl_header_lookup, net/sysctl_net.c).
fn sysctl(netns: NetNs, name: &str) -> Fact {
    let plain =
        name.starts_with("net/") && !name.split('/').any(|part| part.is_empty() || part == "..");
    let value = plain
        .then(|| fs::read_to_string(Path::new("/proc/sys").join(name)).ok())
        .flatten();
    Fact::Sysctl {
        netns,
        name: name.into(),
        value: value.map(|v| v.trim().to_owned()),
    }
}

fn device_state(device: Device) -> io::Result<Fact> {
    let mut found = device_state::read(device)?;
    let link = links::list(device.netns)?
        .links
        .into_iter()
        .find(|m| m.link.device == device);
    if let Some(tun) = link.filter(|m| m.link.kind == "tun") {
        device_state::holders(&mut found, &tun.link.name);
    }
    Ok(Fact::DeviceState(device, found))
}

fn cgroup_programs() -> Vec<Fact> {
    let read = cgroups::programs().map(Fact::Cgroups);
    vec![read.unwrap_or_else(|error| of_cgroups_unread(&error))]
}

fn cgroup(id: u64) -> Vec<Fact> {
    let read = cgroups::path_of(id).map(|path| Fact::Cgroup(id, path));
    vec![read.unwrap_or_else(|error| of_cgroups_unread(&error))]
}

fn of_cgroups_unread(error: &io::Error) -> Fact {
    Fact::Unread {
        what: "cgroups".into(),
        why: error.to_string(),
    }
}

fn link(device: Device, namespaces: &Namespaces) -> io::Result<Vec<Fact>> {
    let mut listing = links::list(device.netns)?;
    let Some(found) = listing.links.into_iter().find(|m| m.link.device == device) else {
        return Ok(vec![Fact::LinkGone(device)]);
    };
    let mut link = found.link;
    if let Some(lower) = found.lower {
        let there = match lower.nsid {
            None => Some(device.netns),
            Some(nsid) => Peers::default().resolve(device.netns, nsid, namespaces),
        };
        link.peer = there.map(|netns| Device {
            netns,
            ifindex: IfIndex(lower.ifindex),
        });
    }
    let addresses = listing
        .addresses
        .remove(&device.ifindex.0)
        .unwrap_or_default();
    Ok(vec![Fact::Link(link), Fact::Addresses(device, addresses)])
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a failed setup fails the test")]
mod tests {
    use super::*;
    use crate::host::netlink::messages;

    fn tuple(proto: Proto, src: &str, dst: &str) -> Tuple {
        Tuple {
            proto,
            src: src.parse().unwrap(),
            sport: 40000,
            dst: dst.parse().unwrap(),
            dport: 53,
            icmp_id: 0,
        }
    }

    fn kinds(request: &Request) -> Vec<u16> {
        let bytes = request.bytes();
        let payload = messages(&bytes).next().unwrap().payload;
        attributes(payload.get(12..).unwrap())
            .map(|(kind, _)| kind)
            .collect()
    }

    #[test]
    fn a_route_is_asked_for_by_all_that_the_packet_has() {
        let udp = tuple(Proto::Udp, "10.0.0.1", "10.0.0.2");
        let with_ports = [
            libc::RTA_DST,
            libc::RTA_SRC,
            libc::RTA_IIF,
            RTA_UID,
            RTA_IP_PROTO,
            RTA_SPORT,
            RTA_DPORT,
        ];
        assert_eq!(
            kinds(&route_request(udp, 4, Selectors::default())),
            with_ports
        );
        let ping = tuple(Proto::Icmp6, "::", "fd00::2");
        assert_eq!(
            kinds(&route_request(ping, 0, Selectors::default())),
            [libc::RTA_DST, RTA_IP_PROTO]
        );
        let other = tuple(Proto::Sctp, "10.0.0.1", "10.0.0.2");
        assert_eq!(
            kinds(&route_request(other, 0, Selectors::default())),
            [libc::RTA_DST, libc::RTA_SRC]
        );
    }

    #[test]
    fn a_route_is_read_with_what_a_newer_kernel_may_add() {
        // struct rtmsg: AF_INET, /32, table 252 (the true one is an attribute), unicast
        let request = Request::one(libc::RTM_NEWROUTE, &[2, 32, 0, 0, 252, 0, 0, 1, 0, 0, 0, 0])
            .attribute(libc::RTA_TABLE, &1000u32.to_ne_bytes())
            .attribute(999, &[1, 2, 3])
            .attribute(libc::RTA_OIF, &7u32.to_ne_bytes())
            .attribute(
                libc::RTA_VIA,
                &[10, 0, 0xfe, 0x80, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1],
            )
            .attribute(libc::RTA_METRICS, &[8, 0, 2, 0, 0x78, 5, 0, 0]);
        let bytes = request.bytes();
        let route = route_of(messages(&bytes).next().unwrap()).unwrap();
        assert_eq!(
            (route.kind.as_str(), route.table, route.oif),
            ("unicast", 1000, Some(7))
        );
        assert_eq!(route.gateway, Some("fe80::1".parse().unwrap()));
        assert_eq!(route.mtu, Some(u32::from_ne_bytes([0x78, 5, 0, 0])));
    }

    #[test]
    fn only_sysctls_of_the_network_are_read() {
        for name in [
            "kernel/hostname",
            "net/../kernel/hostname",
            "/etc/passwd",
            "net//ipv4",
        ] {
            let Fact::Sysctl { value, .. } = sysctl(NetNs(1), name) else {
                unreachable!("a sysctl answers itself")
            };
            assert_eq!(value, None, "{name}");
        }
    }

    #[test]
    fn a_namespace_without_handle_is_said_to_be_unread() {
        let question = Question::Chains { netns: NetNs(5) };
        let facts = answer(&question, &Namespaces::default());
        assert!(
            matches!(facts.as_slice(), [Fact::Unread { what, .. }] if what == "base chains in namespace 5"),
            "{facts:?}"
        );
    }
}
