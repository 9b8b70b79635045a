//! Numbers beyond the budget, with the real binary: what was sent is what was received and what was dropped, by name.
#![expect(clippy::unwrap_used, reason = "a test ends where it fails")]

use std::net::UdpSocket;
use std::path::Path;

use nix::sched::{CloneFlags, setns};
use serde_json::Value;
use tests::alone::{alone, bash, tracer};
use tests::tracer::Running;

/// Packets that are sent: far more than events are allowed.
const SENT: u64 = 20_000;
/// Where the report goes: `/run` is the test's own.
const REPORT: &str = "/run/report.json";
/// This namespace, a router that drops every tenth packet, and a receiver that drops one of four.
const NETWORK: &str = "
    for ns in mid far; do ip netns add $ns; ip -n $ns link set lo up; done
    ip link add near0 type veth peer name mid0 netns mid
    ip -n mid link add mid1 type veth peer name far0 netns far
    ip link set near0 up; ip addr add 10.193.1.2/24 dev near0; ip route add 10.193.2.0/24 via 10.193.1.1
    ip -n mid link set mid0 up; ip -n mid addr add 10.193.1.1/24 dev mid0
    ip -n mid link set mid1 up; ip -n mid addr add 10.193.2.1/24 dev mid1
    ip -n far link set far0 up; ip -n far addr add 10.193.2.2/24 dev far0; ip -n far route add default via 10.193.2.1
    ip netns exec mid sysctl -qw net.ipv4.ip_forward=1
    ping -n -q -c 1 -W 5 10.193.2.2 > /dev/null
    ip netns exec mid nft 'table ip t { chain c {
        type filter hook forward priority 0; udp dport 4009 numgen inc mod 10 == 3 counter drop; }; }'
    ip netns exec far nft 'table ip t { chain c {
        type filter hook input priority 0; udp dport 4009 numgen inc mod 4 == 1 counter drop; }; }'";

/// A socket in the namespace `far`.
fn receiver() -> UdpSocket {
    std::thread::spawn(|| {
        let far = std::fs::File::open("/run/netns/far").unwrap();
        setns(far, CloneFlags::CLONE_NEWNET).unwrap();
        UdpSocket::bind("10.193.2.2:4009").unwrap()
    })
    .join()
    .unwrap()
}

/// What lies in the socket's buffer: the rest found it full.
fn waiting(socket: &UdpSocket) -> u64 {
    socket.set_nonblocking(true).unwrap();
    let mut packets = 0;
    while socket.recv(&mut [0; 64]).is_ok() {
        packets += 1;
    }
    packets
}

/// Packets that a cause took in a namespace.
fn lost(report: &Value, cause: &str, namespace: &str) -> u64 {
    let list = report.pointer("/flows/0/losses").and_then(Value::as_array);
    let of = |loss: &&Value| {
        loss.get("cause").and_then(Value::as_str) == Some(cause)
            && loss.pointer("/where/namespace").and_then(Value::as_str) == Some(namespace)
    };
    list.unwrap()
        .iter()
        .filter(of)
        .filter_map(|loss| loss.get("packets")?.as_u64())
        .sum()
}

#[test]
fn what_was_sent_is_what_was_received_and_what_was_dropped_by_name() {
    alone(|| {
        let made = bash(NETWORK).unwrap();
        assert!(made.status.success(), "{made:?}");
        let words = "--json --budget 600 udp and dst port 4009";
        let tracer = Running::reporting(&tracer().unwrap(), words, Path::new(REPORT)).unwrap();
        let receiver = receiver();
        let sender = UdpSocket::bind("10.193.1.2:0").unwrap();
        for _ in 0..SENT {
            sender.send_to(&[7; 400], "10.193.2.2:4009").unwrap();
        }
        std::thread::sleep(std::time::Duration::from_secs(1));
        tracer.finish().unwrap();
        let received = waiting(&receiver);

        let report: Value = serde_json::from_slice(&std::fs::read(REPORT).unwrap()).unwrap();
        let number = |pointer| report.pointer(pointer).and_then(Value::as_u64).unwrap();
        assert!(
            number("/trace/completeness/thinned_events") > SENT,
            "far beyond the budget"
        );
        // of what a program missed because it was at work on that CPU nothing is counted
        let missed = number("/trace/completeness/missed_events");
        let drops = |cause, namespace, expected: u64| {
            let told = lost(&report, cause, namespace);
            assert!(
                told <= expected,
                "{cause} on {namespace}: {told} of {expected}"
            );
            assert!(
                told + missed >= expected,
                "{cause} on {namespace}: {told} of {expected}"
            );
        };
        assert_eq!(number("/flows/0/verdict/packets/seen"), SENT);
        let forwarded = SENT - SENT / 10;
        let taken = forwarded - forwarded / 4;
        drops("netfilter.drop", "mid", SENT / 10);
        drops("netfilter.drop", "far", forwarded / 4);
        assert!(received > 0 && received < taken, "{received}");
        drops("socket.buffer-full", "far", taken - received);
    })
    .unwrap();
}
