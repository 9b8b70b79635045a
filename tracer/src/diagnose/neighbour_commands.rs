//! Rules that let neighbours find each other through a packet filter. Of ARP what comes from one machine, or goes to it, is
//! let pass; of IPv6 all solicitations and advertisements on the interface, for those of one neighbour come from several
//! addresses, and go to groups and to single ones.

use std::net::IpAddr;

use crate::host::Host;
use crate::host::facts::BaseChain;
use crate::model::{Proto, Transport};
use crate::network::neighbour::filtered::AtHook;

use super::chain_commands::{AtHead, at_head, iptables, is_arptables, nft_word};
use super::remedy::Shell;

/// The types of ICMPv6 as nft(8) calls them.
const ND_OF_NFT: &str = "{ nd-neighbor-solicit, nd-neighbor-advert }";
/// The same as ip6tables(8) does, which takes one in a rule.
const ND_OF_IPTABLES: [&str; 2] = ["neighbour-solicitation", "neighbour-advertisement"];

/// How questions for neighbours and their answers are let pass at the head of a base chain, on the interface where this one
/// was stopped. Empty where no rule can say which are meant.
#[must_use]
pub fn let_pass(host: &Host, base: &BaseChain, at: &AtHook<'_>) -> Vec<AtHead> {
    let shell = Shell::of(host, Some(at.link.device.netns));
    let name = at.link.name.as_str();
    let (short, long) = match at.incoming {
        true => ("-i", "iifname"),
        false => ("-o", "oifname"),
    };
    let is_arp = at.packet.tuple.is_some_and(|t| t.proto == Proto::Arp);
    let rules: Vec<Vec<String>> = if is_arp && is_arptables(base) {
        let rule = |[option, peer]: [String; 2]| {
            let device = [short, name].map(str::to_owned);
            let accept = ["-j", "ACCEPT"].map(str::to_owned);
            [&device[..], &[option, peer], &accept].concat()
        };
        by_arptables(at).map(rule).into_iter().collect()
    } else if is_arp {
        let rule = |[side, kind, peer]: [String; 3]| {
            let device = [long.to_owned(), nft_word(name)];
            let arp = ["arp".to_owned(), side, kind, peer, "accept".to_owned()];
            [&device[..], &arp].concat()
        };
        by_nft(at).map(rule).into_iter().collect()
    } else if iptables(base).is_some() {
        let rule = |kind| {
            let what = ["-p", "icmpv6", "--icmpv6-type", kind, "-j", "ACCEPT"];
            [&[short, name][..], &what]
                .concat()
                .into_iter()
                .map(str::to_owned)
                .collect()
        };
        ND_OF_IPTABLES.map(rule).into()
    } else {
        let rule = [long, &nft_word(name), "icmpv6", "type", ND_OF_NFT, "accept"];
        vec![rule.map(str::to_owned).into()]
    };
    let chain = (base, base.chain.as_str());
    rules
        .iter()
        .map(|rule| at_head(chain, rule, &shell))
        .collect()
}

/// The machine from which ARP comes, or to which it goes; `None` where its address is not known.
fn peer(at: &AtHook<'_>) -> Option<IpAddr> {
    let tuple = at.packet.tuple?;
    let peer = if at.incoming { tuple.src } else { tuple.dst };
    (!peer.is_unspecified()).then_some(peer)
}

/// The MAC of the one from which ARP comes.
fn sender(at: &AtHook<'_>) -> Option<String> {
    let Transport::Neighbor { mac, .. } = at.packet.transport else {
        return None;
    };
    Some(mac.filter(|_| at.incoming)?.to_string())
}

fn by_arptables(at: &AtHook<'_>) -> Option<[String; 2]> {
    let side = if at.incoming { "-s" } else { "-d" };
    let address = peer(at).map(|peer| [side.to_owned(), peer.to_string()]);
    address.or_else(|| Some(["--source-mac".to_owned(), sender(at)?]))
}

fn by_nft(at: &AtHook<'_>) -> Option<[String; 3]> {
    let side = if at.incoming { "saddr" } else { "daddr" }.to_owned();
    match peer(at) {
        Some(peer) => Some([side, "ip".to_owned(), peer.to_string()]),
        None => Some([side, "ether".to_owned(), sender(at)?]),
    }
}
