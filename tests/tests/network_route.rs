//! `network::route` against the kernel: random rules, routes and settings in a namespace, read by the product's own
//! reader, and for random packets what RTM_GETROUTE says against what the facts say.
//!
//! A difference is printed with the commands that make it. `ROUTE_SEED` and `ROUTE_WORLDS` choose where it begins and how
//! many sets of tables are tried. Needs root; without it the test says so and ends.

#![expect(
    clippy::unwrap_used,
    reason = "a setup that fails is a test that fails"
)]

use std::io::Write;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use tests::alone::alone;
use tracer::host::Host;
use tracer::host::answers::answer;
use tracer::host::facts::{Fact, Question, RouteAnswer, Selectors};
use tracer::host::namespaces::{Namespaces, NetnsFd};
use tracer::model::{Device, IfIndex, KtimeNs, NetNs, Proto, Tuple};
use tracer::network::route::{Comparison, compare};

/// Packets that are asked for in each world.
const PACKETS: u64 = 25;
/// Sets of tables that are tried where nothing else is said.
const WORLDS: u64 = 30;
/// Longest wait for what the kernel does soon.
const PATIENCE: Duration = Duration::from_secs(30);
/// Interfaces: p0 and p1 with a carrier, p2 without.
const INTERFACES: u64 = 3;

/// splitmix64: the same numbers everywhere for one seed.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn below(&mut self, end: u64) -> u64 {
        self.next() % end
    }

    /// One time in `n`.
    fn rarely(&mut self, n: u64) -> bool {
        self.below(n) == 0
    }

    fn of<'a, T: ?Sized>(&mut self, list: &[&'a T]) -> &'a T {
        let at = usize::try_from(self.next()).unwrap() % list.len();
        list.get(at).unwrap()
    }
}

/// Addresses of a family, few, so that much meets.
struct Family {
    v6: bool,
    prefixes: &'static [&'static str],
    /// Ends of packets.
    ends: &'static [&'static str],
}

const FAMILIES: [Family; 2] = [
    Family {
        v6: false,
        prefixes: &[
            "0.0.0.0/0",
            "0.0.0.0/0",
            "10.0.0.0/8",
            "10.1.0.0/16",
            "10.1.2.0/24",
            "10.1.2.0/25",
            "10.1.2.3/32",
            "10.0.1.0/24",
            "10.0.0.7/32",
            "128.0.0.0/1",
        ],
        ends: &[
            "10.1.2.3",
            "10.1.2.200",
            "10.1.9.9",
            "10.9.9.9",
            "10.0.0.7",
            "10.0.0.1",
            "10.0.1.9",
            "10.0.2.255",
            "10.0.2.4",
            "172.16.0.1",
            "127.0.0.1",
        ],
    },
    Family {
        v6: true,
        prefixes: &[
            "::/0",
            "::/0",
            "fd00::/16",
            "fd01::/16",
            "fd01:2::/32",
            "fd01:2::/64",
            "fd01:2::3/128",
            "fd00:0:0:1::/64",
            "fd00::7/128",
            "8000::/1",
        ],
        ends: &[
            "fd01:2::3",
            "fd01:2::99",
            "fd01:9::9",
            "fd09::9",
            "fd00::7",
            "fd00::1",
            "fd00:0:0:1::9",
            "fd00:0:0:2::4",
            "2001:db8::1",
        ],
    },
];

impl Family {
    fn at(&self, interface: u64, host: u64) -> String {
        if self.v6 {
            format!("fd00:0:0:{interface}::{host}")
        } else {
            format!("10.0.{interface}.{host}")
        }
    }
}

/// The setup of a world: what `ip -batch` takes, and settings.
struct World {
    commands: Vec<String>,
    settings: Vec<(String, String)>,
}

/// Interfaces with addresses.
fn begin() -> Vec<String> {
    let mut list = vec!["link set lo up".to_owned()];
    for n in 0..INTERFACES {
        list.push(format!("link add p{n} type veth peer name q{n}"));
        list.push(format!("link set p{n} up"));
        if n < 2 {
            list.push(format!("link set q{n} up"));
        }
        for family in &FAMILIES {
            let (length, nodad) = if family.v6 { (64, " nodad") } else { (24, "") };
            list.push(format!(
                "addr add {}/{length} dev p{n}{nodad}",
                family.at(n, 1)
            ));
        }
    }
    list
}

fn world(random: &mut Random) -> World {
    let mut commands = begin();
    let mut settings = Vec::new();
    let mut set = |name: String, value: u64| settings.push((name, value.to_string()));
    for interface in ["all", "p0", "p1", "p2"] {
        for name in [
            "rp_filter",
            "accept_local",
            "src_valid_mark",
            "route_localnet",
            "send_redirects",
        ] {
            let most = if name == "rp_filter" { 3 } else { 2 };
            let value = if random.rarely(3) {
                random.below(most)
            } else {
                0
            };
            set(format!("net/ipv4/conf/{interface}/{name}"), value);
        }
    }
    let linkdown = u64::from(random.rarely(2));
    for family in ["ipv4", "ipv6"] {
        set(
            format!("net/{family}/conf/p2/ignore_routes_with_linkdown"),
            linkdown,
        );
    }
    for interface in ["p0", "p1", "p2"] {
        let forwards = u64::from(!random.rarely(6));
        set(format!("net/ipv4/conf/{interface}/forwarding"), forwards);
    }
    set(
        "net/ipv6/conf/all/forwarding".to_owned(),
        u64::from(!random.rarely(3)),
    );
    if random.rarely(3) {
        set("net/ipv4/nexthop_compat_mode".to_owned(), 0);
    }
    for family in &FAMILIES {
        objects(family, &mut commands);
        for _ in 0..random.below(14) {
            commands.push(route(family, random));
        }
        // Without rules of its own a namespace looks routes up in another way.
        let count = if random.rarely(4) { 0 } else { random.below(8) };
        for _ in 0..count {
            commands.push(rule(family, random));
        }
    }
    World { commands, settings }
}

fn six(family: &Family) -> &'static str {
    if family.v6 { "-6 " } else { "" }
}

/// Next-hop objects: 1 and 2 by p0 and p1, 3 without a carrier, 4 a blackhole, 10 and 11 groups; IPv6 from 101 on.
fn objects(family: &Family, commands: &mut Vec<String>) {
    let base = if family.v6 { 100 } else { 0 };
    let six = six(family);
    for n in 0..INTERFACES {
        let gateway = family.at(n, 5);
        commands.push(format!(
            "{six}nexthop add id {} via {gateway} dev p{n}",
            base + n + 1
        ));
    }
    commands.push(format!("{six}nexthop add id {} blackhole", base + 4));
    let group = |id, first, second| format!("nexthop add id {id} group {first}/{second},5");
    commands.push(group(base + 10, base + 1, base + 2));
    commands.push(group(base + 11, base + 3, base + 2));
}

fn route(family: &Family, random: &mut Random) -> String {
    let prefix = random.of(family.prefixes);
    let table = random.of(&["main", "main", "local", "default", "100", "101", "102"]);
    let base = if family.v6 { 100 } else { 0 };
    let hop = |random: &mut Random| {
        let n = random.below(INTERFACES);
        let gateway = family.at(n, 2 + random.below(3));
        match random.below(3) {
            0 => format!("dev p{n}"),
            _ => format!("via {gateway} dev p{n}"),
        }
    };
    let refusal = random.of(&["blackhole", "unreachable", "prohibit", "throw"]);
    let way = match random.below(10) {
        0..=4 => format!("{prefix} {}", hop(random)),
        5 => {
            let (first, second) = (hop(random), hop(random));
            format!("{prefix} nexthop {first} weight 2 nexthop {second}")
        }
        6 => {
            let id: u64 = random
                .of(&["1", "2", "3", "4", "10", "11"])
                .parse()
                .unwrap();
            format!("{prefix} nhid {}", base + id)
        }
        // Elsewhere it could hold a gateway of its own table, which no listing tells (fib_check_nh_v4_gw).
        7 if matches!(table, "main" | "local") => {
            format!("local {prefix} dev p{}", random.below(2))
        }
        _ => format!("{refusal} {prefix}"),
    };
    let metric = random.of(&["", "", " metric 10", " metric 20"]);
    let tos = if family.v6 {
        ""
    } else {
        random.of(&["", "", "", " tos 0x08", " tos 0x10"])
    };
    let preference = if family.v6 {
        random.of(&["", "", " pref high", " pref low"])
    } else {
        ""
    };
    // The properties of the whole come before those of its paths.
    let (own, paths) = match way.split_once(" nexthop ") {
        Some((own, paths)) => (own.to_owned(), format!(" nexthop {paths}")),
        None => (way, String::new()),
    };
    let verb = random.of(&["add", "add", "append"]);
    format!(
        "{}route {verb} {own}{tos} table {table}{metric}{preference}{paths}",
        six(family)
    )
}

fn rule(family: &Family, random: &mut Random) -> String {
    if random.rarely(12) {
        return format!(
            "{}rule del pref {}",
            six(family),
            random.of(&["0", "32766"])
        );
    }
    let prefs = &["0", "10", "20", "30", "32765", "32767", "40000"];
    let mut words = vec![format!("{}rule add", six(family))];
    if random.rarely(6) {
        words.push("not".to_owned());
    }
    for (selector, n) in [("from", 3), ("to", 3)] {
        if random.rarely(n) {
            words.push(format!("{selector} {}", random.of(family.prefixes)));
        }
    }
    for selector in [
        &["iif lo", "iif p0", "iif p1", "iif nowhere"][..],
        &["oif p0", "oif p1"],
        &["fwmark 1", "fwmark 0x10/0xf0", "fwmark 0/0xff"],
        &["ipproto tcp", "ipproto udp", "ipproto icmp"],
        &["sport 53", "sport 1000-5000"],
        &["dport 53", "dport 50-90"],
        &["uidrange 0-0", "uidrange 1000-2000"],
        &["tos 0x08", "tos 0x10"],
    ] {
        if random.rarely(6) {
            words.push(random.of(selector).to_owned());
        }
    }
    words.push(format!("pref {}", random.of(prefs)));
    let table = random.of(&["main", "100", "101", "102", "local", "default"]);
    words.push(match random.below(10) {
        0..=5 => format!("lookup {table}"),
        6 => format!(
            "lookup {table} suppress_prefixlength {}",
            random.of(&["0", "8", "16", "24"])
        ),
        7 => format!("goto {}", random.of(&prefs[1..])),
        8 => "nop".to_owned(),
        _ => random
            .of(&["blackhole", "unreachable", "prohibit"])
            .to_owned(),
    });
    words.join(" ")
}

/// A namespace with a world in it, and what is known of it.
struct Made {
    world: World,
    netns: NetNs,
    namespaces: Namespaces,
    host: Host,
}

fn ip(arguments: &[&str], input: &str) {
    let child = Command::new("ip")
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn();
    let mut child = child.unwrap();
    child
        .stdin
        .take()
        .unwrap()
        .write_all(input.as_bytes())
        .unwrap();
    // Some commands must fail: what exists already, what leads nowhere.
    child.wait().unwrap();
}

/// Waits until the addresses of p0 and p1 are there for routing: IPv6 makes their local routes when a work queue comes to
/// it (addrconf_dad_work), behind the news of the carrier.
fn settle(netns: NetNs, namespaces: &Namespaces) {
    let start = Instant::now();
    let is_local = |interface| {
        let dst = FAMILIES[1].at(interface, 1).parse().unwrap();
        let facts = answer(&Question::RoutesTowards { netns, dst }, namespaces);
        matches!(facts.as_slice(), [Fact::RoutesTowards(_, _, routes)]
            if routes.iter().any(|route| route.kind == "local"))
    };
    while !(is_local(0) && is_local(1)) {
        assert!(start.elapsed() < PATIENCE, "the addresses do not come");
        std::thread::yield_now();
    }
}

impl Made {
    fn new(world: World) -> Self {
        ip(&["netns", "add", "world"], "");
        let (first, rest) = world.commands.split_at(begin().len());
        ip(
            &["-n", "world", "-force", "-batch", "-"],
            &(first.join("\n") + "\n"),
        );
        let handle = NetnsFd::open("/run/netns/world").unwrap();
        let netns = handle.netns();
        let mut namespaces = Namespaces::default();
        namespaces.insert(Arc::new(handle.try_clone().unwrap()));
        settle(netns, &namespaces);
        handle
            .enter(|| {
                for (name, value) in &world.settings {
                    std::fs::write(format!("/proc/sys/{name}"), value).unwrap();
                }
            })
            .unwrap();
        ip(
            &["-n", "world", "-force", "-batch", "-"],
            &(rest.join("\n") + "\n"),
        );
        let mut made = Self {
            world,
            netns,
            namespaces,
            host: Host::default(),
        };
        made.read();
        made
    }

    fn ask(&mut self, question: &Question) -> Vec<Fact> {
        let facts = answer(question, &self.namespaces);
        for fact in &facts {
            self.host.apply(KtimeNs(0), fact.clone());
        }
        facts
    }

    fn read(&mut self) {
        let netns = self.netns;
        for n in 1..=1 + 2 * u32::try_from(INTERFACES).unwrap() {
            let ifindex = IfIndex(n);
            self.ask(&Question::Link {
                device: Device { netns, ifindex },
            });
        }
        let names: Vec<String> = self
            .world
            .settings
            .iter()
            .map(|(name, _)| name.clone())
            .collect();
        for name in names {
            self.ask(&Question::Sysctl { netns, name });
        }
        for v6 in [false, true] {
            self.ask(&Question::Rules { netns, v6 });
        }
        for dst in FAMILIES.iter().flat_map(|family| family.ends) {
            let dst = dst.parse().unwrap();
            self.ask(&Question::RoutesTowards { netns, dst });
        }
        let family = &FAMILIES[1];
        for (n, host) in (0..INTERFACES).flat_map(|n| (2..6).map(move |host| (n, host))) {
            let Some(link) = self.host.links().find(|link| link.name == format!("p{n}")) else {
                continue;
            };
            let (device, address) = (link.device, family.at(n, host).parse().unwrap());
            self.ask(&Question::Neighbor { device, address });
        }
    }

    fn interface(&self, name: &str) -> u32 {
        let mut links = self.host.links();
        links
            .find(|link| link.name == name)
            .map_or(0, |link| link.device.ifindex.0)
    }

    fn packet(&self, family: &Family, random: &mut Random) -> Question {
        let unspecified = if family.v6 { "::" } else { "0.0.0.0" };
        let came_in = random.rarely(2);
        let own = family.at(random.below(INTERFACES), 1);
        let src = match random.below(4) {
            0 if !came_in => own,
            1 | 2 if !came_in => unspecified.to_owned(),
            _ => random.of(family.ends).to_owned(),
        };
        let proto = [
            Proto::Tcp,
            Proto::Udp,
            if family.v6 { Proto::Icmp6 } else { Proto::Icmp },
        ];
        let proto = *random.of(&[&proto[0], &proto[1], &proto[2]]);
        let ports = !matches!(proto, Proto::Icmp | Proto::Icmp6);
        let mut port = || {
            random
                .of(&["0", "53", "80", "4000"])
                .parse::<u16>()
                .unwrap()
        };
        let (sport, dport) = if ports { (port(), port()) } else { (0, 0) };
        let bound = !came_in && random.rarely(4);
        let name = random.of(&["p0", "p1", "p2"]);
        let with = Selectors {
            mark: random.of(&["0", "0", "1", "16", "256"]).parse().unwrap(),
            oif: if bound { self.interface(name) } else { 0 },
            uid: (!came_in && random.rarely(3)).then_some(1500),
            tos: random.of(&["0", "0", "8", "16"]).parse().unwrap(),
        };
        Question::Route {
            netns: self.netns,
            tuple: Tuple {
                proto,
                src: src.parse().unwrap(),
                sport,
                dst: random.of(family.ends).parse().unwrap(),
                dport,
                icmp_id: 0,
            },
            iif: if came_in { self.interface(name) } else { 0 },
            with,
        }
    }
}

impl Drop for Made {
    fn drop(&mut self) {
        ip(&["netns", "del", "world"], "");
    }
}

/// What came of all packets.
#[derive(Debug, Default)]
struct Sum {
    agree: u64,
    differ: u64,
    undecided: std::collections::BTreeMap<String, u64>,
}

/// An input that the kernel cannot be asked about, or that differs, with all that makes it.
fn report(seed: u64, made: &Made, told: &RouteAnswer, kernel: &str, facts: &str) {
    let own = made.world.commands.get(begin().len()..).unwrap();
    let settings: Vec<String> = made
        .world
        .settings
        .iter()
        .map(|(n, v)| format!("{n}={v}"))
        .collect();
    println!(
        "DIFFERENCE (ROUTE_SEED={seed} ROUTE_WORLDS=1)\n{}\n{}\n{told:?}\n  kernel: {kernel}\n  facts:  {facts}",
        own.join("\n"),
        settings.join(" ")
    );
}

fn try_world(seed: u64, sum: &mut Sum) {
    let mut random = Random(seed);
    let mut made = Made::new(world(&mut random));
    for at in 0..PACKETS {
        let family = FAMILIES.get(usize::from(at % 2 == 1)).unwrap();
        let question = made.packet(family, &mut random);
        let facts = made.ask(&question);
        let [Fact::Route(told)] = facts.as_slice() else {
            unreachable!("{facts:?}")
        };
        match compare(&made.host, told) {
            Comparison::Agrees => sum.agree += 1,
            Comparison::Undecided(why) => {
                *sum.undecided.entry(why.to_string()).or_default() += 1;
            }
            Comparison::Differs { kernel, facts } => {
                sum.differ += 1;
                report(seed, &made, told, &kernel, &facts);
            }
        }
    }
}

#[test]
fn routes_are_what_the_kernel_says() {
    let number = |name, otherwise| {
        let text = std::env::var(name).ok();
        text.map_or(otherwise, |text: String| text.parse::<u64>().unwrap())
    };
    let (seed, worlds) = (number("ROUTE_SEED", 1), number("ROUTE_WORLDS", WORLDS));
    alone(move || {
        let mut sum = Sum::default();
        for seed in seed..seed + worlds {
            try_world(seed, &mut sum);
        }
        println!("{sum:#?}");
        let undecided: u64 = sum.undecided.values().sum();
        assert_eq!(sum.differ, 0);
        assert!(sum.agree > 4 * undecided, "too little is decided");
    })
    .unwrap();
}
