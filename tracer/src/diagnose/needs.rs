//! What rules need to know beside a loss. A rule of the catalogue lists its needs, and the questions to the host are
//! derived from the lists ([`super::questions`]): what a rule looks at and what is read for it cannot drift apart.

use std::collections::HashSet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use crate::host::Host;
use crate::host::facts::{Question, Selectors};
use crate::model::{Device, NetNs, Proto, Tuple};
use crate::network::links::{members, peer_of};
use crate::network::route::{Decision, Query, Tables, Unknown, lookup};
use crate::network::sockets::{Wanted, accept_sysctl, vrf_of};

use super::advertisements;
use super::device_state;
use super::gateways;
use super::idle;
use super::local;
use super::loss::Loss;
use super::missing_route;
use super::ovs;
use super::ports;
use super::readdress;
use super::routing;
use super::rules::neighbor::Unresolved;
use super::rules::refusal::attached;
use super::rules::{self, conntrack, nat, netfilter, socket};
use super::stray_source::Stray;
use super::wireguard;

mod layer2;

pub(super) use layer2::about_neighbor;

/// Most questions in one go: a flood of different losses must not flood the host.
const MOST: usize = 64;

/// Something that a rule needs to know beside a loss.
#[derive(Clone, Copy)]
pub struct Need {
    /// What, in words, for whoever reads the catalogue.
    pub what: &'static str,
    /// The questions that bring it.
    pub ask: fn(&Loss<'_>, &mut Asked),
}

/// Questions, each once, in the order in which they were asked.
#[derive(Default)]
pub struct Asked {
    pub(super) questions: Vec<Question>,
    known: HashSet<Question>,
}

impl Asked {
    /// One question; more than [`MOST`] are not taken.
    pub fn push(&mut self, question: Question) {
        if self.questions.len() < MOST && self.known.insert(question.clone()) {
            self.questions.push(question);
        }
    }

    /// A sysctl by its path.
    pub fn sysctl(&mut self, netns: NetNs, name: impl Into<String>) {
        let name = name.into();
        self.push(Question::Sysctl { netns, name });
    }

    /// Rules and routes that decide over a packet.
    pub fn decision(&mut self, netns: NetNs, tuple: Tuple) {
        self.push(Question::Rules {
            netns,
            v6: tuple.dst.is_ipv6(),
        });
        self.push(Question::RoutesTowards {
            netns,
            dst: tuple.dst,
        });
    }

    /// What a route look-up needs: rules and routes, then whatever it still lacks.
    pub fn lookup(&mut self, host: &Host, netns: NetNs, query: &Query) {
        self.decision(netns, query.tuple);
        let found = lookup(&Tables::of(host, netns), query).decision;
        if let Decision::Undecided(Unknown::Unread(question)) = found {
            self.push(question);
        }
    }

    /// An interface, and the other end of a veth.
    pub fn link(&mut self, host: &Host, device: Device) {
        self.push(Question::Link { device });
        if let Some(peer) = peer_of(host, device) {
            self.push(Question::Link {
                device: peer.device,
            });
        }
    }

    /// What stands on an interface; also where its redirects lead.
    pub fn device_state(&mut self, host: &Host, device: Device) {
        self.push(Question::DeviceState { device });
        let programs = device_state::of(host, device)
            .into_iter()
            .flat_map(|s| &s.programs);
        for attachment in programs {
            for to in device_state::redirects(device, attachment) {
                self.push(Question::Link { device: to });
            }
        }
    }
}

impl Extend<Question> for Asked {
    fn extend<T: IntoIterator<Item = Question>>(&mut self, questions: T) {
        for question in questions {
            self.push(question);
        }
    }
}

/// The kernel's route for the packet as it came.
pub const ROUTE: Need = Need {
    what: "the route of the packet",
    ask: |loss, asked| {
        let (Some(netns), Some(tuple)) = (loss.netns(), loss.outermost()) else {
            return;
        };
        let came_in = loss.came_in().or(loss.device());
        asked.push(Question::Route {
            netns,
            tuple,
            iif: came_in.map_or(0, |d| d.ifindex.0),
            with: Selectors {
                mark: loss.info.mark,
                tos: loss.tos().unwrap_or_default(),
                ..Selectors::default()
            },
        });
    },
};

/// The policy rules, and the routes towards the destination.
pub const DECISION: Need = Need {
    what: "policy rules and routes towards the destination",
    ask: |loss, asked| {
        if let (Some(netns), Some(tuple)) = (loss.netns(), loss.outermost()) {
            asked.decision(netns, tuple);
        }
    },
};

/// Where an answer would go, asked as this host's own, since a source that is not would be refused; and what decides
/// about the way back that the kernel looks up.
pub const ROUTE_BACK: Need = Need {
    what: "the route to the source",
    ask: |loss, asked| {
        let (Some(netns), Some(tuple)) = (loss.netns(), loss.outermost()) else {
            return;
        };
        let back = tuple.reversed();
        asked.push(Question::route(netns, unsourced(back), 0));
        asked.decision(netns, back);
    },
};

/// Only the destination of a packet.
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

/// How the sender chose its way and its source, where its own namespace was seen.
pub const SENDER: Need = Need {
    what: "routes and source of the sender",
    ask: |loss, asked| {
        let sender = loss.steps().iter().find_map(|s| s.event.device);
        let (Some(sender), Some(tuple)) = (sender, loss.tuple()) else {
            return;
        };
        if loss.host.is_local(sender.netns, tuple.src) {
            for question in readdress::questions(sender.netns, tuple.dst, &tuple) {
                asked.push(question);
            }
        }
    },
};

/// Why the sender's source is not that of the interface by which it sends, where its own namespace was seen.
pub const STRAY_SOURCE: Need = Need {
    what: "routes and rules of a sender whose source is the address of another of its interfaces",
    ask: |loss, asked| {
        if let (Some(stray), Some(netns)) = (Stray::of_packet(loss), loss.netns()) {
            asked.extend(stray.questions(netns));
        }
    },
};

/// Routes of the receiver towards the sender: they may go with an address.
pub const ROUTES_BACK: Need = Need {
    what: "routes towards the source",
    ask: |loss, asked| {
        if let (Some(netns), Some(tuple)) = (loss.netns(), loss.outermost()) {
            let dst = tuple.src;
            asked.push(Question::RoutesTowards { netns, dst });
        }
    },
};

/// Whether the namespace forwards.
pub const FORWARDING: Need = Need {
    what: "sysctls of forwarding, and where it would lead",
    ask: |loss, asked| {
        let (Some(netns), Some(device)) = (loss.netns(), loss.came_in().or(loss.device())) else {
            return;
        };
        let name = loss.host.interface(device);
        for sysctl in rules::forwarding_sysctls(&name, loss.v6()) {
            asked.sysctl(netns, sysctl);
        }
        if let Some(query) = loss.routed(Some(device)) {
            asked.lookup(loss.host, netns, &query);
        }
        rules::l2::unredirected::ask(loss.host, netns, asked);
    },
};

/// The mode of the reverse-path filter, and what its lookup heeds.
pub const RP_FILTER: Need = Need {
    what: "sysctls of the reverse-path filter",
    ask: |loss, asked| {
        let (Some(netns), Some(device)) = (loss.netns(), loss.came_in().or(loss.device())) else {
            return;
        };
        let name = loss.host.interface(device);
        for setting in rules::source::conf_of_check(&name) {
            asked.sysctl(netns, setting);
        }
    },
};

/// Interfaces of the namespace that are down, or whose network holds the destination.
pub const WAYS: Need = Need {
    what: "interfaces that are down or lead to the destination",
    ask: |loss, asked| {
        let (Some(netns), host) = (loss.netns(), loss.host) else {
            return;
        };
        let leads = |device: Device| {
            let mut addresses = host.addresses(device).iter();
            loss.dst()
                .is_some_and(|dst| addresses.any(|a| routing::holds(a.address, a.prefix, dst)))
        };
        for link in host.links().filter(|l| l.device.netns == netns) {
            if !link.up || leads(link.device) {
                asked.push(Question::Link {
                    device: link.device,
                });
            }
        }
    },
};

/// Which routes to both ends of the flow are left, at both ends of a link that is down: others went with it.
pub const LEFT_ROUTES: Need = Need {
    what: "routes to both ends of the flow at both ends of a link that is down",
    ask: |loss, asked| {
        let (Some(tuple), host) = (loss.outermost(), loss.host) else {
            return;
        };
        let way = loss
            .netns()
            .and_then(|netns| routing::downed_way(host, netns, tuple.dst))
            .map(|link| link.device);
        // A bridge has no carrier since its ports have none.
        let bridge = loss.link().filter(|l| l.kind == "bridge");
        let ports = bridge
            .into_iter()
            .flat_map(|bridge| members(host, bridge))
            .map(|port| port.device);
        for device in loss.last_device().into_iter().chain(way).chain(ports) {
            let pair = [host.link(device), peer_of(host, device)];
            if pair.into_iter().flatten().all(|link| link.up) {
                continue;
            }
            for link in pair.into_iter().flatten() {
                for dst in [tuple.src, tuple.dst] {
                    let netns = link.device.netns;
                    asked.push(Question::RoutesTowards { netns, dst });
                }
            }
        }
    },
};

/// The route from the end of a tunnel back to who sent the packet into it.
pub const WAY_BACK: Need = Need {
    what: "routes from the end of a tunnel to the sender inside",
    ask: |loss, asked| {
        if let (Some(netns), Some(dst)) = (loss.netns(), rules::tunnel::inner_source(loss)) {
            asked.push(Question::RoutesTowards { netns, dst });
        }
    },
};

/// By which MACs two devices that have the same one know each other.
pub const TWINS: Need = Need {
    what: "neighbour entries of two tunnel ends with the same MAC for each other",
    ask: |loss, asked| {
        let host = loss.host;
        let Some(here) = loss.last_device().and_then(|d| host.link(d)) else {
            return;
        };
        let twins = here.mac.into_iter().flat_map(|mac| host.by_mac(mac));
        for twin in twins.filter(|l| l.device != here.device && l.vxlan.is_some()) {
            for (device, other) in [(here.device, twin.device), (twin.device, here.device)] {
                for address in host.addresses(other).iter().map(|a| a.address) {
                    asked.push(Question::Neighbor { device, address });
                }
            }
        }
    },
};

/// The chains of the namespace, twice where more is lost later: then it shows whose counters move.
pub const CHAINS: Need = Need {
    what: "chains and rules of the packet filters",
    ask: |loss, asked| {
        let Some(netns) = loss.netns() else { return };
        asked.push(Question::Chains { netns });
        if let Some(round) = netfilter::look_again(loss, netns) {
            asked.push(Question::ChainsAgain { netns, round });
        }
        if loss.frames().any(|f| f.starts_with("br_nf_")) {
            asked.sysctl(netns, netfilter::switch(loss.v6()));
        }
    },
};

/// The way back of a packet that rules filter by that.
pub const FILTERED_WAY_BACK: Need = Need {
    what: "the route to the source, where a rule of the packet filters asks for it",
    ask: |loss, asked| {
        let read = loss.netns().and_then(|netns| loss.host.filters.get(&netns));
        if read.is_some_and(|read| netfilter::asks_for_the_way_back(&read.fact)) {
            (ROUTE_BACK.ask)(loss, asked);
            (STRAY_SOURCE.ask)(loss, asked);
        }
    },
};

/// The machine that translated the source of a packet which rules stop.
pub const SOURCE_BEFORE: Need = Need {
    what: "rules of the machine that translated the source, and the route back to what it was",
    ask: |loss, asked| asked.extend(netfilter::questions_of_the_source_before(loss)),
};

/// A sender with several addresses, of which rules stop the one that it uses.
pub const OTHER_SOURCES: Need = Need {
    what: "routes and rules of a sender that has other addresses, or another way",
    ask: |loss, asked| {
        asked.extend(netfilter::questions_of_other_sources(loss));
        asked.extend(missing_route::question(&loss.view()));
    },
};

/// The ways back of those who own the destination, where they are neighbours of the namespace that has no route to it.
pub const OWNERS_WAY_BACK: Need = Need {
    what: "routes towards the source of neighbours that own the destination",
    ask: |loss, asked| {
        let (Some(netns), Some(tuple)) = (loss.netns(), loss.outermost()) else {
            return;
        };
        let beside = |owner: &Device| {
            attached(loss.host, *owner).is_some_and(|link| link.device.netns == netns)
        };
        for owner in loss.host.owners(tuple.dst).filter(beside) {
            asked.push(Question::RoutesTowards {
                netns: owner.netns,
                dst: tuple.src,
            });
        }
    },
};

/// Machines that can carry the packet on to where the namespace has no route.
pub const GATEWAYS: Need = Need {
    what: "forwarding and routes of the machines on the links of the namespace",
    ask: |loss, asked| {
        if let (Some(netns), Some(tuple)) = (loss.netns(), loss.outermost()) {
            gateways::ask(loss.host, netns, tuple, asked);
        }
    },
};

/// Router advertisements that brought no route.
pub const ADVERTISEMENTS: Need = Need {
    what: "router advertisements that the namespace got, where it has no route",
    ask: |loss, asked| {
        if let Some(netns) = loss.netns() {
            advertisements::ask(netns, loss.v6(), asked);
        }
    },
};

/// The routes of the namespaces between which a packet went round.
pub const LOOP: Need = Need {
    what: "policy rules and routes of the namespaces that the packet passed more than once",
    ask: rules::looped::ask,
};

/// Where the TTL was made small, and by what.
pub const LOWERED: Need = Need {
    what: "rules and programs where the TTL was lowered by more than one",
    ask: rules::limits::about_ttl,
};

/// What conntrack knows of the packet, and how full its table is.
pub const CONNTRACK: Need = Need {
    what: "conntrack: the entry, counters and limits",
    ask: |loss, asked| {
        let Some(netns) = loss.netns() else { return };
        if loss.function() == "nf_hook_slow" {
            asked.sysctl(netns, conntrack::COUNT);
            asked.sysctl(netns, conntrack::MOST);
            asked.push(Question::ConntrackCounters { netns });
        }
        if loss.info.ct_attached == Some(false) {
            asked.push(Question::ConntrackCounters { netns });
            asked.extend(idle::question(loss, netns));
        }
        if let Some(tuple) = loss.outermost().filter(|t| t.proto != Proto::Arp) {
            asked.push(Question::Conntrack {
                netns,
                tuple,
                zone: 0,
            });
        }
    },
};

/// Whether loopback addresses may leave.
pub const LOCALNET: Need = Need {
    what: "the route and route_localnet, of what OUTPUT translated and that comes from loopback",
    ask: rules::localnet::ask,
};

/// Who waits for a group's packet where copies of it ended.
pub const COPIES: Need = Need {
    what: "sockets on the port, where copies of a packet for a group ended",
    ask: rules::group::asked,
};

/// What IPVS has for a packet that ended where it decides.
pub const IPVS: Need = Need {
    what: "services and connections of IPVS",
    ask: |loss, asked| {
        let place = rules::ipvs::hook(loss).and(loss.netns());
        if let Some((netns, tuple)) = place.zip(loss.tuple()) {
            asked.push(Question::Ipvs { netns, tuple });
            asked.sysctl(netns, rules::ipvs::EXPIRE);
        }
    },
};

/// Whether the destination is a virtual address of IPVS.
pub const VIRTUAL_ADDRESS: Need = Need {
    what: "IPVS services on the packet's way",
    ask: |loss, asked| asked.extend(rules::virtual_address::questions(loss)),
};

/// Peers of all WireGuard devices: one that a packet was for may be on this machine too.
pub const WIREGUARD: Need = Need {
    what: "peers of WireGuard devices",
    ask: |loss, asked| asked.extend(wireguard::questions(loss.host)),
};

/// What Open vSwitch has for a packet that came to one of its ports.
pub const OPENVSWITCH: Need = Need {
    what: "bridges of Open vSwitch, its daemon, and what that would do with the packet",
    ask: |loss, asked| asked.extend(ovs::questions(loss.host, loss.steps())),
};

/// Queues of packets that processes have open.
pub const QUEUES: Need = Need {
    what: "queues of packets for processes (NFQUEUE)",
    ask: |loss, asked| {
        if let Some(netns) = loss.netns() {
            asked.push(Question::PacketQueues { netns });
        }
    },
};

/// Whether iptables sees what the translator's bridge forwards, and what its IPVS translates.
pub const BRIDGED_TRANSLATION: Need = Need {
    what: "whether iptables sees bridged packets, and IPVS makes connections, where the service is translated",
    ask: |loss, asked| asked.extend(nat::questions(loss)),
};

/// The rules of the machine that translated what came back to its own sender.
pub const HAIRPIN: Need = Need {
    what: "rules where a packet was translated that came back to its own sender",
    ask: nat::about_hairpin,
};

/// The sockets on the destination's port.
pub const SOCKETS: Need = Need {
    what: "sockets on the port",
    ask: |loss, asked| {
        if let (Some(netns), Some(tuple)) = (loss.netns(), loss.tuple()) {
            asked.extend(ports::question(netns, &tuple));
            asked.extend(socket::local_route(loss));
            let came_in = loss.came_in().or(loss.device());
            let wanted = Wanted {
                netns,
                tuple,
                interface: came_in.map(|d| d.ifindex),
            };
            if let Some(name) =
                accept_sysctl(tuple.proto).filter(|_| vrf_of(loss.host, &wanted).is_some())
            {
                asked.sysctl(netns, name);
            }
        }
    },
};

/// Whether nobody who is known sent it: a machine on its way may have translated it.
fn is_from_elsewhere(host: &Host, tuple: &Tuple) -> bool {
    host.owners(tuple.src).next().is_none()
}

/// Servers on other ports, where a rule chose this one; perhaps one of another machine.
pub const OTHER_PORTS: Need = Need {
    what: "sockets on other ports",
    ask: |loss, asked| {
        if let (Some(netns), Some(tuple)) = (loss.netns(), loss.tuple())
            && (socket::is_translated(loss, &tuple) || is_from_elsewhere(loss.host, &tuple))
        {
            asked.extend(ports::other_ports(netns, tuple.proto));
        }
    },
};

/// Whether echo requests to this destination are ignored.
pub const ECHO: Need = Need {
    what: "the sysctl that silences echo",
    ask: |loss, asked| {
        if let (Some(netns), Some(dst)) = (loss.netns(), loss.dst()) {
            asked.sysctl(netns, local::echo_sysctl(loss.host, netns, dst));
        }
    },
};

/// IPsec policies.
pub const XFRM: Need = Need {
    what: "IPsec policies",
    ask: |loss, asked| {
        if let Some(netns) = loss.netns() {
            asked.push(Question::XfrmPolicies { netns });
        }
    },
};

/// Programs of the cgroup tree, and the group of the socket.
pub const CGROUPS: Need = Need {
    what: "programs of cgroups",
    ask: |loss, asked| {
        asked.push(Question::Cgroups);
        if let Some(id) = loss.info.cgroup {
            asked.push(Question::Cgroup { id });
        }
    },
};

/// Programs, queues and processes on the interface of the loss, and on the one that redirected to it.
pub const DEVICE_STATE: Need = Need {
    what: "programs, queues and processes on the interface",
    ask: |loss, asked| {
        let Some(device) = loss.last_device() else {
            return;
        };
        asked.device_state(loss.host, device);
        // A redirect that failed was asked for where the packet came from.
        let mut before = loss.steps().iter().rev().filter_map(|s| s.event.device);
        if rules::is_redirect(loss)
            && let Some(from) = before.find(|d| *d != device)
        {
            asked.device_state(loss.host, from);
        }
    },
};

/// The neighbour that the packet waited for, what decided that it is the next hop, and who may answer for it.
pub const NEIGHBOR: Need = Need {
    what: "the neighbour that the packet waited for",
    ask: |loss, asked| {
        let (Some(netns), Some(device)) = (loss.netns(), loss.last_device()) else {
            return;
        };
        let address = rules::neighbor::waited_for(loss.trace, loss.event, Some(device))
            .map(|u| u.address)
            .or(loss.dst());
        let came_in = loss.came_in().filter(|d| Some(*d) != loss.device());
        if let Some(query) = loss.routed(came_in) {
            asked.lookup(loss.host, netns, &query);
        }
        if let Some(address) = address {
            asked.push(Question::Neighbor { device, address });
            about_neighbor(loss.trace, loss.host, Unresolved { device, address }, asked);
        }
    },
};

/// The interface of the loss and its other end: every rule may look at it.
pub const LINK: Need = Need {
    what: "the interface and its other end",
    ask: |loss, asked| {
        if let Some(device) = loss.last_device() {
            asked.link(loss.host, device);
        }
    },
};

/// What bridges and tunnels on the way know of the frame's MACs.
pub const FRAME: Need = Need {
    what: "forwarding databases on the way",
    ask: layer2::about_frame,
};

/// The neighbour entry by which the frame got its MAC, and the route that named the neighbour.
pub const SENDER_NEIGHBOR: Need = Need {
    what: "the sender's neighbour entry and its route",
    ask: layer2::about_sender,
};

/// Who the sender took for its next hop, where another machine got the packet.
pub const TAKEN: Need = Need {
    what: "the sender's route and neighbour entry, and whether who took the frame answers for others",
    ask: rules::l2::taken::questions,
};

/// How the one chose its source to whom the answer should have come.
pub const ASKER: Need = Need {
    what: "routes and source of the one who has asked with an address of this namespace",
    ask: |loss, asked| asked.extend(rules::duplicate::questions(loss)),
};

/// What stands on the interfaces between which frames are handed on.
pub const REDIRECTS: Need = Need {
    what: "filters of the interface, and of the one by which the other direction comes in",
    ask: rules::l2::unredirected::questions,
};

/// What stands on the interfaces of a namespace that refused what is for a machine elsewhere too.
pub const HANDED_UP: Need = Need {
    what: "filters of a namespace's interfaces, where another one has the destination's address too",
    ask: socket::ask_handed_up,
};

/// What the other ends of a tunnel know of it, where its own address is gone.
pub const OTHER_ENDS: Need = Need {
    what: "entries of a tunnel's other ends for its MAC",
    ask: |loss, asked| asked.extend(rules::tunnel::ask_other_ends(loss)),
};

/// To which remote end the tunnels on the way send the frame, and the route there.
pub const TUNNEL: Need = Need {
    what: "forwarding databases of tunnels, and the route to the remote end",
    ask: layer2::about_tunnels,
};
