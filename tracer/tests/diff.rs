//! `tracer diff` of recordings of real labs, healthy against faulty: where they part and what differs, as text, as JSON,
//! and as the process says it.
#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test ends where something is not as it must be"
)]

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use tracer::compare::{Comparison, PartingKind, Subject, compare};
use tracer::render::{comparison, json, text::TextStyle};
use tracer::report::{Latency, Report};
use tracer::session::Session;
use tracer::source::recording::Reader;

/// Labs of which both runs are there.
const PAIRS: [&str; 8] = [
    "clusterip-dnat",
    "forward-policy-drop",
    "no-default-route-sender",
    "no-route-router",
    "output-drop",
    "ttl-loop",
    "upstream-never-answers",
    "vxlan-wrong-mac",
];

fn file(recording: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("tests/recordings/{recording}.tracer"))
}

fn report(recording: &str) -> Report {
    let mut session = Session::default();
    for input in Reader::new(File::open(file(recording)).unwrap()).unwrap() {
        session.input(&input.unwrap());
    }
    session.report()
}

fn compared(good: &Report, bad: &Report) -> Comparison {
    let subject = |file, report| Subject {
        file,
        report,
        flow: None,
    };
    compare(subject("good", good), subject("bad", bad)).unwrap()
}

fn written(comparison: &Comparison, width: usize, ascii: bool) -> String {
    let mut out = Vec::new();
    let style = TextStyle {
        width,
        ascii,
        ..TextStyle::default()
    };
    comparison::write(&mut out, comparison, &style).unwrap();
    String::from_utf8(out).unwrap()
}

fn check(name: &str, text: &str) {
    insta::with_settings!({
        snapshot_path => "diff",
        prepend_module_to_snapshot => false,
        omit_expression => true,
    }, {
        insta::assert_snapshot!(name, text);
    });
}

#[test]
fn a_healthy_run_against_a_faulty_one() {
    for name in PAIRS {
        let good = report(&format!("{name}.healthy"));
        let bad = report(&format!("{name}.faulty"));
        check(name, &written(&compared(&good, &bad), 80, false));
    }
}

#[test]
fn two_flows_of_one_recording_go_to_two_backends() {
    let both = report("one-backend-of-two-dead.faulty");
    let comparison = compared(&both, &both);
    let parting = comparison.parting.as_ref().unwrap();
    assert_eq!(parting.kind, PartingKind::Rewrite);
    check("one-backend-of-two-dead", &written(&comparison, 80, true));
}

#[test]
fn nodes_that_were_traced_together_against_one() {
    let good = report("forward-policy-drop.healthy");
    let bad = report("vxlan-port-blocked.faulty");
    let comparison = compared(&good, &bad);
    check("vxlan-port-blocked", &written(&comparison, 100, false));
}

#[test]
fn what_is_swapped_is_told_so() {
    let good = report("no-route-router.healthy");
    let bad = report("no-route-router.faulty");
    let swapped = compared(&bad, &good);
    assert_eq!(
        swapped.notes,
        ["BAD was delivered and GOOD was not: are the files swapped?"]
    );
    let (parting, right) = (
        swapped.parting.unwrap(),
        compared(&good, &bad).parting.unwrap(),
    );
    assert_eq!((parting.good, parting.bad), (right.bad, right.good));
}

#[test]
fn the_same_flow_parts_nowhere() {
    for name in PAIRS {
        for run in ["healthy", "faulty"] {
            let one = report(&format!("{name}.{run}"));
            let comparison = compared(&one, &one);
            assert_eq!(comparison.parting, None, "{name}.{run}");
            assert_eq!(comparison.differences, [], "{name}.{run}");
            assert!(
                comparison.summary.starts_with("they do not diverge"),
                "{}",
                comparison.summary
            );
        }
    }
}

#[test]
fn a_translation_that_is_missing_is_where_they_part() {
    let good = report("clusterip-dnat.healthy");
    let mut bad = good.clone();
    for hop in bad
        .flows
        .iter_mut()
        .flat_map(|flow| &mut flow.paths[0].hops)
    {
        hop.rewrites.retain(|text| !text.starts_with("dnat"));
    }
    let parting = compared(&good, &bad).parting.unwrap();
    assert_eq!(parting.kind, PartingKind::Rewrite);
    assert_eq!(parting.good, "is translated to 192.100.4.60:6443");
    assert_eq!(parting.bad, "is not translated");
    assert_eq!(parting.after_row, Some(1));
}

#[test]
fn an_answer_lost_on_its_way_is_told_of_the_way_back() {
    let good = report("no-route-router.healthy");
    let mut bad = good.clone();
    for path in bad.flows.iter_mut().flat_map(|flow| &mut flow.paths) {
        if path.direction == "reply" {
            path.hops.truncate(2);
            path.hops.iter_mut().last().unwrap().next.clear();
        }
    }
    let comparison = compared(&good, &bad);
    let parting = comparison.parting.unwrap();
    assert_eq!(
        (parting.direction.as_str(), parting.kind),
        ("reply", PartingKind::Way)
    );
    assert_eq!(parting.good, "leaves core through ge-0");
    assert!(
        comparison.summary.contains("the answers"),
        "{}",
        comparison.summary
    );
}

#[test]
fn delivered_flows_differ_in_figures() {
    let good = report("forward-policy-drop.healthy");
    let mut bad = good.clone();
    bad.host.kernel = "5.10.0".into();
    bad.flows[0].paths[0].hops[4].latency_ns = Some(Latency {
        p50: 4_000_000,
        p99: 9_000_000,
        max: 9_000_000,
    });
    for entry in bad.context.iter_mut().filter(|entry| entry.kind == "link") {
        if entry.text.starts_with("flannel.1 ") {
            entry.text = entry.text.replace("mtu 1450", "mtu 1400");
        }
        if entry.text.starts_with("veth3c4d ") {
            entry.text = entry.text.replace(" up", " down");
        }
    }
    let comparison = compared(&good, &bad);
    assert_eq!(comparison.parting, None);
    let told: Vec<String> = comparison
        .differences
        .iter()
        .map(|d| {
            let place = d.place.as_deref().unwrap_or("-");
            format!("{} {place}, {}: {} | {}", d.kind, d.what, d.good, d.bad)
        })
        .collect();
    insta::assert_snapshot!(format!("{}\n{}", comparison.summary, told.join("\n")));
}

#[test]
fn what_was_read_on_both_sides_is_compared_and_nothing_else() {
    let bad = report("forward-policy-drop.faulty");
    let mut good = bad.clone();
    for entry in &mut good.context {
        entry.text = entry.text.replace("policy drop", "policy accept");
        entry.text = entry
            .text
            .replace("dev cni0 table main", "dev cni1 table main");
    }
    let kinds = |good: &Report| -> Vec<String> {
        let list = compared(good, &bad).differences;
        list.iter()
            .map(|d| format!("{}: {} | {}", d.what, d.good, d.bad))
            .collect()
    };
    insta::assert_snapshot!(kinds(&good).join("\n"));
    good.context.clear();
    assert_eq!(kinds(&good), Vec::<String>::new());
}

#[test]
fn text_fits_its_page() {
    for name in PAIRS {
        let good = report(&format!("{name}.healthy"));
        let comparison = compared(&good, &report(&format!("{name}.faulty")));
        for width in [60, 80, 100, 200] {
            for ascii in [false, true] {
                let text = written(&comparison, width, ascii);
                // commands are never wrapped
                let told = text.lines().filter(|line| !line.starts_with("         "));
                for line in told {
                    assert!(line.chars().count() <= width, "{name} {width}: {line}");
                    assert!(!ascii || !line.contains('✗'), "{line}");
                }
            }
        }
    }
}

#[test]
fn json_meets_its_schema_and_reports_compare_as_their_recordings_do() {
    let schema: serde_json::Value = serde_json::from_str(&json::comparison_schema()).unwrap();
    let validator = jsonschema::validator_for(&schema).unwrap();
    for name in PAIRS {
        let good = report(&format!("{name}.healthy"));
        let bad = report(&format!("{name}.faulty"));
        let comparison = compared(&good, &bad);
        let mut out = Vec::new();
        json::write(&mut out, &comparison).unwrap();
        let document: serde_json::Value = serde_json::from_slice(&out).unwrap();
        assert!(validator.is_valid(&document), "{name}");
        let back: Comparison = serde_json::from_value(document).unwrap();
        assert_eq!(back, comparison, "{name}");
        let read = |report: &Report| -> Report {
            let mut out = Vec::new();
            json::write(&mut out, report).unwrap();
            serde_json::from_slice(&out).unwrap()
        };
        assert_eq!(compared(&read(&good), &read(&bad)), comparison, "{name}");
    }
}

fn tracer(words: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_tracer"))
        .arg("diff")
        .args(words)
        .env("LC_ALL", "C.UTF-8")
        .output()
        .unwrap()
}

#[test]
fn the_exit_status_tells_whether_they_part() {
    let good = file("no-route-router.healthy").display().to_string();
    let bad = file("no-route-router.faulty").display().to_string();
    let status = |words: &[&str]| tracer(words).status.code();
    assert_eq!(status(&[&good, &bad]), Some(0));
    assert_eq!(status(&[&good, &bad, "--check"]), Some(10));
    assert_eq!(status(&[&good, &good, "--check"]), Some(0));
    let json = tracer(&[&good, &bad, "--json"]).stdout;
    let comparison: Comparison = serde_json::from_slice(&json).unwrap();
    assert_eq!(
        comparison.parting.unwrap().bad,
        compared(
            &report("no-route-router.healthy"),
            &report("no-route-router.faulty"),
        )
        .parting
        .unwrap()
        .bad
    );
}

#[test]
fn what_cannot_be_compared_is_told_in_a_line() {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("diff");
    fs::create_dir_all(&folder).unwrap();
    let good = file("no-route-router.healthy").display().to_string();
    let mut other = report("no-route-router.healthy");
    other.schema = "tracer.report/2".into();
    let mut empty = report("no-route-router.healthy");
    empty.flows.clear();
    empty.verdict.outcome = tracer::verdict::Outcome::NoTraffic;
    let written = |name: &str, text: &[u8]| {
        let path = folder.join(name);
        fs::write(&path, text).unwrap();
        path.display().to_string()
    };
    let json = |report: &Report| serde_json::to_vec(report).unwrap();
    let whole = json(&empty);
    let files = [
        written("text", b"hello\n"),
        written("nothing", b""),
        written("bytes", b"\x7fELF and so on"),
        written("other-json", b"{\"a\": 1}"),
        written("cut-json", &whole[..100]),
        written("ndjson", b"{\"type\": \"event\"}\n{\"type\": \"event\"}\n"),
        written("version", &json(&other)),
        written("empty", &whole),
        folder.join("missing").display().to_string(),
    ];
    let mut lines = Vec::new();
    let mut told = |words: &[&str], title: &str| {
        let output = tracer(words);
        let text = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(1), "{text}");
        assert!(output.stdout.is_empty(), "{title}");
        lines.push(text.replace(&format!("{}/", folder.display()), ""));
    };
    for file in &files {
        told(&[&good, file], file);
    }
    let name = file("no-route-router.healthy");
    let name = name.parent().unwrap().display().to_string();
    told(&[&good, &good, "--flow", "7"], "flow");
    let lines = lines.concat().replace(&format!("{name}/"), "");
    insta::assert_snapshot!(lines);
}

#[test]
fn pseudonyms_are_the_same_in_both() {
    let [good, bad] = ["healthy", "faulty"].map(|run| {
        let file = file(&format!("forward-policy-drop.{run}"));
        file.display().to_string()
    });
    let run = |words: &[&str]| {
        let done = tracer(&[&[good.as_str(), bad.as_str(), "--json"], words].concat());
        String::from_utf8(done.stdout).unwrap()
    };
    let (plain, hidden) = (run(&[]), run(&["--redact"]));
    for original in ["node1", "10.71.1.7", "veth1a2b"] {
        assert!(plain.contains(original), "{original}");
        assert!(!hidden.contains(original), "{original}");
    }
    // names are compared, but what is found is the same
    let read = |text: &str| serde_json::from_str::<serde_json::Value>(text).unwrap();
    let (plain, hidden) = (read(&plain), read(&hidden));
    for same in ["/bad/verdict/cause", "/parting/kind", "/parting/after_row"] {
        let found = plain.pointer(same).unwrap();
        assert_eq!(Some(found), hidden.pointer(same), "{same}");
    }
}
