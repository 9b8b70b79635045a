//! Namespaces and their interfaces as a tree, with the packets of the followed flows at each.

use super::Picture;
use crate::render::figures::count;
use crate::render::page::{Line, Page, columns};
use crate::render::style::Ink;
use crate::tui::rows::{Row, Target, cut, plain};
use crate::tui::snapshot::{Interface, Namespace};

/// The rows.
pub(super) fn rows(picture: &Picture<'_>) -> Vec<Row> {
    let is_used = |ns: &&Namespace| ns.interfaces.iter().any(|i| i.packets != (0, 0));
    let all = || picture.snapshot.namespaces.iter();
    // those that the flows pass stand first, for there may be hundreds of others
    let in_order = all().filter(is_used).chain(all().filter(|ns| !is_used(ns)));
    let names = all().flat_map(|ns| &ns.interfaces);
    let width = names.map(|i| columns(&i.name)).max().unwrap_or_default();
    let width = width.clamp(4, if picture.width < 80 { 12 } else { 18 });
    let mut rows = Vec::new();
    for namespace in in_order {
        let ink = if is_used(&namespace) {
            Ink::Strong
        } else {
            Ink::Plain
        };
        rows.push(Row::words(ink, &format!(" {}", namespace.name)));
        for interface in &namespace.interfaces {
            let target = Target::Interface(namespace.name.clone(), interface.ifindex);
            rows.push(Row::of(line(interface, width, picture), target));
        }
    }
    rows
}

fn state(interface: &Interface) -> (Ink, &'static str) {
    match interface.state {
        (false, _) => (Ink::Doubt, "down"),
        (true, false) => (Ink::Doubt, "no carrier"),
        (true, true) => (Ink::Quiet, "up"),
    }
}

fn line(interface: &Interface, width: usize, picture: &Picture<'_>) -> Line {
    let marks = &picture.marks;
    let (into, out) = interface.packets;
    let used = (into, out) != (0, 0);
    let (ink, mark) = if used {
        (Ink::Good, marks.to)
    } else {
        (Ink::Quiet, marks.dot)
    };
    let (state_ink, state) = state(interface);
    let packets = if used {
        format!("{} in, {} out", count(into), count(out))
    } else {
        String::new()
    };
    let head = Line::default()
        .push(Ink::Plain, "  ")
        .push(ink, mark)
        .push(Ink::Plain, " ")
        .left(
            if used { Ink::Strong } else { Ink::Plain },
            &cut(&interface.name, width, marks.more),
            width + 2,
        )
        .left(state_ink, state, 11)
        .left(
            Ink::Good,
            &packets,
            if picture.width >= 80 { 20 } else { 16 },
        );
    let mut rest = vec![interface.relations(marks.to)];
    rest.push(interface.addresses.join(" "));
    rest.push(format!("mtu {}", interface.mtu));
    rest.extend(interface.mac.clone());
    rest.retain(|text| !text.is_empty());
    let room = picture.width.saturating_sub(head.width());
    head.push(Ink::Quiet, &cut(&rest.join("  "), room, marks.more))
}

/// One interface in full.
pub(super) fn open(
    namespace: &str,
    ifindex: u32,
    picture: &Picture<'_>,
) -> Option<(String, Vec<Row>)> {
    let spaces = &picture.snapshot.namespaces;
    let interface = spaces
        .iter()
        .filter(|ns| ns.name == namespace)
        .flat_map(|ns| &ns.interfaces)
        .find(|i| i.ifindex == ifindex)?;
    let mut page = Page::new(picture.width, picture.marks);
    let mut field = |name: &str, text: &str| {
        let line = Line::default()
            .push(Ink::Plain, " ")
            .left(Ink::Quiet, name, 12);
        page.prose(line, Ink::Plain, text);
    };
    field("number", &ifindex.to_string());
    field("state", state(interface).1);
    field("about", &interface.relations(picture.marks.to));
    field("mtu", &interface.mtu.to_string());
    field("mac", interface.mac.as_deref().unwrap_or("none"));
    for address in &interface.addresses {
        field("address", address);
    }
    let (into, out) = interface.packets;
    field(
        "packets",
        &format!("{} entering, {} leaving", count(into), count(out)),
    );
    Some((
        format!("{namespace}/{}", interface.name),
        plain(page.into_lines()).collect(),
    ))
}
