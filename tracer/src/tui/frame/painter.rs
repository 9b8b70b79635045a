//! Draws row after row: how the lines of a view become cells.

use std::borrow::Cow;

use ratatui::buffer::Buffer;
use ratatui::layout::{Position, Rect};
use ratatui::style::Style;
use unicode_width::UnicodeWidthChar;

use crate::render::page::{Line, columns};
use crate::render::style::Ink;
use crate::tui::keys::{Action, Keymap};
use crate::tui::rows::{Row, cut};
use crate::tui::state::State;
use crate::tui::theme::{Role, Theme};
use crate::tui::view::View;

/// Keys that the last line tells, as many as fit.
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
pub(super) struct Painter<'a> {
    buffer: &'a mut Buffer,
    area: Rect,
    theme: &'a Theme,
    /// The terminal shows nothing but ASCII.
    ascii: bool,
    row: u16,
}

impl<'a> Painter<'a> {
    /// At the first row. `ascii`: the terminal shows nothing else.
    pub(super) fn new(buffer: &'a mut Buffer, area: Rect, theme: &'a Theme, ascii: bool) -> Self {
        Self {
            buffer,
            area,
            theme,
            ascii,
            row: 0,
        }
    }

    /// Leaves a row empty.
    pub(super) fn skip(&mut self) {
        self.row += 1;
    }

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
    pub(super) fn text(&mut self, text: &str, style: Style) {
        self.put(0, text, style);
        self.row += 1;
    }

    /// A bar with a text at either end.
    pub(super) fn bar(&mut self, left: &str, right: &str) {
        let style = self.theme.style(Role::Bar);
        self.fill(style);
        self.put(0, left, style);
        let width = u16::try_from(columns(right)).unwrap_or(u16::MAX);
        self.put(self.area.width.saturating_sub(width), right, style);
        self.row += 1;
    }

    /// A line with its colours, upon which another style may lie.
    pub(super) fn line(&mut self, line: &Line, over: Option<Style>) {
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

    /// Lines that take so many rows, however few there are.
    pub(super) fn block(&mut self, lines: &[Line], height: u16) {
        let from = self.row;
        for line in lines.iter().take(usize::from(height)) {
            self.line(line, None);
        }
        self.row = from + height;
    }

    /// The titles of the views.
    pub(super) fn tabs(&mut self, shown: View) {
        let rule = self.theme.style(Role::Rule);
        let mut x = 0;
        for view in View::all() {
            let style = if view == shown {
                self.theme.style(Role::Tab)
            } else {
                rule
            };
            let text = super::tab(view);
            let end = x + u16::try_from(columns(&text)).unwrap_or_default();
            self.put(x + 1, text.trim(), style);
            x = end;
        }
        self.row += 1;
    }

    /// A row of a view; `on`: the cursor is on it.
    pub(super) fn row(&mut self, row: &Row, on: bool, searched: &str) {
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
    pub(super) fn footer(&mut self, state: &State, keys: &Keymap, seen: &str) -> Option<Position> {
        self.row = self.area.height.saturating_sub(1);
        let bar = self.theme.style(Role::Bar);
        if let Some((prompt, text, before)) = state.typed() {
            let room = usize::from(self.area.width).saturating_sub(columns(prompt) + 2);
            // The end that is being typed stays in sight.
            let skip = before.saturating_sub(room);
            let shown: String = text.chars().skip(skip).collect();
            let x = self.put(0, prompt, self.theme.style(Role::Ink(Ink::Strong)));
            self.put(x, &crate::model::clean::clean(&shown), Style::default());
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
