//! What a link's message tells of tunnels (below IFLA_INFO_DATA).

use std::net::IpAddr;

use super::layer2::is_set;
use crate::host::facts::{TunnelLink, VxlanLink};
use crate::host::netlink::{address_of, attributes, be32_of, u16_of, u32_of};
use crate::uapi::if_link::{
    IFLA_GENEVE_COLLECT_METADATA, IFLA_GENEVE_ID, IFLA_GENEVE_PORT, IFLA_GENEVE_REMOTE,
    IFLA_GENEVE_REMOTE6, IFLA_GENEVE_TTL, IFLA_GENEVE_TTL_INHERIT,
};
use crate::uapi::if_tunnel::{
    GRE_KEY, IFLA_GRE_COLLECT_METADATA, IFLA_GRE_ENCAP_DPORT, IFLA_GRE_ENCAP_TYPE, IFLA_GRE_FWMARK,
    IFLA_GRE_IFLAGS, IFLA_GRE_IKEY, IFLA_GRE_LOCAL, IFLA_GRE_OFLAGS, IFLA_GRE_OKEY,
    IFLA_GRE_REMOTE, IFLA_GRE_TTL, IFLA_IPTUN_COLLECT_METADATA, IFLA_IPTUN_ENCAP_DPORT,
    IFLA_IPTUN_ENCAP_TYPE, IFLA_IPTUN_FWMARK, IFLA_IPTUN_LOCAL, IFLA_IPTUN_PROTO,
    IFLA_IPTUN_REMOTE, IFLA_IPTUN_TTL, TUNNEL_ENCAP_NONE,
};

// Of linux/if_link.h.
const IFLA_VXLAN_ID: u16 = 1;
const IFLA_VXLAN_GROUP: u16 = 2;
const IFLA_VXLAN_LOCAL: u16 = 4;
const IFLA_VXLAN_TTL: u16 = 5;
const IFLA_VXLAN_LEARNING: u16 = 7;
const IFLA_VXLAN_PROXY: u16 = 11;
const IFLA_VXLAN_PORT: u16 = 15;
const IFLA_VXLAN_GROUP6: u16 = 16;
const IFLA_VXLAN_LOCAL6: u16 = 17;
const IFLA_VXLAN_UDP_ZERO_CSUM6_TX: u16 = 19;
const IFLA_VXLAN_UDP_ZERO_CSUM6_RX: u16 = 20;
const IFLA_VXLAN_COLLECT_METADATA: u16 = 25;
const IFLA_VXLAN_TTL_INHERIT: u16 = 28;
const IFLA_VXLAN_DF: u16 = 29;

pub(super) fn vxlan_of(data: &[u8]) -> VxlanLink {
    let mut vxlan = VxlanLink {
        vni: 0,
        port: 0,
        remote: None,
        local: None,
        learning: false,
        df: 0,
        proxy: false,
        external: false,
        ttl: None,
        no_checksum6: false,
        takes_no_checksum6: false,
    };
    let mut inherited = false;
    for (kind, value) in attributes(data) {
        match kind {
            IFLA_VXLAN_ID => vxlan.vni = u32_of(value).unwrap_or_default(),
            IFLA_VXLAN_PORT => vxlan.port = port_of(value),
            IFLA_VXLAN_GROUP | IFLA_VXLAN_GROUP6 => vxlan.remote = address_of(value),
            IFLA_VXLAN_LOCAL | IFLA_VXLAN_LOCAL6 => vxlan.local = address_of(value),
            IFLA_VXLAN_TTL => vxlan.ttl = ttl_of(value),
            IFLA_VXLAN_TTL_INHERIT => inherited = is_set(value),
            IFLA_VXLAN_LEARNING => vxlan.learning = is_set(value),
            IFLA_VXLAN_PROXY => vxlan.proxy = is_set(value),
            IFLA_VXLAN_UDP_ZERO_CSUM6_TX => vxlan.no_checksum6 = is_set(value),
            IFLA_VXLAN_UDP_ZERO_CSUM6_RX => vxlan.takes_no_checksum6 = is_set(value),
            IFLA_VXLAN_COLLECT_METADATA => vxlan.external = is_set(value),
            IFLA_VXLAN_DF => vxlan.df = value.first().copied().unwrap_or_default(),
            _ => {}
        }
    }
    vxlan.ttl = vxlan.ttl.filter(|_| !inherited);
    vxlan
}

/// The settings of a kind of tunnel that has one remote end; `None` for other kinds of devices.
pub(super) fn tunnel_of(kind: &str, data: &[u8]) -> Option<TunnelLink> {
    match kind {
        "gre" | "gretap" | "ip6gre" | "ip6gretap" => Some(gre_of(data)),
        "ipip" | "sit" | "ip6tnl" => Some(ip_in_ip_of(data)),
        "geneve" => Some(geneve_of(data)),
        _ => None,
    }
}

fn gre_of(data: &[u8]) -> TunnelLink {
    let mut tunnel = TunnelLink::default();
    let (mut input, mut output) = (false, false);
    let mut encapsulated = false;
    let has_key = |value: &[u8]| u16_of(value).is_some_and(|flags| flags.to_be() & GRE_KEY != 0);
    for (kind, value) in attributes(data) {
        match kind {
            IFLA_GRE_LOCAL => tunnel.local = end_of(value),
            IFLA_GRE_REMOTE => tunnel.remote = end_of(value),
            IFLA_GRE_TTL => tunnel.ttl = ttl_of(value),
            IFLA_GRE_IFLAGS => input = has_key(value),
            IFLA_GRE_OFLAGS => output = has_key(value),
            IFLA_GRE_IKEY => tunnel.input_key = be32_of(value),
            IFLA_GRE_OKEY => tunnel.output_key = be32_of(value),
            IFLA_GRE_ENCAP_TYPE => encapsulated = u16_of(value) != Some(TUNNEL_ENCAP_NONE),
            IFLA_GRE_ENCAP_DPORT => tunnel.port = port_of(value),
            IFLA_GRE_FWMARK => tunnel.mark = u32_of(value).unwrap_or_default(),
            IFLA_GRE_COLLECT_METADATA => tunnel.external = true,
            _ => {}
        }
    }
    // Both keys are told of every tunnel, as zero where none is used.
    tunnel.input_key = tunnel.input_key.filter(|_| input);
    tunnel.output_key = tunnel.output_key.filter(|_| output);
    if !encapsulated {
        tunnel.port = 0;
    }
    tunnel
}

fn ip_in_ip_of(data: &[u8]) -> TunnelLink {
    let mut tunnel = TunnelLink::default();
    let mut encapsulated = false;
    for (kind, value) in attributes(data) {
        match kind {
            IFLA_IPTUN_LOCAL => tunnel.local = end_of(value),
            IFLA_IPTUN_REMOTE => tunnel.remote = end_of(value),
            IFLA_IPTUN_TTL => tunnel.ttl = ttl_of(value),
            IFLA_IPTUN_PROTO => tunnel.inside = value.first().copied().unwrap_or_default(),
            IFLA_IPTUN_ENCAP_TYPE => encapsulated = u16_of(value) != Some(TUNNEL_ENCAP_NONE),
            IFLA_IPTUN_ENCAP_DPORT => tunnel.port = port_of(value),
            IFLA_IPTUN_FWMARK => tunnel.mark = u32_of(value).unwrap_or_default(),
            IFLA_IPTUN_COLLECT_METADATA => tunnel.external = true,
            _ => {}
        }
    }
    if !encapsulated {
        tunnel.port = 0;
    }
    tunnel
}

fn geneve_of(data: &[u8]) -> TunnelLink {
    let mut tunnel = TunnelLink::default();
    let mut inherited = false;
    for (kind, value) in attributes(data) {
        match kind {
            IFLA_GENEVE_ID => {
                tunnel.input_key = u32_of(value);
                tunnel.output_key = tunnel.input_key;
            }
            IFLA_GENEVE_REMOTE | IFLA_GENEVE_REMOTE6 => tunnel.remote = end_of(value),
            IFLA_GENEVE_TTL => tunnel.ttl = ttl_of(value),
            IFLA_GENEVE_TTL_INHERIT => inherited = is_set(value),
            IFLA_GENEVE_PORT => tunnel.port = port_of(value),
            IFLA_GENEVE_COLLECT_METADATA => tunnel.external = true,
            _ => {}
        }
    }
    tunnel.ttl = tunnel.ttl.filter(|_| !inherited);
    tunnel
}

/// An end of a tunnel; the unspecified address stands for any.
fn end_of(value: &[u8]) -> Option<IpAddr> {
    address_of(value).filter(|end| !end.is_unspecified())
}

/// Zero stands for what the kernel chooses.
fn ttl_of(value: &[u8]) -> Option<u8> {
    value.first().copied().filter(|ttl| *ttl != 0)
}

fn port_of(value: &[u8]) -> u16 {
    u16_of(value).map_or(0, u16::from_be)
}
