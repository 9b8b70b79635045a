//! Which hook of netfilter a stack stands in. The frame nearest to the freeing function decides: a packet that is
//! routed out of a bridge carries the frames of both.

use tracer_common::tuple::FAMILY_V4;

use crate::model::Frame;

/// A hook, and what the stack tells of its family.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Hook {
    /// `where.hook`.
    pub name: &'static str,
    /// Hook of base chains as netfilter names it.
    pub chain_hook: &'static str,
    /// The stack shows a chain of the bridge family.
    pub bridge: bool,
    /// A chain of IP was called for a packet that a bridge carries (br_netfilter).
    pub bridged: bool,
}

struct Row {
    frame: &'static str,
    name: &'static str,
    chain_hook: &'static str,
}

const fn row(frame: &'static str, name: &'static str) -> Row {
    Row {
        frame,
        name,
        chain_hook: name,
    }
}

/// A hook of ARP.
const fn arp(frame: &'static str, chain_hook: &'static str) -> Row {
    Row {
        frame,
        name: "ARP",
        chain_hook,
    }
}

/// Callers of the hooks by name (Linux 5.10 to 7.2); `.part.0` and its like are gone already.
const ROWS: &[Row] = &[
    row("ip_rcv", "PREROUTING"),
    row("ip_list_rcv", "PREROUTING"),
    row("ip_sublist_rcv", "PREROUTING"),
    row("ipv6_rcv", "PREROUTING"),
    row("ipv6_list_rcv", "PREROUTING"),
    row("ip6_sublist_rcv", "PREROUTING"),
    row("ip_local_deliver", "INPUT"),
    row("ip6_input", "INPUT"),
    row("ip_forward", "FORWARD"),
    row("ip6_forward", "FORWARD"),
    row("__ip_local_out", "OUTPUT"),
    row("__ip6_local_out", "OUTPUT"),
    row("ip6_xmit", "OUTPUT"),
    row("rawv6_send_hdrinc", "OUTPUT"),
    row("raw_send_hdrinc", "OUTPUT"),
    row("ndisc_send_skb", "OUTPUT"),
    row("ip_output", "POSTROUTING"),
    row("ip_mc_output", "POSTROUTING"),
    row("ip6_output", "POSTROUTING"),
    row("__netif_receive_skb_core", "INGRESS"),
    row("__dev_queue_xmit", "EGRESS"),
    arp("arp_rcv", "INPUT"),
    arp("arp_xmit", "OUTPUT"),
    arp("arp_send_dst", "OUTPUT"),
    // IP chains called for bridged packets by br_netfilter.
    row("br_nf_pre_routing", "PREROUTING"),
    row("br_nf_pre_routing_ipv6", "PREROUTING"),
    row("br_nf_forward_ip", "FORWARD"),
    arp("br_nf_forward_arp", "FORWARD"),
    row("br_nf_forward", "FORWARD"),
    row("br_nf_post_routing", "POSTROUTING"),
    // Chains of the bridge family itself.
    Row {
        frame: "br_handle_frame",
        name: "BRIDGE-PREROUTING",
        chain_hook: "PREROUTING",
    },
    Row {
        frame: "br_pass_frame_up",
        name: "BRIDGE-INPUT",
        chain_hook: "INPUT",
    },
    Row {
        frame: "__br_forward",
        name: "BRIDGE-FORWARD",
        chain_hook: "FORWARD",
    },
    Row {
        frame: "br_forward_finish",
        name: "BRIDGE-POSTROUTING",
        chain_hook: "POSTROUTING",
    },
];

/// The hook, from a drop's stack (nearest caller first).
#[must_use]
pub fn of(stack: &[Frame]) -> Option<Hook> {
    let names = || stack.iter().filter_map(|f| f.name.as_deref());
    let (at, row) = names()
        .enumerate()
        .find_map(|(i, name)| ROWS.iter().find(|r| r.frame == name).map(|r| (i, r)))?;
    // __br_forward is reached from the bridge device itself by what this host sends.
    let sent =
        row.frame == "__br_forward" && names().skip(at + 1).take(2).any(|f| f == "br_dev_xmit");
    Some(Hook {
        name: if sent { "BRIDGE-OUTPUT" } else { row.name },
        chain_hook: if sent { "OUTPUT" } else { row.chain_hook },
        bridge: row.name.starts_with("BRIDGE-"),
        bridged: row.frame.starts_with("br_nf_"),
    })
}

/// Families of nftables whose chains see packets at this hook.
#[must_use]
pub fn families(hook: Hook, family: u8) -> &'static [&'static str] {
    match hook.name {
        "INGRESS" => &["netdev", "inet"],
        "EGRESS" => &["netdev"],
        "ARP" => &["arp"],
        _ if hook.bridge => &["bridge"],
        _ if family == FAMILY_V4 => &["ip", "inet"],
        _ => &["ip6", "inet"],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hook(stack: &str) -> Option<&'static str> {
        let frames: Vec<_> = stack
            .split('<')
            .map(|name| Frame {
                addr: 0,
                name: Some(name.to_owned()),
            })
            .collect();
        of(&frames).map(|h| h.name)
    }

    #[test]
    fn stacks_as_linux_6_18_showed_them() {
        for (stack, expected) in [
            (
                "nft_do_chain_ipv4<nf_hook_slow<ip_forward<__netif_receive_skb_one_core",
                "FORWARD",
            ),
            ("ip_forward<__netif_receive_skb_one_core", "FORWARD"),
            ("nft_do_chain_ipv4<nf_hook_slow<ip_local_deliver", "INPUT"),
            (
                "nft_do_chain_ipv4<nf_hook_slow<__ip_local_out<ip_push_pending_frames",
                "OUTPUT",
            ),
            ("nf_hook_slow<ip_rcv", "PREROUTING"),
            (
                "nft_nat_do_chain<nf_nat_inet_fn<nf_nat_ipv4_out<nf_hook_slow<ip_output",
                "POSTROUTING",
            ),
            ("nft_do_chain_ipv6<nf_hook_slow<ip6_input", "INPUT"),
            (
                "nft_do_chain_netdev<nf_hook_slow<__netif_receive_skb_core",
                "INGRESS",
            ),
            (
                "nft_do_chain_netdev<nf_hook_slow<__dev_queue_xmit",
                "EGRESS",
            ),
            (
                "nft_do_chain_bridge<br_handle_frame<__netif_receive_skb_core",
                "BRIDGE-PREROUTING",
            ),
            (
                "nft_do_chain_bridge<nf_hook_slow<__br_forward<br_handle_frame_finish",
                "BRIDGE-FORWARD",
            ),
            (
                "nft_do_chain_bridge<nf_hook_slow<__br_forward<br_dev_xmit<dev_hard_start_xmit",
                "BRIDGE-OUTPUT",
            ),
            (
                "nft_do_chain_bridge<nf_hook_slow<br_forward_finish<br_nf_hook_thresh",
                "BRIDGE-POSTROUTING",
            ),
            (
                "nft_do_chain_bridge<nf_hook_slow<br_pass_frame_up<br_handle_frame_finish",
                "BRIDGE-INPUT",
            ),
            (
                "nft_do_chain_ipv4<nf_hook_slow<br_nf_forward_ip<nf_hook_slow<__br_forward",
                "FORWARD",
            ),
            (
                "nft_do_chain_ipv4<nf_hook_slow<br_nf_post_routing<nf_hook_slow<br_forward_finish",
                "POSTROUTING",
            ),
            ("nft_do_chain_arp<nf_hook_slow<arp_rcv", "ARP"),
        ] {
            assert_eq!(hook(stack), Some(expected), "{stack}");
        }
    }

    #[test]
    fn of_two_hooks_the_nearest_counts() {
        let stack = "nft_do_chain_ipv4<nf_hook_slow<ip_forward<ip_sabotage_in<nf_hook_slow<ip_rcv";
        assert_eq!(hook(stack), Some("FORWARD"));
    }

    #[test]
    fn a_stack_without_a_known_frame_has_no_hook() {
        assert_eq!(hook("tcp_v4_rcv<ip_protocol_deliver_rcu"), None);
    }
}
