//! Interfaces and addresses that are not ready: IPv6 turned off, duplicate address detection under way or failed.

use std::net::IpAddr;

use crate::host::Host;
use crate::host::facts::{InterfaceAddress, Link};
use crate::model::{Device, NetNs};
use crate::verdict::{Confidence, Place};

use super::super::candidate::{Candidate, Specificity, place_on};
use super::super::causes::ADDRESS_NOT_READY;
use super::super::remedy::{Shell, command, sysctl};
use super::super::words;

/// Most interfaces of a namespace that are asked about.
pub const INTERFACES: usize = 8;

/// The sysctl that turns IPv6 off on an interface, or on `all`.
#[must_use]
pub fn disable_sysctl(interface: &str) -> String {
    format!("net/ipv6/conf/{interface}/disable_ipv6")
}

/// Interfaces that could carry IPv6.
pub fn carriers(host: &Host, netns: NetNs) -> impl Iterator<Item = &Link> {
    host.links()
        .filter(move |l| l.device.netns == netns && l.name != "lo")
        .take(INTERFACES)
}

fn is_off(host: &Host, netns: NetNs, interface: &str) -> bool {
    host.sysctls
        .get(&(netns, disable_sysctl(interface)))
        .and_then(|v| v.fact.as_deref())
        == Some("1")
}

fn place(host: &Host, netns: NetNs, interface: Option<String>) -> Place {
    Place {
        interface,
        hook: Some("device".to_owned()),
        ..place_on(host, netns)
    }
}

/// IPv6 is off on every interface of a namespace that wants to send.
#[must_use]
pub fn disabled(host: &Host, netns: NetNs, dst: IpAddr) -> Option<Candidate> {
    if !dst.is_ipv6() {
        return None;
    }
    let mut links = carriers(host, netns).peekable();
    links.peek()?;
    if !links.all(|l| is_off(host, netns, &l.name)) {
        return None;
    }
    let mut names = carriers(host, netns).map(|l| l.name.clone());
    let first = names.next();
    let only = first.clone().filter(|_| names.next().is_none());
    Some(off(host, netns, first.as_deref()?, only))
}

/// IPv6 is off on one interface, which should answer.
#[must_use]
pub fn disabled_on(host: &Host, device: Device) -> Option<Candidate> {
    let name = host.interface(device);
    is_off(host, device.netns, &name).then(|| {
        let place = Some(name.clone());
        off(host, device.netns, &name, place).sure(Confidence::Likely)
    })
}

fn off(host: &Host, netns: NetNs, name: &str, interface: Option<String>) -> Candidate {
    let all = is_off(host, netns, "all");
    let setting = sysctl(&disable_sysctl(if all { "all" } else { name }));
    let shell = Shell::of(host, Some(netns));
    let at = interface
        .as_ref()
        .map_or_else(String::new, |i| format!(" at {i}"));
    Candidate::new(
        &ADDRESS_NOT_READY,
        place(host, netns, interface),
        format!(
            "IPv6 is disabled on {}{at} ({setting} = 1)",
            host.namespace(netns)
        ),
    )
    .explains(Specificity::Linked)
    .because(
        "sysctl",
        format!("{setting} = 1: the interface has no IPv6 address"),
    )
    .advise([
        shell.look("look first", command!["sysctl", setting]),
        shell.change(
            "turn IPv6 on",
            command!["sysctl -w", format!("{setting}=0")],
        ),
        shell
            .look(
                "then: are its addresses back?",
                command!["ip -6 addr show dev", name],
            )
            .undone_by(command!["sysctl -w", format!("{setting}=1")]),
    ])
}

/// An address that its owner may not use (yet).
#[must_use]
pub fn unusable(host: &Host, owner: Device, address: IpAddr) -> Option<Candidate> {
    let entry: &InterfaceAddress = host
        .addresses(owner)
        .iter()
        .find(|a| a.address == address && (a.tentative || a.dad_failed))?;
    let shell = Shell::of(host, Some(owner.netns));
    let name = host.interface(owner);
    let (state, why) = if entry.dad_failed {
        (
            "dadfailed",
            "duplicate address detection failed: another machine answered for it",
        )
    } else {
        (
            "tentative",
            "duplicate address detection is under way: it answers nobody yet",
        )
    };
    let full = format!("{address}/{}", entry.prefix);
    let mut candidate = Candidate::new(
        &ADDRESS_NOT_READY,
        place(host, owner.netns, Some(name.clone())),
        format!(
            "address {address} of {} is {state}: {why}",
            words::interface(host, owner)
        ),
    )
    .explains(Specificity::Linked)
    .advise([shell.look(
        "look first: tentative or dadfailed",
        command!["ip -6 addr show dev", name],
    )]);
    let others: Vec<_> = host
        .owners(address)
        .filter(|d| *d != owner)
        .map(|d| words::interface(host, d))
        .collect();
    if entry.dad_failed {
        candidate = candidate
            .because(
                "address",
                (!others.is_empty()).then(|| format!("{address} is also on {}", others.join(", "))),
            )
            .advise([shell
                .change(
                    "take it away from one of the two machines, then add it anew",
                    command!["ip -6 addr del", full, "dev", name],
                )
                .undone_by(command!["ip -6 addr add", full, "dev", name])]);
    } else {
        candidate = candidate.advise([shell.change(
            "wait for the end of the detection, or do without it",
            command!["ip -6 addr replace", full, "dev", name, "nodad"],
        )]);
    }
    Some(candidate)
}
