//! Base chains of nf_tables and the rules below them, by its netlink interface (linux/netfilter/nf_tables.h).

mod expression;
mod rules;
mod sets;
mod verdict;

use std::io;

use netlink_sys::protocols::NETLINK_NETFILTER;

use super::rules::stops;
use super::words::Dialect;
use super::{IP_HOOKS, in_use};
use crate::host::facts::{BaseChain, FilterEngine};
use crate::host::netlink::{Message, Netlink, Request, attributes, be32_of, text_of};

const NFNL_SUBSYS_NFTABLES: u16 = 10;
const NFT_MSG_GETCHAIN: u16 = 4;
const NFTA_CHAIN_TABLE: u16 = 1;
const NFTA_CHAIN_NAME: u16 = 3;
const NFTA_CHAIN_HOOK: u16 = 4;
const NFTA_CHAIN_POLICY: u16 = 5;
const NFTA_CHAIN_USE: u16 = 6;
const NFTA_CHAIN_COUNTERS: u16 = 8;
const NFTA_COUNTER_PACKETS: u16 = 2;
const NFTA_HOOK_HOOKNUM: u16 = 1;
const NFTA_HOOK_PRIORITY: u16 = 2;
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

/// All base chains of the calling thread's namespace.
pub(super) fn base_chains() -> io::Result<Vec<BaseChain>> {
    if !in_use("nf_tables") {
        return Ok(Vec::new());
    }
    let mut socket = Netlink::open(NETLINK_NETFILTER)?;
    // struct nfgenmsg: family (0: all), version, resource (2)
    let request = Request::all(NFNL_SUBSYS_NFTABLES << 8 | NFT_MSG_GETCHAIN, &[0; 4]);
    let mut chains = socket.ask(&request, chain_of)?;
    if chains.is_empty() {
        return Ok(chains);
    }
    let tables = rules::read(&mut socket, NFNL_SUBSYS_NFTABLES)?;
    for chain in &mut chains {
        let family = FAMILIES
            .iter()
            .find(|(_, name, _)| *name == chain.family)
            .map(|(number, ..)| *number);
        let Some(table) = family.and_then(|f| tables.get(&(f, chain.table.clone()))) else {
            continue;
        };
        let dialect = if chain.is_iptables() {
            Dialect::Iptables
        } else {
            Dialect::Nft
        };
        (chain.stops, chain.more_stops) = stops(table, &chain.chain, dialect);
    }
    Ok(chains)
}

/// Reads NFT_MSG_NEWCHAIN; `None` for chains that are not base chains.
fn chain_of(message: Message<'_>) -> Option<BaseChain> {
    let (header, rest) = message.payload.split_first_chunk::<4>()?;
    let [number, ..] = *header;
    let known = FAMILIES.iter().find(|(family, ..)| *family == number);
    let mut chain = BaseChain {
        engine: FilterEngine::Nftables,
        family: known.map_or_else(|| format!("family {number}"), |(_, name, _)| (*name).into()),
        table: String::new(),
        chain: String::new(),
        hook: String::new(),
        priority: 0,
        policy_drop: false,
        rules: None,
        policy_packets: None,
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
    is_base.then_some(chain)
}

fn read_hook(hook: &[u8], names: &[&str], chain: &mut BaseChain) {
    for (kind, value) in attributes(hook) {
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
        chain_of(messages(bytes).next().unwrap())
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
