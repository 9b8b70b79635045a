//! Which namespaces there are behind the links of another one, through whatever machines. Networks on one machine that
//! have nothing to do with each other use the same addresses: an owner in one of them is nobody in the other.

use std::collections::BTreeSet;
use std::net::IpAddr;

use super::segment::Segment;
use crate::host::Host;
use crate::model::{Device, NetNs};

/// What is behind the links of a namespace.
#[derive(Clone, Debug, Default)]
pub struct Reach {
    /// Namespaces, with the one asked for, however closed the ways are.
    pub namespaces: BTreeSet<NetNs>,
    /// Whether a link goes on outside of what is known: anybody may be behind it.
    pub open: bool,
}

impl Reach {
    /// From a namespace.
    #[must_use]
    pub fn of(host: &Host, netns: NetNs) -> Self {
        let mut found = Self::default();
        let mut seen: BTreeSet<Device> = BTreeSet::new();
        let mut next = vec![netns];
        while let Some(netns) = next.pop() {
            if !found.namespaces.insert(netns) {
                continue;
            }
            for link in host.links().filter(|l| l.device.netns == netns) {
                // A port has no stack of its own, and each segment is walked once.
                if link.master.is_some() || !seen.insert(link.device) {
                    continue;
                }
                let segment = Segment::of_broadcast(host, link);
                found.open |= !segment.open.is_empty();
                for end in segment.ends.iter().map(|end| end.link.device) {
                    seen.insert(end);
                    next.push(end.netns);
                }
            }
        }
        found
    }
}

/// Interfaces that own an address and may be reached from a namespace.
#[must_use]
pub fn owners(host: &Host, from: NetNs, address: IpAddr) -> Vec<Device> {
    let all: Vec<Device> = host.owners(address).collect();
    if all.iter().all(|owner| owner.netns == from) {
        return all;
    }
    let reach = Reach::of(host, from);
    let reached = |owner: &Device| reach.open || reach.namespaces.contains(&owner.netns);
    all.into_iter().filter(reached).collect()
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "the addresses are below")]
mod tests {
    use super::*;
    use crate::host::facts::{Fact, InterfaceAddress, Link};
    use crate::model::{IfIndex, KtimeNs, Mac};

    fn device(netns: u32, ifindex: u32) -> Device {
        Device {
            netns: NetNs(netns),
            ifindex: IfIndex(ifindex),
        }
    }

    fn link(host: &mut Host, at: Device, peer: Option<Device>) {
        let link = Link {
            kind: if peer.is_some() { "veth" } else { "" }.to_owned(),
            mac: Some(Mac([2, 0, 0, 0, 0, 1])),
            mtu: 1500,
            up: true,
            carrier: true,
            arp_type: 1,
            peer,
            ..Link::new(at, format!("eth{}", at.ifindex.0))
        };
        host.apply(KtimeNs(0), Fact::Link(link));
    }

    fn cable(host: &mut Host, one: Device, other: Device) {
        link(host, one, Some(other));
        link(host, other, Some(one));
    }

    fn address(host: &mut Host, at: Device) {
        let address = InterfaceAddress {
            address: "10.0.0.9".parse().unwrap(),
            prefix: 24,
            tentative: false,
            dad_failed: false,
            deprecated: false,
            secondary: false,
            scope: 0,
        };
        host.apply(KtimeNs(0), Fact::Addresses(at, vec![address]));
    }

    /// 1 - 2 - 3, and 4 - 5 beside them; 3 and 5 have the same address.
    fn two_networks() -> Host {
        let mut host = Host::default();
        cable(&mut host, device(1, 2), device(2, 2));
        cable(&mut host, device(2, 3), device(3, 2));
        cable(&mut host, device(4, 2), device(5, 2));
        address(&mut host, device(3, 2));
        address(&mut host, device(5, 2));
        host
    }

    #[test]
    fn an_owner_in_another_network_is_nobody() {
        let host = two_networks();
        let of = |netns| owners(&host, NetNs(netns), "10.0.0.9".parse().unwrap());
        assert_eq!(of(1), [device(3, 2)]);
        assert_eq!(of(4), [device(5, 2)]);
        assert!(!Reach::of(&host, NetNs(1)).open);
    }

    #[test]
    fn behind_a_wire_may_be_anybody() {
        let mut host = two_networks();
        link(&mut host, device(2, 4), None);
        let all = owners(&host, NetNs(1), "10.0.0.9".parse().unwrap());
        assert_eq!(all.len(), 2);
        assert!(Reach::of(&host, NetNs(3)).open);
    }
}
