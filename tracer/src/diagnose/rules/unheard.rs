//! Neighbours that are there, were asked, and may not answer: the reason lies in their namespace (arp_ignore, a
//! reverse-path filter that refuses the asker, an asker with an impossible address, an address that is not ready).
//!
//! The kernel frees such a question like an answered one (arp_process, net/ipv4/arp.c), so the settings are read.

use std::collections::BTreeSet;
use std::net::IpAddr;

use crate::correlate::Trace;
use crate::host::Host;
use crate::host::facts::{Link, Question};
use crate::model::{Device, NetNs, Proto, Transport, Tuple};
use crate::network::links::peer_of;
use crate::network::route::Query;
use crate::verdict::{Confidence, Outcome, Place};

use super::super::candidate::{Candidate, Specificity, place_on};
use super::super::causes::{ROUTE_MARTIAN, SOCKET_SILENT};
use super::super::readdress;
use super::super::remedy::{Shell, command, sysctl, text};
use super::super::routing::{self, holds};
use super::super::words;
use super::neighbor::{self, Unresolved};
use super::{ready, source};

/// Most neighbours that are asked about.
const PENDING: usize = 4;

/// Where the question for a neighbour arrives, and the interface that has the address.
#[derive(Clone, Copy, Debug)]
struct Asked {
    arrival: Device,
    owner: Device,
}

/// The namespace that should answer, as far as the cable can be followed.
fn should_answer(host: &Host, who: Unresolved) -> Option<Asked> {
    let peer = peer_of(host, who.device)?;
    let bridge = peer.master.map(|master| Device {
        netns: peer.device.netns,
        ifindex: crate::model::IfIndex(master),
    });
    let on_bridge = |device: Device| {
        peer_of(host, device).is_some_and(|port| {
            port.device.netns == peer.device.netns
                && port.master.is_some()
                && port.master == peer.master
        })
    };
    host.owners(who.address).find_map(|owner| {
        if owner.netns == peer.device.netns {
            let arrival = bridge.unwrap_or(peer.device);
            return Some(Asked { arrival, owner });
        }
        on_bridge(owner).then_some(Asked {
            arrival: owner,
            owner,
        })
    })
}

/// Who asks: by the question itself, by what the sender looked up, or the address of the asking interface.
fn asker(trace: &Trace, host: &Host, who: Unresolved) -> Option<IpAddr> {
    let asked = trace.beside.iter().find_map(|e| {
        let packet = e.packet.as_ref()?;
        let Transport::Neighbor { answer, target, .. } = packet.transport else {
            return None;
        };
        (e.device == Some(who.device) && !answer && target == who.address)
            .then(|| packet.tuple.map(|t| t.src))
            .flatten()
    });
    let looked_up =
        || neighbor::senders(trace, who).find_map(|t| (!t.src.is_unspecified()).then_some(t.src));
    let own = || {
        host.addresses(who.device)
            .iter()
            .find(|a| holds(a.address, a.prefix, who.address))
            .map(|a| a.address)
    };
    asked
        .filter(|a| !a.is_unspecified())
        .or_else(looked_up)
        .or_else(own)
}

fn conf(interface: &str, key: &str) -> String {
    format!("net/ipv4/conf/{interface}/{key}")
}

/// The larger of the values for all interfaces and for this one, with the name that has it
/// (IN_DEV_MAXCONF, include/linux/inetdevice.h).
fn effective(host: &Host, device: Device, key: &str) -> Option<(String, u32)> {
    let value = |interface: &str| -> Option<u32> {
        let name = conf(interface, key);
        let read = host.sysctls.get(&(device.netns, name))?;
        read.fact.as_deref()?.parse().ok()
    };
    let own = host.interface(device);
    let (all, one) = (value("all"), value(&own));
    if one >= all {
        Some((conf(&own, key), one?))
    } else {
        Some((conf("all", key), all?))
    }
}

/// What to read in the namespace that should answer.
#[must_use]
pub fn questions(trace: &Trace, host: &Host, who: Unresolved) -> Vec<Question> {
    let mut list = Vec::new();
    if who.address.is_ipv6() {
        let peer: Option<&Link> = peer_of(host, who.device);
        if let Some(peer) = peer.filter(|_| should_answer(host, who).is_none()) {
            list.push(Question::Sysctl {
                netns: peer.device.netns,
                name: ready::disable_sysctl(&peer.name),
            });
            list.push(Question::Sysctl {
                netns: peer.device.netns,
                name: ready::disable_sysctl("all"),
            });
        }
    }
    let Some(asked) = should_answer(host, who) else {
        return list;
    };
    let netns = asked.arrival.netns;
    list.push(Question::Link {
        device: asked.owner,
    });
    if who.address.is_ipv4() {
        let name = host.interface(asked.arrival);
        for key in ["arp_ignore", "rp_filter"] {
            for interface in ["all", name.as_str()] {
                list.push(Question::Sysctl {
                    netns,
                    name: conf(interface, key),
                });
            }
        }
        if let Some(asker) = asker(trace, host, who) {
            list.push(Question::route(netns, back(who.address, asker), 0));
            if host.is_local(netns, asker) {
                let (to, like) = (destination(trace, who), back(asker, who.address));
                list.extend(readdress::questions(who.device.netns, to, &like));
            }
        }
    }
    list
}

/// The answer, as a route lookup.
fn back(from: IpAddr, to: IpAddr) -> Tuple {
    Tuple {
        proto: Proto::Arp,
        src: from,
        sport: 0,
        dst: to,
        dport: 0,
        icmp_id: 0,
    }
}

/// Why the neighbour does not answer, when its own namespace tells.
#[must_use]
pub fn unheard(trace: &Trace, host: &Host, who: Unresolved) -> Option<Candidate> {
    let Some(asked) = should_answer(host, who) else {
        let peer = peer_of(host, who.device).filter(|_| who.address.is_ipv6())?;
        let lost = ready::Lost::told_by(trace, host, who.device, who.address);
        return ready::disabled_on(host, peer.device, lost.as_ref())
            .map(|c| waits(c, host, who).leads_to(Outcome::Dropped));
    };
    if let Some(candidate) = ready::unusable(host, asked.owner, who.address) {
        return Some(waits(candidate, host, who));
    }
    if who.address.is_ipv6() {
        return None;
    }
    ignored(trace, host, who, asked)
        .or_else(|| refused(trace, host, who, asked))
        .map(|c| waits(c, host, who))
}

fn waits(candidate: Candidate, host: &Host, who: Unresolved) -> Candidate {
    let question = neighbor::question_words(who.address);
    candidate.because(
        "neighbor",
        format!(
            "{} asks for {} ({question}) and gets no answer: its packets wait, or died waiting",
            words::interface(host, who.device),
            who.address
        ),
    )
}

fn place(host: &Host, device: Device, hook: &str) -> Place {
    Place {
        interface: Some(host.interface(device)),
        hook: Some(hook.to_owned()),
        ..place_on(host, device.netns)
    }
}

/// arp_ignore (arp_ignore(), net/ipv4/arp.c).
fn ignored(trace: &Trace, host: &Host, who: Unresolved, asked: Asked) -> Option<Candidate> {
    let (name, value) = effective(host, asked.arrival, "arp_ignore")?;
    let elsewhere = asked.owner != asked.arrival;
    let other_net = || {
        asker(trace, host, who).is_some_and(|asker| {
            !host
                .addresses(asked.owner)
                .iter()
                .any(|a| a.address == who.address && holds(a.address, a.prefix, asker))
        })
    };
    let ignores = match value {
        0 => false,
        1 => elsewhere,
        2 => elsewhere || other_net(),
        8 => true,
        _ => return None,
    };
    if !ignores {
        return None;
    }
    let setting = sysctl(&name);
    let shell = Shell::of(host, Some(asked.arrival.netns));
    Some(
        Candidate::new(
            &SOCKET_SILENT,
            place(host, asked.arrival, "neighbor"),
            format!(
                "ARP for {} reaches {} and is not answered: arp_ignore ({setting} = {value})",
                who.address,
                words::interface(host, asked.arrival)
            ),
        )
        .explains(Specificity::Linked)
        .because("sysctl", format!("{setting} = {value}"))
        .because(
            "address",
            format!(
                "{} belongs to {}",
                who.address,
                words::interface(host, asked.owner)
            ),
        )
        .advise([
            shell.look("look first", command!["sysctl", setting]),
            shell
                .change(
                    "let it answer",
                    command!["sysctl -w", format!("{setting}=0")],
                )
                .undone_by(command!["sysctl -w", format!("{setting}={value}")]),
        ]),
    )
}

/// Where the packet goes that waits, as far as its sender's lookups tell.
fn destination(trace: &Trace, who: Unresolved) -> IpAddr {
    let mut sent = neighbor::senders(trace, who).map(|t| t.dst);
    sent.find(|dst| *dst != who.address).unwrap_or(who.address)
}

/// The input route lookup that precedes an answer refuses the asker (ip_route_input_noref in arp_process).
fn refused(trace: &Trace, host: &Host, who: Unresolved, asked: Asked) -> Option<Candidate> {
    let asker = asker(trace, host, who)?;
    let netns: NetNs = asked.arrival.netns;
    let at = format!(" on {}", words::interface(host, asked.arrival));
    let here = place(host, asked.arrival, "route");
    let impossible = asker.is_loopback()
        || asker.is_multicast()
        || matches!(asker, IpAddr::V4(v4) if v4.is_broadcast());
    let own = host.is_local(netns, asker);
    if impossible || own {
        let what = if own {
            format!("{asker} is an address of this namespace itself")
        } else {
            format!("no answer can go to {asker}")
        };
        return Some(
            Candidate::new(
                &ROUTE_MARTIAN,
                here,
                format!("martian source{at}: {what}; not even its ARP is answered"),
            )
            .explains(Specificity::Linked)
            .sure(Confidence::Likely)
            .advise(source::martian_advice(
                host,
                netns,
                (asker, destination(trace, who)),
                Some(who.device),
            )),
        );
    }
    let (name, mode) = effective(host, asked.arrival, "rp_filter")?;
    let answer = routing::answer(host, netns, asker)?;
    let other_way = match &answer.result {
        Ok(route) => route.oif != Some(asked.arrival.ifindex.0),
        Err(_) => true,
    };
    let refuses = match mode {
        0 => false,
        1 => other_way,
        _ => answer.result.is_err(),
    };
    if !refuses {
        return None;
    }
    let request = back(who.address, asker).reversed();
    let arrival = source::Arrival {
        device: asked.arrival,
        query: Query::input(request, asked.arrival.ifindex, 0),
    };
    Some(
        source::reverse_path(host, arrival, (name, mode), here)
            .sure(Confidence::Likely)
            .because(
                "neighbor",
                "the same filter refuses the ARP request of this source, before any packet"
                    .to_owned(),
            )
            .advise([text(
                "the neighbour entry of the sender is INCOMPLETE or FAILED as long as this lasts",
            )]),
    )
}

/// Neighbours that packets of the trace may wait for, each once: a node has many others that nobody answers for.
#[must_use]
pub fn pending(trace: &Trace, host: &Host) -> Vec<Unresolved> {
    let travelled: BTreeSet<NetNs> = trace
        .journeys
        .values()
        .filter_map(|j| j.steps.last()?.event.netns)
        .collect();
    let mut list: Vec<Unresolved> = Vec::new();
    for who in trace.beside.iter().filter_map(neighbor::unresolved_in) {
        let concerns = || {
            travelled.contains(&who.device.netns)
                || neighbor::is_asked_for(host, who.address)
                || neighbor::senders(trace, who).next().is_some()
        };
        if !list.contains(&who) && concerns() {
            list.push(who);
        }
    }
    list.truncate(PENDING);
    list
}
