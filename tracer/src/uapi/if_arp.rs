//! linux/if_arp.h: kinds of link layers.

pub use libc::{ARPHRD_ETHER, ARPHRD_LOOPBACK};
