//! The facts that hold now, as facts: what a recording begins with that begins in the middle of a trace. A later fact about the
//! same thing replaces the earlier one, and what has gone is given up, so that it does not grow however long a trace runs.

use std::collections::BTreeMap;
use std::net::IpAddr;

use super::facts::{AddressOwner, Fact, OwnerKind, Run};
use crate::model::{Device, KtimeNs, NetNs};

/// What a fact is about. In this order they are told: what is gone was there before.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Subject {
    DropReasons,
    ResetReasons,
    Symbols,
    Probe(String),
    Namespace(NetNs),
    Link(Device),
    Addresses(Device),
    /// Several services may lead to one endpoint: there the name is part of it.
    Owner(IpAddr, OwnerKind, Option<String>),
    /// What was read because somebody asked: a kind, and what was asked.
    Answer(Option<NetNs>, &'static str, String),
    Unread(String),
    NamespaceGone(NetNs),
    LinkGone(Device),
    Coverage,
    Cost,
}

/// The facts that hold.
#[derive(Clone, Debug, Default)]
pub struct Known {
    run: Option<Run>,
    facts: BTreeMap<Subject, (KtimeNs, Fact)>,
}

impl Known {
    /// Takes a fact in.
    pub fn take(&mut self, at: KtimeNs, fact: &Fact) {
        match fact {
            Fact::Run(run) => self.run = Some(run.as_ref().clone()),
            Fact::Owners(list) => {
                for one in list {
                    self.owner(at, one);
                }
            }
            Fact::Symbols(new) => {
                let entry = self.facts.entry(Subject::Symbols);
                let (_, known) = entry.or_insert_with(|| (at, Fact::Symbols(Vec::new())));
                if let Fact::Symbols(known) = known {
                    known.retain(|(address, _)| !new.iter().any(|(other, _)| other == address));
                    known.extend(new.iter().cloned());
                }
            }
            Fact::Namespace(namespace) => {
                self.facts.remove(&Subject::NamespaceGone(namespace.netns));
                self.put(at, Subject::Namespace(namespace.netns), fact);
            }
            Fact::Link(link) => {
                self.facts.remove(&Subject::LinkGone(link.device));
                self.put(at, Subject::Link(link.device), fact);
            }
            fact => {
                if let Some(subject) = subject(fact) {
                    self.put(at, subject, fact);
                }
            }
        }
    }

    fn put(&mut self, at: KtimeNs, subject: Subject, fact: &Fact) {
        self.facts.insert(subject, (at, fact.clone()));
    }

    fn owner(&mut self, at: KtimeNs, one: &AddressOwner) {
        let of_many = one.owner.kind == OwnerKind::Endpoint;
        let name = of_many.then(|| one.owner.name.clone());
        let subject = Subject::Owner(one.address, one.owner.kind, name);
        self.put(at, subject, &Fact::Owners(vec![one.clone()]));
    }

    /// Gives up what went before `gone`, and what was read before `read`.
    pub fn forget(&mut self, gone: KtimeNs, read: KtimeNs) {
        let mut namespaces = Vec::new();
        let mut devices = Vec::new();
        for (subject, (at, _)) in &self.facts {
            match subject {
                Subject::NamespaceGone(netns) if *at < gone => namespaces.push(*netns),
                Subject::LinkGone(device) if *at < gone => devices.push(*device),
                _ => {}
            }
        }
        let is_gone =
            |device: &Device| devices.contains(device) || namespaces.contains(&device.netns);
        self.facts.retain(|subject, (at, _)| match subject {
            Subject::Namespace(netns) | Subject::NamespaceGone(netns) => {
                !namespaces.contains(netns)
            }
            Subject::Link(device) | Subject::Addresses(device) | Subject::LinkGone(device) => {
                !is_gone(device)
            }
            Subject::Answer(netns, ..) => {
                *at >= read && netns.is_none_or(|netns| !namespaces.contains(&netns))
            }
            Subject::Unread(_) => *at >= read,
            _ => true,
        });
    }

    /// The run, once it is known.
    #[must_use]
    pub fn run(&self) -> Option<&Run> {
        self.run.as_ref()
    }

    /// The facts beside the run, each with the time at which it was told.
    pub fn facts(&self) -> impl Iterator<Item = (KtimeNs, Fact)> + '_ {
        self.facts.values().cloned()
    }
}

/// What a fact is about; `None` for what happened once and does not hold.
fn subject(fact: &Fact) -> Option<Subject> {
    let netns = fact.clone().netns_mut().copied();
    let answer = |kind, asked: &dyn std::fmt::Debug| {
        Some(Subject::Answer(netns, kind, format!("{asked:?}")))
    };
    match fact {
        Fact::DropReasons(_) => Some(Subject::DropReasons),
        Fact::ResetReasons(_) => Some(Subject::ResetReasons),
        Fact::Probe(probe) => Some(Subject::Probe(probe.name.clone())),
        Fact::Coverage { .. } => Some(Subject::Coverage),
        Fact::Cost(_) => Some(Subject::Cost),
        Fact::NamespaceGone(netns) => Some(Subject::NamespaceGone(*netns)),
        Fact::LinkGone(device) => Some(Subject::LinkGone(*device)),
        Fact::Addresses(device, _) => Some(Subject::Addresses(*device)),
        Fact::Unread { what, .. } => Some(Subject::Unread(what.clone())),
        Fact::Route(it) => answer("route", &(it.tuple, it.iif, it.with)),
        Fact::Neighbor(it) => answer("neighbor", &(it.device, it.address)),
        Fact::Forwarding(it) => answer("forwarding", &(it.device, it.mac)),
        Fact::PortVlans(it) => answer("vlans", &it.bridge),
        Fact::MulticastPorts(it) => answer("groups", &it.bridge),
        Fact::ProxyNeighbors(it) => answer("proxies", &it.v6),
        Fact::Sysctl { name, .. } => answer("sysctl", name),
        Fact::Rules(_, v6, _) => answer("rules", v6),
        Fact::XfrmPolicies(..) => answer("xfrm", &()),
        Fact::RoutesTowards(_, dst, _) => answer("towards", dst),
        Fact::Chains(..) | Fact::Ruleset(..) => answer("ruleset", &()),
        Fact::DeviceState(device, _) => answer("device", device),
        Fact::Sockets(it) => answer("sockets", &(it.proto, it.port)),
        Fact::LocalPorts(it) => answer("ports", &(it.proto, it.dst, it.port)),
        Fact::ProcessOwner(it) => answer("process", &it.pid),
        Fact::Cgroups(_) => answer("cgroups", &()),
        Fact::Cgroup(id, _) => answer("cgroup", id),
        Fact::Conntrack(it) => answer("conntrack", &it.tuple),
        Fact::ConntrackCounters(..) => answer("conntrack counters", &()),
        Fact::Ipvs(it) => answer("ipvs", &it.tuple),
        Fact::Ovs(it) => answer("ovs", &(it.device, it.flow.tuple)),
        Fact::PacketQueues(..) => answer("queues", &()),
        Fact::Advertisements(..) => answer("advertisements", &()),
        Fact::WireGuard(device, _) => answer("wireguard", device),
        // told apart above, of several nodes, or of one moment
        Fact::Run(_)
        | Fact::Node(_)
        | Fact::Namespace(_)
        | Fact::Link(_)
        | Fact::Owners(_)
        | Fact::Symbols(_)
        | Fact::RuleTrace(_)
        | Fact::Routing(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::host::facts::{Link, Namespace};
    use crate::model::IfIndex;

    fn namespace(netns: u32, name: &str) -> Fact {
        Fact::Namespace(Namespace {
            netns: NetNs(netns),
            name: name.to_owned(),
            process: None,
            path: None,
            node: None,
        })
    }

    fn device(netns: u32) -> Device {
        Device {
            netns: NetNs(netns),
            ifindex: IfIndex(2),
        }
    }

    fn sysctl(netns: u32, value: &str) -> Fact {
        Fact::Sysctl {
            netns: NetNs(netns),
            name: "net/ipv4/ip_forward".to_owned(),
            value: Some(value.to_owned()),
        }
    }

    fn told(known: &Known) -> Vec<Fact> {
        known.facts().map(|(_, fact)| fact).collect()
    }

    #[test]
    fn the_later_fact_about_a_thing_stands() {
        let mut known = Known::default();
        known.take(KtimeNs(1), &sysctl(1, "1"));
        known.take(KtimeNs(2), &namespace(1, "netns:1"));
        known.take(KtimeNs(3), &sysctl(1, "0"));
        known.take(KtimeNs(4), &namespace(1, "pod shop/cart"));
        assert_eq!(
            told(&known),
            [namespace(1, "pod shop/cart"), sysctl(1, "0")]
        );
    }

    #[test]
    fn pods_that_come_and_go_leave_nothing() {
        let mut known = Known::default();
        known.take(KtimeNs(1), &namespace(1, "host"));
        let before = told(&known);
        for n in 2..200 {
            let at = KtimeNs(u64::from(n) * 10);
            known.take(at, &namespace(n, "pod"));
            known.take(at, &Fact::Link(Link::new(device(n), "eth0")));
            known.take(at, &Fact::Addresses(device(n), Vec::new()));
            known.take(at, &sysctl(n, "1"));
            known.take(KtimeNs(at.0 + 5), &Fact::NamespaceGone(NetNs(n)));
            known.forget(at, KtimeNs(0));
            assert!(told(&known).len() < 20, "{n}");
        }
        known.forget(KtimeNs(u64::MAX), KtimeNs(0));
        assert_eq!(told(&known), before);
    }

    #[test]
    fn what_came_back_is_there() {
        let mut known = Known::default();
        known.take(KtimeNs(1), &namespace(1, "blue"));
        known.take(KtimeNs(2), &Fact::NamespaceGone(NetNs(1)));
        known.take(KtimeNs(3), &namespace(1, "blue"));
        known.forget(KtimeNs(u64::MAX), KtimeNs(0));
        assert_eq!(told(&known), [namespace(1, "blue")]);
    }

    #[test]
    fn what_was_read_long_ago_is_given_up() {
        let mut known = Known::default();
        known.take(KtimeNs(1), &sysctl(1, "1"));
        known.take(KtimeNs(9), &sysctl(2, "1"));
        known.forget(KtimeNs(0), KtimeNs(5));
        assert_eq!(told(&known), [sysctl(2, "1")]);
    }
}
