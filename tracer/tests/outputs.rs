//! Every output of recordings of real labs: events, tickets, diagrams and packets, as they were, and as those who
//! read them need them.
#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test ends where something is not as it must be"
)]

use std::borrow::Cow;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use pcap_file::DataLink;
use pcap_file::pcapng::Block;
use pcap_file::pcapng::PcapNgReader;
use pcap_file::pcapng::blocks::enhanced_packet::EnhancedPacketOption;
use pcap_file::pcapng::blocks::interface_description::InterfaceDescriptionOption;
use pcap_file::pcapng::blocks::name_resolution::Record;
use pcap_file::pcapng::blocks::section_header::SectionHeaderOption;
use tracer::render::{diagram, json, markdown, pcapng};
use tracer::report::Report;
use tracer::report::assemble::event_report;
use tracer::report::event::NdjsonLine;
use tracer::session::Session;
use tracer::source::recording::Reader;

/// A loss, a translation with its answers, a tunnel.
const SHOWN: [&str; 3] = [
    "forward-policy-drop.faulty",
    "clusterip-dnat.healthy",
    "vxlan-wrong-mac.faulty",
];

fn directory() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/recordings")
}

fn inputs(recording: &str) -> Reader<File> {
    let file = directory().join(format!("{recording}.tracer"));
    Reader::new(File::open(file).unwrap()).unwrap()
}

/// All recordings by name.
fn recordings() -> Vec<String> {
    let entries = std::fs::read_dir(directory()).unwrap();
    let mut names: Vec<String> = entries
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .filter_map(|name| Some(name.strip_suffix(".tracer")?.to_owned()))
        .collect();
    names.sort();
    assert!(!names.is_empty(), "no recordings");
    names
}

fn session(recording: &str) -> Session {
    let mut session = Session::default();
    for input in inputs(recording) {
        session.input(&input.unwrap());
    }
    session
}

/// Events as they happen, and the report: each as it is written.
fn lines(recording: &str) -> Vec<String> {
    let mut session = Session::default();
    let mut lines = Vec::new();
    let mut room = Vec::new();
    let mut write = |line: &NdjsonLine<'_>| {
        let mut out = Vec::new();
        json::line(&mut out, line, &mut room).unwrap();
        lines.push(String::from_utf8(out).unwrap());
    };
    for input in inputs(recording) {
        let input = input.unwrap();
        let seen = session.input(&input);
        if let Some(sighting) = session.sighting(&input, seen) {
            write(&NdjsonLine::Event(event_report(&sighting, session.host())));
        }
    }
    write(&NdjsonLine::Report(Cow::Owned(session.report())));
    lines
}

fn check(name: &str, text: &str) {
    insta::with_settings!({
        snapshot_path => "outputs",
        prepend_module_to_snapshot => false,
        omit_expression => true,
    }, {
        insta::assert_snapshot!(name, text);
    });
}

#[test]
fn events_tickets_and_diagrams_are_as_they_were() {
    for name in SHOWN {
        let text = lines(name).concat();
        // the report has snapshots of its own
        let events: Vec<&str> = text.lines().take(40).collect();
        check(&format!("{name}.ndjson"), &events.join("\n"));
        let report = session(name).report();
        let mut ticket = Vec::new();
        markdown::write(&mut ticket, &report).unwrap();
        check(&format!("{name}.md"), &String::from_utf8(ticket).unwrap());
        check(&format!("{name}.svg"), &diagram::svg(&report));
    }
}

#[test]
fn every_line_meets_the_schema_and_the_last_comes_back_as_the_report() {
    let schema: serde_json::Value = serde_json::from_str(&json::line_schema()).unwrap();
    let validator = jsonschema::validator_for(&schema).unwrap();
    for name in recordings() {
        let lines = lines(&name);
        assert_eq!(lines.concat().lines().count(), lines.len(), "{name}");
        for text in &lines {
            let value: serde_json::Value = serde_json::from_str(text).unwrap();
            let errors: Vec<String> = validator
                .iter_errors(&value)
                .map(|error| format!("{}: {error}", error.instance_path()))
                .collect();
            assert_eq!(errors, [""; 0], "{name}: {text}");
        }
        let back: Report = serde_json::from_str(lines.last().unwrap()).unwrap();
        assert_eq!(back, session(&name).report(), "{name}");
    }
}

/// All lines but the last.
fn events(lines: &[String]) -> Vec<serde_json::Value> {
    let values = lines.iter().map(|line| serde_json::from_str(line).unwrap());
    values
        .filter(|line: &serde_json::Value| line["type"] == "event")
        .collect()
}

#[test]
fn events_say_what_the_report_says() {
    for name in recordings() {
        let events = events(&lines(&name));
        let report = session(&name).report();
        assert_eq!(events.len() as u64, report.trace.events, "{name}");
        // every loss of the report was told, with its reason and function
        for loss in report.flows.iter().flat_map(|flow| &flow.losses) {
            let told = |event: &serde_json::Value| {
                event.get("drop").is_some_and(|drop| {
                    drop["lost"] != false
                        && drop["reason"].as_str() == loss.reason.as_deref()
                        && drop["function"].as_str() == loss.place.function.as_deref()
                })
            };
            assert!(
                loss.place.function.is_none() || events.iter().any(told),
                "{name}: {loss:?}"
            );
        }
        // what changed on a path changed at some event
        let rewrites = report.flows.iter().flat_map(|flow| &flow.paths);
        for rewrite in rewrites
            .flat_map(|path| &path.hops)
            .flat_map(|hop| &hop.rewrites)
        {
            let told = events.iter().any(|event| {
                let all = event["rewrites"].as_array();
                all.is_some_and(|all| all.iter().any(|one| one == rewrite.as_str()))
            });
            assert!(told, "{name}: {rewrite}");
        }
    }
}

/// What `tracer replay` writes.
fn program(recording: &str, format: &str) -> Vec<u8> {
    let file = directory().join(format!("{recording}.tracer"));
    let run = Command::new(env!("CARGO_BIN_EXE_tracer"))
        .arg("replay")
        .arg(file)
        .args(["--output", format])
        .output()
        .unwrap();
    assert!(run.status.success(), "{format}: {run:?}");
    assert!(run.stderr.is_empty(), "{format}: {run:?}");
    run.stdout
}

#[test]
fn the_program_writes_what_is_tested_here() {
    for name in SHOWN {
        let mut ticket = Vec::new();
        markdown::write(&mut ticket, &session(name).report()).unwrap();
        let picture = diagram::svg(&session(name).report()).into_bytes();
        for (format, expected) in [
            ("ndjson", lines(name).concat().into_bytes()),
            ("markdown", ticket),
            ("svg", picture),
            ("pcapng", packets(name)),
        ] {
            assert!(program(name, format) == expected, "{name}: {format}");
        }
    }
}

#[test]
fn every_ticket_is_short() {
    for name in recordings() {
        let mut ticket = Vec::new();
        markdown::write(&mut ticket, &session(&name).report()).unwrap();
        let ticket = String::from_utf8(ticket).unwrap();
        assert!(ticket.lines().count() < 100, "{name}: {ticket}");
    }
}

#[test]
fn the_diagram_of_the_readme_is_true() {
    let drawn = diagram::svg(&session("forward-policy-drop.faulty").report());
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/path.svg");
    let kept = std::fs::read_to_string(&file)
        .unwrap_or_else(|error| panic!("{}: {error}", file.display()));
    assert!(
        drawn == kept,
        "docs/path.svg is not the diagram of today: run `cargo xtask frame`"
    );
}

fn packets(recording: &str) -> Vec<u8> {
    let mut out = Vec::new();
    pcapng::write(&mut out, &session(recording), inputs(recording)).unwrap();
    out
}

/// A packet of a file, with the name of its interface.
struct Packet {
    interface: String,
    link: DataLink,
    at: Duration,
    captured: usize,
    original: usize,
    comment: String,
    data: Vec<u8>,
}

/// What a file holds: names of addresses, and packets.
fn read(file: &[u8]) -> (Vec<String>, Vec<Packet>) {
    let mut reader = PcapNgReader::new(file).unwrap();
    let (mut names, mut packets) = (Vec::new(), Vec::new());
    let mut interfaces: Vec<(String, DataLink)> = Vec::new();
    while let Some(block) = reader.next_block() {
        match block.unwrap().into_owned() {
            Block::InterfaceDescription(block) => {
                let name = block.options.iter().find_map(|option| match option {
                    InterfaceDescriptionOption::IfName(name) => Some(name.to_string()),
                    _ => None,
                });
                interfaces.push((name.unwrap(), block.linktype));
            }
            Block::NameResolution(block) => {
                names.extend(block.records.iter().map(|record| match record {
                    Record::Ipv4(record) => {
                        format!("{:?} {}", record.ip_addr, record.names.join(" "))
                    }
                    Record::Ipv6(record) => {
                        format!("{:?} {}", record.ip_addr, record.names.join(" "))
                    }
                    other => panic!("{other:?}"),
                }));
            }
            Block::EnhancedPacket(block) => {
                let comment = block.options.iter().find_map(|option| match option {
                    EnhancedPacketOption::Comment(text) => Some(text.to_string()),
                    _ => None,
                });
                let (interface, link) = interfaces
                    .get(usize::try_from(block.interface_id).unwrap())
                    .unwrap()
                    .clone();
                packets.push(Packet {
                    interface,
                    link,
                    at: block.timestamp,
                    captured: block.data.len(),
                    original: usize::try_from(block.original_len).unwrap(),
                    comment: comment.unwrap(),
                    data: block.data.to_vec(),
                });
            }
            Block::SectionHeader(_) => {}
            other => panic!("{other:?}"),
        }
    }
    (names, packets)
}

#[test]
fn packets_are_in_order_and_have_their_place_and_length() {
    for name in recordings() {
        let (_, packets) = read(&packets(&name));
        assert!(
            packets.is_sorted_by_key(|packet| packet.at),
            "{name}: not in order of time"
        );
        for packet in &packets {
            assert!(
                packet.captured <= packet.original,
                "{name}: {}",
                packet.comment
            );
            assert!(
                packet.interface.contains('/'),
                "{name}: {}",
                packet.interface
            );
            let kind = match packet.link {
                DataLink::ETHERNET => packet.data.get(12..14).unwrap().to_vec(),
                DataLink::RAW => vec![packet.data.first().unwrap() >> 4],
                other => panic!("{name}: {other:?}"),
            };
            let kinds: [&[u8]; 5] = [&[4], &[6], &[8, 0], &[8, 6], &[0x86, 0xdd]];
            assert!(
                kinds.contains(&kind.as_slice()),
                "{name}: {kind:?} {}",
                packet.comment
            );
        }
        let lines = lines(&name);
        let events = events(&lines);
        let at_tc = events.iter().filter(|event| {
            let hook = event["hook"].as_str();
            hook.is_some_and(|hook| hook.starts_with("tc-"))
        });
        let lost = events.iter().filter(|event| {
            let lost = event
                .pointer("/drop/lost")
                .and_then(serde_json::Value::as_bool);
            !event["headers"].is_null() && lost == Some(true)
        });
        let dropped = packets
            .iter()
            .filter(|packet| packet.comment.starts_with("DROPPED"));
        let dropped = dropped.count();
        assert_eq!(packets.len() - dropped, at_tc.count(), "{name}");
        assert!(dropped >= lost.count(), "{name}: {dropped}");
    }
}

#[test]
fn packets_tell_their_path() {
    for name in SHOWN {
        let (names, packets) = read(&packets(name));
        let rows: Vec<String> = packets
            .iter()
            .map(|packet| {
                format!(
                    "{} {:?} {} of {}: {}",
                    packet.interface, packet.link, packet.captured, packet.original, packet.comment
                )
            })
            .collect();
        let text = format!("{}\n\n{}", names.join("\n"), rows.join("\n"));
        check(&format!("{name}.pcapng"), &text);
    }
}

#[test]
fn a_file_says_what_was_traced_and_by_what() {
    let file = packets("forward-policy-drop.faulty");
    let reader = PcapNgReader::new(file.as_slice()).unwrap();
    let words: Vec<String> = reader
        .section()
        .options
        .iter()
        .map(|option| match option {
            SectionHeaderOption::Hardware(text)
            | SectionHeaderOption::OS(text)
            | SectionHeaderOption::UserApplication(text)
            | SectionHeaderOption::Comment(text) => text.to_string(),
            other => panic!("{other:?}"),
        })
        .collect();
    insta::assert_snapshot!(words.join("\n"));
}
