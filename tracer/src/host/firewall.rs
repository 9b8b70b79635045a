//! Base chains of the packet filters of a namespace, read-only: nftables (iptables-nft included) and legacy
//! iptables.
//!
//! Nothing is loaded by looking: a filter that the kernel has not in use is not asked, since asking would bring its
//! module in and change the machine.

mod legacy;
mod nftables;

use super::Unreadable;
use super::facts::BaseChain;

/// What netfilter calls the hooks of IP by number (NF_INET_* of linux/netfilter.h), as the report writes them.
const IP_HOOKS: [&str; 6] = [
    "PREROUTING",
    "INPUT",
    "FORWARD",
    "OUTPUT",
    "POSTROUTING",
    "INGRESS",
];

/// All base chains of the calling thread's namespace, and what could not be read.
pub(super) fn base_chains() -> (Vec<BaseChain>, Vec<Unreadable>) {
    let mut chains = Vec::new();
    let mut missing = Vec::new();
    let mut take = |what: &str, read: std::io::Result<Vec<BaseChain>>| match read {
        Ok(read) => chains.extend(read),
        Err(error) => missing.push(Unreadable {
            what: what.into(),
            why: error.to_string(),
        }),
    };
    take("nftables base chains", nftables::base_chains());
    take("iptables-legacy chains", legacy::base_chains(&legacy::V4));
    take("ip6tables-legacy chains", legacy::base_chains(&legacy::V6));
    (chains, missing)
}
