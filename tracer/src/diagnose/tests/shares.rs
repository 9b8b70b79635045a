//! How many of several flows fail, and what all that fail have and no other one.

use super::fixture::{Net, device, dropped, ports};
use crate::model::{Direction, Proto, Tuple};
use crate::verdict::AdviceKind;

const CLIENT: u32 = 1;
const ROUTER: u32 = 2;

/// client/eth0 - router/in0, and its uplinks up0 and up1.
fn router() -> Net {
    let mut net = Net::with(&["client", "router"]);
    for (at, name) in [
        (device(CLIENT, 2), "eth0"),
        (device(ROUTER, 2), "in0"),
        (device(ROUTER, 3), "up0"),
        (device(ROUTER, 4), "up1"),
    ] {
        net.link(at, name, |_| {});
    }
    net
}

fn asked(source: &str, sport: u16) -> Tuple {
    ports(Proto::Udp, source, sport, "192.0.2.9", 53)
}

/// A question that goes out by an uplink and is answered.
fn answered(net: &mut Net, asked: Tuple, uplink: u32) {
    let flow = net.flow(asked);
    net.packet(flow, Direction::Forward)
        .leaves(device(CLIENT, 2))
        .enters(device(ROUTER, 2))
        .leaves(device(ROUTER, uplink))
        .goes_away();
    net.packet(flow, Direction::Reply)
        .enters(device(ROUTER, uplink))
        .leaves(device(ROUTER, 2))
        .arrives(device(CLIENT, 2));
}

/// A question that is dropped on its way out by an uplink.
fn lost(net: &mut Net, asked: Tuple, uplink: u32) {
    let flow = net.flow(asked);
    let why = dropped("NEIGH_FAILED", "neigh_invalidate", "neigh_timer_handler");
    net.packet(flow, Direction::Forward)
        .leaves(device(CLIENT, 2))
        .enters(device(ROUTER, 2))
        .dies(Some(device(ROUTER, uplink)), why);
}

fn summary(net: &mut Net) -> String {
    net.verdict().summary
}

#[test]
fn the_uplink_of_those_that_fail_is_named() {
    let mut net = router();
    for sport in [4001, 4002, 4003] {
        answered(&mut net, asked("10.1.0.2", sport), 3);
    }
    for sport in [4004, 4005] {
        lost(&mut net, asked("10.1.0.2", sport), 4);
    }
    let summary = summary(&mut net);
    assert!(
        summary.ends_with("; 2 of 5 flows, all through router/up1"),
        "{summary}"
    );
}

#[test]
fn a_fact_that_a_delivered_flow_has_separates_nothing() {
    let mut net = router();
    answered(&mut net, asked("10.1.0.2", 4001), 3);
    answered(&mut net, asked("10.1.0.2", 4002), 4);
    lost(&mut net, asked("10.1.0.2", 4003), 4);
    lost(&mut net, asked("10.1.0.2", 4004), 4);
    let summary = summary(&mut net);
    assert!(summary.ends_with("; 2 of 4 flows"), "{summary}");
}

#[test]
fn one_source_of_which_the_others_have_one_in_common() {
    let mut net = router();
    for sport in [4001, 4002] {
        answered(&mut net, asked("10.1.0.2", sport), 3);
    }
    lost(&mut net, asked("10.1.0.66", 4003), 3);
    let said = summary(&mut net);
    assert!(
        said.ends_with("; 1 of 3 flows, the only one from 10.1.0.66"),
        "{said}"
    );
    // where each has its own, none separates
    let mut net = router();
    answered(&mut net, asked("10.1.0.2", 4001), 3);
    answered(&mut net, asked("10.1.0.3", 4002), 3);
    lost(&mut net, asked("10.1.0.66", 4003), 3);
    let said = summary(&mut net);
    assert!(said.ends_with("; 1 of 3 flows"), "{said}");
}

#[test]
fn all_flows_and_one_flow() {
    let mut net = router();
    lost(&mut net, asked("10.1.0.2", 4001), 3);
    let alone = summary(&mut net);
    assert!(
        !alone.contains(" flows") && !alone.contains(" of "),
        "{alone}"
    );
    lost(&mut net, asked("10.1.0.2", 4002), 3);
    let both = summary(&mut net);
    assert!(both.ends_with("; both flows"), "{both}");
}

/// Three questions that are answered, three that are lost, and then some that are answered again.
fn ceased(net: &mut Net, since: u16, lasts: bool) -> String {
    for sport in [4001, 4002, 4003] {
        answered(net, asked("10.1.0.2", sport), 3);
    }
    for sport in [4004, 4005, 4006] {
        lost(net, asked("10.1.0.2", sport), 3);
    }
    if !lasts {
        net.link(device(ROUTER, 3), "up0", |link| link.mtu = 1400);
    }
    for sport in 0..since {
        answered(net, asked("10.1.0.2", 5000 + sport), 3);
    }
    net.diagnose().overall.summary
}

#[test]
fn what_is_over_is_told_with_its_time_and_nothing_is_to_be_changed() {
    let mut net = router();
    let summary = ceased(&mut net, 4, false);
    assert!(
        summary.ends_with(
            "; 3 of 10 flows; it is over: all within 20 ms, and the 4 flows since then arrived"
        ),
        "{summary}"
    );
    let advice = net.diagnose().overall.advice;
    let changes = |kind| kind != AdviceKind::Look;
    assert!(
        !advice.iter().any(|advice| changes(advice.kind)),
        "{advice:?}"
    );
}

#[test]
fn what_may_come_back_is_not_over() {
    // nothing changed on the way, too few came since, or one came in between
    for (since, lasts) in [(4, true), (1, false)] {
        let summary = ceased(&mut router(), since, lasts);
        assert!(!summary.contains("over"), "{summary}");
    }
    let mut net = router();
    lost(&mut net, asked("10.1.0.2", 4000), 3);
    let summary = ceased(&mut net, 4, false);
    assert!(!summary.contains("over"), "{summary}");
}
