//! Replies about packet filters as they come from the kernel, each handed to its reader.

use super::{ipset, legacy, nftables};
use crate::host::netlink::Message;

/// A message of nf_tables or ipset.
pub(in super::super) fn message(message: Message<'_>) {
    nftables::foreign(message);
    ipset::foreign(message.payload);
}

/// A table of iptables-legacy.
pub(in super::super) fn table(bytes: &[u8]) {
    legacy::foreign(bytes);
}
