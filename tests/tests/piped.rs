//! Recordings through pipes, with the real binary: what one tracer writes another shows while it comes, and a trace whose
//! reader has gone ends.
#![expect(clippy::unwrap_used, reason = "a test ends where it fails")]

use std::process::Output;

use tests::alone::{alone, bash};

/// A namespace that is pinged, and a shell with `$TRACER`.
fn shell(script: &str) -> Output {
    let network = "for ns in pipe-a pipe-b; do ip netns add $ns; ip -n $ns link set lo up; done
        ip link add eth0 netns pipe-a type veth peer name eth0 netns pipe-b
        ip -n pipe-a addr add 10.197.1.1/24 dev eth0; ip -n pipe-a link set eth0 up
        ip -n pipe-b addr add 10.197.1.2/24 dev eth0; ip -n pipe-b link set eth0 up
        follow() { \"$TRACER\" --netns pipe-a --netns pipe-b \"$@\" icmp and host 10.197.1.2; }
        pings() { ip netns exec pipe-a ping -n -q -i 0.1 -c \"$1\" 10.197.1.2 >/dev/null; }";
    bash(&format!("{network}\n{script}")).unwrap()
}

#[test]
fn what_comes_through_a_pipe_is_shown_as_it_comes() {
    alone(|| {
        let done = shell(
            "mkfifo /run/go
            (read -r _ < /run/go; pings 5) &
            follow --record - --packets 10 2> >(grep -m1 ready > /run/go; cat >/dev/null) |
                \"$TRACER\" replay - --output ndjson",
        );
        let text = String::from_utf8(done.stdout).unwrap();
        assert!(done.status.success(), "{text}");
        let lines: Vec<serde_json::Value> = text
            .lines()
            .map(|line| serde_json::from_str(line).unwrap())
            .collect();
        let (report, events) = lines.split_last().unwrap();
        let is = |value: &serde_json::Value, kind: &str| {
            value.get("type").and_then(serde_json::Value::as_str) == Some(kind)
        };
        assert!(is(report, "report") && events.iter().all(|event| is(event, "event")));
        assert!(events.len() > 20, "{}", events.len());
        let outcome = report.pointer("/verdict/outcome").unwrap();
        assert_eq!(outcome, "delivered");
    })
    .unwrap();
}

#[test]
fn a_trace_whose_reader_has_gone_ends() {
    alone(|| {
        let done = shell(
            "pings 600 > /dev/null 2>&1 &
            set +o pipefail
            follow --record - | head -c 20000 | wc -c",
        );
        let text = String::from_utf8_lossy(&done.stdout).into_owned();
        let said = String::from_utf8_lossy(&done.stderr).into_owned();
        assert!(done.status.success(), "{said}");
        assert_eq!(text.trim(), "20000", "{said}");
        assert!(said.contains("the recording ends here"), "{said}");
    })
    .unwrap();
}
