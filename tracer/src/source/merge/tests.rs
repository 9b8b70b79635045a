//! Clocks from packets seen on two nodes, and inputs of two nodes in one order with numbers of their own.
#![expect(clippy::unwrap_used, reason = "a test ends where it fails")]

mod live;

use std::net::Ipv4Addr;

use bytes::Bytes;
use tracer_common::event::RawEvent;
use tracer_common::hook::{Argument, HOOKS, KFREE_SKB, TC_EGRESS, TC_INGRESS};
use zerocopy::{FromBytes, FromZeros, IntoBytes};

use super::{Merger, NodeScan, estimate};
use crate::decode::packet::build;
use crate::host::Host;
use crate::host::facts::{
    AddressOwner, ClockBasis, Fact, Namespace, NodeClock, NodeId, Owner, OwnerKind, Run,
};
use crate::model::{KtimeNs, NetNs, Proto, Tuple};
use crate::source::Input;
use crate::source::recording::{Reader, Writer};

const INITIAL: u32 = 4_026_531_840;
/// The second node was booted so much later: its monotonic clock shows less.
const BOOTED_LATER_NS: u64 = 7_000_000_000;
const WAY_NS: u64 = 40_000;

fn run(hostname: &str, ktime: u64, unix: u64) -> Input {
    let run = Run {
        tool_version: "1".to_owned(),
        hostname: hostname.to_owned(),
        kernel: "6.1".to_owned(),
        arch: "x86_64".to_owned(),
        boot_id: hostname.to_owned(),
        expression: "icmp".to_owned(),
        clauses: Vec::new(),
        asked_src: Vec::new(),
        asked_dst: Vec::new(),
        asked: Vec::new(),
        asked_ports: Vec::new(),
        names_addresses: false,
        started_unix_ns: unix,
        started_ktime: KtimeNs(ktime),
        one_way: false,
        rules: false,
        also: Vec::new(),
        only_netns: Vec::new(),
        only_interfaces: Vec::new(),
    };
    Input::Host(KtimeNs(ktime), Fact::Run(Box::new(run)))
}

fn passes(at: u64, hook: u8, fingerprint: u64, ttl: u8) -> Input {
    let mut raw = RawEvent::new_zeroed();
    raw.ktime_ns = at;
    raw.hook = hook;
    raw.fingerprint = fingerprint;
    raw.netns = INITIAL;
    raw.ifindex = 2;
    raw.skb = 0xffff_8880_0000_1000;
    let tuple = Tuple {
        proto: Proto::Udp,
        src: Ipv4Addr::new(10, 0, 0, 1).into(),
        sport: 1000,
        dst: Ipv4Addr::new(10, 0, 0, 2).into(),
        dport: 2000,
        icmp_id: 0,
    };
    let packet = build::ip(
        &tuple,
        build::Ip {
            ttl,
            ..build::Ip::default()
        },
        &[0; 8],
    );
    raw.caplen = packet.len().try_into().unwrap();
    raw.cap_reserved = raw.caplen;
    raw.protocol = 0x0800;
    raw.len = raw.caplen.into();
    let mut record = raw.as_bytes().to_vec();
    record.extend(packet);
    Input::Record(Bytes::from(record))
}

fn recording(inputs: impl IntoIterator<Item = Input>) -> Vec<u8> {
    let mut writer = Writer::new(Vec::new()).unwrap();
    for input in inputs {
        writer.write(&input).unwrap();
    }
    writer.finish().unwrap()
}

/// The second node's clock at a time of the first's.
const fn there(at: u64) -> u64 {
    at - BOOTED_LATER_NS
}

const START: u64 = 100_000_000_000;
const WALL: u64 = 1_700_000_000_000_000_000;
/// The second node's wall clock is wrong by so much: packets must win over it.
const WALL_WRONG_NS: u64 = 3_000_000;

/// Beginnings of both recordings.
fn beginnings() -> [Vec<Input>; 2] {
    let named = |at, name: &str| {
        let namespace = Namespace {
            process: None,
            path: None,
            netns: NetNs(INITIAL),
            name: name.to_owned(),
            node: None,
        };
        Input::Host(KtimeNs(at), Fact::Namespace(namespace))
    };
    [
        vec![run("one", START, WALL), named(START, "host")],
        vec![
            run("two", there(START), WALL + WALL_WRONG_NS),
            named(there(START), "host"),
        ],
    ]
}

/// A packet from the first node to the second, the `n`th.
fn goes(nodes: &mut [Vec<Input>; 2], n: u64, way: u64) {
    let at = START + n * 1_000_000;
    let [one, two] = nodes;
    one.push(passes(at, TC_EGRESS, 100 + n, 64));
    two.push(passes(there(at + way), TC_INGRESS, 100 + n, 64));
}

/// And one back.
fn comes(nodes: &mut [Vec<Input>; 2], n: u64, way: u64) {
    let at = START + n * 1_000_000 + 500_000;
    let [one, two] = nodes;
    two.push(passes(there(at), TC_EGRESS, 900 + n, 64));
    one.push(passes(at + way, TC_INGRESS, 900 + n, 64));
}

fn scans(nodes: &[Vec<Input>]) -> Vec<NodeScan> {
    let read = |inputs: &Vec<Input>| {
        let file = recording(inputs.clone());
        let mut reader = Reader::new(file.as_slice()).unwrap();
        NodeScan::read(&mut reader).unwrap().unwrap()
    };
    nodes.iter().map(read).collect()
}

fn clock(nodes: &[Vec<Input>]) -> NodeClock {
    let scans = scans(nodes);
    *estimate(&scans.iter().collect::<Vec<_>>()).last().unwrap()
}

fn merged(nodes: &[Vec<Input>]) -> Vec<Input> {
    let files: Vec<Vec<u8>> = nodes.iter().map(|n| recording(n.clone())).collect();
    let readers = files.iter().map(|f| Reader::new(f.as_slice()).unwrap());
    let nodes = (0..).map(NodeId).zip(scans(nodes)).zip(readers);
    let merger = Merger::new(
        nodes
            .map(|((id, scan), reader)| (id, scan, reader))
            .collect(),
    );
    merger.map(Result::unwrap).collect()
}

fn raw(input: &Input) -> Option<RawEvent> {
    match input {
        Input::Record(record) => RawEvent::read_from_prefix(record).ok().map(|(raw, _)| raw),
        _ => None,
    }
}

#[test]
fn two_way_traffic_tells_the_clock_within_the_way() {
    let mut nodes = beginnings();
    for n in 1..20 {
        goes(&mut nodes, n, WAY_NS + n * 1000);
        comes(&mut nodes, n, 3 * WAY_NS + n * 777);
    }
    let clock = clock(&nodes);
    assert_eq!(clock.basis, ClockBasis::TwoWay);
    assert_eq!(clock.packets, 38);
    let truth = -i64::try_from(BOOTED_LATER_NS).unwrap();
    let uncertainty = clock.uncertainty_ns.unwrap();
    assert!(
        (clock.ahead_ns - truth).unsigned_abs() <= uncertainty,
        "{clock:?}"
    );
    assert!(uncertainty <= 2 * WAY_NS + 2000, "{clock:?}");
}

#[test]
fn one_way_traffic_takes_the_fastest_for_immediate() {
    let mut nodes = beginnings();
    goes(&mut nodes, 1, 9 * WAY_NS);
    goes(&mut nodes, 2, WAY_NS);
    let clock = clock(&nodes);
    assert_eq!(
        (clock.basis, clock.uncertainty_ns),
        (ClockBasis::OneWay, None)
    );
    let bound = i64::try_from(WAY_NS).unwrap() - i64::try_from(BOOTED_LATER_NS).unwrap();
    assert_eq!(clock.ahead_ns, bound - 1);
}

#[test]
fn without_shared_packets_the_wall_clocks_decide() {
    let clock = clock(&beginnings());
    assert_eq!(clock.basis, ClockBasis::WallClock);
    let ahead = -i64::try_from(BOOTED_LATER_NS + WALL_WRONG_NS).unwrap();
    assert_eq!(clock.ahead_ns, ahead);
}

#[test]
fn a_fingerprint_that_came_twice_is_no_one_packet() {
    let mut nodes = beginnings();
    goes(&mut nodes, 1, WAY_NS);
    // the same bytes again, a second later, of which the other node saw only the first
    let [one, _] = &mut nodes;
    one.push(passes(START + 1_000_000_000, TC_EGRESS, 101, 64));
    assert_eq!(clock(&nodes).basis, ClockBasis::WallClock);
}

#[test]
fn a_packet_whose_ttl_rose_went_the_other_way() {
    let mut nodes = beginnings();
    let [one, two] = &mut nodes;
    one.push(passes(START + 1_000_000, TC_EGRESS, 7, 62));
    two.push(passes(there(START + 500_000), TC_INGRESS, 7, 63));
    assert_eq!(clock(&nodes).basis, ClockBasis::WallClock);
}

#[test]
fn inputs_come_in_order_and_no_packet_arrives_before_it_left() {
    let mut nodes = beginnings();
    for n in 1..10 {
        goes(&mut nodes, n, WAY_NS + n);
        comes(&mut nodes, n, WAY_NS);
    }
    let inputs = merged(&nodes);
    let records: Vec<RawEvent> = inputs.iter().filter_map(raw).collect();
    assert_eq!(records.len(), 36);
    assert!(records.is_sorted_by_key(|raw| raw.ktime_ns));
    for pair in records.chunks(2) {
        let [left, came] = pair else { continue };
        assert_eq!(left.fingerprint, came.fingerprint);
        assert_eq!((left.hook, came.hook), (TC_EGRESS, TC_INGRESS));
    }
    assert!(matches!(inputs.last(), Some(Input::End(..))));
    let ends = inputs.iter().filter(|i| matches!(i, Input::End(..)));
    assert_eq!(ends.count(), 1);
}

#[test]
fn what_waited_in_the_buffer_while_the_clock_ticked_comes_in_its_time() {
    let mut nodes = beginnings();
    let [one, two] = &mut nodes;
    // the second node's record was read late: after a tick, and after a fact that was asked for its sake
    let at = START + 50_000_000;
    two.push(Input::Tick(KtimeNs(there(at + 40_000_000))));
    let name = Fact::Symbols(vec![(7, "ip_forward".to_owned())]);
    two.push(Input::Host(KtimeNs(there(at + 41_000_000)), name));
    two.push(passes(there(at), TC_EGRESS, 55, 64));
    one.push(passes(at + WAY_NS, TC_INGRESS, 55, 64));
    let inputs = merged(&nodes);
    let places = |wanted: fn(&Input) -> bool| inputs.iter().position(wanted).unwrap();
    let left = places(|i| raw(i).is_some_and(|r| r.hook == TC_EGRESS));
    let came = places(|i| raw(i).is_some_and(|r| r.hook == TC_INGRESS));
    let named = places(|i| matches!(i, Input::Host(_, Fact::Symbols(_))));
    let ticked = places(|i| matches!(i, Input::Tick(_)));
    assert!(named < left && left < came && came < ticked);
}

#[test]
fn a_busy_machine_reads_its_records_later_than_others_go_on() {
    let mut nodes = beginnings();
    let [one, two] = &mut nodes;
    let at = START + 50_000_000;
    for late in 1..=20 {
        let tick = at + late * 100_000_000;
        one.push(Input::Tick(KtimeNs(tick)));
        two.push(Input::Tick(KtimeNs(there(tick))));
    }
    one.push(passes(at, TC_EGRESS, 55, 64));
    two.insert(3, passes(there(at + WAY_NS), TC_INGRESS, 55, 64));
    let records: Vec<RawEvent> = merged(&nodes).iter().filter_map(raw).collect();
    let hooks: Vec<u8> = records.iter().map(|raw| raw.hook).collect();
    assert_eq!(hooks, [TC_EGRESS, TC_INGRESS]);
}

#[test]
fn what_is_a_number_of_one_machine_differs_by_node() {
    let mut nodes = beginnings();
    goes(&mut nodes, 1, WAY_NS);
    let reasons = Fact::DropReasons(vec![(2, "NOT_SPECIFIED".to_owned())]);
    for (node, at) in nodes.iter_mut().zip([START, there(START)]) {
        node.insert(2, Input::Host(KtimeNs(at), reasons.clone()));
        let Input::Record(dropped) = passes(at + 5_000_000, KFREE_SKB, 5, 64) else {
            continue;
        };
        let mut raw = RawEvent::read_from_prefix(&dropped).unwrap().0;
        raw.reason = 2;
        let mut dropped = dropped.to_vec();
        raw.write_to_prefix(&mut dropped).unwrap();
        node.push(Input::Record(dropped.into()));
    }
    let inputs = merged(&nodes);
    let records: Vec<RawEvent> = inputs.iter().filter_map(raw).collect();
    let differs = |of: fn(&RawEvent) -> u64| {
        let [left, came, ..] = records.as_slice() else {
            return false;
        };
        of(left) != of(came)
    };
    assert!(differs(|r| r.netns.into()));
    assert!(differs(|r| r.skb));
    assert!(differs(|r| r.cpu.into()));
    let mut host = Host::default();
    for input in &inputs {
        if let Input::Host(at, fact) = input {
            host.apply(*at, fact.clone());
        }
    }
    let homes = records.iter().map(|record| {
        let netns = NetNs(record.netns);
        assert_eq!(host.namespace(netns), "host");
        host.node(netns).unwrap()
    });
    let mut homes: Vec<&str> = homes.collect();
    homes.sort_unstable();
    assert_eq!(homes, ["one", "one", "two", "two"]);
    let drops = records.iter().filter(|r| r.hook == KFREE_SKB);
    let named: Vec<_> = drops.map(|r| host.drop_reason(r.reason)).collect();
    assert_eq!(named, [Some("NOT_SPECIFIED"); 2]);
    assert_eq!(
        host.nodes.keys().copied().collect::<Vec<_>>(),
        [NodeId(0), NodeId(1)]
    );
}

#[test]
fn what_is_told_of_all_machines_is_the_sum_in_whatever_order_they_are_read() {
    let coverage = |inputs: &[Input]| {
        let told = inputs.iter().rev().find_map(|input| match input {
            Input::Host(_, Fact::Coverage { covered, total }) => Some((*covered, *total)),
            _ => None,
        });
        told.unwrap()
    };
    // the first node is read first, and tells last
    for (one, two) in [(9_000_000, 1_000_000), (1_000_000, 9_000_000)] {
        let mut nodes = beginnings();
        let told = [(START + one, 2), (there(START + two), 3)];
        for (node, (at, covered)) in nodes.iter_mut().zip(told) {
            let fact = Fact::Coverage { covered, total: 4 };
            node.push(Input::Host(KtimeNs(at), fact));
        }
        assert_eq!(coverage(&merged(&nodes)), (5, 8));
    }
}

#[test]
fn a_node_is_traced_from_when_its_probes_are_in_place() {
    let begins = |first: u64| {
        let mut nodes = beginnings();
        // facts are told when all is attached, some time after the run began
        for input in &mut nodes[0] {
            if let Input::Host(at, _) = input {
                at.0 += 200_000_000;
            }
        }
        nodes[0].push(Input::Tick(KtimeNs(START + first)));
        let scans = scans(&nodes);
        let [one, _] = scans.as_slice() else {
            unreachable!()
        };
        one.node(NodeId(0), NodeClock::REFERENCE).from
    };
    assert_eq!(begins(290_000_000), KtimeNs(START + 200_000_000));
    // the later part of a recording in parts: facts of its beginning, then what came an hour later
    let hour = 3_600_000_000_000;
    assert_eq!(begins(hour), KtimeNs(START + hour));
}

#[test]
fn a_merged_recording_tells_that_it_is_one() {
    let mut nodes = beginnings();
    goes(&mut nodes, 1, WAY_NS);
    let all = merged(&nodes);
    assert!(!scans(&nodes).iter().any(NodeScan::is_merged));
    assert!(scans(&[all]).iter().all(NodeScan::is_merged));
}

#[test]
fn of_a_hooks_own_fields_only_what_is_declared_is_taken_over() {
    for row in HOOKS {
        let mut nodes = beginnings();
        for (node, at) in nodes.iter_mut().zip([START + 1, there(START + 1)]) {
            let mut raw = RawEvent::new_zeroed();
            (raw.ktime_ns, raw.hook, raw.netns) = (at, row.id, INITIAL);
            (raw.arg0, raw.arg1) = (0x55, 0x66);
            node.push(Input::Record(raw.as_bytes().to_vec().into()));
        }
        let all = merged(&nodes);
        let records: Vec<RawEvent> = all.iter().filter_map(raw).collect();
        let [one, two] = records.as_slice() else {
            unreachable!("a record of {} is missing", row.name)
        };
        let values = [(0x55, one.arg0, two.arg0), (0x66, one.arg1, two.arg1)];
        for (kind, (given, one, two)) in row.arguments.into_iter().zip(values) {
            match kind {
                Argument::Unused => assert_eq!((one, two), (0, 0), "{}", row.name),
                Argument::Number | Argument::Errno => {
                    assert_eq!((one, two), (given, given), "{}", row.name);
                }
                Argument::Cgroup => assert_ne!(one, two, "{}", row.name),
            }
        }
    }
}

#[test]
fn what_one_machine_says_of_an_address_does_not_replace_what_another_said() {
    let address = Ipv4Addr::new(172, 17, 0, 2).into();
    let mut nodes = beginnings();
    for (node, (at, name)) in nodes
        .iter_mut()
        .zip([(START + 1, "shop"), (there(START + 2), "mail")])
    {
        let owner = Owner {
            kind: OwnerKind::Container,
            name: name.to_owned(),
            node: None,
        };
        node.push(Input::Host(
            KtimeNs(at),
            Fact::Owners(vec![AddressOwner { address, owner }]),
        ));
    }
    let mut host = Host::default();
    for input in merged(&nodes) {
        if let Input::Host(at, fact) = input {
            host.apply(at, fact);
        }
    }
    let names: Vec<_> = host
        .owned_addresses()
        .map(|(_, owner)| owner.name.clone())
        .collect();
    assert_eq!(names, ["shop"]);
}
