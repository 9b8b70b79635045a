//! Facts of tunnel devices.

use std::net::IpAddr;

use serde::{Deserialize, Serialize};

/// A VXLAN device's settings.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct VxlanLink {
    /// VNI.
    pub vni: u32,
    /// UDP destination port.
    pub port: u16,
    /// Default remote.
    pub remote: Option<IpAddr>,
    /// Source address of what it sends.
    #[serde(default)]
    pub local: Option<IpAddr>,
    /// Whether it learns remotes from what it gets.
    #[serde(default)]
    pub learning: bool,
    /// Forbids fragments of what it sends: 0 no, 1 yes, 2 as the packet inside.
    #[serde(default)]
    pub df: u8,
    /// Answers questions for neighbours from its own table, and floods none.
    #[serde(default)]
    pub proxy: bool,
    /// VNI and remote end come with each packet, from a route or a program.
    #[serde(default)]
    pub external: bool,
    /// TTL or hop limit of what it sends; `None`: the kernel's default, or that of the packet inside.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ttl: Option<u8>,
    /// Sends its outer packets over IPv6 without a checksum of UDP.
    #[serde(default)]
    pub no_checksum6: bool,
    /// Takes outer packets over IPv6 without one.
    #[serde(default)]
    pub takes_no_checksum6: bool,
}

/// Settings of a device with one remote end: GRE (`gre`, `gretap`, `ip6gre`, `ip6gretap`), IP in IP (`ipip`, `sit`,
/// `ip6tnl`), Geneve. The interface that its packets are bound to is the link's `peer`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct TunnelLink {
    /// Source address of what it sends, and the only address at which it takes packets; `None`: any.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub local: Option<IpAddr>,
    /// The other end; `None`: any, and each packet's next hop says where it goes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub remote: Option<IpAddr>,
    /// GRE key of what it sends, or the VNI of Geneve; `None`: without a key.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub output_key: Option<u32>,
    /// GRE key of what it takes, or the VNI of Geneve; `None`: without a key.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub input_key: Option<u32>,
    /// UDP destination port (Geneve, or FOU and GUE around GRE and IP in IP); zero: straight in IP.
    pub port: u16,
    /// IP in IP: protocol number of the packets inside (4 is IPv4, 41 is IPv6); zero: both.
    pub inside: u8,
    /// Mark with which the outer packet's route is looked up (`fwmark`).
    pub mark: u32,
    /// Key and remote end come with each packet, from a route or a program.
    pub external: bool,
    /// TTL or hop limit of what it sends; `None`: that of the packet inside, for Geneve the kernel's default.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ttl: Option<u8>,
}
