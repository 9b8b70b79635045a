//! The language as users meet it: what is accepted and what it becomes, what is refused and how.

use std::fmt::Write;
use std::net::IpAddr;

use tracer_common::filter::{CLAUSE_NEGATE, CLAUSE_ONE_WAY, MAX_CLAUSES, RawClause};

use super::{Compiled, Directory, End, Named, Request, Unknown, compile, compile_with};
use crate::error::Error;
use crate::model::Proto;

fn request(expr: &str) -> Request {
    Request {
        expr: expr.to_owned(),
        ..Request::default()
    }
}

fn compiled(expr: &str) -> Compiled {
    compile(&request(expr)).unwrap_or_else(|error| panic!("{expr}: {}", Error::from(error)))
}

/// A machine with a pod of both families, a service, and a process with two sockets.
struct Shop;

impl Directory for Shop {
    fn find(&self, named: Named, name: &str) -> Result<Vec<End>, Unknown> {
        let host = |address: &str| End::from(address.parse::<IpAddr>().unwrap());
        let socket = |address: Option<&str>, proto, port| End {
            address: address.map(|address| address.parse().unwrap()),
            port: Some((proto, port)),
        };
        match (named, name) {
            (Named::Pod, "shop/cart") => Ok(vec![host("10.244.1.7"), host("fd00::7")]),
            (Named::Pod, "shop/db") => Ok(vec![host("10.244.1.9")]),
            (Named::Service, "shop/db") => Ok(vec![host("10.96.3.7")]),
            (Named::Process, "nginx") => Ok(vec![
                socket(Some("10.0.0.1"), Proto::Tcp, 80),
                socket(None, Proto::Udp, 53),
            ]),
            _ => Err(Unknown {
                message: format!("no {} is called `{name}`", named.word()),
                hint: "see `tracer list`".to_owned(),
            }),
        }
    }
}

fn by_name(expr: &str) -> Result<Compiled, super::FilterError> {
    compile_with(&request(expr), &Shop)
}

#[test]
fn names_stand_for_addresses_and_ports() {
    for (expr, words) in [
        ("pod shop/db", &["dst host 10.244.1.9"][..]),
        (
            "pod shop/cart",
            &["dst host 10.244.1.7", "dst host fd00::7"],
        ),
        ("src pod shop/db", &["src host 10.244.1.9"]),
        ("icmp and pod shop/cart", &["icmp and dst host 10.244.1.7"]),
        ("tcp dst service shop/db", &["tcp and dst host 10.96.3.7"]),
        (
            "pod shop/db and service shop/db",
            &["src host 10.244.1.9 and dst host 10.96.3.7"],
        ),
        ("pod shop/db or shop/cart and ip6", &["dst host fd00::7"]),
        (
            "process nginx",
            &[
                "tcp and dst host 10.0.0.1 and dst port 80",
                "udp and dst port 53",
            ],
        ),
        ("udp src process nginx", &["udp and src port 53"]),
        (
            "not pod shop/db",
            &["not src host 10.244.1.9 and not dst host 10.244.1.9"],
        ),
    ] {
        let told = by_name(expr).unwrap_or_else(|error| panic!("{expr}: {}", Error::from(error)));
        assert_eq!(told.words, words, "{expr}");
        assert_eq!(told.expression, expr);
    }
    let asked = by_name("src pod shop/db and dst service shop/db and not pod shop/cart").unwrap();
    assert_eq!(asked.asked_src, ["10.244.1.9".parse::<IpAddr>().unwrap()]);
    assert_eq!(asked.asked_dst, ["10.96.3.7".parse::<IpAddr>().unwrap()]);
    assert_eq!(
        asked.addresses.len(),
        2,
        "what is excluded is not asked for"
    );
}

#[test]
fn names_mean_nothing_on_another_machine() {
    let refused = compile(&request("service shop/db")).unwrap_err();
    let message = refused.to_string();
    assert!(
        message.contains("only on the machine that is traced"),
        "{message}"
    );
}

#[test]
fn a_name_that_is_not_known_is_marked() {
    let refused = by_name("tcp and pod shop/nowhere").unwrap_err();
    assert_eq!(refused.to_string(), "no pod is called `shop/nowhere`");
    assert_eq!(
        refused.excerpt(),
        "tcp and pod shop/nowhere\n            ^^^^^^^^^^^^"
    );
    let refused = by_name("ip6 pod shop/db").unwrap_err();
    assert_eq!(
        refused.to_string(),
        "`pod shop/db` has nothing of the protocol before it"
    );
}

#[test]
fn nothing_asked_is_every_ip_packet() {
    let all = compiled(" ");
    assert_eq!(all.clauses, [RawClause::ANY]);
    assert_eq!(all.expression, "");
    assert!(all.addresses.is_empty() && !all.wants_arp && all.sees_replies);
}

const ACCEPTED: &[&str] = &[
    "host 10.0.0.1",
    "10.0.0.1",
    "src host 10.0.0.1",
    "src 10.0.0.1 and dst 10.0.0.2",
    "host 10.0.0.1 and host 10.0.0.2",
    "src and dst net 10.0.0.0/8",
    "src or dst host fd00::1",
    "host 10.0.0.7/24",
    "net 10.1",
    "net 192.168.1.0 mask 255.255.255.0",
    "net 10.0.0.0 mask 255.0.255.0",
    "port 53",
    "dst port https",
    "portrange 8000-8100",
    "portrange ftp-data-ssh",
    "tcp",
    "icmp",
    "icmp6",
    "arp",
    "arp host 10.0.0.1",
    "arp and not host 10.0.0.1",
    "ip",
    "ip6 and udp",
    "ip proto 47",
    r"proto \tcp",
    "proto gre",
    "tcp port 80",
    "udp src port 53",
    "ip host 10.0.0.1",
    "tcp and host 10.0.0.1 and port 443",
    "host 10.0.0.1 or 10.0.0.2",
    "port 80 or 443",
    "src port (80 or 443)",
    "not host 10.0.0.1 and 10.0.0.2",
    "port 80 and 10.0.0.1",
    "tcp and not port 22",
    "tcp and not (port 22 or net 10.0.0.0/8)",
    "udp or tcp and port 53",
    "!tcp&&(host 10.0.0.1||icmp)",
    "icmp or icmp and host 10.0.0.1",
    "vlan",
    "vlan 100 and icmp",
    "not vlan",
    "vxlan and host 10.0.0.1",
    "tcp[tcpflags] & tcp-syn != 0",
    "tcp[13] & 2 != 0",
    "tcp[tcpflags] == tcp-syn",
    "tcp[tcpflags] & (tcp-syn|tcp-ack) == tcp-syn",
    "tcp[tcpflags] & (tcp-syn|tcp-fin) != 0 and port 80",
    "tcp[tcpflags] & tcp-rst = 0",
    "icmp[icmptype] == icmp-echo",
    "icmp[icmptype] != icmp-echo and icmp[0] != 0",
    "icmp6[icmp6type] = icmp6-echoreply",
];

#[test]
fn accepted() {
    let mut table = String::new();
    for expr in ACCEPTED {
        let compiled = compiled(expr);
        writeln!(table, "{expr}").unwrap();
        for words in &compiled.words {
            writeln!(table, "    {words}").unwrap();
        }
    }
    insta::assert_snapshot!(table);
}

const REFUSED: &[&str] = &[
    "host example.com",
    "host kube-dns",
    "example.com",
    "host",
    "host tcp",
    "host 10.0.0.1,10.0.0.2",
    "host 10.0.0.0/33",
    "host 10.0.0.256",
    "host 80",
    "host 0a:58:0a:84:02:2e",
    "host fe80::1%eth0",
    "host 10.0.0.1 port 80",
    "host 10.0.0.1 80",
    "host 10.0.0.1 and",
    "host 10.0.0.1 or or tcp",
    "(host 10.0.0.1",
    "host 10.0.0.1)",
    "()",
    "ether host 0a:58:0a:84:02:2e",
    "ip broadcast",
    "less 128",
    "inbound",
    "port http-alt",
    "port 70000",
    "port 80-90",
    "port 80,443",
    "portrange 90-80",
    "net 10.0.0.0 mask 255",
    "net fd00:: mask 255.0.0.0",
    "icmp port 80",
    "arp host fd00::1",
    "ip6 host 10.0.0.1",
    "proto arp",
    "proto 300",
    "src proto 6",
    "tcp proto 6",
    "80",
    "hots 10.0.0.1",
    "vlan 5000",
    "vxlan 42 and host 10.0.0.1",
    "not vxlan",
    "tcp[tcpflags]",
    "tcp[tcpflags] & tcp-syn",
    "tcp[tcpflags] & tcp-syn|tcp-ack != 0",
    "tcp[tcpflags] & tcp-sin != 0",
    "tcp[tcpflags] & tcp-syn == tcp-ack",
    "tcp[tcpflags] > 2",
    "tcp[12] & 0xf0 != 0",
    "tcp[tcpflags] == 0x100",
    "ip[8] < 5",
    "icmp[icmpcode] == 1",
    "icmp[icmptype] == icmp-ping",
    "icmp[icmptype] > 255",
    "tcp and udp",
    "vlan 1 and vlan 2",
    "src host 10.0.0.1 and src host 10.0.0.2",
    "host höst",
    "host \u{1b}[31mred",
    "net (10.0.0.0/8 or",
];

#[test]
fn refused() {
    let mut table = String::new();
    for expr in REFUSED {
        let error = compile(&request(expr)).map(|compiled| compiled.words);
        let error = Error::from(error.expect_err(expr));
        assert!(!error.hints().is_empty(), "{expr}: nothing to do");
        writeln!(table, "{error}\n").unwrap();
    }
    insta::assert_snapshot!(table);
}

#[test]
fn an_expression_that_needs_too_much_is_refused_with_the_number() {
    let hosts: Vec<String> = (1..=17).map(|n| format!("10.0.0.{n}")).collect();
    let most = format!("host {}", hosts[..16].join(" or "));
    assert_eq!(compiled(&most).clauses.len(), MAX_CLAUSES);
    let error = compile(&request(&format!("host {}", hosts.join(" or ")))).unwrap_err();
    insta::assert_snapshot!(error, @"the expression needs 17 clauses, the filter in the kernel holds 16");
    // a product of sums grows without bound
    let pairs: Vec<String> = (1..100)
        .map(|n| format!("(not src port {n} or not dst port {n})"))
        .collect();
    let error = compile(&request(&pairs.join(" and "))).unwrap_err();
    insta::assert_snapshot!(error, @"the expression is too complex");
}

#[test]
fn depth_and_length_are_refused_before_the_stack_ends() {
    for (expr, message) in [
        ("(".repeat(1_000), "too deeply nested"),
        ("not ".repeat(1_000), "too deeply nested"),
        ("tcp or ".repeat(100_000), "the expression is too long"),
    ] {
        let error = compile(&request(&expr)).unwrap_err();
        assert_eq!(error.to_string(), message);
    }
    compiled(&format!("{}tcp", "udp or tcp and ".repeat(500)));
}

#[test]
fn shorthands_are_joined_with_and() {
    let request = Request {
        expr: "icmp or  tcp".to_owned(),
        src: Some("10.0.0.1".to_owned()),
        dst: Some("10.1.0.0/16".to_owned()),
        sport: Some("1000-2000".to_owned()),
        dport: Some("http".to_owned()),
        proto: Some("tcp".to_owned()),
        one_way: true,
    };
    let compiled = compile(&request).unwrap();
    insta::assert_snapshot!(compiled.expression, @"(icmp or tcp) and tcp and src host 10.0.0.1 and src portrange 1000-2000 and dst net 10.1.0.0/16 and dst port 80");
    assert_eq!(compiled.words.len(), 1);
    assert_eq!(compiled.asked_src, ["10.0.0.1".parse::<IpAddr>().unwrap()]);
    assert!(compiled.asked_dst.is_empty());
    assert!(
        compiled
            .clauses
            .iter()
            .all(|c| c.flags & CLAUSE_ONE_WAY != 0)
    );
    assert!(!compiled.sees_replies);
}

#[test]
fn the_joined_expression_means_the_same() {
    for (proto, port) in [("udp", "53"), ("17", "8000-8100"), ("tcp", "ssh")] {
        let request = Request {
            expr: "host fd00::1 or 10.0.0.1".to_owned(),
            dst: Some("fd00::/64".to_owned()),
            dport: Some(port.to_owned()),
            proto: Some(proto.to_owned()),
            ..Request::default()
        };
        let joined = compile(&request).unwrap();
        assert_eq!(compiled(&joined.expression).clauses, joined.clauses);
    }
}

#[test]
fn hosts_that_are_excluded_are_not_asked_for() {
    let addresses =
        |list: &[&str]| -> Vec<IpAddr> { list.iter().map(|text| text.parse().unwrap()).collect() };
    let compiled = compiled(
        "src host 10.0.0.1 and not dst host 10.0.0.2 or host 10.0.0.3 or not not dst host 10.0.0.4 \
         and not (net 10.9.0.0/16 or host 10.0.0.5)",
    );
    assert_eq!(compiled.asked_src, addresses(&["10.0.0.1"]));
    assert_eq!(compiled.asked_dst, addresses(&["10.0.0.4"]));
    assert_eq!(compiled.asked_any, addresses(&["10.0.0.3"]));
    assert_eq!(
        compiled.addresses,
        addresses(&["10.0.0.1", "10.0.0.4", "10.0.0.3"])
    );
}

#[test]
fn every_term_must_name_an_address() {
    for (expr, names) in [
        ("net 10.1.0.0/16 and udp", true),
        ("src host 10.0.0.1 or dst host fd00::1", true),
        ("udp port 53", false),
        ("host 10.0.0.1 or port 53", false),
        ("", false),
    ] {
        assert_eq!(compiled(expr).names_addresses, names, "{expr}");
    }
}

#[test]
fn ports_of_services_are_those_that_requests_go_to() {
    for (expr, ports) in [
        ("tcp port 443", vec![(443, 443)]),
        (
            "dst port 53 or dst portrange 8000-8100",
            vec![(53, 53), (8000, 8100)],
        ),
        ("src port 5000 and dst port 80", vec![]),
        ("host 10.0.0.1", vec![]),
        ("port 53 or icmp", vec![]),
    ] {
        let mut found = compiled(expr).asked_ports;
        found.sort_unstable();
        assert_eq!(found, ports, "{expr}");
    }
}

#[test]
fn arp_is_wanted_only_by_name() {
    for (expr, wanted) in [
        ("arp", true),
        ("arp host 10.0.0.1", true),
        ("icmp or arp", true),
        ("host 10.0.0.1", false),
        ("not arp", false),
        ("ip", false),
    ] {
        assert_eq!(compiled(expr).wants_arp, wanted, "{expr}");
    }
}

#[test]
fn answers_are_missed_only_where_they_can_be_seen() {
    for (expr, sees) in [
        ("tcp port 80", true),
        ("tcp[tcpflags] & tcp-syn != 0", true),
        ("tcp[tcpflags] == tcp-syn", false),
        ("tcp[tcpflags] & tcp-rst != 0", false),
        ("icmp", true),
        ("icmp[icmptype] == icmp-echo", false),
        ("icmp[icmptype] == icmp-echo or udp", true),
    ] {
        assert_eq!(compiled(expr).sees_replies, sees, "{expr}");
    }
}

#[test]
fn mirrored_terms_are_sent_once_and_the_request_is_kept() {
    assert_eq!(compiled("tcp port 80").words, ["tcp and dst port 80"]);
    let one_way = Request {
        one_way: true,
        ..request("tcp port 80")
    };
    assert_eq!(
        compile(&one_way).unwrap().words,
        ["tcp and src port 80", "tcp and dst port 80"]
    );
}

#[test]
fn what_a_term_excludes_stands_before_it() {
    let compiled = compiled("tcp and not port 22");
    let negated: Vec<bool> = compiled
        .clauses
        .iter()
        .map(|clause| clause.flags & CLAUSE_NEGATE != 0)
        .collect();
    assert_eq!(negated, [true, true, false]);
}

/// docs/expressions.md shows expressions in blocks marked `accepted` and `refused`.
#[test]
fn the_manual_is_true() {
    let manual = include_str!("../../../docs/expressions.md");
    for (mark, wanted) in [("accepted", true), ("refused", false)] {
        let mut lines = 0;
        for block in manual.split("```").skip(1).step_by(2) {
            let Some(body) = block.strip_prefix(mark) else {
                continue;
            };
            for line in body.lines().filter(|line| !line.trim().is_empty()) {
                let expr = line.split("  ").next().unwrap_or(line);
                let result = compile(&request(expr));
                assert_eq!(result.is_ok(), wanted, "{expr}: {result:?}");
                lines += 1;
            }
        }
        assert!(lines > 10, "{mark}: {lines}");
    }
}
