//! Programs, queues and processes at interfaces and cgroups: named from what was read beside the loss, and losses that
//! the kernel does not tell at all.

use super::fixture::{Net, device, dropped, echo, ports};
use crate::host::facts::{
    Action, Attachment, BpfProgram, CgroupProgram, Cgroups, DeviceState, Fact, Holder,
    LinkCounters, Qdisc, Question, Run,
};
use crate::model::{
    Detail, Device, Direction, DropInfo, Hop, KtimeNs, Process, Proto, Side, Tuple,
};
use crate::verdict::{AdviceKind, Confidence, Outcome, Verdict};

const POD: u32 = 1;
const NODE: u32 = 2;

/// pod/eth0 - node/veth1, node/out0.
fn node() -> Net {
    let mut net = Net::with(&["pod", "node"]);
    net.link(device(POD, 2), "eth0", |l| l.peer = Some(device(NODE, 2)));
    net.link(device(NODE, 2), "veth1", |l| l.peer = Some(device(POD, 2)));
    net.link(device(NODE, 3), "out0", |_| {});
    net.address(device(POD, 2), "10.2.0.2", 24);
    net
}

fn ping() -> Tuple {
    echo("10.2.0.2", "10.3.0.9")
}

fn guard(hook: &str, how: &str) -> Attachment {
    Attachment {
        hook: hook.to_owned(),
        how: how.to_owned(),
        priority: if how == "bpf" { 50 } else { 0 },
        protocol: 0,
        program: Some(BpfProgram {
            id: 7,
            name: "guard".to_owned(),
        }),
        actions: Vec::new(),
    }
}

fn attached(net: &mut Net, at: Device, change: impl FnOnce(&mut DeviceState)) {
    let mut attached = DeviceState::default();
    change(&mut attached);
    net.fact(Fact::DeviceState(at, attached));
}

fn dies_at(net: &mut Net, at: Device, info: DropInfo) -> Verdict {
    let flow = net.flow(ping());
    net.packet(flow, Direction::Forward)
        .leaves(device(POD, 2))
        .enters(device(NODE, 2))
        .dies(Some(at), info);
    net.verdict()
}

fn commands(verdict: &Verdict) -> Vec<&str> {
    verdict
        .advice
        .iter()
        .filter_map(|a| a.command.as_deref())
        .collect()
}

#[test]
fn the_tc_program_is_named_with_the_command_that_takes_it_off() {
    for (how, off) in [
        ("bpf", "tc filter del dev veth1 ingress pref 50 bpf"),
        ("tcx", "bpftool net detach tcx_ingress dev veth1"),
    ] {
        let mut net = node();
        attached(&mut net, device(NODE, 2), |s| {
            s.programs = vec![guard("tc-ingress", how), guard("tc-egress", "tcx")];
        });
        let info = dropped("TC_INGRESS", "__netif_receive_skb_core", "");
        let verdict = dies_at(&mut net, device(NODE, 2), info);
        assert_eq!(verdict.cause.as_deref(), Some("tc.drop"));
        assert!(
            verdict.summary.contains("guard (id 7)"),
            "{}",
            verdict.summary
        );
        assert!(!verdict.summary.contains("one of"), "{}", verdict.summary);
        let commands = commands(&verdict);
        assert!(commands.iter().any(|c| c.ends_with(off)), "{commands:?}");
        assert!(commands.contains(&"bpftool prog show id 7"));
    }
}

/// Both are freed in one function, which kernels before 5.17 tell and no more.
#[test]
fn without_a_reason_a_filter_and_a_full_queue_are_told_apart_by_how_they_free() {
    for (listed, cause) in [(false, "tc.drop"), (true, "qdisc.full")] {
        let mut net = node();
        attached(&mut net, device(NODE, 2), |s| {
            s.programs = vec![guard("tc-egress", "bpf")];
            let of = |kind: &str, handle: &str, parent: &str| Qdisc {
                kind: kind.to_owned(),
                handle: handle.to_owned(),
                parent: parent.to_owned(),
                drops: 3,
                ..Qdisc::default()
            };
            s.qdiscs = vec![
                of("pfifo", "1:", "root"),
                of("clsact", "ffff:", "ffff:fff1"),
            ];
        });
        let mut info = dropped("", "__dev_queue_xmit", "ip_finish_output2");
        info.listed = listed;
        info.qdisc = Some("pfifo".to_owned());
        let verdict = dies_at(&mut net, device(NODE, 2), info);
        assert_eq!(verdict.cause.as_deref(), Some(cause), "{listed}");
        assert!(!verdict.summary.contains("clsact"), "{}", verdict.summary);
    }
}

#[test]
fn several_programs_at_one_hook_are_all_named() {
    let mut net = node();
    attached(&mut net, device(NODE, 2), |s| {
        s.programs = vec![guard("tc-ingress", "tcx"), guard("tc-ingress", "bpf")];
    });
    let info = dropped("TC_INGRESS", "__netif_receive_skb_core", "");
    let verdict = dies_at(&mut net, device(NODE, 2), info);
    assert!(verdict.summary.contains("one of"), "{}", verdict.summary);
}

#[test]
fn a_redirect_to_a_device_that_is_down_is_raised() {
    for (up, raised) in [(false, true), (true, false)] {
        let mut net = node();
        net.link(device(NODE, 9), "insp0", |l| l.up = up);
        attached(&mut net, device(NODE, 2), |s| {
            s.programs = vec![Attachment {
                how: "u32".to_owned(),
                program: None,
                actions: vec![Action {
                    kind: "mirred".to_owned(),
                    verb: "redirect".to_owned(),
                    to: Some(9),
                }],
                ..guard("tc-ingress", "u32")
            }];
        });
        let info = dropped("TC_INGRESS", "__netif_receive_skb_core", "");
        let verdict = dies_at(&mut net, device(NODE, 2), info);
        assert!(verdict.summary.contains("redirect to insp0"));
        let up = commands(&verdict)
            .iter()
            .any(|c| c.ends_with("ip link set dev insp0 up"));
        assert_eq!(up, raised, "{:?}", verdict.advice);
    }
}

#[test]
fn a_program_that_redirects_to_a_dead_device_is_named_beside_the_link() {
    let mut net = node();
    net.link(device(NODE, 9), "spare0", |l| l.up = false);
    attached(&mut net, device(NODE, 2), |s| {
        s.programs = vec![guard("tc-ingress", "tcx")];
    });
    let mut info = dropped(
        "QDISC_DROP",
        "__dev_queue_xmit",
        "__bpf_redirect<skb_do_redirect",
    );
    info.no_carrier = Some(true);
    let verdict = dies_at(&mut net, device(NODE, 9), info);
    assert_eq!(verdict.cause.as_deref(), Some("link.down"));
    assert!(verdict.summary.contains("guard"), "{}", verdict.summary);
}

#[test]
fn the_mode_of_xdp_decides_how_it_is_taken_off() {
    let mut net = node();
    attached(&mut net, device(NODE, 2), |s| {
        s.programs = vec![guard("xdp", "xdpgeneric")];
    });
    let info = dropped(
        "NOT_SPECIFIED",
        "do_xdp_generic",
        "__netif_receive_skb_core",
    );
    let verdict = dies_at(&mut net, device(NODE, 2), info);
    assert!(verdict.summary.contains("guard (id 7)"));
    let off = "ip link set dev veth1 xdpgeneric off";
    assert!(commands(&verdict).iter().any(|c| c.ends_with(off)));
}

#[test]
fn the_innermost_queue_that_dropped_is_named() {
    let mut net = node();
    attached(&mut net, device(NODE, 3), |s| {
        let of = |kind: &str, handle: &str, parent: &str, drops| Qdisc {
            kind: kind.to_owned(),
            handle: handle.to_owned(),
            parent: parent.to_owned(),
            drops,
            ..Qdisc::default()
        };
        s.qdiscs = vec![
            of("htb", "1:", "root", 9),
            of("pfifo", "20:", "1:10", 9),
            of("pfifo", "30:", "1:20", 0),
        ];
    });
    let mut info = dropped("QDISC_DROP", "__dev_queue_xmit", "ip_finish_output2");
    info.qdisc = Some("htb".to_owned());
    let verdict = dies_at(&mut net, device(NODE, 3), info);
    assert_eq!(verdict.cause.as_deref(), Some("qdisc.full"));
    assert!(
        verdict.summary.contains("pfifo 20: under 1:10"),
        "{}",
        verdict.summary
    );
    let commands = commands(&verdict);
    assert!(
        commands
            .iter()
            .any(|c| c.contains("tc -s class show dev out0"))
    );
    // A longer queue before a shaper only makes packets late.
    assert!(!commands.iter().any(|c| c.contains("pfifo limit")));
    let off = "tc qdisc del dev out0 root";
    assert!(commands.iter().any(|c| c.ends_with(off)));
    assert!(
        verdict.advice.iter().all(|a| a.undoes.is_none()),
        "classes are not known"
    );
}

#[test]
fn what_has_no_queue_is_not_full() {
    let mut net = node();
    attached(&mut net, device(NODE, 3), |_| {});
    let mut info = dropped("QDISC_DROP", "__dev_queue_xmit", "ip_finish_output2");
    info.qdisc = Some("noqueue".to_owned());
    let verdict = dies_at(&mut net, device(NODE, 3), info);
    assert_eq!(verdict.cause.as_deref(), Some("qdisc.full"));
    assert!(
        verdict
            .summary
            .contains("while queueing disciplines were set up"),
        "{}",
        verdict.summary
    );
    assert!(commands(&verdict).iter().any(|c| c.contains("tc monitor")));
    assert!(verdict.advice.iter().all(|a| a.kind == AdviceKind::Look));
}

#[test]
fn a_shaper_is_put_back_with_what_it_was_made_of() {
    let mut net = node();
    attached(&mut net, device(NODE, 3), |s| {
        let of = |kind: &str, handle: &str, parent: &str, settings: &str| Qdisc {
            kind: kind.to_owned(),
            handle: handle.to_owned(),
            parent: parent.to_owned(),
            drops: 4,
            settings: Some(settings.to_owned()),
            ..Qdisc::default()
        };
        s.qdiscs = vec![
            of("tbf", "1:", "root", "rate 1000bps burst 1600b limit 20000b"),
            of("bfifo", "10:", "1:1", "limit 1500b"),
        ];
    });
    let mut info = dropped("QDISC_DROP", "__dev_queue_xmit", "ip_finish_output2");
    info.qdisc = Some("tbf".to_owned());
    let verdict = dies_at(&mut net, device(NODE, 3), info);
    let undo = verdict.advice.iter().find(|a| a.undoes.is_some());
    let typed = undo.and_then(|a| a.command.as_deref()).unwrap_or_default();
    assert!(
        typed.contains(
            "qdisc add dev out0 root handle 1: tbf rate 1000bps burst 1600b limit 20000b"
        ) && typed.ends_with("qdisc add dev out0 parent 1:1 handle 10: bfifo limit 1500b"),
        "{typed}"
    );
}

fn group(cgroup: &str, hook: &str, id: u32) -> CgroupProgram {
    CgroupProgram {
        node: None,
        cgroup: cgroup.to_owned(),
        hook: hook.to_owned(),
        program: BpfProgram {
            id,
            name: format!("p{id}"),
        },
    }
}

fn groups(net: &mut Net, programs: Vec<CgroupProgram>) {
    net.fact(Fact::Cgroups(Cgroups {
        mount: "/sys/fs/cgroup".to_owned(),
        programs,
    }));
}

#[test]
fn a_cgroups_ingress_program_is_told_from_a_socket_filter_by_who_inherits_it() {
    let packet = ports(Proto::Udp, "10.2.0.2", 4000, "10.3.0.9", 53);
    for (member, cause, confidence) in [
        (
            Some("/web.service/worker"),
            "cgroup.drop",
            Confidence::Likely,
        ),
        (None, "cgroup.drop", Confidence::Possible),
        (Some("/mail.service"), "socket.filter", Confidence::Certain),
    ] {
        let mut net = node();
        groups(
            &mut net,
            vec![
                group("/web.service", "cgroup_inet_ingress", 5),
                group("/mail.service", "cgroup_inet_egress", 6),
            ],
        );
        if let Some(path) = member {
            net.fact(Fact::Cgroup(77, Some(path.to_owned())));
        }
        let mut info = dropped("SOCKET_FILTER", "udp_queue_rcv_one_skb", "");
        info.cgroup = Some(77);
        let flow = net.flow(packet);
        net.packet(flow, Direction::Forward)
            .enters(device(NODE, 2))
            .dies(Some(device(NODE, 2)), info);
        let verdict = net.verdict();
        assert_eq!(verdict.cause.as_deref(), Some(cause), "{member:?}");
        assert_eq!(verdict.confidence, confidence, "{member:?}");
        let asked = net.questions();
        assert!(asked.contains(&Question::Cgroups));
        assert!(asked.iter().any(|q| matches!(q, Question::Cgroup { .. })));
    }
}

#[test]
fn the_senders_cgroup_chooses_among_egress_programs() {
    let mut net = node();
    groups(
        &mut net,
        vec![
            group("/a", "cgroup_inet_egress", 5),
            group("/b", "cgroup_inet_egress", 6),
        ],
    );
    net.fact(Fact::Cgroup(42, Some("/b/job".to_owned())));
    let mut info = dropped("BPF_CGROUP_EGRESS", "ip_finish_output", "");
    info.cgroup = Some(42);
    let flow = net.flow(ping());
    net.packet(flow, Direction::Forward)
        .dies(Some(device(POD, 2)), info);
    let verdict = net.verdict();
    assert!(
        verdict.summary.contains("p6 (id 6) of cgroup /b"),
        "{}",
        verdict.summary
    );
    let detach = "bpftool cgroup detach /sys/fs/cgroup/b cgroup_inet_egress id 6";
    assert!(commands(&verdict).contains(&detach));
}

#[test]
fn nothing_sent_is_laid_at_a_groups_door_only_where_a_program_could_refuse() {
    for (cgroup, hook, outcome) in [
        ("/ci", "cgroup_inet4_connect", Outcome::NotSent),
        // Service meshes and CNIs translate so, for the whole machine.
        ("/", "cgroup_inet4_connect", Outcome::NoTraffic),
        ("/ci", "cgroup_inet_egress", Outcome::NoTraffic),
    ] {
        let mut net = node();
        groups(&mut net, vec![group(cgroup, hook, 5)]);
        let verdict = net.verdict();
        assert_eq!(verdict.outcome, outcome, "{cgroup} {hook}");
    }
}

/// node/tun0, with a process or none.
fn tun(holders: &[(&str, char)]) -> Net {
    let mut net = node();
    net.link(device(NODE, 4), "tun0", |l| {
        l.kind = "tun".to_owned();
        l.arp_type = libc::ARPHRD_NONE;
    });
    let holders = holders
        .iter()
        .map(|(comm, state)| Holder {
            process: Process {
                pid: 9,
                comm: (*comm).to_owned(),
            },
            state: Some(*state),
        })
        .collect();
    attached(&mut net, device(NODE, 4), |s| s.holders = Some(holders));
    net
}

#[test]
fn a_full_ring_names_the_process_that_does_not_read() {
    let mut net = tun(&[("vpnd", 'T')]);
    let info = dropped("FULL_RING", "tun_net_xmit", "dev_hard_start_xmit");
    let verdict = dies_at(&mut net, device(NODE, 4), info);
    assert_eq!(verdict.cause.as_deref(), Some("device.full"));
    assert!(
        verdict.summary.contains("vpnd (pid 9, stopped)"),
        "{}",
        verdict.summary
    );
    assert!(commands(&verdict).contains(&"kill -CONT 9"));
}

#[test]
fn what_goes_into_a_tun_device_is_the_business_of_its_process() {
    for (read, cause) in [(true, None), (false, Some("device.full"))] {
        let mut net = tun(&[("vpnd", 'S')]);
        let flow = net.flow(ping());
        let mut walk = net
            .packet(flow, Direction::Forward)
            .enters(device(NODE, 2))
            .leaves(device(NODE, 4));
        if read {
            walk = walk
                .with(|e| {
                    e.process = Some(Process {
                        pid: 9,
                        comm: "vpnd".to_owned(),
                    });
                })
                .step(Some(device(NODE, 4)), Detail::SocketRead { length: 84 });
        }
        walk.goes_away();
        let verdict = net.verdict();
        assert_eq!(verdict.outcome, Outcome::Vanished);
        assert_eq!(verdict.cause.as_deref(), cause);
        assert!(
            verdict.summary.contains("vpnd (pid 9"),
            "{}",
            verdict.summary
        );
    }
}

#[test]
fn an_answered_flow_through_a_tun_device_is_well() {
    let mut net = tun(&[("vpnd", 'S')]);
    let flow = net.flow(ping());
    net.packet(flow, Direction::Forward)
        .enters(device(NODE, 2))
        .leaves(device(NODE, 4))
        .goes_away();
    net.packet(flow, Direction::Reply)
        .enters(device(NODE, 4))
        .leaves(device(NODE, 2))
        .arrives(device(POD, 2));
    assert_eq!(net.verdict().outcome, Outcome::Delivered);
}

#[test]
fn what_is_copied_for_xdp_and_never_seen_again_was_the_programs() {
    let mut net = node();
    attached(&mut net, device(NODE, 2), |s| {
        s.programs = vec![guard("xdp", "xdpdrv")];
    });
    let flow = net.flow(ping());
    net.packet(flow, Direction::Forward)
        .leaves(device(POD, 2))
        .step(
            Some(device(NODE, 2)),
            Detail::Consumed {
                function: Some("skb_pp_cow_data".to_owned()),
            },
        )
        .vanishes();
    let verdict = net.verdict();
    assert_eq!(verdict.outcome, Outcome::Vanished);
    assert_eq!(verdict.cause.as_deref(), Some("xdp.drop"));
    assert!(verdict.summary.contains("guard"), "{}", verdict.summary);
}

#[test]
fn what_vanishes_elsewhere_lists_what_stands_there_and_blames_nobody() {
    let mut net = node();
    attached(&mut net, device(NODE, 2), |s| {
        s.programs = vec![guard("tc-ingress", "tcx")];
        s.counters = LinkCounters {
            rx_dropped: 3,
            ..LinkCounters::default()
        };
    });
    let flow = net.flow(ping());
    net.packet(flow, Direction::Forward)
        .leaves(device(POD, 2))
        .vanishes();
    let verdict = net.verdict();
    assert_eq!((verdict.outcome, verdict.cause), (Outcome::Vanished, None));
    let between: Vec<_> = verdict
        .evidence
        .iter()
        .filter(|e| e.kind == "between")
        .map(|e| e.text.as_str())
        .collect();
    assert!(between.iter().any(|t| t.contains("guard")), "{between:?}");
    assert!(
        between.iter().any(|t| t.contains("rx dropped 3")),
        "{between:?}"
    );
}

fn hop(at: Device, side: Side, packets: u64, next: Vec<usize>) -> Hop {
    Hop {
        device: at,
        side,
        tuple: ping(),
        tunnel: None,
        packets,
        bytes: 0,
        latency: None,
        rewrites: Vec::new(),
        lost_after: 0,
        last_seen: KtimeNs(0),
        next,
    }
}

/// Five pings of which three are answered; the counters of the hop behind say how many came there.
fn half_missing(came: u64) -> Verdict {
    let mut net = node();
    let flow = net.flow(ping());
    for _ in 0..3 {
        net.packet(flow, Direction::Forward)
            .enters(device(NODE, 2))
            .leaves(device(NODE, 3))
            .goes_away();
        net.packet(flow, Direction::Reply)
            .enters(device(NODE, 3))
            .leaves(device(NODE, 2))
            .arrives(device(POD, 2));
    }
    for _ in 0..2 {
        net.packet(flow, Direction::Forward)
            .enters(device(NODE, 2))
            .vanishes();
    }
    let path = vec![
        hop(device(NODE, 2), Side::Ingress, 5, vec![1]),
        hop(device(NODE, 3), Side::Egress, came, Vec::new()),
    ];
    if let Some(flow) = net.trace.flows.first_mut() {
        flow.forward.hops = path;
    }
    net.verdict()
}

#[test]
fn some_that_vanish_between_two_hops_are_told_when_the_counters_agree() {
    let verdict = half_missing(3);
    assert_eq!(verdict.outcome, Outcome::Vanished);
    assert!(
        verdict.summary.contains("3 of 5 came there"),
        "{}",
        verdict.summary
    );
    assert_eq!(verdict.packets.affected, 2);
}

#[test]
fn journeys_without_an_end_are_no_loss_where_the_counters_know_better() {
    assert_eq!(half_missing(5).outcome, Outcome::Delivered);
}

#[test]
fn a_quiet_trace_asks_who_could_refuse() {
    let mut net = node();
    net.asked("10.3.0.9");
    assert!(!net.questions().contains(&Question::Cgroups));
    net.wait(2_000);
    assert!(net.questions().contains(&Question::Cgroups));
    assert!(matches!(net.host.run, Some(Run { .. })));
}
