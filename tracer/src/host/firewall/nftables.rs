//! Base chains of nf_tables and the rules below them, by its netlink interface (linux/netfilter/nf_tables.h).

mod drawn;
mod expression;
mod rules;
mod sets;
mod statement;
pub(crate) mod verdict;

use std::collections::HashSet;
use std::io;

use netlink_sys::protocols::NETLINK_NETFILTER;

use super::{IP_HOOKS, in_use};
use crate::host::facts::{BaseChain, Chain, FilterEngine, Missing, Ruleset};
use crate::host::netlink::{
    Message, NFNL_SUBSYS_NFTABLES, Netlink, Request, attributes, be32_of, text_of,
};

const NFT_MSG_GETCHAIN: u16 = 4;
const NFTA_CHAIN_TABLE: u16 = 1;
const NFTA_CHAIN_NAME: u16 = 3;
const NFTA_CHAIN_HOOK: u16 = 4;
const NFTA_CHAIN_POLICY: u16 = 5;
const NFTA_CHAIN_USE: u16 = 6;
const NFTA_CHAIN_TYPE: u16 = 7;
const NFTA_CHAIN_COUNTERS: u16 = 8;
const NFTA_COUNTER_PACKETS: u16 = 2;
const NFTA_HOOK_HOOKNUM: u16 = 1;
const NFTA_HOOK_PRIORITY: u16 = 2;
const NFTA_HOOK_DEV: u16 = 3;
const NFTA_HOOK_DEVS: u16 = 4;
const NF_DROP: u32 = 0;

/// Families (NFPROTO_*) with the names of their hooks by number.
const FAMILIES: [(u8, &str, &[&str]); 6] = [
    (1, "inet", &IP_HOOKS),
    (2, "ip", &IP_HOOKS),
    (3, "arp", &["INPUT", "OUTPUT", "FORWARD"]),
    (5, "netdev", &["INGRESS", "EGRESS"]),
    (7, "bridge", &IP_HOOKS),
    (10, "ip6", &IP_HOOKS),
];

/// How the table begins to be called by which a tracer has rules traced: it decides nothing, and is no part of the host.
pub(crate) const TRACE_TABLE: &str = "tracer-rules-";

/// Whether the calling thread's namespace has base chains of nf_tables.
pub(crate) fn has_chains() -> io::Result<bool> {
    if !in_use("nf_tables") {
        return Ok(false);
    }
    let mut socket = Netlink::open(NETLINK_NETFILTER)?;
    let request = Request::all(NFNL_SUBSYS_NFTABLES << 8 | NFT_MSG_GETCHAIN, &[0; 4]);
    Ok(socket
        .ask(&request, any_chain)?
        .iter()
        .any(|(_, base)| *base))
}

/// All chains, rules and sets of the calling thread's namespace.
pub(super) fn read() -> io::Result<Ruleset> {
    if !in_use("nf_tables") {
        return Ok(Ruleset::default());
    }
    let mut socket = Netlink::open(NETLINK_NETFILTER)?;
    // struct nfgenmsg: family (0: all), version, resource (2)
    let request = Request::all(NFNL_SUBSYS_NFTABLES << 8 | NFT_MSG_GETCHAIN, &[0; 4]);
    let mut chains = socket.ask(&request, any_chain)?;
    chains.retain(|(chain, _)| !chain.table.starts_with(TRACE_TABLE));
    let (base, others): (Vec<_>, Vec<_>) = chains.into_iter().partition(|(_, is_base)| *is_base);
    let base: Vec<_> = base.into_iter().map(|(chain, _)| chain).collect();
    if base.is_empty() {
        return Ok(Ruleset::default());
    }
    let mut all = rules::read(&mut socket, NFNL_SUBSYS_NFTABLES, base)?;
    // Chains without rules are chains too.
    let known: HashSet<_> = all.chains.iter().map(place).collect();
    let empty: Vec<_> = all
        .base
        .iter()
        .chain(others.iter().map(|(chain, _)| chain))
        .map(empty_chain)
        .filter(|chain| !known.contains(&place(chain)))
        .collect();
    all.chains.extend(empty);
    Ok(all)
}

/// Any message, to each reader: what one takes for its own is the kernel's to say.
pub(super) fn foreign(message: Message<'_>) {
    any_chain(message);
    sets::foreign(message);
    rules::foreign(message);
}

fn place(chain: &Chain) -> (String, String, String) {
    (
        chain.family.clone(),
        chain.table.clone(),
        chain.name.clone(),
    )
}

fn empty_chain(chain: &BaseChain) -> Chain {
    Chain {
        engine: chain.engine,
        family: chain.family.clone(),
        table: chain.table.clone(),
        name: chain.chain.clone(),
        rules: Vec::new(),
        missing: Missing::Nothing,
    }
}

/// NFPROTO_* as base chains have it.
pub(crate) fn family_name(number: u8) -> String {
    let known = FAMILIES.iter().find(|(family, ..)| *family == number);
    known.map_or_else(|| format!("family {number}"), |(_, name, _)| (*name).into())
}

/// A chain without rules.
fn engine_chain((family, table): &rules::TableId, name: &str) -> Chain {
    Chain {
        engine: FilterEngine::Nftables,
        family: family_name(*family),
        table: table.clone(),
        name: name.to_owned(),
        rules: Vec::new(),
        missing: Missing::Nothing,
    }
}

/// Reads NFT_MSG_NEWCHAIN; and whether it is a base chain.
fn any_chain(message: Message<'_>) -> Option<(BaseChain, bool)> {
    let (header, rest) = message.payload.split_first_chunk::<4>()?;
    let [number, ..] = *header;
    let known = FAMILIES.iter().find(|(family, ..)| *family == number);
    let mut chain = BaseChain {
        engine: FilterEngine::Nftables,
        family: family_name(number),
        table: String::new(),
        chain: String::new(),
        hook: String::new(),
        priority: 0,
        policy_drop: false,
        rules: None,
        policy_packets: None,
        kind: None,
        devices: Vec::new(),
        stops: Vec::new(),
        more_stops: false,
    };
    let mut is_base = false;
    for (kind, value) in attributes(rest) {
        match kind {
            NFTA_CHAIN_TABLE => chain.table = text_of(value),
            NFTA_CHAIN_NAME => chain.chain = text_of(value),
            NFTA_CHAIN_POLICY => chain.policy_drop = be32_of(value) == Some(NF_DROP),
            // References to a chain: its rules, and jumps to it, of which a base chain has none
            // (nft_verdict_init, net/netfilter/nf_tables_api.c).
            NFTA_CHAIN_TYPE => chain.kind = Some(text_of(value)),
            NFTA_CHAIN_USE => chain.rules = be32_of(value),
            NFTA_CHAIN_COUNTERS => {
                chain.policy_packets = attributes(value)
                    .find(|(kind, _)| *kind == NFTA_COUNTER_PACKETS)
                    .and_then(|(_, packets)| packets.first_chunk())
                    .map(|packets| u64::from_be_bytes(*packets));
            }
            NFTA_CHAIN_HOOK => {
                is_base = true;
                read_hook(value, known.map_or(&[], |(.., hooks)| *hooks), &mut chain);
            }
            _ => {}
        }
    }
    Some((chain, is_base))
}

fn read_hook(hook: &[u8], names: &[&str], chain: &mut BaseChain) {
    for (kind, value) in attributes(hook) {
        match kind {
            NFTA_HOOK_DEV => chain.devices = vec![text_of(value)],
            NFTA_HOOK_DEVS => {
                chain.devices = attributes(value).map(|(_, name)| text_of(name)).collect();
            }
            _ => {}
        }
        match (kind, be32_of(value)) {
            (NFTA_HOOK_HOOKNUM, Some(number)) => {
                let name = usize::try_from(number).ok().and_then(|n| names.get(n));
                chain.hook = name.map_or_else(|| format!("hook {number}"), |n| (*n).into());
            }
            (NFTA_HOOK_PRIORITY, Some(priority)) => chain.priority = priority.cast_signed(),
            _ => {}
        }
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a failed setup fails the test")]
mod tests {
    use super::*;
    use crate::host::netlink::messages;

    fn newchain(family: u8, hook: Option<&[u8]>) -> Vec<u8> {
        let request = Request::one(NFNL_SUBSYS_NFTABLES << 8 | 3, &[family, 0, 0, 0])
            .attribute(NFTA_CHAIN_TABLE, b"filter\0")
            .attribute(NFTA_CHAIN_NAME, b"FORWARD\0")
            .attribute(NFTA_CHAIN_USE, &[0, 0, 0, 2]);
        let request = match hook {
            Some(hook) => request
                .attribute(NFTA_CHAIN_HOOK | 0x8000, hook)
                .attribute(NFTA_CHAIN_POLICY, &[0, 0, 0, 0]),
            None => request,
        };
        request.bytes()
    }

    fn parsed(bytes: &[u8]) -> Option<BaseChain> {
        let (chain, is_base) = any_chain(messages(bytes).next().unwrap())?;
        is_base.then_some(chain)
    }

    #[test]
    fn a_base_chain_tells_hook_priority_and_policy() {
        let hook = [8, 0, 1, 0, 0, 0, 0, 2, 8, 0, 2, 0, 0xff, 0xff, 0xff, 0xf6];
        let chain = parsed(&newchain(2, Some(&hook))).unwrap();
        assert_eq!(
            (chain.family.as_str(), chain.hook.as_str()),
            ("ip", "FORWARD")
        );
        assert_eq!(
            (chain.table.as_str(), chain.chain.as_str()),
            ("filter", "FORWARD")
        );
        assert_eq!(
            (chain.priority, chain.policy_drop, chain.rules),
            (-10, true, Some(2))
        );
        let device = parsed(&newchain(5, Some(&[8, 0, 1, 0, 0, 0, 0, 1]))).unwrap();
        assert_eq!(
            (device.family.as_str(), device.hook.as_str()),
            ("netdev", "EGRESS")
        );
        let strange = parsed(&newchain(99, Some(&[8, 0, 1, 0, 0, 0, 0, 7]))).unwrap();
        assert_eq!(
            (strange.family.as_str(), strange.hook.as_str()),
            ("family 99", "hook 7")
        );
    }

    #[test]
    fn a_chain_without_hook_is_no_base_chain() {
        assert_eq!(parsed(&newchain(2, None)), None);
    }
}
