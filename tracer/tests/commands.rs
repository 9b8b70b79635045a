//! Whatever interfaces, namespaces, chains, sets, comments, hosts, pods and processes are called: each command that a report
//! advises, typed into a shell, starts the programs that are meant with the words that are meant, and nothing else.
//!
//! Recordings of labs get hostile names: `--redact` gives each name a pseudonym that occurs nowhere else, and random strings
//! take the place of these. What the same trace advises with the pseudonyms says what is meant.
#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test ends where something is not as it must be"
)]

use std::borrow::Cow;
use std::cell::Cell;
use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::LazyLock;

use proptest::prelude::*;
use proptest::test_runner::{RngAlgorithm, TestRng, TestRunner};
use serde_json::Value;
use tempfile::TempDir;
use tracer::session::Session;
use tracer::source::Input;
use tracer::source::recording::Reader;
use tracer::source::redact::{Key, Redactor};

/// All that advice starts.
const PROGRAMS: [&str; 34] = [
    "arptables",
    "bpftool",
    "bridge",
    "cat",
    "conntrack",
    "ebtables",
    "ethtool",
    "grep",
    "ip",
    "ip6tables",
    "ip6tables-legacy",
    "ip6tables-legacy-save",
    "ipset",
    "iptables",
    "iptables-legacy",
    "iptables-legacy-save",
    "kill",
    "nft",
    "nsenter",
    "nstat",
    "ovs-appctl",
    "ovs-dpctl",
    "ovs-ofctl",
    "ovs-vsctl",
    "ovs-vswitchd",
    "pgrep",
    "ping",
    "ps",
    "sed",
    "ss",
    "sysctl",
    "systemctl",
    "tc",
    "wg",
];
/// What feeds another program, which is started in its stead here.
const FEEDER: &str = "xargs";
/// What names of pseudonyms begin with, see `source::redact::names`.
const KINDS: &str = "ns if host boot proc prog cg table chain set comment name bond br cali cilium cni docker dummy eno enp ens enx eth flannel gre ipvlan kube lxc macvlan ovs sit tap team tun veth vnet vxlan wg";
/// Hexadecimal digits of a pseudonym.
const DIGITS: usize = 6;

/// Names that were made to deceive one of the programs that read them. A file `X` is what they leave where they succeed.
const HOSTILE: [&str; 36] = [
    "`>X`",
    "$(>X)",
    "b$(>X)",
    "x;>X;",
    "'; >X; '",
    "\";>X;\"",
    "a'b",
    "a\"b",
    "\\",
    "a\\'",
    "&>X",
    "|tee X",
    "\n>X\n",
    "a\n",
    "\r>X",
    "\u{1b}[2J",
    "\u{1b}]0;x\u{7}",
    "\u{202e}X",
    "\u{fffd}",
    "*",
    "?",
    "~",
    "!!",
    "#",
    "-M",
    "-F",
    "--modprobe=./X",
    "-tnat",
    "}; flush ruleset; {",
    "x accept; flush",
    "a..b",
    "../../x",
    "a=b",
    "<X",
    "é`x`",
    "%s${X}",
];

struct Traces {
    /// Inputs with pseudonyms, by the recording's name.
    all: Vec<(String, Vec<Input>)>,
}

static TRACES: LazyLock<Traces> = LazyLock::new(|| {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut files: Vec<PathBuf> = [
        here.join("tests/recordings"),
        here.join("../tests/recordings"),
    ]
    .iter()
    .flat_map(|directory| fs::read_dir(directory).unwrap())
    .map(|entry| entry.unwrap().path())
    .filter(|path| path.to_string_lossy().ends_with("faulty.tracer"))
    .collect();
    files.sort();
    assert!(files.len() > 20, "recordings are missing");
    let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join("commands.key");
    fs::write(&path, format!("{}{}\n", "3c".repeat(16), "a7".repeat(16))).unwrap();
    let key = Key::read(&path).unwrap();
    let read = |file: PathBuf| {
        let mut redactor = Redactor::new(&key);
        let inputs = Reader::new(File::open(&file).unwrap()).unwrap();
        let inputs = inputs.map(|input| redactor.input(input.unwrap()).unwrap());
        (
            file.file_name().unwrap().to_string_lossy().into_owned(),
            inputs.collect(),
        )
    };
    Traces {
        all: files.into_iter().map(read).collect(),
    }
});

/// The commands of a report, each as one line, in their order.
fn advised(inputs: &[Input]) -> Vec<String> {
    let mut session = Session::default();
    for input in inputs {
        session.input(input);
    }
    let report = session.report();
    let flows = report.flows.iter().map(|flow| &flow.verdict);
    let commands = flows
        .chain([&report.verdict])
        .flat_map(|verdict| &verdict.advice)
        .filter_map(|advice| advice.command.as_deref());
    commands.flat_map(str::lines).map(str::to_owned).collect()
}

/// Where pseudonyms stand in a text.
fn pseudonyms(text: &str) -> Vec<(usize, usize)> {
    let mut found = Vec::new();
    let dashes = text.match_indices(['-', '_']);
    for (at, _) in dashes {
        let end = at + 1 + DIGITS;
        let digits = text.get(at + 1..end);
        let is_hex = |c: char| matches!(c, '0'..='9' | 'a'..='f');
        let before = text.get(..at).unwrap_or_default();
        let start = before
            .rfind(|c: char| !c.is_ascii_lowercase())
            .map_or(0, |n| n + 1);
        let kind = before.get(start..).unwrap_or_default();
        if digits.is_some_and(|digits| digits.chars().all(is_hex))
            && KINDS.split(' ').any(|known| known == kind)
        {
            found.push((start, end));
        }
    }
    found
}

/// Names that take the place of pseudonyms.
struct Names {
    choice: Vec<String>,
    given: BTreeMap<String, String>,
    /// Whether a rule's text is left as a forged recording could have it, instead of being quoted as it is when it is read.
    raw: bool,
}

impl Names {
    /// One that no other pseudonym has: it ends with a number.
    fn name(&mut self, pseudonym: &str) -> String {
        let next = self.given.len();
        let chosen = &self.choice[next % self.choice.len()];
        let name = self.given.entry(pseudonym.to_owned());
        name.or_insert_with(|| format!("{chosen}q{next}z")).clone()
    }

    fn text(&mut self, text: &str, is_rule: bool) -> String {
        let mut out = String::new();
        let mut at = 0;
        for (start, end) in pseudonyms(text) {
            out.push_str(&text[at..start]);
            let name = self.name(&text[start..end]);
            let in_string = out.matches('"').count() % 2 == 1;
            let iptables = text.starts_with(['-', '!']);
            out.push_str(&match (is_rule && !self.raw, iptables, in_string) {
                (true, true, true) => name.replace('\\', r"\\").replace('"', "\\\""),
                // it takes no NUL, which no name in the kernel has
                (true, true, false) => {
                    shlex::try_quote(&name).map_or_else(|_| name.clone(), Cow::into_owned)
                }
                _ => name,
            });
            at = end;
        }
        out.push_str(&text[at..]);
        out
    }

    fn value(&mut self, field: &str, value: &mut Value) {
        match value {
            Value::String(text) => *text = self.text(text, field == "text"),
            Value::Array(list) => list.iter_mut().for_each(|one| self.value(field, one)),
            Value::Object(fields) => fields
                .iter_mut()
                .for_each(|(name, one)| self.value(name, one)),
            _ => {}
        }
    }

    fn input(&mut self, input: &Input) -> Input {
        match input {
            Input::Host(at, fact) => {
                let mut value = serde_json::to_value(fact).unwrap();
                self.value("", &mut value);
                Input::Host(*at, serde_json::from_value(value).unwrap())
            }
            other => other.clone(),
        }
    }

    /// The word with pseudonyms, as [`Names::back`] gives it: nft takes names with quotes and without.
    fn plain(&self, word: &str) -> String {
        self.given.keys().fold(word.to_owned(), |word, pseudonym| {
            word.replace(&format!("\"{pseudonym}\""), pseudonym)
        })
    }

    /// The word as it was with pseudonyms. A setting of an interface with a dot in its name is written with slashes.
    fn back(&self, word: &str) -> String {
        let mut word = word.to_owned();
        for (pseudonym, name) in &self.given {
            for said in [name.clone(), name.replace('"', "'")] {
                word = word.replace(&format!("\"{said}\""), pseudonym);
                word = word.replace(&said, pseudonym);
            }
        }
        if word.starts_with("net/ipv") {
            word = word.replace('/', ".");
        }
        word
    }
}

/// A folder with stubs of all programs, which write down their words; and an empty one, in which commands are typed.
struct Stubs {
    folder: TempDir,
}

impl Stubs {
    fn new() -> Self {
        let folder = TempDir::new().unwrap();
        for name in ["bin", "log", "here"] {
            fs::create_dir(folder.path().join(name)).unwrap();
        }
        let script = folder.path().join("stub");
        fs::write(
            &script,
            "#!/bin/sh\nprintf '%s\\000' \"${0##*/}\" \"$@\" > \"$LOG/$$\"\n",
        )
        .unwrap();
        fs::set_permissions(&script, fs::Permissions::from_mode(0o755)).unwrap();
        for program in PROGRAMS.iter().chain([&FEEDER]) {
            symlink(&script, folder.path().join("bin").join(program)).unwrap();
        }
        Self { folder }
    }

    /// The programs that a line starts, each with its words.
    fn typed(&self, line: &str) -> Result<BTreeSet<Vec<String>>, String> {
        let (log, here) = (
            self.folder.path().join("log"),
            self.folder.path().join("here"),
        );
        // the shell has a `kill` of its own, which must not run
        let kill = self.folder.path().join("bin/kill").display().to_string();
        let line = format!("kill() {{ {kill} \"$@\"; }}; {line}");
        let ran = Command::new("/bin/sh")
            .args(["-c", &line])
            .env_clear()
            .env("PATH", self.folder.path().join("bin"))
            .env("LOG", &log)
            .current_dir(&here)
            .output()
            .unwrap();
        if !ran.status.success() || !ran.stderr.is_empty() || !ran.stdout.is_empty() {
            return Err(format!(
                "{}: {}",
                ran.status,
                String::from_utf8_lossy(&ran.stderr)
            ));
        }
        if fs::read_dir(&here).unwrap().next().is_some() {
            return Err("it left a file".to_owned());
        }
        let mut started = BTreeSet::new();
        for file in fs::read_dir(&log).unwrap() {
            let file = file.unwrap().path();
            let words = fs::read_to_string(&file).map_err(|e| e.to_string())?;
            let words = words.strip_suffix('\0').unwrap_or(&words);
            started.insert(words.split('\0').map(str::to_owned).collect());
            fs::remove_file(file).unwrap();
        }
        Ok(started)
    }
}

/// The programs of a line with their words, by another reader of shell lines than the shell.
fn words(line: &str) -> Vec<Vec<String>> {
    let words = shlex::split(line).unwrap_or_default();
    words
        .split(|word| word == "|")
        .map(<[String]>::to_vec)
        .collect()
}

/// Without the way into a namespace: which one there is depends on its name.
fn inside(words: &[String]) -> Vec<String> {
    match words {
        [ip, netns, exec, _, rest @ ..] if ip == "ip" && netns == "netns" && exec == "exec" => {
            rest.to_vec()
        }
        [nsenter, t, _, n, rest @ ..] if nsenter == "nsenter" && t == "-t" && n == "-n" => {
            rest.to_vec()
        }
        [nsenter, net, rest @ ..] if nsenter == "nsenter" && net.starts_with("--net=") => {
            rest.to_vec()
        }
        words => words.to_vec(),
    }
}

fn hostile_name() -> impl Strategy<Value = String> {
    let bytes = prop::collection::vec(any::<u8>(), 1..15);
    prop_oneof![
        4 => prop::sample::select(HOSTILE.to_vec()).prop_map(str::to_owned),
        1 => "\\PC{1,12}",
        1 => any::<String>(),
        1 => bytes.prop_map(|bytes| String::from_utf8_lossy(&bytes).into_owned()),
        1 => "[a-z$`'\"\\\\;|&<>(){}#*?!~ =-]{1,12}",
    ]
}

#[test]
fn what_is_advised_does_what_is_meant_whatever_things_are_called() {
    let stubs = Stubs::new();
    let traces = &TRACES.all;
    let cases = (
        0..traces.len(),
        prop::collection::vec(hostile_name(), 24),
        any::<bool>(),
    );
    let config = ProptestConfig {
        failure_persistence: None,
        cases: 60,
        max_shrink_iters: 200,
        ..ProptestConfig::default()
    };
    let (typed, renamed) = (Cell::new(0), Cell::new(0));
    // The same cases in each run: what fails is found again.
    let rng = TestRng::deterministic_rng(RngAlgorithm::ChaCha);
    let mut runner = TestRunner::new_with_rng(config, rng);
    let result = runner.run(&cases, |(trace, choice, raw)| {
        let (file, inputs) = &traces[trace];
        let mut names = Names {
            choice,
            given: BTreeMap::new(),
            raw,
        };
        let hostile: Vec<Input> = inputs.iter().map(|input| names.input(input)).collect();
        let meant: BTreeSet<Vec<Vec<String>>> = advised(inputs)
            .iter()
            .map(|line| {
                let plain =
                    |words: &Vec<String>| inside(words).iter().map(|w| names.plain(w)).collect();
                words(line).iter().map(plain).collect()
            })
            .collect();
        for line in advised(&hostile) {
            let programs = words(&line);
            let started = stubs.typed(&line);
            let expected = programs.iter().cloned().collect();
            prop_assert_eq!(started, Ok(expected), "{}: {}", file, line);
            let as_meant: Vec<Vec<String>> = programs
                .iter()
                .map(|words| inside(words).iter().map(|word| names.back(word)).collect())
                .collect();
            prop_assert!(
                raw || meant.contains(&as_meant),
                "{}: {:?} is none of {:?}",
                file,
                as_meant,
                meant
            );
            if names.given.values().any(|name| {
                programs
                    .iter()
                    .flatten()
                    .any(|word| word.contains(name.as_str()))
            }) {
                renamed.set(renamed.get() + 1);
            }
            typed.set(typed.get() + 1);
        }
        Ok(())
    });
    let (typed, renamed) = (typed.get(), renamed.get());
    if let Err(error) = result {
        panic!("{error}");
    }
    assert!(
        typed > 200 && renamed > 100,
        "{renamed} of {typed} commands had such a name in them"
    );
}
