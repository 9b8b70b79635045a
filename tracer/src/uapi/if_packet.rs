//! linux/if_packet.h: to whom a frame is addressed (skb->pkt_type).

/// To this host.
pub const HOST: u8 = 0;
/// To all on the link.
pub const BROADCAST: u8 = 1;
/// To a group on the link.
pub const MULTICAST: u8 = 2;
/// To another host.
pub const OTHERHOST: u8 = 3;
/// The copy that this host gets of what it sends to many.
pub const LOOPBACK: u8 = 5;
