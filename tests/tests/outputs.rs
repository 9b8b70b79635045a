//! Outputs in the programs that they are for: packets in tshark, of recordings and of a live trace; events in a pipe
//! while the trace runs.
//!
//! What is live needs root; without it each such test says so and ends. tshark must be there: `make setup` installs it
//! on Debian.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a setup that fails is a test that fails"
)]

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Stdio};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;
use tests::alone::{Running, alone, tracer};
use tests::net::find_command;

/// What a program writes; it must succeed.
fn output(program: &Path, arguments: &[&str]) -> (String, String) {
    let run = Command::new(program).args(arguments).output().unwrap();
    let error = String::from_utf8_lossy(&run.stderr).into_owned();
    assert!(
        run.status.success(),
        "{} {arguments:?}: {error}",
        program.display()
    );
    (String::from_utf8(run.stdout).unwrap(), error)
}

/// tshark's rows of a file: the named fields, between tabs.
fn tshark(file: &Path, fields: &[&str]) -> Vec<Vec<String>> {
    let program = find_command("tshark")
        .unwrap_or_else(|| panic!("tshark is missing: `make setup` installs it on Debian"));
    let mut arguments = vec!["-r", file.to_str().unwrap(), "-N", "n", "-T", "fields"];
    // Labs send bytes to ports 53 and 5353 that are no DNS.
    arguments.extend(["--disable-protocol", "dns", "--disable-protocol", "mdns"]);
    arguments.extend(fields.iter().flat_map(|field| ["-e", field]));
    let (rows, errors) = output(&program, &arguments);
    let errors: Vec<&str> = errors
        .lines()
        .filter(|line| !line.contains("Running as user"))
        .collect();
    assert_eq!(errors, [""; 0], "{}", file.display());
    rows.lines()
        .map(|row| row.split('\t').map(str::to_owned).collect())
        .collect()
}

fn column(rows: &[Vec<String>], column: usize) -> Vec<&str> {
    rows.iter()
        .map(|row| row.get(column).unwrap().as_str())
        .collect()
}

/// A file's path that is removed in the end.
struct Scratch(PathBuf);

impl Scratch {
    fn new(name: &str) -> Self {
        let name = format!("tracer-test-{}-{name}", std::process::id());
        Self(std::env::temp_dir().join(name))
    }

    fn text(&self) -> &str {
        self.0.to_str().unwrap()
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        // It may never have been made.
        let _ = std::fs::remove_file(&self.0);
    }
}

fn recordings() -> Vec<PathBuf> {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tracer/tests/recordings");
    let mut files: Vec<PathBuf> = std::fs::read_dir(directory)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|kind| kind == "tracer"))
        .collect();
    files.sort();
    assert!(!files.is_empty(), "no recordings");
    files
}

fn replay(recording: &Path, format: &str, to: &Scratch) {
    let recording = recording.to_str().unwrap();
    output(
        &tracer().unwrap(),
        &["replay", recording, "--output", format, "-o", to.text()],
    );
}

#[test]
fn tshark_reads_the_packets_of_every_recording() {
    for recording in recordings() {
        let packets = Scratch::new("packets.pcapng");
        replay(&recording, "pcapng", &packets);
        let rows = tshark(
            &packets.0,
            &[
                "frame.time_epoch",
                "frame.interface_name",
                "frame.comment",
                "_ws.malformed",
                "frame.cap_len",
                "frame.len",
            ],
        );
        let name = recording.display();
        let times: Vec<u128> = column(&rows, 0)
            .iter()
            .map(|time| time.replace('.', "").parse().unwrap())
            .collect();
        assert!(times.is_sorted(), "{name}: not in order of time");
        for row in &rows {
            let [_, interface, comment, malformed, captured, length] = row.as_slice() else {
                panic!("{name}: {row:?}");
            };
            assert!(interface.contains('/'), "{name}: {row:?}");
            assert!(
                comment.contains(interface.as_str()) || comment.contains("DROPPED"),
                "{name}: {row:?}"
            );
            assert_eq!(malformed, "", "{name}: {row:?}");
            let lengths: (u32, u32) = (captured.parse().unwrap(), length.parse().unwrap());
            assert!(lengths.0 <= lengths.1, "{name}: {row:?}");
        }
        // as many as the events say
        let events = Scratch::new("events.ndjson");
        replay(&recording, "ndjson", &events);
        let events = std::fs::read_to_string(&events.0).unwrap();
        let at_hops = events.lines().filter(|line| {
            let line: Value = serde_json::from_str(line).unwrap();
            let hook = line.pointer("/hook").and_then(Value::as_str);
            hook.is_some_and(|hook| hook.starts_with("tc-"))
        });
        let comments = column(&rows, 2);
        let hops = comments
            .iter()
            .filter(|comment| !comment.starts_with("DROPPED"));
        assert_eq!(hops.count(), at_hops.count(), "{name}");
    }
}

#[test]
fn tshark_shows_hops_losses_and_names() {
    let is = |path: &PathBuf| path.ends_with("forward-policy-drop.faulty.tracer");
    let recording = recordings().into_iter().find(is).unwrap();
    let packets = Scratch::new("names.pcapng");
    replay(&recording, "pcapng", &packets);
    let rows = tshark(
        &packets.0,
        &[
            "frame.comment",
            "ip.src_host",
            "frame.interface_name",
            "frame.encap_type",
        ],
    );
    let comments = column(&rows, 0);
    let has = |text: &str| comments.iter().any(|comment| comment.contains(text));
    assert!(
        has("hop 1 of 7, forward: egress at client/eth0; journey 1 of flow 0"),
        "{comments:?}"
    );
    assert!(
        has("vxlan push vni 1 172.29.0.1 > 172.29.0.2"),
        "{comments:?}"
    );
    let lost = "DROPPED after hop 7 of 7, forward: NETFILTER_DROP in nft_do_chain at node2/flannel.1; FORWARD DROP on node2";
    assert!(has(lost), "{comments:?}");
    assert!(
        column(&rows, 1).contains(&"client"),
        "{:?}",
        column(&rows, 1)
    );
    assert!(column(&rows, 2).contains(&"node2/flannel.1"));
}

/// A client and a server that drops what comes in.
/// A net for a test of this process. An address that two namespaces have names neither, and the kernel takes a while to
/// clean up those of a test that has just ended.
fn net(test: u32) -> String {
    format!("10.198.{}", (std::process::id() * 3 + test) % 250)
}

/// Two namespaces on a cable, the second of which takes nothing in.
fn network(net: &str) {
    let script = format!("for ns in outt-a outt-b; do ip netns add $ns; ip -n $ns link set lo up; done
        ip link add eth0 netns outt-a type veth peer name eth0 netns outt-b
        ip -n outt-a addr add {net}.1/24 dev eth0; ip -n outt-a link set eth0 up
        ip -n outt-b addr add {net}.2/24 dev eth0; ip -n outt-b link set eth0 up
        ip netns exec outt-b nft add table ip outt
        ip netns exec outt-b nft 'add chain ip outt in {{ type filter hook input priority 0; policy drop; }}'");
    let status = Command::new("sh").args(["-euc", &script]).status().unwrap();
    assert!(status.success());
}

fn ping(net: &str) -> Running {
    let to = format!("{net}.2");
    let arguments = ["netns", "exec", "outt-a", "ping", "-n", "-i", "0.1", &to];
    let ping = Command::new("ip")
        .args(arguments)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn();
    Running(ping.unwrap())
}

/// tracer in a pipe, on the client and the server alone.
fn trace(format: &str) -> (Child, BufReader<ChildStdout>) {
    let mut child = Command::new(tracer().unwrap())
        .args([
            "--netns", "outt-a", "--netns", "outt-b", "icmp", "--output", format,
        ])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let output = BufReader::new(child.stdout.take().unwrap());
    (child, output)
}

fn interrupt(child: &Child) {
    let pid = Pid::from_raw(i32::try_from(child.id()).unwrap());
    kill(pid, Signal::SIGINT).unwrap();
}

#[test]
fn events_come_while_the_trace_runs() {
    alone(|| {
        let net = net(1);
        network(&net);
        let _ping = ping(&net);
        let (mut child, output) = trace("ndjson");
        let mut lines = output
            .lines()
            .map(|line| -> Value { serde_json::from_str(&line.unwrap()).unwrap() });
        // tracer has no reason to end before this is seen: it was written while the trace ran
        let lost = lines
            .find(|line| line.pointer("/drop/lost") == Some(&Value::Bool(true)))
            .unwrap();
        assert_eq!(lost.pointer("/namespace").unwrap(), "outt-b", "{lost}");
        assert_eq!(
            lost.pointer("/drop/reason").unwrap(),
            "NETFILTER_DROP",
            "{lost}"
        );
        interrupt(&child);
        let report = lines.last().unwrap();
        assert_eq!(report.pointer("/type").unwrap(), "report");
        assert_eq!(report.pointer("/schema").unwrap(), "tracer.report/1");
        assert_eq!(report.pointer("/verdict/cause").unwrap(), "netfilter.drop");
        assert!(child.wait().unwrap().success());
    })
    .unwrap();
}

#[test]
fn a_reader_that_leaves_ends_the_trace() {
    alone(|| {
        let net = net(2);
        network(&net);
        let _ping = ping(&net);
        let (mut child, mut output) = trace("ndjson");
        let mut line = String::new();
        output.read_line(&mut line).unwrap();
        assert!(line.starts_with("{\"type\":\"event\""), "{line}");
        drop(output);
        assert!(child.wait().unwrap().success());
    })
    .unwrap();
}

#[test]
fn tshark_reads_the_packets_of_a_live_trace() {
    alone(|| {
        let net = net(3);
        network(&net);
        let _ping = ping(&net);
        let packets = Scratch::new("live.pcapng");
        let arguments = [
            "--netns",
            "outt-a",
            "--netns",
            "outt-b",
            "icmp",
            // The trace may end before it is seen what became of the last one.
            "--packets",
            "4",
        ];
        let output = ["--output", "pcapng", "-o", packets.text()];
        let arguments = [arguments.as_slice(), output.as_slice()].concat();
        self::output(&tracer().unwrap(), &arguments);
        let rows = tshark(
            &packets.0,
            &["frame.comment", "ip.src_host", "frame.time_epoch"],
        );
        let comments = column(&rows, 0);
        let lost = comments
            .iter()
            .filter(|comment| comment.starts_with("DROPPED after hop 2 of 2"));
        assert!(lost.count() >= 3, "{comments:?}");
        let sources = column(&rows, 1);
        assert!(sources.iter().all(|name| *name == "outt-a"), "{rows:?}");
        // real time: not that of the machine's start
        let now = std::time::SystemTime::now();
        let now = now.duration_since(std::time::UNIX_EPOCH).unwrap().as_secs();
        for time in column(&rows, 2) {
            let second: u64 = time.split('.').next().unwrap().parse().unwrap();
            assert!(now.abs_diff(second) < 3600, "{time}");
        }
    })
    .unwrap();
}

#[test]
fn the_doctor_follows_packets_of_its_own() {
    alone(|| {
        let tracer = tracer().unwrap();
        let (text, _) = output(&tracer, &["doctor", "--json"]);
        let found: Value = serde_json::from_str(&text).unwrap();
        assert_eq!(found.get("works"), Some(&Value::Bool(true)), "{text}");
        let sample = found.get("sample").and_then(|sample| sample.get("state"));
        assert_eq!(sample.and_then(Value::as_str), Some("followed"), "{text}");
        let hooks = found.get("hooks").and_then(Value::as_array).unwrap();
        assert!(hooks.len() > 20, "{text}");
        let (text, _) = output(&tracer, &["doctor"]);
        assert!(text.contains("tracer works here"), "{text}");
    })
    .unwrap();
}
