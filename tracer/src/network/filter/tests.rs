//! Walks over small rule sets made by hand.

use super::*;
use crate::host::facts::{
    Chain, Element, Field, Missing, NewValue, Part, RuleVerdict, Ruleset, Set, Statement, Test,
    Translation, Value,
};

fn base(table: &str, chain: &str, hook: &str, priority: i32, drops: bool) -> BaseChain {
    BaseChain {
        engine: FilterEngine::Nftables,
        family: "ip".to_owned(),
        table: table.to_owned(),
        chain: chain.to_owned(),
        hook: hook.to_owned(),
        priority,
        policy_drop: drops,
        rules: None,
        policy_packets: None,
        kind: Some(if table == "nat" { "nat" } else { "filter" }.to_owned()),
        devices: Vec::new(),
        stops: Vec::new(),
        more_stops: false,
    }
}

fn chain(table: &str, name: &str, rules: Vec<Vec<Part>>) -> Chain {
    let rule = |(number, parts)| Rule {
        number,
        text: format!("{name} {number}"),
        parts,
        ..Rule::default()
    };
    Chain {
        engine: FilterEngine::Nftables,
        family: "ip".to_owned(),
        table: table.to_owned(),
        name: name.to_owned(),
        rules: (1..).zip(rules).map(rule).collect(),
        missing: Missing::Nothing,
    }
}

fn test(test: Test) -> Part {
    Part::Test(test)
}

fn verdict(verdict: RuleVerdict) -> Part {
    Part::Do(Statement::Verdict(verdict))
}

fn drop() -> Part {
    verdict(RuleVerdict::Drop)
}

fn accept() -> Part {
    verdict(RuleVerdict::Accept)
}

fn jump(to: &str) -> Part {
    verdict(RuleVerdict::Jump(to.to_owned()))
}

fn goto(to: &str) -> Part {
    verdict(RuleVerdict::Goto(to.to_owned()))
}

fn dport(port: u16) -> Part {
    test(Test::Port {
        side: Some(Side::Destination),
        ranges: vec![(port, port)],
        not: false,
    })
}

fn limit() -> Part {
    test(Test::Other("limit rate 1/second".to_owned()))
}

fn mark(value: u32) -> Part {
    test(Test::Mark {
        value,
        mask: u32::MAX,
        not: false,
    })
}

fn set_mark(keep: u32, xor: u32) -> Part {
    Part::Do(Statement::SetMark(NewValue {
        keep,
        from: None,
        xor,
    }))
}

fn state(mask: u32) -> Part {
    test(Test::State { mask, not: false })
}

#[expect(clippy::unwrap_used, reason = "a test's own mistakes may end it")]
fn packet() -> Packet {
    Packet {
        tuple: Some(Tuple {
            proto: Proto::Udp,
            src: "10.1.0.2".parse().unwrap(),
            sport: 4000,
            dst: "10.2.0.2".parse().unwrap(),
            dport: 53,
            icmp_id: 0,
        }),
        mark: Some(0),
        states: Some(states::NEW),
        status: Some(0),
        iif: Interface::Named("west".to_owned()),
        oif: Interface::Named("east".to_owned()),
        ..Packet::default()
    }
}

const FORWARD: Hook<'static> = Hook {
    layer: Layer::Ip,
    name: "FORWARD",
    engine: None,
};

/// One base chain at FORWARD, and chains below it.
fn forward(drops: bool, own: Vec<Vec<Part>>, below: Vec<(&str, Vec<Vec<Part>>)>) -> Ruleset {
    let mut chains = vec![chain("filter", "FORWARD", own)];
    chains.extend(
        below
            .into_iter()
            .map(|(name, rules)| chain("filter", name, rules)),
    );
    Ruleset {
        base: vec![base("filter", "FORWARD", "FORWARD", 0, drops)],
        chains,
        sets: Vec::new(),
    }
}

/// What is said of a packet: `passes`, `CHAIN NUMBER`, `policy`, or `?` with the rule that left it open.
fn said(rules: &Rules<'_>, packet: &Packet, hook: Hook<'_>) -> String {
    let walk = walk(rules, packet, hook);
    let rule = |rule: Option<&Rule>| rule.map_or("policy".to_owned(), |r| r.text.clone());
    match walk.answer() {
        Answer::Passes => "passes".to_owned(),
        Answer::Stopped(end) => rule(end.rule),
        Answer::CannotTell(because) => format!("? {}", rule(because.and_then(|b| b.rule))),
    }
}

fn forwarded(ruleset: &Ruleset) -> String {
    said(&Rules::of(ruleset), &packet(), FORWARD)
}

#[test]
fn the_first_rule_that_is_met_decides() {
    let rules = forward(
        true,
        vec![
            vec![dport(80), drop()],
            vec![dport(53), accept()],
            vec![drop()],
        ],
        vec![],
    );
    assert_eq!(forwarded(&rules), "passes");
    assert_eq!(forwarded(&forward(true, vec![], vec![])), "policy");
    assert_eq!(
        forwarded(&forward(false, vec![vec![drop()]], vec![])),
        "FORWARD 1"
    );
}

#[test]
fn a_jump_comes_back_and_a_goto_does_not() {
    let below = || vec![("own", vec![vec![dport(80), drop()]])];
    let behind = vec![vec![jump("own")], vec![accept()]];
    assert_eq!(forwarded(&forward(true, behind, below())), "passes");
    let gone = vec![vec![goto("own")], vec![accept()]];
    assert_eq!(forwarded(&forward(true, gone, below())), "policy");
    // Of a chain that was jumped to, a goto returns behind the jump.
    let twice = vec![
        ("one", vec![vec![goto("two")], vec![drop()]]),
        (
            "two",
            vec![vec![verdict(RuleVerdict::Return)], vec![drop()]],
        ),
    ];
    let rules = forward(true, vec![vec![jump("one")], vec![accept()]], twice);
    assert_eq!(forwarded(&rules), "passes");
    let walk_rules = Rules::of(&rules);
    let walk = walk(&walk_rules, &packet(), FORWARD);
    let steps: Vec<_> = walk
        .steps
        .iter()
        .filter_map(|s| s.rule)
        .map(|r| &r.text)
        .collect();
    assert_eq!(steps, ["FORWARD 1", "one 1", "two 1", "FORWARD 2"]);
}

#[test]
fn a_return_of_a_base_chain_leads_to_its_policy() {
    let rules = vec![vec![verdict(RuleVerdict::Return)], vec![accept()]];
    assert_eq!(forwarded(&forward(true, rules, vec![])), "policy");
}

#[test]
fn what_cannot_be_decided_leaves_both_ways_open() {
    let rules = forward(false, vec![vec![limit(), drop()]], vec![]);
    assert_eq!(forwarded(&rules), "? FORWARD 1");
    let walk_rules = Rules::of(&rules);
    let walk = walk(&walk_rules, &packet(), FORWARD);
    assert!(walk.passes);
    assert_eq!(walk.ends.len(), 1);
    // Whichever way it goes, it ends at the same rule.
    let either = forward(
        true,
        vec![vec![limit(), jump("own")], vec![dport(53), drop()]],
        vec![("own", vec![vec![dport(80), accept()]])],
    );
    assert_eq!(forwarded(&either), "FORWARD 2");
    let accepts = forward(true, vec![vec![limit(), accept()], vec![drop()]], vec![]);
    assert_eq!(forwarded(&accepts), "? FORWARD 1");
    // A test that surely fails decides, whatever else the rule asks.
    let other = forward(false, vec![vec![limit(), dport(80), drop()]], vec![]);
    assert_eq!(forwarded(&other), "passes");
}

#[test]
fn an_accept_ends_its_own_base_chain_only() {
    let mut rules = forward(false, vec![vec![accept()]], vec![]);
    rules
        .base
        .push(base("other", "later", "FORWARD", 10, false));
    rules
        .chains
        .push(chain("other", "later", vec![vec![dport(53), drop()]]));
    assert_eq!(forwarded(&rules), "later 1");
    // Chains are called by priority, not as they are listed.
    rules
        .base
        .push(base("first", "early", "FORWARD", -10, false));
    rules
        .chains
        .push(chain("first", "early", vec![vec![drop()]]));
    assert_eq!(forwarded(&rules), "early 1");
}

#[test]
fn marks_are_carried_from_chain_to_chain() {
    let own = vec![vec![set_mark(u32::MAX, 0x4000)], vec![mark(0x4000), drop()]];
    assert_eq!(forwarded(&forward(false, own, vec![])), "FORWARD 2");
    // Perhaps marked: not known behind.
    let perhaps = vec![vec![limit(), set_mark(0, 1)], vec![mark(1), drop()]];
    assert_eq!(forwarded(&forward(false, perhaps, vec![])), "? FORWARD 1");
    let back = vec![
        vec![limit(), jump("own")],
        vec![mark(1), drop()],
        vec![mark(0), drop()],
    ];
    let below = vec![("own", vec![vec![set_mark(0, 1)], vec![set_mark(0, 0)]])];
    assert_eq!(forwarded(&forward(false, back, below)), "FORWARD 3");
}

#[test]
fn before_conntrack_a_packet_has_no_state() {
    let hook = Hook {
        name: "PREROUTING",
        ..FORWARD
    };
    let rules = |priority, parts: Vec<Part>| Ruleset {
        base: vec![base("raw", "c", "PREROUTING", priority, false)],
        chains: vec![chain("raw", "c", vec![parts])],
        sets: Vec::new(),
    };
    let told = |priority, mask| {
        let rules = rules(priority, vec![state(mask), drop()]);
        said(&Rules::of(&rules), &packet(), hook)
    };
    assert_eq!(told(-300, states::INVALID), "c 1");
    assert_eq!(told(-300, states::NEW), "passes");
    assert_eq!(told(0, states::NEW), "c 1");
    assert_eq!(told(0, states::ESTABLISHED), "passes");
}

#[test]
fn what_is_not_tracked_is_neither_new_nor_translated() {
    let hook = Hook {
        name: "PREROUTING",
        ..FORWARD
    };
    let rules = Ruleset {
        base: vec![
            base("raw", "raw", "PREROUTING", -300, false),
            base("nat", "nat", "PREROUTING", -100, false),
            base("filter", "late", "PREROUTING", 0, false),
        ],
        chains: vec![
            chain("raw", "raw", vec![vec![Part::Do(Statement::NoTrack)]]),
            chain("nat", "nat", vec![vec![redirect()]]),
            chain(
                "filter",
                "late",
                vec![
                    vec![state(states::NEW), drop()],
                    vec![state(states::UNTRACKED), drop()],
                ],
            ),
        ],
        sets: Vec::new(),
    };
    let rules = Rules::of(&rules);
    assert_eq!(said(&rules, &packet(), hook), "late 2");
    assert!(walk(&rules, &packet(), hook).translated.is_empty());
}

fn redirect() -> Part {
    Part::Do(Statement::Translate(Translation {
        side: Side::Destination,
        addresses: None,
        ports: None,
        text: "redirect".to_owned(),
    }))
}

fn dnat(to: [u8; 4], port: u16) -> Part {
    Part::Do(Statement::Translate(Translation {
        side: Side::Destination,
        addresses: Some((to.into(), to.into())),
        ports: Some((port, port)),
        text: "dnat".to_owned(),
    }))
}

/// NAT at PREROUTING, and a filter behind it that drops what goes to 10.9.0.9:5353.
fn translating(rules: Vec<Vec<Part>>) -> Ruleset {
    let backend = test(Test::Address {
        side: Side::Destination,
        ranges: vec![([10, 9, 0, 9].into(), [10, 9, 0, 9].into())],
        not: false,
    });
    Ruleset {
        base: vec![
            base("filter", "late", "PREROUTING", 0, false),
            base("nat", "nat", "PREROUTING", -100, false),
        ],
        chains: vec![
            chain("nat", "nat", rules),
            chain("filter", "late", vec![vec![backend, dport(5353), drop()]]),
        ],
        sets: Vec::new(),
    }
}

const PREROUTING: Hook<'static> = Hook {
    name: "PREROUTING",
    ..FORWARD
};

#[test]
fn later_chains_see_what_a_packet_was_translated_to() {
    let rules = translating(vec![vec![dnat([10, 9, 0, 9], 5353)], vec![drop()]]);
    let rules = Rules::of(&rules);
    assert_eq!(said(&rules, &packet(), PREROUTING), "late 1");
    let later = Packet {
        states: Some(states::ESTABLISHED),
        ..packet()
    };
    assert_eq!(said(&rules, &later, PREROUTING), "passes");
}

fn entry(reply_source: [u8; 4], port: u16) -> crate::host::facts::ConntrackEntry {
    let ends = |a: [u8; 4], ap, b: [u8; 4], bp| [(a.into(), ap), (b.into(), bp)];
    crate::host::facts::ConntrackEntry {
        original: ends([10, 1, 0, 2], 4000, [10, 2, 0, 2], 53),
        reply: ends(reply_source, port, [10, 1, 0, 2], 4000),
        status: 0,
        tcp_state: None,
        timeout: None,
        zone: 0,
    }
}

#[test]
fn a_translation_is_held_against_the_rules() {
    let ruleset = translating(vec![vec![dport(53), dnat([10, 9, 0, 9], 5353)]]);
    let rules = Rules::of(&ruleset);
    let none = translating(vec![]);
    let none = Rules::of(&none);
    let place = ("PREROUTING", Side::Destination);
    let given = entry([10, 9, 0, 9], 5353);
    let other = entry([10, 9, 0, 8], 5353);
    let plain = entry([10, 2, 0, 2], 53);
    let told = |rules, packet: &Packet, entry| match translations(rules, packet, place, entry) {
        Untranslated::By(_) => "by",
        Untranslated::Stale => "stale",
        Untranslated::NoRule => "no rule",
        Untranslated::Older(_) => "older",
        Untranslated::NotTracked(_) => "not tracked",
        Untranslated::CannotTell => "?",
    };
    assert_eq!(told(&rules, &packet(), Some(&given)), "by");
    assert_eq!(told(&rules, &packet(), Some(&other)), "stale");
    assert_eq!(told(&none, &packet(), Some(&given)), "stale");
    assert_eq!(told(&none, &packet(), Some(&plain)), "no rule");
    assert_eq!(told(&rules, &packet(), Some(&plain)), "older");
    let untracked = Packet {
        states: Some(states::UNTRACKED),
        ..packet()
    };
    assert_eq!(told(&rules, &untracked, None), "not tracked");
    let undecided = translating(vec![vec![limit(), dnat([10, 9, 0, 9], 5353)]]);
    assert_eq!(told(&Rules::of(&undecided), &packet(), None), "?");
}

#[test]
fn the_zone_that_rules_set_before_conntrack() {
    let with = |priority, tests: Vec<Part>| {
        let mut rule = tests;
        rule.push(Part::Do(Statement::SetZone(Some(7))));
        let mut ruleset = translating(vec![]);
        ruleset
            .base
            .push(base("raw", "raw", "PREROUTING", priority, false));
        ruleset.chains.push(chain("raw", "raw", vec![rule]));
        zone(&Rules::of(&ruleset), &packet(), "PREROUTING")
    };
    assert_eq!(with(-300, vec![]), Some(7));
    assert_eq!(with(-300, vec![dport(53)]), Some(7));
    assert_eq!(with(-300, vec![dport(54)]), Some(0));
    assert_eq!(with(-300, vec![limit()]), None);
    // too late: it has a connection
    assert_eq!(with(-150, vec![]), Some(0));
}

#[test]
fn a_target_that_chance_may_give_is_no_stale_one() {
    let ruleset = translating(vec![
        vec![limit(), dnat([10, 9, 0, 9], 5353)],
        vec![dnat([10, 9, 0, 8], 5353)],
    ]);
    let rules = Rules::of(&ruleset);
    let place = ("PREROUTING", Side::Destination);
    let told = |last| {
        let entry = entry([10, 9, 0, last], 5353);
        match translations(&rules, &packet(), place, Some(&entry)) {
            Untranslated::By(rule) => Some(rule.rule.number),
            _ => None,
        }
    };
    assert_eq!([told(9), told(8), told(7)], [Some(1), Some(2), None]);
}

#[test]
fn the_rule_that_leaves_a_packet_untracked_is_found_and_walked_past() {
    let notrack = vec![dport(53), Part::Do(Statement::NoTrack)];
    let mut ruleset = translating(vec![vec![dport(53), dnat([10, 9, 0, 9], 5353)]]);
    ruleset
        .base
        .push(base("raw", "raw", "PREROUTING", -300, false));
    ruleset.chains.push(chain("raw", "raw", vec![notrack]));
    let rules = Rules::of(&ruleset);
    let found = left_untracked(&rules, &packet(), "PREROUTING");
    assert_eq!(found.map(|step| step.chain), Some("raw"));
    let untracked = Packet {
        states: Some(states::UNTRACKED),
        ..packet()
    };
    let place = ("PREROUTING", Side::Destination);
    let why = translations(&rules, &untracked, place, None);
    assert!(matches!(why, Untranslated::NotTracked(_)));
    let other = Packet {
        tuple: packet().tuple.map(Tuple::reversed),
        ..packet()
    };
    assert_eq!(left_untracked(&rules, &other, "PREROUTING"), None);
}

#[test]
fn changes_are_tried_on_facts() {
    let facts = forward(true, vec![vec![dport(53), drop()]], vec![]);
    let base = facts.base.first().cloned();
    let Some(base) = base else {
        unreachable!("there is a base chain")
    };
    let own = || "FORWARD".to_owned();
    let delete = Change::Delete {
        base: base.clone(),
        chain: own(),
        number: 1,
    };
    let policy = Change::Policy {
        base: base.clone(),
        drop: false,
    };
    let insert = Change::Insert {
        base,
        chain: own(),
        rule: Rule {
            text: "new".to_owned(),
            parts: vec![dport(53), accept()],
            ..Rule::default()
        },
    };
    let told = |rules: Rules<'_>| said(&rules, &packet(), FORWARD);
    assert_eq!(told(Rules::of(&facts)), "FORWARD 1");
    assert_eq!(told(Rules::of(&facts).with(delete.clone())), "policy");
    assert_eq!(told(Rules::of(&facts).with(delete).with(policy)), "passes");
    assert_eq!(told(Rules::of(&facts).with(insert)), "passes");
}

fn number(first: u64, last: u64) -> (Value, Value) {
    (Value::Number(first), Value::Number(last))
}

fn addresses(first: [u8; 4], last: [u8; 4]) -> (Value, Value) {
    (Value::Address(first.into()), Value::Address(last.into()))
}

fn element(key: Vec<(Value, Value)>, verdict: Option<RuleVerdict>) -> Element {
    Element {
        key,
        verdict,
        comment: None,
        remaining_s: None,
    }
}

fn with_set(mut rules: Ruleset, elements: Vec<Element>, missing: Missing) -> Ruleset {
    rules.sets.push(Set {
        family: "ip".to_owned(),
        table: "filter".to_owned(),
        name: "s".to_owned(),
        elements,
        missing,
    });
    rules
}

fn joined() -> Vec<Field> {
    vec![
        Field::Address(Side::Destination),
        Field::Protocol,
        Field::Port(Side::Destination),
    ]
}

#[test]
fn joined_keys_are_looked_up_field_by_field() {
    let rules = |not| {
        let look = test(Test::InSet {
            fields: joined(),
            set: "s".to_owned(),
            not,
        });
        forward(false, vec![vec![look, drop()]], vec![])
    };
    let key = |last: u64| {
        vec![
            addresses([10, 2, 0, 0], [10, 2, 255, 255]),
            number(17, 17),
            number(1, last),
        ]
    };
    let told = |last, not, missing| {
        forwarded(&with_set(
            rules(not),
            vec![element(key(last), None)],
            missing,
        ))
    };
    assert_eq!(told(53, false, Missing::Nothing), "FORWARD 1");
    assert_eq!(told(52, false, Missing::Nothing), "passes");
    assert_eq!(told(52, true, Missing::Nothing), "FORWARD 1");
    // What is cut may have it.
    assert_eq!(told(52, false, Missing::Cut), "? FORWARD 1");
    assert_eq!(told(53, false, Missing::Cut), "FORWARD 1");
}

#[test]
fn a_rule_that_only_a_set_keeps_from_is_told() {
    let look = |not| {
        test(Test::InSet {
            fields: vec![Field::Port(Side::Destination)],
            set: "s".to_owned(),
            not,
        })
    };
    let outside = |parts: Vec<Part>, port: u64| {
        let rules = forward(true, vec![parts], vec![]);
        let rules = with_set(
            rules,
            vec![element(vec![number(port, port)], None)],
            Missing::Nothing,
        );
        let rules = Rules::of(&rules);
        let found = walk(&rules, &packet(), FORWARD).outside;
        let told = |o: Outside<'_>| (o.rule.number, o.set.name.clone(), o.key);
        found.into_iter().map(told).collect::<Vec<_>>()
    };
    let missing = vec![(1, "s".to_owned(), vec![Value::Number(53)])];
    assert_eq!(outside(vec![look(false), accept()], 80), missing);
    assert_eq!(outside(vec![look(false), accept()], 53), [], "it is in it");
    assert_eq!(
        outside(vec![look(true), drop()], 53),
        [],
        "another question"
    );
    // Something else keeps the packet from the rule too, before the set or behind it.
    assert_eq!(outside(vec![look(false), dport(80), accept()], 80), []);
    assert_eq!(outside(vec![dport(80), look(false), accept()], 80), []);
}

#[test]
fn what_has_no_port_is_in_no_ipset() {
    let met = |family: &str| {
        let look = test(Test::InSet {
            fields: vec![Field::Protocol, Field::Port(Side::Destination)],
            set: "s".to_owned(),
            not: true,
        });
        let mut rules = forward(false, vec![vec![look, drop()]], vec![]);
        rules.sets.push(Set {
            family: family.to_owned(),
            table: "filter".to_owned(),
            name: "s".to_owned(),
            elements: Vec::new(),
            missing: Missing::Nothing,
        });
        let gre = Packet {
            tuple: packet().tuple.map(|t| Tuple {
                proto: Proto::Arp,
                ..t
            }),
            ..packet()
        };
        walk(&Rules::of(&rules), &gre, FORWARD).ends.len()
    };
    assert_eq!(met("ip"), 0, "nf_tables ends the rule");
    assert_eq!(met(""), 1, "ipset finds nothing");
}

#[test]
fn a_map_of_verdicts_leads_on() {
    let rules = |fields: Vec<Field>| {
        let map = Part::Do(Statement::Map {
            fields,
            map: "s".to_owned(),
        });
        let below = vec![("own", vec![vec![drop()]])];
        forward(false, vec![vec![map]], below)
    };
    let to_own = || Some(RuleVerdict::Jump("own".to_owned()));
    let port = || vec![Field::Port(Side::Destination)];
    let one = |port: u64| vec![element(vec![number(port, port)], to_own())];
    let told = |fields, elements| forwarded(&with_set(rules(fields), elements, Missing::Nothing));
    assert_eq!(told(port(), one(53)), "own 1");
    assert_eq!(told(port(), one(80)), "passes");
    // An element for all others.
    assert_eq!(told(port(), vec![element(vec![], to_own())]), "own 1");
    // A balancer's die.
    let random = vec![Field::Other("numgen …".to_owned())];
    assert_eq!(told(random, one(0)), "? FORWARD 1");
    let states = vec![Field::State];
    let accepted = vec![
        element(vec![number(2, 2)], Some(RuleVerdict::Accept)),
        element(vec![number(8, 8)], to_own()),
    ];
    assert_eq!(told(states, accepted), "own 1");
    let missing =
        Rules::of(&forward(false, vec![], vec![])).policy_drops(&base("", "", "", 0, true));
    assert!(missing, "a policy is the base chain's own");
}

#[test]
fn the_element_that_decides_is_told() {
    let key = || vec![number(53, 53)];
    let fields = || vec![Field::Port(Side::Destination)];
    let decides = |rules: Vec<Vec<Part>>, below, verdict| {
        let ruleset = with_set(
            forward(false, rules, below),
            vec![element(key(), verdict)],
            Missing::Nothing,
        );
        let rules = Rules::of(&ruleset);
        let walk = walk(&rules, &packet(), FORWARD);
        let end = walk.ends.first();
        (
            end.and_then(|end| end.element).is_some(),
            end.and_then(|end| end.member).is_some(),
        )
    };
    let map = || {
        vec![vec![Part::Do(Statement::Map {
            fields: fields(),
            map: "s".to_owned(),
        })]]
    };
    let leads = || Some(RuleVerdict::Goto("own".to_owned()));
    assert_eq!(
        decides(map(), vec![], Some(RuleVerdict::Drop)),
        (true, false)
    );
    // A chain that only carries it out; and one that asks for more.
    let plain = vec![("own", vec![vec![drop()]])];
    assert_eq!(decides(map(), plain, leads()), (true, false));
    let asks = vec![("own", vec![vec![dport(53), drop()]])];
    assert_eq!(decides(map(), asks, leads()), (false, false));
    let set = test(Test::InSet {
        fields: fields(),
        set: "s".to_owned(),
        not: false,
    });
    assert_eq!(
        decides(vec![vec![set, drop()]], vec![], None),
        (false, true)
    );
}

/// Whether the packet meets a test alone.
fn meets(packet: &Packet, one: Test) -> Option<bool> {
    let rules = forward(false, vec![vec![test(one), drop()]], vec![]);
    let rules = Rules::of(&rules);
    match walk(&rules, packet, FORWARD).answer() {
        Answer::Passes => Some(false),
        Answer::Stopped(_) => Some(true),
        Answer::CannotTell(_) => None,
    }
}

fn is(field: Field, mask: Option<u64>, first: u64, last: u64, not: bool) -> Test {
    Test::Is {
        field,
        mask,
        ranges: vec![number(first, last)],
        not,
    }
}

#[test]
fn fields_of_a_packet() {
    let tcp = Packet {
        tuple: packet().tuple.map(|t| Tuple {
            proto: Proto::Tcp,
            ..t
        }),
        transport: Transport::Tcp {
            seq: 0,
            ack: 0,
            flags: 0x02,
            window: 0,
            payload: 0,
            signed: false,
        },
        length: Some(60),
        ttl: Some(63),
        tos: Some(0xb8),
        packet_type: Some(0),
        local: Some(vec![[10, 2, 0, 2].into()]),
        status: Some(0x28),
        ..packet()
    };
    let destination = Field::AddressType(Side::Destination);
    for (test, expected) in [
        (is(Field::TcpFlags, Some(0x17), 2, 2, false), Some(true)),
        (
            is(Field::TcpFlags, Some(0x17), 0x10, 0x10, false),
            Some(false),
        ),
        (is(Field::Length, None, 0, 59, false), Some(false)),
        (is(Field::Ttl, None, 63, 63, true), Some(false)),
        (is(Field::Tos, Some(0xfc), 0xb8, 0xb8, false), Some(true)),
        (is(Field::PacketType, None, 1, 1, true), Some(true)),
        (is(destination.clone(), None, 2, 2, false), Some(true)),
        (
            is(Field::AddressType(Side::Source), None, 2, 2, false),
            Some(false),
        ),
        (is(Field::Status, Some(0x20), 0, 0, true), Some(true)),
        (is(Field::Status, Some(0x10), 0, 0, true), Some(false)),
        (is(Field::User, None, 0, 0, false), None),
        (is(Field::IcmpType, None, 8, 8, true), Some(false)),
        (is(Field::ConnectionMark, None, 0, 0, false), None),
    ] {
        assert_eq!(meets(&tcp, test.clone()), expected, "{test:?}");
    }
    // What belongs to no connection has no field of one.
    let invalid = Packet {
        states: Some(states::INVALID),
        ..tcp
    };
    assert_eq!(
        meets(&invalid, is(Field::Status, Some(0x10), 0, 0, false)),
        Some(false)
    );
}

#[test]
fn a_later_fragment_has_no_ports() {
    let later = Packet {
        fragment: Some(Fragment {
            offset: 1480,
            more: false,
        }),
        ..packet()
    };
    let port = |not| Test::Port {
        side: Some(Side::Destination),
        ranges: vec![(53, 53)],
        not,
    };
    assert_eq!(meets(&later, port(false)), Some(false));
    assert_eq!(meets(&later, port(true)), Some(false));
    assert_eq!(meets(&packet(), port(true)), Some(false));
}

#[test]
fn names_of_interfaces() {
    let name = |name: &str, not| Test::Interface {
        side: Side::Source,
        name: name.to_owned(),
        not,
    };
    assert_eq!(meets(&packet(), name("we*", false)), Some(true));
    assert_eq!(meets(&packet(), name("east", false)), Some(false));
    let own = Packet {
        iif: Interface::Absent,
        ..packet()
    };
    assert_eq!(meets(&own, name("west", true)), Some(true));
    let unknown = Packet {
        iif: Interface::Unknown,
        ..packet()
    };
    assert_eq!(meets(&unknown, name("west", false)), None);
}

#[test]
fn chains_that_are_cut_leave_it_open() {
    let mut rules = forward(true, vec![vec![dport(80), drop()]], vec![]);
    for chain in &mut rules.chains {
        chain.missing = Missing::Cut;
    }
    assert_eq!(forwarded(&rules), "? policy");
    let met = forward(true, vec![vec![dport(53), drop()]], vec![]);
    assert_eq!(forwarded(&met), "FORWARD 1");
}

#[test]
fn chains_that_lead_to_themselves_end_the_walk() {
    let rules = forward(
        false,
        vec![vec![jump("own")]],
        vec![("own", vec![vec![jump("own")]])],
    );
    assert!(forwarded(&rules).starts_with('?'));
}
