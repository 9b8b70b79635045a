//! The packet filters of a namespace, read-only: chains, rules and sets of nftables (iptables-nft included), those of legacy
//! iptables, and the ipsets in which rules look.
//!
//! Nothing is loaded by looking: a filter that the kernel has not in use is not asked, since asking would bring its
//! module in and change the machine.

mod bounds;
pub(super) mod foreign;
mod ipset;
mod legacy;
pub(crate) mod nftables;
mod values;
mod words;
mod xt;

pub use words::{element_words, ipset_words, is_nft_name, nft_string};

use std::fs;
use std::sync::LazyLock;

use super::Unreadable;
use super::facts::Ruleset;

/// What netfilter calls the hooks of IP by number (NF_INET_* of linux/netfilter.h), as the report writes them.
const IP_HOOKS: [&str; 6] = [
    "PREROUTING",
    "INPUT",
    "FORWARD",
    "OUTPUT",
    "POSTROUTING",
    "INGRESS",
];

/// All packet filters of the calling thread's namespace, and what could not be read.
pub(super) fn read() -> (Ruleset, Vec<Unreadable>) {
    let mut all = Ruleset::default();
    let mut missing = Vec::new();
    let mut take = |what: &str, read: std::io::Result<Ruleset>| match read {
        Ok(Ruleset { base, chains, sets }) => {
            all.base.extend(base);
            all.chains.extend(chains);
            all.sets.extend(sets);
        }
        Err(error) => missing.push(Unreadable {
            what: what.into(),
            why: error.to_string(),
        }),
    };
    take("nftables base chains", nftables::read());
    take("iptables-legacy chains", legacy::read(&legacy::V4));
    take("ip6tables-legacy chains", legacy::read(&legacy::V6));
    if let Err(error) = ipset::resolve(&mut all) {
        missing.push(Unreadable {
            what: "ipsets".into(),
            why: error.to_string(),
        });
    }
    bounds::apply(&mut all);
    (all, missing)
}

/// Functions that stand for their modules: nf_tables, nf_conntrack_netlink.
const STANDING_FOR: [(&str, &str); 2] = [
    ("nf_tables", "nft_do_chain"),
    ("nf_conntrack_netlink", "ctnetlink_get_conntrack"),
];

/// Modules that the kernel has built in: it does not list them, but their functions are among its own. The list of those
/// is long, and does not change.
static BUILT_IN: LazyLock<Vec<&str>> = LazyLock::new(|| {
    let Ok(symbols) = fs::read("/proc/kallsyms") else {
        return Vec::new();
    };
    let mut found = Vec::new();
    // address, type, name; of a module also its name.
    for line in symbols.split(|byte| *byte == b'\n') {
        let known = STANDING_FOR
            .iter()
            .find(|(_, function)| line.ends_with(function.as_bytes()));
        if let Some((module, function)) = known
            && line.split(|byte| *byte == b' ').nth(2) == Some(function.as_bytes())
        {
            found.push(*module);
        }
    }
    found
});

/// Whether this kernel has a module now. The first message to an absent one would load it (nfnetlink_rcv_msg,
/// net/netfilter/nfnetlink.c).
pub(super) fn in_use(module: &str) -> bool {
    let Ok(modules) = fs::read_to_string("/proc/modules") else {
        // A kernel without modules: nothing can be loaded.
        return true;
    };
    let loaded = modules
        .lines()
        .any(|line| line.split(' ').next() == Some(module));
    loaded || BUILT_IN.contains(&module)
}
