//! Reports made by hand for the tests of all renderers, each with the name of what happened.

use crate::model::Latency;
use crate::report::{
    Completeness, ContextEntry, FlowReport, HookLoss, HopReport, HostInfo, OwnerReport, PathReport,
    ProbeReport, ProcessReport, Report, SCHEMA, Tool, TraceInfo, TupleReport,
};

use crate::verdict::{Advice, AdviceKind, Affected, Confidence, Evidence, Outcome, Place, Verdict};

pub(crate) fn all() -> Vec<(&'static str, Report)> {
    vec![
        ("delivered_dnat", delivered_dnat()),
        ("forward_drop", forward_drop()),
        ("vxlan_wrong_mac", vxlan_wrong_mac()),
        ("reply_lost_ipv6", reply_lost_ipv6()),
        ("not_sent", not_sent()),
        ("no_traffic", no_traffic()),
        ("unanswered_incomplete", unanswered_incomplete()),
        ("many_flows", many_flows()),
    ]
}

/// `10.0.0.1:80` and `10.0.0.1` into address and port.
fn end(text: &str) -> (String, u16) {
    match text.rsplit_once(':') {
        Some((address, port)) if !address.contains(':') || address.ends_with(']') => (
            address.trim_matches(['[', ']']).into(),
            port.parse().unwrap_or(0),
        ),
        _ => (text.into(), 0),
    }
}

fn tuple(role: &str, text: &str) -> TupleReport {
    let words: Vec<&str> = text.split(' ').collect();
    let word = |i: usize| words.get(i).copied().unwrap_or_default();
    let ((src, sport), (dst, dport)) = (end(word(1)), end(word(3)));
    TupleReport {
        role: role.into(),
        proto: word(0).into(),
        src,
        sport,
        dst,
        dport,
        icmp_id: word(5).parse().ok(),
        text: text.into(),
    }
}

/// `router r-client ingress` with its tuple.
fn hop(place: &str, tuple: &str, packets: u64) -> HopReport {
    let mut words = place.split(' ');
    let mut word = || words.next().unwrap_or_default().to_owned();
    HopReport {
        n: 0,
        node: None,
        namespace: word(),
        interface: word(),
        ifindex: 2,
        hook: word(),
        tuple: tuple.into(),
        packets,
        bytes: packets * 84,
        latency_ns: None,
        rewrites: Vec::new(),
        lost_after: 0,
        next: Vec::new(),
        last_ns: 0,
        checks: Vec::new(),
    }
}

impl HopReport {
    fn after(mut self, rewrites: &[&str]) -> Self {
        self.rewrites = rewrites.iter().map(ToString::to_string).collect();
        self
    }

    fn next(mut self, p50: u64, p99: u64) -> Self {
        let max = p99 * 2;
        self.latency_ns = Some(Latency { p50, p99, max });
        self
    }

    fn lost(mut self, packets: u64) -> Self {
        self.lost_after = packets;
        self
    }
}

fn path(direction: &str, mut hops: Vec<HopReport>) -> PathReport {
    for (n, hop) in (1..).zip(&mut hops) {
        hop.n = n;
    }
    PathReport {
        direction: direction.into(),
        hops,
        checks: Vec::new(),
    }
}

fn verdict(outcome: Outcome, cause: Option<&str>, summary: &str, packets: (u64, u64)) -> Verdict {
    Verdict {
        outcome,
        cause: cause.map(Into::into),
        confidence: Confidence::Certain,
        summary: summary.into(),
        place: None,
        packets: Affected {
            seen: packets.0,
            affected: packets.1,
        },
        evidence: Vec::new(),
        advice: Vec::new(),
    }
}

impl Verdict {
    /// `namespace interface hook function`, `-` for none.
    fn at(mut self, place: &str) -> Self {
        let mut words = place.split(' ');
        let mut word = || {
            let word = words.next().filter(|word| *word != "-");
            word.map(ToOwned::to_owned)
        };
        self.place = Some(Place {
            node: None,
            namespace: word(),
            interface: word(),
            hook: word(),
            function: word(),
        });
        self
    }

    fn because(mut self, kind: &str, text: &str) -> Self {
        self.evidence.push(Evidence {
            kind: kind.into(),
            text: text.into(),
        });
        self
    }

    fn advise(mut self, text: &str, command: &str) -> Self {
        let command = (!command.is_empty()).then(|| command.into());
        self.advice
            .push(Advice::new(AdviceKind::Look, text, command));
        self
    }

    fn likely(mut self) -> Self {
        self.confidence = Confidence::Likely;
        self
    }
}

fn flow(id: u32, asked: &str, verdict: Verdict, paths: Vec<PathReport>) -> FlowReport {
    FlowReport {
        id,
        tuples: vec![tuple("asked", asked)],
        owners: Vec::new(),
        sender: None,
        receiver: None,
        verdict,
        losses: Vec::new(),
        paths,
    }
}

fn report(expression: &str, packets: u64, verdict: Verdict, flows: Vec<FlowReport>) -> Report {
    Report {
        schema: SCHEMA.into(),
        tool: Tool {
            name: "tracer".into(),
            version: "0.1.0".into(),
        },
        nodes: Vec::new(),
        namespaces: Vec::new(),
        host: HostInfo {
            hostname: "node1".into(),
            kernel: "6.18.5".into(),
            arch: "x86_64".into(),
            boot_id: "0c0ffee0".into(),
        },
        trace: TraceInfo {
            expression: expression.into(),
            clauses: Vec::new(),
            started_at: "2026-09-21T14:13:20.123Z".into(),
            duration_ms: 4_210,
            packets,
            flows_seen: flows.len() as u64,
            flows_counted: 0,
            packets_counted: 0,
            events: packets * 14,
            cost: None,
            completeness: Completeness {
                probes: ["kfree_skb", "neigh_update", "tc-ingress"]
                    .map(|name| probe(name, "attached", "tp_btf"))
                    .into(),
                interfaces_covered: 8,
                interfaces_total: 8,
                ..Completeness::default()
            },
        },
        verdict,
        flows,
        journeys: Vec::new(),
        context: Vec::new(),
        changes: Vec::new(),
    }
}

fn probe(name: &str, state: &str, detail: &str) -> ProbeReport {
    ProbeReport {
        name: name.into(),
        state: state.into(),
        detail: detail.into(),
    }
}

pub(crate) fn owner(address: &str, owner: &str) -> OwnerReport {
    OwnerReport {
        address: address.into(),
        owner: owner.into(),
    }
}

/// A service address translated on the node, answered, and translated back.
pub(crate) fn delivered_dnat() -> Report {
    let asked = "tcp 10.244.1.7:40112 > 10.96.0.1:443";
    let there = "tcp 10.244.1.7:40112 > 192.168.7.20:6443";
    let masked = "tcp 192.168.7.10:40112 > 192.168.7.20:6443";
    let back = "tcp 192.168.7.20:6443 > 192.168.7.10:40112";
    let answer = "tcp 10.96.0.1:443 > 10.244.1.7:40112";
    let verdict = verdict(
        Outcome::Delivered,
        None,
        "Left this node through eth0 and was answered: 6 packets there, 5 back",
        (6, 0),
    );
    let forward = path(
        "forward",
        vec![
            hop("default/web-7d4b9 eth0 egress", asked, 6).next(3_100, 9_000),
            hop("host veth3f2a ingress", asked, 6).next(28_400, 41_000),
            hop("host eth0 egress", masked, 6).after(&[
                "dnat 10.96.0.1:443 > 192.168.7.20:6443",
                "snat 10.244.1.7:40112 > 192.168.7.10:40112",
                "ttl -1",
            ]),
        ],
    );
    let reply = path(
        "reply",
        vec![
            hop("host eth0 ingress", back, 5).next(19_000, 25_000),
            hop("host veth3f2a egress", answer, 5)
                .after(&[
                    "dnat 192.168.7.10:40112 > 10.244.1.7:40112",
                    "snat 192.168.7.20:6443 > 10.96.0.1:443",
                    "ttl -1",
                ])
                .next(2_000, 2_600),
            hop("default/web-7d4b9 eth0 ingress", answer, 5),
        ],
    );
    let mut flow = flow(0, asked, verdict.clone(), vec![forward, reply]);
    flow.tuples.push(tuple("translated", there));
    flow.owners = vec![
        owner("10.244.1.7", "pod default/web-7d4b9"),
        owner("10.96.0.1", "service default/kubernetes"),
    ];
    flow.sender = Some(ProcessReport {
        pid: 4711,
        comm: "curl".into(),
        owner: Some("container web of pod default/web-7d4b9".into()),
    });
    report(
        "tcp and host 10.96.0.1 and port 443",
        11,
        verdict,
        vec![flow],
    )
}

/// The policy of the FORWARD chain.
pub(crate) fn forward_drop() -> Report {
    let asked = "icmp 10.1.0.2 > 10.2.0.2 id 7";
    let verdict = verdict(
        Outcome::Dropped,
        Some("netfilter.drop"),
        "FORWARD DROP on router at r-client → r-server: chain ip filter/FORWARD has policy drop",
        (3, 3),
    )
    .at("router r-client FORWARD nft_do_chain")
    .because("drop", "3 × NETFILTER_DROP at nft_do_chain")
    .because(
        "stack",
        "nft_do_chain ← nft_do_chain_ipv4 ← nf_hook_slow ← ip_forward",
    )
    .because(
        "chain",
        "ip filter/FORWARD (nf_tables) at hook FORWARD priority 0: policy drop, 0 rules",
    )
    .advise(
        "let this flow pass (its answers need a rule of their own unless established ones pass)",
        "ip netns exec router iptables -I FORWARD -s 10.1.0.2 -d 10.2.0.2 -p icmp -j ACCEPT",
    )
    .advise(
        "or let all pass: this opens the firewall for everything that no rule drops",
        "ip netns exec router iptables -P FORWARD ACCEPT",
    );
    let forward = path(
        "forward",
        vec![
            hop("client eth0 egress", asked, 3).next(12_300, 40_000),
            hop("router r-client ingress", asked, 3).lost(3),
        ],
    );
    report(
        "icmp and host 10.2.0.2",
        3,
        verdict.clone(),
        vec![flow(0, asked, verdict, vec![forward])],
    )
}

/// Decapsulated, then found to be for another MAC.
pub(crate) fn vxlan_wrong_mac() -> Report {
    let asked = "icmp 10.132.2.2 > 10.132.2.46 id 3172";
    let verdict = verdict(
        Outcome::Dropped,
        Some("l2.wrong-destination-mac"),
        "Reached podns/vxlan0 and was discarded there: destination MAC 0a:58:0a:84:02:2e, the interface has 7e:e5:f7:e6:f5:1a",
        (4, 4),
    )
    .at("podns vxlan0 device ip_rcv_core")
    .because("drop", "4 × OTHERHOST at ip_rcv_core")
    .because("neighbor", "worker/br0 has 10.132.2.46 lladdr 0a:58:0a:84:02:2e REACHABLE")
    .because("link", "podns/vxlan0 has MAC 7e:e5:f7:e6:f5:1a; no interface here has 0a:58:0a:84:02:2e")
    .advise(
        "give the interface the MAC that its neighbours know",
        "ip netns exec podns ip link set dev vxlan0 address 0a:58:0a:84:02:2e",
    );
    let forward = path(
        "forward",
        vec![
            hop("worker ovn-k8s-mp0 egress", asked, 4).next(2_400, 5_000),
            hop("worker vxlan_sys_4789 egress", asked, 4).next(8_100, 11_000),
            hop("worker enp1s0 egress", asked, 4)
                .after(&["vxlan push vni 555005 192.168.10.163 > 192.168.10.201"])
                .next(31_000, 64_000),
            hop("vm-kata-9f3c17d2/sandbox enp1s0 ingress", asked, 4).next(12_000, 19_000),
            hop("podns vxlan0 ingress", asked, 4)
                .after(&["vxlan pop vni 555005 192.168.10.163 > 192.168.10.201"])
                .lost(4),
        ],
    );
    report(
        "icmp and host 10.132.2.46",
        4,
        verdict.clone(),
        vec![flow(0, asked, verdict, vec![forward])],
    )
}

/// The answer finds no neighbour on its way back.
pub(crate) fn reply_lost_ipv6() -> Report {
    let asked = "udp [fd00:1:2::15]:53210 > [fd00:9:8::53]:53";
    let answer = "udp [fd00:9:8::53]:53 > [fd00:1:2::15]:53210";
    let verdict = verdict(
        Outcome::Dropped,
        Some("neighbor.unresolved"),
        "ND miss on gateway at lan0: nobody answers for fd00:1:2::15",
        (2, 2),
    )
    .at("gateway lan0 neighbor ndisc_error_report")
    .likely()
    .because("neighbor", "fd00:1:2::15 dev lan0 FAILED")
    .advise(
        "see whether the host is up and holds the address",
        "ip -6 -n gateway neigh show dev lan0",
    );
    let forward = path(
        "forward",
        vec![
            hop("gateway lan0 ingress", asked, 2).next(1_204_000, 3_000_000),
            hop("gateway wan0 egress", asked, 2).after(&["ttl -1"]),
        ],
    );
    let reply = path(
        "reply",
        vec![hop("gateway wan0 ingress", answer, 2).lost(2)],
    );
    let mut report = report(
        "udp port 53 and host fd00:9:8::53",
        4,
        verdict.clone(),
        vec![flow(0, asked, verdict, vec![forward, reply])],
    );
    let probes = &mut report.trace.completeness.probes;
    probes.push(probe("tcp_send_reset", "missing", "no such tracepoint"));
    report.context.push(ContextEntry {
        node: None,
        kind: "unread".into(),
        namespace: None,
        text: "legacy tables: EPERM".into(),
        at_ns: None,
    });
    report
}

/// The sender's own routing refused: there is no packet.
pub(crate) fn not_sent() -> Report {
    let asked = "udp 10.1.0.2:0 > 203.0.113.9:53";
    let verdict = verdict(
        Outcome::NotSent,
        Some("route.none"),
        "Not sent: client has no route to 203.0.113.9 (the sender got ENETUNREACH)",
        (0, 0),
    )
    .at("client - route fib_table_lookup")
    .because("route", "2 lookups by dig[4242] failed: ENETUNREACH (101)")
    .advise(
        "add a route, for instance a default one",
        "ip -n client route add default via GATEWAY dev eth0",
    )
    .advise("or see which routes there are", "ip -n client route");
    report(
        "udp port 53",
        0,
        verdict.clone(),
        vec![flow(0, asked, verdict, vec![path("forward", Vec::new())])],
    )
}

/// Nothing matched.
pub(crate) fn no_traffic() -> Report {
    let verdict = verdict(
        Outcome::NoTraffic,
        None,
        "No packet matched in 4.2 s on 8 interfaces",
        (0, 0),
    )
    .advise("see whether anything is sent at all", "tracer ip");
    report("tcp port 8443", 0, verdict, Vec::new())
}

/// An answer that does not come, in a trace that did not see everything.
pub(crate) fn unanswered_incomplete() -> Report {
    let asked = "tcp 192.168.77.6:51514 > 93.184.216.34:80";
    let outside = "tcp 192.168.64.9:51514 > 93.184.216.34:80";
    let verdict = verdict(
        Outcome::Unanswered,
        Some("remote.unanswered"),
        "Left host through en0 as it should; nothing came back in 3.1 s",
        (1_204_331, 1_204_331),
    )
    .at("host en0 device -")
    .likely()
    .because("tcp", "5 retransmissions of the SYN, no answer")
    .advise(
        "look from the other side, or whether a device between drops it",
        "",
    );
    let forward = path(
        "forward",
        vec![
            hop("host bridge100 ingress", asked, 1_204_340).lost(9),
            hop("host en0 egress", outside, 1_204_331)
                .after(&["snat 192.168.77.6:51514 > 192.168.64.9:51514", "ttl -1"]),
        ],
    );
    let mut report = report(
        "tcp and host 93.184.216.34 and (port 80 or port 443 or portrange 8000-8100) and not net 10.0.0.0/8",
        1_204_340,
        verdict.clone(),
        vec![flow(0, asked, verdict, vec![forward])],
    );
    report.trace.completeness = Completeness {
        lost_events: 120,
        thinned_events: 1_100_000,
        missed_events: 3,
        map_full: 2,
        decode_errors: 0,
        unreadable: 0,
        tags_evicted: 7,
        strangers_refused: 4,
        by_hook: vec![
            HookLoss {
                hook: "kfree_skb".into(),
                lost: 20,
                thinned: 0,
                missed: 3,
            },
            HookLoss {
                hook: "tc-egress".into(),
                lost: 100,
                thinned: 1_100_000,
                missed: 0,
            },
        ],
        probes: vec![
            probe("icmp_send", "missing", "this kernel has no such tracepoint"),
            probe("kfree_skb", "attached", "tp_btf"),
            probe(
                "sock_recv_length",
                "missing",
                "this kernel has no such tracepoint",
            ),
            probe(
                "tc host/en1",
                "failed",
                "EBUSY: another classifier holds the hook",
            ),
        ],
        interfaces_covered: 7,
        interfaces_total: 8,
    };
    report
}

/// More flows than are shown.
pub(crate) fn many_flows() -> Report {
    let bad = verdict(
        Outcome::Rejected,
        Some("socket.none"),
        "Nobody listens on tcp port 8080 in 服务/узел-1: the kernel answered with a reset",
        (1, 1),
    )
    .at("服务/узел-1 eth0 socket tcp_v4_rcv")
    .because("drop", "NO_SOCKET at tcp_v4_rcv")
    .advise(
        "see what listens there",
        "ip netns exec '服务/узел-1' ss -lntp",
    );
    let good = verdict(
        Outcome::Delivered,
        None,
        "Delivered to its socket, and answered",
        (4, 0),
    );
    let mut flows = Vec::new();
    for id in 0..8u32 {
        let asked = format!("tcp 10.0.0.1:{} > 10.0.0.2:8080", 40_000 + id);
        let verdict = if id == 0 { bad.clone() } else { good.clone() };
        let last = hop("服务/узел-1 eth0 ingress", &asked, 1);
        let forward = path(
            "forward",
            vec![
                hop("client eth0 egress", &asked, 1).next(900, 1_000),
                if id == 0 { last.lost(1) } else { last },
            ],
        );
        flows.push(flow(id, &asked, verdict, vec![forward]));
    }
    report("tcp port 8080", 29, bad, flows)
}
