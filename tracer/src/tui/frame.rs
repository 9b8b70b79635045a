//! The picture: a function of choices and snapshot. Where each part is, and how rows become cells.

mod painter;

use ratatui::Frame;
use ratatui::buffer::Buffer;
use ratatui::layout::{Position, Rect};

use super::rows::cut;
use super::settings::Settings;
use super::snapshot::Snapshot;
use super::state::State;
use super::theme::Role;
use super::view::{View, header, verdict};
use crate::render::page::columns;
use crate::render::style::Ink;
use painter::Painter;

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
    let mut painter = Painter::new(buffer, area, theme, picture.is_ascii());

    let standing = match (state.is_held(), snapshot.ended, snapshot.played) {
        (true, ..) => "HELD",
        (false, Some(_), _) => "ENDED",
        (false, None, None) => "LIVE",
        (false, None, Some(played)) if played.stopped => "STOPPED",
        (false, None, Some(_)) => "REPLAY",
    };
    let (left, right) = header::first(&picture, standing);
    painter.bar(&left, &right);
    painter.line(&header::second(&picture), None);
    painter.block(
        &verdict::lines(&picture, usize::from(layout.verdict)),
        layout.verdict,
    );
    painter.tabs(state.view());
    if let Some(title) = title {
        let title = format!("── {title} ");
        painter.text(
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
            Some(row) => painter.row(row, on == Some(at), state.searched()),
            None => painter.skip(),
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
    painter.footer(state, keys, &seen)
}
