//! What to read beside losses: asked while they are fresh, answered by facts that the rules then find in the host.

mod layer2;

use std::cell::LazyCell;
use std::collections::HashSet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use crate::correlate::Trace;
use crate::host::Host;
use crate::host::facts::Question;
use crate::model::{Detail, Device, Direction, Fate, NetNs, Proto, Tuple};

use super::local;
use super::loss::{Loss, peer_of};
use super::ports;
use super::routing;
use super::rules::neighbor::{self, Unresolved};
use super::rules::{self, conntrack, ipsec, nat, netfilter, ready, unheard};
use super::service;
use super::source_address;
use super::standing;
use super::translation;
use super::view::{View, last_seen, total};

/// Most questions in one go: a flood of different losses must not flood the host.
const MOST: usize = 64;

/// Journeys of a direction that are looked at for what became of them.
const FEW: usize = 4;

/// Questions, each once, those about the first losses first.
#[must_use]
pub fn questions(trace: &Trace, host: &Host) -> Vec<Question> {
    let mut list = Asked::default();
    for flow in &trace.flows {
        let view = View { trace, host, flow };
        let losses = view.losses();
        let dnat = LazyCell::new(|| translation::dnat(&view));
        for loss in &losses.lost {
            list.push_some(nat::question(loss, || *dnat));
            about_loss(loss, &mut list);
        }
        for direction in [Direction::Forward, Direction::Reply] {
            about_missing(&view, direction, &mut list);
        }
        let forward = view.counts(Direction::Forward, &losses);
        let reply = view.counts(Direction::Reply, &losses);
        if reply.delivered == 0 && (view.expects_reply() || forward.left > 0) {
            for question in source_address::questions(&view) {
                list.push(question);
            }
        }
        if reply.delivered == 0 {
            for question in service::questions(&view) {
                list.push(question);
            }
        }
        if total(&reply) == 0 && view.expects_reply() {
            about_silence(&view, forward.delivered + forward.consumed > 0, &mut list);
        }
    }
    for (_, loss) in netfilter::questions_dropped(trace, host) {
        if let Some(netns) = loss.netns() {
            about_filters(&loss, netns, &mut list);
        }
    }
    if nothing_matched(trace, host) {
        list.push(Question::Cgroups);
        for question in ipsec::questions(trace, host) {
            list.push(question);
        }
    }
    for failure in local::failures(trace, host) {
        if let Some(netns) = failure.netns {
            list.decision(netns, failure.tuple);
            if failure.dst.is_ipv6() {
                let all = std::iter::once("all".to_owned());
                for name in all.chain(ready::carriers(host, netns).map(|l| l.name.clone())) {
                    let name = ready::disable_sysctl(&name);
                    list.push(Question::Sysctl { netns, name });
                }
            }
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
    for who in unheard::pending(trace, host) {
        for question in unheard::questions(trace, host, who) {
            list.push(question);
        }
    }
    list.questions
}

#[derive(Default)]
struct Asked {
    questions: Vec<Question>,
    known: HashSet<Question>,
}

impl Asked {
    fn push(&mut self, question: Question) {
        if self.questions.len() < MOST && self.known.insert(question.clone()) {
            self.questions.push(question);
        }
    }

    /// Rules and routes that decide over a packet.
    fn decision(&mut self, netns: NetNs, tuple: Tuple) {
        self.push(Question::Rules {
            netns,
            v6: tuple.dst.is_ipv6(),
        });
        self.push(Question::RoutesTowards {
            netns,
            dst: tuple.dst,
        });
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

impl Asked {
    /// What stands on an interface; also where its redirects lead.
    fn standing(&mut self, host: &Host, device: Device) {
        self.push(Question::DeviceState { device });
        for attachment in standing::of(host, device)
            .into_iter()
            .flat_map(|s| &s.programs)
        {
            for to in standing::redirects(device, attachment) {
                self.push(Question::Link { device: to });
            }
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
    list.push_some(ipsec::question(loss));
    if matches!(
        loss.reason(),
        "NO_SOCKET"
            | "SOCKET_RCVBUFF"
            | "UDP_RCVBUFF"
            | "SOCKET_BACKLOG"
            | "PROTO_MEM"
            | "TCP_LISTEN_OVERFLOW"
    ) {
        list.push_some(loss.tuple().and_then(|t| ports::question(netns, &t)));
    }
    if loss.unnamed()
        && function == "icmpv6_rcv"
        && let Some(dst) = loss.dst()
    {
        list.push(Question::Sysctl {
            netns,
            name: local::echo_sysctl(host, netns, dst).to_owned(),
        });
    }
    if loss.reason() == "NETFILTER_DROP"
        || matches!(
            function,
            "nf_hook_slow" | "nft_do_chain" | "nf_queue" | "nf_reinject"
        )
    {
        about_filters(loss, netns, list);
        list.push_some(loss.tuple().map(route));
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
        list.push_some(loss.tuple().map(route));
        if let Some(tuple) = loss.tuple() {
            list.decision(netns, tuple);
        }
        if let Some(device) = came_in {
            let name = host.interface(device);
            for sysctl in rules::forwarding_sysctls(&name, loss.v6()) {
                list.push(Question::Sysctl {
                    netns,
                    name: sysctl,
                });
            }
            if loss.reason() == "IP_RPFILTER" {
                // where an answer would go, asked as this host's own
                list.push_some(loss.tuple().map(|t| Question::Route {
                    netns,
                    tuple: unsourced(t.reversed()),
                    iif: 0,
                }));
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
    if rules::is_of_standing(loss)
        && let Some(device) = loss.last_device()
    {
        list.standing(host, device);
        // A redirect that failed was asked for where the packet came from.
        let mut before = loss.steps().iter().rev().filter_map(|s| s.event.device);
        if rules::is_redirect(loss)
            && let Some(from) = before.find(|d| *d != device)
        {
            list.standing(host, from);
        }
    }
    if matches!(loss.reason(), "BPF_CGROUP_EGRESS" | "SOCKET_FILTER") {
        list.push(Question::Cgroups);
        if let Some(id) = loss.info.cgroup {
            list.push(Question::Cgroup { id });
        }
    }
    if let Some(device) = loss.last_device() {
        list.link(host, device);
        if loss.within("neigh_invalidate") || loss.function() == "__neigh_event_send" {
            let address = neighbor::waited_for(loss.trace, loss.event, Some(device))
                .map(|u| u.address)
                .or(loss.dst());
            if let Some(tuple) = loss.tuple() {
                list.decision(netns, tuple);
            }
            if let Some(address) = address {
                list.push(Question::Neighbor { device, address });
                layer2::about_neighbor(host, Unresolved { device, address }, list);
            }
        }
    }
}

/// Only the destination: a source that is not this host's own would be refused.
fn unsourced(tuple: Tuple) -> Tuple {
    Tuple {
        proto: Proto::Arp,
        src: match tuple.src {
            IpAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
            IpAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
        },
        sport: 0,
        dport: 0,
        ..tuple
    }
}

/// Chains, twice where more is lost later: then it shows whose counters move. And what conntrack knows.
fn about_filters(loss: &Loss<'_>, netns: NetNs, list: &mut Asked) {
    list.push(Question::Chains { netns });
    if let Some(round) = netfilter::look_again(loss, netns) {
        list.push(Question::ChainsAgain { netns, round });
    }
    let sysctl = |name: &str| Question::Sysctl {
        netns,
        name: name.to_owned(),
    };
    if loss.frames().any(|f| f.starts_with("br_nf_")) {
        list.push(sysctl(netfilter::switch(loss.v6())));
    }
    if loss.function() == "nf_hook_slow" {
        list.push(sysctl(conntrack::COUNT));
        list.push(sysctl(conntrack::MOST));
        list.push(Question::ConntrackCounters { netns });
    }
    if loss.info.ct_attached == Some(false) {
        list.push(Question::ConntrackCounters { netns });
    }
    if let Some(tuple) = loss.tuple().filter(|t| t.proto != Proto::Arp) {
        list.push(Question::Conntrack { netns, tuple });
    }
}

impl Asked {
    fn push_some(&mut self, question: Option<Question>) {
        if let Some(question) = question {
            self.push(question);
        }
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
        list.standing(view.host, device);
        if let Some(peer) = peer_of(view.host, device) {
            list.standing(view.host, peer.device);
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
        list.push_some(ports::question(netns, &last.tuple.unwrap_or(tuple)));
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
