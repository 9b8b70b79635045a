//! Two flows side by side as text for a person: the answer first, then the paths hop beside hop, then what differs, why
//! BAD failed and what to type.
//!
//! ```text
//! the answer in one line
//! GOOD, BAD: what was asked, what became of it
//!
//! forward                      GOOD left, BAD right, and the place where they part
//!
//! what differs
//! evidence and advice of BAD
//! ```
//! Marks before a row: `=` the same place, `~` another place with the same part, `<` GOOD alone, `>` BAD alone.

use std::io::{self, Write};

use super::figures::counted;
use super::page::{Line, Page, columns};
use super::style::{ASCII, Face, Ink, UNICODE};
use super::text::{TextStyle, verdict};
use crate::compare::{Comparison, Difference, End, Parting, PathPair, Relation, Row, Side};
use crate::report::HopReport;

/// Narrower than this, two columns would be all ellipsis.
const NARROWEST: usize = 40;
/// Most rows of a path: of more, those at both ends of what goes before the parting, and some behind it.
const ROWS: usize = 48;
/// Rows shown behind the parting, of a path that is too long.
const BEHIND: usize = 8;
/// Columns before GOOD's hop, and between it and BAD's.
const MARGIN: usize = 2;

/// Writes the comparison. `style.flows` means nothing here.
///
/// # Errors
/// Those of the writer.
pub fn write(out: &mut impl Write, comparison: &Comparison, style: &TextStyle) -> io::Result<()> {
    let marks = if style.ascii { ASCII } else { UNICODE };
    let mut page = Page::new(style.width.max(NARROWEST), marks);
    headline(&mut page, comparison);
    for (name, side) in comparison.sides() {
        introduce(&mut page, name, side);
    }
    for note in &comparison.notes {
        let line = Line::default().push(Ink::Doubt, "  ! ");
        prose(&mut page, line, Ink::Plain, note);
    }
    for path in &comparison.paths {
        page.gap();
        if let Some((one, other)) = unanswered(comparison, path) {
            let text = format!(
                "{one} is answered over {}, {other} is not",
                counted(path.rows.len() as u64, "hop")
            );
            page.prose(
                Line::default().left(Ink::Strong, "reply", 7),
                Ink::Plain,
                &text,
            );
            continue;
        }
        rows(&mut page, comparison, path);
    }
    differences(&mut page, &comparison.differences);
    if !comparison.bad.delivered() {
        page.gap();
        let face = Face::of(comparison.bad.verdict.outcome);
        let line = Line::default()
            .push(Ink::Strong, "BAD  ")
            .push(face.ink, face.mark(&page.marks))
            .push(face.ink, " ")
            .push(face.ink, face.word)
            .push(Ink::Plain, "  ");
        let cause = comparison.bad.verdict.cause.as_deref().unwrap_or_default();
        page.line(line.push(Ink::Plain, cause));
        verdict::reasons(&mut page, &comparison.bad.verdict);
    }
    page.write(out, style.color)
}

/// Prose of our own, whose arrows and ellipses are those of the page.
fn prose(page: &mut Page, first: Line, ink: Ink, text: &str) {
    let text = text
        .replace('→', page.marks.to)
        .replace('…', page.marks.more);
    let text = text.replace('µ', page.marks.micro);
    page.prose(first, ink, &text);
}

fn headline(page: &mut Page, comparison: &Comparison) {
    let (mark, ink, word) = match &comparison.parting {
        Some(_) => (page.marks.bad, Ink::Bad, "PATHS DIVERGE"),
        None => (page.marks.good, Ink::Good, "NO DIVERGENCE"),
    };
    let line = Line::default()
        .push(ink, mark)
        .push(ink, " ")
        .push(ink, word)
        .push(ink, "  ");
    prose(page, line, Ink::Strong, &comparison.summary);
}

fn introduce(page: &mut Page, name: &str, side: &Side) {
    let face = Face::of(side.verdict.outcome);
    let line = Line::default()
        .push(Ink::Plain, "  ")
        .left(Ink::Strong, name, 6)
        .push(face.ink, face.mark(&page.marks))
        .push(face.ink, " ")
        .push(face.ink, face.word)
        .push(Ink::Plain, "  ");
    let asked = side.tuple.as_deref().unwrap_or(&side.expression);
    let flow = match side.flow {
        Some(flow) if side.flows > 1 => format!(", flow {flow} of {}", side.flows),
        _ => String::new(),
    };
    let host = &side.host.hostname;
    page.prose(line, Ink::Plain, &format!("{asked}{flow}"));
    let line = Line::default().push(Ink::Plain, "        ");
    page.prose(line, Ink::Quiet, &format!("{}, {host}", side.file));
}

/// Who is answered and who is not, where the other never came to be asked.
fn unanswered(comparison: &Comparison, path: &PathPair) -> Option<(&'static str, &'static str)> {
    let parting = comparison.parting.as_ref()?;
    let one = path.rows.first()?.relation;
    let only = path.rows.iter().all(|row| row.relation == one);
    match one {
        _ if !only || parting.direction == path.direction => None,
        Relation::GoodOnly => Some(("GOOD", "BAD")),
        Relation::BadOnly => Some(("BAD", "GOOD")),
        Relation::Same | Relation::Alike => None,
    }
}

/// A path, hop beside hop.
fn rows(page: &mut Page, comparison: &Comparison, path: &PathPair) {
    let parting = comparison
        .parting
        .as_ref()
        .filter(|parting| parting.direction == path.direction);
    let cells: Vec<[Cell; 2]> = path.rows.iter().map(cells).collect();
    let most = page.width().saturating_sub(2 * MARGIN) / 2;
    let widths = cells.iter().flatten().map(|cell| cell.width(page));
    let needed = widths.max().unwrap_or(0);
    let width = needed.min(most).max(12);
    let head = Line::default()
        .left(Ink::Quiet, "", MARGIN)
        .left(Ink::Strong, &format!("GOOD {}", path.direction), width)
        .push(Ink::Plain, "  ")
        .push(Ink::Strong, &format!("BAD {}", path.direction));
    page.line(head);
    let part_row = parting.map(|parting| parting.after_row);
    if part_row == Some(None) {
        part(page, comparison, parting);
    }
    let mut skipping = 0;
    for (i, (row, cells)) in path.rows.iter().zip(&cells).enumerate() {
        let last_common = part_row.flatten();
        if is_shown(i, path.rows.len(), last_common) {
            skipping = 0;
            draw(
                page,
                row,
                cells,
                width,
                last_common.is_some_and(|last| i > last),
            );
        } else {
            if skipping == 0 {
                let line = Line::default().push(Ink::Quiet, page.marks.more);
                page.line(line.push(Ink::Quiet, " more rows are in --json"));
            }
            skipping += 1;
        }
        ends(page, comparison, path, row, width);
        if last_common == Some(i) {
            part(page, comparison, parting);
        }
    }
}

/// Of a long path the beginning, and what is around the parting, or the end.
fn is_shown(row: usize, rows: usize, parting: Option<usize>) -> bool {
    let last = parting.map_or(rows, |at| at + BEHIND);
    rows <= ROWS || row < ROWS / 4 || (row <= last && row + ROWS / 2 > last)
}

/// Says that they part here.
fn part(page: &mut Page, comparison: &Comparison, parting: Option<&Parting>) {
    let Some(parting) = parting else { return };
    let mark = page.marks.bad;
    let begins = [mark, " "].into_iter().zip([&parting.good, &parting.bad]);
    for ((name, side), (begin, words)) in comparison.sides().into_iter().zip(begins) {
        let line = Line::default()
            .left(Ink::Bad, begin, MARGIN)
            .left(Ink::Strong, name, 5);
        let ink = if side.delivered() {
            Ink::Good
        } else {
            Ink::Bad
        };
        prose(page, line, ink, words);
    }
}

/// One hop of one side.
#[derive(Default)]
struct Cell {
    number: String,
    place: String,
    hook: String,
    changes: Vec<String>,
}

impl Cell {
    fn of(hop: &HopReport) -> Self {
        let changes = hop.rewrites.iter().filter(|text| !text.starts_with("ttl "));
        Self {
            number: hop.n.to_string(),
            place: format!("{}/{}", hop.spot(), hop.interface),
            hook: hop.hook.clone(),
            changes: changes.cloned().collect(),
        }
    }

    /// Of `12 node1/eth0 ingress`, and of what changed on the way there.
    fn width(&self, page: &Page) -> usize {
        let changes = self.changes.iter().map(|text| columns(&change(page, text)));
        let place = 2 + 1 + columns(&self.place) + 1 + columns(&self.hook);
        changes.max().unwrap_or(0).max(place)
    }

    fn draw(&self, page: &Page, line: Line, ink: Ink, width: usize) -> Line {
        if self.place.is_empty() {
            return line.left(Ink::Quiet, "", width);
        }
        let room = width.saturating_sub(4 + columns(&self.hook));
        let text = format!(
            "{:>2} {} {}",
            self.number,
            page.shorten(&self.place, room),
            self.hook
        );
        line.left(ink, &text, width)
    }
}

fn cells(row: &Row) -> [Cell; 2] {
    [&row.good, &row.bad].map(|hop| hop.as_ref().map(Cell::of).unwrap_or_default())
}

/// Both hops of a row, and below them what changed on the way to each.
fn draw(page: &mut Page, row: &Row, [good, bad]: &[Cell; 2], width: usize, apart: bool) {
    let (mark, ink) = match row.relation {
        Relation::Same => ("=", Ink::Quiet),
        Relation::Alike => ("~", Ink::Quiet),
        Relation::GoodOnly => ("<", Ink::Good),
        Relation::BadOnly => (">", Ink::Bad),
    };
    let text = if apart { Ink::Quiet } else { Ink::Plain };
    for i in 0..good.changes.len().max(bad.changes.len()) {
        let mut line = Line::default().left(Ink::Quiet, "", MARGIN);
        for (cell, last) in [(good, false), (bad, true)] {
            let text = cell
                .changes
                .get(i)
                .map_or(String::new(), |text| change(page, text));
            let text = page.shorten(&text, width);
            line = if last {
                line.push(Ink::Change, &text)
            } else {
                line.left(Ink::Change, &text, width).push(Ink::Plain, "  ")
            };
        }
        page.line(line);
    }
    let line = Line::default().left(ink, mark, MARGIN);
    let line = good.draw(page, line, text, width).push(Ink::Plain, "  ");
    let line = bad.draw(page, line, text, width);
    page.line(line);
}

/// `   ↳ DNAT 10.96.0.1:443 → 10.0.0.5:6443`.
fn change(page: &Page, text: &str) -> String {
    let to = format!(" {} ", page.marks.to);
    let (verb, rest) = text.split_once(' ').unwrap_or((text, ""));
    let rest = rest.replace(" > ", &to);
    format!("   {} {} {rest}", page.marks.change, verb.to_uppercase())
}

/// The outcomes of the sides that end behind this row.
fn ends(page: &mut Page, comparison: &Comparison, path: &PathPair, row: &Row, width: usize) {
    let word = |side: &Side, hop: Option<&HopReport>| {
        let here = |end: &End| {
            end.direction == path.direction && hop.is_some_and(|hop| hop.n == end.after)
        };
        let face = Face::of(side.verdict.outcome);
        let end = side.end.as_ref().filter(|end| here(end));
        end.map(|_| {
            (
                face.ink,
                format!(" {} {}", face.mark(&page.marks), face.word),
            )
        })
    };
    let good = word(&comparison.good, row.good.as_ref());
    let bad = word(&comparison.bad, row.bad.as_ref());
    if good.is_none() && bad.is_none() {
        return;
    }
    let mut line = Line::default().left(Ink::Plain, "", MARGIN);
    let (ink, text) = good.unwrap_or((Ink::Plain, String::new()));
    line = line.left(ink, &text, width).push(Ink::Plain, "  ");
    let (ink, text) = bad.unwrap_or((Ink::Plain, String::new()));
    page.line(line.push(ink, &text));
}

/// What differs: what, where, and the two values.
fn differences(page: &mut Page, differences: &[Difference]) {
    let mut at_parting = None;
    for difference in differences {
        if at_parting != Some(difference.at_parting) {
            let head = if difference.at_parting {
                "different there"
            } else {
                "different elsewhere"
            };
            page.gap();
            page.line(Line::default().push(Ink::Strong, head));
            at_parting = Some(difference.at_parting);
        }
        let line = Line::default().push(Ink::Plain, "  ");
        let place = difference.place.as_deref();
        let place = place.map_or(String::new(), |place| format!(", {place}"));
        let what = format!("{}: {}{place}", difference.kind, difference.what);
        prose(page, line, Ink::Plain, &what);
        for (name, value) in [("GOOD", &difference.good), ("BAD", &difference.bad)] {
            let line = Line::default()
                .push(Ink::Plain, "    ")
                .left(Ink::Quiet, name, 6);
            prose(page, line, Ink::Plain, value);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::is_shown;

    #[test]
    fn of_a_long_path_the_beginning_and_the_parting_are_shown() {
        let shown = |rows, parting| -> Vec<usize> {
            (0..rows)
                .filter(|row| is_shown(*row, rows, parting))
                .collect()
        };
        assert_eq!(shown(48, None).len(), 48);
        let long = shown(200, Some(100));
        assert_eq!(long.first(), Some(&0));
        assert!(long.contains(&100) && long.contains(&101) && !long.contains(&150));
        assert!(shown(200, None).contains(&199));
        assert!(long.len() <= 48, "{}", long.len());
    }
}
