//! Interfaces and addresses that are not ready: IPv6 turned off, duplicate address detection under way or failed.

use std::net::IpAddr;

use crate::correlate::Trace;
use crate::host::Host;
use crate::host::facts::{InterfaceAddress, Link};
use crate::model::{Device, NetNs};
use crate::network::neighbour;
use crate::verdict::{Confidence, Place};

use super::super::candidate::{Candidate, Specificity, place_on};
use super::super::causes::ADDRESS_NOT_READY;
use super::super::remedy::{Remedy, Shell, command, sysctl};
use super::super::routing;
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

/// Interfaces that get a question and take no part in IPv6, in words: one of them may be who should answer.
pub fn without_ipv6(host: &Host, links: &[&Link]) -> Option<String> {
    let off = links
        .iter()
        .filter(|link| is_off(host, link.device.netns, &link.name));
    let names: Vec<String> = off
        .map(|link| words::interface(host, link.device))
        .collect();
    (!names.is_empty()).then(|| {
        let (what, has) = match names.len() {
            1 => ("an interface", "has"),
            _ => ("interfaces", "have"),
        };
        format!(
            "{what} on this link {has} IPv6 disabled (disable_ipv6 = 1), and no address therefore: {}",
            names.join(", ")
        )
    })
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
    let mut links = carriers(host, netns);
    let first = links.next()?;
    let only = links.next().is_none().then(|| first.name.clone());
    let all = is_off(host, netns, "all");
    Some(off(host, netns, &first.name, only).advise(turn_on(host, first.device, all, None)))
}

/// What an interface has lost with IPv6, as a neighbour tells that asks for it: the kernel takes away addresses and
/// routes, and gives none back (addrconf_ifdown, net/ipv6/addrconf.c).
pub struct Lost {
    address: IpAddr,
    prefix: u8,
    /// The neighbour, where packets pass it.
    router: Option<IpAddr>,
}

impl Lost {
    /// By the addresses of the interface from which it is asked for.
    #[must_use]
    pub fn told_by(trace: &Trace, host: &Host, asking: Device, address: IpAddr) -> Option<Self> {
        let own = host.addresses(asking).iter();
        let own = own
            .filter(|a| a.address.is_ipv6() && a.prefix < 128)
            .find(|a| routing::holds(a.address, a.prefix, address))?;
        let passed = trace.flows.iter().any(|flow| {
            let first = flow.forward.hops.first();
            first.is_some_and(|hop| hop.device.netns != asking.netns)
        });
        Some(Self {
            address,
            prefix: own.prefix,
            router: passed.then_some(own.address),
        })
    }
}

/// IPv6 is off on one interface, which should answer.
#[must_use]
pub fn disabled_on(host: &Host, device: Device, lost: Option<&Lost>) -> Option<Candidate> {
    let name = host.interface(device);
    is_off(host, device.netns, &name).then(|| {
        let place = Some(name.clone());
        let all = is_off(host, device.netns, "all");
        off(host, device.netns, &name, place)
            .sure(Confidence::Likely)
            .advise(turn_on(host, device, all, lost))
    })
}

/// IPv6 on again, with what is known of what went with it.
#[must_use]
pub fn turn_on(host: &Host, device: Device, all: bool, lost: Option<&Lost>) -> Vec<Remedy> {
    let name = host.interface(device);
    let setting = sysctl(&disable_sysctl(if all { "all" } else { &name }));
    let shell = Shell::of(host, Some(device.netns));
    let on = command!["sysctl -w", format!("{setting}=0")];
    let text = match lost {
        Some(_) => "turn IPv6 on, and give back what went with it",
        None => {
            "turn IPv6 on; addresses and routes that no program gives back have to be given anew"
        }
    };
    let mut change = shell.change(text, on);
    if let Some(lost) = lost {
        let full = format!("{}/{}", lost.address, lost.prefix);
        change = change.and(command!["ip -6 addr add", full, "dev", name]);
        if let Some(router) = lost.router {
            change = change.and(command![
                "ip -6 route replace default via",
                router,
                "dev",
                name
            ]);
        }
    }
    vec![change.undone_by(command!["sysctl -w", format!("{setting}=1")])]
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
        shell.look(
            "the addresses that it has",
            command!["ip -6 addr show dev", name],
        ),
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
    let others: Vec<_> = neighbour::owners(host, owner, address)
        .into_iter()
        .filter(|l| l.device.netns != owner.netns)
        .map(|l| words::interface(host, l.device))
        .collect();
    if entry.dad_failed {
        candidate = candidate
            .because(
                "address",
                (!others.is_empty()).then(|| format!("{address} is also on {}", others.join(", "))),
            )
            .advise([again(&shell, &full, &name, others.is_empty())]);
    } else {
        // A flag that is given later does not end a detection that goes on (inet6_addr_modify, net/ipv6/addrconf.c).
        let set = |verb: &'static str| command!["ip -6 addr", verb, full, "dev", name];
        candidate = candidate.advise([shell
            .change(
                "wait for the end of the detection, or do without it",
                set("del"),
            )
            .and(command!["ip -6 addr add", full, "dev", name, "nodad"])
            .undone_by(set("del"))
            .undone_by(set("add"))]);
    }
    Some(candidate)
}

/// An address whose detection failed, taken away, and put back where nobody else is known to have it.
fn again(shell: &Shell, full: &str, name: &str, alone: bool) -> Remedy {
    let [del, add] = ["del", "add"].map(|act| command!["ip -6 addr", act, full, "dev", name]);
    if alone {
        return shell
            .change("nobody seen has it any more: have it checked anew", del)
            .and(add);
    }
    shell
        .change(
            "take it away from one of the two machines, then add it anew",
            del,
        )
        .undone_by(add)
}
