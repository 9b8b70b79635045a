//! What tracer itself costs, with the real binary: it is told, and `--max-cpu` is kept to by giving things up.
#![expect(clippy::unwrap_used, reason = "a test ends where it fails")]

use std::path::Path;

use serde_json::Value;
use tests::alone::{alone, bash, tracer};
use tests::tracer::Running;

/// Where the report goes: `/run` is the test's own.
const REPORT: &str = "/run/report.json";

/// Traces pings to the own address for some seconds.
fn report(words: &str) -> Value {
    let made = bash("ip link set lo up").unwrap();
    assert!(made.status.success(), "{made:?}");
    let words = format!("--json {words} icmp and host 127.0.0.1");
    let tracer = Running::reporting(&tracer().unwrap(), &words, Path::new(REPORT)).unwrap();
    let pings = bash("ping -q -i 0.01 -c 400 127.0.0.1 > /dev/null").unwrap();
    assert!(pings.status.success(), "{pings:?}");
    tracer.finish().unwrap();
    serde_json::from_slice(&std::fs::read(REPORT).unwrap()).unwrap()
}

fn given_up(report: &Value) -> Vec<&str> {
    let probes = report.pointer("/trace/completeness/probes");
    let probes = probes.and_then(Value::as_array).unwrap().iter();
    let told = probes.filter(|probe| {
        let detail = probe.get("detail").and_then(Value::as_str);
        detail.is_some_and(|detail| detail.contains("--max-cpu"))
    });
    told.filter_map(|probe| probe.get("name")?.as_str())
        .collect()
}

#[test]
fn what_it_costs_is_told() {
    alone(|| {
        let report = report("--budget 300");
        let number = |pointer: &str| report.pointer(pointer).and_then(Value::as_u64).unwrap();
        assert!(number("/trace/cost/threads_ns_per_s") > 0);
        assert!(number("/trace/cost/memory_bytes") > 1_000_000);
        assert_eq!(number("/trace/cost/budget"), 300);
        let programs = report.pointer("/trace/cost/programs");
        let programs = programs.and_then(Value::as_array).unwrap();
        let runs = |hook: &str| {
            let of = |program: &&Value| program.get("hook").and_then(Value::as_str) == Some(hook);
            let found = programs.iter().find(of);
            found.and_then(|program| program.get("calls_per_s")?.as_u64())
        };
        // at least in one of the moments there was a ping
        assert!(runs("tc_ingress_l2") > Some(0), "{programs:?}");
        let sum = number("/trace/cost/threads_ns_per_s") + number("/trace/cost/programs_ns_per_s");
        assert_eq!(number("/trace/cost/cpu_ns_per_s"), sum);
        assert_eq!(given_up(&report), Vec::<&str>::new());
    })
    .unwrap();
}

#[test]
fn what_it_may_not_cost_is_given_up_and_told() {
    alone(|| {
        // less than a debug build takes without any packet
        let report = report("--budget 200 --max-cpu 0.1%");
        let given_up = given_up(&report);
        assert!(!given_up.is_empty(), "{report:#}");
        assert!(!given_up.contains(&"kfree_skb"), "{given_up:?}");
        let packets = report.pointer("/flows/0/verdict/packets/seen");
        assert!(packets.and_then(Value::as_u64) > Some(0), "still traced");
    })
    .unwrap();
}
