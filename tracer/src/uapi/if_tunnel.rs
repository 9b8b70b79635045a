//! linux/if_tunnel.h: attributes of GRE and of IP in IP below IFLA_INFO_DATA, and flags of GRE.

/// IFLA_GRE_IFLAGS: GRE flags of what is taken in, big-endian.
pub const IFLA_GRE_IFLAGS: u16 = 2;
/// IFLA_GRE_OFLAGS: GRE flags of what is sent, big-endian.
pub const IFLA_GRE_OFLAGS: u16 = 3;
/// IFLA_GRE_IKEY: big-endian.
pub const IFLA_GRE_IKEY: u16 = 4;
/// IFLA_GRE_OKEY: big-endian.
pub const IFLA_GRE_OKEY: u16 = 5;
/// IFLA_GRE_LOCAL.
pub const IFLA_GRE_LOCAL: u16 = 6;
/// IFLA_GRE_REMOTE.
pub const IFLA_GRE_REMOTE: u16 = 7;
/// IFLA_GRE_TTL: zero for that of the packet inside.
pub const IFLA_GRE_TTL: u16 = 8;
/// IFLA_GRE_ENCAP_TYPE: TUNNEL_ENCAP_*.
pub const IFLA_GRE_ENCAP_TYPE: u16 = 14;
/// IFLA_GRE_ENCAP_DPORT: big-endian.
pub const IFLA_GRE_ENCAP_DPORT: u16 = 17;
/// IFLA_GRE_COLLECT_METADATA: there or not, without a value.
pub const IFLA_GRE_COLLECT_METADATA: u16 = 18;
/// IFLA_GRE_FWMARK.
pub const IFLA_GRE_FWMARK: u16 = 20;

/// IFLA_IPTUN_LOCAL.
pub const IFLA_IPTUN_LOCAL: u16 = 2;
/// IFLA_IPTUN_REMOTE.
pub const IFLA_IPTUN_REMOTE: u16 = 3;
/// IFLA_IPTUN_TTL: zero for that of the packet inside.
pub const IFLA_IPTUN_TTL: u16 = 4;
/// IFLA_IPTUN_PROTO: protocol of the packets inside.
pub const IFLA_IPTUN_PROTO: u16 = 9;
/// IFLA_IPTUN_ENCAP_TYPE: TUNNEL_ENCAP_*.
pub const IFLA_IPTUN_ENCAP_TYPE: u16 = 15;
/// IFLA_IPTUN_ENCAP_DPORT: big-endian.
pub const IFLA_IPTUN_ENCAP_DPORT: u16 = 18;
/// IFLA_IPTUN_COLLECT_METADATA: there or not, without a value.
pub const IFLA_IPTUN_COLLECT_METADATA: u16 = 19;
/// IFLA_IPTUN_FWMARK.
pub const IFLA_IPTUN_FWMARK: u16 = 20;

/// TUNNEL_ENCAP_NONE: no FOU or GUE around the outer packet.
pub const TUNNEL_ENCAP_NONE: u16 = 0;
/// GRE_KEY: the header has a key (in the host's byte order).
pub const GRE_KEY: u16 = 0x2000;
