//! What the kernel and other programs wrote, as bytes handed to each of its readers: what the readers do with bytes that
//! nobody should have written is tested by that (see [`crate::foreign`]).

use std::net::{IpAddr, Ipv4Addr};

use super::netlink::{Message, messages};
use super::{
    answers, bridge_tables, cgroups, conntrack, device_state, discovery, fdb, firewall, links,
    packet_queues, policy, sockets, tables, wireguard, workloads, xfrm,
};
use crate::model::NetNs;

/// A datagram of netlink, each message to each reader.
pub(crate) fn netlink(bytes: &[u8]) {
    messages(bytes).for_each(message);
}

fn message(message: Message<'_>) {
    const ANY: IpAddr = IpAddr::V4(Ipv4Addr::UNSPECIFIED);
    let programs = device_state::Names::default();
    // Readers of what is attached to one interface look whether the message is about that.
    let number = |at: usize| {
        let bytes = message.payload.get(at..)?.first_chunk();
        bytes.map(|bytes| u32::from_ne_bytes(*bytes))
    };
    let ifindex = number(4).unwrap_or_default();
    answers::route_of(message);
    answers::neighbor_of(message);
    xfrm::policy_of(message);
    conntrack::entry_of(message);
    tables::table_route_of(message, ANY);
    tables::object_of(message);
    links::link_of(NetNs(1), message);
    links::address_message(message);
    links::nsid_message(message);
    fdb::entry_of(message);
    sockets::ends_of(message);
    sockets::socket_of(message, 0);
    bridge_tables::vlans_of(ifindex, message);
    bridge_tables::groups_of(ifindex, message);
    bridge_tables::proxy_of(message);
    device_state::link_of(message, &programs);
    device_state::filter(message, "ingress", &programs);
    device_state::qdisc(message, ifindex);
    policy::rule_of(message);
    wireguard::device_of(message);
    firewall::foreign::message(message);
}

/// What getsockopt(2) gives of a table of iptables-legacy.
pub(crate) fn table(bytes: &[u8]) {
    firewall::foreign::table(bytes);
}

/// Files of /proc and of container runtimes.
pub(crate) fn files(bytes: &[u8]) {
    workloads::foreign(bytes);
    let text = String::from_utf8_lossy(bytes);
    cgroups::mounted(&text);
    packet_queues::inodes(&text);
    for line in text.lines() {
        discovery::mounted(line);
        packet_queues::queue_of(line);
    }
}
