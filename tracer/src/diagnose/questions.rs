//! What to read beside losses: asked while they are fresh, answered by facts that the rules then find in the host.

use crate::correlate::Trace;
use crate::host::Host;
use crate::host::facts::{Question, Selectors};
use crate::model::{Detail, Device, Direction, Fate, Journey, Proto};
use crate::network::links::peer_of;
use crate::network::route::Query;

use super::advertisements;
use super::ends;
use super::gateways;
use super::groups;
use super::loss::Loss;
use super::needs::{Asked, about_neighbor};
use super::nfqueue;
use super::off_link;
use super::outranked;
use super::overruled;
use super::ovs;
use super::own_link;
use super::ports;
use super::rules::l2::{past_routing, unredirected};
use super::rules::neighbor::{Unresolved, silence};
use super::rules::{ALWAYS, RULES, ipsec, netfilter, ready};
use super::service;
use super::silent::{Counts, SYN_COOKIES, unread_question};
use super::source_address;
use super::stall::Stall;
use super::translator;
use super::unbound;
use super::unruled;
use super::untranslated_source;
use super::uplinks::{self, Detour};
use super::view::{View, last_seen, total};
use super::{
    local, local_ports, lost_address, missing_route, other_address, redirected, routers, wireguard,
};

/// Journeys of a direction that are looked at for what became of them.
const FEW: usize = 4;

/// Questions, each once, those about the first losses first.
#[must_use]
pub fn questions(trace: &Trace, host: &Host) -> Vec<Question> {
    let mut list = Asked::default();
    for flow in &trace.flows {
        about_flow(&View { trace, host, flow }, &mut list);
    }
    for (_, loss) in netfilter::questions_dropped(trace, host) {
        about_loss(&loss, &mut list);
    }
    if nothing_matched(trace, host) {
        list.push(Question::Cgroups);
        list.extend(ipsec::questions(trace, host));
    }
    for failure in local::failures(trace, host) {
        about_failure(host, &failure, &mut list);
    }
    list.extend(local_ports::questions(trace, host));
    for who in silence::pending(trace, host) {
        about_neighbor(trace, host, who, &mut list);
    }
    list.questions
}

/// What a flow lost, and what it did not get.
fn about_flow(view: &View<'_>, list: &mut Asked) {
    let losses = view.losses();
    for loss in groups::examples(&losses.lost) {
        about_loss(loss, list);
    }
    for direction in [Direction::Forward, Direction::Reply] {
        about_missing(view, direction, list);
    }
    let forward = view.counts(Direction::Forward, &losses);
    let reply = view.counts(Direction::Reply, &losses);
    let unanswered = reply.delivered == 0;
    if unanswered && (view.expects_reply() || forward.left > 0) {
        list.extend(source_address::questions(view));
        list.extend(untranslated_source::questions(view));
    }
    if unanswered || view.is_refused() {
        list.extend(service::questions(view));
        list.extend(translator::questions(view));
    }
    if unanswered {
        list.extend(missing_route::question(view));
        lost_address::questions(view, list);
        redirected::questions(view, list);
        overruled::questions(view, list);
        outranked::questions(view, list);
        own_link::questions(view, list);
        unruled::questions(view, list);
        list.extend(off_link::question(view));
        unbound::questions(view, list);
        list.extend(routers::questions(view));
    }
    if reply.delivered == 0 {
        other_address::questions(view, list);
    }
    if unanswered {
        list.extend(wireguard::asked(view));
        past_routing::ask_where_left(view, list);
    }
    list.extend(ends::questions(view));
    list.extend(unread_question(view, &Counts { forward, reply }));
    if let Some(detour) = Detour::of(view).filter(|_| unanswered) {
        list.extend(detour.questions());
        list.extend(uplinks::asker(view));
    }
    if let Some(stall) = Stall::of(view) {
        list.extend(stall.questions(view));
    }
    if total(&reply) == 0 && view.expects_reply() {
        about_silence(view, forward.delivered + forward.consumed > 0, list);
    }
}

/// A lookup of this host that found no route.
fn about_failure(host: &Host, failure: &local::Failure, list: &mut Asked) {
    let Some(netns) = failure.netns else {
        return;
    };
    list.decision(netns, failure.tuple);
    if failure.dst.is_ipv6() {
        list.sysctl(netns, ready::disable_sysctl("all"));
        for link in ready::carriers(host, netns) {
            list.sysctl(netns, ready::disable_sysctl(&link.name));
        }
    }
    let uid = local::owner_meant(host, netns, failure);
    list.push(Question::Route {
        netns,
        tuple: failure.tuple,
        iif: 0,
        with: Selectors {
            uid,
            ..Selectors::default()
        },
    });
    gateways::ask(host, netns, failure.tuple, list);
    advertisements::ask(netns, failure.dst.is_ipv6(), list);
    let links = host.links().filter(|l| l.device.netns == netns);
    list.extend(links.map(|link| Question::Link {
        device: link.device,
    }));
}

/// What the rules need that look at a loss.
fn about_loss(loss: &Loss<'_>, asked: &mut Asked) {
    let needs = RULES
        .iter()
        .filter(|rule| rule.looks_at(loss))
        .flat_map(|rule| rule.needs);
    for need in ALWAYS.iter().chain(needs) {
        (need.ask)(loss, asked);
    }
}

/// For so long nothing came that something may keep it from being sent.
const QUIET_NS: u64 = 1_000_000_000;

fn nothing_matched(trace: &Trace, host: &Host) -> bool {
    let quiet = host
        .run
        .as_ref()
        .is_some_and(|run| trace.now.since(run.started_ktime) > QUIET_NS);
    quiet
        && trace
            .flows
            .iter()
            .all(|flow| View { trace, host, flow }.is_aside())
}

/// Packets without an end: what stands where they were seen last.
fn about_missing(view: &View<'_>, direction: Direction, list: &mut Asked) {
    let open = view
        .journeys(direction)
        .filter(|j| !view.young(j))
        .filter(|j| match j.fate {
            Fate::Vanished { .. } | Fate::InFlight => true,
            // The other end of a TUN device is a process of this host.
            Fate::Left { .. } => last_seen(j)
                .and_then(|e| e.device)
                .and_then(|d| view.host.link(d))
                .is_some_and(|l| l.kind == "tun"),
            _ => false,
        });
    for journey in open.take(FEW) {
        let Some(device) = last_seen(journey).and_then(|e| e.device) else {
            continue;
        };
        list.extend(nfqueue::questions(device.netns));
        list.extend(ovs::questions(view.host, &journey.steps));
        list.device_state(view.host, device);
        list.extend(handed_to_tunnel(view.host, journey, device));
        unredirected::ask(view.host, device.netns, list);
        if let Some(peer) = peer_of(view.host, device) {
            list.device_state(view.host, peer.device);
        }
    }
}

/// To which end a VXLAN device sends the frame that was handed to it.
fn handed_to_tunnel(host: &Host, journey: &Journey, device: Device) -> Option<Question> {
    host.link(device)?.vxlan.as_ref()?;
    let mac = last_seen(journey)?.packet.as_ref()?.ethernet?.dst;
    Some(Question::Forwarding { device, mac })
}

/// An answer is due and has not come.
fn about_silence(view: &View<'_>, arrived: bool, list: &mut Asked) {
    let last = view
        .journeys(Direction::Forward)
        .filter_map(last_seen)
        .next_back();
    let Some((last, netns)) = last.and_then(|e| Some((e, e.device.map(|d| d.netns).or(e.netns)?)))
    else {
        return;
    };
    if view.journeys(Direction::Forward).any(|j| !view.young(j)) {
        list.extend(nfqueue::questions(netns));
    }
    if arrived && let Some(tuple) = view.tuple() {
        list.extend(ports::question(netns, &last.tuple.unwrap_or(tuple)));
        if tuple.proto == Proto::Tcp {
            list.sysctl(netns, SYN_COOKIES);
        }
        let answer = last.tuple.unwrap_or(tuple).reversed();
        list.lookup(view.host, netns, &Query::output(answer, 0));
        list.push(Question::Sysctl {
            netns,
            name: local::echo_sysctl(view.host, netns, tuple.dst).to_owned(),
        });
    }
    for event in &view.trace.beside {
        let (Detail::Neighbor(entry), Some(device)) = (&event.detail, event.device) else {
            continue;
        };
        if let (Some(address), true) = (entry.address, device.netns == netns) {
            list.push(Question::Neighbor { device, address });
            list.link(view.host, device);
            about_neighbor(view.trace, view.host, Unresolved { device, address }, list);
        }
    }
    if let Some(tuple) = last.tuple.filter(|_| !arrived) {
        list.push(Question::route(netns, tuple, 0));
        // of several nodes each answers its own questions, and another one may know where the destination is
        list.push(Question::RoutesTowards {
            netns,
            dst: tuple.dst,
        });
    }
}
