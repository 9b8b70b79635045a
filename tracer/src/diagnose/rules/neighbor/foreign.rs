//! ARP requests that carry an address of another interface: Linux asks with the source of the packet that waits
//! (`arp_announce` 0), and a switch, a firewall or a router may answer addresses of the link's own network alone.

use std::net::IpAddr;

use crate::correlate::Trace;
use crate::host::Host;
use crate::host::facts::Question;
use crate::network::neighbour::Answer;
use crate::network::settings::conf;

use super::super::super::remedy::{Remedy, Shell, command, sysctl};
use super::super::super::routing::holds;
use super::super::super::words;
use super::Unresolved;
use super::silence;

/// With the source of the packet that waits (arp_solicit, net/ipv4/arp.c).
const OF_THE_PACKET: u32 = 0;
/// With an address of the network of whoever is asked.
const OF_THE_LINK: u32 = 2;

/// The address that a request carries, where it is of no network of the interface, and that has one in which the neighbour is.
fn asks_with(trace: &Trace, host: &Host, who: Unresolved) -> Option<IpAddr> {
    let asker = silence::ask(trace, host, who)
        .source
        .filter(IpAddr::is_ipv4)?;
    let own = host.addresses(who.device);
    let on_link = |address: IpAddr| own.iter().any(|a| holds(a.address, a.prefix, address));
    (on_link(who.address) && !on_link(asker)).then_some(asker)
}

fn setting(host: &Host, who: Unresolved) -> String {
    conf(false, &host.interface(who.device), "arp_announce")
}

/// What to read about it.
pub(super) fn question(trace: &Trace, host: &Host, who: Unresolved) -> Option<Question> {
    asks_with(trace, host, who)?;
    Some(Question::Sysctl {
        netns: who.device.netns,
        name: setting(host, who),
    })
}

/// As the end of a sentence, with what to change. `None` where nobody is there who could answer.
pub(super) fn told(
    (trace, host): (&Trace, &Host),
    who: Unresolved,
    answer: &Answer<'_>,
) -> Option<(String, Remedy)> {
    if answer.answerers.is_empty() && answer.open.is_empty() {
        return None;
    }
    let asker = asks_with(trace, host, who)?;
    let name = setting(host, who);
    let read = host.sysctls.get(&(who.device.netns, name.clone()))?;
    let now: u32 = read.fact.as_ref()?.parse().ok()?;
    if now != OF_THE_PACKET {
        return None;
    }
    let set = |to: u32| command!["sysctl -w", format!("{}={to}", sysctl(&name))];
    let change = Shell::of(host, Some(who.device.netns))
        .change(
            "ask with an address of the link's own network",
            set(OF_THE_LINK),
        )
        .undone_by(set(now))
        .scope(format!(
            "all ARP requests of {}; packets keep their source",
            words::interface(host, who.device)
        ));
    let words = format!(
        "; the request carries {asker} (arp_announce 0), which is of no network of {}: such ones may be left unanswered",
        host.interface(who.device)
    );
    Some((words, change))
}
