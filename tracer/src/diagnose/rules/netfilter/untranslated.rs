//! Packets that NAT could not translate. nf_tables' own frames say so; of legacy tables a rule that masquerades does, where
//! the interface has no address (masquerade_tg, nf_nat_masquerade_ipv4: no address, NF_DROP).

use crate::host::facts::{BaseChain, FilterEngine, Stop};
use crate::model::Device;
use crate::uapi::nf_conntrack::IPS_SRC_NAT_DONE;

use super::super::super::candidate::Candidate;
use super::super::super::hooks::Hook;
use super::super::super::loss::Loss;
use super::super::super::nat_commands;
use super::super::super::remedy::{Shell, command, text};
use super::{likely_engine, suspected};

/// Whether it was NAT that failed.
pub(in super::super) fn is_untranslated(loss: &Loss<'_>, hook: Option<Hook>) -> bool {
    let status = loss.info.ct_status;
    let undone = status.is_some_and(|s| s & IPS_SRC_NAT_DONE == 0);
    loss.frames().any(|f| f.starts_with("nf_nat_"))
        || undone && without_address(loss).is_some() && is_masqueraded(loss, hook)
}

/// The interface, where it has no address of the packet's family.
fn without_address(loss: &Loss<'_>) -> Option<Device> {
    loss.device().filter(|d| {
        let mut own = loss.host.addresses(*d).iter();
        !own.any(|a| a.address.is_ipv6() == loss.v6())
    })
}

fn is_masqueraded(loss: &Loss<'_>, hook: Option<Hook>) -> bool {
    let hook = hook.filter(|h| h.name == "POSTROUTING");
    let found = hook.and_then(|hook| suspected(loss, hook, &[Stop::Nat]));
    found.is_some_and(|(_, found)| {
        let mut rules = found.list.into_iter().filter_map(|s| s.rule);
        rules.any(|rule| rule.text.contains("MASQUERADE") || rule.text.contains("masquerade"))
    })
}

/// Adds why it failed, and what to do.
pub(super) fn explain(
    mut candidate: Candidate,
    (loss, hook): (&Loss<'_>, Option<Hook>),
) -> Candidate {
    let shell = Shell::of(loss.host, loss.netns());
    let bare = without_address(loss);
    let name = bare.map(|device| loss.host.interface(device));
    candidate.summary += &match &name {
        Some(name) => format!(": {name} has no address to which it could be translated"),
        None => ": a NAT rule could not translate it (has the interface an address?)".to_owned(),
    };
    let family = if loss.v6() { "IPv6" } else { "IPv4" };
    let show = match &name {
        Some(name) => command!["ip addr show dev", name],
        None => "ip addr".into(),
    };
    let chain = bare
        .and(hook)
        .and_then(|hook| translating_chain(loss, hook));
    candidate
        .because(
            "address",
            name.map(|name| format!("{name} has no {family} address")),
        )
        .advise([
            shell.look("look at the addresses", show),
            shell.look(
                "the rule that translates",
                match likely_engine(loss, hook) {
                    FilterEngine::Legacy => {
                        "iptables-legacy -t nat -nvL POSTROUTING --line-numbers"
                    }
                    FilterEngine::Nftables => "nft -a list ruleset",
                },
            ),
        ])
        .advise(chain.and_then(|chain| nat_commands::without_address(loss, chain)))
        .advise([text(
            "give the interface an address (ip addr add …), or translate to one of another interface (SNAT)",
        )])
}

/// The chain with the rule that translates at this hook.
fn translating_chain<'a>(loss: &Loss<'a>, hook: Hook) -> Option<&'a BaseChain> {
    let (_, found) = suspected(loss, hook, &[Stop::Nat])?;
    let mut suspects = found.list.iter();
    suspects.find(|s| s.rule.is_some()).map(|s| s.chain)
}
