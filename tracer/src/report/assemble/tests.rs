//! A trace made by hand, and its report.
#![expect(clippy::unwrap_used, reason = "tests")]

use std::collections::BTreeMap;

use bytes::Bytes;

use super::assemble;
use crate::correlate::{Trace, Unfollowed};
use crate::diagnose::{Diagnosis, Judged};
use crate::host::Host;
use crate::host::facts::{
    BaseChain, Fact, FilterEngine, Link, Namespace, Neighbor, Probe, ProbeState, RouteAnswer, Run,
    Selectors,
};
use crate::model::Losses;
use crate::model::{
    Detail, Device, Direction, DropInfo, Event, Fate, Flow, FlowId, Frame, HookId, Hop, IfIndex,
    Joined, Journey, JourneyId, KtimeNs, Latency, Mac, NetNs, Path, Process, Proto, Rewrite, Side,
    Step, Tuple, TupleRole,
};
use crate::verdict::{Affected, Confidence, Outcome, Verdict};

const START: u64 = 1_000_000_000;
const POD: Device = device(1, 2);
const ROUTER: Device = device(2, 3);

const fn device(netns: u32, ifindex: u32) -> Device {
    Device {
        netns: NetNs(netns),
        ifindex: IfIndex(ifindex),
    }
}

fn tuple(dst: &str, dport: u16) -> Tuple {
    Tuple {
        proto: Proto::Tcp,
        src: "10.0.0.2".parse().unwrap(),
        sport: 5000,
        dst: dst.parse().unwrap(),
        dport,
        icmp_id: 0,
    }
}

fn hop(device: Device, side: Side, tuple: Tuple) -> Hop {
    Hop {
        device,
        side,
        tuple,
        tunnel: None,
        packets: 3,
        bytes: 180,
        latency: None,
        rewrites: Vec::new(),
        lost_after: 0,
        last_seen: KtimeNs(START),
        next: Vec::new(),
    }
}

fn flow(id: u32, forward: Vec<Hop>) -> Flow {
    let asked = tuple("10.96.0.1", 443);
    Flow {
        id: FlowId(id),
        tuples: vec![
            (TupleRole::Asked, asked),
            (TupleRole::Reply, asked.reversed()),
        ],
        packets: BTreeMap::new(),
        forward: Path { hops: forward },
        reply: Path::default(),
        journeys: Vec::new(),
        journeys_seen: BTreeMap::new(),
        acked: BTreeMap::new(),
        drops: BTreeMap::new(),
        unseen: Vec::new(),
        sending: BTreeMap::new(),
        fates: BTreeMap::new(),
        first: KtimeNs(START),
        last: KtimeNs(START),
        pause: None,
    }
}

fn verdict(outcome: Outcome, affected: u64) -> Verdict {
    Verdict {
        outcome,
        cause: None,
        confidence: Confidence::Certain,
        summary: "summary".into(),
        place: None,
        packets: Affected { seen: 3, affected },
        evidence: Vec::new(),
        advice: Vec::new(),
    }
}

fn event(at: u64, hook: u8, device: Option<Device>, detail: Detail) -> Event {
    Event {
        at: KtimeNs(START + at),
        cpu: 0,
        hook: HookId(hook),
        skb: None,
        head: 0,
        cloned: false,
        fingerprint: None,
        device,
        iif: 0,
        netns: device.map(|device| device.netns),
        socket: None,
        process: None,
        tuple: Some(tuple("10.96.0.1", 443)),
        original: None,
        len: 60,
        segments: 1,
        pkt_type: 0,
        flags: 0,
        packet: None,
        bytes: Bytes::new(),
        detail,
    }
}

fn journey(id: u64, fate: Fate, events: Vec<Event>) -> (JourneyId, Journey) {
    let id = JourneyId(id);
    let steps = events
        .into_iter()
        .map(|event| Step {
            event,
            joined: Joined::Skb,
            branch: 0,
        })
        .collect();
    (
        id,
        Journey {
            id,
            flow: FlowId(1),
            direction: Direction::Forward,
            steps,
            steps_dropped: 0,
            fate,
        },
    )
}

fn host() -> Host {
    let facts = [
        Fact::Run(Box::new(Run {
            tool_version: "0.1.0".into(),
            hostname: "node1".into(),
            kernel: "6.18.5".into(),
            arch: "x86_64".into(),
            boot_id: "b".into(),
            expression: "tcp and host 10.96.0.1".into(),
            clauses: vec!["tcp, host 10.96.0.1".into()],
            asked_src: Vec::new(),
            asked_dst: Vec::new(),
            asked: Vec::new(),
            names_addresses: true,
            asked_ports: Vec::new(),
            started_unix_ns: 1_790_000_000_123_456_789,
            started_ktime: KtimeNs(START),
            one_way: false,
            rules: false,
            also: Vec::new(),
            only_netns: Vec::new(),
            only_interfaces: Vec::new(),
        })),
        Fact::Namespace(Namespace {
            process: None,
            path: None,
            node: None,
            netns: NetNs(1),
            name: "pod".into(),
        }),
        Fact::Link(Link {
            kind: "veth".into(),
            mac: Some(Mac([2, 0, 0, 0, 0, 1])),
            mtu: 1500,
            up: true,
            carrier: false,
            arp_type: 1,
            ..Link::new(POD, "eth0")
        }),
        Fact::Probe(Probe {
            name: "kfree_skb".into(),
            state: ProbeState::Attached,
            detail: "tp_btf".into(),
        }),
        Fact::Coverage {
            covered: 4,
            total: 5,
        },
        Fact::Route(RouteAnswer {
            netns: NetNs(1),
            tuple: tuple("10.96.0.1", 443),
            iif: 2,
            with: Selectors::default(),
            result: Err(101),
        }),
        Fact::Neighbor(Neighbor {
            device: POD,
            address: "10.0.0.1".parse().unwrap(),
            state: 0x20,
            mac: None,
        }),
        Fact::Sysctl {
            netns: NetNs(1),
            name: "net/ipv4/ip_forward".into(),
            value: Some("0".into()),
        },
        Fact::Chains(
            NetNs(2),
            vec![BaseChain {
                engine: FilterEngine::Nftables,
                family: "ip".into(),
                table: "filter".into(),
                chain: "FORWARD".into(),
                hook: "FORWARD".into(),
                priority: 0,
                policy_drop: true,
                rules: Some(1),
                policy_packets: None,
                kind: None,
                devices: Vec::new(),
                stops: Vec::new(),
                more_stops: false,
            }],
        ),
        Fact::Unread {
            what: "legacy tables".into(),
            why: "EPERM".into(),
        },
    ];
    let mut host = Host::default();
    for fact in facts {
        host.apply(KtimeNs(START + 5), fact);
    }
    host
}

fn dropped() -> Event {
    let mut event = event(
        2_000,
        2,
        Some(ROUTER),
        Detail::Drop(Box::new(DropInfo {
            reason_code: 12,
            site: 0,
            reason: Some("NETFILTER_DROP".into()),
            function: Some("nft_do_chain".into()),
            stack: vec![
                Frame {
                    addr: 1,
                    name: Some("nf_hook_slow".into()),
                },
                Frame {
                    addr: 0xff,
                    name: None,
                },
            ],
            listed: false,
            dst_error: Some(113),
            no_carrier: Some(false),
            device_up: Some(true),
            mtu: None,
            qdisc: None,
            ct_status: None,
            ct_attached: None,
            ct_untracked: false,
            mark: 0,
            cgroup: None,
        })),
    );
    event.process = Some(Process {
        pid: 42,
        comm: "curl".into(),
    });
    event
}

fn trace() -> Trace {
    let asked = tuple("10.96.0.1", 443);
    let real = tuple("10.0.0.5", 6443);
    let mut last = hop(ROUTER, Side::Ingress, real);
    last.rewrites = vec![
        Rewrite::Dnat {
            from: asked,
            to: real,
        },
        Rewrite::Ttl(1),
    ];
    last.lost_after = 3;
    let mut first = hop(POD, Side::Egress, asked);
    first.latency = Some(Latency {
        p50: 1,
        p99: 2,
        max: 3,
    });
    Trace {
        flows: vec![flow(0, Vec::new()), flow(1, vec![first, last])],
        journeys: BTreeMap::from([journey(
            1,
            Fate::Dropped { step: 1 },
            vec![event(1_000, 1, Some(POD), Detail::Egress), dropped()],
        )]),
        beside: Vec::new(),
        packets: 3,
        unfollowed: Unfollowed {
            flows: 2,
            packets: 9,
            crowded: 4,
        },
        flows_seen: 2,
        events: 9,
        drops: 0,
        now: KtimeNs(START + 4_200_000_000),
        losses: Losses {
            lost: vec![("kfree_skb".into(), 2), ("tc-ingress".into(), 0)],
            thinned: vec![("kfree_skb".into(), 5)],
            map_full: 1,
            ..Losses::default()
        },
        decode_errors: 4,
    }
}

fn judged(flow: u32, outcome: Outcome, affected: u64) -> Judged {
    Judged {
        flow: FlowId(flow),
        verdict: verdict(outcome, affected),
        losses: Vec::new(),
    }
}

fn diagnosis() -> Diagnosis {
    Diagnosis {
        flows: vec![
            judged(0, Outcome::Delivered, 0),
            judged(1, Outcome::Dropped, 3),
        ],
        overall: verdict(Outcome::Dropped, 3),
    }
}

#[test]
fn the_report_of_a_dropped_flow() {
    let report = assemble(&trace(), &host(), &diagnosis());
    insta::assert_json_snapshot!(report);
}

#[test]
fn the_same_inputs_give_the_same_bytes() {
    let once = serde_json::to_string(&assemble(&trace(), &host(), &diagnosis())).unwrap();
    let again = serde_json::to_string(&assemble(&trace(), &host(), &diagnosis())).unwrap();
    assert_eq!(once, again);
}

#[test]
fn flows_are_sorted_worst_first() {
    let mut diagnosis = diagnosis();
    diagnosis.flows = vec![
        judged(0, Outcome::Delivered, 0),
        judged(1, Outcome::Dropped, 1),
        judged(2, Outcome::Dropped, 7),
        judged(3, Outcome::Unanswered, 9),
        judged(4, Outcome::Dropped, 7),
    ];
    let report = assemble(&trace(), &host(), &diagnosis);
    let ids: Vec<u32> = report.flows.iter().map(|flow| flow.id).collect();
    assert_eq!(ids, [2, 4, 1, 3, 0]);
}

#[test]
fn lost_packets_are_kept_before_others() {
    let mut trace = trace();
    // a hundred that arrived, then as many lost ones as the report can hold, less one
    trace.journeys = (0..100)
        .map(|id| journey(id, Fate::Delivered, Vec::new()))
        .chain((100..163).map(|id| journey(id, Fate::Dropped { step: 0 }, Vec::new())))
        .collect();
    let report = assemble(&trace, &host(), &diagnosis());
    let fates = |fate: &str| {
        let of = |journey: &&crate::report::JourneyReport| journey.fate == fate;
        report.journeys.iter().filter(of).count()
    };
    assert_eq!((fates("dropped"), fates("delivered")), (63, 1));
    assert!(report.journeys.is_sorted_by_key(|journey| journey.id));
}

#[test]
fn a_long_journey_keeps_its_end() {
    let mut trace = trace();
    let mut events: Vec<Event> = (0..300)
        .map(|at| event(at, 0, Some(ROUTER), Detail::Ingress))
        .collect();
    events.push(dropped());
    trace.journeys = BTreeMap::from([journey(1, Fate::Dropped { step: 300 }, events)]);
    let report = assemble(&trace, &host(), &diagnosis());
    let journey = report.journeys.first().unwrap();
    assert_eq!(journey.steps.len() as u64 + journey.steps_left_out, 301);
    assert_eq!(journey.steps.last().unwrap().hook, "kfree_skb");
}

#[test]
fn nothing_known_of_the_host_is_no_obstacle() {
    let report = assemble(&trace(), &Host::default(), &diagnosis());
    assert_eq!(report.trace.started_at, "1970-01-01T00:00:00Z");
    let hops = report.flows.iter().flat_map(|flow| &flow.paths);
    let names: Vec<&str> = hops
        .flat_map(|path| &path.hops)
        .map(|hop| hop.interface.as_str())
        .collect();
    assert_eq!(names, ["if:2", "if:3"]);
}

#[test]
fn a_probe_that_failed_on_an_interface_that_is_gone_hides_nothing() {
    let failed = |host: &mut Host| {
        host.apply(
            KtimeNs(START),
            Fact::Probe(Probe {
                name: format!("tc {}/{}", host.namespace(POD.netns), host.interface(POD)),
                state: ProbeState::Failed,
                detail: "No such device".into(),
            }),
        );
    };
    let state = |host: &Host| {
        let report = assemble(&trace(), host, &diagnosis());
        let mut probes = report.trace.completeness.probes.into_iter();
        probes.find(|p| p.name.starts_with("tc ")).map(|p| p.state)
    };
    let mut host = host();
    failed(&mut host);
    assert_eq!(state(&host).as_deref(), Some("failed"));
    host.apply(KtimeNs(START), Fact::LinkGone(POD));
    assert_eq!(state(&host).as_deref(), Some("gone"));
}
