//! Alignment of made-up paths. Whole comparisons of real traces are in tests/diff.rs.

use std::fmt::Write;

use proptest::prelude::*;

use super::context::{self, Kinds};
use super::rewrites::{self, on_the_way};
use super::{Relation, Row, align, place};
use crate::report::HopReport;

/// `namespace/interface in|out` for each hop, all with one tuple.
fn path(tuple: &str, hops: &[&str]) -> Vec<HopReport> {
    hops.iter()
        .zip(1..)
        .map(|(text, n)| {
            let (spot, side) = text.split_once(' ').unwrap();
            let (namespace, interface) = spot.split_once('/').unwrap();
            HopReport {
                n,
                node: None,
                namespace: namespace.into(),
                interface: interface.into(),
                ifindex: n,
                hook: if side == "in" { "ingress" } else { "egress" }.into(),
                tuple: tuple.into(),
                packets: 3,
                bytes: 252,
                latency_ns: None,
                rewrites: Vec::new(),
                lost_after: 0,
                next: Vec::new(),
                last_ns: 0,
                checks: Vec::new(),
            }
        })
        .collect()
}

fn aligned(good: &[HopReport], bad: &[HopReport]) -> Vec<Row> {
    align::rows(good, bad, &[Kinds::default(), Kinds::default()])
}

/// A line for each row.
fn told(good: (&str, &[&str]), bad: (&str, &[&str])) -> String {
    let mut text = String::new();
    for row in aligned(&path(good.0, good.1), &path(bad.0, bad.1)) {
        let name = |hop: &Option<HopReport>| hop.as_ref().map_or("-".into(), place);
        let mark = match row.relation {
            Relation::Same => '=',
            Relation::Alike => '~',
            Relation::GoodOnly => '<',
            Relation::BadOnly => '>',
        };
        writeln!(text, "{mark} {} {}", name(&row.good), name(&row.bad)).unwrap();
    }
    text
}

const FROM_A: &str = "icmp 10.1.0.7 > 10.2.0.9 id 1";
const FROM_B: &str = "icmp 10.1.0.8 > 10.2.0.9 id 2";
const TO_OTHER: &str = "icmp 10.1.0.7 > 10.2.0.10 id 3";

#[test]
fn interfaces_of_two_pods_have_the_same_part() {
    let good = [
        "pod-a/eth0 out",
        "node1/veth1a2b in",
        "node1/cni0 in",
        "node1/flannel.1 out",
    ];
    let bad = [
        "pod-b/eth0 out",
        "node1/veth9f3c in",
        "node1/cni0 in",
        "node1/flannel.1 out",
    ];
    insta::assert_snapshot!(told((FROM_A, &good), (FROM_B, &bad)), @r"
    ~ pod-a/eth0 pod-b/eth0
    ~ node1/veth1a2b node1/veth9f3c
    = node1/cni0 node1/cni0
    = node1/flannel.1 node1/flannel.1
    ");
}

#[test]
fn pods_on_other_nodes_have_the_same_part_hop_for_hop() {
    let good = [
        "pod-a/eth0 out",
        "node1/if20900 in",
        "node1/bond0 out",
        "node3/bond0 in",
        "api/eth0 in",
    ];
    let bad = [
        "pod-b/eth0 out",
        "node2/if300 in",
        "node2/bond0 out",
        "node3/bond0 in",
        "api/eth0 in",
    ];
    insta::assert_snapshot!(told((FROM_A, &good), (FROM_B, &bad)), @r"
    ~ pod-a/eth0 pod-b/eth0
    ~ node1/if20900 node2/if300
    ~ node1/bond0 node2/bond0
    = node3/bond0 node3/bond0
    = api/eth0 api/eth0
    ");
}

#[test]
fn another_interface_of_a_host_is_another_way_even_with_another_source() {
    let good = ["host/eth0 out", "gw/e0 in"];
    let bad = ["host/eth1 out", "gw/e1 in"];
    insta::assert_snapshot!(told((FROM_A, &good), (FROM_B, &bad)), @r"
    < host/eth0 -
    > - host/eth1
    ~ gw/e0 gw/e1
    ");
    let bad = ["host/eth1 out"];
    insta::assert_snapshot!(told((FROM_A, &good), (FROM_A, &bad)), @r"
    < host/eth0 -
    < gw/e0 -
    > - host/eth1
    ");
}

#[test]
fn another_router_to_the_same_goal_is_another_way() {
    let good = [
        "host/eth0 out",
        "router1/in0 in",
        "router1/out0 out",
        "server/eth0 in",
    ];
    let bad = [
        "host/eth0 out",
        "router2/in0 in",
        "router2/out0 out",
        "server/eth0 in",
    ];
    insta::assert_snapshot!(told((FROM_A, &good), (FROM_A, &bad)), @r"
    = host/eth0 host/eth0
    < router1/in0 -
    < router1/out0 -
    > - router2/in0
    > - router2/out0
    = server/eth0 server/eth0
    ");
}

#[test]
fn another_goal_explains_another_end_of_the_way() {
    let good = [
        "pod/eth0 out",
        "node/cni0 in",
        "node/vetha1b2 out",
        "web-a/eth0 in",
    ];
    let bad = [
        "pod/eth0 out",
        "node/cni0 in",
        "node/vethc3d4 out",
        "web-b/eth0 in",
    ];
    insta::assert_snapshot!(told((FROM_A, &good), (TO_OTHER, &bad)), @r"
    = pod/eth0 pod/eth0
    = node/cni0 node/cni0
    ~ node/vetha1b2 node/vethc3d4
    ~ web-a/eth0 web-b/eth0
    ");
}

#[test]
fn a_hop_that_only_one_has_leaves_the_others_where_they_are() {
    let good = ["pod/eth0 out", "node/cni0 in", "node/eth0 out"];
    let bad = [
        "pod/eth0 out",
        "node/cni0 in",
        "node/wg0 out",
        "node/eth0 out",
    ];
    insta::assert_snapshot!(told((FROM_A, &good), (FROM_A, &bad)), @r"
    = pod/eth0 pod/eth0
    = node/cni0 node/cni0
    > - node/wg0
    = node/eth0 node/eth0
    ");
}

#[test]
fn a_path_that_ends_early_ends_at_the_same_place() {
    let good = [
        "a/eth0 out",
        "n1/eth0 out",
        "n2/eth0 in",
        "n2/cni0 out",
        "b/eth0 in",
    ];
    let bad = ["c/eth0 out", "n3/eth9 out", "n4/eth9 in"];
    insta::assert_snapshot!(told((FROM_A, &good), (FROM_B, &bad)), @r"
    ~ a/eth0 c/eth0
    ~ n1/eth0 n3/eth9
    ~ n2/eth0 n4/eth9
    < n2/cni0 -
    < b/eth0 -
    ");
}

#[test]
fn interfaces_of_different_kinds_have_different_parts() {
    let good = path(FROM_A, &["pod-a/eth0 out", "node1/up1 in"]);
    let bad = path(FROM_B, &["pod-b/eth0 out", "node2/up2 in"]);
    let kind = |spot: &str, name: &str, kind: &str| -> Kinds {
        [((spot.to_owned(), name.to_owned()), kind.to_owned())].into()
    };
    let relation = |other: &str| {
        let kinds = [kind("node1", "up1", "veth"), kind("node2", "up2", other)];
        align::rows(&good, &bad, &kinds)[1].relation
    };
    assert_eq!(relation("veth"), Relation::Alike);
    assert_eq!(relation("vxlan"), Relation::GoodOnly);
}

#[test]
fn changes_are_held_against_each_other_without_what_every_run_has_anew() {
    let unlike = |good: &str, bad: &str, same_goal| {
        let change = |text: &str| {
            let mut hop = path(FROM_A, &["node/eth0 out"]).remove(0);
            hop.rewrites = if text.is_empty() {
                Vec::new()
            } else {
                vec![text.into()]
            };
            hop
        };
        let (good, bad) = (change(good), change(bad));
        rewrites::unlike(&on_the_way(None, &good), &on_the_way(None, &bad), same_goal)
    };
    let same = [
        (
            "snat 10.0.0.2:5000 > 192.0.2.1:5000",
            "snat 10.0.0.2:6000 > 192.0.2.1:6001",
        ),
        (
            "snat 10.0.0.2:5000 > 192.0.2.1:5000",
            "snat 10.0.0.3:6000 > 192.0.2.9:6001",
        ),
        (
            "dnat 10.96.0.1:443 > 10.0.0.5:6443",
            "dnat 10.96.0.2:53 > 10.0.0.6:53",
        ),
        ("ttl -1", ""),
    ];
    for (good, bad) in same {
        assert_eq!(unlike(good, bad, true), None, "{good} | {bad}");
    }
    let tunnels = (
        "vxlan push vni 1 192.0.2.1 > 192.0.2.2",
        "vxlan push vni 1 192.0.2.1 > 192.0.2.3",
    );
    assert_eq!(unlike(tunnels.0, tunnels.1, false), None);
    let differ = [
        (
            tunnels,
            "is encapsulated in vxlan vni 1 to 192.0.2.2",
            "is encapsulated in vxlan vni 1 to 192.0.2.3",
        ),
        (
            ("dnat 10.96.0.1:443 > 10.0.0.5:6443", ""),
            "is translated to 10.0.0.5:6443",
            "is not translated",
        ),
        (
            (
                "dnat [fd00::1]:443 > [fd00::5]:6443",
                "dnat [fd00::1]:443 > [fd00::6]:6443",
            ),
            "is translated to [fd00::5]:6443",
            "is translated to [fd00::6]:6443",
        ),
        (
            ("", "snat 10.0.0.2 > 192.0.2.1"),
            "keeps its source",
            "gets the source 192.0.2.1",
        ),
    ];
    for ((one, other), good, bad) in differ {
        assert_eq!(unlike(one, other, true), Some((good.into(), bad.into())));
    }
}

#[test]
fn endpoints_lose_their_ports() {
    for (end, host) in [
        ("10.0.0.1:80", "10.0.0.1"),
        ("10.0.0.1", "10.0.0.1"),
        ("[fd00::1]:80", "fd00::1"),
        ("fd00::1", "fd00::1"),
        ("", ""),
    ] {
        assert_eq!(context::host_of(end), host);
    }
}

fn any_path() -> impl Strategy<Value = Vec<HopReport>> {
    let hop = (0..3_u8, 0..3_u8, any::<bool>());
    proptest::collection::vec(hop, 0..9).prop_map(|hops| {
        let texts: Vec<String> = hops
            .iter()
            .map(|(space, name, out)| {
                format!("ns{space}/eth{name} {}", if *out { "out" } else { "in" })
            })
            .collect();
        let texts: Vec<&str> = texts.iter().map(String::as_str).collect();
        path(FROM_A, &texts)
    })
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn every_hop_stands_in_one_row_and_in_its_order(good in any_path(), bad in any_path()) {
        let rows = aligned(&good, &bad);
        let of_good: Vec<HopReport> = rows.iter().filter_map(|row| row.good.clone()).collect();
        let of_bad: Vec<HopReport> = rows.iter().filter_map(|row| row.bad.clone()).collect();
        prop_assert_eq!(&of_good, &good);
        prop_assert_eq!(&of_bad, &bad);
        prop_assert!(rows.iter().all(|row| row.good.is_some() || row.bad.is_some()));
    }

    #[test]
    fn a_path_is_the_same_as_itself(path in any_path()) {
        prop_assert!(aligned(&path, &path).iter().all(|row| row.relation == Relation::Same));
    }
}
