//! Everything that reads what others wrote, each as one function of bytes. It ends whatever the bytes are, in a time and a
//! memory that are in proportion to them; what it makes of them is thrown away.
//!
//! `make fuzz` looks for bytes that break one of them; a test hands them what was kept of that (`fuzz/corpus`).

use std::io;

use bytes::Bytes;
use tracer_common::event::RAW_EVENT_SIZE;

use crate::compare::{Subject, compare};
use crate::decode::packet::{self, Start};
use crate::filter::{self, Request};
use crate::host::facts::NodeId;
use crate::host::foreign;
use crate::host::netlink::messages;
use crate::kernel::btf::{Btf, Kind};
use crate::kernel::nftrace;
use crate::render::text::TextStyle;
use crate::render::{comparison, diagram, json, markdown, text};
use crate::report::Report;
use crate::session::Session;
use crate::source::Input;
use crate::source::merge::{Merger, NodeScan};
use crate::source::recording::{self, Reader};
use crate::source::redact::{Key, Redactor};

/// A reader: its name, which is that of its fuzz target and of its folder in the corpus, and the function.
pub type Target = (&'static str, fn(&[u8]));

/// All of them.
pub const TARGETS: &[Target] = &[
    ("record", record),
    ("packet", packet),
    ("recording", recording),
    ("inputs", inputs),
    ("merge", merge),
    ("expression", expression),
    ("btf", btf),
    ("netlink", netlink),
    ("table", foreign::table),
    ("files", foreign::files),
    ("report", report),
];

/// Records of the ring buffer, one behind the other, each with as many bytes behind its fixed part as the first byte says.
fn record(mut bytes: &[u8]) {
    let mut session = Session::default();
    while let Some((more, rest)) = bytes.split_first() {
        let length = (RAW_EVENT_SIZE + usize::from(*more)).min(rest.len());
        let (record, rest) = rest.split_at(length);
        session.input(&Input::Record(Bytes::copy_from_slice(record)));
        bytes = rest;
    }
    show(&session.report());
}

/// A captured packet, behind where its network header begins and its protocol.
fn packet(bytes: &[u8]) {
    if let Some(([offset, high, low], packet)) = bytes.split_first_chunk() {
        let start = Start {
            l3_offset: usize::from(*offset),
            protocol: u16::from_be_bytes([*high, *low]),
            skb_len: u32::try_from(packet.len()).unwrap_or(u32::MAX),
        };
        drop(packet::parse(packet, start, None));
    }
}

/// A recording as a file.
fn recording(bytes: &[u8]) {
    if let Ok(reader) = Reader::new(bytes) {
        fold(reader.map_while(Result::ok));
    }
}

/// What a recording holds once it is inflated and its checksums fit.
fn inputs(bytes: &[u8]) {
    if let Ok(file) = recording::of_frames(bytes) {
        recording(&file);
    }
}

/// Two such, of which the first ends where the first two bytes say.
fn merge(bytes: &[u8]) {
    let Some((length, rest)) = bytes.split_first_chunk() else {
        return;
    };
    let length = usize::from(u16::from_le_bytes(*length)).min(rest.len());
    let (one, two) = rest.split_at(length);
    let files = [one, two].map(recording::of_frames);
    let mut nodes = Vec::new();
    for (file, id) in files.iter().flatten().zip((0..).map(NodeId)) {
        let scan = Reader::new(file.as_slice()).and_then(|mut reader| NodeScan::read(&mut reader));
        if let (Ok(Some(scan)), Ok(reader)) = (scan, Reader::new(file.as_slice())) {
            nodes.push((id, scan, reader));
        }
    }
    fold(Merger::new(nodes).map_while(Result::ok));
}

/// Any key: what is made is thrown away.
const SECRET: [u8; 32] = {
    let mut bytes = [1; 32];
    bytes[31] = 2;
    bytes
};

/// All that is made of inputs, with originals and with pseudonyms.
fn fold(inputs: impl Iterator<Item = Input>) {
    let mut redactor = Key::of(SECRET).map(|key| Redactor::new(&key));
    let (mut session, mut hidden) = (Session::default(), Session::default());
    for input in inputs {
        session.input(&input);
        if let Some(input) = redactor.as_mut().and_then(|it| it.input(input)) {
            hidden.input(&input);
        }
    }
    session.questions();
    session.questions_of_checks();
    show(&session.report());
    show(&hidden.report());
}

/// Every form of a report. Nothing is kept, and a sink does not fail.
fn show(report: &Report) {
    let mut nowhere = io::sink();
    let _ = text::write(&mut nowhere, report, &TextStyle::default());
    let _ = json::write(&mut nowhere, report);
    let _ = markdown::write(&mut nowhere, report);
    drop(diagram::svg(report));
}

/// An expression as it is typed.
fn expression(bytes: &[u8]) {
    let request = Request {
        expr: String::from_utf8_lossy(bytes).into_owned(),
        ..Request::default()
    };
    if let Err(error) = filter::compile(&request) {
        drop(error.excerpt());
    }
}

/// A file of BTF.
fn btf(bytes: &[u8]) {
    let Ok(types) = Btf::parse(bytes.to_vec(), None) else {
        return;
    };
    for ty in types.all(Kind::Struct) {
        ty.members().for_each(drop);
    }
    for ty in types.all(Kind::Prototype) {
        for argument in ty.arguments().flatten() {
            drop(argument.written());
            let to = argument.pointed_to();
            drop(to.map(|to| to.written()));
        }
    }
    for ty in types.all(Kind::Enum) {
        ty.values().for_each(drop);
    }
}

/// A datagram of netlink.
fn netlink(bytes: &[u8]) {
    foreign::netlink(bytes);
    messages(bytes).for_each(|message| drop(nftrace::step(message)));
}

/// A report as `tracer diff` is given it, held against itself.
fn report(bytes: &[u8]) {
    let Ok(report) = serde_json::from_slice::<Report>(bytes) else {
        return;
    };
    show(&report);
    let subject = Subject {
        file: "report",
        report: &report,
        flow: None,
    };
    if let Ok(compared) = compare(subject, subject) {
        let _ = comparison::write(&mut io::sink(), &compared, &TextStyle::default());
    }
}
