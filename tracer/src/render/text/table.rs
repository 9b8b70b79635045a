//! Aligned rows: how wide each column is, which of them have room, and how a row looks. Knows rows, not reports.

use crate::render::page::{Line, Page, columns};
use crate::render::style::Ink;

/// Columns before the first cell: number or mark, and space.
const START: usize = 4;
/// Space between cells.
const SPACE: usize = 2;
/// Room for the hook of a check: `POSTROUTING` and space.
const HOOK: usize = 13;
/// Between what became of packets and the kernel function that did it.
pub(super) const AT: &str = " at ";

/// One row.
pub(super) enum Row<'a> {
    /// A heading of its own: the way back.
    Way(&'a str, &'a str),
    /// What changed before the next hop.
    Change(String),
    /// What was checked: hook, and the rest.
    Check((String, String)),
    /// A place.
    Hop(Cells),
    /// Where packets ended: mark and colour, place, count, and what became of them.
    End(&'static str, Ink, Cells),
    /// Plain words.
    Note(String),
}

/// The cells of a hop or of an end. Of an end, `next` is what became of the packets, and may be long.
#[derive(Default)]
pub(super) struct Cells {
    pub(super) number: String,
    pub(super) namespace: String,
    pub(super) interface: String,
    pub(super) hook: String,
    pub(super) tuple: String,
    pub(super) packets: String,
    pub(super) next: String,
    pub(super) slowest: String,
    pub(super) hops_left: String,
}

/// Widths of the columns; `None` for those that have no room.
struct Widths {
    namespace: usize,
    interface: usize,
    hook: usize,
    tuple: Option<usize>,
    packets: usize,
    next: Option<usize>,
    slowest: Option<usize>,
}

/// Draws rows under one heading.
pub(super) fn draw(page: &mut Page, rows: Vec<Row<'_>>) {
    let widths = widths(page, &rows);
    if rows.iter().any(|row| matches!(row, Row::Hop(_))) {
        heading(page, &widths);
    }
    for row in rows {
        draw_row(page, &widths, row);
    }
}

fn widths(page: &Page, rows: &[Row<'_>]) -> Widths {
    let all = || {
        rows.iter().filter_map(|row| match row {
            Row::Hop(cells) => Some((cells, true)),
            Row::End(_, _, cells) if !cells.packets.is_empty() || !cells.hook.is_empty() => {
                Some((cells, false))
            }
            _ => None,
        })
    };
    let widest = |title: &str, cell: fn(&Cells) -> &String| {
        let cells = all().map(|(cells, _)| columns(cell(cells)));
        cells.max().unwrap_or(0).max(title.len())
    };
    // what became of packets may be longer than its column: nothing follows it
    let of_hops = |title: &str, cell: fn(&Cells) -> &String| {
        let cells = all().filter(|(_, hop)| *hop);
        let cells = cells.map(|(cells, _)| columns(cell(cells)));
        cells.max().unwrap_or(0).max(title.len())
    };
    let measured = all().any(|(cells, hop)| hop && !cells.next.is_empty());
    let mut widths = Widths {
        namespace: widest("namespace", |c| &c.namespace),
        interface: widest("interface", |c| &c.interface),
        hook: widest("hook", |c| &c.hook),
        tuple: None,
        packets: widest("packets", |c| &c.packets),
        next: measured.then(|| of_hops("to next", |c| &c.next)),
        slowest: None,
    };
    let room = |widths: &Widths| page.width().saturating_sub(widths.sum());
    // too narrow: names give way, to a limit
    let over = widths.sum().saturating_sub(page.width());
    let least = widths.namespace.min(9);
    widths.namespace = widths.namespace.saturating_sub(over).max(least);
    let over = widths.sum().saturating_sub(page.width());
    let least = widths.interface.min(9);
    widths.interface = widths.interface.saturating_sub(over).max(least);
    let tuple = of_hops("tuple", |c| &c.tuple);
    if room(&widths) >= tuple + SPACE {
        widths.tuple = Some(tuple);
    }
    let slowest = of_hops("p99", |c| &c.slowest);
    if measured && room(&widths) >= slowest + SPACE {
        widths.slowest = Some(slowest);
    }
    widths
}

impl Widths {
    fn sum(&self) -> usize {
        let cells = [self.namespace, self.interface, self.hook, self.packets];
        let optional = [self.tuple, self.next, self.slowest];
        let optional = optional.into_iter().flatten().map(|width| width + SPACE);
        START + cells.iter().sum::<usize>() + SPACE * 3 + optional.sum::<usize>()
    }
}

/// The colours of a row's cells.
struct Inks {
    mark: Ink,
    name: Ink,
    text: Ink,
}

fn heading(page: &mut Page, widths: &Widths) {
    let cells = Cells {
        number: "#".into(),
        namespace: "namespace".into(),
        interface: "interface".into(),
        hook: "hook".into(),
        tuple: "tuple".into(),
        packets: "packets".into(),
        next: "to next".into(),
        slowest: "p99".into(),
        hops_left: String::new(),
    };
    let inks = Inks {
        mark: Ink::Quiet,
        name: Ink::Quiet,
        text: Ink::Quiet,
    };
    let line = place(page, widths, &cells, &inks);
    page.line(figures(page, line, widths, &cells));
}

fn draw_row(page: &mut Page, widths: &Widths, row: Row<'_>) {
    match row {
        Row::Way(direction, tuple) => {
            page.gap();
            let line = Line::default().push(Ink::Quiet, direction);
            page.line(line.push(Ink::Plain, "  ").push(Ink::Strong, tuple));
        }
        Row::Change(text) => {
            let line = Line::default()
                .to(START)
                .push(Ink::Change, page.marks.change);
            page.prose(line.push(Ink::Change, " "), Ink::Change, &text);
        }
        Row::Check((hook, text)) => {
            let line = Line::default()
                .to(START + SPACE)
                .left(Ink::Quiet, &hook, HOOK);
            page.prose(line, Ink::Quiet, &text);
        }
        Row::Note(text) => {
            let line = Line::default().right(Ink::Quiet, page.marks.more, START - SPACE);
            page.line(line.to(START).push(Ink::Quiet, &text));
        }
        Row::Hop(cells) => {
            let inks = Inks {
                mark: Ink::Quiet,
                name: Ink::Strong,
                text: Ink::Plain,
            };
            let line = place(page, widths, &cells, &inks);
            page.line(figures(page, line, widths, &cells));
        }
        Row::End(mark, ink, mut cells) => {
            cells.number = mark.into();
            let inks = Inks {
                mark: ink,
                name: ink,
                text: ink,
            };
            let line = place(page, widths, &cells, &inks);
            page.line(outcome(page, line, widths, &cells, ink));
        }
    }
}

/// Number, namespace, interface, hook and tuple.
fn place(page: &Page, widths: &Widths, cells: &Cells, inks: &Inks) -> Line {
    let namespace = page.shorten(&cells.namespace, widths.namespace);
    let interface = page.shorten(&cells.interface, widths.interface);
    let line = Line::default()
        .right(inks.mark, &cells.number, START - SPACE)
        .to(START)
        .left(inks.text, &namespace, widths.namespace + SPACE)
        .left(inks.name, &interface, widths.interface + SPACE)
        .left(inks.text, &cells.hook, widths.hook + SPACE);
    match widths.tuple {
        Some(width) => line.left(inks.text, &cells.tuple, width + SPACE),
        None => line,
    }
}

/// Packets and latencies.
fn figures(page: &Page, line: Line, widths: &Widths, cells: &Cells) -> Line {
    let ink = if cells.number == "#" {
        Ink::Quiet
    } else {
        Ink::Plain
    };
    let mut line = line.right(ink, &cells.packets, widths.packets);
    if let Some(width) = widths.next {
        line = line.right(ink, &cells.next, width + SPACE);
    }
    if let Some(width) = widths.slowest {
        line = line.right(Ink::Quiet, &cells.slowest, width + SPACE);
    }
    let left = columns(&cells.hops_left);
    if left > 0 && line.width() + SPACE + left <= page.width() {
        let column = line.width() + SPACE;
        line = line.to(column).push(Ink::Quiet, &cells.hops_left);
    }
    line
}

/// How many packets ended here, and how; the function only where it has room.
fn outcome(page: &Page, line: Line, widths: &Widths, cells: &Cells, ink: Ink) -> Line {
    if cells.packets.is_empty() && cells.next.is_empty() {
        return line;
    }
    let line = line
        .right(ink, &cells.packets, widths.packets)
        .push(ink, "  ");
    let short = cells
        .next
        .split_once(AT)
        .map_or(cells.next.as_str(), |(word, _)| word);
    let fits = line.width() + columns(&cells.next) <= page.width();
    line.push(ink, if fits { &cells.next } else { short })
}
