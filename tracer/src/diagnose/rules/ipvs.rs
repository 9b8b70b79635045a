//! Services that IPVS balances: it ends a packet's way at INPUT, or OUTPUT of its own host, as packet filters do
//! (nf_hook_slow), where it has no destination for it. Its tables tell.

use crate::host::Host;
use crate::host::facts::{IpvsAnswer, IpvsService};
use crate::model::Proto;
use crate::verdict::Outcome;

use super::super::candidate::{Candidate, Specificity};
use super::super::causes::NAT_NO_BACKEND;
use super::super::hooks::Hook;
use super::super::loss::Loss;
use super::super::remedy::{Remedy, Shell, command, text};
use super::super::translation::Change;
use super::netfilter::{filtered, propose};

/// Whether packets of a removed destination's connections make IPVS forget the connection.
pub const EXPIRE: &str = "net/ipv4/vs/expire_nodest_conn";

/// Whether conntrack, and with it netfilter's NAT, sees what IPVS translates.
pub const CONNTRACK: &str = "net/ipv4/vs/conntrack";

/// IPVS translated a packet without conntrack, so that no rule could masquerade it: the words for the summary, and what
/// to change.
pub(super) fn unmasqueraded(host: &Host, change: &Change) -> Option<(String, Vec<Remedy>)> {
    let answer = &host.ipvs.get(&(change.netns, change.before))?.fact;
    answer.service()?;
    let read = host.sysctls.get(&(change.netns, CONNTRACK.to_owned()))?;
    if read.fact.as_deref().map(str::trim) != Some("0") {
        return None;
    }
    let set = |value: u32| command!["sysctl -w", format!("net.ipv4.vs.conntrack={value}")];
    let shell = Shell::of(host, Some(change.netns));
    let words = format!(
        ": IPVS on {} translates it without conntrack, so that no rule masquerades it and the answer goes another way (net.ipv4.vs.conntrack = 0)",
        host.namespace(change.netns)
    );
    let advice = vec![
        shell.look(
            "look first: the service and its destinations",
            "ipvsadm -Ln",
        ),
        shell
            .change(
                "let conntrack see what IPVS translates (new connections)",
                set(1),
            )
            .undone_by(set(0)),
    ];
    Some((words, advice))
}

/// The hook, where IPVS may have ended the packet's way.
#[must_use]
pub fn hook(loss: &Loss<'_>) -> Option<Hook> {
    let hook = filtered(loss)??;
    let here = matches!(hook.name, "INPUT" | "OUTPUT") && loss.function() == "nf_hook_slow";
    here.then_some(hook)
}

/// What was read of IPVS for the lost packet.
fn answer<'a>(loss: &Loss<'a>) -> Option<&'a IpvsAnswer> {
    let key = (loss.netns()?, loss.tuple()?);
    loss.host.ipvs.get(&key).map(|dated| &dated.fact)
}

/// A service without a destination for the packet.
pub fn without_destination(loss: &Loss<'_>) -> Option<Candidate> {
    let hook = hook(loss)?;
    let answer = answer(loss)?;
    let service = answer.service()?;
    let gone = answer
        .connections
        .iter()
        .find(|(address, port)| !service.has(*address, *port));
    let (why, advice) = match gone {
        Some((address, port)) => (
            format!(
                "its connection leads to {address}:{port}, which the service does not have any more"
            ),
            forget(loss),
        ),
        None if service.destinations.is_empty() => {
            ("the service has no destination".to_owned(), add(service))
        }
        None if service.usable().next().is_none() => (
            format!(
                "all {} destinations of the service have weight 0",
                service.destinations.len()
            ),
            weigh(loss, service),
        ),
        None => return None,
    };
    let to = loss.tuple()?.destination();
    let told = loss.told();
    let mut candidate = propose(loss, &NAT_NO_BACKEND, Some(hook), "IPVS");
    candidate.summary = format!(
        "no backend for IPVS service {to}/{} on {}: {why}",
        service.proto,
        loss.namespace_words()
    );
    let shell = Shell::of(loss.host, loss.netns());
    Some(
        candidate
            .explains(Specificity::Linked)
            .leads_to(if told.is_some() {
                Outcome::Rejected
            } else {
                Outcome::Dropped
            })
            .because(
                "service",
                format!(
                    "{} scheduler {}, destinations: {}",
                    flags(service).join(" "),
                    service.scheduler,
                    destinations(service)
                ),
            )
            .because("icmp", told.map(|t| format!("the sender was told: {t}")))
            .advise([
                shell.look("look first: services and their destinations", "ipvsadm -Ln"),
                shell.look("connections, and where they lead", "ipvsadm -Lnc"),
            ])
            .advise(advice),
    )
}

fn destinations(service: &IpvsService) -> String {
    let list: Vec<String> = service
        .destinations
        .iter()
        .map(|d| format!("{}:{} weight {}", d.address, d.port, d.weight))
        .collect();
    match list.is_empty() {
        true => "none".to_owned(),
        false => list.join(", "),
    }
}

/// How ipvsadm names a service: `-t 10.96.7.10:80`.
fn flags(service: &IpvsService) -> [String; 2] {
    let proto = match service.proto {
        Proto::Udp => "-u",
        Proto::Sctp => "--sctp-service",
        _ => "-t",
    };
    [proto.to_owned(), end(service.address, service.port)]
}

fn end(address: std::net::IpAddr, port: u16) -> String {
    std::net::SocketAddr::new(address, port).to_string()
}

fn add(service: &IpvsService) -> Vec<Remedy> {
    vec![
        text(
            "start a backend: has the service ready endpoints (kubectl get endpointslices -A), and do its selector and ports fit?",
        ),
        text(format!(
            "or add one by hand: ipvsadm -a {} -r ADDRESS:PORT -m",
            flags(service).join(" ")
        )),
    ]
}

fn weigh(loss: &Loss<'_>, service: &IpvsService) -> Vec<Remedy> {
    let Some(first) = service.destinations.first() else {
        return Vec::new();
    };
    let method = match first.method.as_str() {
        "Route" => "-g",
        "Tunnel" => "-i",
        _ => "-m",
    };
    let set = |weight: u32| {
        command![
            "ipvsadm -e",
            ..flags(service),
            "-r",
            end(first.address, first.port),
            method,
            "-w",
            weight
        ]
    };
    let change = Shell::of(loss.host, loss.netns()).change(
        "give a destination that works its weight back (0 takes no new connections)",
        set(1),
    );
    vec![change.undone_by(set(0))]
}

/// The connection forgotten with its destination.
fn forget(loss: &Loss<'_>) -> Vec<Remedy> {
    let set = |value: u32| {
        command![
            "sysctl -w",
            format!("net.ipv4.vs.expire_nodest_conn={value}")
        ]
    };
    let off = loss.netns().and_then(|netns| {
        let read = loss.host.sysctls.get(&(netns, EXPIRE.to_owned()))?;
        read.fact.as_ref().map(|value| value.trim() == "0")
    });
    let change = Shell::of(loss.host, loss.netns()).change(
        "let IPVS forget connections of destinations that are gone: the next packet of one is dropped, and the one after it gets another destination",
        set(1),
    );
    match off {
        Some(true) => vec![change.undone_by(set(0))],
        _ => vec![text(
            "until the connection times out (ipvsadm -Lnc), use another source port",
        )],
    }
}
