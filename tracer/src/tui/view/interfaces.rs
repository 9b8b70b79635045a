//! Namespaces and their interfaces as a tree, with the packets of the followed flows at each.

use super::Picture;
use crate::render::figures::count;
use crate::render::page::{Line, Page};
use crate::render::style::Ink;
use crate::tui::rows::{Row, Target, cut, plain};
use crate::tui::snapshot::Interface;

/// The rows.
pub(super) fn rows(picture: &Picture<'_>) -> Vec<Row> {
    let mut rows = Vec::new();
    for namespace in &picture.snapshot.namespaces {
        let used = namespace.interfaces.iter().any(|i| i.packets != (0, 0));
        let ink = if used { Ink::Strong } else { Ink::Plain };
        rows.push(Row::words(ink, &format!(" {}", namespace.name)));
        let names = namespace
            .interfaces
            .iter()
            .map(|i| crate::render::page::columns(&i.name));
        let width = names.max().unwrap_or_default().clamp(4, 18);
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

/// Kind, master and peer.
fn relations(interface: &Interface, to: &str) -> String {
    let mut words: Vec<String> = Vec::new();
    if !interface.kind.is_empty() {
        words.push(interface.kind.clone());
    }
    words.extend(
        interface
            .master
            .as_ref()
            .map(|master| format!("in {master}")),
    );
    words.extend(interface.peer.as_ref().map(|peer| format!("{to} {peer}")));
    words.join(" ")
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
    let mut rest = vec![relations(interface, marks.to)];
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
    field("about", &relations(interface, picture.marks.to));
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
