//! Which socket takes a packet: from the sockets that were read on its port.

use std::net::{IpAddr, Ipv4Addr};

use super::links::master_of;
use crate::host::Host;
use crate::host::facts::{Link, OpenSocket};
use crate::model::{Device, IfIndex, NetNs, Proto, Tuple};

/// A packet for a local port.
#[derive(Clone, Copy, Debug)]
pub struct Wanted {
    /// Where.
    pub netns: NetNs,
    /// From whom, and for which address and port.
    pub tuple: Tuple,
    /// The interface at which it came in, where that is known.
    pub interface: Option<IfIndex>,
}

/// Why a socket on the port does not take a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// It is bound to another address.
    Address(IpAddr),
    /// It is bound to another interface.
    Interface(IfIndex),
    /// It is bound to no interface, and what comes in through a VRF is only for those that are (`tcp_l3mdev_accept`,
    /// `udp_l3mdev_accept`).
    Vrf(IfIndex),
    /// It takes the other family alone.
    Family,
    /// It is connected to somebody else.
    Connected(IpAddr, u16),
}

/// Why a socket does not take the packet; `None`: it does (`compute_score`, net/ipv4/inet_hashtables.c and udp.c).
#[must_use]
pub fn refusal(host: &Host, socket: &OpenSocket, wanted: &Wanted) -> Option<Refusal> {
    let tuple = wanted.tuple;
    if let Some((peer, port)) = socket.peer {
        let theirs = (peer, port) == (tuple.src, tuple.sport);
        return (!theirs).then_some(Refusal::Connected(peer, port));
    }
    let bound = match (socket.local, tuple.dst) {
        (IpAddr::V6(own), IpAddr::V4(v4)) => own
            .to_ipv4_mapped()
            .map_or(socket.local, |mapped| IpAddr::V4(any_or(mapped, v4))),
        (own, _) => own,
    };
    let same_family = bound.is_ipv4() == tuple.dst.is_ipv4();
    let dual = bound.is_ipv6() && bound.is_unspecified() && !socket.only_v6;
    if !same_family && !dual {
        return Some(Refusal::Family);
    }
    if !bound.is_unspecified() && bound != tuple.dst {
        return Some(Refusal::Address(bound));
    }
    let came = wanted.interface?;
    let master = master(host, wanted.netns, came);
    match socket.interface.map(IfIndex) {
        None => {
            let vrf = vrf_of(host, wanted)?;
            (accepts(host, wanted) == Some(false)).then_some(Refusal::Vrf(vrf.device.ifindex))
        }
        Some(own) => (own != came && master.map(|m| m.device.ifindex) != Some(own))
            .then_some(Refusal::Interface(own)),
    }
}

/// The bridge, bond or VRF to which an interface hands what came in.
fn master(host: &Host, netns: NetNs, ifindex: IfIndex) -> Option<&Link> {
    master_of(host, host.link(Device { netns, ifindex })?)
}

/// The VRF through which a packet came in.
#[must_use]
pub fn vrf_of<'a>(host: &'a Host, wanted: &Wanted) -> Option<&'a Link> {
    let (netns, ifindex) = (wanted.netns, wanted.interface?);
    let own = host.link(Device { netns, ifindex })?;
    [Some(own), master(host, netns, ifindex)]
        .into_iter()
        .flatten()
        .find(|link| link.kind == "vrf")
}

/// The sysctl that lets sockets that are bound to no interface take what comes in through a VRF.
#[must_use]
pub fn accept_sysctl(proto: Proto) -> Option<&'static str> {
    match proto {
        Proto::Tcp => Some("net/ipv4/tcp_l3mdev_accept"),
        Proto::Udp => Some("net/ipv4/udp_l3mdev_accept"),
        _ => None,
    }
}

/// Whether it does; `None` where it was not read (inet_sk_bound_dev_eq, include/net/inet_sock.h).
fn accepts(host: &Host, wanted: &Wanted) -> Option<bool> {
    let name = accept_sysctl(wanted.tuple.proto)?;
    let read = host.sysctls.get(&(wanted.netns, name.to_owned()))?;
    Some(read.fact.as_deref()? != "0")
}

/// `::ffff:0.0.0.0` is bound to any IPv4 address.
fn any_or(mapped: Ipv4Addr, wanted: Ipv4Addr) -> Ipv4Addr {
    if mapped.is_unspecified() {
        wanted
    } else {
        mapped
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "the texts are below")]
mod tests {
    use super::*;

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    fn socket(local: &str) -> OpenSocket {
        OpenSocket {
            local: ip(local),
            port: 0,
            peer: None,
            interface: None,
            state: 10,
            waiting: 0,
            limit: 0,
            only_v6: false,
            holders: Vec::new(),
            stopped: Vec::new(),
            tcp: None,
        }
    }

    fn told(socket: &OpenSocket, to: &str) -> Option<Refusal> {
        let wanted = Wanted {
            netns: NetNs(1),
            tuple: Tuple {
                proto: Proto::Tcp,
                src: ip("10.0.0.9"),
                sport: 40_000,
                dst: ip(to),
                dport: 80,
                icmp_id: 0,
            },
            interface: Some(IfIndex(2)),
        };
        refusal(&Host::default(), socket, &wanted)
    }

    #[test]
    fn addresses_and_families_decide() {
        for (local, to, why) in [
            ("0.0.0.0", "10.0.0.1", None),
            ("0.0.0.0", "fd00::1", Some(Refusal::Family)),
            ("::", "10.0.0.1", None),
            ("::ffff:0.0.0.0", "10.0.0.1", None),
            (
                "::ffff:10.0.0.2",
                "10.0.0.1",
                Some(Refusal::Address(ip("10.0.0.2"))),
            ),
            ("::1", "10.0.0.1", Some(Refusal::Family)),
            (
                "127.0.0.1",
                "10.0.0.1",
                Some(Refusal::Address(ip("127.0.0.1"))),
            ),
        ] {
            assert_eq!(told(&socket(local), to), why, "{local} {to}");
        }
        let v6 = OpenSocket {
            only_v6: true,
            ..socket("::")
        };
        assert_eq!(told(&v6, "10.0.0.1"), Some(Refusal::Family));
    }

    #[test]
    fn a_peer_and_an_interface_decide() {
        let connected = |peer: &str| OpenSocket {
            peer: Some((ip(peer), 40_000)),
            ..socket("10.0.0.1")
        };
        assert_eq!(told(&connected("10.0.0.9"), "10.0.0.1"), None);
        assert_eq!(
            told(&connected("10.0.0.8"), "10.0.0.1"),
            Some(Refusal::Connected(ip("10.0.0.8"), 40_000))
        );
        let bound = |interface| OpenSocket {
            interface: Some(interface),
            ..socket("0.0.0.0")
        };
        assert_eq!(told(&bound(2), "10.0.0.1"), None);
        assert_eq!(
            told(&bound(3), "10.0.0.1"),
            Some(Refusal::Interface(IfIndex(3)))
        );
    }
}
