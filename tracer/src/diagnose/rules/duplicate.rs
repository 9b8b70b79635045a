//! One address on two machines of a network: the packet came to the one that was not meant.

use std::net::IpAddr;

use crate::correlate::Trace;
use crate::host::Host;
use crate::host::facts::Link;
use crate::model::{Detail, Device, Mac, Transport};
use crate::network::links::peer_of;
use crate::verdict::{Confidence, Outcome};

use super::super::candidate::{Candidate, Specificity};
use super::super::causes::NEIGHBOR_DUPLICATE;
use super::super::loss::Loss;
use super::super::readdress;
use super::super::remedy::{Remedy, Shell, command, ip};
use super::super::routing;
use super::super::words;

/// Reasons that a host has for what it was not meant to get.
const AT_A_HOST: &[&str] = &["NO_SOCKET", "NETFILTER_DROP"];

/// The bridge to whose port an interface leads, or that it is.
fn segment(host: &Host, device: Device) -> Option<Device> {
    let link: &Link = host.link(device)?;
    if link.kind == "bridge" {
        return Some(device);
    }
    let port = peer_of(host, device)?;
    Some(Device {
        netns: port.device.netns,
        ifindex: crate::model::IfIndex(port.master?),
    })
}

/// MACs that answered for an address, as far as answers were seen.
fn answers(trace: &Trace, address: IpAddr) -> Vec<Mac> {
    let mut macs: Vec<Mac> = trace
        .beside
        .iter()
        .filter_map(|e| match &e.detail {
            Detail::Neighbor(n) if n.address == Some(address) => n.new_mac,
            _ => match e.packet.as_ref()?.transport {
                Transport::Neighbor {
                    answer: true,
                    target,
                    mac,
                } if target == address => mac,
                _ => None,
            },
        })
        .filter(|mac| mac.0 != [0; 6])
        .collect();
    macs.sort_unstable();
    macs.dedup();
    macs
}

/// The packet died in a host that has the destination's address, and is not the only one.
pub fn address(loss: &Loss<'_>) -> Option<Candidate> {
    if !AT_A_HOST.contains(&loss.reason()) {
        return None;
    }
    let dst = loss.dst()?;
    let netns = loss.netns()?;
    let host = loss.host;
    let own = host.owners(dst).find(|d| d.netns == netns)?;
    let net = segment(host, own)?;
    let other = host
        .owners(dst)
        .find(|d| d.netns != netns && segment(host, *d) == Some(net))?;
    let macs = answers(loss.trace, dst);
    let seen = macs.len() > 1;
    let mac_of = |device: Device| {
        host.link(device)
            .and_then(|l| l.mac)
            .map_or_else(String::new, |mac| format!(" ({mac})"))
    };
    let (here, there) = (words::interface(host, own), words::interface(host, other));
    let name = host.interface(own);
    let ip = ip(dst.is_ipv6());
    let told = loss.told();
    let outcome = if told.is_some() {
        Outcome::Rejected
    } else {
        Outcome::Dropped
    };
    let shell = Shell::of(host, Some(netns));
    let candidate = Candidate::new(
        &NEIGHBOR_DUPLICATE,
        loss.place_at_device("neighbor"),
        format!(
            "duplicate address: {dst} is on {here}{} and on {there}{}; this packet came to {here}",
            mac_of(own),
            mac_of(other)
        ),
    )
    .explains(Specificity::Linked)
    .leads_to(outcome)
    .sure(if seen {
        Confidence::Certain
    } else {
        Confidence::Likely
    })
    .because(
        "neighbor",
        seen.then(|| {
            let macs: Vec<_> = macs.iter().map(ToString::to_string).collect();
            format!("answers for {dst} came from {}", macs.join(" and "))
        }),
    )
    .because("icmp", told.map(|t| format!("{here} told the sender: {t}")))
    .advise([
        shell.look(
            "look first: who has it?",
            command![..ip, "addr show dev", name],
        ),
        Shell::of(host, Some(other.netns)).look(
            "and the other one",
            command![..ip, "addr show dev", host.interface(other)],
        ),
    ]);
    Some(candidate.advise(taken_away(loss, own, dst)))
}

/// The address taken from the interface to which the packet came, and forgotten by whoever sent it there.
fn taken_away(loss: &Loss<'_>, own: Device, dst: IpAddr) -> Option<Remedy> {
    let host = loss.host;
    let change = readdress::remove(
        host,
        (own, dst),
        loss.tuple()?.src,
        "if it should not have it: take it away, and let the sender ask anew",
    )?;
    let on_link = |d: &Device| {
        let mut addresses = host.addresses(*d).iter();
        addresses.any(|a| routing::holds(a.address, a.prefix, dst))
    };
    let mut passed = loss.steps().iter().rev().filter_map(|s| s.event.device);
    let asker = passed.find(|d| d.netns != own.netns && on_link(d));
    Some(match asker {
        Some(asker) => change.and_in(
            &Shell::of(host, Some(asker.netns)),
            command![
                ..ip(dst.is_ipv6()),
                "neigh flush",
                dst,
                "dev",
                host.interface(asker)
            ],
        ),
        None => change,
    })
}
