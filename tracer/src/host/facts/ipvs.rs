//! Services that IPVS balances, as facts.

use std::net::IpAddr;

use serde::{Deserialize, Serialize};

use crate::model::{NetNs, Proto, Tuple};

/// What IPVS has for the destination of a packet.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct IpvsAnswer {
    /// Where.
    pub netns: NetNs,
    /// The packet.
    pub tuple: Tuple,
    /// Services at its destination address, of all ports.
    pub services: Vec<IpvsService>,
    /// The destinations of connections from its source to its destination and ports: address and port.
    pub connections: Vec<(IpAddr, u16)>,
}

/// A service.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct IpvsService {
    /// TCP, UDP or SCTP.
    pub proto: Proto,
    /// Its address.
    pub address: IpAddr,
    /// Its port; 0: all of them.
    pub port: u16,
    /// The scheduler's name (`rr`).
    pub scheduler: String,
    /// Those that it chooses from.
    pub destinations: Vec<IpvsDestination>,
}

/// A destination of a service.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct IpvsDestination {
    /// Its address.
    pub address: IpAddr,
    /// Its port.
    pub port: u16,
    /// How packets get there: `Masq`, `Route`, `Tunnel`, `Local`.
    pub method: String,
    /// Its share of new connections; none at 0.
    pub weight: u32,
}

impl IpvsAnswer {
    /// The service that takes the packet.
    #[must_use]
    pub fn service(&self) -> Option<&IpvsService> {
        let own = |port: u16| {
            self.services
                .iter()
                .find(move |s| s.proto == self.tuple.proto && s.port == port)
        };
        own(self.tuple.dport).or_else(|| own(0))
    }
}

impl IpvsService {
    /// Destinations that get new connections.
    pub fn usable(&self) -> impl Iterator<Item = &IpvsDestination> {
        self.destinations.iter().filter(|d| d.weight > 0)
    }

    /// Whether it has a destination.
    #[must_use]
    pub fn has(&self, address: IpAddr, port: u16) -> bool {
        self.destinations
            .iter()
            .any(|d| (d.address, d.port) == (address, port))
    }
}
