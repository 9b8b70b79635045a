//! Two nodes traced at once, with the real binaries: what comes while it happens, and nodes that fail.
#![expect(clippy::unwrap_used, reason = "a test ends where it fails")]

use std::process::Output;

use serde_json::Value;
use tests::alone::{alone, bash};

/// Two namespaces as nodes `a` and `b`, of which the first pings the second all the time; a shell with
/// `cluster`, which traces on both, and `$A` and `$B`, the commands of the nodes.
fn shell(script: &str) -> Output {
    let network = r#"for ns in node-a node-b; do ip netns add $ns; ip -n $ns link set lo up; done
        ip link add eth0 netns node-a type veth peer name eth0 netns node-b
        ip -n node-a addr add 10.195.1.1/24 dev eth0; ip -n node-a link set eth0 up
        ip -n node-b addr add 10.195.1.2/24 dev eth0; ip -n node-b link set eth0 up
        ip netns exec node-a ping -n -q -i 0.1 -c 600 10.195.1.2 > /dev/null 2>&1 &
        trap "kill $!" EXIT
        A='sh -c "exec \"\$@\" --netns node-a" sh'
        B='sh -c "exec \"\$@\" --netns node-b" sh'
        cluster() { timeout 60 "$TRACER" cluster --tracer "$TRACER" "$@" icmp and host 10.195.1.2; }"#;
    bash(&format!("{network}\n{script}")).unwrap()
}

fn words(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

fn text<'a>(value: &'a Value, pointer: &str) -> &'a str {
    value.pointer(pointer).and_then(Value::as_str).unwrap()
}

#[test]
fn events_of_all_nodes_come_while_they_happen() {
    alone(|| {
        // ends by what was seen: nothing would end it if nothing came before the end
        let done = shell("cluster -n a=\"$A\" -n b=\"$B\" --packets 10 --output ndjson");
        let said = words(&done.stderr);
        assert!(done.status.success(), "{said}");
        assert!(said.contains("tracer: ready: 2 of 2 nodes: a, b"), "{said}");
        let lines = words(&done.stdout);
        let lines: Vec<Value> = lines
            .lines()
            .map(|line| serde_json::from_str(line).unwrap())
            .collect();
        let (report, events) = lines.split_last().unwrap();
        for node in ["a", "b"] {
            let of = |event: &&Value| event.get("node").and_then(Value::as_str) == Some(node);
            assert!(
                events.iter().filter(of).count() > 10,
                "{node}: {}",
                events.len()
            );
        }
        assert_eq!(text(report, "/verdict/outcome"), "delivered");
        let hops = report
            .pointer("/flows/0/paths/0/hops")
            .unwrap()
            .as_array()
            .unwrap();
        let nodes: Vec<&str> = hops.iter().map(|hop| text(hop, "/node")).collect();
        assert_eq!(nodes.iter().take(2).collect::<Vec<_>>(), [&"a", &"b"]);
    })
    .unwrap();
}

#[test]
fn the_verdict_is_known_while_it_happens() {
    alone(|| {
        let done = shell(
            "ip netns exec node-b nft 'table ip t { chain c { type filter hook input priority 0; icmp type echo-request drop; }; }'
            cluster -n a=\"$A\" -n b=\"$B\" --until-verdict --json --keep /run/kept
            \"$TRACER\" merge a=/run/kept/a.tracer b=/run/kept/b.tracer --json",
        );
        let said = words(&done.stderr);
        assert!(done.status.success(), "{said}");
        let documents = serde_json::Deserializer::from_slice(&done.stdout).into_iter::<Value>();
        let [live, merged] = documents.map(Result::unwrap).collect::<Vec<_>>().try_into().unwrap();
        assert_eq!(text(&live, "/verdict/cause"), "netfilter.drop");
        assert_eq!(text(&live, "/verdict/where/node"), "b");
        assert_eq!(live, merged);
    })
    .unwrap();
}

#[test]
fn events_are_told_once_though_a_node_joins_later() {
    alone(|| {
        // nodes are waited for thirty seconds
        let done = shell(
            r#"B='sh -c "sleep 32; exec \"\$@\" --netns node-b" sh'
            cluster -n a="$A" -n b="$B" --duration 6s --output ndjson"#,
        );
        let said = words(&done.stderr);
        assert!(done.status.success(), "{said}");
        assert!(said.contains("tracer: ready: 1 of 2 nodes: a"), "{said}");
        assert!(
            said.contains("tracer: b has sent nothing yet: it is waited for"),
            "{said}"
        );
        assert!(said.contains("tracer: b traces"), "{said}");
        let lines = words(&done.stdout);
        let report = lines.lines().last().unwrap();
        let report: Value = serde_json::from_str(report).unwrap();
        let seen = report.pointer("/trace/events").and_then(Value::as_u64);
        let told = lines.lines().count() as u64 - 1;
        assert!(seen.is_some_and(|seen| told <= seen), "{told} of {seen:?}");
        assert!(told > 100, "{told}");
        assert!(lines.contains(r#""node":"b""#), "{said}");
    })
    .unwrap();
}

#[test]
fn a_node_that_goes_away_is_told_and_the_others_go_on() {
    alone(|| {
        let done = shell(
            r#"B='sh -c "echo \$\$ > /run/pid-of-b; exec \"\$@\" --netns node-b" sh'
            cluster -n a="$A" -n b="$B" -n c='cat /no/such/file' --duration 6s 2> /run/said &
            until grep -q 'ready: 2 of 3' /run/said; do sleep 0.1; done
            sleep 2; kill -9 $(cat /run/pid-of-b)
            wait $!; cat /run/said >&2"#,
        );
        let (said, shown) = (words(&done.stderr), words(&done.stdout));
        assert!(done.status.success(), "{said}");
        assert!(said.contains("tracer: ready: 2 of 3 nodes: a, b"), "{said}");
        assert!(said.contains("tracer: b is gone: signal: 9"), "{said}");
        assert!(
            said.contains("tracer: c is gone: exit status: 1: "),
            "{said}"
        );
        assert!(shown.contains("b was only traced until"), "{shown}");
        assert!(shown.contains("could not read node c: "), "{shown}");
    })
    .unwrap();
}

#[test]
fn nodes_that_cannot_be_traced_are_an_error_that_says_why() {
    alone(|| {
        let done = shell(
            "cluster -n a='sh -c \"echo out of order >&2; exit 7\"' -n b='sh -c \"echo hello\"'",
        );
        let said = words(&done.stderr);
        assert_eq!(done.status.code(), Some(1), "{said}");
        for line in [
            "tracer: a: out of order",
            "tracer: a is gone: exit status: 7: out of order",
            "tracer: b is gone: exit status: 0: what it sends begins with `hello`",
            "error: none of 2 nodes could be traced",
        ] {
            assert!(said.contains(line), "{line} in {said}");
        }
    })
    .unwrap();
}

#[test]
fn a_command_that_cannot_be_started_is_named() {
    alone(|| {
        let done = shell("cluster -n a=/no/such/program");
        let said = words(&done.stderr);
        assert_eq!(done.status.code(), Some(1), "{said}");
        assert!(
            said.contains("/no/such/program") && said.contains("for a"),
            "{said}"
        );
    })
    .unwrap();
}

#[test]
fn no_tracer_is_left_behind_where_the_input_does_not_reach_it() {
    alone(|| {
        let done = shell(
            "cluster -n a=\"$A\" -n b='sh -c \"exec \\\"\\$@\\\" --netns node-b < /dev/null\" sh' --duration 1s --snaplen 72 --json
            for _ in $(seq 50); do pgrep -ax tracer | grep 'snaplen 72' >&2 || exit 0; sleep 0.2; done
            exit 1",
        );
        let said = words(&done.stderr);
        assert!(done.status.success(), "{said}{}", words(&done.stdout));
        assert!(said.contains("b: the standard input is not connected"), "{said}");
        let report: Value = serde_json::from_slice(&done.stdout).unwrap();
        assert_eq!(text(&report, "/verdict/outcome"), "delivered");
    })
    .unwrap();
}

/// A client that asks a service, whose address node `b` translates to that of node `c`, and a trace on both by the service's
/// address alone.
fn service(script: &str) -> Output {
    let network = r#"for ns in node-a node-b node-c; do ip netns add $ns; ip -n $ns link set lo up; done
        ip link add eth0 netns node-a type veth peer name a0 netns node-b
        ip link add c0 netns node-b type veth peer name eth0 netns node-c
        ip -n node-a addr add 10.195.1.1/24 dev eth0; ip -n node-a link set eth0 up
        ip -n node-b addr add 10.195.1.2/24 dev a0; ip -n node-b link set a0 up
        ip -n node-b addr add 10.195.2.2/24 dev c0; ip -n node-b link set c0 up
        ip -n node-c addr add 10.195.2.3/24 dev eth0; ip -n node-c link set eth0 up
        ip -n node-a route add default via 10.195.1.2; ip -n node-c route add default via 10.195.2.2
        ip netns exec node-b sysctl -qw net.ipv4.ip_forward=1
        ip netns exec node-b nft 'table ip n { chain p { type nat hook prerouting priority dstnat; ip daddr 10.96.7.7 dnat to 10.195.2.3; }; }'
        ip netns exec node-a ping -n -q -i 0.2 -c 300 10.96.7.7 > /dev/null 2>&1 &
        trap "kill $!" EXIT
        B='sh -c "exec \"\$@\" --netns node-a --netns node-b" sh'
        C='sh -c "exec \"\$@\" --netns node-c" sh'"#;
    bash(&format!("{network}\n{script}")).unwrap()
}

#[test]
fn what_one_node_translates_the_other_is_told_to_follow() {
    alone(|| {
        let done = service(
            r#"timeout 60 "$TRACER" cluster --tracer "$TRACER" -n b="$B" -n c="$C" --duration 5s --json icmp and host 10.96.7.7"#,
        );
        let said = words(&done.stderr);
        assert!(done.status.success(), "{said}");
        let report: Value = serde_json::from_slice(&done.stdout).unwrap();
        assert_eq!(text(&report, "/verdict/outcome"), "delivered");
        assert_eq!(report.pointer("/flows").unwrap().as_array().unwrap().len(), 1);
        let hops = report.pointer("/flows/0/paths/0/hops").unwrap();
        let nodes: Vec<&str> = hops.as_array().unwrap().iter().map(|hop| text(hop, "/node")).collect();
        assert_eq!(nodes, ["b", "b", "b", "c"], "{said}");
    })
    .unwrap();
}

#[test]
fn a_line_on_the_standard_input_adds_what_is_followed_and_a_bad_one_is_refused() {
    alone(|| {
        let done = service(
            r#"mkfifo /run/lines; exec 9<> /run/lines
            timeout 60 "$TRACER" --netns node-c --record /run/c.tracer --until-eof --json icmp and host 10.96.7.7 < /run/lines 2> /run/said 9>&- &
            until grep -q 'tracer: ready' /run/said; do sleep 0.1; done
            sleep 1; echo 'also port' >&9; echo 'what' >&9; echo 'also icmp and dst host 10.195.2.3' >&9
            sleep 2; exec 9>&-
            wait $!; cat /run/said >&2"#,
        );
        let said = words(&done.stderr);
        assert!(done.status.success(), "{said}");
        assert!(said.contains("standard input: `also port` was refused: a port is expected here"), "{said}");
        assert!(said.contains("standard input: `what` was refused: this is not `also EXPRESSION`"), "{said}");
        let report: Value = serde_json::from_slice(&done.stdout).unwrap();
        assert_eq!(text(&report, "/verdict/outcome"), "delivered");
        let packets = report.pointer("/trace/packets").and_then(Value::as_u64);
        assert!(packets.is_some_and(|packets| packets > 5), "{packets:?} {said}");
    })
    .unwrap();
}
