//! Facts of names: to whom addresses belong.

use std::fmt;
use std::net::IpAddr;

use serde::{Deserialize, Serialize};

use crate::model::NetNs;

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
    /// The node on which a pod runs, where the Kubernetes API told of it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub node: Option<String>,
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
    /// A node of Kubernetes.
    Node,
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
            Self::Node => "node ",
            Self::Endpoint => "endpoint of service ",
            Self::HostName => "",
        }
    }
}

/// `pod shop/cart-5f6d`, `pod shop/db-0 on node2`.
impl fmt::Display for Owner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}", self.kind.words(), self.name)?;
        match &self.node {
            Some(node) => write!(f, " on {node}"),
            None => Ok(()),
        }
    }
}

/// To what a process belongs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProcessOwner {
    /// The namespace in which it sends or reads.
    pub netns: NetNs,
    /// Its id.
    pub pid: u32,
    /// The name of its program, by which it is told from another with this id: that of a trace from within another PID namespace.
    pub comm: String,
    /// Names of the container and of its pod; `None` where it is in none that is known.
    pub container: Option<ContainerName>,
    /// Unit of systemd, of a process in no container.
    pub unit: Option<String>,
}

/// A container's name: at least one part of it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ContainerName {
    /// Its own.
    pub name: Option<String>,
    /// The pod's: `shop/cart-5f6d`.
    pub pod: Option<String>,
}

/// `container web of pod shop/cart-5f6d`; nothing where nothing is known.
impl fmt::Display for ProcessOwner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let of = |kind: OwnerKind, name: &Option<String>| {
            name.as_ref().map(|name| format!("{}{name}", kind.words()))
        };
        let container = self.container.as_ref();
        let parts = [
            container.and_then(|own| of(OwnerKind::Container, &own.name)),
            container.and_then(|own| of(OwnerKind::Pod, &own.pod)),
            self.unit.as_ref().map(|unit| format!("unit {unit}")),
        ];
        let parts: Vec<String> = parts.into_iter().flatten().collect();
        f.write_str(&parts.join(" of "))
    }
}
