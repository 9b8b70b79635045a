//! The readers of host facts against the running kernel.
//!
//! Every test runs on a thread with a mount and a network namespace of its own: what it makes is in sight of nobody
//! else and dies with it. Needs root; without it each test says so and ends.

#![expect(
    clippy::unwrap_used,
    reason = "a setup that fails is a test that fails"
)]

use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, unshare};
use nix::unistd::geteuid;
use tracer::host::Host;
use tracer::host::facts::{Fact, Link};
use tracer::host::namespaces::NetnsFd;
use tracer::host::watch::{HostChange, Watcher};
use tracer::model::{KtimeNs, NetNs};

/// Longest wait for a change that the kernel tells at once.
const PATIENCE: Duration = Duration::from_secs(10);

/// Runs a test in namespaces of its own.
fn isolated(test: fn()) {
    if !geteuid().is_root() {
        eprintln!("SKIPPED: needs root (network and mount namespaces)");
        return;
    }
    std::thread::spawn(move || {
        unshare(CloneFlags::CLONE_NEWNS | CloneFlags::CLONE_NEWNET).unwrap();
        let none: Option<&str> = None;
        mount(none, "/", none, MsFlags::MS_REC | MsFlags::MS_PRIVATE, none).unwrap();
        mount(Some("tmpfs"), "/run", Some("tmpfs"), MsFlags::empty(), none).unwrap();
        test();
    })
    .join()
    .unwrap();
}

/// Runs a shell script.
fn sh(script: &str) {
    let status = Command::new("sh").args(["-euc", script]).status().unwrap();
    assert!(status.success(), "{script}");
}

fn netns(name: &str) -> NetNs {
    NetnsFd::open(format!("/run/netns/{name}")).unwrap().netns()
}

/// A process in a new namespace, without a file.
struct Inside(Child);

impl Inside {
    fn new() -> Self {
        Self(
            Command::new("unshare")
                .args(["-n", "sleep", "1000"])
                .stdout(Stdio::null())
                .spawn()
                .unwrap(),
        )
    }

    /// Its namespace, as soon as it has one of its own.
    fn netns(&self) -> NetNs {
        let own = NetnsFd::current().unwrap().netns();
        let start = Instant::now();
        loop {
            assert!(start.elapsed() < PATIENCE);
            match NetnsFd::open(format!("/proc/{}/ns/net", self.0.id())) {
                Ok(handle) if handle.netns() != own => return handle.netns(),
                _ => std::thread::yield_now(),
            }
        }
    }
}

impl Drop for Inside {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A watcher and what it has told so far: as facts, since the changes hold handles, which keep namespaces alive.
struct Watched {
    watcher: Watcher,
    host: Host,
    facts: Vec<Fact>,
}

impl Watched {
    fn new() -> Self {
        let (watcher, first) = Watcher::new().unwrap();
        let mut watched = Self {
            watcher,
            host: Host::default(),
            facts: Vec::new(),
        };
        watched.take(first);
        watched
    }

    fn take(&mut self, changes: Vec<HostChange>) {
        for fact in changes.iter().map(HostChange::fact) {
            self.host.apply(KtimeNs(0), fact.clone());
            self.facts.push(fact);
        }
    }

    /// Waits until `done`.
    fn until(&mut self, what: &str, done: impl Fn(&Self) -> bool) {
        let start = Instant::now();
        let from = self.facts.len();
        while !done(self) {
            assert!(
                start.elapsed() < PATIENCE,
                "{what}: {:?}",
                self.facts.get(from..)
            );
            let changes = self.watcher.wait(Duration::from_millis(200)).unwrap();
            self.take(changes);
        }
    }

    fn link(&self, namespace: &str, name: &str) -> Option<&Link> {
        self.host
            .links()
            .find(|l| l.name == name && self.host.namespace(l.device.netns) == namespace)
    }

    fn told(&self, matches: impl Fn(&Fact) -> bool) -> bool {
        self.facts.iter().any(matches)
    }
}

#[test]
fn everything_is_told_at_the_start() {
    isolated(|| {
        sh("ip netns add hf_left; ip netns add hf_right
            ip -n hf_left link add l0 type veth peer name r0 netns hf_right
            ip -n hf_left addr add 10.9.0.1/24 dev l0
            ip -n hf_left link set l0 up
            ip -n hf_right link set r0 address 02:00:00:00:09:02 mtu 1400 up
            ip -n hf_right link add br0 type bridge
            ip -n hf_right link set r0 master br0
            ip -n hf_left link add vx0 type vxlan id 42 dstport 4789 remote 10.9.0.2
            ip -n hf_left link add a0 type veth peer name a1
            ip -n hf_left addr add fd00:9::1/64 dev l0");
        let watched = Watched::new();
        let left = watched.link("hf_left", "l0").unwrap();
        let right = watched.link("hf_right", "r0").unwrap();
        assert_eq!(left.device.netns, netns("hf_left"));
        assert_eq!(left.peer, Some(right.device));
        assert_eq!(right.peer, Some(left.device));
        assert_eq!((left.kind.as_str(), left.arp_type), ("veth", 1));
        assert!(left.up && left.carrier);
        assert_eq!(right.mac.unwrap().to_string(), "02:00:00:00:09:02");
        assert_eq!(right.mtu, 1400);
        let bridge = watched.link("hf_right", "br0").unwrap();
        assert_eq!(right.master, Some(bridge.device.ifindex.0));
        let vxlan = watched
            .link("hf_left", "vx0")
            .unwrap()
            .vxlan
            .clone()
            .unwrap();
        assert_eq!((vxlan.vni, vxlan.port), (42, 4789));
        assert_eq!(vxlan.remote, Some("10.9.0.2".parse().unwrap()));
        let (a0, a1) = (watched.link("hf_left", "a0"), watched.link("hf_left", "a1"));
        assert_eq!(a0.unwrap().peer, Some(a1.unwrap().device));
        let lo = watched.link("hf_left", "lo").unwrap();
        assert_eq!((lo.mac, lo.arp_type, lo.up), (None, 772, false));
        assert!(
            watched
                .host
                .is_local(left.device.netns, "10.9.0.1".parse().unwrap())
        );
        assert!(
            watched
                .host
                .is_local(left.device.netns, "fd00:9::1".parse().unwrap())
        );
        assert!(
            !watched
                .host
                .is_local(right.device.netns, "10.9.0.1".parse().unwrap())
        );
    });
}

#[test]
fn namespaces_and_interfaces_come_and_go() {
    isolated(|| {
        sh("ip netns add hf_one");
        let one = netns("hf_one");
        let mut watched = Watched::new();
        sh("ip netns add hf_two");
        let two = netns("hf_two");
        watched.until("the second namespace", |w| {
            w.told(|c| matches!(c, Fact::Namespace(n) if n.netns == two && n.name == "hf_two"))
        });
        sh(
            "ip -n hf_one link add v1 type veth peer name v2; ip -n hf_one link set v2 netns hf_two",
        );
        watched.until("both ends know each other", |w| {
            let (v1, v2) = (w.link("hf_one", "v1"), w.link("hf_two", "v2"));
            v1.zip(v2)
                .is_some_and(|(v1, v2)| v1.peer == Some(v2.device) && v2.peer == Some(v1.device))
        });
        let v2 = watched.link("hf_two", "v2").unwrap().device;
        sh("ip -n hf_two addr add 10.9.1.2/24 dev v2; ip -n hf_two link set v2 mtu 1300 up");
        watched.until("its address and its state", |w| {
            w.host.is_local(two, "10.9.1.2".parse().unwrap())
                && w.link("hf_two", "v2")
                    .is_some_and(|l| l.up && l.mtu == 1300)
        });
        sh("ip -n hf_two addr del 10.9.1.2/24 dev v2");
        watched.until("the address is gone", |w| w.host.addresses(v2).is_empty());
        sh("ip netns del hf_two");
        watched.until(
            "the namespace is gone, and with it the veth's other end",
            |w| {
                w.told(|c| matches!(c, Fact::NamespaceGone(n) if *n == two))
                    && w.told(|c| matches!(c, Fact::LinkGone(d) if d.netns == one))
            },
        );
        assert!(watched.watcher.namespaces().get(two).is_none());
    });
}

#[test]
fn a_namespace_without_a_file_lives_as_long_as_its_process() {
    isolated(|| {
        let process = Inside::new();
        let inside = process.netns();
        let mut watched = Watched::new();
        let name = watched.host.namespace(inside);
        drop(process);
        assert_eq!(name, format!("netns:{}", inside.0));
        assert!(watched.told(|c| matches!(c, Fact::Namespace(n) if n.netns == inside)));
        watched.facts.clear();
        watched.until("the namespace is gone", |w| {
            w.told(|c| matches!(c, Fact::NamespaceGone(n) if *n == inside))
        });
    });
}

#[test]
fn a_name_given_later_is_told() {
    isolated(|| {
        let process = Inside::new();
        let named = process.netns();
        let mut watched = Watched::new();
        sh(&format!("ip netns attach hf_named {}", process.0.id()));
        watched.until("the name", |w| w.host.namespace(named) == "hf_named");
    });
}

#[test]
fn the_first_process_is_in_the_namespace_called_host() {
    isolated(|| {
        let watched = Watched::new();
        match NetnsFd::open("/proc/1/ns/net") {
            Ok(host) => assert_eq!(watched.host.namespace(host.netns()), "host"),
            Err(error) => eprintln!("SKIPPED in part: namespace of PID 1: {error}"),
        }
        let lost = watched
            .facts
            .iter()
            .find(|f| matches!(f, Fact::Unread { .. }));
        assert_eq!(lost, None);
    });
}
