//! Base chains of the packet filters of a namespace and the rules below them, read-only: nftables (iptables-nft
//! included) and legacy iptables.
//!
//! Nothing is loaded by looking: a filter that the kernel has not in use is not asked, since asking would bring its
//! module in and change the machine.

mod legacy;
mod nftables;
mod rules;
mod words;
mod xt;

use std::fs;
use std::io::{BufRead, BufReader};

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

/// Whether this kernel has a module now, or the function that stands for it built in. The first message to an absent one
/// would load it (nfnetlink_rcv_msg, net/netfilter/nfnetlink.c).
pub(super) fn in_use(module: &str, function: &str) -> bool {
    let Ok(modules) = fs::read_to_string("/proc/modules") else {
        // A kernel without modules: nothing can be loaded.
        return true;
    };
    let loaded = modules
        .lines()
        .any(|line| line.split(' ').next() == Some(module));
    // A kernel that has it built in does not list it: then its functions are among the kernel's own.
    loaded || built_in(function)
}

fn built_in(function: &str) -> bool {
    let Ok(symbols) = fs::File::open("/proc/kallsyms") else {
        return false;
    };
    BufReader::new(symbols)
        .lines()
        .map_while(Result::ok)
        .any(|line| line.split(' ').nth(2) == Some(function))
}
