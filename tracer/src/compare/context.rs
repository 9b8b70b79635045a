//! What the reports' `context` lines say of one thing: a key by which two lines are of the same thing, and a value that
//! may differ.

use std::collections::BTreeMap;

use crate::report::{ContextEntry, Report};

/// Namespace as reports write it, with the node before it where there are several.
pub(super) fn spot(entry: &ContextEntry) -> String {
    let namespace = entry.namespace.as_deref().unwrap_or_default();
    crate::verdict::spot(entry.node.as_deref(), namespace).into_owned()
}

/// Kinds of interfaces (`veth`, `bridge` …) by namespace and name, where the report tells.
pub(super) type Kinds = BTreeMap<(String, String), String>;

/// Reads them from the `link` lines: `cni0 bridge mac … mtu 1450 up`.
pub(super) fn kinds(report: &Report) -> Kinds {
    let links = report.context.iter().filter(|entry| entry.kind == "link");
    links
        .filter_map(|entry| {
            let mut words = entry.text.split(' ');
            let name = words.next()?;
            let kind = words
                .next()
                .filter(|word| !matches!(*word, "mac" | "mtu"))?;
            Some(((spot(entry), name.to_owned()), kind.to_owned()))
        })
        .collect()
}

/// The value of what is there or not.
const PRESENT: &str = "there";

/// How to read the lines of one kind.
pub(super) struct Reading {
    /// The kind.
    pub(super) kind: &'static str,
    /// What the lines are about, before the key.
    pub(super) what: &'static str,
    /// Key and value of a line; none for what is not compared.
    pub(super) split: fn(&str) -> Option<(String, String)>,
    /// Whether a line (kind, text) proves that all of this kind were read: one that is missing then is not there.
    pub(super) proof: fn(&str, &str) -> bool,
}

/// Lines of one kind that a report can hold: with so many, some may have been left out.
const MOST: usize = 64;

impl Reading {
    /// Whether all of this kind were read in a namespace.
    pub(super) fn all_read(&self, report: &Report, place: &str) -> bool {
        let count = report
            .context
            .iter()
            .filter(|entry| entry.kind == self.kind);
        let mut here = report.context.iter().filter(|entry| spot(entry) == place);
        count.count() < MOST && here.any(|entry| (self.proof)(&entry.kind, &entry.text))
    }
}

/// Kinds that are compared. Others are of one moment or one packet.
pub(super) const READINGS: &[Reading] = &[
    reading("route", "the route to", route),
    Reading {
        proof: |kind, text| kind == "rule" && routing_rule(text).is_some(),
        ..reading("rule", "routing rule", routing_rule)
    },
    reading("table", "tables for", table),
    reading("neighbor", "neighbour", neighbor),
    reading("fdb", "forwarding of", colon),
    reading("sysctl", "", sysctl),
    Reading {
        proof: |kind, _| kind == "chain",
        ..reading("chain", "chain", colon)
    },
    Reading {
        proof: |kind, _| kind == "chain",
        ..reading("rule", "rule of", filter_rule)
    },
    reading("socket", "listener on", socket),
    reading("program", "", colon),
    Reading {
        proof: |kind, _| kind == "policy",
        ..reading("policy", "IPsec policy", itself)
    },
];

const fn reading(
    kind: &'static str,
    what: &'static str,
    split: fn(&str) -> Option<(String, String)>,
) -> Reading {
    Reading {
        kind,
        what,
        split,
        proof: |_, _| false,
    }
}

fn split(text: &str, at: &str) -> Option<(String, String)> {
    let (key, value) = text.split_once(at)?;
    Some((key.to_owned(), value.to_owned()))
}

fn colon(text: &str) -> Option<(String, String)> {
    split(text, ": ")
}

fn sysctl(text: &str) -> Option<(String, String)> {
    split(text, " = ")
}

fn itself(text: &str) -> Option<(String, String)> {
    Some((text.to_owned(), PRESENT.to_owned()))
}

/// `icmp 10.1.0.1 > 10.2.0.1 id 7 from eth0: unicast via …`: of the destination, for sources and numbers of two runs differ.
fn route(text: &str) -> Option<(String, String)> {
    let (asked, result) = text.split_once(": ")?;
    let (_, towards) = asked.split_once(" > ")?;
    let end = towards.split(' ').next()?;
    let from = towards.split_once(" from ").map(|(_, from)| from);
    let address = host_of(end);
    let key = match from {
        Some(from) => format!("{address} from {from}"),
        None => address.to_owned(),
    };
    Some((key, without(result, "src")))
}

/// An endpoint without its port.
pub(super) fn host_of(end: &str) -> &str {
    match end.strip_prefix('[') {
        Some(rest) => rest.split(']').next().unwrap_or(rest),
        // more than one colon: an IPv6 address alone
        None if end.matches(':').count() > 1 => end,
        None => end.split(':').next().unwrap_or(end),
    }
}

/// Without the word and the one behind it.
fn without(text: &str, word: &str) -> String {
    let mut words = text.split(' ');
    let mut kept = Vec::new();
    while let Some(next) = words.next() {
        if next == word {
            words.next();
        } else {
            kept.push(next);
        }
    }
    kept.join(" ")
}

/// `100: from all lookup 5`.
fn routing_rule(text: &str) -> Option<(String, String)> {
    let (priority, _) = text.split_once(": ")?;
    let digits = priority.bytes().all(|byte| byte.is_ascii_digit());
    digits.then(|| (text.to_owned(), PRESENT.to_owned()))
}

/// `ip filter FORWARD handle 7, 3 packets: …`. Handles and counts of two runs differ.
fn filter_rule(text: &str) -> Option<(String, String)> {
    let (head, rule) = text.split_once(": ")?;
    let numbered = [" handle ", " number "];
    let (chain, _) = numbered.iter().find_map(|word| head.split_once(word))?;
    Some((format!("{chain}: {rule}"), PRESENT.to_owned()))
}

/// `holds 10.0.0.1: unicast …`: several lines may hold it.
fn table(text: &str) -> Option<(String, String)> {
    colon(text.strip_prefix("holds ")?)
}

/// `10.0.0.1 dev eth0 lladdr … REACHABLE`. States in which it is known are all the same here.
fn neighbor(text: &str) -> Option<(String, String)> {
    let (address, rest) = text.split_once(" dev ")?;
    let mut words = rest.split(' ');
    let interface = words.next()?;
    let value: Vec<&str> = words
        .map(|word| match word {
            "REACHABLE" | "STALE" | "DELAY" | "PROBE" => "known",
            word => word,
        })
        .collect();
    Some((format!("{address} on {interface}"), value.join(" ")))
}

/// `tcp port 80: no socket`, else what listens there; queues and processes of two runs differ.
fn socket(text: &str) -> Option<(String, String)> {
    let (port, socket) = text.split_once(": ")?;
    if socket.contains(" to ") {
        return None; // connected
    }
    let address = socket.split(',').next().unwrap_or(socket);
    Some((port.to_owned(), address.to_owned()))
}

/// Values by key of one kind in one namespace; several lines with the same key are one value.
pub(super) fn values(report: &Report, reading: &Reading, place: &str) -> BTreeMap<String, String> {
    let mut values: BTreeMap<String, Vec<String>> = BTreeMap::new();
    let lines = report
        .context
        .iter()
        .filter(|entry| entry.kind == reading.kind);
    for entry in lines.filter(|entry| spot(entry) == place) {
        if let Some((key, value)) = (reading.split)(&entry.text) {
            values.entry(key).or_default().push(value);
        }
    }
    values
        .into_iter()
        .map(|(key, mut list)| {
            list.sort();
            list.dedup();
            (key, list.join("; "))
        })
        .collect()
}

/// What a `link` line says of an interface, MAC left out: its words.
pub(super) fn link<'a>(report: &'a Report, place: &str, name: &str) -> Option<Vec<&'a str>> {
    let mut links = report.context.iter().filter(|entry| entry.kind == "link");
    let entry =
        links.find(|entry| spot(entry) == place && entry.text.split(' ').next() == Some(name))?;
    Some(entry.text.split(' ').skip(1).collect())
}
