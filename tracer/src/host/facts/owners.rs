//! Facts of names: to whom addresses belong.

use std::fmt;
use std::net::IpAddr;

use serde::{Deserialize, Serialize};

/// An address and whose it is.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct AddressOwner {
    /// The address.
    pub address: IpAddr,
    /// Whose.
    pub owner: Owner,
}

/// A pod, a container, a service … by name.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Owner {
    /// What it is.
    pub kind: OwnerKind,
    /// Its name; of pods and services with their Kubernetes namespace: `shop/db`.
    pub name: String,
}

/// What owns an address, those that say more of it first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum OwnerKind {
    /// A pod of Kubernetes, or of Podman.
    Pod,
    /// A container.
    Container,
    /// A service of Kubernetes.
    Service,
    /// What a service of Kubernetes leads to.
    Endpoint,
    /// A name in /etc/hosts.
    HostName,
}

impl OwnerKind {
    /// What stands before the name.
    #[must_use]
    pub fn words(self) -> &'static str {
        match self {
            Self::Pod => "pod ",
            Self::Container => "container ",
            Self::Service => "service ",
            Self::Endpoint => "endpoint of service ",
            Self::HostName => "",
        }
    }
}

/// `pod shop/cart-5f6d`.
impl fmt::Display for Owner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}", self.kind.words(), self.name)
    }
}
