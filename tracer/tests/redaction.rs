//! `--redact` on recordings of real labs: nothing that is made of a redacted trace holds an original address, MAC or name, and
//! the verdict is the same.
//!
//! What the originals are is found out here, by walking through facts as JSON and through decoded packets, without asking the
//! code that replaces them.
#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test ends where something is not as it must be"
)]

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::sync::LazyLock;

use ratatui::Terminal;
use ratatui::backend::TestBackend;
use serde_json::Value;
use tracer::config::Depth;
use tracer::decode::decode;
use tracer::host::Host;
use tracer::model::{Mac, Transport};
use tracer::render::style::UNICODE;
use tracer::render::{diagram, json, markdown, pcapng, text};
use tracer::report::Report;
use tracer::report::assemble::event_report;
use tracer::report::event::NdjsonLine;
use tracer::session::Session;
use tracer::source::Input;
use tracer::source::recording::{Reader, Writer};
use tracer::source::redact::{Key, Redactor};
use tracer::tui::{Feed, Settings, State, frame, svg};
use tracer::verdict::Verdict;
use zerocopy::IntoBytes;

/// Names that are words of the reports' own language too, so that finding them says nothing. Each of them must still be
/// replaced where it is a name: [`assert_replaced`] compares facts field by field.
const WORDS: [&str; 1] = ["wire"];
/// Shorter names are in everything.
const SHORTEST: usize = 3;
/// Fields of facts that hold names.
const NAMES: [&str; 10] = [
    "name",
    "comm",
    "hostname",
    "boot_id",
    "cgroup",
    "table",
    "chain",
    "only_netns",
    "iif",
    "oif",
];

fn recordings() -> Vec<PathBuf> {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/recordings");
    let mut files: Vec<PathBuf> = fs::read_dir(directory)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|kind| kind == "tracer"))
        .collect();
    files.sort();
    assert!(!files.is_empty(), "no recordings");
    files
}

fn read(file: &Path) -> Vec<Input> {
    let reader = Reader::new(File::open(file).unwrap()).unwrap();
    reader.map(Result::unwrap).collect()
}

/// One key for all tests of this file, written once: they run at the same time.
fn key() -> Key {
    static KEY: LazyLock<Key> = LazyLock::new(|| {
        let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join("redact.key");
        fs::write(&path, format!("{}{}\n", "3c".repeat(16), "a7".repeat(16))).unwrap();
        Key::read(&path).unwrap()
    });
    *KEY
}

fn redacted(inputs: &[Input]) -> Vec<Input> {
    let mut redactor = Redactor::new(&key());
    let hidden = inputs.iter().map(|input| redactor.input(input.clone()));
    hidden.map(Option::unwrap).collect()
}

fn report(inputs: &[Input]) -> Report {
    let mut session = Session::default();
    for input in inputs {
        session.input(input);
    }
    session.report()
}

/// What must not be found.
#[derive(Default)]
struct Originals {
    addresses: BTreeSet<IpAddr>,
    macs: BTreeSet<Mac>,
    names: BTreeSet<String>,
}

impl Originals {
    fn of(inputs: &[Input]) -> Self {
        let mut all = Self::default();
        let mut host = Host::default();
        for input in inputs {
            match input {
                Input::Host(at, fact) => {
                    all.fact("", &serde_json::to_value(fact).unwrap());
                    host.apply(*at, fact.clone());
                }
                Input::Record(record) => all.record(record, &host),
                _ => {}
            }
        }
        all.addresses.retain(|address| !is_well_known(*address));
        all.macs
            .retain(|Mac(mac)| mac[0] & 1 == 0 && *mac != [0; 6]);
        all.names.retain(|name| {
            let known = name == "lo" || name == "host" || name.starts_with("netns:");
            let chain = name.chars().all(|c| c.is_ascii_uppercase());
            let table = ["filter", "nat", "mangle", "raw", "security"];
            !known && !chain && !table.contains(&name.as_str()) && name.len() >= SHORTEST
        });
        all
    }

    fn fact(&mut self, field: &str, value: &Value) {
        match value {
            Value::String(text) => self.text(field, text),
            Value::Array(list) => {
                let bytes: Option<Vec<u8>> = list
                    .iter()
                    .map(|n| n.as_u64().and_then(|n| u8::try_from(n).ok()))
                    .collect();
                if let Some(mac) = bytes
                    .filter(|_| field == "mac")
                    .and_then(|b| b.try_into().ok())
                {
                    self.macs.insert(Mac(mac));
                }
                list.iter().for_each(|value| self.fact(field, value));
            }
            Value::Object(fields) => {
                // hooks, qdiscs and sysctls have names that are the kernel's
                let own = |field: &String| !matches!(field.as_str(), "Probe" | "Sysctl");
                for (field, value) in fields.iter().filter(|(field, _)| own(field)) {
                    self.fact(field, value);
                }
            }
            _ => {}
        }
    }

    fn text(&mut self, field: &str, text: &str) {
        self.addresses
            .extend(addresses(text).map(|(address, _)| address));
        if NAMES.contains(&field) {
            self.names.insert(text.to_owned());
        }
    }

    fn record(&mut self, record: &bytes::Bytes, host: &Host) {
        let event = decode(record, host).unwrap();
        self.names.extend(event.process.map(|process| process.comm));
        let mut tuples = vec![event.tuple, event.original];
        tuples.push(event.socket.and_then(|socket| socket.tuple));
        if let Some(packet) = event.packet {
            tuples.extend([packet.tuple, packet.tunnel.map(|tunnel| tunnel.outer)]);
            for ethernet in [packet.ethernet, packet.inner_ethernet]
                .into_iter()
                .flatten()
            {
                self.macs.extend([ethernet.src, ethernet.dst]);
            }
            match packet.transport {
                Transport::Icmp { quoted, .. } => tuples.push(quoted),
                Transport::Neighbor { target, mac, .. } => {
                    self.addresses.insert(target);
                    self.macs.extend(mac);
                }
                _ => {}
            }
        }
        for tuple in tuples.into_iter().flatten() {
            self.addresses.extend([tuple.src, tuple.dst]);
        }
    }

    /// Asserts that a text holds none of them.
    fn assert_not_in(&self, text: &str, what: &str) {
        for (address, token) in addresses(text) {
            assert!(
                !self.addresses.contains(&address),
                "{what} holds the address {token}: {}",
                around(text, &token)
            );
        }
        for mac in &self.macs {
            let mac = mac.to_string();
            assert!(!text.contains(&mac), "{what} holds the MAC {mac}");
        }
        for name in &self.names {
            if !WORDS.contains(&name.as_str()) && holds(text, name) {
                panic!("{what} holds the name {name}: {}", around(text, name));
            }
        }
    }

    /// Asserts that bytes, perhaps with words of ours among them, hold none of them.
    fn assert_not_within(&self, bytes: &[u8], words: bool, what: &str) {
        let has = |part: &[u8]| bytes.windows(part.len()).any(|window| window == part);
        for address in &self.addresses {
            let there = match address {
                IpAddr::V4(v4) => has(&v4.octets()),
                IpAddr::V6(v6) => has(&v6.octets()),
            };
            assert!(!there, "{what} holds the address {address}");
        }
        for mac in &self.macs {
            assert!(!has(&mac.0), "{what} holds the MAC {mac}");
        }
        for name in &self.names {
            // records have no words of ours; packets have comments
            let word = words && WORDS.contains(&name.as_str());
            assert!(
                word || !has(name.as_bytes()),
                "{what} holds the name {name}"
            );
        }
    }
}

/// As docs/redaction.md has them; private, link-local and unique local blocks are known, their addresses are not.
fn is_well_known(address: IpAddr) -> bool {
    let blocks = [
        "10.0.0.0",
        "172.16.0.0",
        "192.168.0.0",
        "100.64.0.0",
        "169.254.0.0",
    ];
    let block = |text: &&str| text.parse() == Ok(address);
    if address.is_unspecified() || address.is_loopback() || blocks.iter().any(block) {
        return true;
    }
    match address {
        IpAddr::V4(v4) => v4.octets()[0] == 0 || v4.octets()[0] >= 224,
        IpAddr::V6(v6) => {
            let solicited = v6.octets().starts_with(&[0xff, 2]) && v6.segments()[6] >> 8 == 0xff;
            let block = ["fe80::", "fc00::", "fd00::"].map(|text| text.parse() == Ok(v6));
            v6.is_multicast() && !solicited || block.contains(&true)
        }
    }
}

/// Addresses that stand in a text, with their words.
fn addresses(text: &str) -> impl Iterator<Item = (IpAddr, String)> {
    text.split(|c: char| !c.is_ascii_alphanumeric() && !".:".contains(c))
        .flat_map(|token| {
            let token = token.trim_end_matches(['.', ':']);
            let parts = [Some(token), token.rsplit_once(':').map(|(front, _)| front)];
            parts.into_iter().flatten().filter_map(|part| {
                // "::" and numbers with one colon are too common to mean something
                let address = part.parse().ok()?;
                Some((address, part.to_owned()))
            })
        })
}

/// Whether a name stands in a text as a word.
fn holds(text: &str, name: &str) -> bool {
    let word = |c: Option<char>| c.is_some_and(|c| c.is_alphanumeric() || c == '_' || c == '-');
    text.match_indices(name).any(|(at, _)| {
        let before = text.get(..at).and_then(|t| t.chars().next_back());
        let after = text.get(at + name.len()..).and_then(|t| t.chars().next());
        !word(before) && !word(after)
    })
}

fn around<'t>(text: &'t str, found: &str) -> &'t str {
    let line = text.lines().find(|line| line.contains(found));
    line.unwrap_or(text)
}

/// Everything that is made for people and programs.
fn outputs(inputs: &[Input]) -> Vec<(String, String)> {
    let mut session = Session::default();
    let mut feed = Feed::new(&session);
    for input in inputs {
        feed.input(input, &session);
        session.input(input);
    }
    feed.look(&session, false);
    let report = session.report();
    let mut all = Vec::new();
    let mut page = Vec::new();
    text::write(&mut page, &report, &text::TextStyle::default()).unwrap();
    all.push(("text".to_owned(), String::from_utf8(page).unwrap()));
    let mut document = Vec::new();
    json::write(&mut document, &report).unwrap();
    all.push(("json".to_owned(), String::from_utf8(document).unwrap()));
    let mut page = Vec::new();
    markdown::write(&mut page, &report).unwrap();
    all.push(("markdown".to_owned(), String::from_utf8(page).unwrap()));
    all.push(("diagram".to_owned(), diagram::svg(&report)));
    all.push(("ndjson".to_owned(), events(inputs)));
    let settings = Settings::plain(Depth::True);
    let snapshot = feed.snapshot();
    for keys in [
        "1 down enter",
        "2 down enter",
        "3 down enter",
        "4",
        "5",
        "6",
        "7",
        "f",
    ] {
        let size = (240, 80);
        let mut state = State::new(size, UNICODE);
        for key in keys.split_whitespace() {
            state.key(key.parse().unwrap(), &settings.keys, snapshot);
        }
        let mut terminal = Terminal::new(TestBackend::new(size.0, size.1)).unwrap();
        terminal
            .draw(|frame| frame::draw(frame, &state, snapshot, &settings))
            .unwrap();
        let buffer = terminal.backend().buffer();
        let rows = buffer.content().chunks(usize::from(size.0));
        let rows = rows.map(|row| row.iter().map(|cell| cell.symbol()).collect::<String>());
        all.push((
            format!("screen {keys}"),
            rows.collect::<Vec<_>>().join("\n"),
        ));
        all.push((format!("picture {keys}"), svg::svg(buffer)));
    }
    all
}

/// Every event as a line.
fn events(inputs: &[Input]) -> String {
    let mut lines = Vec::new();
    let mut room = Vec::new();
    let mut session = Session::default();
    for input in inputs {
        let seen = session.input(input);
        if let Some(sighting) = session.sighting(input, seen) {
            let event = event_report(&sighting, session.host());
            json::line(&mut lines, &NdjsonLine::Event(event), &mut room).unwrap();
        }
    }
    String::from_utf8(lines).unwrap()
}

/// Packets with their addresses as bytes.
fn packets(inputs: &[Input]) -> Vec<u8> {
    let mut session = Session::default();
    for input in inputs {
        session.input(input);
    }
    let mut packets = Vec::new();
    let again = inputs.iter().cloned().map(Ok::<_, std::io::Error>);
    pcapng::write(&mut packets, &session, again).unwrap();
    packets
}

#[test]
fn no_output_holds_an_original() {
    for file in recordings() {
        let name = file.file_stem().unwrap().to_string_lossy().into_owned();
        let inputs = read(&file);
        let originals = Originals::of(&inputs);
        assert!(!originals.addresses.is_empty(), "{name}");
        assert!(!originals.macs.is_empty(), "{name}");
        assert!(originals.names.len() > 3, "{name}");
        // what is looked for can be found: the output that is not redacted has some
        let open = outputs(&inputs);
        let json = &open.iter().find(|(of, _)| of == "json").unwrap().1;
        assert!(addresses(json).any(|(address, _)| originals.addresses.contains(&address)));
        assert!(originals.names.iter().any(|name| holds(json, name)));
        for (of, text) in outputs(&redacted(&inputs)) {
            originals.assert_not_in(&text, &format!("{name}: {of}"));
        }
        originals.assert_not_within(
            &packets(&redacted(&inputs)),
            true,
            &format!("{name}: packets"),
        );
    }
}

#[test]
fn no_recording_holds_an_original() {
    for file in recordings() {
        let name = file.file_stem().unwrap().to_string_lossy().into_owned();
        let inputs = read(&file);
        let originals = Originals::of(&inputs);
        let hidden = redacted(&inputs);
        let mut writer = Writer::new(Vec::new()).unwrap();
        hidden.iter().for_each(|input| writer.write(input).unwrap());
        writer.flush().unwrap();
        let written = writer.written();
        let replayed: Vec<Input> = Reader::new(written).unwrap().map(Result::unwrap).collect();
        assert_eq!(replayed, hidden, "{name}");
        // frames of a recording are these bytes, deflated
        for input in &replayed {
            match input {
                Input::Host(_, fact) => {
                    let value = serde_json::to_value(fact).unwrap();
                    let mut leaves = Vec::new();
                    pairs("", &value, &value, &mut leaves);
                    for (_, text, _) in leaves {
                        originals.assert_not_in(text, &format!("{name}: a fact"));
                    }
                    let mut macs = Originals::default();
                    macs.fact("", &value);
                    let left: Vec<_> = macs.macs.intersection(&originals.macs).collect();
                    assert!(left.is_empty(), "{name}: {left:?}");
                }
                Input::Record(record) => {
                    originals.assert_not_within(record, false, &format!("{name}: a record"));
                }
                Input::Counters(_, counters) => {
                    for (key, _) in &counters.hops {
                        originals.assert_not_within(
                            key.tuple.as_bytes(),
                            false,
                            &format!("{name}: counters"),
                        );
                    }
                }
                Input::Tick(_) | Input::End(..) => {}
            }
        }
    }
}

/// What a verdict says without names.
fn said(verdict: &Verdict) -> (String, Option<String>, String, Option<String>) {
    let value = serde_json::to_value(verdict).unwrap();
    let text = |value: &Value| value.as_str().map(str::to_owned);
    let hook = value
        .get("where")
        .and_then(|place| place.get("hook"))
        .and_then(text);
    let field = |name: &str| value.get(name).and_then(text);
    (
        field("outcome").unwrap(),
        field("cause"),
        field("confidence").unwrap(),
        hook,
    )
}

#[test]
fn the_verdict_is_the_same() {
    for file in recordings() {
        let name = file.file_stem().unwrap().to_string_lossy().into_owned();
        let inputs = read(&file);
        let (open, hidden) = (report(&inputs), report(&redacted(&inputs)));
        assert_eq!(said(&hidden.verdict), said(&open.verdict), "{name}");
        assert_eq!(hidden.flows.len(), open.flows.len(), "{name}");
        let shape = |report: &Report| -> Vec<Vec<usize>> {
            let hops = |flow: &tracer::report::FlowReport| {
                flow.paths.iter().map(|path| path.hops.len()).collect()
            };
            report.flows.iter().map(hops).collect()
        };
        // flows of one moment are ordered by address
        let sorted = |report: &Report| {
            let mut shape = shape(report);
            shape.sort();
            shape
        };
        assert_eq!(sorted(&hidden), sorted(&open), "{name}");
    }
}

/// Leaves of two values side by side.
fn pairs<'v>(
    field: &'v str,
    open: &'v Value,
    hidden: &'v Value,
    out: &mut Vec<(&'v str, &'v str, &'v str)>,
) {
    match (open, hidden) {
        (Value::String(a), Value::String(b)) => out.push((field, a, b)),
        (Value::Array(a), Value::Array(b)) => {
            a.iter().zip(b).for_each(|(a, b)| pairs(field, a, b, out))
        }
        (Value::Object(a), Value::Object(b)) => {
            for (field, value) in a {
                pairs(field, value, b.get(field).unwrap(), out);
            }
        }
        _ => {}
    }
}

/// Every fact's addresses and names became others, equal ones equal and different ones different; prefixes are kept.
#[test]
fn equality_and_prefixes_are_kept() {
    for file in recordings() {
        let name = file.file_stem().unwrap().to_string_lossy().into_owned();
        let inputs = read(&file);
        let originals = Originals::of(&inputs);
        let hidden = redacted(&inputs);
        let mut names: BTreeMap<(String, String), String> = BTreeMap::new();
        let mut ends: BTreeMap<IpAddr, IpAddr> = BTreeMap::new();
        for (open, hidden) in inputs.iter().zip(&hidden) {
            let (Input::Host(_, open), Input::Host(_, hidden)) = (open, hidden) else {
                continue;
            };
            let (open, hidden) = (
                serde_json::to_value(open).unwrap(),
                serde_json::to_value(hidden).unwrap(),
            );
            let mut leaves = Vec::new();
            pairs("", &open, &hidden, &mut leaves);
            for (field, a, b) in leaves {
                assert_replaced(&originals, field, a, b, &name);
                if let (Ok(a), Ok(b)) = (a.parse(), b.parse())
                    && field == "address"
                {
                    assert_eq!(*ends.entry(a).or_insert(b), b, "{name}: {a}");
                } else if NAMES.contains(&field) {
                    let known = names.entry((field.to_owned(), a.to_owned()));
                    assert_eq!(known.or_insert(b.to_owned()), b, "{name}: {field} {a}");
                }
            }
        }
        let different: BTreeSet<&IpAddr> = ends.values().collect();
        assert_eq!(different.len(), ends.len(), "{name}: {ends:?}");
        for (a, x) in &ends {
            for (b, y) in &ends {
                assert_eq!(common(*a, *b), common(*x, *y), "{name}: {a} {b}");
            }
        }
    }
}

fn assert_replaced(originals: &Originals, field: &str, open: &str, hidden: &str, name: &str) {
    let original = NAMES.contains(&field) && originals.names.contains(open);
    let address = open.parse().is_ok_and(|a| originals.addresses.contains(&a));
    let kernel = field == "name" && (open.starts_with("net/") || hidden == open && is_hook(open));
    assert!(
        !(original || address) || kernel || open != hidden,
        "{name}: {field} stays {open}"
    );
}

/// Names of probes.
fn is_hook(name: &str) -> bool {
    tracer_common::hook::HOOKS
        .iter()
        .any(|hook| hook.name == name)
}

/// Leading bits that two addresses share.
fn common(a: IpAddr, b: IpAddr) -> u32 {
    match (a, b) {
        (IpAddr::V4(a), IpAddr::V4(b)) => (a.to_bits() ^ b.to_bits()).leading_zeros(),
        (IpAddr::V6(a), IpAddr::V6(b)) => (a.to_bits() ^ b.to_bits()).leading_zeros(),
        _ => 0,
    }
}
