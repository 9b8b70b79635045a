//! One hop: what is known of its interface, and all of it when it is opened.

use super::super::Picture;
use crate::render::figures::{count, duration};
use crate::render::page::{Line, Page};
use crate::render::style::Ink;
use crate::render::text::path::check_words;
use crate::report::HopReport;
use crate::tui::rows::{Row, plain};
use crate::tui::snapshot::Interface;

fn interface<'a>(picture: &Picture<'a>, hop: &HopReport) -> Option<&'a Interface> {
    let namespaces = picture.snapshot.namespaces.iter();
    namespaces
        .filter(|ns| ns.name == hop.namespace)
        .flat_map(|ns| &ns.interfaces)
        .find(|interface| interface.ifindex == hop.ifindex)
}

/// Kind, master and peer of a hop's interface.
pub(super) fn about(picture: &Picture<'_>, hop: &HopReport) -> String {
    interface(picture, hop).map_or_else(String::new, |i| i.relations(picture.marks.to))
}

/// One hop in full.
pub(in crate::tui::view) fn open(
    path: usize,
    number: u32,
    picture: &Picture<'_>,
) -> Option<(String, Vec<Row>)> {
    let path = picture.flow?.paths.get(path)?;
    let hop = path.hops.iter().find(|hop| hop.n == number)?;
    let marks = &picture.marks;
    let mut page = Page::new(picture.width, *marks);
    let mut field = |name: &str, text: &str| {
        let line = Line::default()
            .push(Ink::Plain, " ")
            .left(Ink::Quiet, name, 15);
        page.prose(line, Ink::Plain, text);
    };
    field(
        "interface",
        &format!(
            "{}/{} (number {})",
            hop.namespace, hop.interface, hop.ifindex
        ),
    );
    field("hook", &hop.hook);
    if let Some(interface) = interface(picture, hop) {
        field("about", &interface.relations(marks.to));
        field("mtu", &interface.mtu.to_string());
        for address in &interface.addresses {
            field("address", address);
        }
    }
    field("tuple", &hop.tuple);
    field(
        "packets",
        &format!("{}, {} bytes", count(hop.packets), count(hop.bytes)),
    );
    field("lost after it", &count(hop.lost_after));
    if let Some(latency) = hop.latency_ns {
        let words = [
            ("median", latency.p50),
            ("p99", latency.p99),
            ("longest", latency.max),
        ]
        .map(|(word, ns)| format!("{word} {}", duration(ns, marks)));
        field("to the next", &words.join(", "));
    }
    for rewrite in &hop.rewrites {
        field("changed", rewrite);
    }
    let places = hop.next.iter().filter_map(|n| {
        let next = path.hops.iter().find(|hop| hop.n == *n)?;
        Some(format!("{}/{}", next.namespace, next.interface))
    });
    for place in places {
        field("next", &place);
    }
    for check in &hop.checks {
        let (hook, text) = check_words(check, marks);
        field(&hook, &text);
    }
    let age = picture.now_ns().saturating_sub(hop.last_ns);
    field("last packet", &format!("{} ago", duration(age, marks)));
    let title = format!("hop {} {}/{}", hop.n, hop.namespace, hop.interface);
    Some((title, plain(page.into_lines()).collect()))
}
