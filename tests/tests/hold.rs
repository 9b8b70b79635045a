//! The recorder, with the real binary: what it saves of a fault, whom it tells, and that several nodes' saves are one path.
#![expect(clippy::unwrap_used, reason = "a test ends where it fails")]

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::Value;
use tests::alone::{alone, bash};

/// `/run` is the test's own.
const KEPT: &str = "/run/kept";

/// A client, a router and a server that is reached by a route of the router; pings go on in the background. `said WORDS FILE`
/// waits until they stand in the file. Tests run side by side and a tracer sees them all: each has `net` of its own.
fn shell(net: &str, script: &str) -> String {
    let setup = r#"
        said() { for n in $(seq 1200); do grep -q -- "$1" "$2" 2> /dev/null && return; sleep 0.05; done
            echo "never said: $1" >&2; cat "$2" >&2; exit 1; }
        mkdir -p /run/kept; cd /run/kept
        for ns in client router server; do ip netns add $ns; ip -n $ns link set lo up; done
        ip link add eth0 netns client type veth peer name r0 netns router
        ip link add eth0 netns server type veth peer name r1 netns router
        ip -n client addr add 10.198.1.2/24 dev eth0; ip -n client link set eth0 up
        ip -n router addr add 10.198.1.1/24 dev r0; ip -n router link set r0 up
        ip -n router addr add 10.198.2.1/24 dev r1; ip -n router link set r1 up
        ip -n server addr add 10.198.2.2/24 dev eth0; ip -n server link set eth0 up
        ip -n server addr add 10.198.9.9/32 dev lo
        ip -n client route add default via 10.198.1.1; ip -n server route add default via 10.198.2.1
        ip -n router route add 10.198.9.0/24 via 10.198.2.2
        ip netns exec router sysctl -qw net.ipv4.ip_forward=1
        ip netns exec client ping -n -i 0.1 10.198.9.9 > pinged & ping=$!
        trap 'kill $ping ${pid:-} ${pids:-} 2> /dev/null' EXIT
        said icmp_seq=2 pinged
    "#;
    let script = format!("{setup}\n{script}").replace("10.198", net);
    let done = bash(&script).unwrap();
    let said = String::from_utf8_lossy(&done.stderr).into_owned();
    assert!(done.status.success(), "{said}");
    said
}

/// The files of a directory that end so, sorted.
fn files(directory: &str, ending: &str) -> Vec<PathBuf> {
    let all = fs::read_dir(Path::new(KEPT).join(directory)).unwrap();
    let mut found: Vec<PathBuf> = all
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.to_str().is_some_and(|path| path.ends_with(ending)))
        .collect();
    found.sort();
    found
}

fn read(path: impl AsRef<Path>) -> String {
    fs::read_to_string(Path::new(KEPT).join(path)).unwrap()
}

/// What tracer says of files, as JSON.
fn report(command: &str) -> Value {
    let done = bash(&format!("cd {KEPT}; \"$TRACER\" {command} --json")).unwrap();
    assert!(done.status.success(), "{done:?}");
    serde_json::from_slice(&done.stdout).unwrap()
}

fn text<'a>(report: &'a Value, pointer: &str) -> &'a str {
    report
        .pointer(pointer)
        .and_then(Value::as_str)
        .unwrap_or("")
}

/// Packets at the hop of a namespace, forward.
fn packets(report: &Value, namespace: &str) -> u64 {
    let hops = report.pointer("/flows/0/paths/0/hops");
    let hops = hops.and_then(Value::as_array).unwrap().iter();
    let here = |hop: &&Value| hop.get("namespace").and_then(Value::as_str) == Some(namespace);
    let mut found = hops.filter(here);
    found
        .next()
        .and_then(|hop| hop.get("packets")?.as_u64())
        .unwrap_or(0)
}

#[test]
fn a_route_that_went_is_saved_with_what_was_before() {
    alone(|| {
        let said = shell(
            "10.198",
            r#"printf '#!/bin/sh\nenv | grep ^TRACER_ > "$1".part; mv "$1".part "$1"\n' > tell; chmod 755 tell
            "$TRACER" hold --last 30s --after 2s --save saves --metrics m.prom --exec '/run/kept/tell /run/kept/told' \
                icmp and host 10.198.9.9 < /dev/null 2> said & pid=$!
            said "tracer: ready" said
            seen=$(wc -l < pinged); said icmp_seq=$((seen + 30)) pinged
            ip -n router route del 10.198.9.0/24
            said "tracer: saved" said
            said TRACER_SUMMARY told
            kill -INT $pid; wait $pid; cat said >&2"#,
        );
        let recordings = files("saves", ".tracer");
        let [recording] = recordings.as_slice() else {
            unreachable!("one incident is one save: {recordings:?}\n{said}")
        };
        let name = recording.file_name().unwrap().to_str().unwrap();
        assert!(name.ends_with("-route.none.tracer"), "{name}");
        let report = report(&format!("replay {}", recording.display()));
        assert_eq!(text(&report, "/verdict/cause"), "route.none");
        assert_eq!(text(&report, "/verdict/where/namespace"), "router");
        // before the fault they arrived
        assert!(packets(&report, "server") >= 25, "{report:#}");
        assert!(packets(&report, "client") > packets(&report, "server"));
        // what is nearest to the loss
        assert_eq!(text(&report, "/changes/0/kind"), "route");
        assert_eq!(text(&report, "/changes/0/change"), "went");
        assert_eq!(text(&report, "/changes/0/namespace"), "router");
        let change = text(&report, "/changes/0/text");
        assert!(change.contains("10.198.9.0/24 via 10.198.2.2"), "{change}");
        let before = report.pointer("/changes/0/to_first_loss_ns");
        assert!(before.and_then(Value::as_i64).unwrap() < 0);
        // beside it the same, as a report and as a ticket
        let saved = read(files("saves", ".json").first().unwrap());
        assert_eq!(serde_json::from_str::<Value>(&saved).unwrap(), report);
        let ticket = read(files("saves", ".md").first().unwrap());
        assert!(ticket.contains(change), "{ticket}");
        assert!(files("saves", ".part").is_empty());
        let told = read("told");
        assert!(told.contains("TRACER_CAUSE=route.none\n"), "{told}");
        assert!(told.contains(&format!("TRACER_RECORDING={KEPT}/saves/{name}\n")), "{told}");
        let metrics = read("m.prom");
        let value = |start: &str| {
            let line = metrics.lines().find(|line| line.starts_with(start));
            let value = line.and_then(|line| line.rsplit(' ').next());
            value.map(|value| value.parse::<f64>().unwrap())
        };
        let lost = value("tracer_hold_lost_packets_total{cause=\"route.none\"");
        assert!(lost > Some(0.0), "{metrics}");
        assert_eq!(value("tracer_hold_saves_total"), Some(1.0));
        assert_eq!(value("tracer_hold_saves_failed_total"), Some(0.0));
    })
    .unwrap();
}

#[test]
fn a_signal_saves_and_what_goes_on_is_not_saved_again() {
    alone(|| {
        let said = shell(
            "10.199",
            r#""$TRACER" hold --last 30s --after 1s --save saves --exec /run/kept/missing \
                icmp and host 10.198.9.9 < /dev/null 2> said & pid=$!
            said "tracer: ready" said
            ip netns exec router nft -f - <<< 'table ip fw { chain f { type filter hook forward priority 0; ip daddr 10.198.9.9 counter drop; }; }'
            said "saved .*netfilter.drop" said
            kill -USR1 $pid
            for n in $(seq 600); do [ "$(grep -c 'tracer: saved' said)" = 2 ] && break; sleep 0.05; done
            kill -TERM $pid; wait $pid; cat said >&2"#,
        );
        assert_eq!(files("saves", ".tracer").len(), 2, "{said}");
        assert_eq!(said.matches("netfilter.drop: ").count(), 3, "{said}");
        assert!(said.contains("--exec `/run/kept/missing` cannot be run"), "{said}");
        assert!(said.contains("2 saves, 0 refused, 0 failed"), "{said}");
    })
    .unwrap();
}

#[test]
fn what_two_nodes_saved_is_one_path() {
    alone(|| {
        shell(
            "10.200",
            r#"for node in client server; do
                "$TRACER" hold --last 30s --after 1s --save $node --netns $node icmp and host 10.198.9.9 \
                    < /dev/null 2> said-$node & pids="${pids:-} $!"
            done
            for node in client server; do said "tracer: ready" said-$node; done
            seen=$(wc -l < pinged); said icmp_seq=$((seen + 20)) pinged
            kill -USR1 $pids
            for node in client server; do said "tracer: saved" said-$node; done
            kill -INT $pids; wait $pids"#,
        );
        let of = |node: &str| {
            let files = files(node, ".tracer");
            format!("{node}={}", files.first().unwrap().display())
        };
        let report = report(&format!("merge {} {}", of("client"), of("server")));
        assert_eq!(text(&report, "/verdict/outcome"), "delivered", "{report:#}");
        for node in ["client", "server"] {
            assert!(packets(&report, node) >= 15, "{report:#}");
        }
        assert_eq!(report.pointer("/nodes/1/name").unwrap(), "server");
    })
    .unwrap();
}

#[test]
fn with_pseudonyms_nothing_that_is_saved_or_told_has_the_originals() {
    alone(|| {
        let said = shell(
            "10.201",
            r#"printf '#!/bin/sh\nenv | grep ^TRACER_ > "$1".part; mv "$1".part "$1"\n' > tell; chmod 755 tell
            "$TRACER" hold --redact --last 30s --after 1s --save saves --metrics m.prom \
                --exec '/run/kept/tell /run/kept/told' icmp and host 10.198.9.9 < /dev/null 2> said & pid=$!
            said "tracer: ready" said
            seen=$(wc -l < pinged); said icmp_seq=$((seen + 20)) pinged
            ip -n router route del 10.198.9.0/24
            said "tracer: saved" said
            said TRACER_SUMMARY told
            kill -INT $pid; wait $pid; cat said >&2"#,
        );
        let recording = files("saves", ".tracer").remove(0);
        let report = report(&format!("replay {}", recording.display()));
        assert_eq!(text(&report, "/verdict/cause"), "route.none", "{said}");
        // what was read by the original addresses is there, under others
        assert_eq!(text(&report, "/changes/0/kind"), "route", "{report:#}");
        let mut all = vec![said, read("told"), read("m.prom"), report.to_string()];
        all.extend(files("saves", ".json").into_iter().map(read));
        all.extend(files("saves", ".md").into_iter().map(read));
        for text in all {
            for original in ["10.201.", "router", "client", "server"] {
                assert!(!text.contains(original), "{original} in {text}");
            }
        }
    })
    .unwrap();
}

#[test]
fn nf_tables_tells_the_recorder_which_rule_it_was() {
    alone(|| {
        let said = shell(
            "10.202",
            r#"ip netns exec router nft 'table ip fw { chain f { type filter hook forward priority 0; }; }'
            "$TRACER" hold --rules --last 30s --after 1s --save saves --netns router \
                icmp and host 10.198.9.9 < /dev/null 2> said & pid=$!
            said "tracer: ready" said
            ip netns exec router nft list tables | grep tracer-rules > /dev/null
            ip netns exec router nft add rule ip fw f ip daddr 10.198.9.9 counter drop
            said "saved .*netfilter.drop" said
            kill -TERM $pid; wait $pid; cat said >&2
            [ "$(ip netns exec router nft list tables)" = "table ip fw" ]"#,
        );
        let recording = files("saves", ".tracer").remove(0);
        let report = report(&format!("replay {}", recording.display()));
        let checks = report
            .pointer("/flows/0/paths/0/hops/0/checks")
            .and_then(Value::as_array);
        let told = checks.unwrap().iter().any(|check| {
            text(check, "/by") == "trace" && text(check, "/chain") == "f"
        });
        assert!(told, "{said}\n{report:#}");
    })
    .unwrap();
}

#[test]
fn a_save_is_called_after_its_own_trouble_and_not_after_an_earlier_one() {
    alone(|| {
        let said = shell(
            "10.205",
            r#""$TRACER" hold --last 60s --after 1s --save saves icmp and host 10.198.9.9 < /dev/null 2> said & pid=$!
            said "tracer: ready" said
            seen=$(wc -l < pinged); said icmp_seq=$((seen + 20)) pinged
            ip -n router route del 10.198.9.0/24
            said "saved .*route.none" said
            ip -n router route add 10.198.9.0/24 via 10.198.2.2
            # another flow, of which the recorder is not reminded by what the first one lost
            ip netns exec client ping -n -i 0.1 10.198.9.9 > again & other=$!
            said icmp_seq=20 again
            ip netns exec router nft -f - <<< 'table ip fw { chain f { type filter hook forward priority 0; ip daddr 10.198.9.9 counter drop; }; }'
            for n in $(seq 600); do [ "$(grep -c 'tracer: saved' said)" = 2 ] && break; sleep 0.05; done
            kill $other; kill -TERM $pid; wait $pid; cat said >&2"#,
        );
        let names = files("saves", ".tracer");
        let [first, second] = names.as_slice() else {
            unreachable!("{names:?}\n{said}")
        };
        assert!(first.display().to_string().ends_with("-route.none.tracer"), "{names:?}");
        assert!(second.display().to_string().ends_with("-netfilter.drop.tracer"), "{names:?}\n{said}");
    })
    .unwrap();
}
