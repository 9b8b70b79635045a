//! A host as it would be after a change: advice is tried on the facts before it is printed.

use crate::host::Host;
use crate::host::facts::{BridgePort, Fact, FdbEntry, Forwarding, Link, Neighbor, PortState};
use crate::model::{Device, IfIndex, KtimeNs, Mac, NetNs};

/// What would be done.
#[derive(Clone, Debug, PartialEq)]
pub enum Change {
    /// An interface is raised or taken down.
    Up(Device, bool),
    /// An interface gets another MAC.
    Mac(Device, Mac),
    /// An interface gets another MTU.
    Mtu(Device, u32),
    /// An interface is attached to a bridge (or bond, or VRF) of its namespace, or to none.
    Master(Device, Option<u32>),
    /// Settings of a port.
    Port(Device, BridgePort),
    /// The forwarding database of a bridge or VXLAN device gets an entry for a MAC in place of others, or loses all.
    Fdb(Device, Mac, Option<FdbEntry>),
    /// A neighbour entry is set.
    Neighbour(Neighbor),
    /// A sysctl is set.
    Sysctl(NetNs, String, String),
    /// Any other fact, as it would be read afterwards.
    Fact(Box<Fact>),
}

/// The host after changes. What the kernel said about routes of a namespace in which something changed is forgotten: it
/// was true before.
#[must_use]
pub fn after(host: &Host, changes: &[Change]) -> Host {
    let mut host = host.clone();
    for change in changes {
        let Some(mut fact) = fact_of(&host, change) else {
            continue;
        };
        let stale = !matches!(fact, Fact::Forwarding(_) | Fact::Neighbor(_));
        if let Some(netns) = fact.netns_mut().copied().filter(|_| stale) {
            host.routes.retain(|dated| dated.fact.netns != netns);
        }
        host.apply(KtimeNs(u64::MAX), fact);
    }
    host
}

/// The fact as it would be read after a change; `None` where it concerns an interface that is not there.
fn fact_of(host: &Host, change: &Change) -> Option<Fact> {
    match change {
        Change::Up(device, up) => link_with(host, *device, |link| raise(link, *up)),
        Change::Mac(device, mac) => link_with(host, *device, |link| link.mac = Some(*mac)),
        Change::Mtu(device, mtu) => link_with(host, *device, |link| link.mtu = *mtu),
        Change::Master(device, master) => {
            link_with(host, *device, |link| attach(host, link, *master))
        }
        Change::Port(device, port) => link_with(host, *device, |link| link.port = Some(*port)),
        Change::Fdb(device, mac, entry) => {
            let before = host.forwarding(*device, *mac);
            let defaults = before.into_iter().flat_map(|f| &f.entries);
            let kept = defaults.filter(|e| e.default).copied();
            Some(Fact::Forwarding(Forwarding {
                device: *device,
                mac: *mac,
                entries: kept.chain(*entry).collect(),
            }))
        }
        Change::Neighbour(entry) => Some(Fact::Neighbor(entry.clone())),
        Change::Sysctl(netns, name, value) => Some(Fact::Sysctl {
            netns: *netns,
            name: name.clone(),
            value: Some(value.clone()),
        }),
        Change::Fact(fact) => Some((**fact).clone()),
    }
}

fn link_with(host: &Host, device: Device, change: impl FnOnce(&mut Link)) -> Option<Fact> {
    let mut link = host.link(device)?.clone();
    change(&mut link);
    Some(Fact::Link(link))
}

/// A port without carrier is disabled, and opens with it where no spanning tree runs.
fn raise(link: &mut Link, up: bool) {
    link.up = up;
    link.carrier = up;
    if let Some(port) = &mut link.port {
        port.state = match up {
            true => PortState::Forwarding,
            false => PortState::Disabled,
        };
    }
}

fn attach(host: &Host, link: &mut Link, master: Option<u32>) {
    link.master = master;
    let bridge = master.and_then(|number| {
        host.link(Device {
            ifindex: IfIndex(number),
            ..link.device
        })
    });
    link.port = bridge
        .filter(|b| b.kind == "bridge")
        .map(|_| BridgePort::default());
}
