//! The lab binary as a whole, with a script in tracer's place. Needs root, for namespaces.
#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a test that cannot go on has failed"
)]

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::thread::sleep;
use std::time::Duration;

const LAB: &str = env!("CARGO_BIN_EXE_lab");

/// Says that it is ready and, when interrupted, reports that the far end was or was not reached by the traffic, and
/// what to type in when it was not.
const TRACER: &str = r#"#!/bin/sh
while [ $# -gt 0 ]; do case $1 in -o) report=$2; shift ;; esac; shift; done
finish() {
    outcome=delivered advice=
    if ! [ -e /run/lab/arrived ]; then
        outcome=dropped
        advice='{"kind": "change", "text": "set it up", "command": "ADVICE"},
            {"kind": "undo", "text": "to undo", "command": "ip -n there link set t0 down", "undoes": 1}'
    fi
    printf '%s\n' '{"verdict": {"outcome": "'$outcome'", "summary": "as told", "advice": ['"$advice"']}}' > "$report"
    exit 0
}
trap finish INT
echo 'tracer: ready: nothing' >&2
while :; do sleep 0.05; done
"#;

const NETWORK: &str = r#"
title = "two namespaces"
namespaces = ["here", "there"]
setup = """
ip link add h0 netns here type veth peer name t0 netns there
ip -n here addr add 10.0.0.1/30 dev h0
ip -n there addr add 10.0.0.2/30 dev t0
ip -n here link set h0 up
ip -n there link set t0 up
"""
fault = "ip -n there link set t0 down"
traffic = "rm -f arrived; ip netns exec here ping -c 1 -W 1 10.0.0.2 && touch arrived"
trace = ["icmp"]
settle = "10ms"
[expect]
outcome = "dropped"
"#;

/// What repairs it, typed in where processes have their ids on the machine.
const ADVICE: &str =
    r"read -r pid rest < /proc/self/stat; test $pid = $$\nip -n there link set t0 up";

struct Place(PathBuf);

impl Place {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("lab-test-{}-{name}", std::process::id()));
        fs::create_dir(&path).unwrap();
        fs::write(path.join("tracer"), TRACER.replace("ADVICE", ADVICE)).unwrap();
        fs::set_permissions(path.join("tracer"), PermissionsExt::from_mode(0o755)).unwrap();
        Self(path)
    }

    fn lab(&self, name: &str, text: &str) -> Command {
        let file = self.0.join(name).with_extension("toml");
        fs::write(&file, text).unwrap();
        let mut command = Command::new(LAB);
        command
            .arg("run")
            .arg(file)
            .arg("--tracer")
            .arg(self.0.join("tracer"));
        command.arg("--keep-report").arg(self.0.join("reports"));
        command
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn stdout(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

#[test]
#[ignore = "needs root"]
fn a_lab_that_is_as_expected_passes_with_its_fix_and_its_reports_are_kept() {
    let place = Place::new("passes");
    let output = place.lab("two", NETWORK).output().unwrap();
    assert_eq!(
        stdout(&output),
        "PASS two: as told (the change repairs it, its undo brings it back)\n1 passed, 0 failed, 0 skipped\n"
    );
    assert!(output.status.success());
    for phase in ["healthy", "faulty", "fixed", "undone"] {
        let report = place.0.join("reports").join(format!("two.{phase}.json"));
        assert!(report.exists(), "{}", report.display());
    }
}

#[test]
#[ignore = "needs root"]
fn a_lab_that_differs_fails_with_the_difference() {
    let place = Place::new("differs");
    let text = NETWORK.replace("outcome = \"dropped\"", "outcome = \"rejected\"");
    let output = place.lab("two", &text).output().unwrap();
    assert!(
        stdout(&output).starts_with("FAIL two: faulty: outcome: expected rejected, got dropped\n")
    );
    assert!(stdout(&output).ends_with("\n0 passed, 1 failed, 0 skipped\n"));
    assert_eq!(output.status.code(), Some(1));
}

#[test]
#[ignore = "needs root"]
fn advice_that_does_not_repair_fails_the_lab_and_both_files_tell_so() {
    let place = Place::new("advice");
    let other = TRACER.replace("ADVICE", "ip -n there link set t0 mtu 1400");
    fs::write(place.0.join("tracer"), other).unwrap();
    let [board, json] = ["board.md", "labs.json"].map(|name| place.0.join(name));
    let demanding = format!("{NETWORK}[fix]\n");
    let output = place
        .lab("two", &demanding)
        .arg("--scoreboard")
        .arg(&board)
        .arg("--json")
        .arg(&json)
        .output()
        .unwrap();
    let told = "FAIL two: fixed: after `ip -n there link set t0 mtu 1400`: outcome: expected delivered, got dropped\n";
    assert!(stdout(&output).starts_with(told), "{}", stdout(&output));
    assert!(
        fs::read_to_string(board)
            .unwrap()
            .contains("| 0 of 1 | 0 of 0 |")
    );
    let line: serde_json::Value = serde_json::from_slice(&fs::read(json).unwrap()).unwrap();
    assert_eq!(line["fix"]["fate"], "failed");
    assert_eq!(line["fix"]["said"]["outcome"], "dropped");
    assert_eq!(
        (&line["healthy"], &line["faulty"]),
        (&true.into(), &true.into())
    );
}

#[test]
#[ignore = "needs root"]
fn fixes_can_be_left_out_and_that_is_said() {
    let place = Place::new("left-out");
    let mut lab = place.lab("two", NETWORK);
    let output = lab.args(["--fixes", "none"]).output().unwrap();
    let told = "PASS two: as told\nfixes were tried in 0 of 1 labs";
    assert!(stdout(&output).starts_with(told), "{}", stdout(&output));
}

#[test]
#[ignore = "needs root"]
fn a_lab_whose_need_is_missing_is_skipped() {
    let place = Place::new("skips");
    let output = place
        .lab("two", &format!("needs = ['no-such-tool']\n{NETWORK}"))
        .output()
        .unwrap();
    assert_eq!(
        stdout(&output),
        "SKIP two: needs the command `no-such-tool`\n0 passed, 0 failed, 1 skipped\n"
    );
    assert!(output.status.success());
}

#[test]
#[ignore = "needs root"]
fn a_setup_that_fails_and_a_tracer_that_dies_are_told() {
    let place = Place::new("breaks");
    let output = place
        .lab(
            "two",
            &NETWORK.replace("setup = \"\"\"", "setup = \"\"\"\necho so; false"),
        )
        .output()
        .unwrap();
    assert!(
        stdout(&output).contains("setup ended with exit status: 1\n    so\n"),
        "{}",
        stdout(&output)
    );

    fs::write(
        place.0.join("tracer"),
        "#!/bin/sh\necho 'no BTF here' >&2; exit 3\n",
    )
    .unwrap();
    let output = place.lab("two", NETWORK).output().unwrap();
    assert!(
        stdout(&output).contains("no BTF here"),
        "{}",
        stdout(&output)
    );
    assert!(
        stdout(&output).contains("exit status: 3"),
        "{}",
        stdout(&output)
    );
}

#[test]
#[ignore = "needs root"]
fn nothing_is_left_when_the_runner_is_killed() {
    let place = Place::new("killed");
    // A process in the background of setup and one that runs, both to be known by their argument.
    let mark = format!("8{}", std::process::id());
    let text = NETWORK
        .replace("setup = \"\"\"", &format!("setup = \"\"\"\nsleep {mark} &"))
        .replace("traffic = \"", &format!("traffic = \"sleep {mark}; "));
    let mut runner = place.lab("two", &text).spawn().unwrap();
    await_count(&mark, 2);
    runner.kill().unwrap();
    runner.wait().unwrap();
    await_count(&mark, 0);
    assert!(!Path::new("/run/netns/here").exists());
}

/// Waits until this many processes sleep for so long.
fn await_count(mark: &str, wanted: usize) {
    let mut count = usize::MAX;
    for _ in 0..500 {
        count = fs::read_dir("/proc")
            .unwrap()
            .filter_map(|entry| fs::read(entry.ok()?.path().join("cmdline")).ok())
            .filter(|line| *line == format!("sleep\0{mark}\0").into_bytes())
            .count();
        if count == wanted {
            return;
        }
        sleep(Duration::from_millis(20));
    }
    panic!("{count} processes sleep, {wanted} should");
}
