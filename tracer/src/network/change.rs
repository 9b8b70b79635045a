//! A host as it would be after a change: advice is tried on the facts before it is printed.

use crate::host::Host;
use crate::host::facts::{BridgePort, Fact, FdbEntry, Forwarding, Neighbor, PortState};
use crate::model::{Device, KtimeNs, Mac, NetNs};

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

fn fact_of(host: &Host, change: &Change) -> Option<Fact> {
    let link = |device: Device| host.link(device).cloned();
    Some(match change {
        Change::Up(device, up) => {
            let mut link = link(*device)?;
            link.up = *up;
            link.carrier = *up;
            // A port without carrier is disabled, and opens with it where no spanning tree runs.
            if let Some(port) = &mut link.port {
                port.state = match up {
                    true => PortState::Forwarding,
                    false => PortState::Disabled,
                };
            }
            Fact::Link(link)
        }
        Change::Mac(device, mac) => {
            let mut link = link(*device)?;
            link.mac = Some(*mac);
            Fact::Link(link)
        }
        Change::Mtu(device, mtu) => {
            let mut link = link(*device)?;
            link.mtu = *mtu;
            Fact::Link(link)
        }
        Change::Master(device, master) => {
            let mut link = link(*device)?;
            link.master = *master;
            let bridge = master.and_then(|number| {
                host.link(Device {
                    ifindex: crate::model::IfIndex(number),
                    ..*device
                })
            });
            link.port = bridge
                .filter(|b| b.kind == "bridge")
                .map(|_| BridgePort::default());
            Fact::Link(link)
        }
        Change::Port(device, port) => {
            let mut link = link(*device)?;
            link.port = Some(*port);
            Fact::Link(link)
        }
        Change::Fdb(device, mac, entry) => {
            let before = host.forwarding(*device, *mac);
            let defaults = before.into_iter().flat_map(|f| &f.entries);
            let kept = defaults.filter(|e| e.default).copied();
            Fact::Forwarding(Forwarding {
                device: *device,
                mac: *mac,
                entries: kept.chain(*entry).collect(),
            })
        }
        Change::Neighbour(entry) => Fact::Neighbor(entry.clone()),
        Change::Sysctl(netns, name, value) => Fact::Sysctl {
            netns: *netns,
            name: name.clone(),
            value: Some(value.clone()),
        },
        Change::Fact(fact) => (**fact).clone(),
    })
}
