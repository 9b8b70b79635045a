//! linux/if.h and linux/netdevice.h: flags and states of interfaces.

/// IFF_UP: administratively up.
pub const IFF_UP: u32 = libc::IFF_UP.cast_unsigned();
/// IFF_NOARP: takes no part in ARP.
pub const IFF_NOARP: u32 = libc::IFF_NOARP.cast_unsigned();
/// IFF_LOWER_UP: the driver has a carrier.
pub const IFF_LOWER_UP: u32 = libc::IFF_LOWER_UP.cast_unsigned();
/// `__LINK_STATE_NOCARRIER` of net_device.state (enum netdev_state_t: the third bit since 2.6).
pub const LINK_STATE_NOCARRIER: u32 = 1 << 2;
