//! Rows of a view: lines of text, some of which stand for something that can be selected and opened. And the cursor
//! that moves over them, which stays on what it stands for while rows come and go.

use crate::model::clean::clean;
use crate::render::page::Line;
use crate::render::style::Ink;

/// What a row stands for.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Target {
    /// A hop: index of the path in its flow, number of the hop.
    Hop(usize, u32),
    /// A packet by its number.
    Journey(u64),
    /// A loss: flow and index.
    Loss(u32, usize),
    /// An interface: namespace and number.
    Interface(String, u32),
    /// A line of its own: what was read, a log's line, the help.
    Line(usize),
}

/// One line of a view.
#[derive(Clone, Debug, Default)]
pub struct Row {
    /// The text.
    pub(crate) line: Line,
    /// What it stands for; rows without cannot be selected.
    pub(crate) target: Option<Target>,
    /// The place of the verdict: on the screen until somebody moves.
    pub(crate) is_verdict: bool,
}

impl Row {
    pub(crate) fn text(line: Line) -> Self {
        Self {
            line,
            ..Self::default()
        }
    }

    pub(crate) fn of(line: Line, target: Target) -> Self {
        Self {
            line,
            target: Some(target),
            is_verdict: false,
        }
    }

    /// The same row as the place of the verdict.
    pub(crate) fn of_verdict(self) -> Self {
        Self {
            is_verdict: true,
            ..self
        }
    }

    /// Plain words.
    pub(crate) fn words(ink: Ink, text: &str) -> Self {
        Self::text(Line::default().push(ink, text))
    }

    /// Whether a searched text stands in it; case matters only when the searched text has capitals.
    pub(crate) fn contains(&self, needle: &str) -> bool {
        let text = self.line.text();
        if needle.chars().any(char::is_uppercase) {
            text.contains(needle)
        } else {
            text.to_lowercase().contains(needle)
        }
    }
}

/// Lines of a page as rows that stand for nothing.
pub(crate) fn plain(lines: Vec<Line>) -> impl Iterator<Item = Row> {
    lines.into_iter().map(Row::text)
}

/// Where the cursor of a view is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Cursor {
    /// What it is on.
    pub target: Option<Target>,
    /// The row on which that was last seen.
    row: usize,
    /// First row on the screen.
    top: usize,
    /// Somebody moved it.
    moved: bool,
}

/// A move of the cursor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Move {
    /// So many rows down, or up.
    By(isize),
    /// So many screens down, or up.
    Screens(isize),
    /// The first row.
    Top,
    /// The last row.
    Bottom,
}

impl Cursor {
    /// The row that it is on now: that of its target, else the nearest that can be selected.
    #[must_use]
    pub fn row(&self, rows: &[Row]) -> Option<usize> {
        let wanted = self.target.as_ref();
        let same = rows
            .iter()
            .position(|row| row.target.is_some() && row.target.as_ref() == wanted);
        same.or_else(|| nearest(rows, self.row))
    }

    /// The row that it was put on last, selected or not.
    #[must_use]
    pub fn last(&self, rows: &[Row]) -> usize {
        let selected = self.row(rows).filter(|_| self.target.is_some());
        selected.unwrap_or(self.row)
    }

    /// The first row on a screen of so many.
    #[must_use]
    pub fn top(&self, rows: &[Row], height: usize) -> usize {
        let last = rows.len().saturating_sub(height);
        let Some(row) = self.row(rows).filter(|_| self.target.is_some()) else {
            return self.unselected_top(rows, height).min(last);
        };
        // The words above the first row that can be selected belong to it, those below the last one to that.
        let ends = |row: &Row| row.target.is_some();
        if rows.iter().position(ends) == Some(row) {
            return (row + 1).saturating_sub(height);
        }
        if rows.iter().rposition(ends) == Some(row) {
            return row.min(last);
        }
        self.top
            .clamp((row + 1).saturating_sub(height), row)
            .min(last)
    }

    /// The first row on the screen while nothing is selected: untouched, all of the verdict's place is seen, and as much
    /// above it as there is room for.
    fn unselected_top(&self, rows: &[Row], height: usize) -> usize {
        let of_verdict = |row: &Row| row.is_verdict;
        let place = rows.iter().position(of_verdict);
        let end = rows.iter().rposition(of_verdict);
        match (place, end) {
            (Some(place), Some(end)) if !self.moved => (end + 1).saturating_sub(height).min(place),
            _ => self.top,
        }
    }

    /// Moves. Where nothing can be selected the rows scroll.
    pub fn step(&mut self, by: Move, rows: &[Row], height: usize) {
        self.top = self.top(rows, height);
        self.moved = true;
        let selectable = rows.iter().filter(|row| row.target.is_some()).count();
        let last = rows.len().saturating_sub(1);
        let page = isize::try_from(height.saturating_sub(1).max(1)).unwrap_or(1);
        if selectable == 0 {
            let end = rows.len().saturating_sub(height);
            self.top = match by {
                Move::By(n) => self.top.saturating_add_signed(n),
                Move::Screens(n) => self.top.saturating_add_signed(n * page),
                Move::Top => 0,
                Move::Bottom => end,
            }
            .min(end);
            self.row = self.top;
            return;
        }
        let now = match (&self.target, self.row(rows)) {
            (Some(_), Some(row)) => row,
            // the first key only shows the cursor, where one looks
            (_, row) => {
                let seen = nearest(rows, self.top.max(self.row)).or(row);
                let first = seen.unwrap_or_default();
                match by {
                    Move::By(_) => return self.put(rows, first, height),
                    _ => first,
                }
            }
        };
        let goal = match by {
            Move::By(n) => return self.put(rows, nth(rows, now, n), height),
            Move::Screens(n) => now.saturating_add_signed(n * page).min(last),
            Move::Top => 0,
            Move::Bottom => last,
        };
        if let Some(row) = nearest(rows, goal) {
            self.put(rows, row, height);
        }
    }

    /// Puts the cursor on a row.
    pub fn put(&mut self, rows: &[Row], row: usize, height: usize) {
        self.top = self.top(rows, height);
        self.moved = true;
        self.row = row;
        self.target = rows.get(row).and_then(|row| row.target.clone());
        self.top = match self.target {
            Some(_) => self.top(rows, height),
            None => self
                .top
                .clamp((row + 1).saturating_sub(height), row)
                .min(rows.len().saturating_sub(height)),
        };
    }
}

/// The row that can be selected and is nearest to another; of two the one below.
fn nearest(rows: &[Row], to: usize) -> Option<usize> {
    rows.iter()
        .enumerate()
        .filter(|(_, row)| row.target.is_some())
        .map(|(at, _)| at)
        .min_by_key(|at| (at.abs_diff(to), *at < to))
}

/// The row that can be selected so many after (or before) another; the last one where there are fewer.
fn nth(rows: &[Row], from: usize, n: isize) -> usize {
    let selectable = |(_, row): &(usize, &Row)| row.target.is_some();
    let count = n.unsigned_abs();
    let found = if n >= 0 {
        let mut after = rows.iter().enumerate().skip(from + 1).filter(selectable);
        after.by_ref().take(count).last()
    } else {
        let mut before = rows.iter().enumerate().take(from).rev().filter(selectable);
        before.by_ref().take(count).last()
    };
    found.map_or(from, |(at, _)| at)
}

/// A text of one line, cut to a width, its columns counted as a terminal counts them.
pub(crate) fn cut(text: &str, width: usize, more: &str) -> String {
    use unicode_width::{UnicodeWidthChar, UnicodeWidthStr};
    let text = clean(text);
    if text.width() <= width {
        return text.into_owned();
    }
    let mut out = String::new();
    let mut used = more.width();
    for c in text.chars() {
        used += c.width().unwrap_or_default();
        if used > width {
            break;
        }
        out.push(c);
    }
    out + more
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `-` is a row of words, a digit one that can be selected.
    fn rows(picture: &str) -> Vec<Row> {
        picture
            .chars()
            .map(|c| match c.to_digit(10) {
                Some(n) => Row::of(Line::default(), Target::Journey(n.into())),
                None => Row::default(),
            })
            .collect()
    }

    fn on(cursor: &Cursor) -> Option<u64> {
        match cursor.target {
            Some(Target::Journey(n)) => Some(n),
            _ => None,
        }
    }

    #[test]
    fn the_cursor_moves_over_what_can_be_selected() {
        let rows = rows("--1-23--4-");
        let mut cursor = Cursor::default();
        let mut go = |by| {
            cursor.step(by, &rows, 4);
            on(&cursor)
        };
        assert_eq!(go(Move::By(1)), Some(1), "the first key shows it");
        assert_eq!(go(Move::By(1)), Some(2));
        assert_eq!(go(Move::By(2)), Some(4));
        assert_eq!(go(Move::By(1)), Some(4));
        assert_eq!(go(Move::By(-1)), Some(3));
        assert_eq!(go(Move::Top), Some(1));
        assert_eq!(go(Move::Bottom), Some(4));
        assert_eq!(go(Move::Screens(-1)), Some(3));
    }

    #[test]
    fn it_stays_on_its_packet_when_others_come() {
        let mut cursor = Cursor::default();
        let before = rows("321");
        cursor.step(Move::Bottom, &before, 2);
        assert_eq!((on(&cursor), cursor.row(&before)), (Some(1), Some(2)));
        let after = rows("54321");
        assert_eq!(cursor.row(&after), Some(4));
        assert_eq!(cursor.top(&after, 2), 3);
        // gone: the nearest row
        let gone = rows("765");
        assert_eq!(cursor.row(&gone), Some(2));
    }

    #[test]
    fn words_alone_scroll() {
        let rows = rows("----------");
        let mut cursor = Cursor::default();
        cursor.step(Move::Screens(1), &rows, 4);
        assert_eq!(cursor.top(&rows, 4), 3);
        cursor.step(Move::Bottom, &rows, 4);
        assert_eq!(cursor.top(&rows, 4), 6);
        cursor.step(Move::By(-1), &rows, 4);
        assert_eq!(cursor.top(&rows, 4), 5);
    }

    #[test]
    fn words_that_are_found_come_onto_the_screen() {
        let rows = rows("----------");
        let mut cursor = Cursor::default();
        cursor.put(&rows, 7, 4);
        assert_eq!((cursor.top(&rows, 4), cursor.last(&rows)), (4, 7));
        cursor.put(&rows, 2, 4);
        assert_eq!((cursor.top(&rows, 4), cursor.last(&rows)), (2, 2));
    }

    #[test]
    fn the_place_of_the_verdict_is_seen_until_somebody_moves() {
        let mut rows = rows("-1-2-3--4");
        for row in rows.iter_mut().skip(6).take(2) {
            row.is_verdict = true;
        }
        let mut cursor = Cursor::default();
        assert_eq!(cursor.top(&rows, 20), 0, "all fits");
        assert_eq!(cursor.top(&rows, 4), 4, "its end is the last row");
        assert_eq!(cursor.top(&rows, 1), 6, "its first row, where not all fits");
        cursor.step(Move::By(1), &rows, 4);
        assert_eq!(on(&cursor), Some(3), "the cursor shows where one looks");
        cursor.step(Move::Top, &rows, 4);
        assert_eq!((on(&cursor), cursor.top(&rows, 4)), (Some(1), 0));
    }

    #[test]
    fn the_cursor_is_always_on_the_screen() {
        let rows = rows("12345678");
        let mut cursor = Cursor::default();
        for by in [
            Move::Bottom,
            Move::By(-3),
            Move::Screens(-1),
            Move::By(5),
            Move::Top,
        ] {
            cursor.step(by, &rows, 3);
            let (row, top) = (cursor.row(&rows).unwrap_or_default(), cursor.top(&rows, 3));
            assert!((top..top + 3).contains(&row), "{row} of {top}");
        }
    }

    #[test]
    fn wide_characters_are_not_cut_in_half() {
        assert_eq!(cut("abcdef", 4, "…"), "abc…");
        assert_eq!(cut("網路介面", 6, "…"), "網路…");
        assert_eq!(cut("ok", 4, "…"), "ok");
    }
}
