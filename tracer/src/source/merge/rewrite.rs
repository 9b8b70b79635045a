//! Inputs of one node, rewritten so that they can stand among those of others: what is a number of one machine only
//! (namespaces, kernel addresses, processors, drop reasons, cgroups) becomes one of all, times become those of the
//! first node's clock.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use bytes::Bytes;
use tracer_common::event::{RAW_EVENT_SIZE, RawEvent};
use tracer_common::hook::{self, Argument};
use tracer_common::stats::{HopCount, HopKey};
use zerocopy::{FromBytes, IntoBytes};

use crate::host::facts::{
    AddressOwner, CgroupProgram, Cgroups, Fact, Namespace, NodeClock, NodeId, OwnerKind, Probe,
    ProbeState, TracedNode,
};
use crate::model::{Counters, Losses};
use crate::model::{KtimeNs, NetNs};
use crate::source::Input;
use crate::source::interface_filter::InterfaceFilter;

/// Kernel addresses have all of their upper 16 bits set: there is room for the node.
const NODE_IN_ADDRESS: u32 = 48;
/// Subsystems of drop reasons are few: above them there is room for the node.
const NODE_IN_REASON: u32 = 24;

/// What has been numbered, and what of the machines has to be told as one.
#[derive(Default)]
pub(super) struct Numbers {
    namespaces: BTreeMap<(NodeId, u32), NetNs>,
    taken: BTreeSet<NetNs>,
    processors: BTreeMap<(NodeId, u16), u16>,
    new: Vec<Namespace>,
    names: BTreeMap<NodeId, String>,
    probes: BTreeMap<String, BTreeMap<NodeId, Probe>>,
    coverage: BTreeMap<NodeId, (u32, u32)>,
    programs: BTreeMap<NodeId, Cgroups>,
    losses: BTreeMap<NodeId, Losses>,
    owners: BTreeMap<(IpAddr, OwnerKind), NodeId>,
}

impl Numbers {
    /// Names of namespaces that were numbered since the last call.
    pub(super) fn told(&mut self, now: KtimeNs) -> impl Iterator<Item = Input> {
        let told = move |namespace| Input::Host(now, Fact::Namespace(namespace));
        self.new.drain(..).map(told)
    }

    fn namespace(&mut self, node: NodeId, netns: NetNs) -> NetNs {
        if let Some(known) = self.namespaces.get(&(node, netns.0)) {
            return *known;
        }
        // as on its own machine where no other has it; else small, which the kernel's numbers never are
        let small = (1..).map(NetNs).find(|n| !self.taken.contains(n));
        let number = Some(netns)
            .filter(|own| !self.taken.contains(own))
            .or(small)
            .unwrap_or(netns);
        self.taken.insert(number);
        self.namespaces.insert((node, netns.0), number);
        self.new.push(Namespace {
            process: None,
            path: None,
            netns: number,
            name: format!("netns:{}", netns.0),
            node: Some(node),
        });
        number
    }

    /// What is told of a machine as a whole, told of all: with what the other nodes told before. Not before it is its turn:
    /// nodes are read in another order than that of the times.
    pub(super) fn sum(&mut self, node: NodeId, input: Input) -> Input {
        match input {
            Input::Counters(at, counters) => Input::Counters(at, self.counters(node, counters)),
            Input::Host(at, fact) => {
                let fact = match fact {
                    // those of an interface are named after their node
                    Fact::Probe(probe) if !probe.name.contains(' ') => {
                        Fact::Probe(self.probe(node, probe))
                    }
                    Fact::Coverage { covered, total } => self.coverage(node, (covered, total)),
                    Fact::Cgroups(found) => self.cgroups(node, found),
                    Fact::Owners(list) => self.owners(node, list),
                    fact => fact,
                };
                Input::Host(at, fact)
            }
            input => input,
        }
    }

    fn processor(&mut self, node: NodeId, cpu: u16) -> u16 {
        let next = u16::try_from(self.processors.len()).unwrap_or(u16::MAX);
        *self.processors.entry((node, cpu)).or_insert(next)
    }

    /// A probe of all nodes: as good as the worst of them.
    fn probe(&mut self, node: NodeId, probe: Probe) -> Probe {
        let name = probe.name.clone();
        let all = self.probes.entry(name.clone()).or_default();
        all.insert(node, probe);
        let badness = |probe: &&Probe| match probe.state {
            ProbeState::Attached => 0,
            ProbeState::Missing => 1,
            ProbeState::Failed => 2,
        };
        let state = all
            .values()
            .max_by_key(badness)
            .map_or(ProbeState::Attached, |worst| worst.state);
        let mut details: Vec<&str> = all.values().map(|p| p.detail.as_str()).collect();
        details.dedup();
        let detail = if let [same] = details.as_slice() {
            (*same).to_owned()
        } else {
            let each = all.iter().map(|(node, probe)| {
                let name = self.names.get(node).map_or("", String::as_str);
                format!("{name}: {}", probe.detail)
            });
            each.collect::<Vec<_>>().join("; ")
        };
        Probe {
            name,
            state,
            detail,
        }
    }

    fn coverage(&mut self, node: NodeId, coverage: (u32, u32)) -> Fact {
        self.coverage.insert(node, coverage);
        let sum = |of: fn(&(u32, u32)) -> u32| self.coverage.values().map(of).sum();
        Fact::Coverage {
            covered: sum(|c| c.0),
            total: sum(|c| c.1),
        }
    }

    /// Addresses of containers are often the same on each node: they belong to those of whoever told of them first.
    fn owners(&mut self, node: NodeId, mut list: Vec<AddressOwner>) -> Fact {
        list.retain(|AddressOwner { address, owner }| {
            *self.owners.entry((*address, owner.kind)).or_insert(node) == node
        });
        Fact::Owners(list)
    }

    fn cgroups(&mut self, node: NodeId, mut found: Cgroups) -> Fact {
        let own = |program: &mut CgroupProgram| program.node = Some(node);
        found.programs.iter_mut().for_each(own);
        self.programs.insert(node, found);
        // the first node's
        let first = self.programs.values().next();
        let mount = first.map_or_else(String::new, |found| found.mount.clone());
        let all = self.programs.values().flat_map(|c| &c.programs);
        Fact::Cgroups(Cgroups {
            mount,
            programs: all.cloned().collect(),
        })
    }

    /// A node's rows, which are its own, and the losses of all.
    fn counters(&mut self, node: NodeId, counters: Counters) -> Counters {
        self.losses.insert(node, counters.loss);
        let mut loss = Losses::default();
        for losses in self.losses.values() {
            loss += losses;
        }
        Counters {
            hops: counters.hops,
            loss,
        }
    }
}

/// Rewrites the inputs of one node.
pub(super) struct Rewriter {
    node: NodeId,
    name: String,
    clock: NodeClock,
    only_netns: Vec<String>,
    /// Their names on its own machine.
    namespaces: BTreeMap<NetNs, String>,
    interfaces: InterfaceFilter,
}

impl Rewriter {
    pub(super) fn new(node: &TracedNode) -> Self {
        Self {
            node: node.id,
            name: node.name.clone(),
            clock: node.clock,
            only_netns: node.run.only_netns.clone(),
            namespaces: BTreeMap::new(),
            interfaces: InterfaceFilter::default(),
        }
    }

    /// The input as one of the merged trace; `None` for what says nothing there.
    pub(super) fn rewrite(&mut self, input: Input, numbers: &mut Numbers) -> Option<Input> {
        match input {
            Input::Host(at, fact) => {
                let at = self.clock.at_reference(at);
                Some(Input::Host(at, self.fact(fact, numbers)?))
            }
            Input::Record(record) => self.record(&record, numbers).map(Input::Record),
            Input::Counters(at, counters) => {
                let at = self.clock.at_reference(at);
                Some(Input::Counters(at, self.counters(counters, numbers)))
            }
            Input::Tick(at) => Some(Input::Tick(self.clock.at_reference(at))),
            Input::End(..) => None,
        }
    }

    fn fact(&mut self, mut fact: Fact, numbers: &mut Numbers) -> Option<Fact> {
        numbers
            .names
            .entry(self.node)
            .or_insert_with(|| self.name.clone());
        self.interfaces.notice(&fact);
        // What a narrowed run knows of other namespaces may be another node's own: they are told by that one.
        let named = matches!(fact, Fact::Namespace(_));
        if !named
            && fact
                .netns_mut()
                .is_some_and(|netns| !self.is_watched(*netns))
        {
            return None;
        }
        let mut fact = match fact {
            Fact::Namespace(mut namespace) => {
                let name = namespace.name.clone();
                self.namespaces.insert(namespace.netns, name);
                namespace.node = Some(self.node);
                Fact::Namespace(namespace)
            }
            // what a node's tracer cost is not what the others did
            Fact::Run(_) | Fact::Node(_) | Fact::Cost(_) => return None,
            Fact::DropReasons(names) => Fact::DropReasons(self.reasons(names)),
            Fact::ResetReasons(names) => Fact::ResetReasons(self.reasons(names)),
            Fact::Symbols(names) => Fact::Symbols(
                names
                    .into_iter()
                    .map(|(address, name)| (self.address(address), name))
                    .collect(),
            ),
            // tc's probes are of an interface, and only told when they fail
            Fact::Probe(probe) if probe.name.contains(' ') => Fact::Probe(Probe {
                name: format!("{}: {}", self.name, probe.name),
                ..probe
            }),
            Fact::Cgroup(id, path) => Fact::Cgroup(self.cgroup(id), path),
            Fact::Unread { what, why } => Fact::Unread {
                what: format!("{}: {what}", self.name),
                why,
            },
            fact => fact,
        };
        fact.renumber(|netns| numbers.namespace(self.node, netns));
        Some(fact)
    }

    fn is_watched(&self, netns: NetNs) -> bool {
        let named = |name: &String| self.only_netns.contains(name);
        self.only_netns.is_empty() || self.namespaces.get(&netns).is_some_and(named)
    }

    fn record(&self, record: &Bytes, numbers: &mut Numbers) -> Option<Bytes> {
        let Ok((mut raw, _)) = RawEvent::read_from_prefix(record) else {
            // the correlator counts it
            return Some(record.clone());
        };
        if !self.interfaces.wants(&raw) {
            return None;
        }
        let mut number = |netns: u32| match netns {
            0 => 0,
            netns => numbers.namespace(self.node, NetNs(netns)).0,
        };
        raw.netns = number(raw.netns);
        raw.sk_netns = number(raw.sk_netns);
        raw.cpu = numbers.processor(self.node, raw.cpu);
        raw.ktime_ns = self.clock.at_reference(KtimeNs(raw.ktime_ns)).0;
        for address in [&mut raw.skb, &mut raw.head, &mut raw.sk, &mut raw.location] {
            *address = self.address(*address);
        }
        raw.reason = self.reason(raw.reason);
        let [first, second] = hook::arguments(raw.hook);
        raw.arg0 = self.argument(first, raw.arg0);
        raw.arg1 = self.argument(second, raw.arg1);
        let mut bytes = record.to_vec();
        let stack_at = RAW_EVENT_SIZE + usize::from(raw.cap_reserved);
        if let Some((stack, _)) = bytes
            .get_mut(stack_at..)
            .map(|rest| rest.as_chunks_mut::<8>())
        {
            for frame in stack.iter_mut().take(raw.stack_len.into()) {
                *frame = self.address(u64::from_ne_bytes(*frame)).to_ne_bytes();
            }
        }
        // as long as what was read from it
        let _ = raw.write_to_prefix(&mut bytes);
        Some(bytes.into())
    }

    fn counters(&self, mut counters: Counters, numbers: &mut Numbers) -> Counters {
        let time = |at: u64| match at {
            0 => 0,
            at => self.clock.at_reference(KtimeNs(at)).0,
        };
        for (
            HopKey { netns, .. },
            HopCount {
                first_ns, last_ns, ..
            },
        ) in &mut counters.hops
        {
            *netns = numbers.namespace(self.node, NetNs(*netns)).0;
            *first_ns = time(*first_ns);
            *last_ns = time(*last_ns);
        }
        counters
    }

    /// What a hook's own field holds, as a value of all nodes; nothing where it is not declared what it is.
    fn argument(&self, kind: Argument, value: u64) -> u64 {
        match kind {
            Argument::Unused => 0,
            Argument::Number | Argument::Errno => value,
            Argument::Cgroup => self.cgroup(value),
        }
    }

    fn address(&self, address: u64) -> u64 {
        match address {
            0 => 0,
            address => address ^ u64::from(self.node.0) << NODE_IN_ADDRESS,
        }
    }

    fn cgroup(&self, id: u64) -> u64 {
        match id {
            0 => 0,
            id => id | u64::from(self.node.0) << NODE_IN_ADDRESS,
        }
    }

    fn reason(&self, code: u32) -> u32 {
        code ^ u32::from(self.node.0) << NODE_IN_REASON
    }

    fn reasons(&self, names: Vec<(u32, String)>) -> Vec<(u32, String)> {
        names
            .into_iter()
            .map(|(code, name)| (self.reason(code), name))
            .collect()
    }
}
