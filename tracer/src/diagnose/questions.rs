//! What to read beside losses: asked while they are fresh, answered by facts that the rules then find in the host.

mod layer2;

use std::collections::BTreeSet;

use crate::correlate::Trace;
use crate::host::Host;
use crate::host::facts::Question;
use crate::model::{Detail, Device, Direction, Tuple};

use super::local;
use super::loss::{Loss, peer_of};
use super::routing;
use super::rules::neighbor::{self, Unresolved};
use super::rules::{self, nat};
use super::source_address;
use super::view::{View, last_seen, total};

/// Most questions in one go: a flood of different losses must not flood the host.
const MOST: usize = 64;

/// Questions, each once, those about the first losses first.
#[must_use]
pub fn questions(trace: &Trace, host: &Host) -> Vec<Question> {
    let mut list = Asked::default();
    for flow in &trace.flows {
        let view = View { trace, host, flow };
        let losses = view.losses();
        for loss in &losses.lost {
            about_loss(loss, &mut list);
        }
        let forward = view.counts(Direction::Forward, &losses);
        let reply = view.counts(Direction::Reply, &losses);
        if reply.delivered == 0 && (view.expects_reply() || forward.left > 0) {
            for question in source_address::questions(&view) {
                list.push(question);
            }
        }
        if total(&reply) == 0 && view.expects_reply() {
            about_silence(&view, forward.delivered + forward.consumed > 0, &mut list);
        }
    }
    for failure in local::failures(trace, host) {
        if let Some(netns) = failure.netns {
            list.push(Question::Route {
                netns,
                tuple: failure.tuple,
                iif: 0,
            });
            for link in host.links().filter(|l| l.device.netns == netns) {
                list.push(Question::Link {
                    device: link.device,
                });
            }
        }
    }
    list.questions
}

#[derive(Default)]
struct Asked {
    questions: Vec<Question>,
    known: BTreeSet<String>,
}

impl Asked {
    fn push(&mut self, question: Question) {
        if self.questions.len() < MOST && self.known.insert(format!("{question:?}")) {
            self.questions.push(question);
        }
    }

    fn link(&mut self, host: &Host, device: Device) {
        self.push(Question::Link { device });
        if let Some(peer) = peer_of(host, device) {
            self.push(Question::Link {
                device: peer.device,
            });
        }
    }
}

fn about_loss(loss: &Loss<'_>, list: &mut Asked) {
    let (Some(netns), host) = (loss.netns(), loss.host) else {
        return;
    };
    let came_in = loss.came_in().or(loss.device());
    let route = |tuple: Tuple| Question::Route {
        netns,
        tuple,
        iif: came_in.map_or(0, |d| d.ifindex.0),
    };
    let function = loss.function();
    for question in nat::questions(loss) {
        list.push(question);
    }
    if loss.reason() == "NETFILTER_DROP" || matches!(function, "nf_hook_slow" | "nft_do_chain") {
        list.push(Question::Chains { netns });
        list.push_route(loss.tuple().map(route));
    }
    if matches!(
        loss.reason(),
        "IP_INNOROUTES" | "IP_INADDRERRORS" | "IP_RPFILTER" | "PKT_TOO_BIG" | "IP_INHDR"
    ) || matches!(
        function,
        "ip_error"
            | "ip6_forward"
            | "ip_forward"
            | "ip6_pkt_discard"
            | "ip6_pkt_prohibit"
            | "dst_discard_out"
    ) {
        list.push_route(loss.tuple().map(route));
        if let Some(device) = came_in {
            let name = host.interface(device);
            for sysctl in rules::forwarding_sysctls(&name, loss.v6()) {
                list.push(Question::Sysctl {
                    netns,
                    name: sysctl,
                });
            }
            if loss.reason() == "IP_RPFILTER" {
                for interface in ["all", name.as_str()] {
                    list.push(Question::Sysctl {
                        netns,
                        name: format!("net/ipv4/conf/{interface}/rp_filter"),
                    });
                }
            }
        }
        let way_out = |device: Device| {
            let mut addresses = host.addresses(device).iter();
            loss.dst()
                .is_some_and(|dst| addresses.any(|a| routing::holds(a.address, a.prefix, dst)))
        };
        for link in host.links().filter(|l| l.device.netns == netns) {
            if !link.up || way_out(link.device) {
                list.push(Question::Link {
                    device: link.device,
                });
            }
        }
    }
    layer2::about_frame(loss, list);
    if let Some(device) = loss.last_device() {
        list.link(host, device);
        if loss.within("neigh_invalidate") || loss.function() == "__neigh_event_send" {
            let address = neighbor::waited_for(loss.trace, loss.event, Some(device))
                .map(|u| u.address)
                .or(loss.dst());
            if let Some(address) = address {
                list.push(Question::Neighbor { device, address });
                layer2::about_neighbor(host, Unresolved { device, address }, list);
            }
        }
    }
}

impl Asked {
    fn push_route(&mut self, question: Option<Question>) {
        if let Some(question) = question {
            self.push(question);
        }
    }
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
    if arrived && let Some(tuple) = view.tuple() {
        list.push(Question::Sysctl {
            netns,
            name: local::echo_sysctl(tuple.dst.is_ipv6()).to_owned(),
        });
    }
    for event in &view.trace.beside {
        let (Detail::Neighbor(entry), Some(device)) = (&event.detail, event.device) else {
            continue;
        };
        if let (Some(address), true) = (entry.address, device.netns == netns) {
            list.push(Question::Neighbor { device, address });
            list.link(view.host, device);
            layer2::about_neighbor(view.host, Unresolved { device, address }, list);
        }
    }
    if let Some(tuple) = last.tuple.filter(|_| !arrived) {
        list.push(Question::Route {
            netns,
            tuple,
            iif: 0,
        });
    }
}
