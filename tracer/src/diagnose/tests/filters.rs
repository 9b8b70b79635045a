//! Packet filters and conntrack: which rule it was, and when it was none.

use super::fixture::{Net, device, dropped, echo, mac, ports, tcp};
use crate::host::facts::{
    BaseChain, ConntrackCounters, Fact, FilterEngine, FilterRule, PolicyRule, Question, RuleTrace,
    RuleVerdict, Side, Stop, TableRoute, Test, TracedPacket,
};
use crate::model::{Detail, Direction, DropInfo, NetNs, Proto, Transport, Tuple};
use crate::verdict::{Confidence, Evidence, Verdict};

const ROUTER: u32 = 2;
const NFT: &str = "nft_do_chain_inet<nf_hook_slow<ip_forward";

fn routed() -> Net {
    let mut net = Net::with(&["client", "router", "server"]);
    net.link(device(1, 2), "eth0", |_| {});
    net.link(device(ROUTER, 2), "west", |_| {});
    net.link(device(ROUTER, 3), "east", |_| {});
    net.address(device(ROUTER, 2), "10.1.0.1", 24);
    net
}

fn ping() -> Tuple {
    echo("10.1.0.2", "10.2.0.2")
}

fn database() -> Tuple {
    ports(Proto::Tcp, "10.1.0.2", 40_000, "10.2.0.2", 5432)
}

fn rule(number: u32, packets: Option<u64>, tests: Vec<Test>, text: &str) -> FilterRule {
    FilterRule {
        chain: "forward".to_owned(),
        handle: Some(u64::from(number) + 10),
        number,
        stop: Stop::Drop,
        text: text.to_owned(),
        whole: true,
        packets,
        tests,
    }
}

fn dport(port: u16) -> Vec<Test> {
    let protocol = Test::Protocol {
        number: 6,
        not: false,
    };
    let port = Test::Port {
        side: Some(Side::Destination),
        ranges: vec![(port, port)],
        not: false,
    };
    vec![protocol, port]
}

fn set(name: &str) -> Vec<Test> {
    vec![Test::Other(format!("ip saddr @{name}"))]
}

fn chain(hook: &str, policy_drop: bool, stops: Vec<FilterRule>) -> BaseChain {
    BaseChain {
        engine: FilterEngine::Nftables,
        family: "inet".to_owned(),
        table: "fw".to_owned(),
        chain: hook.to_lowercase(),
        hook: hook.to_owned(),
        priority: 0,
        policy_drop,
        rules: u32::try_from(stops.len()).ok(),
        policy_packets: None,
        kind: None,
        devices: Vec::new(),
        stops,
        more_stops: false,
    }
}

/// A built-in chain of iptables-legacy at POSTROUTING.
fn legacy(table: &str, stops: Vec<FilterRule>) -> BaseChain {
    BaseChain {
        engine: FilterEngine::Legacy,
        family: "ip".to_owned(),
        table: table.to_owned(),
        policy_packets: Some(0),
        ..chain("POSTROUTING", false, stops)
    }
}

fn chains(net: &mut Net, list: Vec<BaseChain>) {
    net.fact(Fact::Chains(NetNs(ROUTER), list));
}

/// One packet that comes to the router's west side and dies there.
fn dies(net: &mut Net, tuple: Tuple, transport: Option<Transport>, info: DropInfo) {
    let flow = net.flow(tuple);
    let mut walk = net.packet(flow, Direction::Forward);
    if let Some(transport) = transport {
        walk = walk.transport(transport);
    }
    walk.enters(device(ROUTER, 2))
        .dies(Some(device(ROUTER, 2)), info);
}

fn by_nft() -> DropInfo {
    dropped("NETFILTER_DROP", "nft_do_chain", NFT)
}

fn advised(verdict: &Verdict, command: &str) -> bool {
    let mut commands = verdict.advice.iter().filter_map(|a| a.command.as_ref());
    commands.any(|c| c.contains(command))
}

#[test]
fn the_only_rule_that_fits_is_named() {
    let mut net = routed();
    dies(&mut net, database(), None, by_nft());
    let rules = vec![
        rule(1, None, dport(22), "tcp dport 22 drop"),
        rule(2, Some(7), dport(5432), "tcp dport 5432 drop"),
        rule(3, None, vec![], "drop"),
    ];
    chains(&mut net, vec![chain("FORWARD", true, rules)]);
    let verdict = net.verdict();
    assert!(
        verdict
            .summary
            .ends_with("rule (handle 12) of chain inet fw/forward: tcp dport 5432 drop"),
        "{}",
        verdict.summary
    );
    for command in [
        "nft delete rule inet fw forward handle 12",
        "nft add rule inet fw forward index 0 'tcp dport 5432 drop'",
    ] {
        assert!(advised(&verdict, command), "{command}");
    }
}

#[test]
fn where_two_fit_none_is_named() {
    let mut net = routed();
    dies(&mut net, database(), None, by_nft());
    let rules = vec![
        rule(1, None, set("bad"), "ip saddr @bad drop"),
        rule(2, None, set("worse"), "ip saddr @worse drop"),
    ];
    chains(&mut net, vec![chain("FORWARD", false, rules)]);
    let verdict = net.verdict();
    assert!(
        verdict.summary.contains("one of 2 rules"),
        "{}",
        verdict.summary
    );
    let perhaps = |e: &&Evidence| e.text.starts_with("perhaps ");
    assert_eq!(verdict.evidence.iter().filter(perhaps).count(), 2);
}

#[test]
fn of_two_that_fit_the_one_whose_counter_moved_is_named() {
    let mut net = routed();
    let read = |a, b| {
        let rules = vec![
            rule(1, Some(a), set("bad"), "ip saddr @bad drop"),
            rule(2, Some(b), set("worse"), "ip saddr @worse drop"),
        ];
        vec![chain("FORWARD", false, rules)]
    };
    chains(&mut net, read(90, 4));
    net.wait(300);
    dies(&mut net, database(), None, by_nft());
    net.wait(300);
    let again = |q: &Question| matches!(q, Question::ChainsAgain { round: 0, .. });
    assert!(net.questions().iter().any(again));
    chains(&mut net, read(90, 5));
    let verdict = net.verdict();
    assert!(verdict.summary.contains("@worse"), "{}", verdict.summary);
}

#[test]
fn a_rule_for_other_packets_leaves_the_policy() {
    let mut net = routed();
    dies(&mut net, ping(), None, by_nft());
    let rules = vec![rule(1, None, dport(5432), "tcp dport 5432 drop")];
    chains(&mut net, vec![chain("FORWARD", true, rules)]);
    let verdict = net.verdict();
    assert!(
        verdict
            .summary
            .ends_with("chain inet fw/forward has policy drop"),
        "{}",
        verdict.summary
    );
}

#[test]
fn a_packet_without_an_entry_met_the_rule_for_invalid_ones() {
    for (attached, cause) in [
        (Some(false), "conntrack.invalid"),
        // With an entry it is not INVALID, whatever the chain holds.
        (Some(true), "netfilter.drop"),
    ] {
        let mut net = routed();
        let mut info = by_nft();
        (info.ct_attached, info.ct_status) = (attached, attached.and_then(|a| a.then_some(0xa)));
        dies(&mut net, database(), Some(tcp(0x10, 5, 9)), info);
        let invalid = Test::State {
            mask: 1,
            not: false,
        };
        let rules = vec![rule(1, None, vec![invalid], "ct state invalid drop")];
        chains(&mut net, vec![chain("FORWARD", true, rules)]);
        let verdict = net.verdict();
        assert_eq!(verdict.cause.as_deref(), Some(cause), "{}", verdict.summary);
    }
}

#[test]
fn a_full_table_of_connections() {
    for (count, cause) in [("65536", "conntrack.full"), ("17", "netfilter.drop")] {
        let mut net = routed();
        let mut info = dropped("NETFILTER_DROP", "nf_hook_slow", "ip_rcv");
        info.ct_attached = Some(false);
        dies(&mut net, ping(), None, info);
        chains(&mut net, Vec::new());
        net.sysctl(ROUTER, "net/netfilter/nf_conntrack_count", count);
        net.sysctl(ROUTER, "net/netfilter/nf_conntrack_max", "65536");
        let counters = ConntrackCounters {
            drop: 3,
            early_drop: 3,
            ..ConntrackCounters::default()
        };
        net.fact(Fact::ConntrackCounters(NetNs(ROUTER), counters));
        let verdict = net.verdict();
        assert_eq!(verdict.cause.as_deref(), Some(cause), "{}", verdict.summary);
        if cause == "conntrack.full" {
            assert_eq!(verdict.confidence, Confidence::Certain);
            assert!(advised(&verdict, "nf_conntrack_max=131072"));
        }
    }
}

#[test]
fn an_entry_that_could_not_be_confirmed_and_a_legacy_rule_that_did_it() {
    for (rules, cause) in [
        (vec![], "conntrack.insert-failed"),
        (vec![rule(1, Some(2), vec![], "-j DROP")], "netfilter.drop"),
    ] {
        let mut net = routed();
        let mut info = dropped("NETFILTER_DROP", "nf_hook_slow", "ip_output");
        (info.ct_attached, info.ct_status) = (Some(true), Some(0x190));
        dies(&mut net, database(), None, info);
        chains(&mut net, vec![legacy("mangle", rules)]);
        let verdict = net.verdict();
        assert_eq!(verdict.cause.as_deref(), Some(cause), "{}", verdict.summary);
    }
}

#[test]
fn masquerading_without_an_address() {
    let mut net = routed();
    let mut info = dropped("NETFILTER_DROP", "nf_hook_slow", "ip_output");
    (info.ct_attached, info.ct_status) = (Some(true), Some(0x100));
    let flow = net.flow(ping());
    net.packet(flow, Direction::Forward)
        .enters(device(ROUTER, 2))
        .dies(Some(device(ROUTER, 3)), info);
    let mut masquerade = rule(1, Some(2), vec![], "-o east -j MASQUERADE");
    masquerade.stop = Stop::Nat;
    masquerade.chain = "POSTROUTING".to_owned();
    let nat = BaseChain {
        chain: "POSTROUTING".to_owned(),
        ..legacy("nat", vec![masquerade])
    };
    chains(&mut net, vec![nat]);
    let verdict = net.verdict();
    assert_eq!(verdict.cause.as_deref(), Some("netfilter.drop"));
    assert!(
        verdict.summary.contains("east has no address"),
        "{}",
        verdict.summary
    );
    let change = "iptables-legacy -t nat -I POSTROUTING -s";
    let typed = |verdict: &Verdict, end: &str| {
        let commands = verdict.advice.iter().filter_map(|a| a.command.as_deref());
        commands
            .filter(|c| c.contains(change) && c.ends_with(end))
            .count()
    };
    assert_eq!(typed(&verdict, "-j SNAT --to-source 10.1.0.1"), 1);
    net.addresses(device(ROUTER, 2), &[], 24);
    assert_eq!(typed(&net.verdict(), "-j ACCEPT"), 1);
}

#[test]
fn a_dropped_question_is_the_cause_of_all_that_waits() {
    let mut net = routed();
    let info = dropped(
        "NETFILTER_DROP",
        "nft_do_chain",
        "nft_do_chain_arp<nf_hook_slow<arp_rcv",
    );
    net.link(device(3, 2), "eth0", |_| {});
    net.beside(
        Some(device(3, 2)),
        Some(ping()),
        Detail::Drop(Box::new(info)),
    );
    let question = net.trace.beside.last_mut().and_then(|e| e.packet.as_mut());
    if let Some(packet) = question {
        packet.transport = Transport::Neighbor {
            answer: false,
            target: ping().dst,
            mac: Some(mac(1)),
        };
    }
    let waits = dropped("NEIGH_FAILED", "neigh_invalidate", "neigh_timer_handler");
    let flow = net.flow(ping());
    net.packet(flow, Direction::Forward)
        .enters(device(ROUTER, 2))
        .dies(Some(device(ROUTER, 3)), waits);
    net.neighbor(device(ROUTER, 3), "10.2.0.2", 0x20);
    let verdict = net.verdict();
    assert_eq!(verdict.cause.as_deref(), Some("netfilter.drop"));
    let place = verdict.place.as_ref();
    assert_eq!(place.and_then(|p| p.hook.as_deref()), Some("ARP"));
    assert_eq!(place.and_then(|p| p.namespace.as_deref()), Some("server"));
    assert!(
        verdict.summary.starts_with("ARP for 10.2.0.2"),
        "{}",
        verdict.summary
    );
}

/// A step of a traced packet through `inet fw/forward`.
fn told(handle: Option<u64>, verdict: RuleVerdict, tuple: Option<Tuple>) -> Fact {
    Fact::RuleTrace(Box::new(RuleTrace {
        netns: NetNs(ROUTER),
        id: 7,
        family: "inet".to_owned(),
        table: "fw".to_owned(),
        chain: "forward".to_owned(),
        handle,
        verdict,
        packet: tuple.map(|tuple| TracedPacket {
            tuple,
            ip_id: 1,
            sequence: Some(1),
        }),
    }))
}

#[test]
fn of_several_rules_the_one_that_nf_tables_told_did_it() {
    let mut net = routed();
    let stops = vec![
        rule(1, None, set("first"), "ip saddr @first drop"),
        rule(2, None, set("second"), "ip saddr @second drop"),
    ];
    chains(&mut net, vec![chain("FORWARD", false, stops)]);
    dies(&mut net, ping(), None, by_nft());
    assert!(net.verdict().summary.contains("one of 2 rules"));
    // another packet's trace tells nothing
    net.fact(told(Some(11), RuleVerdict::Drop, Some(database())));
    assert!(net.verdict().summary.contains("one of 2 rules"));
    net.fact(told(Some(11), RuleVerdict::Continue, Some(ping())));
    net.fact(told(Some(12), RuleVerdict::Drop, None));
    let verdict = net.verdict();
    assert!(
        verdict.summary.contains("ip saddr @second drop"),
        "{}",
        verdict.summary
    );
    assert!(verdict.evidence.iter().any(|e| e.kind == "trace"));
}

#[test]
fn iptables_legacy_is_said_to_tell_nothing() {
    let mut net = routed();
    net.asked("10.2.0.2");
    if let Some(run) = &mut net.host.run {
        run.rules = true;
    }
    let chain = BaseChain {
        chain: "FORWARD".to_owned(),
        hook: "FORWARD".to_owned(),
        ..legacy("filter", vec![rule(1, Some(3), Vec::new(), "-j DROP")])
    };
    chains(&mut net, vec![chain]);
    let info = dropped("NETFILTER_DROP", "nf_hook_slow", "ip_forward");
    dies(&mut net, ping(), None, info);
    let trace = |e: &Evidence| e.kind == "trace" && e.text.starts_with("iptables-legacy");
    assert!(net.verdict().evidence.iter().any(trace));
}

/// A gate translates 10.1.0.2 to an address that the router's second rule drops; the first one accepts what it was. Answers
/// of the router leave through this interface.
fn translated_before_the_filter(net: &mut Net, back: u32) -> Verdict {
    const GATE: u32 = 3;
    net.link(device(GATE, 2), "lan", |_| {});
    net.link(device(GATE, 3), "core", |_| {});
    net.address(device(GATE, 3), "10.3.0.1", 24);
    let flow = net.flow(database());
    let after = ports(Proto::Tcp, "10.3.0.1", 40_000, "10.2.0.2", 5432);
    net.packet(flow, Direction::Forward)
        .leaves(device(1, 2))
        .enters(device(GATE, 2))
        .becomes(after)
        .leaves(device(GATE, 3))
        .enters(device(ROUTER, 2))
        .dies(Some(device(ROUTER, 2)), by_nft());
    let dst: std::net::IpAddr = [10, 1, 0, 2].into();
    for question in [
        Question::Chains { netns: NetNs(GATE) },
        Question::RoutesTowards {
            netns: NetNs(ROUTER),
            dst,
        },
    ] {
        assert!(net.questions().contains(&question), "{question:?}");
    }
    let from = Test::Address {
        side: Side::Source,
        ranges: vec![([10, 1, 0, 0].into(), [10, 1, 0, 255].into())],
        not: false,
    };
    let accepts = FilterRule {
        stop: Stop::Accept,
        ..rule(1, None, vec![from], "ip saddr 10.1.0.0/24 accept")
    };
    let rules = vec![accepts, rule(2, None, vec![], "drop")];
    chains(net, vec![chain("FORWARD", false, rules)]);
    let nat = BaseChain {
        kind: Some("nat".to_owned()),
        ..chain("POSTROUTING", false, Vec::new())
    };
    net.fact(Fact::Chains(NetNs(GATE), vec![nat]));
    let main = PolicyRule {
        priority: 32766,
        action: "lookup".to_owned(),
        table: 254,
        mark_mask: u32::MAX,
        ..PolicyRule::default()
    };
    net.fact(Fact::Rules(NetNs(ROUTER), false, vec![main]));
    let route = TableRoute {
        oif: Some(back),
        ..TableRoute::new("unicast", 254, [10, 1, 0, 0].into(), 24)
    };
    net.fact(Fact::RoutesTowards(NetNs(ROUTER), dst, vec![route]));
    net.verdict()
}

#[test]
fn a_source_that_was_translated_on_the_way_would_have_passed() {
    let kept = "ip netns exec server nft insert rule inet fw postrouting ip saddr 10.1.0.2 ip daddr 10.2.0.2 oifname core accept";
    for (back, offered) in [(2, true), (3, false)] {
        let mut net = routed();
        let verdict = translated_before_the_filter(&mut net, back);
        let words = "with its source 10.1.0.2, which server translated to 10.3.0.1, it would pass";
        assert!(verdict.summary.contains(words), "{}", verdict.summary);
        let by = "by rule (handle 11) of chain inet fw/forward";
        assert!(verdict.evidence.iter().any(|e| e.text.contains(by)));
        assert_eq!(advised(&verdict, kept), offered, "{:?}", verdict.advice);
    }
}
