//! linux/rtnetlink.h: messages, tables and types of routes, queueing disciplines and filters.

pub use libc::{
    RTM_DELQDISC, RTM_DELTFILTER, RTM_F_CLONED, RTM_GETQDISC, RTM_GETTFILTER, RTM_NEWQDISC,
    RTM_NEWTFILTER, TCA_KIND, TCA_OPTIONS,
};

/// Table `default`.
pub const RT_TABLE_DEFAULT: u32 = libc::RT_TABLE_DEFAULT as u32;
/// Table `main`.
pub const RT_TABLE_MAIN: u32 = libc::RT_TABLE_MAIN as u32;
/// Table `local`: its misses are part of every lookup.
pub const RT_TABLE_LOCAL: u32 = libc::RT_TABLE_LOCAL as u32;

/// The gateway, of another address family than the route.
pub const RTA_VIA: u16 = 18;

/// `rtm_type` by number (RTN_*), as ip-route(8) calls them.
pub const ROUTE_TYPES: [&str; 12] = [
    "unspecified",
    "unicast",
    "local",
    "broadcast",
    "anycast",
    "multicast",
    "blackhole",
    "unreachable",
    "prohibit",
    "throw",
    "nat",
    "xresolve",
];
