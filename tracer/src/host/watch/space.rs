//! One namespace as its notifications leave it: interfaces and addresses, and which of them have changed since
//! they were last told.
//!
//! Pure: bytes in, state out. Sockets and the relations between namespaces are the business of `watch`.

use std::collections::{BTreeMap, BTreeSet};

use crate::host::facts::{InterfaceAddress, Link};
use crate::host::links::{Listing, Lower, address_message, link_of, nsid_message};
use crate::host::netlink::Message;
use crate::model::{Device, IfIndex, NetNs};

/// An interface: what is known and what was told.
#[derive(Debug)]
struct Interface {
    link: Link,
    lower: Option<Lower>,
    told: Option<Link>,
}

/// A change that must be told.
#[derive(Debug, PartialEq)]
pub(super) enum Difference {
    Added(Link),
    Changed(Link),
    Gone(Device),
    Addresses(Device, Vec<InterfaceAddress>),
}

/// What a notification means beyond the namespace itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Relation {
    /// A number for another namespace was given out.
    Named,
    /// A number is no longer used.
    Dropped(i32),
}

/// State of one namespace.
#[derive(Debug)]
pub(super) struct Space {
    netns: NetNs,
    interfaces: BTreeMap<u32, Interface>,
    addresses: BTreeMap<u32, Vec<InterfaceAddress>>,
    changed_links: BTreeSet<u32>,
    changed_addresses: BTreeSet<u32>,
    gone: Vec<Device>,
}

impl Space {
    pub(super) fn new(netns: NetNs) -> Self {
        Self {
            netns,
            interfaces: BTreeMap::new(),
            addresses: BTreeMap::new(),
            changed_links: BTreeSet::new(),
            changed_addresses: BTreeSet::new(),
            gone: Vec::new(),
        }
    }

    /// Takes a full list in, in place of everything known.
    pub(super) fn replace(&mut self, listing: Listing) {
        let listed: BTreeSet<u32> = listing
            .links
            .iter()
            .map(|m| m.link.device.ifindex.0)
            .collect();
        let vanished: Vec<u32> = self
            .interfaces
            .keys()
            .copied()
            .filter(|ifindex| !listed.contains(ifindex))
            .collect();
        for ifindex in vanished {
            self.remove(ifindex);
        }
        for message in listing.links {
            self.set(message.link, message.lower);
        }
        for ifindex in listed {
            let now = listing.addresses.get(&ifindex).cloned().unwrap_or_default();
            let before = self.addresses.get(&ifindex).map_or(&[][..], Vec::as_slice);
            if before != now {
                self.addresses.insert(ifindex, now);
                self.changed_addresses.insert(ifindex);
            }
        }
    }

    /// Takes a notification in.
    pub(super) fn apply(&mut self, message: Message<'_>) -> Option<Relation> {
        match message.kind {
            libc::RTM_NEWLINK => {
                let read = link_of(self.netns, message)?;
                self.set(read.link, read.lower);
            }
            libc::RTM_DELLINK => {
                let read = link_of(self.netns, message)?;
                self.remove(read.link.device.ifindex.0);
            }
            libc::RTM_NEWADDR | libc::RTM_DELADDR => {
                let (ifindex, address) = address_message(message)?;
                self.set_address(ifindex, address, message.kind == libc::RTM_NEWADDR);
            }
            libc::RTM_NEWNSID => return Some(Relation::Named),
            libc::RTM_DELNSID => return nsid_message(message).map(Relation::Dropped),
            _ => {}
        }
        None
    }

    fn set(&mut self, mut link: Link, lower: Option<Lower>) {
        let ifindex = link.device.ifindex.0;
        let interface = self.interfaces.entry(ifindex).or_insert_with(|| Interface {
            link: link.clone(),
            lower,
            told: None,
        });
        if interface.lower == lower {
            // The same words mean the same namespace: `peer` was found out by others and is in no message.
            link.peer = interface.link.peer;
        }
        interface.link = link;
        interface.lower = lower;
        self.changed_links.insert(ifindex);
    }

    fn remove(&mut self, ifindex: u32) {
        self.addresses.remove(&ifindex);
        self.changed_addresses.remove(&ifindex);
        self.changed_links.remove(&ifindex);
        if let Some(Interface {
            told: Some(link), ..
        }) = self.interfaces.remove(&ifindex)
        {
            self.gone.push(link.device);
        }
    }

    fn set_address(&mut self, ifindex: u32, address: InterfaceAddress, present: bool) {
        // The last message about an interface's addresses may come after that about its end.
        if !self.interfaces.contains_key(&ifindex) {
            return;
        }
        let list = self.addresses.entry(ifindex).or_default();
        let same =
            |a: &InterfaceAddress| a.address == address.address && a.prefix == address.prefix;
        match (list.iter_mut().find(|a| same(a)), present) {
            (Some(known), true) if *known == address => return,
            (Some(known), true) => *known = address,
            (None, true) => list.push(address),
            (Some(_), false) => list.retain(|a| !same(a)),
            (None, false) => return,
        }
        self.changed_addresses.insert(ifindex);
    }

    /// Interfaces whose other end is to be looked up: the number of the interface and what its namespace says.
    pub(super) fn unresolved(&self) -> Vec<(IfIndex, Lower)> {
        self.interfaces
            .values()
            .filter(|i| i.link.peer.is_none())
            .filter_map(|i| Some((i.link.device.ifindex, i.lower?)))
            .collect()
    }

    /// Takes in which interface is at the other end.
    pub(super) fn set_peer(&mut self, ifindex: IfIndex, peer: Device) {
        if let Some(interface) = self.interfaces.get_mut(&ifindex.0)
            && interface.link.peer != Some(peer)
        {
            interface.link.peer = Some(peer);
            self.changed_links.insert(ifindex.0);
        }
    }

    /// [`Self::set_peer`] for a veth whose other end said so.
    pub(super) fn set_veth_peer(&mut self, ifindex: IfIndex, peer: Device) {
        let here = self.interfaces.get(&ifindex.0);
        if here.is_some_and(|i| i.link.is_paired()) {
            self.set_peer(ifindex, peer);
        }
    }

    /// Both ends of the veths here that have changed: a veth's other end is not told when this one moves.
    pub(super) fn changed_veths(&self) -> Vec<(Device, Device)> {
        self.changed_links
            .iter()
            .filter_map(|ifindex| self.interfaces.get(ifindex))
            .filter(|i| i.link.is_paired())
            .filter_map(|i| Some((i.link.device, i.link.peer?)))
            .collect()
    }

    /// Everything here that changed since the last call, ends first (their numbers may be in use again).
    pub(super) fn differences(&mut self) -> Vec<Difference> {
        let mut out: Vec<Difference> = self.gone.drain(..).map(Difference::Gone).collect();
        for ifindex in std::mem::take(&mut self.changed_links) {
            let Some(interface) = self.interfaces.get_mut(&ifindex) else {
                continue;
            };
            let link = interface.link.clone();
            if interface.told.as_ref() == Some(&link) {
                continue;
            }
            let first = interface.told.replace(link.clone()).is_none();
            out.push(if first {
                Difference::Added(link)
            } else {
                Difference::Changed(link)
            });
        }
        for ifindex in std::mem::take(&mut self.changed_addresses) {
            let device = Device {
                netns: self.netns,
                ifindex: IfIndex(ifindex),
            };
            let list = self.addresses.get(&ifindex).cloned().unwrap_or_default();
            out.push(Difference::Addresses(device, list));
        }
        out
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::host::links::LinkMessage;

    const NETNS: NetNs = NetNs(7);

    fn device(ifindex: u32) -> Device {
        Device {
            netns: NETNS,
            ifindex: IfIndex(ifindex),
        }
    }

    fn link(ifindex: u32, name: &str) -> Link {
        Link {
            kind: "veth".into(),
            mtu: 1500,
            up: true,
            carrier: true,
            arp_type: 1,
            ..Link::new(device(ifindex), name)
        }
    }

    fn lower(ifindex: u32) -> Option<Lower> {
        Some(Lower {
            ifindex,
            nsid: Some(0),
        })
    }

    fn address(last: u8) -> InterfaceAddress {
        InterfaceAddress {
            address: [10, 0, 0, last].into(),
            prefix: 24,
            tentative: false,
            dad_failed: false,
            deprecated: false,
            secondary: false,
            scope: 0,
        }
    }

    #[test]
    fn only_what_changed_is_told() {
        let mut space = Space::new(NETNS);
        space.set(link(2, "a"), None);
        assert_eq!(space.differences(), [Difference::Added(link(2, "a"))]);
        space.set(link(2, "a"), None);
        assert_eq!(space.differences(), []);
        space.set(link(2, "b"), None);
        assert_eq!(space.differences(), [Difference::Changed(link(2, "b"))]);
    }

    #[test]
    fn an_interface_that_came_and_went_unseen_is_not_told() {
        let mut space = Space::new(NETNS);
        space.set(link(2, "a"), None);
        space.remove(2);
        assert_eq!(space.differences(), []);
    }

    #[test]
    fn a_number_used_again_ends_before_it_begins() {
        let mut space = Space::new(NETNS);
        space.set(link(2, "a"), None);
        space.differences();
        space.remove(2);
        space.set(link(2, "b"), None);
        assert_eq!(
            space.differences(),
            [Difference::Gone(device(2)), Difference::Added(link(2, "b"))]
        );
    }

    #[test]
    fn a_peer_stays_while_the_namespace_says_the_same() {
        let mut space = Space::new(NETNS);
        let peer = Device {
            netns: NetNs(8),
            ifindex: IfIndex(9),
        };
        space.set(link(2, "a"), lower(9));
        assert_eq!(space.unresolved().len(), 1);
        space.set_peer(IfIndex(2), peer);
        assert_eq!(space.changed_veths(), [(device(2), peer)]);
        space.differences();
        space.set(link(2, "a"), lower(9));
        assert_eq!(space.differences(), []);
        space.set(link(2, "a"), lower(10));
        assert_eq!(space.differences(), [Difference::Changed(link(2, "a"))]);
        assert_eq!(space.unresolved().len(), 1);
    }

    #[test]
    fn addresses_follow_their_interface() {
        let mut space = Space::new(NETNS);
        space.set_address(2, address(1), true);
        assert_eq!(space.differences(), [], "no such interface");
        space.set(link(2, "a"), None);
        space.differences();
        space.set_address(2, address(1), true);
        space.set_address(2, address(2), true);
        space.set_address(2, address(1), false);
        assert_eq!(
            space.differences(),
            [Difference::Addresses(device(2), vec![address(2)])]
        );
        space.set_address(2, address(2), true);
        space.set_address(2, address(1), false);
        assert_eq!(space.differences(), []);
    }

    #[test]
    fn a_list_replaces_what_was_missed() {
        let mut space = Space::new(NETNS);
        space.set(link(2, "a"), None);
        space.set(link(3, "b"), None);
        space.set_address(3, address(3), true);
        space.differences();
        space.replace(Listing {
            links: vec![LinkMessage {
                link: link(3, "b"),
                lower: None,
            }],
            addresses: BTreeMap::new(),
        });
        assert_eq!(
            space.differences(),
            [
                Difference::Gone(device(2)),
                Difference::Addresses(device(3), vec![])
            ]
        );
    }
}
