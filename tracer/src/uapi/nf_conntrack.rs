//! linux/netfilter/nf_conntrack_common.h: what is known of a connection.

/// Packets have been seen in both directions.
pub const IPS_SEEN_REPLY: u32 = 1 << 1;
/// Its first packet has left the host, or come to a socket.
pub const IPS_CONFIRMED: u32 = 1 << 3;
/// Its source is translated.
pub const IPS_SRC_NAT: u32 = 1 << 4;
/// Its destination is translated.
pub const IPS_DST_NAT: u32 = 1 << 5;
/// The rules about its source have been asked.
pub const IPS_SRC_NAT_DONE: u32 = 1 << 7;
/// Those about its destination have.
pub const IPS_DST_NAT_DONE: u32 = 1 << 8;

/// States that rules match, by bit (NF_CT_STATE_BIT; xt_conntrack and nft_ct have the same).
pub const STATE_INVALID: u32 = 1;
/// A connection with packets in both directions, or a reply.
pub const STATE_ESTABLISHED: u32 = 1 << 1;
/// Expected by, or an ICMP error about, another connection.
pub const STATE_RELATED: u32 = 1 << 2;
/// The first packets in one direction.
pub const STATE_NEW: u32 = 1 << 3;
/// Excluded from tracking.
pub const STATE_UNTRACKED: u32 = 1 << 6;
