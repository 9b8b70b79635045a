//! Packets at ports of Open vSwitch: what the kernel says of their end, and what its daemon would do with them.

use super::fixture::{Net, device, dropped, echo, mac};
use crate::host::facts::{
    Fact, Holder, OvsAnswer, OvsBridge, OvsFlow, OvsPort, OvsStep, OvsTrace, Probe, ProbeState,
    Question,
};
use crate::model::{Detail, Direction, DropInfo, Process, SwitchAction, Tuple};
use crate::verdict::{AdviceKind, Outcome, Verdict};

const POD: u32 = 1;
const NODE: u32 = 2;
const SYSTEM: u32 = 9;

/// pod/eth0 - node/p1, a port of Open vSwitch.
fn node() -> Net {
    let mut net = Net::with(&["pod", "node"]);
    net.link(device(NODE, SYSTEM), "ovs-system", |l| {
        l.kind = "openvswitch".to_owned();
    });
    net.link(device(POD, 2), "eth0", |l| l.peer = Some(device(NODE, 1)));
    net.link(device(NODE, 1), "p1", |l| {
        l.peer = Some(device(POD, 2));
        l.master = Some(SYSTEM);
    });
    net.address(device(POD, 2), "10.3.0.1", 24);
    net
}

fn ping() -> Tuple {
    echo("10.3.0.1", "10.3.0.2")
}

fn port(name: &str, kind: &str, options: &[(&str, &str)]) -> OvsPort {
    OvsPort {
        name: name.to_owned(),
        number: 1,
        datapath: None,
        kind: kind.to_owned(),
        options: options
            .iter()
            .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()))
            .collect(),
        tag: None,
        trunks: Vec::new(),
    }
}

fn bridge(name: &str, ports: Vec<OvsPort>) -> OvsBridge {
    OvsBridge {
        name: name.to_owned(),
        fail_mode: None,
        protocols: Vec::new(),
        controlled: false,
        ports,
    }
}

fn daemon(state: char) -> Holder {
    Holder {
        process: Process {
            pid: 77,
            comm: "ovs-vswitchd".to_owned(),
        },
        state: Some(state),
    }
}

fn step(table: u8, matched: Option<&str>, actions: &[&str]) -> OvsStep {
    OvsStep {
        bridge: "br-int".to_owned(),
        table,
        matched: matched.map(str::to_owned),
        priority: if matched.is_some_and(|m| !m.is_empty()) {
            200
        } else {
            0
        },
        actions: actions.iter().map(|it| (*it).to_owned()).collect(),
        ..OvsStep::default()
    }
}

fn trace(assumed: &str, steps: &[OvsStep], output: &str) -> OvsTrace {
    OvsTrace {
        assumed: assumed.to_owned(),
        steps: steps.to_vec(),
        output: output.to_owned(),
    }
}

/// Echo requests that come to the port and end so; what Open vSwitch then has for them.
fn lost(
    end: Option<DropInfo>,
    bridges: Vec<OvsBridge>,
    daemons: Vec<Holder>,
    traces: Vec<OvsTrace>,
) -> Verdict {
    let mut net = node();
    let flow = net.flow(ping());
    for _ in 0..3 {
        let came = net
            .packet(flow, Direction::Forward)
            .bound_for(mac(2))
            .leaves(device(POD, 2))
            .enters(device(NODE, 1));
        match &end {
            Some(info) => came.dies(Some(device(NODE, 1)), info.clone()),
            None => came.vanishes(),
        };
    }
    net.wait(2000);
    let asked: Vec<OvsFlow> = net
        .questions()
        .into_iter()
        .filter_map(|question| match question {
            Question::Ovs { device: at, flow } if at == device(NODE, 1) => Some(flow),
            _ => None,
        })
        .collect();
    assert!(!asked.is_empty(), "Open vSwitch is asked");
    for flow in asked {
        net.fact(Fact::Ovs(Box::new(OvsAnswer {
            device: device(NODE, 1),
            flow,
            bridges: bridges.clone(),
            daemons: daemons.clone(),
            datapath: None,
            traces: traces.clone(),
        })));
    }
    net.verdict()
}

fn switch() -> Vec<OvsBridge> {
    vec![bridge("br-int", vec![port("p1", "system", &[])])]
}

fn last_action() -> DropInfo {
    dropped(
        "OVS_DROP_LAST_ACTION",
        "do_execute_actions",
        "ovs_execute_actions",
    )
}

fn commands(verdict: &Verdict, kind: AdviceKind) -> Vec<&str> {
    let advice = verdict.advice.iter().filter(|a| a.kind == kind);
    advice.filter_map(|a| a.command.as_deref()).collect()
}

#[test]
fn a_rule_that_drops_is_named_and_can_be_written_again() {
    let rule = OvsStep {
        cookie: Some("0x77".to_owned()),
        ..step(5, Some("icmp,nw_dst=10.3.0.2"), &["drop"])
    };
    let drops = trace("", &[step(0, Some("ip"), &["resubmit(,5)"]), rule], "drop");
    for end in [Some(last_action()), None] {
        let verdict = lost(end, switch(), vec![daemon('S')], vec![drops.clone()]);
        assert_eq!(verdict.cause.as_deref(), Some("ovs.flow-drop"));
        assert_eq!(verdict.outcome, Outcome::Dropped);
        assert!(
            verdict.summary.contains("table 5, priority 200"),
            "{}",
            verdict.summary
        );
        assert_eq!(
            commands(&verdict, AdviceKind::Change),
            [
                "ip netns exec node ovs-ofctl --strict del-flows br-int table=5,priority=200,icmp,nw_dst=10.3.0.2"
            ]
        );
        assert_eq!(
            commands(&verdict, AdviceKind::Undo),
            [
                "ip netns exec node ovs-ofctl add-flow br-int cookie=0x77,table=5,priority=200,icmp,nw_dst=10.3.0.2,actions=drop"
            ]
        );
    }
}

#[test]
fn what_the_daemon_would_send_on_did_not_end_there() {
    let passes = trace("", &[step(0, Some(""), &["NORMAL"])], "4");
    let verdict = lost(None, switch(), vec![daemon('S')], vec![passes]);
    assert!(
        !verdict
            .cause
            .as_deref()
            .is_some_and(|cause| cause.starts_with("ovs.")),
        "{verdict:?}"
    );
}

#[test]
fn a_table_without_a_rule_gets_one_for_the_flow_and_its_answers() {
    for (last, priority) in [
        (step(9, None, &["drop"]), 1),
        (step(9, Some(""), &["drop"]), 1),
    ] {
        let misses = trace("", &[step(0, Some("ip"), &["resubmit(,9)"]), last], "drop");
        let verdict = lost(
            Some(last_action()),
            switch(),
            vec![daemon('S')],
            vec![misses],
        );
        assert_eq!(verdict.cause.as_deref(), Some("ovs.no-flow"));
        let change = commands(&verdict, AdviceKind::Change).join("\n");
        for way in [
            "nw_src=10.3.0.1,nw_dst=10.3.0.2",
            "nw_src=10.3.0.2,nw_dst=10.3.0.1",
        ] {
            let rule = format!("table=9,priority={priority},icmp,{way},actions=normal");
            assert!(change.contains(&rule), "{change}");
        }
    }
}

#[test]
fn a_pipeline_that_does_more_than_switch_gets_no_made_up_rule() {
    let misses = trace(
        "",
        &[
            step(0, Some("ip"), &["set_field:0x5->reg7", "resubmit(,9)"]),
            step(9, None, &["drop"]),
        ],
        "drop",
    );
    let verdict = lost(
        Some(last_action()),
        switch(),
        vec![daemon('S')],
        vec![misses],
    );
    assert_eq!(verdict.cause.as_deref(), Some("ovs.no-flow"));
    assert_eq!(commands(&verdict, AdviceKind::Change), [""; 0]);
}

#[test]
fn a_daemon_that_is_gone_or_stopped_is_told() {
    let refused = dropped(
        "NOT_SPECIFIED",
        "ovs_dp_process_packet",
        "ovs_vport_receive",
    );
    let gone = lost(Some(refused), switch(), Vec::new(), Vec::new());
    assert_eq!(gone.cause.as_deref(), Some("ovs.upcall-lost"));
    assert!(gone.summary.contains("does not run"), "{}", gone.summary);
    assert!(
        commands(&gone, AdviceKind::Change)
            .iter()
            .any(|c| c.contains("ovs-vswitchd --pidfile"))
    );
    let stopped = lost(None, switch(), vec![daemon('T')], Vec::new());
    assert_eq!(stopped.cause.as_deref(), Some("ovs.upcall-lost"));
    assert!(
        commands(&stopped, AdviceKind::Change)
            .iter()
            .any(|c| c.ends_with("kill -CONT 77"))
    );
}

#[test]
fn conntracks_answer_is_the_kernels() {
    let turn = step(0, Some("ip"), &["ct(table=1)", "drop"]);
    let passes = |state: &str| {
        trace(
            state,
            &[turn.clone(), step(1, Some("ct_state=+trk"), &["NORMAL"])],
            "2",
        )
    };
    let invalid = trace(
        "trk,inv",
        &[turn.clone(), step(1, Some("ct_state=+inv+trk"), &["drop"])],
        "drop",
    );
    let traces = vec![passes("trk,new"), passes("trk,est"), invalid];
    let info = DropInfo {
        ct_attached: Some(false),
        ..last_action()
    };
    let verdict = lost(Some(info), switch(), vec![daemon('S')], traces);
    assert_eq!(
        verdict.cause.as_deref(),
        Some("ovs.ct"),
        "{}",
        verdict.summary
    );
    let change = commands(&verdict, AdviceKind::Change).join("\n");
    assert!(
        change.contains("ct_state=+inv+trk,icmp,nw_src=10.3.0.1"),
        "{change}"
    );
}

#[test]
fn a_patch_port_gets_the_other_end_that_names_it() {
    let bridges = vec![
        bridge(
            "br-int",
            vec![
                port("p1", "system", &[]),
                OvsPort {
                    number: 2,
                    ..port("int-ext", "patch", &[("peer", "ext0")])
                },
            ],
        ),
        bridge(
            "br-ext",
            vec![port("ext-int", "patch", &[("peer", "int-ext")])],
        ),
    ];
    let nowhere = trace("", &[step(0, Some("ip"), &["output:2"])], "drop");
    let verdict = lost(
        Some(last_action()),
        bridges,
        vec![daemon('S')],
        vec![nowhere],
    );
    assert_eq!(verdict.cause.as_deref(), Some("ovs.port"));
    assert_eq!(
        commands(&verdict, AdviceKind::Change),
        ["ip netns exec node ovs-vsctl set interface int-ext options:peer=ext-int"]
    );
    assert_eq!(
        commands(&verdict, AdviceKind::Undo),
        ["ip netns exec node ovs-vsctl set interface int-ext options:peer=ext0"]
    );
}

#[test]
fn without_the_daemons_word_the_kernels_stands() {
    let verdict = lost(
        Some(last_action()),
        Vec::new(),
        vec![daemon('S')],
        Vec::new(),
    );
    assert_eq!(verdict.cause.as_deref(), Some("ovs.flow-drop"));
    assert_eq!(commands(&verdict, AdviceKind::Change), [""; 0]);
}

/// Probes of Open vSwitch's own tracepoints.
fn attached(net: &mut Net) {
    for name in ["ovs_do_execute_action", "ovs_dp_upcall"] {
        net.fact(Fact::Probe(Probe {
            name: name.to_owned(),
            state: ProbeState::Attached,
            detail: "raw_tracepoint".to_owned(),
        }));
    }
}

fn action(kind: u16, value: u32) -> Detail {
    Detail::SwitchAction(SwitchAction {
        kind,
        value,
        last: true,
    })
}

/// Echo requests that come to the port, one after the other with what the kernel then tells; the daemon cannot be asked.
fn told(packets: &[&[Detail]], daemons: &[Holder]) -> Verdict {
    let mut net = node();
    attached(&mut net);
    let flow = net.flow(ping());
    for details in packets {
        let mut came = net
            .packet(flow, Direction::Forward)
            .bound_for(mac(2))
            .leaves(device(POD, 2))
            .enters(device(NODE, 1));
        for detail in *details {
            came = came.step(Some(device(NODE, 1)), detail.clone());
        }
        came.vanishes();
    }
    net.wait(2000);
    for question in net.questions() {
        if let Question::Ovs { device, flow } = question {
            net.fact(Fact::Ovs(Box::new(OvsAnswer {
                device,
                flow,
                bridges: Vec::new(),
                daemons: daemons.to_vec(),
                datapath: None,
                traces: Vec::new(),
            })));
        }
    }
    net.verdict()
}

const CONSUMED: Detail = Detail::Consumed { function: None };
const UPCALL: Detail = Detail::Upcall { missed: Some(true) };

#[test]
fn a_flow_without_an_action_is_told_by_the_kernel_alone() {
    // The first packet goes to the daemon, which has none of it sent back.
    let first: &[Detail] = &[UPCALL, CONSUMED];
    let later: &[Detail] = &[CONSUMED];
    for daemons in [&[daemon('S')][..], &[]] {
        let verdict = told(&[first, later, later], daemons);
        assert_eq!(verdict.cause.as_deref(), Some("ovs.flow-drop"));
        assert_eq!(verdict.outcome, Outcome::Dropped);
        let evidence = format!("{:?}", verdict.evidence);
        assert!(evidence.contains("without actions"), "{evidence}");
    }
}

#[test]
fn a_second_look_up_without_an_action_is_told_by_the_kernel_alone() {
    let packet: &[Detail] = &[action(12, 0), action(7, 3), CONSUMED];
    let verdict = told(&[packet, packet], &[daemon('S')]);
    assert_eq!(verdict.cause.as_deref(), Some("ovs.flow-drop"));
    let evidence = format!("{:?}", verdict.evidence);
    assert!(evidence.contains("ct, recirc 3"), "{evidence}");
}

#[test]
fn what_the_daemon_got_and_did_not_send_back_is_told() {
    let packet: &[Detail] = &[UPCALL, CONSUMED];
    let verdict = told(&[packet, packet, packet], &[daemon('S')]);
    assert_eq!(verdict.cause.as_deref(), Some("ovs.upcall-lost"));
    let evidence = format!("{:?}", verdict.evidence);
    assert!(evidence.contains("no flow, to ovs-vswitchd"), "{evidence}");
}

#[test]
fn a_flow_that_ends_in_a_meter_or_nowhere_is_told_by_the_kernel_alone() {
    for (kind, cause) in [(19, "ovs.meter"), (3, "ovs.flow-drop")] {
        let packet: &[Detail] = &[action(kind, 7), CONSUMED];
        let verdict = told(&[packet, packet], &[daemon('S')]);
        assert_eq!(verdict.cause.as_deref(), Some(cause));
    }
}

#[test]
fn what_was_given_to_a_port_did_not_end_in_a_flow() {
    let packet: &[Detail] = &[action(1, 4), CONSUMED];
    let verdict = told(&[packet, packet], &[daemon('S')]);
    assert!(
        !verdict
            .cause
            .as_deref()
            .is_some_and(|cause| cause.starts_with("ovs.")),
        "{verdict:?}"
    );
}
