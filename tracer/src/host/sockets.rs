//! Reads the sockets on a port by NETLINK_SOCK_DIAG (what `ss` asks too), and whose they are from /proc.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::net::{IpAddr, Ipv6Addr};
use std::path::Path;

use netlink_sys::protocols::NETLINK_SOCK_DIAG;

use super::facts::{Connection, LocalPorts, OpenSocket, PortSockets, PortUse};
use super::namespaces::NetnsFd;
use super::netlink::{Message, Netlink, Request, address_of, attributes, u32_of};
use super::processes;
use crate::model::{NetNs, Proto};

/// linux/sock_diag.h: SOCK_DIAG_BY_FAMILY.
const BY_FAMILY: u16 = 20;
/// linux/inet_diag.h: INET_DIAG_INFO, which brings struct tcp_info.
const INFO: u16 = 2;
/// linux/inet_diag.h: INET_DIAG_SKV6ONLY.
const ONLY_V6: u16 = 11;
/// Length of struct inet_diag_msg.
const HEADER: usize = 72;
/// Most sockets that are told of one port.
const MOST: usize = 16;
/// TCP_TIME_WAIT.
const TIME_WAIT: u8 = 6;
/// A TCP socket in TIME_WAIT or on its way to it belongs to no process; an embryo neither.
const NO_STATES: u32 = 1 << 6 | 1 << 12;

/// A TCP socket that listens, and a UDP socket that is not connected (TCP_LISTEN, TCP_CLOSE).
const WAITING: u32 = 1 << 10 | 1 << 7;

/// The sockets of the calling thread's namespace on a port; zero: all that wait for anybody.
pub(super) fn read(netns: NetNs, proto: Proto, port: u16) -> io::Result<PortSockets> {
    let protocol = number(proto);
    let mut netlink = Netlink::open(NETLINK_SOCK_DIAG)?;
    let states = if port == 0 { WAITING } else { !NO_STATES };
    let mut found: Vec<(OpenSocket, u64)> = Vec::new();
    for family in [libc::AF_INET, libc::AF_INET6] {
        found.extend(
            netlink.ask(&request(family, protocol, (port, 0), states), |m| {
                socket_of(m, port)
            })?,
        );
    }
    found.sort_by_key(|(socket, _)| !socket.is_open());
    found.truncate(MOST);
    let inodes = found.iter().map(|(_, inode)| *inode).filter(|i| *i != 0);
    let mut holders = processes::holding_sockets(Path::new("/proc"), inodes.collect());
    Ok(PortSockets {
        netns,
        proto,
        port,
        sockets: with_holders(found, &mut holders),
    })
}

/// A local end: protocol, address (unspecified: any) and port.
pub type LocalEnd = (Proto, IpAddr, u16);

/// The namespace of a process, and the local ends of the TCP and UDP sockets that it holds.
///
/// # Errors
/// When the process is gone, its namespace cannot be entered, or the kernel does not answer.
pub fn of_process(pid: u32) -> io::Result<(NetNs, BTreeSet<LocalEnd>)> {
    let namespace = NetnsFd::open(format!("/proc/{pid}/ns/net"))?;
    let inodes = processes::sockets_of(Path::new("/proc"), pid);
    let ends = namespace.enter(|| local_ends(&inodes)).flatten()?;
    Ok((namespace.netns(), ends))
}

fn local_ends(inodes: &BTreeSet<u64>) -> io::Result<BTreeSet<LocalEnd>> {
    let mut netlink = Netlink::open(NETLINK_SOCK_DIAG)?;
    let mut ends = BTreeSet::new();
    for proto in [Proto::Tcp, Proto::Udp] {
        for family in [libc::AF_INET, libc::AF_INET6] {
            let request = request(family, number(proto), (0, 0), !NO_STATES);
            let found = netlink.ask(&request, |message| socket_of(message, 0))?;
            let held = found
                .into_iter()
                .filter(|(_, inode)| inodes.contains(inode));
            ends.extend(held.map(|(socket, _)| (proto, socket.local, socket.port)));
        }
    }
    Ok(ends)
}

fn with_holders(
    found: Vec<(OpenSocket, u64)>,
    holders: &mut BTreeMap<u64, Vec<crate::model::Process>>,
) -> Vec<OpenSocket> {
    found
        .into_iter()
        .map(|(socket, inode)| {
            let holders = holders.remove(&inode).unwrap_or_default();
            let pids = holders.iter().map(|process| process.pid);
            OpenSocket {
                stopped: pids
                    .filter(|pid| processes::is_stopped(Path::new("/proc"), *pid))
                    .collect(),
                holders,
                ..socket
            }
        })
        .collect()
}

/// Local ports of the calling thread's namespace that are in use towards a remote end, TIME_WAIT included.
pub(super) fn local_ports(
    netns: NetNs,
    proto: Proto,
    (dst, port): (IpAddr, u16),
) -> io::Result<LocalPorts> {
    let mut netlink = Netlink::open(NETLINK_SOCK_DIAG)?;
    let mut used: BTreeMap<IpAddr, BTreeMap<u16, bool>> = BTreeMap::new();
    for family in [libc::AF_INET, libc::AF_INET6] {
        let request = request(family, number(proto), (0, port), u32::MAX);
        let ends = netlink.ask(&request, ends_of)?;
        for (own, _, state) in ends.into_iter().filter(|(_, peer, _)| *peer == (dst, port)) {
            let waits = used.entry(own.0).or_default().entry(own.1).or_insert(true);
            *waits &= state == TIME_WAIT;
        }
    }
    let count = |n: usize| u32::try_from(n).unwrap_or(u32::MAX);
    let list = used.into_iter().map(|(source, ports)| PortUse {
        source,
        ports: count(ports.len()),
        time_wait: count(ports.values().filter(|waits| **waits).count()),
    });
    Ok(LocalPorts {
        netns,
        proto,
        dst,
        port,
        used: list.collect(),
    })
}

fn number(proto: Proto) -> i32 {
    match proto {
        Proto::Tcp => libc::IPPROTO_TCP,
        _ => libc::IPPROTO_UDP,
    }
}

type End = (IpAddr, u16);

/// Both ends of struct inet_diag_msg, and the state.
pub(super) fn ends_of(message: Message<'_>) -> Option<(End, End, u8)> {
    let bytes = message.payload;
    let port_at = |at: usize| Some(u16::from_be_bytes(bytes.get(at..at + 2)?.try_into().ok()?));
    let long = i32::from(*bytes.first()?) == libc::AF_INET6;
    let address = |at: usize| address_of(bytes.get(at..at + if long { 16 } else { 4 })?).map(plain);
    Some((
        (address(8)?, port_at(4)?),
        (address(24)?, port_at(6)?),
        *bytes.get(1)?,
    ))
}

/// struct inet_diag_req_v2: sockets in these states, of one local or remote port; zero: any.
fn request(family: i32, protocol: i32, (port, remote): (u16, u16), states: u32) -> Request {
    let byte = |n: i32| u8::try_from(n).unwrap_or_default();
    let mut header = vec![byte(family), byte(protocol), 1 << (INFO - 1), 0];
    header.extend(states.to_ne_bytes());
    header.extend(port.to_be_bytes());
    header.extend(remote.to_be_bytes());
    header.resize(56, 0);
    Request::all(BY_FAMILY, &header)
}

/// struct inet_diag_msg with its socket's inode.
pub(super) fn socket_of(message: Message<'_>, port: u16) -> Option<(OpenSocket, u64)> {
    let bytes = message.payload;
    let number = |at: usize| u32_of(bytes.get(at..at + 4)?);
    let port_at = |at: usize| Some(u16::from_be_bytes(bytes.get(at..at + 2)?.try_into().ok()?));
    let long = i32::from(*bytes.first()?) == libc::AF_INET6;
    let address = |at: usize| address_of(bytes.get(at..at + if long { 16 } else { 4 })?).map(plain);
    let own = port_at(4)?;
    // Old kernels do not filter.
    if port != 0 && own != port {
        return None;
    }
    let only_v6 = attributes(bytes.get(HEADER..)?)
        .any(|(kind, value)| kind == ONLY_V6 && value.first().is_some_and(|v| *v != 0));
    let (peer, peer_port) = (address(24)?, port_at(6)?);
    let tcp = attributes(bytes.get(HEADER..)?)
        .find(|(kind, _)| *kind == INFO)
        .and_then(|(_, value)| connection_of(value));
    Some((
        OpenSocket {
            local: address(8)?,
            port: if port == 0 { own } else { 0 },
            peer: (peer_port != 0 || !peer.is_unspecified()).then_some((peer, peer_port)),
            interface: number(40).filter(|i| *i != 0),
            state: *bytes.get(1)?,
            waiting: number(56)?,
            limit: number(60)?,
            only_v6,
            holders: Vec::new(),
            stopped: Vec::new(),
            tcp: tcp.filter(|_| peer_port != 0),
        },
        u64::from(number(68)?),
    ))
}

/// Reads struct tcp_info of linux/tcp.h.
fn connection_of(info: &[u8]) -> Option<Connection> {
    let number = |at: usize| u32_of(info.get(at..at + 4)?);
    Some(Connection {
        mss: number(16)?,
        path_mtu: number(60)?,
        unacked: number(24)?,
        resent: number(100)?,
    })
}

/// An IPv4 address within IPv6 is the IPv4 address.
fn plain(address: IpAddr) -> IpAddr {
    match address {
        IpAddr::V6(v6) if v6 != Ipv6Addr::UNSPECIFIED => {
            v6.to_ipv4_mapped().map_or(address, IpAddr::V4)
        }
        other => other,
    }
}
