//! The picture: a function of choices and snapshot. Where each part is, and how rows become cells.

use std::borrow::Cow;

use ratatui::Frame;
use ratatui::buffer::Buffer;
use ratatui::layout::{Position, Rect};
use ratatui::style::Style;
use unicode_width::UnicodeWidthChar;

use super::keys::{Action, Keymap};
use super::rows::{Row, cut};
use super::settings::Settings;
use super::snapshot::Snapshot;
use super::state::State;
use super::theme::{Role, Theme};
use super::view::{View, header, verdict};
use crate::render::page::{Line, columns};
use crate::render::style::Ink;

/// The parts of the screen, from the top, in rows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Layout {
    header: u16,
    verdict: u16,
    tabs: u16,
    /// A title above what is opened.
    title: u16,
    /// Rows of the view.
    pub(crate) content: u16,
}

impl Layout {
    /// For a screen of so many columns and rows. The verdict gives way last but for the view's own first rows.
    pub(crate) fn of((_, rows): (u16, u16), opened: bool) -> Self {
        let verdict = match rows {
            0..12 => 1,
            12..18 => 2,
            18..28 => 4,
            _ => 5,
        };
        let title = u16::from(opened);
        let fixed = 2 + verdict + 1 + title + 1;
        Self {
            header: 2,
            verdict,
            tabs: 1,
            title,
            content: rows.saturating_sub(fixed),
        }
    }

    pub(crate) fn tabs_row(&self) -> u16 {
        self.header + self.verdict
    }

    pub(crate) fn content_row(&self) -> u16 {
        self.tabs_row() + self.tabs + self.title
    }
}

/// The view whose tab is at a column.
pub(crate) fn tab_at(column: u16) -> Option<View> {
    let mut start = 0;
    for view in View::all() {
        let end = start + columns(&tab(view));
        if (start..end).contains(&usize::from(column)) {
            return Some(view);
        }
        start = end;
    }
    None
}

fn tab(view: View) -> String {
    format!(" {} {} ", view.index() + 1, view.title())
}

/// Draws everything.
pub fn draw(frame: &mut Frame<'_>, state: &State, latest: &Snapshot, settings: &Settings) {
    let area = frame.area();
    if let Some(at) = paint(frame.buffer_mut(), area, state, latest, settings) {
        frame.set_cursor_position(at);
    }
}

/// The picture on a screen of so many columns and rows, without a terminal.
#[must_use]
pub fn buffer(
    (columns, rows): (u16, u16),
    state: &State,
    latest: &Snapshot,
    settings: &Settings,
) -> Buffer {
    let area = Rect::new(0, 0, columns, rows);
    let mut buffer = Buffer::empty(area);
    paint(&mut buffer, area, state, latest, settings);
    buffer
}

/// Draws into a buffer; gives where the terminal's cursor belongs.
fn paint(
    buffer: &mut Buffer,
    area: Rect,
    state: &State,
    latest: &Snapshot,
    settings: &Settings,
) -> Option<Position> {
    let Settings { keys, theme } = settings;
    let snapshot = state.shown(latest);
    let picture = state.picture(snapshot);
    let (title, rows) = state.rows(snapshot, keys);
    let layout = Layout::of((area.width, area.height), title.is_some());
    let mut pen = Pen {
        buffer,
        area,
        theme,
        ascii: picture.is_ascii(),
        row: 0,
    };

    let standing = match (state.is_held(), snapshot.ended) {
        (true, _) => "HELD",
        (false, Some(_)) => "ENDED",
        (false, None) => "LIVE",
    };
    let (left, right) = header::first(&picture, standing);
    pen.bar(&left, &right);
    pen.line(&header::second(&picture), None);
    pen.block(
        &verdict::lines(&picture, usize::from(layout.verdict)),
        layout.verdict,
    );
    pen.tabs(state.view());
    if let Some(title) = title {
        let title = format!("── {title} ");
        pen.text(
            &cut(&title, usize::from(area.width), picture.marks.more),
            theme.style(Role::Ink(Ink::Change)),
        );
    }

    let height = usize::from(layout.content);
    let cursor = state.cursor();
    let top = cursor.top(&rows, height);
    let on = cursor.row(&rows).filter(|_| cursor.target.is_some());
    for at in top..top + height {
        match rows.get(at) {
            Some(row) => pen.row(row, on == Some(at), state.searched()),
            None => pen.row += 1,
        }
    }
    let seen = if rows.len() > height {
        format!(
            " {}-{} of {} ",
            top + 1,
            (top + height).min(rows.len()),
            rows.len()
        )
    } else {
        String::new()
    };
    pen.footer(state, keys, &seen)
}

/// What a terminal without Unicode shows of a text, in as many columns.
fn to_ascii(text: &str) -> Cow<'_, str> {
    if text.is_ascii() {
        return Cow::Borrowed(text);
    }
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            c if c.is_ascii() => out.push(c),
            '→' => out.push('>'),
            '─' => out.push('-'),
            '…' => out.push('~'),
            c => (0..c.width().unwrap_or_default()).for_each(|_| out.push('?')),
        }
    }
    Cow::Owned(out)
}

/// Draws row after row.
struct Pen<'a> {
    buffer: &'a mut Buffer,
    area: Rect,
    theme: &'a Theme,
    /// The terminal shows nothing but ASCII.
    ascii: bool,
    row: u16,
}

impl Pen<'_> {
    fn y(&self) -> Option<u16> {
        (self.row < self.area.height).then(|| self.area.y + self.row)
    }

    fn put(&mut self, x: u16, text: &str, style: Style) -> u16 {
        let Some(y) = self.y().filter(|_| x < self.area.width) else {
            return x;
        };
        let room = usize::from(self.area.width - x);
        let text = if self.ascii {
            to_ascii(text)
        } else {
            Cow::Borrowed(text)
        };
        let (end, _) = self
            .buffer
            .set_stringn(self.area.x + x, y, text, room, style);
        end - self.area.x
    }

    fn fill(&mut self, style: Style) {
        if let Some(y) = self.y() {
            let row = Rect::new(self.area.x, y, self.area.width, 1);
            self.buffer.set_style(row, style);
        }
    }

    /// One row of plain text.
    fn text(&mut self, text: &str, style: Style) {
        self.put(0, text, style);
        self.row += 1;
    }

    fn bar(&mut self, left: &str, right: &str) {
        let style = self.theme.style(Role::Bar);
        self.fill(style);
        self.put(0, left, style);
        let width = u16::try_from(columns(right)).unwrap_or(u16::MAX);
        self.put(self.area.width.saturating_sub(width), right, style);
        self.row += 1;
    }

    /// A line with its colours, upon which another style may lie.
    fn line(&mut self, line: &Line, over: Option<Style>) {
        let mut x = 0;
        for (ink, text) in line.pieces() {
            let style = self.theme.style(Role::Ink(ink));
            x = self.put(x, text, style);
        }
        if let Some(over) = over {
            self.fill(over);
        }
        self.row += 1;
    }

    fn block(&mut self, lines: &[Line], height: u16) {
        let from = self.row;
        for line in lines.iter().take(usize::from(height)) {
            self.line(line, None);
        }
        self.row = from + height;
    }

    fn tabs(&mut self, shown: View) {
        let rule = self.theme.style(Role::Rule);
        let mut x = 0;
        for view in View::all() {
            let style = if view == shown {
                self.theme.style(Role::Tab)
            } else {
                rule
            };
            let text = tab(view);
            let end = x + u16::try_from(columns(&text)).unwrap_or_default();
            self.put(x + 1, text.trim(), style);
            x = end;
        }
        self.row += 1;
    }

    fn row(&mut self, row: &Row, on: bool, searched: &str) {
        let at = self.row;
        let over = on.then(|| self.theme.style(Role::Cursor));
        self.line(&row.line, over);
        if !searched.is_empty() && row.contains(searched) {
            self.mark_matches(&row.line.text(), searched, at);
        }
    }

    /// Lays the style of matches over them.
    fn mark_matches(&mut self, text: &str, searched: &str, row: u16) {
        let style = self.theme.style(Role::Match);
        let exact = searched.chars().any(char::is_uppercase);
        let hay = if exact {
            text.to_owned()
        } else {
            text.to_lowercase()
        };
        // Lower case may have another length in rare scripts: then nothing is marked.
        if hay.len() != text.len() {
            return;
        }
        for (at, hit) in hay.match_indices(searched) {
            let x = columns(text.get(..at).unwrap_or_default());
            let width = columns(hit);
            let (Ok(x), Ok(width)) = (u16::try_from(x), u16::try_from(width)) else {
                continue;
            };
            if row < self.area.height && x < self.area.width {
                let width = width.min(self.area.width - x);
                let area = Rect::new(self.area.x + x, self.area.y + row, width, 1);
                self.buffer.set_style(area, style);
            }
        }
    }

    /// What is typed, else what is said, else the keys; at the right end which rows of the view are seen.
    fn footer(&mut self, state: &State, keys: &Keymap, seen: &str) -> Option<Position> {
        self.row = self.area.height.saturating_sub(1);
        let bar = self.theme.style(Role::Bar);
        if let Some((prompt, text, before)) = state.typed() {
            let room = usize::from(self.area.width).saturating_sub(columns(prompt) + 2);
            // The end that is being typed stays in sight.
            let skip = before.saturating_sub(room);
            let shown: String = text.chars().skip(skip).collect();
            let x = self.put(0, prompt, self.theme.style(Role::Ink(Ink::Strong)));
            self.put(x, &crate::render::clean::clean(&shown), Style::default());
            let x = x + u16::try_from(before - skip).unwrap_or_default();
            return Some(Position::new(
                self.area.x + x.min(self.area.width.saturating_sub(1)),
                self.area.y + self.row,
            ));
        }
        self.fill(bar);
        let room = usize::from(self.area.width).saturating_sub(columns(seen));
        self.put(u16::try_from(room).unwrap_or(u16::MAX), seen, bar);
        if let Some(message) = state.message() {
            let text = cut(&format!(" {message}"), room, "~");
            self.put(0, &text, bar);
            return None;
        }
        const HINTS: [(Action, &str); 10] = [
            (Action::Help, "help"),
            (Action::NextView, "view"),
            (Action::Open, "open"),
            (Action::Evidence, "evidence"),
            (Action::Copy, "copy"),
            (Action::Freeze, "hold"),
            (Action::Search, "search"),
            (Action::Filter, "filter"),
            (Action::Save, "save"),
            (Action::Quit, "quit"),
        ];
        let mut x = 0;
        for (action, word) in HINTS {
            let hint = keys.hint(action);
            let text = format!(" {hint} {word} ");
            let end = usize::from(x) + columns(&text);
            if hint.is_empty() || end > room {
                continue;
            }
            x = self.put(x, &text, bar);
        }
        None
    }
}
