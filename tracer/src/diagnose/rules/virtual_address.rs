//! Virtual addresses of IPVS services that a machine should have and has not: the balancer itself, or a real server to
//! which packets come as they are (direct routing and tunnels, `ip_vs_dr_xmit` and `ip_vs_tunnel_xmit` of
//! net/netfilter/ipvs/ip_vs_xmit.c).

use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr};

use crate::host::Host;
use crate::host::facts::{IpvsAnswer, IpvsDestination, IpvsService, Link, Question};
use crate::model::{Device, IfIndex, NetNs};
use crate::sites;
use crate::uapi::if_arp::ARPHRD_LOOPBACK;

use super::super::candidate::{Candidate, Specificity};
use super::super::causes::NAT_VIRTUAL_ADDRESS;
use super::super::loss::Loss;
use super::super::remedy::{Remedy, Shell, command, ip, sysctl};
use super::super::words;

/// Most namespaces that are asked for services.
const FEW: usize = 4;
/// Methods of IPVS that leave a packet's destination as it is, in words.
const HANDED: [(&str, &str); 2] = [
    ("Route", "by direct routing"),
    ("Tunnel", "through a tunnel"),
];
/// Settings by which a real server keeps the address to itself, and what they are to be.
const SILENCE: [(&str, u32); 2] = [
    ("net/ipv4/conf/all/arp_ignore", 1),
    ("net/ipv4/conf/all/arp_announce", 2),
];

/// Namespaces that the packet passed, and the one where it died.
fn passed(loss: &Loss<'_>) -> BTreeSet<NetNs> {
    let steps = loss.steps().iter().rev().filter_map(|s| s.event.netns);
    loss.netns().into_iter().chain(steps).take(64).collect()
}

/// What to read: services there, and whether the machine answers ARP for what it has on other interfaces.
#[must_use]
pub fn questions(loss: &Loss<'_>) -> Vec<Question> {
    let (Some(netns), Some(tuple)) = (loss.netns(), loss.tuple()) else {
        return Vec::new();
    };
    if loss.host.is_local(netns, tuple.dst) || tuple.proto.number().is_none() {
        return Vec::new();
    }
    let services = passed(loss).into_iter().take(FEW);
    let services = services.map(|netns| Question::Ipvs { netns, tuple });
    let settings = SILENCE.iter().map(|(name, _)| Question::Sysctl {
        netns,
        name: (*name).to_owned(),
    });
    services.chain(settings).collect()
}

/// A packet for a service's address died where nobody has that address.
pub fn missing(loss: &Loss<'_>) -> Option<Candidate> {
    let (host, netns, tuple) = (loss.host, loss.netns()?, loss.tuple()?);
    if host.is_local(netns, tuple.dst) {
        return None;
    }
    let answer = |at: NetNs| {
        let read: &IpvsAnswer = &host.ipvs.get(&(at, tuple))?.fact;
        Some((at, read.service()?))
    };
    if let Some((_, service)) = answer(netns) {
        return Some(at_balancer(loss, service));
    }
    let here = |destination: &&IpvsDestination| {
        let method = HANDED.iter().any(|(name, _)| *name == destination.method);
        method && host.is_local(netns, destination.address)
    };
    let (balancer, destination) = passed(loss)
        .into_iter()
        .filter_map(answer)
        .find_map(|(at, service)| Some((at, service.destinations.iter().find(here)?)))?;
    let how = HANDED.iter().find(|(name, _)| *name == destination.method);
    let how = how.map_or("", |(_, how)| how);
    let raised = unraised(loss, destination);
    // What is not taken out of its tunnel is another rule's, where the device is not the one that IPVS needs.
    if sites::TUNNEL_INPUT.is(loss.info) && raised.is_none() {
        return None;
    }
    let lacks = match raised {
        Some(link) => format!(
            "{} is down and the address {} is missing",
            link.name, tuple.dst
        ),
        None => format!("does not have the address {}", tuple.dst),
    };
    let summary = format!(
        "{} is a real server of the IPVS service {} on {}, {how}, and {lacks}",
        loss.namespace_words(),
        words::destination(&tuple),
        host.namespace(balancer),
    );
    let why = format!(
        "the service sends to {} {how}: packets come with their destination as it was",
        destination.address
    );
    Some(
        proposal(loss, summary)
            .because("service", why)
            .advise(Some(match raised {
                Some(link) => out_of_tunnel(host, link, tuple.dst),
                None => quietly(host, netns, tuple.dst),
            })),
    )
}

/// The balancer itself lacks the address.
fn at_balancer(loss: &Loss<'_>, service: &IpvsService) -> Candidate {
    let to = match service.port {
        0 => service.address.to_string(),
        port => SocketAddr::new(service.address, port).to_string(),
    };
    let summary = format!(
        "{} balances the IPVS service {to}/{} and does not have its address: the packet is not taken in",
        loss.namespace_words(),
        service.proto
    );
    let count = service.destinations.len();
    let read = format!("IPVS has the service with {count} destinations");
    let netns = loss.netns();
    proposal(loss, summary)
        .because("service", read)
        .advise(netns.and_then(|netns| given(loss.host, netns, service.address)))
}

/// The device of IP in IP that takes all tunnels that no other takes, where it is down and the packet came in one.
fn unraised<'a>(loss: &Loss<'a>, destination: &IpvsDestination) -> Option<&'a Link> {
    let (host, netns) = (loss.host, loss.netns()?);
    let came = destination.method == "Tunnel" && sites::TUNNEL_INPUT.is(loss.info);
    let any = |link: &&Link| {
        let ends = link.tunnel.as_deref().map(|set| (set.local, set.remote));
        link.device.netns == netns && link.kind == "ipip" && ends == Some((None, None))
    };
    host.links().filter(any).find(|link| came && !link.up)
}

/// The tunnel's device raised, with the address.
fn out_of_tunnel(host: &Host, link: &Link, address: IpAddr) -> Remedy {
    let state = |to: &'static str| command!["ip link set dev", link.name, to];
    Shell::of(host, Some(link.device.netns))
        .change("take packets out of their tunnel, and have the address", state("up"))
        .and(add(address, &link.name, "add"))
        .undone_by(add(address, &link.name, "del"))
        .undone_by(state("down"))
        .scope(format!(
            "where the reverse-path filter is on, net.ipv4.conf.{}.rp_filter has to be 0, and that of all too",
            link.name
        ))
}

fn proposal(loss: &Loss<'_>, summary: String) -> Candidate {
    let shell = Shell::of(loss.host, loss.netns());
    Candidate::new(&NAT_VIRTUAL_ADDRESS, loss.place(Some("route")), summary)
        .explains(Specificity::Linked)
        .advise([shell.look(
            "look first: who has the address",
            command![..ip(loss.v6()), "addr show"],
        )])
}

fn add(address: IpAddr, name: &str, verb: &'static str) -> super::super::remedy::Command {
    let length = if address.is_ipv4() { 32 } else { 128 };
    let v6 = address.is_ipv6();
    let nodad = (v6 && verb == "add").then_some("nodad");
    let whole = format!("{address}/{length}");
    command![..ip(v6), "addr", verb, whole, "dev", name, ..nodad]
}

/// The address on the balancer: on the dummy device that has those of other services, else on the loopback.
fn given(host: &Host, netns: NetNs, address: IpAddr) -> Option<Remedy> {
    let own = |link: &&Link| link.device.netns == netns && !host.is_gone(link.device);
    let dummies: Vec<&Link> = host
        .links()
        .filter(own)
        .filter(|link| link.kind == "dummy")
        .collect();
    let loopback = || {
        host.links()
            .filter(own)
            .find(|l| l.arp_type == ARPHRD_LOOPBACK)
    };
    let link = match dummies.as_slice() {
        [only] => *only,
        _ => loopback()?,
    };
    let change = Shell::of(host, Some(netns)).change(
        format!(
            "give {} the address, so that the packet is taken in",
            link.name
        ),
        add(address, &link.name, "add"),
    );
    Some(change.undone_by(add(address, &link.name, "del")))
}

/// The address on the loopback of a real server, which must not answer ARP for it: that is for the balancer to do.
fn quietly(host: &Host, netns: NetNs, address: IpAddr) -> Remedy {
    let name = host.interface(Device {
        netns,
        ifindex: IfIndex(1),
    });
    let set = |name: &str, value: &str| command!["sysctl -w", format!("{}={value}", sysctl(name))];
    let shell = Shell::of(host, Some(netns));
    let text = "give the real server the address, which answers no ARP for it";
    let settings: Vec<(&str, u32, &str)> = SILENCE
        .iter()
        .filter(|_| address.is_ipv4())
        .filter_map(|(name, wanted)| {
            let read = host.sysctls.get(&(netns, (*name).to_owned()))?;
            let before = read.fact.as_deref()?;
            (before.parse::<u32>().ok()? < *wanted).then_some((*name, *wanted, before))
        })
        .collect();
    let address_last = add(address, &name, "add");
    let mut commands = settings
        .iter()
        .map(|(name, wanted, _)| set(name, &wanted.to_string()))
        .chain([address_last]);
    let first = commands
        .next()
        .unwrap_or_else(|| add(address, &name, "add"));
    let change = commands.fold(shell.change(text, first), Remedy::and);
    let change = change.undone_by(add(address, &name, "del"));
    settings
        .iter()
        .rev()
        .fold(change, |change, (name, _, before)| {
            change.undone_by(set(name, before))
        })
}
