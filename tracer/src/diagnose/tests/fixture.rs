//! A builder of small traces and hosts.
#![expect(clippy::unwrap_used, reason = "a test's own mistakes may end it")]

use bytes::Bytes;
use tracer_common::hook;

use crate::correlate::Trace;
use crate::diagnose::{Diagnosis, diagnose};
use crate::host::Host;
use crate::host::facts::{
    BaseChain, Fact, FilterEngine, InterfaceAddress, Link, Namespace, Question, Run,
};
use crate::model::{
    Detail, Device, Direction, DropInfo, Ethernet, Event, Fate, Flow, FlowId, Frame, HookId, Hop,
    IfIndex, Joined, Journey, JourneyId, KtimeNs, Mac, NeighborEvent, NetNs, Packet, Proto, Side,
    Step, Transport, Tuple, TupleRole,
};
use crate::verdict::Verdict;

/// A place of a flow, passed by one packet.
pub(super) fn hop(device: Device, side: Side, tuple: Tuple) -> Hop {
    Hop {
        device,
        side,
        tuple,
        tunnel: None,
        packets: 1,
        bytes: 84,
        latency: None,
        rewrites: Vec::new(),
        lost_after: 0,
        last_seen: KtimeNs(0),
        next: Vec::new(),
    }
}

/// A network with its trace.
#[derive(Default)]
pub(super) struct Net {
    pub(super) trace: Trace,
    pub(super) host: Host,
    clock: u64,
    journeys: u64,
}

/// An echo request, or that of IPv6.
pub(super) fn echo(src: &str, dst: &str) -> Tuple {
    let dst: std::net::IpAddr = dst.parse().unwrap();
    Tuple {
        proto: if dst.is_ipv6() {
            Proto::Icmp6
        } else {
            Proto::Icmp
        },
        src: src.parse().unwrap(),
        sport: 0,
        dst,
        dport: 0,
        icmp_id: 7,
    }
}

/// A tuple with ports.
pub(super) fn ports(proto: Proto, src: &str, sport: u16, dst: &str, dport: u16) -> Tuple {
    Tuple {
        proto,
        sport,
        dport,
        icmp_id: 0,
        ..echo(src, dst)
    }
}

pub(super) fn mac(last: u8) -> Mac {
    Mac([2, 0, 0, 0, 0, last])
}

pub(super) fn device(ns: u32, ifindex: u32) -> Device {
    Device {
        netns: NetNs(ns),
        ifindex: IfIndex(ifindex),
    }
}

/// `a<b<c` as frames.
fn frames(stack: &str) -> Vec<Frame> {
    stack
        .split('<')
        .filter(|name| !name.is_empty())
        .map(|name| Frame {
            addr: 0,
            name: Some(name.to_owned()),
        })
        .collect()
}

/// A drop as the kernel tells it: reason, function, callers.
pub(super) fn dropped(reason: &str, function: &str, stack: &str) -> DropInfo {
    DropInfo {
        reason_code: 2,
        site: 0,
        reason: (!reason.is_empty()).then(|| reason.to_owned()),
        function: Some(function.to_owned()),
        stack: frames(stack),
        listed: false,
        dst_error: None,
        no_carrier: Some(false),
        device_up: Some(true),
        mtu: Some(1500),
        qdisc: Some("noqueue".to_owned()),
        ct_status: None,
        ct_attached: None,
        ct_untracked: false,
        mark: 0,
        cgroup: None,
    }
}

impl Net {
    /// Namespaces numbered from 1.
    pub(super) fn with(names: &[&str]) -> Self {
        let mut net = Self::default();
        for (n, name) in (1..).zip(names) {
            net.fact(Fact::Namespace(Namespace {
                process: None,
                path: None,
                node: None,
                netns: NetNs(n),
                name: (*name).to_owned(),
            }));
        }
        net
    }

    pub(super) fn fact(&mut self, fact: Fact) {
        self.host.apply(KtimeNs(self.clock), fact);
    }

    /// The address that the trace asks for.
    pub(super) fn asked(&mut self, dst: &str) {
        self.fact(Fact::Run(Box::new(Run {
            tool_version: String::new(),
            hostname: String::new(),
            kernel: String::new(),
            arch: String::new(),
            boot_id: String::new(),
            expression: format!("host {dst}"),
            clauses: Vec::new(),
            asked_src: Vec::new(),
            asked_dst: vec![dst.parse().unwrap()],
            asked: Vec::new(),
            names_addresses: true,
            asked_ports: Vec::new(),
            started_unix_ns: 0,
            started_ktime: KtimeNs(0),
            one_way: false,
            rules: false,
            also: Vec::new(),
            only_netns: Vec::new(),
            only_interfaces: Vec::new(),
        })));
    }

    /// An interface that is up.
    pub(super) fn link(&mut self, at: Device, name: &str, change: impl FnOnce(&mut Link)) {
        let mut link = Link {
            kind: "veth".to_owned(),
            mtu: 1500,
            up: true,
            carrier: true,
            arp_type: 1,
            ..Link::new(at, name)
        };
        change(&mut link);
        self.fact(Fact::Link(link));
    }

    pub(super) fn address(&mut self, at: Device, address: &str, prefix: u8) {
        self.addresses(at, &[address], prefix);
    }

    pub(super) fn addresses(&mut self, at: Device, addresses: &[&str], prefix: u8) {
        let list = addresses.iter().map(|address| InterfaceAddress {
            address: address.parse().unwrap(),
            prefix,
            tentative: false,
            dad_failed: false,
            deprecated: false,
            secondary: false,
            scope: 0,
        });
        self.fact(Fact::Addresses(at, list.collect()));
    }

    pub(super) fn sysctl(&mut self, ns: u32, name: &str, value: &str) {
        self.fact(Fact::Sysctl {
            netns: NetNs(ns),
            name: name.to_owned(),
            value: Some(value.to_owned()),
        });
    }

    pub(super) fn chain(&mut self, ns: u32, engine: FilterEngine, names: [&str; 4], drop: bool) {
        let [family, table, chain, hook] = names;
        self.fact(Fact::Chains(
            NetNs(ns),
            vec![BaseChain {
                engine,
                family: family.to_owned(),
                table: table.to_owned(),
                chain: chain.to_owned(),
                hook: hook.to_owned(),
                priority: 0,
                policy_drop: drop,
                rules: Some(0),
                policy_packets: None,
                kind: None,
                devices: Vec::new(),
                stops: Vec::new(),
                more_stops: false,
            }],
        ));
    }

    /// A flow without packets yet.
    pub(super) fn flow(&mut self, asked: Tuple) -> FlowId {
        let id = FlowId(u32::try_from(self.trace.flows.len()).unwrap());
        self.trace.flows.push(Flow {
            id,
            tuples: vec![
                (TupleRole::Asked, asked),
                (TupleRole::Reply, asked.reversed()),
            ],
            packets: Default::default(),
            forward: Default::default(),
            reply: Default::default(),
            journeys: Vec::new(),
            journeys_seen: Default::default(),
            acked: Default::default(),
            drops: Default::default(),
            unseen: Vec::new(),
            sending: Default::default(),
            fates: Default::default(),
            first: KtimeNs(self.clock),
            last: KtimeNs(self.clock),
            pause: None,
        });
        id
    }

    /// An event that belongs to no journey.
    pub(super) fn beside(&mut self, at: Option<Device>, tuple: Option<Tuple>, detail: Detail) {
        let event = self.event(at, tuple, detail);
        self.trace.beside.push(event);
    }

    pub(super) fn neighbor(&mut self, at: Device, address: &str, state: u8) {
        let event = NeighborEvent {
            address: Some(address.parse().unwrap()),
            state,
            new_state: None,
            mac: None,
            new_mac: None,
        };
        self.beside(Some(at), None, Detail::Neighbor(event));
    }

    pub(super) fn event(
        &mut self,
        at: Option<Device>,
        tuple: Option<Tuple>,
        detail: Detail,
    ) -> Event {
        self.clock += 1_000;
        Event {
            at: KtimeNs(self.clock),
            cpu: 0,
            hook: HookId(hook::KFREE_SKB),
            skb: None,
            head: 0,
            cloned: false,
            fingerprint: None,
            device: at,
            iif: 0,
            netns: at.map(|d| d.netns),
            socket: None,
            process: None,
            tuple,
            original: None,
            len: 98,
            segments: 1,
            pkt_type: 0,
            flags: 0,
            packet: tuple.map(packet),
            bytes: Bytes::new(),
            detail,
        }
    }

    /// Time passes.
    pub(super) fn wait(&mut self, milliseconds: u64) {
        self.clock += milliseconds * 1_000_000;
        self.trace.now = KtimeNs(self.clock);
    }

    /// A packet of a flow.
    pub(super) fn packet(&mut self, flow: FlowId, direction: Direction) -> Walk<'_> {
        let asked = self
            .trace
            .flows
            .get(flow.0 as usize)
            .unwrap()
            .asked()
            .unwrap();
        let tuple = match direction {
            Direction::Forward => asked,
            _ => asked.reversed(),
        };
        self.wait(10);
        Walk {
            net: self,
            flow,
            direction,
            tuple,
            steps: Vec::new(),
            change: Box::new(|_| {}),
        }
    }

    pub(super) fn diagnose(&mut self) -> Diagnosis {
        self.wait(2_000);
        diagnose(&self.trace, &self.host)
    }

    /// The verdict of the whole.
    pub(super) fn verdict(&mut self) -> Verdict {
        self.diagnose().overall
    }

    pub(super) fn questions(&self) -> Vec<Question> {
        crate::diagnose::questions(&self.trace, &self.host)
    }
}

/// Headers that fit a tuple; `icmp_id` makes an echo request.
fn packet(tuple: Tuple) -> Packet {
    Packet {
        ethernet: None,
        vlans: Vec::new(),
        tunnel: None,
        inner_ethernet: None,
        tuple: Some(tuple),
        ttl: 64,
        tos: 0,
        ip_id: 1,
        ip_len: 84,
        next_header: None,
        dont_fragment: false,
        fragment: None,
        carrier_id: None,
        carrier_ttl: None,
        transport: match tuple.proto {
            Proto::Icmp | Proto::Icmp6 => Transport::Icmp {
                icmp_type: if tuple.proto == Proto::Icmp { 8 } else { 128 },
                code: 0,
                seq: 1,
                quoted: None,
                mtu: None,
            },
            Proto::Udp => Transport::Udp { payload: 20 },
            Proto::Tcp => tcp(2, 100, 0),
            _ => Transport::Other,
        },
    }
}

/// A TCP header.
pub(super) fn tcp(flags: u8, seq: u32, ack: u32) -> Transport {
    Transport::Tcp {
        seq,
        ack,
        flags,
        window: 1000,
        payload: 0,
        signed: false,
    }
}

/// A journey being written.
pub(super) struct Walk<'n> {
    net: &'n mut Net,
    flow: FlowId,
    direction: Direction,
    tuple: Tuple,
    steps: Vec<Step>,
    change: Box<dyn Fn(&mut Event)>,
}

impl Walk<'_> {
    /// Changes every event from here on.
    pub(super) fn with(mut self, change: impl Fn(&mut Event) + 'static) -> Self {
        self.change = Box::new(change);
        self
    }

    /// With another transport header.
    pub(super) fn transport(self, transport: Transport) -> Self {
        self.with(move |e| e.packet.as_mut().unwrap().transport = transport)
    }

    /// With this destination MAC.
    pub(super) fn bound_for(self, dst: Mac) -> Self {
        self.with(move |e| {
            e.packet.as_mut().unwrap().ethernet = Some(Ethernet {
                src: mac(0xee),
                dst,
            });
        })
    }

    pub(super) fn step(mut self, at: Option<Device>, detail: Detail) -> Self {
        let mut event = self.net.event(at, Some(self.tuple), detail);
        (self.change)(&mut event);
        self.steps.push(Step {
            event,
            joined: Joined::Skb,
            branch: 0,
        });
        self
    }

    /// Translated: other headers from here on.
    pub(super) fn becomes(mut self, tuple: Tuple) -> Self {
        self.tuple = tuple;
        self
    }

    pub(super) fn leaves(self, at: Device) -> Self {
        self.step(Some(at), Detail::Egress)
    }

    pub(super) fn enters(self, at: Device) -> Self {
        self.step(Some(at), Detail::Ingress)
    }

    pub(super) fn icmp_sent(self, at: Device, icmp_type: u8, code: u8) -> Self {
        self.step(Some(at), Detail::IcmpSend { icmp_type, code })
    }

    /// Dropped on a device, or (without one) in a namespace.
    pub(super) fn dies(self, at: Option<Device>, info: DropInfo) -> Self {
        let step = self.steps.len();
        self.step(at, Detail::Drop(Box::new(info)))
            .ends(Fate::Dropped { step })
    }

    pub(super) fn arrives(self, at: Device) -> Self {
        self.step(Some(at), Detail::SocketReached)
            .ends(Fate::Delivered)
    }

    pub(super) fn goes_away(self) -> Self {
        let step = self.steps.len() - 1;
        self.ends(Fate::Left { step })
    }

    pub(super) fn vanishes(self) -> Self {
        let step = self.steps.len() - 1;
        self.ends(Fate::Vanished { step })
    }

    /// Without a function as kernels before 6.3 tell it.
    pub(super) fn consumed(self, at: Device, function: Option<&str>) -> Self {
        let step = self.steps.len();
        self.step(
            Some(at),
            Detail::Consumed {
                function: function.map(str::to_owned),
            },
        )
        .ends(Fate::Consumed { step })
    }

    fn ends(self, fate: Fate) -> Self {
        let id = JourneyId(self.net.journeys);
        self.net.journeys += 1;
        let flow = self.net.trace.flows.get_mut(self.flow.0 as usize).unwrap();
        flow.journeys.push(id);
        *flow.journeys_seen.entry(self.direction).or_default() += 1;
        *flow.packets.entry(self.direction).or_default() += 1;
        let counts = flow.fates.entry(self.direction).or_default();
        match fate {
            Fate::InFlight => counts.in_flight += 1,
            Fate::Delivered => counts.delivered += 1,
            Fate::Dropped { .. } => counts.dropped += 1,
            Fate::Left { .. } => counts.left += 1,
            Fate::Vanished { .. } => counts.vanished += 1,
            Fate::Consumed { .. } => counts.consumed += 1,
        }
        self.net.trace.journeys.insert(
            id,
            Journey {
                id,
                flow: self.flow,
                direction: self.direction,
                steps: self.steps.clone(),
                steps_dropped: 0,
                fate,
            },
        );
        self
    }
}
