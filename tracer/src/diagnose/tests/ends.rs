//! The processes at both ends of a flow.
#![expect(clippy::unwrap_used, reason = "a test's own mistakes may end it")]

use crate::diagnose::ends::of_flow;
use crate::diagnose::view::View;
use crate::host::facts::Question;
use crate::model::{Detail, Direction, Event, NetNs, Process, Proto};

use super::fixture::{Net, device, ports};

fn of(pid: u32, comm: &'static str) -> impl Fn(&mut Event) {
    move |event| {
        event.process = Some(Process {
            pid,
            comm: comm.to_owned(),
        });
    }
}

/// What is told of a request from a pod through a tunnel daemon to another, and of its answer.
fn told(request: bool, answer: bool) -> [Option<(u32, u32)>; 2] {
    let mut net = Net::with(&["pod shop/cart", "host", "pod shop/db"]);
    let flow = net.flow(ports(Proto::Udp, "10.4.0.1", 40000, "10.4.0.2", 53));
    let (cart, tunnel, db) = (device(1, 2), device(2, 3), device(3, 2));
    if request {
        net.packet(flow, Direction::Forward)
            .with(of(7, "curl"))
            .leaves(cart)
            .leaves(tunnel)
            .with(of(8, "vpnd"))
            .step(Some(tunnel), Detail::SocketRead { length: 84 })
            .with(of(9, "ksoftirqd"))
            .enters(db)
            .with(of(10, "named"))
            .step(Some(db), Detail::SocketRead { length: 84 })
            .arrives(db);
    }
    if answer {
        net.packet(flow, Direction::Reply)
            .with(of(10, "named"))
            .leaves(db)
            .with(of(9, "ksoftirqd"))
            .enters(cart)
            .with(of(7, "curl"))
            .step(Some(cart), Detail::SocketRead { length: 84 })
            .arrives(cart);
    }
    let (trace, host) = (&net.trace, &net.host);
    let view = View {
        trace,
        host,
        flow: trace.flows.first().unwrap(),
    };
    let (sends, receives) = of_flow(&view);
    let asked = net.questions();
    for (netns, process) in sends.iter().chain(&receives) {
        let question = Question::ProcessOwner {
            netns: *netns,
            pid: process.pid,
        };
        assert!(asked.contains(&question), "{question:?}");
    }
    [sends, receives].map(|end| end.map(|(NetNs(n), process)| (n, process.pid)))
}

#[test]
fn who_sends_and_who_reads() {
    assert_eq!(told(true, false), [Some((1, 7)), Some((3, 10))]);
}

#[test]
fn the_way_back_tells_both_too() {
    assert_eq!(told(false, true), [Some((1, 7)), Some((3, 10))]);
}

#[test]
fn of_what_was_not_seen_nobody_is_named() {
    assert_eq!(told(false, false), [None, None]);
}
