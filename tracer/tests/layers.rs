//! Which module of this crate may import which: the top-level modules from the bottom up, each with the modules below it that
//! it needs, and why. An import that is not in the table fails, and so does a row that nothing needs any more.

#![expect(
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test ends where it fails"
)]

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

/// A module, and why it imports which others.
type Module = (&'static str, &'static [(&'static str, &'static str)]);

/// From the bottom up: a module imports only modules above it in this table.
const MODULES: &[Module] = &[
    ("model", &[]),
    ("uapi", &[]),
    ("sys", &[]),
    ("restrict", &[]),
    ("error", &[]),
    (
        "sites",
        &[("model", "what the kernel says of a freed packet")],
    ),
    (
        "filter",
        &[
            ("error", "what is wrong with an expression, and where"),
            ("model", "tuples that an expression may name"),
            ("uapi", "TCP flags"),
        ],
    ),
    (
        "host",
        &[
            (
                "model",
                "devices, addresses and tuples that facts are about",
            ),
            ("sys", "entering namespaces, socket options"),
            ("uapi", "numbers of netlink messages, flags of links"),
        ],
    ),
    (
        "network",
        &[
            ("host", "facts, which are all that it answers from"),
            ("model", "packets and addresses that it is asked about"),
            ("uapi", "tables, states and priorities by their numbers"),
        ],
    ),
    (
        "config",
        &[
            ("error", "patterns that cannot be"),
            ("filter", "the compiled filter is part of a run"),
            (
                "host",
                "where names are looked for, and those that were given",
            ),
        ],
    ),
    (
        "kernel",
        &[
            ("error", "missing rights and support, with what to do"),
            ("host", "namespaces and links to attach to, netlink"),
            ("model", "counters"),
            (
                "restrict",
                "the thread that reads records needs nothing else",
            ),
            ("sys", "perf events, clocks"),
            ("uapi", "numbers of queueing disciplines and filters"),
        ],
    ),
    (
        "decode",
        &[
            ("host", "names of functions and drop reasons"),
            ("model", "the events that it makes"),
            ("uapi", "flags of devices, types of ICMP"),
        ],
    ),
    (
        "source",
        &[
            (
                "config",
                "what a live run, or a node of a cluster, is to do",
            ),
            (
                "decode",
                "a scan of packets for clocks, layers for redaction",
            ),
            ("error", "what went wrong with kernel or files"),
            ("filter", "the expression that is followed from now on"),
            ("host", "facts are inputs; answers to questions"),
            ("kernel", "programs, maps and records of a live run"),
            ("model", "times, devices and tuples of inputs"),
            ("restrict", "each thread keeps what it needs"),
            ("uapi", "types of ICMP, for redaction"),
        ],
    ),
    (
        "correlate",
        &[
            ("decode", "the event of a record, for sightings"),
            ("host", "interfaces, peers and probes around a packet"),
            ("model", "events in, journeys, flows and paths out"),
            ("sites", "which ends of buffers are no losses"),
            ("uapi", "TCP flags, types of ICMP, kinds of links"),
        ],
    ),
    ("verdict", &[]),
    (
        "diagnose",
        &[
            ("correlate", "the trace that is judged"),
            ("filter", "whether a node was asked for a packet"),
            ("host", "facts, and questions for more"),
            ("model", "events, journeys and paths"),
            ("network", "what the host would do with a packet"),
            ("sites", "where the kernel frees packets"),
            ("uapi", "states, flags and errors by their numbers"),
            ("verdict", "what it answers"),
        ],
    ),
    (
        "report",
        &[
            ("correlate", "the trace that the document tells"),
            ("diagnose", "verdicts by flow, words of facts"),
            ("host", "names, and facts for the context"),
            ("model", "paths, hops and journeys"),
            ("network", "rules and routes in words"),
            ("uapi", "names of states and errors"),
            ("verdict", "answers are parts of the document"),
        ],
    ),
    (
        "session",
        &[
            ("config", "patterns of interfaces"),
            ("correlate", "the trace that it folds"),
            ("decode", "records to events"),
            ("diagnose", "verdicts and questions"),
            ("host", "what is known so far"),
            ("model", "events and packets"),
            ("report", "the document as of now"),
            ("source", "the inputs that it folds"),
            ("verdict", "why a cause stands, for --explain"),
        ],
    ),
    (
        "compare",
        &[
            ("report", "the two documents"),
            ("verdict", "their answers"),
        ],
    ),
    (
        "render",
        &[
            ("compare", "the comparison as text and JSON"),
            ("correlate", "sightings, for packets"),
            ("host", "names, for packets"),
            ("model", "addresses and packets, for packets"),
            ("report", "the document"),
            ("session", "a second pass over the inputs, for packets"),
            ("source", "the inputs of that pass"),
            ("verdict", "answers in words"),
        ],
    ),
    (
        "tui",
        &[
            ("config", "how many colours there are"),
            ("host", "facts, for the log"),
            ("model", "events, for the log and the seconds"),
            ("render", "lines, marks and figures"),
            ("report", "what a snapshot shows"),
            ("session", "what a snapshot is made of; steps of a replay"),
            ("source", "inputs, for the log"),
            ("verdict", "the answer at the top of the screen"),
        ],
    ),
    (
        "inventory",
        &[
            ("diagnose", "commands for a namespace, as advice has them"),
            ("filter", "what may be asked for by name"),
            ("host", "names, addresses, services, sockets"),
            ("model", "namespaces and times of facts"),
        ],
    ),
    (
        "doctor",
        &[
            ("host", "probes and coverage, places of names"),
            ("kernel", "rights and support, with what to do"),
            ("model", "names from outside on a terminal"),
            ("sys", "the loopback interface of its own namespace"),
        ],
    ),
    (
        "app",
        &[
            ("compare", "tracer diff"),
            ("config", "what the run is to do"),
            ("diagnose", "which flows a recorder heeds"),
            ("doctor", "tracer doctor"),
            ("error", "what a person meets"),
            ("filter", "another expression while the trace goes on"),
            ("host", "the clock, questions"),
            ("inventory", "tracer list; names in another expression"),
            ("kernel", "rights and support, for tracer doctor"),
            ("model", "times, and what became of packets"),
            ("render", "outputs"),
            ("report", "the report, and the exit status from it"),
            ("restrict", "each thread keeps what it needs"),
            ("session", "the fold"),
            ("source", "inputs"),
            ("tui", "the screen"),
            ("verdict", "the exit status follows from the outcome"),
        ],
    ),
    (
        "foreign",
        &[
            ("compare", "a report held against itself"),
            ("decode", "packets"),
            ("filter", "expressions"),
            ("host", "replies of the kernel, files of others"),
            ("kernel", "BTF, traces of rules"),
            ("render", "all that is made of a report"),
            ("report", "the document"),
            ("session", "the fold"),
            ("source", "recordings, pseudonyms, merging"),
        ],
    ),
    (
        "cli",
        &[
            ("config", "what the arguments become"),
            ("doctor", "the packets that tracer doctor follows"),
            ("error", "what is refused, with what to write instead"),
            ("filter", "the expression"),
            ("host", "lists of names, which are refused early"),
            ("inventory", "names in it; tracer list"),
        ],
    ),
];

#[test]
fn modules_import_only_what_the_table_lets_them() {
    let found = imports();
    let mut wrong = Vec::new();
    let known = |module: &str| MODULES.iter().position(|(name, _)| *name == module);
    for (module, uses) in &found {
        let Some(height) = known(module) else {
            wrong.push(format!(
                "`{module}` is no row of the table: add it where it belongs"
            ));
            continue;
        };
        let allowed = MODULES.get(height).map_or(&[][..], |(_, allowed)| allowed);
        for (other, file) in uses {
            let is_allowed = allowed.iter().any(|(name, _)| name == other);
            if is_allowed {
                continue;
            }
            let advice = match known(other) {
                Some(other) if other < height => "which is below it: add a row with the reason",
                _ => "which is above it: move what both need below both",
            };
            wrong.push(format!("{file}: `{module}` imports `{other}`, {advice}"));
        }
    }
    let is_used =
        |module: &str, other: &str| found.get(module).is_some_and(|u| u.contains_key(other));
    for (height, (module, allowed)) in MODULES.iter().enumerate() {
        if !found.contains_key(*module) {
            wrong.push(format!(
                "`{module}` has a row and is no module: delete the row"
            ));
            continue;
        }
        for (other, _) in *allowed {
            if known(other).is_none_or(|other| other >= height) {
                wrong.push(format!(
                    "the table lets `{module}` import `{other}`, which is not below it"
                ));
            } else if !is_used(module, other) {
                wrong.push(format!(
                    "`{module}` does not import `{other}`: delete the row"
                ));
            }
        }
    }
    assert!(wrong.is_empty(), "\n{}\n", wrong.join("\n"));
}

/// Modules by name, with the modules that each imports outside of its tests, and one file that does.
fn imports() -> BTreeMap<String, BTreeMap<String, String>> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let names = modules(&code(&root.join("lib.rs")));
    let mut all = BTreeMap::new();
    for module in &names {
        let mut uses = BTreeMap::new();
        let mut files = vec![root.join(format!("{module}.rs"))];
        while let Some(file) = files.pop() {
            let code = code(&file);
            let below = file.with_extension("");
            files.extend(
                modules(&code)
                    .iter()
                    .map(|name| below.join(format!("{name}.rs"))),
            );
            let shown = file
                .strip_prefix(&root)
                .unwrap_or(&file)
                .display()
                .to_string();
            for other in crate_paths(&code)
                .into_iter()
                .filter(|other| other != module)
            {
                if names.contains(&other) {
                    uses.entry(other).or_insert_with(|| shown.clone());
                }
            }
        }
        all.insert(module.clone(), uses);
    }
    all
}

/// A file without comments, and without what is compiled for tests alone: a test module with a body ends its file.
fn code(file: &PathBuf) -> String {
    let text =
        fs::read_to_string(file).unwrap_or_else(|error| panic!("{}: {error}", file.display()));
    let mut lines = Vec::new();
    let mut rest = text
        .lines()
        .filter(|line| !line.trim_start().starts_with("//"));
    while let Some(line) = rest.next() {
        if line.trim() != "#[cfg(test)]" {
            lines.push(line);
            continue;
        }
        let item = rest.by_ref().find(|line| {
            let line = line.trim_start();
            line.starts_with("mod ") || line.starts_with("pub")
        });
        if item.is_none_or(|item| item.ends_with('{')) {
            break;
        }
    }
    lines.join("\n")
}

/// Modules that a file declares as files of their own.
fn modules(code: &str) -> BTreeSet<String> {
    code.lines()
        .filter_map(|line| {
            let line = line.trim().strip_suffix(';')?;
            let (visibility, name) = line.rsplit_once("mod ")?;
            (visibility.is_empty() || visibility.starts_with("pub")).then(|| name.to_owned())
        })
        .collect()
}

/// First names behind each `crate::`, one by one or in braces.
fn crate_paths(code: &str) -> BTreeSet<String> {
    let is_name = |c: char| c.is_alphanumeric() || c == '_';
    let name = |text: &str| text.chars().take_while(|c| is_name(*c)).collect::<String>();
    let mut found = BTreeSet::new();
    for behind in code.split("crate::").skip(1) {
        let Some(group) = behind.strip_prefix('{') else {
            found.insert(name(behind));
            continue;
        };
        let mut depth = 0;
        for (at, c) in group.char_indices() {
            let starts =
                depth == 0 && is_name(c) && !group.get(..at).unwrap().ends_with([':', '_']);
            let before = group
                .get(..at)
                .and_then(|before| before.chars().next_back());
            if starts && !before.is_some_and(is_name) {
                found.insert(name(group.get(at..).unwrap()));
            }
            match c {
                '{' => depth += 1,
                '}' if depth == 0 => break,
                '}' => depth -= 1,
                _ => {}
            }
        }
    }
    found
}

#[test]
fn names_behind_crate_are_found() {
    let code = "use crate::model::{Event, Tuple};\nuse crate::{host, filter::{self, Compiled}, decode::decode};\n\
                fn of(x: crate::report::Report) {}";
    let found: Vec<String> = crate_paths(code).into_iter().collect();
    assert_eq!(found, ["decode", "filter", "host", "model", "report"]);
}
