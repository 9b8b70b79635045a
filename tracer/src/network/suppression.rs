//! Bridges and VXLAN devices that answer questions for neighbours themselves, from their own host's table
//! (`br_do_proxy_suppress_arp`, net/bridge/br_arp_nd_proxy.c; `arp_reduce`, drivers/net/vxlan).

use std::net::IpAddr;

use super::bridging::{learned_port, ports};
use crate::host::Host;
use crate::host::facts::{self, Link, Neighbor};
use crate::model::Mac;
use crate::uapi::neighbour::{CONNECTED, VALID};

/// An ARP request in a bridge.
#[derive(Clone, Copy, Debug)]
pub(super) struct Question {
    pub(super) target: IpAddr,
    pub(super) asker: Option<IpAddr>,
    pub(super) vlan: Option<u16>,
}

/// What a bridge does with a question beside flooding it.
pub(super) enum Suppressed {
    /// Nothing.
    No,
    /// Keeps it from ports with suppression.
    Kept,
    /// That, and answers it with this MAC.
    Answered(Mac),
    /// What has to be read first.
    Unread(Vec<facts::Question>),
}

/// What a bridge does with an ARP request that came in at a port, or from its own host.
pub(super) fn of_bridge(host: &Host, bridge: &Link, from: &Link, question: Question) -> Suppressed {
    let has = |test: fn(&facts::BridgePort) -> bool| {
        ports(host, bridge).any(|p| p.port.as_ref().is_some_and(test))
    };
    let suppresses = has(|p| p.neigh_suppress);
    if bridge.noarp || !(suppresses || has(|p| p.proxy_arp || p.proxy_arp_wifi)) {
        return Suppressed::No;
    }
    let own = from.port.unwrap_or_default();
    if suppresses && own.neigh_suppress {
        return Suppressed::No;
    }
    let asker = question.asker.filter(|a| !a.is_unspecified());
    if suppresses && (asker.is_none() || asker == Some(question.target)) {
        return Suppressed::Kept;
    }
    // With VLANs the VLAN device's own table counts.
    let table = match question.vlan {
        None => bridge,
        Some(id) => match super::links::uppers(host, bridge).find(|l| l.vlan == Some(id)) {
            Some(vlan) => vlan,
            None => return Suppressed::No,
        },
    };
    let local = host.addresses(table.device);
    if suppresses && local.iter().any(|a| a.address == question.target) {
        return Suppressed::Kept;
    }
    let (entry, mac) = match known(host, table, question.target) {
        Ok(Some(found)) => found,
        Ok(None) => return Suppressed::No,
        Err(unread) => return Suppressed::Unread(vec![unread]),
    };
    if entry.state & VALID == 0 {
        return Suppressed::No;
    }
    let device = bridge.device;
    let Some(answer) = host.forwarding(device, mac) else {
        return Suppressed::Unread(vec![facts::Question::Forwarding { device, mac }]);
    };
    if answer.entries.is_empty() {
        return Suppressed::No;
    }
    let behind = learned_port(host, bridge, mac).and_then(|l| l.port);
    let answers = own.proxy_arp || behind.is_some_and(|p| p.proxy_arp_wifi || p.neigh_suppress);
    match (answers, suppresses) {
        (true, _) => Suppressed::Answered(mac),
        (false, true) => Suppressed::Kept,
        (false, false) => Suppressed::No,
    }
}

/// The MAC that a VXLAN device with `proxy` tells for a neighbour, if it answers at all.
pub(super) fn of_vxlan(
    host: &Host,
    link: &Link,
    target: IpAddr,
) -> Result<Option<Mac>, facts::Question> {
    let found = known(host, link, target)?;
    Ok(found
        .filter(|(entry, _)| entry.state & CONNECTED != 0)
        .map(|(_, mac)| mac))
}

fn known<'a>(
    host: &'a Host,
    link: &Link,
    address: IpAddr,
) -> Result<Option<(&'a Neighbor, Mac)>, facts::Question> {
    let device = link.device;
    let entry = host
        .neighbor(device, address)
        .ok_or(facts::Question::Neighbor { device, address })?;
    Ok(entry.mac.map(|mac| (entry, mac)))
}
