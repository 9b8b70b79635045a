//! An address that a host had and that is gone: a process of it still has its socket there, or its rules are for packets that
//! come to it, and they leave by a route instead. So it goes with a node's DNS cache whose interface was deleted, or a virtual
//! address that nobody took over.

use std::collections::BTreeSet;
use std::net::IpAddr;

use crate::host::Host;
use crate::host::facts::{BaseChain, OpenSocket, Question, Rule, Side, Stop, TableRoute, Test};
use crate::model::{Detail, Device, Direction, Fate, IfIndex, Tuple};
use crate::network::neighbour;
use crate::network::route::{Decision, Query, Tables, lookup};
use crate::sites;
use crate::verdict::Confidence;

use super::Found;
use super::candidate::{Candidate, place_at};
use super::causes::L2_GONE;
use super::chain_commands::{rule_of, rule_words};
use super::missing_route::failed;
use super::needs::Asked;
use super::ports;
use super::remedy::{Remedy, Shell, command, ip, text};
use super::view::View;
use super::visits;
use super::words;

/// Hosts on the way that are looked at.
const MOST: usize = 4;

/// Where a flow's packets left a host, each once: through which interface, and as what.
fn departures(view: &View<'_>) -> Vec<(Device, Tuple)> {
    let mut seen = BTreeSet::new();
    view.journeys(Direction::Forward)
        .flat_map(|journey| &journey.steps)
        .filter(|step| matches!(step.event.detail, Detail::Egress))
        .filter_map(|step| Some((step.event.device?, step.event.tuple?)))
        .filter(|(device, _)| seen.insert(device.netns))
        .take(MOST)
        .collect()
}

/// Where a packet ended since it was for no address of a host that does not forward, and as what.
fn not_taken(view: &View<'_>) -> Option<(Device, Tuple)> {
    view.journeys(Direction::Forward).find_map(|journey| {
        let Fate::Dropped { step } = journey.fate else {
            return None;
        };
        let event = &journey.steps.get(step)?.event;
        let Detail::Drop(info) = &event.detail else {
            return None;
        };
        sites::NOT_OURS
            .is(info)
            .then_some((event.device?, event.tuple?))
    })
}

/// Where a packet that went round and round was led by a route to its address alone: whoever made that meant this host.
fn led_round(view: &View<'_>) -> Option<(Device, Tuple)> {
    let host = view.host;
    let journey = view.journeys(Direction::Forward);
    let mut round = journey.filter_map(|journey| {
        let event = &journey.steps.last()?.event;
        let loops = visits::looping(journey);
        (!loops.is_empty()).then_some((event.tuple?, loops))
    });
    let (tuple, loops) = round.next()?;
    let alone = |route: &TableRoute| route.length == if tuple.dst.is_ipv6() { 128 } else { 32 };
    loops.iter().find_map(|(device, _)| {
        let query = Query::input(tuple, device.ifindex, 0);
        let tables = Tables::of(host, device.netns);
        let Decision::Route { route, hops, .. } = lookup(&tables, &query).decision else {
            return None;
        };
        let [hop] = hops.as_slice() else { return None };
        let out = Device {
            netns: device.netns,
            ifindex: IfIndex(hop.oif.filter(|_| alone(route))?),
        };
        let mut owners = neighbour::owners(host, out, hop.gateway?).into_iter();
        let end = owners.next()?.device;
        let mut entered = loops.iter().map(|(device, _)| *device);
        entered.find(|d| d.netns == end.netns).zip(Some(tuple))
    })
}

/// Whether nobody has it.
fn is_nobodys(host: &Host, address: IpAddr) -> bool {
    host.owners(address).next().is_none()
}

/// What to read about it.
pub fn questions(view: &View<'_>, asked: &mut Asked) {
    for (device, tuple) in departures(view).into_iter().chain(not_taken(view)) {
        if is_nobodys(view.host, tuple.dst) {
            let netns = device.netns;
            asked.push(Question::Chains { netns });
            asked.extend(ports::question(netns, &tuple));
        }
    }
}

/// A socket that is bound to the address.
fn socket<'a>(host: &'a Host, device: Device, tuple: &Tuple) -> Option<&'a OpenSocket> {
    let mut sockets = ports::on_port(host, device.netns, tuple)?.iter();
    sockets.find(|socket| socket.local == tuple.dst && socket.peer.is_none())
}

/// A socket that would take what comes to the address, were it this host's.
fn listener<'a>(host: &'a Host, device: Device, tuple: &Tuple) -> Option<&'a OpenSocket> {
    let mut sockets = ports::on_port(host, device.netns, tuple)?.iter();
    let any = |socket: &&OpenSocket| socket.local.is_unspecified() || socket.local == tuple.dst;
    sockets.find(|socket| any(socket) && socket.peer.is_none())
}

/// A rule that lets pass what comes to the address.
fn rule(host: &Host, device: Device, address: IpAddr) -> Option<(&BaseChain, &Rule)> {
    let ruleset = &host.filters.get(&device.netns)?.fact;
    let alone = |test: &Test| match test {
        Test::Address {
            side: Side::Destination,
            ranges,
            not: false,
        } => ranges.as_slice() == [(address, address)],
        _ => false,
    };
    ruleset
        .base
        .iter()
        .filter(|base| base.hook == "INPUT")
        .find_map(|base| {
            let chain = ruleset.chains.iter().find(|chain| chain.is(base))?;
            let mut rules = chain.rules.iter();
            let rule = rules.find(|r| r.stop() == Some(Stop::Accept) && r.tests().any(alone))?;
            Some((base, rule))
        })
}

/// The verdict's candidate.
#[must_use]
pub fn gone(view: &View<'_>, found: &Found<'_>) -> Option<Candidate> {
    let (direction, _) = failed(found, &L2_GONE)?;
    if direction != Direction::Forward {
        return None;
    }
    let host = view.host;
    let refused = not_taken(view).map(|ended| (ended, "does not forward"));
    let round = || led_round(view).map(|ended| (ended, "sends it back"));
    let ended = refused.or_else(round);
    let ended = ended.filter(|((_, tuple), _)| is_nobodys(host, tuple.dst));
    let meant = ended.and_then(|((device, tuple), does)| {
        let socket = listener(host, device, &tuple)?;
        Some(for_listener(
            host,
            (device, tuple.dst),
            (socket, does),
            found,
        ))
    });
    if meant.is_some() {
        return meant;
    }
    departures(view)
        .into_iter()
        .filter(|(_, tuple)| is_nobodys(host, tuple.dst))
        .find_map(|(device, tuple)| {
            let socket = socket(host, device, &tuple);
            let rule = rule(host, device, tuple.dst);
            (socket.is_some() || rule.is_some())
                .then(|| told(host, (device, tuple.dst), (socket, rule), found))
        })
}

/// The address given to the host, and taken from it.
fn given(host: &Host, (device, address): (Device, IpAddr), text: &str) -> Remedy {
    let bits = if address.is_ipv6() { 128 } else { 32 };
    let give = |act: &'static str| {
        command![
            ..ip(address.is_ipv6()),
            "addr",
            act,
            format!("{address}/{bits}"),
            "dev lo"
        ]
    };
    Shell::of(host, Some(device.netns))
        .change(text, give("add"))
        .undone_by(give("del"))
        .scope("until whoever manages the address makes it anew".to_owned())
}

/// A host that got a packet for an address that nobody has, does not send it on or sends it back, and on whose port a process of it listens: as of a real server
/// behind a balancer that sends on what it gets unchanged (direct routing).
fn for_listener(
    host: &Host,
    (device, address): (Device, IpAddr),
    (socket, does): (&OpenSocket, &str),
    found: &Found<'_>,
) -> Candidate {
    let name = host.namespace(device.netns);
    let who = ports::holder(socket);
    let at = match socket.local.is_unspecified() {
        true => "on any of its addresses",
        false => "on this one",
    };
    Candidate::new(
        &L2_GONE,
        place_at(host, device, "device"),
        format!(
            "{address} is no address of {name}, which got the packet and {does}: {who} listens there on its port, {at}; an address that it shares (a balancer's) is missing, or the packet was sent there by mistake"
        ),
    )
    .sure(Confidence::Likely)
    .leads_to(found.verdict.outcome)
    .because("address", format!("no interface that was read has {address}"))
    .because(
        "other-loss",
        format!("what became of it there: {}", found.verdict.summary),
    )
    .advise([
        Shell::of(host, Some(device.netns)).look(
            "look first: the addresses that it has",
            command!["ip addr show"],
        ),
        given(host, (device, address), "give it the address, if it is to serve it"),
        text(format!(
            "if it is not, correct the route or the service that sends {address} to {name}"
        )),
    ])
}

fn told(
    host: &Host,
    (device, address): (Device, IpAddr),
    (socket, rule): (Option<&OpenSocket>, Option<(&BaseChain, &Rule)>),
    found: &Found<'_>,
) -> Candidate {
    let name = host.namespace(device.netns);
    let by_socket = socket.map(|socket| format!("{} has its socket there", ports::holder(socket)));
    let by_rule = rule.map(|(base, rule)| {
        let named = rule_of(&base.chain, rule, Stop::Accept);
        format!(
            "{} is for what comes to it: {}",
            rule_words(base, &base.chain, &named),
            rule.text
        )
    });
    let why = by_socket.as_ref().or(by_rule.as_ref());
    let shell = Shell::of(host, Some(device.netns));
    let again = "give it the address again: the process that is bound to it answers then";
    let back = socket.map(|_| given(host, (device, address), again));
    Candidate::new(
        &L2_GONE,
        place_at(host, device, "device"),
        format!(
            "{address} is no address of {name} any more: {}, and its packets leave through {}",
            why.map_or("", String::as_str),
            words::interface(host, device)
        ),
    )
    .sure(Confidence::Likely)
    .leads_to(found.verdict.outcome)
    .because("socket", by_socket)
    .because("rule", by_rule)
    .because(
        "address",
        format!("no interface that was read has {address}"),
    )
    .because(
        "other-loss",
        format!("what became of it there: {}", found.verdict.summary),
    )
    .advise([shell.look(
        "look first: the addresses that it has",
        command!["ip addr show"],
    )])
    .advise(back)
    .advise([text(format!(
        "who gave {name} the address (a DNS cache of the node, keepalived, a network script)? start it again, or have clients ask another address"
    ))])
}
