//! The path as a ladder: hops by namespace, what changed between them, how many packets came how far and how fast, and
//! where they were lost. Both ways side by side where there is room.

use std::collections::BTreeSet;

use super::Picture;
use crate::model::Latency;
use crate::render::figures::{count, duration};
use crate::render::page::{Line, Page, columns};
use crate::render::style::{Face, Ink};
use crate::report::{FlowReport, HopReport, Outcome, PathReport, Verdict};
use crate::tui::rows::{Row, Target, cut, plain};

/// From this width on the ways stand side by side.
const TWO_WAYS: usize = 150;
/// Space between them.
const BETWEEN: usize = 3;
/// Eighths of a bar.
const EIGHTHS: [&str; 9] = ["", "▏", "▎", "▍", "▌", "▋", "▊", "▉", "█"];
/// A hop whose last packet is younger than this is fresh.
const FRESH_NS: u64 = 400_000_000;

/// The ladders.
pub(super) fn rows(picture: &Picture<'_>) -> Vec<Row> {
    let Some(flow) = picture.flow else {
        return waiting(picture);
    };
    let ways: Vec<(usize, &PathReport)> = picture.paths().collect();
    match ways.as_slice() {
        [first, second, ..] if picture.width >= TWO_WAYS => {
            let width = (picture.width - BETWEEN) / 2;
            let left = way(picture, flow, *first, width);
            let right = way(picture, flow, *second, picture.width - BETWEEN - width);
            beside(left, right, width + BETWEEN)
        }
        ways => {
            let mut rows = Vec::new();
            for path in ways {
                if !rows.is_empty() {
                    rows.push(Row::default());
                }
                rows.extend(way(picture, flow, *path, picture.width));
            }
            rows
        }
    }
}

/// Nothing has come yet: what will be seen, and the evidence and advice that there are.
fn waiting(picture: &Picture<'_>) -> Vec<Row> {
    let mut page = Page::new(picture.width, picture.marks);
    page.gap();
    page.prose(
        Line::default().push(Ink::Plain, "  "),
        Ink::Quiet,
        "No packet has matched yet. Hops appear here as packets pass them.",
    );
    page.gap();
    crate::render::text::verdict::reasons(&mut page, &picture.snapshot.report.verdict);
    plain(page.into_lines()).collect()
}

/// Rows side by side; a row stands for what its left half stands for, else its right half.
fn beside(left: Vec<Row>, right: Vec<Row>, column: usize) -> Vec<Row> {
    let rows = left.len().max(right.len());
    let (mut left, mut right) = (left.into_iter(), right.into_iter());
    (0..rows)
        .map(|_| {
            let (l, r) = (
                left.next().unwrap_or_default(),
                right.next().unwrap_or_default(),
            );
            let mut line = l.line.to(column);
            for (ink, text) in r.line.pieces() {
                line = line.push(ink, text);
            }
            Row {
                line,
                target: l.target.or(r.target),
            }
        })
        .collect()
}

/// Widths of the columns of one way.
struct Columns {
    width: usize,
    interface: usize,
    about: usize,
    bar: usize,
    p99: bool,
    age: bool,
    /// The longest latency of the path: a full bar.
    longest: u64,
}

impl Columns {
    fn of(picture: &Picture<'_>, path: &PathReport, width: usize) -> Self {
        let names = path.hops.iter().map(|hop| columns(&hop.interface));
        let interface = names
            .max()
            .unwrap_or(0)
            .clamp(6, if width < 80 { 12 } else { 18 });
        let longest = path.hops.iter().filter_map(|hop| hop.latency_ns);
        let mut own = Self {
            width,
            interface,
            about: 0,
            bar: 0,
            p99: width >= 64,
            age: width >= 72,
            longest: longest.map(|l| l.p50).max().unwrap_or_default().max(1),
        };
        let spare = width.saturating_sub(own.fixed());
        if spare >= 8 {
            own.bar = 6;
        }
        let about = path.hops.iter().map(|hop| columns(&about(picture, hop)));
        let wanted = about.max().unwrap_or_default();
        own.about = wanted.min(width.saturating_sub(own.fixed() + 2));
        if own.about < 6 {
            own.about = 0;
        }
        own
    }

    /// Columns taken without the words about the interface.
    fn fixed(&self) -> usize {
        // mark, interface, side, packets, loss, p50
        let mut sum = 4 + self.interface + 1 + 4 + 9 + 8 + 9;
        if self.p99 {
            sum += 9;
        }
        if self.age {
            sum += 8;
        }
        if self.bar > 0 {
            sum += self.bar + 1;
        }
        sum
    }
}

/// Kind, master and peer of a hop's interface.
fn about(picture: &Picture<'_>, hop: &HopReport) -> String {
    let namespaces = &picture.snapshot.namespaces;
    let interface = namespaces
        .iter()
        .filter(|ns| ns.name == hop.namespace)
        .flat_map(|ns| &ns.interfaces)
        .find(|i| i.ifindex == hop.ifindex);
    let Some(interface) = interface else {
        return String::new();
    };
    let mut words = Vec::new();
    if !interface.kind.is_empty() {
        words.push(interface.kind.clone());
    }
    if let Some(master) = &interface.master {
        words.push(format!("in {master}"));
    }
    if let Some(peer) = &interface.peer {
        words.push(format!("{} {peer}", picture.marks.to));
    }
    words.join(" ")
}

fn way(
    picture: &Picture<'_>,
    flow: &FlowReport,
    (index, path): (usize, &PathReport),
    width: usize,
) -> Vec<Row> {
    let cols = Columns::of(picture, path, width);
    let mut rows = vec![heading(picture, flow, path, &cols)];
    let end = End::of(flow, index);
    if let Some(end) = end.as_ref().filter(|end| end.after == 0) {
        rows.extend(end.rows(picture, &cols));
    }
    let mut namespace = None;
    let joined = joins(path);
    for (hop, before) in path
        .hops
        .iter()
        .zip(std::iter::once(None).chain(path.hops.iter().map(Some)))
    {
        if namespace != Some(hop.namespace.as_str()) {
            namespace = Some(hop.namespace.as_str());
            rows.push(Row::words(
                Ink::Strong,
                &format!(" {}", cut(&hop.namespace, width - 1, picture.marks.more)),
            ));
        }
        // A hop that does not follow the one above it is a branch.
        if before.is_some_and(|b| !b.next.is_empty() && !b.next.contains(&hop.n)) {
            let from: Vec<String> = path
                .hops
                .iter()
                .filter(|b| b.next.contains(&hop.n))
                .map(|b| b.n.to_string())
                .collect();
            if !from.is_empty() {
                let fork = if picture.marks.micro == "u" {
                    "+-"
                } else {
                    "├─"
                };
                rows.push(Row::words(
                    Ink::Change,
                    &format!(" {fork} branch from hop {}", from.join(" and ")),
                ));
            }
        }
        rows.extend(changes(picture, hop, width));
        rows.push(hop_row(picture, hop, index, &cols, joined.contains(&hop.n)));
        if let Some(end) = end.as_ref().filter(|end| end.after == hop.n) {
            rows.extend(end.rows(picture, &cols));
        }
    }
    rows
}

/// Hops at which branches come together again.
fn joins(path: &PathReport) -> BTreeSet<u32> {
    let mut seen = BTreeSet::new();
    let mut twice = BTreeSet::new();
    for next in path.hops.iter().flat_map(|hop| &hop.next) {
        if !seen.insert(*next) {
            twice.insert(*next);
        }
    }
    twice
}

fn heading(picture: &Picture<'_>, flow: &FlowReport, path: &PathReport, cols: &Columns) -> Row {
    let tuple = path
        .hops
        .first()
        .map(|hop| hop.tuple.as_str())
        .or(flow.tuples.first().map(|tuple| tuple.text.as_str()))
        .unwrap_or_default();
    let fixed = cols.fixed();
    let start = 4 + cols.interface + 1 + 4 + if cols.about > 0 { cols.about + 2 } else { 0 };
    let title = format!(" {} {tuple}", path.direction);
    let title = cut(&title, start.saturating_sub(1), picture.marks.more);
    let mut line = Line::default()
        .push(Ink::Strong, &title)
        .to(start)
        .right(Ink::Quiet, "packets", 9)
        .right(Ink::Quiet, "lost", 8)
        .right(Ink::Quiet, "p50", 9);
    if cols.p99 {
        line = line.right(Ink::Quiet, "p99", 9);
    }
    if cols.bar > 0 {
        line = line.push(Ink::Plain, " ").left(Ink::Quiet, "", cols.bar);
    }
    if cols.age {
        line = line.right(Ink::Quiet, "age", 8);
    }
    debug_assert!(line.width() <= fixed + cols.about + 2);
    Row::text(line)
}

fn hop_row(
    picture: &Picture<'_>,
    hop: &HopReport,
    path: usize,
    cols: &Columns,
    joins: bool,
) -> Row {
    let marks = &picture.marks;
    let ascii = marks.micro == "u";
    let mark = match (ascii, joins) {
        (false, false) => "│",
        (false, true) => "┝",
        (true, _) => "|",
    };
    let side = match hop.hook.as_str() {
        "ingress" => "in",
        _ => "out",
    };
    let now = picture.now_ns();
    let fresh = picture.snapshot.ended.is_none() && now.saturating_sub(hop.last_ns) < FRESH_NS;
    let figure = if fresh { Ink::Strong } else { Ink::Plain };
    let mut line = Line::default()
        .push(Ink::Quiet, " ")
        .push(Ink::Quiet, mark)
        .push(Ink::Plain, "  ")
        .left(
            Ink::Strong,
            &cut(&hop.interface, cols.interface, marks.more),
            cols.interface + 1,
        )
        .left(Ink::Quiet, side, 4);
    if cols.about > 0 {
        let text = cut(&about(picture, hop), cols.about, marks.more);
        line = line.left(Ink::Quiet, &text, cols.about + 2);
    }
    line = line.right(figure, &count(hop.packets), 9);
    line = match hop.lost_after {
        0 => line.right(Ink::Quiet, marks.dot, 8),
        lost => line.right(Ink::Bad, &format!("-{}", count(lost)), 8),
    };
    let latency = |pick: fn(&Latency) -> u64| {
        hop.latency_ns
            .map(|l| duration(pick(&l), marks))
            .unwrap_or_default()
    };
    line = line.right(Ink::Plain, &latency(|l| l.p50), 9);
    if cols.p99 {
        line = line.right(Ink::Quiet, &latency(|l| l.p99), 9);
    }
    if cols.bar > 0 {
        let part = hop.latency_ns.map_or(0, |l| l.p50);
        line = line.push(Ink::Plain, " ").left(
            Ink::Change,
            &bar(part, cols.longest, cols.bar, ascii),
            cols.bar,
        );
    }
    if cols.age {
        let age = duration(now.saturating_sub(hop.last_ns), marks);
        line = line.right(Ink::Quiet, &age, 8);
    }
    Row::of(line, Target::Hop(path, hop.n))
}

/// `part` of `whole` as a bar of at most `width` columns.
fn bar(part: u64, whole: u64, width: usize, ascii: bool) -> String {
    let eighths = u128::from(part) * (width as u128 * 8) / u128::from(whole.max(1));
    let eighths = usize::try_from(eighths).unwrap_or(width * 8).min(width * 8);
    if ascii {
        return "=".repeat(eighths.div_ceil(8));
    }
    let rest = EIGHTHS.get(eighths % 8).copied().unwrap_or_default();
    "█".repeat(eighths / 8) + rest
}

/// Rewrites between two hops; a hop limit alone says only that the packet was routed.
fn changes<'a>(
    picture: &Picture<'_>,
    hop: &'a HopReport,
    width: usize,
) -> impl Iterator<Item = Row> + 'a {
    let marks = picture.marks;
    let to = format!(" {} ", marks.to);
    hop.rewrites
        .iter()
        .filter(|text| !text.starts_with("ttl "))
        .map(move |text| {
            let (verb, rest) = text.split_once(' ').unwrap_or((text, ""));
            let words = format!(
                " {}  {} {}",
                marks.change,
                verb.to_uppercase(),
                rest.replace(" > ", &to)
            );
            Row::words(Ink::Change, &cut(&words, width, marks.more))
        })
}

/// Where the verdict stands in the ladder.
struct End<'a> {
    /// Number of the hop above it; zero for the beginning.
    after: u32,
    verdict: &'a Verdict,
}

impl<'a> End<'a> {
    fn of(flow: &'a FlowReport, path: usize) -> Option<Self> {
        let end = crate::render::text::path::end_of(flow).filter(|end| end.path == path)?;
        Some(Self {
            after: u32::try_from(end.after).ok()?,
            verdict: &flow.verdict,
        })
    }

    /// Outcome, place and count, then the reason in words.
    fn rows(&self, picture: &Picture<'_>, cols: &Columns) -> Vec<Row> {
        let marks = &picture.marks;
        let face = Face::of(self.verdict.outcome);
        let place = self.verdict.place.as_ref();
        let at = place.map_or_else(String::new, |place| {
            let words = [&place.hook, &place.function];
            let words: Vec<&str> = words.into_iter().filter_map(Option::as_deref).collect();
            words.join(" at ")
        });
        let number = match self.verdict.outcome {
            Outcome::Delivered => self.verdict.packets.seen,
            _ => self.verdict.packets.affected,
        };
        let head = format!("{} {at}", face.word);
        let head = format!(" {}  {}", face.mark(marks), head.trim_end());
        let figure = format!(
            "{} of {}",
            count(number),
            count(self.verdict.packets.seen.max(number))
        );
        let room = cols.width.saturating_sub(columns(&figure) + 2);
        let mut rows = vec![Row::text(
            Line::default()
                .push(face.ink, &cut(&head, room, marks.more))
                .push(Ink::Plain, "  ")
                .push(face.ink, &figure),
        )];
        if self.verdict.outcome != Outcome::Delivered {
            let mut page = Page::new(cols.width, *marks);
            page.prose(
                Line::default().push(Ink::Plain, "    "),
                face.ink,
                &self.verdict.summary,
            );
            rows.extend(plain(page.into_lines()));
        }
        rows
    }
}

/// One hop in full.
pub(super) fn open(path: usize, number: u32, picture: &Picture<'_>) -> Option<(String, Vec<Row>)> {
    let path = picture.flow?.paths.get(path)?;
    let hop = path.hops.iter().find(|hop| hop.n == number)?;
    let marks = &picture.marks;
    let mut page = Page::new(picture.width, *marks);
    let mut field = |name: &str, text: &str| {
        let line = Line::default()
            .push(Ink::Plain, " ")
            .left(Ink::Quiet, name, 12);
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
    field("about", &about(picture, hop));
    field("tuple", &hop.tuple);
    field(
        "packets",
        &format!("{}, {} bytes", count(hop.packets), count(hop.bytes)),
    );
    field("lost after", &count(hop.lost_after));
    if let Some(latency) = hop.latency_ns {
        let words = [
            ("median", latency.p50),
            ("p99", latency.p99),
            ("longest", latency.max),
        ]
        .map(|(word, ns)| format!("{word} {}", duration(ns, marks)));
        field("to next", &words.join(", "));
    }
    for rewrite in &hop.rewrites {
        field("changed", rewrite);
    }
    field(
        "last packet",
        &format!(
            "{} ago",
            duration(picture.now_ns().saturating_sub(hop.last_ns), marks)
        ),
    );
    let title = format!("hop {} {}/{}", hop.n, hop.namespace, hop.interface);
    Some((title, plain(page.into_lines()).collect()))
}

#[cfg(test)]
mod tests {
    use super::bar;

    #[test]
    fn bars_are_never_longer_than_their_column() {
        assert_eq!(bar(0, 10, 4, false), "");
        assert_eq!(bar(10, 10, 4, false), "████");
        assert_eq!(bar(5, 10, 4, false), "██");
        assert_eq!(bar(1, 16, 4, false), "▎");
        assert_eq!(bar(99, 10, 4, true), "====");
    }
}
