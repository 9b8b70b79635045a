//! net/flow.h: what route lookups share.

/// LOOPBACK_IFINDEX: the number of `lo`, from which lookups of this host itself come.
pub const LOOPBACK_IFINDEX: u32 = 1;
