//! The readers of host facts against the running kernel.
//!
//! Every test runs on a thread with a mount and a network namespace of its own: what it makes is in sight of nobody
//! else and dies with it. Needs root; without it each test says so and ends.

#![expect(
    clippy::unwrap_used,
    reason = "a setup that fails is a test that fails"
)]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use tests::alone::{Running, alone};
use tests::net::find_command;
use tracer::diagnose::remedy::Shell;
use tracer::host::Host;
use tracer::host::NamePlaces;
use tracer::host::answers::answer;
use tracer::host::facts::{BaseChain, Fact, FilterEngine, Link, Question, RouteAnswer};
use tracer::host::namespaces::NetnsFd;
use tracer::host::owners::Owners;
use tracer::host::watch::{HostChange, Watcher};
use tracer::model::{KtimeNs, NetNs, Proto, Tuple};

/// Longest wait for a change that the kernel tells at once.
const PATIENCE: Duration = Duration::from_secs(10);

/// Runs a test in namespaces of its own.
fn isolated(test: fn()) {
    alone(test).unwrap();
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
struct Inside(Running);

impl Inside {
    fn new() -> Self {
        let sleeper = Command::new("unshare")
            .args(["-n", "sleep", "1000"])
            .stdout(Stdio::null())
            .spawn();
        Self(Running(sleeper.unwrap()))
    }

    /// Its namespace, as soon as it has one of its own.
    fn netns(&self) -> NetNs {
        let own = NetnsFd::current().unwrap().netns();
        let start = Instant::now();
        loop {
            assert!(start.elapsed() < PATIENCE);
            match NetnsFd::open(format!("/proc/{}/ns/net", self.0.0.id())) {
                Ok(handle) if handle.netns() != own => return handle.netns(),
                _ => std::thread::yield_now(),
            }
        }
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
        Self::below(None)
    }

    fn below(host_root: Option<PathBuf>) -> Self {
        let places = NamePlaces {
            host_root,
            ..NamePlaces::default()
        };
        let (watcher, first) = Watcher::new(places).unwrap();
        let mut watched = Self {
            watcher,
            host: Host::default(),
            facts: Vec::new(),
        };
        watched.take(first);
        watched
    }

    fn take(&mut self, changes: Vec<HostChange>) {
        for fact in changes.iter().filter_map(HostChange::fact) {
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
        // `process unshare` at first, which becomes the program that it starts
        watched.until("the process by name", |w| {
            w.host.namespace(inside) == "process sleep"
        });
        drop(process);
        assert!(watched.told(|c| matches!(c, Fact::Namespace(n) if n.netns == inside)));
        watched.facts.clear();
        watched.until("the namespace is gone", |w| {
            w.told(|c| matches!(c, Fact::NamespaceGone(n) if *n == inside))
        });
    });
}

/// Two tracers that saw each other's descriptors would keep namespaces for each other for ever.
#[test]
fn a_namespace_that_only_a_tracer_still_has_is_gone() {
    isolated(|| {
        let folder = std::env::temp_dir().join(format!("tracer-test-{}", std::process::id()));
        fs::create_dir_all(&folder).unwrap();
        let holder = |name: &str| {
            let program = folder.join(name);
            fs::copy(find_command("sleep").unwrap(), &program).unwrap();
            sh(&format!("ip netns add hf_{name}"));
            let held = fs::File::open(format!("/run/netns/hf_{name}")).unwrap();
            let child = Command::new(program).arg("60").stdin(held).spawn();
            Running(child.unwrap())
        };
        let (tracer, other) = (holder("tracer"), holder("other"));
        let mut watched = Watched::new();
        let (held, kept) = (netns("hf_tracer"), netns("hf_other"));
        sh("ip netns del hf_tracer; ip netns del hf_other");
        watched.until("the namespace is gone", |w| {
            w.told(|c| matches!(c, Fact::NamespaceGone(n) if *n == held))
        });
        // what any other process holds is in use
        assert!(!watched.told(|c| matches!(c, Fact::NamespaceGone(n) if *n == kept)));
        drop((tracer, other));
        fs::remove_dir_all(&folder).unwrap();
    });
}

#[test]
fn a_name_given_later_is_told() {
    isolated(|| {
        let process = Inside::new();
        let named = process.netns();
        let mut watched = Watched::new();
        sh(&format!("ip netns attach hf_named {}", process.0.0.id()));
        watched.until("the name", |w| w.host.namespace(named) == "hf_named");
    });
}

/// The result of a CNI plugin for a pod.
fn cni_result(root: &Path, pod: &str, netns: &str) {
    let text = format!(
        r#"{{"kind":"cniCacheV1","containerId":"{pod}","ifName":"eth0","networkName":"n",
            "cniArgs":[["K8S_POD_NAMESPACE","hf-shop"],["K8S_POD_NAME","{pod}"]],
            "result":{{"cniVersion":"0.4.0","interfaces":[{{"name":"eth0","sandbox":"/var/run/netns/{netns}"}}],
            "ips":[{{"address":"198.51.100.7/24","interface":0}}]}}}}"#
    );
    fs::write(root.join(format!("var/lib/cni/results/n-{pod}-eth0")), text).unwrap();
}

#[test]
fn pods_and_containers_are_named_from_files_below_a_host_root() {
    isolated(|| {
        let directory = tempfile::tempdir().unwrap();
        let root = directory.path();
        for path in [
            "var/lib/cni/results",
            "run/netns",
            "run/docker/netns",
            "var/lib/docker/containers/0a",
        ] {
            fs::create_dir_all(root.join(path)).unwrap();
        }
        let made = "cni-6d506f1d-4f1e-9a2b-33c4-0123456789ab";
        sh(&format!(
            "ip netns add {made}; ip netns add given
             mkdir -p /run/docker/netns; touch /run/docker/netns/aabb
             unshare --net=/run/docker/netns/aabb true
             mount --rbind /run/netns {0}/run/netns; mount --rbind /run/docker/netns {0}/run/docker/netns",
            root.display()
        ));
        let docker = r#"{"ID":"0a","Name":"/hf-web","State":{"Running":true},
            "NetworkSettings":{"SandboxKey":"/var/run/docker/netns/aabb","Networks":{"bridge":{"IPAddress":"198.51.100.9"}}}}"#;
        fs::write(
            root.join("var/lib/docker/containers/0a/config.v2.json"),
            docker,
        )
        .unwrap();
        let (pod, given) = (netns(made), netns("given"));
        let container = NetnsFd::open("/run/docker/netns/aabb").unwrap().netns();
        let mut watched = Watched::below(Some(root.to_owned()));
        assert_eq!(watched.host.namespace(pod), made, "nothing names it yet");
        assert_eq!(watched.host.namespace(given), "given");
        assert_eq!(watched.host.namespace(container), "container hf-web");
        cni_result(root, "cart-5f6d", made);
        watched.until("the pod's name", |w| {
            w.host.namespace(pod) == "pod hf-shop/cart-5f6d"
        });
        let owner =
            |w: &Watched, address: &str| Owners::of(&w.host).owner(address.parse().unwrap());
        assert_eq!(
            owner(&watched, "198.51.100.7").unwrap(),
            "pod hf-shop/cart-5f6d"
        );
        assert_eq!(owner(&watched, "198.51.100.9").unwrap(), "container hf-web");
        // what ends keeps its name
        fs::remove_file(root.join("var/lib/cni/results/n-cart-5f6d-eth0")).unwrap();
        sh(&format!(
            "umount -l {0}/run/netns; ip netns del {made}",
            root.display()
        ));
        watched.until("the pod is gone", |w| {
            w.told(|fact| matches!(fact, Fact::NamespaceGone(gone) if *gone == pod))
        });
        assert_eq!(watched.host.namespace(pod), "pod hf-shop/cart-5f6d");
        assert_eq!(
            owner(&watched, "198.51.100.7").unwrap(),
            "pod hf-shop/cart-5f6d"
        );
        sh(&format!("umount -l {0}/run/docker/netns", root.display()));
    });
}

/// The command of a piece of advice runs where it is typed.
#[test]
fn commands_run_in_the_namespace_that_they_are_about() {
    isolated(|| {
        sh("ip netns add hf_named
            mkdir -p /run/docker/netns; touch /run/docker/netns/ccdd
            unshare --net=/run/docker/netns/ccdd true");
        let process = Inside::new();
        let places = [
            netns("hf_named"),
            NetnsFd::open("/run/docker/netns/ccdd").unwrap().netns(),
            process.netns(),
        ];
        let watched = Watched::new();
        for (place, way) in
            places
                .into_iter()
                .zip(["ip netns exec", "nsenter --net=", "nsenter -t"])
        {
            let command = Shell::of(&watched.host, Some(place))
                .line("readlink /proc/self/ns/net")
                .unwrap();
            assert!(command.starts_with(way), "{command}");
            let output = Command::new("sh").args(["-c", &command]).output().unwrap();
            let there = String::from_utf8(output.stdout).unwrap();
            assert_eq!(there.trim(), format!("net:[{}]", place.0), "{command}");
        }
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

fn tuple(src: &str, dst: &str) -> Tuple {
    Tuple {
        proto: Proto::Tcp,
        src: src.parse().unwrap(),
        sport: 40000,
        dst: dst.parse().unwrap(),
        dport: 80,
        icmp_id: 0,
    }
}

impl Watched {
    fn ask(&self, question: &Question) -> Vec<Fact> {
        answer(question, self.watcher.namespaces())
    }

    fn route(&self, src: &str, dst: &str, iif: &str) -> RouteAnswer {
        let iif = self
            .link("hf_router", iif)
            .map_or(0, |l| l.device.ifindex.0);
        let question = Question::route(netns("hf_router"), tuple(src, dst), iif);
        match self.ask(&question).as_slice() {
            [Fact::Route(answer)] => answer.clone(),
            other => unreachable!("{other:?}"),
        }
    }

    fn sysctl(&self, name: &str) -> Option<String> {
        let question = Question::Sysctl {
            netns: netns("hf_router"),
            name: name.into(),
        };
        match self.ask(&question).as_slice() {
            [Fact::Sysctl { value, .. }] => value.clone(),
            other => unreachable!("{other:?}"),
        }
    }

    fn chains(&self) -> Vec<BaseChain> {
        let question = Question::Chains {
            netns: netns("hf_router"),
        };
        match self.ask(&question).as_slice() {
            [Fact::Ruleset(_, ruleset)] => ruleset.base.clone(),
            other => unreachable!("{other:?}"),
        }
    }
}

const ROUTER: &str = "
    ip netns add hf_router; ip netns add hf_near; ip netns add hf_far
    ip -n hf_router link add near type veth peer name eth0 netns hf_near
    ip -n hf_router link add far type veth peer name eth0 netns hf_far
    ip -n hf_router addr add 10.8.1.1/24 dev near
    ip -n hf_router addr add 10.8.2.1/24 dev far
    ip -n hf_router addr add fd00:8:1::1/64 dev near nodad
    ip -n hf_router addr add fd00:8:2::1/64 dev far nodad
    for i in near far lo; do ip -n hf_router link set $i up; done
    for n in hf_near hf_far; do ip -n $n link set eth0 up; done
    ip netns exec hf_router sysctl -qw net.ipv4.ip_forward=1 net.ipv4.conf.all.rp_filter=0 net.ipv4.conf.near.rp_filter=0
";

#[test]
fn routes_are_those_that_packets_would_take() {
    isolated(|| {
        sh(ROUTER);
        sh("ip -n hf_router route add 10.8.9.0/24 via 10.8.2.2 mtu 1300
            ip -n hf_router route add blackhole 10.8.66.0/24
            ip -n hf_router route add unreachable 10.8.67.0/24
            ip -n hf_router route add prohibit 10.8.68.0/24
            ip -n hf_router route add fd00:8:9::/64 via fd00:8:2::2
            ip -n hf_router route add table 77 10.8.70.0/24 via 10.8.2.9
            ip -n hf_router rule add ipproto tcp dport 80 lookup 77");
        let watched = Watched::new();
        let far = watched.link("hf_router", "far").unwrap().device.ifindex.0;
        let forwarded = watched
            .route("10.8.1.2", "10.8.9.9", "near")
            .result
            .unwrap();
        assert_eq!(
            (forwarded.kind.as_str(), forwarded.oif),
            ("unicast", Some(far))
        );
        assert_eq!(forwarded.gateway, Some("10.8.2.2".parse().unwrap()));
        assert_eq!((forwarded.table, forwarded.mtu), (254, Some(1300)));
        let ruled = watched
            .route("10.8.1.2", "10.8.70.1", "near")
            .result
            .unwrap();
        assert_eq!(ruled.table, 77, "the rule looks at the port");
        let own = watched
            .route("10.8.1.2", "10.8.1.1", "near")
            .result
            .unwrap();
        assert_eq!((own.kind.as_str(), own.table), ("local", 255));
        let sent = watched.route("10.8.2.1", "10.8.2.2", "").result.unwrap();
        assert_eq!((sent.oif, sent.gateway), (Some(far), None));
        let six = watched
            .route("fd00:8:1::2", "fd00:8:9::9", "near")
            .result
            .unwrap();
        assert_eq!(six.gateway, Some("fd00:8:2::2".parse().unwrap()));
        for (dst, iif, errno) in [
            ("10.8.200.1", "", libc::ENETUNREACH),
            ("10.8.200.1", "near", libc::ENETUNREACH),
            ("10.8.66.1", "", libc::EINVAL),
            ("10.8.67.1", "near", libc::EHOSTUNREACH),
            ("10.8.68.1", "near", libc::EACCES),
        ] {
            let src = if iif.is_empty() {
                "0.0.0.0"
            } else {
                "10.8.1.2"
            };
            let answer = watched.route(src, dst, iif);
            assert_eq!(answer.result, Err(errno.unsigned_abs()), "{dst} {iif}");
        }
        let six = watched.route("fd00:8:1::2", "fd00:8:200::1", "near");
        assert_eq!(six.result, Err(libc::ENETUNREACH.unsigned_abs()));
        sh("ip netns exec hf_router sysctl -qw net.ipv4.ip_forward=0");
        let stopped = watched.route("10.8.1.2", "10.8.9.9", "near");
        assert_eq!(stopped.result, Err(libc::EHOSTUNREACH.unsigned_abs()));
    });
}

#[test]
fn neighbours_sysctls_and_links_are_those_of_the_namespace() {
    isolated(|| {
        sh(ROUTER);
        sh(
            "ip -n hf_router neigh add 10.8.1.7 lladdr 02:00:00:00:08:07 dev near nud permanent
            ip -n hf_router neigh add fd00:8:1::7 dev near nud failed
            ip netns exec hf_router sysctl -qw net.ipv4.conf.near.rp_filter=2",
        );
        let watched = Watched::new();
        let near = watched.link("hf_router", "near").unwrap().clone();
        let entry = |address: &str| {
            let question = Question::Neighbor {
                device: near.device,
                address: address.parse().unwrap(),
            };
            match watched.ask(&question).as_slice() {
                [Fact::Neighbor(entry)] => (entry.state, entry.mac.map(|m| m.to_string())),
                other => unreachable!("{other:?}"),
            }
        };
        assert_eq!(entry("10.8.1.7"), (0x80, Some("02:00:00:00:08:07".into())));
        assert_eq!(entry("fd00:8:1::7"), (0x20, None));
        assert_eq!(entry("10.8.1.8"), (0, None));
        assert_eq!(
            watched.sysctl("net/ipv4/conf/near/rp_filter").as_deref(),
            Some("2")
        );
        assert_eq!(watched.sysctl("net/ipv4/ip_forward").as_deref(), Some("1"));
        assert_eq!(watched.sysctl("net/ipv4/conf/none/rp_filter"), None);
        sh("ip -n hf_router link set near down");
        let facts = watched.ask(&Question::Link {
            device: near.device,
        });
        let mut expected = near.clone();
        (expected.up, expected.carrier) = (false, false);
        assert_eq!(facts.first(), Some(&Fact::Link(expected)), "with its peer");
        assert!(
            matches!(facts.get(1), Some(Fact::Addresses(d, a)) if *d == near.device && a.len() == 1)
        );
        sh("ip -n hf_router link del near");
        let facts = watched.ask(&Question::Link {
            device: near.device,
        });
        assert_eq!(facts, [Fact::LinkGone(near.device)]);
    });
}

#[test]
fn base_chains_of_every_packet_filter_are_read() {
    isolated(|| {
        sh(ROUTER);
        let watched = Watched::new();
        assert_eq!(watched.chains(), [], "none yet, and none made by looking");
        sh("ip netns exec hf_router nft '
              table inet hf_t {
                chain stop {
                  type filter hook forward priority -10; policy drop;
                  ct state established accept
                  tcp dport 80 accept
                }
                chain plain { accept; }
              }
              table netdev hf_d { chain door { type filter hook ingress device near priority 5; } ; }
              table bridge hf_b { chain gate { type filter hook forward priority 0; policy drop; } ; }'
            ip netns exec hf_router iptables-legacy -P FORWARD DROP
            ip netns exec hf_router iptables-legacy -A FORWARD -p tcp -j ACCEPT
            ip netns exec hf_router iptables-legacy -A FORWARD -p udp -j ACCEPT
            ip netns exec hf_router ip6tables-legacy -A INPUT -p tcp --dport 22 -j DROP");
        let chains = watched.chains();
        let found = |engine, family: &str, table: &str, hook: &str| {
            let chain = chains.iter().find(|c| {
                c.engine == engine && c.family == family && c.table == table && c.hook == hook
            });
            let chain =
                chain.unwrap_or_else(|| unreachable!("{family} {table} {hook}: {chains:?}"));
            (chain.priority, chain.policy_drop, chain.rules)
        };
        use FilterEngine::{Legacy, Nftables};
        assert_eq!(
            found(Nftables, "inet", "hf_t", "FORWARD"),
            (-10, true, Some(2))
        );
        assert_eq!(
            found(Nftables, "netdev", "hf_d", "INGRESS"),
            (5, false, Some(0))
        );
        assert_eq!(
            found(Nftables, "bridge", "hf_b", "FORWARD"),
            (0, true, Some(0))
        );
        assert!(!chains.iter().any(|c| c.chain == "plain"));
        assert_eq!(found(Legacy, "ip", "filter", "FORWARD"), (0, true, Some(2)));
        assert_eq!(found(Legacy, "ip", "filter", "INPUT"), (0, false, Some(0)));
        assert_eq!(found(Legacy, "ip6", "filter", "INPUT"), (0, false, Some(1)));
        assert_eq!(
            found(Legacy, "ip6", "filter", "FORWARD"),
            (0, false, Some(0))
        );
        assert!(
            !chains.iter().any(|c| c.table == "nat"),
            "looking made no table"
        );
    });
}
