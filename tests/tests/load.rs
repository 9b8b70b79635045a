//! The kernel programs against the running kernel: every one is accepted, attached, counts and sends, and goes.
//!
//! Each test makes its namespaces in a mount and network namespace of its own. Needs root; without it each test says
//! so and ends. The same binary runs inside virtual machines with other kernels.

#![expect(
    clippy::unwrap_used,
    reason = "a setup that fails is a test that fails"
)]

use std::collections::BTreeSet;
use std::fs;
use std::net::UdpSocket;
use std::ops::ControlFlow;
use std::os::unix::process::ExitStatusExt;
use std::process::{Command, Stdio};
use std::sync::mpsc;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use aya::programs::loaded_programs;
use nix::sys::signal::{Signal, kill};
use nix::unistd::getpid;
use tests::alone::alone;
use tests::kernel::Version;
use tracer::host::facts::{Probe, ProbeState};
use tracer::host::namespaces::NetnsFd;
use tracer::kernel::{Kernel, LoadOptions, Outcome, Target};
use tracer::model::{Device, IfIndex, KtimeNs};
use tracer_common::filter::{RawClause, RawFilter};
use tracer_common::hook::{Attach, HOOKS, TC_EGRESS, TC_INGRESS};
use zerocopy::FromZeros;

/// Without these there is no path and no verdict: every supported kernel has them.
const ESSENTIAL: [&str; 6] = [
    "kfree_skb",
    "consume_skb",
    "netif_receive_skb",
    "net_dev_queue",
    "neigh_update",
    "fib_table_lookup",
];
const EXPEDITED: &str = "/sys/kernel/rcu_expedited";
const PATIENCE: Duration = Duration::from_secs(60);
/// Names the namespace that a child process of a test attaches in.
const CHILD: &str = "TRACER_TEST_ATTACH_IN";

/// Tests that look at what is attached to the machine must not see each other.
static ALONE: Mutex<()> = Mutex::new(());

/// Runs a test in namespaces of its own.
fn isolated(test: fn()) {
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    alone(test).unwrap();
}

fn sh(script: &str) -> String {
    let output = Command::new("sh")
        .args(["-euc", script])
        .stderr(Stdio::inherit())
        .output()
        .unwrap();
    assert!(output.status.success(), "{script}");
    String::from_utf8(output.stdout).unwrap()
}

/// Two namespaces with a veth between them, and a device whose packets have no Ethernet header: TUN, or ipip where
/// there is no /dev/net/tun.
fn network() {
    sh("ip netns add ld_a; ip netns add ld_b
        ip -n ld_a link add v0 type veth peer name v0 netns ld_b
        ip -n ld_a addr add 10.77.0.1/24 dev v0; ip -n ld_a link set v0 up
        ip -n ld_b addr add 10.77.0.2/24 dev v0; ip -n ld_b link set v0 up
        ip -n ld_a tuntap add mode tun dev t0 2>/dev/null ||
            ip -n ld_a link add t0 type ipip local 10.77.0.1 remote 10.77.0.2
        ip -n ld_a link set t0 up");
}

fn open(name: &str) -> NetnsFd {
    NetnsFd::open(format!("/run/netns/{name}")).unwrap()
}

/// Interfaces of a namespace: number and ARPHRD type, as /sys shows them (its own mount, for this namespace).
fn interfaces(name: &str) -> Vec<(u32, u16)> {
    sh(&format!("ip netns exec {name} sh -c 'cd /sys/class/net; for i in *; do cat $i/ifindex $i/type; done'"))
        .lines()
        .collect::<Vec<_>>()
        .chunks(2)
        .map(|pair| match pair {
            [ifindex, kind] => (ifindex.parse().unwrap(), kind.parse().unwrap()),
            _ => unreachable!("two lines each"),
        })
        .collect()
}

fn targets<'a>(name: &str, namespace: &'a NetnsFd) -> Vec<Target<'a>> {
    interfaces(name)
        .into_iter()
        .map(|(ifindex, arp_type)| Target {
            device: Device {
                netns: namespace.netns(),
                ifindex: IfIndex(ifindex),
            },
            arp_type,
            namespace,
        })
        .collect()
}

fn load() -> Kernel {
    Kernel::load(&LoadOptions {
        btf: None,
        snaplen: 96,
        budget: 20_000,
        verifier_log: true,
    })
    .unwrap()
}

fn everything() -> RawFilter {
    let mut filter = RawFilter::new_zeroed();
    filter.clauses_len = 1;
    filter.generation = 1;
    filter
        .clauses
        .iter_mut()
        .for_each(|clause| *clause = RawClause::ANY);
    filter
}

fn assert_attached(probes: &[Probe], outcomes: &[Outcome]) {
    for probe in probes {
        eprintln!("{:25} {:?} {}", probe.name, probe.state, probe.detail);
    }
    let failed: Vec<_> = probes
        .iter()
        .filter(|probe| probe.state == ProbeState::Failed)
        .collect();
    assert!(failed.is_empty(), "{failed:#?}");
    for name in ESSENTIAL {
        let probe = probes.iter().find(|probe| probe.name == name).unwrap();
        assert_eq!(probe.state, ProbeState::Attached, "{name}");
    }
    let methods: BTreeSet<_> = outcomes
        .iter()
        .map(|outcome| outcome.result.as_ref().unwrap().name())
        .collect();
    eprintln!("interfaces by {methods:?}");
    assert_eq!(methods.len(), 1);
}

/// How many interfaces of a namespace have a clsact qdisc: ours, for the tests add none.
fn left_in(name: &str) -> String {
    sh(&format!("tc -n {name} qdisc show | grep -c clsact || true"))
}

#[test]
fn everything_is_attached_counts_sends_and_goes() {
    isolated(|| {
        network();
        let expedited = fs::read_to_string(EXPEDITED).unwrap();
        let (a, b) = (open("ld_a"), open("ld_b"));
        let mut kernel = load();
        let probes = kernel.attach_tracepoints();
        let all: Vec<_> = targets("ld_a", &a)
            .into_iter()
            .chain(targets("ld_b", &b))
            .collect();
        let outcomes = kernel.attach_interfaces(&all);
        assert_attached(&probes, &outcomes);
        assert_eq!(kernel.watched(), all.len());
        assert_eq!(fs::read_to_string(EXPEDITED).unwrap(), expedited);
        assert!(
            kernel
                .drop_reasons()
                .iter()
                .all(|(_, name)| !name.starts_with("SKB_DROP"))
        );

        let (send, records) = mpsc::channel();
        let reader = kernel.reader().unwrap().start(move |batch| {
            batch.into_iter().for_each(|record| drop(send.send(record)));
            ControlFlow::Continue(())
        });
        let reader = reader.unwrap();
        kernel.set_filter(&everything()).unwrap();
        let server = b
            .enter(|| UdpSocket::bind("10.77.0.2:7700").unwrap())
            .unwrap();
        let client = a.enter(|| UdpSocket::bind("10.77.0.1:0").unwrap()).unwrap();
        client.send_to(b"over the veth", "10.77.0.2:7700").unwrap();
        server.set_read_timeout(Some(PATIENCE)).unwrap();
        server.recv(&mut [0; 64]).unwrap();
        assert!(records.recv_timeout(PATIENCE).unwrap().len() >= 256);

        let counters = kernel.counters(KtimeNs(0)).unwrap();
        let seen = |namespace: &NetnsFd, hook: u8| {
            let netns = namespace.netns().0;
            let rows = counters.hops.iter();
            rows.filter(|(key, _)| (key.netns, key.hook, key.tuple.proto) == (netns, hook, 17))
                .count()
        };
        assert_eq!((seen(&a, TC_EGRESS), seen(&b, TC_INGRESS)), (1, 1));
        assert!(!counters.loss.events.is_empty());

        kernel.detach_all();
        reader.stop().unwrap();
        drop(kernel);
        for name in ["ld_a", "ld_b"] {
            assert_eq!(left_in(name).trim(), "0", "{name}");
        }
        assert_eq!(fs::read_to_string(EXPEDITED).unwrap(), expedited);
    });
}

/// Not a test by itself: attaches in the namespace that another test names, and is killed there.
#[test]
fn child_that_is_killed() {
    let Ok(name) = std::env::var(CHILD) else {
        return;
    };
    let namespace = open(&name);
    let mut kernel = load();
    kernel.attach_tracepoints();
    for outcome in kernel.attach_interfaces(&targets(&name, &namespace)) {
        outcome.result.unwrap();
    }
    kill(getpid(), Signal::SIGKILL).unwrap();
}

#[test]
fn what_a_killed_run_left_is_removed_by_the_next() {
    isolated(|| {
        network();
        let status = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "child_that_is_killed"])
            .env(CHILD, "ld_a")
            .status()
            .unwrap();
        assert_eq!(status.signal(), Some(Signal::SIGKILL as i32));
        let namespace = open("ld_a");
        let mut kernel = load();
        kernel.attach_tracepoints();
        for outcome in kernel.attach_interfaces(&targets("ld_a", &namespace)) {
            outcome.result.unwrap();
        }
        let filters = sh("tc -n ld_a filter show dev v0 ingress | grep -c ' tracer' || true");
        assert!(
            matches!(filters.trim(), "0" | "1"),
            "two of them: {filters}"
        );
        drop(kernel);
        assert_eq!(left_in("ld_a").trim(), "0");
    });
}

#[test]
fn two_runs_leave_each_other_alone() {
    isolated(|| {
        network();
        let namespace = open("ld_a");
        let targets = targets("ld_a", &namespace);
        let run = || {
            let mut kernel = load();
            kernel.attach_tracepoints();
            for outcome in kernel.attach_interfaces(&targets) {
                outcome.result.unwrap();
            }
            kernel
        };
        let (first, second) = (run(), run());
        let filters = || sh("tc -n ld_a filter show dev v0 ingress | grep -c ' tracer' || true");
        let with_both = filters();
        drop(first);
        let with_one = filters();
        drop(second);
        let expected = if with_both.trim() == "0" {
            ("0", "0")
        } else {
            ("2", "1")
        };
        assert_eq!((with_both.trim(), with_one.trim()), expected);
        assert_eq!(left_in("ld_a").trim(), "0");
    });
}

/// The programs that this process holds, each with the instructions that the verifier walked for it: kernels from 5.16 on
/// tell.
fn walked() -> Vec<(String, u64)> {
    let entries = fs::read_dir("/proc/self/fdinfo").unwrap();
    let held: BTreeSet<u32> = entries
        .filter_map(|entry| {
            let info = fs::read_to_string(entry.ok()?.path()).ok()?;
            let line = info
                .lines()
                .find_map(|line| line.strip_prefix("prog_id:"))?;
            line.trim().parse().ok()
        })
        .collect();
    loaded_programs()
        .filter_map(Result::ok)
        .filter(|program| held.contains(&program.id()))
        .filter_map(|program| {
            let name = program.name_as_str()?.to_owned();
            Some((name, program.verified_instruction_count()?.into()))
        })
        .collect()
}

/// Each run of tracer waits for the verifier, and a branch at the wrong place makes it walk many times as far. The bounds
/// are twice of what it walks on 6.18, and a little more than what it walks on 6.1, which forgets less of what two ways
/// to the same place have in common.
#[test]
fn the_verifier_is_soon_done() {
    isolated(|| {
        let old = Version::running().unwrap() < "6.12".parse().unwrap();
        let (one, all) = if old {
            (400_000, 2_000_000)
        } else {
            (120_000, 1_200_000)
        };
        let mut kernel = load();
        kernel.attach_tracepoints();
        let walked = walked();
        println!("{} programs: {walked:?}", walked.len());
        assert!(walked.iter().all(|(_, walked)| *walked < one), "{walked:?}");
        let sum: u64 = walked.iter().map(|(_, walked)| walked).sum();
        assert!(sum < all, "{sum}: {walked:?}");
    });
}

#[test]
fn the_table_of_hooks_has_a_program_for_each_tracepoint() {
    isolated(|| {
        let mut kernel = load();
        let named: BTreeSet<_> = kernel
            .attach_tracepoints()
            .into_iter()
            .map(|probe| probe.name)
            .collect();
        for hook in HOOKS
            .iter()
            .filter(|hook| hook.attach == Attach::Tracepoint)
        {
            assert!(named.contains(hook.name), "{}", hook.name);
        }
    });
}

#[test]
fn tracepoints_of_a_module_are_attached_where_it_is_loaded() {
    isolated(|| {
        // Where the kernel has no modules, it has no such one.
        let _ = Command::new("modprobe").arg("openvswitch").status();
        let types = fs::read("/sys/kernel/btf/openvswitch").unwrap_or_default();
        let has = |name: &str| {
            let typedef = format!("btf_trace_{name}\0");
            types
                .windows(typedef.len())
                .any(|part| part == typedef.as_bytes())
        };
        let probes = load().attach_module_tracepoints();
        assert_eq!(probes.len(), 2);
        for probe in probes {
            let expected = match has(&probe.name) {
                true => ProbeState::Attached,
                false => ProbeState::Missing,
            };
            assert_eq!(probe.state, expected, "{}: {}", probe.name, probe.detail);
        }
    });
}
