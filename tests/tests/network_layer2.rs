//! `network` against the kernel: random small layer-2 networks with random settings, whose facts are read by the
//! product's own readers; a question for a neighbour is sent, and who answers must be who `network` says would.
//!
//! Needs root; without it the test says so and ends. `TRACER_CASES` sets how many networks are made, `TRACER_SEED` from
//! which one on: a difference names its seed.

#![expect(
    clippy::unwrap_used,
    reason = "a setup that fails is a test that fails"
)]

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::io::Write as _;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use tests::alone::alone;
use tests::packet::PacketSocket;
use tracer::host::Host;
use tracer::host::NamePlaces;
use tracer::host::answers;
use tracer::host::facts::Link;
use tracer::host::namespaces::NetnsFd;
use tracer::host::prefix::holds;
use tracer::host::watch::{HostChange, Watcher};
use tracer::model::{KtimeNs, Mac, NetNs};
use tracer::network::neighbour::{self, Answer, Ask, Told};

/// Networks that are made where nothing else is asked for.
const NETWORKS: u64 = 12;
/// Questions in each.
const ASKS: usize = 8;
/// An answer within one machine comes at once.
const WAIT: Duration = Duration::from_millis(25);
/// Rounds of reading what an answer needs.
const ROUNDS: usize = 12;

/// A small generator of numbers that are the same for the same seed (xorshift64*).
struct Random(u64, usize);

impl Random {
    fn new(seed: u64) -> Self {
        let mut random = Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1, 1);
        for _ in 0..8 {
            random.below(2);
        }
        random.1 = *random.pick(&[1, 3, 8]);
        random
    }

    fn below(&mut self, end: usize) -> usize {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        let high = self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33;
        usize::try_from(high).unwrap() % end
    }

    fn one_in(&mut self, n: usize) -> bool {
        self.below(n) == 0
    }

    /// As rarely as the network is calm.
    fn odd(&mut self, n: usize) -> bool {
        self.below(n * self.1) == 0
    }

    fn pick<'a, T>(&mut self, list: &'a [T]) -> &'a T {
        list.get(self.below(list.len())).unwrap()
    }
}

/// Namespaces and what is typed in them.
#[derive(Default)]
struct Plan {
    /// `ip -batch` by namespace.
    links: String,
    /// `bridge -batch` by namespace.
    bridges: String,
    /// Namespace, path below /proc/sys, value.
    sysctls: Vec<(String, String, String)>,
    /// Interfaces that may ask: namespace and name.
    askers: Vec<(String, String)>,
    targets: BTreeSet<IpAddr>,
}

const HUB: &str = "hub";
const NODES: [&str; 3] = ["a", "b", "c"];

fn number(node: &str) -> usize {
    NODES.iter().position(|n| *n == node).unwrap() + 1
}

impl Plan {
    fn ip(&mut self, namespace: &str, line: &str) {
        writeln!(self.links, "{namespace}|{line}").unwrap();
    }

    fn bridge(&mut self, namespace: &str, line: &str) {
        writeln!(self.bridges, "{namespace}|{line}").unwrap();
    }

    fn conf(&mut self, namespace: &str, interface: &str, (key, value): (&str, usize)) {
        let path = format!("net/ipv4/conf/{interface}/{key}");
        self.sysctls
            .push((namespace.into(), path, value.to_string()));
    }

    fn conf6(&mut self, namespace: &str, interface: &str, (key, value): (&str, usize)) {
        let path = format!("net/ipv6/conf/{interface}/{key}");
        self.sysctls
            .push((namespace.into(), path, value.to_string()));
    }

    fn address(&mut self, namespace: &str, interface: &str, address: &str) {
        let nodad = if address.contains(':') { " nodad" } else { "" };
        self.ip(
            namespace,
            &format!("addr add {address} dev {interface}{nodad}"),
        );
        let (plain, _) = address.split_once('/').unwrap();
        self.targets.insert(plain.parse().unwrap());
    }

    /// Settings that may keep an interface from answering, or make it answer for others.
    fn settings(&mut self, random: &mut Random, namespace: &str, interface: &str) {
        for interface in [interface, "all"] {
            if random.odd(3) {
                let value = *random.pick(&[0, 1, 2, 3, 8]);
                self.conf(namespace, interface, ("arp_ignore", value));
            }
            let rp_filter = if random.odd(3) { random.below(3) } else { 0 };
            self.conf(namespace, interface, ("rp_filter", rp_filter));
            for (key, often) in [("arp_filter", 5), ("accept_local", 5), ("proxy_arp", 3)] {
                if random.odd(often) {
                    self.conf(namespace, interface, (key, 1));
                }
            }
            if random.odd(3) {
                self.conf6(namespace, interface, ("proxy_ndp", 1));
            }
        }
        if random.odd(6) {
            self.conf(namespace, interface, ("proxy_arp_pvlan", 1));
        }
        if random.odd(8) {
            self.ip(namespace, &format!("link set dev {interface} arp off"));
        }
    }
}

/// A star of three machines around a hub that is a bridge or a router.
fn star(random: &mut Random) -> Plan {
    let mut plan = Plan::default();
    let bridged = !random.one_in(3);
    let filtering = bridged && random.one_in(4);
    if bridged {
        plan.ip(HUB, "link add sw type bridge mcast_snooping 0");
        plan.ip(HUB, "link set dev sw up");
        if random.one_in(2) {
            plan.address(HUB, "sw", "10.213.0.100/24");
            plan.address(HUB, "sw", "fd13::100/64");
            plan.settings(random, HUB, "sw");
            plan.askers.push((HUB.into(), "sw".into()));
        }
    }
    for node in NODES {
        let (port, n) = (format!("p{node}"), number(node));
        plan.ip(
            HUB,
            &format!("link add {port} type veth peer name e0 netns {node}"),
        );
        plan.address(node, "e0", &format!("10.213.0.{n}/24"));
        plan.address(node, "e0", &format!("fd13::{n}/64"));
        plan.address(node, "lo", &format!("10.213.9.{n}/32"));
        plan.address(node, "lo", &format!("fd13:9::{n}/128"));
        plan.settings(random, node, "e0");
        plan.askers.push((node.into(), "e0".into()));
        plan.ip(node, "link set dev e0 up");
        plan.ip(HUB, &format!("link set dev {port} up"));
        if bridged {
            bridge_port(&mut plan, random, &port);
        } else {
            router_port(&mut plan, random, (&port, n));
        }
        if random.one_in(3) {
            let there = random.below(3) + 1;
            plan.ip(node, &format!("route replace 10.213.9.{there}/32 dev lo"));
        }
        if random.odd(10) {
            plan.ip(node, "link set dev e0 down");
        }
        if random.odd(12) {
            plan.ip(HUB, &format!("link set dev {port} down"));
        }
        if random.one_in(3) {
            plan.ip(
                node,
                &format!("neigh add proxy 10.213.{}.77 dev e0", random.below(2)),
            );
            plan.ip(node, "neigh add proxy fd13::77 dev e0");
        }
        if random.one_in(3) {
            plan.conf(node, "all", ("forwarding", 1));
            plan.conf6(node, "all", ("forwarding", 1));
        }
    }
    if filtering {
        vlans(&mut plan, random);
    }
    for unused in ["10.213.0.77", "10.213.1.77", "10.213.0.99", "fd13::77"] {
        plan.targets.insert(unused.parse().unwrap());
    }
    extras(&mut plan, random);
    plan
}

fn bridge_port(plan: &mut Plan, random: &mut Random, port: &str) {
    plan.ip(HUB, &format!("link set dev {port} master sw"));
    for (setting, often) in [
        ("isolated on", 3),
        ("learning off", 4),
        ("flood off", 4),
        ("bcast_flood off", 6),
        ("mcast_flood off", 6),
        ("hairpin on", 5),
        ("neigh_suppress on", 4),
        ("locked on", 10),
    ] {
        if random.odd(often) {
            plan.bridge(HUB, &format!("link set dev {port} {setting}"));
        }
    }
    if random.odd(10) {
        let state = *random.pick(&[0, 1, 2, 4]);
        plan.bridge(HUB, &format!("link set dev {port} state {state}"));
    }
    if random.odd(6) {
        plan.ip(
            HUB,
            "neigh replace 10.213.0.2 lladdr 02:00:00:00:00:02 dev sw nud permanent",
        );
        plan.bridge(HUB, "fdb replace 02:00:00:00:00:02 dev pb master static");
    }
}

fn router_port(plan: &mut Plan, random: &mut Random, (port, n): (&str, usize)) {
    if random.one_in(2) {
        plan.address(HUB, port, &format!("10.213.0.{}/24", 100 + n));
    }
    plan.address(HUB, port, &format!("fd13::{}/64", 100 + n));
    if random.one_in(2) {
        plan.ip(HUB, &format!("route replace 10.213.0.{n}/32 dev {port}"));
    }
    plan.settings(random, HUB, port);
    let forwards = random.below(2);
    plan.conf(HUB, port, ("forwarding", forwards));
    plan.conf6(HUB, port, ("forwarding", forwards));
    plan.askers.push((HUB.into(), port.into()));
    if random.one_in(4) {
        let there = random.below(3) + 1;
        plan.ip(HUB, &format!("neigh add proxy fd13::{there} dev {port}"));
        plan.ip(HUB, &format!("neigh add proxy 10.213.0.{there} dev {port}"));
    }
}

fn vlans(plan: &mut Plan, random: &mut Random) {
    plan.ip(HUB, "link set dev sw type bridge vlan_filtering 1");
    for node in NODES {
        if random.one_in(3) {
            plan.bridge(HUB, &format!("vlan del dev p{node} vid 1"));
            plan.bridge(HUB, &format!("vlan add dev p{node} vid 5 pvid untagged"));
        }
        if random.one_in(2) {
            plan.bridge(HUB, &format!("vlan add dev p{node} vid 10-12"));
        }
    }
    if random.one_in(2) {
        plan.bridge(HUB, "vlan add dev sw vid 10 self");
    }
}

/// VLAN devices, macvlans and VXLANs over the star.
fn extras(plan: &mut Plan, random: &mut Random) {
    let tagged = random.one_in(2);
    let tunnelled = random.one_in(2);
    for node in NODES {
        let n = number(node);
        if tagged {
            plan.ip(node, "link add link e0 name v10 type vlan id 10");
            plan.address(node, "v10", &format!("10.214.0.{n}/24"));
            plan.ip(node, "link set dev v10 up");
            plan.askers.push((node.into(), "v10".into()));
        }
        if tunnelled {
            let vni = if random.one_in(6) { 43 } else { 42 };
            plan.ip(
                node,
                &format!(
                    "link add vx type vxlan id {vni} dstport 4790 local 10.213.0.{n} nolearning"
                ),
            );
            plan.address(node, "vx", &format!("10.215.0.{n}/24"));
            plan.ip(node, "link set dev vx up");
            plan.askers.push((node.into(), "vx".into()));
            for other in 1..=3 {
                if random.one_in(2) {
                    let append =
                        format!("fdb append 00:00:00:00:00:00 dev vx dst 10.213.0.{other}");
                    plan.bridge(node, &append);
                }
            }
            if random.one_in(2) {
                plan.ip(node, "link set dev vx type vxlan learning");
            }
        }
    }
    if random.one_in(2) {
        for (name, n) in [("m1", 11), ("m2", 12)] {
            let mode = *random.pick(&["bridge", "private", "vepa"]);
            plan.ip(
                "a",
                &format!("link add link e0 name {name} type macvlan mode {mode}"),
            );
            plan.address("a", name, &format!("10.213.0.{n}/24"));
            plan.ip("a", &format!("link set dev {name} up"));
            plan.askers.push(("a".into(), name.into()));
        }
    }
}

/// Types lines in; one that fails (the network does not have what it is about) is left out.
fn batch(program: &str, namespace: &str, lines: &[&str]) {
    let mut child = Command::new(program)
        .args(["-n", namespace, "-force", "-batch", "-"])
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let text = lines.join("\n");
    child
        .stdin
        .take()
        .unwrap()
        .write_all(text.as_bytes())
        .unwrap();
    child.wait().unwrap();
}

fn ip(arguments: &[&str]) {
    let status = Command::new("ip").args(arguments).status().unwrap();
    assert!(status.success(), "ip {arguments:?}");
}

/// The namespaces of a plan, which end with it.
struct Built {
    handles: Vec<(String, NetnsFd)>,
}

impl Built {
    fn new(plan: &Plan) -> Self {
        let names = NODES.iter().chain([&HUB]);
        let handles: Vec<(String, NetnsFd)> = names
            .map(|name| {
                ip(&["netns", "add", name]);
                let handle = NetnsFd::open(format!("/run/netns/{name}")).unwrap();
                ((*name).to_owned(), handle)
            })
            .collect();
        let built = Self { handles };
        built.type_in("ip", &plan.links);
        for (namespace, path, value) in &plan.sysctls {
            let path = format!("/proc/sys/{path}");
            let _ = built.enter(namespace, || std::fs::write(path, value));
        }
        built.type_in("bridge", &plan.bridges);
        built.answer_at_once();
        built
    }

    /// Lines in their order, those of one namespace at a time.
    fn type_in(&self, program: &str, text: &str) {
        let lines: Vec<(&str, &str)> = text.lines().filter_map(|l| l.split_once('|')).collect();
        for group in lines.chunk_by(|a, b| a.0 == b.0) {
            let (namespace, _) = group.first().unwrap();
            let own: Vec<&str> = group.iter().map(|(_, line)| *line).collect();
            batch(program, namespace, &own);
        }
    }

    /// Proxies answer after a random time, if this is not set.
    fn answer_at_once(&self) {
        for (_, handle) in &self.handles {
            handle
                .enter(|| {
                    for family in ["ipv4", "ipv6"] {
                        let directory = format!("/proc/sys/net/{family}/neigh");
                        for entry in std::fs::read_dir(directory).unwrap() {
                            let path = entry.unwrap().path().join("proxy_delay");
                            let _ = std::fs::write(path, "0");
                        }
                    }
                })
                .unwrap();
        }
    }

    fn enter<T>(&self, namespace: &str, f: impl FnOnce() -> T) -> T {
        let (_, handle) = self
            .handles
            .iter()
            .find(|(name, _)| name == namespace)
            .unwrap();
        handle.enter(f).unwrap()
    }

    fn netns(&self) -> BTreeSet<NetNs> {
        self.handles
            .iter()
            .map(|(_, handle)| handle.netns())
            .collect()
    }
}

impl Drop for Built {
    fn drop(&mut self) {
        for (name, _) in &self.handles {
            let _ = Command::new("ip").args(["netns", "del", name]).status();
        }
    }
}

/// Links and addresses of the plan's namespaces, and handles to ask there.
fn facts(built: &Built) -> (Host, Watcher) {
    let (watcher, first) = Watcher::new(NamePlaces::default()).unwrap();
    let own = built.netns();
    let mut host = Host::default();
    for mut fact in first.iter().filter_map(HostChange::fact) {
        if fact.netns_mut().is_some_and(|netns| own.contains(netns)) {
            host.apply(KtimeNs(0), fact);
        }
    }
    (host, watcher)
}

/// The facts when they no longer change: carriers and states of ports follow links after a while.
fn settled(built: &Built) -> (Host, Watcher) {
    let mut before = facts(built);
    for _ in 0..ROUNDS {
        std::thread::sleep(WAIT);
        let now = facts(built);
        let same = now.0.links().eq(before.0.links());
        before = now;
        if same {
            break;
        }
    }
    before
}

/// Reads what the answer needs, until nothing is missing.
fn complete(host: &mut Host, watcher: &Watcher, ask: Ask) {
    let mut asked = BTreeSet::new();
    for _ in 0..ROUNDS {
        let missing = neighbour::answer(host, ask).missing;
        let new: Vec<_> = missing
            .into_iter()
            .filter(|question| asked.insert(format!("{question:?}")))
            .collect();
        if new.is_empty() {
            return;
        }
        for question in new {
            for fact in answers::answer(&question, watcher.namespaces()) {
                host.apply(KtimeNs(0), fact);
            }
        }
    }
}

fn checksum(parts: &[&[u8]]) -> u16 {
    let bytes: Vec<u8> = parts.concat();
    let mut sum: u32 = bytes
        .chunks(2)
        .map(|pair| {
            let high = pair.first().copied().unwrap_or_default();
            let low = pair.get(1).copied().unwrap_or_default();
            u32::from(u16::from_be_bytes([high, low]))
        })
        .sum();
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    !u16::try_from(sum).unwrap()
}

fn arp(own: Mac, source: Ipv4Addr, target: Ipv4Addr) -> Vec<u8> {
    let mut frame = vec![0xff; 6];
    frame.extend(own.0);
    frame.extend([8, 6, 0, 1, 8, 0, 6, 4, 0, 1]);
    frame.extend(own.0);
    frame.extend(source.octets());
    frame.extend([0; 6]);
    frame.extend(target.octets());
    frame
}

fn solicitation(own: Mac, source: Ipv6Addr, target: Ipv6Addr) -> Vec<u8> {
    let [.., x, y, z] = target.octets();
    let mut group = [0xff, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0xff, x, y, z];
    group[12] = 0xff;
    let mut body = vec![135, 0, 0, 0, 0, 0, 0, 0];
    body.extend(target.octets());
    body.extend([1, 1]);
    body.extend(own.0);
    let sum = checksum(&[&source.octets(), &group, &[0, 0, 0, 32, 0, 0, 0, 58], &body]);
    body.splice(2..4, sum.to_be_bytes());
    let mut frame = vec![0x33, 0x33, 0xff, x, y, z];
    frame.extend(own.0);
    frame.extend([0x86, 0xdd, 0x60, 0, 0, 0, 0, 32, 58, 255]);
    frame.extend(source.octets());
    frame.extend(group);
    frame.extend(body);
    frame
}

/// The MAC that a frame names as an answer for the address: an ARP reply's, or that of an advertisement.
fn answered(frame: &[u8], own: Mac, target: IpAddr) -> Option<Mac> {
    let mac = |at: usize| frame.get(at..at + 6)?.try_into().ok().map(Mac);
    if mac(0) != Some(own) {
        return None;
    }
    match target {
        IpAddr::V4(v4) => {
            let reply = frame.get(12..14)? == [8, 6] && frame.get(20..22)? == [0, 2];
            (reply && frame.get(28..32)? == v4.octets()).then(|| mac(22))?
        }
        IpAddr::V6(v6) => {
            let advertisement = frame.get(12..14)? == [0x86, 0xdd] && *frame.get(54)? == 136;
            (advertisement && frame.get(62..78)? == v6.octets()).then(|| mac(6))?
        }
    }
}

/// Sends a question and collects who answers.
fn really(built: &Built, namespace: &str, asker: &Link, ask: Ask) -> BTreeSet<Mac> {
    let (Some(own), Some(source)) = (asker.mac, ask.source) else {
        return BTreeSet::new();
    };
    let frame = match (source, ask.address) {
        (IpAddr::V4(source), IpAddr::V4(target)) => arp(own, source, target),
        (IpAddr::V6(source), IpAddr::V6(target)) => solicitation(own, source, target),
        _ => return BTreeSet::new(),
    };
    let socket = built.enter(namespace, || PacketSocket::open(asker.device.ifindex.0));
    let mut found = BTreeSet::new();
    // An interface that is down takes nothing.
    let Ok(mut socket) = socket else {
        return found;
    };
    if socket.send(&frame).is_err() {
        return found;
    }
    let until = Instant::now() + WAIT;
    while let Some(left) = until.checked_duration_since(Instant::now()) {
        let Some(bytes) = socket.receive(left).unwrap() else {
            break;
        };
        found.extend(answered(&bytes, own, ask.address));
    }
    found
}

/// What came of all questions.
#[derive(Default)]
struct Tally {
    asked: usize,
    somebody: usize,
    untold: usize,
    changed: usize,
    differences: Vec<String>,
}

/// Whether the model says what happened; `None`: it cannot tell.
fn agrees(answer: &Answer<'_>, really: &BTreeSet<Mac>) -> Option<bool> {
    let said: BTreeSet<Mac> = answer.answerers.iter().filter_map(|a| a.mac).collect();
    let whole = answer.open.is_empty() && answer.missing.is_empty();
    match answer.told() {
        Told::CannotTell => None,
        _ if whole => Some(said == *really),
        _ => Some(said.is_subset(really)),
    }
}

fn one_network(seed: u64, tally: &mut Tally) {
    let mut random = Random::new(seed);
    let plan = star(&mut random);
    let built = Built::new(&plan);
    let (links, watcher) = settled(&built);
    let targets: Vec<IpAddr> = plan.targets.iter().copied().collect();
    for _ in 0..ASKS {
        let (namespace, name) = random.pick(&plan.askers);
        let netns = built
            .handles
            .iter()
            .find(|(n, _)| n == namespace)
            .map(|(_, handle)| handle.netns())
            .unwrap();
        let Some(asker) = links
            .links()
            .find(|l| l.name == *name && l.device.netns == netns)
        else {
            continue;
        };
        let near: Vec<IpAddr> = targets
            .iter()
            .filter(|t| {
                let mut own = links.addresses(asker.device).iter();
                own.any(|a| holds(a.address, a.prefix, **t) && a.address != **t)
            })
            .copied()
            .collect();
        let address = match near.is_empty() || random.one_in(3) {
            true => *random.pick(&targets),
            false => *random.pick(&near),
        };
        let same = |a: &IpAddr| a.is_ipv4() == address.is_ipv4();
        let own = links.addresses(asker.device).iter().map(|a| a.address);
        let own: Vec<IpAddr> = own.filter(same).collect();
        let other = random.one_in(8);
        let source = match own.first() {
            Some(first) if !other => *first,
            _ if address.is_ipv4() => {
                *random.pick(&["0.0.0.0".parse().unwrap(), "10.213.7.7".parse().unwrap()])
            }
            _ => "fd13::7777".parse().unwrap(),
        };
        if source == address {
            continue;
        }
        let ask = Ask {
            device: asker.device,
            address,
            source: Some(source),
        };
        let mut host = links.clone();
        complete(&mut host, &watcher, ask);
        let answer = neighbour::answer(&host, ask);
        let found = really(&built, namespace, asker, ask);
        tally.asked += 1;
        tally.somebody += usize::from(!found.is_empty());
        match agrees(&answer, &found) {
            None => tally.untold += 1,
            Some(true) => {}
            Some(false) => {
                let (now, _) = facts(&built);
                if !now.links().eq(links.links()) {
                    tally.changed += 1;
                    continue;
                }
                tally.differences.push(format!(
                    "seed {seed}: {namespace}/{name} ({source}) asks for {address}\n  kernel: {found:?}\n  network: {answer:#?}"
                ));
            }
        }
    }
}

fn from_environment(name: &str) -> Option<u64> {
    std::env::var(name).ok()?.parse().ok()
}

fn networks() {
    let first = from_environment("TRACER_SEED").unwrap_or(1);
    let count = from_environment("TRACER_CASES").unwrap_or(NETWORKS);
    let mut tally = Tally::default();
    for seed in first..first + count {
        one_network(seed, &mut tally);
    }
    let Tally {
        asked,
        somebody,
        untold,
        changed,
        differences,
    } = tally;
    let told = format!(
        "{count} networks, {asked} questions, {somebody} answered, {untold} cannot be told, {changed} changed meanwhile, {} differ",
        differences.len()
    );
    eprintln!("{told}");
    assert!(differences.is_empty(), "{told}\n{}", differences.join("\n"));
    assert!(untold * 3 < asked, "too little is told: {told}");
    assert!(somebody * 8 > asked, "too few answer: {told}");
}

#[test]
fn who_answers_for_a_neighbour_is_who_the_model_says() {
    alone(networks).unwrap();
}
