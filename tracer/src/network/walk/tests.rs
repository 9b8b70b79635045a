//! Packets through a small hand-made router: `lan0` (2) and `wan0` (3), and beside them a bridge (4) with ports 5 and 6.
#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a failed setup fails the test"
)]

mod bonds;
mod tunnels;

use std::net::IpAddr;

use super::*;
use crate::host::facts::{
    BaseChain, BridgeLink, BridgePort, Chain, Fact, FdbEntry, FilterEngine, Forwarding, Missing,
    Neighbor, Part, PolicyRule, Rule, RuleVerdict, Ruleset, Side, Statement, TableRoute, Test,
    Translation,
};
use crate::model::{IfIndex, Mac, Proto};
use crate::network::filter::states;
use crate::uapi::neighbour::{NUD_FAILED, NUD_PERMANENT};

const NETNS: NetNs = NetNs(1);
const LAN: Device = device(2);
const WAN: Device = device(3);
const BRIDGE: Device = device(4);
const PORT: Device = device(5);
const OTHER: Device = device(6);
const HOST: Mac = Mac([2, 0, 0, 0, 0, 9]);

const fn device(ifindex: u32) -> Device {
    Device {
        netns: NETNS,
        ifindex: IfIndex(ifindex),
    }
}

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

fn tuple(dst: &str) -> Tuple {
    Tuple {
        proto: Proto::Udp,
        src: ip("10.1.0.7"),
        sport: 4000,
        dst: ip(dst),
        dport: 53,
        icmp_id: 0,
    }
}

fn link(device: Device, name: &str, kind: &str) -> Link {
    Link {
        kind: kind.into(),
        mac: Some(Mac([2, 0, 0, 0, 0, 1])),
        mtu: 1500,
        up: true,
        carrier: true,
        arp_type: 1,
        ..Link::new(device, name)
    }
}

fn base(table: &str, hook: &str, drops: bool) -> BaseChain {
    BaseChain {
        engine: FilterEngine::Nftables,
        family: "ip".into(),
        table: table.into(),
        chain: hook.into(),
        hook: hook.into(),
        priority: 0,
        policy_drop: drops,
        rules: None,
        policy_packets: None,
        kind: Some(if table == "nat" { "nat" } else { "filter" }.into()),
        devices: Vec::new(),
        stops: Vec::new(),
        more_stops: false,
    }
}

/// A rule by its text, with how many packets it counted.
fn rule(text: &str, packets: Option<u64>, parts: Vec<Part>) -> Rule {
    Rule {
        text: text.into(),
        packets,
        parts,
        ..Rule::default()
    }
}

fn drop() -> Part {
    Part::Do(Statement::Verdict(RuleVerdict::Drop))
}

fn limit() -> Part {
    Part::Test(Test::Other("limit rate 1/second".into()))
}

struct Net(Host);

impl Net {
    /// Routes to both sides, a resolved neighbour, no chains.
    fn new() -> Self {
        let mut net = Self(Host::default());
        net.fact(Fact::Link(link(LAN, "lan0", "")));
        net.fact(Fact::Link(link(WAN, "wan0", "")));
        let main = PolicyRule {
            priority: 32766,
            action: "lookup".into(),
            table: 254,
            mark_mask: u32::MAX,
            ..PolicyRule::default()
        };
        net.fact(Fact::Rules(NETNS, false, vec![main]));
        let route = |prefix: &str, oif: Device| TableRoute {
            oif: Some(oif.ifindex.0),
            ..TableRoute::new("unicast", 254, ip(prefix), 24)
        };
        for (address, route) in [
            ("10.1.0.7", route("10.1.0.0", LAN)),
            ("10.9.0.2", route("10.9.0.0", WAN)),
        ] {
            net.fact(Fact::RoutesTowards(NETNS, ip(address), vec![route]));
        }
        for name in ["all", "lan0", "wan0"] {
            net.sysctl(&format!("net/ipv4/conf/{name}/rp_filter"), "0");
            net.sysctl(&format!("net/ipv4/conf/{name}/forwarding"), "1");
            net.sysctl(&format!("net/ipv4/conf/{name}/src_valid_mark"), "0");
            net.sysctl(&format!("net/ipv4/conf/{name}/accept_local"), "0");
        }
        net.sysctl("net/bridge/bridge-nf-call-iptables", "0");
        net.neighbour(NUD_PERMANENT);
        net.rules(Vec::new());
        net
    }

    fn fact(&mut self, fact: Fact) {
        self.0.apply(KtimeNs(100), fact);
    }

    fn sysctl(&mut self, name: &str, value: &str) {
        self.fact(Fact::Sysctl {
            netns: NETNS,
            name: name.into(),
            value: Some(value.into()),
        });
    }

    fn neighbour(&mut self, state: u16) {
        self.fact(Fact::Neighbor(Neighbor {
            device: WAN,
            address: ip("10.9.0.2"),
            state,
            mac: Some(HOST),
        }));
    }

    fn rules(&mut self, chains: Vec<(BaseChain, Vec<Rule>)>) {
        let mut all = Ruleset::default();
        for (base, rules) in chains {
            let rules = (1..)
                .zip(rules)
                .map(|(number, rule)| Rule { number, ..rule });
            all.chains.push(Chain {
                engine: base.engine,
                family: base.family.clone(),
                table: base.table.clone(),
                name: base.chain.clone(),
                rules: rules.collect(),
                missing: Missing::Nothing,
            });
            all.base.push(base);
        }
        self.fact(Fact::Ruleset(NETNS, Box::new(all)));
    }

    fn bridge(&mut self) {
        let own = Link {
            bridge: Some(BridgeLink::default()),
            ..link(BRIDGE, "br0", "bridge")
        };
        self.fact(Fact::Link(own));
        for (port, name) in [(PORT, "p1"), (OTHER, "p2")] {
            self.fact(Fact::Link(Link {
                master: Some(BRIDGE.ifindex.0),
                port: Some(BridgePort::default()),
                ..link(port, name, "veth")
            }));
        }
        self.fact(Fact::Forwarding(Forwarding {
            device: BRIDGE,
            mac: HOST,
            entries: vec![FdbEntry {
                port: OTHER.ifindex.0,
                default: false,
                remote: None,
                state: 0,
                sticky: false,
            }],
        }));
    }

    /// `HOOK text → verdict (code)`, a line each.
    fn walk(&self, leg: &Leg) -> Vec<String> {
        let found = walk(&self.0, leg);
        let line = |check: &Check| {
            let code = check.undecided.as_ref().map(|code| format!(" ({code})"));
            let code = code.unwrap_or_default();
            format!("{} {} → {}{code}", check.hook, check.text, check.verdict)
        };
        found.checks.iter().map(line).collect()
    }
}

/// From `lan0` to `wan0`.
fn leg() -> Leg {
    Leg {
        netns: NETNS,
        entry: Entry::Device(LAN),
        exit: Exit::Out,
        out: Some(WAN),
        before: tuple("10.9.0.2"),
        after: tuple("10.9.0.2"),
        outer: None,
        packet: Packet {
            states: Some(states::NEW),
            status: Some(0),
            mark: Some(0),
            tos: Some(0),
            ..Packet::default()
        },
        at: KtimeNs(50),
    }
}

const ROUTE: &str = "route 10.9.0.0/24 dev wan0 → forward";
const NEIGHBOUR: &str = "neighbor 10.9.0.2 dev wan0 lladdr 02:00:00:00:00:09 PERMANENT → resolved";

#[test]
fn a_forwarded_packet_passes_route_chains_and_neighbour() {
    let mut net = Net::new();
    let accept = Part::Do(Statement::Verdict(RuleVerdict::Accept));
    let rules = vec![rule("-j ACCEPT", None, vec![accept])];
    net.rules(vec![(base("filter", "FORWARD", true), rules)]);
    assert_eq!(
        net.walk(&leg()),
        [ROUTE, "FORWARD -j ACCEPT → accept", NEIGHBOUR]
    );
}

#[test]
fn a_rule_that_had_met_nothing_afterwards_was_not_met() {
    let mut net = Net::new();
    let rules = |packets| {
        let parts = vec![limit(), drop()];
        vec![(
            base("filter", "FORWARD", false),
            vec![rule("limit drop", packets, parts)],
        )]
    };
    net.rules(rules(Some(0)));
    let policy = "FORWARD policy accept → accept";
    assert_eq!(net.walk(&leg()), [ROUTE, policy, NEIGHBOUR]);
    // one that counts nothing may have been
    net.rules(rules(None));
    let (drops, after) = (
        "FORWARD limit drop → drop (limit)",
        "FORWARD policy accept → accept (earlier-rule)",
    );
    assert_eq!(net.walk(&leg()), [ROUTE, drops, after, NEIGHBOUR]);
}

#[test]
fn where_it_died_the_checks_end() {
    let mut net = Net::new();
    net.rules(vec![(base("filter", "FORWARD", true), Vec::new())]);
    let mut died = leg();
    died.exit = Exit::Stage(Stage::Forward);
    died.out = None;
    let expected = [ROUTE, "FORWARD policy drop → drop"];
    assert_eq!(net.walk(&died), expected);
    // and of one that was seen behind it the rules must have been others
    let passed = net.walk(&leg());
    assert_eq!(
        passed,
        [
            ROUTE,
            "FORWARD policy drop → drop (passed-nevertheless)",
            NEIGHBOUR
        ]
    );
}

#[test]
fn a_translation_is_by_the_rule_that_gives_it_or_by_the_connection() {
    let mut net = Net::new();
    let to = Translation {
        side: Side::Destination,
        addresses: Some((ip("10.9.0.2"), ip("10.9.0.2"))),
        ports: None,
        text: "to 10.9.0.2".into(),
    };
    let rules = vec![rule("dnat", None, vec![Part::Do(Statement::Translate(to))])];
    net.rules(vec![(base("nat", "PREROUTING", false), rules)]);
    let mut leg = leg();
    leg.before = tuple("10.96.0.1");
    let first = ["PREROUTING dnat → translate", ROUTE, NEIGHBOUR];
    assert_eq!(net.walk(&leg), first);
    leg.packet.states = Some(states::ESTABLISHED);
    leg.packet.status = Some(u32::MAX);
    let later = net.walk(&leg);
    assert!(later[0].starts_with("PREROUTING as its connection is translated"));
    assert_eq!(later[1..], [ROUTE, NEIGHBOUR]);
}

#[test]
fn the_reverse_path_filter_tells_the_way_back() {
    let mut net = Net::new();
    net.sysctl("net/ipv4/conf/all/rp_filter", "1");
    let mut leg = leg();
    let lines = net.walk(&leg);
    assert_eq!(
        lines[0],
        "rp-filter mode 1: the way back to 10.1.0.7 is 10.1.0.0/24 dev lan0 → accept"
    );
    leg.entry = Entry::Device(WAN);
    leg.exit = Exit::Stage(Stage::Route);
    leg.out = None;
    let lines = net.walk(&leg);
    assert_eq!(
        lines,
        ["rp-filter mode 1: the way back to 10.1.0.7 is 10.1.0.0/24 dev lan0 → drop"]
    );
}

#[test]
fn a_neighbour_without_a_mac_stops_what_was_not_seen_to_leave() {
    let mut net = Net::new();
    net.neighbour(NUD_FAILED);
    let mut leg = leg();
    leg.exit = Exit::Unknown;
    leg.out = None;
    assert_eq!(
        net.walk(&leg),
        [ROUTE, "neighbor 10.9.0.2 dev wan0 FAILED → unresolved"]
    );
}

#[test]
fn a_bridge_calls_chains_of_ip_only_where_it_is_set_to() {
    let mut net = Net::new();
    net.bridge();
    net.rules(vec![(base("filter", "FORWARD", false), Vec::new())]);
    let mut leg = leg();
    leg.entry = Entry::Device(PORT);
    leg.out = Some(OTHER);
    leg.packet.destination_mac = Some(HOST);
    let port = "fdb br0 has 02:00:00:00:00:09 on port p2 → forward";
    assert_eq!(net.walk(&leg), [port]);
    net.sysctl("net/bridge/bridge-nf-call-iptables", "1");
    let called = [port, "FORWARD policy accept → accept"];
    assert_eq!(net.walk(&leg), called);
}

#[test]
fn what_was_not_read_is_asked_for() {
    let host = Host::default();
    let found = walk(&host, &leg());
    let netns = NETNS;
    assert!(found.missing.contains(&Question::Chains { netns }));
    assert!(found.checks.iter().all(|check| check.undecided.is_some()));
}

#[test]
fn what_is_for_another_machine_is_not_routed() {
    let net = Net::new();
    let mut leg = leg();
    leg.exit = Exit::Unknown;
    leg.out = None;
    leg.packet.packet_type = Some(3);
    assert_eq!(net.walk(&leg), Vec::<String>::new());
}

#[test]
fn a_process_may_let_pass_what_was_queued_for_it() {
    let mut net = Net::new();
    let queue = Part::Do(Statement::Verdict(RuleVerdict::Queue {
        number: 3,
        bypass: false,
    }));
    let rules = vec![rule("queue num 3", None, vec![queue])];
    net.rules(vec![(base("filter", "FORWARD", false), rules)]);
    let queued = "FORWARD queue num 3 → queue";
    assert_eq!(net.walk(&leg()), [ROUTE, queued, NEIGHBOUR]);
    // and it comes to what stops it later
    net.neighbour(NUD_FAILED);
    let mut died = leg();
    died.exit = Exit::Stage(Stage::Neighbour);
    let failed = "neighbor 10.9.0.2 dev wan0 FAILED → unresolved";
    assert_eq!(net.walk(&died), [ROUTE, queued, failed]);
    // where it waits nothing is said of what would follow
    died.exit = Exit::Unknown;
    assert_eq!(net.walk(&died), [ROUTE, queued]);
}
