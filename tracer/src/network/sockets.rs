//! Which socket takes a packet: from the sockets that were read on its port.

use std::net::{IpAddr, Ipv4Addr};

use crate::host::Host;
use crate::host::facts::{OpenSocket, Question};
use crate::model::{IfIndex, NetNs, Proto};

/// A packet for a local port.
#[derive(Clone, Copy, Debug)]
pub struct Wanted {
    /// Where.
    pub netns: NetNs,
    /// TCP or UDP.
    pub proto: Proto,
    /// Its destination.
    pub address: IpAddr,
    /// Destination port.
    pub port: u16,
    /// The interface at which it came in.
    pub interface: Option<IfIndex>,
}

/// Why an open socket on the port does not take a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// It is bound to another address.
    Address(IpAddr),
    /// It is bound to another interface.
    Interface(u32),
    /// It takes the other family alone.
    Family,
    /// It is connected to somebody.
    Connected,
}

/// Why a socket does not take the packet; `None`: it does (`compute_score`, net/ipv4/inet_hashtables.c and udp.c).
/// A connected one may be the right one for its peer, who is not looked at.
#[must_use]
pub fn refusal(socket: &OpenSocket, wanted: Wanted) -> Option<Refusal> {
    if !socket.is_open() {
        return Some(Refusal::Connected);
    }
    let bound = match (socket.local, wanted.address) {
        (IpAddr::V6(own), IpAddr::V4(v4)) => own
            .to_ipv4_mapped()
            .map_or(socket.local, |mapped| IpAddr::V4(any_or(mapped, v4))),
        (own, _) => own,
    };
    let same_family = bound.is_ipv4() == wanted.address.is_ipv4();
    let dual = bound.is_ipv6() && bound.is_unspecified() && !socket.only_v6;
    if !same_family && !dual {
        return Some(Refusal::Family);
    }
    if !bound.is_unspecified() && bound != wanted.address {
        return Some(Refusal::Address(bound));
    }
    match (socket.interface, wanted.interface) {
        (Some(own), Some(came)) if own != came.0 => Some(Refusal::Interface(own)),
        _ => None,
    }
}

/// `::ffff:0.0.0.0` is bound to any IPv4 address.
fn any_or(mapped: Ipv4Addr, wanted: Ipv4Addr) -> Ipv4Addr {
    if mapped.is_unspecified() {
        wanted
    } else {
        mapped
    }
}

/// Sockets that take the packet.
///
/// # Errors
/// The question, when the sockets of the port were not read.
pub fn takers(host: &Host, wanted: Wanted) -> Result<Vec<&OpenSocket>, Question> {
    let (netns, proto, port) = (wanted.netns, wanted.proto, wanted.port);
    let read = host
        .sockets
        .get(&(netns, proto, port))
        .ok_or(Question::Sockets { netns, proto, port })?;
    let takes = |socket: &&OpenSocket| refusal(socket, wanted).is_none();
    Ok(read.fact.iter().filter(takes).collect())
}
