//! To whom addresses belong.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use super::Host;
use super::facts::{Owner, OwnerKind};
use crate::model::NetNs;

/// Owners of addresses, as of one moment.
#[derive(Debug)]
pub struct Owners<'a> {
    host: &'a Host,
    /// Namespaces whose interfaces have an address, or had it last.
    namespaces: BTreeMap<IpAddr, BTreeSet<NetNs>>,
}

impl<'a> Owners<'a> {
    /// Of all addresses that are known.
    #[must_use]
    pub fn of(host: &'a Host) -> Self {
        let mut namespaces: BTreeMap<IpAddr, BTreeSet<NetNs>> = BTreeMap::new();
        for list in [&host.addresses, &host.former_addresses] {
            // an address that moved to another interface belongs to that one
            let known: BTreeSet<IpAddr> = namespaces.keys().copied().collect();
            for (device, own) in list
                .iter()
                .flat_map(|(d, list)| list.iter().map(move |a| (d, a)))
            {
                if !known.contains(&own.address) {
                    namespaces
                        .entry(own.address)
                        .or_default()
                        .insert(device.netns);
                }
            }
        }
        Self { host, namespaces }
    }

    /// To whom an address belongs: to the pod or container (or what runs there) whose interface has it, else as files and rules tell.
    /// `None` where several namespaces have it, and where nothing but the place is known.
    #[must_use]
    pub fn owner(&self, address: IpAddr) -> Option<String> {
        self.among(address, &[])
    }

    /// The same beside these other addresses of a flow: what several services lead to is told as the endpoint of the one that was
    /// asked.
    #[must_use]
    pub fn among(&self, address: IpAddr, others: &[IpAddr]) -> Option<String> {
        let mut having = self.namespaces.get(&address).into_iter().flatten();
        match (having.next(), having.next()) {
            (Some(_), Some(_)) => None,
            (Some(only), None) => match self.host.workload(*only) {
                Some(workload) => Some(workload.to_owned()),
                None => self.told(address, others),
            },
            (None, _) => self.told(address, others),
        }
    }

    fn told(&self, address: IpAddr, others: &[IpAddr]) -> Option<String> {
        let owners = self.host.owners.get(&address)?;
        let best = owners.first()?;
        let alike: Vec<&Owner> = owners.iter().filter(|o| o.kind == best.kind).collect();
        if alike.len() < 2 {
            return Some(best.to_string());
        }
        let asked = others
            .iter()
            .filter_map(|other| self.host.owners.get(other))
            .flatten();
        let asked = asked.filter(|other| other.kind == OwnerKind::Service);
        let services: BTreeSet<&str> = asked.map(|service| service.name.as_str()).collect();
        let meant = alike
            .iter()
            .find(|own| services.contains(own.name.as_str()));
        Some(match meant {
            Some(one) => one.to_string(),
            None => format!("endpoint of {} services", alike.len()),
        })
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test ends where it fails")]
mod tests {
    use super::*;
    use crate::host::facts::{AddressOwner, Fact, InterfaceAddress, Namespace, Owner, OwnerKind};
    use crate::model::{Device, IfIndex, KtimeNs};

    fn host(places: &[(u32, &str, &str)], owners: &[(&str, OwnerKind, &str)]) -> Host {
        let mut host = Host::default();
        for (number, name, address) in places {
            let netns = NetNs(*number);
            let namespace = Namespace {
                netns,
                name: (*name).to_owned(),
                process: None,
                path: None,
                node: None,
            };
            let device = Device {
                netns,
                ifindex: IfIndex(2),
            };
            let own = InterfaceAddress {
                address: address.parse().unwrap(),
                prefix: 24,
                tentative: false,
                dad_failed: false,
                deprecated: false,
                secondary: false,
                scope: 0,
            };
            host.apply(KtimeNs(0), Fact::Namespace(namespace));
            host.apply(KtimeNs(0), Fact::Addresses(device, vec![own]));
        }
        for (address, kind, name) in owners {
            let owner = AddressOwner {
                address: address.parse().unwrap(),
                owner: Owner {
                    kind: *kind,
                    name: (*name).to_owned(),
                    node: None,
                },
            };
            host.apply(KtimeNs(0), Fact::Owners(vec![owner]));
        }
        host
    }

    #[test]
    fn interfaces_say_more_than_files_and_files_more_than_rules() {
        let host = host(
            &[
                (1, "pod shop/cart", "10.244.1.7"),
                (2, "blue", "10.0.0.1"),
                (5, "red", "10.0.0.2"),
                (3, "container web", "172.17.0.2"),
                (4, "container db", "172.17.0.2"),
            ],
            &[
                ("10.244.1.7", OwnerKind::Pod, "shop/old"),
                ("10.244.2.9", OwnerKind::Pod, "shop/db-0"),
                ("10.244.2.9", OwnerKind::Endpoint, "shop/db"),
                ("10.96.3.7", OwnerKind::Service, "shop/db"),
                ("10.244.2.8", OwnerKind::Endpoint, "shop/db"),
                ("10.244.2.8", OwnerKind::Endpoint, "shop/db-read"),
                ("10.0.0.1", OwnerKind::HostName, "blue.example"),
                ("192.0.2.1", OwnerKind::HostName, "gw.example"),
            ],
        );
        let owners = Owners::of(&host);
        let owner = |address: &str| owners.owner(address.parse().unwrap());
        assert_eq!(owner("10.244.1.7").unwrap(), "pod shop/cart");
        assert_eq!(owner("10.244.2.9").unwrap(), "pod shop/db-0");
        assert_eq!(owner("10.96.3.7").unwrap(), "service shop/db");
        assert_eq!(owner("192.0.2.1").unwrap(), "gw.example");
        assert_eq!(owner("10.244.2.8").unwrap(), "endpoint of 2 services");
        let asked = ["10.96.3.7".parse().unwrap()];
        let among = owners.among("10.244.2.8".parse().unwrap(), &asked);
        assert_eq!(among.unwrap(), "endpoint of service shop/db");
        // its place says `blue`
        assert_eq!(owner("10.0.0.1").unwrap(), "blue.example");
        assert_eq!(owner("10.0.0.2"), None);
        // of which of the two it is nothing tells
        assert_eq!(owner("172.17.0.2"), None);
    }

    #[test]
    fn an_address_still_belongs_to_what_ended() {
        let mut host = host(&[(1, "pod shop/db-0", "10.244.1.7")], &[]);
        let device = Device {
            netns: NetNs(1),
            ifindex: IfIndex(2),
        };
        host.apply(KtimeNs(1), Fact::Addresses(device, Vec::new()));
        host.apply(KtimeNs(1), Fact::NamespaceGone(NetNs(1)));
        let owner = Owners::of(&host).owner("10.244.1.7".parse().unwrap());
        assert_eq!(owner.unwrap(), "pod shop/db-0");
    }
}
