//! linux/if_link.h, the part below IFLA_LINKINFO, and linux/if_bonding.h.

/// IFLA_GENEVE_ID: the VNI.
pub const IFLA_GENEVE_ID: u16 = 1;
/// IFLA_GENEVE_REMOTE.
pub const IFLA_GENEVE_REMOTE: u16 = 2;
/// IFLA_GENEVE_TTL: zero for the kernel's default.
pub const IFLA_GENEVE_TTL: u16 = 3;
/// IFLA_GENEVE_PORT: big-endian.
pub const IFLA_GENEVE_PORT: u16 = 5;
/// IFLA_GENEVE_COLLECT_METADATA: there or not, without a value.
pub const IFLA_GENEVE_COLLECT_METADATA: u16 = 6;
/// IFLA_GENEVE_REMOTE6.
pub const IFLA_GENEVE_REMOTE6: u16 = 7;
/// IFLA_GENEVE_TTL_INHERIT: that of the packet inside.
pub const IFLA_GENEVE_TTL_INHERIT: u16 = 12;

/// IFLA_BOND_MODE: a place in [`BOND_MODES`].
pub const IFLA_BOND_MODE: u16 = 1;
/// IFLA_BOND_ACTIVE_SLAVE: its number; not there where there is none.
pub const IFLA_BOND_ACTIVE_SLAVE: u16 = 2;
/// IFLA_BOND_SLAVE_STATE: BOND_STATE_*.
pub const IFLA_BOND_SLAVE_STATE: u16 = 1;
/// IFLA_BOND_SLAVE_MII_STATUS: BOND_LINK_*.
pub const IFLA_BOND_SLAVE_MII_STATUS: u16 = 2;
/// BOND_STATE_ACTIVE: the slave carries packets.
pub const BOND_STATE_ACTIVE: u8 = 0;
/// BOND_LINK_UP: the slave's link is up as the bond's monitor finds it.
pub const BOND_LINK_UP: u8 = 0;
/// BOND_MODE_*, as ip-link(8) calls them.
pub const BOND_MODES: [&str; 7] = [
    "balance-rr",
    "active-backup",
    "balance-xor",
    "broadcast",
    "802.3ad",
    "balance-tlb",
    "balance-alb",
];
