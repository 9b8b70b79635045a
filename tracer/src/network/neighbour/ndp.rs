//! What an interface does with a neighbour solicitation that came to it (`ndisc_recv_ns`, net/ipv6/ndisc.c).

use super::super::settings::{Combined, Setting, setting};
use super::{Ask, By, Reaction, Silence, owner_in};
use crate::host::Host;
use crate::host::facts::{Link, Question};

pub(super) fn reaction<'a>(
    host: &'a Host,
    (link, ask): (&'a Link, Ask),
    missing: &mut Vec<Question>,
) -> Reaction<'a> {
    let device = link.device;
    let own = host
        .addresses(device)
        .iter()
        .find(|a| a.address == ask.address);
    match own {
        Some(own) if own.dad_failed => Reaction::Silent(Some(device), Silence::Duplicate),
        Some(own) if own.tentative => Reaction::Silent(Some(device), Silence::Tentative),
        Some(_) => Reaction::Answers(By::Owner(device)),
        None => match proxy(host, (link, ask), missing) {
            Reaction::None => owner_in(host, link, ask.address).map_or(Reaction::None, |owner| {
                Reaction::Silent(Some(owner), Silence::OtherInterface)
            }),
            reaction => reaction,
        },
    }
}

/// The table of proxies has the address, and both settings are on.
fn proxy<'a>(
    host: &'a Host,
    (link, ask): (&'a Link, Ask),
    missing: &mut Vec<Question>,
) -> Reaction<'a> {
    let (netns, v6) = (link.device.netns, true);
    let Some(entries) = host.proxies.get(&(netns, v6)) else {
        missing.push(Question::ProxyNeighbors { netns, v6 });
        return Reaction::None;
    };
    let entry = entries.fact.iter().any(|(interface, address)| {
        *address == ask.address && [0, link.device.ifindex.0].contains(interface)
    });
    if !entry {
        return Reaction::None;
    }
    let mut read = |key, combined| -> Option<Setting> {
        setting(host, link.device, (true, key), combined)
            .map_err(|questions| missing.extend(questions))
            .ok()
    };
    let proxy = read("proxy_ndp", Combined::Larger);
    let forwarding = read("forwarding", Combined::Own);
    match (proxy, forwarding) {
        (Some(proxy), _) if proxy.value == 0 => Reaction::Silent(None, Silence::ProxyNdpOff),
        (_, Some(forwarding)) if forwarding.value == 0 => {
            Reaction::Silent(None, Silence::NotForwarding(forwarding))
        }
        (Some(_), Some(_)) => Reaction::Answers(By::ProxyEntry),
        _ => Reaction::None,
    }
}
