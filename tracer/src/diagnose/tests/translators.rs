//! What translators, NOTRACK rules, marks and queues have to do with packets that find no receiver.

use super::fixture::{Net, device, dropped, ports};
use crate::host::facts::{
    BaseChain, Chain, ConntrackAnswer, ConntrackEntry, Fact, FilterEngine, Holder, Missing,
    PacketQueue, Part, PolicyRule, Rule, RuleVerdict, Ruleset, Side, Statement, TableRoute, Test,
    Translation,
};
use crate::model::{Direction, NetNs, Process, Proto, Tuple};
use crate::verdict::{AdviceKind, Verdict};

const CLIENT: u32 = 1;
const GATE: u32 = 2;

/// client/lan0 - gate/in0, gate/out0.
fn gateway() -> Net {
    let mut net = Net::with(&["client", "gate", "server"]);
    for (at, name, peer) in [
        (device(CLIENT, 2), "lan0", Some(device(GATE, 2))),
        (device(GATE, 2), "in0", Some(device(CLIENT, 2))),
        (device(GATE, 3), "out0", Some(device(3, 2))),
        (device(3, 2), "srv0", Some(device(GATE, 3))),
    ] {
        net.link(at, name, |l| l.peer = peer);
    }
    net.address(device(CLIENT, 2), "10.1.0.2", 24);
    net.address(device(GATE, 2), "10.1.0.1", 24);
    net.address(device(GATE, 3), "10.2.0.1", 24);
    net.address(device(3, 2), "10.2.0.9", 24);
    net
}

fn asked() -> Tuple {
    ports(Proto::Udp, "10.1.0.2", 4000, "10.1.0.1", 53)
}

fn led_to(address: &str) -> Tuple {
    ports(Proto::Udp, "10.1.0.2", 4000, address, 5353)
}

fn base(table: &str, hook: &str, priority: i32) -> BaseChain {
    BaseChain {
        engine: FilterEngine::Nftables,
        family: "ip".to_owned(),
        table: table.to_owned(),
        chain: hook.to_owned(),
        hook: hook.to_owned(),
        priority,
        policy_drop: false,
        rules: None,
        policy_packets: None,
        kind: Some(if table == "nat" { "nat" } else { "filter" }.to_owned()),
        devices: Vec::new(),
        stops: Vec::new(),
        more_stops: false,
    }
}

/// A rule's text, and what it asks and does.
type Said<'a> = (&'a str, Vec<Part>);

fn chain(base: &BaseChain, does: Vec<Said<'_>>) -> Chain {
    let rule = |(number, (text, parts)): (u32, (&str, Vec<Part>))| Rule {
        number,
        text: text.to_owned(),
        whole: true,
        parts,
        ..Rule::default()
    };
    Chain {
        engine: base.engine,
        family: base.family.clone(),
        table: base.table.clone(),
        name: base.chain.clone(),
        rules: (1..).zip(does).map(rule).collect(),
        missing: Missing::Nothing,
    }
}

fn rules(net: &mut Net, list: Vec<(BaseChain, Vec<Said<'_>>)>) {
    let mut ruleset = Ruleset::default();
    for (base, does) in list {
        ruleset.chains.push(chain(&base, does));
        ruleset.base.push(base);
    }
    net.fact(Fact::Ruleset(NetNs(GATE), Box::new(ruleset)));
}

fn port(side: Side, number: u16) -> Part {
    Part::Test(Test::Port {
        side: Some(side),
        ranges: vec![(number, number)],
        not: false,
    })
}

#[expect(clippy::unwrap_used, reason = "a test's own mistakes may end it")]
fn dnat(address: &str) -> (String, Vec<Part>) {
    let to = address.parse().unwrap();
    let text = format!("-p udp --dport 53 -j DNAT --to-destination {address}:5353");
    let made = Translation {
        side: Side::Destination,
        addresses: Some((to, to)),
        ports: Some((5353, 5353)),
        text: text.clone(),
    };
    let parts = vec![
        port(Side::Destination, 53),
        Part::Do(Statement::Translate(made)),
    ];
    (text, parts)
}

fn translating(net: &mut Net, addresses: &[&str]) {
    let list: Vec<_> = addresses.iter().map(|address| dnat(address)).collect();
    let list = list
        .iter()
        .map(|(text, parts)| (text.as_str(), parts.clone()));
    rules(net, vec![(base("nat", "PREROUTING", -100), list.collect())]);
}

fn entry(net: &mut Net, to: Tuple, status: u32) {
    let asked = asked();
    net.fact(Fact::Conntrack(ConntrackAnswer {
        netns: NetNs(GATE),
        tuple: asked,
        zone: 0,
        entry: Some(ConntrackEntry {
            original: [(asked.src, asked.sport), (asked.dst, asked.dport)],
            reply: [(to.dst, to.dport), (asked.src, asked.sport)],
            status,
            tcp_state: None,
            timeout: None,
            zone: 0,
        }),
    }));
}

/// Translated to an address, and lost for want of a neighbour.
fn lost_towards(net: &mut Net, address: &str) {
    let flow = net.flow(asked());
    net.packet(flow, Direction::Forward)
        .leaves(device(CLIENT, 2))
        .enters(device(GATE, 2))
        .becomes(led_to(address))
        .dies(
            Some(device(GATE, 3)),
            dropped("NEIGH_FAILED", "neigh_invalidate", "neigh_timer_handler"),
        );
}

/// Not translated, and for nobody.
fn lost_here(net: &mut Net) {
    let flow = net.flow(asked());
    net.packet(flow, Direction::Forward)
        .leaves(device(CLIENT, 2))
        .enters(device(GATE, 2))
        .dies(
            Some(device(GATE, 2)),
            dropped("NO_SOCKET", "__udp4_lib_rcv", "ip_local_deliver"),
        );
}

fn changes(verdict: &Verdict) -> Vec<&str> {
    let all = verdict.advice.iter();
    all.filter(|a| a.kind == AdviceKind::Change)
        .filter_map(|a| a.command.as_deref())
        .collect()
}

#[test]
fn a_rule_of_what_is_gone_stands_before_the_right_one() {
    let mut net = gateway();
    translating(&mut net, &["10.2.0.8", "10.2.0.9"]);
    lost_towards(&mut net, "10.2.0.8");
    let verdict = net.verdict();
    assert_eq!(verdict.cause.as_deref(), Some("neighbor.unresolved"));
    assert!(verdict.summary.contains("rule 1 of chain nat/PREROUTING"));
    assert_eq!(
        changes(&verdict).first(),
        Some(&"ip netns exec gate iptables -t nat -D PREROUTING 1")
    );
    assert!(verdict.advice.iter().any(|a| a.undoes == Some(1)));
}

#[test]
fn a_rule_for_a_bridge_translates_what_comes_in_at_its_port() {
    let mut net = gateway();
    net.link(device(GATE, 9), "br0", |l| l.kind = "bridge".to_owned());
    net.link(device(GATE, 2), "in0", |l| {
        l.peer = Some(device(CLIENT, 2));
        l.master = Some(9);
    });
    let from_bridge = Part::Test(Test::Interface {
        side: Side::Source,
        name: "br0".to_owned(),
        not: false,
    });
    let redirect = Part::Do(Statement::Translate(Translation {
        side: Side::Destination,
        addresses: None,
        ports: Some((5335, 5335)),
        text: "redirect to :5335".to_owned(),
    }));
    let first = vec![from_bridge, port(Side::Destination, 53), redirect];
    let (text, second) = dnat("10.2.0.9");
    let list = vec![
        ("iifname br0 udp dport 53 redirect to :5335", first),
        (text.as_str(), second),
    ];
    rules(&mut net, vec![(base("nat", "PREROUTING", -100), list)]);
    let flow = net.flow(asked());
    net.packet(flow, Direction::Forward)
        .leaves(device(CLIENT, 2))
        .enters(device(GATE, 2))
        .enters(device(GATE, 9))
        .becomes(ports(Proto::Udp, "10.1.0.2", 4000, "10.1.0.1", 5335))
        .dies(
            Some(device(GATE, 9)),
            dropped("NO_SOCKET", "__udp4_lib_rcv", "ip_local_deliver"),
        );
    let verdict = net.verdict();
    assert!(!verdict.summary.contains("stale"), "{verdict:?}");
    assert!(
        verdict.summary.contains("where nobody listens"),
        "{verdict:?}"
    );
    assert_eq!(
        changes(&verdict).first(),
        Some(&"ip netns exec gate iptables -t nat -D PREROUTING 1")
    );
}

#[test]
fn the_only_rule_is_named_and_not_deleted() {
    let mut net = gateway();
    translating(&mut net, &["10.2.0.8"]);
    lost_towards(&mut net, "10.2.0.8");
    let verdict = net.verdict();
    assert!(!changes(&verdict).iter().any(|c| c.contains("-D")));
    let named = |e: &crate::verdict::Evidence| e.text.contains("rule 1 of chain nat/PREROUTING");
    assert!(verdict.evidence.iter().any(named));
}

/// A connected network and a default route at the gate.
#[expect(clippy::unwrap_used, reason = "a test's own mistakes may end it")]
fn connected(net: &mut Net, dst: &str) {
    let list = vec![policy(32766, None, 254)];
    net.fact(Fact::Rules(NetNs(GATE), false, list));
    let link = TableRoute {
        oif: Some(3),
        ..TableRoute::new("unicast", 254, "10.2.0.0".parse().unwrap(), 24)
    };
    let default = TableRoute {
        oif: Some(2),
        gateway: Some("10.1.0.254".parse().unwrap()),
        ..TableRoute::new("unicast", 254, "0.0.0.0".parse().unwrap(), 0)
    };
    let routes = vec![link, default];
    net.fact(Fact::RoutesTowards(
        NetNs(GATE),
        dst.parse().unwrap(),
        routes,
    ));
}

#[test]
fn what_a_rule_chose_is_not_sent_past_its_link() {
    let mut net = gateway();
    translating(&mut net, &["10.2.0.8"]);
    connected(&mut net, "10.2.0.8");
    lost_towards(&mut net, "10.2.0.8");
    let verdict = net.verdict();
    assert_eq!(verdict.cause.as_deref(), Some("neighbor.unresolved"));
    assert_eq!(changes(&verdict), [""; 0]);
    // the same address, asked for itself
    let mut net = gateway();
    connected(&mut net, "10.2.0.8");
    let flow = net.flow(led_to("10.2.0.8"));
    net.packet(flow, Direction::Forward)
        .leaves(device(CLIENT, 2))
        .enters(device(GATE, 2))
        .dies(
            Some(device(GATE, 3)),
            dropped("NEIGH_FAILED", "neigh_invalidate", "neigh_timer_handler"),
        );
    let verdict = net.verdict();
    assert_eq!(
        changes(&verdict).first(),
        Some(&"ip netns exec gate ip route add 10.2.0.8 via 10.1.0.254 dev in0")
    );
}

/// What kube-proxy refuses at a machine's own address.
fn refused_by(chain_name: &str) -> Verdict {
    let mut net = gateway();
    let refuse = |text| (text, vec![Part::Do(Statement::Verdict(RuleVerdict::Drop))]);
    let mut input = base("filter", "INPUT", 0);
    input.chain = chain_name.to_owned();
    rules(
        &mut net,
        vec![
            (base("nat", "PREROUTING", -100), Vec::new()),
            (input, vec![refuse("-j DROP")]),
        ],
    );
    let flow = net.flow(asked());
    net.packet(flow, Direction::Forward)
        .leaves(device(CLIENT, 2))
        .enters(device(GATE, 2))
        .dies(
            Some(device(GATE, 2)),
            dropped(
                "NETFILTER_DROP",
                "nft_do_chain",
                "nft_do_chain_ipv4<nf_hook_slow<ip_local_deliver",
            ),
        );
    net.verdict()
}

#[test]
fn a_service_without_an_endpoint_is_not_helped_by_a_rule_that_lets_it_pass() {
    let refused = refused_by("KUBE-FIREWALL");
    assert_eq!(refused.cause.as_deref(), Some("netfilter.drop"));
    assert_eq!(changes(&refused), [""; 0]);
    let why = |verdict: &Verdict| {
        let mut all = verdict.advice.iter();
        all.any(|a| a.text.contains("once the service has an endpoint"))
    };
    assert!(why(&refused));
    let other = refused_by("INPUT");
    assert!(!changes(&other).is_empty());
    assert!(!why(&other));
}

#[test]
fn a_translation_that_no_rule_gives_is_stale() {
    let mut net = gateway();
    translating(&mut net, &["10.2.0.9"]);
    entry(&mut net, led_to("10.2.0.8"), 1 << 5);
    lost_towards(&mut net, "10.2.0.8");
    let verdict = net.verdict();
    assert!(verdict.summary.contains("stale"), "{}", verdict.summary);
    assert_eq!(
        changes(&verdict),
        ["ip netns exec gate conntrack -D -p udp -s 10.1.0.2 -d 10.1.0.1 --sport 4000 --dport 53"]
    );
}

#[test]
fn what_others_translate_is_no_stale_entry() {
    let mut net = gateway();
    translating(&mut net, &["10.2.0.9"]);
    entry(&mut net, led_to("10.2.0.8"), 0);
    lost_towards(&mut net, "10.2.0.8");
    let verdict = net.verdict();
    assert!(!verdict.summary.contains("stale"), "{}", verdict.summary);
}

#[test]
fn an_entry_older_than_the_rule() {
    let mut net = gateway();
    translating(&mut net, &["10.2.0.9"]);
    entry(&mut net, asked(), 0);
    lost_here(&mut net);
    let verdict = net.verdict();
    assert_eq!(verdict.cause.as_deref(), Some("socket.none"));
    assert!(verdict.summary.contains("older than the rule"));
    assert!(changes(&verdict).iter().any(|c| c.contains("conntrack -D")));
}

/// What conntrack says is of zone 0, where the packet has no connection.
#[test]
fn an_entry_of_another_zone_says_nothing() {
    for (zone, which) in [(Some(7), "zone 7"), (None, "another zone")] {
        let mut net = gateway();
        let (text, parts) = dnat("10.2.0.9");
        let zoned = vec![Part::Do(Statement::SetZone(zone))];
        rules(
            &mut net,
            vec![
                (
                    base("raw", "PREROUTING", -300),
                    vec![("-j CT --zone 7", zoned)],
                ),
                (
                    base("nat", "PREROUTING", -100),
                    vec![(text.as_str(), parts)],
                ),
            ],
        );
        entry(&mut net, asked(), 0);
        lost_here(&mut net);
        let verdict = net.verdict();
        assert!(!verdict.summary.contains("older"), "{}", verdict.summary);
        assert!(!changes(&verdict).iter().any(|c| c.contains("conntrack")));
        let told = |e: &crate::verdict::Evidence| e.text.contains(which);
        assert!(verdict.evidence.iter().any(told), "{:?}", verdict.evidence);
    }
}

#[test]
fn a_rule_that_takes_the_packet_from_conntrack() {
    let mut net = gateway();
    let (text, parts) = dnat("10.2.0.9");
    let notrack = vec![port(Side::Destination, 53), Part::Do(Statement::NoTrack)];
    rules(
        &mut net,
        vec![
            (
                base("raw", "PREROUTING", -300),
                vec![("-p udp --dport 53 -j CT --notrack", notrack)],
            ),
            (
                base("nat", "PREROUTING", -100),
                vec![(text.as_str(), parts)],
            ),
        ],
    );
    lost_here(&mut net);
    let verdict = net.verdict();
    assert!(verdict.summary.contains("untracked"), "{}", verdict.summary);
    assert_eq!(
        changes(&verdict),
        ["ip netns exec gate iptables -t raw -D PREROUTING 1"]
    );
}

#[test]
fn a_closed_port_without_any_rule_is_only_that() {
    let mut net = gateway();
    translating(&mut net, &[]);
    entry(&mut net, asked(), 0);
    lost_here(&mut net);
    let verdict = net.verdict();
    assert!(
        !verdict.summary.contains("conntrack"),
        "{}",
        verdict.summary
    );
}

fn forwarded() -> Tuple {
    ports(Proto::Udp, "10.1.0.2", 4000, "10.2.0.9", 53)
}

#[test]
fn a_packet_that_waits_in_the_queue_of_a_process() {
    let told = |waiting| {
        let mut net = gateway();
        let queue = Part::Do(Statement::Verdict(RuleVerdict::Queue {
            number: 3,
            bypass: false,
        }));
        let rule = ("-j NFQUEUE --queue-num 3", vec![queue]);
        rules(&mut net, vec![(base("filter", "FORWARD", 0), vec![rule])]);
        net.fact(Fact::PacketQueues(
            NetNs(GATE),
            vec![PacketQueue {
                number: 3,
                waiting,
                holders: vec![Holder {
                    process: Process {
                        pid: 12,
                        comm: "suricata".to_owned(),
                    },
                    state: Some('T'),
                }],
                ..PacketQueue::default()
            }],
        ));
        let flow = net.flow(forwarded());
        net.packet(flow, Direction::Forward)
            .leaves(device(CLIENT, 2))
            .enters(device(GATE, 2))
            .vanishes();
        net.wait(2000);
        net.verdict()
    };
    let verdict = told(2);
    assert_eq!(verdict.cause.as_deref(), Some("netfilter.queue"));
    assert!(verdict.summary.contains("queue 3") && verdict.summary.contains("suricata"));
    assert_eq!(changes(&verdict).first(), Some(&"kill -CONT 12"));
    assert_eq!(told(0).cause, None);
}

fn policy(priority: u32, mark: Option<u32>, table: u32) -> PolicyRule {
    PolicyRule {
        priority,
        action: "lookup".to_owned(),
        table,
        mark,
        mark_mask: if mark.is_some() { u32::MAX } else { 0 },
        ..PolicyRule::default()
    }
}

#[test]
#[expect(clippy::unwrap_used, reason = "a test's own mistakes may end it")]
fn a_mark_that_no_policy_rule_knows() {
    let told = |list: Vec<PolicyRule>| {
        let mut net = gateway();
        net.fact(Fact::Rules(NetNs(GATE), false, list));
        let any: std::net::IpAddr = "0.0.0.0".parse().unwrap();
        let route = TableRoute {
            oif: Some(3),
            gateway: Some("10.2.0.7".parse().unwrap()),
            ..TableRoute::new("unicast", 205, any, 0)
        };
        net.fact(Fact::RoutesTowards(
            NetNs(GATE),
            "10.2.0.9".parse().unwrap(),
            vec![route],
        ));
        let flow = net.flow(forwarded());
        let mut info = dropped("IP_INNOROUTES", "ip_error", "ip_rcv_finish");
        (info.mark, info.dst_error) = (0x77, Some(101));
        net.packet(flow, Direction::Forward)
            .leaves(device(CLIENT, 2))
            .enters(device(GATE, 2))
            .dies(Some(device(GATE, 2)), info);
        net.verdict()
    };
    let main = || policy(32766, None, 254);
    let missing = told(vec![main()]);
    assert_eq!(missing.cause.as_deref(), Some("route.none"));
    assert_eq!(
        changes(&missing).first(),
        Some(&"ip netns exec gate ip rule add fwmark 0x77 lookup 205")
    );
    let known = told(vec![policy(100, Some(0x77), 206), main()]);
    assert!(!changes(&known).iter().any(|c| c.contains("fwmark")));
}
